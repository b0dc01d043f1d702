//! Tests that this version can use the files of version 0.1.0. It reads the receipts, and serves the queues without
//! loss. The program of version 0.1.0 wrote the files in `fixtures/0.1.0`: see `make.py` there.

use std::fs;
use std::path::{Path, PathBuf};

use ingest_host::queue::{Backend, ClaimOptions, OutputId};
use serde_json::{Value, json};

use crate::support::host::{Host, PATIENCE};
use crate::support::redis::RedisServer;

/// The SHA-256 digest of the plugin with which the fixtures were made.
const PLUGIN_SHA256: &str = "8c8d92964107616e71c72f85d683a694589a4ce505ba2f24c3e8beaae0829da1";

/// The requests in the queue `q`. Each has its id, its state in the fixture, and its state after a worker has run.
const REQUESTS: [(&str, &str, &str); 12] = [
    ("ready", "ready", "done"),
    ("ready-options", "ready", "done"),
    ("delayed", "delayed", "done"),
    ("retried", "delayed", "done"),
    ("lost", "leased", "done"),
    ("committed", "leased", "done"),
    ("plain", "done", "done"),
    ("jsonl", "done", "done"),
    ("ragged", "done", "done"),
    ("dead", "dead", "dead"),
    ("refused", "dead", "dead"),
    ("cancelled", "cancelled", "cancelled"),
];

/// The id of a document on the intake list. No worker has imported it yet.
const PUSHED: &str = "pushed";

