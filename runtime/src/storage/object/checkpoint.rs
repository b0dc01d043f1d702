//! Writes and reads checkpoints. A checkpoint covers the bytes that an attempt has written up to a certain moment. When
//! all whole parts of these bytes have arrived at the store, the attempt writes an object with its progress and with
//! the bytes after the last whole parts. The next attempt continues the same uploads from there.
//!
//! The object begins with a line `{"text":N}`. The next N bytes are the text of [`StoredCheckpoint`]. The object ends
//! with the bytes after the last whole part, first of the output and then of the rejects.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use super::attempt::ObjectAttempt;
use super::client::Client;
use super::upload::{PART_BYTES, Upload, UploadState};
use crate::digest::{Digesting, Midstate};
use crate::error::Result;
use crate::fail_points;
use crate::storage::staged::Staged;
use crate::storage::{MakeProgress, StagedPart, StoredCheckpoint};

/// The maximum size of a checkpoint's object, in bytes. The object contains the text, and less than one part of the
/// output and of the rejects.
const CHECKPOINT_BYTES_MAX: u64 = (16 << 20) + 2 * PART_BYTES as u64;

/// The uploads at a checkpoint, with the digests of their bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectPart {
    output: UploadState,
    output_digest: Midstate,
    rejects: Option<UploadState>,
    rejects_digest: Option<Midstate>,
    /// The SHA-256 of the bytes after the last whole parts, in lowercase hex.
    tails_sha256: String,
}

#[derive(Serialize, Deserialize)]
struct TextLine {
    text: usize,
}

/// The checkpoints of an attempt.
#[derive(Debug)]
pub(super) struct Checkpoints {
    client: Client,
    key: Path,
    /// Set if the last checkpoint is left to the next attempt.
    is_kept: bool,
    /// A checkpoint that is not written yet, because some of its parts are still on their way.
    pending: Option<PendingCheckpoint>,
    writing: Option<JoinHandle<()>>,
    is_written: Arc<AtomicBool>,
    /// True if the attempt continues the uploads of an earlier attempt's checkpoint.
    is_inherited: bool,
}

#[derive(Debug)]
struct PendingCheckpoint {
    output: PendingFile,
    rejects: Option<PendingFile>,
    progress: String,
}

/// The bytes of one file that a pending checkpoint covers: whole parts, and the bytes after them.
#[derive(Debug)]
struct PendingFile {
    parts: usize,
    tail: Vec<u8>,
    digest: Midstate,
}

impl PendingFile {
    fn of(staged: &mut Staged<Upload>) -> Result<Self> {
        let digest = staged.flush_to_sink()?;
        Ok(Self {
            parts: staged.sink.part_count(),
            tail: staged.sink.tail().to_vec(),
            digest,
        })
    }
}

impl Checkpoints {
    pub(super) fn new(client: Client, key: Path) -> Self {
        Self {
            client,
            key,
            is_kept: false,
            pending: None,
            writing: None,
            is_written: Arc::default(),
            is_inherited: false,
        }
    }

    /// Returns whether this attempt has written its own checkpoint.
    pub(super) fn has_own(&self) -> bool {
        self.is_written.load(Ordering::Acquire)
    }

    /// Leaves the last checkpoint to the next attempt, and gives up a pending one. Returns whether there is a
    /// checkpoint.
    pub(super) fn keep(&mut self) -> bool {
        self.end_writing();
        self.is_kept = self.has_own() || self.is_inherited;
        self.is_kept
    }

    /// Gives up the pending checkpoint, and waits for one that is being written.
    pub(super) fn end_writing(&mut self) {
        self.pending = None;
        if let Some(writing) = self.writing.take() {
            // An error means that the task panicked or was cancelled. Then it has written nothing.
            let _ = self.client.runtime().block_on(writing);
        }
    }
}

impl Checkpoints {
    /// Removes the last checkpoint, which is useless after a receipt.
    pub(super) fn forget(&mut self) {
        if self.keep() {
            // A checkpoint that stays does no harm: the request has a receipt.
            let _ = self.client.delete(&self.key);
        }
        self.is_kept = true;
    }
}

/// Removes the last checkpoint, unless it was kept: after a receipt it is useless, and after an error the next attempt
/// must not continue what failed.
impl Drop for Checkpoints {
    fn drop(&mut self) {
        let writing = self.writing.take();
        if self.is_kept || !(self.has_own() || self.is_inherited || writing.is_some()) {
            return;
        }
        let (client, key) = (self.client.clone(), self.key.clone());
        self.client.runtime().spawn(async move {
            if let Some(writing) = writing {
                // The object must not appear after it was removed.
                let _ = writing.await;
            }
            // A checkpoint that stays does no harm after a receipt. After an error the reaper removes it.
            client.discard(key).await;
        });
    }
}

impl ObjectAttempt {
    /// Does the same as [`Attempt::checkpoint`](crate::storage::Attempt::checkpoint). The checkpoint is written
    /// when all parts that it covers have arrived at the store.
    pub(super) fn begin_checkpoint(&mut self, progress: MakeProgress<'_>) -> Result<()> {
        let is_writing = |writing: &JoinHandle<()>| !writing.is_finished();
        let checkpoints = &self.checkpoints;
        if self.owner.queue.is_none()
            || checkpoints.pending.is_some()
            || checkpoints.writing.as_ref().is_some_and(is_writing)
        {
            return Ok(());
        }
        self.checkpoints.pending = Some(PendingCheckpoint {
            output: PendingFile::of(&mut self.output)?,
            rejects: self.rejects.as_mut().map(PendingFile::of).transpose()?,
            progress: progress(),
        });
        self.poll_checkpoint();
        Ok(())
    }

