//! The fixture of each row of the fault table (see `main.rs`): a queue in Redis or SQLite, inputs, and workers that are
//! real processes. At the end of a row, the fixture checks the invariant.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::host::{Host, component, path_of};
use crate::support::inputs::served_file::{Action, ServedFile};
use crate::support::redis::RedisServer;
use crate::time_limit;
use crate::worker_process::{WorkerProcess, unshare};

pub(crate) const QUEUE: &str = "q";

/// The lease that the workers ask for. It is shorter than the default of 60 s, so the tests wait less.
pub(crate) const LEASE: Duration = Duration::from_secs(5);

/// The maximum time that a row waits without progress.
const PATIENCE: Duration = Duration::from_secs(90);

/// The number of records that all inputs of a fixture have together. If this allows fewer than two inputs, the fixture
/// has two.
const RECORDS: usize = 2_000;

/// The queue server of a row.
pub(crate) enum Server {
    Redis(RedisServer),
    /// A SQLite file that all processes share.
    Sqlite,
}

/// The queue, the inputs and the requests of one row.
pub(crate) struct FaultsFixture {
    pub(crate) host: Host,
    pub(crate) server: Server,
    /// The input files of the requests.
    files: Vec<PathBuf>,
    /// The SHA-256 digest of the expected output, by the path or URI of the input.
    outputs: HashMap<PathBuf, String>,
    /// The acknowledged requests: for each id, the path or URI of the input.
    pub(crate) accepted: HashMap<String, PathBuf>,
    /// The number of inputs that have been used so far.
    next: usize,
}

impl FaultsFixture {
    pub(crate) fn on_redis(options: &[&str], records: usize) -> Self {
        let redis = RedisServer::start_with(options);
        let host = Host::on(&redis.url());
        Self::new(host, Server::Redis(redis), records)
    }

    pub(crate) fn on_sqlite(records: usize) -> Self {
        Self::new(Host::embedded(), Server::Sqlite, records)
    }

    fn new(host: Host, server: Server, records: usize) -> Self {
        std::fs::create_dir(host.path("in")).unwrap();
        let (mut files, mut outputs) = (Vec::new(), HashMap::new());
        for seed in 0..(RECORDS / records).max(2) {
            let path = host.path(&format!("in/{seed}.csv"));
            let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
            alarm_feed::write_alarms(&mut file, seed as u64, records as u64, 5).unwrap();
            file.flush().unwrap();
            // The expected output is the output of an undisturbed `ingest`.
            let plugin = component("alarms");
            let said = host.run_with(
                "ingest --json --output undisturbed --plugin",
                &[plugin.to_str().unwrap(), path.to_str().unwrap()],
            );
            let receipt = said.json().remove(0);
            let output = receipt["outputs"][0]["sha256"].as_str().unwrap();
            outputs.insert(path.clone(), output.to_owned());
            files.push(path);
        }
        Self {
            host,
            server,
            files,
            outputs,
            accepted: HashMap::new(),
            next: 0,
        }
    }

    pub(crate) fn redis(&mut self) -> &mut RedisServer {
        match &mut self.server {
            Server::Redis(redis) => redis,
            Server::Sqlite => panic!("this row has no Redis server"),
        }
    }

    /// Returns the paths of the next `count` inputs. After the last input, the first one follows again.
    pub(crate) fn next_inputs(&mut self, count: usize) -> Vec<PathBuf> {
        let from = self.next;
        self.next += count;
        let file = |at| &self.files[at % self.files.len()];
        (from..self.next).map(|at| file(at).clone()).collect()
    }

    /// Submits `count` requests. The queue must acknowledge all of them.
    pub(crate) fn submit(&mut self, count: usize) {
        for step in (0..count).step_by(500) {
            let inputs = self.next_inputs(500.min(count - step));
            let output = submit_command(&self.host, &inputs).output().unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            let ids = acknowledged(&output.stdout);
            assert_eq!(ids.len(), inputs.len());
            self.accepted.extend(ids.into_iter().zip(inputs));
        }
    }

    /// Submits one request under this id.
    pub(crate) fn submit_as(&mut self, id: &str) {
        let input = self.next_inputs(1).remove(0);
        self.host
            .run_with(
                &format!("submit --queue {QUEUE} --id {id} --uri"),
                &[input.to_str().unwrap()],
            )
            .ok();
        self.accepted.insert(id.to_owned(), input);
    }