pub(crate) fn fixtures(backend: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    tests.join("fixtures/0.1.0").join(backend)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// The beginnings of the input URIs in the fixtures. The tests replace them with the path of a folder.
const PLACES: [&str; 3] = ["http://127.0.0.1:18099/", "http://127.0.0.1:1/", "/fixture/"];

/// Copies the inputs and outputs of a fixture to a host's folder.
fn place_files(host: &Host, backend: &str) {
    copy(&fixtures(backend).join("out"), &host.path("out"));
    host.write("plain.csv", "n\n1\n2\n3\n");
    host.write("ragged.csv", "n\n1\n2\n3\n4,5\n");
    host.write("plain.jsonl", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
}

fn on_sqlite() -> Host {
    let host = Host::embedded();
    place_files(&host, "sqlite");
    let db = rusqlite::Connection::open(host.path("queue.db")).unwrap();
    let statements = fs::read_to_string(fixtures("sqlite").join("queue.sql")).unwrap();
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    db.execute_batch(&statements).unwrap();
    let folder = format!("{}/", host.folder.path().display());
    for place in PLACES {
        for update in [
            // The URI of a done request stays, because its receipt contains the same URI.
            "UPDATE request SET uri = replace(uri, ?1, ?2) WHERE state <> 'done'",
            "UPDATE intake SET document = replace(document, ?1, ?2)",
        ] {
            db.execute(update, [place, &folder]).unwrap();
        }
    }
    host
}

fn on_redis() -> (RedisServer, Host) {
    let server = RedisServer::start();
    let host = Host::on(&server.url());
    place_files(&host, "redis");
    let mut redis = ::redis::Client::open(server.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let folder = format!("{}/", host.folder.path().display());
    for line in fs::read_to_string(fixtures("redis").join("keys.jsonl"))
        .unwrap()
        .lines()
    {
        let moved = PLACES
            .iter()
            .fold(line.to_owned(), |line, place| line.replace(place, &folder));
        let entry: Value = serde_json::from_str(&moved).unwrap();
        let mut values: Vec<Vec<u8>> = entry["values"].as_array().unwrap().iter().map(bytes).collect();
        let command = match entry["type"].as_str().unwrap() {
            "string" => "SET",
            "hash" => "HSET",
            "list" => "RPUSH",
            "set" => "SADD",
            "zset" => {
                // ZADD expects the score before the member.
                values.chunks_mut(2).for_each(<[_]>::reverse);
                "ZADD"
            }
            other => panic!("{other}"),
        };
        let mut store = ::redis::cmd(command);
        store.arg(entry["key"].as_str().unwrap()).arg(values);
        store.query::<::redis::Value>(&mut redis).unwrap();
    }
    (server, host)
}

fn bytes(value: &Value) -> Vec<u8> {
    match value["hex"].as_str() {
        Some(digits) => data_encoding::HEXLOWER.decode(digits.as_bytes()).unwrap(),
        None => value.as_str().unwrap().as_bytes().to_vec(),
    }
}

/// Returns a receipt at the place of 0.1.0. When a worker of this version has moved the receipts, a link leads there.
fn receipt(host: &Host, id: &str) -> Value {
    let path = host.path(&format!("out/q/receipts/{id}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Returns the statuses of the requests that have ended in the fixture.
fn ended(host: &Host) -> Vec<Value> {
    let ended = REQUESTS.iter().filter(|(_, before, _)| {
        let states = ["done", "dead", "cancelled"];
        states.contains(before)
    });
    ended.map(|(id, ..)| host.status(id)).collect()
}

/// Runs workers on the queues, and checks each request before and after.
fn are_served(host: &Host) {
    let before = ended(host);
    for (id, state, _) in REQUESTS {
        assert_eq!(host.status(id)["state"], state, "{id}");
    }
    let dead = host.run("dead list --queue q --json").json();
    let codes: Vec<_> = dead
        .iter()
        .map(|letter| (letter.get("code"), letter.get("report")))
        .collect();
    // Version 0.1.0 stores no codes and no reports.
    assert_eq!(codes, [(Some(&Value::Null), Some(&Value::Null)); 3], "{dead:?}");
    let binding = &host.run("plugin history --queue q --json").json()[0];
    assert_eq!(binding["steps"][0]["sha256"], PLUGIN_SHA256, "{binding}");
    let committed = fs::read(host.path("out/q/receipts/committed.json")).unwrap();

    for id in ["lost", "committed"] {
        host.expire_lease(id);
    }
    for id in ["delayed", "retried"] {
        host.make_due(id);
    }
    // The clock of this machine can differ much from the clock of the fixture. With `--retention 0`, no request is
    // removed because of its age.
    let burst = |queue: &str| {
        host.run(&format!(
            "run --queue {queue} --burst --retention 0 --allow-root ."
        ))
    };
    burst("q").ok();

    for (id, _, state) in REQUESTS {
        let status = host.status(id);
        assert_eq!(status["state"], state, "{status}");
    }
    assert_eq!(ended(host), before);
    let pushed = host.status(PUSHED);
    assert_eq!(pushed["state"], "done", "{pushed}");
    for id in ["ready", "ready-options", "delayed", "retried", "lost", PUSHED] {
        let receipt = receipt(host, id);
        assert_eq!(host.status(id)["receipt"], receipt, "{id}");
        assert_eq!(receipt["receipt"], 2, "{receipt}");
        assert_eq!(receipt["binding"], 1, "{receipt}");
        assert_eq!(receipt["steps"][0]["sha256"], PLUGIN_SHA256, "{receipt}");
        assert_eq!(receipt["records"]["written"], 3, "{receipt}");
        let output = fs::read_to_string(host.path(&format!("out/q/{id}.csv"))).unwrap();
        assert_eq!(output, "n\n1\n2\n3\n", "{id}");
    }
    // The receipts have moved. Programs and workers of 0.1.0 find them through a link.
    assert!(host.path("out/q/receipts").is_symlink());
    let moved = fs::symlink_metadata(host.path("out/_ingest/q/receipts")).unwrap();
    assert!(moved.is_dir());
    // A worker was lost after its commit. Its work is not repeated.
    let kept = fs::read(host.path("out/_ingest/q/receipts/committed.json")).unwrap();
    assert_eq!(kept, committed);
    let status = host.status("committed");
    assert_eq!(status["receipt"]["receipt"], 2, "{status}");
    for member in ["input", "attempt", "outputs"] {
        assert_eq!(
            status["receipt"][member],
            receipt(host, "committed")[member],
            "{status}"
        );
    }

    let queues = host.run("queue list --json").json();
    let of = |name: &str| queues.iter().find(|queue| queue["queue"] == name).unwrap();
    assert_eq!(
        (&of("held")["paused"], &of("held")["ready"]),
        (&json!(true), &json!(1))
    );
    assert_eq!((&of("q")["binding"], &of("q")["invalid"]), (&json!(1), &json!(1)));
    host.run("queue audit").ok();
    host.run("plugin bind --queue held hand-written@0.1.0").ok();
    burst("held").refused(1);
    assert_eq!(host.status("held")["state"], "ready", "it is paused");
    host.run("queue resume --queue held").ok();
    burst("held").ok();
    assert_eq!(host.status("held")["state"], "done");
    // The input of the dead request exists now, so the request can be done.
    host.write("missing.csv", "n\n1\n2\n3\n");
    host.run("dead retry dead").ok();
    burst("q").ok();
    assert_eq!(host.status("dead")["state"], "done");
}

#[test]
fn a_queue_of_0_1_0_on_sqlite_is_served_without_loss() {
    are_served(&on_sqlite());
}

#[test]
fn a_queue_of_0_1_0_on_redis_is_served_without_loss() {
    let (_server, host) = on_redis();
    are_served(&host);
}

#[test]
fn receipts_of_0_1_0_are_reported() {
    let host = on_sqlite();
    for (id, read, rejected) in [
        ("plain", 3, 0),
        ("ragged", 4, 1),
        ("jsonl", 3, 0),
        ("committed", 3, 0),
    ] {
        let file = format!("out/q/receipts/{id}.json");
        let page = host.run(&format!("report {file}")).ok();
        assert!(page.contains(&format!("{read} records: ")), "{page}");
        assert!(page.contains("hand-written@0.1.0, binding 1"), "{page}");
        let report = &host.run(&format!("report {file} --json")).json()[0];
        let written = receipt(&host, id);
        assert_eq!(report["receipt"], 2);
        assert_eq!(report["records"]["rejected"], rejected);
        assert_eq!(report["inputs"], json!([written["input"]]));
        assert_eq!(report["steps"][0]["config_sha256"], written["config_sha256"]);
        for member in [
            "input",
            "plugin",
            "config_sha256",
            "outputs",
            "records",
            "quality",
        ] {
            assert_eq!(report.get(member), written.get(member), "{id}: {member}");
        }
        if id != "committed" {
            // The queue contains the same receipt.
            assert_eq!(&host.status(id)["receipt"], report);
            assert_eq!(&host.run(&format!("report {id} --json")).json()[0], report);
            let page = host.run(&format!("status {id}")).ok();
            assert!(page.contains("plugin   hand-written@0.1.0, binding 1"), "{page}");
        }
    }
    let page = host.run("report out/rejects/q/.quarantine/refused.json").ok();
    assert!(page.contains("nothing was published: 1 of 4 records"), "{page}");
}

#[test]
fn an_ingest_finds_what_0_1_0_has_done() {
    let host = on_sqlite();
    let db = rusqlite::Connection::open(host.path("queue.db")).unwrap();
    let component: Vec<u8> = db
        .query_row("SELECT content FROM component", [], |row| row.get(0))
        .unwrap();
    host.write("plugin.wasm", component);
    let receipts = || fs::read_dir(host.path("out/_ingest/receipts")).unwrap().count();
    let ingest = |config: &str| {
        let words = ["--plugin-config", config];
        host.run_with("ingest plain.csv --plugin plugin.wasm --json", &words)
    };
    let again = ingest(r#"{"a":1}"#);
    assert!(again.stderr.contains("done before"), "{}", again.stderr);
    let receipt = &again.json()[0];
    assert_eq!((&receipt["receipt"], receipts()), (&json!(2), 1), "{receipt}");
    ingest(r#"{"a":2}"#).ok();
    assert_eq!(receipts(), 2);
    // If the id of a receipt is used for other work, the program refuses the work.
    let id = receipt["request"]["id"].as_str().unwrap();
    let words = ["--id", id, "--plugin-config", r#"{"a":2}"#];
    let said = host
        .run_with("ingest plain.csv --plugin plugin.wasm", &words)
        .refused(1);
    assert!(said.contains("the config of the plugin is another"), "{said}");
}

/// Ends a request as done, with this text as its receipt. A program of another version could store such a receipt.
fn settle_with(host: &Host, id: &str, receipt: &str) {
    host.run(&format!(
        "submit --queue q --id {id} --uri http://a.example/a.csv"
    ))
    .ok();
    let options = ClaimOptions {
        worker: "other".into(),
        nonce: id.into(),
        lease: PATIENCE,
        lost_max: 3,
        needs_binding: false,
        output: OutputId::default(),
        move_output: false,
    };
    let settled = async {
        let backend = Backend::connect(&host.url).await?;
        let claim = backend.queue.claim("q", &options).await?.expect("a request");
        backend.queue.settle(&claim.ticket, receipt).await
    };
    tokio::runtime::Runtime::new().unwrap().block_on(settled).unwrap();
}

fn a_stored_receipt_that_cannot_be_read_is_shown_as_it_is(host: &Host) {
    let newer = json!({ "receipt": 3, "all": "else" });
    for (id, receipt, code, why) in [
        ("newer", newer, "host-outdated", "it is of version 3"),
        (
            "other",
            json!({ "by": "hand" }),
            "queue-damaged",
            "missing field `receipt`",
        ),
        ("text", json!("no \u{1b}JSON"), "queue-damaged", "expected"),
    ] {
        let text = receipt
            .as_str()
            .map_or_else(|| receipt.to_string(), str::to_owned);
        settle_with(host, id, &text);
        assert_eq!(host.status(id)["receipt"], receipt, "{id}");
        let page = host.run(&format!("status {id}")).ok();
        let shown = text.replace('\u{1b}', "\\u{1b}");
        assert!(page.contains(why) && page.contains(&shown), "{page}");
        let submit = format!("submit --queue q --id {id} --uri http://a.example/a.csv --wait");
        for command in [format!("report {id}"), submit.clone()] {
            let said = host.run(&command).refused(1);
            assert!(said.contains("its receipt cannot be read"), "{command}: {said}");
            assert!(
                said.trim_end().ends_with(&format!("[{code}]")),
                "{command}: {said}"
            );
        }
        assert_eq!(host.run(&format!("{submit} --json")).json(), [receipt]);
    }
    assert_eq!(host.run("requests --queue q --json").json().len(), 3);
    host.run("requests --queue q").ok();
}

on_both_queues! { a_stored_receipt_that_cannot_be_read_is_shown_as_it_is }
