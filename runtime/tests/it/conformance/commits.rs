//! Tests that one attempt at a request commits, and that nothing changes what its receipt names.

use std::io::Read;
use std::sync::Barrier;

use ingest_host::commit::{self, Committed};
use ingest_host::digest::Digest;
use ingest_host::error::{Class, Code, Stage};
use ingest_host::format::Format;
use ingest_host::stop::Stop;
use ingest_host::storage::FileRole;

use super::{
    Place, QUEUE, attempt, check_committed, check_nothing, output_of, owner, publish, receipt, receipt_at,
    seal, sha256,
};
use crate::support::inputs::digest;
use crate::support::receipts::{ID, SUBMITTED_AT};

/// More bytes than a part of an upload has.
const LONG: usize = 9 << 20;

pub(crate) fn an_output_its_rejects_and_its_receipt_appear(place: &dyn Place) {
    let worker = place.open();
    let mut attempt = worker.storage().begin(owner(7, 0), Format::Csv).unwrap();
    let output: Vec<u8> = std::iter::repeat_n(b"0123456\n", LONG / 8)
        .flatten()
        .copied()
        .collect();
    // Some writes are smaller than the buffers, and some are larger.
    let (mut rest, mut size) = (output.as_slice(), 1);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        attempt.output().take(piece).unwrap();
        (rest, size) = (after, size * 8);
    }
    assert_eq!(attempt.output().bytes(), output.len() as u64);
    attempt.rejects().unwrap().take(b"rejects\n").unwrap();
    let sealed = attempt.seal().unwrap();
    let digest = digest(&output);
    assert_eq!(sealed.digest(FileRole::Output), Some(&digest));
    check_nothing(place);

    let Committed::New(made) = publish(sealed, 7).unwrap() else {
        panic!("there was no receipt");
    };
    assert_eq!(check_committed(place), made);
    assert_eq!(made.outputs[0].sha256, digest.sha256);
    assert!(made.outputs[0].uri.ends_with("/orders/day-1.csv"), "{made:?}");
    assert_eq!(made.rejects.sha256, Some(sha256(b"rejects\n")));
    let other = place.open();
    let storage = other.storage();
    let found = |submitted_at| storage.committed(QUEUE, ID, submitted_at).unwrap();
    assert_eq!(found(SUBMITTED_AT).as_ref(), Some(&made));
    assert_eq!(found("2026-02-01T00:00:00Z"), None);
    // `has_bytes` compares what the receipt names.
    let has = |uri: &str, expected: &Digest| storage.has_bytes(QUEUE, FileRole::Output, uri, expected);
    let (uri, other_digest) = (&made.outputs[0].uri, self::digest(b"other"));
    assert_eq!(has(uri, &digest).unwrap(), Some(true));
    assert_eq!(has(uri, &other_digest).unwrap(), Some(false));
    assert_eq!(has(&uri.replace("day-1", "day-2"), &digest).unwrap(), None);
}

pub(crate) fn committed_rejects_can_be_read_again(place: &dyn Place) {
    let worker = place.open();
    let mut attempt = worker.storage().begin(owner(1, 0), Format::Csv).unwrap();
    // More bytes than one call to a store returns.
    let rejects: Vec<u8> = (0..LONG as u32 / 4).flat_map(u32::to_le_bytes).collect();
    attempt.output().take(b"a\n").unwrap();
    attempt.rejects().unwrap().take(&rejects).unwrap();
    publish(attempt.seal().unwrap(), 1).unwrap();
    let uri = check_committed(place).rejects.uri.unwrap();
    let other = place.open();
    let open = |uri: &str| {
        other
            .storage()
            .open_rejects(QUEUE, uri, &Stop::default())
            .unwrap()
    };
    let mut read = Vec::new();
    open(&uri).unwrap().read_to_end(&mut read).unwrap();
    assert!(read == rejects, "{} bytes of {}", read.len(), rejects.len());
    assert!(open(&uri.replace("day-1", "day-2")).is_none());
    place.remove(&uri);
    assert!(open(&uri).is_none());
}

pub(crate) fn without_rejects_there_is_no_object_of_them(place: &dyn Place) {
    let worker = place.open();
    let mut attempt = worker.storage().begin(owner(1, 0), Format::Jsonl).unwrap();
    attempt.rejects().unwrap().take(b"").unwrap();
    let sealed = attempt.seal().unwrap();
    assert_eq!(sealed.digest(FileRole::Rejects), None);
    publish(sealed, 1).unwrap();
    let receipt = check_committed(place);
    assert_eq!((receipt.outputs[0].bytes, receipt.rejects.uri), (0, None));
    assert!(receipt.outputs[0].uri.ends_with("/orders/day-1.jsonl"));
    let everything = place.everything();
    assert!(
        !everything.iter().any(|uri| uri.contains("rejects.csv")),
        "{everything:?}"
    );
}

