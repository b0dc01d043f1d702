//! Decompresses inputs: compressed bytes go in; plain bytes come out. The first bytes show whether the input is gzip
//! (with one or several members) or zstd (with one or several frames). Any other input passes through unchanged.
//!
//! A name (`.gz`, `.zst`) or a content type alone does not cause decompression: servers and tools often decompress a
//! file and keep its name. But if the name or the content type indicates a compression, an input that is too short for
//! this compression is an error, not an empty file.
//!
//! If there is a `Content-Encoding`, the input must be encoded in this way. The decoded content can be a gzip or zstd
//! file, which is then decompressed, too.
//!
//! Bytes after the last member or frame are an error. The only exception is NULs after a gzip member: tapes and block
//! devices add them, and the decoder skips them.

mod zstd;

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::zstd::stream::zio;
use flate2::bufread::GzDecoder;
use flate2::{Decompress, FlushDecompress, Status};

use self::zstd::ZstdDecoder;
use super::compression::{Compression, DeclaredCompression, GZIP_MAGIC};
use crate::error::{Class, Code, Error, Result, Stage};
use crate::memory::MemoryShare;

const BUFFER_BYTES: usize = 128 << 10;

/// A reader of decompressed bytes, with a count of the compressed bytes that were read for them. There is no count if
/// the input is not compressed.
pub(super) struct DecompressedReader {
    pub(super) plain: Box<dyn Read + Send>,
    pub(super) taken: Option<CompressedBytes>,
}

impl DecompressedReader {
    /// Returns a reader of bytes that are not compressed.
    pub(super) fn plain(plain: Box<dyn Read + Send>) -> Self {
        Self { plain, taken: None }
    }
}

/// The number of compressed bytes that a decoder has read.
#[derive(Debug, Clone, Default)]
pub(super) struct CompressedBytes(Arc<AtomicU64>);

impl CompressedBytes {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The limits of a decompressor.
#[derive(Debug, Clone, Copy)]
pub(super) struct DecompressLimits<'a> {
    pub(super) memory: &'a MemoryShare,
    /// The size in bytes of the largest window that a zstd frame may have.
    pub(super) zstd_window_bytes_max: u64,
}

/// Returns a reader of the decompressed bytes of `input`. Reads the first bytes of `input` to detect its compression.
/// `name` is the name of the input in messages.
///
/// # Errors
/// Fails permanently, with stage decompress, if the input is not encoded as its `Content-Encoding` says, or if it is
/// too short for the compression that its name or content type indicates. The function and the returned reader also
/// return the errors of `input`. The reader fails permanently if the data is corrupt or truncated. If an error of
/// `input` wraps an error of this crate, the wrapped error is returned unchanged.
pub(super) fn decompress(
    mut input: Box<dyn Read + Send>,
    name: &str,
    declared: &DeclaredCompression,
    room: DecompressLimits<'_>,
) -> Result<DecompressedReader> {
    let mut taken = None;
    for &compression in declared.encodings.iter().rev() {
        let peeked = PeekedReader::new(input, name)?;
        if !compression.may_begin(peeked.first()) {
            let what = format!(
                "{name}: the server calls it {}-encoded, but it is not",
                compression.name()
            );
            return Err(Error::permanent(Stage::Decompress, Code::ContentEncoding, what));
        }
        let unpacked = peeked.decoder(compression, name, room)?;
        // If there are several layers of compression, only the bytes of the outer layer count, because these were
        // fetched.
        taken = taken.or(unpacked.taken);
        input = unpacked.plain;
    }
    let peeked = PeekedReader::new(input, name)?;
    if let Some(found) = Compression::of_magic(peeked.first()) {
        let unpacked = peeked.decoder(found, name, room)?;
        let taken = taken.or(unpacked.taken);
        return Ok(DecompressedReader { taken, ..unpacked });
    }
    // If there was a `Content-Encoding`, its decoder has checked the content to its end, so the content really is this
    // short.
    if let Some(compression) = declared.file.filter(|_| declared.encodings.is_empty())
        && peeked.first().len() < compression.magic_bytes()
    {
        let what = format!(
            "{name}: too short to be {}, its first bytes are missing",
            compression.name()
        );
        return Err(Error::permanent(
            Stage::Decompress,
            Code::CompressionCorrupt,
            what,
        ));
    }
    let plain = Box::new(peeked);
    Ok(DecompressedReader { plain, taken })
}

/// A reader of an input whose first bytes were read in advance. It returns these bytes again.
struct PeekedReader {
    first: [u8; 4],
    len: usize,
    given: usize,
    rest: Box<dyn Read + Send>,
}

