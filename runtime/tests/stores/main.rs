//! Tests the program against servers of object stores that other people wrote. scripts/stores.sh installs them, and
//! `make test-all` runs this program. `cargo test` leaves it out, because the servers need Node and Python.
//!
//! No emulator of Google's store is among them: see `../it/support/gcs.rs`.

#![expect(clippy::unwrap_used, reason = "a test says so by a panic")]

#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "other programs use the rest")]
mod support;

#[path = "../it/conformance/mod.rs"]
#[macro_use]
#[expect(dead_code, reason = "other programs use the rest")]
mod conformance;

mod azurite;
mod installed_server;
mod moto;
