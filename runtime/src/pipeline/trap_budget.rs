//! Checks the traps of a request against its limits. Each lane records the traps of its chunks. Later, the traps of all
//! chunks are counted in the order of the input.

use serde::{Deserialize, Serialize};

use crate::config::Limits;
use crate::error::{Code, Error, Result, Stage};
use crate::plugin::Trap;
use crate::record::{ChunkOrigin, Row};

/// The maximum number of reasons that an error names.
const REASONS_MAX: usize = 3;
const REASON_CHARS_MAX: usize = 400;

/// A trap or a timeout that a record or a batch has caused.
pub(super) struct RecordTrap {
    row: Row,
    is_timeout: bool,
    text: String,
}

/// The traps of a chunk.
#[derive(Default)]
pub(super) struct ChunkTraps {
    traps: Vec<RecordTrap>,
    timeouts: usize,
}

impl ChunkTraps {
    pub(super) fn push(&mut self, row: Row, trap: &Trap) {
        self.timeouts += usize::from(trap.is_timeout);
        self.traps.push(RecordTrap {
            row,
            is_timeout: trap.is_timeout,
            text: trap.text(),
        });
    }

    /// Returns whether this chunk alone has more traps or timeouts than a request may have. If so, the lane can stop,
    /// because earlier chunks can only add to the number.
    pub(super) fn are_too_many(&self, limits: &Limits) -> bool {
        let traps = self.traps.len() - self.timeouts;
        traps > limits.traps || self.timeouts > limits.timeouts
    }
}

/// The traps of a request so far, checked against its limits.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct TrapBudget {
    traps: usize,
    timeouts: usize,
    reasons: Vec<String>,
}

impl TrapBudget {
    /// Adds the traps of the next chunk.
    ///
    /// # Errors
    /// Fails if there are too many. The error names the first reasons.
    pub(super) fn add(&mut self, chunk: &ChunkTraps, origin: &ChunkOrigin, limits: &Limits) -> Result<()> {
        for RecordTrap {
            row,
            is_timeout,
            text,
        } in &chunk.traps
        {
            let record = origin.position(*row).record;
            if self.reasons.len() < REASONS_MAX {
                let reason: String = text.chars().take(REASON_CHARS_MAX).collect();
                if self.reasons.is_empty() {
                    tracing::warn!(record, reason, "the plugin trapped, going on");
                }
                self.reasons.push(format!("record {record}: {reason}"));
            }
            let (count, max, code, what) = if *is_timeout {
                (
                    &mut self.timeouts,
                    limits.timeouts,
                    Code::PluginTimeout,
                    "timeouts",
                )
            } else {
                (&mut self.traps, limits.traps, Code::PluginTrap, "traps")
            };
            *count += 1;
            if *count > max {
                let (count, reasons) = (*count, self.reasons.join("; "));
                let why = format!(
                    "{what}: {count}, more than the limit of {max} (--limit {what}); the first: {reasons}"
                );
                return Err(Error::permanent(Stage::Plugin, code, why));
            }
        }
        Ok(())
    }
}