impl PeekedReader {
    fn new(mut rest: Box<dyn Read + Send>, name: &str) -> Result<Self> {
        let mut first = [0; 4];
        let mut len = 0;
        while len < first.len() {
            match rest.read(&mut first[len..]) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) => {
                    let what = format!("{name}: cannot be read");
                    return Err(Error::from_io(
                        error,
                        Stage::Fetch,
                        Class::Transient,
                        Code::InputUnreadable,
                        what,
                    ));
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

impl Read for PeekedReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.given == self.len {
            return self.rest.read(out);
        }
        let read = (&self.first[self.given..self.len]).read(out)?;
        self.given += read;
        Ok(read)
    }
}

/// A reader that adds the names of the input and of its compression to the errors of a decoder.
struct ErrorContextReader<R> {
    inner: R,
    compression: Compression,
    name: String,
}

impl<R: Read> Read for ErrorContextReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.inner.read(out).map_err(|error| {
            let how = match error.kind() {
                io::ErrorKind::UnexpectedEof => "ends too early",
                _ => "is corrupt",
            };
            let what = format!("{}: the {} stream {how}", self.name, self.compression.name());
            Error::from_io(
                error,
                Stage::Decompress,
                Class::Permanent,
                Code::CompressionCorrupt,
                what,
            )
            .into_io()
        })
    }
}

/// A reader that counts the bytes that a decoder takes. Bytes that are still in the buffer do not count.
struct CountingReader {
    inner: BufReader<PeekedReader>,
    taken: CompressedBytes,
}

impl Read for CountingReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for CountingReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.taken.0.fetch_add(bytes as u64, Ordering::Relaxed);
        self.inner.consume(bytes);
    }
}

/// A reader that decompresses the members of a gzip file one after the other. It skips NULs after a member, as the
/// program `gzip` does.
struct GzipMembers {
    /// The current member, or `None` at the end.
    member: Option<GzDecoder<CountingReader>>,
    name: String,
}

impl Read for GzipMembers {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(out)?;
            if read > 0 || out.is_empty() {
                return Ok(read);
            }
            let has_next = finds_member(member.get_mut(), &self.name)?;
            let input = self.member.take().map(GzDecoder::into_inner);
            self.member = input.filter(|_| has_next).map(GzDecoder::new);
        }
        Ok(0)
    }
}

/// Skips NULs after a member. Returns true if another member follows, and false at the end of the input. Fails if other
/// bytes follow.
fn finds_member(input: &mut CountingReader, name: &str) -> io::Result<bool> {
    loop {
        let waiting = input.fill_buf()?;
        if waiting.is_empty() {
            return Ok(false);
        }
        let zeros = waiting.iter().take_while(|&&byte| byte == 0).count();
        match waiting[zeros..] {
            [] => input.consume(zeros),
            // If only the first byte of a member has arrived, this byte is enough to recognize the member.
            [first, ref more @ ..]
                if first == GZIP_MAGIC[0] && more.first().is_none_or(|&byte| byte == GZIP_MAGIC[1]) =>
            {
                input.consume(zeros);
                return Ok(true);
            }
            _ => return Err(Compression::Gzip.trailing(name).into_io()),
        }
    }
}

/// A reader that decompresses one stream of deflate. The crate `flate2` has readers for deflate, but they accept a
/// truncated stream as complete, so they are not used.
struct DeflateDecoder {
    input: CountingReader,
    state: Decompress,
    name: String,
    has_ended: bool,
}

