//! Describes a call that did not return. The error from wasmtime goes in. A message, the cause and the names of the
//! plugin's functions come out, all limited in length.

use wasmtime::WasmBacktrace;

use super::state::TimeoutCause;
use crate::error::{Code, Error, Stage};
use crate::format::redacted_start;

/// The maximum number of functions of a backtrace that are shown.
const FRAMES_MAX: usize = 8;
const FRAME_CHARS_MAX: usize = 120;
const TEXT_CHARS_MAX: usize = 1_000;

/// The prefixes of the names of functions between the author's code and the trap, such as the functions of a panic or
/// an allocation.
const RUN_TIME: [&str; 15] = [
    "core::",
    "<core::",
    "std::",
    "<std::",
    "alloc::",
    "<alloc::",
    "__rust",
    "rust_",
    "panic_abort",
    "abort",
    "sbrk",
    "dlmalloc",
    "malloc",
    "calloc",
    "realloc",
];

/// The failure of a call into a plugin.
#[derive(Debug)]
pub enum Failure {
    /// The call did not return. With another instance, or on another input, it may return.
    Trap(Trap),
    /// Any other error.
    Other(Error),
}

/// The end of a call that did not return: a trap, or a time or memory limit that was reached.
#[derive(Debug)]
pub struct Trap {
    /// Set if the call ran out of time.
    pub is_timeout: bool,
    /// Set if the call ran out of time while other calls ran. If it had run alone, it might have been fast enough.
    pub ran_beside_others: bool,
    code: Code,
    /// A description of the event, in the plugin's own words if it printed any.
    message: String,
    /// The runtime's description of the trap, and the names of the plugin's functions.
    cause: String,
}

impl Trap {
    pub(super) fn new(
        overdue: Option<TimeoutCause>,
        code: Code,
        message: String,
        error: &wasmtime::Error,
    ) -> Self {
        // The backtrace is the outermost context, but the trap itself is more useful to people.
        let mut cause = without_controls(&error.root_cause().to_string());
        let frames = error.downcast_ref().map(frames).unwrap_or_default();
        if !frames.is_empty() {
            cause = format!("{cause}; backtrace: {}", frames.join(" <- "));
        }
        Self {
            is_timeout: overdue.is_some(),
            ran_beside_others: matches!(overdue, Some(TimeoutCause::Late { was_alone: false })),
            code,
            message,
            cause,
        }
    }

    /// Returns the error of a request that ends because of this trap. `note` is added to the message.
    pub fn into_error(self, note: &str) -> Error {
        let message = format!("{} ({note})", self.message);
        Self { message, ..self }.into()
    }

    /// Returns the message without the names of the plugin's functions. For a timeout, these functions differ in each
    /// run.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the message and the cause, on one line.
    pub fn text(&self) -> String {
        format!("{}: {}", self.message, self.cause)
    }
}

impl From<Trap> for Error {
    fn from(trap: Trap) -> Self {
        if trap.ran_beside_others {
            return Self::transient(Stage::Plugin, trap.code, trap.message).because(OtherCallsRan);
        }
        Self::permanent(Stage::Plugin, trap.code, trap.message).because(trap.cause)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Trap(trap) => trap.into(),
            Failure::Other(error) => error,
        }
    }
}

/// Returns the names of the plugin's functions in a backtrace, the innermost first, beginning with the author's code.
fn frames(backtrace: &WasmBacktrace) -> Vec<String> {
    let names = backtrace.frames().iter().map(|frame| match frame.func_name() {
        Some(name) => without_controls(&format!("{:#}", rustc_demangle::demangle(name))),
        None => format!("function {}", frame.func_index()),
    });
    let names: Vec<String> = names
        .map(|name| name.chars().take(FRAME_CHARS_MAX).collect())
        .collect();
    let is_run_time = |name: &String| RUN_TIME.iter().any(|prefix| name.starts_with(prefix));
    let begin = names.iter().position(|name| !is_run_time(name)).unwrap_or(0);
    names.into_iter().skip(begin).take(FRAMES_MAX).collect()
}

/// Returns a plugin's text for use in a message: shortened, without secrets, and without white space around it. Control
/// characters stay, because each text is escaped when it is shown.
pub(super) fn short(text: &str) -> String {
    redacted_start(text.trim(), TEXT_CHARS_MAX)
}

/// Returns a text of the runtime for use in a message: shortened, and on one line. It can have names in a component,
/// such as `wasi:http/types@0.2.0`, but no data. So it has no secrets, and such names must stay.
pub(super) fn without_controls(text: &str) -> String {
    let line: String = text
        .chars()
        .take(TEXT_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    line.trim().to_owned()
}

/// Returns whether a plugin exceeded its time limit while other calls ran. If so, the caller repeats the call
/// [alone](super::Plugin::alone).
pub fn timed_out_beside_others(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<OtherCallsRan>())
}

/// The cause of a timeout that is perhaps not the plugin's fault, because other calls ran.
#[derive(Debug)]
struct OtherCallsRan;

impl std::fmt::Display for OtherCallsRan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("other calls ran at the same time, so it is to be tried alone")
    }
}

impl std::error::Error for OtherCallsRan {}

/// Returns whether the machine lacked a resource: memory, a thread or address space.
pub(super) fn is_of_machine(error: &wasmtime::Error) -> bool {
    error.is::<wasmtime::OutOfMemory>()
        || error
            .chain()
            .any(|cause| cause.is::<std::io::Error>() || cause.is::<rustix::io::Errno>())
}
