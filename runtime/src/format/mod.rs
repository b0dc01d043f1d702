//! The formats as texts: this module parses and writes single raw records. It has all code for the formats that
//! decoders and encoders share.

pub mod csv;
mod hints;
pub mod jsonl;

use serde::{Deserialize, Serialize};

pub use self::hints::{Hints, OtherType};

/// The byte order mark that a UTF-8 text can begin with. It is not part of the first record.
pub const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Returns at most 64 characters of a text for a message, because a text from an input can be as long as the input.
pub fn clip(text: &[u8]) -> String {
    const CHARACTERS: usize = 64;
    let start = String::from_utf8_lossy(&text[..text.len().min(4 * (CHARACTERS + 1))]);
    match start.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &start[..end]),
        None => start.into_owned(),
    }
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
    use super::clip;

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
}