    /// Submits all requests again under the same ids.
    pub(crate) fn submit_again(&self) {
        for (id, input) in &self.accepted {
            let submit = format!("submit --queue {QUEUE} --id {id} --uri");
            self.host.run_with(&submit, &[input.to_str().unwrap()]).ok();
        }
    }

    /// Returns the content of the next input, and the SHA-256 of its expected output.
    pub(crate) fn next_content(&mut self) -> (Vec<u8>, String) {
        let input = self.next_inputs(1).remove(0);
        (std::fs::read(&input).unwrap(), self.outputs[&input].clone())
    }

    /// Serves a file from a server of its own, and submits a request for it. The server's first responses follow
    /// `actions`.
    pub(crate) fn serve(&mut self, file: ServedFile, actions: Vec<Action>, sha256: &str) {
        let uri = file.serve(actions).uri();
        let id = self.submit_uri(&uri);
        self.outputs.insert(uri.clone().into(), sha256.to_owned());
        self.accepted.insert(id, uri.into());
    }

    /// Serves a file that must not lead to an output, submits a request for it, and returns the request's id.
    pub(crate) fn serve_bad(&mut self, bytes: &[u8]) -> String {
        let uri = ServedFile::new(bytes, None).serve(Vec::new()).uri();
        self.submit_uri(&uri)
    }

    fn submit_uri(&self, uri: &str) -> String {
        let output = submit_command(&self.host, &[uri.into()]).output().unwrap();
        assert!(output.status.success());
        acknowledged(&output.stdout).remove(0)
    }

    /// Returns an operator: a user who has all rights on the Redis server, even if the rights of other users change.
    pub(crate) fn operator(&mut self) -> Operator {
        let url = self.redis().url();
        let client = redis::Client::open(&*url).unwrap();
        let mut connection = client.get_connection().unwrap();
        let words = ["SETUSER", "operator", "on", ">secret", "~*", "&*", "+@all"];
        redis::cmd("ACL").arg(&words).exec(&mut connection).unwrap();
        Operator(redis::Client::open(url.replace("redis://", "redis://operator:secret@")).unwrap())
    }

    /// Starts a worker with additional options. `fault` is the value of `INGEST_HOST_FAULT`, for example
    /// `fetched:KILL:1` (see `runtime/src/fail_points.rs`).
    pub(crate) fn worker(&self, url: Option<&str>, options: &str, fault: Option<&str>) -> WorkerProcess {
        let mut command = self.host.command();
        command.args(self.worker_arguments(options));
        if let Some(url) = url {
            command.env("REDIS_URL", url);
        }
        if let Some(fault) = fault {
            command.env("INGEST_HOST_FAULT", fault);
        }
        WorkerProcess::start(command, &self.host)
    }

    /// Starts a worker in a mount namespace of its own. The shell command in `mount` prepares the mounts of the
    /// namespace.
    pub(crate) fn worker_in_mount(&self, mount: &str, options: &str) -> WorkerProcess {
        let host = self.host.command();
        let mut command = unshare();
        command
            .args(["sh", "-c", &format!("{mount} && exec \"$0\" \"$@\"")])
            .arg(host.get_program())
            .args(self.worker_arguments(options))
            .current_dir(self.host.folder.path())
            .stdin(Stdio::null());
        for (name, value) in host.get_envs() {
            value.map(|value| command.env(name, value));
        }
        WorkerProcess::start(command, &self.host)
    }

    fn worker_arguments(&self, options: &str) -> Vec<OsString> {
        let lease = LEASE.as_secs().to_string();
        let words = [
            "--log-format",
            "json",
            "run",
            "--queue",
            QUEUE,
            "--output",
            "out",
            "--lease",
            &lease,
        ];
        let mut arguments: Vec<OsString> = words.iter().map(Into::into).collect();
        arguments.extend(["--plugin".into(), component("alarms").into()]);
        arguments.extend(["--allow-root".into(), self.host.path("in").into()]);
        arguments.extend(options.split_whitespace().map(Into::into));
        arguments
    }

    /// Returns the number of requests in a state. The number comes from the server, and not from a command of the
    /// program.
    pub(crate) fn count(&self, state: &str) -> u64 {
        self.try_count(state).unwrap()
    }

