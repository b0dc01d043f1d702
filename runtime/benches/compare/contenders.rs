//! The contenders for a job, each with its number of cores and the storage of its output. Except the host and Miller,
//! each contender is a program whose last arguments are `INPUT OUTPUT REJECTS`. Each contender prints how many records
//! it has read and rejected.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::jobs::{Input, Job};
use crate::measure::{self, Sample};
use crate::native::Counts;
use crate::tools::Tools;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The command `ingest-host ingest`.
    Host,
    /// The command `ingest-host ingest` of another build, with the plugins of that build: see [`Tools::before`].
    Before,
    /// The jobs in [`crate::native`], run in a separate process.
    Native,
    /// A script that reads with `csv.DictReader` and writes with `csv.DictWriter`, as in the tutorial from which this
    /// project grew.
    Python,
    Pandas,
    Polars,
    Miller,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cores {
    One,
    All,
}

/// The storage to which the output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    Disk,
    Memory,
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk => "disk",
            Self::Memory => "tmpfs",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contender {
    pub(crate) program: Program,
    pub(crate) cores: Cores,
    pub(crate) storage: Storage,
}

impl Contender {
    pub(crate) const NATIVE: Self = Self::new(Program::Native, Cores::One, Storage::Disk);

    /// The native job, which may run on any core.
    pub(crate) const UNPINNED: Self = Self::new(Program::Native, Cores::All, Storage::Disk);

    pub(crate) const HOST: Self = Self::new(Program::Host, Cores::All, Storage::Disk);

    const fn new(program: Program, cores: Cores, storage: Storage) -> Self {
        Self {
            program,
            cores,
            storage,
        }
    }

    /// Returns the contenders that can do a job with the installed tools. [`Contender::NATIVE`] is the first. Without
    /// `others`, the list contains only the native job and the builds of the host.
    pub(crate) fn of(job: Job, tools: &Tools, others: bool) -> Vec<Self> {
        let mut contenders = Vec::new();
        for storage in [Storage::Disk, Storage::Memory] {
            if tools.folder(storage).is_some() {
                contenders.push(Self::new(Program::Native, Cores::One, storage));
                contenders.push(Self::new(Program::Host, Cores::One, storage));
                contenders.push(Self::new(Program::Host, Cores::All, storage));
                if tools.has(Program::Before) {
                    contenders.push(Self::new(Program::Before, Cores::One, storage));
                    contenders.push(Self::new(Program::Before, Cores::All, storage));
                }
            }
        }
        let others: &[_] = match job {
            _ if !others => &[],
            Job::Alarms => &[Program::Python, Program::Pandas, Program::Polars, Program::Miller],
            Job::Wide => &[Program::Polars],
            Job::Quoted | Job::AlarmsJsonl => &[],
        };
        let there = others.iter().filter(|program| tools.has(**program));
        contenders.extend(there.map(|&program| Self::new(program, Cores::All, Storage::Disk)));
        contenders
    }

    /// Returns the name that the report shows.
    pub(crate) fn label(self, job: Job) -> &'static str {
        match self.program {
            Program::Host => "ingest-host",
            Program::Before => "ingest-host, the build before",
            Program::Native if job == Job::AlarmsJsonl => "native, serde_json",
            Program::Native => "native, csv crate",
            Program::Python => "Python, csv.DictReader",
            Program::Pandas => "pandas",
            Program::Polars => "polars",
            Program::Miller => "Miller",
        }
    }

    /// Runs the job on an input once, in an empty folder.
    pub(crate) fn run(self, input: &Input, tools: &Tools, folder: &Path) -> Result<Done> {
        let output = folder.join("output");
        let command = self.command(input, tools, folder, &output)?;
        let (sample, said) = measure::run(command, folder)?;
        let said: Printed = serde_json::from_str(&said).map_err(|e| format!("{said:?}: {e}"))?;
        let output = match self.program {
            Program::Host | Program::Before => output.join(format!("job.{}", input.job.extension())),
            _ => output,
        };
        Ok(Done {
            sample,
            output,
            counts: said.records,
        })
    }

    fn command(self, input: &Input, tools: &Tools, folder: &Path, output: &Path) -> Result<Command> {
        let rejects = folder.join("rejects");
        let mut command = match self.program {
            Program::Host | Program::Before => return Ok(self.host(input, tools, folder, output)),
            Program::Miller => return Ok(self.miller(input, tools, output, &rejects)),
            Program::Native => {
                let mut command = self.pinned(tools, &std::env::current_exe()?);
                command.args(["native", input.job.name()]);
                command
            }
            Program::Python | Program::Pandas | Program::Polars => {
                let mut command = self.pinned(tools, &tools.python());
                let script = script(&format!("{}.py", input.job.name()));
                command.arg(script).arg(self.library());
                command
            }
        };
        command.arg(&input.path).arg(output).arg(rejects);
        Ok(command)
    }

    fn host(self, input: &Input, tools: &Tools, folder: &Path, output: &Path) -> Command {
        let build = tools.build(self.program == Program::Before);
        let mut command = self.pinned(tools, &build.host);
        command.arg("ingest").arg(&input.path);
        command.arg("--plugin").arg(build.component(input.job.plugin()));
        command.args(["--plugin-config", input.job.config(), "--id", "job", "--json"]);
        command.arg("--output").arg(output).current_dir(folder);
        command.env_clear().env("HOME", folder);
        command.env("XDG_CACHE_HOME", &build.cache);
        command.env("XDG_STATE_HOME", &build.cache);
        command
    }

    fn miller(self, input: &Input, tools: &Tools, output: &Path, rejects: &Path) -> Command {
        let mut command = self.pinned(tools, Path::new("mlr"));
        command.args(["--icsv", "--ocsv", "--from"]).arg(&input.path);
        command.args(["put", "-q", "-f"]).arg(script("alarms.mlr"));
        for (name, path) in [("output", output), ("rejects", rejects)] {
            command.arg("-s").arg(format!("{name}={}", path.display()));
        }
        command
    }

    /// Returns the library's name, as the Python scripts expect it on their command line.
    fn library(self) -> &'static str {
        match self.program {
            Program::Pandas => "pandas",
            Program::Polars => "polars",
            _ => "csv",
        }
    }

    fn pinned(self, tools: &Tools, program: &Path) -> Command {
        match self.cores {
            Cores::All => Command::new(program),
            Cores::One => {
                let mut command = Command::new("taskset");
                command.args(["-c", &tools.core]).arg(program);
                command
            }
        }
    }
}

/// The result of one run of a contender.
pub(crate) struct Done {
    pub(crate) sample: Sample,
    pub(crate) output: PathBuf,
    pub(crate) counts: Counts,
}

/// The counts that a contender prints. The members have the same names as in the host's receipt.
#[derive(Deserialize, Serialize)]
pub(crate) struct Printed {
    pub(crate) records: Counts,
}

/// Returns the path of a script in `benches/contenders`.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benches/contenders")
        .join(name)
}
