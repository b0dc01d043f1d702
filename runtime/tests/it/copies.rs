//! Tests the rows that a plugin makes of a record: a copy has all values of the record, also those that the plugin does
//! not read.

use ingest_host::config::Limits;
use ingest_host::error::Code;

use crate::support::pipeline::{PipelineRun, plugin};

const COPIES: &str = r#"{"mode": "copies", "on": "5"}"#;

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
