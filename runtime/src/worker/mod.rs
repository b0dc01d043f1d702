//! Runs a worker. It claims requests from its queues, runs an attempt at each request, and stops when asked to.

mod attempt_runner;
mod backoff;
mod burst;
mod lease;
mod plugins;
mod policy;
mod reached_hosts;
mod reaper;
mod replays;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use attempt_runner::AttemptRunner;
use backoff::Backoff;
use burst::{AwaitedWork, BurstWait, PendingWork, RemainingWait, ScannedQueues};
pub use burst::{LeftRequest, LeftRequests};
use lease::Leases;
pub use plugins::PluginSource;
use plugins::Plugins;
pub use policy::{Policies, PolicyOptions};
use reached_hosts::{ReachedHosts, ReachedHostsReporter};
use reaper::Reaper;

use crate::config::LeasePolicy;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::fetch::AnsweredHosts;
use crate::memory::MemoryBudget;
use crate::plugin::Engine;
use crate::queue::{Backend, Claim, ClaimOptions, Counts, OtherOutput, is_suspect};
use crate::stop::Stop;
use crate::telemetry::repeated_errors::RepeatedErrors;

/// The interval at which an idle worker logs why it is idle although requests wait.
const IDLE_LOG_EVERY: Duration = Duration::from_secs(60);

/// Before a claim, the worker waits for up to this time for more attempts to end, so that it makes one claim instead of
/// several. It does not wait if it has room for at least `concurrency / CLAIM_SHARE` more attempts.
const BATCH_WAIT: Duration = Duration::from_millis(1);
const CLAIM_SHARE: usize = 4;

/// The first wait and the longest wait after a failed claim.
const CLAIM_RETRY_FIRST: Duration = Duration::from_millis(200);
const CLAIM_RETRY_MAX: Duration = Duration::from_millis(6_400);

/// The log messages of errors that may be repeated. [`RepeatedErrors`] limits how often each is logged.
const CANNOT_CLAIM: &str = "cannot claim, trying again";
const CANNOT_WAIT: &str = "cannot wait for requests, looking from time to time";

/// The settings of a worker.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// The worker's name, for people.
    pub name: String,
    /// The queues that the worker serves in turn.
    pub queues: Vec<String>,
    /// The maximum number of attempts that run at the same time.
    pub concurrency: usize,
    /// Set if the worker stops when it has nothing to do and will have nothing to do within the policy's `burst_wait`.
    pub burst: bool,
    /// The memory that the worker's attempts share.
    pub memory: MemoryBudget,
    /// The timing of the worker's claims, leases and retries.
    pub policy: LeasePolicy,
    /// The hosts that have answered: the list in which the fetchers of all policies note them.
    pub answered_hosts: Arc<AnsweredHosts>,
    /// Set if the worker also takes requests whose last worker was lost and had another output.
    pub move_output: bool,
}

/// The outcome of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Retried,
    Dead,
    Cancelled,
    Released,
    Lost,
}

/// The number of a worker's attempts for each outcome. A claim that ends its request without an attempt counts as an
/// attempt here.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// The number of attempts that were committed and settled.
    pub done: u64,
    /// The number of attempts that failed and will be retried.
    pub retried: u64,
    /// The number of attempts after which the request became a dead letter, and of requests that became dead letters
    /// because the queue's server had lost their content.
    pub dead: u64,
    /// The number of attempts after which the request became cancelled.
    pub cancelled: u64,
    /// The number of attempts that were handed back because the worker stopped, or could not renew their leases.
    pub released: u64,
    /// The number of attempts whose claim was lost, or could not be ended on the server.
    pub lost: u64,
    /// The requests that a burst left.
    pub left: LeftRequests,
}

impl Summary {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.done += 1,
            Outcome::Retried => self.retried += 1,
            Outcome::Dead => self.dead += 1,
            Outcome::Cancelled => self.cancelled += 1,
            Outcome::Released => self.released += 1,
            Outcome::Lost => self.lost += 1,
        }
    }
}

