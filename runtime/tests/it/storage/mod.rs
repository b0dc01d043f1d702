//! Tests the promises of a storage on an object store, with attempts that die, sleep or run at the same time. After
//! each call to the store, the outputs are listed, as a reader would list them.

mod kinds;
mod s3;
mod steered_store;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ingest_host::commit::{self, Committed};
use ingest_host::error::{Class, Code, Result};
use ingest_host::format::Format;
use ingest_host::receipt::{Receipt, Report};
use ingest_host::stop::Stop;
use ingest_host::storage::object::{ObjectStorage, PartStore};
use ingest_host::storage::{Concluded, EndedRequest, Owner, Quarantined, Resumed, SealedAttempt, Storage};
use tokio::runtime::Runtime;

use self::steered_store::{Fault, SharedObjects, Steering};
use crate::support::host::wait_for;
use crate::support::inputs::sha256;
use crate::support::receipts::{ID, receipt};

const QUEUE: &str = "orders";
const BUCKET: &str = "s3://lake";
const OUTPUT: &str = "out/orders/day-1.csv";
const RECEIPT: &str = "out/_ingest/orders/receipts/day-1.json";

/// The length of a part in bytes. It is so small that a short output has several parts.
const PART_BYTES: usize = 8;

/// The way in which a store in memory uploads parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Uploads {
    /// As S3 and Google: each upload has an id, and can be aborted.
    ById,
    /// As Azure: uploads to one key share their blocks.
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
        }
    }

    /// Returns a storage for one simulated process, whose calls `steering` steers.
    fn storage(&self, steering: &Arc<Steering>) -> ObjectStorage {
        let store: Arc<dyn PartStore> = match self.uploads {
            Uploads::ById => self.objects.connect(steering),
            Uploads::ByBlocks => self.objects.connect_to_blocks(steering),
        };
        let runtime = self.runtime.handle().clone();
        ObjectStorage::new(store, BUCKET.to_owned(), "out", PART_BYTES, runtime).unwrap()
    }

    /// Returns a storage for one simulated process without a fault.
    fn healthy(&self) -> ObjectStorage {
        self.storage(&Steering::new(None))
    }

    fn read(&self, key: &str) -> Option<Vec<u8>> {
        let found = self.runtime.block_on(self.objects.read(key));
        found.map(|bytes| bytes.to_vec())
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
                    let key = uri.strip_prefix("s3://lake/").unwrap();
                    assert_eq!(sha256(&self.read(key).unwrap()), expected, "{what}");
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
    let mut attempt = storage.begin(owner(fence, life_ms), Format::Csv)?;
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

#[test]
fn an_output_and_its_receipt_appear_and_nothing_else_lies_beside_the_outputs() {
    let fixture = StorageFixture::new();
    let Committed::New(made) = attempt(&fixture.healthy(), 1, 0).unwrap() else {
        panic!("there was no receipt before");
    };
    assert_eq!(fixture.receipt(), Some(made.clone()));
    assert_eq!(made.outputs[0].uri, format!("{BUCKET}/{OUTPUT}"));
    let rejects = "s3://lake/out/_ingest/orders/rejects/day-1.1.rejects.csv";
    assert_eq!(made.rejects.uri.as_deref(), Some(rejects));
    fixture.check("one attempt");
    assert_eq!(fixture.notes(), 0, "no note stays");

    // The request is done already, so the second attempt returns the existing receipt.
    let Committed::Existing(found) = attempt(&fixture.healthy(), 2, 0).unwrap() else {
        panic!("there is a receipt");
    };
    assert_eq!(found, made);
    fixture.check("two attempts");
}

#[test]
fn a_queue_whose_name_other_objects_have_is_refused() {
    let fixture = StorageFixture::new();
    let storage = fixture.healthy();
    for queue in ["_ingest", "receipts", "decisions", "uploads"] {
        let error = storage.check_queue(queue).expect_err(queue);
        assert_eq!(error.code(), Code::NameInvalid, "{error}");
    }
    storage.check_queue("staging").unwrap();
}

#[test]
fn an_object_that_nobody_of_this_request_made_is_never_replaced() {
    for uploads in Uploads::ALL {
        a_foreign_object_stays(&StorageFixture::of(uploads));
    }
}

fn a_foreign_object_stays(fixture: &StorageFixture) {
    fixture
        .runtime
        .block_on(fixture.objects.put(OUTPUT, "a stranger's"));
    let error = attempt(&fixture.healthy(), 1, 0).expect_err("the name is taken");
    assert_eq!(
        (error.class(), error.code()),
        (Class::Permanent, Code::OutputExists)
    );
    assert_eq!(fixture.read(OUTPUT).unwrap(), b"a stranger's");
    assert_eq!(fixture.receipt(), None);
}

#[test]
fn of_many_attempts_exactly_one_commits() {
    for uploads in (0..10).flat_map(|_| Uploads::ALL) {
        let fixture = StorageFixture::of(uploads);
        let results: Vec<_> = std::thread::scope(|scope| {
            let attempts: Vec<_> = (1..=6)
                .map(|fence| {
                    let storage = fixture.healthy();
                    scope.spawn(move || attempt(&storage, fence, 0))
                })
                .collect();
            attempts
                .into_iter()
                .map(|attempt| attempt.join().unwrap())
                .collect()
        });
        let is_new = |result: &&Result<Committed>| matches!(result, Ok(Committed::New(_)));
        let receipt = fixture.receipt().unwrap();
        // The other attempts find the receipt of the attempt whose decision counts.
        assert!(results.iter().filter(is_new).count() <= 1, "{results:?}");
        for result in &results {
            match result {
                Ok(Committed::New(found) | Committed::Existing(found)) => assert_eq!(*found, receipt),
                Err(error) => panic!("{}", error.report()),
            }
        }
        fixture.check("six attempts at once");
    }
}

/// What happens to a request after a fault has hit an attempt at it.
#[derive(Debug, Clone, Copy)]
enum Sequel {
    /// Another worker claims the request.
    Again,
    /// The request is cancelled.
    Cancelled,
    /// The request is cancelled. If it has no receipt then, it begins a new life.
    Retried,
}

#[test]
fn whenever_an_attempt_is_hit_the_request_ends_in_one_output_or_in_none() {
    for uploads in Uploads::ALL {
        // An attempt without a fault shows how many calls an attempt makes.
        let counted = Steering::new(None);
        let fixture = StorageFixture::of(uploads);
        attempt(&fixture.storage(&counted), 1, 0).unwrap();
        let calls = counted.calls();
        assert!(calls > 15, "{calls}");

        let mut committed = 0;
        for call in 0..calls {
            for fault in Fault::ALL {
                for sequel in [Sequel::Again, Sequel::Cancelled, Sequel::Retried] {
                    let what = format!("{uploads:?}, call {call} {fault:?}, then {sequel:?}");
                    let fixture = StorageFixture::of(uploads);
                    committed += usize::from(walk(&fixture, call, fault, sequel, &what));
                }
            }
        }
        // In each case with `Sequel::Again`, the request is committed. These are a third of all cases, and some of the
        // other cases commit, too.
        assert!(committed > calls * Fault::ALL.len(), "{committed}");
    }
}

/// Runs one case: `fault` hits the call with the number `call`, and then `sequel` happens. Returns whether the request
/// was committed.
fn walk(fixture: &StorageFixture, call: usize, fault: Fault, sequel: Sequel, what: &str) -> bool {
    let steering = Steering::new(Some((call, fault)));
    let is_over = AtomicBool::new(false);
    let (first, sequel_result) = std::thread::scope(|scope| {
        let (storage, is_over) = (fixture.storage(&steering), &is_over);
        let first = scope.spawn(move || {
            let result = attempt(&storage, 1, 1);
            is_over.store(true, Ordering::Release);
            result
        });
        if fault.sleeps() {
            steering.wait_for_sleep(|| is_over.load(Ordering::Acquire));
        } else {
            while !is_over.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        }
        let woken = WokenOnDrop(&steering);
        let sequel = go_on(fixture, sequel);
        drop(woken);
        (first.join().unwrap(), sequel)
    });
    fixture.check(what);
    let receipt = fixture.receipt();
    if let Ok(Committed::New(of_first)) = &first {
        assert_eq!(receipt.as_ref(), Some(of_first), "{what}: a commit is for ever");
    }
    match sequel_result {
        Outcome::Committed(found) => assert_eq!(receipt.as_ref(), Some(&*found), "{what}"),
        Outcome::Ended => {
            assert_eq!(receipt, None, "{what}");
            assert!(first.is_err(), "{what}: {first:?}");
        }
    }
    // A process that looks for the receipt later finds the same receipt, or also none.
    let later = fixture
        .healthy()
        .committed(QUEUE, ID, "2026-01-01T00:00:00Z")
        .unwrap();
    assert_eq!(later, receipt, "{what}");
    receipt.is_some()
}

/// Lets a process go on when this is dropped, also if the test fails.
struct WokenOnDrop<'a>(&'a Steering);

