//! Queues: requests go in, claims come out, and each claim is settled once. [`Queue`] holds the promises;
//! a Redis server and a SQLite file keep them.

mod intake;
mod redis;
mod registry;
mod server;
mod sqlite;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::warn;

pub use self::registry::{Binding, Component, Registry};
pub use self::server::{Server, is_on_this_machine};
use crate::error::{Class, Code, Error, Result, Stage};
use crate::request::{NewRequest, Request};

/// How many requests one step of a submit creates; a longer submit takes several, so that it does not hold up others.
const SUBMIT_STEP: usize = 250;

/// How many requests one claim takes at most.
const CLAIM_STEP: usize = 64;

/// How many delayed requests, and how many lost ones, come back to the queue in one claim.
const COMEBACK_MAX: usize = 100;

/// The most ready requests that a claim looks at to find some that its worker may have.
const LOOK_MAX: usize = 1_000;

/// The most times that a claim looks at so many: requests behind them are found once those in front have gone.
const LOOK_STEPS_MAX: usize = 50;

/// The most dead requests that one step retries or purges, so that it does not hold up others.
pub(crate) const DEAD_STEP: usize = 100;

/// The most documents that one step purges, each of at most 64 KiB.
const PURGE_STEP: usize = 100;

/// How many ended requests one step of a reap removes, so that it does not hold up others.
const REAP_STEP: usize = 100;

/// The most hosts that a server remembers as reached.
const REACHED_MAX: usize = 10_000;

/// This program, for people who have several versions of it.
const HOST: &str = concat!("version ", env!("CARGO_PKG_VERSION"));

/// The longest wait for something new; a longer one returns early.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// Where a request is in its life. It is in exactly one of these at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits to be claimed.
    Ready,
    /// Waits for its time: submitted with a delay, or failed and to be tried again.
    Delayed,
    /// Claimed by a worker that is at work on it.
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

    /// The word for it, in keys and documents.
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

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// What a submit did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// The request is new.
    Created,
    /// The same request was there already, in this state; nothing changed.
    Existing(State),
    /// Another request has the id; nothing changed.
    Conflict,
}

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
    fn gone(&self) -> Error {
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

    fn lost(&self) -> Error {
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
    /// The code of the reason in [`Ending::Dead`], if the reason is one of an error that has a code.
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
pub struct Elsewhere {
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
    fn nonce_of(&self, number: usize) -> String {
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
    /// Its code, if there is one: see [`crate::error::Code`].
    pub code: Option<&'a str>,
    /// The URI of the report that this attempt has kept, for [`Status::report`].
    pub report: Option<&'a str>,
}

impl Failure<'_> {
    /// The code and the text that it is the code of, as they are stored beside the text. Programs of version 0.1.0 write the text
    /// alone, so that [`code_of`] finds that the code is of another one.
    fn coded(&self) -> Option<String> {
        self.code.map(|code| format!("{code} {}", self.error))
    }
}

/// Returns the code of a stored text, if the code that is stored beside it is not of another one.
fn code_of(coded: Option<&str>, text: Option<&str>) -> Option<String> {
    let (code, of) = coded?.split_once(' ')?;
    (of == text?).then(|| code.to_owned())
}

/// The answer to a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// Somebody asked for the request to be cancelled: stop, and fail with [`Next::Cancelled`].
    pub cancel: bool,
}

/// What a cancel did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// The request was waiting and is cancelled now.
    Now,
    /// The request is leased, and its worker was told to stop; or a claim of it was lost, and the next worker ends it.
    Asked,
    /// The request had come to its end before, in this state.
    TooLate(State),
    /// There is no such request.
    Unknown,
}

/// The place of a request among those of its state, which are ordered by the state's time, then by id.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The time at which a delayed request is due, the lease of a leased one ends, or an ended one ended; in milliseconds since
    /// 1970 by the server's clock.
    pub at_ms: i64,
    /// The request.
    pub id: String,
}

