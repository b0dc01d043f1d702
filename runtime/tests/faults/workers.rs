//! Tests rows of the fault table in docs/reliability.md: workers die, are suspended, or are told to stop.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::Scale;
use crate::fixture::{FaultsFixture, LEASE, QUEUE};
use crate::worker_process::WorkerProcess;

/// The number of records in an input that is smaller than a chunk.
const FEW: usize = 100;
/// The number of records in an input of several chunks.
const SOME: usize = 20_000;
/// The number of records in an input whose attempt takes some time.
const MANY: usize = 60_000;

/// The fail points that a successful attempt passes, in this order (see `runtime/src/fail_points.rs`).
pub(crate) const STEPS: [&str; 7] = [
    "claimed",
    "fetched",
    "batch",
    "staged",
    "published",
    "receipt",
    "settled",
];

/// The maximum time until other workers take over the requests of a killed worker.
const RECOVERY: Duration = LEASE.saturating_add(Duration::from_secs(5));

/// Kills one of four workers each time some requests have become done, and starts a new worker instead.
pub(crate) fn random_kills(scale: &Scale) -> String {
    let (kills, requests) = (scale.of(300, 12), scale.of(3_000, 120));
    let mut random = scale.random(1);
    let mut fixture = FaultsFixture::on_redis(&[], FEW);
    fixture.submit(requests);
    let start = |fixture: &FaultsFixture| fixture.worker(None, "--concurrency 4", None);
    let mut workers: Vec<WorkerProcess> = (0..4).map(|_| start(&fixture)).collect();
    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        let done = (kill * requests / (kills + 1)) as u64;
        fixture.wait_until("some more to be done", |fixture| {
            fixture.count("done") >= done || fixture.count("ready") == 0
        });
        std::thread::sleep(Duration::from_millis(random.u64(0..30)));
        let victim = random.usize(..workers.len());
        workers[victim].kill();
        workers[victim] = start(&fixture);
        if kill + 1 == kills {
            slowest = time_to_recover(&fixture);
        }
    }
    fixture.wait_for_all();
    let poisoned = fixture.retry_poison();
    workers.into_iter().for_each(WorkerProcess::stop);
    fixture.check();
    format!(
        "{kills} kills, {requests} requests: 0 lost, 0 doubled; the last orphans were claimed again after {:.1} s with a lease of {} s; \
         {poisoned} became poison and were retried by hand",
        slowest.as_secs_f64(),
        LEASE.as_secs()
    )
}

/// Waits until no request is ready or leased. By then, other workers have done the requests of the dead workers.
/// Returns the duration.
fn time_to_recover(fixture: &FaultsFixture) -> Duration {
    let start = Instant::now();
    fixture.wait_until("nothing to be ready", |fixture| fixture.count("ready") == 0);
    fixture.wait_until("orphans to be claimed again", |fixture| {
        fixture.count("leased") == 0
    });
    let took = start.elapsed();
    assert!(took <= RECOVERY, "orphans were back after {took:?}");
    took
}

/// Kills workers after each step of an attempt, at their first request or at a later one.
pub(crate) fn kills_at_each_step(scale: &Scale) -> String {
    let kills = scale.of(20, 2);
    let mut random = scale.random(2);
    let mut fixture = FaultsFixture::on_redis(&[], FEW);
    for step in STEPS {
        fixture.submit(3 * kills);
        let mut died = 0;
        while died < kills {
            let mut workers = Vec::new();
            for _ in 0..(kills - died).min(4) {
                let fault = format!("{step}:KILL:{}", random.u32(1..4));
                workers.push(fixture.worker(None, "--concurrency 1 --burst --burst-wait 0s", Some(&fault)));
            }
            for worker in &mut workers {
                match worker.wait() {
                    None => died += 1,
                    // Too few requests were left, so the worker did not reach its fault.
                    Some(_) => fixture.submit(4),
                }
            }
        }
    }
    let survivor = fixture.worker(None, "--concurrency 4", None);
    fixture.wait_for_all();
    let poisoned = fixture.retry_poison();
    survivor.stop();
    fixture.check();
    let resumed = kills_at_checkpoints(kills, &mut random);
    format!(
        "{kills} kills after each of these steps: request claimed, input fetched, batch processed, output staged, output \
         published, receipt created, request settled; of {} requests, 0 lost, 0 doubled; {poisoned} became poison and \
         were retried by hand; {kills} kills after a checkpoint: {resumed} of the next attempts resumed from it",
        fixture.accepted.len()
    )
}

/// Kills workers after a checkpoint of a long input. Returns the number of successors that resumed from a checkpoint.
fn kills_at_checkpoints(kills: usize, random: &mut fastrand::Rng) -> usize {
    const OPTIONS: &str = "--concurrency 1 --burst --burst-wait 0s --checkpoint 1";
    let mut fixture = FaultsFixture::on_redis(&[], SOME);
    let (mut died, mut resumed) = (0, 0);
    while died < kills {
        let id = format!("long-{}", fixture.accepted.len());
        fixture.submit_as(&id);
        let fault = format!("checkpoint:KILL:{}", random.u32(1..4));
        if fixture.worker(None, OPTIONS, Some(&fault)).wait().is_some() {
            continue; // The worker finished before it reached this checkpoint.
        }
        died += 1;
        fixture.host.expire_lease(&id);
        let mut successor = fixture.worker(None, OPTIONS, None);
        assert_eq!(successor.wait(), Some(0), "{}", successor.log());
        resumed += usize::from(successor.log().contains("resumed from a checkpoint"));
    }
    fixture.check();
    assert!(resumed > 0, "nobody went on from a checkpoint");
    resumed
}

