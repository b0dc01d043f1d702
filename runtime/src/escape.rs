//! Escapes texts for people. Texts from files, plugins, servers and producers go in. Texts that are safe to show in a
//! terminal, a log line or a table come out. A safe text has a limited length and stays on one line. It has no
//! invisible characters, cannot control a terminal, and cannot reverse the direction of the text next to it.
//!
//! Messages and documents contain texts unchanged. Only the code that shows a text to a person escapes the text, so no
//! text is escaped twice.

use std::borrow::Cow;
use std::fmt::Write;

/// The maximum number of characters of one text that are shown, after escaping. This is more than the 2,000 characters
/// that a queue keeps of a request's error.
pub const SHOWN_CHARS_MAX: usize = 4_096;

/// The sorted ranges of the characters that are invisible or change the look of their neighbours:
///
/// - controls (C0, DEL, C1)
/// - Unicode's `Default_Ignorable_Code_Point` (zero-width characters, bidirectional marks, fillers, variation
///   selectors, tags)
/// - separators of lines and paragraphs
/// - interlinear annotations
/// - format controls of hieroglyphs
/// - noncharacters
/// - private use, which looks different on each machine
const UNSEEN: [(char, char); 31] = [
    ('\0', '\u{1f}'),
    ('\u{7f}', '\u{9f}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{e000}', '\u{f8ff}'),
    ('\u{fdd0}', '\u{fdef}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{fffe}', '\u{ffff}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{1fffe}', '\u{1ffff}'),
    ('\u{2fffe}', '\u{2ffff}'),
    ('\u{3fffe}', '\u{3ffff}'),
    ('\u{4fffe}', '\u{4ffff}'),
    ('\u{5fffe}', '\u{5ffff}'),
    ('\u{6fffe}', '\u{6ffff}'),
    ('\u{7fffe}', '\u{7ffff}'),
    ('\u{8fffe}', '\u{8ffff}'),
    // The higher planes contain only tags, variation selectors and private use.
    ('\u{9fffe}', char::MAX),
];

/// Returns a text in a form for people. The result is on one line. If the escaped text has more than
/// [`SHOWN_CHARS_MAX`] characters, the rest is left out, and a note at the end says how many characters of `text` are
/// missing.
///
/// Line feed, carriage return and tab become `\n`, `\r` and `\t`. Other invisible characters become `\u{HEX}`. A
/// backslash is doubled if it could be taken for the beginning of such an escape. All other text stays unchanged, in
/// every language.
pub fn for_people(text: &str) -> Cow<'_, str> {
    for_people_within(text, SHOWN_CHARS_MAX)
}

/// Escapes a text as [`for_people`] does, but leaves out the rest after `chars_max` characters.
pub fn for_people_within(text: &str, chars_max: usize) -> Cow<'_, str> {
    if text.len() <= chars_max
        && !text
            .bytes()
            .any(|byte| !(b' '..=b'~').contains(&byte) || byte == b'\\')
    {
        return text.into();
    }
    escaped(text, chars_max, false).into()
}

/// Returns a text in quotes, escaped as in [`for_people`]. Quotes in the text are escaped, too.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text, SHOWN_CHARS_MAX, true))
}

/// Returns a JSON document that is safe to show and has the same value as `document`. Invisible characters in its
/// strings become `\uXXXX`. Line feeds between its parts stay.
pub fn json(document: String) -> String {
    // The compiler vectorizes this loop because it has no early exit.
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) | (byte == b'\n');
    let is_all_plain = document.bytes().fold(true, |plain, byte| plain & is_plain(byte));
    let must_change = |c: char| c != '\n' && is_unseen(c);
    if is_all_plain || !document.contains(must_change) {
        return document;
    }
    let mut shown = String::with_capacity(document.len() + 64);
    for c in document.chars() {
        if must_change(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(shown, "\\u{unit:04x}").expect("a string takes everything");
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Returns a text for a cell of a CSV file, escaped as in [`for_people`]. If the text begins like a formula, it gets a
/// `'` in front, so that a spreadsheet does not evaluate it.
pub fn for_cell(text: &str) -> Cow<'_, str> {
    let shown = for_people(text);
    // A spreadsheet skips blanks before it looks for a formula.
    let start = shown.trim_start();
    if start.starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']) {
        return format!("'{shown}").into();
    }
    shown
}

/// Returns whether a character is invisible or can control the device that shows it.
pub fn is_unseen(c: char) -> bool {
    if (' '..='~').contains(&c) {
        return false;
    }
    let after = UNSEEN.partition_point(|(first, _)| *first <= c);
    after > 0 && c <= UNSEEN[after - 1].1
}

