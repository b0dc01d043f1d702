//! Tests what workers do with requests, from the submit of a request to its end. The tests run with the embedded queue
//! and with Redis.

use std::time::Instant;

use crate::support::host::{Host, PATIENCE, component, path_of, sha256sum, wait_for};
use crate::support::http::Files;
use crate::support::redis::RedisServer;

on_both_queues! {
    a_burst_does_what_is_in_the_queue
    a_request_that_cannot_succeed_is_a_dead_letter_and_can_be_retried
    a_queued_uri_reaches_only_what_is_allowed
    sigterm_lets_an_attempt_end
    a_second_signal_hands_the_request_back_uncounted
    a_request_is_cancelled_before_and_while_it_runs
    two_workers_share_a_hundred_requests
    two_queues_share_the_room_of_a_worker
    a_paused_queue_is_left_alone
    submit_waits_for_the_receipt
    what_fails_for_a_while_is_tried_again
    what_a_killed_worker_had_goes_to_another
    an_unreadable_request_is_dead_unless_it_was_committed
    a_status_tells_when_a_lease_ends
    a_worker_whose_output_is_replaced_has_failed
    what_ended_long_ago_is_removed_and_its_receipt_still_counts
    an_idle_worker_removes_what_ended_long_ago
    documents_that_are_no_requests_are_listed_and_purged
}

fn alarms(records: u64) -> Vec<u8> {
    let mut csv = Vec::new();
    alarm_feed::write_alarms(&mut csv, 7, records, 5).unwrap();
    csv
}

fn run(host: &Host, more: &str) -> String {
    let plugin = component("alarms");
    let said = host.run_with(
        &format!("run --queue q {more} --plugin"),
        &[plugin.to_str().unwrap()],
    );
    let is_clean = said.stdout.contains(" 0 dead") && said.stdout.ends_with(" lost\n");
    assert_eq!(said.code, Some(i32::from(!is_clean)), "{}", said.stderr);
    said.stdout
}

fn a_burst_does_what_is_in_the_queue(host: &Host) {
    let files = Files::serve();
    let url = files.put("alarms.csv", alarms(1_000));
    let submitted = host
        .run(&format!("submit --queue q --uri {url} --id one --json"))
        .json();
    assert_eq!(submitted[0]["state"], "ready");
    let again = host
        .run(&format!("submit --queuename q --uri {url} --id one"))
        .ok();
    assert!(again.contains("was there before"), "{again}");
    let other = host
        .run("submit --queue q --uri http://example.com/other.csv --id one")
        .refused(1);
    assert!(other.contains("another --id"), "{other}");

    let said = run(host, "--burst --allow-host 127.0.0.1");
    assert!(said.starts_with("1 done, 0 dead"), "{said}");

    let status = host.status("one");
    assert_eq!(
        (status["state"].as_str(), status["attempts"].as_u64()),
        (Some("done"), Some(1))
    );
    let receipt = &status["receipt"];
    assert_eq!(receipt["request"]["queue"], "q");
    assert_eq!(receipt["records"]["read"], 1_000);
    assert_eq!(receipt["attempt"]["fence"], 1);
    let output = path_of(&receipt["outputs"][0]["uri"]);
    assert_eq!(output, host.path("out").canonicalize().unwrap().join("q/one.csv"));
    assert_eq!(receipt["outputs"][0]["sha256"], sha256sum(&output));
    let on_disk = std::fs::read_to_string(host.path("out/_ingest/q/receipts/one.json")).unwrap();
    assert_eq!(
        &serde_json::from_str::<serde_json::Value>(&on_disk).unwrap(),
        receipt
    );
    assert_eq!(host.run("queue audit").ok(), "q  no findings\n");
}

