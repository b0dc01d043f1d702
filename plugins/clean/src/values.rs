//! The checks on the values of one column: a value of the input comes in, a value for the output or a fault goes out.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

use ingest_plugin::{ColumnType, Value};
use regex::Regex;
use serde::Deserialize;

use crate::decimal::{Bound, Decimal, Fixed, Misfit, Precision};
use crate::notation::Notation;
use crate::range::Times;
use crate::refinements::{Length, Refinements, Scratch, Source};
use crate::time::Time;
use crate::time_format::{Target, TimeFormat};

/// The rule for the values of one column. [`read`](Self::read) applies the checks in the order of the fields, from
/// `trim` to `pattern`.
///
/// The keys that few columns have are apart, so that the other columns do not pay for them. If there are any,
/// [`Refinements::read`] takes the place of [`read`](Self::read).
pub(crate) struct Values {
    pub(crate) trim: bool,
    pub(crate) null: BTreeSet<String>,
    pub(crate) required: bool,
    pub(crate) kind: Kind,
    pub(crate) formats: Vec<TimeFormat>,
    pub(crate) range: Option<Range>,
    pub(crate) allowed: Option<BTreeSet<String>>,
    pub(crate) pattern: Option<Regex>,
    pub(crate) refinements: Option<Box<Refinements>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Kind {
    Text,
    Integer,
    Number,
    Decimal(Precision),
    Boolean,
    Timestamp,
    Date,
    Clock,
}

/// The bounds of numbers.
#[derive(Clone, Debug)]
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
        let cell = self.convert(text)?;
        self.restrict(text)?;
        Ok(Some(cell))
    }

    /// Applies `type` and `range`.
    #[inline(always)]
    pub(crate) fn convert<'a>(&'a self, text: &'a str) -> Result<Cell<'a>, Fault<'a>> {
        let cell = self.kind.convert(text, &self.formats)?;
        if let Some(range) = &self.range
            && !range.contains(text, &cell)
        {
            return Err(Fault::OutOfRange(range));
        }
        Ok(cell)
    }

    /// Applies `allowed` and `pattern`.
    #[inline(always)]
    pub(crate) fn restrict(&self, text: &str) -> Result<(), Fault<'_>> {
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
        Ok(())
    }

    /// Returns the value for the output like [`read`](Self::read), with all keys of the rule.
    pub(crate) fn read_refined<'a>(
        &'a self,
        source: Source<'a>,
        scratch: &'a mut Scratch,
    ) -> Result<Option<Cell<'a>>, Fault<'a>> {
        match &self.refinements {
            Some(refinements) => refinements.read(self, source, scratch),
            None => self.read(source.text),
        }
    }

    /// Returns true if the values of the column must be shown nowhere.
    pub(crate) fn is_protected(&self) -> bool {
        self.refinements
            .as_ref()
            .is_some_and(|refinements| refinements.protection.is_some())
    }
}

/// A check that a value fails.
#[derive(Debug)]
pub(crate) enum Fault<'a> {
    Invisible(char),
    Required,
    NotMapped,
    Type(&'static str, &'static str),
    Notation(&'static str, &'a Notation),
    Misfit(Misfit, Precision),
    OutOfRange(&'a Range),
    OutOfTimes(&'a Times),
    NotComparable(&'a Times),
    Length(&'a Length),
    NotAllowed(&'a BTreeSet<String>),
    Pattern(&'a Regex),
}

impl Fault<'_> {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Invisible(_) => "invisible",
            Self::Required => "required",
            Self::NotMapped => "not-mapped",
            Self::Type(code, _) | Self::Notation(code, _) => code,
            Self::Misfit(..) => "not-decimal",
            Self::OutOfRange(_) | Self::OutOfTimes(_) | Self::NotComparable(_) => "out-of-range",
            Self::Length(_) => "length",
            Self::NotAllowed(_) => "not-allowed",
            Self::Pattern(_) => "pattern",
        }
    }
}

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invisible(character) => {
                write!(f, "has the invisible character U+{:04X}", u32::from(*character))
            }
            Self::Required => f.write_str("is empty but required"),
            Self::NotMapped => f.write_str("is not in \"map\""),
            Self::Type(_, fault) => f.write_str(fault),
            Self::Notation(_, notation) => write!(f, "is not a number of the form {notation}"),
            Self::Misfit(misfit, precision) => misfit.describe(*precision, f),
            Self::OutOfRange(range) => write!(f, "is not {range}"),
            Self::OutOfTimes(times) => write!(f, "is not {times}"),
            Self::NotComparable(times) if times.is_instant() => {
                write!(f, "has no offset from UTC, but the range has one: {times}")
            }
            Self::NotComparable(times) => {
                write!(f, "has an offset from UTC, but the range has none: {times}")
            }
            Self::Length(length) => write!(f, "is not {length} long"),
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
            Cell::Fixed(fixed) => fixed.number,
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
    Fixed(Fixed<'a>),
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
            Self::Fixed(_) | Self::Boolean(_) | Self::Time(_) => false,
        }
    }
}

