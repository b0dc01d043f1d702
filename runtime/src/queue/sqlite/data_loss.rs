//! Detects that the files of an open SQLite database were replaced. Takes the database's path, and returns whether the
//! open files are still the files at that path.
//!
//! While a connection is open, no other connection removes or replaces the files. If somebody does so by hand, later
//! connections open other files and do not see the writes of this connection.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The suffixes of the database, of its log and of the log's index.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// The number of files, from the first on, that SQLite does not shorten on its own while they are open.
const GROWING: usize = 2;

/// The device, inode and length of the file at a path, or `None` if there is no file.
type FileState = Option<(u64, u64, u64)>;

/// The files of an open database.
pub(super) struct OpenFiles {
    paths: [PathBuf; 3],
    /// The files at the time when the database was opened, with the lengths that were seen last.
    opened: [FileState; 3],
}

/// A change that somebody else has made to the files.
pub(super) struct FileChange {
    pub(super) what: &'static str,
    /// Set if the database may be intact, because compacting also makes a file shorter.
    pub(super) may_be_whole: bool,
}

impl OpenFiles {
    /// Returns the files of a database that has just been opened.
    pub(super) fn of(path: &Path) -> Self {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let paths = SUFFIXES.map(|suffix| {
            let mut name = OsString::from(&path);
            name.push(suffix);
            PathBuf::from(name)
        });
        let opened = paths.each_ref().map(|path| file_state(path));
        Self { paths, opened }
    }

    /// Returns the first change since the files were opened, or `None` if there is no change.
    pub(super) fn changed(&mut self) -> Option<FileChange> {
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
            match file_state(path) {
                Some((d, i, now)) if (d, i) == (device, inode) => {
                    if number < GROWING && now < length {
                        let may_be_whole = number > 0 || now > 0;
                        return Some(FileChange {
                            what: SHORTER[number],
                            may_be_whole,
                        });
                    }
                    self.opened[number] = Some((d, i, now));
                }
                _ => {
                    return Some(FileChange {
                        what: REPLACED[number],
                        may_be_whole: false,
                    });
                }
            }
        }
        None
    }

    /// Accepts the present lengths of the files.
    pub(super) fn accept(&mut self) {
        for (opened, path) in self.opened.iter_mut().zip(&self.paths) {
            if let (Some(opened), Some(now)) = (opened, file_state(path)) {
                opened.2 = now.2;
            }
        }
    }

    /// Returns whether this process still has a removed -wal or -shm file of this database open.
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

fn file_state(path: &Path) -> FileState {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.len()))
}
