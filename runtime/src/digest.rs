//! Bytes pass, their length and SHA-256 come out. Inputs, outputs and rejects are named by it in receipts.

use sha2::{Digest as _, Sha256};

use crate::request::hex;

/// The length and the SHA-256 of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// How many there are.
    pub bytes: u64,
    /// In lowercase hex.
    pub sha256: String,
}

/// A [`Digest`] in the making.
#[derive(Debug, Clone, Default)]
pub struct Digesting {
    hasher: Sha256,
    bytes: u64,
}

impl Digesting {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// How many bytes were added.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest of all that was added.
    pub fn finish(self) -> Digest {
        Digest {
            bytes: self.bytes,
            sha256: hex(&self.hasher.finalize()),
        }
    }
}
