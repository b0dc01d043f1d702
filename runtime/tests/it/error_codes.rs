//! Tests that each failure has a code, that all commands show the same code for it, and that docs/troubleshooting.md
//! explains the code.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::Path;
use std::process::{Command, Output};

use ingest_host::config::Limits;
use ingest_host::decode;
use ingest_host::error::{Code, Stage};
use ingest_host::queue::{Backend, ClaimOptions, Failure, Next, OutputId, State};
use ingest_host::request::{InputOptions, NewRequest};
use serde_json::Value;

const TROUBLESHOOTING: &str = include_str!("../../../docs/troubleshooting.md");

/// Returns the sections of the document as pairs of a code and its text.
fn sections() -> Vec<(&'static str, &'static str)> {
    let parts = TROUBLESHOOTING.split("\n### ").skip(1);
    parts.map(|part| part.split_once('\n').unwrap()).collect()
}

#[test]
fn each_code_has_a_section_and_each_section_a_code() {
    let codes: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let headings: Vec<_> = sections().iter().map(|(code, _)| *code).collect();
    assert_eq!(headings.iter().copied().collect::<BTreeSet<_>>(), codes);
    assert_eq!(headings.len(), codes.len(), "a code has two sections");
    for code in codes {
        let link = format!("[{code}](#{code})");
        assert_eq!(TROUBLESHOOTING.matches(&link).count(), 1, "{link}");
    }
}

#[test]
fn each_section_has_a_meaning_an_example_and_what_to_do() {
    for (code, section) in sections() {
        let section = section.split("\n## ").next().unwrap();
        let parts: Vec<_> = section.split("```").collect();
        let [meaning, example, advice] = parts[..] else {
            panic!("{code}: expected one example, found {}", parts.len() / 2);
        };
        let example = example.strip_prefix("text\n").unwrap_or_default();
        assert!(!meaning.trim().is_empty(), "{code} means nothing");
        assert!(example.trim().len() > code.len(), "{code} has no example");
        let advice = advice.trim().strip_prefix("**Do:** ").unwrap_or_default();
        assert!(!advice.is_empty(), "{code}: nothing to do");
    }
}

/// Returns the error code of an input that cannot be opened.
fn code_of(bytes: &[u8], options: &InputOptions) -> Code {
    let reader = Box::new(Cursor::new(bytes.to_vec()));
    match decode::open(reader, "a.csv", None, options, &Limits::default()) {
        Ok(_) => panic!("{:?} is opened", String::from_utf8_lossy(bytes)),
        Err(error) => {
            assert_eq!(error.stage(), Stage::Decode);
            error.code()
        }
    }
}

