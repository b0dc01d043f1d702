//! Configures the pool of plugin instances: their memory is mapped once and reused. Mapping memory for each small
//! input, and unmapping it while other threads run, would cost more than the work on the input.

use wasmtime::{Enabled, PoolingAllocationConfig};

/// The most instances at once in the process. Each reserves 4 GiB of address space, which costs nothing until it is
/// used.
pub(super) const INSTANCES_MAX: u32 = 1_024;

/// The most parts of one component, the same as [`super::memory::MemoryLimit`] allows.
pub(super) const CORE_INSTANCES_MAX: u32 = 64;
pub(super) const MEMORIES_MAX: u32 = 16;
pub(super) const TABLES_MAX: u32 = 64;

/// The core instances and tables of a usual component: its own, and those of its adapters.
const PARTS: u32 = 4;

/// The most elements of a table; more than the function table of any language's run time has.
pub(super) const TABLE_ELEMENTS_MAX: usize = 128 << 10;

/// The most bytes of a core instance; more than any program needs.
const CORE_INSTANCE_BYTES_MAX: usize = 16 << 20;

/// The most bytes of a memory: all that it can address, because [`super::memory::MemoryLimit`] limits it, not the pool.
const MEMORY_BYTES_MAX: usize = 4 << 30;

/// The bytes of a used memory that are wiped and kept; the rest is returned to the system.
const KEPT_BYTES: usize = 1 << 20;

pub(super) fn config() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(INSTANCES_MAX)
        .total_core_instances(INSTANCES_MAX * PARTS)
        .total_memories(INSTANCES_MAX)
        // Stacks serve calls that pause, which do not exist here; reserving a thousand takes 6 ms.
        .total_stacks(0)
        .total_tables(INSTANCES_MAX * PARTS)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_memories_per_module(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .max_core_instance_size(CORE_INSTANCE_BYTES_MAX)
        .max_component_instance_size(CORE_INSTANCE_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(MEMORY_BYTES_MAX);
    // If the kernel cannot tell which pages were used, all kept memory would be wiped each time.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes)
            .linear_memory_keep_resident(KEPT_BYTES)
            .table_keep_resident(KEPT_BYTES);
    }
    pool
}
