//! A reader goes in; a sample comes out, which is the beginning of the input and serves to detect its format. Together
//! with the reader, the sample can be turned into an input for a splitter, or into a reader of the whole input.

use std::io::{Cursor, Read};

use super::Reader;
use super::split::PeekedInput;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::format::BYTE_ORDER_MARK;

/// The length of a sample, in bytes.
pub(super) const SAMPLE_BYTES: usize = 64 << 10;

/// The beginning of an input, or of its rest after skipped lines.
#[derive(Clone)]
pub(super) struct Sample {
    bytes: Vec<u8>,
    /// True if the sample is the start of the file. A byte order mark is possible only there.
    is_start: bool,
    /// True if the sample is the whole input.
    pub(super) whole: bool,
}

impl Sample {
    /// Reads the beginning of a file.
    ///
    /// # Errors
    /// Returns the reader's errors, unchanged if they are errors of this crate.
    pub(super) fn read(reader: &mut Reader, name: &str) -> Result<Self> {
        // Most small files fit into this capacity. For larger files the vector grows, which copies its bytes.
        let mut bytes = Vec::with_capacity(16 << 10);
        read_on(reader, name, 0, SAMPLE_BYTES, &mut bytes)?;
        let whole = bytes.len() < SAMPLE_BYTES;
        Ok(Self {
            bytes,
            is_start: true,
            whole,
        })
    }

    /// Returns the sample with its field `is_start` set to the argument.
    pub(super) fn at_start(self, is_start: bool) -> Self {
        Self { is_start, ..self }
    }

    /// Returns whether the sample is the start of the file.
    pub(super) fn is_start(&self) -> bool {
        self.is_start
    }

    /// Returns whether the sample begins with a byte order mark of UTF-16.
    pub(super) fn is_utf16(&self) -> bool {
        self.is_start && has_utf16_mark(&self.bytes)
    }

    /// Returns the bytes as they were read.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the bytes without the byte order mark of UTF-8, if there is one.
    pub(super) fn text(&self) -> &[u8] {
        let text = self.bytes.strip_prefix(BYTE_ORDER_MARK);
        text.filter(|_| self.is_start).unwrap_or(&self.bytes)
    }

    /// Returns the byte order mark of UTF-8, or nothing if there is none, and the sample without it.
    pub(super) fn split_mark(mut self) -> (&'static [u8], Self) {
        if self.text().len() == self.bytes.len() {
            return (&[], self);
        }
        self.bytes.drain(..BYTE_ORDER_MARK.len());
        (BYTE_ORDER_MARK, self)
    }

    /// Returns a sample whose text is the result of `change`.
    pub(super) fn changed(&self, change: impl FnOnce(&[u8]) -> Vec<u8>) -> Self {
        Self {
            bytes: change(self.text()),
            is_start: self.is_start,
            whole: self.whole,
        }
    }

    /// Returns the whole input for a splitter. `rest` must read the bytes after the sample.
    pub(super) fn into_input(self, rest: Reader) -> PeekedInput {
        PeekedInput {
            read: self.bytes,
            has_ended: self.whole,
            rest,
        }
    }

    /// Returns a reader of the sample followed by `rest`.
    pub(super) fn into_reader(self, rest: Reader) -> Reader {
        Box::new(Cursor::new(self.bytes).chain(rest))
    }
}

/// Returns whether bytes begin with the byte order mark of UTF-16, in either byte order.
pub(super) fn has_utf16_mark(bytes: &[u8]) -> bool {
    matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..])
}

/// Returns whether bytes begin with the byte order mark of UTF-16 or UTF-8.
pub(super) fn has_mark(bytes: &[u8]) -> bool {
    has_utf16_mark(bytes) || bytes.starts_with(BYTE_ORDER_MARK)
}

/// Reads the next bytes, at most `bytes_max`, and appends them to `bytes`. `before` is the number of input bytes before
/// the first byte of `bytes`.
///
/// # Errors
/// Returns the reader's errors, unchanged if they are errors of this crate.
pub(super) fn read_on(
    reader: &mut Reader,
    name: &str,
    before: u64,
    bytes_max: usize,
    bytes: &mut Vec<u8>,
) -> Result<()> {
    let read = reader.take(bytes_max as u64).read_to_end(bytes);
    read.map(drop).map_err(|error| {
        let place = before + bytes.len() as u64;
        let what = format!("{name}: reading failed after byte {place}");
        Error::from_io(
            error,
            Stage::Decode,
            Class::Transient,
            Code::InputUnreadable,
            what,
        )
    })
}

#[cfg(test)]
impl Sample {
    /// Returns the sample of a text.
    pub(super) fn of(text: impl AsRef<[u8]>) -> Self {
        let mut reader: Reader = Box::new(Cursor::new(text.as_ref().to_vec()));
        Self::read(&mut reader, "a.csv").expect("a text can be read")
    }
}