pub(crate) fn the_same_request_is_done_once(place: &dyn Place) {
    let Committed::New(first) = attempt(place, 1, 0).unwrap() else {
        panic!("there was no receipt");
    };
    for fence in [1, 2, 3] {
        let again = attempt(place, fence, 0).unwrap();
        assert_eq!(again, Committed::Existing(first.clone()));
        assert_eq!(check_committed(place), first);
    }
}

pub(crate) fn other_work_under_a_used_id_is_a_conflict_and_changes_nothing(place: &dyn Place) {
    attempt(place, 1, 0).unwrap();
    let before = check_committed(place);
    let worker = place.open();
    let sealed = seal(worker.storage(), owner(2, 0)).unwrap();
    let conflict = commit::publish(sealed, ID, |published| {
        let mut receipt = receipt(ID, 2, published);
        receipt.request.submitted_at = "2026-02-01T00:00:00Z".into();
        receipt
    });
    let error = conflict.expect_err("a conflict");
    assert_eq!((error.stage(), error.class()), (Stage::Commit, Class::Permanent));
    assert!(
        error.to_string().contains("is a receipt for other work"),
        "{error}"
    );
    assert_eq!(check_committed(place), before);
}

pub(crate) fn of_many_attempts_one_commits(place: &dyn Place) {
    let barrier = Barrier::new(6);
    let results: Vec<_> = std::thread::scope(|scope| {
        let attempts: Vec<_> = (1..=6)
            .map(|fence| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let worker = place.open();
                    let sealed = seal(worker.storage(), owner(fence, 0));
                    barrier.wait();
                    sealed.and_then(|sealed| publish(sealed, fence))
                })
            })
            .collect();
        attempts
            .into_iter()
            .map(|attempt| attempt.join().unwrap())
            .collect()
    });
    let is_new = |result: &&_| matches!(result, Ok(Committed::New(_)));
    assert!(results.iter().filter(is_new).count() <= 1, "{results:?}");
    // If each attempt has stopped another one, the next attempt commits.
    attempt(place, 7, 0).unwrap();
    let receipt = check_committed(place);
    for result in &results {
        match result {
            Ok(Committed::New(found) | Committed::Existing(found)) => assert_eq!(*found, receipt),
            Err(error) => assert_eq!(error.class(), Class::LeaseLost, "{}", error.report()),
        }
    }
}

pub(crate) fn a_zombie_that_publishes_late_changes_nothing(place: &dyn Place) {
    let (first, second) = (place.open(), place.open());
    let zombie = seal(first.storage(), owner(1, 0)).unwrap();
    let winner = seal(second.storage(), owner(2, 0)).unwrap();
    assert!(matches!(publish(winner, 2), Ok(Committed::New(_))));
    let receipt = check_committed(place);
    assert_eq!(receipt.attempt.fence, 2);
    assert_eq!(publish(zombie, 1).unwrap(), Committed::Existing(receipt.clone()));
    assert_eq!(check_committed(place), receipt);
}

pub(crate) fn an_attempt_that_is_overtaken_while_it_publishes_changes_nothing(place: &dyn Place) {
    let worker = place.open();
    let zombie = seal(worker.storage(), owner(1, 0)).unwrap();
    let published = commit::publish(zombie, ID, |published| {
        assert!(matches!(attempt(place, 2, 0), Ok(Committed::New(_))));
        receipt(ID, 1, published)
    });
    let receipt = check_committed(place);
    assert_eq!(receipt.attempt.fence, 2);
    match published {
        Ok(found) => assert_eq!(found, Committed::Existing(receipt)),
        Err(error) => assert_eq!(error.class(), Class::LeaseLost, "{}", error.report()),
    }
}

pub(crate) fn what_is_not_of_this_request_is_never_replaced(place: &dyn Place) {
    let strange = place.put_output("day-1.csv", b"a stranger's");
    match attempt(place, 1, 0) {
        // The output has another name.
        Ok(Committed::New(receipt)) => {
            assert_ne!(receipt.outputs[0].uri, strange);
            assert_eq!(place.read(&receipt.outputs[0].uri), Some(output_of(1)));
        }
        Ok(Committed::Existing(receipt)) => panic!("{receipt:?}"),
        Err(error) => {
            assert_eq!(
                (error.class(), error.code()),
                (Class::Permanent, Code::OutputExists)
            );
            assert_eq!(receipt_at(place, ID), None);
        }
    }
    assert_eq!(place.read(&strange).unwrap(), b"a stranger's");
}

pub(crate) fn work_that_was_done_before_is_found(place: &dyn Place) {
    let done_before = |is_same| commit::done_before(place.open().storage(), &owner(2, 1), |_| is_same);
    assert_eq!(done_before(true).unwrap(), None);
    attempt(place, 1, 1).unwrap();
    let receipt = check_committed(place);
    assert_eq!(done_before(true).unwrap().as_ref(), Some(&receipt));
    assert_eq!(done_before(false).unwrap(), None);
    place.remove(&receipt.outputs[0].uri);
    assert_eq!(done_before(true).unwrap_err().code(), Code::OutputMissing);
}
