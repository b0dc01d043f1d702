//! Tests the command line as people use it: usage, errors, environment.

mod lookups;
mod messages;
mod other_programs;
mod server;
mod usage;
