//! Tests outputs on an S3 server: workers that share no disk commit each request once, wherever a worker dies.

use std::collections::HashSet;
use std::fs::File;
use std::process::Command;

use serde_json::Value;

use super::BUCKET;
use crate::support::host::{CommandOutput, Host, component};
use crate::support::inputs::{CSV, sha256};
use crate::support::s3::{S3Server, environment};

/// A server, and a machine whose workers write to it.
struct S3Fixture {
    server: S3Server,
    host: Host,
}

impl S3Fixture {
    fn new() -> Self {
        let (server, host) = (S3Server::start(), Host::embedded());
        server.create_bucket("lake");
        std::fs::copy(component("clean"), host.path("clean.wasm")).unwrap();
        std::fs::write(host.path("in.csv"), CSV).unwrap();
        Self { server, host }
    }

    /// Returns the program with these words as arguments, which can reach the server.
    fn command(&self, words: &str) -> Command {
        let mut command = self.host.command();
        command
            .args(words.split_whitespace())
            .envs(environment(&self.server.endpoint()));
        command
    }

    /// Runs a worker until it has nothing to do. With a fault, it dies at that step.
    fn run(&self, options: &str, fault: Option<&str>) -> CommandOutput {
        let wait = if options.contains("--burst-wait") {
            ""
        } else {
            "--burst-wait 0s"
        };
        let words = format!(
            "run --queue q --plugin clean.wasm --burst {wait} --allow-root . --output {BUCKET}/out {options}"
        );
        let mut command = self.command(&words);
        if let Some(fault) = fault {
            command.env("INGEST_HOST_FAULT", fault);
        }
        CommandOutput::new(&command.output().unwrap())
    }

    fn submit(&self, id: &str) {
        let words = format!("submit --queue q --id {id} --uri in.csv");
        self.host.run(&words).ok();
    }

    /// Returns the keys of the outputs of the queue.
    fn outputs(&self) -> Vec<String> {
        let mut keys = self.server.keys_below("lake", "out/q/");
        keys.sort();
        keys
    }

    fn receipt(&self, id: &str) -> Option<Value> {
        let key = format!("out/_ingest/q/receipts/{id}.json");
        let document = self.server.read("lake", &key)?;
        Some(serde_json::from_slice(&document).unwrap())
    }
}

#[test]
fn a_worker_writes_to_s3() {
    let fixture = S3Fixture::new();
    fixture.submit("a");
    fixture.submit("b");
    let said = fixture.run("", None);
    assert!(said.stdout.contains("2 done"), "{}{}", said.stdout, said.stderr);
    assert_eq!(fixture.outputs(), ["out/q/a.csv", "out/q/b.csv"]);
    let receipt = fixture.receipt("a").unwrap();
    assert_eq!(receipt["outputs"][0]["uri"], format!("{BUCKET}/out/q/a.csv"));
    assert_eq!(fixture.host.status("a")["receipt"], receipt);
    // Nothing stays but outputs, receipts, decisions and what identifies the output.
    let mut others = fixture.server.keys("lake");
    others.retain(|key| {
        !key.starts_with("out/q/") && !key.contains("/receipts/") && !key.contains("/decisions/")
    });
    assert_eq!(others, ["out/_ingest/create-check", "out/_ingest/output-id"]);
}

#[test]
fn a_worker_that_dies_at_any_step_leaves_one_output() {
    let fixture = S3Fixture::new();
    for step in ["staged", "sealed", "decided", "completed", "receipt", "settled"] {
        fixture.submit(step);
        fixture.run("", Some(&format!("{step}:KILL:={step}")));
        if fixture.host.status(step)["state"] == "leased" {
            fixture.host.expire_lease(step);
        }
        let said = fixture.run("", None);
        assert_eq!(
            fixture.host.status(step)["state"],
            "done",
            "{step}: {}",
            said.stderr
        );
        let receipt = fixture.receipt(step).unwrap();
        assert_eq!(fixture.host.status(step)["receipt"], receipt, "{step}");
        let output = fixture.server.read("lake", &format!("out/q/{step}.csv")).unwrap();
        assert_eq!(sha256(&output), receipt["outputs"][0]["sha256"], "{step}");
    }
    assert_eq!(fixture.outputs().len(), 6, "{:?}", fixture.outputs());
}

