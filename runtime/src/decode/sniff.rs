//! The beginning of a file goes in; its CSV dialect comes out. A file is read in a detected dialect only on request,
//! because detection from a sample can be wrong.

use std::cmp::Ordering;

use super::lines::complete_lines;
use crate::format::csv::{CsvItem, Dialect, ParsedRow, Parser, Partial, RowRules, Syntax};

/// The maximum number of records that are examined.
const SAMPLE_RECORDS: usize = 100;

/// The delimiters that can be detected.
pub(super) const DELIMITERS: [u8; 4] = [b'\t', b';', b'|', b','];

/// Delimiters that are never detected, because they are rare or often have another meaning in texts. The request has to
/// name such a delimiter.
pub(super) const RARE_DELIMITERS: [u8; 5] = [b'~', b'^', 0x01, 0x1f, 0x1e];

/// The single quote. It can be detected as the quote only in a text without double quotes.
const SINGLE_QUOTE: u8 = b'\'';

/// The minimum percentage of records that must have as many fields as the first record.
pub(super) const ALIKE_PERCENT: usize = 90;

/// A separator that was found in a text, with the option that selects it.
pub(super) struct SniffedCsv {
    /// The name of the separator in messages.
    pub(super) name: String,
    pub(super) fields: usize,
    /// The option that selects the separator.
    pub(super) say: String,
}

impl SniffedCsv {
    fn by(delimiter: u8, fields: usize) -> Self {
        let (name, say) = (name(delimiter), option(delimiter));
        Self { name, fields, say }
    }
}

/// Returns the name of a delimiter in messages.
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

/// Returns the option that selects a delimiter.
pub(super) fn option(delimiter: u8) -> String {
    match delimiter {
        b'\t' => "--delimiter tab".to_owned(),
        byte if byte.is_ascii_graphic() => format!("--delimiter '{}'", char::from(byte)),
        byte => format!("--delimiter {byte:#04x}"),
    }
}

/// Returns the delimiter that the first line names, or `None`. The line must have the form that Excel writes and reads,
/// such as `sep=;`.
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

/// Returns the delimiter with which the largest percentage of records have as many fields as the first record, and the
/// number of fields of the first record. A delimiter counts only if the first record has at least two fields, and the
/// percentage is at least [`ALIKE_PERCENT`]. Returns `None` if no delimiter counts.
fn another_of(
    text: &[u8],
    whole: bool,
    given: KnownSyntax,
    delimiters: impl IntoIterator<Item = u8>,
) -> Option<(u8, usize)> {
    let mut best: Option<(usize, usize, u8)> = None;
    for delimiter in delimiters {
        if let Some(Alike { fields, percent, .. }) =
            alike(text, whole, given.by(delimiter, given.syntax.quote))
            && fields > 1
            && percent >= ALIKE_PERCENT
            && best.is_none_or(|(most, wide, _)| (percent, fields) > (most, wide))
        {
            best = Some((percent, fields, delimiter));
        }
    }
    best.map(|(_, fields, delimiter)| (delimiter, fields))
}

/// Detects columns that are aligned by spaces, and counts their fields. The first line must have several spaces in a
/// row, and at least [`ALIKE_PERCENT`] percent of the lines must have as many words as the first line.
pub(super) fn by_spaces<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<SniffedCsv> {
    let mut lines = lines.map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let words = |line: &[u8]| {
        line.split(|byte| *byte == b' ')
            .filter(|word| !word.is_empty())
            .count()
    };
    let first = lines.next()?;
    if !first.windows(2).any(|two| two == b"  ") {
        return None;
    }
    let (fields, lines) = (words(first), lines.take(SAMPLE_RECORDS - 1));
    let (alike, all) = lines.fold((1, 1), |(alike, all), line| {
        (alike + usize::from(words(line) == fields), all + 1)
    });
    let is_seen = all > 1 && fields > 1 && 100 * alike >= ALIKE_PERCENT * all;
    is_seen.then(|| SniffedCsv {
        name: "several spaces".to_owned(),
        fields,
        say: "--dialect spaces".to_owned(),
    })
}

