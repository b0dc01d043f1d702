//! Chunks put through lanes, by one thread or by many.
//!
//! ```text
//! thread 0:  split 0 ── lane 0 ── write 0   split 2 ── lane 0 ── write 2   ...
//! thread 1:            split 1 ── lane 1 ── write 1   split 3 ── lane 1 ── ...
//! ```
//! Each thread takes a chunk all the way, so that it stays in the caches of one core. Whoever is free splits the next. If it
//! is not a chunk's [turn](Turns) to be written, what was made of it is left to the thread that is before it: cores need
//! not be equally fast. Where all share one lane, because its plugin keeps state, that goes by turns, too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::Span;

use super::assembler::{Sequence, Spare};
use super::checkpoint::{Mark, Marker};
use super::in_order::Turns;
use super::lane::{Finished, Lane};
use crate::decode::{Chunk, Splitter};
use crate::error::{Error, Result};
use crate::memory::MemoryShare;
use crate::record::Fault;

/// What threads with one lane can do at once: split, put through, write.
const STEPS: usize = 3;

/// Puts `first` and the rest of the input through the lanes on at most `threads` threads, the caller's among them: with
/// a lane for each, or with one for all.
pub(super) fn run(
    lanes: &mut [Lane],
    threads: usize,
    splitter: &mut Splitter,
    first: Option<Chunk>,
    marker: Option<Marker<'_>>,
    sequence: &mut Sequence<'_>,
    memory: &MemoryShare,
) -> Result<()> {
    let abandoned = splitter.abandoned();
    let deck = Deck {
        splitter,
        first,
        marker,
        number: 0,
        ended: false,
    };
    let (shared, own, threads) = match lanes {
        [lane] => (Some(Turns::new(lane, 0)), &mut [][..], threads.clamp(1, STEPS)),
        _ => (None, lanes, threads),
    };
    let crew = Crew {
        deck: Mutex::new(deck),
        abandoned,
        memory,
        shared,
        sequence: Turns::new(sequence, threads),
        spare: Mutex::default(),
        failed: Mutex::default(),
    };
    let mut places: Vec<_> = match &crew.shared {
        Some(lane) => (0..threads).map(|_| Place::Shared(lane)).collect(),
        None => own.iter_mut().take(threads).map(Place::Own).collect(),
    };
    std::thread::scope(|scope| {
        let callers = places.pop();
        for place in places {
            let (crew, span) = (&crew, Span::current());
            let thread = std::thread::Builder::new().name("lane".into());
            // If there is none to be had, the others do its work.
            let _ = thread.spawn_scoped(scope, move || span.in_scope(|| crew.work(place)));
        }
        if let Some(place) = callers {
            crew.work(place);
        }
    });
    // The attempt may run again.
    memory.set_abandoned(false);
    let failed = crew.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok(()), Err)
}

/// What the threads have in common.
struct Crew<'a, 'job> {
    deck: Mutex<Deck<'a>>,
    /// Tells the splitter that nobody wants the rest.
    abandoned: Arc<AtomicBool>,
    /// Ends the waits for memory when all work ends.
    memory: &'a MemoryShare,
    /// The lane of those that have none of their own.
    shared: Option<Turns<&'a mut Lane>>,
    sequence: Turns<&'a mut Sequence<'job>, Result<Done, Fault>>,
    spare: Mutex<Vec<Spare>>,
    /// What went wrong with the first chunk that failed.
    failed: Mutex<Option<Error>>,
}

/// The chunks that nobody has taken yet.
struct Deck<'a> {
    splitter: &'a mut Splitter,
    first: Option<Chunk>,
    /// Says behind which chunks a checkpoint is written.
    marker: Option<Marker<'a>>,
    /// Of the next chunk.
    number: u64,
    ended: bool,
}

/// A chunk, and what is known of the input behind it if there is to be a checkpoint.
struct Dealt {
    chunk: Chunk,
    mark: Option<Mark>,
}

/// What was made of a chunk.
struct Done {
    finished: Finished,
    mark: Option<Mark>,
}

/// The lane of a thread.
enum Place<'a, 'lane> {
    Own(&'a mut Lane),
    Shared(&'a Turns<&'lane mut Lane>),
}

impl Crew<'_, '_> {
    /// Returns when no chunk is left, or one has failed: at once if it is this thread's own.
    fn work(&self, mut place: Place<'_, '_>) {
        let _closing = CloseOnPanic(self);
        loop {
            let Spare { raw, output } = self.spare().pop().unwrap_or_default();
            let Some((number, dealt)) = self.next(raw) else {
                return;
            };
            let done = dealt.and_then(|dealt| self.put_through(&mut place, number, dealt, output));
            let has_failed = done.as_ref().map_or(true, |done| done.finished.is_given_up);
            if has_failed {
                // Its turn may be a while off.
                self.abandoned.store(true, Ordering::Relaxed);
            }
            match self
                .sequence
                .leave(number, done, |sequence, done| self.write(sequence, done))
            {
                Ok(true) if !has_failed => {}
                Ok(_) => return,
                Err(error) => return self.fail(error),
            }
        }
    }

    /// The next chunk or why there is none, with its number; nothing at the end.
    fn next(&self, spare: Vec<u8>) -> Option<(u64, Result<Dealt, Fault>)> {
        let mut deck = self.deck.lock().unwrap_or_else(PoisonError::into_inner);
        let deck = &mut *deck;
        if deck.ended {
            return None;
        }
        let chunk = match deck.first.take() {
            Some(chunk) => Ok(Some(chunk)),
            None => deck.splitter.next(spare),
        };
        deck.ended = !matches!(chunk, Ok(Some(_)));
        let number = deck.number;
        deck.number += 1;
        let dealt = chunk.transpose()?.map(|chunk| {
            let marker = deck.marker.as_mut();
            let mark = marker.and_then(|marker| marker.mark(deck.splitter, &chunk));
            Dealt { chunk, mark }
        });
        Some((number, dealt))
    }

    /// Takes a chunk through a lane. `spare` is a vector to use again.
    fn put_through(
        &self,
        place: &mut Place<'_, '_>,
        number: u64,
        Dealt { chunk, mark }: Dealt,
        spare: Vec<u8>,
    ) -> Result<Done, Fault> {
        let mut sink = |part, raw: &[u8]| self.sequence.wait(number)?.write(&part, raw);
        let finished = match place {
            Place::Own(lane) => lane.run(chunk, spare, &mut sink)?,
            Place::Shared(lane) => {
                let mut lane = lane.wait(number)?;
                let finished = lane.run(chunk, spare, &mut sink)?;
                lane.pass();
                finished
            }
        };
        Ok(Done { finished, mark })
    }

    /// Writes what was made of the next chunk.
    fn write(&self, sequence: &mut Sequence<'_>, done: Result<Done, Fault>) -> Result<()> {
        let Done { finished, mark } = done.map_err(|fault| fault.at(&sequence.origin))?;
        let spare = sequence.end(finished, mark)?;
        self.spare().push(spare);
        Ok(())
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Spare>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all work.
    fn fail(&self, error: Error) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.close();
    }

    fn close(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
        self.sequence.close();
        self.shared.iter().for_each(Turns::close);
        self.memory.set_abandoned(true);
    }
}

/// Nobody is to wait for a thread that has panicked.
struct CloseOnPanic<'a, 'crew, 'job>(&'a Crew<'crew, 'job>);

impl Drop for CloseOnPanic<'_, '_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close();
        }
    }
}
