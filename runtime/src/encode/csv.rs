//! Writes CSV: records go in; CSV with LF line ends comes out. If the input is also CSV, the output has the dialect of
//! the input, and an unchanged field is copied with its quotes. If the output also begins with the columns of the
//! input, and its other columns have no source, an unchanged record is copied as a whole. In an edited record, only the
//! edited cells are replaced.

use super::{Encoder, UnwritableRecord, column_names};
use crate::format::csv::{Dialect, Scanner, is_plain, write_field};
use crate::format::jsonl::{Keys, Untextual, members, text};
use crate::format::{OutputColumn, Span, append};
use crate::record::{Batch, Edits, RowFields};

/// Ends a record. An empty line would not be a record, so a record that consists of a single empty field is written as
/// two quotes.
fn end_record(start: usize, dialect: Dialect, out: &mut Vec<u8>) {
    if out.len() == start {
        out.extend_from_slice(&[dialect.quote, dialect.quote]);
    }
    out.push(b'\n');
}

/// Writes a record whose fields have these texts.
fn write_record<'a>(texts: impl Iterator<Item = &'a [u8]>, dialect: Dialect, out: &mut Vec<u8>) {
    let start = out.len();
    for (index, text) in texts.enumerate() {
        if index > 0 {
            out.push(dialect.delimiter);
        }
        write_field(text, dialect, out);
    }
    end_record(start, dialect, out);
}

/// Writes CSV from CSV.
pub(super) struct CsvFromCsv {
    scanner: Scanner,
    header: Vec<String>,
    /// The number of the input's columns, if the output begins with the same columns in the same order, and its other
    /// columns have no source. Otherwise `None`.
    same: Option<usize>,
    /// For each column of the input, its index among the columns that the plugin reads, or `None` if the plugin does
    /// not read it.
    read: Vec<Option<usize>>,
    /// The number of columns that the plugin reads.
    reads: usize,
    /// The source of each column of the output, as an index into `wanted`.
    sources: Vec<Option<usize>>,
    /// The columns to find in a record, in ascending order: the sources of the output's columns or, in a splice, the
    /// edited columns.
    wanted: Vec<usize>,
    /// The spans of the `wanted` columns in the current record.
    spans: Vec<Span>,
    /// True if no edited text of the current batch needs quotes.
    plain: bool,
}

impl CsvFromCsv {
    pub(super) fn new(dialect: Dialect, columns: usize, reads: &[usize], output: &[OutputColumn]) -> Self {
        let mut read = vec![None; columns];
        let mut increasing = reads.to_vec();
        increasing.sort_unstable();
        for (place, &column) in increasing.iter().enumerate() {
            read[column] = Some(place);
        }
        let sources: Vec<_> = output.iter().map(|column| column.source).collect();
        let added = sources.iter().skip(columns).all(Option::is_none);
        let same =
            added && sources.len() >= columns && (0..columns).all(|index| sources[index] == Some(index));
        let mut wanted: Vec<_> = sources.iter().copied().flatten().collect();
        wanted.sort_unstable();
        wanted.dedup();
        // From here on a source is an index into `wanted`.
        let place = |source: Option<usize>| source.and_then(|source| wanted.binary_search(&source).ok());
        Self {
            scanner: Scanner::new(dialect),
            header: column_names(output),
            same: same.then_some(columns),
            read,
            reads: reads.len(),
            sources: sources.into_iter().map(place).collect(),
            wanted,
            spans: Vec::new(),
            plain: false,
        }
    }

