//! Tests the quality report. It says how many records were rejected and why, shows examples, and describes the columns
//! of the output. The report is part of receipts and of quarantine, and `ingest-host report` prints it as a page.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::host::{Host, component, path_of};
use crate::support::sqlite::{take_back_to_version, version_of};

on_both_queues! {
    an_error_leads_nowhere
    a_request_is_reported
}

const READINGS: &str = "\
station,at,value,note
Oulu,2017-10-23 12:00:00,14,
Vienna,2017-10-23 12:05:00,68.5,\"cold,
very\"
Mars,2017-10-23 12:10:00,-99
Oulu,2017-10-24 00:00:00,9,
x\"y,2017-10-24 00:00:00,9,
Mars,2017-10-24 00:00:00
";

fn ingest(host: &Host, more: &str) -> Value {
    let clean = component("clean").display().to_string();
    let command = format!("ingest readings.csv --id r --plugin {clean} --json {more}");
    host.run(&command).json().remove(0)
}

fn quality() -> Value {
    let column = |name: &str, kind: &str, filled: u64, distinct: u64, ends: [&str; 2], lengths: [u64; 2]| {
        json!({
            "name": name, "type": kind, "filled": filled, "distinct": distinct,
            "min": ends[0], "max": ends[1], "min_length": lengths[0], "max_length": lengths[1],
        })
    };
    json!({"records": 3, "columns": [
        column("station", "text", 3, 2, ["Oulu", "Vienna"], [4, 6]),
        column("at", "timestamp", 3, 3, ["2017-10-23 12:00:00", "2017-10-24 00:00:00"], [19, 19]),
        column("value", "number", 3, 3, ["9", "68.5"], [1, 4]),
        column("note", "text", 1, 1, ["cold,\nvery"; 2], [10, 10]),
    ]})
}

const PAGE: &str = "\
6 records: 3 kept, 0 edited, 0 replaced, 0 dropped, 3 rejected; 3 written
";

const REJECTS: &str = "
REJECTS      COUNT  FIRST             REASON
ragged-row       2  record 3, line 5  expected 4 fields, found 3
                    record 6, line 8  expected 4 fields, found 2
stray-quote      1  record 5, line 7  \" at byte 2 of the record, within a field that does not begin with one
";

const COLUMNS: &str = "
COLUMN   TYPE       FILLED  DISTINCT  MIN                  MAX                  LENGTH
station  text         100%         2  Oulu                 Vienna               4-6
at       timestamp    100%         3  2017-10-23 12:00:00  2017-10-24 00:00:00  19
value    number       100%         3  9                    68.5                 1-4
note     text       33.33%         1  cold,\\nvery          cold,\\nvery          10
";

fn page(host: &Host, what: &str) -> String {
    host.run(&format!("report {what}")).ok()
}

#[test]
fn a_receipt_has_examples_and_on_request_a_profile() {
    let host = Host::embedded();
    host.write("readings.csv", READINGS);
    let receipt = ingest(&host, "");
    assert_eq!(receipt["quality"], Value::Null);
    let ragged = &receipt["rejects"]["examples"]["ragged-row"];
    let offset = |record| READINGS.find(record).unwrap();
    let offsets = ["Mars,2017-10-23", "Mars,2017-10-24"].map(offset);
    assert_eq!(
        *ragged,
        json!([
            {"record": 3, "line": 5, "offset": offsets[0], "reason": "expected 4 fields, found 3"},
            {"record": 6, "line": 8, "offset": offsets[1], "reason": "expected 4 fields, found 2"},
        ])
    );
    let said = page(&host, "out/_ingest/receipts/r.json");
    assert!(said.contains(PAGE) && said.contains("--profile"), "{said}");

    let receipt = ingest(&host, "--profile --output other");
    assert_eq!(receipt["quality"], quality());
    assert_eq!(receipt["rejects"]["examples"]["ragged-row"], *ragged);
    let said = page(&host, "other/_ingest/receipts/r.json");
    assert!(said.contains(PAGE), "{said}");
    assert!(said.contains(REJECTS), "{said}");
    assert!(said.ends_with(COLUMNS), "{said}");
}

