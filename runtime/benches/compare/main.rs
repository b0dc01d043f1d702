//! Compares `ingest-host` with native code and with other common tools on the same jobs. All of them must give the same
//! output. The inputs are created from a seed. The results are tables and `BENCHMARKS.md`.
//!
//! `make bench` runs all comparisons. `cargo test` runs a small version with only the host and the native jobs.

mod claims;
mod contenders;
mod data;
mod files;
mod jobs;
mod machine;
mod measure;
mod native;
mod report;
mod requests;
mod tools;

#[expect(clippy::unwrap_used, reason = "a failed helper of tests panics")]
#[path = "../../tests/it/support/mod.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use contenders::Printed;
use jobs::Job;
use report::Findings;
use tools::Tools;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The size of a run: the amount of data, and the number of measurements.
struct Scale {
    alarms: u64,
    wide: u64,
    quoted: u64,
    bad_percent: u8,
    warm_ups: usize,
    /// The number of measured rounds with files.
    rounds: usize,
    /// The number of rounds with requests.
    request_rounds: usize,
    /// The number of requests that each worker gets.
    requests: u64,
    /// The number of claims from each queue. `waiting` has the numbers of waiting requests: first for the short queue,
    /// then for the long queue.
    claims: usize,
    waiting: [u64; 2],
    /// True if all contenders run. False if only the host and the native jobs run. If true, unwritten data is also
    /// written to disk before each run.
    full: bool,
}

const FULL: Scale = Scale {
    alarms: 1_000_000,
    wide: 200_000,
    quoted: 200_000,
    bad_percent: 0,
    warm_ups: 1,
    rounds: 15,
    request_rounds: 5,
    requests: 3_000,
    claims: 1_000,
    waiting: [1_000, 1_000_000],
    full: true,
};

/// The size for `cargo test`. It is large enough to check that everything works, and that there are rejects to compare.
const SMALL: Scale = Scale {
    alarms: 3_000,
    wide: 1_000,
    quoted: 1_000,
    bad_percent: 5,
    warm_ups: 0,
    rounds: 1,
    request_rounds: 1,
    requests: 40,
    claims: 3,
    waiting: [10, 100],
    full: false,
};

/// The number of alarms in an input of 5 GB.
const BIG_ALARMS: u64 = 65_000_000;

impl Scale {
    /// Prints a progress message.
    fn progress(&self, what: fmt::Arguments<'_>) {
        if self.full {
            // A lost progress message does no harm.
            let _ = writeln!(std::io::stderr(), "{what}");
        }
    }

    fn records(&self, job: Job) -> u64 {
        match job {
            Job::Alarms | Job::AlarmsJsonl => self.alarms,
            Job::Wide => self.wide,
            Job::Quoted => self.quoted,
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["native", job, input, output, rejects] => native(job, input, output, rejects),
        _ => Options::read(&arguments).and_then(|options| bench(&options)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a native job in this process. The parent process has started this process to measure it.
fn native(job: &str, input: &str, output: &str, rejects: &str) -> Result {
    let job = Job::from_name(job).ok_or_else(|| format!("there is no job {job:?}"))?;
    let records = native::run(job, Path::new(input), Path::new(output), Path::new(rejects))?;
    say(serde_json::to_string(&Printed { records })?);
    Ok(())
}

/// The arguments of this program. All other arguments belong to the test runner and are ignored.
struct Options {
    /// `--full`: measures all contenders.
    full: bool,
    /// `--big`: also measures an input of 5 GB if the disk has enough space.
    big: bool,
    /// `--work FOLDER`: the folder for all files of the run.
    work: PathBuf,
    /// `--before FOLDER`: the folder of another build to compare with. It contains `ingest-host`, `alarms.wasm` and
    /// `clean.wasm`.
    before: Option<PathBuf>,
    /// `--report FILE`: the document to update.
    report: Option<PathBuf>,
}

impl Options {
    fn read(arguments: &[&str]) -> Result<Self> {
        let value = |name: &str| -> Result<Option<PathBuf>> {
            let Some(at) = arguments.iter().position(|argument| *argument == name) else {
                return Ok(None);
            };
            let value = arguments
                .get(at + 1)
                .ok_or_else(|| format!("{name} needs a value"))?;
            Ok(Some(value.into()))
        };
        Ok(Self {
            full: arguments.contains(&"--full"),
            big: arguments.contains(&"--big"),
            work: value("--work")?.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench")),
            before: value("--before")?,
            report: value("--report")?,
        })
    }
}

fn bench(options: &Options) -> Result {
    let scale = if options.full { &FULL } else { &SMALL };
    let tools = Tools::find(&options.work, options.before.clone())?;
    let mut machine = machine::machine(&tools);
    let mut missing = tools.missing();
    // The peak of a child process includes the memory of its parent. Memory is therefore measured first, before the
    // queues make this process larger.
    let floor = measure::floor(tools.disk())?;
    let mut files = Vec::new();
    for job in Job::ALL {
        let input = data::write(job, tools.disk(), scale.records(job), scale.bad_percent)?;
        let rows = files::compare(&input, &tools, scale)?;
        if job == Job::Alarms {
            let scaling = files::scaling(&input, &tools, scale)?;
            let what =
                format!("{scaling:.2} times that of one core, for native jobs that run at the same time");
            machine.push(("speed of all cores", what));
        }
        std::fs::remove_file(&input.path)?;
        files.push((input, rows));
    }
    let mut memory = vec![files::memory(scale.alarms, &tools, scale)?];
    if options.big && tools.has_room_for_big() {
        memory.push(files::memory(BIG_ALARMS, &tools, scale)?);
    } else {
        missing.push("The memory for an input of 5 GB: it needs `--big` and 15 GiB of free disk.".into());
    }
    let findings = Findings {
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        rounds: scale.rounds,
        request_rounds: scale.request_rounds,
        machine,
        versions: machine::versions(&tools),
        missing,
        floor,
        files,
        memory,
        requests: requests::compare(&tools, scale)?,
        claims: claims::compare(&tools, scale)?,
    };
    let document = findings.document();
    if options.full {
        say(&document);
    } else {
        files::differences_are_found(tools.disk())?;
        report::check_manual_text_stays(tools.disk())?;
        say("small run: every contender gave the same output");
    }
    match &options.report {
        Some(path) => report::write(path, &document),
        None => Ok(()),
    }
}

fn say(what: impl fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{what}");
}
