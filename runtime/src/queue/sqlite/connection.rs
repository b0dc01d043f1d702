//! Connects to a SQLite file: calls go in and run on a blocking thread, one after the other and each atomically; values
//! or classified errors come out. Calls that arrive together share one transaction, and so one sync of the file.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use tokio::sync::oneshot;
use tokio::task::JoinError;

use super::data_loss::OpenFiles;
use crate::error::{Class, Code, Error, Result, Stage};

/// The longest wait for another process that writes.
const BUSY_WAIT: Duration = Duration::from_secs(10);
/// The pause between two tries to change the journal mode of a file that another process uses.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// The scripts that upgrade the tables of each version to the next, from version 1 on; `schema.sql` has the latest
/// tables.
const UPGRADES: [&str; 2] = [include_str!("schema_2.sql"), include_str!("schema_3.sql")];
const SCHEMA_VERSION: i64 = 1 + UPGRADES.len() as i64;
/// Tables, indexes and version of the latest schema.
const SCHEMA: &str = include_str!("schema.sql");
const STATEMENTS_CACHED: usize = 64;
/// The most calls that share a transaction, so that the first does not wait long for the last.
const CALLS_MAX: usize = 64;

/// The purpose for which a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::queue) enum OpenMode {
    /// The file is created if it is missing, and upgraded to the latest version.
    Write,
    /// The file stays as it is, since workers of its version may use it; no call can write.
    Read,
}

/// A file that any number of processes may have open at once. This process has one connection to it, because SQLite
/// allows only one writer at a time anyway.
pub(super) struct Database {
    name: String,
    shared: Arc<SharedDatabase>,
}

struct SharedDatabase {
    /// The connection and its state. A call that panics is rolled back, so the state is valid after a panic.
    inner: Mutex<DatabaseState>,
    waiting: Mutex<CallQueue>,
}

struct DatabaseState {
    path: PathBuf,
    name: String,
    mode: OpenMode,
    seen: ChangesSeen,
    /// The open files; none after they were lost.
    open: Option<OpenDatabase>,
}

/// A connection, and the files that it has open.
struct OpenDatabase {
    connection: Connection,
    files: OpenFiles,
}

/// The error of all calls on a connection whose files were lost.
const LOST: &str = "its files were changed under this program: nothing was done; the latest acknowledged changes may be \
                    lost: look at the queue, submit again what is missing, and try again";

/// All databases of this process. The connections of a process share SQLite's state of a file, so all of them must
/// close lost files before one can be opened again.
static DATABASES: Mutex<Vec<Weak<SharedDatabase>>> = Mutex::new(Vec::new());

#[derive(Default)]
struct CallQueue {
    calls: VecDeque<Box<dyn QueuedCall>>,
    /// Set while a thread is running that will take the calls.
    is_served: bool,
}

/// A piece of work and the receiver of its answer, which is sent once the end of the transaction is known.
trait QueuedCall: Send {
    fn writes(&self) -> bool;
    fn run(&mut self, db: &Connection, seen: &mut ChangesSeen) -> Result<(), CallError>;
    fn answer(self: Box<Self>, transaction: &Result<(), CallError>);
}

struct DatabaseCall<T, F> {
    writes: bool,
    work: Option<F>,
    value: Option<Result<T, CallError>>,
    reply: oneshot::Sender<Result<T, CallError>>,
}

#[derive(Clone)]
enum CallError {
    /// The files that the connection has open are not those that others see.
    Lost,
    /// The files cannot be opened again.
    Closed(Class, String),
    Sqlite(Arc<rusqlite::Error>),
    Panic(Arc<Mutex<Option<Box<dyn Any + Send>>>>),
}

impl<T, F> QueuedCall for DatabaseCall<T, F>
where
    T: Send,
    F: FnOnce(&Connection, &mut ChangesSeen) -> rusqlite::Result<T> + Send,
{
    fn writes(&self) -> bool {
        self.writes
    }

    fn run(&mut self, db: &Connection, seen: &mut ChangesSeen) -> Result<(), CallError> {
        let work = self.work.take().expect("a step runs once");
        let value = match catch_unwind(AssertUnwindSafe(|| work(db, seen))) {
            Ok(value) => value.map_err(CallError::from),
            Err(panic) => Err(CallError::Panic(Arc::new(Mutex::new(Some(panic))))),
        };
        let ran = value.as_ref().map(|_| ()).map_err(CallError::clone);
        self.value = Some(value);
        ran
    }

    fn answer(self: Box<Self>, transaction: &Result<(), CallError>) {
        let answer = match (self.value, transaction) {
            (Some(Err(own)), _) => Err(own),
            (_, Err(shared)) => Err(shared.clone()),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => unreachable!("a transaction is committed after its steps have run"),
        };
        // The caller may have been cancelled: then nobody needs the answer.
        let _ = self.reply.send(answer);
    }
}

