//! Tests `plugin inspect`: it shows what a component is, what the host grants it, and its plan for an input.

use serde_json::{Value, json};

use crate::support::host::{CommandOutput, Host, component};

fn inspect(host: &Host, plugin: &str, options: &str) -> CommandOutput {
    let plugin = component(plugin);
    host.run_with(&format!("plugin inspect {options}"), &[plugin.to_str().unwrap()])
}

#[test]
fn what_the_host_grants_is_shown() {
    let host = Host::embedded();
    let said = inspect(&host, "clean", "").ok();
    assert!(
        said.contains(
            "granted    128.00 MiB of memory, 10000 ms for a call, 64.00 KiB of log lines, 64 counters\n"
        ),
        "{said}"
    );
    let one = inspect(&host, "clean", "--json --limit memory=64MiB")
        .json()
        .remove(0);
    assert_eq!(one["grants"]["memory_bytes"], 64 << 20);
    assert_eq!(
        (&one["name"], &one["interface"]),
        (&"clean".into(), &"ingest:plugin@0.2.0".into())
    );
    assert!(one.get("plan").is_none(), "{one}");
}

#[test]
fn the_columns_that_a_plugin_reads_and_writes_are_shown() {
    let host = Host::embedded();
    let config = r#"{"columns":{"a":{"type":"integer"},"b":{"rename":"bee"}}}"#;
    let options = format!("--columns a,b,c --plugin-config {config}");
    let one = inspect(&host, "clean", &format!("--json {options}"))
        .json()
        .remove(0);
    let plan = &one["plan"];
    assert!(plan["reads"].as_array().unwrap().contains(&"a".into()), "{plan}");
    assert_eq!(plan["output"][1]["name"], "bee", "{plan}");
    assert_eq!(plan["output"][1]["source"], "b", "{plan}");
    assert_eq!(plan["stateful"], Value::from(false));
    let said = inspect(&host, "clean", &options).ok();
    assert!(said.contains("bee  from b"), "{said}");
    assert!(
        said.contains("state      no: several instances may process one input"),
        "{said}"
    );

    host.write("in.csv", "x;y\n1;2\n");
    let one = inspect(&host, "hostile", "--json --input in.csv --delimiter ;")
        .json()
        .remove(0);
    assert_eq!(one["plan"]["reads"], json!(["x"]));
    assert_eq!(one["plan"]["stateful"], true);
}

/// Checks that the schema that the SDK makes from the type of a config accepts what the plugin accepts.
#[test]
fn the_schema_of_a_config_agrees_with_its_type() {
    let host = Host::embedded();
    let said = inspect(&host, "hostile", "").ok();
    assert!(
        said.contains("config     at, count, count_fields, log, mode, on, size, text, turns  (--json"),
        "{said}"
    );
    let one = inspect(&host, "hostile", "--json").json().remove(0);
    let schema = jsonschema::validator_for(&one["config_schema"]).unwrap();
    for (config, is_accepted) in [
        (json!({}), true),
        (json!({"mode": "panic-in-finish", "at": 3, "on": null}), true),
        (json!({"mode": "none"}), false),
        (json!({"modes": "keep"}), false),
        (json!({"at": -1}), false),
        (json!({"log": "yes"}), false),
    ] {
        let said = inspect(&host, "hostile", &format!("--columns n --plugin-config {config}"));
        assert_eq!(said.code == Some(0), is_accepted, "{config}: {}", said.stderr);
        assert_eq!(schema.is_valid(&config), is_accepted, "{config}");
    }
}

#[test]
fn a_plugin_that_refuses_the_columns_says_why() {
    let host = Host::embedded();
    let said = inspect(&host, "alarms", "--columns a,b").refused(1);
    assert!(
        said.contains("alarms: refuses the input: ") && said.contains("[input-refused]"),
        "{said}"
    );
    let said = inspect(&host, "clean", "--columns a --input in.csv").refused(2);
    assert!(said.contains("cannot be used with"), "{said}");
    let said = inspect(&host, "clean", "--input none.csv").refused(1);
    assert!(said.contains("[input-missing]"), "{said}");
}
