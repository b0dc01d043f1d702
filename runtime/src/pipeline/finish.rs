//! Finishes an attempt. The staged files of a completely processed input go in. If the gate accepts the output, they
//! are published with a receipt. If not, they go into quarantine.

use std::collections::BTreeMap;

use super::assembler::OutputAssembler;
use super::job::Job;
use crate::commit::{self, Committed};
use crate::digest::SHORT_DIGEST_CHARS;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::fail_points;
use crate::format::Format;
use crate::gate::RejectTally;
use crate::names::derived_id;
use crate::receipt::{
    AttemptPart, InputPart, OutputPart, PluginPart, QualityPart, Receipt, RecordCounts, RejectsPart, Report,
    RequestPart, ResumedFrom, StepPart, now,
};
use crate::record::Origin;
use crate::request::InputOptions;
use crate::storage::{Attempt, Published, Quarantined, SealedAttempt};

/// An input of which every record has been processed.
pub(super) struct CompletedInput<'a> {
    /// The input's name in errors.
    pub(super) name: &'a str,
    pub(super) input: InputPart,
    pub(super) output_format: Format,
    /// The origin of the input, if the plugin has asked for it.
    pub(super) origin: Option<Origin>,
    pub(super) quality: Option<QualityPart>,
    pub(super) resumed_from: Option<ResumedFrom>,
}

/// Finishes an attempt.
///
/// # Errors
/// Fails with the gate's verdict, an error of the commit, or the error of a requested stop.
pub(super) fn finish(
    job: &Job,
    completed: CompletedInput<'_>,
    assembler: OutputAssembler<'_>,
) -> Result<Committed> {
    let OutputAssembler {
        staging,
        counts,
        by_code,
        counters,
        ..
    } = assembler;
    assert!(counts.add_up(), "every record has one verdict: {counts:?}");
    let verdict = job.work.gate.check(&counts, &by_code);
    let mut sealed = seal(job, staging)?;
    let (name, output_format) = (completed.name, completed.output_format);
    let id = id_of(job, &completed.input, output_format, completed.origin.as_ref());
    let request = request_part(job, &id);
    let receipt = |published: &Published| {
        let counted = (counts, by_code, counters);
        receipt(job, request.clone(), completed, counted, published)
    };
    match verdict {
        None => commit::publish(sealed, &id, receipt),
        // If an earlier attempt has published the output, the request is done, even if this worker's gate refuses the
        // output.
        Some(_) if let Some(receipt) = commit::existing(&*sealed, &request)? => {
            Ok(Committed::Existing(receipt))
        }
        Some(verdict) => {
            let report = |kept: &Published| Report {
                refused: Some(verdict.clone()),
                code: Some(Code::GateExceeded.to_string()),
                receipt: receipt(kept),
            };
            let kept = sealed.quarantine(&id, Box::new(report));
            // If the quarantine fails, its error must not hide the verdict.
            let kept = kept.map_err(|error| error.about(format_args!("{name}: {verdict}")))?;
            // The verdict comes last, because a dead letter keeps only the first 2,000 characters of a message.
            let refused = |what: String| Error::permanent(Stage::Commit, Code::GateExceeded, what);
            Err(match kept {
                Quarantined::Report(report) => {
                    let what = format!("{name}: nothing was published (see {report}): {verdict}");
                    refused(what).with_kept_report(report)
                }
                Quarantined::Rejects(rejects) => {
                    let see = rejects.map_or(String::new(), |rejects| format!(" (see {rejects})"));
                    refused(format!("{name}: nothing was written{see}: {verdict}"))
                }
            })
        }
    }
}

