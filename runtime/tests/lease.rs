//! A worker that cannot keep its lease stops in time and commits nothing; one that can keeps it however long the
//! attempt takes. The worker runs within this process, with leases of a second.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ingest_host::commit::Destination;
use ingest_host::config::{LeasePolicy, Limits};
use ingest_host::error::{Class, Result};
use ingest_host::fetch::{Access, Fetcher};
use ingest_host::gate::Gate;
use ingest_host::memory::MemoryBudget;
use ingest_host::plugin::Engine;
use ingest_host::queue::{Server, State};
use ingest_host::request::NewRequest;
use ingest_host::worker::{self, PluginSource, Shutdown, Summary, WorkerOptions};
use support::host::{PATIENCE, cache, component};
use support::http::Files;
use support::redis::RedisServer;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const LEASE: Duration = Duration::from_secs(1);

struct Running {
    worker: JoinHandle<Result<Summary>>,
    shutdown: watch::Sender<Shutdown>,
    folder: tempfile::TempDir,
}

/// Starts a worker of queue `q` with short leases.
async fn start(url: &str, limits: Limits) -> Running {
    start_with(url, limits, |_| {}).await
}

/// Starts such a worker with other options.
async fn start_with(url: &str, limits: Limits, change: impl FnOnce(&mut WorkerOptions)) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let limits = Arc::new(limits);
    let policy = LeasePolicy {
        lease: LEASE,
        renew_every: LEASE / 10,
        margin: LEASE / 4,
        ..LeasePolicy::default()
    };
    let mut options = WorkerOptions {
        name: "test".into(),
        queues: vec!["q".into()],
        concurrency: 1,
        burst: false,
        plugin: PluginSource::File {
            path: component("alarms"),
            config: "{}".into(),
            watch: false,
        },
        output_format: None,
        profile: false,
        input: ingest_host::request::InputOptions::default(),
        gate: Gate::default(),
        limits: Arc::clone(&limits),
        memory: MemoryBudget::new(1 << 30),
        policy,
        move_output: false,
    };
    change(&mut options);
    let engine = Engine::new(&limits, Some(cache())).unwrap();
    let fetcher = Fetcher::new(Access::new(&["127.0.0.1".into()], &[]).unwrap(), &limits);
    let destination = Destination::new(folder.path().to_str().unwrap(), None).unwrap();
    let server = Server::connect(url).await.unwrap();
    let (shutdown, signal) = watch::channel(Shutdown::No);
    let url = url.to_owned();
    let worker = tokio::spawn(async move {
        worker::run(&url, server, engine, fetcher, destination, options, signal).await
    });
    Running {
        worker,
        shutdown,
        folder,
    }
}

fn alarms() -> Vec<u8> {
    let mut csv = Vec::new();
    alarm_feed::write_alarms(&mut csv, 7, 1_000, 5).unwrap();
    csv
}

