//! Describes requests and queues for people: states, counts, lists and the results of operations.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{Progress, REAP_STEP};
use crate::error::{Code, Error, Stage};
use crate::receipt::{Receipt, Unreadable};
use crate::request::Replay;

/// The state of a request. A request is in exactly one of these states at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The request waits to be claimed.
    Ready,
    /// The request waits for its time: it was submitted with a delay, or it failed and is to be retried.
    Delayed,
    /// A worker has claimed the request and is working on it.
    Leased,
    /// The request is committed, with a receipt.
    Done,
    /// The request failed for good, with a reason: it is a dead letter.
    Dead,
    /// The request was withdrawn.
    Cancelled,
}

impl State {
    /// All states, in the order of a request's life.
    pub const ALL: [Self; 6] = [
        Self::Ready,
        Self::Delayed,
        Self::Leased,
        Self::Done,
        Self::Dead,
        Self::Cancelled,
    ];

    /// Returns the state's name in keys and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Delayed => "delayed",
            Self::Leased => "leased",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// The result of a submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// The request is new.
    Created,
    /// The same request existed already, in this state. Nothing changed.
    Existing(State),
    /// Another request has this id. Nothing changed.
    Conflict,
}

/// The result of a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// The request was waiting and is cancelled now.
    Now,
    /// A worker still has to end the request. If the request is leased, its worker learns of the cancel. If a claim of
    /// the request was lost, the next worker that claims the request ends it.
    Asked,
    /// The request had already ended, in this state.
    TooLate(State),
    /// There is no such request.
    Unknown,
}

/// The position of a request in the list of its state. The list is ordered by the state's time, then by id.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListPosition {
    /// The time by which the list is ordered, in milliseconds since 1970 by the server's clock. This is the time at
    /// which a delayed request is due, a lease ends, or an ended request ended.
    pub at_ms: i64,
    /// The id of the request.
    pub id: String,
}

/// A request in a list that is ordered by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRequest {
    /// The request's position in the list.
    pub place: ListPosition,
    /// The number of attempts that have begun. Attempts that were lost or handed back do not count.
    pub attempts: u32,
    /// Set if the next claim ends the request. Neither a pause nor a missing binding prevents that claim.
    pub is_ending: bool,
}

/// The outcome of a retry or a purge for one of several dead requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterOutcome {
    /// The request was retried or purged.
    Done,
    /// The request did not die at the given time. Somebody else has retried or purged it, and it may have died again.
    Gone,
    /// The server has lost the request's content, so the request cannot be retried.
    Lost,
}

/// The result of one step of a reap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaped {
    /// The number of removed requests.
    pub removed: usize,
    /// Set if there may be more requests to remove.
    pub more: bool,
}

impl Reaped {
    pub(super) fn of(removed: usize) -> Self {
        Self {
            removed,
            more: removed >= REAP_STEP,
        }
    }
}

/// A request with its state and its history, for people. [`StatusDocument`] is its JSON form.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The request's id.
    pub id: String,
    /// The request's queue.
    pub queue: String,
    /// The URI of the request's input.
    pub uri: String,
    /// The options for reading the input: the members of [`crate::request::InputOptions`], and other members that a
    /// newer version has stored.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub input: Map<String, Value>,
    /// The options with which the request was submitted, if a `dead retry` has changed them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submitted_input: Option<Map<String, Value>>,
    /// The rejects that the request processes again in place of an input. `None` if the request is no replay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// The request's state.
    pub state: State,
    /// The number of attempts that have begun. Attempts that were lost or handed back do not count.
    pub attempts: u32,
    /// The number of lost leases.
    pub lost: u32,
    /// The time at which a delayed request is due, in milliseconds since 1970 by the server's clock. After a failure,
    /// this is the time of the next attempt. `None` if the request is not delayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<i64>,
    /// The error of the last attempt that failed.
    pub error: Option<String>,
    /// The code of `error`: a [`crate::error::Code`] of this version or of another version. `None` if a program without
    /// codes wrote the error.
    pub code: Option<String>,
    /// The URI of the report that a worker has kept in quarantine. `None` if there is no report, or if the request is
    /// not dead.
    pub report: Option<String>,
    /// The time at which the lease ends if the worker does not renew it, in milliseconds since 1970 by the server's
    /// clock. `None` if the request is not leased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_ends_ms: Option<i64>,
    /// The progress of the request's worker. `None` if the request is not leased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// `cancelling` or `ending` if a worker still has to end the request, otherwise `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending: Option<String>,
    /// The URI of the output of a lost attempt. Only a worker with this output, or with `--move-output`, continues the
    /// request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// A remark for people about how the request ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The receipt of a request that is done.
    pub receipt: Option<StoredReceipt>,
    /// The name of the group of requests that it belongs to. [`StatusDocument`] writes it.
    #[serde(skip)]
    pub group: Option<String>,
}