#[test]
fn a_store_that_fails_at_random_gets_each_output_once() {
    let fixture = S3Fixture::new();
    let ids = ["a", "b", "c", "d", "e", "f"];
    ids.into_iter().for_each(|id| fixture.submit(id));
    fixture.server.disturb(Some(fastrand::Rng::with_seed(7)));
    let said = fixture.run("--burst-wait 1m", None);
    fixture.server.disturb(None);
    assert!(
        said.stdout.contains("6 done, 0 dead"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    let seen = fixture.server.disturbances();
    assert!(!seen.starts_with("0 answers 503 SlowDown"), "{seen}");
    let uploads: HashSet<_> = fixture
        .server
        .parts()
        .into_iter()
        .map(|(upload, _)| upload)
        .collect();
    assert!(uploads.len() >= ids.len(), "{uploads:?}");
    assert_eq!(fixture.outputs().len(), ids.len());
    for id in ids {
        let output = fixture.server.read("lake", &format!("out/q/{id}.csv")).unwrap();
        let receipt = fixture.receipt(id).unwrap();
        assert_eq!(sha256(&output), receipt["outputs"][0]["sha256"], "{id}");
    }
}

#[test]
fn a_refused_output_leaves_its_rejects_and_a_report() {
    let fixture = S3Fixture::new();
    std::fs::write(fixture.host.path("in.csv"), "a,b\n1\n2\n3,4\n").unwrap();
    fixture.submit("bad");
    let said = fixture.run("--max-rejects 1", None);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert_eq!(fixture.outputs(), Vec::<String>::new());
    let report = fixture
        .server
        .read("lake", "out/_ingest/q/quarantine/bad.json")
        .unwrap();
    let report = ingest_host::receipt::Report::read(&report).unwrap();
    assert!(report.receipt.outputs.is_empty() && report.receipt.records.rejected == 2);
    let keys = fixture.server.keys("lake");
    assert!(keys.iter().any(|key| key.contains("/rejects/bad.")), "{keys:?}");

    let by_uri = format!("{BUCKET}/out/_ingest/q/quarantine/bad.json");
    for what in ["bad", &by_uri] {
        let output = fixture.command(&format!("report {what}")).output().unwrap();
        let said = CommandOutput::new(&output);
        let is_shown = said.stdout.contains("nothing was published");
        assert!(is_shown, "{what}: {}{}", said.stdout, said.stderr);
    }
    let missing = format!("report {BUCKET}/out/none.json");
    let said = CommandOutput::new(&fixture.command(&missing).output().unwrap()).refused(1);
    assert!(said.contains("there is no such object"), "{said}");
}

#[test]
fn ingest_names_an_output_by_the_digest_of_a_file() {
    let fixture = S3Fixture::new();
    let ingest = |input: &str| {
        let words = format!("ingest {input} --plugin clean.wasm --output {BUCKET}/out");
        let mut command = fixture.command(&words);
        command.stdin(File::open(fixture.host.path("in.csv")).unwrap());
        CommandOutput::new(&command.output().unwrap())
    };
    for is_done in [false, true] {
        let said = ingest("in.csv");
        assert_eq!(said.stderr.contains("done before"), is_done, "{}", said.stderr);
        let shown = said.ok();
        assert!(shown.contains(&format!("{BUCKET}/out/in-")), "{shown}");
    }
    let mut keys = fixture.server.keys("lake");
    keys.retain(|key| key.contains("/uploads/") || !key.contains("_ingest"));
    assert_eq!(keys.len(), 1, "one output, and no note: {keys:?}");
    let said = ingest("-").refused(2);
    assert!(said.contains("--id"), "{said}");
}

#[test]
fn two_creates_at_once_have_one_winner() {
    use ingest_host::location::ObjectPrefix;
    use ingest_host::storage::Storage;

    let fixture = S3Fixture::new();
    for round in 0..10 {
        let prefix = ObjectPrefix::parse(&format!("{BUCKET}/round-{round}/")).unwrap();
        let ids: Vec<String> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..6)
                .map(|_| {
                    let stores = fixture.server.stores();
                    let storage = stores.output(&prefix).unwrap();
                    scope.spawn(move || storage.identity().unwrap())
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}

#[test]
fn what_cannot_be_an_output_is_refused() {
    let fixture = S3Fixture::new();
    for (output, why) in [
        ("az://lake/out", "no account of Azure"),
        ("s3://", "names no bucket"),
        ("s3://lake/../x", ". or .."),
    ] {
        let words = format!("run --queue q --plugin clean.wasm --burst --output {output}");
        let said = fixture.host.run(&words).refused(2);
        assert!(said.contains(why), "{output}: {said}");
    }
}
