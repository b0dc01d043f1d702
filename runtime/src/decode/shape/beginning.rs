//! The beginning of a CSV file goes in; its header and first records come out, with what is said of them in messages.

use std::borrow::Cow;

use super::super::lines::line_ends;
use super::super::notice;
use super::table::{SampleRecord, has_words, is_surely_title, records};
use crate::format::clip;
use crate::format::csv::{Dialect, line_end};

/// What was read of a CSV file.
pub(in crate::decode) struct CsvBeginning<'a> {
    pub(in crate::decode) columns: &'a [String],
    /// Whether the columns are named by a record, which `rest` does not have.
    pub(in crate::decode) header: bool,
    pub(in crate::decode) dialect: Dialect,
    /// Whether nobody has said the delimiter.
    pub(in crate::decode) is_delimiter_open: bool,
    /// Whether it was detected, because that was asked for.
    pub(in crate::decode) is_auto: bool,
    /// The bytes behind the header, as far as they are looked at, or a text in this dialect that stands for them.
    pub(in crate::decode) rest: Cow<'a, [u8]>,
    /// Where that text has one line end less than the bytes, in order.
    pub(in crate::decode) lost_line_ends: Vec<usize>,
    /// Whether that is all.
    pub(in crate::decode) whole: bool,
    /// The line that `rest` begins with.
    pub(in crate::decode) line: u64,
    /// Whether rows of another width than the header's are more than rejects.
    pub(in crate::decode) has_row_rules: bool,
}

/// The header and the first records, as they are read.
pub(super) struct Shape<'a> {
    pub(super) top: &'a CsvBeginning<'a>,
    /// The names as they stood there: empty where a column got a number for one.
    pub(super) names: Vec<&'a str>,
    /// The header as it stood there, but for its quotes and the line ends in it.
    pub(super) first_line: String,
    /// Whether it is one line and has words, so that it is rather a title than the name of a column.
    pub(super) has_words: bool,
    pub(super) records: Vec<SampleRecord<'a>>,
    /// How many records have as many fields as the header.
    pub(super) alike: usize,
}

impl<'a> Shape<'a> {
    pub(super) fn of(top: &'a CsvBeginning<'a>) -> Self {
        let names: Vec<_> = (1..)
            .zip(top.columns)
            .map(|(number, name)| {
                let digits = name.strip_prefix("column_").unwrap_or_default();
                if digits.parse() == Ok(number) { "" } else { name }
            })
            .collect();
        let records = records(&top.rest, top.whole, top.dialect);
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

    /// What comes below the first line.
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

    /// Whether half of the records have as many fields as the header, two or more.
    pub(super) fn is_table(&self) -> bool {
        self.columns() > 1 && self.alike > 0 && 2 * self.alike >= self.records.len()
    }

    /// Whether the first line is a title, and hardly the name of a column.
    pub(super) fn is_surely_title(&self) -> bool {
        self.has_words && is_surely_title(&self.first_line)
    }

    /// The line that a record begins with.
    pub(super) fn line(&self, record: &SampleRecord<'_>) -> u64 {
        let top = self.top;
        let Some(start) = record.start else {
            return top.line.saturating_sub(1);
        };
        let lost = top.lost_line_ends.partition_point(|at| *at < start);
        top.line + (line_ends(&top.rest[..start]) + lost) as u64
    }

    /// Sentences in place of a header.
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

    /// The same, as the first line and the records are read in a dialect.
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
            format!(
                "begins with a sentence, not with a header (\"{first}\"): is it a notice in place of the file? say --skip-lines 1 if it \
                 stands over the header, --input-format csv if it is the header"
            )
        })
    }
}
