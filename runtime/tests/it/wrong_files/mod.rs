//! Tests that a file that is not a table is refused before its first record is processed. The error says what the file
//! is and what to do. A valid table is accepted. If it looks like another kind of file, it is accepted if its format is
//! named.

mod kinds_by_content;
mod names_and_types;
mod shapes;

use crate::support::host::{CommandOutput, Host, component, path_of};

fn ingest(host: &Host, uri: &str, more: &[&str]) -> CommandOutput {
    let clean = component("clean").display().to_string();
    let id = if uri.contains('*') { "" } else { "--id in" };
    host.run_with(&format!("ingest {uri} {id} --plugin {clean}"), more)
}

/// Ingests a file with this name, which is alone in its folder, and returns the error. Checks that no output is
/// published.
#[track_caller]
fn refused(name: &str, bytes: impl AsRef<[u8]>, more: &[&str]) -> String {
    let host = Host::embedded();
    host.write(name, bytes);
    let error = ingest(&host, name, more).refused(1);
    let published = std::fs::read_dir(host.path("out/_ingest/receipts"));
    assert_eq!(published.map_or(0, Iterator::count), 0, "{error}");
    error
}

#[track_caller]
fn assert_refused(name: &str, bytes: impl AsRef<[u8]>, more: &[&str], message: &str) {
    let error = refused(name, bytes, more);
    assert!(error.contains(message), "{name} {more:?}: {error}");
}

/// Ingests a file and returns its output.
#[track_caller]
fn output(host: &Host, uri: &str, more: &[&str]) -> String {
    let more = [&["--json"][..], more].concat();
    let receipt = ingest(host, uri, &more).json().remove(0);
    std::fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap()
}

#[track_caller]
fn assert_taken(name: &str, text: &str, more: &[&str]) {
    let host = Host::embedded();
    host.write(name, text);
    let (output, expected) = (output(&host, name, more), text.trim_start_matches('\u{feff}'));
    assert_eq!(output, expected, "{name} {more:?}");
}

/// Returns a host whose folder contains one file.
fn host_of(name: &str, text: &str) -> Host {
    let host = Host::embedded();
    host.write(name, text);
    host
}
