//! Decompresses: compressed bytes go in, plain bytes come out. The first bytes show whether the input is gzip (also
//! with several members) or zstd (also with several frames); everything else passes through.
//!
//! A name (`.gz`, `.zst`) or a content type alone does not cause decompression, since servers and tools often unpack a
//! file and keep its name. But an input that is too short for the format of its name is an error, not an empty file. A
//! `Content-Encoding` is binding, and its content may be a compressed file in turn. After the last member or frame,
//! only NULs that a tape or a block device has left behind a gzip member are skipped; other trailing bytes are an
//! error.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use encoding_rs::Encoding;
use flate2::bufread::GzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{self, DParameter, InBuffer, Operation, OutBuffer, WriteBuf};
use zstd::stream::zio;

use super::range_request::shown;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::memory::{Held, MemoryShare};
use crate::units::ByteSize;

const BUFFER_BYTES: usize = 128 << 10;

/// The windows that a zstd decoder supports, as powers of two.
const ZSTD_WINDOW_LOGS: RangeInclusive<u32> = 10..=31;

/// The most encodings that are decoded one after the other.
const ENCODINGS_MAX: usize = 4;

/// The first bytes of each member of a gzip file: RFC 1952, section 2.3.1.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A supported compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
    /// Deflate, as a `Content-Encoding` only: a file itself does not show it.
    Deflate,
}

