//! What the program says to its operators: events and errors go in, log lines come out.

pub(crate) mod log;
pub(crate) mod repeated_errors;
