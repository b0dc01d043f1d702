//! Tests the options for reading an input. A request, a binding, a worker and `ingest` can set them. A request's option
//! takes precedence over a binding's option, and a binding's option over a worker's option.

use serde_json::Value;

use crate::support::host::{Host, component, path_of};

on_both_queues! {
    the_request_counts_before_the_binding_and_that_before_the_worker
    the_first_side_leaves_no_room_for_what_contradicts_it
    a_dead_letter_is_read_in_another_way
}

/// A typical report that contains irregular lines.
const REPORT: &[u8] = b"\xef\xbb\xbfReport, \"2024\n\
    # made by hand\n\
    id, name, name\n\
    1, \"Ada, \\\"the first\\\"\" ,x\n\
    ,,\n\
    2, Bob\n\
    3,Caf\\, Z\xc3\xbcrich,y,,\n\
    Total: 3\n";

const OPTIONS: &str = "--skip-lines 1 --comment # --trim --escape \\ --short-rows fill --long-rows trailing-empty \
    --blank-rows drop --duplicate-columns number --skip-footer 1 --encoding utf_8_sig";

const PLAIN: &str = "id,name,name_2\n1,\"Ada, \"\"the first\"\"\",x\n2,Bob,\n3,\"Caf, Z\u{fc}rich\",y\n";

fn clean() -> String {
    component("clean").display().to_string()
}

fn output(receipt: &serde_json::Value) -> String {
    std::fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap()
}

#[test]
fn ingest_reads_a_report_by_its_options() {
    let host = Host::embedded();
    host.write("report.csv", REPORT);
    let plugin = clean();
    let ingest = |options: &str| host.run(&format!("ingest report.csv --plugin {plugin} --json {options}"));
    let receipt = ingest(OPTIONS).json().remove(0);
    assert_eq!(output(&receipt), PLAIN);
    let options = serde_json::json!({
        "escape": "\\", "comment": "#", "trim": true, "skip_lines": 1, "skip_footer": 1, "short_rows": "fill",
        "long_rows": "trailing-empty", "blank_rows": "drop", "duplicate_columns": "number", "encoding": "utf-8",
    });
    assert_eq!(receipt["input"]["options"], options);
    assert_eq!(receipt["input"]["bytes"], REPORT.len());
    // The same input with the same options is the same request. Another option makes it another request.
    let again = ingest(OPTIONS).json().remove(0);
    assert_eq!(again["request"]["id"], receipt["request"]["id"]);
    let other = ingest(&OPTIONS.replace("--skip-footer 1", "--skip-footer 2"))
        .json()
        .remove(0);
    assert_ne!(other["request"]["id"], receipt["request"]["id"]);
    assert_eq!(other["records"]["read"], 2);
    // The output can be read without these options.
    host.write("again.csv", PLAIN);
    let plain = host
        .run(&format!("ingest again.csv --plugin {plugin} --json"))
        .json()
        .remove(0);
    assert_eq!(output(&plain), PLAIN);
    assert_eq!(plain["input"]["options"], serde_json::json!({}));
}

#[test]
fn quotes_are_text_if_they_are_said_to_be() {
    let host = Host::embedded();
    host.write("pipes.csv", "size|what\n5\"|pipe\n\"6|\"\"|x\n\"|\\|\n");
    let (plugin, quotes) = (clean(), "--delimiter | --quote none --escape \\");
    let said = host.run(&format!(
        "ingest pipes.csv --plugin {plugin} --json --long-rows trailing-empty {quotes}"
    ));
    let receipt = said.json().remove(0);
    assert_eq!(output(&receipt), "size|what\n\"5\"\"\"|pipe\n\"\"\"\"|\"|\"\n");
    let rejects = std::fs::read_to_string(path_of(&receipt["rejects"]["uri"])).unwrap();
    assert!(
        rejects.ends_with("2,3,18,\"ragged-row\",\"expected 2 fields, found 3\",\"\"\"6|\"\"\"\"|x\"\n"),
        "{rejects}"
    );
}

#[test]
fn fields_apart_by_spaces_have_comments_and_escapes() {
    let host = Host::embedded();
    let text = "city pop\n# \"estimates\nOslo 7\n\"New York\" 8\nSan\\ Jose 3\n";
    host.write("cities.txt", text);
    let options = "--input-format csv --dialect spaces --comment # --escape \\";
    let plugin = clean();
    let said = host.run(&format!("ingest cities.txt --plugin {plugin} --json {options}"));
    let receipt = said.json().remove(0);
    assert_eq!(
        output(&receipt),
        "city\tpop\nOslo\t7\n\"New York\"\t8\nSan Jose\t3\n"
    );
}

