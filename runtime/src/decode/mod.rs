//! Bytes in, batches of records out: a [`Splitter`] cuts the input into chunks of whole records, a [`Decoder`] each
//! chunk into batches. A record that is malformed is set aside in its batch, with its position and the reason; an
//! input that cannot be told into records is an error.

mod csv;
mod index;
mod jsonl;
mod skip;
mod sniff;
mod split;
mod transcode;
mod utf8;

use std::io::Read;

use self::csv::Reading;
use self::skip::skip_lines;
use self::split::in_input;
pub use self::split::{Chunk, Rest, Splitter};
use self::transcode::Transcoded;
use crate::batch::{Batch, Fault};
use crate::config::Limits;
use crate::error::{Class, Error, Result, Stage};
use crate::format::csv::{Dialect, Syntax};
use crate::format::{Format, clip};
use crate::request::InputOptions;

/// Decodes chunks. What it makes of one depends on that chunk alone.
pub trait Decoder: Send {
    /// Chooses the columns whose fields go into [`Batch::fields`]: indices into [`Decoding::columns`]
    /// followed by `more`, the names of further members. Called once, before the first [`Decoder::next`].
    ///
    /// # Errors
    /// If an index does not exist or stands there twice, or the format does not allow `more`.
    fn project(&mut self, reads: &[usize], more: &[String]) -> Result<()>;

    /// Goes on to the next records of the chunk that the batch was loaded with. False if there are none.
    ///
    /// # Errors
    /// A record beyond its limit; an input that ends within quotes.
    fn next(&mut self, batch: &mut Batch) -> Result<bool, Fault>;

    /// Another one for the same input.
    fn fork(&self) -> Box<dyn Decoder>;
}

/// What is known of an opened input.
pub struct Decoding {
    /// Its bytes.
    pub splitter: Splitter,
    /// Its records.
    pub decoder: Box<dyn Decoder>,
    /// The columns by name, in the order of the input: see `input.columns` in `wit/plugin.wit`.
    pub columns: Vec<String>,
    /// Its format.
    pub format: Format,
    /// How CSV that is made of it is written: in its own delimiter and, if it has one, its own quote; the default dialect for
    /// other formats.
    pub dialect: Dialect,
}

/// Opens an input and learns its columns. `name` stands in errors; `hint` is the format that its name or
/// its content type speaks of, which `options` overrules; without either it is CSV.
///
/// A chunk has as many whole records as `limits.batch_bytes` hold, or one longer one. It is one batch, unless that had
/// more than `limits.batch_records` or `limits.batch_cells` (its records times the columns, read or not, because an
/// encoder may write them all); a batch has one record at least. So what it holds depends on the input alone,
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
    let reader = match options.encoding()? {
        Some(encoding) => Box::new(Transcoded::new(reader, name, encoding)),
        None => reader,
    };
    match options.format.or(hint).unwrap_or(Format::Csv) {
        Format::Csv => {
            let (reader, begin) = skip_lines(reader, name, options.skip_lines.unwrap_or(0))?;
            let (syntax, reader) = syntax(reader, name, options)?;
            csv::open(reader, name, begin, Reading::new(syntax, options), limits)
        }
        Format::Jsonl => jsonl::open(reader, name, limits),
    }
}

/// Opens the rest of an input of which the format, the columns and the dialect are known, for somebody who had the records
/// before and had opened it with the same options.
///
/// # Errors
/// If the options contradict each other.
pub fn resume(
    reader: Box<dyn Read + Send>,
    name: &str,
    rest: Rest,
    (format, columns, dialect): (Format, Vec<String>, Dialect),
    options: &InputOptions,
    limits: &Limits,
) -> Result<Decoding> {
    Ok(match format {
        Format::Csv => {
            let reading = Reading::new(told(options.syntax()?, dialect), options);
            csv::resume(reader, name, rest, reading, columns, limits)
        }
        Format::Jsonl => jsonl::resume(reader, name, rest, columns, limits),
    })
}

type Reader = Box<dyn Read + Send>;

/// How it is written, as it was asked for, or as the first records tell it.
fn syntax(reader: Reader, name: &str, options: &InputOptions) -> Result<(Syntax, Reader)> {
    let given = options.syntax()?;
    if options.dialect.is_none() {
        return Ok((given, reader));
    }
    let (mut sample, reader) = sniff::peek(reader).map_err(|error| {
        let what = format!("{name}: reading failed at its beginning");
        Error::from_io(error, Stage::Decode, Class::Transient, what)
    })?;
    // The error that this is comes when the header is read.
    if sniff::is_foreign(&sample) {
        return Ok((given, reader));
    }
    sample.change(|text| given.simplify(text));
    let delimiter = options.delimiter.map(|_| given.delimiter);
    let quote = match given.quote {
        Some(quote) => options.quote.map(|_| quote),
        None => Some(NO_QUOTE),
    };
    let told = sniff::tell(&sample, delimiter, quote)
        .map(|dialect| told(given, dialect))
        .map_err(|message| in_input(name, message))?;
    tracing::info!(
        name,
        delimiter = %char::from(told.delimiter).escape_debug(),
        quote = %told.quote.map_or("none".into(), |quote| char::from(quote).to_string()),
        "dialect told by the first records"
    );
    Ok((told, reader))
}

/// A byte that no text in UTF-8 has.
const NO_QUOTE: u8 = 0xff;

/// The syntax with the dialect that the first records told.
fn told(given: Syntax, dialect: Dialect) -> Syntax {
    Syntax {
        delimiter: dialect.delimiter,
        quote: given.quote.map(|_| dialect.quote),
        ..given
    }
}

/// The bounds of a batch.
#[derive(Debug, Clone, Copy)]
struct BatchLimits {
    records: usize,
    cells: usize,
    record_bytes_max: usize,
    /// The longest chunk of which fields are read in place.
    in_place_bytes_max: usize,
}

impl BatchLimits {
    fn new(limits: &Limits) -> Self {
        Self {
            records: limits.batch_records.max(1),
            cells: limits.batch_cells,
            record_bytes_max: limits.record_bytes_max,
            in_place_bytes_max: limits.batch_bytes.saturating_mul(2),
        }
    }

    /// How many records of so many columns a batch has at most.
    fn records_max(&self, columns: usize) -> usize {
        (self.cells / columns.max(1)).clamp(1, self.records)
    }
}

/// Says that a column cannot have this name.
fn long_name(name: &[u8], bytes_max: usize) -> String {
    let (name, bytes) = (clip(name), name.len());
    format!("the column name \"{name}\" has {bytes} bytes, more than the {bytes_max} allowed")
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
pub(crate) mod tests;
