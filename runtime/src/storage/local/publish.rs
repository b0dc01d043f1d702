//! Publishes sealed files under their final names, with a receipt. The order of the steps makes a commit safe: first
//! the data is published and synced, then the receipt is created. A later attempt finds the receipt and stops.

use std::fs;
use std::path::{Path, PathBuf};

use super::disk::{self, Temporary};
use super::fencing::{RequestKey, RequestLock};
use super::folders::Folder;
use super::request_files::{DocumentFile, names, names_file, read_receipt, receipt_path, write_document};
use super::staging::LocalSealed;
use crate::digest::{Digest, SHORT_DIGEST_CHARS};
use crate::error::{Class, Code, Error, Result, Stage};
use crate::fail_points;
use crate::location::file_uri;
use crate::names::check_id;
use crate::receipt::Receipt;
use crate::storage::layout::document_name;
use crate::storage::{
    Artifact, FileRole, MakeReceipt, MakeReport, Published, Quarantined, Recorded, SealedAttempt,
};

/// A file under its final name.
pub(super) struct PlacedFile {
    path: PathBuf,
    /// True if this attempt gave the file its name.
    is_new: bool,
}

impl LocalSealed {
    fn publish_and_record(&mut self, id: &str, make_receipt: MakeReceipt<'_>) -> Result<Recorded> {
        check_id(id)?;
        let key = RequestKey::of(self.owner.queue.as_deref(), id);
        let receipt = receipt_path(&self.folders, id);
        if !self.folders.shares_receipts() {
            return Err(self.folders.paths.earlier.not_shared());
        }
        // The staged receipt must exist before the search for other attempts: see `fencing.rs`.
        let document = DocumentFile::create(&self.staged_receipt)?;
        // Outside a queue, no lease decides which attempt may commit, so concurrent commits wait for each other.
        let alone = match self.owner.queue {
            None => Some(key.lock(&self.folders)?),
            Some(_) => None,
        };
        if alone.is_none() && (self.owner.is_contested || key.has_lock_file(&self.folders)?) {
            self.take_over(&key, id)?;
        }
        let mut placed = Vec::new();
        let committed = match read_receipt(&receipt)? {
            Some(existing) => Ok(self.recorded_before(id, make_receipt, existing, &receipt)),
            None => self.place_and_record(&key, id, make_receipt, document, &receipt, &mut placed),
        };
        let committed = match committed {
            Err(error) if !self.unpublish(&key, id, alone.is_some(), &placed) => Err(error.leaving_output()),
            committed => committed,
        };
        if committed.is_ok() && self.is_fenced {
            key.lock(&self.folders).map(RequestLock::remove).ok();
        }
        if let Some(lock) = alone {
            lock.remove();
        }
        committed
    }

    /// Stops all other attempts at the request. Removes the files that they have published, except files that a receipt
    /// names.
    ///
    /// # Errors
    /// Fails with class lease lost if another attempt has stopped this attempt, and permanently if the request has
    /// ended.
    fn take_over(&mut self, key: &RequestKey, id: &str) -> Result<()> {
        let _lock = key.lock(&self.folders)?;
        self.is_fenced = true;
        key.check_life(&self.folders, self.owner.life_ms)?;
        if !self.is_in_force()? {
            return Err(superseded(id));
        }
        let revoked = key.revoke(&self.folders, Some(&self.name))?;
        let receipt = read_receipt(&receipt_path(&self.folders, id))?;
        RequestKey::remove_published(&self.folders, id, revoked, receipt.as_ref())?;
        Ok(())
    }

    /// Returns true if no other attempt has revoked the staged files of this attempt.
    fn is_in_force(&self) -> Result<bool> {
        let path = self.staged_output.path();
        path.try_exists()
            .map_err(|error| disk::failed(error, "cannot be read", path))
    }

