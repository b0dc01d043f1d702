//! Assembles the output of an attempt. The results of the chunks go in, in the order of the input. The staged output,
//! the staged rejects and the counts come out. If requested, the assembler also digests the input, because it has the
//! bytes of each chunk at hand.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::Ordering;

use super::checkpoint::{Checkpoint, CheckpointBase, CheckpointMark, CheckpointProgress};
use super::job::Job;
use super::lane::{ChunkOutput, FinishedChunk, RejectedRecord};
use super::replay::{CarriedRow, NextRow, ReplayedRows};
use super::trap_budget::TrapBudget;
use crate::config::{Limits, REJECTS_RATIO};
use crate::digest::{Digest, Digesting};
use crate::encode::RejectWriter;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::fail_points;
use crate::gate::RejectTally;
use crate::receipt::RecordCounts;
use crate::record::{ChunkOrigin, Position};
use crate::storage::{Attempt, StagedWriter};
use crate::units::ByteSize;

/// The maximum size of a vector that is reused, as a multiple of [`Limits::batch_bytes`].
const SPARE_BATCHES_MAX: usize = 8;

/// The output of an attempt, assembled from the lanes' results in the order of the input.
pub(super) struct OutputAssembler<'a> {
    job: &'a Job,
    pub(super) staging: Box<dyn Attempt>,
    /// The position of the next chunk.
    pub(super) origin: ChunkOrigin,
    pub(super) counts: RecordCounts,
    pub(super) by_code: BTreeMap<String, RejectTally>,
    /// The sums of the plugin's counters.
    pub(super) counters: BTreeMap<String, u64>,
    /// The constant part of the checkpoints, or `None` if no checkpoints are written.
    checkpoint_base: Option<CheckpointBase>,
    reject_writer: RejectWriter,
    rejects: Vec<u8>,
    traps: TrapBudget,
    /// The number of bytes of output and rejects together.
    written: u64,
    /// The digest of the input so far, if the assembler computes the digest.
    of_input: Option<Digesting>,
    /// The rows of the rejects that are replayed, if the input consists of rejects.
    replayed: Option<ReplayedRows>,
    /// The number of these rows that went on unchanged.
    carried: u64,
}

/// Vectors for reuse: one for the bytes of a chunk and one for its output.
#[derive(Default)]
pub(super) struct SpareBuffers {
    pub(super) raw: Vec<u8>,
    pub(super) output: Vec<u8>,
}

impl<'a> OutputAssembler<'a> {
    pub(super) fn new(job: &'a Job, staging: Box<dyn Attempt>, origin: ChunkOrigin) -> Self {
        Self {
            job,
            staging,
            origin,
            counts: RecordCounts::default(),
            by_code: BTreeMap::new(),
            counters: BTreeMap::new(),
            checkpoint_base: None,
            reject_writer: RejectWriter::default(),
            rejects: Vec::new(),
            traps: TrapBudget::default(),
            written: 0,
            of_input: None,
            replayed: None,
            carried: 0,
        }
    }

    /// Makes the assembler keep the positions of the records in the first input, and write the rows that are not processed.
    pub(super) fn replay(&mut self, rows: ReplayedRows) {
        self.replayed = Some(rows);
    }

    /// Continues after a checkpoint. The output and the rejects up to the checkpoint are already staged.
    pub(super) fn resume(job: &'a Job, staging: Box<dyn Attempt>, checkpoint: Checkpoint) -> Self {
        let begin = Self::new(job, staging, checkpoint.rest().origin);
        Self {
            counts: checkpoint.records,
            by_code: checkpoint.by_code,
            counters: checkpoint.counters,
            traps: checkpoint.traps,
            written: checkpoint.written,
            reject_writer: RejectWriter::after(checkpoint.records.rejected),
            ..begin
        }
    }

    /// Makes the assembler write a checkpoint after each chunk that has a mark, from now on.
    pub(super) fn write_checkpoints(&mut self, base: CheckpointBase) {
        self.checkpoint_base = Some(base);
    }

