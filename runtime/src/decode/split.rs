//! A reader's bytes in, the same bytes out in chunks of whole records, which can then be decoded apart from each
//! other. Here stands what is known of the input as a whole: how much of it was read and where it ends.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::sample::has_utf16_mark;
use crate::config::Limits;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::format::BYTE_ORDER_MARK;
use crate::memory::{Held, MemoryShare};
use crate::record::{ChunkError, ChunkOrigin, Position, Used};

/// CRLF, and one byte more, which tells that a lone CR is one.
const LINE_END_BYTES: usize = 3;

/// What a chunk of one long record is held for, in memory: itself, its fields, and its output or its reject. Before these two
/// are made, a decoder may use their memory.
const LONG_CHUNK_COPIES: usize = 3;

/// What is held besides if the record is rewritten: each of its bytes may be a quote, which is then doubled.
const REWRITTEN_COPIES: usize = 2;

/// Where the last complete record of some bytes ends; it is told whether nothing follows them.
pub(super) type FindRecordsEnd = Box<dyn Fn(&[u8], bool) -> Option<usize> + Send>;

/// What the whole rows at the beginning of some bytes use.
pub(super) type WholeRows = Box<dyn Fn(&[u8]) -> Used + Send>;

/// The rows at the end of an input that are no records.
pub(super) struct Footer {
    pub(super) rows: usize,
    /// What the rows in some bytes use, also those of the footer, if more bytes follow.
    pub(super) whole_rows: WholeRows,
}

/// An input on its way into chunks.
pub struct Splitter {
    reader: Box<dyn Read + Send>,
    name: String,
    records_end: FindRecordsEnd,
    footer: Option<Footer>,
    /// What has been read is in front, up to `filled`; the rest is room.
    buffer: Vec<u8>,
    filled: usize,
    /// Whether the reader has come to its end.
    ended: bool,
    /// Where the bytes that come next stand. It is kept up to date while the columns are looked for; after that
    /// only those who decode know the records, and here only the offset is.
    origin: ChunkOrigin,
    chunk_bytes: usize,
    record_bytes_max: usize,
    memory: MemoryShare,
    /// For the buffer, if it is longer than a usual one, and what will be made of it.
    held: Held,
    /// What a chunk of one long record is held for.
    copies: usize,
    /// Whether nobody wants the rest.
    abandoned: Arc<AtomicBool>,
}

/// Where an input begins to be read: behind the lines that are skipped.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct InputStart {
    /// How many lines come before it.
    pub(super) lines: u64,
    /// How many bytes.
    pub(super) bytes: u64,
}

impl InputStart {
    /// The place of a first record of this number.
    pub(super) fn at(self, record: u64) -> ChunkOrigin {
        ChunkOrigin(Position {
            record,
            line: 1 + self.lines,
            offset: self.bytes,
        })
    }
}

/// An input whose beginning was read.
pub(super) struct PeekedInput {
    /// Its first bytes.
    pub(super) read: Vec<u8>,
    /// Whether there are no others.
    pub(super) has_ended: bool,
    /// Gives the other ones.
    pub(super) rest: Box<dyn Read + Send>,
}

/// Some whole records of an input.
#[derive(Debug)]
pub struct Chunk {
    /// Their bytes, line ends included.
    pub raw: Vec<u8>,
    /// Whether the input is known to end with them.
    pub last: bool,
    /// The memory for them and what is made of them, if they are more than usual.
    pub held: Held,
}

/// What comes behind some chunk of an input.
#[derive(Debug)]
pub struct ResumePoint {
    /// Where it begins.
    pub origin: ChunkOrigin,
    /// Its first bytes, as far as they were read.
    pub read: Vec<u8>,
}

impl Splitter {
    /// Starts an input and passes over the byte order mark of its file; `origin` is where the first record begins.
    ///
    /// # Errors
    /// If it is UTF-16 or UTF-32; those of the reader.
    pub(super) fn open(
        PeekedInput {
            read,
            has_ended,
            rest,
        }: PeekedInput,
        name: &str,
        limits: &Limits,
        origin: ChunkOrigin,
        records_end: FindRecordsEnd,
    ) -> Result<Self> {
        let mut splitter = Self::resume(rest, name, limits, ResumePoint { origin, read }, records_end);
        splitter.ended = has_ended;
        splitter.fill(splitter.chunk_bytes)?;
        if origin.0.offset > 0 {
            return Ok(splitter); // A mark is one at the start of the file.
        }
        check_mark(splitter.seen()).map_err(|message| in_input(name, Code::EncodingMismatch, message))?;
        if splitter.seen().starts_with(BYTE_ORDER_MARK) {
            splitter.take(Used {
                bytes: BYTE_ORDER_MARK.len(),
                ..Used::default()
            });
        }
        Ok(splitter)
    }

