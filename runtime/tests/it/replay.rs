//! Tests replays: the rejects of a request are processed again, each rescued record is committed once, and the sums of all
//! receipts hold, wherever a worker dies.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::support::host::{CommandOutput, Host, component, path_of};
use crate::support::wat::HandWrittenPlugin;

on_both_queues! {
    a_fixed_plugin_rescues_exactly_what_was_rejected_wrongly
    codes_select_and_the_others_stay_as_they_are
    all_requests_of_a_queue_are_replayed
    a_replay_that_dies_at_any_step_commits_once
    what_cannot_be_replayed_is_refused
}

/// The input: two records of the ten have a wrong number, two an unknown country, and one has too few fields.
const ORDERS: &str = "id;price;country\n1;10;CH\n2;x;CH\n3;30;FR\n4;40;DE\n5;y;DE\n6\n7;70;FR\n8;80;CH\n9;90;CH\n\"10\";100;CH\n";

/// The config that knows neither France nor a price of `x`.
const WRONG: &str = r#"{"columns": {"price": {"type": "integer"}, "country": {"allowed": ["CH", "DE"]}}}"#;

/// The config that knows France.
const RIGHT: &str =
    r#"{"columns": {"price": {"type": "integer"}, "country": {"allowed": ["CH", "DE", "FR"]}}}"#;

fn bind(host: &Host, config: &str) {
    let clean = component("clean");
    host.run_with("plugin push", &[clean.to_str().unwrap()]).ok();
    host.run_with(
        &format!("plugin bind --queue q {} --config", plugin_name(host)),
        &[config],
    )
    .ok();
}

fn plugin_name(host: &Host) -> String {
    let said = host
        .run_with("plugin inspect --json", &[component("clean").to_str().unwrap()])
        .json();
    format!("clean@{}", said[0]["version"].as_str().unwrap())
}

fn work(host: &Host) -> CommandOutput {
    host.run("run --queue q --burst --burst-wait 0s --allow-root .")
}

fn submit(host: &Host, id: &str) {
    host.write(&format!("{id}.csv"), ORDERS);
    host.run(&format!(
        "submit --queue q --id {id} --uri {id}.csv --delimiter ;"
    ))
    .ok();
}

/// Returns the outputs of the queue with their texts, as a reader finds them.
fn outputs(host: &Host) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(host.path("out/q")).into_iter().flatten();
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let named = files.flatten().filter_map(|file| {
        let name = file.file_name().to_string_lossy().into_owned();
        Some((name, read(&file.path())?))
    });
    named.collect()
}

fn rejects(receipt: &Value) -> String {
    std::fs::read_to_string(path_of(&receipt["rejects"]["uri"])).unwrap()
}

fn records(receipt: &Value, name: &str) -> u64 {
    receipt["records"][name].as_u64().unwrap()
}

/// Checks that the receipts of a chain account for each record of the input once.
#[track_caller]
fn assert_sums_hold(chain: &[&Value]) {
    for pair in chain.windows(2) {
        assert_eq!(records(pair[0], "rejected"), records(pair[1], "read"));
        assert_eq!(pair[1]["inputs"][0]["sha256"], pair[0]["rejects"]["sha256"]);
    }
    let done = |receipt: &&Value| records(receipt, "read") - records(receipt, "rejected");
    let all: u64 = chain.iter().map(done).sum();
    assert_eq!(
        all + records(chain[chain.len() - 1], "rejected"),
        records(chain[0], "read")
    );
}

