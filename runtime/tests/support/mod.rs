//! What the tests of the runtime stand on. Each test program uses its part.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test program uses its part"
)]

pub(crate) mod compress;
pub(crate) mod documents;
pub(crate) mod host;
pub(crate) mod http;
pub(crate) mod redis;
pub(crate) mod sqlite;
pub(crate) mod tls;
pub(crate) mod wat;
pub(crate) mod work;

/// Makes each test twice: with the embedded queue, and with a Redis server of its own.
macro_rules! on_both_queues {
    ($($name:ident)+) => {
        mod embedded {
            $(#[test] fn $name() { super::$name(&super::Host::embedded()); })+
        }
        mod redis {
            $(#[test] fn $name() {
                let server = $crate::support::redis::RedisServer::start();
                super::$name(&super::Host::on(&server.url()));
            })+
        }
    };
}
pub(crate) use on_both_queues;
