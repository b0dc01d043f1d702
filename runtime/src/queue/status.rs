//! Describes requests and queues for people: states, counts, lists, and the results of verbs.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{Progress, REAP_STEP};
use crate::error::{Code, Error, Stage};
use crate::receipt::{Receipt, Unreadable};

/// The state of a request. A request is in exactly one of these at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits to be claimed.
    Ready,
    /// Waits for its time: submitted with a delay, or failed and to be retried.
    Delayed,
    /// Claimed by a worker that is working on it.
    Leased,
    /// Committed, with a receipt.
    Done,
    /// Given up, with a reason: a dead letter.
    Dead,
    /// Withdrawn by somebody.
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

    /// Returns the state's word in keys and documents.
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
    /// The same request existed already, in this state; nothing changed.
    Existing(State),
    /// Another request has the id; nothing changed.
    Conflict,
}

/// The result of a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// The request was waiting and is cancelled now.
    Now,
    /// The request is leased, and its worker learns of the cancel; or a claim of it was lost, and the next worker ends
    /// it.
    Asked,
    /// The request had ended before, in this state.
    TooLate(State),
    /// There is no such request.
    Unknown,
}

/// The place of a request among those of its state, which are ordered by the state's time, then by id.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListPosition {
    /// The time at which a delayed request is due, the lease of a leased one ends, or an ended one ended; in
    /// milliseconds since 1970 by the server's clock.
    pub at_ms: i64,
    /// The request.
    pub id: String,
}

/// A request in a list by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRequest {
    /// The request's place in the list.
    pub place: ListPosition,
    /// Attempts begun, without those lost or handed back.
    pub attempts: u32,
    /// Set if the next claim ends it, which no pause and no missing plugin prevents.
    pub is_ending: bool,
}

/// The outcome for one of several dead requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterOutcome {
    /// It was retried or purged.
    Done,
    /// The request is no longer dead since that time: somebody else has retried or purged it, and it may have died
    /// again.
    Gone,
    /// The server has lost the request's content, so it cannot be retried.
    Lost,
}

/// The result of one step of a reap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaped {
    /// Requests removed.
    pub removed: usize,
    /// Set if there may be more to remove.
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

/// A request as people ask about it. [`StatusDocument`] is its JSON form.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The request's id.
    pub id: String,
    /// The request's queue.
    pub queue: String,
    /// The URI of its input.
    pub uri: String,
    /// The options for reading the input: the members of [`crate::request::InputOptions`], and any others that a newer
    /// version has stored.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub input: Map<String, Value>,
    /// The request's state.
    pub state: State,
    /// The attempts begun, without those lost or handed back.
    pub attempts: u32,
    /// The number of leases lost.
    pub lost: u32,
    /// The time at which it is due (after a failure, its next try), in milliseconds since 1970 by the server's clock,
    /// while delayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<i64>,
    /// The error of the last attempt that failed.
    pub error: Option<String>,
    /// The code of `error`: a [`crate::error::Code`] of this version or of another one. `None` if a program without codes
    /// wrote the error.
    pub code: Option<String>,
    /// The URI of the report that a worker has kept in quarantine, while dead.
    pub report: Option<String>,
    /// The time at which its lease ends unless its worker renews it, in milliseconds since 1970 by the server's clock,
    /// while leased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_ends_ms: Option<i64>,
    /// The progress of its worker, while leased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// `cancelling` or `ending`, while a worker still has to end it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending: Option<String>,
    /// The output of a lost attempt: only a worker with this output continues the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// A remark for people about its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The receipt, once done.
    pub receipt: Option<StoredReceipt>,
}

/// A request as `status --json` and the lists of requests show it: the [`Status`], and members that have one value today.
#[derive(Debug, Serialize)]
pub struct StatusDocument<'a> {
    #[serde(flatten)]
    status: &'a Status,
    /// The inputs, each with its options. `uri` and `input` are the short form of the only one.
    inputs: [RequestedInput<'a>; 1],
    /// The id of the request that this one is a part of.
    parent: Option<&'a str>,
    /// The name of the group of requests that this one belongs to.
    group: Option<&'a str>,
}

