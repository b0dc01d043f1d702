//! Defines the claim: what a worker asks for, gets, and reports about a request while it holds it.

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
    /// A number that grows with each claim in the queue.
    pub fence: u64,
    /// The random word that the worker asked for the claim with.
    pub nonce: String,
}

impl Ticket {
    /// Returns the error for a leased request that no longer exists, which no verb can cause.
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

/// A request that belongs to this worker until its lease expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The proof.
    pub ticket: Ticket,
    /// The request.
    pub request: Request,
    /// The number of this attempt, counted from 1. Claims whose lease was lost or that were handed back do not count.
    pub attempt: u32,
    /// The number of leases of this request that were lost before.
    pub lost: u32,
    /// The total time that the request has waited for retries in this life.
    pub waited: Duration,
    /// The number of the queue's binding at the moment of the claim.
    pub binding: Option<u64>,
    /// The start of this life of the request, in ms since 1970 by the server's clock: its submit, or its last retry as
    /// a dead letter.
    pub life_ms: i64,
    /// Set if a claim of this request was lost and no later one has ended it. The lost attempt may still be running,
    /// and may have published or committed something.
    pub is_contested: bool,
    /// Set if this claim is to end the request without an attempt.
    pub ending: Option<Ending>,
    /// The code of the reason in [`Ending::Dead`], if it has one: see [`crate::error::Code`].
    pub ending_code: Option<String>,
    /// The output that the previous claim recorded, if this one takes the request over from another output.
    pub moved_from: Option<String>,
}

/// The way to end a request, unless an attempt has committed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Somebody has cancelled it.
    Cancel,
    /// It becomes a dead letter, for this reason.
    Dead(String),
}

/// The destination of a worker's output. A claim records it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutputId {
    /// A random id that no other output has.
    pub id: String,
    /// The output's location, for people.
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

/// The options of a claim.
#[derive(Debug, Clone)]
pub struct ClaimOptions {
    /// The worker's name, for people to read.
    pub worker: String,
    /// A random word, new for each claim. If several requests are claimed at once, the first has this word and the
    /// others have it with a number. Asking again with the word of a claim whose answer was lost gives the same claim.
    pub nonce: String,
    /// The time for which the claim is valid without renewal.
    pub lease: Duration,
    /// The number of lost leases after which a request becomes a dead letter as poison.
    pub lost_max: u32,
    /// Claim nothing while the queue has no binding.
    pub needs_binding: bool,
    /// The destination of the worker's output. After a lost claim, a request goes only to workers with the output of
    /// that claim.
    pub output: OutputId,
    /// Take requests of other outputs as well.
    pub move_output: bool,
}

impl ClaimOptions {
    /// Returns the nonce of one of several claims that are asked for at once, counted from 0.
    pub(super) fn nonce_of(&self, number: usize) -> String {
        match number {
            0 => self.nonce.clone(),
            number => format!("{}-{number}", self.nonce),
        }
    }
}

/// Returns whether one more lost lease makes poison of a request that has lost `lost` leases. Such a request is claimed
/// alone, because the others beside it may have killed its workers.
pub fn is_suspect(lost: u32, lost_max: u32) -> bool {
    lost > 0 && lost + 1 >= lost_max
}

/// The next step of a request whose attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt after this time.
    Retry(Duration),
    /// Another attempt after this time, but only by a worker with the same output: this attempt has published something
    /// that no receipt names, and could not remove it. Until then only a worker can end the request.
    RetryContested(Duration),
    /// The dead letters.
    Dead,
    /// Cancelled, because [`Renewed::cancel`] said so.
    Cancelled,
    /// The next claim, given after this time, ends it, because the output of an attempt could not be removed.
    Conclude(Duration),
}

/// A worker's progress with a request, carried by renewals. It is only shown to people, so unknown members written by a
/// newer worker are ignored.
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
    /// The error's code, if it has one: see [`crate::error::Code`].
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
    /// Set if somebody asked to cancel the request: stop, and fail with [`Next::Cancelled`].
    pub cancel: bool,
}

/// Returns how a claim must end its request, if it must.
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
