//! Takes a chunk through a lane: the chunk goes in, and its output and its rejects come out. The chunk is decoded, sent
//! through the lane's own plugin instance, and encoded. The lane applies each verdict. A lane has no access to other
//! lanes or to earlier chunks.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Range;
use std::slice::Iter;
use std::sync::Arc;

use super::plugin_runner::{PartOutcome, PluginRunner};
use super::trap_budget::ChunkTraps;
use super::trap_isolation::TrapIsolation;
use super::watcher::{Fate, RecordWatcher, WatchedRecord};
use crate::config::Limits;
use crate::decode::{Chunk, Decoder};
use crate::encode::{Encoder, UnwritableRecord};
use crate::error::{Class, Code, Error, Result, Stage};
use crate::memory::Held;
use crate::plugin::{Instance, Trap};
use crate::quality::Profiler;
use crate::receipt::RecordCounts;
use crate::record::{
    Batch, Changes, ChangesReader, ChunkError, ChunkOrigin, Emission, EmittedRow, MalformedRecord, Row, Rows,
    Used, Verdict,
};

const TRAP: &str = "plugin-trap";
const TIMEOUT: &str = "plugin-timeout";

/// The maximum length of a reason that a reject keeps, in bytes.
const REASON_BYTES_MAX: usize = 4 << 10;

/// The size of a call's input, in bytes, above which extra memory is reserved.
const USUAL_CALL_BYTES: usize = 512 << 10;

/// The number of copies of a long batch for which memory in the plugin is reserved: the batch, its records, and the
/// answer.
const CALL_COPIES_INSIDE: usize = 3;

/// The number of copies of a long batch for which memory in the host is reserved: the answer, and the texts assembled
/// for an output.
const CALL_COPIES_OUTSIDE: usize = 2;

/// The maximum size of pending output and rejects, as a multiple of [`Limits::batch_bytes`]. If they become larger, the
/// lane sends them to the sink before the chunk ends.
const PENDING_BATCHES_MAX: usize = 4;

/// The maximum number of bytes of each vector that a lane keeps for the next chunk.
const KEPT_BYTES: usize = 1 << 20;

/// Receives a part of a chunk's output early, with the chunk's bytes, because the whole output is too large to buffer.
pub(super) type OutputSink<'a> = dyn FnMut(ChunkOutput, &[u8]) -> Result<()> + 'a;

/// The output and the rejects of a chunk, or of a part of it.
#[derive(Default)]
pub(super) struct ChunkOutput {
    pub(super) output: Vec<u8>,
    pub(super) rejects: ChunkRejects,
}

/// A chunk that a lane has processed to its end or has given up.
pub(super) struct FinishedChunk {
    /// The output and the rejects that the [`OutputSink`] has not received.
    pub(super) rest: ChunkOutput,
    pub(super) counts: RecordCounts,
    /// The plugin's counters for this chunk.
    pub(super) counters: BTreeMap<String, u64>,
    /// The plugin's traps on this chunk. If the lane gave the chunk up, these are more than a request may have.
    pub(super) traps: ChunkTraps,
    /// Set if the lane gave the chunk up. If so, the rest of the input is not needed.
    pub(super) is_given_up: bool,
    /// The number of bytes, records and lines in the chunk.
    pub(super) used: Used,
    /// The bytes of the chunk, to be digested. The vector is reused afterwards.
    pub(super) raw: Vec<u8>,
    /// The memory reserved for this chunk and its output, if they need more than usual.
    pub(super) held: Held,
}

/// The rejects of one chunk.
#[derive(Default)]
pub(super) struct ChunkRejects {
    rows: Vec<RejectEnds>,
    /// The codes and reasons, one after the other.
    text: String,
}

struct RejectEnds {
    row: Row,
    code_end: usize,
    reason_end: usize,
}

/// One reject. Its record is a row of the chunk.
pub(super) struct RejectedRecord<'a> {
    pub(super) row: Row,
    pub(super) code: &'a str,
    pub(super) reason: &'a str,
}

