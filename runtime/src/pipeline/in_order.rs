//! Gives threads access to a value in the order of numbers, such as the numbers of the chunks on which the threads
//! work. A thread that only has an item for the value does not wait for its turn. It submits the item and continues.
//! When the turn of the item's number comes, another thread delivers the item.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::error::{Code, Error, Result, Stage};

/// A value that threads use in the order of numbers, and the items submitted for it.
pub(super) struct OrderedHandoff<V, T = ()> {
    value: Mutex<V>,
    state: Mutex<HandoffState<T>>,
    changed: Condvar,
    /// The maximum number of items that wait to be delivered.
    pending_max: usize,
}

struct HandoffState<T> {
    /// The number whose turn it is.
    number: u64,
    /// Set while a thread uses the value.
    is_in_use: bool,
    pending: BTreeMap<u64, T>,
    closed: bool,
    /// Set while a thread waits for a change.
    awaited: bool,
}

/// Access to the value, for the thread whose turn it is.
pub(super) struct HandoffTurn<'a, V, T> {
    handoff: &'a OrderedHandoff<V, T>,
    value: MutexGuard<'a, V>,
}

impl<V, T> OrderedHandoff<V, T> {
    /// Creates a handoff. Number 0 has the first turn.
    pub(super) fn new(value: V, pending_max: usize) -> Self {
        let state = HandoffState {
            number: 0,
            is_in_use: false,
            pending: BTreeMap::new(),
            closed: false,
            awaited: false,
        };
        Self {
            value: Mutex::new(value),
            state: Mutex::new(state),
            changed: Condvar::new(),
            pending_max,
        }
    }

    /// Waits for the turn of a number. The turn lasts until a thread [passes it on](HandoffTurn::pass), or
    /// [submits](OrderedHandoff::submit) an item under this number.
    ///
    /// # Errors
    /// Fails if the handoff is closed.
    pub(super) fn wait(&self, number: u64) -> Result<HandoffTurn<'_, V, T>> {
        let mut state = self
            .wait_until(|state| state.number == number && !state.is_in_use)
            // The thread that closed the handoff has reported the cause.
            .ok_or_else(|| {
                Error::transient(
                    Stage::Worker,
                    Code::Stopped,
                    "another part of the input has failed",
                )
            })?;
        Ok(self.take(&mut state))
    }

    /// Submits an item. At the turn of `number`, either this thread or the thread that is using the value calls its own
    /// `deliver` with the item, and then passes the turn on. Waits while too many items are pending. Returns false if
    /// the handoff is closed.
    ///
    /// # Errors
    /// Returns an error of `deliver`, possibly for an item that another thread submitted. After an error, the handoff
    /// is closed.
    pub(super) fn submit<E>(
        &self,
        number: u64,
        item: T,
        mut deliver: impl FnMut(&mut V, T) -> Result<(), E>,
    ) -> Result<bool, E> {
        let has_room =
            |state: &HandoffState<T>| state.number == number || state.pending.len() < self.pending_max;
        let Some(mut state) = self.wait_until(has_room) else {
            return Ok(false);
        };
        state.pending.insert(number, item);
        while !state.is_in_use
            && let Some(next) = state.take_next()
        {
            let mut turn = self.take(&mut state);
            drop(state);
            if let Err(error) = deliver(&mut turn, next) {
                self.close();
                return Err(error);
            }
            turn.pass();
            state = self.state.lock();
        }
        Ok(true)
    }

    /// Closes the handoff. This ends all waits.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    fn take(&self, state: &mut HandoffState<T>) -> HandoffTurn<'_, V, T> {
        state.is_in_use = true;
        HandoffTurn {
            handoff: self,
            value: self.value.lock(),
        }
    }

    /// Waits until the state satisfies a condition. Returns `None` if the handoff is closed.
    fn wait_until(
        &self,
        holds: impl Fn(&HandoffState<T>) -> bool,
    ) -> Option<MutexGuard<'_, HandoffState<T>>> {
        let waits = |state: &mut HandoffState<T>| {
            let waits = !holds(state) && !state.closed;
            state.awaited |= waits;
            waits
        };
        let mut state = self.state.lock();
        self.changed.wait_while(&mut state, waits);
        (!state.closed).then_some(state)
    }
}

