//! The first records of a CSV file go in; the reason why they are probably not a table comes out. The reason can be
//! another kind of text, another delimiter, a title above the header, or records with more fields than the header. The
//! result is a guess from a sample, and an option of the request overrules it.

mod beginning;
mod other_delimiter;
mod other_text;
mod table;
mod title;

pub(super) use self::beginning::CsvBeginning;
use self::beginning::Shape;
use crate::error::Code;
use crate::format::OtherType;

/// Checks that a file is a table. If the file's name or content type says that it is not a table (`other`), each of the
/// first records must have as many fields as the header.
///
/// # Errors
/// Returns a code, and a message with the reason why the file is probably not a table and with advice.
pub(super) fn check(top: &CsvBeginning<'_>, other: Option<OtherType>) -> Result<(), (Code, String)> {
    let shape = Shape::of(top);
    match (doubt(&shape), other) {
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

/// Checks that the file probably has the delimiter that was detected.
///
/// # Errors
/// Returns a message with the reason why the file probably has another delimiter, and with advice.
pub(super) fn check_delimiter(top: &CsvBeginning<'_>) -> Result<(), String> {
    let shape = Shape::of(top);
    let widths = shape.other_widths();
    shape
        .table_of_another_delimiter(widths.is_some())
        .map_or(Ok(()), Err)
}

/// Returns the first reason to doubt that a file is a table, or `None`.
fn doubt(shape: &Shape<'_>) -> Option<(Code, String)> {
    let widths = shape.other_widths();
    let coded = |code: Code| move |why: String| (code, why);
    let not_a_table = coded(Code::NotATable);
    let csv_syntax = coded(Code::CsvSyntax);
    let header_invalid = coded(Code::HeaderInvalid);
    shape
        .unseen_header()
        .map(header_invalid)
        .or_else(|| shape.text_with_beginning().map(not_a_table))
        .or_else(|| shape.another_delimiter())
        .or_else(|| shape.table_of_another_delimiter(widths.is_some()).map(csv_syntax))
        .or_else(|| shape.lines_over_header().map(header_invalid))
        .or(widths.map(header_invalid))
        .or_else(|| shape.names_and_values().map(not_a_table))
        .or_else(|| shape.notice().map(not_a_table))
}

#[cfg(test)]
mod tests;