impl ChunkRejects {
    fn push(&mut self, rejected: &RejectedRecord<'_>) {
        self.text.push_str(rejected.code);
        let code_end = self.text.len();
        self.text.push_str(rejected.reason);
        self.rows.push(RejectEnds {
            row: rejected.row,
            code_end,
            reason_end: self.text.len(),
        });
    }

    /// Returns the code and the reason of the reject that was added last.
    fn last(&self) -> Option<(&str, &str)> {
        let last = self.rows.last()?;
        let before = self.rows.iter().rev().nth(1);
        let start = before.map_or(0, |before| before.reason_end);
        let (code, reason) = self.text[start..].split_at(last.code_end - start);
        Some((code, reason))
    }

    fn bytes(&self) -> usize {
        self.text.len() + size_of::<RejectEnds>() * self.rows.len()
    }

    /// Returns the rejects in the order in which they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = RejectedRecord<'_>> {
        let mut text = 0;
        self.rows.iter().map(move |reject| {
            let rejected = RejectedRecord {
                row: reject.row,
                code: &self.text[text..reject.code_end],
                reason: &self.text[reject.code_end..reject.reason_end],
            };
            text = reject.reason_end;
            rejected
        })
    }
}

/// A decoder, a plugin instance and an encoder, which process a chunk one after the other.
pub(super) struct Lane {
    pub(super) decoder: Box<dyn Decoder>,
    pub(super) runner: PluginRunner,
    pub(super) encoder: Box<dyn Encoder>,
    /// Reads the encoder's output for the profile, if one was requested.
    pub(super) profiler: Option<Profiler>,
    /// The number of columns of the output.
    width: usize,
    limits: Arc<Limits>,
    plugin: String,
    batch: Batch,
    pending: ChunkOutput,
    counts: RecordCounts,
    traps: ChunkTraps,
    /// The memory reserved for a chunk that is longer than usual.
    chunk_held: Held,
    /// The memory reserved for the answers to calls on long batches, and for a long output.
    held: Held,
    watcher: Option<Arc<dyn RecordWatcher>>,
}

/// The state of a lane before a record, from which its watcher learns what became of the record.
#[derive(Clone, Copy)]
struct BeforeRecord {
    counts: RecordCounts,
    output_bytes: usize,
}

impl Lane {
    pub(super) fn new(
        decoder: Box<dyn Decoder>,
        runner: PluginRunner,
        encoder: Box<dyn Encoder>,
        profiler: Option<Profiler>,
        width: usize,
        plugin: &str,
        limits: &Arc<Limits>,
    ) -> Self {
        Self {
            decoder,
            runner,
            encoder,
            profiler,
            width,
            limits: Arc::clone(limits),
            plugin: plugin.to_owned(),
            batch: Batch::default(),
            pending: ChunkOutput::default(),
            counts: RecordCounts::default(),
            traps: ChunkTraps::default(),
            chunk_held: limits.memory.hold(),
            held: limits.memory.hold(),
            watcher: None,
        }
    }

    /// Sets the watcher of the lane's records.
    pub(super) fn watched_by(self, watcher: Option<Arc<dyn RecordWatcher>>) -> Self {
        Self { watcher, ..self }
    }

    /// Returns the beginning of the output, before the first record: for CSV, the header.
    pub(super) fn begin(&mut self) -> ChunkOutput {
        self.encoder.begin(&mut self.pending.output);
        std::mem::take(&mut self.pending)
    }

    /// Processes a chunk. `spare` is a vector for reuse.
    pub(super) fn run(
        &mut self,
        chunk: Chunk,
        spare: Vec<u8>,
        sink: &mut OutputSink<'_>,
    ) -> Result<FinishedChunk, ChunkError> {
        self.pending.output = spare;
        self.pending.output.clear();
        self.batch.load(chunk.raw);
        self.chunk_held = chunk.held;
        while !self.traps.are_too_many(&self.limits) && self.decoder.next(&mut self.batch)? {
            if self.watcher.as_ref().is_some_and(|watcher| !watcher.wants_more()) {
                return Err(enough().into());
            }
            self.process_batch(sink)?;
        }
        let used = Used {
            bytes: self.batch.raw.len(),
            ..self.batch.used
        };
        Ok(self.end(used)?)
    }