    fn place_and_report(
        &mut self,
        id: &str,
        make_report: MakeReport<'_>,
        placed: &mut Vec<PlacedFile>,
    ) -> Result<String> {
        // If a file of an earlier attempt has the first name and other bytes, the new file gets the second name, which
        // contains the digest of the new file.
        let names = |suffix: &str, digest: &Digest| names(id, &digest.sha256[..SHORT_DIGEST_CHARS], suffix);
        let outputs = Folder::open(&self.folders.paths.quarantine())?;
        let named = names(self.format.name(), &self.output);
        let output = place(&mut self.staged_output, &self.output, &outputs, &named, placed)?;
        outputs.sync()?;
        let folder = Folder::open(&self.folders.paths.rejects_quarantine())?;
        let rejects = match (&self.rejects, &mut self.staged_rejects) {
            (Some(digest), Some(staged)) => {
                let named = names("rejects.csv", digest);
                Some(place(staged, digest, &folder, &named, placed)?)
            }
            _ => None,
        };
        let report = make_report(&Published { output, rejects });
        let staged = self
            .folders
            .rejects_staging()
            .path()
            .join(format!("{}.report", self.name));
        let mut staged = write_document(&staged, &report)?;
        let path = folder.path().join(document_name(id));
        disk::replace(&mut staged, &path)?;
        folder.sync()?;
        Ok(file_uri(&path))
    }

    /// Removes the files that this attempt has published. If another attempt has taken over, that attempt has already
    /// removed them. If a file cannot be removed, the staged files are kept, so that the next attempt can tell which
    /// attempt published the file. Returns false if a file could not be removed.
    fn unpublish(&mut self, key: &RequestKey, id: &str, is_locked: bool, placed: &[PlacedFile]) -> bool {
        if placed.iter().all(|placed| !placed.is_new) {
            return true;
        }
        let taken_back = || -> Result<()> {
            let lock = if is_locked {
                None
            } else {
                Some(key.lock(&self.folders)?)
            };
            let receipt = read_receipt(&receipt_path(&self.folders, id))?;
            if is_locked || self.staged_output.was_renamed() || self.is_in_force()? {
                remove_unnamed(placed, receipt.as_ref())?;
            }
            if let (Some(lock), Some(_)) = (lock, receipt) {
                lock.remove();
            }
            Ok(())
        };
        let is_taken_back = taken_back().is_ok();
        if !is_taken_back {
            self.staged_output.keep();
            self.staged_rejects.iter_mut().for_each(Temporary::keep);
        }
        is_taken_back
    }

    /// Returns the result of a commit that finds an existing receipt.
    fn recorded_before(
        &self,
        id: &str,
        make_receipt: MakeReceipt<'_>,
        existing: Receipt,
        path: &Path,
    ) -> Recorded {
        let name = |suffix: &str| format!("{id}.{suffix}");
        let output = self.folders.output.path().join(name(self.format.name()));
        let rejects = self.folders.rejects.path().join(name("rejects.csv"));
        let own = make_receipt(&Published {
            output: artifact(&output, &self.output),
            rejects: self.rejects.as_ref().map(|digest| artifact(&rejects, digest)),
        });
        recorded_existing(existing, own, path)
    }

