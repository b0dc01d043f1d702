//! Parses times: a text and a format come in, a local time or an instant goes out. A text is refused if it has a digit,
//! an offset or a weekday that would have no use.

use std::cmp::Ordering;
use std::fmt;

use ingest_plugin::Value;
use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, ISOWeekDate, Weekday};

use crate::time_format::{Field, Padding, Part, Target, TimeFormat};

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
    /// Parses a time in ISO 8601. Returns `None` for any other text. A timestamp is a date, optionally with a time of day,
    /// which can have an offset from UTC. A time of day has minutes.
    pub(crate) fn parse_iso(text: &str, target: Target) -> Option<Self> {
        let mut rest = Rest::of(text);
        let mut fields = Fields::default();
        match target {
            Target::Timestamp => rest.iso_timestamp(&mut fields)?,
            Target::Date => rest.iso_date(&mut fields)?,
            Target::Clock => {
                rest.iso_clock(&mut fields)?;
                fields.get(Field::Minute)?;
            }
        }
        fields.take(&rest, target)
    }

    /// Parses a time in `format`. Returns `None` if the text does not fit the format or is no valid time.
    pub(crate) fn parse(text: &str, format: &TimeFormat, target: Target) -> Option<Self> {
        let mut rest = Rest::of(text);
        let mut fields = Fields::default();
        for part in format.parts() {
            rest.part(part, &mut fields)?;
        }
        fields.take(&rest, target)
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
        self.write(f)
    }
}

impl Value for Time {
    /// Writes the time in ISO 8601.
    ///
    /// The digits are computed one by one, because the `Display` of jiff needs several times as many instructions.
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        match *self {
            Self::Local(time) => write_local(time, out),
            Self::Instant(time) => {
                write_local(time, out)?;
                out.write_str("Z")
            }
            Self::Date(date) => out.write_str(ascii(&date_digits(date))),
            Self::Clock(time) => {
                out.write_str(ascii(&clock_digits(time)))?;
                write_fraction(time.subsec_nanosecond(), out)
            }
        }
    }
}

fn write_local(time: DateTime, out: &mut impl fmt::Write) -> fmt::Result {
    let mut text = [b'T'; DATE_BYTES + 1 + CLOCK_BYTES];
    text[..DATE_BYTES].copy_from_slice(&date_digits(time.date()));
    text[DATE_BYTES + 1..].copy_from_slice(&clock_digits(time.time()));
    out.write_str(ascii(&text))?;
    write_fraction(time.subsec_nanosecond(), out)
}

/// Writes the fraction of a second without the zeros at its end, or nothing if it is zero.
fn write_fraction(nanosecond: i32, out: &mut impl fmt::Write) -> fmt::Result {
    if nanosecond == 0 {
        return Ok(());
    }
    let mut rest = nanosecond.unsigned_abs();
    let digits: [u8; 9] = std::array::from_fn(|_| {
        let digit = rest / 100_000_000;
        rest = rest % 100_000_000 * 10;
        b'0' + digit as u8
    });
    out.write_str(".")?;
    out.write_str(ascii(&digits).trim_end_matches('0'))
}

/// The length of `2017-10-23`.
const DATE_BYTES: usize = 10;

/// The length of `12:00:25`.
const CLOCK_BYTES: usize = 8;

#[inline(always)]
fn date_digits(date: Date) -> [u8; DATE_BYTES] {
    let year = date.year().unsigned_abs();
    let [thousands, hundreds] = pair((year / 100) as u8);
    let [tens, ones] = pair((year % 100) as u8);
    let ([month_tens, month], [day_tens, day]) =
        (pair(date.month().unsigned_abs()), pair(date.day().unsigned_abs()));
    [
        thousands, hundreds, tens, ones, b'-', month_tens, month, b'-', day_tens, day,
    ]
}

#[inline(always)]
fn clock_digits(time: jiff::civil::Time) -> [u8; CLOCK_BYTES] {
    let [hour_tens, hour] = pair(time.hour().unsigned_abs());
    let [minute_tens, minute] = pair(time.minute().unsigned_abs());
    let [second_tens, second] = pair(time.second().unsigned_abs());
    [
        hour_tens,
        hour,
        b':',
        minute_tens,
        minute,
        b':',
        second_tens,
        second,
    ]
}

