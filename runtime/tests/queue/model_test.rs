//! Random walks over the verbs, checked against the model step by step.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use ingest_host::error::{Class, Result};
use ingest_host::queue::{Next, Progress, Renewed, Ticket};

use crate::model::{LOST_MAX, Model};
use crate::test_server::{PATIENCE, Q, TestServer, how, output, request};

const IDS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
/// The first one is met most often.
const OUTPUTS: [&str; 2] = ["here", "there"];
const HOUR: Duration = Duration::from_secs(3_600);

#[expect(
    clippy::print_stdout,
    reason = "the test harness shows the seed if the walk fails"
)]
pub(crate) async fn any_walk_follows_the_model(server: TestServer) {
    for seed in [20_240_229, 7, 3_141_592_653] {
        println!("seed {seed}");
        walk(server.fresh().await, Rng::with_seed(seed)).await;
    }
}

async fn walk(server: TestServer, mut random: Rng) {
    let (mut model, mut tickets) = (Model::default(), Vec::new());
    for step in 0..300 {
        let verb = random.u8(0..24);
        take_step(&server, &mut model, &mut tickets, &mut random, verb).await;
        assert_eq!(
            server.queue().counts(Q).await.unwrap(),
            model.counts(),
            "after step {step}, verb {verb}"
        );
        if step % 50 == 0 {
            server.audit_is_clean().await;
        }
    }
    for (id, entry) in &model.entries {
        let status = server.status(id).await;
        let wanted = (entry.state, entry.attempts, entry.lost);
        assert_eq!((status.state, status.attempts, status.lost), wanted, "{id}");
    }
    server.audit_is_clean().await;
}

async fn take_step(
    server: &TestServer,
    model: &mut Model,
    tickets: &mut Vec<Ticket>,
    random: &mut Rng,
    verb: u8,
) {
    let queue = server.queue();
    let id = IDS[random.usize(0..IDS.len())];
    // Old tickets stay in the game, those of zombies; of the young ones some still hold.
    let among = if random.bool() { 3 } else { tickets.len() };
    let young = &tickets[tickets.len().saturating_sub(among)..];
    let ticket = random.choice(young).cloned();
    match (verb, ticket) {
        (0..=4, _) => {
            let mut request = request(id);
            request.priority = random.i32(-2..=2);
            request.delay_ms = if random.u8(0..4) == 0 { 3_600_000 } else { 0 };
            if random.u8(0..5) == 0 {
                request.uri.push_str(".gz");
            }
            let wanted = model.submit(&request);
            assert_eq!(queue.submit(Q, &[request]).await.unwrap(), [wanted]);
        }
        (5..=9, _) => {
            let output = OUTPUTS[usize::from(random.u8(0..8) == 0)];
            take_claim(server, model, tickets, how().nonce, output).await;
        }
        (20..=21, Some(ticket)) => match model.claim_again(&ticket.nonce) {
            Some(held) => {
                let mut options = how();
                options.nonce = ticket.nonce;
                let claim = queue.claim(Q, &options).await.unwrap();
                assert_eq!(claim.map(|claim| claim.ticket), Some(held));
            }
            None => take_claim(server, model, tickets, ticket.nonce, OUTPUTS[0]).await,
        },
        (10..=11, Some(ticket)) => {
            let to_nothing = random.bool();
            let lease = if to_nothing { Duration::ZERO } else { PATIENCE };
            let wanted = model.renew(&ticket, to_nothing);
            let renewed = stands(queue.renew(&ticket, lease, Progress::default()).await);
            assert_eq!(renewed, wanted.map(|cancel| Renewed { cancel }));
        }
        (12, Some(ticket)) => {
            let wanted = model.settle(&ticket);
            assert_eq!(stands(queue.settle(&ticket, "{}").await).is_some(), wanted);
        }
        (13..=14, Some(ticket)) => {
            let ways = [
                Next::Retry(Duration::ZERO),
                Next::Retry(HOUR),
                Next::Dead,
                Next::Cancelled,
                Next::Conclude(HOUR),
                Next::RetryContested(Duration::ZERO),
                Next::RetryContested(HOUR),
            ];
            let next = ways[random.usize(0..ways.len())];
            let wanted = model.fail(&ticket, next);
            assert_eq!(
                stands(queue.fail(&ticket, "failed", next).await).is_some(),
                wanted
            );
        }
        (15, Some(ticket)) => {
            let wanted = model.release(&ticket);
            assert_eq!(stands(queue.release(&ticket).await).is_some(), wanted);
        }
        (16, _) => assert_eq!(queue.cancel(Q, id).await.unwrap(), model.cancel(id)),
        (17, _) => assert_eq!(queue.retry_dead(Q, id).await.unwrap(), model.retry_dead(id)),
        (18, _) => assert_eq!(queue.purge_dead(Q, id).await.unwrap(), model.purge_dead(id)),
        (22, _) => {
            // What has just ended is kept for an hour, and not for no time.
            let keep = if random.bool() { HOUR } else { Duration::ZERO };
            let removed = if keep.is_zero() { model.reap() } else { 0 };
            let reaped = queue.reap(Q, keep).await.unwrap();
            assert_eq!((reaped.removed, reaped.more), (removed, false));
        }
        (23, _) => {
            let id = IDS[random.usize(0..IDS.len())];
            let (status, entry) = (queue.status(Q, id).await.unwrap(), model.entries.get(id));
            let ending = entry.map(|entry| match (entry.cancel, entry.ending) {
                (true, _) => Some("cancelling".to_owned()),
                (false, true) => Some("ending".to_owned()),
                (false, false) => None,
            });
            assert_eq!(status.map(|status| status.ending), ending, "{id}");
        }
        (19, _) => {
            let paused = random.u8(0..3) == 0;
            model.set_paused(paused);
            queue.set_paused(Q, paused).await.unwrap();
        }
        _ => {}
    }
}

/// A claim under a nonce that no claim that stands was asked for with.
async fn take_claim(
    server: &TestServer,
    model: &mut Model,
    tickets: &mut Vec<Ticket>,
    nonce: String,
    output_name: &'static str,
) {
    let mut options = how();
    (options.nonce, options.lost_max, options.output) = (nonce, LOST_MAX, output(output_name));
    let claim = server.queue().claim(Q, &options).await.unwrap();
    let wanted = model.claim(output_name);
    let given = claim.as_ref().map(|claim| &claim.ticket.id);
    let is_ending = |id: &String| model.entries[id].is_ending();
    // Those that are to be ended come in whatever order.
    if !(given.is_some_and(is_ending) && wanted.as_ref().is_some_and(is_ending)) {
        assert_eq!(given, wanted.as_ref());
    }
    if let Some(claim) = claim {
        model.claimed(&claim.ticket, output_name);
        let entry = &model.entries[&claim.ticket.id];
        assert_eq!((claim.attempt, claim.lost), (entry.attempts, entry.lost));
        assert_eq!(
            (claim.is_contested, claim.ending.is_some()),
            (entry.stray, entry.concluding)
        );
        assert_eq!(claim.request.uri, entry.uri);
        tickets.push(claim.ticket);
    }
}

/// The value if the claim stands; no other error may come.
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
        while busy.load(Ordering::Relaxed) {
            server.audit_is_clean().await;
        }
    };
    tokio::join!(work, watch);
}
