//! The fixture of the rows about object stores (see `main.rs`): workers on two machines read inputs from an S3 server and
//! write outputs to it. A machine is a folder of its own, which is also the home of its workers. The machines share the
//! Redis server and the S3 server only. A watcher lists and reads the outputs all the time, as another program would do.
//! At the end of a row, the fixture checks the invariant, and the order in which requests took effect at the server.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::fixture::{LEASE, QUEUE, count_on_redis, have_all_ended, wait_with_progress};
use crate::object_journal;
use crate::support::host::{Host, component};
use crate::support::inputs::sha256;
use crate::support::redis::RedisServer;
use crate::support::s3::{S3Server, environment};
use crate::worker_process::WorkerProcess;

pub(crate) const BUCKET: &str = "lake";

/// The prefix of the outputs of the queue.
pub(crate) const OUTPUTS: &str = "out/q/";

/// The prefix of the queue's objects that are not outputs.
pub(crate) const PRIVATE: &str = "out/_ingest/q/";

/// An input, and its expected output.
struct Input {
    uri: String,
    output_sha256: String,
    output_bytes: usize,
}

impl Input {
    /// Returns an object of another program that is as long as the output.
    fn strange(&self) -> Vec<u8> {
        vec![b'?'; self.output_bytes]
    }
}

/// The queue, the inputs, the machines and the requests of one row.
pub(crate) struct ObjectsFixture {
    redis: RedisServer,
    pub(crate) server: Arc<S3Server>,
    pub(crate) machines: [Host; 2],
    inputs: Vec<Input>,
    /// The acknowledged requests: for each id, the number of the input.
    pub(crate) accepted: BTreeMap<String, usize>,
    /// The keys of outputs at which another program has stored an object.
    strange: HashSet<String>,
    /// The variables that each worker gets.
    pub(crate) variables: Vec<(&'static str, String)>,
    watcher: Watcher,
}

impl ObjectsFixture {
    pub(crate) fn new(records: usize, inputs: usize) -> Self {
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
            let output = &receipt["outputs"][0];
            Input {
                uri: format!("s3://{BUCKET}/in/{at}.csv"),
                output_sha256: output["sha256"].as_str().unwrap().to_owned(),
                output_bytes: output["bytes"].as_u64().unwrap() as usize,
            }
        };
        let inputs: Vec<_> = (0..inputs).map(undisturbed).collect();
        let expected = inputs
            .iter()
            .flat_map(|input| [input.output_sha256.clone(), sha256(&input.strange())]);
        let watcher = Watcher::start(&server, expected.collect());
        Self {
            redis,
            server,
            machines,
            inputs,
            accepted: BTreeMap::new(),
            strange: HashSet::new(),
            variables: Vec::new(),
            watcher,
        }
    }

    pub(crate) fn submit(&mut self, count: usize) {
        for _ in 0..count {
            self.submit_as(&format!("r{}", self.accepted.len()));
        }
    }

    /// Submits one request under this id.
    pub(crate) fn submit_as(&mut self, id: &str) {
        let at = self.accepted.len();
        let input = at % self.inputs.len();
        let submit = format!(
            "submit --queue {QUEUE} --id {id} --uri {}",
            self.inputs[input].uri
        );
        self.machines[at % 2].run(&submit).ok();
        self.accepted.insert(id.to_owned(), input);
    }

    /// Stores an object of another program under the name of a request's output. It is as long as the output.
    pub(crate) fn put_strange(&mut self, id: &str) {
        let object = self.inputs[self.accepted[id]].strange();
        self.server.put(BUCKET, &output_key(id), object);
        self.strange.insert(output_key(id));
    }

    pub(crate) fn worker(&self, machine: usize, options: &str, fault: Option<&str>) -> WorkerProcess {
        self.worker_at(&self.server.endpoint(), machine, options, fault)
    }

    /// Starts a worker that reaches the store at this endpoint.
    pub(crate) fn worker_at(
        &self,
        endpoint: &str,
        machine: usize,
        options: &str,
        fault: Option<&str>,
    ) -> WorkerProcess {
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
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(fault) = fault {
            command.env("INGEST_HOST_FAULT", fault);
        }
        WorkerProcess::start(command, host)
    }

