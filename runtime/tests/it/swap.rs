//! Tests the swap of a plugin: between two claims, a queue gets another plugin. No request is lost, none
//! fails, and none is processed by both plugins.

use std::collections::HashMap;

use serde_json::Value;

use crate::support::host::{Host, component, path_of, wait_for};
use crate::support::http::Files;

on_both_queues! {
    twenty_swaps_under_load
    an_attempt_keeps_its_binding
    a_bad_candidate_changes_nothing
}

/// Checks that a running attempt keeps its plugin until its end, even if the binding changes. The next attempt uses the
/// new binding.
fn an_attempt_keeps_its_binding(host: &Host) {
    let files = Files::serve();
    let rows: String = (0..200_000).map(|n| format!("{n},x\n")).collect();
    let url = files.hold("in.csv", format!("n,mark\n{rows}"));
    push(host, "clean");
    bind(host, 1);
    let mut worker = host.worker("--queue q --allow-host 127.0.0.1");
    host.run(&format!("submit --queue q --uri {url} --id held")).ok();
    worker.wait_for_log("claimed");
    // The server holds back the second half of the input. The wait ends when a batch of the first half has been
    // processed.
    wait_for("records to be counted", || {
        host.status("held")["progress"]["records"]
            .as_u64()
            .filter(|&records| records > 0)
    });
    bind(host, 2);
    files.let_go("in.csv");
    host.run(&format!("submit --queue q --uri {url} --id next")).ok();
    for (id, mark) in [("held", 1), ("next", 2)] {
        let receipt = &host.wait_for_state(id, "done")["receipt"];
        assert_eq!(receipt["binding"], mark);
        let output = std::fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap();
        assert_eq!(output.lines().count(), 200_001);
        assert!(
            output
                .lines()
                .skip(1)
                .all(|line| line.ends_with(&format!(",{mark}"))),
            "{id} is mixed"
        );
    }
    assert_eq!(worker.stop().0, Some(0));
}

/// Binds the config `{"columns": {"mark": {"constant": "N"}}}` for each N from 1 to 20 while workers are busy. All rows
/// of an output must have the mark of the binding that its receipt names.
fn twenty_swaps_under_load(host: &Host) {
    let files = Files::serve();
    let rows: String = (0..2_000).map(|n| format!("{n},x\n")).collect();
    let url = files.put("in.csv", format!("n,mark\n{rows}"));
    push(host, "clean");
    bind(host, 1);
    let words = "--queue q --concurrency 2 --allow-host 127.0.0.1";
    let workers = [host.worker(words), host.worker(words)];
    for number in 1..=20 {
        if number > 1 {
            bind(host, number);
        }
        for request in 0..5 {
            host.run(&format!("submit --queue q --uri {url} --id r{number}-{request}"))
                .ok();
        }
        // The next binding follows when at least one of these requests is done. Usually, others still run then.
        wait_for("a request to be done", || {
            (counts(host)["done"].as_u64() > Some(5 * (number - 1))).then_some(())
        });
    }
    wait_for("all requests to be done", || {
        (counts(host)["done"] == 100).then_some(())
    });
    for worker in workers {
        let (code, log) = worker.stop();
        assert_eq!(code, Some(0), "{log}");
    }
    assert_eq!(host.run("queue audit").ok(), "q  no findings\n");

    let mut seen: HashMap<u64, u32> = HashMap::new();
    for status in host
        .run("requests --queue q --state done --limit 1000 --json")
        .json()
    {
        let receipt = &status["receipt"];
        let binding = receipt["binding"].as_u64().expect("a binding");
        let output = std::fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap();
        let expected: String = (0..2_000).map(|n| format!("{n},{binding}\n")).collect();
        assert_eq!(
            output,
            format!("n,mark\n{expected}"),
            "request {} under binding {binding}",
            status["id"]
        );
        assert_eq!((&status["attempts"], &status["lost"]), (&1.into(), &0.into()));
        *seen.entry(binding).or_default() += 1;
    }
    assert_eq!(seen.values().sum::<u32>(), 100);
    assert_eq!(seen.len(), 20, "every binding was taken up: {seen:?}");
}

