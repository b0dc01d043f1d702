//! Turns the measurements into a Markdown document for the terminal and for `BENCHMARKS.md`.

use std::fmt::Write;
use std::path::Path;

use crate::contenders::{Contender, Cores, Program};
use crate::files::MEMORY_RUNS;
use crate::jobs::Input;
use crate::measure::Sample;
use crate::{Result, claims, files, requests};

/// The line between the document and the text that people have written. A run replaces the document above this line,
/// and keeps the text below it.
const MARKER: &str = "<!-- `make bench` writes the text above this line and keeps the text below it. -->";

const HOW: &str = "\
    - In a round, each contender that takes part runs once, as a process of its own. Before each run, unwritten data is \
    written to the disk. With files, there is one more round at the start, which does not count.\n\
    - A ratio is computed for each round, and the table has the median of these ratios, because the machine may be \
    slower in another round.\n\
    - The inputs are created from a seed. They are in the page cache when the contenders read them.\n\
    - The output of every run is compared with the output of the native job, byte for byte. If they differ, `make bench` \
    fails.\n\
    - `ingest-host` does more than the other contenders: it computes the digests of input, output and rejects, syncs the \
    output to the disk, and writes a receipt. On tmpfs a sync costs nothing.\n\
    - With \"one\" core, `taskset` restricts the contender to one core. With \"all\" cores, it may use all cores of the \
    machine, even if it has only one thread. \"CPU\" is the user time and the system time of all threads.\n\
    - The scripts of the other contenders are in `runtime/benches/contenders`, the native jobs in \
    `runtime/benches/compare/native.rs`.\n";

const REQUESTS: &str = "\n## Small requests\n\nOne worker process with `--burst` runs requests of 100 records each. The time \
    is measured from the start of the process to its end. Every output and receipt is written and synced. The jobs of RQ \
    do nothing. Redis keeps its data in memory, and SQLite keeps it in a synced file on the disk.\n\n";

const MIB: f64 = (1 << 20) as f64;

/// All results of a run.
pub(crate) struct Findings {
    pub(crate) date: String,
    pub(crate) rounds: usize,
    pub(crate) request_rounds: usize,
    pub(crate) machine: Vec<(&'static str, String)>,
    pub(crate) versions: Vec<(&'static str, String)>,
    /// A sentence for each measurement that is missing.
    pub(crate) missing: Vec<String>,
    /// The measurement of a program that does nothing.
    pub(crate) floor: Sample,
    pub(crate) files: Vec<(Input, Vec<files::Row>)>,
    /// The measurements of `ingest` on all cores, for inputs of several sizes.
    pub(crate) memory: Vec<(Input, Sample)>,
    pub(crate) requests: Vec<requests::Row>,
    pub(crate) claims: Vec<claims::Row>,
}

/// Writes the document to a file, and keeps its manual text.
pub(crate) fn write(path: &Path, document: &str) -> Result {
    let before = match std::fs::read_to_string(path) {
        Ok(before) => before,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error.into()),
    };
    let by_hand = before.split_once(MARKER).map_or("\n", |(_, by_hand)| by_hand);
    Ok(std::fs::write(path, format!("{document}\n{MARKER}{by_hand}"))?)
}

/// Checks that a new document replaces only the old document, and keeps the manual text. Only runs without `--full`
/// call it.
pub(crate) fn check_manual_text_stays(folder: &Path) -> Result {
    let path = folder.join("report.md");
    write(&path, "old")?;
    let by_hand = "\n\nby hand\n";
    std::fs::write(&path, std::fs::read_to_string(&path)? + by_hand)?;
    write(&path, "new")?;
    let found = std::fs::read_to_string(&path)?;
    if found.contains("old") || !found.starts_with("new\n") || !found.ends_with(by_hand) {
        return Err(format!("a new report must replace the old one and nothing else: {found:?}").into());
    }
    Ok(())
}

impl Findings {
    pub(crate) fn document(&self) -> String {
        let mut out = String::new();
        self.head(&mut out);
        for (input, rows) in &self.files {
            file_table(&mut out, input, rows);
        }
        self.memory_table(&mut out);
        self.request_table(&mut out);
        self.claim_table(&mut out);
        out
    }

    fn head(&self, out: &mut String) {
        *out += "# Benchmarks\n\n";
        line(
            out,
            format_args!(
                "`make bench` wrote this page on {}, on this machine with these versions:\n",
                self.date
            ),
        );
        *out += "| part | version or value |\n| --- | --- |\n";
        for (name, value) in self.machine.iter().chain(&self.versions) {
            row(out, &[(*name).into(), value.clone()]);
        }
        line(
            out,
            format_args!(
                "\nEach number is the median of {} rounds with files, or of {} rounds with requests. With files, contenders other than `ingest-host` and the native jobs take part only in every third round, so their numbers are medians of fewer rounds.\n\n{HOW}",
                self.rounds, self.request_rounds
            ),
        );
        for sentence in &self.missing {
            line(out, format_args!("**Not measured:** {sentence}\n"));
        }
    }

