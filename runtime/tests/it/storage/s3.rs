//! Tests outputs on an S3 server: workers that share no disk commit each request once, wherever a worker dies.

use std::collections::HashSet;
use std::fs::File;
use std::process::Command;

use serde_json::Value;

use super::BUCKET;
use crate::support::gcs::GcsServer;
use crate::support::host::{CommandOutput, Host, component};
use crate::support::inputs::scripted_server::{answer, serve};
use crate::support::inputs::{CSV, sha256};
use crate::support::s3::{FORBIDDEN, S3Server, environment};

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
fn a_store_that_cannot_be_written_stops_the_start_and_says_what_to_do() {
    let fixture = S3Fixture::new();
    fixture.server.create_bucket(FORBIDDEN);
    fixture.submit("a");
    let moved = serve(vec![answer(
        "301 Moved Permanently",
        "x-amz-bucket-region: eu-west-1\r\n",
        b"<Error><Code>PermanentRedirect</Code></Error>",
    )]);
    let malformed = serve(vec![answer(
        "400 Bad Request",
        "",
        b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-2</Region></Error>",
    )]);
    let refusing = serve(vec![answer(
        "403 Forbidden",
        "",
        b"<Error><Code>AccessDenied</Code></Error>",
    )]);
    let no_bucket = b"<Error><Code>NoSuchBucket</Code></Error>";
    let without_bucket = serve(vec![answer("404 Not Found", "", no_bucket); 30]);
    let metadata = serve(vec![answer("403 Forbidden", "", b""); 9]);
    let at = |address| format!("http://{address}");
    // The endpoint contains the bucket, so objects can be created within another bucket, and nothing can be listed.
    let answers = [
        answer("412 Precondition Failed", "", b""),
        answer(
            "200 OK",
            "ETag: \"a\"\r\nLast-Modified: Mon, 30 Nov 2026 00:00:00 GMT\r\n",
            b"",
        ),
        answer("404 Not Found", "", b"<Error><Code>NoSuchKey</Code></Error>"),
    ];
    let within_bucket = serve(answers.into_iter().cycle().take(30).collect());
    for (variables, bucket, expected) in [
        (
            vec![("AWS_SECRET_ACCESS_KEY", "wr0ng".to_owned())],
            "lake",
            "the store does not accept the credentials: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile; \
             the store answered 403 Forbidden, SignatureDoesNotMatch",
        ),
        (
            vec![
                ("AWS_ACCESS_KEY_ID", String::new()),
                ("AWS_SECRET_ACCESS_KEY", String::new()),
                ("AWS_EC2_METADATA_SERVICE_ENDPOINT", at(metadata.address)),
            ],
            "lake",
            "no credentials for S3 could be obtained; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        (
            vec![("AWS_ENDPOINT_URL_S3", at(moved.address))],
            "lake",
            "the bucket lake is in the region eu-west-1: set AWS_REGION=eu-west-1",
        ),
        (
            vec![("AWS_ENDPOINT_URL_S3", at(malformed.address))],
            "lake",
            "the bucket lake is in the region eu-west-2: set AWS_REGION=eu-west-2",
        ),
        (
            vec![("AWS_ENDPOINT_URL_S3", at(refusing.address))],
            "lake",
            "the credentials may not do this: they need s3:PutObject",
        ),
        (
            vec![("AWS_ENDPOINT_URL_S3", at(within_bucket.address) + "/lake")],
            "lake",
            "check its name and the endpoint, which is written without it",
        ),
        (vec![], FORBIDDEN, "they need s3:ListBucket on the bucket"),
        (
            vec![("AWS_ENDPOINT_URL_S3", at(without_bucket.address))],
            "lake",
            "create the bucket, or correct its name, the endpoint or the region",
        ),
    ] {
        let words = format!(
            "run --queue q --plugin clean.wasm --burst --burst-wait 0s --allow-root . --output s3://{bucket}/out"
        );
        let mut command = fixture.command(&words);
        command.envs(variables.clone());
        let said = CommandOutput::new(&command.output().unwrap());
        assert_eq!(said.code, Some(1), "{variables:?}: {}", said.stderr);
        assert!(said.stderr.contains(expected), "{variables:?}: {}", said.stderr);
        assert!(!said.stderr.contains("Generic S3 error"), "{}", said.stderr);
    }
    // The request is untouched.
    fixture.run("", None).ok();
    assert_eq!(fixture.outputs(), ["out/q/a.csv"]);
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
    // Only these objects remain: outputs, receipts, decisions, the id of the output and the object of the check.
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

/// Checks replays of rejects that are in another bucket than the outputs.
#[test]
fn a_replay_that_dies_at_any_step_commits_once() {
    let fixture = S3Fixture::new();
    fixture.server.create_bucket("refused");
    std::fs::write(fixture.host.path("in.csv"), "a,b\n1,2\n3\n4,5,6\n7,8\n").unwrap();
    let options = "--rejects s3://refused/bad/ --max-rejects 100% --short-rows";
    let steps = [
        "claimed",
        "fetched",
        "batch",
        "staged",
        "sealed",
        "decided",
        "completed",
        "receipt",
        "settled",
    ];
    for step in steps {
        fixture.submit(step);
    }
    fixture.run(&format!("{options} reject"), None);
    for step in steps {
        let (id, options) = (format!("{step}.replay-1"), format!("{options} fill"));
        fixture.host.run(&format!("replay {step}")).ok();
        fixture.run(&options, Some(&format!("{step}:KILL:={id}")));
        if fixture.host.status(&id)["state"] == "leased" {
            fixture.host.expire_lease(&id);
        }
        let said = fixture.run(&options, None);
        assert_eq!(
            fixture.host.status(&id)["state"],
            "done",
            "{step}: {}",
            said.stderr
        );
        let (first, receipt) = (fixture.receipt(step).unwrap(), fixture.receipt(&id).unwrap());
        assert_eq!(receipt["inputs"][0]["uri"], first["rejects"]["uri"], "{step}");
        assert_eq!(receipt["records"]["read"], first["records"]["rejected"], "{step}");
        assert_eq!(
            receipt["rejects"]["by_code"],
            serde_json::json!({"ragged-row": 1}),
            "{step}"
        );
        let output = fixture.server.read("lake", &format!("out/q/{id}.csv")).unwrap();
        assert_eq!(output, b"a,b\n3,\n", "{step}");
    }
    assert_eq!(
        fixture.outputs().len(),
        2 * steps.len(),
        "{:?}",
        fixture.outputs()
    );
    // A worker whose rejects are elsewhere cannot read them.
    fixture.submit("late");
    fixture.run(&format!("{options} reject"), None);
    fixture.host.run("replay late").ok();
    fixture.run("--short-rows fill", None);
    assert_eq!(fixture.host.status("late.replay-1")["code"], "rejects-elsewhere");
}

/// An input with one bad record of three.
const PARTLY_BAD: &str = "a,b\n1,2\n3\n4,5\n";

#[test]
fn rejects_in_another_bucket_are_committed_with_their_output_wherever_a_worker_dies() {
    let fixture = S3Fixture::new();
    fixture.server.create_bucket("refused");
    std::fs::write(fixture.host.path("in.csv"), PARTLY_BAD).unwrap();
    let options = "--rejects s3://refused/bad/ --max-rejects 100%";
    let steps = ["staged", "sealed", "decided", "completed", "receipt", "settled"];
    for step in steps {
        fixture.submit(step);
        fixture.run(options, Some(&format!("{step}:KILL:={step}")));
        let decisions = format!("out/_ingest/q/decisions/{step}/");
        let decisions = fixture.server.keys_below("lake", &decisions);
        assert_eq!(
            decisions.is_empty(),
            ["staged", "sealed"].contains(&step),
            "{step}"
        );
        let names = fixture.server.keys_below("refused", "bad/q/");
        let is_visible = names.iter().any(|name| name.contains(step));
        assert_eq!(
            is_visible,
            !["staged", "sealed", "decided"].contains(&step),
            "{step}: rejects appear only after the decision: {names:?}"
        );
        if fixture.host.status(step)["state"] == "leased" {
            fixture.host.expire_lease(step);
        }
        let said = fixture.run(options, None);
        let state = &fixture.host.status(step)["state"];
        assert_eq!(state, "done", "{step}: {}", said.stderr);
        let receipt = fixture.receipt(step).unwrap();
        for key in decisions {
            // The next worker carries the decision out, and does not process the input again.
            let decision = fixture.server.read("lake", &key).unwrap();
            let decision: Value = serde_json::from_slice(&decision).unwrap();
            assert_eq!(decision["receipt"], receipt, "{step}");
        }
        let fence = &receipt["attempt"]["fence"];
        let uri = format!("s3://refused/bad/q/{step}.{fence}.rejects.csv");
        assert_eq!(receipt["rejects"]["uri"], uri, "{step}");
        for (bucket, part) in [("lake", &receipt["outputs"][0]), ("refused", &receipt["rejects"])] {
            let key = part["uri"].as_str().unwrap().split_once(&format!("{bucket}/"));
            let bytes = fixture.server.read(bucket, key.unwrap().1).unwrap();
            assert_eq!(super::sha256(&bytes), part["sha256"], "{step}");
        }
    }
    assert_eq!(fixture.outputs().len(), steps.len());
    let mut keys = fixture.server.keys("refused");
    keys.retain(|key| !key.starts_with("bad/_ingest/"));
    assert_eq!(keys.len(), steps.len(), "no attempt left anything else: {keys:?}");
    let keys = fixture.server.keys("lake");
    assert!(!keys.iter().any(|key| key.contains("/rejects/")), "{keys:?}");
}

#[test]
fn a_refused_output_leaves_its_rejects_in_their_bucket() {
    let fixture = S3Fixture::new();
    fixture.server.create_bucket("refused");
    std::fs::write(fixture.host.path("in.csv"), PARTLY_BAD).unwrap();
    fixture.submit("bad");
    let said = fixture.run("--rejects s3://refused --max-rejects 0", None);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert_eq!(fixture.outputs(), Vec::<String>::new());
    let key = "out/_ingest/q/quarantine/bad.json";
    let report = fixture.server.read("lake", key).unwrap();
    let rejects = ingest_host::receipt::Report::read(&report)
        .unwrap()
        .receipt
        .rejects;
    assert_eq!(rejects.uri.as_deref(), Some("s3://refused/q/bad.1.rejects.csv"));
    let bytes = fixture.server.read("refused", "q/bad.1.rejects.csv").unwrap();
    assert_eq!(Some(super::sha256(&bytes)), rejects.sha256);
    // After the fence has grown, the next life of the request commits output and rejects.
    fixture.host.run("dead retry bad").ok();
    fixture.run("--rejects s3://refused --max-rejects 1", None);
    let receipt = fixture.receipt("bad").unwrap();
    assert_eq!(receipt["rejects"]["uri"], "s3://refused/q/bad.2.rejects.csv");
}

#[test]
fn a_lost_commit_waits_for_a_worker_with_its_place_of_rejects() {
    let fixture = S3Fixture::new();
    fixture.server.create_bucket("refused");
    std::fs::write(fixture.host.path("in.csv"), PARTLY_BAD).unwrap();
    fixture.submit("a");
    let options = "--max-rejects 100% --rejects s3://refused/bad/";
    fixture.run(options, Some("decided:KILL:=a"));
    fixture.host.expire_lease("a");
    // The request waits for a worker with the same places, as it does with folders.
    fixture.run("--max-rejects 100%", None);
    assert_ne!(fixture.host.status("a")["state"], "done");
    let said = fixture.run("--max-rejects 100% --move-output", None);
    assert!(said.stderr.contains("rejects-elsewhere"), "{}", said.stderr);
    assert!(
        said.stderr.contains("s3://refused/bad/q/a.1.rejects.csv"),
        "{}",
        said.stderr
    );
    assert_ne!(fixture.host.status("a")["state"], "done");
    assert_eq!(fixture.outputs(), Vec::<String>::new());
    let said = fixture.run(&format!("{options} --move-output --burst-wait 1m"), None);
    assert_eq!(fixture.host.status("a")["state"], "done", "{}", said.stderr);
    assert_eq!(fixture.receipt("a").unwrap()["attempt"]["fence"], 1);
}

#[test]
fn ingest_writes_rejects_to_their_own_bucket() {
    let fixture = S3Fixture::new();
    fixture.server.create_bucket("refused");
    std::fs::write(fixture.host.path("in.csv"), PARTLY_BAD).unwrap();
    let words = "ingest in.csv --id a --plugin clean.wasm --output s3://lake/out --rejects s3://refused/bad";
    CommandOutput::new(&fixture.command(words).output().unwrap()).ok();
    let keys = fixture.server.keys("refused");
    assert!(keys.iter().any(|key| is_of_ingest(key, "bad/a.")), "{keys:?}");
}

/// Returns whether a key is that of rejects outside a queue. Each attempt has a random word in its key.
fn is_of_ingest(key: &str, beginning: &str) -> bool {
    let word = key
        .strip_prefix(beginning)
        .and_then(|rest| rest.strip_suffix(".rejects.csv"));
    word.is_some_and(|word| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[test]
fn ingest_publishes_an_input_that_the_gate_has_refused_before() {
    let fixture = S3Fixture::new();
    fixture.server.create_bucket("refused");
    std::fs::write(fixture.host.path("in.csv"), PARTLY_BAD).unwrap();
    for places in [
        "--output s3://lake/one",
        "--output s3://lake/two --rejects s3://refused/bad",
    ] {
        let ingest = |gate: &str| {
            let words = format!("ingest in.csv --id a --plugin clean.wasm {places} {gate}");
            CommandOutput::new(&fixture.command(&words).output().unwrap())
        };
        for _ in 0..2 {
            assert!(ingest("--on-reject fail").refused(1).contains("[gate-exceeded]"));
        }
        ingest("--max-rejects 100%").ok();
    }
    let keys = [fixture.server.keys("lake"), fixture.server.keys("refused")].concat();
    for beginning in ["one/_ingest/rejects/a.", "bad/a."] {
        let rejects = keys.iter().filter(|key| is_of_ingest(key, beginning));
        assert_eq!(rejects.count(), 3, "{keys:?}");
    }
}

#[test]
fn two_outputs_of_ingest_may_share_a_place_for_rejects() {
    let fixture = S3Fixture::new();
    fixture.server.create_bucket("refused");
    std::fs::write(fixture.host.path("in.csv"), PARTLY_BAD).unwrap();
    for output in ["s3://lake/one", "s3://lake/two"] {
        let words =
            format!("ingest in.csv --id a --plugin clean.wasm --output {output} --rejects s3://refused/bad");
        CommandOutput::new(&fixture.command(&words).output().unwrap()).ok();
    }
}

#[test]
fn places_that_cannot_be_committed_together_are_refused() {
    let fixture = S3Fixture::new();
    let (store, folder) = ("s3://lake/out", "out");
    for (output, rejects, why) in [
        (store, "bad", "the output is in an object store"),
        (folder, "s3://lake/bad", "the output is in a folder"),
        (store, "s3://lake/out", "is not beside the output s3://lake/out/"),
        (store, "s3://lake/out/bad/", "is not beside the output"),
        (store, "s3://lake/out/_ingest/q", "is not beside the output"),
        (store, "s3://lake", "is not beside the output"),
        (store, "s3://", "--rejects s3://: names no bucket"),
        (store, "https://h/bad", "name a place in an object store"),
        (store, "az://bad", "--rejects: no account of Azure"),
    ] {
        let words = format!("--output {output} --rejects {rejects}");
        let run = format!("run --queue q --plugin clean.wasm --burst {words}");
        let said = CommandOutput::new(&fixture.command(&run).output().unwrap()).refused(2);
        assert!(said.contains(why), "{words}: {said}");
        let table =
            format!("[queues.q]\nplugin = 'clean.wasm'\noutput = '{output}'\nrejects = '{rejects}'\n");
        fixture.host.write("ingest-host.toml", table);
        let check = "config check --config-file ingest-host.toml";
        let said = CommandOutput::new(&fixture.command(check).output().unwrap()).refused(2);
        assert!(said.contains("queue q: --rejects"), "{words}: {said}");
        assert!(said.contains(why), "{words}: {said}");
    }
    let words = "ingest in.csv --plugin clean.wasm --output - --rejects s3://lake/bad";
    let said = CommandOutput::new(&fixture.command(words).output().unwrap()).refused(2);
    assert!(said.contains("the records go to stdout"), "{said}");
    assert_eq!(
        fixture.server.keys("lake"),
        Vec::<String>::new(),
        "nothing was written"
    );
    for rejects in ["s3://lake/out-bad", "s3://lake/ou/", "s3://refused"] {
        fixture.host.write(
            "ingest-host.toml",
            format!("output = '{store}'\nrejects = '{rejects}'\n"),
        );
        let check = "config check --config-file ingest-host.toml";
        CommandOutput::new(&fixture.command(check).output().unwrap()).ok();
    }
}

#[test]
fn a_missing_bucket_of_rejects_is_reported_before_a_claim() {
    let fixture = S3Fixture::new();
    let google = GcsServer::start(&["refused"]);
    fixture.submit("a");
    let run = |rejects: &str| {
        let words = format!(
            "run --queue q --plugin clean.wasm --burst --burst-wait 0s --allow-root . --output {BUCKET}/out --rejects {rejects}"
        );
        let mut command = fixture.command(&words);
        command.env("STORAGE_EMULATOR_HOST", google.endpoint());
        CommandOutput::new(&command.output().unwrap())
    };
    let said = run("gs://none/bad").refused(1);
    assert!(said.contains("gs://none/bad/_ingest/create-check"), "{said}");
    assert_eq!(fixture.host.status("a")["attempts"], 0);
    run("gs://refused/bad").ok();
    assert_eq!(fixture.host.status("a")["state"], "done");
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
fn concurrent_workers_agree_on_the_id_of_an_output() {
    use ingest_host::location::ObjectPrefix;
    use ingest_host::storage::Storage;

    let fixture = S3Fixture::new();
    for round in 0..10 {
        let prefix = ObjectPrefix::parse(&format!("{BUCKET}/round-{round}/")).unwrap();
        let ids: Vec<String> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..6)
                .map(|_| {
                    let stores = fixture.server.stores();
                    let storage = stores.output(&prefix, None).unwrap();
                    scope.spawn(move || storage.identity().unwrap())
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }
}

#[test]
fn an_invalid_output_place_is_refused() {
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
