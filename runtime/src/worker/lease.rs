//! Keeps the leases of this worker's claims, on an OS thread with a connection of its own: neither a busy
//! runtime nor a blocked pipeline can keep a lease from being renewed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::complaints::Complaints;
use crate::config::LeasePolicy;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::pipeline::Gauge;
use crate::queue::{Progress, Renewed, Server, Ticket};
use crate::stop::Stop;

/// How long after a failed renewal or connection the next is tried.
const RETRY: Duration = Duration::from_secs(1);

/// What may fail for a while.
const RENEW: &str = "cannot renew leases, trying again";
const LOST: &str = "a lease was lost";

/// The leases that are held now. Dropping it ends the thread.
pub(super) struct Leases {
    shared: Arc<Shared>,
    policy: LeasePolicy,
    next_key: AtomicU64,
    keeping: watch::Receiver<Keeping>,
}

/// Whether leases can be renewed, as far as the thread knows.
#[derive(Debug)]
enum Keeping {
    /// Its first connection is being made.
    Begins,
    Works,
    Fails(Class, Code, String),
}

struct Shared {
    state: Mutex<State>,
    closing: Condvar,
    complaints: Arc<Complaints>,
}

#[derive(Default)]
struct State {
    held: HashMap<u64, Held>,
    closed: bool,
}

struct Held {
    ticket: Ticket,
    stop: Stop,
    /// By this worker's own clock, counted from before the server was asked.
    good_until: Instant,
    renew_at: Instant,
    gauge: Arc<Gauge>,
    cancelled: bool,
}

impl Leases {
    /// Starts the thread, which connects to the queue's server at `url` at once. `queue` is one that it renews leases in.
    pub(super) fn start(
        url: &str,
        queue: &str,
        policy: &LeasePolicy,
        complaints: Arc<Complaints>,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| {
                Error::permanent(Stage::Worker, Code::HostFailure, "cannot start the lease thread").because(e)
            })?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            closing: Condvar::new(),
            complaints,
        });
        let (keeping, is_keeping) = watch::channel(Keeping::Begins);
        let keeper = Keeper {
            shared: Arc::clone(&shared),
            policy: policy.clone(),
            url: url.to_owned(),
            queue: queue.to_owned(),
            server: None,
            keeping,
        };
        std::thread::Builder::new()
            .name("leases".into())
            .spawn(move || keeper.run(&runtime))
            .map_err(|e| {
                Error::permanent(Stage::Worker, Code::HostFailure, "cannot start the lease thread").because(e)
            })?;
        Ok(Self {
            shared,
            policy: policy.clone(),
            next_key: AtomicU64::new(0),
            keeping: is_keeping,
        })
    }

    /// Checks that leases can be renewed. A claim whose lease cannot be is a loss to its request, and three of them make a dead
    /// letter of it, so without this nothing may be claimed.
    ///
    /// # Errors
    /// Why the last renewal, or the connection for it, failed, until one works.
    pub(super) async fn check(&self) -> Result<()> {
        let mut keeping = self.keeping.clone();
        let begun = keeping
            .wait_for(|keeping| !matches!(keeping, Keeping::Begins))
            .await;
        let ended = || {
            Error::permanent(
                Stage::Worker,
                Code::HostFailure,
                "the lease thread has ended: this is a bug of the host",
            )
        };
        match &*begun.map_err(|_| ended())? {
            Keeping::Fails(class, code, why) => {
                let what = format!("leases cannot be renewed, so nothing is claimed: {why}");
                Err(Error::new(Stage::Queue, *class, *code, what))
            }
            Keeping::Begins | Keeping::Works => match self.keeping.has_changed() {
                Ok(_) => Ok(()),
                Err(_) => Err(ended()),
            },
        }
    }

    /// How many are held.
    pub(super) fn count(&self) -> usize {
        lock(&self.shared).held.len()
    }

    /// Returns the tickets of all claims that are held.
    pub(super) fn tickets(&self) -> Vec<Ticket> {
        let state = lock(&self.shared);
        state.held.values().map(|held| held.ticket.clone()).collect()
    }

    /// Keeps a claim that was asked for at `asked_at`, and tells the server how far `gauge` is. When it is lost, or
    /// somebody cancels the request, `stop` is requested.
    pub(super) fn hold(&self, ticket: Ticket, stop: Stop, gauge: Arc<Gauge>, asked_at: Instant) -> Lease {
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let held = Held {
            ticket,
            stop,
            good_until: asked_at + self.policy.lease,
            renew_at: asked_at + self.policy.renew_every,
            gauge,
            cancelled: false,
        };
        // The thread looks often enough to find it in time; to wake it for each claim would cost more than the claim.
        lock(&self.shared).held.insert(key, held);
        Lease {
            shared: Arc::clone(&self.shared),
            key,
            margin: self.policy.margin,
        }
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        lock(&self.shared).closed = true;
        self.shared.closing.notify_one();
    }
}

