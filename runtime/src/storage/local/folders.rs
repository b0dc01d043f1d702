//! Opens folders: paths go in; open folders with their real paths come out. Missing folders are created.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::disk;
use crate::digest::Digest;
use crate::error::{Result, Stage};
use crate::location::Location;
use crate::storage::FileRole;

/// The folders to which attempts write. Each queue has its own set. Requests without a queue share another set.
#[derive(Debug)]
pub(super) struct Folders {
    pub(super) output: Folder,
    pub(super) receipts: Folder,
    pub(super) rejects: Folder,
    /// The staging folder in the file system of the output and the receipts.
    pub(super) staging: Folder,
    /// The staging folder in the file system of the rejects.
    pub(super) rejects_staging: Folder,
}

impl Folders {
    /// Returns whether each path still leads to its open folder. Somebody may have removed a folder or changed a
    /// symbolic link since the folder was opened.
    pub(super) fn are_current(&self) -> bool {
        let Self {
            output,
            receipts,
            rejects,
            staging,
            rejects_staging,
        } = self;
        [output, receipts, rejects, staging, rejects_staging]
            .iter()
            .all(|folder| folder.is_current())
    }

    /// Does the same as [`Storage::has_bytes`](crate::storage::Storage::has_bytes) in these folders.
    pub(super) fn has_bytes(&self, role: FileRole, uri: &str, expected: &Digest) -> Result<Option<bool>> {
        let folder = match role {
            FileRole::Output => &self.output,
            FileRole::Rejects => &self.rejects,
        };
        // Only the file's name is used, because the folder may have had another path when the receipt was written.
        match Location::parse(uri, Stage::Commit)? {
            Location::File(file) => match file.file_name() {
                Some(name) => disk::has_bytes(&folder.path().join(name), expected),
                None => Ok(None),
            },
            _ => Ok(None),
        }
    }
}

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    as_given: PathBuf,
    real: PathBuf,
    inode: (u64, u64),
    handle: File,
    syncs: Mutex<FolderSyncs>,
    ended: Condvar,
}

/// The syncs of one folder, numbered from 1. Only one sync runs at a time.
#[derive(Debug, Default)]
struct FolderSyncs {
    begun: u64,
    ended: u64,
    /// The number of the last failed sync, with its error. The error number of the system, if there is one, says more
    /// than the kind.
    failed: Option<(u64, Option<i32>, io::ErrorKind)>,
}

impl Folder {
    /// Opens a folder. Creates the folder and its parents if they are missing.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let real = disk::create_folders(path)?;
        let opened = File::open(&real).and_then(|handle| Ok((disk::inode(&handle.metadata()?), handle)));
        let (inode, handle) =
            opened.map_err(|error| disk::failed(error, "the folder cannot be opened", path))?;
        Ok(Self {
            as_given: path.to_owned(),
            real,
            inode,
            handle,
            syncs: Mutex::default(),
            ended: Condvar::new(),
        })
    }

    /// Returns the folder's real path. Receipts name files by the real path, so that a later change of a symbolic link
    /// does not affect them.
    pub(super) fn path(&self) -> &Path {
        &self.real
    }

    /// Makes all later syncs fail, as on a broken disk.
    #[cfg(test)]
    pub(super) fn break_syncs(&mut self) {
        self.handle = File::open("/dev/null").expect("/dev/null is there");
    }

    fn is_current(&self) -> bool {
        let is_this =
            |found: io::Result<Metadata>| found.is_ok_and(|found| disk::inode(&found) == self.inode);
        is_this(fs::symlink_metadata(&self.real))
            && (self.as_given == self.real || is_this(fs::metadata(&self.as_given)))
    }

    /// Makes the names that are now in the folder durable. Callers that arrive during a sync share the next sync,
    /// because a running sync does not cover names that were created after its beginning.
    pub(super) fn sync(&self) -> Result<()> {
        let mut syncs = self.syncs.lock();
        let mine = syncs.begun + 1;
        // A failure of the running sync can affect this caller's names, too, and the next sync would not report the
        // failure again.
        let first = if syncs.begun > syncs.ended { mine - 1 } else { mine };
        while syncs.ended < mine && syncs.begun > syncs.ended {
            self.ended.wait(&mut syncs);
        }
        if syncs.ended < mine {
            syncs.begun = mine;
            let synced = MutexGuard::unlocked(&mut syncs, || self.handle.sync_all());
            syncs.ended = mine;
            // The system reports a fault only once, so the error is stored for all callers that share the sync.
            if let Err(error) = synced {
                syncs.failed = Some((mine, error.raw_os_error(), error.kind()));
            }
            self.ended.notify_all();
        }
        match syncs.failed {
            Some((number, code, kind)) if number >= first => Err(disk::failed(
                code.map_or_else(|| kind.into(), io::Error::from_raw_os_error),
                "the folder cannot be synced",
                &self.real,
            )),
            _ => Ok(()),
        }
    }
}
