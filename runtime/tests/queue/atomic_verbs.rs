//! Tests queue operations on a Redis server that is full, was emptied, or holds keys of the wrong type. Each operation
//! must do all of its work or none.

use ingest_host::queue::{Backend, Next, Progress, State};

use crate::registry::binding;
use crate::test_server::{PATIENCE, Q, TestServer, assert_lost, eventually, how, request};

/// Checks that every operation on a claim works while the server's memory is full.
#[tokio::test]
async fn claims_are_kept_and_ended_while_the_server_is_full() {
    let server = TestServer::redis().await;
    server
        .submit(&["settled", "failed", "released", "cancelled"])
        .await;
    let mut connection = server.redis_connection();
    let mut memory = |bytes: u64| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(bytes);
        set.query::<()>(&mut connection).unwrap();
    };
    memory(1);
    let queue = server.queue();
    let refused = queue.submit(Q, &[request("new")]).await.expect_err("full");
    assert!(
        refused.report().contains("raise its `maxmemory`"),
        "{}",
        refused.report()
    );
    let options = how();
    let claims = queue.claim_some(Q, &options, 4).await.unwrap();
    assert_eq!(queue.claim_some(Q, &options, 4).await.unwrap(), claims);
    for claim in &claims {
        queue
            .renew(&claim.ticket, PATIENCE, Progress::default())
            .await
            .unwrap();
    }
    queue.settle(&claims[0].ticket, "{}").await.unwrap();
    queue.fail(&claims[1].ticket, "404", Next::Dead).await.unwrap();
    queue.release(&claims[2].ticket).await.unwrap();
    queue.cancel(Q, "cancelled").await.unwrap();
    queue.release(&claims[3].ticket).await.unwrap();
    queue.set_paused(Q, true).await.unwrap();
    memory(0);
    for (id, state) in [
        ("settled", State::Done),
        ("failed", State::Dead),
        ("released", State::Ready),
        ("cancelled", State::Cancelled),
    ] {
        assert_eq!(server.state(id).await, state);
    }
    server.audit_is_clean().await;
}

/// Checks that a claim is lost if the server is emptied after the claim. The emptied server gives the same fences
/// again, so only the nonce distinguishes the old claim from the new one.
#[tokio::test]
async fn a_claim_from_before_the_server_was_emptied_is_nobodys() {
    let server = TestServer::redis().await;
    server.submit(&["a"]).await;
    let old = server.claim().await;
    redis::cmd("FLUSHALL")
        .query::<()>(&mut server.redis_connection())
        .unwrap();
    let queue = server.queue();
    let gone = queue.renew(&old.ticket, PATIENCE, Progress::default()).await;
    let why = gone.as_ref().expect_err("it is gone").report();
    assert!(why.contains("submit it again"), "{why}");
    assert_lost(gone);

    server.submit(&["a"]).await;
    let new = server.claim().await;
    assert_eq!(new.ticket.fence, old.ticket.fence);
    assert_lost(queue.renew(&old.ticket, PATIENCE, Progress::default()).await);
    assert_lost(queue.settle(&old.ticket, "{}").await);
    assert_lost(queue.fail(&old.ticket, "no", Next::Dead).await);
    assert_lost(queue.release(&old.ticket).await);
    queue.settle(&new.ticket, "{}").await.unwrap();
    server.audit_is_clean().await;
}

