//! Uploads the bytes of an attempt in parts: bytes go in; an upload whose object can be made visible comes out.
//!
//! Each part but the last ends at a multiple of the part length, so that two attempts at the same work upload equal
//! parts. At most [`IN_FLIGHT_MAX`] parts are uploaded at the same time. If this many parts are in flight and the next
//! part is full, the attempt waits for the store. So an upload holds at most [`IN_FLIGHT_MAX`] parts and the next part
//! in memory.
//!
//! The next part and each part in flight count as memory of the attempt. An upload needs the memory of one part only.
//! If there is no memory for the next part, the attempt first waits for its own parts, whose memory then becomes free.
//! Only then does it wait for other attempts. If the attempt runs alone, it waits for each part before it begins the
//! next one. So the memory that it holds at a certain byte of its output does not depend on the speed of the store.

use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::buckets::Buckets;
use super::client::Client;
use super::keys::stored;
use super::part_buffer::PartBuffer;
use crate::error::{Code, Error, Result, Stage};
use crate::memory::{Held, MemoryShare};
use crate::storage::staged::ByteSink;

/// The length in bytes of each part. Only the last part can be shorter. Tests use shorter parts. A store accepts at
/// most 10,000 parts, so an object has at most 78 GiB. Each part but the last must have at least 5 MiB.
pub const PART_BYTES: usize = 8 << 20;

/// The maximum number of parts of one object that are uploaded at the same time.
const IN_FLIGHT_MAX: usize = 2;

/// The maximum number of parts that a store accepts.
const PARTS_MAX: usize = 10_000;

/// An object that is being uploaded. No reader sees the object. When this value is dropped, the upload is aborted,
/// unless [`Upload::keep`] was called.
#[derive(Debug)]
pub(super) struct Upload {
    client: Client,
    /// The bucket of the note about the upload.
    notes: Client,
    target: UploadTarget,
    /// The upload's id at the store, or `None` before the first part.
    id: Option<String>,
    /// The ids of the parts at the store. An id is `None` while its part is in flight, or if the part could not be
    /// uploaded.
    parts: Vec<Option<String>>,
    /// The first bytes of the next part, which is not full yet.
    buffer: PartBuffer,
    /// The memory of `buffer`.
    held: Held,
    memory: MemoryShare,
    running: JoinSet<(usize, Result<String>)>,
    /// The error of the first part that could not be uploaded.
    failed: Option<Error>,
    /// True if the upload must not be aborted when this value is dropped.
    is_kept: bool,
}

/// The object that an upload makes.
#[derive(Debug, Clone)]
pub(super) struct UploadTarget {
    pub(super) key: Path,
    /// A random word that identifies the upload. The object has it in its metadata.
    pub(super) nonce: String,
    /// The key of the note about the upload. The note is written after the upload has begun and before its first part.
    /// The reaper uses the note to find the upload of a dead attempt.
    pub(super) note_key: Path,
}

/// The note about an upload. It contains the bucket, the key and the id, which are needed to abort the upload.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct UploadNote {
    /// The URI of the bucket, if it is not the bucket of the note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bucket: Option<String>,
    pub(super) key: String,
    pub(super) upload: String,
}

/// An upload whose parts are all at the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SealedUpload {
    /// The URI of the bucket, if it is not the bucket of the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bucket: Option<String>,
    pub(super) key: String,
    /// The upload's id at the store.
    pub(super) upload: String,
    pub(super) nonce: String,
    /// The ids of the parts, in their order.
    pub(super) parts: Vec<String>,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// The state of an upload at a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UploadState {
    /// The URI of the bucket, if it is not the bucket of the checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bucket: Option<String>,
    pub(super) key: String,
    pub(super) nonce: String,
    pub(super) note_key: String,
    /// The upload's id, or `None` if there was no whole part yet.
    pub(super) upload: Option<String>,
    /// The length of each part, in bytes.
    pub(super) part_bytes: usize,
    pub(super) parts: Vec<String>,
    /// The number of bytes after the last whole part.
    pub(super) tail: usize,
}

impl Upload {
    /// Prepares an upload to the bucket `client`, whose buffers count as memory of `memory`.
    pub(super) fn new(
        client: &Client,
        buckets: &Buckets,
        target: UploadTarget,
        memory: &MemoryShare,
    ) -> Self {
        Self {
            client: client.clone(),
            notes: buckets.main.clone(),
            target,
            id: None,
            parts: Vec::new(),
            buffer: PartBuffer::default(),
            held: memory.hold(),
            memory: memory.clone(),
            running: JoinSet::new(),
            failed: None,
            is_kept: false,
        }
    }

