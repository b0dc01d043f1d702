//! One input through all stages: split, then decoded, transformed and encoded in lanes, put together again in order,
//! committed.

mod guest;
mod lane;
mod lanes;
mod sequence;
mod traps;
mod turns;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use self::guest::{Guest, Opener};
use self::lane::Lane;
use self::sequence::Sequence;
use crate::commit::{Committed, Destination, Published};
use crate::config::Limits;
use crate::decode::{self, Decoding};
use crate::digest;
use crate::encode;
use crate::error::{Error, Result, Stage};
use crate::faults;
use crate::fetch::Source;
use crate::format::Format;
use crate::plugin::{Instance, Plan, Plugin};
use crate::receipt::{
    AttemptPart, InputPart, OutputPart, PluginPart, RECEIPT_VERSION, Receipt, RejectsPart, RequestPart,
};
use crate::request::{InputOptions, hex};
use crate::stop::Stop;

/// One attempt at one input.
pub struct Job {
    /// Names the output; derived from input, plugin and config if there is none.
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

/// Opens a source and runs a job on it, both on a thread of their own: they block, and may do so for hours. The
/// threads are those that the async runtime keeps for such work, so that a small job need not wait for a new one.
///
/// # Errors
/// As `open` and [`run`].
pub async fn spawn(job: Job, open: impl FnOnce() -> Result<Source> + Send + 'static) -> Result<Committed> {
    let span = tracing::Span::current();
    let running = tokio::task::spawn_blocking(move || span.in_scope(|| run(&job, open()?)));
    running.await.unwrap_or_else(|_| {
        let why = "the pipeline panicked: this is a bug of the host, its log says more";
        Err(Error::permanent(Stage::Worker, why))
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
    let name = source.name.clone();
    let (uri, etag, hint) = (source.uri.clone(), source.etag.clone(), source.format);
    let [of_input, of_output] = digest::pair();
    let source = source.expect_sha256(job.input.sha256.as_deref());
    let (reader, fetched) = source.into_reader(of_input)?;
    faults::pass("fetched", job.name());
    let mut decoding = decode::open(reader, &name, hint, &job.input, &job.limits)?;
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
    let mut lanes = vec![maker.lane(&decoding, instance)?];
    let staging = job.destination.stage(job.queue.as_deref(), of_output)?;
    let mut sequence = Sequence::new(job, staging, decoding.splitter.origin());
    let first = decoding.splitter.next(Vec::new());
    let first = first.map_err(|fault| fault.at(&sequence.origin))?;

    sequence.write(&lanes[0].begin())?;
    let threads = match &first {
        Some(chunk) if !chunk.last => job.lanes.max(1),
        _ => 1,
    };
    if !maker.plan.stateful {
        for _ in 1..threads {
            lanes.push(maker.further_lane(&decoding)?);
        }
    }
    lanes::run(&mut lanes, threads, &mut decoding.splitter, first, &mut sequence)?;
    // What a stateless plugin adds at the end it adds once, as if it had seen the whole input.
    let finished = lanes[0].finish(&mut |part| sequence.write(&part))?;
    sequence.end(finished)?;

    let input = fetched.digest().cloned().ok_or_else(|| {
        Error::permanent(Stage::Fetch, format!("{name}: the input was not read to its end"))
    })?;
    job.stop.check()?;
    let input = InputPart {
        uri,
        bytes: input.bytes,
        sha256: input.sha256,
        etag,
        format: decoding.format,
        columns: decoding.columns,
    };
    commit(job, input, maker.output_format, sequence, &lanes)
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
        let guest = Guest::new(Arc::clone(&self.opener), Arc::clone(&self.plan), instance);
        let name = &self.job.plugin.description().name;
        let (width, limits) = (self.plan.output.len(), &self.job.limits);
        Ok(Lane::new(
            decoding.decoder.fork(),
            guest,
            encoder,
            width,
            name,
            limits,
        ))
    }

    /// A lane with an instance of its own.
    fn further_lane(&self, decoding: &Decoding) -> Result<Lane> {
        let log_bytes = self.job.limits.plugin_log_bytes;
        self.lane(decoding, self.opener.open_again(&self.plan, log_bytes)?)
    }
}

/// Publishes what was staged, and the receipt.
fn commit(
    job: &Job,
    input: InputPart,
    output_format: Format,
    sequence: Sequence<'_>,
    lanes: &[Lane],
) -> Result<Committed> {
    let Sequence {
        staging,
        counts,
        by_code,
        ..
    } = sequence;
    assert!(counts.add_up(), "every record has one verdict: {counts:?}");
    let config_sha256 = hex(&Sha256::digest(job.config.as_bytes()));
    let plugin = job.plugin.description();
    let sealed = staging.seal()?;
    faults::pass("staged", job.name());
    job.stop.check()?;
    let id = match &job.id {
        Some(id) => id.clone(),
        None => {
            // The digest of the input is there already, wanted or not.
            let options = InputOptions {
                sha256: None,
                ..job.input.clone()
            };
            let options = serde_json::to_string(&options).expect("options serialize");
            let of = [
                &input.sha256,
                &plugin.sha256,
                &config_sha256,
                &options,
                output_format.name(),
            ];
            derived_id(&job.uri, &of)
        }
    };
    let receipt = |published: &Published| Receipt {
        receipt: RECEIPT_VERSION,
        host: env!("CARGO_PKG_VERSION").to_owned(),
        request: RequestPart {
            id: id.clone(),
            queue: job.queue.clone(),
            uri: job.uri.clone(),
            submitted_at: job.submitted_at.to_string(),
        },
        attempt: AttemptPart {
            number: job.attempt,
            fence: job.fence,
            worker: job.worker.clone(),
            started_at: job.started_at.to_string(),
            finished_at: Timestamp::now().to_string(),
        },
        input,
        plugin: PluginPart {
            name: plugin.name.clone(),
            version: plugin.version.clone(),
            sha256: plugin.sha256.clone(),
            interface: plugin.interface.clone(),
        },
        binding: job.binding,
        config_sha256,
        records: counts,
        outputs: vec![OutputPart {
            uri: published.output.uri.clone(),
            format: output_format,
            records: counts.written,
            bytes: published.output.bytes,
            sha256: published.output.sha256.clone(),
        }],
        rejects: RejectsPart {
            uri: published.rejects.as_ref().map(|r| r.uri.clone()),
            records: counts.rejected,
            bytes: published.rejects.as_ref().map_or(0, |r| r.bytes),
            sha256: published.rejects.as_ref().map(|r| r.sha256.clone()),
            by_code,
        },
        counters: counters(lanes),
    };
    sealed.publish(&id, job.fence, output_format, receipt)
}

/// What the instances counted, all together.
fn counters(lanes: &[Lane]) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    for (name, count) in lanes.iter().flat_map(|lane| lane.guest.counters()) {
        let counter: &mut u64 = sum.entry(name).or_default();
        *counter = counter.saturating_add(count);
    }
    sum
}

/// An id that is the same for the same work: the input's name and a digest of what makes the output.
fn derived_id(uri: &str, digests: &[&str]) -> String {
    let name = uri.rsplit('/').next().unwrap_or_default();
    let stem = name.split(['.', '?', '#']).next().unwrap_or_default();
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let stem: String = stem.chars().filter(allowed).take(64).collect();
    let digest = hex(&Sha256::digest(digests.join(" ")));
    format!(
        "{}-{}",
        if stem.is_empty() { "input" } else { &stem },
        &digest[..12]
    )
}

#[cfg(test)]
mod tests {
    use super::derived_id;

    #[test]
    fn a_derived_id_is_a_name_and_a_digest() {
        let id = derived_id("/data/alarm-2017.csv.gz", &["a", "b"]);
        assert!(id.starts_with("alarm-2017-"), "{id}");
        assert_eq!(
            id,
            derived_id("https://example.com/alarm-2017.csv?x=1", &["a", "b"])
        );
        assert_ne!(id, derived_id("/data/alarm-2017.csv", &["a", "c"]));
        assert!(derived_id("/", &[]).starts_with("input-"));
    }
}
