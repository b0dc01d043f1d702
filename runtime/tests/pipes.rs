//! `ingest-host ingest` among other programs: standard input, stdout, several inputs and patterns.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::compress::gzip;
use support::host::{Host, Said, component, path_of, sha256sum, wait_for};
use support::http::Files;

const ROWS: &str = "a,b\n1,x\n2,y\n";

/// `ingest` with the plugin `clean`, which keeps every record if it has no config.
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

fn said(mut command: Command) -> Said {
    Said::new(&command.output().expect("the program runs"))
}

/// Runs it with these bytes on standard input.
fn piped(mut command: Command, bytes: &[u8]) -> Said {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    let mut stdin = child.stdin.take().expect("piped");
    let bytes = bytes.to_vec();
    // It may end before it has read all.
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).ok());
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("the writer ends");
    Said::new(&output)
}

fn receipt(said: Said) -> Value {
    let mut receipts = said.json();
    assert_eq!(receipts.len(), 1);
    receipts.remove(0)
}

fn output(receipt: &Value) -> String {
    std::fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap()
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Nothing of what was staged for stdout stays.
#[track_caller]
fn leaves_no_staging(host: &Host) {
    let left: Vec<_> = names(&host.path(""))
        .into_iter()
        .filter(|name| name.starts_with("ingest-host-"))
        .collect();
    assert_eq!(left, [] as [String; 0]);
}

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
    // A file instead of a pipe, and nothing at all.
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
    assert_eq!(names(&host.path("o/receipts")), [] as [String; 0]);
    // A transfer that was cut within gzip.
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

/// `script` gives it a terminal of its own.
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
    let said = Said::new(&child.wait_with_output().unwrap()).ok();
    drop(keys);
    assert!(said.contains("reading from the terminal: Ctrl-D"), "{said}");
    // What was typed is shown, and then what came of it.
    assert_eq!(said.matches("1,x\r\n").count(), 2, "{said}");
    assert!(said.contains("1 record: 1 kept"), "{said}");
}

/// A megabyte more of input is no megabyte more of memory.
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
        // Still at work, with all but the contents of the pipe read.
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        drop(stdin);
        assert!(child.wait().unwrap().success());
        peak
    };
    let (small, large) = (peak(8), peak(64));
    assert!(large < small + (16 << 10), "{small} KiB, then {large} KiB");
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
    assert_eq!(names(&host.path("o/receipts")), [] as [String; 0]);
    leaves_no_staging(&host);
}

#[test]
fn a_signal_ends_the_inputs_that_are_left() {
    let host = Host::embedded();
    host.write("a.csv", ROWS);
    host.write("b.csv", ROWS);
    for (output, end) in [
        ("o", "1 of 3 inputs are done; not done: stdin, b.csv"),
        ("-", "nothing was written to stdout; not done: stdin, b.csv"),
    ] {
        let command = clean(&host, &["a.csv", "-", "b.csv", "--output", output]);
        let stderr = interrupted(command).refused(1);
        assert_eq!(stderr.matches("interrupted").count(), 1, "{stderr}");
        assert!(stderr.contains(end), "{stderr}");
    }
    leaves_no_staging(&host);
}

/// Interrupts a program that has read its standard input, which stays open.
fn interrupted(mut command: Command) -> Said {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(ROWS.as_bytes()).unwrap();
    wait_until_read(&child);
    interrupt(&child);
    let said = Said::new(&child.wait_with_output().unwrap());
    drop(stdin);
    said
}

/// Waits until a process reads standard input, which is then empty: it listens to signals before.
fn wait_until_read(child: &Child) {
    let pipe = format!("/proc/{}/fd/0", child.id());
    wait_for("standard input to be read", || {
        let pipe = File::open(&pipe).ok()?;
        (rustix::io::ioctl_fionread(&pipe).ok()? == 0).then_some(())
    });
}

fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", "INT", &pid])
            .status()
            .unwrap()
            .success()
    );
}

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
        .filter(|name| !name.starts_with('.'))
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
    // Its end is missing, after more than any buffer holds.
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
    // What the gate refuses is to be looked at, where somebody has said so.
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
    // An hour without events has no columns.
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
    // More than a pipe holds.
    host.write("in.csv", format!("a,b\n{}", "1,x\n".repeat(1 << 17)));
    let mut command = clean(&host, &["in.csv", "--output", "-"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = [0; 8];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"a,b\n1,x\n");
    drop(stdout);
    let said = Said::new(&child.wait_with_output().unwrap());
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
    let full = Said::new(&command.output().unwrap()).refused(1);
    assert!(
        full.contains("stdout: writing has failed") && full.contains("No space left"),
        "{full}"
    );
}

/// A reader that does not read cannot hold the program up when it is to end.
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