/// Checks that no operation leaves a request half changed if a key of the queue has the wrong type. The test tries
/// every key.
#[tokio::test]
async fn a_key_of_another_type_stops_each_verb_before_it_begins() {
    let keys = [
        "ready",
        "delayed",
        "leased",
        "done",
        "dead",
        "cancelled",
        "nonces",
        "wake",
        "fence",
        "sequence",
        "in",
        "invalid",
    ];
    for key in keys {
        let server = TestServer::redis().await;
        let queue = server.queue();
        server
            .submit(&["lost", "settled", "failed", "retried", "released", "waiting"])
            .await;
        let mut claims = queue.claim_some(Q, &how(), 5).await.unwrap();
        queue
            .renew(&claims[0].ticket, std::time::Duration::ZERO, Progress::default())
            .await
            .unwrap();
        server.push("no request");
        let save = format!("ingest:{{{Q}}}:{key}");
        let mut connection = server.redis_connection();
        let kept = format!("{save}:kept");
        // If the key exists, it is put aside and restored later.
        let has_key: bool = redis::cmd("EXISTS").arg(&save).query(&mut connection).unwrap();
        if has_key {
            redis::cmd("RENAME")
                .arg(&save)
                .arg(&kept)
                .query::<()>(&mut connection)
                .unwrap();
        }
        redis::cmd("SET")
            .arg(&save)
            .arg("oops")
            .query::<()>(&mut connection)
            .unwrap();

        // Some of these operations fail and some succeed, depending on the key.
        let mut failed = Vec::new();
        let mut note =
            |failure: Option<ingest_host::error::Error>| failed.extend(failure.map(|error| error.report()));
        note(queue.claim(Q, &how()).await.err());
        note(queue.submit(Q, &[request("new")]).await.err());
        note(queue.cancel(Q, "waiting").await.err());
        let released = claims.pop().unwrap();
        note(queue.release(&released.ticket).await.err());
        let retried = claims.pop().unwrap();
        note(
            queue
                .fail(&retried.ticket, "503", Next::Retry(PATIENCE))
                .await
                .err(),
        );
        let failing = claims.pop().unwrap();
        note(queue.fail(&failing.ticket, "404", Next::Dead).await.err());
        let settled = claims.pop().unwrap();
        note(queue.settle(&settled.ticket, "{}").await.err());
        // For the key `invalid`, no operation needs to fail, because a failed import does not stop claims.
        assert!(!failed.is_empty() || key == "invalid", "{key}");
        for report in &failed {
            assert!(report.contains(&format!("{save} holds")), "{key}: {report}");
        }

        redis::cmd("DEL").arg(&save).query::<()>(&mut connection).unwrap();
        if has_key {
            redis::cmd("RENAME")
                .arg(&kept)
                .arg(&save)
                .query::<()>(&mut connection)
                .unwrap();
        }
        server.audit_is_clean().await;
    }
}

/// Checks that a queue name that the server has lost is listed again while a worker claims from the queue.
#[tokio::test]
async fn a_forgotten_queue_is_listed_again() {
    let server = TestServer::redis().await;
    server.submit(&["a"]).await;
    redis::cmd("FLUSHALL")
        .query::<()>(&mut server.redis_connection())
        .unwrap();
    let other = Backend::connect(&server.url).await.unwrap();
    eventually("the queue is listed", || async {
        server.queue().claim(Q, &how()).await.unwrap();
        (other.queue.queues().await.unwrap() == [Q]).then_some(())
    })
    .await;
}

/// Checks that a bind or a resume that fails has changed nothing: both wake the workers that wait, and the keys for that
/// can have the wrong type.
#[tokio::test]
async fn a_bind_or_a_resume_that_fails_changes_nothing() {
    for key in ["ready", "wake"] {
        let server = TestServer::redis().await;
        let (queue, registry) = (server.queue(), server.registry());
        assert_eq!(registry.bind(Q, &binding("aa"), None).await.unwrap(), 1);
        queue.set_paused(Q, true).await.unwrap();
        let name = format!("ingest:{{{Q}}}:{key}");
        server.redis_command(&format!("SET {key} oops"));
        for failed in [
            registry.bind(Q, &binding("bb"), None).await.map(drop),
            queue.set_paused(Q, false).await,
        ] {
            let error = failed.expect_err(key).report();
            assert!(error.contains(&name), "{error}");
        }
        server.redis_command(&format!("DEL {key}"));
        assert_eq!(registry.bindings(Q).await.unwrap().len(), 1, "{key}");
        assert!(queue.counts(Q).await.unwrap().paused, "{key}");
        assert_eq!(registry.bind(Q, &binding("bb"), None).await.unwrap(), 2);
        queue.set_paused(Q, false).await.unwrap();
    }
}
