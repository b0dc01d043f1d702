//! The files of a SQLite database that a connection has open: a path goes in, whether others see the same files comes out.
//!
//! While a connection is open, no other one removes or replaces them. Whoever does so by hand parts this connection from all
//! that come later: what it writes nobody else sees.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The database, its log and the log's index.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// What is written to and must not become shorter by itself.
const GROWING: usize = 2;

/// What is behind a path: device, inode and length.
type Behind = Option<(u64, u64, u64)>;

pub(super) struct Files {
    paths: [PathBuf; 3],
    /// None of what is in no folder.
    opened: [Behind; 3],
}

/// What became of files.
pub(super) struct Change {
    pub(super) what: &'static str,
    /// A file became shorter, which it also does when somebody tidies it up.
    pub(super) may_be_whole: bool,
}

impl Files {
    /// Those of a database that was just opened.
    pub(super) fn of(path: &Path) -> Self {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let paths = SUFFIXES.map(|suffix| {
            let mut name = OsString::from(&path);
            name.push(suffix);
            PathBuf::from(name)
        });
        let opened = paths.each_ref().map(|path| behind(path));
        Self { paths, opened }
    }

    /// What became of them since they were opened; nothing if they are what they were.
    pub(super) fn changed(&mut self) -> Option<Change> {
        const REPLACED: [&str; 3] = [
            "the database is another file",
            "its -wal is another file",
            "its -shm is another file",
        ];
        const SHORTER: [&str; 2] = ["the database became shorter", "its -wal became shorter"];
        for (number, path) in self.paths.iter().enumerate() {
            let Some((device, inode, length)) = self.opened[number] else {
                continue;
            };
            match behind(path) {
                Some((d, i, now)) if (d, i) == (device, inode) => {
                    if number < GROWING && now < length {
                        let may_be_whole = number > 0 || now > 0;
                        return Some(Change {
                            what: SHORTER[number],
                            may_be_whole,
                        });
                    }
                    self.opened[number] = Some((d, i, now));
                }
                _ => {
                    return Some(Change {
                        what: REPLACED[number],
                        may_be_whole: false,
                    });
                }
            }
        }
        None
    }

    /// Takes their lengths for right.
    pub(super) fn accept(&mut self) {
        for (opened, path) in self.opened.iter_mut().zip(&self.paths) {
            if let (Some(opened), Some(now)) = (opened, behind(path)) {
                opened.2 = now.2;
            }
        }
    }

    /// Whether this process has files of these names open that were removed.
    pub(super) fn are_held_deleted(&self) -> bool {
        let deleted = self.paths[1..].iter().map(|path| {
            let mut name = OsString::from(path);
            name.push(" (deleted)");
            PathBuf::from(name)
        });
        let deleted: Vec<PathBuf> = deleted.collect();
        let descriptors = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let targets = descriptors.filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok());
        targets.into_iter().any(|target| deleted.contains(&target))
    }
}

fn behind(path: &Path) -> Behind {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.len()))
}
