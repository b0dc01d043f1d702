//! A plugin's changes to a batch go in as unchecked flat lists, [`Changes`]. Verdicts with their edits and rows come
//! out. Each operand is checked before it is used. No memory is allocated for a single record or field.

use std::ops::Range;

use crate::error::{Code, Error, Result, Stage};
use crate::format::Span;

/// The maximum length of the code of a reject, in bytes.
const REJECT_CODE_BYTES_MAX: usize = 64;

/// The three unchecked lists of a plugin's changes. `wit/0.2/plugin.wit` says how they are read.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changes {
    /// One byte for each row, or no bytes if every row is kept.
    pub verdicts: Vec<u8>,
    /// The operands of the verdicts, in the order of the rows.
    pub operands: Vec<u32>,
    /// The concatenated texts. The end of each text is an operand.
    pub bytes: Vec<u8>,
}

/// The verdict on one record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict<'a> {
    /// The record goes to the output unchanged.
    Keep,
    /// The record goes to the output with some changed cells.
    Edit(Edits<'a>),
    /// The rows that the plugin emitted replace the record.
    Replace,
    /// The record does not go to the output.
    Drop,
    /// The record goes to the rejects.
    Reject {
        /// The code, which consists of lowercase letters, digits and dashes.
        code: &'a str,
        /// The reason, which is a sentence.
        reason: &'a str,
    },
}

/// The changed cells of one record. Each cell has the index of an output column and a new text. The indices increase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edits<'a> {
    cells: &'a [[u32; 2]],
    bytes: &'a [u8],
    start: u32,
}

impl<'a> Edits<'a> {
    /// Returns the cells as (output column, text). The texts are UTF-8.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &'a [u8])> + use<'a> {
        let bytes = self.bytes;
        self.spans().map(move |(column, span)| (column, span.of(bytes)))
    }

    /// Returns the cells as (output column, span). The span is the position of the cell's text in [`Edits::bytes`].
    pub fn spans(&self) -> impl Iterator<Item = (usize, Span)> + use<'a> {
        let mut start = self.start as usize;
        self.cells.iter().map(move |&[column, end]| {
            let span = Span {
                start,
                end: end as usize,
            };
            start = span.end;
            (column as usize, span)
        })
    }

    /// Returns the texts of the whole batch.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Whole rows that a plugin made. The fields of a row are in the order of the output's columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rows<'a> {
    ends: &'a [u32],
    bytes: &'a [u8],
    start: u32,
    width: usize,
}

impl<'a> Rows<'a> {
    /// Checks rows that the plugin returned at the end of the input, without verdicts.
    ///
    /// # Errors
    /// Fails if the number of ends is wrong, if an end is before the previous end, out of bounds or within a character,
    /// if bytes follow the last end, or if the bytes are not UTF-8.
    pub fn check(rows: u32, ends: &'a [u32], bytes: &'a [u8], width: usize) -> Result<Self> {
        let text =
            std::str::from_utf8(bytes).map_err(|e| broken("emitted bytes are not UTF-8").because(e))?;
        if ends.len() != rows as usize * width {
            return Err(broken(format!(
                "{} ends for {rows} emitted rows of {width} columns",
                ends.len()
            )));
        }
        let mut texts = TextCursor::new(text);
        for &end in ends {
            texts.next(end)?;
        }
        if texts.start as usize != bytes.len() {
            return Err(broken("emitted bytes after the last end"));
        }
        Ok(Self {
            ends,
            bytes,
            start: 0,
            width,
        })
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.ends.len() / self.width.max(1)
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the fields of each row.
    pub fn iter(&self) -> impl Iterator<Item = RowFields<'a>> + use<'a> {
        let (bytes, mut start) = (self.bytes, self.start);
        self.ends.chunks_exact(self.width.max(1)).map(move |ends| {
            let fields = RowFields { ends, bytes, start };
            start = ends.last().copied().unwrap_or(start);
            fields
        })
    }
}

/// The fields of one row that a plugin made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowFields<'a> {
    ends: &'a [u32],
    bytes: &'a [u8],
    start: u32,
}

impl<'a> RowFields<'a> {
    /// Returns the fields in the order of the output's columns, in UTF-8.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (bytes, mut start) = (self.bytes, self.start as usize);
        self.ends.iter().map(move |&end| {
            let text = &bytes[start..end as usize];
            start = end as usize;
            text
        })
    }
}

/// The rows that a plugin adds after a record or in its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Emission<'a> {
    operands: &'a [u32],
    bytes: &'a [u8],
    start: u32,
    width: usize,
    count: usize,
    /// Set if each row says whether it is a copy. If not set, all rows are new.
    is_mixed: bool,
}

