//! CSV in, batches out. What well-formed means is said in [`crate::format::csv`].
//!
//! CSV as found, and what happens:
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
//! | UTF-16 | an error that says so, if there is a byte order mark |
//! | an empty line | passed over and not counted, as most readers do |
//! | more or fewer fields than the header | malformed, `ragged-row` |
//! | a delimiter at the end of a line | one more field: a column if the header has it too, else `ragged-row` |
//! | no line end after the last record | makes no difference |
//! | one column | a record each line; an empty field is written `""`, since an empty line is none |
//! | a header and nothing else | no records |
//! | an empty file, or only empty lines | an error: nothing tells the columns |
//! | two columns of one name | an error |
//! | a column without a name | is `column_N`, with its number |
//! | a name, a record or a number of columns beyond its limit | an error; a field is as long as its record |
//! | white space around a field | is text |

use std::collections::HashMap;
use std::io::Read;

use super::input::{Input, Used, Utf8};
use super::{Decoder, check_reads, long_name};
use crate::batch::{Batch, Malformed, Row};
use crate::config::Limits;
use crate::error::{Error, Result};
use crate::format::csv::{Dialect, Partial, Record, Scanner, line_end, line_feeds, unquote};
use crate::format::{Span, clip};

/// A stream of CSV records.
pub(super) struct CsvDecoder {
    input: Input,
    columns: Vec<String>,
    cutter: Cutter,
}

/// Cuts a buffer into records.
struct Cutter {
    scanner: Scanner,
    /// How many fields a record has.
    width: usize,
    /// The columns that are read, increasing.
    wanted: Vec<usize>,
    /// The columns that are read, in the order of [`Batch::fields`]: indices into `wanted`.
    order: Vec<usize>,
    /// Where the fields of `wanted` are in the record at hand.
    spans: Vec<Span>,
}

impl CsvDecoder {
    /// Reads the header, or the first record to count its fields.
    ///
    /// # Errors
    /// If there is none, it is malformed, has too many columns, or two of the same name; those of the reader.
    pub(super) fn open(
        reader: Box<dyn Read + Send>,
        name: &str,
        dialect: Dialect,
        header: bool,
        limits: &Limits,
    ) -> Result<Self> {
        let scanner = Scanner::new(dialect);
        let mut input = Input::open(reader, name, limits, u64::from(!header))?;
        let (columns, used) =
            input.scan(|input, raw, last| columns(input, raw, last, scanner, header, limits))?;
        input.take(used);
        let cutter = Cutter {
            scanner,
            width: columns.len(),
            wanted: Vec::new(),
            order: Vec::new(),
            spans: Vec::new(),
        };
        Ok(Self {
            input,
            columns,
            cutter,
        })
    }
}

impl Decoder for CsvDecoder {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn project(&mut self, reads: &[usize], more: &[String]) -> Result<()> {
        if let Some(name) = more.first() {
            return Err(self.input.error(format_args!(
                "column {:?} cannot be looked for in CSV: it has a header",
                clip(name.as_bytes())
            )));
        }
        check_reads(reads, self.columns.len()).map_err(|message| self.input.error(message))?;
        let mut wanted = reads.to_vec();
        wanted.sort_unstable();
        self.cutter.order = reads
            .iter()
            .filter_map(|read| wanted.binary_search(read).ok())
            .collect();
        self.cutter.wanted = wanted;
        Ok(())
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        let Self { input, cutter, .. } = self;
        loop {
            batch.clear();
            let used = input.scan(|input, raw, last| {
                let used = cutter.cut(input, raw, last, batch)?;
                Ok((used.bytes > 0 || last).then_some(used))
            })?;
            input.take_into(batch, used);
            if !batch.is_empty() {
                return Ok(true);
            }
            if input.is_done() {
                return Ok(false);
            }
        }
    }
}

