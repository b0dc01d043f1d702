//! The queue backend that a test runs on. It also gives direct access to the storage, for tests that act like an
//! external producer or create a fault.

use std::future::Future;
use std::time::{Duration, Instant};

use ingest_host::error::Class;
use ingest_host::queue::{
    Backend as QueueBackend, Claim, ClaimOptions, OutputId, Progress, Queue, Registry, State, Status,
};
use ingest_host::request::NewRequest;
use tempfile::TempDir;

use crate::support::redis::RedisServer;

/// The queue that most tests use.
pub(crate) const Q: &str = "bigdatastudy";

/// A time limit longer than any wait in a test on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A queue server that contains only the data of one test.
pub(crate) struct TestServer {
    server: QueueBackend,
    pub(crate) url: String,
    backend: Backend,
}

enum Backend {
    Redis(RedisServer),
    Sqlite(#[expect(dead_code, reason = "kept until the test ends")] TempDir),
}

impl TestServer {
    pub(crate) async fn redis() -> Self {
        let redis = RedisServer::start();
        Self::connect(redis.url(), Backend::Redis(redis)).await
    }

    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("new/queue.db").display());
        Self::connect(url, Backend::Sqlite(folder)).await
    }

    /// Starts another empty server with the same backend.
    pub(crate) async fn fresh(&self) -> Self {
        match self.backend {
            Backend::Redis(_) => Self::redis().await,
            Backend::Sqlite(_) => Self::sqlite().await,
        }
    }

    async fn connect(url: String, backend: Backend) -> Self {
        Self {
            server: QueueBackend::connect(&url).await.unwrap(),
            url,
            backend,
        }
    }

    pub(crate) fn is_redis(&self) -> bool {
        matches!(self.backend, Backend::Redis(_))
    }

    pub(crate) fn queue(&self) -> &dyn Queue {
        &*self.server.queue
    }

    pub(crate) fn registry(&self) -> &dyn Registry {
        &*self.server.registry
    }

    /// Returns another connection to the same server, as another process would have.
    pub(crate) async fn another(&self) -> QueueBackend {
        QueueBackend::connect(&self.url).await.unwrap()
    }

    /// Submits requests with these ids.
    pub(crate) async fn submit(&self, ids: &[&str]) {
        let requests: Vec<_> = ids.iter().map(|id| request(id)).collect();
        self.queue().submit(Q, &requests).await.unwrap();
    }

    /// Claims a request. Panics if no request can be claimed.
    pub(crate) async fn claim(&self) -> Claim {
        self.queue()
            .claim(Q, &how())
            .await
            .unwrap()
            .expect("something to claim")
    }

    /// Claims a request with a lease that expires at once.
    pub(crate) async fn claim_briefly(&self) -> Claim {
        let claim = self.claim().await;
        self.queue()
            .renew(&claim.ticket, Duration::ZERO, Progress::default())
            .await
            .unwrap();
        claim
    }

    pub(crate) async fn finds_nothing(&self) {
        let claim = self.queue().claim(Q, &how()).await.unwrap();
        assert_eq!(claim, None);
    }

    /// Waits for new work while `event` runs. The event must end the wait.
    pub(crate) async fn is_woken_by<T>(&self, event: impl Future<Output = T>) -> T {
        let waiting = tokio::time::timeout(PATIENCE, self.queue().wait(Q, 10 * PATIENCE));
        let (waited, happened) = tokio::join!(waiting, event);
        waited.expect("the wait ends").unwrap();
        happened
    }

    pub(crate) async fn status(&self, id: &str) -> Status {
        self.queue().status(Q, id).await.unwrap().expect("a request")
    }

    pub(crate) async fn state(&self, id: &str) -> State {
        self.status(id).await.state
    }

    /// Waits until `count` requests are dead.
    pub(crate) async fn wait_for_dead(&self, count: u64) {
        eventually("requests to be dead", || async {
            (self.queue().counts(Q).await.unwrap().dead == count).then_some(())
        })
        .await;
    }

    pub(crate) async fn audit_is_clean(&self) {
        assert_eq!(self.queue().audit(Q).await.unwrap(), Vec::<String>::new());
    }

    /// Pushes a document to the intake list, like an external producer.
    pub(crate) fn push(&self, document: impl AsRef<[u8]>) {
        let document = document.as_ref();
        match &self.backend {
            Backend::Redis(redis) => run(
                redis,
                redis::cmd("RPUSH")
                    .arg(format!("ingest:{{{Q}}}:in"))
                    .arg(document),
            ),
            Backend::Sqlite(_) => self.database(|db| {
                let insert = "INSERT INTO intake (queue, document) VALUES (?1, ?2)";
                db.execute(insert, rusqlite::params![Q, document]).unwrap();
            }),
        }
    }

    /// Pushes many documents to the intake list.
    pub(crate) fn push_all(&self, documents: impl IntoIterator<Item = String>) {
        match &self.backend {
            Backend::Redis(redis) => {
                let documents: Vec<String> = documents.into_iter().collect();
                run(
                    redis,
                    redis::cmd("RPUSH")
                        .arg(format!("ingest:{{{Q}}}:in"))
                        .arg(documents),
                );
            }
            Backend::Sqlite(_) => self.database(|db| {
                let all = db.unchecked_transaction().unwrap();
                for document in documents {
                    all.execute(
                        "INSERT INTO intake (queue, document) VALUES (?1, ?2)",
                        [Q, &document],
                    )
                    .unwrap();
                }
                all.commit().unwrap();
            }),
        }
    }

    /// Replaces the stored input options of a request. Another version of the host could have written them.
    pub(crate) fn store_input(&self, id: &str, input: &str) {
        match &self.backend {
            Backend::Redis(_) => self.redis_command(&format!("HSET request:{id} input {input}")),
            Backend::Sqlite(_) => self.database(|db| {
                let update = "UPDATE request SET input = ?2 WHERE id = ?1";
                db.execute(update, [id, input]).unwrap();
            }),
        }
    }

    /// Replaces a stored binding of the queue. Another version of the host could have written it.
    pub(crate) fn store_binding(&self, number: u64, document: &str) {
        match &self.backend {
            Backend::Redis(_) => self.redis_command(&format!("HSET bindings {number} {document}")),
            Backend::Sqlite(_) => self.database(|db| {
                let update = "UPDATE binding SET document = ?2 WHERE number = ?1";
                let stored = db.execute(update, rusqlite::params![number, document]);
                assert_eq!(stored.unwrap(), 1);
            }),
        }
    }

    /// Removes a ready request. No command of the program can do this.
    pub(crate) fn forget(&self, id: &str) {
        match &self.backend {
            Backend::Redis(_) => {
                self.redis_command(&format!("ZREM ready {id}"));
                self.redis_command(&format!("DEL request:{id}"));
            }
            Backend::Sqlite(_) => self.database(|db| {
                let delete = "DELETE FROM request WHERE id = ?1 AND state = 'ready'";
                assert_eq!(db.execute(delete, [id]).unwrap(), 1);
            }),
        }
    }

    /// Sets the time at which a request ended.
    pub(crate) fn end_at(&self, id: &str, at_ms: u64) {
        match &self.backend {
            Backend::Redis(_) => {
                for state in ["done", "dead", "cancelled"] {
                    self.redis_command(&format!("ZADD {state} XX {at_ms} {id}"));
                }
            }
            Backend::Sqlite(_) => self.database(|db| {
                let update =
                    "UPDATE request SET at_ms = ?2 WHERE id = ?1 AND state IN ('done', 'dead', 'cancelled')";
                assert_eq!(db.execute(update, rusqlite::params![id, at_ms]).unwrap(), 1);
            }),
        }
    }

    /// Runs a Redis command on a key of the queue, for example `ZADD ready 1 x`.
    pub(crate) fn redis_command(&self, line: &str) {
        let Backend::Redis(redis) = &self.backend else {
            panic!("not on Redis")
        };
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command
            .arg(format!("ingest:{{{Q}}}:{}", words.next().unwrap()))
            .arg(words.collect::<Vec<_>>());
        run(redis, &command);
    }

    /// Returns a separate connection to the Redis server.
    pub(crate) fn redis_connection(&self) -> redis::Connection {
        let client = redis::Client::open(self.url.as_str()).unwrap();
        client.get_connection().unwrap()
    }

    /// Gives `work` direct access to the SQLite file.
    pub(crate) fn database(&self, work: impl FnOnce(&rusqlite::Connection)) {
        let path = self.url.strip_prefix("sqlite:").expect("on SQLite");
        let db = rusqlite::Connection::open(path).unwrap();
        db.busy_timeout(PATIENCE).unwrap();
        work(&db);
    }
}