    /// Starts a task that writes the pending checkpoint, if its parts have arrived. If a part could not be uploaded,
    /// there is no checkpoint, and the attempt fails when it sends the next part.
    pub(super) fn poll_checkpoint(&mut self) {
        let Some(pending) = &self.checkpoints.pending else {
            return;
        };
        let output = self
            .output
            .sink
            .state_at(pending.output.parts, pending.output.tail.len());
        let rejects = match (&pending.rejects, &mut self.rejects) {
            (Some(pending), Some(rejects)) => {
                let state = rejects.sink.state_at(pending.parts, pending.tail.len());
                state.map(Some)
            }
            _ => Some(None),
        };
        let (Some(output), Some(rejects)) = (output, rejects) else {
            return;
        };
        let Some(pending) = self.checkpoints.pending.take() else {
            return;
        };
        let mut tails = pending.output.tail;
        let mut rejects_digest = None;
        if let Some(rejects) = pending.rejects {
            tails.extend_from_slice(&rejects.tail);
            rejects_digest = Some(rejects.digest);
        }
        let part = ObjectPart {
            output,
            output_digest: pending.output.digest,
            rejects,
            rejects_digest,
            tails_sha256: HEXLOWER.encode(&Sha256::digest(&tails)),
        };
        let stored = StoredCheckpoint {
            staged: StagedPart::Object(part.into()),
            progress: pending.progress,
        };
        let text = stored.into_text();
        let line = serde_json::to_string(&TextLine { text: text.len() }).expect("a line serializes");
        let mut bytes = format!("{line}\n{text}").into_bytes();
        bytes.extend_from_slice(&tails);
        let (client, key, id) = (
            self.client.clone(),
            self.checkpoints.key.clone(),
            self.owner.id.clone(),
        );
        let is_written = Arc::clone(&self.checkpoints.is_written);
        let writing = self
            .client
            .runtime()
            .spawn_blocking(move || match client.put(&key, Bytes::from(bytes)) {
                Ok(()) => {
                    is_written.store(true, Ordering::Release);
                    fail_points::pass("checkpoint", id.as_deref().unwrap_or_default());
                }
                Err(error) => {
                    tracing::warn!(error = error.report(), code = %error.code(), "a checkpoint was not written");
                }
            });
        self.checkpoints.writing = Some(writing);
        self.output.sink.share();
        if let Some(rejects) = &mut self.rejects {
            rejects.sink.share();
        }
    }

    /// Continues the uploads of a checkpoint.
    ///
    /// # Errors
    /// Returns the reason why the checkpoint cannot be used.
    pub(super) fn resume_uploads(&mut self, part: &ObjectPart, tails: &[u8]) -> Result<(), String> {
        if HEXLOWER.encode(&Sha256::digest(tails)) != part.tails_sha256
            || !part.is_sound(tails.len(), self.client.part_bytes())
        {
            return Err("the checkpoint is damaged".to_owned());
        }
        let (of_output, of_rejects) = tails.split_at(part.output.tail);
        let upload = Upload::resume(self.client.clone(), &part.output, of_output);
        self.output = Staged::resume(upload, Digesting::from_midstate(part.output_digest.clone()));
        if let (Some(state), Some(digest)) = (&part.rejects, &part.rejects_digest) {
            let upload = Upload::resume(self.client.clone(), state, of_rejects);
            self.rejects = Some(Staged::resume(upload, Digesting::from_midstate(digest.clone())));
        }
        self.checkpoints.is_inherited = true;
        Ok(())
    }
}

impl ObjectPart {
    /// Returns whether the values are valid. `tails` is the number of bytes after the last whole parts, of output and
    /// rejects together.
    fn is_sound(&self, tails: usize, part_bytes: usize) -> bool {
        let is_file = |state: &UploadState, digest: &Midstate| {
            let bytes = state.parts.len() as u64 * part_bytes as u64 + state.tail as u64;
            state.part_bytes == part_bytes
                && state.tail < part_bytes
                && digest.is_sound()
                && digest.bytes == bytes
                && (state.upload.is_some() || state.parts.is_empty())
        };
        let of_rejects = self.rejects.as_ref().map_or(0, |state| state.tail);
        is_file(&self.output, &self.output_digest)
            && self.output.tail + of_rejects == tails
            && match (&self.rejects, &self.rejects_digest) {
                (None, None) => true,
                (Some(state), Some(digest)) => is_file(state, digest),
                _ => false,
            }
    }
}

/// Reads the checkpoint with this key. Also returns the bytes after the last whole parts. Returns `None` if there is no
/// checkpoint.
///
/// # Errors
/// Returns the reason why the checkpoint cannot be read, or why it is not valid.
pub(super) fn find(client: &Client, key: &Path) -> Result<Option<(StoredCheckpoint, Bytes)>, String> {
    let bytes = match client.read(key, CHECKPOINT_BYTES_MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(error) => return Err(format!("the checkpoint cannot be read: {}", error.report())),
    };
    let parsed = || -> Option<(&str, usize)> {
        let end = bytes.iter().position(|&byte| byte == b'\n')?;
        let line: TextLine = serde_json::from_slice(&bytes[..end]).ok()?;
        let text_end = (end + 1).checked_add(line.text)?;
        let text = str::from_utf8(bytes.get(end + 1..text_end)?).ok()?;
        Some((text, text_end))
    };
    let (text, text_end) = parsed().ok_or("the checkpoint is damaged")?;
    let stored = StoredCheckpoint::parse(text)?;
    Ok(Some((stored, bytes.slice(text_end..))))
}
