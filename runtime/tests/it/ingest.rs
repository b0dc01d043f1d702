//! Tests `ingest-host ingest`. A plugin processes one file, every record is accounted for, and the receipt can be
//! checked.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::host::{Host, component, path_of, sha256sum};
use crate::support::http::Files;

const ALARMS: &str = "\
id,station_id,alarm_id,parameter_id,start_time,end_time,value,threshold
1,1161114059,309,121,2017-10-23 12:00:25,2017-10-23 12:00:26,199,200
2,1161115015,323,1,2017-10-23 12:17:18,2017-10-23 12:17:36,999999,999999
x,1161115015,323,1,2017-10-23 12:17:18,2017-10-23 12:17:36,1,2
4,1161115015,323,1,2017-10-23 12:17:18,2017-10-23 12:17:00,1,2
5,1161115015,323
6,1161114059,310,122,2017-10-23 12:12:26,2017-10-23 12:12:31,31.5,30
";

fn ingest(host: &Host, input: &str, plugin: &str, more: &[&str]) -> Value {
    let plugin = component(plugin);
    let mut args = vec![input, "--plugin", plugin.to_str().unwrap()];
    args.extend(more);
    host.run_with("ingest --json", &args).json().remove(0)
}

#[test]
fn every_record_is_accounted_for_and_the_digests_hold() {
    let host = Host::embedded();
    let input = host.write("alarms.csv", ALARMS);
    let receipt = ingest(&host, "alarms.csv", "alarms", &["--output", "o"]);

    let records = &receipt["records"];
    let count = |name: &str| records[name].as_u64().unwrap();
    assert_eq!(count("read"), 6);
    assert_eq!(
        count("read"),
        ["kept", "edited", "replaced", "dropped", "rejected"]
            .iter()
            .map(|name| count(name))
            .sum::<u64>()
    );
    assert_eq!((count("rejected"), count("written")), (3, 3));

    let output = &receipt["outputs"][0];
    let path = path_of(&output["uri"]);
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "id,station_id,alarm_id,parameter_id,start_time,end_time,value,threshold,duration_s\n\
         1,1161114059,309,121,2017-10-23T12:00:25,2017-10-23T12:00:26,199,200,1\n\
         2,1161115015,323,1,2017-10-23T12:17:18,2017-10-23T12:17:36,,,18\n\
         6,1161114059,310,122,2017-10-23T12:12:26,2017-10-23T12:12:31,31.5,30,5\n"
    );
    assert_eq!(output["sha256"], sha256sum(&path));
    assert_eq!(output["bytes"], std::fs::metadata(&path).unwrap().len());
    assert_eq!(receipt["input"]["sha256"], sha256sum(&input));
    assert_eq!(receipt["input"]["bytes"], ALARMS.len());
    assert_eq!(receipt["plugin"]["sha256"], sha256sum(&component("alarms")));
    assert_eq!(receipt["plugin"]["name"], "alarms");

    let rejects = path_of(&receipt["rejects"]["uri"]);
    assert_eq!(receipt["rejects"]["sha256"], sha256sum(&rejects));
    assert!(path_of(&Value::from(format!("file://{}", host.path("o").display()))).is_dir());
}

#[test]
fn rejects_keep_their_place_their_reason_and_the_raw_record() {
    let host = Host::embedded();
    host.write("alarms.csv", ALARMS);
    let receipt = ingest(&host, "alarms.csv", "alarms", &[]);
    let mut reader = csv::Reader::from_path(path_of(&receipt["rejects"]["uri"])).unwrap();
    assert_eq!(
        reader.headers().unwrap(),
        vec!["record", "line", "offset", "code", "reason", "raw"]
    );
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let column = |index: usize| rows.iter().map(|row| &row[index]).collect::<Vec<_>>();
    assert_eq!(column(0), ["3", "4", "5"]);
    assert_eq!(column(1), ["4", "5", "6"]);
    assert_eq!(column(3), ["bad-id", "ends-before-start", "ragged-row"]);
    assert!(
        column(4)[2].contains("expected 8 fields, found 3"),
        "{}",
        column(4)[2]
    );
    assert_eq!(column(5)[2], "5,1161115015,323");
    for row in &rows {
        let offset: usize = row[2].parse().unwrap();
        assert!(
            ALARMS[offset..].starts_with(&row[5]),
            "record {} is not at its offset",
            &row[0]
        );
    }
    let by_code: BTreeMap<String, u64> =
        serde_json::from_value(receipt["rejects"]["by_code"].clone()).unwrap();
    assert_eq!(by_code.values().sum::<u64>(), 3);
}

