//! Tests that stdout contains only the output.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use super::{ROWS, clean, interrupt, leaves_no_staging, names, said};
use crate::support::host::{CommandOutput, Host, component};
use crate::support::inputs::gzip;

#[test]
fn stdout_has_the_records_and_nothing_else() {
    let host = Host::embedded();
    host.write("in.csv", "n,b\n1,x\nno,y\n3,z\n");
    let config = ["--plugin-config", r#"{"columns": {"n": {"type": "integer"}}}"#];
    let run = |more: &[&str]| {
        said(clean(
            &host,
            &[&["in.csv", "--output", "-"], &config[..], more].concat(),
        ))
    };
    let first = run(&["--profile"]);
    assert_eq!((first.code, &*first.stdout), (Some(0), "n,b\n1,x\n3,z\n"));
    for part in [
        "3 records: 2 kept",
        "1 rejected; 2 written",
        "1  not-integer",
        "output   stdout",
        "--rejects FOLDER keeps",
    ] {
        assert!(first.stderr.contains(part), "{part}: {}", first.stderr);
    }
    assert!(
        !host.path("out").exists() && !host.path("-").exists(),
        "there is no receipt"
    );

    let second = run(&["--rejects", "set-aside", "--format", "jsonl"]);
    assert_eq!(second.stdout, "{\"n\":1,\"b\":\"x\"}\n{\"n\":3,\"b\":\"z\"}\n");
    let kept: Vec<_> = names(&host.path("set-aside"))
        .into_iter()
        .filter(|name| name != "_ingest")
        .collect();
    assert!(
        kept.len() == 1 && kept[0].starts_with("in-") && kept[0].ends_with(".rejects.csv"),
        "{kept:?}"
    );
    assert!(second.stderr.contains(&kept[0]), "{}", second.stderr);
    let rejects = std::fs::read_to_string(host.path("set-aside").join(&kept[0])).unwrap();
    assert!(
        rejects.starts_with("record,line,offset,code") && rejects.contains("no,y"),
        "{rejects}"
    );
    leaves_no_staging(&host);
}

#[test]
fn what_is_not_wholly_good_does_not_begin_on_stdout() {
    let host = Host::embedded();
    host.write("good.csv", ROWS);
    host.write("other.csv", "a,c\n1,x\n");
    host.write("semicolon.csv", "a;b\n1;x\n");
    // The end of the file is missing. The part before it is larger than any buffer.
    host.write("broken.csv", format!("a,b\n{}3,\"four", "1,x\n".repeat(1 << 19)));
    host.write("rejects.csv", "a,b\n1\n2,x\n");
    for (args, code, why) in [
        (&["broken.csv"][..], 1, "broken.csv: record 524289"),
        (
            &["rejects.csv", "--on-reject", "fail"],
            1,
            "rejects.csv: nothing was written: ",
        ),
        (
            &["good.csv", "missing.csv"],
            1,
            "missing.csv: fetch: no such file",
        ),
        (&["good.csv", "*.parquet"], 1, "no file matches"),
        (
            &["good.csv", "other.csv"],
            1,
            "other.csv: encode: its output is csv with the header \"a,c\"",
        ),
        (
            &["good.csv", "semicolon.csv", "--dialect", "auto"],
            1,
            "the delimiter ';'",
        ),
        (&["."], 1, ".: is a folder"),
        (&["good.csv", "--json"], 2, "--json prints the receipt"),
    ] {
        let said = said(clean(&host, &[args, &["--output", "-"]].concat()));
        assert_eq!(said.stdout, "", "{args:?}");
        let stderr = said.refused(code);
        assert!(stderr.contains(why), "{args:?}: {stderr}");
        assert!(
            code == 2 || stderr.contains("nothing was written"),
            "{args:?}: {stderr}"
        );
        leaves_no_staging(&host);
    }
    // If `--rejects` names a folder and the gate refuses the output, the rejects are kept there.
    let said = said(clean(
        &host,
        &[
            "rejects.csv",
            "--output",
            "-",
            "--on-reject",
            "fail",
            "--rejects",
            "r",
        ],
    ));
    assert_eq!(said.stdout, "");
    let stderr = said.refused(1);
    let kept: Vec<_> = names(&host.path("r"))
        .into_iter()
        .filter(|name| name.ends_with(".rejects.csv"))
        .collect();
    assert!(kept.len() == 1 && stderr.contains(&kept[0]), "{kept:?}: {stderr}");
}

#[test]
fn several_inputs_on_stdout_are_one_table() {
    let host = Host::embedded();
    host.write("1.csv", "a,b\n1,x\n2,y");
    host.write("2.csv.gz", gzip(b"a,b\n3,z\n"));
    host.write("3.csv", "a,b\n");
    let said = said(clean(&host, &["?.csv*", "--output", "-"]));
    assert_eq!(said.stdout, "a,b\n1,x\n2,y\n3,z\n", "{}", said.stderr);
    host.write("1.jsonl", "{\"a\":1}\n");
    host.write("2.jsonl", "{\"b\":2}");
    let said = self::said(clean(&host, &["*.jsonl", "--output", "-"]));
    assert_eq!(said.ok(), "{\"a\":1}\n{\"b\":2}\n");
    // An empty JSONL file has no columns, so the next file determines the header.
    host.write("0.jsonl", "");
    let said = self::said(clean(
        &host,
        &["0.jsonl", "1.jsonl", "--format", "csv", "--output", "-"],
    ));
    assert_eq!(said.ok(), "a\n1\n");
}

#[test]
fn a_reader_that_leaves_early_ends_it_quietly() {
    let host = Host::embedded();
    // The output is larger than a pipe's buffer.
    host.write("in.csv", format!("a,b\n{}", "1,x\n".repeat(1 << 17)));
    let mut command = clean(&host, &["in.csv", "--output", "-"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = [0; 8];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"a,b\n1,x\n");
    drop(stdout);
    let said = CommandOutput::new(&child.wait_with_output().unwrap());
    assert_eq!((said.code, &*said.stderr), (Some(141), ""));
    leaves_no_staging(&host);

    let mut command = clean(&host, &["in.csv", "--output", "-"]);
    command.env("TMPDIR", host.path("no/such/folder"));
    let nowhere = self::said(command).refused(1);
    assert!(
        nowhere.contains("no/such/folder") && nowhere.contains("TMPDIR names another place"),
        "{nowhere}"
    );

    let mut command = clean(&host, &["in.csv", "--output", "-"]);
    command
        .stdout(File::options().write(true).open("/dev/full").unwrap())
        .stderr(Stdio::piped());
    let full = CommandOutput::new(&command.output().unwrap()).refused(1);
    assert!(
        full.contains("stdout: writing has failed") && full.contains("No space left"),
        "{full}"
    );
}

/// Checks that a signal ends the program while it waits for a process that does not read its output.
#[test]
fn a_signal_ends_the_wait_for_a_reader() {
    let host = Host::embedded();
    host.write("in.csv", format!("a,b\n{}", "1,x\n".repeat(1 << 17)));
    let mut command = clean(&host, &["in.csv", "--output", "-"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 1];
    stdout.read_exact(&mut first).unwrap();
    interrupt(&child);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("stdout: writing was interrupted, and a part"),
        "{stderr}"
    );
    leaves_no_staging(&host);
}

/// Runs the shell pipelines of docs/operations.md.
#[test]
fn it_stands_in_the_pipelines_of_the_documents() {
    let host = Host::embedded();
    let mut csv = Vec::new();
    let alarms = alarm_feed::write_alarms(&mut csv, 7, 1_000, 5).unwrap();
    host.write("alarms.csv", csv);
    std::fs::copy(component("alarms"), host.path("alarms.wasm")).unwrap();
    let said = host.bash(&crate::support::documents::block("sh", "ingest - "));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let good = alarms.records - alarms.bad();
    assert_eq!(
        said.stdout.lines().next(),
        Some(&*format!("{}", good + 1)),
        "the header and the good ones"
    );
    assert!(said.stdout.contains("all 2 inputs are done"), "{}", said.stdout);
    leaves_no_staging(&host);
}
