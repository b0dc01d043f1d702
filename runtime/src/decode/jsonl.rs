//! JSON objects in, one a line; batches out. A line ends at LF or CRLF, and blank ones are passed over.
//!
//! The columns are the members of the first batch's objects, in the order in which they appear. A line that
//! is not an object or not UTF-8 is malformed, and so is one that has a member twice that the plugin reads:
//! RFC 8259 leaves open which one counts.

use std::collections::HashSet;
use std::io::Read;

use memchr::memchr;
use serde::de::IgnoredAny;

use super::input::{Input, Used, Utf8};
use super::{Decoder, check_reads, long_name};
use crate::batch::{Batch, Malformed, Row};
use crate::config::Limits;
use crate::error::Result;
use crate::format::jsonl::{Keys, Untextual, is_space, members, text, untextual};
use crate::format::{Span, clip};

/// A stream of JSON objects.
pub(super) struct JsonlDecoder {
    input: Input,
    columns: Vec<String>,
    /// How many columns there are, those that the plugin added included.
    width: usize,
    reader: FieldReader,
}

/// The code and the reason of a reject.
type Fault = (&'static str, String);

impl JsonlDecoder {
    /// Reads the first batch to learn the columns.
    ///
    /// # Errors
    /// If there are too many columns; those of the reader.
    pub(super) fn open(reader: Box<dyn Read + Send>, name: &str, limits: &Limits) -> Result<Self> {
        let mut input = Input::open(reader, name, limits, 1)?;
        let columns = loop {
            let (columns, used, last) = input.scan(|input, raw, last| {
                let mut columns = Columns::new(limits);
                let used = objects(input, raw, last, 1, |row, object| {
                    if object.is_ok() {
                        columns.meet(&raw[row.start as usize..row.end as usize]);
                    }
                })?;
                if let Some(fault) = columns.fault {
                    return Err(input.error(fault));
                }
                Ok((used.bytes > 0 || last).then_some((columns.names, used, last)))
            })?;
            if used.records > 0 || last {
                break columns;
            }
            input.take(used);
        };
        Ok(Self {
            input,
            width: columns.len(),
            columns,
            reader: FieldReader::default(),
        })
    }
}

impl Decoder for JsonlDecoder {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn project(&mut self, reads: &[usize], more: &[String]) -> Result<()> {
        let names = || self.columns.iter().chain(more);
        let mut met = HashSet::new();
        if let Some(twice) = names().find(|&name| !met.insert(name)) {
            return Err(self.input.error(format_args!(
                "column {:?} is asked for, but is there already",
                clip(twice.as_bytes())
            )));
        }
        check_reads(reads, met.len()).map_err(|message| self.input.error(message))?;
        let mut slots = vec![None; met.len()];
        for (slot, &read) in reads.iter().enumerate() {
            slots[read] = Some(slot);
        }
        self.width = met.len();
        let keys = Keys::new(names().map(String::as_str));
        self.reader = FieldReader {
            keys,
            slots,
            values: vec![None; reads.len()],
        };
        Ok(())
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        let Self {
            input, reader, width, ..
        } = self;
        loop {
            batch.clear();
            let used = input.scan(|input, raw, last| {
                let used = objects(input, raw, last, *width, |row, object| {
                    match object.and_then(|()| reader.read(&raw[row.start as usize..row.end as usize], batch))
                    {
                        Ok(()) => batch.rows.push(row),
                        Err((code, reason)) => batch.malformed.push(Malformed { row, code, reason }),
                    }
                })?;
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

/// Hands out the lines that are complete in `raw`, up to as many as a batch of so many columns has, each with
/// whether it is an object.
fn objects(
    input: &Input,
    raw: &[u8],
    last: bool,
    columns: usize,
    mut found: impl FnMut(Row, Result<(), Fault>),
) -> Result<Used> {
    let records_max = input.records_max(raw, columns);
    let mut utf8 = Utf8::default();
    let mut used = Used::default();
    while used.bytes < raw.len() && (used.records as usize) < records_max {
        let rest = &raw[used.bytes..];
        let (line, next) = match memchr(b'\n', rest) {
            Some(length) => (&rest[..length], used.bytes + length + 1),
            None if last => (rest, raw.len()),
            None => break,
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.iter().all(|&byte| is_space(byte)) {
            used.blank_line(next);
            continue;
        }
        let row = used.row(used.bytes + line.len());
        input.check_length(used, row.end as usize)?;
        let object = utf8
            .check(raw, row)
            .map_err(|reason| ("not-utf8", reason))
            .and_then(|()| check_object(line));
        found(row, object);
        used.record(next, 1);
    }
    Ok(used)
}

/// Checks that a line is one JSON object.
fn check_object(line: &[u8]) -> Result<(), Fault> {
    let fault = |reason| ("not-json", reason);
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(line) {
        // The message ends with a position in which the line, always 1, would mislead.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        return Err(fault(format!(
            "{message} at byte {} of the record",
            error.column()
        )));
    }
    match line.iter().find(|&&byte| !is_space(byte)) {
        Some(b'{') => Ok(()),
        Some(b'[') => Err(fault("expected an object, found an array".to_owned())),
        _ => Err(fault("expected an object, found a single value".to_owned())),
    }
}

/// The columns in the order of their appearance.
struct Columns {
    names: Vec<String>,
    names_max: usize,
    name_bytes_max: usize,
    /// Why there are no more of them.
    fault: Option<String>,
    met: HashSet<Vec<u8>>,
    text: Vec<u8>,
}

impl Columns {
    fn new(limits: &Limits) -> Self {
        Self {
            names: Vec::new(),
            names_max: limits.columns_max,
            name_bytes_max: limits.column_name_bytes_max,
            fault: None,
            met: HashSet::new(),
            text: Vec::new(),
        }
    }

    fn meet(&mut self, object: &[u8]) {
        for member in members(object) {
            self.text.clear();
            // A key without a text names no column.
            if text(member.key.of(object), &mut self.text).is_err() || self.met.contains(&self.text) {
                continue;
            }
            if self.fault.is_some() {
                return;
            }
            if self.text.len() > self.name_bytes_max {
                self.fault = Some(long_name(&self.text, self.name_bytes_max));
            } else if self.names.len() == self.names_max {
                self.fault = Some(format!("has more than the {} columns allowed", self.names_max));
            } else {
                self.names.push(String::from_utf8_lossy(&self.text).into_owned());
                self.met.insert(self.text.clone());
            }
        }
    }
}

/// Takes the fields that the plugin reads out of objects.
#[derive(Default)]
struct FieldReader {
    keys: Keys,
    /// For each column where it is among those read, if it is.
    slots: Vec<Option<usize>>,
    /// For each column read where its value is in the record at hand.
    values: Vec<Option<Span>>,
}

impl FieldReader {
    /// Appends the fields of an object to those of the batch.
    fn read(&mut self, object: &[u8], batch: &mut Batch) -> Result<(), Fault> {
        self.values.fill(None);
        let mut guess = 0;
        for member in members(object) {
            let key = member.key.of(object);
            let Some(column) = self
                .keys
                .find(key, guess)
                .map_err(|Untextual| ("not-json", untextual(key)))?
            else {
                continue;
            };
            guess = column + 1;
            if let Some(slot) = self.slots[column]
                && self.values[slot].replace(member.value).is_some()
            {
                let key = clip(key);
                return Err((
                    "duplicate-member",
                    format!("member {key} stands there more than once"),
                ));
            }
        }
        let (fields, ends) = (batch.fields.len(), batch.ends.len());
        for value in &self.values {
            let value = value.map_or(&b""[..], |value| value.of(object));
            if text(value, &mut batch.fields).is_err() {
                batch.fields.truncate(fields);
                batch.ends.truncate(ends);
                return Err(("not-json", untextual(value)));
            }
            batch.ends.push(batch.fields.len() as u32);
        }
        Ok(())
    }
}
