//! What this program has to say about its queue's server: failures go in, log lines come out, few of them however often it
//! fails.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Class, Error};

/// How often the same failure is told again.
const SAME_EVERY: Duration = Duration::from_secs(30);

/// How often another failure of the same thing is.
const OTHER_EVERY: Duration = Duration::from_secs(2);

/// What failed last, for each thing that may.
#[derive(Default)]
pub(crate) struct Complaints(Mutex<HashMap<&'static str, Said>>);

struct Said {
    report: String,
    at: Instant,
    /// How often it failed since without a word about it.
    untold: u64,
}

impl Complaints {
    /// Notes that `what` failed, and says so unless that was said just before.
    pub(crate) fn note(&self, what: &'static str, error: &Error) {
        let report = error.report();
        let Some(untold) = self.is_news(what, &report, Instant::now()) else {
            return;
        };
        // What time does not mend needs a person.
        match error.class() {
            Class::Permanent => tracing::error!(error = report, code = %error.code(), untold, "{what}"),
            _ => tracing::warn!(error = report, code = %error.code(), untold, "{what}"),
        }
    }

    /// Notes that `what` works, and says so if it did not.
    pub(crate) fn works_again(&self, what: &'static str) {
        if self.lock().remove(what).is_some() {
            tracing::info!(failed = what, "the queue's server does it again");
        }
    }

    /// If it is to be told: how often it failed since it was told last.
    fn is_news(&self, what: &'static str, report: &str, now: Instant) -> Option<u64> {
        let mut said = self.lock();
        let last = said.get_mut(what);
        if let Some(last) = last {
            let every = if last.report == report {
                SAME_EVERY
            } else {
                OTHER_EVERY
            };
            if now.saturating_duration_since(last.at) < every {
                last.untold += 1;
                return None;
            }
        }
        let report = report.to_owned();
        let told = Said {
            report,
            at: now,
            untold: 0,
        };
        Some(said.insert(what, told).map_or(0, |last| last.untold))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, Said>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_just_said_is_counted_only() {
        let complaints = Complaints::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(complaints.is_news("claim", "refused", start), Some(0));
        for second in 0..30 {
            assert_eq!(complaints.is_news("claim", "refused", at(second)), None);
        }
        assert_eq!(complaints.is_news("claim", "refused", at(30)), Some(30));
        // Another failure is told sooner, and another thing is none of it.
        assert_eq!(complaints.is_news("claim", "full", at(31)), None);
        assert_eq!(complaints.is_news("renew", "full", at(31)), Some(0));
        assert_eq!(complaints.is_news("claim", "full", at(32)), Some(1));
        complaints.works_again("claim");
        assert_eq!(complaints.is_news("claim", "full", at(32)), Some(0));
    }
}
