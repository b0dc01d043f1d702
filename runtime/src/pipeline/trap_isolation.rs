//! Finds the records of a batch on which a plugin traps. A part on which the plugin trapped goes in. Its halves come
//! out, and a new instance processes them. This is repeated until each record on which the plugin traps is alone in a
//! part.

use std::ops::Range;
use std::time::Duration;

use crate::error::{Code, Error, Result, Stage};
use crate::plugin::Trap;

/// The time limit of a batch, divided by this number, is the minimum time limit of its parts. Above this minimum, the
/// limit of a part is proportional to its number of records.
const TIME_SHARES_MAX: u32 = 16;

/// To find a record on which the plugin traps, the batch is halved several times. For each of these halvings, the
/// plugin may trap this many times on average. A plugin that leaks memory traps more often, and not on particular
/// records.
const TRAPS_A_HALVING: usize = 4;

const NO_SINGLE_RECORD: &str = "and so on many parts of the batch, and on none of its records alone";

/// The parts of a batch that the plugin still has to process, and the traps so far.
pub(super) struct TrapIsolation {
    /// The remaining parts. The last element is the next part.
    pub(super) parts: Vec<BatchPart>,
    rows: usize,
    /// The time limit of a batch.
    time: Duration,
    /// The time taken by the parts that passed.
    passed: Duration,
    /// The number of traps after which the search had to go on, and the number of records found to be the cause of a
    /// trap.
    trapped: usize,
    found: usize,
    pub(super) unexplained: Option<Trap>,
    /// Set if the rest of the batch runs while no other call runs, because a part, or the passed parts together, took
    /// too long.
    pub(super) is_alone: bool,
}

/// Some consecutive rows of a batch.
pub(super) struct BatchPart {
    pub(super) rows: Range<usize>,
    /// Set for the first half of a part that trapped.
    is_left: bool,
    /// Set for the second half of a part that trapped, if the first half has passed. The cause must be in this part, so
    /// the part is halved without another try.
    pub(super) is_suspect: bool,
}

impl TrapIsolation {
    pub(super) fn new(rows: usize, time: Duration) -> Self {
        let whole = BatchPart {
            rows: 0..rows,
            is_left: false,
            is_suspect: false,
        };
        Self {
            parts: if rows == 0 { Vec::new() } else { vec![whole] },
            rows,
            time,
            passed: Duration::ZERO,
            trapped: 0,
            found: 0,
            unexplained: None,
            is_alone: false,
        }
    }

    /// Returns the time limit for a number of records. A single record has the time limit of the whole batch, so it is
    /// rejected only if it takes longer than a whole batch may take.
    pub(super) fn limit(&self, rows: usize) -> Duration {
        if rows == 1 || rows == self.rows {
            return self.time;
        }
        self.time
            .mul_f64(rows as f64 / self.rows as f64)
            .max(self.time / TIME_SHARES_MAX)
    }

    pub(super) fn halve(&mut self, rows: Range<usize>) {
        let middle = rows.start + rows.len() / 2;
        for (rows, is_left) in [(middle..rows.end, false), (rows.start..middle, true)] {
            self.parts.push(BatchPart {
                rows,
                is_left,
                is_suspect: false,
            });
        }
    }

    /// Schedules another try of a part that trapped. A part with more than one record is halved. A part with one record
    /// is scheduled for the new instance.
    ///
    /// # Errors
    /// Fails if the plugin has trapped far more often than the records found so far can explain. The number of records
    /// found so far limits the number of traps, because a limited number of halvings finds each record.
    pub(super) fn trapped(&mut self, part: BatchPart, trap: Trap) -> Result<()> {
        self.trapped += 1;
        let halvings = self.rows.ilog2() as usize + 2;
        if self.trapped > TRAPS_A_HALVING * halvings * (self.found + 1) {
            return Err(trap.into_error(NO_SINGLE_RECORD));
        }
        if part.rows.len() > 1 {
            self.halve(part.rows);
        } else {
            self.parts.push(part);
        }
        if self.found == 0 {
            self.unexplained = Some(trap);
        }
        Ok(())
    }

    pub(super) fn found(&mut self) {
        self.found += 1;
        self.unexplained = None;
    }

    pub(super) fn passed(&mut self, part: &BatchPart, took: Duration) -> Result<()> {
        if part.is_left
            && let Some(right) = self.parts.last_mut()
        {
            right.is_suspect = true;
        }
        self.passed += took;
        if part.rows.len() < self.rows && self.passed > self.time {
            if !std::mem::replace(&mut self.is_alone, true) {
                self.passed = Duration::ZERO;
                return Ok(());
            }
            let why = format!(
                "process took longer than the limit of {:?} (--limit call-time), and it was no single record",
                self.time
            );
            return Err(Error::permanent(Stage::Plugin, Code::PluginTimeout, why));
        }
        Ok(())
    }
}
