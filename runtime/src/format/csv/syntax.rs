//! CSV that a [`Dialect`] alone does not describe: without quotes, with an escape, with comments, or with spaces around
//! fields. A [`Parser`] finds the records of such a file, byte by byte, and rewrites each record as plain CSV.

use std::collections::VecDeque;

use memchr::memchr2;

use super::{Dialect, Partial, Scanner, line_end, line_feeds, write_field};

/// The syntax in which the records of an input are written. All of its bytes are ASCII and differ from each other. None
/// of them is CR or LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Syntax {
    /// The byte that separates fields.
    pub delimiter: u8,
    /// The byte that encloses fields that need quotes. Within quotes, two of these bytes stand for one in the text.
    /// `None` if no byte has this meaning.
    pub quote: Option<u8>,
    /// The byte that makes the next byte text, whatever this next byte is. If a CRLF follows, the whole CRLF becomes
    /// text.
    pub escape: Option<u8>,
    /// The byte that begins a line that is not a record.
    pub comment: Option<u8>,
    /// True if spaces are skipped before a field, and between a closing quote and the end of the field.
    pub trim: bool,
}

/// If a syntax has no quote, this byte is the quote of the [`Dialect`] for the texts that [`Syntax::simplify`] returns.
/// In this case, these texts do not contain the byte.
pub const NO_QUOTE: u8 = 0xff;

/// The rules for rows that are wider or narrower than the header, and for blank rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowRules {
    /// True if the missing fields of a short row count as empty.
    pub fills_short: bool,
    /// True if the extra fields of a long row are removed when all of them are empty.
    pub cuts_long: bool,
    /// True if a row is skipped when none of its fields has a byte.
    pub drops_blank: bool,
}

impl From<Dialect> for Syntax {
    fn from(Dialect { delimiter, quote }: Dialect) -> Self {
        Self {
            delimiter,
            quote: Some(quote),
            escape: None,
            comment: None,
            trim: false,
        }
    }
}

impl Syntax {
    /// Returns the dialect for CSV output. Its quote is the quote of the syntax, or `"` if the syntax has no quote.
    pub fn dialect(self) -> Dialect {
        Dialect {
            delimiter: self.delimiter,
            quote: self.quote.unwrap_or(Dialect::default().quote),
        }
    }

    /// Rewrites the beginning of a file, so that a dialect alone describes the result:
    ///
    /// - The records and fields are the same.
    /// - Comments and skipped spaces are removed.
    /// - The letter `x` replaces each escape together with the escaped byte or CRLF.
    /// - If the syntax has no quote, the letter `x` also replaces each [`NO_QUOTE`].
    pub fn simplify(self, text: &[u8]) -> Vec<u8> {
        self.simplify_but(text, |_| ())
    }

    /// Returns the same as [`Syntax::simplify`]. For each letter that replaces an escaped line end, calls `lost` with
    /// the letter's position in the result.
    pub fn simplify_but(self, text: &[u8], mut lost: impl FnMut(usize)) -> Vec<u8> {
        #[derive(Clone, Copy, PartialEq, Eq)]
        enum ScanState {
            LineStart,
            FieldStart,
            Field,
            Quoted,
            Closed,
        }
        use ScanState::{Closed, Field, FieldStart, LineStart, Quoted};
        let mut simple = Vec::with_capacity(text.len());
        let (mut at, mut place) = (0, LineStart);
        while let Some(&byte) = text.get(at) {
            let rest = &text[at + 1..];
            at += 1;
            if place == LineStart && self.comment == Some(byte) {
                at += memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                place = Field;
                continue;
            }
            if place != Closed && self.escape == Some(byte) {
                if let [b'\n' | b'\r', ..] = rest {
                    lost(simple.len());
                }
                simple.push(b'x');
                at += if rest.starts_with(b"\r\n") { 2 } else { 1 };
                if place != Quoted {
                    place = Field;
                }
                continue;
            }
            if self.trim && byte == b' ' && matches!(place, LineStart | FieldStart | Closed) {
                if place == LineStart {
                    place = FieldStart;
                }
                continue;
            }
            let is_quote = self.quote == Some(byte);
            place = match place {
                Quoted if is_quote => Closed,
                Quoted => Quoted,
                _ if matches!(byte, b'\n' | b'\r') => LineStart,
                _ if byte == self.delimiter => FieldStart,
                LineStart | FieldStart | Closed if is_quote => Quoted,
                _ => Field,
            };
            let is_no_quote = self.quote.is_none() && byte == NO_QUOTE;
            simple.push(if is_no_quote { b'x' } else { byte });
        }
        simple
    }

