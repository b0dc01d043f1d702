//! Keeps the leases of this worker's claims, on an OS thread with a connection of its own: neither a busy
//! runtime nor a blocked pipeline can keep a lease from being renewed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::complaints::Complaints;
use crate::config::LeasePolicy;
use crate::error::{Class, Error, Result, Stage};
use crate::pipeline::Gauge;
use crate::queue::{Progress, Renewed, Server, Ticket};
use crate::stop::Stop;

/// How long after a failed renewal the next is tried.
const RETRY: Duration = Duration::from_secs(1);

/// What may fail for a while.
const RENEW: &str = "cannot renew leases, trying again";
const LOST: &str = "a lease was lost";

/// The leases that are held now. Dropping it ends the thread.
pub(super) struct Leases {
    shared: Arc<Shared>,
    policy: LeasePolicy,
    next_key: AtomicU64,
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
    /// Starts the thread, which connects to the queue's server at `url`.
    pub(super) fn start(url: &str, policy: &LeasePolicy, complaints: Arc<Complaints>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::permanent(Stage::Worker, "cannot start the lease thread").because(e))?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            closing: Condvar::new(),
            complaints,
        });
        let (for_thread, policy_for_thread, url) = (Arc::clone(&shared), policy.clone(), url.to_owned());
        std::thread::Builder::new()
            .name("leases".into())
            .spawn(move || renew_loop(&for_thread, &policy_for_thread, &url, &runtime))
            .map_err(|e| Error::permanent(Stage::Worker, "cannot start the lease thread").because(e))?;
        Ok(Self {
            shared,
            policy: policy.clone(),
            next_key: AtomicU64::new(0),
        })
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

fn renew_loop(shared: &Shared, policy: &LeasePolicy, url: &str, runtime: &tokio::runtime::Runtime) {
    let mut server = None;
    let tick = policy.renew_every.min(RETRY) / 2;
    loop {
        let state = lock(shared);
        let state = shared
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
        if !due.is_empty() {
            runtime.block_on(renew_all(shared, policy, &mut server, url, due));
        }
        give_up(shared, policy);
    }
}

/// Renews all that is due at once. However long the server takes, leases are given up in time meanwhile.
async fn renew_all(
    shared: &Shared,
    policy: &LeasePolicy,
    server: &mut Option<Server>,
    url: &str,
    due: Vec<(u64, Ticket, Progress)>,
) {
    let renewals = async {
        let connected = match server.take() {
            Some(server) => Ok(server),
            None => Server::connect(url).await,
        };
        let connected = match connected {
            Ok(connected) => server.insert(connected),
            Err(error) => {
                shared.complaints.note(RENEW, &error);
                return postpone(shared, &due);
            }
        };
        let mut answers = tokio::task::JoinSet::new();
        for (key, ticket, progress) in due {
            let (queue, lease) = (Arc::clone(&connected.queue), policy.lease);
            answers.spawn(async move {
                let asked_at = Instant::now();
                (key, asked_at, queue.renew(&ticket, lease, progress).await)
            });
        }
        while let Some(answer) = answers.join_next().await {
            let (key, asked_at, renewed) = answer.expect("a renewal neither panics nor is aborted");
            note(shared, policy, key, asked_at, renewed);
        }
    };
    tokio::pin!(renewals);
    loop {
        tokio::select! {
            () = &mut renewals => return,
            () = tokio::time::sleep(RETRY / 2) => give_up(shared, policy),
        }
    }
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

/// Stops attempts whose lease may run out on the server before another renewal can get through.
fn give_up(shared: &Shared, policy: &LeasePolicy) {
    for held in lock(shared).held.values() {
        if Instant::now() + policy.margin >= held.good_until {
            held.stop
                .request(Class::LeaseLost, "the lease could not be renewed in time");
        }
    }
}
