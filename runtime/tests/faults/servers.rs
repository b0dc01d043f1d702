//! Tests rows of the fault table in docs/reliability.md: servers that die, faults in the network, and a queue file that
//! several processes share.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Scale;
use crate::fixture::{FaultsFixture, LEASE, QUEUE, acknowledged, submit_command};
use crate::proxy::Proxy;
use crate::worker_process::WorkerProcess;

const FEW: usize = 100;
const SOME: usize = 1_000;

/// The maximum time from a restart of the server until the workers continue.
const RESUMED: Duration = Duration::from_secs(10);

/// The maximum time from the end of a lease until a worker finds the orphan.
const ORPHAN: Duration = Duration::from_secs(5);

pub(crate) fn redis_killed_always(scale: &Scale) -> String {
    let seen = redis_killed(
        scale,
        scale.of(30, 2),
        3,
        &["--appendonly", "yes", "--appendfsync", "always"],
    );
    assert_eq!(seen.lost, 0, "acknowledged requests that the server has lost");
    format!(
        "{} kills, {} requests acknowledged: 0 lost, 0 doubled; workers went on after {:.1} s at most",
        seen.kills,
        seen.acknowledged,
        seen.slowest.as_secs_f64()
    )
}

pub(crate) fn redis_killed_everysec(scale: &Scale) -> String {
    let everysec = ["--appendonly", "yes", "--appendfsync", "everysec"];
    let seen = redis_killed(scale, scale.of(30, 2), 4, &everysec);
    let unkept = redis_killed(scale, 1, 4, &["--appendonly", "no"]);
    assert!(unkept.lost > 0, "a server that keeps nothing loses something");
    format!(
        "{} kills, {} requests acknowledged: the server lost {}. Without `appendonly`, 1 kill: the server lost {} \
         of {}. All requests that the server did not lose: 0 lost by workers, 0 doubled",
        seen.kills, seen.acknowledged, seen.lost, unkept.lost, unkept.acknowledged
    )
}

struct KillsOutcome {
    kills: usize,
    acknowledged: usize,
    lost: usize,
    slowest: Duration,
}

/// Kills the server repeatedly while requests are submitted and become done.
fn redis_killed(scale: &Scale, kills: usize, row: u64, options: &[&str]) -> KillsOutcome {
    let mut random = scale.random(row);
    let mut fixture = FaultsFixture::on_redis(options, FEW);
    fixture.submit(50);
    let workers: Vec<_> = (0..2).map(|_| fixture.worker(None, "", None)).collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..kills {
        let producer = Producer::start(&mut fixture);
        std::thread::sleep(Duration::from_millis(random.u64(300..1_200)));
        fixture.redis().kill();
        fixture.accepted.extend(producer.stop());
        std::thread::sleep(Duration::from_millis(random.u64(0..500)));
        fixture.redis().restart();
        let start = Instant::now();
        let done = fixture.count("done");
        fixture.submit(20);
        fixture.wait_until("work to go on", |fixture| fixture.try_count("done") > Some(done));
        slowest = slowest.max(start.elapsed());
    }
    assert!(slowest <= RESUMED, "workers were at work again after {slowest:?}");
    fixture.wait_for_all();
    workers.into_iter().for_each(WorkerProcess::stop);
    let acknowledged = fixture.accepted.len();
    let known: HashSet<_> = done_ids(&fixture);
    let lost = fixture.accepted.keys().filter(|id| !known.contains(*id)).count();
    fixture.check_audit();
    // A request can have a receipt although the restarted server has forgotten the request.
    assert!(
        fixture.check_output().is_superset(&known),
        "a receipt for each that is done"
    );
    KillsOutcome {
        kills,
        acknowledged,
        lost,
        slowest,
    }
}

/// Returns the ids of the requests that are `done` on the server.
fn done_ids(fixture: &FaultsFixture) -> HashSet<String> {
    let client = redis::Client::open(fixture.host.url.as_str()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut ask = redis::cmd("ZRANGE");
    ask.arg(format!("ingest:{{{QUEUE}}}:done"))
        .arg(0)
        .arg(-1)
        .query(&mut connection)
        .unwrap()
}

/// A producer that submits requests in a loop, and collects the acknowledged ones.
struct Producer {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<HashMap<String, PathBuf>>,
}

impl Producer {
    fn start(fixture: &mut FaultsFixture) -> Self {
        let inputs = fixture.next_inputs(10);
        let commands: Vec<_> = (0..1_000)
            .map(|_| submit_command(&fixture.host, &inputs))
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut accepted = HashMap::new();
            for mut command in commands {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let output = command.output().unwrap();
                // If the command fails, the submit is not acknowledged, and its result is unknown.
                if output.status.success() {
                    accepted.extend(acknowledged(&output.stdout).into_iter().zip(inputs.clone()));
                }
            }
            accepted
        });
        Self { stop, thread }
    }

    fn stop(self) -> HashMap<String, PathBuf> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Runs two workers whose connections to the server go through a proxy, which causes all of its kinds of faults.
