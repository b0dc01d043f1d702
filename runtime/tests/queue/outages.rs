//! Tests servers that are unreachable, closed to the client, or broken.

use std::time::{Duration, Instant};

use ingest_host::error::{Class, Error};
use ingest_host::queue::{Backend, Progress};

use crate::support::redis::{RedisServer, free_port};
use crate::test_server::{PATIENCE, Q, TestServer, eventually, how, request};

async fn refusal(url: &str) -> Error {
    Backend::connect(url).await.err().expect("no connection")
}

#[tokio::test]
async fn a_missing_server_is_transient_and_soon_known() {
    let started = Instant::now();
    let error = refusal(&format!("redis://ann:s3cret@127.0.0.1:{}", free_port())).await;
    assert_eq!(error.class(), Class::Transient, "{}", error.report());
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(
        error.report().contains("redis://127.0.0.1:"),
        "{}",
        error.report()
    );
    assert!(!error.report().contains("s3cret"), "{}", error.report());
}

#[tokio::test]
async fn a_wrong_password_is_permanent_and_not_shown() {
    let redis = RedisServer::start_with(&["--requirepass", "right"]);
    for (url, advice) in [
        (
            redis.url(),
            "the server requires a password: write it into the queue's URL",
        ),
        (redis.url_with_password("s3cret"), "check them in the queue's URL"),
    ] {
        let error = refusal(&url).await;
        assert_eq!(error.class(), Class::Permanent, "{}", error.report());
        assert!(error.report().contains(advice), "{}", error.report());
        assert!(!error.report().contains("s3cret"), "{}", error.report());
    }
    Backend::connect(&redis.url_with_password("right")).await.unwrap();
}

#[tokio::test]
async fn a_url_that_is_not_understood_is_permanent_and_not_shown() {
    for url in [
        "",
        "s3cret",
        "postgres://:s3cret@host/",
        "redis://:s3cret@host:port",
        "redis://:s3cret@h/x",
        "redis://default:77/s3cret@host",
        "redis://default:77/1?s3cret@host",
        "redis://us/er:s3cret@host",
        "redis:s3cret@host",
        "sqlite:",
    ] {
        let error = refusal(url).await;
        assert_eq!(error.class(), Class::Permanent, "{}", error.report());
        assert!(!error.report().contains("s3cret"), "{}", error.report());
    }
}

#[tokio::test]
async fn tls_to_a_server_that_speaks_none_fails_without_a_panic() {
    let redis = RedisServer::start();
    let error = refusal(&redis.url().replace("redis:", "rediss:")).await;
    assert!(
        error.report().contains("rediss://127.0.0.1"),
        "{}",
        error.report()
    );
}

#[tokio::test]
async fn a_handle_survives_a_restart_of_redis() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let queue = Backend::connect(&redis.url()).await.unwrap().queue;
    queue.submit(Q, &[request("a"), request("b")]).await.unwrap();
    let claim = queue.claim(Q, &how()).await.unwrap().unwrap();

    redis.kill();
    let error = queue
        .renew(&claim.ticket, PATIENCE, Progress::default())
        .await
        .expect_err("the server is away");
    assert_eq!(error.class(), Class::Transient, "{}", error.report());
    let error = queue.wait(Q, PATIENCE).await.expect_err("the server is away");
    assert_eq!(error.class(), Class::Transient, "{}", error.report());

    redis.restart();
    eventually("the handle finds the server again", || async {
        match queue.renew(&claim.ticket, PATIENCE, Progress::default()).await {
            Ok(renewed) => Some(renewed),
            Err(error) => {
                assert_eq!(error.class(), Class::Transient, "{}", error.report());
                None
            }
        }
    })
    .await;
    queue.settle(&claim.ticket, "{}").await.unwrap();
    assert_eq!(queue.claim(Q, &how()).await.unwrap().unwrap().ticket.id, "b");
    assert_eq!(queue.claim(Q, &how()).await.unwrap(), None);
    queue.wait(Q, Duration::from_millis(10)).await.unwrap();
    assert_eq!(queue.audit(Q).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_gets_them_again() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let queue = Backend::connect(&redis.url()).await.unwrap().queue;
    queue.submit(Q, &[request("a")]).await.unwrap();
    redis.restart();
    eventually("a submit after the restart", || async {
        queue.submit(Q, &[request("b")]).await.ok()
    })
    .await;
    assert_eq!(queue.counts(Q).await.unwrap().ready, 2);
}