#[test]
fn the_same_work_gives_the_same_bytes_and_is_recognised() {
    let host = Host::embedded();
    host.write("alarms.csv", ALARMS);
    let first = ingest(&host, "alarms.csv", "alarms", &[]);
    let again = ingest(&host, "alarms.csv", "alarms", &[]);
    assert_eq!(first, again, "the second run finds the first one's receipt");
    let elsewhere = ingest(&host, "alarms.csv", "alarms", &["--output", "elsewhere"]);
    assert_eq!(first["outputs"][0]["sha256"], elsewhere["outputs"][0]["sha256"]);
    assert_eq!(first["rejects"]["sha256"], elsewhere["rejects"]["sha256"]);
}

#[test]
fn work_whose_output_is_damaged_or_gone_was_not_done_before() {
    let host = Host::embedded();
    host.write("alarms.csv", ALARMS);
    let receipt = ingest(&host, "alarms.csv", "alarms", &[]);
    let (output, rejects) = (&receipt["outputs"][0]["uri"], &receipt["rejects"]["uri"]);
    let plugin = component("alarms");
    let again = || host.run_with("ingest alarms.csv --plugin", &[plugin.to_str().unwrap()]);
    for uri in [output, rejects] {
        let path = path_of(uri);
        let bytes = std::fs::read(&path).unwrap();
        let mut flipped = bytes.clone();
        flipped[3] ^= 1;
        for (damage, what) in [
            (
                Some(flipped),
                "has other bytes than the receipt says: restore it, or remove both",
            ),
            (Some(bytes[1..].to_vec()), "has other bytes than the receipt says"),
            (
                None,
                "is not there any more: restore it, or remove this receipt to have it",
            ),
        ] {
            match damage {
                Some(damaged) => std::fs::write(&path, damaged).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let error = again().refused(1);
            assert!(
                error.contains(what) && error.contains(uri.as_str().unwrap()),
                "{error}"
            );
            assert!(!error.contains("done before:"), "{error}");
        }
        std::fs::write(&path, &bytes).unwrap();
    }
    let said = again();
    assert!(said.stderr.contains("done before"), "{}", said.stderr);
    // The error suggests removing the receipt, so that the work is done again.
    for uri in [output, rejects] {
        std::fs::remove_file(path_of(uri)).unwrap();
    }
    let receipts = host.path("out/_ingest/receipts");
    std::fs::remove_dir_all(receipts).unwrap();
    let anew = ingest(&host, "alarms.csv", "alarms", &[]);
    assert_eq!(anew["outputs"][0]["sha256"], receipt["outputs"][0]["sha256"]);
    assert!(path_of(output).exists());
}

#[test]
fn an_id_that_stands_for_other_work_is_refused_and_nothing_is_overwritten() {
    let host = Host::embedded();
    host.write("a.csv", "a\n1\n");
    let receipt = ingest(&host, "a.csv", "clean", &["--id", "x"]);
    host.write("a.csv", "a\n2\n");
    let plugin = component("clean");
    let said = host
        .run_with("ingest a.csv --id x --plugin", &[plugin.to_str().unwrap()])
        .refused(1);
    assert!(said.contains("x"), "{said}");
    assert_eq!(
        std::fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap(),
        "a\n1\n"
    );
}

#[test]
fn clean_without_a_config_copies_every_byte() {
    let host = Host::embedded();
    let text = "a,\"b \"\"quoted\"\"\",c\r\n1,\"x\ny\",3\r\n,,\r\n";
    host.write("in.csv", text);
    let receipt = ingest(&host, "in.csv", "clean", &[]);
    assert_eq!(receipt["records"]["kept"], 2);
    let output = std::fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap();
    assert_eq!(output.lines().count(), text.lines().count());
    assert!(output.contains("\"x\ny\""));
}

#[test]
fn config_formats_and_compression_go_together() {
    let host = Host::embedded();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(
        &mut gzip,
        b"{\"n\":\" 7 \",\"x\":1}\n{\"n\":\"seven\"}\nnot json\n",
    )
    .unwrap();
    host.write("in.jsonl.gz", gzip.finish().unwrap());
    host.write(
        "config.json",
        r#"{"columns": {"n": {"trim": true, "type": "integer"}}}"#,
    );
    let receipt = ingest(
        &host,
        "in.jsonl.gz",
        "clean",
        &["--plugin-config", "@config.json"],
    );
    assert_eq!(receipt["input"]["format"], "jsonl");
    assert_eq!(receipt["records"]["read"], 3);
    let by_code = &receipt["rejects"]["by_code"];
    assert_eq!(
        (&by_code["not-integer"], &by_code["not-json"]),
        (&1.into(), &1.into())
    );
    let output = std::fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap();
    assert_eq!(output, "{\"n\":7,\"x\":1}\n");

    let receipt = ingest(
        &host,
        "in.jsonl.gz",
        "clean",
        &["--plugin-config", "@config.json", "--format", "csv"],
    );
    let output = std::fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap();
    assert_eq!(output, "n,x\n7,1\n");
}

/// Checks configs in the encodings that editors on Windows use.
#[test]
fn a_config_with_a_byte_order_mark_is_read_and_one_in_utf_16_is_named() {
    let host = Host::embedded();
    host.write("in.csv", "n\n 7 \n");
    let config = "\u{feff}{\"columns\": {\"n\": {\"trim\": true}}}";
    host.write("config.json", config);
    let receipt = ingest(&host, "in.csv", "clean", &["--plugin-config", "@config.json"]);
    let output = std::fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap();
    assert_eq!(output, "n\n7\n");

    host.write(
        "marked.json",
        "\u{feff}{\"http://localhost:1\": {\"x-key\": \"k\"}}",
    );
    ingest(&host, "in.csv", "clean", &["--credentials", "marked.json"]);

    let plugin = component("clean").display().to_string();
    for (name, bytes) in [
        (
            "le.json",
            config
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<_>>(),
        ),
        (
            "be.json",
            config.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        ),
    ] {
        host.write(name, bytes);
        let command = format!("ingest in.csv --plugin {plugin} --output refused");
        for option in [
            format!("--plugin-config=@{name}"),
            format!("--credentials={name}"),
        ] {
            let said = host.run_with(&command, &[&option]).refused(2);
            assert!(
                said.contains(name) && said.contains("is UTF-16: save it as UTF-8"),
                "{said}"
            );
        }
    }
}

#[test]
fn a_config_that_cannot_be_meant_is_refused_before_there_is_an_input() {
    let host = Host::embedded();
    let plugin = component("clean").display().to_string();
    host.run(&format!("plugin push {plugin}")).ok();
    let inspected = host
        .run(&format!("plugin inspect --json {plugin}"))
        .json()
        .remove(0);
    let version = inspected["version"].as_str().unwrap();
    for (columns, why) in [
        (
            r#"{"v": {"trim": true}, "v": {"drop": true}}"#,
            "the member \"v\" is there twice",
        ),
        (
            r#"{"v": {"rename": "x"}, "w": {"rename": "x"}}"#,
            "both are \"x\" in the output",
        ),
        (
            r#"{"v": {"type": "timestamp", "formats": ["YYYY-MM-DD"]}}"#,
            "has no directives",
        ),
        (
            r#"{"v": {"type": "timestamp", "formats": ["%!"]}}"#,
            "has %!, which is no directive",
        ),
        (
            r#"{"v": {"type": "timestamp", "formats": ["%Y-%m-%d %"]}}"#,
            "ends with a %",
        ),
        (
            r#"{"v": {"type": "timestamp", "formats": ["%F %T %Z"]}}"#,
            "has %Z, the name of a zone",
        ),
        (
            r#"{"v": {"type": "integer", "range": {"min": 9007199254740993, "max": 9007199254740992}}}"#,
            "\"range\" needs",
        ),
        (r#"{"v": {"allowed": []}}"#, "lists no value"),
    ] {
        let config = format!(r#"{{"columns": {columns}}}"#);
        let ingested = host.run_with(
            &format!("ingest no-such.csv --plugin {plugin} --plugin-config"),
            &[&config],
        );
        let bound = host.run_with(
            &format!("plugin bind --queue q clean@{version} --config"),
            &[&config],
        );
        for said in [ingested, bound] {
            assert!(matches!(said.code, Some(1 | 2)), "{config}: {:?}", said.code);
            assert!(said.stderr.contains(why), "{config}: {}", said.stderr);
        }
    }
}

/// Checks that a number in a config keeps all its digits, even if a float would round it.
#[test]
fn a_config_keeps_its_digits_on_the_way_to_the_plugin() {
    let host = Host::embedded();
    host.write(
        "in.csv",
        "n\n12345678901234567890.5\n12345678901234567890.50001\n+0012345678901234567.89\n",
    );
    let config = r#"{"columns": {"n": {"type": "number", "range": {"max": 12345678901234567890.5}}}}"#;
    let receipt = ingest(&host, "in.csv", "clean", &["--plugin-config", config]);
    assert_eq!(receipt["rejects"]["by_code"]["out-of-range"], 1);
    let output = std::fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap();
    assert_eq!(output, "n\n12345678901234567890.5\n12345678901234567.89\n");
}

#[test]
fn an_empty_jsonl_gives_an_empty_output() {
    let host = Host::embedded();
    host.write("quiet-hour.jsonl", "\n");
    let receipt = ingest(&host, "quiet-hour.jsonl", "clean", &[]);
    assert_eq!(
        (&receipt["records"]["read"], &receipt["outputs"][0]["bytes"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn a_file_over_http_is_streamed() {
    let host = Host::embedded();
    let files = Files::serve();
    let mut csv = Vec::new();
    let summary = alarm_feed::write_alarms(&mut csv, 7, 20_000, 5).unwrap();
    let url = files.put("alarms.csv", csv);
    let receipt = ingest(&host, &url, "alarms", &[]);
    assert_eq!(receipt["records"]["read"], summary.records);
    assert_eq!(receipt["records"]["rejected"], summary.bad());
    assert_eq!(receipt["input"]["uri"], url);
}

#[test]
fn an_input_that_ends_within_quotes_is_an_error_and_leaves_nothing() {
    let host = Host::embedded();
    host.write("in.csv", "a,b\n1,2\n3,\"four\n5,6\n");
    let plugin = component("clean");
    let said = host
        .run_with("ingest in.csv --plugin", &[plugin.to_str().unwrap()])
        .refused(1);
    assert!(said.contains("in.csv: record 2 (line 3)"), "{said}");
    let left: Vec<_> = walk(&host.path("out"));
    assert_eq!(
        left,
        [] as [std::path::PathBuf; 0],
        "nothing is published, nothing is left in staging"
    );
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            files.extend(walk(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

/// Checks the export of a spreadsheet with semicolons, decimal commas and an encoding other than UTF-8. A worker and
/// `ingest` both write UTF-8 in the same dialect.
#[test]
fn another_encoding_and_dialect_are_read_as_declared() {
    let host = Host::embedded();
    let text = "name;price\ncafé;1,5\n";
    let latin1: Vec<u8> = text.chars().map(|c| c as u8).collect();
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    host.write("latin1.csv", &latin1);
    host.write("utf16.csv", &utf16);
    let mut outputs = Vec::new();
    for (file, encoding) in [("latin1.csv", "latin-1"), ("utf16.csv", "utf-16be")] {
        let receipt = ingest(
            &host,
            file,
            "clean",
            &["--encoding", encoding, "--dialect", "auto"],
        );
        assert_eq!(receipt["input"]["columns"], serde_json::json!(["name", "price"]));
        assert_eq!(
            receipt["input"]["sha256"],
            sha256sum(&host.path(file)),
            "as it was fetched"
        );
        outputs.push(path_of(&receipt["outputs"][0]["uri"]));
    }
    let path = host.path("latin1.csv");
    host.push(&format!(
        r#"{{"id":"one","uri":"{}","encoding":"latin1","dialect":"auto"}}"#,
        path.display()
    ));
    let clean = component("clean").display().to_string();
    host.run(&format!("run --queue q --burst --allow-root . --plugin {clean}"))
        .ok();
    outputs.push(path_of(&host.status("one")["receipt"]["outputs"][0]["uri"]));
    for output in outputs {
        assert_eq!(std::fs::read_to_string(output).unwrap(), text);
    }
    // If no encoding is given, the host recognizes UTF-16 by the byte order mark, and the error names the option.
    let marked: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain(text.encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    host.write("marked.csv", marked);
    let clean = component("clean").display().to_string();
    let said = host
        .run(&format!("ingest marked.csv --dialect auto --plugin {clean}"))
        .refused(1);
    assert!(
        said.contains("is UTF-16: say so, with --encoding utf-16"),
        "{said}"
    );
    // If no encoding is given, a record that is not UTF-8 becomes a reject and is not lost.
    let receipt = ingest(&host, "latin1.csv", "clean", &["--delimiter", ";"]);
    assert_eq!(receipt["rejects"]["by_code"]["not-utf8"], 1);
}

/// Checks that the error names the difference and does not quote digests.
#[test]
fn a_used_id_says_in_words_what_differs() {
    let host = Host::embedded();
    let uri = |name: &str| format!("file://{}", host.path(name).canonicalize().unwrap().display());
    host.write("a.csv", "a,b\n1,2\n");
    host.write("b.csv", "a,b\n3,4\n");
    let [hostile, clean] = ["hostile", "clean"].map(|name| component(name).display().to_string());
    let ingest = |words: &str| host.run(&format!("ingest --id one {words}"));
    let said = ingest(&format!("a.csv --plugin {hostile}")).ok();
    let receipt = format!("receipt  {}", uri("out/_ingest/receipts/one.json"));
    assert!(said.lines().any(|line| line == receipt), "{said}");
    ingest(&format!("a.csv --plugin {hostile}")).ok();
    for (words, differences) in [
        (
            format!("b.csv --plugin {hostile}"),
            format!("the input was {} and is {}", uri("a.csv"), uri("b.csv")),
        ),
        (
            format!("a.csv --plugin {clean}"),
            "the plugin was hostile@0.1.0 and is clean@0.1.0".into(),
        ),
        (
            format!("a.csv --plugin {hostile} --plugin-config {{\"mode\":\"edit\"}}"),
            "the config of the plugin is another".into(),
        ),
        (
            format!("a.csv --plugin {hostile} --no-header"),
            "the header was not given and is false".into(),
        ),
        (
            format!("a.csv --plugin {hostile} --format jsonl"),
            "the output's format was csv and is jsonl".into(),
        ),
        (
            format!("b.csv --plugin {clean} --quote '"),
            format!(
                "the input was {} and is {}; the plugin was hostile@0.1.0 and is clean@0.1.0; the quote was not given and is \"'\"",
                uri("a.csv"),
                uri("b.csv")
            ),
        ),
    ] {
        let said = ingest(&words).refused(1);
        let why = format!(
            "one.json: is a receipt for other work: {differences}: choose another --id, or another --output [output-conflict]\n"
        );
        assert!(
            said.starts_with("error: commit /") && said.ends_with(&why),
            "{words}: {said}"
        );
    }
    host.write("a.csv", "a,b\n5,6\n");
    let said = ingest(&format!("a.csv --plugin {hostile}")).refused(1);
    let why = format!("the input {} has other bytes than it had", uri("a.csv"));
    assert!(said.contains(&why), "{said}");
}

/// Checks that the log shows the text that a plugin prints, including a last line without a line end.
#[test]
fn what_a_plugin_prints_is_seen() {
    let host = Host::embedded();
    host.write("a.csv", "a\n1\n2\n");
    let plugin = component("hostile");
    let plugin = plugin.to_str().unwrap();
    let config = r#"{"mode": "print", "on": "1"}"#;
    let ingest = |level: Option<&str>, config: &str| {
        let mut command = host.command();
        command.args(["ingest", "a.csv", "--plugin", plugin, "--plugin-config", config]);
        if let Some(level) = level {
            command.env("RUST_LOG", level);
        }
        let output = command.output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let said = ingest(None, config);
    for line in ["a line on stdout", "a line on stderr"] {
        let is_seen = |seen: &str| {
            seen.contains(" INFO ") && seen.ends_with(&format!("plugin says: {line} plugin=\"hostile\""))
        };
        assert!(said.lines().any(is_seen), "{said}");
    }
    // The program's own log lines appear only if the log level asks for them.
    assert!(!said.contains("limits="), "{said}");
    assert!(!ingest(Some("info"), config).contains("limits="));
    assert!(ingest(Some("debug"), config).contains("limits="));
    assert!(!ingest(Some("warn"), config).contains("plugin says"));
    let said = ingest(Some("error,plugin=info"), config);
    assert!(
        said.contains("plugin says") && !said.contains("limits="),
        "{said}"
    );
    for filter in ["plugin=loud", "inof", "dbug", "warm", "inof,plugin=debug"] {
        let said = ingest(Some(filter), config);
        assert!(
            said.contains("RUST_LOG is not understood") && said.contains("plugin says"),
            "{filter}: {said}"
        );
    }

    let said = host.run(&format!(
        "ingest a.csv --id panics --plugin {plugin} --plugin-config {{\"mode\":\"throw\",\"on\":\"1\",\"text\":\"cut-off\"}}"
    ));
    assert!(said.stderr.contains("plugin says: cut-off"), "{}", said.stderr);
    said.ok();
}
