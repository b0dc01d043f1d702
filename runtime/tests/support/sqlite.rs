//! The queue's SQLite file as other versions of the program left it.

use std::path::Path;

/// Makes a queue's file one of schema version 1, with the requests that are in it.
pub(crate) fn take_back_to_version_1(file: &Path) {
    let db = rusqlite::Connection::open(file).expect("the queue's file");
    let taken_back = db.execute_batch(
        "DROP INDEX request_ending;
         ALTER TABLE request DROP COLUMN output_id;
         ALTER TABLE request DROP COLUMN output_uri;
         ALTER TABLE request DROP COLUMN stray;
         ALTER TABLE request DROP COLUMN ending;
         ALTER TABLE request DROP COLUMN concluding;
         ALTER TABLE request DROP COLUMN life_ms;
         ALTER TABLE request DROP COLUMN note;
         ALTER TABLE request DROP COLUMN report;
         ALTER TABLE request DROP COLUMN waited_ms;
         DROP TABLE reached;
         PRAGMA user_version = 1;",
    );
    taken_back.expect("the columns of later versions are there");
}
