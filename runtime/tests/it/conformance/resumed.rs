//! Tests checkpoints: another worker continues where an attempt has stopped.

use ingest_host::commit::Committed;
use ingest_host::format::Format;
use ingest_host::storage::Attempt;

use super::{Place, QUEUE, check_committed, owner, publish, wait_until};
use crate::support::checkpoints::must_resume;
use crate::support::receipts::ID;

/// More bytes than a part of an upload has.
const LONG: usize = 9 << 20;

/// Makes a checkpoint of the bytes that were written so far, and waits until it exists.
fn write_checkpoint(attempt: &mut dyn Attempt) {
    attempt.checkpoint(Box::new(|| "half".to_owned())).unwrap();
    wait_until(|| {
        attempt.output();
        attempt.has_checkpoint()
    });
}

pub(crate) fn a_checkpoint_is_resumed_by_another_worker(place: &dyn Place) {
    let worker = place.open();
    assert!(worker.storage().find_checkpoint(QUEUE, ID).unwrap().is_none());
    let mut first = worker.storage().begin(owner(1, 1), Format::Csv).unwrap();
    first.output().take(&vec![b'a'; LONG]).unwrap();
    first.rejects().unwrap().take(b"first\n").unwrap();
    write_checkpoint(&mut *first);
    // The checkpoint does not cover these bytes.
    first.output().take(&vec![b'z'; LONG]).unwrap();
    first.rejects().unwrap().take(b"lost\n").unwrap();
    first.keep();

    let other = place.open();
    let storage = other.storage();
    let (progress, mut second) = must_resume(storage, owner(2, 1));
    assert_eq!(progress, "half");
    assert_eq!(second.output().bytes(), LONG as u64);
    second.output().take(&vec![b'b'; LONG]).unwrap();
    second.rejects().unwrap().take(b"second\n").unwrap();
    let committed = publish(second.seal().unwrap(), 2);
    assert!(matches!(committed, Ok(Committed::New(_))), "{committed:?}");
    let receipt = check_committed(place);
    let expected = [vec![b'a'; LONG], vec![b'b'; LONG]].concat();
    assert!(place.read(&receipt.outputs[0].uri).unwrap() == expected);
    let rejects = place.read(&receipt.rejects.uri.unwrap()).unwrap();
    assert_eq!(rejects, b"first\nsecond\n");
    assert!(storage.find_checkpoint(QUEUE, ID).unwrap().is_none());
}

pub(crate) fn an_attempt_that_fails_late_leaves_what_its_successor_continues(place: &dyn Place) {
    let (worker, other) = (place.open(), place.open());
    let mut first = worker.storage().begin(owner(1, 1), Format::Csv).unwrap();
    first.output().take(&vec![b'a'; LONG]).unwrap();
    write_checkpoint(&mut *first);
    let (_, mut second) = must_resume(other.storage(), owner(2, 1));
    drop(first);
    second.output().take(&vec![b'b'; LONG]).unwrap();
    let committed = publish(second.seal().unwrap(), 2);
    assert!(matches!(committed, Ok(Committed::New(_))), "{committed:?}");
    let receipt = check_committed(place);
    assert_eq!(receipt.outputs[0].bytes, 2 * LONG as u64);
}

pub(crate) fn a_forgotten_checkpoint_is_gone(place: &dyn Place) {
    let worker = place.open();
    worker.storage().prepare(QUEUE, None).unwrap();
    let before = place.everything();
    let mut first = worker.storage().begin(owner(1, 1), Format::Csv).unwrap();
    first.output().take(&vec![b'a'; LONG]).unwrap();
    write_checkpoint(&mut *first);
    first.keep();
    let other = place.open();
    assert!(other.storage().find_checkpoint(QUEUE, ID).unwrap().is_some());
    other.storage().forget_checkpoint(QUEUE, ID);
    assert!(other.storage().find_checkpoint(QUEUE, ID).unwrap().is_none());
    wait_until(|| place.everything() == before);
}