    /// Makes the assembler continue the digest `of_input` with the bytes of each chunk, from now on.
    pub(super) fn digest_input(&mut self, of_input: Option<Digesting>) {
        self.of_input = of_input;
    }

    /// Returns the position up to which the input is digested, or `None` if the assembler does not digest the input.
    pub(super) fn digested(&self) -> Option<u64> {
        self.of_input.as_ref().map(Digesting::bytes)
    }

    /// Ends the digest of the input and returns it, or `None` if the assembler does not digest the input.
    pub(super) fn end_input(&mut self) -> Option<Digest> {
        self.of_input.take().map(Digesting::finish)
    }

    /// Takes the next part of the result of the chunk `raw`.
    ///
    /// # Errors
    /// Fails if the part cannot be written, if the output is too large, or if the job's stop is requested.
    pub(super) fn write(&mut self, part: &ChunkOutput, raw: &[u8]) -> Result<()> {
        self.take(part, raw, &[])
    }

    /// Takes a part of the result of the chunk `raw`. For the last part, `chunk` is the same as `raw`, and its bytes
    /// are digested. For other parts, `chunk` is empty.
    fn take(&mut self, part: &ChunkOutput, raw: &[u8], chunk: &[u8]) -> Result<()> {
        self.job.execution.stop.check()?;
        fail_points::pass("batch", self.job.placement.name());
        self.count_bytes(part.output.len())?;
        let output = self.staging.output();
        match &mut self.of_input {
            Some(of_input) => {
                // The first `before` bytes of the chunk were digested when they were read.
                let before = of_input.bytes().saturating_sub(self.origin.0.offset);
                let rest = chunk.get(before as usize..).unwrap_or_default();
                output.write_beside(&part.output, (of_input, rest))?;
            }
            None => output.take(&part.output)?,
        }
        for rejected in part.rejects.iter() {
            self.reject(&rejected, raw)?;
        }
        self.write_rejects()
    }

    fn reject(&mut self, rejected: &RejectedRecord<'_>, raw: &[u8]) -> Result<()> {
        let RejectedRecord { row, code, reason } = *rejected;
        let mut position = self.origin.position(row);
        if self.replayed.is_some() {
            position = self.carry_rows_before(position)?;
        }
        self.count_code(code, reason, position)?;
        let raw = &raw[row.start as usize..row.end as usize];
        let bytes_max = self.rejects_bytes_max(self.origin.0.offset + u64::from(row.end));
        self.write_reject(bytes_max, |writer, text| {
            writer.append(text, position, code, reason, raw)
        })
    }

