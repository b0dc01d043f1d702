//! Stages outputs that are passed on instead of published, for example to stdout. An output stays in the staging
//! folder, from which the caller reads it. The caller removes the folder later. No receipt is stored.

use std::fs;
use std::path::PathBuf;

use super::paths::Paths;
use super::publish::{artifact, place};
use super::request_files::names;
use super::staging::LocalSealed;
use super::{LocalStorage, disk};
use crate::digest::SHORT_DIGEST_CHARS;
use crate::error::Result;
use crate::names::check_id;
use crate::storage::{Artifact, Published};

/// The way in which the output of an attempt is passed on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passing {
    /// True if the rejects have a folder of their own, so that they are published and must survive a power cut.
    pub(super) keeps_rejects: bool,
}

impl LocalStorage {
    /// Returns a storage that leaves outputs in the staging folder within `output`. The caller passes them on one after
    /// the other. Rejects are published if `rejects` names a folder for them.
    pub fn for_passing_on(output: PathBuf, rejects: Option<PathBuf>) -> Self {
        let keeps_rejects = rejects.is_some();
        Self {
            passing: Some(Passing { keeps_rejects }),
            ..Self::new(output, rejects)
        }
    }

    /// Creates the folders within the output's folder. The folders are not synced, because they need not survive a
    /// power cut.
    pub(super) fn create_passing_folders(paths: &Paths, passing: Passing) -> Result<()> {
        let rejects = (!passing.keeps_rejects).then(|| paths.rejects.clone());
        let folders = [
            paths.receipts(),
            paths.staging(),
            paths.fences(),
            paths.checkpoints(),
        ];
        for path in folders.into_iter().chain(rejects) {
            fs::create_dir_all(&path)
                .map_err(|error| disk::failed(error, "the folder cannot be created", &path))?;
        }
        Ok(())
    }
}

impl LocalSealed {
    /// Leaves the output in the staging folder. Publishes the rejects if the storage has a folder for them.
    ///
    /// # Errors
    /// Fails with stage commit if the rejects cannot be published.
    pub(super) fn leave_staged(&mut self, id: &str, passing: Passing) -> Result<Published> {
        let rejects = self.publish_rejects(id, passing)?;
        let output = artifact(self.staged_output.path(), &self.output);
        self.staged_output.keep();
        Ok(Published { output, rejects })
    }

    /// Publishes the rejects of an output that is passed on or was refused, if the storage has a folder for rejects.
    ///
    /// # Errors
    /// Fails with stage commit if the rejects cannot be published.
    pub(super) fn publish_rejects(&mut self, id: &str, passing: Passing) -> Result<Option<Artifact>> {
        check_id(id)?;
        let (Some(digest), Some(staged), true) =
            (&self.rejects, &mut self.staged_rejects, passing.keeps_rejects)
        else {
            return Ok(None);
        };
        let named = names(id, &digest.sha256[..SHORT_DIGEST_CHARS], "rejects.csv");
        let rejects = place(staged, digest, &self.folders.rejects, &named, &mut Vec::new())?;
        self.folders.rejects.sync()?;
        Ok(Some(rejects))
    }
}