    /// Copies a record, except for the edited cells, and writes the added columns.
    fn splice(&mut self, batch: &Batch, row: usize, columns: usize, edits: Edits<'_>, out: &mut Vec<u8>) {
        let dialect = self.scanner.dialect();
        let (record, Span { start, end }) = batch.text(row);
        let before = out.len();
        let read = batch.cells(row, self.reads);
        let (mut copied, mut cells) = (start, edits.spans().peekable());
        while let Some((column, text)) = cells.next_if(|&(column, _)| column < columns) {
            let Some(place) = self.read[column] else {
                out.truncate(before);
                return self.splice_unread(batch.record(row), columns, edits, out);
            };
            let cell = read.at(place);
            let kept = Span {
                start: copied,
                end: cell.start,
            };
            append(out, record, kept);
            self.write_edited(edits.bytes(), text, out);
            copied = cell.end;
        }
        append(out, record, Span { start: copied, end });
        for column in columns..self.sources.len() {
            out.push(dialect.delimiter);
            if let Some((_, text)) = cells.next_if(|&(edited, _)| edited == column) {
                self.write_edited(edits.bytes(), text, out);
            }
        }
    }

    /// Does the same as [`Self::splice`] for a record in which the decoder has not found all edited cells.
    fn splice_unread(&mut self, raw: &[u8], columns: usize, edits: Edits<'_>, out: &mut Vec<u8>) {
        let edited = edits.spans().map(|(column, _)| column);
        self.wanted.clear();
        self.wanted.extend(edited.take_while(|&column| column < columns));
        self.find(raw);
        let (mut copied, mut cells) = (0, edits.iter().peekable());
        for cell in &self.spans {
            let Some((_, text)) = cells.next() else { break };
            out.extend_from_slice(&raw[copied..cell.start]);
            write_field(text, self.scanner.dialect(), out);
            copied = cell.end;
        }
        out.extend_from_slice(&raw[copied..]);
        for column in columns..self.sources.len() {
            out.push(self.scanner.dialect().delimiter);
            if let Some((_, text)) = cells.next_if(|&(edited, _)| edited == column) {
                write_field(text, self.scanner.dialect(), out);
            }
        }
    }

    /// Writes a record field by field, for an output whose columns differ from the columns of the input.
    fn assemble<'a>(
        &mut self,
        raw: &[u8],
        edits: impl Iterator<Item = (usize, &'a [u8])>,
        out: &mut Vec<u8>,
    ) {
        let dialect = self.scanner.dialect();
        self.find(raw);
        let mut edits = edits.peekable();
        for (column, source) in self.sources.iter().enumerate() {
            if column > 0 {
                out.push(dialect.delimiter);
            }
            if let Some((_, text)) = edits.next_if(|&(edited, _)| edited == column) {
                write_field(text, dialect, out);
            } else if let Some(span) = source.and_then(|source| self.spans.get(source)) {
                out.extend_from_slice(span.of(raw));
            }
        }
    }

    fn find(&mut self, raw: &[u8]) {
        self.spans.clear();
        let found = self
            .scanner
            .record(raw, 0, true, &self.wanted, |span| self.spans.push(span));
        debug_assert!(found.is_ok(), "a decoded record is complete");
    }

    /// Writes the new text of a cell. `text` is a span of `texts`.
    #[inline(always)]
    fn write_edited(&self, texts: &[u8], text: Span, out: &mut Vec<u8>) {
        if self.plain {
            append(out, texts, text);
        } else {
            write_field(text.of(texts), self.scanner.dialect(), out);
        }
    }
}

impl Encoder for CsvFromCsv {
    fn begin(&mut self, out: &mut Vec<u8>) {
        write_record(
            self.header.iter().map(String::as_bytes),
            self.scanner.dialect(),
            out,
        );
    }

    fn expect(&mut self, texts: &[u8]) {
        self.plain = is_plain(texts, self.scanner.dialect());
    }

    fn keep(&mut self, batch: &Batch, row: usize, out: &mut Vec<u8>) -> Result<(), UnwritableRecord> {
        let raw = batch.record(row);
        let start = out.len();
        if let Some(columns) = self.same {
            out.extend_from_slice(raw);
            let added = self.sources.len() - columns;
            out.extend(std::iter::repeat_n(self.scanner.dialect().delimiter, added));
        } else {
            self.assemble(raw, std::iter::empty(), out);
        }
        end_record(start, self.scanner.dialect(), out);
        Ok(())
    }

