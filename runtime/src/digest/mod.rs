//! Bytes pass, their length and SHA-256 come out. Inputs, outputs and rejects are named by it in receipts.
//!
//! A core goes through one stream at the pace at which the steps of SHA-256 follow from each other, which leaves it idle
//! half of the time. So an input and its output are digested as a [`pair`]: what has come of the input waits for its
//! output, and then both are gone through together, in hardly more time than one of them. Nobody waits meanwhile.

mod compress;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, BytesMut};
use serde::{Deserialize, Serialize};

use self::compress::{BLOCK, INITIAL, State, compress};
use crate::request::hex;

/// The length and the SHA-256 of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// How many there are.
    pub bytes: u64,
    /// In lowercase hex.
    pub sha256: String,
}

/// How far a [`Digesting`] is, to go on from there elsewhere. Two are equal if the same bytes led to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Midstate {
    /// How many bytes were added.
    pub bytes: u64,
    state: State,
    /// The bytes after the last whole block.
    rest: Vec<u8>,
}

impl Midstate {
    /// Whether it can be one: it may come from a file.
    pub fn is_sound(&self) -> bool {
        self.rest.len() as u64 == self.bytes % BLOCK as u64
    }
}

/// A [`Digest`] in the making.
#[derive(Debug)]
pub struct Digesting {
    pair: Arc<Pair>,
    /// Which of the two is this one's.
    which: usize,
    bytes: u64,
}

/// Two that are digested together as far as possible, also if their bytes come on different threads. The first waits for
/// the second.
pub fn pair() -> [Digesting; 2] {
    let pair = Arc::new(Pair::default());
    [0, 1].map(|which| Digesting {
        pair: Arc::clone(&pair),
        which,
        bytes: 0,
    })
}

/// One on its own.
impl Default for Digesting {
    fn default() -> Self {
        let [_, this] = pair();
        this
    }
}

impl Digesting {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.pair.update(self.which, bytes);
    }

    /// How many bytes were added.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How far it is.
    pub fn midstate(&self) -> Midstate {
        let pair = self.pair.wait();
        let stream = &pair.streams[self.which];
        let (mut state, waiting) = (stream.state, &stream.waiting);
        let (blocks, rest) = waiting.as_chunks();
        compress([&mut state], [blocks]);
        Midstate {
            bytes: self.bytes,
            state,
            rest: rest.to_vec(),
        }
    }

    /// Goes on from there instead of from the beginning; nothing may have been added yet.
    #[must_use]
    pub fn from_midstate(mut self, midstate: &Midstate) -> Self {
        debug_assert!(self.bytes == 0 && midstate.is_sound(), "{midstate:?}");
        self.bytes = midstate.bytes;
        let mut pair = self.pair.wait();
        let stream = &mut pair.streams[self.which];
        stream.state = midstate.state;
        stream.waiting = midstate.rest.as_slice().into();
        drop(pair);
        self
    }

    /// The digest of all that was added.
    pub fn finish(self) -> Digest {
        Digest {
            bytes: self.bytes,
            sha256: hex(&self.pair.wait().streams[self.which].finish(self.bytes)),
        }
    }
}

impl Drop for Digesting {
    fn drop(&mut self) {
        self.pair.wait().streams[self.which].ended = true;
    }
}

/// How far one of a pair may be ahead of the other, in bytes: as an input is, by the chunks that its lanes are at.
const AHEAD_MAX: usize = 1 << 20;

/// Two streams. A thread takes both to go through them.
#[derive(Debug, Default)]
struct Pair {
    state: Mutex<PairState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct PairState {
    /// Empty while they are taken.
    streams: [Stream; 2],
    taken: bool,
    /// What came meanwhile.
    came: [Vec<u8>; 2],
    /// Whether somebody waits for them.
    awaited: bool,
}

impl Pair {
    /// Adds to one. What comes of the first waits; what comes of the second takes it along.
    fn update(&self, which: usize, bytes: &[u8]) {
        let mut state = self.lock();
        if state.taken && state.came[which].len() < AHEAD_MAX {
            return state.came[which].extend_from_slice(bytes);
        }
        state = self.wait_with(state);
        if which == 0 && state.streams[0].waiting.len() < AHEAD_MAX && !state.streams[1].ended {
            return state.streams[0].waiting.extend_from_slice(bytes);
        }
        state.taken = true;
        let mut streams = std::mem::take(&mut state.streams);
        drop(state);
        let [first, second] = &mut streams;
        match which {
            0 => first.update(bytes, second),
            _ => second.update(bytes, first),
        }
        self.put_back(streams);
    }

