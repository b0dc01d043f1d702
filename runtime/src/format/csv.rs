//! CSV as a text: RFC 4180, but with the delimiter and the quote of the file's dialect. A [`Scanner`] finds the start
//! and end of a record and of its wanted fields. [`unquote`] turns a field into its text, and [`write_field`] turns a
//! text into a field.
//!
//! A record ends at LF, at CRLF or at a lone CR. A file can mix these line ends, as in Python's `csv`, pandas and the
//! crate `csv`. Within a quoted field, line ends are text.

mod syntax;

use memchr::{memchr, memrchr2};
use serde::{Deserialize, Serialize};
use wide::u8x16;

pub use self::syntax::{CsvItem, Gaps, NO_QUOTE, ParsedRow, Parser, RowRules, Syntax};
use super::{BYTE_ORDER_MARK, Span};

/// The delimiter and the quote of a CSV file. Both bytes are ASCII, unless the quote is [`NO_QUOTE`]. They differ from
/// each other, and neither is CR or LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialect {
    /// The byte that separates fields.
    pub delimiter: u8,
    /// The byte that encloses fields that need quotes. Within quotes, two of these bytes stand for one in the text.
    pub quote: u8,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            delimiter: b',',
            quote: b'"',
        }
    }
}

/// A record found by a [`Scanner`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CsvRecord {
    /// The end of the record, without its line end.
    pub end: usize,
    /// The start of the next record.
    pub next: usize,
    /// The number of fields, at least one.
    pub fields: usize,
    /// The number of line feeds in the quoted fields of the record.
    pub line_feeds: usize,
    /// True if any field of the record is quoted.
    pub quoted: bool,
    /// The position of the first fault in the use of quotes, or `None`. The fault is a quote within an unquoted field,
    /// or text after a closing quote. In both cases the rest of the field counts as unquoted, so that the record ends
    /// with its line.
    pub stray: Option<usize>,
}

/// The error for a text that ends before its last record is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// If the text ends within a quoted field, the position of the opening quote.
    pub quote: Option<usize>,
}

/// A scanner that finds records and fields. It processes one block of bytes at a time.
#[derive(Debug, Clone, Copy)]
pub struct Scanner {
    dialect: Dialect,
    delimiters: u8x16,
    quotes: u8x16,
}

/// The positions of the special bytes in a block of [`BLOCK`] bytes. Bit `n` of a mask stands for byte `n` of the
/// block.
#[derive(Debug, Clone, Copy)]
pub struct Marks {
    /// The mask of the delimiters.
    pub delimiters: u64,
    /// The mask of the quotes, CRs and LFs.
    pub others: u64,
}

/// The number of bytes that are scanned at a time.
pub const BLOCK: usize = 64;

