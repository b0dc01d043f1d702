//! Tests the rows that a plugin makes of a record: a copy has all values of the record, also those that the plugin does
//! not read.

use ingest_host::config::Limits;
use ingest_host::error::Code;
use ingest_host::format::Format;
use ingest_host::request::InputOptions;

use crate::support::pipeline::{PipelineRun, plugin};
use crate::support::wat::{HandWrittenPlugin, words};

const COPIES: &str = r#"{"mode": "copies", "on": "5"}"#;

fn jsonl() -> InputOptions {
    InputOptions {
        format: Some(Format::Jsonl),
        ..InputOptions::default()
    }
}

#[test]
fn copies_and_new_rows_follow_their_record_in_order() {
    let plugin = plugin("hostile");
    let input = "n,m\n5,\"a,b\"\n6,c\n";
    let outcome = PipelineRun::of(&plugin, COPIES, input, Limits::default()).runs_alike();
    let outcome = outcome.unwrap();
    assert_eq!(
        outcome.output,
        "n,m\n5,\"a,b\"\n5,\"a,b\"\nnew,\nchanged,\"a,b\"\n6,c\n"
    );
    assert_eq!((outcome.records.kept, outcome.records.written), (2, 5));
}

#[test]
fn a_copy_keeps_the_types_and_the_further_members_of_jsonl() {
    let plugin = plugin("hostile");
    let first = r#"{"n":"x","m":[1.50]}"#;
    let second = r#"{"n":5,"m":{"a":null},"later":1.50}"#;
    let input = format!("{first}\n{second}\n");
    let limits = Limits {
        // The second record is not in the first batch, so its further member belongs to no column.
        batch_records: 1,
        ..Limits::default()
    };
    let run = PipelineRun {
        options: jsonl(),
        ..PipelineRun::of(&plugin, COPIES, &input, limits)
    };
    let output = run.runs_alike().unwrap().output;
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[..3], [first, second, second]);
    assert_eq!(lines[4], second.replace("\"n\":5", "\"n\":\"changed\""));
    assert_eq!(lines.len(), 5);
    // CSV cannot have the further member, so the record is rejected with its copies.
    let run = PipelineRun {
        output_format: Some(Format::Csv),
        ..run
    };
    let outcome = run.runs_alike().unwrap();
    assert_eq!(outcome.output.lines().count(), 2, "{}", outcome.output);
    assert_eq!(outcome.by_code, [("unexpected-member".to_owned(), 1)]);
}

/// Checks that a record is rejected as a whole if one of its copies cannot be written, although others can.
#[test]
fn a_copy_that_cannot_be_written_rejects_its_record() {
    // The value of `n` is no text in Unicode. The first copy replaces it, the second one does not.
    let mut answer = HandWrittenPlugin::answering(&[18], &[2, 1, 0, 1, 0], b"x");
    // The only output column is `n`, which is the second column of the input. The plugin reads the first one.
    answer.data.push((320, words(&[352, 1, 0, 1, 1])));
    let plugin = crate::support::pipeline::engine()
        .load(&answer.component())
        .unwrap();
    let run = PipelineRun {
        options: jsonl(),
        output_format: Some(Format::Csv),
        ..PipelineRun::of(&plugin, "{}", "{\"a\":1,\"n\":\"\\ud800\"}\n", Limits::default())
    };
    let outcome = run.runs_alike();
    let outcome = outcome.unwrap();
    assert_eq!(outcome.output, "n\n");
    assert_eq!((outcome.records.rejected, outcome.records.replaced), (1, 0));
}

#[test]
fn copies_count_towards_the_limit_of_rows() {
    let plugin = plugin("hostile");
    let limits = Limits {
        record_rows_max: 2,
        ..Limits::default()
    };
    let error = PipelineRun::of(&plugin, COPIES, "n\n5\n", limits)
        .run(1)
        .unwrap_err();
    assert_eq!(error.code(), Code::PluginLimit);
    assert!(error.report().contains("made 3 rows of one record"), "{error}");
}
