//! Times in the form `YYYY-MM-DD HH:MM:SS`: a text comes in, seconds for calculations and a cell in ISO 8601 go out.
//! For time zones, fractions of a second and other formats, use the crate `jiff`.

use std::fmt;

use crate::value::Value;

/// A date of the Gregorian calendar with a time of day, without a time zone.
///
/// ```
/// # use ingest_plugin::DateTime;
/// let start = DateTime::parse("2017-10-23 00:00:27", ' ').unwrap();
/// let end = DateTime::parse("2017-10-23T00:27:19", 'T').unwrap();
/// assert_eq!(end.seconds() - start.seconds(), 1612);
/// assert!(start < end);
/// assert_eq!(start.to_string(), "2017-10-23T00:00:27");
/// assert_eq!(DateTime::parse("2019-02-29 10:00:00", ' '), None);
/// ```
///
/// As a [`Value`], a `DateTime` writes the text `YYYY-MM-DDTHH:MM:SS`, which is the form for a column of the type
/// `Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DateTime {
    seconds: i64,
    /// The texts `YYYY-MM-`, `DDTHH:MM` and `:SS`, each in one machine word, because words stay in registers.
    text: [u64; 3],
}

impl DateTime {
    /// Parses `YYYY-MM-DD`, the `separator` and `HH:MM:SS`. Each part must have all its digits. The date must exist in
    /// the calendar, from the year 1 on, and the time must be at most 23:59:59. Returns `None` for any other text, such
    /// as a time with a fraction or with an offset from UTC.
    #[inline]
    #[must_use]
    pub fn parse(text: &str, separator: char) -> Option<Self> {
        let text = text.as_bytes().as_array::<19>()?;
        if char::from(text[10]) != separator {
            return None;
        }
        Self::read(text)
    }

    /// Returns the seconds since 1970-01-01 00:00:00 in the same time zone. Every day counts as 86,400 seconds.
    #[inline]
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Parses a text with any separator.
    fn read(text: &[u8; 19]) -> Option<Self> {
        let [start, middle, end] = [word(text, 0), word(text, 8), word(text, 11)];
        let separator = 0xFF << 16;
        let middle = (middle & !separator) | (u64::from(b'T') << 16);
        let date = pairs(start, *b"0000-00-")?;
        let day = pairs(middle, *b"00T00:00")?;
        let time = pairs(end, *b"00:00:00")?;

        let at = |pairs: u64, at: u32| u32::from((pairs >> (8 * at)) as u8);
        let days = days(at(date, 0) * 100 + at(date, 2), at(date, 5), at(day, 0))?;
        let (hour, minute, second) = (at(time, 0), at(time, 3), at(time, 6));
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let seconds = i64::from(days) * 86_400 + i64::from((hour * 60 + minute) * 60 + second);
        let text = [start, middle, end >> 40];
        Some(Self { seconds, text })
    }
}

impl Value for DateTime {
    #[inline]
    #[expect(unsafe_code, reason = "a check of the bytes costs more than a copy of them")]
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let mut text = [0; 24];
        let (words, _) = text.as_chunks_mut::<8>();
        for (word, part) in words.iter_mut().zip(self.text) {
            *word = part.to_le_bytes();
        }
        // SAFETY: only `read` creates a `DateTime`, and `read` has checked that these bytes are digits and separators.
        out.write_str(unsafe { str::from_utf8_unchecked(&text[..19]) })
    }
}

impl fmt::Debug for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

