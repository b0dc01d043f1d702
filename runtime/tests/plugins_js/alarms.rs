//! Tests that the plugin `alarms` in JavaScript writes the bytes of `alarms` in Rust, on each engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::json;

use crate::project::{build_in, ingest, package, project};
use crate::support::host::{Host, component, path_of};

#[test]
fn alarms_in_javascript_write_the_bytes_of_alarms_in_rust() {
    let host = Host::embedded();
    let plugins = [component("alarms"), alarms_on_quickjs()];
    let mut csv = Vec::new();
    let summary = alarm_feed::write_alarms(&mut csv, 11, 5_000, 10).unwrap();
    host.write("feed.csv", &csv);
    let rejects = assert_same_bytes(&host, "feed.csv", &plugins);
    // The host rejects ragged rows itself.
    assert_eq!(rejects, summary.bad());

    host.write("cases.csv", cases());
    assert!(assert_same_bytes(&host, "cases.csv", &plugins) > 10);
    host.write("crlf.csv", cases().replace('\n', "\r\n"));
    assert_same_bytes(&host, "crlf.csv", &plugins);
    host.write("cases.jsonl", JSONL_CASES);
    assert!(assert_same_bytes(&host, "cases.jsonl", &plugins) > 3);
}

/// SpiderMonkey is large and slow to build, so one test uses it for everything.
#[test]
fn spidermonkey_writes_the_same_bytes() {
    let host = Host::embedded();
    let plugins = [component("alarms"), alarms("spidermonkey")];
    host.write("cases.csv", cases());
    assert!(assert_same_bytes(&host, "cases.csv", &plugins) > 10);
    let inspected = host.run_with("plugin inspect --json", &[plugins[1].to_str().unwrap()]);
    let imports = inspected.json().remove(0)["imports"].to_string();
    assert!(!imports.contains("wasi:"), "{imports}");
}

#[test]
fn the_component_imports_the_host_only() {
    let host = Host::embedded();
    let inspected = host.run_with("plugin inspect --json", &[alarms_on_quickjs().to_str().unwrap()]);
    let inspected = inspected.json().remove(0);
    assert_eq!(inspected["imports"], json!(["ingest:plugin/host@0.1.0"]));
    assert!(inspected["bytes"].as_u64().unwrap() < 4 << 20, "{inspected}");
}

/// Returns the component of the plugin `alarms` in JavaScript, with an engine.
fn alarms(engine: &str) -> PathBuf {
    let host = Host::embedded();
    let folder = host.path("alarms");
    let source = fs::read_to_string(package().join("examples/alarms/plugin.js")).unwrap();
    let more = json!({"ingest-plugin": {"engine": engine}});
    project(&folder, "alarms", &more, &[("plugin.js", &source)]);
    let built = build_in(&host, &folder).json().remove(0);
    assert_eq!(
        (&built["name"], &built["version"]),
        (&json!("alarms"), &json!("0.1.0"))
    );
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("alarms-{engine}.wasm"));
    fs::copy(folder.join(built["component"].as_str().unwrap()), &kept).unwrap();
    kept
}

fn alarms_on_quickjs() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| alarms("quickjs")).clone()
}

/// Runs two plugins on a file, and checks that they write the same bytes. Returns the number of rejects.
#[track_caller]
fn assert_same_bytes(host: &Host, input: &str, [left, right]: &[PathBuf; 2]) -> u64 {
    let [left, right] = [("left", left), ("right", right)].map(|(output, plugin)| {
        ingest(
            host,
            input,
            plugin,
            &["--output", output, "--max-rejects", "100%"],
        )
    });
    assert_eq!(left["records"], right["records"], "{input}");
    assert_eq!(left["rejects"]["by_code"], right["rejects"]["by_code"], "{input}");
    for part in ["/outputs/0/uri", "/rejects/uri"] {
        let [left, right] =
            [&left, &right].map(|receipt| fs::read(path_of(receipt.pointer(part).unwrap())).unwrap());
        assert!(!left.is_empty());
        let lines = left
            .split(|&byte| byte == b'\n')
            .zip(right.split(|&byte| byte == b'\n'));
        for (left, right) in lines {
            assert_eq!(
                String::from_utf8_lossy(left),
                String::from_utf8_lossy(right),
                "{input}"
            );
        }
        assert!(left == right, "{input}: {part}");
    }
    left["records"]["rejected"].as_u64().unwrap()
}

