//! Tests checkpoints with real worker processes, which are killed, suspended or told to stop at a checkpoint.

use serde_json::Value;

use super::fixture::range_of;
use crate::support::host::{Host, Worker, component, path_of, wait_for};
use crate::support::inputs::scripted_server::ScriptedServer;
use crate::support::inputs::served_file::{Action, ServedFile};
use crate::support::redis::RedisServer;

const A: Option<&str> = Some("\"a\"");

const OPTIONS: &str = "--queue q --concurrency 1 --allow-host 127.0.0.1 --allow-root .";

/// The option with which a worker writes a checkpoint after each chunk, except while the last checkpoint is still being
/// written.
const OFTEN: &str = "--checkpoint 1";

fn alarms(records: u64) -> Vec<u8> {
    let mut csv = Vec::new();
    alarm_feed::write_alarms(&mut csv, 7, records, 5).unwrap();
    csv
}

/// Starts a worker with the options in `more`. `fault` can be empty: then no fault is injected.
fn worker(host: &Host, more: &str, fault: &str) -> Worker {
    let plugin = component("alarms");
    host.faulty_worker(&format!("{OPTIONS} {more} --plugin {}", plugin.display()), fault)
}

/// Runs a worker until no request is left, and returns its log.
fn burst(host: &Host, more: &str) -> String {
    let (code, log) = worker(host, &format!("{more} --burst"), "").ended();
    assert_eq!(code, Some(0), "{log}");
    log
}

/// Runs a worker that is killed after checkpoint number `count`, and makes its lease expire. Returns `None` if the
/// worker finished first.
fn kill(host: &Host, more: &str, count: u32) -> Option<()> {
    let (code, log) = worker(
        host,
        &format!("{more} --burst"),
        &format!("checkpoint:KILL:{count}"),
    )
    .ended();
    if code.is_some() {
        assert_eq!(code, Some(0), "{log}");
        return None;
    }
    host.expire_lease("one");
    Some(())
}

fn submit(host: &Host, uri: &str) {
    host.run(&format!("submit --queue q --id one --uri {uri}")).ok();
}

/// Checks that the request is done with the output of an undisturbed run, and that no staged file is left. Returns the
/// receipt.
#[track_caller]
fn check(host: &Host, input: &[u8], format: &str) -> Value {
    let path = host.write("undisturbed.csv", input);
    let (plugin, path) = (component("alarms"), path.display().to_string());
    let ingest = format!("ingest --json --output undisturbed --format {format} --plugin");
    let expected = host
        .run_with(&ingest, &[plugin.to_str().unwrap(), &path])
        .json()
        .remove(0);
    let status = host.status("one");
    assert_eq!(status["state"], "done", "{status}");
    let receipt = status["receipt"].clone();
    for member in ["records", "counters"] {
        assert_eq!(receipt[member], expected[member]);
    }
    for (part, members) in [
        ("input", ["bytes", "sha256", "columns"]),
        ("rejects", ["records", "by_code", "sha256"]),
    ] {
        for member in members {
            assert_eq!(receipt[part][member], expected[part][member], "{part}.{member}");
        }
    }
    for (own, other) in [
        (&receipt["outputs"][0]["uri"], &expected["outputs"][0]["uri"]),
        (&receipt["rejects"]["uri"], &expected["rejects"]["uri"]),
    ] {
        assert!(std::fs::read(path_of(own)).unwrap() == std::fs::read(path_of(other)).unwrap());
    }
    assert_eq!(host.run("queue audit").ok(), "q  no findings\n");
    assert_eq!(staged(host), Vec::<String>::new());
    receipt
}

