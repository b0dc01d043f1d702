//! Parses times: a text and a format come in, a local time or an instant goes out. A text is refused if it has a digit,
//! an offset or a weekday that would have no use.

use std::cmp::Ordering;
use std::fmt;

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, ISOWeekDate, Weekday};

use crate::time_format::{Field, Padding, Part, TimeFormat};

/// The largest offset from UTC that `clean` accepts: 14 hours. No time zone in use today has a larger offset.
const OFFSET_SECONDS_MAX: i64 = 14 * 3600;

/// A time in the years 1 to 9999, or a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// A local time without a time zone.
    Local(DateTime),
    /// A point in time, in UTC.
    Instant(DateTime),
    /// A date without a time of day.
    Date(Date),
    /// A time of day without a date.
    Clock(jiff::civil::Time),
}

impl Time {
    /// Parses a time in ISO 8601: a date, optionally with a time of day. A time of day can have an offset from UTC.
    /// Returns `None` for any other text.
    pub(crate) fn parse_iso(text: &str) -> Option<Self> {
        let mut rest = Rest(text);
        let mut fields = Fields::default();
        rest.iso_date(&mut fields)?;
        if rest.0.is_empty() {
            return fields.time();
        }
        rest.0 = rest.0.strip_prefix(['T', 't', ' '])?;
        rest.iso_clock(&mut fields)?;
        if !rest.0.is_empty() {
            fields.offset = Some(rest.offset(false)?);
        }
        rest.0.is_empty().then(|| fields.time()).flatten()
    }

    /// Parses a date in ISO 8601. Returns `None` for any other text.
    pub(crate) fn parse_iso_date(text: &str) -> Option<Self> {
        let mut rest = Rest(text);
        let mut fields = Fields::default();
        rest.iso_date(&mut fields)?;
        rest.0.is_empty().then(|| fields.date().map(Self::Date)).flatten()
    }

    /// Parses a time of day in ISO 8601, with minutes. Returns `None` for any other text.
    pub(crate) fn parse_iso_clock(text: &str) -> Option<Self> {
        let mut rest = Rest(text);
        let mut fields = Fields::default();
        rest.iso_clock(&mut fields)?;
        fields.get(Field::Minute)?;
        rest.0
            .is_empty()
            .then(|| fields.clock().map(Self::Clock))
            .flatten()
    }

    /// Parses a time in `format`. Returns `None` if the text does not fit the format or is no valid time.
    pub(crate) fn parse(text: &str, format: &TimeFormat) -> Option<Self> {
        Fields::read(text, format)?.time()
    }

    /// Parses a date in `format`, which has no time of day.
    pub(crate) fn parse_date(text: &str, format: &TimeFormat) -> Option<Self> {
        Fields::read(text, format)?.date().map(Self::Date)
    }

    /// Parses a time of day in `format`, which has no date.
    pub(crate) fn parse_clock(text: &str, format: &TimeFormat) -> Option<Self> {
        Fields::read(text, format)?.clock().map(Self::Clock)
    }

    /// Compares two times. Returns `None` if only one of them has an offset from UTC, or only one is a date.
    pub(crate) fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Local(left), Self::Local(right)) | (Self::Instant(left), Self::Instant(right)) => {
                Some(left.cmp(&right))
            }
            (Self::Date(left), Self::Date(right)) => Some(left.cmp(&right)),
            (Self::Clock(left), Self::Clock(right)) => Some(left.cmp(&right)),
            _ => None,
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(time) => write!(f, "{time}"),
            Self::Instant(time) => write!(f, "{time}Z"),
            Self::Date(date) => write!(f, "{date}"),
            Self::Clock(time) => write!(f, "{time}"),
        }
    }
}

/// The parts of a time that have been read so far.
#[derive(Default)]
struct Fields {
    values: [Option<u32>; Field::COUNT],
    /// The offset from UTC in seconds. It is positive to the east.
    offset: Option<i64>,
    /// The distance from 1970-01-01 00:00:00 UTC: true if the time is before this instant, and the number of seconds.
    unix: Option<(bool, i64)>,
}

impl Fields {
    /// Reads the parts of a time in `format`. Returns `None` if the text does not fit the format. The function is always
    /// inlined, because its result is large.
    #[inline(always)]
    fn read(text: &str, format: &TimeFormat) -> Option<Self> {
        let mut rest = Rest(text);
        let mut fields = Fields::default();
        for part in format.parts() {
            match *part {
                Part::Literal(ref literal) => rest.skip(literal)?,
                Part::Space => rest.spaces()?,
                Part::Number {
                    field,
                    digits_min,
                    digits_max,
                    padding,
                } => {
                    let padding = usize::from(padding == Padding::Space && rest.skip(" ").is_some());
                    let digits_min = digits_min.saturating_sub(padding).max(1);
                    let value = rest.digits(digits_min, digits_max - padding)?;
                    fields.set(field, full_year(field, digits_max, value));
                }
                Part::Fraction {
                    has_point,
                    digits_min,
                    digits_max,
                } => {
                    if !has_point || rest.skip(".").is_some() {
                        fields.set(Field::Nanosecond, rest.fraction(digits_min, digits_max)?);
                    }
                }
                Part::Name { field, names } => fields.set(field, rest.name(names)?),
                Part::LocalName { field, ref names } => {
                    let (number, after) = names.find(rest.0)?;
                    rest.0 = after;
                    fields.set(field, number);
                }
                Part::Offset => fields.offset = Some(rest.offset(true)?),
                Part::Unix => fields.unix = Some(rest.unix()?),
            }
        }
        rest.0.is_empty().then_some(fields)
    }

