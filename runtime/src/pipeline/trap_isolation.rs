//! Finds the records of a batch on which a plugin traps: a part that traps goes in; its halves come out, to be
//! processed by a new instance, until each record that traps is alone.

use std::ops::Range;
use std::time::Duration;

use crate::error::{Code, Error, Result, Stage};
use crate::plugin::Trap;

/// The least share of a batch's time that a part gets, as a divisor. Otherwise its share is that of its records.
const TIME_SHARES_MAX: u32 = 16;

/// The most traps of parts of a batch for each halving on the way to a record. A plugin that leaks memory traps more
/// often, on whatever comes last.
const TRAPS_A_HALVING: usize = 4;

const NO_SINGLE_RECORD: &str = "and so on many parts of the batch, and on none of its records alone";

/// The parts of a batch that the plugin still has to process, and the traps so far.
pub(super) struct TrapIsolation {
    /// The remaining parts, the next one last.
    pub(super) parts: Vec<BatchPart>,
    rows: usize,
    /// The time limit of a batch.
    time: Duration,
    /// The time taken by the parts that passed.
    passed: Duration,
    /// The number of parts that have trapped, and the number of records found to be the cause.
    trapped: usize,
    found: usize,
    pub(super) unexplained: Option<Trap>,
    /// Set if the rest runs while no other call does, because something took too long.
    pub(super) is_alone: bool,
}

/// Some consecutive rows of a batch.
pub(super) struct BatchPart {
    pub(super) rows: Range<usize>,
    /// Set for the first half of a part that trapped.
    is_left: bool,
    /// Set if this half need not be tried, because the other half of a part that trapped has passed.
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

    /// Returns the time limit of some records. A single record has all the time of a batch, so it is rejected only if
    /// it takes longer.
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

    /// Schedules a part that trapped again: in halves or, if it has only one record, on the new instance.
    ///
    /// # Errors
    /// Fails if the plugin has trapped far more often than the records found so far explain: each record is found
    /// within a bounded number of halvings.
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
