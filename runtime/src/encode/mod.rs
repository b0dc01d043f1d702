//! Records and verdicts in, bytes of the output out. A kept record is copied, an edited one is spliced; fields are written anew
//! only where the formats or the columns differ.

mod csv;
mod jsonl;

use crate::batch::{Edits, Fields};
use crate::format::csv::Dialect;
use crate::format::{Format, OutputColumn};

/// Why a record has no place in the output: it becomes a reject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// The reject's code.
    pub code: &'static str,
    /// The reject's reason, a sentence.
    pub reason: String,
}

/// A writer of records. Everything is appended to `out`; after an [`Unfit`] nothing of that record is left there.
pub trait Encoder: Send {
    /// What comes before the first record.
    fn begin(&mut self, out: &mut Vec<u8>);

    /// A record as it came: `raw` is [`crate::batch::Batch::raw`] of its row.
    fn keep(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit>;

    /// A record with some cells changed.
    fn edit(&mut self, raw: &[u8], edits: Edits<'_>, out: &mut Vec<u8>) -> Result<(), Unfit>;

    /// A row that the plugin made.
    fn row(&mut self, fields: Fields<'_>, out: &mut Vec<u8>);
}