    /// Returns whether the dialect describes the syntax completely.
    pub fn is_plain(self) -> bool {
        self == Self::from(self.dialect())
    }

    /// Returns whether the dialect describes the syntax of each record. Comments between records are allowed.
    pub fn has_plain_records(self) -> bool {
        Self {
            comment: None,
            ..self
        }
        .is_plain()
    }
}

/// A finder of lines that are not records. Such lines are empty lines and comments. If blank rows are dropped, rows
/// that consist only of delimiters are also such lines.
#[derive(Debug, Clone, Copy)]
pub struct Gaps {
    comment: Option<u8>,
    /// The delimiter, if blank rows are dropped.
    blank: Option<u8>,
}

impl Gaps {
    /// Returns a finder for files in `syntax`.
    pub fn new(syntax: Syntax, rules: RowRules) -> Self {
        Self {
            comment: syntax.comment,
            blank: rules.drops_blank.then_some(syntax.delimiter),
        }
    }

    /// Returns the start of the next line if the line at `start` is not a record, and `None` if it is a record. `last`
    /// is true if nothing follows `raw`.
    ///
    /// # Errors
    /// Returns [`Partial`] if the line can continue after `raw`.
    #[inline]
    pub fn pass(self, raw: &[u8], start: usize, last: bool) -> Result<Option<usize>, Partial> {
        match raw.get(start).copied() {
            Some(b'\n' | b'\r') => {}
            first if first.is_some() && (first == self.comment || first == self.blank) => {}
            _ => return Ok(None),
        }
        self.pass_line(raw, start, last)
    }

    fn pass_line(self, raw: &[u8], start: usize, last: bool) -> Result<Option<usize>, Partial> {
        let line = &raw[start..];
        let length = if line.first().copied() == self.blank {
            line.iter().take_while(|&&byte| Some(byte) == self.blank).count()
        } else {
            memchr2(b'\n', b'\r', line).unwrap_or(line.len())
        };
        let next = match line.get(length) {
            Some(b'\n' | b'\r') => line_end(raw, start + length, last),
            Some(_) => return Ok(None),
            None => last.then_some(raw.len()),
        };
        next.map(Some).ok_or(Partial { quote: None })
    }
}

/// A field of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ParsedField {
    /// The start of the field, including an opening quote, after skipped spaces.
    start: usize,
    end: usize,
    is_quoted: bool,
    is_escaped: bool,
}

/// The next line or record of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CsvItem {
    /// A line that is not a record, because it is empty, a comment, or a blank row that is dropped.
    Nothing {
        /// The start of the next line.
        next: usize,
    },
    /// A record.
    Row(ParsedRow),
}

/// A record found by a [`Parser`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedRow {
    /// The end of the record, without its line end.
    pub end: usize,
    /// The start of the next record.
    pub next: usize,
    /// The number of fields, at least one.
    pub fields: usize,
    /// The number of fields up to the last one that is not empty.
    pub filled: usize,
    /// The number of line feeds in the record.
    pub line_feeds: usize,
    /// True if any field is quoted.
    pub quoted: bool,
    /// See [`super::CsvRecord::stray`].
    pub stray: Option<usize>,
    /// The position of an escape at the end of the text, or `None`.
    pub stray_escape: Option<usize>,
}

