//! Rows about workers that die, stand still, or are told to stop.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::Scale;
use crate::bed::{Bed, LEASE, QUEUE};
use crate::crew::Crewman;

/// Records of an input that is done in no time, of one that has several chunks, and of one that takes a while.
const FEW: usize = 100;
const SOME: usize = 20_000;
const MANY: usize = 60_000;

/// The places of `runtime/src/fail_points.rs`, in the order of an attempt.
pub(crate) const STEPS: [&str; 7] = [
    "claimed",
    "fetched",
    "batch",
    "staged",
    "published",
    "receipt",
    "settled",
];

/// What is left when a worker is killed is taken up within this time.
const RECOVERY: Duration = LEASE.saturating_add(Duration::from_secs(5));

/// Kills one of four workers each time some requests have been done, and starts another in its place.
pub(crate) fn random_kills(scale: &Scale) -> String {
    let (kills, requests) = (scale.of(300, 12), scale.of(3_000, 120));
    let mut random = scale.random(1);
    let mut bed = Bed::on_redis(&[], FEW);
    bed.submit(requests);
    let start = |bed: &Bed| bed.worker(None, "--concurrency 4", None);
    let mut crew: Vec<Crewman> = (0..4).map(|_| start(&bed)).collect();
    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        let done = (kill * requests / (kills + 1)) as u64;
        bed.wait_until("some more to be done", |bed| {
            bed.count("done") >= done || bed.count("ready") == 0
        });
        std::thread::sleep(Duration::from_millis(random.u64(0..30)));
        let victim = random.usize(..crew.len());
        crew[victim].kill();
        crew[victim] = start(&bed);
        if kill + 1 == kills {
            slowest = time_to_recover(&bed);
        }
    }
    bed.wait_for_all();
    let poisoned = bed.retry_poison();
    crew.into_iter().for_each(Crewman::stop);
    bed.check();
    format!(
        "{kills} kills, {requests} requests: 0 lost, 0 doubled; the last orphans were claimed again after {:.1} s with a lease of {} s; \
         {poisoned} became poison and were retried by hand",
        slowest.as_secs_f64(),
        LEASE.as_secs()
    )
}

/// How long after now no claim is left whose worker is not heard of.
fn time_to_recover(bed: &Bed) -> Duration {
    let start = Instant::now();
    bed.wait_until("nothing to be ready", |bed| bed.count("ready") == 0);
    bed.wait_until("orphans to be claimed again", |bed| bed.count("leased") == 0);
    let took = start.elapsed();
    assert!(took <= RECOVERY, "orphans were back after {took:?}");
    took
}

/// Has workers die behind each step of an attempt, at the first request or a later one.
pub(crate) fn kills_at_each_step(scale: &Scale) -> String {
    let kills = scale.of(20, 2);
    let mut random = scale.random(2);
    let mut bed = Bed::on_redis(&[], FEW);
    for step in STEPS {
        bed.submit(3 * kills);
        let mut died = 0;
        while died < kills {
            let mut crew = Vec::new();
            for _ in 0..(kills - died).min(4) {
                let fault = format!("{step}:KILL:{}", random.u32(1..4));
                crew.push(bed.worker(None, "--concurrency 1 --burst --burst-wait 0s", Some(&fault)));
            }
            for crewman in &mut crew {
                match crewman.wait() {
                    None => died += 1,
                    // There was not enough left for it to die of.
                    Some(_) => bed.submit(4),
                }
            }
        }
    }
    let survivor = bed.worker(None, "--concurrency 4", None);
    bed.wait_for_all();
    let poisoned = bed.retry_poison();
    survivor.stop();
    bed.check();
    let resumed = kills_at_checkpoints(kills, &mut random);
    format!(
        "{kills} kills after each of {}: 0 lost, 0 doubled of {}; {poisoned} became poison and were retried by hand; \
         {kills} kills after a checkpoint, from which {resumed} next attempts resumed",
        STEPS.join(", "),
        bed.accepted.len()
    )
}

/// Has workers die at longer inputs, behind a checkpoint. How many successors went on from one.
fn kills_at_checkpoints(kills: usize, random: &mut fastrand::Rng) -> usize {
    const OPTIONS: &str = "--concurrency 1 --burst --burst-wait 0s --checkpoint 1";
    let mut bed = Bed::on_redis(&[], SOME);
    let (mut died, mut resumed) = (0, 0);
    while died < kills {
        let id = format!("long-{}", bed.accepted.len());
        bed.submit_as(&id);
        let fault = format!("checkpoint:KILL:{}", random.u32(1..4));
        if bed.worker(None, OPTIONS, Some(&fault)).wait().is_some() {
            continue; // It was done before it came to so many.
        }
        died += 1;
        bed.host.expire_lease(&id);
        let mut successor = bed.worker(None, OPTIONS, None);
        assert_eq!(successor.wait(), Some(0), "{}", successor.log());
        resumed += usize::from(successor.log().contains("resumed from a checkpoint"));
    }
    bed.check();
    assert!(resumed > 0, "nobody went on from a checkpoint");
    resumed
}

