//! Defines the three parts of an attempt (work, placement and execution), and the counters of its progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::replay::ReplayedInput;
use super::watcher::RecordWatcher;
use crate::commit::Destination;
use crate::config::Limits;
use crate::format::Format;
use crate::gate::Gate;
use crate::memory::LANE_BYTES;
use crate::plugin::Plugin;
use crate::receipt::{Receipt, RecordCounts};
use crate::record::Origin;
use crate::request::InputOptions;
use crate::stop::Stop;
use crate::storage::Owner;

/// One attempt at one input.
pub struct Job {
    /// The work on the input.
    pub work: Work,
    /// The request of the attempt, and the destination of the attempt's files.
    pub placement: Placement,
    /// The circumstances of the attempt.
    pub execution: Execution,
}

/// The work of an attempt on its input. The identity in a checkpoint includes the members that determine the output's
/// bytes.
pub struct Work {
    /// The options for reading the input.
    pub input: InputOptions,
    /// The plugin that transforms the records.
    pub plugin: Plugin,
    /// The number of the binding that named the plugin, or `None` if no binding did.
    pub binding: Option<u64>,
    /// The JSON config that the plugin is opened with.
    pub config: Arc<str>,
    /// The format of the output, or `None` for the format of the input.
    pub output_format: Option<Format>,
    /// True if the receipt contains a profile of the output's columns.
    pub profile: bool,
    /// The bounds on rejects and records that the output must meet to be published.
    pub gate: Gate,
    /// The limits of the attempt.
    pub limits: Arc<Limits>,
    /// The rejects that are processed in place of an input, if the request is a replay.
    pub replay: Option<ReplayedInput>,
}

/// The request of an attempt, and the destination of the attempt's files.
#[derive(Clone)]
pub struct Placement {
    /// The owner of the output: the request and its claim. If the owner has no id, the name of the output is derived
    /// from input, options, plugin and config.
    pub owner: Owner,
    /// The requested URI, without credentials.
    pub uri: String,
    /// The time at which the request was submitted.
    pub submitted_at: Timestamp,
    /// The name of the group of requests that the request belongs to.
    pub group: Option<String>,
    /// The input options with which the request was submitted, if a retry has changed them.
    pub submitted_input: Option<InputOptions>,
    /// The destination of output, rejects and receipt.
    pub destination: Arc<Destination>,
}

/// The circumstances of an attempt. The output's bytes do not depend on them.
pub struct Execution {
    /// The number of the attempt, counted from 1.
    pub attempt: u32,
    /// The worker's name.
    pub worker: String,
    /// The time at which the attempt began.
    pub started_at: Timestamp,
    /// The number of lanes for a large input, if the plugin is stateless. With 0 or 1, one thread processes the input.
    pub lanes: usize,
    /// The stop of the attempt, which all stages check.
    pub stop: Stop,
    /// The counters that are updated after each chunk.
    pub progress: Arc<ProgressCounters>,
    /// The watcher of the records. With a watcher, the attempt has one lane.
    pub watcher: Option<Arc<dyn RecordWatcher>>,
}

impl Job {
    /// Returns the origin of the records, as the plugin sees it. The records of a replay come from the input of the first
    /// request.
    pub(super) fn origin(&self) -> Origin {
        let of_first = self.work.replay.as_ref().map(ReplayedInput::origin);
        of_first.cloned().unwrap_or_else(|| self.placement.origin())
    }
}

impl Work {
    /// Returns the SHA-256 of the plugin's config, in lowercase hex.
    pub(super) fn config_sha256(&self) -> String {
        HEXLOWER.encode(&Sha256::digest(self.config.as_bytes()))
    }

    /// Returns the number of bytes of memory that each lane needs to make a profile.
    pub(super) fn profile_bytes(&self) -> usize {
        if self.profile { LANE_BYTES } else { 0 }
    }
}

impl Work {
    /// Returns whether a receipt is for this work at this placement. The work must name the version of its input.
    pub fn is_that_of(&self, receipt: &Receipt, placement: &Placement) -> bool {
        let ([input], [step], [output]) = (&receipt.inputs[..], &receipt.steps[..], &receipt.outputs[..])
        else {
            return false;
        };
        let format = match self.output_format {
            Some(format) => format.name(),
            None => &input.format,
        };
        self.input.version.is_some()
            && receipt.request.uri == placement.uri
            && input.options.as_ref() == Some(&self.input)
            && step.plugin.sha256 == self.plugin.description().sha256
            && step.config_sha256 == self.config_sha256()
            && step.data == self.plugin.data().digests()
            && step
                .origin
                .as_ref()
                .is_none_or(|origin| *origin == placement.origin())
            && output.format == format
    }
}

impl Placement {
    /// Returns the origin of the input.
    fn origin(&self) -> Origin {
        Origin::of(self.owner.id.as_deref(), &self.uri)
    }

    /// Returns the request id, or an empty text if there is none. Fail points use this name.
    pub(super) fn name(&self) -> &str {
        self.owner.id.as_deref().unwrap_or_default()
    }
}

/// The progress of a job, which other threads can read.
#[derive(Debug, Default)]
pub struct ProgressCounters {
    /// The number of bytes of the processed chunks, counted after decompression.
    pub bytes: AtomicU64,
    /// The number of records in the processed chunks.
    pub records: AtomicU64,
    /// The number of rejects in the processed chunks.
    pub rejects: AtomicU64,
    /// The number of bytes before the last checkpoint, counted after decompression, or 0 without a checkpoint.
    pub checkpoint: AtomicU64,
}

impl ProgressCounters {
    pub(super) fn show(&self, bytes: u64, records: RecordCounts) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.records.store(records.read, Ordering::Relaxed);
        self.rejects.store(records.rejected, Ordering::Relaxed);
    }
}
