//! Defines the only error type of this crate. An error says where it happened, whether a retry can help, what went
//! wrong, and why.

mod code;

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

pub use self::code::{Code, UnknownCode};

/// A result with an error of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The part of the work in which an error happened. `Display` gives the word that starts an error's message. A message
/// of [`Stage::Config`] starts without this word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The arguments, options and settings that the operator or the producer gave.
    Config,
    /// The queue's server.
    Queue,
    /// One request of a queue.
    Request,
    /// Reading the input's bytes.
    Fetch,
    /// Decompressing gzip or zstd.
    Decompress,
    /// Turning bytes into records.
    Decode,
    /// Loading or running the plugin.
    Plugin,
    /// Turning records into bytes.
    Encode,
    /// Staging and publishing output, rejects and receipt.
    Commit,
    /// The worker itself.
    Worker,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "config",
            Self::Queue => "queue",
            Self::Request => "request",
            Self::Fetch => "fetch",
            Self::Decompress => "decompress",
            Self::Decode => "decode",
            Self::Plugin => "plugin",
            Self::Encode => "encode",
            Self::Commit => "commit",
            Self::Worker => "worker",
        })
    }
}

/// The meaning of an error for its request. Retry decisions depend on the class only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A later attempt may succeed. For example, a connection broke or a server was busy.
    Transient,
    /// No attempt can succeed. For example, the file does not exist or the header does not fit the plugin.
    Permanent,
    /// Another worker has the claim. The attempt must not commit anything.
    LeaseLost,
    /// The work was asked to stop, for example by a cancel or by a shutdown of the worker.
    Cancelled,
}

/// An error with its stage, its class, its code and its cause.
///
/// `Display` prints `stage message` without the cause, so that each error of a chain can be printed by itself. For
/// [`Stage::Config`], it prints only the message, which names the wrong option, file or variable. [`Error::report`]
/// prints the whole chain on one line.
#[derive(Debug)]
pub struct Error {
    stage: Stage,
    class: Class,
    code: Code,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    leaves_output: bool,
    kept_report: Option<Box<str>>,
    retry_after: Option<Duration>,
    unreached: Option<Box<str>>,
    hint: Option<Box<str>>,
}

impl Error {
    /// Returns an error without a cause. `message` names the file or the request and the position: `orders.csv: record
    /// 812 (line 815): expected 7 fields, found 6`.
    pub fn new(stage: Stage, class: Class, code: Code, message: impl Into<String>) -> Self {
        Self {
            stage,
            class,
            code,
            message: message.into(),
            source: None,
            leaves_output: false,
            kept_report: None,
            retry_after: None,
            unreached: None,
            hint: None,
        }
    }

    /// Returns a new error with [`Class::Permanent`].
    pub fn permanent(stage: Stage, code: Code, message: impl Into<String>) -> Self {
        Self::new(stage, Class::Permanent, code, message)
    }

    /// Returns a new error with [`Class::Transient`].
    pub fn transient(stage: Stage, code: Code, message: impl Into<String>) -> Self {
        Self::new(stage, Class::Transient, code, message)
    }

    /// Returns an error for a failed read or write. If `error` wraps an error of this crate, returns that error
    /// instead: see [`Error::into_io`].
    pub fn from_io(
        error: std::io::Error,
        stage: Stage,
        class: Class,
        code: Code,
        message: impl Into<String>,
    ) -> Self {
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(error) => Self::new(stage, class, code, message).because(error),
        }
    }

    /// Wraps the error so that it can pass through a [`std::io::Read`]. [`Error::from_io`] extracts it.
    pub fn into_io(self) -> std::io::Error {
        std::io::Error::other(self)
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Marks that the attempt has published output, and could neither remove it nor make sure that its receipt exists.
    #[must_use]
    pub fn leaving_output(mut self) -> Self {
        self.leaves_output = true;
        self
    }

    /// Returns whether the attempt may have left published output. Only a check of the output folder shows whether this
    /// output has a receipt.
    pub fn leaves_output(&self) -> bool {
        self.leaves_output
    }

    /// Adds the URI of the report that this program has just stored in quarantine. The queue gets the URI as a separate
    /// value, because a path in a message may come from an untrusted source.
    #[must_use]
    pub fn with_kept_report(mut self, uri: impl Into<Box<str>>) -> Self {
        self.kept_report = Some(uri.into());
        self
    }

    /// Adds the wait that the server asks for before the next attempt.
    #[must_use]
    pub fn retrying_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// Returns the wait that the server asks for before the next attempt, or `None` if it asks for none.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Marks that no connection to this host (`HOST:PORT`) could be made. The host's name may be misspelled.
    #[must_use]
    pub fn not_reaching(mut self, host: impl Into<Box<str>>) -> Self {
        self.unreached = Some(host.into());
        self
    }

    /// Returns the host to which no connection could be made, or `None` if the error has another reason.
    pub fn unreached(&self) -> Option<&str> {
        self.unreached.as_deref()
    }

    /// Puts `subject: ` before the message, to name the file or the request.
    #[must_use]
    pub fn about(mut self, subject: impl fmt::Display) -> Self {
        self.message = format!("{subject}: {}", self.message);
        self
    }

    /// Adds a hint on what to do. [`Error::report`] prints it at the end.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Box<str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the stage in which the error happened.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Returns the class, which says whether a retry can help.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Returns the code, a stable word for what went wrong.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Returns the URI of the report that was stored in quarantine, or `None` if there is none.
    pub fn kept_report(&self) -> Option<&str> {
        self.kept_report.as_deref()
    }

    /// Returns the message, every cause and the hint on one line, without repetitions.
    pub fn report(&self) -> String {
        self.report_from(self.to_string())
    }

    /// Returns the text of [`Error::report`] without the stage, for a text that names the stage elsewhere.
    pub fn report_without_stage(&self) -> String {
        self.report_from(self.message.clone())
    }

    fn report_from(&self, mut text: String) -> String {
        let mut next = self.source();
        while let Some(cause) = next {
            let cause_text = cause.to_string();
            // Many libraries repeat an error's cause in the error's own message.
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            next = cause.source();
        }
        if let Some(hint) = &self.hint {
            text.push_str("; ");
            text.push_str(hint);
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stage {
            Stage::Config => f.write_str(&self.message),
            stage => write!(f, "{stage} {}", self.message),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_the_stage_and_leaves_the_source_out() {
        let error = Error::permanent(
            Stage::Decode,
            Code::HeaderInvalid,
            "record 812 (line 815): expected 7 fields, found 6",
        )
        .because(std::io::Error::other("why"))
        .about("orders.csv");
        let text = "decode orders.csv: record 812 (line 815): expected 7 fields, found 6";
        assert_eq!(error.to_string(), text);
        assert_eq!(error.report(), format!("{text}: why"));
        assert_eq!(error.class(), Class::Permanent);
    }

    #[test]
    fn report_says_each_cause_once() {
        let error = Error::transient(Stage::Queue, Code::QueueUnreachable, "redis://localhost: refused")
            .because(std::io::Error::other("refused"));
        assert_eq!(error.report(), "queue redis://localhost: refused");
    }

    #[test]
    fn report_ends_with_what_to_do() {
        let error = Error::transient(Stage::Fetch, Code::InputUnreadable, "a.csv").with_hint("try again");
        let error = error.because(std::io::Error::other("refused"));
        assert_eq!(error.report(), "fetch a.csv: refused; try again");
    }

    #[test]
    fn wrong_usage_is_told_without_a_stage() {
        let error = Error::permanent(Stage::Config, Code::Usage, "--id names one request");
        assert_eq!(error.report(), "--id names one request");
    }
}