/// A parser that finds records and rewrites them.
#[derive(Debug, Clone)]
pub struct Parser {
    syntax: Syntax,
    rules: RowRules,
    gaps: Gaps,
    /// The scanner that finds the end of a record, or `None` if a dialect alone does not describe the records.
    scanner: Option<Scanner>,
    /// For each byte value, true if the byte can be something other than text in an unquoted field.
    is_special: [bool; 256],
    /// The first fields of the record that was found last, at most `fields_max`.
    fields: Vec<ParsedField>,
    fields_max: usize,
    text: Vec<u8>,
}

impl Parser {
    /// Returns a parser of files in `syntax`. The parser keeps the first `fields_max` fields of a record.
    pub fn new(syntax: Syntax, rules: RowRules, fields_max: usize) -> Self {
        let mut is_special = [false; 256];
        let bytes = [b'\n', b'\r', syntax.delimiter];
        for byte in bytes.into_iter().chain(syntax.quote).chain(syntax.escape) {
            is_special[usize::from(byte)] = true;
        }
        Self {
            syntax,
            rules,
            gaps: Gaps::new(syntax, rules),
            scanner: syntax.has_plain_records().then(|| Scanner::new(syntax.dialect())),
            is_special,
            fields: Vec::new(),
            fields_max,
            text: Vec::new(),
        }
    }

    /// Returns the syntax of the parser.
    pub fn syntax(&self) -> Syntax {
        self.syntax
    }

    /// Finds the record, or the line without a record, that begins at `start`. `start` must be the start of a line.
    /// `last` is true if nothing follows `raw`.
    ///
    /// # Errors
    /// Returns [`Partial`] if the record or the line can continue after `raw`, or if `raw` ends within quotes.
    pub fn next(&mut self, raw: &[u8], start: usize, last: bool) -> Result<CsvItem, Partial> {
        if let Some(next) = self.gaps.pass(raw, start, last)? {
            return Ok(CsvItem::Nothing { next });
        }
        self.row(raw, start, last)
    }

    fn row(&mut self, raw: &[u8], start: usize, last: bool) -> Result<CsvItem, Partial> {
        self.fields.clear();
        let (mut at, mut seen) = (start, FieldTotals::default());
        loop {
            at = self.field(raw, at, last, &mut seen)?;
            if raw.get(at) != Some(&self.syntax.delimiter) {
                break;
            }
            at += 1;
        }
        let next = match raw.get(at) {
            Some(_) => line_end(raw, at, last),
            None => last.then_some(at),
        };
        let next = next.ok_or(Partial { quote: None })?;
        if self.rules.drops_blank && !seen.has_bytes {
            return Ok(CsvItem::Nothing { next });
        }
        Ok(CsvItem::Row(ParsedRow {
            end: at,
            next,
            fields: seen.fields,
            filled: seen.filled,
            line_feeds: line_feeds(&raw[start..at]),
            quoted: seen.quoted,
            stray: seen.stray,
            stray_escape: seen.stray_escape,
        }))
    }

    /// Adds the field that begins at `at`. Returns the end of the field, which is at a delimiter, at a line end or at
    /// the end of the text.
    fn field(&mut self, raw: &[u8], at: usize, last: bool, seen: &mut FieldTotals) -> Result<usize, Partial> {
        let start = self.pass_spaces(raw, at);
        let mut field = ParsedField {
            start,
            end: start,
            is_quoted: false,
            is_escaped: false,
        };
        let mut at = start;
        if let Some(quote) = self.syntax.quote
            && raw.get(start) == Some(&quote)
        {
            field.is_quoted = true;
            field.end = self.quoted(raw, start, quote, &mut field.is_escaped)?;
            at = self.pass_spaces(raw, field.end);
            match raw.get(at) {
                None => {}
                Some(&byte) if byte == self.syntax.delimiter || matches!(byte, b'\n' | b'\r') => {}
                Some(_) => {
                    seen.stray = seen.stray.or(Some(at));
                    // As in Python, an escape has no meaning right after a closing quote.
                    at += usize::from(at == field.end);
                }
            }
        }
        at = self.unquoted(raw, at, last, &mut field, seen)?;
        if !field.is_quoted {
            field.end = at;
        }
        seen.add(field);
        if self.fields.len() < self.fields_max {
            self.fields.push(field);
        }
        Ok(at)
    }

