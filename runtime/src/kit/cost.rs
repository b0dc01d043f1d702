//! Measures what a plugin costs. An input goes in, and the time and the fuel that the plugin needs for a record come out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::run::Run;
use crate::error::{Code, Error, Result, Stage};
use crate::location::redact;
use crate::plugin::{Engine, Meter};
use crate::storage::MemoryStorage;

/// The number of timed runs, unless they take longer than [`TIMED_MAX`] together. The fastest run counts, because only
/// delays by other programs can make a run slower.
const TIMED_RUNS: usize = 5;

/// No further timed run begins after this time.
const TIMED_MAX: Duration = Duration::from_secs(5);

/// The cost of running a plugin on an input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// The number of records in the input.
    pub records: u64,
    /// The number of records per second of the whole way from the input to the output, in one lane.
    pub records_per_second: f64,
    /// The time of the whole way for a record, in nanoseconds.
    pub ns_per_record: f64,
    /// The processor time within the plugin for a record, in nanoseconds.
    pub plugin_ns_per_record: f64,
    /// The fuel of all calls of the plugin. It is the same in each run.
    pub fuel: u64,
    /// The fuel for a record.
    pub fuel_per_record: f64,
}

impl Cost {
    /// Checks the fuel for a record.
    ///
    /// # Errors
    /// Fails permanently with [`Code::PluginCost`] if it is more than `max`.
    pub fn check(&self, max: u64) -> Result<()> {
        if u128::from(self.fuel) <= u128::from(max) * u128::from(self.records) {
            return Ok(());
        }
        let what = format!(
            "needs {:.1} fuel a record, more than the limit of {max} (--max-fuel-per-record)",
            self.fuel_per_record
        );
        Err(Error::permanent(Stage::Plugin, Code::PluginCost, what))
    }
}

/// Measures a plugin on the input of a run. `component` is the component of the run's plugin, and `engine` is the engine
/// that has loaded it.
///
/// # Errors
/// Fails as an attempt of a worker does, and permanently, with stage config, if the input has no record.
pub fn measure(run: &Run<'_>, component: &[u8], engine: Engine) -> Result<Cost> {
    let (fuel, records) = fuel(run, component)?;
    if records == 0 {
        let what = format!("{}: has no record to measure with", redact(run.uri));
        return Err(Error::permanent(Stage::Config, Code::Usage, what));
    }
    let meter = Arc::new(Meter::default());
    let plugin = engine.measured_by(Arc::clone(&meter)).load(component)?;
    let plugin = plugin.with_data(run.plugin.data().clone());
    let (mut whole, mut within) = (Duration::MAX, Duration::MAX);
    let began = Instant::now();
    for _ in 0..TIMED_RUNS {
        let (start, before) = (Instant::now(), meter.time());
        run.with_plugin(&plugin).to(MemoryStorage::dropping(), None)?;
        whole = whole.min(start.elapsed());
        within = within.min(meter.time().saturating_sub(before));
        if began.elapsed() > TIMED_MAX {
            break;
        }
    }
    let per_record = |time: Duration| time.as_secs_f64() * 1e9 / records as f64;
    Ok(Cost {
        records,
        records_per_second: records as f64 / whole.as_secs_f64(),
        ns_per_record: per_record(whole),
        plugin_ns_per_record: per_record(within),
        fuel,
        fuel_per_record: fuel as f64 / records as f64,
    })
}

/// Returns the fuel of all calls and the number of records.
fn fuel(run: &Run<'_>, component: &[u8]) -> Result<(u64, u64)> {
    let meter = Arc::new(Meter::default());
    let engine = Engine::counting_fuel(run.limits)?.measured_by(Arc::clone(&meter));
    let plugin = engine.load(component)?.with_data(run.plugin.data().clone());
    let receipt = run.with_plugin(&plugin).to(MemoryStorage::dropping(), None)?;
    Ok((meter.fuel(), receipt.records.read))
}