/// The syntax of a file as far as it is known before detection.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownSyntax {
    /// The syntax. Its delimiter and its quote are placeholders until they are known.
    pub(super) syntax: Syntax,
    pub(super) rules: RowRules,
    /// The number of rows at the end of the file that are not records.
    pub(super) footer: usize,
    /// The delimiter, if it is known.
    pub(super) delimiter: Option<u8>,
    /// True if the quote of `syntax` is known.
    pub(super) is_quote_known: bool,
}

impl From<Syntax> for KnownSyntax {
    fn from(syntax: Syntax) -> Self {
        Self {
            syntax,
            rules: RowRules::default(),
            footer: 0,
            delimiter: None,
            is_quote_known: false,
        }
    }
}

impl KnownSyntax {
    fn by(self, delimiter: u8, quote: Option<u8>) -> Self {
        let syntax = Syntax {
            delimiter,
            quote,
            ..self.syntax
        };
        Self { syntax, ..self }
    }

    /// Returns the option that uses a character for something other than the delimiter or the quote, or `None`.
    fn option_using(self, character: u8) -> Option<&'static str> {
        let is = |of: Option<u8>| of == Some(character);
        match self.syntax {
            Syntax { escape, .. } if is(escape) => Some("--escape"),
            Syntax { comment, .. } if is(comment) => Some("--comment"),
            _ => None,
        }
    }

    /// Returns the same syntax without an escape and comments.
    fn without_escape_and_comments(self) -> Self {
        let syntax = Syntax {
            escape: None,
            comment: None,
            ..self.syntax
        };
        Self { syntax, ..self }
    }

    /// Returns the quotes that a text can have. The usual quote is the last of them.
    fn quotes(self, text: &[u8]) -> Vec<Option<u8>> {
        let default = Dialect::default().quote;
        if self.is_quote_known || self.syntax.quote.is_none() {
            return vec![self.syntax.quote];
        }
        let is_single = !text.contains(&default) && self.option_using(SINGLE_QUOTE).is_none();
        let single = is_single.then_some(Some(SINGLE_QUOTE));
        single.into_iter().chain([Some(default)]).collect()
    }
}

/// A dialect that gives enough records the same number of fields.
struct Candidate {
    percent: usize,
    fields: usize,
    syntax: Syntax,
}

