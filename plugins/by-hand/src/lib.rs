//! The plugin `alarms`, written as one loop over the lists of the interface: a batch's bytes and offsets come in;
//! verdicts, operands and bytes go out.
//!
//! This plugin exists for `cargo bench --bench guest`. This benchmark measures the cost of the SDK (the crate
//! `ingest-plugin`): it compares `alarms`, which uses the SDK, with this plugin. Write your own plugin like `alarms`.
//! From the SDK, this plugin uses only the generated code, `count`, and the functions that check or parse a text. With
//! the config `{"count":true}`, it counts the calls of `open` and `finish` and the records, for the tests of the host.

#![cfg(target_arch = "wasm32")]

use std::sync::atomic::{AtomicBool, Ordering};

use ingest_plugin::bindings::exports::ingest::plugin::transform::{
    Batch, Changes, ColumnType, Description, Emitted, Guest, Input, OutputColumn, Plan,
};
use ingest_plugin::{DateTime, count, is_decimal, is_digits};

static COUNTS: AtomicBool = AtomicBool::new(false);

const COLUMNS: [(&str, ColumnType); 8] = [
    ("id", ColumnType::Integer),
    ("station_id", ColumnType::Integer),
    ("alarm_id", ColumnType::Integer),
    ("parameter_id", ColumnType::Integer),
    ("start_time", ColumnType::Timestamp),
    ("end_time", ColumnType::Timestamp),
    ("value", ColumnType::Number),
    ("threshold", ColumnType::Number),
];
const START: usize = 4;
const END: usize = 5;
const NUMBERS: [usize; 2] = [6, 7];
const DURATION: u32 = 8;

const EDIT: u8 = 1;
const REJECT: u8 = 4;

struct Component;

impl Guest for Component {
    fn describe() -> Description {
        Description {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    fn config_schema() -> Option<String> {
        None
    }

    fn open(input: Input, config: String) -> Result<Plan, String> {
        if config == r#"{"count":true}"# {
            COUNTS.store(true, Ordering::Relaxed);
            count("opened", 1);
        }
        let columns: Vec<_> = input.columns.iter().map(|column| &*column.name).collect();
        if columns != COLUMNS.map(|(name, _)| name) {
            return Err(format!("the columns are {columns:?}, not those of an alarm"));
        }
        let mut output = Vec::new();
        for (source, (name, column_type)) in (0..).zip(COLUMNS) {
            let (name, source) = (name.into(), Some(source));
            output.push(OutputColumn {
                name,
                column_type,
                source,
            });
        }
        output.push(OutputColumn {
            name: "duration_s".into(),
            column_type: ColumnType::Integer,
            source: None,
        });
        Ok(Plan {
            reads: (0..8).collect(),
            more_columns: Vec::new(),
            output,
            stateful: false,
        })
    }

    fn check(_: String) -> Result<(), String> {
        Ok(())
    }

    fn process(batch: Batch) -> Result<Changes, String> {
        let rows = batch.starts.len();
        if COUNTS.load(Ordering::Relaxed) {
            count("rows", rows as u64);
        }
        let text = std::str::from_utf8(&batch.bytes).map_err(|error| error.to_string())?;
        let mut changes = Changes {
            verdicts: Vec::with_capacity(rows),
            operands: Vec::with_capacity(rows * 9),
            bytes: Vec::with_capacity(rows * 48),
        };
        for (ends, &start) in batch.ends.as_chunks::<8>().0.iter().zip(&batch.starts) {
            let mut begin = start as usize;
            let mut fields = [""; 8];
            for (field, &end) in fields.iter_mut().zip(ends) {
                *field = &text[begin..end as usize];
                begin = end as usize + 1;
            }
            match alarm(&fields) {
                Ok(alarm) => alarm.write(&fields, &mut changes),
                Err(fault) => fault.write(&fields, &mut changes),
            }
        }
        Ok(changes)
    }

    fn finish() -> Result<Emitted, String> {
        if COUNTS.load(Ordering::Relaxed) {
            count("finished", 1);
        }
        let (rows, bytes, ends) = (0, Vec::new(), Vec::new());
        Ok(Emitted { rows, bytes, ends })
    }
}

ingest_plugin::bindings::export_component!(Component with_types_in ingest_plugin::bindings);

struct Alarm {
    start: DateTime,
    end: Option<DateTime>,
}

struct Fault {
    field: usize,
    code: &'static str,
    fault: String,
}

#[inline(always)]
fn alarm(fields: &[&str; 8]) -> Result<Alarm, Box<Fault>> {
    for (at, id) in fields[..4].iter().enumerate() {
        if !is_digits(id) || id.len() > 18 || id.starts_with('0') {
            return Err(fault(at, "bad-id", "is not a whole number above zero"));
        }
    }
    let start = time(fields, START)?;
    let mut end = None;
    if !fields[END].is_empty() {
        let time = time(fields, END)?;
        if time < start {
            let before = format!("is before the start, {:?}", fields[START]);
            return Err(fault(END, "ends-before-start", before));
        }
        end = Some(time);
    }
    for at in NUMBERS {
        if !fields[at].is_empty() && !is_decimal(fields[at]) {
            return Err(fault(at, "bad-number", "is not a number"));
        }
    }
    Ok(Alarm { start, end })
}

fn time(fields: &[&str; 8], at: usize) -> Result<DateTime, Box<Fault>> {
    DateTime::parse(fields[at], ' ').ok_or_else(|| fault(at, "bad-time", "is not a time YYYY-MM-DD HH:MM:SS"))
}

#[cold]
fn fault(field: usize, code: &'static str, fault: impl Into<String>) -> Box<Fault> {
    let fault = fault.into();
    Box::new(Fault { field, code, fault })
}

impl Alarm {
    #[inline(always)]
    fn write(&self, fields: &[&str; 8], changes: &mut Changes) {
        let Changes {
            verdicts,
            operands,
            bytes,
        } = changes;
        let count_at = operands.len();
        verdicts.push(EDIT);
        operands.push(0);
        write_time(bytes, fields[START]);
        operands.extend_from_slice(&[START as u32, bytes.len() as u32]);
        if self.end.is_some() {
            write_time(bytes, fields[END]);
            operands.extend_from_slice(&[END as u32, bytes.len() as u32]);
        }
        for at in NUMBERS {
            if fields[at] == "999999" {
                operands.extend_from_slice(&[at as u32, bytes.len() as u32]);
            }
        }
        if let Some(end) = self.end {
            let seconds = end.seconds() - self.start.seconds();
            bytes.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
            operands.extend_from_slice(&[DURATION, bytes.len() as u32]);
        }
        operands[count_at] = ((operands.len() - count_at) / 2) as u32;
    }
}

/// Appends the time in `text` in ISO 8601. The text has been parsed as a time before.
#[inline(always)]
fn write_time(bytes: &mut Vec<u8>, text: &str) {
    let mut text: [u8; 19] = *text.as_bytes().as_array().expect("a time has 19 bytes");
    text[10] = b'T';
    bytes.extend_from_slice(&text);
}

impl Fault {
    #[cold]
    fn write(&self, fields: &[&str; 8], changes: &mut Changes) {
        let (name, value) = (COLUMNS[self.field].0, fields[self.field]);
        let reason = format!("{name}: {value:?} {}", self.fault);
        changes.verdicts.push(REJECT);
        for text in [self.code, &reason] {
            changes.bytes.extend_from_slice(text.as_bytes());
            changes.operands.push(changes.bytes.len() as u32);
        }
    }
}