    /// Publishes the files and lists them in `placed`, then creates the receipt at `path`.
    fn place_and_record(
        &mut self,
        key: &RequestKey,
        id: &str,
        make_receipt: MakeReceipt<'_>,
        document: DocumentFile,
        path: &Path,
        placed: &mut Vec<PlacedFile>,
    ) -> Result<Recorded> {
        let fence = self.owner.fence.to_string();
        let names = |suffix: &str| names(id, &fence, suffix);
        let (outputs, rejects) = (names(self.format.name()), names("rejects.csv"));
        // This check must come before any file gets its final name. Only the staged output shows whether another
        // attempt has stopped this attempt. On a file system without hard links, the staged output no longer exists
        // after it was renamed to its final name.
        if self.rejects.is_some() && self.folders.rejects.path().join(&rejects[0]).exists() {
            self.take_over_taken(key, id)?;
        }
        let output = match self.place_output(&outputs[0], placed)? {
            Some(output) => output,
            None => {
                self.take_over_taken(key, id)?;
                let (digest, folder) = (&self.output, &self.folders.output);
                place(&mut self.staged_output, digest, folder, &outputs, placed)?
            }
        };
        let rejects = match (&self.rejects, &mut self.staged_rejects) {
            (Some(digest), Some(staged)) => {
                Some(place(staged, digest, &self.folders.rejects, &rejects, placed)?)
            }
            _ => None,
        };
        let receipt = make_receipt(&Published { output, rejects });
        fail_points::pass("published", id);
        if self.create_receipt(document, &receipt, path)? {
            fail_points::pass("receipt", id);
            return Ok(Recorded::New(Box::new(receipt)));
        }
        let mut committed = match read_receipt(path)? {
            Some(existing) => Ok(recorded_existing(existing, receipt, path)),
            None => Err(superseded(id)),
        };
        match self.unpublish(key, id, self.owner.queue.is_none(), placed) {
            true => placed.clear(),
            false => {
                if let Ok(Recorded::Existing { leaves_output, .. }) = &mut committed {
                    *leaves_output = true;
                }
            }
        }
        committed
    }

    /// Gives the output the final name `name`. Returns `None` if the name is taken.
    fn place_output(&mut self, name: &str, placed: &mut Vec<PlacedFile>) -> Result<Option<Artifact>> {
        check_length(&self.staged_output, &self.output)?;
        let path = self.folders.output.path().join(name);
        if !disk::link(&mut self.staged_output, &path)? {
            return Ok(None);
        }
        let artifact = artifact(&path, &self.output);
        placed.push(PlacedFile { path, is_new: true });
        Ok(Some(artifact))
    }

    /// Takes over from other attempts, unless this attempt has done so already. The file that has the taken name can
    /// come from an attempt that the queue's server has forgotten.
    fn take_over_taken(&mut self, key: &RequestKey, id: &str) -> Result<()> {
        if self.owner.queue.is_none() || self.is_fenced {
            return Ok(());
        }
        self.take_over(key, id)
    }

    /// Creates the receipt. Returns false if there is already a receipt. All files that a visible receipt names exist,
    /// even after a power cut.
    fn create_receipt(&self, document: DocumentFile, receipt: &Receipt, path: &Path) -> Result<bool> {
        let mut staged = document.write(receipt)?;
        // On most file systems, syncing the staged receipt has also written the new names to the journal, so these
        // syncs take little time.
        self.folders.output.sync()?;
        if self.rejects.is_some() {
            self.folders.rejects.sync()?;
        }
        let is_new = match disk::publish(&mut staged, path) {
            // Another attempt has revoked the staged receipt.
            Err(_) if !staged.path().exists() => return Err(superseded(path.display())),
            is_new => is_new?,
        };
        // The receipt now exists, but a power cut could still remove its name. So after an error here, the next attempt
        // must look in the output's folder for the receipt.
        self.folders.receipts.sync().map_err(Error::leaving_output)?;
        Ok(is_new)
    }
}

impl SealedAttempt for LocalSealed {
    fn digest(&self, role: FileRole) -> Option<&Digest> {
        self.digest_of(role)
    }

    fn publish(&mut self, id: &str, make_receipt: MakeReceipt<'_>) -> Result<Recorded> {
        match self.passing {
            None => self.publish_and_record(id, make_receipt),
            Some(passing) => Ok(Recorded::New(Box::new(make_receipt(
                &self.leave_staged(id, passing)?,
            )))),
        }
    }

    fn receipt(&self, id: &str) -> Result<Option<Receipt>> {
        check_id(id)?;
        read_receipt(&receipt_path(&self.folders, id))
    }

    fn has_bytes(&self, role: FileRole, uri: &str, expected: &Digest) -> Result<Option<bool>> {
        self.folders.has_bytes(role, uri, expected)
    }

