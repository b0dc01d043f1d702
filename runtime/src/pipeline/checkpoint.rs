//! Converts checkpoints: the progress of an attempt goes in; a document comes out, from which the next attempt resumes
//! as if it had done the work itself, or the reason why it cannot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::job::Job;
use super::trap_budget::TrapBudget;
use crate::commit::StagedPart;
use crate::config::Limits;
use crate::decode::{Chunk, Decoding, ResumePoint, Splitter};
use crate::digest::Midstate;
use crate::fetch::{Fetched, Identity};
use crate::format::Format;
use crate::format::csv::Dialect;
use crate::gate::RejectTally;
use crate::receipt::RecordCounts;
use crate::record::{ChunkOrigin, Position};
use crate::request::InputOptions;

/// The version of the document.
const VERSION: u32 = 1;

/// The state of an attempt at a chunk boundary of its input.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checkpoint {
    checkpoint: u32,
    work: WorkIdentity,
    pub(super) input: Identity,
    pub(super) format: Format,
    pub(super) columns: Vec<String>,
    pub(super) dialect: Dialect,
    /// The number of the next record.
    pub(super) record: u64,
    /// The line on which that record starts.
    pub(super) line: u64,
    /// The byte at which it starts.
    pub(super) offset: u64,
    /// The bytes from there on that were read already.
    pub(super) read: Vec<u8>,
    /// The digest of the input up to the end of these bytes.
    pub(super) digest: Midstate,
    pub(super) records: RecordCounts,
    pub(super) by_code: BTreeMap<String, RejectTally>,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) traps: TrapBudget,
    /// The bytes of output and rejects.
    pub(super) written: u64,
    /// The staged output and rejects.
    pub(super) staged: StagedPart,
}

/// Everything that the bytes of an output depend on except the input: only the same work may resume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkIdentity {
    host: String,
    pub(super) queue: String,
    pub(super) id: String,
    uri: String,
    submitted_at: String,
    options: InputOptions,
    plugin: String,
    config: String,
    output_format: Option<Format>,
    limits: String,
}

impl WorkIdentity {
    /// Returns the work identity of `job` for the request `id` in `queue`.
    pub(super) fn of(job: &Job, queue: &str, id: &str) -> Self {
        let limits = Limits {
            // Neither limit affects the output.
            lanes: 0,
            checkpoint_bytes: 0,
            ..(*job.limits).clone()
        };
        Self {
            host: env!("CARGO_PKG_VERSION").to_owned(),
            queue: queue.to_owned(),
            id: id.to_owned(),
            uri: job.uri.clone(),
            submitted_at: job.submitted_at.to_string(),
            options: job.input.clone(),
            plugin: job.plugin.description().sha256.clone(),
            config: hex::encode(Sha256::digest(job.config.as_bytes())),
            output_format: job.output_format,
            limits: hex::encode(Sha256::digest(format!("{limits:?}"))),
        }
    }

    /// Returns the name of the first member that differs.
    fn difference(&self, other: &Self) -> Option<String> {
        let members = |work: &Self| match serde_json::to_value(work) {
            Ok(Value::Object(members)) => members,
            _ => unreachable!("a struct with text keys"),
        };
        let others = members(other);
        let differs = |(name, value): &(String, Value)| others.get(name) != Some(value);
        members(self).into_iter().find(differs).map(|(name, _)| name)
    }
}

impl Checkpoint {
    /// Reads the document of a checkpoint of the given work.
    ///
    /// # Errors
    /// Returns the reason why the document is not one.
    pub(super) fn parse(document: &str, work: &WorkIdentity) -> Result<Self, String> {
        let checkpoint: Self = strict_json::from_str(document)
            .map_err(|error| format!("the checkpoint is not one of this version: {error}"))?;
        if checkpoint.checkpoint != VERSION {
            return Err(format!("the checkpoint has version {}", checkpoint.checkpoint));
        }
        if let Some(member) = work.difference(&checkpoint.work) {
            return Err(format!("the checkpoint is of other work: its {member} differs"));
        }
        let Self {
            offset, read, digest, ..
        } = &checkpoint;
        let is_sound = digest.is_sound()
            && offset.checked_add(read.len() as u64) == Some(digest.bytes)
            && digest.bytes < checkpoint.input.bytes()
            && checkpoint.records.add_up();
        if is_sound {
            Ok(checkpoint)
        } else {
            Err("the checkpoint contradicts itself".to_owned())
        }
    }

    /// Returns the point from which the splitter continues.
    pub(super) fn rest(&self) -> ResumePoint {
        let &Self {
            record, line, offset, ..
        } = self;
        ResumePoint {
            origin: ChunkOrigin(Position { record, line, offset }),
            read: self.read.clone(),
        }
    }
}

