//! Tests that a burst always ends, whatever its queues contain. A burst reports the requests that it waits for and the
//! requests that it leaves. The tests run with the embedded queue and with Redis.

use std::io::{BufRead, BufReader, Lines, Read};
use std::process::{ChildStderr, Stdio};
use std::time::{Duration, Instant};

use ingest_host::queue::{Backend, ClaimOptions, Next, OutputId};

use crate::support::host::{CommandOutput, Host, Worker, component};
use crate::support::http::Files;
use crate::support::inputs::scripted_server::{ScriptedServer, answer, serve};
use crate::support::process::{KillOnDrop, send_signal};

on_both_queues! {
    what_is_delayed_for_a_year_is_told_and_no_failure
    what_is_due_soon_is_waited_for
    what_is_only_to_be_ended_is_waited_for_in_a_paused_queue
    a_retry_that_is_not_due_in_time_is_left
    all_waits_for_retries_together_are_bounded
    what_is_due_behind_retries_is_waited_for
    what_died_is_listed_by_the_command_that_the_summary_names
    a_stopped_burst_tells_what_is_left
    what_another_worker_keeps_is_left
    what_another_worker_loses_is_done
    what_a_paused_queue_has_is_left_and_the_others_are_done
    a_queue_without_a_plugin_is_left
    a_document_that_is_no_request_is_a_failure_once
    the_list_of_what_is_left_is_short
}

const WAITS: &str = "the burst has nothing to do and waits";

/// The time limit of a burst in these tests. It is less than the default of `--burst-wait`, 300 s.
const AT_ONCE: Duration = Duration::from_secs(100);

fn words(more: &str) -> String {
    let clean = component("clean").display().to_string();
    format!("--queue q --burst --allow-host 127.0.0.1 --plugin {clean} {more}")
}

fn burst(host: &Host, more: &str) -> CommandOutput {
    let start = Instant::now();
    let said = host.run(&format!("run {}", words(more)));
    assert!(start.elapsed() < AT_ONCE, "{}", said.stderr);
    said
}

