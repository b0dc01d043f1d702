//! Tests that the members of a JSON object are found by their names. The order of the members does not matter, and a
//! record can lack members, or have members that the first records do not have. The tests run whole pipelines with
//! small batches.

use std::cell::Cell;

use ingest_host::config::Limits;
use ingest_host::format::Format;
use ingest_host::request::InputOptions;
use proptest::prelude::*;
use proptest::sample::subsequence;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use crate::support::pipeline::{PipelineRun, RunOutcome, plugin};

const CASES: u32 = 200;

/// Runs a plugin on JSON lines, with at most three records in each batch.
fn run(plugin_name: &str, config: &Value, lines: &str, output: Format) -> RunOutcome {
    let work = PipelineRun {
        input: lines.as_bytes(),
        options: InputOptions {
            format: Some(Format::Jsonl),
            ..InputOptions::default()
        },
        plugin: &plugin(plugin_name),
        config: &config.to_string(),
        output_format: Some(output),
        limits: Limits {
            batch_bytes: 256,
            batch_records: 3,
            ..Limits::default()
        },
    };
    work.run(2).unwrap()
}

fn objects(lines: &str) -> Vec<Map<String, Value>> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn lines(objects: &[Map<String, Value>]) -> String {
    objects
        .iter()
        .map(|object| format!("{}\n", json!(object)))
        .collect()
}

/// Returns a JSON line that has these members in this order. With `serde_json`, the members would be sorted.
fn line(names: &[&str], number: usize) -> String {
    let member = |name: &&str| format!("{}: {}", json!(name), json!(format!(" {name} {number}")));
    format!(
        "{{{}}}\n",
        names.iter().map(member).collect::<Vec<_>>().join(", ")
    )
}

#[test]
fn shuffled_missing_and_late_members_are_no_faults() {
    let names = vec!["id", "card", "email", "source", "é\"", "x"];
    let record = subsequence(names, 0..=6).prop_shuffle();
    let config = json!({ "columns": {
        "id": { "trim": true },
        "card": { "drop": true },
        "email": { "rename": "mail" },
        "source": { "constant": "7" },
    }});
    let tried = Cell::new((0, 0));
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(CASES)
    });
    let all = runner.run(&proptest::collection::vec(record, 1..30), |records| {
        let input: String = records
            .iter()
            .enumerate()
            .map(|(number, names)| line(names, number))
            .collect();
        let outcome = run("clean", &config, &input, Format::Jsonl);
        prop_assert_eq!(outcome.records.rejected, 0, "{}\n{}", input, outcome.rejects);
        let mut expected = objects(&input);
        for object in &mut expected {
            object.remove("card");
            if let Some(id) = object.get_mut("id") {
                *id = id.as_str().unwrap().trim().into();
            }
            if let Some(email) = object.remove("email") {
                object.insert("mail".to_owned(), email);
            }
            object.insert("source".to_owned(), "7".into());
        }
        prop_assert_eq!(objects(&outcome.output), expected, "{}", input);
        tried.set((tried.get().0 + 1, tried.get().1 + records.len()));
        Ok(())
    });
    all.unwrap();
    let (cases, records) = tried.get();
    assert_eq!(cases, CASES);
    assert!(records > 5 * CASES as usize, "{records}");
}

#[test]
fn members_that_are_asked_for_are_columns_of_csv_wherever_they_come() {
    let config =
        json!({ "columns": { "id": { "trim": true }, "email": { "trim": true }, "card": { "drop": true } } });
    let input = r#"{"id":" 1"}
{}
{"id":null}
{"email":" a@x ","id":" 2"}
{"card":"4111","\u0065mail":"b@x"}
"#;
    let outcome = run("clean", &config, input, Format::Csv);
    assert_eq!(outcome.output, "id,email\n1,\n,\n,\n2,a@x\n,b@x\n");
    assert_eq!(outcome.records.rejected, 0, "{}", outcome.rejects);
    // A member belongs to no column if the config does not name it and no record of the first batch has it.
    let outcome = run(
        "clean",
        &config,
        &format!("{input}{{\"x\":1,\"id\":\"3\"}}\n"),
        Format::Csv,
    );
    assert_eq!(outcome.by_code, [("unexpected-member".to_owned(), 1)]);
}

