//! Tests that the audit finds damage. Each backend has its own kinds of damage.

use ingest_host::queue::{State, Submitted};

use crate::dead::run_to_its_end;
use crate::test_server::{Q, TestServer, assert_lost, how, request};

const LOST_HASH: &str = "the server lost the hash of this request";

async fn finds(server: &TestServer, wanted: &[&str]) {
    let mut faults = server.queue().audit(Q).await.unwrap();
    faults.sort();
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    assert_eq!(faults, wanted);
}

#[tokio::test]
async fn redis_faults_are_found() {
    let server = TestServer::redis().await;
    server
        .submit(&["lost", "twice", "hollow", "moved", "done", "dead"])
        .await;
    server.submit(&["held", "unheld", "future", "unindexed"]).await;
    server.audit_is_clean().await;
    for fault in [
        "ZREM ready lost",
        "ZADD dead 1 twice",
        "DEL request:hollow",
        "ZADD ready 5 moved",
        "ZREM ready done",
        "ZADD done 1 done",
        "ZREM ready dead",
        "ZADD dead 1 dead",
        "ZREM ready unheld",
        "ZADD leased 9e12 unheld",
        "HSET nonces stray held",
    ] {
        server.redis_command(fault);
    }
    finds(
        &server,
        &[
            "request lost is in no state",
            "request twice is in several states: ready, dead",
            "request hollow is ready but has no hash",
            "request moved is ready at a place that is not its own",
            "request done is done but has no receipt",
            "request dead is dead but has no reason",
            "request unheld is leased but has no holder",
            "nonce stray points at request held, which is not claimed with it",
        ],
    )
    .await;

    // A request without a hash does not block the queue, because it becomes a dead letter.
    server.redis_command("ZADD ready -1 hollow");
    server.claim().await;
    assert_eq!(server.status("hollow").await.error.as_deref(), Some(LOST_HASH));
}

#[tokio::test]
async fn a_request_whose_content_is_lost_is_counted_and_submitted_again() {
    let server = TestServer::redis().await;
    let states = ["ready", "delayed", "dead", "cancelled", "done"];
    server.submit(&states).await;
    for state in states {
        server.redis_command(&format!("ZREM ready {state}"));
        server.redis_command(&format!("ZADD {state} 1 {state}"));
        server.redis_command(&format!("DEL request:{state}"));
    }
    // The claim makes the delayed request ready, and finds that nothing of either is left.
    assert_eq!(server.queue().claim(Q, &how()).await.unwrap(), None);
    assert_eq!(server.queue().requests_lost(), 2);
    let dead = run_to_its_end(&server, &format!("dead retry --queue {Q} ready"));
    assert_eq!(dead.code, Some(1));
    assert!(dead.stderr.contains("submit it again"), "{}", dead.stderr);
    for state in states {
        let new = request(state);
        let answers = server.queue().submit(Q, &[new]).await.unwrap();
        assert_eq!(answers, [Submitted::Created], "{state}");
    }
    server.audit_is_clean().await;
    for _ in states {
        server.claim().await;
    }
}

#[tokio::test]
async fn redis_finds_a_lease_that_was_never_given() {
    let server = TestServer::redis().await;
    server.submit(&["future", "unindexed", "ended"]).await;
    let (_, unindexed, _) = (server.claim().await, server.claim().await, server.claim().await);
    server.redis_command("HSET request:ended ended settle");
    server.redis_command("HSET request:future fence 99");
    server.redis_command(&format!("HDEL nonces {}", unindexed.ticket.nonce));
    finds(
        &server,
        &[
            "request future has fence 99, which was never given",
            "request unindexed is leased but its nonce is not in the index",
            "request ended is leased but its claim has ended",
        ],
    )
    .await;
}