    fn edit(
        &mut self,
        batch: &Batch,
        row: usize,
        edits: Edits<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), UnwritableRecord> {
        let start = out.len();
        match self.same {
            Some(columns) => self.splice(batch, row, columns, edits, out),
            None => self.assemble(batch.record(row), edits.iter(), out),
        }
        end_record(start, self.scanner.dialect(), out);
        Ok(())
    }

    fn row(&mut self, fields: RowFields<'_>, out: &mut Vec<u8>) {
        write_record(fields.iter(), self.scanner.dialect(), out);
    }
}

/// Writes CSV from JSON objects.
pub(super) struct CsvFromJsonl {
    dialect: Dialect,
    header: Vec<String>,
    sources: Vec<Option<usize>>,
    keys: Keys,
    /// The spans of the values of the input's columns in the current record.
    values: Vec<Option<Span>>,
    text: Vec<u8>,
}

impl CsvFromJsonl {
    pub(super) fn new(dialect: Dialect, columns: &[String], output: &[OutputColumn]) -> Self {
        Self {
            dialect,
            header: column_names(output),
            sources: output.iter().map(|column| column.source).collect(),
            keys: Keys::new(columns.iter().map(String::as_str)),
            values: vec![None; columns.len()],
            text: Vec::new(),
        }
    }

    fn find(&mut self, raw: &[u8]) -> Result<(), UnwritableRecord> {
        self.values.fill(None);
        let mut guess = 0;
        for member in members(raw) {
            let key = member.key.of(raw);
            let Some(column) = self
                .keys
                .find(key, guess)
                .map_err(|Untextual| UnwritableRecord::untextual(key))?
            else {
                return Err(UnwritableRecord::member(
                    "unexpected-member",
                    key,
                    "is in no column of the output",
                ));
            };
            guess = column + 1;
            self.values[column] = Some(member.value);
        }
        Ok(())
    }

    fn write<'a>(
        &mut self,
        raw: &[u8],
        edits: impl Iterator<Item = (usize, &'a [u8])>,
        out: &mut Vec<u8>,
    ) -> Result<(), UnwritableRecord> {
        self.find(raw)?;
        let (start, mut edits) = (out.len(), edits.peekable());
        for (column, source) in self.sources.iter().enumerate() {
            if column > 0 {
                out.push(self.dialect.delimiter);
            }
            if let Some((_, text)) = edits.next_if(|&(edited, _)| edited == column) {
                write_field(text, self.dialect, out);
            } else if let Some(value) = source.and_then(|source| self.values[source]) {
                self.text.clear();
                if text(value.of(raw), &mut self.text).is_err() {
                    out.truncate(start);
                    return Err(UnwritableRecord::untextual(value.of(raw)));
                }
                write_field(&self.text, self.dialect, out);
            }
        }
        end_record(start, self.dialect, out);
        Ok(())
    }
}

impl Encoder for CsvFromJsonl {
    fn begin(&mut self, out: &mut Vec<u8>) {
        write_record(self.header.iter().map(String::as_bytes), self.dialect, out);
    }

    fn keep(&mut self, batch: &Batch, row: usize, out: &mut Vec<u8>) -> Result<(), UnwritableRecord> {
        let raw = batch.record(row);
        self.write(raw, std::iter::empty(), out)
    }

    fn edit(
        &mut self,
        batch: &Batch,
        row: usize,
        edits: Edits<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), UnwritableRecord> {
        let raw = batch.record(row);
        self.write(raw, edits.iter(), out)
    }

    fn row(&mut self, fields: RowFields<'_>, out: &mut Vec<u8>) {
        write_record(fields.iter(), self.dialect, out);
    }
}