impl Compression {
    /// Returns the compression of a file name's extension.
    pub(super) fn of_extension(extension: &str) -> Option<Self> {
        match extension {
            "gz" | "gzip" => Some(Self::Gzip),
            "zst" | "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Returns the compression of a media type without parameters.
    pub(super) fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "application/gzip" | "application/x-gzip" => Some(Self::Gzip),
            "application/zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Returns the compressions in the lines of `Content-Encoding`, in the order in which they were applied. Ignores
    /// words that servers send and that say nothing about compression.
    ///
    /// # Errors
    /// Fails if one is not supported, or if there are too many.
    pub(super) fn of_content_encoding<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        for word in lines.flat_map(|line| line.split(|&byte| byte == b',')) {
            let word = String::from_utf8_lossy(word).trim().to_ascii_lowercase();
            found.extend(match word.as_str() {
                "gzip" | "x-gzip" => Some(Self::Gzip),
                "zstd" => Some(Self::Zstd),
                "deflate" => Some(Self::Deflate),
                word if says_nothing(word) => None,
                word => {
                    let word = shown(word.as_bytes());
                    let what = format!(
                        "content encoding \"{word}\" is not supported, only gzip, zstd and deflate, and the server was asked \
                         for none: let it send the file as it is"
                    );
                    return Err(Error::permanent(Stage::Decompress, Code::ContentEncoding, what));
                }
            });
        }
        if found.len() > ENCODINGS_MAX {
            let what = format!(
                "the server names {} content encodings, and {ENCODINGS_MAX} is the limit",
                found.len()
            );
            return Err(Error::permanent(Stage::Decompress, Code::ContentEncoding, what));
        }
        Ok(found)
    }

    fn of_magic(start: &[u8]) -> Option<Self> {
        match start {
            [first, second, ..] if [*first, *second] == GZIP_MAGIC => Some(Self::Gzip),
            // This is a frame, or a frame to be skipped: RFC 8878, section 3.1.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Returns whether a stream of this kind may begin with these bytes. Deflate may begin with any byte.
    fn may_begin(self, start: &[u8]) -> bool {
        match self {
            Self::Deflate => !start.is_empty(),
            other => Self::of_magic(start) == Some(other),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Deflate => "deflate",
        }
    }

    fn magic_bytes(self) -> usize {
        match self {
            Self::Gzip => 2,
            Self::Zstd => 4,
            Self::Deflate => 0,
        }
    }
}

/// Returns whether a word in `Content-Encoding` does not change the bytes: it belongs to another header, names a
/// character set, or describes how the file was once uploaded.
fn says_nothing(word: &str) -> bool {
    let words = ["", "identity", "none", "binary", "7bit", "8bit", "aws-chunked"];
    let charset = word.strip_prefix("charset=").unwrap_or(word);
    words.contains(&word) || Encoding::for_label(charset.as_bytes()).is_some()
}

/// The compression of an input according to its server and its name.
#[derive(Debug, Clone, Default)]
pub(super) struct DeclaredCompression {
    /// The server's `Content-Encoding`, in the order in which they were applied.
    pub(super) encodings: Vec<Compression>,
    /// The compression that the name or the content type of the file itself gives.
    pub(super) file: Option<Compression>,
}

/// A reader of decompressed bytes that counts the compressed bytes read for them. There is no count if the input is not
/// compressed.
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

/// The number of bytes that a decoder has taken.
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
    /// The largest window that a zstd frame may ask for.
    pub(super) zstd_window_bytes_max: u64,
}

/// Decompresses `input`, whose name for messages is `name`. Reads its first bytes.
///
/// # Errors
/// Fails permanently, with stage decompress, if the input does not have the declared compression; also fails with
/// errors of reading `input`. The reader has the same errors, and permanent ones for corrupt and truncated data. An
/// error of this crate inside one of `input` stays as it is.
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
        let unpacked = compression.decoder(peeked, name, room)?;
        // If there are several layers, the outer one was fetched.
        taken = taken.or(unpacked.taken);
        input = unpacked.plain;
    }
    let peeked = PeekedReader::new(input, name)?;
    if let Some(found) = Compression::of_magic(peeked.first()) {
        let unpacked = found.decoder(peeked, name, room)?;
        let taken = taken.or(unpacked.taken);
        return Ok(DecompressedReader { taken, ..unpacked });
    }
    // Content that came through an encoding was checked to its end, so it really is this short.
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

/// An input whose first bytes were read ahead; it returns them again.
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

/// A decoder whose errors name the input and its compression.
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

/// Unpacks zstd. Memory for the window of each frame, which a decoder keeps, is requested as soon as its header gives
/// the size.
struct ZstdDecoder {
    decoder: raw::Decoder<'static>,
    name: String,
    window_bytes_max: u64,
    /// The first bytes of a frame, until the header is complete.
    header: Vec<u8>,
    is_begun: bool,
    /// The number of frames that have ended.
    frames: u64,
    held: Held,
}

impl ZstdDecoder {
    fn new(name: &str, room: DecompressLimits<'_>) -> io::Result<Self> {
        let mut decoder = raw::Decoder::new()?;
        let logs = ZSTD_WINDOW_LOGS;
        let log = room.zstd_window_bytes_max.checked_next_power_of_two();
        let log = log
            .map_or(*logs.end(), u64::ilog2)
            .clamp(*logs.start(), *logs.end());
        decoder.set_parameter(DParameter::WindowLogMax(log))?;
        Ok(Self {
            decoder,
            name: name.to_owned(),
            window_bytes_max: room.zstd_window_bytes_max,
            header: Vec::new(),
            is_begun: false,
            frames: 0,
            held: room.memory.hold(),
        })
    }

