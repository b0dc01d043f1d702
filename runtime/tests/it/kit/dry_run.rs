//! Tests `ingest --dry-run`: it processes everything, prints the counts, and writes nothing.

use serde_json::Value;

use crate::support::host::{Host, component};

fn files(host: &Host) -> usize {
    std::fs::read_dir(host.folder.path()).unwrap().count()
}

#[test]
fn everything_is_counted_and_nothing_is_written() {
    let host = Host::embedded();
    host.write("in.csv", "n\n1\nx\n3\n");
    host.write("config.json", r#"{"columns": {"n": {"type": "integer"}}}"#);
    let before = files(&host);
    let clean = component("clean").display().to_string();
    let words = format!("ingest in.csv --plugin {clean} --plugin-config @config.json");
    let dry = host.run(&format!("{words} --dry-run")).ok();
    assert_eq!(files(&host), before, "no folder was made");
    assert!(dry.contains("3 records: 2 kept"), "{dry}");
    assert!(
        dry.contains("record 2 (line 3): n: \"x\""),
        "an example of each code: {dry}"
    );
    assert!(dry.ends_with("nothing was written (--dry-run)\n"), "{dry}");
    let dry = host.run(&format!("{words} --dry-run --json")).json().remove(0);
    let receipt = host.run(&format!("{words} --json")).json().remove(0);
    for member in ["inputs", "steps", "records"] {
        assert_eq!(dry[member], receipt[member], "{member}");
    }
    for member in ["records", "by_code", "examples"] {
        assert_eq!(dry["rejects"][member], receipt["rejects"][member], "{member}");
    }
    assert!(
        dry.get("outputs").is_none() && dry.get("receipt").is_none(),
        "{dry}"
    );
}

#[test]
fn the_gate_and_the_profile_hold_as_in_a_real_run() {
    let host = Host::embedded();
    host.write("in.csv", "n\n1\nx\n");
    host.write("config.json", r#"{"columns": {"n": {"type": "integer"}}}"#);
    let clean = component("clean").display().to_string();
    let words = format!("ingest in.csv --plugin {clean} --plugin-config @config.json --dry-run");
    let said = host.run(&format!("{words} --max-rejects 0")).refused(1);
    assert!(
        said.contains("nothing was written") && said.contains("[gate-exceeded]"),
        "{said}"
    );
    let dry = host.run(&format!("{words} --profile --json")).json().remove(0);
    assert_eq!(dry["quality"]["records"], Value::from(1));
    for option in ["--output out", "--rejects r", "--id x"] {
        let said = host.run(&format!("{words} {option}")).refused(2);
        assert!(said.contains("cannot be used with"), "{said}");
    }
}
