//! Runs one input through all contenders, in rounds. In each round, the contenders run in turn. Each output is compared
//! with the output of the native job.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::contenders::{Contender, Done, Program};
use crate::jobs::{Input, Job};
use crate::measure::{Sample, median, median_ratio};
use crate::native::Counts;
use crate::tools::Tools;
use crate::{Result, Scale, data};

/// The slow contenders take part in one of this number of rounds. Most of them take ten times as long as the other
/// contenders.
const OTHERS_EVERY: usize = 3;

/// The number of memory measurements. Peak memory varies by a tenth between runs.
pub(crate) const MEMORY_RUNS: usize = 3;

/// The measurements of a contender with an input.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) contender: Contender,
    /// The median of all rounds.
    pub(crate) sample: Sample,
    /// The measurement of each round. It is `None` if the contender has not taken part or the round is not counted.
    rounds: Vec<Option<Sample>>,
}

impl Row {
    /// Returns the speed of this contender as a multiple of the other contender's speed. The result is the median over
    /// the rounds in which both took part. Only runs of the same round are compared, because the machine can be slower
    /// in the next round.
    pub(crate) fn times_as_fast_as(&self, other: &Self) -> f64 {
        let both = self.rounds.iter().zip(&other.rounds);
        let ratios = both.filter_map(|(mine, other)| Some(other.as_ref()?.ratio(mine.as_ref()?)));
        median_ratio(ratios)
    }
}

/// Runs all contenders in turn: first `scale.warm_ups` rounds that are not counted, then `scale.rounds` rounds that are
/// counted. Contenders other than the host and the native job take part in only one of [`OTHERS_EVERY`] rounds.
///
/// # Errors
/// Fails if a contender fails, or if its output or number of rejects differs from the native job's.
pub(crate) fn compare(input: &Input, tools: &Tools, scale: &Scale) -> Result<Vec<Row>> {
    let reference = Reference::make(input, tools)?;
    let contenders = Contender::of(input.job, tools, scale.full);
    let mut samples = vec![Vec::new(); contenders.len()];
    for round in 0..scale.warm_ups + scale.rounds {
        for (contender, samples) in contenders.iter().zip(&mut samples) {
            let is_slow = !matches!(
                contender.program,
                Program::Host | Program::Before | Program::Native
            );
            if is_slow && round % OTHERS_EVERY != 0 {
                samples.push(None);
                continue;
            }
            let sample = reference
                .run(*contender, input, tools, scale)
                .map_err(|e| format!("{} on {}: {e}", contender.label(input.job), input.path.display()))?;
            scale.progress(format_args!(
                "{} round {round}: {} ({:?} cores, {}) {:.3} s",
                input.job.name(),
                contender.label(input.job),
                contender.cores,
                contender.storage,
                sample.wall.as_secs_f64(),
            ));
            samples.push((round >= scale.warm_ups).then_some(sample));
        }
    }
    let row = |(contender, rounds): (Contender, Vec<Option<Sample>>)| Row {
        contender,
        sample: median(&rounds.iter().copied().flatten().collect::<Vec<_>>()),
        rounds,
    };
    Ok(contenders.into_iter().zip(samples).map(row).collect())
}

/// Returns the throughput of native jobs on all cores, as a multiple of the throughput on one core. On this machine, a
/// program with a thread for each core can gain at most this factor.
pub(crate) fn scaling(input: &Input, tools: &Tools, scale: &Scale) -> Result<f64> {
    let cores = std::thread::available_parallelism()?.get();
    let folder = tempfile::tempdir_in(tools.disk())?;
    let run = |copy: usize| -> Result<Sample, String> {
        let folder = folder.path().join(copy.to_string());
        std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        let done = Contender::UNPINNED.run(input, tools, &folder);
        Ok(done.map_err(|e| e.to_string())?.sample)
    };
    let mut ratios = Vec::new();
    for _ in 0..scale.rounds {
        let alone = run(0)?;
        let together = std::thread::scope(|scope| {
            let copies: Vec<_> = (0..cores).map(|copy| scope.spawn(move || run(copy))).collect();
            let join =
                |copy: std::thread::ScopedJoinHandle<'_, _>| copy.join().expect("a run does not panic");
            copies
                .into_iter()
                .map(join)
                .collect::<Result<Vec<Sample>, String>>()
        })?;
        let slowest = together
            .iter()
            .max_by_key(|sample| sample.wall)
            .ok_or("there is no core")?;
        ratios.push(cores as f64 * alone.ratio(slowest));
    }
    Ok(median_ratio(ratios.into_iter()))
}

