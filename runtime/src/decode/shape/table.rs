//! The records of a sample go in; the tables among them come out. A table is a group of records of the same width. This
//! module also finds the titles above tables.

use std::collections::BTreeMap;

use super::super::sniff;
use crate::format::Span;
use crate::format::csv::{Dialect, RowRules, Scanner, line_end};

/// The maximum number of records that are examined.
pub(super) const RECORDS: usize = 100;

/// The maximum number of lines above a header.
pub(super) const LINES_OVER_HEADER: usize = 20;

/// A record of the sample, or its header.
#[derive(Clone, Copy)]
pub(super) struct SampleRecord<'a> {
    pub(super) fields: usize,
    pub(super) text: &'a [u8],
    /// The start of the record in `CsvBeginning::rest`, or `None` for the header.
    pub(super) start: Option<usize>,
    /// True if the record has a stray quote.
    pub(super) has_stray: bool,
}

impl SampleRecord<'_> {
    /// Returns the number of fields that are not empty.
    pub(super) fn filled(&self, dialect: Dialect) -> usize {
        let every: Vec<usize> = (0..self.fields).collect();
        let mut filled = 0;
        let found = |span: Span| filled += usize::from(span.end > span.start);
        // The record was parsed before, so this cannot fail.
        let _ = Scanner::new(dialect).record(self.text, 0, true, &every, found);
        filled
    }

    /// Returns the number of fields up to the last one that is not empty.
    fn filled_up_to(&self, dialect: Dialect) -> usize {
        let every: Vec<usize> = (0..self.fields).collect();
        let (mut fields, mut filled) = (0, 0);
        let found = |span: Span| {
            fields += 1;
            if span.end > span.start {
                filled = fields;
            }
        };
        // The record was parsed before, so this cannot fail.
        let _ = Scanner::new(dialect).record(self.text, 0, true, &every, found);
        filled
    }
}

/// Applies the rules for rows under a header of `columns` columns. Depending on the rules, empty fields beyond these
/// columns do not count, and rows that consist only of delimiters are removed.
pub(super) fn apply(rules: RowRules, records: &mut Vec<SampleRecord<'_>>, columns: usize, dialect: Dialect) {
    if rules.drops_blank {
        let is_blank = |record: &SampleRecord<'_>| record.text.iter().all(|byte| *byte == dialect.delimiter);
        records.retain(|record| !is_blank(record));
    }
    if rules.cuts_long {
        for record in records.iter_mut().filter(|record| record.fields > columns) {
            if record.filled_up_to(dialect) <= columns {
                record.fields = columns;
            }
        }
    }
}

/// Records of the same width. Other records can be among them. Records with fewer fields than the header are not
/// examined as a table: they become rejects, and the rejects show that fields are missing.
pub(super) struct Table {
    pub(super) fields: usize,
    /// The index of the table's first record in the sample.
    pub(super) first: usize,
    /// The number of records in the table.
    pub(super) records: usize,
    /// The number of other records after the table's first record.
    pub(super) others: usize,
}

