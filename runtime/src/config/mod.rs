//! Defines the bounds of attempts and leases, in one place.

mod limit_spec;

use std::time::Duration;

use crate::memory::MemoryShare;

pub use limit_spec::{LimitOverrides, LimitValue};

/// The bounds of one attempt.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most lanes for one input. An attempt that starts while others run gets its share of them, at least one.
    pub lanes: usize,
    /// The target size of a chunk, which holds whole records; usually a chunk is a batch.
    pub batch_bytes: usize,
    /// The most records of a batch, whatever their size.
    pub batch_records: usize,
    /// The most records times columns of a batch, so that short records with many empty columns do not take far more
    /// memory than their bytes.
    pub batch_cells: usize,
    /// The most bytes of a record; a longer one ends the attempt with an error that gives its position.
    pub record_bytes_max: usize,
    /// The most columns of an input or an output.
    pub columns_max: usize,
    /// The most bytes of the name of an input's column.
    pub column_name_bytes_max: usize,
    /// The most bytes of an input as it is fetched.
    pub input_raw_bytes_max: u64,
    /// The most bytes of an input after decompression.
    pub input_bytes_max: u64,
    /// The highest ratio of the decompressed size to the fetched size.
    pub input_ratio_max: u64,
    /// The decompressed size from which the ratio is checked, because a small file may well be very repetitive.
    pub input_ratio_from_bytes: u64,
    /// The largest window that a zstd frame may ask for, the same as with `zstd --long`.
    pub zstd_window_bytes_max: u64,
    /// The most linear memory and tables of one plugin instance, in bytes.
    pub plugin_memory_bytes: usize,
    /// The longest call into a plugin.
    pub plugin_call: Duration,
    /// The most records of one attempt that are rejected because a plugin without state traps on them.
    pub traps: usize,
    /// The most records of one attempt that are rejected because such a plugin does not return from them in time.
    pub timeouts: usize,
    /// The longest attempt of a worker, from its claim to the end of its pipeline.
    pub attempt: Duration,
    /// The most bytes that a plugin returns from one call, or passes to the host in one. JSON escaping may grow each
    /// byte to six, and three copies briefly coexist.
    pub changes_bytes_max: usize,
    /// The bytes of input between two checkpoints, from which another worker can resume after a loss; 0 for none.
    pub checkpoint_bytes: u64,
    /// The most rows that a plugin makes of one record.
    pub record_rows_max: usize,
    /// The most bytes of an output and its rejects.
    pub output_bytes_max: u64,
    /// The most bytes of the rejects of a small input; those of a larger one may be [`REJECTS_RATIO`] times the bytes
    /// read.
    pub rejects_bytes_max: u64,
    /// The most bytes that one plugin instance logs and prints; each lane has one.
    pub plugin_log_bytes: usize,
    /// The most names of counters that one plugin instance uses.
    pub plugin_counters: usize,
    /// The most reject codes of one attempt.
    pub reject_codes: usize,
    /// The most bytes of a component.
    pub component_bytes_max: usize,
    /// The most processor time to compile a component.
    pub compile: Duration,
    /// The most memory to compile a component, in bytes.
    pub compile_memory_bytes: u64,
    /// The longest time to connect to an HTTP server.
    pub http_connect: Duration,
    /// The longest time to the head of an HTTP answer, and from its head to the first byte of its body.
    pub http_first_byte: Duration,
    /// The longest time between two pieces of an HTTP body.
    pub http_idle: Duration,
    /// The fewest bytes a second of an HTTP body while the reader waits for them, on average over a window.
    pub http_rate_min: u64,
    /// The length of that window, in waiting time.
    pub http_rate_window: Duration,
    /// The most redirects that are followed.
    pub http_redirects: usize,
    /// The most resumes of one HTTP transfer.
    pub http_resumes: u32,
    /// The most resumes in a row that bring no byte.
    pub http_resumes_in_vain: u32,
    /// The longest pause before the first of these; it doubles with each.
    pub http_resume_pause: Duration,
    /// The most chunks of input that wait between fetch and decode.
    pub fetch_chunks: usize,
    /// The most bytes of such a chunk.
    pub fetch_chunk_bytes: usize,
    /// The attempt's share of its worker's memory.
    pub memory: MemoryShare,
}

/// The most bytes of rejects for each byte read, if that is more than [`Limits::rejects_bytes_max`]. A reject has its
/// record, its place and the reason, so an input that is rejected as a whole mostly stays within this. A small file
/// that unpacks to a thousand times its size and is then written four times as long (`\xff` for a byte) does not.
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

/// The most lanes; further ones would be idle, because reading, digesting and writing handle one chunk after the other.
const LANES_MAX: usize = 8;

/// Returns the number of cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The default of [`LeasePolicy::retry_for`], long enough for a restart or a deployment of a source.
pub const RETRY_FOR: Duration = Duration::from_secs(3_600);

/// The longest [`LeasePolicy::retry_for`].
pub const RETRY_FOR_MAX: Duration = Duration::from_secs(30 * 86_400);

/// The number of renewals in the time of a lease.
const RENEWALS_PER_LEASE: u32 = 30;

/// The divisor of the lease's time that gives the margin, at which a worker that cannot renew gives the lease up.
const MARGINS_PER_LEASE: u32 = 12;

/// The timing of a worker's claims, leases and retries.
#[derive(Debug, Clone)]
pub struct LeasePolicy {
    /// The time for which a claim is valid without renewal.
    pub lease: Duration,
    /// The interval of heartbeats: each renews a claim, reports the progress and learns of a cancel.
    pub renew_every: Duration,
    /// The time before a lease's end at which a worker that could not renew gives it up.
    pub margin: Duration,
    /// The total time that a request waits for retries after failures that may pass. Then it becomes a dead letter. A
    /// wait that a server asks for (`Retry-After`) is kept, up to the rest of this time.
    pub retry_for: Duration,
    /// The most of that time if no connection to the source's host has ever been made, because its name may be a
    /// mistake.
    pub retry_unreached: Duration,
    /// The number of lost leases after which a request becomes a dead letter as poison.
    pub lost_max: u32,
    /// The longest wait before the first retry; the shortest is half of it.
    pub backoff_base: Duration,
    /// The longest wait before any retry.
    pub backoff_max: Duration,
    /// The time for which a stopping worker lets its attempts run before it hands them back.
    pub drain: Duration,
    /// The longest wait of an idle worker between two looks at its queue.
    pub idle: Duration,
    /// The time for which a burst waits for a server that refuses its claims; other workers wait for ever.
    pub burst_patience: Duration,
    /// The time for which an idle burst waits for something to do, and the total time that it waits for retries.
    pub burst_wait: Duration,
    /// The time for which done and cancelled requests are kept; none for ever.
    pub retention: Option<Duration>,
}

impl Default for LeasePolicy {
    fn default() -> Self {
        Self::of_lease(Duration::from_secs(60))
    }
}

impl LeasePolicy {
    /// Returns the policy for leases of this length; for a minute, heartbeats come every two seconds.
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
    /// Returns the wait before the next attempt of a request, after `failures` failures and `waited` time of waits;
    /// none if `patience` is used up. The last wait ends with `patience`, even if a server asks for a longer one.
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

    /// Returns a random wait of half to all of an exponentially growing bound ("equal jitter", AWS Architecture Blog,
    /// 2015), so that many failing requests spread out.
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

    /// Returns the waits of a request that keeps failing.
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
        // This holds whatever a server asks for.
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
