//! Turns the measurements into the last section of `docs/storage.md`, and checks the bounds.

use std::fmt::Write;
use std::path::Path;

use crate::kills::Killed;
use crate::measure::{median, median_of, median_ratio};
use crate::rounds::{Round, Rounds, Run};
use crate::{Result, Scale};

/// The line between the manual text of the document and the results. A run keeps the text above this line, and replaces
/// the text below it.
const MARKER: &str =
    "<!-- `make bench-stores` keeps the text above this line and writes the text below it. -->";

/// The maximum peak of a worker's memory, in MiB.
const PEAK_MIB_MAX: f64 = 96.0;

/// The maximum processor time of a worker, as a multiple of the time with local files.
const CPU_RATIO_MAX: f64 = 1.5;

/// The maximum duration, as a multiple of the duration of a plain copy.
const WALL_RATIO_MAX: f64 = 1.25;

const MIB: f64 = (1 << 20) as f64;

/// All results of a run.
pub(crate) struct Findings<'a> {
    scale: &'a Scale,
    rounds: &'a Rounds,
    killed: Killed,
    bounds: Vec<Bound>,
}

/// A measured value, and the maximum that it may have.
struct Bound {
    what: &'static str,
    unit: &'static str,
    max: Option<f64>,
    measured: f64,
}

impl Bound {
    fn holds(&self) -> bool {
        self.max.is_none_or(|max| self.measured <= max)
    }
}

impl<'a> Findings<'a> {
    pub(crate) fn new(scale: &'a Scale, rounds: &'a Rounds, killed: Killed) -> Self {
        let ratio = |ratio: fn(&Round) -> f64| median_ratio(rounds.rounds.iter().map(ratio));
        let peaks = rounds.rounds.iter().map(|round| round.store.sample.peak_bytes);
        let bound = |what, unit, max, measured| Bound {
            what,
            unit,
            max,
            measured,
        };
        let bounds = vec![
            bound(
                "highest peak memory of the worker in all rounds",
                " MiB",
                Some(PEAK_MIB_MAX),
                peaks.max().unwrap_or_default() as f64 / MIB,
            ),
            bound(
                "CPU of the worker, as a multiple of its CPU with local files",
                "",
                Some(CPU_RATIO_MAX),
                ratio(|round| round.store.sample.cpu.as_secs_f64() / round.local.sample.cpu.as_secs_f64()),
            ),
            bound(
                "duration, as a multiple of the duration of the plain copy",
                "",
                Some(WALL_RATIO_MAX),
                ratio(|round| round.store.sample.ratio(&round.copy.sample)),
            ),
            bound(
                "duration, as a multiple of the duration of the copy with two ranges at a time",
                "",
                None,
                ratio(|round| round.store.sample.ratio(&round.copy_by_two.sample)),
            ),
            bound(
                "duration, as a multiple of the duration with local files",
                "",
                None,
                ratio(|round| round.store.sample.ratio(&round.local.sample)),
            ),
        ];
        Self {
            scale,
            rounds,
            killed,
            bounds,
        }
    }

    /// Checks that all bounds hold.
    pub(crate) fn check(&self) -> Result {
        let broken = self.bounds.iter().filter(|bound| !bound.holds());
        let broken: Vec<_> = broken
            .map(|bound| format!("{}: {:.2}{}", bound.what, bound.measured, bound.unit))
            .collect();
        match broken[..] {
            [] => Ok(()),
            _ => Err(format!("exceeded bounds: {}", broken.join("; ")).into()),
        }
    }