/// A request in a list by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its place in the list.
    pub place: Place,
    /// Attempts begun, without those lost or handed back.
    pub attempts: u32,
    /// Whether the next worker that claims it is to end it, which no pause and no missing plugin prevents.
    pub is_ending: bool,
}

/// The outcome for one of several dead requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revived {
    /// It was retried or purged.
    Done,
    /// This death is over: somebody else has retried or purged the request, and maybe it has died again.
    Gone,
    /// The server has lost the content of the request, so that it cannot be tried again.
    Lost,
}

/// What one step of a reap did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaped {
    /// Requests removed.
    pub removed: usize,
    /// Whether there may be more to remove.
    pub more: bool,
}

impl Reaped {
    fn of(removed: usize) -> Self {
        Self {
            removed,
            more: removed >= REAP_STEP,
        }
    }
}

/// A request as people ask about it; its JSON form is the contract of `status --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The request's id.
    pub id: String,
    /// Its queue.
    pub queue: String,
    /// Where its input is.
    pub uri: String,
    /// How to read it: the members of [`crate::request::InputOptions`], and what a newer version has stored beside them.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub input: Map<String, Value>,
    /// Where it is in its life.
    pub state: State,
    /// Attempts begun, without those lost or handed back.
    pub attempts: u32,
    /// Leases lost.
    pub lost: u32,
    /// When it is due, in milliseconds since 1970 by the server's clock, while delayed: after a failure that is its next try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<i64>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// The code of `error`: a [`crate::error::Code`] of this version or another one. None if a program without codes has written
    /// the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The URI of the report on it that a worker has kept in quarantine, while dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// When its lease ends unless its worker renews it, in milliseconds since 1970 by the server's clock, while leased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ends_ms: Option<i64>,
    /// How far its worker is, while leased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// `cancelling` or `ending`, while a worker still has to end it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<String>,
    /// The output of a lost attempt: only a worker with this output goes on with the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// A remark for people on how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The receipt, once done.
    pub receipt: Option<Value>,
}

impl Status {
    /// Says for people when the request is due, while it is delayed.
    pub fn due(&self) -> Option<String> {
        let at_ms = self.due_ms?;
        let at = jiff::Timestamp::from_millisecond(at_ms).ok()?;
        // By this machine's clock, which is mostly the server's, too.
        let left_s = (at_ms - jiff::Timestamp::now().as_millisecond()).max(0) / 1_000;
        let at = at.round(jiff::Unit::Second).unwrap_or(at);
        Some(format!("at {at}, in {left_s} s"))
    }

    /// Returns what a delayed request is due for, for people: its next try, to be ended without one, or its first attempt.
    pub fn due_for(&self) -> &'static str {
        match (&self.ending, self.attempts) {
            (Some(_), _) => "ended",
            (None, 0) => "due",
            (None, _) => "next try",
        }
    }

    /// Says for people when the lease ends, while there is one.
    pub fn lease_end(&self) -> Option<String> {
        let at_ms = self.lease_ends_ms?;
        let at = jiff::Timestamp::from_millisecond(at_ms).ok()?;
        let at = at.round(jiff::Unit::Second).unwrap_or(at);
        // By this machine's clock, which is mostly the server's, too.
        let left_ms = at_ms - jiff::Timestamp::now().as_millisecond();
        Some(match left_ms {
            ..=0 => format!("ended at {at}: the next worker that claims takes the request over"),
            _ => format!(
                "ends at {at}, in {} s, unless its worker renews it",
                left_ms / 1_000
            ),
        })
    }

    /// Says for people what the request waits for, if a worker still has to end it, or if only some workers may have it.
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
fn ending_word(state: State, cancel: bool, ending: bool) -> Option<String> {
    let has_ended = matches!(state, State::Done | State::Dead | State::Cancelled);
    match (cancel, ending) {
        _ if has_ended => None,
        (true, _) => Some(CANCELLING.to_owned()),
        (false, true) => Some("ending".to_owned()),
        (false, false) => None,
    }
}

