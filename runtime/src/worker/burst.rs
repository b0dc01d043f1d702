//! Decides when a burst ends. Takes the counts of its queues, and returns whether to go on waiting, or the requests
//! that are left.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::attempt_runner::AttemptRunner;
use super::{IdleReason, idle_reason, in_seconds};
use crate::error::Result;
use crate::queue::{Counts, ListPosition, ListedRequest, State};

/// The maximum number of requests that are listed as left.
const LISTED_MAX: usize = 20;

/// The number of delayed requests in one page.
const PAGE_REQUESTS: usize = 500;

/// The requests and documents that a burst leaves in its queues.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LeftRequests {
    /// The number of requests that have not ended, and of documents on intake lists. Requests in `later` are not
    /// included.
    pub count: u64,
    /// The first of these requests and documents.
    pub shown: Vec<LeftRequest>,
    /// The number of requests that their producers have delayed for longer than the burst waits.
    pub later: u64,
    /// The time at which the first of the requests in `later` is due, in milliseconds since 1970.
    pub later_from_ms: Option<i64>,
    /// The number of documents that were set aside since the burst began, because they are not valid requests.
    pub invalid: u64,
}

/// A request that a burst leaves, or all documents on the intake list of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftRequest {
    /// The queue.
    pub queue: String,
    /// The request's id, or `None` for documents.
    pub id: Option<String>,
    /// The request's state, or `None` for documents.
    pub state: Option<State>,
    /// The time at which a delayed request is due, or at which the lease of a leased request ends, in milliseconds
    /// since 1970.
    pub at_ms: Option<i64>,
    /// The reason why the request or the documents are left.
    pub why: &'static str,
}

impl LeftRequests {
    /// Returns whether nothing is left except the requests in `later`.
    pub fn is_clean(&self) -> bool {
        self.count == 0 && self.invalid == 0
    }

    fn show(&mut self, counts: &Counts, place: Option<(State, ListPosition)>, why: &'static str) {
        if self.shown.len() == LISTED_MAX {
            return;
        }
        let (state, place) = place.unzip();
        let (id, at_ms) = place.map(|place| (place.id, place.at_ms)).unzip();
        self.shown.push(LeftRequest {
            queue: counts.queue.clone(),
            id,
            state,
            at_ms: at_ms.filter(|_| state != Some(State::Ready)),
            why,
        });
    }
}

/// The time for which a burst has waited.
#[derive(Debug, Default)]
pub(super) struct BurstWait {
    /// The start of the time in which the burst has nothing to do. `None` while it has something to do.
    idle_since: Option<Instant>,
    /// The total time for which the burst has waited for retries.
    for_retries: Duration,
    /// The start of the present wait for a retry. `None` if the burst does not wait for a retry.
    for_retry_since: Option<Instant>,
}

/// The time for which a burst still waits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RemainingWait {
    /// The remaining wait for delayed requests that are no retries, and for requests that other workers have.
    pub(super) left: Duration,
    /// The remaining wait for retries. It is never longer than `left`.
    pub(super) for_retries: Duration,
    /// The remaining wait for requests that can be claimed at once. One of the next claims should take them.
    pub(super) grace: Duration,
}

impl RemainingWait {
    fn of(self, is_retry: bool) -> Duration {
        if is_retry { self.for_retries } else { self.left }
    }
}

impl BurstWait {
    /// If the burst has just waited for a retry, adds the time of this wait to the total.
    pub(super) fn look(&mut self) {
        if let Some(since) = self.for_retry_since.take() {
            self.for_retries += since.elapsed();
        }
    }

    /// Notes that there is something to do.
    pub(super) fn is_busy(&mut self) {
        self.idle_since = None;
    }