/// How urgently a worker has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shutdown {
    /// The worker does not stop.
    No,
    /// The worker claims nothing more. It waits for its attempts to end, for a limited time, and then hands the
    /// remaining attempts back.
    Drain,
    /// The worker hands all attempts back at once.
    Now,
}

/// Runs a worker until `shutdown` asks it to stop. A burst also ends when it has had nothing to do for a while. `url`
/// names the server to which `backend` is connected. `policies` has a policy for each queue; new ones hold for new
/// claims.
///
/// # Errors
/// Fails if an output was replaced by another one. While the queue's server fails, the worker tries again. A burst
/// gives up after the policy's `burst_patience`.
pub async fn run(
    url: &str,
    backend: Backend,
    engine: Engine,
    policies: watch::Receiver<Arc<Policies>>,
    options: WorkerOptions,
    mut shutdown: watch::Receiver<Shutdown>,
) -> Result<Summary> {
    let plugins = Plugins::new(engine, Arc::clone(&backend.registry));
    let repeated_errors = Arc::new(RepeatedErrors::default());
    let queue = options.queues.first().map_or("", String::as_str);
    let leases = Leases::start(url, queue, &options.policy, Arc::clone(&repeated_errors))?;
    let reached = ReachedHosts::new(Arc::clone(&backend.queue), Arc::clone(&options.answered_hosts));
    let runner = Arc::new(AttemptRunner {
        backend,
        reached,
        leases,
        plugins,
        policies,
        repeated_errors,
        options,
    });
    let noter = ReachedHostsReporter::start(&runner);
    let _reaper = (!runner.options.burst).then(|| Reaper::start(&runner));
    let mut worker = Worker {
        policies: runner.policies(),
        runner,
        attempts: JoinSet::new(),
        stops: HashMap::new(),
        suspect: None,
        summary: Summary::default(),
        turn: 0,
        unanswered: None,
        is_unanswered: false,
        idle_logged_at: None,
        logged_elsewhere: HashSet::new(),
        waiting: BurstWait::default(),
        scanned: ScannedQueues::new(),
        logged_waiting: None,
        invalid_before: None,
        requests_lost: 0,
    };
    // The worker runs as a task of the runtime, like its attempts. Outside a task, it would run on a thread of its own,
    // and the end of each attempt would have to wake that thread.
    let serving = tokio::spawn(async move {
        let result = worker.serve(&mut shutdown).await;
        worker.drain(&mut shutdown).await;
        noter.end().await;
        result?;
        if worker.runner.options.burst {
            let is_stopped = *shutdown.borrow() != Shutdown::No;
            if is_stopped {
                worker.summary.left = worker.left_after_stop().await?;
            } else {
                // A burst removes old requests when it ends, because all workers may be bursts, which have no reaper.
                reaper::reap(&worker.runner).await;
            }
        }
        Ok(worker.summary)
    });
    match serving.await.map_err(JoinError::try_into_panic) {
        Ok(result) => result,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(error)) => {
            Err(
                Error::permanent(Stage::Worker, Code::HostFailure, "the async runtime has ended")
                    .because(error),
            )
        }
    }
}

struct Worker {
    runner: Arc<AttemptRunner>,
    /// The policies of the next claim.
    policies: Arc<Policies>,
    attempts: JoinSet<Outcome>,
    stops: HashMap<tokio::task::Id, Stop>,
    /// The attempt at a request that becomes poison with one more lost lease. The request may kill this worker, so
    /// nothing more is claimed while the attempt runs.
    suspect: Option<tokio::task::Id>,
    summary: Summary,
    turn: usize,
    /// The nonce of a claim that has returned nothing so far, perhaps because its answer was lost, and the number of
    /// requests that it asks for.
    unanswered: Option<(String, usize)>,
    /// Set if the last claim had no answer. Its requests may be recorded with the output of its policy, so the policies
    /// stay the same until it is answered.
    is_unanswered: bool,
    /// The time of the last log line about why this worker is idle.
    idle_logged_at: Option<Instant>,
    /// The queues for which a log line has said that requests wait for workers with other outputs.
    logged_elsewhere: HashSet<String>,
    /// The time for which a burst has waited.
    waiting: BurstWait,
    scanned: ScannedQueues,
    /// The time of the last log line about the work that the burst waits for, and the kinds of work that were logged in
    /// this line and shortly before it.
    logged_waiting: Option<(Instant, AwaitedWork)>,
    /// The number of invalid documents when the burst began, or `None` before they were counted.
    invalid_before: Option<u64>,
    /// The number of requests that claims have moved to the dead letters, as last read: see
    /// [`Claims::requests_lost`](crate::queue::Claims::requests_lost).
    requests_lost: u64,
}

