//! Tests components that are built to exhaust the compiler. The compiler stops at its limits on time and memory, the
//! components are refused, and the worker continues.

use std::fmt::Write;
use std::fs::File;
use std::process::Stdio;

use ingest_host::config::LimitOverrides;
use ingest_host::gate::Gate;
use ingest_host::queue::{Backend, Binding, Component, Step};
use ingest_host::request::InputOptions;
use rustix::process::{Pid, Signal, kill_process};
use sha2::{Digest, Sha256};
use wait4::Wait4;

use crate::support::host::{CommandOutput, Host, component, wait_for};
use crate::support::process;
use crate::support::wat::HandWrittenPlugin;

/// The maximum peak memory of the program, and of its compiler process, in bytes.
const PEAK_MAX: u64 = 256 << 20;

/// Returns a host with its own cache, because the shared cache could already contain the compiled component.
fn host() -> Host {
    let mut host = Host::embedded();
    host.cache = host.path("cache");
    host
}

/// The result of pushing a component.
struct Pushed {
    code: Option<i32>,
    said: String,
    peak: u64,
}

/// Pushes a file from the host's folder to the queue server.
fn push(host: &Host, file: &str, limits: &str) -> Pushed {
    let mut child = host
        .command()
        .args(["plugin", "push", file])
        .args(limits.split_whitespace())
        .stdout(Stdio::null())
        .stderr(File::create(host.path("said")).unwrap())
        .spawn()
        .unwrap();
    let ended = child.wait4().unwrap();
    let said = std::fs::read_to_string(host.path("said")).unwrap();
    let peak = ended.rusage.maxrss;
    Pushed {
        code: ended.status.code(),
        said,
        peak,
    }
}

#[track_caller]
fn is_refused(pushed: &Pushed, why: &str) {
    assert_eq!(pushed.code, Some(1), "{}", pushed.said);
    assert!(pushed.said.contains(why), "expected {why:?}: {}", pushed.said);
    assert!(pushed.said.len() < 4_000, "{}", pushed.said);
    assert!(pushed.peak < PEAK_MAX, "{} bytes: {}", pushed.peak, pushed.said);
}

/// Returns a number encoded in LEB128, the encoding of integers in WebAssembly.
fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id], &leb128(content.len())[..], content].concat()
}

/// Returns a plugin that contains a module with one function of `depth` nested blocks. The cost of compiling the
/// function grows with the square of `depth`. The plugin is built as bytes, because parsing text would need much memory
/// in the test. A forked program starts with the test's memory, so the measured peak would be too high.
fn blocks(depth: usize) -> Vec<u8> {
    // The body of the function: no locals, the starts of the blocks, their ends, and the function's end.
    let body = [&[0][..], &b"\x02\x40".repeat(depth), &vec![0x0b; depth + 1]].concat();
    let code = [leb128(1), leb128(body.len()), body].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, b"\x01\x60\0\0"),
        section(3, b"\x01\0"),
        section(10, &code),
    ];
    [
        HandWrittenPlugin::default().component(),
        section(1, &module.concat()),
    ]
    .concat()
}

/// Returns a plugin that contains components nested `depth` levels deep.
fn nested(depth: usize) -> Vec<u8> {
    let empty = b"\0asm\x0d\0\x01\0".to_vec();
    let inner = (0..depth).fold(empty.clone(), |inner, _| {
        [&empty[..], &section(4, &inner)].concat()
    });
    [HandWrittenPlugin::default().component(), section(4, &inner)].concat()
}

/// Returns a plugin that declares `count` types.
fn types(count: usize) -> Vec<u8> {
    let types = [leb128(count), vec![0x7f; count]].concat();
    [HandWrittenPlugin::default().component(), section(7, &types)].concat()
}

/// Returns the text of an import: a function whose parameter has a list type that is nested `depth` levels deep.
fn lists(depth: usize) -> String {
    let mut types = "(type $t0 (list u8))".to_owned();
    for at in 1..depth {
        write!(types, "(type $t{at} (list $t{}))", at - 1).unwrap();
    }
    let last = depth - 1;
    format!("{types} (import \"deep\" (instance (export \"f\" (func (param \"x\" $t{last})))))")
}

#[test]
fn a_hundred_megabytes_are_not_even_read() {
    if !process::is_own() {
        return;
    }
    let host = host();
    let file = host.write("large.wasm", std::fs::read(component("clean")).unwrap());
    File::options()
        .write(true)
        .open(file)
        .unwrap()
        .set_len(100 << 20)
        .unwrap();
    let pushed = push(&host, "large.wasm", "");
    is_refused(
        &pushed,
        "the component has 104857600 bytes, more than the limit of 67108864 (--limit component-bytes)",
    );
    let own = process::peak_bytes(std::process::id());
    assert!(pushed.peak <= own.max(32 << 20), "{}", pushed.peak);
}