impl Read for DeflateDecoder {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.has_ended && !out.is_empty() {
            let packed = self.input.fill_buf()?;
            let is_end = packed.is_empty();
            let (taken, given) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(packed, out, FlushDecompress::None)?;
            let taken = (self.state.total_in() - taken) as usize;
            self.input.consume(taken);
            let read = (self.state.total_out() - given) as usize;
            if status == Status::StreamEnd {
                self.has_ended = true;
                if !self.input.fill_buf()?.is_empty() {
                    return Err(Compression::Deflate.trailing(&self.name).into_io());
                }
                return Ok(read);
            }
            if read > 0 {
                return Ok(read);
            }
            if is_end {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if taken == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(0)
    }
}

impl PeekedReader {
    /// Returns a decoder of this input.
    fn decoder(
        self,
        compression: Compression,
        name: &str,
        room: DecompressLimits<'_>,
    ) -> Result<DecompressedReader> {
        let taken = CompressedBytes::default();
        let is_zlib = is_zlib(self.first());
        let input = CountingReader {
            inner: BufReader::with_capacity(BUFFER_BYTES, self),
            taken: taken.clone(),
        };
        let inner: Box<dyn Read + Send> = match compression {
            Compression::Gzip => Box::new(GzipMembers {
                member: Some(GzDecoder::new(input)),
                name: name.to_owned(),
            }),
            Compression::Deflate => Box::new(DeflateDecoder {
                input,
                state: Decompress::new(is_zlib),
                name: name.to_owned(),
                has_ended: false,
            }),
            Compression::Zstd => {
                let failed = |error| {
                    Error::transient(
                        Stage::Decompress,
                        Code::MachineBusy,
                        format!("{name}: cannot set up zstd"),
                    )
                    .because(error)
                };
                let frames =
                    ZstdDecoder::new(name, room.zstd_window_bytes_max, room.memory).map_err(failed)?;
                Box::new(zio::Reader::new(input, frames))
            }
        };
        let plain = Box::new(ErrorContextReader {
            inner,
            compression,
            name: name.to_owned(),
        });
        let taken = Some(taken);
        Ok(DecompressedReader { plain, taken })
    }
}

/// Returns whether content with `Content-Encoding: deflate` is in the zlib format, as it must be (RFC 9110, section
/// 8.4.1.2; RFC 1950, section 2.2). Some servers send deflate without the zlib format.
fn is_zlib(start: &[u8]) -> bool {
    match *start {
        [method, flags, ..] => method & 0xf == 8 && u16::from_be_bytes([method, flags]).is_multiple_of(31),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::memory::MemoryBudget;
    use crate::stop::Stop;

    const TEXT: &[u8] = b"a,b\n1,2\n";

    /// A reader that returns one byte at a time, so that each header is split at every position.
    struct OneByteReader(io::Cursor<Vec<u8>>);

    impl Read for OneByteReader {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let one = out.len().min(1);
            self.0.read(&mut out[..one])
        }
    }

    fn frame(window_log: u32, announces_size: bool) -> Vec<u8> {
        let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.include_contentsize(announces_size).unwrap();
        if announces_size {
            encoder.set_pledged_src_size(Some(TEXT.len() as u64)).unwrap();
        }
        encoder.write_all(TEXT).unwrap();
        encoder.finish().unwrap()
    }

    /// Decompresses with a memory budget of `mib` MiB. Returns the plain bytes, and the number of bytes of memory that
    /// were held at the end.
    fn unpack(packed: &[u8], mib: u64) -> (io::Result<Vec<u8>>, usize) {
        unpack_within(packed, mib, 128 << 20)
    }

    fn unpack_within(packed: &[u8], mib: u64, zstd_window_bytes_max: u64) -> (io::Result<Vec<u8>>, usize) {
        let budget = MemoryBudget::new(mib << 20);
        let share = budget.share(&Stop::default());
        let input = Box::new(OneByteReader(io::Cursor::new(packed.to_vec())));
        let room = DecompressLimits {
            memory: &share,
            zstd_window_bytes_max,
        };
        let mut unpacked = decompress(input, "a.csv.zst", &DeclaredCompression::default(), room).unwrap();
        let mut bytes = Vec::new();
        let read = unpacked.plain.read_to_end(&mut bytes).map(|_| bytes);
        (read, budget.held())
    }

    #[test]
    fn the_largest_window_is_held() {
        let skippable = b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec();
        for (logs, held) in [(&[10, 12][..], 12), (&[20, 10], 20), (&[10, 27, 17], 27)] {
            let mut packed = skippable.clone();
            for &log in logs {
                packed.extend(frame(log, false));
                packed.extend(&skippable);
            }
            let (read, found) = unpack(&packed, 1_024);
            assert_eq!(read.unwrap(), TEXT.repeat(logs.len()));
            assert_eq!(found, 1 << held);
        }
        let (read, held) = unpack(&frame(27, true), 1_024);
        assert_eq!((read.unwrap(), held), (TEXT.to_vec(), TEXT.len()));
    }

    #[test]
    fn a_window_that_a_request_may_not_hold_is_an_error_of_the_hosts() {
        let error = unpack(&frame(27, false), 128).0.unwrap_err();
        let error = Error::from_io(
            error,
            Stage::Decompress,
            Class::Permanent,
            Code::CompressionCorrupt,
            "not typed",
        );
        assert_eq!((error.stage(), error.class()), (Stage::Worker, Class::Transient));
    }
}
