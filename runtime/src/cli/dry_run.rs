//! Prints the result of `ingest --dry-run`: a receipt goes in, and its counts and examples of its rejects come out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{print, report};
use crate::receipt::{Example, InputPart, QualityPart, Receipt, RecordCounts, RejectsPart, StepPart};

/// Prints the result of a dry run, as JSON or for people.
pub(super) fn show(receipt: &Receipt, as_json: bool) {
    match as_json {
        true => print::json(&DryRun::of(receipt)),
        false => show_for_people(receipt),
    }
}

/// The result of a dry run: the parts of a receipt that hold without an output.
#[derive(Serialize)]
struct DryRun<'a> {
    inputs: &'a [InputPart],
    steps: &'a [StepPart],
    records: &'a RecordCounts,
    rejects: DryRunRejects<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    counters: &'a BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<&'a QualityPart>,
}

#[derive(Serialize)]
struct DryRunRejects<'a> {
    records: u64,
    by_code: &'a BTreeMap<String, u64>,
    examples: &'a BTreeMap<String, Vec<Example>>,
}

impl<'a> DryRun<'a> {
    fn of(receipt: &'a Receipt) -> Self {
        let RejectsPart {
            records,
            by_code,
            examples,
            ..
        } = &receipt.rejects;
        Self {
            inputs: &receipt.inputs,
            steps: &receipt.steps,
            records: &receipt.records,
            rejects: DryRunRejects {
                records: *records,
                by_code,
                examples,
            },
            counters: &receipt.counters,
            quality: receipt.quality.as_ref(),
        }
    }
}

fn show_for_people(receipt: &Receipt) {
    print::records(&receipt.records);
    for (code, count) in &receipt.rejects.by_code {
        print::line(format!("  {count:>8}  {code}"));
        for example in receipt.rejects.examples.get(code).into_iter().flatten() {
            let (record, line) = (example.position.record, example.position.line);
            print::line(format!(
                "            record {record} (line {line}): {}",
                example.reason
            ));
        }
    }
    print::made_by(&receipt.steps, receipt.binding);
    if let Some(quality) = &receipt.quality {
        print::line("");
        report::columns(quality, receipt.records.written);
    }
    print::line("nothing was written (--dry-run)");
}