impl Cutter {
    /// Decodes the records that are complete in `raw`, up to as many as a batch has.
    fn cut(&mut self, input: &Input, raw: &[u8], last: bool, batch: &mut Batch) -> Result<Used> {
        let records_max = input.records_max(raw, self.width);
        let mut utf8 = Utf8::default();
        let mut used = Used::default();
        while used.bytes < raw.len() && (used.records as usize) < records_max {
            if matches!(raw[used.bytes], b'\n' | b'\r') {
                let Some(next) = line_end(raw, used.bytes, last) else {
                    break;
                };
                used.blank_line(next);
                continue;
            }
            let record = match self
                .scanner
                .record(raw, used.bytes, last, &self.wanted, &mut self.spans)
            {
                Ok(record) => record,
                Err(partial) if last => return Err(never_closed(input, raw, used, partial)),
                Err(_) => break,
            };
            input.check_length(used, record.end)?;
            let row = used.row(record.end);
            match self.fault(raw, row, record, &mut utf8) {
                None => self.push(raw, row, record.quoted, batch),
                Some((code, reason)) => batch.malformed.push(Malformed { row, code, reason }),
            }
            used.record(record.next, record.line_feeds + 1);
        }
        Ok(used)
    }

    /// What is wrong with a record: first what may be the cause of the rest.
    fn fault(&self, raw: &[u8], row: Row, record: Record, utf8: &mut Utf8) -> Option<(&'static str, String)> {
        if let Err(reason) = utf8.check(raw, row) {
            return Some(("not-utf8", reason));
        }
        if let Some(at) = record.stray {
            return Some(("stray-quote", stray_quote(raw, row, at, self.scanner.dialect())));
        }
        if record.fields != self.width {
            return Some((
                "ragged-row",
                format!("expected {} fields, found {}", self.width, record.fields),
            ));
        }
        None
    }

    /// Adds a record that is well-formed.
    fn push(&self, raw: &[u8], row: Row, quoted: bool, batch: &mut Batch) {
        batch.rows.push(row);
        for &index in &self.order {
            let field = self.spans[index].of(raw);
            if quoted {
                unquote(field, self.scanner.dialect().quote, &mut batch.fields);
            } else {
                batch.fields.extend_from_slice(field);
            }
            batch.ends.push(batch.fields.len() as u32);
        }
    }
}

/// The columns, and the header if it is used up, once the first record is there.
fn columns(
    input: &Input,
    raw: &[u8],
    last: bool,
    scanner: Scanner,
    header: bool,
    limits: &Limits,
) -> Result<Option<(Vec<String>, Used)>> {
    let mut used = Used::default();
    while let Some(b'\n' | b'\r') = raw.get(used.bytes) {
        let Some(next) = line_end(raw, used.bytes, last) else {
            return Ok(None);
        };
        used.blank_line(next);
    }
    if used.bytes == raw.len() {
        return if last {
            Err(input.error("is empty: expected a line that tells the columns"))
        } else {
            Ok(None)
        };
    }
    let columns_max = limits.columns_max;
    let (every, mut spans) = (Vec::from_iter(0..columns_max), Vec::new());
    let record = match scanner.record(raw, used.bytes, last, &every, &mut spans) {
        Ok(record) => record,
        Err(partial) if last => return Err(never_closed(input, raw, used, partial)),
        Err(_) => return Ok(None),
    };
    input.check_length(used, record.end)?;
    let refused = |message: String| input.error_at(used, message);
    if record.fields > columns_max {
        return Err(refused(format!(
            "has {} columns, more than the {columns_max} allowed",
            record.fields
        )));
    }
    if !header {
        return Ok(Some((
            (1..=record.fields).map(unnamed).collect(),
            Used::default(),
        )));
    }
    let row = used.row(record.end);
    Utf8::default().check(raw, row).map_err(refused)?;
    if let Some(at) = record.stray {
        return Err(refused(stray_quote(raw, row, at, scanner.dialect())));
    }
    let names = names(raw, &spans, scanner.dialect().quote, limits.column_name_bytes_max).map_err(refused)?;
    used.record(record.next, record.line_feeds + 1);
    Ok(Some((names, used)))
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
                "columns {earlier} and {number} are both named {:?}; each needs a name of its own",
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

fn never_closed(input: &Input, raw: &[u8], used: Used, partial: Partial) -> Error {
    let Some(open) = partial.quote else {
        return input.error_at(used, "is not complete");
    };
    let line = input.line(used.lines as usize + line_feeds(&raw[used.bytes..open]));
    input.error_at(
        used,
        format_args!("the quote that opens on line {line} is never closed"),
    )
}