/// Has workers stop when their output is sealed, lets their leases run out and others do the work, and wakes them up.
pub(crate) fn zombies(scale: &Scale) -> String {
    let zombies = scale.of(50, 4);
    let mut bed = Bed::on_redis(&[], FEW);
    for _ in (0..zombies).step_by(scale.of(10, 4)) {
        bed.submit(scale.of(10, 4));
        let fault = Some("staged:STOP:1");
        let crew: Vec<_> = (0..scale.of(10, 4))
            .map(|_| bed.worker(None, "--concurrency 1", fault))
            .collect();
        bed.wait_until("the workers to stand still", |_| {
            crew.iter().all(Crewman::stands_still)
        });
        let other = bed.worker(None, "", None);
        bed.wait_for_all();
        other.stop();
        for zombie in &crew {
            zombie.signal("CONT");
        }
        for zombie in crew {
            bed.wait_until("the zombie to be refused", |_| {
                let log = zombie.log();
                log.contains("committed but not settled") || log.contains("stopped without a commit")
            });
            assert!(!zombie.log().contains("\"done\""), "{}", zombie.log());
            zombie.stop();
        }
        bed.check();
    }
    format!("{zombies} times: one receipt each, all {zombies} refused when they woke up")
}

/// Tells workers to stop, twice, while they are at a request that takes longer.
pub(crate) fn terminated(scale: &Scale) -> String {
    let times = scale.of(100, 4);
    let mut random = scale.random(7);
    let mut bed = Bed::on_redis(&[], MANY);
    let (mut handed_back, mut finished) = (0, 0);
    for time in 0..times {
        if bed.count("ready") < 2 {
            bed.submit(2);
        }
        let mut worker = bed.worker(None, "--concurrency 1", None);
        bed.wait_until("a claim", |_| worker.log().contains("claimed"));
        std::thread::sleep(Duration::from_millis(random.u64(0..150)));
        worker.signal("TERM");
        // The first one lets it end what it has, the second one does not.
        if time % 4 > 0 {
            bed.wait_until("the first signal to be heard", |_| {
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
            bed.count("leased"),
            0,
            "whoever stops holds nothing:\n{}",
            worker.log()
        );
    }
    let other = bed.worker(None, "", None);
    bed.wait_for_all();
    other.stop();
    for id in bed.accepted.keys() {
        let status = bed.host.status(id);
        assert_eq!(
            (&status["attempts"], &status["lost"]),
            (&1.into(), &0.into()),
            "{status}"
        );
    }
    bed.check();
    assert!(handed_back > 0, "no request was handed back, so nothing was seen");
    format!(
        "{times} times: {handed_back} handed back, {finished} ended first; 0 lost, no attempt counted, no lease left"
    )
}

/// One request kills whoever takes it.
pub(crate) fn poison(scale: &Scale) -> String {
    let good = scale.of(100, 20);
    let mut bed = Bed::on_redis(&[], FEW);
    bed.submit(good / 2);
    bed.submit_as("poison");
    bed.submit(good - good / 2);
    let fault = Some("fetched:KILL:=poison");
    let mut crew: Vec<_> = (0..4).map(|_| bed.worker(None, "", fault)).collect();
    let mut deaths = 0;
    bed.wait_until("poison to be dead", |bed| {
        for crewman in &mut crew {
            if crewman.has_ended() {
                deaths += 1;
                *crewman = bed.worker(None, "", fault);
            }
        }
        bed.count("dead") == 1 && bed.count("done") == good as u64
    });
    crew.into_iter().for_each(Crewman::stop);
    let status = bed.host.status("poison");
    assert_eq!(
        (&status["state"], &status["lost"]),
        (&"dead".into(), &3.into()),
        "{status}"
    );
    assert_eq!(deaths, 3, "workers that died");
    let letter = bed.host.run(&format!("dead show --queue {QUEUE} poison")).ok();
    let others: HashSet<_> = bed
        .accepted
        .keys()
        .filter(|id| *id != "poison")
        .cloned()
        .collect();
    bed.check_done(&others);
    assert!(letter.contains("lost"), "{letter}");
    format!("dead after 3 lost workers, the {good} others all done")
}
