//! The command line as people meet it: usage, errors, environment.

mod lookups;
mod messages;
mod other_programs;
mod server;
mod usage;
