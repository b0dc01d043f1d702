//! CSV goes in; batches of records come out. The module [`crate::format::csv`] defines which records are well-formed.
//!
//! The table shows how irregular CSV is handled. The table for users is in docs/formats.md.
//!
//! | input | handling |
//! |---|---|
//! | a byte order mark | is skipped |
//! | LF, CRLF or a lone CR, even mixed in one file | each ends a record |
//! | a line end within quotes | is text; an LF or CRLF counts in line numbers, a lone CR does not |
//! | `""` within quotes | is one quote |
//! | a quote in an unquoted field, or text after a closing quote | `stray-quote`; the record ends with its line |
//! | a quote that is never closed | an error, because the quote would silently swallow the rest of the file |
//! | NUL and other control characters | are text |
//! | bytes that are not UTF-8 | the record is malformed (`not-utf8`); in the header they are an error |
//! | UTF-16 | an error that names UTF-16, unless the request names the encoding |
//! | an empty line | is skipped and not counted as a record, as in most readers |
//! | more or fewer fields than the header | the record is malformed (`ragged-row`) |
//! | a delimiter at the end of a line | adds a field; if the header has no such delimiter: `ragged-row` |
//! | no line end after the last record | makes no difference |
//! | one column | each line is a record, except empty lines; in the output, an empty field is written as `""` |
//! | a header and nothing else | an input without records |
//! | a page of HTML in place of the file | an error |
//! | an empty file, or only empty lines | an error: the columns are unknown |
//! | two columns with the same name | an error |
//! | a column without a name | is named `column_N`, where N is its number, from 1 |
//! | a column name, a record or a number of columns beyond its limit | an error; fields have no limit of their own |
//! | white space around a field | is text |
//!
//! Options of a request change some of this handling. If an option changes the syntax within a record (an escape, no
//! quote, skipped spaces) or the number of fields in a record, the decoder in `csv/rewriting.rs` reads the input. In
//! all other cases, the decoder in this file reads it.

mod rewriting;

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::Arc;

use memchr::memchr2;

use self::rewriting::RewritingDecoder;
use super::index::Index;
use super::split::{
    FindRecordsEnd, Footer, InputStart, PeekedInput, ResumePoint, Splitter, in_input, in_record, too_long,
};
use super::utf8::{LATIN_1_HINT, NOT_UTF8, Utf8};
use super::{BatchLimits, Decoder, Decoding, check_reads, long_name};
use crate::config::Limits;
use crate::error::{Code, Error, Result};
use crate::format::csv::{
    CsvItem, CsvRecord, Dialect, Gaps, Parser, Partial, RowRules, Scanner, Syntax, line_end, line_feeds,
    records_end, unquote,
};
use crate::format::{Format, Span, append, clip};
use crate::record::{Batch, ChunkError, ChunkOrigin, MalformedRecord, Row, Used};
use crate::request::{DuplicateColumns, InputOptions};

/// The options for reading a CSV input.
#[derive(Debug, Clone, Copy)]
pub(super) struct CsvOptions {
    syntax: Syntax,
    rules: RowRules,
    /// The number of rows at the end of the file that are not records.
    footer: usize,
    header: bool,
    /// True if the first line names the delimiter and is not a record.
    has_separator_line: bool,
    numbers_duplicates: bool,
}

impl CsvOptions {
    /// Combines the options of a request with the syntax, which comes from the options or from the file. `header` says
    /// whether the content type promises a header; it is `None` if the content type does not say.
    pub(super) fn new(
        syntax: Syntax,
        header: Option<bool>,
        has_separator_line: bool,
        options: &InputOptions,
    ) -> Self {
        Self {
            syntax,
            rules: options.row_rules(),
            footer: options.skip_footer.unwrap_or(0) as usize,
            header: options.header.or(header).unwrap_or(true),
            has_separator_line,
            numbers_duplicates: options.duplicate_columns == Some(DuplicateColumns::Number),
        }
    }

    /// Returns whether the first record names the columns.
    pub(super) fn header(&self) -> bool {
        self.header
    }

    /// Returns the rules for rows that are wider or narrower than the header.
    pub(super) fn rules(&self) -> RowRules {
        self.rules
    }

