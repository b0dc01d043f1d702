//! Tests that a worker stops in time and commits nothing if it cannot keep its lease. A worker that can renew its lease
//! keeps it during the whole attempt. The worker runs in the test's process, and its leases last 1 s.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ingest_host::commit::Destination;
use ingest_host::config::{LeasePolicy, Limits};
use ingest_host::error::{Class, Result};
use ingest_host::fetch::{Access, Fetcher};
use ingest_host::gate::Gate;
use ingest_host::memory::MemoryBudget;
use ingest_host::plugin::Engine;
use ingest_host::queue::{Backend, State};
use ingest_host::request::NewRequest;
use ingest_host::worker::{self, PluginSource, Policies, PolicyOptions, Shutdown, Summary, WorkerOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::host::{PATIENCE, cache, component};
use crate::support::http::Files;
use crate::support::redis::RedisServer;

const LEASE: Duration = Duration::from_secs(1);

struct Running {
    worker: JoinHandle<Result<Summary>>,
    shutdown: watch::Sender<Shutdown>,
    folder: tempfile::TempDir,
}

/// Starts a worker for queue `q` with leases of 1 s.
async fn start(url: &str, limits: Limits) -> Running {
    start_with(url, limits, |_| {}).await
}

/// Does the same as [`start`], after `change` has edited the worker's options.
async fn start_with(url: &str, limits: Limits, change: impl FnOnce(&mut WorkerOptions)) -> Running {
    start_apart(url, url, limits, change).await
}

/// Does the same as [`start_with`], but the worker renews its leases through `lease_url`.
async fn start_apart(
    url: &str,
    lease_url: &str,
    limits: Limits,
    change: impl FnOnce(&mut WorkerOptions),
) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let limits = Arc::new(limits);
    let policy = LeasePolicy {
        lease: LEASE,
        renew_every: LEASE / 10,
        margin: LEASE / 4,
        ..LeasePolicy::default()
    };
    let fetcher = Fetcher::new(Access::new(&["127.0.0.1".into()], &[]).unwrap(), &limits);
    let mut options = WorkerOptions {
        name: "test".into(),
        queues: vec!["q".into()],
        concurrency: 1,
        burst: false,
        memory: MemoryBudget::new(1 << 30),
        policy,
        answered_hosts: Arc::clone(fetcher.answered_hosts()),
        move_output: false,
    };
    let policy_options = PolicyOptions {
        plugin: PluginSource::File {
            path: component("alarms"),
            config: "{}".into(),
            data: Default::default(),
            watch: false,
        },
        output_format: None,
        profile: false,
        input: ingest_host::request::InputOptions::default(),
        gate: Gate::default(),
        limits: Arc::clone(&limits),
        fetcher,
        destination: Arc::new(Destination::new(folder.path().to_str().unwrap(), None).unwrap()),
    };
    change(&mut options);
    let engine = Engine::new(&limits, Some(cache())).unwrap();
    let policies = Policies::new(&engine, vec![(options.queues.clone(), policy_options)])
        .await
        .unwrap();
    let server = Backend::connect(url).await.unwrap();
    let (shutdown, signal) = watch::channel(Shutdown::No);
    let url = lease_url.to_owned();
    let worker = tokio::spawn(async move {
        let (_changing, policies) = watch::channel(Arc::new(policies));
        worker::run(&url, server, engine, policies, options, signal).await
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

async fn wait_for_state(server: &Backend, id: &str, state: State) {
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
    let server = Backend::connect(&redis.url()).await.unwrap();
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

/// Two SQLite files: the queue in the folder `real` is usable, and the file in the folder `broken` is damaged.
struct InFile {
    folder: tempfile::TempDir,
    server: Backend,
}

impl InFile {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("real")).unwrap();
        std::fs::create_dir(folder.path().join("broken")).unwrap();
        std::fs::write(folder.path().join("broken/queue.db"), "x".repeat(1 << 12)).unwrap();
        let server = Backend::connect(&url_in(&folder, "real")).await.unwrap();
        Self { folder, server }
    }

    fn url(&self, name: &str) -> String {
        url_in(&self.folder, name)
    }

    async fn submit(&self, id: &str, uri: String) {
        let mut request = NewRequest::new(uri);
        request.id = id.into();
        self.server.queue.submit("q", &[request]).await.unwrap();
    }

    async fn status(&self, id: &str) -> ingest_host::queue::Status {
        self.server.queue.status("q", id).await.unwrap().unwrap()
    }
}

fn url_in(folder: &tempfile::TempDir, name: &str) -> String {
    format!("sqlite:{}", folder.path().join(name).join("queue.db").display())
}

/// Checks that a worker continues while a newer version upgrades its queue file. The worker opens both of its
/// connections before its first claim, so the upgrade cannot come between them.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_goes_on_while_a_newer_version_upgrades_its_file() {
    let queue = InFile::new().await;
    let files = tokio::task::spawn_blocking(Files::serve).await.unwrap();
    let running = start(&queue.url("real"), Limits::default()).await;
    // The first claim creates the queue.
    let claims = async {
        while queue.server.queue.queues().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, claims).await.unwrap();
    let file = queue.folder.path().join("real/queue.db");
    let newer = rusqlite::Connection::open(file).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();

    queue.submit("long", files.hold("alarms.csv", alarms())).await;
    wait_for_state(&queue.server, "long", State::Leased).await;
    let mut ends = std::collections::BTreeSet::new();
    let renewals = async {
        while ends.len() < 15 {
            ends.insert(queue.status("long").await.lease_ends_ms.expect("it is leased"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, renewals).await.unwrap();
    files.let_go("alarms.csv");
    wait_for_state(&queue.server, "long", State::Done).await;
    let status = queue.status("long").await;
    assert_eq!((status.attempts, status.lost), (1, 0));
    running.shutdown.send_replace(Shutdown::Drain);
    running.worker.await.unwrap().unwrap();
    tokio::task::spawn_blocking(move || drop(files)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_cannot_renew_leases_claims_nothing() {
    let queue = InFile::new().await;
    queue
        .submit("spared", "http://127.0.0.1:1/alarms.csv".into())
        .await;
    let (real, broken) = (queue.url("real"), queue.url("broken"));
    let burst = |options: &mut WorkerOptions| options.burst = true;
    let running = start_apart(&real, &broken, Limits::default(), burst).await;
    let ended = tokio::time::timeout(PATIENCE, running.worker).await.unwrap();
    let error = ended.unwrap().expect_err("a burst ends");
    assert_eq!(error.class(), Class::Permanent);
    let report = error.report();
    assert!(
        report.contains("leases cannot be renewed, so nothing is claimed"),
        "{report}"
    );
    let status = queue.status("spared").await;
    assert_eq!((status.state, status.attempts, status.lost), (State::Ready, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stops_at_once_before_its_lease_connection_is_open() {
    let queue = InFile::new().await;
    // This server accepts connections and never answers. After three seconds, a client treats this as a failure.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let lease_url = format!("redis://{}", silent.local_addr().unwrap());
    let running = start_apart(&queue.url("real"), &lease_url, Limits::default(), |_| {}).await;
    let _connection = tokio::time::timeout(PATIENCE, silent.accept())
        .await
        .unwrap()
        .unwrap();
    // During this sleep, the worker begins its first claim, which waits for the connection.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let asked_at = Instant::now();
    running.shutdown.send_replace(Shutdown::Drain);
    let summary = running.worker.await.unwrap().unwrap();
    let took = asked_at.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(summary, Summary::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_handed_back_if_no_lease_can_be_renewed_any_more() {
    let redis = RedisServer::start();
    let server = Backend::connect(&redis.url()).await.unwrap();
    let mut operator = redis::Client::open(redis.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let mut acl = |words: &[&str]| {
        let set = redis::cmd("ACL").arg(words).to_owned();
        set.query::<redis::Value>(&mut operator).unwrap();
    };
    let keeper = ["SETUSER", "keeper", "on", ">pw", "~*", "&*", "+@all"];
    acl(&keeper);
    let files = tokio::task::spawn_blocking(Files::serve).await.unwrap();
    let mut request = NewRequest::new(files.hold("alarms.csv", alarms()));
    request.id = "held".into();
    server.queue.submit("q", &[request]).await.unwrap();
    let lease_url = redis.url().replace("redis://", "redis://keeper:pw@");
    let running = start_apart(&redis.url(), &lease_url, Limits::default(), |_| {}).await;
    wait_for_state(&server, "held", State::Leased).await;
    // The deletion of a user also closes the user's connections.
    acl(&["DELUSER", "keeper"]);
    wait_for_state(&server, "held", State::Ready).await;
    let status = server.queue.status("q", "held").await.unwrap().unwrap();
    assert_eq!((status.attempts, status.lost), (0, 0));
    acl(&keeper);
    files.let_go("alarms.csv");
    wait_for_state(&server, "held", State::Done).await;
    let status = server.queue.status("q", "held").await.unwrap().unwrap();
    assert_eq!((status.attempts, status.lost), (1, 0));
    running.shutdown.send_replace(Shutdown::Drain);
    let summary = running.worker.await.unwrap().unwrap();
    assert_eq!(
        summary,
        Summary {
            done: 1,
            released: 1,
            ..Summary::default()
        }
    );
    tokio::task::spawn_blocking(move || drop(files)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_lease_cannot_be_kept_commits_nothing() {
    let redis = RedisServer::start();
    let server = Backend::connect(&redis.url()).await.unwrap();
    let files = tokio::task::spawn_blocking(Files::serve).await.unwrap();
    let mut request = NewRequest::new(files.hold("alarms.csv", alarms()));
    request.id = "cut-off".into();
    server.queue.submit("q", &[request]).await.unwrap();
    let running = start(&redis.url(), Limits::default()).await;
    wait_for_state(&server, "cut-off", State::Leased).await;
    // From here on, the server does not answer. The worker must stop by its own clock, while its input is still held
    // back.
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
    // Staging creates the queue's folder, so the folder is missing if staging has not begun.
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
    let server = Backend::connect(&redis.url()).await.unwrap();
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

/// Waits until the lease of a request has been extended `times` times. While it waits, it blocks the calling thread.
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
    let server = Backend::connect(&redis.url()).await.unwrap();
    let files = tokio::task::spawn_blocking(Files::serve).await.unwrap();
    let mut request = NewRequest::new(files.hold("alarms.csv", alarms()));
    request.id = "held".into();
    server.queue.submit("q", &[request]).await.unwrap();
    let running = start(&redis.url(), Limits::default()).await;
    wait_for_state(&server, "held", State::Leased).await;
    // The two threads of the runtime and the test's thread are blocked for longer than a lease lasts.
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
