//! Tests that a fault in a plugin ends only its own request, with one message and within the limits.

use std::time::Duration;

use ingest_host::config::Limits;
use ingest_host::error::{Class, Code, Error};
use ingest_host::format::Format;
use ingest_host::plugin::{Engine, Plugin};
use ingest_host::record::{Batch, IN_PLACE, Row};
use ingest_host::stop::Stop;

use crate::support::host::{Host, cache, component, path_of};
use crate::support::wat::{ANSWER, HandWrittenPlugin};

fn hostile(limits: &Limits) -> Plugin {
    Engine::new(limits, Some(cache()))
        .unwrap()
        .load_file(&component("hostile"))
        .unwrap()
}

fn limits() -> Limits {
    Limits {
        plugin_call: Duration::from_millis(500),
        plugin_memory_bytes: 64 << 20,
        ..Limits::default()
    }
}

/// Returns a batch of two rows, `a` and `b`, with one column.
fn batch() -> Batch {
    let row = |number: u32| Row {
        start: 2 * number,
        end: 2 * number + 1,
        number,
        line: number,
        cells: IN_PLACE,
    };
    Batch {
        raw: b"a\nb\n".to_vec(),
        in_place: true,
        rows: vec![row(0), row(1)],
        starts: vec![0, 2],
        ends: vec![1, 3],
        ..Batch::default()
    }
}