#[test]
fn the_profile_is_of_the_output() {
    let host = Host::embedded();
    host.write("readings.csv", READINGS);
    let receipt = ingest(
        &host,
        r#"--profile --format jsonl --plugin-config {"columns":{"station":{"rename":"place"}}}"#,
    );
    let mut expected = quality();
    expected["columns"][0]["name"] = "place".into();
    assert_eq!(receipt["quality"], expected);
}

#[test]
fn of_many_rejects_the_first_ones_are_examples() {
    let host = Host::embedded();
    host.write("readings.csv", format!("a,b\n{}", "1\n".repeat(100_000)));
    let receipt = ingest(&host, "--profile --max-rejects 100%");
    assert_eq!(receipt["rejects"]["by_code"]["ragged-row"], 100_000);
    let examples = receipt["rejects"]["examples"]["ragged-row"].as_array().unwrap();
    let records: Vec<_> = examples
        .iter()
        .map(|example| example["record"].as_u64())
        .collect();
    assert_eq!(records, [Some(1), Some(2), Some(3)]);
    assert_eq!(receipt["quality"]["records"], 0);
    let a = &receipt["quality"]["columns"][0];
    assert_eq!(
        (&a["filled"], &a["type"], &a["min"]),
        (&json!(0), &Value::Null, &Value::Null)
    );
}

/// Checks that the profile leaves out rows that cannot be split into columns. The page must say so.
#[test]
fn rows_that_cannot_be_read_back_are_told() {
    let host = Host::embedded();
    host.write(
        "readings.csv",
        "{\"a\":1,\"b\":1}\n{\"a\":2,\"b\":\"\\ud800\"}\n{\"a\":3}\n",
    );
    let config = r#"{"columns":{"a":{}}}"#;
    let receipt = ingest(
        &host,
        &format!("--profile --input-format jsonl --plugin-config {config}"),
    );
    assert_eq!(receipt["records"]["written"], 3);
    assert_eq!(receipt["quality"]["records"], 2);
    let said = page(&host, "out/_ingest/receipts/r.json");
    assert!(said.contains("of 2 of the 3 rows of the output"), "{said}");
}

/// Checks receipts of earlier versions, which contain no examples.
#[test]
fn rejects_without_examples_are_counted() {
    let host = Host::embedded();
    host.write("readings.csv", READINGS);
    let mut receipt = ingest(&host, "");
    receipt["rejects"].as_object_mut().unwrap().remove("examples");
    host.write("old.json", receipt.to_string());
    let said = page(&host, "old.json");
    assert!(
        said.contains("\nragged-row       2\nstray-quote      1\n"),
        "{said}"
    );
}

/// Checks that names and values from a file cannot send control sequences to the terminal.
#[test]
fn names_and_values_give_no_orders() {
    let host = Host::embedded();
    host.write("readings.csv", "a\u{1b}[31m,\"b\nc\"\n\u{1b}[0m,2\n");
    let said = ingest(&host, "--profile");
    assert_eq!(said["quality"]["columns"][0]["name"], "a\u{1b}[31m");
    let said = page(&host, "out/_ingest/receipts/r.json");
    assert!(!said.contains('\u{1b}'), "{said}");
    assert!(
        said.contains("a\\u{1b}[31m") && said.contains("\nb\\nc "),
        "{said}"
    );
}