/// Returns the two digits of a number below 100.
#[inline(always)]
fn pair(number: u8) -> [u8; 2] {
    [b'0' + number / 10, b'0' + number % 10]
}

fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("digits and separators are ASCII")
}

/// The parts of a time that have been read so far.
#[derive(Default)]
struct Fields {
    /// The value of each field. It has a meaning only if the bit of the field is set in `is_set`.
    values: [u32; Field::COUNT],
    is_set: u32,
    /// The offset from UTC in seconds. It is positive to the east.
    offset: Option<i64>,
    /// The distance from 1970-01-01 00:00:00 UTC: true if the time is before this instant, and the number of seconds.
    unix: Option<(bool, i64)>,
}

impl Fields {
    /// The fields of which a date usually consists.
    const DATE: u32 = Field::Year.bit() | Field::Month.bit() | Field::Day.bit();

    /// Fields that can repeat a part of the date, or take its place.
    const OTHER_DATE: u32 =
        Field::DayOfYear.bit() | Field::WeekYear.bit() | Field::Week.bit() | Field::Weekday.bit();

    fn set(&mut self, field: Field, value: u32) {
        self.values[field as usize] = value;
        self.is_set |= field.bit();
    }

    fn get(&self, field: Field) -> Option<u32> {
        (self.is_set & field.bit() != 0).then_some(self.values[field as usize])
    }

    /// Returns what has been read, or `None` if there is more to read, or if the fields give no `target`.
    fn take(&self, rest: &Rest<'_>, target: Target) -> Option<Time> {
        if !rest.is_empty() {
            return None;
        }
        match target {
            Target::Timestamp => self.time(),
            Target::Date => self.date().map(Time::Date),
            Target::Clock => self.clock().map(Time::Clock),
        }
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
        if self.is_set & (Self::DATE | Self::OTHER_DATE) != Self::DATE {
            return self.other_date();
        }
        let small = |field: Field| i8::try_from(self.values[field as usize]).ok();
        let year = i16::try_from(self.values[Field::Year as usize]).ok()?;
        let date = Date::new(year, small(Field::Month)?, small(Field::Day)?).ok()?;
        (year >= 1).then_some(date)
    }

    /// Returns the date, if its fields are other ones than the year, the month and the day.
    #[inline(never)]
    fn other_date(&self) -> Option<Date> {
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

/// A text, of which the bytes before `at` have been parsed.
struct Rest<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Rest<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.at == self.text.len()
    }

