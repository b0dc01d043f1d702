//! The beginning of a CSV file goes in; its header and first records come out, with the messages about them.

use std::borrow::Cow;

use super::super::lines::line_ends;
use super::super::{log_lines, notice, sniff};
use super::table::{SampleRecord, apply, has_words, is_surely_title, records};
use crate::format::clip;
use crate::format::csv::{Dialect, RowRules, line_end};

/// The beginning of a CSV file, as it was read.
pub(in crate::decode) struct CsvBeginning<'a> {
    pub(in crate::decode) columns: &'a [String],
    /// True if a record names the columns. `rest` does not have that record.
    pub(in crate::decode) header: bool,
    /// The names in the header, empty where a column is named by its number.
    pub(in crate::decode) names: &'a [String],
    /// The header as the file has it, or the same in this dialect alone.
    pub(in crate::decode) header_text: Cow<'a, [u8]>,
    pub(in crate::decode) dialect: Dialect,
    /// True if the request does not name the delimiter.
    pub(in crate::decode) is_delimiter_open: bool,
    /// True if the delimiter was detected, because the request asks for it.
    pub(in crate::decode) is_auto: bool,
    /// True if a line over the header names the delimiter. `--skip-lines` skips that line, too.
    pub(in crate::decode) is_named_by_line: bool,
    /// The bytes after the header, as far as they are looked at, or the same in this dialect alone.
    pub(in crate::decode) rest: Cow<'a, [u8]>,
    /// The positions in `rest` where the file has one line end more, in order.
    pub(in crate::decode) lost_line_ends: Vec<usize>,
    /// True if `rest` reaches to the end of the file.
    pub(in crate::decode) whole: bool,
    /// The number of the line that `rest` begins with.
    pub(in crate::decode) line: u64,
    /// The rules for rows that are not as wide as the header.
    pub(in crate::decode) rules: RowRules,
}

/// The header and the first records of a CSV file.
pub(super) struct Shape<'a> {
    pub(super) top: &'a CsvBeginning<'a>,
    /// The names in the header, empty where a column is named by its number.
    pub(super) names: Vec<&'a str>,
    /// The header without its quotes and the line ends in it.
    pub(super) first_line: String,
    /// True if the header is one line and has words, so that it is rather a title than the name of a column.
    pub(super) has_words: bool,
    pub(super) records: Vec<SampleRecord<'a>>,
    /// The number of records that have as many fields as the header.
    pub(super) alike: usize,
}

impl<'a> Shape<'a> {
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

    /// Returns the text after the first line.
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

    /// Returns whether half of the records have as many fields as the header, two or more.
    pub(super) fn is_table(&self) -> bool {
        self.columns() > 1 && self.alike > 0 && 2 * self.alike >= self.records.len()
    }

    /// Returns whether all records have as many fields as the header, two or more.
    pub(super) fn is_whole_table(&self) -> bool {
        self.is_table() && self.alike == self.records.len()
    }

    /// Returns whether nine in ten records have as many fields as the header, or half of them by a delimiter that the request
    /// names.
    pub(super) fn is_table_for_sure(&self) -> bool {
        let is_most = 10 * self.alike >= 9 * self.records.len();
        self.is_table() && (is_most || !self.top.is_delimiter_open)
    }

    /// Returns whether lines with times and levels are records of a table: a level is a field, or the request names the
    /// delimiter. A comma does not count: it may be part of a time.
    pub(super) fn is_table_of_events(&self) -> bool {
        let delimiter = self.top.dialect.delimiter;
        let is_header_alone = self.columns() > 1 && self.records.is_empty();
        let mut fields = self.first_line.split(char::from(delimiter)).map(str::trim);
        (self.is_table() || is_header_alone)
            && (fields.any(log_lines::is_level) || !self.top.is_delimiter_open && delimiter != b',')
    }

    /// Returns whether the names are those that output without a header gets: these are never under a title.
    pub(super) fn is_numbered(&self) -> bool {
        let is_number =
            |(number, name): (usize, &&str)| name.strip_prefix("column_") == Some(&number.to_string());
        !self.names.is_empty() && (1..).zip(&self.names).all(is_number)
    }

    /// Returns whether the first line is a title, and hardly the name of a column.
    pub(super) fn is_surely_title(&self) -> bool {
        self.has_words && is_surely_title(&self.first_line)
    }

    /// Returns the number of the line that a record begins with.
    pub(super) fn line(&self, record: &SampleRecord<'_>) -> u64 {
        let top = self.top;
        let Some(start) = record.start else {
            return top.line.saturating_sub(1);
        };
        let lost = top.lost_line_ends.partition_point(|at| *at < start);
        top.line + (line_ends(&top.rest[..start]) + lost) as u64
    }

    /// Returns the options that skip `lines` lines, and keep the delimiter that one of them names.
    pub(super) fn skip_lines(&self, lines: u64) -> String {
        match self.top.is_named_by_line {
            true => format!(
                "--skip-lines {lines} and {}",
                sniff::option(self.top.dialect.delimiter)
            ),
            false => format!("--skip-lines {lines}"),
        }
    }

    /// Reports sentences in place of a header.
    pub(super) fn notice(&self) -> Option<String> {
        if self.top.header {
            return self.notice_in(&self.names, &self.records, self.is_table());
        }
        // Without a header, lines of sentences may be the data; a single one is hardly a file.
        let [only] = &self.records[..] else { return None };
        let names: Vec<_> = self
            .first_line
            .split(char::from(self.top.dialect.delimiter))
            .collect();
        (self.top.whole && only.fields == names.len())
            .then(|| self.notice_in(&names, &[], false))
            .flatten()
    }

    /// Reports sentences in place of a header, for a first line and records read in some dialect.
    pub(super) fn notice_in(
        &self,
        names: &[&str],
        records: &[SampleRecord<'_>],
        is_table: bool,
    ) -> Option<String> {
        let records: Vec<_> = records.iter().map(|record| record.text).collect();
        let text = notice::NoticeCandidate {
            line: &self.first_line,
            names,
            records: &records,
            is_table,
        };
        notice::is_notice(&text).then(|| {
            let first = clip(self.first_line.trim().as_bytes());
            if !self.top.header {
                return format!(
                    "is a sentence (\"{first}\"): is it a notice in place of the file? say --input-format csv if it is a record"
                );
            }
            let skip = self.skip_lines(self.top.line.saturating_sub(1));
            format!(
                "begins with a sentence, not with a header (\"{first}\"): is it a notice in place of the file? say {skip} if it \
                 stands over the header, --input-format csv if it is the header"
            )
        })
    }
}
