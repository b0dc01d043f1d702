//! The end of a burst: the counts of its queues go in; whether it goes on waiting, and the requests that it leaves, come out.

use std::time::Duration;

use serde::Serialize;

use super::attempt::Context;
use super::{Obstacle, in_seconds, obstacle};
use crate::error::Result;
use crate::queue::{Counts, Place, State};

/// The most requests that are listed as left.
const SHOWN: usize = 20;

/// The number of delayed requests in one page.
const PAGE: usize = 500;

/// The requests and documents that a burst leaves in its queues.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Requests, and documents on intake lists, that are not done.
    pub count: u64,
    /// The first of them.
    pub shown: Vec<LeftRequest>,
    /// Requests that their producers have delayed for longer than the burst waits; not in `count`.
    pub later: u64,
    /// The time at which the first of those is due, in milliseconds since 1970.
    pub later_from_ms: Option<i64>,
    /// Documents that were set aside since the burst began, because they are not valid requests.
    pub invalid: u64,
}

/// A request that a burst leaves, or all documents on the intake list of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftRequest {
    /// The queue.
    pub queue: String,
    /// The request; none for documents.
    pub id: Option<String>,
    /// Its state; none for documents.
    pub state: Option<State>,
    /// The time at which it is due or, if it is leased, its lease ends; in milliseconds since 1970.
    pub at_ms: Option<i64>,
    /// The reason why it is left.
    pub why: &'static str,
}

impl Left {
    /// Whether nothing is left but requests for later.
    pub fn is_clean(&self) -> bool {
        self.count == 0 && self.invalid == 0
    }

