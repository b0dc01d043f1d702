//! Tests that the number of lanes does not change the output, the rejects, the counts or the errors.

use std::cell::Cell;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ingest_host::config::Limits;
use ingest_host::format::Format;
use ingest_host::memory::{MemoryBudget, MemoryShare};
use ingest_host::request::InputOptions;
use ingest_host::stop::Stop;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::pipeline::{PipelineRun, plugin};

fn in_batches_of(bytes: usize) -> Limits {
    Limits {
        batch_bytes: bytes,
        batch_records: 7,
        ..Limits::default()
    }
}

fn options(format: Format) -> InputOptions {
    InputOptions {
        format: Some(format),
        ..InputOptions::default()
    }
}

/// The number of random inputs for each test, and the minimum number of these inputs that the plugin must accept.
const CASES: u32 = 300;
const TAKEN_MIN: u32 = 100;

/// The number of inputs that the plugin accepted.
#[derive(Default)]
struct Taken(Cell<u32>);

impl Taken {
    /// Runs a case with different numbers of lanes, and checks that the results are the same. If the plugin accepts the
    /// input, the counts of records must also add up.
    fn check(&self, work: &PipelineRun<'_>) -> Result<(), TestCaseError> {
        if let Ok(outcome) = work.runs_alike() {
            prop_assert!(outcome.records.add_up());
            self.0.set(self.0.get() + 1);
        }
        Ok(())
    }

    #[track_caller]
    fn is_enough(&self) {
        let taken = self.0.get();
        assert!(taken >= TAKEN_MIN, "taken in {taken} of {CASES} cases");
    }
}

