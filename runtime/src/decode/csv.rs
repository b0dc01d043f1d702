//! CSV in, batches out. What well-formed means is said in [`crate::format::csv`].
//!
//! CSV as found, and what happens (FORMATS.md has it for users):
//!
//! | found | what happens |
//! |---|---|
//! | a byte order mark | passed over |
//! | LF, CRLF or a lone CR, mixed too | each ends a record |
//! | a line end within quotes | is text, and counted in line numbers |
//! | `""` within quotes | is one quote |
//! | a quote within an unquoted field, text after a closing quote | malformed, `stray-quote`; ends with its line |
//! | a quote that is never closed | an error, so that it can't swallow the rest of the file in silence |
//! | NUL and other control characters | are text |
//! | bytes that are not UTF-8 | malformed, `not-utf8`; in the header an error |
//! | UTF-16 | an error that says so, if there is a byte order mark and nobody has declared it |
//! | an empty line | passed over and not counted, as most readers do |
//! | more or fewer fields than the header | malformed, `ragged-row` |
//! | a delimiter at the end of a line | one more field: a column if the header has it too, else `ragged-row` |
//! | no line end after the last record | makes no difference |
//! | one column | a record each line; an empty field is written `""`, since an empty line is none |
//! | a header and nothing else | no records |
//! | another kind of file in its place | an error, before this module sees it |
//! | an empty file, or only empty lines | an error: nothing tells the columns |
//! | two columns of one name | an error |
//! | a column without a name | is `column_N`, with its number |
//! | a name, a record or a number of columns beyond its limit | an error; a field is as long as its record |
//! | white space around a field | is text |

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use memchr::memchr2;

use super::index::Index;
use super::split::{RecordsEnd, Rest, Splitter, in_input, in_record, too_long};
use super::utf8::Utf8;
use super::{BatchLimits, Decoder, Decoding, check_reads, long_name};
use crate::batch::{Batch, Fault, Malformed, Origin, Row, Used};
use crate::config::Limits;
use crate::error::{Error, Result};
use crate::format::csv::{Dialect, Partial, Record, Scanner, line_end, line_feeds, records_end, unquote};
use crate::format::{Format, Span, append, clip};

/// Reads the header, or the first record to count its fields. A first line that tells the delimiter is passed over.
///
/// # Errors
/// If there is none, it is malformed, has too many columns, or two of the same name; those of the reader.
pub(super) fn open(
    reader: Box<dyn Read + Send>,
    name: &str,
    dialect: Dialect,
    header: bool,
    has_separator_line: bool,
    limits: &Limits,
) -> Result<Decoding> {
    let mut splitter = Splitter::open(reader, name, limits, u64::from(!header), ends(dialect))?;
    let head = Head {
        name,
        scanner: Scanner::new(dialect),
        header,
        has_separator_line,
        limits,
    };
    let columns = loop {
        let (columns, used) = splitter.scan(|raw, last, origin| head.columns(raw, last, origin))?;
        splitter.take(used);
        if let Some(columns) = columns {
            break columns;
        }
    };
    Ok(decoding(splitter, name, dialect, columns, limits))
}

/// Goes on behind some record.
pub(super) fn resume(
    reader: Box<dyn Read + Send>,
    name: &str,
    rest: Rest,
    dialect: Dialect,
    columns: Vec<String>,
    limits: &Limits,
) -> Decoding {
    let splitter = Splitter::resume(reader, name, limits, rest, ends(dialect));
    decoding(splitter, name, dialect, columns, limits)
}

fn ends(dialect: Dialect) -> RecordsEnd {
    Box::new(move |raw, last| records_end(raw, last, dialect))
}

fn decoding(
    splitter: Splitter,
    name: &str,
    dialect: Dialect,
    columns: Vec<String>,
    limits: &Limits,
) -> Decoding {
    let decoder = CsvDecoder {
        name: name.into(),
        scanner: Scanner::new(dialect),
        limits: BatchLimits::new(limits),
        columns: columns.len(),
        projection: Projection::default(),
        index: Index::default(),
    };
    Decoding {
        splitter,
        decoder: Box::new(decoder),
        columns,
        format: Format::Csv,
        dialect,
        is_transcoded: false,
    }
}

/// Decodes chunks of CSV.
#[derive(Clone)]
struct CsvDecoder {
    name: Arc<str>,
    scanner: Scanner,
    limits: BatchLimits,
    /// How many fields a record has.
    columns: usize,
    projection: Projection,
    index: Index,
}

