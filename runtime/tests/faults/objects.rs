//! Tests rows of the fault table in docs/reliability.md: workers with two homes read inputs from an S3 server and write
//! outputs to it. A machine is a folder of its own, which is also the home of its workers. The machines share the Redis
//! server and the S3 server only. A watcher lists and reads the outputs all the time, as another program would do.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::Scale;
use crate::fixture::{LEASE, QUEUE, count_on_redis, have_all_ended, wait_with_progress};
use crate::proxy::Proxy;
use crate::support::host::{Host, component};
use crate::support::inputs::sha256;
use crate::support::redis::RedisServer;
use crate::support::s3::{S3Server, environment};
use crate::worker_process::WorkerProcess;

const BUCKET: &str = "lake";

/// The prefix of the outputs of the queue.
const OUTPUTS: &str = "out/q/";

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

/// The queue, the inputs, the machines and the requests of one row.
struct ObjectsFixture {
    redis: RedisServer,
    server: Arc<S3Server>,
    machines: [Host; 2],
    /// The URIs of the inputs, and the SHA-256 digests of the expected outputs.
    inputs: Vec<(String, String)>,
    /// The acknowledged requests: for each id, the number of the input.
    accepted: BTreeMap<String, usize>,
    watcher: Watcher,
}

impl ObjectsFixture {
    fn new(records: usize, inputs: usize) -> Self {
        let (redis, server) = (RedisServer::start(), Arc::new(S3Server::start()));
        server.create_bucket(BUCKET);
        let machines = [Host::on(&redis.url()), Host::on(&redis.url())];
        let undisturbed = |at: usize| {
            let mut bytes = Vec::new();
            alarm_feed::write_alarms(&mut bytes, at as u64, records as u64, 5).unwrap();
            let (host, plugin) = (&machines[0], component("alarms"));
            let path = host.write("undisturbed.csv", &bytes);
            let arguments = [plugin.to_str().unwrap(), path.to_str().unwrap()];
            let said = host.run_with("ingest --json --output undisturbed --plugin", &arguments);
            let receipt = said.json().remove(0);
            server.put(BUCKET, &format!("in/{at}.csv"), &bytes);
            let digest = receipt["outputs"][0]["sha256"].as_str().unwrap();
            (format!("s3://{BUCKET}/in/{at}.csv"), digest.to_owned())
        };
        let inputs: Vec<_> = (0..inputs).map(undisturbed).collect();
        let watcher = Watcher::start(&server, inputs.iter().map(|(_, digest)| digest.clone()).collect());
        Self {
            redis,
            server,
            machines,
            inputs,
            accepted: BTreeMap::new(),
            watcher,
        }
    }

    fn submit(&mut self, count: usize) {
        for _ in 0..count {
            let at = self.accepted.len();
            let id = format!("r{at}");
            let input = at % self.inputs.len();
            let submit = format!("submit --queue {QUEUE} --id {id} --uri {}", self.inputs[input].0);
            self.machines[at % 2].run(&submit).ok();
            self.accepted.insert(id, input);
        }
    }

    fn worker(&self, machine: usize, options: &str, fault: Option<&str>) -> WorkerProcess {
        self.worker_at(&self.server.endpoint(), machine, options, fault)
    }

    /// Starts a worker that reaches the store at this endpoint.
    fn worker_at(&self, endpoint: &str, machine: usize, options: &str, fault: Option<&str>) -> WorkerProcess {
        let host = &self.machines[machine];
        let mut command = host.command();
        let words = format!(
            "--log-format json run --queue {QUEUE} --output s3://{BUCKET}/out --allow-bucket s3://{BUCKET}/in/ --lease {} \
             {options}",
            LEASE.as_secs()
        );
        command
            .args(words.split_whitespace())
            .arg("--plugin")
            .arg(component("alarms"))
            .envs(environment(endpoint));
        if let Some(fault) = fault {
            command.env("INGEST_HOST_FAULT", fault);
        }
        WorkerProcess::start(command, host)
    }

    /// Returns the number of requests in a state.
    fn count(&self, state: &str) -> usize {
        count_on_redis(&self.redis, state).unwrap().try_into().unwrap()
    }

