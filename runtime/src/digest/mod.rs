//! Computes the length and the SHA-256 of bytes. Receipts use both values to identify inputs, outputs and rejects.
//!
//! Each step of SHA-256 waits for the previous step, so a single stream leaves a core idle half of the time. Code that
//! digests two streams therefore calls [`update_both`], which takes hardly more time than one stream alone.

mod compress;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use self::compress::{BLOCK, INITIAL, Sha256State, compress};

/// The number of hex digits of a digest that file names contain. It is enough to distinguish the files of one request.
pub const SHORT_DIGEST_CHARS: usize = 12;

/// The length and the SHA-256 of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// The number of bytes.
    pub bytes: u64,
    /// The SHA-256 in lowercase hex.
    pub sha256: String,
}

/// The state of a [`Digesting`], from which another process can continue the digest. Two states are equal if they
/// result from the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Midstate {
    /// The number of bytes added.
    pub bytes: u64,
    state: Sha256State,
    /// The bytes after the last whole block.
    rest: Vec<u8>,
}

impl Midstate {
    /// Returns whether the length of `rest` fits the number of bytes. In a state that was read from a file, this length
    /// can be wrong.
    pub fn is_sound(&self) -> bool {
        self.rest.len() as u64 == self.bytes % BLOCK as u64
    }
}

/// A [`Digest`] that is being computed.
#[derive(Debug)]
pub struct Digesting(Midstate);

impl Default for Digesting {
    fn default() -> Self {
        Self(Midstate {
            bytes: 0,
            state: INITIAL,
            rest: Vec::new(),
        })
    }
}

/// Adds the next bytes to each of two digests. Compresses both at the same time while both have blocks left.
pub fn update_both(first: (&mut Digesting, &[u8]), second: (&mut Digesting, &[u8])) {
    let [mut one, mut other] = [first, second].map(|(digesting, bytes)| digesting.fill_block(bytes));
    let both = one.blocks.len().min(other.blocks.len());
    compress(
        [one.state, other.state],
        [&one.blocks[..both], &other.blocks[..both]],
    );
    for left in [&mut one, &mut other] {
        left.blocks = &left.blocks[both..];
        left.finish();
    }
}

/// The whole blocks that are still to be compressed, and the bytes after them.
struct PendingBlocks<'a, 'b> {
    state: &'a mut Sha256State,
    blocks: &'b [[u8; BLOCK]],
    rest: &'a mut Vec<u8>,
    /// The bytes after the blocks.
    tail: &'b [u8],
}

impl PendingBlocks<'_, '_> {
    fn finish(&mut self) {
        compress([self.state], [self.blocks]);
        self.rest.extend_from_slice(self.tail);
    }
}

impl Digesting {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.fill_block(bytes).finish();
    }

    /// Returns the number of bytes added.
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// Returns the current state.
    pub fn midstate(&self) -> Midstate {
        self.0.clone()
    }

    /// Continues from a state.
    pub fn from_midstate(midstate: Midstate) -> Self {
        debug_assert!(midstate.is_sound(), "{midstate:?}");
        Self(midstate)
    }

    /// Returns the digest of all bytes added. FIPS 180-4, section 5.1.1 defines the padding of the last block.
    pub fn finish(mut self) -> Digest {
        let bytes = self.0.bytes;
        let filled = (self.0.rest.len() + 1 + size_of::<u64>()).next_multiple_of(BLOCK);
        let mut end = vec![0; filled - self.0.rest.len()];
        end[0] = 0x80;
        let length = end.len() - size_of::<u64>();
        end[length..].copy_from_slice(&(8 * bytes).to_be_bytes());
        self.update(&end);
        let sha256: Vec<u8> = self.0.state.iter().flat_map(|word| word.to_be_bytes()).collect();
        let sha256 = HEXLOWER.encode(&sha256);
        Digest { bytes, sha256 }
    }

    /// Fills up the block that was begun, and compresses this block if it is full. Returns the remaining bytes.
    fn fill_block<'a, 'b>(&'a mut self, bytes: &'b [u8]) -> PendingBlocks<'a, 'b> {
        let Midstate {
            bytes: added,
            state,
            rest,
        } = &mut self.0;
        *added += bytes.len() as u64;
        let begun = rest.len();
        let (head, behind) = bytes.split_at(bytes.len().min(begun.next_multiple_of(BLOCK) - begun));
        rest.extend_from_slice(head);
        if let ([block], []) = rest.as_chunks() {
            compress([state], [&[*block]]);
            rest.clear();
        }
        let (blocks, tail) = behind.as_chunks();
        PendingBlocks {
            state,
            blocks,
            rest,
            tail,
        }
    }
}

/// The number of hex digits of a SHA-256.
const SHA256_CHARS: usize = 64;

/// Returns a SHA-256 in hex with lowercase digits, or `None` if the text is not a SHA-256 in hex.
pub fn parse_sha256(text: &str) -> Option<String> {
    let is_digest = text.len() == SHA256_CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
