//! Defines queues: programs submit requests, workers claim them, and only one operation can end a claim. [`Queue`]
//! states the promises. Two backends keep these promises: a Redis server and a SQLite file.

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
pub use self::registry::{Binding, Component, ListedBinding, Registry, Step, StepData, UnreadableBinding};
pub use self::status::{
    Cancelled, Counts, DeadLetterOutcome, GroupPage, Invalid, ListPosition, ListedRequest, Reaped, State,
    Status, StatusDocument, StoredReceipt, Submitted,
};
use self::status::{ending_word, progress_text, progress_value};
use crate::error::{Code, Error, Result, Stage};
use crate::request::{NewRequest, StoredInput};

/// The maximum number of requests that one step of a submit creates. A longer submit takes several steps, so that other
/// programs do not wait long.
const SUBMIT_STEP: usize = 250;

/// The maximum number of requests that one step of [`Producer::statuses`] or [`Admin::group`] returns.
const STATUS_STEP: usize = 250;

/// The maximum number of requests that one call of [`Claims::claim_some`] claims.
const CLAIM_STEP: usize = 64;

/// The maximum number of delayed requests that one step of a claim makes ready. The same maximum applies to requests
/// whose lease has expired.
const COMEBACK_MAX: usize = 100;

/// The maximum number of ready requests that one step of a claim examines. A step can examine more requests than it
/// claims, because some requests may be only for workers with other outputs.
const LOOK_MAX: usize = 1_000;

/// The maximum number of times that a claim examines [`LOOK_MAX`] requests. Requests further back in the queue are
/// found when the requests in front of them are gone.
const LOOK_STEPS_MAX: usize = 50;

/// The maximum number of dead requests that one step retries or purges, so that other programs do not wait long.
pub(crate) const DEAD_STEP: usize = 100;

/// The maximum number of invalid documents that one step purges. Each document has at most 64 KiB.
const PURGE_STEP: usize = 100;

/// The maximum number of ended requests that one step of a reap removes, so that other programs do not wait long.
const REAP_STEP: usize = 100;

/// The maximum number of hosts that a server remembers because they have answered a worker.
const REACHED_MAX: usize = 10_000;

/// The version of this program, as error messages show it.
const HOST: &str = concat!("version ", env!("CARGO_PKG_VERSION"));

/// The longest time that one call of [`Claims::wait`] waits, whatever its timeout is.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// Access to the requests in the queues of one server. Any number of workers on any number of machines can use the
/// server at the same time.
///
/// Each operation is one atomic step on the server; an operation on many requests can take several steps. All times are
/// by the server's clock. After a transient error, it is unknown whether the step was taken. So a caller may repeat
/// every operation:
///
/// - A repeated submit of the same request changes nothing. A repeated settle, fail or release of the same claim
///   changes nothing.
/// - A repeated renew extends the lease once more. A repeated claim with the same nonce returns the same claim.
pub trait Queue: Producer + Claims + Admin {}

impl<T: Producer + Claims + Admin> Queue for T {}

/// The operations for programs that submit requests and ask for their state.
#[async_trait]
pub trait Producer: Send + Sync {
    /// Puts requests into a queue. If one of them is in conflict with a stored request, the others are submitted all
    /// the same. The answers are in the order of the requests. If the answer for a request is [`Submitted::Created`] or
    /// [`Submitted::Existing`], the server has stored the request. If one of the requests breaks a rule of
    /// [`NewRequest::check`], none is submitted.
    async fn submit(&self, queue: &str, requests: &[NewRequest]) -> Result<Vec<Submitted>>;

    /// Returns one request, or `None` if the queue has no request with this id.
    async fn status(&self, queue: &str, id: &str) -> Result<Option<Status>> {
        let found = self.statuses(queue, &[id.to_owned()]).await?;
        Ok(found.into_iter().next().flatten())
    }

    /// Returns the requests with these ids, in the order of the ids. Has `None` for each id that the queue does not have.
    async fn statuses(&self, queue: &str, ids: &[String]) -> Result<Vec<Option<Status>>>;
}

/// The operations for workers, which claim, renew and end requests.
#[async_trait]
pub trait Claims: Send + Sync {
    /// Takes the next requests, at most `count`: the ones with the highest priority, and among these the oldest. In
    /// these cases, returns only requests that have to be ended, or an empty list:
    ///
    /// - The queue is paused.
    /// - The queue has no other ready request.
    /// - The claim needs a binding ([`ClaimOptions::needs_binding`]) and the queue has none.
    ///
    /// The list can have fewer than `count` requests although more are ready. If one more lost lease would make a
    /// request poison, that request is returned alone. If a call is repeated with the same nonce and count, it returns
    /// those claims of the first call that are still valid, and no others. If none is valid any more, the call makes
    /// new claims.
    ///
    /// Requests that only have to be ended ([`Claim::ending`]) come first. They are returned even while the queue is
    /// paused or has no binding.
    ///
    /// Each call also does the following, for a bounded number of requests and documents, so that a claim is quick:
    ///
    /// - Delayed requests whose time has come become ready.
    /// - Requests whose lease has expired become ready. If such a request has lost too many leases, the next claim ends
    ///   it.
    /// - Documents from the intake list become requests, or are set aside as [`Invalid`]. This claim or the next one
    ///   can take these requests.
    ///
    /// If this host cannot read a request, the request becomes a dead letter: either this call ends it and takes the
    /// next request instead, or its claim has to end it ([`Claim::ending`]).
    async fn claim_some(&self, queue: &str, options: &ClaimOptions, count: usize) -> Result<Vec<Claim>>;