    fn write_reject(
        &mut self,
        bytes_max: u64,
        write: impl FnOnce(&mut RejectWriter, &mut RejectsBuffer<'_>) -> io::Result<()>,
    ) -> Result<()> {
        let mut text = RejectsBuffer {
            text: &mut self.rejects,
            text_bytes_max: self.job.work.limits.batch_bytes,
            staged: self.staging.rejects()?,
            written: &mut self.written,
            limits: &self.job.work.limits,
            bytes_max,
        };
        let written = write(&mut self.reject_writer, &mut text);
        written.map_err(|error| {
            Error::from_io(
                error,
                Stage::Commit,
                Class::Transient,
                Code::OutputUnwritable,
                "rejects cannot be written",
            )
        })?;
        text.check()
    }

    /// Writes the rows of the replayed rejects before a record that is rejected again. Returns the position of the record
    /// in the first input. `position` is its position among the replayed records. If no row has this position, returns
    /// `position`: then [`OutputAssembler::end_replay`] fails.
    fn carry_rows_before(&mut self, position: Position) -> Result<Position> {
        let Some(mut rows) = self.replayed.take() else {
            return Ok(position);
        };
        let mut found = position;
        while rows.passed() < position.record {
            match rows.next_row()? {
                Some(NextRow::Carried(row)) => self.carry(&row)?,
                Some(NextRow::Selected(position)) => found = position,
                None => break,
            }
        }
        self.replayed = Some(rows);
        Ok(found)
    }

    fn carry(&mut self, row: &CarriedRow<'_>) -> Result<()> {
        self.count_code(row.code, &row.row.reason, row.row.position)?;
        self.carried += 1;
        let bytes_max = self.rejects_bytes_max(0);
        self.write_reject(bytes_max, |writer, text| writer.append_row(text, row.text))
    }

    /// Writes the rest of the replayed rejects, and counts those that were not processed: they were read, and stay rejects.
    /// Does nothing if the input does not consist of rejects.
    ///
    /// # Errors
    /// Fails permanently if the number of processed records is not the number of selected rejects.
    pub(super) fn end_replay(&mut self, name: &str) -> Result<()> {
        let Some(mut rows) = self.replayed.take() else {
            return Ok(());
        };
        while let Some(row) = rows.next_row()? {
            if let NextRow::Carried(row) = row {
                self.carry(&row)?;
            }
            self.write_rejects()?;
        }
        if rows.passed() != self.counts.read {
            let what = format!(
                "{name}: {} rejects were selected, and {} records were found in them",
                rows.passed(),
                self.counts.read
            );
            return Err(Error::permanent(Stage::Commit, Code::ReplayRefused, what));
        }
        self.counts.read += self.carried;
        self.counts.rejected += self.carried;
        Ok(())
    }

    /// Returns the maximum number of bytes that all rejects up to the byte `read` of the input may have together.
    fn rejects_bytes_max(&self, read: u64) -> u64 {
        let limits = &self.job.work.limits;
        let bytes_max = limits.rejects_bytes_max.max(read.saturating_mul(REJECTS_RATIO));
        match &self.job.work.replay {
            None => bytes_max,
            Some(replayed) => bytes_max.max(replayed.rejects_bytes_max()),
        }
    }

    /// Takes the last part of a chunk. Returns the chunk's vectors for reuse.
    ///
    /// # Errors
    /// Fails as [`OutputAssembler::write`] does, and if the request has more traps or timeouts than its limits allow.
    pub(super) fn end(
        &mut self,
        finished: FinishedChunk,
        mark: Option<CheckpointMark>,
    ) -> Result<SpareBuffers> {
        self.traps
            .add(&finished.traps, &self.origin, &self.job.work.limits)
            .map_err(|e| e.about(&self.job.work.plugin.description().name))?;
        self.take(&finished.rest, &finished.raw, &finished.raw)?;
        self.counts += finished.counts;
        self.count(finished.counters);
        self.origin.advance(finished.used);
        self.job
            .execution
            .progress
            .show(self.origin.0.offset, self.counts);
        if let (Some(base), Some(mark)) = (&self.checkpoint_base, mark)
            && let Some(digest) = mark
                .digest
                .or_else(|| self.of_input.as_ref().map(Digesting::midstate))
        {
            let progress = CheckpointProgress {
                origin: self.origin,
                read: mark.read,
                digest,
                records: self.counts,
                by_code: &self.by_code,
                counters: &self.counters,
                traps: &self.traps,
                written: self.written,
            };
            self.staging.checkpoint(Box::new(|| base.document(progress)))?;
            let offset = self.origin.0.offset;
            self.job
                .execution
                .progress
                .checkpoint
                .store(offset, Ordering::Relaxed);
        }
        let bytes_max = SPARE_BATCHES_MAX * self.job.work.limits.batch_bytes;
        let spare = SpareBuffers {
            raw: within(finished.raw, bytes_max),
            output: within(finished.rest.output, bytes_max),
        };
        // The memory was reserved for buffers that no longer exist.
        drop(finished.held);
        Ok(spare)
    }

    /// Adds counters of a plugin.
    pub(super) fn count(&mut self, counters: BTreeMap<String, u64>) {
        for (name, count) in counters {
            // The limit on the number of names holds for each instance, and also for all instances together.
            let is_full = self.counters.len() >= self.job.work.limits.plugin_counters;
            if is_full && !self.counters.contains_key(&name) {
                continue;
            }
            let counter = self.counters.entry(name).or_default();
            *counter = counter.saturating_add(count);
        }
    }

    fn count_bytes(&mut self, bytes: usize) -> Result<()> {
        count_bytes(&mut self.written, bytes, &self.job.work.limits)
    }

    fn count_code(&mut self, code: &str, reason: &str, position: Position) -> Result<()> {
        // `get_mut` comes first, because `entry` would need an owned key for each reject.
        if let Some(rejects) = self.by_code.get_mut(code) {
            rejects.add(position, reason);
            return Ok(());
        }
        let codes_max = self.job.work.limits.reject_codes;
        if self.by_code.len() >= codes_max {
            let why = format!(
                "rejects with more than {codes_max} codes: a code names a kind of fault, not one record"
            );
            let plugin = &self.job.work.plugin.description().name;
            return Err(Error::permanent(Stage::Plugin, Code::PluginLimit, why).about(plugin));
        }
        let rejects = self.by_code.entry(code.to_owned()).or_default();
        rejects.add(position, reason);
        Ok(())
    }

    fn write_rejects(&mut self) -> Result<()> {
        if !self.rejects.is_empty() {
            self.count_bytes(self.rejects.len())?;
            self.staging.rejects()?.take(&self.rejects)?;
            self.rejects.clear();
        }
        Ok(())
    }
}

fn count_bytes(written: &mut u64, bytes: usize, limits: &Limits) -> Result<()> {
    *written += bytes as u64;
    let max = limits.output_bytes_max;
    if *written <= max {
        return Ok(());
    }
    let why = format!("output and rejects have more than the limit of {max} bytes (--limit output-bytes)");
    Err(Error::permanent(Stage::Commit, Code::OutputTooLarge, why))
}

/// The text of rejects before it is written to the staged file. A long text is written in parts.
struct RejectsBuffer<'a> {
    text: &'a mut Vec<u8>,
    text_bytes_max: usize,
    staged: &'a mut dyn StagedWriter,
    written: &'a mut u64,
    limits: &'a Limits,
    bytes_max: u64,
}