    /// Reads the header in the next bytes, after the part of it that the decoder has taken before.
    fn look(&mut self, next: &[u8]) -> Result<()> {
        let room = ZSTD_HEADER_BYTES_MAX - self.header.len();
        self.header.extend_from_slice(&next[..next.len().min(room)]);
        if self.frames > 0 && !is_beginning_of_frame(&self.header) {
            return Err(trailing(&self.name, Compression::Zstd));
        }
        let Some(window) = window(&self.header) else {
            return Ok(());
        };
        self.is_begun = true;
        if window > self.window_bytes_max {
            let (needs, max) = (ByteSize(window), ByteSize(self.window_bytes_max));
            let what = format!(
                "{}: its zstd window is {needs}, and {max} is the limit: raise --limit zstd-window, or compress it without --long",
                self.name
            );
            return Err(Error::permanent(Stage::Decompress, Code::CompressionLimit, what));
        }
        self.held.raise(window as usize)
    }
}

/// Returns whether a frame may begin with these bytes, as far as there are any.
fn is_beginning_of_frame(start: &[u8]) -> bool {
    let mut magic = start.to_vec();
    magic.extend(match start.first() {
        Some(0x50..=0x5f) => [0x50, 0x2a, 0x4d, 0x18].iter().skip(start.len()),
        _ => [0x28, 0xb5, 0x2f, 0xfd].iter().skip(start.len()),
    });
    Compression::of_magic(&magic) == Some(Compression::Zstd)
}

/// Returns the error for bytes behind the last member or frame.
fn trailing(name: &str, compression: Compression) -> Error {
    let kind = compression.name();
    let what = format!(
        "{name}: bytes that are not {kind} follow its {kind} data: cut them off, or compress the file anew"
    );
    Error::permanent(Stage::Decompress, Code::CompressionCorrupt, what)
}

impl Operation for ZstdDecoder {
    fn run<C: WriteBuf + ?Sized>(
        &mut self,
        input: &mut InBuffer<'_>,
        output: &mut OutBuffer<'_, C>,
    ) -> io::Result<usize> {
        if self.is_begun {
            return self.decoder.run(input, output);
        }
        let (before, known) = (input.pos(), self.header.len());
        self.look(&input.src[before..]).map_err(Error::into_io)?;
        let hint = self.decoder.run(input, output)?;
        self.header.truncate(known + (input.pos() - before));
        Ok(hint)
    }

    fn reinit(&mut self) -> io::Result<()> {
        (self.is_begun, self.header) = (false, Vec::new());
        self.frames += 1;
        self.decoder.reinit()
    }

    fn finish<C: WriteBuf + ?Sized>(
        &mut self,
        output: &mut OutBuffer<'_, C>,
        finished_frame: bool,
    ) -> io::Result<usize> {
        self.decoder.finish(output, finished_frame)
    }
}

/// The most bytes of a frame's header: RFC 8878, section 3.1.1.1.
const ZSTD_HEADER_BYTES_MAX: usize = 18;

/// Returns the window of the frame that begins with these bytes; none if its header is not complete yet, 0 for a frame
/// without a window.
fn window(frame: &[u8]) -> Option<u64> {
    let [0x28, 0xb5, 0x2f, 0xfd] = frame.get(..4)? else {
        return Some(0);
    };
    let descriptor = *frame.get(4)?;
    let is_single_segment = descriptor & 0b10_0000 != 0;
    if !is_single_segment {
        let byte = *frame.get(5)?;
        let base = 1_u64 << (10 + (byte >> 3));
        return Some(base + base / 8 * u64::from(byte & 0b111));
    }
    let dictionary_id_bytes = [0, 1, 2, 4][usize::from(descriptor & 0b11)];
    let size_bytes = 1 << (descriptor >> 6);
    let size = frame.get(5 + dictionary_id_bytes..)?.get(..size_bytes)?;
    let number = size
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte));
    // The two-byte form begins where the one-byte form ends.
    Some(if size_bytes == 2 { number + 256 } else { number })
}

/// Counts the bytes that a decoder takes, without those that still wait in the buffer.
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