    /// Returns the number of requests that the claims of this program have moved to the dead letters so far, because the
    /// server had lost their content.
    fn requests_lost(&self) -> u64 {
        0
    }

    /// Takes the next request: does what [`Claims::claim_some`] does, for one request. Returns `None` if no request can
    /// be claimed.
    async fn claim(&self, queue: &str, options: &ClaimOptions) -> Result<Option<Claim>> {
        Ok(self.claim_some(queue, options, 1).await?.pop())
    }

    /// Extends a lease, so that it ends after the time `lease`, counted from now. An expired lease can also be
    /// extended, until a claim by any worker finds that the lease has expired. Fails with
    /// [`crate::error::Class::LeaseLost`] if the claim was lost, or if another operation has ended it.
    async fn renew(&self, ticket: &Ticket, lease: Duration, progress: Progress) -> Result<Renewed>;

    /// Ends a claim as done, with its receipt, even if somebody has asked to cancel the request. Fails with
    /// [`crate::error::Class::LeaseLost`] if the claim was lost, or if another operation has ended it.
    async fn settle(&self, ticket: &Ticket, receipt: &str) -> Result<()>;

    /// Ends a claim as failed, with the given reason. With [`Next::Retry`], a request that somebody has asked to cancel
    /// is not retried, but cancelled as in [`Claims::release`]. Fails with [`crate::error::Class::LeaseLost`] in the
    /// same cases as [`Claims::settle`].
    async fn fail(&self, ticket: &Ticket, error: &str, next: Next) -> Result<()> {
        let (code, report) = (None, None);
        let failure = Failure { error, code, report };
        self.fail_with(ticket, failure, next).await
    }

    /// Does what [`Claims::fail`] does, and also stores the code of the failure and the URI of the report that this
    /// attempt has kept.
    async fn fail_with(&self, ticket: &Ticket, failure: Failure<'_>, next: Next) -> Result<()>;

    /// Hands a claim back as if it had not been made: other workers can claim the request at once. If somebody has
    /// asked to cancel the request, it becomes cancelled instead; if an earlier claim of the request was lost, the next
    /// claim ends it as cancelled. Fails with [`crate::error::Class::LeaseLost`] in the same cases as
    /// [`Claims::settle`].
    async fn release(&self, ticket: &Ticket) -> Result<()>;

    /// Returns when there may be something new to claim, and after `timeout` at the latest. Can also return although
    /// there is nothing to claim.
    async fn wait(&self, queue: &str, timeout: Duration) -> Result<()>;

    /// Counts the ready requests that wait for a worker with an output other than `own`. Returns each such output with
    /// its number of requests. A backend can leave out requests that are too far back in the queue for a claim to find.
    async fn elsewhere(&self, queue: &str, own: &OutputId) -> Result<Vec<OtherOutput>>;

    /// Remembers that these hosts (`HOST:PORT`) have answered a worker. The server keeps a bounded number of hosts:
    /// those that were noted last.
    async fn note_reached(&self, hosts: &[String]) -> Result<()>;

    /// Returns whether the server remembers that a host has answered a worker.
    async fn was_reached(&self, host: &str) -> Result<bool>;
}

/// The operations for people, and for workers that remove old requests: lists, counts, pauses, dead letters and
/// removals.
#[async_trait]
pub trait Admin: Send + Sync {
    /// Lists the requests in a state, at most `limit`. A list of [`State::Ready`], [`State::Delayed`] or
    /// [`State::Leased`] begins with the request that is claimed first, is due first, or whose lease ends first. A list
    /// of ended requests begins with the request that ended last.
    async fn requests(&self, queue: &str, state: State, limit: usize) -> Result<Vec<Status>>;

    /// Lists the requests in a state that come after a position, in the order of [`ListPosition`], at most `limit`.
    /// `state` must not be [`State::Ready`]. To walk the whole list, a caller continues after the last request of each
    /// page. Such a walk returns each request that keeps its position exactly once, even if others change the list
    /// meanwhile.
    async fn after(
        &self,
        queue: &str,
        state: State,
        place: &ListPosition,
        limit: usize,
    ) -> Result<Vec<ListedRequest>>;

    /// Lists the requests of a group that were submitted after a position, in the order in which they were submitted, at
    /// most `limit`. The list begins after the position 0, and each page has the position after which the next one begins.
    /// The operation examines the requests of the group only. A page can have fewer than `limit` requests although more
    /// follow.
    async fn group(&self, queue: &str, group: &str, after: u64, limit: usize) -> Result<GroupPage>;

