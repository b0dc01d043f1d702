//! Tests that a fault of a plugin costs its record only, and that the reason says where the fault is.

use std::fs;

use serde_json::json;

use crate::project::{build_in, built, ingest, project};
use crate::support::host::{Host, path_of};

#[test]
fn each_record_on_which_the_plugin_throws_is_one_reject() {
    let host = Host::embedded();
    let source = r#"
import { helper } from "./helper.js";

export default class Faulty {
    static stateful = false;
    open(schema) {
        this.n = schema.read("n");
    }
    record(record) {
        const n = record.integer(this.n);
        record.set(this.n, n + 1);
        helper(n);
    }
}
"#;
    let helper = r#"
const faults = new Set([1, 2, 500, 16_384, 50_000, 99_999, 100_000]);

export function helper(n) {
    if (faults.has(n)) {
        const text = n === 500 ? undefined : "é";
        if (text.length > 0) throw new RangeError(`${text} at ${n}`);
    }
}
"#;
    let folder = host.path("faulty");
    project(
        &folder,
        "faulty",
        &json!({}),
        &[("plugin.js", source), ("helper.js", helper)],
    );
    build_in(&host, &folder).ok();
    let records: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    host.write("numbers.csv", format!("n\n{records}"));
    let receipt = ingest(&host, "numbers.csv", &folder.join("dist/faulty.wasm"), &[]);
    assert_eq!(receipt["records"]["edited"], 99_993);
    assert_eq!(receipt["rejects"]["by_code"], json!({"plugin-error": 7}));

    let mut rejects = csv::Reader::from_path(path_of(&receipt["rejects"]["uri"])).unwrap();
    let rejects: Vec<csv::StringRecord> = rejects.records().map(Result::unwrap).collect();
    for (reject, n) in rejects.iter().zip([1, 2, 500, 16_384, 50_000, 99_999, 100_000]) {
        assert_eq!(reject[0], n.to_string());
        match n {
            500 => {
                assert!(reject[4].starts_with("TypeError: "), "{reject:?}");
                assert!(reject[4].ends_with(" (helper.js, line 7)"), "{reject:?}");
            }
            _ => assert_eq!(reject[4], format!("RangeError: é at {n} (helper.js, line 7)")),
        }
    }
    let output = fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap();
    assert_eq!(output.lines().count(), 99_994);
    assert!(output.starts_with("n\n4\n5\n") && output.ends_with("\n99999\n"));
}

#[test]
fn a_plugin_that_uses_up_its_memory_or_time_costs_its_record_only() {
    let host = Host::embedded();
    let source = r#"
export default class Greedy {
    static stateful = false;
    open(schema) {
        this.what = schema.read("what");
    }
    record(record) {
        switch (record.get(this.what)) {
            case "memory": {
                const kept = [];
                for (;;) kept.push(new Uint8Array(1 << 20).fill(1));
            }
            case "recursion":
                return this.record(record);
            case "time":
                for (;;);
        }
    }
}
"#;
    let plugin = built(&host, "greedy", source);
    host.write("greedy.csv", "what\na\nmemory\nb\nrecursion\nc\ntime\nd\n");
    let receipt = ingest(&host, "greedy.csv", &plugin, &["--limit", "call-time=1s"]);
    assert_eq!(receipt["records"]["kept"], 4, "{receipt}");
    let by_code = &receipt["rejects"]["by_code"];
    assert_eq!(by_code["plugin-timeout"], 1, "{by_code}");
    let others = ["plugin-trap", "plugin-error"].map(|code| by_code[code].as_u64().unwrap_or(0));
    assert_eq!(others.iter().sum::<u64>(), 2, "{by_code}");
}

#[test]
fn a_large_record_fits_into_the_default_limits() {
    let host = Host::embedded();
    let source = r#"
export default class Long {
    static stateful = false;
    open(schema) {
        this.text = schema.read("text");
        this.length = schema.add("length", "integer");
    }
    record(record) {
        const text = record.get(this.text);
        record.set(this.text, `${text}!`);
        record.set(this.length, text.length);
    }
}
"#;
    let plugin = built(&host, "long", source);
    // 2 MiB of UTF-8 in 1 Mi characters.
    let long = "é".repeat(1 << 20);
    host.write("long.csv", format!("text\nshort\n{long}\n"));
    let receipt = ingest(&host, "long.csv", &plugin, &[]);
    let output = fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap();
    assert!(output == format!("text,length\nshort!,5\n{long}!,{}\n", 1 << 20));
}
