//! Tests that standard input gives the same results as a file.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{ROWS, clean, interrupted, leaves_no_staging, names, output, piped, receipt, said};
use crate::support::host::{CommandOutput, Host, sha256sum};
use crate::support::inputs::gzip;
use crate::support::process::peak_bytes;

#[test]
fn standard_input_is_an_input_as_a_file_is() {
    let host = Host::embedded();
    let packed = [
        gzip(ROWS.as_bytes()),
        zstd::encode_all(ROWS.as_bytes(), 3).unwrap(),
    ];
    for bytes in [ROWS.as_bytes(), &packed[0], &packed[1]] {
        let file = host.write("in.csv", bytes);
        let receipt = receipt(piped(clean(&host, &["-", "--json"]), bytes));
        assert_eq!(receipt["input"]["uri"], "stdin:");
        assert_eq!(receipt["request"]["uri"], "stdin:");
        assert_eq!(receipt["input"]["sha256"], sha256sum(&file), "as it came");
        assert_eq!(receipt["input"]["bytes"], bytes.len());
        let id = receipt["request"]["id"].as_str().unwrap();
        assert!(
            id.starts_with("stdin-") && id.len() == "stdin-".len() + 12,
            "{id}"
        );
        assert_eq!(output(&receipt), ROWS);
    }
    // Standard input can also be a file, or can be empty.
    let mut command = clean(&host, &["-", "--json", "--id", "named"]);
    command.stdin(File::open(host.write("plain.csv", ROWS)).unwrap());
    let receipt = receipt(said(command));
    assert_eq!(
        (&receipt["request"]["id"], output(&receipt)),
        (&"named".into(), ROWS.to_owned())
    );
    let empty = piped(clean(&host, &["-"]), b"").refused(1);
    assert!(empty.contains("stdin: "), "{empty}");
}

#[test]
fn what_is_known_of_standard_input_is_held_against_it() {
    let host = Host::embedded();
    let sha256 = sha256sum(&host.write("in.csv", ROWS));
    let other = sha256.chars().rev().collect::<String>();
    receipt(piped(
        clean(&host, &["-", "--json", "--sha256", &sha256]),
        ROWS.as_bytes(),
    ));
    let said = piped(
        clean(&host, &["-", "--output", "o", "--sha256", &other]),
        ROWS.as_bytes(),
    )
    .refused(1);
    assert!(said.contains("stdin: has the SHA-256"), "{said}");
    assert_eq!(names(&host.path("o/_ingest/receipts")), [] as [String; 0]);
    // The input is gzip data whose end is missing.
    let packed = gzip(ROWS.repeat(1_000).as_bytes());
    let said = piped(clean(&host, &["-"]), &packed[..packed.len() - 9]).refused(1);
    assert!(said.contains("stdin: "), "{said}");
    let jsonl = "{\"a\":1}\n";
    let receipt = receipt(piped(
        clean(&host, &["-", "--json", "--input-format", "jsonl"]),
        jsonl.as_bytes(),
    ));
    assert_eq!(
        (&receipt["input"]["format"], output(&receipt)),
        (&"jsonl".into(), jsonl.to_owned())
    );
}

/// Checks standard input from a terminal, which the command `script` provides.
#[test]
fn a_terminal_is_read_and_says_so() {
    let host = Host::embedded();
    let command = clean(&host, &["-", "--output", "-"]);
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_str().unwrap())
        .collect();
    let mut script = Command::new("script");
    script
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("SHELL", "/bin/sh")
        .args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = script
        .spawn()
        .expect("`script` runs; it is in bsdutils or util-linux");
    let mut keys = child.stdin.take().unwrap();
    keys.write_all(b"a,b\n1,x\n\x04").unwrap();
    let said = CommandOutput::new(&child.wait_with_output().unwrap()).ok();
    drop(keys);
    assert!(said.contains("reading from the terminal: Ctrl-D"), "{said}");
    // The terminal shows the typed line and then the same line as output.
    assert_eq!(said.matches("1,x\r\n").count(), 2, "{said}");
    assert!(said.contains("1 record: 1 kept"), "{said}");
}

/// Checks that memory does not grow with the size of standard input.
#[test]
fn standard_input_of_any_size_takes_no_more_memory() {
    let host = Host::embedded();
    let peak = |megabytes: usize| {
        let mut command = clean(&host, &["-", "--output", "-"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"a,b\n").unwrap();
        let lines = "12345,some text\n".repeat(1 << 16);
        for _ in 0..megabytes {
            stdin.write_all(lines.as_bytes()).unwrap();
        }
        // The program still waits for its input. Only the bytes in the pipe are still unread.
        let peak = peak_bytes(child.id());
        drop(stdin);
        assert!(child.wait().unwrap().success());
        peak
    };
    let (small, large) = (peak(8), peak(64));
    assert!(large < small + (16 << 20), "{small} bytes, then {large}");
}

#[test]
fn a_signal_ends_the_wait_for_standard_input() {
    let host = Host::embedded();
    for output in ["o", "-"] {
        let said = interrupted(clean(&host, &["-", "--output", output]));
        assert_eq!(said.stdout, "");
        let stderr = said.refused(1);
        assert!(stderr.contains("interrupted"), "{stderr}");
    }
    assert_eq!(names(&host.path("o/_ingest/receipts")), [] as [String; 0]);
    leaves_no_staging(&host);
}

#[test]
fn a_pipe_by_its_name_is_pointed_to_standard_input() {
    let host = Host::embedded();
    let fifo: PathBuf = host.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let said = said(clean(&host, &["fifo"])).refused(1);
    assert!(
        said.contains("fifo: is not a regular file: `ingest-host ingest - < fifo` reads a pipe"),
        "{said}"
    );
}
