//! Tests that a worker with many large inputs stays within `--memory-total`. Each request must end as it would without
//! the others.

use std::fs::File;
use std::io::Write;
use std::process::Stdio;

use serde_json::Value;
use wait4::Wait4;

use crate::support::host::{Host, component, path_of};
use crate::support::http::Files;
use crate::support::inputs::gzip;
use crate::support::process;
use crate::support::s3::{ACCESS_KEY, S3Server, SECRET_KEY};

/// The memory, in bytes, that a worker needs beyond its budget. It contains the program, compiled plugins, SQLite,
/// threads, and the unused memory that the allocator keeps.
const SLACK: u64 = 96 << 20;

const MIB: usize = 1 << 20;

/// The number of requests that run at once.
const REQUESTS: usize = 16;

/// The input, plugin and arguments that all requests of a test share.
struct Case<'a> {
    name: &'a str,
    input: &'a [u8],
    plugin: &'a str,
    config: &'a str,
    /// Additional arguments for the worker.
    arguments: &'a str,
    over_http: bool,
    /// The server that outputs and rejects go to. They go to a folder by default.
    outputs_at: Option<&'a S3Server>,
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self {
            name: "in.csv",
            input: b"",
            plugin: "hostile",
            config: "{}",
            arguments: "",
            over_http: false,
            outputs_at: None,
        }
    }
}

/// The results of the requests. Each has the state, counts, digests and error.
type Outcomes = Vec<Value>;

/// Runs `requests` requests at once in one worker. Returns the result of each request, and the worker's peak memory in
/// bytes.
#[track_caller]
fn run(case: &Case<'_>, total: &str, requests: usize) -> (Outcomes, u64) {
    let host = Host::embedded();
    let served = case.over_http.then(Files::serve);
    let uri = match &served {
        Some(files) => files.put(case.name, case.input.to_vec()),
        None => host.write(case.name, case.input).display().to_string(),
    };
    host.run_with("plugin push", &[component(case.plugin).to_str().unwrap()])
        .ok();
    let version = env!("CARGO_PKG_VERSION");
    host.run_with(
        &format!("plugin bind --queue q {}@{version} --config", case.plugin),
        &[case.config],
    )
    .ok();
    for id in 0..requests {
        host.run(&format!("submit --queue q --uri {uri} --id r{id}")).ok();
    }
    let words = format!(
        "run --queue q --burst --allow-root . --allow-host 127.0.0.1 --memory-total {total} {}",
        case.arguments
    );
    let mut command = host.command();
    if let Some(server) = case.outputs_at {
        command
            .args(words.split_whitespace())
            .args([
                "--output",
                &format!("s3://lake/{requests}"),
                "--rejects",
                &format!("s3://refused/{requests}"),
            ])
            .env("AWS_ENDPOINT_URL_S3", server.endpoint())
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    } else {
        command.args(words.split_whitespace());
    }
    let mut worker = command
        .env("RUST_LOG", "info")
        .stdout(Stdio::null())
        .stderr(File::create(host.path("log")).unwrap())
        .spawn()
        .unwrap();
    let ended = worker.wait4().unwrap();
    let log = std::fs::read_to_string(host.path("log")).unwrap();
    assert!(ended.status.code().is_some(), "the worker died: {log}");
    let outcomes = (0..requests).map(|id| {
        let status = host.status(&format!("r{id}"));
        assert_eq!(status["attempts"], 1, "{status}: {log}");
        outcome(&status)
    });
    (outcomes.collect(), ended.rusage.maxrss)
}

/// Returns the part of a request's result that does not depend on the request's id.
fn outcome(status: &Value) -> Value {
    let receipt = &status["receipt"];
    if let Some(output) = receipt["outputs"].get(0)
        && output["uri"].as_str().is_some_and(|uri| uri.starts_with("file:"))
    {
        let written = path_of(&output["uri"]).metadata().unwrap().len();
        assert_eq!(output["bytes"].as_u64(), Some(written));
    }
    serde_json::json!({
        "state": status["state"],
        "error": status["error"],
        "records": receipt["records"],
        "output": receipt["outputs"][0]["sha256"],
        "rejects": receipt["rejects"]["sha256"],
        "quality": receipt["quality"],
    })
}

