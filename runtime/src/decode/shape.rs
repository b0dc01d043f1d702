//! The first records of a text in; out come why they are hardly a table: a title over the header, another delimiter, records of
//! another width, or another text in its place. It is a guess from a sample, which an option of the request overrules.

mod table;

use std::borrow::Cow;

use memchr::memchr_iter;

use self::table::{
    LINES_OVER_HEADER, RECORDS, SampleRecord, Table, apply, has_decimal_commas, has_header, has_title,
    has_words, is_surely_title, is_title_over, looks_like_names, may_be_header, records,
};
use super::lines::{complete_lines, line_ends, lines};
use super::sniff::{self, SniffedCsv};
use super::{log_lines, notice, text_document};
use crate::error::Code;
use crate::format::csv::{Dialect, RowRules, Scanner, line_end};
use crate::format::{OtherType, clip};

/// What was read of a CSV file.
pub(super) struct CsvBeginning<'a> {
    pub(super) columns: &'a [String],
    /// Whether the columns are named by a record, which `rest` does not have.
    pub(super) header: bool,
    /// The names that stand in the header, empty where a column got a number for one.
    pub(super) names: &'a [String],
    /// The header as it stands there, or a text in this dialect that stands for it.
    pub(super) header_text: Cow<'a, [u8]>,
    pub(super) dialect: Dialect,
    /// Whether nobody has said the delimiter.
    pub(super) is_delimiter_open: bool,
    /// Whether it was detected, because that was asked for.
    pub(super) is_auto: bool,
    /// Set if a line over the header names the delimiter. That line is skipped with the others over the header.
    pub(super) is_named_by_line: bool,
    /// The bytes behind the header, as far as they are looked at, or a text in this dialect that stands for them.
    pub(super) rest: Cow<'a, [u8]>,
    /// Where that text has one line end less than the bytes, in order.
    pub(super) lost_line_ends: Vec<usize>,
    /// Whether that is all.
    pub(super) whole: bool,
    /// The line that `rest` begins with.
    pub(super) line: u64,
    /// Returns the rules for rows of another width than the header's.
    pub(super) rules: RowRules,
}

/// The header and the first records, as they are read.
struct Shape<'a> {
    top: &'a CsvBeginning<'a>,
    /// The names as they stood there: empty where a column got a number for one.
    names: Vec<&'a str>,
    /// The header as it stood there, but for its quotes and the line ends in it.
    first_line: String,
    /// Whether it is one line and has words, so that it is rather a title than the name of a column.
    has_words: bool,
    records: Vec<SampleRecord<'a>>,
    /// How many records have as many fields as the header.
    alike: usize,
}

/// Says why a file is hardly a table, and what to do. `other` is what it is called that is none: then it has to look like one.
pub(super) fn check(top: &CsvBeginning<'_>, other: Option<OtherType>) -> Result<(), (Code, String)> {
    let shape = Shape::of(top);
    match (shape.doubt(), other) {
        (Some(doubt), _) => Err(doubt),
        (None, Some(OtherType::NoTable(what))) if !shape.is_whole_table() => {
            let why = format!(
                "is {what} by its name or content type, and no table by its first records: say --input-format csv if it is CSV"
            );
            Err((Code::NotATable, why))
        }
        (None, _) => Ok(()),
    }
}

/// Says why a detected delimiter is hardly the one of the file, and what to do.
pub(super) fn check_delimiter(top: &CsvBeginning<'_>) -> Result<(), String> {
    let shape = Shape::of(top);
    let widths = shape.other_widths();
    shape
        .table_of_another_delimiter(widths.is_some())
        .map_or(Ok(()), Err)
}

