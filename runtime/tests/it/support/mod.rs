//! Shared parts of the runtime's tests: the program in its own folder, servers, inputs, and handwritten plugins.

pub(crate) mod compress;
pub(crate) mod documents;
pub(crate) mod host;
pub(crate) mod http;
pub(crate) mod inputs;
pub(crate) mod pipeline;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod sqlite;
pub(crate) mod tls;
pub(crate) mod wat;
