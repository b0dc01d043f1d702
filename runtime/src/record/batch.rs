//! A [`Batch`] holds consecutive records of one input. The decoder fills the batch, the plugin reads it, and the
//! encoder writes its records. A batch is an arena, so that no memory is allocated for a single record or field.
//!
//! The chunks of an input are decoded independently, so a lane does not know the position of its chunk in the input.
//! Positions count from the start of the chunk. An error is kept as a [`ChunkError`] until the chunk's [`ChunkOrigin`]
//! is known.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::format::Span;

/// Some consecutive records of a chunk, in raw form and as the plugin reads them.
#[derive(Debug, Default)]
pub struct Batch {
    /// The chunk, which is whole records including their line ends.
    pub raw: Vec<u8>,
    /// The part of `raw` that has been decoded, up to the last record of this batch.
    pub used: Used,
    /// The records that go to the plugin.
    pub rows: Vec<Row>,
    /// The records of `rows`, rewritten as plain CSV. Empty if the decoder does not rewrite records.
    pub rewritten: Vec<u8>,
    /// The span of each row in `rewritten`, without a line end. Empty if the decoder does not rewrite records.
    pub lines: Vec<[u32; 2]>,
    /// True if the plugin gets `raw` and reads fields there, in place. Rows that cannot be read in place have their
    /// fields in `fields`, and the plugin gets these after `raw`.
    pub in_place: bool,
    /// The unescaped fields of the rows that are not read in place, row after row, in UTF-8. One more byte follows each
    /// field. For JSONL, this byte is `"` after a string, and another byte after any other value.
    pub fields: Vec<u8>,
    /// The start of each row's first field. If `in_place` is true, this is an offset in the concatenation of `raw` and
    /// `fields`. If `in_place` is false, it is an offset in `fields`.
    pub starts: Vec<u32>,
    /// The end of each field. The number of ends is `rows.len()` times the number of columns that the plugin reads. The
    /// next field of the row begins one byte after this end.
    pub ends: Vec<u32>,
    /// The start and end of each cell that the plugin reads, including quotes, for rows of CSV that are not read in
    /// place. These are offsets in `rewritten` if the decoder rewrites records, and otherwise in `raw`. The spans of a
    /// row begin at the index [`Row::cells`], and are in the order of the input's columns.
    pub spans: Vec<[u32; 2]>,
    /// The malformed records, in order. They do not go to the plugin.
    pub malformed: Vec<MalformedRecord>,
}

/// The part of a chunk that has been decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// The number of bytes.
    pub bytes: usize,
    /// The number of records, including malformed records.
    pub records: u32,
    /// The number of lines.
    pub lines: u32,
}

/// One record of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The start of the record in [`Batch::raw`].
    pub start: u32,
    /// The end of the record in [`Batch::raw`], without its line end.
    pub end: u32,
    /// The number of records in the chunk before this record.
    pub number: u32,
    /// The number of lines in the chunk before this record.
    pub line: u32,
    /// The index of the record's first cell in [`Batch::spans`], or [`IN_PLACE`] if the record has no spans.
    pub cells: u32,
}

/// The value of [`Row::cells`] for a row without spans: a CSV row that is read in place, or an object of JSONL.
pub const IN_PLACE: u32 = u32::MAX;

/// For one CSV row, the positions of the cells that the plugin reads. The positions are offsets in the text that
/// [`Batch::text`] returns for the row.
#[derive(Debug, Clone, Copy)]
pub enum Cells<'a> {
    /// All cells of the row, one after the other. The first cell begins at this offset, and the cells end at these
    /// offsets.
    InPlace(u32, &'a [u32]),
    /// Some cells of the row, each with its start and its end.
    Apart(&'a [[u32; 2]]),
}

impl Cells<'_> {
    /// Returns the cell at the index `place`. The cells are in the order of the input's columns.
    #[inline]
    pub fn at(self, place: usize) -> Span {
        let (start, end) = match self {
            Self::Apart(spans) => (spans[place][0], spans[place][1]),
            Self::InPlace(start, ends) if place == 0 => (start, ends[0]),
            Self::InPlace(_, ends) => (ends[place - 1] + 1, ends[place]),
        };
        Span {
            start: start as usize,
            end: end as usize,
        }
    }
}

/// A record that could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedRecord {
    /// The position of the record.
    pub row: Row,
    /// The code of the reject, such as `ragged-row`.
    pub code: &'static str,
    /// The reason of the reject, which is a sentence.
    pub reason: String,
}