    pub(crate) fn document(&self) -> String {
        let mut out = String::from("## What a large object costs\n\n");
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        line(
            &mut out,
            format_args!(
                "`make bench-stores` measured this on {date}, on a machine with {cores} cores ({}). The input is {:.1} GB of alarms \
                 ({} records) in a bucket of the server s3s, which runs on the same machine in a process with one thread for all requests. \
                 The seconds, rates and CPU times of the first table are medians of {} rounds. Each ratio of the second table is the median of the rounds' own ratios. A round runs the four lines of the table in turn. The outputs are compared \
                 byte for byte.\n",
                processor(),
                self.rounds.input_bytes as f64 / 1e9,
                self.scale.records,
                self.scale.rounds,
            ),
        );
        out += "- The plain copy runs no plugin. It requests ranges of 8 MiB, one after the other, and uploads each as a part, two at a \
              time. The second copy requests two ranges at a time. A worker requests ranges of 3 MiB, up to three at a time, and uploads \
              two parts at a time.\n\
            - `ingest-host` is a worker with one request, the plugin `alarms` and the default settings.\n\
            - \"CPU\" is the user time and the system time of all threads. \"CPU of the server\" counts only the time of that run.\n\n";
        out += "| what | seconds | MB/s | CPU s | CPU s of the server | peak MiB |\n| --- | ---: | ---: | ---: | ---: | ---: |\n";
        self.run_row(&mut out, "plain copy, S3 to S3", |round| round.copy);
        self.run_row(&mut out, "plain copy, two ranges at a time", |round| {
            round.copy_by_two
        });
        self.run_row(&mut out, "`ingest-host`, S3 to S3", |round| round.store);
        self.run_row(&mut out, "`ingest-host`, file to file", |round| round.local);
        out += "\n| measure | bound | measured | holds |\n| --- | ---: | ---: | --- |\n";
        for bound in &self.bounds {
            let max = bound
                .max
                .map_or("-".to_owned(), |max| format!("{max}{}", bound.unit));
            let holds = match (bound.max, bound.holds()) {
                (None, _) => "",
                (Some(_), true) => "yes",
                (Some(_), false) => "**no**",
            };
            line(
                &mut out,
                format_args!(
                    "| {} | {max} | {:.2}{} | {holds} |",
                    bound.what, bound.measured, bound.unit
                ),
            );
        }
        self.killed_text(&mut out);
        out
    }

    fn run_row(&self, out: &mut String, name: &str, of: fn(&Round) -> Run) {
        let runs: Vec<Run> = self.rounds.rounds.iter().map(of).collect();
        let sample = median(&runs.iter().map(|run| run.sample).collect::<Vec<_>>());
        let seconds = sample.wall.as_secs_f64();
        line(
            out,
            format_args!(
                "| {name} | {seconds:.1} | {:.0} | {:.1} | {:.1} | {:.1} |",
                self.rounds.input_bytes as f64 / 1e6 / seconds,
                sample.cpu.as_secs_f64(),
                median_of(runs.iter().map(|run| run.server_cpu)).as_secs_f64(),
                sample.peak_bytes as f64 / MIB
            ),
        );
    }

    fn killed_text(&self, out: &mut String) {
        let Killed {
            kills,
            calls,
            parts,
            covered,
            wall,
        } = &self.killed;
        line(
            out,
            format_args!(
                "\n**Killed in the middle of the file.** {kills} workers at the same request were killed with `kill -9`, and each \
                 successor resumed from the last checkpoint. There was one receipt, the bytes were equal, and all workers together took \
                 {:.0} s. The output has {parts} parts, and the workers made {calls} uploads of parts. None of the {covered} parts \
                 that a checkpoint covered was uploaded again. {} uploads repeated parts behind the last checkpoints. After each \
                 kill, the benchmark ends the lease at once.",
                wall.as_secs_f64(),
                calls - parts
            ),
        );
    }
}

/// Writes the results to a document, and keeps its manual text.
pub(crate) fn write(path: &Path, document: &str) -> Result {
    let before = std::fs::read_to_string(path)?;
    let by_hand = before.split_once(MARKER).map_or(&*before, |(by_hand, _)| by_hand);
    Ok(std::fs::write(
        path,
        format!("{}\n\n{MARKER}\n\n{document}", by_hand.trim_end()),
    )?)
}

/// Checks that new results replace only the old results. Only runs without `--full` call it.
pub(crate) fn check_manual_text_stays(folder: &Path) -> Result {
    let path = folder.join("report.md");
    std::fs::write(&path, "by hand\n")?;
    write(&path, "old\n")?;
    write(&path, "new\n")?;
    let found = std::fs::read_to_string(&path)?;
    if found != format!("by hand\n\n{MARKER}\n\nnew\n") {
        return Err(format!("a new report must replace the old one and nothing else: {found:?}").into());
    }
    Ok(())
}

/// Returns the name of the processor.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| {
        let value = line.strip_prefix("model name")?;
        Some(value.trim_start_matches([' ', '\t', ':']).to_owned())
    });
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn line(out: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(out, "{what}").expect("a string takes everything");
}
