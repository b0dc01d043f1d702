//! One claim to its end: opened, run through the pipeline, and settled by what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::lease::{Lease, Leases};
use super::plugins::Plugins;
use super::{Outcome, WorkerOptions};
use crate::commit::{Committed, Destination};
use crate::error::{Class, Error, Result, Stage};
use crate::fetch::{Fetcher, Origin};
use crate::location::redact;
use crate::pipeline::{self, Job, Progress};
use crate::queue::{Claim, Next, Server, Ticket};
use crate::receipt::Receipt;
use crate::stop::Stop;

/// What every attempt of a worker needs.
pub(super) struct Context {
    pub(super) server: Server,
    pub(super) leases: Leases,
    pub(super) plugins: Plugins,
    pub(super) fetcher: Fetcher,
    pub(super) destination: Arc<Destination>,
    pub(super) options: WorkerOptions,
}

impl Context {
    /// Works on a claim that was asked for at `asked_at`, and ends it on the server.
    pub(super) async fn attempt(&self, claim: Claim, asked_at: Instant, stop: Stop) -> Outcome {
        let (id, queue) = (claim.ticket.id.as_str(), claim.ticket.queue.as_str());
        tracing::info!(
            queue,
            request_id = id,
            attempt = claim.attempt,
            uri = redact(&claim.request.uri),
            "claimed"
        );
        let lease = self.leases.hold(claim.ticket.clone(), stop.clone(), asked_at);
        match self.work(&claim, &stop).await {
            Ok(committed) => self.settle(&claim, &lease, committed).await,
            Err(error) => self.fail(&claim, &lease, error).await,
        }
    }

    async fn work(&self, claim: &Claim, stop: &Stop) -> Result<Committed> {
        let started_at = Timestamp::now();
        let bound = self.plugins.for_claim(claim).await?;
        let source = self
            .fetcher
            .open(&claim.request.uri, Origin::Queued, stop)
            .await?;
        let job = Job {
            id: Some(claim.request.id.clone()),
            queue: Some(claim.request.queue.clone()),
            uri: redact(&claim.request.uri),
            submitted_at: Timestamp::from_millisecond(claim.request.submitted_ms).unwrap_or_default(),
            attempt: claim.attempt,
            fence: claim.ticket.fence,
            worker: self.options.name.clone(),
            started_at,
            input: claim.request.input.clone(),
            plugin: bound.plugin,
            config: bound.config,
            binding: bound.number,
            output_format: self.options.output_format,
            destination: Arc::clone(&self.destination),
            limits: Arc::clone(&self.options.limits),
            stop: stop.clone(),
            progress: Arc::new(Progress::default()),
        };
        // Not `spawn_blocking`: a pipeline may run for hours and must not take the pool's threads.
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name("pipeline".into())
            .spawn(move || drop(sender.send(pipeline::run(&job, source))))
            .map_err(|e| Error::transient(Stage::Worker, "cannot start a thread").because(e))?;
        receiver.await.unwrap_or_else(|_| {
            Err(Error::permanent(
                Stage::Worker,
                "the pipeline panicked: this is a bug of the host, its log says more",
            ))
        })
    }

    async fn settle(&self, claim: &Claim, lease: &Lease, committed: Committed) -> Outcome {
        let id = claim.ticket.id.as_str();
        let (receipt, existing) = match committed {
            Committed::New(receipt) => (receipt, false),
            Committed::Existing(receipt) => (receipt, true),
        };
        let Receipt { records, .. } = &receipt;
        let (read, written, rejected) = (records.read, records.written, records.rejected);
        let document = serde_json::to_string(&receipt).expect("a receipt serializes");
        match self
            .insist(lease, || self.server.queue.settle(&claim.ticket, &document))
            .await
        {
            Ok(()) => {
                tracing::info!(request_id = id, read, written, rejected, existing, "done");
                Outcome::Done
            }
            // The output is committed: whoever claims the request next finds the receipt and settles.
            Err(error) => {
                tracing::warn!(
                    request_id = id,
                    error = error.report(),
                    "committed but not settled"
                );
                Outcome::Lost
            }
        }
    }

    async fn fail(&self, claim: &Claim, lease: &Lease, error: Error) -> Outcome {
        let (ticket, policy) = (&claim.ticket, &self.options.policy);
        let report = error.report();
        let id = ticket.id.as_str();
        let (next, outcome) = match error.class() {
            Class::LeaseLost => {
                tracing::warn!(request_id = id, error = report, "stopped without a commit");
                return Outcome::Lost;
            }
            Class::Cancelled if !lease.is_cancelled() => return self.release(ticket, lease).await,
            Class::Cancelled => (Next::Cancelled, Outcome::Cancelled),
            Class::Transient if claim.attempt < policy.attempts_max => {
                (Next::Retry(policy.backoff(claim.attempt)), Outcome::Retried)
            }
            Class::Transient | Class::Permanent => (Next::Dead, Outcome::Dead),
        };
        match self
            .insist(lease, || self.server.queue.fail(ticket, &report, next))
            .await
        {
            Ok(()) => match outcome {
                Outcome::Dead => tracing::error!(request_id = id, error = report, "given up: a dead letter"),
                Outcome::Retried => {
                    tracing::warn!(request_id = id, error = report, "failed, will be tried again");
                }
                _ => tracing::info!(request_id = id, "cancelled"),
            },
            Err(error) => {
                tracing::warn!(request_id = id, error = error.report(), "failed but not settled");
                return Outcome::Lost;
            }
        }
        outcome
    }

    async fn release(&self, ticket: &Ticket, lease: &Lease) -> Outcome {
        match self.insist(lease, || self.server.queue.release(ticket)).await {
            Ok(()) => tracing::info!(request_id = ticket.id, "handed back"),
            Err(error) => tracing::warn!(request_id = ticket.id, error = error.report(), "not handed back"),
        }
        Outcome::Released
    }

    /// Repeats a verb while the server cannot be reached and the lease is good.
    async fn insist<F: Future<Output = Result<()>>>(
        &self,
        lease: &Lease,
        mut verb: impl FnMut() -> F,
    ) -> Result<()> {
        let mut wait = Duration::from_millis(50);
        loop {
            match verb().await {
                Err(error) if error.class() == Class::Transient && lease.is_good() => {
                    tracing::warn!(error = error.report(), "queue server not reached, trying again");
                }
                answer => return answer,
            }
            tokio::time::sleep(wait).await;
            wait = (2 * wait).min(Duration::from_secs(2));
        }
    }
}