    /// Returns the number of requests in a state.
    pub(crate) fn count(&self, state: &str) -> usize {
        count_on_redis(&self.redis, state).unwrap().try_into().unwrap()
    }

    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let count = |state: &str| count_on_redis(&self.redis, state);
        wait_with_progress(what, count, || is_so(self));
    }

    /// Waits until all requests have ended. Retries those that became dead because they lost three workers or failed
    /// too often, until all are done. Returns the number of these retries.
    pub(crate) fn wait_for_all(&self) -> usize {
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
    /// - Requests took effect at the server in the order of the commit protocol.
    /// - The audit of the queue has no findings.
    pub(crate) fn check(&self) {
        self.machines[0].run(&format!("queue audit --queue {QUEUE}")).ok();
        assert_eq!(self.count("done"), self.accepted.len());
        let mut named = HashMap::new();
        for (id, input) in &self.accepted {
            let receipt = self.server.read(BUCKET, &receipt_key(id));
            let receipt: Value = serde_json::from_slice(&receipt.unwrap()).unwrap();
            let Input {
                uri,
                output_sha256: digest,
                ..
            } = &self.inputs[*input];
            assert_eq!(receipt["request"]["uri"], uri.as_str(), "{id}");
            let output = &receipt["outputs"][0];
            assert_eq!(output["sha256"], digest.as_str(), "{id}");
            let key = output_key(id);
            assert_eq!(output["uri"], format!("s3://{BUCKET}/{key}"));
            let bytes = self.server.read(BUCKET, &key).unwrap();
            assert_eq!(sha256(&bytes), *digest, "{id}");
            named.insert(key, digest.clone());
        }
        for key in &self.strange {
            let object = self.server.read(BUCKET, key).unwrap();
            let is_strange = object.iter().all(|byte| *byte == b'?');
            assert!(is_strange, "{key} was replaced");
            named.insert(key.clone(), sha256(&object));
        }
        let mut visible = self.server.keys(BUCKET);
        visible.retain(|key| key.starts_with(OUTPUTS));
        assert_eq!(
            visible.iter().collect::<HashSet<_>>(),
            named.keys().collect::<HashSet<_>>()
        );
        self.watcher.check(&named);
        let violations = object_journal::violations(&self.server.journal(), &self.strange);
        assert!(violations.is_empty(), "{violations:#?}");
    }

    /// Checks that a request has ended in this state, without an output and a receipt. The invariant no longer expects
    /// an output of this request.
    #[track_caller]
    pub(crate) fn check_ended(&mut self, id: &str, state: &str) {
        let status = self.machines[0].status(id);
        assert_eq!(status["state"], state, "{status}");
        self.check_nothing(id);
        self.accepted.remove(id);
    }

    /// Checks that a request has no visible output and no receipt.
    #[track_caller]
    pub(crate) fn check_nothing(&self, id: &str) {
        let output = self.server.read(BUCKET, &output_key(id));
        let own = output.filter(|_| !self.strange.contains(&output_key(id)));
        assert_eq!(own, None, "{id} has an output");
        assert_eq!(
            self.server.read(BUCKET, &receipt_key(id)),
            None,
            "{id} has a receipt"
        );
    }

    /// Marks that a request has lost so many workers.
    pub(crate) fn set_lost(&self, id: &str, lost: u32) {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut set = redis::cmd("HSET");
        set.arg(format!("ingest:{{{QUEUE}}}:request:{id}"))
            .arg("lost")
            .arg(lost);
        set.exec(&mut client.get_connection().unwrap()).unwrap();
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

/// Returns the key of a request's output.
pub(crate) fn output_key(id: &str) -> String {
    format!("{OUTPUTS}{id}.csv")
}

/// Returns the key of a request's receipt.
pub(crate) fn receipt_key(id: &str) -> String {
    format!("{PRIVATE}receipts/{id}.json")
}

/// Returns the prefix of the keys of the decisions about a request.
pub(crate) fn decisions_prefix(id: &str) -> String {
    format!("{PRIVATE}decisions/{id}/")
}
