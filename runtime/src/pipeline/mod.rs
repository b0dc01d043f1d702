//! One input through all stages: split, then decoded, transformed and encoded in lanes, put together again in order,
//! committed.

mod checkpoint;
mod conclude;
mod guest;
mod lane;
mod lanes;
mod resume;
mod sequence;
mod traps;
mod turns;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use self::checkpoint::{Head, Marker};
use self::conclude::{Whole, conclude};
use self::guest::{Guest, Opener};
use self::lane::Lane;
use self::sequence::Sequence;
use crate::commit::{Committed, Destination, OutputHead, Owner};
use crate::config::Limits;
use crate::decode::{self, Decoding};
use crate::digest::Digesting;
use crate::encode;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::faults;
use crate::fetch::{Fetched, Identity, Source};
use crate::format::Format;
use crate::gate::Gate;
use crate::memory::{ATTEMPT_BYTES, LANE_BYTES};
use crate::plugin::{Instance, Plan, Plugin, was_in_company};
use crate::quality::{Layout, Profiler};
use crate::receipt::{InputPart, QualityPart, RecordCounts, ResumedFrom};
use crate::request::InputOptions;
use crate::stop::Stop;

/// One attempt at one input.
pub struct Job {
    /// Names the output; derived from input, options, plugin and config if there is none.
    pub id: Option<String>,
    /// The queue that the request came from.
    pub queue: Option<String>,
    /// The URI as asked for, without credentials.
    pub uri: String,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// Counted from 1.
    pub attempt: u32,
    /// The fence of the claim; 0 without a queue.
    pub fence: u64,
    /// When this life of the request began: see [`crate::queue::Claim::life_ms`]; 0 without a queue.
    pub life_ms: i64,
    /// Whether an earlier attempt at the request was lost and may still be at work.
    pub is_contested: bool,
    /// The worker's name.
    pub worker: String,
    /// When the attempt began.
    pub started_at: Timestamp,
    /// How to read the input.
    pub input: InputOptions,
    /// What transforms it.
    pub plugin: Plugin,
    /// The JSON document that the plugin is opened with.
    pub config: Arc<str>,
    /// The binding that named the plugin.
    pub binding: Option<u64>,
    /// The format of the output; by default that of the input.
    pub output_format: Option<Format>,
    /// Whether the receipt tells what the output's columns hold.
    pub profile: bool,
    /// Whether the output may be published.
    pub gate: Gate,
    /// Where output, rejects and receipt go.
    pub destination: Arc<Destination>,
    /// In how many lanes a large input is worked on if its plugin keeps no state. With one or none, nothing of it is done
    /// at once.
    pub lanes: usize,
    /// The bounds.
    pub limits: Arc<Limits>,
    /// Looked at between batches.
    pub stop: Stop,
    /// Told about each batch.
    pub gauge: Arc<Gauge>,
}

impl Job {
    /// The attempt that the output belongs to.
    fn owner(&self) -> Owner {
        Owner {
            queue: self.queue.clone(),
            id: self.id.clone(),
            fence: self.fence,
            life_ms: self.life_ms,
            is_contested: self.is_contested,
        }
    }

    /// Its id as far as it has one, for tests.
    fn name(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }
}

/// How far a job is, for whoever watches.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Decompressed bytes that were decoded.
    pub bytes: AtomicU64,
    /// Records that were decoded.
    pub records: AtomicU64,
    /// Records that were rejected.
    pub rejects: AtomicU64,
}

impl Gauge {
    fn show(&self, bytes: u64, records: RecordCounts) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.records.store(records.read, Ordering::Relaxed);
        self.rejects.store(records.rejected, Ordering::Relaxed);
    }
}

/// Opens a source and runs a job on it, both on a thread of their own: they block, and may do so for hours. The
/// threads are those that the async runtime keeps for such work, so that a small job need not wait for a new one.
///
/// # Errors
/// As `open` and [`run`].
pub async fn spawn(job: Job, open: impl FnOnce() -> Result<Source> + Send + 'static) -> Result<Committed> {
    on_a_thread(move || run(&job, open()?)).await
}

/// The same, from the last checkpoint of an attempt at the same work that was lost, if there is one that can be used. `open`
/// opens the whole input or, of the one that it is given, the bytes from a position on.
///
/// # Errors
/// As `open` and [`run`].
pub async fn spawn_or_resume(
    job: Job,
    open: impl Fn(Option<(&Identity, u64)>) -> Result<Source> + Send + 'static,
) -> Result<Committed> {
    on_a_thread(move || match within_memory(&job, || resume::run(&job, &open)) {
        // Its calls could not be repeated singly: it keeps state, or was at its end.
        Err(error) if was_in_company(&error) => {
            tracing::info!(
                why = error.report(),
                "the plugin took too long while other calls ran: starting again with its calls alone"
            );
            let plugin = job.plugin.alone();
            let job = Job { plugin, ..job };
            within_memory(&job, || resume::run(&job, &open))
        }
        result => result,
    })
    .await
}