impl Drop for WokenOnDrop<'_> {
    fn drop(&mut self) {
        self.0.wake();
    }
}

enum Outcome {
    Committed(Box<Receipt>),
    Ended,
}

/// Continues the request in another process, which has no fault.
fn go_on(fixture: &StorageFixture, sequel: Sequel) -> Outcome {
    let storage = fixture.healthy();
    let committed = |result: Result<Committed>| match result {
        Ok(Committed::New(receipt) | Committed::Existing(receipt)) => Outcome::Committed(receipt.into()),
        Err(error) => panic!("{sequel:?}: {}", error.report()),
    };
    match sequel {
        Sequel::Again => committed(attempt(&storage, 2, 1)),
        Sequel::Cancelled | Sequel::Retried => match conclude(&storage, 1).unwrap() {
            Concluded::Committed(receipt) => Outcome::Committed(receipt),
            Concluded::Ended if matches!(sequel, Sequel::Retried) => committed(attempt(&storage, 2, 2)),
            Concluded::Ended => Outcome::Ended,
        },
    }
}

#[test]
fn an_ended_request_stays_ended_until_a_new_life() {
    let fixture = StorageFixture::new();
    let storage = fixture.healthy();
    assert_eq!(conclude(&storage, 5).unwrap(), Concluded::Ended);
    assert_eq!(conclude(&storage, 5).unwrap(), Concluded::Ended);
    for life in [4, 5] {
        let error = attempt(&storage, 1, life).expect_err("the request has ended");
        assert_eq!(error.code(), Code::RequestEnded);
    }
    fixture.check("ended");
    assert!(matches!(attempt(&storage, 2, 6), Ok(Committed::New(_))));
    fixture.check("retried");
    assert!(matches!(conclude(&storage, 6), Ok(Concluded::Committed(_))));
}