/// Checks a thread that waits for memory for a later chunk: if an earlier chunk fails, the thread stops waiting.
#[test]
fn a_failure_does_not_wait_for_memory() {
    let (budget, stop) = (MemoryBudget::new(64 << 20), Stop::default());
    let neighbor = budget.share(&stop);
    let mut held = neighbor.hold();
    held.raise(40 << 20).unwrap();
    // The second record, `x`, fails the request after 300 ms. The last record is so long that its chunk must wait for
    // memory.
    let input = format!("n\n1\nx\n{}{}\n", "1\n".repeat(500), "y".repeat(8 << 20));
    let work = |memory: &MemoryShare| {
        let limits = Limits {
            memory: memory.clone(),
            plugin_call: Duration::from_millis(300),
            timeouts: 0,
            ..in_batches_of(500)
        };
        let plugin = plugin("hostile");
        let work = PipelineRun::of(&plugin, r#"{"mode": "loop", "on": "x"}"#, &input, limits);
        work.run(2).map_err(|error| error.report())
    };
    // In most of these runs, the thread already waits when the earlier chunk fails.
    for _ in 0..20 {
        let share = budget.share(&stop);
        let (said, result) = mpsc::channel();
        let result = thread::scope(|scope| {
            scope.spawn(|| said.send(work(&share)).unwrap());
            let result = result.recv_timeout(Duration::from_secs(60));
            held.lower(0);
            result
        });
        let error = result
            .expect("it ends while its neighbor keeps the memory")
            .unwrap_err();
        assert!(error.contains("timeouts: 1, more than the limit of 0"), "{error}");
        if share.waited() > Duration::ZERO {
            return;
        }
        held.raise(40 << 20).unwrap();
    }
    panic!("it never waited");
}

#[test]
fn alarms_come_out_as_with_one_lane() {
    let mut input = Vec::new();
    let summary = alarm_feed::write_alarms(&mut input, 5, 2_000, 10).unwrap();
    let outcome = PipelineRun {
        input: &input,
        options: options(Format::Csv),
        plugin: &plugin("alarms"),
        config: "{}",
        output_format: None,
        limits: in_batches_of(4_000),
    }
    .runs_alike()
    .unwrap();
    assert_eq!(outcome.records.read, 2_000);
    assert_eq!(outcome.records.rejected, summary.bad());
    assert_eq!(outcome.rejects.lines().count() as u64, 1 + summary.bad());
    // The positions in the file of rejects refer to the whole input.
    let input = String::from_utf8(input).unwrap();
    let lines: Vec<_> = input.lines().collect();
    for reject in outcome.rejects.lines().skip(1) {
        let mut fields = reject.split(',');
        let [record, line, offset] = [(); 3].map(|()| fields.next().unwrap().parse::<usize>().unwrap());
        assert_eq!(record + 1, line);
        assert!(input[offset..].starts_with(lines[line - 1]), "{reject}");
        assert!(reject.ends_with(&format!(",\"{}\"", lines[line - 1])), "{reject}");
    }
}

#[test]
fn what_a_plugin_counts_is_counted_once() {
    let mut input = Vec::new();
    alarm_feed::write_alarms(&mut input, 6, 1_000, 0).unwrap();
    let outcome = PipelineRun {
        input: &input,
        options: options(Format::Csv),
        plugin: &plugin("by_hand"),
        config: r#"{"count":true}"#,
        output_format: None,
        limits: in_batches_of(4_000),
    }
    .runs_alike()
    .unwrap();
    let expected = [("finished", 1), ("opened", 1), ("rows", 1_000)];
    assert_eq!(
        outcome.counters,
        expected.map(|(name, count)| (name.to_owned(), count))
    );
}

/// Checks that all instances together have no more names of counters than one instance may have. If several instances
/// use the same name, their counts are added.
#[test]
fn names_of_counters_are_bounded_whatever_the_lanes() {
    let first = (1..=3_000).map(|number| format!("{number}\n"));
    let rows: String = first.chain((0..1_000).map(|_| "7\n".to_owned())).collect();
    let config = r#"{"on": "none", "count_fields": true}"#;
    let input = format!("n\n{rows}");
    let outcome = PipelineRun::of(&plugin("hostile"), config, &input, in_batches_of(1_000))
        .runs_alike()
        .unwrap();
    let mut names: Vec<u64> = outcome
        .counters
        .iter()
        .map(|(name, _)| name.parse().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, Vec::from_iter(1..=64));
    // One chunk does not count the name `7`, because too many other names come first there.
    let seven = outcome.counters.iter().find(|(name, _)| name == "7").unwrap();
    assert!((900..1_001).contains(&seven.1), "{seven:?}");
}

#[test]
fn json_lines_come_out_as_with_one_lane() {
    let rows: String = (0..1_000)
        .map(|number| format!("{{\"a\":{number},\"b\":true}}\n\nx\n"))
        .collect();
    let outcome = PipelineRun {
        input: rows.as_bytes(),
        options: options(Format::Jsonl),
        plugin: &plugin("clean"),
        config: r#"{"columns": {"a": {"pattern": "^[^7]*$"}}}"#,
        output_format: Some(Format::Csv),
        limits: in_batches_of(300),
    }
    .runs_alike()
    .unwrap();
    let kept = (0..1_000).filter(|number: &u32| !number.to_string().contains('7'));
    let lines: String = kept.map(|number| format!("{number},true\n")).collect();
    assert_eq!(outcome.output, format!("a,b\n{lines}"));
    assert_eq!(
        outcome.by_code,
        [("not-json".to_owned(), 1_000), ("pattern".to_owned(), 271)]
    );
}

#[test]
fn a_plugin_with_state_sees_the_whole_input_in_order() {
    let rows: String = (1..=3_000).map(|number| format!("{number}\n")).collect();
    let input = format!("n\n{rows}");
    let work = |config| {
        PipelineRun {
            input: input.as_bytes(),
            options: options(Format::Csv),
            plugin: &plugin("hostile"),
            config,
            output_format: None,
            limits: in_batches_of(500),
        }
        .runs_alike()
    };
    let outcome = work(r#"{"mode": "reject", "at": 2500}"#).unwrap();
    assert!(
        outcome.rejects.lines().nth(1).unwrap().starts_with("2500,2501,"),
        "{}",
        outcome.rejects
    );
    let error = work(r#"{"mode": "fail", "at": 2500}"#).unwrap_err();
    let records = error.strip_prefix("plugin hostile: records ").unwrap();
    let (first, rest) = records.split_once(" to ").unwrap();
    let (last, sentence) = rest.split_once(": ").unwrap();
    assert!(
        (first.parse::<u32>().unwrap()..=last.parse().unwrap()).contains(&2_500),
        "{error}"
    );
    assert_eq!(sentence, "asked to fail");
}

#[test]
fn an_input_that_breaks_off_within_quotes_fails_at_the_same_place() {
    let input = format!("a,b\n{}\"x\ny\",\"z\n5,6\n", "1,2\n\n".repeat(500));
    let error = PipelineRun {
        input: input.as_bytes(),
        options: options(Format::Csv),
        plugin: &plugin("clean"),
        config: "{}",
        output_format: None,
        limits: in_batches_of(100),
    }
    .runs_alike()
    .unwrap_err();
    assert_eq!(
        error,
        "decode in: record 501 (line 1002): the quote that opens on line 1003 is never closed"
    );
}

/// Checks the output for an input with options: rewritten and edited records become plain CSV, and rejects keep their
/// original bytes.
#[test]
fn options_of_the_input_leave_plain_csv() {
    let row = |number: usize| match number % 4 {
        0 => format!("{number}, \"x \\\"y\\\"\" , z\n"),
        1 => format!("# {number} \"\n,,\n {number}\n"),
        2 => format!("{number},\\,,c,,\n"),
        _ => format!("{number},bad,\"q\"\n"),
    };
    let input = format!(
        "report \"\n\n#\nid, name,id\n{}sum: 9\n\n",
        (0..400).map(row).collect::<String>()
    );
    let options = serde_json::json!({
        "skip_lines": 1, "skip_footer": 1, "comment": "#", "trim": true, "escape": "\\", "short_rows": "fill",
        "long_rows": "trailing-empty", "blank_rows": "drop", "duplicate_columns": "number",
    });
    let plugin = plugin("clean");
    let work = PipelineRun {
        input: input.as_bytes(),
        options: serde_json::from_value(options).unwrap(),
        plugin: &plugin,
        config: r#"{"columns": {"name": {"pattern": "^[^b].*$|^$"}, "id_2": {"null": ["c"]}}}"#,
        output_format: None,
        limits: in_batches_of(300),
    };
    let outcome = work.runs_alike().unwrap();
    let rows = (0..400).filter_map(|number: usize| match number % 4 {
        0 => Some(format!("{number},\"x \"\"y\"\"\",z\n")),
        1 => Some(format!("{number},,\n")),
        2 => Some(format!("{number},\",\",\n")),
        _ => None,
    });
    assert_eq!(
        outcome.output,
        format!("id,name,id_2\n{}", rows.collect::<String>())
    );
    assert_eq!(outcome.by_code, [("pattern".to_owned(), 100)]);
    let first = outcome.rejects.lines().nth(1).unwrap();
    // A reject contains its line and byte offset in the file, and the original record.
    assert!(first.starts_with("4,10,"), "{first}");
    assert!(first.ends_with(",\"3,bad,\"\"q\"\"\""), "{first}");
    let offset: usize = first.split(',').nth(2).unwrap().parse().unwrap();
    assert!(input[offset..].starts_with("3,bad,"));
}

#[test]
fn whatever_the_csv_the_lanes_do_not_show() {
    let taken = Taken::default();
    proptest!(ProptestConfig::with_cases(CASES), |(
        rows in vec("[a-c1\",\n\r;é]{0,12}", 0..60),
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        batch_bytes in 16..200_usize,
        jsonl: bool,
    )| {
        let plugin = plugin("clean");
        let input = format!("a,b{end}{}", rows.iter().map(|row| format!("{row}{end}")).collect::<String>());
        let work = PipelineRun {
            input: input.as_bytes(),
            options: options(Format::Csv),
            plugin: &plugin,
            config: r#"{"columns": {"a": {"trim": true, "null": ["a", "1"], "pattern": "^[^c]*$"}, "k": {"constant": "x"}}}"#,
            output_format: jsonl.then_some(Format::Jsonl),
            limits: in_batches_of(batch_bytes),
        };
        taken.check(&work)?;
    });
    taken.is_enough();
}

#[test]
fn whatever_the_options_the_lanes_do_not_show() {
    let taken = Taken::default();
    proptest!(ProptestConfig::with_cases(CASES), |(
        rows in vec("[a-c1\\\\,\n\r;é# ]{0,12}|,{1,4}|\"[a,\n]{0,4}\" ?", 0..60),
        characters in prop::sample::select(vec![("\"", "none"), ("\"", "\\"), ("none", "none"), ("none", "\\")]),
        marks in any::<[bool; 6]>(),
        skipped in (0..3_u32, 0..5_u32),
        batch_bytes in 16..200_usize,
        jsonl: bool,
    )| {
        let plugin = plugin("clean");
        let input = format!("a,b\n{}", rows.iter().map(|row| format!("{row}\n")).collect::<String>());
        let [comment, trim, fill, cut, drop, number] = marks;
        let document = serde_json::json!({
            "quote": characters.0,
            "escape": characters.1,
            "comment": if comment { "#" } else { "none" },
            "trim": trim,
            "short_rows": if fill { "fill" } else { "reject" },
            "long_rows": if cut { "trailing-empty" } else { "reject" },
            "blank_rows": if drop { "drop" } else { "keep" },
            "duplicate_columns": if number { "number" } else { "fail" },
            "skip_lines": skipped.0,
            "skip_footer": skipped.1,
            "format": "csv",
        });
        let work = PipelineRun {
            input: input.as_bytes(),
            options: serde_json::from_value(document).unwrap(),
            plugin: &plugin,
            config: r#"{"columns": {"k": {"constant": "x"}}}"#,
            output_format: jsonl.then_some(Format::Jsonl),
            limits: in_batches_of(batch_bytes),
        };
        taken.check(&work)?;
    });
    taken.is_enough();
}

#[test]
fn whatever_the_jsonl_the_lanes_do_not_show() {
    let taken = Taken::default();
    proptest!(ProptestConfig::with_cases(CASES), |(
        rows in vec("(\\{\"a\": ?(1|null|\"[a-cé]{0,4}\"|\\[1,\\{\\}\\])(,\"b\":true)?\\}|x|  )\r?", 0..60),
        batch_bytes in 16..200_usize,
        csv: bool,
    )| {
        let (plugin, input) = (plugin("clean"), rows.join("\n"));
        let work = PipelineRun {
            input: input.as_bytes(),
            options: options(Format::Jsonl),
            plugin: &plugin,
            config: r#"{"columns": {"a": {"null": ["a", "1"], "pattern": "^[^c]*$"}}}"#,
            output_format: csv.then_some(Format::Csv),
            limits: in_batches_of(batch_bytes),
        };
        taken.check(&work)?;
    });
    taken.is_enough();
}