    /// Continues an upload from a checkpoint. `tail` is the bytes after the last whole part.
    ///
    /// # Errors
    /// Fails as [`Held::raise`] does.
    pub(super) fn resume(
        client: &Client,
        buckets: &Buckets,
        state: &UploadState,
        tail: &[u8],
        memory: &MemoryShare,
    ) -> Result<Self> {
        let target = UploadTarget {
            key: stored(&state.key),
            nonce: state.nonce.clone(),
            note_key: stored(&state.note_key),
        };
        let mut upload = Self::new(client, buckets, target, memory);
        upload.id.clone_from(&state.upload);
        upload.parts = state.parts.iter().cloned().map(Some).collect();
        upload.share();
        upload.held.raise(tail.len())?;
        upload.buffer = PartBuffer::of(tail);
        Ok(upload)
    }

    /// Counts the buffers that the upload takes from now on as memory of `memory`, and uses another client of the bucket
    /// of outputs.
    pub(super) fn hold_in(&mut self, client: &Client, memory: &MemoryShare) {
        self.client = client.clone();
        self.notes = client.clone();
        self.memory = memory.clone();
        self.held = memory.hold();
    }

    /// Returns the number of whole parts so far. Some of them can still be in flight.
    pub(super) fn part_count(&self) -> usize {
        self.parts.len()
    }

    /// Returns the bytes after the last whole part.
    pub(super) fn tail(&self) -> &PartBuffer {
        &self.buffer
    }

    /// Returns the state at a checkpoint that covers the first `count` parts and `tail` more bytes. Returns `None` if
    /// one of these parts has not arrived at the store.
    pub(super) fn state_at(&mut self, count: usize, tail: usize) -> Option<UploadState> {
        while let Some(ended) = self.running.try_join_next() {
            if let Err(error) = self.record_part(ended) {
                self.failed.get_or_insert(error);
            }
        }
        let parts: Option<Vec<String>> = self.parts[..count].iter().cloned().collect();
        parts.map(|parts| UploadState {
            bucket: self.bucket(),
            key: self.target.key.to_string(),
            nonce: self.target.nonce.clone(),
            note_key: self.target.note_key.to_string(),
            upload: self.id.clone(),
            part_bytes: self.client.part_bytes(),
            parts,
            tail,
        })
    }

    /// Uploads the remaining bytes as the last part, and waits until all parts are at the store.
    pub(super) fn finish(mut self, sha256: String) -> Result<SealedObject> {
        let bytes = self.parts.len() as u64 * self.client.part_bytes() as u64 + self.buffer.len() as u64;
        if !self.buffer.is_empty() || self.parts.is_empty() {
            self.send_part()?;
        }
        while !self.running.is_empty() {
            self.wait_for_part()?;
        }
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let parts = self.parts.iter().cloned().collect::<Option<Vec<_>>>();
        let (Some(upload), Some(parts)) = (self.id.clone(), parts) else {
            unreachable!("each part was sent, and none failed");
        };
        let sealed = SealedUpload {
            bucket: self.bucket(),
            key: self.target.key.to_string(),
            upload,
            nonce: self.target.nonce.clone(),
            parts,
            bytes,
            sha256,
        };
        Ok(SealedObject { sealed, upload: self })
    }

    /// Keeps the upload for a later attempt.
    pub(super) fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Marks that a checkpoint describes the upload. From now on, another attempt can continue the upload, and a
    /// decision of that attempt can name it. So only the reaper may abort the upload, after it has read the decisions.
    pub(super) fn share(&mut self) {
        self.is_kept = true;
    }

    /// Aborts the upload, and removes the note about it.
    fn abort(&mut self) -> Result<()> {
        self.running.abort_all();
        self.is_kept = true;
        if let Some(id) = &self.id {
            self.client.abort(&self.target.key, id)?;
            self.notes.delete(&self.target.note_key)?;
        }
        Ok(())
    }

    /// Aborts the upload, unless another attempt may need it. If the abort fails, the reaper aborts the upload later.
    pub(super) fn discard(&mut self) {
        if !self.is_kept {
            let _ = self.abort();
        }
    }

    /// Removes the note about the upload. The note is not needed once a decision names the upload, or once its object
    /// is visible.
    pub(super) fn forget_note(&self) -> Result<()> {
        self.notes.delete(&self.target.note_key)
    }

    /// Returns the name of the bucket in documents: see [`Buckets`].
    fn bucket(&self) -> Option<String> {
        let Self { client, notes, .. } = self;
        (client.bucket() != notes.bucket()).then(|| client.bucket().to_owned())
    }

