//! What crosses between the stages: records in, as a [`Batch`]; what the plugin made of them out, as
//! [`Changes`]. Both are flat arenas, so neither allocates a record or a field at a time.

use crate::error::{Error, Result, Stage};

/// Some consecutive records of one input, as they came and as the plugin reads them.
#[derive(Debug, Default)]
pub struct Batch {
    /// The input's bytes from the first record to the last, line ends included.
    pub raw: Vec<u8>,
    /// How many bytes of the (decompressed) input came before `raw`.
    pub offset: u64,
    /// The number of the record that [`Row::number`] counts from; the first record of an input is 1.
    pub first_record: u64,
    /// The line that [`Row::line`] counts from; the first line of an input is 1.
    pub first_line: u64,
    /// The records that go to the plugin.
    pub rows: Vec<Row>,
    /// The fields that the plugin reads, unescaped, row after row, without separators. UTF-8.
    pub fields: Vec<u8>,
    /// Where each field ends in `fields`: `rows.len()` times the number of columns read.
    pub ends: Vec<u32>,
    /// The records that do not go to the plugin because they are malformed, in order.
    pub malformed: Vec<Malformed>,
}

/// One record within a [`Batch`]; positions are relative to the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Start of the record in [`Batch::raw`].
    pub start: u32,
    /// End of the record in [`Batch::raw`], its line end not included.
    pub end: u32,
    /// Added to [`Batch::first_record`].
    pub number: u32,
    /// Added to [`Batch::first_line`].
    pub line: u32,
}

/// A record that could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Where it is.
    pub row: Row,
    /// The reject's code, such as `ragged-row`.
    pub code: &'static str,
    /// The reject's reason, a sentence.
    pub reason: String,
}

/// Where a record stands in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Counted from 1, without the header.
    pub record: u64,
    /// The line it starts on, counted from 1.
    pub line: u64,
    /// The byte it starts at in the decompressed input, counted from 0.
    pub offset: u64,
}

impl Batch {
    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.raw.clear();
        self.rows.clear();
        self.fields.clear();
        self.ends.clear();
        self.malformed.clear();
    }

    /// Whether there is neither a record nor a malformed one.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.malformed.is_empty()
    }

    /// The bytes of a record as they came, without the line end.
    pub fn raw(&self, row: Row) -> &[u8] {
        &self.raw[row.start as usize..row.end as usize]
    }

    /// Where a record stands in the input.
    pub fn position(&self, row: Row) -> Position {
        Position {
            record: self.first_record + u64::from(row.number),
            line: self.first_line + u64::from(row.line),
            offset: self.offset + u64::from(row.start),
        }
    }
}

/// What a plugin made of a batch, as it came over the boundary and unchecked: `wit/plugin.wit` says how
/// the three lists are read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// One byte a row, or none at all if every row is kept.
    pub verdicts: Vec<u8>,
    /// The numbers that the verdicts take, in order.
    pub operands: Vec<u32>,
    /// The texts that the operands end.
    pub bytes: Vec<u8>,
}

/// What becomes of one record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict<'a> {
    /// Goes to the output as it came.
    Keep,
    /// Goes to the output with some cells changed.
    Edit(Edits<'a>),
    /// Is replaced by the emitted rows.
    Replace,
    /// Does not go to the output.
    Drop,
    /// Goes to the rejects.
    Reject {
        /// Lowercase letters, digits and dashes.
        code: &'a str,
        /// A sentence.
        reason: &'a str,
    },
}

/// The changed cells of one record: columns of the output, increasing, each with its new text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edits<'a> {
    cells: &'a [u32],
    bytes: &'a str,
    start: u32,
}

impl<'a> Edits<'a> {
    /// The cells as (output column, text).
    pub fn iter(&self) -> impl Iterator<Item = (usize, &'a str)> + use<'a> {
        let (bytes, mut start) = (self.bytes, self.start as usize);
        self.cells.chunks_exact(2).map(move |cell| {
            let end = cell[1] as usize;
            let text = &bytes[start..end];
            start = end;
            (cell[0] as usize, text)
        })
    }
}

/// Whole rows that a plugin made: their fields in the order of the output's columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rows<'a> {
    ends: &'a [u32],
    bytes: &'a str,
    start: u32,
    width: usize,
}

impl<'a> Rows<'a> {
    /// Checks rows that came over the boundary on their own.
    ///
    /// # Errors
    /// If the shapes do not fit: offsets that decrease or point outside, text that is not UTF-8.
    pub fn check(rows: u32, ends: &'a [u32], bytes: &'a [u8], width: usize) -> Result<Self> {
        let bytes =
            std::str::from_utf8(bytes).map_err(|e| broken("emitted bytes are not UTF-8").because(e))?;
        if ends.len() != rows as usize * width {
            return Err(broken(format!(
                "{} ends for {rows} emitted rows of {width} columns",
                ends.len()
            )));
        }
        let mut last = 0;
        for &end in ends {
            text(bytes, last, end)?;
            last = end;
        }
        if last as usize != bytes.len() {
            return Err(broken("emitted bytes after the last end"));
        }
        Ok(Self {
            ends,
            bytes,
            start: 0,
            width,
        })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.ends.len() / self.width.max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The rows, each as its fields.
    pub fn iter(&self) -> impl Iterator<Item = Fields<'a>> + use<'a> {
        let (bytes, mut start) = (self.bytes, self.start);
        self.ends.chunks_exact(self.width.max(1)).map(move |ends| {
            let fields = Fields { ends, bytes, start };
            start = ends.last().copied().unwrap_or(start);
            fields
        })
    }
}

/// The fields of one row that a plugin made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fields<'a> {
    ends: &'a [u32],
    bytes: &'a str,
    start: u32,
}

