//! Describes the machine and the versions of the programs for the report, as pairs of a name and a value.

use std::path::Path;

use crate::contenders::Program;
use crate::tools::{Tools, file_system, version};

/// Returns the properties of the machine and its load. Must be called before any measurement.
pub(crate) fn machine(tools: &Tools) -> Vec<(&'static str, String)> {
    let cores =
        std::thread::available_parallelism().map_or_else(|e| e.to_string(), |cores| cores.to_string());
    vec![
        ("processor", field("/proc/cpuinfo", "model name")),
        ("cores", cores),
        ("memory", memory()),
        ("kernel", version("uname", &["-srm"]).unwrap_or_else(unknown)),
        ("file system of the disk", file_system(tools.disk())),
        ("load in the minute before", load()),
    ]
}

/// Returns the versions of the measured programs.
pub(crate) fn versions(tools: &Tools) -> Vec<(&'static str, String)> {
    let commit = version("git", &["describe", "--always", "--dirty", "--exclude=*"]);
    let host = format!(
        "{}, commit {}",
        env!("CARGO_PKG_VERSION"),
        commit.unwrap_or_else(unknown)
    );
    let mut versions = vec![
        ("ingest-host", host),
        ("rustc", version("rustc", &["--version"]).unwrap_or_else(unknown)),
    ];
    let crates = ["wasmtime", "csv", "serde_json"].map(|name| (name, locked(name)));
    versions.extend(crates);
    versions.push((
        "redis-server",
        version("redis-server", &["--version"]).unwrap_or_else(unknown),
    ));
    if tools.has(Program::Python) {
        let python = tools.python();
        versions.push(("Python", version(&python, &["--version"]).unwrap_or_else(unknown)));
        for package in ["pandas", "polars", "rq"] {
            let ask = format!("import importlib.metadata as m; print(m.version({package:?}))");
            versions.push((package, version(&python, &["-c", &ask]).unwrap_or_else(unknown)));
        }
    }
    if let Some(miller) = version("mlr", &["--version"]) {
        versions.push(("Miller", miller));
    }
    versions
}

fn unknown() -> String {
    "unknown".into()
}

/// Returns the value of the first line with this name. The file consists of lines of the form `name : value`.
fn field(path: &str, name: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    line.map_or_else(unknown, |value| value.trim().to_owned())
}

fn memory() -> String {
    let total = field("/proc/meminfo", "MemTotal");
    let kib: Option<f64> = total.strip_suffix(" kB").and_then(|kib| kib.parse().ok());
    kib.map_or(total, |kib| format!("{:.0} GiB", kib / f64::from(1 << 20)))
}

fn load() -> String {
    let averages = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split(' ').next().unwrap_or_default().to_owned()
}

/// Returns the version of a dependency, as in the lock file.
fn locked(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    let lock = std::fs::read_to_string(path).unwrap_or_default();
    let entry = lock
        .split_once(&format!("name = \"{name}\"\nversion = \""))
        .map(|(_, rest)| rest);
    let version = entry.and_then(|rest| rest.split('"').next());
    version.map_or_else(unknown, str::to_owned)
}
