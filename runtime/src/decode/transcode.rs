//! Bytes of another encoding go in; UTF-8 comes out. Invalid bytes are an error and are never replaced: if one byte of
//! a UTF-16 text is missing, all text after this point is wrong.

use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding};

use super::sample::has_mark;
use super::split::in_input;
use crate::error::{Code, Result};
use crate::format::{Hints, clip};
use crate::request::{ASCII, InputOptions};

const RAW_BYTES: usize = 64 << 10;
const TEXT_BYTES: usize = 64 << 10;

/// The encoding of a text that is not UTF-8, and whether the request or the server named it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Charset {
    encoding: &'static Encoding,
    /// True if a byte beyond ASCII is an error.
    is_ascii: bool,
    /// True if the server names the encoding. This can be wrong, because a server can name the same encoding for all
    /// files.
    is_by_server: bool,
}

impl Charset {
    /// Returns the encoding that the options name. If they name none, returns the encoding in the hints, where ASCII
    /// and unknown names count as UTF-8. Returns `None` for UTF-8.
    ///
    /// # Errors
    /// Fails if the options name an unknown encoding.
    pub(super) fn of(options: &InputOptions, hints: &Hints, name: &str) -> Result<Option<Self>> {
        let is_ascii = options.encoding.as_deref() == Some(ASCII);
        let by = |is_by_server| {
            move |encoding| Self {
                encoding,
                is_ascii,
                is_by_server,
            }
        };
        if options.encoding.is_some() {
            return Ok(options.encoding()?.map(by(false)));
        }
        let Some(label) = hints.charset.as_deref() else {
            return Ok(None);
        };
        if matches!(label, "us-ascii" | "ascii") {
            return Ok(None);
        }
        let Some(encoding) = Encoding::for_label_no_replacement(label.as_bytes()) else {
            tracing::warn!(
                name,
                charset = clip(label.as_bytes()),
                "the server names an unknown charset: reading UTF-8"
            );
            return Ok(None);
        };
        Ok(Some(encoding)
            .filter(|encoding| *encoding != encoding_rs::UTF_8)
            .map(by(true)))
    }

    /// Returns the encoding to decode with.
    pub(super) fn encoding(self) -> &'static Encoding {
        self.encoding
    }

    /// Checks the encoding against the first bytes of a file.
    ///
    /// # Errors
    /// Returns a message in two cases:
    ///
    /// - The bytes are UTF-8, and cannot be text in this encoding.
    /// - Only the server names the encoding, and the bytes are UTF-8 with characters beyond ASCII.
    pub(super) fn check(self, sample: &[u8]) -> Result<(), String> {
        let Self {
            encoding,
            is_by_server,
            ..
        } = self;
        if has_mark(sample) {
            return Ok(()); // The byte order mark of the file names the encoding.
        }
        let is_wide = encoding == encoding_rs::UTF_16LE || encoding == encoding_rs::UTF_16BE;
        let mut check = Utf8Check::default();
        check.take(sample);
        let is_disproved = is_wide && sample.len() > 1 && !sample.contains(&0) && !check.is_broken;
        if is_disproved || is_by_server && check.is_beyond_ascii() {
            return Err(self.contradiction());
        }
        Ok(())
    }

    fn contradiction(self) -> String {
        let Self {
            encoding,
            is_by_server,
            ..
        } = self;
        let who = if is_by_server {
            "the server calls it"
        } else {
            "--encoding says"
        };
        let name = encoding.name();
        format!(
            "{who} {name}, but its text is UTF-8: say which it is, with --encoding utf-8 or --encoding {}",
            name.to_ascii_lowercase()
        )
    }
}

/// A check whether bytes are UTF-8, which gets the bytes in pieces.
#[derive(Debug, Default)]
struct Utf8Check {
    /// The first bytes of a character that ends in the next piece.
    cut: Vec<u8>,
    has_characters: bool,
    is_broken: bool,
}

