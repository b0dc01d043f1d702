//! The beginning of a CSV file goes in; the reason why another delimiter fits the file better comes out.

use memchr::memchr_iter;

use super::beginning::Shape;
use super::table::{
    LINES_OVER_HEADER, RECORDS, SampleRecord, Table, apply, has_decimal_commas, has_header, has_title,
    looks_like_names, may_be_header, records,
};
use crate::decode::lines::complete_lines;
use crate::decode::sniff::{self, SniffedCsv};
use crate::error::Code;
use crate::format::csv::{Dialect, Scanner};

impl Shape<'_> {
    /// Returns a code and a message if the file has one column, and another delimiter gives several columns.
    pub(super) fn another_delimiter(&self) -> Option<(Code, String)> {
        let top = self.top;
        if self.columns() > 1 || !top.is_delimiter_open {
            return None;
        }
        let first = match top.header {
            true => &*top.header_text,
            false => self.records.first()?.text,
        };
        let delimiters = sniff::DELIMITERS.into_iter().chain(sniff::RARE_DELIMITERS);
        let is_possible = |delimiter: &u8| *delimiter != top.dialect.delimiter && first.contains(delimiter);
        let mut best: Option<(usize, usize, u8)> = None;
        for delimiter in delimiters.filter(is_possible) {
            let lines = self.lines_by(delimiter);
            let fields = lines.first().map_or(0, |line| line.fields);
            let is_alike = |line: &&SampleRecord<'_>| line.fields == fields && !line.has_stray;
            let percent = 100 * lines.iter().filter(is_alike).count() / lines.len().max(1);
            if fields > 1
                && percent >= sniff::ALIKE_PERCENT
                && best.is_none_or(|(most, wide, _)| (percent, fields) > (most, wide))
                && !has_title(&lines, self.dialect_by(delimiter))
            {
                best = Some((percent, fields, delimiter));
            }
        }
        if let Some((_, fields, delimiter)) = best {
            // A semicolon within a sentence is not a delimiter.
            let names: Vec<_> = self.first_line.split(char::from(delimiter)).collect();
            let is_table = !self.records.is_empty();
            if top.header
                && let Some(notice) = self.notice_in(&names, &self.records, is_table)
            {
                return Some((Code::NotATable, notice));
            }
            let (name, say) = (sniff::name(delimiter), sniff::option(delimiter));
            return Some((Code::CsvSyntax, self.one_column_but(fields, &name, &say)));
        }
        if first.first() == Some(&top.dialect.quote) {
            return None;
        }
        let rest = complete_lines(&top.rest, top.whole);
        let header = top.header.then_some(first);
        let SniffedCsv { name, fields, say } = sniff::by_spaces(header.into_iter().chain(rest))?;
        Some((Code::CsvSyntax, self.one_column_but(fields, &name, &say)))
    }

    fn one_column_but(&self, fields: usize, name: &str, say: &str) -> String {
        let delimiter = self.top.dialect.delimiter;
        let (current, one) = (sniff::name(delimiter), sniff::option(delimiter));
        format!(
            "has one column by {current}, but {fields} by {name}: say {say}, or {one} if it has one column"
        )
    }

    /// Returns a message if another delimiter gives a table that fits the file better. A title can be above the table.
    /// [`Shape::is_better`] compares the two delimiters.
    ///
    /// `has_widths` is true if [`Shape::other_widths`] returns a message for the current delimiter.
    pub(super) fn table_of_another_delimiter(&self, has_widths: bool) -> Option<String> {
        let (top, columns) = (self.top, self.columns());
        if !top.is_delimiter_open {
            return None;
        }
        // The other delimiter must occur at least once for every two records. If there are several records, it must
        // occur at least twice.
        let least = self
            .records
            .len()
            .div_ceil(2)
            .max(if self.records.len() > 1 { 2 } else { 1 });
        let is_possible = |delimiter: &u8| {
            let count = |text: &[u8], most| memchr_iter(*delimiter, text).take(most).count();
            *delimiter != top.dialect.delimiter
                && count(self.first_line.as_bytes(), 1) + count(&top.rest, least) >= least
        };
        let mut best: Option<(usize, usize, u8, Table, u64)> = None;
        for delimiter in sniff::DELIMITERS.into_iter().filter(is_possible) {
            let lines = self.lines_by(delimiter);
            let dialect = self.dialect_by(delimiter);
            if let Some(table) = Table::of(&lines, 2, dialect)
                && self.is_better(&lines, &table, has_widths, delimiter)
                && best
                    .as_ref()
                    .is_none_or(|(fields, number, ..)| (table.fields, table.records) >= (*fields, *number))
            {
                let line = self.line(&lines[table.first]);
                best = Some((table.fields, table.records, delimiter, table, line));
            }
        }
        let (width, number, delimiter, table, line) = best?;
        let (current, one) = (
            sniff::name(top.dialect.delimiter),
            sniff::option(top.dialect.delimiter),
        );
        let (name, other) = (sniff::name(delimiter), sniff::option(delimiter));
        let (lines, is_first) = (line.saturating_sub(1), table.first == 0);
        let say = match is_first {
            true => other,
            false if top.is_auto && !top.is_named_by_line && table.is_most() => {
                format!("--skip-lines {lines}")
            }
            false => format!("--skip-lines {lines} and {other}"),
        };
        Some(match (columns, is_first) {
            (1, true) => self.one_column_but(width, &name, &say),
            (1, false) => {
                let all = table.first + number + table.others - 1;
                format!(
                    "has one field in its first line, but {number} of the next {all} have {width} by {name}: say {say} if there is a title \
                     over the header, or {one} if it has one column"
                )
            }
            (_, true) => format!(
                "can be read in two ways, {columns} fields by {current} or {width} by {name}: say {one} or {say}"
            ),
            (_, false) => format!(
                "can be read in two ways, {columns} fields by {current} or, from line {line} on, {width} by {name}: say {one} or {say}"
            ),
        })
    }

    /// Returns whether another delimiter fits the lines better than the current delimiter.
    fn is_better(&self, lines: &[SampleRecord<'_>], table: &Table, has_widths: bool, delimiter: u8) -> bool {
        let (columns, all) = (self.columns(), self.records.len());
        let header = &lines[table.first];
        if table.first > LINES_OVER_HEADER || 2 * table.records < all || table.first > 0 && self.is_numbered()
        {
            return false;
        }
        if table.records < 2 {
            // The table is only a header under a title.
            return columns == 1
                && all == 1
                && table.first == 1
                && self.is_surely_title()
                && looks_like_names(header.text, delimiter);
        }
        if !(table.is_pure() || table.is_most() || table.is_all_but_few()) {
            return false;
        }
        let is_decimal = self.top.dialect.delimiter == b',' && has_decimal_commas(lines, table);
        if has_widths {
            // With the current delimiter, the advice would be to skip lines. These lines must not include the header of
            // the other table.
            let other = Table::of(&self.records, columns + 1, self.top.dialect);
            return other.is_none_or(|other| {
                let is_before = header.start < self.records[other.first].start;
                table.fields > other.fields
                    || table.fields == other.fields && is_decimal
                    || is_before && table.is_pure()
            });
        }
        if columns == 1 {
            return table.first == 0
                || self.has_words
                || table.fields > 2 && (table.is_pure() || table.is_most())
                || has_header(lines, table);
        }
        // If the other table is below a title, its header must be a record that the current delimiter splits into
        // another number of fields than the first line. If there is no such record, the other delimiter probably only
        // separates the elements of lists within a column.
        let is_apart = |record: &SampleRecord<'_>| {
            record.start == header.start
                && record.text.len() == header.text.len()
                && record.fields != columns
                && may_be_header(record, delimiter)
        };
        if table.first > 0 && !self.records.iter().any(is_apart) {
            return false;
        }
        is_decimal && (table.fields >= columns || self.alike == 0)
            || table.first > 0 && table.fields > columns && table.records > 2
    }

    /// Splits the header, if there is one, and the records by another delimiter.
    fn lines_by(&self, delimiter: u8) -> Vec<SampleRecord<'_>> {
        let (top, dialect) = (self.top, self.dialect_by(delimiter));
        let mut lines = Vec::with_capacity(RECORDS + 1);
        if top.header {
            let text = &*top.header_text;
            let record = Scanner::new(dialect).record(text, 0, true, &[], |_| ());
            lines.push(SampleRecord {
                fields: record.map_or(1, |record| record.fields),
                text,
                start: None,
                has_stray: record.is_ok_and(|record| record.stray.is_some()),
            });
        }
        let mut records = records(&top.rest, top.whole, dialect);
        let columns = lines.first().or(records.first()).map_or(1, |first| first.fields);
        apply(top.rules, &mut records, columns, dialect);
        lines.extend(records);
        lines
    }

    fn dialect_by(&self, delimiter: u8) -> Dialect {
        Dialect {
            delimiter,
            ..self.top.dialect
        }
    }
}
