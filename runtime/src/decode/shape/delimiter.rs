//! The beginning of a CSV file goes in; the delimiter that gives a better table than the current one comes out, as a message.

use memchr::memchr_iter;

use super::super::lines::complete_lines;
use super::super::sniff::{self, SniffedCsv};
use super::beginning::Shape;
use super::table::{
    LINES_OVER_HEADER, RECORDS, SampleRecord, Table, has_decimal_commas, has_header, has_title,
    looks_like_names, records,
};
use crate::format::csv::{Dialect, Scanner};

/// One column, where another delimiter gives several.
pub(super) fn another_delimiter(shape: &Shape<'_>) -> Option<String> {
    let top = shape.top;
    if shape.columns() > 1 || !top.is_delimiter_open {
        return None;
    }
    let first = match top.header {
        true => shape.first_line.as_bytes(),
        false => shape.records.first()?.text,
    };
    let delimiters = sniff::DELIMITERS.into_iter().chain(sniff::RARE_DELIMITERS);
    let is_possible = |delimiter: &u8| *delimiter != top.dialect.delimiter && first.contains(delimiter);
    let mut best: Option<(usize, usize, u8)> = None;
    for delimiter in delimiters.filter(is_possible) {
        let lines = lines_by(shape, delimiter);
        let fields = lines.first().map_or(0, |line| line.fields);
        let is_alike = |line: &&SampleRecord<'_>| line.fields == fields && !line.has_stray;
        let percent = 100 * lines.iter().filter(is_alike).count() / lines.len().max(1);
        if fields > 1
            && percent >= sniff::ALIKE_PERCENT
            && best.is_none_or(|(most, wide, _)| (percent, fields) > (most, wide))
            && !has_title(&lines, dialect_by(shape, delimiter))
        {
            best = Some((percent, fields, delimiter));
        }
    }
    if let Some((_, fields, delimiter)) = best {
        // A semicolon of a sentence is no delimiter.
        let names: Vec<_> = shape.first_line.split(char::from(delimiter)).collect();
        let is_table = !shape.records.is_empty();
        if top.header
            && let Some(notice) = shape.notice_in(&names, &shape.records, is_table)
        {
            return Some(notice);
        }
        let (name, say) = (sniff::name(delimiter), sniff::option(delimiter));
        return Some(one_column_but(shape, fields, &name, &say));
    }
    let rest = complete_lines(&top.rest, top.whole);
    let header = top.header.then_some(first);
    let SniffedCsv { name, fields, say } = sniff::by_spaces(header.into_iter().chain(rest))?;
    Some(one_column_but(shape, fields, &name, &say))
}

fn one_column_but(shape: &Shape<'_>, fields: usize, name: &str, say: &str) -> String {
    let delimiter = shape.top.dialect.delimiter;
    let (current, one) = (sniff::name(delimiter), sniff::option(delimiter));
    format!("has one column by {current}, but {fields} by {name}: say {say}, or {one} if it has one column")
}

/// A table of another delimiter, also below a title: its records are alike only by that delimiter, or are decimal commas by this
/// one. `has_widths` says whether the records are of another width by this one.
pub(super) fn table_of_another_delimiter(shape: &Shape<'_>, has_widths: bool) -> Option<String> {
    let (top, columns) = (shape.top, shape.columns());
    if !top.is_delimiter_open {
        return None;
    }
    // Half of the lines have it, two at least.
    let least = shape
        .records
        .len()
        .div_ceil(2)
        .max(if shape.records.len() > 1 { 2 } else { 1 });
    let is_possible = |delimiter: &u8| {
        let count = |text: &[u8], most| memchr_iter(*delimiter, text).take(most).count();
        *delimiter != top.dialect.delimiter
            && count(shape.first_line.as_bytes(), 1) + count(&top.rest, least) >= least
    };
    let mut best: Option<(usize, usize, u8, Table, u64)> = None;
    for delimiter in sniff::DELIMITERS.into_iter().filter(is_possible) {
        let lines = lines_by(shape, delimiter);
        let dialect = dialect_by(shape, delimiter);
        if let Some(table) = Table::of(&lines, 2, dialect)
            && is_better(shape, &lines, &table, has_widths, delimiter)
            && best
                .as_ref()
                .is_none_or(|(fields, number, ..)| (table.fields, table.records) >= (*fields, *number))
        {
            let line = shape.line(&lines[table.first]);
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
        false if top.is_auto && table.is_most() => format!("--skip-lines {lines}"),
        false => format!("--skip-lines {lines} and {other}"),
    };
    Some(match (columns, is_first) {
        (1, true) => one_column_but(shape, width, &name, &say),
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
fn is_better(
    shape: &Shape<'_>,
    lines: &[SampleRecord<'_>],
    table: &Table,
    has_widths: bool,
    delimiter: u8,
) -> bool {
    let (columns, all) = (shape.columns(), shape.records.len());
    let header = &lines[table.first];
    if table.first > LINES_OVER_HEADER || 2 * table.records < all {
        return false;
    }
    if table.records < 2 {
        // A header alone under a title.
        return columns == 1
            && all == 1
            && table.first == 1
            && shape.is_surely_title()
            && looks_like_names(header.text, delimiter);
    }
    if !(table.is_pure() || table.is_most() || table.is_all_but_few()) {
        return false;
    }
    let is_decimal = shape.top.dialect.delimiter == b',' && has_decimal_commas(lines, table);
    if has_widths {
        // What is said for the current delimiter must not lose the header.
        let other = Table::of(&shape.records, columns + 1, shape.top.dialect);
        return other.is_none_or(|other| {
            let is_before = header.start < shape.records[other.first].start;
            table.fields > other.fields
                || table.fields == other.fields && is_decimal
                || is_before && table.is_pure()
        });
    }
    if columns == 1 {
        return table.first == 0
            || shape.has_words
            || table.fields > 2 && (table.is_pure() || table.is_most())
            || has_header(lines, table);
    }
    // Numbers apart by another delimiter are a list, unless its header has it too, or there is one that the current has not.
    let is_apart = |record: &SampleRecord<'_>| {
        record.start == header.start && record.text.len() == header.text.len() && record.fields != columns
    };
    if table.first > 0 && !shape.records.iter().any(is_apart) {
        return false;
    }
    is_decimal && (table.fields >= columns || shape.alike == 0)
        || table.first > 0 && table.fields > columns && table.records > 2
}

/// The header, if there is one, and the records as another delimiter makes them.
fn lines_by<'a>(shape: &'a Shape<'_>, delimiter: u8) -> Vec<SampleRecord<'a>> {
    let dialect = dialect_by(shape, delimiter);
    let mut lines = Vec::with_capacity(RECORDS + 1);
    if shape.top.header {
        let text = shape.first_line.as_bytes();
        let record = Scanner::new(dialect).record(text, 0, true, &[], |_| ());
        lines.push(SampleRecord {
            fields: record.map_or(1, |record| record.fields),
            text,
            start: None,
            has_stray: record.is_ok_and(|record| record.stray.is_some()),
        });
    }
    lines.extend(records(&shape.top.rest, shape.top.whole, dialect));
    lines
}

fn dialect_by(shape: &Shape<'_>, delimiter: u8) -> Dialect {
    Dialect {
        delimiter,
        ..shape.top.dialect
    }
}
