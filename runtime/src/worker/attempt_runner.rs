//! Takes one claim to its end: opens the input, runs it through the pipeline, and ends the claim according to the
//! outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::Instrument;

use super::backoff::Backoff;
use super::lease::{Lease, Leases};
use super::plugins::{BoundPlugin, Plugins};
use super::policy::{Policies, Policy, PolicyOptions};
use super::reached_hosts::ReachedHosts;
use super::replays;
use super::{Outcome, WorkerOptions, in_seconds};
use crate::commit::{self, Committed};
use crate::config::Limits;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::fail_points;
use crate::fetch::{Fetcher, Identity, RequestedBy};
use crate::gate::{Gate, all_rejected_warning};
use crate::location::redact;
use crate::pipeline::{self, Execution, Job, Placement, ProgressCounters, Work};
use crate::queue::{Backend, Claim, Ending, Failure, Next, State, Ticket};
use crate::receipt::{self, Receipt};
use crate::request::InputOptions;
use crate::stop::{Stop, TOO_LONG, TimeLimit, stop_after_without};
use crate::storage::{Concluded, EndedRequest, Owner, Storage};
use crate::telemetry::repeated_errors::RepeatedErrors;
use crate::units::HumanDuration;

/// The maximum number of characters of an error message that are stored in the queue, for people.
const REPORT_CHARS_MAX: usize = 2_000;

/// The time after which a request that could not be ended can be claimed again.
const CONCLUDE_AGAIN: Duration = Duration::from_secs(5);

/// The first wait and the longest wait before the worker repeats a failed operation that ends a claim.
const END_RETRY_FIRST: Duration = Duration::from_millis(50);
const END_RETRY_MAX: Duration = Duration::from_secs(2);

/// The log message of an error that may be repeated. [`RepeatedErrors`] limits how often it is logged.
const CANNOT_END: &str = "cannot end a claim, trying again";

/// The state that all attempts of a worker share.
pub(super) struct AttemptRunner {
    pub(super) backend: Backend,
    pub(super) leases: Leases,
    pub(super) plugins: Plugins,
    pub(super) reached: ReachedHosts,
    pub(super) policies: watch::Receiver<Arc<Policies>>,
    pub(super) repeated_errors: Arc<RepeatedErrors>,
    pub(super) options: WorkerOptions,
}

/// The values that identify a claimed request in the output.
struct ClaimedRequest {
    queue: String,
    id: String,
    submitted_at: String,
    life_ms: i64,
}

pub(super) fn commit_panicked() -> Error {
    let why = "the commit panicked: this is a bug in the host; its log says more";
    Error::transient(Stage::Worker, Code::HostFailure, why)
}

fn submitted_at(claim: &Claim) -> Timestamp {
    Timestamp::from_millisecond(claim.request.submitted_ms).unwrap_or_default()
}

/// Runs a job on the input at a URI.
async fn run_job(job: Job, fetcher: Fetcher, uri: String) -> Result<Committed> {
    let (gate, stop) = (job.work.gate.clone(), job.execution.stop.clone());
    let replayed = job.work.replay.clone();
    let open = move |rest: Option<(&Identity, u64)>| match (rest, &replayed) {
        (None, Some(replayed)) => replayed.source(&stop),
        (None, None) => fetcher.open_blocking(&uri, RequestedBy::Queued, &stop),
        (Some((identity, from)), _) => {
            fetcher.open_rest_blocking(&uri, RequestedBy::Queued, identity, from, &stop)
        }
    };
    let committed = pipeline::spawn_or_resume(job, open).await?;
    if let Committed::New(receipt) = &committed {
        let by_code = &receipt.rejects.by_code;
        if let Some(warning) = gate.unused_rule_warning(by_code) {
            tracing::warn!(warning, "--max-rejects limits a code that no reject has");
        }
        if let Some(warning) = all_rejected_warning(&receipt.records, by_code) {
            tracing::warn!(warning, "every record was rejected");
        }
    }
    Ok(committed)
}

