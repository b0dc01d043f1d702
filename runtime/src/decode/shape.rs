//! The first records of a text in; out comes why they are hardly a table: a title over the header, another delimiter, a
//! notice, a log. It is a guess from a sample, which an option of the request overrules.

use std::borrow::Cow;

use super::sniff::{self, Reading};
use crate::format::csv::{Dialect, Scanner, line_end};
use crate::format::{Other, Span, clip};

/// How many records are looked at.
const RECORDS: usize = 100;

/// How many lines there may be over a header.
const LINES_OVER_HEADER: usize = 20;

/// What was read of a CSV file.
pub(super) struct Top<'a> {
    pub(super) columns: &'a [String],
    /// Whether the columns are named by a record, which `rest` does not have.
    pub(super) header: bool,
    pub(super) dialect: Dialect,
    /// Whether nobody has said the delimiter.
    pub(super) is_delimiter_open: bool,
    /// The bytes behind the header, as far as they were read, or a text in this dialect that stands for them.
    pub(super) rest: Cow<'a, [u8]>,
    /// Whether that is all.
    pub(super) whole: bool,
    /// The line that `rest` begins with.
    pub(super) line: u64,
    /// Whether rows of another width than the header's are more than rejects.
    pub(super) has_row_rules: bool,
}

/// A record of the sample.
struct Record {
    fields: usize,
    /// How many of them have something in them.
    filled: usize,
    ends_filled: bool,
    line: u64,
}

/// Says why a file is hardly a table, and what to do. `other` is what it is called that is none: then it has to look like one.
pub(super) fn check(top: &Top<'_>, other: Option<Other>) -> Result<(), String> {
    match (doubt(top), other) {
        (Some(doubt), _) => Err(doubt),
        (None, Some(Other::NoTable(what))) if !is_table(top) => Err(format!(
            "is {what} by its name or content type, and no table by its first records: say --input-format csv if it is CSV"
        )),
        (None, _) => Ok(()),
    }
}

fn doubt(top: &Top<'_>) -> Option<String> {
    let records = records(top, top.dialect);
    log(top)
        .or_else(|| another_delimiter(top))
        .or_else(|| lines_over_header(top, &records))
        .or_else(|| other_widths(top, &records))
        .or_else(|| table_of_another_delimiter(top))
        .or_else(|| notice(top, &records))
}

/// Whether each record has as many fields as the header, two or more.
fn is_table(top: &Top<'_>) -> bool {
    let records = records(top, top.dialect);
    let is_whole = |record: &Record| record.fields == top.columns.len();
    top.columns.len() > 1 && !records.is_empty() && records.iter().all(is_whole)
}

/// The first records behind the header, as they are read in a dialect.
fn records(top: &Top<'_>, dialect: Dialect) -> Vec<Record> {
    let scanner = Scanner::new(dialect);
    let every: Vec<usize> = (0..top.columns.len().max(64)).collect();
    let (mut at, mut line, mut records) = (0, top.line, Vec::new());
    while at < top.rest.len() && records.len() < RECORDS {
        if matches!(top.rest[at], b'\n' | b'\r') {
            line += 1;
            at = line_end(&top.rest, at, true).unwrap_or(top.rest.len());
            continue;
        }
        let (mut filled, mut ends_filled) = (0, false);
        let found = |span: Span| {
            ends_filled = span.end > span.start;
            filled += usize::from(ends_filled);
        };
        let Ok(record) = scanner.record(&top.rest, at, top.whole, &every, found) else {
            break;
        };
        records.push(Record {
            fields: record.fields,
            filled,
            ends_filled,
            line,
        });
        line += record.line_feeds as u64 + 1;
        at = record.next;
    }
    records
}

