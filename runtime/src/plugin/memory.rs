//! Limits the memory of a plugin instance: all its memories and tables together. Memory beyond that of a usual instance
//! is also taken from the worker's.

use wasmtime::ResourceLimiter;

use super::pool::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX};
use crate::config::Limits;
use crate::error::{Error, Result};
use crate::memory::{Held, INSTANCE_BYTES};

/// The bytes that a table element takes in the host.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// Counts the memories and tables of a store, and traps beyond the limit: a trap is clearer than a plugin that goes on
/// with a failed allocation.
pub(super) struct MemoryLimit {
    bytes_max: usize,
    bytes: usize,
    exceeded: bool,
    held: Held,
    /// The error, if the worker had no memory for a growth.
    refused: Option<Error>,
    /// Set if the current growth is within the bounds of the memory's type.
    is_possible: bool,
    /// The reason why the machine refused memory that limit and worker allow.
    refused_by_machine: Option<String>,
}

impl MemoryLimit {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            bytes_max: limits.plugin_memory_bytes,
            bytes: 0,
            exceeded: false,
            held: limits.memory.hold(),
            is_possible: false,
            refused: None,
            refused_by_machine: None,
        }
    }

    /// Waits until `more` bytes than now, or all that the limit allows, can be had without waiting.
    ///
    /// # Errors
    /// Fails as [`Held::raise`] does.
    pub(super) fn prepare(&mut self, more: usize) -> Result<()> {
        let bytes = self.bytes.saturating_add(more).min(self.bytes_max);
        self.held.raise(bytes.saturating_sub(INSTANCE_BYTES))
    }

    /// Returns why the worker had no memory, if that was the reason for a trap.
    pub(super) fn take_refused(&mut self) -> Option<Error> {
        self.refused.take()
    }

    /// Returns whether the limit was the reason for a trap.
    pub(super) fn exceeded(&self) -> bool {
        self.exceeded
    }

    /// Returns why the machine refused memory that the limit allows, if it did.
    pub(super) fn refused_by_machine(&self) -> Option<&str> {
        self.refused_by_machine.as_deref()
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
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.is_possible = maximum.is_none_or(|maximum| desired <= maximum);
        self.grow(desired.saturating_sub(current))
    }

    /// Lets the plugin see a failure if the memory's own type forbids the growth. Ends the call if the machine has no
    /// memory, which is not the plugin's fault.
    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        if !std::mem::take(&mut self.is_possible) {
            return Ok(());
        }
        self.refused_by_machine = Some(format!("{error:#}"));
        Err(error)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let is_possible = maximum.is_none_or(|maximum| desired <= maximum);
        if current == 0 && is_possible && desired > TABLE_ELEMENTS_MAX {
            self.grow(desired.saturating_mul(TABLE_ELEMENT_BYTES))?;
            return Err(wasmtime::Error::new(TooMany(format!(
                "a table of {desired} elements, more than the limit of {TABLE_ELEMENTS_MAX}"
            ))));
        }
        self.grow(
            desired
                .saturating_sub(current)
                .saturating_mul(TABLE_ELEMENT_BYTES),
        )
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }
}

/// The error for a component with more parts than a pool has room for.
#[derive(Debug)]
pub(super) struct TooMany(String);

impl TooMany {
    /// Returns this error's text, if it is why a component cannot be instantiated. wasmtime counts instances, memories
    /// and tables itself, and reports them only as text.
    pub(super) fn reason(error: &wasmtime::Error) -> Option<String> {
        if let Some(Self(what)) = error.downcast_ref() {
            return Some(what.clone());
        }
        let counted = error.root_cause().to_string();
        let counted = counted.strip_prefix("resource limit exceeded: ")?;
        Some(format!(
            "more than the limits of {CORE_INSTANCES_MAX} core instances, {MEMORIES_MAX} memories and {TABLES_MAX} tables ({counted})"
        ))
    }
}

impl std::fmt::Display for TooMany {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TooMany {}