impl Scanner {
    /// Returns a scanner of files in `dialect`.
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            delimiters: u8x16::splat(dialect.delimiter),
            quotes: u8x16::splat(dialect.quote),
        }
    }

    /// Returns the dialect of the scanner.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Finds the end of the record that begins at `start`. Calls `found` with the raw span of each column in `wanted`,
    /// except columns that the record does not have. The indices in `wanted` must increase. `last` is true if nothing
    /// follows `raw`.
    ///
    /// # Errors
    /// Returns [`Partial`] if the record can continue after `raw`, or if `raw` ends within quotes.
    #[inline]
    pub fn record(
        &self,
        raw: &[u8],
        start: usize,
        last: bool,
        wanted: &[usize],
        mut found: impl FnMut(Span),
    ) -> Result<CsvRecord, Partial> {
        let mut fields = FieldEnds::new(start, wanted);
        let mut record = CsvRecord::default();
        let mut at = start;
        'blocks: while at < raw.len() {
            let mut marks = self.marks(raw, at);
            while marks.others != 0 {
                let bit = marks.others.trailing_zeros();
                fields.end_all(at, marks.delimiters & !(u64::MAX << bit), &mut found);
                let here = at + bit as usize;
                if raw[here] != self.dialect.quote {
                    record.end = here;
                    record.next = line_end(raw, here, last).ok_or(Partial { quote: None })?;
                    record.fields = fields.end(here, &mut found);
                    return Ok(record);
                }
                if here == fields.start {
                    at = self.quoted(raw, here, &mut record)?;
                    continue 'blocks;
                }
                record.stray = record.stray.or(Some(here));
                marks.others &= marks.others - 1;
                marks.delimiters &= u64::MAX << bit;
            }
            fields.end_all(at, marks.delimiters, &mut found);
            at += BLOCK;
        }
        if !last {
            return Err(Partial { quote: None });
        }
        (record.end, record.next) = (raw.len(), raw.len());
        record.fields = fields.end(raw.len(), &mut found);
        Ok(record)
    }

    /// Returns the positions of the special bytes in the block at `at`.
    #[inline]
    pub fn marks(&self, raw: &[u8], at: usize) -> Marks {
        if let Some(block) = raw[at..].first_chunk() {
            return self.marks_of(block);
        }
        let (mut block, rest) = ([0; BLOCK], &raw[at..]);
        block[..rest.len()].copy_from_slice(rest);
        let within = !(u64::MAX << rest.len());
        let Marks { delimiters, others } = self.marks_of(&block);
        Marks {
            delimiters: delimiters & within,
            others: others & within,
        }
    }

    #[inline]
    fn marks_of(&self, block: &[u8; BLOCK]) -> Marks {
        let (feeds, returns) = (u8x16::splat(b'\n'), u8x16::splat(b'\r'));
        let mut marks = Marks {
            delimiters: 0,
            others: 0,
        };
        for (part, bytes) in block.as_chunks::<16>().0.iter().enumerate() {
            let bytes = u8x16::new(*bytes);
            let others = bytes.simd_eq(self.quotes) | bytes.simd_eq(feeds) | bytes.simd_eq(returns);
            let delimiters = bytes.simd_eq(self.delimiters);
            marks.delimiters |= u64::from(delimiters.to_bitmask()) << (16 * part);
            marks.others |= u64::from(others.to_bitmask()) << (16 * part);
        }
        marks
    }

    /// Skips the quoted part of the field whose quote opens at `open`. Returns the end of this part.
    fn quoted(&self, raw: &[u8], open: usize, found: &mut CsvRecord) -> Result<usize, Partial> {
        let quote = self.dialect.quote;
        let mut at = open + 1;
        loop {
            at += memchr(quote, &raw[at..]).ok_or(Partial { quote: Some(open) })? + 1;
            match raw.get(at) {
                Some(&byte) if byte == quote => at += 1,
                Some(&byte) if byte == self.dialect.delimiter || byte == b'\n' || byte == b'\r' => break,
                Some(_) => {
                    found.stray = found.stray.or(Some(at));
                    break;
                }
                None => break,
            }
        }
        found.quoted = true;
        found.line_feeds += line_feeds(&raw[open..at]);
        Ok(at)
    }
}

/// Returns the number of line feeds in `raw`.
pub fn line_feeds(raw: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', raw).count()
}

/// Returns the end of the last record that is complete in `raw`, including its line end. Returns `None` if no record is
/// complete. `raw` must begin with a record. `last` is true if nothing follows `raw`: in this case all of `raw` counts
/// as complete.
///
/// The function examines only quotes, and line ends outside quotes. This takes much less time than a [`Scanner`] needs.
pub fn records_end(raw: &[u8], last: bool, dialect: Dialect) -> Option<usize> {
    if last {
        return Some(raw.len());
    }
    let Dialect { delimiter, quote } = dialect;
    let (mut at, mut end) = (0, None);
    while let Some(quoted) = memchr(quote, &raw[at..]).map(|before| at + before) {
        end = lines_end(raw, at, quoted).or(end);
        at = quoted + 1;
        let begins = |&before: &u8| before == delimiter || matches!(before, b'\n' | b'\r');
        if quoted > 0 && !begins(&raw[quoted - 1]) {
            continue;
        }
        loop {
            let Some(inside) = memchr(quote, &raw[at..]) else {
                return end;
            };
            at += inside + 1;
            if raw.get(at) != Some(&quote) {
                break;
            }
            at += 1;
        }
    }
    lines_end(raw, at, raw.len()).or(end)
}

/// Returns the end of the last line that ends between `from` and `to` and is certainly complete, or `None`.
fn lines_end(raw: &[u8], from: usize, to: usize) -> Option<usize> {
    let last = from + memrchr2(b'\n', b'\r', &raw[from..to])?;
    line_end(raw, last, false).or_else(|| lines_end(raw, from, last))
}

