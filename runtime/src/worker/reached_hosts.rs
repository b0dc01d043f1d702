//! Reports to the queue's server which hosts have answered. The server remembers these hosts for all workers. So if
//! such a host is down, a worker that starts knows that the host exists.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::attempt_runner::AttemptRunner;
use crate::error::Result;
use crate::fetch::AnsweredHosts;
use crate::queue::Queue;

/// The pause before hosts are reported again if the server could not note them.
const NOTE_AGAIN: Duration = Duration::from_secs(5);

/// The hosts that have answered this worker or other workers of the same server.
pub(super) struct ReachedHosts {
    queue: Arc<dyn Queue>,
    answered: Arc<AnsweredHosts>,
    /// True after a failure to note or look up hosts, until the server answers again. The failure was logged.
    has_logged_failure: AtomicBool,
}

impl ReachedHosts {
    pub(super) fn new(queue: Arc<dyn Queue>, answered: Arc<AnsweredHosts>) -> Self {
        Self {
            queue,
            answered,
            has_logged_failure: AtomicBool::new(false),
        }
    }

    /// Returns true if the server says that this host has answered no worker. Returns false if the host has answered,
    /// or if the server fails.
    pub(super) async fn has_never_answered(&self, host: &str) -> bool {
        if self.answered.has(host) {
            return false;
        }
        self.log_failure_once(self.queue.was_reached(host).await) == Some(false)
    }

    /// Reports hosts that have answered for the first time. Returns false if the report has to be repeated.
    async fn note(&self) -> bool {
        let hosts = self.answered.take_news();
        if hosts.is_empty()
            || self
                .log_failure_once(self.queue.note_reached(&hosts).await)
                .is_some()
        {
            return true;
        }
        self.answered.still_news(hosts);
        false
    }

    /// Returns the server's answer, or `None` if the server failed. Of several failures in a row, logs only the first,
    /// because the server may fail for as long as the worker runs.
    fn log_failure_once<T>(&self, answer: Result<T>) -> Option<T> {
        let had_logged = self.has_logged_failure.swap(answer.is_err(), Ordering::Relaxed);
        if let Err(error) = &answer
            && !had_logged
        {
            tracing::warn!(
                error = error.report(),
                code = %error.code(),
                "cannot read or write which hosts have answered (`ingest:reached`): a mistyped host is tried for as long as one \
                 that is down, and one that is down may be taken for a mistyped one by other workers"
            );
        }
        answer.ok()
    }
}

/// The task that reports hosts when they answer. It runs beside the attempts.
pub(super) struct ReachedHostsReporter {
    task: JoinHandle<()>,
    ending: oneshot::Sender<()>,
}

impl ReachedHostsReporter {
    pub(super) fn start(runner: &Arc<AttemptRunner>) -> Self {
        let runner = Arc::clone(runner);
        let (ending, mut ended) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut is_noted = true;
            loop {
                let is_last = tokio::select! {
                    () = runner.reached.answered.until_news() => false,
                    () = tokio::time::sleep(NOTE_AGAIN), if !is_noted => false,
                    _ = &mut ended => true,
                };
                is_noted = runner.reached.note().await;
                if is_last {
                    break;
                }
            }
        });
        Self { task, ending }
    }

    /// Ends the task after a last report.
    pub(super) async fn end(self) {
        drop(self.ending);
        // A panic only means that hosts are not reported. No work is lost.
        let _ = self.task.await;
    }
}