/// Does a job's work within its share of memory. If memory was refused where the work cannot wait, or it needs more than a
/// request may hold, the work is done again alone: in one lane, with all the memory that a request may hold. So its result does
/// not depend on the other requests.
fn within_memory(job: &Job, work: impl Fn() -> Result<Committed>) -> Result<Committed> {
    let memory = &job.limits.memory;
    let begin = || -> Result<Committed> {
        let mut held = memory.hold();
        held.raise(ATTEMPT_BYTES + profile_bytes(job))?;
        work()
    };
    match begin() {
        Err(error) if memory.is_refused() => {
            job.stop.check()?;
            tracing::info!(
                why = error.report(),
                "too little memory beside other requests: starting again alone"
            );
            memory.be_alone()?;
            begin()
        }
        result => result,
    }
}

/// Returns the further memory of a lane that makes a profile.
fn profile_bytes(job: &Job) -> usize {
    if job.profile { LANE_BYTES } else { 0 }
}

async fn on_a_thread(work: impl FnOnce() -> Result<Committed> + Send + 'static) -> Result<Committed> {
    let span = tracing::Span::current();
    let running = tokio::task::spawn_blocking(move || span.in_scope(work));
    running.await.unwrap_or_else(|_| {
        let why = "the pipeline panicked: this is a bug of the host, its log says more";
        Err(Error::permanent(Stage::Worker, Code::HostFailure, why))
    })
}

/// Runs a job from an opened source to the committed receipt. Blocks; call it on a thread of its own.
///
/// An input of one chunk is worked on by this thread alone, and so is a longer one where there is one lane only. What is
/// written does not depend on the number of lanes.
///
/// # Errors
/// Of any stage; then there is no receipt of this attempt.
pub fn run(job: &Job, source: Source) -> Result<Committed> {
    let hints = source.hints.clone();
    let (input, reader) = Input::open(job, source, Digesting::default())?;
    let decoding = decode::open(reader, &input.name, Some(&hints), &job.input, &job.limits)?;
    let mut opened = Opened::new(job, input, decoding)?;
    let staging = job.destination.stage(job.owner())?;
    let mut sequence = Sequence::new(job, staging, opened.decoding.splitter.origin());
    sequence.count(opened.lane.guest.take_counters());
    let begin = opened.lane.begin();
    let (format, dialect) = (opened.maker.output_format, opened.decoding.dialect);
    let head = OutputHead {
        format,
        dialect: (format == Format::Csv).then_some(dialect),
        bytes: begin.output.clone(),
    };
    let has_columns = !opened.maker.plan.output.is_empty();
    let takes_head = job.destination.takes_head(&head, has_columns);
    if takes_head.map_err(|error| error.about(&opened.input.name))? {
        sequence.write(&begin, &[])?;
    }
    work_through(job, opened, sequence, None)
}

/// What is known of the source, while it is read.
struct Input {
    name: String,
    uri: String,
    etag: Option<String>,
    fetched: Fetched,
}

impl Input {
    fn open(job: &Job, source: Source, of_input: Digesting) -> Result<(Self, Box<dyn Read + Send>)> {
        let (name, uri, etag) = (source.name.clone(), source.uri.clone(), source.etag.clone());
        let source = source.expect_sha256(job.input.sha256.as_deref());
        let source = source.hold_in(&job.limits.memory);
        let (reader, fetched) = source.into_reader(of_input)?;
        faults::pass("fetched", job.name());
        let input = Self {
            name,
            uri,
            etag,
            fetched,
        };
        Ok((input, reader))
    }
}

/// An input and a first lane for it.
struct Opened<'a> {
    input: Input,
    decoding: Decoding,
    maker: LaneMaker<'a>,
    lane: Lane,
}

impl<'a> Opened<'a> {
    fn new(job: &'a Job, input: Input, mut decoding: Decoding) -> Result<Self> {
        let opener = Opener {
            plugin: job.plugin.with_limits(Arc::clone(&job.limits)),
            columns: decoding.columns.clone(),
            format: decoding.format,
            config: Arc::clone(&job.config),
            stop: job.stop.clone(),
        };
        let (instance, plan) = opener.open()?;
        decoding.decoder.project(&plan.reads, &plan.more_columns)?;
        let maker = LaneMaker {
            job,
            opener: Arc::new(opener),
            plan: Arc::new(plan),
            output_format: job.output_format.unwrap_or(decoding.format),
        };
        let lane = maker.lane(&decoding, instance)?;
        Ok(Self {
            input,
            decoding,
            maker,
            lane,
        })
    }
}