#[tokio::test]
async fn verbs_go_on_while_others_wait() {
    let server = TestServer::redis().await;
    let waiting = async {
        tokio::join!(
            server.queue().wait(Q, 10 * PATIENCE),
            server.queue().wait(Q, 10 * PATIENCE)
        )
    };
    let working = async {
        // When this loop ends, both waits have begun.
        for _ in 0..100 {
            server.queue().counts(Q).await.unwrap();
        }
    };
    tokio::select! {
        biased;
        waited = waiting => panic!("a wait ended first: {waited:?}"),
        () = working => {}
    }
}

/// Checks that a client that leaves a wait needs no new connection, because workers often leave their waits.
#[tokio::test]
async fn who_leaves_a_wait_leaves_its_connection_to_the_next() {
    let server = TestServer::redis().await;
    let mut connection = server.redis_connection();
    leave_a_wait(&server, &mut connection).await;
    let before = info(&mut connection, "total_connections_received");
    for _ in 0..50 {
        leave_a_wait(&server, &mut connection).await;
    }
    assert_eq!(info(&mut connection, "total_connections_received"), before);
    server.is_woken_by(server.submit(&["a"])).await;
}

#[tokio::test]
async fn a_token_that_nobody_here_waits_for_goes_to_another() {
    let server = TestServer::redis().await;
    leave_a_wait(&server, &mut server.redis_connection()).await;
    let other = server.another().await;
    let waiting = tokio::time::timeout(PATIENCE, other.queue.wait(Q, 10 * PATIENCE));
    // The submit pushes one token, and the server gives it to the client that has waited the longest.
    let (waited, ()) = tokio::join!(waiting, server.submit(&["a"]));
    waited.expect("the other one is woken").unwrap();
}

/// Starts a long wait, and leaves it when the server has received it.
async fn leave_a_wait(server: &TestServer, connection: &mut redis::Connection) {
    let blocked = async {
        while info(connection, "blocked_clients") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        biased;
        waited = server.queue().wait(Q, PATIENCE) => panic!("the wait ended first: {waited:?}"),
        () = blocked => {}
    }
}

fn info(connection: &mut redis::Connection, field: &str) -> u64 {
    let info: redis::InfoDict = redis::cmd("INFO").query(connection).unwrap();
    info.get(field).unwrap()
}

#[tokio::test]
async fn a_frozen_server_is_a_transient_error_and_no_end() {
    let redis = RedisServer::start();
    let queue = Backend::connect(&redis.url()).await.unwrap().queue;
    queue.submit(Q, &[request("a")]).await.unwrap();
    redis.freeze();
    let error = queue.counts(Q).await.expect_err("nobody answers");
    assert_eq!(error.class(), Class::Transient, "{}", error.report());
    redis.thaw();
    let counts = eventually("the server answers again", || async {
        queue.counts(Q).await.ok()
    })
    .await;
    assert_eq!(counts.ready, 1);
}

#[tokio::test]
async fn a_sqlite_file_is_opened_by_many_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("queue.db").display());
    let mut openers = tokio::task::JoinSet::new();
    for n in 0..8 {
        let url = url.clone();
        openers.spawn(async move {
            let queue = Backend::connect(&url).await.unwrap().queue;
            queue.submit(Q, &[request(&format!("r{n}"))]).await.unwrap();
        });
    }
    openers.join_all().await;
    let queue = Backend::connect(&url).await.unwrap().queue;
    assert_eq!(queue.counts(Q).await.unwrap().ready, 8);
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_permanent() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(
        &text,
        "not a database, but long enough to be read as the header of one, which it is not",
    )
    .unwrap();
    let newer = folder.path().join("newer.db");
    rusqlite::Connection::open(&newer)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    for (path, reason) in [
        (&text, "is not a SQLite file: name another one"),
        (&newer, "version 99"),
        (&folder.path().to_owned(), "open"),
    ] {
        let error = refusal(&format!("sqlite:{}", path.display())).await;
        assert_eq!(error.class(), Class::Permanent, "{}", error.report());
        assert!(error.report().contains(reason), "{}", error.report());
    }
}
