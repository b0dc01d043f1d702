//! Bytes go in; batches of records come out. A [`Splitter`] cuts the input into chunks of whole records, and a
//! [`Decoder`] turns each chunk into batches. A malformed record is set aside in its batch, with its position and the
//! reason. An input that cannot be split into records is an error.

mod content_kind;
mod csv;
mod index;
mod json_lines;
mod jsonl;
mod lines;
mod log_lines;
mod notice;
mod rejected;
mod sample;
mod shape;
mod skip;
mod sniff;
mod spaces;
mod split;
mod text_document;
mod transcode;
mod utf8;

use std::borrow::Cow;
use std::io::Read;

use memchr::memchr2;

use self::csv::CsvOptions;
pub use self::rejected::{RejectRow, RejectRows, RejectedRecords};
use self::sample::{SAMPLE_BYTES, Sample};
use self::skip::skip_lines;
use self::spaces::Spaces;
pub use self::split::{Chunk, ResumePoint, Splitter};
use self::split::{InputStart, PeekedInput, UTF_32, has_utf32_mark, in_input};
use self::transcode::{Charset, Transcoded};
pub(crate) use self::utf8::{LATIN_1_HINT, NOT_UTF8};

/// The reject code of a record that has a quote within an unquoted field, or text after a closing quote.
pub(crate) const STRAY_QUOTE: &str = "stray-quote";

/// The reject codes of records that cannot be decoded. Rejects with other codes come from a later step, such as the
/// plugin.
pub(crate) const REJECT_CODES: [&str; 6] = [
    "duplicate-member",
    "not-json",
    NOT_UTF8,
    "ragged-row",
    "stray-escape",
    STRAY_QUOTE,
];
use crate::config::Limits;
use crate::error::{Code, Result};
use crate::format::csv::{Dialect, NO_QUOTE, Syntax};
use crate::format::{Format, Hints, OtherType, clip};
use crate::record::{Batch, ChunkError};
use crate::request::{DialectFrom, InputOptions};

/// A decoder of the chunks of an input. The result for a chunk does not depend on other chunks.
pub trait Decoder: Send {
    /// Chooses the columns whose fields go into [`Batch::fields`]. `reads` holds indices into the list of all columns:
    /// [`Decoding::columns`], followed by the members named in `more`. Must be called once, before the first
    /// [`Decoder::next`].
    ///
    /// # Errors
    /// Fails if an index does not exist or is given twice, or if the format does not allow `more`.
    fn project(&mut self, reads: &[usize], more: &[String]) -> Result<()>;

    /// Decodes the next records of the chunk that `batch` was loaded with. Returns false if no record was left to
    /// decode.
    ///
    /// # Errors
    /// Fails if a record is longer than its limit, or if the input ends within quotes.
    fn next(&mut self, batch: &mut Batch) -> Result<bool, ChunkError>;

    /// Returns another decoder for the same input.
    fn fork(&self) -> Box<dyn Decoder>;
}

/// An opened input.
pub struct Decoding {
    /// The splitter, which reads the input and cuts it into chunks.
    pub splitter: Splitter,
    /// The decoder of the chunks.
    pub decoder: Box<dyn Decoder>,
    /// The names of the columns, in the order of the input: see `input.columns` in `wit/0.2/plugin.wit`.
    pub columns: Vec<String>,
    /// The input's format.
    pub format: Format,
    /// The dialect for CSV output. For a CSV input, this dialect has the input's delimiter and quote. If an option says
    /// that the input has no quote, the dialect has the default quote. For other formats, this is the default dialect.
    pub dialect: Dialect,
    /// True if the decoded text differs from the bytes of the input, because the input is not in UTF-8 or because
    /// spaces became tabs.
    pub is_transcoded: bool,
}