    /// Returns `text` without the footer. The footer consists of the rows at the end that are not records. `text` must
    /// reach to the end of the file.
    pub(super) fn without_footer(self, text: &[u8]) -> &[u8] {
        match self.footer {
            0 => text,
            footer => {
                let end = self.parser(0).records_end_before(text, true, footer);
                &text[..end.unwrap_or(text.len())]
            }
        }
    }

    /// Returns whether the records can be decoded without first being rewritten as plain CSV.
    fn is_plain(&self) -> bool {
        self.syntax.has_plain_records() && !self.rules.fills_short && !self.rules.cuts_long
    }

    fn parser(&self, fields_max: usize) -> Parser {
        Parser::new(self.syntax, self.rules, fields_max)
    }
}

/// The header as it is written in the file.
#[derive(Default)]
pub(super) struct Header {
    /// The names of the columns, or no names if the file has no header. If the header has no name for a column, the
    /// name is empty here, and the column is named by its number.
    pub(super) names: Vec<String>,
    /// The bytes of the header, without its line end.
    pub(super) text: Vec<u8>,
}

/// Reads the header. If the input has no header, reads its first record only to count the fields. Skips the first line
/// if it names the delimiter.
///
/// # Errors
/// Fails if the header is missing, is malformed, has too many columns, or has two columns with the same name. Returns
/// the reader's errors.
pub(super) fn open(
    text: PeekedInput,
    name: &str,
    begin: InputStart,
    reading: CsvOptions,
    limits: &Limits,
) -> Result<(Decoding, Header)> {
    let record = u64::from(!reading.header);
    let origin = begin.at(record);
    let separator_line = reading.has_separator_line.then_some(origin.0.line);
    let mut splitter = Splitter::open(text, name, limits, origin, ends(reading))?;
    let mut header_reader = HeaderReader {
        name,
        parser: reading.parser(limits.columns_max),
        reading,
        separator_line,
        header: Header::default(),
        limits,
    };
    let columns = loop {
        let (columns, used) = splitter.scan(|raw, last, origin| header_reader.columns(raw, last, origin))?;
        splitter.take(used);
        if let Some(columns) = columns {
            break columns;
        }
    };
    let header = header_reader.header;
    Ok((decoding(splitter, name, reading, columns, limits), header))
}

/// Resumes an input at `rest`, where a record begins.
pub(super) fn resume(
    reader: Box<dyn Read + Send>,
    name: &str,
    rest: ResumePoint,
    reading: CsvOptions,
    columns: Vec<String>,
    limits: &Limits,
) -> Decoding {
    let splitter = Splitter::resume(reader, name, limits, rest, ends(reading));
    decoding(splitter, name, reading, columns, limits)
}

fn ends(reading: CsvOptions) -> FindRecordsEnd {
    if reading.footer > 0 {
        return Box::new(move |raw, last| reading.parser(0).records_end_before(raw, last, reading.footer));
    }
    if reading.syntax.is_plain() {
        let dialect = reading.syntax.dialect();
        return Box::new(move |raw, last| records_end(raw, last, dialect));
    }
    Box::new(move |raw, last| reading.parser(0).records_end(raw, last))
}

fn decoding(
    mut splitter: Splitter,
    name: &str,
    reading: CsvOptions,
    columns: Vec<String>,
    limits: &Limits,
) -> Decoding {
    let dialect = reading.syntax.dialect();
    if reading.footer > 0 {
        splitter.expect_footer(Footer {
            rows: reading.footer,
            whole_rows: Box::new(move |raw| whole_rows(reading.parser(0), raw)),
        });
    }
    let decoder: Box<dyn Decoder> = if reading.is_plain() {
        Box::new(CsvDecoder {
            name: name.into(),
            scanner: Scanner::new(dialect),
            gaps: Gaps::new(reading.syntax, reading.rules),
            limits: BatchLimits::new(limits),
            columns: columns.len(),
            projection: Projection::default(),
            index: Index::default(),
        })
    } else {
        splitter.expect_rewriting();
        Box::new(RewritingDecoder {
            name: name.into(),
            parser: reading.parser(columns.len()),
            rules: reading.rules,
            limits: BatchLimits::new(limits),
            columns: columns.len(),
            projection: Projection::default(),
            ends: Vec::new(),
        })
    };
    Decoding {
        splitter,
        decoder,
        columns,
        format: Format::Csv,
        dialect,
        is_transcoded: false,
    }
}

