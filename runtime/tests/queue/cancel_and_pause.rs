//! Tests the actions of people on a queue: cancel, pause, show and remove.

use std::time::Duration;

use ingest_host::config::LimitOverrides;
use ingest_host::error::{Class, Result};
use ingest_host::gate::Gate;
use ingest_host::queue::{
    Binding, Cancelled, Claim, Component, Counts, Ending, ListPosition, Next, Progress, State, Step, Ticket,
};
use ingest_host::request::InputOptions;

use crate::test_server::{PATIENCE, Q, TestServer, how, request};

pub(crate) async fn a_waiting_request_is_cancelled(server: TestServer) {
    let mut late = request("late");
    late.delay_ms = 3_600_000;
    server.queue().submit(Q, &[request("ready"), late]).await.unwrap();
    for id in ["ready", "late"] {
        assert_eq!(server.queue().cancel(Q, id).await.unwrap(), Cancelled::Now);
        assert_eq!(server.state(id).await, State::Cancelled);
        assert_eq!(
            server.queue().cancel(Q, id).await.unwrap(),
            Cancelled::TooLate(State::Cancelled)
        );
    }
    assert_eq!(
        server.queue().cancel(Q, "nobody").await.unwrap(),
        Cancelled::Unknown
    );
    server.finds_nothing().await;
    server.audit_is_clean().await;
}

pub(crate) async fn a_leased_request_is_asked_to_stop(server: TestServer) {
    server.submit(&["a", "b"]).await;
    let (a, b) = (server.claim().await, server.claim().await);
    assert_eq!(server.queue().cancel(Q, "a").await.unwrap(), Cancelled::Asked);
    assert_eq!(server.queue().cancel(Q, "a").await.unwrap(), Cancelled::Asked);
    assert!(
        server
            .queue()
            .renew(&a.ticket, PATIENCE, Progress::default())
            .await
            .unwrap()
            .cancel
    );
    assert!(
        !server
            .queue()
            .renew(&b.ticket, PATIENCE, Progress::default())
            .await
            .unwrap()
            .cancel
    );
    server
        .queue()
        .fail(&a.ticket, "cancelled", Next::Cancelled)
        .await
        .unwrap();
    assert_eq!(server.state("a").await, State::Cancelled);

    // If the output of a request is committed, the request becomes done despite the cancel.
    assert_eq!(server.queue().cancel(Q, "b").await.unwrap(), Cancelled::Asked);
    server.queue().settle(&b.ticket, "{}").await.unwrap();
    assert_eq!(server.state("b").await, State::Done);
    server.audit_is_clean().await;
}

pub(crate) async fn progress_shows_while_leased(server: TestServer) {
    let queue = server.queue();
    let shown = async |state: State| {
        let status = server.status("a").await;
        let listed = queue.requests(Q, state, 1).await.unwrap();
        assert_eq!(listed, std::slice::from_ref(&status));
        status.progress
    };
    let report = async |claim: &Claim, bytes: u64| {
        let progress = Progress {
            bytes,
            records: 20,
            rejects: 1,
            checkpoint: 0,
        };
        queue.renew(&claim.ticket, PATIENCE, progress).await.unwrap();
        progress
    };
    server.submit(&["a"]).await;
    let claim = server.claim().await;
    assert_eq!(shown(State::Leased).await, None);
    for bytes in [1_000, u64::from(u32::MAX) + 1] {
        let progress = report(&claim, bytes).await;
        assert_eq!(shown(State::Leased).await, Some(progress));
    }
    queue.release(&claim.ticket).await.unwrap();
    assert_eq!(shown(State::Ready).await, None);

    // Another attempt starts without progress.
    let claim = server.claim().await;
    assert_eq!(shown(State::Leased).await, None);
    report(&claim, 3_000).await;
    queue.settle(&claim.ticket, "{}").await.unwrap();
    assert_eq!(shown(State::Done).await, None);
}