/// Opens an input and finds its columns. `name` appears in error messages. `hints` come from the input's name and
/// content type, and `options` overrule them. If neither names a format, the input is CSV, with one exception: if the
/// hints say JSON and no option names a delimiter, the input is JSONL.
///
/// A chunk has as many whole records as fit into `limits.batch_bytes`, or one longer record. The content of a chunk
/// depends only on the input, not on the number of bytes that each read returns.
///
/// A chunk becomes one batch, unless it has more records than `limits.batch_records` or more cells than
/// `limits.batch_cells`. The number of cells is the number of records times the number of columns. Columns that the
/// plugin does not read count too, because an encoder can write them all. A batch has at least one record.
///
/// The columns of JSONL are collected from the first records of the input: from as many as fit into one chunk and,
/// counted as if they had a single column, into one batch.
///
/// JSONL without records is allowed and has no columns: for example, a file with the events of one hour is empty if the
/// hour had no events. An empty CSV file is an error: a program that writes a header also writes it if there are no
/// records, so an empty file was probably cut off.
///
/// # Errors
/// Fails in these cases:
///
/// - The beginning of the input proves that the input is another kind of file. In this case it does not matter whether
///   `options` name the format.
/// - The input is probably not a table, and `options` do not name the format.
/// - The input is not in the expected encoding, or its CSV dialect cannot be detected.
/// - The columns cannot be found, because a CSV file is empty or has a malformed header.
/// - Two columns have the same name, a name is longer than `limits.column_name_bytes_max`, or there are more columns
///   than `limits.columns_max`.
///
/// Returns the reader's errors, unchanged if they are errors of this crate.
pub fn open(
    reader: Box<dyn Read + Send>,
    name: &str,
    hints: Option<&Hints>,
    options: &InputOptions,
    limits: &Limits,
) -> Result<Decoding> {
    let no_hints = Hints::default();
    let hints = hints.unwrap_or(&no_hints);
    let text = InputText::open(reader, name, hints, options)?;
    let format = match (options.format.or(hints.format), hints.other) {
        (Some(format), _) => format,
        // Only CSV has a delimiter. So if an option names the delimiter, the input is not JSONL.
        (None, Some(OtherType::Json)) if options.delimiter.is_none() => Format::Jsonl,
        (None, _) => Format::Csv,
    };
    let refused = |message: String| in_input(name, Code::NotATable, message);
    // A format that the request names is trusted. Any other format is a guess.
    let is_guessed = options.format.is_none();
    let mut is_transcoded = text.is_transcoded;
    let decoding = match format {
        Format::Csv => {
            let given = options.syntax()?;
            let (text, begin) = text.after_lines(name, options.skip_lines.unwrap_or(0))?;
            let is_quoted = given.quote == Some(Dialect::default().quote);
            let delimiter = options.delimiter.map(|_| given.delimiter);
            let kind_of = |sample: &Sample| {
                content_kind::of_csv(sample, delimiter, is_quoted)
                    .filter(|kind| is_guessed || !kind.is_guess())
            };
            // The first check examines the text as it is, even if options change the syntax: no option turns another
            // kind of file into a table.
            let mut kind = kind_of(&text.sample);
            if kind.is_none() && !given.is_plain() {
                kind = kind_of(&simple(&text.sample, given));
            }
            if let Some(kind) = kind {
                return Err(in_input(name, kind.code(Code::NotATable), kind.sentence(format)));
            }
            let (text, is_spaced) = text.with_tabs(name, options)?;
            is_transcoded |= is_spaced;
            let (syntax, has_separator_line) = syntax(&text.sample, name, hints, options)?;
            let reading = CsvOptions::new(syntax, hints.header, has_separator_line, options);
            let (opened, header) = csv::open(text.into_input(), name, begin, reading, limits)?;
            if delimiter.is_some() && opened.columns.len() == 1 {
                tracing::warn!(
                    name,
                    delimiter = %char::from(given.delimiter).escape_debug(),
                    "the file has one column by the delimiter that was given: is it the right one?"
                );
            }
            let is_auto = options.dialect == Some(DialectFrom::Auto);
            let is_delimiter_open = options.delimiter.is_none() && !is_spaced;
            let top = || shape::CsvBeginning {
                is_delimiter_open,
                is_auto,
                is_named_by_line: has_separator_line && options.delimiter.is_none(),
                ..opened.top(syntax, reading, &header)
            };
            if is_guessed {
                let other = hints.other.filter(|_| options.delimiter.is_none());
                shape::check(&top(), other).map_err(|(code, message)| in_input(name, code, message))?;
            } else if is_auto {
                // The request names the format, so only the detected delimiter is checked.
                shape::check_delimiter(&top()).map_err(|message| in_input(name, Code::CsvSyntax, message))?;
            }
            opened
        }
        Format::Jsonl => {
            if let Some(kind) = content_kind::of_jsonl(&text.sample) {
                return Err(in_input(name, kind.code(Code::NotATable), kind.sentence(format)));
            }
            // UTF-16 is not checked here, because the splitter reports it.
            if is_guessed && !text.sample.is_utf16() {
                json_lines::check(text.sample.text(), hints.other).map_err(refused)?;
            }
            jsonl::open(text.into_input(), name, limits)?
        }
    };
    Ok(Decoding {
        is_transcoded,
        ..decoding
    })
}