#[test]
fn a_refused_output_is_never_visible_and_its_rejects_are_kept() {
    let fixture = StorageFixture::new();
    let storage = fixture.healthy();
    let mut attempt = storage.begin(owner(3, 1), Format::Csv).unwrap();
    attempt.output().take(b"n\n1\n").unwrap();
    attempt.rejects().unwrap().take(b"all of them\n").unwrap();
    let mut sealed = attempt.seal().unwrap();
    let kept = quarantine(&mut *sealed, 3);
    drop(sealed);
    let uri = "s3://lake/out/_ingest/orders/quarantine/day-1.json";
    assert_eq!(kept, Quarantined::Report(uri.into()));
    let rejects = fixture.read("out/_ingest/orders/rejects/day-1.3.rejects.csv");
    assert_eq!(rejects.unwrap(), b"all of them\n");
    fixture.check("refused");
}

#[test]
fn a_checkpoint_continues_the_upload_without_its_parts() {
    for uploads in Uploads::ALL {
        a_checkpoint_continues(&StorageFixture::of(uploads));
    }
}

fn a_checkpoint_continues(fixture: &StorageFixture) {
    let storage = fixture.healthy();
    let mut first = storage.begin(owner(1, 1), Format::Csv).unwrap();
    first.output().take(&[b'a'; 100]).unwrap();
    first.rejects().unwrap().take(b"r").unwrap();
    first.checkpoint(Box::new(|| "half".to_owned())).unwrap();
    while !first.has_checkpoint() {
        first.output();
        std::thread::yield_now();
    }
    // The checkpoint does not cover these bytes.
    first.output().take(&[b'z'; 100]).unwrap();
    first.keep();

    let counted = Steering::new(None);
    let storage = fixture.storage(&counted);
    let stored = storage.find_checkpoint(QUEUE, ID).unwrap().unwrap();
    assert_eq!(stored.progress, "half");
    let resumed = storage.resume(owner(2, 1), Format::Csv, &stored.staged, &Stop::default());
    let Resumed::Ready(mut second) = resumed.unwrap() else {
        panic!("the checkpoint can be used");
    };
    let before = counted.calls();
    second.output().take(&[b'b'; 10]).unwrap();
    let sealed = second.seal().unwrap();
    // The first 100 bytes are 12 parts of 8 bytes, and 4 more bytes. These 4 bytes and the 10 new bytes are two parts.
    // The rejects are one part, whose upload must also be begun and noted.
    assert!(counted.calls() - before < 8, "{}", counted.calls() - before);
    let committed = commit::publish(sealed, ID, |published| receipt(2, published));
    assert!(matches!(committed, Ok(Committed::New(_))));
    let expected = [[b'a'; 100].as_slice(), &[b'b'; 10]].concat();
    assert_eq!(fixture.read(OUTPUT).unwrap(), expected);
    assert!(storage.find_checkpoint(QUEUE, ID).unwrap().is_none());
    fixture.check("resumed");
}