/// Returns how a claim has to end its request, if it does.
fn ending_of(cancel: bool, ending: Option<String>) -> Option<Ending> {
    if cancel {
        Some(Ending::Cancel)
    } else {
        ending.map(Ending::Dead)
    }
}

/// Returns the location of the output that a claim has recorded, if it is not the worker's own.
fn moved_from(recorded: Option<&str>, own: &OutputId) -> Option<String> {
    let (id, uri) = recorded?.split_once(' ')?;
    (id != own.id).then(|| uri.to_owned())
}

/// How much of what a queue has, as this version's own script or query answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// The queue.
    pub queue: String,
    /// Requests in [`State::Ready`].
    pub ready: u64,
    /// Requests in [`State::Delayed`].
    pub delayed: u64,
    /// Requests in [`State::Leased`].
    pub leased: u64,
    /// Requests in [`State::Done`].
    pub done: u64,
    /// Requests in [`State::Dead`].
    pub dead: u64,
    /// Requests in [`State::Cancelled`].
    pub cancelled: u64,
    /// Documents on the intake list.
    pub intake: u64,
    /// Documents from the intake list that were not valid requests.
    pub invalid: u64,
    /// Whether claims are withheld.
    pub paused: bool,
    /// The number of the binding in force.
    pub binding: Option<u64>,
}

/// A document from an intake list that is not a valid request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invalid {
    /// Names it within its queue, for [`Queue::purge_invalid`].
    pub key: String,
    /// As it was pushed; of one over 64 KiB only the beginning.
    pub document: String,
    /// What is wrong with it.
    pub reason: String,
    /// When that was found, in milliseconds since 1970.
    pub at_ms: i64,
}

