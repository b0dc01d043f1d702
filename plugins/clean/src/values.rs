//! The checks on the values of one column: a value of the input comes in, a value for the output or a fault goes out.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

use ingest_plugin::{ColumnType, Value};
use regex::Regex;
use serde::Deserialize;

use crate::decimal::{Bound, Decimal};
use crate::time::Time;
use crate::time_format::TimeFormat;

/// The rule for the values of one column. [`read`](Self::read) applies the checks in the order of the fields, from
/// `trim` to `pattern`.
pub(crate) struct Values {
    pub(crate) trim: bool,
    pub(crate) null: BTreeSet<String>,
    pub(crate) required: bool,
    pub(crate) kind: Kind,
    pub(crate) formats: Vec<TimeFormat>,
    pub(crate) range: Option<Range>,
    pub(crate) allowed: Option<BTreeSet<String>>,
    pub(crate) pattern: Option<Regex>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
    Timestamp,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    pub(crate) min: Option<Bound>,
    pub(crate) max: Option<Bound>,
}

impl Values {
    /// Returns the value for the output, or `None` if `text` is empty after `trim` and `null` were applied.
    ///
    /// This function and [`Kind::convert`] are always inlined, because their results are large. Passing such a result
    /// through memory costs more than most checks.
    ///
    /// # Errors
    /// Returns the first check that the value fails.
    #[inline(always)]
    pub(crate) fn read<'a>(&'a self, text: &'a str) -> Result<Option<Cell<'a>>, Fault<'a>> {
        let mut text = text;
        if self.trim {
            text = text.trim();
        }
        if self.null.contains(text) {
            text = "";
        }
        if text.is_empty() {
            return if self.required {
                Err(Fault::Required)
            } else {
                Ok(None)
            };
        }
        let cell = self.kind.convert(text, &self.formats)?;
        if let Some(range) = &self.range
            && !range.contains(text, &cell)
        {
            return Err(Fault::OutOfRange(range));
        }
        if let Some(allowed) = &self.allowed
            && !allowed.contains(text)
        {
            return Err(Fault::NotAllowed(allowed));
        }
        if let Some(pattern) = &self.pattern
            && !pattern.is_match(text)
        {
            return Err(Fault::Pattern(pattern));
        }
        Ok(Some(cell))
    }
}

/// A check that a value fails.
#[derive(Debug)]
pub(crate) enum Fault<'a> {
    Required,
    Type(&'static str, &'static str),
    OutOfRange(&'a Range),
    NotAllowed(&'a BTreeSet<String>),
    Pattern(&'a Regex),
}

impl Fault<'_> {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Type(code, _) => code,
            Self::OutOfRange(_) => "out-of-range",
            Self::NotAllowed(_) => "not-allowed",
            Self::Pattern(_) => "pattern",
        }
    }
}

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Required => f.write_str("is empty but required"),
            Self::Type(_, fault) => f.write_str(fault),
            Self::OutOfRange(range) => write!(f, "is not {range}"),
            Self::NotAllowed(allowed) => write!(f, "is none of {allowed:?}"),
            Self::Pattern(pattern) => write!(f, "does not match {pattern}"),
        }
    }
}

impl Range {
    /// Returns true if the number in `cell` lies within the bounds. `text` is the text of the number in the input.
    fn contains(&self, text: &str, cell: &Cell<'_>) -> bool {
        let number = match *cell {
            Cell::Integer(value) => Decimal::integer(text, value),
            Cell::Number(number) => number,
            _ => return false,
        };
        let order = |bound: &Bound| bound.order(&number);
        self.min.as_ref().map(order) != Some(Ordering::Less)
            && self.max.as_ref().map(order) != Some(Ordering::Greater)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.min, &self.max) {
            (Some(min), Some(max)) => write!(f, "between {min} and {max}"),
            (Some(min), None) => write!(f, "{min} or more"),
            (None, Some(max)) => write!(f, "{max} or less"),
            (None, None) => f.write_str("anything"),
        }
    }
}

/// A value for the output.
pub(crate) enum Cell<'a> {
    Text(&'a str),
    Integer(i64),
    Number(Decimal<'a>),
    Boolean(bool),
    Time(Time),
}

impl Cell<'_> {
    /// Returns true only if the output text of the value equals `field`, from which the value was read. Can return
    /// false even if the two are equal.
    #[inline]
    pub(crate) fn is_unchanged(&self, field: &str) -> bool {
        match *self {
            // The text is a part of the field.
            Self::Text(text) => text.len() == field.len(),
            Self::Number(number) => number.is_unchanged(field),
            // A field that matches has no sign, no leading zeros, and no spaces that `trim` removed.
            Self::Integer(_) => matches!(field.as_bytes(), [b'1'..=b'9', .., b'0'..=b'9'] | [b'0'..=b'9']),
            Self::Boolean(_) | Self::Time(_) => false,
        }
    }
}