/// Counts the bytes, records and lines up to the end of the last complete row in `raw`. The input continues after
/// `raw`, so the row at its end can be incomplete.
fn whole_rows(mut parser: Parser, raw: &[u8]) -> Used {
    let mut used = Used::default();
    while used.bytes < raw.len() {
        match parser.next(raw, used.bytes, false) {
            Ok(CsvItem::Row(row)) => used.record(row.next, row.line_feeds + 1),
            Ok(CsvItem::Nothing { next }) => used.blank_line(next),
            Err(_) => break,
        }
    }
    used
}

/// The decoder of CSV that does not have to be rewritten.
#[derive(Clone)]
struct CsvDecoder {
    name: Arc<str>,
    scanner: Scanner,
    gaps: Gaps,
    limits: BatchLimits,
    /// The number of fields that a record must have.
    columns: usize,
    projection: Projection,
    index: Index,
}

impl Decoder for CsvDecoder {
    fn project(&mut self, reads: &[usize], more: &[String]) -> Result<()> {
        if let Some(name) = more.first() {
            return Err(in_input(&self.name, Code::PluginPlan, not_looked_for(name)));
        }
        check_reads(reads, self.columns)
            .map_err(|message| in_input(&self.name, Code::PluginPlan, message))?;
        self.projection = Projection::new(self.scanner.dialect().quote, reads, self.columns);
        Ok(())
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool, ChunkError> {
        batch.clear();
        // The bytes are taken out of the batch, so that records can be added to the batch while the bytes are read.
        let raw = std::mem::take(&mut batch.raw);
        let cut = self.cut(&raw, batch);
        batch.raw = raw;
        cut.map(|()| !batch.is_empty())
    }

    fn fork(&self) -> Box<dyn Decoder> {
        Box::new(self.clone())
    }
}

impl CsvDecoder {
    /// Decodes records of `raw` until the batch is full or `raw` ends.
    fn cut(&mut self, raw: &[u8], batch: &mut Batch) -> Result<(), ChunkError> {
        let mut records_left = self.limits.records_max(self.columns);
        let (mut used, mut utf8) = (batch.used, Utf8::default());
        self.index.clear();
        // If fields are read in place, the whole chunk is copied into the plugin for each batch. A long chunk can have
        // many batches, so its fields are not read in place.
        batch.in_place = self.projection.in_place && raw.len() <= self.limits.in_place_bytes_max;
        while used.bytes < raw.len() && records_left > 0 {
            // The last argument is true because no line of a chunk is partial.
            if let Ok(Some(next)) = self.gaps.pass(raw, used.bytes, true) {
                used.blank_line(next);
                continue;
            }
            let (spans, ends) = (batch.spans.len(), batch.ends.len());
            let record = match self.find(raw, used.bytes, batch) {
                Ok(record) => record,
                Err(partial) => return Err(self.never_closed(raw, used, partial)),
            };
            if record.end - used.bytes > self.limits.record_bytes_max {
                let (name, bytes_max) = (Arc::clone(&self.name), self.limits.record_bytes_max);
                return Err(ChunkError::new(move |origin| {
                    too_long(&name, origin, used, bytes_max)
                }));
            }
            let mut row = used.row(record.end);
            match self.fault(raw, row, record, &mut utf8) {
                None => {
                    if batch.ends.len() == ends {
                        row.cells = spans as u32;
                        self.projection.take(raw, spans, record.quoted, batch);
                    } else {
                        batch.starts.push(row.start);
                    }
                    batch.rows.push(row);
                }
                Some((code, reason)) => {
                    batch.spans.truncate(spans);
                    batch.ends.truncate(ends);
                    batch.malformed.push(MalformedRecord { row, code, reason });
                }
            }
            used.record(record.next, record.line_feeds + 1);
            records_left -= 1;
        }
        batch.used = used;
        Ok(())
    }

