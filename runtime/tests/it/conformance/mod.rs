//! Tests the promises of `storage/mod.rs`. Each test gets a place that no other test uses, and knows nothing of the kind
//! of storage. The macro `on_each` runs all tests on each kind. In the same way, the macro `on_each_store` runs tests of
//! inputs on each kind of object store, and `workers.rs` has a test of whole workers.
//!
//! Two programs include this folder: `it` for local folders and the servers within its own process, and `stores` for the
//! servers that scripts/stores.sh installs.

pub(crate) mod commits;
pub(crate) mod endings;
#[macro_use]
pub(crate) mod inputs;
pub(crate) mod places;
pub(crate) mod readers;
pub(crate) mod resumed;
pub(crate) mod workers;

use ingest_host::commit::{self, Committed, Destination};
use ingest_host::error::Result;
use ingest_host::format::Format;
use ingest_host::receipt::Receipt;
use ingest_host::storage::{Concluded, EndedRequest, Owner, Published, SealedAttempt, Storage};

use crate::support::host::wait_for;
use crate::support::inputs::sha256;
use crate::support::receipts::{self, ID, SUBMITTED_AT};

/// Runs each test of the suite on each of these kinds of places. The expression after a kind's name makes a new place.
macro_rules! on_each {
    ($($kind:ident: $place:expr;)+) => {$(
        mod $kind {
            on_each! { @tests $place;
                commits: an_output_its_rejects_and_its_receipt_appear, committed_rejects_can_be_read_again, without_rejects_there_is_no_object_of_them,
                    the_same_request_is_done_once, other_work_under_a_used_id_is_a_conflict_and_changes_nothing,
                    of_many_attempts_one_commits, a_zombie_that_publishes_late_changes_nothing,
                    an_attempt_that_is_overtaken_while_it_publishes_changes_nothing,
                    what_is_not_of_this_request_is_never_replaced, work_that_was_done_before_is_found;
                endings: an_ended_request_stays_ended_until_its_next_life,
                    an_end_that_overtakes_an_attempt_leaves_no_output, a_late_end_does_not_end_the_next_life,
                    a_committed_request_does_not_end,
                    a_refused_output_is_never_visible_and_its_rejects_are_kept,
                    what_is_not_published_leaves_nothing, what_a_dead_attempt_left_is_removed,
                    what_an_attempt_at_work_wrote_is_kept;
                readers: a_reader_that_lists_sees_whole_outputs_of_one_attempt,
                    all_workers_find_the_same_identity, names_that_cannot_be_queues_are_refused;
                resumed: a_checkpoint_is_resumed_by_another_worker,
                    an_attempt_that_fails_late_leaves_what_its_successor_continues, a_forgotten_checkpoint_is_gone;
            }
        }
    )+};
    (@tests $place:expr; $($file:ident: $($test:ident),+;)+) => {$($(
        #[test]
        fn $test() {
            $crate::conformance::$file::$test(&$place);
        }
    )+)+};
}

pub(crate) const QUEUE: &str = "orders";

/// A place for outputs, and a view of it that does not use the storage.
pub(crate) trait Place: Send + Sync {
    /// Opens the place as a worker on another machine would: no state is shared with earlier workers.
    fn open(&self) -> Destination;

    /// Returns the URIs of all outputs of the queue [`QUEUE`], as a reader finds them that lists them.
    fn outputs(&self) -> Vec<String>;

    /// Returns the URIs of all files or objects of the place, of every kind.
    fn everything(&self) -> Vec<String>;

    /// Returns the bytes of a file or object, or `None` if there is none.
    fn read(&self, uri: &str) -> Option<Vec<u8>>;

    /// Writes an output of the queue [`QUEUE`] as a stranger, and returns its URI.
    fn put_output(&self, name: &str, bytes: &[u8]) -> String;

    /// Removes a file or object.
    fn remove(&self, uri: &str);

    /// Returns true if no reader ever sees an output that no receipt will name. In local folders, an output becomes
    /// visible shortly before its receipt, and is removed again if there will be none.
    fn hides_outputs_without_receipt(&self) -> bool;