#[tokio::test]
async fn sqlite_faults_are_found() {
    let server = TestServer::sqlite().await;
    server
        .submit(&["ended", "unheld", "done", "dead", "future", "nowhere"])
        .await;
    assert_eq!(server.claim().await.ticket.id, "ended");
    server.audit_is_clean().await;
    server.database(|db| {
        let faults = "UPDATE request SET state = 'leased' WHERE id = 'unheld';
            UPDATE request SET state = id WHERE id IN ('done', 'dead');
            UPDATE request SET fence = 99 WHERE id = 'future';
            UPDATE request SET ended = 'settle' WHERE id = 'ended';
            UPDATE queue SET binding = 4;
            PRAGMA ignore_check_constraints = ON;
            UPDATE request SET state = 'nowhere' WHERE id = 'nowhere';";
        db.execute_batch(faults).unwrap();
    });
    let faults = server.queue().audit(Q).await.unwrap();
    for wanted in [
        "request unheld is leased but has no holder",
        "request done is done but has no receipt",
        "request dead is dead but has no reason",
        "request future has fence 99, which was never given",
        "request ended is leased but its claim has ended",
        "request nowhere is in no state, but in nowhere",
        "queue bigdatastudy has binding 4 in force, which it does not have",
    ] {
        assert!(faults.iter().any(|fault| fault == wanted), "{wanted}: {faults:?}");
    }
}

#[tokio::test]
async fn a_leased_request_without_its_hash_becomes_a_dead_letter() {
    let server = TestServer::redis().await;
    server.submit(&["a", "b"]).await;
    let options = how();
    let claim = server.queue().claim(Q, &options).await.unwrap().unwrap();
    server.redis_command("DEL request:a");
    // The cancel creates a new hash, which has only the field `cancel`.
    server.queue().cancel(Q, "a").await.unwrap();
    // When the client repeats the claim, the queue does not return request `a`, but claims the next request.
    server.redis_command("ZADD leased 1 a");
    let next = server.queue().claim(Q, &options).await.unwrap().unwrap();
    assert_eq!((next.ticket.id.as_str(), next.attempt), ("b", 1));
    assert_lost(server.queue().settle(&claim.ticket, "{}").await);

    let dead = server.queue().requests(Q, State::Dead, 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].id.as_str(), dead[0].attempts, dead[0].lost), ("a", 0, 0));
    assert_eq!(dead[0].error.as_deref(), Some(LOST_HASH));

    // The damaged request cannot be retried, but it can be removed.
    assert!(!server.queue().retry_dead(Q, "a").await.unwrap());
    assert!(server.queue().purge_dead(Q, "a").await.unwrap());
    assert_eq!(server.queue().status(Q, "a").await.unwrap(), None);
    server.audit_is_clean().await;
}

#[tokio::test]
async fn an_odd_request_on_redis_does_not_hide_the_others() {
    let server = TestServer::redis().await;
    server
        .submit(&["negative", "huge", "words", "text", "good"])
        .await;
    for fault in [
        "HSET request:negative attempts -1",
        "HSET request:huge attempts 1e300 lost inf",
        "HSET request:words attempts many lost nan",
        "DEL request:text",
        "SET request:text oops",
    ] {
        server.redis_command(fault);
    }
    let all = server.queue().requests(Q, State::Ready, 10).await.unwrap();
    assert_eq!(all.len(), 5);
    assert!(
        all.iter().all(|one| (one.attempts, one.lost) == (0, 0)),
        "{all:?}"
    );
    assert!(all[3].error.is_some(), "{all:?}");
    for odd in &all {
        assert_eq!(&server.status(&odd.id).await, odd);
    }
}

#[tokio::test]
async fn an_odd_request_in_sqlite_does_not_hide_the_others() {
    let server = TestServer::sqlite().await;
    server.submit(&["negative", "good"]).await;
    server.database(|db| {
        let fault = "UPDATE request SET attempts = -1, lost = -1 WHERE id = 'negative'";
        db.execute_batch(fault).unwrap();
    });
    let all = server.queue().requests(Q, State::Ready, 10).await.unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!((all[0].attempts, all[0].lost), (0, 0));
}