    /// Returns the server's time, in milliseconds since 1970.
    async fn now_ms(&self) -> Result<i64>;

    /// Withdraws a request. If the request is leased, it becomes [`State::Cancelled`] when its claim ends, unless the
    /// claim ends as done or makes the request a dead letter. If an earlier claim of the request was lost, only a
    /// worker can end the request, so the next claim tells its worker to do this.
    async fn cancel(&self, queue: &str, id: &str) -> Result<Cancelled>;

    /// Makes a dead request ready again, and forgets its attempts and lost leases. Returns false if the request is not
    /// dead, or if the server has lost the request's content.
    async fn retry_dead(&self, queue: &str, id: &str) -> Result<bool> {
        self.retry_dead_with(queue, id, None).await
    }

    /// Does what [`Admin::retry_dead`] does. If `input` is given, it replaces the stored input options in the same step.
    /// The request stays the same for producers: a submit with its first options finds it.
    async fn retry_dead_with(&self, queue: &str, id: &str, input: Option<&StoredInput>) -> Result<bool>;

    /// Removes a dead request permanently. Returns false if the request is not dead.
    async fn purge_dead(&self, queue: &str, id: &str) -> Result<bool>;

    /// Does what [`Admin::retry_dead`] does, for several requests. A request is retried only if it still has the given
    /// position among the dead requests. The answers are in the order of `deaths`.
    async fn retry_deaths(&self, queue: &str, deaths: &[ListPosition]) -> Result<Vec<DeadLetterOutcome>>;

    /// Does what [`Admin::purge_dead`] does, for several requests. The same condition and the same order apply as in
    /// [`Admin::retry_deaths`].
    async fn purge_deaths(&self, queue: &str, deaths: &[ListPosition]) -> Result<Vec<DeadLetterOutcome>>;

    /// Removes requests that have been [`State::Done`] or [`State::Cancelled`] for `keep` or longer, by the server's
    /// clock. After that, the queue no longer knows their ids. In each state, the requests that ended first are removed
    /// first. One call removes a bounded number. Dead letters stay: only people remove them.
    async fn reap(&self, queue: &str, keep: Duration) -> Result<Reaped>;

    /// Lists the documents that were not valid requests, the newest first, at most `limit`.
    async fn invalid(&self, queue: &str, limit: usize) -> Result<Vec<Invalid>>;

    /// Permanently removes a document that was not a valid request, by its [`Invalid::key`]. Returns false if there is
    /// no such document.
    async fn purge_invalid(&self, queue: &str, key: &str) -> Result<bool>;

    /// Removes documents that were found to be invalid at `until_ms` or earlier, by the server's clock. Removes the
    /// oldest first, a bounded number in one call. Returns the keys of the removed documents: an empty list if nothing
    /// is left to remove.
    async fn purge_invalid_until(&self, queue: &str, until_ms: i64) -> Result<Vec<String>>;

    /// Pauses a queue, or resumes it. While a queue is paused, a claim takes only requests that have to be ended.
    async fn set_paused(&self, queue: &str, paused: bool) -> Result<()>;

    /// Returns the counts of a queue.
    async fn counts(&self, queue: &str) -> Result<Counts>;

    /// Returns the names of all queues, sorted.
    async fn queues(&self) -> Result<Vec<String>>;

    /// Looks for faults, such as a request in no state or in two states, or a lease without a holder. Returns a
    /// sentence for each fault.
    async fn audit(&self, queue: &str) -> Result<Vec<String>>;

    /// Checks whether the server is set up to keep all data that it has acknowledged. Returns a sentence for each
    /// danger, and one for each setting that could not be checked. If an operator can change a setting to remove the
    /// danger, the sentence names the setting.
    async fn settings(&self) -> Result<Vec<String>>;
}

/// Returns a time span in whole milliseconds, at most 1,000 years. Rounds up, so that a short wait does not become
/// zero.
fn millis(span: Duration) -> u64 {
    let millis = span.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis)
        .unwrap_or(u64::MAX)
        .min(1_000 * 366 * 86_400_000)
}

/// Returns the stored input of a request. Also returns how the request has to be ended, or `None` if it is to
/// be attempted, and the code of the reason. If this host cannot read the options, perhaps because a newer host
/// submitted them, the request is not attempted. If it does not already have to be ended for another reason, it has to
/// become a dead letter.
fn input_or_ending(
    ticket: &Ticket,
    text: &str,
    ending: Option<Ending>,
    code: Option<String>,
) -> (StoredInput, Option<Ending>, Option<String>) {
    match StoredInput::parse(text) {
        Ok(input) => (input, ending, code),
        Err(_) if ending.is_some() => (StoredInput::default(), ending, code),
        Err(error) => {
            let unreadable = Ending::Dead(unreadable_request(ticket, &error.to_string()));
            let code = Code::HostOutdated.to_string();
            (StoredInput::default(), Some(unreadable), Some(code))
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

/// Returns the error for a stored binding that this host cannot read, perhaps because a newer host made it. The error
/// is transient, because another worker may be able to read the binding.
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
