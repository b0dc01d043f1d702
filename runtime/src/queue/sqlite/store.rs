//! The connection to a SQLite file: pieces of work go in and run on a blocking thread, each in one
//! transaction; values or classified errors come out.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::task::JoinError;

use crate::error::{Class, Error, Result, Stage};

/// How long a step waits for another process that writes.
const BUSY: Duration = Duration::from_secs(10);
const SCHEMA_VERSION: i64 = 1;
const STATEMENTS_CACHED: usize = 64;

/// A file that any number of processes may have open at once. This process has one connection to it: SQLite lets
/// one writer in at a time anyhow.
#[derive(Clone)]
pub(super) struct Store {
    name: String,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    connection: Connection,
    seen: Seen,
}

/// For each queue its `changes` when a claim last found nothing.
pub(super) type Seen = HashMap<String, i64>;

impl Store {
    /// Opens the file; makes it, its folder and its tables if they are not there.
    pub(super) async fn open(path: &str) -> Result<Self> {
        let name = format!("sqlite:{path}");
        if path.is_empty() {
            return Err(Error::permanent(
                Stage::Config,
                format!("{name}: a path must follow"),
            ));
        }
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking({
            let name = name.clone();
            move || open(Path::new(&path), &name)
        });
        let connection = joined(opened.await, &name)??;
        let inner = Inner {
            connection,
            seen: Seen::new(),
        };
        Ok(Self {
            name,
            inner: Arc::new(Mutex::new(inner)),
        })
    }

    /// Runs one atomic step that may write.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_seen(|transaction, _| work(transaction)).await
    }

    /// [`Store::write`], with the map of changes seen; it belongs to the same step.
    pub(super) async fn write_seen<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>, &mut Seen) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(TransactionBehavior::Immediate, work).await
    }

    /// Runs one step that reads, on a consistent view.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>, &mut Seen) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(TransactionBehavior::Deferred, work).await
    }

    async fn run<T: Send + 'static>(
        &self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>, &mut Seen) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || {
            // A panic within a step has rolled the step back.
            let inner = &mut *inner.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = inner.connection.transaction_with_behavior(behavior)?;
            let value = work(&transaction, &mut inner.seen)?;
            transaction.commit()?;
            Ok(value)
        });
        joined(done.await, &self.name)?.map_err(|e| failed(&self.name, e))
    }
}

/// The machine's clock, in milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn open(path: &Path, name: &str) -> Result<Connection> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| {
            Error::permanent(Stage::Queue, format!("{name}: cannot make the folder")).because(e)
        })?;
    }
    let mut connection = Connection::open(path).map_err(|e| failed(name, e))?;
    let version = prepare(&mut connection).map_err(|e| failed(name, e))?;
    if version > SCHEMA_VERSION {
        return Err(Error::permanent(
            Stage::Queue,
            format!(
                "{name}: has version {version}, this program knows up to {SCHEMA_VERSION}: use a newer one"
            ),
        ));
    }
    Ok(connection)
}

/// Sets the connection up and returns the version of the file's tables.
fn prepare(connection: &mut Connection) -> rusqlite::Result<i64> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    switch_to_wal(connection)?;
    // What a commit has acknowledged survives a loss of power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut version = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version == 0 {
        transaction.execute_batch(include_str!("schema.sql"))?;
        version = SCHEMA_VERSION;
    }
    transaction.commit()?;
    Ok(version)
}

/// Several processes may open a new file at once. The switch to WAL does not wait for the others' locks as other
/// statements do, so it waits here.
fn switch_to_wal(connection: &Connection) -> rusqlite::Result<()> {
    let deadline = Instant::now() + BUSY;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
}

fn failed(name: &str, error: rusqlite::Error) -> Error {
    let class = match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull,
        ) => Class::Transient,
        _ => Class::Permanent,
    };
    Error::new(Stage::Queue, class, format!("{name}: the file cannot be used")).because(error)
}

/// The result of a blocking step; its panic goes on in the caller.
fn joined<T>(result: Result<T, JoinError>, name: &str) -> Result<T> {
    match result.map_err(JoinError::try_into_panic) {
        Ok(value) => Ok(value),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(error)) => {
            Err(Error::transient(Stage::Queue, format!("{name}: this program is ending")).because(error))
        }
    }
}
