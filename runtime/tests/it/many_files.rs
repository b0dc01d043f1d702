//! Tests that one command submits many files: patterns, folders and lists of URIs. A second submit adds only new files and
//! new versions. A group sums its requests up.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::documents::block;
use crate::support::host::{CommandOutput, Host, component};
use crate::support::process::{is_own, peak_bytes};

const FILES: usize = 10_000;

fn files(host: &Host, names: &[&str]) {
    for name in names {
        std::fs::create_dir_all(host.path(name).parent().unwrap()).unwrap();
        host.write(name, format!("n\n{}\n", name.len()));
    }
}

fn submit(host: &Host, uris: &[&str]) -> CommandOutput {
    host.run_with("submit --queue q --uri", uris)
}

/// Returns the inputs of the ready requests relative to the host's folder, in the order of their submit.
fn inputs(host: &Host) -> Vec<String> {
    let ready = host
        .run("requests --queue q --state ready --limit 100000 --json")
        .json();
    let folder = host.folder.path().canonicalize().unwrap();
    let relative = |uri: &str| {
        let path = Path::new(uri).strip_prefix(&folder);
        path.map_or(uri.to_owned(), |path| path.display().to_string())
    };
    ready
        .iter()
        .map(|status| relative(status["uri"].as_str().unwrap()))
        .collect()
}

fn run_worker(host: &Host) -> CommandOutput {
    let clean = component("clean").display().to_string();
    host.run(&format!("run --queue q --burst --allow-root . --plugin {clean}"))
}

/// Replaces a file by another file of the same length.
fn replace(host: &Host, name: &str) {
    let length = std::fs::metadata(host.path(name)).unwrap().len() as usize;
    let new = host.write("new", format!("{:0>length$}", "\n7\n"));
    let file = std::fs::File::options().write(true).open(&new).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1_500_000_000))
        .unwrap();
    std::fs::rename(new, host.path(name)).unwrap();
}