#[test]
fn a_million_types_are_a_few_too_many() {
    if !process::is_own() {
        return;
    }
    let host = host();
    host.write("types.wasm", types(990_000));
    let pushed = push(&host, "types.wasm", "");
    assert_eq!(pushed.code, Some(0), "{}", pushed.said);
    assert!(pushed.peak < PEAK_MAX, "{}", pushed.peak);
    host.write("types.wasm", types(1_000_000));
    is_refused(
        &push(&host, "types.wasm", ""),
        "types count exceeds limit of 1000000",
    );
}

#[test]
fn deep_nesting_takes_no_more_than_the_compiler_has() {
    if !process::is_own() {
        return;
    }
    let host = host();
    host.write("nested.wasm", nested(50));
    assert_eq!(push(&host, "nested.wasm", "").code, Some(0));
    host.write("nested.wasm", nested(20_000));
    let pushed = push(&host, "nested.wasm", "--limit compile-memory=128MiB");
    is_refused(
        &pushed,
        "compiling the component needed more than the limit of 134217728 bytes of memory (--limit compile-memory)",
    );
    let plugin = HandWrittenPlugin {
        imports: lists(2_000),
        ..HandWrittenPlugin::default()
    };
    host.write("lists.wasm", plugin.component());
    is_refused(&push(&host, "lists.wasm", ""), "the component");
}

#[test]
fn what_compiles_for_minutes_is_given_up() {
    if !process::is_own() {
        return;
    }
    let host = host();
    host.write("blocks.wasm", blocks(200_000));
    let pushed = push(&host, "blocks.wasm", "--limit compile-time=1s");
    is_refused(
        &pushed,
        "compiling the component took more than the limit of 1s of processor time (--limit compile-time)",
    );
    host.write("blocks.wasm", blocks(1_000));
    assert_eq!(
        push(&host, "blocks.wasm", "--limit compile-time=1s").code,
        Some(0)
    );
}

/// Checks that a component is compiled in a separate process only once for the same limits.
#[test]
fn a_component_is_compiled_apart_once() {
    let host = host();
    let compiles = |blocks_deep, limits: &str| {
        host.write("blocks.wasm", blocks(blocks_deep));
        let mut command = host.command();
        command
            .env("RUST_LOG", "info")
            .args("plugin push blocks.wasm".split(' '));
        let said = CommandOutput::new(&command.args(limits.split_whitespace()).output().unwrap());
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        said.stderr
            .contains("compiling a component in a process of its own")
    };
    assert!(compiles(10, ""));
    assert!(!compiles(10, ""));
    assert!(compiles(10, "--limit compile-memory=512MiB"));
    assert!(compiles(11, ""));
    assert!(!compiles(10, ""));
    for kept in std::fs::read_dir(host.cache.join("ingest-host/components/code")).unwrap() {
        std::fs::write(kept.unwrap().path(), "damaged").unwrap();
    }
    assert!(compiles(10, ""));
    assert!(!compiles(10, ""));
}

/// Returns a plugin that also contains `instances` instances of a core module.
fn crowded(instances: usize, module: &str) -> Vec<u8> {
    let mut imports = format!("(core module $small {module})");
    for _ in 0..instances {
        imports.push_str("(core instance (instantiate $small))");
    }
    let plugin = HandWrittenPlugin {
        imports,
        ..HandWrittenPlugin::default()
    };
    plugin.component()
}

#[test]
fn what_a_component_consists_of_is_bounded() {
    if !process::is_own() {
        return;
    }
    let host = host();
    let limits = "the component has more than the limits of 64 core instances, 16 memories and 64 tables";
    for (instances, module, why) in [
        (63, "", None),
        (64, "", Some(limits)),
        (100, "", Some(limits)),
        (15, "(memory 1)", None),
        (16, "(memory 1)", Some(limits)),
        (
            16,
            "(table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref)",
            None,
        ),
        (
            13,
            "(table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref)",
            Some(limits),
        ),
        (1, "(table 131072 funcref)", None),
        (
            1,
            "(table 131073 funcref)",
            Some("the component has a table of 131073 elements, more than the limit of 131072"),
        ),
    ] {
        host.write("crowded.wasm", crowded(instances, module));
        let pushed = push(&host, "crowded.wasm", "");
        match why {
            None => assert_eq!(pushed.code, Some(0), "{instances} {module}: {}", pushed.said),
            Some(why) => is_refused(&pushed, why),
        }
    }
}

