//! Tests what a reader sees that lists the outputs, and what workers find that open the place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use ingest_host::commit;
use ingest_host::error::{Class, Stage};

use super::{Place, conclude_one, output_of, owner_of, receipt, receipt_at, seal, sha256};

/// The number of requests that are worked on while the reader lists.
const REQUESTS: usize = 6;

/// The number of attempts at each request.
const ATTEMPTS: u64 = 4;

pub(crate) fn a_reader_that_lists_sees_whole_outputs_of_one_attempt(place: &dyn Place) {
    let is_over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let reader = scope.spawn(|| watch(place, &is_over));
        let ending = SetOnDrop(&is_over);
        for request in 0..REQUESTS {
            work_on(place, &format!("r{request}"));
        }
        drop(ending);
        reader.join().unwrap()
    });
    let mut named = BTreeSet::new();
    for request in 0..REQUESTS {
        if let Some(receipt) = receipt_at(place, &format!("r{request}")) {
            named.insert((receipt.outputs[0].uri.clone(), receipt.outputs[0].sha256.clone()));
        }
    }
    // Each second request is committed, and some of the others can be, too.
    assert!(named.len() >= REQUESTS / 2, "{named:?}");
    let now = place.outputs();
    assert_eq!(
        now.iter().collect::<BTreeSet<_>>(),
        named.iter().map(|(uri, _)| uri).collect()
    );
    if place.hides_outputs_without_receipt() {
        let orphans: Vec<_> = seen.difference(&named).collect();
        assert!(orphans.is_empty(), "{orphans:?}");
    }
}

/// Ends the reader when this is dropped, also if the test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs several attempts at a request at the same time. One of them dies, and each second request is ended meanwhile.
fn work_on(place: &dyn Place, id: &str) {
    std::thread::scope(|scope| {
        for fence in 1..=ATTEMPTS {
            scope.spawn(move || {
                let worker = place.open();
                let Ok(sealed) = seal(worker.storage(), owner_of(id, fence, 1)) else {
                    return;
                };
                match fence {
                    1 => std::mem::forget(sealed),
                    // An attempt that another one has overtaken fails.
                    _ => drop(commit::publish(sealed, id, |published| {
                        receipt(id, fence, published)
                    })),
                }
            });
        }
        if id.ends_with(['1', '3', '5']) {
            scope.spawn(move || conclude_one(place, id, 1).unwrap());
        }
    });
    if id.ends_with(['0', '2', '4']) {
        let worker = place.open();
        let sealed = seal(worker.storage(), owner_of(id, ATTEMPTS + 1, 1)).unwrap();
        commit::publish(sealed, id, |published| receipt(id, ATTEMPTS + 1, published)).unwrap();
    }
}

/// Lists and reads the outputs until the work is over. Returns the URI and the digest of each output that was seen.
fn watch(place: &dyn Place, is_over: &AtomicBool) -> BTreeSet<(String, String)> {
    let whole: BTreeSet<_> = (1..=ATTEMPTS + 1)
        .map(|fence| sha256(&output_of(fence)))
        .collect();
    let mut seen = BTreeSet::new();
    loop {
        let is_last = is_over.load(Ordering::Acquire);
        let mut of_request = BTreeMap::new();
        for uri in place.outputs() {
            let name = uri.rsplit('/').next().unwrap();
            let id = name.split(['.', '~']).next().unwrap().to_owned();
            let other = of_request.insert(id, uri.clone());
            assert_eq!(other, None, "two outputs of one request: {uri}");
            // The output may have been removed since it was listed.
            if let Some(bytes) = place.read(&uri) {
                let digest = sha256(&bytes);
                assert!(
                    whole.contains(&digest),
                    "{uri} is not whole: {}",
                    String::from_utf8_lossy(&bytes)
                );
                seen.insert((uri, digest));
            }
        }
        if is_last {
            return seen;
        }
    }
}

pub(crate) fn all_workers_find_the_same_identity(place: &dyn Place) {
    let identities: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| place.open().storage().identity().unwrap()))
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert!(
        identities.iter().all(|found| *found == identities[0]),
        "{identities:?}"
    );
    let worker = place.open();
    assert_eq!(worker.storage().identity().unwrap(), identities[0]);
    worker.storage().check_identity().unwrap();
}

pub(crate) fn names_that_cannot_be_queues_are_refused(place: &dyn Place) {
    let worker = place.open();
    let storage = worker.storage();
    for queue in ["", "a/b", "../x", "_ingest", ".hidden"] {
        let error = storage.check_queue(queue).expect_err(queue);
        assert_eq!(
            (error.stage(), error.class()),
            (Stage::Config, Class::Permanent),
            "{queue}"
        );
        storage.prepare(queue, None).expect_err(queue);
    }
    storage.check_queue(super::QUEUE).unwrap();
    storage.prepare(super::QUEUE, None).unwrap();
    // A worker that starts again prepares the place again.
    place.open().storage().prepare(super::QUEUE, None).unwrap();
}
