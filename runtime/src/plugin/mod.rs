//! Runs plugins. Batches go in, and changes come out. A WebAssembly component makes the changes in a sandbox.
//! [`Engine`] compiles a file to a [`Plugin`]. A plugin starts any number of [`Instance`]s. Each instance works on one
//! input. Only this folder uses wasmtime.

mod cache;
mod calls;
mod compile;
mod engine;
mod instance;
mod interface;
mod memory;
mod meter;
mod pool;
mod reference_data;
mod state;
mod trap;

pub use cache::Cache;
pub use calls::thread_time;
pub use compile::{COMMAND, PASSING, UNFIT, compile};
pub use engine::{Engine, Plugin, component_metadata, read_component};
pub use instance::Instance;
pub use meter::Meter;
pub use reference_data::{
    DATA_BYTES_MAX, ReferenceData, check_data_name, missing as data_missing, too_large as data_too_large,
};
pub use state::PLUGIN as LOG_TARGET;
pub use trap::{Failure, Trap, timed_out_beside_others};

use crate::format::OutputColumn;

/// The description of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Description {
    /// The name that the plugin gives itself.
    pub name: String,
    /// The version that the plugin gives itself.
    pub version: String,
    /// The SHA-256 of the component file, in lowercase hex.
    pub sha256: String,
    /// The interface that the component was built for.
    pub interface: String,
    /// The size of the component file, in bytes.
    pub bytes: u64,
    /// The interfaces that the component imports.
    pub imports: Vec<String>,
}

/// The plugin's plan for an input, after a check: see `plan` in `wit/0.2/plugin.wit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The columns whose fields the plugin reads. A value is the index of a column in a list: first the input's
    /// columns, then `more_columns`.
    pub reads: Vec<usize>,
    /// The JSONL members that the plugin reads beyond the input's columns.
    pub more_columns: Vec<String>,
    /// The columns of the output.
    pub output: Vec<OutputColumn>,
    /// Set if one instance must process all records, in order.
    pub stateful: bool,
    /// Set if the plugin has asked for the origin of the input. Its output can then depend on the origin.
    pub uses_origin: bool,
}

/// The rows that a plugin adds at the end of the input, before the check: see [`crate::record::Rows::check`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// The number of rows.
    pub rows: u32,
    /// The bytes of all fields, one after the other.
    pub bytes: Vec<u8>,
    /// The end of each field, as an offset into `bytes`.
    pub ends: Vec<u32>,
}
