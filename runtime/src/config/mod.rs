//! Defines the bounds of attempts and leases in one module.

mod limit_spec;

use std::time::Duration;

use crate::memory::MemoryShare;

pub use limit_spec::{COLUMNS_MAX, LimitOverrides, LimitValue};

/// The bounds of one attempt.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The maximum number of lanes for one input. An attempt that starts while other attempts run gets a share of the
    /// lanes, at least one.
    pub lanes: usize,
    /// The target size of a chunk in bytes. A chunk holds whole records, and usually one chunk is one batch.
    pub batch_bytes: usize,
    /// The maximum number of records in a batch, independent of their size.
    pub batch_records: usize,
    /// The maximum number of cells (records times columns) in a batch. Without this limit, short records with many
    /// empty columns could take far more memory than their bytes.
    pub batch_cells: usize,
    /// The maximum size of a record in bytes. A longer record ends the attempt with an error that gives the record's
    /// position.
    pub record_bytes_max: usize,
    /// The maximum number of columns of an input or an output.
    pub columns_max: usize,
    /// The maximum length of the name of an input's column, in bytes.
    pub column_name_bytes_max: usize,
    /// The maximum size of an input in bytes, before decompression.
    pub input_raw_bytes_max: u64,
    /// The maximum size of an input in bytes, after decompression.
    pub input_bytes_max: u64,
    /// The maximum ratio of the decompressed size to the fetched size.
    pub input_ratio_max: u64,
    /// The decompressed size in bytes from which the ratio is checked. A small file can legitimately be very
    /// repetitive.
    pub input_ratio_from_bytes: u64,
    /// The maximum window size that a zstd frame may ask for, in bytes. The default is the window size of
    /// `zstd --long`.
    pub zstd_window_bytes_max: u64,
    /// The maximum size of the linear memories and tables of one plugin instance, in bytes.
    pub plugin_memory_bytes: usize,
    /// The maximum processor time of one call into a plugin.
    pub plugin_call: Duration,
    /// The maximum number of records of one attempt that are rejected because a stateless plugin traps on them.
    pub traps: usize,
    /// The maximum number of records of one attempt that are rejected because a stateless plugin does not process them
    /// in time.
    pub timeouts: usize,
    /// The maximum time of an attempt. In a worker, this is the time from the claim to the end of the pipeline.
    pub attempt: Duration,
    /// The maximum number of bytes that a plugin returns from one call, or passes to the host in one call. The host can
    /// need much more memory than this: escaping for JSON can turn each byte into six bytes, and for a short time there
    /// are three copies of the escaped text.
    pub changes_bytes_max: usize,
    /// The number of bytes of input between two checkpoints. If a worker is lost, another worker can resume from a
    /// checkpoint. With 0, no checkpoints are written.
    pub checkpoint_bytes: u64,
    /// The maximum number of rows that a plugin may write for one record.
    pub record_rows_max: usize,
    /// The maximum size of an output and its rejects together, in bytes.
    pub output_bytes_max: u64,
    /// The maximum size of the rejects of a small input, in bytes. For a large input, the maximum is [`REJECTS_RATIO`]
    /// times the bytes read, if that is more.
    pub rejects_bytes_max: u64,
    /// The maximum number of bytes that the plugin logs and prints in one lane.
    pub plugin_log_bytes: usize,
    /// The maximum number of names of counters that one plugin instance uses.
    pub plugin_counters: usize,
    /// The maximum number of reject codes of one attempt.
    pub reject_codes: usize,
    /// The maximum size of a component in bytes.
    pub component_bytes_max: usize,
    /// The maximum processor time to compile a component.
    pub compile: Duration,
    /// The maximum memory to compile a component, in bytes.
    pub compile_memory_bytes: u64,
    /// The maximum time to connect to an HTTP server.
    pub http_connect: Duration,
    /// The maximum time until the head of an HTTP response arrives, and then until the first byte of its body arrives.
    pub http_first_byte: Duration,
    /// The maximum time between two pieces of an HTTP body.
    pub http_idle: Duration,
    /// The minimum rate of an HTTP body in bytes per second, as an average over a window. Only time in which the reader
    /// waits for the body counts.
    pub http_rate_min: u64,
    /// The length of the window of `http_rate_min`, in waiting time.
    pub http_rate_window: Duration,
    /// The maximum number of redirects that are followed.
    pub http_redirects: usize,
    /// The maximum number of resumes of one HTTP transfer.
    pub http_resumes: u32,
    /// The maximum number of consecutive resumes that bring no byte.
    pub http_resumes_in_vain: u32,
    /// The maximum pause before a resume. The pause doubles with each consecutive resume that brings no byte.
    pub http_resume_pause: Duration,
    /// The maximum number of pieces of input that wait between fetch and decode.
    pub fetch_chunks: usize,
    /// The maximum size of such a piece, in bytes.
    pub fetch_chunk_bytes: usize,
    /// The length of a range of a large object, in bytes. Several ranges are fetched at a time.
    pub fetch_range_bytes: usize,
    /// The attempt's share of its worker's memory.
    pub memory: MemoryShare,
}