    /// Lets the plugin add rows at the end of the input.
    pub(super) fn finish(&mut self, sink: &mut OutputSink<'_>) -> Result<FinishedChunk> {
        let emitted = self.runner.instance().and_then(Instance::finish);
        let emitted = emitted.map_err(|e| self.about_plugin(e))?;
        let rows = Rows::check(emitted.rows, &emitted.ends, &emitted.bytes, self.width)
            .map_err(|e| self.about_plugin(e))?;
        let before = self.before_record();
        self.emit(rows, sink)?;
        if let Some(watcher) = &self.watcher {
            let rows = &self.pending.output;
            watcher.finished(rows.get(before.output_bytes..).unwrap_or(rows));
        }
        self.end(Used::default())
    }

    fn end(&mut self, used: Used) -> Result<FinishedChunk> {
        let rest = self.take_pending()?;
        if self.held.bytes() > 0 || self.chunk_held.bytes() > 0 {
            self.batch.shrink(KEPT_BYTES);
            self.held.lower(0);
        }
        Ok(FinishedChunk {
            rest,
            counts: std::mem::take(&mut self.counts),
            counters: self.runner.take_counters(),
            is_given_up: self.traps.are_too_many(&self.limits),
            traps: std::mem::take(&mut self.traps),
            used,
            raw: self.batch.load(Vec::new()),
            held: std::mem::replace(&mut self.chunk_held, self.limits.memory.hold()),
        })
    }

    /// Runs the plugin on one batch and applies its verdicts. Malformed records keep their positions among the other
    /// records.
    fn process_batch(&mut self, sink: &mut OutputSink<'_>) -> Result<(), ChunkError> {
        self.reserve_call_memory()?;
        let malformed = std::mem::take(&mut self.batch.malformed);
        let mut left = malformed.iter().peekable();
        let mut isolation = TrapIsolation::new(self.batch.rows.len(), self.limits.plugin_call);
        loop {
            let next = self.runner.next(&mut isolation, &mut self.batch);
            match next.map_err(|e| self.in_batch(e))? {
                None => break,
                Some(PartOutcome::Changed(rows, changes)) => {
                    self.apply_verdicts(rows, &changes, &mut left, sink)?;
                }
                Some(PartOutcome::Trapped(index, trap)) => self.reject_trapped(index, &trap, &mut left),
                Some(PartOutcome::Unexplained(trap)) => self.traps.push(self.batch.rows[0], &trap),
            }
            if self.traps.are_too_many(&self.limits) {
                return Ok(());
            }
        }
        left.for_each(|bad| self.reject_malformed(bad));
        self.counts.read += (self.batch.rows.len() + malformed.len()) as u64;
        self.batch.malformed = malformed;
        Ok(())
    }

    /// Waits for the memory that a call on a long batch needs. The lane cannot wait for memory within the call.
    fn reserve_call_memory(&mut self) -> Result<()> {
        let bytes = self.batch.lent_bytes();
        if bytes > USUAL_CALL_BYTES {
            self.held.raise(CALL_COPIES_OUTSIDE * bytes)?;
            self.runner.instance()?.prepare(CALL_COPIES_INSIDE * bytes)?;
        }
        Ok(())
    }

    /// Applies the verdicts on some rows of the batch, in order.
    fn apply_verdicts(
        &mut self,
        rows: Range<usize>,
        changes: &Changes,
        malformed: &mut Peekable<Iter<'_, MalformedRecord>>,
        sink: &mut OutputSink<'_>,
    ) -> Result<(), ChunkError> {
        let mut reader =
            ChangesReader::new(changes, rows.len(), self.width).map_err(|e| self.about_plugin(e))?;
        self.encoder.expect(&changes.bytes);
        for index in rows {
            let row = self.batch.rows[index];
            self.reject_malformed_before(row, malformed);
            let (verdict, emitted) = reader.next_row().map_err(|e| self.in_row(row, e))?;
            if let Some(rows) = &emitted
                && rows.len() > self.limits.record_rows_max
            {
                return Err(self.in_row(row, self.too_many_rows(rows.len())));
            }
            let before = self.watcher.is_some().then(|| self.before_record());
            if let Some(emitted) = &emitted
                && let Err(UnwritableRecord { code, reason }) = self.check_copies(index, emitted)
            {
                self.reject(row, code, &reason);
            } else if self.apply_verdict(index, verdict)
                && let Some(emitted) = emitted
            {
                self.emit_with(index, emitted, sink)?;
            }
            if let Some(before) = before {
                self.tell_watcher(before, self.batch.record(index));
            }
            self.send_if_large(sink)?;
        }
        reader.finish().map_err(|e| self.about_plugin(e).into())
    }

