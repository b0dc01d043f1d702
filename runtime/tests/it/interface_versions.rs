//! Tests that components of every version of the plugin interface run, with the same results.
//!
//! `fixtures/wit-0.1/alarms.wasm.gz` is the plugin `alarms` as the SDK of version 0.1.0 built it. It was made at the last
//! commit whose SDK spoke version 0.1, with these settings of the profile `release`: `opt-level = "s"`, `lto = true`,
//! `codegen-units = 1`, `strip = true`.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use ingest_host::error::Code;
use serde_json::Value;

use crate::support::host::{Host, component, path_of};
use crate::support::pipeline::engine;
use crate::support::wat::{HandWrittenPlugin, Interface, words};

on_both_queues! {
    a_component_of_version_0_1_serves_a_queue
}

/// The alarms that both plugins get: some are good, some have a fault, and one has too few fields.
const ALARMS: &str = "\
id,station_id,alarm_id,parameter_id,start_time,end_time,value,threshold
1,1161114059,309,121,2017-10-23 12:00:25,2017-10-23 12:00:26,199,200
2,1161115015,323,1,2017-10-23 12:17:18,,999999,999999
x,1161115015,323,1,2017-10-23 12:17:18,2017-10-23 12:17:36,1,2
4,1161115015,323
6,1161114059,310,122,2017-10-23 12:12:26,2017-10-23 12:12:31,31.5,30
";

/// Unpacks the component of version 0.1 into the host's folder, and returns its path.
fn of_version_0_1(host: &Host) -> PathBuf {
    let packed = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/wit-0.1/alarms.wasm.gz"
    );
    let mut component = Vec::new();
    let mut reader = flate2::read::GzDecoder::new(File::open(packed).unwrap());
    reader.read_to_end(&mut component).unwrap();
    host.write("of-version-0.1.wasm", component)
}

/// The first two good alarms as JSON lines, with different types of values.
const ALARMS_JSONL: &str = "\
{\"id\":\"1\",\"station_id\":1161114059,\"alarm_id\":309,\"parameter_id\":121,\"start_time\":\"2017-10-23 12:00:25\",\
\"end_time\":\"2017-10-23 12:00:26\",\"value\":199,\"threshold\":\"200\"}
{\"id\":2,\"station_id\":1161115015,\"alarm_id\":323,\"parameter_id\":1,\"start_time\":\"2017-10-23 12:17:18\",\
\"end_time\":null,\"value\":999999,\"later\":1.50}
";

fn text(uri: &Value) -> String {
    std::fs::read_to_string(path_of(uri)).unwrap()
}

fn a_component_of_version_0_1_serves_a_queue(host: &Host) {
    host.write("in.csv", ALARMS);
    host.run_with("plugin push", &[of_version_0_1(host).to_str().unwrap()])
        .ok();
    host.run("plugin bind --queue q alarms@0.1.0").ok();
    host.run("submit --queue q --uri in.csv --id one").ok();
    host.run("run --queue q --burst --allow-root .").ok();
    let receipt = &host.status("one")["receipt"];
    assert_eq!(receipt["steps"][0]["interface"], "ingest:plugin@0.1.0");
    assert_eq!(
        text(&receipt["outputs"][0]["uri"]),
        "id,station_id,alarm_id,parameter_id,start_time,end_time,value,threshold,duration_s\n\
         1,1161114059,309,121,2017-10-23T12:00:25,2017-10-23T12:00:26,199,200,1\n\
         2,1161115015,323,1,2017-10-23T12:17:18,,,,\n\
         6,1161114059,310,122,2017-10-23T12:12:26,2017-10-23T12:12:31,31.5,30,5\n"
    );
    assert_eq!(receipt["records"]["rejected"], 2);
}

#[test]
fn versions_0_1_and_0_2_of_a_plugin_give_the_same_bytes() {
    let host = Host::embedded();
    host.write("in.csv", ALARMS);
    host.write("in.jsonl", ALARMS_JSONL);
    let (former, current) = (of_version_0_1(&host), component("alarms"));
    for (input, more) in [
        ("in.csv", &["--format", "jsonl"][..]),
        ("in.csv", &[]),
        ("in.jsonl", &[]),
    ] {
        let [former, current] = [(&former, "former"), (&current, "current")].map(|(plugin, output)| {
            let words = format!("ingest --json {input} --output {output} --plugin");
            let mut arguments = vec![plugin.to_str().unwrap()];
            arguments.extend(more);
            host.run_with(&words, &arguments).json().remove(0)
        });
        assert_eq!(former["steps"][0]["interface"], "ingest:plugin@0.1.0");
        assert_eq!(current["steps"][0]["interface"], "ingest:plugin@0.2.0");
        assert_eq!(former["records"], current["records"]);
        assert_eq!(
            current["records"]["rejected"],
            if input == "in.csv" { 2 } else { 0 }
        );
        for files in ["outputs", "rejects"] {
            let digest = |receipt: &Value| match receipt[files].is_array() {
                true => receipt[files][0]["sha256"].clone(),
                false => receipt[files]["sha256"].clone(),
            };
            assert_eq!(digest(&former), digest(&current), "{files} of {input}");
        }
    }
}

#[test]
fn a_config_schema_is_optional() {
    for interface in Interface::ALL {
        let plugin = HandWrittenPlugin {
            interface,
            ..HandWrittenPlugin::default()
        };
        let plugin = engine().load(&plugin.component()).unwrap();
        assert_eq!(plugin.config_schema().unwrap(), None);
    }
}

/// Returns a component that answers with this schema of its config.
fn with_schema(text: &[u8]) -> Vec<u8> {
    let answer = words(&[1, 0x3000, text.len() as u32]);
    let plugin = HandWrittenPlugin {
        data: vec![(620, answer), (0x3000, text.to_vec())],
        ..HandWrittenPlugin::default()
    };
    plugin.component()
}

#[test]
fn a_config_schema_is_shown_and_checked() {
    let host = Host::embedded();
    host.write(
        "plugin.wasm",
        with_schema(br#"{"properties": {"b": {}, "a": {}}}"#),
    );
    let shown = host.run("plugin inspect plugin.wasm").ok();
    assert!(shown.contains("config     a, b  (--json prints"), "{shown}");
    let shown = host.run("plugin inspect plugin.wasm --json").json();
    assert!(
        shown[0]["config_schema"]["properties"]["a"].is_object(),
        "{shown:?}"
    );
    host.write("bad.wasm", with_schema(b"[]"));
    host.run("plugin push bad.wasm").ok();
    let said = host.run("plugin bind --queue q hand-written@0.1.0").refused(1);
    assert!(said.contains("its config schema is no JSON object"), "{said}");
}

#[test]
fn a_config_schema_is_a_json_object() {
    let schema = |text: &[u8]| engine().load(&with_schema(text)).unwrap().config_schema();
    let object = schema(br#"{"type": "object"}"#).unwrap();
    assert_eq!(object, Some(serde_json::json!({ "type": "object" })));
    for text in [&b"true"[..], b"{", b"", b"\xff"] {
        let error = schema(text).unwrap_err();
        assert_eq!(error.code(), Code::PluginContract, "{error}");
    }
}
