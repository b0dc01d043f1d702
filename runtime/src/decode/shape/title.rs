//! The beginning of a CSV file goes in; whether lines stand over its header comes out, as a message.

use super::beginning::Shape;
use super::table::{LINES_OVER_HEADER, SampleRecord, Table, is_title_over, looks_like_names};
use crate::format::clip;

/// A header with one name, over a record that has more: a title as spreadsheets write it.
pub(super) fn lines_over_header(shape: &Shape<'_>) -> Option<String> {
    let columns = shape.columns();
    if !shape.top.header || columns < 2 {
        return None;
    }
    let mut named = shape.names.iter().filter(|name| !name.is_empty());
    let (title, others) = (named.next().copied().unwrap_or_default(), named.count());
    let delimiter = shape.top.dialect.delimiter;
    let is_title = || !shape.names[0].is_empty() && is_title_over(title, &shape.records, delimiter);
    if others > 0 || columns == 2 && !is_title() {
        return None;
    }
    let mut below = shape.records.iter().take(LINES_OVER_HEADER);
    let header = below.find(|record| record.filled(shape.top.dialect) + 1 >= columns)?;
    let (title, lines) = (clip(title.as_bytes()), shape.line(header) - 1);
    let named = match title.is_empty() {
        true => format!("names none of {columns} columns"),
        false => format!("names 1 of {columns} columns (\"{title}\")"),
    };
    Some(format!(
        "has a header that {named}: is it a title over the header? say --skip-lines {lines}"
    ))
}

/// Says that most records have another width than the header.
pub(super) fn other_widths(shape: &Shape<'_>) -> Option<String> {
    if shape.top.has_row_rules {
        return None;
    }
    let (columns, all, records) = (shape.columns(), shape.records.len(), &shape.records);
    let dialect = shape.top.dialect;
    let table = Table::of(records, columns + 1, dialect)?;
    let (number, width) = (table.records, table.fields);
    let is_most = number >= 2 && 10 * number >= 9 * all;
    let has_none_as_header = all >= 2 && records.iter().all(|record| record.fields > columns);
    let has_words = shape.has_words;
    let is_below = table.first <= LINES_OVER_HEADER
        && match (columns, number) {
            // One record may as well be a ragged one.
            (1, 1) => {
                let is_told = width > 2 || shape.is_surely_title();
                number == all && is_told && looks_like_names(records[table.first].text, dialect.delimiter)
            }
            (1, _) => {
                let is_pure = table.is_pure() && (number >= 3 || all <= 4);
                is_pure
                    || number >= 3 && table.is_most()
                    || (width > 3 || has_words) && table.is_all_but_few()
            }
            _ => number >= 3 && 2 * number > all && (table.is_most() || has_words && table.is_all_but_few()),
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
        let lines = shape.line(&records[table.first]) - 1;
        format!("{what}: is there a title over the header? say --skip-lines {lines}")
    } else if width == columns + 1 && records.iter().all(ends_empty) {
        format!(
            "{what}: do its records end with a delimiter that the header has not? say --long-rows trailing-empty"
        )
    } else {
        format!("{what}: say --skip-lines if lines stand over the header, else --delimiter or --quote")
    })
}

fn fields(number: usize) -> String {
    match number {
        1 => "one field".to_owned(),
        _ => format!("{number} fields"),
    }
}