/// Puts all chunks through, to the committed receipt.
fn work_through(
    job: &Job,
    opened: Opened<'_>,
    mut sequence: Sequence<'_>,
    resumed_from: Option<ResumedFrom>,
) -> Result<Committed> {
    let Opened {
        input,
        mut decoding,
        maker,
        lane,
    } = opened;
    match put_through(job, &input, &mut decoding, &maker, lane, &mut sequence) {
        Ok((read, quality)) => {
            let whole = Whole {
                name: &input.name,
                input: read,
                output_format: maker.output_format,
                quality,
                resumed_from,
            };
            conclude(job, whole, sequence)
        }
        Err(error) => {
            // A transfer that broke off goes on later, if this attempt got further than the one before, unless what came
            // in the end was found to be damaged.
            let is_fetch = (error.stage(), error.class()) == (Stage::Fetch, Class::Transient);
            let broke_off = is_fetch && !input.fetched.has_ended();
            let is_done_again = job.limits.memory.is_refused();
            if is_for_successor(&error) || is_done_again || broke_off && sequence.staging.has_checkpoint() {
                sequence.staging.keep();
            }
            Err(error)
        }
    }
}

/// Whether an attempt ends through no fault of its work, so that another one goes on with it.
fn is_for_successor(error: &Error) -> bool {
    matches!(error.class(), Class::LeaseLost | Class::Cancelled)
}

/// Puts all chunks through; what was read and, if that was asked for, what was made of it.
fn put_through(
    job: &Job,
    input: &Input,
    decoding: &mut Decoding,
    maker: &LaneMaker<'_>,
    lane: Lane,
    sequence: &mut Sequence<'_>,
) -> Result<(InputPart, Option<QualityPart>)> {
    let first = decoding.splitter.next(Vec::new());
    let first = first.map_err(|fault| fault.at(&sequence.origin))?;
    let mut threads = match &first {
        Some(chunk) if !chunk.last && !job.limits.memory.is_alone() => job.lanes.max(1),
        _ => 1,
    };
    // Of a text that is not made of the input's own bytes a chunk has others, and the rows of a footer are in no chunk.
    if !decoding.is_transcoded && job.input.skip_footer.unwrap_or(0) == 0 {
        sequence.digest_input(input.fetched.hand_over());
    }
    let mut for_lanes = job.limits.memory.hold();
    let mut lanes = vec![lane];
    let mut marker = None;
    if !maker.plan.stateful {
        for _ in 1..threads {
            // Fewer lanes make the same.
            let bytes = for_lanes.bytes() + LANE_BYTES + profile_bytes(job);
            if !for_lanes.try_raise(bytes) {
                break;
            }
            lanes.push(maker.further_lane(decoding)?);
        }
        threads = lanes.len();
        if let Some(head) = Head::of(job, decoding, &input.fetched) {
            let every = job.limits.checkpoint_bytes;
            marker = Some(Marker::new(
                &head,
                every,
                sequence.origin,
                &input.fetched,
                sequence.digested(),
            ));
            sequence.write_checkpoints(head);
        }
    }
    let (splitter, memory) = (&mut decoding.splitter, &job.limits.memory);
    lanes::run(&mut lanes, threads, splitter, first, marker, sequence, memory)?;
    // What a stateless plugin adds at the end it adds once, as if it had seen the whole input.
    let finished = lanes[0].finish(&mut |part, raw: &[u8]| sequence.write(&part, raw))?;
    sequence.end(finished, None)?;
    if let Some(of_input) = sequence.end_input() {
        input.fetched.take_back(of_input);
    }

    let digest = input.fetched.digest().cloned().ok_or_else(|| {
        let what = format!("{}: the input was not read to its end", input.name);
        Error::permanent(Stage::Fetch, Code::InputUnreadable, what)
    })?;
    job.stop.check()?;
    let read = InputPart {
        uri: input.uri.clone(),
        bytes: digest.bytes,
        sha256: digest.sha256,
        etag: input.etag.clone(),
        format: decoding.format,
        columns: std::mem::take(&mut decoding.columns),
        options: Some(job.input.clone()),
    };
    let profilers = lanes.into_iter().filter_map(|lane| lane.profiler);
    Ok((read, profilers.reduce(Profiler::merge).map(Profiler::quality)))
}

/// What the lanes of a job have in common.
struct LaneMaker<'a> {
    job: &'a Job,
    opener: Arc<Opener>,
    plan: Arc<Plan>,
    output_format: Format,
}

impl LaneMaker<'_> {
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
        let profiler = self.job.profile.then(|| self.profiler(decoding)).transpose()?;
        let guest = Guest::new(Arc::clone(&self.opener), Arc::clone(&self.plan), instance);
        let name = &self.job.plugin.description().name;
        let (width, limits) = (self.plan.output.len(), &self.job.limits);
        Ok(Lane::new(
            decoding.decoder.fork(),
            guest,
            encoder,
            profiler,
            width,
            name,
            limits,
        ))
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
        Profiler::new(layout, &self.job.limits)
    }

    /// A lane with an instance of its own.
    fn further_lane(&self, decoding: &Decoding) -> Result<Lane> {
        let log_bytes = self.job.limits.plugin_log_bytes;
        self.lane(decoding, self.opener.open_again(&self.plan, log_bytes)?)
    }
}