impl Decoding {
    /// Returns the beginning of a CSV file. Its flags are set as if the request had named the delimiter.
    fn top<'a>(
        &'a self,
        syntax: Syntax,
        reading: CsvOptions,
        header: &'a csv::Header,
    ) -> shape::CsvBeginning<'a> {
        let (rest, whole) = (self.splitter.read(), self.splitter.has_ended());
        let rest = if whole { reading.without_footer(rest) } else { rest };
        let (rest, whole) = match rest.get(..SAMPLE_BYTES) {
            Some(start) => (start, whole && start.len() == rest.len()),
            None => (rest, whole),
        };
        let mut lost_line_ends = Vec::new();
        let rest: Cow<'_, [u8]> = match syntax.is_plain() {
            true => rest.into(),
            false => syntax.simplify_but(rest, |at| lost_line_ends.push(at)).into(),
        };
        let header_text: Cow<'_, [u8]> = match syntax.is_plain() {
            true => (&header.text).into(),
            false => syntax.simplify(&header.text).into(),
        };
        shape::CsvBeginning {
            columns: &self.columns,
            header: reading.header(),
            names: &header.names,
            header_text,
            dialect: Dialect {
                quote: syntax.quote.unwrap_or(NO_QUOTE),
                ..self.dialect
            },
            is_delimiter_open: false,
            is_auto: false,
            is_named_by_line: false,
            rest,
            lost_line_ends,
            whole,
            line: self.splitter.origin().0.line,
            rules: reading.rules(),
        }
    }
}

/// Returns the sample in a form that a dialect alone describes: without comments and special syntax. In this form, line
/// ends at the start are removed. The result is only examined, not decoded.
fn simple(sample: &Sample, syntax: Syntax) -> Cow<'_, Sample> {
    match syntax.is_plain() {
        true => Cow::Borrowed(sample),
        false => Cow::Owned(sample.changed(|text| {
            let mut simple = syntax.simplify(text);
            let start = simple.iter().position(|byte| !matches!(byte, b'\n' | b'\r'));
            simple.drain(..start.unwrap_or(simple.len()));
            simple
        })),
    }
}

/// The text of an input: a sample of its beginning, and a reader of the rest.
struct InputText {
    sample: Sample,
    rest: Reader,
    is_transcoded: bool,
}

