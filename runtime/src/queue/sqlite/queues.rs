//! Registers the names of queues in SQLite, and counts the changes for which idle workers wait.

use rusqlite::{Connection, params};

use super::connection::now_ms;

/// Adds the queue's name to the table of queues, if it is not there yet.
pub(super) fn register(db: &Connection, queue: &str) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO queue (name) VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute([queue])?;
    Ok(())
}

/// Tells waiting workers to look again, in this process and in others.
pub(super) fn wake(db: &Connection, queue: &str) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE queue SET changes = changes + 1 WHERE name = ?1")?
        .execute([queue])?;
    Ok(())
}

/// Returns the queue's count of changes, and whether the next claim would make requests ready or import documents.
pub(super) fn changes_and_due(db: &Connection, queue: &str) -> rusqlite::Result<(i64, bool)> {
    db.prepare_cached(
        "SELECT coalesce((SELECT changes FROM queue WHERE name = ?1), 0),
             EXISTS (SELECT 1 FROM intake WHERE queue = ?1)
             OR EXISTS (SELECT 1 FROM request WHERE queue = ?1 AND state = 'delayed' AND at_ms <= ?2)
             OR EXISTS (SELECT 1 FROM request WHERE queue = ?1 AND state = 'leased' AND at_ms <= ?2)",
    )?
    .query_row(params![queue, now_ms()], |row| Ok((row.get(0)?, row.get(1)?)))
}
