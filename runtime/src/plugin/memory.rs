//! Limits the memory of a plugin instance: the sum of all its memories and tables. If an instance needs more than a
//! usual instance, the excess is also reserved in the worker's memory.

use wasmtime::ResourceLimiter;

use super::pool::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX};
use crate::config::Limits;
use crate::error::{Error, Result};
use crate::memory::{Held, INSTANCE_BYTES};

/// The size of a table element in the host, in bytes.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// Counts the bytes of a store's memories and tables. If they would exceed the limit, makes the plugin trap. A trap is
/// clearer than a plugin that continues after a failed allocation.
pub(super) struct MemoryLimit {
    bytes_max: usize,
    bytes: usize,
    exceeded: bool,
    held: Held,
    /// The error, if the worker had no memory for the plugin's last growth.
    refused: Option<Error>,
    /// Set if the memory's own type allows the current growth.
    is_possible: bool,
    /// The reason why the machine refused memory, although the limit and the worker allowed it.
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

    /// Waits until the instance can grow by `more` bytes, or up to its limit, without another wait.
    ///
    /// # Errors
    /// Fails as [`Held::raise`] does.
    pub(super) fn prepare(&mut self, more: usize) -> Result<()> {
        let bytes = self.bytes.saturating_add(more).min(self.bytes_max);
        self.held.raise(bytes.saturating_sub(INSTANCE_BYTES))
    }

    /// Returns the worker's error, or `None` if the worker had enough memory for the instance.
    pub(super) fn take_refused(&mut self) -> Option<Error> {
        self.refused.take()
    }

    /// Returns whether the instance has exceeded its memory limit.
    pub(super) fn exceeded(&self) -> bool {
        self.exceeded
    }

    /// Returns the reason why the machine refused memory, or `None` if it did not.
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

    /// If the memory's own type forbids the growth, lets the plugin see the failure. If the machine has no memory, ends
    /// the call, because the plugin is not the cause.
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

/// The error for a component that has more parts than the pool can hold.
#[derive(Debug)]
pub(super) struct TooMany(String);

impl TooMany {
    /// Returns the text of this error, or `None` if the instantiation failed for another reason. The crate wasmtime
    /// counts instances, memories and tables, and reports an excess as text only.
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
