//! The faults that a test plans for certain requests to the S3 server, and the journal of the requests that took effect.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// The kind of a request that changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// The request writes a whole object.
    Put,
    /// The request completes an upload.
    Complete,
    /// The request aborts an upload.
    Abort,
}

/// A fault that hits a request which changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlannedFault {
    /// The request takes effect, and its answer is 500. Clients repeat such a request.
    AnswerLost,
    /// The request takes effect, and is never answered.
    Silent,
    /// The request takes effect after this time only, and is answered then.
    LateBy(Duration),
    /// The request takes effect after [`Script::release`] only, and is answered then.
    LateUntilReleased,
    /// The request has no effect, and its answer is 409 ConditionalRequestConflict.
    Conflict,
    /// The request has no effect, and its answer says that the credentials have expired. Clients do not repeat such a
    /// request.
    Refused,
}

/// A request that took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// A whole object was written. `document` is its bytes, or nothing if the object is large.
    Written { key: String, document: Vec<u8> },
    /// A part of an upload was stored.
    Part { upload: String, number: i32, bytes: u64 },
    /// An upload was completed, and its object was created.
    Completed { key: String, upload: String },
    /// An upload was aborted.
    Aborted { upload: String },
    /// The test removed an object.
    Removed { key: String },
}

/// The planned faults, and the journal.
#[derive(Default)]
pub(super) struct Script {
    planned: Mutex<Vec<Planned>>,
    is_released: watch::Sender<bool>,
    pending: AtomicUsize,
    journal: Mutex<Vec<Change>>,
}

/// The faults of the next requests of one kind for one object.
struct Planned {
    call: Call,
    /// The beginning of the object's key.
    prefix: String,
    faults: VecDeque<PlannedFault>,
}

/// A request that has not taken effect yet.
pub(super) struct Pending<'a>(&'a AtomicUsize);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Script {
    pub(super) fn plan(&self, call: Call, prefix: &str, faults: &[PlannedFault]) {
        self.planned.lock().unwrap().push(Planned {
            call,
            prefix: prefix.to_owned(),
            faults: faults.iter().copied().collect(),
        });
    }

    /// Returns the fault that hits this request, if one is planned.
    pub(super) fn next_fault(&self, call: Call, key: &str) -> Option<PlannedFault> {
        let mut planned = self.planned.lock().unwrap();
        let is_for = |planned: &&mut Planned| planned.call == call && key.starts_with(&planned.prefix);
        planned.iter_mut().find(is_for)?.faults.pop_front()
    }

    /// Returns the number of planned faults that have hit no request yet.
    pub(super) fn left(&self) -> usize {
        let planned = self.planned.lock().unwrap();
        planned.iter().map(|planned| planned.faults.len()).sum()
    }

    pub(super) fn release(&self) {
        self.is_released.send_replace(true);
    }

    /// Waits if the fault makes a request late. The request counts as pending until the returned value is dropped.
    pub(super) async fn wait_if_late(&self, fault: Option<PlannedFault>) -> Pending<'_> {
        self.pending.fetch_add(1, Ordering::SeqCst);
        let pending = Pending(&self.pending);
        match fault {
            Some(PlannedFault::LateBy(time)) => tokio::time::sleep(time).await,
            Some(PlannedFault::LateUntilReleased) => {
                let mut is_released = self.is_released.subscribe();
                // The sender lives as long as `self`.
                let _ = is_released.wait_for(|is_released| *is_released).await;
            }
            _ => {}
        }
        pending
    }

    /// Returns the number of requests that have not taken effect yet.
    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::SeqCst)
    }

    pub(super) fn note(&self, change: Change) {
        self.journal.lock().unwrap().push(change);
    }

    pub(super) fn journal(&self) -> Vec<Change> {
        self.journal.lock().unwrap().clone()
    }
}