/// Runs [`REQUESTS`] requests at once within a memory budget. Checks that each of them has the same result as a single
/// request, and that the worker's peak memory is below the budget plus [`SLACK`]. Returns that result.
#[track_caller]
fn runs_within(case: &Case<'_>, mib: u64) -> Value {
    let total = format!("{mib}MiB");
    let (alone, _) = run(case, &total, 1);
    let (outcomes, peak) = run(case, &total, REQUESTS);
    for outcome in outcomes {
        assert_eq!(outcome, alone[0], "{} at once", REQUESTS);
    }
    let max = (mib << 20) + SLACK;
    assert!(peak < max, "{} MiB, and {} are the most", peak >> 20, max >> 20);
    alone.into_iter().next().unwrap()
}

#[track_caller]
fn is_done(outcome: &Value, count: &str, records: u64) {
    assert_eq!(outcome["state"], "done", "{outcome}");
    assert_eq!(outcome["records"][count], records, "{outcome}");
}

/// Returns CSV with one column `n` and `count` records. Each record consists of `bytes` bytes that all equal `byte`.
fn long_records(count: usize, bytes: usize, byte: u8) -> Vec<u8> {
    let mut text = b"n\n".to_vec();
    for _ in 0..count {
        text.resize(text.len() + bytes, byte);
        text.push(b'\n');
    }
    text
}

/// Returns the records of [`long_records`], but the last byte of each is not valid UTF-8.
fn malformed_records(count: usize, bytes: usize) -> Vec<u8> {
    let mut text = long_records(count, bytes, b'x');
    for record in 1..=count {
        let end = 2 + record * (bytes + 1) - 1;
        text[end - 1] = 0xff;
    }
    text
}

#[test]
fn small_files_of_long_malformed_records() {
    if !process::is_own() {
        return;
    }
    for (count, bytes, over_http) in [(1, 15 * MIB, false), (3, 2 * MIB, true)] {
        let packed = gzip(&malformed_records(count, bytes));
        assert!(packed.len() < 64 << 10, "{} bytes", packed.len());
        let case = Case {
            name: "in.csv.gz",
            input: &packed,
            over_http,
            ..Case::default()
        };
        is_done(&runs_within(&case, 128), "rejected", count as u64);
    }
}

#[test]
fn rejects_have_a_limit_whatever_the_number_at_once() {
    if !process::is_own() {
        return;
    }
    let packed = gzip(&long_records(2, MIB, 0xff));
    let case = Case {
        name: "in.csv.gz",
        input: &packed,
        arguments: "--limit rejects-bytes=6MiB",
        ..Case::default()
    };
    let outcome = runs_within(&case, 128);
    assert_eq!(outcome["state"], "dead", "{outcome}");
    let error = outcome["error"].as_str().unwrap();
    assert!(
        error.contains("rejects have more than 6291456 bytes: the limit rejects-bytes=6MiB"),
        "{error}"
    );
}

