//! Tests what a plugin can read besides an input: reference data, and the origin of the input. The output can depend on
//! both, so the receipt names them, and other data or another origin is other work.

use ingest_host::error::Code;
use serde_json::Value;

use crate::support::host::{Host, component, path_of, sha256sum};
use crate::support::http::Files;

on_both_queues! {
    a_binding_keeps_its_reference_data
    a_binding_whose_data_is_lost_fails_the_request
    the_records_of_a_replay_come_from_the_first_input
}

const DATA: &str = r#"{"mode": "data"}"#;
const ORIGIN: &str = r#"{"mode": "origin", "on": "x"}"#;

fn output(receipt: &Value) -> String {
    std::fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap()
}

fn bind(host: &Host, data: &[&str]) -> Result<String, String> {
    let plugin = format!("hostile@{}", env!("CARGO_PKG_VERSION"));
    let mut arguments = vec![plugin.as_str(), "--config", DATA];
    for data in data {
        arguments.extend(["--data", data]);
    }
    let said = host.run_with("plugin bind --queue q", &arguments);
    match said.code {
        Some(0) => Ok(said.stderr),
        _ => Err(said.stderr),
    }
}

/// Runs a request, and returns its receipt.
fn request(host: &Host, id: &str) -> Value {
    host.run(&format!("submit --queue q --uri in.csv --id {id}")).ok();
    host.run("run --queue q --burst --allow-root .").ok();
    host.status(id)["receipt"].clone()
}

/// Checks that `bind` reads the data once, that a new binding has other data, and that a rollback restores the former
/// data although nobody serves it any more.
fn a_binding_keeps_its_reference_data(host: &Host) {
    host.write("in.csv", "n\nx\n");
    host.run_with("plugin push", &[component("hostile").to_str().unwrap()])
        .ok();
    let refused = bind(host, &[]).unwrap_err();
    assert!(refused.contains("there is no reference data"), "{refused}");

    let files = Files::serve();
    let url = files.put("t.txt", "first");
    let secret = url.replace("http://", "http://me:secret@");
    bind(host, &[&format!("t={secret}"), "other.csv=in.csv"]).unwrap();
    let receipt = request(host, "one");
    assert_eq!(output(&receipt), "n\nother.csv+t:first\n");
    let first = &receipt["steps"][0]["data"]["t"];
    let copy = host.write("copy", "first");
    assert_eq!(*first, sha256sum(&copy));

    files.put("t.txt", "second");
    assert_eq!(output(&request(host, "two")), "n\nother.csv+t:first\n");
    bind(host, &[&format!("t={url}")]).unwrap();
    let receipt = request(host, "three");
    assert_eq!(output(&receipt), "n\nt:second\n");
    assert_ne!(receipt["steps"][0]["data"]["t"], *first);

    drop(files);
    host.run("plugin rollback --queue q").ok();
    assert_eq!(output(&request(host, "four")), "n\nother.csv+t:first\n");
    assert_eq!(host.run("queue audit").ok(), "q  no findings\n");

    let history = host.run("plugin history --queue q --json").json();
    let data = &history[0]["steps"][0]["data"];
    assert_eq!((&data["t"]["sha256"], &data["t"]["bytes"]), (first, &5.into()));
    assert_eq!(data["t"]["uri"], url);
    assert_eq!(history[0]["data"], *data);
    let shown = host.run("plugin history --queue q").ok();
    let digest = &first.as_str().unwrap()[..12];
    assert!(shown.contains(&format!("data:t={digest}")), "{shown}");
    let report = host.run("report four").ok();
    assert!(
        report.contains(&format!("data     t  sha256:{digest}")),
        "{report}"
    );
}

/// Checks that a request is not processed without the data of its binding.
fn a_binding_whose_data_is_lost_fails_the_request(host: &Host) {
    host.write("in.csv", "n\nx\n");
    host.run_with("plugin push", &[component("hostile").to_str().unwrap()])
        .ok();
    bind(host, &["t=in.csv"]).unwrap();
    host.forget_data();
    host.run("submit --queue q --uri in.csv --id one").ok();
    host.run("run --queue q --burst --allow-root .").refused(1);
    let status = host.status("one");
    assert_eq!(status["state"], "dead");
    assert_eq!(status["code"], Code::PluginMissing.as_str());
    assert!(
        status["error"]
            .as_str()
            .unwrap()
            .contains("does not have the reference data \"t\""),
        "{status}"
    );
}

fn ingest(host: &Host, words: &str, config: &str) -> Value {
    let plugin = component("hostile");
    let words = format!(
        "ingest --json {words} --plugin {} --plugin-config",
        plugin.display()
    );
    host.run_with(&words, &[config]).json().remove(0)
}

