//! Tests the commit of requests: attempts that die, sleep or run at the same time, and ends of requests. After each
//! call to the store, the outputs are listed, as a reader would list them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ingest_host::commit::{self, Committed};
use ingest_host::error::{Class, Code, Result};
use ingest_host::format::Format;
use ingest_host::memory::MemoryBudget;
use ingest_host::receipt::Receipt;
use ingest_host::stop::Stop;
use ingest_host::storage::object::ObjectStorage;
use ingest_host::storage::{CheckpointFault, Concluded, Quarantined, SealedAttempt, Storage};

use super::steered_store::{Fault, Steering};
use super::{
    BUCKET, OUTPUT, PART_BYTES, QUEUE, RECEIPT, StorageFixture, Uploads, attempt, attempt_within, conclude,
    dies_after_its_decision, owner, quarantine,
};
use crate::support::checkpoints::must_resume;
use crate::support::inputs::sha256;
use crate::support::receipts::{ID, receipt};

#[test]
fn a_commit_leaves_an_output_and_a_receipt_and_no_notes() {
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
fn a_reserved_queue_name_is_refused() {
    let fixture = StorageFixture::new();
    let storage = fixture.healthy();
    for queue in ["_ingest", "receipts", "decisions", "uploads"] {
        let error = storage.check_queue(queue).expect_err(queue);
        assert_eq!(error.code(), Code::NameInvalid, "{error}");
    }
    storage.check_queue("staging").unwrap();
}

#[test]
fn an_object_of_another_program_is_never_replaced() {
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
fn concurrent_attempts_share_one_receipt() {
    for fixture in (0..10).flat_map(|_| StorageFixture::all()) {
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

/// The step that follows after a fault has hit an attempt at a request.
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
fn after_any_fault_a_request_has_one_output_or_none() {
    for fixture in StorageFixture::all() {
        // An attempt without a fault shows how many calls an attempt makes.
        let counted = Steering::new(None);
        let kind = format!(
            "{:?}",
            (
                fixture.uploads,
                fixture.rejects.as_ref().map(|(_, uploads)| uploads)
            )
        );
        attempt(&fixture.storage(&counted), 1, 0).unwrap();
        let calls = counted.calls();
        assert!(calls > 15, "{calls}");

        let mut committed = 0;
        for call in 0..calls {
            for fault in Fault::ALL {
                for sequel in [Sequel::Again, Sequel::Cancelled, Sequel::Retried] {
                    let what = format!("{kind}, call {call} {fault:?}, then {sequel:?}");
                    let fixture = fixture.another();
                    committed += usize::from(run_case(&fixture, call, fault, sequel, &what));
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
fn run_case(fixture: &StorageFixture, call: usize, fault: Fault, sequel: Sequel, what: &str) -> bool {
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
    // A process that looks later finds the same receipt, or no receipt either.
    let later = fixture
        .healthy()
        .committed(QUEUE, ID, "2026-01-01T00:00:00Z")
        .unwrap();
    assert_eq!(later, receipt, "{what}");
    receipt.is_some()
}

#[test]
fn a_store_that_does_not_answer_does_not_keep_an_attempt_that_has_to_stop() {
    let cases = |kind: StorageFixture| {
        // A worker prepares its storage before its first attempt.
        let prepared = Steering::new(None);
        kind.storage(&prepared).prepare(QUEUE, None).unwrap();
        let first = prepared.calls();
        let case = move |(call, fault)| (kind.another(), first + call, fault);
        (0..20)
            .flat_map(|call| Fault::HANGS.map(|fault| (call, fault)))
            .map(case)
    };
    let cases: Vec<_> = StorageFixture::all().flat_map(cases).collect();
    let hung = AtomicUsize::new(0);
    // An attempt takes some seconds after its stop, so all cases run at once.
    std::thread::scope(|scope| {
        for (fixture, call, fault) in &cases {
            let hung = &hung;
            scope.spawn(move || {
                let what = format!("call {call}, {fault:?}");
                let steering = Steering::new(Some((*call, *fault)));
                let stop = Stop::default();
                let later = stop.clone();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(300));
                    later.request(Class::Cancelled, "the worker stops");
                });
                let memory = MemoryBudget::new(1 << 20).share(&stop);
                let began = Instant::now();
                let storage = fixture.storage(&steering);
                storage.prepare(QUEUE, None).unwrap();
                let first = attempt_within(&storage, 1, 1, &memory);
                assert!(
                    began.elapsed() < Duration::from_secs(60),
                    "{what}: {:?}",
                    began.elapsed()
                );
                let has_hung = steering.calls() > *call;
                hung.fetch_add(usize::from(has_hung), Ordering::Relaxed);
                assert!(has_hung || first.is_ok(), "{what}: {first:?}");
                let second = attempt(&fixture.healthy(), 2, 1);
                assert!(second.is_ok(), "{what}: {second:?}");
                fixture.check(&what);
            });
        }
    });
    assert!(hung.into_inner() > cases.len() / 3);
}

/// Wakes the sleeping process when this is dropped, even if the test fails.
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
fn a_resumed_upload_sends_no_covered_part_again() {
    for fixture in StorageFixture::all() {
        a_checkpoint_continues(&fixture);
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

    // A store that does not answer is no reason to begin at the start of the input.
    let away = fixture.storage(&Steering::new(Some((0, Fault::DiesBefore))));
    let fault = away.find_checkpoint(QUEUE, ID).err().expect("the store is away");
    assert!(
        matches!(&fault, CheckpointFault::NoAnswer(error) if error.class() == Class::Transient),
        "{fault:?}"
    );

    let counted = Steering::new(None);
    let storage = fixture.storage(&counted);
    let (progress, mut second) = must_resume(&storage, owner(2, 1));
    assert_eq!(progress, "half");
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
fn a_shared_upload_survives_the_refusal_of_one_attempt() {
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
    let (_, second) = must_resume(&storage, owner(2, 1));
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

#[test]
fn finished_work_is_found_without_an_upload() {
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
fn a_removed_output_gets_a_new_round() {
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

#[test]
fn a_decision_whose_blocks_are_gone_is_followed_by_a_new_round() {
    let fixture = dies_after_its_decision(&StorageFixture::of(Uploads::ByBlocks));
    fixture.objects.remove_blocks();
    let Ok(Committed::New(receipt)) = attempt(&fixture.healthy(), 2, 1) else {
        panic!("the second attempt commits its own output");
    };
    assert_eq!(receipt.attempt.fence, 2);
    fixture.check("a new round");
}

#[test]
fn an_upload_that_cannot_be_aborted_waits_until_a_foreign_object_is_gone() {
    let fixture = dies_after_its_decision(&StorageFixture::of(Uploads::ByBlocks));
    let foreign = fixture.objects.put(OUTPUT, "a stranger's");
    fixture.runtime.block_on(foreign);
    // The first attempt could complete its blocks at any time. So the request can end only with its commit.
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
fn an_upload_stays_while_another_call_for_its_object_runs() {
    let fixture = dies_after_its_decision(&StorageFixture::of(Uploads::ById));
    let runtime = fixture.runtime.handle().clone();
    let busy = fixture.objects.connect_to_busy_store();
    let busy = ObjectStorage::new(busy, BUCKET.to_owned(), "out", PART_BYTES, runtime).unwrap();
    // The other call can come from a worker that completes the upload. So the request can end only with this commit.
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
        fixture.objects.connect_to_forgetful_store(),
        fixture.runtime.handle().clone(),
    );
    let forgetful = ObjectStorage::new(store, BUCKET.to_owned(), "out", PART_BYTES, runtime).unwrap();
    let committed = attempt(&forgetful, 2, 2).unwrap();
    assert!(matches!(committed, Committed::New(_)), "{committed:?}");
    let output = fixture.read(OUTPUT).expect("the output exists");
    assert_eq!(sha256(&output), fixture.receipt().unwrap().outputs[0].sha256);
}

#[test]
fn one_lost_answer_does_not_end_a_starting_worker() {
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