/// Measures `ingest` with an input of `records` alarms. Removes the input and the output afterwards.
pub(crate) fn memory(records: u64, tools: &Tools, scale: &Scale) -> Result<(Input, Sample)> {
    let folder = tempfile::tempdir_in(tools.disk())?;
    let input = data::write(Job::Alarms, folder.path(), records, 0)?;
    let expected = Counts {
        read: records,
        rejected: 0,
    };
    let mut samples = Vec::new();
    for _ in 0..MEMORY_RUNS {
        let output = tempfile::tempdir_in(tools.disk())?;
        let done = Contender::HOST.run(&input, tools, output.path())?;
        if done.counts != expected {
            return Err(format!("{:?} instead of {expected:?}", done.counts).into());
        }
        scale.progress(format_args!("alarms of {} bytes: {:?}", input.bytes, done.sample));
        samples.push(done.sample);
    }
    Ok((input, median(&samples)))
}

/// The result of the native job for an input, with which other results are compared.
struct Reference {
    done: Done,
    _folder: tempfile::TempDir,
}

impl Reference {
    fn make(input: &Input, tools: &Tools) -> Result<Self> {
        let folder = tempfile::tempdir_in(tools.disk())?;
        let done = Contender::NATIVE.run(input, tools, folder.path())?;
        if done.counts.read != input.records {
            return Err(format!("{} records were read of {}", done.counts.read, input.records).into());
        }
        Ok(Self {
            done,
            _folder: folder,
        })
    }

    /// Runs a contender once, checks its output, and removes the output.
    fn run(&self, contender: Contender, input: &Input, tools: &Tools, scale: &Scale) -> Result<Sample> {
        let storage = tools
            .folder(contender.storage)
            .ok_or("there is no such storage")?;
        let folder = tempfile::tempdir_in(storage)?;
        if scale.full {
            // A contender must not wait for data that an earlier contender has not yet written to disk.
            rustix::fs::sync();
        }
        let done = contender.run(input, tools, folder.path())?;
        self.check(&done.output, &done.counts)?;
        Ok(done.sample)
    }

    fn check(&self, output: &Path, counts: &Counts) -> Result {
        if *counts != self.done.counts {
            return Err(format!("{counts:?}, but the native job had {:?}", self.done.counts).into());
        }
        same_lines(&self.done.output, output)
    }
}

/// Checks that two files have the same lines.
///
/// # Errors
/// Fails with the first line that differs.
fn same_lines(expected: &Path, found: &Path) -> Result {
    let open = |path: &Path| -> Result<_> {
        let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(BufReader::with_capacity(1 << 16, file))
    };
    let (mut expected, mut found) = (open(expected)?, open(found)?);
    let (mut expected_line, mut found_line) = (Vec::new(), Vec::new());
    for number in 1.. {
        expected_line.clear();
        found_line.clear();
        expected.read_until(b'\n', &mut expected_line)?;
        found.read_until(b'\n', &mut found_line)?;
        if expected_line != found_line {
            return Err(format!(
                "line {number} of the output is {:?}, but the native job wrote {:?}",
                String::from_utf8_lossy(&found_line),
                String::from_utf8_lossy(&expected_line)
            )
            .into());
        }
        if expected_line.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Checks that the comparison finds differences. Only runs without `--full` call it.
pub(crate) fn differences_are_found(folder: &Path) -> Result {
    let [one, other] = ["one", "other"].map(|name| folder.join(name));
    for (text, is_same) in [
        ("a\nb\n", true),
        ("a\nc\n", false),
        ("a\nb", false),
        ("a\nb\nc\n", false),
    ] {
        std::fs::write(&one, "a\nb\n")?;
        std::fs::write(&other, text)?;
        if same_lines(&one, &other).is_ok() != is_same {
            return Err(format!("{text:?} was compared wrongly").into());
        }
    }
    Ok(())
}