/// One row that a plugin adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EmittedRow<'a> {
    /// A row that the plugin made.
    New(RowFields<'a>),
    /// A copy of the record with some changed cells, perhaps none.
    Copy(Edits<'a>),
}

impl<'a> Emission<'a> {
    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns whether copies can be among the rows.
    pub fn has_copies(&self) -> bool {
        self.is_mixed
    }

    /// Returns the rows in order.
    pub fn iter(&self) -> impl Iterator<Item = EmittedRow<'a>> + use<'a> {
        let Self {
            mut operands,
            bytes,
            mut start,
            width,
            count,
            is_mixed,
        } = *self;
        (0..count).map(move |_| {
            let begin = start;
            if is_mixed {
                let (&cells, rest) = operands.split_first().expect("the operands were checked");
                operands = rest;
                if cells != NEW_ROW {
                    let (cells, rest) = operands.split_at(2 * cells as usize);
                    operands = rest;
                    let cells = cells.as_chunks().0;
                    start = cells.last().map_or(start, |&[_, end]| end);
                    return EmittedRow::Copy(Edits {
                        cells,
                        bytes,
                        start: begin,
                    });
                }
            }
            let (ends, rest) = operands.split_at(width);
            operands = rest;
            start = ends.last().copied().unwrap_or(start);
            EmittedRow::New(RowFields {
                ends,
                bytes,
                start: begin,
            })
        })
    }
}

/// The flag of a verdict after which rows follow that are all new.
const EMIT: u8 = 8;

/// The flag of a verdict after which rows follow of which each says whether it is a copy.
const MIXED: u8 = 16;

/// The operand that stands before a new row among rows of which each says whether it is a copy.
const NEW_ROW: u32 = u32::MAX;

/// A reader of [`Changes`] from front to back. It checks each operand before the operand is used.
#[derive(Debug)]
pub struct ChangesReader<'a> {
    verdicts: &'a [u8],
    operands: &'a [u32],
    texts: TextCursor<'a>,
    width: usize,
    next_row: usize,
    rows: usize,
}