    fn show(&mut self, counts: &Counts, place: Option<(State, Place)>, why: &'static str) {
        if self.shown.len() == SHOWN {
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

/// The kinds of requests that a burst waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Awaited {
    /// Delayed ones, retries included, that are due in time.
    delayed: bool,
    /// Those of other workers.
    leased: bool,
}

impl Awaited {
    /// Whether this has a kind that `told` does not have.
    pub(super) fn is_more_than(self, told: Self) -> bool {
        (self.delayed && !told.delayed) || (self.leased && !told.leased)
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self {
            delayed: self.delayed || other.delayed,
            leased: self.leased || other.leased,
        }
    }
}

/// The counts of a burst's queues at a moment when it has nothing to do.
pub(super) struct Outlook {
    queues: Vec<(Counts, Option<Obstacle>)>,
    /// The ready requests that wait for workers with other outputs.
    elsewhere: u64,
    /// The time by the server's clock.
    now_ms: i64,
    /// The time at which the first delayed request is due that can be claimed then: of a queue that can be served, or one that is
    /// only to be ended.
    next_due_ms: Option<i64>,
}

impl Outlook {
    pub(super) async fn of(context: &Context) -> Result<Self> {
        let queue = &context.server.queue;
        let (mut queues, mut next_due_ms, mut elsewhere) = (Vec::new(), None, 0);
        for name in &context.options.queues {
            let counts = queue.counts(name).await?;
            let obstacle = obstacle(context, &counts);
            if counts.delayed > 0 {
                let page = if obstacle.is_none() { 1 } else { PAGE };
                let listed = queue.after(name, State::Delayed, &Place::default(), page).await?;
                let mut due_ms = listed
                    .into_iter()
                    .filter(|listed| obstacle.is_none() || listed.is_ending)
                    .map(|listed| listed.place.at_ms);
                let due_ms = due_ms.next();
                next_due_ms = next_due_ms.into_iter().chain(due_ms).min();
            }
            if counts.ready > 0 && obstacle.is_none() && !context.options.move_output {
                let others = queue.elsewhere(name, &context.output).await?;
                elsewhere += others.iter().map(|other| other.requests).sum::<u64>();
            }
            queues.push((counts, obstacle));
        }
        Ok(Self {
            queues,
            elsewhere,
            now_ms: queue.now_ms().await?,
            next_due_ms,
        })
    }

    fn sum(&self, count: impl Fn(&Counts) -> u64) -> u64 {
        let open = self.queues.iter().filter(|(_, obstacle)| obstacle.is_none());
        open.map(|(counts, _)| count(counts)).sum()
    }

    /// Whether documents are being imported, so that there may be more to do in a moment.
    pub(super) fn is_importing(&self) -> bool {
        self.sum(|counts| counts.intake) > 0
    }

    /// Whether the burst should go on waiting: a request may become claimable within `left`, the rest of its wait, or can be
    /// claimed now and `grace`, the time in which that should happen, is not over.
    pub(super) fn is_awaited(&self, left: Duration, grace: Duration) -> bool {
        let (due_in, Awaited { delayed, leased }) = (self.due_in(), self.awaited(left));
        let is_claimable =
            self.sum(|counts| counts.ready) > self.elsewhere || due_in.is_some_and(|due| due.is_zero());
        delayed || leased || (is_claimable && !grace.is_zero())
    }

    /// Returns what may become claimable within `left`, the rest of the burst's wait.
    pub(super) fn awaited(&self, left: Duration) -> Awaited {
        let is_in_time = |due: Duration| !due.is_zero() && due <= left;
        Awaited {
            delayed: self.due_in().is_some_and(is_in_time),
            leased: self.sum(|counts| counts.leased) > 0 && !left.is_zero(),
        }
    }

    fn due_in(&self) -> Option<Duration> {
        self.next_due_ms.map(|due_ms| span(due_ms - self.now_ms))
    }

    /// Logs what the burst waits for.
    pub(super) fn tell(&self, left: Duration) {
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

    /// Returns the requests that are left if the burst ends now; `wait` is its whole wait, `left` the rest of it. None if a
    /// request has come that is due within `left`.
    pub(super) async fn left(
        &self,
        context: &Context,
        wait: Duration,
        left: Duration,
        invalid_before: u64,
    ) -> Result<Option<Left>> {
        let queue = &context.server.queue;
        let mut all = Left {
            invalid: self.invalid().saturating_sub(invalid_before),
            ..Left::default()
        };
        for (counts, obstacle) in &self.queues {
            let name = &counts.queue;
            let why = |otherwise| obstacle.as_ref().map_or(otherwise, Obstacle::word);
            all.count += counts.intake + counts.ready + counts.leased;
            if counts.intake > 0 {
                all.show(counts, None, why("not imported"));
            }
            if counts.ready > 0 {
                for status in queue.requests(name, State::Ready, SHOWN).await? {
                    let place = Place {
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
                for listed in queue.after(name, State::Leased, &Place::default(), SHOWN).await? {
                    all.show(
                        counts,
                        Some((State::Leased, listed.place)),
                        "another worker has it",
                    );
                }
            }
            // Others may delay more requests meanwhile. No more are looked at than there were.
            let (mut unseen, mut last) = (counts.delayed, Place::default());
            while unseen > 0 {
                let page = queue.after(name, State::Delayed, &last, PAGE).await?;
                let Some(end) = page.last() else { break };
                last = end.place.clone();
                unseen = unseen.saturating_sub(page.len() as u64);
                for listed in page {
                    let due_in = span(listed.place.at_ms - self.now_ms);
                    let is_claimable = obstacle.is_none() || listed.is_ending;
                    if is_claimable && due_in <= left && !left.is_zero() {
                        return Ok(None);
                    }
                    if listed.attempts == 0 && due_in > wait {
                        all.later += 1;
                        let first = all.later_from_ms.into_iter().chain([listed.place.at_ms]).min();
                        all.later_from_ms = first;
                        continue;
                    }
                    let otherwise = if listed.attempts > 0 {
                        "failed, to be tried again"
                    } else {
                        "delayed"
                    };
                    all.count += 1;
                    all.show(counts, Some((State::Delayed, listed.place)), why(otherwise));
                }
            }
        }
        Ok(Some(all))
    }

    /// Returns the number of documents ever set aside that are still there.
    pub(super) fn invalid(&self) -> u64 {
        self.queues.iter().map(|(counts, _)| counts.invalid).sum()
    }
}

fn span(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
