//! Chunks dealt out to lanes, each on a thread of its own, and what they make of them gathered in order.
//!
//! ```text
//! split ──> lane 0 ──> write        The chunks go round like cards: chunk k is lane k mod n's, so the writer knows
//!     └───> lane 1 ──┘              where the next part comes from, and nothing has to be sorted.
//! ```
//! Each arrow holds [`QUEUED`] chunks or parts at most.

use std::panic::resume_unwind;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::{Scope, ScopedJoinHandle};

use tracing::Span;

use super::lane::{Lane, Part};
use super::sequence::Sequence;
use crate::batch::Fault;
use crate::decode::{Chunk, Splitter};
use crate::error::{Error, Result, Stage};

/// How many chunks wait for a lane, and how many parts for the writer.
const QUEUED: usize = 2;

/// One chunk after the other, on the thread of the caller.
pub(super) fn run_inline(
    lane: &mut Lane,
    splitter: &mut Splitter,
    first: Option<Chunk>,
    sequence: &mut Sequence<'_>,
) -> Result<()> {
    let (mut next, mut spare) = (first, super::sequence::Spare::default());
    while let Some(chunk) = next {
        sequence.check_stop()?;
        let output = std::mem::take(&mut spare.output);
        let origin = sequence.origin;
        lane.run(chunk, output, &mut |part| {
            if let Some(vectors) = sequence.take(part)? {
                spare = vectors;
            }
            Ok(())
        })
        .map_err(|fault| fault.at(&origin))?;
        let raw = std::mem::take(&mut spare.raw);
        next = splitter.next(raw).map_err(|fault| fault.at(&sequence.origin))?;
    }
    Ok(())
}

/// The same on many threads. Gives the lanes back.
pub(super) fn run_threads(
    lanes: Vec<Lane>,
    splitter: &mut Splitter,
    first: Option<Chunk>,
    sequence: &mut Sequence<'_>,
) -> Result<Vec<Lane>> {
    let abandoned = splitter.abandoned();
    std::thread::scope(|scope| {
        let (spare_raw, spares) = mpsc::channel();
        let (mut hands, mut ends, mut threads) = (Vec::new(), Vec::new(), Vec::new());
        for lane in lanes {
            let (hand, chunks) = mpsc::sync_channel(QUEUED);
            let (parts, end) = mpsc::sync_channel(QUEUED);
            let (spare_output, outputs) = mpsc::channel();
            threads.push(start(scope, "lane", move || {
                work(lane, &chunks, &parts, &outputs)
            })?);
            hands.push(hand);
            ends.push((end, spare_output));
        }
        let dealer = start(scope, "split", move || deal(splitter, first, &hands, &spares))?;
        let gathered = gather(&ends, &spare_raw, sequence);
        // Nobody waits for a writer that is gone, nor reads for it.
        abandoned.store(true, Ordering::Relaxed);
        drop(ends);
        gathered?;
        dealer.join().unwrap_or_else(|panic| resume_unwind(panic));
        let join = |thread: ScopedJoinHandle<'_, Lane>| thread.join();
        let lanes = threads.into_iter().map(join).collect::<Result<_, _>>();
        Ok(lanes.unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

type Chunks = SyncSender<Result<Chunk, Fault>>;
type Parts = SyncSender<Result<Part, Fault>>;

/// The writer's end of a lane: its parts, and the way back for their vectors.
type End = (Receiver<Result<Part, Fault>>, Sender<Vec<u8>>);

/// Deals the chunks out until the input ends or fails, or nobody takes them any more.
fn deal(splitter: &mut Splitter, first: Option<Chunk>, hands: &[Chunks], spares: &Receiver<Vec<u8>>) {
    let mut next = first.map(Ok);
    for hand in hands.iter().cycle() {
        let Some(chunk) = next else { return };
        let failed = chunk.is_err();
        if hand.send(chunk).is_err() || failed {
            return;
        }
        next = splitter.next(spares.try_recv().unwrap_or_default()).transpose();
    }
}

/// A lane at work until there are no more chunks or one fails.
fn work(
    mut lane: Lane,
    chunks: &Receiver<Result<Chunk, Fault>>,
    parts: &Parts,
    spares: &Receiver<Vec<u8>>,
) -> Lane {
    for chunk in chunks {
        let spare = spares.try_recv().unwrap_or_default();
        let mut sink = |part| {
            let gone = |_| Error::transient(Stage::Worker, "the writer has stopped");
            parts.send(Ok(part)).map_err(gone)
        };
        if let Err(fault) = chunk.and_then(|chunk| lane.run(chunk, spare, &mut sink)) {
            // If the writer is gone, it knows why.
            let _ = parts.send(Err(fault));
            return lane;
        }
    }
    lane
}

/// Takes the parts of chunk after chunk, until the lane whose turn it is has no more.
fn gather(ends: &[End], spare_raw: &Sender<Vec<u8>>, sequence: &mut Sequence<'_>) -> Result<()> {
    for (parts, spare_output) in ends.iter().cycle() {
        loop {
            let Ok(part) = parts.recv() else {
                return Ok(());
            };
            sequence.check_stop()?;
            let part = part.map_err(|fault| fault.at(&sequence.origin))?;
            if let Some(spare) = sequence.take(part)? {
                // At the end of the input nobody needs them.
                let _ = spare_raw.send(spare.raw);
                let _ = spare_output.send(spare.output);
                break;
            }
        }
    }
    Ok(())
}

fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    let span = Span::current();
    std::thread::Builder::new()
        .name(name.into())
        .spawn_scoped(scope, move || span.in_scope(work))
        .map_err(|e| Error::transient(Stage::Worker, "cannot start a thread").because(e))
}