impl<'a> ChangesReader<'a> {
    /// Returns a reader of the changes to a batch of `rows` rows, for an output of `width` columns.
    ///
    /// # Errors
    /// Fails if the number of verdicts is wrong or the texts are not UTF-8.
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
            texts: TextCursor::new(bytes),
            width,
            next_row: 0,
            rows,
        })
    }

    /// Returns the verdict on the next row, and the rows that the plugin emitted with it, if there are any.
    ///
    /// # Errors
    /// Fails if an operand is missing or breaks a rule of the interface.
    #[inline]
    pub fn next_row(&mut self) -> Result<(Verdict<'a>, Option<Emission<'a>>)> {
        let verdict = self.verdicts.get(self.next_row).copied().unwrap_or(0);
        self.next_row += 1;
        Ok(match verdict {
            0 => (Verdict::Keep, None),
            1 => (Verdict::Edit(self.edits()?), None),
            2 => (Verdict::Replace, Some(self.emitted()?)),
            3 => (Verdict::Drop, None),
            4 => (self.reject()?, None),
            EMIT => (Verdict::Keep, Some(self.emitted()?)),
            9 => {
                let edits = self.edits()?;
                (Verdict::Edit(edits), Some(self.emitted()?))
            }
            MIXED => (Verdict::Keep, Some(self.mixed()?)),
            17 => {
                let edits = self.edits()?;
                (Verdict::Edit(edits), Some(self.mixed()?))
            }
            18 => (Verdict::Replace, Some(self.mixed()?)),
            other => return Err(broken(format!("verdict {other} does not exist"))),
        })
    }

    /// Checks that all operands and texts have been read.
    ///
    /// # Errors
    /// Fails if operands or texts remain after the last row.
    pub fn finish(self) -> Result<()> {
        debug_assert_eq!(self.next_row, self.rows);
        if !self.operands.is_empty() {
            return Err(broken(format!(
                "{} operands after the last row",
                self.operands.len()
            )));
        }
        let left = self.texts.bytes.len() - self.texts.start as usize;
        if left > 0 {
            return Err(broken(format!("{left} bytes after the last row")));
        }
        Ok(())
    }

    #[inline]
    fn edits(&mut self) -> Result<Edits<'a>> {
        let count = self.take(1)?[0] as usize;
        if count > self.width {
            return Err(self.too_many_edits(count));
        }
        let (cells, start) = (self.take(2 * count)?.as_chunks().0, self.texts.start);
        if !self.pass_fast(cells) {
            self.pass_each(cells)?;
        }
        Ok(Edits {
            cells,
            bytes: self.texts.bytes.as_bytes(),
            start,
        })
    }

    /// Checks all cells with a few comparisons, without looking at the texts. If all cells are surely valid, advances
    /// to the end of their texts and returns true. If the result is false, the cells can still be valid: for example,
    /// if a text of the batch is not ASCII.
    #[inline]
    fn pass_fast(&mut self, cells: &[[u32; 2]]) -> bool {
        let (mut after, mut end) = (0, self.texts.start);
        let mut is_valid = self.texts.ascii;
        for &[column, cell_end] in cells {
            is_valid &= (after <= u64::from(column)) & (end <= cell_end);
            (after, end) = (u64::from(column) + 1, cell_end);
        }
        // Columns and ends increase, so the last column and the last end are the greatest.
        is_valid &= (after <= self.width as u64) & (end as usize <= self.texts.bytes.len());
        if is_valid {
            self.texts.start = end;
        }
        is_valid
    }

    /// Checks each cell, and advances to the end of the cells' texts.
    #[cold]
    fn pass_each(&mut self, cells: &[[u32; 2]]) -> Result<()> {
        let mut after = 0;
        for &[column, end] in cells {
            let column = column as usize;
            if column < after || column >= self.width {
                return Err(broken(format!(
                    "edit of column {column}, which is out of order or does not exist"
                )));
            }
            after = column + 1;
            self.texts.next(end)?;
        }
        Ok(())
    }

    #[cold]
    fn too_many_edits(&self, count: usize) -> Error {
        broken(format!("{count} edits in a row of {} columns", self.width))
    }

    /// Checks rows of which each says whether it is a copy.
    fn mixed(&mut self) -> Result<Emission<'a>> {
        let count = self.take(1)?[0] as usize;
        if count == 0 {
            return Err(broken("an emitting verdict with no rows"));
        }
        let (before, start) = (self.operands, self.texts.start);
        for _ in 0..count {
            if self.operands.first() == Some(&NEW_ROW) {
                let ends = &self.take(1 + self.width)?[1..];
                for &end in ends {
                    self.texts.next(end)?;
                }
            } else {
                self.edits()?;
            }
        }
        Ok(Emission {
            operands: &before[..before.len() - self.operands.len()],
            bytes: self.texts.bytes.as_bytes(),
            start,
            width: self.width,
            count,
            is_mixed: true,
        })
    }

    fn emitted(&mut self) -> Result<Emission<'a>> {
        let count = self.take(1)?[0] as usize;
        if count == 0 {
            return Err(broken("an emitting verdict with no rows"));
        }
        let operands = count
            .checked_mul(self.width)
            .ok_or_else(|| broken("too many emitted rows"))?;
        let (ends, start) = (self.take(operands)?, self.texts.start);
        for &end in ends {
            self.texts.next(end)?;
        }
        Ok(Emission {
            operands: ends,
            bytes: self.texts.bytes.as_bytes(),
            start,
            width: self.width,
            count,
            is_mixed: false,
        })
    }

    fn reject(&mut self) -> Result<Verdict<'a>> {
        let ends = self.take(2)?;
        let code = self.texts.next(ends[0])?;
        let code = &self.texts.bytes[code];
        let reason = self.texts.next(ends[1])?;
        let reason = &self.texts.bytes[reason];
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if code.is_empty() || code.len() > REJECT_CODE_BYTES_MAX || !code.bytes().all(allowed) {
            return Err(broken(format!(
                "reject code \"{}\"",
                code.chars().take(REJECT_CODE_BYTES_MAX).collect::<String>()
            )));
        }
        Ok(Verdict::Reject { code, reason })
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'a [u32]> {
        let Some((taken, rest)) = self.operands.split_at_checked(count) else {
            return Err(self.too_few_operands(count));
        };
        self.operands = rest;
        Ok(taken)
    }

    #[cold]
    fn too_few_operands(&self, count: usize) -> Error {
        broken(format!(
            "{count} operands needed at row {}, {} left",
            self.next_row,
            self.operands.len()
        ))
    }
}

/// A cursor over concatenated texts, which gets the end of each text.
#[derive(Debug)]
struct TextCursor<'a> {
    bytes: &'a str,
    /// True if all texts are ASCII. In this case a text can end at any byte.
    ascii: bool,
    /// The start of the next text.
    start: u32,
}

impl<'a> TextCursor<'a> {
    fn new(bytes: &'a str) -> Self {
        Self {
            bytes,
            ascii: bytes.is_ascii(),
            start: 0,
        }
    }

    /// Returns the range of the next text, which ends at `end`, and advances to this end.
    #[inline]
    fn next(&mut self, end: u32) -> Result<Range<usize>> {
        let text = self.start as usize..end as usize;
        let ends_well = text.end <= self.bytes.len() && (self.ascii || self.bytes.is_char_boundary(text.end));
        if text.start > text.end || !ends_well {
            return Err(broken(format!(
                "a text from {} to {end} in {} bytes",
                self.start,
                self.bytes.len()
            )));
        }
        self.start = end;
        Ok(text)
    }
}

fn broken(message: impl Into<String>) -> Error {
    Error::permanent(
        Stage::Plugin,
        Code::PluginContract,
        format!("returned changes that break the interface: {}", message.into()),
    )
}

#[cfg(test)]
mod tests;
