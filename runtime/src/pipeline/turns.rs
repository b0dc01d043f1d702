//! Threads that each have a number come in, and are let at a value one after the other by their numbers.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result, Stage};

/// A value for which threads queue by number.
pub(super) struct Turns<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    value: T,
    /// Whose turn it is.
    number: u64,
    closed: bool,
}

/// The value, for the one whose turn it is.
pub(super) struct Turn<'a, T> {
    state: MutexGuard<'a, State<T>>,
    changed: &'a Condvar,
}

impl<T> Turns<T> {
    /// The first turn is number 0's.
    pub(super) fn new(value: T) -> Self {
        let state = State {
            value,
            number: 0,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Waits for the turn of a number, which lasts until it is [passed on](Turn::pass).
    ///
    /// # Errors
    /// If there are no turns any more.
    pub(super) fn wait(&self, number: u64) -> Result<Turn<'_, T>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let others = |state: &mut State<T>| state.number < number && !state.closed;
        let state = self.changed.wait_while(state, others);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            // Whoever closed it knows why.
            return Err(Error::transient(
                Stage::Worker,
                "another part of the input has failed",
            ));
        }
        let changed = &self.changed;
        Ok(Turn { state, changed })
    }

    /// Ends all turns.
    pub(super) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }
}

impl<T> Turn<'_, T> {
    /// Lets the next one in.
    pub(super) fn pass(mut self) {
        self.state.number += 1;
        self.changed.notify_all();
    }
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.state.value
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.state.value
    }
}
