//! JSON objects go in, one on each line; batches of records come out. A line ends at LF or CRLF, and blank lines are
//! skipped.
//!
//! The columns are the members of the first objects, in the order of their first appearance. [`super::open`] says how
//! many objects are read for this. A line is malformed if it is not an object or not UTF-8. A line is also malformed if
//! its object has two members of the same name, whether or not the plugin reads them: RFC 8259 does not say which of
//! the two counts.

use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;

use memchr::{memchr, memrchr};
use serde::de::IgnoredAny;

use super::split::{InputStart, PeekedInput, ResumePoint, Splitter, in_input, too_long};
use super::utf8::{NOT_UTF8, Utf8};
use super::{BatchLimits, Decoder, Decoding, check_reads, long_name};
use crate::config::{COLUMNS_MAX, Limits};
use crate::error::{Code, Result};
use crate::format::csv::Dialect;
use crate::format::jsonl::{Keys, Untextual, is_space, members, text, untextual};
use crate::format::{Format, Span, clip};
use crate::record::{Batch, ChunkError, MalformedRecord, Row, Used};

/// The maximum memory that a decoder keeps for the keys of the next record, in bytes.
const KEPT_BYTES: usize = 1 << 20;

/// The length in bytes of `"":0,`, the shortest member with a comma after it.
const MEMBER_BYTES_MIN: usize = 5;

/// If an object has this many keys that are not names of columns, room is made for all its further keys at once.
const MANY_KEYS: usize = 1 << 16;