/// The position of a record in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The number of the record, counted from 1. The header does not count.
    pub record: u64,
    /// The line on which the record starts, counted from 1.
    pub line: u64,
    /// The offset of the record's first byte in the decompressed input, counted from 0. If the input is converted to
    /// UTF-8 or its spaces become tabs, this is the offset in the converted text.
    pub offset: u64,
}

impl Batch {
    /// Loads a chunk. Returns the bytes of the previous chunk, so that their memory can be reused.
    pub fn load(&mut self, raw: Vec<u8>) -> Vec<u8> {
        self.clear();
        self.used = Used::default();
        std::mem::replace(&mut self.raw, raw)
    }

    /// Clears the batch for the next records of the chunk, and keeps its memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.rewritten.clear();
        self.lines.clear();
        self.in_place = false;
        self.fields.clear();
        self.starts.clear();
        self.ends.clear();
        self.spans.clear();
        self.malformed.clear();
    }

    /// Returns the number of bytes that the batch passes to a call into the plugin.
    pub fn lent_bytes(&self) -> usize {
        let raw = if self.in_place { self.raw.len() } else { 0 };
        raw + self.fields.len() + size_of::<u32>() * (self.starts.len() + self.ends.len())
    }

    /// Frees vectors that use more than `bytes_max` bytes.
    pub fn shrink(&mut self, bytes_max: usize) {
        if self.fields.capacity() > bytes_max {
            self.fields = Vec::new();
        }
        if self.rewritten.capacity() > bytes_max {
            self.rewritten = Vec::new();
        }
        if size_of::<u32>() * self.ends.capacity() > bytes_max {
            self.ends = Vec::new();
        }
        if size_of::<[u32; 2]>() * self.spans.capacity() > bytes_max {
            self.spans = Vec::new();
        }
    }

    /// Returns whether the batch has neither records for the plugin nor malformed records.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.malformed.is_empty()
    }

    /// Returns a new batch with some of the records, in the form in which the plugin reads them. `width` is the number
    /// of columns that the plugin reads.
    pub fn part(&self, rows: Range<usize>, width: usize) -> Self {
        let mut part = Self {
            rows: self.rows[rows.clone()].to_vec(),
            ..Self::default()
        };
        let base = if self.in_place { self.raw.len() } else { 0 };
        for row in rows {
            let (start, ends) = (self.starts[row], &self.ends[row * width..][..width]);
            let end = ends.last().copied().unwrap_or(start);
            let [from, to] = [start, end].map(|at| at as usize);
            let moved = part.fields.len() as u32;
            part.starts.push(moved);
            part.ends.extend(ends.iter().map(|end| end - start + moved));
            let (text, from, to) = match from.checked_sub(base) {
                Some(from) => (&self.fields, from, to - base),
                None => (&self.raw, from, to),
            };
            part.fields.extend_from_slice(&text[from..to]);
            // For JSONL, the byte after a field says whether the field is a string.
            part.fields.push(text.get(to).copied().unwrap_or(b'\n'));
        }
        part
    }

    /// Returns the raw bytes of a record, without the line end.
    pub fn raw(&self, row: Row) -> &[u8] {
        &self.raw[row.start as usize..row.end as usize]
    }

    /// Returns the text that contains the row with the index `row`, and the span of the row in this text, without a
    /// line end. The cells of the row are in the same text.
    #[inline]
    pub fn text(&self, row: usize) -> (&[u8], Span) {
        let (text, [start, end]) = match self.lines.get(row) {
            None => (&self.raw, [self.rows[row].start, self.rows[row].end]),
            Some(&line) => (&self.rewritten, line),
        };
        let span = Span {
            start: start as usize,
            end: end as usize,
        };
        (text, span)
    }

    /// Returns the bytes of the row with the index `row`, as in [`Batch::text`].
    #[inline]
    pub fn record(&self, row: usize) -> &[u8] {
        let (text, span) = self.text(row);
        span.of(text)
    }

    /// Returns the cells of the row with the index `row`. `reads` is the number of columns that the plugin reads.
    #[inline]
    pub fn cells(&self, row: usize, reads: usize) -> Cells<'_> {
        let Row { start, cells, .. } = self.rows[row];
        if cells == IN_PLACE {
            return Cells::InPlace(start, &self.ends[row * reads..][..reads]);
        }
        Cells::Apart(&self.spans[cells as usize..][..reads])
    }

    /// Lends the bytes from which the plugin reads fields. The caller must return them with [`Batch::take_back`].
    pub fn lend(&mut self) -> Vec<u8> {
        if !self.in_place {
            return std::mem::take(&mut self.fields);
        }
        self.raw.extend_from_slice(&self.fields);
        std::mem::take(&mut self.raw)
    }

    /// Takes back the lent bytes.
    pub fn take_back(&mut self, mut lent: Vec<u8>) {
        if !self.in_place {
            self.fields = lent;
            return;
        }
        lent.truncate(lent.len() - self.fields.len());
        self.raw = lent;
    }
}

