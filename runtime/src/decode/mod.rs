//! Bytes in, batches of records out: a [`Splitter`] cuts the input into chunks of whole records, a [`Decoder`] each
//! chunk into batches. A record that is malformed is set aside in its batch, with its position and the reason; an
//! input that cannot be told into records is an error.

mod content_kind;
mod csv;
mod index;
mod jsonl;
mod sample;
mod shape;
mod sniff;
mod spaces;
mod split;
mod transcode;
mod utf8;

use std::io::Read;

use self::sample::Sample;
use self::spaces::Spaces;
use self::split::in_input;
pub use self::split::{Chunk, Rest, Splitter};
use self::transcode::{Charset, Transcoded};
use crate::batch::{Batch, Fault};
use crate::config::Limits;
use crate::error::Result;
use crate::format::csv::Dialect;
use crate::format::{Format, Hints, Other, clip};
use crate::request::{DialectFrom, InputOptions};

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
    /// Whether its text is not made of the input's own bytes, because these are of another encoding.
    pub is_transcoded: bool,
}

/// Opens an input and learns its columns. `name` stands in errors; `hints` are what its name and its content type tell, which
/// `options` overrule; without either it is CSV.
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
/// If the beginning is that of another kind of file, whatever `options` say, or is hardly a table and `options` do not name the
/// format. If the columns cannot be told: CSV that is empty or has a malformed header, two columns of one name, a
/// name longer than `limits.column_name_bytes_max`, or more columns than `limits.columns_max`. Those of the reader, unchanged if they are this crate's.
pub fn open(
    reader: Box<dyn Read + Send>,
    name: &str,
    hints: Option<&Hints>,
    options: &InputOptions,
    limits: &Limits,
) -> Result<Decoding> {
    let no_hints = Hints::default();
    let hints = hints.unwrap_or(&no_hints);
    let text = Text::open(reader, name, hints, options)?;
    let format = match (options.format.or(hints.format), hints.other) {
        (Some(format), _) => format,
        // Only CSV has a delimiter.
        (None, Some(Other::Json)) if options.delimiter.is_none() => Format::Jsonl,
        (None, _) => Format::Csv,
    };
    let is_quoted = options.dialect()?.quote == Dialect::default().quote;
    let refused = |message: String| in_input(name, message);
    if let Some(kind) = content_kind::of_text(&text.sample, format, is_quoted) {
        return Err(refused(kind.sentence(format)));
    }
    // What was named is not questioned.
    let is_guessed = options.format.is_none();
    let mut is_transcoded = text.is_transcoded;
    let decoding = match format {
        Format::Csv => {
            let (text, is_spaced) = text.spaced(name, options)?;
            is_transcoded |= is_spaced;
            let reading = Reading::of(&text.sample, name, hints, options)?;
            let header = options.header.or(hints.header).unwrap_or(true);
            let opened = csv::open(
                text.reader(),
                name,
                reading.dialect,
                header,
                reading.has_separator_line,
                limits,
            )?;
            if is_guessed {
                let is_delimiter_open = options.delimiter.is_none() && !is_spaced;
                let top = opened.top(header, is_delimiter_open);
                shape::check(&top, hints.other.filter(|_| options.delimiter.is_none())).map_err(refused)?;
            }
            opened
        }
        Format::Jsonl => {
            // Of UTF-16 the error comes from the splitter.
            if is_guessed && !is_utf16(&text.sample) {
                shape::check_lines(text.sample.text(), hints.other).map_err(refused)?;
            }
            jsonl::open(text.reader(), name, limits)?
        }
    };
    Ok(Decoding {
        is_transcoded,
        ..decoding
    })
}

impl Decoding {
    /// What was read of CSV.
    fn top(&self, header: bool, is_delimiter_open: bool) -> shape::Top<'_> {
        shape::Top {
            columns: &self.columns,
            header,
            dialect: self.dialect,
            is_delimiter_open,
            rest: self.splitter.read(),
            whole: self.splitter.has_ended(),
            line: self.splitter.origin().0.line,
        }
    }
}

