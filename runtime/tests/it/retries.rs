//! Tests how long a request is retried, and which messages appear meanwhile. If a host has answered before, an outage
//! of minutes causes no dead letter. Most tests run on both queue backends.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::host::{CommandOutput, Host, PATIENCE, component};
use crate::support::http::Files;
use crate::support::inputs::scripted_server::{Hangup, ScriptedServer, answer, hang_up, serve};
use crate::support::redis::RedisServer;

on_both_queues! {
    a_source_that_answers_with_errors_is_tried_for_an_hour
    a_host_that_never_answered_is_tried_for_two_minutes
    a_host_that_answered_any_worker_is_tried_for_an_hour
    a_host_that_answered_a_worker_that_died_is_tried_for_an_hour
    a_host_that_took_a_connection_is_tried_for_an_hour
    a_host_that_ends_each_handshake_is_tried_for_an_hour
    how_long_is_a_setting
    what_a_server_asks_for_is_kept
    what_a_server_asks_for_ends_with_the_hour
    status_and_submit_say_why_and_when
}

const MINUTE_MS: u64 = 60_000;

/// Runs a worker that executes the requests that are due, and then exits. Each worker is a new process, so it remembers
/// nothing from earlier workers.
fn burst(host: &Host, more: &str) -> CommandOutput {
    let clean = component("clean").display().to_string();
    host.run(&format!(
        "run --queue q --burst --burst-wait 0s --allow-host 127.0.0.1 --plugin {clean} {more}"
    ))
}

fn submit(host: &Host, id: &str, uri: &str) {
    host.run(&format!("submit --queue q --id {id} --uri {uri}")).ok();
}

/// Makes a failed request look as if it had waited `waited_ms`, and retries it once. Returns the request's error.
#[track_caller]
fn try_after(host: &Host, id: &str, waited_ms: u64, state: &str) -> String {
    host.let_wait(id, waited_ms);
    burst(host, "");
    let status = host.status(id);
    assert_eq!(status["state"], state, "{status}");
    status["error"].as_str().unwrap().to_owned()
}

/// Returns the URL of a file on a server that no longer exists.
fn refused_uri() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/in.csv", listener.local_addr().unwrap())
}

fn a_source_that_answers_with_errors_is_tried_for_an_hour(host: &Host) {
    let files = Files::serve();
    let uri = files.put("in.csv", "n\n1\n");
    files.fail("in.csv", 1_000);
    submit(host, "busy", &uri);
    burst(host, "");
    assert_eq!(host.status("busy")["state"], "delayed");
    try_after(host, "busy", 59 * MINUTE_MS, "delayed");
    let error = try_after(host, "busy", 60 * MINUTE_MS, "dead");
    let told = "answered 503 Service Unavailable (given up, attempts: 3, waits between them: 1h; `run --retry-for` says for how \
                long it is tried; `dead retry` begins anew)";
    assert!(error.ends_with(told), "{error}");
    // After `dead retry`, the request can be retried for another hour.
    host.run("dead retry busy").ok();
    burst(host, "");
    let status = host.status("busy");
    assert_eq!(
        (&status["state"], &status["attempts"]),
        (&"delayed".into(), &1.into())
    );
    files.fail("in.csv", 0);
    try_after_ok(host, "busy");
}

#[track_caller]
fn try_after_ok(host: &Host, id: &str) {
    host.let_wait(id, 0);
    assert_eq!(burst(host, "").code, Some(0));
    let status = host.status(id);
    assert_eq!(status["state"], "done", "{status}");
    assert!(status["due_ms"].is_null(), "{status}");
}

fn a_host_that_never_answered_is_tried_for_two_minutes(host: &Host) {
    for (id, uri) in [
        ("refused", refused_uri()),
        ("unknown", "http://no-such-host.invalid:8080/in.csv".to_owned()),
    ] {
        submit(host, id, &uri);
        let said = burst(host, "--allow-host no-such-host.invalid");
        assert_eq!(host.status(id)["state"], "delayed", "{}", said.stderr);
        host.let_wait(id, 119_000);
        burst(host, "--allow-host no-such-host.invalid");
        assert_eq!(host.status(id)["state"], "delayed");
        host.let_wait(id, 120_000);
        burst(host, "--allow-host no-such-host.invalid");
        let status = host.status(id);
        assert_eq!(status["state"], "dead", "{status}");
        let host_and_port = uri.trim_start_matches("http://").trim_end_matches("/in.csv");
        let told = format!(
            "(given up, attempts: 3, waits between them: 2m; {host_and_port} has never answered: check its name; `dead retry` \
             begins anew)"
        );
        assert!(status["error"].as_str().unwrap().ends_with(&told), "{status}");
    }
}

