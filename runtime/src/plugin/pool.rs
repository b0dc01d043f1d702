//! Configures the pool of plugin instances. The pool maps memory once and reuses it. Mapping memory for each small
//! input, and unmapping it while other threads run, would cost more than the work on the input.

use wasmtime::{Enabled, PoolingAllocationConfig};

/// The maximum number of instances in the process at a time. Each instance reserves 4 GiB of address space, which costs
/// nothing until it is used.
pub(super) const INSTANCES_MAX: u32 = 1_024;

/// The maximum numbers of core instances, memories and tables of one component. [`super::memory::MemoryLimit`] applies
/// the same numbers.
pub(super) const CORE_INSTANCES_MAX: u32 = 64;
pub(super) const MEMORIES_MAX: u32 = 16;
pub(super) const TABLES_MAX: u32 = 64;

/// The number of core instances, and of tables, that a usual component has, including its adapters.
const PARTS: u32 = 4;

/// The maximum number of elements of a table. No language's run time has a larger function table.
pub(super) const TABLE_ELEMENTS_MAX: usize = 128 << 10;

/// The maximum size of a core instance, in bytes. No program needs more.
const CORE_INSTANCE_BYTES_MAX: usize = 16 << 20;

/// The maximum size of a memory, in bytes: all bytes that it can address. The limit is applied by
/// [`super::memory::MemoryLimit`], not by the pool.
const MEMORY_BYTES_MAX: usize = 4 << 30;

/// The number of bytes of a used memory that are wiped and kept. The other bytes are returned to the system.
const KEPT_BYTES: usize = 1 << 20;

pub(super) fn config() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(INSTANCES_MAX)
        .total_core_instances(INSTANCES_MAX * PARTS)
        .total_memories(INSTANCES_MAX)
        // Only calls that pause need a stack, and no call pauses here. Reserving 1,000 stacks takes 6 ms.
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
    // Memory is kept only if the kernel can tell which pages were used. If it cannot, wasmtime would have to wipe all
    // kept memory each time.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes)
            .linear_memory_keep_resident(KEPT_BYTES)
            .table_keep_resident(KEPT_BYTES);
    }
    pool
}