/// Returns the start of the line after the CR or LF at `at`. Returns `None` if this start depends on the bytes after
/// `raw`.
pub fn line_end(raw: &[u8], at: usize, last: bool) -> Option<usize> {
    match (raw[at], raw.get(at + 1)) {
        (b'\r', Some(b'\n')) => Some(at + 2),
        (b'\r', None) if !last => None,
        _ => Some(at + 1),
    }
}

/// Appends the text of a raw field of a well-formed record.
pub fn unquote(field: &[u8], quote: u8, out: &mut Vec<u8>) {
    let mut rest = match field {
        [first, inner @ .., _] if *first == quote => inner,
        _ => return out.extend_from_slice(field),
    };
    while let Some(at) = memchr(quote, rest) {
        out.extend_from_slice(&rest[..=at]);
        rest = &rest[(at + 2).min(rest.len())..];
    }
    out.extend_from_slice(rest);
}

/// Appends a text as a field. Quotes enclose the field if the text has a delimiter, a quote, a CR or an LF. They also
/// enclose a text that begins with a byte order mark, because a reader would remove this mark from the first field of a
/// file.
pub fn write_field(text: &[u8], dialect: Dialect, out: &mut Vec<u8>) {
    let quote = dialect.quote;
    if !has_special(text, dialect) && !text.starts_with(BYTE_ORDER_MARK) {
        return out.extend_from_slice(text);
    }
    out.push(quote);
    let mut rest = text;
    while let Some(at) = memchr(quote, rest) {
        out.extend_from_slice(&rest[..=at]);
        out.push(quote);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(quote);
}

/// Returns whether it is certain that none of these concatenated texts needs quotes.
pub fn is_plain(texts: &[u8], dialect: Dialect) -> bool {
    !has_special(texts, dialect) && memchr(BYTE_ORDER_MARK[0], texts).is_none()
}

fn has_special(text: &[u8], Dialect { delimiter, quote }: Dialect) -> bool {
    let special = |&byte: &u8| (byte == delimiter) | (byte == quote) | (byte == b'\n') | (byte == b'\r');
    // The compiler vectorizes this loop because it has no early exit.
    text.iter().fold(false, |found, byte| found | special(byte))
}

/// The state of the search for the ends of a record's fields.
struct FieldEnds<'a> {
    /// The start of the current field.
    start: usize,
    /// The number of fields that have ended.
    ended: usize,
    /// The next wanted column, or `usize::MAX` if no more columns are wanted.
    want: usize,
    wanted: std::slice::Iter<'a, usize>,
}

impl<'a> FieldEnds<'a> {
    fn new(start: usize, wanted: &'a [usize]) -> Self {
        let mut wanted = wanted.iter();
        Self {
            start,
            ended: 0,
            want: wanted.next().copied().unwrap_or(usize::MAX),
            wanted,
        }
    }

    /// Ends a field at each of the delimiters in the block at `at`.
    #[inline]
    fn end_all(&mut self, at: usize, mut delimiters: u64, found: &mut impl FnMut(Span)) {
        while delimiters != 0 {
            let skipped = self.want - self.ended;
            if skipped > 0 {
                let left = delimiters.count_ones() as usize;
                if skipped >= left {
                    self.ended += left;
                    self.start = at + BLOCK - delimiters.leading_zeros() as usize;
                    return;
                }
                for _ in 0..skipped {
                    self.start = at + delimiters.trailing_zeros() as usize + 1;
                    delimiters &= delimiters - 1;
                }
                self.ended = self.want;
            }
            self.end(at + delimiters.trailing_zeros() as usize, found);
            delimiters &= delimiters - 1;
        }
    }

    /// Ends the current field and returns the number of fields that have ended.
    #[inline]
    fn end(&mut self, end: usize, found: &mut impl FnMut(Span)) -> usize {
        if self.ended == self.want {
            found(Span {
                start: self.start,
                end,
            });
            self.want = self.wanted.next().copied().unwrap_or(usize::MAX);
        }
        self.ended += 1;
        self.start = end + 1;
        self.ended
    }
}
