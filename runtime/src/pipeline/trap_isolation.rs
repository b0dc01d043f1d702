//! Finds the records of a batch on which a plugin traps. A part that traps goes in; its halves come out, to be processed by a
//! new instance, until the records that trap stand alone.

use std::ops::Range;
use std::time::Duration;

use crate::error::{Code, Error, Result, Stage};
use crate::plugin::Trap;

/// A part of a batch has the share of the batch's time that it has of the records, but never less than this part of it.
const TIME_SHARES_MAX: u32 = 16;

/// How often parts of a batch may trap for each halving on the way to a record: as a plugin does that leaks memory, and fails on
/// whatever comes last.
const TRAPS_A_HALVING: usize = 4;

const NO_SINGLE_RECORD: &str = "and so on many parts of the batch, and on none of its records alone";

/// The parts of a batch that the plugin has still to process, and the traps so far.
pub(super) struct TrapIsolation {
    /// What is left, the next part last.
    pub(super) parts: Vec<BatchPart>,
    rows: usize,
    /// What a batch may take.
    time: Duration,
    /// What the parts that passed took.
    passed: Duration,
    /// How many parts have trapped, and how many records were found to be the reason.
    trapped: usize,
    found: usize,
    pub(super) unexplained: Option<Trap>,
    /// Whether what is left runs while no other call does: something took too long.
    pub(super) is_alone: bool,
}

/// Some consecutive rows of a batch.
pub(super) struct BatchPart {
    pub(super) rows: Range<usize>,
    /// Whether it is the first half of a part that trapped.
    is_left: bool,
    /// Whether it need not be tried: the other half of a part that trapped has passed.
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

    /// How long some of the records may take. One alone has all the time of a batch: it is only rejected if it takes longer.
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

    /// What trapped is tried again: in halves or, if that cannot be, on the new instance.
    ///
    /// # Errors
    /// If it has trapped far more often than the records that were found explain: the way to each is no longer than the
    /// halvings that lead to it.
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
