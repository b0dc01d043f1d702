//! Recognizes, by its beginning, an input that does not consist of records. Such an input is an archive, a page or a
//! document. If the input could also be a legal CSV file, its kind is a guess. If the request names the format, guesses
//! do not count. `shape.rs` makes other guesses.

mod archive;
mod json;
mod magic;
mod markup;
mod text;
mod utf16;

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};

use self::utf16::Utf16;
pub(super) use self::utf16::is_utf32;
use super::sample::{Sample, has_utf16_mark};
use crate::error::Code;
use crate::format::Format;

/// The kind of an input that does not consist of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    /// The name of the kind. In messages it follows "is".
    what: Cow<'static, str>,
    advice: Advice,
    /// True if the input could also be a legal CSV file.
    is_guess: bool,
}

/// The advice on what to do with such an input.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Advice {
    Convert,
    Decrypt,
    DecompressOnce,
    Extract,
    FetchContent,
    FetchPage,
    /// An object that is perhaps an answer in place of the file. The string is the beginning of the object.
    JsonAnswer(String),
    JsonArray,
    JsonDocument,
    JsonLines,
    /// An object with a list of records. The string is the path of the list.
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
        Self {
            what,
            advice,
            is_guess: false,
        }
    }

    /// Returns the same kind, marked as a guess.
    fn guessed(self) -> Self {
        let is_guess = true;
        Self { is_guess, ..self }
    }

    /// Returns whether the input could also be a legal CSV file.
    pub(super) fn is_guess(&self) -> bool {
        self.is_guess
    }

    /// Returns the message that follows the name of the input: the kind of the input, and advice.
    pub(super) fn sentence(&self, format: Format) -> String {
        let refusal = self.refusal(format);
        match (self.is_guess, format) {
            (true, Format::Csv) => {
                let and = if refusal.ends_with('?') { "" } else { ";" };
                format!("{refusal}{and} if it is CSV, say --input-format csv")
            }
            _ => refusal,
        }
    }

    /// Returns the code of the error. For UTF-16, this is the code that says that the request has to name the encoding.
    /// For all other kinds, this is `other`.
    pub(super) fn code(&self, other: Code) -> Code {
        match self.advice {
            Advice::Utf16(_) => Code::EncodingMismatch,
            _ => other,
        }
    }

    fn refusal(&self, format: Format) -> String {
        let Self { what, advice, .. } = self;
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

/// Returns the advice for an object that has a list of records. `path` is the path of the list in the syntax of `jq`.
fn list_advice(path: &str) -> String {
    let member = path.strip_prefix('.').unwrap_or(path);
    format!(
        "its member `{member}` is a list: `jq -c '{path}[]'` writes its elements one a line, to be read with --input-format jsonl"
    )
}

/// Returns the advice for a file that is one JSON object with a list of records. Returns `None` if the object has no
/// such list.
pub(super) fn advice_on_list(text: &[u8]) -> Option<String> {
    json::list_in(text).map(|path| list_advice(&path))
}

/// Returns the kind of an input by its bytes, or `None` if the bytes can be text. `encoding` is the encoding that was
/// named for the input, if it is not UTF-8. If `is_named` is true, the request names the format: in this case, even
/// many control characters are no sign of another kind.
pub(super) fn of_bytes(sample: &Sample, encoding: Option<&'static Encoding>, is_named: bool) -> Option<Kind> {
    let bytes = sample.bytes();
    if has_utf16_mark(bytes) {
        return None; // The check of the byte order mark reports UTF-16.
    }
    let is_wide = encoding == Some(UTF_16LE) || encoding == Some(UTF_16BE);
    let is_encoding =
        |label: &str| encoding.is_some_and(|encoding| encoding.name().eq_ignore_ascii_case(label));
    let utf16 = utf16::detect(bytes, is_wide).filter(|utf16| !is_encoding(utf16.label));
    if let Some(Utf16 { label, is_certain }) = utf16 {
        let kind = match is_wide {
            true => Kind::new("UTF-16 in the other byte order", Advice::Utf16(label)),
            false => Kind::new("UTF-16 without a byte order mark", Advice::Utf16(label)),
        };
        if is_wide || is_certain {
            return Some(kind);
        }
        if !is_named {
            return Some(kind.guessed());
        }
    }
    let binary =
        || (encoding.is_none() && !is_named && magic::is_mostly_binary(bytes)).then(|| binary().guessed());
    magic::of(bytes, encoding.is_none(), is_named).or_else(binary)
}

/// Returns the kind of an input by its decoded text, or `None` if the input can really be text. Successful decoding
/// does not prove that the input is text, because some encodings map any byte to a character. `is_named` is true if the
/// request names the format.
pub(super) fn of_decoded(sample: &Sample, is_named: bool) -> Option<Kind> {
    let start = &sample.bytes()[..sample.bytes().len().min(1 << 10)];
    // If the request names the format, more different control characters are allowed. Even then, binary data is
    // recognized, because it has almost every control character.
    let most = if is_named {
        11
    } else {
        magic::DIFFERENT_CONTROLS_MAX
    };
    if magic::different_controls(start) > most {
        return Some(binary());
    }
    magic::of(start, false, is_named)
}

fn binary() -> Kind {
    Kind::new("binary data", Advice::Convert)
}

/// Returns the kind that the beginning of a text shows, or `None`. The kind does not depend on the format.
fn of_beginning(sample: &Sample, delimiter: Option<u8>, is_quoted: bool) -> Option<Kind> {
    text::of(sample).or_else(|| markup::of(sample, delimiter, is_quoted))
}

/// Returns the kind of a text, or `None` if the text can be CSV. `delimiter` is the delimiter that the request names,
/// and `is_quoted` is true if fields can be within `"`.
pub(super) fn of_csv(sample: &Sample, delimiter: Option<u8>, is_quoted: bool) -> Option<Kind> {
    of_beginning(sample, delimiter, is_quoted).or_else(|| json::of_csv(sample, delimiter, is_quoted))
}

/// Returns the kind of a text, or `None` if the text can be JSONL. Guesses count here, because no line of JSONL looks
/// like one of these kinds.
pub(super) fn of_jsonl(sample: &Sample) -> Option<Kind> {
    of_beginning(sample, None, true)
        .or_else(|| markup::of_jsonl(sample))
        .or_else(|| json::of_jsonl(sample))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_16_without_a_mark_is_recognized_with_its_byte_order() {
        let text = "id,name\n1,café\n2,Łódź\n";
        let bytes = |to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect::<Vec<_>>();
        for (bytes, label) in [
            (bytes(u16::to_le_bytes), "utf-16le"),
            (bytes(u16::to_be_bytes), "utf-16be"),
        ] {
            let sample = Sample::of(&bytes);
            let kind = of_bytes(&sample, None, false).unwrap();
            assert_eq!(
                kind.sentence(Format::Csv),
                format!("is UTF-16 without a byte order mark: say so, with --encoding {label}")
            );
            assert_eq!(
                of_bytes(&sample, Encoding::for_label(label.as_bytes()), false),
                None
            );
            let kind = of_bytes(&sample, Some(encoding_rs::WINDOWS_1252), false).unwrap();
            assert!(
                kind.sentence(Format::Csv)
                    .ends_with(&format!("--encoding {label}"))
            );
        }
        assert_eq!(of_bytes(&Sample::of("a\0b,c\0d\n1\0,2\0\n"), None, false), None);
    }

    #[test]
    fn utf_16_of_any_script_is_recognized_before_other_errors() {
        for text in [
            "番号,名前\n1,花子\n",
            "номер,имя\n1,Анна\n",
            "αριθμός,όνομα\n1,Άννα\n",
            "번호,이름\n1,가나\n",
            "ᾠδή,b\n1,2\n",
        ] {
            for (to_bytes, label) in [
                (u16::to_le_bytes as fn(u16) -> [u8; 2], "utf-16le"),
                (u16::to_be_bytes, "utf-16be"),
            ] {
                let sample = Sample::of(text.encode_utf16().flat_map(to_bytes).collect::<Vec<_>>());
                for encoding in [
                    None,
                    Some(encoding_rs::WINDOWS_1252),
                    Some(encoding_rs::SHIFT_JIS),
                ] {
                    let kind = of_bytes(&sample, encoding, false).unwrap();
                    assert_eq!(
                        kind.sentence(Format::Csv),
                        format!("is UTF-16 without a byte order mark: say so, with --encoding {label}"),
                        "{text:?}"
                    );
                    assert_eq!(of_bytes(&sample, encoding, true), Some(kind));
                }
            }
        }
    }

    #[test]
    fn utf_16_in_the_other_byte_order_is_recognized() {
        for text in [
            "id,name\n1,café\n2,x\n",
            "城市,人口\r\n東京,一千四百万\r\n",
            "город\nМосква\n",
        ] {
            let bytes =
                |to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect::<Vec<_>>();
            let (little, big) = (
                Sample::of(bytes(u16::to_le_bytes)),
                Sample::of(bytes(u16::to_be_bytes)),
            );
            for (sample, named, label) in [(&little, UTF_16BE, "utf-16le"), (&big, UTF_16LE, "utf-16be")] {
                assert_eq!(
                    of_bytes(sample, Some(named), false)
                        .unwrap()
                        .sentence(Format::Csv),
                    format!("is UTF-16 in the other byte order: say so, with --encoding {label}")
                );
                assert_eq!(
                    of_bytes(sample, Encoding::for_label(label.as_bytes()), false),
                    None
                );
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_none_in_an_encoding() {
        let noise: Vec<u8> = (1..2_000_u32)
            .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let (text, _) = encoding_rs::WINDOWS_1252.decode_without_bom_handling(&noise);
        for is_named in [false, true] {
            let kind = of_decoded(&Sample::of(&*text), is_named).unwrap();
            assert_eq!(
                kind.sentence(Format::Csv),
                "is binary data, not CSV: convert it to CSV or JSONL"
            );
        }
        let six = Sample::of("a\u{2}\u{3}\u{4}\u{5}\u{6}\0,b\n");
        assert!(of_decoded(&six, false).is_some());
        assert_eq!(of_decoded(&six, true), None);
        for text in [
            "a,b\n1,é\n",
            "a,b\nx\0\0\0,y\n",
            "a\u{1}b\u{1e}1\u{1}2\u{1e}",
            "a\u{8},b\u{2}\u{3}\n",
        ] {
            assert_eq!(of_decoded(&Sample::of(text), false), None, "{text:?}");
        }
    }
}
