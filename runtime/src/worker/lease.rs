//! Keeps the leases of this worker's claims. A separate OS thread renews them over its own connection, so that neither
//! a busy runtime nor a blocked pipeline can prevent a renewal.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::config::LeasePolicy;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::pipeline::ProgressCounters;
use crate::queue::{Backend, Progress, Renewed, Ticket};
use crate::stop::Stop;
use crate::telemetry::repeated_errors::RepeatedErrors;

/// The pause after a failed renewal or connection.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// The log message of an error that may be repeated. [`RepeatedErrors`] limits how often it is logged.
const CANNOT_RENEW: &str = "cannot renew leases, trying again";

/// The leases that are held now. If this value is dropped, the thread ends.
pub(super) struct Leases {
    shared: Arc<LeaseTable>,
    policy: LeasePolicy,
    next_key: AtomicU64,
    health: watch::Receiver<RenewalHealth>,
}

/// The thread's latest knowledge about whether leases can be renewed.
#[derive(Debug)]
enum RenewalHealth {
    /// The thread is making its first connection.
    Begins,
    Works,
    Fails(Class, Code, String),
}

struct LeaseTable {
    state: Mutex<LeaseState>,
    closing: Condvar,
    repeated_errors: Arc<RepeatedErrors>,
}

#[derive(Default)]
struct LeaseState {
    held: HashMap<u64, HeldLease>,
    closed: bool,
}

struct HeldLease {
    ticket: Ticket,
    stop: Stop,
    /// The end of the lease by this worker's own clock. The lease is counted from the time just before the server was
    /// asked for it.
    good_until: Instant,
    renew_at: Instant,
    progress: Arc<ProgressCounters>,
    /// The checkpoint in the last renewal, even if that renewal failed: see [`Progress::checkpoint`].
    checkpoint: u64,
    cancelled: bool,
    /// Set while an operation that ends the claim is running.
    is_ending: bool,
}

impl Leases {
    /// Starts the thread, which at once connects to the queue's server at `url`. `queue` is one of the queues in which
    /// the thread renews leases.
    pub(super) fn start(
        url: &str,
        queue: &str,
        policy: &LeasePolicy,
        repeated_errors: Arc<RepeatedErrors>,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| {
                Error::permanent(Stage::Worker, Code::HostFailure, "cannot start the lease thread").because(e)
            })?;
        let shared = Arc::new(LeaseTable {
            state: Mutex::default(),
            closing: Condvar::new(),
            repeated_errors,
        });
        let (health, receiver) = watch::channel(RenewalHealth::Begins);
        let renewer = LeaseRenewer {
            shared: Arc::clone(&shared),
            policy: policy.clone(),
            url: url.to_owned(),
            queue: queue.to_owned(),
            backend: None,
            health,
        };
        std::thread::Builder::new()
            .name("leases".into())
            .spawn(move || renewer.run(&runtime))
            .map_err(|e| {
                Error::permanent(Stage::Worker, Code::HostFailure, "cannot start the lease thread").because(e)
            })?;
        Ok(Self {
            shared,
            policy: policy.clone(),
            next_key: AtomicU64::new(0),
            health: receiver,
        })
    }

    /// Waits until the thread has made its first connection, or has failed to make it.
    pub(super) async fn begun(&self) {
        let has_begun = |health: &RenewalHealth| !matches!(health, RenewalHealth::Begins);
        // An error means that the thread has ended, which `check` reports.
        let _ = self.health.clone().wait_for(has_begun).await;
    }

    /// Checks that leases can be renewed. If they cannot, nothing may be claimed: each claim would end as a lost lease,
    /// and three lost leases without a new checkpoint in between make a request a dead letter.
    ///
    /// # Errors
    /// Fails with the error of the last renewal or connection, until a later renewal or connection succeeds.
    pub(super) async fn check(&self) -> Result<()> {
        self.begun().await;
        let ended = || {
            Error::permanent(
                Stage::Worker,
                Code::HostFailure,
                "the lease thread has ended: this is a bug of the host",
            )
        };
        match &*self.health.borrow() {
            RenewalHealth::Fails(class, code, why) => {
                let what = format!("leases cannot be renewed, so nothing is claimed: {why}");
                Err(Error::new(Stage::Queue, *class, *code, what))
            }
            RenewalHealth::Begins | RenewalHealth::Works => match self.health.has_changed() {
                Ok(_) => Ok(()),
                Err(_) => Err(ended()),
            },
        }
    }

    /// Returns the number of leases that are held.
    pub(super) fn count(&self) -> usize {
        self.shared.state.lock().held.len()
    }

    /// Returns the tickets of all claims that are held.
    pub(super) fn tickets(&self) -> Vec<Ticket> {
        let state = self.shared.state.lock();
        state.held.values().map(|held| held.ticket.clone()).collect()
    }

    /// Begins to renew the lease of a claim that was asked for at `asked_at`. Each renewal reports `progress` to the
    /// server. If the lease is lost or somebody cancels the request, `stop` is requested.
    pub(super) fn hold(
        &self,
        ticket: Ticket,
        stop: Stop,
        progress: Arc<ProgressCounters>,
        asked_at: Instant,
    ) -> Lease {
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let held = HeldLease {
            ticket,
            stop,
            good_until: asked_at + self.policy.lease,
            renew_at: asked_at + self.policy.renew_every,
            progress,
            checkpoint: 0,
            cancelled: false,
            is_ending: false,
        };
        // The thread looks at the leases often enough to find this one in time. Waking the thread for each claim would
        // cost more than the claim.
        self.shared.state.lock().held.insert(key, held);
        Lease {
            shared: Arc::clone(&self.shared),
            key,
            margin: self.policy.margin,
        }
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.closing.notify_one();
    }
}

