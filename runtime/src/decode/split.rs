//! A reader's bytes go in; the same bytes come out in chunks of whole records. Each chunk can be decoded without the
//! others. The splitter also knows the position in the input, and whether the input has ended.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::sample::has_utf16_mark;
use crate::config::Limits;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::format::BYTE_ORDER_MARK;
use crate::memory::{Held, MemoryShare};
use crate::record::{ChunkError, ChunkOrigin, Position, Used};

/// The number of bytes that are read after a record of the maximum length, to recognize its line end. A CRLF has two
/// bytes. A lone CR is recognized by the byte after it.
const LINE_END_BYTES: usize = 3;

/// The memory that is reserved for a chunk of one long record, as a multiple of the record's length. It covers the
/// record, its fields, and its output or its reject. Before the fields and the output are made, a decoder can use their
/// memory.
const LONG_CHUNK_COPIES: usize = 3;

/// The multiple that is added if the record is rewritten. Each byte of the record can be a quote, and rewriting doubles
/// each quote.
const REWRITTEN_COPIES: usize = 2;

/// A function that returns the end of the last complete record in some bytes, or `None` if no record is complete. The
/// flag is true if nothing follows the bytes.
pub(super) type FindRecordsEnd = Box<dyn Fn(&[u8], bool) -> Option<usize> + Send>;

/// A function that counts the bytes, records and lines of the complete rows at the start of some bytes.
pub(super) type WholeRows = Box<dyn Fn(&[u8]) -> Used + Send>;

/// The rows at the end of an input that are not records.
pub(super) struct Footer {
    pub(super) rows: usize,
    /// A function that counts the complete rows in some bytes, including rows of the footer. It expects that the input
    /// continues after these bytes.
    pub(super) whole_rows: WholeRows,
}

/// A splitter, which cuts an input into chunks.
pub struct Splitter {
    reader: Box<dyn Read + Send>,
    name: String,
    records_end: FindRecordsEnd,
    footer: Option<Footer>,
    /// The bytes that have been read and are not yet in a chunk, up to `filled`. The rest of the buffer is free.
    buffer: Vec<u8>,
    filled: usize,
    /// True if the reader has reached the end of the input.
    ended: bool,
    /// The position of the first byte in `buffer`. Until the first chunk is taken, record, line and offset are all
    /// correct. After that only the offset is correct, because the decoders count the records and lines.
    origin: ChunkOrigin,
    chunk_bytes: usize,
    record_bytes_max: usize,
    memory: MemoryShare,
    /// The memory that is reserved for a buffer of more than the usual length, and for its output.
    held: Held,
    /// The memory that is reserved for the chunk of a long record, as a multiple of the record's length.
    copies: usize,
    /// True if the rest of the input is no longer needed.
    abandoned: Arc<AtomicBool>,
}

/// The position where reading starts: after the skipped lines.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct InputStart {
    /// The number of lines before this position.
    pub(super) lines: u64,
    /// The number of bytes before this position.
    pub(super) bytes: u64,
}

impl InputStart {
    /// Returns the origin of the first chunk. Its first record is at this position, and has the number `record`.
    pub(super) fn at(self, record: u64) -> ChunkOrigin {
        ChunkOrigin(Position {
            record,
            line: 1 + self.lines,
            offset: self.bytes,
        })
    }
}

/// An input whose beginning has been read.
pub(super) struct PeekedInput {
    /// The first bytes, which have been read.
    pub(super) read: Vec<u8>,
    /// True if `read` is the whole input.
    pub(super) has_ended: bool,
    /// The reader of the other bytes.
    pub(super) rest: Box<dyn Read + Send>,
}

/// A part of an input that holds whole records.
#[derive(Debug)]
pub struct Chunk {
    /// The bytes of the records, line ends included.
    pub raw: Vec<u8>,
    /// True if the input is known to end with this chunk.
    pub last: bool,
    /// The memory reserved for the chunk and its output, if it is larger than usual.
    pub held: Held,
}

