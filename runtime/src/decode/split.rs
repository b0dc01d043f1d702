//! A reader's bytes go in, the same bytes come out in chunks of whole records, which can be decoded independently. The splitter
//! also keeps the state of the input as a whole: how much was read, and where it ends.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::sample::has_utf16_mark;
use crate::config::Limits;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::format::BYTE_ORDER_MARK;
use crate::memory::{Held, MemoryShare};
use crate::record::{ChunkError, ChunkOrigin, Position, Used};

/// The bytes needed to recognize a line end: CRLF, and one more to recognize a lone CR.
const LINE_END_BYTES: usize = 3;

/// The memory reserved for a chunk of one long record, as a multiple of its length: for the record, its fields, and its output or
/// its reject. A decoder may use the memory for fields and output before they are made.
const LONG_CHUNK_COPIES: usize = 3;

/// The multiple reserved in addition if the record is rewritten: each of its bytes may be a quote, which is then doubled.
const REWRITTEN_COPIES: usize = 2;

/// Returns the end of the last complete record in some bytes. The flag is true if nothing follows the bytes.
pub(super) type FindRecordsEnd = Box<dyn Fn(&[u8], bool) -> Option<usize> + Send>;

/// Returns how many bytes, records and lines the whole rows at the start of some bytes have.
pub(super) type WholeRows = Box<dyn Fn(&[u8]) -> Used + Send>;

/// The rows at the end of an input that are no records.
pub(super) struct Footer {
    pub(super) rows: usize,
    /// Measures the whole rows in some bytes, including the rows of the footer. The input continues after these bytes.
    pub(super) whole_rows: WholeRows,
}

/// Splits an input into chunks.
pub struct Splitter {
    reader: Box<dyn Read + Send>,
    name: String,
    records_end: FindRecordsEnd,
    footer: Option<Footer>,
    /// The bytes read so far are at the start, up to `filled`. The rest is free.
    buffer: Vec<u8>,
    filled: usize,
    /// True if the reader has ended.
    ended: bool,
    /// The position of the next bytes. Until the columns are known, it has record, line and offset. After that only the decoders
    /// count records and lines, and only the offset is kept here.
    origin: ChunkOrigin,
    chunk_bytes: usize,
    record_bytes_max: usize,
    memory: MemoryShare,
    /// The memory reserved for a buffer longer than usual and for its output.
    held: Held,
    /// The memory reserved for the chunk of a long record, as a multiple of its length.
    copies: usize,
    /// Set when the rest of the input is no longer needed.
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
    /// Returns the position of a first record with this number.
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
    /// The first bytes.
    pub(super) read: Vec<u8>,
    /// True if `read` is the whole input.
    pub(super) has_ended: bool,
    /// Reads the other bytes.
    pub(super) rest: Box<dyn Read + Send>,
}

/// Whole records of an input.
#[derive(Debug)]
pub struct Chunk {
    /// The bytes of the records, line ends included.
    pub raw: Vec<u8>,
    /// True if the input is known to end with this chunk.
    pub last: bool,
    /// The memory reserved for the chunk and its output, if it is larger than usual.
    pub held: Held,
}

/// The position after a chunk of an input, to resume from.
#[derive(Debug)]
pub struct ResumePoint {
    /// The position of the next chunk.
    pub origin: ChunkOrigin,
    /// The bytes already read after it.
    pub read: Vec<u8>,
}

impl Splitter {
    /// Opens an input and skips the byte order mark of its file; `origin` is the position of the first record.
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

    /// Resumes after a chunk of an earlier splitter: the reader gives the bytes that the earlier splitter had not read.
    pub(super) fn resume(
        reader: Box<dyn Read + Send>,
        name: &str,
        limits: &Limits,
        ResumePoint { origin, read }: ResumePoint,
        records_end: FindRecordsEnd,
    ) -> Self {
        // Positions in a chunk are 32-bit numbers.
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

    /// Reserves memory for records that are rewritten before their fields are taken.
    pub(super) fn expect_rewriting(&mut self) {
        self.copies = LONG_CHUNK_COPIES + REWRITTEN_COPIES;
    }

    /// Tells the splitter that `records_end` holds back the last rows. Errors then distinguish these rows from a long record.
    pub(super) fn expect_footer(&mut self, footer: Footer) {
        self.footer = Some(footer);
    }

    /// Returns a flag that any thread sets when the rest is no longer needed. After that nothing more is read, however slowly the
    /// input comes.
    pub fn abandoned(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.abandoned)
    }

    /// Returns the position of the next chunk. It is complete only before the first chunk is taken; after that only the offset is
    /// kept.
    pub fn origin(&self) -> ChunkOrigin {
        self.origin
    }

