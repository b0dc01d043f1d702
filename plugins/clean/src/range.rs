//! Ranges of values: the key `range` of a rule comes in, the bounds of numbers or of times go out. A bound that could be
//! read in two ways is refused.

use std::cmp::Ordering;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected};
use serde_json::value::RawValue;

use crate::decimal::Bound;
use crate::time::Time;
use crate::time_format::{Target, TimeFormat};
use crate::values::{Cell, Fault, Kind, Range};

/// The key `range` of a rule. The type of the column decides whether its bounds must be numbers or times.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RangeKey {
    min: Option<BoundKey>,
    max: Option<BoundKey>,
}

#[derive(Clone, Debug)]
enum BoundKey {
    Number(Bound),
    Text(String),
}

impl<'de> Deserialize<'de> for BoundKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        if text.starts_with('"') {
            return serde_json::from_str(text)
                .map(Self::Text)
                .map_err(D::Error::custom);
        }
        if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            let expected = "a number, or a time as a text";
            return Err(D::Error::invalid_type(Unexpected::Other(text), &expected));
        }
        let bound = Bound::parse(text).ok_or_else(|| D::Error::custom("number out of range"))?;
        Ok(Self::Number(bound))
    }
}

/// The sentence for a range that no value is in.
const SENSELESS: &str = "\"range\" needs a \"min\", a \"max\", or one not above the other";

impl RangeKey {
    /// Returns the bounds of numbers.
    ///
    /// # Errors
    /// Returns a sentence about a bound that is no number, or about bounds that no number keeps.
    pub(crate) fn numbers(&self) -> Result<Range, String> {
        let bound = |name: &str, key: &Option<BoundKey>| match key {
            None => Ok(None),
            Some(BoundKey::Number(bound)) => Ok(Some(bound.clone())),
            Some(BoundKey::Text(text)) => Err(format!(
                "\"range\" has the text {text:?} as \"{name}\", expected a number"
            )),
        };
        let (min, max) = (bound("min", &self.min)?, bound("max", &self.max)?);
        let is_senseless = match (&min, &max) {
            (Some(min), Some(max)) => max.order_bound(min) == Ordering::Greater,
            (None, None) => true,
            _ => false,
        };
        if is_senseless {
            return Err(SENSELESS.to_owned());
        }
        Ok(Range { min, max })
    }

    /// Returns the bounds of times of the type `kind`, whose values have these formats.
    ///
    /// # Errors
    /// Returns a sentence about a bound that is no time or has two meanings, or about bounds that no time keeps.
    pub(crate) fn times(&self, kind: Kind, formats: &[TimeFormat]) -> Result<Times, String> {
        let bound = |name: &str, key: &Option<BoundKey>| match key {
            None => Ok(None),
            Some(key) => bound(key, kind, formats)
                .map(Some)
                .map_err(|fault| format!("\"range\": \"{name}\" {fault}")),
        };
        let (min, max) = (bound("min", &self.min)?, bound("max", &self.max)?);
        match (min, max) {
            (None, None) => return Err(SENSELESS.to_owned()),
            (Some(min), Some(max)) => match min.order(max) {
                None => {
                    return Err(
                        "\"range\": only one of \"min\" and \"max\" has an offset from UTC".to_owned(),
                    );
                }
                Some(Ordering::Greater) => return Err(SENSELESS.to_owned()),
                Some(_) => {}
            },
            _ => {}
        }
        Ok(Times { min, max })
    }
}

/// Reads a bound of times, which has the form of ISO 8601 whatever the formats of the values are.
fn bound(key: &BoundKey, kind: Kind, formats: &[TimeFormat]) -> Result<Time, String> {
    let (example, target) = match kind {
        Kind::Date => ("2024-12-31", Target::Date),
        Kind::Clock => ("17:30:00", Target::Clock),
        _ => ("2024-12-31T17:30:00", Target::Timestamp),
    };
    let text = match key {
        BoundKey::Text(text) => text,
        BoundKey::Number(number) => {
            return Err(format!(
                "is the number {number}, expected a text such as {example:?}"
            ));
        }
    };
    let Some(time) = Time::parse_iso(text, target) else {
        return Err(format!("is {text:?}, expected a text such as {example:?}"));
    };
    if kind != Kind::Timestamp {
        return Ok(time);
    }
    if let Some(date) = Time::parse_iso(text, Target::Date) {
        return Err(format!(
            "is {text:?}, which does not say whether the whole day is in the range: write \"{date}T00:00:00\" or \
             \"{date}T23:59:59.999999999\""
        ));
    }
    let is_instant = matches!(time, Time::Instant(_));
    match formats.iter().find(|format| format.is_instant() != is_instant) {
        Some(_) if is_instant => Err(format!(
            "is {text:?}, but a format of the values has no offset from UTC: leave the offset out"
        )),
        Some(_) => Err(format!(
            "is {text:?}, but a format of the values has an offset from UTC: write one, such as {text}Z"
        )),
        None => Ok(time),
    }
}

/// The bounds of times. Both bounds are in the range.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    min: Option<Time>,
    max: Option<Time>,
}

impl Times {
    /// Checks that a time is within the bounds.
    ///
    /// # Errors
    /// Fails if it is not, or if only the time or only the bounds have an offset from UTC.
    pub(crate) fn check(&self, cell: &Cell<'_>) -> Result<(), Fault<'_>> {
        let Cell::Time(time) = *cell else {
            return Err(Fault::OutOfTimes(self));
        };
        for (bound, outside) in [(self.min, Ordering::Less), (self.max, Ordering::Greater)] {
            match bound.map(|bound| time.order(bound)) {
                Some(None) => return Err(Fault::NotComparable(self)),
                Some(Some(order)) if order == outside => return Err(Fault::OutOfTimes(self)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns true if the bounds have an offset from UTC.
    pub(crate) fn is_instant(&self) -> bool {
        matches!(self.min.or(self.max), Some(Time::Instant(_)))
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.min, &self.max) {
            (Some(min), Some(max)) => write!(f, "between {min} and {max}"),
            (Some(min), None) => write!(f, "{min} or later"),
            (None, Some(max)) => write!(f, "{max} or earlier"),
            (None, None) => f.write_str("any time"),
        }
    }
}