impl InputText {
    /// Reads the beginning of an input. If the input is text in another encoding, converts it to UTF-8.
    fn open(mut rest: Reader, name: &str, hints: &Hints, options: &InputOptions) -> Result<Self> {
        let encoding = Charset::of(options, hints, name)?;
        let is_named = options.format.is_some();
        let sample = Sample::read(&mut rest, name)?;
        let is_transcoded = encoding.is_some();
        // UTF-32 is checked first: its byte order mark begins with the byte order mark of UTF-16.
        if has_utf32_mark(sample.bytes()) || content_kind::is_utf32(sample.bytes()) {
            return Err(in_input(name, Code::EncodingMismatch, UTF_32));
        }
        let refused = |kind: content_kind::Kind| {
            let format = options.format.or(hints.format).unwrap_or(Format::Csv);
            in_input(name, kind.code(Code::BinaryContent), kind.sentence(format))
        };
        if let Some(kind) = content_kind::of_bytes(&sample, encoding.map(Charset::encoding), is_named) {
            return Err(refused(kind));
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
            .map_err(|message| in_input(name, Code::EncodingMismatch, message))?;
        let mut rest: Reader = Box::new(Transcoded::new(sample.into_reader(rest), name, encoding));
        let sample = Sample::read(&mut rest, name)?;
        if let Some(kind) = content_kind::of_decoded(&sample, is_named) {
            return Err(refused(kind));
        }
        Ok(Self {
            sample,
            rest,
            is_transcoded,
        })
    }

    /// Returns the text after the first `lines` lines, and its position in the file.
    fn after_lines(self, name: &str, lines: u32) -> Result<(Self, InputStart)> {
        if lines == 0 {
            return Ok((self, InputStart::default()));
        }
        let is_transcoded = self.is_transcoded;
        let (mut rest, begin) = skip_lines(self.reader(), name, lines)?;
        let sample = Sample::read(&mut rest, name)?.at_start(false);
        let text = Self {
            sample,
            rest,
            is_transcoded,
        };
        Ok((text, begin))
    }

    /// Replaces the spaces between fields by tabs, if the request says that spaces separate the fields. Returns the
    /// text, and a flag that is true if the spaces were replaced.
    fn with_tabs(self, name: &str, options: &InputOptions) -> Result<(Self, bool)> {
        if options.dialect != Some(DialectFrom::Spaces) {
            return Ok((self, false));
        }
        let syntax = options.syntax()?;
        let is_transcoded = self.is_transcoded;
        let is_start = self.sample.is_start();
        let (mark, sample) = self.sample.split_mark();
        let mut rest: Reader = Box::new(mark.chain(Spaces::new(sample.into_reader(self.rest), syntax)));
        let sample = Sample::read(&mut rest, name)?.at_start(is_start);
        Ok((
            Self {
                sample,
                rest,
                is_transcoded,
            },
            true,
        ))
    }

    /// Returns the whole text as the input of a splitter.
    fn into_input(self) -> PeekedInput {
        self.sample.into_input(self.rest)
    }

    /// Returns a reader of the whole text.
    fn reader(self) -> Reader {
        self.sample.into_reader(self.rest)
    }
}

/// Opens the rest of an input whose format, columns and dialect are known. `options` must be the same as when the input
/// was first opened.
///
/// # Errors
/// Fails if the options contradict each other.
pub fn resume(
    reader: Box<dyn Read + Send>,
    name: &str,
    rest: ResumePoint,
    (format, columns, dialect): (Format, Vec<String>, Dialect),
    options: &InputOptions,
    limits: &Limits,
) -> Result<Decoding> {
    Ok(match format {
        Format::Csv => {
            let reading = CsvOptions::new(with_detected(options.syntax()?, dialect), None, false, options);
            csv::resume(reader, name, rest, reading, columns, limits)
        }
        Format::Jsonl => jsonl::resume(reader, name, rest, columns, limits),
    })
}

/// Opens the records of rejects, each with a line feed behind it. `format`, `columns` and `dialect` are those of the input
/// in which the records were found. `options` give the syntax of this input. The records are UTF-8 already, and neither
/// lines before the header nor rows at the end are among them.
///
/// # Errors
/// Fails if the options contradict each other.
pub fn open_rejected(
    reader: Box<dyn Read + Send>,
    name: &str,
    (format, columns, dialect): (Format, Vec<String>, Dialect),
    options: &InputOptions,
    limits: &Limits,
) -> Result<Decoding> {
    let options = InputOptions {
        skip_lines: None,
        skip_footer: None,
        encoding: None,
        ..options.clone()
    };
    let start = ResumePoint {
        origin: InputStart::default().at(1),
        read: Vec::new(),
    };
    let decoding = resume(reader, name, start, (format, columns, dialect), &options, limits)?;
    Ok(Decoding {
        is_transcoded: true,
        ..decoding
    })
}

/// Returns the syntax of a CSV file, and a flag that says whether the first line is a separator line. A separator line
/// only names the delimiter and is not a record.
///
/// If the request says that spaces separate the fields, the delimiter is a tab. In all other cases, the delimiter comes
/// from the first of these sources that has one, or is a comma if none has one:
///
/// - the options
/// - the separator line
/// - the first records, if the options ask for detection
/// - the name or the content type of the file
fn syntax(sample: &Sample, name: &str, hints: &Hints, options: &InputOptions) -> Result<(Syntax, bool)> {
    let given = options.syntax()?;
    let separator = sniff::separator_line(sample.text());
    let has_separator_line = separator.is_some();
    if options.dialect == Some(DialectFrom::Spaces) {
        return Ok((given, has_separator_line));
    }
    if let Some(delimiter) = separator.filter(|_| options.delimiter.is_none()) {
        let line = clip(&[b"sep=", &[delimiter][..]].concat());
        let what = format!("its first line (\"{line}\")");
        check_is_unused(&what, delimiter, given, options)
            .map_err(|message| in_input(name, Code::CsvSyntax, message))?;
    }
    let known = options.delimiter.map(|_| given.delimiter).or(separator);
    // UTF-16 is not examined here, because the splitter reports it.
    if options.dialect == Some(DialectFrom::Auto) && !sample.is_utf16() {
        let text = sample.text();
        let first_line = separator.map_or(0, |_| memchr2(b'\n', b'\r', text).unwrap_or(text.len()));
        let before = sniff::KnownSyntax {
            syntax: given,
            rules: options.row_rules(),
            footer: options.skip_footer.unwrap_or(0) as usize,
            delimiter: known,
            is_quote_known: options.quote.is_some(),
        };
        let syntax = match (
            sniff::detect_syntax(&text[first_line..], sample.whole, before),
            separator,
        ) {
            (Ok(syntax), _) => syntax,
            (Err(_), Some(delimiter)) if options.delimiter.is_none() => Syntax { delimiter, ..given },
            (Err(message), _) => return Err(in_input(name, Code::CsvSyntax, message)),
        };
        tracing::info!(
            name,
            delimiter = %char::from(syntax.delimiter).escape_debug(),
            quote = %syntax.quote.map_or("none".into(), |quote| char::from(quote).to_string()),
            "detected the dialect from the first records"
        );
        return Ok((syntax, has_separator_line));
    }
    let hinted = hints.delimiter.and_then(|delimiter| u8::try_from(delimiter).ok());
    if let Some(delimiter) = hinted.filter(|_| known.is_none()) {
        let what = "its name or content type";
        check_is_unused(what, delimiter, given, options)
            .map_err(|message| in_input(name, Code::CsvSyntax, message))?;
    }
    let delimiter = known.or(hinted).unwrap_or(given.delimiter);
    Ok((Syntax { delimiter, ..given }, has_separator_line))
}

/// Checks that no option uses `delimiter` for another purpose. `what` says where the delimiter was found.
fn check_is_unused(what: &str, delimiter: u8, given: Syntax, options: &InputOptions) -> Result<(), String> {
    let is = |of: Option<u8>| of == Some(delimiter);
    let option = match given {
        Syntax { quote, .. } if is(quote) && options.quote.is_some() => "--quote",
        Syntax { escape, .. } if is(escape) => "--escape",
        Syntax { comment, .. } if is(comment) => "--comment",
        Syntax { trim: true, .. } if delimiter == b' ' => "--trim",
        _ => return Ok(()),
    };
    Err(format!(
        "{what} tells a delimiter that {option} uses, too: leave {option} out, or say --delimiter"
    ))
}

/// Returns the syntax that the options give, with the delimiter and the quote of a detected dialect.
fn with_detected(given: Syntax, dialect: Dialect) -> Syntax {
    Syntax {
        delimiter: dialect.delimiter,
        quote: given.quote.map(|_| dialect.quote),
        ..given
    }
}

type Reader = Box<dyn Read + Send>;

/// The length of the largest chunk whose fields are read in place, as a multiple of `batch_bytes`.
const IN_PLACE_BATCHES_MAX: usize = 2;

/// The limits of a batch.
#[derive(Debug, Clone, Copy)]
struct BatchLimits {
    records: usize,
    cells: usize,
    record_bytes_max: usize,
    /// The length of the largest chunk whose fields are read in place, in bytes.
    in_place_bytes_max: usize,
}

impl BatchLimits {
    fn new(limits: &Limits) -> Self {
        Self {
            records: limits.batch_records.max(1),
            cells: limits.batch_cells,
            record_bytes_max: limits.record_bytes_max,
            in_place_bytes_max: limits.batch_bytes.saturating_mul(IN_PLACE_BATCHES_MAX),
        }
    }

    /// Returns the maximum number of records in a batch with `columns` columns.
    fn records_max(&self, columns: usize) -> usize {
        (self.cells / columns.max(1)).clamp(1, self.records)
    }
}

/// Returns the message for a column whose name is too long.
fn long_name(name: &[u8], bytes_max: usize) -> String {
    let (name, bytes) = (clip(name), name.len());
    format!("the column name \"{name}\" has {bytes} bytes, more than the {bytes_max} allowed")
}

/// Checks that the indices of a projection exist, and that none is given twice.
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
