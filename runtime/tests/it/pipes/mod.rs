//! Tests `ingest-host ingest` in combination with other programs: standard input, stdout, several inputs and patterns.

mod several_inputs;
mod standard_input;
mod stdout;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::host::{CommandOutput, Host, component, path_of, wait_for};
use crate::support::process::send_signal;

const ROWS: &str = "a,b\n1,x\n2,y\n";

/// Returns the command `ingest` with the plugin `clean` and no config, so that the plugin keeps every record.
fn clean(host: &Host, args: &[&str]) -> Command {
    let mut command = host.command();
    command.env("TMPDIR", host.path(""));
    command
        .arg("ingest")
        .args(args)
        .arg("--plugin")
        .arg(component("clean"));
    command
}

fn said(mut command: Command) -> CommandOutput {
    CommandOutput::new(&command.output().expect("the program runs"))
}

/// Runs a command, and writes these bytes to its standard input.
fn piped(mut command: Command, bytes: &[u8]) -> CommandOutput {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    let mut stdin = child.stdin.take().expect("piped");
    let bytes = bytes.to_vec();
    // The command can end before it has read all bytes.
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).ok());
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("the writer ends");
    CommandOutput::new(&output)
}

fn receipt(said: CommandOutput) -> Value {
    let mut receipts = said.json();
    assert_eq!(receipts.len(), 1);
    receipts.remove(0)
}

fn output(receipt: &Value) -> String {
    std::fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap()
}

/// Returns the sorted names of the files in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Checks that the command has left no file that it had staged for stdout.
#[track_caller]
fn leaves_no_staging(host: &Host) {
    let left: Vec<_> = names(&host.path(""))
        .into_iter()
        .filter(|name| name.starts_with("ingest-host-"))
        .collect();
    assert_eq!(left, [] as [String; 0]);
}

/// Interrupts a command after it has read all bytes from its standard input, which stays open.
fn interrupted(mut command: Command) -> CommandOutput {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(ROWS.as_bytes()).unwrap();
    wait_until_read(&child);
    interrupt(&child);
    let said = CommandOutput::new(&child.wait_with_output().unwrap());
    drop(stdin);
    said
}

/// Waits until a process has read all bytes in its standard input. By then, the process handles signals.
fn wait_until_read(child: &Child) {
    let pipe = format!("/proc/{}/fd/0", child.id());
    wait_for("standard input to be read", || {
        let pipe = File::open(&pipe).ok()?;
        (rustix::io::ioctl_fionread(&pipe).ok()? == 0).then_some(())
    });
}

fn interrupt(child: &Child) {
    send_signal(child.id(), "INT");
}
