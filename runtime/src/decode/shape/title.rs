//! The beginning of a CSV file goes in; the reason why its first line is probably a title above the header comes out.
//! In such a file, the records below have more fields than the first line, or more fields that are not empty.

use super::beginning::Shape;
use super::table::{
    LINES_OVER_HEADER, SampleRecord, Table, columns_of_values, has_words, is_title_over, is_value,
    looks_like_names,
};
use crate::format::clip;

impl Shape<'_> {
    /// Returns a message if the header has at most one name, and a record below has more fields that are not empty.
    /// Spreadsheets write a title in this form.
    pub(super) fn lines_over_header(&self) -> Option<String> {
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
        // If only the last column has a name, the columns before it can be an index: such columns have no names.
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

    /// Returns a message if the records have more fields than the header. One of these must hold for the first records:
    /// nine in ten have the same larger number of fields, all have more fields, or a wider table begins after a few
    /// lines.
    pub(super) fn other_widths(&self) -> Option<String> {
        let (columns, all, records) = (self.columns(), self.records.len(), &self.records);
        let dialect = self.top.dialect;
        let table = Table::of(records, columns + 1, dialect)?;
        let (number, width) = (table.records, table.fields);
        let is_most = number >= 2 && 10 * number >= 9 * all;
        let has_none_as_header = all >= 2 && records.iter().all(|record| record.fields > columns);
        let has_words = self.has_words;
        let is_below = table.first <= LINES_OVER_HEADER
            && match (columns, number) {
                // A single wider record can also be a ragged row.
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
                        || table.is_most() && self.is_under_metadata(&table)
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
            let first = &records[table.first];
            // If the first line of the table is a record, its number is not the number of lines to skip.
            let skip = match looks_like_names(first.text, dialect.delimiter) {
                true => self.skip_lines(self.line(first) - 1),
                false => "--skip-lines".to_owned(),
            };
            format!("{what}: say {skip} if lines stand over the header, else --delimiter or --quote")
        })
    }

    /// Returns whether the first line and the records before a wider table are lines over its header, not records. Wider
    /// records can also be malformed records of a good file, and then they look like its other records. So the wider
    /// table must begin with names, and must have a column of values below them. The lines before it must have no column
    /// of values below their first line.
    fn is_under_metadata(&self, table: &Table) -> bool {
        let (top, columns) = (self.top, self.columns());
        let (before, of_table) = self.records.split_at(table.first);
        let Some((header, records)) = of_table.split_first() else {
            return false;
        };
        let is_value = |name: &&str| is_value(name.as_bytes());
        let named: Vec<_> = self.names.iter().map(|name| !is_value(name)).collect();
        let before = alike(before, columns);
        let of_values = columns_of_values(&before, columns, top.dialect);
        let mut columns = named.iter().zip(of_values);
        // A single line, such as `Year,2024`, proves nothing.
        let is_table = before.len() > 1 && columns.any(|(named, of_values)| *named && of_values);
        let records = alike(records, table.fields);
        top.header
            && !is_table
            && looks_like_names(header.text, top.dialect.delimiter)
            && columns_of_values(&records, table.fields, top.dialect).contains(&true)
    }
}

/// Returns the records with this number of fields.
fn alike<'a>(records: &[SampleRecord<'a>], fields: usize) -> Vec<SampleRecord<'a>> {
    records
        .iter()
        .copied()
        .filter(|record| record.fields == fields)
        .collect()
}

fn fields(number: usize) -> String {
    match number {
        1 => "one field".to_owned(),
        _ => format!("{number} fields"),
    }
}
