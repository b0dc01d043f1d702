//! Measures how fast `ingest-host` reads a large input from an S3 server and writes the output to the same server. A
//! run compares four ways of moving the same file: two plain copies through the server, `ingest-host` through the
//! server, and `ingest-host` from file to file. After that, it kills workers in the middle of the file, and counts the
//! parts that were uploaded again.
//!
//! `make bench-stores` measures 5 GB and writes the tables into `docs/storage.md`. `cargo test` runs a small version,
//! which checks the outputs, but no bounds.

mod clients;
mod kills;
#[expect(dead_code, reason = "the benchmark `compare` uses the rest")]
#[path = "../compare/measure.rs"]
mod measure;
mod report;
mod rounds;
mod server;

#[expect(clippy::unwrap_used, reason = "a failed helper of tests panics")]
#[path = "../../tests/it/support/mod.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use report::Findings;
use rounds::Bench;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The size of a run.
struct Scale {
    /// The number of records in the input.
    records: u64,
    rounds: usize,
    /// The number of workers that are killed in the middle of the file.
    kills: usize,
    /// The value of `--checkpoint`.
    checkpoint: &'static str,
    /// True if the bounds are checked, and if unwritten data is written to the disk before each run.
    full: bool,
}

/// A number of alarms that gives 5 GB.
const BIG_ALARMS: u64 = 65_000_000;

impl Scale {
    const FULL: Self = Self {
        records: BIG_ALARMS,
        rounds: 3,
        kills: 10,
        checkpoint: "64MiB",
        full: true,
    };

    /// The size for `cargo test`. The output has four parts of 8 MiB.
    const SMALL: Self = Self {
        records: 400_000,
        rounds: 1,
        kills: 1,
        checkpoint: "4MiB",
        full: false,
    };

    /// Prints a progress message.
    fn progress(&self, what: fmt::Arguments<'_>) {
        if self.full {
            // A lost progress message does no harm.
            let _ = writeln!(std::io::stderr(), "{what}");
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["serve"] => server::serve(),
        ["fill", endpoint, key, records] => clients::fill(endpoint, key, records),
        ["copy", endpoint, from, to, at_once] => clients::copy(endpoint, from, to, at_once),
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

/// The arguments of this program. All other arguments belong to the test runner and are ignored.
struct Options {
    scale: Scale,
    /// `--work FOLDER`: the folder for all files of the run.
    work: PathBuf,
    /// `--report FILE`: the document to update.
    report: Option<PathBuf>,
}

impl Options {
    /// Reads `--full`, `--records N`, `--rounds N`, `--kills N`, `--work FOLDER` and `--report FILE`.
    fn read(arguments: &[&str]) -> Result<Self> {
        let value = |name: &str| -> Result<Option<&str>> {
            let Some(at) = arguments.iter().position(|argument| *argument == name) else {
                return Ok(None);
            };
            let value = arguments
                .get(at + 1)
                .ok_or_else(|| format!("{name} needs a value"))?;
            Ok(Some(value))
        };
        let mut scale = match arguments.contains(&"--full") {
            true => Scale::FULL,
            false => Scale::SMALL,
        };
        if let Some(records) = value("--records")? {
            scale.records = records.parse()?;
        }
        if let Some(rounds) = value("--rounds")? {
            scale.rounds = rounds.parse()?;
        }
        if let Some(kills) = value("--kills")? {
            scale.kills = kills.parse()?;
        }
        Ok(Self {
            scale,
            work: value("--work")?.map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), Into::into),
            report: value("--report")?.map(Into::into),
        })
    }
}

fn bench(options: &Options) -> Result {
    let scale = &options.scale;
    std::fs::create_dir_all(&options.work)?;
    let bench = Bench::new(scale, &options.work)?;
    let rounds = bench.rounds()?;
    let kills = kills::run(&bench, &rounds)?;
    let findings = Findings::new(scale, &rounds, kills);
    let document = findings.document();
    if scale.full {
        say(&document);
    } else {
        report::check_manual_text_stays(bench.folder())?;
        say("small run: all outputs are equal, and no part that a checkpoint covers was uploaded again");
    }
    if let Some(path) = &options.report {
        report::write(path, &document)?;
    }
    match scale.full {
        true => findings.check(),
        false => Ok(()),
    }
}

/// Returns a command that runs this program.
fn this_program() -> Result<std::process::Command> {
    Ok(std::process::Command::new(std::env::current_exe()?))
}

/// Returns the size of a file in bytes.
fn size(path: &Path) -> Result<u64> {
    let found = path
        .metadata()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(found.len())
}

fn say(what: impl fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{what}");
}
