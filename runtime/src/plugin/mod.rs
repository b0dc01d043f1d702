//! Runs plugins: batches go in, changes come out, made by a WebAssembly component in a sandbox. [`Engine`] compiles a
//! file to a [`Plugin`], a plugin starts any number of [`Instance`]s, and an instance lives for one input. Only this
//! folder uses wasmtime.

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

/// The interface that this host supports.
pub const INTERFACE: &str = "ingest:plugin@0.1.0";

/// The description of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Description {
    /// The name that the plugin gives itself.
    pub name: String,
    /// The version that the plugin gives itself.
    pub version: String,
    /// The SHA-256 of the component file.
    pub sha256: String,
    /// The interface that it was built for.
    pub interface: String,
    /// The size of the component file.
    pub bytes: u64,
    /// The interfaces that it imports.
    pub imports: Vec<String>,
}

/// The plugin's plan for an input: `plan` in `wit/plugin.wit`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The columns whose fields it reads: indices into the input's columns followed by `more_columns`.
    pub reads: Vec<usize>,
    /// Members of JSONL records beyond those that the input's columns name.
    pub more_columns: Vec<String>,
    /// The columns of the output.
    pub output: Vec<OutputColumn>,
    /// Set if the records must go through one instance, in order.
    pub stateful: bool,
}

/// Rows that a plugin made at the end of the input, unchecked: see [`crate::record::Rows::check`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// The number of rows.
    pub rows: u32,
    /// The bytes of all fields.
    pub bytes: Vec<u8>,
    /// The end of each field.
    pub ends: Vec<u32>,
}