    /// Finds the record that begins at `start`. If its fields can be read in place, appends the ends of all fields to
    /// the batch. Otherwise appends the spans of the columns that the plugin reads.
    #[inline]
    fn find(&mut self, raw: &[u8], start: usize, batch: &mut Batch) -> Result<CsvRecord, Partial> {
        let spans = &mut batch.spans;
        let Some(ends) = self.index.ends(&self.scanner, raw, start) else {
            let add = |span: Span| spans.push([span.start as u32, span.end as u32]);
            let wanted = &self.projection.wanted;
            return self.scanner.record(raw, start, true, wanted, add);
        };
        let end = ends.last().map_or(start, |&end| end as usize);
        // A record with another number of fields is malformed, so none of its fields is appended.
        if ends.len() == self.columns {
            if batch.in_place {
                // Most records have few fields. For these, copying blocks of eight ends is faster than one call that
                // copies all ends.
                let (eights, rest) = ends.as_chunks::<8>();
                for eight in eights {
                    batch.ends.extend_from_slice(eight);
                }
                batch.ends.extend(rest);
            } else {
                self.projection.spans(start as u32, ends, spans);
            }
        }
        Ok(CsvRecord {
            end,
            next: line_end(raw, end, true).unwrap_or(raw.len()),
            fields: ends.len(),
            ..CsvRecord::default()
        })
    }

    /// Returns the error for an input that ends within quotes.
    fn never_closed(&self, raw: &[u8], used: Used, partial: Partial) -> ChunkError {
        let open = partial.quote.unwrap_or(raw.len());
        let (name, feeds) = (Arc::clone(&self.name), line_feeds(&raw[used.bytes..open]));
        ChunkError::new(move |origin| never_closed(&name, origin, used, feeds))
    }

    /// Returns the fault of a record, or `None`. If the record has several faults, returns the fault that can cause the
    /// others.
    fn fault(
        &self,
        raw: &[u8],
        row: Row,
        record: CsvRecord,
        utf8: &mut Utf8,
    ) -> Option<(&'static str, String)> {
        if let Err(reason) = utf8.check(raw, row) {
            return Some((NOT_UTF8, reason));
        }
        if let Some(at) = record.stray {
            let dialect = self.scanner.dialect();
            return Some(("stray-quote", stray_quote(raw, row.start as usize, at, dialect)));
        }
        if record.fields != self.columns {
            return Some(("ragged-row", ragged(self.columns, record.fields)));
        }
        None
    }
}

/// The number of bytes of a field that are copied at once.
const BLOCK: usize = 32;

/// The columns that the plugin reads. They are used to extract fields from records.
#[derive(Debug, Clone, Default)]
struct Projection {
    quote: u8,
    /// True if the plugin reads all columns in their order. In this case, and if the chunk is not too long, the plugin
    /// reads the fields of records without quotes in place.
    in_place: bool,
    /// The indices of the columns that the plugin reads, in increasing order.
    wanted: Vec<usize>,
    /// For each column in the order of [`Batch::fields`], its index in `wanted`. Empty if both lists have the same
    /// order.
    order: Vec<usize>,
}

impl Projection {
    fn new(quote: u8, reads: &[usize], columns: usize) -> Self {
        let mut wanted = reads.to_vec();
        wanted.sort_unstable();
        let place = |read| wanted.binary_search(read).ok();
        let order = if wanted == reads {
            Vec::new()
        } else {
            reads.iter().filter_map(place).collect()
        };
        Self {
            quote,
            in_place: reads.iter().copied().eq(0..columns),
            wanted,
            order,
        }
    }

    /// Appends the spans of the columns that the plugin reads. The record must have no quotes. It begins at `start`,
    /// and its fields end at `ends`.
    #[inline]
    fn spans(&self, start: u32, ends: &[u32], spans: &mut Vec<[u32; 2]>) {
        let before = |column: usize| column.checked_sub(1).map_or(start, |before| ends[before] + 1);
        spans.extend(self.wanted.iter().map(|&column| [before(column), ends[column]]));
    }

