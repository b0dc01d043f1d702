//! Tests that a worker checks each folder of its output when it starts.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::host::{CommandOutput, Host, component};
use crate::support::inputs::CSV;

/// The user that runs the workers if the tests run as root, who may write everywhere.
const NOBODY: u32 = 65_534;

/// The folders that an attempt uses, below the output.
const FOLDERS: [&str; 8] = [
    "q",
    "_ingest/q/receipts",
    "_ingest/q/rejects",
    "_ingest/q/staging",
    "_ingest/q/fences",
    "_ingest/q/checkpoints",
    "_ingest/q/quarantine",
    "_ingest/q",
];

fn as_user(command: &mut Command) {
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
}

/// Runs a command as a user who may not write everywhere.
fn run(host: &Host, words: &str) -> CommandOutput {
    let mut command = host.command();
    as_user(&mut command);
    command
        .args(words.split_whitespace())
        .env("XDG_CACHE_HOME", host.path("cache"));
    CommandOutput::new(&command.output().unwrap())
}

fn fixture() -> Host {
    let host = Host::embedded();
    fs::copy(component("clean"), host.path("clean.wasm")).unwrap();
    host.write("in.csv", CSV);
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(host.folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    host
}

const WORKER: &str = "run --queue q --plugin clean.wasm --allow-root . --burst --output out";

fn set_mode(folder: &Path, mode: u32) {
    fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_worker_that_cannot_write_one_folder_of_its_output_does_not_start() {
    let host = fixture();
    run(&host, "submit --queue q --uri in.csv --id a").ok();
    run(&host, WORKER).ok();
    let mut command = Command::new("mkdir");
    as_user(&mut command);
    let quarantine = host.path("out/_ingest/q/quarantine");
    assert!(command.arg(quarantine).status().unwrap().success());
    run(&host, "submit --queue q --uri in.csv --id b").ok();
    for folder in FOLDERS {
        let path = host.path("out").join(folder);
        let has_quarantine = folder != "_ingest/q";
        if !has_quarantine {
            fs::remove_dir(host.path("out/_ingest/q/quarantine")).unwrap();
        }
        for mode in [0o555, 0o000] {
            set_mode(&path, mode);
            let said = run(&host, WORKER);
            set_mode(&path, 0o755);
            let said = said.refused(1);
            assert!(said.contains(folder), "{folder} {mode:o}: {said}");
            assert!(
                said.contains("the right to read and write there"),
                "{folder} {mode:o}: {said}"
            );
        }
    }
    assert_eq!(host.status("b")["state"], "ready");
    run(&host, WORKER).ok();
    assert_eq!(host.status("b")["state"], "done");
}

#[test]
fn a_worker_whose_staging_is_in_another_file_system_does_not_start() {
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let host = Host::embedded();
    fs::copy(component("clean"), host.path("clean.wasm")).unwrap();
    host.write("in.csv", CSV);
    host.run("submit --queue q --uri in.csv --id a").ok();
    fs::create_dir(host.path("out")).unwrap();
    symlink(elsewhere.path(), host.path("out/_ingest")).unwrap();
    let said = host.run(WORKER).refused(1);
    assert!(said.contains("put both in one file system"), "{said}");
    assert_eq!(host.status("a")["state"], "ready");
}