/// One lease, which is renewed until this value is dropped.
pub(super) struct Lease {
    shared: Arc<LeaseTable>,
    key: u64,
    margin: Duration,
}

impl Lease {
    /// Returns whether the claim certainly still belongs to this worker.
    pub(super) fn is_good(&self) -> bool {
        self.shared
            .state
            .lock()
            .held
            .get(&self.key)
            .is_some_and(|held| Instant::now() + self.margin < held.good_until)
    }

    /// Notes that an operation is about to end the claim. If a renewal then finds that the claim has ended, the claim
    /// does not count as lost.
    pub(super) fn begin_end(&self) {
        if let Some(held) = self.shared.state.lock().held.get_mut(&self.key) {
            held.is_ending = true;
        }
    }

    /// Returns whether somebody has asked to cancel the request.
    pub(super) fn is_cancelled(&self) -> bool {
        self.shared
            .state
            .lock()
            .held
            .get(&self.key)
            .is_some_and(|held| held.cancelled)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shared.state.lock().held.remove(&self.key);
    }
}

/// The state of the thread.
struct LeaseRenewer {
    shared: Arc<LeaseTable>,
    policy: LeasePolicy,
    url: String,
    /// The queue in which a renewal failed last. Initially it is the queue that was given to [`Leases::start`].
    queue: String,
    /// The thread's own connection, or `None` while there is none.
    backend: Option<Backend>,
    health: watch::Sender<RenewalHealth>,
}

impl LeaseRenewer {
    fn run(mut self, runtime: &tokio::runtime::Runtime) {
        let tick = self.policy.renew_every.min(RETRY_EVERY) / 2;
        let mut looked_at = Instant::now();
        // The thread connects before the first claim. So if the server refuses this second connection of the worker,
        // the worker has no requests yet.
        runtime.block_on(self.connect());
        loop {
            let mut state = self.shared.state.lock();
            self.shared.closing.wait_for(&mut state, tick);
            if state.closed {
                return;
            }
            let now = Instant::now();
            let due: Vec<_> = state
                .held
                .iter_mut()
                .filter(|(_, held)| held.is_due(now))
                .map(|(&key, held)| {
                    let progress = held.progress();
                    held.checkpoint = progress.checkpoint;
                    (key, held.ticket.clone(), progress)
                })
                .collect();
            drop(state);
            let is_failing = matches!(*self.health.borrow(), RenewalHealth::Fails(..));
            if !due.is_empty() || (is_failing && looked_at.elapsed() >= RETRY_EVERY) {
                looked_at = now;
                runtime.block_on(self.renew_all(due));
            }
            stop_expiring(&self.shared, &self.policy);
        }
    }

    /// Connects if there is no connection. Returns false if the server accepts no connection, or no renewals on a new
    /// connection.
    async fn connect(&mut self) -> bool {
        if self.backend.is_none() {
            match Backend::connect(&self.url).await {
                Ok(backend) => {
                    self.backend = Some(backend);
                    self.probe().await;
                }
                Err(error) => self.set_health(Err(error)),
            }
        }
        self.backend.is_some()
    }

    /// Notes whether the server accepts renewals, by renewing a ticket that belongs to no request. If the server does
    /// not accept this, drops the connection, because after a failover the next connection may lead to another server.
    async fn probe(&mut self) {
        let Some(backend) = &self.backend else { return };
        let of_none = Ticket {
            queue: self.queue.clone(),
            id: String::new(),
            fence: 0,
            nonce: String::new(),
        };
        let renewed = backend
            .queue
            .renew(&of_none, self.policy.lease, Progress::default())
            .await;
        let probed = match renewed {
            Err(error) if error.class() != Class::LeaseLost => Err(error),
            _ => Ok(()),
        };
        if probed.is_err() {
            self.backend = None;
        }
        self.set_health(probed);
    }

    /// Notes whether leases can be renewed.
    fn set_health(&self, kept: Result<()>) {
        match kept {
            Ok(()) => {
                if let RenewalHealth::Fails(..) = self.health.send_replace(RenewalHealth::Works) {
                    self.shared.repeated_errors.succeeded(CANNOT_RENEW);
                }
            }
            Err(error) => {
                self.shared.repeated_errors.failed(CANNOT_RENEW, &error);
                self.health
                    .send_replace(RenewalHealth::Fails(error.class(), error.code(), error.report()));
            }
        }
    }

