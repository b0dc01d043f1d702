//! Reads and writes the text of JSONL, which has one JSON object on each line. [`members`] finds the start and end of
//! each member of a raw object, and [`Keys`] finds the column of a member. [`text`] turns a value into its text, and
//! [`write_value`] turns a text into a value.
//!
//! When a record is decoded, serde_json checks once that the record is JSON. This module does not check it again.

use std::collections::HashMap;

use memchr::{memchr, memchr2};
use serde::de::IgnoredAny;

use super::{ColumnType, Span, clip};

/// A member of an object, as spans of the object's raw text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The key, including its quotes.
    pub key: Span,
    /// The value.
    pub value: Span,
}

/// The error for a JSON string that cannot be a text. Such a string has half of a surrogate pair, which UTF-8 cannot
/// represent (RFC 8259, section 8.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Untextual;

/// Returns the reason of the reject for a raw string that is [`Untextual`].
pub fn untextual(string: &[u8]) -> String {
    format!(
        "the string {} has half of a surrogate pair, which is not a character",
        clip(string)
    )
}

/// Returns the members of a raw object in their order. `raw` must be valid JSON: otherwise members can be missing.
pub fn members(raw: &[u8]) -> impl Iterator<Item = Member> + use<'_> {
    let mut at = memchr(b'{', raw).map_or(raw.len(), |brace| brace + 1);
    std::iter::from_fn(move || {
        let key_start = skip(raw, at, |byte| byte != b'"');
        let key_end = string_end(raw, key_start)?;
        let start = skip(raw, key_end, |byte| is_space(byte) || byte == b':');
        let end = value_end(raw, start)?;
        at = end;
        Some(Member {
            key: Span {
                start: key_start,
                end: key_end,
            },
            value: Span { start, end },
        })
    })
}

/// An index of the names of columns. It finds the column of a member by the member's raw key.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// The name of each column as a JSON string. Most files write their keys exactly like this, so [`Keys::find`]
    /// compares these strings first.
    strings: Vec<Vec<u8>>,
    index: HashMap<Vec<u8>, usize>,
    unescaped: Vec<u8>,
}

impl Keys {
    /// Returns an index of the columns with these names, in the order of the columns. The names must differ: for two
    /// equal names, the result of [`Keys::find`] would depend on the guess.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: Vec<_> = names.into_iter().map(str::as_bytes).collect();
        let index: HashMap<_, _> = names.iter().map(|name| name.to_vec()).zip(0..).collect();
        debug_assert_eq!(index.len(), names.len(), "no two names are equal");
        let string = |name: &&[u8]| {
            let mut string = Vec::with_capacity(name.len() + 2);
            write_string(name, &mut string);
            string
        };
        Self {
            strings: names.iter().map(string).collect(),
            index,
            unescaped: Vec::new(),
        }
    }

    /// Returns the column that has the name `key`, or `None`. `key` is a raw key with its quotes. Tries the column
    /// `guess` first, because in most files the members of all records have the same order.
    ///
    /// # Errors
    /// Fails if the key cannot be a text.
    pub fn find(&mut self, key: &[u8], guess: usize) -> Result<Option<usize>, Untextual> {
        if self.strings.get(guess).is_some_and(|string| string == key) {
            return Ok(Some(guess));
        }
        let inner = inner(key);
        let name = if memchr(b'\\', inner).is_some() {
            self.unescaped.clear();
            unescape(inner, &mut self.unescaped)?;
            &self.unescaped
        } else {
            inner
        };
        Ok(self.index.get(name).copied())
    }
}

/// Appends the text of a raw value. A string is unescaped. For null, nothing is appended. For any other value, its JSON
/// is appended.
///
/// # Errors
/// Fails if the value is a string that cannot be a text. In this case a part of the string can already be in `out`.
pub fn text(value: &[u8], out: &mut Vec<u8>) -> Result<(), Untextual> {
    match value {
        [b'"', ..] => unescape(inner(value), out),
        b"null" => Ok(()),
        _ => {
            out.extend_from_slice(value);
            Ok(())
        }
    }
}