    /// Goes on where another one was, behind some chunk: the reader gives what that one had not read.
    pub(super) fn resume(
        reader: Box<dyn Read + Send>,
        name: &str,
        limits: &Limits,
        ResumePoint { origin, read }: ResumePoint,
        records_end: FindRecordsEnd,
    ) -> Self {
        // Places in a chunk are numbers of 32 bits.
        let bytes_max = u32::MAX as usize / 4;
        Self {
            reader,
            name: name.to_owned(),
            records_end,
            footer: None,
            filled: read.len(),
            buffer: read,
            ended: false,
            origin,
            chunk_bytes: limits.batch_bytes.clamp(BYTE_ORDER_MARK.len(), bytes_max),
            record_bytes_max: limits.record_bytes_max.min(bytes_max),
            memory: limits.memory.clone(),
            held: limits.memory.hold(),
            copies: LONG_CHUNK_COPIES,
            abandoned: Arc::default(),
        }
    }

    /// Makes room for records that are rewritten before their fields are taken.
    pub(super) fn expect_rewriting(&mut self) {
        self.copies = LONG_CHUNK_COPIES + REWRITTEN_COPIES;
    }

    /// Says that `records_end` holds back the last rows, so that an error tells them from a long record.
    pub(super) fn expect_footer(&mut self, footer: Footer) {
        self.footer = Some(footer);
    }

