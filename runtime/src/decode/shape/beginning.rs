//! The beginning of a CSV file goes in; the header and the first records come out, together with their properties.

use std::borrow::Cow;

use super::table::{SampleRecord, apply, has_words, is_surely_title, records};
use crate::decode::lines::line_ends;
use crate::decode::{log_lines, sniff};
use crate::format::csv::{Dialect, RowRules, line_end};

/// The beginning of a CSV file.
pub(in crate::decode) struct CsvBeginning<'a> {
    pub(in crate::decode) columns: &'a [String],
    /// True if the first record names the columns. `rest` begins after this record.
    pub(in crate::decode) header: bool,
    /// The names in the header. If the header has no name for a column, the name is empty here, and the column is named
    /// by its number.
    pub(in crate::decode) names: &'a [String],
    /// The text of the header. If the file has comments or special syntax, which a dialect cannot describe, this is the
    /// header rewritten in `dialect`.
    pub(in crate::decode) header_text: Cow<'a, [u8]>,
    pub(in crate::decode) dialect: Dialect,
    /// True if no option names the delimiter.
    pub(in crate::decode) is_delimiter_open: bool,
    /// True if an option asked to detect the delimiter.
    pub(in crate::decode) is_auto: bool,
    /// True if a line above the header names the delimiter. An option that skips the lines above the header skips this
    /// line too.
    pub(in crate::decode) is_named_by_line: bool,
    /// The first bytes after the header. If the file has comments or special syntax, which a dialect cannot describe,
    /// these bytes are rewritten in `dialect`.
    pub(in crate::decode) rest: Cow<'a, [u8]>,
    /// The positions in `rest`, in increasing order, at which the file has an escaped line end and `rest` has none.
    pub(in crate::decode) lost_line_ends: Vec<usize>,
    /// True if `rest` has all bytes after the header.
    pub(in crate::decode) whole: bool,
    /// The number of the line at which `rest` begins.
    pub(in crate::decode) line: u64,
    /// The rules for rows that are wider or narrower than the header.
    pub(in crate::decode) rules: RowRules,
}

/// The header and the first records of a CSV file, with their properties.
pub(super) struct Shape<'a> {
    pub(super) top: &'a CsvBeginning<'a>,
    /// The names in the header. If the header has no name for a column, the name is empty here, and the column is named
    /// by its number.
    pub(super) names: Vec<&'a str>,
    /// The names of the header in one line, separated by the delimiter. Without a header, the first record in one line.
    pub(super) first_line: String,
    /// True if the header is one line with several words. Such a line is more likely a title than the name of a column.
    pub(super) has_words: bool,
    pub(super) records: Vec<SampleRecord<'a>>,
    /// The number of records with as many fields as the header.
    pub(super) alike: usize,
}

impl<'a> Shape<'a> {
    /// Returns a message if the header consists only of invisible characters. An example is the zero bytes of a file
    /// that was not completely written. A header that has only empty names is allowed.
    pub(super) fn unseen_header(&self) -> Option<String> {
        let characters = || self.names.iter().flat_map(|name| name.chars());
        let is_unseen = self.top.header
            && characters().next().is_some()
            && characters().all(|c| c.is_whitespace() || c.is_control() || c == '\u{feff}');
        is_unseen.then(|| {
            let what = match characters().any(|c| c == '\0') {
                true => "zero bytes",
                false => "white space",
            };
            format!("its header is only {what}: is the file complete? say --no-header if its first line is a record")
        })
    }

