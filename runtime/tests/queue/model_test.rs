//! Tests a queue with random walks over its operations. After each step, the queue is compared with the model.
//!
//! Set `SEED` or `CASES` in the environment to run other walks or more walks. A failing walk is shortened until every
//! step is needed, and is then shown.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ingest_host::error::{Class, Result};
use ingest_host::queue::{Cancelled, Next, Progress, Renewed, Submitted, Ticket};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{RngSeed, TestRunner};

use crate::model::{LOST_MAX, Model};
use crate::test_server::{PATIENCE, Q, TestServer, how, output, request};

const IDS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
const HOUR: Duration = Duration::from_secs(3_600);

/// The number of walks, unless `CASES` in the environment sets another number.
const CASES: u32 = 12;
const SEED: u64 = 20_240_229;
/// The maximum number of steps in a walk. On average, a walk has half of them.
const STEPS_MAX: usize = 600;
/// On average, each kind of step must have at least one effect in this number of walks: in 12 walks, at least 12 / 3 =
/// 4 effects.
const WALKS_WITHOUT_EFFECT_MAX: u32 = 3;

/// An operation of the queue with its arguments.
#[derive(Debug, Clone)]
enum Step {
    Submit {
        id: &'static str,
        priority: i32,
        is_delayed: bool,
        has_other_uri: bool,
    },
    Claim {
        output: &'static str,
    },
    ClaimAgain(Choice),
    Renew(Choice, Lease),
    Settle(Choice),
    Fail(Choice, Next),
    Release(Choice),
    Cancel(&'static str),
    RetryDead(&'static str),
    PurgeDead(&'static str),
    SetPaused(bool),
    Reap(Keep),
    Status(&'static str),
}

/// The duration of a renewed lease.
#[derive(Debug, Clone, Copy)]
enum Lease {
    OverAtOnce,
    Long,
}

/// Says which of the ended requests a step [`Step::Reap`] keeps.
#[derive(Debug, Clone, Copy)]
enum Keep {
    All,
    None,
}

/// Chooses one of the tickets given so far. The choice includes old tickets, because a worker that has lost its claim
/// would use one. Among the last three tickets, some are usually valid.
#[derive(Debug, Clone)]
struct Choice {
    is_young: bool,
    index: Index,
}

impl Choice {
    fn of(&self, tickets: &[Ticket]) -> Option<Ticket> {
        let among = if self.is_young { 3 } else { tickets.len() };
        let among = &tickets[tickets.len().saturating_sub(among)..];
        (!among.is_empty()).then(|| self.index.get(among).clone())
    }
}

fn step() -> impl Strategy<Value = Step> {
    let id = || select(&IDS[..]);
    let choice = || (any::<bool>(), any::<Index>()).prop_map(|(is_young, index)| Choice { is_young, index });
    let submit = (
        id(),
        -2..=2,
        prop::bool::weighted(0.25),
        prop::bool::weighted(0.2),
    );
    let submit = submit.prop_map(|(id, priority, is_delayed, has_other_uri)| Step::Submit {
        id,
        priority,
        is_delayed,
        has_other_uri,
    });
    let next = select(vec![
        Next::Retry(Duration::ZERO),
        Next::Retry(HOUR),
        Next::Dead,
        Next::Dead,
        Next::Dead,
        Next::Cancelled,
        Next::Conclude(HOUR),
        Next::RetryContested(Duration::ZERO),
        Next::RetryContested(HOUR),
    ]);
    prop_oneof![
        5 => submit,
        5 => prop_oneof![7 => Just("here"), 1 => Just("there")].prop_map(|output| Step::Claim { output }),
        2 => choice().prop_map(Step::ClaimAgain),
        2 => (choice(), select(vec![Lease::OverAtOnce, Lease::Long])).prop_map(|(choice, lease)| Step::Renew(choice, lease)),
        1 => choice().prop_map(Step::Settle),
        3 => (choice(), next).prop_map(|(choice, next)| Step::Fail(choice, next)),
        1 => choice().prop_map(Step::Release),
        2 => id().prop_map(Step::Cancel),
        3 => id().prop_map(Step::RetryDead),
        3 => id().prop_map(Step::PurgeDead),
        1 => prop::bool::weighted(0.33).prop_map(Step::SetPaused),
        2 => select(vec![Keep::All, Keep::None]).prop_map(Step::Reap),
        1 => id().prop_map(Step::Status),
    ]
}

pub(crate) async fn any_walk_follows_the_model(server: TestServer) {
    // The test runner blocks its own thread while it waits for a walk.
    let walks = tokio::task::spawn_blocking(move || {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let cases = number("CASES").map_or(CASES, |cases| cases as u32);
        let seed = number("SEED").unwrap_or(SEED);
        let mut runner = TestRunner::new(ProptestConfig {
            cases,
            rng_seed: RngSeed::Fixed(seed),
            max_shrink_iters: 2_000,
            // A test can be written from the printed steps, so failures are not stored.
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let effects = std::cell::RefCell::new(BTreeMap::new());
        let outcome = runner.run(&prop::collection::vec(step(), 1..STEPS_MAX), |steps| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let walked = runtime.block_on(async { Walk::new(server.fresh().await).take(&steps).await });
            for (kind, count) in walked {
                *effects.borrow_mut().entry(kind).or_insert(0) += count;
            }
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("SEED={seed} CASES={cases}: {error}"));
        let effects = effects.into_inner();
        let floor = cases / WALKS_WITHOUT_EFFECT_MAX;
        for kind in [
            "submit",
            "claim",
            "claim again",
            "renew",
            "settle",
            "fail",
            "release",
            "cancel",
            "retry",
            "purge",
            "reap",
            "status",
        ] {
            let count = effects.get(kind).copied().unwrap_or(0);
            assert!(count >= floor, "{kind}: {effects:?}");
        }
    });
    walks.await.unwrap();
}

/// A queue, its model, and the tickets of its claims.
struct Walk {
    server: TestServer,
    model: Model,
    tickets: Vec<Ticket>,
    /// For each kind of step, the number of times that it changed or returned something.
    effects: BTreeMap<&'static str, u32>,
}

impl Walk {
    fn new(server: TestServer) -> Self {
        Self {
            server,
            model: Model::default(),
            tickets: Vec::new(),
            effects: BTreeMap::new(),
        }
    }

    /// Runs all steps. Returns how often each kind of step had an effect.
    async fn take(mut self, steps: &[Step]) -> BTreeMap<&'static str, u32> {
        for (number, step) in steps.iter().enumerate() {
            self.take_step(step).await;
            let counts = self.server.queue().counts(Q).await.unwrap();
            assert_eq!(counts, self.model.counts(), "after step {number}, {step:?}");
            if number % 50 == 0 {
                self.server.audit_is_clean().await;
            }
        }
        for (id, entry) in &self.model.entries {
            let status = self.server.status(id).await;
            let wanted = (entry.state, entry.attempts, entry.lost);
            assert_eq!((status.state, status.attempts, status.lost), wanted, "{id}");
        }
        self.server.audit_is_clean().await;
        self.effects
    }

    fn note(&mut self, kind: &'static str, had_effect: bool) {
        *self.effects.entry(kind).or_default() += u32::from(had_effect);
    }

    async fn take_step(&mut self, step: &Step) {
        let ticket = match step {
            Step::ClaimAgain(choice)
            | Step::Renew(choice, _)
            | Step::Settle(choice)
            | Step::Fail(choice, _)
            | Step::Release(choice) => match choice.of(&self.tickets) {
                Some(ticket) => ticket,
                None => return,
            },
            other => return self.take_step_on_queue(other).await,
        };
        let queue = self.server.queue();
        match step {
            Step::ClaimAgain(_) => match self.model.claim_again(&ticket.nonce) {
                Some(held) => {
                    let mut options = how();
                    options.nonce = ticket.nonce;
                    let claim = queue.claim(Q, &options).await.unwrap();
                    assert_eq!(claim.map(|claim| claim.ticket), Some(held));
                    self.note("claim again", true);
                }
                None => self.claim(ticket.nonce, "here").await,
            },
            Step::Renew(_, lease) => {
                let (time, is_over) = match lease {
                    Lease::OverAtOnce => (Duration::ZERO, true),
                    Lease::Long => (PATIENCE, false),
                };
                let wanted = self.model.renew(&ticket, is_over);
                let renewed = stands(queue.renew(&ticket, time, Progress::default()).await);
                assert_eq!(renewed, wanted.map(|cancel| Renewed { cancel }));
                self.note("renew", wanted.is_some());
            }
            Step::Settle(_) => {
                let wanted = self.model.settle(&ticket);
                assert_eq!(stands(queue.settle(&ticket, "{}").await).is_some(), wanted);
                self.note("settle", wanted);
            }
            Step::Fail(_, next) => {
                let wanted = self.model.fail(&ticket, *next);
                let failed = stands(queue.fail(&ticket, "failed", *next).await);
                assert_eq!(failed.is_some(), wanted);
                self.note("fail", wanted);
            }
            Step::Release(_) => {
                let wanted = self.model.release(&ticket);
                assert_eq!(stands(queue.release(&ticket).await).is_some(), wanted);
                self.note("release", wanted);
            }
            _ => unreachable!("a step without a ticket"),
        }
    }

    /// Runs a step that does not use an existing claim.
    async fn take_step_on_queue(&mut self, step: &Step) {
        let queue = self.server.queue();
        match *step {
            Step::Submit {
                id,
                priority,
                is_delayed,
                has_other_uri,
            } => {
                let mut request = request(id);
                request.priority = priority;
                request.delay_ms = if is_delayed { 3_600_000 } else { 0 };
                if has_other_uri {
                    request.uri.push_str(".gz");
                }
                let wanted = self.model.submit(&request);
                assert_eq!(queue.submit(Q, &[request]).await.unwrap(), [wanted]);
                self.note("submit", wanted == Submitted::Created);
            }
            Step::Claim { output } => self.claim(how().nonce, output).await,
            Step::Cancel(id) => {
                let wanted = self.model.cancel(id);
                assert_eq!(queue.cancel(Q, id).await.unwrap(), wanted);
                self.note("cancel", matches!(wanted, Cancelled::Now | Cancelled::Asked));
            }
            Step::RetryDead(id) => {
                let wanted = self.model.retry_dead(id);
                assert_eq!(queue.retry_dead(Q, id).await.unwrap(), wanted);
                self.note("retry", wanted);
            }
            Step::PurgeDead(id) => {
                let wanted = self.model.purge_dead(id);
                assert_eq!(queue.purge_dead(Q, id).await.unwrap(), wanted);
                self.note("purge", wanted);
            }
            Step::SetPaused(is_paused) => {
                self.model.set_paused(is_paused);
                queue.set_paused(Q, is_paused).await.unwrap();
            }
            Step::Reap(keep) => {
                // The requests have just ended. A reaper with a retention of an hour keeps them, and a reaper with a
                // retention of zero removes them.
                let (time, removed) = match keep {
                    Keep::All => (HOUR, 0),
                    Keep::None => (Duration::ZERO, self.model.reap()),
                };
                let reaped = queue.reap(Q, time).await.unwrap();
                assert_eq!((reaped.removed, reaped.more), (removed, false));
                self.note("reap", removed > 0);
            }
            Step::Status(id) => {
                let status = queue.status(Q, id).await.unwrap();
                let ending = self
                    .model
                    .entries
                    .get(id)
                    .map(|entry| match (entry.cancel, entry.ending) {
                        (true, _) => Some("cancelling".to_owned()),
                        (false, true) => Some("ending".to_owned()),
                        (false, false) => None,
                    });
                self.note("status", ending.is_some());
                assert_eq!(status.map(|status| status.ending), ending, "{id}");
            }
            _ => unreachable!("a step on a claim"),
        }
    }

    /// Claims with a nonce that no existing claim has.
    async fn claim(&mut self, nonce: String, output_name: &'static str) {
        let mut options = how();
        (options.nonce, options.lost_max, options.output) = (nonce, LOST_MAX, output(output_name));
        let claim = self.server.queue().claim(Q, &options).await.unwrap();
        let wanted = self.model.claim(output_name);
        let given = claim.as_ref().map(|claim| &claim.ticket.id);
        let is_ending = |id: &String| self.model.entries[id].is_ending();
        // The order of requests that a worker must end is undefined.
        if !(given.is_some_and(is_ending) && wanted.as_ref().is_some_and(is_ending)) {
            assert_eq!(given, wanted.as_ref());
        }
        self.note("claim", claim.is_some());
        if let Some(claim) = claim {
            self.model.claimed(&claim.ticket, output_name);
            let entry = &self.model.entries[&claim.ticket.id];
            assert_eq!((claim.attempt, claim.lost), (entry.attempts, entry.lost));
            assert_eq!(
                (claim.is_contested, claim.ending.is_some()),
                (entry.stray, entry.concluding)
            );
            assert_eq!(claim.request.uri, entry.uri);
            self.tickets.push(claim.ticket);
        }
    }
}

/// Returns the value, or `None` if the claim is lost. Panics for every other error.
fn stands<T>(result: Result<T>) -> Option<T> {
    result
        .map_err(|error| assert_eq!(error.class(), Class::LeaseLost, "{}", error.report()))
        .ok()
}

pub(crate) async fn an_audit_of_a_live_queue_is_clean(server: TestServer) {
    let other = server.another().await;
    let busy = AtomicBool::new(true);
    let work = async {
        for round in 0..60 {
            let requests: Vec<_> = (0..10).map(|n| request(&format!("r{round}-{n}"))).collect();
            other.queue.submit(Q, &requests).await.unwrap();
            for _ in 0..5 {
                let claim = other.queue.claim(Q, &how()).await.unwrap().unwrap();
                other.queue.settle(&claim.ticket, "{}").await.unwrap();
            }
        }
        busy.store(false, Ordering::Relaxed);
    };
    let watch = async {
        let mut audits = 0;
        while busy.load(Ordering::Relaxed) {
            server.audit_is_clean().await;
            audits += 1;
        }
        audits
    };
    let ((), audits) = tokio::join!(work, watch);
    assert!(audits > 3, "{audits} audits while the queue was at work");
}