/// A part of the list of a group's requests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupPage {
    /// The requests, in the order in which they were submitted.
    pub requests: Vec<Status>,
    /// The position after which the next page begins, or `None` if this is the last page.
    pub next: Option<u64>,
}

/// A request as `status --json` and the lists of requests show it: the [`Status`], a list of inputs that has one
/// element today, and the requests that it belongs to.
#[derive(Debug, Serialize)]
pub struct StatusDocument<'a> {
    #[serde(flatten)]
    status: &'a Status,
    /// The inputs, each with its options. `uri` and `input` are the short form of the only input.
    inputs: [RequestedInput<'a>; 1],
    /// The id of the request whose rejects this one processes again.
    parent: Option<&'a str>,
    /// The name of the group of requests that this one belongs to.
    group: Option<&'a str>,
}

/// An input of a request in a [`StatusDocument`], in the form in which producers write it.
#[derive(Debug, Serialize)]
struct RequestedInput<'a> {
    uri: &'a str,
    #[serde(flatten)]
    options: &'a Map<String, Value>,
}

impl<'a> From<&'a Status> for StatusDocument<'a> {
    fn from(status: &'a Status) -> Self {
        Self {
            status,
            inputs: [RequestedInput {
                uri: &status.uri,
                options: &status.input,
            }],
            parent: status.replay.as_ref().map(|replay| &*replay.parent),
            group: status.group.as_deref(),
        }
    }
}

/// A receipt as a queue stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredReceipt {
    /// A receipt.
    Readable(Box<Receipt>),
    /// A text that this program cannot read as a receipt.
    Unreadable {
        /// The stored text.
        text: String,
        /// The code of the reason.
        code: Code,
        /// The reason, for people.
        why: String,
    },
}

impl StoredReceipt {
    /// Reads a receipt from its stored text.
    pub(super) fn of(text: String) -> Self {
        match Receipt::read(text.as_bytes()) {
            Ok(receipt) => Self::Readable(receipt.into()),
            Err(error) => Self::Unreadable {
                text,
                code: match error {
                    Unreadable::Newer(_) => Code::HostOutdated,
                    Unreadable::Damaged(_) => Code::QueueDamaged,
                },
                why: error.to_string(),
            },
        }
    }

    /// Returns the receipt. An error names the request by `id`.
    ///
    /// # Errors
    /// Fails if this program cannot read the stored text.
    pub fn read(&self, id: &str) -> Result<&Receipt, Error> {
        match self {
            Self::Readable(receipt) => Ok(receipt),
            Self::Unreadable { code, why, .. } => {
                let what = format!("{id}: its receipt cannot be read");
                Err(Error::permanent(Stage::Request, *code, what).because(why.as_str()))
            }
        }
    }
}

/// A readable receipt is written as a document of this version. Any other text is written unchanged: as JSON if it is
/// JSON, otherwise as a string.
impl Serialize for StoredReceipt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Readable(receipt) => receipt.serialize(serializer),
            Self::Unreadable { text, .. } => match serde_json::from_str::<Value>(text) {
                Ok(document) => document.serialize(serializer),
                Err(_) => text.serialize(serializer),
            },
        }
    }
}

impl Status {
    /// Says for people when a delayed request is due. Returns `None` if the request is not delayed.
    pub fn due(&self) -> Option<String> {
        let at_ms = self.due_ms?;
        let at = jiff::Timestamp::from_millisecond(at_ms).ok()?;
        // This assumes that the local clock agrees with the server's clock, which is usually true.
        let left_s = (at_ms - jiff::Timestamp::now().as_millisecond()).max(0) / 1_000;
        let at = at.round(jiff::Unit::Second).unwrap_or(at);
        Some(format!("at {at}, in {left_s} s"))
    }

