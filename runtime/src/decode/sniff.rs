//! The beginning of a file in; out comes, on request only, its dialect of CSV: what is told from a sample can be told wrong.

use crate::format::csv::{Dialect, Partial, Scanner};

/// How many records are looked at.
const SAMPLE_RECORDS: usize = 100;

/// Delimiters that are told without being named.
pub(super) const DELIMITERS: [u8; 4] = [b'\t', b';', b'|', b','];

/// Delimiters that have to be named: they stand in texts, too, or are rare.
const RARE_DELIMITERS: [u8; 5] = [b'~', b'^', 0x01, 0x1f, 0x1e];

/// Taken for quotes where they stand around fields and there is no double one.
const SINGLE_QUOTE: u8 = b'\'';

/// A part of so many in a hundred records must have as many fields as the first.
const ALIKE_PERCENT: usize = 90;

/// Another way to read a text.
pub(super) struct Reading {
    /// What stands between fields.
    pub(super) name: String,
    pub(super) fields: usize,
    /// The option that says it.
    pub(super) say: String,
}

impl Reading {
    fn by(delimiter: u8, fields: usize) -> Self {
        let (name, say) = (name(delimiter), option(delimiter));
        Self { name, fields, say }
    }
}

/// A delimiter, for people.
pub(super) fn name(delimiter: u8) -> String {
    match delimiter {
        b'\t' => "tabs".to_owned(),
        b';' => "semicolons".to_owned(),
        b',' => "commas".to_owned(),
        b'|' => "bars".to_owned(),
        byte if byte.is_ascii_graphic() => format!("\"{}\"", char::from(byte)),
        byte => format!("bytes {byte:#04x}"),
    }
}

/// The option that says a delimiter.
pub(super) fn option(delimiter: u8) -> String {
    match delimiter {
        b'\t' => "--delimiter tab".to_owned(),
        byte if byte.is_ascii_graphic() => format!("--delimiter '{}'", char::from(byte)),
        byte => format!("--delimiter {byte:#04x}"),
    }
}

/// The delimiter that a first line `sep=;` tells, as Excel writes and reads it.
pub(super) fn separator_line(text: &[u8]) -> Option<u8> {
    let line = text.split(|byte| matches!(byte, b'\n' | b'\r')).next()?;
    let line = line
        .strip_prefix(b"\"")
        .and_then(|line| line.strip_suffix(b"\""))
        .unwrap_or(line);
    match line {
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter]
            if delimiter.is_ascii_punctuation() && *delimiter != b'"'
                || matches!(delimiter, b'\t' | b' ' | 1 | 0x1f) =>
        {
            Some(*delimiter)
        }
        _ => None,
    }
}

/// The reading of a text of one column by a delimiter that gives it several.
pub(super) fn another(text: &[u8], whole: bool, dialect: Dialect) -> Option<Reading> {
    let mut best: Option<(usize, usize, u8)> = None;
    for delimiter in DELIMITERS.into_iter().chain(RARE_DELIMITERS) {
        let dialect = Dialect { delimiter, ..dialect };
        if let Some(Alike { fields, percent, .. }) = alike(text, whole, dialect)
            && fields > 1
            && percent >= ALIKE_PERCENT
            && best.is_none_or(|(most, wide, _)| (percent, fields) > (most, wide))
        {
            best = Some((percent, fields, delimiter));
        }
    }
    let by_delimiter = best.map(|(_, fields, delimiter)| Reading::by(delimiter, fields));
    by_delimiter.or_else(|| by_spaces(text, whole))
}

/// Columns that stand below each other: several spaces in the first line, and as many words in each.
fn by_spaces(text: &[u8], whole: bool) -> Option<Reading> {
    let lines: Vec<_> = text
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| whole || line.ends_with(b"\n"))
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
        .take(SAMPLE_RECORDS)
        .collect();
    let words = |line: &[u8]| {
        line.split(|byte| *byte == b' ')
            .filter(|word| !word.is_empty())
            .count()
    };
    let first = lines.first()?;
    let fields = words(first);
    let alike = lines.iter().filter(|line| words(line) == fields).count();
    let is_seen = lines.len() > 1
        && fields > 1
        && first.windows(2).any(|two| two == b"  ")
        && 100 * alike >= ALIKE_PERCENT * lines.len();
    is_seen.then(|| Reading {
        name: "several spaces".to_owned(),
        fields,
        say: "--dialect spaces".to_owned(),
    })
}

