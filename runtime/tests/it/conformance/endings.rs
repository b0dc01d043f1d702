//! Tests requests that end without an output: no attempt can commit them afterwards, and nothing of them stays.

use std::time::Duration;

use ingest_host::commit::{self, Committed};
use ingest_host::error::Class;
use ingest_host::format::Format;
use ingest_host::receipt::Report;
use ingest_host::storage::{Concluded, Quarantined};

use super::{
    Place, QUEUE, attempt, check_committed, check_nothing, conclude, output_of, owner, publish, receipt,
    rejects_of, seal, wait_until,
};
use crate::support::receipts::ID;

const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn an_ended_request_stays_ended_until_its_next_life(place: &dyn Place) {
    for _ in 0..2 {
        assert_eq!(conclude(place, 5).unwrap(), Concluded::Ended);
    }
    for life_ms in [4, 5] {
        let error = attempt(place, 1, life_ms).expect_err("the request has ended");
        assert_eq!(error.class(), Class::Permanent, "{}", error.report());
        check_nothing(place);
    }
    assert!(matches!(attempt(place, 2, 6), Ok(Committed::New(_))));
    check_committed(place);
}

pub(crate) fn an_end_that_overtakes_an_attempt_leaves_no_output(place: &dyn Place) {
    let worker = place.open();
    let sealed = seal(worker.storage(), owner(1, 5)).unwrap();
    assert_eq!(conclude(place, 5).unwrap(), Concluded::Ended);
    publish(sealed, 1).expect_err("the request has ended");
    check_nothing(place);
    // The next life is ended while an attempt publishes.
    let sealed = seal(worker.storage(), owner(2, 6)).unwrap();
    let published = commit::publish(sealed, ID, |published| {
        assert_eq!(conclude(place, 6).unwrap(), Concluded::Ended);
        receipt(ID, 2, published)
    });
    let error = published.expect_err("the request has ended");
    assert!(!error.leaves_output(), "{}", error.report());
    check_nothing(place);
}

pub(crate) fn a_late_end_does_not_end_the_next_life(place: &dyn Place) {
    assert_eq!(conclude(place, 6).unwrap(), Concluded::Ended);
    let worker = place.open();
    let sealed = seal(worker.storage(), owner(3, 7)).unwrap();
    assert_eq!(conclude(place, 6).unwrap(), Concluded::Ended);
    if !place.knows_aborted_uploads() {
        return;
    }
    // The late end can have removed what the attempt has uploaded.
    match publish(sealed, 3) {
        Ok(committed) => assert!(matches!(committed, Committed::New(_)), "{committed:?}"),
        Err(error) => {
            assert_eq!(error.class(), Class::Transient, "{}", error.report());
            check_nothing(place);
            assert!(matches!(attempt(place, 4, 7), Ok(Committed::New(_))));
        }
    }
    check_committed(place);
}

pub(crate) fn a_committed_request_does_not_end(place: &dyn Place) {
    attempt(place, 1, 5).unwrap();
    let receipt = check_committed(place);
    let concluded = conclude(place, 5).unwrap();
    assert_eq!(concluded, Concluded::Committed(receipt.clone().into()));
    assert_eq!(check_committed(place), receipt);
}

pub(crate) fn a_refused_output_is_never_visible_and_its_rejects_are_kept(place: &dyn Place) {
    let quarantine = |fence| {
        let worker = place.open();
        let mut sealed = seal(worker.storage(), owner(fence, 1)).unwrap();
        let report = |kept: &_| Report {
            refused: Some("too many".into()),
            code: None,
            receipt: receipt(ID, fence, kept),
        };
        let Quarantined::Report(uri) = sealed.quarantine(ID, Box::new(report)).unwrap() else {
            panic!("a report is written");
        };
        uri
    };
    let uris = [quarantine(3), quarantine(4)];
    assert_eq!(uris[0], uris[1], "the new report replaces the first one");
    check_nothing(place);
    let report = Report::read(&place.read(&uris[1]).unwrap()).unwrap().receipt;
    assert_eq!(report.attempt.fence, 4);
    let rejects = report.rejects.uri.expect("the rejects are kept");
    assert_eq!(place.read(&rejects).unwrap(), rejects_of(4));
    if let Some(output) = report.outputs.first() {
        assert_eq!(place.read(&output.uri).unwrap(), output_of(4));
    }
    // `dead retry` makes the output again.
    assert!(matches!(attempt(place, 5, 2), Ok(Committed::New(_))));
    check_committed(place);
}

pub(crate) fn what_is_not_published_leaves_nothing(place: &dyn Place) {
    let worker = place.open();
    worker.storage().prepare(QUEUE, None).unwrap();
    let before = place.everything();
    let mut running = worker.storage().begin(owner(1, 0), Format::Csv).unwrap();
    running.output().take(&vec![b'x'; 9 << 20]).unwrap();
    running.rejects().unwrap().take(b"x").unwrap();
    drop(running);
    drop(seal(worker.storage(), owner(2, 0)).unwrap());
    check_nothing(place);
    wait_until(|| place.everything() == before);
}

pub(crate) fn what_a_dead_attempt_left_is_removed(place: &dyn Place) {
    attempt(place, 1, 0).unwrap();
    let before = place.everything();
    let worker = place.open();
    let dead = seal(worker.storage(), super::owner_of("day-2", 1, 0)).unwrap();
    std::mem::forget(dead);
    assert_ne!(
        place.everything(),
        before,
        "something shows what the dead attempt left"
    );
    let reap = |older_than| worker.storage().reap(older_than, &[]).unwrap();
    assert_eq!(reap(DAY), 0);
    // A decision that was carried out is removed, too.
    wait_until(|| {
        reap(Duration::ZERO);
        place.everything().iter().all(|uri| before.contains(uri))
    });
    check_committed(place);
}

pub(crate) fn what_an_attempt_at_work_wrote_is_kept(place: &dyn Place) {
    let (worker, reaper) = (place.open(), place.open());
    let sealed = seal(worker.storage(), owner(1, 0)).unwrap();
    // The stores count the age of an object in seconds.
    std::thread::sleep(Duration::from_millis(1_100));
    let reaped = reaper.storage().reap(Duration::ZERO, &[(QUEUE, ID)]).unwrap();
    assert_eq!(reaped, 0);
    assert!(matches!(publish(sealed, 1), Ok(Committed::New(_))));
    check_committed(place);
}