    fn quarantine(&mut self, id: &str, make_report: MakeReport<'_>) -> Result<Quarantined> {
        check_id(id)?;
        if let Some(passing) = self.passing {
            let rejects = self.publish_rejects(id, passing)?;
            return Ok(Quarantined::Rejects(rejects.map(|rejects| rejects.uri)));
        }
        let mut placed = Vec::new();
        let kept = self.place_and_report(id, make_report, &mut placed);
        if kept.is_err() {
            // A file that cannot be removed does no harm in the quarantine.
            let _ = remove_unnamed(&placed, None);
        }
        kept.map(Quarantined::Report)
    }

    fn keep(mut self: Box<Self>) {
        let staged = [Some(&mut self.staged_output), self.staged_rejects.as_mut()];
        self.checkpoints.keep(&self.name, staged);
    }
}

/// Returns the error for an attempt that was stopped by another attempt.
fn superseded(of: impl std::fmt::Display) -> Error {
    let what = format!("{of}: another attempt at the request has taken over");
    Error::new(Stage::Commit, Class::LeaseLost, Code::LeaseLost, what)
}

fn recorded_existing(existing: Receipt, own: Receipt, path: &Path) -> Recorded {
    Recorded::Existing {
        existing: Box::new(existing),
        own: Box::new(own),
        place: path.display().to_string(),
        leaves_output: false,
    }
}

/// Checks that a staged file exists and has all bytes that were written to it.
fn check_length(staged: &Temporary, digest: &Digest) -> Result<()> {
    let found = fs::symlink_metadata(staged.path())
        .map_err(|error| disk::failed(error, "is gone", staged.path()))?
        .len();
    if found != digest.bytes {
        let what = format!(
            "{}: has {found} bytes, but {} were written",
            staged.path().display(),
            digest.bytes
        );
        return Err(Error::transient(Stage::Commit, Code::OutputUnwritable, what));
    }
    Ok(())
}

/// Gives a staged file the first of the names that is free. If a file with the same bytes already has one of the names,
/// uses that file instead.
pub(super) fn place(
    staged: &mut Temporary,
    digest: &Digest,
    folder: &Folder,
    names: &[String; 2],
    placed: &mut Vec<PlacedFile>,
) -> Result<Artifact> {
    check_length(staged, digest)?;
    // Each name is tried twice, because it becomes free if another attempt removes its own file in between.
    for name in names.iter().flat_map(|name| [name, name]) {
        let path = folder.path().join(name);
        let is_new = disk::link(staged, &path)?;
        if is_new || disk::has_bytes(&path, digest)? == Some(true) {
            let artifact = artifact(&path, digest);
            placed.push(PlacedFile { path, is_new });
            return Ok(artifact);
        }
    }
    // The error is transient, because a later attempt has another fence and therefore another second name.
    let what = format!(
        "{}: is there already, with other bytes",
        folder.path().join(&names[1]).display()
    );
    Err(Error::transient(Stage::Commit, Code::OutputUnwritable, what))
}

/// Removes the files that this attempt has published, except files that the receipt names.
fn remove_unnamed(placed: &[PlacedFile], receipt: Option<&Receipt>) -> Result<()> {
    for PlacedFile { path, is_new } in placed {
        if *is_new && !receipt.is_some_and(|receipt| names_file(receipt, path)) {
            fs::remove_file(path).map_err(|error| disk::failed(error, "cannot be removed", path))?;
        }
    }
    Ok(())
}