fn each_form_gives_one_request_a_file(host: &Host) {
    files(
        host,
        &[
            "d/b.csv",
            "d/a.csv",
            "d/.h.csv",
            "d/e/c.csv",
            "d/e/f/a.csv",
            "d/x.txt",
            "[z]*.csv",
            "z1.csv",
        ],
    );
    host.write("list.txt", "# two files\n\nd/x.txt\r\nhttps://h.example/y.csv\n");
    let said = submit(host, &["d/*.csv"]).ok();
    assert_eq!(said, "2 requests: 2 new, 0 known\n");
    let said = submit(host, &["d/e/**/*.csv", "[z]*.csv"]);
    assert_eq!(said.ok(), "3 requests: 3 new, 0 known\n");
    // A file with the name of the pattern wins. It has a random id, like any file that is named by itself.
    assert_eq!(
        submit(host, &["d/", "@list.txt", "z1.csv"]).ok(),
        "8 requests: 3 new, 5 known\n"
    );
    assert_eq!(
        inputs(host),
        [
            "d/a.csv",
            "d/b.csv",
            "[z]*.csv",
            "d/e/c.csv",
            "d/e/f/a.csv",
            "z1.csv",
            "d/x.txt",
            "https://h.example/y.csv"
        ]
    );
    let mut child = host
        .command()
        .args(["submit", "--queue", "q", "--json", "--uri", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"d/a.csv\nd/./../d/b.csv\nlist.txt")
        .unwrap();
    let said = CommandOutput::new(&child.wait_with_output().unwrap());
    assert!(
        said.stderr.ends_with("3 requests: 1 new, 2 known\n"),
        "{}",
        said.stderr
    );
    let states: Vec<_> = said.json().iter().map(|answer| answer["state"].clone()).collect();
    assert_eq!(states, ["ready"; 3]);
}

fn only_what_is_new_is_added(host: &Host) {
    files(host, &["d/a.csv", "d/b.csv", "d/c.csv"]);
    assert_eq!(submit(host, &["d/*.csv"]).ok(), "3 requests: 3 new, 0 known\n");
    assert_eq!(submit(host, &["d/*.csv"]).ok(), "3 requests: 0 new, 3 known\n");
    run_worker(host).ok();
    files(host, &["d/e/a.csv"]);
    assert_eq!(submit(host, &["./d/"]).ok(), "4 requests: 1 new, 3 known\n");
    assert_eq!(inputs(host), ["d/e/a.csv"]);
}

fn a_replaced_file_is_new_and_its_old_version_is_never_read(host: &Host) {
    files(host, &["d/a.csv", "d/b.csv"]);
    submit(host, &["d/"]).ok();
    replace(host, "d/b.csv");
    assert_eq!(submit(host, &["d/"]).ok(), "2 requests: 1 new, 1 known\n");
    run_worker(host).refused(1);
    let all = host.run("requests --queue q --json").json();
    let mut ends: Vec<_> = all
        .iter()
        .map(|status| (status["state"].as_str().unwrap(), status["code"].as_str()))
        .collect();
    ends.sort_unstable();
    assert_eq!(
        ends,
        [("dead", Some("input-replaced")), ("done", None), ("done", None)]
    );
    assert_eq!(submit(host, &["d/a.csv", "@-"]).code, Some(2));
    let said = submit(host, &["d/*.csv"]).ok();
    assert_eq!(said, "2 requests: 0 new, 2 known\n");
    // A document can name the version, too.
    host.push(r#"{"id":"x","uri":"d/a.csv","version":"1-2.000000003"}"#);
    run_worker(host).refused(1);
    assert_eq!(host.status("x")["code"], "input-replaced");
}

/// Checks that a worker does not open an input if a receipt for the same work exists. The queue does not know the request
/// any more.
fn a_receipt_is_found_before_the_input_is_fetched(host: &Host) {
    files(host, &["d/a.csv"]);
    let id = submit(host, &["d/", "--json"]).json()[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    run_worker(host).ok();
    let done = host.status(&id);
    assert_eq!(
        done["receipt"]["input"]["options"]["version"],
        done["input"]["version"]
    );
    host.end_long_ago(&id);
    run_worker(host).ok();
    assert_eq!(host.run(&format!("status {id}")).code, Some(1));
    std::fs::remove_file(host.path("d/a.csv")).unwrap();
    let document =
        |id: &str| json!({ "id": id, "uri": done["uri"], "version": done["input"]["version"] }).to_string();
    host.push(&document(&id));
    host.push(&document("other"));
    run_worker(host).refused(1);
    assert_eq!(host.status(&id)["receipt"], done["receipt"]);
    assert_eq!(host.status("other")["code"], "input-missing");
    // The output is gone, so the work has to be done again, and cannot be.
    host.end_long_ago(&id);
    run_worker(host).ok();
    std::fs::remove_file(host.path(&format!("out/q/{id}.csv"))).unwrap();
    host.push(&document(&id));
    run_worker(host).refused(1);
    assert_eq!(host.status(&id)["code"], "output-missing");
}

fn what_cannot_be_submitted_is_told(host: &Host) {
    files(host, &["a.csv", "b.csv"]);
    std::fs::create_dir(host.path("empty")).unwrap();
    for (arguments, code, why) in [
        (&["*.tsv"][..], 1, "*.tsv: no file matches this pattern"),
        (&["none/"], 1, "none/: there is no such folder"),
        (&["empty/"], 1, "no file is in this folder or below"),
        (&["@none.txt"], 2, "@none.txt: this list cannot be read"),
        (
            &["s3://bucket/2017/*.csv?versionId=1"],
            2,
            "a pattern takes no parameters",
        ),
        (&["gs://bucket/**x/"], 2, "is no pattern"),
        (&["*.csv", "--id", "x"], 2, "--id names one request"),
        (
            &["*.csv", "--sha256", &"0".repeat(64)],
            2,
            "--sha256 is of one file",
        ),
        (&["*.csv", "--group", ".g"], 2, "group \".g\" must have"),
        (&["*.csv", "none.csv"], 1, "none.csv: there is no such file"),
        (
            &["empty"],
            1,
            "with a slash at its end, it stands for all files in it",
        ),
    ] {
        let said = submit(host, arguments);
        assert!(said.stderr.contains(why), "{arguments:?}: {}", said.stderr);
        assert_eq!(said.code, Some(code), "{arguments:?}: {}", said.stderr);
    }
    // One bad line or argument does not prevent the others.
    host.write(
        "list",
        "a.csv\nnone.csv\nhttps://me:pw@h.example/x\n\nb.csv\nempty/\n",
    );
    let said = submit(host, &["@list", "*.tsv"]);
    assert!(
        said.stdout
            .ends_with("2 requests: 2 new, 0 known, 4 not submitted\n"),
        "{}",
        said.stdout
    );
    let said = said.refused(1);
    assert!(
        said.contains("list line 2: ") && said.contains("there is no such file"),
        "{said}"
    );
    assert!(
        said.contains("list line 3: ") && !said.contains("me:pw"),
        "{said}"
    );
    assert!(said.contains("*.tsv: no file matches"), "{said}");
    assert!(
        said.contains("list line 6: ") && said.contains("give the folder to --uri"),
        "{said}"
    );
    assert_eq!(inputs(host), ["a.csv", "b.csv"]);
    let said = submit(host, &["*.csv", "--delimiter", ";"]).refused(1);
    assert_eq!(said.matches("[request-conflict]").count(), 2, "{said}");
    assert!(
        said.contains("submit it with the same options") && !said.contains("choose another --id"),
        "{said}"
    );
    host.write("bad-list", b"\xff\nc.csv\n");
    host.write("c.csv", "a\n1\n");
    let said = submit(host, &["@bad-list"]).refused(1);
    assert!(said.contains("bad-list line 1: is not UTF-8"), "{said}");
    assert_eq!(inputs(host), ["a.csv", "b.csv", "c.csv"]);
}

fn a_group_is_summed_up(host: &Host) {
    files(host, &["d/a.csv", "d/b.csv", "d/c.csv"]);
    host.write("d/bad.csv", "PK\u{3}\u{4}");
    host.write("d/reject.csv", "a,b\n1,2\n3\n");
    submit(host, &["d/a.csv", "--id", "alone"]).ok();
    let said = host.run("status --group g").refused(1);
    assert!(said.contains("g: no request in any queue"), "{said}");
    submit(host, &["d/", "--group", "g"]).ok();
    let sum = |more: &str| {
        host.run(&format!("status --group g --json {more}"))
            .json()
            .remove(0)
    };
    let before = sum("");
    assert_eq!(before, sum("--queue q"));
    assert_eq!((&before["submitted"], &before["waiting"]), (&json!(5), &json!(5)));
    let said = host.run("status --group g").ok();
    assert!(
        said.starts_with("group    g\nqueue    q\nrequests 5: 5 waiting, 0 running, 0 done, 0 dead"),
        "{said}"
    );
    let clean = component("clean").display().to_string();
    let worker = host.worker(&format!("--queue q --allow-root . --plugin {clean}"));
    let said = submit(host, &["d/", "--group", "g", "--wait", "--json"]);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let waited: Value = serde_json::from_str(said.stdout.trim()).unwrap();
    worker.stop();
    let after = sum("");
    assert_eq!(waited, after);
    assert_eq!(
        (&after["done"], &after["dead"], &after["waiting"]),
        (&json!(4), &json!(1), &json!(0))
    );
    assert_eq!(
        after["records"],
        json!({ "read": 5, "written": 4, "rejected": 1 })
    );
    assert_eq!(after["errors"][0]["code"], "binary-content", "{after}");
    let said = submit(host, &["d/?.csv", "--wait"]).ok();
    assert!(
        said.contains("3 requests: 0 new, 3 known\nqueue    q\nrequests 3: 0 waiting, 0 running, 3 done"),
        "{said}"
    );
    // A file that two arguments name is one request.
    let said = submit(host, &["d/?.csv", "d/[ab].csv", "--wait", "--json"]);
    let sum = &said.json()[0];
    assert_eq!((&sum["submitted"], &sum["done"]), (&json!(3), &json!(3)), "{sum}");
    assert_eq!(sum["records"]["read"], 3, "{sum}");
}

on_both_queues! {
    each_form_gives_one_request_a_file only_what_is_new_is_added a_replaced_file_is_new_and_its_old_version_is_never_read
    a_receipt_is_found_before_the_input_is_fetched what_cannot_be_submitted_is_told a_group_is_summed_up
    ten_thousand_files_are_submitted_once
}

#[test]
fn a_group_of_two_queues_needs_the_queue() {
    let host = Host::embedded();
    files(&host, &["a.csv"]);
    for queue in ["q", "r"] {
        host.run(&format!("submit --queue {queue} --group g --uri a.csv"))
            .ok();
    }
    let said = host.run("status --group g").refused(2);
    assert!(
        said.contains("group g: is in the queues q, r: say which with --queue"),
        "{said}"
    );
    assert_eq!(
        host.run("status --group g --queue r --json").json()[0]["submitted"],
        1
    );
    host.run("status --group g a").refused(2);
    host.run("status").refused(2);
}

#[test]
fn the_commands_of_the_document_run() {
    let host = Host::embedded();
    host.write("alarms.csv", "n\n1\n");
    let said = host.bash(&block("sh", "--group autumn")).ok();
    assert!(
        said.starts_with("2 requests: 2 new, 0 known\ngroup    autumn\n"),
        "{said}"
    );
}

/// Submits 10,000 files twice. The second submit must add nothing.
fn ten_thousand_files_are_submitted_once(host: &Host) {
    for n in 0..FILES {
        let name = format!("d/{:02}/part-{n:05}.csv", n % 7);
        if n < 7 {
            std::fs::create_dir_all(host.path(&name).parent().unwrap()).unwrap();
        }
        host.write(&name, "n\n1\n");
    }
    for expected in [
        "10000 requests: 10000 new, 0 known\n",
        "10000 requests: 0 new, 10000 known\n",
    ] {
        let said = submit(host, &["d/**/*.csv", "--group", "all"]).ok();
        assert_eq!(said, expected);
    }
    let sum = &host.run("status --group all --json").json()[0];
    assert_eq!(
        (&sum["submitted"], &sum["waiting"]),
        (&json!(FILES), &json!(FILES))
    );
    let listed = inputs(host);
    assert!(listed.is_sorted() && listed.len() == FILES);
}

/// The memory of a submit must not grow with the number of inputs.
#[test]
fn the_memory_of_a_submit_does_not_grow() {
    if !is_own() {
        return;
    }
    let host = Host::embedded();
    let mut child = host
        .command()
        .args(["submit", "--queue", "q", "--uri", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut peak_after = |from: usize, to: usize| {
        for n in from..to {
            writeln!(stdin, "https://h.example/a-rather-long-folder-name/{n:0>200}.csv").unwrap();
        }
        stdin.flush().unwrap();
        peak_bytes(child.id())
    };
    let early = peak_after(0, 20_000);
    let late = peak_after(20_000, 60_000);
    drop(stdin);
    assert!(child.wait().unwrap().success());
    // Kept inputs would take 40,000 times 300 bytes or more.
    assert!(late < early + (8 << 20), "{early} bytes, then {late}");
}
