//! Shared code of the runtime's tests: the program in a folder of its own, servers, inputs, and hand-written plugins.

pub(crate) mod author;
pub(crate) mod checkpoints;
pub(crate) mod cutting_proxy;
pub(crate) mod documents;
pub(crate) mod gcs;
pub(crate) mod host;
pub(crate) mod http;
pub(crate) mod inputs;
pub(crate) mod object_client;
pub(crate) mod pipeline;
pub(crate) mod process;
pub(crate) mod receipts;
pub(crate) mod redis;
pub(crate) mod s3;
pub(crate) mod server_thread;
pub(crate) mod sqlite;
pub(crate) mod tls;
pub(crate) mod wat;