/// Runs the hostile plugin in this mode, from `open` to `finish`.
fn outcome(mode: &str, stop: &Stop) -> Result<(), Error> {
    let config = format!(r#"{{"mode": "{mode}"}}"#);
    let plugin = hostile(&limits());
    let (mut instance, _) = plugin.open(&["x".into()], Format::Csv, &config, stop.clone())?;
    let result = instance
        .process(&mut batch())
        .map(drop)
        .and_then(|()| instance.finish().map(drop));
    if result.is_err() {
        let again = instance
            .process(&mut batch())
            .expect_err("a failed instance is not called again");
        assert!(again.to_string().contains("after it had failed"));
    }
    result
}

#[track_caller]
fn fails_with(mode: &str, code: Code, why: &str) {
    let error = outcome(mode, &Stop::default()).expect_err(mode);
    assert_eq!(
        (error.class(), error.code()),
        (Class::Permanent, code),
        "{mode}: {}",
        error.report()
    );
    assert!(error.report().contains(why), "{mode}: {}", error.report());
}

#[test]
fn an_endless_loop_meets_its_deadline() {
    fails_with(
        "loop",
        Code::PluginTimeout,
        "process took longer than the limit of 500ms",
    );
    fails_with("loop-in-open", Code::PluginTimeout, "open took longer");
    fails_with("loop-in-finish", Code::PluginTimeout, "finish took longer");
}

#[test]
fn a_panic_is_told_in_its_own_words() {
    fails_with(
        "panic",
        Code::PluginTrap,
        "process trapped: asked to panic at record 1 (at plugins/hostile/src/lib.rs:",
    );
    fails_with("panic-in-open", Code::PluginTrap, "open trapped");
    fails_with("panic-in-finish", Code::PluginTrap, "finish trapped");
}

#[test]
fn memory_has_an_end() {
    fails_with(
        "allocate",
        Code::PluginMemory,
        "needed more memory than the limit of 67108864 bytes",
    );
    fails_with("recurse", Code::PluginTrap, "process trapped: wasm trap: ");
}

#[test]
fn a_plugin_may_refuse_or_fail_with_a_sentence() {
    fails_with("refuse", Code::InputRefused, "refuses the input: ");
    fails_with("fail", Code::PluginFailed, "asked to fail");
    fails_with("fail-in-finish", Code::PluginFailed, "plugin ");
    let error = hostile(&limits())
        .check(r#"{"mode": "refuse-config"}"#)
        .expect_err("refused");
    assert_eq!(error.code(), Code::PluginConfig, "{error}");
}

#[test]
fn floods_are_cut_off_and_harm_nobody() {
    for mode in [
        "keep",
        "edit",
        "reject",
        "print",
        "flood-log",
        "long-log",
        "flood-counters",
    ] {
        let mut limits = limits();
        limits.plugin_call = Duration::from_secs(30);
        let plugin = hostile(&limits);
        let config = format!(r#"{{"mode": "{mode}"}}"#);
        let (mut instance, _) = plugin
            .open(&["x".into()], Format::Csv, &config, Stop::default())
            .expect(mode);
        instance.process(&mut batch()).expect(mode);
        instance.finish().expect(mode);
        assert!(instance.take_counters().len() <= limits.plugin_counters, "{mode}");
    }
}

#[test]
fn there_is_no_way_out() {
    let plugin = hostile(&limits());
    let config = r#"{"mode": "escape"}"#;
    let (mut instance, _) = plugin
        .open(&["x".into()], Format::Csv, config, Stop::default())
        .unwrap();
    instance.process(&mut batch()).unwrap();
    let ways_out = instance.take_counters();
    assert!(ways_out.is_empty(), "ways out: {ways_out:?}");
}

#[test]
fn sleep_is_no_way_around_the_deadline() {
    fails_with("sleep", Code::PluginTrap, "a plugin cannot sleep or wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_prints_can_be_checked_within_a_runtime() {
    hostile(&limits()).check(r#"{"mode": "print-in-check"}"#).unwrap();
}

#[test]
fn output_has_an_end() {
    let limits = Limits {
        plugin_memory_bytes: 1 << 30,
        plugin_call: Duration::from_secs(60),
        changes_bytes_max: 1 << 20,
        ..Limits::default()
    };
    let plugin = hostile(&limits);
    for mode in ["flood-output", "long-cell"] {
        let config = format!(r#"{{"mode": "{mode}"}}"#);
        let (mut instance, _) = plugin
            .open(&["x".into()], Format::Csv, &config, Stop::default())
            .unwrap();
        let error = instance.process(&mut batch()).expect_err(mode);
        assert!(
            error.report().contains("more than the limit of 1048576"),
            "{mode}: {}",
            error.report()
        );
    }
}

#[test]
fn a_stop_ends_a_running_plugin() {
    let stop = Stop::default();
    let from_elsewhere = stop.clone();
    let plugin = hostile(&Limits {
        plugin_call: Duration::from_secs(600),
        ..Limits::default()
    });
    let (mut instance, _) = plugin
        .open(&["x".into()], Format::Csv, r#"{"mode": "loop"}"#, stop)
        .unwrap();
    let stopper = std::thread::spawn(move || from_elsewhere.request(Class::LeaseLost, "the lease was lost"));
    let error = instance.process(&mut batch()).expect_err("stopped");
    assert_eq!(error.class(), Class::LeaseLost);
    stopper.join().unwrap();
}

#[test]
fn a_failing_plugin_leaves_a_dead_letter_and_its_neighbour_alone() {
    let host = Host::embedded();
    host.write("in.csv", "a,b\n1,2\n3,4\n");
    for name in ["hostile", "clean"] {
        host.run_with("plugin push", &[component(name).to_str().unwrap()])
            .ok();
    }
    let version = env!("CARGO_PKG_VERSION");
    let config = r#"{"mode": "panic", "at": 2}"#;
    host.run_with(
        &format!("plugin bind --queue bad hostile@{version} --config"),
        &[config],
    )
    .ok();
    host.run(&format!("plugin bind --queue good clean@{version}"))
        .ok();
    host.run("submit --queue bad --uri in.csv --id bad").ok();
    host.run("submit --queue good --uri in.csv --id good").ok();
    let said = host.run("run --queue bad --queue good --concurrency 2 --burst --allow-root .");
    assert_eq!(said.code, Some(1), "a request died: {}", said.stderr);
    assert!(said.stdout.starts_with("1 done, 1 dead"), "{}", said.stdout);
    let bad = host.status("bad");
    assert_eq!(bad["state"], "dead");
    assert!(
        bad["error"]
            .as_str()
            .unwrap()
            .starts_with("plugin hostile: records 1 to 2: process trapped"),
        "{bad}"
    );
    assert!(!host.path("out/bad/bad.csv").exists());
    let output = path_of(&host.status("good")["receipt"]["outputs"][0]["uri"]);
    assert_eq!(std::fs::read_to_string(output).unwrap(), "a,b\n1,2\n3,4\n");
}

#[test]
fn a_component_that_wants_more_than_is_granted_is_refused() {
    let host = Host::embedded();
    let wants_http = r#"
        (component
          (import "wasi:http/outgoing-handler@0.2.0" (instance (export "handle" (func))))
          (instance $transform)
          (export "ingest:plugin/transform@0.1.0" (instance $transform)))"#;
    host.write("http.wasm", wat::parse_str(wants_http).unwrap());
    let said = host.run("plugin inspect http.wasm").refused(1);
    assert!(
        said.contains("not granted") && said.contains("wasi:http"),
        "{said}"
    );
}

#[test]
fn more_instances_than_there_is_room_for_are_a_matter_of_time() {
    let plugin = hostile(&Limits::default());
    let mut instances = Vec::new();
    let error = loop {
        match plugin.start(Stop::default()) {
            Ok(instance) => instances.push(instance),
            Err(error) => break error,
        }
        assert!(instances.len() < 10_000, "there is a bound");
    };
    assert_eq!(error.class(), Class::Transient, "{}", error.report());
    assert!(instances.len() > 500, "{}", instances.len());
    instances.pop();
    plugin.start(Stop::default()).unwrap();
}

/// Checks that results do not depend on the type of processor. WebAssembly does not define the bits of a NaN, or the
/// results of relaxed instructions.
#[test]
fn no_processor_shows() {
    let computes = |core: &str, is_right: &str| {
        let plugin = HandWrittenPlugin {
            core: core.into(),
            process: format!("(if (i32.eqz {is_right}) (then unreachable)) (i32.const {ANSWER})"),
            data: vec![(ANSWER, crate::support::wat::words(&[0; 7]))],
            ..HandWrittenPlugin::default()
        };
        let engine = Engine::new(&limits(), None).unwrap();
        let plugin = engine.load(&plugin.component()).unwrap();
        let (mut instance, _) = plugin
            .open(&["n".into()], Format::Csv, "{}", Stop::default())
            .unwrap();
        instance.process(&mut batch()).map(drop).map_err(|e| e.report())
    };
    let canonical = "(i64.const 0x7ff8000000000000)";
    for (core, result) in [
        (
            "(global $a (mut f64) (f64.const nan:0x8000000000123))",
            "(f64.add (global.get $a) (f64.const 1))",
        ),
        (
            "(global $a (mut f64) (f64.const -nan))",
            "(f64.mul (global.get $a) (f64.const 2))",
        ),
        (
            "(global $a (mut f64) (f64.const 0))",
            "(f64.div (global.get $a) (global.get $a))",
        ),
        (
            "(global $a (mut f64) (f64.const -1))",
            "(f64.sqrt (global.get $a))",
        ),
    ] {
        computes(
            core,
            &format!("(i64.eq (i64.reinterpret_f64 {result}) {canonical})"),
        )
        .unwrap();
    }
    // A vector has lanes 0 to 15. Lane 16 does not exist, so the result is 0.
    let swizzle = "(i8x16.relaxed_swizzle (global.get $a) (i8x16.splat (i32.const 16)))";
    computes(
        "(global $a (mut v128) (v128.const i64x2 0x0707070707070707 0x0707070707070707))",
        &format!("(i32.eqz (v128.any_true {swizzle}))"),
    )
    .unwrap();
    computes("", "(i32.const 0)").unwrap_err();
}