impl Decoder for CsvDecoder {
    fn project(&mut self, reads: &[usize], more: &[String]) -> Result<()> {
        if let Some(name) = more.first() {
            let name = clip(name.as_bytes());
            let message = format_args!("column \"{name}\" cannot be looked for in CSV: it has a header");
            return Err(in_input(&self.name, message));
        }
        check_reads(reads, self.columns).map_err(|message| in_input(&self.name, message))?;
        self.projection = Projection::new(self.scanner.dialect().quote, reads, self.columns);
        Ok(())
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool, Fault> {
        batch.clear();
        // Moved out so that records can be added while they are read.
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
    /// Decodes as many records as a batch has.
    fn cut(&mut self, raw: &[u8], batch: &mut Batch) -> Result<(), Fault> {
        let mut records_left = self.limits.records_max(self.columns);
        let (mut used, mut utf8) = (batch.used, Utf8::default());
        self.index.clear();
        // The whole chunk crosses then, which must not be a long one of which this batch is a small part.
        batch.in_place = self.projection.in_place && raw.len() <= self.limits.in_place_bytes_max;
        while used.bytes < raw.len() && records_left > 0 {
            if matches!(raw[used.bytes], b'\n' | b'\r') {
                used.blank_line(line_end(raw, used.bytes, true).unwrap_or(raw.len()));
                continue;
            }
            let (spans, ends) = (batch.spans.len(), batch.ends.len());
            let record = match self.find(raw, used.bytes, batch) {
                Ok(record) => record,
                Err(partial) => return Err(self.never_closed(raw, used, partial)),
            };
            if record.end - used.bytes > self.limits.record_bytes_max {
                let (name, bytes_max) = (Arc::clone(&self.name), self.limits.record_bytes_max);
                return Err(Fault::new(move |origin| too_long(&name, origin, used, bytes_max)));
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
                    batch.malformed.push(Malformed { row, code, reason });
                }
            }
            used.record(record.next, record.line_feeds + 1);
            records_left -= 1;
        }
        batch.used = used;
        Ok(())
    }

    /// Finds the record that begins at `start`. Adds where its fields end if they can be read where they stand, else
    /// where the columns that are read stand in it.
    #[inline]
    fn find(&mut self, raw: &[u8], start: usize, batch: &mut Batch) -> Result<Record, Partial> {
        let spans = &mut batch.spans;
        let Some(ends) = self.index.ends(&self.scanner, raw, start) else {
            let add = |span: Span| spans.push([span.start as u32, span.end as u32]);
            let wanted = &self.projection.wanted;
            return self.scanner.record(raw, start, true, wanted, add);
        };
        let end = ends.last().map_or(start, |&end| end as usize);
        // Any other record is malformed.
        if ends.len() == self.columns {
            if batch.in_place {
                // Eight at a time, which takes no call: most records have few fields.
                let (eights, rest) = ends.as_chunks::<8>();
                for eight in eights {
                    batch.ends.extend_from_slice(eight);
                }
                batch.ends.extend(rest);
            } else {
                self.projection.spans(start as u32, ends, spans);
            }
        }
        Ok(Record {
            end,
            next: line_end(raw, end, true).unwrap_or(raw.len()),
            fields: ends.len(),
            ..Record::default()
        })
    }

    /// The error for a text that ends within quotes.
    fn never_closed(&self, raw: &[u8], used: Used, partial: Partial) -> Fault {
        let open = partial.quote.unwrap_or(raw.len());
        let (name, feeds) = (Arc::clone(&self.name), line_feeds(&raw[used.bytes..open]));
        Fault::new(move |origin| never_closed(&name, origin, used, feeds))
    }

    /// What is wrong with a record: first what may be the cause of the rest.
    fn fault(&self, raw: &[u8], row: Row, record: Record, utf8: &mut Utf8) -> Option<(&'static str, String)> {
        if let Err(reason) = utf8.check(raw, row) {
            return Some(("not-utf8", reason));
        }
        if let Some(at) = record.stray {
            return Some(("stray-quote", stray_quote(raw, row, at, self.scanner.dialect())));
        }
        if record.fields != self.columns {
            return Some((
                "ragged-row",
                format!("expected {} fields, found {}", self.columns, record.fields),
            ));
        }
        None
    }
}

/// How many bytes of a field are copied at once.
const BLOCK: usize = 32;

/// Takes the fields that are read out of records.
#[derive(Debug, Clone, Default)]
struct Projection {
    quote: u8,
    /// Whether all columns are read, in their order: then fields without quotes are read where they stand.
    in_place: bool,
    /// The columns that are read, increasing.
    wanted: Vec<usize>,
    /// The columns that are read, in the order of [`Batch::fields`]: indices into `wanted`. Nothing if that is the order
    /// of `wanted`.
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

    /// Adds where the columns that are read stand in a record without quotes, which begins at `start` and whose fields
    /// end at `ends`.
    #[inline]
    fn spans(&self, start: u32, ends: &[u32], spans: &mut Vec<[u32; 2]>) {
        let before = |column: usize| column.checked_sub(1).map_or(start, |before| ends[before] + 1);
        spans.extend(self.wanted.iter().map(|&column| [before(column), ends[column]]));
    }

