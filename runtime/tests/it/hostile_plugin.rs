//! Tests that a hostile plugin can end only its own request, with one error message. The worker's memory stays small,
//! and its other requests are done.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use wait4::Wait4;

use crate::support::host::{Host, component, path_of};
use crate::support::process;
use crate::support::wat::{ANSWER, HandWrittenPlugin, words};

/// The maximum peak memory, in bytes, of a worker with one hostile request and one good request.
const PEAK_MAX: u64 = 256 << 20;

const GOOD: &str = "a,b\n1,2\n3,4\n";
const GOOD_JSONL: &str = "{\"a\":\"1\",\"b\":\"2\"}\n{\"a\":\"3\",\"b\":\"4\"}\n";

/// A host with queues for one worker: the queue `good`, and one queue for each hostile plugin.
struct HostileFixture {
    host: Host,
    cases: u32,
}

impl HostileFixture {
    fn new() -> Self {
        let host = Host::embedded();
        host.write("good.csv", GOOD);
        let fixture = Self { host, cases: 0 };
        fixture.push(&component("hostile"));
        fixture.push(&component("clean"));
        let version = env!("CARGO_PKG_VERSION");
        fixture
            .host
            .run(&format!("plugin bind --queue good clean@{version}"))
            .ok();
        fixture
    }

    fn push(&self, component: &Path) {
        self.host
            .run_with("plugin push", &[component.to_str().unwrap()])
            .ok();
    }

    /// Runs a request with the hostile plugin and another one with `clean`, in the same worker. Returns the status of
    /// the hostile request. Checks that the good request is done, and that the worker's memory stayed small.
    #[track_caller]
    fn run(&mut self, config: &str, limits: &str) -> Value {
        let plugin = format!("hostile@{}", env!("CARGO_PKG_VERSION"));
        self.run_plugin(&plugin, config, limits)
    }

    #[track_caller]
    fn run_hand_written(&mut self, plugin: &HandWrittenPlugin, limits: &str) -> Value {
        let path = self.host.write("hand-written.wasm", plugin.component());
        self.push(&path);
        self.run_plugin("hand-written@0.1.0", "{}", limits)
    }

    #[track_caller]
    fn run_plugin(&mut self, plugin: &str, config: &str, limits: &str) -> Value {
        self.cases += 1;
        let (host, queue) = (&self.host, format!("bad-{}", self.cases));
        let good = format!("good-{}", self.cases);
        host.write("bad.csv", "n\n1\n2\n3\n");
        host.run_with(
            &format!("plugin bind --queue {queue} {plugin} --config"),
            &[config],
        )
        .ok();
        host.run(&format!("submit --queue {queue} --uri bad.csv --id {queue}"))
            .ok();
        host.run(&format!("submit --queue good --uri good.csv --id {good}"))
            .ok();
        let words =
            format!("run --queue {queue} --queue good --concurrency 2 --burst --allow-root . {limits}");
        let mut worker = host
            .command()
            .args(words.split_whitespace())
            .stdout(Stdio::null())
            .stderr(File::create(host.path("log")).unwrap())
            .spawn()
            .unwrap();
        let ended = worker.wait4().unwrap();
        let log = std::fs::read_to_string(host.path("log")).unwrap();
        assert!(log.len() < 1 << 20, "a log of {} bytes", log.len());
        assert!(ended.status.code().is_some(), "the worker died: {log}");
        let peak = ended.rusage.maxrss;
        assert!(peak < PEAK_MAX, "{config} took {peak} bytes: {log}");
        let neighbour = host.status(&good);
        assert_eq!(neighbour["state"], "done", "{config}: {neighbour}");
        let output = path_of(&neighbour["receipt"]["outputs"][0]["uri"]);
        let wanted = if limits.contains("jsonl") {
            GOOD_JSONL
        } else {
            GOOD
        };
        assert_eq!(std::fs::read_to_string(output).unwrap(), wanted);
        host.status(&queue)
    }
}

