//! Bytes in, batches of records out. A record that is malformed is set aside in its batch, with its
//! position and the reason; an input that cannot be told into records is an error.

mod csv;
mod input;
mod jsonl;

use std::io::Read;

use self::csv::CsvDecoder;
use self::jsonl::JsonlDecoder;
use crate::batch::Batch;
use crate::config::Limits;
use crate::error::Result;
use crate::format::csv::Dialect;
use crate::format::{Format, clip};
use crate::request::InputOptions;

/// A stream of records.
pub trait Decoder: Send {
    /// The columns by name, in the order of the input: see `input.columns` in `wit/plugin.wit`.
    fn columns(&self) -> &[String];

    /// Chooses the columns whose fields go into [`Batch::fields`]: indices into [`Decoder::columns`]
    /// followed by `more`, the names of further members. Called once, before the first [`Decoder::next`].
    ///
    /// # Errors
    /// If an index does not exist or stands there twice, or the format does not allow `more`.
    fn project(&mut self, reads: &[usize], more: &[String]) -> Result<()>;

    /// Empties the batch and fills it with the next records. False at the end of the input.
    ///
    /// # Errors
    /// Those of the reader, unchanged if they are this crate's; a record beyond its limit; an input that
    /// ends within quotes.
    fn next(&mut self, batch: &mut Batch) -> Result<bool>;
}

/// What is known of an opened input.
pub struct Decoding {
    /// Its records.
    pub decoder: Box<dyn Decoder>,
    /// Its format.
    pub format: Format,
    /// How its CSV is written; the default dialect for other formats.
    pub dialect: Dialect,
}

/// Opens an input and learns its columns. `name` stands in errors; `hint` is the format that its name or
/// its content type speaks of, which `options` overrules; without either it is CSV.
///
/// A batch is closed before the record with which it would have more than `limits.batch_bytes`,
/// `limits.batch_records` or `limits.batch_cells` (its records times the columns, read or not, because an
/// encoder may write them all), but has one record at least: so what it holds depends on the input alone,
/// not on how the reader parts it. The members of JSONL are looked for in as many records as a batch of one
/// column has.
///
/// JSONL without a record is an input without columns: an hour without events is a normal file. CSV without
/// a header is none: whoever writes a header writes it always, so what is empty was cut off.
///
/// # Errors
/// If the columns cannot be told: CSV that is empty or has a malformed header, two columns of one name, a
/// name longer than `limits.column_name_bytes_max`, or more columns than `limits.columns_max`. Those of the reader, unchanged if they are this crate's.
pub fn open(
    reader: Box<dyn Read + Send>,
    name: &str,
    hint: Option<Format>,
    options: &InputOptions,
    limits: &Limits,
) -> Result<Decoding> {
    let format = options.format.or(hint).unwrap_or(Format::Csv);
    Ok(match format {
        Format::Csv => {
            let dialect = options.dialect()?;
            let header = options.header.unwrap_or(true);
            let decoder = CsvDecoder::open(reader, name, dialect, header, limits)?;
            Decoding {
                decoder: Box::new(decoder),
                format,
                dialect,
            }
        }
        Format::Jsonl => {
            let decoder = JsonlDecoder::open(reader, name, limits)?;
            Decoding {
                decoder: Box::new(decoder),
                format,
                dialect: Dialect::default(),
            }
        }
    })
}

/// Says that a column cannot have this name.
fn long_name(name: &[u8], bytes_max: usize) -> String {
    let (name, bytes) = (clip(name), name.len());
    format!("the column name {name:?} has {bytes} bytes, more than the {bytes_max} allowed")
}

/// Checks the indices of a projection.
fn check_reads(reads: &[usize], columns: usize) -> Result<(), String> {
    let mut seen = vec![false; columns];
    for &read in reads {
        match seen.get_mut(read) {
            None => return Err(format!("column {read} is read, but there are only {columns}")),
            Some(true) => return Err(format!("column {read} is read twice")),
            Some(first) => *first = true,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