impl<'a> Fields<'a> {
    /// The fields in the order of the output's columns.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (bytes, mut start) = (self.bytes, self.start as usize);
        self.ends.iter().map(move |&end| {
            let text = &bytes[start..end as usize];
            start = end as usize;
            text
        })
    }
}

const EMIT: u8 = 8;

/// Reads [`Changes`] from front to back, checking each operand before it is used.
#[derive(Debug)]
pub struct ChangesReader<'a> {
    verdicts: &'a [u8],
    operands: &'a [u32],
    bytes: &'a str,
    start: u32,
    width: usize,
    next_row: usize,
    rows: usize,
}

impl<'a> ChangesReader<'a> {
    /// A reader of the changes to a batch of `rows` rows, for an output of `width` columns.
    ///
    /// # Errors
    /// If the number of verdicts is wrong or the texts are not UTF-8.
    pub fn new(changes: &'a Changes, rows: usize, width: usize) -> Result<Self> {
        let verdicts = changes.verdicts.as_slice();
        if !verdicts.is_empty() && verdicts.len() != rows {
            return Err(broken(format!("{} verdicts for {rows} rows", verdicts.len())));
        }
        let bytes = std::str::from_utf8(&changes.bytes)
            .map_err(|e| broken("bytes of changes are not UTF-8").because(e))?;
        Ok(Self {
            verdicts,
            operands: &changes.operands,
            bytes,
            start: 0,
            width,
            next_row: 0,
            rows,
        })
    }

    /// The verdict on the next row and the rows to put after it.
    ///
    /// # Errors
    /// If an operand is missing or breaks a rule of the interface.
    pub fn next_row(&mut self) -> Result<(Verdict<'a>, Rows<'a>)> {
        let verdict = self.verdicts.get(self.next_row).copied().unwrap_or(0);
        self.next_row += 1;
        let none = Rows {
            ends: &[],
            bytes: self.bytes,
            start: self.start,
            width: self.width,
        };
        Ok(match verdict {
            0 => (Verdict::Keep, none),
            1 => (Verdict::Edit(self.edits()?), none),
            2 => (Verdict::Replace, self.emitted()?),
            3 => (Verdict::Drop, none),
            4 => (self.reject()?, none),
            EMIT => (Verdict::Keep, self.emitted()?),
            9 => {
                let edits = self.edits()?;
                (Verdict::Edit(edits), self.emitted()?)
            }
            other => return Err(broken(format!("verdict {other} does not exist"))),
        })
    }

    /// Checks that nothing is left over.
    ///
    /// # Errors
    /// If operands or texts remain after the last row.
    pub fn finish(self) -> Result<()> {
        debug_assert_eq!(self.next_row, self.rows);
        if !self.operands.is_empty() {
            return Err(broken(format!(
                "{} operands after the last row",
                self.operands.len()
            )));
        }
        if self.start as usize != self.bytes.len() {
            return Err(broken(format!(
                "{} bytes after the last row",
                self.bytes.len() - self.start as usize
            )));
        }
        Ok(())
    }

    fn edits(&mut self) -> Result<Edits<'a>> {
        let count = self.take(1)?[0] as usize;
        if count > self.width {
            return Err(broken(format!(
                "{count} edits in a row of {} columns",
                self.width
            )));
        }
        let (cells, start) = (self.take(2 * count)?, self.start);
        let mut after = 0;
        for cell in cells.chunks_exact(2) {
            let column = cell[0] as usize;
            if column < after || column >= self.width {
                return Err(broken(format!(
                    "edit of column {column}, which is out of order or does not exist"
                )));
            }
            after = column + 1;
            self.text(cell[1])?;
        }
        Ok(Edits {
            cells,
            bytes: self.bytes,
            start,
        })
    }

    fn emitted(&mut self) -> Result<Rows<'a>> {
        let count = self.take(1)?[0] as usize;
        if count == 0 {
            return Err(broken("an emitting verdict with no rows"));
        }
        let operands = count
            .checked_mul(self.width)
            .ok_or_else(|| broken("too many emitted rows"))?;
        let (ends, start) = (self.take(operands)?, self.start);
        for &end in ends {
            self.text(end)?;
        }
        Ok(Rows {
            ends,
            bytes: self.bytes,
            start,
            width: self.width,
        })
    }

    fn reject(&mut self) -> Result<Verdict<'a>> {
        let ends = self.take(2)?;
        let code = self.text(ends[0])?;
        let reason = self.text(ends[1])?;
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if code.is_empty() || code.len() > 64 || !code.bytes().all(allowed) {
            return Err(broken(format!(
                "reject code {:?}",
                code.chars().take(64).collect::<String>()
            )));
        }
        Ok(Verdict::Reject { code, reason })
    }

    fn take(&mut self, count: usize) -> Result<&'a [u32]> {
        let (taken, rest) = self.operands.split_at_checked(count).ok_or_else(|| {
            broken(format!(
                "{count} operands needed at row {}, {} left",
                self.next_row,
                self.operands.len()
            ))
        })?;
        self.operands = rest;
        Ok(taken)
    }

    fn text(&mut self, end: u32) -> Result<&'a str> {
        let text = text(self.bytes, self.start, end)?;
        self.start = end;
        Ok(text)
    }
}

fn text(bytes: &str, start: u32, end: u32) -> Result<&str> {
    bytes
        .get(start as usize..end as usize)
        .ok_or_else(|| broken(format!("a text from {start} to {end} in {} bytes", bytes.len())))
}

fn broken(message: impl Into<String>) -> Error {
    Error::permanent(
        Stage::Plugin,
        format!("returned changes that break the interface: {}", message.into()),
    )
}

#[cfg(test)]
mod tests;
