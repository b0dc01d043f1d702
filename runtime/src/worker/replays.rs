//! Finds what a replay works on: the number of a replay goes in; the rejects of its predecessor come out, with the options
//! for reading them. Only the receipts in the output of this worker count, not what the queue says about them.

use std::sync::Arc;

use super::attempt_runner::commit_panicked;
use crate::commit::Destination;
use crate::error::{Code, Error, Result, Stage};
use crate::pipeline::{OpenRejects, ReplayedInput};
use crate::receipt::{Receipt, RequestPart};
use crate::request::{InputOptions, Replay};
use crate::stop::Stop;
use crate::storage::Storage;

/// The rejects that a replay processes, and the options with which their input was read.
pub(super) struct FoundRejects {
    pub(super) input: ReplayedInput,
    pub(super) options: InputOptions,
}

/// Finds the rejects that a replay of a queue processes.
///
/// # Errors
/// Fails with stage commit: permanently if the first request has no receipt in this output, if its rejects are gone, or if
/// they cannot be replayed.
pub(super) async fn find(
    destination: &Arc<Destination>,
    queue: String,
    replay: Replay,
    stop: Stop,
) -> Result<FoundRejects> {
    let destination = Arc::clone(destination);
    let finding = tokio::task::spawn_blocking(move || {
        let receipt = receipt_before(destination.storage(), &queue, &replay)?;
        let first = first_request(destination.storage(), &queue, &replay, &receipt)?;
        let (id, uri) = (receipt.request.id.clone(), receipt.rejects.uri.clone());
        let open: OpenRejects = Arc::new(move || {
            let uri = uri.as_deref().unwrap_or_default();
            let opened = destination.storage().open_rejects(&queue, uri, &stop)?;
            opened.ok_or_else(|| {
                let what = format!("{uri}: the rejects of {id} are not there any more: restore the file");
                Error::permanent(Stage::Commit, Code::OutputMissing, what)
            })
        });
        let (input, options) = ReplayedInput::of(&receipt, &first, replay, open)?;
        Ok(FoundRejects { input, options })
    });
    finding.await.unwrap_or_else(|_| Err(commit_panicked()))
}

/// Returns the receipt of the last replay before this one that has committed, or that of the first request.
fn receipt_before(storage: &dyn Storage, queue: &str, replay: &Replay) -> Result<Receipt> {
    for id in replay.predecessors() {
        let Some(receipt) = storage.receipt(queue, &id)? else {
            continue;
        };
        let of_replay = receipt.request.replay.as_ref();
        // A request can have the id of a replay without being one.
        if id == replay.parent || of_replay.is_some_and(|earlier| earlier.parent == replay.parent) {
            return Ok(receipt);
        }
    }
    Err(no_receipt(storage, replay))
}

/// Returns the first request, from whose input the records come. `before` is the receipt whose rejects are replayed.
fn first_request(
    storage: &dyn Storage,
    queue: &str,
    replay: &Replay,
    before: &Receipt,
) -> Result<RequestPart> {
    if before.request.id == replay.parent {
        return Ok(before.request.clone());
    }
    let first = storage.receipt(queue, &replay.parent)?;
    Ok(first.ok_or_else(|| no_receipt(storage, replay))?.request)
}

fn no_receipt(storage: &dyn Storage, replay: &Replay) -> Error {
    let what = format!(
        "{}: has no receipt in {}: start a worker with the output in which it is, then `ingest-host dead retry`",
        replay.parent,
        storage.uri()
    );
    Error::permanent(Stage::Commit, Code::OutputMissing, what)
}

/// Returns the options for reading rejects. The syntax stays that of the first reading, because it has divided the input
/// into these records. The rules for rows with too few or too many fields come from `now` if it has them.
pub(super) fn reading(first: InputOptions, now: &InputOptions) -> InputOptions {
    InputOptions {
        short_rows: now.short_rows.or(first.short_rows),
        long_rows: now.long_rows.or(first.long_rows),
        sha256: None,
        version: None,
        ..first
    }
}