    /// Returns the number of requests in a state, or `None` if the server does not answer.
    pub(crate) fn try_count(&self, state: &str) -> Option<u64> {
        match &self.server {
            Server::Redis(redis) => count_on_redis(redis, state),
            Server::Sqlite => {
                let path = self.host.url.strip_prefix("sqlite:").unwrap();
                let db = rusqlite::Connection::open(path).ok()?;
                db.busy_timeout(Duration::from_secs(10)).ok()?;
                let sql = "SELECT count(*) FROM request WHERE state = ?1";
                db.query_row(sql, [state], |row| row.get(0)).ok()
            }
        }
    }

    /// Waits until all requests have ended, and returns the time that this took.
    pub(crate) fn wait_for_all(&self) -> Duration {
        let start = Instant::now();
        self.wait_until("all requests to end", |fixture| {
            have_all_ended(|state| fixture.try_count(state))
        });
        start.elapsed()
    }

    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        wait_with_progress(what, |state| self.try_count(state), || is_so(self));
    }

    /// Retries poison requests until no request is dead, and returns the number of these retries. Random kills can make
    /// a good request poison. A dead letter for another reason fails the row.
    pub(crate) fn retry_poison(&self) -> usize {
        let mut retried = 0;
        while self.count("dead") > 0 {
            for letter in self.host.run(&format!("dead list --queue {QUEUE} --json")).json() {
                assert_eq!(
                    letter["lost"], 3,
                    "only who lost three workers dies here: {letter}"
                );
                let id = letter["id"].as_str().unwrap();
                self.host.run(&format!("dead retry --queue {QUEUE} {id}")).ok();
                retried += 1;
            }
            self.wait_for_all();
        }
        retried
    }

    /// Checks the invariant:
    /// - Every acknowledged request is done and has one receipt.
    /// - The files that receipts name exist, and each output equals the output of an undisturbed run.
    /// - No other file has a final name.
    /// - The audit of the queue has no findings.
    pub(crate) fn check(&self) {
        let accepted: HashSet<_> = self.accepted.keys().cloned().collect();
        let done = self.count("done");
        assert!(
            done == accepted.len() as u64,
            "{done} of {} requests are done; dead letters: {}",
            accepted.len(),
            self.host.run(&format!("dead list --queue {QUEUE} --json")).ok()
        );
        self.check_done(&accepted);
    }

    /// Checks the invariant, but also allows receipts of requests that were not acknowledged. A producer can die after
    /// a submit and before it reports the ids.
    pub(crate) fn check_at_least_accepted(&self) {
        self.check_audit();
        let ids = self.check_output();
        let lost: Vec<_> = self.accepted.keys().filter(|id| !ids.contains(*id)).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    }

    /// Checks the invariant with one difference: the requests in `expected` must have receipts, and no other requests.
    /// Other requests may be dead.
    pub(crate) fn check_done(&self, expected: &HashSet<String>) {
        self.check_audit();
        let ids = self.check_output();
        assert_eq!(ids, *expected, "requests with a receipt");
    }

    pub(crate) fn check_audit(&self) {
        self.host.run(&format!("queue audit --queue {QUEUE}")).ok();
    }

    /// Checks that every request with a receipt has the right output, and that no other file has a final name. Returns
    /// the ids of the requests that have a receipt.
    pub(crate) fn check_output(&self) -> HashSet<String> {
        let folder = self.host.path("out").join(QUEUE);
        let receipts = read_receipts(&private(&folder).join("receipts"));
        let mut outputs = HashMap::new();
        let mut named = HashSet::new();
        for (id, receipt) in &receipts {
            let input = PathBuf::from(receipt["request"]["uri"].as_str().unwrap());
            if let Some(accepted) = self.accepted.get(id) {
                assert_eq!(&input, accepted, "the input of {id}");
            }
            let output = &receipt["outputs"][0];
            assert_eq!(
                output["sha256"],
                self.outputs[&input].as_str(),
                "the receipt of {id}"
            );
            outputs.insert(path_of(&output["uri"]), self.outputs[&input].clone());
            let rejects = Some(&receipt["rejects"]["uri"]).filter(|uri| !uri.is_null());
            named.extend(rejects.map(path_of));
        }
        named.extend(outputs.keys().cloned());
        assert_eq!(
            final_files(&folder),
            named,
            "files under final names, and those that receipts name"
        );
        assert_eq!(sha256sums(outputs.keys()), outputs, "what is in the outputs");
        receipts.into_keys().collect()
    }
}

