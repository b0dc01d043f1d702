//! The bound on what one plugin instance may hold: all its memories and tables together. What is more than a usual instance
//! has is held against the worker's memory, too.

use wasmtime::ResourceLimiter;

use crate::config::Limits;
use crate::error::{Error, Result};
use crate::memory::{Held, INSTANCE_BYTES};

/// What a table element costs the host.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// Counts what a store's memories and tables take and refuses what goes beyond the limit, by a trap: a
/// plugin is told clearly instead of running on with a failed allocation.
pub(super) struct MemoryLimit {
    bytes_max: usize,
    bytes: usize,
    exceeded: bool,
    held: Held,
    refused: Option<Error>,
}

impl MemoryLimit {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            bytes_max: limits.plugin_memory_bytes,
            bytes: 0,
            exceeded: false,
            held: limits.memory.hold(),
            refused: None,
        }
    }

    /// Waits until so much more than now can be had without a wait, or all that the limit allows.
    ///
    /// # Errors
    /// As [`Held::raise`].
    pub(super) fn prepare(&mut self, more: usize) -> Result<()> {
        let bytes = self.bytes.saturating_add(more).min(self.bytes_max);
        self.held.raise(bytes.saturating_sub(INSTANCE_BYTES))
    }

    /// Why the worker had no memory, if that was the reason for a trap.
    pub(super) fn take_refused(&mut self) -> Option<Error> {
        self.refused.take()
    }

    /// Whether the limit was the reason for a trap.
    pub(super) fn exceeded(&self) -> bool {
        self.exceeded
    }

    fn grow(&mut self, by: usize) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_add(by);
        if bytes > self.bytes_max {
            self.exceeded = true;
            return Err(wasmtime::Error::msg("the memory limit is exceeded"));
        }
        let held = bytes.saturating_sub(INSTANCE_BYTES);
        if !self.held.try_raise(held) {
            self.refused = Some(self.held.refuse(held));
            return Err(wasmtime::Error::msg("the worker has no memory for it"));
        }
        self.bytes = bytes;
        Ok(true)
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(desired.saturating_sub(current))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(
            desired
                .saturating_sub(current)
                .saturating_mul(TABLE_ELEMENT_BYTES),
        )
    }

    fn instances(&self) -> usize {
        64
    }

    fn memories(&self) -> usize {
        16
    }

    fn tables(&self) -> usize {
        64
    }
}