/// Detects the delimiter and the quote, if they are unknown. A character that an option uses for something else is
/// detected neither as the delimiter nor as the quote.
///
/// # Errors
/// Returns a message if one of these holds:
///
/// - No dialect gives enough records the same number of fields.
/// - Two dialects fit the records equally well, with the same number of fields.
/// - Only a character that an option uses for something else would be a fitting delimiter.
/// - The text seems to have one column, but a separator that the request has to name gives several.
/// - The sample ends before the first record does.
pub(super) fn detect_syntax(text: &[u8], whole: bool, given: KnownSyntax) -> Result<Syntax, String> {
    let default = Dialect::default();
    let simple = given.syntax.simplify(text);
    let delimiters = given.delimiter.map_or(DELIMITERS.to_vec(), |known| vec![known]);
    let (used, delimiters): (Vec<_>, Vec<_>) = delimiters
        .into_iter()
        .partition(|&delimiter| given.option_using(delimiter).is_some());
    let quotes = given.quotes(&simple);
    let mut candidates: Vec<Candidate> = Vec::new();
    let (mut has_records, mut has_columns) = (false, false);
    for &delimiter in &delimiters {
        let mut best: Option<(Candidate, bool)> = None;
        for &quote in &quotes {
            let given = given.by(delimiter, quote);
            let Some(Alike {
                fields,
                percent,
                quoted,
                is_over_lines,
            }) = alike(text, whole, given)
            else {
                continue;
            };
            has_records = true;
            if fields == 1 {
                continue;
            }
            has_columns = true;
            let is_usual = quotes.last() == Some(&quote);
            // An apostrophe stays the quote, unless more records have the same number of fields with the usual quote.
            // If the number of these records is the same with both quotes, a line end in a record with a quoted field
            // decides against the apostrophe: a wrong quote usually joins lines.
            let is_better = match &best {
                Some((other, is_over_lines)) => {
                    percent > other.percent || percent == other.percent && *is_over_lines
                }
                None => quoted || is_usual,
            };
            if percent >= ALIKE_PERCENT && is_better {
                let syntax = given.syntax;
                best = Some((
                    Candidate {
                        percent,
                        fields,
                        syntax,
                    },
                    is_over_lines,
                ));
            }
        }
        candidates.extend(best.map(|(candidate, _)| candidate));
    }
    if candidates.len() > 1 && has_decimal_commas(&simple) {
        candidates.retain(|candidate| candidate.syntax.delimiter != b',');
    }
    candidates.sort_by_key(|candidate| std::cmp::Reverse((candidate.percent, candidate.fields)));
    let is_all_known = given.delimiter.is_some() && (given.is_quote_known || given.syntax.quote.is_none());
    match &candidates[..] {
        [best, other, ..] if (best.percent, best.fields) == (other.percent, other.fields) => {
            let [one, two] = [best, other].map(|candidate| candidate.syntax.delimiter);
            Err(format!(
                "can be read in two ways, {} fields by {} or by {}: say {} or {}",
                best.fields,
                name(one),
                name(two),
                option(one),
                option(two)
            ))
        }
        [best, ..] => Ok(best.syntax),
        [] if let Some((delimiter, fields)) = another_of(text, whole, given.without_escape_and_comments(), used) => Err(format!(
            "has {fields} columns by {}, but {} uses that character: say another one there, or {} if that is no delimiter",
            name(delimiter),
            given.option_using(delimiter).unwrap_or("another option"),
            option(default.delimiter)
        )),
        [] if has_columns => Err(
            "no dialect gives its first records as many fields each: say which it is, with --delimiter and --quote".to_owned(),
        ),
        [] if !has_records && !whole && !is_all_known => Err(
            "no record ends in its first 64 KiB: say which dialect it is, with --delimiter and --quote".to_owned(),
        ),
        [] if given.delimiter.is_none() => one_column(text, &simple, whole, given),
        [] => Ok(given.by(given.delimiter.unwrap_or(default.delimiter), given.syntax.quote).syntax),
    }
}

/// Returns the syntax of a text that has one column or is empty. `csv::open` reports an empty text.
///
/// # Errors
/// Returns a message if a separator that the request has to name gives several columns.
fn one_column(text: &[u8], simple: &[u8], whole: bool, given: KnownSyntax) -> Result<Syntax, String> {
    let rare = RARE_DELIMITERS
        .into_iter()
        .filter(|&rare| given.option_using(rare).is_none());
    let delimiters = DELIMITERS
        .into_iter()
        .filter(|&usual| given.option_using(usual).is_none())
        .chain(rare);
    let found = another_of(text, whole, given, delimiters)
        .map(|(delimiter, fields)| SniffedCsv::by(delimiter, fields));
    match found.or_else(|| by_spaces(complete_lines(simple, whole))) {
        Some(SniffedCsv { name, fields, say }) => Err(format!(
            "has {fields} columns by {name}, which has to be named: say {say}"
        )),
        None => Ok(given.by(Dialect::default().delimiter, given.syntax.quote).syntax),
    }
}

/// Returns whether each comma is between two digits.
pub(super) fn has_decimal_commas(text: &[u8]) -> bool {
    let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    memchr::memchr_iter(b',', text).all(|at| at > 0 && is_digit(at - 1) && is_digit(at + 1))
}

/// A measure of how many records have the same number of fields.
struct Alike {
    /// The number of fields of the first record.
    fields: usize,
    /// The percentage of records that have as many fields as the first record and no stray quote. The rules for rows
    /// are applied before the fields are counted.
    percent: usize,
    /// True if any field is quoted.
    quoted: bool,
    /// True if any record with a quoted field contains a line end.
    is_over_lines: bool,
}

