//! The beginning of a file in; out comes, on request only, its dialect of CSV: what is told from a sample can be told wrong.

use super::sample::Sample;
use crate::format::csv::{Dialect, Partial, Scanner};

/// How many records are looked at.
const SAMPLE_RECORDS: usize = 100;

/// Delimiters in the order in which they are preferred where several do: in a file with semicolons, commas may well be
/// decimal points, which stand in each record, too.
const DELIMITERS: [u8; 4] = [b'\t', b';', b'|', b','];

/// Taken for quotes where they stand around fields and there is no double one.
const SINGLE_QUOTE: u8 = b'\'';

/// A part of so many in a hundred records must have as many fields as the first.
const ALIKE_PERCENT: usize = 90;

/// Tells the dialect; a delimiter or a quote that is `known` is not questioned.
///
/// # Errors
/// If no dialect makes the records alike, or the sample ends before the first record does, as a sentence.
pub(super) fn tell(
    sample: &Sample,
    delimiter: Option<u8>,
    quote: Option<u8>,
) -> Result<Dialect, &'static str> {
    let default = Dialect::default();
    let delimiters = delimiter.map_or(DELIMITERS.to_vec(), |known| vec![known]);
    let quotes = match quote {
        Some(known) => vec![known],
        None if sample.text().contains(&default.quote) => vec![default.quote],
        None => vec![SINGLE_QUOTE, default.quote],
    };
    let mut best: Option<(usize, Dialect)> = None;
    let (mut has_records, mut has_columns) = (false, false);
    for &quote in &quotes {
        for &delimiter in &delimiters {
            let dialect = Dialect { delimiter, quote };
            let Some(Alike {
                fields,
                percent,
                quoted,
            }) = alike(sample, dialect)
            else {
                continue;
            };
            has_records = true;
            if fields == 1 {
                continue;
            }
            has_columns = true;
            let is_used = quoted || quotes.last() == Some(&quote);
            if is_used && percent >= ALIKE_PERCENT && best.is_none_or(|(most, _)| percent > most) {
                best = Some((percent, dialect));
            }
        }
    }
    match best {
        Some((_, dialect)) => Ok(dialect),
        None if has_columns => Err(
            "no dialect gives its first records as many fields each: say which it is, with --delimiter and --quote",
        ),
        None if !has_records && !sample.whole && (delimiter.is_none() || quote.is_none()) => {
            Err("no record ends in its first 64 KiB: say which dialect it is, with --delimiter and --quote")
        }
        // One column, or nothing at all, which is said elsewhere.
        None => Ok(Dialect {
            delimiter: delimiter.unwrap_or(default.delimiter),
            quote: quote.unwrap_or(default.quote),
        }),
    }
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
fn alike(sample: &Sample, dialect: Dialect) -> Option<Alike> {
    if dialect.delimiter == dialect.quote {
        return None;
    }
    let raw = sample.text();
    let scanner = Scanner::new(dialect);
    let (mut at, mut first, mut records, mut alike, mut quoted) = (0, None, 0, 0, false);
    while at < raw.len() && records < SAMPLE_RECORDS {
        if matches!(raw[at], b'\n' | b'\r') {
            at += 1;
            continue;
        }
        let record = match scanner.record(raw, at, sample.whole, &[], |_| {}) {
            Ok(record) => record,
            // The sample ends here, if it is not for a quote that is none.
            Err(Partial { quote }) => {
                records += usize::from(sample.whole && quote.is_some());
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
    use crate::decode::sample::SAMPLE_BYTES;

    fn told(text: &str) -> Result<(char, char), &'static str> {
        tell(&Sample::of(text), None, None).map(|dialect| (dialect.delimiter.into(), dialect.quote.into()))
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
            assert_eq!(told(text), Err(message));
            let sample = Sample::of(text);
            assert_eq!(tell(&sample, Some(b';'), None), Err(message));
            let given = Dialect {
                delimiter: b';',
                quote: b'"',
            };
            assert_eq!(tell(&sample, Some(b';'), Some(b'"')), Ok(given));
        }
        assert_eq!(
            told(&("\n".repeat(SAMPLE_BYTES / 2) + "a;b\n1;2\n")),
            Ok((';', '"'))
        );
    }

    #[test]
    fn what_is_known_is_not_questioned() {
        let sample = Sample::of("a;b,c\n1;2,3\n");
        let told = |delimiter, quote| tell(&sample, delimiter, quote).unwrap();
        assert_eq!(told(Some(b','), None).delimiter, b',');
        assert_eq!(
            told(None, Some(b'\'')),
            Dialect {
                delimiter: b';',
                quote: b'\''
            }
        );
    }
}
