//! Opens a SQLite file. Takes a path, and returns a connection to tables of the latest version, or a classified error.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use rustix::fs::Access;
use url::Url;

use crate::error::{Class, Code, Error, Result, Stage};

/// The longest wait for another process that is writing.
const BUSY_WAIT: Duration = Duration::from_secs(10);
/// The pause between two attempts to change the journal mode of a file that another process is using.
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// The scripts that upgrade the tables from each version to the next, from version 1 on. `schema.sql` has the latest
/// tables.
const UPGRADES: [&str; 2] = [include_str!("schema_2.sql"), include_str!("schema_3.sql")];
const SCHEMA_VERSION: i64 = 1 + UPGRADES.len() as i64;
/// The tables, the indexes and the version of the latest schema.
const SCHEMA: &str = include_str!("schema.sql");
/// The index of the column `group_name`, which was added without a new version.
const GROUP_INDEX: &str = "CREATE INDEX IF NOT EXISTS request_group ON request (queue, group_name, sequence)
    WHERE group_name IS NOT NULL";
/// The table of reference data, which was added without a new version. A program that does not know it refuses the
/// bindings that need it.
const DATA_TABLE: &str =
    "CREATE TABLE IF NOT EXISTS data (sha256 TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT";
const STATEMENTS_CACHED: usize = 64;
/// The value that stands for the version of a file that another program made.
const FOREIGN: i64 = -1;

/// Opens the file. Creates the file, its folder and its tables if they are missing, and upgrades tables of an older
/// version.
pub(super) fn open(path: &Path, name: &str) -> Result<Connection> {
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
    // Only the owner may read the file, because the URIs of requests may contain credentials. SQLite gives the -wal and
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

/// Opens the file without changing it. If the file has an older version, reads see the tables as an upgrade would make
/// them.
pub(super) fn open_to_read(path: &Path, name: &str) -> Result<Connection> {
    let flags = OpenFlags::default() & !OpenFlags::SQLITE_OPEN_CREATE;
    let connection = match unused_uri(path) {
        Some(uri) => Connection::open_with_flags(uri.as_str(), flags),
        None => Connection::open_with_flags(path, flags),
    };
    let connection = connection.map_err(|e| failed(name, e))?;
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

/// If the -wal and -shm files of a file are missing and this user may not write to the file, returns a URI that opens
/// the file without them. Otherwise returns `None`. If SQLite opened such a file by its path, it would create both
/// files for this user, and the file's owner could not write to them.
fn unused_uri(path: &Path) -> Option<Url> {
    let is_in_use = || {
        ["-wal", "-shm"].iter().any(|suffix| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            Path::new(&name).exists()
        })
    };
    if rustix::fs::access(path, Access::WRITE_OK).is_ok() || is_in_use() {
        return None;
    }
    let mut uri = Url::from_file_path(path.canonicalize().ok()?).ok()?;
    uri.set_query(Some("immutable=1"));
    Some(uri)
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

/// Sets the connection up. Returns the version of the file's tables, or 0 if it has no tables.
fn set_up(connection: &Connection) -> rusqlite::Result<i64> {
    connection.busy_timeout(BUSY_WAIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    // The program that made the file is not trusted, so code in its schema may not run.
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    // An acknowledged commit must survive a loss of power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // One statement reads the version and whether there are tables, because another process may be creating the tables.
    let version = "SELECT CASE WHEN user_version = 0 AND EXISTS (SELECT 1 FROM sqlite_schema) THEN ?1 ELSE user_version END
        FROM pragma_user_version";
    connection.query_row(version, [FOREIGN], |row| row.get(0))
}

/// The versions of a file's tables before and after the file was prepared.
struct Versions {
    was: i64,
    is: i64,
}

/// Sets the connection up, and creates or upgrades the file's tables.
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
    // These columns were added without a new version, so that programs that do not know them can still use the file.
    for (table, column, type_name) in [
        ("request", "coded", "TEXT"),
        ("invalid", "code", "TEXT"),
        ("request", "group_name", "TEXT"),
        ("request", "checkpoint", "INTEGER NOT NULL DEFAULT 0"),
    ] {
        let has_it = || columns(&transaction, table).map(|all| all.iter().any(|(name, _)| name == column));
        if is == SCHEMA_VERSION && !has_it()? {
            transaction.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} {type_name}"))?;
        }
    }
    if is == SCHEMA_VERSION {
        transaction.execute_batch(GROUP_INDEX)?;
        transaction.execute_batch(DATA_TABLE)?;
    }
    transaction.commit()?;
    Ok(Versions { was, is })
}

/// For each table without the latest columns, creates a view that hides the table on this connection. In the view, a
/// missing column has the value that an upgrade would give it.
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

/// Returns the columns of a table with their defaults. The list is empty if the table does not exist.
fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<(String, Option<String>)>> {
    connection
        .prepare("SELECT name, dflt_value FROM pragma_table_info(?1)")?
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Switches the file to WAL. Unlike other statements, the switch does not wait for the locks of other processes. So
/// this function waits, because several processes may open a new file at once.
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

/// Returns an error of SQLite as a classified error.
pub(super) fn failed(name: &str, error: impl Into<Arc<rusqlite::Error>>) -> Error {
    let error = error.into();
    if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) {
        let what = format!("{name}: is not a SQLite file: name another one");
        return Error::permanent(Stage::Queue, Code::QueueFile, what);
    }
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
