//! Removes files that nobody needs any more: staged files of dead attempts, old checkpoints, and lock files and markers
//! of requests.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::LocalStorage;
use super::disk;
use super::earlier;
use super::fencing::RequestKey;
use super::paths::{FENCES, STAGING, private};
use crate::error::Result;
use crate::storage::layout::{CHECKPOINTS, id_of_checkpoint};

/// The factor by which a staged file is kept longer if the file is also published. Until the request has ended, only
/// the staged file shows which attempt the published file belongs to.
const PUBLISHED_KEPT_TIMES: u32 = 24;

impl LocalStorage {
    /// Does the same as [`Storage::reap`](crate::storage::Storage::reap).
    pub(super) fn remove_old(&self, older_than: Duration, at_work: &[(&str, &str)]) -> Result<usize> {
        let keys = at_work.iter().map(|(queue, id)| RequestKey::of(Some(queue), id));
        let reaper = Reaper {
            older_than,
            at_work: keys.collect(),
        };
        let mut removed = 0;
        for root in [Some(&self.output), self.rejects.as_ref()].into_iter().flatten() {
            let private = private(root);
            removed += reaper.remove_in_queue(&private, None)?;
            for entry in entries(&private)? {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    removed += reaper.remove_in_queue(&entry.path(), entry.file_name().to_str())?;
                }
            }
            for folder in earlier::staging_folders(root) {
                removed += reaper.remove_in(&folder, RequestKey::in_name)?;
            }
        }
        if self.rejects.is_none() {
            for folder in earlier::staging_folders(&earlier::default_rejects(&self.output)) {
                removed += reaper.remove_in(&folder, RequestKey::in_name)?;
            }
        }
        Ok(removed)
    }
}

struct Reaper {
    older_than: Duration,
    /// The requests that this worker is working on.
    at_work: HashSet<RequestKey>,
}

impl Reaper {
    /// Removes the old files of a queue, or of requests without a queue. Returns their number.
    fn remove_in_queue(&self, folder: &Path, queue: Option<&str>) -> Result<usize> {
        let of_checkpoint = |name: &OsStr| Some(RequestKey::of(queue, id_of_checkpoint(name.to_str()?)?));
        Ok(self.remove_in(&folder.join(STAGING), RequestKey::in_name)?
            + self.remove_in(&folder.join(FENCES), RequestKey::in_name)?
            + self.remove_in(&folder.join(CHECKPOINTS), of_checkpoint)?)
    }

    /// Removes the old files in a folder. `key_of` returns the key of the request to which a file of this name belongs.
    fn remove_in(&self, folder: &Path, key_of: impl Fn(&OsStr) -> Option<RequestKey>) -> Result<usize> {
        let mut removed = 0;
        for file in entries(folder)? {
            if key_of(&file.file_name()).is_some_and(|key| self.at_work.contains(&key)) {
                disk::mark_written(&file.path());
            } else if self.is_old(&file) && fs::remove_file(file.path()).is_ok() {
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn is_old(&self, file: &DirEntry) -> bool {
        let Ok(metadata) = file.metadata() else {
            return false;
        };
        let is_published = metadata.nlink() > 1;
        let kept = self.older_than * if is_published { PUBLISHED_KEPT_TIMES } else { 1 };
        let written = metadata.modified().ok();
        metadata.is_file()
            && written
                .and_then(|written| written.elapsed().ok())
                .is_some_and(|idle| idle > kept)
    }
}

/// Returns the entries of a folder: none if the folder does not exist, or if only workers of other queues may read it.
fn entries(folder: &Path) -> Result<impl Iterator<Item = DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten().flatten()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            Ok(None.into_iter().flatten().flatten())
        }
        Err(error) => Err(disk::failed(error, "cannot be read", folder)),
    }
}
