//! Tests that a record becomes one reject if a stateless plugin traps on it or does not return. All other records are
//! processed.

use std::time::Duration;

use ingest_host::config::Limits;
use ingest_host::error::Class;
use ingest_host::format::Format;
use ingest_host::request::InputOptions;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::pipeline::{PipelineRun, RunOutcome, plugin};

/// Returns limits with small batches, so that an input consists of many batches.
fn limits() -> Limits {
    Limits {
        batch_bytes: 400,
        plugin_memory_bytes: 16 << 20,
        ..Limits::default()
    }
}

fn run(config: &str, input: &str, limits: Limits) -> Result<RunOutcome, String> {
    let plugin = plugin("hostile");
    let mut work = PipelineRun::of(&plugin, config, input, limits);
    // If no format is named, a record with another number of fields would make the first lines look like a title above
    // a table.
    work.options.format = Some(Format::Csv);
    work.runs_alike()
}

/// Returns a CSV with one column and the numbers from 1 to `count`. Each number in `bad` is replaced by `x`.
fn numbers(count: usize, bad: &[usize]) -> String {
    let record = |number| match bad.contains(&number) {
        true => "x\n".to_owned(),
        false => format!("{number}\n"),
    };
    format!("n\n{}", (1..=count).map(record).collect::<String>())
}

/// Returns the record number, code and reason of each reject.
fn rejects(outcome: &RunOutcome) -> Vec<(usize, String, String)> {
    let mut reader = csv::Reader::from_reader(outcome.rejects.as_bytes());
    let rows = reader.records().map(Result::unwrap);
    rows.map(|row| (row[0].parse().unwrap(), row[3].to_owned(), row[4].to_owned()))
        .collect()
}

const PANIC: &str = r#"{"mode": "panic", "on": "x", "count": true}"#;

#[test]
fn exactly_the_records_that_it_panics_on_are_rejected() {
    let bad = [1, 500, 501, 502, 7_777, 12_345, 20_000];
    let outcome = run(PANIC, &numbers(20_000, &bad), limits()).unwrap();
    assert_eq!(outcome.output, numbers(20_000, &bad).replace("x\n", ""));
    assert_eq!((outcome.records.kept, outcome.records.rejected), (19_993, 7));
    let rejects = rejects(&outcome);
    assert_eq!(rejects.iter().map(|reject| reject.0).collect::<Vec<_>>(), bad);
    for (_, code, reason) in &rejects {
        assert_eq!(code, "plugin-trap");
        let panic = "process trapped: asked to panic at \"x\" (at plugins/hostile/src/lib.rs:";
        assert!(reason.starts_with(panic), "{reason}");
        assert!(
            reason.contains("backtrace: ") && reason.contains("hostile"),
            "{reason}"
        );
        assert!(
            !reason.contains("core::panicking") && !reason.contains('\n'),
            "{reason}"
        );
    }
    // If a call traps, its counts are dropped, so no record is counted twice.
    assert_eq!(outcome.counters, [("seen".to_owned(), 19_993)]);
}