impl From<rusqlite::Error> for CallError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

/// The value of each queue's `changes` when a claim last found nothing.
pub(super) type ChangesSeen = HashMap<String, i64>;

impl Database {
    /// Opens the file in the given mode.
    pub(super) async fn open(path: &str, mode: OpenMode) -> Result<Self> {
        let name = format!("sqlite:{path}");
        if path.is_empty() {
            return Err(Error::permanent(
                Stage::Config,
                Code::SettingsInvalid,
                format!("{name}: a path must follow"),
            ));
        }
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking({
            let name = name.clone();
            move || DatabaseState::open(path.into(), name, mode)
        });
        let inner = joined(opened.await, &name)??;
        let shared = Arc::new(SharedDatabase {
            inner: Mutex::new(inner),
            waiting: Mutex::default(),
        });
        let mut databases = DATABASES.lock();
        databases.retain(|database| database.strong_count() > 0);
        databases.push(Arc::downgrade(&shared));
        drop(databases);
        Ok(Self { name, shared })
    }

    /// Runs one atomic call that may write.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_seen(|db, _| work(db)).await
    }

    /// Does [`Database::write`] with the map of changes seen; it belongs to the same call.
    pub(super) async fn write_seen<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &mut ChangesSeen) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(true, work).await
    }

    /// Runs one call that reads a consistent view.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &mut ChangesSeen) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(false, work).await
    }

    async fn run<T: Send + 'static>(
        &self,
        writes: bool,
        work: impl FnOnce(&Connection, &mut ChangesSeen) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let call = Box::new(DatabaseCall {
            writes,
            work: Some(work),
            value: None,
            reply,
        });
        let must_serve = {
            let mut waiting = self.shared.waiting.lock();
            waiting.calls.push_back(call);
            !std::mem::replace(&mut waiting.is_served, true)
        };
        if must_serve {
            let shared = Arc::clone(&self.shared);
            tokio::task::spawn_blocking(move || shared.serve());
        }
        match answer.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(CallError::Sqlite(error))) => Err(failed(&self.name, error)),
            Ok(Err(CallError::Closed(class, why))) => {
                let what = format!(
                    "{}: its files were changed under this program, and cannot be opened",
                    self.name
                );
                Err(Error::new(Stage::Queue, class, Code::QueueFile, what).because(why))
            }
            Ok(Err(CallError::Lost)) => Err(Error::transient(
                Stage::Queue,
                Code::QueueFile,
                format!("{}: {LOST}", self.name),
            )),
            Ok(Err(CallError::Panic(panic))) => match panic.lock().take() {
                Some(panic) => resume_unwind(panic),
                None => Err(ending(&self.name)),
            },
            Err(_) => Err(ending(&self.name)),
        }
    }
}

impl SharedDatabase {
    /// Runs calls until none is waiting.
    fn serve(&self) {
        let inner = &mut *self.inner.lock();
        loop {
            let calls = {
                let mut waiting = self.waiting.lock();
                let calls = next_calls(&mut waiting.calls);
                waiting.is_served = !calls.is_empty();
                calls
            };
            if calls.is_empty() {
                return;
            }
            inner.run(calls);
        }
    }
}

/// Takes the calls of the next transaction: several that write, or one that only reads and must not hold up writers.
fn next_calls(waiting: &mut VecDeque<Box<dyn QueuedCall>>) -> Vec<Box<dyn QueuedCall>> {
    let writes = waiting
        .iter()
        .take(CALLS_MAX)
        .take_while(|call| call.writes())
        .count();
    let count = writes.max(1).min(waiting.len());
    waiting.drain(..count).collect()
}

impl DatabaseState {
    fn open(path: PathBuf, name: String, mode: OpenMode) -> Result<Self> {
        Ok(Self {
            open: Some(OpenDatabase::new(&path, &name, mode)?),
            seen: ChangesSeen::new(),
            path,
            name,
            mode,
        })
    }

    /// Runs calls in one transaction. A call that fails is rolled back alone. All calls fail if the transaction fails,
    /// or if somebody has replaced the files, so that other programs open different ones.
    fn run(&mut self, mut calls: Vec<Box<dyn QueuedCall>>) {
        let transaction = self.check().and_then(|()| {
            let done = self.run_within(&mut calls);
            self.check().and(done)
        });
        for call in calls {
            call.answer(&transaction);
        }
    }