/// What docs/operations.md shows, as a shell does it.
#[test]
fn it_stands_in_the_pipelines_of_the_documents() {
    let host = Host::embedded();
    let mut csv = Vec::new();
    let alarms = alarm_feed::write_alarms(&mut csv, 7, 1_000, 5).unwrap();
    host.write("alarms.csv", csv);
    std::fs::copy(component("alarms"), host.path("alarms.wasm")).unwrap();
    let said = host.bash(&support::documents::block("sh", "ingest - "));
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

#[test]
fn each_of_several_inputs_has_its_own_receipt() {
    let host = Host::embedded();
    std::fs::create_dir_all(host.path("data/deep.csv")).unwrap();
    for (name, rows) in [
        ("data/b.csv", "a\n2\n"),
        ("data/a.csv", "a\n1\n"),
        ("data/.hidden.csv", "a\n0\n"),
        ("c.csv", "a\n3\n"),
    ] {
        host.write(name, rows);
    }
    std::os::unix::fs::symlink("data/a.csv", host.path("link.csv")).unwrap();
    let uri = format!("file://{}", host.path("data/b.csv").display());
    let again = ["data/a.csv", "./data/a.csv", "link.csv", &uri, "./data/*.csv"];
    let receipts = said(clean(
        &host,
        &[&["c.csv", "data/*.csv", "--json"], &again[..]].concat(),
    ))
    .json();
    let outputs: Vec<_> = receipts.iter().map(output).collect();
    assert_eq!(outputs, ["a\n3\n", "a\n1\n", "a\n2\n"], "in order, and each once");
    let uris: Vec<_> = receipts
        .iter()
        .map(|receipt| receipt["request"]["uri"].as_str().unwrap())
        .collect();
    assert_eq!(uris, ["c.csv", "data/a.csv", "data/b.csv"]);
    assert_eq!(names(&host.path("out/receipts")).len(), 3);
    let said = said(clean(&host, &["c.csv", "data/*.csv", "--output", "o"])).ok();
    for part in [
        "c.csv\n1 record: 1 kept",
        "data/a.csv\n",
        "data/b.csv\n",
        "all 3 inputs are done",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn one_that_fails_does_not_hold_up_the_others() {
    let host = Host::embedded();
    host.write("a.csv", "a\n1\n");
    host.write("b.csv", "a,b\n1,\"x\n");
    host.write("c.csv", "a\n3\n");
    std::fs::create_dir(host.path("folder")).unwrap();
    let inputs = ["a.csv", "b.csv", "missing.csv", "*.parquet", "folder", "c.csv"];
    let said = said(clean(&host, &inputs));
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    for part in [
        "error: b.csv: decode: record 1",
        "error: missing.csv: fetch: no such file",
        "error: *.parquet: fetch: no file matches",
        "error: folder: fetch: is a folder: name the files in it, such as 'folder/*.csv'",
        "2 of 6 inputs are done; not done: b.csv, missing.csv, *.parquet, folder",
    ] {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
    assert!(
        said.stdout.contains("a.csv\n1 record") && said.stdout.contains("c.csv\n1 record"),
        "{}",
        said.stdout
    );
    assert_eq!(names(&host.path("out/receipts")).len(), 2);
    for (option, value) in [("--id", "x"), ("--sha256", &*"ab".repeat(32))] {
        let said = self::said(clean(&host, &["a.csv", "c.csv", option, value, "--output", "o"])).refused(2);
        assert!(
            said.contains(option) && said.contains("these are 2 inputs"),
            "{said}"
        );
        assert!(!host.path("o").exists());
    }
}

/// Files of several folders may have one name.
#[test]
fn of_several_inputs_an_error_begins_with_the_input_as_it_was_given() {
    let host = Host::embedded();
    std::fs::create_dir(host.path("parts")).unwrap();
    host.write("parts/1.csv", "a\n1\n");
    host.write("parts/2.csv", "b\n1\n");
    host.write("parts/3.csv", "a\n\"x\n");
    let files = Files::serve();
    let busy = files.put("4.csv", "a\n1\n");
    files.fail("4.csv", 100);
    let config = r#"{"columns":{"a":{"trim":true}}}"#;
    let ingest = |output: &str, inputs: &[&str]| {
        let mut arguments = inputs.to_vec();
        arguments.extend(["--plugin-config", config, "--output", output]);
        said(clean(&host, &arguments)).refused(1)
    };
    let transient = "; it may pass by itself: `ingest` does not try again, a queue does";
    for output in ["o", "-"] {
        let stderr = ingest(output, &["parts/*.csv", &busy]);
        let errors: Vec<_> = stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        let begins = [
            (
                "error: parts/2.csv: plugin clean: refuses the input: ".to_owned(),
                "input-refused",
            ),
            (
                "error: parts/3.csv: decode: record 1".to_owned(),
                "quote-unclosed",
            ),
            (format!("error: {busy}: fetch: "), "http-status"),
        ];
        assert_eq!(errors.len(), begins.len(), "{stderr}");
        for (error, (begin, code)) in errors.iter().zip(&begins) {
            assert!(error.starts_with(begin), "{begin}: {stderr}");
            let told = error.strip_suffix(&format!(" [{code}]")).expect(error);
            assert_eq!(told.ends_with(transient), *code == "http-status", "{stderr}");
        }
    }
    // Of one, nobody asks which.
    let stderr = ingest("o", &["parts/3.csv"]);
    assert!(stderr.starts_with("error: decode 3.csv: record 1"), "{stderr}");
    let stderr = ingest("o", &[&busy]);
    assert!(
        stderr.contains("503") && stderr.ends_with(&format!("{transient} [http-status]\n")),
        "{stderr}"
    );
}

#[test]
fn names_may_have_any_characters() {
    let host = Host::embedded();
    let names: [&[u8]; 10] = [
        b"a b.csv",
        b"*.csv",
        b"[1].csv",
        b"ab:c.csv",
        b"file:x.csv",
        b"50%.csv",
        b"q?#.csv",
        b"new\nline.csv",
        b"\xff.csv",
        b"\xc3\xa9'\".csv",
    ];
    let mut command = clean(&host, &["--json"]);
    for (number, name) in names.iter().enumerate() {
        let name = OsStr::from_bytes(name);
        std::fs::write(host.path("").join(name), format!("a\n{number}\n")).unwrap();
        command.arg(name);
    }
    let receipts = said(command).json();
    let outputs: Vec<_> = receipts.iter().map(output).collect();
    let expected: Vec<_> = (0..names.len()).map(|number| format!("a\n{number}\n")).collect();
    assert_eq!(outputs, expected);
    // As a pattern the program finds the same ones.
    std::fs::remove_file(host.path("*.csv")).unwrap();
    let again = said(clean(&host, &["*.csv", "--json"])).json();
    assert_eq!(again.len(), names.len() - 1);
    host.write("-", "a\n7\n");
    host.write("-x.csv", "a\n8\n");
    let receipts = said(clean(&host, &["--json", "./-", "./-x.csv"])).json();
    assert_eq!(
        receipts.iter().map(output).collect::<Vec<_>>(),
        ["a\n7\n", "a\n8\n"]
    );
}

#[test]
fn a_file_is_no_folder_for_outputs() {
    let host = Host::embedded();
    host.write("in.csv", ROWS);
    host.write("there.csv", "");
    let hints = |option: &str, folder: &str| format!("write `{option} {folder}/`");
    for (name, folder) in [
        ("out.csv", "out"),
        ("data/x.CSV.gz", "data/x"),
        ("there.csv", "there"),
        ("y.jsonl", "y"),
    ] {
        for option in ["--output", "--rejects"] {
            let ingest = said(clean(&host, &["in.csv", option, name])).refused(2);
            let run = host
                .run(&format!("run --queue q --burst {option} {name}"))
                .refused(2);
            for said in [ingest, run] {
                assert!(
                    said.contains("looks like a file") && said.contains(&hints(option, folder)),
                    "{said}"
                );
                assert_eq!(said.contains("--output - > FILE"), option == "--output", "{said}");
            }
        }
    }
    let uri = format!("file://{}", host.path("z.csv").display());
    said(clean(&host, &["in.csv", "--output", &uri])).refused(2);
    for args in [
        "run --queue q --burst --output -",
        "run --queue q --burst --rejects -",
    ] {
        let said = host.run(args).refused(2);
        assert!(said.contains("takes a folder"), "{said}");
    }
    for device in ["/dev/stdout", "/dev/null"] {
        let said = self::said(clean(&host, &["in.csv", "--output", device])).refused(2);
        assert!(
            said.contains("is no folder; `ingest --output - > FILE`"),
            "{said}"
        );
    }
    assert_eq!(names(&host.path("")), ["in.csv", "there.csv"]);
    // Who says that it is a folder is believed.
    std::fs::create_dir(host.path("is.csv")).unwrap();
    for folder in ["new.csv/", "is.csv", "v1.2", "conf.d"] {
        said(clean(&host, &["in.csv", "--output", folder])).ok();
        assert_eq!(names(&host.path(folder).join("receipts")).len(), 1, "{folder}");
    }
}

#[test]
fn a_pipe_by_its_name_is_pointed_to_standard_input() {
    let host = Host::embedded();
    let fifo: PathBuf = host.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let said = said(clean(&host, &["fifo"])).refused(1);
    assert!(
        said.contains("fifo: is not a regular file: `ingest - < fifo` reads a pipe"),
        "{said}"
    );
}
