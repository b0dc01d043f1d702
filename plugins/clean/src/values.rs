//! The checks on the values of one column: a value of the input comes in, a value for the output or a fault goes out.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

use ingest_plugin::{Column, ColumnType, Record, Value};
use regex::Regex;
use serde::Deserialize;

use crate::decimal::{Bound, Decimal, Fixed, Misfit, Precision};
use crate::notation::Notation;
use crate::range::Times;
use crate::refinements::{Length, Refinements};
use crate::time::Time;
use crate::time_format::{Target, TimeFormat};

/// The rule for the values of one column. [`text`](Self::text), [`convert`](Self::convert) and
/// [`restrict`](Self::restrict) apply the checks in the order of the fields, from `trim` to `pattern`.
///
/// The keys that few columns have are apart, so that the other columns do not pay for them. If there are any,
/// [`Refinements::read`] takes the place of these functions.
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

/// Receives the value that a text was converted to.
///
/// Each type passes its values to a call of its own, and everything on the way is always inlined. So a receiver that
/// depends on the type is specialised for each type, and no value passes through memory, which would cost more than most
/// checks.
pub(crate) trait Receiver<'a> {
    type Output;

    fn receive(self, cell: Cell<'a>) -> Result<Self::Output, Fault<'a>>;
}

/// Returns the value as it is.
pub(crate) struct Return;

impl<'a> Receiver<'a> for Return {
    type Output = Cell<'a>;

    fn receive(self, cell: Cell<'a>) -> Result<Cell<'a>, Fault<'a>> {
        Ok(cell)
    }
}

impl Values {
    /// Returns the value for the output, or `None` if it is empty.
    ///
    /// # Errors
    /// Returns the first check that the value fails.
    pub(crate) fn read<'a>(&'a self, text: &'a str) -> Result<Option<Cell<'a>>, Fault<'a>> {
        let text = self.text(text)?;
        if text.is_empty() {
            return Ok(None);
        }
        let cell = self.convert(text, Return)?;
        self.restrict(text)?;
        Ok(Some(cell))
    }

    /// Applies `trim`, `null` and `required`. The result is empty if the value is.
    #[inline(always)]
    pub(crate) fn text<'a>(&self, text: &'a str) -> Result<&'a str, Fault<'static>> {
        let mut text = text;
        if self.trim {
            text = text.trim();
        }
        if self.null.contains(text) {
            text = "";
        }
        if self.required && text.is_empty() {
            return Err(Fault::Required);
        }
        Ok(text)
    }

    /// Applies `type` and `range`, and passes the value to `receiver`.
    #[inline(always)]
    pub(crate) fn convert<'a, R: Receiver<'a>>(
        &'a self,
        text: &'a str,
        receiver: R,
    ) -> Result<R::Output, Fault<'a>> {
        let range = self.range.as_ref();
        self.kind.convert(
            text,
            &self.formats,
            Ranged {
                text,
                range,
                receiver,
            },
        )
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
}

/// Applies `range` to a value, and passes it on.
struct Ranged<'a, R> {
    /// The text of the value.
    text: &'a str,
    range: Option<&'a Range>,
    receiver: R,
}

impl<'a, R: Receiver<'a>> Receiver<'a> for Ranged<'a, R> {
    type Output = R::Output;

    #[inline(always)]
    fn receive(self, cell: Cell<'a>) -> Result<R::Output, Fault<'a>> {
        if let Some(range) = self.range
            && !range.contains(self.text, &cell)
        {
            return Err(Fault::OutOfRange(range));
        }
        self.receiver.receive(cell)
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
            Cell::Fixed(fixed) => fixed.number(),
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

impl Cell<'_> {
    /// Sets the cell of a column to the value, with a call of `set` for each type.
    #[inline(always)]
    pub(crate) fn put(self, record: &mut Record<'_>, column: Column) {
        match self {
            Self::Text(text) => record.set(column, text),
            Self::Integer(value) => record.set(column, value),
            Self::Number(value) => record.set(column, value),
            Self::Fixed(value) => record.set(column, value),
            Self::Boolean(value) => record.set(column, value),
            Self::Time(time) => record.set(column, time),
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
            Self::Time(time) => time.write(out),
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

    /// Converts `text` to a value of this type, and passes it to `receiver`.
    #[inline(always)]
    pub(crate) fn convert<'a, R: Receiver<'a>>(
        self,
        text: &'a str,
        formats: &[TimeFormat],
        receiver: R,
    ) -> Result<R::Output, Fault<'a>> {
        match self {
            Self::Text => receiver.receive(Cell::Text(text)),
            Self::Integer => match text.parse() {
                Ok(value) => receiver.receive(Cell::Integer(value)),
                Err(_) => Err(Fault::Type(
                    "not-integer",
                    "is not an integer of 64 bits, which has only digits and perhaps a sign",
                )),
            },
            Self::Number => match Decimal::parse(text) {
                Some(value) => receiver.receive(Cell::Number(value)),
                None if Decimal::has_comma(text) => Err(Fault::Type(
                    "not-number",
                    "is not a number: a decimal point is expected",
                )),
                None => Err(Fault::Type("not-number", "is not a number")),
            },
            Self::Decimal(precision) => match precision.fit(text) {
                Ok(number) => receiver.receive(Cell::Fixed(number)),
                Err(misfit) => Err(Fault::Misfit(misfit, precision)),
            },
            Self::Boolean => match boolean(text) {
                Some(value) => receiver.receive(Cell::Boolean(value)),
                None => Err(Fault::Type(
                    "not-boolean",
                    "is none of true, false, yes, no, 1, 0",
                )),
            },
            Self::Timestamp | Self::Date | Self::Clock => match self.time(text, formats) {
                Some(time) => receiver.receive(Cell::Time(time)),
                None => Err(self.not_a_time()),
            },
        }
    }

    /// Parses a time of this type in the first format that matches. If `formats` is empty, the text must be in ISO 8601.
    fn time(self, text: &str, formats: &[TimeFormat]) -> Option<Time> {
        let target = self.target()?;
        if formats.is_empty() {
            return Time::parse_iso(text, target);
        }
        formats
            .iter()
            .find_map(|format| Time::parse(text, format, target))
    }

    fn not_a_time(self) -> Fault<'static> {
        match self {
            Self::Date => Fault::Type("bad-date", "is not a date of the expected format"),
            Self::Clock => Fault::Type("bad-time", "is not a time of day of the expected format"),
            _ => Fault::Type("bad-timestamp", "is not a time of the expected format"),
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
