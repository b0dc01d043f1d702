//! Runs one attempt: an opened source goes in, and the receipt of the committed output comes out. The input is split,
//! its chunks pass through lanes, the results are assembled, and the attempt is finished.

use std::io::Read;
use std::sync::Arc;

use super::assembler::OutputAssembler;
use super::checkpoint::{CheckpointBase, CheckpointScheduler};
use super::finish::{CompletedInput, finish, id_in_advance, is_for_successor};
use super::job::Job;
use super::lane::Lane;
use super::lane_pool;
use super::plugin_runner::{InstanceOpener, PluginRunner};
use super::replay;
use super::watcher::OpenedInput;
use crate::commit::{Committed, OutputHead};
use crate::decode::{self, Decoding};
use crate::digest::Digesting;
use crate::encode;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::fail_points;
use crate::fetch::{Fetched, Source};
use crate::format::Format;
use crate::memory::LANE_BYTES;
use crate::plugin::{Instance, Plan};
use crate::quality::{Layout, Profiler};
use crate::receipt::{InputPart, QualityPart, ResumedFrom, SyntaxPart};
use crate::record::Origin;
use crate::storage::Owner;

/// Runs a job from an opened source to the committed receipt. This function blocks: call it on a separate thread.
///
/// If the input is one chunk, if `job.execution.lanes` is at most 1, or if the attempt runs alone, the calling thread
/// does all the work. The output does not depend on the number of lanes.
///
/// # Errors
/// Returns errors of any stage. If this function fails, the attempt has created no receipt, unless
/// [`Error::leaves_output`] is true.
pub fn run(job: &Job, source: Source) -> Result<Committed> {
    let name = source.name.clone();
    run_source(job, source).map_err(|error| match error.code() {
        Code::DigestMismatch if job.work.replay.is_some() => replay::changed(&name).because(error),
        _ => error,
    })
}

fn run_source(job: &Job, source: Source) -> Result<Committed> {
    let hints = source.hints.clone();
    let (input, reader) = AttemptInput::open(job, source, Digesting::default())?;
    let (options, limits) = (&job.work.input, &job.work.limits);
    let decoding = match &job.work.replay {
        None => decode::open(reader, &input.name, Some(&hints), options, limits)?,
        Some(replayed) => replayed.decode(reader, &input.name, options, limits)?,
    };
    let mut opened = PreparedAttempt::new(job, input, decoding)?;
    if let Some(replayed) = &job.work.replay
        && opened.maker.plan.stateful
    {
        let plugin = &job.work.plugin.description().name;
        return Err(replay::stateful(plugin, &replayed.replay().parent));
    }
    let format = opened.maker.output_format;
    let owner = Owner {
        id: id_in_advance(job, format, opened.origin()),
        ..job.placement.owner.clone()
    };
    let mut staging = job.placement.destination.storage().begin(owner, format)?;
    staging.hold_in(&job.work.limits.memory);
    let mut assembler = OutputAssembler::new(job, staging, opened.decoding.splitter.origin());
    if let Some(replayed) = &job.work.replay {
        assembler.replay(replayed.rows(&opened.input.name, limits)?);
    }
    assembler.count(opened.lane.runner.take_counters());
    let begin = opened.lane.begin();
    let dialect = opened.decoding.dialect;
    let head = OutputHead {
        format,
        dialect: (format == Format::Csv).then_some(dialect),
        bytes: begin.output.clone(),
    };
    let has_columns = !opened.maker.plan.output.is_empty();
    let takes_head = job.placement.destination.takes_head(&head, has_columns);
    if takes_head.map_err(|error| error.about(&opened.input.name))? {
        assembler.write(&begin, &[])?;
    }
    work_through(job, opened, assembler, None)
}

/// An input that is being read, with the description of its source.
pub(super) struct AttemptInput {
    pub(super) name: String,
    uri: String,
    etag: Option<String>,
    fetched: Fetched,
}

impl AttemptInput {
    pub(super) fn open(
        job: &Job,
        source: Source,
        of_input: Digesting,
    ) -> Result<(Self, Box<dyn Read + Send>)> {
        let (name, uri, etag) = (source.name.clone(), source.uri.clone(), source.etag.clone());
        let source = source.expect_version(job.work.input.version.as_deref())?;
        let sha256 = match &job.work.replay {
            None => job.work.input.sha256.as_deref(),
            Some(replayed) => replayed.sha256(),
        };
        let source = source.expect_sha256(sha256);
        let source = source.hold_in(&job.work.limits.memory);
        let (reader, fetched) = source.into_reader(of_input)?;
        fail_points::pass("fetched", job.placement.name());
        let input = Self {
            name,
            uri,
            etag,
            fetched,
        };
        Ok((input, reader))
    }
}

