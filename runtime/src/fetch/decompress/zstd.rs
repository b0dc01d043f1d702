//! Decompresses zstd within the limits on memory: compressed frames go in; plain bytes come out.

use std::io;
use std::ops::RangeInclusive;

use zstd::stream::raw::{self, DParameter, InBuffer, Operation, OutBuffer, WriteBuf};

use super::super::compression::Compression;
use crate::error::{Code, Error, Result, Stage};
use crate::memory::{Held, MemoryShare};
use crate::units::ByteSize;

/// The sizes of windows that a zstd decoder supports, as exponents of 2.
const WINDOW_LOGS: RangeInclusive<u32> = 10..=31;

/// The maximum size of a frame's header in bytes: RFC 8878, section 3.1.1.1.
const HEADER_BYTES_MAX: usize = 18;

/// A decoder of zstd. A decoder keeps the window of a frame in memory. As soon as a frame's header states the size of
/// the window, the decoder takes this size from the memory budget.
pub(super) struct ZstdDecoder {
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
    pub(super) fn new(name: &str, window_bytes_max: u64, memory: &MemoryShare) -> io::Result<Self> {
        let mut decoder = raw::Decoder::new()?;
        let logs = WINDOW_LOGS;
        let log = window_bytes_max.checked_next_power_of_two();
        let log = log
            .map_or(*logs.end(), u64::ilog2)
            .clamp(*logs.start(), *logs.end());
        decoder.set_parameter(DParameter::WindowLogMax(log))?;
        Ok(Self {
            decoder,
            name: name.to_owned(),
            window_bytes_max,
            header: Vec::new(),
            is_begun: false,
            frames: 0,
            held: memory.hold(),
        })
    }

    /// Reads a frame's header from the next bytes. `self.header` contains the part of the header that the decoder has
    /// already taken.
    fn look(&mut self, next: &[u8]) -> Result<()> {
        let room = HEADER_BYTES_MAX - self.header.len();
        self.header.extend_from_slice(&next[..next.len().min(room)]);
        if self.frames > 0 && !is_beginning_of_frame(&self.header) {
            return Err(Compression::Zstd.trailing(&self.name));
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

/// Returns whether a frame can begin with these bytes. There can be fewer bytes than a frame needs.
fn is_beginning_of_frame(start: &[u8]) -> bool {
    let mut magic = start.to_vec();
    magic.extend(match start.first() {
        Some(0x50..=0x5f) => [0x50, 0x2a, 0x4d, 0x18].iter().skip(start.len()),
        _ => [0x28, 0xb5, 0x2f, 0xfd].iter().skip(start.len()),
    });
    Compression::of_magic(&magic) == Some(Compression::Zstd)
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

/// Returns the size of the window, in bytes, of the frame that begins with these bytes. Returns `None` if the header is
/// not complete yet, and 0 for a frame without a window.
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
    // The smallest number in the two-byte form is 256, because smaller numbers have the one-byte form.
    Some(if size_bytes == 2 { number + 256 } else { number })
}

#[cfg(test)]
mod tests {
    use super::window;

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
