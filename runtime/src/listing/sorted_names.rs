//! Lists the names in a folder: a folder of any size goes in, and its names come out in order. The memory is bounded:
//! a folder with more names than fit is read several times.

use std::collections::BinaryHeap;
use std::ffi::OsString;
use std::fs::DirEntry;
use std::io;
use std::path::PathBuf;

/// The maximum number of names of a folder that are in memory at the same time.
const NAMES_MAX: usize = 1 << 17;

/// The kind of an entry of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Folder,
    /// A symbolic link.
    Link,
    /// A file of any other kind.
    File,
}

impl From<std::fs::FileType> for Kind {
    fn from(found: std::fs::FileType) -> Self {
        if found.is_dir() {
            Self::Folder
        } else if found.is_symlink() {
            Self::Link
        } else {
            Self::File
        }
    }
}

/// An entry of a folder. Entries are ordered by the bytes of their names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) name: OsString,
    pub(super) kind: Kind,
}

/// The entries of a folder that are wanted, in order.
pub(super) struct SortedNames {
    folder: PathBuf,
    names_max: usize,
    /// The entries that come next, the last one first.
    next: Vec<Entry>,
    /// The last name that was read.
    after: Option<OsString>,
    /// Set if no names follow those in `next`.
    is_complete: bool,
}

impl SortedNames {
    pub(super) fn of(folder: impl Into<PathBuf>) -> Self {
        Self::within(folder, NAMES_MAX)
    }

    fn within(folder: impl Into<PathBuf>, names_max: usize) -> Self {
        Self {
            folder: folder.into(),
            names_max,
            next: Vec::new(),
            after: None,
            is_complete: false,
        }
    }

    /// Returns the next wanted entry. Passes each error of the folder to `failed`.
    pub(super) fn next(
        &mut self,
        is_wanted: impl Fn(&Entry) -> bool,
        failed: impl FnMut(io::Error),
    ) -> Option<Entry> {
        if self.next.is_empty() && !self.is_complete {
            self.read(is_wanted, failed);
        }
        self.next.pop()
    }

    /// Reads the folder, and keeps the first wanted entries after the last one that was kept before.
    fn read(&mut self, is_wanted: impl Fn(&Entry) -> bool, mut failed: impl FnMut(io::Error)) {
        let mut first = BinaryHeap::new();
        self.is_complete = true;
        let entries = match self.folder.read_dir() {
            Ok(entries) => entries,
            Err(error) => return failed(error),
        };
        for entry in entries {
            let entry = match entry.and_then(|entry| Entry::read(&entry)) {
                Ok(entry) => entry,
                Err(error) => {
                    failed(error);
                    continue;
                }
            };
            if self.after.as_ref().is_some_and(|after| entry.name <= *after) || !is_wanted(&entry) {
                continue;
            }
            first.push(entry);
            if first.len() > self.names_max {
                first.pop();
                self.is_complete = false;
            }
        }
        self.next = first.into_sorted_vec();
        self.after = self.next.last().map(|entry| entry.name.clone());
        self.next.reverse();
    }
}

impl Entry {
    fn read(entry: &DirEntry) -> io::Result<Self> {
        Ok(Self {
            kind: entry.file_type()?.into(),
            name: entry.file_name(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_order_however_few_are_held() {
        let folder = tempfile::tempdir().unwrap();
        let mut expected: Vec<_> = (0..57).map(|n| format!("{:02}.csv", n * 7 % 57)).collect();
        for name in &expected {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::write(folder.path().join("00.txt"), "").unwrap();
        std::fs::create_dir(folder.path().join("x")).unwrap();
        expected.sort();
        for names_max in [1, 2, 8, 56, 57, 58, 100] {
            let mut names = SortedNames::within(folder.path(), names_max);
            let is_wanted = |entry: &Entry| entry.name.to_string_lossy().ends_with(".csv");
            let next = || names.next(is_wanted, |error| panic!("{error}"));
            let found: Vec<_> = std::iter::from_fn(next)
                .map(|entry| {
                    assert_eq!(entry.kind, Kind::File);
                    entry.name.into_string().unwrap()
                })
                .collect();
            assert_eq!(found, expected, "{names_max}");
        }
    }
}