/// An opened input with its decoder, the plugin's plan and the first lane.
pub(super) struct PreparedAttempt<'a> {
    input: AttemptInput,
    decoding: Decoding,
    maker: LaneMaker<'a>,
    pub(super) lane: Lane,
}

impl<'a> PreparedAttempt<'a> {
    pub(super) fn new(job: &'a Job, input: AttemptInput, mut decoding: Decoding) -> Result<Self> {
        let plugin = job.work.plugin.with_limits(Arc::clone(&job.work.limits));
        let opener = InstanceOpener {
            plugin: plugin.with_origin(job.origin()),
            columns: decoding.columns.clone(),
            format: decoding.format,
            config: Arc::clone(&job.work.config),
            stop: job.execution.stop.clone(),
        };
        let (instance, plan) = opener.open()?;
        decoding.decoder.project(&plan.reads, &plan.more_columns)?;
        let maker = LaneMaker {
            job,
            opener: Arc::new(opener),
            plan: Arc::new(plan),
            output_format: job.work.output_format.unwrap_or(decoding.format),
        };
        let lane = maker.lane(&decoding, instance)?;
        if let Some(watcher) = &job.execution.watcher {
            watcher.opened(maker.opened_input(&decoding));
        }
        Ok(Self {
            input,
            decoding,
            maker,
            lane,
        })
    }

    /// Returns the origin of the input if the plugin has asked for it.
    fn origin(&self) -> Option<&Origin> {
        self.maker.origin()
    }
}

/// Processes all chunks and finishes the attempt.
pub(super) fn work_through(
    job: &Job,
    opened: PreparedAttempt<'_>,
    mut assembler: OutputAssembler<'_>,
    resumed_from: Option<ResumedFrom>,
) -> Result<Committed> {
    let PreparedAttempt {
        input,
        mut decoding,
        maker,
        lane,
    } = opened;
    match put_through(job, &input, &mut decoding, &maker, lane, &mut assembler) {
        Ok((read, quality)) => {
            let completed = CompletedInput {
                name: &input.name,
                input: read,
                output_format: maker.output_format,
                origin: maker.origin().cloned(),
                quality,
                resumed_from,
            };
            finish(job, completed, assembler)
        }
        Err(error) => {
            // If the transfer of the input broke off and this attempt has written a checkpoint, the next attempt
            // resumes from this checkpoint. If the error came after the last byte, for example because the digest is
            // wrong, the next attempt starts from zero.
            let is_fetch = (error.stage(), error.class()) == (Stage::Fetch, Class::Transient);
            let broke_off = is_fetch && !input.fetched.has_ended();
            let is_done_again = job.work.limits.memory.is_refused();
            if is_for_successor(&error) || is_done_again || broke_off && assembler.staging.has_checkpoint() {
                assembler.staging.keep();
            }
            Err(error)
        }
    }
}

