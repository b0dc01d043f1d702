//! Connects to a SQLite file. Calls run on a blocking thread, one after the other and each atomically. They return
//! values or classified errors. Calls that arrive together share one transaction, and so one sync of the file.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;
use tokio::task::JoinError;

use super::data_loss::OpenFiles;
use super::file::{failed, open, open_to_read};
use crate::error::{Class, Code, Error, Result, Stage};

/// The maximum number of calls that share a transaction, so that the first call does not wait long for the last one.
const CALLS_MAX: usize = 64;

/// The purpose for which a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::queue) enum OpenMode {
    /// The file is created if it is missing, and its tables are upgraded to the latest version.
    Write,
    /// The file is not changed, because workers of the file's version may be using it. No call can write.
    Read,
}

/// A file that any number of processes can have open at once. Each `Database` has one connection to it, because SQLite
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
    /// The connection and its open files, or `None` after the files were lost.
    open: Option<OpenDatabase>,
}

/// A connection, with the files that it has open.
struct OpenDatabase {
    connection: Connection,
    files: OpenFiles,
}

/// The message for all calls on a connection whose files were lost.
const LOST: &str = "its files were changed under this program: nothing was done; the latest acknowledged changes may be \
                    lost: look at the queue, submit again what is missing, and try again";

/// All databases of this process. The connections of a process share SQLite's state of a file. So all of them must
/// close lost files before one of them can open the file again.
static DATABASES: Mutex<Vec<Weak<SharedDatabase>>> = Mutex::new(Vec::new());

#[derive(Default)]
struct CallQueue {
    calls: VecDeque<Box<dyn QueuedCall>>,
    /// Set while a thread is running that takes the calls.
    is_served: bool,
}

/// A call, with the channel for its answer. The answer is sent when the outcome of the transaction is known.
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
    /// The files that the connection has open are no longer the files at the database's path.
    Lost,
    /// The files were lost, and cannot be opened again.
    Closed(Class, String),
    Sqlite(Arc<rusqlite::Error>),
    Panic(Arc<Mutex<Option<Box<dyn Any + Send>>>>),
    /// The call was dropped without an answer, because this program is ending.
    Dropped,
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
        // If the caller was cancelled, nobody needs the answer.
        let _ = self.reply.send(answer);
    }
}

impl From<rusqlite::Error> for CallError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

/// The value that each queue's `changes` had when a claim last found nothing.
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

    /// Does what [`Database::write`] does, and gives the call the map of the changes seen.
    pub(super) async fn write_seen<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &mut ChangesSeen) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(true, work).await
    }

    /// Runs one call that reads a consistent view of the file.
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
        match answer.await.unwrap_or(Err(CallError::Dropped)) {
            Ok(value) => Ok(value),
            Err(CallError::Sqlite(error)) => Err(failed(&self.name, error)),
            Err(CallError::Closed(class, why)) => {
                let what = format!(
                    "{}: its files were changed under this program, and cannot be opened",
                    self.name
                );
                Err(Error::new(Stage::Queue, class, Code::QueueFile, what).because(why))
            }
            Err(CallError::Lost) => Err(Error::transient(
                Stage::Queue,
                Code::QueueFile,
                format!("{}: {LOST}", self.name),
            )),
            Err(CallError::Panic(panic)) => match panic.lock().take() {
                Some(panic) => resume_unwind(panic),
                None => Err(ending(&self.name)),
            },
            Err(CallError::Dropped) => Err(ending(&self.name)),
        }
    }
}

impl SharedDatabase {
    /// Runs calls until no call is waiting.
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

/// Takes the calls of the next transaction: either several calls that write, or one call that only reads. A call that
/// only reads runs alone, because a transaction that also writes makes other processes wait.
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

    /// Runs calls in one transaction. If a call fails, only this call is rolled back. All calls fail if the transaction
    /// fails, or if somebody has replaced the files, so that other programs open different files.
    fn run(&mut self, mut calls: Vec<Box<dyn QueuedCall>>) {
        let transaction = self.check().and_then(|()| {
            let done = self.run_within(&mut calls);
            self.check().and(done)
        });
        for call in calls {
            call.answer(&transaction);
        }
    }

    /// Checks that the open files are the files that other programs see. If they are not, closes the connection, and
    /// the next call opens the present files. Without this check, a worker would go on forever with files that nobody
    /// else sees, and would acknowledge lost writes.
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
            // A database that is busy finds the change by itself.
            if let Some(mut other) = database.inner.try_lock()
                && other.path == self.path
            {
                other.close();
            }
        }
        Err(CallError::Lost)
    }

    /// Closes the connection without writing, because its pending writes belong to lost files.
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
                // Some faults, such as a full disk, end the whole transaction. Then the savepoint cannot be rolled
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

    /// Returns whether SQLite finds the file undamaged.
    fn is_whole(&self) -> bool {
        let check = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        check.is_ok_and(|said| said == "ok")
    }
}

/// Returns the machine's time in milliseconds since 1970. A time before 1970 is negative.
pub(super) fn now_ms() -> i64 {
    let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    }
}

/// Returns the result of a blocking call. If the call has panicked, the panic continues in the caller.
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
        // While the first call runs, the other calls wait in this order. Then the test lets the first call continue.
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
        // SQLite does this by itself when the disk is full.
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