/// Suspends workers when their output is sealed, and lets their leases expire. Other workers do the work before the
/// suspended workers continue.
pub(crate) fn zombies(scale: &Scale) -> String {
    let zombies = scale.of(50, 4);
    let mut fixture = FaultsFixture::on_redis(&[], FEW);
    for _ in (0..zombies).step_by(scale.of(10, 4)) {
        fixture.submit(scale.of(10, 4));
        let fault = Some("staged:STOP:1");
        let workers: Vec<_> = (0..scale.of(10, 4))
            .map(|_| fixture.worker(None, "--concurrency 1", fault))
            .collect();
        fixture.wait_until("the workers to stand still", |_| {
            workers.iter().all(WorkerProcess::stands_still)
        });
        let other = fixture.worker(None, "", None);
        fixture.wait_for_all();
        other.stop();
        for zombie in &workers {
            zombie.signal("CONT");
        }
        for zombie in workers {
            fixture.wait_until("the zombie to be refused", |_| {
                let log = zombie.log();
                log.contains("committed but not settled") || log.contains("stopped without a commit")
            });
            assert!(!zombie.log().contains("\"done\""), "{}", zombie.log());
            zombie.stop();
        }
        fixture.check();
    }
    format!(
        "{zombies} times: one receipt each; {zombies} suspended workers continued, and none of them ended the request"
    )
}

/// Sends workers SIGTERM once or twice while they run a long request.
pub(crate) fn terminated(scale: &Scale) -> String {
    let times = scale.of(100, 4);
    let mut random = scale.random(7);
    let mut fixture = FaultsFixture::on_redis(&[], MANY);
    let (mut handed_back, mut finished) = (0, 0);
    for time in 0..times {
        if fixture.count("ready") < 2 {
            fixture.submit(2);
        }
        let mut worker = fixture.worker(None, "--concurrency 1", None);
        fixture.wait_until("a claim", |_| worker.log().contains("claimed"));
        std::thread::sleep(Duration::from_millis(random.u64(0..150)));
        worker.signal("TERM");
        // After the first signal, the worker finishes its request. After a second signal, it stops at once.
        if time % 4 > 0 {
            fixture.wait_until("the first signal to be heard", |_| {
                let log = worker.log();
                log.contains("a second signal") || log.contains("handed back") || log.contains("done")
            });
            if !worker.has_ended() {
                worker.signal("TERM");
            }
        }
        assert_eq!(worker.wait(), Some(0), "{}", worker.log());
        match worker.log().contains("handed back") {
            true => handed_back += 1,
            false => finished += 1,
        }
        assert_eq!(
            fixture.count("leased"),
            0,
            "whoever stops holds nothing:\n{}",
            worker.log()
        );
    }
    let other = fixture.worker(None, "", None);
    fixture.wait_for_all();
    other.stop();
    for id in fixture.accepted.keys() {
        let status = fixture.host.status(id);
        assert_eq!(
            (&status["attempts"], &status["lost"]),
            (&1.into(), &0.into()),
            "{status}"
        );
    }
    fixture.check();
    assert!(handed_back > 0, "no request was handed back, so nothing was seen");
    format!(
        "{times} times: {handed_back} handed back, {finished} done before the worker stopped; 0 lost, no attempt counted, \
         no lease left"
    )
}

/// Checks a request that kills every worker that claims it.
pub(crate) fn poison(scale: &Scale) -> String {
    let good = scale.of(100, 20);
    let mut fixture = FaultsFixture::on_redis(&[], FEW);
    fixture.submit(good / 2);
    fixture.submit_as("poison");
    fixture.submit(good - good / 2);
    let fault = Some("fetched:KILL:=poison");
    let mut workers: Vec<_> = (0..4).map(|_| fixture.worker(None, "", fault)).collect();
    let mut deaths = 0;
    fixture.wait_until("poison to be dead", |fixture| {
        for worker in &mut workers {
            if worker.has_ended() {
                deaths += 1;
                *worker = fixture.worker(None, "", fault);
            }
        }
        fixture.count("dead") == 1 && fixture.count("done") == good as u64
    });
    workers.into_iter().for_each(WorkerProcess::stop);
    let status = fixture.host.status("poison");
    assert_eq!(
        (&status["state"], &status["lost"]),
        (&"dead".into(), &3.into()),
        "{status}"
    );
    assert_eq!(deaths, 3, "workers that died");
    let letter = fixture
        .host
        .run(&format!("dead show --queue {QUEUE} poison"))
        .ok();
    let others: HashSet<_> = fixture
        .accepted
        .keys()
        .filter(|id| *id != "poison")
        .cloned()
        .collect();
    fixture.check_done(&others);
    assert!(letter.contains("lost"), "{letter}");
    format!("dead after 3 lost workers, the {good} others all done")
}