pub(crate) fn bad_network(scale: &Scale) -> String {
    let requests = scale.of(1_500, 60);
    let mut fixture = FaultsFixture::on_redis(&[], FEW);
    let server = fixture.host.url.strip_prefix("redis://").unwrap();
    let proxy = Proxy::before(server, scale.random(5));
    let url = format!("redis://{}", proxy.address());
    fixture.submit(requests);
    let workers: Vec<_> = (0..2)
        .map(|_| fixture.worker(Some(&url), "--concurrency 2", None))
        .collect();
    let oldest = Mutex::new(Duration::ZERO);
    fixture.wait_until("all requests to end", |fixture| {
        let mut oldest = oldest.lock().unwrap();
        *oldest = oldest.max(oldest_orphan(fixture));
        ["ready", "delayed", "leased"]
            .iter()
            .all(|state| fixture.count(state) == 0)
    });
    let oldest = oldest.into_inner().unwrap();
    assert!(
        oldest <= ORPHAN,
        "an orphan was left alone for {oldest:?} after its lease"
    );
    let poisoned = fixture.retry_poison();
    proxy.calm_down();
    workers.into_iter().for_each(WorkerProcess::stop);
    fixture.check();
    assert!(proxy.total() > 0, "nothing happened to any connection");
    format!(
        "{requests} requests, {}: 0 lost, 0 doubled; no orphan waited longer than {:.1} s after its lease of {} s; \
         {poisoned} became poison and were retried by hand",
        proxy.counts(),
        oldest.as_secs_f64(),
        LEASE.as_secs()
    )
}

/// Returns how long ago the oldest lease in the queue expired, or zero if none has expired.
fn oldest_orphan(fixture: &FaultsFixture) -> Duration {
    let client = redis::Client::open(fixture.host.url.as_str()).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut ask = redis::cmd("ZRANGE");
    ask.arg(format!("ingest:{{{QUEUE}}}:leased"))
        .arg(0)
        .arg(0)
        .arg("WITHSCORES");
    let found: Vec<(String, f64)> = ask.query(&mut connection).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let over = |(_, end): &(String, f64)| now.saturating_sub(Duration::from_secs_f64(end / 1e3));
    found.first().map_or(Duration::ZERO, over)
}

/// Kills workers and producers that share a queue file.
pub(crate) fn sqlite_killed(scale: &Scale) -> String {
    let kills = scale.of(100, 4);
    let mut random = scale.random(13);
    let mut fixture = FaultsFixture::on_sqlite(SOME);
    fixture.submit(40);
    let start = |fixture: &FaultsFixture| fixture.worker(None, "--concurrency 2", None);
    let mut workers: Vec<_> = (0..2).map(|_| start(&fixture)).collect();
    let mut unanswered = 0;
    for kill in 0..kills {
        // There must be enough requests, so that a worker has claimed some when it is killed.
        if fixture.count("ready") < 20 {
            fixture.submit(40);
        }
        fixture.wait_until("claims", |fixture| fixture.count("leased") >= 2);
        let inputs = fixture.next_inputs(10);
        let mut producer = submit_command(&fixture.host, &inputs)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(random.u64(0..150)));
        producer.kill().unwrap();
        let output = producer.wait_with_output().unwrap();
        match acknowledged(&output.stdout) {
            ids if ids.is_empty() => unanswered += 1,
            ids => fixture.accepted.extend(ids.into_iter().zip(inputs)),
        }
        let victim = kill % workers.len();
        workers[victim].kill();
        workers[victim] = start(&fixture);
    }
    fixture.wait_for_all();
    let poisoned = fixture.retry_poison();
    workers.into_iter().for_each(WorkerProcess::stop);
    fixture.check_at_least_accepted();
    format!(
        "{kills} kills of each: {} acknowledged, 0 lost, 0 doubled; {unanswered} producers died before their answer; \
         {poisoned} became poison and were retried by hand",
        fixture.accepted.len()
    )
}