/// Runs an attempt up to its seal, and writes a checkpoint before.
fn sealed_after_a_checkpoint(storage: &dyn Storage) -> Box<dyn SealedAttempt> {
    let mut attempt = storage.begin(owner(1, 1), Format::Csv).unwrap();
    attempt.output().take(&[b'a'; 100]).unwrap();
    attempt.checkpoint(Box::new(String::new)).unwrap();
    while !attempt.has_checkpoint() {
        attempt.output();
        std::thread::yield_now();
    }
    attempt.seal().unwrap()
}

#[test]
fn an_upload_that_two_attempts_share_stays_if_one_commits_and_the_other_is_refused() {
    let (counted, fixture) = (Steering::new(None), StorageFixture::new());
    let sealed = sealed_after_a_checkpoint(&fixture.storage(&counted));
    // Three calls look for a receipt, for decisions and for an object with the output's name. The next one creates the
    // decision.
    let creates_decision = counted.calls() + 3;
    drop(sealed);
    let fixture = StorageFixture::new();
    let steering = Steering::new(Some((creates_decision, Fault::DiesAfter)));
    let first = sealed_after_a_checkpoint(&fixture.storage(&steering));
    let storage = fixture.healthy();
    let stored = storage.find_checkpoint(QUEUE, ID).unwrap().unwrap();
    let resumed = storage.resume(owner(2, 1), Format::Csv, &stored.staged, &Stop::default());
    let Ok(Resumed::Ready(second)) = resumed else {
        panic!("the checkpoint can be used");
    };
    let mut second = second.seal().unwrap();
    commit::publish(first, ID, |published| receipt(1, published)).expect_err("the worker dies");
    assert!(fixture.keys().iter().any(|key| key.contains("/decisions/")));
    assert_eq!(fixture.outputs(), Vec::<String>::new());

    quarantine(&mut *second, 2);
    drop(second);
    let Concluded::Committed(receipt) = conclude(&storage, 1).unwrap() else {
        panic!("the decision is carried out");
    };
    assert_eq!(receipt.attempt.fence, 1);
    fixture.check("one committed, the other was refused");
}