    /// Checks that the connection has the same files open that others see. If not, closes it, and the next call opens
    /// it again: otherwise a worker would go on for ever with files that nobody else sees, and acknowledge lost writes.
    fn check(&mut self) -> Result<(), CallError> {
        let Some(open) = &mut self.open else {
            self.open = Some(
                OpenDatabase::new(&self.path, &self.name, self.mode)
                    .map_err(|error| CallError::Closed(error.class(), error.report()))?,
            );
            self.seen.clear();
            return Ok(());
        };
        let Some(what) = open.files.changed() else {
            return Ok(());
        };
        let anew = || OpenDatabase::new(&self.path, &self.name, self.mode);
        if what.may_be_whole && anew().is_ok_and(|fresh| fresh.is_whole()) {
            open.files.accept();
            return Ok(());
        }
        tracing::error!(
            file = self.name,
            what = what.what,
            "the queue's file was removed or replaced, and its requests may be lost to this worker; the present file is used \
             from now on: submit missing requests again, bind plugins again"
        );
        self.close();
        let databases = DATABASES.lock().clone();
        for database in databases.iter().filter_map(Weak::upgrade) {
            // A busy database finds the change by itself.
            if let Some(mut other) = database.inner.try_lock()
                && other.path == self.path
            {
                other.close();
            }
        }
        Err(CallError::Lost)
    }

    /// Closes the connection without writing: its pending writes belong to files that are lost.
    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.abandon();
        }
    }

    fn run_within(&mut self, calls: &mut [Box<dyn QueuedCall>]) -> Result<(), CallError> {
        let behavior = if calls.iter().any(|call| call.writes()) {
            TransactionBehavior::Immediate
        } else {
            TransactionBehavior::Deferred
        };
        let open = self.open.as_mut().ok_or(CallError::Lost)?;
        let mut transaction = open.connection.transaction_with_behavior(behavior)?;
        for call in calls {
            let savepoint = transaction.savepoint()?;
            match call.run(&savepoint, &mut self.seen) {
                Ok(()) => savepoint.commit()?,
                // Some faults, such as a full disk, end the whole transaction, so that the savepoint cannot be rolled
                // back.
                Err(fault) => savepoint.finish().map_err(|_| fault)?,
            }
        }
        Ok(transaction.commit()?)
    }
}

impl OpenDatabase {
    fn new(path: &Path, name: &str, mode: OpenMode) -> Result<Self> {
        let connection = match mode {
            OpenMode::Write => open(path, name)?,
            OpenMode::Read => open_to_read(path, name)?,
        };
        let open = Self {
            files: OpenFiles::of(path),
            connection,
        };
        if open.files.are_held_deleted() {
            open.abandon();
            let why =
                format!("{name}: another connection of this program still has removed files open: try again");
            return Err(Error::transient(Stage::Queue, Code::QueueFile, why));
        }
        Ok(open)
    }

    fn abandon(self) {
        let config = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        // This call does not fail on an open connection.
        let _ = self.connection.set_db_config(config, true);
    }

    /// Returns whether the file is undamaged.
    fn is_whole(&self) -> bool {
        let check = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        check.is_ok_and(|said| said == "ok")
    }
}

/// Returns the machine's time in milliseconds since 1970; negative before that.
pub(super) fn now_ms() -> i64 {
    let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

/// The version that marks a file that another program made.
const FOREIGN: i64 = -1;

/// Opens the file. Creates the file, its folder and its tables if they are missing, and upgrades tables of an older
/// version.
fn open(path: &Path, name: &str) -> Result<Connection> {
    let failed_to = |what: &str| {
        Error::permanent(
            Stage::Queue,
            Code::QueueFile,
            format!("{name}: cannot make the {what}"),
        )
    };
    if let Some(folder) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|e| failed_to("folder").because(e))?;
    }
    // Only the owner may read the file, because requests may have credentials in their URIs. SQLite gives its -wal and
    // -shm files the same mode.
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o600);
    match options.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(failed_to("file").because(error));
        }
        _ => {}
    }
    let mut connection = Connection::open(path).map_err(|e| failed(name, e))?;
    let Versions { was, is } = prepare(&mut connection).map_err(|e| failed(name, e))?;
    check_version(is, name)?;
    if (1..is).contains(&was) {
        tracing::warn!(
            file = name,
            was,
            is,
            "the queue's file was upgraded: programs of the older version cannot open it any more, so stop its workers and start \
             them anew with this one"
        );
    }
    Ok(connection)
}

