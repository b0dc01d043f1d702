//! Limits how often the failures of an operation are logged. Every failure goes in, and few log lines come out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::{Class, Error};

/// The minimum time between two log lines about the same error of an operation.
const SAME_ERROR_EVERY: Duration = Duration::from_secs(30);

/// The minimum time between two log lines about different errors of an operation.
const OTHER_ERROR_EVERY: Duration = Duration::from_secs(2);

/// The last logged error of each operation that is failing at present.
#[derive(Default)]
pub(crate) struct RepeatedErrors(Mutex<HashMap<&'static str, LoggedError>>);

struct LoggedError {
    report: String,
    at: Instant,
    /// The number of failures since `at` that were not logged.
    unlogged: u64,
}

impl RepeatedErrors {
    /// Counts a failure of `operation`. Logs the failure, with `operation` as the message, if the last log line is old
    /// enough.
    pub(crate) fn failed(&self, operation: &'static str, error: &Error) {
        let report = error.report();
        let Some(untold) = self.unlogged_before(operation, &report, Instant::now()) else {
            return;
        };
        // A permanent error does not pass by itself, so a person is needed.
        match error.class() {
            Class::Permanent => tracing::error!(error = report, code = %error.code(), untold, "{operation}"),
            _ => tracing::warn!(error = report, code = %error.code(), untold, "{operation}"),
        }
    }

    /// Forgets the failures of `operation`. If there were any, logs that the operation works again.
    pub(crate) fn succeeded(&self, operation: &'static str) {
        if self.0.lock().remove(operation).is_some() {
            tracing::info!(failed = operation, "the queue's server does it again");
        }
    }

    /// Decides whether a failure is logged now. If so, returns the number of unlogged failures since the last log line.
    /// Otherwise counts the failure and returns `None`.
    fn unlogged_before(&self, operation: &'static str, report: &str, now: Instant) -> Option<u64> {
        let mut logged = self.0.lock();
        if let Some(last) = logged.get_mut(operation) {
            let every = if last.report == report {
                SAME_ERROR_EVERY
            } else {
                OTHER_ERROR_EVERY
            };
            if now.saturating_duration_since(last.at) < every {
                last.unlogged += 1;
                return None;
            }
        }
        let error = LoggedError {
            report: report.to_owned(),
            at: now,
            unlogged: 0,
        };
        Some(logged.insert(operation, error).map_or(0, |last| last.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_was_just_logged_is_only_counted() {
        let errors = RepeatedErrors::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(errors.unlogged_before("claim", "refused", start), Some(0));
        for second in 0..30 {
            assert_eq!(errors.unlogged_before("claim", "refused", at(second)), None);
        }
        assert_eq!(errors.unlogged_before("claim", "refused", at(30)), Some(30));
        // A different error is logged sooner. Each operation has its own interval.
        assert_eq!(errors.unlogged_before("claim", "full", at(31)), None);
        assert_eq!(errors.unlogged_before("renew", "full", at(31)), Some(0));
        assert_eq!(errors.unlogged_before("claim", "full", at(32)), Some(1));
        errors.succeeded("claim");
        assert_eq!(errors.unlogged_before("claim", "full", at(32)), Some(0));
    }
}
