//! The bound on what one plugin instance may hold: all its memories and tables together.

use wasmtime::ResourceLimiter;

/// What a table element costs the host.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// Counts what a store's memories and tables take and refuses what goes beyond the limit, by a trap: a
/// plugin is told clearly instead of running on with a failed allocation.
pub(super) struct MemoryLimit {
    bytes_max: usize,
    bytes: usize,
    exceeded: bool,
}

impl MemoryLimit {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            exceeded: false,
        }
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
