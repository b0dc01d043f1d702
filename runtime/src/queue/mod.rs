//! Queues: requests go in, claims come out, and each claim is settled once. [`Queue`] holds the promises;
//! a Redis server and a SQLite file keep them.

mod backend;
mod claim;
mod intake;
mod redis;
mod registry;
mod sqlite;
mod status;

use std::time::Duration;

use async_trait::async_trait;

pub use self::backend::{Backend, is_on_this_machine};
pub use self::claim::{
    Claim, ClaimOptions, Ending, Failure, Next, OtherOutput, OutputId, Progress, Renewed, Ticket, is_suspect,
};
use self::claim::{code_of, ending_of, moved_from};
pub use self::registry::{Binding, Component, Registry};
pub use self::status::{
    Cancelled, Counts, DeadLetterOutcome, Invalid, ListPosition, ListedRequest, Reaped, State, Status,
    Submitted,
};
use self::status::{ending_word, input_value, progress_text, progress_value, receipt_value};
use crate::error::{Code, Error, Result, Stage};
use crate::request::{InputOptions, NewRequest};

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

/// The requests of one server, in queues. Any number of workers on any number of machines may use it at once.
///
/// Each verb is one atomic step on the server, by the server's clock. A transient error says nothing about
/// whether the step was taken; every verb may be asked again: a second submit, renew, settle, fail or release of
/// the same thing by the same holder does nothing more, and a second claim with the same nonce gives the same claim.
pub trait Queue: Producer + Claims + Admin {}

impl<T: Producer + Claims + Admin> Queue for T {}

/// Verbs for programs that submit requests and ask what became of them.
#[async_trait]
pub trait Producer: Send + Sync {
    /// Puts requests into a queue, each for itself; the answers are in their order. A request that is
    /// [`Submitted::Created`] or [`Submitted::Existing`] survives as long as the server's storage does. If one of them
    /// breaks a rule of [`NewRequest::check`], none is submitted.
    async fn submit(&self, queue: &str, requests: &[NewRequest]) -> Result<Vec<Submitted>>;

    /// One request; none if the queue does not know it.
    async fn status(&self, queue: &str, id: &str) -> Result<Option<Status>>;
}

/// Verbs for workers: requests are claimed, renewed and ended.
#[async_trait]
pub trait Claims: Send + Sync {
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

    /// [`Claims::claim_some`] for one.
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

    /// [`Claims::fail`], with all that is known of the failure.
    async fn fail_with(&self, ticket: &Ticket, failure: Failure<'_>, next: Next) -> Result<()>;

    /// Hands a claim back, ready for others at once, as if it had not been made; or cancelled, if that is asked for.
    /// [`crate::error::Class::LeaseLost`] as above.
    async fn release(&self, ticket: &Ticket) -> Result<()>;

    /// Returns when there may be something new to claim, at the latest after `timeout`. It may return early.
    async fn wait(&self, queue: &str, timeout: Duration) -> Result<()>;

    /// Counts the ready requests that wait for workers with other outputs, among those that a claim looks at.
    async fn elsewhere(&self, queue: &str, own: &OutputId) -> Result<Vec<OtherOutput>>;

    /// Remembers that these hosts (`HOST:PORT`) have answered a worker. The server keeps a bounded number, those that were told
    /// of last.
    async fn note_reached(&self, hosts: &[String]) -> Result<()>;

    /// Whether a host is remembered to have answered a worker.
    async fn was_reached(&self, host: &str) -> Result<bool>;
}

/// Verbs for people, and for workers that tidy up: lists, counts, pauses, dead letters and removals.
#[async_trait]
pub trait Admin: Send + Sync {
    /// Requests in a state, those that come next or came last first, at most `limit`.
    async fn requests(&self, queue: &str, state: State, limit: usize) -> Result<Vec<Status>>;

    /// Lists the requests in a state other than [`State::Ready`] after a place, in order, at most `limit`. A walk that goes on
    /// after the last one of each page gets each request that keeps its place exactly once, even if others change the list.
    async fn after(
        &self,
        queue: &str,
        state: State,
        place: &ListPosition,
        limit: usize,
    ) -> Result<Vec<ListedRequest>>;

    /// Returns the server's time, in milliseconds since 1970.
    async fn now_ms(&self) -> Result<i64>;

    /// Withdraws a request. If it is leased, the request is [`State::Cancelled`] once its claim ends in any way but by a settle or
    /// in the dead letters. If a claim of it was lost, a worker has to end it: the next one that claims it is told so.
    async fn cancel(&self, queue: &str, id: &str) -> Result<Cancelled>;

    /// Puts a dead request back to ready, its attempts and losses forgotten. False if it is not dead.
    async fn retry_dead(&self, queue: &str, id: &str) -> Result<bool>;

    /// Removes a dead request for good. False if it is not dead.
    async fn purge_dead(&self, queue: &str, id: &str) -> Result<bool>;

    /// Does [`Admin::retry_dead`] for several requests, each only if it still has this place among the dead; the answers are in
    /// the same order.
    async fn retry_deaths(&self, queue: &str, deaths: &[ListPosition]) -> Result<Vec<DeadLetterOutcome>>;

    /// Does [`Admin::purge_dead`] for several requests, as [`Admin::retry_deaths`].
    async fn purge_deaths(&self, queue: &str, deaths: &[ListPosition]) -> Result<Vec<DeadLetterOutcome>>;

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

/// Returns stored input options, and how their request is to be ended, with the code of the reason. One whose options this host cannot read, as may be with one
/// that a newer host submitted, is not attempted: it goes to the dead letters, unless an attempt has committed it.
fn input_or_ending(
    ticket: &Ticket,
    text: &str,
    ending: Option<Ending>,
    code: Option<String>,
) -> (InputOptions, Option<Ending>, Option<String>) {
    match strict_json::from_str(text) {
        Ok(input) => (input, ending, code),
        Err(_) if ending.is_some() => (InputOptions::default(), ending, code),
        Err(error) => {
            let unreadable = Ending::Dead(unreadable_request(ticket, &error.to_string()));
            let code = Code::HostOutdated.to_string();
            (InputOptions::default(), Some(unreadable), Some(code))
        }
    }
}

fn unreadable_request(ticket: &Ticket, why: &str) -> String {
    format!(
        "this host cannot read the stored request: {why}; if a newer version has submitted it, update this worker \
         ({HOST}), then `ingest-host dead retry {}`",
        ticket.id
    )
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
    fn a_part_of_a_millisecond_is_one() {
        assert_eq!(millis(Duration::ZERO), 0);
        assert_eq!(millis(Duration::from_nanos(1)), 1);
        assert_eq!(millis(Duration::from_micros(2_001)), 3);
        assert!(i64::try_from(millis(Duration::MAX)).is_ok());
    }
}
