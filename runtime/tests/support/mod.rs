//! What the tests of the runtime stand on. Each test program uses its part.

#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod host;
pub(crate) mod http;
pub(crate) mod redis;
pub(crate) mod sqlite;
pub(crate) mod tls;
pub(crate) mod wat;
pub(crate) mod work;