/// Leaves an upload and a note about it, as an attempt does that dies.
fn dies_while_it_uploads(storage: &dyn Storage) {
    let mut attempt = storage.begin(owner(1, 1), Format::Csv).unwrap();
    attempt.output().take(&[b'a'; 100]).unwrap();
    // A checkpoint sends the buffered bytes to the store. Without it, the upload would not begin.
    attempt.checkpoint(Box::new(String::new)).unwrap();
    std::mem::forget(attempt);
}

#[test]
fn what_dead_attempts_uploaded_is_removed() {
    let fixture = StorageFixture::new();
    let storage = fixture.healthy();
    dies_while_it_uploads(&storage);
    let notes = || fixture.notes();
    assert_eq!(notes(), 1);
    let day = std::time::Duration::from_secs(86_400);
    let at_work = [(QUEUE, "other")];
    assert_eq!(storage.reap(day, &at_work).unwrap(), 0);
    assert_eq!(
        storage.reap(std::time::Duration::ZERO, &[(QUEUE, ID)]).unwrap(),
        0
    );
    // The call before wrote the note again, so the note may be too new for the next call. A thread may still write the
    // checkpoint, so the numbers of removed objects are not compared.
    wait_for("the note to be removed", || {
        storage.reap(std::time::Duration::ZERO, &at_work).unwrap();
        (notes() == 0).then_some(())
    });
}

#[test]
fn work_that_was_done_before_is_found_without_an_upload() {
    let fixture = StorageFixture::new();
    let done_before =
        |storage: &dyn Storage, is_same| commit::done_before(storage, &owner(2, 2), |_| is_same);
    assert_eq!(done_before(&fixture.healthy(), true).unwrap(), None);
    attempt(&fixture.healthy(), 1, 1).unwrap();
    let counted = Steering::new(None);
    let found = done_before(&fixture.storage(&counted), true).unwrap();
    assert_eq!(found, fixture.receipt());
    // One call reads the receipt. Output and rejects take two calls each: one for the length, one for the bytes.
    assert_eq!(counted.calls(), 5);
    assert_eq!(done_before(&fixture.healthy(), false).unwrap(), None);
    fixture.check("done before");
    fixture.runtime.block_on(fixture.objects.put(OUTPUT, "other"));
    let error = done_before(&fixture.healthy(), true).unwrap_err();
    assert_eq!(error.code(), Code::OutputMissing);
    fixture.runtime.block_on(fixture.objects.remove(OUTPUT));
    let error = done_before(&fixture.healthy(), true).unwrap_err();
    assert_eq!(error.code(), Code::OutputMissing);
}

#[test]
fn an_output_that_somebody_removed_is_made_again_in_a_new_round() {
    for uploads in Uploads::ALL {
        a_removed_output_is_made_again(uploads);
    }
}

fn a_removed_output_is_made_again(uploads: Uploads) {
    // The test looks for the last call at which a worker can die so that there is no receipt. At this call, the output
    // is visible already.
    let counted = Steering::new(None);
    attempt(&StorageFixture::of(uploads).storage(&counted), 1, 1).unwrap();
    let calls = counted.calls();
    let mut call = calls;
    let (fixture, result) = loop {
        call -= 1;
        let fixture = StorageFixture::of(uploads);
        let steering = Steering::new(Some((call, Fault::DiesBefore)));
        let result = attempt(&fixture.storage(&steering), 1, 1);
        if fixture.receipt().is_none() {
            break (fixture, result);
        }
    };
    assert!(result.is_err());
    assert_eq!(fixture.outputs(), [OUTPUT], "the output is visible");
    fixture.runtime.block_on(fixture.objects.remove(OUTPUT));
    let Ok(Committed::New(receipt)) = attempt(&fixture.healthy(), 2, 1) else {
        panic!("the second attempt commits its own output");
    };
    assert_eq!(receipt.attempt.fence, 2);
    fixture.check("made again");
}

