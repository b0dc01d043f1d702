//! Writes and reads the documents of checkpoints. To write a document, the progress of an attempt goes in, and the
//! document comes out. To resume, the document goes in. The state from which the next attempt continues comes out, or
//! the reason why it cannot continue. A resumed attempt continues as if it had done the earlier work itself. The
//! storage stores the document together with what it describes: `storage/local/checkpoint.rs` with the staged files,
//! `storage/object/checkpoint.rs` with the state of the uploads and the bytes after the last whole parts.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::job::{Job, Placement, Work};
use super::trap_budget::TrapBudget;
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
use crate::storage::Owner;

/// The version of the checkpoint document.
const VERSION: u32 = 2;

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
    /// The line on which the next record starts.
    pub(super) line: u64,
    /// The offset in bytes at which the next record starts.
    pub(super) offset: u64,
    /// The bytes from `offset` on that were already read.
    pub(super) read: Vec<u8>,
    /// The digest of the input up to the end of `read`.
    pub(super) digest: Midstate,
    pub(super) records: RecordCounts,
    pub(super) by_code: BTreeMap<String, RejectTally>,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) traps: TrapBudget,
    /// The number of bytes of output and rejects together.
    pub(super) written: u64,
}

/// Everything that determines the result of a request, except the input itself. The result is output, rejects and
/// counts, or an error. An attempt may resume from a checkpoint only if its work has the same identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkIdentity {
    /// The version of this crate.
    host: String,
    pub(super) queue: String,
    pub(super) id: String,
    uri: String,
    submitted_at: String,
    options: InputOptions,
    /// The SHA-256 of the component, in lowercase hex.
    plugin: String,
    /// The SHA-256 of the config, in lowercase hex.
    config: String,
    /// The SHA-256 of the reference data, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    data: BTreeMap<String, String>,
    output_format: Option<Format>,
    limits: ResultLimits,
}

/// The limits that affect the result for the records before a checkpoint. With other limits, the earlier attempt could
/// have rejected a record, left out a counter, or ended with an error.
///
/// The limits on totals (`input_raw_bytes_max`, `input_bytes_max`, `output_bytes_max`) are not included. The attempt
/// that resumes knows the totals so far and checks these limits itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResultLimits {
    batch_bytes: usize,
    batch_records: usize,
    batch_cells: usize,
    record_bytes_max: usize,
    columns_max: usize,
    column_name_bytes_max: usize,
    plugin_memory_bytes: usize,
    plugin_call: Duration,
    traps: usize,
    timeouts: usize,
    changes_bytes_max: usize,
    record_rows_max: usize,
    rejects_bytes_max: u64,
    plugin_counters: usize,
    reject_codes: usize,
}

impl ResultLimits {
    /// Names every limit. So after a limit is added to [`Limits`], this function does not compile until the new limit
    /// is included or ignored here.
    fn of(limits: &Limits) -> Self {
        let &Limits {
            batch_bytes,
            batch_records,
            batch_cells,
            record_bytes_max,
            columns_max,
            column_name_bytes_max,
            plugin_memory_bytes,
            plugin_call,
            traps,
            timeouts,
            changes_bytes_max,
            record_rows_max,
            rejects_bytes_max,
            plugin_counters,
            reject_codes,
            // Limits on totals.
            input_raw_bytes_max: _,
            input_bytes_max: _,
            output_bytes_max: _,
            // Limits for compressed inputs, which have no checkpoints.
            input_ratio_max: _,
            input_ratio_from_bytes: _,
            zstd_window_bytes_max: _,
            // Limits on the division of the work, its time, its memory and its log.
            lanes: _,
            checkpoint_bytes: _,
            attempt: _,
            memory: _,
            plugin_log_bytes: _,
            // Limits for compiling the plugin.
            component_bytes_max: _,
            compile: _,
            compile_memory_bytes: _,
            // Limits for transferring the input.
            http_connect: _,
            http_first_byte: _,
            http_idle: _,
            http_rate_min: _,
            http_rate_window: _,
            http_redirects: _,
            http_resumes: _,
            http_resumes_in_vain: _,
            http_resume_pause: _,
            fetch_chunks: _,
            fetch_chunk_bytes: _,
            fetch_range_bytes: _,
        } = limits;
        Self {
            batch_bytes,
            batch_records,
            batch_cells,
            record_bytes_max,
            columns_max,
            column_name_bytes_max,
            plugin_memory_bytes,
            plugin_call,
            traps,
            timeouts,
            changes_bytes_max,
            record_rows_max,
            rejects_bytes_max,
            plugin_counters,
            reject_codes,
        }
    }
}

