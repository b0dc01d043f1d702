//! A model of the queue's promises, in memory and without time. A lease is valid or expired, and a delay never ends.

use std::collections::BTreeMap;

use ingest_host::queue::{Cancelled, Counts, Next, State, Submitted, Ticket};
use ingest_host::request::NewRequest;

use crate::test_server::Q;

pub(crate) const LOST_MAX: u32 = 3;

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) uri: String,
    pub(crate) state: State,
    pub(crate) priority: i32,
    pub(crate) age: usize,
    pub(crate) attempts: u32,
    pub(crate) lost: u32,
    /// The last claim and, if it has ended, the operation that ended it.
    last: Option<(Ticket, Option<&'static str>)>,
    lease_over: bool,
    pub(crate) cancel: bool,
    /// True if a worker must end the request without an attempt.
    pub(crate) ending: bool,
    /// True if a claim was lost. If so, only a worker can end the request.
    pub(crate) stray: bool,
    /// True if the last claim was given only to end the request.
    pub(crate) concluding: bool,
    /// The output of the last claim's worker, until the request has ended.
    pub(crate) output: Option<&'static str>,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) entries: BTreeMap<String, Entry>,
    paused: bool,
    submitted: usize,
}

impl Model {
    pub(crate) fn submit(&mut self, request: &NewRequest) -> Submitted {
        match self.entries.get(&request.id) {
            Some(entry) if entry.uri == request.uri => return Submitted::Existing(entry.state),
            Some(_) => return Submitted::Conflict,
            None => {}
        }
        self.submitted += 1;
        let entry = Entry {
            uri: request.uri.clone(),
            state: if request.delay_ms > 0 {
                State::Delayed
            } else {
                State::Ready
            },
            priority: request.priority,
            age: self.submitted,
            attempts: 0,
            lost: 0,
            last: None,
            lease_over: false,
            cancel: false,
            ending: false,
            stray: false,
            concluding: false,
            output: None,
        };
        self.entries.insert(request.id.clone(), entry);
        Submitted::Created
    }

    /// Returns the existing claim with this nonce and renews its lease, or `None` if no such claim exists.
    pub(crate) fn claim_again(&mut self, nonce: &str) -> Option<Ticket> {
        let held = self.entries.values_mut().find(|entry| {
            let last = entry.last.as_ref();
            entry.state == State::Leased && last.is_some_and(|(ticket, _)| ticket.nonce == nonce)
        })?;
        held.lease_over = false;
        held.last.as_ref().map(|(ticket, _)| ticket.clone())
    }

    /// Returns the id that a claim by a worker with this output must return, or `None` if no request can be claimed.
    pub(crate) fn claim(&mut self, output: &str) -> Option<String> {
        for entry in self.entries.values_mut() {
            if entry.state == State::Leased && entry.lease_over {
                entry.end("lost");
                entry.state = State::Ready;
                entry.stray = true;
                if !entry.concluding {
                    entry.lost += 1;
                    entry.attempts -= 1;
                    entry.ending |= !entry.cancel && entry.lost >= LOST_MAX;
                }
            }
        }
        let ready = self.entries.iter().filter(|(_, entry)| {
            let is_open = entry.is_ending() || !self.paused;
            let is_here = entry.output.is_none_or(|before| before == output);
            entry.state == State::Ready && is_open && is_here
        });
        ready
            .min_by_key(|(_, entry)| match entry.is_ending() {
                // Requests that a worker must end come first. Their order is undefined.
                true => (i32::MIN, 0),
                false => (-entry.priority, entry.age),
            })
            .map(|(id, _)| id.clone())
    }

    /// Records the ticket of a claim.
    pub(crate) fn claimed(&mut self, ticket: &Ticket, output: &'static str) {
        let entry = self.entries.get_mut(&ticket.id).unwrap();
        entry.state = State::Leased;
        entry.concluding = entry.is_ending();
        entry.attempts += u32::from(!entry.concluding);
        entry.output = Some(output);
        entry.lease_over = false;
        entry.last = Some((ticket.clone(), None));
    }

    /// Renews the lease of a claim. Returns whether somebody has asked to cancel the request, or `None` if the claim
    /// has ended.
    pub(crate) fn renew(&mut self, ticket: &Ticket, to_nothing: bool) -> Option<bool> {
        let entry = self.held(ticket)?;
        entry.lease_over = to_nothing;
        Some(entry.cancel)
    }