    /// Returns the next byte, or 0 at the end of the text.
    fn next(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn skip(&mut self, literal: &str) -> Option<()> {
        let is_there = match literal.as_bytes() {
            // A separator is nearly always one byte. A comparison of texts would be a call.
            [byte] => self.text.as_bytes().get(self.at) == Some(byte),
            bytes => self.bytes().starts_with(bytes),
        };
        if is_there {
            self.at += literal.len();
        }
        is_there.then_some(())
    }

    /// Skips the next byte if it is `byte`.
    fn skip_if(&mut self, byte: u8) -> bool {
        let is_there = self.text.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(is_there);
        is_there
    }
    /// Takes a part of a format.
    fn part(&mut self, part: &Part, fields: &mut Fields) -> Option<()> {
        match *part {
            Part::Literal(ref literal) => self.skip(literal)?,
            Part::Space => self.spaces()?,
            Part::Number {
                field,
                digits_min,
                digits_max,
                padding,
            } => {
                let padding = usize::from(padding == Padding::Space && self.skip_if(b' '));
                let digits_min = digits_min.saturating_sub(padding).max(1);
                let value = self.digits(digits_min, digits_max - padding)?;
                fields.set(field, full_year(field, digits_max, value));
            }
            Part::Fraction {
                has_point,
                digits_min,
                digits_max,
            } => {
                if !has_point || self.skip_if(b'.') {
                    fields.set(Field::Nanosecond, self.fraction(digits_min, digits_max)?);
                }
            }
            Part::Name { field, names } => fields.set(field, self.name(names)?),
            Part::LocalName { field, ref names } => {
                let (number, after) = names.find(self.text.get(self.at..)?)?;
                self.at = self.text.len() - after.len();
                fields.set(field, number);
            }
            Part::Offset => fields.offset = Some(self.offset(true)?),
            Part::Unix => fields.unix = Some(self.unix()?),
        }
        Some(())
    }

    /// Takes a date, optionally with a time of day, which can have an offset from UTC.
    fn iso_timestamp(&mut self, fields: &mut Fields) -> Option<()> {
        self.iso_date(fields)?;
        if self.is_empty() {
            return Some(());
        }
        if !matches!(self.next(), b'T' | b't' | b' ') {
            return None;
        }
        self.at += 1;
        self.iso_clock(fields)?;
        if !self.is_empty() {
            fields.offset = Some(self.offset(false)?);
        }
        Some(())
    }

    /// Takes a date as `YYYY-MM-DD` or `YYYYMMDD`.
    fn iso_date(&mut self, fields: &mut Fields) -> Option<()> {
        fields.set(Field::Year, self.digits(4, 4)?);
        let has_hyphens = self.skip_if(b'-');
        fields.set(Field::Month, self.digits(2, 2)?);
        if has_hyphens && !self.skip_if(b'-') {
            return None;
        }
        fields.set(Field::Day, self.digits(2, 2)?);
        Some(())
    }

    /// Takes a time of day as `HH`, `HH:MM`, `HHMM`, `HH:MM:SS` or `HHMMSS`. The seconds can have a fraction.
    fn iso_clock(&mut self, fields: &mut Fields) -> Option<()> {
        fields.set(Field::Hour, self.digits(2, 2)?);
        let has_colons = self.skip_if(b':');
        if !has_colons && !self.is_digit() {
            return Some(());
        }
        fields.set(Field::Minute, self.digits(2, 2)?);
        let has_seconds = if has_colons {
            self.skip_if(b':')
        } else {
            self.is_digit()
        };
        if has_seconds {
            fields.set(Field::Second, self.digits(2, 2)?);
            if self.skip_if(b'.') || self.skip_if(b',') {
                fields.set(Field::Nanosecond, self.fraction(1, 9)?);
            }
        }
        Some(())
    }

    /// Skips one or more white space characters.
    fn spaces(&mut self) -> Option<()> {
        let start = self.at;
        while self.next().is_ascii_whitespace() {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn is_digit(&self) -> bool {
        self.next().is_ascii_digit()
    }

    /// Takes a number of at most `max` digits, and at most nine. Returns `None` if there are fewer than `min`.
    fn digits(&mut self, min: usize, max: usize) -> Option<u32> {
        let bytes = self.bytes();
        let bytes = &bytes[..max.min(bytes.len())];
        let (mut value, mut count) = (0, 0);
        for byte in bytes {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            value = value * 10 + u32::from(digit);
            count += 1;
        }
        self.at += count;
        (count >= min).then_some(value)
    }

    /// Takes the digits after the decimal point of a second, and returns their value in nanoseconds.
    fn fraction(&mut self, min: usize, max: usize) -> Option<u32> {
        let start = self.at;
        let value = self.digits(min, max)?;
        let missing = u32::try_from(9 - (self.at - start)).ok()?;
        Some(value * 10_u32.pow(missing))
    }

    /// Takes one of the names, in upper or lower case, and returns its number.
    fn name(&mut self, names: &[(&str, u32)]) -> Option<u32> {
        let bytes = self.bytes();
        let start = |name: &str| bytes.get(..name.len());
        let is_there =
            |name: &str| start(name).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()));
        let &(name, number) = names.iter().find(|(name, _)| is_there(name))?;
        self.at += name.len();
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
        let sign = match self.next() {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        self.at += 1;
        let mut seconds = self.digits(2, 2)? * 3600;
        let has_colons = self.next() == b':';
        for unit in [60, 1] {
            if has_colons && !self.skip_if(b':') || !has_colons && !self.is_digit() {
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

    /// Takes a number of at most 18 digits with an optional sign. Returns true if the sign is `-`, and the number without
    /// its sign.
    fn unix(&mut self) -> Option<(bool, i64)> {
        let is_before = self.skip_if(b'-');
        if !is_before {
            self.skip_if(b'+');
        }
        let digits = self
            .bytes()
            .iter()
            .take(18)
            .take_while(|byte| byte.is_ascii_digit());
        let start = self.at;
        self.at += digits.count();
        let seconds = self.text.get(start..self.at)?.parse().ok()?;
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
