//! The bounds of attempts and leases, in one place.

mod limit_spec;

use std::time::Duration;

use crate::memory::MemoryShare;

pub use limit_spec::{LimitOverrides, LimitValue};

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
    /// What a zstd frame may ask to be kept of what was unpacked; as much as `zstd --long` does.
    pub zstd_window_bytes_max: u64,
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
    /// To the first byte of an HTTP answer, and from its head to the first byte of its body.
    pub http_first_byte: Duration,
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
            zstd_window_bytes_max: 128 << 20,
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
            http_first_byte: Duration::from_secs(120),
            http_idle: Duration::from_secs(30),
            http_rate_min: 1 << 10,
            http_rate_window: Duration::from_secs(30),
            http_redirects: 10,
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

/// [`LeasePolicy::retry_for`] by default: a source may be down for as long as a restart or a deployment takes.
pub const RETRY_FOR: Duration = Duration::from_secs(3_600);

/// The longest [`LeasePolicy::retry_for`].
pub const RETRY_FOR_MAX: Duration = Duration::from_secs(30 * 86_400);

/// A lease is renewed so often before it would end.
const RENEWALS_PER_LEASE: u32 = 30;

/// A worker that cannot renew a lease gives it up when one part in so many is left.
const MARGINS_PER_LEASE: u32 = 12;

/// How a worker treats its claims.
#[derive(Debug, Clone)]
pub struct LeasePolicy {
    /// How long a claim is good for without renewal.
    pub lease: Duration,
    /// How often a claim is renewed; as often, progress is told and a cancel is heard.
    pub renew_every: Duration,
    /// How long before the lease's end a worker that could not renew gives up.
    pub margin: Duration,
    /// How long a request that fails in a way that may pass waits for its next attempts, all waits together. Then it goes to
    /// the dead letters. A wait that a server asks for (`Retry-After`) is kept, up to what is left of this time.
    pub retry_for: Duration,
    /// The same, but at most, where no connection to the source's host was ever made: its name may be a mistake.
    pub retry_unreached: Duration,
    /// After this many lost leases a request goes to the dead letters as poison.
    pub lost_max: u32,
    /// The first retry comes within this time, and after half of it.
    pub backoff_base: Duration,
    /// Any retry comes within this time.
    pub backoff_max: Duration,
    /// How long a stopping worker lets its attempts run on before it hands them back.
    pub drain: Duration,
    /// The longest wait of an idle worker between two looks at its queue.
    pub idle: Duration,
    /// How long a burst waits for a server that refuses its claims; any other worker waits for ever.
    pub burst_patience: Duration,
    /// How long a burst that has nothing to do waits for something. It waits as long for retries, all these waits together.
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
            renew_every: lease / RENEWALS_PER_LEASE,
            margin: lease / MARGINS_PER_LEASE,
            retry_for: RETRY_FOR,
            retry_unreached: Duration::from_secs(120),
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
    /// Returns the wait before the next attempt of a request that has failed so often and has waited so long before; none if
    /// it has waited for `patience`. The last wait ends with that, even if a server asks for a longer one.
    pub fn wait(
        &self,
        failures: u32,
        waited: Duration,
        patience: Duration,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        let left = patience.checked_sub(waited).filter(|left| !left.is_zero())?;
        let asked = retry_after.unwrap_or_default();
        Some(self.backoff(failures).max(asked).min(left))
    }

    /// A part of an exponentially growing bound, from half to all of it ("equal jitter", AWS Architecture Blog, 2015), so that
    /// many failing requests spread out.
    fn backoff(&self, failures: u32) -> Duration {
        let doubled = self
            .backoff_base
            .saturating_mul(1 << failures.saturating_sub(1).min(20));
        self.backoff_max.min(doubled).mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The waits of a request that goes on failing.
    fn waits(patience: Duration, retry_after: Option<Duration>) -> Vec<Duration> {
        let policy = LeasePolicy::default();
        let (mut waits, mut waited) = (Vec::new(), Duration::ZERO);
        while let Some(wait) = policy.wait(waits.len() as u32 + 1, waited, patience, retry_after) {
            waits.push(wait);
            waited += wait;
        }
        waits
    }

    #[test]
    fn all_waits_together_are_the_patience() {
        for (patience, tries) in [(120, 7..=9), (3_600, 15..=35), (86_400, 280..=600)] {
            let patience = patience * SECOND;
            let waits = waits(patience, None);
            assert_eq!(waits.iter().sum::<Duration>(), patience);
            assert!(tries.contains(&waits.len()), "{waits:?}");
            assert!(waits[0] <= SECOND && waits.iter().all(|wait| *wait <= 300 * SECOND));
        }
        assert!(waits(Duration::ZERO, Some(SECOND)).is_empty());
        // Whatever a server asks for.
        for asked in [0, 1, 50, 1_000, 3_599, 3_600, 3_601, u64::MAX] {
            let waits = waits(3_600 * SECOND, Some(Duration::from_secs(asked)));
            assert_eq!(
                waits.iter().sum::<Duration>(),
                3_600 * SECOND,
                "{asked}: {waits:?}"
            );
        }
    }

    #[test]
    fn what_a_server_asks_for_is_kept_up_to_what_is_left_of_the_patience() {
        let policy = LeasePolicy::default();
        let wait =
            |waited: u32, asked: u32| policy.wait(1, waited * SECOND, 100 * SECOND, Some(asked * SECOND));
        assert!(wait(0, 0).is_some_and(|wait| wait >= SECOND / 2 && wait <= SECOND));
        assert_eq!(wait(0, 30), Some(30 * SECOND));
        assert_eq!(wait(0, 86_400), Some(100 * SECOND));
        assert_eq!(wait(70, 30), Some(30 * SECOND));
        assert_eq!(wait(90, 30), Some(10 * SECOND));
        assert_eq!(wait(100, 30), None);
    }
}
