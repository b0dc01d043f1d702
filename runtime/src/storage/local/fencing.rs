//! Lets one attempt at a request stop all others. Afterwards no other attempt at the request can publish or commit, and
//! only files that a receipt names are visible.
//!
//! A worker that is considered lost can still be running. So each staged file of an attempt has a unique name,
//! `<key>.<fence>.<random>.<what>`. The attempt publishes the file by linking the final name to the staged file.
//! Another attempt stops this attempt for good: it renames this attempt's staged output and rejects, and removes the
//! staged receipt. The next time that this attempt links a file, or renames its receipt, the operation fails. While the
//! staged file exists, its inode identifies the published file of the attempt.
//!
//! To commit, an attempt creates the staged file of its receipt, and then looks for a lock file of the request. To take
//! over, an attempt creates the lock file, and then lists the staged files. So at least one of the two attempts sees
//! the other.
//!
//! ```text
//! <output>/_ingest/[<queue>/]staging/<key>.<fence>.<random>.output    staged, linked to its final name when it is published
//! <output>/_ingest/[<queue>/]staging/<key>.revoked.<fence>.<random>.output    taken away from its attempt
//! <output>/_ingest/[<queue>/]fences/<key>.lock     there was more than one attempt; locked by the one that takes over
//! <output>/_ingest/[<queue>/]fences/<key>.ended    the request ended without a receipt: no attempt of that life may commit
//! ```

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::LocalStorage;
use super::disk::{self, LOCK_WAIT};
use super::folders::Folders;
use super::request_files::{names, names_file, read_receipt, receipt_path, write_document};
use crate::document::read_regular;
use crate::error::{Code, Error, Result, Stage};
use crate::fail_points;
use crate::format::Format;
use crate::receipt::{DOCUMENT_BYTES_MAX, Receipt};
use crate::storage::{Concluded, EndedRequest};

/// The length of a key in characters: half of a SHA-256 in hex.
const KEY_CHARS: usize = 32;

const REVOKED: &str = "revoked";

/// The document that says that a request has ended without a receipt. When this document exists, attempts that are
/// still running can no longer commit the request. Unknown members from a newer version are ignored, because the
/// request has ended, no matter what these members say.
#[derive(Debug, Serialize, Deserialize)]
struct EndedMarker {
    queue: String,
    id: String,
    life_ms: i64,
    /// The request's state: `cancelled` or `dead`.
    state: String,
    worker: String,
    at: String,
}

/// The key of a request: the beginning of the names of all staged files of its attempts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RequestKey(String);

impl RequestKey {
    pub(super) fn of(queue: Option<&str>, id: &str) -> Self {
        let mut key = HEXLOWER.encode(&Sha256::digest(format!("{}\n{id}", queue.unwrap_or_default())));
        key.truncate(KEY_CHARS);
        Self(key)
    }

    /// Returns the part of a file's name before the first dot, as the key, or `None` if the name has no dot.
    pub(super) fn in_name(name: &OsStr) -> Option<Self> {
        let (key, _) = name.to_str()?.split_once('.')?;
        Some(Self(key.to_owned()))
    }

    /// Returns the prefix for the names of an attempt's staged files.
    pub(super) fn staged_name(&self, fence: u64, random: &str) -> String {
        format!("{}.{fence}.{random}", self.0)
    }

    fn lock_path(&self, folders: &Folders) -> PathBuf {
        folders.fences.join(format!("{}.lock", self.0))
    }

    fn ended_path(&self, folders: &Folders) -> PathBuf {
        folders.fences.join(format!("{}.ended", self.0))
    }

    /// Returns whether the request has a lock file. A lock file shows that another attempt has taken
    /// over, or that a worker has ended the request.
    pub(super) fn has_lock_file(&self, folders: &Folders) -> Result<bool> {
        let path = self.lock_path(folders);
        path.try_exists()
            .map_err(|error| disk::failed(error, "cannot be read", &path))
    }

