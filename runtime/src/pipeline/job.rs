//! Defines the work of an attempt, and its progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use crate::commit::{Destination, Owner};
use crate::config::Limits;
use crate::format::Format;
use crate::gate::Gate;
use crate::memory::LANE_BYTES;
use crate::plugin::Plugin;
use crate::receipt::RecordCounts;
use crate::request::InputOptions;
use crate::stop::Stop;

/// One attempt at one input.
pub struct Job {
    /// The name of the output; derived from input, options, plugin and config if there is none.
    pub id: Option<String>,
    /// The queue that the request came from.
    pub queue: Option<String>,
    /// The requested URI, without credentials.
    pub uri: String,
    /// The time of the submit.
    pub submitted_at: Timestamp,
    /// The number of the attempt, counted from 1.
    pub attempt: u32,
    /// The fence of the claim; 0 without a queue.
    pub fence: u64,
    /// The start of this life of the request: see [`crate::queue::Claim::life_ms`]; 0 without a queue.
    pub life_ms: i64,
    /// Set if an earlier attempt at the request was lost and may still be running.
    pub is_contested: bool,
    /// The worker's name.
    pub worker: String,
    /// The time at which the attempt began.
    pub started_at: Timestamp,
    /// The options for reading the input.
    pub input: InputOptions,
    /// The plugin that transforms the records.
    pub plugin: Plugin,
    /// The JSON config that the plugin is opened with.
    pub config: Arc<str>,
    /// The binding that named the plugin.
    pub binding: Option<u64>,
    /// The format of the output; by default that of the input.
    pub output_format: Option<Format>,
    /// Add a profile of the output's columns to the receipt.
    pub profile: bool,
    /// The bounds on rejects that the output must meet to be published.
    pub gate: Gate,
    /// The destination of output, rejects and receipt.
    pub destination: Arc<Destination>,
    /// The number of lanes for a large input, if its plugin keeps no state. With one or none, one thread processes the
    /// input.
    pub lanes: usize,
    /// The limits of the attempt.
    pub limits: Arc<Limits>,
    /// The stop signal, which is checked between batches.
    pub stop: Stop,
    /// The counters that are updated after each batch.
    pub progress: Arc<ProgressCounters>,
}

impl Job {
    /// Returns the attempt that the output belongs to.
    pub(super) fn owner(&self) -> Owner {
        Owner {
            queue: self.queue.clone(),
            id: self.id.clone(),
            fence: self.fence,
            life_ms: self.life_ms,
            is_contested: self.is_contested,
        }
    }

    /// Returns the memory that each lane needs to make a profile.
    pub(super) fn profile_bytes(&self) -> usize {
        if self.profile { LANE_BYTES } else { 0 }
    }

    /// Returns the request id, or an empty text; for fail points.
    pub(super) fn name(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }
}

/// The progress of a job, for observers.
#[derive(Debug, Default)]
pub struct ProgressCounters {
    /// The decompressed bytes that were decoded.
    pub bytes: AtomicU64,
    /// The records that were decoded.
    pub records: AtomicU64,
    /// The records that were rejected.
    pub rejects: AtomicU64,
}

impl ProgressCounters {
    pub(super) fn show(&self, bytes: u64, records: RecordCounts) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.records.store(records.read, Ordering::Relaxed);
        self.rejects.store(records.rejected, Ordering::Relaxed);
    }
}
