//! Alarms of base stations: records with the columns
//! `id,station_id,alarm_id,parameter_id,start_time,end_time,value,threshold` come in. The same records go out with
//! times in ISO 8601, empty cells for values that are not set, and an added column `duration_s`.
//!
//! Times are local times of the station. They have no time zone in the input or in the output. If an alarm has not
//! ended, its `end_time` and `duration_s` are empty.

use ingest_plugin::{
    Column, ColumnType, DateTime, NoConfig, OutputColumn, Plugin, Record, Refusal, Reject, Schema, Verdict,
    export, is_decimal, is_digits,
};

/// The text that stations send for a value or a threshold that is not set.
const NOT_SET: &str = "999999";

/// The plugin `alarms`, opened for one input.
pub struct Alarms {
    ids: [Column; 4],
    start: Column,
    end: Column,
    numbers: [Column; 2],
    duration_s: OutputColumn,
}

impl Plugin for Alarms {
    type Config = NoConfig;
    const STATEFUL: bool = false;

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

    // If this function is inlined into the loop over a batch, the parts of a record stay in registers.
    #[inline(always)]
    fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject> {
        for &id in &self.ids {
            if !is_id(record.get(id)) {
                return Err(record.reject(id, "bad-id", "is not a whole number above zero"));
            }
        }

        let start = time(record, self.start)?;
        let mut end = None;
        let mut duration_s = None;
        if !record.get(self.end).is_empty() {
            let time = time(record, self.end)?;
            if time < start {
                let fault = format_args!("is before the start, {:?}", record.get(self.start));
                return Err(record.reject(self.end, "ends-before-start", fault));
            }
            end = Some(time);
            duration_s = Some(time.seconds() - start.seconds());
        }

        // It is fastest to set cells in the order of the output's columns.
        record.set(self.start, start);
        record.set(self.end, end);
        for &number in &self.numbers {
            let text = record.get(number);
            if !text.is_empty() && !is_decimal(text) {
                return Err(record.reject(number, "bad-number", "is not a number"));
            }
            if text == NOT_SET {
                record.set(number, "");
            }
        }
        record.set(self.duration_s, duration_s);
        Ok(Verdict::Keep)
    }
}

export!(Alarms);

/// Returns true if the text is a whole number above zero with at most 18 digits, without a sign or leading zeros.
fn is_id(text: &str) -> bool {
    is_digits(text) && text.len() <= 18 && !text.starts_with('0')
}

fn time(record: &Record<'_>, column: Column) -> Result<DateTime, Reject> {
    DateTime::parse(record.get(column), ' ')
        .ok_or_else(|| record.reject(column, "bad-time", "is not a time YYYY-MM-DD HH:MM:SS"))
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
            (
                ",2",
                ",-inf",
                "bad-number",
                r#"threshold: "-inf" is not a number"#,
            ),
            (
                ",1.5",
                ",1e999",
                "bad-number",
                r#"value: "1e999" is not a number"#,
            ),
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
}
