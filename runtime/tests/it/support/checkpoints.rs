//! Continues an attempt from its checkpoint, as the worker does that claims the request next.

use ingest_host::format::Format;
use ingest_host::memory::MemoryShare;
use ingest_host::stop::Stop;
use ingest_host::storage::{Attempt, Owner, Resumed, Storage};

use super::receipts::ID;

/// Resumes the attempt at the request [`ID`] in the queue of `owner`, and returns the progress of its checkpoint and the
/// answer. There must be a checkpoint.
pub(crate) fn resume(storage: &dyn Storage, owner: Owner) -> (String, Resumed) {
    let queue = owner.queue.as_deref().expect("an attempt of a queue");
    let stored = storage.find_checkpoint(queue, ID).unwrap().expect("a checkpoint");
    let memory = MemoryShare::default();
    let resumed = storage.resume(owner, Format::Csv, &stored.staged, &Stop::default(), &memory);
    (stored.progress, resumed.unwrap())
}

/// Does the same as [`resume`], and returns the progress and the attempt. The storage must accept the checkpoint.
pub(crate) fn must_resume(storage: &dyn Storage, owner: Owner) -> (String, Box<dyn Attempt>) {
    match resume(storage, owner) {
        (progress, Resumed::Ready(attempt)) => (progress, attempt),
        (_, Resumed::Refused(why)) => panic!("the checkpoint is refused: {why}"),
    }
}
