//! Where instances of plugins live: in places that are made once and used again, since to map memory for each small
//! input, and to unmap it while other threads run, costs more than to work on the input.

use wasmtime::{Enabled, PoolingAllocationConfig};

/// Instances at once in the process. Each has 4 GiB of address space, of which nothing is used before it is touched.
pub(super) const INSTANCES_MAX: u32 = 1_024;

/// What one component may consist of; as much as [`super::memory::MemoryLimit`] lets it have.
pub(super) const CORE_INSTANCES_MAX: u32 = 64;
pub(super) const MEMORIES_MAX: u32 = 16;
pub(super) const TABLES_MAX: u32 = 64;

/// Core instances and tables of a usual component: its own, and those of its adapters.
const PARTS: u32 = 4;

/// Longer than the function table of any language's run time.
pub(super) const TABLE_ELEMENTS_MAX: usize = 128 << 10;

/// Beyond any program's.
const CORE_INSTANCE_BYTES_MAX: usize = 16 << 20;

/// How far a memory may grow is not for the pool to say, but for [`super::memory::MemoryLimit`].
const MEMORY_BYTES_MAX: usize = 4 << 30;

/// How much of a used memory is wiped and kept; what is beyond is given back.
const KEPT_BYTES: usize = 1 << 20;

pub(super) fn config() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(INSTANCES_MAX)
        .total_core_instances(INSTANCES_MAX * PARTS)
        .total_memories(INSTANCES_MAX)
        // For calls that pause, which there are none of; to set aside a thousand of them takes 6 ms.
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
    // Without a word from the kernel on which pages were touched, all that is kept would be wiped each time.
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.pagemap_scan(Enabled::Yes)
            .linear_memory_keep_resident(KEPT_BYTES)
            .table_keep_resident(KEPT_BYTES);
    }
    pool
}
