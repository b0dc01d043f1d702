//! Tests that the changes of a batch describe all actions of the plugin. Random edits, rows and verdicts go through the
//! driver and its encoding, and also through a simple model. Both must give the same output.

use ingest_plugin::testing::{self, Report};
use ingest_plugin::{
    Column, ColumnType, OutputColumn, Plugin, Record, Refusal, Reject, Rows, Schema, Verdict,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// The number of input columns. They are `a,b,c,d`, and the plugin reads `a` and `d`.
const INPUTS: usize = 4;
/// For each column of the output, the index of its input column, or `None` for the new column. `c` is dropped.
const SOURCES: [Option<usize>; 4] = [None, Some(3), Some(0), Some(1)];
const DROPPED: usize = 4;

/// The actions of the plugin on one record.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Act {
    steps: Vec<Step>,
    end: End,
}

/// One action. A number is the index of a column of the output, or `DROPPED`.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Step {
    Set(usize, String),
    Emit(Vec<(usize, String)>),
    EmitCopy(Vec<(usize, String)>),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum End {
    Keep,
    Drop,
    Reject,
}

#[derive(Debug, Serialize, Deserialize)]
struct Script {
    acts: Vec<Act>,
    last: Vec<Vec<(usize, String)>>,
}

struct Scripted {
    script: Script,
    next: usize,
    reads: [Column; 2],
    targets: [OutputColumn; 5],
}

impl Plugin for Scripted {
    type Config = Script;

    const STATEFUL: bool = true;

    fn open(schema: &mut Schema, script: Script) -> Result<Self, Refusal> {
        let d = schema.read("d")?;
        let e = schema.add("e", ColumnType::Text);
        let a = schema.read("a")?;
        let b = schema.output("b")?;
        let c = schema.output("c")?;
        schema.select(&[e, d.into(), a.into(), b]);
        Ok(Self {
            script,
            next: 0,
            reads: [a, d],
            targets: [e, d.into(), a.into(), b, c],
        })
    }

    fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject> {
        let act = &self.script.acts[self.next];
        self.next += 1;
        let fields = self.reads.map(|column| record.get(column));
        for step in &act.steps {
            match step {
                Step::Set(target, text) => record.set(self.targets[*target], text),
                Step::Emit(cells) => {
                    let mut row = record.emit();
                    for (target, text) in cells {
                        row.set(self.targets[*target], text);
                    }
                }
                Step::EmitCopy(cells) => {
                    let mut copy = record.emit_copy();
                    for (target, text) in cells {
                        copy.set(self.targets[*target], text);
                    }
                }
            }
        }
        assert_eq!(fields, self.reads.map(|column| record.get(column)));
        match act.end {
            End::Keep => Ok(Verdict::Keep),
            End::Drop => Ok(Verdict::Drop),
            End::Reject => Err(record.reject(self.reads[0], "asked-to", "is rejected")),
        }
    }

    fn finish(&mut self, rows: &mut Rows) -> Result<(), Refusal> {
        for cells in &self.script.last {
            let mut row = rows.emit();
            for (target, text) in cells {
                row.set(self.targets[*target], text);
            }
        }
        Ok(())
    }
}

/// Returns the expected output, computed by the simple model.
#[derive(Debug, Default, PartialEq)]
struct Model {
    rows: Vec<Vec<String>>,
    rejects: Vec<u64>,
    kept: u64,
    edited: u64,
    replaced: u64,
    dropped: u64,
}

impl Model {
    fn of(records: &[Vec<String>], script: &Script) -> Self {
        let mut model = Self::default();
        for (number, (record, act)) in (1..).zip(records.iter().zip(&script.acts)) {
            model.add(number, record, act);
        }
        model.rows.extend(script.last.iter().map(|cells| row(cells)));
        model
    }