    /// Copies the fields of a record into the batch. `spans` is the index of the record's first span in
    /// [`Batch::spans`].
    #[inline]
    fn take(&self, raw: &[u8], spans: usize, quoted: bool, batch: &mut Batch) {
        let Batch { fields, ends, .. } = batch;
        // If the raw bytes go to the plugin too, the fields follow them, so the offsets of fields begin at the end of
        // the raw bytes.
        let base = if batch.in_place { raw.len() as u32 } else { 0 };
        batch.starts.push(base + fields.len() as u32);
        let spans = &batch.spans[spans..];
        let [Some(first), Some(last)] = [spans.first(), spans.last()] else {
            return;
        };
        if quoted || !self.order.is_empty() {
            return self.take_each(raw, spans, base, fields, ends);
        }
        // Makes room for all fields and one more block. Most fields are shorter than a block, and each of them is
        // copied as a whole block.
        let mut at = fields.len();
        fields.resize(at + (last[1] - first[0]) as usize + 1 + BLOCK, 0);
        for &[start, end] in spans {
            let (start, end) = (start as usize, end as usize);
            let next = at + (end - start);
            match (
                raw[start..].first_chunk::<BLOCK>(),
                fields[at..].first_chunk_mut::<BLOCK>(),
            ) {
                (Some(from), Some(to)) if end - start <= BLOCK => *to = *from,
                _ => fields[at..next].copy_from_slice(&raw[start..end]),
            }
            fields[next] = b'\n';
            ends.push(base + next as u32);
            at = next + 1;
        }
        fields.truncate(at);
    }

    /// Copies the fields of a record in the order in which the plugin reads the columns. The fields can be quoted.
    fn take_each(
        &self,
        raw: &[u8],
        spans: &[[u32; 2]],
        base: u32,
        fields: &mut Vec<u8>,
        ends: &mut Vec<u32>,
    ) {
        for at in 0..spans.len() {
            let [start, end] = spans[self.order.get(at).copied().unwrap_or(at)].map(|at| at as usize);
            if raw.get(start) == Some(&self.quote) && end > start {
                unquote(&raw[start..end], self.quote, fields);
            } else {
                append(fields, raw, Span { start, end });
            }
            ends.push(base + fields.len() as u32);
            fields.push(b'\n');
        }
    }
}

/// A reader of the header of a file, which finds the columns.
struct HeaderReader<'a> {
    name: &'a str,
    parser: Parser,
    reading: CsvOptions,
    /// The number of the line that names the delimiter. `None` if there is no such line, or after the line was skipped.
    separator_line: Option<u64>,
    /// The header. It is empty until the header is read.
    header: Header,
    limits: &'a Limits,
}

impl HeaderReader<'_> {
    /// Looks for the first record at the start of `raw`. Returns the columns, and the part of `raw` to skip.
    ///
    /// - If lines without a record come first, returns no columns yet. These lines are to be skipped, so that they are
    ///   not buffered.
    /// - If `raw` has the whole first record, returns the columns. The record is to be skipped if it is the header.
    /// - If more bytes are needed, returns `None`.
    fn columns(
        &mut self,
        raw: &[u8],
        last: bool,
        origin: &ChunkOrigin,
    ) -> Result<Option<(Option<Vec<String>>, Used)>> {
        let mut used = Used::default();
        if self.separator_line == Some(origin.0.line) {
            let next = match memchr2(b'\n', b'\r', raw) {
                Some(end) => line_end(raw, end, last),
                None => last.then_some(raw.len()),
            };
            let Some(next) = next else {
                return Ok(None);
            };
            self.separator_line = None;
            used.blank_line(next);
            return Ok(Some((None, used)));
        }
        let found = loop {
            if used.bytes == raw.len() && last {
                if used.bytes > 0 {
                    return Ok(Some((None, used)));
                }
                let message = "is empty: expected a line that tells the columns";
                return Err(in_input(self.name, Code::InputEmpty, message));
            }
            match self.parser.next(raw, used.bytes, last) {
                Ok(CsvItem::Nothing { next }) => used.blank_line(next),
                // Lines before the header are skipped first. The next call finds the header.
                _ if used.bytes > 0 => return Ok(Some((None, used))),
                found => break found,
            }
        };
        let (columns_max, bytes_max) = (self.limits.columns_max, self.limits.record_bytes_max);
        let record = match found {
            Ok(CsvItem::Row(record)) => record,
            Err(Partial { quote: Some(open) }) if last => {
                let feeds = line_feeds(&raw[..open]);
                return Err(never_closed(self.name, origin, used, feeds));
            }
            _ => return Ok(None),
        };
        if record.end > bytes_max {
            return Err(too_long(self.name, origin, used, bytes_max));
        }
        let refused = |message: String| in_record(self.name, origin, used, Code::HeaderInvalid, message);
        if record.fields > columns_max {
            return Err(refused(self.limits.too_many_columns(record.fields)));
        }
        if !self.reading.header {
            let names = (1..=record.fields).map(unnamed).collect();
            return Ok(Some((Some(names), used)));
        }
        Utf8::default()
            .check(raw, used.row(record.end))
            .map_err(|reason| {
                let message = format!("{reason}: {LATIN_1_HINT}");
                in_record(self.name, origin, used, Code::EncodingMismatch, message)
            })?;
        if let Some(at) = record.stray {
            return Err(refused(stray_quote(raw, 0, at, self.reading.syntax.dialect())));
        }
        if let Some(at) = record.stray_escape {
            return Err(refused(escape_at_end(raw, 0, at)));
        }
        let names = self.names(raw, record.fields).map_err(refused)?;
        self.header.text = raw[..record.end].to_vec();
        used.record(record.next, record.line_feeds + 1);
        Ok(Some((Some(names), used)))
    }

    /// Returns the names of the columns in a header. A column without a name is named by its number: spreadsheets often
    /// leave such columns at the end.
    fn names(&mut self, raw: &[u8], fields: usize) -> Result<Vec<String>, String> {
        let written = |column| {
            let mut text = Vec::new();
            self.parser.text(raw, column, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        };
        let written: Vec<_> = (0..fields).map(written).collect();
        let name = |(number, name): (_, &String)| match name.is_empty() {
            true => unnamed(number),
            false => name.clone(),
        };
        let mut names: Vec<_> = (1..).zip(&written).map(name).collect();
        self.header.names = written;
        if self.reading.numbers_duplicates {
            number_duplicates(&mut names);
        }
        let mut numbers = HashMap::with_capacity(fields);
        for (number, name) in (1..).zip(&names) {
            if name.len() > self.limits.column_name_bytes_max {
                return Err(long_name(name.as_bytes(), self.limits.column_name_bytes_max));
            }
            if let Some(earlier) = numbers.insert(name, number) {
                return Err(format!(
                    "columns {earlier} and {number} are both named \"{}\"; each needs a name of its own, which \
                     --duplicate-columns number gives them",
                    clip(name.as_bytes())
                ));
            }
        }
        Ok(names)
    }
}

