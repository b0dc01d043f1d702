//! Keeps queues and plugins in a SQLite file, for one machine without a server. Requests change their state in
//! transactions. Each transaction is one atomic step on the file, and uses the machine's clock. `schema.sql` describes
//! the tables. Producers in other languages insert their documents into the table `intake`.

mod admin;
mod audit;
mod claims;
mod connection;
mod data_loss;
mod file;
mod intake;
mod producer;
mod queues;
mod registry;
mod settings;

use self::connection::Database;
pub(super) use self::connection::OpenMode;
use crate::error::Result;

/// A SQLite file.
pub(super) struct SqliteFile {
    database: Database,
}

impl SqliteFile {
    pub(super) async fn open(path: &str, mode: OpenMode) -> Result<Self> {
        Ok(Self {
            database: Database::open(path, mode).await?,
        })
    }
}

/// The assignments that clear the columns that matter only until a request has ended.
const FORGET_MARKS: &str =
    "cancel = 0, ending = NULL, concluding = 0, stray = 0, output_id = NULL, output_uri = NULL";

/// Returns a limit in SQLite's signed type, in which a negative value would mean no limit.
fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
