//! Takes chunks through lanes, on one thread or on several.
//!
//! ```text
//! thread 0:  split 0 ── lane 0 ── write 0   split 2 ── lane 0 ── write 2   ...
//! thread 1:            split 1 ── lane 1 ── write 1   split 3 ── lane 1 ── ...
//! ```
//! A free thread splits off the next chunk and takes it through all steps. So the chunk stays in the caches of one
//! core. If the chunk's [turn](OrderedHandoff) to be written has not come, the thread leaves the result to the thread
//! of an earlier chunk. A fast core therefore need not wait for a slow one. If the plugin keeps state, all threads
//! share one lane, and they enter the lane in the order of the chunks, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tracing::Span;

use super::assembler::{OutputAssembler, SpareBuffers};
use super::checkpoint::{CheckpointMark, CheckpointScheduler};
use super::in_order::OrderedHandoff;
use super::lane::{FinishedChunk, Lane};
use crate::decode::{Chunk, Splitter};
use crate::error::{Error, Result};
use crate::memory::MemoryShare;
use crate::record::ChunkError;

/// The maximum number of threads that share one lane: one splits, one is in the lane, one writes.
const SHARED_LANE_THREADS_MAX: usize = 3;

/// Takes `first` and the rest of the input through the lanes. Uses at most `threads` threads, including the calling
/// thread. Each thread has its own lane. If there is only one lane, all threads share it.
pub(super) fn run(
    lanes: &mut [Lane],
    threads: usize,
    splitter: &mut Splitter,
    first: Option<Chunk>,
    scheduler: Option<CheckpointScheduler<'_>>,
    assembler: &mut OutputAssembler<'_>,
    memory: &MemoryShare,
) -> Result<()> {
    let abandoned = splitter.abandoned();
    let feed = ChunkFeed {
        splitter,
        first,
        scheduler,
        number: 0,
        ended: false,
    };
    let (shared, own, threads) = match lanes {
        [lane] => (
            Some(OrderedHandoff::new(lane, 0)),
            &mut [][..],
            threads.clamp(1, SHARED_LANE_THREADS_MAX),
        ),
        _ => (None, lanes, threads),
    };
    let pool = LanePool {
        feed: Mutex::new(feed),
        abandoned,
        memory,
        shared,
        assembler: OrderedHandoff::new(assembler, threads),
        spare: Mutex::default(),
        failed: Mutex::default(),
    };
    let mut slots: Vec<_> = match &pool.shared {
        Some(lane) => (0..threads).map(|_| LaneSlot::Shared(lane)).collect(),
        None => own.iter_mut().take(threads).map(LaneSlot::Own).collect(),
    };
    std::thread::scope(|scope| {
        let callers = slots.pop();
        for slot in slots {
            let (pool, span) = (&pool, Span::current());
            let thread = std::thread::Builder::new().name("lane".into());
            // If a thread cannot be started, the other threads do its work.
            let _ = thread.spawn_scoped(scope, move || span.in_scope(|| pool.work(slot)));
        }
        if let Some(slot) = callers {
            pool.work(slot);
        }
    });
    // The attempt may run again. In that run, it must be able to wait for memory.
    memory.set_abandoned(false);
    pool.failed.into_inner().map_or(Ok(()), Err)
}

/// The state that the lanes' threads share.
struct LanePool<'a, 'job> {
    feed: Mutex<ChunkFeed<'a>>,
    /// Tells the splitter that the rest of the input is not needed.
    abandoned: Arc<AtomicBool>,
    /// The request's share of memory. [`LanePool::close`] ends all waits for this memory.
    memory: &'a MemoryShare,
    /// The lane of the threads that have no lane of their own.
    shared: Option<OrderedHandoff<&'a mut Lane>>,
    assembler: OrderedHandoff<&'a mut OutputAssembler<'job>, Result<ChunkResult, ChunkError>>,
    spare: Mutex<Vec<SpareBuffers>>,
    /// The error of the first chunk that failed.
    failed: Mutex<Option<Error>>,
}

/// Gives out the chunks of the input, each with its number.
struct ChunkFeed<'a> {
    splitter: &'a mut Splitter,
    first: Option<Chunk>,
    /// Decides after which chunks a checkpoint is written.
    scheduler: Option<CheckpointScheduler<'a>>,
    /// The number of the next chunk.
    number: u64,
    ended: bool,
}