/// Appends a text as a value of a column. `original` is the raw value that the text replaces, if there is one.
///
/// If the text is not a literal of the column's type, it is written unchanged as a string. Examples are `007` in a
/// column of integers and `1e999` in a column of numbers. The plugin is responsible for the meaning of such a text.
/// [`ColumnType::Inherit`] stands for the type of the original value.
///
/// An empty text is written as null, with two exceptions. With [`ColumnType::Text`], it is written as an empty string,
/// unless the original is null. With [`ColumnType::Inherit`], it is written as an empty string if the original is an
/// empty string.
pub fn write_value(text: &[u8], column_type: ColumnType, original: Option<&[u8]>, out: &mut Vec<u8>) {
    if text.is_empty() {
        let is_string = match column_type {
            ColumnType::Text => original != Some(b"null"),
            ColumnType::Inherit => original == Some(br#""""#),
            _ => false,
        };
        return out.extend_from_slice(if is_string { br#""""# } else { b"null" });
    }
    let literal = match (column_type, original.and_then(<[u8]>::first)) {
        (ColumnType::Text, _) | (ColumnType::Inherit, Some(b'"')) => return write_string(text, out),
        (ColumnType::Integer, _) => is_integer(text),
        (ColumnType::Number, _) | (ColumnType::Inherit, Some(b'-' | b'0'..=b'9')) => is_number(text),
        (ColumnType::Boolean, _) | (ColumnType::Inherit, Some(b't' | b'f')) => {
            matches!(text, b"true" | b"false")
        }
        (ColumnType::Inherit, Some(bracket @ (b'{' | b'['))) => {
            text.first() == Some(bracket) && is_json(text)
        }
        (ColumnType::Timestamp | ColumnType::Inherit, _) => false,
    };
    if literal {
        out.extend_from_slice(text);
    } else {
        write_string(text, out);
    }
}

/// Appends a text as a string.
pub fn write_string(text: &[u8], out: &mut Vec<u8>) {
    let special = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    out.push(b'"');
    let mut rest = text;
    // The compiler vectorizes this loop because it has no early exit.
    if text.iter().fold(false, |found, &byte| found | special(byte)) {
        while let Some(at) = rest.iter().position(|&byte| special(byte)) {
            out.extend_from_slice(&rest[..at]);
            write_escape(rest[at], out);
            rest = &rest[at + 1..];
        }
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]);
            return out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Returns whether a byte is white space between the tokens of JSON.
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok() && !text.contains(&b'\n') && !text.contains(&b'\r')
}

/// The maximum length, in bytes, at which a number without an exponent is surely within the range of a 64-bit float.
const FINITE_BYTES_MAX: usize = 308;

/// Returns whether a text is a JSON number within the range of a 64-bit float. If a number is beyond this range,
/// readers of JSON make it infinite or fail.
pub fn is_number(text: &[u8]) -> bool {
    matches!(text, [b'-' | b'0'..=b'9', .., b'0'..=b'9'] | [b'0'..=b'9']) && is_json(text) && is_finite(text)
}

/// Returns whether a text is a JSON integer within the range of a 64-bit float.
pub fn is_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    matches!(digits, [b'0'] | [b'1'..=b'9', ..])
        && digits.iter().all(u8::is_ascii_digit)
        && (digits.len() <= FINITE_BYTES_MAX || is_finite(text))
}

/// Returns whether a number is within the range of a 64-bit float.
fn is_finite(number: &[u8]) -> bool {
    if number.len() <= FINITE_BYTES_MAX && memchr2(b'e', b'E', number).is_none() {
        return true;
    }
    let float = std::str::from_utf8(number).map(str::parse::<f64>);
    float.is_ok_and(|float| float.is_ok_and(f64::is_finite))
}

/// Returns the part of a raw string between its quotes.
fn inner(string: &[u8]) -> &[u8] {
    match string {
        [_, inner @ .., _] => inner,
        _ => &[],
    }
}

fn skip(raw: &[u8], at: usize, passed: impl Fn(u8) -> bool) -> usize {
    raw[at..]
        .iter()
        .position(|&byte| !passed(byte))
        .map_or(raw.len(), |skipped| at + skipped)
}

/// Returns the end of the string whose quote opens at `start`.
fn string_end(raw: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        // Most strings are so short that a call of `memchr2` takes longer than this loop.
        at = match raw
            .get(at..)?
            .iter()
            .take(16)
            .position(|&byte| matches!(byte, b'"' | b'\\'))
        {
            Some(near) => at + near,
            None => at + memchr2(b'"', b'\\', raw.get(at..)?)?,
        };
        if raw[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Returns the end of the value at `start`.
fn value_end(raw: &[u8], start: usize) -> Option<usize> {
    match raw.get(start)? {
        b'"' => string_end(raw, start),
        b'{' | b'[' => {
            let (mut at, mut depth) = (start, 0_usize);
            loop {
                match raw.get(at)? {
                    b'"' => {
                        at = string_end(raw, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => Some(skip(raw, start, |byte| {
            !is_space(byte) && !matches!(byte, b',' | b'}')
        })),
    }
}

/// Appends the text of an escaped string.
fn unescape(escaped: &[u8], out: &mut Vec<u8>) -> Result<(), Untextual> {
    let mut rest = escaped;
    while let Some(at) = memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let (escape, after) = rest[at + 1..].split_first().ok_or(Untextual)?;
        rest = after;
        let byte = match escape {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let character = code_point(&mut rest).ok_or(Untextual)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            &other => other,
        };
        out.push(byte);
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// Returns the character that the four hex digits at the start of `rest` stand for, and advances past them. If they are
/// the first half of a surrogate pair, the second half must follow.
fn code_point(rest: &mut &[u8]) -> Option<char> {
    let first = code_unit(rest)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first);
    }
    *rest = rest.strip_prefix(b"\\u")?;
    let second = code_unit(rest)?;
    char::decode_utf16([first as u16, second as u16]).next()?.ok()
}

fn code_unit(rest: &mut &[u8]) -> Option<u32> {
    let (digits, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    digits.iter().try_fold(0, |unit, &digit| {
        Some(unit << 4 | char::from(digit).to_digit(16)?)
    })
}