/// One column, where another delimiter gives several.
fn another_delimiter(top: &Top<'_>) -> Option<String> {
    if top.columns.len() > 1 || !top.is_delimiter_open {
        return None;
    }
    let mut text = Vec::new();
    if top.header {
        text.extend_from_slice(top.columns[0].as_bytes());
        text.push(b'\n');
    }
    text.extend_from_slice(&top.rest);
    let Reading { name, fields, say } = sniff::another(&text, top.whole, top.dialect)?;
    let current = sniff::name(top.dialect.delimiter);
    let one = sniff::option(top.dialect.delimiter);
    Some(format!(
        "has one column by {current}, but {fields} by {name}: say {say}, or {one} if it has one column"
    ))
}

/// A header with one name, over a record that has more: a title as spreadsheets write it.
fn lines_over_header(top: &Top<'_>, records: &[Record]) -> Option<String> {
    let named = names(top).filter(|name| !name.is_empty()).count();
    let columns = top.columns.len();
    if !top.header || columns < 3 || named > 1 {
        return None;
    }
    let header = records
        .iter()
        .take(LINES_OVER_HEADER)
        .find(|record| record.filled + 1 >= columns)?;
    let (title, lines) = (clip(top.columns[0].as_bytes()), header.line - 1);
    Some(format!(
        "has a header that names {named} of {columns} columns (\"{title}\"): is it a title over the header? say --skip-lines {lines}"
    ))
}

/// Records that have as many fields as each other and more than the header. Shorter ones are rejects, however many they are: what
/// they lack is seen.
struct Alike {
    /// How many there are.
    records: usize,
    fields: usize,
    /// How many come last, with no other between them.
    run: usize,
}

impl Alike {
    /// The most common width above the header's.
    fn of(records: &[Record], columns: usize) -> Option<Self> {
        let of = |width: usize| records.iter().filter(|record| record.fields == width).count();
        let others = records.iter().filter(|record| record.fields > columns);
        let (alike, fields) = others.map(|record| (of(record.fields), record.fields)).max()?;
        let last = records.iter().rev();
        Some(Self {
            records: alike,
            fields,
            run: last.take_while(|record| record.fields == fields).count(),
        })
    }

    /// Whether they are a table below a few lines, none of which is as wide.
    fn is_below_lines(&self, all: usize) -> bool {
        self.run == self.records && all - self.run <= LINES_OVER_HEADER
    }
}

fn other_widths(top: &Top<'_>, records: &[Record]) -> Option<String> {
    if top.has_row_rules {
        return None;
    }
    let (columns, all) = (top.columns.len(), records.len());
    let alike = Alike::of(records, columns)?;
    let Alike {
        records: number,
        fields: width,
        run,
    } = alike;
    let is_most = number >= 2 && 10 * number >= 9 * all;
    let has_none_as_header = all >= 2 && records.iter().all(|record| record.fields > columns);
    let is_below = alike.is_below_lines(all)
        && if columns == 1 {
            run >= 3 || run == all || run == 2 && all <= 4
        } else {
            run >= 3 && 2 * run > all
        };
    if !(is_most || has_none_as_header || is_below) {
        return None;
    }
    let first = records.iter().find(|record| record.fields == width)?;
    let what = format!(
        "has a header of {}, but {number} of its first {all} records have {width}",
        fields(columns)
    );
    Some(if columns == 1 {
        let lines = first.line - 1;
        format!("{what}: is there a title over the header? say --skip-lines {lines}")
    } else if width == columns + 1 && records.iter().all(|record| !record.ends_filled) {
        format!(
            "{what}: do its records end with a delimiter that the header has not? say --long-rows trailing-empty"
        )
    } else {
        format!("{what}: say --skip-lines if lines stand over the header, else --delimiter or --quote")
    })
}

