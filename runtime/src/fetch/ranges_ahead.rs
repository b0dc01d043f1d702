//! Fetches several ranges of an object at a time. The version of the object and a position go in, and the ranges after
//! this position come out in order.
//!
//! One connection to an object store is often slower than a plugin. So while the bytes of one range are passed on, the
//! next ranges arrive. Each range waits in memory until its turn comes, so the number and the length of the ranges bound
//! the memory.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::answer_part::{AnswerPart, Broken};
use super::http::Resource;
use super::range_request::{FileVersion, RangeRequest};
use super::transfer::{Requested, transfer_error};
use crate::config::Limits;
use crate::memory::{Held, MemoryShare};

/// The number of ranges that are in memory at the same time: one is passed on, and the others arrive.
const RANGES: usize = 3;

/// The permit to read ahead, which comes with the memory for it. Clones refer to the same permit.
#[derive(Clone)]
pub(super) struct ReadAheadPermit {
    /// The number of bytes of memory that the ranges need, or 0 if the body has only one range.
    bytes: usize,
    held: Arc<Mutex<Option<Held>>>,
}

impl ReadAheadPermit {
    /// Creates a permit that is not given yet, for the rest of an object of `rest` bytes. Returns a permit that is never
    /// given if the rest is short or belongs to no object.
    pub(super) fn new(resource: &Resource, rest: Option<u64>, limits: &Limits) -> Self {
        let is_long = rest.is_some_and(|rest| rest > (RANGES * limits.fetch_range_bytes) as u64);
        let bytes = match resource {
            Resource::Object(_) if is_long => RANGES * limits.fetch_range_bytes,
            _ => 0,
        };
        Self {
            bytes,
            held: Arc::default(),
        }
    }

    /// Gives the permit if `memory` has room for the ranges now. An attempt that runs alone gets none, because it may
    /// need all of its memory for a long record.
    pub(super) fn give(&self, memory: &MemoryShare) {
        let mut held = memory.hold();
        if self.bytes > 0 && !memory.is_alone() && held.try_raise(self.bytes) {
            self.give_back(held);
        }
    }

    pub(super) fn give_back(&self, held: Held) {
        *self.held.lock() = Some(held);
    }

    pub(super) fn take(&self) -> Option<Held> {
        self.held.lock().take()
    }
}

/// A version of an object. All ranges are parts of this version.
pub(super) struct ObjectVersion {
    pub(super) requested: Requested,
    pub(super) version: FileVersion,
    /// The length of the object.
    pub(super) total: u64,
    /// The object's URI.
    pub(super) name: String,
}

/// The ranges of an object from a position on.
pub(super) struct RangesAhead {
    object: Arc<ObjectVersion>,
    /// The position of the first byte that no range contains yet.
    next: u64,
    /// The position of the first byte of the next range that [`RangesAhead::next`] returns.
    start: u64,
    arriving: VecDeque<ArrivingRange>,
    held: Held,
}

/// A range whose bytes arrive. Dropping it ends its transfer.
pub(super) struct ArrivingRange {
    /// The bytes, and at last an error if bytes are missing. So the channel holds at most the bytes of the range.
    pub(super) pieces: mpsc::UnboundedReceiver<Result<Bytes, Broken>>,
    end: u64,
    task: JoinHandle<()>,
}

impl Drop for ArrivingRange {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl RangesAhead {
    /// Begins to fetch the ranges from `start` on. `held` is the memory for the ranges.
    pub(super) fn begin(object: ObjectVersion, start: u64, held: Held) -> Self {
        let mut ranges = Self {
            object: Arc::new(object),
            next: start,
            start,
            arriving: VecDeque::new(),
            held,
        };
        ranges.fill(RANGES - 1);
        ranges
    }

    /// Returns the position of the first byte of the next range.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Returns the next range, or `None` at the end of the object. The range before must no longer be in use.
    pub(super) fn next(&mut self) -> Option<ArrivingRange> {
        self.fill(RANGES);
        let range = self.arriving.pop_front()?;
        self.start = range.end;
        Some(range)
    }

    /// Ends all transfers, and returns the memory.
    pub(super) fn end(self) -> Held {
        self.held
    }

    /// Begins to fetch further ranges until `count` ranges arrive.
    fn fill(&mut self, count: usize) {
        let range_bytes = self.object.requested.http.limits.fetch_range_bytes as u64;
        while self.arriving.len() < count && self.next < self.object.total {
            let start = self.next;
            let end = self.object.total.min(start + range_bytes);
            let (sender, pieces) = mpsc::unbounded_channel();
            let object = Arc::clone(&self.object);
            let fetching = async move {
                if let Err(broken) = object.fetch(start, end, &sender).await {
                    // This call fails if the range was dropped. Then nobody needs the error.
                    let _ = sender.send(Err(broken));
                }
            };
            let task = tokio::spawn(fetching.in_current_span());
            self.arriving.push_back(ArrivingRange { pieces, end, task });
            self.next = end;
        }
    }
}

impl ObjectVersion {
    /// Fetches one range, and sends its bytes.
    async fn fetch(
        &self,
        start: u64,
        end: u64,
        sender: &mpsc::UnboundedSender<Result<Bytes, Broken>>,
    ) -> Result<(), Broken> {
        let Requested { http, resource } = &self.requested;
        let range = RangeRequest {
            version: &self.version,
            from: start,
            end: Some(end),
            total: Some(self.total),
        };
        // A resume repeats a request that fails, and decides whether its error is final.
        let answered = http.follow(resource, Some(range)).await;
        let (url, response) = answered.map_err(Broken::Repairable)?;
        let span = range
            .check(&url, response.status(), response.headers())
            .map_err(|why| {
                let what = format!("the bytes from {start} to {end}");
                Broken::Repairable(transfer_error(&self.name, what).because(why))
            })?;
        let mut part = AnswerPart::rest(&self.name, response, start, span.end);
        while let Some(piece) = part.next(&http.limits).await? {
            // This call fails if the range was dropped. Then this task ends soon.
            let _ = sender.send(Ok(piece));
        }
        if span.end < end {
            let what = format!("asked for the bytes from {start} to {end}, the server sent fewer");
            return Err(Broken::Repairable(transfer_error(&self.name, what)));
        }
        Ok(())
    }
}