/// An input of a request in a [`StatusDocument`], in the form that producers give it.
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
            parent: None,
            group: None,
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
        /// The text.
        text: String,
        /// The code of the reason.
        code: Code,
        /// The reason, for people.
        why: String,
    },
}

impl StoredReceipt {
    /// Reads a receipt as it is stored.
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

    /// Returns the receipt of the request with this id.
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

/// A receipt becomes a document of this version. Another text stays as it is: JSON if it is JSON, else a string.
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
    /// Says for people when the request is due, while it is delayed.
    pub fn due(&self) -> Option<String> {
        let at_ms = self.due_ms?;
        let at = jiff::Timestamp::from_millisecond(at_ms).ok()?;
        // This uses the local clock, which is mostly the server's as well.
        let left_s = (at_ms - jiff::Timestamp::now().as_millisecond()).max(0) / 1_000;
        let at = at.round(jiff::Unit::Second).unwrap_or(at);
        Some(format!("at {at}, in {left_s} s"))
    }

    /// Says for people why a delayed request becomes due: for a retry, to be ended without an attempt, or for its first
    /// attempt.
    pub fn due_for(&self) -> &'static str {
        match (&self.ending, self.attempts) {
            (Some(_), _) => "ends",
            (None, 0) => "due",
            (None, _) => "next try",
        }
    }

    /// Says for people when the lease ends, while there is one.
    pub fn lease_end(&self) -> Option<String> {
        let at_ms = self.lease_ends_ms?;
        let at = jiff::Timestamp::from_millisecond(at_ms).ok()?;
        let at = at.round(jiff::Unit::Second).unwrap_or(at);
        // This uses the local clock, which is mostly the server's as well.
        let left_ms = at_ms - jiff::Timestamp::now().as_millisecond();
        Some(match left_ms {
            ..=0 => format!("ended at {at}: the next worker that claims takes the request over"),
            _ => format!(
                "ends at {at}, in {} s, unless its worker renews it",
                left_ms / 1_000
            ),
        })
    }

    /// Says for people what the request waits for, if a worker still has to end it or only some workers may have it.
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

/// Returns the word for a request that a worker still has to end.
pub(super) fn ending_word(state: State, cancel: bool, ending: bool) -> Option<String> {
    let has_ended = matches!(state, State::Done | State::Dead | State::Cancelled);
    match (cancel, ending) {
        _ if has_ended => None,
        (true, _) => Some(CANCELLING.to_owned()),
        (false, true) => Some("ending".to_owned()),
        (false, false) => None,
    }
}

/// The counts of a queue, as this version's own script or query answers.
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
    /// Set while claims are withheld.
    pub paused: bool,
    /// The number of the binding in force.
    pub binding: Option<u64>,
}

/// A document from an intake list that is not a valid request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invalid {
    /// The document's name within its queue, for [`super::Admin::purge_invalid`].
    pub key: String,
    /// The document as it was pushed; only the beginning of one over 64 KiB.
    pub document: String,
    /// The reason why it is invalid.
    pub reason: String,
    /// The code of the reason: see [`Code`]. `None` if a program without codes wrote the reason.
    pub code: Option<String>,
    /// The time at which that was found, in milliseconds since 1970.
    pub at_ms: i64,
}

/// Returns input options as a status shows them: as they are stored, or empty if they cannot be read.
pub(super) fn input_value(text: &str) -> Map<String, Value> {
    strict_json::from_str(text).unwrap_or_default()
}

pub(super) fn progress_text(progress: Progress) -> String {
    serde_json::to_string(&progress).expect("numbers serialize")
}

pub(super) fn progress_value(text: &str) -> Option<Progress> {
    strict_json::from_str(text).ok()
}