impl Utf8Check {
    fn take(&mut self, bytes: &[u8]) {
        if self.is_broken || self.cut.is_empty() && bytes.is_ascii() {
            return;
        }
        self.cut.extend_from_slice(bytes);
        let (valid, rest) = match std::str::from_utf8(&self.cut) {
            Ok(_) => (self.cut.len(), Some(())),
            Err(error) => (error.valid_up_to(), error.error_len().is_none().then_some(())),
        };
        self.is_broken = rest.is_none();
        self.has_characters |= !self.cut[..valid].is_ascii();
        self.cut.drain(..valid);
    }

    /// Returns whether the bytes have characters beyond ASCII, and are valid UTF-8.
    fn is_beyond_ascii(&self) -> bool {
        !self.is_broken && self.has_characters
    }
}

/// A reader that converts a text in another encoding to UTF-8. A byte order mark of UTF-8 or UTF-16 overrules the
/// encoding and is not part of the text.
pub(super) struct Transcoded<R> {
    inner: R,
    name: String,
    charset: Charset,
    decoder: Decoder,
    /// The check of an encoding that only the server names. If the whole text is UTF-8 with characters beyond ASCII,
    /// the server is wrong.
    utf8: Option<Utf8Check>,
    raw: Vec<u8>,
    /// The part of `raw` that is still to be decoded.
    rest: std::ops::Range<usize>,
    /// The number of raw bytes decoded before `rest`.
    decoded: u64,
    text: Vec<u8>,
    /// The part of `text` that the reader has not returned yet.
    ready: std::ops::Range<usize>,
    ended: bool,
    done: bool,
}

impl<R: Read> Transcoded<R> {
    pub(super) fn new(inner: R, name: &str, charset: Charset) -> Self {
        Self {
            inner,
            name: name.to_owned(),
            charset,
            decoder: charset.encoding.new_decoder(),
            utf8: charset.is_by_server.then(Utf8Check::default),
            raw: vec![0; RAW_BYTES],
            rest: 0..0,
            decoded: 0,
            text: vec![0; TEXT_BYTES],
            ready: 0..0,
            ended: false,
            done: false,
        }
    }

    /// Decodes more text, if any is left.
    fn fill(&mut self) -> io::Result<()> {
        while self.ready.is_empty() && !self.done {
            if self.rest.is_empty() && !self.ended {
                let read = self.inner.read(&mut self.raw)?;
                (self.rest, self.ended) = (0..read, read == 0);
                self.check(read)?;
                self.check_ascii(read)?;
            }
            let raw = &self.raw[self.rest.clone()];
            let (result, read, written) =
                self.decoder
                    .decode_to_utf8_without_replacement(raw, &mut self.text, self.ended);
            self.rest.start += read;
            self.decoded += read as u64;
            self.ready = 0..written;
            match result {
                DecoderResult::InputEmpty => self.done = self.ended,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(length, after) => return Err(self.malformed(length, after)),
            }
        }
        Ok(())
    }

    /// Checks the bytes that were read, if only the server names the encoding.
    fn check(&mut self, read: usize) -> io::Result<()> {
        let Some(utf8) = &mut self.utf8 else {
            return Ok(());
        };
        let raw = &self.raw[..read];
        if self.decoded == 0 && has_mark(raw) {
            self.utf8 = None;
            return Ok(());
        }
        utf8.take(raw);
        if self.ended && utf8.is_beyond_ascii() {
            return Err(in_input(&self.name, Code::EncodingMismatch, self.charset.contradiction()).into_io());
        }
        Ok(())
    }

    /// Checks that the bytes that were read are ASCII, if the request names ASCII.
    fn check_ascii(&self, read: usize) -> io::Result<()> {
        let beyond = |raw: &[u8]| raw.iter().position(|byte| !byte.is_ascii());
        let Some(at) = beyond(&self.raw[..read]).filter(|_| self.charset.is_ascii) else {
            return Ok(());
        };
        let place = self.decoded + at as u64;
        Err(in_input(
            &self.name,
            Code::EncodingMismatch,
            format_args!(
                "byte {place} of the file is no text in ASCII: say --encoding utf-8 or --encoding latin-1"
            ),
        )
        .into_io())
    }

    fn malformed(&self, length: u8, after: u8) -> io::Error {
        let place = self.decoded.saturating_sub(u64::from(length) + u64::from(after));
        let encoding = self.charset.encoding.name();
        in_input(
            &self.name,
            Code::EncodingMismatch,
            format_args!("byte {place} of the file is no text in {encoding}"),
        )
        .into_io()
    }
}

