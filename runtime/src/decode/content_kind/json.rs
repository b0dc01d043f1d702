//! Recognizes JSON in place of CSV, and a JSON document in place of JSONL, by the beginning of a text. A bracket at the
//! start is no proof, because `[id],[name]` is a legal CSV header.

use serde::de::IgnoredAny;
use serde_json::Deserializer;

use super::super::lines::lines;
use super::{Advice, Kind, Sample};
use crate::format::clip;
use crate::format::csv::{Dialect, Scanner};
use crate::location::redact_within;

/// Returns the kind of a text that is JSON in place of CSV, or `None`. `delimiter` is the delimiter that the request
/// names, and `is_quoted` is true if fields can be within `"`.
pub(super) fn of_csv(sample: &Sample, delimiter: Option<u8>, is_quoted: bool) -> Option<Kind> {
    let text = sample.text().trim_ascii_start();
    if !matches!(text.first(), Some(b'{' | b'[')) {
        return None;
    }
    let is_json = match first_value(text) {
        // In CSV, a delimiter or another field would follow here.
        FirstValue::Whole(end) => {
            let rest = text[end..].trim_ascii_start();
            rest.is_empty() || matches!(rest[0], b'{' | b'[')
        }
        FirstValue::CutOff if !sample.whole => true,
        // The text is not strict JSON, or is cut off. But if a quote follows the brackets, the text is no CSV header:
        // in CSV, a quote within a field does not open a quoted field.
        _ => is_quoted && has_quote_after_brackets(text),
    };
    let kind = is_json.then(|| match of_jsonl(sample) {
        Some(document) => document,
        None if memchr::memchr(b'\n', text.trim_ascii_end()).is_some() => {
            Kind::new("JSON lines", Advice::JsonLines)
        }
        None => Kind::new("a JSON object", of_object(text)),
    });
    let is_malformed = || is_quoted && has_stray_quote(text, delimiter.unwrap_or(b','));
    kind.map(|kind| if is_malformed() { kind } else { kind.guessed() })
}

/// Returns whether one of the first records has a quote within a field. JSON has such quotes, and well-formed CSV has
/// none.
fn has_stray_quote(text: &[u8], delimiter: u8) -> bool {
    const RECORDS: usize = 100;
    let dialect = Dialect {
        delimiter,
        ..Dialect::default()
    };
    let scanner = Scanner::new(dialect);
    let mut at = 0;
    let records = std::iter::from_fn(|| {
        let record = scanner.record(text, at, true, &[], |_| ()).ok()?;
        let is_left = at < text.len();
        at = record.next;
        is_left.then_some(record)
    });
    records.take(RECORDS).any(|record| record.stray.is_some())
}

/// Returns the kind of a text that has JSON in another form than JSONL, such as a JSON document or an array on each
/// line. Returns `None` if the text can be JSONL, with one object on each line.
pub(super) fn of_jsonl(sample: &Sample) -> Option<Kind> {
    let text = sample.text().trim_ascii_start();
    let line_bytes = memchr::memchr(b'\n', text).unwrap_or(text.len());
    let has_lines_left = !text[line_bytes..].trim_ascii().is_empty();
    match text.first()? {
        b'[' => {
            let is_line = matches!(first_value(&text[..line_bytes]), FirstValue::Whole(_));
            let next = text[line_bytes..].trim_ascii_start();
            // An array of names above lines of objects is accepted: it becomes a single reject.
            if is_line && next.starts_with(b"{") {
                return None;
            }
            if is_line && next.starts_with(b"[") {
                return Some(Kind::new("JSON lines of arrays", Advice::JsonObjects));
            }
            is_array(text).then(|| Kind::new("a JSON array", Advice::JsonArray))
        }
        b'{' if has_lines_left => {
            let (is_over_lines, is_alone) = match first_value(text) {
                FirstValue::Whole(end) => (end > line_bytes, text[end..].trim_ascii().is_empty()),
                FirstValue::CutOff => (true, true),
                FirstValue::Malformed => (false, false),
            };
            let advice = match is_alone {
                true => of_object(text),
                false => Advice::JsonDocument,
            };
            is_over_lines.then(|| Kind::new("a JSON object over several lines", advice))
        }
        b'{' if has_objects_apart_by_cr(text) => Some(Kind::new(
            "JSON lines that end with a CR alone",
            Advice::JsonDocument,
        )),
        0x1e => Some(Kind::new("a JSON text sequence", Advice::JsonDocument)),
        _ => None,
    }
}

/// Returns whether a text has objects that are separated only by CRs. JSONL reads such objects as one line.
fn has_objects_apart_by_cr(text: &[u8]) -> bool {
    let mut lines = lines(text)
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty());
    let is_whole = |line: &[u8]| matches!(first_value(line), FirstValue::Whole(end) if end == line.len());
    lines.next().is_some_and(is_whole) && lines.next().is_some_and(|line| line.starts_with(b"{"))
}

/// The maximum number of words of an object that the advice shows.
const WORDS_MAX: usize = 64;

