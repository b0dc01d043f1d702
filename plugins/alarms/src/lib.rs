//! Alarms of base stations: records of
//! `id,station_id,alarm_id,parameter_id,start_time,end_time,value,threshold` come in; out goes the same
//! with times in ISO 8601, an empty cell where a value is not set, and `duration_s`.
//!
//! Times are the station's local ones. The input names no zone and so neither does the output. An alarm
//! that has not ended has no end and no duration.

use std::fmt;

use ingest_plugin::{
    Column, ColumnType, NoConfig, OutputColumn, Plugin, Record, Refusal, Reject, Schema, Value, Verdict,
    export,
};

/// What stations send for a value or a threshold that is not set.
const NOT_SET: &str = "999999";

/// The plugin.
pub struct Alarms {
    ids: [Column; 4],
    start: Column,
    end: Column,
    numbers: [Column; 2],
    duration_s: OutputColumn,
}

impl Plugin for Alarms {
    type Config = NoConfig;

    fn open(schema: &mut Schema, _: NoConfig) -> Result<Self, Refusal> {
        let mut read = |name, column_type| {
            let column = schema.read(name)?;
            schema.convert(column, column_type);
            Ok(column)
        };
        let ids = [
            read("id", ColumnType::Integer)?,
            read("station_id", ColumnType::Integer)?,
            read("alarm_id", ColumnType::Integer)?,
            read("parameter_id", ColumnType::Integer)?,
        ];
        let start = read("start_time", ColumnType::Timestamp)?;
        let end = read("end_time", ColumnType::Timestamp)?;
        let numbers = [
            read("value", ColumnType::Number)?,
            read("threshold", ColumnType::Number)?,
        ];
        let duration_s = schema.add("duration_s", ColumnType::Integer);
        Ok(Self {
            ids,
            start,
            end,
            numbers,
            duration_s,
        })
    }

    fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject> {
        for id in self.ids {
            if !is_id(record.get(id)) {
                return Err(record.reject(id, "bad-id", "is not a whole number above zero"));
            }
        }

        let start = Time::read(record, self.start)?;
        let mut end = None;
        let mut duration_s = None;
        if !record.get(self.end).is_empty() {
            let time = Time::read(record, self.end)?;
            duration_s = time.seconds.checked_sub(start.seconds);
            if duration_s.is_none() {
                let fault = format_args!("is before the start, {:?}", start.text);
                return Err(record.reject(self.end, "ends-before-start", fault));
            }
            end = Some(time);
        }

        // In the order of the output, which costs the least.
        record.set(self.start, start);
        record.set(self.end, end);
        for number in self.numbers {
            match record.get(number) {
                NOT_SET => record.set(number, ""),
                text if text.is_empty() || is_number(text) => {}
                _ => return Err(record.reject(number, "bad-number", "is not a number")),
            }
        }
        record.set(self.duration_s, duration_s);
        Ok(Verdict::Keep)
    }
}

export!(Alarms);

/// A whole number above zero, of at most 18 digits, without a sign or leading zeros.
fn is_id(text: &str) -> bool {
    matches!(text.as_bytes(), [b'1'..=b'9', rest @ ..] if rest.len() < 18 && is_digits(rest))
}

/// A decimal number: `199`, `-31.5`.
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_part = |part: &str| !part.is_empty() && is_digits(part.as_bytes());
    is_part(whole) && is_part(fraction)
}

fn is_digits(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_digit)
}

/// A time as stations write it: `YYYY-MM-DD HH:MM:SS`.
#[derive(Clone, Copy)]
struct Time<'a> {
    text: &'a str,
    /// Since the first of March of the year 0, by the station's clock.
    seconds: u64,
}

impl<'a> Time<'a> {
    fn read(record: &Record<'a>, column: Column) -> Result<Self, Reject> {
        let text = record.get(column);
        match seconds(text) {
            Some(seconds) => Ok(Self { text, seconds }),
            None => Err(record.reject(column, "bad-time", "is not a time YYYY-MM-DD HH:MM:SS")),
        }
    }
}

/// Its cell in the output: `YYYY-MM-DDTHH:MM:SS`.
impl Value for Time<'_> {
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        out.write_str(&self.text[..10])?;
        out.write_char('T')?;
        out.write_str(&self.text[11..])
    }
}

