//! What the host and an author may rely on around the records: configs, refusals, logs and counters.

use ingest_plugin::testing::{self, Level};
use ingest_plugin::{Column, NoConfig, Plugin, Record, Refusal, Reject, Rows, Schema, Verdict, count, log};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    max: u32,
}

/// Keeps numbers up to a limit.
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
        "config: unknown field `max`, there are no fields at line 1 column 6"
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
    assert_eq!(
        reject.reason,
        r#"value: "-1" is not readable: invalid digit found in string"#
    );
}

#[test]
fn a_refusal_from_a_record_fails_the_request() {
    let refusal = testing::run::<Limited>(r#"{"max": 3}"#, "value\n666\n").unwrap_err();
    assert_eq!(refusal.to_string(), "the value 666 fails the request");
}

#[test]
fn no_config_is_an_empty_object() {
    for config in ["[]", "null", r#"{"a": 1}"#, "{} {}"] {
        testing::check::<Plain>(config).expect_err(config);
    }
    testing::check::<Plain>("{}").unwrap();
}
