//! Reads a list of URIs: text goes in, and each URI comes out with the number of its line.

use std::io::BufRead;

use crate::document::without_mark;
use crate::error::{Code, Error, Result, Stage};

/// The maximum length of a line in bytes. A URI of a request has at most 8,192 characters, of at most 4 bytes each.
const LINE_BYTES_MAX: u64 = 32 * 1024;

/// The lines of a list of URIs. Blank lines are skipped, and lines that begin with `#`. A line may end with `\r\n`. All
/// other characters of a line belong to its URI.
pub struct UriList<R> {
    name: String,
    reader: R,
    line: u64,
    is_over: bool,
}

/// A URI in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUri {
    /// The URI or path, as it was written.
    pub uri: String,
    /// The number of its line, counted from 1.
    pub line: u64,
}

impl<R: BufRead> UriList<R> {
    /// Returns a list that is called `name` in errors.
    pub fn new(name: impl Into<String>, reader: R) -> Self {
        Self {
            name: name.into(),
            reader,
            line: 0,
            is_over: false,
        }
    }

    /// Returns the position of a line, for errors.
    pub fn place(&self, line: u64) -> String {
        format!("{} line {line}", self.name)
    }

    /// Returns the error for a list that has no URI.
    pub fn has_none(&self) -> Error {
        let what = format!("{}: this list has no URI", self.name);
        Error::permanent(Stage::Config, Code::InputMissing, what)
    }

    /// Returns the next line. After an error about a line, the next call returns the line after it. After an error of the
    /// reader, the list is over.
    fn read(&mut self) -> Result<Option<String>> {
        let failed = |code, line: u64, why: String| {
            let what = format!("{} line {line}: {why}", self.name);
            Error::permanent(Stage::Config, code, what)
        };
        let mut bytes = Vec::new();
        let mut limited = std::io::Read::take(&mut self.reader, LINE_BYTES_MAX + 1);
        self.line += 1;
        let read = limited.read_until(b'\n', &mut bytes);
        let unread = |error| failed(Code::SettingsInvalid, self.line, "cannot be read".into()).because(error);
        let read = read.map_err(|error| {
            self.is_over = true;
            unread(error)
        })?;
        if read == 0 {
            return Ok(None);
        }
        if bytes.len() as u64 > LINE_BYTES_MAX {
            if bytes.last() != Some(&b'\n') {
                self.reader.skip_until(b'\n').map_err(|error| {
                    self.is_over = true;
                    unread(error)
                })?;
            }
            let why = format!("has more than {LINE_BYTES_MAX} bytes: is this a list of URIs?");
            return Err(failed(Code::RequestInvalid, self.line, why));
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        let text = String::from_utf8(bytes)
            .map_err(|error| failed(Code::RequestInvalid, self.line, "is not UTF-8".into()).because(error))?;
        Ok(Some(match self.line {
            1 => without_mark(&text).to_owned(),
            _ => text,
        }))
    }
}

impl<R: BufRead> Iterator for UriList<R> {
    type Item = Result<ListedUri>;

    /// Returns the next URI, or the error about a line that has none. The lines after it follow.
    fn next(&mut self) -> Option<Result<ListedUri>> {
        while !self.is_over {
            match self.read() {
                Ok(Some(text)) if text.trim().is_empty() || text.starts_with('#') => {}
                Ok(Some(uri)) => {
                    let line = self.line;
                    return Some(Ok(ListedUri { uri, line }));
                }
                Ok(None) => self.is_over = true,
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<Result<(u64, String), String>> {
        let list = UriList::new("list.txt", text);
        list.map(|uri| {
            uri.map(|ListedUri { uri, line }| (line, uri))
                .map_err(|error| error.to_string())
        })
        .collect()
    }

    #[test]
    fn blank_lines_and_comments_are_skipped() {
        let text = "\u{feff}a.csv\r\n\n # b.csv\n#c.csv\n  \t\r\n./#d.csv\nhttps://h.example/e.csv#f";
        let expected = [
            (1, "a.csv"),
            (3, " # b.csv"),
            (6, "./#d.csv"),
            (7, "https://h.example/e.csv#f"),
        ];
        let expected = expected.map(|(line, uri)| Ok((line, uri.to_owned())));
        assert_eq!(read(text.as_bytes()), expected);
        assert_eq!(read(b""), []);
    }

    #[test]
    fn an_error_names_the_line_and_the_next_lines_follow() {
        let long = [b"a\n".to_vec(), vec![b'x'; 40_000], b"\nb\n".to_vec()].concat();
        let one_too_long = [b"a\n".to_vec(), vec![b'x'; 32 * 1024], b"\nb\n".to_vec()].concat();
        for (text, why) in [
            (&b"a\n\xff\nb\n"[..], "list.txt line 2: is not UTF-8"),
            (&long, "list.txt line 2: has more than 32768 bytes"),
            (&one_too_long, "list.txt line 2: has more than 32768 bytes"),
        ] {
            let found = read(text);
            assert_eq!(found.len(), 3);
            assert_eq!(found[0], Ok((1, "a".to_owned())));
            assert_eq!(found[2], Ok((3, "b".to_owned())));
            let error = found[1].as_ref().expect_err("an error");
            assert!(error.contains(why), "{error}");
        }
    }
}
