//! Bytes in, batches of records out: a [`Splitter`] cuts the input into chunks of whole records, a [`Decoder`] each
//! chunk into batches. A record that is malformed is set aside in its batch, with its position and the reason; an
//! input that cannot be told into records is an error.

mod content_kind;
mod csv;
mod index;
mod jsonl;
mod sample;
mod sniff;
mod split;
mod transcode;
mod utf8;

use std::io::Read;

use self::sample::Sample;
use self::split::in_input;
pub use self::split::{Chunk, Rest, Splitter};
use self::transcode::Transcoded;
use crate::batch::{Batch, Fault};
use crate::config::Limits;
use crate::error::Result;
use crate::format::csv::Dialect;
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
    /// How its CSV is written; the default dialect for other formats.
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
    let format = options.format.or(hint).unwrap_or(Format::Csv);
    let (sample, reader) = look(reader, name, format, options)?;
    match format {
        Format::Csv => {
            let header = options.header.unwrap_or(true);
            let dialect = dialect(&sample, name, options)?;
            csv::open(sample.and_then(reader), name, dialect, header, limits)
        }
        Format::Jsonl => jsonl::open(sample.and_then(reader), name, limits),
    }
}

/// Reads the beginning of the text, if it is none of another kind of file.
fn look(mut reader: Reader, name: &str, format: Format, options: &InputOptions) -> Result<(Sample, Reader)> {
    let refused = |kind: content_kind::Kind| in_input(name, kind.sentence(format));
    let encoding = options.encoding()?;
    let mut sample = Sample::read(&mut reader, name)?;
    if let Some(kind) = content_kind::of_bytes(&sample, encoding.is_none()) {
        return Err(refused(kind));
    }
    if let Some(encoding) = encoding {
        reader = Box::new(Transcoded::new(sample.and_then(reader), name, encoding));
        sample = Sample::read(&mut reader, name)?;
    }
    let is_quoted = options.dialect()?.quote == Dialect::default().quote;
    match content_kind::of_text(&sample, format, is_quoted) {
        Some(kind) => Err(refused(kind)),
        None => Ok((sample, reader)),
    }
}

/// Opens the rest of an input of which the format, the columns and the dialect are known, for somebody who had the records
/// before.
pub fn resume(
    reader: Box<dyn Read + Send>,
    name: &str,
    rest: Rest,
    (format, columns, dialect): (Format, Vec<String>, Dialect),
    limits: &Limits,
) -> Decoding {
    match format {
        Format::Csv => csv::resume(reader, name, rest, dialect, columns, limits),
        Format::Jsonl => jsonl::resume(reader, name, rest, columns, limits),
    }
}

type Reader = Box<dyn Read + Send>;

/// The dialect as it was asked for, or as the first records tell it.
fn dialect(sample: &Sample, name: &str, options: &InputOptions) -> Result<Dialect> {
    let given = options.dialect()?;
    // Of UTF-16 the error comes when the header is read.
    if options.dialect.is_none() || is_utf16(sample) {
        return Ok(given);
    }
    let delimiter = options.delimiter.map(|_| given.delimiter);
    let quote = options.quote.map(|_| given.quote);
    let told = sniff::tell(sample, delimiter, quote).map_err(|message| in_input(name, message))?;
    tracing::info!(
        name,
        delimiter = %char::from(told.delimiter).escape_debug(),
        quote = %char::from(told.quote),
        "dialect told by the first records"
    );
    Ok(told)
}

fn is_utf16(sample: &Sample) -> bool {
    matches!(sample.bytes(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..])
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