pub(crate) async fn a_cancel_outlives_the_worker(server: TestServer) {
    let queue = server.queue();
    let how_it_ends = ["retried", "delayed", "released", "lost", "dead"];
    for id in how_it_ends {
        server.submit(&[id]).await;
        let claim = server.claim().await;
        queue.cancel(Q, id).await.unwrap();
        match id {
            "retried" => queue
                .fail(&claim.ticket, "reset", Next::Retry(Duration::ZERO))
                .await
                .unwrap(),
            "delayed" => queue
                .fail(&claim.ticket, "reset", Next::Retry(PATIENCE))
                .await
                .unwrap(),
            "released" => queue.release(&claim.ticket).await.unwrap(),
            "dead" => queue.fail(&claim.ticket, "404", Next::Dead).await.unwrap(),
            _ => assert!(
                queue
                    .renew(&claim.ticket, Duration::ZERO, Progress::default())
                    .await
                    .unwrap()
                    .cancel
            ),
        }
        if id == "lost" {
            // Only a worker can check the files of the lost attempt, so the request must be claimed once more.
            let last = server.claim().await;
            assert_eq!(last.ending, Some(Ending::Cancel));
            queue
                .fail(&last.ticket, "cancelled", Next::Cancelled)
                .await
                .unwrap();
        }
        server.finds_nothing().await;
        let wanted = if id == "dead" {
            State::Dead
        } else {
            State::Cancelled
        };
        assert_eq!(server.state(id).await, wanted, "{id}");
    }
    // The end of the claim has also removed the cancel.
    assert!(queue.retry_dead(Q, "dead").await.unwrap());
    let claim = server.claim().await;
    assert!(
        !queue
            .renew(&claim.ticket, PATIENCE, Progress::default())
            .await
            .unwrap()
            .cancel
    );
    server.audit_is_clean().await;
}

pub(crate) async fn nothing_ended_is_cancelled(server: TestServer) {
    server.submit(&["done", "dead"]).await;
    let (done, dead) = (server.claim().await, server.claim().await);
    server.queue().settle(&done.ticket, "{}").await.unwrap();
    server
        .queue()
        .fail(&dead.ticket, "404", Next::Dead)
        .await
        .unwrap();
    assert_eq!(
        server.queue().cancel(Q, "done").await.unwrap(),
        Cancelled::TooLate(State::Done)
    );
    assert_eq!(
        server.queue().cancel(Q, "dead").await.unwrap(),
        Cancelled::TooLate(State::Dead)
    );
}

pub(crate) async fn a_paused_queue_gives_nothing(server: TestServer) {
    server.submit(&["a", "b"]).await;
    let options = how();
    let a = server.queue().claim(Q, &options).await.unwrap().unwrap();
    server.queue().set_paused(Q, true).await.unwrap();
    server.queue().set_paused(Q, true).await.unwrap();
    server.finds_nothing().await;
    assert!(server.queue().counts(Q).await.unwrap().paused);

    // The pause does not affect existing claims.
    assert_eq!(
        server.queue().claim(Q, &options).await.unwrap().as_ref(),
        Some(&a)
    );
    server.queue().settle(&a.ticket, "{}").await.unwrap();

    server
        .is_woken_by(server.queue().set_paused(Q, false))
        .await
        .unwrap();
    assert_eq!(server.claim().await.ticket.id, "b");
}

