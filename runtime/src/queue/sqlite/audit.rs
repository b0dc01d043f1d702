//! Audits a queue in SQLite: reads one consistent view of the file, and returns a sentence for each fault.

use rusqlite::Connection;

/// Finds faults in the rows of a queue and in the file. The tables' own constraints prevent most other faults.
pub(super) fn audit(db: &Connection, queue: &str) -> rusqlite::Result<Vec<String>> {
    let mut faults: Vec<String> = db
        .prepare(
            "SELECT 'request ' || id || ' is leased but has no holder' FROM request
                 WHERE queue = ?1 AND state = 'leased' AND (fence IS NULL OR nonce IS NULL OR worker IS NULL)
             UNION ALL SELECT 'request ' || id || ' is leased but its claim has ended' FROM request
                 WHERE queue = ?1 AND state = 'leased' AND ended IS NOT NULL
             UNION ALL SELECT 'request ' || id || ' has fence ' || fence || ', which was never given' FROM request
                 WHERE queue = ?1 AND fence > (SELECT fence FROM queue WHERE name = ?1)
             UNION ALL SELECT 'request ' || id || ' is done but has no receipt' FROM request
                 WHERE queue = ?1 AND state = 'done' AND receipt IS NULL
             UNION ALL SELECT 'request ' || id || ' is dead but has no reason' FROM request
                 WHERE queue = ?1 AND state = 'dead' AND error IS NULL
             UNION ALL SELECT 'request ' || id || ' is in no state, but in ' || state FROM request
                 WHERE queue = ?1 AND state NOT IN ('ready', 'delayed', 'leased', 'done', 'dead', 'cancelled')
             UNION ALL SELECT 'queue ' || name || ' has binding ' || binding || ' in force, which it does not have'
                 FROM queue WHERE name = ?1 AND binding IS NOT NULL AND NOT EXISTS (
                     SELECT 1 FROM binding WHERE binding.queue = name AND number = queue.binding)",
        )?
        .query_map([queue], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut check = db.prepare("PRAGMA quick_check")?;
    let broken = check
        .query_map([], |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    faults.extend(
        broken
            .into_iter()
            .filter(|line| line != "ok")
            .map(|line| format!("the file is damaged: {line}")),
    );
    Ok(faults)
}