/// Returns eight characters as a word, with the first character in the lowest byte.
#[inline(always)]
fn word(text: &[u8; 19], at: usize) -> u64 {
    text[at..]
        .first_chunk()
        .map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

/// Parses eight characters. Where `form` has the character `0`, the text must have a digit. Elsewhere, the text must
/// have the same character as `form`. Each byte of the result is a number of two digits: the digit at the position of
/// this byte and the next digit.
#[inline(always)]
fn pairs(word: u64, form: [u8; 8]) -> Option<u64> {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    // In `values`, a digit becomes 0 to 9, and any other expected character becomes 0. Adding `room` sets the
    // high bit of each byte that has another value: above 9 at a digit, above 0 elsewhere.
    let room = u64::from_le_bytes(form.map(|byte| if byte == b'0' { 0x76 } else { 0x7F }));
    let values = word ^ u64::from_le_bytes(form);
    let others = (((values & !HIGH_BITS) + room) | values) & HIGH_BITS;
    // No byte overflows into the next byte, because its value is at most 99.
    (others == 0).then(|| values * 10 + (values >> 8))
}

/// Returns the number of days since 1970-01-01, or `None` if the calendar does not have this date.
#[inline]
fn days(year: u32, month: u32, day: u32) -> Option<i32> {
    const TO_1970: i32 = 719_468;

    if year == 0 || !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    // Years are counted from March on, so that a leap day is the last day of its year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1;
    Some(days.cast_signed() - TO_1970)
}

#[inline]
fn days_in_month(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        // The months with 31 days are odd up to July, and even from August on.
        _ => 30 + ((month + (month >> 3)) & 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Option<DateTime> {
        DateTime::parse(text, ' ')
    }

    #[test]
    fn each_day_of_the_calendar_follows_the_one_before() {
        let first = parse("0001-01-01 00:00:00").unwrap().seconds();
        let mut count = 0;
        for year in 1..=2400 {
            for month in 0..=13 {
                for day in 0..=32 {
                    let midnight = parse(&format!("{year:04}-{month:02}-{day:02} 00:00:00"));
                    if let Some(midnight) = midnight {
                        assert_eq!(midnight.seconds(), first + count * 86_400, "{midnight}");
                        count += 1;
                    }
                }
            }
        }
        assert_eq!(parse("1970-01-01 00:00:00").unwrap().seconds(), 0);
        // Every fourth of the 2,400 years has a leap day. But of the 24 years that end in 00, only 6 have one.
        assert_eq!(count, 2400 * 365 + 600 - 24 + 6);
    }

    #[test]
    fn the_calendar_and_the_clock_have_their_bounds() {
        let is_time = |text| parse(text).is_some();
        for good in [
            "2000-02-29 00:00:00",
            "2024-02-29 23:59:59",
            "0001-01-01 00:00:00",
            "9999-12-31 23:59:59",
        ] {
            assert!(is_time(good), "{good}");
        }
        for bad in [
            "",
            "2019-02-28",
            "2019-02-28 10:00:0",
            "2019-02-28 10:00:000",
            "0000-01-01 00:00:00",
            "2019-00-28 10:00:00",
            "2019-13-28 10:00:00",
            "2019-02-00 10:00:00",
            "2019-02-29 10:00:00",
            "1900-02-29 10:00:00",
            "2019-04-31 10:00:00",
            "2019-02-28 24:00:00",
            "2019-02-28 10:60:00",
            "2019-02-28 10:00:60",
            "2019-02-28T10:00:00",
        ] {
            assert!(!is_time(bad), "{bad}");
        }
        assert!(DateTime::parse("2019-02-28T10:00:00", 'T').is_some());
        assert_eq!(DateTime::parse("2019-02-28é10:00:0", 'é'), None);
    }

    #[test]
    fn no_other_byte_passes_at_any_place() {
        let good = "2011-11-11 11:11:11";
        for at in 0..good.len() {
            for byte in (0..128_u8).filter(|byte| !byte.is_ascii_digit()) {
                let mut bytes = good.as_bytes().to_vec();
                if bytes[at] != byte {
                    bytes[at] = byte;
                    let text = String::from_utf8(bytes).unwrap();
                    assert_eq!(parse(&text), None, "{text:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn each_digit_counts(
            [year, month, day] in [0..10_100_u32, 0..14, 0..33],
            [hour, minute, second] in [0..26_u32, 0..63, 0..63],
        ) {
            let text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
            let midnight = parse(&format!("{year:04}-{month:02}-{day:02} 00:00:00"));
            let midnight = midnight.filter(|_| hour < 24 && minute < 60 && second < 60);
            let clock = i64::from(hour * 3600 + minute * 60 + second);
            let expected = midnight.map(|midnight| midnight.seconds() + clock);
            prop_assert_eq!(parse(&text).map(DateTime::seconds), expected);
            if let Some(time) = parse(&text) {
                prop_assert_eq!(time.to_string(), text.replace(' ', "T"));
            }
        }
    }
}