/// Opens the file without changing it. Reads of an older version see the tables as they would be after an upgrade.
fn open_to_read(path: &Path, name: &str) -> Result<Connection> {
    let flags = OpenFlags::default() & !OpenFlags::SQLITE_OPEN_CREATE;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| failed(name, e))?;
    let version = set_up(&connection).map_err(|e| failed(name, e))?;
    check_version(version, name)?;
    if version == 0 {
        let why = "has no queue yet; `submit`, `run` and `plugin push` make one";
        return Err(Error::permanent(
            Stage::Queue,
            Code::QueueUnknown,
            format!("{name}: {why}"),
        ));
    }
    let limited = || {
        show_as_latest(&connection)?;
        connection.pragma_update(None, "query_only", "ON")
    };
    limited().map_err(|e| failed(name, e))?;
    Ok(connection)
}

fn check_version(version: i64, name: &str) -> Result<()> {
    let (code, why) = match version {
        FOREIGN => (
            Code::QueueUnsupported,
            "is a file of another program: name another one".to_owned(),
        ),
        ..=SCHEMA_VERSION => return Ok(()),
        _ => (
            Code::HostOutdated,
            format!("has version {version}, this program knows up to {SCHEMA_VERSION}: use a newer one"),
        ),
    };
    Err(Error::permanent(Stage::Queue, code, format!("{name}: {why}")))
}

/// Sets the connection up and returns the version of the file's tables; 0 if it has none.
fn set_up(connection: &Connection) -> rusqlite::Result<i64> {
    connection.busy_timeout(BUSY_WAIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    // The file's maker is not trusted, so what its schema defines may not run.
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    // An acknowledged commit must survive a loss of power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // One statement reads both, because another process may be making the tables.
    let version = "SELECT CASE WHEN user_version = 0 AND EXISTS (SELECT 1 FROM sqlite_schema) THEN ?1 ELSE user_version END
        FROM pragma_user_version";
    connection.query_row(version, [FOREIGN], |row| row.get(0))
}

/// The versions of a file's tables, before and after it was prepared.
struct Versions {
    was: i64,
    is: i64,
}

/// Sets the connection up, and makes or upgrades the file's tables.
fn prepare(connection: &mut Connection) -> rusqlite::Result<Versions> {
    let found = set_up(connection)?;
    if found == FOREIGN {
        return Ok(Versions {
            was: found,
            is: found,
        });
    }
    switch_to_wal(connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let was = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let mut is = was;
    if is == 0 {
        transaction.execute_batch(SCHEMA)?;
        is = SCHEMA_VERSION;
    }
    for upgrade in UPGRADES.iter().skip(usize::try_from(is - 1).unwrap_or(0)) {
        transaction.execute_batch(upgrade)?;
        is += 1;
        transaction.pragma_update(None, "user_version", is)?;
    }
    // It came without a new version, so that programs without it go on with the file.
    let has_codes =
        || columns(&transaction, "request").map(|all| all.iter().any(|(name, _)| name == "coded"));
    if is == SCHEMA_VERSION && !has_codes()? {
        transaction.execute_batch("ALTER TABLE request ADD COLUMN coded TEXT")?;
    }
    transaction.commit()?;
    Ok(Versions { was, is })
}

/// Puts views with the latest columns before the tables that lack some of them, for this connection alone: a missing
/// column has the value that an upgrade would give it.
fn show_as_latest(connection: &Connection) -> rusqlite::Result<()> {
    let latest = Connection::open_in_memory()?;
    latest.execute_batch(SCHEMA)?;
    let tables = latest
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    for table in tables {
        let there = columns(connection, &table)?;
        let lacking: Vec<String> = columns(&latest, &table)?
            .into_iter()
            .filter(|(name, _)| !there.iter().any(|(there, _)| there == name))
            .map(|(name, default)| format!("{} AS {name}", default.as_deref().unwrap_or("NULL")))
            .collect();
        let lacking = lacking.join(", ");
        let select = match (lacking.is_empty(), there.is_empty()) {
            (true, _) => continue,
            (false, true) => format!("SELECT {lacking} WHERE FALSE"),
            (false, false) => format!("SELECT *, {lacking} FROM main.{table}"),
        };
        connection.execute_batch(&format!("CREATE TEMP VIEW {table} AS {select}"))?;
    }
    Ok(())
}

/// Returns the columns of a table with their defaults; none if it is not there.
fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    connection
        .prepare("SELECT name, dflt_value FROM pragma_table_info(?1)")?
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Switches the file to WAL. The switch does not wait for other processes' locks as other statements do, so this waits:
/// several processes may open a new file at once.
fn switch_to_wal(connection: &Connection) -> rusqlite::Result<()> {
    let deadline = Instant::now() + BUSY_WAIT;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(BUSY_PAUSE);
            }
            done => return done,
        }
    }
}