/// A title over a table of another delimiter: all of it is one column, and its records are alike only by that delimiter.
fn table_of_another_delimiter(top: &Top<'_>) -> Option<String> {
    let is_title = |fields| fields > 2 || top.columns[0].contains(' ');
    if top.columns.len() > 1 || !top.is_delimiter_open || !top.header {
        return None;
    }
    sniff::DELIMITERS.into_iter().find_map(|delimiter| {
        let records = records(top, Dialect { delimiter, ..top.dialect });
        let alike = Alike::of(&records, 1)?;
        let all = records.len();
        if !(alike.run >= 2 && 2 * alike.run >= all && alike.is_below_lines(all) && is_title(alike.fields)) {
            return None;
        }
        let lines = records.iter().find(|record| record.fields == alike.fields)?.line - 1;
        let (by, say) = (sniff::name(delimiter), sniff::option(delimiter));
        let one = sniff::option(top.dialect.delimiter);
        Some(format!(
            "has a first line without {by}, but {} of its first {all} records have {} fields by them: say --skip-lines {lines} and {say} \
             if there is a title over the header, or {one} if it has one column",
            alike.records, alike.fields
        ))
    })
}

fn fields(number: usize) -> String {
    match number {
        1 => "one field".to_owned(),
        _ => format!("{number} fields"),
    }
}

/// Lines with a time and a level, most of them as the first.
fn log(top: &Top<'_>) -> Option<String> {
    if !top.header {
        return None;
    }
    let first = first_line(top);
    if !is_log_line(first.as_bytes()) {
        return None;
    }
    let lines: Vec<_> = top
        .rest
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
        .take(RECORDS)
        .collect();
    let alike = lines.iter().filter(|line| is_log_line(line)).count();
    (2 * alike >= lines.len()).then(|| {
        let first = clip(first.as_bytes());
        format!(
            "is a log, not a table (\"{first}\"): make a table of it, or say --input-format csv if its first line is a header"
        )
    })
}

/// The header as it stood there, but for its quotes.
fn first_line(top: &Top<'_>) -> String {
    let names: Vec<_> = names(top).collect();
    names.join(&char::from(top.dialect.delimiter).to_string())
}

/// The names as they stood there: empty where a column got a number for one.
fn names<'a>(top: &'a Top<'_>) -> impl Iterator<Item = &'a str> {
    (1..).zip(top.columns).map(|(number, name)| {
        let digits = name.strip_prefix("column_").unwrap_or_default();
        if digits.parse() == Ok(number) { "" } else { name }
    })
}

/// Words that say how bad it is.
const LEVELS: &[&str] = &[
    "TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "WARNING", "ERROR", "ERR", "FATAL", "CRITICAL", "SEVERE",
    "PANIC",
];

fn is_log_line(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(&line[..line.len().min(256)]);
    let line = line.trim_start();
    // Of Apache and nginx; of logfmt.
    if line.contains(" - - [") || line.contains("level=") && line.contains("msg=") {
        return true;
    }
    let mut words = line
        .split([' ', '[', ']', '(', ')', '<', '>'])
        .filter(|word| !word.is_empty())
        .map(|word| word.trim_end_matches([':', '|', '-']));
    let first = words.next().unwrap_or_default();
    let is_level = |word: &str| LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level));
    let second = words.next().unwrap_or_default();
    // As Python writes it: `INFO:root:started`.
    let mut parts = line.splitn(3, ':');
    if parts.next().is_some_and(is_level) && parts.nth(1).is_some() {
        return true;
    }
    if is_level(first) {
        return is_date(second) || line.starts_with('[') && words.next().is_some();
    }
    let is_timed = is_date(first) || is_clock(first) || is_month(first) && second.parse::<u8>().is_ok();
    let is_syslog = is_month(first)
        && words.next().is_some_and(is_clock)
        && words.nth(1).is_some_and(|name| !name.is_empty());
    let others = line.split([' ', '[', ']', '(', ')', '|', ':']).take(12);
    is_timed && (is_syslog || others.into_iter().any(is_level))
}

/// Whether a word begins with a date of digits: `2024-01-31`, `2024/01/31`, `31.01.2024`.
fn is_date(word: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let first = digits(word);
    let rest = word.get(first + 1..).unwrap_or_default();
    let second = digits(rest);
    let third = digits(rest.get(second + 1..).unwrap_or_default());
    let mark = |text: &str, at: usize| matches!(text.as_bytes().get(at), Some(b'-' | b'/' | b'.'));
    mark(word, first)
        && mark(rest, second)
        && matches!((first, second, third), (4, 1 | 2, 1..) | (1 | 2, 1 | 2, 4))
}