fn a_bad_candidate_changes_nothing(host: &Host) {
    let files = Files::serve();
    let url = files.put("in.csv", "n,mark\n1,x\n");
    push(host, "clean");
    push(host, "hostile");
    bind(host, 7);

    host.write("text.wasm", "not wasm");
    host.write("core.wasm", wat::parse_str("(module)").unwrap());
    host.write("other.wasm", wat::parse_str(OTHER_INTERFACE).unwrap());
    host.write("empty.wasm", wat::parse_str("(component)").unwrap());
    for (file, code, why) in [
        ("text.wasm", 1, "not a WebAssembly file"),
        ("core.wasm", 1, "a core WebAssembly module, not a component"),
        (
            "other.wasm",
            1,
            "speaks ingest:plugin@0.3.0 and this host speaks ingest:plugin@0.1.0 and ingest:plugin@0.2.0",
        ),
        ("empty.wasm", 1, "no ingest plugin"),
        ("missing.wasm", 2, "No such file"),
    ] {
        let said = host.run(&format!("plugin push {file}")).refused(code);
        assert!(said.contains(why) && said.contains(file), "{said}");
    }
    let version = version(host, "clean");
    for (words, config, code, why) in [
        (
            format!("clean@{version}"),
            r#"{"colums": {}}"#,
            1,
            "unknown field `colums`",
        ),
        (format!("clean@{version}"), "[]", 2, "is not a JSON object"),
        (
            format!("hostile@{version}"),
            r#"{"mode": "refuse-config"}"#,
            1,
            "refuses the config",
        ),
        ("clean@9.9.9".into(), "{}", 1, "push it first"),
        ("clean".into(), "{}", 2, "has no version: write clean@"),
        ("sha256:00000000".into(), "{}", 1, "push it first"),
    ] {
        let said = host
            .run_with(&format!("plugin bind --queue q {words} --config"), &[config])
            .refused(code);
        assert!(said.contains(why), "{said}");
    }

    host.run(&format!("submit --queue q --uri {url} --id one")).ok();
    host.run("run --queue q --burst --allow-host 127.0.0.1").ok();
    let receipt = &host.status("one")["receipt"];
    assert_eq!(receipt["binding"], 1);
    assert_eq!(
        std::fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap(),
        "n,mark\n1,7\n"
    );
}

#[test]
fn rollback_goes_back_step_by_step_and_history_tells() {
    let host = Host::embedded();
    push(&host, "clean");
    host.run("submit --no-check --queue q --uri in.csv").ok();
    let said = host.run("plugin rollback --queue q").refused(1);
    assert!(said.contains("q: has no plugin bound"), "{said}");
    for number in 1..=3 {
        bind(&host, number);
    }
    assert!(host.run("plugin rollback --queue q").ok().contains("binding 4"));
    assert!(host.run("plugin rollback --queue q").ok().contains("binding 5"));
    let said = host.run("plugin rollback --queue q").refused(1);
    assert!(said.contains("has no binding before the one in force"), "{said}");
    let history = host.run("plugin history --queue q --json").json();
    let column = |name: &str| {
        history
            .iter()
            .map(|binding| binding[name].clone())
            .collect::<Vec<Value>>()
    };
    assert_eq!(column("number"), [5, 4, 3, 2, 1]);
    assert_eq!(
        column("rollback_of"),
        [
            Value::from(1),
            Value::from(2),
            Value::Null,
            Value::Null,
            Value::Null
        ]
    );
    assert_eq!(history[0]["config"], history[4]["config"]);
    let listed = host.run("plugin list").ok();
    assert!(listed.contains("clean@"), "{listed}");
}

