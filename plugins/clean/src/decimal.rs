//! Decimal numbers as texts: a text comes in, a number that JSON allows goes out. Numbers are compared digit by digit.
//! They never become a float, because a float would round them.

use std::cmp::Ordering;
use std::fmt;

use ingest_plugin::Value;
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A number in decimal notation, such as `-1.50`, `+7`, `.5`, `5.`, `007` or `1e300`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Decimal<'a> {
    /// A number that has at most 18 characters after the sign, has no exponent and is valid JSON as it stands. Also an
    /// integer of 64 bits, from [`integer`](Self::integer). Most numbers are short.
    Short(&'a str, Short),
    /// Any other number. To keep a `Decimal` small, its parts are not stored. They are parsed again when they are
    /// needed.
    Long(&'a str),
}

impl<'a> Decimal<'a> {
    /// Parses a number, however many digits it has. Returns `None` if the text is no number, or if the number is
    /// outside the range of a float of 64 bits.
    #[inline]
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        if let Some(short) = Short::parse(text) {
            return Some(Self::Short(text, short));
        }
        Long::parse(text)?.is_finite().then_some(Self::Long(text))
    }

    /// Makes a decimal from the integer `value`, which was parsed from `text`.
    #[inline]
    pub(crate) fn integer(text: &'a str, value: i64) -> Self {
        Self::Short(text, Short { value, scale: 0 })
    }

    /// Returns true if the text has one comma and would be a number with a point instead of the comma.
    pub(crate) fn has_comma(text: &str) -> bool {
        text.matches(',').count() == 1 && Decimal::parse(&text.replace(',', ".")).is_some()
    }

    /// Returns true only if the number's output text equals `field`, from which the number was read. Can return false
    /// even if the two are equal.
    #[inline]
    pub(crate) fn is_unchanged(&self, field: &str) -> bool {
        matches!(self, Self::Short(text, _) if text.len() == field.len())
    }
}

impl Value for Decimal<'_> {
    /// Writes the number in a form that JSON allows, with all its digits.
    #[inline]
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        match self {
            Self::Short(text, _) => out.write_str(text),
            Self::Long(text) => Long::of(text).write(out),
        }
    }
}

/// The numbers of digits of the type `decimal(p,s)`: at most `digits` in total, and exactly `scale` after the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Precision {
    digits: u8,
    scale: u8,
}

impl Precision {
    /// The largest number of digits. It is the largest one of Parquet, Arrow and most databases.
    const DIGITS_MAX: u8 = 38;

    /// Parses the name of a type such as `decimal(12,2)`. Returns `None` if the text is another name.
    ///
    /// # Errors
    /// Returns a sentence about missing or wrong numbers.
    pub(crate) fn parse(name: &str) -> Option<Result<Self, String>> {
        let inner = name.strip_prefix("decimal(")?.strip_suffix(')')?;
        let number = |text: &str| text.trim().parse().ok();
        let parts = inner
            .split_once(',')
            .map(|(digits, scale)| (number(digits), number(scale)));
        let (Some(digits), Some(scale)) = parts.unwrap_or_default() else {
            return Some(Err(format!(
                "there is no type {name:?}: write two numbers, such as \"decimal(12,2)\" for 12 digits of which 2 are \
                 after the point"
            )));
        };
        let is_possible = (1..=Self::DIGITS_MAX).contains(&digits) && scale <= digits;
        Some(if is_possible {
            Ok(Self { digits, scale })
        } else {
            Err(format!(
                "there is no type {name:?}: a decimal has 1 to {} digits, and not more than these after the point",
                Self::DIGITS_MAX
            ))
        })
    }

    /// Returns the number that the text is, if it fits without loss. Zeros at its end need no place.
    ///
    /// # Errors
    /// Fails if the text is no number, or if it has too many digits before or after the point.
    #[inline(never)]
    pub(crate) fn fit<'a>(self, text: &'a str) -> Result<Fixed<'a>, Misfit> {
        let Some(number) = Long::parse(text) else {
            return Err(if Decimal::has_comma(text) {
                Misfit::Comma
            } else {
                Misfit::NoNumber
            });
        };
        let fixed = Fixed {
            text,
            scale: self.scale,
        };
        let Some(magnitude) = number.magnitude() else {
            return Ok(fixed);
        };
        if magnitude > i64::from(self.digits - self.scale) {
            return Err(Misfit::Whole);
        }
        let mut count = 0;
        for (at, digit) in (1..).zip(number.digits()) {
            if digit != b'0' {
                count = at;
            }
        }
        if count - magnitude > i64::from(self.scale) {
            return Err(Misfit::Fraction);
        }
        Ok(fixed)
    }
}

