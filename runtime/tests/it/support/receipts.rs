//! Makes the receipts of tests that commit outputs without running a pipeline.

use std::collections::BTreeMap;

use ingest_host::format::Format;
use ingest_host::receipt::{
    AttemptPart, InputPart, OutputPart, PluginPart, Receipt, RecordCounts, RejectsPart, RequestPart, StepPart,
};
use ingest_host::storage::{Artifact, Published};

/// The id of the request, which is in the queue `orders`.
pub(crate) const ID: &str = "day-1";

/// The time at which the request was submitted.
pub(crate) const SUBMITTED_AT: &str = "2026-01-01T00:00:00Z";

/// Returns the receipt of the attempt with this fence.
pub(crate) fn receipt(fence: u64, published: &Published) -> Receipt {
    let Artifact { uri, bytes, sha256 } = published.output.clone();
    let rejects = published.rejects.clone();
    Receipt {
        host: "0.1.0".into(),
        request: RequestPart {
            id: ID.into(),
            queue: Some("orders".into()),
            uri: "file:///in/day-1.csv".into(),
            submitted_at: SUBMITTED_AT.into(),
            parent: None,
            group: None,
            submitted_input: None,
            replay: None,
        },
        attempt: AttemptPart {
            number: 1,
            fence,
            worker: "worker-1".into(),
            started_at: "2026-01-01T00:00:00Z".into(),
            finished_at: "2026-01-01T00:00:01Z".into(),
            resumed_from: None,
        },
        inputs: vec![InputPart {
            options: None,
            syntax: None,
            uri: "file:///in/day-1.csv".into(),
            bytes: 1,
            sha256: "11".into(),
            etag: None,
            format: Format::Csv.name().into(),
            columns: vec!["id".into()],
        }],
        steps: vec![StepPart {
            plugin: PluginPart {
                name: "clean".into(),
                version: "0.1.0".into(),
                sha256: "22".into(),
                interface: "ingest:plugin@0.1.0".into(),
            },
            config_sha256: "33".into(),
            data: Default::default(),
            origin: None,
        }],
        binding: None,
        records: RecordCounts::default(),
        outputs: vec![OutputPart {
            uri,
            format: Format::Csv.name().into(),
            records: 0,
            bytes,
            sha256,
        }],
        rejects: RejectsPart {
            uri: rejects.as_ref().map(|rejects| rejects.uri.clone()),
            records: 0,
            bytes: rejects.as_ref().map_or(0, |rejects| rejects.bytes),
            sha256: rejects.map(|rejects| rejects.sha256),
            by_code: BTreeMap::new(),
            examples: BTreeMap::new(),
        },
        counters: BTreeMap::new(),
        quality: None,
    }
}
