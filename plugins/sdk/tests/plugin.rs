//! Tests the promises that are not about records: configs, refusals, logs and counters. The host and the authors of
//! plugins rely on them.

use ingest_plugin::testing::{self, Level};
use ingest_plugin::{
    Column, ColumnType, NoConfig, OutputColumn, Plugin, Record, Refusal, Reject, Rows, Schema, Verdict,
    count, log,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    max: u32,
}

/// A plugin that keeps numbers up to a limit.
struct Limited {
    value: Column,
    max: u32,
}

impl Plugin for Limited {
    type Config = Limits;
    const STATEFUL: bool = false;

    fn check(config: &Limits) -> Result<(), Refusal> {
        if config.max == 0 {
            return Err(Refusal::new("config: max is 0, which nothing passes"));
        }
        Ok(())
    }

    fn open(schema: &mut Schema, config: Limits) -> Result<Self, Refusal> {
        Ok(Self {
            value: schema.read("value")?,
            max: config.max,
        })
    }

    fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject> {
        match record.parse_optional::<u32>(self.value)? {
            Some(666) => Err(Refusal::new("the value 666 fails the request").into()),
            Some(value) if value > self.max => {
                log::info(format_args!("{value} is too much"));
                count("too-much", 1);
                Ok(Verdict::Drop)
            }
            _ => Ok(Verdict::Keep),
        }
    }

    fn finish(&mut self, _: &mut Rows) -> Result<(), Refusal> {
        count("too-much", 0);
        log::warn("done");
        Ok(())
    }
}

struct Plain;

impl Plugin for Plain {
    type Config = NoConfig;
    const STATEFUL: bool = false;

    fn open(_: &mut Schema, _: NoConfig) -> Result<Self, Refusal> {
        Ok(Self)
    }

    fn record(&mut self, _: &mut Record<'_>) -> Result<Verdict, Reject> {
        Ok(Verdict::Keep)
    }
}

fn check<P: Plugin>(config: &str) -> String {
    let refusal = testing::check::<P>(config).expect_err("the config is refused");
    refusal.to_string()
}

