//! Consecutive records of one input, as a [`Batch`]: cut out by the decoder, read by the plugin, written by the encoder. It is an
//! arena, so that nothing is allocated for a record or a field.
//!
//! The chunks of an input are decoded independently. A lane that has one does not know what came before it: positions count from
//! its start, and an error waits as a [`ChunkError`] until its [`ChunkOrigin`] is known.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::format::Span;

/// Some consecutive records of a chunk, in raw form and as the plugin reads them.
#[derive(Debug, Default)]
pub struct Batch {
    /// The chunk: whole records, their line ends included.
    pub raw: Vec<u8>,
    /// The part of `raw` that has been decoded, up to the last record of this batch.
    pub used: Used,
    /// The records that go to the plugin.
    pub rows: Vec<Row>,
    /// The records of `rows` as plain CSV, for CSV in another syntax than the output's; otherwise empty.
    pub rewritten: Vec<u8>,
    /// The span of each row in `rewritten`, without a line end; empty if rows are in `raw`.
    pub lines: Vec<[u32; 2]>,
    /// True if the plugin gets `raw` and reads fields in place. The fields of other rows follow after it.
    pub in_place: bool,
    /// The fields of the rows that are not read in place, unescaped, row after row, each followed by one byte. For JSONL that
    /// byte is `"` after a string, and another one after any other value. The fields are UTF-8.
    pub fields: Vec<u8>,
    /// The start of each row's first field, in `raw` followed by `fields`, or in `fields` if nothing is read in place.
    pub starts: Vec<u32>,
    /// The end of each field: `rows.len()` times the number of columns read. The next field of the row begins one byte later.
    pub ends: Vec<u32>,
    /// The start and end of each column that is read, quotes included, for rows of CSV that are not read in place. They are
    /// offsets in `raw`, or in `rewritten` if that is used. A row's spans begin at its [`Row::cells`], in the order of the
    /// input's columns.
    pub spans: Vec<[u32; 2]>,
    /// The records that do not go to the plugin because they are malformed, in order.
    pub malformed: Vec<MalformedRecord>,
}

/// The part of a chunk that has been decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Bytes.
    pub bytes: usize,
    /// Records, malformed ones included.
    pub records: u32,
    /// Lines.
    pub lines: u32,
}

/// One record of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Start of the record in [`Batch::raw`].
    pub start: u32,
    /// End of the record in [`Batch::raw`], its line end not included.
    pub end: u32,
    /// The number of records of the chunk before it.
    pub number: u32,
    /// The number of lines of the chunk before it.
    pub line: u32,
    /// The index of its first cell in [`Batch::spans`]; [`IN_PLACE`] if its fields are read in place.
    pub cells: u32,
}

/// The value of [`Row::cells`] for a row that is read in place.
pub const IN_PLACE: u32 = u32::MAX;

/// The positions of one CSV row's cells in its [`Batch::text`], those that are read.
#[derive(Debug, Clone, Copy)]
pub enum Cells<'a> {
    /// Next to each other from this offset on, with these ends.
    InPlace(u32, &'a [u32]),
    /// Each with its start and its end.
    Apart(&'a [[u32; 2]]),
}

impl Cells<'_> {
    /// Returns the cell of the `place`-th column that is read, in the order of the input's columns.
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
    /// The reject's code, such as `ragged-row`.
    pub code: &'static str,
    /// The reject's reason, a sentence.
    pub reason: String,
}

/// The position of a record in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The number of the record, from 1, without the header.
    pub record: u64,
    /// The line it starts on, from 1.
    pub line: u64,
    /// The byte it starts at in the decompressed input, from 0.
    pub offset: u64,
}

impl Batch {
    /// Loads a chunk and returns the bytes of the previous one, to reuse their memory.
    pub fn load(&mut self, raw: Vec<u8>) -> Vec<u8> {
        self.clear();
        self.used = Used::default();
        std::mem::replace(&mut self.raw, raw)
    }

