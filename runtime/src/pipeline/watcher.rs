//! Tells a watcher what becomes of each record, for people who look at a plugin's work record by record.

use crate::format::csv::Dialect;
use crate::format::{Format, OutputColumn};

/// Watches an attempt. An attempt with a watcher has one lane, so each function is called in the order of the input.
pub trait RecordWatcher: Send + Sync {
    /// Is called once, before the first record.
    fn opened(&self, input: OpenedInput);

    /// Returns whether the attempt is to go on with the next batch of records. If not, the attempt ends with an error
    /// of class cancelled.
    fn wants_more(&self) -> bool {
        true
    }

    /// Is called for each record of the input.
    fn record(&self, record: WatchedRecord<'_>);

    /// Is called with the encoded rows that the plugin added at the end of the input.
    fn finished(&self, rows: &[u8]);
}

/// The columns of an input and of its output, and the form of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedInput {
    /// The format of the input.
    pub format: Format,
    /// The dialect of input and output, for CSV.
    pub dialect: Dialect,
    /// The columns of the input, and then the further members of JSONL that the plugin reads.
    pub columns: Vec<String>,
    /// The format of the output.
    pub output_format: Format,
    /// The columns of the output. A source is an index into `columns`.
    pub output_columns: Vec<OutputColumn>,
}

/// A record of the input, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchedRecord<'a> {
    /// The text of the record, without its line end. Records in an unusual syntax of CSV are rewritten as plain CSV,
    /// unless they could not be read.
    pub text: &'a [u8],
    /// The result for this record.
    pub fate: Fate<'a>,
    /// The encoded rows of the output that came from this record. If they are many, only the last ones.
    pub rows: &'a [u8],
}

/// The result for a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate<'a> {
    /// It was written unchanged.
    Kept,
    /// It was written with changed cells.
    Edited,
    /// Other rows were written in its place.
    Replaced,
    /// It was left out on purpose.
    Dropped,
    /// It was set aside.
    Rejected {
        /// The code of the reject.
        code: &'a str,
        /// The reason of the reject.
        reason: &'a str,
    },
}
