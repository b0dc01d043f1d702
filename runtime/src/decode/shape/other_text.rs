//! The beginning of a CSV file goes in; the reason why the file is another kind of text comes out. Such a text is a
//! log, a document, or a notice in place of the file.

use super::beginning::Shape;
use super::table::SampleRecord;
use crate::decode::lines::lines;
use crate::decode::{log_lines, notice, text_document};
use crate::format::clip;

impl Shape<'_> {
    /// Returns a message if the file begins like a log, the output of a program, or a document.
    pub(super) fn text_with_beginning(&self) -> Option<String> {
        let (first, rest) = (&self.first_line, self.below());
        if !self.is_table_of_events() && log_lines::is_log(first, lines(rest)) {
            return Some(self.another_text("a log"));
        }
        let what =
            text_document::of_program(first, rest).or_else(|| text_document::with_beginning(first, rest))?;
        Some(self.another_text(what))
    }

    /// Returns a message if the lines have the form `name: value` or `name=value`.
    pub(super) fn names_and_values(&self) -> Option<String> {
        if self.is_table_for_sure() {
            return None;
        }
        let what = text_document::of_names_and_values(&self.first_line, self.below())?;
        Some(self.another_text(what))
    }

    fn another_text(&self, what: &str) -> String {
        let first = clip(self.first_line.as_bytes());
        let is = match self.top.header {
            true => "its first line is a header",
            false => "these are its records",
        };
        format!("is {what}, not a table (\"{first}\"): make a table of it, or say --input-format csv if {is}")
    }

    /// Returns a message if the file has sentences in place of a header.
    pub(super) fn notice(&self) -> Option<String> {
        if self.top.header {
            return self.notice_in(&self.names, &self.records, self.is_table());
        }
        // Without a header, several sentences can be the data. A file with a single sentence is probably a notice.
        let [only] = &self.records[..] else { return None };
        let names: Vec<_> = self
            .first_line
            .split(char::from(self.top.dialect.delimiter))
            .collect();
        (self.top.whole && only.fields == names.len())
            .then(|| self.notice_in(&names, &[], false))
            .flatten()
    }

    /// Returns a message if the first line is a notice. `names` are its fields, and `records` follow it.
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
