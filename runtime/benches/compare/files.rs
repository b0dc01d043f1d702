//! One input through all contenders: rounds in which each has its turn, every output compared with that of the native job.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::contenders::{Contender, Done};
use crate::jobs::{Input, Job};
use crate::measure::{Sample, median};
use crate::native::Counts;
use crate::tools::Tools;
use crate::{Result, Scale, data};

/// What a contender took for an input, the median of all rounds.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) contender: Contender,
    pub(crate) sample: Sample,
}

/// Runs all contenders in turns, `scale.warm_ups` rounds for nothing and `scale.rounds` that count.
///
/// # Errors
/// If a contender fails, or its output or its count of rejects is not that of the native job.
pub(crate) fn compare(input: &Input, tools: &Tools, scale: &Scale) -> Result<Vec<Row>> {
    let reference = Reference::make(input, tools)?;
    let contenders = Contender::of(input.job, tools, scale.full);
    let mut samples = vec![Vec::new(); contenders.len()];
    for round in 0..scale.warm_ups + scale.rounds {
        for (contender, samples) in contenders.iter().zip(&mut samples) {
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
            if round >= scale.warm_ups {
                samples.push(sample);
            }
        }
    }
    let row = |(contender, samples): (Contender, Vec<Sample>)| Row {
        contender,
        sample: median(&samples),
    };
    Ok(contenders.into_iter().zip(samples).map(row).collect())
}

/// What `ingest` takes for so many alarms; nothing of input and output stays.
pub(crate) fn memory(records: u64, tools: &Tools, scale: &Scale) -> Result<(Input, Sample)> {
    let folder = tempfile::tempdir_in(tools.disk())?;
    let input = data::write(Job::Alarms, folder.path(), records, 0)?;
    let output = tempfile::tempdir_in(tools.disk())?;
    let done = Contender::HOST.run(&input, tools, output.path())?;
    let expected = Counts {
        read: records,
        rejected: 0,
    };
    if done.counts != expected {
        return Err(format!("{:?} instead of {expected:?}", done.counts).into());
    }
    scale.progress(format_args!("alarms of {} bytes: {:?}", input.bytes, done.sample));
    Ok((input, done.sample))
}

/// What the native job made of the input.
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

    /// Runs a contender once and checks what it made; nothing of it stays.
    fn run(&self, contender: Contender, input: &Input, tools: &Tools, scale: &Scale) -> Result<Sample> {
        let storage = tools
            .folder(contender.storage)
            .ok_or("there is no such storage")?;
        let folder = tempfile::tempdir_in(storage)?;
        if scale.full {
            // Nobody is to wait for what another contender has left to be written.
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

/// # Errors
/// With the first line that differs.
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

/// A check for the small run: the comparison can fail.
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