fn seconds(text: &str) -> Option<u64> {
    let text: &[u8; 19] = text.as_bytes().try_into().ok()?;
    let separators = [text[4], text[7], text[10], text[13], text[16]];
    if separators != *b"-- ::" {
        return None;
    }
    let pair = |at: usize| {
        let [tens, ones] = [text[at], text[at + 1]].map(|digit| digit.wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then(|| u32::from(tens) * 10 + u32::from(ones))
    };
    let year = pair(0)? * 100 + pair(2)?;
    let (month, day) = (pair(5)?, pair(8)?);
    let (hour, minute, second) = (pair(11)?, pair(14)?, pair(17)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days(year, month, day)?;
    Some(u64::from(days) * 86_400 + u64::from((hour * 60 + minute) * 60 + second))
}

/// Days since the first of March of the year 0, so that a leap day is the last of its year.
fn days(year: u32, month: u32, day: u32) -> Option<u32> {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_in_month = match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if year == 0 || day == 0 || day > days_in_month {
        return None;
    }
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    Some(year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ingest_plugin::testing;

    const HEADER: &str = "id,station_id,alarm_id,parameter_id,start_time,end_time,value,threshold\n";

    fn run(records: &str) -> testing::Report {
        testing::run::<Alarms>("{}", &format!("{HEADER}{records}")).unwrap()
    }

    #[test]
    fn an_alarm_gets_iso_times_and_a_duration() {
        let report = run(
            "71,2001,309,121,2019-02-28 23:59:50,2019-03-01 00:00:05,199,200\n\
             72,2001,310,122,2019-02-28 10:00:00,2019-02-28 10:00:00,-31.5,30\n",
        );
        assert_eq!(
            report.csv(),
            "id,station_id,alarm_id,parameter_id,start_time,end_time,value,threshold,duration_s\n\
             71,2001,309,121,2019-02-28T23:59:50,2019-03-01T00:00:05,199,200,15\n\
             72,2001,310,122,2019-02-28T10:00:00,2019-02-28T10:00:00,-31.5,30,0\n"
        );
        assert_eq!(report.edited, 2);
    }

    #[test]
    fn what_is_not_set_is_empty() {
        let report = run("71,2001,323,1,2019-02-28 10:00:00,,999999,999999\n");
        assert_eq!(report.column("end_time"), [""]);
        assert_eq!(report.column("value"), [""]);
        assert_eq!(report.column("threshold"), [""]);
        assert_eq!(report.column("duration_s"), [""]);
    }

    #[test]
    fn each_fault_has_its_code_and_reason() {
        let good = "71,2001,309,121,2019-02-28 10:00:00,2019-02-28 10:00:05,1.5,2";
        let cases = [
            (
                "71,",
                "0,",
                "bad-id",
                r#"id: "0" is not a whole number above zero"#,
            ),
            (
                "2001",
                "-3",
                "bad-id",
                r#"station_id: "-3" is not a whole number above zero"#,
            ),
            (
                "309",
                "",
                "bad-id",
                r#"alarm_id: "" is not a whole number above zero"#,
            ),
            (
                "02-28 10:00:00",
                "02-29 10:00:00",
                "bad-time",
                r#"start_time: "2019-02-29 10:00:00" is not a time YYYY-MM-DD HH:MM:SS"#,
            ),
            (
                "28 10:00:05",
                "28T10:00:05",
                "bad-time",
                r#"end_time: "2019-02-28T10:00:05" is not a time YYYY-MM-DD HH:MM:SS"#,
            ),
            (
                "10:00:05",
                "09:59:59",
                "ends-before-start",
                r#"end_time: "2019-02-28 09:59:59" is before the start, "2019-02-28 10:00:00""#,
            ),
            (
                ",1.5",
                ",1.5.0",
                "bad-number",
                r#"value: "1.5.0" is not a number"#,
            ),
            (",2", ",NaN", "bad-number", r#"threshold: "NaN" is not a number"#),
        ];
        for (from, to, code, reason) in cases {
            let at = good.rfind(from).unwrap();
            let bad = format!("{}{to}{}\n", &good[..at], &good[at + from.len()..]);
            let report = run(&bad);
            assert_eq!(report.rejected, 1, "{bad}");
            assert_eq!(report.rejects[0].code, code, "{bad}");
            assert_eq!(report.rejects[0].reason, reason, "{bad}");
        }
    }

    #[test]
    fn another_header_is_refused() {
        let refusal = testing::run::<Alarms>("{}", "id,when\n1,2\n").unwrap_err();
        assert_eq!(
            refusal.to_string(),
            r#"the input has no column "station_id", it has ["id", "when"]"#
        );
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        let mut count = days(1896, 3, 1).unwrap();
        for year in 1896..2105 {
            for month in [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1, 2] {
                let year = if month < 3 { year + 1 } else { year };
                for day in 1..=31 {
                    if let Some(found) = days(year, month, day) {
                        assert_eq!(found, count, "{year}-{month}-{day}");
                        count += 1;
                    }
                }
            }
        }
        // 209 years from March to March, of which 1900 and 2100 lack the leap day.
        assert_eq!(count - days(1896, 3, 1).unwrap(), 209 * 365 + 50);
    }
}