/// Unpacks the members of a gzip file one after the other, and skips NULs behind one, as gzip does.
struct GzipMembers {
    /// The current member; none at the end.
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

/// Skips NULs. Returns whether another member follows; fails if anything else does.
fn finds_member(input: &mut CountingReader, name: &str) -> io::Result<bool> {
    loop {
        let waiting = input.fill_buf()?;
        if waiting.is_empty() {
            return Ok(false);
        }
        let zeros = waiting.iter().take_while(|&&byte| byte == 0).count();
        match waiting[zeros..] {
            [] => input.consume(zeros),
            // A member whose first bytes have not all arrived is recognized by those that have.
            [first, ref more @ ..]
                if first == GZIP_MAGIC[0] && more.first().is_none_or(|&byte| byte == GZIP_MAGIC[1]) =>
            {
                input.consume(zeros);
                return Ok(true);
            }
            _ => return Err(trailing(name, Compression::Gzip).into_io()),
        }
    }
}

/// Unpacks one stream of deflate. The crate's own readers accept a truncated one as complete.
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
                    return Err(trailing(&self.name, Compression::Deflate).into_io());
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

impl Compression {
    fn decoder(
        self,
        input: PeekedReader,
        name: &str,
        room: DecompressLimits<'_>,
    ) -> Result<DecompressedReader> {
        let taken = CompressedBytes::default();
        let is_zlib = is_zlib(input.first());
        let input = CountingReader {
            inner: BufReader::with_capacity(BUFFER_BYTES, input),
            taken: taken.clone(),
        };
        let inner: Box<dyn Read + Send> = match self {
            Self::Gzip => Box::new(GzipMembers {
                member: Some(GzDecoder::new(input)),
                name: name.to_owned(),
            }),
            Self::Deflate => Box::new(DeflateDecoder {
                input,
                state: Decompress::new(is_zlib),
                name: name.to_owned(),
                has_ended: false,
            }),
            Self::Zstd => {
                let failed = |error| {
                    Error::transient(
                        Stage::Decompress,
                        Code::MachineBusy,
                        format!("{name}: cannot set up zstd"),
                    )
                    .because(error)
                };
                let frames = ZstdDecoder::new(name, room).map_err(failed)?;
                Box::new(zio::Reader::new(input, frames))
            }
        };
        let plain = Box::new(ErrorContextReader {
            inner,
            compression: self,
            name: name.to_owned(),
        });
        let taken = Some(taken);
        Ok(DecompressedReader { plain, taken })
    }
}

/// Returns whether a `Content-Encoding: deflate` has the prescribed zlib format (RFC 9110, section 8.4.1.2; RFC 1950,
/// section 2.2). Some servers send bare deflate.
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

    /// Returns one byte at a time, so that each header is split at each place.
    struct OneByteReader(io::Cursor<Vec<u8>>);

    impl Read for OneByteReader {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let one = out.len().min(1);
            self.0.read(&mut out[..one])
        }
    }

    fn frame(window_log: u32, announces_size: bool) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.include_contentsize(announces_size).unwrap();
        if announces_size {
            encoder.set_pledged_src_size(Some(TEXT.len() as u64)).unwrap();
        }
        encoder.write_all(TEXT).unwrap();
        encoder.finish().unwrap()
    }

    /// Unpacks with this much memory. Returns the bytes, and the memory that was held at the end.
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

    #[test]
    fn a_header_tells_its_window() {
        let header = |descriptor: u8, rest: &[u8]| [&[0x28, 0xb5, 0x2f, 0xfd, descriptor], rest].concat();
        for (header, bytes) in [
            (header(0, &[0]), 1 << 10),
            (header(0, &[0b1000_1001]), (1 << 27) + (1 << 24)),
            (header(0b10_0000, &[9]), 9),
            (header(0b110_0001, &[7, 1, 1]), 256 + 257),
            (header(0b1010_0011, &[1, 2, 3, 4, 5, 0, 0, 1]), (1 << 24) + 5),
            (header(0b1110_0000, &[0, 0, 0, 0, 1, 0, 0, 0]), 1 << 32),
        ] {
            assert_eq!(window(&header), Some(bytes), "{header:x?}");
            for end in 0..header.len() {
                assert_eq!(window(&header[..end]), None, "{header:x?} up to {end}");
            }
        }
        assert_eq!(window(b"\x50\x2a\x4d\x18"), Some(0));
    }
}
