//! What an attempt is to do, and how far it is.

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
    pub progress: Arc<ProgressCounters>,
}

impl Job {
    /// The attempt that the output belongs to.
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

    /// Its id as far as it has one, for tests.
    pub(super) fn name(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }
}

/// How far a job is, for whoever watches.
#[derive(Debug, Default)]
pub struct ProgressCounters {
    /// Decompressed bytes that were decoded.
    pub bytes: AtomicU64,
    /// Records that were decoded.
    pub records: AtomicU64,
    /// Records that were rejected.
    pub rejects: AtomicU64,
}

impl ProgressCounters {
    pub(super) fn show(&self, bytes: u64, records: RecordCounts) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.records.store(records.read, Ordering::Relaxed);
        self.rejects.store(records.rejected, Ordering::Relaxed);
    }
}