#[test]
fn other_reference_data_is_other_work() {
    let host = Host::embedded();
    host.write("in.csv", "n\nx\n");
    host.write("a.txt", "a");
    host.write("b.txt", "b");
    let first = ingest(&host, "in.csv --data t=a.txt", DATA);
    assert_eq!(output(&first), "n\nt:a\n");
    let again = ingest(&host, "in.csv --data t=a.txt", DATA);
    assert_eq!(again["request"]["id"], first["request"]["id"]);
    assert_eq!(again["attempt"], first["attempt"], "it was done before");
    let second = ingest(&host, "in.csv --data t=b.txt", DATA);
    assert_eq!(output(&second), "n\nt:b\n");
    assert_ne!(second["request"]["id"], first["request"]["id"]);
    // Under one id, the other data is a conflict.
    ingest(&host, "in.csv --id one --data t=a.txt", DATA);
    let plugin = component("hostile");
    let words = "ingest in.csv --id one --data t=b.txt --plugin-config";
    let said = host
        .run_with(words, &[DATA, "--plugin", plugin.to_str().unwrap()])
        .refused(1);
    assert!(
        said.contains("the reference data of the plugin is other"),
        "{said}"
    );
}

#[test]
fn the_data_of_a_file_plugin_is_read_when_the_worker_starts() {
    let host = Host::embedded();
    host.write("in.csv", "n\nx\n");
    host.write("t.txt.gz", crate::support::inputs::gzip(b"packed"));
    let plugin = component("hostile");
    host.run("submit --queue q --uri in.csv --id one").ok();
    let words = format!(
        "run --queue q --burst --allow-root . --data t=t.txt.gz --plugin {} --plugin-config",
        plugin.display()
    );
    host.run_with(&words, &[DATA]).ok();
    assert_eq!(output(&host.status("one")["receipt"]), "n\nt:packed\n");
    let said = host.run("run --queue q --burst --data t=t.txt.gz").refused(2);
    assert!(said.contains("--data has no effect without --plugin"), "{said}");
}

