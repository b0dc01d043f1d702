//! CSV as a text: RFC 4180, with the delimiter and the quote of the file's dialect. A [`Scanner`] tells
//! where a record and the wanted ones of its fields begin and end; [`unquote`] and [`write_field`] turn a
//! field into its text and back.
//!
//! A record ends at LF, at CRLF or at a lone CR, each of them anywhere in the file, as Python's `csv`,
//! pandas and the crate `csv` have it. Within a quoted field they are text.

use memchr::memchr;

use super::{BYTE_ORDER_MARK, Span};

/// How a file writes its fields. Both are ASCII, they differ, and neither is CR or LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Stands between fields.
    pub delimiter: u8,
    /// Stands around fields that need it; doubled, it is part of the text.
    pub quote: u8,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            delimiter: b',',
            quote: b'"',
        }
    }
}

/// A record that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Where it ends, its line end not included.
    pub end: usize,
    /// Where the next one begins.
    pub next: usize,
    /// How many fields it has, at least one.
    pub fields: usize,
    /// The line feeds in its quoted fields.
    pub line_feeds: usize,
    /// Whether any of its fields is quoted.
    pub quoted: bool,
    /// The first quote within a field that is not quoted, or the end of the first quoted field that goes on
    /// after its closing quote. Either way the rest of that field counts as unquoted, so that the record
    /// ends with its line.
    pub stray: Option<usize>,
}

/// The text ends before the record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// The quote that opened the field in which the text ends, if it is a quoted one.
    pub quote: Option<usize>,
}

/// Finds records and fields, eight bytes at a step.
#[derive(Debug, Clone, Copy)]
pub struct Scanner {
    dialect: Dialect,
    delimiters: u64,
    quotes: u64,
}

impl Scanner {
    /// A scanner of files in `dialect`.
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            delimiters: repeat(dialect.delimiter),
            quotes: repeat(dialect.quote),
        }
    }

    /// The dialect that it reads.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Finds the end of the record that begins at `start`, and puts the raw spans of the columns `wanted`,
    /// which increase, into `spans`: fewer of them if the record is too short. `last` says that nothing
    /// follows `raw`.
    ///
    /// # Errors
    /// [`Partial`] if the record may go on after `raw`, or if it ends within quotes.
    pub fn record(
        &self,
        raw: &[u8],
        start: usize,
        last: bool,
        wanted: &[usize],
        spans: &mut Vec<Span>,
    ) -> Result<Record, Partial> {
        spans.clear();
        let mut wanted = wanted.iter().copied();
        let mut want = wanted.next().unwrap_or(usize::MAX);
        let mut found = Record {
            end: 0,
            next: 0,
            fields: 0,
            line_feeds: 0,
            quoted: false,
            stray: None,
        };
        let (mut field, mut at) = (start, start);
        'words: while at < raw.len() {
            let word = load(raw, at);
            let delimiters = equal(word, self.delimiters);
            let others = (equal(word, self.quotes) | controls(word)) & !delimiters;
            let ended = count(delimiters);
            if others == 0 && found.fields + ended <= want {
                // Nothing but delimiters, and no wanted field ends here.
                if delimiters != 0 {
                    field = at + 8 - delimiters.leading_zeros() as usize / 8;
                }
                found.fields += ended;
                at += 8;
                continue;
            }
            let mut hits = delimiters | others;
            while hits != 0 {
                let here = at + hits.trailing_zeros() as usize / 8;
                hits &= hits - 1;
                let byte = raw[here];
                if byte == self.dialect.delimiter {
                    if found.fields == want {
                        spans.push(Span {
                            start: field,
                            end: here,
                        });
                        want = wanted.next().unwrap_or(usize::MAX);
                    }
                    found.fields += 1;
                    field = here + 1;
                } else if byte == b'\n' || byte == b'\r' {
                    found.end = here;
                    found.next = line_end(raw, here, last).ok_or(Partial { quote: None })?;
                    return Ok(close(found, field, want, spans));
                } else if byte == self.dialect.quote && here == field {
                    at = self.quoted(raw, here, &mut found)?;
                    continue 'words;
                } else if byte == self.dialect.quote {
                    found.stray = found.stray.or(Some(here));
                }
            }
            at += 8;
        }
        if !last {
            return Err(Partial { quote: None });
        }
        (found.end, found.next) = (raw.len(), raw.len());
        Ok(close(found, field, want, spans))
    }

    /// Passes over the quoted part of the field at `open`.
    fn quoted(&self, raw: &[u8], open: usize, found: &mut Record) -> Result<usize, Partial> {
        let quote = self.dialect.quote;
        let mut at = open + 1;
        loop {
            at += memchr(quote, &raw[at..]).ok_or(Partial { quote: Some(open) })? + 1;
            match raw.get(at) {
                Some(&byte) if byte == quote => at += 1,
                Some(&byte) if byte == self.dialect.delimiter || byte == b'\n' || byte == b'\r' => break,
                Some(_) => {
                    found.stray = found.stray.or(Some(at));
                    break;
                }
                None => break,
            }
        }
        found.quoted = true;
        found.line_feeds += line_feeds(&raw[open..at]);
        Ok(at)
    }
}

