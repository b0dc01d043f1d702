//! Decimal numbers as texts. A number is checked, written as JSON allows and compared digit by digit; it never becomes a
//! float, which would round it.

use std::cmp::Ordering;
use std::fmt;

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A number that is written in decimal: `-1.50`, `+7`, `.5`, `5.`, `007`, `1e300`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal<'a> {
    text: &'a str,
    is_negative: bool,
    /// The digits before the point, without leading zeros.
    whole: &'a str,
    /// The digits behind the point.
    fraction: &'a str,
    /// What follows the digits: nothing, or an `e` and a number.
    exponent: &'a str,
    /// True if JSON allows to write the number this way.
    is_json: bool,
}

impl<'a> Decimal<'a> {
    /// Reads a number within the range of a float of 64 bits, however many digits it has.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let decimal = Self::scan(text)?;
        decimal.is_finite().then_some(decimal)
    }

    fn scan(text: &'a str) -> Option<Self> {
        let is_negative = text.starts_with('-');
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, rest) = digits(unsigned);
        let (fraction, exponent) = match rest.strip_prefix('.') {
            Some(rest) => digits(rest),
            None => ("", rest),
        };
        if whole.is_empty() && fraction.is_empty() || !is_exponent(exponent) {
            return None;
        }
        let has_point = unsigned.as_bytes().get(whole.len()) == Some(&b'.');
        let is_json = !text.starts_with('+')
            && (whole.len() == 1 || (!whole.is_empty() && !whole.starts_with('0')))
            && has_point != fraction.is_empty();
        Some(Self {
            text,
            is_negative,
            whole: whole.trim_start_matches('0'),
            fraction,
            exponent,
            is_json,
        })
    }

    /// Returns true if a float of 64 bits is not infinite for this number.
    fn is_finite(&self) -> bool {
        // The largest float is about 1.8e308, which is 0.18 times ten to the 309th.
        match self.magnitude() {
            Some(..=308) | None => true,
            Some(309) => self.text.parse::<f64>().is_ok_and(f64::is_finite),
            Some(_) => false,
        }
    }

    /// The number of digits before the point if the number is written without an exponent; zero or negative if the first
    /// digit other than zero stands behind the point. None for zero.
    fn magnitude(&self) -> Option<i64> {
        let place = if self.whole.is_empty() {
            let zeros = self.fraction.bytes().position(|digit| digit != b'0')?;
            -length(zeros)
        } else {
            length(self.whole.len())
        };
        Some(place.saturating_add(exponent(self.exponent)))
    }

    /// The digits from the first one other than zero on.
    fn digits(&self) -> impl Iterator<Item = u8> {
        let digits = self.whole.bytes().chain(self.fraction.bytes());
        digits.skip_while(|&digit| digit == b'0')
    }
}

impl fmt::Display for Decimal<'_> {
    /// Writes the number as JSON allows, with all its digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_json {
            return f.write_str(self.text);
        }
        if self.is_negative {
            f.write_str("-")?;
        }
        f.write_str(if self.whole.is_empty() { "0" } else { self.whole })?;
        if !self.fraction.is_empty() {
            f.write_str(".")?;
            f.write_str(self.fraction)?;
        }
        f.write_str(self.exponent)
    }
}

/// A bound of a range, as the config has it.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    text: String,
    is_negative: bool,
    magnitude: Option<i64>,
    /// The digits from the first one other than zero on.
    digits: Vec<u8>,
}

impl Bound {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let decimal = Decimal::parse(text)?;
        Some(Self {
            text: text.to_owned(),
            is_negative: decimal.is_negative,
            magnitude: decimal.magnitude(),
            digits: decimal.digits().collect(),
        })
    }

    /// The number that the bound is.
    pub(crate) fn decimal(&self) -> Decimal<'_> {
        Decimal::scan(&self.text).expect("a bound is a number")
    }

    /// Tells how a number compares to the bound. All digits count.
    pub(crate) fn order(&self, number: &Decimal<'_>) -> Ordering {
        let magnitude = number.magnitude();
        let sign = |is_negative, magnitude: Option<i64>| match (magnitude, is_negative) {
            (None, _) => 0,
            (Some(_), true) => -1,
            (Some(_), false) => 1,
        };
        let (left, right) = (
            sign(number.is_negative, magnitude),
            sign(self.is_negative, self.magnitude),
        );
        let by_size = || {
            magnitude
                .cmp(&self.magnitude)
                .then_with(|| order_digits(number.digits(), self.digits.iter().copied()))
        };
        left.cmp(&right).then_with(|| match left {
            0 => Ordering::Equal,
            1 => by_size(),
            _ => by_size().reverse(),
        })
    }
}

impl<'de> Deserialize<'de> for Bound {
    /// Reads the text of a number: a float would round a bound of more than 15 digits.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return Err(D::Error::invalid_type(Unexpected::Other(text), &"a number"));
        }
        Self::parse(text).ok_or_else(|| D::Error::custom("number out of range"))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Compares digits from the most significant one on; those that are missing are zeros.
fn order_digits(mut left: impl Iterator<Item = u8>, mut right: impl Iterator<Item = u8>) -> Ordering {
    loop {
        let (left, right) = (left.next(), right.next());
        if left.is_none() && right.is_none() {
            return Ordering::Equal;
        }
        let order = left.unwrap_or(b'0').cmp(&right.unwrap_or(b'0'));
        if order.is_ne() {
            return order;
        }
    }
}

/// Splits a text behind its leading digits.
fn digits(text: &str) -> (&str, &str) {
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(count)
}

fn is_exponent(text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    let Some(exponent) = text.strip_prefix(['e', 'E']) else {
        return false;
    };
    let (exponent, rest) = digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent));
    !exponent.is_empty() && rest.is_empty()
}

/// The value of an exponent. One beyond 64 bits is as large, or as small, as these allow.
fn exponent(text: &str) -> i64 {
    let Some(text) = text.get(1..) else {
        return 0;
    };
    let value = text
        .bytes()
        .filter(u8::is_ascii_digit)
        .fold(0_i64, |value, digit| {
            value.saturating_mul(10).saturating_add(i64::from(digit - b'0'))
        });
    if text.starts_with('-') { -value } else { value }
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