impl Used {
    /// Advances past a line without a record. The next line begins at `next`.
    pub fn blank_line(&mut self, next: usize) {
        self.bytes = next;
        self.lines += 1;
    }

    /// Advances past a record of `lines` lines. The next line begins at `next`.
    pub fn record(&mut self, next: usize, lines: usize) {
        self.bytes = next;
        self.records += 1;
        self.lines += lines as u32;
    }

    /// Returns the row for the next record, which ends at `end`.
    pub fn row(&self, end: usize) -> Row {
        // Both casts are in range, because a chunk has less than 4 GiB.
        Row {
            start: self.bytes as u32,
            end: end as u32,
            number: self.records,
            line: self.lines,
            cells: IN_PLACE,
        }
    }
}

/// The start of a chunk in the input: the position of its first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkOrigin(pub Position);

impl ChunkOrigin {
    /// Returns the position of a record of the chunk in the whole input.
    pub fn position(&self, row: Row) -> Position {
        Position {
            record: self.0.record + u64::from(row.number),
            line: self.0.line + u64::from(row.line),
            offset: self.0.offset + u64::from(row.start),
        }
    }

    /// Advances past the bytes, records and lines in `used`.
    pub fn advance(&mut self, used: Used) {
        self.0.record += u64::from(used.records);
        self.0.line += u64::from(used.lines);
        self.0.offset += used.bytes as u64;
    }
}

/// An error in a chunk. It gets its position in the input when the chunk's origin is known.
pub struct ChunkError(Box<dyn FnOnce(&ChunkOrigin) -> Error + Send>);

impl ChunkError {
    /// Returns an error whose message names a position. `to_error` makes the error from the chunk's origin.
    pub fn new(to_error: impl FnOnce(&ChunkOrigin) -> Error + Send + 'static) -> Self {
        Self(Box::new(to_error))
    }

    /// Returns the error for a chunk that begins at `origin`.
    pub fn at(self, origin: &ChunkOrigin) -> Error {
        (self.0)(origin)
    }
}

impl From<Error> for ChunkError {
    fn from(error: Error) -> Self {
        Self::new(|_| error)
    }
}

impl std::fmt::Debug for ChunkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChunkError")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_the_fields_of_its_records() {
        let mut used = Used::default();
        let rows = (1..=3).map(|next| {
            let row = used.row(next);
            used.record(next, 1);
            row
        });
        // The second record is not read in place.
        let batch = Batch {
            raw: b"a,bb\n\"\",c\n,dd\n".to_vec(),
            in_place: true,
            rows: rows.collect(),
            fields: b"\nc\n".to_vec(),
            starts: vec![0, 14, 10],
            ends: vec![1, 4, 14, 16, 10, 13],
            ..Batch::default()
        };
        let part = batch.part(1..3, 2);
        assert_eq!(part.rows, batch.rows[1..]);
        assert_eq!(part.fields, b"\nc\n,dd\n");
        assert_eq!((part.starts, part.ends), (vec![0, 3], vec![0, 2, 3, 6]));
        assert_eq!(batch.part(0..1, 2).fields, b"a,bb\n");
        // For JSONL, the byte after a field says whether the field is a string.
        let jsonl = Batch {
            in_place: false,
            fields: b"1\n2\"3\"4\n".to_vec(),
            starts: vec![0, 4],
            ends: vec![1, 3, 5, 7],
            ..batch
        };
        assert_eq!(jsonl.part(0..1, 2).fields, b"1\n2\"");
        assert_eq!(jsonl.part(1..2, 2).fields, b"3\"4\n");
        // A plugin is allowed to read no columns at all.
        let blind = Batch {
            ends: Vec::new(),
            ..jsonl
        };
        assert_eq!(blind.part(1..2, 0).starts.len(), 1);
    }
}