/// The code and the reason of a reject.
type CodeAndReason = (&'static str, String);

/// Opens an input, and reads its first records to find the columns.
///
/// # Errors
/// Fails if there are too many columns, or if the name of a column is too long. Returns the reader's errors.
pub(super) fn open(text: PeekedInput, name: &str, limits: &Limits) -> Result<Decoding> {
    let mut splitter = Splitter::open(
        text,
        name,
        limits,
        InputStart::default().at(1),
        Box::new(records_end),
    )?;
    let lines = LineSplitter::new(name, limits);
    let columns = loop {
        let (columns, used, last) = splitter.scan(|raw, last, origin| {
            let Some(end) = records_end(raw, last) else {
                return Ok(None);
            };
            let mut columns = ColumnNames::new(limits);
            let used = lines
                .objects(&raw[..end], Used::default(), |row, object| {
                    if object.is_ok() {
                        columns.add(&raw[row.start as usize..row.end as usize]);
                    }
                })
                .map_err(|fault| fault.at(origin))?;
            if let Some(fault) = columns.fault {
                return Err(in_input(name, Code::HeaderInvalid, fault));
            }
            if columns.seen.len() > limits.columns_max {
                let message = limits.too_many_columns(columns.seen.len());
                return Err(in_input(name, Code::HeaderInvalid, message));
            }
            Ok(Some((columns.names, used, last)))
        })?;
        if used.records > 0 || last {
            break columns;
        }
        splitter.take(used);
    };
    Ok(decoding(splitter, lines, columns))
}

/// Resumes an input at `rest`, where a line begins.
pub(super) fn resume(
    reader: Box<dyn Read + Send>,
    name: &str,
    rest: ResumePoint,
    columns: Vec<String>,
    limits: &Limits,
) -> Decoding {
    let splitter = Splitter::resume(reader, name, limits, rest, Box::new(records_end));
    decoding(splitter, LineSplitter::new(name, limits), columns)
}

fn decoding(splitter: Splitter, lines: LineSplitter, columns: Vec<String>) -> Decoding {
    let decoder = JsonlDecoder {
        lines: LineSplitter {
            columns: columns.len(),
            ..lines
        },
        names: columns.clone(),
        reader: FieldReader::default(),
    };
    Decoding {
        splitter,
        decoder: Box::new(decoder),
        columns,
        format: Format::Jsonl,
        dialect: Dialect::default(),
        is_transcoded: false,
    }
}

/// Returns the end of the last complete line in `raw`, or `None` if no line is complete. If `last` is true, nothing
/// follows `raw`, so its last line is complete.
fn records_end(raw: &[u8], last: bool) -> Option<usize> {
    if last {
        return Some(raw.len());
    }
    memrchr(b'\n', raw).map(|feed| feed + 1)
}

/// The decoder of JSONL.
#[derive(Clone)]
struct JsonlDecoder {
    lines: LineSplitter,
    names: Vec<String>,
    reader: FieldReader,
}

impl Decoder for JsonlDecoder {
    fn project(&mut self, reads: &[usize], more: &[String]) -> Result<()> {
        let names = || self.names.iter().chain(more);
        let mut names_seen = HashSet::new();
        if let Some(twice) = names().find(|&name| !names_seen.insert(name)) {
            let name = clip(twice.as_bytes());
            let message = format_args!("column \"{name}\" is asked for, but is there already");
            return Err(in_input(&self.lines.name, Code::PluginPlan, message));
        }
        check_reads(reads, names_seen.len())
            .map_err(|message| in_input(&self.lines.name, Code::PluginPlan, message))?;
        let mut slots = vec![None; names_seen.len()];
        for (slot, &read) in reads.iter().enumerate() {
            slots[read] = Some(slot);
        }
        self.lines.columns = names_seen.len();
        self.reader = FieldReader {
            name_bytes_max: self.lines.name_bytes_max,
            keys: Keys::new(names().map(String::as_str)),
            last_objects: vec![0; names_seen.len()],
            slots,
            values: vec![None; reads.len()],
            ..FieldReader::default()
        };
        Ok(())
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool, ChunkError> {
        batch.clear();
        let (lines, reader) = (&self.lines, &mut self.reader);
        // The bytes are taken out of the batch, so that records can be added to the batch while the bytes are read.
        let raw = std::mem::take(&mut batch.raw);
        let read = lines.objects(&raw, batch.used, |row, object| {
            match object.and_then(|()| reader.read(&raw[row.start as usize..row.end as usize], batch)) {
                Ok(()) => batch.rows.push(row),
                Err((code, reason)) => batch.malformed.push(MalformedRecord { row, code, reason }),
            }
        });
        batch.raw = raw;
        batch.used = read?;
        Ok(!batch.is_empty())
    }

    fn fork(&self) -> Box<dyn Decoder> {
        Box::new(self.clone())
    }
}

/// A splitter that cuts chunks into lines.
#[derive(Clone)]
struct LineSplitter {
    name: Arc<str>,
    limits: BatchLimits,
    /// The maximum length of a member's name, in bytes.
    name_bytes_max: usize,
    /// The number of columns, including the members that the plugin asked for in addition.
    columns: usize,
}

impl LineSplitter {
    fn new(name: &str, limits: &Limits) -> Self {
        Self {
            name: name.into(),
            limits: BatchLimits::new(limits),
            name_bytes_max: limits.column_name_bytes_max,
            columns: 1,
        }
    }

    /// Calls `found` for each line after `used` that is not blank, until a batch is full. If the line is not an object
    /// in UTF-8, the second argument of `found` is the code and the reason of the reject.
    fn objects(
        &self,
        raw: &[u8],
        mut used: Used,
        mut found: impl FnMut(Row, Result<(), CodeAndReason>),
    ) -> Result<Used, ChunkError> {
        let mut utf8 = Utf8::default();
        let mut records_left = self.limits.records_max(self.columns);
        while used.bytes < raw.len() && records_left > 0 {
            let rest = &raw[used.bytes..];
            let (line, next) = match memchr(b'\n', rest) {
                Some(length) => (&rest[..length], used.bytes + length + 1),
                None => (rest, raw.len()),
            };
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.iter().all(|&byte| is_space(byte)) {
                used.blank_line(next);
                continue;
            }
            if line.len() > self.limits.record_bytes_max {
                let (name, bytes_max) = (Arc::clone(&self.name), self.limits.record_bytes_max);
                return Err(ChunkError::new(move |origin| {
                    too_long(&name, origin, used, bytes_max)
                }));
            }
            let row = used.row(used.bytes + line.len());
            let object = utf8
                .check(raw, row)
                .map_err(|reason| (NOT_UTF8, reason))
                .and_then(|()| check_object(line));
            found(row, object);
            used.record(next, 1);
            records_left -= 1;
        }
        Ok(used)
    }
}

/// Checks that a line is one JSON object.
fn check_object(line: &[u8]) -> Result<(), CodeAndReason> {
    let fault = |reason| ("not-json", reason);
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(line) {
        // The message of serde_json ends with a line and a column. The number of the line is always 1 and would
        // mislead.
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

/// The names of the columns, in the order of their first appearance.
struct ColumnNames {
    names: Vec<String>,
    names_max: usize,
    name_bytes_max: usize,
    /// The message about a name that is too long.
    fault: Option<String>,
    seen: HashSet<Vec<u8>>,
    text: Vec<u8>,
}

impl ColumnNames {
    fn new(limits: &Limits) -> Self {
        Self {
            names: Vec::new(),
            names_max: limits.columns_max,
            name_bytes_max: limits.column_name_bytes_max,
            fault: None,
            seen: HashSet::new(),
            text: Vec::new(),
        }
    }

    fn add(&mut self, object: &[u8]) {
        for member in members(object) {
            self.text.clear();
            // A key that has no text, because it has half of a surrogate pair, names no column.
            if text(member.key.of(object), &mut self.text).is_err() || self.seen.contains(&self.text) {
                continue;
            }
            if self.fault.is_some() {
                return;
            }
            if self.text.len() > self.name_bytes_max {
                self.fault = Some(long_name(&self.text, self.name_bytes_max));
            } else if self.seen.len() <= COLUMNS_MAX {
                // Names over the limit are counted, because the error gives their number.
                if self.names.len() < self.names_max {
                    self.names.push(String::from_utf8_lossy(&self.text).into_owned());
                }
                self.seen.insert(self.text.clone());
            }
        }
    }
}

/// A reader that extracts from objects the fields that the plugin reads.
#[derive(Clone, Default)]
struct FieldReader {
    keys: Keys,
    /// The number of objects read, including the current one.
    objects: u64,
    /// For each column, the number of the last object that had it.
    last_objects: Vec<u64>,
    /// For each column, its index among the columns that the plugin reads, or `None` if the plugin does not read it.
    slots: Vec<Option<usize>>,
    /// For each column that the plugin reads, the span of its value in the current record.
    values: Vec<Option<Span>>,
    /// The maximum length of a member's name, in bytes.
    name_bytes_max: usize,
    others: UnknownKeys,
}

/// The keys of an object that are not names of columns.
///
/// The keys of a long record use the memory that is reserved for its fields and its output. This memory is free again
/// before the fields and the output are made.
///
/// Each key needs eight bytes, and its member has at least five bytes in the record. So the keys need at most 1.6 times
/// the length of the record. The texts of keys with escapes do not raise this maximum, because such a text is shorter
/// than its key.
#[derive(Clone, Default)]
struct UnknownKeys {
    /// The spans of the keys in the object, without quotes. For a key with escapes, this is the span of its text in
    /// `names`, with the length of the object added to the start and the end.
    keys: Vec<[u32; 2]>,
    /// The unescaped texts of the keys with escapes, concatenated.
    names: Vec<u8>,
}

impl FieldReader {
    /// Appends the fields of an object to the fields of the batch.
    fn read(&mut self, object: &[u8], batch: &mut Batch) -> Result<(), CodeAndReason> {
        let found = self.find(object);
        self.others.clear();
        found?;
        let (fields, ends) = (batch.fields.len(), batch.ends.len());
        for value in &self.values {
            let value = value.map_or(&b""[..], |value| value.of(object));
            if text(value, &mut batch.fields).is_err() {
                batch.fields.truncate(fields);
                batch.ends.truncate(ends);
                return Err(("not-json", untextual(value)));
            }
            batch.ends.push(batch.fields.len() as u32);
            batch.fields.push(mark(value));
        }
        batch.starts.push(fields as u32);
        Ok(())
    }

    /// Finds the values that the plugin reads, and checks that the object has no two members of the same name.
    fn find(&mut self, object: &[u8]) -> Result<(), CodeAndReason> {
        self.values.fill(None);
        self.objects += 1;
        let mut guess = 0;
        for member in members(object) {
            let key = member.key.of(object);
            let known = self.keys.find(key, guess);
            let Some(column) = known.map_err(|Untextual| ("not-json", untextual(key)))? else {
                self.others.push(object, member.key, self.name_bytes_max)?;
                continue;
            };
            guess = column + 1;
            if std::mem::replace(&mut self.last_objects[column], self.objects) == self.objects {
                return Err(duplicate(key));
            }
            if let Some(slot) = self.slots[column] {
                self.values[slot] = Some(member.value);
            }
        }
        self.others
            .duplicate(object)
            .map_or(Ok(()), |key| Err(duplicate(key)))
    }
}

/// Returns the byte that follows a field in the batch. This byte distinguishes a string from another value with the
/// same text.
fn mark(value: &[u8]) -> u8 {
    if value.first() == Some(&b'"') { b'"' } else { b'\n' }
}

fn duplicate(key: &[u8]) -> CodeAndReason {
    let reason = format!("member {} stands there more than once", clip(key));
    ("duplicate-member", reason)
}

/// Checks the length of the name of a late member. The names of columns have the same limit.
fn check_late(name: &[u8], bytes_max: usize) -> Result<(), CodeAndReason> {
    match name.len() {
        bytes if bytes > bytes_max => Err(("unexpected-member", too_long_member(name, bytes_max))),
        _ => Ok(()),
    }
}

#[cold]
fn too_long_member(name: &[u8], bytes_max: usize) -> String {
    let (name, bytes) = (clip(name), name.len());
    format!("the name of member {name} has {bytes} bytes, more than the {bytes_max} allowed")
}

impl UnknownKeys {
    /// Removes all keys. If the vectors are long, also frees their memory.
    fn clear(&mut self) {
        self.keys.clear();
        self.names.clear();
        if size_of::<[u32; 2]>() * self.keys.capacity() + self.names.capacity() > KEPT_BYTES {
            *self = Self::default();
        }
    }

    /// Adds a key.
    ///
    /// # Errors
    /// Returns the reason of the reject if the key has no text, or a text of more than `bytes_max` bytes.
    fn push(&mut self, object: &[u8], key: Span, bytes_max: usize) -> Result<(), CodeAndReason> {
        if self.keys.len() == MANY_KEYS {
            // Makes room for all keys that can follow. Without this, the vector would grow step by step, and during
            // each step it would be in memory twice.
            let more = (object.len() - key.start) / MEMBER_BYTES_MIN + 1;
            self.keys.reserve_exact(more);
        }
        let (start, end) = (key.start + 1, key.end - 1);
        if memchr(b'\\', &object[start..end]).is_none() {
            check_late(&object[start..end], bytes_max)?;
            self.keys.push([start, end].map(|at| at as u32));
            return Ok(());
        }
        let start = object.len() + self.names.len();
        let key = key.of(object);
        text(key, &mut self.names).map_err(|Untextual| ("not-json", untextual(key)))?;
        let end = object.len() + self.names.len();
        check_late(&self.names[start - object.len()..], bytes_max)?;
        self.keys.push([start, end].map(|at| at as u32));
        Ok(())
    }

    /// Returns the second of two keys with the same name, or `None` if all names differ. If several names occur twice,
    /// returns a key with the first of these names in byte order.
    fn duplicate<'a>(&mut self, object: &'a [u8]) -> Option<&'a [u8]> {
        if self.keys.len() < 2 {
            return None;
        }
        let names = &*self.names;
        self.keys.sort_unstable_by_key(|&key| name(object, names, key));
        let mut names = self.keys.iter().map(|&key| name(object, names, key));
        let mut before = names.next()?;
        let twice = names.find(|name| std::mem::replace(&mut before, name) == *name)?;
        second(object, twice)
    }
}

/// Returns the text of a key of [`UnknownKeys`].
#[inline]
fn name<'a>(object: &'a [u8], names: &'a [u8], key: [u32; 2]) -> &'a [u8] {
    let [start, end] = key.map(|at| at as usize);
    match start.checked_sub(object.len()) {
        Some(start) => &names[start..end - object.len()],
        None => &object[start..end],
    }
}

/// Returns the second of the keys with this name in an object.
#[cold]
fn second<'a>(object: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut key_text = Vec::new();
    members(object)
        .map(|member| member.key.of(object))
        .filter(|key| {
            key_text.clear();
            text(key, &mut key_text).is_ok() && key_text == name
        })
        .nth(1)
}
