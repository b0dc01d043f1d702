//! Checks whether requests are safe in the file: takes the connection, and returns a sentence for each danger.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use rusqlite::Connection;
use rustix::fs::{FsWord, StatFs, statfs};

/// The value of `PRAGMA synchronous` with which a connection syncs each commit.
const FULL: i64 = 2;

/// The network file systems, to which other machines can write, with their numbers in statfs(2).
const NETWORK: [(FsWord, &str); 8] = [
    (0x6969, "NFS"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB"),
    (0x517B, "SMB"),
    (0x0102_1997, "9p"),
    (0x00C3_6400, "Ceph"),
    (0x4750_4653, "GPFS"),
    (0x0BD0_0BD0, "Lustre"),
];

/// The file systems that are in memory, with their numbers in statfs(2).
const MEMORY: [(FsWord, &str); 2] = [(0x0102_1994, "tmpfs"), (0x8584_58F6, "ramfs")];

pub(super) fn settings(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut dangers = Vec::new();
    let journal: String = db.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
    if journal != "wal" {
        dangers.push(format!(
            "its journal mode is {journal}, not wal, so that workers and producers lock each other out: put it where SQLite can \
             use WAL"
        ));
    }
    let synchronous: i64 = db.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
    if synchronous < FULL {
        dangers.push(format!(
            "its commits are not synced (`synchronous` is {synchronous}, not {FULL}), so that a crash of the machine may lose the \
             last ones"
        ));
    }
    dangers.extend(db.path().and_then(|path| statfs(path).ok()).and_then(place));
    dangers.extend(
        db.path()
            .and_then(|path| std::fs::metadata(path).ok())
            .and_then(|found| others(&found)),
    );
    Ok(dangers)
}

/// Returns the danger if the file belongs to a user other than this one or root, or if everybody can read or write it.
/// Access for a group is no danger, because a group may share the file on purpose.
fn others(found: &Metadata) -> Option<String> {
    const TO_DO: &str = "`chmod o=` it, its -wal and its -shm";
    if found.uid() != rustix::process::geteuid().as_raw() && found.uid() != 0 {
        return Some("it belongs to another user, who can change what it holds: make it yours".into());
    }
    match found.mode() & 0o007 {
        0 => None,
        mode if mode & 0o002 != 0 => Some(format!("everybody can write to it: {TO_DO}")),
        _ => Some(format!("everybody can read it, and signed URLs in it: {TO_DO}")),
    }
}

/// Returns the danger if the file is on a network file system or in memory.
fn place(found: StatFs) -> Option<String> {
    let name = |systems: &[(FsWord, &'static str)]| {
        let known = systems.iter().find(|(number, _)| *number == found.f_type);
        known.map(|(_, name)| *name)
    };
    if let Some(name) = name(&NETWORK) {
        return Some(format!(
            "it is on a network file system ({name}), where workers of several machines would damage it: put it on a local disk, \
             or use Redis"
        ));
    }
    name(&MEMORY).map(|name| {
        format!("it is in memory ({name}), so that a restart of the machine loses it: put it on a disk")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_may_lose_commits_is_found() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let db = Connection::open(folder.path().join("queue.db")).unwrap();
        db.pragma_update(None, "synchronous", "NORMAL").unwrap();
        let found = settings(&db).unwrap();
        assert!(found.len() >= 2, "{found:?}");
        assert!(found[0].contains("journal mode is delete"), "{found:?}");
        assert!(found[1].contains("`synchronous` is 1"), "{found:?}");
    }
}
