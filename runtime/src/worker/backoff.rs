//! Computes the waits between the tries of an operation that fails. Each wait is twice as long as the wait before, up
//! to a maximum.

use std::time::Duration;

/// The next wait, the first wait and the longest wait.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    first: Duration,
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            next: first,
            max,
        }
    }

    /// Returns the wait before the next try.
    pub(super) fn next_wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = self.max.min(2 * wait);
        wait
    }

    /// Begins again with the first wait, because a try has succeeded.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_begin_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
        let mut millis = || backoff.next_wait().as_millis();
        assert_eq!(
            [millis(), millis(), millis(), millis(), millis()],
            [200, 400, 800, 1_000, 1_000]
        );
        backoff.reset();
        assert_eq!(backoff.next_wait().as_millis(), 200);
    }
}
