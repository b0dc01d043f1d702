//! Tests a row of the fault table in docs/reliability.md: the server is up, but does not work correctly.

use std::time::Duration;

use crate::Scale;
use crate::fixture::{FaultsFixture, QUEUE, submit_command};
use crate::worker_process::WorkerProcess;

const FEW: usize = 100;

/// The time for which a fault is observed. In this time, a worker may cause at most the following numbers of commands
/// and log lines. Without a fault, an idle worker asks for work twice per second.
const LOOK: Duration = Duration::from_secs(5);
const COMMANDS_MAX: u64 = 300;
const LINES_MAX: usize = 40;

/// Runs workers on a server with one of these faults: a key of a wrong type, a command that is denied, no free memory,
/// or lost data.
pub(crate) fn server_troubles(_: &Scale) -> String {
    let leased = format!("ingest:{{{QUEUE}}}:leased");
    let troubles = [
        (
            "with a key of a wrong type",
            format!("SET {leased} x"),
            format!("DEL {leased}"),
        ),
        (
            "with a command that is denied",
            "ACL SETUSER default -zadd".into(),
            "ACL SETUSER default +zadd".into(),
        ),
    ];
    let mut seen = Vec::new();
    for (what, begin, end) in troubles {
        let mut fixture = FaultsFixture::on_redis(&[], FEW);
        let operator = fixture.operator();
        let paused = format!("ingest:{{{QUEUE}}}:paused");
        fixture.submit(10);
        operator.ask(&format!("SET {paused} 1"));
        let worker = fixture.worker(None, "", None);
        fixture.wait_until("the worker to be there", |_| worker.log().contains("paused"));
        let lines_before = worker.log().lines().count();
        operator.ask(&begin);
        let before = operator.commands();
        operator.ask(&format!("DEL {paused}"));
        std::thread::sleep(LOOK);
        let (commands, log) = (operator.commands() - before, worker.log());
        let said: Vec<_> = log.lines().skip(lines_before).collect();
        let is_loud = said
            .iter()
            .any(|line| line.contains("WARN") || line.contains("ERROR"));
        assert!(is_loud, "{what}: nothing is said: {said:#?}");
        assert!(
            commands < COMMANDS_MAX && said.len() < LINES_MAX,
            "{what}: {commands} commands, {said:#?}"
        );
        operator.ask(&end);
        fixture.submit(10);
        fixture.wait_for_all();
        worker.stop();
        fixture.check();
        seen.push(format!(
            "{what}, the worker retried with pauses (commands on the server in {} s: {commands}; log lines of the \
             worker: {})",
            LOOK.as_secs(),
            said.len()
        ));
    }
    seen.push(full());
    seen.push(emptied());
    seen.join("; ")
}

/// Checks a server whose memory is full. It accepts no new requests, but the existing requests become done.
fn full() -> String {
    let mut fixture = FaultsFixture::on_redis(&["--maxmemory-policy", "noeviction"], FEW);
    let operator = fixture.operator();
    fixture.submit(10);
    operator.ask("CONFIG SET maxmemory 1");
    let input = fixture.next_inputs(1);
    let refused = submit_command(&fixture.host, &input).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("maxmemory"), "{said}");
    let worker = fixture.worker(None, "", None);
    fixture.wait_for_all();
    operator.ask("CONFIG SET maxmemory 0");
    fixture.submit(10);
    fixture.wait_for_all();
    worker.stop();
    fixture.check();
    "no memory left: submits refused, existing requests done".into()
}

/// Checks a server that loses all data while workers run: first by a command, then by a restart. Then the same requests
/// are submitted again. A worker that finds the receipt of a request does not repeat its work.
fn emptied() -> String {
    let mut fixture = FaultsFixture::on_redis(&[], FEW);
    let workers: Vec<_> = (0..2)
        .map(|_| fixture.worker(None, "--concurrency 2", None))
        .collect();
    for restarted in [false, true] {
        for number in 0..40 {
            fixture.submit_as(&format!("r-{number}"));
        }
        fixture.wait_until("some to be done", |fixture| fixture.count("done") > 5);
        match restarted {
            true => fixture.redis().restart(),
            false => fixture.operator().ask("FLUSHALL"),
        }
    }
    fixture.submit_again();
    fixture.wait_until("all to be done", |fixture| {
        fixture.count("done") == fixture.accepted.len() as u64
    });
    workers.into_iter().for_each(WorkerProcess::stop);
    fixture.check();
    "emptied twice and submitted again: each done once".into()
}