/// The requests of one server, in queues. Any number of workers on any number of machines may use it at once.
///
/// Each verb is one atomic step on the server, by the server's clock. A transient error says nothing about
/// whether the step was taken; every verb may be asked again: a second submit, renew, settle, fail or release of
/// the same thing by the same holder does nothing more, and a second claim with the same nonce gives the same claim.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Puts requests into a queue, each for itself; the answers are in their order. A request that is
    /// [`Submitted::Created`] or [`Submitted::Existing`] survives as long as the server's storage does. If one of them
    /// breaks a rule of [`NewRequest::check`], none is submitted.
    async fn submit(&self, queue: &str, requests: &[NewRequest]) -> Result<Vec<Submitted>>;

    /// Takes the next requests, at most `count`: those of the highest priority, and of those the oldest. There are none if
    /// the queue is paused, has nothing ready, or has no binding where one is needed; there may be fewer than `count` while
    /// more is ready. A request that one more lost lease makes poison is given alone. To ask again with the same nonce and
    /// count, while any of the claims stands that it gave, gives those claims once more and no others.
    ///
    /// A request that is only to be ended ([`Claim::ending`]) comes first, and also where claims are withheld.
    ///
    /// Before that, delayed requests whose time has come and requests whose lease ran out become ready (the latter to be ended, if
    /// that was their last loss), and documents from the intake list become requests or are set aside as [`Invalid`]: a
    /// bounded number of each, so that a claim is quick, and documents at the latest in time for the next claim. A request
    /// that this host cannot read becomes a dead letter, and the next one is taken.
    async fn claim_some(&self, queue: &str, options: &ClaimOptions, count: usize) -> Result<Vec<Claim>>;

    /// [`Queue::claim_some`] for one.
    async fn claim(&self, queue: &str, options: &ClaimOptions) -> Result<Option<Claim>> {
        Ok(self.claim_some(queue, options, 1).await?.pop())
    }

    /// Extends a lease to `lease` from now, also one that ran out if nobody has noticed yet.
    /// [`crate::error::Class::LeaseLost`] if it is not this ticket's any more.
    async fn renew(&self, ticket: &Ticket, lease: Duration, progress: Progress) -> Result<Renewed>;

    /// Ends a claim as done, with its receipt, whether a cancel is asked for or not.
    /// [`crate::error::Class::LeaseLost`] if it is not this ticket's any more.
    async fn settle(&self, ticket: &Ticket, receipt: &str) -> Result<()>;

    /// Ends a claim as failed, for the reason given. A retry becomes a cancel if one is asked for.
    /// [`crate::error::Class::LeaseLost`] as above.
    async fn fail(&self, ticket: &Ticket, error: &str, next: Next) -> Result<()> {
        let (code, report) = (None, None);
        let failure = Failure { error, code, report };
        self.fail_with(ticket, failure, next).await
    }

    /// [`Queue::fail`], with all that is known of the failure.
    async fn fail_with(&self, ticket: &Ticket, failure: Failure<'_>, next: Next) -> Result<()>;

    /// Hands a claim back, ready for others at once, as if it had not been made; or cancelled, if that is asked for.
    /// [`crate::error::Class::LeaseLost`] as above.
    async fn release(&self, ticket: &Ticket) -> Result<()>;

    /// Returns when there may be something new to claim, at the latest after `timeout`. It may return early.
    async fn wait(&self, queue: &str, timeout: Duration) -> Result<()>;

    /// Counts the ready requests that wait for workers with other outputs, among those that a claim looks at.
    async fn elsewhere(&self, queue: &str, own: &OutputId) -> Result<Vec<Elsewhere>>;

    /// One request; none if the queue does not know it.
    async fn status(&self, queue: &str, id: &str) -> Result<Option<Status>>;

    /// Requests in a state, those that come next or came last first, at most `limit`.
    async fn requests(&self, queue: &str, state: State, limit: usize) -> Result<Vec<Status>>;

    /// Lists the requests in a state other than [`State::Ready`] after a place, in order, at most `limit`. A walk that goes on
    /// after the last one of each page gets each request that keeps its place exactly once, even if others change the list.
    async fn after(&self, queue: &str, state: State, place: &Place, limit: usize) -> Result<Vec<Listed>>;

    /// Returns the server's time, in milliseconds since 1970.
    async fn now_ms(&self) -> Result<i64>;

    /// Withdraws a request. If it is leased, the request is [`State::Cancelled`] once its claim ends in any way but by a settle or
    /// in the dead letters. If a claim of it was lost, a worker has to end it: the next one that claims it is told so.
    async fn cancel(&self, queue: &str, id: &str) -> Result<Cancelled>;

    /// Puts a dead request back to ready, its attempts and losses forgotten. False if it is not dead.
    async fn retry_dead(&self, queue: &str, id: &str) -> Result<bool>;

    /// Removes a dead request for good. False if it is not dead.
    async fn purge_dead(&self, queue: &str, id: &str) -> Result<bool>;

    /// Does [`Queue::retry_dead`] for several requests, each only if it still has this place among the dead; the answers are in
    /// the same order.
    async fn retry_deaths(&self, queue: &str, deaths: &[Place]) -> Result<Vec<Revived>>;

    /// Does [`Queue::purge_dead`] for several requests, as [`Queue::retry_deaths`].
    async fn purge_deaths(&self, queue: &str, deaths: &[Place]) -> Result<Vec<Revived>>;

    /// Removes requests that came to be [`State::Done`] or [`State::Cancelled`] `keep` ago or earlier, by the server's
    /// clock, and with them all that is known of their ids. Of each state those go first that ended first, a bounded
    /// number in one call. Dead letters stay: only people remove them.
    async fn reap(&self, queue: &str, keep: Duration) -> Result<Reaped>;

    /// Documents that were not valid requests, the newest first, at most `limit`.
    async fn invalid(&self, queue: &str, limit: usize) -> Result<Vec<Invalid>>;

    /// Removes a document that was not a valid request for good, by its [`Invalid::key`]. False if there is none.
    async fn purge_invalid(&self, queue: &str, key: &str) -> Result<bool>;

    /// Removes documents that were found not to be valid requests at this time or before, by the server's clock: the oldest
    /// first, a bounded number in one call. Returns their keys; none if there is nothing left to remove.
    async fn purge_invalid_until(&self, queue: &str, until_ms: i64) -> Result<Vec<String>>;

    /// Withholds claims, or grants them again.
    async fn set_paused(&self, queue: &str, paused: bool) -> Result<()>;

    /// How much of what a queue has.
    async fn counts(&self, queue: &str) -> Result<Counts>;

    /// The names of all queues, sorted.
    async fn queues(&self) -> Result<Vec<String>>;

    /// Remembers that these hosts (`HOST:PORT`) have answered a worker. The server keeps a bounded number, those that were told
    /// of last.
    async fn note_reached(&self, hosts: &[String]) -> Result<()>;

    /// Whether a host is remembered to have answered a worker.
    async fn was_reached(&self, host: &str) -> Result<bool>;

    /// Looks for requests that are in no state or in two, leases without a holder and the like; a sentence for each.
    async fn audit(&self, queue: &str) -> Result<Vec<String>>;

    /// Looks whether the server is set up to keep what it has acknowledged; for each danger, and for each thing that
    /// could not be checked, a sentence about it: what, why, and what to set.
    async fn settings(&self) -> Result<Vec<String>>;
}