    pub(crate) fn settle(&mut self, ticket: &Ticket) -> bool {
        self.end(ticket, "settle", |entry| entry.forget(State::Done))
    }

    pub(crate) fn fail(&mut self, ticket: &Ticket, next: Next) -> bool {
        self.end(ticket, "fail", |entry| match next {
            Next::Dead => entry.forget(State::Dead),
            Next::Cancelled => entry.forget(State::Cancelled),
            Next::Retry(delay) => entry.put_back(if delay.is_zero() {
                State::Ready
            } else {
                State::Delayed
            }),
            Next::RetryContested(delay) => {
                entry.stray = true;
                entry.put_back(if delay.is_zero() {
                    State::Ready
                } else {
                    State::Delayed
                })
            }
            Next::Conclude(_) => {
                (entry.ending, entry.stray) = (true, true);
                State::Delayed
            }
        })
    }

    pub(crate) fn release(&mut self, ticket: &Ticket) -> bool {
        self.end(ticket, "release", |entry| {
            entry.attempts -= u32::from(!entry.concluding);
            entry.put_back(State::Ready)
        })
    }

    pub(crate) fn cancel(&mut self, id: &str) -> Cancelled {
        let Some(entry) = self.entries.get_mut(id) else {
            return Cancelled::Unknown;
        };
        match entry.state {
            State::Ready | State::Delayed if entry.stray => {
                (entry.state, entry.cancel) = (State::Ready, true);
                Cancelled::Asked
            }
            State::Ready | State::Delayed => {
                entry.state = entry.forget(State::Cancelled);
                Cancelled::Now
            }
            State::Leased => {
                entry.cancel = true;
                Cancelled::Asked
            }
            ended => Cancelled::TooLate(ended),
        }
    }

    pub(crate) fn retry_dead(&mut self, id: &str) -> bool {
        let Some(entry) = self
            .entries
            .get_mut(id)
            .filter(|entry| entry.state == State::Dead)
        else {
            return false;
        };
        (entry.state, entry.attempts, entry.lost) = (entry.forget(State::Ready), 0, 0);
        true
    }

    pub(crate) fn purge_dead(&mut self, id: &str) -> bool {
        let dead = self
            .entries
            .get(id)
            .is_some_and(|entry| entry.state == State::Dead);
        dead && self.entries.remove(id).is_some()
    }

    /// Removes all requests that have ended, whatever their age is, and returns their number.
    pub(crate) fn reap(&mut self) -> usize {
        let before = self.entries.len();
        self.entries
            .retain(|_, entry| !matches!(entry.state, State::Done | State::Cancelled));
        before - self.entries.len()
    }

    pub(crate) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    pub(crate) fn counts(&self) -> Counts {
        let count = |state| self.entries.values().filter(|entry| entry.state == state).count() as u64;
        Counts {
            queue: Q.into(),
            ready: count(State::Ready),
            delayed: count(State::Delayed),
            leased: count(State::Leased),
            done: count(State::Done),
            dead: count(State::Dead),
            cancelled: count(State::Cancelled),
            paused: self.paused,
            ..Counts::default()
        }
    }

    fn held(&mut self, ticket: &Ticket) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(&ticket.id)?;
        let held =
            entry.state == State::Leased && entry.last.as_ref().is_some_and(|(last, _)| last == ticket);
        held.then_some(entry)
    }

    fn end(&mut self, ticket: &Ticket, verb: &'static str, next: impl FnOnce(&mut Entry) -> State) -> bool {
        if let Some(entry) = self.held(ticket) {
            entry.state = next(entry);
            entry.end(verb);
            return true;
        }
        let last = self.entries.get(&ticket.id).and_then(|entry| entry.last.as_ref());
        last.is_some_and(|(last, ended)| last == ticket && *ended == Some(verb))
    }
}

impl Entry {
    /// Returns true if the next claim of this request must end it.
    pub(crate) fn is_ending(&self) -> bool {
        self.cancel || self.ending
    }

    fn forget(&mut self, state: State) -> State {
        (self.cancel, self.ending, self.stray, self.concluding) = (false, false, false, false);
        self.output = None;
        state
    }

    fn put_back(&mut self, state: State) -> State {
        match (self.cancel, self.stray) {
            (true, false) => return self.forget(State::Cancelled),
            (true, true) => return State::Ready,
            (false, false) => self.output = None,
            (false, true) => {}
        }
        state
    }

    fn end(&mut self, verb: &'static str) {
        if let Some((_, ended)) = &mut self.last {
            *ended = Some(verb);
        }
    }
}
