//! Tests plugins in JavaScript: the commands of docs/plugins-js.md, and the promises of the package in plugins/js.
//! scripts/node.sh installs the packages of npm. `make test-all` runs this program. `cargo test` leaves it out, because it
//! needs Node.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "other programs use the rest")]
mod support;

mod project;

mod alarms;
mod build;
mod faults;
mod guide;
mod package;
mod surroundings;