fn a_fixed_plugin_rescues_exactly_what_was_rejected_wrongly(host: &Host) {
    submit(host, "a");
    bind(host, WRONG);
    work(host).ok();
    let first = host.status("a")["receipt"].clone();
    assert_eq!(
        first["rejects"]["by_code"],
        json!({"not-integer": 2, "not-allowed": 2, "ragged-row": 1})
    );
    assert_eq!(
        first["inputs"][0]["syntax"],
        json!({"delimiter": ";", "quote": "\""})
    );
    let before = outputs(host);

    // With the same binding, there is nothing to gain.
    let said = host.run("replay a").ok();
    assert!(
        said.contains("a  nothing to replay: a has already processed these rejects"),
        "{said}"
    );
    bind(host, RIGHT);
    assert_eq!(
        host.run("replay a").ok(),
        "a.replay-1  submitted, rejects of a: 5\n"
    );
    let ready = host.status("a.replay-1");
    assert_eq!(
        (&ready["parent"], &ready["state"]),
        (&json!("a"), &json!("ready"))
    );
    assert_eq!(ready["replay"], json!({"parent": "a", "number": 1}));
    let said = host.run("replay a.replay-1").ok();
    assert_eq!(said, "a.replay-1  was submitted before (ready)\n");
    work(host).ok();

    let second = host.status("a.replay-1")["receipt"].clone();
    assert_sums_hold(&[&first, &second]);
    assert_eq!(second["request"]["parent"], "a");
    assert_eq!(second["request"]["replay"], json!({"parent": "a", "number": 1}));
    assert_eq!(
        second["rejects"]["by_code"],
        json!({"not-integer": 2, "ragged-row": 1})
    );
    assert_eq!(second["rejects"]["examples"]["ragged-row"][0]["record"], 6);
    let after = outputs(host);
    assert_eq!(after["a.csv"], before["a.csv"]);
    assert_eq!(after["a.replay-1.csv"], "id;price;country\n3;30;FR\n7;70;FR\n");
    assert_eq!(after.len(), 2);
    // The positions are those of the first input.
    let left: Vec<_> = rejects(&first)
        .lines()
        .filter(|line| !line.contains("FR"))
        .map(str::to_owned)
        .collect();
    assert_eq!(rejects(&second).lines().collect::<Vec<_>>(), left);

    // Twice is once: nothing that is left can be rescued by the same binding.
    let said = host.run("replay a --json").json().remove(0);
    assert_eq!((&said["id"], &said["rejects"]), (&Value::Null, &json!(3)));
    assert!(
        said["note"]
            .as_str()
            .unwrap()
            .starts_with("a.replay-1 has already"),
        "{said}"
    );
    work(host).ok();
    assert_eq!(outputs(host), after);

    // The rest is rescued by another plugin.
    let anything = host.run_with(
        &format!(
            "plugin bind --queue q {} --short-rows fill --config",
            plugin_name(host)
        ),
        &[r#"{"columns": {}}"#],
    );
    anything.ok();
    let worker = host.worker("--queue q --allow-root .");
    let receipts = host.run("replay a --wait --json").json();
    assert_eq!(worker.stop().0, Some(0));
    assert_sums_hold(&[&first, &second, &receipts[0]]);
    assert_eq!(records(&receipts[0], "rejected"), 0);
    assert_eq!(
        outputs(host)["a.replay-2.csv"],
        "id;price;country\n2;x;CH\n5;y;DE\n6;;\n"
    );
    let said = host.run("replay a").ok();
    assert_eq!(said, "a  nothing to replay: no rejects are left\n");
    assert_eq!(host.run("queue audit").ok(), "q  no findings\n");
}

fn codes_select_and_the_others_stay_as_they_are(host: &Host) {
    submit(host, "a");
    bind(host, WRONG);
    work(host).ok();
    let first = host.status("a")["receipt"].clone();
    bind(host, r#"{"columns": {}}"#);
    let said = host.run("replay a --code no-such").ok();
    assert!(
        said.contains("no reject that is left has the code no-such; there are not-allowed"),
        "{said}"
    );
    host.run("replay a --code not-integer --code no-such").ok();
    let said = host.run("replay a").refused(1);
    assert!(
        said.contains("a request has one replay at a time") && said.contains("[request-state]"),
        "{said}"
    );
    work(host).ok();
    let shown = host.run("status a.replay-1").ok();
    assert!(
        shown.contains("parent   a: replay 1 of its rejects with the code no-such, not-integer"),
        "{shown}"
    );
    let second = host.status("a.replay-1")["receipt"].clone();
    assert_sums_hold(&[&first, &second]);
    assert_eq!(
        outputs(host)["a.replay-1.csv"],
        "id;price;country\n2;x;CH\n5;y;DE\n"
    );
    let others: Vec<_> = rejects(&first)
        .lines()
        .filter(|line| !line.contains("not-integer"))
        .map(str::to_owned)
        .collect();
    assert_eq!(rejects(&second).lines().collect::<Vec<_>>(), others);
    // The binding has processed only some of the rejects, so the next replay is not for nothing.
    assert_eq!(
        host.run("replay a").ok(),
        "a.replay-2  submitted, rejects of a: 3\n"
    );
    work(host).ok();
    let third = host.status("a.replay-2")["receipt"].clone();
    assert_sums_hold(&[&first, &second, &third]);
    assert_eq!(third["rejects"]["by_code"], json!({"ragged-row": 1}));
}

fn all_requests_of_a_queue_are_replayed(host: &Host) {
    for id in ["a", "b", "c"] {
        submit(host, id);
    }
    host.write("good.csv", "id;price;country\n1;1;CH\n");
    host.run("submit --queue q --id good --uri good.csv --delimiter ;")
        .ok();
    bind(host, WRONG);
    work(host).ok();
    bind(host, RIGHT);
    let said = host.run("replay --queue q --since 2999-01-01");
    assert!(
        said.stderr.contains("no request has such rejects"),
        "{}",
        said.stderr
    );
    assert_eq!(said.ok(), "");
    // A replay that is under way does not keep the others from theirs.
    host.run("replay c --code not-allowed").ok();
    let said = host.run("replay --queue q --since 2h");
    assert!(said.stderr.contains("c.replay-1: is ready"), "{}", said.stderr);
    let mut lines: Vec<_> = said.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "a.replay-1  submitted, rejects of a: 5",
            "b.replay-1  submitted, rejects of b: 5"
        ]
    );
    assert_eq!(said.code, Some(1));
    work(host).ok();
    for id in ["a", "b", "c"] {
        assert_eq!(
            outputs(host)[&format!("{id}.replay-1.csv")],
            "id;price;country\n3;30;FR\n7;70;FR\n"
        );
    }
    // All rejects with this code are rescued.
    let said = host.run("replay --queue q --code not-allowed");
    assert!(
        said.stderr.contains("no request has such rejects"),
        "{}",
        said.stderr
    );
    assert_eq!(said.ok(), "");
    assert_eq!(outputs(host).len(), 7);
}