impl RejectsBuffer<'_> {
    fn check(&self) -> Result<()> {
        if self.staged.bytes() + self.text.len() as u64 <= self.bytes_max {
            return Ok(());
        }
        let (max, limit) = (self.bytes_max, ByteSize(self.limits.rejects_bytes_max));
        let why = format!(
            "rejects have more than {max} bytes: the limit rejects-bytes={limit} or, if that is more, {REJECTS_RATIO} times the bytes read of the input: check the input, or raise the limit with --limit rejects-bytes=SIZE"
        );
        Err(Error::permanent(Stage::Commit, Code::RejectsTooLarge, why))
    }

    fn write_staged(&mut self) -> Result<()> {
        self.check()?;
        count_bytes(self.written, self.text.len(), self.limits)?;
        self.staged.take(self.text)?;
        self.text.clear();
        Ok(())
    }
}

/// Adds text to the buffer. An I/O error wraps an [`Error`].
impl Write for RejectsBuffer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.text_bytes_max {
            self.write_staged().map_err(Error::into_io)?;
        }
        let some = &bytes[..bytes.len().min(self.text_bytes_max.max(1))];
        self.text.extend_from_slice(some);
        Ok(some.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_staged().map_err(Error::into_io)
    }
}

/// Returns the vector for reuse. If a long record has made the vector too large, returns a new vector.
fn within(vector: Vec<u8>, bytes_max: usize) -> Vec<u8> {
    if vector.capacity() <= bytes_max {
        vector
    } else {
        Vec::new()
    }
}