    /// Takes the request's lock. From now on, each other attempt at the request can see that it is not the only
    /// attempt.
    ///
    /// # Errors
    /// Fails transiently if another process holds the lock for longer than [`LOCK_WAIT`].
    pub(super) fn lock(&self, folders: &Folders) -> Result<RequestLock> {
        let path = self.lock_path(folders);
        if let Some(parent) = path.parent() {
            disk::create_folders(parent)?;
        }
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(|error| disk::failed(error, "cannot be locked", &path))?;
            disk::lock(&file, &path, deadline)?;
            // The previous holder of the lock may have removed the file. If so, this lock has no effect, and the loop
            // starts again.
            let is_there = |found| {
                let own = file.metadata();
                own.is_ok_and(|own| disk::inode(&own) == disk::inode(&found))
            };
            if fs::metadata(&path).is_ok_and(is_there) {
                // `Storage::reap` removes lock files with an old modification time.
                let _ = file.set_modified(SystemTime::now());
                return Ok(RequestLock { path, _file: file });
            }
        }
    }

    /// Returns the marker of a request that has ended without a receipt. Returns `None` if there is no marker, or if
    /// the marker belongs to an earlier life of the request.
    fn ended(&self, folders: &Folders, life_ms: i64) -> Result<Option<EndedMarker>> {
        let path = self.ended_path(folders);
        let document = match read_regular(&path, DOCUMENT_BYTES_MAX) {
            Ok(document) => document,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(disk::failed(error, "cannot be read", &path)),
        };
        let marker: EndedMarker = serde_json::from_slice(&document).map_err(|error| {
            let what = format!(
                "{}: is damaged: remove it to have the request processed",
                path.display()
            );
            Error::permanent(Stage::Commit, Code::OutputDamaged, what).because(error)
        })?;
        Ok((marker.life_ms >= life_ms).then_some(marker))
    }

    /// Checks that there is no marker of this life of the request, or of a later life.
    ///
    /// # Errors
    /// Fails permanently if there is such a marker, because the request has ended without a receipt.
    pub(super) fn check_life(&self, folders: &Folders, life_ms: i64) -> Result<()> {
        let Some(marker) = self.ended(folders, life_ms)? else {
            return Ok(());
        };
        let what = format!(
            "{} {}: worker {} ended it as {} at {}, so no earlier attempt may commit it; `dead retry` starts it anew",
            marker.queue, marker.id, marker.worker, marker.state, marker.at
        );
        Err(Error::permanent(Stage::Commit, Code::RequestEnded, what))
    }

    /// Revokes the staged files of all attempts at the request, except files whose names begin with `own`. Afterwards
    /// the attempts of these files can neither publish nor commit. Returns the staged outputs and rejects, which can be
    /// published already. The caller must hold the request's lock.
    pub(super) fn revoke(&self, folders: &Folders, own: Option<&str>) -> Result<Vec<RevokedFile>> {
        let mut revoked = Vec::new();
        for folder in folders.all_staging() {
            let folder = folder.path();
            let failed = |error| disk::failed(error, "cannot be read", folder);
            for entry in fs::read_dir(folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if own.is_some_and(|own| starts_with(&entry.file_name(), own)) {
                    continue;
                }
                if let Some(file) = self.parse(folder, &entry.file_name())
                    && let Some(file) = file.revoke(self)?
                {
                    revoked.push(file);
                }
            }
        }
        Ok(revoked)
    }

    fn parse(&self, folder: &Path, name: &OsStr) -> Option<StagedFile> {
        let name = name.to_str()?;
        let rest = name.strip_prefix(&*self.0)?.strip_prefix('.')?;
        let (is_revoked, rest) = match rest.strip_prefix(REVOKED) {
            Some(rest) => (true, rest.strip_prefix('.')?),
            None => (false, rest),
        };
        let (fence, what) = (rest.split('.').next()?, rest.rsplit('.').next()?);
        Some(StagedFile {
            path: folder.join(name),
            rest: rest.to_owned(),
            is_revoked,
            fence: fence.parse().ok()?,
            what: what.to_owned(),
        })
    }

    /// Removes each published file that has the same inode as one of the `revoked` files, except files that the receipt
    /// names. Then removes the revoked files. Returns the number of published files that were removed. The caller must
    /// hold the request's lock.
    pub(super) fn remove_published(
        folders: &Folders,
        id: &str,
        revoked: Vec<RevokedFile>,
        receipt: Option<&Receipt>,
    ) -> Result<usize> {
        let mut removed = 0;
        for file in revoked {
            let folder = if file.is_rejects {
                &folders.rejects
            } else {
                &folders.output
            };
            for name in file.final_names(id) {
                let path = folder.path().join(name);
                let found = fs::symlink_metadata(&path);
                let is_it = found.is_ok_and(|found| disk::inode(&found) == file.inode);
                if is_it && !receipt.is_some_and(|receipt| names_file(receipt, &path)) {
                    fs::remove_file(&path)
                        .map_err(|error| disk::failed(error, "cannot be removed", &path))?;
                    removed += 1;
                }
            }
            let _ = fs::remove_file(&file.path);
        }
        Ok(removed)
    }
}

/// The lock of a request. It is released when this value is dropped.
pub(super) struct RequestLock {
    path: PathBuf,
    _file: File,
}

