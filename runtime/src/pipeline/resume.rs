//! The checkpoint of an attempt that was lost goes in; its work, taken up where it was and brought to its end, comes out.
//! Where that cannot be, the work is begun anew: nothing is done with a checkpoint but what gives the same bytes.

use super::checkpoint::{Checkpoint, Work};
use super::sequence::Sequence;
use super::{Input, Job, Opened, is_for_successor, work_through};
use crate::commit::{Committed, Staging};
use crate::decode;
use crate::digest::{self, Digesting};
use crate::error::Result;
use crate::fetch::{Identity, Source};
use crate::receipt::ResumedFrom;

/// Opens a source: all of it, or the bytes from a position on of one that must be the same as before.
pub(super) type Open<'a> = dyn Fn(Option<(&Identity, u64)>) -> Result<Source> + 'a;

/// What is needed to go on.
struct Resumption {
    checkpoint: Checkpoint,
    staging: Staging,
    of_input: Digesting,
    source: Source,
}

/// Runs a job from its last checkpoint or, without one, from the beginning.
pub(super) fn run(job: &Job, open: &Open<'_>) -> Result<Committed> {
    let Some(work) = Work::of(job) else {
        return super::run(job, open(None)?);
    };
    let source = match take_up(job, &work, open)? {
        Start::At(resumption) => return go_on(job, *resumption),
        Start::Zero(source) => source,
    };
    super::run(job, source)
}

enum Start {
    At(Box<Resumption>),
    Zero(Source),
}

fn take_up(job: &Job, work: &Work, open: &Open<'_>) -> Result<Start> {
    let found = job.destination.find_checkpoint(&work.queue, &work.id);
    let found = found.and_then(|found| match found {
        Some(document) => Checkpoint::parse(&document, work).map(Some),
        None => Ok(None),
    });
    let checkpoint = match found {
        Ok(None) => return open(None).map(Start::Zero),
        Ok(Some(checkpoint)) => checkpoint,
        Err(why) => return start_over(job, work, &why, open),
    };
    let [of_input, of_output] = digest::pair();
    let (queue, id, part) = (&work.queue, &work.id, &checkpoint.staged);
    let staging = match job.destination.take_over(queue, id, part, of_output, &job.stop)? {
        Ok(staging) => staging,
        Err(why) => return start_over(job, work, &why, open),
    };
    match open(Some((&checkpoint.input, checkpoint.digest.bytes))) {
        Ok(source) => Ok(Start::At(Box::new(Resumption {
            of_input: of_input.from_midstate(&checkpoint.digest),
            checkpoint,
            staging,
            source,
        }))),
        Err(error) => {
            // A server that cannot be reached now says nothing against the checkpoint.
            let source = job.stop.check().and_then(|()| open(None));
            match source {
                Ok(source) => {
                    tell(&error.report());
                    Ok(Start::Zero(source))
                }
                Err(error) => {
                    staging.keep();
                    Err(error)
                }
            }
        }
    }
}

fn start_over(job: &Job, work: &Work, why: &str, open: &Open<'_>) -> Result<Start> {
    tell(why);
    job.destination.forget_checkpoint(&work.queue, &work.id);
    open(None).map(Start::Zero)
}

fn tell(why: &str) {
    tracing::info!(why, "not resumed from the checkpoint, starting from zero");
}

fn go_on(job: &Job, resumption: Resumption) -> Result<Committed> {
    let Resumption {
        checkpoint,
        staging,
        of_input,
        source,
    } = resumption;
    let opened = match open_rest(job, &checkpoint, source, of_input) {
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
    source: Source,
    of_input: Digesting,
) -> Result<Opened<'a>> {
    let (input, reader) = Input::open(job, source, of_input)?;
    let decoding = decode::resume(
        reader,
        &input.name,
        checkpoint.rest(),
        (checkpoint.format, checkpoint.columns.clone()),
        &job.input,
        &job.limits,
    )?;
    let mut opened = Opened::new(job, input, decoding)?;
    // What is counted when an input is opened was counted before.
    opened.lane.instance.take_counters();
    Ok(opened)
}
