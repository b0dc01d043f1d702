//! Compares the text that is expected with the text that was made. Two texts go in, and the lines that differ come out,
//! with some equal lines around them.

use std::time::Duration;

use serde::Serialize;
use similar::{ChangeTag, TextDiff};

/// The number of equal lines that are shown before and after a difference.
const CONTEXT_LINES: usize = 2;

/// The maximum number of lines of a difference that are kept.
const LINES_MAX: usize = 200;

/// The time after which the comparison of two texts no longer looks for the smallest difference.
const COMPARE_TIME: Duration = Duration::from_secs(2);

/// A file that differs from what is expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The name of the file with the expectation.
    pub file: String,
    /// The lines that differ, with some equal lines around them. A line is not complete without its line end, so a
    /// missing line end is a difference, too.
    pub lines: Vec<Line>,
    /// The number of further lines that were left out.
    pub left_out: usize,
}

/// A line of a difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The texts that contain the line.
    pub side: Side,
    /// The number of the line in the expectation or, if it is not there, in what was made.
    pub number: usize,
    /// The text, without its line feed.
    pub text: String,
    /// True if the text ends without a line feed.
    pub is_cut: bool,
}

/// The texts that contain a line: one of them, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// In both texts.
    Both,
    /// Only in the expectation.
    Expected,
    /// Only in what was made.
    Made,
}

/// Returns the difference between what is expected in a file and what was made.
pub(super) fn difference(file: String, expected: &[u8], made: &[u8]) -> Difference {
    let [expected, made] = [expected, made].map(String::from_utf8_lossy);
    let compared = TextDiff::configure()
        .timeout(COMPARE_TIME)
        .diff_lines(&*expected, &*made);
    let (mut lines, mut left_out) = (Vec::new(), 0);
    for change in compared
        .grouped_ops(CONTEXT_LINES)
        .iter()
        .flatten()
        .flat_map(|op| compared.iter_changes(op))
    {
        if lines.len() >= LINES_MAX {
            left_out += 1;
            continue;
        }
        let side = match change.tag() {
            ChangeTag::Equal => Side::Both,
            ChangeTag::Delete => Side::Expected,
            ChangeTag::Insert => Side::Made,
        };
        let index = change.old_index().or(change.new_index());
        let text = change.value();
        lines.push(Line {
            side,
            number: index.unwrap_or_default() + 1,
            text: text.strip_suffix('\n').unwrap_or(text).to_owned(),
            is_cut: !text.ends_with('\n'),
        });
    }
    Difference {
        file,
        lines,
        left_out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(expected: &str, made: &str) -> Vec<String> {
        let found = difference("a".into(), expected.as_bytes(), made.as_bytes());
        let sign = |side| match side {
            Side::Both => ' ',
            Side::Expected => '-',
            Side::Made => '+',
        };
        let line = |line: Line| format!("{}{} {}", sign(line.side), line.number, line.text);
        found.lines.into_iter().map(line).collect()
    }

    #[test]
    fn lines_that_differ_are_shown_among_their_neighbours() {
        let expected = "1\n2\n3\n4\n5\n6\n";
        assert_eq!(
            shown(expected, "1\n2\n3\n4\nx\n6\n"),
            [" 3 3", " 4 4", "-5 5", "+5 x", " 6 6"]
        );
        assert_eq!(shown("a\n", ""), ["-1 a"]);
        assert_eq!(shown("", "a"), ["+1 a"]);
        assert_eq!(shown("a\n", "a"), ["-1 a", "+1 a"]);
        assert_eq!(shown("a\r\n", "a\n"), ["-1 a\r", "+1 a"]);
    }

    #[test]
    fn a_long_difference_is_cut_and_says_so() {
        let expected = "a\n".repeat(LINES_MAX + 7);
        let found = difference("a".into(), expected.as_bytes(), b"");
        assert_eq!((found.lines.len(), found.left_out), (LINES_MAX, 7));
    }
}
