//! Tests rows of the fault table in docs/reliability.md: workers that write outputs to an S3 server die or are suspended,
//! or their calls to the store are disturbed at random.

use std::collections::HashSet;
use std::time::Duration;

use crate::Scale;
use crate::objects_fixture::ObjectsFixture;
use crate::proxy::Proxy;
use crate::worker_process::WorkerProcess;

/// The number of records in an input that is smaller than a part.
const FEW: usize = 100;

/// The number of records in an input whose output has several parts of 8 MiB.
const MANY: usize = 400_000;

/// The number of different inputs of a row.
const INPUTS: usize = 8;

/// The fail points that a successful attempt passes on an object store, in this order (see `runtime/src/fail_points.rs`).
const STEPS: [&str; 9] = [
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

/// Kills workers after each step of an attempt. In the whole suite, workers die on both machines. At the end, each machine
/// has a worker that does the rest.
pub(crate) fn kills_at_each_step(scale: &Scale) -> String {
    let kills = scale.of(20, 1);
    let mut random = scale.random(15);
    let mut fixture = ObjectsFixture::new(FEW, INPUTS);
    for step in STEPS {
        fixture.submit(3 * kills);
        let mut died = 0;
        while died < kills {
            let mut workers = Vec::new();
            for machine in 0..(kills - died).min(2) {
                let fault = format!("{step}:KILL:{}", random.u32(1..4));
                let options = "--concurrency 1 --burst --burst-wait 0s";
                workers.push(fixture.worker(machine, options, Some(&fault)));
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
    let survivors = [0, 1].map(|machine| fixture.worker(machine, "--concurrency 2", None));
    let retried = fixture.wait_for_all();
    survivors.into_iter().for_each(WorkerProcess::stop);
    fixture.check();
    format!(
        "{kills} kills after each of these steps: request claimed, input fetched, batch processed, output uploaded, \
         upload finished, decision created, output completed, receipt created, request settled; of {} requests, 0 lost, \
         0 doubled, no output without a receipt was ever visible; {retried} became dead and were retried by hand",
        fixture.accepted.len()
    )
}

/// Kills random workers while two machines do 200 requests.
pub(crate) fn random_kills(scale: &Scale) -> String {
    let (kills, requests) = (scale.of(60, 6), scale.of(200, 30));
    let mut random = scale.random(16);
    let mut fixture = ObjectsFixture::new(FEW, INPUTS);
    fixture.submit(requests);
    let start = |fixture: &ObjectsFixture, at: usize| fixture.worker(at % 2, "--concurrency 2", None);
    let mut workers: Vec<_> = (0..4).map(|at| start(&fixture, at)).collect();
    for kill in 0..kills {
        let done = kill * requests / (kills + 1);
        fixture.wait_until("some more to be done", |fixture| {
            fixture.count("done") >= done || fixture.count("ready") == 0
        });
        std::thread::sleep(Duration::from_millis(random.u64(0..60)));
        let victim = random.usize(..workers.len());
        workers[victim].kill();
        workers[victim] = start(&fixture, victim);
    }
    let retried = fixture.wait_for_all();
    workers.into_iter().for_each(WorkerProcess::stop);
    fixture.check();
    format!(
        "{kills} kills, {requests} requests: 0 lost, 0 doubled, no output without a receipt was ever visible; {retried} \
         became dead and were retried by hand"
    )
}

/// Suspends workers at each step of their commit, and lets their leases expire. The other machine does the work before
/// the suspended workers continue.
pub(crate) fn zombies(scale: &Scale) -> String {
    let rounds = scale.of(10, 1);
    let steps = &STEPS[3..8];
    let mut fixture = ObjectsFixture::new(FEW, INPUTS);
    for _ in 0..rounds {
        fixture.submit(steps.len());
        let suspended: Vec<_> = steps
            .iter()
            .map(|step| fixture.worker(0, "--concurrency 1", Some(&format!("{step}:STOP:1"))))
            .collect();
        fixture.wait_until("the workers to stand still", |_| {
            suspended.iter().all(WorkerProcess::stands_still)
        });
        let other = fixture.worker(1, "", None);
        fixture.wait_for_all();
        other.stop();
        for worker in &suspended {
            worker.signal("CONT");
        }
        for worker in suspended {
            fixture.wait_until("the suspended worker to be refused", |_| {
                let log = worker.log();
                log.contains("committed but not settled") || log.contains("stopped without a commit")
            });
            assert!(!worker.log().contains("\"done\""), "{}", worker.log());
            worker.stop();
        }
        fixture.check();
    }
    format!(
        "{} times: one receipt each; {} suspended workers continued, and none of them changed or doubled an output",
        rounds * steps.len(),
        rounds * steps.len()
    )
}

/// Kills workers behind a checkpoint of an output of several parts, twice for each request. Each successor runs on the
/// other machine and continues the upload.
pub(crate) fn kills_between_parts(scale: &Scale) -> String {
    const OPTIONS: &str = "--concurrency 1 --burst --burst-wait 0s --checkpoint 4MiB";
    let requests = scale.of(5, 1);
    let mut fixture = ObjectsFixture::new(MANY, 1);
    let mut resumed = 0;
    for at in 0..requests {
        fixture.submit(1);
        for machine in 0..3 {
            let fault = (machine < 2).then_some("checkpoint:KILL:3");
            let mut worker = fixture.worker(machine % 2, OPTIONS, fault);
            assert_eq!(worker.wait(), fault.map_or(Some(0), |_| None), "{}", worker.log());
            resumed += usize::from(worker.log().contains("resumed from a checkpoint"));
            if fault.is_some() {
                fixture.machines[0].expire_lease(&format!("r{at}"));
            }
        }
    }
    fixture.wait_for_all();
    fixture.check();
    assert_eq!(resumed, 2 * requests, "successors that resumed");
    let parts = fixture.server.parts();
    let again = parts.len() - parts.iter().collect::<HashSet<_>>().len();
    // A worker goes on while it writes a checkpoint, so it may upload a part that this checkpoint does not cover.
    assert!(
        again <= 2 * requests,
        "{again} parts were uploaded again after {} kills",
        2 * requests
    );
    format!(
        "{} kills, {resumed} successors resumed on the other machine; of {} parts, {again} were uploaded again, because \
         the last checkpoint did not cover them; one receipt each, equal bytes",
        2 * requests,
        parts.len()
    )
}

/// Disturbs random requests of running workers to the store. A worker does not start if the store refuses its
/// credentials, so the disturbances begin when all workers have started.
pub(crate) fn disturbed(scale: &Scale) -> String {
    let requests = scale.of(500, 30);
    let mut fixture = ObjectsFixture::new(FEW, INPUTS);
    let workers = [0, 1].map(|machine| fixture.worker(machine, "--concurrency 8", None));
    fixture.wait_until("the workers to start", |_| {
        workers
            .iter()
            .all(|worker| worker.log().contains("worker started"))
    });
    fixture.server.disturb(Some(scale.random(19)));
    fixture.submit(requests);
    let retried = fixture.wait_for_all();
    fixture.server.disturb(None);
    workers.into_iter().for_each(WorkerProcess::stop);
    fixture.check();
    format!(
        "{requests} requests, {}: 0 lost, 0 doubled; {retried} became dead and were retried by hand",
        fixture.server.disturbances()
    )
}

/// Runs workers whose connections to the store go through a proxy, which causes all of its kinds of faults.
pub(crate) fn bad_network(scale: &Scale) -> String {
    let requests = scale.of(500, 20);
    let mut fixture = ObjectsFixture::new(FEW, INPUTS);
    fixture.submit(requests);
    let proxy = Proxy::before(&fixture.server.address.to_string(), scale.random(20));
    let endpoint = format!("http://{}", proxy.address());
    let workers = [0, 1].map(|machine| fixture.worker_at(&endpoint, machine, "--concurrency 8", None));
    let retried = fixture.wait_for_all();
    proxy.calm_down();
    workers.into_iter().for_each(WorkerProcess::stop);
    fixture.check();
    assert!(proxy.total() > 0, "nothing happened to any connection");
    format!(
        "{requests} requests, {}: 0 lost, 0 doubled; {retried} became dead and were retried by hand",
        proxy.counts()
    )
}