fn a_request_that_cannot_succeed_is_a_dead_letter_and_can_be_retried(host: &Host) {
    let files = Files::serve();
    host.run(&format!(
        "submit --queue q --uri {}/late.csv --id late",
        files.url
    ))
    .ok();
    let said = run(host, "--burst --allow-host 127.0.0.1");
    assert!(said.starts_with("0 done, 1 dead"), "{said}");
    let listed = host.run("dead list").ok();
    assert!(listed.contains("late") && listed.contains("404"), "{listed}");
    let shown = host.run("dead show late --json").json().remove(0);
    assert_eq!(
        (shown["state"].as_str(), shown["attempts"].as_u64()),
        (Some("dead"), Some(1))
    );

    files.put("late.csv", alarms(10));
    host.run("dead retry late").ok();
    assert_eq!(host.status("late")["state"], "ready");
    run(host, "--burst --allow-host 127.0.0.1");
    assert_eq!(host.status("late")["state"], "done");
    let said = host.run("dead retry late").refused(1);
    assert!(said.contains("not dead"), "{said}");
}

fn a_queued_uri_reaches_only_what_is_allowed(host: &Host) {
    let files = Files::serve();
    let url = files.put("alarms.csv", alarms(10));
    host.write("alarms.csv", alarms(10));
    host.run(&format!("submit --queue q --uri {url} --id http")).ok();
    host.run("submit --queue q --uri alarms.csv --id file").ok();
    run(host, "--burst");
    let why = |id: &str| host.status(id)["error"].as_str().unwrap_or_default().to_owned();
    assert_eq!(host.status("http")["code"], "address-refused", "{}", why("http"));
    assert_eq!(host.status("file")["code"], "path-refused", "{}", why("file"));
    assert!(why("http").contains("--allow-host"), "{}", why("http"));
    assert!(why("file").contains("--allow-root"), "{}", why("file"));
    host.run("dead retry http").ok();
    host.run("dead retry file").ok();
    run(host, "--burst --allow-host 127.0.0.1 --allow-root .");
    assert_eq!(host.status("http")["state"], "done", "{}", why("http"));
    assert_eq!(host.status("file")["state"], "done", "{}", why("file"));
}

fn sigterm_lets_an_attempt_end(host: &Host) {
    let files = Files::serve();
    let url = files.hold("alarms.csv", alarms(1_000));
    host.run(&format!("submit --queue q --uri {url} --id one")).ok();
    host.run(&format!("submit --queue q --uri {url} --id two")).ok();
    let plugin = component("alarms");
    let mut worker = host.worker(&format!(
        "--queue q --concurrency 1 --allow-host 127.0.0.1 --plugin {}",
        plugin.display()
    ));
    worker.wait_for_log("claimed");
    worker.signal("TERM");
    worker.wait_for_log("stopping");
    files.let_go("alarms.csv");
    let (code, log) = worker.ended();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(host.status("one")["state"], "done");
    assert_eq!(
        host.status("two")["state"],
        "ready",
        "nothing is claimed after the signal"
    );
}

fn a_second_signal_hands_the_request_back_uncounted(host: &Host) {
    let files = Files::serve();
    let url = files.hold("alarms.csv", alarms(1_000));
    host.run(&format!("submit --queue q --uri {url} --id one")).ok();
    let plugin = component("alarms");
    let mut worker = host.worker(&format!(
        "--queue q --allow-host 127.0.0.1 --plugin {}",
        plugin.display()
    ));
    worker.wait_for_log("claimed");
    worker.signal("INT");
    worker.wait_for_log("stopping");
    worker.signal("TERM");
    let (code, log) = worker.ended();
    assert_eq!(code, Some(0), "{log}");
    let status = host.status("one");
    assert_eq!(
        (status["state"].as_str(), status["attempts"].as_u64()),
        (Some("ready"), Some(0))
    );
    files.let_go("alarms.csv");
    run(host, "--burst --allow-host 127.0.0.1");
    assert_eq!(host.status("one")["attempts"], 1);
}

fn a_request_is_cancelled_before_and_while_it_runs(host: &Host) {
    let files = Files::serve();
    let url = files.hold("alarms.csv", alarms(1_000));
    host.run(&format!("submit --queue q --uri {url} --id waits")).ok();
    assert!(host.run("cancel waits").ok().contains("cancelled"));
    assert_eq!(host.status("waits")["state"], "cancelled");
    assert!(
        host.run("cancel waits")
            .refused(1)
            .contains("is cancelled already")
    );
    assert!(
        host.run("cancel nobody")
            .refused(1)
            .contains("request nobody: is not in any queue")
    );

    host.run(&format!("submit --queue q --uri {url} --id runs")).ok();
    let plugin = component("alarms");
    let mut worker = host.worker(&format!(
        "--queue q --allow-host 127.0.0.1 --plugin {}",
        plugin.display()
    ));
    worker.wait_for_log("claimed");
    assert!(host.run("cancel runs").ok().contains("told to stop"));
    // The worker learns about the cancellation when it renews its lease.
    host.wait_for_state("runs", "cancelled");
    assert!(!host.path("out/q/runs.csv").exists());
    let (code, log) = worker.stop();
    assert_eq!(code, Some(0), "{log}");
}

