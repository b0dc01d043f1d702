//! Records in, CSV out, with LF line ends and the dialect of the input where that is CSV too. Then a field
//! that did not change is copied with its quotes, and a record whose columns are those of the input is
//! copied or spliced as a whole.

use super::{Encoder, Unfit, column_names};
use crate::batch::{Edits, Fields};
use crate::format::csv::{Dialect, Scanner, write_field};
use crate::format::jsonl::{Keys, Untextual, members, text};
use crate::format::{OutputColumn, Span};

/// Ends a record. An empty line would be no record, so one that is a single empty field is written within
/// quotes.
fn end_record(start: usize, dialect: Dialect, out: &mut Vec<u8>) {
    if out.len() == start {
        out.extend_from_slice(&[dialect.quote, dialect.quote]);
    }
    out.push(b'\n');
}

/// Writes a record of texts.
fn write_record<'a>(texts: impl Iterator<Item = &'a str>, dialect: Dialect, out: &mut Vec<u8>) {
    let start = out.len();
    for (index, text) in texts.enumerate() {
        if index > 0 {
            out.push(dialect.delimiter);
        }
        write_field(text.as_bytes(), dialect, out);
    }
    end_record(start, dialect, out);
}

/// CSV of CSV.
pub(super) struct CsvFromCsv {
    scanner: Scanner,
    header: Vec<String>,
    /// The input's columns, if they are the first of the output's, in their order.
    same: Option<usize>,
    /// For each column of the output its source.
    sources: Vec<Option<usize>>,
    /// The columns to find in a record, increasing: the sources, or those of a splice.
    wanted: Vec<usize>,
    /// Where they are in the record at hand.
    spans: Vec<Span>,
}

impl CsvFromCsv {
    pub(super) fn new(dialect: Dialect, columns: usize, output: &[OutputColumn]) -> Self {
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
            sources: sources.into_iter().map(place).collect(),
            wanted,
            spans: Vec::new(),
        }
    }

    /// Copies a record up to its end but for the edited cells.
    fn splice(&mut self, raw: &[u8], columns: usize, edits: Edits<'_>, out: &mut Vec<u8>) {
        let dialect = self.scanner.dialect();
        self.wanted.clear();
        self.wanted.extend(
            edits
                .iter()
                .map(|(column, _)| column)
                .take_while(|&column| column < columns),
        );
        self.find(raw);
        let (mut copied, mut edits) = (0, edits.iter().peekable());
        for span in &self.spans {
            let Some((_, text)) = edits.next() else { break };
            out.extend_from_slice(&raw[copied..span.start]);
            write_field(text.as_bytes(), dialect, out);
            copied = span.end;
        }
        out.extend_from_slice(&raw[copied..]);
        for column in columns..self.sources.len() {
            out.push(dialect.delimiter);
            if let Some((_, text)) = edits.next_if(|&(edited, _)| edited == column) {
                write_field(text.as_bytes(), dialect, out);
            }
        }
    }

    /// Puts a record together from the fields of another.
    fn assemble<'a>(&mut self, raw: &[u8], edits: impl Iterator<Item = (usize, &'a str)>, out: &mut Vec<u8>) {
        let dialect = self.scanner.dialect();
        self.find(raw);
        let mut edits = edits.peekable();
        for (column, source) in self.sources.iter().enumerate() {
            if column > 0 {
                out.push(dialect.delimiter);
            }
            if let Some((_, text)) = edits.next_if(|&(edited, _)| edited == column) {
                write_field(text.as_bytes(), dialect, out);
            } else if let Some(span) = source.and_then(|source| self.spans.get(source)) {
                out.extend_from_slice(span.of(raw));
            }
        }
    }

    fn find(&mut self, raw: &[u8]) {
        let found = self.scanner.record(raw, 0, true, &self.wanted, &mut self.spans);
        debug_assert!(found.is_ok(), "a decoded record is complete");
    }
}

impl Encoder for CsvFromCsv {
    fn begin(&mut self, out: &mut Vec<u8>) {
        write_record(
            self.header.iter().map(String::as_str),
            self.scanner.dialect(),
            out,
        );
    }

    fn keep(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
        let start = out.len();
        if let Some(columns) = self.same {
            out.extend_from_slice(raw);
            out.resize(
                out.len() + self.sources.len() - columns,
                self.scanner.dialect().delimiter,
            );
        } else {
            self.assemble(raw, std::iter::empty(), out);
        }
        end_record(start, self.scanner.dialect(), out);
        Ok(())
    }

    fn edit(&mut self, raw: &[u8], edits: Edits<'_>, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let start = out.len();
        match self.same {
            Some(columns) => self.splice(raw, columns, edits, out),
            None => self.assemble(raw, edits.iter(), out),
        }
        end_record(start, self.scanner.dialect(), out);
        Ok(())
    }

    fn row(&mut self, fields: Fields<'_>, out: &mut Vec<u8>) {
        write_record(fields.iter(), self.scanner.dialect(), out);
    }
}

/// CSV of JSON objects.
pub(super) struct CsvFromJsonl {
    dialect: Dialect,
    header: Vec<String>,
    sources: Vec<Option<usize>>,
    keys: Keys,
    /// The values of the input's columns in the record at hand.
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

    fn find(&mut self, raw: &[u8]) -> Result<(), Unfit> {
        self.values.fill(None);
        let mut guess = 0;
        for member in members(raw) {
            let key = member.key.of(raw);
            let Some(column) = self
                .keys
                .find(key, guess)
                .map_err(|Untextual| Unfit::untextual(key))?
            else {
                return Err(Unfit::member(
                    "unexpected-member",
                    key,
                    "is in no column of the output",
                ));
            };
            guess = column + 1;
            if self.values[column].replace(member.value).is_some() {
                return Err(Unfit::member(
                    "duplicate-member",
                    key,
                    "stands there more than once",
                ));
            }
        }
        Ok(())
    }

    fn write<'a>(
        &mut self,
        raw: &[u8],
        edits: impl Iterator<Item = (usize, &'a str)>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unfit> {
        self.find(raw)?;
        let (start, mut edits) = (out.len(), edits.peekable());
        for (column, source) in self.sources.iter().enumerate() {
            if column > 0 {
                out.push(self.dialect.delimiter);
            }
            if let Some((_, text)) = edits.next_if(|&(edited, _)| edited == column) {
                write_field(text.as_bytes(), self.dialect, out);
            } else if let Some(value) = source.and_then(|source| self.values[source]) {
                self.text.clear();
                if text(value.of(raw), &mut self.text).is_err() {
                    out.truncate(start);
                    return Err(Unfit::untextual(value.of(raw)));
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
        write_record(self.header.iter().map(String::as_str), self.dialect, out);
    }

    fn keep(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
        self.write(raw, std::iter::empty(), out)
    }

    fn edit(&mut self, raw: &[u8], edits: Edits<'_>, out: &mut Vec<u8>) -> Result<(), Unfit> {
        self.write(raw, edits.iter(), out)
    }

    fn row(&mut self, fields: Fields<'_>, out: &mut Vec<u8>) {
        write_record(fields.iter(), self.dialect, out);
    }
}
