//! Tests the promises of a storage on an object store. Most tests use a store in memory, whose calls fail or block as a
//! test says.

mod attempts;
mod kinds;
mod reaper;
mod rejects;
mod s3;
mod steered_store;
mod upload_memory;

use std::sync::Arc;

use ingest_host::commit::{self, Committed};
use ingest_host::error::Result;
use ingest_host::format::Format;
use ingest_host::memory::MemoryShare;
use ingest_host::receipt::{Receipt, Report};
use ingest_host::storage::object::{ObjectStorage, PartStore};
use ingest_host::storage::{Concluded, EndedRequest, Owner, Quarantined, SealedAttempt, Storage};
use tokio::runtime::Runtime;

use self::steered_store::{Fault, SharedObjects, Steering};
use crate::support::inputs::sha256;
use crate::support::receipts::{ID, receipt};

const QUEUE: &str = "orders";
const BUCKET: &str = "s3://lake";
const REJECTS_BUCKET: &str = "gs://refused";
const OUTPUT: &str = "out/orders/day-1.csv";
const RECEIPT: &str = "out/_ingest/orders/receipts/day-1.json";

/// The length of a part in bytes. It is so small that a short output has several parts.
const PART_BYTES: usize = 8;

/// The way in which a store in memory uploads parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Uploads {
    /// Like S3 and Google: each upload has an id, and can be aborted.
    ById,
    /// Like Azure: uploads to one key share their blocks.
    ByBlocks,
}

impl Uploads {
    const ALL: [Self; 2] = [Self::ById, Self::ByBlocks];
}

/// An object store in memory, and the runtime for the calls of all processes that use it.
struct StorageFixture {
    runtime: Runtime,
    objects: Arc<SharedObjects>,
    uploads: Uploads,
    /// The store of the rejects and the way in which it uploads parts, or `None` if the rejects are in `objects`.
    rejects: Option<(Arc<SharedObjects>, Uploads)>,
}

impl StorageFixture {
    fn new() -> Self {
        Self::of(Uploads::ById)
    }

    fn of(uploads: Uploads) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        Self {
            runtime,
            objects: Arc::default(),
            uploads,
            rejects: None,
        }
    }

    /// Returns a fixture whose rejects are in another store.
    fn with_rejects(uploads: Uploads, of_rejects: Uploads) -> Self {
        Self {
            rejects: Some((SharedObjects::of_rejects().into(), of_rejects)),
            ..Self::of(uploads)
        }
    }

    /// Returns fixtures with each way to upload parts, with and without another store for the rejects.
    fn all() -> impl Iterator<Item = Self> {
        let with_rejects = |uploads| Uploads::ALL.map(|of_rejects| Self::with_rejects(uploads, of_rejects));
        let alone = Uploads::ALL.into_iter().map(Self::of);
        alone.chain(Uploads::ALL.into_iter().flat_map(with_rejects))
    }

    /// Returns an empty fixture of the same kind.
    fn another(&self) -> Self {
        match self.rejects {
            None => Self::of(self.uploads),
            Some((_, of_rejects)) => Self::with_rejects(self.uploads, of_rejects),
        }
    }

    /// Returns a storage for one simulated process, whose calls `steering` steers.
    fn storage(&self, steering: &Arc<Steering>) -> ObjectStorage {
        let connect = |objects: &Arc<SharedObjects>, uploads| -> Arc<dyn PartStore> {
            match uploads {
                Uploads::ById => objects.connect(steering),
                Uploads::ByBlocks => objects.connect_to_blocks(steering),
            }
        };
        let store = connect(&self.objects, self.uploads);
        let runtime = self.runtime.handle().clone();
        let storage = ObjectStorage::new(store, BUCKET.to_owned(), "out", PART_BYTES, runtime).unwrap();
        let Some((objects, uploads)) = &self.rejects else {
            return storage;
        };
        let store = connect(objects, *uploads);
        storage
            .with_rejects(store, REJECTS_BUCKET.to_owned(), "bad")
            .unwrap()
    }

    /// Returns a storage for one simulated process without a fault.
    fn healthy(&self) -> ObjectStorage {
        self.storage(&Steering::new(None))
    }

    fn read(&self, key: &str) -> Option<Vec<u8>> {
        let found = self.runtime.block_on(self.objects.read(key));
        found.map(|bytes| bytes.to_vec())
    }

    /// Returns the bytes of an object of one of the stores.
    fn read_uri(&self, uri: &str) -> Vec<u8> {
        let (_, rest) = uri.split_once("://").unwrap();
        let (bucket, key) = rest.split_once('/').unwrap();
        let objects = match &self.rejects {
            Some((objects, _)) if REJECTS_BUCKET.ends_with(bucket) => objects,
            _ => &self.objects,
        };
        self.runtime.block_on(objects.read(key)).unwrap().to_vec()
    }

    fn receipt(&self) -> Option<Receipt> {
        self.read(RECEIPT)
            .map(|document| Receipt::read(&document).unwrap())
    }

    fn keys(&self) -> Vec<String> {
        self.runtime.block_on(self.objects.keys())
    }

    /// Returns the keys of all outputs.
    fn outputs(&self) -> Vec<String> {
        let mut keys = self.keys();
        keys.retain(|key| !key.contains("_ingest"));
        keys
    }

    /// Returns the number of notes about uploads.
    fn notes(&self) -> usize {
        let keys = self.keys();
        keys.iter().filter(|key| key.contains("/uploads/")).count()
    }

    /// Checks the promises when all attempts have ended: outputs and receipt match, and no reader has seen a violation.
    fn check(&self, what: &str) {
        assert_eq!(self.objects.violations(), Vec::<String>::new(), "{what}");
        match self.receipt() {
            None => assert_eq!(self.outputs(), Vec::<String>::new(), "{what}"),
            Some(receipt) => {
                assert_eq!(self.outputs(), [OUTPUT], "{what}");
                let output = self.read(OUTPUT).unwrap();
                assert_eq!(sha256(&output), receipt.outputs[0].sha256, "{what}");
                if let (Some(uri), Some(expected)) = (receipt.rejects.uri, receipt.rejects.sha256) {
                    assert_eq!(sha256(&self.read_uri(&uri)), expected, "{what}");
                }
            }
        }
    }
}