    /// Returns the bytes of the next chunks that have been read already.
    pub fn read(&self) -> &[u8] {
        self.seen()
    }

    /// Returns whether nothing follows the bytes read so far.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Returns the next chunk, or none at the end of the input. A chunk has as many records as fit into `batch_bytes` of
    /// [`Limits`], or one longer record with its line end. Its content depends on the input alone, not on the sizes of the reads.
    /// `spare` is a vector to reuse.
    ///
    /// # Errors
    /// Returns the reader's errors, unchanged if they are this crate's. Fails on a record beyond its limit.
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
            buffer = Vec::new(); // It held a long record.
        }
        self.origin.0.offset += end as u64;
        if self.buffer.len() > self.usual_bytes() && end <= self.usual_bytes() {
            return Ok(Some(self.cut_off(end, buffer, last)));
        }
        let left = self.filled - end;
        let held = self.hold(left)?;
        // At the end of the input the new buffer gets no spare room: filling a usual one with zeros takes longer than a small
        // file.
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

    /// Returns a chunk with a copy of the bytes. So a short record does not keep the buffer of a long one.
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

    /// Returns the length of a buffer without a long record, in bytes.
    fn usual_bytes(&self) -> usize {
        2 * self.chunk_bytes
    }

    /// Reserves memory for a chunk of this many bytes and its output. Reserves none if the size is usual.
    fn hold(&self, bytes: usize) -> Result<Held> {
        let mut held = self.memory.hold();
        if bytes > self.usual_bytes() {
            held.raise(bytes.saturating_mul(self.copies))?;
        }
        Ok(held)
    }

    /// Reads on until `scan` finds the start of the records in the next bytes. The flag given to `scan` is true if these are the
    /// last bytes.
    ///
    /// # Errors
    /// Fails if `scan` finds nothing within the longest record allowed. Returns the errors of `scan` and of the reader.
    pub(super) fn scan<T>(
        &mut self,
        mut scan: impl FnMut(&[u8], bool, &ChunkOrigin) -> Result<Option<T>>,
    ) -> Result<T> {
        let origin = self.origin;
        self.look(|_, seen, last| scan(seen, last, &origin).map_err(ChunkError::from))
            .map_err(|fault| fault.at(&origin))
    }

    /// Advances past the bytes used.
    pub(super) fn take(&mut self, used: Used) {
        self.buffer.copy_within(used.bytes..self.filled, 0);
        self.filled -= used.bytes;
        self.origin.advance(used);
    }

    /// Passes the bytes of one chunk to `find`, then more and more bytes from the same start, until `find` has a result.
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
                // A row that makes up most of the bytes is too long by itself, such as a row with a quote that is never closed.
                let is_long_row = used.records == 0 || 2 * used.bytes < bytes_max;
                return Err(ChunkError::new(move |origin| match is_long_row {
                    true => too_long(&name, origin, used, bytes_max),
                    false => long_footer(&name, origin, rows, bytes_max),
                }));
            }
            bytes = (2 * bytes).min(bytes_max);
        }
    }

    /// Returns the bytes read and not yet taken.
    fn seen(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Reads until `bytes` bytes are there or the input ends.
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

/// Checks that an input meant to be UTF-8 does not begin with another encoding's byte order mark.
///
/// # Errors
/// Returns a sentence about the byte order mark.
pub(super) fn check_mark(start: &[u8]) -> Result<(), &'static str> {
    match start {
        start if has_utf32_mark(start) => Err(UTF_32),
        start if has_utf16_mark(start) => Err("is UTF-16: say so, with --encoding utf-16"),
        _ => Ok(()),
    }
}

/// Returns whether the first bytes are the byte order mark of UTF-32. The mark of UTF-16LE is the beginning of that of UTF-32LE,
/// so check for UTF-32 first.
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

/// Returns an error about the record after the bytes used.
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

/// Returns the error for a record beyond its limit.
pub(super) fn too_long(name: &str, origin: &ChunkOrigin, used: Used, bytes_max: usize) -> Error {
    let message = format!(
        "is longer than the {bytes_max} bytes allowed; is a quote never closed, or is it another format?"
    );
    in_record(name, origin, used, Code::RecordTooLong, message)
}

/// Returns the error for possible footer rows that together are longer than a record may be.
fn long_footer(name: &str, origin: &ChunkOrigin, rows: usize, bytes_max: usize) -> Error {
    let rows = match rows {
        1 => "row from here on may be the footer, and is longer, together with what follows,".to_owned(),
        _ => format!("{rows} rows from here on may be the footer, and are longer together"),
    };
    let message = format!("the {rows} than the {bytes_max} bytes allowed: is --skip-footer right?");
    in_record(name, origin, Used::default(), Code::RecordTooLong, message)
}