/// The part of the document that is the same in all checkpoints of an attempt.
pub(super) struct CheckpointBase {
    pub(super) work: WorkIdentity,
    input: Identity,
    format: Format,
    columns: Vec<String>,
    dialect: Dialect,
}

/// The part of the document that describes the progress up to a chunk.
pub(super) struct CheckpointProgress<'a> {
    pub(super) origin: ChunkOrigin,
    pub(super) read: Vec<u8>,
    pub(super) digest: Midstate,
    pub(super) records: RecordCounts,
    pub(super) by_code: &'a BTreeMap<String, RejectTally>,
    pub(super) counters: &'a BTreeMap<String, u64>,
    pub(super) traps: &'a TrapBudget,
    pub(super) written: u64,
}

impl CheckpointBase {
    /// Returns the base if the attempt may be resumed and the rest of its input can be fetched by itself.
    pub(super) fn of(job: &Job, decoding: &Decoding, fetched: &Fetched) -> Option<Self> {
        // In another encoding, the byte of the file at which a record begins is unknown.
        if job.limits.checkpoint_bytes == 0 || decoding.is_transcoded {
            return None;
        }
        let input = fetched.identity()?;
        // A small input never reaches its first checkpoint.
        if input.bytes() <= job.limits.checkpoint_bytes {
            return None;
        }
        // Without a queue there is no next attempt.
        let (queue, id) = (job.queue.as_ref()?, job.id.as_ref()?);
        Some(Self {
            work: WorkIdentity::of(job, queue, id),
            input: input.clone(),
            format: decoding.format,
            columns: decoding.columns.clone(),
            dialect: decoding.dialect,
        })
    }

    pub(super) fn document(&self, progress: CheckpointProgress<'_>, staged: &StagedPart) -> String {
        let Position { record, line, offset } = progress.origin.0;
        let checkpoint = Checkpoint {
            checkpoint: VERSION,
            work: self.work.clone(),
            input: self.input.clone(),
            format: self.format,
            columns: self.columns.clone(),
            dialect: self.dialect,
            record,
            line,
            offset,
            read: progress.read,
            digest: progress.digest,
            records: progress.records,
            by_code: progress.by_code.clone(),
            counters: progress.counters.clone(),
            traps: progress.traps.clone(),
            written: progress.written,
            staged: staged.clone(),
        };
        serde_json::to_string(&checkpoint).expect("a checkpoint serializes")
    }
}

/// The state of the input at a chunk boundary, when the chunk is split off.
#[derive(Debug, Default)]
pub(super) struct CheckpointMark {
    /// The bytes after the chunk that were read already.
    pub(super) read: Vec<u8>,
    /// The digest of the input up to the end of these bytes. None if the assembler digests the input: then the
    /// assembler has it.
    pub(super) digest: Option<Midstate>,
}

/// Decides after which chunks a checkpoint is written: one every `every` bytes.
pub(super) struct CheckpointScheduler<'a> {
    fetched: &'a Fetched,
    /// The position from which the assembler digests the input, if it does.
    digested: Option<u64>,
    every: u64,
    next: u64,
    total: u64,
}

impl<'a> CheckpointScheduler<'a> {
    pub(super) fn new(
        base: &CheckpointBase,
        every: u64,
        from: ChunkOrigin,
        fetched: &'a Fetched,
        digested: Option<u64>,
    ) -> Self {
        Self {
            fetched,
            digested,
            every,
            next: from.0.offset + every,
            total: base.input.bytes(),
        }
    }

    /// Returns a mark for the chunk that the splitter returned last, if a checkpoint is due.
    pub(super) fn mark(&mut self, splitter: &Splitter, chunk: &Chunk) -> Option<CheckpointMark> {
        let Position { offset, .. } = splitter.origin().0;
        if offset < self.next || chunk.last {
            return None;
        }
        let mark = match self.digested {
            Some(from) => (offset >= from).then_some(CheckpointMark::default())?,
            None => self.of_what_was_read(splitter, offset)?,
        };
        let left = self.total.saturating_sub(offset + mark.read.len() as u64);
        // An input that is nearly finished would only wait for its checkpoint at the end.
        if left <= self.every / 2 {
            return None;
        }
        self.next = offset + self.every;
        Some(mark)
    }

    fn of_what_was_read(&self, splitter: &Splitter, offset: u64) -> Option<CheckpointMark> {
        let read = splitter.read();
        // Beyond a very long record, more bytes may have been read than a document should hold.
        if read.len() > READ_BYTES_MAX {
            return None;
        }
        let digest = self.fetched.midstate()?;
        let is_whole = digest.bytes == offset + read.len() as u64;
        is_whole.then(|| CheckpointMark {
            read: read.to_vec(),
            digest: Some(digest),
        })
    }
}

/// The most bytes of the input that a document holds.
const READ_BYTES_MAX: usize = 256 << 10;