/// Returns [`CASES`], with a soft hyphen and a space without width in one field.
fn cases() -> String {
    CASES.replace("INVISIBLE", "é\u{ad}\u{200b}e")
}

/// Records with text outside ASCII, quotes, and the limits of each check.
const CASES: &str = r#"site,id,station_id,alarm_id,parameter_id,start_time,end_time,value,threshold,"note, free"
Graz,1,2,3,4,2019-02-28 23:59:50,2019-03-01 00:00:05,199,200,plain
Đà Nẵng,2,2,3,4,2019-02-28 23:59:50,,999999,999999,"quoted, ""東京"" 😀"
"Wörgl","3","2","3","4","2020-02-29 00:00:00","2020-02-29 00:00:00","-31.5","007.50","two
lines"
x,0,2,3,4,2019-02-28 10:00:00,,1,2,
x,１,2,3,4,2019-02-28 10:00:00,,1,2,full width
x,123456789012345678,999999999999999999,3,4,2019-02-28 10:00:00,,1,2,long
x,1234567890123456789,2,3,4,2019-02-28 10:00:00,,1,2,too long
x,+1,2,3,4,2019-02-28 10:00:00,,1,2,
x," 1",2,3,4,2019-02-28 10:00:00,,1,2,
x,"a ""b"" \ c	d",2,3,4,2019-02-28 10:00:00,,1,2,
x,INVISIBLE,2,3,4,2019-02-28 10:00:00,,1,2,invisible
x,1,2,3,,2019-02-28 10:00:00,,1,2,empty
x,1,2,3,4,2019-02-29 10:00:00,,1,2,
x,1,2,3,4,0001-01-01 00:00:00,9999-12-31 23:59:59,1,2,
x,1,2,3,4,0000-01-01 00:00:00,,1,2,
x,1,2,3,4,2019-02-28 24:00:00,,1,2,
x,1,2,3,4,2019-02-28T10:00:00,,1,2,
x,1,2,3,4,2019-02-28 10:00:00,2019-02-28 09:59:59,1,2,
x,1,2,3,4,2019-02-28 10:00:00,then,1,2,
x,1,2,3,4,2019-02-28 10:00:00,,.5,2,
x,1,2,3,4,2019-02-28 10:00:00,,5.,2,
x,1,2,3,4,2019-02-28 10:00:00,,-0,2,
x,1,2,3,4,2019-02-28 10:00:00,,1,NaN,
x,1,2,3,4,2019-02-28 10:00:00,,1e999,2,
x,1,2,3,4,2019-02-28 10:00:00,,99999999999999999999999999999999999999.00000000001,2,
x,ééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé,2,3,4,2019-02-28 10:00:00,,1,2,
"#;

const JSONL_CASES: &str = r#"{"id": 1, "station_id": "2", "alarm_id": 3, "parameter_id": 4, "start_time": "2019-02-28 10:00:00", "end_time": null, "value": "1.5", "threshold": 999999, "note": "Đà Nẵng \"x\""}
{"id": "2", "station_id": 2, "alarm_id": 3, "parameter_id": 4, "start_time": "2019-02-28 10:00:00", "end_time": "2019-02-28 10:00:07", "value": "999999", "threshold": "", "note": {"a": [1, 2]}}
{"id": 3, "station_id": 2, "alarm_id": 3, "parameter_id": 4, "start_time": "2019-02-28 10:00:00", "value": 1, "threshold": 2}
{"id": 3.5, "station_id": 2, "alarm_id": 3, "parameter_id": 4, "start_time": "2019-02-28 10:00:00", "value": 1, "threshold": 2}
{"id": "\u00e9\n\ud83d\ude00", "station_id": 2, "alarm_id": 3, "parameter_id": 4, "start_time": "2019-02-28 10:00:00", "value": 1, "threshold": 2}
{"id": 5, "station_id": 2, "alarm_id": 3, "parameter_id": 4, "start_time": "", "value": 1, "threshold": 2}
{"id": 6, "station_id": 2, "alarm_id": 3, "parameter_id": 4, "start_time": "2019-02-28 10:00:00", "end_time": "", "value": true, "threshold": 2}
{"id": 7, "station_id": 2, "alarm_id": 3, "parameter_id": 4, "start_time": "2019-02-28 10:00:00", "end_time": "", "value": "", "threshold": null, "late": "ü"}
"#;