/// Runs an attempt that dies as soon as its decision exists, before anything is visible.
fn dies_after_its_decision(uploads: Uploads) -> StorageFixture {
    for call in 0.. {
        let fixture = StorageFixture::of(uploads);
        let steering = Steering::new(Some((call, Fault::DiesAfter)));
        attempt(&fixture.storage(&steering), 1, 1).expect_err("the worker dies");
        if fixture.keys().iter().any(|key| key.contains("/decisions/")) {
            assert_eq!(fixture.outputs(), Vec::<String>::new());
            return fixture;
        }
    }
    unreachable!("an attempt makes a decision");
}

#[test]
fn the_reaper_keeps_what_a_decision_names_that_nobody_has_carried_out() {
    for uploads in Uploads::ALL {
        let fixture = dies_after_its_decision(uploads);
        // The reaper counts the age of notes and decisions in milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(2));
        let reaped = fixture.healthy().reap(std::time::Duration::ZERO, &[]);
        assert_eq!(reaped.unwrap(), 0, "{uploads:?}");
        let Ok(Committed::Existing(receipt)) = attempt(&fixture.healthy(), 2, 1) else {
            panic!("{uploads:?}: the second attempt carries out the decision of the first one");
        };
        assert_eq!(receipt.attempt.fence, 1, "{uploads:?}");
        fixture.check("reaped");
    }
}

#[test]
fn a_decision_whose_blocks_are_gone_is_followed_by_a_new_round() {
    let fixture = dies_after_its_decision(Uploads::ByBlocks);
    fixture.objects.remove_blocks();
    let Ok(Committed::New(receipt)) = attempt(&fixture.healthy(), 2, 1) else {
        panic!("the second attempt commits its own output");
    };
    assert_eq!(receipt.attempt.fence, 2);
    fixture.check("a new round");
}

#[test]
fn an_upload_that_cannot_be_aborted_waits_until_a_foreign_object_is_gone() {
    let fixture = dies_after_its_decision(Uploads::ByBlocks);
    let foreign = fixture.objects.put(OUTPUT, "a stranger's");
    fixture.runtime.block_on(foreign);
    // The first attempt could complete its blocks at any time, so the request cannot end otherwise.
    for _ in 0..2 {
        let error = attempt(&fixture.healthy(), 2, 1).expect_err("the name is taken");
        assert_eq!(
            (error.class(), error.code()),
            (Class::Permanent, Code::OutputExists)
        );
        let error = conclude(&fixture.healthy(), 1).expect_err("the decision says commit");
        assert_eq!(error.code(), Code::OutputExists);
    }
    assert_eq!(fixture.read(OUTPUT).unwrap(), b"a stranger's");
    assert_eq!(fixture.receipt(), None);
    fixture.runtime.block_on(fixture.objects.remove(OUTPUT));
    let Ok(Concluded::Committed(receipt)) = conclude(&fixture.healthy(), 1) else {
        panic!("the decision is carried out");
    };
    assert_eq!(receipt.attempt.fence, 1);
    let output = fixture.read(OUTPUT).unwrap();
    assert_eq!(sha256(&output), receipt.outputs[0].sha256);
}

#[test]
fn an_upload_stays_while_another_call_for_its_object_has_not_ended() {
    let fixture = dies_after_its_decision(Uploads::ById);
    let runtime = fixture.runtime.handle().clone();
    let busy = fixture.objects.connect_busily();
    let busy = ObjectStorage::new(busy, BUCKET.to_owned(), "out", PART_BYTES, runtime).unwrap();
    // The other call can be another worker's that completes the upload, so the request cannot end otherwise.
    for error in [
        attempt(&busy, 2, 1).expect_err("the store is busy"),
        conclude(&busy, 1).expect_err("the decision says commit"),
    ] {
        assert_eq!(
            (error.class(), error.code()),
            (Class::Transient, Code::OutputUnwritable),
            "{error}"
        );
        assert!(error.leaves_output());
    }
    let Ok(Concluded::Committed(receipt)) = conclude(&fixture.healthy(), 1) else {
        panic!("the decision is carried out");
    };
    assert_eq!(receipt.attempt.fence, 1);
    fixture.check("busy");
}