    fn set(&mut self, field: Field, value: u32) {
        self.values[field as usize] = Some(value);
    }

    fn get(&self, field: Field) -> Option<u32> {
        self.values[field as usize]
    }

    /// Returns the time, or `None` if there is no such time, or if its parts contradict each other.
    fn time(&self) -> Option<Time> {
        if let Some((is_before, seconds)) = self.unix {
            let nanosecond = self.get(Field::Nanosecond).unwrap_or(0);
            let distance = SignedDuration::new(seconds, i32::try_from(nanosecond).ok()?);
            let distance = if is_before { -distance } else { distance };
            return instant(Date::constant(1970, 1, 1).at(0, 0, 0, 0), distance);
        }
        let local = self.date()?.to_datetime(self.clock()?);
        match self.offset {
            None => Some(Time::Local(local)),
            Some(offset) => instant(local, SignedDuration::from_secs(-offset)),
        }
    }

    /// Returns the time of day. It is midnight if no part of it has been read.
    fn clock(&self) -> Option<jiff::civil::Time> {
        let part = |field| i8::try_from(self.get(field).unwrap_or(0)).ok();
        let nanosecond = i32::try_from(self.get(Field::Nanosecond).unwrap_or(0)).ok()?;
        let hour = i8::try_from(self.hour()?).ok()?;
        jiff::civil::Time::new(hour, part(Field::Minute)?, part(Field::Second)?, nanosecond).ok()
    }

    fn date(&self) -> Option<Date> {
        let small = |field| self.get(field).map(i8::try_from).transpose().ok();
        let (month, day) = (small(Field::Month)?, small(Field::Day)?);
        let (week, weekday) = (small(Field::Week)?, small(Field::Weekday)?);
        let year = |field| self.get(field).map(i16::try_from).transpose().ok();
        let weekday = weekday.map(Weekday::from_monday_one_offset).transpose().ok()?;
        let said_year = year(Field::Year)?;
        let date = match (said_year, month, day, self.get(Field::DayOfYear)) {
            (Some(year), Some(month), Some(day), _) => Date::new(year, month, day).ok()?,
            (Some(year), _, _, Some(day)) => {
                let first = Date::new(year, 1, 1).ok()?;
                let day = i16::try_from(day).ok()?;
                first.with().day_of_year(day).build().ok()?
            }
            _ => {
                let week = ISOWeekDate::new(year(Field::WeekYear)??, week?, weekday?).ok()?;
                week.date()
            }
        };
        let is_right = date.year() >= 1
            && said_year.is_none_or(|year| year == date.year())
            && month.is_none_or(|month| month == date.month())
            && day.is_none_or(|day| day == date.day())
            && weekday.is_none_or(|weekday| weekday == date.weekday())
            && self.is_day_of_year(date)
            && self.is_week(date);
        is_right.then_some(date)
    }

    fn is_day_of_year(&self, date: Date) -> bool {
        let said = self.get(Field::DayOfYear);
        said.is_none_or(|said| said == u32::from(date.day_of_year().unsigned_abs()))
    }

    fn is_week(&self, date: Date) -> bool {
        let (year, week) = (self.get(Field::WeekYear), self.get(Field::Week));
        if year.is_none() && week.is_none() {
            return true;
        }
        let date = date.iso_week_date();
        year.is_none_or(|year| year == u32::from(date.year().unsigned_abs()))
            && week.is_none_or(|week| week == u32::from(date.week().unsigned_abs()))
    }

    /// Returns the hour of the day from the hour and the half of the day (`%p`). Returns `None` if they contradict each
    /// other.
    fn hour(&self) -> Option<u32> {
        match (
            self.get(Field::Hour),
            self.get(Field::Hour12),
            self.get(Field::Half),
        ) {
            (Some(hour), _, Some(half)) => (hour / 12 == half).then_some(hour),
            (None, Some(hour @ 1..=12), Some(half)) => Some(hour % 12 + 12 * half),
            (hour, None, None) => Some(hour.unwrap_or(0)),
            _ => None,
        }
    }
}

/// Returns the instant whose time in UTC is `time` plus `distance`.
fn instant(time: DateTime, distance: SignedDuration) -> Option<Time> {
    let time = time.checked_add(distance).ok()?;
    (time.year() >= 1).then_some(Time::Instant(time))
}