fn a_request_is_reported(host: &Host) {
    host.write("readings.csv", READINGS);
    let clean = component("clean").display().to_string();
    for id in ["good", "bad"] {
        host.run(&format!("submit --queue q --id {id} --uri readings.csv"))
            .ok();
        let gate = if id == "bad" { "--max-rejects 2" } else { "" };
        host.run(&format!(
            "run --queue q --burst --allow-root . --profile --plugin {clean} {gate}"
        ));
    }
    let said = page(host, "good");
    assert!(said.contains(REJECTS) && said.ends_with(COLUMNS), "{said}");

    // A dead letter names its report. The report has the same statistics as a receipt, and also the reason.
    let dead = host.status("bad");
    let uri = dead["report"].as_str().unwrap();
    assert!(uri.starts_with("file:///"), "{uri}");
    let error = dead["error"].as_str().unwrap();
    assert!(
        error.contains(&format!("nothing was published (see {uri}): 3 of 6")),
        "{error}"
    );
    assert_eq!(host.status("good")["report"], Value::Null);
    assert!(host.run("status bad").ok().contains(&format!("report   {uri}\n")));
    let document = host.run(&format!("report {uri} --json")).json().remove(0);
    assert_eq!(document["quality"], quality());
    assert_eq!(document["request"]["id"], "bad");
    assert_eq!(document["plugin"]["name"], "clean");
    assert_eq!(document["attempt"]["number"], 1);
    assert_eq!(page(host, "bad"), page(host, uri));
    let said = page(host, uri);
    assert!(
        said.contains("nothing was published: 3 of 6 records were rejected, and at most 2 may be"),
        "{said}"
    );
    assert!(said.contains(REJECTS) && said.ends_with(COLUMNS), "{said}");
    assert!(said.contains("/out/_ingest/q/quarantine/bad.csv\n"), "{said}");
    assert!(
        said.contains("/out/_ingest/q/quarantine/bad.rejects.csv\n"),
        "{said}"
    );

    // If the report was replaced or removed, `report` says so, and it never blocks.
    let path = path_of(&uri.into());
    let own = std::fs::read(&path).unwrap();
    let other_than = |change: fn(&mut Value)| {
        let mut document: Value = serde_json::from_slice(&own).unwrap();
        change(&mut document);
        document.to_string().into_bytes()
    };
    for (bytes, why) in [
        (
            std::fs::read(host.path("out/_ingest/q/receipts/good.json")).unwrap(),
            "is about another request",
        ),
        (
            other_than(|report| report["request"]["queue"] = "other".into()),
            "is about another request",
        ),
        (
            other_than(|report| report["request"]["uri"] = "file:///other".into()),
            "is about another request",
        ),
        (
            other_than(|report| report["attempt"]["number"] = 2.into()),
            "is about another attempt",
        ),
        (
            other_than(|report| drop(report.as_object_mut().unwrap().remove("refused"))),
            "is about another attempt",
        ),
        (
            other_than(|report| report["receipt"] = 9.into()),
            "it is of version 9, and this program reads versions up to 2",
        ),
        (b"{}".to_vec(), "is neither a receipt nor a report"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let said = host.run("report bad").refused(1);
        assert!(said.contains(why), "{said}");
    }
    std::fs::File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(65 << 20))
        .unwrap();
    let said = host.run("report bad").refused(1);
    assert!(
        said.contains("has more than the 67108864 bytes allowed"),
        "{said}"
    );
    std::fs::remove_file(&path).unwrap();
    for (target, why) in [("/dev/zero", "is a symbolic link"), ("out", "is a symbolic link")] {
        std::os::unix::fs::symlink(target, &path).unwrap();
        let said = host.run("report bad").refused(1);
        assert!(said.contains(why), "{said}");
        std::fs::remove_file(&path).unwrap();
    }
    pipe(&path);
    let said = host.run("report bad").refused(1);
    assert!(said.contains("is a pipe"), "{said}");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let said = host.run("report bad").refused(1);
    assert!(said.contains("is a folder"), "{said}");
    std::fs::remove_dir(&path).unwrap();
    let said = host.run("report bad").refused(1);
    assert!(
        said.contains("bad: is dead, so it has no receipt: ") && said.contains("cannot be read"),
        "{said}"
    );
    host.run("dead retry bad").ok();
    assert_eq!(host.status("bad")["report"], Value::Null);
    let said = host.run("report bad").refused(1);
    assert!(said.contains("bad: is ready, so it has no receipt"), "{said}");
    // If the last attempt has made no report, the dead letter has none, even if an earlier attempt made one.
    std::fs::remove_file(host.path("readings.csv")).unwrap();
    host.run(&format!("run --queue q --burst --allow-root . --plugin {clean}"));
    let dead = host.status("bad");
    assert_eq!((&dead["state"], &dead["report"]), (&"dead".into(), &Value::Null));
}

fn pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