impl Table {
    /// Returns the table of the most common width among records with at least `fields_min` fields. Returns `None` if
    /// there are no such records.
    pub(super) fn of(records: &[SampleRecord<'_>], fields_min: usize, dialect: Dialect) -> Option<Self> {
        let mut widths = BTreeMap::new();
        for record in records.iter().filter(|record| record.fields >= fields_min) {
            *widths.entry(record.fields).or_insert(0) += 1;
        }
        let (_, fields) = widths
            .into_iter()
            .map(|(fields, number): (usize, usize)| (number, fields))
            .max()?;
        let is_alike = |record: &SampleRecord<'_>| record.fields == fields;
        // A spreadsheet writes a title as a row that is as wide as the table, but only one or two of its fields are not
        // empty.
        let mut is_under_title = false;
        let mut is_header = |at: usize| match (fields, records[at].filled(dialect)) {
            (2, filled) => {
                is_under_title = is_under_title && filled < 2 || has_title(&records[at..], dialect);
                filled > 0 && !is_under_title
            }
            (_, filled) => filled + 1 >= fields,
        };
        let mut every = (0..records.len()).filter(|at| is_alike(&records[*at]));
        let first = every.find(|at| is_header(*at));
        let first = first.or_else(|| records.iter().position(is_alike))?;
        let alike = records[first..].iter().filter(|record| is_alike(record)).count();
        Some(Self {
            fields,
            first,
            records: alike,
            others: records.len() - first - alike,
        })
    }

    /// Returns whether no other records are among the records of the table.
    pub(super) fn is_pure(&self) -> bool {
        self.others == 0
    }

    /// Returns whether at least nine in ten records, counted from the table's first record, belong to the table.
    pub(super) fn is_most(&self) -> bool {
        self.records >= 2 && self.records >= 9 * self.others
    }

    /// Returns whether the table has at least three records, and at most two records after its first record do not
    /// belong to it. In a short file, these two can be a comment and a total.
    pub(super) fn is_all_but_few(&self) -> bool {
        self.records >= 3 && self.others <= 2 && self.records > self.others
    }
}

/// Returns the first records of a sample, read in `dialect`.
pub(super) fn records(rest: &[u8], whole: bool, dialect: Dialect) -> Vec<SampleRecord<'_>> {
    let scanner = Scanner::new(dialect);
    let (mut at, mut records) = (0, Vec::with_capacity(RECORDS));
    while at < rest.len() && records.len() < RECORDS {
        if matches!(rest[at], b'\n' | b'\r') {
            at = line_end(rest, at, true).unwrap_or(rest.len());
            continue;
        }
        let Ok(record) = scanner.record(rest, at, whole, &[], |_| ()) else {
            break;
        };
        records.push(SampleRecord {
            fields: record.fields,
            text: &rest[at..record.end],
            start: Some(at),
            has_stray: record.stray.is_some(),
        });
        at = record.next;
    }
    records
}