/// One lease; renewed until it is dropped.
pub(super) struct Lease {
    shared: Arc<Shared>,
    key: u64,
    margin: Duration,
}

impl Lease {
    /// Whether the claim is certainly still this worker's.
    pub(super) fn is_good(&self) -> bool {
        lock(&self.shared)
            .held
            .get(&self.key)
            .is_some_and(|held| Instant::now() + self.margin < held.good_until)
    }

    /// Whether somebody asked for the request to be cancelled.
    pub(super) fn is_cancelled(&self) -> bool {
        lock(&self.shared)
            .held
            .get(&self.key)
            .is_some_and(|held| held.cancelled)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.shared).held.remove(&self.key);
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread has.
struct Keeper {
    shared: Arc<Shared>,
    policy: LeasePolicy,
    url: String,
    /// The queue in which a renewal failed last.
    queue: String,
    /// None before a connection could be made.
    server: Option<Server>,
    keeping: watch::Sender<Keeping>,
}

impl Keeper {
    fn run(mut self, runtime: &tokio::runtime::Runtime) {
        let tick = self.policy.renew_every.min(RETRY) / 2;
        let mut looked_at = Instant::now();
        // Before the first claim: a server that takes no further connection must not be met with requests at hand.
        runtime.block_on(self.connect());
        loop {
            let state = lock(&self.shared);
            let state = self
                .shared
                .closing
                .wait_timeout(state, tick)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if state.closed {
                return;
            }
            let now = Instant::now();
            let due: Vec<_> = state
                .held
                .iter()
                .filter(|(_, held)| held.renew_at <= now)
                .map(|(&key, held)| (key, held.ticket.clone(), held.progress()))
                .collect();
            drop(state);
            let is_failing = matches!(*self.keeping.borrow(), Keeping::Fails(..));
            if !due.is_empty() || (is_failing && looked_at.elapsed() >= RETRY) {
                looked_at = now;
                runtime.block_on(self.renew_all(due));
            }
            give_up(&self.shared, &self.policy, self.fails_for_good());
        }
    }

    /// Whether the last renewal failed in a way that does not pass by itself.
    fn fails_for_good(&self) -> bool {
        matches!(*self.keeping.borrow(), Keeping::Fails(Class::Permanent, ..))
    }

    /// Connects, unless that was done. False if the server takes no connection.
    async fn connect(&mut self) -> bool {
        if self.server.is_none() {
            match Server::connect(&self.url).await {
                Ok(server) => {
                    self.server = Some(server);
                    self.note(Ok(()));
                }
                Err(error) => self.note(Err(error)),
            }
        }
        self.server.is_some()
    }

    /// Notes whether leases can be renewed.
    fn note(&self, kept: Result<()>) {
        match kept {
            Ok(()) => {
                if let Keeping::Fails(..) = self.keeping.send_replace(Keeping::Works) {
                    self.shared.complaints.works_again(RENEW);
                }
            }
            Err(error) => {
                self.shared.complaints.note(RENEW, &error);
                self.keeping
                    .send_replace(Keeping::Fails(error.class(), error.code(), error.report()));
            }
        }
    }

