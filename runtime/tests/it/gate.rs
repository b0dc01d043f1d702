//! Tests the gate. If an input has too many rejects, its output is not published, its request is not retried, and its
//! report names the reason.

use serde_json::Value;

use crate::support::host::{CommandOutput, Host, component, path_of};

on_both_queues! {
    the_limit_passes_and_one_more_does_not
    mostly_rejected_is_no_success
    a_binding_has_a_gate
}

/// Returns a CSV file with the given numbers of good records, ragged records and records with a stray quote.
fn csv(good: usize, ragged: usize, stray: usize) -> String {
    format!(
        "a,b\n{}{}{}",
        "1,2\n".repeat(good),
        "1\n".repeat(ragged),
        "x\"y,2\n".repeat(stray)
    )
}

/// Returns the paths of all files below the folder `out`, including staged files, except the file `output-id`.
fn files(host: &Host) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![host.path("out")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("output-id") {
                found.push(
                    path.strip_prefix(host.path("out"))
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
    }
    found.sort();
    found
}

fn run(host: &Host, gate: &str) -> String {
    let clean = component("clean").display().to_string();
    let said = host.run(&format!(
        "run --queue q --burst --allow-root . --plugin {clean} {gate}"
    ));
    assert!(said.stderr.contains("worker stopped"), "{}", said.stderr);
    said.stdout
}

fn ingest(host: &Host, input: &str, gate: &str) -> CommandOutput {
    let clean = component("clean").display().to_string();
    host.run(&format!("ingest {input} --id in --plugin {clean} {gate}"))
}

fn dead(host: &Host, id: &str) -> (String, Value) {
    let status = host.status(id);
    assert_eq!(status["state"], "dead", "{status}");
    assert_eq!(status["code"], "gate-exceeded", "{status}");
    (status["error"].as_str().unwrap().to_owned(), status)
}

fn the_limit_passes_and_one_more_does_not(host: &Host) {
    host.write("good.csv", csv(7, 1, 1));
    host.write("bad.csv", csv(7, 2, 1));
    for name in ["good", "bad"] {
        host.run(&format!("submit --queue q --id {name} --uri {name}.csv"))
            .ok();
    }
    assert_eq!(
        run(host, "--max-rejects 2"),
        "1 done, 1 dead, 0 retried, 0 cancelled, 0 handed back, 0 lost\n\
         1 died: `ingest-host dead list --queue q` shows it\n"
    );
    assert_eq!(host.status("good")["receipt"]["records"]["written"], 7);
    let (error, status) = dead(host, "bad");
    assert_eq!(status["attempts"], 1);
    let folder = host.path("out/_ingest/q/quarantine").canonicalize().unwrap();
    assert_eq!(
        error,
        format!(
            "commit bad.csv: nothing was published (see file://{}/bad.json): 3 of 10 records were rejected, and at most 2 may be; \
             by code: 2 ragged-row (first record 8, line 9: expected 2 fields, found 1), \
             1 stray-quote (first record 10, line 11: \" at byte 2 of the record, within a field that does not begin with one)",
            folder.display()
        )
    );
    let found = [
        "_ingest/q/quarantine/bad.csv",
        "_ingest/q/quarantine/bad.json",
        "_ingest/q/quarantine/bad.rejects.csv",
        "_ingest/q/receipts/good.json",
        "_ingest/q/rejects/good.rejects.csv",
        "q/good.csv",
    ];
    assert_eq!(files(host), found);
    let kept = std::fs::read_to_string(folder.join("bad.rejects.csv")).unwrap();
    assert_eq!(kept.lines().count(), 4, "{kept}");
    assert!(
        kept.starts_with("record,line,offset,code,reason,raw\n8,9,32,\"ragged-row\","),
        "{kept}"
    );

    let good = std::fs::read_to_string(host.path("out/_ingest/q/quarantine/bad.csv")).unwrap();
    assert_eq!(good, csv(7, 0, 0));

    // A retry with the same gate gives the same result. If the gate allows more rejects, the output is published.
    host.run("dead retry bad").ok();
    assert!(run(host, "--max-rejects 2").starts_with("0 done, 1 dead"));
    assert_eq!(files(host), found);
    host.run("dead retry bad").ok();
    assert!(run(host, "--max-rejects 3").starts_with("1 done, 0 dead"));
    assert!(files(host).contains(&"q/bad.csv".to_owned()));
}

#[test]
fn shares_and_codes_have_their_edges_too() {
    for (input, gate, passes) in [
        (csv(9, 1, 0), "--max-rejects 10%", true),
        (csv(8, 1, 0), "--max-rejects 10%", false),
        (csv(0, 3, 0), "--max-rejects 100%", true),
        // A file without records passes every limit on rejects.
        (csv(0, 0, 0), "--max-rejects 0%", true),
        (csv(0, 0, 0), "--on-reject fail", true),
        (csv(1, 1, 5), "--max-rejects ragged-row=1", true),
        (csv(1, 2, 0), "--max-rejects ragged-row=1", false),
        (csv(8, 1, 1), "--max-rejects ragged-row=10%,stray-quote=10%", true),
        (
            csv(7, 1, 2),
            "--max-rejects ragged-row=10% --max-rejects stray-quote=10%",
            false,
        ),
        (csv(7, 1, 2), "--max-rejects 3 --max-rejects stray-quote=2", true),
        (csv(3, 0, 1), "--on-reject set-aside", true),
        (csv(3, 0, 1), "--on-reject fail", false),
        (csv(3, 0, 0), "--on-reject fail", true),
        (csv(3, 0, 1), "", true),
        // By default, an input of at least 20 records fails the gate if more than half of them are rejects. A rule for
        // all codes replaces this default.
        (csv(10, 10, 0), "", true),
        (csv(9, 11, 0), "", false),
        (csv(9, 6, 5), "", false),
        (csv(8, 11, 0), "", true),
        (csv(0, 20, 0), "", false),
        (csv(0, 20, 0), "--on-reject set-aside", false),
        (csv(0, 20, 0), "--max-rejects 100%", true),
        (csv(0, 20, 0), "--max-rejects 20", true),
        (csv(0, 20, 0), "--max-rejects ragged-row=100%", false),
        (csv(0, 20, 0), "--max-rejects ragged-row=20,100%", true),
        (csv(0, 0, 0), "--min-records 0", true),
        (csv(2, 0, 0), "--min-records 2", true),
        // `--min-records` counts all records that are read, including the rejects.
        (csv(0, 2, 0), "--min-records 2", true),
    ] {
        let host = Host::embedded();
        host.write("in.csv", &input);
        let said = ingest(&host, "in.csv", gate);
        let is_published = files(&host).contains(&"_ingest/receipts/in.json".to_owned());
        assert_eq!(
            (said.code == Some(0), is_published),
            (passes, passes),
            "{gate} {input}: {}",
            said.stderr
        );
        if !passes {
            assert_eq!(
                files(&host),
                [
                    "_ingest/quarantine/in.csv",
                    "_ingest/quarantine/in.json",
                    "_ingest/quarantine/in.rejects.csv"
                ],
                "{gate}"
            );
            assert!(
                said.stderr.contains("_ingest/quarantine/in.json"),
                "{}",
                said.stderr
            );
        }
    }
}

/// Checks the default gate: if 20 or more records are read, at most half of them may be rejects. The burst's summary,
/// the log, `status` and `requests` must show the failure.
fn mostly_rejected_is_no_success(host: &Host) {
    host.write("clean.csv", csv(20, 0, 0));
    host.write("half.csv", csv(10, 10, 0));
    host.write("most.csv", csv(9, 11, 0));
    host.write("few.csv", csv(1, 18, 0));
    let clean = component("clean").display().to_string();
    let burst = |gate: &str| {
        host.run(&format!(
            "run --queue q --burst --allow-root . --plugin {clean} {gate}"
        ))
    };
    for name in ["clean", "half", "few"] {
        host.run(&format!("submit --queue q --id {name} --uri {name}.csv"))
            .ok();
    }
    let said = burst("").ok();
    assert_eq!(
        said,
        "3 done, 0 dead, 0 retried, 0 cancelled, 0 handed back, 0 lost\n"
    );
    host.run("submit --queue q --id most --uri most.csv").ok();
    let said = burst("");
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert_eq!(
        said.stdout,
        "0 done, 1 dead, 0 retried, 0 cancelled, 0 handed back, 0 lost\n\
         1 died: `ingest-host dead list --queue q` shows it\n"
    );
    let why = "11 of 20 records were rejected, and by default at most 50% may be: check that the input is what it seems, or \
               set another bound with --max-rejects (100% for none)";
    let line = said.stderr.lines().find(|line| line.contains("a dead letter"));
    let line = line.expect(&said.stderr);
    assert!(line.contains("ERROR") && line.contains(why), "{line}");
    assert!(
        line.contains("report=\"file:///") && line.contains("most.json"),
        "{line}"
    );
    let (error, status) = dead(host, "most");
    assert!(
        error.contains(why) && error.contains("by code: 11 ragged-row"),
        "{error}"
    );
    assert_eq!(status["attempts"], 1);
    assert!(!files(host).contains(&"q/most.csv".to_owned()));
    for name in [
        "_ingest/q/quarantine/most.csv",
        "_ingest/q/quarantine/most.rejects.csv",
    ] {
        assert!(files(host).contains(&name.to_owned()), "{name}");
    }
    let list = host.run("requests --queue q").ok();
    let row = |id: &str| {
        let row = list.lines().find(|line| line.starts_with(id)).expect(&list);
        row.split_whitespace().take(6).collect::<Vec<_>>().join(" ")
    };
    assert!(
        list.starts_with("ID     STATE  ATTEMPTS  LOST  READ  REJECTED  INPUT"),
        "{list}"
    );
    assert_eq!(row("clean"), "clean done 1 0 20 0");
    assert_eq!(row("half"), "half done 1 0 20 10");
    assert_eq!(row("few"), "few done 1 0 19 18");
    assert!(row("most").starts_with("most dead 1 0 "), "{list}");
    assert!(list.contains(why), "{list}");
    // A rule for one code does not replace the default gate. A rule for all codes replaces it.
    host.run("dead retry most").ok();
    assert!(
        burst("--max-rejects ragged-row=100%")
            .stdout
            .starts_with("0 done, 1 dead")
    );
    host.run("dead retry most").ok();
    assert!(burst("--max-rejects 100%").ok().starts_with("1 done, 0 dead"));
    assert_eq!(host.status("most")["receipt"]["records"]["rejected"], 11);
}

/// Checks that the gate of a binding replaces the default for its queue. A binding can also require a minimum number of
/// records.
#[test]
fn a_binding_says_how_much_may_be_rejected_and_must_be_read() {
    let host = Host::embedded();
    let clean = component("clean");
    host.run_with("plugin push", &[clean.to_str().unwrap()]).ok();
    host.write("most.csv", csv(9, 11, 0));
    host.write("empty.csv", csv(0, 0, 0));
    let burst = || host.run("run --queue q --burst --allow-root .").stdout;
    for (gate, id, ended, shown) in [
        (
            "--max-rejects ragged-row=20",
            "a",
            "0 done, 1 dead",
            "ragged-row=20",
        ),
        ("--max-rejects 100%", "b", "1 done, 0 dead", "100%"),
        (
            "--max-rejects 100% --min-records 20",
            "c",
            "1 done, 0 dead",
            "100%,records>=20",
        ),
        (
            "--max-rejects 100% --min-records 21",
            "d",
            "0 done, 1 dead",
            "100%,records>=21",
        ),
    ] {
        host.run(&format!("plugin bind --queue q clean@0.1.0 {gate}"))
            .ok();
        let history = host.run("plugin history --queue q").ok();
        let newest = history.lines().nth(1).unwrap();
        assert!(newest.contains(&format!(" {shown} ")), "{history}");
        host.run(&format!("submit --queue q --id {id} --uri most.csv"))
            .ok();
        assert!(burst().starts_with(ended), "{gate}");
    }
    let why = "20 records were read, and --min-records asks for at least 21";
    assert!(dead(&host, "d").0.contains(why));
    // A worker can also set a minimum number of records.
    host.run("plugin bind --queue q clean@0.1.0").ok();
    host.run("submit --queue q --id e --uri empty.csv").ok();
    let said = host
        .run("run --queue q --burst --allow-root . --min-records 1")
        .refused(1);
    assert!(
        said.contains("0 records were read, and --min-records asks for at least 1"),
        "{said}"
    );
    host.run("dead retry e").ok();
    assert!(burst().starts_with("1 done, 0 dead"));
}

/// Checks that a binding's gate applies in every worker, in addition to the worker's own gate. A rollback to an earlier
/// binding restores its gate.
fn a_binding_has_a_gate(host: &Host) {
    let clean = component("clean");
    host.run_with("plugin push", &[clean.to_str().unwrap()]).ok();
    host.run("plugin bind --queue q clean@0.1.0").ok();
    host.run("plugin bind --queue q clean@0.1.0 --max-rejects 50%,ragged-row=1")
        .ok();
    let history = host.run("plugin history --queue q --json").json();
    assert_eq!(history[0]["gate"], serde_json::json!(["50%", "ragged-row=1"]));
    assert_eq!(history[1]["gate"], Value::Null);
    host.write("bad.csv", csv(9, 2, 0));
    host.write("good.csv", csv(9, 1, 1));
    for name in ["bad", "good"] {
        host.run(&format!("submit --queue q --id {name} --uri {name}.csv"))
            .ok();
    }
    let run = |gate: &str| {
        host.run(&format!("run --queue q --burst --allow-root . {gate}"))
            .stdout
    };
    assert!(run("").starts_with("1 done, 1 dead"));
    assert!(
        dead(host, "bad")
            .0
            .contains("2 of 11 records were rejected as ragged-row, and at most 1 may be")
    );
    host.run("plugin rollback --queue q").ok();
    host.run("dead retry bad").ok();
    assert!(run("--max-rejects 1").starts_with("0 done, 1 dead"));
    host.run("dead retry bad").ok();
    assert!(run("").starts_with("1 done, 0 dead"));
}

/// Checks that all rejects are counted and kept, even if several lanes each fill more than one batch with rejects.
#[test]
fn the_quarantine_has_every_reject_of_a_large_input() {
    let host = Host::embedded();
    host.write("in.csv", csv(150_000, 0, 0) + &csv(50_000, 70_001, 0)[4..]);
    ingest(&host, "in.csv", "--max-rejects 70001").ok();
    let host = Host::embedded();
    host.write("in.csv", csv(150_000, 0, 0) + &csv(50_000, 70_001, 0)[4..]);
    let said = ingest(&host, "in.csv", "--max-rejects 70000").refused(1);
    assert!(
        said.contains("70001 of 270001 records were rejected, and at most 70000 may be"),
        "{said}"
    );
    assert!(
        said.contains("70001 ragged-row (first record 200001, line 200002: "),
        "{said}"
    );
    let kept = std::fs::read_to_string(host.path("out/_ingest/quarantine/in.rejects.csv")).unwrap();
    assert_eq!(kept.lines().count(), 1 + 70_001);
}

/// Checks that the report describes the last attempt, and that rejects of earlier inputs stay.
#[test]
fn an_input_is_refused_as_often_as_it_is_tried() {
    let host = Host::embedded();
    for (ragged, gate) in [(1, "0"), (1, "0"), (2, "1"), (3, "0"), (2, "1")] {
        host.write("in.csv", csv(1, ragged, 0));
        let said = ingest(&host, "in.csv", &format!("--max-rejects {gate}")).refused(1);
        let verdict = format!(
            "{ragged} of {} records were rejected, and at most {gate} may be",
            1 + ragged
        );
        assert!(said.contains(&verdict), "{said}");
        let report: Value =
            serde_json::from_slice(&std::fs::read(host.path("out/_ingest/quarantine/in.json")).unwrap())
                .unwrap();
        assert!(
            report["refused"].as_str().unwrap().starts_with(&verdict),
            "{report}"
        );
        assert_eq!(report["code"], "gate-exceeded", "{report}");
        let kept = std::fs::read_to_string(path_of(&report["rejects"]["uri"])).unwrap();
        assert_eq!(kept.lines().count(), 1 + ragged, "{kept}");
    }
    // All inputs contain the same good records, so there is only one output. The files are the output, the report and
    // three files of rejects.
    assert_eq!(files(&host).len(), 1 + 1 + 3, "{:?}", files(&host));
}

/// Checks that a worker warns about a code in `--max-rejects` that no reject has. A mistyped code never makes the gate
/// fail.
#[test]
fn a_worker_tells_of_a_code_that_no_reject_has() {
    let host = Host::embedded();
    host.write("in.csv", csv(3, 1, 0));
    for (id, rule, is_told) in [("one", "raged-row=1", true), ("two", "ragged-row=1", false)] {
        host.run(&format!("submit --queue q --id {id} --uri in.csv")).ok();
        let words = format!("run --queue q --burst --allow-root . --max-rejects {rule} --plugin");
        let said = host.run_with(&words, &[component("clean").to_str().unwrap()]);
        let warning = "no reject has the code raged-row; there are ragged-row";
        assert_eq!(
            said.stderr.contains(" WARN ") && said.stderr.contains(warning),
            is_told,
            "{}",
            said.stderr
        );
        said.ok();
    }
    let said = ingest(&host, "in.csv", "--max-rejects ragged_row=5").refused(2);
    assert!(
        said.contains("a code has lowercase letters, digits and hyphens, as in ragged-row"),
        "{said}"
    );
}

/// Checks that `ingest` and a worker tell that all records were rejected, also if the input is too short for the default
/// rule.
#[test]
fn it_is_told_that_all_records_were_rejected() {
    let host = Host::embedded();
    host.write("all.csv", csv(0, 5, 0));
    host.write("some.csv", csv(1, 1, 0));
    let warning = "all 5 records were rejected: is the input what it seems?";
    for (name, is_told) in [("all", true), ("some", false)] {
        let said = ingest(&host, &format!("{name}.csv"), &format!("--output {name}"));
        assert_eq!(said.stderr.contains(warning), is_told, "{}", said.stderr);
        said.ok();
        host.run(&format!("submit --queue q --id {name} --uri {name}.csv"))
            .ok();
        let words = "run --queue q --burst --allow-root . --plugin";
        let said = host.run_with(words, &[component("clean").to_str().unwrap()]);
        let is_warned = |line: &str| line.contains(" WARN ") && line.contains(warning) && line.contains(name);
        assert_eq!(said.stderr.lines().any(is_warned), is_told, "{}", said.stderr);
        said.ok();
    }
}

/// Checks that the result of the gate is reported even if the quarantine cannot be created. No file of the
/// attempt is left.
#[test]
fn a_quarantine_that_cannot_be_made_does_not_hide_the_verdict() {
    let host = Host::embedded();
    host.write("in.csv", csv(1, 1, 0));
    std::fs::create_dir_all(host.path("out/_ingest")).unwrap();
    host.write("out/_ingest/quarantine", "in the way");
    let said = ingest(&host, "in.csv", "--on-reject fail").refused(1);
    assert!(
        said.contains("1 of 2 records were rejected, and at most 0 may be"),
        "{said}"
    );
    assert!(
        said.contains("quarantine: the folder cannot be created"),
        "{said}"
    );
    assert_eq!(files(&host), ["_ingest/quarantine"]);
}

/// Checks a request whose worker dies after it has created the receipt, but before it settles the claim. The request
/// becomes done although the next worker has a stricter gate, because the output is already published.
#[test]
fn what_was_published_stays_done_behind_a_narrower_gate() {
    let host = Host::embedded();
    host.write("in.csv", csv(3, 2, 0));
    host.run("submit --queue q --id one --uri in.csv").ok();
    let mut killed = host.command();
    killed
        .args("run --queue q --burst --allow-root . --max-rejects 2 --plugin".split(' '))
        .arg(component("clean"));
    let status = killed
        .env("INGEST_HOST_FAULT", "receipt:KILL:1")
        .status()
        .unwrap();
    assert!(!status.success());
    assert_eq!(host.status("one")["state"], "leased");
    host.expire_lease("one");
    assert!(run(&host, "--on-reject fail").starts_with("1 done, 0 dead"));
    assert_eq!(host.status("one")["receipt"]["records"]["rejected"], 2);
    assert_eq!(
        files(&host),
        [
            "_ingest/q/receipts/one.json",
            "_ingest/q/rejects/one.rejects.csv",
            "q/one.csv"
        ]
    );
}

/// Checks the note about a code that no reject has: it lists the codes that exist. Only a person can decide whether the
/// code is mistyped.
#[test]
fn a_code_that_no_reject_has_is_named() {
    let note = "--max-rejects: no reject has the code ragged; there are ragged-row, stray-quote";
    for (rejects, gate, is_named) in [
        (2, "--max-rejects ragged=1", true),
        (2, "--max-rejects ragged-row=2,ragged=1", true),
        (2, "--max-rejects ragged-row=2,stray-quote=1,9", false),
        (0, "--max-rejects ragged=1", false),
    ] {
        let host = Host::embedded();
        host.write("in.csv", csv(3, rejects, rejects / 2));
        let said = ingest(&host, "in.csv", gate);
        assert_eq!(said.stderr.contains(note), is_named, "{gate}: {}", said.stderr);
        said.ok();
    }
}

/// Checks inputs that have too few records, but no rejects. For an input without records, the quarantine contains the
/// header and the report.
#[test]
fn an_input_with_too_few_records_is_refused_if_somebody_says_so() {
    for (read, least) in [(0, 1), (3, 4)] {
        let host = Host::embedded();
        host.write("in.csv", csv(read, 0, 0));
        let said = ingest(&host, "in.csv", &format!("--min-records {least}")).refused(1);
        let why = format!(
            "{read} records were read, and --min-records asks for at least {least}; `ingest-host report {}` shows the report [gate-exceeded]",
            host.path("out/_ingest/quarantine/in.json").display()
        );
        assert!(
            said.contains("in.csv: nothing was published (see file:///"),
            "{said}"
        );
        assert!(said.trim_end().ends_with(&why), "{said}");
        assert_eq!(
            files(&host),
            ["_ingest/quarantine/in.csv", "_ingest/quarantine/in.json"]
        );
        let kept = std::fs::read_to_string(host.path("out/_ingest/quarantine/in.csv")).unwrap();
        assert_eq!(kept, csv(read, 0, 0));
    }
    let host = Host::embedded();
    host.write("in.jsonl", "");
    ingest(&host, "in.jsonl", "").ok();
    ingest(&host, "in.jsonl", "--min-records 1 --output out2").refused(1);
}

#[test]
fn a_rule_that_cannot_be_read_is_wrong_usage() {
    let host = Host::embedded();
    host.write("in.csv", csv(1, 0, 0));
    for gate in [
        "--max-rejects -1",
        "--max-rejects 101%",
        "--max-rejects Bad=1",
        "--max-rejects 1 --on-reject fail",
        "--max-rejects records>=1",
        "--min-records -1",
        "--min-records 5%",
    ] {
        ingest(&host, "in.csv", gate).refused(2);
    }
}