    fn add(&mut self, number: u64, record: &[String], act: &Act) {
        let mut edits: [Option<&str>; 4] = [None; 4];
        let mut emitted = Vec::new();
        for step in &act.steps {
            match step {
                Step::Set(DROPPED, _) => {}
                Step::Set(target, text) => {
                    let before = match SOURCES[*target] {
                        None => Some(""),
                        Some(1) => None, // The plugin does not read this column.
                        Some(source) => Some(record[source].as_str()),
                    };
                    if edits[*target].is_some() || before != Some(text) {
                        edits[*target] = Some(text);
                    }
                }
                Step::Emit(cells) => emitted.push(row(cells)),
                Step::EmitCopy(cells) => {
                    let copied = SOURCES.map(|source| source.map_or("", |source| &record[source]).to_owned());
                    emitted.push(changed(copied.to_vec(), cells));
                }
            }
        }
        match act.end {
            End::Keep => {
                let is_edited = edits.iter().any(Option::is_some);
                *(if is_edited {
                    &mut self.edited
                } else {
                    &mut self.kept
                }) += 1;
                let cell = |(edit, source): (&Option<&str>, Option<usize>)| {
                    let before = source.map_or("", |source| &record[source]);
                    edit.unwrap_or(before).to_owned()
                };
                self.rows.push(edits.iter().zip(SOURCES).map(cell).collect());
                self.rows.extend(emitted);
            }
            End::Drop if emitted.is_empty() => self.dropped += 1,
            End::Drop => {
                self.replaced += 1;
                self.rows.extend(emitted);
            }
            End::Reject => self.rejects.push(number),
        }
    }
}

impl From<Report> for Model {
    fn from(report: Report) -> Self {
        Self {
            rejects: report.rejects.iter().map(|reject| reject.record).collect(),
            rows: report.rows,
            kept: report.kept,
            edited: report.edited,
            replaced: report.replaced,
            dropped: report.dropped,
        }
    }
}

fn row(cells: &[(usize, String)]) -> Vec<String> {
    changed(vec![String::new(); SOURCES.len()], cells)
}

fn changed(mut row: Vec<String>, cells: &[(usize, String)]) -> Vec<String> {
    for (target, text) in cells {
        if *target != DROPPED {
            row[*target].clone_from(text);
        }
    }
    row
}

fn csv(records: &[Vec<String>]) -> String {
    let mut csv = String::from("a,b,c,d\n");
    for record in records {
        let fields: Vec<_> = record.iter().map(|field| format!("\"{field}\"")).collect();
        csv.push_str(&fields.join(","));
        csv.push('\n');
    }
    csv
}

fn text() -> impl Strategy<Value = String> {
    // There are few texts of this form, so a step often sets a cell to the value that the cell already has.
    "[xé,]{0,2}"
}

fn cells() -> impl Strategy<Value = Vec<(usize, String)>> {
    vec((0..=DROPPED, text()), 0..6)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..=DROPPED, text()).prop_map(|(target, text)| Step::Set(target, text)),
        1 => cells().prop_map(Step::Emit),
        1 => cells().prop_map(Step::EmitCopy),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let end = prop_oneof![4 => Just(End::Keep), 1 => Just(End::Drop), 1 => Just(End::Reject)];
    let steps = prop_oneof![1 => Just(Vec::new()), 2 => vec(step(), 0..8)];
    (steps, end).prop_map(|(steps, end)| Act { steps, end })
}

proptest! {
    #[test]
    fn the_changes_say_what_the_plugin_did(
        work in vec((vec(text(), INPUTS), act()), 0..10),
        last in vec(cells(), 0..3),
    ) {
        let (records, acts): (Vec<_>, Vec<_>) = work.into_iter().unzip();
        let script = Script { acts, last };
        let expected = Model::of(&records, &script);
        let config = serde_json::to_string(&script).unwrap();
        let report = testing::run::<Scripted>(config, &csv(&records)).unwrap();
        prop_assert_eq!(&report.columns, &["e", "d", "a", "b"]);
        prop_assert_eq!(Model::from(report), expected);
    }
}