async fn work_of(
    claim: &Claim,
    policy: &Policy,
    bound: BoundPlugin,
    limits: Limits,
    stop: &Stop,
) -> Result<Work> {
    let PolicyOptions {
        output_format,
        profile,
        gate,
        ..
    } = &policy.options;
    let (input, gate, replay) = match claim.request.replay.clone() {
        None => (input_options(claim, policy, &bound)?, gate.and(&bound.gate), None),
        Some(replay) => {
            let queue = claim.ticket.queue.clone();
            let found = replays::find(&policy.options.destination, queue, replay, stop.clone()).await?;
            let input = replays::reading(found.options, &bound.input.clone().or(&policy.options.input));
            // The gate of the first attempt has let these rejects pass.
            (input, Gate::open(), Some(found.input))
        }
    };
    Ok(Work {
        input,
        plugin: bound.plugin,
        binding: bound.number,
        config: bound.config,
        output_format: *output_format,
        profile: *profile,
        gate,
        limits: Arc::new(limits),
        replay,
    })
}

fn placement_of(claim: &Claim, policy: &Policy) -> Placement {
    Placement {
        owner: Owner {
            queue: Some(claim.request.queue.clone()),
            id: Some(claim.request.id.clone()),
            fence: claim.ticket.fence,
            life_ms: claim.life_ms,
            is_contested: claim.is_contested,
        },
        uri: redact(&claim.request.uri),
        submitted_at: submitted_at(claim),
        group: claim.request.group.clone(),
        submitted_input: claim.request.submitted_input.clone(),
        destination: Arc::clone(&policy.options.destination),
    }
}

/// Merges the options for reading the input. The request's options override its binding's options, and these override
/// the options of the queue's policy.
fn input_options(claim: &Claim, policy: &Policy, bound: &BoundPlugin) -> Result<InputOptions> {
    let input = claim.request.input.clone();
    let input = input.or(&bound.input).or(&policy.options.input);
    input
        .check()
        .map_err(|error| error.about("its options, with those of its binding and of the worker"))?;
    Ok(input)
}

/// Returns the work or, if the same work was done before, its receipt.
async fn unless_done_before(work: Work, placement: &Placement) -> Result<Result<Work, Box<Receipt>>> {
    let placement = placement.clone();
    let looking = tokio::task::spawn_blocking(move || {
        let storage = placement.destination.storage();
        let found = commit::done_before(storage, &placement.owner, |receipt| {
            work.is_that_of(receipt, &placement)
        })?;
        Ok(found.map_or(Ok(work), |receipt| Err(receipt.into())))
    });
    looking.await.unwrap_or_else(|_| Err(commit_panicked()))
}

/// Removes the checkpoint of a request that has ended, because no attempt will resume from it.
async fn forget_checkpoint(policy: &Policy, ticket: &Ticket) {
    let (destination, ticket) = (Arc::clone(&policy.options.destination), ticket.clone());
    let forget = move || destination.storage().forget_checkpoint(&ticket.queue, &ticket.id);
    // If this panics, the reaper removes the files later.
    let _ = tokio::task::spawn_blocking(forget).await;
}

impl AttemptRunner {
    /// Returns the policies that hold for new claims.
    pub(super) fn policies(&self) -> Arc<Policies> {
        Arc::clone(&self.policies.borrow())
    }

    /// Works on a claim that was asked for at `asked_at`, and ends the claim on the server. The whole attempt keeps to
    /// `policy`.
    pub(super) async fn attempt(
        &self,
        claim: Claim,
        policy: Arc<Policy>,
        asked_at: Instant,
        stop: Stop,
    ) -> Outcome {
        let Ticket { queue, id, .. } = &claim.ticket;
        // At a lower level, `RUST_LOG=warn` would remove the request's id from warnings and errors.
        let span = tracing::error_span!("request", queue, id, attempt = claim.attempt);
        let work = async {
            tracing::info!(uri = redact(&claim.request.uri), "claimed");
            fail_points::pass("claimed", id);
            let progress = Arc::new(ProgressCounters::default());
            let lease = self.leases.hold(
                claim.ticket.clone(),
                stop.clone(),
                Arc::clone(&progress),
                asked_at,
            );
            if let Some(moved_from) = &claim.moved_from {
                tracing::warn!(
                    output_before = moved_from,
                    "taken over from another output: what the lost attempt has published or staged there stays"
                );
            }
            if let Some(ending) = &claim.ending {
                return self.conclude(&claim, &policy, &lease, ending).await;
            }
            match self.work_in_time(&claim, &policy, &stop, progress).await {
                Ok(committed) => self.settle(&claim.ticket, &lease, committed).await,
                Err(error) => self.fail(&claim, &policy, &lease, error).await,
            }
        };
        work.instrument(span).await
    }