    pub(super) fn of(top: &'a CsvBeginning<'a>) -> Self {
        let names: Vec<_> = match top.header {
            true => top.names.iter().map(String::as_str).collect(),
            false => vec![""; top.columns.len()],
        };
        let mut records = records(&top.rest, top.whole, top.dialect);
        apply(top.rules, &mut records, top.columns.len(), top.dialect);
        let mut first_line = match records.first() {
            // Without a header the first record is the first line.
            Some(first) if !top.header => String::from_utf8_lossy(first.text).into_owned(),
            _ => names.join(&char::from(top.dialect.delimiter).to_string()),
        };
        let is_one_line = !first_line.contains(['\n', '\r']);
        if !is_one_line {
            first_line = first_line.replace(['\n', '\r'], " ");
        }
        let columns = top.columns.len();
        let alike = records.iter().filter(|record| record.fields == columns).count();
        Self {
            top,
            names,
            has_words: is_one_line && has_words(&first_line),
            first_line,
            records,
            alike,
        }
    }

    pub(super) fn columns(&self) -> usize {
        self.top.columns.len()
    }

    /// Returns the bytes after the first line.
    pub(super) fn below(&self) -> &[u8] {
        let rest = &self.top.rest;
        match self.records.first() {
            Some(first) if !self.top.header => {
                let end = first.start.unwrap_or_default() + first.text.len();
                let is_last = end == rest.len();
                let next = if is_last { None } else { line_end(rest, end, true) };
                &rest[next.unwrap_or(rest.len())..]
            }
            _ => rest,
        }
    }

    /// Returns whether the header has at least two fields, and at least half of the records have as many fields as the
    /// header.
    pub(super) fn is_table(&self) -> bool {
        self.columns() > 1 && self.alike > 0 && 2 * self.alike >= self.records.len()
    }

    /// Returns whether the header has at least two fields, and all records have as many fields as the header.
    pub(super) fn is_whole_table(&self) -> bool {
        self.is_table() && self.alike == self.records.len()
    }

    /// Returns whether the header has at least two fields, and at least nine in ten records have as many fields as the
    /// header. If an option names the delimiter, half of the records are enough.
    pub(super) fn is_table_for_sure(&self) -> bool {
        let is_most = 10 * self.alike >= 9 * self.records.len();
        self.is_table() && (is_most || !self.top.is_delimiter_open)
    }

    /// Returns whether lines with times and levels are a table, not a log. They are a table if a level is a field of
    /// its own, or if an option names the delimiter. A comma as the named delimiter proves nothing, because a time can
    /// contain a comma.
    pub(super) fn is_table_of_events(&self) -> bool {
        let delimiter = self.top.dialect.delimiter;
        let is_header_alone = self.columns() > 1 && self.records.is_empty();
        let mut fields = self.first_line.split(char::from(delimiter)).map(str::trim);
        (self.is_table() || is_header_alone)
            && (fields.any(log_lines::is_level) || !self.top.is_delimiter_open && delimiter != b',')
    }

    /// Returns whether the names are `column_1`, `column_2` and so on. The outputs of runs with `--no-header` have
    /// these names, and have no title above them.
    pub(super) fn is_numbered(&self) -> bool {
        let is_number =
            |(number, name): (usize, &&str)| name.strip_prefix("column_") == Some(&number.to_string());
        !self.names.is_empty() && (1..).zip(&self.names).all(is_number)
    }

    /// Returns whether the first line is almost certainly a title, and not the name of a column.
    pub(super) fn is_surely_title(&self) -> bool {
        self.has_words && is_surely_title(&self.first_line)
    }

    /// Returns the options that skip `lines` lines. If one of the skipped lines names the delimiter, the options also
    /// name the delimiter.
    pub(super) fn skip_lines(&self, lines: u64) -> String {
        match self.top.is_named_by_line {
            true => format!(
                "--skip-lines {lines} and {}",
                sniff::option(self.top.dialect.delimiter)
            ),
            false => format!("--skip-lines {lines}"),
        }
    }

    /// Returns the number of the line at which a record begins.
    pub(super) fn line(&self, record: &SampleRecord<'_>) -> u64 {
        let top = self.top;
        let Some(start) = record.start else {
            return top.line.saturating_sub(1);
        };
        let lost = top.lost_line_ends.partition_point(|at| *at < start);
        top.line + (line_ends(&top.rest[..start]) + lost) as u64
    }
}