fn two_workers_share_a_hundred_requests(host: &Host) {
    let files = Files::serve();
    let url = files.put("alarms.csv", alarms(100));
    for id in 0..100 {
        host.run(&format!("submit --queue q --uri {url} --id r{id}")).ok();
    }
    let plugin = component("alarms");
    let words = format!(
        "--queue q --concurrency 2 --allow-host 127.0.0.1 --plugin {}",
        plugin.display()
    );
    let workers = [host.worker(&words), host.worker(&words)];
    let start = Instant::now();
    wait_for("100 requests to be done", || {
        let counts = host.run("queue list --json").json().remove(0);
        (counts["done"] == 100).then_some(())
    });
    assert!(start.elapsed() < PATIENCE);
    for worker in workers {
        let (code, log) = worker.stop();
        assert_eq!(code, Some(0), "{log}");
    }
    assert_eq!(host.run("queue audit").ok(), "q  no findings\n");
    let done = host
        .run("requests --queue q --state done --limit 1000 --json")
        .json();
    let digests: std::collections::HashSet<_> = done
        .iter()
        .map(|status| status["receipt"]["outputs"][0]["sha256"].to_string())
        .collect();
    assert_eq!((done.len(), digests.len()), (100, 1));
    assert!(
        done.iter()
            .all(|status| status["attempts"] == 1 && status["lost"] == 0)
    );
    assert_eq!(
        std::fs::read_dir(host.path("out/_ingest/q/receipts"))
            .unwrap()
            .count(),
        100
    );
}

fn two_queues_share_the_room_of_a_worker(host: &Host) {
    let files = Files::serve();
    let url = files.hold("alarms.csv", alarms(10));
    for queue in ["many", "few"] {
        for id in 0..6 {
            host.run(&format!("submit --queue {queue} --uri {url} --id r{id}"))
                .ok();
        }
    }
    let plugin = component("alarms");
    let worker = host.worker(&format!(
        "--queue many --queue few --concurrency 4 --allow-host 127.0.0.1 --plugin {}",
        plugin.display()
    ));
    let counts = wait_for("the room to be taken", || {
        let counts = host.run("queue list --json").json();
        let leased = counts.iter().map(|counts| counts["leased"].as_u64().unwrap());
        (leased.sum::<u64>() == 4).then_some(counts)
    });
    assert!(counts.iter().all(|counts| counts["leased"] == 2), "{counts:?}");
    files.let_go("alarms.csv");
    wait_for("all to be done", || {
        let counts = host.run("queue list --json").json();
        counts.iter().all(|counts| counts["done"] == 6).then_some(())
    });
    let (code, log) = worker.stop();
    assert_eq!(code, Some(0), "{log}");
}

fn a_paused_queue_is_left_alone(host: &Host) {
    let files = Files::serve();
    let url = files.put("alarms.csv", alarms(10));
    host.run(&format!("submit --queue q --uri {url} --id one")).ok();
    host.run("queue pause --queue q").ok();
    let said = run(host, "--burst --allow-host 127.0.0.1");
    assert!(
        said.starts_with("0 done") && said.contains(", 1 left\n"),
        "{said}"
    );
    assert_eq!(host.status("one")["state"], "ready");
    host.run("queue resume --queue q").ok();
    assert!(run(host, "--burst --allow-host 127.0.0.1").starts_with("1 done"));
}