/// The position after a chunk, from which a later attempt can resume.
#[derive(Debug)]
pub struct ResumePoint {
    /// The position of the next chunk.
    pub origin: ChunkOrigin,
    /// The bytes after this position that have already been read.
    pub read: Vec<u8>,
}

impl Splitter {
    /// Opens an input, and skips a byte order mark at the start of the file. `origin` is the position of the first
    /// record.
    ///
    /// # Errors
    /// Fails if the input is UTF-16 or UTF-32. Returns the reader's errors.
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
            return Ok(splitter); // A byte order mark counts only at the start of the file.
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

    /// Resumes after a chunk of an earlier splitter. `reader` must return the bytes that follow [`ResumePoint::read`].
    pub(super) fn resume(
        reader: Box<dyn Read + Send>,
        name: &str,
        limits: &Limits,
        ResumePoint { origin, read }: ResumePoint,
        records_end: FindRecordsEnd,
    ) -> Self {
        // Positions in a chunk are 32-bit numbers, so the length of a chunk has a maximum.
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

    /// Tells the splitter that the decoder rewrites records. To rewrite a long record, it needs more memory.
    pub(super) fn expect_rewriting(&mut self) {
        self.copies = LONG_CHUNK_COPIES + REWRITTEN_COPIES;
    }

    /// Tells the splitter that `records_end` holds back the last rows as a possible footer. Errors then distinguish a
    /// footer that is too long from a record that is too long.
    pub(super) fn expect_footer(&mut self, footer: Footer) {
        self.footer = Some(footer);
    }

    /// Returns a flag that any thread can set when the rest of the input is no longer needed. The splitter checks the
    /// flag before each read, even within a chunk. If the flag is set, the splitter fails and reads nothing more.
    pub fn abandoned(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.abandoned)
    }

    /// Returns the position of the next chunk. Its record and line are correct only before the first chunk is taken.
    /// The offset is always correct.
    pub fn origin(&self) -> ChunkOrigin {
        self.origin
    }

    /// Returns the bytes that have been read and are not yet in a chunk.
    pub fn read(&self) -> &[u8] {
        self.seen()
    }

