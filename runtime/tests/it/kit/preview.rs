//! Tests `plugin try`: it shows each record before and after the plugin, and writes nothing.

use serde_json::{Value, json};

use crate::support::host::{CommandOutput, Host, component};

/// A config of `clean` that edits, renames and adds nothing else.
const CONFIG: &str = r#"{"columns": {"id": {"type": "integer"}, "name": {"trim": true}}}"#;

fn run(host: &Host, plugin: &str, input: &str, options: &str) -> CommandOutput {
    let plugin = component(plugin);
    host.run_with(
        &format!("plugin try {options}"),
        &[plugin.to_str().unwrap(), input],
    )
}

/// Returns the names of the files below the host's folder.
fn files(host: &Host) -> Vec<String> {
    let entries = std::fs::read_dir(host.folder.path()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn only_changed_cells_stand_out() {
    let host = Host::embedded();
    host.write("in.csv", "id,name\n1, Ada \nx,Bob\n3,Cyd\n");
    host.write("config.json", CONFIG);
    let said = run(&host, "clean", "in.csv", "--plugin-config @config.json").ok();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "record 1  edited", "{said}");
    assert!(lines.contains(&"    id    1"), "{said}");
    assert!(lines.contains(&"  * name  \" Ada \" -> Ada"), "{said}");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("record 2  rejected as ")),
        "{said}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("  id: \"x\"")),
        "the reason: {said}"
    );
    assert!(
        lines.contains(&"record 3  kept") && lines.contains(&"    name  Cyd"),
        "{said}"
    );
    assert_eq!(
        *lines.last().unwrap(),
        "3 records: 1 kept, 1 edited, 0 replaced, 0 dropped, 1 rejected; 2 written"
    );
    assert_eq!(files(&host), ["config.json", "in.csv"], "nothing is written");
}

#[test]
fn json_has_the_cells_in_the_order_of_the_columns() {
    let host = Host::embedded();
    host.write("in.csv", "id,name\n1, Ada \nx,Bob\n1,2,3\n");
    host.write("config.json", CONFIG);
    let options = "--json --input-format csv --plugin-config @config.json";
    let said = run(&host, "clean", "in.csv", options).ok();
    let records: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        records[0],
        json!({
            "record": 1, "verdict": "edited", "before": {"id": "1", "name": " Ada "}, "after": [{"id": "1", "name": "Ada"}],
        })
    );
    assert!(
        said.starts_with(r#"{"record":1,"verdict":"edited","before":{"id":"1","name":" Ada "}"#),
        "{said}"
    );
    assert_eq!(
        (&records[1]["verdict"], &records[1]["after"]),
        (&"rejected".into(), &json!([]))
    );
    assert_eq!(records[2]["code"], "ragged-row");
    assert_eq!(
        (&records[2]["before"], &records[2]["raw"]),
        (&Value::Null, &"1,2,3".into())
    );
}

#[test]
fn head_stops_early_and_says_so() {
    let host = Host::embedded();
    let rows: String = (1..=50_000)
        .map(|n| format!("{n},{}\n", "x".repeat(20)))
        .collect();
    host.write("in.csv", format!("id,name\n{rows}"));
    let said = run(
        &host,
        "hostile",
        "in.csv",
        "--head 3 --plugin-config {\"log\":true}",
    );
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(said.stdout.matches("\nrecord ").count() + 1, 3, "{}", said.stdout);
    assert!(
        said.stderr
            .contains("the input has more records: --head N shows more than the first 3")
    );
    let logged = said.stderr.matches("plugin says: seen").count();
    assert_eq!(logged, 3, "the plugin gets no other record: {}", said.stderr);
    // Without the option, ten records are shown.
    let said = run(&host, "clean", "in.csv", "--json").ok();
    assert_eq!(said.lines().count(), 10);
    for wrong in ["0", "10001", "x"] {
        let said = run(&host, "clean", "in.csv", &format!("--head {wrong}")).refused(2);
        assert!(said.contains("expected a whole number from 1 to 10000"), "{said}");
    }
}

#[test]
fn an_input_that_ends_is_shown_to_its_end() {
    let host = Host::embedded();
    host.write("in.csv", "id,name\n1,a\n2,b\n");
    let said = run(&host, "clean", "in.csv", "--head 2");
    assert!(!said.stderr.contains("more records"), "{}", said.stderr);
    assert!(said.stdout.contains("2 records: 2 kept"), "{}", said.stdout);
}

#[test]
fn a_record_that_traps_is_a_reject_with_its_reason() {
    let host = Host::embedded();
    host.write("in.csv", "n\n1\nx\n3\n");
    let config = r#"{"mode":"panic","on":"x"}"#;
    let said = run(&host, "hostile", "in.csv", &format!("--plugin-config {config}")).ok();
    assert!(
        said.contains("record 2  rejected as plugin-trap\n  process trapped: asked to panic"),
        "{said}"
    );
    assert!(said.contains("record 3  kept"), "{said}");
}

#[test]
fn formats_and_new_columns_are_shown() {
    let host = Host::embedded();
    host.write(
        "in.jsonl",
        "{\"n\":1,\"t\":\"é\\n\"}\n{\"n\":null,\"t\":\"\"}\nno json\n",
    );
    let said = run(&host, "clean", "in.jsonl", "--json").ok();
    let records: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        records[0]["before"],
        json!({"n": "1", "t": "\"é\\n\""}),
        "values are shown as JSON"
    );
    assert_eq!(records[0]["after"], json!([{"n": "1", "t": "\"é\\n\""}]));
    assert_eq!(
        (&records[2]["code"], &records[2]["raw"]),
        (&"not-json".into(), &"no json".into())
    );
    // In another format, values are compared as texts.
    let said = run(&host, "clean", "in.jsonl", "--format csv --head 1").ok();
    assert!(!said.contains(" -> "), "{said}");
    assert!(said.contains("    t  \"é\\n\""), "{said}");
}

#[test]
fn other_inputs_and_wrong_ones() {
    let host = Host::embedded();
    host.write("in.csv", "id;name\n1;a\n");
    let said = run(&host, "clean", "in.csv", "--delimiter ;").ok();
    assert!(said.contains("    name  a"), "{said}");
    let said = run(&host, "clean", "none.csv", "").refused(1);
    assert!(said.contains("[input-missing]"), "{said}");
    let said = run(&host, "clean", "in.csv", "--plugin-config {\"x\":1}").refused(1);
    assert!(said.contains("[plugin-config]"), "{said}");
    let said = host.run("plugin try none.wasm in.csv").refused(2);
    assert!(said.contains("[plugin-missing]"), "{said}");
}

#[test]
fn what_a_file_says_cannot_control_the_terminal() {
    let host = Host::embedded();
    host.write("in.csv", "n\u{202e}\n\u{1b}[31mred\n");
    let said = run(&host, "clean", "in.csv", "").ok();
    assert!(
        said.contains(r"n\u{202e}") && said.contains(r"\u{1b}[31mred"),
        "{said}"
    );
    assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said}");
}
