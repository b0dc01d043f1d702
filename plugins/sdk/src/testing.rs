//! Runs a plugin natively in the plugin's own unit tests: a config and a CSV text come in, a [`Report`] goes out. The
//! records go through batches and changes as in the sandbox.
//!
//! ```
//! # use ingest_plugin::*;
//! # struct Identity;
//! # impl Plugin for Identity {
//! #     type Config = NoConfig;
//! #     const STATEFUL: bool = false;
//! #     fn open(_: &mut Schema, _: NoConfig) -> Result<Self, Refusal> { Ok(Self) }
//! #     fn record(&mut self, _: &mut Record<'_>) -> Result<Verdict, Reject> { Ok(Verdict::Keep) }
//! # }
//! let report = ingest_plugin::testing::run::<Identity>("{}", "id,name\n1,Ada\n")?;
//! assert_eq!(report.kept, 1);
//! assert_eq!(report.csv(), "id,name\n1,Ada\n");
//! # Ok::<(), Refusal>(())
//! ```

mod decode;

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::arena::{Arena, Fields};
use crate::bindings::exports::ingest::plugin::transform::{Batch, ColumnType, Format};
pub use crate::bindings::ingest::plugin::host::Level;
use crate::driver::Driver;
use crate::host::{self, Captured, Origin, Surroundings};
use crate::plugin::Plugin;
use crate::refusal::Refusal;
use crate::schema::input;
use decode::{Outcome, Output};

/// The number of records in a batch. The number is small, so that a test with few records has several batches.
const BATCH_ROWS: usize = 3;

/// The result of a test run.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// The names of the output's columns.
    pub columns: Vec<String>,
    /// The types of the output's columns.
    pub types: Vec<ColumnType>,
    /// The rows of the output.
    pub rows: Vec<Vec<String>>,
    /// The rejected records, in the order of the input.
    pub rejects: Vec<Rejected>,
    /// The number of records in the input. It is the sum of `kept`, `edited`, `replaced`, `dropped` and `rejected`.
    pub read: u64,
    /// The number of records that went to the output unchanged.
    pub kept: u64,
    /// The number of records that went to the output with changed values.
    pub edited: u64,
    /// The number of records that the plugin replaced with new rows.
    pub replaced: u64,
    /// The number of records that the plugin dropped without a replacement.
    pub dropped: u64,
    /// The number of records that went to the rejects.
    pub rejected: u64,
    /// The lines that the plugin logged.
    pub logs: Vec<(Level, String)>,
    /// The totals of the plugin's counters, by name.
    pub counters: BTreeMap<String, u64>,
}

/// A record that the plugin rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejected {
    /// The number of the record in the input. The first record has the number 1.
    pub record: u64,
    /// The code, for programs.
    pub code: String,
    /// The reason, for people.
    pub reason: String,
}

/// Runs the plugin on a CSV text whose first line is the header. `config` is a JSON text or a `serde_json::Value`.
///
/// # Errors
/// Returns the refusal that the plugin's `check`, `open`, `record` or `finish` returned. Also returns a refusal if the
/// config does not parse, or if the output has no columns or two columns of the same name.
///
/// # Panics
/// Panics if the text is not CSV, or if a record has more or fewer fields than the header.
pub fn run<P: Plugin>(config: impl Display, csv: &str) -> Result<Report, Refusal> {
    Setup::new().run::<P>(config, csv)
}

/// Checks a config without an input. The host does the same before it binds the plugin to a queue.
///
/// # Errors
/// Returns a refusal if the config does not parse, or if the plugin's `check` refuses it.
pub fn check<P: Plugin>(config: impl Display) -> Result<(), Refusal> {
    Setup::new().check::<P>(config)
}

/// The values that a plugin under test can ask the host for: reference data and the origin of the input.
///
/// ```
/// # use ingest_plugin::*;
/// /// Adds the name of the input to each record.
/// struct Named { file: OutputColumn, name: String }
///
/// impl Plugin for Named {
///     type Config = NoConfig;
///     const STATEFUL: bool = false;
///
///     fn open(schema: &mut Schema, _: NoConfig) -> Result<Self, Refusal> {
///         let file = schema.add("file", ColumnType::Text);
///         Ok(Self { file, name: schema.origin().name })
///     }
///
///     fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject> {
///         record.set(self.file, &self.name);
///         Ok(Verdict::Keep)
///     }
/// }
///
/// let setup = testing::Setup::new().origin(Some("one"), "s3://lake/2026/a.csv", "a.csv");
/// assert_eq!(setup.run::<Named>("{}", "id\n1\n")?.csv(), "id,file\n1,a.csv\n");
/// # Ok::<(), Refusal>(())
/// ```
#[derive(Clone)]
pub struct Setup(Surroundings);

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// Returns a setup without reference data. The request has no id, and the URI and name of the input are empty.
    #[must_use]
    pub const fn new() -> Self {
        Self(Surroundings::none())
    }

    /// Adds reference data.
    #[must_use]
    pub fn data(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.data.insert(name.to_owned(), bytes.into());
        self
    }

    /// Sets the origin of the input.
    #[must_use]
    pub fn origin(mut self, request_id: Option<&str>, uri: &str, name: &str) -> Self {
        self.0.origin = Origin {
            request_id: request_id.map(str::to_owned),
            uri: uri.to_owned(),
            name: name.to_owned(),
        };
        self
    }

    /// Runs the plugin like [`run`].
    ///
    /// # Errors
    /// Returns the same refusals as [`run`].
    pub fn run<P: Plugin>(&self, config: impl Display, csv: &str) -> Result<Report, Refusal> {
        let config = config.to_string();
        let (columns, records) = read_csv(csv);
        let run = || report_on::<P>(&config, &columns, &records, BATCH_ROWS);
        let (report, Captured { logs, counters }) = host::run_in(self.0.clone(), run);
        Ok(Report {
            logs,
            counters,
            ..report?
        })
    }

    /// Checks a config like [`check`](fn@check).
    ///
    /// # Errors
    /// Returns the same refusals as [`check`](fn@check).
    pub fn check<P: Plugin>(&self, config: impl Display) -> Result<(), Refusal> {
        let config = config.to_string();
        let (checked, _) = host::run_in(self.0.clone(), || crate::driver::config::<P>(&config));
        checked.map(|_| ())
    }
}