    /// Takes the fields of a record, whose spans are there from `spans` on.
    #[inline]
    fn take(&self, raw: &[u8], spans: usize, quoted: bool, batch: &mut Batch) {
        let Batch { fields, ends, .. } = batch;
        // Behind the raw bytes if these go to the plugin, too.
        let base = if batch.in_place { raw.len() as u32 } else { 0 };
        batch.starts.push(base + fields.len() as u32);
        let spans = &batch.spans[spans..];
        let [Some(first), Some(last)] = [spans.first(), spans.last()] else {
            return;
        };
        if quoted || !self.order.is_empty() {
            return self.take_each(raw, spans, base, fields, ends);
        }
        // Room for all fields at once, into which whole blocks are copied: most fields are shorter than one.
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

    /// The same for fields that may be quoted, and in the order in which the plugin reads the columns.
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

/// What is known before the columns are.
struct Head<'a> {
    name: &'a str,
    scanner: Scanner,
    header: bool,
    /// Whether the first line of the file tells the delimiter.
    has_separator_line: bool,
    limits: &'a Limits,
}

impl Head<'_> {
    /// The columns, and the header if it is used up, once the first record is there; before that the empty lines to pass
    /// over, so that none are held.
    fn columns(
        &self,
        raw: &[u8],
        last: bool,
        origin: &Origin,
    ) -> Result<Option<(Option<Vec<String>>, Used)>> {
        let mut used = Used::default();
        if self.has_separator_line
            && origin.0.line == 1
            && let Some(next) = match memchr2(b'\n', b'\r', raw) {
                Some(end) => line_end(raw, end, last),
                None => last.then_some(raw.len()),
            }
        {
            used.blank_line(next);
            return Ok(Some((None, used)));
        }
        while let Some(b'\n' | b'\r') = raw.get(used.bytes)
            && let Some(next) = line_end(raw, used.bytes, last)
        {
            used.blank_line(next);
        }
        if used.bytes > 0 {
            return Ok(Some((None, used)));
        }
        if raw.is_empty() && last {
            let message = "is empty: expected a line that tells the columns";
            return Err(in_input(self.name, message));
        }
        // The first half of a line end.
        if raw == b"\r" {
            return Ok(None);
        }
        let (columns_max, bytes_max) = (self.limits.columns_max, self.limits.record_bytes_max);
        let (every, mut spans) = (Vec::from_iter(0..columns_max), Vec::new());
        let record = self.scanner.record(raw, 0, last, &every, |span| spans.push(span));
        let record = match record {
            Ok(record) => record,
            Err(Partial { quote: Some(open) }) if last => {
                let feeds = line_feeds(&raw[..open]);
                return Err(never_closed(self.name, origin, used, feeds));
            }
            Err(_) => return Ok(None),
        };
        if record.end > bytes_max {
            return Err(too_long(self.name, origin, used, bytes_max));
        }
        let refused = |message: String| in_record(self.name, origin, used, message);
        if record.fields > columns_max {
            let fields = record.fields;
            return Err(refused(format!(
                "has {fields} columns, more than the {columns_max} allowed"
            )));
        }
        if !self.header {
            let names = (1..=record.fields).map(unnamed).collect();
            return Ok(Some((Some(names), used)));
        }
        let (row, dialect) = (used.row(record.end), self.scanner.dialect());
        Utf8::default().check(raw, row).map_err(refused)?;
        if let Some(at) = record.stray {
            return Err(refused(stray_quote(raw, row, at, dialect)));
        }
        let names = names(raw, &spans, dialect.quote, self.limits.column_name_bytes_max).map_err(refused)?;
        used.record(record.next, record.line_feeds + 1);
        Ok(Some((Some(names), used)))
    }
}

/// The names in a header. A column without one, as spreadsheets leave them at the end, is named by its
/// number.
fn names(raw: &[u8], spans: &[Span], quote: u8, bytes_max: usize) -> Result<Vec<String>, String> {
    let mut names = Vec::with_capacity(spans.len());
    let mut numbers = HashMap::with_capacity(spans.len());
    for (number, span) in (1..).zip(spans) {
        let mut text = Vec::new();
        unquote(span.of(raw), quote, &mut text);
        let name = match String::from_utf8_lossy(&text) {
            name if name.is_empty() => unnamed(number),
            name => name.into_owned(),
        };
        if name.len() > bytes_max {
            return Err(long_name(name.as_bytes(), bytes_max));
        }
        if let Some(earlier) = numbers.insert(name.clone(), number) {
            return Err(format!(
                "columns {earlier} and {number} are both named \"{}\"; each needs a name of its own",
                clip(name.as_bytes())
            ));
        }
        names.push(name);
    }
    Ok(names)
}

fn unnamed(number: usize) -> String {
    format!("column_{number}")
}

fn stray_quote(raw: &[u8], row: Row, at: usize, dialect: Dialect) -> String {
    let (quote, byte) = (char::from(dialect.quote), at - row.start as usize + 1);
    if raw[at] == dialect.quote {
        format!("{quote} at byte {byte} of the record, within a field that does not begin with one")
    } else {
        format!("text at byte {byte} of the record, after the {quote} that ends the field")
    }
}

/// The error for a record with a quote that opens after so many line feeds, and then nothing but text.
fn never_closed(name: &str, origin: &Origin, used: Used, line_feeds: usize) -> Error {
    let line = origin.0.line + u64::from(used.lines) + line_feeds as u64;
    in_record(
        name,
        origin,
        used,
        format_args!("the quote that opens on line {line} is never closed"),
    )
}
