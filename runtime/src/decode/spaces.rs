//! A text with spaces between its fields goes in; the same text with one tab between fields comes out. Spaces at the
//! beginning and the end of a line are dropped. A space stays if it is within quotes, directly after an escape, or in a
//! comment. Tabs in the text are treated like spaces.

use std::io::{self, Read};

use super::Reader;
use crate::format::csv::Syntax;

const BUFFER_BYTES: usize = 64 << 10;

/// A reader that replaces the spaces between fields by tabs.
pub(super) struct Spaces {
    inner: Reader,
    syntax: Syntax,
    raw: Vec<u8>,
    text: Vec<u8>,
    /// The number of bytes of `text` that the reader has already returned.
    given: usize,
    state: FieldState,
}

/// The state of the reader before the next byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FieldState {
    LineStart,
    /// After spaces for which no tab has been written yet.
    Space,
    Field,
    Quoted,
    /// After a closing quote. If another quote follows, the field continues.
    Closed,
    /// After an escape, which is within quotes if `is_quoted` is true.
    Escaped {
        is_quoted: bool,
    },
    /// After an escaped CR. If an LF follows, it is escaped too.
    EscapedCr,
    Comment,
}

impl Spaces {
    /// Returns a reader that replaces spaces in the text of `inner`. This text must begin at the start of a line,
    /// without a byte order mark.
    pub(super) fn new(inner: Reader, syntax: Syntax) -> Self {
        Self {
            inner,
            syntax,
            raw: vec![0; BUFFER_BYTES],
            text: Vec::new(),
            given: 0,
            state: FieldState::LineStart,
        }
    }

    fn take(&mut self, byte: u8) {
        use FieldState::{Closed, Comment, Escaped, EscapedCr, Field, LineStart, Quoted, Space};
        let is_quote = self.syntax.quote == Some(byte);
        let is_escape = self.syntax.escape == Some(byte);
        if matches!(self.state, LineStart | Space | Field | Closed | EscapedCr)
            && matches!(byte, b' ' | b'\t')
        {
            if self.state != LineStart {
                self.state = Space;
            }
            return;
        }
        if self.state == Space && !matches!(byte, b'\n' | b'\r') {
            self.text.push(b'\t');
        }
        self.text.push(byte);
        self.state = match (self.state, byte) {
            (Quoted, _) if is_quote => Closed,
            (Quoted, _) if is_escape => Escaped { is_quoted: true },
            (Quoted, _) | (Escaped { is_quoted: true }, _) => Quoted,
            (Escaped { is_quoted: false }, b'\r') => EscapedCr,
            (Escaped { is_quoted: false }, _) | (EscapedCr, b'\n') => Field,
            (_, b'\n' | b'\r') => LineStart,
            (Comment, _) => Comment,
            (LineStart, _) if self.syntax.comment == Some(byte) => Comment,
            (LineStart | Space | Closed, _) if is_quote => Quoted,
            // Right after a closing quote, an escape has no meaning, as in the parser.
            (LineStart | Space | Field | EscapedCr, _) if is_escape => Escaped { is_quoted: false },
            _ => Field,
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
    use crate::format::csv::Dialect;

    /// A reader that returns one byte for each read. So every run of several spaces is split between several reads.
    struct OneByteReader(io::Cursor<Vec<u8>>);

    impl Read for OneByteReader {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let one = out.len().min(1);
            self.0.read(&mut out[..one])
        }
    }

    #[track_caller]
    fn assert_read(text: &str, syntax: Syntax, with_tabs: &str) {
        let readers: [Reader; 2] = [
            Box::new(io::Cursor::new(text.as_bytes().to_vec())),
            Box::new(OneByteReader(io::Cursor::new(text.as_bytes().to_vec()))),
        ];
        for reader in readers {
            let mut read = String::new();
            Spaces::new(reader, syntax).read_to_string(&mut read).unwrap();
            assert_eq!(read, with_tabs, "{text:?}");
        }
    }

    fn quoted() -> Syntax {
        Syntax {
            delimiter: b'\t',
            ..Dialect::default().into()
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
            assert_read(text, quoted(), with_tabs);
        }
    }

    #[test]
    fn what_is_escaped_is_text() {
        let syntax = Syntax {
            escape: Some(b'\\'),
            comment: Some(b'#'),
            ..quoted()
        };
        for (text, with_tabs) in [
            ("x\\ y  z\n", "x\\ y\tz\n"),
            ("x \\  y\n", "x\t\\ \ty\n"),
            ("\\  \\\t \\\\ z\n", "\\ \t\\\t\t\\\\\tz\n"),
            ("\"a\\\"  b\"  c\n", "\"a\\\"  b\"\tc\n"),
            ("\\\"a  b\n", "\\\"a\tb\n"),
            ("a\\\r\n b  c\r\n", "a\\\r\n\tb\tc\r\n"),
            ("a\\\n#  b\n", "a\\\n#\tb\n"),
            ("\"a\"\\  b\n", "\"a\"\\\tb\n"),
            ("\\#  a\n", "\\#\ta\n"),
            ("a  \\", "a\t\\"),
        ] {
            assert_read(text, syntax, with_tabs);
        }
    }

    #[test]
    fn a_quote_or_an_escape_in_a_comment_is_text() {
        let syntax = Syntax {
            escape: Some(b'\\'),
            comment: Some(b'#'),
            ..quoted()
        };
        for (text, with_tabs) in [
            ("# \"a  b\n\"c  d\"  e\n", "# \"a  b\n\"c  d\"\te\n"),
            ("  # it\\\r\na  b", "# it\\\r\na\tb"),
            ("a  # \"b  c\"\n", "a\t#\t\"b  c\"\n"),
            ("\"a\n#  b\"  c\n", "\"a\n#  b\"\tc\n"),
        ] {
            assert_read(text, syntax, with_tabs);
        }
    }

    #[test]
    fn without_a_quote_none_opens_a_field() {
        let syntax = Syntax {
            quote: None,
            ..quoted()
        };
        assert_read("\"a  b\n", syntax, "\"a\tb\n");
        let bytes = b"\xff  a  b\n\xff  c  d\n".to_vec();
        let mut read = Vec::new();
        Spaces::new(Box::new(io::Cursor::new(bytes)), syntax)
            .read_to_end(&mut read)
            .unwrap();
        assert_eq!(read, b"\xff\ta\tb\n\xff\tc\td\n");
    }
}