fn run(server: &RedisServer, command: &redis::Cmd) {
    let mut connection = redis::Client::open(server.url())
        .unwrap()
        .get_connection()
        .unwrap();
    command.query::<redis::Value>(&mut connection).unwrap();
}

/// Returns a request whose content is derived from its id.
pub(crate) fn request(id: &str) -> NewRequest {
    let mut request = NewRequest::new(format!("https://example.com/{id}.csv"));
    request.id = id.into();
    request
}

/// Returns options for a claim with a new nonce and a lease of one minute.
pub(crate) fn how() -> ClaimOptions {
    ClaimOptions {
        worker: "worker-1".into(),
        nonce: uuid::Uuid::new_v4().to_string(),
        lease: Duration::from_secs(60),
        lost_max: 3,
        needs_binding: false,
        output: output("here"),
        move_output: false,
    }
}

/// Returns the id of an output with this name.
pub(crate) fn output(name: &str) -> OutputId {
    OutputId {
        id: name.into(),
        uri: format!("file:///{name}"),
    }
}

/// Calls `look` until it returns a value, and returns the value.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Checks that the result is the error of a lost lease.
#[track_caller]
pub(crate) fn assert_lost<T: std::fmt::Debug>(result: ingest_host::error::Result<T>) {
    assert_eq!(result.expect_err("the lease is lost").class(), Class::LeaseLost);
}
