//! Tests limits at their edges. The largest allowed value is accepted, and the next value is refused.

use ingest_host::config::Limits;
use ingest_host::format::Format;
use ingest_host::plugin::Engine;
use ingest_host::request::InputOptions;
use serde_json::json;

use crate::support::host::{CommandOutput, Host, cache, component};
use crate::support::pipeline::{PipelineRun, RunOutcome, plugin};

/// Runs the hostile plugin on a CSV file with the header `n` and these records.
fn run(config: &str, records: &str, limits: Limits) -> Result<RunOutcome, String> {
    let input = format!("n\n{records}");
    PipelineRun::of(&plugin("hostile"), config, &input, limits)
        .run(1)
        .map_err(|error| error.report())
}

/// Runs the hostile plugin on these records, in a mode that takes a size.
fn run_size(mode: &str, size: usize, records: &str, limits: &Limits) -> Result<RunOutcome, String> {
    let config = format!(r#"{{"mode": "{mode}", "size": {size}}}"#);
    run(&config, records, limits.clone())
}

/// Runs the program on a small file with the hostile plugin.
fn ingest(config: &str, limits: &[&str]) -> CommandOutput {
    let host = Host::embedded();
    host.write("in.csv", "n\n1\n2\n");
    let limits = limits.iter().map(|limit| format!("--limit={limit}"));
    let output = host
        .command()
        .env("RUST_LOG", "info")
        .args(["ingest", "in.csv", "--plugin-config", config, "--plugin"])
        .arg(component("hostile"))
        .args(limits)
        .output();
    CommandOutput::new(&output.unwrap())
}

#[test]
fn a_record_makes_so_many_rows() {
    let limits = Limits {
        record_rows_max: 1_000,
        ..Limits::default()
    };
    let rows = |size| run_size("flood-output", size, "1\n2\n", &limits);
    assert_eq!(rows(1_000).unwrap().records.written, 1_002);
    let error = rows(1_001).unwrap_err();
    let sentence = "plugin hostile: record 1: made 1001 rows of one record, more than the limit of 1000 (--limit record-rows)";
    assert_eq!(error, sentence);
}

#[test]
fn a_call_returns_so_many_bytes() {
    let limits = Limits {
        changes_bytes_max: 100_000,
        ..Limits::default()
    };
    let cell = |size| run_size("long-cell", size, "1\n", &limits);
    // Apart from the cell, the plugin returns one verdict of 1 byte and three operands of 4 bytes.
    let of_the_rest = 1 + 3 * 4;
    let outcome = cell(100_000 - of_the_rest).unwrap();
    assert_eq!(
        outcome.output.len(),
        "n\n".len() + 100_000 - of_the_rest + "\n".len()
    );
    let error = cell(100_001 - of_the_rest).unwrap_err();
    assert!(
        error.starts_with("plugin hostile: records 1 to 1: breaks the interface: process returned"),
        "{error}"
    );
    assert!(
        error.contains("more than the limit of 100000 bytes (--limit call-bytes)"),
        "{error}"
    );
}

#[test]
fn an_output_has_so_many_bytes() {
    let config = r#"{"mode": "reject", "on": "2"}"#;
    let output = |bytes| {
        let limits = Limits {
            output_bytes_max: bytes,
            ..Limits::default()
        };
        run(config, "1\n2\n3\n", limits)
    };
    let outcome = output(1 << 20).unwrap();
    let all = (outcome.output.len() + outcome.rejects.len()) as u64;
    assert_eq!(output(all).unwrap(), outcome);
    let error = output(all - 1).unwrap_err();
    assert_eq!(
        error,
        format!(
            "commit output and rejects have more than the limit of {} bytes (--limit output-bytes)",
            all - 1
        )
    );
}

#[test]
fn a_plugin_logs_so_many_bytes() {
    // The text `line 0 of a flood` has 17 bytes, and each line costs 32 bytes more.
    let cost = 17 + 32;
    for (bytes, lines) in [(10 * cost, 10), (10 * cost - 1, 9), (0, 0)] {
        let said = ingest(
            r#"{"mode": "flood-log", "size": 10}"#,
            &[&format!("log-bytes={bytes}")],
        );
        assert_eq!(
            said.stderr.matches(" of a flood").count(),
            lines,
            "{}",
            said.stderr
        );
        assert_eq!(said.stderr.contains("lines=1"), lines == 9, "{}", said.stderr);
        said.ok();
    }
}

#[test]
fn the_instances_after_a_trap_log_what_is_left() {
    // The text `seen` has 4 bytes, and each line costs 32 bytes more.
    let cost = 4 + 32;
    let config = r#"{"mode": "panic", "on": "2", "log": true}"#;
    for lines in [0, 1, 3] {
        let said = ingest(config, &[&format!("log-bytes={}", lines * cost)]);
        assert_eq!(said.stderr.matches(" seen").count(), lines, "{}", said.stderr);
        said.ok();
    }
}

#[test]
fn a_call_and_a_request_take_so_long() {
    let said = ingest(r#"{"mode": "loop-in-finish"}"#, &["call-time=50ms"]).refused(1);
    assert!(
        said.contains("finish took longer than the limit of 50ms (--limit call-time)"),
        "{said}"
    );
    let said = ingest(r#"{"mode": "loop-in-finish"}"#, &["request-time=500ms"]).refused(1);
    assert!(
        said.contains("stopped: the attempt took longer than its limit (--limit request-time)"),
        "{said}"
    );
    ingest(r#"{"mode": "dawdle"}"#, &["call-time=5s", "request-time=1m"]).ok();
}

#[test]
fn a_component_has_so_many_bytes() {
    let bytes = std::fs::read(component("clean")).unwrap();
    let load = |bytes_max| {
        let limits = Limits {
            component_bytes_max: bytes_max,
            ..Limits::default()
        };
        let engine = Engine::new(&limits, Some(cache())).unwrap();
        engine.load_file(&component("clean")).and(engine.load(&bytes))
    };
    load(bytes.len()).unwrap();
    let error = load(bytes.len() - 1).unwrap_err().to_string();
    let sentence = format!("the component has {} bytes, more than the limit of", bytes.len());
    assert!(error.contains(&sentence), "{error}");
}

#[test]
fn a_limit_that_does_not_exist_is_wrong_usage() {
    let said = ingest("{}", &["memory=1TiB"]).refused(2);
    assert!(said.contains("memory is from 1MiB to 4GiB"), "{said}");
    let host = Host::embedded();
    let bind = host.run("plugin bind --queue q clean@0.1.0 --limit component-bytes=1MiB");
    let said = bind.refused(2);
    assert!(
        said.contains("component-bytes is for a worker to set, not for a binding"),
        "{said}"
    );
}

#[test]
fn a_binding_lowers_what_a_worker_allows() {
    let host = Host::embedded();
    host.write("in.csv", "n\n1\n");
    host.run_with("plugin push", &[component("hostile").to_str().unwrap()])
        .ok();
    let version = env!("CARGO_PKG_VERSION");
    // If the binding and the worker set the same limit, the lower value applies.
    for (queue, of_binding, of_worker, state) in [
        ("a", "record-rows=9", "record-rows=10", "dead"),
        ("b", "record-rows=10", "record-rows=9", "dead"),
        ("c", "record-rows=10", "record-rows=10", "done"),
    ] {
        let bind = format!("plugin bind --queue {queue} hostile@{version} --limit {of_binding} --config");
        host.run_with(&bind, &[r#"{"mode": "flood-output", "size": 10}"#])
            .ok();
        host.run(&format!("submit --queue {queue} --uri in.csv --id {queue}"))
            .ok();
        let said = host.run(&format!(
            "run --queue {queue} --burst --allow-root . --limit {of_worker}"
        ));
        assert!(
            said.stderr.contains(&format!(" limits=\"{of_worker}\" ")),
            "it is logged: {}",
            said.stderr
        );
        let status = host.status(queue);
        assert_eq!(status["state"], state, "{status}");
        if state == "dead" {
            assert_eq!(status["code"], "plugin-limit", "{status}");
            let error = status["error"].as_str().unwrap();
            assert!(
                error.contains("made 10 rows of one record, more than the limit of 9"),
                "{error}"
            );
        }
    }
    let history = host.run("plugin history --queue a").ok();
    assert!(history.contains("record-rows=9"), "{history}");
}

/// Runs the plugin `clean` with these rules for columns.
fn clean(input: &str, format: Format, columns: &serde_json::Value) -> Result<RunOutcome, String> {
    let (plugin, config) = (plugin("clean"), json!({ "columns": columns }).to_string());
    let work = PipelineRun {
        options: InputOptions {
            format: Some(format),
            ..InputOptions::default()
        },
        ..PipelineRun::of(&plugin, &config, input, Limits::default())
    };
    work.run(1).map_err(|error| error.report())
}

#[test]
fn an_output_has_so_many_columns() {
    let wide = |columns: usize| {
        let names: Vec<_> = (0..columns).map(|column| format!("c{column}")).collect();
        format!("{0}\n{0}\n", names.join(","))
    };
    let added = json!({ "k": { "constant": "1" } });
    assert!(clean(&wide(4_095), Format::Csv, &added).is_ok());
    let error = clean(&wide(4_096), Format::Csv, &added).unwrap_err();
    let sentence = "plugin clean: its output has 4097 columns, more than the 4096 allowed; --limit columns=4097 allows them";
    assert_eq!(error, sentence);
}

#[test]
fn the_name_of_a_column_has_so_many_bytes() {
    let [longest, longer] = [1_024, 1_025].map(|bytes| "n".repeat(bytes));
    for (input, format) in [("a\n1\n", Format::Csv), ("{\"a\":1}\n", Format::Jsonl)] {
        for rules in [
            |name: &str| json!({ "a": { "rename": name } }),
            |name: &str| json!({ name: { "constant": "1" } }),
        ] {
            let output = clean(input, format, &rules(&longest)).unwrap().output;
            assert!(output.contains(&longest));
            let error = clean(input, format, &rules(&longer)).unwrap_err();
            assert!(
                error.contains("with 1025 bytes, more than the 1024 allowed"),
                "{error}"
            );
        }
    }
}