/// A reader that lists the outputs all the time, and finds no row twice.
struct Reader {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Reader {
    fn start(host: &Host) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, folder) = (Arc::clone(&is_over), host.path("out/q"));
        let thread = std::thread::spawn(move || {
            let mut looks = 0;
            while !over.load(Ordering::Relaxed) {
                let mut rows = BTreeMap::new();
                for file in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                    let name = file.file_name().to_string_lossy().into_owned();
                    let text = std::fs::read_to_string(file.path()).unwrap_or_default();
                    let request = name.split('.').next().unwrap().to_owned();
                    for row in text.lines().skip(1) {
                        let seen = rows.insert((request.clone(), row.to_owned()), name.clone());
                        assert_eq!(seen, None, "{row} is also in {name}");
                    }
                }
                looks += 1;
            }
            looks
        });
        Self { is_over, thread }
    }

    fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        assert!(self.thread.join().unwrap() > 10);
    }
}

fn a_replay_that_dies_at_any_step_commits_once(host: &Host) {
    let steps = [
        "claimed",
        "fetched",
        "batch",
        "staged",
        "published",
        "receipt",
        "settled",
    ];
    for step in steps {
        submit(host, step);
    }
    bind(host, WRONG);
    work(host).ok();
    bind(host, RIGHT);
    let reader = Reader::start(host);
    for step in steps {
        let (id, first) = (format!("{step}.replay-1"), host.status(step)["receipt"].clone());
        host.run(&format!("replay {step}")).ok();
        let mut worker = host.faulty_worker(
            "--queue q --burst --burst-wait 0s --allow-root .",
            &format!("{step}:KILL:={id}"),
        );
        assert_eq!(worker.ended().0, None, "{step}: not killed");
        if host.status(&id)["state"] == "leased" {
            host.expire_lease(&id);
        }
        // Somebody who thinks that the first replay is lost starts another one.
        host.run(&format!("replay {step}")).ok();
        work(host).ok();
        let second = host.status(&id)["receipt"].clone();
        assert_sums_hold(&[&first, &second]);
        assert_eq!(
            outputs(host)[&format!("{id}.csv")],
            "id;price;country\n3;30;FR\n7;70;FR\n",
            "{step}"
        );
        assert_eq!(
            host.run(&format!("replay {step} --json")).json()[0]["id"],
            Value::Null,
            "{step}"
        );
    }
    reader.stop();
    assert_eq!(outputs(host).len(), 2 * steps.len());
    assert_eq!(host.run("queue audit").ok(), "q  no findings\n");
}