    /// Works on a claim. If the time limit of an attempt is over before the work ends, tells the stages of the pipeline
    /// to stop.
    async fn work_in_time(
        &self,
        claim: &Claim,
        policy: &Policy,
        stop: &Stop,
        progress: Arc<ProgressCounters>,
    ) -> Result<Committed> {
        if claim.is_contested
            && let Some(receipt) = self.committed_before(claim, policy).await?
        {
            return Ok(Committed::Existing(receipt));
        }
        let started_at = receipt::now();
        let mut limit = TimeLimit::new(policy.options.limits.attempt);
        let bound = tokio::select! {
            bound = self.plugins.for_claim(claim, policy) => bound?,
            () = stop.requested() => return Err(stop.error()),
            () = limit.used_up() => {
                return Err(Error::permanent(Stage::Worker, Code::AttemptTimeout, format!("stopped: {TOO_LONG}")));
            }
        };
        let mut limits = policy.options.limits.with_overrides(&bound.overrides)?;
        limit.lower(limits.attempt);
        // The time for which this attempt waits for memory that other requests use does not count as work.
        let memory = self.options.memory.share(stop);
        limits.memory = memory.clone();
        let work = async {
            let placement = placement_of(claim, policy);
            let work = work_of(claim, policy, bound, limits, stop).await?;
            let work = match work.input.version {
                None => work,
                Some(_) => match unless_done_before(work, &placement).await? {
                    Ok(work) => work,
                    Err(receipt) => return Ok(Committed::Existing(*receipt)),
                },
            };
            let job = Job {
                work,
                placement,
                execution: Execution {
                    attempt: claim.attempt,
                    worker: self.options.name.clone(),
                    started_at,
                    // Concurrent attempts share the cores.
                    lanes: policy.options.limits.lanes / self.leases.count().max(1),
                    stop: stop.clone(),
                    progress,
                    watcher: None,
                },
            };
            run_job(job, policy.options.fetcher.clone(), claim.request.uri.clone()).await
        };
        let result = stop_after_without(&mut limit, || memory.waited(), stop, work).await;
        result.map_err(|error| {
            // The stop ends calls to an object store, whose errors do not say so.
            let is_of_call = error.code() == Code::OutputUnwritable && !error.leaves_output();
            match stop.is_requested() && is_of_call {
                true => stop.error().because(error),
                false => error,
            }
        })
    }

    /// If an earlier attempt has committed the request, returns its receipt, and removes the published files that the
    /// receipt does not name. Otherwise returns `None`.
    async fn committed_before(&self, claim: &Claim, policy: &Policy) -> Result<Option<Receipt>> {
        let found = self
            .on_output(claim, policy, |storage, claim| {
                storage.committed(&claim.queue, &claim.id, &claim.submitted_at)
            })
            .await?;
        if found.is_none() {
            return Ok(None);
        }
        // Because there is a receipt, `conclude_output` only removes the other files.
        match self.conclude_output(claim, policy, State::Done).await? {
            Concluded::Committed(receipt) => Ok(Some(*receipt)),
            Concluded::Ended => Err(Error::transient(
                Stage::Commit,
                Code::OutputMissing,
                "the receipt has disappeared",
            )),
        }
    }

    /// Ends a request without an attempt, as `ending` says.
    async fn conclude(&self, claim: &Claim, policy: &Policy, lease: &Lease, ending: &Ending) -> Outcome {
        let (next, state, error, code) = match ending {
            Ending::Cancel => (
                Next::Cancelled,
                State::Cancelled,
                "cancelled after a worker was lost",
                Some(Code::Stopped.as_str()),
            ),
            Ending::Dead(why) => (Next::Dead, State::Dead, &**why, claim.ending_code.as_deref()),
        };
        let report = None;
        let failure = Failure { error, code, report };
        match self.conclude_output(claim, policy, state).await {
            Ok(Concluded::Committed(receipt)) => {
                self.settle(&claim.ticket, lease, Committed::Existing(*receipt))
                    .await
            }
            Ok(Concluded::Ended) => self.end(claim, policy, lease, failure, next).await,
            Err(blocking_error) => self.conclude_later(claim, lease, failure, &blocking_error).await,
        }
    }