impl RequestLock {
    /// Removes the lock file. The caller must have seen a receipt, so that no other attempt can commit any more.
    pub(super) fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn starts_with(name: &OsStr, prefix: &str) -> bool {
    name.as_encoded_bytes().starts_with(prefix.as_bytes())
}

struct StagedFile {
    path: PathBuf,
    /// The part of the file's name after the key.
    rest: String,
    is_revoked: bool,
    fence: u64,
    what: String,
}

impl StagedFile {
    /// Renames the file, so that its attempt can no longer use it. Returns `None` if the file no longer exists, because
    /// another process was faster. A file that is neither output nor rejects is removed instead, and the result is also
    /// `None`.
    fn revoke(self, key: &RequestKey) -> Result<Option<RevokedFile>> {
        let is_rejects = match &*self.what {
            "output" => false,
            "rejects" => true,
            _ => {
                let _ = fs::remove_file(&self.path);
                return Ok(None);
            }
        };
        let path = match self.is_revoked {
            true => self.path,
            false => {
                let path = self
                    .path
                    .with_file_name(format!("{}.{REVOKED}.{}", key.0, self.rest));
                match fs::rename(&self.path, &path) {
                    Ok(()) => path,
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(disk::failed(error, "cannot be renamed", &self.path)),
                }
            }
        };
        match fs::symlink_metadata(&path) {
            Ok(found) => Ok(Some(RevokedFile {
                inode: disk::inode(&found),
                path,
                fence: self.fence,
                is_rejects,
            })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(disk::failed(error, "cannot be read", &path)),
        }
    }
}

/// A staged output or staged rejects that were renamed, so that their attempt can no longer use them.
pub(super) struct RevokedFile {
    path: PathBuf,
    /// The device number and the inode number of the file.
    inode: (u64, u64),
    fence: u64,
    is_rejects: bool,
}

impl RevokedFile {
    /// Returns the final names that the attempt could have given to the file.
    fn final_names(&self, id: &str) -> Vec<String> {
        let fence = self.fence.to_string();
        let names = |suffix: &str| names(id, &fence, suffix);
        if self.is_rejects {
            return names("rejects.csv").to_vec();
        }
        Format::ALL
            .iter()
            .flat_map(|format| names(format.name()))
            .collect()
    }
}

impl LocalStorage {
    /// Does the same as [`Storage::conclude`](crate::storage::Storage::conclude).
    pub(super) fn end_request(&self, request: EndedRequest<'_>) -> Result<Concluded> {
        let EndedRequest {
            queue,
            id,
            submitted_at,
            life_ms,
            state,
            worker,
        } = request;
        let folders = self.folders(Some(queue))?;
        let key = RequestKey::of(Some(queue), id);
        let lock = key.lock(&folders)?;
        if key.ended(&folders, life_ms)?.is_some() {
            // A worker has already ended this life of the request. The request can be in its next life by now, and an
            // attempt in that life must not be stopped.
            let receipt = read_receipt(&receipt_path(&folders, id))?;
            return Ok(
                match receipt.filter(|receipt| receipt.is_for(queue, id, submitted_at)) {
                    Some(receipt) => Concluded::Committed(Box::new(receipt)),
                    None => Concluded::Ended,
                },
            );
        }
        fail_points::pass("fenced", id);
        let revoked = key.revoke(&folders, None)?;
        fail_points::pass("revoked", id);
        let receipt = read_receipt(&receipt_path(&folders, id))?;
        let removed = RequestKey::remove_published(&folders, id, revoked, receipt.as_ref())?;
        if removed > 0 {
            tracing::info!(
                removed,
                "removed files that a lost attempt had published without a receipt"
            );
        }
        fail_points::pass("cleaned", id);
        if let Some(receipt) = receipt.filter(|receipt| receipt.is_for(queue, id, submitted_at)) {
            self.remove_checkpoint(queue, id);
            lock.remove();
            return Ok(Concluded::Committed(Box::new(receipt)));
        }
        let marker = EndedMarker {
            queue: queue.to_owned(),
            id: id.to_owned(),
            life_ms,
            state: state.to_owned(),
            worker: worker.to_owned(),
            at: crate::receipt::now().to_string(),
        };
        let ended = key.ended_path(&folders);
        let mut staged = write_document(&ended.with_extension("new"), &marker)?;
        folders.output.sync()?;
        folders.rejects.sync()?;
        disk::replace(&mut staged, &ended)?;
        if let Some(fences) = ended.parent() {
            disk::sync_folder(fences)?;
        }
        fail_points::pass("ended", id);
        self.remove_checkpoint(queue, id);
        Ok(Concluded::Ended)
    }

    /// Does the same as [`Storage::committed`](crate::storage::Storage::committed).
    pub(super) fn receipt_of(&self, queue: &str, id: &str, submitted_at: &str) -> Result<Option<Receipt>> {
        let receipt = self.receipt_under(queue, id)?;
        Ok(receipt.filter(|receipt| receipt.is_for(queue, id, submitted_at)))
    }

    /// Does the same as [`Storage::receipt`](crate::storage::Storage::receipt).
    pub(super) fn receipt_under(&self, queue: &str, id: &str) -> Result<Option<Receipt>> {
        let folders = self.folders(Some(queue))?;
        read_receipt(&receipt_path(&folders, id))
    }
}