/// Returns the names of the staged files.
fn staged(host: &Host) -> Vec<String> {
    let folders =
        ["staging", "fences", "checkpoints"].map(|folder| host.path(&format!("out/_ingest/q/{folder}")));
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    let files = entries.flatten().map(Result::unwrap);
    files
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

/// Tests both queue backends. The input comes from an HTTP server.
#[test]
fn the_successor_of_a_killed_worker_goes_on_where_that_was() {
    let redis = RedisServer::start();
    for (host, format) in [(Host::embedded(), "csv"), (Host::on(&redis.url()), "jsonl")] {
        let (input, more) = (alarms(20_000), format!("{OFTEN} --format {format}"));
        let server = ServedFile::new(input.clone(), A).serve(Vec::new());
        submit(&host, &server.uri());
        kill(&host, &more, 1).unwrap();
        assert!(staged(&host).iter().any(|name| name.ends_with(".checkpoint")));
        let log = burst(&host, &more);
        assert!(log.contains("resumed from a checkpoint"), "{log}");
        let receipt = check(&host, &input, format);
        let from = receipt["attempt"]["resumed_from"]["offset"].as_u64().unwrap();
        assert!(from > 100_000, "{from}");
        // The second HTTP request asked only for the rest of the file.
        let asked = server.requests();
        assert_eq!(asked.len(), 2, "{asked:?}");
        let range = range_of(&asked[1]).unwrap();
        assert!((from..from + 1_000).contains(&range), "{range} for {from}");
    }
}

#[test]
fn workers_killed_at_random_checkpoints_lose_nothing_and_double_nothing() {
    let seed = 20_171_025;
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut resumed = 0;
    for round in 0..6 {
        let host = Host::embedded();
        let input = alarms(random.u64(10_000..30_000));
        let path = host.write("a.csv", &input);
        submit(&host, path.to_str().unwrap());
        let format = ["csv", "jsonl"][round % 2];
        let more = format!("{OFTEN} --format {format}");
        // The queue may not know of these checkpoints, so a third lost lease would make the request poison.
        let _ = kill(&host, &more, random.u32(1..4)).and_then(|()| kill(&host, &more, random.u32(1..4)));
        burst(&host, &more);
        let receipt = check(&host, &input, format);
        resumed += u32::from(receipt["attempt"].get("resumed_from").is_some());
    }
    assert!(resumed >= 3, "{resumed} of 6");
}

#[test]
fn a_request_whose_checkpoints_get_further_never_becomes_poison() {
    let redis = RedisServer::start();
    for host in [Host::embedded(), Host::on(&redis.url())] {
        let input = alarms(40_000);
        let stalls = (0..5).map(|_| Action::Stall(input.len() / 7)).collect();
        let server = ServedFile::new(input.clone(), A).serve(stalls);
        submit(&host, &server.uri());
        for _ in 0..5 {
            let mut worker = worker(&host, OFTEN, "");
            worker.wait_for_log("claimed");
            wait_for("the worker to report a checkpoint", || {
                let status = host.status("one");
                (status["progress"].is_object() && status["lost"] == 0).then_some(())
            });
            worker.signal("KILL");
            worker.ended();
            host.expire_lease("one");
        }
        burst(&host, OFTEN);
        check(&host, &input, "csv");
    }
}

#[test]
fn a_stopped_worker_that_wakes_up_while_its_successor_is_at_work_changes_nothing() {
    for successors_stop in ["fetched:STOP:1", "staged:STOP:1"] {
        let host = Host::embedded();
        let input = alarms(20_000);
        submit(&host, host.write("a.csv", &input).to_str().unwrap());
        let mut zombie = worker(&host, OFTEN, "checkpoint:STOP:1");
        zombie.wait_for_log("claimed");
        zombie.wait_until_stopped();
        host.expire_lease("one");
        let mut successor = worker(&host, &format!("{OFTEN} --burst"), successors_stop);
        successor.wait_until_stopped();
        // The zombie continues to write after its checkpoint, which the successor has copied. It can finish its work,
        // find its lease lost or find its files removed. None of these endings may change the queue.
        zombie.signal("CONT");
        let refused = [
            "committed but not settled",
            "failed but not settled",
            "stopped without a commit",
        ];
        zombie.wait_for_any_log(&refused);
        successor.signal("CONT");
        let (code, log) = successor.ended();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("resumed from a checkpoint"), "{log}");
        let (code, log) = zombie.stop();
        assert_eq!(code, Some(0), "{log}");
        check(&host, &input, "csv");
        let receipts = std::fs::read_dir(host.path("out/_ingest/q/receipts")).unwrap();
        assert_eq!(receipts.count(), 1);
    }
}

/// Starts a worker whose transfer stalls halfway. Returns after the worker has written a checkpoint.
fn stalled() -> (Host, ScriptedServer, Vec<u8>, Worker) {
    let (host, input) = (Host::embedded(), alarms(20_000));
    let server = ServedFile::new(input.clone(), A).serve(vec![Action::Stall(input.len() / 2)]);
    submit(&host, &server.uri());
    let worker = worker(&host, &format!("{OFTEN} --lease 5"), "");
    wait_for("a checkpoint", || {
        staged(&host)
            .iter()
            .find(|name| *name == "one.checkpoint")
            .cloned()
    });
    (host, server, input, worker)
}

#[test]
fn who_takes_over_what_was_handed_back_goes_on_with_it() {
    let (host, server, input, mut worker) = stalled();
    worker.signal("TERM");
    worker.wait_for_log("waiting for attempts to end");
    worker.signal("TERM");
    worker.wait_for_log("handed back");
    assert_eq!(worker.ended().0, Some(0));
    burst(&host, OFTEN);
    let receipt = check(&host, &input, "csv");
    assert!(
        receipt["attempt"]["resumed_from"]["record"].as_u64() > Some(1_000),
        "{receipt}"
    );
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_request_that_is_cancelled_leaves_no_checkpoint() {
    let (host, _server, _, mut worker) = stalled();
    host.run("cancel one").ok();
    worker.wait_for_log("\"cancelled\"");
    assert_eq!(worker.stop().0, Some(0));
    assert_eq!(host.status("one")["state"], "cancelled");
    assert_eq!(staged(&host), Vec::<String>::new());
}

#[test]
fn an_operator_can_do_without_checkpoints() {
    let (host, input) = (Host::embedded(), alarms(10_000));
    submit(&host, host.write("a.csv", &input).to_str().unwrap());
    assert_eq!(kill(&host, "--checkpoint 0", 1), None);
    let receipt = check(&host, &input, "csv");
    assert_eq!(receipt["attempt"].get("resumed_from"), None);
}