/// A chunk, with a mark if a checkpoint has to be written after it.
struct MarkedChunk {
    chunk: Chunk,
    mark: Option<CheckpointMark>,
}

/// A chunk that has gone through a lane.
struct ChunkResult {
    finished: FinishedChunk,
    mark: Option<CheckpointMark>,
}

/// The lane that a thread uses.
enum LaneSlot<'a, 'lane> {
    Own(&'a mut Lane),
    Shared(&'a OrderedHandoff<&'lane mut Lane>),
}

impl LanePool<'_, '_> {
    /// Processes chunks until no chunk is left or a chunk has failed. If a chunk of this thread has failed, the thread
    /// submits the error and ends. If the lane gave the chunk up, the thread submits the result and ends.
    fn work(&self, mut slot: LaneSlot<'_, '_>) {
        let _closing = CloseOnPanic(self);
        loop {
            let SpareBuffers { raw, output } = self.spare.lock().pop().unwrap_or_default();
            let Some((number, marked)) = self.next_chunk(raw) else {
                return;
            };
            let done = marked.and_then(|marked| self.put_through(&mut slot, number, marked, output));
            let has_failed = done.as_ref().map_or(true, |done| done.finished.is_given_up);
            if has_failed {
                // The splitter stops reading now, because the turn of the failed chunk may come much later.
                self.abandoned.store(true, Ordering::Relaxed);
            }
            match self
                .assembler
                .submit(number, done, |assembler, done| self.write(assembler, done))
            {
                Ok(true) if !has_failed => {}
                Ok(_) => return,
                Err(error) => return self.fail(error),
            }
        }
    }

    /// Returns the number of the next chunk, with the chunk, or with the error of the splitter. Returns `None` at the
    /// end of the input.
    fn next_chunk(&self, spare: Vec<u8>) -> Option<(u64, Result<MarkedChunk, ChunkError>)> {
        let feed = &mut *self.feed.lock();
        if feed.ended {
            return None;
        }
        let chunk = match feed.first.take() {
            Some(chunk) => Ok(Some(chunk)),
            None => feed.splitter.next(spare),
        };
        feed.ended = !matches!(chunk, Ok(Some(_)));
        let number = feed.number;
        feed.number += 1;
        let marked = chunk.transpose()?.map(|chunk| {
            let scheduler = feed.scheduler.as_mut();
            let mark = scheduler.and_then(|scheduler| scheduler.mark(feed.splitter, &chunk));
            MarkedChunk { chunk, mark }
        });
        Some((number, marked))
    }

    /// Takes a chunk through a lane. `spare` is a vector for reuse.
    fn put_through(
        &self,
        slot: &mut LaneSlot<'_, '_>,
        number: u64,
        MarkedChunk { chunk, mark }: MarkedChunk,
        spare: Vec<u8>,
    ) -> Result<ChunkResult, ChunkError> {
        let mut sink = |part, raw: &[u8]| self.assembler.wait(number)?.write(&part, raw);
        let finished = match slot {
            LaneSlot::Own(lane) => lane.run(chunk, spare, &mut sink)?,
            LaneSlot::Shared(lane) => {
                let mut lane = lane.wait(number)?;
                let finished = lane.run(chunk, spare, &mut sink)?;
                lane.pass();
                finished
            }
        };
        Ok(ChunkResult { finished, mark })
    }

    /// Writes the result of the next chunk.
    fn write(
        &self,
        assembler: &mut OutputAssembler<'_>,
        done: Result<ChunkResult, ChunkError>,
    ) -> Result<()> {
        let ChunkResult { finished, mark } = done.map_err(|fault| fault.at(&assembler.origin))?;
        let spare = assembler.end(finished, mark)?;
        self.spare.lock().push(spare);
        Ok(())
    }

    /// Records this error and ends all work.
    fn fail(&self, error: Error) {
        *self.failed.lock() = Some(error);
        self.close();
    }

    fn close(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
        self.assembler.close();
        self.shared.iter().for_each(OrderedHandoff::close);
        self.memory.set_abandoned(true);
    }
}

/// A guard that ends all waits if its thread panics.
struct CloseOnPanic<'a, 'pool, 'job>(&'a LanePool<'pool, 'job>);

impl Drop for CloseOnPanic<'_, '_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close();
        }
    }
}