impl WorkIdentity {
    /// Returns the identity of a job's work. Returns `None` for a job without a queue, because such a job has no next
    /// attempt. Names every part of the job. So after a part is added, this function does not compile until the new
    /// part is included or ignored here, as in [`ResultLimits::of`].
    pub(super) fn of(job: &Job) -> Option<Self> {
        let Job {
            work,
            placement,
            execution: _,
        } = job;
        let Work {
            input,
            plugin,
            config: _, // Compared by its digest.
            output_format,
            limits,
            // The gate and the profile concern the whole output. It does not matter which attempts have written the
            // parts of the output.
            gate: _,
            profile: _,
            binding: _,
            // An attempt at a replay writes no checkpoints.
            replay: _,
        } = work;
        let Placement {
            owner,
            uri,
            submitted_at,
            // The group does not change how the request runs.
            group: _,
            // Only `Work::input` counts.
            submitted_input: _,
            // The checkpoint is stored at the destination, so the destination need not be compared.
            destination: _,
        } = placement;
        let Owner {
            queue,
            id,
            fence: _,
            life_ms: _,
            is_contested: _,
        } = owner;
        Some(Self {
            host: env!("CARGO_PKG_VERSION").to_owned(),
            queue: queue.clone()?,
            id: id.clone()?,
            uri: uri.clone(),
            submitted_at: submitted_at.to_string(),
            options: input.clone(),
            plugin: plugin.description().sha256.clone(),
            config: work.config_sha256(),
            data: plugin.data().digests(),
            output_format: *output_format,
            limits: ResultLimits::of(limits),
        })
    }

    /// Returns the path of the first member that differs, such as `limits.traps`.
    fn difference(&self, other: &Self) -> Option<String> {
        let [own, other] =
            [self, other].map(|work| serde_json::to_value(work).expect("a work identity serializes"));
        first_difference(&own, &other)
    }
}

/// Returns the path of the first member in which two values differ, or an empty path if neither value is an object.
/// Returns `None` if the values are equal.
fn first_difference(one: &Value, other: &Value) -> Option<String> {
    if one == other {
        return None;
    }
    let objects = [one, other].into_iter().filter_map(Value::as_object);
    let difference = objects
        .flat_map(Map::keys)
        .find_map(|name| Some((name, first_difference(&one[name], &other[name])?)));
    Some(match difference {
        Some((name, within)) if within.is_empty() => name.clone(),
        Some((name, within)) => format!("{name}.{within}"),
        None => String::new(),
    })
}

impl Checkpoint {
    /// Reads the document of a checkpoint of the given work.
    ///
    /// # Errors
    /// Returns the reason if the document cannot be used.
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
    work: WorkIdentity,
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
    /// Returns the base if the attempt can be resumed and the source can serve the rest of the input. Returns `None`
    /// otherwise.
    pub(super) fn of(job: &Job, decoding: &Decoding, fetched: &Fetched) -> Option<Self> {
        // For an input in an encoding other than UTF-8, the positions of the records in the file are unknown.
        if job.work.limits.checkpoint_bytes == 0 || decoding.is_transcoded {
            return None;
        }
        let input = fetched.identity()?;
        // A small input never reaches its first checkpoint.
        if input.bytes() <= job.work.limits.checkpoint_bytes {
            return None;
        }
        Some(Self {
            work: WorkIdentity::of(job)?,
            input: input.clone(),
            format: decoding.format,
            columns: decoding.columns.clone(),
            dialect: decoding.dialect,
        })
    }

    pub(super) fn document(&self, progress: CheckpointProgress<'_>) -> String {
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
        };
        serde_json::to_string(&checkpoint).expect("a checkpoint serializes")
    }
}

/// The state of the input at a chunk boundary, at the time when the chunk is split off.
#[derive(Debug, Default)]
pub(super) struct CheckpointMark {
    /// The bytes after the chunk that were already read.
    pub(super) read: Vec<u8>,
    /// The digest of the input up to the end of `read`. `None` if the assembler digests the input and therefore has the
    /// digest itself.
    pub(super) digest: Option<Midstate>,
}

/// Decides after which chunks a checkpoint is written: about one after each `every` bytes of input.
pub(super) struct CheckpointScheduler<'a> {
    fetched: &'a Fetched,
    /// The position from which the assembler digests the input, or `None` if the assembler does not digest the input.
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
        // Near the end of the input, a checkpoint costs time and saves little.
        if left <= self.every / 2 {
            return None;
        }
        self.next = offset + self.every;
        Some(mark)
    }

    fn of_what_was_read(&self, splitter: &Splitter, offset: u64) -> Option<CheckpointMark> {
        let read = splitter.read();
        // After a very long record, more bytes may have been read than a document may hold.
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

/// The maximum number of bytes of the input that a document holds.
const READ_BYTES_MAX: usize = 256 << 10;