/// A time span in whole milliseconds; a part of one counts, so that no wait becomes none. At most 1,000 years.
fn millis(span: Duration) -> u64 {
    let millis = span.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis)
        .unwrap_or(u64::MAX)
        .min(1_000 * 366 * 86_400_000)
}

/// A receipt as a status shows it: the document, or the text if it is none.
fn receipt_value(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

/// Input options as a status shows them: as they are stored; none, if they cannot be read.
fn input_value(text: &str) -> Map<String, Value> {
    strict_json::from_str(text).unwrap_or_default()
}

fn progress_text(progress: Progress) -> String {
    serde_json::to_string(&progress).expect("numbers serialize")
}

fn progress_value(text: &str) -> Option<Progress> {
    strict_json::from_str(text).ok()
}

/// Ends a claim whose stored request this host cannot read, as may be with one that a newer host submitted: it goes to
/// the dead letters, where it is in nobody's way and can be retried.
async fn bury_unreadable(queue: &dyn Queue, ticket: &Ticket, why: &str) -> Result<()> {
    let reason = format!(
        "this host cannot read the stored request: {why}; if a newer version has submitted it, update this worker \
         ({HOST}), then `ingest-host dead retry {}`",
        ticket.id
    );
    warn!(
        queue = ticket.queue,
        request_id = ticket.id,
        reason,
        code = %Code::HostOutdated,
        "unreadable request given up"
    );
    let failure = Failure {
        error: &reason,
        code: Some(Code::HostOutdated.as_str()),
        report: None,
    };
    match queue.fail_with(ticket, failure, Next::Dead).await {
        Err(error) if error.class() == Class::LeaseLost => Ok(()),
        done => done,
    }
}

/// The error for a stored binding that this host cannot read, as may be with one that a newer host has put in force. Another
/// worker may be able to, so the request waits for it.
fn unreadable_binding(
    queue: &str,
    number: u64,
    why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    let what = format!("{queue}: this host cannot read binding {number}");
    let hint = format!("if a newer version has bound it, update this program ({HOST})");
    Error::transient(Stage::Queue, Code::HostOutdated, what)
        .because(why)
        .with_hint(hint)
}

fn wrong_binding(queue: &str, expected: u64, current: u64) -> Error {
    Error::permanent(
        Stage::Queue,
        Code::BindingConflict,
        format!("{queue}: binding {current} is in force, not {expected} (0 is none): look again, then bind"),
    )
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

    #[test]
    fn a_part_of_a_millisecond_is_one() {
        assert_eq!(millis(Duration::ZERO), 0);
        assert_eq!(millis(Duration::from_nanos(1)), 1);
        assert_eq!(millis(Duration::from_micros(2_001)), 3);
        assert!(i64::try_from(millis(Duration::MAX)).is_ok());
    }
}