/// Binds each queue to a component that `plugin push` would refuse. Anybody with write access to the server can store
/// such a component.
async fn bind_unseen(host: &Host, components: Vec<(&str, Vec<u8>)>) {
    let server = Backend::connect(&host.url).await.unwrap();
    for (queue, bytes) in components {
        let sha256: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let component = Component {
            sha256: sha256.clone(),
            name: "evil".into(),
            version: "1.0.0".into(),
            bytes: bytes.len() as u64,
            pushed_ms: 0,
        };
        server.registry.push_component(&component, &bytes).await.unwrap();
        let binding = Binding {
            number: 0,
            steps: vec![Step {
                sha256,
                name: "evil".into(),
                version: "1.0.0".into(),
                config: "{}".into(),
                data: Default::default(),
            }],
            limits: LimitOverrides::new(),
            gate: Gate::default(),
            input: InputOptions::default(),
            bound_ms: 0,
            rollback_of: None,
        };
        server.registry.bind(queue, &binding, None).await.unwrap();
    }
}

/// Checks that the request is retried if its compiler process is killed, and that the compiler process dies with its
/// worker.
#[tokio::test(flavor = "multi_thread")]
async fn a_compiler_that_was_killed_is_no_reason_to_give_a_request_up() {
    let host = host();
    host.write("in.csv", "a,b\n1,2\n");
    bind_unseen(&host, vec![("slow", blocks(500_000))]).await;
    host.run("submit --queue slow --uri in.csv --id one").ok();
    let mut worker = host.worker("--queue slow --allow-root .");
    let compiler = || wait_for("a compiler", || worker.children().pop());
    kill_process(Pid::from_raw(compiler() as i32).unwrap(), Signal::KILL).unwrap();
    let status = wait_for("the attempt to end", || {
        let status = host.status("one");
        status["error"].is_string().then_some(status)
    });
    assert_eq!(status["code"], "machine-busy", "{status}");
    assert_ne!(status["state"], "dead", "{status}");

    let second = compiler();
    worker.signal("KILL");
    worker.ended();
    let stat = format!("/proc/{second}/stat");
    wait_for("the compiler to die with its worker", || {
        let stat = std::fs::read_to_string(&stat).unwrap_or_default();
        // The process no longer exists, or is a zombie for which no parent has waited.
        stat.rsplit_once(") ")
            .is_none_or(|(_, rest)| rest.starts_with('Z'))
            .then_some(())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_bound_to_one_goes_on() {
    let host = host();
    host.write("in.csv", "a,b\n1,2\n");
    host.run_with("plugin push", &[component("clean").to_str().unwrap()])
        .ok();
    let clean = format!("clean@{}", env!("CARGO_PKG_VERSION"));
    host.run(&format!("plugin bind --queue good {clean}")).ok();
    bind_unseen(&host, vec![("slow", blocks(500_000)), ("large", nested(20_000))]).await;
    tokio::task::block_in_place(|| survives(&host));
}

fn survives(host: &Host) {
    for (queue, id) in [
        ("slow", "slow-1"),
        ("slow", "slow-2"),
        ("large", "large-1"),
        ("good", "good-1"),
    ] {
        host.run(&format!("submit --queue {queue} --uri in.csv --id {id}"))
            .ok();
    }
    let worker = host.worker(
        "--queue slow --queue large --queue good --allow-root . --limit compile-time=2s --limit compile-memory=512MiB",
    );
    for (id, why) in [
        (
            "slow-1",
            "plugin evil@1.0.0: compiling the component took more than the limit of 2s of processor time",
        ),
        (
            "slow-2",
            "plugin evil@1.0.0: compiling the component took more than the limit of 2s of processor time",
        ),
        (
            "large-1",
            "plugin evil@1.0.0: compiling the component needed more than the limit of 536870912 bytes of memory",
        ),
    ] {
        let status = host.wait_for_state(id, "dead");
        assert_eq!(status["code"], "plugin-compile", "{status}");
        assert!(status["error"].as_str().unwrap().starts_with(why), "{status}");
    }
    host.wait_for_state("good-1", "done");
    host.run("submit --queue good --uri in.csv --id good-2").ok();
    host.wait_for_state("good-2", "done");
    assert!(worker.peak_bytes() < PEAK_MAX, "{}", worker.peak_bytes());
    assert_eq!(worker.stop().0, Some(0));
}
