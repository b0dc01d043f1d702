//! Converts a queue's SQLite file to an older version of the schema.

use std::path::Path;

/// SQL statements for each step back. The first entry leads from version 2 to version 1, and so on.
const STEPS_BACK: [&str; 2] = [
    "DROP INDEX request_ending;
     ALTER TABLE request DROP COLUMN output_id;
     ALTER TABLE request DROP COLUMN output_uri;
     ALTER TABLE request DROP COLUMN stray;
     ALTER TABLE request DROP COLUMN ending;
     ALTER TABLE request DROP COLUMN concluding;
     ALTER TABLE request DROP COLUMN life_ms;
     ALTER TABLE request DROP COLUMN note;
     ALTER TABLE request DROP COLUMN report;",
    "ALTER TABLE request DROP COLUMN waited_ms;
     DROP TABLE reached;",
];

/// Converts a queue's file to an older version of the schema. The requests in it are kept.
pub(crate) fn take_back_to_version(file: &Path, version: usize) {
    let db = rusqlite::Connection::open(file).expect("the queue's file");
    assert_eq!(
        version_of(file),
        1 + STEPS_BACK.len(),
        "each upgrade has a step back"
    );
    for step in STEPS_BACK[version - 1..].iter().rev() {
        db.execute_batch(step)
            .expect("what later versions added is there");
    }
    db.pragma_update(None, "user_version", version)
        .expect("a version can be set");
}

/// Returns the schema version of a queue's file.
pub(crate) fn version_of(file: &Path) -> usize {
    let db = rusqlite::Connection::open(file).expect("the queue's file");
    let version = db.query_row("PRAGMA user_version", [], |row| row.get(0));
    version.expect("a version")
}