    fn reject_trapped(
        &mut self,
        index: usize,
        trap: &Trap,
        malformed: &mut Peekable<Iter<'_, MalformedRecord>>,
    ) {
        let row = self.batch.rows[index];
        self.reject_malformed_before(row, malformed);
        let before = self.before_record();
        // A timeout stops the plugin at a different instruction in each run, so the reject does not include the
        // backtrace.
        if trap.is_timeout {
            self.reject(row, TIMEOUT, trap.message());
        } else {
            self.reject(row, TRAP, &trap.text());
        }
        self.tell_watcher(before, self.batch.record(index));
        self.traps.push(row, trap);
    }

    #[inline]
    fn reject_malformed_before(&mut self, row: Row, malformed: &mut Peekable<Iter<'_, MalformedRecord>>) {
        while let Some(bad) = malformed.next_if(|bad| bad.row.number < row.number) {
            self.reject_malformed(bad);
        }
    }

    /// Applies one verdict. Returns false if the record is rejected. The extra rows of a rejected record are not
    /// written.
    #[inline(always)]
    fn apply_verdict(&mut self, index: usize, verdict: Verdict<'_>) -> bool {
        let (batch, out) = (&self.batch, &mut self.pending.output);
        let (written, count) = match verdict {
            Verdict::Keep => (self.encoder.keep(batch, index, out), &mut self.counts.kept),
            Verdict::Edit(edits) => (
                self.encoder.edit(batch, index, edits, out),
                &mut self.counts.edited,
            ),
            Verdict::Replace => {
                self.counts.replaced += 1;
                return true;
            }
            Verdict::Drop => {
                self.counts.dropped += 1;
                return true;
            }
            Verdict::Reject { code, reason } => {
                self.reject(self.batch.rows[index], code, clip_reason(reason));
                return false;
            }
        };
        match written {
            Ok(()) => {
                *count += 1;
                self.counts.written += 1;
                true
            }
            Err(UnwritableRecord { code, reason }) => {
                self.reject(self.batch.rows[index], code, &reason);
                false
            }
        }
    }

    /// Checks that all copies of a record can be written. Without this check, a record could be rejected after some of
    /// its rows have left the lane.
    fn check_copies(&mut self, index: usize, emitted: &Emission<'_>) -> Result<(), UnwritableRecord> {
        if !emitted.has_copies() {
            return Ok(());
        }
        let mut out = Vec::new();
        for row in emitted.iter() {
            if let EmittedRow::Copy(edits) = row {
                self.encoder.edit(&self.batch, index, edits, &mut out)?;
                out.clear();
            }
        }
        Ok(())
    }

    /// Writes the rows that the plugin adds to a record.
    fn emit_with(&mut self, index: usize, emitted: Emission<'_>, sink: &mut OutputSink<'_>) -> Result<()> {
        for row in emitted.iter() {
            let out = &mut self.pending.output;
            match row {
                EmittedRow::New(fields) => self.encoder.row(fields, out),
                EmittedRow::Copy(edits) => self
                    .encoder
                    .edit(&self.batch, index, edits, out)
                    .expect("the copies of a record were checked"),
            }
            self.counts.written += 1;
            self.send_if_large(sink)?;
        }
        Ok(())
    }

    fn emit(&mut self, rows: Rows<'_>, sink: &mut OutputSink<'_>) -> Result<()> {
        for fields in rows.iter() {
            self.encoder.row(fields, &mut self.pending.output);
            self.counts.written += 1;
            self.send_if_large(sink)?;
        }
        Ok(())
    }

    fn reject_malformed(&mut self, MalformedRecord { row, code, reason }: &MalformedRecord) {
        let before = self.before_record();
        self.reject(*row, code, reason);
        self.tell_watcher(before, self.batch.raw(*row));
    }

