//! Tests a row of the fault table in docs/reliability.md: workers die while they replay rejects, and a reader lists the
//! outputs all the time.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::Scale;
use crate::fixture::{LEASE, QUEUE, count_on_redis, have_all_ended, wait_with_progress};
use crate::support::host::{Host, component};
use crate::support::redis::RedisServer;
use crate::worker_process::WorkerProcess;
use crate::workers::STEPS;

/// The number of records in each input. Each fourth one has too few fields.
const RECORDS: usize = 40;

/// The queue of the row, with requests that are done and have rejects.
struct ReplaysFixture {
    host: Host,
    redis: RedisServer,
    requests: usize,
}

impl ReplaysFixture {
    fn new(requests: usize) -> Self {
        let redis = RedisServer::start_with(&[]);
        let host = Host::on(&redis.url());
        std::fs::create_dir(host.path("in")).unwrap();
        for request in 0..requests {
            let record = |record| {
                let field = if record % 4 == 0 { "" } else { ",x" };
                format!("{}{field}\n", request * RECORDS + record)
            };
            let text: String = (0..RECORDS).map(record).collect();
            std::fs::write(host.path(&format!("in/r{request}.csv")), format!("n,v\n{text}")).unwrap();
            host.run(&format!(
                "submit --queue {QUEUE} --id r{request} --uri in/r{request}.csv"
            ))
            .ok();
        }
        let fixture = Self {
            host,
            redis,
            requests,
        };
        let worker = fixture.worker("--short-rows reject", None);
        fixture.wait_for_all();
        worker.stop();
        fixture
    }

    /// Starts a worker whose rule for short rows rescues the rejects, unless an option overrides the rule.
    fn worker(&self, options: &str, fault: Option<&str>) -> WorkerProcess {
        let lease = LEASE.as_secs().to_string();
        let words = ["--log-format", "json", "run", "--queue", QUEUE, "--lease", &lease];
        let mut arguments: Vec<OsString> = words.iter().map(Into::into).collect();
        arguments.extend(["--plugin".into(), component("clean").into()]);
        arguments.extend(["--allow-root".into(), self.host.path("in").into()]);
        arguments.extend(options.split_whitespace().map(Into::into));
        let mut command = self.host.command();
        command.args(arguments);
        if let Some(fault) = fault {
            command.env("INGEST_HOST_FAULT", fault);
        }
        WorkerProcess::start(command, &self.host)
    }

    fn count(&self, state: &str) -> Option<u64> {
        count_on_redis(&self.redis, state)
    }

    fn wait_for_all(&self) {
        let count = |state: &str| self.count(state);
        wait_with_progress("all requests to end", count, || have_all_ended(count));
    }

    /// Retries replays that have lost three workers, until none is dead. Returns the number of these retries.
    fn retry_poison(&self) -> usize {
        let mut retried = 0;
        while self.count("dead") != Some(0) {
            for letter in self.host.run(&format!("dead list --queue {QUEUE} --json")).json() {
                assert_eq!(letter["code"], "poison", "{letter}");
                self.host
                    .run(&format!("dead retry {}", letter["id"].as_str().unwrap()))
                    .ok();
                retried += 1;
            }
            self.wait_for_all();
        }
        retried
    }

    /// Checks that each record of each input is in exactly one output, and that the sums of the receipts hold.
    fn check(&self) {
        self.host.run(&format!("queue audit --queue {QUEUE}")).ok();
        let rows = rows(&self.host.path("out").join(QUEUE));
        assert_eq!(rows.len(), self.requests * RECORDS);
        let receipt = |id: &str| -> Value {
            let path = self.host.path(&format!("out/_ingest/{QUEUE}/receipts/{id}.json"));
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
        };
        for request in 0..self.requests {
            let [first, replay] =
                [format!("r{request}"), format!("r{request}.replay-1")].map(|id| receipt(&id));
            assert_eq!(replay["request"]["parent"], first["request"]["id"]);
            assert_eq!(replay["records"]["read"], first["records"]["rejected"]);
            assert_eq!(replay["records"]["written"], first["records"]["rejected"]);
            assert_eq!(replay["records"]["rejected"], 0);
        }
    }
}

/// Returns the outputs in which a reader finds each row. Panics if a row is in two outputs.
fn rows(folder: &Path) -> HashMap<String, PathBuf> {
    let mut rows = HashMap::new();
    for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        for row in text.lines().skip(1) {
            let number = row.split(',').next().unwrap().to_owned();
            let other = rows.insert(number, file.path());
            assert_eq!(other, None, "{row} is also in {}", file.path().display());
        }
    }
    rows
}

/// Kills workers after each step of a replay.
pub(crate) fn kills_at_each_step(scale: &Scale) -> String {
    let kills = scale.of(10, 1);
    let mut random = scale.random(23);
    // A worker ends up to three replays before it dies.
    let requests = STEPS.len() * kills * 4;
    let fixture = ReplaysFixture::new(requests);
    let is_over = Arc::new(AtomicBool::new(false));
    let (over, folder) = (Arc::clone(&is_over), fixture.host.path("out").join(QUEUE));
    let reader = std::thread::spawn(move || {
        let mut looks = 0;
        while !over.load(Ordering::Relaxed) {
            rows(&folder);
            looks += 1;
        }
        looks
    });
    fixture.host.run(&format!("replay --queue {QUEUE}")).ok();
    for step in STEPS {
        for _ in 0..kills {
            let fault = format!("{step}:KILL:{}", random.u32(1..4));
            let mut worker = fixture.worker(
                "--short-rows fill --concurrency 1 --burst --burst-wait 0s",
                Some(&fault),
            );
            assert_eq!(worker.wait(), None, "{step}: {}", worker.log());
            // A second command for the same replays changes nothing. It fails if one of them has become poison.
            fixture.host.run(&format!("replay --queue {QUEUE}"));
        }
    }
    let survivor = fixture.worker("--short-rows fill", None);
    fixture.wait_for_all();
    let poisoned = fixture.retry_poison();
    survivor.stop();
    is_over.store(true, Ordering::Relaxed);
    let looks: usize = reader.join().unwrap();
    fixture.check();
    format!(
        "{kills} kills after each of these steps of a replay: request claimed, rejects fetched, batch processed, output \
         staged, output published, receipt created, request settled; of {} rejects in {requests} requests, 0 lost, 0 \
         doubled; a reader listed the outputs {looks} times; {poisoned} became poison and were retried by hand",
        requests * RECORDS / 4
    )
}
