//! A text goes in; its lines come out. As in CSV, a line ends at LF, at CRLF or at a lone CR.

use memchr::memchr2;

use crate::format::csv::line_end;

/// Returns the lines of a text, without their ends.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        let next = (end < rest.len()).then(|| line_end(rest, end, true)).flatten();
        rest = &rest[next.unwrap_or(rest.len())..];
        Some(line)
    })
}

/// Returns the lines of a sample. If the sample is not `whole`, leaves out a last line without a line end, because this
/// line can be cut off.
pub(super) fn complete_lines(text: &[u8], whole: bool) -> impl Iterator<Item = &[u8]> {
    let end = match whole {
        true => text.len(),
        false => memchr::memrchr2(b'\n', b'\r', text).unwrap_or(0),
    };
    lines(&text[..end])
}

/// Returns the number of line ends in a text.
pub(super) fn line_ends(text: &[u8]) -> usize {
    let is_last = !text.is_empty() && !text.ends_with(b"\n") && !text.ends_with(b"\r");
    lines(text).count() - usize::from(is_last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_end_of_csv_ends_a_line() {
        for (text, expected) in [
            ("", &[][..]),
            ("a", &["a"]),
            ("a\nb\r\nc\rd", &["a", "b", "c", "d"]),
            ("a\n\nb\r\n\r\nc\r\rd\r", &["a", "", "b", "", "c", "", "d"]),
        ] {
            let found: Vec<_> = lines(text.as_bytes()).collect();
            let expected: Vec<_> = expected.iter().map(|line| line.as_bytes()).collect();
            assert_eq!(found, expected, "{text:?}");
        }
        assert_eq!(
            [
                line_ends(b""),
                line_ends(b"a"),
                line_ends(b"a\r\nb"),
                line_ends(b"a\r\r")
            ],
            [0, 0, 1, 2]
        );
    }

    #[test]
    fn a_line_that_is_cut_off_is_none_of_a_sample() {
        let of = |text: &'static str, whole| complete_lines(text.as_bytes(), whole).count();
        assert_eq!(
            [
                of("a\rb", true),
                of("a\rb", false),
                of("a", false),
                of("a\rb\r", false)
            ],
            [2, 1, 0, 2]
        );
    }
}