#[test]
fn a_binding_that_cannot_be_read_is_listed_and_passed_over() {
    let host = Host::embedded();
    push(&host, "clean");
    for number in 1..=3 {
        bind(&host, number);
    }
    let db = rusqlite::Connection::open(host.path("queue.db")).unwrap();
    let newer = r#"UPDATE binding SET document = '{"sampling": 2, "rollback_of": null}' WHERE number = 2"#;
    assert_eq!(db.execute(newer, []).unwrap(), 1);

    let history = host.run("plugin history --queue q --json").json();
    let numbers: Vec<_> = history.iter().map(|binding| &binding["number"]).collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert_eq!(history[1]["code"], "host-outdated");
    assert_eq!(history[1]["rollback_of"], Value::Null);
    let why = history[1]["error"].as_str().unwrap();
    assert!(
        why.contains("this host cannot read binding 2: unknown field `sampling`"),
        "{why}"
    );
    assert!(history[0]["config"].is_string() && history[2]["config"].is_string());
    let table = host.run("plugin history --queue q").ok();
    let rows: Vec<_> = table.lines().collect();
    assert!(rows[0].ends_with("  NOTES"), "{table}");
    assert!(
        rows[2].contains("(unreadable)") && rows[2].contains("unknown field `sampling`"),
        "{table}"
    );

    let rollback = host.run("plugin rollback --queue q");
    let (stdout, stderr) = (rollback.stdout.clone(), rollback.stderr.clone());
    rollback.ok();
    assert!(
        stdout.contains("q  binding 4: clean@") && stdout.contains(", as binding 1"),
        "{stdout}"
    );
    assert!(stderr.contains("passed over binding 2: "), "{stderr}");
    let history = host.run("plugin history --queue q --json").json();
    assert_eq!(history[0]["config"], history[3]["config"]);
    // No earlier binding exists.
    let said = host.run("plugin rollback --queue q").refused(1);
    assert!(said.contains("has no binding before the one in force"), "{said}");
}

/// Checks that a bind says which settings of the binding before it leaves out.
#[test]
fn a_bind_tells_what_it_leaves_out() {
    let host = Host::embedded();
    push(&host, "clean");
    push(&host, "alarms");
    let (clean, alarms) = (version(&host, "clean"), version(&host, "alarms"));
    let said = |words: &str| {
        let said = host.run(&format!("plugin bind --queue q {words}"));
        let stderr = said.stderr.clone();
        said.ok();
        stderr
    };
    bind(&host, 1);
    let told = |what: &str, number: u32| {
        format!(
            "without the {what} of binding {number}: `ingest-host plugin rollback --queue q` restores that binding\n"
        )
    };
    assert_eq!(said(&format!("clean@{clean}")), told("config", 1));
    assert_eq!(said(&format!("clean@{clean}")), "");
    assert_eq!(
        said(&format!("clean@{clean} --limit traps=0 --max-rejects 1 --trim")),
        ""
    );
    // The config of another plugin means nothing to this one.
    assert_eq!(
        said(&format!("alarms@{alarms}")),
        told("limits, bounds on rejects, input options", 4)
    );
    bind(&host, 2);
    assert_eq!(said(&format!("alarms@{alarms}")), "");
}

/// Checks that a worker with --plugin says that it does not use the binding of its queue.
#[test]
fn a_worker_tells_that_its_file_overrides_a_binding() {
    let host = Host::embedded();
    push(&host, "clean");
    bind(&host, 1);
    host.run("queue pause --queue free").ok();
    host.run("queue resume --queue free").ok();
    for (words, count) in [
        ("--queue q", 1),
        ("--queue free --queue q", 1),
        ("--queue free", 0),
    ] {
        let words = format!("run {words} --burst --plugin");
        let said = host.run_with(&words, &[component("alarms").to_str().unwrap()]);
        let lines = said
            .stderr
            .lines()
            .filter(|line| line.contains("--plugin overrides"));
        let lines: Vec<_> = lines.collect();
        assert_eq!(lines.len(), count, "{}", said.stderr);
        for line in lines {
            assert!(line.contains("WARN") && line.contains("queue=\"q\""), "{line}");
            assert!(line.contains("binding=1") && line.contains("clean@"), "{line}");
        }
        said.ok();
    }
    let said = host.run("run --queue q --burst");
    assert!(!said.stderr.contains("overrides"), "{}", said.stderr);
}