/// Returns whether the first of these lines is a title in the form that spreadsheets write. At most one field of such a
/// title is not empty, and a line below has at most one empty field.
pub(super) fn has_title(lines: &[SampleRecord<'_>], dialect: Dialect) -> bool {
    let Some((first, below)) = lines.split_first() else {
        return false;
    };
    if first.text.last() != Some(&dialect.delimiter) {
        return false;
    }
    if first.fields == 2 {
        let title = String::from_utf8_lossy(&first.text[..first.text.len() - 1]);
        return is_title_over(&title, below, dialect);
    }
    let fills = |record: &SampleRecord<'_>| record.filled(dialect) + 1 >= first.fields;
    first.filled(dialect) <= 1 && below.iter().take(LINES_OVER_HEADER).any(fills)
}

/// Returns whether a line has more than one word. Some languages have no spaces between words. So the function also
/// returns true if the line has at least four letters and a year, or at least five Chinese or Japanese characters.
pub(super) fn has_words(line: &str) -> bool {
    const CHARACTERS: usize = 5;
    const LETTERS: usize = 4;
    line.trim().contains([' ', '\u{a0}', '\u{3000}'])
        || characters(line) >= CHARACTERS
        || line.chars().filter(|c| c.is_alphabetic()).count() >= LETTERS && has_year(line)
}

/// Returns whether a line is certainly a title. It must have a letter. In addition, it must have at least four words,
/// at least two words and a digit, or at least two Chinese or Japanese characters and a year.
pub(super) fn is_surely_title(line: &str) -> bool {
    let words = line.split_whitespace().count();
    let has_letter = line.contains(char::is_alphabetic);
    let has_digit = line.contains(|c: char| c.is_ascii_digit());
    has_letter && (words >= 4 || words >= 2 && has_digit || characters(line) >= 2 && has_year(line))
}

/// Returns the number of Chinese and Japanese characters. They are counted because these languages have no spaces
/// between words.
fn characters(line: &str) -> usize {
    let is_one =
        |c: &char| matches!(c, '\u{3040}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}');
    line.chars().filter(is_one).count()
}

/// Returns whether a line has a number of four digits. The digits can be ASCII, or the full-width digits of Chinese and
/// Japanese.
fn has_year(line: &str) -> bool {
    let is_digit = |c: char| c.is_ascii_digit() || ('０'..='９').contains(&c);
    line.split(|c| !is_digit(c))
        .any(|number| number.chars().count() == 4)
}

/// Returns whether the fields of a record can be names of columns: each field has one to three words, with a letter and
/// without a digit.
pub(super) fn looks_like_names(record: &[u8], delimiter: u8) -> bool {
    const WORDS: usize = 3;
    record.split(|byte| *byte == delimiter).all(|name| {
        let words = name.split(|byte| *byte == b' ').count();
        let has_letter = name
            .iter()
            .any(|byte| byte.is_ascii_alphabetic() || !byte.is_ascii());
        has_letter && !name.starts_with(b" ") && words <= WORDS && !name.iter().any(u8::is_ascii_digit)
    })
}

/// Returns whether a field is a number, a date or a time: it has a digit, and no other characters than these values have.
pub(super) fn is_value(field: &[u8]) -> bool {
    let field = field.trim_ascii();
    let in_value = |byte: &u8| byte.is_ascii_digit() || b"+-.,:/% TZ\"".contains(byte);
    field.iter().any(u8::is_ascii_digit) && field.iter().all(in_value)
}

/// Returns for each of `columns` columns whether each record has a number, a date or a time in it. If there are no
/// records, no column has.
pub(super) fn columns_of_values(records: &[SampleRecord<'_>], columns: usize, dialect: Dialect) -> Vec<bool> {
    let every: Vec<usize> = (0..columns).collect();
    let mut of_values = vec![!records.is_empty(); columns];
    for record in records {
        let mut column = 0;
        let found = |span: Span| {
            of_values[column] &= is_value(span.of(record.text));
            column += 1;
        };
        // The record was parsed before, so this cannot fail.
        let _ = Scanner::new(dialect).record(record.text, 0, true, &every, found);
    }
    of_values
}

/// Returns whether a record can be a header if `delimiter` splits it instead of the current delimiter. One of these
/// must hold:
///
/// - Each field has a letter.
/// - The first field has a letter and no digit, and the current delimiter makes one field of the whole record.
pub(super) fn may_be_header(record: &SampleRecord<'_>, delimiter: u8) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || !byte.is_ascii();
    let mut names = record.text.split(|byte| *byte == delimiter);
    names.clone().all(|name| name.iter().any(is_letter))
        || record.fields == 1
            && names
                .next()
                .is_some_and(|name| name.iter().any(is_letter) && !name.iter().any(u8::is_ascii_digit))
}

/// Returns whether `title` is above the names of two columns. The title must have several words. In addition,
/// [`is_surely_title`] must be true for it, or there must be rows below the names, and each of them must have a digit.
/// Empty rows and further lines of the title can come between the title and the names.
pub(super) fn is_title_over(title: &str, below: &[SampleRecord<'_>], dialect: Dialect) -> bool {
    let is_below_title = |record: &SampleRecord<'_>| record.filled(dialect) >= 2;
    let first = below.iter().take(LINES_OVER_HEADER).position(is_below_title);
    let Some((header, rows)) = first.and_then(|first| below[first..].split_first()) else {
        return false;
    };
    let has_digit = |row: &SampleRecord<'_>| row.text.iter().any(u8::is_ascii_digit);
    let has_rows = !rows.is_empty() && rows.iter().all(has_digit);
    header.fields == 2
        && looks_like_names(header.text, dialect.delimiter)
        && has_words(title)
        && (has_rows || is_surely_title(title))
}

/// Returns whether the first line of a table has no digit, and each other line has one.
pub(super) fn has_header(lines: &[SampleRecord<'_>], table: &Table) -> bool {
    let has_digit = |line: &SampleRecord<'_>| line.text.iter().any(u8::is_ascii_digit);
    let mut of_table = lines[table.first..]
        .iter()
        .filter(|line| line.fields == table.fields);
    table.records > 2 && of_table.next().is_some_and(|header| !has_digit(header)) && of_table.all(has_digit)
}

/// Returns whether each comma of a table is between two digits, except in its first line.
pub(super) fn has_decimal_commas(lines: &[SampleRecord<'_>], table: &Table) -> bool {
    let of_table = lines.iter().skip(table.first + 1);
    of_table
        .filter(|line| line.fields == table.fields)
        .all(|line| sniff::has_decimal_commas(line.text))
}