fn failed(name: &str, error: impl Into<Arc<rusqlite::Error>>) -> Error {
    let error = error.into();
    let class = match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull,
        ) => Class::Transient,
        _ => Class::Permanent,
    };
    let what = match error.sqlite_error().map(|error| error.extended_code) {
        Some(rusqlite::ffi::SQLITE_IOERR_SHORT_READ) => {
            "its -wal was removed or cut while other programs have it open: stop all that use it, and start them again"
        }
        _ => "the file cannot be used",
    };
    Error::new(Stage::Queue, class, Code::QueueFile, format!("{name}: {what}")).because(error)
}

/// Returns the result of a blocking call; its panic continues in the caller.
fn joined<T>(result: Result<T, JoinError>, name: &str) -> Result<T> {
    match result.map_err(JoinError::try_into_panic) {
        Ok(value) => Ok(value),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(error)) => Err(ending(name).because(error)),
    }
}

fn ending(name: &str) -> Error {
    Error::transient(
        Stage::Queue,
        Code::Stopped,
        format!("{name}: this program is ending"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const FULL: &str = "a step that fails";

    fn insert(db: &Connection, name: &str) -> rusqlite::Result<()> {
        db.execute("INSERT INTO queue (name) VALUES (?1)", [name])
            .map(|_| ())
    }

    async fn new_database() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue.db");
        let database = Database::open(path.to_str().unwrap(), OpenMode::Write);
        (folder, database.await.unwrap())
    }

    #[tokio::test]
    async fn of_steps_that_share_a_transaction_only_the_bad_ones_are_taken_back() {
        let (_folder, database) = new_database().await;

        let (begun, has_begun) = oneshot::channel();
        let (go_on, held) = mpsc::channel();
        let first = database.write(move |db| {
            begun.send(()).unwrap();
            held.recv().unwrap();
            insert(db, "first")
        });
        let failing = database.write(|db| {
            insert(db, "failing")?;
            Err::<(), _>(rusqlite::Error::InvalidParameterName(FULL.into()))
        });
        let panicking = AssertUnwindSafe(database.write(|db| -> rusqlite::Result<()> {
            insert(db, "panicking").unwrap();
            panic!("a step that panics")
        }));
        let last = database.write(|db| insert(db, "last"));
        let panicking = futures_util::FutureExt::catch_unwind(panicking);
        // While the first call runs, the others queue up in their order; the last one lets it continue.
        let gathering = async {
            has_begun.await.unwrap();
            tokio::join!(failing, panicking, last, async { go_on.send(()).unwrap() })
        };
        let (first, (failing, panicking, last, ())) = tokio::join!(first, gathering);
        first.unwrap();
        last.unwrap();
        assert!(panicking.is_err());
        let report = failing.expect_err("it fails").report();
        assert!(report.contains(FULL), "{report}");

        let names = database.read(|db, _| {
            db.prepare("SELECT name FROM queue ORDER BY name")?
                .query_map([], |row| row.get::<_, String>(0))?
                .collect::<rusqlite::Result<Vec<_>>>()
        });
        assert_eq!(names.await.unwrap(), ["first", "last"]);
    }

    #[tokio::test]
    async fn when_a_transaction_fails_all_its_steps_have_failed() {
        let (_folder, database) = new_database().await;
        let (begun, has_begun) = oneshot::channel();
        let (go_on, held) = mpsc::channel();
        let first = database.write(move |_| {
            begun.send(()).unwrap();
            held.recv().unwrap();
            Ok(())
        });
        let good = database.write(|db| insert(db, "good"));
        // SQLite does the same itself when the disk is full.
        let ending = database.write(|db| {
            db.execute_batch("ROLLBACK")?;
            Err::<(), _>(rusqlite::Error::InvalidParameterName(FULL.into()))
        });
        let after = database.write(|db| insert(db, "after"));
        let gathering = async {
            has_begun.await.unwrap();
            tokio::join!(good, ending, after, async { go_on.send(()).unwrap() })
        };
        let (first, (good, ending, after, ())) = tokio::join!(first, gathering);
        first.unwrap();
        for failed in [good, ending, after] {
            let report = failed.expect_err("the transaction is over").report();
            assert!(report.contains(FULL), "{report}");
        }
        let count = "SELECT count(*) FROM queue";
        let count = database.read(move |db, _| db.query_row(count, [], |row| row.get::<_, u64>(0)));
        assert_eq!(count.await.unwrap(), 0);
    }
}
