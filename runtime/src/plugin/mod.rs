//! Batches in, changes out: a WebAssembly component does it, in a sandbox. [`Engine`] compiles a file to a [`Plugin`],
//! a plugin starts any number of [`Instance`]s, and an instance lives for one input. Nothing outside this
//! folder knows wasmtime.

mod bindings;
mod cache;
mod calls;
mod compile;
mod engine;
mod instance;
mod memory;
mod pool;
mod state;
mod trap;

pub use cache::Cache;
pub use calls::thread_time;
pub use compile::{COMMAND, PASSING, UNFIT, compile};
pub use engine::{Engine, Plugin, component_metadata, read_component};
pub use instance::Instance;
pub use state::PLUGIN as LOG_TARGET;
pub use trap::{Failure, Trap, timed_out_beside_others};

use crate::format::OutputColumn;

/// The interface that this host speaks.
pub const INTERFACE: &str = "ingest:plugin@0.1.0";

/// Who a plugin is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Description {
    /// The name that it gives itself.
    pub name: String,
    /// The version that it gives itself.
    pub version: String,
    /// Of the component file.
    pub sha256: String,
    /// The interface that it was built for.
    pub interface: String,
    /// The size of the component file.
    pub bytes: u64,
    /// What it imports, by interface.
    pub imports: Vec<String>,
}

/// What a plugin will do with an input: `plan` in `wit/plugin.wit`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The columns whose fields it reads: indices into the input's columns followed by `more_columns`.
    pub reads: Vec<usize>,
    /// Members of JSONL records beyond those that the input's columns name.
    pub more_columns: Vec<String>,
    /// The columns of the output.
    pub output: Vec<OutputColumn>,
    /// Whether the records must go through one instance, in order.
    pub stateful: bool,
}

/// Rows that a plugin made at the end of the input, unchecked: see [`crate::record::Rows::check`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// How many.
    pub rows: u32,
    /// Their fields.
    pub bytes: Vec<u8>,
    /// Where each field ends.
    pub ends: Vec<u32>,
}