fn the_request_counts_before_the_binding_and_that_before_the_worker(host: &Host) {
    host.run(&format!("plugin push {}", clean())).ok();
    let table = "id; name\n\n1; a\n;\n2\n";
    for name in ["worker", "binding", "request", "detected"] {
        host.write(&format!("{name}.csv"), table);
    }
    let work = |options: &str| {
        host.run(&format!("run --queue q --burst --allow-root . {options}"))
            .ok()
    };
    let submit = |name: &str, options: &str| {
        host.run(&format!(
            "submit --queue q --id {name} --uri {name}.csv {options}"
        ))
        .ok();
    };
    let receipt = |id: &str| host.status(id)["receipt"].clone();

    // If neither the request nor the binding sets options, the worker's options apply.
    host.run("plugin bind --queue q clean@0.1.0").ok();
    submit("worker", "");
    work("--delimiter ; --short-rows fill --trim");
    assert_eq!(output(&receipt("worker")), "id;name\n1;a\n;\n2;\n");
    // An option of the binding takes precedence over the same option of the worker.
    host.run("plugin bind --queue q clean@0.1.0 --delimiter ; --short-rows reject --blank-rows drop")
        .ok();
    let history = host.run("plugin history --queue q").ok();
    for option in ["delimiter=;", "short_rows=reject", "blank_rows=drop"] {
        assert!(
            history.split_whitespace().any(|word| word == option),
            "{option}: {history}"
        );
    }
    submit("binding", "");
    work("--delimiter , --short-rows fill --trim");
    let binding = receipt("binding");
    assert_eq!(output(&binding), "id;name\n1;a\n");
    assert_eq!(binding["rejects"]["by_code"]["ragged-row"], 1);
    let options =
        serde_json::json!({ "delimiter": ";", "trim": true, "short_rows": "reject", "blank_rows": "drop" });
    assert_eq!(binding["input"]["options"], options);
    // An option of the request takes precedence over the same option of the binding and the worker. It can also turn
    // the option off.
    submit(
        "request",
        "--short-rows fill --trim=false --blank-rows keep --no-header=false",
    );
    work("--delimiter , --short-rows reject --trim --no-header");
    assert_eq!(output(&receipt("request")), "id; name\n1; a\n;\n2;\n");
    // A document of a producer can set the same options.
    let uri = host.path("detected.csv").display().to_string();
    host.push(&format!(
        r#"{{"id":"document","uri":"{uri}","short_rows":"fill","comment":"none","skip_lines":2}}"#
    ));
    work("--comment 1 --trim --skip-lines 0");
    assert_eq!(output(&receipt("document")), "1;a\n2;\n");
    // With `--dialect auto`, a delimiter that is set nowhere is detected from the file.
    host.run("plugin bind --queue q clean@0.1.0").ok();
    host.write("told.csv", "id; name\n1; a\n;\n2;\n");
    host.run("submit --queue q --id told --uri told.csv").ok();
    work("--dialect auto --short-rows fill --trim --blank-rows drop");
    assert_eq!(output(&receipt("told")), "id;name\n1;a\n2;\n");
}

#[test]
fn options_that_contradict_each_other_are_refused_where_they_are_said() {
    let host = Host::embedded();
    host.write("a.csv", "a,b\n1,2\n");
    let plugin = clean();
    host.run(&format!("plugin push {plugin}")).ok();
    for (options, message) in [
        ("--comment ,", "delimiter and comment are the same character"),
        (
            "--escape \"",
            "quote and escape are the same character: leave escape out",
        ),
        (
            "--trim --delimiter_space",
            "delimiter is a space, which trim would take off",
        ),
        (
            "--dialect spaces --escape tab",
            "escape is a tab, which stands between fields in the dialect",
        ),
        (
            "--quote none --delimiter \"",
            "delimiter \\\" cannot be read with quote none",
        ),
    ] {
        let commands = [
            format!("ingest a.csv --plugin {plugin}"),
            "submit --queue q --uri a.csv".to_owned(),
            format!("run --queue q --burst --plugin {plugin}"),
            "plugin bind --queue q clean@0.1.0".to_owned(),
        ];
        for command in commands {
            let (options, more) = match options.strip_suffix(" --delimiter_space") {
                Some(options) => (options, &["--delimiter", " "][..]),
                None => (options, &[][..]),
            };
            let said = host.run_with(&format!("{command} {options}"), more).refused(2);
            assert!(
                said.contains(&message.replace("\\\"", "\"")),
                "{command} {options}: {said}"
            );
        }
    }
    for (options, message) in [
        (
            "--encoding utf-32",
            "make UTF-8 of the file first, with `iconv -f UTF-32 -t UTF-8 FILE`",
        ),
        ("--encoding cp850", "is not known"),
        (
            "--quote ab",
            "expected one character, tab, or a byte such as 0x01, or none",
        ),
        ("--skip-footer 1001", "expected a whole number from 0 to 1000"),
        ("--short-rows pad", "[possible values: reject, fill]"),
    ] {
        let said = host
            .run(&format!("submit --queue q --uri a.csv {options}"))
            .refused(2);
        assert!(said.contains(message), "{options}: {said}");
    }
}