/// Makes the names of the columns unique by numbering repeated names: `a`, `a_2`, `a_3`. Skips numbered names that the
/// header already has.
fn number_duplicates(names: &mut [String]) {
    let mut taken: HashSet<String> = names.iter().cloned().collect();
    let mut seen = HashMap::<String, usize>::with_capacity(names.len());
    for name in names {
        let Some(count) = seen.get_mut(name) else {
            seen.insert(name.clone(), 1);
            continue;
        };
        *name = loop {
            *count += 1;
            let numbered = format!("{name}_{count}");
            if taken.insert(numbered.clone()) {
                break numbered;
            }
        };
    }
}

fn unnamed(number: usize) -> String {
    format!("column_{number}")
}

fn not_looked_for(name: &str) -> String {
    let name = clip(name.as_bytes());
    format!("column \"{name}\" cannot be looked for in CSV: it has a header")
}

fn ragged(columns: usize, found: usize) -> String {
    format!("expected {columns} fields, found {found}")
}

/// Returns the message about the fault at the offset `at`: a stray quote, or text after a closing quote. The record
/// begins at `start`.
fn stray_quote(raw: &[u8], start: usize, at: usize, dialect: Dialect) -> String {
    let (quote, byte) = (char::from(dialect.quote), at - start + 1);
    if raw[at] == dialect.quote {
        format!("{quote} at byte {byte} of the record, within a field that does not begin with one")
    } else {
        format!("text at byte {byte} of the record, after the {quote} that ends the field")
    }
}

/// Returns the message about an escape at the offset `at`, which is the last byte of the file. The record begins at
/// `start`.
fn escape_at_end(raw: &[u8], start: usize, at: usize) -> String {
    let (escape, byte) = (char::from(raw[at]), at - start + 1);
    format!(
        "{escape} at byte {byte} of the record, with which the file ends: there is nothing that it escapes"
    )
}

/// Returns the error for a record with a quote that is never closed. The record has `line_feeds` line feeds before this
/// quote.
fn never_closed(name: &str, origin: &ChunkOrigin, used: Used, line_feeds: usize) -> Error {
    let line = origin.0.line + u64::from(used.lines) + line_feeds as u64;
    in_record(
        name,
        origin,
        used,
        Code::QuoteUnclosed,
        format_args!("the quote that opens on line {line} is never closed"),
    )
}
