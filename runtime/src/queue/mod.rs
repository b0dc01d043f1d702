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
pub use self::registry::{Binding, Component, ListedBinding, Registry, Step, UnreadableBinding};
pub use self::status::{
    Cancelled, Counts, DeadLetterOutcome, Invalid, ListPosition, ListedRequest, Reaped, State, Status,
    StatusDocument, StoredReceipt, Submitted,
};
use self::status::{ending_word, input_value, progress_text, progress_value};
use crate::error::{Code, Error, Result, Stage};
use crate::request::{InputOptions, NewRequest};

/// The most requests that one step of a submit creates; a longer submit takes several, so that it does not hold up
/// others.
const SUBMIT_STEP: usize = 250;

/// The most requests that one claim takes.
const CLAIM_STEP: usize = 64;

/// The most delayed requests, and the most lost ones, that one claim brings back to the queue.
const COMEBACK_MAX: usize = 100;

/// The most ready requests that a claim looks at to find some that its worker may have.
const LOOK_MAX: usize = 1_000;

/// The most times that a claim looks at [`LOOK_MAX`] more; requests further back are found once those in front are
/// gone.
const LOOK_STEPS_MAX: usize = 50;

/// The most dead requests that one step retries or purges, so that it does not hold up others.
pub(crate) const DEAD_STEP: usize = 100;

/// The most documents that one step purges, each of at most 64 KiB.
const PURGE_STEP: usize = 100;

/// The most ended requests that one step of a reap removes, so that it does not hold up others.
const REAP_STEP: usize = 100;

/// The most hosts that a server remembers as reached.
const REACHED_MAX: usize = 10_000;

/// The version of this program, for people who run several.
const HOST: &str = concat!("version ", env!("CARGO_PKG_VERSION"));

/// The longest wait for something new; a longer one returns early.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// The requests of one server, in queues. Any number of workers on any number of machines may use it at once.
///
/// Each verb is one atomic step on the server, by the server's clock. After a transient error it is unknown whether the
/// step was taken. Every verb may be repeated: a second submit, renew, settle, fail or release of the same thing by the
/// same holder has no further effect, and a second claim with the same nonce gives the same claim.
pub trait Queue: Producer + Claims + Admin {}

impl<T: Producer + Claims + Admin> Queue for T {}

/// The verbs for programs that submit requests and ask for their state.
#[async_trait]
pub trait Producer: Send + Sync {
    /// Puts requests into a queue, each for itself; the answers are in their order. A request that is
    /// [`Submitted::Created`] or [`Submitted::Existing`] survives as long as the server's storage does. If one of the
    /// requests breaks a rule of [`NewRequest::check`], none is submitted.
    async fn submit(&self, queue: &str, requests: &[NewRequest]) -> Result<Vec<Submitted>>;

    /// Returns one request; none if the queue does not know it.
    async fn status(&self, queue: &str, id: &str) -> Result<Option<Status>>;
}

/// The verbs for workers: they claim, renew and end requests.
#[async_trait]
pub trait Claims: Send + Sync {
    /// Takes the next requests, at most `count`: those of the highest priority, and among these the oldest. Returns
    /// none if the queue is paused, has nothing ready, or has no binding where one is needed. It may return fewer than
    /// `count` while more is ready. A request that becomes poison with one more lost lease is given alone. Asking again
    /// with the same nonce and count gives the same claims and no others, as long as any of them is valid.
    ///
    /// A request that is only to be ended ([`Claim::ending`]) comes first, even where claims are withheld.
    ///
    /// Before that, delayed requests whose time has come and requests whose lease has expired become ready (the latter
    /// to be ended, if that was their last loss). Documents from the intake list become requests or are set aside as
    /// [`Invalid`]. A call handles a bounded number of each, so that a claim is quick; documents are imported at the
    /// latest in time for the next claim. A request that this host cannot read becomes a dead letter, and the next one
    /// is taken.
    async fn claim_some(&self, queue: &str, options: &ClaimOptions, count: usize) -> Result<Vec<Claim>>;

    /// Takes the next request: [`Claims::claim_some`] for one.
    async fn claim(&self, queue: &str, options: &ClaimOptions) -> Result<Option<Claim>> {
        Ok(self.claim_some(queue, options, 1).await?.pop())
    }

    /// Extends a lease to `lease` from now, even one that has expired if nobody has noticed yet. Fails with
    /// [`crate::error::Class::LeaseLost`] if the claim no longer belongs to this ticket.
    async fn renew(&self, ticket: &Ticket, lease: Duration, progress: Progress) -> Result<Renewed>;

    /// Ends a claim as done, with its receipt, even if a cancel is asked for. Fails with
    /// [`crate::error::Class::LeaseLost`] if the claim no longer belongs to this ticket.
    async fn settle(&self, ticket: &Ticket, receipt: &str) -> Result<()>;

    /// Ends a claim as failed, with the given reason. A retry becomes a cancel if one is asked for. Fails with
    /// [`crate::error::Class::LeaseLost`] as above.
    async fn fail(&self, ticket: &Ticket, error: &str, next: Next) -> Result<()> {
        let (code, report) = (None, None);
        let failure = Failure { error, code, report };
        self.fail_with(ticket, failure, next).await
    }

