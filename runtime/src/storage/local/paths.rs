//! Names the folders of a queue, or of requests without a queue: the roots of outputs and rejects go in; paths come out.

use std::path::{Path, PathBuf};

use super::earlier::EarlierPaths;
use crate::names::check_id;
use crate::storage::layout::{CHECKPOINTS, PRIVATE, QUARANTINE, RECEIPTS, REJECTS, checkpoint_name};

/// The folder of the files of running attempts. It is in the file system of the final names.
pub(super) const STAGING: &str = "staging";
/// The folder of the lock files and markers of requests: see `fencing.rs`.
pub(super) const FENCES: &str = "fences";

/// The paths of the folders of a queue, or of requests without a queue. The folders need not exist.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub(super) output: PathBuf,
    pub(super) rejects: PathBuf,
    /// The folder of the files that are not outputs.
    private: PathBuf,
    /// The folder of staged rejects and rejects in quarantine. `None` if this is `private`.
    rejects_private: Option<PathBuf>,
    /// The places that version 0.1.0 uses.
    pub(super) earlier: EarlierPaths,
}

impl Paths {
    /// Returns the paths below the folders for outputs and rejects. If there is no folder for rejects, they are below
    /// the folder for outputs.
    pub(super) fn new(outputs: &Path, rejects: Option<&Path>, queue: Option<&str>) -> Self {
        let private = of_queue(&private(outputs), queue);
        Self {
            output: of_queue(outputs, queue),
            rejects: rejects.map_or_else(|| private.join(REJECTS), |rejects| of_queue(rejects, queue)),
            rejects_private: rejects.map(|rejects| of_queue(&self::private(rejects), queue)),
            earlier: EarlierPaths::new(outputs, rejects, queue),
            private,
        }
    }

    pub(super) fn receipts(&self) -> PathBuf {
        self.private.join(RECEIPTS)
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.private.join(STAGING)
    }

    /// Returns the staging folder in the file system of the rejects, or `None` if this is [`Paths::staging`].
    pub(super) fn rejects_staging(&self) -> Option<PathBuf> {
        Some(self.rejects_private.as_ref()?.join(STAGING))
    }

    pub(super) fn fences(&self) -> PathBuf {
        self.private.join(FENCES)
    }

    pub(super) fn checkpoints(&self) -> PathBuf {
        self.private.join(CHECKPOINTS)
    }

    /// Returns the path of a request's checkpoint, or `None` if the id is not valid.
    pub(super) fn checkpoint(&self, id: &str) -> Option<PathBuf> {
        check_id(id).ok()?;
        Some(self.checkpoints().join(checkpoint_name(id)))
    }

    /// Returns the folder of outputs in quarantine.
    pub(super) fn quarantine(&self) -> PathBuf {
        self.private.join(QUARANTINE)
    }

    /// Returns the folder of rejects in quarantine, and of the reports. It can be [`Paths::quarantine`].
    pub(super) fn rejects_quarantine(&self) -> PathBuf {
        let private = self.rejects_private.as_ref().unwrap_or(&self.private);
        private.join(QUARANTINE)
    }
}

/// Returns the folder of the files that are not outputs, below the folder for outputs or rejects.
pub(super) fn private(root: &Path) -> PathBuf {
    root.join(PRIVATE)
}

pub(super) fn of_queue(folder: &Path, queue: Option<&str>) -> PathBuf {
    match queue {
        Some(queue) => folder.join(queue),
        None => folder.to_owned(),
    }
}
