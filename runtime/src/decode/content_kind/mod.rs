//! The beginning of an input in; out comes what it is, if it cannot be the records that it should be: an archive, a page, a
//! document. What may be a legal file of its format is never named here; a guess is made in `shape.rs`.

mod json;
mod magic;
mod text;

use std::borrow::Cow;

use super::sample::Sample;
use crate::format::Format;

/// What an input is, in place of records.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// Goes on from "is".
    what: Cow<'static, str>,
    advice: Advice,
}

/// What to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Advice {
    Convert,
    Decrypt,
    DecompressOnce,
    Extract,
    FetchContent,
    FetchPage,
    /// Goes with the beginning of the object.
    JsonAnswer(String),
    JsonArray,
    JsonDocument,
    JsonLines,
    /// Goes with the path of the list.
    JsonList(String),
    JsonObjects,
    Recompress,
    Resolve,
    SaveSheet,
    TakeTheFile,
    Utf16(&'static str),
}

impl Kind {
    fn new(what: impl Into<Cow<'static, str>>, advice: Advice) -> Self {
        let what = what.into();
        Self { what, advice }
    }

    /// What it is and what to do, behind the input's name.
    pub(super) fn sentence(&self, format: Format) -> String {
        let Self { what, advice } = self;
        let expected = match format {
            Format::Csv => "CSV",
            Format::Jsonl => "JSONL",
        };
        let advice = match advice {
            Advice::Convert => "convert it to CSV or JSONL",
            Advice::Decrypt => "decrypt it first",
            Advice::DecompressOnce => "decompress it once",
            Advice::Extract => "unpack it, and submit the files in it",
            Advice::FetchContent => "fetch the file that it stands for, and submit that",
            Advice::FetchPage => "is this the address of the file itself?",
            Advice::JsonLines => "read it with --input-format jsonl",
            Advice::JsonArray => {
                "write one object a line, as `jq -c '.[]'` does, and read it with --input-format jsonl"
            }
            Advice::JsonDocument => {
                "write its records one a line, as `jq -c` does, and read it with --input-format jsonl"
            }
            Advice::JsonObjects => "write an object a line, in which each value has a name",
            Advice::Resolve => "resolve the conflicts first",
            Advice::Recompress => "decompress it, or compress it by gzip or zstd",
            Advice::SaveSheet => "save the table in it as CSV",
            Advice::TakeTheFile => "is this the address of the right file?",
            Advice::JsonList(path) => return format!("is {what}, not {expected}: {}", list_advice(path)),
            Advice::JsonAnswer(start) => {
                return format!(
                    "is {what}, not {expected} ({start}): is it an answer in place of the file? else write its records one a line, as \
                     `jq -c` does, and read it with --input-format jsonl"
                );
            }
            Advice::Utf16(label) => return format!("is {what}: say so, with --encoding {label}"),
        };
        format!("is {what}, not {expected}: {advice}")
    }
}

/// What to do with an object that has a list of records at a path of `jq`.
fn list_advice(path: &str) -> String {
    let member = path.strip_prefix('.').unwrap_or(path);
    format!(
        "its member `{member}` is a list: `jq -c '{path}[]'` writes its elements one a line, to be read with --input-format jsonl"
    )
}

/// What to do with an object that should be lines of them; None if it has no list of records in it.
pub(super) fn advice_on_list(text: &[u8]) -> Option<String> {
    json::list_in(text).map(|path| list_advice(&path))
}

/// What the bytes of an input are before anything is known of their encoding, unless they may be text. `is_utf8` says that
/// nobody has named another encoding.
pub(super) fn of_bytes(sample: &Sample, is_utf8: bool) -> Option<Kind> {
    let bytes = sample.bytes();
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes {
        return None; // Said by whoever passes over byte order marks.
    }
    let unmarked = utf16_without_mark(bytes).filter(|_| is_utf8);
    if let Some(label) = unmarked {
        return Some(Kind::new(
            "UTF-16 without a byte order mark",
            Advice::Utf16(label),
        ));
    }
    magic::of(bytes, is_utf8)
}

/// What a text is, unless it may be records of the format. `is_quoted` says that fields of CSV may stand in `"`.
pub(super) fn of_text(sample: &Sample, format: Format, is_quoted: bool) -> Option<Kind> {
    text::of(sample).or_else(|| match format {
        Format::Csv => json::of_csv(sample, is_quoted),
        Format::Jsonl => json::of_jsonl(sample),
    })
}

/// The label of UTF-16 in its byte order, if every other byte of a text is NUL as in Latin letters, digits and commas.
fn utf16_without_mark(bytes: &[u8]) -> Option<&'static str> {
    const LEAST_BYTES: usize = 8;
    let start = &bytes[..bytes.len().min(512) & !1];
    if start.len() < LEAST_BYTES {
        return None;
    }
    let (pairs, _) = start.as_chunks::<2>();
    let share = |is: fn(&[u8; 2]) -> bool| 10 * pairs.iter().filter(|pair| is(pair)).count() / pairs.len();
    if share(|pair| pair[0] != 0 && pair[1] == 0) >= 9 {
        Some("utf-16le")
    } else if share(|pair| pair[0] == 0 && pair[1] != 0) >= 9 {
        Some("utf-16be")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_16_without_a_mark_is_told_with_its_byte_order() {
        let text = "id,name\n1,café\n2,Łódź\n";
        let bytes = |to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect::<Vec<_>>();
        for (bytes, label) in [
            (bytes(u16::to_le_bytes), "utf-16le"),
            (bytes(u16::to_be_bytes), "utf-16be"),
        ] {
            let sample = Sample::of(&bytes);
            let kind = of_bytes(&sample, true).unwrap();
            assert_eq!(
                kind.sentence(Format::Csv),
                format!("is UTF-16 without a byte order mark: say so, with --encoding {label}")
            );
            assert_eq!(of_bytes(&sample, false), None);
        }
        assert_eq!(of_bytes(&Sample::of("a\0b,c\0d\n1\0,2\0\n"), true), None);
    }
}
