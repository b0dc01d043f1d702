//! How far an attempt is goes in; out comes the document from which a successor goes on as if it had done all of it
//! itself, or why it cannot.

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

/// How far an attempt was, behind some chunk of its input.
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
    /// The line that it starts on.
    pub(super) line: u64,
    /// The byte that it starts at.
    pub(super) offset: u64,
    /// What was read already from there on.
    pub(super) read: Vec<u8>,
    /// Of the input up to the end of that.
    pub(super) digest: Midstate,
    pub(super) records: RecordCounts,
    pub(super) by_code: BTreeMap<String, RejectTally>,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) traps: TrapBudget,
    /// Bytes of output and rejects.
    pub(super) written: u64,
    /// What was made of it.
    pub(super) staged: StagedPart,
}

/// All that the bytes of an output depend on, but for the input's: only who does the same may go on.
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
    /// Of a job at a request of a queue.
    pub(super) fn of(job: &Job, queue: &str, id: &str) -> Self {
        let limits = Limits {
            // Neither shows in the output.
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

    /// The first member in which it is another.
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
    /// Reads a document, of a checkpoint of this very work.
    ///
    /// # Errors
    /// Why it is none.
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

    /// What the splitter goes on with.
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

/// The part of the document that says what was done up to some chunk.
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
    /// If the attempt can have a successor and is at an input of which the rest can be asked for.
    pub(super) fn of(job: &Job, decoding: &Decoding, fetched: &Fetched) -> Option<Self> {
        // Of another encoding nobody knows which byte of the file a record begins at.
        if job.limits.checkpoint_bytes == 0 || decoding.is_transcoded {
            return None;
        }
        let input = fetched.identity()?;
        // A small one never comes to its first checkpoint.
        if input.bytes() <= job.limits.checkpoint_bytes {
            return None;
        }
        // Nobody succeeds an attempt that no queue knows of.
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

/// What is known of the input behind a chunk, when the chunk is split off.
#[derive(Debug, Default)]
pub(super) struct CheckpointMark {
    /// What was read from there on.
    pub(super) read: Vec<u8>,
    /// Of the input up to the end of that. Nothing if chunks are digested when they are written: then that one knows it.
    pub(super) digest: Option<Midstate>,
}

/// Decides behind which chunks a checkpoint is written: one every `every` bytes.
pub(super) struct CheckpointScheduler<'a> {
    fetched: &'a Fetched,
    /// From where on chunks are digested when they are written, if they are.
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

    /// A mark behind the chunk that the splitter gave last, if it is time for one.
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
        // What is soon at its end would have to wait for its checkpoint there.
        if left <= self.every / 2 {
            return None;
        }
        self.next = offset + self.every;
        Some(mark)
    }

    fn of_what_was_read(&self, splitter: &Splitter, offset: u64) -> Option<CheckpointMark> {
        let read = splitter.read();
        // Behind a very long record more may have been read than a document should hold.
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

/// Of the input's bytes in a document.
const READ_BYTES_MAX: usize = 256 << 10;