/// Checks that an error text that names a file does not make `report` open this file. `report` opens only the location
/// that a worker stored.
fn an_error_leads_nowhere(host: &Host) {
    host.write("readings.csv", READINGS);
    let clean = component("clean").display().to_string();
    host.run(&format!("ingest readings.csv --id forged --plugin {clean}"))
        .ok();
    pipe(&host.path("pipe.json"));
    let mut ids = Vec::new();
    for (number, target) in [
        "/dev/zero",
        "./pipe.json",
        "out/_ingest/receipts/forged.json",
        "/proc/self/mem",
    ]
    .iter()
    .enumerate()
    {
        let target = target.replace("./", &format!("{}/", host.folder.path().display()));
        // After decoding, this URI looks like an error of the gate.
        let words = format!("nothing was published (see file://{target}): 3 of 6 records were rejected");
        let encoded: String = words.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let id = format!("forger-{number}");
        let (q, uri) = ("q", format!("file:///nowhere/{}", encoded.replace("%2F", "/")));
        host.run(&format!("submit --no-check --queue {q} --id {id} --uri {uri}"))
            .ok();
        ids.push(id);
    }
    host.run(&format!("run --queue q --burst --plugin {clean}"));
    for id in ids {
        let dead = host.status(&id);
        assert_eq!((&dead["state"], &dead["report"]), (&"dead".into(), &Value::Null));
        let error = dead["error"].as_str().unwrap();
        assert!(error.contains("nothing was published (see file:/"), "{error}");
        let said = host.run(&format!("report {id}")).refused(1);
        assert!(said.contains("is dead, so it has no receipt"), "{said}");
    }
}

/// Checks that requests in a queue file of an older version are kept. After the upgrade, the file also stores reports.
#[test]
fn a_queue_of_before_is_used_on() {
    let host = Host::embedded();
    host.write("readings.csv", READINGS);
    host.run("submit --queue q --id bad --uri readings.csv").ok();
    let file = host.path("queue.db");
    take_back_to_version(&file, 1);
    let clean = component("clean").display().to_string();
    // Commands that only read do not upgrade the file, so workers of the older version can continue.
    assert_eq!(host.status("bad")["state"], "ready");
    for words in [
        "status bad",
        "requests --queue q",
        "queue list",
        "queue audit",
        "dead list",
        "plugin list",
        "plugin history --queue q",
    ] {
        host.run(words).ok();
    }
    host.run("report bad").refused(1);
    host.run("dead show bad").refused(1);
    assert_eq!(version_of(&file), 1);
    let said = host.run(&format!(
        "run --queue q --burst --allow-root . --max-rejects 2 --plugin {clean}"
    ));
    assert!(said.stderr.contains("file was upgraded"), "{}", said.stderr);
    assert_eq!(version_of(&file), 3);
    assert!(host.run("report bad").ok().contains("nothing was published"));
    // A dead letter of an older version has no stored report. A URI in its error text does not count as a report.
    let db = rusqlite::Connection::open(host.path("queue.db")).unwrap();
    db.execute_batch("UPDATE request SET report = NULL").unwrap();
    let said = host.run("report bad").refused(1);
    assert!(
        said.contains("is dead, so it has no receipt: ") && said.contains("(see file:///"),
        "{said}"
    );
}

#[test]
fn what_has_no_report_is_told() {
    let host = Host::embedded();
    host.write("readings.csv", READINGS);
    host.write("other.json", "{}");
    host.run("submit --queue q --id waits --uri readings.csv").ok();
    for (what, code, why) in [
        ("waits", 1, "is ready, so it has no receipt"),
        ("nobody", 1, "is not in any queue"),
        ("./no.json", 1, "cannot be read"),
        (
            "no.json",
            1,
            "no.json: no such file here; as a request: no.json: is not in any queue",
        ),
        (
            "https://example.com/a.json",
            2,
            "is neither a request nor a local file",
        ),
        ("other.json", 1, "is neither a receipt nor a report"),
    ] {
        let said = host.run(&format!("report {what}")).refused(code);
        assert!(said.contains(why), "{what}: {said}");
    }
}
