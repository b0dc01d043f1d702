//! The first records of a text in; out comes why they are hardly a table: a title over the header, another delimiter, a
//! notice, a log. It is a guess from a sample, which an option of the request overrules.

use std::borrow::Cow;
use std::ops::Range;

use super::sniff::{self, Reading};
use super::{content_kind, text_document};
use crate::format::csv::{Dialect, Scanner, line_end};
use crate::format::{Other, Span, clip};

/// How many records are looked at.
const RECORDS: usize = 100;

/// How many fields of a record are looked at, if the header has no more.
const FIELDS: usize = 64;

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
    /// Whether it was detected, because that was asked for.
    pub(super) is_auto: bool,
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
    /// Where it stands in `rest`; nowhere if it is the header.
    span: Range<usize>,
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

/// Says why a detected delimiter is hardly the one of the file, and what to do.
pub(super) fn check_delimiter(top: &Top<'_>) -> Result<(), String> {
    let records = records(top, top.dialect);
    table_of_another_delimiter(top, &records).map_or(Ok(()), Err)
}

fn doubt(top: &Top<'_>) -> Option<String> {
    let records = records(top, top.dialect);
    log(top)
        .or_else(|| document(top, &records, text_document::with_beginning))
        .or_else(|| another_delimiter(top))
        .or_else(|| table_of_another_delimiter(top, &records))
        .or_else(|| lines_over_header(top, &records))
        .or_else(|| other_widths(top, &records))
        .or_else(|| document(top, &records, text_document::of_names_and_values))
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
    let every: Vec<usize> = (0..top.columns.len().max(FIELDS)).collect();
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
            span: at..record.end,
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

/// Records that have as many fields as each other, with few others among them. Shorter ones than the header are none, however many
/// they are: they are rejects, and what they lack is seen.
struct Table {
    fields: usize,
    /// The place of the first of them in the sample, and its line.
    first: usize,
    line: u64,
    /// How many there are.
    records: usize,
    /// How many others there are behind the first.
    others: usize,
}

impl Table {
    /// The records of the most common width from so many fields on.
    fn of(records: &[Record], fields_min: usize) -> Option<Self> {
        let of = |width: usize| records.iter().filter(|record| record.fields == width).count();
        let wide = records.iter().filter(|record| record.fields >= fields_min);
        let (_, fields) = wide.map(|record| (of(record.fields), record.fields)).max()?;
        let is_alike = |record: &Record| record.fields == fields;
        // A title as a spreadsheet writes it is as wide, and empty but for one field.
        let is_header =
            |record: &Record| is_alike(record) && (fields < 3 || record.filled + 1 >= fields.min(FIELDS));
        let first = records.iter().position(is_header);
        let first = first.or_else(|| records.iter().position(is_alike))?;
        let alike = records[first..].iter().filter(|record| is_alike(record)).count();
        Some(Self {
            fields,
            first,
            line: records[first].line,
            records: alike,
            others: records.len() - first - alike,
        })
    }

    /// Whether no other stands among them.
    fn is_pure(&self) -> bool {
        self.others == 0
    }

    /// Whether nine in ten are alike.
    fn is_most(&self) -> bool {
        self.records >= 2 && self.records >= 9 * self.others
    }

    /// Whether all but two are alike, such as a comment and a total in a short file.
    fn is_all_but_few(&self) -> bool {
        self.records >= 3 && self.others <= 2 && self.records > self.others
    }
}

/// Whether a line is rather a title than the name of a column.
fn has_words(line: &str) -> bool {
    line.trim().contains(' ')
}

fn other_widths(top: &Top<'_>, records: &[Record]) -> Option<String> {
    if top.has_row_rules {
        return None;
    }
    let (columns, all) = (top.columns.len(), records.len());
    let table = Table::of(records, columns + 1)?;
    let (number, width) = (table.records, table.fields);
    let is_most = number >= 2 && 10 * number >= 9 * all;
    let has_none_as_header = all >= 2 && records.iter().all(|record| record.fields > columns);
    let is_below = table.first <= LINES_OVER_HEADER
        && if columns == 1 {
            // One record may as well be a ragged one.
            let is_told = number >= 2 || width > 2 || has_words(&first_line(top));
            let is_pure =
                table.is_pure() && is_told && (number >= 3 || number == all || number == 2 && all <= 4);
            is_pure
                || number >= 3 && table.is_most()
                || (width > 3 || has_words(&first_line(top))) && table.is_all_but_few()
        } else {
            number >= 3 && 2 * number > all && table.is_most()
        };
    if !(is_most || has_none_as_header || is_below) {
        return None;
    }
    let what = format!(
        "has a header of {}, but {number} of its first {all} records have {width}",
        fields(columns)
    );
    Some(if columns == 1 {
        let lines = table.line - 1;
        format!("{what}: is there a title over the header? say --skip-lines {lines}")
    } else if width == columns + 1 && records.iter().all(|record| !record.ends_filled) {
        format!(
            "{what}: do its records end with a delimiter that the header has not? say --long-rows trailing-empty"
        )
    } else {
        format!("{what}: say --skip-lines if lines stand over the header, else --delimiter or --quote")
    })
}

/// A table of another delimiter, also below a title: its records are alike only by that delimiter, or are decimal commas by this one.
fn table_of_another_delimiter(top: &Top<'_>, records: &[Record]) -> Option<String> {
    if !top.is_delimiter_open {
        return None;
    }
    let others = sniff::DELIMITERS
        .into_iter()
        .filter(|delimiter| *delimiter != top.dialect.delimiter);
    let tables = others.filter_map(|delimiter| {
        let lines = lines_by(top, delimiter);
        let table = Table::of(&lines, 2)?;
        let is_better = is_better(top, records, &lines, &table);
        is_better.then_some((table.fields, table.records, delimiter, table))
    });
    let (_, _, delimiter, table) = tables.max_by_key(|(fields, number, ..)| (*fields, *number))?;
    let (current, one) = (
        sniff::name(top.dialect.delimiter),
        sniff::option(top.dialect.delimiter),
    );
    let (name, other) = (sniff::name(delimiter), sniff::option(delimiter));
    let (columns, width, lines) = (top.columns.len(), table.fields, table.line - 1);
    let is_first = table.first == 0;
    let say = match is_first {
        true => other,
        false if top.is_auto && table.is_most() => format!("--skip-lines {lines}"),
        false => format!("--skip-lines {lines} and {other}"),
    };
    Some(match (columns, is_first) {
        (1, true) => {
            format!(
                "has one column by {current}, but {width} by {name}: say {say}, or {one} if it has one column"
            )
        }
        (1, false) => {
            let (number, all) = (table.records, table.first + table.records + table.others - 1);
            format!(
                "has one field in its first line, but {number} of the next {all} have {width} by {name}: say {say} if there is a title \
                 over the header, or {one} if it has one column"
            )
        }
        (_, true) => format!(
            "can be read in two ways, {columns} fields by {current} or {width} by {name}: say {one} or {say}"
        ),
        (_, false) => format!(
            "can be read in two ways, {columns} fields by {current} or, from line {} on, {width} by {name}: say {one} or {say}",
            table.line
        ),
    })
}

/// The header, if there is one, and the records as another delimiter makes them.
fn lines_by(top: &Top<'_>, delimiter: u8) -> Vec<Record> {
    let dialect = Dialect {
        delimiter,
        ..top.dialect
    };
    let mut lines = Vec::with_capacity(RECORDS + 1);
    if top.header {
        let every: [usize; FIELDS] = std::array::from_fn(|column| column);
        let header = first_line(top).replace(['\n', '\r'], " ");
        let mut filled = 0;
        let found = |span: Span| filled += usize::from(span.end > span.start);
        let record = Scanner::new(dialect).record(header.as_bytes(), 0, true, &every, found);
        lines.push(Record {
            fields: record.map_or(1, |record| record.fields),
            filled,
            ends_filled: true,
            line: top.line.saturating_sub(1),
            span: 0..0,
        });
    }
    lines.extend(records(top, dialect));
    lines
}

/// Whether the lines are rather the table that another delimiter gives.
fn is_better(top: &Top<'_>, records: &[Record], lines: &[Record], table: &Table) -> bool {
    let (columns, all) = (top.columns.len(), records.len());
    if table.first > LINES_OVER_HEADER || 2 * table.records < all || table.records < 2 {
        return false;
    }
    if !(table.is_pure() || table.is_most() || table.is_all_but_few()) {
        return false;
    }
    let is_decimal = top.dialect.delimiter == b',' && has_decimal_commas(top, lines, table);
    if other_widths(top, records).is_some() {
        // What is said for the current delimiter must not lose the header.
        let is_wider = |other: Table| {
            table.fields > other.fields
                || table.fields == other.fields && is_decimal
                || table.line < other.line && table.is_pure()
        };
        return Table::of(records, columns + 1).is_none_or(is_wider);
    }
    if columns == 1 {
        return table.first == 0
            || has_words(&first_line(top))
            || table.fields > 2 && (table.is_pure() || table.is_most())
            || has_header(top, lines, table);
    }
    // Numbers apart by another delimiter are a list, unless its header has it too, or there is one that the current has not.
    let header = lines.get(table.first).map(|line| &line.span);
    let is_apart = |record: &Record| Some(&record.span) == header && record.fields != columns;
    if table.first > 0 && !records.iter().any(is_apart) {
        return false;
    }
    let has_none_as_header = !records.iter().any(|record| record.fields == columns);
    is_decimal && (table.fields >= columns || has_none_as_header)
        || table.first > 0 && table.fields > columns && table.records > 2
}

/// Whether the first line of a table has no digit, and each other one has.
fn has_header(top: &Top<'_>, lines: &[Record], table: &Table) -> bool {
    let has_digit = |line: &Record| top.rest[line.span.clone()].iter().any(u8::is_ascii_digit);
    let mut of_table = lines[table.first..]
        .iter()
        .filter(|line| line.fields == table.fields);
    table.records > 2 && of_table.next().is_some_and(|header| !has_digit(header)) && of_table.all(has_digit)
}

/// Whether each comma of a table stands between two digits, but for its first line.
fn has_decimal_commas(top: &Top<'_>, lines: &[Record], table: &Table) -> bool {
    let of_table = lines.iter().skip(table.first + 1);
    of_table
        .filter(|line| line.fields == table.fields)
        .all(|line| sniff::has_decimal_commas(&top.rest[line.span.clone()]))
}

/// A text whose lines are no records.
fn document(
    top: &Top<'_>,
    records: &[Record],
    of: fn(&mut dyn Iterator<Item = &str>) -> Option<&'static str>,
) -> Option<String> {
    let columns = top.columns.len();
    let is_table =
        columns > 1 && !records.is_empty() && records.iter().all(|record| record.fields == columns);
    if !top.header || is_table {
        return None;
    }
    let first = first_line(top);
    let rest = String::from_utf8_lossy(&top.rest);
    // Empty lines over the rest are passed over with the header.
    let what = of(&mut first.lines().take(1).chain(rest.lines()))?;
    let first = clip(first.as_bytes());
    Some(format!(
        "is {what}, not a table (\"{first}\"): make a table of it, or say --input-format csv if its first line is a header"
    ))
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
    "accessdenied",
    "authentication required",
    "bad gateway",
    "bad request",
    "connection timed out",
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
    "not authorized",
    "not found",
    "nosuchbucket",
    "nosuchkey",
    "permission denied",
    "rate exceeded",
    "rate limit exceeded",
    "request timeout",
    "service temporarily unavailable",
    "service unavailable",
    "session expired",
    "slow down",
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
    let is_table =
        columns > 1 && !records.is_empty() && records.iter().all(|record| record.fields == columns);
    let words = text.split_whitespace().count();
    // Between fields that were apart by spaces.
    let lower = text.to_ascii_lowercase().replace('\t', " ");
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
        "error code:",
        "no healthy upstream",
        "upstream connect error",
        "upstream request timeout",
        "stream timeout",
        "rbac: access denied",
        "dear ",
        "traceback (",
    ]
    .iter()
    .any(|start| lower.starts_with(start));
    let is_sentence =
        text.ends_with(['.', '!']) && words >= 3 || is_alone && text.ends_with('?') && words >= 3;
    // The first words of a sentence with commas are more than the name of a column.
    let has_clause = records.is_empty() && names(top).any(|name| name.split_whitespace().count() >= 5);
    let is_prose = is_alone && (columns == 1 || is_split || has_clause) && words >= 4;
    let is_phrase = PHRASES.iter().any(|phrase| follows(phrase)) || is_alone && lower.starts_with("error,");
    let is_notice = is_status || begins || !is_table && (is_sentence || is_prose || is_phrase);
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
        let advice = match content_kind::advice_on_list(first) {
            Some(advice) => format!("{advice}; or say --input-format jsonl if it is a record itself"),
            None => {
                "is it an answer in place of the file? say --input-format jsonl if it is a record".to_owned()
            }
        };
        return Err(format!(
            "is a JSON object, not lines of them ({first_words}): {advice}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use crate::config::Limits;
    use crate::decode::open;
    use crate::format::Format;
    use crate::request::{DialectFrom, InputOptions};

    fn auto() -> InputOptions {
        InputOptions {
            dialect: Some(DialectFrom::Auto),
            ..InputOptions::default()
        }
    }

    /// Opens a file; the columns, or the error without the name of the file.
    fn opened(text: &str, options: &InputOptions) -> Result<Vec<String>, String> {
        let reader = Box::new(Cursor::new(text.as_bytes().to_vec()));
        match open(reader, "a.csv", None, options, &Limits::default()) {
            Ok(decoding) => Ok(decoding.columns),
            Err(error) => Err(error.to_string().replace("a.csv: ", "")),
        }
    }

    #[track_caller]
    fn assert_refused(text: &str, options: &InputOptions, part: &str) {
        let start: String = text.chars().take(60).collect();
        match opened(text, options) {
            Ok(columns) => panic!("{start:?} has the columns {columns:?}"),
            Err(message) => assert!(message.contains(part), "{start:?}: {message}"),
        }
    }

    #[track_caller]
    fn assert_columns(text: &str, options: &InputOptions, columns: &[&str]) {
        let start: String = text.chars().take(60).collect();
        let columns = columns.iter().map(ToString::to_string).collect();
        assert_eq!(opened(text, options), Ok(columns), "{start:?}");
    }

    /// A table of so many rows, with whole numbers or with decimal commas.
    fn rows(number: usize, value: &str) -> String {
        (0..number)
            .map(|i| format!("{i};Kunde {i};{i}{value};Bern\n"))
            .collect()
    }

    const TITLE: &str = "Monthly report March 2024\n";
    const HEADER: &str = "datum;kunde;betrag;ort\n";

    #[test]
    fn odd_lines_do_not_hide_the_table_under_a_title() {
        for text in [
            format!("{TITLE}{HEADER}# imported\n{}", rows(300, "")),
            format!("{TITLE}{HEADER}{}Total: 30 rows\n", rows(30, "")),
            format!("{TITLE}{HEADER}# imported\n{}Total: 3\n", rows(4, "")),
            format!("{TITLE}{HEADER}# imported\n{}Total;;10;\n", rows(3, ",50")),
            format!("{TITLE}{HEADER}{}", rows(1, "")),
            format!("Report\n{HEADER}# imported\n{}", rows(300, ",50")),
            format!("Report\n{HEADER}{}Total: 4\n", rows(4, "")),
            "Report\ndatum;betrag\n1;2\n3;4\n".to_owned(),
            format!(
                "{}{HEADER}# imported\n{}Total;;10;\n",
                "Monthly report March 2024;;;\n",
                rows(3, ",50")
            ),
            format!(
                "{}{HEADER}# imported\n{}Total;;10;\n",
                "Monthly report March 2024;;;\n",
                rows(4, "")
            ),
        ] {
            let part =
                "by semicolons: say --skip-lines 1 and --delimiter ';' if there is a title over the header";
            assert_refused(&text, &InputOptions::default(), part);
        }
        let of_commas = rows(4, "").replace(';', ",");
        let text = format!("{TITLE}a,b,c,d\n# imported\n{of_commas}Total\n");
        assert_refused(
            &text,
            &InputOptions::default(),
            "is there a title over the header? say --skip-lines 1",
        );
        let text = format!("{HEADER}# imported\n{}Total\n", rows(3, ""));
        assert_refused(
            &text,
            &InputOptions::default(),
            "4 by semicolons: say --delimiter ';'",
        );
    }

    #[test]
    fn decimal_commas_are_no_fields_under_a_title() {
        let dated = "02.03.2024;Kunde 1;1,50;Bern\n".repeat(30);
        for text in [
            format!("{TITLE}{HEADER}{dated}"),
            format!("{TITLE}{HEADER}# imported\n{dated}"),
            format!("{TITLE}datum;betrag\n{}", "02.03.2024;1,50\n".repeat(30)),
            format!("Umsatz\ndatum;betrag\n{}", "02.03.2024;1,50\n".repeat(30)),
            format!(
                "{TITLE}datum;kunde\n{}",
                "02.03.2024;Kunde 1, Bern, x\n".repeat(30)
            ),
            format!(
                "{TITLE}datum;betrag\n# imported\n{}",
                "02.03.2024;1,50\n".repeat(3)
            ),
        ] {
            let part = "by semicolons: say --skip-lines 1 and --delimiter ';'";
            assert_refused(&text, &InputOptions::default(), part);
            assert_refused(&text, &auto(), "by semicolons: say --skip-lines 1");
            let skipped = InputOptions {
                skip_lines: Some(1),
                delimiter: Some(';'),
                ..InputOptions::default()
            };
            assert_eq!(opened(&text, &skipped).unwrap()[0], "datum");
        }
    }

    #[test]
    fn a_title_with_a_comma_makes_no_columns_of_decimal_commas() {
        for text in [
            format!("Report, March 2024\n{HEADER}{}", rows(300, ",50")),
            format!(
                "Report, March 2024\n{HEADER}# imported, by me\n{}",
                rows(30, ",50")
            ),
            format!("Report, March 2024\ndatum;betrag\n{}", "1;1,50\n".repeat(30)),
            format!("Report, March 2024\n{HEADER}{}", rows(30, "")),
            format!(
                "Report, March 2024\n{HEADER}{}",
                rows(30, "").replace("Kunde ", "Kunde, ")
            ),
        ] {
            let part = "2 fields by commas or, from line 2 on,";
            assert_refused(&text, &InputOptions::default(), part);
            assert_refused(
                &text,
                &InputOptions::default(),
                "say --delimiter ',' or --skip-lines 1 and --delimiter ';'",
            );
            let named = InputOptions {
                format: Some(Format::Csv),
                ..InputOptions::default()
            };
            assert_columns(&text, &named, &["Report", " March 2024"]);
        }
        let text = format!("Report, March 2024\n{HEADER}{}", rows(300, ",50"));
        assert_refused(&text, &auto(), "say --delimiter ',' or --skip-lines 1");
        let text = format!("datum;betrag, netto\n{}", "1;1,50\n".repeat(30));
        let both = "can be read in two ways, 2 fields by commas or 2 by semicolons: say --delimiter ',' or --delimiter ';'";
        assert_refused(&text, &InputOptions::default(), both);
    }

    #[test]
    fn a_dialect_that_is_to_be_detected_is_not_hidden_by_a_title() {
        let text = format!("{TITLE}{HEADER}{}", rows(4, ""));
        let part = "has one field in its first line, but 5 of the next 5 have 4 by semicolons: say --skip-lines 1 if";
        assert_refused(&text, &auto(), part);
        let named = InputOptions {
            format: Some(Format::Csv),
            ..auto()
        };
        assert_refused(&text, &named, part);
        let skipped = InputOptions {
            skip_lines: Some(1),
            ..auto()
        };
        assert_columns(&text, &skipped, &["datum", "kunde", "betrag", "ort"]);
    }

    #[test]
    fn texts_and_lists_in_a_field_are_legal() {
        for (text, columns) in [
            ("pair\n1;2\n3;4\n", &["pair"][..]),
            ("text\none; two\nthree\nfour; five\n", &["text"]),
            ("tags\na;b\nc\nd;e;f\ng;h\n", &["tags"]),
            ("tags\na;b;c;d\ne;f;g;h\ni;j;k;l\nm\n", &["tags"]),
            ("id,list\n1,x;y;z\nbad;row\n2,x;y;z\n3,x;y;z\n", &["id", "list"]),
            ("\"a, b\"\n\"1, 2\"\n\"3, 4\"\n", &["a, b"]),
            ("id,scores\n1,10;20;30\n2,11;21;31\n", &["id", "scores"]),
            ("id,name,geo;pos\n1,7,2;3\n2,8,4;5\n", &["id", "name", "geo;pos"]),
            ("id,note\n1,a;b\n2,c;d\n", &["id", "note"]),
            ("name\nDoe, Jane\nRoe, Rick\nPoe, Ed\nCher\n", &["name"]),
            ("key, value\n1,2\n3,4\n", &["key", " value"]),
            ("url\nhttp://a\nhttp://b\nhttp://c\n", &["url"]),
            ("time\n10:30\n10:31\n10:32\n", &["time"]),
            ("note\nWarning: a\nError: b\nInfo: c\n", &["note"]),
        ] {
            assert_columns(text, &InputOptions::default(), columns);
        }
    }

    #[test]
    fn a_document_of_lines_is_a_guess() {
        for (text, what) in [
            (
                "---\nname: x\nage: 3\n",
                "is a YAML document, not a table (\"---\")",
            ),
            (
                "# Title\n\nSome prose, with commas, here.\nAnd, of course, more of it.\n",
                "is a text in Markdown",
            ),
            (
                "From: a@x\nTo: b@x\nSubject: hi, all\n\nHello,\nbye\n",
                "is a mail",
            ),
            ("name: x\nage: 3\ncity: y\n", "is made of lines `name: value`"),
            ("name: x, y\nage: 3\ncity: y\n", "is made of lines `name: value`"),
        ] {
            assert_refused(text, &InputOptions::default(), what);
            let named = InputOptions {
                format: Some(Format::Csv),
                ..InputOptions::default()
            };
            assert!(opened(text, &named).is_ok(), "{text:?}");
        }
    }
}
