//! Tests rejects in a bucket other than that of the outputs.

use std::sync::Arc;

use ingest_host::commit::{self, Committed};
use ingest_host::error::{Class, Code};
use ingest_host::format::Format;
use ingest_host::storage::object::ObjectStorage;
use ingest_host::storage::{Concluded, Resumed, Storage};

use super::steered_store::Steering;
use super::{
    BUCKET, PART_BYTES, QUEUE, REJECTS_BUCKET, StorageFixture, Uploads, attempt, conclude,
    dies_after_its_decision, owner,
};
use crate::support::checkpoints::{must_resume, resume};
use crate::support::receipts::{ID, receipt};

#[test]
fn rejects_whose_upload_is_gone_are_made_again_in_a_new_round() {
    for uploads in Uploads::ALL {
        let fixture = dies_after_its_decision(&StorageFixture::with_rejects(uploads, Uploads::ByBlocks));
        let (of_rejects, _) = fixture.rejects.as_ref().unwrap();
        of_rejects.remove_blocks();
        let Ok(Committed::New(receipt)) = attempt(&fixture.healthy(), 2, 1) else {
            panic!("the second attempt commits its own output");
        };
        assert_eq!(receipt.attempt.fence, 2);
        assert_eq!(
            receipt.rejects.uri.as_deref(),
            Some("gs://refused/bad/orders/day-1.2.rejects.csv")
        );
        fixture.check("a new round");
    }
}

#[test]
fn only_a_worker_with_the_same_place_for_rejects_carries_a_decision_out() {
    let kind = StorageFixture::with_rejects(Uploads::ById, Uploads::ById);
    let fixture = dies_after_its_decision(&kind);
    let former = fixture.healthy();
    let moved = StorageFixture {
        runtime: tokio::runtime::Runtime::new().unwrap(),
        objects: Arc::clone(&fixture.objects),
        uploads: Uploads::ById,
        rejects: None,
    };
    let other = moved.healthy();
    // The queue lets only workers with the same id take over a request of a lost worker.
    assert_ne!(former.identity().unwrap(), other.identity().unwrap());
    assert!(former.identity().unwrap().starts_with(&other.identity().unwrap()));
    for _ in 0..2 {
        for error in [
            attempt(&other, 2, 1).map(drop).expect_err("an attempt"),
            conclude(&other, 1).map(drop).expect_err("an end"),
            other.receipt(QUEUE, ID).map(drop).expect_err("a look-up"),
        ] {
            assert_eq!(
                (error.class(), error.code()),
                (Class::Transient, Code::RejectsElsewhere)
            );
            assert!(error.leaves_output(), "nobody may treat the request as ended");
            let place = "gs://refused/bad/orders/day-1.1.rejects.csv";
            assert!(error.report().contains(place), "{}", error.report());
        }
        // The uploads are kept, however old they are.
        other.reap(std::time::Duration::ZERO, &[]).unwrap();
    }
    moved.check("moved");
    let Ok(Concluded::Committed(receipt)) = conclude(&former, 1) else {
        panic!("the decision is carried out");
    };
    assert_eq!(receipt.attempt.fence, 1);
    fixture.check("carried out");

    let done_before = |storage| commit::done_before(storage, &owner(2, 2), |_| true);
    assert_eq!(
        done_before(&former as &dyn Storage).unwrap().as_ref(),
        Some(&*receipt)
    );
    let error = done_before(&other).expect_err("the rejects cannot be compared");
    assert_eq!(error.code(), Code::RejectsElsewhere);
}

#[test]
fn a_checkpoint_with_rejects_elsewhere_is_not_resumed() {
    let fixture = StorageFixture::with_rejects(Uploads::ById, Uploads::ById);
    let mut first = fixture.healthy().begin(owner(1, 1), Format::Csv).unwrap();
    first.output().take(&[b'a'; 100]).unwrap();
    first.rejects().unwrap().take(&[b'r'; 100]).unwrap();
    first.checkpoint(Box::new(|| "half".to_owned())).unwrap();
    while !first.has_checkpoint() {
        first.output();
        std::thread::yield_now();
    }
    first.keep();
    let (of_rejects, _) = fixture.rejects.as_ref().unwrap();
    let steering = Steering::new(None);
    let with_rejects_in = |bucket: &str, prefix| {
        let (store, runtime) = (
            fixture.objects.connect(&steering),
            fixture.runtime.handle().clone(),
        );
        let storage = ObjectStorage::new(store, BUCKET.to_owned(), "out", PART_BYTES, runtime).unwrap();
        let store = of_rejects.connect(&steering);
        storage.with_rejects(store, bucket.to_owned(), prefix).unwrap()
    };
    for (bucket, prefix) in [(REJECTS_BUCKET, "other"), ("gs://other", "bad")] {
        let (_, Resumed::Refused(why)) = resume(&with_rejects_in(bucket, prefix), owner(2, 1)) else {
            panic!("{bucket}/{prefix}: the rejects would be at the former place");
        };
        assert!(why.contains("another place"), "{why}");
    }
    let healthy = fixture.healthy();
    let (_, second) = must_resume(&healthy, owner(2, 1));
    let committed = commit::publish(second.seal().unwrap(), ID, |published| receipt(2, published));
    assert!(matches!(committed, Ok(Committed::New(_))));
    fixture.check("resumed");
}
