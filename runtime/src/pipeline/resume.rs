//! Resumes work. The checkpoint of an earlier attempt goes in. The receipt of an attempt that resumes from it comes
//! out. If the checkpoint cannot be used, the new attempt starts from zero. The output of a resumed attempt has the
//! same bytes as the output of an uninterrupted attempt.

use super::assembler::OutputAssembler;
use super::attempt::{self, AttemptInput, PreparedAttempt, work_through};
use super::checkpoint::{Checkpoint, WorkIdentity};
use super::finish::is_for_successor;
use super::job::Job;
use crate::commit::Committed;
use crate::decode;
use crate::digest::Digesting;
use crate::error::{Class, Result, Stage};
use crate::fetch::{Identity, Source};
use crate::receipt::ResumedFrom;
use crate::storage::{Attempt, CheckpointFault, Resumed, StagedPart};

/// Opens a source: the whole input, or the bytes from a position on if the input is the same as before.
pub(super) type OpenSource<'a> = dyn Fn(Option<(&Identity, u64)>) -> Result<Source> + 'a;

/// A checkpoint with its staged files and the rest of the input.
struct ResumedWork {
    checkpoint: Checkpoint,
    staging: Box<dyn Attempt>,
    source: Source,
}

/// Runs a job from its last checkpoint. If there is no checkpoint, starts at the beginning.
pub(super) fn run(job: &Job, open: &OpenSource<'_>) -> Result<Committed> {
    // A job without a queue has no earlier attempt.
    let Some(work) = WorkIdentity::of(job) else {
        return attempt::run(job, open(None)?);
    };
    let storage = job.placement.destination.storage();
    let found = match storage.find_checkpoint(&work.queue, &work.id) {
        Ok(None) => return attempt::run(job, open(None)?),
        Ok(Some(found)) => Checkpoint::parse(&found.progress, &work).map(|progress| (progress, found.staged)),
        Err(CheckpointFault::Invalid(why)) => Err(why),
        Err(CheckpointFault::NoAnswer(error)) => return Err(error),
    };
    let start = match found {
        Ok((checkpoint, staged)) => prepare(job, checkpoint, &staged, open)?,
        Err(why) => Start::Refused(why),
    };
    match start {
        Start::Resumed(work) => run_resumed(job, *work),
        Start::FromZero(source) => attempt::run(job, *source),
        Start::Refused(why) => {
            log_not_resumed(&why);
            storage.forget_checkpoint(&work.queue, &work.id);
            attempt::run(job, open(None)?)
        }
    }
}

/// The point at which an attempt starts.
enum Start {
    /// The attempt starts at the position of its checkpoint.
    Resumed(Box<ResumedWork>),
    /// The attempt starts at the beginning of the input, because the rest of the input could not be opened.
    FromZero(Box<Source>),
    /// The checkpoint cannot be used, for this reason. The input is not opened yet.
    Refused(String),
}

/// Copies the staged files of a checkpoint, and opens the rest of the input.
fn prepare(job: &Job, checkpoint: Checkpoint, staged: &StagedPart, open: &OpenSource<'_>) -> Result<Start> {
    // The progress is shown first, because copying the staged files takes a while.
    job.execution.progress.show(checkpoint.offset, checkpoint.records);
    let format = job.work.output_format.unwrap_or(checkpoint.format);
    let resumed = job.placement.destination.storage().resume(
        job.placement.owner.clone(),
        format,
        staged,
        &job.execution.stop,
        &job.work.limits.memory,
    );
    let mut staging = match resumed {
        Ok(Resumed::Ready(staging)) => staging,
        Ok(Resumed::Refused(why)) => return Ok(Start::Refused(why)),
        Err(error) if (error.stage(), error.class()) == (Stage::Commit, Class::Permanent) => {
            return Ok(Start::Refused(error.report()));
        }
        // If the storage does not answer now, the checkpoint may still be usable later.
        Err(error) => return Err(error),
    };
    // The profile of the rows before the checkpoint needs these rows again.
    if job.work.profile
        && let Err(error) = staging.read_output(0)
    {
        return Ok(Start::Refused(error.report()));
    }
    let refused = match open(Some((&checkpoint.input, checkpoint.digest.bytes))) {
        Ok(source) => {
            let work = ResumedWork {
                checkpoint,
                staging,
                source,
            };
            return Ok(Start::Resumed(work.into()));
        }
        Err(error) => error,
    };
    match job.execution.stop.check().and_then(|()| open(None)) {
        Ok(source) => {
            log_not_resumed(&refused.report());
            Ok(Start::FromZero(source.into()))
        }
        // If the server cannot be reached now, the checkpoint may still be usable later.
        Err(error) => {
            staging.keep();
            Err(error)
        }
    }
}

fn log_not_resumed(why: &str) {
    tracing::info!(why, "not resumed from the checkpoint, starting from zero");
}

fn run_resumed(job: &Job, work: ResumedWork) -> Result<Committed> {
    let ResumedWork {
        checkpoint,
        mut staging,
        source,
    } = work;
    let opened = match open_rest(job, &checkpoint, &mut *staging, source) {
        Ok(opened) => opened,
        Err(error) => {
            if is_for_successor(&error) {
                staging.keep();
            }
            return Err(error);
        }
    };
    let from = ResumedFrom {
        record: checkpoint.record,
        offset: checkpoint.offset,
    };
    tracing::info!(
        record = from.record,
        offset = from.offset,
        "resumed from a checkpoint"
    );
    let assembler = OutputAssembler::resume(job, staging, checkpoint);
    work_through(job, opened, assembler, Some(from))
}

fn open_rest<'a>(
    job: &'a Job,
    checkpoint: &Checkpoint,
    staging: &mut dyn Attempt,
    source: Source,
) -> Result<PreparedAttempt<'a>> {
    let of_input = Digesting::from_midstate(checkpoint.digest.clone());
    let (input, reader) = AttemptInput::open(job, source, of_input)?;
    let decoding = decode::resume(
        reader,
        &input.name,
        checkpoint.rest(),
        (checkpoint.format, checkpoint.columns.clone(), checkpoint.dialect),
        &job.work.input,
        &job.work.limits,
    )?;
    let mut opened = PreparedAttempt::new(job, input, decoding)?;
    // The checkpoint already includes the plugin's counts from `open`.
    opened.lane.runner.take_counters();
    let before_the_rows = opened.lane.begin().output.len() as u64;
    if let Some(profiler) = &mut opened.lane.profiler {
        profiler.add_all(staging.read_output(before_the_rows)?, &job.execution.stop)?;
    }
    Ok(opened)
}