/// Checks that the input cannot set the column `duration_s`. The plugin `alarms` adds this column, and leaves it empty
/// for an alarm without an end time.
#[test]
fn the_input_cannot_write_into_a_column_of_the_plugin() {
    let alarm = |more: Value| {
        let mut object = json!({
            "id": 1, "station_id": 2, "alarm_id": 3, "parameter_id": 4, "start_time": "2019-02-28 10:00:00",
            "end_time": "", "value": 1, "threshold": 2,
        });
        let more = more.as_object().unwrap().clone();
        object.as_object_mut().unwrap().extend(more);
        object.as_object().unwrap().clone()
    };
    let plain = alarm(json!({}));
    let mut input = vec![plain; 4];
    let ended = json!({ "end_time": "2019-02-28 10:00:05" });
    let forged = json!({ "duration_s": 666 });
    input.push(alarm(forged.clone()));
    input.push(alarm(
        json!({ "duration_s": null, "end_time": "2019-02-28 10:00:05" }),
    ));
    input.push(alarm(ended));
    for format in [Format::Jsonl, Format::Csv] {
        let outcome = run("alarms", &json!({}), &lines(&input), format);
        assert_eq!(outcome.by_code, [("unexpected-member".to_owned(), 2)]);
        assert_eq!(outcome.records.written, 5);
        assert!(!outcome.output.contains("666"), "{}", outcome.output);
        assert_eq!(outcome.output.matches("10:00:05").count(), 1);
        // The reject contains the original record.
        assert!(
            outcome.rejects.contains("\"\"duration_s\"\":666"),
            "{}",
            outcome.rejects
        );
    }
    // If the first record has a member `duration_s`, the input has a column of this name. Then the plugin fails,
    // because the output would have two columns of the same name.
    input.insert(0, alarm(forged));
    let input = lines(&input);
    let work = PipelineRun {
        input: input.as_bytes(),
        options: InputOptions {
            format: Some(Format::Jsonl),
            ..InputOptions::default()
        },
        plugin: &plugin("alarms"),
        config: "{}",
        output_format: None,
        limits: Limits::default(),
    };
    let error = work.run(1).unwrap_err().report();
    assert!(error.contains("two columns \"duration_s\""), "{error}");
}

/// Checks that a late member has the same effect in every batch. The configs copy records, edit them, rename a column,
/// and set a constant.
#[test]
fn a_late_name_is_treated_alike_wherever_it_comes() {
    let configs = [
        json!({}),
        json!({ "columns": { "id": { "trim": true } } }),
        json!({ "columns": { "id": { "rename": "no" } } }),
        json!({ "columns": { "id": { "constant": "k" } } }),
    ];
    let places = [0, 1, 3, 4, 5, 20, 39];
    for config in configs {
        for value in ["1", "null", "[null]", r#""""#] {
            let record = |number: usize| match places.contains(&number) {
                true if number % 2 == 1 => format!("{{\"z\":{value},\"id\":\" {number}\"}}\n"),
                true => format!("{{\"id\":\" {number}\",\"\\u007a\":{value}}}\n"),
                false => format!("{{\"id\":\" {number}\"}}\n"),
            };
            let input: String = std::iter::repeat_n("{\"id\":\" \"}\n".to_owned(), 3)
                .chain((0..40).map(record))
                .collect();
            let outcome = run("clean", &config, &input, Format::Jsonl);
            assert_eq!(outcome.records.rejected, 0, "{config} {}", outcome.rejects);
            let z: Value = serde_json::from_str(value).unwrap();
            for (number, object) in objects(&outcome.output).iter().skip(3).enumerate() {
                let expected = places.contains(&number).then_some(&z);
                assert_eq!(object.get("z"), expected, "{config} {object:?}");
            }
            let outcome = run("clean", &config, &input, Format::Csv);
            assert_eq!(
                outcome.by_code,
                [("unexpected-member".to_owned(), places.len() as u64)]
            );
            assert_eq!(
                outcome.output.lines().count(),
                1 + 3 + 40 - places.len(),
                "{config}"
            );
        }
    }
}

#[test]
fn null_stays_null_where_nothing_is_set() {
    let input = r#"{"v":null,"w":" x"}
{"v":[null, null],"w":" x"}
{"v":{"a":null},"w":" x"}
{"v":"","w":" x"}
{"w":" x"}
{"v":null}
"#;
    let edited = input.replace("\" x\"", "\"x\"");
    for rule in [
        json!({}),
        json!({ "trim": true }),
        json!({ "null": ["N/A", "-"] }),
        json!({ "type": "text", "trim": true, "null": ["N/A"] }),
        json!({ "pattern": "." }),
    ] {
        let config = json!({ "columns": { "v": rule, "w": { "trim": true } } });
        let outcome = run("clean", &config, input, Format::Jsonl);
        assert_eq!(outcome.output, edited, "{rule}");
        let config = json!({ "columns": { "v": rule } });
        assert_eq!(
            run("clean", &config, input, Format::Jsonl).output,
            input,
            "{rule}"
        );
    }
    for kind in ["integer", "number", "boolean", "timestamp"] {
        let config = json!({ "columns": { "v": { "type": kind }, "w": { "trim": true } } });
        let nulls = "{\"v\":null,\"w\":\" x\"}\n{\"w\":\" x\",\"v\":null}\n";
        let outcome = run("clean", &config, nulls, Format::Jsonl);
        assert_eq!(outcome.output, nulls.replace("\" x\"", "\"x\""), "{kind}");
    }
}