    /// Renews all due leases concurrently. Meanwhile, attempts whose leases run out are stopped, however long the
    /// server takes.
    async fn renew_all(&mut self, due: Vec<(u64, Ticket, Progress)>) {
        let (shared, policy) = (Arc::clone(&self.shared), self.policy.clone());
        let renewals = self.renew(due);
        tokio::pin!(renewals);
        loop {
            tokio::select! {
                () = &mut renewals => return,
                () = tokio::time::sleep(RETRY_EVERY / 2) => stop_expiring(&shared, &policy),
            }
        }
    }

    async fn renew(&mut self, due: Vec<(u64, Ticket, Progress)>) {
        if !self.connect().await {
            return postpone(&self.shared, &due);
        }
        let Some(backend) = &self.backend else { return };
        let mut answers = tokio::task::JoinSet::new();
        for (key, ticket, progress) in due {
            let (queue, lease) = (Arc::clone(&backend.queue), self.policy.lease);
            answers.spawn(async move {
                let asked_at = Instant::now();
                let renewed = queue.renew(&ticket, lease, progress).await;
                (key, ticket.queue, asked_at, renewed)
            });
        }
        let (mut works, mut failed_in) = (false, None);
        while let Some(answer) = answers.join_next().await {
            let (key, queue, asked_at, renewed) = answer.expect("a renewal neither panics nor is aborted");
            match is_answered(&renewed) {
                true => works = true,
                false => failed_in = Some(queue),
            }
            note_renewal(&self.shared, &self.policy, key, asked_at, renewed);
        }
        if works {
            return self.set_health(Ok(()));
        }
        // The renewals may have failed because of a single broken request. So the server is probed with a ticket that
        // belongs to no request, before the worker stops claiming.
        if let Some(queue) = failed_in {
            self.queue = queue;
        }
        self.probe().await;
    }
}

/// Returns whether the server has renewed the lease or has said that the claim is over.
fn is_answered(renewed: &Result<Renewed>) -> bool {
    renewed
        .as_ref()
        .map_or_else(|error| error.class() == Class::LeaseLost, |_| true)
}

impl HeldLease {
    fn progress(&self) -> Progress {
        Progress {
            bytes: self.progress.bytes.load(Ordering::Relaxed),
            records: self.progress.records.load(Ordering::Relaxed),
            rejects: self.progress.rejects.load(Ordering::Relaxed),
            checkpoint: self.progress.checkpoint.load(Ordering::Relaxed),
        }
    }

    /// Returns whether the lease is to be renewed now. A new checkpoint is reported soon, so that the queue knows of it
    /// if the worker is lost.
    fn is_due(&self, now: Instant) -> bool {
        self.renew_at <= now || self.progress.checkpoint.load(Ordering::Relaxed) > self.checkpoint
    }
}

fn postpone(shared: &LeaseTable, due: &[(u64, Ticket, Progress)]) {
    let mut state = shared.state.lock();
    for (key, ..) in due {
        if let Some(held) = state.held.get_mut(key) {
            held.renew_at = Instant::now() + RETRY_EVERY;
        }
    }
}

fn note_renewal(
    shared: &LeaseTable,
    policy: &LeasePolicy,
    key: u64,
    asked_at: Instant,
    renewed: Result<Renewed>,
) {
    let mut state = shared.state.lock();
    let Some(held) = state.held.get_mut(&key) else {
        return;
    };
    match renewed {
        Ok(Renewed { cancel }) => {
            shared.repeated_errors.succeeded(CANNOT_RENEW);
            held.good_until = asked_at + policy.lease;
            held.renew_at = asked_at + policy.renew_every;
            if cancel {
                held.cancelled = true;
                held.stop.request(Class::Cancelled, "the request was cancelled");
            }
        }
        // An operation is just ending this claim. If the claim was lost, the server tells that operation, too, so
        // nothing is reported here.
        Err(error) if error.class() == Class::LeaseLost && held.is_ending => {
            held.renew_at = Instant::now() + policy.renew_every;
        }
        Err(error) if error.class() == Class::LeaseLost => {
            held.stop.request(Class::LeaseLost, "the lease was lost");
            state.held.remove(&key);
            // Each lost lease is logged, because each one is another request.
            tracing::warn!(error = error.report(), code = %error.code(), "a lease was lost");
        }
        Err(error) => {
            shared.repeated_errors.failed(CANNOT_RENEW, &error);
            held.renew_at = Instant::now() + RETRY_EVERY;
        }
    }
}

/// Stops attempts whose lease may run out on the server before another renewal succeeds. If the worker's other
/// connection still works, these attempts are handed back on it, so that no lost lease is counted for their requests.
fn stop_expiring(shared: &LeaseTable, policy: &LeasePolicy) {
    for held in shared.state.lock().held.values() {
        let now = Instant::now();
        if now + policy.margin >= held.good_until {
            // `Cancelled` makes the worker hand the attempt back. An expired lease cannot be handed back.
            let class = match now < held.good_until {
                true => Class::Cancelled,
                false => Class::LeaseLost,
            };
            held.stop.request(class, "the lease could not be renewed in time");
        }
    }
}