pub(crate) async fn lists_are_in_order(server: TestServer) {
    let queue = server.queue();
    let mut requests: Vec<_> = ["a", "b", "c", "d", "e"].iter().map(|id| request(id)).collect();
    requests[4].priority = 1;
    queue.submit(Q, &requests).await.unwrap();
    let ids = async |state, limit| -> Vec<String> {
        queue
            .requests(Q, state, limit)
            .await
            .unwrap()
            .into_iter()
            .map(|status| status.id)
            .collect()
    };
    assert_eq!(ids(State::Ready, 100).await, ["e", "a", "b", "c", "d"]);
    assert_eq!(ids(State::Ready, 2).await, ["e", "a"]);
    assert_eq!(ids(State::Ready, 0).await, Vec::<String>::new());

    for id in ["e", "a"] {
        let claim = server.claim().await;
        assert_eq!(claim.ticket.id, id);
        queue
            .settle(&claim.ticket, &format!("{{\"of\":{id:?}}}"))
            .await
            .unwrap();
        // The order of two requests that end within the same millisecond is undefined.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(ids(State::Done, 100).await, ["a", "e"]);
    assert_eq!(
        queue.requests(Q, State::Done, 1).await.unwrap()[0],
        server.status("a").await
    );

    let counts = queue.counts(Q).await.unwrap();
    let wanted = Counts {
        queue: Q.into(),
        ready: 3,
        done: 2,
        ..Counts::default()
    };
    assert_eq!(counts, wanted);
}

pub(crate) async fn queues_are_listed(server: TestServer) {
    assert_eq!(server.queue().queues().await.unwrap(), Vec::<String>::new());
    server
        .queue()
        .submit("submitted-to", &[request("a")])
        .await
        .unwrap();
    server.queue().claim("claimed-from", &how()).await.unwrap();
    server.queue().set_paused("paused", true).await.unwrap();
    assert_eq!(
        server.queue().queues().await.unwrap(),
        ["claimed-from", "paused", "submitted-to"]
    );

    // The queues are independent: another queue does not know this request.
    assert_eq!(server.queue().status("claimed-from", "a").await.unwrap(), None);
    assert_eq!(server.queue().claim("claimed-from", &how()).await.unwrap(), None);
}

pub(crate) async fn names_are_checked(server: TestServer) {
    let (queue, registry) = (server.queue(), server.registry());
    for name in ["", "a}b", "a:b", ".hidden", &"x".repeat(65)] {
        let ticket = Ticket {
            queue: name.into(),
            id: "a".into(),
            fence: 1,
            nonce: "nonce".into(),
        };
        refused(queue.submit(name, &[]).await);
        refused(queue.claim(name, &how()).await);
        refused(queue.renew(&ticket, PATIENCE, Progress::default()).await);
        refused(queue.settle(&ticket, "{}").await);
        refused(queue.fail(&ticket, "404", Next::Dead).await);
        refused(queue.release(&ticket).await);
        for timeout in [Duration::ZERO, PATIENCE] {
            refused(queue.wait(name, timeout).await);
        }
        refused(queue.status(name, "a").await);
        for limit in [0, 1] {
            refused(queue.requests(name, State::Done, limit).await);
            refused(queue.invalid(name, limit).await);
        }
        refused(queue.cancel(name, "a").await);
        for limit in [0, 1] {
            refused(
                queue
                    .after(name, State::Dead, &ListPosition::default(), limit)
                    .await,
            );
        }
        refused(queue.retry_dead(name, "a").await);
        refused(queue.retry_deaths(name, &[]).await);
        refused(queue.purge_deaths(name, &[]).await);
        refused(queue.purge_invalid_until(name, 0).await);
        refused(queue.purge_dead(name, "a").await);
        refused(queue.reap(name, PATIENCE).await);
        refused(queue.purge_invalid(name, "1").await);
        refused(queue.set_paused(name, true).await);
        refused(queue.counts(name).await);
        refused(queue.audit(name).await);
        refused(registry.binding(name, 1).await);
        refused(registry.bindings(name).await);
    }
    assert_eq!(queue.queues().await.unwrap(), Vec::<String>::new());
}

/// Checks that queues with reserved names accept no requests, because no worker could serve them: see
/// [`ingest_host::names::check_usable_queue_name`]. Existing requests in such a queue can be shown and removed.
pub(crate) async fn reserved_names_are_not_filled(server: TestServer) {
    let queue = server.queue();
    let reserved = |result: Result<()>| {
        let error = result.expect_err("a reserved name");
        assert_eq!(error.class(), Class::Permanent, "{}", error.report());
        assert!(error.to_string().contains("is reserved"), "{error}");
    };
    let component = Component {
        sha256: "0".repeat(64),
        name: "clean".into(),
        version: "0.1.0".into(),
        bytes: 1,
        pushed_ms: 1,
    };
    server.registry().push_component(&component, b"x").await.unwrap();
    let binding = Binding {
        number: 0,
        steps: vec![Step {
            sha256: component.sha256,
            name: component.name,
            version: component.version,
            config: "{}".into(),
            data: Default::default(),
        }],
        limits: LimitOverrides::default(),
        gate: Gate::default(),
        input: InputOptions::default(),
        bound_ms: 1,
        rollback_of: None,
    };
    for name in ["receipts", "rejects", "Receipts", "REJECTS"] {
        reserved(queue.submit(name, &[request("a")]).await.map(drop));
        reserved(queue.claim(name, &how()).await.map(drop));
        reserved(queue.set_paused(name, true).await);
        reserved(server.registry().bind(name, &binding, None).await.map(drop));
        assert_eq!(queue.status(name, "a").await.unwrap(), None);
        assert_eq!(queue.cancel(name, "a").await.unwrap(), Cancelled::Unknown);
        assert_eq!(queue.counts(name).await.unwrap().ready, 0);
        assert!(!queue.purge_dead(name, "a").await.unwrap());
    }
    assert_eq!(queue.queues().await.unwrap(), Vec::<String>::new());
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>) {
    let error = result.expect_err("a bad name");
    assert_eq!(error.class(), Class::Permanent, "{}", error.report());
    assert!(error.to_string().contains("ASCII letters"), "{error}");
}