#[track_caller]
fn assert_said(said: &CommandOutput, code: i32, first: &str) {
    assert_eq!(said.code, Some(code), "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.starts_with(first), "{}", said.stdout);
}

/// Returns true if a line after the first one contains all of `words`.
fn lists(said: &CommandOutput, words: &[&str]) -> bool {
    let mut lines = said.stdout.lines().skip(1);
    lines.any(|line| words.iter().all(|word| line.contains(word)))
}

/// Serves an input and creates the queue, so that documents can be pushed to it. Returns the server and the input's
/// URL.
fn with_file(host: &Host) -> (Files, String) {
    let files = Files::serve();
    let url = files.put("in.csv", "n\n1\n");
    assert_said(&burst(host, ""), 0, "0 done");
    (files, url)
}

fn what_is_delayed_for_a_year_is_told_and_no_failure(host: &Host) {
    let (_files, url) = with_file(host);
    host.push(&format!(
        r#"{{"uri":"{url}","id":"late","delay_ms":31622400000}}"#
    ));
    host.push(&format!(r#"{{"uri":"{url}","id":"now"}}"#));
    let said = burst(host, "");
    assert_said(
        &said,
        0,
        "1 done, 0 dead, 0 retried, 0 cancelled, 0 handed back, 0 lost, 1 for later (from 20",
    );
    assert_eq!(said.stdout.lines().count(), 1, "{}", said.stdout);
    assert!(!said.stderr.contains(WAITS), "{}", said.stderr);
    assert_eq!(host.status("late")["state"], "delayed");
}

fn what_is_due_soon_is_waited_for(host: &Host) {
    let (_files, url) = with_file(host);
    // The delays are so long that no request becomes due by itself during the test.
    for (id, delay_ms) in [("soon", 1_800_000), ("sooner", 1_700_000), ("late", 7_200_000)] {
        host.push(&format!(r#"{{"uri":"{url}","id":"{id}","delay_ms":{delay_ms}}}"#));
    }
    let mut burst = RunningBurst::start(host, "--burst-wait 1h");
    let told = burst.wait_for_log(WAITS);
    let word = |name: &str| {
        let mut words = told.split(' ');
        let value = words.find_map(|word| word.strip_prefix(name)).expect(name);
        value.parse::<f64>().expect(name)
    };
    assert_eq!(word("delayed="), 3.0, "{told}");
    for name in ["next_due_in_s=", "at_most_s="] {
        assert_eq!((word(name) * 10.0).fract(), 0.0, "{told}");
    }
    assert!((1.0..=1_700.0).contains(&word("next_due_in_s=")), "{told}");
    for id in ["sooner", "soon"] {
        host.make_due(id);
    }
    let said = burst.ended();
    assert_said(&said, 0, "2 done");
    assert!(said.stdout.contains(" lost, 1 for later"), "{}", said.stdout);
    // The burst can log twice that it waits, because it can claim one of the two requests before the other is due.
    let told_again = said.stderr.matches(WAITS).count();
    assert!(told_again <= 1, "{}", said.stderr);
    for (id, state) in [("sooner", "done"), ("soon", "done"), ("late", "delayed")] {
        assert_eq!(host.status(id)["state"], state, "{id}");
    }
}

/// A burst in the background. It is killed when the test ends, even if the test fails.
struct RunningBurst {
    child: KillOnDrop,
    log: Lines<BufReader<ChildStderr>>,
}

impl RunningBurst {
    fn start(host: &Host, more: &str) -> Self {
        let mut command = host.command();
        command.arg("run").args(words(more).split_whitespace());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self {
            child: KillOnDrop(child),
            log,
        }
    }

    /// Waits until the burst logs a line with this text, and returns the line.
    fn wait_for_log(&mut self, text: &str) -> String {
        let mut lines = self.log.by_ref().map(Result::unwrap);
        let found = lines.find(|line| line.contains(text));
        found.unwrap_or_else(|| panic!("the burst has ended and not logged {text:?}"))
    }

    /// Waits for the end of the burst. Returns its output, but of its log only the lines that were not waited for.
    fn ended(mut self) -> CommandOutput {
        let stderr = self.log.by_ref().map(|line| line.unwrap() + "\n").collect();
        let (mut stdout, out) = (String::new(), self.child.stdout.take());
        out.unwrap().read_to_string(&mut stdout).unwrap();
        let code = self.child.wait().unwrap().code();
        CommandOutput { code, stdout, stderr }
    }
}

fn what_is_only_to_be_ended_is_waited_for_in_a_paused_queue(host: &Host) {
    let (_files, url) = with_file(host);
    host.run(&format!("submit --queue q --uri {url} --id poison"))
        .ok();
    let output = OutputId {
        id: std::fs::read_to_string(host.path("out/_ingest/output-id"))
            .unwrap()
            .trim()
            .into(),
        uri: "file:///out".into(),
    };
    let claim = |lease| ClaimOptions {
        worker: "lost".into(),
        nonce: uuid::Uuid::new_v4().to_string(),
        lease,
        lost_max: 1,
        needs_binding: false,
        output: output.clone(),
        move_output: false,
    };
    // The request's only worker is lost, and the next worker cannot yet check the output.
    let put_off = async {
        let server = Backend::connect(&host.url).await.unwrap();
        let lost = server
            .queue
            .claim_some("q", &claim(Duration::from_millis(1)), 1)
            .await;
        assert_eq!(lost.unwrap().len(), 1);
        let ending = loop {
            let found = server
                .queue
                .claim_some("q", &claim(Duration::from_secs(60)), 1)
                .await;
            if let Some(found) = found.unwrap().pop() {
                break found;
            }
        };
        assert!(ending.ending.is_some(), "{ending:?}");
        let later = Next::Conclude(Duration::from_secs(1));
        server.queue.fail(&ending.ticket, "not yet", later).await.unwrap();
    };
    tokio::runtime::Runtime::new().unwrap().block_on(put_off);
    let shown = host.run("status poison").ok();
    assert!(
        shown.contains("\nends     at 20") && !shown.contains("next try"),
        "{shown}"
    );
    host.run("queue pause --queue q").ok();
    assert_said(&burst(host, "--burst-wait 1m"), 1, "0 done, 1 dead");
    assert_eq!(host.status("poison")["state"], "dead");
}

fn a_retry_that_is_not_due_in_time_is_left(host: &Host) {
    let (files, url) = with_file(host);
    files.fail("in.csv", 1_000);
    host.push(&format!(r#"{{"uri":"{url}","id":"busy"}}"#));
    let said = burst(host, "--burst-wait 0s");
    assert_said(&said, 1, "0 done, 0 dead");
    assert!(said.stdout.contains(" lost, 1 left\n"), "{}", said.stdout);
    assert!(
        lists(&said, &["busy", "q", "delayed", "failed, to be tried again"]),
        "{}",
        said.stdout
    );
    // With the default of `--burst-wait`, the burst waits for all retries. It logs this wait only once.
    files.fail("in.csv", 2);
    let said = burst(host, "");
    assert_said(&said, 0, "1 done, 0 dead, 2 retried");
    assert_eq!(said.stderr.matches(WAITS).count(), 1, "{}", said.stderr);
    let waits = said.stderr.lines().filter(|line| line.contains("next_try_in_s="));
    let waits: Vec<_> = waits
        .filter_map(|line| line.split("next_try_in_s=").nth(1)?.split(' ').next())
        .collect();
    assert_eq!(waits.len(), 2, "{}", said.stderr);
    for wait in waits {
        assert_eq!((wait.parse::<f64>().unwrap() * 10.0).fract(), 0.0, "{wait}");
    }
}

/// Starts a server that answers each request with status 503 and the header `Retry-After: {seconds}`.
fn busy_for(seconds: u32) -> ScriptedServer {
    let headers = format!("Retry-After: {seconds}\r\n");
    let answer = answer("503 Service Unavailable", &headers, b"");
    serve(vec![answer; 100])
}

fn all_waits_for_retries_together_are_bounded(host: &Host) {
    let busy = busy_for(3);
    host.run(&format!(
        "submit --queue q --id busy --uri http://{}/in.csv",
        busy.address
    ))
    .ok();
    // Each wait is shorter than 8 s, but the three waits together take longer.
    let said = burst(host, "--burst-wait 8s");
    assert_said(&said, 1, "0 done, 0 dead, 3 retried");
    assert!(
        lists(&said, &["busy", "delayed", "failed, to be tried again"]),
        "{}",
        said.stdout
    );
    assert_eq!(busy.requests().len(), 3);
}

fn what_is_due_behind_retries_is_waited_for(host: &Host) {
    let (_files, url) = with_file(host);
    let busy = busy_for(2);
    for number in 0..3 {
        let uri = format!("http://{}/{number}.csv", busy.address);
        host.run(&format!("submit --queue q --uri {uri}")).ok();
    }
    // This request becomes due after the retries, but less than 5 s after the burst stops waiting for retries.
    host.push(&format!(r#"{{"uri":"{url}","id":"later","delay_ms":7600}}"#));
    let said = burst(host, "--burst-wait 5s");
    assert_said(&said, 1, "1 done, 0 dead");
    assert!(said.stdout.contains(" lost, 3 left\n"), "{}", said.stdout);
    assert_eq!(host.status("later")["state"], "done");
}

fn what_died_is_listed_by_the_command_that_the_summary_names(host: &Host) {
    let (_files, url) = with_file(host);
    for id in ["one", "two"] {
        host.run(&format!("submit --queue q --uri {url}.missing --id {id}"))
            .ok();
    }
    let said = burst(host, "");
    assert_said(&said, 1, "0 done, 2 dead");
    let line = "\n2 died: `ingest-host dead list --queue q` shows them\n";
    assert!(said.stdout.contains(line), "{}", said.stdout);
    let listed = host.run("dead list --queue q").ok();
    assert!(listed.contains("one") && listed.contains("two"), "{listed}");
    let said = burst(host, "--queue other");
    assert_said(&said, 0, "0 done");
    assert!(!said.stdout.contains("died"), "{}", said.stdout);
    host.run("dead retry one").ok();
    let said = burst(host, "--queue other");
    let line = "\n1 died: `ingest-host dead list --queue q`, `ingest-host dead list --queue other` show it\n";
    assert!(said.stdout.contains(line), "{}", said.stdout);
}

/// Checks that the log has only the limits that differ from the defaults.
#[test]
fn a_worker_tells_the_limits_that_are_not_the_defaults() {
    let host = Host::embedded();
    for (more, told) in [
        ("", None),
        (
            "--limit memory=64MiB --limit traps=100",
            Some("limits=\"memory=64MiB\" "),
        ),
        (
            "--limit memory=64MiB --limit traps=7",
            Some("limits=\"memory=64MiB traps=7\" "),
        ),
    ] {
        let said = burst(&host, more).stderr;
        let started = said.lines().find(|line| line.contains("worker started")).unwrap();
        match told {
            Some(told) => assert!(started.contains(told), "{started}"),
            None => assert!(!said.contains("limits="), "{said}"),
        }
    }
}

/// Starts a worker, and waits until it has claimed the request `held`. The attempt cannot end before the test calls
/// `files.let_go`.
fn holder(host: &Host, files: &Files) -> Worker {
    let url = files.hold("held.csv", "n\n1\n2\n");
    host.run(&format!("submit --queue q --uri {url} --id held")).ok();
    let clean = component("clean").display().to_string();
    let mut holder = host.worker(&format!("--queue q --allow-host 127.0.0.1 --plugin {clean}"));
    holder.wait_for_log("claimed");
    holder
}

fn what_another_worker_keeps_is_left(host: &Host) {
    let (files, _) = with_file(host);
    let holder = holder(host, &files);
    for (wait, told) in [("1s", 1), ("0s", 0)] {
        let said = burst(host, &format!("--burst-wait {wait}"));
        assert_said(&said, 1, "0 done, 0 dead");
        assert!(said.stdout.contains(" lost, 1 left\n"), "{}", said.stdout);
        assert!(
            lists(&said, &["held", "leased", "20", "another worker has it"]),
            "{}",
            said.stdout
        );
        assert_eq!(said.stderr.matches(WAITS).count(), told, "{}", said.stderr);
    }
    files.let_go("held.csv");
    host.wait_for_state("held", "done");
    assert_eq!(holder.stop().0, Some(0));
}

fn a_stopped_burst_tells_what_is_left(host: &Host) {
    let (files, url) = with_file(host);
    let held = files.hold("held.csv", "n\n1\n2\n");
    host.run(&format!("submit --queue q --uri {held} --id held")).ok();
    for id in ["next", "last"] {
        host.run(&format!("submit --queue q --uri {url} --id {id}")).ok();
    }
    let mut stopped = RunningBurst::start(host, "--concurrency 1");
    stopped.wait_for_log("claimed");
    send_signal(stopped.child.id(), "TERM");
    // After a second signal, the worker hands its request back.
    stopped.wait_for_log("a second signal hands them back now");
    send_signal(stopped.child.id(), "TERM");
    let said = stopped.ended();
    files.let_go("held.csv");
    assert_said(&said, 1, "0 done, 0 dead");
    assert!(
        said.stdout.contains(" 1 handed back, 0 lost, 3 left\n"),
        "{}",
        said.stdout
    );
    assert!(
        lists(&said, &["held", "ready"]) && lists(&said, &["next", "ready"]),
        "{}",
        said.stdout
    );
    assert_said(&burst(host, ""), 0, "3 done");
}

fn what_another_worker_loses_is_done(host: &Host) {
    let (files, _) = with_file(host);
    let mut holder = holder(host, &files);
    let mut waiting = host.worker(&words(""));
    let line = waiting.wait_for_log(WAITS);
    assert!(line.contains(r#""leased_by_others":1"#), "{line}");
    holder.signal("KILL");
    holder.ended();
    files.let_go("held.csv");
    host.expire_lease("held");
    let (code, log) = waiting.ended();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(host.status("held")["state"], "done");
}

fn what_a_paused_queue_has_is_left_and_the_others_are_done(host: &Host) {
    let (_files, url) = with_file(host);
    for queue in ["q", "p"] {
        host.run(&format!("submit --queue {queue} --uri {url} --id {queue}1"))
            .ok();
    }
    host.push(&format!(r#"{{"uri":"{url}","id":"soon","delay_ms":60000}}"#));
    host.push(&format!(r#"{{"uri":"{url}","id":"late","delay_ms":3600000}}"#));
    host.run("queue pause --queue q").ok();
    let said = burst(host, "--queue p");
    assert_said(&said, 1, "1 done, 0 dead");
    assert!(
        said.stdout.contains(" lost, 2 left, 1 for later"),
        "{}",
        said.stdout
    );
    assert!(
        lists(&said, &["q1", "ready", "the queue is paused"]),
        "{}",
        said.stdout
    );
    assert!(
        lists(&said, &["soon", "delayed", "the queue is paused"]),
        "{}",
        said.stdout
    );
    assert!(!said.stderr.contains(WAITS), "{}", said.stderr);
    assert_eq!(host.status("p1")["state"], "done");

    // In a paused queue, too, a request that is delayed beyond `--burst-wait` counts as "for later" and not as "left".
    host.run("cancel q1").ok();
    host.run("cancel soon").ok();
    let said = burst(host, "");
    assert_said(&said, 0, "0 done");
    assert!(said.stdout.contains(" lost, 1 for later"), "{}", said.stdout);
}

fn a_queue_without_a_plugin_is_left(host: &Host) {
    let (_files, url) = with_file(host);
    host.run(&format!("submit --queue q --uri {url} --id one")).ok();
    let said = host.run("run --queue q --burst --allow-host 127.0.0.1");
    assert_said(&said, 1, "0 done, 0 dead");
    assert!(
        lists(&said, &["one", "ready", "the queue has no plugin"]),
        "{}",
        said.stdout
    );
    assert!(said.stderr.contains("plugin bind --queue q"), "{}", said.stderr);
}

fn a_document_that_is_no_request_is_a_failure_once(host: &Host) {
    let (_files, url) = with_file(host);
    host.push("no request");
    host.push(&format!(r#"{{"uri":"{url}","id":"one"}}"#));
    let said = burst(host, "");
    assert_said(&said, 1, "1 done, 0 dead");
    assert!(said.stdout.contains(" lost, 1 invalid\n"), "{}", said.stdout);
    assert!(
        said.stdout
            .contains("`ingest-host dead list --queue q` shows them"),
        "{}",
        said.stdout
    );
    assert_said(&burst(host, ""), 0, "0 done");
}

fn the_list_of_what_is_left_is_short(host: &Host) {
    let (_files, url) = with_file(host);
    let uris = format!("--uri {url} ").repeat(30);
    host.run("queue pause --queue q").ok();
    host.run(&format!("submit --queue q {uris}")).ok();
    let said = burst(host, "");
    assert_said(&said, 1, "0 done");
    assert!(said.stdout.contains(" lost, 30 left\n"), "{}", said.stdout);
    // The lines are the summary, a heading, the first 20 requests, and the number of all requests.
    assert_eq!(said.stdout.lines().count(), 1 + 1 + 20 + 1, "{}", said.stdout);
    assert!(said.stdout.ends_with("lists them\n"), "{}", said.stdout);
}
