//! Fetches several ranges of an object at a time. The version of the object and a position go in, and the ranges after
//! this position come out in order.
//!
//! One connection to an object store is often slower than a plugin. So while the bytes of one range are passed on, the
//! next ranges arrive. Each range waits in memory until its turn comes, so the number and the length of the ranges bound
//! the memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
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

/// The maximum number of ranges that are in memory at the same time: one is passed on, and the others arrive.
const RANGES_MAX: usize = 3;

/// The memory for the ranges of one transfer. Clones refer to the same memory.
#[derive(Clone)]
pub(super) struct ReadAheadMemory {
    /// The number of bytes that the ranges need, or 0 if the body has only one range.
    bytes: usize,
    reserved: Arc<Mutex<Reserved>>,
}

#[derive(Default)]
struct Reserved {
    held: Option<Held>,
    is_in_use: bool,
}

impl ReadAheadMemory {
    /// Creates a value without memory, for the rest of an object of `rest` bytes. It never gets any memory if the rest is
    /// short, belongs to no object, or cannot be requested later.
    pub(super) fn new(resource: &Resource, is_resumable: bool, rest: Option<u64>, limits: &Limits) -> Self {
        let bytes = RANGES_MAX * limits.fetch_range_bytes;
        let is_long = rest.is_some_and(|rest| rest > bytes as u64);
        let needs_ranges = is_resumable && is_long && matches!(resource, Resource::Object(_));
        Self {
            bytes: if needs_ranges { bytes } else { 0 },
            reserved: Arc::default(),
        }
    }

    /// Reserves the memory if nobody else needs it now. An attempt that runs alone gets none, because it may need all of
    /// its memory for a long record.
    pub(super) fn reserve(&self, memory: &MemoryShare) {
        let mut held = memory.hold();
        if self.bytes > 0 && !memory.is_alone() && held.try_raise_spare(self.bytes) {
            self.reserved.lock().held = Some(held);
        }
    }

    /// Returns whether there is memory for ranges, and keeps it until [`ReadAheadMemory::put_back`].
    pub(super) fn take(&self) -> bool {
        let mut reserved = self.reserved.lock();
        let is_free = reserved.held.is_some() && !reserved.is_in_use;
        reserved.is_in_use |= is_free;
        is_free
    }

    fn put_back(&self) {
        self.reserved.lock().is_in_use = false;
    }

    /// Gives the memory back to the worker.
    pub(super) fn release(&self) {
        self.reserved.lock().held = None;
    }
}

/// An object that is fetched in ranges. All ranges are parts of one version.
pub(super) struct RangedObject {
    pub(super) requested: Requested,
    pub(super) version: FileVersion,
    /// The length of the object.
    pub(super) total: u64,
    /// The object's URI, without secrets.
    pub(super) name: String,
    /// The number of bytes that have arrived in ranges and wait for their turn.
    pub(super) waiting: AtomicU64,
}

/// The ranges of an object from a position on.
pub(super) struct RangesAhead {
    object: Arc<RangedObject>,
    /// The position of the first byte that no range contains yet.
    next: u64,
    /// The position of the first byte of the next range that [`RangesAhead::next`] returns.
    start: u64,
    arriving: VecDeque<ArrivingRange>,
    memory: ReadAheadMemory,
}

/// A range whose bytes arrive. Dropping it ends its transfer.
pub(super) struct ArrivingRange {
    object: Arc<RangedObject>,
    /// The first piece, if [`RangesAhead::begins`] has waited for it.
    first: Option<Bytes>,
    /// The bytes, and at last an error if bytes are missing. So the channel holds at most the bytes of the range.
    pieces: mpsc::UnboundedReceiver<Result<Bytes, Broken>>,
    end: u64,
    task: JoinHandle<()>,
}

impl ArrivingRange {
    /// Waits for the next piece. Returns `None` at the end of the range, and after an error.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        let piece = match self.first.take() {
            Some(first) => Ok(first),
            None => self.pieces.recv().await?,
        };
        if let Ok(piece) = &piece {
            self.object
                .waiting
                .fetch_sub(piece.len() as u64, Ordering::Relaxed);
        }
        Some(piece)
    }
}

impl Drop for ArrivingRange {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for RangesAhead {
    fn drop(&mut self) {
        self.memory.put_back();
    }
}

impl RangesAhead {
    /// Begins to fetch the ranges from `start` on, with the memory that was taken from `memory`.
    pub(super) fn begin(object: RangedObject, start: u64, memory: ReadAheadMemory) -> Self {
        let mut ranges = Self {
            object: Arc::new(object),
            next: start,
            start,
            arriving: VecDeque::new(),
            memory,
        };
        ranges.fill(RANGES_MAX - 1);
        ranges
    }

    /// Returns the position of the first byte of the next range.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Returns the number of bytes that have arrived and wait for their turn.
    pub(super) fn waiting_bytes(&self) -> u64 {
        self.object.waiting.load(Ordering::Relaxed)
    }

    /// Waits for the first bytes of the next range. Returns false if they do not come, for example because the store does
    /// not give ranges.
    pub(super) async fn begins(&mut self) -> bool {
        let Some(range) = self.arriving.front_mut() else {
            return false;
        };
        if range.first.is_none() {
            range.first = range.pieces.recv().await.and_then(Result::ok);
        }
        range.first.is_some()
    }

    /// Returns the next range, or `None` at the end of the object. The range before must no longer be in use.
    pub(super) fn next(&mut self) -> Option<ArrivingRange> {
        self.fill(RANGES_MAX);
        let range = self.arriving.pop_front()?;
        self.start = range.end;
        Some(range)
    }

    /// Begins to fetch further ranges until `count` ranges arrive.
    fn fill(&mut self, count: usize) {
        let range_bytes = self.object.requested.http.limits.fetch_range_bytes as u64;
        while self.arriving.len() < count && self.next < self.object.total {
            let start = self.next;
            let end = self.object.total.min(start + range_bytes);
            let (sender, pieces) = mpsc::unbounded_channel();
            let object = Arc::clone(&self.object);
            let fetched = Arc::clone(&object);
            let fetching = async move {
                if let Err(broken) = fetched.fetch(start, end, &sender).await {
                    // This call fails if the range was dropped. Then nobody needs the error.
                    let _ = sender.send(Err(broken));
                }
            };
            let task = tokio::spawn(fetching.in_current_span());
            self.arriving.push_back(ArrivingRange {
                object,
                first: None,
                pieces,
                end,
                task,
            });
            self.next = end;
        }
    }
}

impl RangedObject {
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
        // Pieces share the memory that the network was read into, and a small piece can keep much of it. So the bytes are
        // copied into memory that is as long as the range.
        let mut range_bytes = BytesMut::with_capacity(usize::try_from(end - start).unwrap_or_default());
        loop {
            let piece = part.next(&http.limits).await;
            let has_ended = match &piece {
                Ok(Some(piece)) => {
                    range_bytes.extend_from_slice(piece);
                    false
                }
                Ok(None) | Err(_) => true,
            };
            if range_bytes.len() >= http.limits.fetch_chunk_bytes || (has_ended && !range_bytes.is_empty()) {
                self.waiting
                    .fetch_add(range_bytes.len() as u64, Ordering::Relaxed);
                // This call fails if the range was dropped. Then this task ends soon.
                let _ = sender.send(Ok(range_bytes.split().freeze()));
            }
            if piece?.is_none() {
                break;
            }
        }
        if span.end < end {
            let what = format!("asked for the bytes from {start} to {end}, the server sent fewer");
            return Err(Broken::Repairable(transfer_error(&self.name, what)));
        }
        Ok(())
    }
}
