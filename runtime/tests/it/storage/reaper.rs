//! Tests which leftovers of dead attempts the reaper removes, and which ones it must keep.

use ingest_host::commit::Committed;
use ingest_host::error::{Class, Code};
use ingest_host::format::Format;
use ingest_host::storage::Storage;

use super::{QUEUE, StorageFixture, Uploads, attempt, conclude, dies_after_its_decision, owner};
use crate::support::host::wait_for;
use crate::support::receipts::ID;

/// Leaves an upload and its note, as a dying attempt does.
fn dies_while_it_uploads(storage: &dyn Storage) {
    let mut attempt = storage.begin(owner(1, 1), Format::Csv).unwrap();
    attempt.output().take(&[b'a'; 100]).unwrap();
    // A checkpoint sends the buffered bytes to the store. Without it, the upload would not begin.
    attempt.checkpoint(Box::new(String::new)).unwrap();
    std::mem::forget(attempt);
}

#[test]
fn uploads_of_dead_attempts_are_aborted() {
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
fn uploads_of_an_open_decision_are_kept() {
    for uploads in Uploads::ALL {
        let fixture = dies_after_its_decision(&StorageFixture::of(uploads));
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
fn uploads_of_an_impossible_decision_are_aborted_after_the_receipt() {
    let fixture = dies_after_its_decision(&StorageFixture::of(Uploads::ById));
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
fn an_unreadable_decision_protects_only_its_request() {
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