/// Checks that a value in the output has the type of its column, even if the plugin has not changed the value's text.
#[test]
fn a_column_with_a_type_has_one_type_of_json() {
    let config = json!({ "columns": {
        "i": { "type": "integer", "trim": true },
        "n": { "type": "number" },
        "b": { "type": "boolean" },
        "t": { "type": "timestamp" },
        "s": { "type": "text", "trim": true },
    }});
    let cases = [
        (r#"{"i":"5"}"#, r#"{"i":5}"#),
        (r#"{"i":"05"}"#, r#"{"i":5}"#),
        (r#"{"i":" 5 "}"#, r#"{"i":5}"#),
        (r#"{"i":"\u0035"}"#, r#"{"i":5}"#),
        (r#"{"i":5}"#, r#"{"i":5}"#),
        (r#"{"i":-0}"#, r#"{"i":0}"#),
        (r#"{"i":"9223372036854775807"}"#, r#"{"i":9223372036854775807}"#),
        (r#"{"n":"1.50"}"#, r#"{"n":1.50}"#),
        (r#"{"n":"+1.50"}"#, r#"{"n":1.50}"#),
        (r#"{"n":"1E2"}"#, r#"{"n":1E2}"#),
        (r#"{"n":1E2}"#, r#"{"n":1E2}"#),
        (
            r#"{"n":"12345678901234567890.5"}"#,
            r#"{"n":12345678901234567890.5}"#,
        ),
        (r#"{"b":"true"}"#, r#"{"b":true}"#),
        (r#"{"b":"false"}"#, r#"{"b":false}"#),
        (r#"{"b":"yes"}"#, r#"{"b":true}"#),
        (r#"{"b":true}"#, r#"{"b":true}"#),
        (r#"{"b":0}"#, r#"{"b":false}"#),
        (r#"{"t":"2024-01-01T00:00:00"}"#, r#"{"t":"2024-01-01T00:00:00"}"#),
        (r#"{"t":20240101}"#, r#"{"t":"2024-01-01T00:00:00"}"#),
        // An empty text is no value of these types, so it becomes null.
        (r#"{"i":""}"#, r#"{"i":null}"#),
        (r#"{"n":""}"#, r#"{"n":null}"#),
        (r#"{"b":""}"#, r#"{"b":null}"#),
        (r#"{"t":""}"#, r#"{"t":null}"#),
        (r#"{"s":""}"#, r#"{"s":""}"#),
        (r#"{"i":"  "}"#, r#"{"i":null}"#),
        (r#"{"i":null}"#, r#"{"i":null}"#),
        // A column of type text accepts values of all types, like a column without a type.
        (r#"{"s":"5"}"#, r#"{"s":"5"}"#),
        (r#"{"s":5}"#, r#"{"s":5}"#),
        (r#"{"s":[ 1, null]}"#, r#"{"s":[ 1, null]}"#),
        // An unchanged value keeps its bytes, even if another value of the record changes.
        (
            r#"{ "x" : [ 1 ,2], "i" : 5 , "n":1.0e0 }"#,
            r#"{ "x" : [ 1 ,2], "i" : 5 , "n":1.0e0 }"#,
        ),
        (
            r#"{ "x" : "7" , "i" : "5" , "n":1.0e0 }"#,
            r#"{ "x" : "7" , "i" : 5 , "n":1.0e0 }"#,
        ),
        (r#"{"n":"2","i":"1","b":"true"}"#, r#"{"n":2,"i":1,"b":true}"#),
    ];
    let join = |texts: Vec<&str>| texts.iter().map(|text| format!("{text}\n")).collect::<String>();
    let (input, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    let outcome = run("clean", &config, &join(input), Format::Jsonl);
    assert_eq!(outcome.records.rejected, 0, "{}", outcome.rejects);
    for (found, expected) in outcome.output.lines().zip(&expected) {
        assert_eq!(found, *expected);
    }
    assert_eq!(outcome.output, join(expected));
    // In a column without a type, each value keeps its own type.
    let config = json!({ "columns": { "i": { "required": true, "pattern": "^[0-9]$", "allowed": ["5"] } } });
    let input = "{\"i\":\"5\"}\n{\"i\":5}\n";
    assert_eq!(run("clean", &config, input, Format::Jsonl).output, input);
}

#[test]
fn what_a_list_of_nulls_names_is_null() {
    let input = "{\"v\":\"N/A\"}\n{\"v\":\" - \"}\n{\"v\":\"x\"}\n{\"v\":[null]}\n{\"v\":-1}\n";
    let nulls = json!(["N/A", "-", "-1", "[null]"]);
    for rule in [
        json!({ "trim": true, "null": nulls }),
        json!({ "trim": true, "null": nulls, "type": "text" }),
    ] {
        let config = json!({ "columns": { "v": rule } });
        let outcome = run("clean", &config, input, Format::Jsonl);
        assert_eq!(
            outcome.output,
            "{\"v\":null}\n{\"v\":null}\n{\"v\":\"x\"}\n{\"v\":null}\n{\"v\":null}\n"
        );
    }
    // A value that consists of white space becomes an empty text.
    let config = json!({ "columns": { "v": { "trim": true } } });
    let outcome = run("clean", &config, "{\"v\":\"  \"}\n", Format::Jsonl);
    assert_eq!(outcome.output, "{\"v\":\"\"}\n");
}