fn escaped(text: &str, chars_max: usize, in_quotes: bool) -> String {
    let mut shown = String::with_capacity(text.len().min(chars_max) + 16);
    let mut room = chars_max;
    let mut rest = text.chars();
    loop {
        let left = rest.as_str();
        let Some(c) = rest.next() else {
            return shown;
        };
        let start = shown.len();
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            '\\' if is_like_escape(rest.clone().next(), in_quotes) => shown.push_str("\\\\"),
            '"' if in_quotes => shown.push_str("\\\""),
            c if is_unseen(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
        let taken = shown[start..].chars().count();
        if taken > room {
            shown.truncate(start);
            let more = left.chars().count();
            write!(shown, "… ({more} more characters)").expect("a string takes everything");
            return shown;
        }
        room -= taken;
    }
}

/// Returns whether a backslash before this character could be taken for the beginning of an escape. At the end of the
/// text (`None`), this is the case if the text is in quotes: the closing quote follows.
fn is_like_escape(next: Option<char>, in_quotes: bool) -> bool {
    match next {
        None => in_quotes,
        Some('"') => in_quotes,
        Some(next) => matches!(next, 'n' | 'r' | 't' | 'u' | '\\') || is_unseen(next),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Undoes the escaping. A person who knows the rules can do the same.
    fn read_back(shown: &str) -> String {
        let mut text = String::new();
        let mut rest = shown;
        while let Some(at) = rest.find('\\') {
            text.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let (c, taken) = match rest.chars().next() {
                Some('n') => ('\n', 1),
                Some('r') => ('\r', 1),
                Some('t') => ('\t', 1),
                Some('\\') => ('\\', 1),
                Some('u') => {
                    let end = rest.find('}').expect("a whole escape");
                    let code = u32::from_str_radix(&rest[2..end], 16).expect("hex digits");
                    (char::from_u32(code).expect("a character"), end + 1)
                }
                _ => ('\\', 0),
            };
            text.push(c);
            rest = &rest[taken..];
        }
        text + rest
    }

    #[test]
    fn the_table_is_in_order() {
        assert!(UNSEEN.iter().all(|(first, last)| first <= last));
        assert!(UNSEEN.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }

    #[test]
    fn what_is_not_seen_is_spelled_out() {
        for (text, shown) in [
            ("a\u{1b}[31mb\nc\r\td", r"a\u{1b}[31mb\nc\r\td"),
            ("\u{0}\u{7}\u{7f}\u{85}\u{9b}", r"\u{0}\u{7}\u{7f}\u{85}\u{9b}"),
            (
                "\u{2028}\u{2029}\u{61c}\u{200e}\u{200f}",
                r"\u{2028}\u{2029}\u{61c}\u{200e}\u{200f}",
            ),
            (
                "\u{202a}\u{202e}\u{2066}\u{2069}",
                r"\u{202a}\u{202e}\u{2066}\u{2069}",
            ),
            (
                "\u{200b}\u{200d}\u{2060}\u{feff}\u{ad}",
                r"\u{200b}\u{200d}\u{2060}\u{feff}\u{ad}",
            ),
            (
                "\u{e0041}\u{e0100}\u{fe0f}\u{fff9}\u{e000}",
                r"\u{e0041}\u{e0100}\u{fe0f}\u{fff9}\u{e000}",
            ),
            (
                "\u{3164}\u{10ffff}\u{f0000}\u{2fffe}",
                r"\u{3164}\u{10ffff}\u{f0000}\u{2fffe}",
            ),
            (
                r"\ud800 C:\data\new \u{202e} \\x",
                r"\\ud800 C:\data\\new \\u{202e} \\\x",
            ),
        ] {
            assert_eq!(for_people(text), shown);
        }
    }

    #[test]
    fn what_is_seen_stays() {
        for text in [
            "naïve “text” 汉字 \u{3000}日本語 中文",
            "عربى עברית ไทย हिन्दी தமிழ் 한국어 ខ្មែរ",
            "e\u{301} 🎉 𝒳 \u{a0}½ € \u{fffd} \u{2800}",
            "\u{600}123 \u{6dd} \u{1e900}",
            r"C:\data 'quoted' \x \",
        ] {
            assert_eq!(for_people(text), text);
        }
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let shown = for_people_within("abcdef", 4);
        assert_eq!(shown, "abcd… (2 more characters)");
        assert_eq!(for_people_within("é\n\u{202e}x", 5), r"é\n… (2 more characters)");
        assert_eq!(for_people_within("ééé", 3), "ééé");
        let flood = for_people(&"\u{202e}".repeat(1 << 20)).into_owned();
        assert!(flood.chars().count() < SHOWN_CHARS_MAX + 40, "{}", flood.len());
        assert!(flood.ends_with(" more characters)"), "{flood}");
    }

    #[test]
    fn nothing_ends_a_quoted_text() {
        assert_eq!(quoted(r#"a" b="c\"#), r#""a\" b=\"c\\""#);
        assert_eq!(quoted("a\\\"\n"), r#""a\\\"\n""#);
    }

    #[test]
    fn no_cell_begins_like_a_formula() {
        for (text, cell) in [
            ("=1+1", "'=1+1"),
            (" @x", "' @x"),
            ("\t=1", r"\t=1"),
            ("-1", "'-1"),
            ("a=1", "a=1"),
            ("\u{ff1d}1", "'\u{ff1d}1"),
        ] {
            assert_eq!(for_cell(text), cell);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_tells_what_it_was(text in r"(?s)([\\nrtu{}\x00-\x1f\u{202e}\u{e0041}]|.)*") {
            let shown = for_people_within(&text, usize::MAX);
            prop_assert!(!shown.contains(is_unseen), "{shown:?}");
            prop_assert_eq!(read_back(&shown), text);
        }

        #[test]
        fn a_document_keeps_its_value(text in r"(?s)([\x00-\x1f\u{7f}\u{202e}\u{e0041}\u{2028}]|.)*") {
            let document = json(serde_json::to_string(&[&text]).unwrap());
            prop_assert!(!document.contains(is_unseen), "{document:?}");
            let read: [String; 1] = serde_json::from_str(&document).unwrap();
            prop_assert_eq!(&read[0], &text);
        }
    }
}