    /// Notes that there is nothing to do. Returns for how long the burst still waits. `burst_wait` is its whole wait.
    /// `idle` is the interval at which the burst looks at the queues.
    pub(super) fn remaining(&mut self, burst_wait: Duration, idle: Duration) -> RemainingWait {
        let waited = self.idle_since.get_or_insert_with(Instant::now).elapsed();
        let left = burst_wait.saturating_sub(waited);
        RemainingWait {
            left,
            for_retries: left.min(burst_wait.saturating_sub(self.for_retries)),
            // A claimable request is claimed at the next look, or at the look after that. Four intervals leave enough
            // time for two looks.
            grace: burst_wait.saturating_add(4 * idle).saturating_sub(waited),
        }
    }

    /// Notes that the burst goes on waiting, and what it waits for.
    pub(super) fn awaits(&mut self, awaited: AwaitedWork) {
        self.for_retry_since = awaited.next_is_retry.then(Instant::now);
    }
}

/// The last scan of each queue's delayed requests: whether the queue was open, its number of delayed requests, and the
/// request that [`scan_delayed`] has found. A queue is open if its requests can be claimed: it is not paused, and has
/// the binding that the worker needs. A scan is repeated only if the queue has opened or closed, or if the number has
/// changed.
pub(super) type ScannedQueues = HashMap<String, ((bool, u64), Option<NextDue>)>;

/// The kinds of requests that a burst waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AwaitedWork {
    /// Set if delayed requests, including retries, are due before the wait ends.
    delayed: bool,
    /// Set if other workers have requests.
    leased: bool,
    /// Set if the next delayed request is a retry.
    next_is_retry: bool,
}

impl AwaitedWork {
    /// Returns whether this has a kind that is not in `told`, which has the kinds that were logged so far.
    pub(super) fn is_more_than(self, told: Self) -> bool {
        (self.delayed && !told.delayed) || (self.leased && !told.leased)
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self {
            delayed: self.delayed || other.delayed,
            leased: self.leased || other.leased,
            next_is_retry: other.next_is_retry,
        }
    }
}

/// The first delayed request that is worth waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NextDue {
    at_ms: i64,
    is_retry: bool,
}

impl NextDue {
    fn of(listed: &ListedRequest) -> Self {
        Self {
            at_ms: listed.place.at_ms,
            is_retry: is_retry(listed),
        }
    }
}

/// The counts of a burst's queues at a time when the burst has nothing to do.
pub(super) struct PendingWork {
    queues: Vec<(Counts, Option<IdleReason>)>,
    /// The number of ready requests that wait for workers with other outputs.
    elsewhere: u64,
    /// The server's time, in milliseconds since 1970.
    now_ms: i64,
    /// The first delayed request that can be claimed when it is due: either its queue is open, or the request only has
    /// to be ended. A retry that is due after the end of the wait is skipped.
    next_due: Option<NextDue>,
}

impl PendingWork {
    /// Counts the requests in the queues of a burst. `for_retries` is the time for which the burst still waits for
    /// retries.
    pub(super) async fn of(
        runner: &AttemptRunner,
        for_retries: Duration,
        scanned: &mut ScannedQueues,
    ) -> Result<Self> {
        let queue = &runner.backend.queue;
        let now_ms = queue.now_ms().await?;
        let (mut queues, mut next_due, mut elsewhere) = (Vec::new(), None, 0);
        for name in &runner.options.queues {
            let counts = queue.counts(name).await?;
            let idle_reason = idle_reason(runner, &counts);
            if counts.delayed > 0 {
                let is_open = idle_reason.is_none();
                let is_in_time = |due: &NextDue| span(due.at_ms - now_ms) <= for_retries;
                let due = first_due(runner, &counts, is_open, is_in_time, scanned).await?;
                next_due = next_due.into_iter().chain(due).min();
            }
            if counts.ready > 0 && idle_reason.is_none() && !runner.options.move_output {
                let others = queue.elsewhere(name, &runner.policies().of(name).output).await?;
                elsewhere += others.iter().map(|other| other.requests).sum::<u64>();
            }
            queues.push((counts, idle_reason));
        }
        Ok(Self {
            queues,
            elsewhere,
            now_ms,
            next_due,
        })
    }

    fn sum(&self, count: impl Fn(&Counts) -> u64) -> u64 {
        let open = self
            .queues
            .iter()
            .filter(|(_, idle_reason)| idle_reason.is_none());
        open.map(|(counts, _)| count(counts)).sum()
    }