fn what_cannot_be_replayed_is_refused(host: &Host) {
    for id in ["a", "b"] {
        submit(host, id);
    }
    host.run("submit --queue q --no-check --id dead --uri no.csv")
        .ok();
    let said = host.run("replay a").refused(1);
    assert!(
        said.contains("a: is ready, so it has no rejects to replay: wait"),
        "{said}"
    );
    assert!(host.run("replay nobody").refused(1).contains("[request-unknown]"));
    host.run("replay").refused(2);
    assert!(
        host.run("replay a --queue q --since 2h")
            .refused(2)
            .contains("--since")
    );
    assert!(
        host.run("replay --queue q --since yesterday")
            .refused(2)
            .contains("expected a time")
    );
    bind(host, WRONG);
    work(host).refused(1);
    let said = host.run("replay dead").refused(1);
    assert!(
        said.contains("`ingest-host dead retry dead` tries it again"),
        "{said}"
    );

    // A plugin that keeps state needs the other records, too.
    let stateful = HandWrittenPlugin {
        stateful: true,
        ..HandWrittenPlugin::default()
    };
    host.write("stateful.wasm", stateful.component());
    bind(host, RIGHT);
    host.run("replay a").ok();
    host.run("run --queue q --burst --burst-wait 0s --allow-root . --plugin stateful.wasm")
        .refused(1);
    let dead = host.status("a.replay-1");
    assert_eq!(
        (&dead["state"], &dead["code"]),
        (&json!("dead"), &json!("replay-refused"))
    );
    assert!(
        dead["error"].as_str().unwrap().contains("keeps state"),
        "{}",
        dead["error"]
    );
    let said = host.run("replay a").refused(1);
    assert!(
        said.contains("`ingest-host dead retry a.replay-1` tries it again"),
        "{said}"
    );
    let said = host.run("dead retry a.replay-1 --delimiter ,").refused(1);
    assert!(said.contains("is a replay"), "{said}");

    // Rejects that are not those of the receipt are not processed.
    let path = path_of(&host.status("b")["receipt"]["rejects"]["uri"]);
    let whole = std::fs::read_to_string(&path).unwrap();
    bind(host, RIGHT);
    host.run("replay b").ok();
    for (changed, code) in [
        (Some(whole.replace("FR", "CH")), "output-damaged"),
        (
            Some(whole.replace("\"ragged-row\"", "ragged-row")),
            "output-damaged",
        ),
        (None, "output-missing"),
    ] {
        match changed {
            Some(changed) => std::fs::write(&path, changed).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        work(host).refused(1);
        assert_eq!(host.status("b.replay-1")["code"], code);
        host.run("dead retry b.replay-1").ok();
    }
    assert!(!outputs(host).contains_key("b.replay-1.csv"));
    std::fs::write(&path, whole).unwrap();
    // A worker with another output does not know the first request.
    host.run("run --queue q --burst --burst-wait 0s --allow-root . --output elsewhere")
        .refused(1);
    assert_eq!(host.status("b.replay-1")["code"], "output-missing");
    host.run("dead retry b.replay-1").ok();
    work(host).ok();
    assert_eq!(
        outputs(host)["b.replay-1.csv"],
        "id;price;country\n3;30;FR\n7;70;FR\n"
    );
}

/// Inputs in many forms, each with the options for reading it. Some of their records are rejected.
const FORMS: [(&str, &[u8], &str); 8] = [
    (
        "plain.csv",
        b"a,b\n1,2\n3\n\"x\n,y\",4\n5,6,7\n\"8\"z,9\n10,11",
        "",
    ),
    (
        "windows.csv",
        b"\xef\xbb\xbfa,b\r\n1,2\r\n3\r\n\xff,4\r\n5,6,7\r\n",
        "",
    ),
    ("tabs.tsv", b"a\tb\n1\t2\n3\n\\xff\n", ""),
    ("sep.csv", b"sep=|\na|b\n1|2\n3\n4|5|6\n", ""),
    ("detected.csv", b"a;b\n1;2\n3;4\n\xff;5\n6;7\n", "--dialect auto"),
    (
        "report.csv",
        b"Report\na,b\n# why\n1,2\n3\n\n'4,5',6,7\nTotal: 3,4\n",
        "--skip-lines 1 --skip-footer 1 --comment # --quote ' --escape \\",
    ),
    (
        "latin.csv",
        b"name;n\nZ\xfcrich;1\nM\xfcnchen\nBern;2;3\n",
        "--delimiter ; --encoding latin-1",
    ),
    (
        "cities.txt",
        b"city   n\nOslo 1\nBern  2 3\nGenf\n",
        "--input-format csv --dialect spaces",
    ),
];

/// The same for JSONL.
const LINES: &[u8] = b"{\"a\":1}\n{\"a\":}\n\n{\"a\":\"x\",\"b\":[\"\\\"\"]}\n\"no\"\n{\"a\":1,\"a\":2}\n";

#[test]
fn what_is_rejected_again_is_the_same_as_before_whatever_the_input_is() {
    let host = Host::embedded();
    let plugin = component("clean").display().to_string();
    let work = || {
        host.run(&format!(
            "run --queue q --burst --burst-wait 0s --allow-root . --plugin {plugin} --max-rejects 100%"
        ))
        .ok()
    };
    let jsonl: [(&str, &[u8], &str); 1] = [("lines.jsonl", LINES, "")];
    let inputs = || FORMS.iter().chain(&jsonl);
    for (name, bytes, options) in inputs() {
        host.write(name, bytes);
        host.run(&format!("submit --queue q --id {name} --uri {name} {options}"))
            .ok();
    }
    work();
    for (name, ..) in inputs() {
        let receipt = host.status(name)["receipt"].clone();
        assert!(
            records(&receipt, "rejected") >= 1,
            "{name}: {}",
            receipt["records"]
        );
        // The first code is selected, and the rest goes on unchanged.
        let by_code = receipt["rejects"]["by_code"].as_object().unwrap();
        let code = by_code.keys().next().unwrap();
        host.run(&format!("replay {name} --code {code}")).ok();
    }
    work();
    for (name, ..) in inputs() {
        host.run(&format!("replay {name}")).ok();
    }
    work();
    for (name, ..) in inputs() {
        let chain: Vec<_> = [
            name.to_string(),
            format!("{name}.replay-1"),
            format!("{name}.replay-2"),
        ]
        .iter()
        .map(|id| host.status(id)["receipt"].clone())
        .collect();
        assert_sums_hold(&chain.iter().collect::<Vec<_>>());
        for receipt in &chain[1..] {
            assert_eq!(rejects(receipt), rejects(&chain[0]), "{name}");
            assert_eq!(receipt["rejects"], {
                let mut same = chain[0]["rejects"].clone();
                same["uri"] = receipt["rejects"]["uri"].clone();
                same
            });
            assert_eq!(records(receipt, "written"), 0, "{name}");
        }
    }
}