fn receipt(
    job: &Job,
    request: RequestPart,
    completed: CompletedInput<'_>,
    (counts, by_code, counters): (RecordCounts, BTreeMap<String, RejectTally>, BTreeMap<String, u64>),
    published: &Published,
) -> Receipt {
    let plugin = job.work.plugin.description();
    let (output, rejects) = (&published.output, published.rejects.as_ref());
    Receipt {
        host: env!("CARGO_PKG_VERSION").to_owned(),
        request,
        attempt: AttemptPart {
            number: job.execution.attempt,
            fence: job.placement.owner.fence,
            worker: job.execution.worker.clone(),
            started_at: job.execution.started_at.to_string(),
            finished_at: now().to_string(),
            resumed_from: completed.resumed_from,
        },
        inputs: vec![completed.input],
        steps: vec![StepPart {
            plugin: PluginPart {
                name: plugin.name.clone(),
                version: plugin.version.clone(),
                sha256: plugin.sha256.clone(),
                interface: plugin.interface.clone(),
            },
            config_sha256: job.work.config_sha256(),
            data: job.work.plugin.data().digests(),
            origin: completed.origin,
        }],
        binding: job.work.binding,
        records: counts,
        outputs: vec![OutputPart {
            uri: output.uri.clone(),
            format: completed.output_format.name().to_owned(),
            records: counts.written,
            bytes: output.bytes,
            sha256: output.sha256.clone(),
        }],
        rejects: RejectsPart {
            uri: rejects.map(|rejects| rejects.uri.clone()),
            records: counts.rejected,
            bytes: rejects.map_or(0, |rejects| rejects.bytes),
            sha256: rejects.map(|rejects| rejects.sha256.clone()),
            by_code: by_code
                .iter()
                .map(|(code, rejects)| (code.clone(), rejects.count))
                .collect(),
            examples: by_code
                .into_iter()
                .map(|(code, rejects)| (code, rejects.examples))
                .collect(),
        },
        counters,
        quality: completed.quality,
    }
}

/// Seals the staged files. Fails if a stop was requested meanwhile. If another attempt can resume the work after this
/// stop, the staged files are kept.
fn seal(job: &Job, staging: Box<dyn Attempt>) -> Result<Box<dyn SealedAttempt>> {
    let sealed = staging.seal()?;
    fail_points::pass("staged", job.placement.name());
    match job.execution.stop.check() {
        Ok(()) => Ok(sealed),
        Err(error) => {
            if is_for_successor(&error) {
                sealed.keep();
            }
            Err(error)
        }
    }
}

/// Returns whether an attempt ended because of a lost lease or a requested stop. In both cases, the work itself has not
/// failed, so another attempt can resume it.
pub(super) fn is_for_successor(error: &Error) -> bool {
    matches!(error.class(), Class::LeaseLost | Class::Cancelled)
}

fn request_part(job: &Job, id: &str) -> RequestPart {
    let replay = job.work.replay.as_ref().map(|replayed| replayed.replay().clone());
    RequestPart {
        id: id.to_owned(),
        queue: job.placement.owner.queue.clone(),
        uri: job.placement.uri.clone(),
        submitted_at: job.placement.submitted_at.to_string(),
        parent: replay.as_ref().map(|replay| replay.parent.clone()),
        group: job.placement.group.clone(),
        submitted_input: job.placement.submitted_input.clone(),
        replay,
    }
}

/// Returns the request's id. If the request has no id, returns an id that is derived from everything that determines
/// the output.
fn id_of(job: &Job, input: &InputPart, output_format: Format, origin: Option<&Origin>) -> String {
    match &job.placement.owner.id {
        Some(id) => id.clone(),
        None => id_from_digest(job, &input.sha256, output_format, origin),
    }
}

/// Returns the request's id before the input has been read, or `None` if the id is not known yet. The id is known if the
/// request names it, or if the request names the input's digest.
pub(super) fn id_in_advance(job: &Job, output_format: Format, origin: Option<&Origin>) -> Option<String> {
    let digest = || job.work.input.sha256.as_deref();
    let from_digest = || Some(id_from_digest(job, digest()?, output_format, origin));
    job.placement.owner.id.clone().or_else(from_digest)
}

fn id_from_digest(job: &Job, input_sha256: &str, output_format: Format, origin: Option<&Origin>) -> String {
    // The id includes the digest of the input itself, so an expected digest is left out.
    let options = InputOptions {
        sha256: None,
        ..job.work.input.clone()
    };
    let options = serde_json::to_string(&options).expect("options serialize");
    let plugin = &job.work.plugin.description().sha256;
    let config = job.work.config_sha256();
    let mut of = vec![input_sha256, plugin, &config, &options, output_format.name()];
    // Without reference data and origin, the id is the same as in earlier versions.
    let data = job.work.plugin.data().digests();
    of.extend(data.iter().flat_map(|(name, sha256)| [&**name, &**sha256]));
    of.extend(origin.map(|origin| &*origin.uri));
    derived_id(&job.placement.uri, &of.join(" "), SHORT_DIGEST_CHARS)
}
