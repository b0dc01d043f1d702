//! One claim to its end: opened, run through the pipeline, and settled by what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::Instrument;

use super::lease::{Lease, Leases};
use super::plugins::{Bound, Plugins};
use super::{Outcome, WorkerOptions};
use crate::commit::{Committed, Destination};
use crate::complaints::Complaints;
use crate::error::{Class, Error, Result, Stage};
use crate::faults;
use crate::fetch::{Fetcher, Identity, Origin};
use crate::location::redact;
use crate::pipeline::{self, Gauge, Job};
use crate::queue::{Claim, Next, Server, Ticket};
use crate::receipt::{self, Receipt};
use crate::stop::{Stop, TOO_LONG, TimeLimit, stop_after};

/// The most of an error that goes to the queue, for people to read.
const REPORT_CHARS_MAX: usize = 2_000;

/// What may fail for a while.
const END: &str = "cannot end a claim, trying again";

/// What every attempt of a worker needs.
pub(super) struct Context {
    pub(super) server: Server,
    pub(super) leases: Leases,
    pub(super) plugins: Plugins,
    pub(super) fetcher: Fetcher,
    pub(super) destination: Arc<Destination>,
    pub(super) complaints: Arc<Complaints>,
    pub(super) options: WorkerOptions,
}

impl Context {
    /// Works on a claim that was asked for at `asked_at`, and ends it on the server.
    pub(super) async fn attempt(&self, claim: Claim, asked_at: Instant, stop: Stop) -> Outcome {
        let Ticket { queue, id, .. } = &claim.ticket;
        let span = tracing::info_span!("request", queue, id, attempt = claim.attempt);
        let work = async {
            tracing::info!(uri = redact(&claim.request.uri), "claimed");
            faults::pass("claimed", id);
            let gauge = Arc::new(Gauge::default());
            let lease = self
                .leases
                .hold(claim.ticket.clone(), stop.clone(), Arc::clone(&gauge), asked_at);
            match self.work_in_time(&claim, &stop, gauge).await {
                Ok(committed) => self.settle(&claim.ticket, &lease, committed).await,
                Err(error) => self.fail(&claim, &lease, error).await,
            }
        };
        work.instrument(span).await
    }

    /// Works until the time of one attempt is over; the stages then find themselves stopped.
    async fn work_in_time(&self, claim: &Claim, stop: &Stop, gauge: Arc<Gauge>) -> Result<Committed> {
        let started_at = receipt::now();
        let mut limit = TimeLimit::new(self.options.limits.attempt);
        let bound = tokio::select! {
            bound = self.plugins.for_claim(claim) => bound?,
            () = stop.requested() => return Err(stop.error()),
            () = limit.used_up() => {
                return Err(Error::permanent(Stage::Worker, format!("stopped: {TOO_LONG}")));
            }
        };
        limit.lower(bound.limits.attempt);
        stop_after(&mut limit, stop, self.work(claim, stop, gauge, bound, started_at)).await
    }

    async fn work(
        &self,
        claim: &Claim,
        stop: &Stop,
        gauge: Arc<Gauge>,
        bound: Bound,
        started_at: Timestamp,
    ) -> Result<Committed> {
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
            profile: self.options.profile,
            gate: self.options.gate.and(&bound.gate),
            destination: Arc::clone(&self.destination),
            // Attempts at once share the cores.
            lanes: self.options.limits.lanes / self.leases.count().max(1),
            limits: bound.limits,
            stop: stop.clone(),
            gauge,
        };
        let (fetcher, uri, stop) = (self.fetcher.clone(), claim.request.uri.clone(), stop.clone());
        let open = move |rest: Option<(&Identity, u64)>| match rest {
            None => fetcher.open_blocking(&uri, Origin::Queued, &stop),
            Some((identity, from)) => fetcher.open_rest_blocking(&uri, Origin::Queued, identity, from, &stop),
        };
        pipeline::spawn_or_resume(job, open).await
    }

    async fn settle(&self, ticket: &Ticket, lease: &Lease, committed: Committed) -> Outcome {
        let receipt = match committed {
            Committed::New(receipt) => receipt,
            Committed::Existing(receipt) => {
                tracing::info!("was committed by an attempt before");
                receipt
            }
        };
        let Receipt { records, .. } = &receipt;
        let (read, written, rejected) = (records.read, records.written, records.rejected);
        let document = serde_json::to_string(&receipt).expect("a receipt serializes");
        match self
            .insist(lease, || self.server.queue.settle(ticket, &document))
            .await
        {
            Ok(()) => {
                faults::pass("settled", &ticket.id);
                let plugin = format!("{}@{}", receipt.plugin.name, receipt.plugin.version);
                let binding = receipt.binding;
                tracing::info!(plugin, binding, read, written, rejected, "done");
                Outcome::Done
            }
            // The output is committed: whoever claims the request next finds the receipt and settles.
            Err(error) => {
                tracing::warn!(error = error.report(), "committed but not settled");
                Outcome::Lost
            }
        }
    }

    async fn fail(&self, claim: &Claim, lease: &Lease, error: Error) -> Outcome {
        let (ticket, policy) = (&claim.ticket, &self.options.policy);
        let report: String = error.report().chars().take(REPORT_CHARS_MAX).collect();
        let (next, outcome) = match error.class() {
            Class::LeaseLost => {
                tracing::warn!(error = report, "stopped without a commit");
                return Outcome::Lost;
            }
            Class::Cancelled if !lease.is_cancelled() => return self.release(ticket, lease).await,
            Class::Cancelled => (Next::Cancelled, Outcome::Cancelled),
            Class::Transient if claim.attempt < policy.attempts_max => {
                (Next::Retry(policy.backoff(claim.attempt)), Outcome::Retried)
            }
            Class::Transient | Class::Permanent => (Next::Dead, Outcome::Dead),
        };
        let failed = self
            .insist(lease, || self.server.queue.fail(ticket, &report, next))
            .await;
        if let Err(error) = failed {
            tracing::warn!(error = error.report(), "failed but not settled");
            return Outcome::Lost;
        }
        if matches!(outcome, Outcome::Dead | Outcome::Cancelled) {
            self.forget_checkpoint(ticket).await;
        }
        match outcome {
            Outcome::Dead => tracing::error!(error = report, "given up: a dead letter"),
            Outcome::Retried => tracing::warn!(error = report, "failed, will be tried again"),
            _ => tracing::info!("cancelled"),
        }
        outcome
    }

    /// Nobody goes on with a request that has ended.
    async fn forget_checkpoint(&self, ticket: &Ticket) {
        let (destination, ticket) = (Arc::clone(&self.destination), ticket.clone());
        let forget = move || destination.forget_checkpoint(&ticket.queue, &ticket.id);
        // What is left after a panic goes with what else is abandoned.
        let _ = tokio::task::spawn_blocking(forget).await;
    }

    async fn release(&self, ticket: &Ticket, lease: &Lease) -> Outcome {
        match self.insist(lease, || self.server.queue.release(ticket)).await {
            Ok(()) => {
                tracing::info!("handed back");
                Outcome::Released
            }
            Err(error) => {
                tracing::warn!(error = error.report(), "not handed back");
                Outcome::Lost
            }
        }
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
                    self.complaints.note(END, &error);
                }
                answer => return answer,
            }
            tokio::time::sleep(wait).await;
            wait = (2 * wait).min(Duration::from_secs(2));
        }
    }
}
