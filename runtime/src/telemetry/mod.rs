//! Reports to the program's operators. Events and errors go in, and log lines come out.

pub(crate) mod log;
pub(crate) mod repeated_errors;
pub(crate) mod stderr;
