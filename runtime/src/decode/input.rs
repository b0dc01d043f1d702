//! A reader's bytes in, the same bytes out in pieces that hold whole records. Here stands all that the
//! decoders have in common: how much is read, where it is in the input, what of it is UTF-8, and how errors
//! name the place.

use std::io::Read;

use crate::batch::{Batch, Row};
use crate::config::Limits;
use crate::error::{Class, Error, Result, Stage};
use crate::format::BYTE_ORDER_MARK;

/// CRLF, and one byte more, which tells that a lone CR is one.
const LINE_END_BYTES: usize = 3;

/// An input and how far it has been decoded.
pub(super) struct Input {
    reader: Box<dyn Read + Send>,
    name: String,
    /// What has been read; what comes before `start` is taken.
    buffer: Vec<u8>,
    start: usize,
    /// Whether the reader has come to its end.
    ended: bool,
    /// How many bytes were taken.
    offset: u64,
    /// The number of the record that comes next; 0 is the header.
    record: u64,
    /// The line that comes next.
    line: u64,
    batch_bytes: usize,
    batch_records: usize,
    batch_cells: usize,
    record_bytes_max: usize,
}

/// How much of an input's buffer has been decoded.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    pub(super) bytes: usize,
    pub(super) records: u32,
    pub(super) lines: u32,
}

impl Used {
    /// Goes on after a line without a record.
    pub(super) fn blank_line(&mut self, next: usize) {
        self.bytes = next;
        self.lines += 1;
    }

    /// Goes on after a record of so many lines.
    pub(super) fn record(&mut self, next: usize, lines: usize) {
        self.bytes = next;
        self.records += 1;
        self.lines += lines as u32;
    }

    /// The next record, which ends at `end`.
    pub(super) fn row(&self, end: usize) -> Row {
        // Within bounds: `Input::open` sees to it that a buffer has less than 4 GiB.
        Row {
            start: self.bytes as u32,
            end: end as u32,
            number: self.records,
            line: self.lines,
        }
    }
}