fn a_host_that_answered_any_worker_is_tried_for_an_hour(host: &Host) {
    let files = Files::serve();
    let uri = files.put("in.csv", "n\n1\n");
    submit(host, "before", &uri);
    assert_eq!(burst(host, "").code, Some(0));
    drop(files);
    submit(host, "down", &uri);
    burst(host, "");
    assert_eq!(host.status("down")["state"], "delayed");
    try_after(host, "down", 2 * MINUTE_MS, "delayed");
    try_after(host, "down", 59 * MINUTE_MS, "delayed");
    let error = try_after(host, "down", 60 * MINUTE_MS, "dead");
    assert!(
        error.contains("cannot connect") && error.contains("waits between them: 1h"),
        "{error}"
    );
}

fn a_host_that_answered_a_worker_that_died_is_tried_for_an_hour(host: &Host) {
    let files = Files::serve();
    let uri = files.hold("in.csv", "n\n1\n");
    submit(host, "held", &uri);
    let clean = component("clean").display().to_string();
    let mut worker = host.worker(&format!(
        "--queue q --lease 5 --allow-host 127.0.0.1 --plugin {clean}"
    ));
    worker.wait_for_log("claimed");
    let answered = async {
        let server = ingest_host::queue::Backend::connect(&host.url).await.unwrap();
        let name = uri.trim_start_matches("http://").trim_end_matches("/in.csv");
        let deadline = Instant::now() + PATIENCE;
        while !server.queue.was_reached(name).await.unwrap() {
            assert!(Instant::now() < deadline, "{name} is not noted");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::runtime::Runtime::new().unwrap().block_on(answered);
    drop((worker, files));
    submit(host, "down", &uri);
    burst(host, "");
    try_after(host, "down", 2 * MINUTE_MS, "delayed");
}

fn a_host_that_took_a_connection_is_tried_for_an_hour(host: &Host) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/in.csv", listener.local_addr().unwrap());
    let closing = std::thread::spawn(move || drop(listener.accept().unwrap()));
    submit(host, "down", &uri);
    burst(host, "");
    closing.join().unwrap();
    let error = try_after(host, "down", 2 * MINUTE_MS, "delayed");
    assert!(error.contains("cannot connect"), "{error}");
}

/// Checks a server that ends each TLS handshake, like a load balancer without a backend.
fn a_host_that_ends_each_handshake_is_tried_for_an_hour(host: &Host) {
    for (id, how) in [("close", Hangup::Close), ("reset", Hangup::Reset)] {
        submit(host, id, &format!("https://{}/in.csv", hang_up(how)));
        burst(host, "");
        try_after(host, id, 2 * MINUTE_MS, "delayed");
        try_after(host, id, 59 * MINUTE_MS, "delayed");
        let error = try_after(host, id, 60 * MINUTE_MS, "dead");
        assert!(
            error.contains("cannot connect by TLS") && error.contains("waits between them: 1h"),
            "{error}"
        );
    }
}

/// Checks a worker that has no permission to read or store which hosts have answered. It must log this only once.
#[test]
fn a_server_that_hides_which_hosts_have_answered_is_told_of() {
    let redis = RedisServer::start();
    let mut connection = ::redis::Client::open(redis.url())
        .unwrap()
        .get_connection()
        .unwrap();
    for rule in [
        "ACL SETUSER old on >secret +@all ~ingest:queues ~ingest:{q}* ~ingest:component:*",
        "ACL SETUSER all on >secret +@all ~*",
    ] {
        let mut words = rule.split(' ');
        let mut command = ::redis::cmd(words.next().unwrap());
        command
            .arg(words.collect::<Vec<_>>())
            .query::<()>(&mut connection)
            .unwrap();
    }
    let told = "cannot read or write which hosts have answered (`ingest:reached`)";
    let host = |user: &str| {
        Host::on(
            &redis
                .url()
                .replace("redis://", &format!("redis://{user}:secret@")),
        )
    };
    let old = host("old");
    let (files, more) = (Files::serve(), Files::serve());
    for (id, files) in [("one", &files), ("two", &more)] {
        submit(&old, id, &files.put("in.csv", "n\n1\n"));
    }
    // The worker has no permission to store the two hosts that answered, or to look up the third host.
    submit(&old, "refused", &refused_uri());
    let said = burst(&old, "");
    assert!(
        said.stdout.starts_with("2 done, 0 dead, 1 retried"),
        "{}",
        said.stdout
    );
    assert_eq!(said.stderr.matches(told).count(), 1, "{}", said.stderr);
    assert!(said.stderr.contains("extend its ACL"), "{}", said.stderr);
    try_after(&old, "refused", 2 * MINUTE_MS, "delayed");
    let error = try_after(&old, "refused", 60 * MINUTE_MS, "dead");
    assert!(
        error.contains("waits between them: 1h") && !error.contains("has never answered"),
        "{error}"
    );
    // With this permission, the worker knows that the host has never answered.
    let all = host("all");
    submit(&all, "known", &refused_uri());
    let said = burst(&all, "");
    assert!(!said.stderr.contains(told), "{}", said.stderr);
    let error = try_after(&all, "known", 2 * MINUTE_MS, "dead");
    assert!(error.contains("has never answered"), "{error}");
}

fn how_long_is_a_setting(host: &Host) {
    let files = Files::serve();
    let uri = files.put("in.csv", "n\n1\n");
    files.fail("in.csv", 1_000);
    submit(host, "never", &uri);
    let said = burst(host, "--retry-for 0s");
    assert!(said.stdout.starts_with("0 done, 1 dead"), "{}", said.stdout);
    assert!(
        host.status("never")["error"]
            .as_str()
            .unwrap()
            .contains("attempts: 1")
    );
    submit(host, "long", &uri);
    burst(host, "--retry-for 3h");
    host.let_wait("long", 179 * MINUTE_MS);
    burst(host, "--retry-for 3h");
    assert_eq!(host.status("long")["state"], "delayed");
    for (value, why) in [
        ("31d", "720h is the most"),
        ("1w", "is no time"),
        ("721h", "720h is the most"),
        ("1", "is no time"),
    ] {
        let said = burst(host, &format!("--retry-for {value}")).refused(2);
        assert!(said.contains("--retry-for") && said.contains(why), "{said}");
    }
    let help = host.run("run --help").ok();
    assert!(
        help.contains("--retry-for <DURATION>") && help.contains("[default: 1h]"),
        "{help}"
    );
}

fn busy_for(seconds: u32) -> ScriptedServer {
    let busy = answer(
        "503 Service Unavailable",
        &format!("Retry-After: {seconds}\r\n"),
        b"",
    );
    serve(vec![busy, answer("200 OK", "", b"n\n1\n")])
}

fn what_a_server_asks_for_is_kept(host: &Host) {
    let now_ms = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    // In the second case, the server asks for a week, but the worker waits for at most an hour.
    for (id, asked, kept) in [("minutes", 600, 600), ("week", 7 * 86_400, 3_600)] {
        let server = busy_for(asked);
        submit(host, id, &format!("http://{}/in.csv", server.address));
        let before = now_ms();
        burst(host, "");
        let status = host.status(id);
        let due_ms = status["due_ms"].as_i64().unwrap();
        let kept_ms = kept * 1_000;
        assert!(
            (before + kept_ms..=now_ms() + kept_ms).contains(&due_ms),
            "{status}, {before}"
        );
        try_after_ok(host, id);
    }
    // A burst that waits for a retry does not run the request earlier than the server asked.
    let server = busy_for(3);
    submit(host, "seconds", &format!("http://{}/in.csv", server.address));
    let (begun, clean) = (Instant::now(), component("clean").display().to_string());
    host.run(&format!(
        "run --queue q --burst --allow-host 127.0.0.1 --plugin {clean}"
    ))
    .ok();
    assert_eq!(server.requests().len(), 2);
    assert!(begun.elapsed() >= Duration::from_secs(3));
}

/// Checks that all waits together do not exceed `--retry-for`, even if the server asks for more.
fn what_a_server_asks_for_ends_with_the_hour(host: &Host) {
    let now_ms = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    for (id, asked) in [
        ("same", "3600"),
        ("more", "3601"),
        ("endless", "99999999999999999999"),
    ] {
        let busy = answer(
            "503 Service Unavailable",
            &format!("Retry-After: {asked}\r\n"),
            b"",
        );
        let server = serve(vec![busy.clone(), busy.clone(), busy]);
        submit(host, id, &format!("http://{}/in.csv", server.address));
        burst(host, "");
        host.let_wait(id, 3_540_000);
        let before = now_ms();
        burst(host, "");
        let status = host.status(id);
        let due_ms = status["due_ms"].as_i64().unwrap();
        assert!(
            (before + 60_000..=now_ms() + 60_000).contains(&due_ms),
            "{status}, {before}"
        );
        let error = try_after(host, id, 60 * MINUTE_MS, "dead");
        assert!(error.contains("attempts: 3, waits between them: 1h"), "{error}");
    }
}

fn status_and_submit_say_why_and_when(host: &Host) {
    let server = busy_for(4);
    let uri = format!("http://{}/in.csv", server.address);
    let mut waiting = host
        .command()
        .args(["submit", "--queue", "q", "--id", "one", "--wait", "--uri", &uri])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let clean = component("clean").display().to_string();
    let worker = host.worker(&format!("--queue q --allow-host 127.0.0.1 --plugin {clean}"));
    let note = said
        .by_ref()
        .map(Result::unwrap)
        .find(|line| line.contains("attempt"))
        .expect("a note of the failure");
    let failure = format!("fetch {uri}: answered 503 Service Unavailable, retry after 4 s [http-status]");
    assert!(
        note.starts_with(&format!("one  attempt 1 failed: {failure}; next try at 20")),
        "{note}"
    );
    assert!(note.contains("Z, in ") && note.ends_with(" s"), "{note}");
    let shown = host.run("status one").ok();
    assert!(shown.contains(&format!("error    {failure}\n")), "{shown}");
    assert!(shown.contains("\nnext try at 20"), "{shown}");
    assert!(waiting.wait().unwrap().success());
    assert!(said.all(|line| !line.unwrap().contains("attempt")), "said once");
    let shown = host.run("status one").ok();
    assert!(
        !shown.contains("next try") && !shown.contains("error "),
        "{shown}"
    );
    drop(worker);
}