/// Checks that an option with lower precedence is ignored if it contradicts an option with higher precedence. Two
/// options contradict each other if both set the separator of fields, or if they give one character two meanings.
fn the_first_side_leaves_no_room_for_what_contradicts_it(host: &Host) {
    host.run(&format!("plugin push {}", clean())).ok();
    // The options with the highest precedence are enough to read each file.
    host.write("spaces.csv", "id  name\n1   a;b\n");
    host.write("semicolons.csv", "id;na me\n1;a b\n");
    host.write("commas.csv", "id,name\n1,a\n");
    let told = "id;name\n1;a\n2;b\n3;c\n";
    host.write("told.csv", told);
    let cases = [
        (
            "spaces.csv",
            "--dialect spaces",
            "--delimiter ;",
            "id\tname\n1\ta;b\n",
        ),
        (
            "semicolons.csv",
            "--delimiter ;",
            "--dialect spaces",
            "id;na me\n1;a b\n",
        ),
        ("told.csv", "--dialect auto", "--delimiter ,", told),
        (
            "semicolons.csv",
            "--delimiter ;",
            "--comment ; --escape \\",
            "id;na me\n1;a b\n",
        ),
        ("commas.csv", "--comment ;", "--delimiter ;", "id,name\n1,a\n"),
        (
            "semicolons.csv",
            "--delimiter ; --quote '",
            "--escape '",
            "id;na me\n1;a b\n",
        ),
    ];
    for (index, (file, first, second, expected)) in cases.into_iter().enumerate() {
        for (place, request, binding, worker) in [
            ("request-binding", first, second, ""),
            ("request-worker", first, "", second),
            ("binding-worker", "", first, second),
        ] {
            let id = format!("{place}-{index}");
            host.run(&format!("plugin bind --queue q clean@0.1.0 {binding}"))
                .ok();
            host.run(&format!("submit --queue q --id {id} --uri {file} {request}"))
                .ok();
            host.run(&format!("run --queue q --burst --allow-root . {worker}"))
                .ok();
            let status = host.status(&id);
            assert_eq!(status["state"], "done", "{id} {first} {second}: {status}");
            assert_eq!(output(&status["receipt"]), expected, "{id} {first} {second}");
        }
    }
}

#[test]
fn the_limit_of_columns_is_a_setting() {
    let host = Host::embedded();
    let header = Vec::from_iter((0..5_000).map(|column| format!("c{column}"))).join(",");
    host.write("wide.csv", format!("{header}\n{}\n", ",".repeat(4_999)));
    let plugin = clean();
    let said = host.run(&format!("ingest wide.csv --plugin {plugin}")).refused(1);
    assert!(
        said.contains("has 5000 columns, more than the 4096 allowed; --limit columns=5000 allows them"),
        "{said}"
    );
    let receipt = host
        .run(&format!(
            "ingest wide.csv --plugin {plugin} --json --limit columns=5000"
        ))
        .json()
        .remove(0);
    assert_eq!(receipt["input"]["columns"].as_array().unwrap().len(), 5_000);
}