/// How many line feeds there are.
pub fn line_feeds(raw: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', raw).count()
}

/// Where the line after the CR or LF at `at` begins. None if that depends on what follows `raw`.
pub fn line_end(raw: &[u8], at: usize, last: bool) -> Option<usize> {
    match (raw[at], raw.get(at + 1)) {
        (b'\r', Some(b'\n')) => Some(at + 2),
        (b'\r', None) if !last => None,
        _ => Some(at + 1),
    }
}

/// Appends the text of a raw field of a well-formed record.
pub fn unquote(field: &[u8], quote: u8, out: &mut Vec<u8>) {
    let mut rest = match field {
        [first, inner @ .., _] if *first == quote => inner,
        _ => return out.extend_from_slice(field),
    };
    while let Some(at) = memchr(quote, rest) {
        out.extend_from_slice(&rest[..=at]);
        rest = &rest[(at + 2).min(rest.len())..];
    }
    out.extend_from_slice(rest);
}

/// Appends a text as a field, within quotes if it has a delimiter, a quote, CR or LF, or begins with a byte
/// order mark, which a reader would take off the first field of a file.
pub fn write_field(text: &[u8], dialect: Dialect, out: &mut Vec<u8>) {
    let Dialect { delimiter, quote } = dialect;
    let special = |&byte: &u8| (byte == delimiter) | (byte == quote) | (byte == b'\n') | (byte == b'\r');
    // Without an early exit the loop is vectorized.
    if !text.iter().fold(false, |found, byte| found | special(byte)) && !text.starts_with(BYTE_ORDER_MARK) {
        return out.extend_from_slice(text);
    }
    out.push(quote);
    let mut rest = text;
    while let Some(at) = memchr(quote, rest) {
        out.extend_from_slice(&rest[..=at]);
        out.push(quote);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(quote);
}

/// Counts the field in which the record ended.
fn close(mut found: Record, field: usize, want: usize, spans: &mut Vec<Span>) -> Record {
    if found.fields == want {
        spans.push(Span {
            start: field,
            end: found.end,
        });
    }
    found.fields += 1;
    found
}

const LOW_BITS: u64 = repeat(0x7f);
const HIGH_BITS: u64 = repeat(0x80);

const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Eight bytes, the first one lowest. Past the end of `raw` they are 0xff, which is neither ASCII nor UTF-8.
fn load(raw: &[u8], at: usize) -> u64 {
    if let Some(bytes) = raw[at..].first_chunk() {
        return u64::from_le_bytes(*bytes);
    }
    let mut bytes = [0xff; 8];
    let rest = &raw[at..];
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(bytes)
}

/// The high bit of each byte that equals the byte repeated in `pattern`. From "Determine if a word has a
/// zero byte" in Anderson's Bit Twiddling Hacks, in the form without false hits.
fn equal(word: u64, pattern: u64) -> u64 {
    let differences = word ^ pattern;
    !(((differences & LOW_BITS) + LOW_BITS) | differences) & HIGH_BITS
}

/// The high bit of each byte up to 0x0d, CR: those and LF in one comparison, with others that are rare in a
/// text.
fn controls(word: u64) -> u64 {
    !(((word & LOW_BITS) + repeat(0x7f - 0x0d)) | word) & HIGH_BITS
}

/// How many high bits are set in a word that has no others.
fn count(high_bits: u64) -> usize {
    ((high_bits >> 7).wrapping_mul(repeat(1)) >> 56) as usize
}
