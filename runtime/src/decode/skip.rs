//! A reader of a text goes in; a reader of the same text without its first lines comes out.

use std::io::{Cursor, Read};

use memchr::memchr2;

use super::Reader;
use super::sample::read_on;
use super::split::{InputStart, check_mark, in_input};
use crate::error::{Code, Result};
use crate::format::csv::line_end;

/// The number of bytes that are read at once. A longer line is skipped piece by piece, so it is never in memory as a
/// whole.
const PIECE_BYTES: usize = 64 << 10;

/// Skips `lines` lines, whatever they contain. Returns a reader of the rest, and the position of the rest in the file.
///
/// # Errors
/// Fails if nothing is left after `lines` lines, or if the text begins with the byte order mark of UTF-16 or UTF-32.
/// Returns the reader's errors.
pub(super) fn skip_lines(mut reader: Reader, name: &str, lines: u32) -> Result<(Reader, InputStart)> {
    let (mut begin, mut seen) = (InputStart::default(), Vec::new());
    if lines == 0 {
        return Ok((reader, begin));
    }
    read_on(&mut reader, name, 0, PIECE_BYTES, &mut seen)?;
    let mut is_last = seen.is_empty();
    check_mark(&seen).map_err(|message| in_input(name, Code::EncodingMismatch, message))?;
    loop {
        let mut at = 0;
        while begin.lines < u64::from(lines)
            && let Some(end) = memchr2(b'\n', b'\r', &seen[at..]).map(|length| at + length)
            && let Some(next) = line_end(&seen, end, is_last)
        {
            at = next;
            begin.lines += 1;
        }
        begin.bytes += at as u64;
        drop(seen.drain(..at));
        if begin.lines == u64::from(lines) && !seen.is_empty() {
            return Ok((Box::new(Cursor::new(seen).chain(reader)), begin));
        }
        if is_last {
            let message = format!(
                "has no line behind the {lines} that are skipped: expected one that tells the columns; is --skip-lines right?"
            );
            return Err(in_input(name, Code::InputEmpty, message));
        }
        // A CR at the end is kept, because it can be the first half of a line end.
        let kept = usize::from(seen.last() == Some(&b'\r'));
        if begin.lines < u64::from(lines) {
            begin.bytes += (seen.len() - kept) as u64;
            drop(seen.drain(..seen.len() - kept));
        }
        let before = seen.len();
        read_on(&mut reader, name, begin.bytes, PIECE_BYTES, &mut seen)?;
        is_last = seen.len() == before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(text: &[u8], lines: u32) -> Result<(Vec<u8>, u64, u64)> {
        let (mut reader, begin) = skip_lines(Box::new(Cursor::new(text.to_vec())), "a.csv", lines)?;
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!(begin.bytes as usize + rest.len(), text.len());
        Ok((rest, begin.lines, begin.bytes))
    }

    #[test]
    fn lines_end_as_they_do_in_a_table() {
        let text = b"\xef\xbb\xbftitle\n\r\n\"open\rx\na,b\n1,2\n";
        for (lines, rest) in [
            (0, &text[..]),
            (1, b"\r\n\"open\rx\na,b\n1,2\n"),
            (2, b"\"open\rx\na,b\n1,2\n"),
            (3, b"x\na,b\n1,2\n"),
            (4, b"a,b\n1,2\n"),
        ] {
            let (found, count, _) = skipped(text, lines).unwrap();
            assert_eq!(found, rest, "{lines}");
            assert_eq!(count, u64::from(lines));
        }
    }

    #[test]
    fn a_long_line_and_a_line_end_in_two_pieces_are_skipped() {
        for length in [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
            for end in ["\n", "\r\n", "\r"] {
                let text = format!("{}{end}a,b\n", "x".repeat(length));
                let (rest, _, bytes) = skipped(text.as_bytes(), 1).unwrap();
                assert_eq!((&rest[..], bytes as usize), (&b"a,b\n"[..], length + end.len()));
            }
        }
    }

    #[test]
    fn what_is_skipped_as_a_whole_is_an_error() {
        for (text, lines) in [
            (&b""[..], 1),
            (b"a", 1),
            (b"a\n", 1),
            (b"a\r", 1),
            (b"a\n\n", 3),
            (b"a\nb\n", 2),
        ] {
            let error = skipped(text, lines).expect_err("nothing is left");
            assert!(error.to_string().contains("is --skip-lines right?"), "{error}");
        }
        assert!(
            skipped(b"\xff\xfea\0\n\0", 1)
                .expect_err("UTF-16")
                .to_string()
                .contains("is UTF-16")
        );
    }
}
