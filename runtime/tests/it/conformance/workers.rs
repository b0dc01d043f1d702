//! Tests workers whose inputs and outputs are objects: they commit each request once, wherever a worker dies.

use std::any::Any;

use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::host::{CommandOutput, Host, component};
use crate::support::inputs::{CSV, sha256};
use crate::support::object_client::Bucket;

/// A bucket with inputs and outputs of workers.
pub(crate) struct WorkerStore {
    /// The variables with which a worker reaches the bucket.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// The bucket's URI, such as `s3://lake`.
    pub(crate) bucket_uri: &'static str,
    pub(crate) bucket: Bucket,
    pub(crate) runtime: Runtime,
    /// The server, which ends after everything that uses it.
    pub(crate) _server: Box<dyn Any + Send + Sync>,
}

impl WorkerStore {
    /// Runs a worker until it has nothing to do. With a fault, it dies at that step.
    fn run(&self, host: &Host, fault: Option<&str>) -> CommandOutput {
        self.run_with(host, "", fault)
    }

    /// Runs a worker with more options.
    fn run_with(&self, host: &Host, options: &str, fault: Option<&str>) -> CommandOutput {
        let bucket = self.bucket_uri;
        let words = format!(
            "run --queue q --plugin clean.wasm --burst --burst-wait 0s --allow-bucket {bucket}/in/ --output {bucket}/worker {options}"
        );
        let mut command = host.command();
        command.args(words.split_whitespace());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(fault) = fault {
            command.env("INGEST_HOST_FAULT", fault);
        }
        CommandOutput::new(&command.output().unwrap())
    }

    fn read(&self, key: &str) -> Vec<u8> {
        let key = Path::from(key);
        let read = async { self.bucket.get(&key).await.unwrap().bytes().await.unwrap() };
        self.runtime.block_on(read).to_vec()
    }
}

pub(crate) fn a_worker_that_dies_at_any_step_leaves_one_output(store: &WorkerStore) {
    let host = Host::embedded();
    std::fs::copy(component("clean"), host.path("clean.wasm")).unwrap();
    let steps = ["staged", "sealed", "decided", "completed", "receipt", "settled"];
    for step in steps {
        let key = Path::from(format!("in/{step}.csv"));
        let put = store.bucket.put(&key, PutPayload::from_static(CSV));
        store.runtime.block_on(put).unwrap();
        let uri = format!("{}/in/{step}.csv", store.bucket_uri);
        host.run(&format!("submit --queue q --id {step} --uri {uri}"))
            .ok();
        store.run(&host, Some(&format!("{step}:KILL:={step}")));
        if host.status(step)["state"] == "leased" {
            host.expire_lease(step);
        }
        let said = store.run(&host, None);
        let status = host.status(step);
        assert_eq!(status["state"], "done", "{step}: {}", said.stderr);
        let receipt = store.read(&format!("worker/_ingest/q/receipts/{step}.json"));
        let receipt: Value = serde_json::from_slice(&receipt).unwrap();
        assert_eq!(status["receipt"], receipt, "{step}");
        assert_eq!(receipt["inputs"][0]["uri"], uri, "{step}");
        let output = store.read(&format!("worker/q/{step}.csv"));
        assert_eq!(sha256(&output), receipt["outputs"][0]["sha256"], "{step}");
    }
    let outputs = Path::from("worker/q");
    let outputs = store.bucket.list(Some(&outputs)).try_collect::<Vec<_>>();
    let outputs = store.runtime.block_on(outputs).unwrap();
    assert_eq!(outputs.len(), steps.len(), "{outputs:?}");
}

/// An input with a record that a rule for short rows rescues.
const SHORT_ROW: &[u8] = b"a,b\n1,2\n3\n4,5,6\n7,8\n";

pub(crate) fn a_replay_that_dies_at_any_step_commits_once(store: &WorkerStore) {
    let host = Host::embedded();
    std::fs::copy(component("clean"), host.path("clean.wasm")).unwrap();
    let steps = ["staged", "sealed", "decided", "completed", "receipt", "settled"];
    for step in steps {
        let key = Path::from(format!("in/{step}.csv"));
        let put = store.bucket.put(&key, PutPayload::from_static(SHORT_ROW));
        store.runtime.block_on(put).unwrap();
        let uri = format!("{}/in/{step}.csv", store.bucket_uri);
        host.run(&format!("submit --queue q --id {step} --uri {uri}"))
            .ok();
    }
    store.run_with(&host, "--max-rejects 100%", None).ok();
    for step in steps {
        let id = format!("{step}.replay-1");
        host.run(&format!("replay {step}")).ok();
        store.run_with(&host, "--short-rows fill", Some(&format!("{step}:KILL:={id}")));
        if host.status(&id)["state"] == "leased" {
            host.expire_lease(&id);
        }
        let said = store.run_with(&host, "--short-rows fill", None);
        let status = host.status(&id);
        assert_eq!(status["state"], "done", "{step}: {}", said.stderr);
        let (first, receipt) = (&host.status(step)["receipt"], &status["receipt"]);
        assert_eq!(receipt["records"]["read"], first["records"]["rejected"], "{step}");
        assert_eq!(
            receipt["inputs"][0]["sha256"], first["rejects"]["sha256"],
            "{step}"
        );
        assert_eq!(receipt["rejects"]["records"], 1, "{step}");
        assert_eq!(
            store.read(&format!("worker/q/{step}.csv")),
            b"a,b\n1,2\n7,8\n",
            "{step}"
        );
        assert_eq!(store.read(&format!("worker/q/{id}.csv")), b"a,b\n3,\n", "{step}");
    }
    let outputs = Path::from("worker/q");
    let outputs = store.bucket.list(Some(&outputs)).try_collect::<Vec<_>>();
    let outputs = store.runtime.block_on(outputs).unwrap();
    assert_eq!(outputs.len(), 2 * steps.len(), "{outputs:?}");
}