/// A dialect that makes records alike.
struct Candidate {
    percent: usize,
    fields: usize,
    dialect: Dialect,
}

/// Tells the dialect; a delimiter or a quote that is `known` is not questioned.
///
/// # Errors
/// If no dialect makes the records alike, if two do so with as many fields, or if the sample ends before the first record does, as
/// a sentence.
pub(super) fn tell(
    text: &[u8],
    whole: bool,
    delimiter: Option<u8>,
    quote: Option<u8>,
) -> Result<Dialect, String> {
    let default = Dialect::default();
    let delimiters = delimiter.map_or(DELIMITERS.to_vec(), |known| vec![known]);
    let quotes = match quote {
        Some(known) => vec![known],
        None if text.contains(&default.quote) => vec![default.quote],
        None => vec![SINGLE_QUOTE, default.quote],
    };
    let mut candidates: Vec<Candidate> = Vec::new();
    let (mut has_records, mut has_columns) = (false, false);
    for &quote in &quotes {
        for &delimiter in &delimiters {
            let dialect = Dialect { delimiter, quote };
            let Some(Alike {
                fields,
                percent,
                quoted,
            }) = alike(text, whole, dialect)
            else {
                continue;
            };
            has_records = true;
            if fields == 1 {
                continue;
            }
            has_columns = true;
            let is_used = quoted || quotes.last() == Some(&quote);
            let is_told = candidates
                .iter()
                .any(|other| other.dialect.delimiter == delimiter);
            if is_used && percent >= ALIKE_PERCENT && !is_told {
                candidates.push(Candidate {
                    percent,
                    fields,
                    dialect,
                });
            }
        }
    }
    if candidates.len() > 1 && has_decimal_commas(text) {
        candidates.retain(|candidate| candidate.dialect.delimiter != b',');
    }
    candidates.sort_by_key(|candidate| std::cmp::Reverse((candidate.percent, candidate.fields)));
    match &candidates[..] {
        [best, other, ..] if (best.percent, best.fields) == (other.percent, other.fields) => {
            let [one, two] = [best, other].map(|candidate| candidate.dialect.delimiter);
            Err(format!(
                "can be read in two ways, {} fields by {} or by {}: say {} or {}",
                best.fields,
                name(one),
                name(two),
                option(one),
                option(two)
            ))
        }
        [best, ..] => Ok(best.dialect),
        [] if has_columns => Err(
            "no dialect gives its first records as many fields each: say which it is, with --delimiter and --quote".to_owned(),
        ),
        [] if !has_records && !whole && (delimiter.is_none() || quote.is_none()) => Err(
            "no record ends in its first 64 KiB: say which dialect it is, with --delimiter and --quote".to_owned(),
        ),
        [] if delimiter.is_none()
            && let Some(Reading { name, fields, say }) = another(text, whole, default) =>
        {
            Err(format!("has {fields} columns by {name}, which has to be named: say {say}"))
        }
        // One column, or nothing at all, which is said elsewhere.
        [] => Ok(Dialect {
            delimiter: delimiter.unwrap_or(default.delimiter),
            quote: quote.unwrap_or(default.quote),
        }),
    }
}

/// Whether each comma stands between two digits.
pub(super) fn has_decimal_commas(text: &[u8]) -> bool {
    let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    memchr::memchr_iter(b',', text).all(|at| at > 0 && is_digit(at - 1) && is_digit(at + 1))
}

/// How alike records are.
struct Alike {
    /// How many fields the first has.
    fields: usize,
    /// How many of a hundred have as many fields as the first, none with a stray quote.
    percent: usize,
    /// Whether any field stands in quotes.
    quoted: bool,
}

