//! Measures what the calls into plugins cost. The calls of an engine's instances go in, and sums come out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The sums of what the calls `process` and `finish` of an engine's instances cost.
#[derive(Debug, Default)]
pub struct Meter {
    nanos: AtomicU64,
    fuel: AtomicU64,
}

impl Meter {
    /// Returns the processor time of the calls.
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    /// Returns the fuel of the calls: about one unit for each instruction of WebAssembly. It is 0 if the engine does
    /// not count fuel.
    pub fn fuel(&self) -> u64 {
        self.fuel.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, time: Duration, fuel: u64) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.fuel.fetch_add(fuel, Ordering::Relaxed);
    }
}
