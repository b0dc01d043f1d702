//! Stops attempts. A lost lease, a person, a time limit or a worker that shuts down requests the stop. The stages check
//! for a stop between two pieces of work.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::error::{Class, Code, Error, Result, Stage};

/// The reason for a stop when an attempt has used up its time.
pub const TOO_LONG: &str = "the attempt took longer than its limit (--limit request-time)";

/// A time limit is counted in this many parts, unless a part would be shorter than [`PART_MIN`] or longer than
/// [`PART_MAX`]. If the process is suspended during a part, even for hours, only the usual length of this part counts.
const PARTS: u32 = 16;
const PART_MIN: Duration = Duration::from_millis(10);
const PART_MAX: Duration = Duration::from_secs(1);

/// A limit on the time in which the process runs. Time in which the machine is suspended or the container is paused
/// does not count.
#[derive(Debug)]
pub struct TimeLimit {
    limit: Duration,
    used: Duration,
}

impl TimeLimit {
    /// Creates a limit of which no time is used yet.
    pub fn new(limit: Duration) -> Self {
        let used = Duration::ZERO;
        Self { limit, used }
    }

    /// Lowers the limit. Time that was used already still counts.
    pub fn lower(&mut self, limit: Duration) {
        self.limit = self.limit.min(limit);
    }

    /// Waits until the limit is used up. If the wait is dropped earlier, a later call continues it.
    pub async fn used_up(&mut self) {
        self.used_up_without(|| Duration::ZERO).await;
    }

    /// Waits until the limit is used up. Excused time, such as a wait for memory, does not count. `excused` returns the
    /// total of this time so far.
    async fn used_up_without(&mut self, excused: impl Fn() -> Duration) {
        let part = (self.limit / PARTS).clamp(PART_MIN, PART_MAX);
        let mut before = excused();
        while self.used < self.limit {
            // A timer can be late by its precision. If a part were as short as this delay, the excused time could be
            // longer than the part, so the part would not count.
            let part = part.min(self.limit - self.used).max(PART_MIN);
            tokio::time::sleep(part).await;
            let now = excused();
            self.used += part.saturating_sub(now.saturating_sub(before));
            before = now;
        }
    }
}

/// Waits for work to end. Requests `stop` when the time limit is used up.
pub async fn stop_after<T>(limit: &mut TimeLimit, stop: &Stop, work: impl Future<Output = T>) -> T {
    stop_after_without(limit, || Duration::ZERO, stop, work).await
}

/// Waits for work to end. Requests `stop` when the limit is used up. Excused time, such as a wait for memory, does not
/// count. `excused` returns the total of this time so far.
pub async fn stop_after_without<T>(
    limit: &mut TimeLimit,
    excused: impl Fn() -> Duration,
    stop: &Stop,
    work: impl Future<Output = T>,
) -> T {
    tokio::pin!(work);
    tokio::select! {
        biased;
        result = &mut work => return result,
        () = limit.used_up_without(excused) => {}
    }
    stop.request(Class::Permanent, TOO_LONG);
    work.await
}

/// A request to stop, which several threads share. Clones refer to the same request.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<Option<(Class, &'static str)>>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Stop {
    /// Requests the stop. If the stop is requested more than once, the first reason counts.
    pub fn request(&self, class: Class, reason: &'static str) {
        self.0.send_if_modified(|slot| {
            let first = slot.is_none();
            slot.get_or_insert((class, reason));
            first
        });
    }

    /// Returns whether a stop was requested.
    pub fn is_requested(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Checks that no stop was requested.
    ///
    /// # Errors
    /// Returns an error of the requested class if a stop was requested.
    pub fn check(&self) -> Result<()> {
        if self.is_requested() {
            Err(self.error())
        } else {
            Ok(())
        }
    }

    /// Returns the error for the requested stop.
    pub fn error(&self) -> Error {
        let (class, reason) = self.0.borrow().unwrap_or((Class::Cancelled, "stopped"));
        let code = match class {
            Class::LeaseLost => Code::LeaseLost,
            // Only the time limit requests a stop of class permanent.
            Class::Permanent => Code::AttemptTimeout,
            Class::Cancelled | Class::Transient => Code::Stopped,
        };
        Error::new(Stage::Worker, class, code, format!("stopped: {reason}"))
    }

    /// Waits until a stop is requested.
    pub async fn requested(&self) {
        let mut receiver = self.0.subscribe();
        // The sender lives as long as `self`, so only a requested stop ends this wait.
        let _ = receiver.wait_for(Option::is_some).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stands() {
        let stop = Stop::default();
        stop.check().unwrap();
        let same = stop.clone();
        same.request(Class::LeaseLost, "the lease is lost");
        stop.request(Class::Cancelled, "cancelled");
        let error = stop.check().expect_err("requested");
        assert_eq!(
            (error.class(), error.to_string()),
            (Class::LeaseLost, "worker stopped: the lease is lost".into())
        );
    }

    #[tokio::test]
    async fn a_process_that_stood_still_has_used_no_time() {
        let whole = Duration::from_millis(320);
        let mut limit = TimeLimit::new(whole);
        for _ in 0..3 {
            let standstill = async {
                tokio::task::yield_now().await;
                // This blocks the timers, as if the process were suspended.
                std::thread::sleep(whole);
            };
            tokio::select! {
                () = limit.used_up() => panic!("{limit:?}"),
                () = standstill => {}
            }
        }
        assert!(limit.used <= 3 * whole / PARTS, "{limit:?}");
        limit.used_up().await;
        assert_eq!(limit.used, whole);
        limit.lower(whole / 2);
        limit.used_up().await;
    }

    #[tokio::test]
    async fn time_that_is_excused_does_not_count() {
        let begin = std::time::Instant::now();
        let whole = Duration::from_millis(160);
        let mut limit = TimeLimit::new(whole);
        // Half of the time is excused.
        limit.used_up_without(|| begin.elapsed() / 2).await;
        assert!(
            limit.used >= whole && begin.elapsed() >= whole * 3 / 2,
            "{:?}",
            begin.elapsed()
        );
    }

    #[tokio::test]
    async fn work_beyond_its_time_is_stopped() {
        let stop = Stop::default();
        let mut limit = TimeLimit::new(Duration::from_millis(50));
        let work = async {
            stop.requested().await;
            "stopped"
        };
        assert_eq!(stop_after(&mut limit, &stop, work).await, "stopped");
        assert_eq!(stop.error().class(), Class::Permanent);
        let stop = Stop::default();
        assert_eq!(stop_after(&mut limit, &stop, async { "done" }).await, "done");
        stop.check().unwrap();
    }
}
