//! The bounds of attempts and leases, in one place.

mod setting;

use std::time::Duration;

use crate::memory::MemoryShare;

pub use setting::{Lowered, Setting, Size, Span};

/// The bounds of one attempt.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most lanes in which one input is worked on. An attempt that starts while others are at work gets its share
    /// of them, at least one.
    pub lanes: usize,
    /// An input is cut into chunks of as many whole records as have this many bytes; mostly one is a batch.
    pub batch_bytes: usize,
    /// A batch is closed when it has this many records, whatever their size.
    pub batch_records: usize,
    /// A batch is closed when its records times the columns of the input are this many, so that short
    /// records with many empty columns do not take far more memory than their bytes.
    pub batch_cells: usize,
    /// The longest record; a longer one ends the attempt with its position.
    pub record_bytes_max: usize,
    /// The most columns of an input or an output.
    pub columns_max: usize,
    /// The longest name of an input's column.
    pub column_name_bytes_max: usize,
    /// The size of an input as it is fetched.
    pub input_raw_bytes_max: u64,
    /// The decompressed size of an input.
    pub input_bytes_max: u64,
    /// How many times its fetched size the decompressed one may be.
    pub input_ratio_max: u64,
    /// The ratio is looked at when more than this was decompressed: a small file may well be all alike.
    pub input_ratio_from_bytes: u64,
    /// The linear memory and tables of one plugin instance.
    pub plugin_memory_bytes: usize,
    /// One call into a plugin.
    pub plugin_call: Duration,
    /// The records of one attempt that are set aside because a plugin without state traps on them.
    pub traps: usize,
    /// The records of one attempt that are set aside because such a plugin does not come back from them.
    pub timeouts: usize,
    /// One attempt of a worker, from its claim to the end of its pipeline.
    pub attempt: Duration,
    /// The bytes that a plugin returns from one call, or hands the host in one. Each may be six in the output, and is there
    /// three times for a moment.
    pub changes_bytes_max: usize,
    /// After so many bytes of a large input a checkpoint is written, from which a successor of a lost worker goes on; 0 for
    /// none.
    pub checkpoint_bytes: u64,
    /// The rows that a plugin makes of one record.
    pub record_rows_max: usize,
    /// The bytes of an output and its rejects.
    pub output_bytes_max: u64,
    /// The bytes of the rejects of a small input; those of a larger one may be [`REJECTS_RATIO`] times what was read of it.
    pub rejects_bytes_max: u64,
    /// What one plugin instance logs and prints; each lane has one.
    pub plugin_log_bytes: usize,
    /// The names of counters that one plugin instance uses.
    pub plugin_counters: usize,
    /// The reject codes of one attempt.
    pub reject_codes: usize,
    /// The size of a component.
    pub component_bytes_max: usize,
    /// The processor time to compile a component.
    pub compile: Duration,
    /// The memory to compile a component.
    pub compile_memory_bytes: u64,
    /// To connect to an HTTP server.
    pub http_connect: Duration,
    /// Between two pieces of an HTTP body.
    pub http_idle: Duration,
    /// The bytes a second that must come of an HTTP body while they are waited for, on average over a window.
    pub http_rate_min: u64,
    /// That window, counted in time of waiting.
    pub http_rate_window: Duration,
    /// The redirects that are followed.
    pub http_redirects: usize,
    /// How often one HTTP transfer is resumed.
    pub http_resumes: u32,
    /// How often it is resumed in a row without a byte coming of it.
    pub http_resumes_in_vain: u32,
    /// The longest wait before the first of these; it doubles with each.
    pub http_resume_pause: Duration,
    /// The chunks of input that wait between fetch and decode.
    pub fetch_chunks: usize,
    /// The size of such a chunk.
    pub fetch_chunk_bytes: usize,
    /// What the attempt may hold of its worker's memory.
    pub memory: MemoryShare,
}

/// How many times what was read of an input its rejects may be, if that is more than [`Limits::rejects_bytes_max`]: a reject has
/// its record, its place and the reason. So an input that is rejected as a whole mostly stays within it, and a small file
/// that unpacks to a thousand times its size and is then written four times over (`\xff` for a byte) does not.
pub const REJECTS_RATIO: u64 = 2;