impl Input {
    /// Starts an input and passes over its byte order mark; `record` is the number of the first record.
    ///
    /// # Errors
    /// If it is UTF-16; those of the reader.
    pub(super) fn open(
        reader: Box<dyn Read + Send>,
        name: &str,
        limits: &Limits,
        record: u64,
    ) -> Result<Self> {
        let bytes_max = u32::MAX as usize / 2;
        let mut input = Self {
            reader,
            name: name.to_owned(),
            buffer: Vec::new(),
            start: 0,
            ended: false,
            offset: 0,
            record,
            line: 1,
            batch_bytes: limits.batch_bytes.clamp(1, bytes_max),
            batch_records: limits.batch_records.max(1),
            batch_cells: limits.batch_cells,
            record_bytes_max: limits.record_bytes_max.min(bytes_max),
        };
        input.fill(BYTE_ORDER_MARK.len())?;
        match *input.rest() {
            [0xef, 0xbb, 0xbf, ..] => input.take(Used {
                bytes: 3,
                ..Used::default()
            }),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
                return Err(input.error("is UTF-16, which is not read: convert it to UTF-8"));
            }
            _ => {}
        }
        Ok(input)
    }

    /// Reads on until `scan` finds what it looks for in the bytes that come next; it is told whether they
    /// are the last ones. It sees as many bytes as a batch has, and then, from the same start, ever more:
    /// when it sees more than a batch has, the first record alone fills the batch.
    ///
    /// # Errors
    /// If it finds nothing in the longest record that is allowed, and its own ones.
    pub(super) fn scan<T>(
        &mut self,
        mut scan: impl FnMut(&Self, &[u8], bool) -> Result<Option<T>>,
    ) -> Result<T> {
        let bytes_max = self.record_bytes_max + LINE_END_BYTES;
        let mut bytes = self.batch_bytes;
        loop {
            self.fill(bytes)?;
            let rest = self.rest();
            let seen = &rest[..bytes.min(rest.len())];
            if let Some(found) = scan(self, seen, self.ended && seen.len() == rest.len())? {
                return Ok(found);
            }
            if bytes >= bytes_max {
                return Err(self.too_long(Used::default()));
            }
            bytes = (2 * bytes).min(bytes_max);
        }
    }

    /// How many records of so many columns a batch has at most that is cut from `seen`, as [`Self::scan`]
    /// shows it.
    pub(super) fn records_max(&self, seen: &[u8], columns: usize) -> usize {
        if seen.len() > self.batch_bytes {
            return 1;
        }
        (self.batch_cells / columns.max(1)).clamp(1, self.batch_records)
    }

    /// Goes on after what was used.
    pub(super) fn take(&mut self, used: Used) {
        self.start += used.bytes;
        self.advance(used);
    }

    /// Goes on after what was used, and makes it the batch's.
    pub(super) fn take_into(&mut self, batch: &mut Batch, used: Used) {
        batch.raw.clear();
        let taken = self.start + used.bytes;
        // The shorter part is copied: a small batch leaves a long rest, again and again.
        if self.start == 0 && self.buffer.len() - taken <= taken {
            std::mem::swap(&mut batch.raw, &mut self.buffer);
            self.buffer.extend_from_slice(&batch.raw[taken..]);
            batch.raw.truncate(taken);
        } else {
            batch.raw.extend_from_slice(&self.buffer[self.start..taken]);
            self.start = taken;
        }
        (batch.offset, batch.first_record, batch.first_line) = (self.offset, self.record, self.line);
        self.advance(used);
    }

    /// Whether everything was read and taken.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.rest().is_empty()
    }

    /// Checks the length of the next record, which ends at `end`.
    ///
    /// # Errors
    /// If it is beyond the limit.
    pub(super) fn check_length(&self, used: Used, end: usize) -> Result<()> {
        if end - used.bytes > self.record_bytes_max {
            return Err(self.too_long(used));
        }
        Ok(())
    }

    /// An error that concerns the whole input.
    pub(super) fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::permanent(Stage::Decode, format!("{}: {message}", self.name))
    }

    /// An error that concerns the next record.
    pub(super) fn error_at(&self, used: Used, message: impl std::fmt::Display) -> Error {
        let (record, line) = (
            self.record + u64::from(used.records),
            self.line + u64::from(used.lines),
        );
        match record {
            0 => self.error(format_args!("header (line {line}): {message}")),
            _ => self.error(format_args!("record {record} (line {line}): {message}")),
        }
    }

    /// The line that is `lines` after the one that comes next.
    pub(super) fn line(&self, lines: usize) -> u64 {
        self.line + lines as u64
    }

    fn too_long(&self, used: Used) -> Error {
        let message = format!(
            "is longer than the {} bytes allowed; is a quote never closed, or is it another format?",
            self.record_bytes_max
        );
        self.error_at(used, message)
    }

    fn advance(&mut self, used: Used) {
        self.offset += used.bytes as u64;
        self.record += u64::from(used.records);
        self.line += u64::from(used.lines);
    }

    /// What has been read and not yet taken.
    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads until the rest has `bytes` bytes or the input ends.
    fn fill(&mut self, bytes: usize) -> Result<()> {
        let missing = bytes.saturating_sub(self.rest().len());
        if self.ended || missing == 0 {
            return Ok(());
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        // The rest was moved, which is to pay even if only a few bytes are missing.
        let missing = missing.max(bytes / 4);
        self.buffer.reserve(missing);
        let read = (&mut self.reader)
            .take(missing as u64)
            .read_to_end(&mut self.buffer)
            .map_err(|e| {
                let place = self.offset + self.buffer.len() as u64;
                let message = format!("{}: reading failed after byte {place}", self.name);
                Error::from_io(e, Stage::Decode, Class::Transient, message)
            })?;
        self.ended = read < missing;
        Ok(())
    }
}

/// How much is looked at in one go for whether it is UTF-8: much more than a record mostly has, and little
/// enough to look at in vain when the batch ends.
const UTF8_BYTES: usize = 16 << 10;

/// What of a buffer is UTF-8.
#[derive(Default)]
pub(super) struct Utf8 {
    valid_to: usize,
}

impl Utf8 {
    /// Checks the record at `row`, which must come after the one before.
    ///
    /// # Errors
    /// The reason if it is not UTF-8.
    pub(super) fn check(&mut self, raw: &[u8], row: Row) -> std::result::Result<(), String> {
        let (start, end) = (row.start as usize, row.end as usize);
        if end <= self.valid_to {
            return Ok(());
        }
        let from = self.valid_to.max(start);
        let to = raw.len().min(end.max(from + UTF8_BYTES));
        self.valid_to = from + valid_to(&raw[from..to]);
        if end <= self.valid_to {
            return Ok(());
        }
        let bad = self.valid_to;
        self.valid_to = end;
        Err(format!(
            "byte {} of the record, 0x{:02x}, is not UTF-8",
            bad - start + 1,
            raw[bad]
        ))
    }
}

fn valid_to(raw: &[u8]) -> usize {
    match std::str::from_utf8(raw) {
        Ok(_) => raw.len(),
        Err(error) => error.valid_up_to(),
    }
}
