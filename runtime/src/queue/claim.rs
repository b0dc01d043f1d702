//! Defines the types of a claim: its options, its fields, and the reports of its worker.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Class, Code, Error, Stage};
use crate::request::Request;

/// The proof of a claim. Every later operation on the claim checks all fields of this ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The queue of the request.
    pub queue: String,
    /// The id of the request.
    pub id: String,
    /// The fence: a number that grows with each claim in the queue.
    pub fence: u64,
    /// The nonce: a random text that the worker chose for this claim.
    pub nonce: String,
}

impl Ticket {
    /// Returns the error for a leased request that no longer exists. No operation of a queue can cause this.
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
    /// The proof of the claim.
    pub ticket: Ticket,
    /// The request.
    pub request: Request,
    /// The number of this attempt, counted from 1. Attempts that were lost or handed back do not count. In a claim with
    /// [`Claim::ending`], this is the number of the last attempt, or 0.
    pub attempt: u32,
    /// The number of earlier leases of this request that were lost.
    pub lost: u32,
    /// The total time that the request has waited for retries in this life.
    pub waited: Duration,
    /// The number of the binding in force at the time of the claim, or `None` if the queue had none.
    pub binding: Option<u64>,
    /// The start of this life of the request, in milliseconds since 1970 by the server's clock. A life starts with the
    /// submit, or with a `dead retry`.
    pub life_ms: i64,
    /// Set if, since the request last ended, a claim of it was lost or an attempt could not remove its published files.
    /// A lost attempt may still be running, and may have published or committed something.
    pub is_contested: bool,
    /// Set if this claim has to end the request without an attempt.
    pub ending: Option<Ending>,
    /// The code of the reason in [`Ending::Dead`], or `None` if the reason has no code. See [`crate::error::Code`].
    pub ending_code: Option<String>,
    /// The URI of the output that the previous claim recorded, if this claim takes the request over from another
    /// output.
    pub moved_from: Option<String>,
}

/// The end that a claim gives its request without an attempt. If an attempt has already committed the request, the request
/// becomes done instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The request becomes cancelled, because somebody has asked for that.
    Cancel,
    /// The request becomes a dead letter for this reason.
    Dead(String),
}

/// The destination of a worker's output. Each claim records it.
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

/// An output of other workers. Requests wait for a worker with this output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherOutput {
    /// The output's location.
    pub uri: String,
    /// The number of requests that wait for a worker with this output.
    pub requests: u64,
}

/// The options of a claim.
#[derive(Debug, Clone)]
pub struct ClaimOptions {
    /// The worker's name, for people.
    pub worker: String,
    /// A random text, new for each call that does not repeat another call. If a call claims several requests, the first
    /// claim has this nonce, and the others have it with a number appended. If the answer of a call is lost, a call
    /// with the same nonce returns the same claims.
    pub nonce: String,
    /// The time for which the claim is valid without renewal.
    pub lease: Duration,
    /// The number of lost leases after which a request is poison and becomes a dead letter.
    pub lost_max: u32,
    /// Set if nothing may be claimed while the queue has no binding.
    pub needs_binding: bool,
    /// The destination of the worker's output. After a lost claim, only workers with the output of that claim, or with
    /// `move_output`, may claim the request.
    pub output: OutputId,
    /// Set if the worker also takes requests that wait for workers with other outputs.
    pub move_output: bool,
}

impl ClaimOptions {
    /// Returns the nonce of one of several claims that one call makes. `number` counts the claims from 0.
    pub(super) fn nonce_of(&self, number: usize) -> String {
        match number {
            0 => self.nonce.clone(),
            number => format!("{}-{number}", self.nonce),
        }
    }
}

/// Returns whether a request that has lost `lost` leases becomes poison with one more lost lease. Such a request is
/// claimed alone, because its earlier workers may have been killed by other requests that ran beside it.
pub fn is_suspect(lost: u32, lost_max: u32) -> bool {
    lost > 0 && lost + 1 >= lost_max
}

/// The next step of a request whose attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The request is attempted again after this time.
    Retry(Duration),
    /// The request is attempted again after this time, but only by a worker with the same output. The failed attempt
    /// has published something that no receipt names, and could not remove it. Only a worker can end such a request.
    RetryContested(Duration),
    /// The request becomes a dead letter.
    Dead,
    /// The request becomes cancelled, because [`Renewed::cancel`] was set, or because the claim had [`Ending::Cancel`].
    Cancelled,
    /// After this time, the request can be claimed. That claim ends the request without an attempt. The present claim
    /// cannot end it, because the output of an attempt could not be examined or removed.
    Conclude(Duration),
}

/// A worker's progress with a request, as renewals report it. Only people read it, so unknown members from a newer
/// worker are ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The number of decompressed bytes that were decoded.
    pub bytes: u64,
    /// The number of records that were decoded.
    pub records: u64,
    /// The number of records that were rejected.
    pub rejects: u64,
    /// The number of decompressed bytes that the last checkpoint covers, or 0 without a checkpoint. The queue compares it
    /// with earlier checkpoints of the request, and does not show it to people.
    #[serde(skip)]
    pub checkpoint: u64,
}

/// The reason why a claim ends as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure<'a> {
    /// The error message, for people.
    pub error: &'a str,
    /// The error's code, or `None` if it has no code. See [`crate::error::Code`].
    pub code: Option<&'a str>,
    /// The URI of the report that this attempt has kept, for [`super::Status::report`].
    pub report: Option<&'a str>,
}

impl Failure<'_> {
    /// Returns the code, a space and the error message: the text that is stored beside the error. A program of version
    /// 0.1.0 replaces only the error. [`code_of`] then finds that the code belongs to another error.
    pub(super) fn coded(&self) -> Option<String> {
        self.code.map(|code| format!("{code} {}", self.error))
    }
}

/// Returns the code of a stored text, or `None` if the code that is stored beside the text belongs to another text.
pub(super) fn code_of(coded: Option<&str>, text: Option<&str>) -> Option<String> {
    let (code, of) = coded?.split_once(' ')?;
    (of == text?).then(|| code.to_owned())
}

/// The answer to a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// Set if somebody has asked to cancel the request. The worker must then stop and fail the claim with
    /// [`Next::Cancelled`].
    pub cancel: bool,
}

/// Returns how a claim must end its request, or `None` if the request is to be attempted.
pub(super) fn ending_of(cancel: bool, ending: Option<String>) -> Option<Ending> {
    if cancel {
        Some(Ending::Cancel)
    } else {
        ending.map(Ending::Dead)
    }
}

/// Returns the location of the output that the previous claim recorded. Returns `None` if it is the worker's own
/// output, or if no output was recorded.
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
