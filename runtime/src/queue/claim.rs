//! A claim: what a worker asks for, gets, and says of a request while it has it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Class, Code, Error, Stage};
use crate::request::Request;

/// The proof of a claim. Every later verb on the claim checks all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The queue of the request.
    pub queue: String,
    /// The request.
    pub id: String,
    /// Grows with each claim within the queue.
    pub fence: u64,
    /// The random word that the claim was asked for with.
    pub nonce: String,
}

impl Ticket {
    /// For a request that was leased and is not there any more, which no verb brings about.
    pub(super) fn gone(&self) -> Error {
        Error::new(
            Stage::Queue,
            Class::LeaseLost,
            Code::RequestLost,
            format!(
                "{}: request {}: the queue's server has lost it: submit it again",
                self.queue, self.id
            ),
        )
    }

    pub(super) fn lost(&self) -> Error {
        Error::new(
            Stage::Queue,
            Class::LeaseLost,
            Code::LeaseLost,
            format!(
                "{}: request {}: the claim with fence {} is over",
                self.queue, self.id, self.fence
            ),
        )
    }
}

/// A request that is this worker's until its lease runs out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The proof.
    pub ticket: Ticket,
    /// The request.
    pub request: Request,
    /// Counted from 1; claims whose lease was lost or that were handed back do not count.
    pub attempt: u32,
    /// How many leases of this request were lost before.
    pub lost: u32,
    /// How long the request has waited for its next attempts after failures, all waits of this life together.
    pub waited: Duration,
    /// The number of the queue's binding at the moment of the claim.
    pub binding: Option<u64>,
    /// The start of this life of the request, in ms since 1970 by the server's clock: its submit, or its last retry as a dead
    /// letter.
    pub life_ms: i64,
    /// Whether a claim of this request was lost since it last came to an end. The attempt may still be at work, and may have
    /// published or committed something.
    pub is_contested: bool,
    /// The request is to be ended without an attempt.
    pub ending: Option<Ending>,
    /// The code of the reason in [`Ending::Dead`], if it has one: see [`crate::error::Code`].
    pub ending_code: Option<String>,
    /// The output that the previous claim recorded, if this one takes the request over from another output.
    pub moved_from: Option<String>,
}

/// How a request is to be ended, unless an attempt has committed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Somebody has cancelled it.
    Cancel,
    /// It is given up, for this reason.
    Dead(String),
}

/// Where a worker's output goes. A claim records it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutputId {
    /// A random id that no other output has.
    pub id: String,
    /// Its location, for people.
    pub uri: String,
}

impl std::fmt::Display for OutputId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.id, self.uri)
    }
}

/// Requests that wait for a worker with another output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherOutput {
    /// The output's location.
    pub uri: String,
    /// The number of requests.
    pub requests: u64,
}

/// How to claim.
#[derive(Debug, Clone)]
pub struct ClaimOptions {
    /// Who claims, for people to read.
    pub worker: String,
    /// A random word, new for each claim; the first of several at once has it, the others have it with a number. To ask
    /// again with the word of a claim whose answer was lost gives that claim once more.
    pub nonce: String,
    /// How long the claim is good for without renewal.
    pub lease: Duration,
    /// After this many lost leases a request goes to the dead letters as poison.
    pub lost_max: u32,
    /// Claim nothing while the queue has no binding.
    pub needs_binding: bool,
    /// Where the worker's output goes. A request of which a claim was lost goes to workers with the output of that claim.
    pub output: OutputId,
    /// Take requests of other outputs, too.
    pub move_output: bool,
}

impl ClaimOptions {
    /// The nonce of one of several claims that are asked for at once, counted from 0.
    pub(super) fn nonce_of(&self, number: usize) -> String {
        match number {
            0 => self.nonce.clone(),
            number => format!("{}-{number}", self.nonce),
        }
    }
}

/// Whether one more lost lease makes poison of a request that has lost so many. It may have been the others beside it that
/// their workers died of, so now it has to be alone.
pub fn is_suspect(lost: u32, lost_max: u32) -> bool {
    lost > 0 && lost + 1 >= lost_max
}

/// What becomes of a request whose attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt after this time.
    Retry(Duration),
    /// The same, but only by a worker with the same output: this attempt has published something that no receipt names, and could
    /// not take it back. Until then only a worker can end the request.
    RetryContested(Duration),
    /// The dead letters.
    Dead,
    /// Cancelled, because [`Renewed::cancel`] said so.
    Cancelled,
    /// The next claim, which is given after this time, ends it: the output of an attempt could not be removed.
    Conclude(Duration),
}

/// How far a worker is with a request; renewals carry it. People look at it and nothing else, so members that a newer worker
/// writes are passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Decompressed bytes that were decoded.
    pub bytes: u64,
    /// Records that were decoded.
    pub records: u64,
    /// Records that were rejected.
    pub rejects: u64,
}

/// Why a claim ends as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure<'a> {
    /// The error, for people.
    pub error: &'a str,
    /// Its code, if it has one: see [`crate::error::Code`].
    pub code: Option<&'a str>,
    /// The URI of the report that this attempt has kept, for [`super::Status::report`].
    pub report: Option<&'a str>,
}

impl Failure<'_> {
    /// Returns the code, a space and the error, as they are stored beside the error. Programs of version 0.1.0 replace the error
    /// alone, so that [`code_of`] finds that the code belongs to another error.
    pub(super) fn coded(&self) -> Option<String> {
        self.code.map(|code| format!("{code} {}", self.error))
    }
}

/// Returns the code of a stored text, unless the code stored beside it belongs to another text.
pub(super) fn code_of(coded: Option<&str>, text: Option<&str>) -> Option<String> {
    let (code, of) = coded?.split_once(' ')?;
    (of == text?).then(|| code.to_owned())
}

/// The answer to a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// Somebody asked for the request to be cancelled: stop, and fail with [`Next::Cancelled`].
    pub cancel: bool,
}

/// Returns how a claim has to end its request, if it does.
pub(super) fn ending_of(cancel: bool, ending: Option<String>) -> Option<Ending> {
    if cancel {
        Some(Ending::Cancel)
    } else {
        ending.map(Ending::Dead)
    }
}

/// Returns the location of the output that a claim has recorded, if it is not the worker's own.
pub(super) fn moved_from(recorded: Option<&str>, own: &OutputId) -> Option<String> {
    let (id, uri) = recorded?.split_once(' ')?;
    (id != own.id).then(|| uri.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_counts_only_with_the_text_that_it_was_stored_for() {
        let coded = Failure {
            error: "no such file",
            code: Some("input-missing"),
            report: None,
        }
        .coded();
        let code_of = |text| code_of(coded.as_deref(), text);
        assert_eq!(code_of(Some("no such file")).as_deref(), Some("input-missing"));
        assert_eq!((code_of(Some("busy")), code_of(None)), (None, None));
        assert_eq!(super::code_of(None, Some("no such file")), None);
    }
}