    fn put_back(&self, mut streams: [Stream; 2]) {
        let mut state = self.lock();
        for (stream, came) in streams.iter_mut().zip(&mut state.came) {
            stream.waiting.extend_from_slice(came);
            came.clear();
        }
        state.streams = streams;
        state.taken = false;
        if std::mem::take(&mut state.awaited) {
            self.changed.notify_all();
        }
    }

    /// Waits until nobody has them.
    fn wait(&self) -> MutexGuard<'_, PairState> {
        self.wait_with(self.lock())
    }

    fn wait_with<'a>(&self, state: MutexGuard<'a, PairState>) -> MutexGuard<'a, PairState> {
        let is_taken = |state: &mut PairState| {
            state.awaited |= state.taken;
            state.taken
        };
        let state = self.changed.wait_while(state, is_taken);
        state.unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, PairState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of one digest.
#[derive(Debug)]
struct Stream {
    state: State,
    /// What has come and is not in `state` yet: a part of a block, or more, to wait for the other of the pair.
    waiting: BytesMut,
    /// Whether no more will come.
    ended: bool,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            state: INITIAL,
            waiting: BytesMut::new(),
            ended: false,
        }
    }
}

impl Stream {
    fn update(&mut self, bytes: &[u8], other: &mut Self) {
        let (ours, others) = (self.waiting.as_chunks().0, other.waiting.as_chunks().0);
        let both = ours.len().min(others.len());
        compress(
            [&mut self.state, &mut other.state],
            [&ours[..both], &others[..both]],
        );
        self.waiting.advance(both * BLOCK);
        other.waiting.advance(both * BLOCK);
        let bytes = if self.blocks().is_empty() {
            self.catch_up(bytes, other)
        } else {
            bytes
        };
        self.waiting.extend_from_slice(bytes);
        if other.ended || self.waiting.len() > AHEAD_MAX {
            self.go_on();
        }
    }

    /// Goes through bytes where they are, together with those of the other that wait or if the other has ended. What is
    /// left is to wait.
    fn catch_up<'a>(&mut self, bytes: &'a [u8], other: &mut Self) -> &'a [u8] {
        let begun = self.waiting.len();
        let (head, rest) = bytes.split_at(bytes.len().min(begun.next_multiple_of(BLOCK) - begun));
        self.waiting.extend_from_slice(head);
        self.go_on();
        if !self.waiting.is_empty() {
            return rest;
        }
        let blocks = rest.as_chunks().0;
        let (both, alone) = blocks.split_at(blocks.len().min(other.blocks().len()));
        let others = &other.waiting.as_chunks().0[..both.len()];
        compress([&mut self.state, &mut other.state], [both, others]);
        other.waiting.advance(both.as_flattened().len());
        if other.ended {
            compress([&mut self.state], [alone]);
            return &rest[blocks.as_flattened().len()..];
        }
        &rest[both.as_flattened().len()..]
    }

    /// Does not wait for the other.
    fn go_on(&mut self) {
        let blocks = self.waiting.as_chunks().0;
        compress([&mut self.state], [blocks]);
        let compressed = blocks.as_flattened().len();
        self.waiting.advance(compressed);
    }

    /// The SHA-256 of so many bytes: FIPS 180-4, section 5.1.1 says how the last block is filled up.
    fn finish(&mut self, bytes: u64) -> [u8; 32] {
        self.waiting.put_u8(0x80);
        let filled = (self.waiting.len() + size_of::<u64>()).next_multiple_of(BLOCK);
        self.waiting.resize(filled - size_of::<u64>(), 0);
        self.waiting.put_u64(8 * bytes);
        self.go_on();
        let mut digest = [0; 32];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_be_bytes();
        }
        digest
    }

    fn blocks(&self) -> &[[u8; BLOCK]] {
        self.waiting.as_chunks().0
    }
}

#[cfg(test)]
mod tests;