    fn reject(&mut self, row: Row, code: &str, reason: &str) {
        self.pending.rejects.push(&RejectedRecord { row, code, reason });
        self.counts.rejected += 1;
    }

    fn before_record(&self) -> BeforeRecord {
        BeforeRecord {
            counts: self.counts,
            output_bytes: self.pending.output.len(),
        }
    }

    /// Tells the watcher, if there is one, what became of a record since `before`.
    fn tell_watcher(&self, before: BeforeRecord, text: &[u8]) {
        let Some(watcher) = &self.watcher else {
            return;
        };
        let rejected = self.pending.rejects.last();
        let fate = match rejected {
            Some((code, reason)) if self.counts.rejected > before.counts.rejected => {
                Fate::Rejected { code, reason }
            }
            _ if self.counts.edited > before.counts.edited => Fate::Edited,
            _ if self.counts.replaced > before.counts.replaced => Fate::Replaced,
            _ if self.counts.dropped > before.counts.dropped => Fate::Dropped,
            _ => Fate::Kept,
        };
        let rows = &self.pending.output;
        watcher.record(WatchedRecord {
            text,
            fate,
            // A part of many rows was sent on already, and only the rest is still here.
            rows: rows.get(before.output_bytes..).unwrap_or(rows),
        });
    }

    /// Sends the pending output and rejects to the sink if they are large. A plugin can turn little input into much
    /// output.
    #[inline]
    fn send_if_large(&mut self, sink: &mut OutputSink<'_>) -> Result<()> {
        if self.pending.output.len() + self.pending.rejects.bytes()
            > PENDING_BATCHES_MAX * self.limits.batch_bytes
        {
            if self.pending.output.len() > self.held.bytes() + KEPT_BYTES {
                self.held.raise(self.pending.output.len())?;
            }
            let part = self.take_pending()?;
            sink(part, &self.batch.raw)?;
        }
        Ok(())
    }

    fn take_pending(&mut self) -> Result<ChunkOutput> {
        let mut output = std::mem::take(&mut self.pending);
        if let Some(profiler) = &mut self.profiler {
            if output.output.len() > KEPT_BYTES {
                self.held.raise(2 * output.output.len())?;
            }
            output.output = profiler.add(output.output)?;
        }
        Ok(output)
    }

    fn too_many_rows(&self, rows: usize) -> Error {
        let max = self.limits.record_rows_max;
        let why =
            format!("made {rows} rows of one record, more than the limit of {max} (--limit record-rows)");
        Error::permanent(Stage::Plugin, Code::PluginLimit, why)
    }

    fn in_batch(&self, error: Error) -> ChunkError {
        let (Some(&first), Some(&last)) = (self.batch.rows.first(), self.batch.rows.last()) else {
            return self.about_plugin(error).into();
        };
        let plugin = self.plugin.clone();
        ChunkError::new(move |origin: &ChunkOrigin| {
            let [first, last] = [first, last].map(|row| origin.position(row).record);
            about(&plugin, error.about(format_args!("records {first} to {last}")))
        })
    }

    fn in_row(&self, row: Row, error: Error) -> ChunkError {
        let plugin = self.plugin.clone();
        ChunkError::new(move |origin: &ChunkOrigin| {
            let record = origin.position(row).record;
            about(&plugin, error.about(format_args!("record {record}")))
        })
    }

    fn about_plugin(&self, error: Error) -> Error {
        about(&self.plugin, error)
    }
}

/// Returns the error for an attempt whose watcher wants no more records.
fn enough() -> Error {
    let what = "the rest of the records is not wanted";
    Error::new(Stage::Worker, Class::Cancelled, Code::Stopped, what)
}

/// Returns the beginning of a reason, up to [`REASON_BYTES_MAX`] bytes.
fn clip_reason(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}

/// Adds the plugin's name to one of its errors, except to the error of a stop.
fn about(plugin: &str, error: Error) -> Error {
    // A stop is not the plugin's fault.
    if matches!(error.class(), Class::LeaseLost | Class::Cancelled) {
        return error;
    }
    error.about(plugin)
}