async fn wait_for_state(server: &Server, id: &str, state: State) {
    let wait = async {
        while server
            .queue
            .status("q", id)
            .await
            .ok()
            .flatten()
            .is_none_or(|status| status.state != state)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("{id} is never {}", state.name()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_attempt_keeps_its_lease() {
    let redis = RedisServer::start();
    let server = Server::connect(&redis.url()).await.unwrap();
    let files = tokio::task::spawn_blocking(Files::serve).await.unwrap();
    let mut request = NewRequest::new(files.hold("alarms.csv", alarms()));
    request.id = "long".into();
    server.queue.submit("q", &[request]).await.unwrap();
    let running = start(&redis.url(), Limits::default()).await;
    wait_for_state(&server, "long", State::Leased).await;
    tokio::time::sleep(3 * LEASE).await;
    files.let_go("alarms.csv");
    wait_for_state(&server, "long", State::Done).await;
    let status = server.queue.status("q", "long").await.unwrap().unwrap();
    assert_eq!((status.attempts, status.lost), (1, 0));
    running.shutdown.send_replace(Shutdown::Drain);
    assert_eq!(
        running.worker.await.unwrap().unwrap(),
        Summary {
            done: 1,
            ..Summary::default()
        }
    );
    tokio::task::spawn_blocking(move || drop(files)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_lease_cannot_be_kept_commits_nothing() {
    let redis = RedisServer::start();
    let server = Server::connect(&redis.url()).await.unwrap();
    let files = tokio::task::spawn_blocking(Files::serve).await.unwrap();
    let mut request = NewRequest::new(files.hold("alarms.csv", alarms()));
    request.id = "cut-off".into();
    server.queue.submit("q", &[request]).await.unwrap();
    let running = start(&redis.url(), Limits::default()).await;
    wait_for_state(&server, "cut-off", State::Leased).await;
    // Nothing answers now. The worker must stop by its own clock, while the input still waits.
    redis.freeze();
    tokio::time::sleep(2 * LEASE).await;
    files.let_go("alarms.csv");
    running.shutdown.send_replace(Shutdown::Now);
    let summary = tokio::time::timeout(PATIENCE, running.worker)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(
        summary,
        Summary {
            lost: 1,
            ..Summary::default()
        }
    );
    // The queue's folder is made when staging begins, which it may not have.
    let found = std::fs::read_dir(running.folder.path().join("q"));
    let committed: Vec<_> = found
        .into_iter()
        .flatten()
        .flatten()
        .filter(|e| e.path().is_file())
        .collect();
    assert!(committed.is_empty(), "{committed:?}");
    redis.thaw();
    tokio::task::spawn_blocking(move || drop(files)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_has_an_end_however_slow_its_input() {
    let redis = RedisServer::start();
    let server = Server::connect(&redis.url()).await.unwrap();
    let files = tokio::task::spawn_blocking(Files::serve).await.unwrap();
    let mut request = NewRequest::new(files.hold("alarms.csv", alarms()));
    request.id = "slow".into();
    server.queue.submit("q", &[request]).await.unwrap();
    let limits = Limits {
        attempt: LEASE,
        ..Limits::default()
    };
    let running = start(&redis.url(), limits).await;
    wait_for_state(&server, "slow", State::Dead).await;
    let status = server.queue.status("q", "slow").await.unwrap().unwrap();
    assert!(
        status
            .error
            .as_deref()
            .is_some_and(|why| why.contains("longer than its limit")),
        "{status:?}"
    );
    running.shutdown.send_replace(Shutdown::Drain);
    assert_eq!(
        running.worker.await.unwrap().unwrap(),
        Summary {
            dead: 1,
            ..Summary::default()
        }
    );
    tokio::task::spawn_blocking(move || drop(files)).await.unwrap();
}

/// Waits, and keeps its thread from all else, until the lease of a request was extended so many times.
fn watch_renewals(url: &str, id: &str, times: u32) {
    let mut redis = redis::Client::open(url).unwrap().get_connection().unwrap();
    let mut ends = std::collections::BTreeSet::new();
    let deadline = Instant::now() + PATIENCE;
    while ends.len() <= times as usize {
        let end: Option<u64> = redis::cmd("ZSCORE")
            .arg("ingest:{q}:leased")
            .arg(id)
            .query(&mut redis)
            .unwrap();
        ends.insert(end.expect("the request is leased"));
        assert!(
            Instant::now() < deadline,
            "extended {} times only",
            ends.len() - 1
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_renewed_while_the_runtime_stands_still() {
    let redis = RedisServer::start();
    let server = Server::connect(&redis.url()).await.unwrap();
    let files = tokio::task::spawn_blocking(Files::serve).await.unwrap();
    let mut request = NewRequest::new(files.hold("alarms.csv", alarms()));
    request.id = "held".into();
    server.queue.submit("q", &[request]).await.unwrap();
    let running = start(&redis.url(), Limits::default()).await;
    wait_for_state(&server, "held", State::Leased).await;
    // Each of the runtime's threads, and this one, for more than a lease's time.
    let blocked: Vec<_> = (0..2)
        .map(|_| {
            let url = redis.url();
            tokio::spawn(async move { watch_renewals(&url, "held", 15) })
        })
        .collect();
    watch_renewals(&redis.url(), "held", 15);
    for blocked in blocked {
        blocked.await.unwrap();
    }
    files.let_go("alarms.csv");
    wait_for_state(&server, "held", State::Done).await;
    let status = server.queue.status("q", "held").await.unwrap().unwrap();
    assert_eq!((status.attempts, status.lost), (1, 0));
    running.shutdown.send_replace(Shutdown::Drain);
    running.worker.await.unwrap().unwrap();
    tokio::task::spawn_blocking(move || drop(files)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_does_not_wait_for_ever_for_a_server_that_refuses() {
    let redis = RedisServer::start();
    let mut operator = redis::Client::open(redis.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let mut deny = redis::cmd("ACL");
    deny.arg(&["SETUSER", "default", "-evalsha"]);
    deny.query::<()>(&mut operator).unwrap();
    let running = start_with(&redis.url(), Limits::default(), |options| {
        options.burst = true;
        options.policy.burst_patience = LEASE;
    })
    .await;
    let ended = tokio::time::timeout(PATIENCE, running.worker).await.unwrap();
    let error = ended.unwrap().expect_err("it gives up");
    assert_eq!(error.class(), Class::Transient);
    assert!(error.report().contains("extend its ACL"), "{}", error.report());
}
