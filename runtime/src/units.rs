//! Converts sizes and times between text and numbers. Operators write texts such as `64MiB` and `5m`.
//!
//! A value is printed exactly, in a form that this program also reads. The usual crates do not do this: `humantime`
//! prints 90 s as `1m 30s`, and `bytesize` reads `64MB` and prints `61.0 MiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const TIB: u64 = 1 << 40;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
pub(crate) const DAY_MS: u64 = 24 * HOUR_MS;

/// The unit of a number that is stored without a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Milliseconds,
    Count,
}

impl Unit {
    /// Returns the suffixes with the numbers that they stand for, the largest first.
    fn suffixes(self) -> &'static [(&'static str, u64)] {
        match self {
            Self::Bytes => &[("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB), ("", 1)],
            Self::Milliseconds => &[("h", HOUR_MS), ("m", MINUTE_MS), ("s", SECOND_MS), ("ms", 1)],
            Self::Count => &[("", 1)],
        }
    }

    /// Parses a number with one of the unit's suffixes.
    ///
    /// # Errors
    /// Fails if the text is not such a number, or if the number is too large.
    pub(crate) fn parse(self, text: &str) -> Result<u64, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits);
        // `d` is read, but not printed: 24h is clearer than 1d.
        const DAY: (&str, u64) = ("d", DAY_MS);
        let factor = match (self, suffix) {
            (Self::Milliseconds, "d") => Some(&DAY),
            _ => self.suffixes().iter().find(|(name, _)| *name == suffix),
        };
        let value = number.parse::<u64>().ok().zip(factor);
        value
            .and_then(|(number, (_, factor))| number.checked_mul(*factor))
            .ok_or_else(|| match self {
                Self::Bytes => format!("\"{text}\" is no size: write 1000, 64KiB, 64MiB, 1GiB"),
                Self::Milliseconds => {
                    let seconds = match suffix {
                        "" if !number.is_empty() => format!(" ({number} seconds are {number}s)"),
                        _ => String::new(),
                    };
                    format!("\"{text}\" is no time: write 500ms, 10s, 5m, 6h, 2d{seconds}")
                }
                Self::Count => format!("\"{text}\" is no number"),
            })
    }

    /// Returns the number with the largest suffix that leaves a whole number. [`Unit::parse`] can read the result.
    pub(crate) fn format(self, value: u64) -> String {
        let fits = |(_, factor): &&(&str, u64)| value.is_multiple_of(*factor) && value > 0;
        let (name, factor) = self.suffixes().iter().find(fits).unwrap_or(match self {
            Self::Milliseconds => &("ms", 1),
            _ => &("", 1),
        });
        format!("{}{name}", value / factor)
    }
}

/// A number of bytes, written as `64MiB`.
#[derive(Debug, Clone, Copy)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Unit::Bytes.parse(text).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Unit::Bytes.format(self.0))
    }
}

/// A time, written as `5m`.
#[derive(Debug, Clone, Copy)]
pub struct HumanDuration(pub Duration);

impl FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Unit::Milliseconds
            .parse(text)
            .map(|millis| Self(Duration::from_millis(millis)))
    }
}

/// Cuts the time to whole milliseconds, and formats it exactly, such as `5m` or `1500ms`.
impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        f.write_str(&Unit::Milliseconds.format(millis))
    }
}
