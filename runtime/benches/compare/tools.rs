//! Finds the tools on this machine, and the folders for files. A missing tool is left out, and the report says so.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::Result;
use crate::contenders::{Program, Storage};
use crate::support::host::component;

/// The folder for files in memory.
const TMPFS: &str = "/dev/shm";

/// The minimum free space, in bytes, in the memory file system. It is more than a round needs. Many containers have
/// less.
const TMPFS_BYTES_MIN: u64 = 1 << 30;

/// The space, in bytes, that `--big` needs for an input of 5 GB and its output.
const BIG_BYTES_MIN: u64 = 15 << 30;

pub(crate) struct Tools {
    /// The folder for inputs, and for the output of contenders that write to disk.
    disk: TempDir,
    memory: Option<TempDir>,
    /// The folder for compiled components. It is kept between runs.
    cache: PathBuf,
    /// The folder of another build to compare with, which contains its `ingest-host` and its plugins `NAME.wasm`.
    before: Option<PathBuf>,
    venv: PathBuf,
    has_python: bool,
    has_miller: bool,
    /// The core for contenders that may use only one core.
    pub(crate) core: String,
}

impl Tools {
    /// Finds the tools. `work` is the folder for all files on disk. If `work/venv` is a Python environment, it is used.
    pub(crate) fn find(work: &Path, before: Option<PathBuf>) -> Result<Self> {
        version("taskset", &["--version"]).ok_or("taskset does not run; it is in the package util-linux")?;
        std::fs::create_dir_all(work)?;
        let memory = (free_bytes(Path::new(TMPFS)) >= TMPFS_BYTES_MIN
            && file_system(Path::new(TMPFS)) == "tmpfs")
            .then(|| folder_in(Path::new(TMPFS)))
            .transpose()?;
        let venv = work.join("venv");
        Ok(Self {
            disk: folder_in(work)?,
            memory,
            cache: work.join("cache"),
            before,
            has_python: venv.join("bin/python").exists(),
            venv,
            has_miller: version("mlr", &["--version"]).is_some(),
            core: first_core()?,
        })
    }

    pub(crate) fn disk(&self) -> &Path {
        self.disk.path()
    }

    /// Returns the folder on this storage, or `None` if the machine has no such storage.
    pub(crate) fn folder(&self, storage: Storage) -> Option<&Path> {
        match storage {
            Storage::Disk => Some(self.disk.path()),
            Storage::Memory => self.memory.as_ref().map(TempDir::path),
        }
    }

    pub(crate) fn has(&self, program: Program) -> bool {
        match program {
            Program::Host | Program::Native => true,
            Program::Before => self.before.is_some(),
            Program::Python | Program::Pandas | Program::Polars => self.has_python,
            Program::Miller => self.has_miller,
        }
    }

    /// Returns the build to measure. With `is_before`, this is the build in [`Tools::before`] if one is set. In all
    /// other cases, it is the current build.
    pub(crate) fn build(&self, is_before: bool) -> Build {
        let before = self.before.as_ref().filter(|_| is_before);
        Build {
            host: before.map_or_else(
                || env!("CARGO_BIN_EXE_ingest-host").into(),
                |folder| folder.join("ingest-host"),
            ),
            cache: self.cache.join(if before.is_some() { "before" } else { "now" }),
            plugins: before.cloned(),
        }
    }

    /// Returns the path of the Python interpreter that has all libraries.
    pub(crate) fn python(&self) -> PathBuf {
        self.venv.join("bin/python")
    }

    pub(crate) fn has_room_for_big(&self) -> bool {
        free_bytes(self.disk.path()) >= BIG_BYTES_MIN
    }

    /// Returns a sentence for each measurement that is impossible on this machine.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if !self.has_python {
            let venv = self.venv.display();
            missing.push(format!(
                "Python, pandas, polars and RQ are left out: there is no environment in {venv}."
            ));
        }
        if !self.has_miller {
            missing.push("Miller is left out: there is no `mlr`.".into());
        }
        if self.memory.is_none() {
            missing.push(format!(
                "Output on tmpfs is left out: {TMPFS} is not a tmpfs, or has less than 1 GiB free."
            ));
        }
        missing
    }
}

/// A build of `ingest-host` to measure.
pub(crate) struct Build {
    pub(crate) host: PathBuf,
    /// The folder of the build's caches.
    pub(crate) cache: PathBuf,
    /// The folder of the build's plugins, or `None` if they must be compiled.
    plugins: Option<PathBuf>,
}

impl Build {
    /// Returns the path of the component of an example plugin.
    pub(crate) fn component(&self, name: &str) -> PathBuf {
        match &self.plugins {
            Some(folder) => folder.join(name).with_extension("wasm"),
            None => component(name),
        }
    }
}

/// Creates a folder that is removed when the returned value is dropped. If the run is killed, the folder stays. Its
/// name then says which program has created it.
fn folder_in(parent: &Path) -> std::io::Result<TempDir> {
    tempfile::Builder::new()
        .prefix("ingest-host-bench-")
        .tempdir_in(parent)
}

/// Returns the type of the file system that contains a path.
pub(crate) fn file_system(path: &Path) -> String {
    let output = Command::new("df").arg("--output=fstype").arg(path).output();
    let said = output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into(),
    );
    said.lines().nth(1).unwrap_or("unknown").to_owned()
}

/// Returns the first line that a program prints about its version, or `None` if the program is missing.
pub(crate) fn version(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| said.lines().next().unwrap_or_default().to_owned())
}

fn free_bytes(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |found| found.f_bavail * found.f_frsize)
}

/// Returns the first core on which this process may run. This is not always core 0.
fn first_core() -> Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = allowed.and_then(|list| list.trim().split([',', '-']).next());
    Ok(first
        .ok_or("/proc/self/status does not say which cores there are")?
        .to_owned())
}
