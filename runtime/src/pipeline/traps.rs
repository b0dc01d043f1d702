//! The traps that a request has a budget of: noted by lanes, counted in the order of the input.

use serde::{Deserialize, Serialize};

use crate::batch::{Origin, Row};
use crate::config::Limits;
use crate::error::{Code, Error, Result, Stage};
use crate::plugin::Trap;

/// Reasons that an error tells.
const REASONS_MAX: usize = 3;
const REASON_CHARS_MAX: usize = 400;

/// One trap, or time-out, that a record or a batch was found to cause.
pub(super) struct Noted {
    row: Row,
    is_timeout: bool,
    text: String,
}

/// Those of a chunk.
#[derive(Default)]
pub(super) struct Notes {
    notes: Vec<Noted>,
    timeouts: usize,
}

impl Notes {
    pub(super) fn push(&mut self, row: Row, trap: &Trap) {
        self.timeouts += usize::from(trap.is_timeout);
        self.notes.push(Noted {
            row,
            is_timeout: trap.is_timeout,
            text: trap.text(),
        });
    }

    /// Whether they alone are more than a request may have. Then nobody need go on: counted with those of the chunks before
    /// they are too many as well.
    pub(super) fn are_too_many(&self, limits: &Limits) -> bool {
        let traps = self.notes.len() - self.timeouts;
        traps > limits.traps || self.timeouts > limits.timeouts
    }
}

/// Those of a request.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Traps {
    traps: usize,
    timeouts: usize,
    reasons: Vec<String>,
}

impl Traps {
    /// Takes those of the next chunk.
    ///
    /// # Errors
    /// If they are too many, with the first reasons.
    pub(super) fn add(&mut self, notes: &Notes, origin: &Origin, limits: &Limits) -> Result<()> {
        for Noted {
            row,
            is_timeout,
            text,
        } in &notes.notes
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
