//! Checks the rate of a sender. The reader's waiting time and the number of received bytes go in. An error comes out if
//! the sender is too slow. The time in which the reader does other work does not count, because a slow plugin is not
//! the server's fault.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The total time that a reader has waited. The reader shares this value with the task that checks the rate.
#[derive(Debug, Default)]
pub(super) struct ReaderWaitTime(Mutex<WaitState>);

#[derive(Debug, Default)]
struct WaitState {
    before: Duration,
    since: Option<Instant>,
}

impl ReaderWaitTime {
    /// Runs `wait`, and adds its duration to the total.
    pub(super) fn during<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.0.lock().since = Some(Instant::now());
        let result = wait();
        let mut waited = self.0.lock();
        if let Some(since) = waited.since.take() {
            waited.before += since.elapsed();
        }
        result
    }

    /// Returns the total waiting time so far. This includes a wait that has not ended yet.
    pub(super) fn so_far(&self) -> Duration {
        let waited = self.0.lock();
        waited.before + waited.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// The minimum rate of a sender. The rate is checked in consecutive windows of waiting time.
#[derive(Debug)]
pub(super) struct MinRate {
    bytes_per_second_min: u64,
    window: Duration,
    /// The totals at the start of the window: the waiting time and the number of received bytes.
    window_start: (Duration, u64),
}

/// The error for a window in which too few bytes arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooSlow {
    pub(super) bytes: u64,
    pub(super) waited: Duration,
}

impl MinRate {
    pub(super) fn new(bytes_per_second_min: u64, window: Duration) -> Self {
        Self {
            bytes_per_second_min,
            window,
            window_start: (Duration::ZERO, 0),
        }
    }

    /// If the current window is over, checks its rate and begins the next window. `waited` and `received` are the
    /// totals of the transfer.
    pub(super) fn check(&mut self, waited: Duration, received: u64) -> Result<(), TooSlow> {
        let in_window = waited.saturating_sub(self.window_start.0);
        if in_window < self.window {
            return Ok(());
        }
        let bytes = received - self.window_start.1;
        self.begin(waited, received);
        if (bytes as f64) < self.bytes_per_second_min as f64 * in_window.as_secs_f64() {
            let waited = in_window;
            return Err(TooSlow { bytes, waited });
        }
        Ok(())
    }

    /// Begins a new window. The waiting time so far does not count in the new window.
    pub(super) fn begin(&mut self, waited: Duration, received: u64) {
        self.window_start = (waited, received);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_window_has_its_rate_or_is_too_slow() {
        for (bytes, waited, slow) in [(99, 9, false), (100, 10, false), (99, 10, true), (109, 11, true)] {
            let mut rate = MinRate::new(10, 10 * SECOND);
            let result = rate.check(waited * SECOND, bytes);
            assert_eq!(result.is_err(), slow, "{bytes} bytes in {waited} s: {result:?}");
        }
    }

    #[test]
    fn a_quick_start_does_not_buy_time_for_later() {
        let mut rate = MinRate::new(10, 10 * SECOND);
        assert_eq!(rate.check(10 * SECOND, 1_000_000), Ok(()));
        assert_eq!(rate.check(19 * SECOND, 1_000_009), Ok(()));
        let slow = rate.check(20 * SECOND, 1_000_010).expect_err("10 bytes in 10 s");
        assert_eq!((slow.bytes, slow.waited), (10, 10 * SECOND));
    }

    #[test]
    fn what_was_before_a_window_is_not_held_against_it() {
        let mut rate = MinRate::new(10, 10 * SECOND);
        rate.begin(100 * SECOND, 0);
        assert_eq!(rate.check(109 * SECOND, 0), Ok(()));
        assert!(rate.check(110 * SECOND, 0).is_err());
    }

    #[test]
    fn only_a_wait_counts_and_one_that_goes_on_does() {
        let waiting = ReaderWaitTime::default();
        assert_eq!(waiting.so_far(), Duration::ZERO);
        let within = waiting.during(|| {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(2) {
                std::hint::spin_loop();
            }
            waiting.so_far()
        });
        assert!(within >= Duration::from_millis(2), "{within:?}");
        let after = waiting.so_far();
        assert!(after >= within);
        assert_eq!(waiting.so_far(), after);
    }
}