fn submit_waits_for_the_receipt(host: &Host) {
    let files = Files::serve();
    let url = files.put("alarms.csv", alarms(100));
    let plugin = component("alarms");
    let worker = host.worker(&format!(
        "--queue q --allow-host 127.0.0.1 --plugin {}",
        plugin.display()
    ));
    let receipts = host
        .run(&format!("submit --queue q --uri {url} --uri {url} --wait --json"))
        .json();
    assert_eq!(receipts.len(), 2);
    assert!(receipts.iter().all(|receipt| receipt["records"]["read"] == 100));
    let said = host.run(&format!("submit --queue q --uri {url}/not/there --wait"));
    assert_eq!(said.code, Some(1));
    assert!(said.stdout.contains("dead: fetch"), "{}", said.stdout);
    let (code, log) = worker.stop();
    assert_eq!(code, Some(0), "{log}");
}

/// Checks that a worker fails if its output folder is replaced. This happens if a volume is mounted at the folder's
/// path. The exit code is 1, so a supervisor starts the worker again. The code 2 would mean wrong usage.
fn a_worker_whose_output_is_replaced_has_failed(host: &Host) {
    let files = Files::serve();
    let url = files.put("alarms.csv", alarms(10));
    let plugin = component("alarms");
    let mut worker = host.worker(&format!(
        "--queue q --allow-host 127.0.0.1 --plugin {}",
        plugin.display()
    ));
    // After a request, the worker certainly knows the id of its output.
    host.run(&format!("submit --queue q --uri {url} --id zero")).ok();
    host.wait_for_state("zero", "done");
    std::fs::create_dir_all(host.path("volume/_ingest")).unwrap();
    host.write("volume/_ingest/output-id", "another\n");
    // The folders are renamed, because the worker could be writing to them.
    std::fs::rename(host.path("out"), host.path("before")).unwrap();
    std::fs::rename(host.path("volume"), host.path("out")).unwrap();
    host.run(&format!("submit --queue q --uri {url} --id one")).ok();
    let (code, log) = worker.ended();
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("is another output than when this worker started"),
        "{log}"
    );
    assert_eq!(host.status("one")["state"], "delayed");
}

fn what_fails_for_a_while_is_tried_again(host: &Host) {
    let files = Files::serve();
    let url = files.put("alarms.csv", alarms(10));
    files.fail("alarms.csv", 2);
    host.run(&format!("submit --queue q --uri {url} --id one")).ok();
    let said = run(host, "--burst --allow-host 127.0.0.1");
    assert!(said.starts_with("1 done, 0 dead, 2 retried"), "{said}");
    let status = host.status("one");
    assert_eq!(
        (status["attempts"].as_u64(), status["lost"].as_u64()),
        (Some(3), Some(0))
    );
}

fn what_a_killed_worker_had_goes_to_another(host: &Host) {
    let files = Files::serve();
    let url = files.hold("alarms.csv", alarms(1_000));
    host.run(&format!("submit --queue q --uri {url} --id one")).ok();
    let plugin = component("alarms");
    let words = format!("--queue q --allow-host 127.0.0.1 --plugin {}", plugin.display());
    let mut worker = host.worker(&words);
    worker.wait_for_log("claimed");
    worker.signal("KILL");
    worker.ended();
    assert_eq!(host.status("one")["state"], "leased");
    files.let_go("alarms.csv");
    // The lease would last 60 s, so the test ends it in the queue.
    host.expire_lease("one");
    let worker = host.worker(&words);
    let status = host.wait_for_state("one", "done");
    assert_eq!(
        (status["attempts"].as_u64(), status["lost"].as_u64()),
        (Some(1), Some(1))
    );
    assert_eq!(worker.stop().0, Some(0));
    assert_eq!(host.run("queue audit").ok(), "q  no findings\n");
}