    /// To be set when nobody wants the rest, from any thread: no more is read then, however slowly it comes.
    pub fn abandoned(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.abandoned)
    }

    /// Where the next chunk begins, before the first one was taken; after that only its offset is kept.
    pub fn origin(&self) -> ChunkOrigin {
        self.origin
    }

    /// What has been read of the next chunks.
    pub fn read(&self) -> &[u8] {
        self.seen()
    }

    /// Whether nothing comes behind what has been read.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next chunk, none at the end of the input. It has as many records as `batch_bytes` of [`Limits`] hold, or one
    /// and what came with it: what it holds depends on the input alone, not on how the reader parts it. `spare` is
    /// a vector to use again.
    ///
    /// # Errors
    /// Those of the reader, unchanged if they are this crate's; a record beyond its limit.
    pub fn next(&mut self, spare: Vec<u8>) -> Result<Option<Chunk>, ChunkError> {
        let end = self.look(|splitter, seen, last| {
            let end = (splitter.records_end)(seen, last);
            Ok(end.map(|end| (end, last)))
        })?;
        let (end, last) = end;
        if end == 0 {
            return Ok(None);
        }
        let mut buffer = spare;
        if buffer.capacity() > self.usual_bytes() {
            buffer = Vec::new(); // A long record was in it.
        }
        self.origin.0.offset += end as u64;
        if self.buffer.len() > self.usual_bytes() && end <= self.usual_bytes() {
            return Ok(Some(self.cut_off(end, buffer, last)));
        }
        let left = self.filled - end;
        let held = self.hold(left)?;
        // Without room for more if there is none: to fill a usual buffer with zeros takes longer than a small file.
        let bytes = if self.ended {
            left
        } else {
            self.chunk_bytes.max(left)
        };
        buffer.resize(bytes, 0);
        buffer[..left].copy_from_slice(&self.buffer[end..self.filled]);
        let mut raw = std::mem::replace(&mut self.buffer, buffer);
        self.filled = left;
        raw.truncate(end);
        let held = std::mem::replace(&mut self.held, held);
        Ok(Some(Chunk { raw, last, held }))
    }

    /// A chunk of which the bytes are copied: what is in the buffer for a long record is not handed on with a short one.
    fn cut_off(&mut self, end: usize, mut raw: Vec<u8>, last: bool) -> Chunk {
        raw.clear();
        raw.extend_from_slice(&self.buffer[..end]);
        self.buffer.copy_within(end..self.filled, 0);
        self.filled -= end;
        if self.filled <= self.usual_bytes() {
            self.buffer.truncate(self.usual_bytes());
            self.buffer.shrink_to_fit();
            self.held.lower(0);
        }
        let held = self.memory.hold();
        Chunk { raw, last, held }
    }

    /// What a buffer has without a long record.
    fn usual_bytes(&self) -> usize {
        2 * self.chunk_bytes
    }

    /// Memory for a chunk of so many bytes and what is made of it; none if it is a usual one.
    fn hold(&self, bytes: usize) -> Result<Held> {
        let mut held = self.memory.hold();
        if bytes > self.usual_bytes() {
            held.raise(bytes.saturating_mul(self.copies))?;
        }
        Ok(held)
    }

    /// Looks for what stands before the first record: reads on until `scan` finds it in the bytes that come next; it
    /// is told whether they are the last ones.
    ///
    /// # Errors
    /// If it finds nothing in the longest record that is allowed, and its own ones.
    pub(super) fn scan<T>(
        &mut self,
        mut scan: impl FnMut(&[u8], bool, &ChunkOrigin) -> Result<Option<T>>,
    ) -> Result<T> {
        let origin = self.origin;
        self.look(|_, seen, last| scan(seen, last, &origin).map_err(ChunkError::from))
            .map_err(|fault| fault.at(&origin))
    }

    /// Goes on after what was used.
    pub(super) fn take(&mut self, used: Used) {
        self.buffer.copy_within(used.bytes..self.filled, 0);
        self.filled -= used.bytes;
        self.origin.advance(used);
    }

    /// Shows as many bytes as a chunk has and then, from the same start, ever more.
    fn look<T>(
        &mut self,
        mut find: impl FnMut(&Self, &[u8], bool) -> Result<Option<T>, ChunkError>,
    ) -> Result<T, ChunkError> {
        let bytes_max = self.record_bytes_max + LINE_END_BYTES;
        let mut bytes = self.chunk_bytes;
        loop {
            self.fill(bytes)?;
            let seen = &self.seen()[..bytes.min(self.filled)];
            if let Some(found) = find(self, seen, self.ended && seen.len() == self.filled)? {
                return Ok(found);
            }
            if bytes >= bytes_max {
                let (name, bytes_max) = (self.name.clone(), self.record_bytes_max);
                let footer = self.footer.as_ref();
                let (rows, used) = footer.map_or((0, Used::default()), |footer| {
                    (footer.rows, (footer.whole_rows)(seen))
                });
                // A row that is most of it is too long by itself, as one with a quote that is never closed.
                let is_long_row = used.records == 0 || 2 * used.bytes < bytes_max;
                return Err(ChunkError::new(move |origin| match is_long_row {
                    true => too_long(&name, origin, used, bytes_max),
                    false => long_footer(&name, origin, rows, bytes_max),
                }));
            }
            bytes = (2 * bytes).min(bytes_max);
        }
    }

    /// What has been read and not yet taken.
    fn seen(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Reads until there are `bytes` bytes or the input ends.
    fn fill(&mut self, bytes: usize) -> Result<()> {
        if self.ended || self.filled >= bytes {
            return Ok(());
        }
        if bytes > self.usual_bytes() {
            self.held.raise(bytes.saturating_mul(self.copies))?;
        }
        if self.buffer.is_empty() {
            self.buffer = vec![0; bytes]; // Zeroed by the system, page by page as it is used.
        } else if self.buffer.len() < bytes {
            self.buffer.resize(bytes, 0);
        }
        while self.filled < bytes && !self.ended {
            if self.abandoned.load(Ordering::Relaxed) {
                return Err(Error::transient(
                    Stage::Decode,
                    Code::Stopped,
                    "nobody wants the rest of the input",
                ));
            }
            match self.reader.read(&mut self.buffer[self.filled..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let place = self.origin.0.offset + self.filled as u64;
                    let message = format!("{}: reading failed after byte {place}", self.name);
                    return Err(Error::from_io(
                        error,
                        Stage::Decode,
                        Class::Transient,
                        Code::InputUnreadable,
                        message,
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Looks at the first bytes of an input that is to be UTF-8.
///
/// # Errors
/// If they are the byte order mark of another encoding, as a sentence.
pub(super) fn check_mark(start: &[u8]) -> Result<(), &'static str> {
    match start {
        start if has_utf32_mark(start) => Err(UTF_32),
        start if has_utf16_mark(start) => Err("is UTF-16: say so, with --encoding utf-16"),
        _ => Ok(()),
    }
}

/// Whether the first bytes are a byte order mark of UTF-32. Those of UTF-16 are the beginning of one.
pub(super) fn has_utf32_mark(start: &[u8]) -> bool {
    matches!(start, [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..])
}

/// About an input whose first bytes are a byte order mark of UTF-32.
pub(super) const UTF_32: &str =
    "is UTF-32, which is not supported: make UTF-8 of it first, with `iconv -f UTF-32 -t UTF-8 FILE`";

/// An error that concerns the whole input.
pub(super) fn in_input(name: &str, code: Code, message: impl std::fmt::Display) -> Error {
    Error::permanent(Stage::Decode, code, format!("{name}: {message}"))
}

/// An error that concerns the record after what was used.
pub(super) fn in_record(
    name: &str,
    origin: &ChunkOrigin,
    used: Used,
    code: Code,
    message: impl std::fmt::Display,
) -> Error {
    let Position { record, line, .. } = origin.position(used.row(used.bytes));
    match record {
        0 => in_input(name, code, format_args!("header (line {line}): {message}")),
        _ => in_input(
            name,
            code,
            format_args!("record {record} (line {line}): {message}"),
        ),
    }
}

/// The error for a record beyond its limit.
pub(super) fn too_long(name: &str, origin: &ChunkOrigin, used: Used, bytes_max: usize) -> Error {
    let message = format!(
        "is longer than the {bytes_max} bytes allowed; is a quote never closed, or is it another format?"
    );
    in_record(name, origin, used, Code::RecordTooLong, message)
}

/// The error for rows that may be the footer and are longer together than a record may be.
fn long_footer(name: &str, origin: &ChunkOrigin, rows: usize, bytes_max: usize) -> Error {
    let rows = match rows {
        1 => "row from here on may be the footer, and is longer, together with what follows,".to_owned(),
        _ => format!("{rows} rows from here on may be the footer, and are longer together"),
    };
    let message = format!("the {rows} than the {bytes_max} bytes allowed: is --skip-footer right?");
    in_record(name, origin, Used::default(), Code::RecordTooLong, message)
}
