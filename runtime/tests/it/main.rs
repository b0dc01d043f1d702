//! Tests the promises that the program makes to its users. Each promise has its own module. All modules are in one test
//! binary, which is linked only once.
//!
//! The tests run in parallel in one process. A test that measures the whole process runs in a process of its own: see
//! [`support::process::is_own`].
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

/// Creates each test twice: with the embedded queue, and with a Redis server of its own.
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

#[expect(dead_code, reason = "other programs use the rest")]
mod support;

#[macro_use]
mod conformance;

mod architecture;
mod bad_plugin_answers;
mod burst;
mod checkpoint;
mod clean_values;
mod cli;
mod commit;
mod config_file;
mod copies;
mod differential;
mod error_codes;
mod fetch;
mod fuzz;
mod gate;
mod hostile_components;
mod hostile_plugin;
mod ingest;
mod input_options;
mod interface_versions;
mod kit;
mod lanes;
mod lease;
mod limits;
mod load;
mod many_files;
mod members;
mod memory;
mod object_listing;
mod pipes;
mod policies;
mod readme;
mod reference_data;
mod reload;
mod replay;
mod report;
mod request_schema;
mod retries;
mod sandbox;
mod schemas;
mod secrets;
mod storage;
mod stores;
mod submit;
mod surroundings;
mod swap;
mod traps;
mod trust;
mod untrusted_text;
mod upgrade;
mod worker;
mod wrong_files;