    /// Returns whether the input ends after the bytes read so far.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Returns the next chunk, or `None` at the end of the input. A chunk has as many whole records as fit into
    /// `batch_bytes` of [`Limits`], or one longer record with its line end. The content of a chunk depends only on the
    /// input, not on the number of bytes that each read returns. The memory of `spare` is reused.
    ///
    /// # Errors
    /// Fails if a record is longer than its limit. Returns the reader's errors, unchanged if they are errors of this
    /// crate.
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
            buffer = Vec::new(); // The vector held a long record before.
        }
        self.origin.0.offset += end as u64;
        if self.buffer.len() > self.usual_bytes() && end <= self.usual_bytes() {
            return Ok(Some(self.cut_off(end, buffer, last)));
        }
        let left = self.filled - end;
        let held = self.hold(left)?;
        // At the end of the input the new buffer gets no spare room. Filling a buffer of the usual length with zeros
        // would take longer than processing a small file.
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

    /// Returns a chunk with a copy of its bytes. Without the copy, a short chunk would keep the long buffer of an
    /// earlier record in memory.
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

    /// Returns the maximum length of the buffer without a long record, in bytes.
    fn usual_bytes(&self) -> usize {
        2 * self.chunk_bytes
    }

    /// Reserves memory for a chunk of `bytes` bytes and for its output. Reserves nothing if the chunk has no more than
    /// the usual length.
    fn hold(&self, bytes: usize) -> Result<Held> {
        let mut held = self.memory.hold();
        if bytes > self.usual_bytes() {
            held.raise(bytes.saturating_mul(self.copies))?;
        }
        Ok(held)
    }

    /// Calls `scan` with more and more of the next bytes, until `scan` returns a result. The flag given to `scan` is
    /// true if the input ends after these bytes.
    ///
    /// # Errors
    /// Fails if `scan` finds nothing within the maximum length of a record. Returns the errors of `scan` and of the
    /// reader.
    pub(super) fn scan<T>(
        &mut self,
        mut scan: impl FnMut(&[u8], bool, &ChunkOrigin) -> Result<Option<T>>,
    ) -> Result<T> {
        let origin = self.origin;
        self.look(|_, seen, last| scan(seen, last, &origin).map_err(ChunkError::from))
            .map_err(|fault| fault.at(&origin))
    }

    /// Advances past the bytes, records and lines in `used`.
    pub(super) fn take(&mut self, used: Used) {
        self.buffer.copy_within(used.bytes..self.filled, 0);
        self.filled -= used.bytes;
        self.origin.advance(used);
    }

    /// Calls `find` with as many of the next bytes as a chunk usually has. Then calls `find` with more and more bytes
    /// from the same start, until `find` returns a result.
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
                // If one row makes up most of the bytes, this row is too long by itself. An example is a row with a
                // quote that is never closed.
                let is_long_row = used.records == 0 || 2 * used.bytes < bytes_max;
                return Err(ChunkError::new(move |origin| match is_long_row {
                    true => too_long(&name, origin, used, bytes_max),
                    false => long_footer(&name, origin, rows, bytes_max),
                }));
            }
            bytes = (2 * bytes).min(bytes_max);
        }
    }

    /// Returns the bytes that have been read and are not yet in a chunk.
    fn seen(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Reads until the buffer has at least `bytes` bytes or the input ends.
    fn fill(&mut self, bytes: usize) -> Result<()> {
        if self.ended || self.filled >= bytes {
            return Ok(());
        }
        if bytes > self.usual_bytes() {
            self.held.raise(bytes.saturating_mul(self.copies))?;
        }
        if self.buffer.is_empty() {
            self.buffer = vec![0; bytes]; // The system fills a page with zeros only when the page is first used.
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

/// Checks that an input that must be UTF-8 does not begin with the byte order mark of UTF-16 or UTF-32.
///
/// # Errors
/// Returns a message that names the encoding of the byte order mark.
pub(super) fn check_mark(start: &[u8]) -> Result<(), &'static str> {
    match start {
        start if has_utf32_mark(start) => Err(UTF_32),
        start if has_utf16_mark(start) => Err("is UTF-16: say so, with --encoding utf-16"),
        _ => Ok(()),
    }
}

/// Returns whether the first bytes are the byte order mark of UTF-32. Callers must check for UTF-32 before UTF-16,
/// because the byte order mark of UTF-32LE begins with the byte order mark of UTF-16LE.
pub(super) fn has_utf32_mark(start: &[u8]) -> bool {
    matches!(start, [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..])
}

/// The message for an input that begins with the byte order mark of UTF-32.
pub(super) const UTF_32: &str =
    "is UTF-32, which is not supported: make UTF-8 of it first, with `iconv -f UTF-32 -t UTF-8 FILE`";

/// Returns an error about the whole input.
pub(super) fn in_input(name: &str, code: Code, message: impl std::fmt::Display) -> Error {
    Error::permanent(Stage::Decode, code, format!("{name}: {message}"))
}

/// Returns an error about the record that follows `used`.
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

/// Returns the error for a record that is longer than its limit.
pub(super) fn too_long(name: &str, origin: &ChunkOrigin, used: Used, bytes_max: usize) -> Error {
    let message = format!(
        "is longer than the {bytes_max} bytes allowed; is a quote never closed, or is it another format?"
    );
    in_record(name, origin, used, Code::RecordTooLong, message)
}

/// Returns the error for rows that can be the footer, if they are together longer than the maximum length of a record.
fn long_footer(name: &str, origin: &ChunkOrigin, rows: usize, bytes_max: usize) -> Error {
    let rows = match rows {
        1 => "row from here on may be the footer, and is longer, together with what follows,".to_owned(),
        _ => format!("{rows} rows from here on may be the footer, and are longer together"),
    };
    let message = format!("the {rows} than the {bytes_max} bytes allowed: is --skip-footer right?");
    in_record(name, origin, Used::default(), Code::RecordTooLong, message)
}