/// Checks that the reason of a reject includes the text that the plugin's language runtime prints before a trap.
#[test]
fn an_exception_that_was_printed_is_the_reason() {
    let exception = "process trapped: Traceback (most recent call last): File \"plugin.py\", line 3, in process \
                     ValueError: no number: ";
    for mode in ["throw", "throw-on-stdout"] {
        let config = format!(r#"{{"mode": "{mode}", "on": "x"}}"#);
        let outcome = run(&config, &numbers(300, &[7, 200]), limits()).unwrap();
        let rejects = rejects(&outcome);
        assert_eq!(
            rejects.iter().map(|reject| reject.0).collect::<Vec<_>>(),
            [7, 200]
        );
        for (_, code, reason) in &rejects {
            assert_eq!(code, "plugin-trap");
            assert!(reason.starts_with(exception), "{mode}: {reason}");
            assert!(!reason.contains('\n'), "{reason}");
        }
    }
}

/// Checks that the reason of a reject contains only the beginning and the end of a long text, and no control
/// characters.
#[test]
fn a_printed_exception_is_bounded_and_harmless() {
    for (text, start, part) in [
        (
            format!(
                "Error: b\u{e9}ginning\n{}\nthe end",
                "    at f (plugin.js:1)\n".repeat(100_000)
            ),
            "process trapped: Error: b\u{e9}ginning at f (plugin.js:1) at f",
            " \u{2026} ",
        ),
        (
            format!("{}\nthe end", "\u{20ac}".repeat(1 << 20)),
            "process trapped: \u{20ac}\u{20ac}\u{20ac}",
            "\u{20ac} \u{2026} \u{20ac}",
        ),
        (
            "\u{1b}[31mred\r\nthe end".into(),
            "process trapped: [31mred",
            "[31mred the end",
        ),
        ("the end\n\n\n".into(), "process trapped: the end: ", "the end: "),
    ] {
        let config = serde_json::json!({"mode": "throw", "on": "x", "text": text}).to_string();
        let limits = Limits {
            plugin_memory_bytes: 64 << 20,
            ..limits()
        };
        let outcome = run(&config, &numbers(3, &[2]), limits).unwrap();
        let reason = &rejects(&outcome)[0].2;
        assert!(reason.starts_with(start) && reason.contains(part), "{reason}");
        assert!(reason.contains("the end: "), "{reason}");
        assert!(
            reason.len() < 4_000 && !reason.contains(char::is_control),
            "{reason}"
        );
    }
    // If the plugin prints only white space, the reason consists of the trap only.
    let silent = run(
        r#"{"mode": "throw", "on": "x", "text": " \n"}"#,
        &numbers(3, &[2]),
        limits(),
    )
    .unwrap();
    let reason = &rejects(&silent)[0].2;
    assert!(reason.starts_with("process trapped: wasm "), "{reason}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whatever_the_records_each_has_its_own_end(
        records in vec(prop::sample::select(vec!["1", "2", "x", "ragged,1", "\"a\nb\""]), 1..120),
        batch_records in 1..40_usize,
    ) {
        let limits = Limits { batch_records, ..limits() };
        let outcome = run(PANIC, &format!("n\n{}\n", records.join("\n")), limits).unwrap();
        let is_bad = |record: &str| match record {
            "x" => Some("plugin-trap"),
            "ragged,1" => Some("ragged-row"),
            _ => None,
        };
        let kept: String = records.iter().filter(|r| is_bad(r).is_none()).map(|r| format!("{r}\n")).collect();
        prop_assert_eq!(&outcome.output, &format!("n\n{kept}"));
        let bad = records.iter().enumerate().filter_map(|(at, r)| Some((at + 1, is_bad(r)?.to_owned())));
        let found = rejects(&outcome).into_iter().map(|(at, code, _)| (at, code));
        prop_assert_eq!(found.collect::<Vec<_>>(), bad.collect::<Vec<_>>());
        prop_assert!(outcome.records.add_up());
    }
}

#[test]
fn a_record_that_it_does_not_come_back_from_is_a_reject() {
    let limits = Limits {
        plugin_call: Duration::from_millis(300),
        ..limits()
    };
    let outcome = run(r#"{"mode": "loop", "on": "x"}"#, &numbers(1_000, &[321]), limits).unwrap();
    assert_eq!((outcome.records.kept, outcome.records.rejected), (999, 1));
    let rejects = rejects(&outcome);
    assert_eq!((rejects[0].0, rejects[0].1.as_str()), (321, "plugin-timeout"));
    let reason = &rejects[0].2;
    assert!(
        reason.starts_with("process took longer than the limit of 300ms (--limit call-time)"),
        "{reason}"
    );
    // The position in the code where the timeout hits differs from run to run, so the reason must not contain it.
    assert!(!reason.contains("backtrace"), "{reason}");
}

#[test]
fn a_batch_that_is_slow_in_all_its_records_fails() {
    let limits = Limits {
        plugin_call: Duration::from_millis(500),
        ..limits()
    };
    let input = format!("n\n{}", "x\n".repeat(200));
    let error = run(r#"{"mode": "dawdle", "on": "x"}"#, &input, limits).unwrap_err();
    assert!(
        error.ends_with(
            "process took longer than the limit of 500ms (--limit call-time), and it was no single record"
        ),
        "{error}"
    );
}

#[test]
fn what_fails_in_company_only_is_not_searched_to_the_end() {
    let input = format!("n\n{}", "x\n".repeat(4_000));
    let limits = Limits {
        batch_bytes: 1 << 20,
        batch_records: 4_000,
        ..limits()
    };
    let error = run(r#"{"mode": "panic-in-company", "on": "x"}"#, &input, limits).unwrap_err();
    assert!(
        error.contains("asked to panic in company")
            && error.contains("and so on many parts of the batch, and on none of its records alone"),
        "{error}"
    );
}

#[test]
fn an_instance_that_has_become_unfit_is_replaced() {
    let input = format!("n\n{}", "x\n".repeat(100));
    let plugin = plugin("hostile");
    let leaky = |traps, batch_records| PipelineRun {
        input: input.as_bytes(),
        options: InputOptions::default(),
        plugin: &plugin,
        config: r#"{"mode": "leak", "on": "x"}"#,
        output_format: None,
        limits: Limits {
            batch_records,
            traps,
            ..limits()
        },
    };
    // A record must not be rejected because of memory that earlier records have leaked, even in batches of one record.
    for batch_records in [1, 2, 5, 7] {
        let outcome = leaky(100, batch_records).runs_alike().unwrap();
        assert_eq!((outcome.output, outcome.records.kept), (input.clone(), 100));
    }
    let error = leaky(0, 5).run(1).unwrap_err().report();
    assert!(
        error.contains("traps: 1, more than the limit of 0 (--limit traps); the first: record "),
        "{error}"
    );
    assert!(
        error.contains("process needed more memory than the limit of 16777216 bytes (--limit memory)"),
        "{error}"
    );
}

#[test]
fn traps_have_a_budget() {
    let with = |traps, timeouts| Limits {
        traps,
        timeouts,
        plugin_call: Duration::from_millis(200),
        ..limits()
    };
    let input = numbers(2_000, &[10, 20, 1_700]);
    assert_eq!(run(PANIC, &input, with(3, 0)).unwrap().records.rejected, 3);
    let error = run(PANIC, &input, with(2, 100)).unwrap_err();
    let begin = "plugin hostile: traps: 3, more than the limit of 2 (--limit traps); the first: record 10: process trapped: asked to panic";
    assert!(error.starts_with(begin), "{error}");
    assert!(
        error.contains("; record 20: ") && error.contains("; record 1700: "),
        "{error}"
    );

    let looping = r#"{"mode": "loop", "on": "x"}"#;
    let input = numbers(600, &[500]);
    assert_eq!(run(looping, &input, with(0, 1)).unwrap().records.rejected, 1);
    let error = run(looping, &input, with(100, 0)).unwrap_err();
    assert!(
        error.contains(
            "timeouts: 1, more than the limit of 0 (--limit timeouts); the first: record 500: process took"
        ),
        "{error}"
    );
}

#[test]
fn a_plugin_that_traps_on_everything_is_given_up_early() {
    let input = format!("n\n{}", "x\n".repeat(100_000));
    let limits = Limits {
        batch_bytes: 128 << 10,
        ..limits()
    };
    let error = run(PANIC, &input, limits).unwrap_err();
    assert!(
        error.contains("traps: 101, more than the limit of 100 (--limit traps); the first: record 1: "),
        "{error}"
    );
    assert!(error.len() < 2_000, "{error}");
}

#[test]
fn a_plugin_with_state_fails_its_request() {
    let input = numbers(100, &[]);
    let work = PipelineRun {
        input: input.as_bytes(),
        options: InputOptions::default(),
        plugin: &plugin("hostile"),
        config: r#"{"mode": "panic", "at": 50}"#,
        output_format: None,
        limits: limits(),
    };
    let error = work.run(2).unwrap_err();
    assert_eq!(error.class(), Class::Permanent);
    let text = error.report();
    assert!(
        text.contains("process trapped: asked to panic at record 50"),
        "{text}"
    );
    assert!(
        text.contains("(the plugin keeps state between records, so none of these can be set aside)"),
        "{text}"
    );
    assert!(text.contains("backtrace: "), "{text}");
}