/// Processes all chunks. Returns the description of the input and, if requested, the profile of the output.
fn put_through(
    job: &Job,
    input: &AttemptInput,
    decoding: &mut Decoding,
    maker: &LaneMaker<'_>,
    lane: Lane,
    assembler: &mut OutputAssembler<'_>,
) -> Result<(InputPart, Option<QualityPart>)> {
    let first = decoding.splitter.next(Vec::new());
    let first = first.map_err(|fault| fault.at(&assembler.origin))?;
    let watcher = &job.execution.watcher;
    let mut threads = match &first {
        Some(chunk) if !chunk.last && !job.work.limits.memory.is_alone() && watcher.is_none() => {
            job.execution.lanes.max(1)
        }
        _ => 1,
    };
    // The assembler can digest the input only if the chunks together are exactly the input's bytes. The bytes of
    // transcoded chunks differ from the input's bytes, and no chunk contains the rows of a footer.
    if !decoding.is_transcoded && job.work.input.skip_footer.unwrap_or(0) == 0 {
        assembler.digest_input(input.fetched.detach_digest());
    }
    let mut for_lanes = job.work.limits.memory.hold();
    let mut lanes = vec![lane];
    let mut scheduler = None;
    if !maker.plan.stateful {
        for _ in 1..threads {
            // With fewer lanes the result is the same, so a lack of memory is no error here.
            let bytes = for_lanes.bytes() + LANE_BYTES + job.work.profile_bytes();
            if !for_lanes.try_raise(bytes) {
                break;
            }
            lanes.push(maker.further_lane(decoding)?);
        }
        threads = lanes.len();
        if let Some(base) = CheckpointBase::of(job, decoding, &input.fetched) {
            let every = job.work.limits.checkpoint_bytes;
            scheduler = Some(CheckpointScheduler::new(
                &base,
                every,
                assembler.origin,
                &input.fetched,
                assembler.digested(),
            ));
            assembler.write_checkpoints(base);
        }
    }
    let (splitter, memory) = (&mut decoding.splitter, &job.work.limits.memory);
    lane_pool::run(&mut lanes, threads, splitter, first, scheduler, assembler, memory)?;
    // If the plugin is stateless, `finish` is called on one instance only, as if this instance had seen the whole
    // input.
    let finished = lanes[0].finish(&mut |part, raw: &[u8]| assembler.write(&part, raw))?;
    assembler.end(finished, None)?;
    assembler.end_replay(&input.name)?;
    let digest = match assembler.end_input() {
        Some(digest) => input.fetched.is_all(&digest).then_some(digest),
        None => input.fetched.digest().cloned(),
    };
    let digest = digest.ok_or_else(|| {
        let what = format!("{}: the input was not read to its end", input.name);
        Error::permanent(Stage::Fetch, Code::InputUnreadable, what)
    })?;
    job.execution.stop.check()?;
    let read = InputPart {
        uri: input.uri.clone(),
        bytes: digest.bytes,
        sha256: digest.sha256,
        etag: input.etag.clone(),
        format: decoding.format.name().to_owned(),
        columns: std::mem::take(&mut decoding.columns),
        options: Some(job.work.input.clone()),
        syntax: (decoding.format == Format::Csv).then(|| SyntaxPart {
            delimiter: decoding.dialect.delimiter.into(),
            quote: decoding.dialect.quote.into(),
        }),
    };
    let profilers = lanes.into_iter().filter_map(|lane| lane.profiler);
    Ok((read, profilers.reduce(Profiler::merge).map(Profiler::quality)))
}

/// The parts that all lanes of a job share.
struct LaneMaker<'a> {
    job: &'a Job,
    opener: Arc<InstanceOpener>,
    plan: Arc<Plan>,
    output_format: Format,
}

impl LaneMaker<'_> {
    fn origin(&self) -> Option<&Origin> {
        self.plan.uses_origin.then(|| self.opener.plugin.origin())
    }

    fn lane(&self, decoding: &Decoding, instance: Instance) -> Result<Lane> {
        let mut columns = decoding.columns.clone();
        columns.extend(self.plan.more_columns.iter().cloned());
        let encoder = encode::new(
            self.output_format,
            decoding.format,
            decoding.dialect,
            &columns,
            &self.plan.reads,
            &self.plan.output,
        )?;
        let profiler = self
            .job
            .work
            .profile
            .then(|| self.profiler(decoding))
            .transpose()?;
        let runner = PluginRunner::new(Arc::clone(&self.opener), Arc::clone(&self.plan), instance);
        let name = &self.job.work.plugin.description().name;
        let (width, limits) = (self.plan.output.len(), &self.job.work.limits);
        let lane = Lane::new(
            decoding.decoder.fork(),
            runner,
            encoder,
            profiler,
            width,
            name,
            limits,
        );
        Ok(lane.watched_by(self.job.execution.watcher.clone()))
    }

    fn profiler(&self, decoding: &Decoding) -> Result<Profiler> {
        let layout = Layout {
            format: self.output_format,
            columns: self
                .plan
                .output
                .iter()
                .map(|column| column.name.clone())
                .collect(),
            dialect: decoding.dialect,
        };
        Profiler::new(layout, &self.job.work.limits)
    }

    fn opened_input(&self, decoding: &Decoding) -> OpenedInput {
        OpenedInput {
            format: decoding.format,
            dialect: decoding.dialect,
            columns: [&decoding.columns[..], &self.plan.more_columns].concat(),
            output_format: self.output_format,
            output_columns: self.plan.output.clone(),
        }
    }

    /// Creates another lane, with its own plugin instance.
    fn further_lane(&self, decoding: &Decoding) -> Result<Lane> {
        let log_bytes = self.job.work.limits.plugin_log_bytes;
        self.lane(decoding, self.opener.open_again(&self.plan, log_bytes)?)
    }
}