    /// Returns false if the server answers with a failure when a client completes an aborted upload.
    fn knows_aborted_uploads(&self) -> bool {
        true
    }
}

/// Returns the owner of an attempt at the request [`ID`].
fn owner(fence: u64, life_ms: i64) -> Owner {
    owner_of(ID, fence, life_ms)
}

fn owner_of(id: &str, fence: u64, life_ms: i64) -> Owner {
    Owner {
        queue: Some(QUEUE.into()),
        id: Some(id.into()),
        fence,
        life_ms,
        is_contested: fence > 1,
    }
}

/// Returns the output of an attempt: several lines that name the attempt.
fn output_of(fence: u64) -> Vec<u8> {
    format!("attempt\n{}end\n", format!("{fence}\n").repeat(50)).into_bytes()
}

fn rejects_of(fence: u64) -> Vec<u8> {
    format!("rejects of {fence}\n").into_bytes()
}

/// Runs an attempt up to its seal.
fn seal(storage: &dyn Storage, owner: Owner) -> Result<Box<dyn SealedAttempt>> {
    let fence = owner.fence;
    let mut attempt = storage.begin(owner, Format::Csv)?;
    attempt.output().take(&output_of(fence))?;
    attempt.rejects()?.take(&rejects_of(fence))?;
    attempt.seal()
}

/// Publishes an attempt at the request [`ID`], and creates its receipt.
fn publish(sealed: Box<dyn SealedAttempt>, fence: u64) -> Result<Committed> {
    commit::publish(sealed, ID, |published| receipt(ID, fence, published))
}

fn receipt(id: &str, fence: u64, published: &Published) -> Receipt {
    let mut receipt = receipts::receipt(fence, published);
    receipt.request.id = id.to_owned();
    receipt
}

/// Runs an attempt at the request [`ID`] from its first byte to its receipt, in a worker of its own.
fn attempt(place: &dyn Place, fence: u64, life_ms: i64) -> Result<Committed> {
    let worker = place.open();
    publish(seal(worker.storage(), owner(fence, life_ms))?, fence)
}

/// Ends a life of the request [`ID`], in a worker of its own.
fn conclude(place: &dyn Place, life_ms: i64) -> Result<Concluded> {
    conclude_one(place, ID, life_ms)
}

fn conclude_one(place: &dyn Place, id: &str, life_ms: i64) -> Result<Concluded> {
    place.open().storage().conclude(EndedRequest {
        queue: QUEUE,
        id,
        submitted_at: SUBMITTED_AT,
        life_ms,
        state: "cancelled",
        worker: "w",
    })
}

/// Returns the receipt of a request, as a worker finds it that knows nothing of the attempts.
fn receipt_at(place: &dyn Place, id: &str) -> Option<Receipt> {
    place.open().storage().receipt(QUEUE, id).unwrap()
}

/// Checks that the outputs are exactly what the receipt of the request [`ID`] names, and returns the receipt.
#[track_caller]
fn check_committed(place: &dyn Place) -> Receipt {
    let receipt = receipt_at(place, ID).expect("a receipt");
    let output = &receipt.outputs[0];
    assert_eq!(place.outputs(), [&*output.uri]);
    let bytes = place.read(&output.uri).expect("the output");
    assert_eq!(
        (bytes.len() as u64, &sha256(&bytes)),
        (output.bytes, &output.sha256)
    );
    if let Some(uri) = &receipt.rejects.uri {
        let bytes = place.read(uri).expect("the rejects");
        assert_eq!(Some(sha256(&bytes)), receipt.rejects.sha256);
    }
    receipt
}

/// Checks that there is neither an output nor a receipt.
#[track_caller]
fn check_nothing(place: &dyn Place) {
    assert_eq!(place.outputs(), [""; 0]);
    assert_eq!(receipt_at(place, ID), None);
}

/// Waits until a condition holds.
#[track_caller]
fn wait_until(mut holds: impl FnMut() -> bool) {
    wait_for("a condition to hold", || holds().then_some(()));
}