/// Whether a word begins with a time of day.
fn is_clock(word: &str) -> bool {
    matches!(
        word.as_bytes(),
        [b'0'..=b'2', b'0'..=b'9', b':', b'0'..=b'5', b'0'..=b'9', b':', ..]
    )
}

fn is_month(word: &str) -> bool {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    MONTHS.contains(&word)
}

/// What servers and people write in place of a file.
const PHRASES: &[&str] = &[
    "access denied",
    "authentication required",
    "bad gateway",
    "bad request",
    "file not found",
    "forbidden",
    "gateway timeout",
    "gateway time-out",
    "internal server error",
    "invalid api key",
    "invalid token",
    "login required",
    "maintenance",
    "no content",
    "no data",
    "no records",
    "no results",
    "not found",
    "permission denied",
    "rate limit exceeded",
    "service temporarily unavailable",
    "service unavailable",
    "temporarily unavailable",
    "too many requests",
    "unauthorized",
    "under maintenance",
];

/// Sentences in place of a header.
fn notice(top: &Top<'_>, records: &[Record]) -> Option<String> {
    let line = first_line(top);
    let text = line.trim();
    if !top.header || text.contains('_') {
        return None;
    }
    // Lines of a letter, of which the first has a comma, are no records either.
    let columns = top.columns.len();
    let is_split = columns > 1 && !records.is_empty() && records.iter().all(|record| record.fields == 1);
    let is_alone = records.is_empty() || is_split;
    let words = text.split_whitespace().count();
    let lower = text.to_ascii_lowercase();
    let follows = |start: &str| {
        let rest = lower.strip_prefix(start);
        rest.is_some_and(|rest| rest.starts_with([':', ',', '!', '.', ';']) || rest.is_empty() && is_alone)
    };
    let is_status = lower.len() > 4
        && lower.as_bytes()[..3].iter().all(u8::is_ascii_digit)
        && matches!(lower.as_bytes()[0], b'4' | b'5')
        && PHRASES
            .iter()
            .any(|phrase| lower[3..].trim_start().starts_with(phrase));
    let begins = [
        "error:",
        "warning:",
        "notice:",
        "fatal:",
        "exception:",
        "sorry,",
        "sorry ",
        "dear ",
        "traceback (",
    ]
    .iter()
    .any(|start| lower.starts_with(start));
    let is_sentence =
        text.ends_with(['.', '!']) && words >= 3 || is_alone && text.ends_with('?') && words >= 3;
    let is_prose = is_alone && (columns == 1 || is_split) && words >= 4;
    let is_notice =
        is_status || begins || is_sentence || is_prose || PHRASES.iter().any(|phrase| follows(phrase));
    is_notice.then(|| {
        let first = clip(text.as_bytes());
        format!(
            "begins with a sentence, not with a header (\"{first}\"): is it a notice in place of the file? say --skip-lines 1 if it \
             stands over the header, --input-format csv if it is the header"
        )
    })
}

/// Says why a text is hardly JSONL, and what to do.
pub(super) fn check_lines(text: &[u8], other: Option<Other>) -> Result<(), String> {
    let mut lines = text
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty());
    let Some(first) = lines.next() else {
        return Ok(());
    };
    let (second, is_json) = (lines.next(), other == Some(Other::Json));
    let is_object = |line: &[u8]| line.starts_with(b"{");
    let first_words = clip(first);
    if !is_object(first) && !second.is_some_and(is_object) && !lines.any(is_object) {
        let called = if is_json { "JSON" } else { "JSONL" };
        return Err(format!(
            "is {called} by its name or content type, but none of its first lines is an object (\"{first_words}\"): say --input-format csv \
             if it is CSV"
        ));
    }
    // A file of lines says so; of a single object nobody knows whether it is a record.
    if is_json && second.is_none() {
        return Err(format!(
            "is a JSON object, not lines of them (\"{first_words}\"): say --input-format jsonl if it is a record"
        ));
    }
    Ok(())
}
