//! Encodes the output: records and verdicts go in; bytes of the output come out. If input and output have the same
//! format and the same columns, a kept record is copied, and in an edited record only the edited cells are replaced. If
//! the formats or the columns differ, other fields can be rewritten too.

mod csv;
mod jsonl;
mod rejects;

use std::collections::HashSet;

use self::csv::{CsvFromCsv, CsvFromJsonl};
use self::jsonl::{JsonlFromCsv, JsonlFromJsonl};
pub use self::rejects::{RejectWriter, shown_code};
use crate::error::{Code, Error, Result, Stage};
use crate::format::csv::Dialect;
use crate::format::jsonl::untextual;
use crate::format::{Format, OutputColumn, clip};
use crate::record::{Batch, Edits, RowFields};

/// Returns an encoder from one format to another. `columns` are the columns of the input, followed by the further
/// members that the plugin asks for. `reads` are the indices of the columns that the plugin reads. `dialect` is the
/// dialect of the input, and also of the output if the output is CSV.
///
/// # Errors
/// Fails in these cases:
///
/// - The input has columns, but the output has none.
/// - Two columns of the output have the same name.
/// - The source of a column does not exist.
pub fn new(
    output: Format,
    input: Format,
    dialect: Dialect,
    columns: &[String],
    reads: &[usize],
    output_columns: &[OutputColumn],
) -> Result<Box<dyn Encoder>> {
    check(columns.len(), output_columns)
        .map_err(|message| Error::permanent(Stage::Encode, Code::OutputColumns, message))?;
    Ok(match (input, output) {
        (Format::Csv, Format::Csv) => {
            Box::new(CsvFromCsv::new(dialect, columns.len(), reads, output_columns))
        }
        (Format::Csv, Format::Jsonl) => Box::new(JsonlFromCsv::new(dialect, output_columns)),
        (Format::Jsonl, Format::Csv) => Box::new(CsvFromJsonl::new(dialect, columns, output_columns)),
        (Format::Jsonl, Format::Jsonl) => Box::new(JsonlFromJsonl::new(columns, output_columns)),
    })
}

/// Writes records. All methods append to `out`. If a method returns an [`UnwritableRecord`], `out` contains nothing of
/// that record.
pub trait Encoder: Send {
    /// Writes the text before the first record, such as the header of CSV.
    fn begin(&mut self, out: &mut Vec<u8>);

    /// Announces the texts of all edits in the next batch. An encoder can use them to find out in advance whether any
    /// of them needs quotes.
    fn expect(&mut self, texts: &[u8]) {
        let _ = texts;
    }

    /// Writes a record unchanged. `row` is the index of the record in the batch.
    fn keep(&mut self, batch: &Batch, row: usize, out: &mut Vec<u8>) -> Result<(), UnwritableRecord>;

    /// Writes a record with changes in some of its cells.
    fn edit(
        &mut self,
        batch: &Batch,
        row: usize,
        edits: Edits<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), UnwritableRecord>;

    /// Writes a row that the plugin made.
    fn row(&mut self, fields: RowFields<'_>, out: &mut Vec<u8>);
}

/// The reason why a record cannot be written. The record becomes a reject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnwritableRecord {
    /// The reject's code.
    pub code: &'static str,
    /// The reject's reason, as a sentence.
    pub reason: String,
}

impl UnwritableRecord {
    /// Returns the reason for a fault in the member with this raw key.
    fn member(code: &'static str, key: &[u8], what: &str) -> Self {
        Self {
            code,
            reason: format!("member {} {what}", clip(key)),
        }
    }

    /// Returns the reason for a raw JSON string that has no valid text.
    fn untextual(string: &[u8]) -> Self {
        Self {
            code: "not-json",
            reason: untextual(string),
        }
    }
}

fn check(columns: usize, output: &[OutputColumn]) -> Result<(), String> {
    // JSONL without records, or with only `{}` as records, has no columns. In this case the output is allowed to have
    // no columns.
    if output.is_empty() && columns > 0 {
        return Err("the output has no column".to_owned());
    }
    let mut names = HashSet::with_capacity(output.len());
    for OutputColumn { name, source, .. } in output {
        let shown = || clip(name.as_bytes());
        if !names.insert(name) {
            return Err(format!("the output has two columns \"{}\"", shown()));
        }
        if let Some(source) = source.filter(|&source| source >= columns) {
            let shown = shown();
            return Err(format!(
                "output column \"{shown}\" has source {source}, but there are {columns} columns"
            ));
        }
    }
    Ok(())
}

fn column_names(output: &[OutputColumn]) -> Vec<String> {
    output.iter().map(|column| column.name.clone()).collect()
}

#[cfg(test)]
mod tests;
