//! One input through all stages, on the thread of the caller: bytes, batches, changes, bytes, commit. What is done
//! with each verdict stands here, and each record is counted here.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::batch::{Batch, ChangesReader, Malformed, Position, Row, Rows, Verdict};
use crate::commit::{Committed, Destination, Published, RejectWriter, Staging};
use crate::config::Limits;
use crate::decode;
use crate::encode::{self, Encoder, Unfit};
use crate::error::{Class, Error, Result, Stage};
use crate::fetch::Source;
use crate::format::Format;
use crate::plugin::{Instance, Plan, Plugin};
use crate::receipt::{
    AttemptPart, InputPart, OutputPart, PluginPart, RECEIPT_VERSION, Receipt, RecordCounts, RejectsPart,
    RequestPart,
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
    /// The bounds.
    pub limits: Arc<Limits>,
    /// Looked at between batches.
    pub stop: Stop,
    /// Told about each batch.
    pub gauge: Arc<Gauge>,
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
/// # Errors
/// Of any stage; then there is no receipt of this attempt.
pub fn run(job: &Job, source: Source) -> Result<Committed> {
    let name = source.name.clone();
    let (uri, etag, hint) = (source.uri.clone(), source.etag.clone(), source.format);
    let (reader, fetched) = source.into_reader()?;
    let mut decoding = decode::open(reader, &name, hint, &job.input, &job.limits)?;
    let columns = decoding.decoder.columns().to_vec();
    let (instance, plan) = job
        .plugin
        .open(&columns, decoding.format, &job.config, job.stop.clone())
        .map_err(|e| e.about(&job.plugin.description().name))?;
    decoding.decoder.project(&plan.reads, &plan.more_columns)?;

    let output_format = job.output_format.unwrap_or(decoding.format);
    let mut all_columns = columns.clone();
    all_columns.extend(plan.more_columns.iter().cloned());
    let encoder = encode::new(
        output_format,
        decoding.format,
        decoding.dialect,
        &all_columns,
        &plan.output,
    )?;
    let mut run = Run {
        job,
        plan,
        instance,
        encoder,
        staging: job.destination.stage(job.queue.as_deref())?,
        output: Vec::with_capacity(2 * job.limits.batch_bytes),
        rejects: Vec::new(),
        reject_writer: RejectWriter::default(),
        counts: RecordCounts::default(),
        by_code: BTreeMap::new(),
    };
    run.stream(&mut *decoding.decoder)?;
    let input = fetched.digest().cloned().ok_or_else(|| {
        Error::permanent(Stage::Fetch, format!("{name}: the input was not read to its end"))
    })?;
    job.stop.check()?;
    run.commit(
        InputPart {
            uri,
            bytes: input.bytes,
            sha256: input.sha256,
            etag,
            format: decoding.format,
            columns,
        },
        output_format,
    )
}

/// A job under way.
struct Run<'a> {
    job: &'a Job,
    plan: Plan,
    instance: Instance,
    encoder: Box<dyn Encoder>,
    staging: Staging,
    output: Vec<u8>,
    rejects: Vec<u8>,
    reject_writer: RejectWriter,
    counts: RecordCounts,
    by_code: BTreeMap<String, u64>,
}

