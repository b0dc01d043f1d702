//! Bytes of another encoding in, UTF-8 out. What is no text in that encoding is an error, never replaced: of a stream of
//! UTF-16 that has lost a byte, all that follows is wrong.

use std::io::{self, Read};

use encoding_rs::{Decoder, DecoderResult, Encoding};

use super::split::{UTF_32, check_mark, in_input};

const RAW_BYTES: usize = 64 << 10;
const TEXT_BYTES: usize = 64 << 10;

/// Reads UTF-8 from what is something else underneath. A byte order mark of UTF-8 or UTF-16 is taken at its word, and not
/// part of the text.
pub(super) struct Transcoded<R> {
    inner: R,
    name: String,
    encoding: &'static Encoding,
    decoder: Decoder,
    /// Whether the first bytes were looked at.
    is_begun: bool,
    raw: Vec<u8>,
    /// What of `raw` is still to be decoded.
    rest: std::ops::Range<usize>,
    /// How many raw bytes were decoded before `rest`.
    decoded: u64,
    text: Vec<u8>,
    /// What of `text` is still to be read.
    ready: std::ops::Range<usize>,
    ended: bool,
    done: bool,
}

impl<R: Read> Transcoded<R> {
    pub(super) fn new(inner: R, name: &str, encoding: &'static Encoding) -> Self {
        Self {
            inner,
            name: name.to_owned(),
            encoding,
            decoder: encoding.new_decoder(),
            is_begun: false,
            raw: vec![0; RAW_BYTES],
            rest: 0..0,
            decoded: 0,
            text: vec![0; TEXT_BYTES],
            ready: 0..0,
            ended: false,
            done: false,
        }
    }

    /// Reads the first bytes, which tell UTF-32 from UTF-16: that has NULs where this has a text.
    fn begin(&mut self) -> io::Result<()> {
        self.is_begun = true;
        let mut start = Vec::new();
        (&mut self.inner).take(4).read_to_end(&mut start)?;
        if check_mark(&start) == Err(UTF_32) {
            return Err(in_input(&self.name, UTF_32).into_io());
        }
        self.raw[..start.len()].copy_from_slice(&start);
        self.rest = 0..start.len();
        Ok(())
    }

    /// Makes some text, if any is left.
    fn fill(&mut self) -> io::Result<()> {
        if !self.is_begun {
            self.begin()?;
        }
        while self.ready.is_empty() && !self.done {
            if self.rest.is_empty() && !self.ended {
                let read = self.inner.read(&mut self.raw)?;
                (self.rest, self.ended) = (0..read, read == 0);
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

    fn malformed(&self, length: u8, after: u8) -> io::Error {
        let place = self.decoded.saturating_sub(u64::from(length) + u64::from(after));
        let encoding = self.encoding.name();
        in_input(
            &self.name,
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

    /// Gives a byte a time, so that each sequence is cut at each place.
    struct Slowly<'a>(&'a [u8]);

    impl Read for Slowly<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let one = out.len().min(1);
            self.0.read(&mut out[..one])
        }
    }

    fn read(inner: impl Read, label: &str) -> Result<String, Error> {
        let encoding = Encoding::for_label(label.as_bytes()).unwrap();
        let mut text = String::new();
        let mut reader = Transcoded::new(inner, "a.csv", encoding);
        match reader.read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(error) => Err(Error::from_io(error, Stage::Fetch, Class::Transient, "not typed")),
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
            // The mark knows better than the declaration.
            (b"\xfe\xff\0a", "utf-16le", "a"),
            (b"\xef\xbb\xbfa", "utf-16le", "a"),
            (b"", "utf-16le", ""),
        ] {
            assert_eq!(read(bytes, label).unwrap(), text, "{label}");
            assert_eq!(read(Slowly(bytes), label).unwrap(), text, "{label}");
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
            for error in [read(bytes, label), read(Slowly(bytes), label)].map(|read| read.expect_err(label)) {
                assert_eq!(error.to_string(), format!("decode a.csv: {message}"));
                assert_eq!(error.class(), Class::Permanent);
            }
        }
        for start in [&b"\xff\xfe\0\0a\0\0\0"[..], b"\0\0\xfe\xff\0\0\0a"] {
            for error in
                [read(start, "utf-16le"), read(Slowly(start), "latin1")].map(|read| read.expect_err("UTF-32"))
            {
                assert!(error.to_string().contains("a.csv: is UTF-32"), "{error}");
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