/// The text of an input.
struct Text {
    sample: Sample,
    rest: Reader,
    is_transcoded: bool,
}

impl Text {
    /// Reads the beginning and decodes it, if it is a text.
    fn open(mut rest: Reader, name: &str, hints: &Hints, options: &InputOptions) -> Result<Self> {
        let encoding = Charset::of(options, hints, name)?;
        let sample = Sample::read(&mut rest, name)?;
        let is_transcoded = encoding.is_some();
        if let Some(kind) = content_kind::of_bytes(&sample, !is_transcoded) {
            return Err(in_input(
                name,
                kind.sentence(options.format.or(hints.format).unwrap_or(Format::Csv)),
            ));
        }
        let Some(encoding) = encoding else {
            return Ok(Self {
                sample,
                rest,
                is_transcoded,
            });
        };
        encoding
            .check(sample.bytes())
            .map_err(|message| in_input(name, message))?;
        let mut rest: Reader = Box::new(Transcoded::new(sample.and_then(rest), name, encoding));
        let sample = Sample::read(&mut rest, name)?;
        Ok(Self {
            sample,
            rest,
            is_transcoded,
        })
    }

    /// The same with tabs between fields, if spaces are to stand there; and whether it is so.
    fn spaced(self, name: &str, options: &InputOptions) -> Result<(Self, bool)> {
        if options.dialect != Some(DialectFrom::Spaces) {
            return Ok((self, false));
        }
        let (quote, is_transcoded) = (options.dialect()?.quote, self.is_transcoded);
        let mut rest: Reader = Box::new(Spaces::new(self.reader(), quote));
        let sample = Sample::read(&mut rest, name)?;
        Ok((
            Self {
                sample,
                rest,
                is_transcoded,
            },
            true,
        ))
    }

    /// A reader of all of it.
    fn reader(self) -> Reader {
        self.sample.and_then(self.rest)
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

/// How CSV is read.
struct Reading {
    dialect: Dialect,
    /// Whether the first line is no record but tells the delimiter.
    has_separator_line: bool,
}

impl Reading {
    /// As it was asked for, as the file itself says, as its first records tell if that was asked for, or as its name says.
    fn of(sample: &Sample, name: &str, hints: &Hints, options: &InputOptions) -> Result<Self> {
        let given = options.dialect()?;
        let separator = sniff::separator_line(sample.text());
        let mut reading = Self {
            dialect: given,
            has_separator_line: separator.is_some(),
        };
        let delimiter = options.delimiter.map(|_| given.delimiter).or(separator);
        let quote = options.quote.map(|_| given.quote);
        if options.dialect == Some(DialectFrom::Spaces) {
            reading.dialect.delimiter = b'\t';
            return Ok(reading);
        }
        // Of UTF-16 the error comes when the header is read.
        if options.dialect == Some(DialectFrom::Auto) && !is_utf16(sample) {
            let text = sample.text();
            let first_line =
                separator.map_or(0, |_| memchr::memchr2(b'\n', b'\r', text).unwrap_or(text.len()));
            let told = sniff::tell(&text[first_line..], sample.whole, delimiter, quote);
            reading.dialect = match (told, separator) {
                (Ok(told), _) => told,
                (Err(_), Some(delimiter)) if options.delimiter.is_none() => Dialect { delimiter, ..given },
                (Err(message), _) => return Err(in_input(name, message)),
            };
            tracing::info!(
                name,
                delimiter = %char::from(reading.dialect.delimiter).escape_debug(),
                quote = %char::from(reading.dialect.quote),
                "dialect told by the first records"
            );
            return Ok(reading);
        }
        let hinted = hints.delimiter.and_then(|delimiter| u8::try_from(delimiter).ok());
        if let Some(delimiter) = delimiter.or(hinted)
            && delimiter != given.quote
        {
            reading.dialect.delimiter = delimiter;
        }
        Ok(reading)
    }
}

fn is_utf16(sample: &Sample) -> bool {
    matches!(sample.bytes(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..])
}

type Reader = Box<dyn Read + Send>;

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