/// Returns the fields of each record of a batch, as a plugin that reads `width` columns would get them.
#[doc(hidden)]
pub fn read_batch(
    bytes: &[u8],
    starts: Vec<u32>,
    ends: Vec<u32>,
    width: usize,
) -> Result<Vec<Vec<String>>, Refusal> {
    let bytes = bytes.to_vec();
    let batch = Batch { bytes, starts, ends };
    let arena = Arena::check(&batch, width)?;
    let fields = |fields: Fields<'_>| (0..width).map(|at| fields.get(at as u32).to_owned()).collect();
    Ok(arena.records().map(fields).collect())
}

fn report_on<P: Plugin>(
    config: &str,
    columns: &[String],
    records: &[Vec<String>],
    batch_rows: usize,
) -> Result<Report, Refusal> {
    let columns = columns.iter().map(String::as_str);
    let (mut driver, plan) = Driver::<P>::open(input(columns, Format::Csv), config)?;
    let mut report = Report {
        columns: plan.output.iter().map(|c| c.name.clone()).collect(),
        types: plan.output.iter().map(|c| c.column_type).collect(),
        ..Report::default()
    };
    let output = Output::new(&plan);
    for records in records.chunks(batch_rows) {
        let changes = driver.process(&batch(records, &plan.reads))?;
        let outcomes = output.decode(&changes, records.len());
        for (record, outcome) in records.iter().zip(outcomes) {
            report.add(output.row(record), outcome);
        }
    }
    report.rows.extend(output.emitted(&driver.finish()?));
    Ok(report)
}

impl Report {
    /// Returns the output as CSV, with a header.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in std::iter::once(&self.columns).chain(&self.rows) {
            writer.write_record(row).expect("rows are as long as the header");
        }
        let bytes = writer.into_inner().expect("a vector takes what is written");
        String::from_utf8(bytes).expect("CSV made of texts is a text")
    }

    /// Returns the output's values in the column `name`.
    ///
    /// # Panics
    /// Panics if the output has no such column.
    #[must_use]
    pub fn column(&self, name: &str) -> Vec<&str> {
        let at = self.columns.iter().position(|column| column == name);
        let at = at.unwrap_or_else(|| panic!("no column {name:?} in {:?}", self.columns));
        self.rows.iter().map(|row| row[at].as_str()).collect()
    }

    /// Adds the outcome of one record to the report. `row` is the output row of the record without changes.
    fn add(&mut self, mut row: Vec<String>, outcome: Outcome) {
        self.read += 1;
        match outcome {
            Outcome::Keep { cells, emitted } => {
                if cells.is_empty() {
                    self.kept += 1;
                } else {
                    self.edited += 1;
                }
                let emitted: Vec<_> = emitted.into_iter().map(|added| added.cells(&row)).collect();
                for (column, text) in cells {
                    row[column] = text;
                }
                self.rows.push(row);
                self.rows.extend(emitted);
            }
            Outcome::Replace(rows) => {
                self.replaced += 1;
                self.rows.extend(rows.into_iter().map(|added| added.cells(&row)));
            }
            Outcome::Drop => self.dropped += 1,
            Outcome::Reject { code, reason } => {
                self.rejected += 1;
                self.rejects.push(Rejected {
                    record: self.read,
                    code,
                    reason,
                });
            }
        }
    }
}

fn read_csv(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let fields = |record: &csv::StringRecord| record.iter().map(str::to_owned).collect();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = fields(reader.headers().expect("the test's header is CSV"));
    let mut records = Vec::new();
    for record in reader.records() {
        records.push(fields(&record.expect("the test's input is CSV")));
    }
    (header, records)
}

fn batch(records: &[Vec<String>], reads: &[u32]) -> Batch {
    let offset = |at: usize| u32::try_from(at).expect("a test's batch is small");
    let (mut bytes, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for record in records {
        starts.push(offset(bytes.len()));
        for &read in reads {
            bytes.extend_from_slice(record[read as usize].as_bytes());
            ends.push(offset(bytes.len()));
            bytes.push(b',');
        }
    }
    Batch { bytes, starts, ends }
}
