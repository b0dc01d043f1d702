//! The checkpoint of an attempt that was lost goes in; its work, taken up where it was and brought to its end, comes out.
//! Where that cannot be, the work is begun anew: nothing is done with a checkpoint but what gives the same bytes.

use super::checkpoint::{Checkpoint, Work};
use super::sequence::Sequence;
use super::{Input, Job, Opened, is_for_successor, work_through};
use crate::commit::{Committed, Staging};
use crate::decode;
use crate::digest::Digesting;
use crate::error::{Result, Stage};
use crate::fetch::{Identity, Source};
use crate::receipt::ResumedFrom;

/// Opens a source: all of it, or the bytes from a position on of one that must be the same as before.
pub(super) type Open<'a> = dyn Fn(Option<(&Identity, u64)>) -> Result<Source> + 'a;

/// What is needed to go on.
struct Resumption {
    checkpoint: Checkpoint,
    staging: Staging,
    source: Source,
}

/// Runs a job from its last checkpoint or, without one, from the beginning.
pub(super) fn run(job: &Job, open: &Open<'_>) -> Result<Committed> {
    // A job without a queue is nobody's successor.
    let (Some(queue), Some(id)) = (&job.queue, &job.id) else {
        return super::run(job, open(None)?);
    };
    let found = match job.destination.find_checkpoint(queue, id) {
        Ok(None) => return super::run(job, open(None)?),
        Ok(Some(document)) => Checkpoint::parse(&document, &Work::of(job, queue, id)),
        Err(why) => Err(why),
    };
    let taken_up = match found {
        Ok(checkpoint) => take_up(job, checkpoint, open)?,
        Err(why) => Err(why),
    };
    match taken_up {
        Ok(Start::Behind(resumption)) => go_on(job, *resumption),
        Ok(Start::Anew(source)) => super::run(job, *source),
        Err(why) => {
            tell(&why);
            job.destination.forget_checkpoint(queue, id);
            super::run(job, open(None)?)
        }
    }
}

/// Where an attempt begins.
enum Start {
    /// Behind what a checkpoint tells of.
    Behind(Box<Resumption>),
    Anew(Box<Source>),
}

/// Takes over what was staged, and opens the rest of the input. The second error is why there is nothing to take over.
fn take_up(job: &Job, checkpoint: Checkpoint, open: &Open<'_>) -> Result<Result<Start, String>> {
    // To copy what is staged takes a while.
    job.progress.show(checkpoint.offset, checkpoint.records);
    let taken_over = job
        .destination
        .resume_from(job.owner(), &checkpoint.staged, &job.stop);
    let staging = match taken_over {
        Ok(Ok(staging)) => staging,
        Ok(Err(why)) => return Ok(Err(why)),
        // There may be room for one of them.
        Err(error) if error.stage() == Stage::Commit => return Ok(Err(error.report())),
        Err(error) => return Err(error),
    };
    let refused = match open(Some((&checkpoint.input, checkpoint.digest.bytes))) {
        Ok(source) => {
            let resumption = Resumption {
                checkpoint,
                staging,
                source,
            };
            return Ok(Ok(Start::Behind(resumption.into())));
        }
        Err(error) => error,
    };
    match job.stop.check().and_then(|()| open(None)) {
        Ok(source) => {
            tell(&refused.report());
            Ok(Ok(Start::Anew(source.into())))
        }
        // A server that cannot be reached now says nothing against the checkpoint.
        Err(error) => {
            staging.keep();
            Err(error)
        }
    }
}

fn tell(why: &str) {
    tracing::info!(why, "not resumed from the checkpoint, starting from zero");
}

fn go_on(job: &Job, resumption: Resumption) -> Result<Committed> {
    let Resumption {
        checkpoint,
        mut staging,
        source,
    } = resumption;
    let opened = match open_rest(job, &checkpoint, &mut staging, source) {
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
    let sequence = Sequence::resume(job, staging, checkpoint);
    work_through(job, opened, sequence, Some(from))
}

fn open_rest<'a>(
    job: &'a Job,
    checkpoint: &Checkpoint,
    staging: &mut Staging,
    source: Source,
) -> Result<Opened<'a>> {
    let of_input = Digesting::from_midstate(checkpoint.digest.clone());
    let (input, reader) = Input::open(job, source, of_input)?;
    let decoding = decode::resume(
        reader,
        &input.name,
        checkpoint.rest(),
        (checkpoint.format, checkpoint.columns.clone(), checkpoint.dialect),
        &job.input,
        &job.limits,
    )?;
    let mut opened = Opened::new(job, input, decoding)?;
    // What is counted when an input is opened was counted before.
    opened.lane.guest.take_counters();
    let before_the_rows = opened.lane.begin().output.len() as u64;
    if let Some(profiler) = &mut opened.lane.profiler {
        profiler.add_all(staging.read_output(before_the_rows)?, &job.stop)?;
    }
    Ok(opened)
}