    fn pass_spaces(&self, raw: &[u8], at: usize) -> usize {
        if !self.syntax.trim {
            return at;
        }
        at + raw[at..].iter().take_while(|&&byte| byte == b' ').count()
    }

    /// Returns the end of the quoted part of the field whose quote opens at `open`.
    fn quoted(&self, raw: &[u8], open: usize, quote: u8, is_escaped: &mut bool) -> Result<usize, Partial> {
        let mut at = open + 1;
        loop {
            let found = memchr2(quote, self.syntax.escape.unwrap_or(quote), &raw[at..]);
            at += found.ok_or(Partial { quote: Some(open) })?;
            if raw[at] != quote {
                *is_escaped = true;
                at += 2;
                if at > raw.len() {
                    return Err(Partial { quote: Some(open) });
                }
            } else if raw.get(at + 1) == Some(&quote) {
                at += 2;
            } else {
                return Ok(at + 1);
            }
        }
    }

    /// Returns the end of the unquoted text that begins at `at`.
    fn unquoted(
        &self,
        raw: &[u8],
        mut at: usize,
        last: bool,
        field: &mut ParsedField,
        seen: &mut FieldTotals,
    ) -> Result<usize, Partial> {
        loop {
            let rest = raw[at..].iter();
            at += rest
                .take_while(|&&byte| !self.is_special[usize::from(byte)])
                .count();
            match raw.get(at) {
                None if last => return Ok(at),
                None => return Err(Partial { quote: None }),
                Some(&byte) if Some(byte) == self.syntax.quote => {
                    seen.stray = seen.stray.or(Some(at));
                    at += 1;
                }
                Some(&byte) if Some(byte) == self.syntax.escape => {
                    field.is_escaped = true;
                    at = match raw.get(at + 1) {
                        Some(b'\r') => line_end(raw, at + 1, last).ok_or(Partial { quote: None })?,
                        Some(_) => at + 2,
                        None if last => {
                            seen.stray_escape = Some(at);
                            at + 1
                        }
                        None => return Err(Partial { quote: None }),
                    };
                }
                Some(_) => return Ok(at),
            }
        }
    }

    /// Appends the text of a field of the record that was found last. Appends nothing if the parser did not keep the
    /// field.
    pub fn text(&self, raw: &[u8], column: usize, out: &mut Vec<u8>) {
        if let Some(field) = self.fields.get(column) {
            self.text_of(raw, *field, out);
        }
    }

    /// Rewrites the record that was found last as plain CSV, and appends it to `out` without a line end. The record
    /// must be well-formed. The result has `columns` columns, which must not be more than the parser keeps. Appends the
    /// end of each field in `out` to `ends`. A field that plain CSV writes in the same form is copied. Returns whether
    /// any field is quoted.
    pub fn rewrite(&mut self, raw: &[u8], columns: usize, out: &mut Vec<u8>, ends: &mut Vec<u32>) -> bool {
        let (dialect, mut text) = (self.syntax.dialect(), std::mem::take(&mut self.text));
        let mut quoted = false;
        for column in 0..columns {
            if column > 0 {
                out.push(dialect.delimiter);
            }
            let start = out.len();
            if let Some(&field) = self.fields.get(column) {
                if field.is_escaped || self.syntax.quote.is_none() {
                    text.clear();
                    self.text_of(raw, field, &mut text);
                    write_field(&text, dialect, out);
                } else {
                    out.extend_from_slice(&raw[field.start..field.end]);
                }
            }
            quoted |= out.get(start) == Some(&dialect.quote);
            ends.push(out.len() as u32);
        }
        self.text = text;
        quoted
    }

