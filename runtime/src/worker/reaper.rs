//! Removes requests that ended long ago, and what killed attempts have left: staged files in a folder, or uploads in an
//! object store. Takes the worker's queues and its outputs, and frees space on the server, on the disk and in the
//! store.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::attempt_runner::AttemptRunner;
use crate::commit::Destination;
use crate::config::Limits;
use crate::error::Result;
use crate::queue::Queue;

/// The interval between two passes.
const EVERY: Duration = Duration::from_secs(60);

/// The number of passes from one check of the staged files to the next. The first pass checks them, and then about one
/// pass every hour.
const STAGING_EVERY: u64 = 60;

/// The time for which staged files are kept beyond the longest run of an attempt.
const STAGING_GRACE: Duration = Duration::from_secs(3_600);

/// The pause between two steps, in which the server can serve others.
const PAUSE: Duration = Duration::from_millis(5);

/// The maximum number of steps in one pass. The next pass does the rest.
const STEPS_MAX: usize = 5_000;

/// The task that removes old requests and files from time to time, until this value is dropped.
pub(super) struct Reaper(JoinHandle<()>);

impl Reaper {
    pub(super) fn start(runner: &Arc<AttemptRunner>) -> Self {
        let runner = Arc::clone(runner);
        Self(tokio::spawn(async move {
            for look in 0_u64.. {
                if look.is_multiple_of(STAGING_EVERY) {
                    reap_staging(&runner).await;
                }
                reap(&runner).await;
                // The random part prevents workers that were started together from running their passes together.
                tokio::time::sleep(EVERY.mul_f64(0.5 + fastrand::f64())).await;
            }
        }))
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Removes the requests that ended long enough ago from all queues of the worker. Does nothing if the policy keeps all
/// requests.
pub(super) async fn reap(runner: &AttemptRunner) {
    let Some(keep) = runner.options.policy.retention else {
        return;
    };
    for name in &runner.options.queues {
        match reap_queue(&*runner.backend.queue, name, keep).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(queue = name, removed, "requests removed that ended long ago"),
            Err(error) => tracing::warn!(
                queue = name,
                error = error.report(),
                code = %error.code(),
                "requests that ended long ago not removed, trying again later"
            ),
        }
    }
}

/// Removes staged files to which nobody has written for a certain time: the time limit of an attempt, plus a grace
/// time. This time limit is the longest one of all policies and of the default, because several policies can have one
/// output. Keeps the files of requests that this worker is working on, however long the worker waits for memory.
async fn reap_staging(runner: &AttemptRunner) {
    let policies = runner.policies();
    let limits = policies.all().iter().map(|policy| policy.options.limits.attempt);
    let attempt = limits.fold(Limits::default().attempt, Duration::max);
    for destination in policies.destinations() {
        reap_output(runner, destination, attempt + STAGING_GRACE).await;
    }
}

async fn reap_output(runner: &AttemptRunner, destination: Arc<Destination>, older_than: Duration) {
    let tickets = runner.leases.tickets();
    // If this panics, the next pass tries again.
    let _ = tokio::task::spawn_blocking(move || {
        let at_work = tickets.iter().map(|ticket| (&*ticket.queue, &*ticket.id));
        match destination.storage().reap(older_than, &Vec::from_iter(at_work)) {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "abandoned files removed from staging"),
            Err(error) => tracing::warn!(
                error = error.report(),
                code = %error.code(),
                "abandoned files not removed from staging"
            ),
        }
    })
    .await;
}

async fn reap_queue(queue: &dyn Queue, name: &str, keep: Duration) -> Result<usize> {
    let mut removed = 0;
    for _ in 0..STEPS_MAX {
        let step = queue.reap(name, keep).await?;
        removed += step.removed;
        if !step.more {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(removed)
}