    fn send_part(&mut self) -> Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let index = self.parts.len();
        if index >= PARTS_MAX {
            let what = format!(
                "{}: an object store takes at most {PARTS_MAX} parts of {} MiB: split the input",
                self.client.uri(&self.target.key),
                self.client.part_bytes() >> 20
            );
            return Err(Error::permanent(Stage::Commit, Code::OutputTooLarge, what));
        }
        let id = match &self.id {
            Some(id) => id.clone(),
            None => self.begin()?,
        };
        while self.running.len() >= IN_FLIGHT_MAX {
            self.wait_for_part()?;
        }
        let bytes = self.buffer.take();
        let held = std::mem::replace(&mut self.held, self.memory.hold());
        let put = self.client.put_part(self.target.key.clone(), id, index, bytes);
        let part = async move {
            let put = put.await;
            drop(held);
            (index, put)
        };
        self.running.spawn_on(part, self.client.runtime());
        self.parts.push(None);
        while self.memory.is_alone() && !self.running.is_empty() {
            self.wait_for_part()?;
        }
        Ok(())
    }

    /// Makes room in the buffer for more bytes of the part. `more` is the number of bytes that are to be written.
    ///
    /// # Errors
    /// Fails as [`Held::raise`] does, or with the error of a part that could not be uploaded.
    fn enlarge(&mut self, more: usize) -> Result<()> {
        let rest = self.client.part_bytes() - self.buffer.len();
        let chunk = self.buffer.next_chunk(more).min(rest);
        let bytes = self.buffer.len() + chunk;
        while !self.held.try_raise(bytes) {
            if self.running.is_empty() {
                let raised = self.held.raise(bytes);
                raised.map_err(|error| error.about(self.client.uri(&self.target.key)))?;
            } else {
                self.wait_for_part()?;
            }
        }
        self.buffer.enlarge(chunk);
        Ok(())
    }

    /// Begins the upload, and writes the note about it for the reaper.
    fn begin(&mut self) -> Result<String> {
        let id = self.client.create_upload(&self.target.key, &self.target.nonce)?;
        self.id = Some(id.clone());
        let note = UploadNote {
            bucket: self.bucket(),
            key: self.target.key.to_string(),
            upload: id.clone(),
        };
        let note = serde_json::to_vec(&note).expect("a note serializes");
        self.notes.put(&self.target.note_key, note)?;
        Ok(id)
    }

    fn wait_for_part(&mut self) -> Result<()> {
        let ended = self.client.wait_for(self.running.join_next());
        let ended = ended.map_err(|why| {
            let what = format!("{}: a part was not uploaded", self.client.uri(&self.target.key));
            Error::transient(Stage::Commit, Code::OutputUnwritable, what).because(why)
        })?;
        ended.map_or(Ok(()), |ended| self.record_part(ended))
    }

    /// Records the id of a part whose upload has ended.
    fn record_part(&mut self, ended: Result<(usize, Result<String>), tokio::task::JoinError>) -> Result<()> {
        let (index, part) = ended.map_err(|error| {
            let what = format!("{}: an upload was interrupted", self.client.uri(&self.target.key));
            Error::transient(Stage::Commit, Code::HostFailure, what).because(error)
        })?;
        self.parts[index] = Some(part?);
        Ok(())
    }
}

impl ByteSink for Upload {
    fn write(&mut self, mut bytes: &[u8], _: u64) -> Result<()> {
        while !bytes.is_empty() {
            if self.buffer.room() == 0 {
                self.enlarge(bytes.len())?;
            }
            let rest = self.client.part_bytes() - self.buffer.len();
            let (now, later) = bytes.split_at(bytes.len().min(self.buffer.room()).min(rest));
            self.buffer.append(now);
            bytes = later;
            if self.buffer.len() == self.client.part_bytes() {
                self.send_part()?;
            }
        }
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let (false, Some(id)) = (self.is_kept, self.id.take()) else {
            return;
        };
        // If the upload cannot be aborted now, its note stays. The reaper uses the note to find the upload later.
        let (client, notes) = (self.client.clone(), self.notes.clone());
        let discarding = client.discard_upload(notes, self.target.clone(), id);
        self.client.runtime().spawn(discarding);
    }
}

/// An upload whose parts are all at the store, but whose object is not visible yet. When this value is dropped, the
/// upload is aborted, unless [`Upload::keep`] was called.
#[derive(Debug)]
pub(super) struct SealedObject {
    pub(super) sealed: SealedUpload,
    pub(super) upload: Upload,
}