    /// Checks whether an attempt has committed the request. If none has, removes the request's visible output, and
    /// prevents late attempts from committing the request.
    async fn conclude_output(&self, claim: &Claim, policy: &Policy, state: State) -> Result<Concluded> {
        let worker = self.options.name.clone();
        self.on_output(claim, policy, move |storage, claim| {
            storage.conclude(EndedRequest {
                queue: &claim.queue,
                id: &claim.id,
                submitted_at: &claim.submitted_at,
                life_ms: claim.life_ms,
                state: state.name(),
                worker: &worker,
            })
        })
        .await
    }

    /// Runs blocking work on the output.
    async fn on_output<T: Send + 'static>(
        &self,
        claim: &Claim,
        policy: &Policy,
        work: impl FnOnce(&dyn Storage, &ClaimedRequest) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let destination = Arc::clone(&policy.options.destination);
        let claim = ClaimedRequest {
            queue: claim.ticket.queue.clone(),
            id: claim.ticket.id.clone(),
            submitted_at: submitted_at(claim).to_string(),
            life_ms: claim.life_ms,
        };
        let span = tracing::Span::current();
        let working =
            tokio::task::spawn_blocking(move || span.in_scope(|| work(destination.storage(), &claim)));
        working.await.unwrap_or_else(|_| Err(commit_panicked()))
    }

    /// Leaves the request to a later claim, which ends it as `failure` says. `blocking_error` is the reason why this
    /// claim cannot end it.
    async fn conclude_later(
        &self,
        claim: &Claim,
        lease: &Lease,
        failure: Failure<'_>,
        blocking_error: &Error,
    ) -> Outcome {
        tracing::warn!(
            error = blocking_error.report(),
            code = %blocking_error.code(),
            "the request cannot be ended yet, because the output of a lost attempt cannot be examined: trying again"
        );
        let ticket = &claim.ticket;
        let next = Next::Conclude(CONCLUDE_AGAIN);
        match self
            .retry_while_leased(lease, || self.backend.queue.fail_with(ticket, failure, next))
            .await
        {
            Ok(()) => Outcome::Retried,
            Err(error) => {
                tracing::warn!(reason = failure.error, error = error.report(), code = %error.code(), "not handed back");
                Outcome::Lost
            }
        }
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
            .retry_while_leased(lease, || self.backend.queue.settle(ticket, &document))
            .await
        {
            Ok(()) => {
                fail_points::pass("settled", &ticket.id);
                let (plugin, binding) = (receipt.plugins(), receipt.binding);
                tracing::info!(plugin, binding, read, written, rejected, "done");
                Outcome::Done
            }
            // The output is committed: the next worker that claims the request finds the receipt and settles its claim
            // with it.
            Err(error) => {
                tracing::warn!(error = error.report(), code = %error.code(), "committed but not settled");
                Outcome::Lost
            }
        }
    }

    async fn fail(&self, claim: &Claim, policy: &Policy, lease: &Lease, error: Error) -> Outcome {
        let ticket = &claim.ticket;
        let mut report: String = error.report().chars().take(REPORT_CHARS_MAX).collect();
        let (next, state) = match error.class() {
            Class::LeaseLost => {
                tracing::warn!(error = report, code = %error.code(), "stopped without a commit");
                return Outcome::Lost;
            }
            Class::Cancelled if !lease.is_cancelled() => return self.release(ticket, lease, &report).await,
            Class::Cancelled => (Next::Cancelled, State::Cancelled),
            Class::Transient => match self.next_try(claim, &error).await {
                Ok(delay) if error.leaves_output() => (Next::RetryContested(delay), State::Delayed),
                Ok(delay) => (Next::Retry(delay), State::Delayed),
                Err(why) => {
                    report.push_str(&why);
                    (Next::Dead, State::Dead)
                }
            },
            Class::Permanent => (Next::Dead, State::Dead),
        };
        let failure = Failure {
            error: &report,
            code: Some(error.code().as_str()),
            report: error.kept_report(),
        };
        let may_have_left = claim.is_contested || error.leaves_output();
        if may_have_left && state != State::Delayed {
            match self.conclude_output(claim, policy, state).await {
                Ok(Concluded::Committed(receipt)) => {
                    return self.settle(ticket, lease, Committed::Existing(*receipt)).await;
                }
                Ok(Concluded::Ended) => {}
                Err(blocking_error) => {
                    return self.conclude_later(claim, lease, failure, &blocking_error).await;
                }
            }
        }
        self.end(claim, policy, lease, failure, next).await
    }

    /// Returns the wait before the next attempt at a request whose failure may pass. If the request has already waited
    /// long enough, returns the reason to give it up.
    async fn next_try(&self, claim: &Claim, error: &Error) -> Result<Duration, String> {
        let policy = &self.options.policy;
        let unreached = match error.unreached() {
            Some(host) if self.reached.has_never_answered(host).await => Some(host),
            _ => None,
        };
        let patience = match unreached {
            Some(_) => policy.retry_for.min(policy.retry_unreached),
            None => policy.retry_for,
        };
        let wait = policy.wait(claim.attempt, claim.waited, patience, error.retry_after());
        wait.ok_or_else(|| {
            let (attempts, waited) = (claim.attempt, HumanDuration(claim.waited));
            let what = match unreached {
                Some(host) => format!("{host} has never answered: check its name"),
                None => "`run --retry-for` says for how long it is tried".to_owned(),
            };
            format!(" (given up, attempts: {attempts}, waits between them: {waited}; {what}; `dead retry` begins anew)")
        })
    }

    /// Ends a claim as failed.
    async fn end(
        &self,
        claim: &Claim,
        policy: &Policy,
        lease: &Lease,
        failure: Failure<'_>,
        next: Next,
    ) -> Outcome {
        let ticket = &claim.ticket;
        let failed = self
            .retry_while_leased(lease, || {
                let queue = &self.backend.queue;
                queue.fail_with(ticket, failure, next)
            })
            .await;
        if let Err(error) = failed {
            tracing::warn!(error = error.report(), code = %error.code(), "failed but not settled");
            return Outcome::Lost;
        }
        let Failure { error, code, report } = failure;
        match next {
            Next::Dead => {
                forget_checkpoint(policy, ticket).await;
                tracing::error!(error, code, report, "given up: a dead letter");
                Outcome::Dead
            }
            Next::Cancelled => {
                forget_checkpoint(policy, ticket).await;
                tracing::info!("cancelled");
                Outcome::Cancelled
            }
            Next::Retry(delay) | Next::RetryContested(delay) | Next::Conclude(delay) => {
                let next_try_in_s = in_seconds(delay);
                tracing::warn!(error, code, next_try_in_s, "failed, will be tried again");
                Outcome::Retried
            }
        }
    }

    async fn release(&self, ticket: &Ticket, lease: &Lease, why: &str) -> Outcome {
        match self
            .retry_while_leased(lease, || self.backend.queue.release(ticket))
            .await
        {
            Ok(()) => {
                tracing::info!(reason = why, "handed back");
                Outcome::Released
            }
            Err(error) => {
                tracing::warn!(error = error.report(), code = %error.code(), "not handed back");
                Outcome::Lost
            }
        }
    }

    /// Runs an operation that ends a claim. Repeats it after each transient error, for as long as the lease is good.
    async fn retry_while_leased<F: Future<Output = Result<()>>>(
        &self,
        lease: &Lease,
        mut verb: impl FnMut() -> F,
    ) -> Result<()> {
        let mut backoff = Backoff::new(END_RETRY_FIRST, END_RETRY_MAX);
        lease.begin_end();
        loop {
            match verb().await {
                Err(error) if error.class() == Class::Transient && lease.is_good() => {
                    self.repeated_errors.failed(CANNOT_END, &error);
                }
                answer => return answer,
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }
}