pub(super) fn artifact(path: &Path, digest: &Digest) -> Artifact {
    Artifact {
        uri: file_uri(path),
        bytes: digest.bytes,
        sha256: digest.sha256.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::super::folders::Folders;
    use super::super::paths::Paths;
    use super::super::staging::LocalAttempt;
    use super::*;
    use crate::format::Format;
    use crate::storage::{Attempt, Owner};

    /// Returns a sealed attempt with an output. `change` modifies the new folders before they are used.
    fn sealed(root: &Path, change: impl FnOnce(&mut Folders)) -> LocalSealed {
        sealed_with(root, change, None)
    }

    /// Returns a sealed attempt with an output and rejects.
    fn sealed_with(root: &Path, change: impl FnOnce(&mut Folders), rejects: Option<&str>) -> LocalSealed {
        let mut folders = Folders::open(Paths::new(&root.join("out"), None, None)).unwrap();
        change(&mut folders);
        let owner = Owner {
            queue: Some("q".to_owned()),
            id: Some("a".to_owned()),
            fence: 1,
            ..Owner::default()
        };
        let mut staging = LocalAttempt::new(Arc::new(folders), owner, Format::Csv, None).unwrap();
        staging.output.write_all(b"n\n1\n").unwrap();
        if let Some(rejects) = rejects {
            staging.rejects().unwrap().write_all(rejects.as_bytes()).unwrap();
        }
        staging.seal_files().unwrap()
    }

    fn receipt_of(published: &Published) -> Receipt {
        let digest = "0".repeat(64);
        let receipt = serde_json::json!({
            "receipt": 1, "host": "0",
            "request": {"id": "a", "queue": "q", "uri": "/a.csv", "submitted_at": "2026-01-01T00:00:00.000Z"},
            "attempt": {"number": 1, "fence": 1, "worker": "w", "started_at": "2026-01-01T00:00:00.000Z",
                        "finished_at": "2026-01-01T00:00:00.000Z", "resumed_from": null},
            "input": {"uri": "/a.csv", "format": "csv", "bytes": 4, "sha256": digest, "etag": null, "columns": ["n"]},
            "plugin": {"name": "p", "version": "1", "sha256": digest, "interface": "ingest:plugin@0.1.0"},
            "binding": null, "config_sha256": digest,
            "records": {"read": 1, "kept": 1, "edited": 0, "replaced": 0, "dropped": 0, "rejected": 0, "written": 1},
            "outputs": [{"uri": published.output.uri, "format": "csv", "records": 1, "bytes": published.output.bytes,
                         "sha256": published.output.sha256}],
            "rejects": {"uri": null, "records": 0, "bytes": 0, "sha256": null, "by_code": {}, "examples": {}},
            "counters": {},
        });
        Receipt::read(receipt.to_string().as_bytes()).expect("a receipt")
    }

    #[test]
    fn a_receipt_that_may_not_outlast_a_power_cut_is_left_for_the_next_attempt_to_find() {
        let root = tempfile::tempdir().unwrap();
        let mut sealed = sealed(root.path(), |folders| folders.receipts.break_syncs());
        let error = sealed
            .publish("a", Box::new(receipt_of))
            .expect_err("the folder cannot be synced");
        assert!(error.leaves_output(), "{error}");
        assert!(root.path().join("out/_ingest/receipts/a.json").exists());
        assert!(root.path().join("out/a.csv").exists());
    }

    #[test]
    fn where_there_are_no_hard_links_what_was_published_is_taken_back_too() {
        let root = tempfile::tempdir().unwrap();
        let mut sealed = sealed(root.path(), |_| ());
        let path = root.path().join("out/a.csv");
        assert!(disk::publish(&mut sealed.staged_output, &path).unwrap());
        let key = RequestKey::of(Some("q"), "a");
        let placed = [PlacedFile {
            path: path.clone(),
            is_new: true,
        }];
        assert!(sealed.unpublish(&key, "a", false, &placed));
        assert!(!path.exists());
    }

    #[test]
    fn where_there_are_no_hard_links_a_taken_name_of_rejects_is_passed_by() {
        let root = tempfile::tempdir().unwrap();
        let mut sealed = sealed_with(root.path(), |_| (), Some("rejects"));
        sealed.staged_output.deny_links();
        let taken = root.path().join("out/_ingest/rejects/a.rejects.csv");
        std::fs::write(&taken, "of an attempt that was forgotten").unwrap();
        let committed = sealed.publish("a", Box::new(receipt_of)).unwrap();
        assert!(matches!(committed, Recorded::New(_)));
        assert!(root.path().join("out/a.csv").exists());
        assert!(root.path().join("out/_ingest/rejects/a~1.rejects.csv").exists());
    }
}
