//! Stops an attempt after one of its steps, and then ends its request in one of several ways. In each case, the output
//! folder must contain exactly the files that receipts name. Two outputs of one request must never be visible at once,
//! and the queue must agree with the folder.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::Scale;
use crate::fixture::{FaultsFixture, QUEUE, private, read_receipts, sha256sums};
use crate::support::host::{component, path_of};
use crate::worker_process::WorkerProcess;
use crate::workers::STEPS;

const FEW: usize = 100;

/// Two configs of a plugin. Their outputs and rejects differ.
const CONFIG: &str = r#"{"columns": {"value": {"type": "number"}}}"#;
const NEW_CONFIG: &str = r#"{"columns": {"value": {"rename": "measured"}}}"#;

/// The fail points in `runtime/src/commit/fencing.rs`. A worker passes them when it ends a request without an attempt.
const CONCLUSION_STEPS: [&str; 4] = ["fenced", "revoked", "cleaned", "ended"];

/// How the attempt's worker stops.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stops {
    /// The worker's process dies.
    Killed,
    /// The worker's process is suspended. It continues after the event in [`Next`].
    Asleep,
}

/// The event that follows after the attempt has stopped.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Next {
    Successor,
    /// Another plugin is bound.
    NewBinding,
    /// The same plugin is bound with another config.
    NewConfig,
    /// A successor starts, and is told to stop before the request is done.
    Released,
    /// A worker with another output folder runs first. It must leave a lost worker's request to workers with that
    /// worker's output folder.
    OtherOutput,
    /// The request is cancelled while the lease is valid.
    Cancel,
    /// The request is cancelled after its lease has expired and a worker has made the request `ready` again.
    CancelLater,
    /// The request is cancelled, and the worker that ends the request dies at this step of [`CONCLUSION_STEPS`].
    CancelAndDie(&'static str),
    /// The attempt's worker is the third lost worker of the request.
    Poison,
    PoisonAndDie(&'static str),
    /// The request becomes poison, and the dead letter is retried.
    PoisonRetried,
    /// Like `PoisonRetried`, but another plugin is bound before the retry.
    PoisonRetriedElsewhere,
    /// The request becomes poison, the dead letter is purged, and the id is submitted again.
    PoisonPurged,
}

fn all_nexts() -> Vec<Next> {
    let mut nexts = vec![
        Next::Successor,
        Next::NewBinding,
        Next::NewConfig,
        Next::Released,
        Next::OtherOutput,
        Next::Cancel,
        Next::CancelLater,
        Next::Poison,
        Next::PoisonRetried,
        Next::PoisonRetriedElsewhere,
        Next::PoisonPurged,
    ];
    nexts.extend(CONCLUSION_STEPS.map(Next::CancelAndDie));
    nexts.extend(CONCLUSION_STEPS.map(Next::PoisonAndDie));
    nexts
}

/// The whole suite runs each step with each event, with both kinds of queue and both kinds of stop. The slice runs each
/// pair of a step and an event only once, with one kind of queue and one kind of stop.
pub(crate) fn endings(scale: &Scale) -> String {
    let mut cases = Vec::new();
    for (row, step) in STEPS.into_iter().enumerate() {
        for (column, next) in all_nexts().into_iter().enumerate() {
            for (number, stops) in [Stops::Killed, Stops::Asleep].into_iter().enumerate() {
                for on_redis in [true, false] {
                    let is_in_slice =
                        (row + column) % 2 == number && (row / 2 + column) % 2 == usize::from(on_redis);
                    if scale.is_full || is_in_slice {
                        cases.push((on_redis, step, stops, next));
                    }
                }
            }
        }
    }
    let mut ended = [0; 3];
    for on_redis in [true, false] {
        let mut walk = Walk::new(if on_redis {
            FaultsFixture::on_redis(&[], FEW)
        } else {
            FaultsFixture::on_sqlite(FEW)
        });
        for (_, step, stops, next) in cases.iter().filter(|case| case.0 == on_redis) {
            let state = walk.run(step, *stops, *next);
            let states = ["done", "cancelled", "dead"];
            ended[states.iter().position(|known| *known == state).unwrap()] += 1;
        }
        walk.fixture.check_audit();
    }
    let [done, cancelled, dead] = ended;
    assert!(done > 0 && cancelled > 0 && dead > 0, "{ended:?}");
    format!(
        "{} cases: {} steps at which an attempt is killed or suspended, {} events that follow (such as a new binding, a \
         cancel, the third lost worker), two kinds of queue server; {done} done, {cancelled} cancelled, {dead} \
         dead; each time only files that a receipt names were visible, and the queue agreed",
        cases.len(),
        STEPS.len(),
        all_nexts().len()
    )
}

/// The maximum number of cases that may begin again because the queue is locked.
const REPEATS_MAX: usize = 50;

struct Walk {
    fixture: FaultsFixture,
    cases: usize,
    /// The number of cases that began again because the queue was locked.
    repeats: usize,
}

impl Walk {
    fn new(fixture: FaultsFixture) -> Self {
        for plugin in ["alarms", "clean"] {
            let path = component(plugin);
            fixture
                .host
                .run_with("plugin push", &[path.to_str().unwrap()])
                .ok();
        }
        Self {
            fixture,
            cases: 0,
            repeats: 0,
        }
    }

    /// Runs one case, and returns the state in which the request has ended.
    fn run(&mut self, step: &str, stops: Stops, next: Next) -> String {
        self.cases += 1;
        let case = format!("{step}, {stops:?}, {next:?}");
        let id = format!("case-{}", self.cases);
        self.bind("clean@0.1.0", CONFIG);
        self.fixture.submit_as(&id);
        let watch = Watch::start(self.fixture.host.path("out"), id.clone());

        let signal = if stops == Stops::Killed { "KILL" } else { "STOP" };
        let mut first = self.worker("out", "", Some(&format!("{step}:{signal}:={id}")));
        match stops {
            Stops::Killed => assert_eq!(first.wait(), None, "{case}: {}", first.log()),
            Stops::Asleep => self
                .fixture
                .wait_until("the worker to stand still", |_| first.stands_still()),
        }
        if stops == Stops::Asleep && is_locked(&self.fixture.host.url) {
            // Another thread of the worker was just writing to the queue, for example a heartbeat. So nobody else can
            // use the queue until the worker continues, and the case begins again.
            first.wake_until_it_ends();
            self.finish();
            watch.stop(&case);
            self.repeats += 1;
            assert!(
                self.repeats < REPEATS_MAX,
                "{case}: the queue is locked again and again"
            );
            return self.run(step, stops, next);
        }
        self.go_on(&case, &id, next);
        if stops == Stops::Asleep {
            first.wake_until_it_ends();
            // When the suspended worker continues, it can hand the request back, so another worker must finish the
            // request.
            self.finish();
        }
        watch.stop(&case);
        self.check(&case, &id, step, next)
    }

    fn go_on(&mut self, case: &str, id: &str, next: Next) {
        let is_leased = self.state(id) == "leased";
        if let Next::Poison
        | Next::PoisonAndDie(_)
        | Next::PoisonRetried
        | Next::PoisonRetriedElsewhere
        | Next::PoisonPurged = next
            && is_leased
        {
            self.set_lost(id, 2);
        }
        match next {
            Next::Cancel | Next::CancelAndDie(_) => self.cancel(id, is_leased),
            Next::NewBinding => self.bind("alarms@0.1.0", "{}"),
            Next::NewConfig => self.bind("clean@0.1.0", NEW_CONFIG),
            _ => {}
        }
        if is_leased {
            self.fixture.host.expire_lease(id);
        }
        match next {
            Next::CancelLater => {
                self.fixture
                    .host
                    .run(&format!("queue pause --queue {QUEUE}"))
                    .ok();
                self.finish();
                self.cancel(id, is_leased);
                self.fixture
                    .host
                    .run(&format!("queue resume --queue {QUEUE}"))
                    .ok();
            }
            Next::Released => {
                let fault = format!("fetched:STOP:={id}");
                let mut second = self.worker("out", "", Some(&fault));
                self.fixture.wait_until("the second one to stop or end", |_| {
                    second.stands_still() || second.has_ended()
                });
                if !second.has_ended() {
                    second.signal("TERM");
                    second.signal("CONT");
                    self.fixture.wait_until("the second one to hear it", |_| {
                        if second.stands_still() {
                            second.signal("CONT");
                        }
                        second.log().contains("stopping") || second.has_ended()
                    });
                    if !second.has_ended() {
                        second.signal("TERM");
                    }
                    second.wake_until_it_ends();
                }
            }
            Next::OtherOutput => {
                let mut other = self.worker("other", "", None);
                other.wait();
                assert!(
                    !is_leased || other.log().matches("left to a worker with this output").count() == 1,
                    "{case}: {}",
                    other.log()
                );
                assert_eq!(
                    visible(&self.fixture.host.path("other"), id),
                    HashSet::new(),
                    "{case}"
                );
            }
            Next::CancelAndDie(place) | Next::PoisonAndDie(place) => {
                let mut second = self.worker("out", "", Some(&format!("{place}:KILL:={id}")));
                if second.wait().is_none() {
                    let status = self.fixture.host.status(id);
                    assert!(status["ending"].is_string(), "{case}: {status}");
                    self.fixture.host.expire_lease(id);
                }
            }
            _ => {}
        }
        self.finish();
        match next {
            Next::PoisonRetried | Next::PoisonRetriedElsewhere if self.state(id) == "dead" => {
                if next == Next::PoisonRetriedElsewhere {
                    self.bind("alarms@0.1.0", "{}");
                }
                assert_eq!(
                    visible(&self.fixture.host.path("out"), id),
                    HashSet::new(),
                    "{case}"
                );
                self.fixture
                    .host
                    .run(&format!("dead retry --queue {QUEUE} {id}"))
                    .ok();
            }
            Next::PoisonPurged if self.state(id) == "dead" => {
                self.fixture
                    .host
                    .run(&format!("dead purge --queue {QUEUE} {id}"))
                    .ok();
                assert_eq!(
                    visible(&self.fixture.host.path("out"), id),
                    HashSet::new(),
                    "{case}"
                );
                self.fixture.submit_as(id);
            }
            _ => return,
        }
        self.finish();
    }

    /// Runs a worker without faults until no work is left.
    fn finish(&self) {
        let mut worker = self.worker("out", "", None);
        worker.wait();
    }

    fn check(&self, case: &str, id: &str, step: &str, next: Next) -> String {
        let status = self.fixture.host.status(id);
        let state = status["state"].as_str().unwrap().to_owned();
        let was_committed = matches!(step, "receipt" | "settled");
        let wanted = match next {
            _ if was_committed => "done",
            Next::Cancel | Next::CancelLater | Next::CancelAndDie(_) => "cancelled",
            Next::Poison | Next::PoisonAndDie(_) => "dead",
            _ => "done",
        };
        assert_eq!(state, wanted, "{case}: {status}");
        assert_eq!(status["ending"], Value::Null, "{case}: {status}");
        let folder = self.fixture.host.path("out").join(QUEUE);
        let receipts = read_receipts(&private(&folder).join("receipts"));
        let receipt = receipts.get(id);
        assert_eq!(receipt.is_some(), state == "done", "{case}: {receipt:?}");
        let mut named = HashSet::new();
        if let Some(receipt) = receipt {
            assert_eq!(&status["receipt"], receipt, "{case}");
            let output = path_of(&receipt["outputs"][0]["uri"]);
            assert_eq!(
                output,
                folder.canonicalize().unwrap().join(format!("{id}.csv")),
                "{case}"
            );
            let sums = sha256sums(std::iter::once(&output));
            assert_eq!(receipt["outputs"][0]["sha256"], sums[&output].as_str(), "{case}");
            named.insert(output);
            named.extend(
                Some(&receipt["rejects"]["uri"])
                    .filter(|uri| !uri.is_null())
                    .map(path_of),
            );
        }
        assert_eq!(visible(&self.fixture.host.path("out"), id), named, "{case}");
        state
    }

    fn worker(&self, output: &str, options: &str, fault: Option<&str>) -> WorkerProcess {
        let mut command = self.fixture.host.command();
        let words = format!(
            "--log-format json run --queue {QUEUE} --burst --concurrency 1 --lease 5 --output {output} {options} --allow-root"
        );
        command
            .args(words.split_whitespace())
            .arg(self.fixture.host.path("in"));
        if let Some(fault) = fault {
            command.env("INGEST_HOST_FAULT", fault);
        }
        WorkerProcess::start(command, &self.fixture.host)
    }

    fn bind(&self, plugin: &str, config: &str) {
        let bind = format!("plugin bind --queue {QUEUE} {plugin} --config");
        self.fixture.host.run_with(&bind, &[config]).ok();
    }

    fn state(&self, id: &str) -> String {
        self.fixture.host.status(id)["state"].as_str().unwrap().to_owned()
    }

    fn cancel(&self, id: &str, must_work: bool) {
        let said = self.fixture.host.run(&format!("cancel {id}"));
        assert_eq!(said.code == Some(0), must_work, "{}{}", said.stdout, said.stderr);
    }

    fn set_lost(&self, id: &str, lost: u32) {
        if let Some(path) = self.fixture.host.url.strip_prefix("sqlite:") {
            let db = rusqlite::Connection::open(path).unwrap();
            db.busy_timeout(Duration::from_secs(10)).unwrap();
            let changed = db.execute("UPDATE request SET lost = ?1 WHERE id = ?2", (lost, id));
            assert_eq!(changed.unwrap(), 1);
        } else {
            let client = redis::Client::open(self.fixture.host.url.as_str()).unwrap();
            let key = format!("ingest:{{{QUEUE}}}:request:{id}");
            let mut set = redis::cmd("HSET");
            set.arg(key).arg("lost").arg(lost);
            set.exec(&mut client.get_connection().unwrap()).unwrap();
        }
    }
}

/// Returns the files of a request that are visible to readers of the output folder, except its receipt.
fn visible(output: &Path, id: &str) -> HashSet<PathBuf> {
    let mut found = HashSet::new();
    let outputs = output.join(QUEUE);
    for folder in [private(&outputs).join("rejects"), outputs] {
        let Ok(folder) = folder.canonicalize() else {
            continue;
        };
        let entries = std::fs::read_dir(&folder).into_iter().flatten();
        let paths = entries.flatten().map(|entry| entry.path());
        found.extend(paths.filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.strip_prefix(id)
                .is_some_and(|rest| rest.starts_with(['.', '~']))
        }));
    }
    found
}

/// Returns whether another process holds the write lock of a SQLite queue, and does not release it within a second. A
/// process that was suspended while it wrote holds the lock until it continues.
fn is_locked(url: &str) -> bool {
    let Some(path) = url.strip_prefix("sqlite:") else {
        return false;
    };
    let db = rusqlite::Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(1)).unwrap();
    db.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err()
}

/// A thread that checks in a loop whether two outputs of a request are visible at once.
struct Watch {
    is_over: Arc<AtomicBool>,
    watching: std::thread::JoinHandle<Option<HashSet<PathBuf>>>,
}

impl Watch {
    fn start(output: PathBuf, id: String) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_over);
        let watching = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let mut found = visible(&output, &id);
                found.retain(|path| !path.to_str().unwrap().ends_with(".rejects.csv"));
                if found.len() > 1 {
                    return Some(found);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            None
        });
        Self { is_over, watching }
    }

    fn stop(self, case: &str) {
        self.is_over.store(true, Ordering::Relaxed);
        assert_eq!(self.watching.join().unwrap(), None, "{case}: two outputs at once");
    }
}