/// Measures how many records of a sample have as many fields as the first record. Returns `None` if no record ends
/// within the sample, or if the quote is also the delimiter.
fn alike(raw: &[u8], whole: bool, given: KnownSyntax) -> Option<Alike> {
    let KnownSyntax {
        syntax,
        rules,
        footer,
        ..
    } = given;
    if syntax.quote == Some(syntax.delimiter) {
        return None;
    }
    let mut parser = Parser::new(syntax, rules, 0);
    let (mut at, mut rows, mut is_never_closed) = (0, Vec::new(), false);
    while at < raw.len() && rows.len() < SAMPLE_RECORDS + footer {
        match parser.next(raw, at, whole) {
            Ok(CsvItem::Nothing { next }) => at = next,
            Ok(CsvItem::Row(row)) => {
                rows.push((at, row));
                at = row.next;
            }
            // The sample ends within this record, or within a field that a quote opens and no quote closes.
            Err(Partial { quote }) => {
                is_never_closed = whole && quote.is_some();
                break;
            }
        }
    }
    if whole && at >= raw.len() {
        rows.truncate(rows.len().saturating_sub(footer));
    }
    rows.truncate(SAMPLE_RECORDS);
    let fields = rows.first()?.1.fields;
    // A short row that the rules fill up counts only if it has a delimiter. A row without a delimiter proves nothing.
    let is_alike = |row: &ParsedRow| match row.fields.cmp(&fields) {
        Ordering::Less => rules.fills_short && row.fields > 1,
        Ordering::Equal => true,
        Ordering::Greater => rules.cuts_long && row.filled <= fields,
    };
    let alike = rows
        .iter()
        .filter(|(_, row)| is_alike(row) && row.stray.is_none())
        .count();
    let is_over_line = |&(start, row): &(usize, ParsedRow)| {
        row.quoted && memchr::memchr2(b'\n', b'\r', &raw[start..row.end]).is_some()
    };
    Some(Alike {
        fields,
        percent: 100 * alike / (rows.len() + usize::from(is_never_closed)),
        quoted: rows.iter().any(|(_, row)| row.quoted),
        is_over_lines: rows.iter().any(is_over_line),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::sample::{SAMPLE_BYTES, Sample};

    fn detected(text: &str) -> Result<(char, char), String> {
        let sample = Sample::of(text);
        detected_in(&sample, None, None).map(|dialect| (dialect.delimiter.into(), dialect.quote.into()))
    }

    fn detected_in(sample: &Sample, delimiter: Option<u8>, quote: Option<u8>) -> Result<Dialect, String> {
        let mut given = KnownSyntax::from(Syntax::from(Dialect::default()));
        given.delimiter = delimiter;
        if quote.is_some() {
            (given.syntax.quote, given.is_quote_known) = (quote, true);
        }
        detect_syntax(sample.text(), sample.whole, given).map(Syntax::dialect)
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
            // The commas are decimal commas. The first of these two texts has a header.
            ("a;b\n1,5;2,5\n", ';', '"'),
            ("1,5;2,5\n3,5;4,5\n", ';', '"'),
            ("when,what\n10:00,a;b|c\n11:00,d\n", ',', '"'),
            ("a,b\n\"1;2\",\"x\ny\"\n\"3;4\",5\n", ',', '"'),
            ("a;b\n'1;2';3\n'it''s';4\n", ';', '\''),
            ("a,b\nit's,1\nthat's,2\n", ',', '"'),
            // An apostrophe is not a quote if more records have the same number of fields without it.
            ("band,nick,n\n'N Sync,a,1\nThe Boys',b,2\nAbba,c,3\n", ',', '"'),
            ("band;n\r'N Sync;1\rThe Boys';2\rAbba;3\r", ';', '"'),
            ("a;b\n'x\ny';2\n'z';3\n", ';', '\''),
            ("a;b\n'x;1';2\n'z\ny';3\n", ';', '\''),
            // No other delimiter is detected, so the delimiter is the comma.
            ("a\n1\n2\n", ',', '"'),
            ("a\n1;2\n", ',', '"'),
            ("a,b\n", ',', '"'),
            ("", ',', '"'),
        ] {
            assert_eq!(detected(text), Ok((delimiter, quote)), "{text:?}");
        }
    }

    #[test]
    fn an_apostrophe_that_joins_two_fields_is_no_quote() {
        let text = format!("band,n\n{}'N Sync,Boys'\n", "Abba,1\n".repeat(20));
        assert_eq!(detected(&text), Ok((',', '"')));
    }

    #[test]
    fn a_character_that_an_option_uses_is_not_detected() {
        let plain = Syntax::from(Dialect::default());
        let with = |text: &str, syntax: Syntax| {
            let given = KnownSyntax::from(syntax);
            detect_syntax(text.as_bytes(), true, given)
                .map(|syntax| (syntax.delimiter.into(), syntax.quote.map(char::from)))
        };
        let comment = |byte| Syntax {
            comment: Some(byte),
            ..plain
        };
        let escape = |byte| Syntax {
            escape: Some(byte),
            ..plain
        };
        let message = "has 2 columns by semicolons, but --comment uses that character: say another one there, \
                       or --delimiter ',' if that is no delimiter";
        assert_eq!(
            with("a;b\n1;2\n;3\n4;5\n", comment(b';')),
            Err(message.to_owned())
        );
        let message = with("a|b\n1|2\n", escape(b'|')).unwrap_err();
        assert!(
            message.contains("2 columns by bars, but --escape uses"),
            "{message}"
        );
        assert_eq!(with("a;b,c\n1;2,3\n", comment(b';')), Ok((',', Some('"'))));
        assert_eq!(with("a;b\n'1';2\n", comment(b'\'')), Ok((';', Some('"'))));
        assert_eq!(with("a;b\n'1;2\n", escape(b'\'')), Ok((';', Some('"'))));
        assert_eq!(
            with("a;b\n1;\"x\n# y\"\n2;z\n", comment(b'#')),
            Ok((';', Some('"')))
        );
        let trim = Syntax { trim: true, ..plain };
        assert_eq!(with("a; b\n1; \"x;y\" \n", trim), Ok((';', Some('"'))));
        let unquoted = Syntax { quote: None, ..plain };
        assert_eq!(with("a;b\n\"1;2\n", unquoted), Ok((';', None)));
        let bytes = b"a;b\n\xff1;2\n\xff3;4\n";
        assert_eq!(
            detect_syntax(bytes, true, KnownSyntax::from(unquoted))
                .unwrap()
                .delimiter,
            b';'
        );
    }

    #[test]
    fn a_footer_is_not_looked_at() {
        let detected = |text: &str, footer| {
            let given = KnownSyntax {
                footer,
                ..KnownSyntax::from(Syntax::from(Dialect::default()))
            };
            detect_syntax(text.as_bytes(), true, given).map(|syntax| char::from(syntax.delimiter))
        };
        let text = "a;b\n1;2\n3;4\nTotal: 2 rows\n\n";
        assert!(detected(text, 0).is_err());
        assert_eq!(detected(text, 1), Ok(';'));
        assert_eq!(detected(text, 9), Ok(','), "nothing tells");
        let long = format!("a;b\n{}{}", "1;2\n".repeat(95), "total, all\n".repeat(20));
        assert!(detected(&long, 0).is_ok(), "most of the first hundred");
        assert_eq!(detected(&long, 20), Ok(';'));
    }

    #[test]
    fn rows_that_the_rules_make_as_wide_are_alike() {
        let detected = |text: &str, rules: RowRules| {
            let given = KnownSyntax {
                rules,
                ..KnownSyntax::from(Syntax::from(Dialect::default()))
            };
            detect_syntax(text.as_bytes(), true, given).map(|syntax| char::from(syntax.delimiter))
        };
        let none = RowRules::default();
        let fill = RowRules {
            fills_short: true,
            ..none
        };
        let cut = RowRules {
            cuts_long: true,
            ..none
        };
        let both = RowRules {
            cuts_long: true,
            ..fill
        };
        let short = "a;b;c\n1;2;3\n4;5\n6;7;8\n";
        let long = "a;b;c\n1;2;3\n4;5;6;;\n6;7;8\n";
        let mixed = "a|b|c\r1|2\r4|5|6|\r6|7|8||\r";
        for (text, rules, is_detected) in [
            (short, none, false),
            (short, cut, false),
            (short, fill, true),
            (long, none, false),
            (long, fill, false),
            (long, cut, true),
            (mixed, fill, false),
            (mixed, cut, false),
            (mixed, both, true),
            ("a;b;c\n1;2;3\n4;5;6;7\n", both, false),
            ("a;b\n1\n2\n3;4\n", fill, false),
        ] {
            assert_eq!(detected(text, rules).is_ok(), is_detected, "{text:?} {rules:?}");
        }
        assert_eq!(detected(short, fill), Ok(';'));
        assert_eq!(detected(mixed, both), Ok('|'));
    }

    #[test]
    fn nine_in_ten_records_are_enough_and_fewer_are_not() {
        let with =
            |ragged: usize| format!("a;b\n{}{}", "1;2\n".repeat(19 - ragged), "1;2;3\n".repeat(ragged));
        assert_eq!(detected(&with(2)), Ok((';', '"')));
        assert!(detected(&with(3)).is_err());
        assert!(
            detected("a;b\n\"1;2\n3;4\n").is_err(),
            "a quote that is never closed"
        );
    }

    #[test]
    fn the_end_of_a_sample_is_no_end_of_a_record() {
        let text = format!("a;b\n{}", format!("\"{}\n\";2\n", "x".repeat(3_000)).repeat(40));
        assert!(text.len() > SAMPLE_BYTES);
        assert_eq!(detected(&text), Ok((';', '"')));
    }

    #[test]
    fn a_sample_without_a_record_proves_nothing() {
        let message =
            "no record ends in its first 64 KiB: say which dialect it is, with --delimiter and --quote";
        let wide = "a_long_name;".repeat(6_000) + "b\n1;2\n";
        let padded = "\r\n".repeat(SAMPLE_BYTES) + "a;b\n1;2\n";
        for text in [&wide, &padded] {
            assert_eq!(detected(text), Err(message.to_owned()));
            let sample = Sample::of(text);
            assert_eq!(detected_in(&sample, Some(b';'), None), Err(message.to_owned()));
            let given = Dialect {
                delimiter: b';',
                quote: b'"',
            };
            assert_eq!(detected_in(&sample, Some(b';'), Some(b'"')), Ok(given));
        }
        assert_eq!(
            detected(&("\n".repeat(SAMPLE_BYTES / 2) + "a;b\n1;2\n")),
            Ok((';', '"'))
        );
    }

    #[test]
    fn what_is_known_is_not_questioned() {
        let sample = Sample::of("a;b,c\n1;2,3\n");
        let both = "can be read in two ways, 2 fields by semicolons or by commas: say --delimiter ';' or --delimiter ','";
        assert_eq!(detected_in(&sample, None, None), Err(both.to_owned()));
        let detected = |delimiter, quote| detected_in(&sample, delimiter, quote).unwrap();
        assert_eq!(detected(Some(b','), None).delimiter, b',');
        let sample = Sample::of("a;b\n1;2\n");
        let detected = |delimiter, quote| detected_in(&sample, delimiter, quote).unwrap();
        assert_eq!(
            detected(None, Some(b'\'')),
            Dialect {
                delimiter: b';',
                quote: b'\''
            }
        );
    }

    #[test]
    fn the_dialect_with_more_fields_wins_and_a_tie_is_an_error() {
        for (text, expected) in [
            ("name\tcity, state\tzip\nx\tBoston, MA\t1\n", Ok('\t')),
            ("id,name,geo;pos\n1,x,2;3\n", Ok(',')),
            ("a|b;c|d\n1|2;3|4\n", Ok('|')),
            // Each record has decimal commas.
            ("1,5;2,5\n3,5;4,5\n", Ok(';')),
            ("10,5|2,5\n3,5|4,5\n", Ok('|')),
            (
                "a\tb|c\n1\t2|3\n",
                Err("2 fields by tabs or by bars: say --delimiter tab or --delimiter '|'"),
            ),
            ("a,b;c\n1,2;3\n", Err("2 fields by semicolons or by commas")),
        ] {
            match (detected(text), expected) {
                (Ok(dialect), Ok(delimiter)) => assert_eq!(dialect, (delimiter, '"'), "{text:?}"),
                (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
                (detected, _) => panic!("{text:?}: {detected:?}"),
            }
        }
    }

    #[test]
    fn a_first_line_may_name_the_delimiter() {
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
}