/// The maximum number of bytes of rejects for each byte read. This ratio applies if it allows more bytes than
/// [`Limits::rejects_bytes_max`].
///
/// A reject contains its record, its position and the reason. So an input whose records are all rejected usually stays
/// within this ratio. Bytes that must be escaped can exceed the ratio, because escaping makes them four times as long
/// (`\xff` for a byte). Without this limit, a small compressed file of such bytes would have huge rejects, because it
/// can unpack to a thousand times its size.
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
            fetch_range_bytes: 3 << 20,
            memory: MemoryShare::default(),
        }
    }
}

/// The maximum number of lanes. Further lanes would be idle, because reading, digesting and writing process one chunk
/// after the other.
const LANES_MAX: usize = 8;

/// Returns the number of cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The default of [`LeasePolicy::retry_for`]. It is long enough for a restart or a deployment of a source.
pub const RETRY_FOR: Duration = Duration::from_secs(3_600);

/// The maximum of [`LeasePolicy::retry_for`].
pub const RETRY_FOR_MAX: Duration = Duration::from_secs(30 * 86_400);

/// The number of renewals during one lease.
const RENEWALS_PER_LEASE: u32 = 30;

/// The divisor of the lease's time that gives [`LeasePolicy::margin`].
const MARGINS_PER_LEASE: u32 = 12;

/// The timing of a worker's claims, leases and retries.
#[derive(Debug, Clone)]
pub struct LeasePolicy {
    /// The time for which a claim is valid without renewal.
    pub lease: Duration,
    /// The interval of heartbeats. Each heartbeat renews a claim, reports the progress and asks whether the request was
    /// cancelled.
    pub renew_every: Duration,
    /// A worker that cannot renew a lease gives it up this long before the lease ends.
    pub margin: Duration,
    /// The total time that a request waits for retries, if it fails for reasons that may pass. When this time is used
    /// up, the request becomes a dead letter. If a server asks for a longer wait (`Retry-After`), the request waits
    /// that long, up to the rest of this time.
    pub retry_for: Duration,
    /// The limit that replaces `retry_for` if no connection to the source's host has ever been made. In this case, the
    /// host's name may be misspelled.
    pub retry_unreached: Duration,
    /// The number of lost leases after which a request becomes a dead letter as poison.
    pub lost_max: u32,
    /// The maximum wait before the first retry. The minimum wait is half of it.
    pub backoff_base: Duration,
    /// The maximum wait before any retry, unless a server asks for a longer wait.
    pub backoff_max: Duration,
    /// The time for which a stopping worker lets its attempts run. Then it hands their requests back.
    pub drain: Duration,
    /// The maximum time between two checks of the queue by an idle worker.
    pub idle: Duration,
    /// The time for which a burst keeps asking for claims if the queue's server refuses them. Other workers keep asking
    /// without a limit.
    pub burst_patience: Duration,
    /// The time for which an idle burst waits for requests. It is also the limit on the sum of a burst's waits for
    /// retries.
    pub burst_wait: Duration,
    /// The time for which done and cancelled requests are kept, or `None` if they are kept forever.
    pub retention: Option<Duration>,
}

impl Default for LeasePolicy {
    fn default() -> Self {
        Self::of_lease(Duration::from_secs(60))
    }
}

impl LeasePolicy {
    /// Returns the policy for leases of this length. For a lease of 60 s, heartbeats come every 2 s.
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
    /// Returns the wait before the next attempt of a request that has failed `failures` times and has waited for
    /// `waited` in all. Returns `None` if `patience` is used up. No wait exceeds the rest of `patience`, even if a
    /// server asks for more.
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

    /// Returns a random wait between half of a bound and the whole bound, so that many requests that failed at the same
    /// time are not retried at the same time. The bound grows exponentially ("equal jitter", AWS Architecture Blog,
    /// 2015).
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

    /// Returns all waits of a request that keeps failing.
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
        // The sum of all waits is the patience, whatever wait a server asks for.
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
