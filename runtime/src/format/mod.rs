//! The formats as texts: this module parses and writes single raw records. It has all code for the formats that
//! decoders and encoders share.

pub mod csv;
mod hints;
pub mod jsonl;

use serde::{Deserialize, Serialize};

pub use self::hints::{Hints, OtherType};
use crate::location::redact_within;

/// The byte order mark that a UTF-8 text can begin with. It is not part of the first record.
pub const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The maximum number of characters of a text from an input that a message quotes.
const QUOTED_CHARS: usize = 64;

/// The number of bytes after a quoted text that are searched for the rest of a secret.
const SECRET_BYTES_MAX: usize = 4 << 10;

/// Returns at most 64 characters of a text for a message, because a text from an input can be as long as the input. The
/// result has no secrets: see [`redact_within`].
pub fn clip(text: &[u8]) -> String {
    let start = &text[..text.len().min(4 * QUOTED_CHARS + SECRET_BYTES_MAX)];
    clip_data(redact_within(&String::from_utf8_lossy(start)).as_bytes())
}

/// Returns at most 64 characters of a value that is data, so its secrets stay.
pub fn clip_data(text: &[u8]) -> String {
    let start = String::from_utf8_lossy(&text[..text.len().min(4 * (QUOTED_CHARS + 1))]);
    match start.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("{}…", &start[..end]),
        None => start.into_owned(),
    }
}

/// Returns at most `chars_max` characters of a text from a server or a plugin, without secrets. The text is redacted
/// before it is cut, because a part of a secret cannot be recognized.
pub fn redacted_start(text: &str, chars_max: usize) -> String {
    let end = text.floor_char_boundary(4 * chars_max + SECRET_BYTES_MAX);
    let mut shown = redact_within(&text[..end]);
    if let Some((end, _)) = shown.char_indices().nth(chars_max) {
        shown.truncate(end);
    }
    shown
}

/// A format of inputs and outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Comma-separated values, as in RFC 4180 and its usual dialects.
    Csv,
    /// One JSON object on each line.
    Jsonl,
}

impl Format {
    /// All formats, in the order of the enum.
    pub const ALL: [Self; 2] = [Self::Csv, Self::Jsonl];

    /// Returns the name of the format, which is also the file name extension.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// The type of an output column's values, for formats that have types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColumnType {
    /// The type that the value has in the input.
    #[default]
    Inherit,
    /// A text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A time in ISO 8601.
    Timestamp,
}

/// One column of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputColumn {
    /// The name of the column, which is unique within the output.
    pub name: String,
    /// The type of the column's values.
    pub column_type: ColumnType,
    /// The index of the input column that is copied into this column. `None` if no input column is copied, so that the
    /// column is empty. In both cases, an edit can give a cell another text.
    pub source: Option<usize>,
}

/// A part of a text, as two offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The offset of the first byte.
    pub start: usize,
    /// The offset after the last byte.
    pub end: usize,
}

impl Span {
    /// Returns this part of `raw`.
    pub fn of(self, raw: &[u8]) -> &[u8] {
        &raw[self.start..self.end]
    }
}

/// Appends `text[start..end]`. If the part is not longer than a block, as most fields are, copies a whole block and
/// truncates it. This is faster than a call that copies the exact length.
#[inline]
pub fn append(out: &mut Vec<u8>, text: &[u8], Span { start, end }: Span) {
    const BLOCK: usize = 32;
    if end - start <= BLOCK
        && let Some(block) = text[start..].first_chunk::<BLOCK>()
    {
        let appended = out.len() + (end - start);
        out.extend_from_slice(block);
        out.truncate(appended);
    } else {
        out.extend_from_slice(&text[start..end]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_clipped_within_no_character() {
        assert_eq!(clip("é".repeat(64).as_bytes()), "é".repeat(64));
        for long in ["a", "é", "😀"] {
            let clipped = format!("{}…", long.repeat(64));
            assert_eq!(clip(long.repeat(65).as_bytes()), clipped);
            assert_eq!(clip(long.repeat(1_000).as_bytes()), clipped);
        }
        assert_eq!(clip(b"a\xff"), "a\u{fffd}");
    }

    #[test]
    fn a_secret_is_hidden_before_the_text_is_cut() {
        let long = "s3cr3t".repeat(100);
        for (text, quoted) in [
            (
                "cannot read https://h/x?X-Amz-Signature=s3cr3t".to_owned(),
                "cannot read https://h/x?X-Amz-Signature=***",
            ),
            (format!("see ftp://me:{long}@h/x"), "see ftp://h/x"),
            (format!("see u=me:{long}@h/x"), "see u=***@h/x"),
            (
                format!("{{\"token\":\"{long}\",\"a\":1}}"),
                r#"{"token":"***","a":1}"#,
            ),
            (format!("a?token={long}&b=1"), "a?token=***&b=1"),
        ] {
            assert_eq!(clip(text.as_bytes()), quoted);
            assert_eq!(redacted_start(&text, 64), quoted);
        }
        assert_eq!(redacted_start("abc", 2), "ab");
        assert_eq!(redacted_start("ééé", 3), "ééé");
        for text in [r"C:\new\table.csv", "a\\nb: c", "key,name", "12:30 a@b"] {
            assert_eq!(clip(text.as_bytes()), text);
        }
        assert_eq!(clip_data(b"a?token=s3cr3t"), "a?token=s3cr3t");
    }
}
