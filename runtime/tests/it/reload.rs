//! Tests that SIGHUP makes a worker with a config file read it again. The new settings hold for new claims, and a broken
//! file changes nothing.

use std::fs;

use crate::support::host::{Host, Worker, component, path_of};
use crate::support::http::Files;

on_both_queues! {
    new_claims_get_the_new_settings_and_running_attempts_keep_theirs
    a_broken_file_changes_nothing
    settings_that_cannot_change_are_named
}

const CSV: &str = "a,b\n1,2\n";

fn configure(host: &Host, text: &str) {
    host.write("ingest-host.toml", text);
}

/// Starts a worker of queue `q`, after the file was written.
fn start(host: &Host, more: &str) -> Worker {
    let plugin = component("clean").display().to_string();
    let mut worker = host.worker(&format!(
        "--config-file ingest-host.toml --plugin {plugin} {more}"
    ));
    worker.wait_for_log("worker started");
    worker
}

fn output_folder(host: &Host, id: &str) -> String {
    let status = host.wait_for_state(id, "done");
    let path = path_of(&status["receipt"]["outputs"][0]["uri"]);
    let root = host.path("").canonicalize().unwrap();
    let first = path.strip_prefix(root).unwrap().iter().next().unwrap();
    first.to_str().unwrap().to_owned()
}

fn new_claims_get_the_new_settings_and_running_attempts_keep_theirs(host: &Host) {
    let files = Files::serve();
    let held = files.hold("held.csv", CSV);
    host.write("in.csv", CSV);
    let file = host.path("in.csv").display().to_string();
    configure(
        host,
        "[queues.q]\noutput = 'before'\nallow-host = ['127.0.0.1']\n",
    );
    let mut worker = start(host, "");
    host.submit("q", "held", &held);
    host.wait_for_state("held", "leased");
    worker.wait_for_log("claimed");

    configure(host, "[queues.q]\noutput = 'after'\nallow-root = ['.']\n");
    worker.signal("HUP");
    worker.wait_for_log("config file reloaded");
    // The folder is allowed only now, and the host no longer.
    host.submit("q", "file", &file);
    assert_eq!(output_folder(host, "file"), "after");
    host.submit("q", "http", &held);
    assert_eq!(host.wait_for_state("http", "dead")["code"], "address-refused");

    files.let_go("held.csv");
    assert_eq!(output_folder(host, "held"), "before");
    let (code, log) = worker.stop();
    assert_eq!(code, Some(0), "{log}");
}

fn a_broken_file_changes_nothing(host: &Host) {
    host.write("in.csv", CSV);
    let file = host.path("in.csv").display().to_string();
    configure(host, "[queues.q]\nallow-root = ['.']\n");
    let mut worker = start(host, "");
    fs::write(host.path("a-file"), "").unwrap();
    for (index, (text, why)) in [
        (
            "[queues.q]\nalow-root = ['.']\n",
            "ingest-host.toml:2:1: unknown key",
        ),
        ("[queues.q", "ingest-host.toml:1:10"),
        ("[queues.q]\nallow-root = ['missing']\n", "missing"),
        ("[queues.q]\noutput = 'a-file/'\nallow-root = ['.']\n", "a-file"),
    ]
    .into_iter()
    .enumerate()
    {
        configure(host, text);
        worker.signal("HUP");
        let line = worker.wait_for_log("config file not reloaded");
        assert!(
            line.contains("\"level\":\"ERROR\"") && line.contains(why),
            "{line}"
        );
        host.submit("q", &format!("r{index}"), &file);
        host.wait_for_state(&format!("r{index}"), "done");
    }
    fs::remove_file(host.path("ingest-host.toml")).unwrap();
    worker.signal("HUP");
    worker.wait_for_log("config file not reloaded");
    configure(host, "[queues.q]\nallow-root = ['.']\noutput = 'after'\n");
    worker.signal("HUP");
    worker.wait_for_log("config file reloaded");
    host.submit("q", "last", &file);
    assert_eq!(output_folder(host, "last"), "after");
}

fn settings_that_cannot_change_are_named(host: &Host) {
    configure(
        host,
        "url = 'redis://a'\nconcurrency = 2\nlease = 30\n[queues.q]\n",
    );
    let mut worker = start(host, "--lease 60");
    configure(
        host,
        "url = 'redis://b'\nlog-format = 'human'\nconcurrency = 3\nlease = 40\n[queues.q]\n[queues.r]\n",
    );
    worker.signal("HUP");
    let line = worker.wait_for_log("only at the next start");
    assert!(
        line.contains("\"settings\":\"url, log-format, queue, concurrency\""),
        "{line}"
    );
    configure(host, "concurrency = 2\n[queues.q]\nmin-records = 5\n");
    worker.signal("HUP");
    worker.wait_for_log("config file reloaded");
    let (_, log) = worker.stop();
    assert_eq!(log.matches("only at the next start").count(), 2, "{log}");
}