#[test]
fn an_input_that_is_no_table_has_a_code_that_says_why() {
    let none = InputOptions::default();
    let long = [b"a,b\n\"", vec![b'x'; 17 << 20].as_slice()].concat();
    let cases: [(&[u8], Code); 12] = [
        (b"", Code::InputEmpty),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Code::BinaryContent),
        (b"PK\x03\x04\x14\0\0\0\x08\0", Code::BinaryContent),
        (
            b"<!DOCTYPE html><html><body>Log in</body></html>",
            Code::NotATable,
        ),
        (b"Service unavailable, please try again later\n", Code::NotATable),
        (b"a\n1;2;3\n1;2;3\n1;2;3\n", Code::CsvSyntax),
        (b"a,b\n1,2,3\n4,5,6\n", Code::HeaderInvalid),
        (b"\xff\xfe\0\0a\0\0\0", Code::EncodingMismatch),
        (b"\xff\xfea\0,\0b\0\n\0", Code::EncodingMismatch),
        (b"caf\xe9,b\n1,2\n", Code::EncodingMismatch),
        (b"a,b,a\n1,2,3\n", Code::HeaderInvalid),
        (b"a,\"b\n1,2\n", Code::QuoteUnclosed),
    ];
    for (bytes, code) in cases {
        assert_eq!(
            code_of(bytes, &none),
            code,
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    let skipping = InputOptions {
        skip_lines: Some(9),
        ..InputOptions::default()
    };
    assert_eq!(code_of(b"a,b\n1,2\n", &skipping), Code::InputEmpty);
    // The header is short, so the input opens. The error comes from the first record, which is too long.
    let reader = Box::new(Cursor::new(long));
    let mut decoding = decode::open(reader, "a.csv", None, &none, &Limits::default()).unwrap();
    let origin = decoding.splitter.origin();
    match decoding.splitter.next(Vec::new()) {
        Ok(_) => panic!("it is no longer than allowed"),
        Err(fault) => assert_eq!(fault.at(&origin).code(), Code::RecordTooLong),
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ingest-host"))
        .args(arguments)
        .current_dir(std::env::temp_dir())
        .env_clear()
        .output()
        .unwrap()
}

#[test]
fn an_error_of_the_program_ends_with_its_code() {
    let nowhere = "sqlite:/no/such/queue.db";
    for (arguments, status, code) in [
        (&["--url", nowhere, "status", "a"][..], 1, Code::QueueUnknown),
        (&["--url", "nonsense:", "status", "a"], 2, Code::SettingsInvalid),
        (
            &["submit", "--queue", "q", "--uri", "@/no/such"],
            2,
            Code::SettingsInvalid,
        ),
        (&["submit", "--queue", ".q", "--uri", "a"], 2, Code::NameInvalid),
        (&["report", "/no/such/receipt.json"], 1, Code::ReportMissing),
        (
            &["submit", "--queue", "q", "--uri", "/no/such.csv"],
            1,
            Code::InputMissing,
        ),
        (&["fly"], 2, Code::Usage),
        (&["status"], 2, Code::Usage),
        (&["dead", "retry", "--all"], 2, Code::Usage),
        (&["run", "--queue", "q", "--lease", "1"], 2, Code::Usage),
        (&["ingest", "a.csv", "--sep", ";"], 2, Code::Usage),
        (&["queue", "list", "\u{1b}[2J"], 2, Code::Usage),
    ] {
        let failed = run(arguments);
        let said = String::from_utf8(failed.stderr).unwrap();
        assert_eq!(failed.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(
            said.trim_end().ends_with(&format!(" [{code}]")),
            "{arguments:?}: {said}"
        );

        let failed = run(&[&["--log-format", "json"], arguments].concat());
        let said = String::from_utf8(failed.stderr).unwrap();
        let line: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!(line["code"], code.as_str(), "{arguments:?}: {said}");
    }
}

/// Checks that the document's example of the code `usage` is the error that the program prints.
#[test]
fn the_example_of_wrong_usage_is_what_appears() {
    let said = String::from_utf8(run(&["dead", "retry", "--all"]).stderr).unwrap();
    let (_, section) = sections().into_iter().find(|(code, _)| *code == "usage").unwrap();
    assert!(section.contains(&format!("```text\n{said}```")), "{said}");
}

/// Checks that with `--log-format json`, an error about wrong arguments is one line of JSON, without the usage.
#[test]
fn wrong_arguments_are_one_line_of_json() {
    for arguments in [
        &["--log-format", "json", "status", "--sep", ";"][..],
        &["status", "--log-format=json", "--sep", ";"],
    ] {
        let said = String::from_utf8(run(arguments).stderr).unwrap();
        let line: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(line["level"], "ERROR");
        let error = line["error"].as_str().unwrap();
        assert!(
            error.starts_with("unexpected argument '--sep' found; tip: ") && !error.contains("Usage"),
            "{error}"
        );
    }
    // Without arguments, the program prints its help, which is not an error.
    let said = String::from_utf8(run(&[]).stderr).unwrap();
    assert!(said.contains("Usage:") && !said.contains("[usage]"), "{said}");
}

/// Returns a queue in a SQLite file, and its URL. The queue contains a dead request `a` whose error has a code.
async fn dead(folder: &Path) -> (Backend, String) {
    let url = format!("sqlite:{}", folder.join("queue.db").display());
    let backend = Backend::connect(&url).await.unwrap();
    let request = NewRequest {
        id: "a".into(),
        ..NewRequest::new("file:///a.csv")
    };
    backend.queue.submit("q", &[request]).await.unwrap();
    let options = ClaimOptions {
        worker: "w".into(),
        nonce: "n".into(),
        lease: std::time::Duration::from_secs(60),
        lost_max: 3,
        needs_binding: false,
        output: OutputId::default(),
        move_output: false,
    };
    let claim = backend.queue.claim("q", &options).await.unwrap().unwrap();
    let failure = Failure {
        error: "fetch /a.csv: no such file",
        code: Some(Code::InputMissing.as_str()),
        report: None,
    };
    backend
        .queue
        .fail_with(&claim.ticket, failure, Next::Dead)
        .await
        .unwrap();
    (backend, url)
}

#[tokio::test]
async fn every_view_of_a_dead_letter_has_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let (_backend, url) = dead(folder.path()).await;
    for command in [
        &["status", "a"][..],
        &["dead", "list"],
        &["dead", "show", "a"],
        &["requests", "--queue", "q"],
    ] {
        let arguments = [&["--url", &url], command].concat();
        let shown = String::from_utf8(run(&arguments).stdout).unwrap();
        assert!(shown.contains("input-missing"), "{command:?}: {shown}");
        let shown = run(&[&arguments[..], &["--json"]].concat()).stdout;
        let shown: Value = serde_json::from_slice(&shown).unwrap();
        assert_eq!(shown["code"], "input-missing", "{command:?}");
    }
}

#[tokio::test]
async fn a_file_without_codes_is_read_as_before_and_gets_them() {
    let folder = tempfile::tempdir().unwrap();
    let (backend, url) = dead(folder.path()).await;
    drop(backend);
    let file = rusqlite::Connection::open(folder.path().join("queue.db")).unwrap();
    file.execute_batch("ALTER TABLE request DROP COLUMN coded")
        .unwrap();
    let has_codes = || {
        let columns = "SELECT count(*) FROM pragma_table_info('request') WHERE name = 'coded'";
        file.query_row(columns, [], |row| row.get::<_, i64>(0)).unwrap() == 1
    };

    let reader = Backend::connect_to_read(&url).await.unwrap();
    let status = reader.queue.status("q", "a").await.unwrap().unwrap();
    assert_eq!((status.state, status.code), (State::Dead, None));
    assert_eq!(status.error.as_deref(), Some("fetch /a.csv: no such file"));
    assert!(!has_codes(), "a look has changed the file");

    let backend = Backend::connect(&url).await.unwrap();
    assert!(has_codes());
    assert!(backend.queue.retry_dead("q", "a").await.unwrap());
}

#[tokio::test]
async fn an_error_of_a_worker_without_codes_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let (backend, _url) = dead(folder.path()).await;
    let status = async || backend.queue.status("q", "a").await.unwrap().unwrap();
    assert_eq!(status().await.code.as_deref(), Some("input-missing"));
    let file = rusqlite::Connection::open(folder.path().join("queue.db")).unwrap();
    file.execute_batch("UPDATE request SET error = 'fetch /a.csv: busy'")
        .unwrap();
    assert_eq!(status().await.code, None);
    // A code that only a later version knows is shown unchanged.
    let coded = "UPDATE request SET coded = 'of-tomorrow ' || error";
    file.execute_batch(coded).unwrap();
    assert_eq!(status().await.code.as_deref(), Some("of-tomorrow"));
}