#[test]
fn no_receipt_is_created_for_an_output_that_is_gone() {
    let fixture = StorageFixture::new();
    assert!(matches!(attempt(&fixture.healthy(), 1, 1), Ok(Committed::New(_))));
    for key in [OUTPUT, RECEIPT] {
        fixture.runtime.block_on(fixture.objects.remove(key));
    }
    let (store, runtime) = (
        fixture.objects.connect_forgetfully(),
        fixture.runtime.handle().clone(),
    );
    let forgetful = ObjectStorage::new(store, BUCKET.to_owned(), "out", PART_BYTES, runtime).unwrap();
    let committed = attempt(&forgetful, 2, 2).unwrap();
    assert!(matches!(committed, Committed::New(_)), "{committed:?}");
    let output = fixture.read(OUTPUT).expect("the output exists");
    assert_eq!(sha256(&output), fixture.receipt().unwrap().outputs[0].sha256);
}

#[test]
fn one_lost_answer_does_not_end_a_worker_that_starts() {
    for number in 0..4 {
        for fault in [Fault::FailsBefore, Fault::FailsAfter] {
            let fixture = StorageFixture::new();
            let steering = Steering::new(Some((number, fault)));
            let storage = fixture.storage(&steering);
            storage.prepare("orders", None).unwrap();
            storage.identity().unwrap();
            assert!(steering.calls() > number, "the fault occurs");
        }
    }
}

#[test]
fn an_upload_of_a_decision_that_could_not_be_carried_out_is_aborted_after_the_receipt() {
    let fixture = dies_after_its_decision(Uploads::ById);
    let key = fixture.keys().into_iter().find(|key| key.contains("/decisions/"));
    let decision = fixture.read(&key.unwrap()).unwrap();
    let decision: serde_json::Value = serde_json::from_slice(&decision).unwrap();
    let abort = |what: &str| {
        let [key, upload] = ["key", "upload"].map(|member| decision[what][member].as_str().unwrap());
        fixture.runtime.block_on(fixture.objects.abort(key, upload))
    };
    assert!(abort("rejects"), "the upload was open");
    assert!(matches!(attempt(&fixture.healthy(), 2, 1), Ok(Committed::New(_))));
    fixture.check("a new round");
    while fixture.notes() > 0 {
        fixture.healthy().reap(std::time::Duration::ZERO, &[]).unwrap();
    }
    assert!(!abort("output"), "the upload was aborted");
}

#[test]
fn a_document_that_nobody_understands_keeps_only_what_belongs_to_it() {
    let fixture = StorageFixture::new();
    let damaged = "out/_ingest/orders/decisions/other/0000000000000001.000000.json";
    fixture
        .runtime
        .block_on(fixture.objects.put(damaged, r#"{"decision": 1}"#));
    let storage = fixture.healthy();
    dies_while_it_uploads(&storage);
    while fixture.notes() > 0 {
        storage.reap(std::time::Duration::ZERO, &[]).unwrap();
    }
    assert!(fixture.keys().contains(&damaged.to_owned()));
}

#[test]
fn a_decision_of_a_newer_version_is_left_to_a_newer_worker() {
    let fixture = StorageFixture::new();
    let newer = "out/_ingest/orders/decisions/day-1/0000000000000001.000000.json";
    let text = r#"{"decision": 2, "verdict": "other"}"#;
    fixture.runtime.block_on(fixture.objects.put(newer, text));
    let storage = fixture.healthy();
    for error in [
        attempt(&storage, 1, 1).unwrap_err(),
        conclude(&storage, 1).unwrap_err(),
    ] {
        assert_eq!(
            (error.class(), error.code()),
            (Class::Transient, Code::HostOutdated),
            "{error}"
        );
    }
    // The failed attempt removes its uploads in the background.
    while fixture.notes() > 0 {
        std::thread::yield_now();
    }
    // The decision can name any upload.
    dies_while_it_uploads(&storage);
    let written = std::time::Instant::now();
    while written.elapsed() < std::time::Duration::from_millis(5) {
        std::thread::yield_now();
    }
    storage.reap(std::time::Duration::ZERO, &[]).unwrap();
    assert_eq!(fixture.notes(), 1);
}
