//! What the tests of the runtime share: the program in a folder of its own, servers, inputs, and plugins by hand.

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
