//! A buffer of texts that grows by short pieces: values come in, bytes in UTF-8 go out.

use std::fmt;
use std::ops::Range;

use crate::words;

/// Texts that are stored one after the other.
#[derive(Debug, Default)]
pub(crate) struct Text(Vec<u8>);

impl Text {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the offset at which the last text ends.
    #[inline]
    pub(crate) fn end(&self) -> u32 {
        offset(self.0.len())
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    #[inline]
    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Appends all texts of `other`.
    pub(crate) fn append(&mut self, texts: &[u8]) {
        self.0.extend_from_slice(texts);
    }

    /// Replaces the bytes in `old` with the bytes from `start` on, and returns the number of moved bytes.
    pub(crate) fn move_to(&mut self, old: Range<usize>, start: usize) -> usize {
        let moved = self.0.len() - start;
        self.0[old.start..].rotate_right(moved);
        self.0.drain(old.start + moved..old.end + moved);
        moved
    }
}

impl fmt::Write for Text {
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        words::append(&mut self.0, text.as_bytes());
        Ok(())
    }
}

/// Converts `at` to the interface's type for offsets.
#[inline]
pub(crate) fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("what a plugin writes about one batch stays below 4 GiB")
}