/// Returns the advice for a single object.
fn of_object(text: &[u8]) -> Advice {
    match list_in(text) {
        Some(list) => Advice::JsonList(list),
        None => {
            let words: Vec<_> = text
                .split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty())
                .take(WORDS_MAX)
                .collect();
            Advice::JsonAnswer(clip(&words.join(&b' ')))
        }
    }
}

/// Returns the path of the first list of objects within an object, in the syntax of `jq`, such as `.data`. The text can
/// be cut off after its beginning. Returns `None` if there is no such list, or if a name in the path cannot be quoted
/// for a shell.
pub(super) fn list_in(text: &[u8]) -> Option<String> {
    let (mut path, mut name, mut at) = (Vec::new(), None, 0);
    while let Some(byte) = text.get(at) {
        match byte {
            b'{' => path.extend(name.take()),
            b'}' => drop(path.pop()),
            b'[' if text[at + 1..].trim_ascii_start().starts_with(b"{") => {
                path.extend(name);
                return jq_path(&path);
            }
            b'[' => match first_value(&text[at..]) {
                FirstValue::Whole(bytes) => at += bytes - 1,
                _ => return None,
            },
            b'"' => {
                let mut texts = Deserializer::from_slice(&text[at..]).into_iter::<String>();
                let text_here = texts.next()?.ok()?;
                at += texts.byte_offset() - 1;
                if text[at + 1..].trim_ascii_start().starts_with(b":") {
                    name = Some(text_here);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

fn jq_path(names: &[String]) -> Option<String> {
    const NAME_BYTES: usize = 64;
    let mut path = String::new();
    for name in names {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let has_secret = || redact_within(name) != *name;
        if name.len() > NAME_BYTES
            || name.contains(|c: char| c == '\'' || c == '`' || c.is_control())
            || has_secret()
        {
            return None;
        }
        if name.chars().all(is_word) && name.starts_with(|c: char| !c.is_ascii_digit()) {
            path.push('.');
            path.push_str(name);
        } else {
            let quoted = serde_json::to_string(name).ok()?;
            path.push_str(if path.is_empty() { ".[" } else { "[" });
            path.push_str(&quoted);
            path.push(']');
        }
    }
    (!path.is_empty()).then_some(path)
}

/// Returns whether a text begins with a JSON array. The array can be complete or cut off with the sample. If it is not
/// valid JSON, its first value must be an object or a string, which can be in nested arrays.
fn is_array(text: &[u8]) -> bool {
    match first_value(text) {
        FirstValue::Whole(_) | FirstValue::CutOff => true,
        FirstValue::Malformed => {
            let first = text
                .iter()
                .find(|byte| !byte.is_ascii_whitespace() && **byte != b'[');
            matches!(first, Some(b'{' | b'"'))
        }
    }
}

enum FirstValue {
    /// The value ends at this offset.
    Whole(usize),
    /// The value is longer than the text.
    CutOff,
    Malformed,
}

fn first_value(text: &[u8]) -> FirstValue {
    let mut values = Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => FirstValue::Whole(values.byte_offset()),
        Some(Err(error)) if error.is_eof() => FirstValue::CutOff,
        _ => FirstValue::Malformed,
    }
}

/// Returns whether a quote follows the opening brackets. If the quote is on a later line, it must begin a name with a
/// colon after it, because a line with only `{` can be a header.
fn has_quote_after_brackets(text: &[u8]) -> bool {
    let is_bracket = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'{' | b'[');
    let Some(at) = text.iter().position(|byte| !is_bracket(byte)) else {
        return false;
    };
    let Some(name) = text[at..].strip_prefix(b"\"") else {
        return false;
    };
    let is_first_line = !text[..at].iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    let after = memchr::memchr(b'"', name).map_or(&[][..], |end| &name[end + 1..]);
    is_first_line || after.trim_ascii_start().starts_with(b":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::sample::SAMPLE_BYTES;

    fn in_csv(text: &str) -> Option<String> {
        of_csv(&Sample::of(text), None, true).map(|kind| kind.what.into_owned())
    }

    fn in_jsonl(text: &str) -> Option<String> {
        of_jsonl(&Sample::of(text)).map(|kind| kind.what.into_owned())
    }

    #[test]
    fn a_document_is_recognized_in_both_formats() {
        let long = "{\"id\":1,\"name\":\"x\"}";
        let array = format!("[{}{long}]", format!("{long},\n").repeat(SAMPLE_BYTES / 10));
        let pretty = format!("{{\"rows\": [\n{}1]}}", "1,\n".repeat(SAMPLE_BYTES));
        for (text, what) in [
            ("[{\"a\":1},{\"a\":2}]", "a JSON array"),
            ("\u{feff}\n [\n  {\"a\": 1},\n  {\"a\": 2}\n]\n", "a JSON array"),
            ("[\n{\"a\":1},\n{\"a\":2}\n]\n", "a JSON array"),
            ("[{\"a\":1},\n{\"a\":2}]\n", "a JSON array"),
            ("[\n{\"a\":NaN}\n]\n", "a JSON array"),
            ("[\n{\"a\":1},\n{\"a\"", "a JSON array"),
            ("[]", "a JSON array"),
            ("[1, 2]", "a JSON array"),
            ("[\n1,\n2\n]\n", "a JSON array"),
            ("[\"a,b\",\n\"c\"]", "a JSON array"),
            ("[1,2]\n[3,4]\n", "JSON lines of arrays"),
            ("{\n  \"a\": 1\n}\n", "a JSON object over several lines"),
            ("{\"a\": 1,\n\"b\": 2}\n", "a JSON object over several lines"),
            (
                "{\n\"a\": 1\n}\n{\n\"a\": 2\n}\n",
                "a JSON object over several lines",
            ),
            ("{\r\n  \"a\": [", "a JSON object over several lines"),
            ("{\"id\":1}\r{\"id\":2}\r", "JSON lines that end with a CR alone"),
            ("{\"id\":1}\r\r{\"id\"", "JSON lines that end with a CR alone"),
            (&array, "a JSON array"),
            (&pretty, "a JSON object over several lines"),
        ] {
            let start = &text[..text.len().min(40)];
            assert_eq!(in_csv(text).as_deref(), Some(what), "CSV {start:?}");
            assert_eq!(in_jsonl(text).as_deref(), Some(what), "JSONL {start:?}");
        }
    }

    #[test]
    fn the_list_in_an_object_is_named_as_jq_has_it() {
        for (text, path) in [
            (r#"{"data": [{"a":1}]}"#, Some(".data")),
            (r#"{"count":2,"ids":[1,"]"],"next":"x","rows":[ {"#, Some(".rows")),
            (
                r#"{"meta":{"a":"b"},"response":{"n":1,"items":[{}]}}"#,
                Some(".response.items"),
            ),
            (r#"{"my data":[{}]}"#, Some(r#".["my data"]"#)),
            (r#"{"a":{"2":[{}]}}"#, Some(r#".a["2"]"#)),
            (r#"{"it's":[{}]}"#, None),
            (r#"{"error":"unauthorized"}"#, None),
            (r#"{"errors":["x"]}"#, None),
            (r#"{"a":"b\":[{"}"#, None),
            (r#"{"data":["#, None),
            ("{}", None),
        ] {
            assert_eq!(list_in(text.as_bytes()).as_deref(), path, "{text}");
        }
    }

    #[test]
    fn json_lines_are_recognized_only_in_place_of_csv() {
        for (text, what) in [
            ("{\"error\": \"not found\"}", "a JSON object"),
            ("{\"error\": \"not found\"}\n", "a JSON object"),
            ("{}", "a JSON object"),
            ("{\"a\": NaN}\n", "a JSON object"),
            ("{\r\"a\": 1\r}\r", "a JSON object"),
            ("{\"a\":1}\n{\"a\":2}\n", "JSON lines"),
            ("{'a': 1}\n", ""),
        ] {
            let what = Some(what).filter(|what| !what.is_empty());
            assert_eq!(in_csv(text).as_deref(), what, "{text:?}");
            assert_eq!(in_jsonl(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_header_may_begin_with_a_bracket() {
        for text in [
            "[id],[name]\n1,2\n",
            "[1],[2]\n3,4\n",
            "{id},{name}\n1,2\n",
            "{},[]\n1,2\n",
            "[1]\n2\n",
            "{\n1\n",
            "{\n\"\"\n",
            "[\n1\n",
            "[\n\"a\"\n\"b\"\n",
            "\"{\"\"a\"\":1}\",b\n1,2\n",
            "id,payload\n1,\"{\"\"a\"\":1}\"\n",
            "[[a]]\n1\n",
        ] {
            assert_eq!(in_csv(text), None, "{text:?}");
        }
        for (text, is_guess) in [
            ("[1]\n[2]\n\"[3,4]\"\n", true),
            ("[1,\"a\",2]\n[3,\"b\",4]\n", true),
            ("[1]\n[\"a b\"]\n", false),
            ("[\n{\"a\":1},\n{\"a\":2}\n]\n", false),
            ("{\"a\": 1}\n", false),
        ] {
            let kind = of_csv(&Sample::of(text), None, true);
            assert_eq!(kind.map(|kind| kind.is_guess), Some(is_guess), "{text:?}");
        }
        assert_eq!(
            of_csv(&Sample::of("{\"a,b\n1,2\n"), None, false),
            None,
            "no quote"
        );
    }

    #[test]
    fn lines_that_are_rejected_singly_stay_so() {
        for text in [
            "",
            "not json\n{\"a\":1}\n",
            "{\"a\":1\n{\"a\":2}\n",
            "{\"a\":1,}\n{\"a\":2}\n",
            "[\"id\",\"name\"]\n{\"a\":1}\n",
        ] {
            assert_eq!(in_jsonl(text), None, "{text:?}");
        }
    }
}