impl<T> HandoffState<T> {
    /// Removes and returns the item for this turn.
    fn take_next(&mut self) -> Option<T> {
        self.pending.remove(&self.number)
    }
}

impl<V, T> HandoffTurn<'_, V, T> {
    /// Passes the turn on to the next number. If an item is pending for the next number, the caller must deliver it, as
    /// [`OrderedHandoff::submit`] does. No other thread would deliver it.
    pub(super) fn pass(self) {
        self.handoff.state.lock().number += 1;
    }
}

impl<V, T> Drop for HandoffTurn<'_, V, T> {
    fn drop(&mut self) {
        let mut state = self.handoff.state.lock();
        state.is_in_use = false;
        if std::mem::take(&mut state.awaited) {
            self.handoff.changed.notify_all();
        }
    }
}

impl<V, T> Deref for HandoffTurn<'_, V, T> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<V, T> DerefMut for HandoffTurn<'_, V, T> {
    fn deref_mut(&mut self) -> &mut V {
        &mut self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Handoff = OrderedHandoff<Vec<u64>, u64>;

    fn note(notes: &mut Vec<u64>, note: u64) -> Result<(), u64> {
        notes.push(note);
        Ok(())
    }

    fn notes(handoff: &Handoff, number: u64) -> Vec<u64> {
        handoff.wait(number).unwrap().clone()
    }

    #[test]
    fn an_item_submitted_early_is_delivered_in_its_turn() {
        let handoff = Handoff::new(Vec::new(), 2);
        assert_eq!(handoff.submit(2, 2, note), Ok(true));
        assert_eq!(handoff.submit(1, 1, note), Ok(true));
        assert!(notes(&handoff, 0).is_empty());
        assert_eq!(handoff.submit(0, 0, note), Ok(true));
        assert_eq!(notes(&handoff, 3), [0, 1, 2]);
    }

    #[test]
    fn the_thread_that_uses_the_value_delivers_what_others_submit() {
        let handoff = Handoff::new(Vec::new(), 1);
        let mut early = handoff.wait(0).unwrap();
        early.push(7);
        drop(early);
        let delivered = handoff.submit(0, 0, |notes: &mut Vec<u64>, item| {
            if item == 0 {
                // The outer call delivers item 1 later, with its own closure.
                assert_eq!(
                    handoff.submit(1, 1, |_, _| panic!("this is taken")),
                    Ok::<_, u64>(true)
                );
            }
            note(notes, item)
        });
        assert_eq!(delivered, Ok(true));
        assert_eq!(notes(&handoff, 2), [7, 0, 1]);
    }

    #[test]
    fn a_thread_that_is_too_far_ahead_waits() {
        let handoff = Handoff::new(Vec::new(), 1);
        handoff.submit(1, 1, note).unwrap();
        std::thread::scope(|scope| {
            let ahead = scope.spawn(|| handoff.submit(2, 2, note));
            while !handoff.state.lock().awaited {
                assert!(!ahead.is_finished());
                std::thread::yield_now();
            }
            handoff.submit(0, 0, note).unwrap();
        });
        assert_eq!(notes(&handoff, 3), [0, 1, 2]);
    }

    #[test]
    fn a_failure_closes_the_handoff() {
        let handoff = Handoff::new(Vec::new(), 2);
        let refuse = |notes: &mut Vec<u64>, item| {
            if item == 1 { Err(item) } else { note(notes, item) }
        };
        assert_eq!(handoff.submit(2, 2, refuse), Ok(true));
        assert_eq!(handoff.submit(1, 1, refuse), Ok(true));
        assert_eq!(handoff.submit(0, 0, refuse), Err(1));
        assert_eq!(handoff.submit(3, 3, refuse), Ok(false));
        assert!(handoff.wait(1).is_err());
        assert_eq!(*handoff.value.lock(), [0]);
    }
}