impl<R: Read> Read for Transcoded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.fill()?;
        let read = self.ready.len().min(out.len());
        out[..read].copy_from_slice(&self.text[self.ready.start..][..read]);
        self.ready.start += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Class, Error, Stage};

    /// A reader that returns one byte at a time, so that reads cut each sequence of bytes at each position.
    struct OneByteReader<'a>(&'a [u8]);

    impl Read for OneByteReader<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let one = out.len().min(1);
            self.0.read(&mut out[..one])
        }
    }

    fn read(inner: impl Read, label: &str) -> Result<String, Error> {
        let encoding = Encoding::for_label(label.as_bytes()).unwrap();
        let mut text = String::new();
        let charset = Charset {
            encoding,
            is_ascii: label == ASCII,
            is_by_server: false,
        };
        let mut reader = Transcoded::new(inner, "a.csv", charset);
        match reader.read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(error) => Err(Error::from_io(
                error,
                Stage::Fetch,
                Class::Transient,
                Code::InputUnreadable,
                "not typed",
            )),
        }
    }

    fn utf16(text: &str, to_bytes: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(to_bytes).collect()
    }

    #[test]
    fn text_is_what_it_was() {
        for (bytes, label, text) in [
            (&b"caf\xe9,\x80"[..], "latin1", "café,€"),
            (b"caf\xe9", "iso-8859-15", "café"),
            (b"\x82\xa0", "shift_jis", "あ"),
            (b"\xff\xfea\0", "utf-16le", "a"),
            // The byte order mark overrules the encoding that is named.
            (b"\xfe\xff\0a", "utf-16le", "a"),
            (b"\xef\xbb\xbfa", "utf-16le", "a"),
            (b"", "utf-16le", ""),
            (b"cafe\x7f", ASCII, "cafe\x7f"),
        ] {
            assert_eq!(read(bytes, label).unwrap(), text, "{label}");
            assert_eq!(read(OneByteReader(bytes), label).unwrap(), text, "{label}");
        }
    }

    #[test]
    fn what_is_no_text_is_an_error_with_its_place() {
        for (bytes, label, message) in [
            (
                &b"a\0b"[..],
                "utf-16le",
                "byte 2 of the file is no text in UTF-16LE",
            ),
            (
                b"a\0\0\xd8b\0",
                "utf-16le",
                "byte 2 of the file is no text in UTF-16LE",
            ),
            (
                b"ab\x82",
                "shift_jis",
                "byte 2 of the file is no text in Shift_JIS",
            ),
        ] {
            for error in
                [read(bytes, label), read(OneByteReader(bytes), label)].map(|read| read.expect_err(label))
            {
                assert_eq!(error.to_string(), format!("decode a.csv: {message}"));
                assert_eq!(error.class(), Class::Permanent);
            }
        }
        for (bytes, place) in [
            (&b"caf\xc3\xa9"[..], 3),
            (b"\xef\xbb\xbfa", 0),
            (b"\xff\xfea\0", 0),
            (b"a\x80", 1),
        ] {
            for error in [read(bytes, ASCII), read(OneByteReader(bytes), ASCII)].map(Result::unwrap_err) {
                let message = format!(
                    "decode a.csv: byte {place} of the file is no text in ASCII: say --encoding utf-8 or"
                );
                assert!(error.to_string().starts_with(&message), "{error}");
            }
        }
        let broken = io::Cursor::new(b"a\0").chain(Broken);
        assert_eq!(
            read(broken, "utf-16le").expect_err("broken").to_string(),
            "fetch not typed"
        );
    }

    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }

    proptest::proptest! {
        #[test]
        fn utf16_of_any_length_is_read(text in "(?s).{0,300}", copies in 1..200usize) {
            let text = text.repeat(copies);
            let text = text.trim_start_matches(['\u{feff}', '\u{fffe}']);
            proptest::prop_assert_eq!(read(&utf16(text, u16::to_le_bytes)[..], "utf-16le").unwrap(), text);
            proptest::prop_assert_eq!(read(&utf16(text, u16::to_be_bytes)[..], "utf-16be").unwrap(), text);
        }
    }
}
