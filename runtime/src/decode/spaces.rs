//! Text whose fields stand apart by one or more spaces in, the same with a tab between them out. Spaces at the beginning and
//! the end of a line are dropped, those within quotes stay.

use std::io::{self, Read};

use super::Reader;

const BUFFER_BYTES: usize = 64 << 10;

/// Reads text with tabs from one with spaces.
pub(super) struct Spaces {
    inner: Reader,
    quote: u8,
    raw: Vec<u8>,
    text: Vec<u8>,
    /// How much of `text` was given.
    given: usize,
    place: Place,
}

/// Where the next byte stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    LineStart,
    /// Behind a space, with nothing written for it yet.
    Space,
    Field,
    Quoted,
    /// Behind a quote that ends a field, unless another one follows.
    Closed,
}

impl Spaces {
    pub(super) fn new(inner: Reader, quote: u8) -> Self {
        Self {
            inner,
            quote,
            raw: vec![0; BUFFER_BYTES],
            text: Vec::new(),
            given: 0,
            place: Place::LineStart,
        }
    }

    fn take(&mut self, byte: u8) {
        use Place::{Closed, Field, LineStart, Quoted, Space};
        self.place = match (self.place, byte) {
            (Quoted, byte) => {
                self.text.push(byte);
                if byte == self.quote { Closed } else { Quoted }
            }
            (LineStart, b' ' | b'\t') => LineStart,
            (_, b' ' | b'\t') => Space,
            (_, b'\n' | b'\r') => {
                self.text.push(byte);
                LineStart
            }
            (place, byte) => {
                if place == Space {
                    self.text.push(b'\t');
                }
                self.text.push(byte);
                if byte == self.quote && place != Field {
                    Quoted
                } else {
                    Field
                }
            }
        };
    }
}

impl Read for Spaces {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.given == self.text.len() {
            self.text.clear();
            self.given = 0;
            let read = self.inner.read(&mut self.raw)?;
            if read == 0 {
                return Ok(0);
            }
            for at in 0..read {
                self.take(self.raw[at]);
            }
        }
        let read = (&self.text[self.given..]).read(out)?;
        self.given += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte a time, so that each run is cut at each place.
    struct Slowly(io::Cursor<Vec<u8>>);

    impl Read for Slowly {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let one = out.len().min(1);
            self.0.read(&mut out[..one])
        }
    }

    #[test]
    fn runs_of_spaces_become_tabs() {
        for (text, with_tabs) in [
            ("id    name\n1     x\n", "id\tname\n1\tx\n"),
            ("  id name  \r\n 22  zz\r\n", "id\tname\r\n22\tzz\r\n"),
            ("a  \"New  York\"   b\n", "a\t\"New  York\"\tb\n"),
            ("\"say \"\"x  y\"\" \"  b", "\"say \"\"x  y\"\" \"\tb"),
            ("a\"  b\n", "a\"\tb\n"),
            ("a \t b\n\n   \nc", "a\tb\n\n\nc"),
            ("", ""),
        ] {
            let readers: [Reader; 2] = [
                Box::new(io::Cursor::new(text.as_bytes().to_vec())),
                Box::new(Slowly(io::Cursor::new(text.as_bytes().to_vec()))),
            ];
            for reader in readers {
                let mut read = String::new();
                Spaces::new(reader, b'"').read_to_string(&mut read).unwrap();
                assert_eq!(read, with_tabs, "{text:?}");
            }
        }
    }
}
