//! Writes and reads checkpoints. A checkpoint covers the bytes that an attempt has written up to a certain moment. When
//! all whole parts of these bytes have arrived at the store, the attempt writes an object with its progress and with
//! the bytes after the last whole parts. The next attempt continues the same uploads from there.
//!
//! The object begins with a line `{"text":N}`. The next N bytes are the text of [`StoredCheckpoint`]. The object ends
//! with the bytes after the last whole part, first of the output and then of the rejects.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use object_store::PutPayload;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use super::attempt::ObjectAttempt;
use super::buckets::Buckets;
use super::client::Client;
use super::keys::Keys;
use super::part_buffer::PartBuffer;
use super::upload::{PART_BYTES, Upload, UploadState};
use crate::digest::{Digesting, Midstate};
use crate::error::{Class, Error, Result};
use crate::fail_points;
use crate::memory::Held;
use crate::storage::staged::Staged;
use crate::storage::{CheckpointFault, MakeProgress, StagedPart, StoredCheckpoint};

/// The maximum number of bytes after the last whole parts: less than one part of the output and of the rejects.
pub(super) const TAILS_BYTES_MAX: usize = 2 * PART_BYTES;

/// The maximum size of a checkpoint's object, in bytes. The object contains the text and the bytes after the last whole
/// parts.
const CHECKPOINT_BYTES_MAX: u64 = (16 << 20) + TAILS_BYTES_MAX as u64;

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

/// The first line of a checkpoint's object.
#[derive(Serialize, Deserialize)]
struct TextLine {
    /// The length in bytes of the text that follows.
    text: usize,
}

/// The checkpoints of an attempt.
#[derive(Debug)]
pub(super) struct Checkpoints {
    client: Client,
    key: Path,
    /// Set if the last checkpoint is left to the next attempt.
    is_kept: bool,
    /// A checkpoint that is not written yet, because some of its parts are still in flight.
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
    /// A copy of the bytes after the last whole parts, first of the output and then of the rejects.
    tails: Vec<u8>,
    /// The memory of `tails`.
    held: Held,
    progress: String,
}

/// The bytes of one file that a pending checkpoint covers: whole parts, and the number of bytes after them.
#[derive(Debug)]
struct PendingFile {
    parts: usize,
    tail: usize,
    digest: Midstate,
}