fn owner(fence: u64, life_ms: i64) -> Owner {
    Owner {
        queue: Some(QUEUE.into()),
        id: Some(ID.into()),
        fence,
        life_ms,
        is_contested: fence > 1,
    }
}

/// Runs an attempt from its first byte to its receipt. The output contains the fence, so that a test can tell which
/// attempt has made an output.
fn attempt(storage: &dyn Storage, fence: u64, life_ms: i64) -> Result<Committed> {
    attempt_within(storage, fence, life_ms, &MemoryShare::default())
}

/// Does the same as [`attempt`], with the memory and the stop of this share.
fn attempt_within(
    storage: &dyn Storage,
    fence: u64,
    life_ms: i64,
    memory: &MemoryShare,
) -> Result<Committed> {
    let mut attempt = storage.begin(owner(fence, life_ms), Format::Csv)?;
    attempt.hold_in(memory);
    attempt
        .output()
        .take(format!("n\nthe output of attempt {fence}\n").as_bytes())?;
    attempt.rejects()?.take(b"rejects\n")?;
    let sealed = attempt.seal()?;
    commit::publish(sealed, ID, |published| receipt(fence, published))
}

fn quarantine(sealed: &mut dyn SealedAttempt, fence: u64) -> Quarantined {
    let report = |kept: &_| Report {
        refused: Some("too many".into()),
        code: None,
        receipt: receipt(fence, kept),
    };
    sealed.quarantine(ID, Box::new(report)).unwrap()
}

fn conclude(storage: &dyn Storage, life_ms: i64) -> Result<Concluded> {
    storage.conclude(EndedRequest {
        queue: QUEUE,
        id: ID,
        submitted_at: "2026-01-01T00:00:00Z",
        life_ms,
        state: "cancelled",
        worker: "w",
    })
}

/// Runs an attempt that dies as soon as its decision exists, before anything is visible.
fn dies_after_its_decision(kind: &StorageFixture) -> StorageFixture {
    for call in 0.. {
        let fixture = kind.another();
        let steering = Steering::new(Some((call, Fault::DiesAfter)));
        attempt(&fixture.storage(&steering), 1, 1).expect_err("the worker dies");
        if fixture.keys().iter().any(|key| key.contains("/decisions/")) {
            assert_eq!(fixture.outputs(), Vec::<String>::new());
            return fixture;
        }
    }
    unreachable!("an attempt makes a decision");
}