    fn memory_table(&self, out: &mut String) {
        *out += "\n## Memory of `ingest`\n\n";
        line(
            out,
            format_args!(
                "`ingest` runs with the default settings on all cores. Each number is the median of {MEMORY_RUNS} runs. For comparison, a program that does nothing has a peak of {:.1} MiB.\n",
                self.floor.peak_bytes as f64 / MIB
            ),
        );
        *out += "| input | MB | seconds | MB/s | peak MiB |\n\
            | --- | ---: | ---: | ---: | ---: |\n";
        for (input, sample) in &self.memory {
            let seconds = sample.wall.as_secs_f64();
            row(
                out,
                &[
                    input.job.title().into(),
                    format!("{:.1}", input.bytes as f64 / 1e6),
                    format!("{seconds:.2}"),
                    format!("{:.0}", input.bytes as f64 / 1e6 / seconds),
                    format!("{:.1}", sample.peak_bytes as f64 / MIB),
                ],
            );
        }
    }

    fn request_table(&self, out: &mut String) {
        *out += REQUESTS;
        let simple = self
            .requests
            .iter()
            .find(|row| row.worker == requests::Worker::RqSimple);
        *out += "| worker | output on | requests | requests/s | × RQ SimpleWorker | CPU µs each | peak MiB |\n\
            | --- | --- | ---: | ---: | ---: | ---: | ---: |\n";
        for found in &self.requests {
            row(
                out,
                &[
                    found.worker.label(),
                    found
                        .storage
                        .map_or_else(|| "none".into(), |storage| storage.to_string()),
                    found.requests.to_string(),
                    format!("{:.0}", found.rate()),
                    simple.map_or_else(
                        || "-".into(),
                        |simple| format!("{:.1}", found.rate() / simple.rate()),
                    ),
                    format!(
                        "{:.0}",
                        found.sample.cpu.as_secs_f64() * 1e6 / found.requests as f64
                    ),
                    format!("{:.1}", found.sample.peak_bytes as f64 / MIB),
                ],
            );
        }
    }

    fn claim_table(&self, out: &mut String) {
        *out +=
            "\n## A claim\n\nThe median time of a claim, by the number of waiting requests in the queue.\n\n";
        *out += "| queue | waiting requests | µs |\n\
            | --- | ---: | ---: |\n";
        for found in &self.claims {
            row(
                out,
                &[
                    found.backend.into(),
                    found.waiting.to_string(),
                    format!("{:.0}", found.claim.as_secs_f64() * 1e6),
                ],
            );
        }
    }
}

fn file_table(out: &mut String, input: &Input, rows: &[files::Row]) {
    line(
        out,
        format_args!(
            "\n## {}\n\n{} records, {:.1} MB, through the plugin `{}`. The last two columns divide the contender's \
             time by the time of `ingest-host` on one core and on all cores, with the output on the same storage. If the result \
             is above 1, `ingest-host` is faster.\n",
            input.job.title(),
            input.records,
            input.bytes as f64 / 1e6,
            input.job.plugin()
        ),
    );
    *out += "| contender | cores | output on | seconds | × native | ns a record | MB/s | CPU s | peak MiB | host, one core | host, all cores |\n\
            | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";
    for found in rows {
        file_row(out, input, rows, found);
    }
}

fn file_row(out: &mut String, input: &Input, rows: &[files::Row], found: &files::Row) {
    let Contender {
        program,
        cores,
        storage,
    } = found.contender;
    let mine = found.sample.wall.as_secs_f64();
    // Finds the row of a program with its output on the same storage.
    let other = |program: Program, cores: Cores| {
        let wanted = Contender {
            program,
            cores,
            storage,
        };
        rows.iter().find(|row| row.contender == wanted)
    };
    let native = other(Program::Native, Cores::One);
    let host_times = |cores| match other(Program::Host, cores) {
        Some(host) if program != Program::Host => format!("{:.2}", host.times_as_fast_as(found)),
        _ => String::new(),
    };
    let cells = [
        found.contender.label(input.job).into(),
        if cores == Cores::One { "one" } else { "all" }.into(),
        storage.to_string(),
        format!("{mine:.3}"),
        native.map_or_else(String::new, |native| {
            format!("{:.2}", found.times_as_fast_as(native))
        }),
        format!("{:.0}", mine * 1e9 / input.records as f64),
        format!("{:.0}", input.bytes as f64 / 1e6 / mine),
        format!("{:.3}", found.sample.cpu.as_secs_f64()),
        format!("{:.1}", found.sample.peak_bytes as f64 / MIB),
        host_times(Cores::One),
        host_times(Cores::All),
    ];
    row(out, &cells);
}

fn line(out: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(out, "{what}").expect("a string takes everything");
}

fn row(out: &mut String, cells: &[String]) {
    line(out, format_args!("| {} |", cells.join(" | ")));
}