/// Checks that a worker does not use a binding with options that it does not know, because a newer version has written
/// them. Requests with such a binding wait for a newer worker.
#[test]
fn a_binding_of_a_newer_version_is_left_to_another_worker() {
    let host = Host::embedded();
    host.write("a.csv", "a;b\n1;2\n");
    host.run(&format!("plugin push {}", clean())).ok();
    host.run("plugin bind --queue q clean@0.1.0 --delimiter ;").ok();
    host.run("submit --queue q --id left --uri a.csv").ok();
    let store = |change: &dyn Fn(&mut serde_json::Value)| {
        let db = rusqlite::Connection::open(host.path("queue.db")).unwrap();
        let document: String = db
            .query_row("SELECT document FROM binding", [], |row| row.get(0))
            .unwrap();
        let mut document = serde_json::from_str(&document).unwrap();
        change(&mut document);
        db.execute("UPDATE binding SET document = ?1", [document.to_string()])
            .unwrap();
    };
    type Change = fn(&mut serde_json::Value, serde_json::Value);
    let changes: [(&str, Change); 3] = [
        ("skip_rowz", |binding, value| {
            binding["input"]["skip_rowz"] = value;
        }),
        ("sampling", |binding, value| binding["sampling"] = value),
        ("pages", |binding, value| {
            binding["limits"] = serde_json::json!({ "pages": value });
        }),
    ];
    for (name, change) in changes {
        store(&|binding| change(binding, "2".into()));
        let work = host.run("run --queue q --burst --burst-wait 0s --allow-root .");
        assert_eq!(work.code, Some(1), "{}", work.stderr);
        let status = host.status("left");
        assert_eq!(status["state"], "delayed", "{status}");
        let error = status["error"].as_str().unwrap();
        assert_eq!(status["code"], "host-outdated", "{status}");
        assert!(error.contains(name), "{error}");
        store(&|binding| {
            binding["input"].as_object_mut().unwrap().remove("skip_rowz");
            binding.as_object_mut().unwrap().remove("sampling");
            binding.as_object_mut().unwrap().remove("limits");
        });
        host.make_due("left");
    }
    host.run("run --queue q --burst --allow-root .").ok();
    assert_eq!(output(&host.status("left")["receipt"]), "a;b\n1;2\n");
}

fn a_dead_letter_is_read_in_another_way(host: &Host) {
    host.write("cities.csv", b"name;country\nM\xfcnchen;DE\nBern;CH\n");
    host.write("empty.csv", "");
    host.run("submit --queue q --id a --uri cities.csv --delimiter , --trim")
        .ok();
    host.run("submit --queue q --id other --uri empty.csv").ok();
    let plugin = clean();
    let work = || {
        host.run(&format!(
            "run --queue q --burst --allow-root . --plugin {plugin} --max-rejects 0"
        ))
    };
    work().refused(1);
    let dead = host.status("a");
    assert_eq!(
        (&dead["state"], &dead["submitted_input"]),
        (&"dead".into(), &Value::Null)
    );

    // What contradicts itself changes nothing, and a request keeps the options that are not named.
    let said = host.run("dead retry a --dialect spaces --delimiter x").refused(2);
    assert!(
        said.contains("give one of the two") && said.contains("[options-invalid]"),
        "{said}"
    );
    let said = host.run("dead retry --all --queue q --delimiter ;").refused(2);
    assert!(said.contains("give one ID"), "{said}");
    assert_eq!(host.status("a"), dead);
    let retried = host.run("dead retry a --delimiter ; --encoding latin-1");
    assert!(
        retried.stderr.contains("a: the delimiter was \",\" and is \";\"")
            && retried.stderr.contains("a: the encoding was not given and is "),
        "{}",
        retried.stderr
    );
    assert_eq!(retried.ok(), "a  ready\n");
    let ready = host.status("a");
    assert_eq!(
        ready["submitted_input"],
        serde_json::json!({"delimiter": ",", "trim": true})
    );
    assert_eq!(ready["input"]["delimiter"], ";");
    let shown = host.run("status a").ok();
    assert!(
        shown.contains("changed  the delimiter was \",\" and is \";\"; the encoding was"),
        "{shown}"
    );
    // The producer's submit still finds its request.
    let said = host
        .run("submit --queue q --id a --uri cities.csv --delimiter , --trim")
        .ok();
    assert!(said.contains("was there before (ready)"), "{said}");
    let said = host
        .run("submit --queue q --id a --uri cities.csv --delimiter |")
        .refused(1);
    assert!(said.contains("the delimiter was \",\" and is \"|\""), "{said}");

    work().ok();
    let receipt = &host.status("a")["receipt"];
    assert_eq!(output(receipt), "name;country\nM\u{fc}nchen;DE\nBern;CH\n");
    assert_eq!(receipt["inputs"][0]["options"]["trim"], true);
    assert_eq!(receipt["inputs"][0]["options"]["delimiter"], ";");
    assert_eq!(
        receipt["request"]["submitted_input"],
        serde_json::json!({"delimiter": ",", "trim": true})
    );
    assert_eq!(host.status("other")["receipt"], Value::Null);
    let said = host.run("dead retry a --delimiter ;").refused(1);
    assert!(said.contains("is done, not dead"), "{said}");
}
