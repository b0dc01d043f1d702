//! Stages outputs that are passed on instead of published, such as to stdout: the owner of the folder reads them, and
//! removes them. They have no receipt.

use std::fs;
use std::path::{Path, PathBuf};

use super::publish::{artifact, place};
use super::request_files::names;
use super::staging::LocalSealed;
use super::{FENCES, LocalStorage, RECEIPTS, REJECTS, STAGING, disk};
use crate::digest::SHORT_DIGEST_CHARS;
use crate::error::Result;
use crate::names::check_id;
use crate::storage::{Artifact, Published};

/// The output of an attempt is passed on instead of published.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passing {
    /// Set if rejects have a folder of their own, where they stay.
    pub(super) keeps_rejects: bool,
}

impl LocalStorage {
    /// Returns a storage that leaves outputs staged in `output`. Rejects are kept if they have a folder.
    pub fn for_passing_on(output: PathBuf, rejects: Option<PathBuf>) -> Self {
        let keeps_rejects = rejects.is_some();
        Self {
            passing: Some(Passing { keeps_rejects }),
            ..Self::new(output, rejects)
        }
    }

    /// Creates the folders beside the output's. They are not synced, because a power cut may remove them.
    pub(super) fn create_passing_folders(output: &Path, passing: Passing) -> Result<()> {
        let fences = Path::new(STAGING).join(FENCES);
        let rejects = (!passing.keeps_rejects).then(|| Path::new(REJECTS).join(STAGING));
        for folder in [Some(fences), Some(RECEIPTS.into()), rejects]
            .into_iter()
            .flatten()
        {
            let path = output.join(folder);
            fs::create_dir_all(&path)
                .map_err(|error| disk::failed(error, "the folder cannot be created", &path))?;
        }
        Ok(())
    }
}

impl LocalSealed {
    /// Leaves the output staged, and publishes the rejects if they are kept.
    pub(super) fn leave_staged(&mut self, id: &str, passing: Passing) -> Result<Published> {
        let rejects = self.publish_rejects(id, passing)?;
        let output = artifact(self.staged_output.path(), &self.output);
        self.staged_output.keep();
        Ok(Published { output, rejects })
    }

    /// Publishes the rejects of an output that is passed on or was refused, if they are kept.
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