impl Value for Cell<'_> {
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        match self {
            Self::Text(text) => out.write_str(text),
            Self::Integer(value) => value.write(out),
            Self::Number(value) => value.write(out),
            Self::Boolean(value) => value.write(out),
            Self::Time(time) => write!(out, "{time}"),
        }
    }
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

impl TryFrom<String> for Kind {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let meant = match name.as_str() {
            "text" => return Ok(Self::Text),
            "integer" => return Ok(Self::Integer),
            "number" => return Ok(Self::Number),
            "boolean" => return Ok(Self::Boolean),
            "timestamp" => return Ok(Self::Timestamp),
            other => other.to_ascii_lowercase(),
        };
        let meant = match meant.as_str() {
            "text" | "string" | "str" | "varchar" | "char" | "utf8" => "\"text\"",
            "integer" | "int" | "int32" | "int64" | "bigint" | "long" => "\"integer\"",
            "number" | "float" | "float32" | "float64" | "double" | "decimal" | "numeric" | "real" => {
                "\"number\""
            }
            "boolean" | "bool" => "\"boolean\"",
            "timestamp" | "date" | "time" | "datetime" => "\"timestamp\"",
            _ => "\"text\", \"integer\", \"number\", \"boolean\" or \"timestamp\"",
        };
        Err(format!("there is no type {name:?}: write {meant}"))
    }
}

impl Kind {
    pub(crate) fn column_type(self) -> ColumnType {
        match self {
            Self::Text => ColumnType::Text,
            Self::Integer => ColumnType::Integer,
            Self::Number => ColumnType::Number,
            Self::Boolean => ColumnType::Boolean,
            Self::Timestamp => ColumnType::Timestamp,
        }
    }

    /// Converts `text` to a value of this type.
    #[inline(always)]
    pub(crate) fn convert<'a>(
        self,
        text: &'a str,
        formats: &[TimeFormat],
    ) -> Result<Cell<'a>, Fault<'static>> {
        match self {
            Self::Text => Ok(Cell::Text(text)),
            Self::Integer => match text.parse() {
                Ok(value) => Ok(Cell::Integer(value)),
                Err(_) => Err(Fault::Type(
                    "not-integer",
                    "is not an integer of 64 bits, which has only digits and perhaps a sign",
                )),
            },
            Self::Number => match Decimal::parse(text) {
                Some(value) => Ok(Cell::Number(value)),
                None if has_decimal_comma(text) => Err(Fault::Type(
                    "not-number",
                    "is not a number: a decimal point is expected",
                )),
                None => Err(Fault::Type("not-number", "is not a number")),
            },
            Self::Boolean => match boolean(text) {
                Some(value) => Ok(Cell::Boolean(value)),
                None => Err(Fault::Type(
                    "not-boolean",
                    "is none of true, false, yes, no, 1, 0",
                )),
            },
            Self::Timestamp => match timestamp(text, formats) {
                Some(time) => Ok(Cell::Time(time)),
                None => Err(Fault::Type(
                    "bad-timestamp",
                    "is not a time of the expected format",
                )),
            },
        }
    }
}

fn boolean(text: &str) -> Option<bool> {
    let is_any = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_any(["true", "yes", "1"]) {
        return Some(true);
    }
    is_any(["false", "no", "0"]).then_some(false)
}

/// Returns true if the text has one comma and would be a number with a point instead of the comma.
fn has_decimal_comma(text: &str) -> bool {
    text.matches(',').count() == 1 && Decimal::parse(&text.replace(',', ".")).is_some()
}

/// Parses a time in the first format that matches. If `formats` is empty, the text must be in ISO 8601.
fn timestamp(text: &str, formats: &[TimeFormat]) -> Option<Time> {
    if formats.is_empty() {
        return Time::parse_iso(text);
    }
    formats.iter().find_map(|format| Time::parse(text, format))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_that_is_unchanged_is_written_as_the_field() {
        let number = "[-+]?0{0,2}[0-9]{0,22}(\\.[0-9]{0,9})?(e[0-9])?";
        let field = prop_oneof![4 => number.boxed(), 1 => " {0,2}[-0-9a.]{0,4} {0,2}".boxed()];
        let kind = prop_oneof![Just(Kind::Text), Just(Kind::Integer), Just(Kind::Number)];
        let seen = std::cell::RefCell::new([[0; 2]; 3]);
        let all = proptest::test_runner::TestRunner::new(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(8_000)
        })
        .run(&(field, kind, any::<bool>()), |(field, kind, trim)| {
            let values = Values {
                trim,
                null: BTreeSet::new(),
                required: false,
                kind,
                formats: Vec::new(),
                range: None,
                allowed: None,
                pattern: None,
            };
            if let Ok(Some(cell)) = values.read(&field) {
                let is_same = cell.to_string() == field;
                prop_assert!(is_same || !cell.is_unchanged(&field), "{kind:?} {field:?}");
                seen.borrow_mut()[kind as usize][usize::from(cell.is_unchanged(&field))] += 1;
            }
            Ok(())
        });
        all.unwrap();
        let seen = seen.into_inner();
        assert!(seen.iter().flatten().all(|&count| count > 50), "{seen:?}");
    }
}