    /// Renews all that is due at once. However long the server takes, leases are given up in time meanwhile.
    async fn renew_all(&mut self, due: Vec<(u64, Ticket, Progress)>) {
        let (shared, policy) = (Arc::clone(&self.shared), self.policy.clone());
        let fails_for_good = self.fails_for_good();
        let renewals = self.renew(due);
        tokio::pin!(renewals);
        loop {
            tokio::select! {
                () = &mut renewals => return,
                () = tokio::time::sleep(RETRY / 2) => give_up(&shared, &policy, fails_for_good),
            }
        }
    }

    async fn renew(&mut self, due: Vec<(u64, Ticket, Progress)>) {
        if !self.connect().await {
            return postpone(&self.shared, &due);
        }
        let Some(server) = &self.server else { return };
        let mut answers = tokio::task::JoinSet::new();
        for (key, ticket, progress) in due {
            let (queue, lease) = (Arc::clone(&server.queue), self.policy.lease);
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
            note(&self.shared, &self.policy, key, asked_at, renewed);
        }
        if works {
            return self.note(Ok(()));
        }
        // One request may be broken by itself. Whether others can be renewed, a renewal of none tells.
        self.queue = failed_in.unwrap_or(std::mem::take(&mut self.queue));
        let of_none = Ticket {
            queue: self.queue.clone(),
            id: String::new(),
            fence: 0,
            nonce: String::new(),
        };
        let renewed = server
            .queue
            .renew(&of_none, self.policy.lease, Progress::default())
            .await;
        self.note(match renewed {
            Err(error) if error.class() != Class::LeaseLost => Err(error),
            _ => Ok(()),
        });
    }
}

/// Whether the server has done what was asked, or said that the claim is over.
fn is_answered(renewed: &Result<Renewed>) -> bool {
    renewed
        .as_ref()
        .map_or_else(|error| error.class() == Class::LeaseLost, |_| true)
}

impl Held {
    fn progress(&self) -> Progress {
        Progress {
            bytes: self.gauge.bytes.load(Ordering::Relaxed),
            records: self.gauge.records.load(Ordering::Relaxed),
            rejects: self.gauge.rejects.load(Ordering::Relaxed),
        }
    }
}

fn postpone(shared: &Shared, due: &[(u64, Ticket, Progress)]) {
    let mut state = lock(shared);
    for (key, ..) in due {
        if let Some(held) = state.held.get_mut(key) {
            held.renew_at = Instant::now() + RETRY;
        }
    }
}

fn note(shared: &Shared, policy: &LeasePolicy, key: u64, asked_at: Instant, renewed: Result<Renewed>) {
    let mut state = lock(shared);
    let Some(held) = state.held.get_mut(&key) else {
        return;
    };
    match renewed {
        Ok(Renewed { cancel }) => {
            shared.complaints.works_again(RENEW);
            held.good_until = asked_at + policy.lease;
            held.renew_at = asked_at + policy.renew_every;
            if cancel {
                held.cancelled = true;
                held.stop.request(Class::Cancelled, "the request was cancelled");
            }
        }
        Err(error) if error.class() == Class::LeaseLost => {
            held.stop.request(Class::LeaseLost, "the lease was lost");
            state.held.remove(&key);
            shared.complaints.note(LOST, &error);
        }
        Err(error) => {
            shared.complaints.note(RENEW, &error);
            held.renew_at = Instant::now() + RETRY;
        }
    }
}

/// Stops attempts whose lease may run out on the server before another renewal can get through. If none ever will, they are
/// handed back on the worker's other connection, so that it costs their requests no loss.
fn give_up(shared: &Shared, policy: &LeasePolicy, fails_for_good: bool) {
    let class = match fails_for_good {
        true => Class::Cancelled,
        false => Class::LeaseLost,
    };
    for held in lock(shared).held.values() {
        if Instant::now() + policy.margin >= held.good_until {
            held.stop.request(class, "the lease could not be renewed in time");
        }
    }
}