#[test]
fn a_worker_waits_for_a_binding_and_a_burst_says_that_there_is_none() {
    let host = Host::embedded();
    let files = Files::serve();
    let url = files.put("in.csv", "n,mark\n1,x\n");
    host.run(&format!("submit --queue q --uri {url} --id one")).ok();
    let said = host
        .run("run --queue q --burst --allow-host 127.0.0.1")
        .refused(1);
    assert!(said.contains("plugin bind --queue q"), "{said}");
    let worker = host.worker("--queue q --allow-host 127.0.0.1");
    push(&host, "clean");
    bind(&host, 1);
    host.wait_for_state("one", "done");
    assert_eq!(worker.stop().0, Some(0));
}

#[test]
fn a_watched_file_is_taken_up_and_a_broken_one_is_not() {
    let host = Host::embedded();
    let files = Files::serve();
    let url = files.put(
        "in.csv",
        "id,station_id,alarm_id,parameter_id,start_time,end_time,value,threshold\n",
    );
    let copy = |name: &str| {
        // Like a build, this replaces the old file with the new file in one step.
        std::fs::copy(component(name), host.path("new.wasm")).unwrap();
        std::fs::rename(host.path("new.wasm"), host.path("plugin.wasm")).unwrap();
    };
    copy("clean");
    let mut worker = host.worker("--queue q --allow-host 127.0.0.1 --plugin plugin.wasm --watch");
    let plugin_of = |id: &str| {
        host.run(&format!("submit --queue q --uri {url} --id {id}")).ok();
        host.wait_for_state(id, "done")["receipt"]["plugin"]["name"].clone()
    };
    assert_eq!(plugin_of("one"), "clean");
    copy("alarms");
    worker.wait_for_log("taken up");
    assert_eq!(plugin_of("two"), "alarms");
    host.write("plugin.wasm", "broken");
    worker.wait_for_log("keeping the one before");
    assert_eq!(plugin_of("three"), "alarms");
    assert_eq!(worker.stop().0, Some(0));
}

/// Checks that a watched plugin file is loaded again if it could not be used before. The cause can disappear without a
/// change of the file's size or time.
#[test]
fn a_watched_file_that_could_not_be_used_is_tried_again() {
    let host = Host::embedded();
    let clean = std::fs::read(component("clean")).unwrap();
    std::fs::copy(component("hostile"), host.path("plugin.wasm")).unwrap();
    let changed_at = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    let put = |bytes: &[u8]| {
        let path = host.write("new.wasm", bytes);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(changed_at).unwrap();
        std::fs::rename(path, host.path("plugin.wasm")).unwrap();
    };
    let mut worker = host.worker("--queue q --allow-root . --plugin plugin.wasm --watch");
    host.write("in.csv", "n\n1\n");
    host.run("submit --queue q --uri in.csv --id one").ok();
    host.wait_for_state("one", "done");
    put(&vec![0; clean.len()]);
    worker.wait_for_log("keeping the one before");
    put(&clean);
    worker.wait_for_log("taken up");
    assert_eq!(worker.stop().0, Some(0));
}

/// A component that exports the interface of another version.
const OTHER_INTERFACE: &str = r#"
    (component
      (instance $transform)
      (export "ingest:plugin/transform@0.3.0" (instance $transform)))"#;

fn push(host: &Host, name: &str) {
    host.run_with("plugin push", &[component(name).to_str().unwrap()])
        .ok();
}

fn version(host: &Host, name: &str) -> String {
    let said = host
        .run_with("plugin inspect --json", &[component(name).to_str().unwrap()])
        .json();
    said[0]["version"].as_str().expect("a version").to_owned()
}

fn bind(host: &Host, mark: u64) {
    let config = format!(r#"{{"columns": {{"mark": {{"constant": "{mark}"}}}}}}"#);
    let version = version(host, "clean");
    host.run_with(
        &format!("plugin bind --queue q clean@{version} --config"),
        &[&config],
    )
    .ok();
}

fn counts(host: &Host) -> Value {
    host.run("queue list --json").json().remove(0)
}
