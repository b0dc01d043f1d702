//! Opens folders: paths go in; open folders with their real paths come out. Missing folders are created.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::disk;
use super::paths::Paths;
use crate::digest::Digest;
use crate::document::open_regular;
use crate::error::{Result, Stage};
use crate::location::Location;
use crate::storage::{FileRole, StoredReader};

/// The folders to which attempts write. Each queue has its own set. Requests without a queue share another set.
#[derive(Debug)]
pub(super) struct Folders {
    pub(super) output: Folder,
    pub(super) receipts: Folder,
    pub(super) rejects: Folder,
    /// The staging folder in the file system of the output and the receipts.
    pub(super) staging: Folder,
    /// The staging folder in the file system of the rejects, or `None` if this is `staging`.
    of_rejects: Option<Folder>,
    /// The real path of the folder of lock files and markers.
    pub(super) fences: PathBuf,
    pub(super) paths: Paths,
}

impl Folders {
    /// Opens the folders at these paths. Creates missing folders.
    pub(super) fn open(paths: Paths) -> Result<Self> {
        // Each attempt looks for a lock file and for a checkpoint. If their folders did not exist, the kernel would have to
        // lock the folder above for each lookup.
        disk::create_folders(&paths.checkpoints())?;
        Ok(Self {
            output: Folder::open(&paths.output)?,
            receipts: Folder::open(&paths.receipts())?,
            rejects: Folder::open(&paths.rejects)?,
            staging: Folder::open(&paths.staging())?,
            of_rejects: paths.rejects_staging().as_deref().map(Folder::open).transpose()?,
            fences: disk::create_folders(&paths.fences())?,
            paths,
        })
    }

    /// Checks that an attempt can write to each folder that it uses, and can publish staged files in each folder of final
    /// names. Changes nothing.
    ///
    /// # Errors
    /// Fails permanently, and names the folder.
    pub(super) fn check(&self) -> Result<()> {
        let Self {
            output,
            receipts,
            rejects,
            paths,
            ..
        } = self;
        let (staging, of_rejects) = (self.staging.path(), self.rejects_staging().path());
        let [quarantine, rejects_quarantine, checkpoints] = [
            paths.quarantine(),
            paths.rejects_quarantine(),
            paths.checkpoints(),
        ];
        for (staging, folder) in [
            (staging, output.path()),
            (staging, receipts.path()),
            (of_rejects, rejects.path()),
            (staging, existing(&quarantine)),
            (of_rejects, existing(&rejects_quarantine)),
            (staging, &*checkpoints),
        ] {
            disk::check_writable(folder)?;
            disk::check_publishing(staging, folder)?;
        }
        for folder in [staging, of_rejects, &*self.fences] {
            disk::check_writable(folder)?;
        }
        Ok(())
    }

    /// Returns the staging folder in the file system of the rejects.
    pub(super) fn rejects_staging(&self) -> &Folder {
        self.of_rejects.as_ref().unwrap_or(&self.staging)
    }

    /// Returns the staging folders: one, or two if the rejects have their own.
    pub(super) fn all_staging(&self) -> impl Iterator<Item = &Folder> {
        [Some(&self.staging), self.of_rejects.as_ref()]
            .into_iter()
            .flatten()
    }

    /// Returns whether each path still leads to its open folder. Somebody may have removed a folder or changed a
    /// symbolic link since the folder was opened, or a worker of version 0.1.0 may have created another folder for
    /// receipts.
    pub(super) fn are_current(&self) -> bool {
        let own = [&self.output, &self.receipts, &self.rejects];
        own.into_iter().chain(self.all_staging()).all(Folder::is_current) && self.shares_receipts()
    }

    /// Returns whether workers of version 0.1.0 create receipts in the same folder: see `earlier.rs`.
    pub(super) fn shares_receipts(&self) -> bool {
        self.paths.earlier.shares(&self.receipts)
    }

    /// Does the same as [`Storage::has_bytes`](crate::storage::Storage::has_bytes) in these folders. Also finds rejects
    /// at the place of version 0.1.0.
    pub(super) fn has_bytes(&self, role: FileRole, uri: &str, expected: &Digest) -> Result<Option<bool>> {
        for path in self.paths_of(role, uri)? {
            let found = disk::has_bytes(&path, expected)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Does the same as [`Storage::open_rejects`](crate::storage::Storage::open_rejects) in these folders.
    pub(super) fn open_rejects(&self, uri: &str) -> Result<Option<StoredReader>> {
        for path in self.paths_of(FileRole::Rejects, uri)? {
            match open_regular(&path) {
                Ok(file) => return Ok(Some(Box::new(file))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(disk::failed(error, "cannot be read", &path)),
            }
        }
        Ok(None)
    }

    /// Returns the paths that the file at `uri` in a receipt can have now. Uses only the file's name, because the folder
    /// may have had another path when the receipt was written.
    fn paths_of(&self, role: FileRole, uri: &str) -> Result<Vec<PathBuf>> {
        let folders = match role {
            FileRole::Output => [Some(self.output.path()), None],
            FileRole::Rejects => [Some(self.rejects.path()), self.paths.earlier.rejects()],
        };
        let file = match Location::parse(uri, Stage::Commit)? {
            Location::File(file) => file,
            _ => return Ok(Vec::new()),
        };
        let paths = file
            .file_name()
            .map(|name| folders.into_iter().flatten().map(move |folder| folder.join(name)));
        Ok(paths.into_iter().flatten().collect())
    }
}

/// Returns the folder, or the folder in which it will be created.
fn existing(folder: &Path) -> &Path {
    match folder.is_dir() {
        true => folder,
        false => folder.parent().unwrap_or(folder),
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

    /// Returns whether this is the folder with this metadata.
    pub(super) fn is_at(&self, found: &Metadata) -> bool {
        disk::inode(found) == self.inode
    }

    /// Makes all later syncs fail, as on a broken disk.
    #[cfg(test)]
    pub(super) fn break_syncs(&mut self) {
        self.handle = File::open("/dev/null").expect("/dev/null is there");
    }

    fn is_current(&self) -> bool {
        let is_this = |found: io::Result<Metadata>| found.is_ok_and(|found| self.is_at(&found));
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