/// Checks that the request is a dead letter, and that its short error contains this reason.
#[track_caller]
fn is_dead(status: &Value, why: &str) {
    assert_eq!(status["state"], "dead", "{status}");
    let error = status["error"].as_str().unwrap();
    assert!(
        error.starts_with("plugin ") && error.contains(why),
        "expected {why:?}: {error}"
    );
    assert!(error.chars().count() <= 2_000, "{error}");
    assert_eq!(
        status["attempts"], 1,
        "no other attempt would do better: {status}"
    );
}

/// Checks that the request is done and has these numbers of kept and rejected records.
#[track_caller]
fn is_done(status: &Value, kept: u64, rejected: u64) {
    assert_eq!(status["state"], "done", "{status}");
    let records = &status["receipt"]["records"];
    assert_eq!(
        (records["kept"].as_u64(), records["rejected"].as_u64()),
        (Some(kept), Some(rejected))
    );
}

#[test]
fn one_that_never_returns() {
    if !process::is_own() {
        return;
    }
    let mut fixture = HostileFixture::new();
    let limits = "--limit call-time=300ms";
    let late = "process took longer than the limit of 300ms";
    is_dead(&fixture.run(r#"{"mode": "loop"}"#, limits), late);
    is_dead(
        &fixture.run(r#"{"mode": "loop-in-open"}"#, limits),
        "open took longer than the limit of 300ms",
    );
    is_dead(
        &fixture.run(r#"{"mode": "loop-in-finish"}"#, limits),
        "finish took longer than the limit of 300ms",
    );
    is_done(&fixture.run(r#"{"mode": "loop", "on": "2"}"#, limits), 2, 1);
    is_dead(
        &fixture.run(r#"{"mode": "sleep"}"#, limits),
        "a plugin cannot sleep or wait",
    );
    let start = HandWrittenPlugin {
        core: "(func $forever (loop $l (br $l))) (start $forever)".into(),
        ..HandWrittenPlugin::default()
    };
    let path = fixture.host.write("start.wasm", start.component());
    let said = fixture
        .host
        .run_with("plugin push --limit call-time=300ms", &[path.to_str().unwrap()]);
    let said = said.refused(1);
    assert!(
        said.contains("start took longer than the limit of 300ms"),
        "{said}"
    );
}

#[test]
fn one_that_wants_all_memory() {
    if !process::is_own() {
        return;
    }
    let mut fixture = HostileFixture::new();
    let too_much = "process needed more memory than the limit of 134217728 bytes";
    is_dead(&fixture.run(r#"{"mode": "allocate"}"#, ""), too_much);
    is_done(&fixture.run(r#"{"mode": "allocate", "on": "2"}"#, ""), 2, 1);
    // The compiled plugin overflows the stack in its own linear memory before the call stack overflows. The
    // hand-written plugin uses no stack in its memory, so it overflows the call stack.
    is_dead(
        &fixture.run(r#"{"mode": "recurse"}"#, ""),
        "out of bounds memory access",
    );
    let deep = HandWrittenPlugin {
        core: "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (local.get 0)))"
            .into(),
        process: "(call $deep (i32.const 1))".into(),
        stateful: true,
        ..HandWrittenPlugin::default()
    };
    is_dead(&fixture.run_hand_written(&deep, ""), "call stack exhausted");
    // The plugin fills fifteen more memories in addition to its own.
    let memories: String = (1..16).map(|_| "(memory 1)").collect();
    let grow: String = (1..16)
        .map(|memory| {
            format!(
                "(loop $l (if (i32.ge_s (memory.grow {memory} (i32.const 16)) (i32.const 0))
                   (then (memory.fill {memory} (i32.const 0) (i32.const 1) (i32.mul (memory.size {memory}) (i32.const 65536))) (br $l))))"
            )
        })
        .collect();
    let many = HandWrittenPlugin {
        process: format!("{grow} (i32.const {ANSWER})"),
        stateful: true,
        ..HandWrittenPlugin::default()
    };
    // The component exports only the first of its memories.
    let many = many.component_with_memories(&memories);
    let path = fixture.host.write("many.wasm", many);
    fixture.push(&path);
    is_dead(&fixture.run_plugin("hand-written@0.1.0", "{}", ""), too_much);
}

#[test]
fn one_that_wants_all_tables() {
    if !process::is_own() {
        return;
    }
    let mut fixture = HostileFixture::new();
    let grow = "(loop $l (br_if $l (i32.ge_s (table.grow $t (ref.null func) (i32.const 1000)) (i32.const 0)))) (unreachable)";
    let table = HandWrittenPlugin {
        core: "(table $t 0 funcref)".into(),
        process: grow.into(),
        stateful: true,
        ..HandWrittenPlugin::default()
    };
    // A table cannot grow beyond the limit of the instance pool. `table.grow` returns -1 then, and this plugin traps.
    is_dead(&fixture.run_hand_written(&table, ""), "process trapped");
    let large = HandWrittenPlugin {
        core: "(table 100000000 funcref)".into(),
        ..HandWrittenPlugin::default()
    };
    let path = fixture.host.write("large.wasm", large.component());
    let said = fixture
        .host
        .run_with("plugin push", &[path.to_str().unwrap()])
        .refused(1);
    assert!(
        said.contains("start needed more memory than the limit of 134217728 bytes"),
        "{said}"
    );
}

#[test]
fn one_that_floods() {
    if !process::is_own() {
        return;
    }
    let mut fixture = HostileFixture::new();
    let rows = r#"{"mode": "flood-output", "size": 1000000}"#;
    is_dead(
        &fixture.run(rows, ""),
        "record 1: made 1000000 rows of one record, more than the limit of 100000",
    );
    is_dead(
        &fixture.run(r#"{"mode": "flood-output"}"#, "--limit call-time=1m"),
        "limit of ",
    );
    let cell = r#"{"mode": "long-cell", "size": 20000000}"#;
    is_dead(
        &fixture.run(cell, "--limit call-bytes=16MiB"),
        "more than the limit of 16777216 bytes",
    );
    for mode in ["flood-log", "long-log", "flood-counters", "print"] {
        is_done(
            &fixture.run(&format!(r#"{{"mode": "{mode}"}}"#), "--limit call-time=1m"),
            3,
            0,
        );
    }
    let escapes = r#"{"mode": "long-escapes", "size": 20900000}"#;
    is_done(&fixture.run(escapes, "--format jsonl"), 2, 0);
    let reason = r#"{"mode": "long-reason", "size": 20900000}"#;
    let status = fixture.run(reason, "");
    is_done(&status, 2, 1);
    let rejects = status["receipt"]["rejects"]["bytes"].as_u64().unwrap();
    assert!((4_000..5_000).contains(&rejects), "{status}");
    let status = fixture.run(r#"{"mode": "long-panic"}"#, "--limit call-time=1m");
    is_dead(&status, "process trapped: a long story a long story");
    assert!(
        status["error"]
            .as_str()
            .unwrap()
            .contains("(at plugins/hostile/src/lib.rs:"),
        "{status}"
    );
    is_done(
        &fixture.run(r#"{"mode": "long-panic", "on": "1"}"#, "--limit call-time=1m"),
        2,
        1,
    );
}

#[test]
fn one_that_hoards_what_the_host_gives() {
    if !process::is_own() {
        return;
    }
    let mut fixture = HostileFixture::new();
    let hoard = HandWrittenPlugin {
        imports: r#"(import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
          (alias export $error "error" (type $io-error))
          (import "wasi:io/streams@0.2.0" (instance $streams (export "output-stream" (type (sub resource)))))
          (alias export $streams "output-stream" (type $stream))
          (import "wasi:cli/stdout@0.2.0" (instance $stdout
            (export "output-stream" (type (eq $stream)))
            (export "get-stdout" (func (result (own $stream))))))
          (core func $get (canon lower (func $stdout "get-stdout")))
          (core instance $wasi (export "get" (func $get)))"#
            .into(),
        with: r#"(with "wasi" (instance $wasi))"#.into(),
        core: r#"(import "wasi" "get" (func $get (result i32)))"#.into(),
        process: "(loop $l (drop (call $get)) (br $l)) (unreachable)".into(),
        stateful: true,
        ..HandWrittenPlugin::default()
    };
    is_dead(&fixture.run_hand_written(&hoard, ""), "process trapped");
    let random = HandWrittenPlugin {
        imports: r#"(import "wasi:random/random@0.2.0" (instance $random
            (export "get-random-u64" (func (result u64)))
            (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
          (core module $store (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0)))
          (core instance $s (instantiate $store))
          (alias core export $s "memory" (core memory $m))
          (alias core export $s "realloc" (core func $r))
          (core func $get (canon lower (func $random "get-random-bytes") (memory $m) (realloc $r)))
          (core instance $wasi (export "get" (func $get)))"#
            .into(),
        with: r#"(with "wasi" (instance $wasi))"#.into(),
        core: r#"(import "wasi" "get" (func $get (param i64 i32)))"#.into(),
        process: "(call $get (i64.const 0x1_0000_0000) (i32.const 0)) (unreachable)".into(),
        stateful: true,
        ..HandWrittenPlugin::default()
    };
    is_dead(&fixture.run_hand_written(&random, ""), "process trapped");
}

#[test]
fn one_that_looks_for_a_way_out() {
    if !process::is_own() {
        return;
    }
    let mut fixture = HostileFixture::new();
    let status = fixture.run(r#"{"mode": "escape"}"#, "");
    is_done(&status, 3, 0);
    assert!(status["receipt"].get("counters").is_none(), "{status}");
    for import in [
        "wasi:http/outgoing-handler@0.2.0",
        "wasi:keyvalue/store@0.2.0",
        "env",
    ] {
        let wants = HandWrittenPlugin {
            imports: format!(r#"(import "{import}" (instance (export "handle" (func))))"#),
            data: vec![(ANSWER, words(&[0; 7]))],
            ..HandWrittenPlugin::default()
        };
        let path = fixture.host.write("wants.wasm", wants.component());
        let said = fixture
            .host
            .run_with("plugin push", &[path.to_str().unwrap()])
            .refused(1);
        assert!(
            said.contains("needs something that plugins are not granted"),
            "{said}"
        );
        assert!(said.contains(import.split('@').next().unwrap()), "{said}");
    }
}

#[test]
fn a_neighbour_goes_on_while_one_loops() {
    let host = Host::embedded();
    host.write("in.csv", GOOD);
    for name in ["hostile", "clean"] {
        host.run_with("plugin push", &[component(name).to_str().unwrap()])
            .ok();
    }
    let version = env!("CARGO_PKG_VERSION");
    host.run_with(
        &format!("plugin bind --queue bad hostile@{version} --config"),
        &[r#"{"mode": "loop"}"#],
    )
    .ok();
    host.run(&format!("plugin bind --queue good clean@{version}"))
        .ok();
    host.run("submit --queue bad --uri in.csv --id bad").ok();
    let worker = host.worker("--queue bad --queue good --concurrency 2 --allow-root . --limit call-time=1h");
    host.wait_for_state("bad", "leased");
    for id in ["good-1", "good-2", "good-3"] {
        host.run(&format!("submit --queue good --uri in.csv --id {id}"))
            .ok();
        host.wait_for_state(id, "done");
    }
    assert_eq!(host.status("bad")["state"], "leased");
    // A running call of the plugin also stops when its request is cancelled.
    host.run("cancel bad").ok();
    host.wait_for_state("bad", "cancelled");
    assert_eq!(worker.stop().0, Some(0));
}
