//! Paths of folders go in; the folders come out: made if need be, open, and known by their real paths.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::disk;
use crate::error::Result;

/// What the attempts at one queue's requests, or at requests without one, write to.
#[derive(Debug)]
pub(super) struct Folders {
    pub(super) output: Folder,
    pub(super) receipts: Folder,
    pub(super) rejects: Folder,
    /// In the same file system as the output and the receipts.
    pub(super) staging: Folder,
    /// In the same file system as the rejects.
    pub(super) rejects_staging: Folder,
}

impl Folders {
    /// Whether each folder is still what its path leads to. Somebody may have removed it or turned a link.
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
}

/// A folder that exists.
#[derive(Debug)]
pub(super) struct Folder {
    as_given: PathBuf,
    real: PathBuf,
    identity: (u64, u64),
    handle: File,
    syncs: Mutex<FolderSyncs>,
    ended: Condvar,
}

/// The syncs of one folder, numbered from 1; one runs at a time.
#[derive(Debug, Default)]
struct FolderSyncs {
    begun: u64,
    ended: u64,
    /// The last one that failed, and why: the system's number, if it gave one, says more than the kind.
    failed: Option<(u64, Option<i32>, io::ErrorKind)>,
}

impl Folder {
    /// Makes the folder and those above it if they are not there.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let real = disk::create_folders(path)?;
        let opened = File::open(&real).and_then(|handle| Ok((identity(&handle.metadata()?), handle)));
        let (identity, handle) =
            opened.map_err(|error| disk::failed(error, "the folder cannot be opened", path))?;
        Ok(Self {
            as_given: path.to_owned(),
            real,
            identity,
            handle,
            syncs: Mutex::default(),
            ended: Condvar::new(),
        })
    }

    /// Its real path: receipts name files by it, so a link that somebody turns later does not matter to them.
    pub(super) fn path(&self) -> &Path {
        &self.real
    }

    /// Makes all further syncs fail, as those of a broken disk do.
    #[cfg(test)]
    pub(super) fn break_syncs(&mut self) {
        self.handle = File::open("/dev/null").expect("/dev/null is there");
    }

    fn is_current(&self) -> bool {
        let is_this =
            |found: io::Result<Metadata>| found.is_ok_and(|found| identity(&found) == self.identity);
        is_this(fs::symlink_metadata(&self.real))
            && (self.as_given == self.real || is_this(fs::metadata(&self.as_given)))
    }

    /// Makes the names that are in the folder now outlast a power cut. Whoever asks while a sync is under way
    /// shares the next one with all who do so: a sync says nothing of names that came after its beginning.
    pub(super) fn sync(&self) -> Result<()> {
        let mut syncs = lock(&self.syncs);
        let mine = syncs.begun + 1;
        // The one under way may fail to write a name of mine, too, of which the next one would not be told.
        let first = if syncs.begun > syncs.ended { mine - 1 } else { mine };
        while syncs.ended < mine && syncs.begun > syncs.ended {
            syncs = self.ended.wait(syncs).unwrap_or_else(PoisonError::into_inner);
        }
        if syncs.ended < mine {
            syncs.begun = mine;
            drop(syncs);
            let synced = self.handle.sync_all();
            syncs = lock(&self.syncs);
            syncs.ended = mine;
            // The system tells of a fault only once, so all who shared the sync are told here.
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

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn lock(syncs: &Mutex<FolderSyncs>) -> MutexGuard<'_, FolderSyncs> {
    syncs.lock().unwrap_or_else(PoisonError::into_inner)
}