    /// Clears the batch for the next one of the chunk; keeps the memory.
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

    /// Returns the number of bytes passed to a call into the plugin.
    pub fn lent_bytes(&self) -> usize {
        let raw = if self.in_place { self.raw.len() } else { 0 };
        raw + self.fields.len() + size_of::<u32>() * (self.starts.len() + self.ends.len())
    }

    /// Frees vectors that are longer than a usual batch needs.
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

    /// Returns whether there is neither a record nor a malformed one.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.malformed.is_empty()
    }

    /// Returns some of the records as a plugin sees them, as a batch of their own. `width` is the number of columns it reads.
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
            // For JSONL the byte after a field says whether it is a string.
            part.fields.push(text.get(to).copied().unwrap_or(b'\n'));
        }
        part
    }

    /// Returns the raw bytes of a record, without the line end.
    pub fn raw(&self, row: Row) -> &[u8] {
        &self.raw[row.start as usize..row.end as usize]
    }

    /// Returns the source of the row of that index: a text, and the span of the record in it, without a line end. The row's cells
    /// are in the same text.
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

    /// Returns the source bytes of the row of that index.
    #[inline]
    pub fn record(&self, row: usize) -> &[u8] {
        let (text, span) = self.text(row);
        span.of(text)
    }

    /// Returns the cells of the row of that index, `reads` of them.
    #[inline]
    pub fn cells(&self, row: usize, reads: usize) -> Cells<'_> {
        let Row { start, cells, .. } = self.rows[row];
        if cells == IN_PLACE {
            return Cells::InPlace(start, &self.ends[row * reads..][..reads]);
        }
        Cells::Apart(&self.spans[cells as usize..][..reads])
    }

    /// Lends the bytes that the plugin reads fields from; [`Batch::take_back`] returns them.
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
    /// Advances past a line without a record.
    pub fn blank_line(&mut self, next: usize) {
        self.bytes = next;
        self.lines += 1;
    }

    /// Advances past a record of `lines` lines.
    pub fn record(&mut self, next: usize, lines: usize) {
        self.bytes = next;
        self.records += 1;
        self.lines += lines as u32;
    }

    /// Returns the next record, which ends at `end`.
    pub fn row(&self, end: usize) -> Row {
        // In range: a chunk has less than 4 GiB.
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
    /// Returns the position in the input of a record of the chunk.
    pub fn position(&self, row: Row) -> Position {
        Position {
            record: self.0.record + u64::from(row.number),
            line: self.0.line + u64::from(row.line),
            offset: self.0.offset + u64::from(row.start),
        }
    }

    /// Advances past the bytes, records and lines used.
    pub fn advance(&mut self, used: Used) {
        self.0.record += u64::from(used.records);
        self.0.line += u64::from(used.lines);
        self.0.offset += used.bytes as u64;
    }
}

/// An error in a chunk, which gets its position once the chunk's origin is known.
pub struct ChunkError(Box<dyn FnOnce(&ChunkOrigin) -> Error + Send>);

impl ChunkError {
    /// Returns an error whose message names a position.
    pub fn new(to_error: impl FnOnce(&ChunkOrigin) -> Error + Send + 'static) -> Self {
        Self(Box::new(to_error))
    }

    /// Returns the error of a chunk that begins at `origin`.
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
        // For JSONL the byte after a field says whether it is a string.
        let jsonl = Batch {
            in_place: false,
            fields: b"1\n2\"3\"4\n".to_vec(),
            starts: vec![0, 4],
            ends: vec![1, 3, 5, 7],
            ..batch
        };
        assert_eq!(jsonl.part(0..1, 2).fields, b"1\n2\"");
        assert_eq!(jsonl.part(1..2, 2).fields, b"3\"4\n");
        // A plugin may read no column at all.
        let blind = Batch {
            ends: Vec::new(),
            ..jsonl
        };
        assert_eq!(blind.part(1..2, 0).starts.len(), 1);
    }
}