/// The reason why a text does not fit a precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    NoNumber,
    /// The text would be a number with a point in place of its comma.
    Comma,
    /// There are too many digits before the point.
    Whole,
    /// There are too many digits after the point.
    Fraction,
}

impl Misfit {
    /// Writes the fault of a number that does not fit `precision`.
    pub(crate) fn describe(self, precision: Precision, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Precision { digits, scale } = precision;
        let (count, place) = match self {
            Self::NoNumber => return f.write_str("is not a number"),
            Self::Comma => return f.write_str("is not a number: a decimal point is expected"),
            Self::Whole => (digits - scale, "before"),
            Self::Fraction => (scale, "after"),
        };
        write!(
            f,
            "does not fit decimal({digits},{scale}), which has {count} digits {place} the point"
        )
    }
}

/// A number of the type `decimal(p,s)`, which fits its precision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed<'a> {
    text: &'a str,
    scale: u8,
}

impl<'a> Fixed<'a> {
    /// Returns the number, to compare it.
    pub(crate) fn number(&self) -> Decimal<'a> {
        Decimal::Long(self.text)
    }
}

impl Value for Fixed<'_> {
    /// Writes the number without an exponent, with all digits after the point. A zero has no sign.
    #[inline(never)]
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let number = Long::of(self.text);
        let magnitude = number.magnitude();
        if number.is_negative && magnitude.is_some() {
            out.write_char('-')?;
        }
        let mut digits = number.digits().chain(std::iter::repeat(b'0')).map(char::from);
        let magnitude = magnitude.unwrap_or(0);
        if magnitude <= 0 {
            out.write_char('0')?;
        }
        for _ in 0..magnitude {
            out.write_char(digits.next().unwrap_or('0'))?;
        }
        if self.scale > 0 {
            out.write_char('.')?;
        }
        for at in 0..i64::from(self.scale) {
            let is_zero = magnitude + at < 0;
            out.write_char(if is_zero {
                '0'
            } else {
                digits.next().unwrap_or('0')
            })?;
        }
        Ok(())
    }
}

/// The value of a short number. It is `value` divided by ten to the power of `scale`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Short {
    value: i64,
    scale: u32,
}

/// The powers of ten from 10^0 to 10^9. The product of such a power and a number of nine digits fits 64 bits.
const POWERS: [i64; 10] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
];

impl Short {
    /// The largest number of characters, without the sign, for which every value fits 64 bits.
    const BYTES_MAX: usize = 18;

    /// Parses a number that has at most `BYTES_MAX` characters after the sign, has no exponent and is valid JSON as it
    /// stands. Returns `None` for any other text.
    #[inline]
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
        if digits.len() > Self::BYTES_MAX {
            return None;
        }
        let (mut value, mut point) = (0, digits.len());
        for (at, &byte) in digits.iter().enumerate() {
            match byte {
                b'0'..=b'9' => value = value * 10 + i64::from(byte - b'0'),
                b'.' if point == digits.len() => point = at,
                _ => return None,
            }
        }
        let is_last = point + 1 == digits.len();
        let has_leading_zero = point > 1 && digits[0] == b'0';
        if point == 0 || is_last || has_leading_zero {
            return None;
        }
        let scale = digits.len().saturating_sub(point + 1);
        Some(Self {
            value: if digits.len() < text.len() { -value } else { value },
            scale: u32::try_from(scale).ok()?,
        })
    }

    #[inline]
    fn order(self, other: Self) -> Ordering {
        const SMALL: u64 = 1_000_000_000;
        if self.scale == other.scale {
            return self.value.cmp(&other.value);
        }
        if other.scale == 0
            && other.value.unsigned_abs() <= SMALL
            && let Some(power) = POWERS.get(self.scale as usize)
        {
            return self.value.cmp(&(other.value * power));
        }
        let scaled = |number: Self, scale: u32| i128::from(number.value) * 10_i128.pow(scale);
        scaled(self, other.scale).cmp(&scaled(other, self.scale))
    }
}

/// A number, split into its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Long<'a> {
    text: &'a str,
    is_negative: bool,
    /// The digits before the point, without leading zeros.
    whole: &'a str,
    /// The digits after the point.
    fraction: &'a str,
    /// The exponent after the digits: empty, or an `e` or `E` and a number.
    exponent: &'a str,
    /// True if the text is a valid JSON number.
    is_json: bool,
}

impl<'a> Long<'a> {
    /// Returns the parts of a text that has been parsed as a number before.
    fn of(text: &'a str) -> Self {
        Self::parse(text).expect("this text was parsed as a number before")
    }

