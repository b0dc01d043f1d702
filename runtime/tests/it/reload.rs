//! Tests that SIGHUP makes a worker with a config file read it again. The new settings hold for new claims, and a broken
//! file changes nothing.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;

use crate::support::host::{Host, Worker, component, path_of};
use crate::support::http::Files;

on_both_queues! {
    new_claims_get_the_new_settings_and_running_attempts_keep_theirs
    a_broken_file_changes_nothing
    settings_that_cannot_change_are_named
    a_queue_that_the_file_no_longer_names_keeps_its_settings
    a_queue_that_loses_its_table_keeps_its_settings
    a_pipe_is_read_once
    a_store_that_does_not_answer_holds_up_neither_a_newer_reload_nor_the_end
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
        ("", "sets nothing"),
        ("# [queues.q]\n", "sets nothing"),
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
        "url = 'redis://b'\nlog-format = 'human'\nconcurrency = 3\nlease = 40\ncheckpoint = '1MiB'\n\
         limits.component-bytes = 1\n[queues.q]\n[queues.r]\n",
    );
    worker.signal("HUP");
    let line = worker.wait_for_log("only at the next start");
    assert!(
        line.contains(
            "\"settings\":\"url, log-format, queue, limits.component-bytes, concurrency, checkpoint\""
        ),
        "{line}"
    );
    configure(host, "concurrency = 2\n[queues.q]\nmin-records = 5\n");
    worker.signal("HUP");
    worker.wait_for_log("config file reloaded");
    let (_, log) = worker.stop();
    assert_eq!(log.matches("only at the next start").count(), 2, "{log}");
}

fn a_queue_that_the_file_no_longer_names_keeps_its_settings(host: &Host) {
    host.write("in.csv", CSV);
    let file = host.path("in.csv").display().to_string();
    configure(
        host,
        "[queues.q]\noutput = 'before'\nallow-root = ['.']\n[queues.r]\noutput = 'r'\n",
    );
    let mut worker = start(host, "");
    // The first two files leave the queue out.
    for (index, text) in [
        "[queues.r]\noutput = 'r'\n",
        "output = 'r'\nqueue = ['r']\n",
        "[queues.q]\noutput = 'after'\nallow-root = ['.']\n",
    ]
    .into_iter()
    .enumerate()
    {
        configure(host, text);
        worker.signal("HUP");
        worker.wait_for_log("config file reloaded");
        let line = worker.wait_for_log("only at the next start");
        assert!(line.contains("\"settings\":\"queue\""), "{line}");
        let (id, expected) = (format!("r{index}"), if index < 2 { "before" } else { "after" });
        host.submit("q", &id, &file);
        assert_eq!(output_folder(host, &id), expected);
    }
    assert!(!host.path("out").exists());
}

fn a_queue_that_loses_its_table_keeps_its_settings(host: &Host) {
    host.write("in.csv", CSV);
    let file = host.path("in.csv").display().to_string();
    let of_worker = "queue = ['q']\noutput = 'worker'\nallow-root = ['.']\n";
    configure(host, of_worker);
    let mut worker = start(host, "");
    for (index, (table, expected)) in [
        ("[queues.q]\noutput = 'before'\n", "before"),
        ("", "before"),
        ("[queues.q]\noutput = 'after'\n", "after"),
        ("[queues.r]\n", "after"),
    ]
    .into_iter()
    .enumerate()
    {
        configure(host, &format!("{of_worker}{table}"));
        worker.signal("HUP");
        worker.wait_for_log("config file reloaded");
        if index % 2 == 1 {
            let line = worker.wait_for_log("have no table in the config file any more");
            assert!(
                line.contains("\"level\":\"WARN\"") && line.contains("\"queues\":\"q\""),
                "{line}"
            );
        }
        let id = format!("r{index}");
        host.submit("q", &id, &file);
        assert_eq!(output_folder(host, &id), expected);
    }
}

fn make_pipe(host: &Host, name: &str) {
    let _ = fs::remove_file(host.path(name));
    host.bash(&format!("mkfifo {name}")).ok();
}

fn a_pipe_is_read_once(host: &Host) {
    make_pipe(host, "ingest-host.toml");
    let plugin = component("clean").display().to_string();
    let mut worker = host.worker(&format!("--config-file ingest-host.toml --plugin {plugin}"));
    // This waits until the worker opens the pipe, which it does before it knows that SIGHUP asks to reload.
    let mut pipe = File::options()
        .write(true)
        .open(host.path("ingest-host.toml"))
        .unwrap();
    worker.signal("HUP");
    pipe.write_all(b"[queues.q]\nallow-root = ['.']\n").unwrap();
    drop(pipe);
    worker.wait_for_log("worker started");
    let is_refused = |worker: &mut Worker, why: &str| {
        let line = worker.wait_for_log("config file not reloaded");
        assert!(line.contains(why), "{line}");
    };
    let is_pipe = "is a pipe, not a regular file";
    is_refused(&mut worker, is_pipe);
    make_pipe(host, "credentials.json");
    make_pipe(host, "key");
    for (text, why) in [
        ("[queues.q]\ncredentials = 'credentials.json'\n", is_pipe),
        (
            "output = 's3://b/x'\n[queues.q]\n[stores.s]\nkind = 's3'\nbuckets = ['b']\naccess-key-id-file = 'key'\n\
         secret-access-key-file = 'key'\n",
            "`access-key-id-file`: this file cannot be read",
        ),
    ] {
        fs::remove_file(host.path("ingest-host.toml")).unwrap();
        configure(host, text);
        worker.signal("HUP");
        is_refused(&mut worker, why);
    }
    let (code, log) = worker.stop();
    assert_eq!(code, Some(0), "{log}");
}

fn a_store_that_does_not_answer_holds_up_neither_a_newer_reload_nor_the_end(host: &Host) {
    let store = TcpListener::bind("127.0.0.1:0").unwrap();
    let slow = format!(
        "output = 's3://b/x'\n[queues.q]\n[stores.s]\nkind = 's3'\nbuckets = ['b']\nunsigned = true\nendpoint = 'http://{}'\n",
        store.local_addr().unwrap()
    );
    host.write("in.csv", CSV);
    configure(host, "[queues.q]\noutput = 'before'\n");
    let mut worker = start(host, "");
    configure(host, &slow);
    worker.signal("HUP");
    let _first = store.accept().unwrap();
    configure(host, "[queues.q]\noutput = 'after'\nallow-root = ['.']\n");
    worker.signal("HUP");
    worker.wait_for_log("reload ended by a newer one");
    worker.wait_for_log("config file reloaded");
    host.submit("q", "r", &host.path("in.csv").display().to_string());
    assert_eq!(output_folder(host, "r"), "after");
    configure(host, &slow);
    worker.signal("HUP");
    let _second = store.accept().unwrap();
    let (code, log) = worker.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}