#[test]
fn long_records_that_are_kept_and_edited() {
    if !process::is_own() {
        return;
    }
    let text = long_records(2, 3 * MIB, b'x');
    for (config, count) in [("{}", "kept"), (r#"{"mode": "edit"}"#, "edited")] {
        let case = Case {
            input: &text,
            config,
            ..Case::default()
        };
        let outcome = runs_within(&case, 128);
        assert_eq!(outcome["state"], "done", "{outcome}");
        assert!(outcome["records"][count].as_u64() > Some(0), "{outcome}");
    }
}

#[test]
fn long_lines_of_json_with_a_profile() {
    if !process::is_own() {
        return;
    }
    let mut text = Vec::new();
    for number in 0..2 {
        text.extend_from_slice(format!("{{\"n\":{number},\"text\":\"").as_bytes());
        text.resize(text.len() + 3 * MIB, b'x');
        text.extend_from_slice(b"\"}\n");
    }
    let case = Case {
        name: "in.jsonl",
        input: &text,
        arguments: "--profile",
        ..Case::default()
    };
    is_done(&runs_within(&case, 128), "kept", 2);
}

#[test]
fn windows_of_zstd() {
    if !process::is_own() {
        return;
    }
    let text = long_records(32, 64 << 10, b'x');
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(&text).unwrap();
    let case = Case {
        name: "in.csv.zst",
        input: &encoder.finish().unwrap(),
        ..Case::default()
    };
    is_done(&runs_within(&case, 256), "kept", 32);
    // The zstd window needs more memory than a single request may hold.
    let outcome = runs_within(&case, 128);
    assert_eq!(outcome["state"], "dead", "{outcome}");
    let error = outcome["error"].as_str().unwrap();
    assert!(
        error.contains(
            "of memory, and a request may hold 96MiB, three quarters of the worker's --memory-total 128MiB"
        ),
        "{error}"
    );
}

#[test]
fn plugins_that_take_much_memory() {
    if !process::is_own() {
        return;
    }
    // For each record, the plugin allocates 1 MiB more and frees it only when the request ends.
    let text: String = (0..60).fold("n\n".to_owned(), |text, number| text + &format!("{number}\n"));
    let case = Case {
        input: text.as_bytes(),
        config: r#"{"mode": "leak"}"#,
        ..Case::default()
    };
    let outcome = runs_within(&case, 128);
    assert_eq!(outcome["state"], "done", "{outcome}");
}

#[test]
fn many_rows_of_one_record_and_long_reasons() {
    if !process::is_own() {
        return;
    }
    for config in [
        r#"{"mode": "flood-output", "size": 100000}"#,
        r#"{"mode": "long-reason", "size": 4000000}"#,
        r#"{"mode": "long-cell", "size": 8000000}"#,
    ] {
        let case = Case {
            input: b"n\n1\n2\n",
            config,
            ..Case::default()
        };
        let outcome = runs_within(&case, 256);
        assert_eq!(outcome["state"], "done", "{config}: {outcome}");
    }
}

#[test]
fn many_columns() {
    if !process::is_own() {
        return;
    }
    let names: Vec<_> = (0..4_096).map(|column| format!("c{column}")).collect();
    let first: Vec<_> = names.iter().map(|name| format!("\"{name}\":1")).collect();
    let mut text = format!("{{{}}}\n", first.join(","));
    // A record of the input has 3 bytes. In a batch for the plugin, it is far longer, because it has 4,096 fields.
    text += &"{}\n".repeat(300);
    let case = Case {
        name: "in.jsonl",
        input: text.as_bytes(),
        arguments: "--profile",
        ..Case::default()
    };
    is_done(&runs_within(&case, 256), "kept", 301);
}

/// Checks a record with many members that the first records do not have. The check for duplicate members must fit into
/// the memory that is reserved for the record.
#[test]
fn a_long_line_of_json_with_many_late_members() {
    if !process::is_own() {
        return;
    }
    // The first batch determines the columns. These records fill the first batch, so the members of the long record are
    // late members.
    let mut text = b"{\"n\":1}\n".repeat(20_000);
    text.extend_from_slice(b"{\"n\":1");
    text.extend_from_slice(&b",\"\":0".repeat(3_000_000));
    text.extend_from_slice(b"}\n");
    assert!((14 * MIB..16 * MIB).contains(&text.len()));
    let case = Case {
        name: "in.jsonl",
        input: &text,
        ..Case::default()
    };
    let (outcomes, peak) = run(&case, "80MiB", 1);
    is_done(&outcomes[0], "rejected", 1);
    // With a single attempt, the allocator keeps less unused memory than with many attempts.
    let max = SLACK / 3 * 2 + 3 * text.len() as u64;
    assert!(peak < max, "{} MiB, and {} are the most", peak >> 20, max >> 20);
}

#[test]
fn uploads_of_large_outputs_and_rejects() {
    if !process::is_own() {
        return;
    }
    // Output and rejects have more than a part of 8 MiB each. Without a bound, 16 requests would hold 16 times two to
    // six parts.
    let (record, count) = (64 << 10, 2 * 17 * 8);
    let mut text = long_records(count, record, b'x');
    for number in (1..=count).step_by(2) {
        text[2 + number * (record + 1) - 2] = 0xff;
    }
    let server = S3Server::start();
    server.create_bucket("lake");
    server.create_bucket("refused");
    let case = Case {
        input: &text,
        arguments: "--max-rejects 100%",
        outputs_at: Some(&server),
        ..Case::default()
    };
    let outcome = runs_within(&case, 64);
    is_done(&outcome, "kept", count as u64 / 2);
    assert_eq!(outcome["records"]["rejected"], count as u64 / 2, "{outcome}");
    let keys = server.keys("refused");
    for id in 0..REQUESTS {
        let output = server.read("lake", &format!("{REQUESTS}/q/r{id}.csv")).unwrap();
        assert!(output.len() > 8 * MIB, "{} bytes", output.len());
        let is_of_request = |key: &&String| key.starts_with(&format!("{REQUESTS}/q/r{id}."));
        let rejects = keys.iter().find(is_of_request).expect("rejects");
        let rejects = server.read("refused", rejects).unwrap();
        assert!(rejects.len() > 8 * MIB, "{} bytes", rejects.len());
    }
}

#[test]
fn a_total_has_a_least_and_is_logged() {
    let host = Host::embedded();
    let said = host.run("run --queue q --burst --memory-total 1MiB").refused(2);
    assert!(said.contains("64MiB is the least"), "{said}");
}