    #[track_caller]
    fn wait_until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let count = |state: &str| count_on_redis(&self.redis, state);
        wait_with_progress(what, count, || is_so(self));
    }

    /// Waits until all requests have ended. Retries those that became dead because they lost three workers or failed
    /// too often, until all are done. Returns the number of these retries.
    fn wait_for_all(&self) -> usize {
        let mut retried = 0;
        loop {
            self.wait_until("all requests to end", |fixture| {
                have_all_ended(|state| count_on_redis(&fixture.redis, state))
            });
            if self.count("dead") == 0 {
                return retried;
            }
            let list = format!("dead list --queue {QUEUE} --json");
            for letter in self.machines[0].run(&list).json() {
                assert!(
                    letter["lost"] == 3 || letter["attempts"].as_u64() > Some(1),
                    "{letter}"
                );
                assert!(
                    letter["error"].is_string(),
                    "a dead letter has a reason: {letter}"
                );
                let id = letter["id"].as_str().unwrap();
                let retry = format!("dead retry --queue {QUEUE} {id}");
                self.machines[0].run(&retry).ok();
                retried += 1;
            }
        }
    }

    /// Checks the invariant:
    /// - Every acknowledged request is done and has one receipt, which names the right input and the right output.
    /// - The prefix of the outputs contains the outputs that receipts name, and nothing else.
    /// - The watcher has seen no other output at any time, and no output that changed.
    /// - The audit of the queue has no findings.
    fn check(&self) {
        self.machines[0].run(&format!("queue audit --queue {QUEUE}")).ok();
        assert_eq!(self.count("done"), self.accepted.len());
        let mut named = HashMap::new();
        for (id, input) in &self.accepted {
            let receipt = self
                .server
                .read(BUCKET, &format!("out/_ingest/{QUEUE}/receipts/{id}.json"));
            let receipt: Value = serde_json::from_slice(&receipt.unwrap()).unwrap();
            let (uri, digest) = &self.inputs[*input];
            assert_eq!(receipt["request"]["uri"], uri.as_str(), "{id}");
            let output = &receipt["outputs"][0];
            assert_eq!(output["sha256"], digest.as_str(), "{id}");
            let key = format!("{OUTPUTS}{id}.csv");
            assert_eq!(output["uri"], format!("s3://{BUCKET}/{key}"));
            let bytes = self.server.read(BUCKET, &key).unwrap();
            assert_eq!(sha256(&bytes), *digest, "{id}");
            named.insert(key, digest.clone());
        }
        let mut visible = self.server.keys(BUCKET);
        visible.retain(|key| key.starts_with(OUTPUTS));
        assert_eq!(
            visible.iter().collect::<HashSet<_>>(),
            named.keys().collect::<HashSet<_>>()
        );
        self.watcher.check(&named);
    }
}

/// A thread that lists and reads the outputs all the time.
struct Watcher {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// For each key, the digest of the bytes that the watcher has read.
    outputs: HashMap<String, String>,
    violations: Vec<String>,
    listings: usize,
}

impl Watcher {
    /// Starts to watch. `expected` are the digests that outputs may have.
    fn start(server: &Arc<S3Server>, expected: HashSet<String>) -> Self {
        let (stop, seen) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Seen>>::default());
        let (server, stopped, shared) = (Arc::clone(server), Arc::clone(&stop), Arc::clone(&seen));
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for key in server.keys_below(BUCKET, OUTPUTS) {
                    let mut seen = shared.lock().unwrap();
                    // An output that the watcher has read is read again by `check` only.
                    if seen.outputs.contains_key(&key) {
                        continue;
                    }
                    let digest = server.read(BUCKET, &key).map(|bytes| sha256(&bytes));
                    match digest {
                        None => seen.violations.push(format!("{key} disappeared")),
                        Some(digest) if !expected.contains(&digest) => {
                            seen.violations.push(format!("{key} is no whole output"));
                        }
                        Some(digest) => {
                            seen.outputs.insert(key, digest);
                        }
                    }
                }
                shared.lock().unwrap().listings += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { stop, seen }
    }

    /// Checks that the watcher has seen no violation, and no output but those that receipts name, with their bytes.
    /// `named` has the digest of each of them.
    fn check(&self, named: &HashMap<String, String>) {
        let seen = self.seen.lock().unwrap();
        assert!(seen.listings > 0, "the watcher has looked");
        assert_eq!(seen.violations, Vec::<String>::new());
        for (key, digest) in &seen.outputs {
            assert_eq!(named.get(key), Some(digest), "{key}, as the watcher saw it");
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

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

/// Disturbs random requests to the store.
pub(crate) fn disturbed(scale: &Scale) -> String {
    let requests = scale.of(500, 30);
    let mut fixture = ObjectsFixture::new(FEW, INPUTS);
    fixture.submit(requests);
    fixture.server.disturb(Some(scale.random(19)));
    let workers = [0, 1].map(|machine| fixture.worker(machine, "--concurrency 8", None));
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