impl<'a> Shape<'a> {
    fn of(top: &'a CsvBeginning<'a>) -> Self {
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

    fn columns(&self) -> usize {
        self.top.columns.len()
    }

    /// What comes below the first line.
    fn below(&self) -> &[u8] {
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
    fn is_table(&self) -> bool {
        self.columns() > 1 && self.alike > 0 && 2 * self.alike >= self.records.len()
    }

    /// Returns whether all records are as wide as the header.
    fn is_whole_table(&self) -> bool {
        self.is_table() && self.alike == self.records.len()
    }

    /// Returns whether nine in ten records are as wide as the header, or half of them if the delimiter was named.
    fn is_table_for_sure(&self) -> bool {
        let is_most = 10 * self.alike >= 9 * self.records.len();
        self.is_table() && (is_most || !self.top.is_delimiter_open)
    }

    /// Returns whether lines with times and levels are those of a table: a level is a field, or somebody has named the delimiter. A comma may
    /// stand in a time, which has no field of its own then.
    fn is_table_of_events(&self) -> bool {
        let delimiter = self.top.dialect.delimiter;
        let is_header_alone = self.columns() > 1 && self.records.is_empty();
        let mut fields = self.first_line.split(char::from(delimiter)).map(str::trim);
        (self.is_table() || is_header_alone)
            && (fields.any(log_lines::is_level) || !self.top.is_delimiter_open && delimiter != b',')
    }

    /// Returns whether the names are those that `--no-header` writes: no title stands over these.
    fn is_numbered(&self) -> bool {
        let is_number =
            |(number, name): (usize, &&str)| name.strip_prefix("column_") == Some(&number.to_string());
        !self.names.is_empty() && (1..).zip(&self.names).all(is_number)
    }

    /// Whether the first line is a title, and hardly the name of a column.
    fn is_surely_title(&self) -> bool {
        self.has_words && is_surely_title(&self.first_line)
    }

    fn doubt(&self) -> Option<(Code, String)> {
        let widths = self.other_widths();
        let coded = |code: Code| move |why: String| (code, why);
        let not_a_table = coded(Code::NotATable);
        let csv_syntax = coded(Code::CsvSyntax);
        let header_invalid = coded(Code::HeaderInvalid);
        self.text_with_beginning()
            .map(not_a_table)
            .or_else(|| self.another_delimiter())
            .or_else(|| self.table_of_another_delimiter(widths.is_some()).map(csv_syntax))
            .or_else(|| self.lines_over_header().map(header_invalid))
            .or(widths.map(header_invalid))
            .or_else(|| self.names_and_values().map(not_a_table))
            .or_else(|| self.notice().map(not_a_table))
    }

    /// A log, the answer of a program or a document that its beginning tells.
    fn text_with_beginning(&self) -> Option<String> {
        let (first, rest) = (&self.first_line, self.below());
        if !self.is_table_of_events() && log_lines::is_log(first, lines(rest)) {
            return Some(self.another_text("a log"));
        }
        let what =
            text_document::of_program(first, rest).or_else(|| text_document::with_beginning(first, rest))?;
        Some(self.another_text(what))
    }

    fn names_and_values(&self) -> Option<String> {
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

    /// Sentences in place of a header.
    fn notice(&self) -> Option<String> {
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
    fn notice_in(&self, names: &[&str], records: &[SampleRecord<'_>], is_table: bool) -> Option<String> {
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

    /// The options that pass over so many lines, and keep the delimiter that one of them tells.
    fn skip_lines(&self, lines: u64) -> String {
        match self.top.is_named_by_line {
            true => format!(
                "--skip-lines {lines} and {}",
                sniff::option(self.top.dialect.delimiter)
            ),
            false => format!("--skip-lines {lines}"),
        }
    }

    /// One column, where another delimiter gives several.
    fn another_delimiter(&self) -> Option<(Code, String)> {
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
            // A semicolon of a sentence is no delimiter.
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

    /// A header with one name, over a record that has more: a title as spreadsheets write it.
    fn lines_over_header(&self) -> Option<String> {
        let columns = self.columns();
        if !self.top.header || columns < 2 {
            return None;
        }
        let mut named = self.names.iter().filter(|name| !name.is_empty());
        let (title, others) = (named.next().copied().unwrap_or_default(), named.count());
        let dialect = self.top.dialect;
        let is_title = || !self.names[0].is_empty() && is_title_over(title, &self.records, dialect);
        if others > 0 || columns == 2 && !is_title() {
            return None;
        }
        let filled = columns.max(3) - 1;
        let mut below = self.records.iter().take(LINES_OVER_HEADER);
        let header = below.find(|record| record.filled(dialect) >= filled)?;
        // Columns of an index have no names: that of the values is the last.
        let is_last = !self.names[columns - 1].is_empty();
        let is_title = || has_words(title) && looks_like_names(header.text, dialect.delimiter);
        if is_last && !is_title() {
            return None;
        }
        let (title, skip) = (clip(title.as_bytes()), self.skip_lines(self.line(header) - 1));
        let named = match title.is_empty() {
            true => format!("names none of {columns} columns"),
            false => format!("names 1 of {columns} columns (\"{title}\")"),
        };
        Some(format!(
            "has a header that {named}: is it a title over the header? say {skip}"
        ))
    }

    /// The line that a record begins with.
    fn line(&self, record: &SampleRecord<'_>) -> u64 {
        let top = self.top;
        let Some(start) = record.start else {
            return top.line.saturating_sub(1);
        };
        let lost = top.lost_line_ends.partition_point(|at| *at < start);
        top.line + (line_ends(&top.rest[..start]) + lost) as u64
    }

    /// The header, if there is one, and the records as another delimiter makes them.
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

    fn other_widths(&self) -> Option<String> {
        let (columns, all, records) = (self.columns(), self.records.len(), &self.records);
        let dialect = self.top.dialect;
        let table = Table::of(records, columns + 1, dialect)?;
        let (number, width) = (table.records, table.fields);
        let is_most = number >= 2 && 10 * number >= 9 * all;
        let has_none_as_header = all >= 2 && records.iter().all(|record| record.fields > columns);
        let has_words = self.has_words;
        let is_below = table.first <= LINES_OVER_HEADER
            && match (columns, number) {
                // One record may as well be a ragged one.
                (1, 1) => {
                    let is_told = width > 2 || self.is_surely_title();
                    number == all && is_told && looks_like_names(records[table.first].text, dialect.delimiter)
                }
                (1, _) => {
                    let is_pure = table.is_pure() && (number >= 3 || all <= 4);
                    is_pure
                        || number >= 3 && table.is_most()
                        || (width > 3 || has_words) && table.is_all_but_few()
                }
                _ => {
                    number >= 3
                        && 2 * number > all
                        && (table.is_most() || has_words && table.is_all_but_few())
                }
            };
        if !(is_most || has_none_as_header || is_below) {
            return None;
        }
        let what = format!(
            "has a header of {}, but {number} of its first {all} records have {width}",
            fields(columns)
        );
        let ends_empty = |record: &SampleRecord<'_>| record.text.last() == Some(&dialect.delimiter);
        Some(if columns == 1 {
            let skip = self.skip_lines(self.line(&records[table.first]) - 1);
            format!("{what}: is there a title over the header? say {skip}")
        } else if width == columns + 1 && records.iter().all(ends_empty) {
            format!(
                "{what}: do its records end with a delimiter that the header has not? say --long-rows trailing-empty"
            )
        } else {
            format!("{what}: say --skip-lines if lines stand over the header, else --delimiter or --quote")
        })
    }

    /// A table of another delimiter, also below a title: its records are alike only by that delimiter, or are decimal commas by this
    /// one. `has_widths` says whether the records are of another width by this one.
    fn table_of_another_delimiter(&self, has_widths: bool) -> Option<String> {
        let (top, columns) = (self.top, self.columns());
        if !top.is_delimiter_open {
            return None;
        }
        // Half of the lines have it, two at least.
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

    /// Whether the lines are rather the table that another delimiter gives.
    fn is_better(&self, lines: &[SampleRecord<'_>], table: &Table, has_widths: bool, delimiter: u8) -> bool {
        let (columns, all) = (self.columns(), self.records.len());
        let header = &lines[table.first];
        if table.first > LINES_OVER_HEADER || 2 * table.records < all || table.first > 0 && self.is_numbered()
        {
            return false;
        }
        if table.records < 2 {
            // A header alone under a title.
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
            // What is said for the current delimiter must not lose the header.
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
        // Numbers apart by another delimiter are a list, unless its header has it too, or there is one that the current has not.
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
}

fn fields(number: usize) -> String {
    match number {
        1 => "one field".to_owned(),
        _ => format!("{number} fields"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use crate::config::Limits;
    use crate::decode::open;
    use crate::format::Format;
    use crate::request::{BlankRows, DialectFrom, InputOptions, LongRows, ShortRows};

    fn auto() -> InputOptions {
        InputOptions {
            dialect: Some(DialectFrom::Auto),
            ..InputOptions::default()
        }
    }

    /// Opens a file; the columns, or the error without the name of the file.
    fn opened(text: &str, options: &InputOptions) -> Result<Vec<String>, String> {
        let reader = Box::new(Cursor::new(text.as_bytes().to_vec()));
        match open(reader, "a.csv", None, options, &Limits::default()) {
            Ok(decoding) => Ok(decoding.columns),
            Err(error) => Err(error.to_string().replace("a.csv: ", "")),
        }
    }

    #[track_caller]
    fn assert_refused(text: &str, options: &InputOptions, part: &str) {
        let start: String = text.chars().take(60).collect();
        match opened(text, options) {
            Ok(columns) => panic!("{start:?} has the columns {columns:?}"),
            Err(message) => assert!(message.contains(part), "{start:?}: {message}"),
        }
    }

    #[track_caller]
    fn assert_columns(text: &str, options: &InputOptions, columns: &[&str]) {
        let start: String = text.chars().take(60).collect();
        let columns = columns.iter().map(ToString::to_string).collect();
        assert_eq!(opened(text, options), Ok(columns), "{start:?}");
    }

    /// A table of so many rows, with whole numbers or with decimal commas.
    fn rows(number: usize, value: &str) -> String {
        (0..number)
            .map(|i| format!("{i};Kunde {i};{i}{value};Bern\n"))
            .collect()
    }

    const TITLE: &str = "Monthly report March 2024\n";
    const HEADER: &str = "datum;kunde;betrag;ort\n";

    #[test]
    fn odd_lines_do_not_hide_the_table_under_a_title() {
        for text in [
            format!("{TITLE}{HEADER}# imported\n{}", rows(300, "")),
            format!("{TITLE}{HEADER}{}Total: 30 rows\n", rows(30, "")),
            format!("{TITLE}{HEADER}# imported\n{}Total: 3\n", rows(4, "")),
            format!("{TITLE}{HEADER}# imported\n{}Total;;10;\n", rows(3, ",50")),
            format!("{TITLE}{HEADER}{}", rows(1, "")),
            format!("Report\n{HEADER}# imported\n{}", rows(300, ",50")),
            format!("Report\n{HEADER}{}Total: 4\n", rows(4, "")),
            "Report\ndatum;betrag\n1;2\n3;4\n".to_owned(),
            format!(
                "{}{HEADER}# imported\n{}Total;;10;\n",
                "Monthly report March 2024;;;\n",
                rows(3, ",50")
            ),
            format!(
                "{}{HEADER}# imported\n{}Total;;10;\n",
                "Monthly report March 2024;;;\n",
                rows(4, "")
            ),
        ] {
            let part =
                "by semicolons: say --skip-lines 1 and --delimiter ';' if there is a title over the header";
            assert_refused(&text, &InputOptions::default(), part);
        }
        let of_commas = rows(4, "").replace(';', ",");
        let text = format!("{TITLE}a,b,c,d\n# imported\n{of_commas}Total\n");
        assert_refused(
            &text,
            &InputOptions::default(),
            "is there a title over the header? say --skip-lines 1",
        );
        let text = format!("{HEADER}# imported\n{}Total\n", rows(3, ""));
        assert_refused(
            &text,
            &InputOptions::default(),
            "4 by semicolons: say --delimiter ';'",
        );
    }

    #[test]
    fn decimal_commas_are_no_fields_under_a_title() {
        let dated = "02.03.2024;Kunde 1;1,50;Bern\n".repeat(30);
        for text in [
            format!("{TITLE}{HEADER}{dated}"),
            format!("{TITLE}{HEADER}# imported\n{dated}"),
            format!("{TITLE}datum;betrag\n{}", "02.03.2024;1,50\n".repeat(30)),
            format!("Umsatz\ndatum;betrag\n{}", "02.03.2024;1,50\n".repeat(30)),
            format!(
                "{TITLE}datum;kunde\n{}",
                "02.03.2024;Kunde 1, Bern, x\n".repeat(30)
            ),
            format!(
                "{TITLE}datum;betrag\n# imported\n{}",
                "02.03.2024;1,50\n".repeat(3)
            ),
        ] {
            let part = "by semicolons: say --skip-lines 1 and --delimiter ';'";
            assert_refused(&text, &InputOptions::default(), part);
            assert_refused(&text, &auto(), "by semicolons: say --skip-lines 1");
            let skipped = InputOptions {
                skip_lines: Some(1),
                delimiter: Some(';'),
                ..InputOptions::default()
            };
            assert_eq!(opened(&text, &skipped).unwrap()[0], "datum");
        }
    }

    #[test]
    fn a_title_with_a_comma_makes_no_columns_of_decimal_commas() {
        for text in [
            format!("Report, March 2024\n{HEADER}{}", rows(300, ",50")),
            format!(
                "Report, March 2024\n{HEADER}# imported, by me\n{}",
                rows(30, ",50")
            ),
            format!("Report, March 2024\ndatum;betrag\n{}", "1;1,50\n".repeat(30)),
            format!("Report, March 2024\n{HEADER}{}", rows(30, "")),
            format!(
                "Report, March 2024\n{HEADER}{}",
                rows(30, "").replace("Kunde ", "Kunde, ")
            ),
        ] {
            let part = "2 fields by commas or, from line 2 on,";
            assert_refused(&text, &InputOptions::default(), part);
            assert_refused(
                &text,
                &InputOptions::default(),
                "say --delimiter ',' or --skip-lines 1 and --delimiter ';'",
            );
            let named = InputOptions {
                format: Some(Format::Csv),
                ..InputOptions::default()
            };
            assert_columns(&text, &named, &["Report", " March 2024"]);
        }
        let text = format!("Report, March 2024\n{HEADER}{}", rows(300, ",50"));
        assert_refused(&text, &auto(), "say --delimiter ',' or --skip-lines 1");
        let text = format!("datum;betrag, netto\n{}", "1;1,50\n".repeat(30));
        let both = "can be read in two ways, 2 fields by commas or 2 by semicolons: say --delimiter ',' or --delimiter ';'";
        assert_refused(&text, &InputOptions::default(), both);
    }

    #[test]
    fn a_dialect_that_is_to_be_detected_is_not_hidden_by_a_title() {
        let text = format!("{TITLE}{HEADER}{}", rows(4, ""));
        let part = "has one field in its first line, but 5 of the next 5 have 4 by semicolons: say --skip-lines 1 if";
        assert_refused(&text, &auto(), part);
        let named = InputOptions {
            format: Some(Format::Csv),
            ..auto()
        };
        assert_refused(&text, &named, part);
        let skipped = InputOptions {
            skip_lines: Some(1),
            ..auto()
        };
        assert_columns(&text, &skipped, &["datum", "kunde", "betrag", "ort"]);
    }

    #[test]
    fn what_is_written_without_a_header_can_be_read() {
        for text in [
            "column_1,column_2,column_3\n1,2,3\n4,5,6\n",
            "column_1,column_2\nid,name\n1,2\n",
            "column_1\n1;2;3\n4;5;6\n7;8;9\n",
            "column_1\ndatum;betrag\n1;2\n3;4\n",
        ] {
            let names: Vec<_> = text.lines().next().unwrap().split(',').collect();
            assert_columns(text, &InputOptions::default(), &names);
        }
        let part = "names none of 3 columns: is it a title over the header? say --skip-lines 1";
        assert_refused(",,\nid,a,b\n1,2,3\n", &InputOptions::default(), part);
    }

    #[test]
    fn a_title_of_several_lines_stands_over_two_columns() {
        let two = "id,name\n1,x\n2,y\n";
        for (text, lines) in [
            (format!("Monthly report 2024,\n,\n{two}"), 2),
            (format!("Sales report,\n,\n,\n{two}"), 3),
            (format!("Monthly report 2024,\nCreated by Bob,\n{two}"), 2),
            (format!("Monthly report 2024,\nBob,\n,\n{two}"), 3),
            ("月次報告2024年3月,\n番号,名前\n1,花子\n2,太郎\n".to_owned(), 1),
            ("月次報告2024年3月,\n番号,名前\n花子,東京\n".to_owned(), 1),
            ("月次売上報告書,\n,\n番号,名前\n1,花子\n2,太郎\n".to_owned(), 2),
            ("月次報告　３月,\n番号,名前\n1,花子\n2,太郎\n".to_owned(), 1),
            ("Umsatz_2024,\nid,name\n1,x\n2,y\n".to_owned(), 1),
        ] {
            let part = format!("say --skip-lines {lines}");
            assert_refused(&text, &InputOptions::default(), &part);
            let text = text.replace(',', ";");
            let part = format!("say --skip-lines {lines} and --delimiter ';'");
            assert_refused(&text, &InputOptions::default(), &part);
        }
        for (text, columns) in [
            ("full name,\n,\nJohn,5\nJane,6\n", ["full name", "column_2"]),
            ("full name,\nJohn,\nJane,x\nMary,y\n", ["full name", "column_2"]),
            ("名前,\n花子,東京\n太郎,大阪\n", ["名前", "column_2"]),
            ("sha256,\na,b\n1,2\n", ["sha256", "column_2"]),
        ] {
            assert_columns(text, &InputOptions::default(), &columns);
        }
    }

    #[test]
    fn rules_for_rows_leave_the_other_rules() {
        let title = "Monthly report 2024\na,b\n1,2\n3,4\n";
        let with = |set: fn(&mut InputOptions)| {
            let mut options = InputOptions::default();
            set(&mut options);
            options
        };
        let drops = with(|options| options.blank_rows = Some(BlankRows::Drop));
        let fills = with(|options| options.short_rows = Some(ShortRows::Fill));
        let cuts = with(|options| options.long_rows = Some(LongRows::TrailingEmpty));
        for options in [&drops, &fills, &cuts] {
            assert_refused(title, options, "say --skip-lines 1");
            assert_refused("a,b\n1,2,3\n4,5,6\n", options, "2 of its first 2 records have 3");
        }
        assert_columns("a,b\n,,\n,,\n,,\n1,2\n", &drops, &["a", "b"]);
        assert_columns("a,b\n1\n2\n", &fills, &["a", "b"]);
        assert_columns("a,b\n1,2,\n3,,,\n4,5,,,\n", &cuts, &["a", "b"]);
        assert_columns("a\n1,\n3,\n4,\n", &cuts, &["a"]);
    }

    #[test]
    fn a_table_of_what_looks_like_a_log_or_settings_is_one() {
        let by = |delimiter, header| InputOptions {
            delimiter: Some(delimiter),
            header: Some(header),
            ..InputOptions::default()
        };
        let events = "2024-01-01 10:00:00 | INFO | started\n2024-01-01 10:00:01 | INFO | ended\n";
        for (text, options, columns) in [
            (events, by('|', false), 3),
            ("INFO:root:started\nINFO:root:started\n", by(':', false), 3),
            ("Error:Count:Rate\n", by(':', true), 3),
            ("name=value\na=1\nb=2=3\nc=3\n", by('=', true), 2),
            ("key: value\nk: 1\nk: 1\nurl: http://x\n", by(':', true), 2),
            ("Warning: low,Warning: high\n", InputOptions::default(), 2),
        ] {
            let opened = opened(text, &options).map(|columns| columns.len());
            assert_eq!(opened, Ok(columns), "{text:?}");
        }
        let fractions = "2024-01-01 10:00:00,123 INFO started\n2024-01-01 10:00:01,456 INFO ended\n";
        for options in [by(',', true), by(',', false), InputOptions::default()] {
            assert_refused(fractions, &options, "is a log");
        }
        assert_refused(
            fractions,
            &by(',', false),
            "say --input-format csv if these are its records",
        );
        assert_refused(
            "name: x, y\nage: 3, 4\ncity: z\n",
            &InputOptions::default(),
            "name: value",
        );
    }

    #[test]
    fn a_separator_line_is_not_lost_with_a_title() {
        for (text, part) in [
            (
                "sep=;\nTitle 2024 now\nid;b;c\n1;2;3\n4;5;6\n",
                "say --skip-lines 2 and --delimiter ';'",
            ),
            (
                "sep=;\nTitle;;\nid;b;c\n1;2;3\n4;5;6\n",
                "say --skip-lines 2 and --delimiter ';'",
            ),
            (
                "sep=;\nService unavailable\n",
                "say --skip-lines 2 and --delimiter ';' if",
            ),
        ] {
            assert_refused(text, &InputOptions::default(), part);
            assert_refused(text, &auto(), part);
        }
        assert_refused(
            "\nService unavailable\n",
            &InputOptions::default(),
            "say --skip-lines 2 if",
        );
    }

    #[test]
    fn texts_and_lists_in_a_field_are_legal() {
        for (text, columns) in [
            ("pair\n1;2\n3;4\n", &["pair"][..]),
            ("text\none; two\nthree\nfour; five\n", &["text"]),
            ("tags\na;b\nc\nd;e;f\ng;h\n", &["tags"]),
            ("tags\na;b;c;d\ne;f;g;h\ni;j;k;l\nm\n", &["tags"]),
            ("id,list\n1,x;y;z\nbad;row\n2,x;y;z\n3,x;y;z\n", &["id", "list"]),
            ("\"Name; Vorname\"\n", &["Name; Vorname"]),
            ("\"Name   Vorname\"\n", &["Name   Vorname"]),
            ("\"Name; Vorname\"\n1;2\n", &["Name; Vorname"]),
            (
                "name,rgb\na,1;2;3,x\nb,1;2;3\nc,1;2;3\nd,1;2;3\n",
                &["name", "rgb"],
            ),
            ("name,rgb\n1;2;3\nb,1;2;3\nc,1;2;3\nd,1;2;3\n", &["name", "rgb"]),
            (",,value\nA,x,1\nB,y,2\n", &["column_1", "column_2", "value"]),
            ("\"a, b\"\n\"1, 2\"\n\"3, 4\"\n", &["a, b"]),
            ("id,scores\n1,10;20;30\n2,11;21;31\n", &["id", "scores"]),
            ("id,name,geo;pos\n1,7,2;3\n2,8,4;5\n", &["id", "name", "geo;pos"]),
            ("id,note\n1,a;b\n2,c;d\n", &["id", "note"]),
            ("name\nDoe, Jane\nRoe, Rick\nPoe, Ed\nCher\n", &["name"]),
            ("key, value\n1,2\n3,4\n", &["key", " value"]),
            ("url\nhttp://a\nhttp://b\nhttp://c\n", &["url"]),
            ("time\n10:30\n10:31\n10:32\n", &["time"]),
            ("note\nWarning: a\nError: b\nInfo: c\n", &["note"]),
            ("\"a\nb\"\n1;2\n3;4\n", &["a\nb"]),
            ("list of tags\na;b;c\n", &["list of tags"]),
            ("text\none, two, three\n", &["text"]),
            ("full name,\nJohn,5\nJane,6\n", &["full name", "column_2"]),
            ("full name,\nJohn,x\n", &["full name", "column_2"]),
            ("id,\n1,2\n", &["id", "column_2"]),
        ] {
            assert_columns(text, &InputOptions::default(), columns);
        }
    }

    #[test]
    fn a_document_of_lines_is_a_guess() {
        for (text, what) in [
            (
                "---\nname: x\nage: 3\n",
                "is a YAML document, not a table (\"---\")",
            ),
            (
                "# Title\n\nSome prose, with commas, here.\nAnd, of course, more of it.\n",
                "is a text in Markdown",
            ),
            (
                "From: a@x\nTo: b@x\nSubject: hi, all\n\nHello,\nbye\n",
                "is a mail",
            ),
            ("name: x\nage: 3\ncity: y\n", "is made of lines `name: value`"),
            ("name: x, y\nage: 3\ncity: y\n", "is made of lines `name: value`"),
        ] {
            assert_refused(text, &InputOptions::default(), what);
            let named = InputOptions {
                format: Some(Format::Csv),
                ..InputOptions::default()
            };
            assert!(opened(text, &named).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn another_delimiter_is_named_where_there_is_one_column() {
        for (text, message) in [
            ("a;b\n1;2\n", "2 by semicolons: say --delimiter ';'"),
            ("a;b\n", "2 by semicolons: say --delimiter ';'"),
            ("a\tb\n1\t2\n", "2 by tabs: say --delimiter tab"),
            ("a~b\n1~2\n", "2 by \"~\": say --delimiter '~'"),
            ("a\u{1}b\n1\u{1}2\n", "2 by bytes 0x01: say --delimiter 0x01"),
            (
                "id    name  city\n1     x     y\n22    zz    y\n",
                "3 by several spaces: say --dialect spaces",
            ),
        ] {
            for text in [
                text.to_owned(),
                text.replace('\n', "\r"),
                text.replace('\n', "\r\n"),
            ] {
                assert_refused(
                    &text,
                    &InputOptions::default(),
                    &format!("has one column by commas, but {message}"),
                );
            }
        }
        for text in [
            "a\n1;2\n",
            "a;b\n1\n2\n",
            "full name\nJohn Smith\nJane Doe\n",
            "text\none; two\nthree\n",
            "a  b\n1\n2 3 4\n",
        ] {
            assert!(opened(text, &InputOptions::default()).is_ok(), "{text:?}");
        }
    }
}