#[test]
fn reference_data_that_cannot_be_read_is_named() {
    let host = Host::embedded();
    host.write("in.csv", "n\nx\n");
    let plugin = component("hostile");
    for (data, code, why) in [
        (&["t"][..], 2, "write NAME=FILE or NAME=URI"),
        (&["a b=in.csv"], 2, "is no name of reference data"),
        (&["t=none.csv"], 1, "--data t: none.csv"),
        (&["t=in.csv", "t=in.csv"], 2, "\"t\" is given twice"),
    ] {
        let mut arguments = vec!["--plugin", plugin.to_str().unwrap(), "--plugin-config", DATA];
        data.iter().for_each(|data| arguments.extend(["--data", data]));
        let said = host.run_with("ingest in.csv", &arguments).refused(code);
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn the_receipt_names_an_origin_that_the_plugin_uses() {
    let host = Host::embedded();
    host.run_with("plugin push", &[component("hostile").to_str().unwrap()])
        .ok();
    let plugin = format!("hostile@{}", env!("CARGO_PKG_VERSION"));
    host.run_with(&format!("plugin bind --queue q {plugin} --config"), &[ORIGIN])
        .ok();
    let files = Files::serve();
    let url = files.put("a.csv", "n\nx\n");
    host.run_with(
        "submit --queue q --id one --uri",
        &[&format!("{url}?token=secret")],
    )
    .ok();
    host.run("run --queue q --burst --allow-host 127.0.0.1").ok();
    let receipt = &host.status("one")["receipt"];
    assert_eq!(output(receipt), format!("n\none|{url}|a.csv\n"));
    let origin = &receipt["steps"][0]["origin"];
    assert_eq!(
        *origin,
        serde_json::json!({ "request_id": "one", "uri": url, "name": "a.csv" })
    );
}

/// Checks that each replay gives the plugin the id of the first request and the URI of its input.
fn the_records_of_a_replay_come_from_the_first_input(host: &Host) {
    host.write("in.csv", "n\nx\ny\n");
    host.run_with("plugin push", &[component("hostile").to_str().unwrap()])
        .ok();
    let plugin = format!("hostile@{}", env!("CARGO_PKG_VERSION"));
    let bind = |config: &str| {
        host.run_with(&format!("plugin bind --queue q {plugin} --config"), &[config])
            .ok();
    };
    let work = || {
        host.run("run --queue q --burst --burst-wait 0s --allow-root .")
            .ok()
    };
    bind(r#"{"mode": "reject", "on": "x"}"#);
    host.run("submit --queue q --uri in.csv --id one").ok();
    work();
    // The first replay rejects the record again, so the second one reads its rejects.
    bind(r#"{"mode": "reject", "on": "x", "text": "is rejected again"}"#);
    host.run("replay one").ok();
    work();
    bind(ORIGIN);
    host.run("replay one").ok();
    work();
    let receipt = &host.status("one.replay-2")["receipt"];
    let uri = host.path("in.csv").display().to_string();
    assert_eq!(output(receipt), format!("n\none|{uri}|in.csv\n"));
    assert_eq!(
        receipt["steps"][0]["origin"],
        serde_json::json!({ "request_id": "one", "uri": uri, "name": "in.csv" })
    );
}

#[test]
fn the_commands_of_an_author_give_reference_data() {
    let host = Host::embedded();
    host.write("t.txt", "seven");
    host.write("in.csv", "n\nx\n");
    std::fs::create_dir(host.path("cases")).unwrap();
    host.write("cases/a.csv", "n\nx\n");
    host.write("cases/a.config.json", DATA);
    host.write("cases/a.out.csv", "n\nt:seven\n");
    let plugin = component("hostile");
    let plugin = plugin.to_str().unwrap();
    let run = |words: &str, arguments: &[&str]| {
        let arguments = [&[plugin], arguments].concat();
        host.run_with(&format!("{words} --data t=t.txt"), &arguments)
    };
    let config = ["--plugin-config", DATA];
    let said = run("plugin test", &[]).ok();
    assert!(said.ends_with("1 case, all pass\n"), "{said}");
    let said = run("plugin try", &[&config[..], &["in.csv"]].concat()).ok();
    assert!(said.contains("x -> t:seven"), "{said}");
    let said = run("plugin bench --input in.csv", &config).ok();
    assert!(said.contains("1 records"), "{said}");
    let said = run("plugin inspect --columns n", &config).ok();
    assert!(
        said.contains("reads      n") && !said.contains("origin"),
        "{said}"
    );
    let words = "ingest in.csv --dry-run --data t=t.txt --plugin";
    let said = host.run_with(words, &[&[plugin], &config[..]].concat()).ok();
    assert!(said.contains("data     t  sha256:"), "{said}");
}

/// Checks that the expected output of a case can have the origin: it does not depend on the folder.
#[test]
fn the_origin_of_a_case_is_the_name_of_its_file() {
    let host = Host::embedded();
    std::fs::create_dir(host.path("cases")).unwrap();
    host.write("cases/a.csv", "n\nx\n");
    host.write("cases/a.config.json", ORIGIN);
    host.write("cases/a.out.csv", "n\nno id|a.csv|a.csv\n");
    let plugin = component("hostile");
    let said = host.run_with("plugin test", &[plugin.to_str().unwrap()]).ok();
    assert!(said.ends_with("1 case, all pass\n"), "{said}");
    let words = "plugin inspect --columns n --plugin-config";
    let said = host.run_with(words, &[ORIGIN, plugin.to_str().unwrap()]).ok();
    assert!(said.contains("origin     used: "), "{said}");
}

#[test]
fn another_origin_is_other_work_only_for_a_plugin_that_asks() {
    let host = Host::embedded();
    for folder in ["a", "b"] {
        std::fs::create_dir(host.path(folder)).unwrap();
        host.write(&format!("{folder}/in.csv"), "n\nx\n");
    }
    let ids = |config: &str| {
        ["a/in.csv", "b/in.csv"].map(|input| {
            let receipt = ingest(&host, input, config);
            let asks = config == ORIGIN;
            assert_eq!(receipt["steps"][0].get("origin").is_some(), asks);
            if asks {
                assert_eq!(output(&receipt), format!("n\nno id|{input}|in.csv\n"));
            }
            receipt["request"]["id"].clone()
        })
    };
    let [first, second] = ids(ORIGIN);
    assert_ne!(first, second);
    let [first, second] = ids("{}");
    assert_eq!(first, second);
}

/// Checks that a plugin cannot ask when the receipt can no longer say so.
#[test]
fn a_plugin_asks_in_open_or_not_at_all() {
    let host = Host::embedded();
    host.write("in.csv", "n\nx\ny\n");
    for (mode, why) in [
        (
            "late-origin",
            "a plugin may call origin in open only, not in process",
        ),
        (
            "late-data",
            "a plugin may call data in check and open only, not in process",
        ),
    ] {
        let config = format!(r#"{{"mode": "{mode}", "on": "x"}}"#);
        let receipt = ingest(&host, &format!("in.csv --id {mode}"), &config);
        assert_eq!(output(&receipt), "n\ny\n");
        let example = &receipt["rejects"]["examples"]["plugin-trap"][0]["reason"];
        assert!(example.as_str().unwrap().contains(why), "{example}");
    }
}