fn an_unreadable_request_is_dead_unless_it_was_committed(host: &Host) {
    let uri = host.write("a.csv", "n\n1\n").display().to_string();
    let plugin = component("clean").display().to_string();
    let words = format!("--queue q --burst --allow-root . --plugin {plugin}");
    host.run(&format!("submit --queue q --uri {uri} --id committed"))
        .ok();
    let (code, log) = host.faulty_worker(&words, "receipt:KILL:1").ended();
    assert_eq!(code, None, "{log}");
    host.expire_lease("committed");
    host.run(&format!("submit --queue q --uri {uri} --id unseen"))
        .ok();
    for id in ["committed", "unseen"] {
        host.store_input(id, r#"{"skip_rowz":2}"#);
    }
    let said = host.run(&format!("run {words}"));
    assert!(said.stdout.starts_with("1 done, 1 dead, "), "{}", said.stdout);
    assert_eq!(said.code, Some(1));
    assert_eq!(host.status("committed")["state"], "done");
    let status = host.status("unseen");
    assert_eq!(status["state"], "dead");
    assert_eq!(status["code"], "host-outdated", "{status}");
    let error = status["error"].as_str().unwrap();
    assert!(
        error.contains("`skip_rowz`") && error.contains("dead retry unseen"),
        "{error}"
    );
}

fn what_ended_long_ago_is_removed_and_its_receipt_still_counts(host: &Host) {
    let files = Files::serve();
    let url = files.put("alarms.csv", alarms(100));
    let submit = || host.run(&format!("submit --queue q --uri {url} --id one")).ok();
    let removed = || host.run("status one").code == Some(1);
    submit();
    run(host, "--burst --allow-host 127.0.0.1");
    let receipt = std::fs::read(host.path("out/_ingest/q/receipts/one.json")).unwrap();
    assert!(submit().contains("was there before"));

    host.end_long_ago("one");
    run(host, "--burst --allow-host 127.0.0.1 --retention 0");
    assert!(!removed());
    run(host, "--burst --allow-host 127.0.0.1");
    assert!(removed());
    assert_eq!(
        std::fs::read(host.path("out/_ingest/q/receipts/one.json")).unwrap(),
        receipt
    );

    // The queue does not know the id any more. The worker finds the receipt of the same work, and writes no output.
    assert!(submit().contains("submitted"));
    let said = run(host, "--burst --allow-host 127.0.0.1");
    assert!(said.starts_with("1 done"), "{said}");
    assert_eq!(
        host.status("one")["receipt"],
        serde_json::from_slice::<serde_json::Value>(&receipt).unwrap()
    );
    assert_eq!(
        std::fs::read(host.path("out/_ingest/q/receipts/one.json")).unwrap(),
        receipt
    );
    let outputs = std::fs::read_dir(host.path("out/q")).unwrap();
    let outputs = outputs.filter(|entry| entry.as_ref().unwrap().path().is_file());
    assert_eq!(outputs.count(), 1);

    // The worker finds the receipt, and refuses to do other work under the same id.
    host.end_long_ago("one");
    run(host, "--burst --allow-host 127.0.0.1");
    files.put("alarms.csv", alarms(101));
    submit();
    let said = run(host, "--burst --allow-host 127.0.0.1");
    assert!(said.starts_with("0 done, 1 dead"), "{said}");
    let dead = host.status("one");
    assert_eq!(dead["code"], "output-conflict", "{dead}");
    assert_eq!(host.run("queue audit").ok(), "q  no findings\n");
}

fn a_status_tells_when_a_lease_ends(host: &Host) {
    let files = Files::serve();
    let url = files.put("alarms.csv", alarms(10));
    host.run(&format!("submit --queue q --uri {url} --id one")).ok();
    let line = || {
        let shown = host.run("status one").ok();
        let line = shown.lines().find_map(|line| line.strip_prefix("lease    "));
        line.map(str::to_owned)
    };
    assert_eq!(line(), None);
    let plugin = component("alarms").display().to_string();
    let words = format!("--queue q --lease 600 --allow-host 127.0.0.1 --plugin {plugin}");
    let before_ms = jiff::Timestamp::now().as_millisecond();
    host.faulty_worker(&words, "claimed:KILL:1").ended();
    let ends_ms = host.status("one")["lease_ends_ms"].as_i64().unwrap();
    let left_ms = ends_ms - before_ms;
    assert!((600_000..600_000 + 60_000).contains(&left_ms), "{left_ms}");
    let ends = line().unwrap();
    let second = jiff::Timestamp::from_millisecond(ends_ms).unwrap();
    let second = second.round(jiff::Unit::Second).unwrap();
    assert!(
        ends.starts_with(&format!("ends at {second}, in "))
            && ends.ends_with(" s, unless its worker renews it"),
        "{ends}"
    );
    host.expire_lease("one");
    assert_eq!(
        line().unwrap(),
        "ended at 1970-01-01T00:00:00Z: the next worker that claims takes the request over"
    );
    assert!(run(host, "--burst --allow-host 127.0.0.1").starts_with("1 done"));
    assert_eq!(line(), None);
    assert!(host.status("one").get("lease_ends_ms").is_none());
}

fn an_idle_worker_removes_what_ended_long_ago(host: &Host) {
    let files = Files::serve();
    let url = files.put("alarms.csv", alarms(10));
    host.run(&format!("submit --queue q --uri {url} --id one")).ok();
    run(host, "--burst --allow-host 127.0.0.1");
    host.end_long_ago("one");
    let plugin = component("alarms");
    let mut worker = host.worker(&format!("--queue q --plugin {}", plugin.display()));
    let line = worker.wait_for_log("requests removed");
    assert!(line.contains("\"removed\":1"), "{line}");
    assert_eq!(host.run("status one").code, Some(1));
    assert_eq!(worker.stop().0, Some(0));
}

fn documents_that_are_no_requests_are_listed_and_purged(host: &Host) {
    for document in ["first", "second", "third", "fourth"] {
        host.push(document);
    }
    run(host, "--burst");
    let names = || -> Vec<String> {
        let listed = host.run("dead list --json").json();
        let names = listed.iter().map(|one| one["name"].as_str().unwrap());
        names.map(str::to_owned).collect()
    };
    let before = names();
    assert_eq!(before.len(), 4);
    assert!(host.run("dead list").ok().contains(&before[1]));
    let shown = host.run(&format!("dead show {}", before[1])).ok();
    assert!(
        shown.starts_with(&format!("{}  invalid\n", before[1])) && shown.contains("document third\n"),
        "{shown}"
    );
    let shown = host
        .run(&format!("dead show {} --queue q --json", before[1]))
        .json();
    assert_eq!(
        (&shown[0]["name"], &shown[0]["code"]),
        (&before[1].as_str().into(), &"request-invalid".into())
    );
    for command in ["status", "dead retry", "cancel"] {
        let said = host.run(&format!("{command} {}", before[1])).refused(1);
        let hint = format!("`ingest-host dead show {}` shows it", before[1]);
        assert!(said.contains(&hint), "{command}: {said}");
    }
    let said = host.run("dead show document:0").refused(1);
    assert!(said.contains("document:0: is not in any queue"), "{said}");
    let said = host.run(&format!("dead purge {}", before[1])).ok();
    assert_eq!(said, format!("{}  removed\n", before[1]));
    assert_eq!(names(), [&before[0], &before[2], &before[3]].map(Clone::clone));

    let said = host.run(&format!("dead purge {}", before[1])).refused(1);
    assert!(said.contains("is not in any queue"), "{said}");
    let said = host.run("dead purge --documents").refused(2);
    assert!(said.contains("--queue"), "{said}");
    let said = host.run("dead purge --documents --queue p").refused(1);
    assert!(said.contains("no such queue"), "{said}");
    // `--all` purges dead requests, but not documents that were set aside.
    assert_eq!(host.run("dead purge --all --queue q").ok(), "");
    assert_eq!(names().len(), 3);
    let said = host.run("dead purge --documents --queue q").ok();
    assert_eq!(said.lines().count(), 3);
    assert_eq!(names(), Vec::<String>::new());
}

/// Checks that a worker waits for its queue server, because both can start at the same time. The worker also waits if
/// the network fails while it starts.
#[test]
fn a_worker_waits_for_its_server_to_start() {
    let mut server = RedisServer::start();
    let host = Host::on(&server.url());
    host.write("in.csv", alarms(10));
    server.kill();
    let words = format!(
        "--queue q --allow-root . --plugin {}",
        component("alarms").display()
    );
    let mut worker = host.worker(&words);
    worker.wait_for_log("the queue's server cannot be reached, trying again");
    server.restart();
    host.run("submit --queue q --id one --uri in.csv").ok();
    host.wait_for_state("one", "done");
    assert_eq!(worker.stop().0, Some(0));

    server.kill();
    let mut waiting = host.worker(&words);
    waiting.wait_for_log("the queue's server cannot be reached, trying again");
    let (code, log) = waiting.stop();
    assert_eq!(code, Some(1), "{log}");
}