impl Default for Limits {
    fn default() -> Self {
        Self {
            lanes: cores().min(LANES_MAX),
            batch_bytes: 128 << 10,
            batch_records: 16_384,
            batch_cells: 1 << 20,
            record_bytes_max: 16 << 20,
            columns_max: 4_096,
            column_name_bytes_max: 1 << 10,
            input_raw_bytes_max: 1 << 40,
            input_bytes_max: 1 << 40,
            input_ratio_max: 1_000,
            input_ratio_from_bytes: 64 << 20,
            plugin_memory_bytes: 128 << 20,
            plugin_call: Duration::from_secs(10),
            traps: 100,
            timeouts: 10,
            attempt: Duration::from_secs(6 * 3_600),
            changes_bytes_max: 20 << 20,
            checkpoint_bytes: 64 << 20,
            record_rows_max: 100_000,
            output_bytes_max: 1 << 40,
            rejects_bytes_max: 64 << 20,
            plugin_log_bytes: 64 << 10,
            plugin_counters: 64,
            reject_codes: 256,
            component_bytes_max: 64 << 20,
            compile: Duration::from_secs(120),
            compile_memory_bytes: 1 << 30,
            http_connect: Duration::from_secs(10),
            http_idle: Duration::from_secs(30),
            http_rate_min: 1 << 10,
            http_rate_window: Duration::from_secs(30),
            http_redirects: 5,
            http_resumes: 1_000,
            http_resumes_in_vain: 5,
            http_resume_pause: Duration::from_millis(200),
            fetch_chunks: 16,
            fetch_chunk_bytes: 64 << 10,
            memory: MemoryShare::default(),
        }
    }
}

/// More lanes than this have nothing to do: reading, digesting and writing are done one chunk after the other.
const LANES_MAX: usize = 8;

/// How many cores this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// How a worker treats its claims.
#[derive(Debug, Clone)]
pub struct LeasePolicy {
    /// How long a claim is good for without renewal.
    pub lease: Duration,
    /// How often a claim is renewed; as often, progress is told and a cancel is heard.
    pub renew_every: Duration,
    /// How long before the lease's end a worker that could not renew gives up.
    pub margin: Duration,
    /// After this many failed attempts a request goes to the dead letters.
    pub attempts_max: u32,
    /// After this many lost leases a request goes to the dead letters as poison.
    pub lost_max: u32,
    /// The first retry comes within this time.
    pub backoff_base: Duration,
    /// Any retry comes within this time.
    pub backoff_max: Duration,
    /// How long a stopping worker lets its attempts run on before it hands them back.
    pub drain: Duration,
    /// The longest wait of an idle worker between two looks at its queue.
    pub idle: Duration,
    /// How long a burst waits for a server that refuses its claims; any other worker waits for ever.
    pub burst_patience: Duration,
    /// How long a burst that has nothing to do waits for something, retries included.
    pub burst_wait: Duration,
    /// How long done and cancelled requests are kept; none for ever.
    pub retention: Option<Duration>,
}

impl Default for LeasePolicy {
    fn default() -> Self {
        Self::of_lease(Duration::from_secs(60))
    }
}

impl LeasePolicy {
    /// The policy of claims that last so long; of a minute, renewals are every two seconds.
    pub fn of_lease(lease: Duration) -> Self {
        Self {
            lease,
            renew_every: lease / 30,
            margin: lease / 12,
            attempts_max: 8,
            lost_max: 3,
            backoff_base: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            drain: Duration::from_secs(25),
            idle: Duration::from_millis(500),
            burst_patience: Duration::from_secs(60),
            burst_wait: Duration::from_secs(300),
            retention: Some(Duration::from_secs(7 * 86_400)),
        }
    }
}

impl LeasePolicy {
    /// The wait before the next attempt after `failures` of them: anything up to an exponentially growing
    /// bound ("full jitter", AWS Architecture Blog, 2015), so that many failing requests spread out.
    pub fn backoff(&self, failures: u32) -> Duration {
        let doubled = self
            .backoff_base
            .saturating_mul(1 << failures.saturating_sub(1).min(20));
        self.backoff_max.min(doubled).mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_stays_within_its_bounds() {
        let policy = LeasePolicy::default();
        for failures in 0..100 {
            assert!(policy.backoff(failures) <= policy.backoff_max);
        }
        assert!(policy.backoff(1) <= policy.backoff_base);
    }
}