    fn text_of(&self, raw: &[u8], field: ParsedField, out: &mut Vec<u8>) {
        let raw = &raw[field.start..field.end];
        if !field.is_quoted && !field.is_escaped {
            return out.extend_from_slice(raw);
        }
        let quote = self.syntax.quote.filter(|_| field.is_quoted);
        let mut rest = match raw {
            [_, inner @ .., _] if field.is_quoted => inner,
            _ => raw,
        };
        let begins = |&byte: &u8| Some(byte) == self.syntax.escape || Some(byte) == quote;
        while let Some(at) = rest.iter().position(begins) {
            out.extend_from_slice(&rest[..at]);
            out.extend(rest.get(at + 1));
            rest = rest.get(at + 2..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
    }

    /// Returns the end of the last record that is complete in `raw`. `raw` must begin with a record. See
    /// [`super::records_end`].
    pub fn records_end(&mut self, raw: &[u8], last: bool) -> Option<usize> {
        if last {
            return Some(raw.len());
        }
        let (mut at, mut end) = (0, None);
        while at < raw.len()
            && let Ok((next, _)) = self.pass(raw, at, false)
        {
            at = next;
            end = Some(next);
        }
        end
    }

    /// Returns the end of the last record that is complete in `raw` and cannot be one of the last `footer` rows of the
    /// file. This is the start of the last `footer` rows in `raw`. Returns `None` if more bytes are needed.
    pub fn records_end_before(&mut self, raw: &[u8], last: bool, footer: usize) -> Option<usize> {
        let (mut at, mut starts) = (0, VecDeque::with_capacity(footer + 1));
        while at < raw.len() {
            match self.pass(raw, at, last) {
                Ok((next, false)) => at = next,
                Ok((next, true)) => {
                    if starts.len() == footer {
                        starts.pop_front();
                    }
                    starts.push_back(at);
                    at = next;
                }
                // If a quote is never closed, the rest of the text is not a footer. The decoder reports this error.
                Err(_) if last => return Some(raw.len()),
                Err(_) => break,
            }
        }
        let end = starts.front().copied().filter(|_| last || starts.len() == footer);
        end.filter(|&end| last || end > 0).or(last.then_some(0))
    }

    /// Skips the record, or the line without a record, that begins at `start`. Returns the start of the next line, and
    /// whether a record was skipped. If a dialect alone describes the records, this function does not find their
    /// fields, so it is faster than [`Parser::next`].
    fn pass(&mut self, raw: &[u8], start: usize, last: bool) -> Result<(usize, bool), Partial> {
        let Some(scanner) = self.scanner else {
            return Ok(match self.next(raw, start, last)? {
                CsvItem::Nothing { next } => (next, false),
                CsvItem::Row(row) => (row.next, true),
            });
        };
        if let Some(next) = self.gaps.pass(raw, start, last)? {
            return Ok((next, false));
        }
        let record = scanner.record(raw, start, last, &[], |_| ())?;
        Ok((record.next, true))
    }
}

/// The totals of a record, which are updated while its fields are found.
#[derive(Default)]
struct FieldTotals {
    fields: usize,
    filled: usize,
    /// True if any field has a byte.
    has_bytes: bool,
    quoted: bool,
    stray: Option<usize>,
    stray_escape: Option<usize>,
}

impl FieldTotals {
    fn add(&mut self, field: ParsedField) {
        self.fields += 1;
        let length = field.end - field.start;
        self.has_bytes |= length > 0;
        self.quoted |= field.is_quoted;
        if length > if field.is_quoted { 2 } else { 0 } {
            self.filled = self.fields;
        }
    }
}