    /// Does [`Claims::fail`], with the code of the failure and the report that this attempt has kept.
    async fn fail_with(&self, ticket: &Ticket, failure: Failure<'_>, next: Next) -> Result<()>;

    /// Hands a claim back, ready for others at once, as if it had not been made. A request with a requested cancel
    /// becomes cancelled instead. Fails with [`crate::error::Class::LeaseLost`] as above.
    async fn release(&self, ticket: &Ticket) -> Result<()>;

    /// Returns when there may be something new to claim, at the latest after `timeout`. It may return early.
    async fn wait(&self, queue: &str, timeout: Duration) -> Result<()>;

    /// Counts the ready requests that wait for workers with other outputs, among those that a claim looks at.
    async fn elsewhere(&self, queue: &str, own: &OutputId) -> Result<Vec<OtherOutput>>;

    /// Remembers that these hosts (`HOST:PORT`) have answered a worker. The server keeps a bounded number, the latest
    /// ones.
    async fn note_reached(&self, hosts: &[String]) -> Result<()>;

    /// Returns whether the server remembers that a host has answered a worker.
    async fn was_reached(&self, host: &str) -> Result<bool>;
}

/// The verbs for people, and for workers that tidy up: lists, counts, pauses, dead letters and removals.
#[async_trait]
pub trait Admin: Send + Sync {
    /// Lists the requests in a state, at most `limit`: those that come next first, or those that ended last first.
    async fn requests(&self, queue: &str, state: State, limit: usize) -> Result<Vec<Status>>;

    /// Lists the requests in a state other than [`State::Ready`] after a place, in order, at most `limit`. A walk that
    /// continues after the last request of each page gets each request that keeps its place exactly once, even if
    /// others change the list.
    async fn after(
        &self,
        queue: &str,
        state: State,
        place: &ListPosition,
        limit: usize,
    ) -> Result<Vec<ListedRequest>>;

    /// Returns the server's time, in milliseconds since 1970.
    async fn now_ms(&self) -> Result<i64>;

    /// Withdraws a request. A leased request becomes [`State::Cancelled`] once its claim ends, unless the claim ends by
    /// a settle or in the dead letters. If a claim of it was lost, a worker has to end it: the next claim says so.
    async fn cancel(&self, queue: &str, id: &str) -> Result<Cancelled>;

    /// Puts a dead request back to ready, its attempts and losses forgotten. Returns false if it is not dead.
    async fn retry_dead(&self, queue: &str, id: &str) -> Result<bool>;

    /// Removes a dead request for good. Returns false if it is not dead.
    async fn purge_dead(&self, queue: &str, id: &str) -> Result<bool>;

    /// Does [`Admin::retry_dead`] for several requests, each only if it still has this place among the dead; the
    /// answers are in the same order.
    async fn retry_deaths(&self, queue: &str, deaths: &[ListPosition]) -> Result<Vec<DeadLetterOutcome>>;

    /// Does [`Admin::purge_dead`] for several requests, as [`Admin::retry_deaths`].
    async fn purge_deaths(&self, queue: &str, deaths: &[ListPosition]) -> Result<Vec<DeadLetterOutcome>>;

    /// Removes requests that have been [`State::Done`] or [`State::Cancelled`] for `keep` or longer, by the server's
    /// clock, and all that is known of their ids. For each state, those that ended first go first. One call removes a
    /// bounded number. Dead letters stay: only people remove them.
    async fn reap(&self, queue: &str, keep: Duration) -> Result<Reaped>;

    /// Lists documents that were not valid requests, the newest first, at most `limit`.
    async fn invalid(&self, queue: &str, limit: usize) -> Result<Vec<Invalid>>;

    /// Removes a document that was not a valid request for good, by its [`Invalid::key`]. Returns false if there is
    /// none.
    async fn purge_invalid(&self, queue: &str, key: &str) -> Result<bool>;

    /// Removes documents that were found to be invalid at this time or before, by the server's clock: the oldest first,
    /// a bounded number in one call. Returns their keys; none if nothing is left to remove.
    async fn purge_invalid_until(&self, queue: &str, until_ms: i64) -> Result<Vec<String>>;

    /// Withholds claims, or grants them again.
    async fn set_paused(&self, queue: &str, paused: bool) -> Result<()>;

    /// Returns the counts of a queue.
    async fn counts(&self, queue: &str) -> Result<Counts>;

    /// Returns the names of all queues, sorted.
    async fn queues(&self) -> Result<Vec<String>>;

    /// Looks for faults, such as requests in no state or in two, or leases without a holder. Returns a sentence for
    /// each.
    async fn audit(&self, queue: &str) -> Result<Vec<String>>;

    /// Checks whether the server is set up to keep all data that it has acknowledged. Returns a sentence for each
    /// danger and each setting that could not be checked, with the reason and the setting to change.
    async fn settings(&self) -> Result<Vec<String>>;
}

/// Returns a time span in whole milliseconds, rounded up so that no wait becomes zero; at most 1,000 years.
fn millis(span: Duration) -> u64 {
    let millis = span.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis)
        .unwrap_or(u64::MAX)
        .min(1_000 * 366 * 86_400_000)
}

/// Returns stored input options, and decides how to end their request, with the code of the reason. If this host cannot
/// read the options, perhaps because a newer host submitted them, the request is not attempted: it becomes a dead letter,
/// unless an attempt has committed it.
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

/// Returns the error for a stored binding that this host cannot read, perhaps because a newer host made it. It is
/// transient, because another worker may be able to read the binding.
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