    fn parse(text: &'a str) -> Option<Self> {
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

    /// Returns true if the number is within the range of a float of 64 bits.
    fn is_finite(&self) -> bool {
        // The largest float is about 1.8e308. It has 309 digits before the point.
        match self.magnitude() {
            Some(..=308) | None => true,
            Some(309) => self.text.parse::<f64>().is_ok_and(f64::is_finite),
            Some(_) => false,
        }
    }

    /// Returns how many digits the number would have before the point if it were written without an exponent. If its
    /// first nonzero digit would then be after the point, the result is zero or negative. If the number is zero, the
    /// result is `None`.
    fn magnitude(&self) -> Option<i64> {
        let place = if self.whole.is_empty() {
            let zeros = self.fraction.bytes().position(|digit| digit != b'0')?;
            -length(zeros)
        } else {
            length(self.whole.len())
        };
        Some(place.saturating_add(exponent(self.exponent)))
    }

    /// Returns the digits from the first nonzero digit on.
    fn digits(&self) -> impl Iterator<Item = u8> {
        let digits = self.whole.bytes().chain(self.fraction.bytes());
        digits.skip_while(|&digit| digit == b'0')
    }

    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        if self.is_json {
            return out.write_str(self.text);
        }
        if self.is_negative {
            out.write_str("-")?;
        }
        out.write_str(if self.whole.is_empty() { "0" } else { self.whole })?;
        if !self.fraction.is_empty() {
            out.write_str(".")?;
            out.write_str(self.fraction)?;
        }
        out.write_str(self.exponent)
    }
}

/// A bound of a range in the config.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    text: String,
    /// The value of the bound, or `None` if it is not a short number.
    short: Option<Short>,
    is_negative: bool,
    magnitude: Option<i64>,
    /// The digits from the first nonzero digit on.
    digits: Vec<u8>,
}

impl Bound {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = Long::parse(text).filter(Long::is_finite)?;
        Some(Self {
            text: text.to_owned(),
            short: Short::parse(text),
            is_negative: number.is_negative,
            magnitude: number.magnitude(),
            digits: number.digits().collect(),
        })
    }

    /// Compares a number to the bound. The comparison uses all digits.
    #[inline]
    pub(crate) fn order(&self, number: &Decimal<'_>) -> Ordering {
        match (number, self.short) {
            (Decimal::Short(_, number), Some(bound)) => number.order(bound),
            (Decimal::Short(text, _) | Decimal::Long(text), _) => self.order_long(&Long::of(text)),
        }
    }

    /// Compares the bound `other` to this bound.
    pub(crate) fn order_bound(&self, other: &Self) -> Ordering {
        self.order_long(&Long::of(&other.text))
    }

    fn order_long(&self, number: &Long<'_>) -> Ordering {
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
    /// Reads the text of a number, because a float would round a bound with more than 15 digits.
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

/// Compares two numbers by their digits, from the most significant digit on. Missing digits count as zeros.
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

/// Splits a text after its leading digits.
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

/// Returns the value of an exponent. If the value does not fit 64 bits, the result is the nearest value that fits.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NUMBER: &str = "[-+]?0{0,2}[0-9]{0,20}(\\.[0-9]{0,9})?(e-?[0-9])?";
    const SMALL: &str = "-?[0-9]{1,3}(\\.[0-9]{1,3})?";

    fn run(strategy: &impl Strategy<Value = (String, String)>, check: impl Fn(&str, &str)) {
        proptest::test_runner::TestRunner::new(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(20_000)
        })
        .run(strategy, |(left, right)| {
            check(&left, &right);
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn a_short_number_is_compared_and_written_like_a_long_one() {
        let seen = std::cell::RefCell::new(std::collections::BTreeMap::new());
        let equal = SMALL.prop_map(|number| {
            let zero = if number.contains('.') { "0" } else { ".0" };
            (format!("{number}{zero}"), number)
        });
        let pair = prop_oneof![(NUMBER, NUMBER), (SMALL, SMALL), (NUMBER, SMALL), equal];
        run(&pair, |number, bound| {
            let (Some(Decimal::Short(text, short)), Some(bound)) =
                (Decimal::parse(number), Bound::parse(bound))
            else {
                return;
            };
            let long = Long::parse(number).expect("this text was parsed as a number before");
            assert!(long.is_json && long.is_finite() && text == number, "{number:?}");
            if let Some(short_bound) = bound.short {
                let order = bound.order_long(&long);
                assert_eq!(short.order(short_bound), order, "{number:?} and {:?}", bound.text);
                *seen.borrow_mut().entry(order).or_insert(0) += 1;
            }
        });
        let seen = seen.into_inner();
        assert!(
            seen.len() == 3 && seen.values().all(|&count| count > 10),
            "{seen:?}"
        );
    }
}