impl Run<'_> {
    fn stream(&mut self, decoder: &mut dyn decode::Decoder) -> Result<()> {
        self.encoder.begin(&mut self.output);
        let mut batch = Batch::default();
        while decoder.next(&mut batch)? {
            self.job.stop.check()?;
            self.batch(&mut batch)?;
            self.write()?;
            let gauge = &self.job.gauge;
            gauge
                .bytes
                .store(batch.offset + batch.raw.len() as u64, Ordering::Relaxed);
            gauge.records.store(self.counts.read, Ordering::Relaxed);
            gauge.rejects.store(self.counts.rejected, Ordering::Relaxed);
        }
        let emitted = self.instance.finish().map_err(|e| self.about_plugin(e))?;
        let rows = Rows::check(
            emitted.rows,
            &emitted.ends,
            &emitted.bytes,
            self.plan.output.len(),
        )
        .map_err(|e| self.about_plugin(e))?;
        self.emit(rows)?;
        self.write()
    }

    /// Applies the plugin's changes to one batch; the malformed records take their place among the others.
    fn batch(&mut self, batch: &mut Batch) -> Result<()> {
        let changes = if batch.rows.is_empty() {
            crate::batch::Changes::default()
        } else {
            self.instance.process(batch).map_err(|e| self.about_plugin(e))?
        };
        let mut reader = ChangesReader::new(&changes, batch.rows.len(), self.plan.output.len())
            .map_err(|e| self.about_plugin(e))?;
        let mut malformed = batch.malformed.iter().peekable();
        for &row in &batch.rows {
            while let Some(Malformed { row, code, reason }) = malformed.next_if(|m| m.row.number < row.number)
            {
                self.reject(batch, *row, code, reason)?;
            }
            let (verdict, emitted) = reader
                .next_row()
                .map_err(|e| self.about_plugin(e.about(format!("record {}", batch.position(row).record))))?;
            if self.apply(batch, row, verdict)? {
                self.emit(emitted)?;
            }
            self.write_if_large()?;
        }
        for Malformed { row, code, reason } in malformed {
            self.reject(batch, *row, code, reason)?;
        }
        self.counts.read += (batch.rows.len() + batch.malformed.len()) as u64;
        reader.finish().map_err(|e| self.about_plugin(e))
    }

    /// Does what the verdict says. False if the record was set aside, and its extra rows with it.
    fn apply(&mut self, batch: &Batch, row: Row, verdict: Verdict<'_>) -> Result<bool> {
        let raw = batch.raw(row);
        let (written, count) = match verdict {
            Verdict::Keep => (self.encoder.keep(raw, &mut self.output), &mut self.counts.kept),
            Verdict::Edit(edits) => (
                self.encoder.edit(raw, edits, &mut self.output),
                &mut self.counts.edited,
            ),
            Verdict::Replace => {
                self.counts.replaced += 1;
                return Ok(true);
            }
            Verdict::Drop => {
                self.counts.dropped += 1;
                return Ok(true);
            }
            Verdict::Reject { code, reason } => {
                self.reject(batch, row, code, reason)?;
                return Ok(false);
            }
        };
        match written {
            Ok(()) => {
                *count += 1;
                self.counts.written += 1;
                Ok(true)
            }
            Err(Unfit { code, reason }) => {
                self.reject(batch, row, code, &reason)?;
                Ok(false)
            }
        }
    }

    fn emit(&mut self, rows: Rows<'_>) -> Result<()> {
        for fields in rows.iter() {
            self.encoder.row(fields, &mut self.output);
            self.counts.written += 1;
            self.write_if_large()?;
        }
        Ok(())
    }

    fn reject(&mut self, batch: &Batch, row: Row, code: &str, reason: &str) -> Result<()> {
        let position: Position = batch.position(row);
        self.reject_writer
            .append(&mut self.rejects, position, code, reason, batch.raw(row));
        self.counts.rejected += 1;
        // Looked up first because `entry` would need an owned key for each reject.
        if let Some(count) = self.by_code.get_mut(code) {
            *count += 1;
            return Ok(());
        }
        let codes_max = self.job.limits.reject_codes;
        if self.by_code.len() >= codes_max {
            let why = format!(
                "rejects with more than {codes_max} codes: a code names a kind of fault, not one record"
            );
            return Err(self.about_plugin(Error::permanent(Stage::Plugin, why)));
        }
        self.by_code.insert(code.to_owned(), 1);
        Ok(())
    }

    /// Keeps what is buffered small when a plugin makes much of little.
    fn write_if_large(&mut self) -> Result<()> {
        let bytes_max = 4 * self.job.limits.batch_bytes;
        if self.output.len() > bytes_max || self.rejects.len() > bytes_max {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        write_to(&mut self.staging.output(), &mut self.output)?;
        if !self.rejects.is_empty() {
            write_to(&mut self.staging.rejects()?, &mut self.rejects)?;
        }
        Ok(())
    }

    fn commit(self, input: InputPart, output_format: Format) -> Result<Committed> {
        let Self {
            job,
            instance,
            staging,
            counts,
            by_code,
            ..
        } = self;
        assert!(counts.add_up(), "every record has one verdict: {counts:?}");
        let config_sha256 = hex(&Sha256::digest(job.config.as_bytes()));
        let plugin = job.plugin.description();
        let sealed = staging.seal()?;
        job.stop.check()?;
        let id = match &job.id {
            Some(id) => id.clone(),
            None => {
                let options = serde_json::to_string(&job.input).expect("options serialize");
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
            counters: instance.counters().clone(),
        };
        sealed.publish(&id, job.fence, output_format, receipt)
    }

    fn about_plugin(&self, error: Error) -> Error {
        // A stop is nobody's fault.
        if matches!(error.class(), Class::LeaseLost | Class::Cancelled) {
            return error;
        }
        error.about(&self.job.plugin.description().name)
    }
}

fn write_to(file: &mut impl Write, bytes: &mut Vec<u8>) -> Result<()> {
    let written = file.write_all(bytes);
    bytes.clear();
    written.map_err(|e| Error::from_io(e, Stage::Commit, Class::Transient, "cannot write to staging"))
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
