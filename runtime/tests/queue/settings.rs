//! Tests that a server's settings show whether the server can lose acknowledged data.

use std::time::Duration;

use ingest_host::error::Class;
use ingest_host::queue::{Backend, Progress, Ticket};

use crate::support::host::Host;
use crate::support::redis::RedisServer;
use crate::test_server::TestServer;

const SAFE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// Checks that there are as many sentences as texts, and that each sentence contains its text.
#[track_caller]
fn assert_dangers(found: &[String], wanted: &[&str]) {
    let is_as_wanted = found.len() == wanted.len()
        && found
            .iter()
            .zip(wanted)
            .all(|(sentence, text)| sentence.contains(text));
    assert!(is_as_wanted, "{wanted:?} in {found:#?}");
}

async fn dangers(url: &str) -> Vec<String> {
    Backend::connect(url)
        .await
        .unwrap()
        .queue
        .settings()
        .await
        .unwrap()
}

#[tokio::test]
async fn redis_is_judged_by_its_settings() {
    let with = |more: &[&'static str]| [&SAFE[..], more].concat();
    let cases: [(Vec<&str>, &[&str]); 10] = [
        (with(&[]), &[]),
        (vec![], &["writes nothing to disk"]),
        (vec!["--save", "3600 1"], &["`save 3600 1`"]),
        (vec!["--appendonly", "yes"], &["`appendfsync everysec`"]),
        (with(&["--appendfsync", "no"]), &["`appendfsync no`"]),
        (
            with(&["--no-appendfsync-on-rewrite", "yes"]),
            &["`no-appendfsync-on-rewrite yes`"],
        ),
        (
            with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]),
            &["`maxmemory-policy allkeys-lru`"],
        ),
        (with(&["--maxmemory-policy", "allkeys-lru"]), &[]),
        (
            with(&["--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"]),
            &[],
        ),
        (
            with(&["--rename-command", "CONFIG", "HIDDEN"]),
            &["`appendfsync` could not be checked"],
        ),
    ];
    for (options, wanted) in cases {
        let redis = RedisServer::start_with(&options);
        assert_dangers(&dangers(&redis.url()).await, wanted);
    }
}

#[tokio::test]
async fn a_replica_is_told_from_a_primary() {
    let primary = RedisServer::start();
    let port = primary.url().rsplit(':').next().unwrap().to_owned();
    let replica = RedisServer::start_with(&[&SAFE[..], &["--replicaof", "127.0.0.1", &port]].concat());
    assert_dangers(&dangers(&replica.url()).await, &["connect to its primary"]);
}

/// Checks that a renewal shows whether the server accepts writes, even if the claim does not exist.
#[tokio::test]
async fn a_replica_refuses_each_renewal() {
    let primary = RedisServer::start();
    let port = primary.url().rsplit(':').next().unwrap().to_owned();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]);
    let of_none = Ticket {
        queue: "q".into(),
        id: String::new(),
        fence: 0,
        nonce: String::new(),
    };
    for (url, class) in [
        (primary.url(), Class::LeaseLost),
        (replica.url(), Class::Transient),
    ] {
        let server = Backend::connect(&url).await.unwrap();
        let renewed = server
            .queue
            .renew(&of_none, Duration::from_secs(60), Progress::default())
            .await;
        let error = renewed.expect_err("there is no such claim");
        assert_eq!(error.class(), class, "{error}");
    }
}

#[tokio::test]
async fn who_may_not_ask_is_told_so() {
    let redis = RedisServer::start_with(&SAFE);
    let mut connection = redis::Client::open(redis.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let mut change = redis::cmd("ACL");
    change.arg(&["SETUSER", "default", "-config"]);
    change.query::<()>(&mut connection).unwrap();
    assert_dangers(&dangers(&redis.url()).await, &["CONFIG GET"]);
    let mut change = redis::cmd("ACL");
    change.arg(&["SETUSER", "default", "-info"]);
    change.query::<()>(&mut connection).unwrap();
    assert_dangers(&dangers(&redis.url()).await, &["`+info`"]);
}

#[tokio::test]
async fn a_sqlite_file_is_judged_by_its_place() {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let url = format!("sqlite:{}", disk.path().join("queue.db").display());
    assert_dangers(&dangers(&url).await, &[]);
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let url = format!("sqlite:{}", memory.path().join("queue.db").display());
    assert_dangers(&dangers(&url).await, &["in memory (tmpfs)"]);
}

/// Checks that a worker with `--strict` refuses to start, with the same sentences that other workers log as warnings.
#[tokio::test]
async fn a_strict_worker_refuses_what_others_warn_of() {
    let server = TestServer::redis().await;
    let found = server.queue().settings().await.unwrap();
    assert_dangers(&found, &["writes nothing to disk"]);
    let host = Host::on(&server.url);
    let said = host.run("run --queue q --burst");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stderr.contains(&found[0]), "{}", said.stderr);
    let said = host.run("run --queue q --burst --strict");
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let last = said.stderr.lines().last().unwrap();
    assert!(
        last.starts_with("error: ") && last.contains("--strict: ") && last.contains(&found[0]),
        "{last}"
    );

    // The audit prints the warning separately from its findings, which are only about requests.
    server.submit(&["a"]).await;
    let said = host.run("queue audit");
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (Some(0), "bigdatastudy  no findings\nq  no findings\n")
    );
    assert!(said.stderr.contains(&found[0]), "{}", said.stderr);

    let safe = RedisServer::start_with(&SAFE);
    let said = Host::on(&safe.url()).run("run --queue q --burst --strict");
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(!said.stderr.contains("may lose"), "{}", said.stderr);
}