    /// Returns whether an open queue has documents on its intake list. The next claims import them, so there may soon
    /// be more to do.
    pub(super) fn is_importing(&self) -> bool {
        self.sum(|counts| counts.intake) > 0
    }

    /// Returns whether the burst should go on waiting, because a request can be claimed now or may become claimable
    /// before the wait ends.
    pub(super) fn is_awaited(&self, remaining: RemainingWait) -> bool {
        let awaited = self.awaited(remaining);
        let is_due = self.due_in().is_some_and(|due| due.is_zero());
        let is_claimable = is_due || self.sum(|counts| counts.ready) > self.elsewhere;
        awaited.delayed || awaited.leased || (is_claimable && !remaining.grace.is_zero())
    }

    /// Returns the kinds of requests that may become claimable before the burst's wait ends.
    pub(super) fn awaited(&self, remaining: RemainingWait) -> AwaitedWork {
        let is_retry = self.next_due.is_some_and(|due| due.is_retry);
        let is_in_time = |due: Duration| !due.is_zero() && due <= remaining.of(is_retry);
        let delayed = self.due_in().is_some_and(is_in_time);
        let leased = self.sum(|counts| counts.leased) > 0 && !remaining.left.is_zero();
        AwaitedWork {
            delayed,
            leased,
            next_is_retry: delayed && is_retry,
        }
    }

    fn due_in(&self) -> Option<Duration> {
        self.next_due.map(|due| span(due.at_ms - self.now_ms))
    }

    /// Logs the kinds of requests that the burst waits for.
    pub(super) fn log_waiting(&self, remaining: RemainingWait) {
        let awaited = self.awaited(remaining);
        let left = remaining.of(awaited.next_is_retry && !awaited.leased);
        tracing::info!(
            ready = self.sum(|counts| counts.ready),
            delayed = self.sum(|counts| counts.delayed),
            next_due_in_s = self.due_in().map(in_seconds),
            leased_by_others = self.sum(|counts| counts.leased),
            at_most_s = in_seconds(left),
            "the burst has nothing to do and waits: for delayed requests that are due soon, and for those of other workers, \
             which may come back"
        );
    }

    /// Returns the requests that are left if the burst ends now, or `None` if the burst has to go on, because a delayed
    /// request is due before the wait ends. `wait` is the burst's whole wait.
    pub(super) async fn left(
        &self,
        runner: &AttemptRunner,
        wait: Duration,
        remaining: RemainingWait,
        invalid_before: u64,
    ) -> Result<Option<LeftRequests>> {
        let queue = &runner.backend.queue;
        let mut all = LeftRequests {
            invalid: self.invalid().saturating_sub(invalid_before),
            ..LeftRequests::default()
        };
        for (counts, idle_reason) in &self.queues {
            let name = &counts.queue;
            let why = |otherwise| idle_reason.as_ref().map_or(otherwise, IdleReason::word);
            all.count += counts.intake + counts.ready + counts.leased;
            if counts.intake > 0 {
                all.show(counts, None, why("not imported"));
            }
            if counts.ready > 0 {
                for status in queue.requests(name, State::Ready, LISTED_MAX).await? {
                    let place = ListPosition {
                        at_ms: 0,
                        id: status.id,
                    };
                    let otherwise = if status.output.is_some() {
                        "waits for a worker with the output of the lost worker"
                    } else {
                        "not claimed"
                    };
                    all.show(counts, Some((State::Ready, place)), why(otherwise));
                }
            }
            if counts.leased > 0 {
                for listed in queue
                    .after(name, State::Leased, &ListPosition::default(), LISTED_MAX)
                    .await?
                {
                    all.show(
                        counts,
                        Some((State::Leased, listed.place)),
                        "another worker has it",
                    );
                }
            }
            // Other programs may add delayed requests meanwhile. So that the loop ends, it visits only as many requests
            // as were counted before.
            let (mut unseen, mut last) = (counts.delayed, ListPosition::default());
            while unseen > 0 {
                let page = queue.after(name, State::Delayed, &last, PAGE_REQUESTS).await?;
                let Some(end) = page.last() else { break };
                last = end.place.clone();
                unseen = unseen.saturating_sub(page.len() as u64);
                for listed in page {
                    let due_in = span(listed.place.at_ms - self.now_ms);
                    let is_claimable = idle_reason.is_none() || listed.is_ending;
                    let left = remaining.of(is_retry(&listed));
                    if is_claimable && due_in <= left && !left.is_zero() {
                        return Ok(None);
                    }
                    if listed.attempts == 0 && !listed.is_ending && due_in > wait {
                        all.later += 1;
                        let first = all.later_from_ms.into_iter().chain([listed.place.at_ms]).min();
                        all.later_from_ms = first;
                        continue;
                    }
                    let otherwise = match listed.attempts {
                        _ if listed.is_ending => "to be ended by a worker",
                        0 => "delayed",
                        _ => "failed, to be tried again",
                    };
                    all.count += 1;
                    all.show(counts, Some((State::Delayed, listed.place)), why(otherwise));
                }
            }
        }
        Ok(Some(all))
    }

