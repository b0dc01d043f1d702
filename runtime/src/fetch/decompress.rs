//! Compressed bytes go in, plain bytes come out. The first bytes say whether there is something to undo: gzip
//! (also several members in a row) or zstd (also several frames); everything else passes through.
//!
//! A name (`.gz`, `.zst`) or a content type alone undoes nothing, since servers and tools often unpack a
//! file and leave its name; but an input that is too short to be what its name says is an error and not
//! an empty file. A `Content-Encoding` is binding, and what it covers may be a compressed file in turn.
//! Whatever follows the last member or frame must be another one; trailing garbage is an error.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use crate::error::{Class, Error, Result, Stage};

const BUFFER_BYTES: usize = 128 << 10;

/// The most that a zstd frame may ask to be kept of what was unpacked: 128 MiB, as much as `zstd --long` does.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// A way to compress that can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    /// By a file name's extension.
    pub(super) fn of_extension(extension: &str) -> Option<Self> {
        match extension {
            "gz" | "gzip" => Some(Self::Gzip),
            "zst" | "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// By a media type without parameters.
    pub(super) fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "application/gzip" | "application/x-gzip" => Some(Self::Gzip),
            "application/zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// By a `Content-Encoding`.
    ///
    /// # Errors
    /// If it is neither one of these nor `identity`.
    pub(super) fn of_content_encoding(encoding: &str) -> Result<Option<Self>> {
        match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip)),
            "zstd" => Ok(Some(Self::Zstd)),
            other => {
                let what = format!("content encoding \"{other}\" is not supported; gzip and zstd are");
                Err(Error::permanent(Stage::Decompress, what))
            }
        }
    }

    fn of_magic(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // A frame, or one to be skipped: RFC 8878, section 3.1.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    fn magic_bytes(self) -> usize {
        match self {
            Self::Gzip => 2,
            Self::Zstd => 4,
        }
    }
}

/// What is said about an input's compression from outside.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Promise {
    /// By the server's `Content-Encoding`.
    pub(super) encoding: Option<Compression>,
    /// By the name or the content type of the file itself.
    pub(super) file: Option<Compression>,
}

/// Plain bytes, and how many packed ones they came of so far; no count if they were plain before.
pub(super) struct Unpacked {
    pub(super) plain: Box<dyn Read + Send>,
    pub(super) taken: Option<Taken>,
}

impl Unpacked {
    /// Bytes that were plain before.
    pub(super) fn plain(plain: Box<dyn Read + Send>) -> Self {
        Self { plain, taken: None }
    }
}

/// How many bytes a decoder has taken.
#[derive(Debug, Clone, Default)]
pub(super) struct Taken(Arc<AtomicU64>);

impl Taken {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Undoes the compression of `input`, whose name for messages is `name`. Reads its first bytes.
///
/// # Errors
/// Permanent ones of stage decompress if the input is not what it promises; what comes out of `input`. The
/// reader's errors are the same, plus permanent ones for corrupt and truncated data. An error of this crate
/// that travels inside one of `input` stays as it is.
pub(super) fn undo(mut input: Box<dyn Read + Send>, name: &str, promise: Promise) -> Result<Unpacked> {
    let mut taken = None;
    if let Some(promised) = promise.encoding {
        let started = Started::new(input, name)?;
        if Compression::of_magic(started.first()) != Some(promised) {
            let what = format!(
                "{name}: the server calls it {}-encoded, but it is not",
                promised.name()
            );
            return Err(Error::permanent(Stage::Decompress, what));
        }
        let unpacked = promised.decoder(started, name)?;
        (input, taken) = (unpacked.plain, unpacked.taken);
    }
    let started = Started::new(input, name)?;
    if let Some(found) = Compression::of_magic(started.first()) {
        let unpacked = found.decoder(started, name)?;
        // Of two layers, it is the outer one that was fetched.
        let taken = taken.or(unpacked.taken);
        return Ok(Unpacked { taken, ..unpacked });
    }
    // What came through an encoding was checked to its end, so it is as short as it should be.
    if let Some(promised) = promise.file.filter(|_| promise.encoding.is_none())
        && started.first().len() < promised.magic_bytes()
    {
        let what = format!(
            "{name}: too short to be {}, its first bytes are missing",
            promised.name()
        );
        return Err(Error::permanent(Stage::Decompress, what));
    }
    let plain = Box::new(started);
    Ok(Unpacked { plain, taken })
}

/// An input whose first bytes were looked at; gives them again.
struct Started {
    first: [u8; 4],
    len: usize,
    given: usize,
    rest: Box<dyn Read + Send>,
}

impl Started {
    fn new(mut rest: Box<dyn Read + Send>, name: &str) -> Result<Self> {
        let mut first = [0; 4];
        let mut len = 0;
        while len < first.len() {
            match rest.read(&mut first[len..]) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) => {
                    let what = format!("{name}: cannot be read");
                    return Err(Error::from_io(error, Stage::Fetch, Class::Transient, what));
                }
            }
        }
        Ok(Self {
            first,
            len,
            given: 0,
            rest,
        })
    }

    fn first(&self) -> &[u8] {
        &self.first[..self.len]
    }
}

impl Read for Started {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.given == self.len {
            return self.rest.read(out);
        }
        let read = (&self.first[self.given..self.len]).read(out)?;
        self.given += read;
        Ok(read)
    }
}

/// A decoder whose errors say what was decoded.
struct Decoder<R> {
    inner: R,
    compression: Compression,
    name: String,
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.inner.read(out).map_err(|error| {
            let how = match error.kind() {
                io::ErrorKind::UnexpectedEof => "ends too early",
                _ => "is corrupt",
            };
            let what = format!("{}: the {} stream {how}", self.name, self.compression.name());
            Error::from_io(error, Stage::Decompress, Class::Permanent, what).into_io()
        })
    }
}

/// Counts what a decoder takes, not what waits in the buffer for it.
struct Counted {
    inner: BufReader<Started>,
    taken: Taken,
}

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Counted {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.taken.0.fetch_add(bytes as u64, Ordering::Relaxed);
        self.inner.consume(bytes);
    }
}

impl Compression {
    fn decoder(self, input: Started, name: &str) -> Result<Unpacked> {
        let taken = Taken::default();
        let input = Counted {
            inner: BufReader::with_capacity(BUFFER_BYTES, input),
            taken: taken.clone(),
        };
        let (compression, name) = (self, name.to_owned());
        let plain: Box<dyn Read + Send> = match self {
            Self::Gzip => {
                let inner = MultiGzDecoder::new(input);
                Box::new(Decoder {
                    inner,
                    compression,
                    name,
                })
            }
            Self::Zstd => {
                let failed = |error| {
                    Error::transient(Stage::Decompress, format!("{name}: cannot set up zstd")).because(error)
                };
                let mut inner = zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?;
                inner.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(failed)?;
                Box::new(Decoder {
                    inner,
                    compression,
                    name,
                })
            }
        };
        let taken = Some(taken);
        Ok(Unpacked { plain, taken })
    }
}
