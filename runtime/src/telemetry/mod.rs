//! Reports to the program's operators: events and errors go in, log lines come out.

pub(crate) mod log;
pub(crate) mod repeated_errors;
pub(crate) mod stderr;