    fn invalid(&self) -> u64 {
        self.queues.iter().map(|(counts, _)| counts.invalid).sum()
    }
}

/// Counts the documents that were set aside in the worker's queues and are still there.
pub(super) async fn count_invalid(runner: &AttemptRunner) -> Result<u64> {
    let mut invalid = 0;
    for name in &runner.options.queues {
        invalid += runner.backend.queue.counts(name).await?.invalid;
    }
    Ok(invalid)
}

/// Returns whether the request waits to be retried or to be ended, and not for its first attempt.
fn is_retry(listed: &ListedRequest) -> bool {
    listed.attempts > 0 || listed.is_ending
}

/// Finds the first delayed request of a queue that can be claimed when it is due. A retry counts only if `is_in_time`
/// accepts it.
async fn first_due(
    runner: &AttemptRunner,
    counts: &Counts,
    is_open: bool,
    is_in_time: impl Fn(&NextDue) -> bool,
    scanned: &mut ScannedQueues,
) -> Result<Option<NextDue>> {
    let (queue, name) = (&runner.backend.queue, &counts.queue);
    if is_open {
        let first = queue
            .after(name, State::Delayed, &ListPosition::default(), 1)
            .await?;
        let first = first.first().map(NextDue::of);
        if first.is_none_or(|first| !first.is_retry || is_in_time(&first)) {
            return Ok(first);
        }
    }
    let of = (is_open, counts.delayed);
    let known = scanned.get(name).filter(|(looked_at, _)| *looked_at == of);
    let found = match known {
        Some((_, found)) => *found,
        None => {
            let found = scan_delayed(runner, counts, is_open).await?;
            scanned.insert(name.clone(), (of, found));
            found
        }
    };
    Ok(found.filter(|found| !found.is_retry || is_in_time(found)))
}

/// Scans the delayed requests of a queue and returns the first match. In an open queue, this is the first request that
/// is no retry. In any other queue, it is the first request that only has to be ended.
async fn scan_delayed(runner: &AttemptRunner, counts: &Counts, is_open: bool) -> Result<Option<NextDue>> {
    // Other programs may add delayed requests meanwhile. So that the loop ends, it visits only as many requests as were
    // counted before.
    let (mut unseen, mut last) = (counts.delayed, ListPosition::default());
    while unseen > 0 {
        let queue = &runner.backend.queue;
        let page = queue
            .after(&counts.queue, State::Delayed, &last, PAGE_REQUESTS)
            .await?;
        let Some(end) = page.last() else { break };
        last = end.place.clone();
        unseen = unseen.saturating_sub(page.len() as u64);
        let is_it = |listed: &&ListedRequest| {
            if is_open {
                !is_retry(listed)
            } else {
                listed.is_ending
            }
        };
        if let Some(found) = page.iter().find(is_it) {
            return Ok(Some(NextDue::of(found)));
        }
    }
    Ok(None)
}

fn span(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