/// None if no record ends in the sample.
fn alike(raw: &[u8], whole: bool, dialect: Dialect) -> Option<Alike> {
    if dialect.delimiter == dialect.quote {
        return None;
    }
    let scanner = Scanner::new(dialect);
    let (mut at, mut first, mut records, mut alike, mut quoted) = (0, None, 0, 0, false);
    while at < raw.len() && records < SAMPLE_RECORDS {
        if matches!(raw[at], b'\n' | b'\r') {
            at += 1;
            continue;
        }
        let record = match scanner.record(raw, at, whole, &[], |_| {}) {
            Ok(record) => record,
            // The sample ends here, if it is not for a quote that is none.
            Err(Partial { quote }) => {
                records += usize::from(whole && quote.is_some());
                break;
            }
        };
        let fields = *first.get_or_insert(record.fields);
        records += 1;
        quoted |= record.quoted;
        alike += usize::from(record.fields == fields && record.stray.is_none());
        at = record.next;
    }
    let percent = 100 * alike / records.max(1);
    first.map(|fields| Alike {
        fields,
        percent,
        quoted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::sample::{SAMPLE_BYTES, Sample};

    fn told(text: &str) -> Result<(char, char), String> {
        let sample = Sample::of(text);
        tell(sample.text(), sample.whole, None, None)
            .map(|dialect| (dialect.delimiter.into(), dialect.quote.into()))
    }

    #[test]
    fn the_delimiter_is_what_makes_records_alike() {
        for (text, delimiter, quote) in [
            ("a,b\n1,2\n", ',', '"'),
            ("a;b\n1;2\n", ';', '"'),
            ("a\tb\n1\t2", '\t', '"'),
            ("a|b\r1|2\r", '|', '"'),
            ("\u{feff}a;b\r\n1;2\r\n", ';', '"'),
            ("\n\na;b\n1;2\n", ';', '"'),
            // Decimal commas, also without a header.
            ("a;b\n1,5;2,5\n", ';', '"'),
            ("1,5;2,5\n3,5;4,5\n", ';', '"'),
            ("when,what\n10:00,a;b|c\n11:00,d\n", ',', '"'),
            ("a,b\n\"1;2\",\"x\ny\"\n\"3;4\",5\n", ',', '"'),
            ("a;b\n'1;2';3\n'it''s';4\n", ';', '\''),
            ("a,b\nit's,1\nthat's,2\n", ',', '"'),
            // Nothing tells.
            ("a\n1\n2\n", ',', '"'),
            ("a\n1;2\n", ',', '"'),
            ("a,b\n", ',', '"'),
            ("", ',', '"'),
        ] {
            assert_eq!(told(text), Ok((delimiter, quote)), "{text:?}");
        }
    }

    #[test]
    fn nine_in_ten_records_are_enough_and_fewer_are_not() {
        let with =
            |ragged: usize| format!("a;b\n{}{}", "1;2\n".repeat(19 - ragged), "1;2;3\n".repeat(ragged));
        assert_eq!(told(&with(2)), Ok((';', '"')));
        assert!(told(&with(3)).is_err());
        assert!(told("a;b\n\"1;2\n3;4\n").is_err(), "a quote that is never closed");
    }

    #[test]
    fn the_end_of_a_sample_is_no_end_of_a_record() {
        let text = format!("a;b\n{}", format!("\"{}\n\";2\n", "x".repeat(3_000)).repeat(40));
        assert!(text.len() > SAMPLE_BYTES);
        assert_eq!(told(&text), Ok((';', '"')));
    }

    #[test]
    fn a_sample_without_a_record_tells_nothing() {
        let message =
            "no record ends in its first 64 KiB: say which dialect it is, with --delimiter and --quote";
        let wide = "a_long_name;".repeat(6_000) + "b\n1;2\n";
        let padded = "\r\n".repeat(SAMPLE_BYTES) + "a;b\n1;2\n";
        for text in [&wide, &padded] {
            assert_eq!(told(text), Err(message.to_owned()));
            let sample = Sample::of(text);
            assert_eq!(
                tell(sample.text(), sample.whole, Some(b';'), None),
                Err(message.to_owned())
            );
            let given = Dialect {
                delimiter: b';',
                quote: b'"',
            };
            assert_eq!(
                tell(sample.text(), sample.whole, Some(b';'), Some(b'"')),
                Ok(given)
            );
        }
        assert_eq!(
            told(&("\n".repeat(SAMPLE_BYTES / 2) + "a;b\n1;2\n")),
            Ok((';', '"'))
        );
    }

    #[test]
    fn what_is_known_is_not_questioned() {
        let sample = Sample::of("a;b,c\n1;2,3\n");
        let both = "can be read in two ways, 2 fields by semicolons or by commas: say --delimiter ';' or --delimiter ','";
        assert_eq!(
            tell(sample.text(), sample.whole, None, None),
            Err(both.to_owned())
        );
        let told = |delimiter, quote| tell(sample.text(), sample.whole, delimiter, quote).unwrap();
        assert_eq!(told(Some(b','), None).delimiter, b',');
        let sample = Sample::of("a;b\n1;2\n");
        let told = |delimiter, quote| tell(sample.text(), sample.whole, delimiter, quote).unwrap();
        assert_eq!(
            told(None, Some(b'\'')),
            Dialect {
                delimiter: b';',
                quote: b'\''
            }
        );
    }

    #[test]
    fn of_two_ways_the_one_with_more_fields_is_told_and_equal_ones_are_an_error() {
        for (text, told_as) in [
            ("name\tcity, state\tzip\nx\tBoston, MA\t1\n", Ok('\t')),
            ("id,name,geo;pos\n1,x,2;3\n", Ok(',')),
            ("a|b;c|d\n1|2;3|4\n", Ok('|')),
            // Decimal commas in each record.
            ("1,5;2,5\n3,5;4,5\n", Ok(';')),
            ("10,5|2,5\n3,5|4,5\n", Ok('|')),
            (
                "a\tb|c\n1\t2|3\n",
                Err("2 fields by tabs or by bars: say --delimiter tab or --delimiter '|'"),
            ),
            ("a,b;c\n1,2;3\n", Err("2 fields by semicolons or by commas")),
        ] {
            match (told(text), told_as) {
                (Ok(dialect), Ok(delimiter)) => assert_eq!(dialect, (delimiter, '"'), "{text:?}"),
                (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
                (told, _) => panic!("{text:?}: {told:?}"),
            }
        }
    }

    #[test]
    fn a_first_line_may_tell_the_delimiter() {
        for (text, delimiter) in [
            ("sep=;\na;b\n", Some(b';')),
            ("SEP=,\r\na,b\r\n", Some(b',')),
            ("sep=\t\ra\tb\r", Some(b'\t')),
            ("\"sep=|\"\na|b\n", Some(b'|')),
            ("sep=;", Some(b';')),
            ("sep=;;\n", None),
            ("sep=a\n", None),
            ("sep=\n", None),
            ("sep;b\n", None),
            ("\nsep=;\n", None),
            ("", None),
        ] {
            assert_eq!(separator_line(text.as_bytes()), delimiter, "{text:?}");
        }
    }

    #[test]
    fn another_delimiter_is_named_where_there_is_one_column() {
        for (text, name, fields, say) in [
            ("a;b\n1;2\n", "semicolons", 2, "--delimiter ';'"),
            ("a\tb\n1\t2\n", "tabs", 2, "--delimiter tab"),
            ("a~b\n1~2\n", "\"~\"", 2, "--delimiter '~'"),
            ("a\u{1}b\n1\u{1}2\n", "bytes 0x01", 2, "--delimiter 0x01"),
            (
                "id    name  city\n1     x     y\n22    zz    y\n",
                "several spaces",
                3,
                "--dialect spaces",
            ),
        ] {
            let found = another(text.as_bytes(), true, Dialect::default()).unwrap();
            assert_eq!(
                (found.name.as_str(), found.fields, found.say.as_str()),
                (name, fields, say),
                "{text:?}"
            );
        }
        for text in [
            "a\n1;2\n",
            "a;b\n1\n2\n",
            "full name\nJohn Smith\nJane Doe\n",
            "text\none; two\nthree\n",
            "a  b\n1\n2 3 4\n",
            "",
        ] {
            assert!(
                another(text.as_bytes(), true, Dialect::default()).is_none(),
                "{text:?}"
            );
        }
    }
}