impl Value for Cell<'_> {
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        match self {
            Self::Text(text) => out.write_str(text),
            Self::Integer(value) => value.write(out),
            Self::Number(value) => value.write(out),
            Self::Fixed(value) => value.write(out),
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
        if let Some(precision) = Precision::parse(&name) {
            return precision.map(Self::Decimal);
        }
        let meant = match name.as_str() {
            "text" => return Ok(Self::Text),
            "integer" => return Ok(Self::Integer),
            "number" => return Ok(Self::Number),
            "boolean" => return Ok(Self::Boolean),
            "timestamp" => return Ok(Self::Timestamp),
            "date" => return Ok(Self::Date),
            "time" => return Ok(Self::Clock),
            other => other.to_ascii_lowercase(),
        };
        let meant = match meant.as_str() {
            "text" | "string" | "str" | "varchar" | "char" | "utf8" => "\"text\"",
            "integer" | "int" | "int32" | "int64" | "bigint" | "long" => "\"integer\"",
            "number" | "float" | "float32" | "float64" | "double" | "real" => "\"number\"",
            "decimal" | "numeric" | "money" => {
                "\"number\" for any number of digits, or \"decimal(12,2)\" for 12 digits of which 2 are after the point"
            }
            "boolean" | "bool" => "\"boolean\"",
            "timestamp" | "datetime" => "\"timestamp\"",
            "date" => "\"date\"",
            "time" => "\"time\"",
            _ => {
                "\"text\", \"integer\", \"number\", \"decimal(p,s)\", \"boolean\", \"timestamp\", \"date\" or \"time\""
            }
        };
        Err(format!("there is no type {name:?}: write {meant}"))
    }
}

impl Kind {
    pub(crate) fn column_type(self) -> ColumnType {
        match self {
            Self::Text => ColumnType::Text,
            Self::Integer => ColumnType::Integer,
            Self::Number | Self::Decimal(_) => ColumnType::Number,
            Self::Boolean => ColumnType::Boolean,
            // A date and a time of day are texts in ISO 8601, too.
            Self::Timestamp | Self::Date | Self::Clock => ColumnType::Timestamp,
        }
    }

    /// Returns what the formats of this type read, or `None` if the type has no formats.
    pub(crate) fn target(self) -> Option<Target> {
        match self {
            Self::Timestamp => Some(Target::Timestamp),
            Self::Date => Some(Target::Date),
            Self::Clock => Some(Target::Clock),
            Self::Text | Self::Integer | Self::Number | Self::Decimal(_) | Self::Boolean => None,
        }
    }

    /// Returns the code of the reject for a text that is no number of this type.
    pub(crate) fn number_code(self) -> &'static str {
        match self {
            Self::Integer => "not-integer",
            Self::Decimal(_) => "not-decimal",
            _ => "not-number",
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
            Self::Decimal(precision) => decimal(text, precision),
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
            Self::Date => date(text, formats),
            Self::Clock => clock(text, formats),
        }
    }
}

fn decimal(text: &str, precision: Precision) -> Result<Cell<'_>, Fault<'static>> {
    let Some(number) = Decimal::parse(text) else {
        let fault = if has_decimal_comma(text) {
            "is not a number: a decimal point is expected"
        } else {
            "is not a number"
        };
        return Err(Fault::Type("not-decimal", fault));
    };
    match precision.check(&number) {
        Ok(()) => Ok(Cell::Fixed(Fixed { number, precision })),
        Err(misfit) => Err(Fault::Misfit(misfit, precision)),
    }
}

fn date(text: &str, formats: &[TimeFormat]) -> Result<Cell<'static>, Fault<'static>> {
    let date = if formats.is_empty() {
        Time::parse_iso_date(text)
    } else {
        formats.iter().find_map(|format| Time::parse_date(text, format))
    };
    date.map(Cell::Time)
        .ok_or(Fault::Type("bad-date", "is not a date of the expected format"))
}

fn clock(text: &str, formats: &[TimeFormat]) -> Result<Cell<'static>, Fault<'static>> {
    let clock = if formats.is_empty() {
        Time::parse_iso_clock(text)
    } else {
        formats.iter().find_map(|format| Time::parse_clock(text, format))
    };
    clock.map(Cell::Time).ok_or(Fault::Type(
        "bad-time",
        "is not a time of day of the expected format",
    ))
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
        let seen = std::cell::RefCell::new(std::collections::BTreeMap::new());
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
                refinements: None,
            };
            if let Ok(Some(cell)) = values.read(&field) {
                let is_same = cell.to_string() == field;
                prop_assert!(is_same || !cell.is_unchanged(&field), "{kind:?} {field:?}");
                let case = (format!("{kind:?}"), cell.is_unchanged(&field));
                *seen.borrow_mut().entry(case).or_insert(0) += 1;
            }
            Ok(())
        });
        all.unwrap();
        let seen = seen.into_inner();
        assert!(
            seen.len() == 6 && seen.values().all(|&count| count > 50),
            "{seen:?}"
        );
    }
}
