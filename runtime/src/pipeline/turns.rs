//! Threads that each have a number get at a value one after the other by their numbers. One that has only something to
//! leave there need not wait: it goes on with other work, and whoever is before it brings that in.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Code, Error, Result, Stage};

/// A value for which threads queue by number, and what they left for it.
pub(super) struct Turns<V, T = ()> {
    value: Mutex<V>,
    state: Mutex<State<T>>,
    changed: Condvar,
    /// How many may be left and not yet brought in.
    left_max: usize,
}

struct State<T> {
    /// Whose turn it is.
    number: u64,
    /// Whether somebody is at the value.
    taken: bool,
    left: BTreeMap<u64, T>,
    closed: bool,
    /// Whether somebody waits for something.
    awaited: bool,
}

/// The value, for the one whose turn it is.
pub(super) struct Turn<'a, V, T> {
    turns: &'a Turns<V, T>,
    value: MutexGuard<'a, V>,
}

impl<V, T> Turns<V, T> {
    /// The first turn is number 0's.
    pub(super) fn new(value: V, left_max: usize) -> Self {
        let state = State {
            number: 0,
            taken: false,
            left: BTreeMap::new(),
            closed: false,
            awaited: false,
        };
        Self {
            value: Mutex::new(value),
            state: Mutex::new(state),
            changed: Condvar::new(),
            left_max,
        }
    }

    /// Waits for the turn of a number, which lasts until it is [passed on](Turn::pass) or something is [left](Turns::leave)
    /// under it.
    ///
    /// # Errors
    /// If there are no turns any more.
    pub(super) fn wait(&self, number: u64) -> Result<Turn<'_, V, T>> {
        let mut state = self
            .wait_until(|state| state.number == number && !state.taken)
            // Whoever closed it knows why.
            .ok_or_else(|| {
                Error::transient(
                    Stage::Worker,
                    Code::Stopped,
                    "another part of the input has failed",
                )
            })?;
        Ok(self.take(&mut state))
    }

    /// Leaves something that is brought in at the turn of its number, which then is passed on: by this thread, or by one
    /// that is at the value. Waits while too much is left. False if there are no turns any more.
    ///
    /// # Errors
    /// Of `bring`, maybe with what another thread left. Then there are no turns any more.
    pub(super) fn leave<E>(
        &self,
        number: u64,
        thing: T,
        mut bring: impl FnMut(&mut V, T) -> Result<(), E>,
    ) -> Result<bool, E> {
        let has_room = |state: &State<T>| state.number == number || state.left.len() < self.left_max;
        let Some(mut state) = self.wait_until(has_room) else {
            return Ok(false);
        };
        state.left.insert(number, thing);
        while !state.taken
            && let Some(next) = state.next()
        {
            let mut turn = self.take(&mut state);
            drop(state);
            if let Err(error) = bring(&mut turn, next) {
                self.close();
                return Err(error);
            }
            turn.pass();
            state = self.lock();
        }
        Ok(true)
    }

    /// Ends all turns.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn take(&self, state: &mut State<T>) -> Turn<'_, V, T> {
        state.taken = true;
        Turn {
            turns: self,
            value: self.value.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// None if there are no turns any more.
    fn wait_until(&self, holds: impl Fn(&State<T>) -> bool) -> Option<MutexGuard<'_, State<T>>> {
        let waits = |state: &mut State<T>| {
            let waits = !holds(state) && !state.closed;
            state.awaited |= waits;
            waits
        };
        let state = self.changed.wait_while(self.lock(), waits);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        (!state.closed).then_some(state)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// What was left for this turn.
    fn next(&mut self) -> Option<T> {
        self.left.remove(&self.number)
    }
}

impl<V, T> Turn<'_, V, T> {
    /// Lets the next one in. It must not have been [left](Turns::leave) anything, which nobody would bring in.
    pub(super) fn pass(self) {
        self.turns.lock().number += 1;
    }
}

impl<V, T> Drop for Turn<'_, V, T> {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        state.taken = false;
        if std::mem::take(&mut state.awaited) {
            self.turns.changed.notify_all();
        }
    }
}

impl<V, T> Deref for Turn<'_, V, T> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<V, T> DerefMut for Turn<'_, V, T> {
    fn deref_mut(&mut self) -> &mut V {
        &mut self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Said = Turns<Vec<u64>, u64>;

    fn note(notes: &mut Vec<u64>, note: u64) -> Result<(), u64> {
        notes.push(note);
        Ok(())
    }

    fn notes(turns: &Said, number: u64) -> Vec<u64> {
        turns.wait(number).unwrap().clone()
    }

    #[test]
    fn what_is_left_early_is_brought_in_when_its_turn_comes() {
        let turns = Said::new(Vec::new(), 2);
        assert_eq!(turns.leave(2, 2, note), Ok(true));
        assert_eq!(turns.leave(1, 1, note), Ok(true));
        assert!(notes(&turns, 0).is_empty());
        assert_eq!(turns.leave(0, 0, note), Ok(true));
        assert_eq!(notes(&turns, 3), [0, 1, 2]);
    }

    #[test]
    fn what_is_left_while_another_thread_is_at_the_value_it_brings_in() {
        let turns = Said::new(Vec::new(), 1);
        let mut early = turns.wait(0).unwrap();
        early.push(7);
        drop(early);
        let brought = turns.leave(0, 0, |notes: &mut Vec<u64>, thing| {
            if thing == 0 {
                // It is not told before this thread is done with the value.
                assert_eq!(
                    turns.leave(1, 1, |_, _| panic!("this is taken")),
                    Ok::<_, u64>(true)
                );
            }
            note(notes, thing)
        });
        assert_eq!(brought, Ok(true));
        assert_eq!(notes(&turns, 2), [7, 0, 1]);
    }

    #[test]
    fn who_is_too_far_ahead_waits() {
        let turns = Said::new(Vec::new(), 1);
        turns.leave(1, 1, note).unwrap();
        std::thread::scope(|scope| {
            let ahead = scope.spawn(|| turns.leave(2, 2, note));
            while !turns.lock().awaited {
                assert!(!ahead.is_finished());
                std::thread::yield_now();
            }
            turns.leave(0, 0, note).unwrap();
        });
        assert_eq!(notes(&turns, 3), [0, 1, 2]);
    }

    #[test]
    fn what_fails_ends_all_turns() {
        let turns = Said::new(Vec::new(), 2);
        let refuse = |notes: &mut Vec<u64>, thing| {
            if thing == 1 {
                Err(thing)
            } else {
                note(notes, thing)
            }
        };
        assert_eq!(turns.leave(2, 2, refuse), Ok(true));
        assert_eq!(turns.leave(1, 1, refuse), Ok(true));
        assert_eq!(turns.leave(0, 0, refuse), Err(1));
        assert_eq!(turns.leave(3, 3, refuse), Ok(false));
        assert!(turns.wait(1).is_err());
        assert_eq!(*turns.value.lock().unwrap(), [0]);
    }
}