impl PendingFile {
    fn of(staged: &mut Staged<Upload>) -> Result<Self> {
        let digest = staged.flush_to_sink()?;
        Ok(Self {
            parts: staged.sink.part_count(),
            tail: staged.sink.tail().len(),
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

    /// Uses another client for the calls from now on.
    pub(super) fn use_client(&mut self, client: &Client) {
        self.client = client.clone();
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
    /// when all parts that it covers have arrived at the store. If there is no memory for a copy of the bytes after the
    /// last whole parts, there is no checkpoint at this point.
    pub(super) fn begin_checkpoint(&mut self, progress: MakeProgress<'_>) -> Result<()> {
        let is_writing = |writing: &JoinHandle<()>| !writing.is_finished();
        let checkpoints = &self.checkpoints;
        if self.owner.queue.is_none()
            || checkpoints.pending.is_some()
            || checkpoints.writing.as_ref().is_some_and(is_writing)
        {
            return Ok(());
        }
        let output = PendingFile::of(&mut self.output)?;
        let rejects = self.rejects.as_mut().map(PendingFile::of).transpose()?;
        let uploads = [Some(&self.output), self.rejects.as_ref()];
        let buffers = || uploads.into_iter().flatten().map(|staged| staged.sink.tail());
        let bytes = buffers().map(PartBuffer::len).sum();
        let mut held = self.memory.hold();
        if !held.try_raise(bytes) {
            return Ok(());
        }
        let mut tails = Vec::with_capacity(bytes);
        for buffer in buffers() {
            buffer.copy_to(&mut tails);
        }
        self.checkpoints.pending = Some(PendingCheckpoint {
            output,
            rejects,
            tails,
            held,
            progress: progress(),
        });
        self.poll_checkpoint();
        if self.memory.is_alone() {
            // The memory that the attempt holds must not depend on the speed of the store: see `upload.rs`.
            self.checkpoints.end_writing();
        }
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
            .state_at(pending.output.parts, pending.output.tail);
        let rejects = match (&pending.rejects, &mut self.rejects) {
            (Some(pending), Some(rejects)) => {
                let state = rejects.sink.state_at(pending.parts, pending.tail);
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
        let part = ObjectPart {
            output,
            output_digest: pending.output.digest,
            rejects,
            rejects_digest: pending.rejects.map(|rejects| rejects.digest),
            tails_sha256: HEXLOWER.encode(&Sha256::digest(&pending.tails)),
        };
        let stored = StoredCheckpoint {
            staged: StagedPart::Object(part.into()),
            progress: pending.progress,
        };
        let text = stored.into_text();
        let line = serde_json::to_string(&TextLine { text: text.len() }).expect("a line serializes");
        let beginning = Bytes::from(format!("{line}\n{text}"));
        let payload = PutPayload::from_iter([beginning, Bytes::from(pending.tails)]);
        let held = pending.held;
        let (client, key, id) = (
            self.buckets.main.clone(),
            self.checkpoints.key.clone(),
            self.owner.id.clone(),
        );
        let is_written = Arc::clone(&self.checkpoints.is_written);
        let writing = self
            .buckets
            .main
            .runtime()
            .spawn_blocking(move || {
                let put = client.put(&key, payload);
                drop(held);
                match put {
                    Ok(()) => {
                        is_written.store(true, Ordering::Release);
                        fail_points::pass("checkpoint", id.as_deref().unwrap_or_default());
                    }
                    Err(error) => {
                        tracing::warn!(error = error.report(), code = %error.code(), "a checkpoint was not written");
                    }
                }
            });
        self.checkpoints.writing = Some(writing);
        self.output.sink.share();
        if let Some(rejects) = &mut self.rejects {
            rejects.sink.share();
        }
    }

    /// Continues the uploads of a checkpoint. `tails` is the bytes after the last whole parts.
    ///
    /// # Errors
    /// Fails as [`Held::raise`] does.
    pub(super) fn resume_uploads(&mut self, part: &ObjectPart, tails: &[u8]) -> Result<()> {
        let (of_output, of_rejects) = tails.split_at(part.output.tail);
        let (buckets, memory) = (&self.buckets, &self.memory);
        let upload = Upload::resume(&buckets.main, buckets, &part.output, of_output, memory)?;
        self.output = Staged::resume(upload, Digesting::from_midstate(part.output_digest.clone()));
        if let (Some(state), Some(digest)) = (&part.rejects, &part.rejects_digest) {
            let upload = Upload::resume(&buckets.rejects, buckets, state, of_rejects, memory)?;
            self.rejects = Some(Staged::resume(upload, Digesting::from_midstate(digest.clone())));
        }
        self.checkpoints.is_inherited = true;
        Ok(())
    }
}

impl ObjectPart {
    /// Returns the number of bytes after the last whole parts, of output and rejects together. A damaged part can name
    /// more bytes than a checkpoint can have.
    pub(super) fn tail_bytes(&self) -> usize {
        let of_rejects = self.rejects.as_ref().map_or(0, |state| state.tail);
        self.output.tail.saturating_add(of_rejects)
    }

    /// Returns whether the rejects, if there are any, are uploaded to the place that these keys name.
    pub(super) fn has_rejects_at(&self, buckets: &Buckets, keys: &Keys) -> bool {
        let is_there = |state: &UploadState| {
            let bucket = buckets.named(state.bucket.as_deref()).map(Client::bucket);
            bucket == Some(buckets.rejects.bucket()) && keys.is_of_rejects(&state.key)
        };
        self.rejects.as_ref().is_none_or(is_there)
    }

    /// Returns whether the values are valid, and describe these bytes after the last whole parts.
    pub(super) fn is_sound(&self, tails: &[u8], part_bytes: usize) -> bool {
        let is_file = |state: &UploadState, digest: &Midstate| {
            let bytes = state.parts.len() as u64 * part_bytes as u64 + state.tail as u64;
            state.part_bytes == part_bytes
                && state.tail < part_bytes
                && digest.is_sound()
                && digest.bytes == bytes
                && (state.upload.is_some() || state.parts.is_empty())
        };
        is_file(&self.output, &self.output_digest)
            && self.tail_bytes() == tails.len()
            && HEXLOWER.encode(&Sha256::digest(tails)) == self.tails_sha256
            && match (&self.rejects, &self.rejects_digest) {
                (None, None) => true,
                (Some(state), Some(digest)) => is_file(state, digest),
                _ => false,
            }
    }
}

/// Reads the text of the checkpoint with this key. Returns `None` if there is no checkpoint.
///
/// # Errors
/// Fails if the checkpoint is not valid or cannot be read now.
pub(super) fn find(client: &Client, key: &Path) -> Result<Option<StoredCheckpoint>, CheckpointFault> {
    // The bytes after the text can be far more than the text. Only an attempt that resumes needs them.
    let has_text = |bytes: &[u8]| text_range(bytes).is_some_and(|text| text.end <= bytes.len());
    let bytes = client.read_beginning(key, CHECKPOINT_BYTES_MAX, has_text);
    let Some(bytes) = bytes.map_err(unreadable)? else {
        return Ok(None);
    };
    let (stored, _) = parse(&bytes).map_err(CheckpointFault::Invalid)?;
    Ok(Some(stored))
}

/// Reads the checkpoint with this key. Also returns the bytes after the last whole parts. Returns `None` if there is no
/// checkpoint.
///
/// # Errors
/// Fails if the checkpoint is not valid or cannot be read now.
pub(super) fn find_with_tails(
    client: &Client,
    key: &Path,
) -> Result<Option<(StoredCheckpoint, Bytes)>, CheckpointFault> {
    let bytes = client.read(key, CHECKPOINT_BYTES_MAX);
    let Some(bytes) = bytes.map_err(unreadable)? else {
        return Ok(None);
    };
    let (stored, text_end) = parse(&bytes).map_err(CheckpointFault::Invalid)?;
    Ok(Some((stored, bytes.slice(text_end..))))
}

fn unreadable(error: Error) -> CheckpointFault {
    match error.class() {
        Class::Transient => CheckpointFault::NoAnswer(error),
        _ => CheckpointFault::Invalid(format!("the checkpoint cannot be read: {}", error.report())),
    }
}

/// Parses the text of a checkpoint. Returns the checkpoint, and the position after its text.
fn parse(bytes: &[u8]) -> Result<(StoredCheckpoint, usize), String> {
    let text = text_range(bytes).and_then(|range| {
        let text = str::from_utf8(bytes.get(range.clone())?).ok()?;
        Some((text, range.end))
    });
    let (text, text_end) = text.ok_or("the checkpoint is damaged")?;
    Ok((StoredCheckpoint::parse(text)?, text_end))
}

/// Returns the position of the text in the bytes of a checkpoint. Returns `None` if the line before the text is not
/// complete, or not valid.
fn text_range(bytes: &[u8]) -> Option<Range<usize>> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let line: TextLine = serde_json::from_slice(&bytes[..end]).ok()?;
    let begin = end + 1;
    Some(begin..begin.checked_add(line.text)?)
}