impl Worker {
    async fn serve(&mut self, shutdown: &mut watch::Receiver<Shutdown>) -> Result<()> {
        let (mut backoff, mut failing_since) = (Backoff::new(CLAIM_RETRY_FIRST, CLAIM_RETRY_MAX), None);
        // The first connection of the lease thread may take seconds, and nothing is claimed before that. If the worker
        // is asked to stop, it does not wait for the connection.
        tokio::select! {
            () = self.runner.leases.begun() => {}
            _ = shutdown.changed() => {}
        }
        while *shutdown.borrow() == Shutdown::No {
            while let Some(ended) = self.attempts.try_join_next_with_id() {
                self.ended(ended);
            }
            if self.attempts.len() >= self.runner.options.concurrency || self.suspect.is_some() {
                self.next_event(shutdown, None).await;
                continue;
            }
            self.batch_claims().await;
            match self.step().await {
                Ok(ClaimOutcome::Over) => return Ok(()),
                Ok(step) => {
                    backoff.reset();
                    failing_since = None;
                    self.runner.repeated_errors.succeeded(CANNOT_CLAIM);
                    if matches!(step, ClaimOutcome::Began) {
                        continue;
                    }
                    self.next_event(shutdown, Some(self.runner.options.policy.idle))
                        .await;
                }
                Err(error) if self.may_pass(&error, &mut failing_since) => {
                    self.runner.repeated_errors.failed(CANNOT_CLAIM, &error);
                    tokio::select! {
                        () = tokio::time::sleep(backoff.next_wait()) => {}
                        _ = shutdown.changed() => {}
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns whether to try again after a failed claim. A burst tries again only after a transient error, and for a
    /// limited time. Any other worker also tries again after a permanent error of the queue's server, such as a wrong
    /// password, until an operator has corrected it. If the worker exited, somebody would have to start it again.
    fn may_pass(&self, error: &Error, failing_since: &mut Option<Instant>) -> bool {
        let since = failing_since.get_or_insert_with(Instant::now);
        let WorkerOptions { burst, policy, .. } = &self.runner.options;
        if *burst {
            error.class() == Class::Transient && since.elapsed() < policy.burst_patience
        } else {
            error.class() == Class::Transient || error.stage() == Stage::Queue
        }
    }

    /// Waits briefly for more attempts to end. If several small attempts end at about the same time, a single claim
    /// then takes new requests in place of all of them.
    async fn batch_claims(&mut self) {
        let room = self.runner.options.concurrency / CLAIM_SHARE;
        let batching = async {
            while self.runner.options.concurrency - self.attempts.len() < room
                && let Some(ended) = self.attempts.join_next_with_id().await
            {
                self.ended(ended);
            }
        };
        // After a timeout, the claim does not wait for the remaining attempts, because they are not small.
        let _ = tokio::time::timeout(BATCH_WAIT, batching).await;
    }

    async fn step(&mut self) -> Result<ClaimOutcome> {
        if self.runner.options.burst && self.invalid_before.is_none() {
            self.invalid_before = Some(burst::count_invalid(&self.runner).await?);
        }
        self.runner.leases.check().await?;
        let (claims, asked_at) = self.claim_any().await?;
        self.waiting.look();
        if !claims.is_empty() {
            for claim in claims {
                self.begin(claim, asked_at);
            }
            self.waiting.is_busy();
            self.scanned.clear();
            return Ok(ClaimOutcome::Began);
        }
        if self.runner.options.burst {
            return self.idle_in_burst().await;
        }
        if self.idle_logged_at.is_none_or(|at| at.elapsed() > IDLE_LOG_EVERY) {
            self.idle_logged_at = Some(Instant::now());
            self.log_why_idle().await?;
        }
        Ok(ClaimOutcome::Idle)
    }

    /// Asks each queue once, beginning after the queue that was served last. Returns the claims of the first queue that
    /// has any. Takes as many claims as there is room for, but not more than that queue's share.
    async fn claim_any(&mut self) -> Result<(Vec<Claim>, Instant)> {
        let runner = Arc::clone(&self.runner);
        let options = &runner.options;
        if !self.is_unanswered {
            self.policies = runner.policies();
        }
        self.policies.refresh_plugins();
        let room = options.concurrency - self.attempts.len();
        let share = options.concurrency.div_ceil(options.queues.len());
        let first = self.turn;
        for step in 0..options.queues.len() {
            let turn = (first + step) % options.queues.len();
            let (nonce, count) = self
                .unanswered
                .get_or_insert_with(|| (uuid::Uuid::new_v4().simple().to_string(), room.min(share)));
            let queue = &options.queues[turn];
            let policy = self.policies.of(queue);
            policy.options.destination.storage().check_identity()?;
            let claim = ClaimOptions {
                worker: options.name.clone(),
                nonce: nonce.clone(),
                lease: options.policy.lease,
                lost_max: options.policy.lost_max,
                needs_binding: policy.needs_binding(),
                output: policy.output.clone(),
                move_output: options.move_output,
            };
            let count = *count;
            let asked_at = Instant::now();
            // If the answer is lost, the same claim is repeated, first on the same queue.
            self.turn = turn;
            self.is_unanswered = true;
            let claimed = runner.backend.queue.claim_some(queue, &claim, count).await;
            let lost = runner.backend.queue.requests_lost();
            self.summary.dead += lost - std::mem::replace(&mut self.requests_lost, lost);
            let claims = claimed?;
            self.is_unanswered = false;
            if !claims.is_empty() {
                self.turn = turn + 1;
                self.unanswered = None;
                return Ok((claims, asked_at));
            }
        }
        Ok((Vec::new(), Instant::now()))
    }

    fn begin(&mut self, claim: Claim, asked_at: Instant) {
        let is_suspect =
            claim.ending.is_none() && is_suspect(claim.lost, self.runner.options.policy.lost_max);
        let stop = Stop::default();
        let (runner, for_attempt) = (Arc::clone(&self.runner), stop.clone());
        let policy = Arc::clone(self.policies.of(&claim.ticket.queue));
        // In a box, the future of an attempt, which has some 10 KiB, is not copied on its way into the task.
        let attempt = Box::pin(async move { runner.attempt(claim, policy, asked_at, for_attempt).await });
        let task = self.attempts.spawn(attempt);
        if is_suspect {
            self.suspect = Some(task.id());
        }
        self.stops.insert(task.id(), stop);
    }

    fn ended(&mut self, ended: std::result::Result<(tokio::task::Id, Outcome), JoinError>) {
        let task = match ended {
            Ok((task, outcome)) => {
                self.summary.add(outcome);
                task
            }
            // The lease is no longer renewed. When it has expired, a worker claims the request again.
            Err(panicked) => {
                tracing::error!(error = %panicked, "an attempt panicked: this is a bug of the host");
                self.summary.lost += 1;
                panicked.id()
            }
        };
        self.stops.remove(&task);
        self.suspect = self.suspect.filter(|suspect| *suspect != task);
    }

    /// Waits for the end of an attempt, for a signal or, if `idle` is given, for something to claim.
    async fn next_event(&mut self, shutdown: &mut watch::Receiver<Shutdown>, idle: Option<Duration>) {
        let runner = Arc::clone(&self.runner);
        let wait = async {
            match idle {
                Some(idle) => wait_any(&runner, idle).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(ended) = self.attempts.join_next_with_id() => self.ended(ended),
            _ = shutdown.changed() => {}
            () = wait => {}
        }
    }

    /// Decides whether a burst that has found nothing to claim waits or ends. Logs what the burst waits for.
    async fn idle_in_burst(&mut self) -> Result<ClaimOutcome> {
        if !self.attempts.is_empty() {
            self.waiting.is_busy();
            return Ok(ClaimOutcome::Idle);
        }
        let LeasePolicy { burst_wait, idle, .. } = self.runner.options.policy;
        let remaining = self.waiting.remaining(burst_wait, idle);
        let pending = PendingWork::of(&self.runner, remaining.for_retries, &mut self.scanned).await?;
        if pending.is_importing() {
            self.waiting.is_busy();
            return Ok(ClaimOutcome::Idle);
        }
        if pending.is_awaited(remaining) {
            let awaited = pending.awaited(remaining);
            self.waiting.awaits(awaited);
            let told = self
                .logged_waiting
                .filter(|(at, _)| at.elapsed() <= IDLE_LOG_EVERY);
            if told.is_none_or(|(_, told)| awaited.is_more_than(told)) {
                let told = told.map_or(awaited, |(_, told)| told.and(awaited));
                self.logged_waiting = Some((Instant::now(), told));
                pending.log_waiting(remaining);
            }
            return Ok(ClaimOutcome::Idle);
        }
        let invalid_before = self.invalid_before.unwrap_or_default();
        let Some(all) = pending
            .left(&self.runner, burst_wait, remaining, invalid_before)
            .await?
        else {
            self.scanned.clear();
            return Ok(ClaimOutcome::Idle);
        };
        self.log_why_idle().await?;
        self.summary.left = all;
        Ok(ClaimOutcome::Over)
    }

    /// Returns the requests that a burst leaves because it was told to stop.
    async fn left_after_stop(&mut self) -> Result<LeftRequests> {
        let remaining = RemainingWait::default();
        let pending = PendingWork::of(&self.runner, remaining.for_retries, &mut self.scanned).await?;
        // If the documents were not counted at the beginning, the burst has not set any aside.
        let invalid_before = self.invalid_before.unwrap_or(u64::MAX);
        let burst_wait = self.runner.options.policy.burst_wait;
        let left = pending
            .left(&self.runner, burst_wait, remaining, invalid_before)
            .await?;
        // A burst that does not wait any more never has to go on.
        Ok(left.unwrap_or_default())
    }

    /// Logs why nothing is claimed although requests wait.
    async fn log_why_idle(&mut self) -> Result<()> {
        let runner = Arc::clone(&self.runner);
        for name in &runner.options.queues {
            let mut counts = runner.backend.queue.counts(name).await?;
            counts.ready = counts.ready.saturating_sub(self.elsewhere(&counts).await?);
            match idle_reason(&runner, &counts) {
                Some(IdleReason::Unbound(why)) => {
                    tracing::warn!(queue = name, why, "requests cannot be claimed");
                }
                Some(IdleReason::Paused) => {
                    tracing::warn!(queue = name, "queue is paused, its requests wait");
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Counts the requests of a queue that are ready only for workers with other outputs. Logs once that there are such
    /// requests.
    async fn elsewhere(&mut self, counts: &Counts) -> Result<u64> {
        let queue = &counts.queue;
        if counts.ready == 0 || self.runner.options.move_output {
            self.logged_elsewhere.remove(queue);
            return Ok(0);
        }
        let elsewhere = self
            .runner
            .backend
            .queue
            .elsewhere(queue, &self.policies.of(queue).output)
            .await?;
        if elsewhere.is_empty() {
            self.logged_elsewhere.remove(queue);
        } else if self.logged_elsewhere.insert(queue.clone()) {
            for OtherOutput { uri, requests } in &elsewhere {
                // The id of an output covers the place of its rejects, but its URI does not.
                if *uri == self.policies.of(queue).output.uri {
                    tracing::warn!(
                        queue,
                        requests,
                        output = uri,
                        "left to a worker with this output and other `--rejects`, with which they were begun: start one, or use \
                         `--move-output` if that place is gone"
                    );
                    continue;
                }
                tracing::warn!(
                    queue,
                    requests,
                    output = uri,
                    "left to a worker with this output, to which a lost worker may have written: start one there, or use \
                     `--move-output` if that output is gone"
                );
            }
        }
        Ok(elsewhere.iter().map(|elsewhere| elsewhere.requests).sum())
    }

    /// Waits for the attempts to end. Hands them back if this takes too long, or if a second signal comes.
    async fn drain(&mut self, shutdown: &mut watch::Receiver<Shutdown>) {
        if !self.attempts.is_empty() {
            tracing::info!(
                attempts = self.attempts.len(),
                "stopping: waiting for attempts to end; a second signal hands them back now"
            );
        }
        let deadline = tokio::time::Instant::now() + self.runner.options.policy.drain;
        let mut patient = true;
        while !self.attempts.is_empty() {
            if patient && *shutdown.borrow() == Shutdown::Now {
                patient = false;
                self.hand_back();
            }
            tokio::select! {
                Some(ended) = self.attempts.join_next_with_id() => self.ended(ended),
                _ = shutdown.changed(), if patient => {}
                () = tokio::time::sleep_until(deadline), if patient => {
                    patient = false;
                    self.hand_back();
                }
            }
        }
    }

    fn hand_back(&self) {
        for stop in self.stops.values() {
            stop.request(Class::Cancelled, "the worker is stopping");
        }
    }
}

/// The outcome of one look at the queues.
enum ClaimOutcome {
    Began,
    Idle,
    Over,
}

/// The reason why waiting requests cannot be claimed.
enum IdleReason {
    Unbound(String),
    Paused,
}

impl IdleReason {
    fn word(&self) -> &'static str {
        match self {
            Self::Unbound(_) => "the queue has no plugin",
            Self::Paused => "the queue is paused",
        }
    }
}

fn idle_reason(runner: &AttemptRunner, counts: &Counts) -> Option<IdleReason> {
    let (name, waiting) = (&counts.queue, waiting(counts));
    let noun = if waiting == 1 { "request" } else { "requests" };
    if waiting == 0 {
        None
    } else if counts.binding.is_none() && runner.policies().of(name).needs_binding() {
        Some(IdleReason::Unbound(format!(
            "{name}: has {waiting} {noun} and no plugin: bind one (`ingest-host plugin bind --queue {name} NAME@VERSION`) or run with `--plugin F.wasm`"
        )))
    } else {
        counts.paused.then_some(IdleReason::Paused)
    }
}

fn waiting(counts: &Counts) -> u64 {
    counts.ready + counts.delayed + counts.intake
}

/// Returns a time span in seconds with one decimal, for the log.
fn in_seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

/// Waits until one of the queues may have something to claim, for at most `idle`.
async fn wait_any(runner: &AttemptRunner, idle: Duration) {
    let mut waits = JoinSet::new();
    for name in &runner.options.queues {
        let (queue, name) = (Arc::clone(&runner.backend.queue), name.clone());
        let repeated_errors = Arc::clone(&runner.repeated_errors);
        waits.spawn(async move {
            match queue.wait(&name, idle).await {
                Ok(()) => repeated_errors.succeeded(CANNOT_WAIT),
                Err(error) => {
                    repeated_errors.failed(CANNOT_WAIT, &error);
                    // The next claim may succeed in spite of this error. The pause prevents a busy loop.
                    tokio::time::sleep(idle).await;
                }
            }
        });
    }
    waits.join_next().await;
}