/// The part of a text that has not been parsed yet.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip(&mut self, literal: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(literal)?;
        Some(())
    }

    /// Takes a date as `YYYY-MM-DD` or `YYYYMMDD`.
    fn iso_date(&mut self, fields: &mut Fields) -> Option<()> {
        fields.set(Field::Year, self.digits(4, 4)?);
        let has_hyphens = self.skip("-").is_some();
        fields.set(Field::Month, self.digits(2, 2)?);
        if has_hyphens {
            self.skip("-")?;
        }
        fields.set(Field::Day, self.digits(2, 2)?);
        Some(())
    }

    /// Takes a time of day as `HH`, `HH:MM`, `HHMM`, `HH:MM:SS` or `HHMMSS`. The seconds can have a fraction.
    fn iso_clock(&mut self, fields: &mut Fields) -> Option<()> {
        fields.set(Field::Hour, self.digits(2, 2)?);
        let has_colons = self.skip(":").is_some();
        if !has_colons && !self.is_digit() {
            return Some(());
        }
        fields.set(Field::Minute, self.digits(2, 2)?);
        let has_seconds = if has_colons {
            self.skip(":").is_some()
        } else {
            self.is_digit()
        };
        if has_seconds {
            fields.set(Field::Second, self.digits(2, 2)?);
            if self.skip(".").or_else(|| self.skip(",")).is_some() {
                fields.set(Field::Nanosecond, self.fraction(1, 9)?);
            }
        }
        Some(())
    }

    /// Skips one or more white space characters.
    fn spaces(&mut self) -> Option<()> {
        let rest = self.0.trim_ascii_start();
        let is_found = rest.len() < self.0.len();
        self.0 = rest;
        is_found.then_some(())
    }

    fn is_digit(&self) -> bool {
        self.0.starts_with(|first: char| first.is_ascii_digit())
    }

    /// Takes the leading digits, at most `max`. Returns `None` if there are fewer than `min`.
    fn take_digits(&mut self, min: usize, max: usize) -> Option<&'a str> {
        let count = self.0.bytes().take(max).take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        (count >= min).then_some(digits)
    }

    fn digits(&mut self, min: usize, max: usize) -> Option<u32> {
        Some(number(self.take_digits(min, max)?))
    }

    /// Takes the digits after the decimal point of a second, and returns their value in nanoseconds.
    fn fraction(&mut self, min: usize, max: usize) -> Option<u32> {
        let digits = self.take_digits(min, max)?;
        let missing = u32::try_from(9 - digits.len()).ok()?;
        Some(number(digits) * 10_u32.pow(missing))
    }

    /// Takes one of the names, in upper or lower case, and returns its number.
    fn name(&mut self, names: &[(&str, u32)]) -> Option<u32> {
        let start = |name: &str| self.0.get(..name.len());
        let is_there = |name: &str| start(name).is_some_and(|start| start.eq_ignore_ascii_case(name));
        let &(name, number) = names.iter().find(|(name, _)| is_there(name))?;
        self.0 = &self.0[name.len()..];
        Some(number)
    }

    /// Takes an offset from UTC, and returns it in seconds. The forms are `Z`, `+HH`, `+HHMM`, `+HHMMSS`, `+HH:MM` and
    /// `+HH:MM:SS`, also with `-` in place of `+`. If `is_named` is true, `UTC` and `GMT` are accepted, too.
    fn offset(&mut self, is_named: bool) -> Option<i64> {
        const NAMES: &[(&str, u32)] = &[("Z", 0), ("UTC", 0), ("GMT", 0)];
        let names = if is_named { NAMES } else { &NAMES[..1] };
        if self.name(names).is_some() {
            return Some(0);
        }
        let sign = match self.name(&[("+", 1), ("-", 0)])? {
            1 => 1,
            _ => -1,
        };
        let mut seconds = self.digits(2, 2)? * 3600;
        let has_colons = self.0.starts_with(':');
        for unit in [60, 1] {
            if has_colons && self.skip(":").is_none() || !has_colons && !self.is_digit() {
                break;
            }
            let part = self.digits(2, 2)?;
            if part > 59 {
                return None;
            }
            seconds += part * unit;
        }
        let seconds = i64::from(seconds);
        (seconds <= OFFSET_SECONDS_MAX).then_some(sign * seconds)
    }

    /// Takes a number of seconds with an optional sign. Returns true if the sign is `-`, and the number without its
    /// sign.
    fn unix(&mut self) -> Option<(bool, i64)> {
        let is_before = self.skip("-").is_some();
        if !is_before {
            let _ = self.skip("+");
        }
        let seconds = self.take_digits(1, 18)?.parse().ok()?;
        Some((is_before, seconds))
    }
}

/// Returns `value`, or the full year if the field is a year of two digits. As in POSIX, 69 to 99 are 1969 to 1999, and
/// 0 to 68 are 2000 to 2068.
fn full_year(field: Field, digits_max: usize, value: u32) -> u32 {
    match (field, digits_max, value) {
        (Field::Year, 2, 0..=68) => value + 2000,
        (Field::Year, 2, _) => value + 1900,
        _ => value,
    }
}

/// Returns the value of a text of at most nine digits.
fn number(digits: &str) -> u32 {
    let value = |digit: u8| u32::from(digit - b'0');
    digits.bytes().fold(0, |number, digit| number * 10 + value(digit))
}
