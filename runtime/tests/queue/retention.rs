//! Tests that requests that are done or cancelled are removed after a time. Dead requests are kept for people.

use std::time::Duration;

use ingest_host::queue::{Next, Reaped, State, Submitted};

use crate::test_server::{PATIENCE, Q, TestServer, assert_lost, how, request};

const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) async fn what_ended_goes_after_its_time(server: TestServer) {
    let queue = server.queue();
    for id in ["done", "dead", "cancelled", "done just now", "cancelled just now"] {
        let id = id.replace(' ', "-");
        server.submit(&[&id]).await;
        let claim = server.claim().await;
        match id.split('-').next().unwrap() {
            "done" => queue.settle(&claim.ticket, "{}").await.unwrap(),
            "dead" => queue.fail(&claim.ticket, "404", Next::Dead).await.unwrap(),
            _ => queue.fail(&claim.ticket, "", Next::Cancelled).await.unwrap(),
        }
    }
    for id in ["done", "dead", "cancelled"] {
        server.end_at(id, 1_600_000_000_000);
    }
    let mut late = request("delayed");
    late.delay_ms = 3_600_000;
    queue.submit(Q, &[request("leased"), late]).await.unwrap();
    server.claim_briefly().await;
    server.submit(&["ready"]).await;

    let none = Reaped {
        removed: 0,
        more: false,
    };
    assert_eq!(queue.reap("another", HOUR).await.unwrap(), none);
    assert_eq!(queue.reap(Q, Duration::MAX).await.unwrap(), none);
    let reaped = queue.reap(Q, HOUR).await.unwrap();
    assert_eq!((reaped.removed, reaped.more), (2, false));
    assert_eq!(queue.reap(Q, HOUR).await.unwrap(), none);
    for id in ["done", "cancelled"] {
        assert_eq!(queue.status(Q, id).await.unwrap(), None);
    }
    for (id, state) in [
        ("dead", State::Dead),
        ("done-just-now", State::Done),
        ("cancelled-just-now", State::Cancelled),
        ("leased", State::Leased),
        ("delayed", State::Delayed),
        ("ready", State::Ready),
    ] {
        assert_eq!(server.state(id).await, state, "{id}");
    }
    server.audit_is_clean().await;
}

pub(crate) async fn a_reap_takes_a_bounded_number_and_the_oldest_first(server: TestServer) {
    let queue = server.queue();
    let requests: Vec<_> = (0..250).map(|n| request(&format!("r{n}"))).collect();
    queue.submit(Q, &requests).await.unwrap();
    for n in 0..250_u64 {
        let claim = server.claim().await;
        queue.settle(&claim.ticket, "{}").await.unwrap();
        // The request that was submitted last has ended first.
        server.end_at(&format!("r{n}"), 1_600_000_000_000 - n);
    }
    for (removed, more, left) in [(100, true, "r149"), (100, true, "r49"), (50, false, "")] {
        let reaped = queue.reap(Q, HOUR).await.unwrap();
        assert_eq!((reaped.removed, reaped.more), (removed, more));
        let last = queue.requests(Q, State::Done, 1_000).await.unwrap().pop();
        assert_eq!(last.map(|status| status.id).unwrap_or_default(), left);
    }
    server.audit_is_clean().await;
}

pub(crate) async fn a_removed_id_is_new_again(server: TestServer) {
    let queue = server.queue();
    server.submit(&["a"]).await;
    let old = server.claim().await;
    queue.settle(&old.ticket, r#"{"receipt":1}"#).await.unwrap();
    let mut other = request("a");
    other.uri = "https://example.com/other.csv".into();
    let submit = async || queue.submit(Q, std::slice::from_ref(&other)).await.unwrap();
    assert_eq!(submit().await, [Submitted::Conflict]);
    assert_eq!(queue.reap(Q, Duration::ZERO).await.unwrap().removed, 1);
    assert_eq!(submit().await, [Submitted::Created]);

    // The old claim cannot settle the new request with the same id.
    assert_lost(queue.settle(&old.ticket, "{}").await);
    let new = queue.claim(Q, &how()).await.unwrap().unwrap();
    assert!(new.ticket.fence > old.ticket.fence);
    assert_eq!((new.attempt, new.request.uri), (1, other.uri.clone()));
    assert_lost(queue.renew(&old.ticket, PATIENCE, Default::default()).await);
    assert_lost(queue.settle(&old.ticket, "{}").await);
    queue.settle(&new.ticket, "{}").await.unwrap();
    server.audit_is_clean().await;
}