/// Returns the number of requests in a state on a Redis server, or `None` if the server does not answer.
pub(crate) fn count_on_redis(redis: &RedisServer, state: &str) -> Option<u64> {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_connection_with_timeout(Duration::from_secs(1)).ok()?;
    let mut ask = redis::cmd("ZCARD");
    ask.arg(format!("ingest:{{{QUEUE}}}:{state}"))
        .query(&mut connection)
        .ok()
}

/// Returns true if no request waits or is worked on. `count` returns the number of requests in a state.
pub(crate) fn have_all_ended(count: impl Fn(&str) -> Option<u64>) -> bool {
    ["ready", "delayed", "leased"]
        .iter()
        .all(|state| count(state) == Some(0))
}

/// Waits until `is_so` returns true. Panics if no request changes its state for [`PATIENCE`]. `count` returns the number
/// of requests in a state.
#[track_caller]
pub(crate) fn wait_with_progress(
    what: &str,
    count: impl Fn(&str) -> Option<u64>,
    mut is_so: impl FnMut() -> bool,
) {
    let (mut before, mut changed) = (None, Instant::now());
    while !is_so() {
        let states = ["ready", "delayed", "leased", "done", "dead"].map(&count);
        if before != Some(states) {
            (before, changed) = (Some(states), Instant::now());
        }
        let waiting = || format!("waits for {what}; the states hold {states:?}");
        time_limit::check(waiting);
        assert!(changed.elapsed() < PATIENCE, "{}", waiting());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A user who has all rights on the Redis server. [`FaultsFixture::operator`] creates it.
pub(crate) struct Operator(redis::Client);

impl Operator {
    /// Runs a Redis command. In `command`, a space separates two words.
    pub(crate) fn ask(&self, command: &str) {
        let mut words = command.split(' ');
        let mut ask = redis::cmd(words.next().unwrap());
        ask.arg(words.collect::<Vec<_>>());
        ask.exec(&mut self.0.get_connection().unwrap()).unwrap();
    }

    /// Returns the number of commands that the server has processed so far.
    pub(crate) fn commands(&self) -> u64 {
        let mut ask = redis::cmd("INFO");
        let info: String = ask
            .arg("stats")
            .query(&mut self.0.get_connection().unwrap())
            .unwrap();
        let count = info
            .lines()
            .find_map(|line| line.strip_prefix("total_commands_processed:"));
        count.unwrap().trim().parse().unwrap()
    }
}

/// Returns a `submit` command for these inputs.
pub(crate) fn submit_command(host: &Host, inputs: &[PathBuf]) -> Command {
    let mut command = host.command();
    command
        .args(["submit", "--queue", QUEUE, "--json", "--uri"])
        .args(inputs);
    command
}

/// Returns the ids in the answer of a `submit`.
pub(crate) fn acknowledged(stdout: &[u8]) -> Vec<String> {
    let lines = String::from_utf8_lossy(stdout).into_owned();
    let id = |line: &str| {
        serde_json::from_str::<Value>(line).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    lines.lines().map(id).collect()
}

pub(crate) fn read_receipts(folder: &Path) -> BTreeMap<String, Value> {
    let mut receipts = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let receipt: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let id = receipt["request"]["id"].as_str().unwrap().to_owned();
        assert_eq!(path.file_stem().unwrap().to_str(), Some(&*id));
        receipts.insert(id, receipt);
    }
    receipts
}

/// Returns the folder of the files that are not outputs, for the folder of a queue's outputs.
pub(crate) fn private(outputs: &Path) -> PathBuf {
    outputs
        .parent()
        .unwrap()
        .join("_ingest")
        .join(outputs.file_name().unwrap())
}

/// Returns everything in the folders of outputs and of rejects, where only files with final names may be.
fn final_files(outputs: &Path) -> HashSet<PathBuf> {
    let folders = [outputs.to_owned(), private(outputs).join("rejects")];
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    entries.flatten().map(|entry| entry.unwrap().path()).collect()
}

/// Returns the SHA-256 digest of each file. The system's own `sha256sum` computes them.
pub(crate) fn sha256sums<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> HashMap<PathBuf, String> {
    let mut digests = HashMap::new();
    let paths: Vec<_> = paths.collect();
    for some in paths.chunks(500) {
        let output = Command::new("sha256sum").args(some).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        digests.extend(text.lines().map(|line| {
            let (digest, path) = line.split_once("  ").unwrap();
            (PathBuf::from(path), digest.to_owned())
        }));
    }
    digests
}
