//! Bounds the time of a row: a row whose promise is broken must fail with a message, and must not wait for ever.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::Scale;

/// The longest time of a row: in the slice, and in the whole suite.
const SLICE: Duration = Duration::from_secs(240);
const FULL: Duration = Duration::from_secs(1_200);

thread_local! {
    /// The end of the row that this thread runs.
    static END: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Begins the time of a row that this thread runs.
pub(crate) fn begin(scale: &Scale) {
    let longest = if scale.is_full { FULL } else { SLICE };
    END.set(Some(Instant::now() + longest));
}

/// Fails the row if its time is over. Each loop that waits calls this function. `waiting` says what the loop waits for.
#[track_caller]
pub(crate) fn check(waiting: impl FnOnce() -> String) {
    if END.get().is_some_and(|end| Instant::now() > end) {
        panic!("the row takes too long: it {}", waiting());
    }
}