    /// Returns the label for the due time of a delayed request. `ends`: the request is then ended without an attempt.
    /// `due`: its first attempt follows. `next try`: a retry follows.
    pub fn due_for(&self) -> &'static str {
        match (&self.ending, self.attempts) {
            (Some(_), _) => "ends",
            (None, 0) => "due",
            (None, _) => "next try",
        }
    }

    /// Says for people when the lease ends. Returns `None` if the request has no lease.
    pub fn lease_end(&self) -> Option<String> {
        let at_ms = self.lease_ends_ms?;
        let at = jiff::Timestamp::from_millisecond(at_ms).ok()?;
        let at = at.round(jiff::Unit::Second).unwrap_or(at);
        // This assumes that the local clock agrees with the server's clock, which is usually true.
        let left_ms = at_ms - jiff::Timestamp::now().as_millisecond();
        Some(match left_ms {
            ..=0 => format!("ended at {at}: the next worker that claims takes the request over"),
            _ => format!(
                "ends at {at}, in {} s, unless its worker renews it",
                left_ms / 1_000
            ),
        })
    }

    /// Says for people what the request waits for, if a worker still has to end it or if only some workers may claim
    /// it. Otherwise returns `None`.
    pub fn waits_for(&self) -> Option<String> {
        let Some(ending) = self.ending.as_deref() else {
            let output = self.output.as_deref().filter(|_| self.state != State::Leased)?;
            return Some(format!(
                "for a worker with the output {output}, to which a lost worker has written"
            ));
        };
        Some(match (self.state, &self.output) {
            (State::Leased, _) if ending == CANCELLING => {
                "cancelling: its worker was told to stop; if that one is lost, the next one ends it"
                    .to_owned()
            }
            (State::Leased, _) => format!("{ending}: a worker checks whether it was committed"),
            (_, Some(output)) => format!(
                "{ending}: waits for a worker with the output {output}, which checks whether it was committed"
            ),
            (_, None) => format!("{ending}: waits for a worker, which checks whether it was committed"),
        })
    }
}

const CANCELLING: &str = "cancelling";

/// Returns `cancelling` or `ending` for a request that a worker still has to end, otherwise `None`.
pub(super) fn ending_word(state: State, cancel: bool, ending: bool) -> Option<String> {
    let has_ended = matches!(state, State::Done | State::Dead | State::Cancelled);
    match (cancel, ending) {
        _ if has_ended => None,
        (true, _) => Some(CANCELLING.to_owned()),
        (false, true) => Some("ending".to_owned()),
        (false, false) => None,
    }
}

/// The counts of a queue, in the form in which `counts.lua` returns them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// The queue's name.
    pub queue: String,
    /// The number of requests in [`State::Ready`].
    pub ready: u64,
    /// The number of requests in [`State::Delayed`].
    pub delayed: u64,
    /// The number of requests in [`State::Leased`].
    pub leased: u64,
    /// The number of requests in [`State::Done`].
    pub done: u64,
    /// The number of requests in [`State::Dead`].
    pub dead: u64,
    /// The number of requests in [`State::Cancelled`].
    pub cancelled: u64,
    /// The number of documents on the intake list.
    pub intake: u64,
    /// The number of documents from the intake list that were not valid requests.
    pub invalid: u64,
    /// Set while the queue is paused.
    pub paused: bool,
    /// The number of the binding in force, or `None` if the queue has none.
    pub binding: Option<u64>,
}

/// A document from an intake list that is not a valid request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invalid {
    /// The document's name within its queue, for [`super::Admin::purge_invalid`].
    pub key: String,
    /// The document as it was pushed. If the document is longer than 64 KiB, only its beginning.
    pub document: String,
    /// The reason why the document is invalid.
    pub reason: String,
    /// The code of the reason: see [`Code`]. `None` if a program without codes wrote the reason.
    pub code: Option<String>,
    /// The time at which the document was found to be invalid, in milliseconds since 1970.
    pub at_ms: i64,
}

pub(super) fn progress_text(progress: Progress) -> String {
    serde_json::to_string(&progress).expect("numbers serialize")
}

pub(super) fn progress_value(text: &str) -> Option<Progress> {
    strict_json::from_str(text).ok()
}
