//! Stops other attempts at a request: an attempt goes in; afterwards no other attempt at the request can publish or
//! commit, and only files that a receipt names are visible.
//!
//! A worker that was considered lost may still be running. So each file that an attempt stages has a name of its own,
//! `<key>.<fence>.<random>.<what>`, and the attempt publishes it by linking the final name to the staged file. Renaming
//! the staged file stops the attempt for good: its next link, or the rename of its receipt, fails. While the staged
//! file exists, its inode identifies the published file of the attempt.
//!
//! An attempt creates the staged file of its receipt first and then looks for a lock file of the request. The attempt
//! that takes over creates the lock file first and then lists the staged files. So at least one of the two sees the
//! other.
//!
//! ```text
//! <output>/.staging/<key>.<fence>.<random>.output        staged, linked to its final name when it is published
//! <output>/.staging/<key>.revoked.<fence>.<random>.output    taken away from its attempt
//! <output>/.staging/fences/<key>.lock     there was more than one attempt; locked by the one that takes over
//! <output>/.staging/fences/<key>.ended    the request ended without a receipt: no attempt of that life may commit
//! ```

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::disk;
use super::folders::Folders;
use super::request_files::{names, names_file, read_receipt, receipt_path, write_document};
use super::{FENCES, LocalStorage};
use crate::document::read_regular;
use crate::error::{Code, Error, Result, Stage};
use crate::fail_points;
use crate::format::Format;
use crate::receipt::{DOCUMENT_BYTES_MAX, Receipt};
use crate::storage::{Concluded, EndedRequest};

/// The longest wait for another process that takes over the same request and holds the lock for a few file operations.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_POLL: Duration = Duration::from_millis(5);

/// The length of a key: half of a SHA-256 in hex.
const KEY_CHARS: usize = 32;

const REVOKED: &str = "revoked";

/// The document that keeps late attempts from committing a request that ended without a receipt. Unknown members of a
/// newer version are ignored: in any case the request has ended.
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

/// A key in the names of all files of the attempts at one request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RequestKey(String);

impl RequestKey {
    pub(super) fn of(queue: Option<&str>, id: &str) -> Self {
        let mut key = hex::encode(Sha256::digest(format!("{}\n{id}", queue.unwrap_or_default())));
        key.truncate(KEY_CHARS);
        Self(key)
    }

    /// Returns the key in the name of a file, if it has the form of one.
    pub(super) fn in_name(name: &OsStr) -> Option<Self> {
        let (key, _) = name.to_str()?.split_once('.')?;
        Some(Self(key.to_owned()))
    }

    /// Returns the prefix of the names of an attempt's staged files.
    pub(super) fn staged_name(&self, fence: u64, random: &str) -> String {
        format!("{}.{fence}.{random}", self.0)
    }

    fn lock_path(&self, folders: &Folders) -> PathBuf {
        folders
            .staging
            .path()
            .join(FENCES)
            .join(format!("{}.lock", self.0))
    }

    fn ended_path(&self, folders: &Folders) -> PathBuf {
        folders
            .staging
            .path()
            .join(FENCES)
            .join(format!("{}.ended", self.0))
    }

    /// Returns whether another attempt has taken over this request.
    pub(super) fn has_lock_file(&self, folders: &Folders) -> Result<bool> {
        let path = self.lock_path(folders);
        path.try_exists()
            .map_err(|error| disk::failed(error, "cannot be read", &path))
    }

    /// Takes the request's lock. From now on other attempts see that they are not alone.
    ///
    /// # Errors
    /// Fails transiently if another process holds the lock for longer than [`LOCK_WAIT`].
    pub(super) fn lock(&self, folders: &Folders) -> Result<RequestLock> {
        let path = self.lock_path(folders);
        if let Some(parent) = path.parent() {
            disk::create_folders(parent)?;
        }
        let failed = |error| disk::failed(error, "cannot be locked", &path);
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(LOCK_POLL);
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    let what = format!(
                        "{}: another process holds this lock for too long: look for a worker that is stopped or hangs",
                        path.display()
                    );
                    return Err(Error::transient(Stage::Commit, Code::OutputLocked, what));
                }
                // This file system has no locks. Two processes that take over at the same moment could then disturb
                // each other.
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Its last holder may have removed the file.
            let is_there = |found| {
                let own = file.metadata();
                own.is_ok_and(|own| disk::inode(&own) == disk::inode(&found))
            };
            if fs::metadata(&path).is_ok_and(is_there) {
                // The reaper goes by this time when it removes old lock files.
                let _ = file.set_modified(SystemTime::now());
                return Ok(RequestLock { path, _file: file });
            }
        }
    }

    /// Returns the marker of this life of the request, or of a later one, if it was ended without a receipt.
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

    /// Checks that neither this life of the request nor a later one was ended without a receipt.
    ///
    /// # Errors
    /// Fails permanently if one was.
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

    /// Revokes the staged files of all attempts at the request, except files whose names begin with `own`: renames
    /// them, so that their attempts can neither publish nor commit any more. The caller holds the request's lock.
    pub(super) fn revoke(&self, folders: &Folders, own: Option<&str>) -> Result<Vec<RevokedFile>> {
        let mut revoked = Vec::new();
        let mut visited = Vec::new();
        for folder in [&folders.staging, &folders.rejects_staging] {
            let folder = folder.path();
            if visited.contains(&folder) {
                continue;
            }
            visited.push(folder);
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

    /// Removes the published files that belong to these revoked files, except files that the receipt names; then
    /// removes the revoked files. Returns the number of published files removed. The caller holds the request's lock.
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

/// The lock of a request, held until it is dropped.
pub(super) struct RequestLock {
    path: PathBuf,
    _file: File,
}

impl RequestLock {
    /// Removes the lock file. The caller has seen a receipt, so no other attempt can commit any more.
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
    /// Renames the file, so that its attempt cannot use it any more. Returns none if no published file can belong to
    /// it, or if another process has renamed it first.
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

/// A staged file that its attempt cannot use any more.
pub(super) struct RevokedFile {
    path: PathBuf,
    /// The device and the inode of the file.
    inode: (u64, u64),
    fence: u64,
    is_rejects: bool,
}

impl RevokedFile {
    /// Returns the names under which the attempt may have published the file.
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
            // Another worker has ended the request. It may be in its next life by now, which must not be disturbed.
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
