//! Runs a command, and measures its duration, processor time and peak memory.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wait4::Wait4;

use crate::Result;

/// The measurements of one run of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) wall: Duration,
    /// The user time and system time of all threads.
    pub(crate) cpu: Duration,
    /// The peak of the resident memory. It includes the memory that the parent process has when it starts the process,
    /// so values below [`floor`] cannot be measured.
    pub(crate) peak_bytes: u64,
}

impl Sample {
    /// Returns the duration of this run as a multiple of the other run's duration.
    pub(crate) fn ratio(&self, other: &Self) -> f64 {
        self.wall.as_secs_f64() / other.wall.as_secs_f64()
    }
}

/// Runs a command to its end. Returns the measurement and the command's output.
///
/// # Errors
/// Fails if the command fails. The error contains the command's standard output and its whole log. The log is written
/// to `folder`.
pub(crate) fn run(mut command: Command, folder: &Path) -> Result<(Sample, String)> {
    let log = folder.join("log");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&log)?);
    let program = command.get_program().to_owned();
    let start = Instant::now();
    let mut child = command
        .spawn()
        .map_err(|e| format!("{}: {e}", program.display()))?;
    let mut said = String::new();
    child
        .stdout
        .take()
        .expect("standard output is piped")
        .read_to_string(&mut said)?;
    let ended = child.wait4()?;
    let wall = start.elapsed();
    if !ended.status.success() {
        let log = std::fs::read_to_string(log).unwrap_or_default();
        return Err(format!("{command:?}: {}\n{said}{log}", ended.status).into());
    }
    let sample = Sample {
        wall,
        cpu: ended.rusage.utime + ended.rusage.stime,
        peak_bytes: ended.rusage.maxrss,
    };
    Ok((sample, said))
}

/// Measures a program that does nothing. The result is the smallest possible measurement.
pub(crate) fn floor(folder: &Path) -> Result<Sample> {
    Ok(run(Command::new("true"), folder)?.0)
}

/// Returns a sample with the median of each of the three values. Each median is computed separately.
pub(crate) fn median(samples: &[Sample]) -> Sample {
    Sample {
        wall: median_of(samples.iter().map(|sample| sample.wall)),
        cpu: median_of(samples.iter().map(|sample| sample.cpu)),
        peak_bytes: median_of(samples.iter().map(|sample| sample.peak_bytes)),
    }
}

/// Returns the median of ratios.
pub(crate) fn median_ratio(ratios: impl Iterator<Item = f64>) -> f64 {
    let mut ratios: Vec<f64> = ratios.collect();
    ratios.sort_unstable_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Returns the median. If the number of values is even, returns the larger of the two middle values.
pub(crate) fn median_of<T: Ord>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    let middle = values.len() / 2;
    values.swap_remove(middle)
}
