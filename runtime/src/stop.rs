//! How an attempt is told to stop: by its lease, by a person, by a worker that shuts down. The stages look at it
//! between two pieces of work.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Class, Error, Result, Stage};

/// Why an attempt is stopped when its time is over.
pub const TOO_LONG: &str = "the attempt took longer than its limit";

/// How often it is looked whether time that is not to count has come to an end.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Waits for work, which it stops at a deadline. The stages then find themselves stopped.
pub async fn stop_at<T>(deadline: Instant, stop: &Stop, work: impl Future<Output = T>) -> T {
    stop_later(deadline, || Duration::ZERO, stop, work).await
}

/// The same, at a deadline that is later by a time for which the work is not to blame, and which may grow.
pub async fn stop_later<T>(
    deadline: Instant,
    excused: impl Fn() -> Duration,
    stop: &Stop,
    work: impl Future<Output = T>,
) -> T {
    tokio::pin!(work);
    let mut until = deadline;
    loop {
        if let Ok(result) = tokio::time::timeout_at(until, &mut work).await {
            return result;
        }
        let (now, later) = (Instant::now(), deadline + excused());
        if later <= now {
            stop.request(Class::Permanent, TOO_LONG);
            return work.await;
        }
        until = later.max(now + LOOK_AGAIN);
    }
}

/// A request to stop that several threads share. Clones are the same request.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<Option<(Class, &'static str)>>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Stop {
    /// Asks for the stop, once: the first reason stands.
    pub fn request(&self, class: Class, reason: &'static str) {
        self.0.send_if_modified(|slot| {
            let first = slot.is_none();
            slot.get_or_insert((class, reason));
            first
        });
    }

    /// Whether a stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// An error of the requested class if a stop was asked for.
    ///
    /// # Errors
    /// That error.
    pub fn check(&self) -> Result<()> {
        if self.is_requested() {
            Err(self.error())
        } else {
            Ok(())
        }
    }

    /// The error for a stop that was asked for.
    pub fn error(&self) -> Error {
        let (class, reason) = self.0.borrow().unwrap_or((Class::Cancelled, "stopped"));
        Error::new(Stage::Worker, class, format!("stopped: {reason}"))
    }

    /// Waits until a stop is asked for.
    pub async fn requested(&self) {
        let mut receiver = self.0.subscribe();
        // The sender lives as long as `self`, so this ends only by a request.
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
}