#[test]
fn a_bad_config_is_refused_with_its_position() {
    assert_eq!(
        check::<Limited>(r#"{"maxx": 3}"#),
        "config: unknown field `maxx`, expected `max` at line 1 column 7"
    );
    assert_eq!(
        check::<Plain>(r#"{"max": 3}"#),
        "config: unknown field `max`: this plugin takes no config at line 1 column 6"
    );
    testing::check::<Plain>("{}").unwrap();
}

#[test]
fn open_is_called_with_a_checked_config_only() {
    let sentence = "config: max is 0, which nothing passes";
    assert_eq!(check::<Limited>(r#"{"max": 0}"#), sentence);
    let refusal = testing::run::<Limited>(r#"{"max": 0}"#, "other\n").unwrap_err();
    assert_eq!(refusal.to_string(), sentence);
}

#[test]
fn what_the_plugin_says_is_in_the_report() {
    let report = testing::run::<Limited>(r#"{"max": 3}"#, "value\n1\n\"\"\n5\n4\n").unwrap();
    assert_eq!((report.read, report.kept, report.dropped), (4, 2, 2));
    assert_eq!(report.counters["too-much"], 2);
    let logs: Vec<_> = report.logs.iter().map(|(l, m)| (*l, m.as_str())).collect();
    assert_eq!(
        logs,
        [
            (Level::Info, "5 is too much"),
            (Level::Info, "4 is too much"),
            (Level::Warn, "done"),
        ]
    );
}

#[test]
fn a_field_that_does_not_parse_is_a_reject() {
    let report = testing::run::<Limited>(r#"{"max": 3}"#, "value\n1\n-1\n").unwrap();
    let reject = &report.rejects[0];
    assert_eq!((reject.record, reject.code.as_str()), (2, "bad-value"));
    assert_eq!(reject.reason, r#"value: "-1" is negative"#);
}

#[test]
fn a_refusal_from_a_record_fails_the_request() {
    let refusal = testing::run::<Limited>(r#"{"max": 3}"#, "value\n666\n").unwrap_err();
    assert_eq!(refusal.to_string(), "the value 666 fails the request");
}

/// The ways in which a plugin writes floats.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum How {
    Set,
    Formatted,
    Emit,
    /// The plugin sets a cell, and drops the record.
    Drop,
    /// The plugin sets a cell, and rejects the record with its own code.
    Reject,
    Sum,
    /// The plugin parses the text without this crate.
    Raw,
    /// The plugin parses the text as `f64` and also as `f32`.
    Narrow,
}

#[derive(Deserialize)]
struct Floats {
    how: How,
}

/// A plugin that adds a column with ten times the value.
struct Tenfold {
    how: How,
    value: Column,
    tenfold: OutputColumn,
    sum: f64,
}

impl Plugin for Tenfold {
    type Config = Floats;
    const STATEFUL: bool = true;

    fn open(schema: &mut Schema, config: Floats) -> Result<Self, Refusal> {
        Ok(Self {
            how: config.how,
            value: schema.read("value")?,
            tenfold: schema.add("tenfold", ColumnType::Number),
            sum: 0.0,
        })
    }

    fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject> {
        if matches!(self.how, How::Raw) {
            return match record.get(self.value).parse::<f64>() {
                Ok(_) => Ok(Verdict::Keep),
                Err(_) => Ok(Verdict::Drop),
            };
        }
        let tenfold = 10.0 * record.parse::<f64>(self.value)?;
        match self.how {
            How::Narrow => drop(record.parse_optional::<f32>(self.value)?),
            How::Formatted => record.set(self.tenfold, format_args!("{tenfold:.1}")),
            How::Emit => drop(record.emit().set(self.tenfold, Some(tenfold))),
            How::Sum => self.sum += tenfold,
            _ => record.set(self.tenfold, tenfold),
        }
        match self.how {
            How::Set | How::Formatted | How::Narrow => Ok(Verdict::Keep),
            How::Reject => Err(record.reject(self.value, "too-much", "is too much")),
            _ => Ok(Verdict::Drop),
        }
    }

    fn finish(&mut self, rows: &mut Rows) -> Result<(), Refusal> {
        if matches!(self.how, How::Sum) {
            rows.emit().set(self.tenfold, self.sum);
        }
        Ok(())
    }
}

fn tenfold(how: &str, values: &[&str]) -> Result<testing::Report, Refusal> {
    let csv = format!("value\n{}\n", values.join("\n"));
    testing::run::<Tenfold>(format!("{{\"how\": {how:?}}}"), &csv)
}

#[test]
fn a_float_that_is_not_finite_is_not_parsed() {
    let infinite = [
        "NaN",
        "nan",
        "-NaN",
        "inf",
        "-inf",
        "+Infinity",
        "INFINITY",
        "1e999",
        "-1e999",
        "1e400",
    ];
    for value in infinite {
        let report = tenfold("set", &["1", value, "2"]).unwrap();
        assert_eq!(report.csv(), "value,tenfold\n1,10\n2,20\n");
        let reject = &report.rejects[0];
        assert_eq!((reject.record, reject.code.as_str()), (2, "bad-value"));
        let reason = format!("value: {value:?} is not a finite number");
        assert_eq!(reject.reason, reason);
        // A plugin that parses the text itself can keep such values.
        assert_eq!(tenfold("raw", &[value]).unwrap().kept, 1);
    }
    // 1e39 is within the range of `f64`, but not of `f32`.
    let report = tenfold("narrow", &["1e39", "-0", "1e-999"]).unwrap();
    assert_eq!(report.column("value"), ["-0", "1e-999"]);
    assert_eq!(report.rejects[0].code, "bad-value");
    assert_eq!(tenfold("set", &["1e39"]).unwrap().edited, 1);
}

#[test]
fn a_text_that_parses_as_one_is_no_float() {
    struct Texts(Column);
    impl Plugin for Texts {
        type Config = NoConfig;
        const STATEFUL: bool = false;

        fn open(schema: &mut Schema, _: NoConfig) -> Result<Self, Refusal> {
            Ok(Self(schema.read("name")?))
        }

        fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject> {
            let name: String = record.parse(self.0)?;
            record.set(self.0, name);
            Ok(Verdict::Keep)
        }
    }
    let report = testing::run::<Texts>("{}", "name\nNan\nInf\n").unwrap();
    assert_eq!(report.column("name"), ["Nan", "Inf"]);
}

/// A config with columns and values. The plugin sets these cells of the record, or of a row that replaces the record.
/// Null stands for NaN.
#[derive(Deserialize)]
struct Steps {
    emit: bool,
    steps: Vec<(String, Option<f64>)>,
}

struct Setter {
    config: Steps,
    columns: [(&'static str, OutputColumn); 3],
}

impl Plugin for Setter {
    type Config = Steps;
    const STATEFUL: bool = false;

    fn open(schema: &mut Schema, config: Steps) -> Result<Self, Refusal> {
        let columns = [
            ("a", schema.read("a")?.into()),
            ("b", schema.read("b")?.into()),
            ("c", schema.add("c", ColumnType::Number)),
        ];
        Ok(Self { config, columns })
    }

    fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject> {
        let steps = self.config.steps.iter().map(|(name, value)| {
            let column = self.columns.iter().find(|column| column.0 == name);
            (column.expect("one of the columns").1, value.unwrap_or(f64::NAN))
        });
        if self.config.emit {
            let mut row = record.emit();
            for (column, value) in steps {
                row.set(column, value);
            }
            return Ok(Verdict::Drop);
        }
        steps.for_each(|(column, value)| record.set(column, value));
        Ok(Verdict::Keep)
    }
}

#[test]
fn of_several_values_the_last_one_holds_whether_or_not_it_can_be_written() {
    let run = |emit: bool, steps: &str| {
        let config = format!("{{\"emit\": {emit}, \"steps\": {steps}}}");
        testing::run::<Setter>(config, "a,b\n1,2\n3,4\n").unwrap()
    };
    // Each pair has the steps, and the cells after these steps. `?` stands for the value of the record. In a new row,
    // that cell is empty.
    let written = [
        (r#"[["a", null], ["a", 7]]"#, "7,?,"),
        (r#"[["c", null], ["c", 7]]"#, "?,?,7"),
        (r#"[["b", null], ["b", null], ["b", 7]]"#, "?,7,"),
        (r#"[["b", 5], ["b", null], ["b", 7]]"#, "?,7,"),
        (r#"[["b", null], ["a", 8], ["b", 7]]"#, "8,7,"),
        (r#"[["b", null], ["c", 8], ["b", 7]]"#, "?,7,8"),
        (r#"[["a", 9], ["b", null], ["c", 8], ["b", 7]]"#, "9,7,8"),
        (r#"[["c", null], ["a", null], ["a", 7], ["c", 8]]"#, "7,?,8"),
    ];
    for (steps, cells) in written {
        let rows = |inputs: [[&str; 2]; 2]| {
            let rows = inputs.map(|[a, b]| {
                let fill = |at: usize, cell: &str| if cell == "?" { [a, b, ""][at] } else { cell }.to_owned();
                let row: Vec<_> = cells
                    .split(',')
                    .enumerate()
                    .map(|(at, cell)| fill(at, cell))
                    .collect();
                row.join(",") + "\n"
            });
            format!("a,b,c\n{}", rows.concat())
        };
        let report = run(false, steps);
        assert_eq!(
            (report.edited, report.csv()),
            (2, rows([["1", "2"], ["3", "4"]])),
            "{steps}"
        );
        let report = run(true, steps);
        assert_eq!(
            (report.rejected, report.csv()),
            (0, rows([["", ""]; 2])),
            "{steps}"
        );
    }
    // The last step sets the value of the input again, so the first record is unchanged.
    let report = run(false, r#"[["a", null], ["a", 1]]"#);
    assert_eq!(
        (report.kept, report.edited, report.csv()),
        (1, 1, "a,b,c\n1,2,\n1,4,\n".to_owned())
    );

    let rejected = [
        (r#"[["a", 7], ["a", null]]"#, "a"),
        (r#"[["a", null], ["a", 7], ["a", null]]"#, "a"),
        (r#"[["a", null], ["b", null], ["a", 7]]"#, "b"),
        (r#"[["b", null], ["a", 7], ["c", 8]]"#, "b"),
        (r#"[["c", null], ["b", null], ["b", 7]]"#, "c"),
    ];
    for (steps, column) in rejected {
        for emit in [false, true] {
            let report = run(emit, steps);
            assert_eq!(report.rejected, 2, "{steps}");
            let reason = format!("{column}: the plugin's value is not a finite number");
            assert!(
                report.rejects.iter().all(|reject| reject.reason == reason),
                "{steps}"
            );
        }
    }
}

/// Each cell is separate: a value for the same column of another row does not replace the cell's value.
#[test]
fn a_row_that_cannot_be_written_stays_so_whatever_follows() {
    struct TwoRows(OutputColumn);
    impl Plugin for TwoRows {
        type Config = NoConfig;
        const STATEFUL: bool = false;

        fn open(schema: &mut Schema, _: NoConfig) -> Result<Self, Refusal> {
            Ok(Self(schema.add("n", ColumnType::Number)))
        }

        fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject> {
            record.emit().set(self.0, f64::NAN);
            record.emit().set(self.0, 1.0);
            Ok(Verdict::Keep)
        }
    }
    let report = testing::run::<TwoRows>("{}", "a\n1\n").unwrap();
    assert_eq!(report.rejected, 1);
}

#[test]
fn a_float_that_is_not_finite_is_not_written() {
    let reason = "tenfold: the plugin's value is not a finite number";
    // Each value is finite, but ten times the second value is not.
    let run = |how| tenfold(how, &["1", "1e308", "2"]);
    for how in ["set", "formatted", "emit"] {
        let report = run(how).unwrap();
        assert_eq!((report.read, report.rejected), (3, 1), "{how}");
        let reject = &report.rejects[0];
        assert_eq!((reject.record, reject.code.as_str()), (2, "bad-value"), "{how}");
        assert_eq!(reject.reason, reason, "{how}");
        assert_eq!(report.column("tenfold").len(), 2, "{how}");
        assert!(!report.csv().contains("inf"), "{how}");
    }
    // A dropped record writes nothing, so it is not rejected. If the plugin itself rejects the record, that reject
    // counts.
    assert_eq!(run("drop").unwrap().dropped, 3);
    let rejects = run("reject").unwrap().rejects;
    assert_eq!(rejects.len(), 3);
    assert!(rejects.iter().all(|reject| reject.code == "too-much"));
    assert_eq!(run("sum").unwrap_err().to_string(), reason);
}

#[test]
fn no_config_is_an_empty_object() {
    for config in ["[]", "null", r#"{"a": 1}"#, "{} {}"] {
        testing::check::<Plain>(config).expect_err(config);
    }
    testing::check::<Plain>("{}").unwrap();
}
