//! Tests what the package gives a plugin beside the language: a console, a log, counters and text encodings.

use serde_json::json;

use crate::project::built;
use crate::support::host::{CommandOutput, Host};

#[test]
fn what_the_plugin_prints_logs_and_counts_reaches_the_host() {
    let host = Host::embedded();
    let source = r#"
import { count, log } from "ingest-plugin";

console.log("while it is built");

export default {
    stateful: false,
    open() {
        console.log("opened", { for: "é" });
    },
    record() {
        count("seen");
        count("bytes", new TextEncoder().encode("é€").length);
        log.warn(new TextDecoder().decode(Uint8Array.of(0xc3, 0xa9)));
    },
    finish() {
        console.error("finished");
    },
};
"#;
    let plugin = built(&host, "talking", source);
    host.write("one.csv", "a\n1\n");
    let output = host
        .command()
        .args(["--log-format", "json", "ingest", "--json", "one.csv", "--plugin"])
        .arg(&plugin)
        .output()
        .unwrap();
    let output = CommandOutput::new(&output);
    let stderr = output.stderr.clone();
    let receipt = output.json().remove(0);
    assert_eq!(receipt["counters"], json!({"bytes": 5, "seen": 1}));
    for said in [r#"opened {\"for\":\"é\"}"#, "says: é", "finished"] {
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
    assert!(!stderr.contains("while it is built"), "{stderr}");

    // An author sees the same lines.
    let tried = host.run_with("plugin try", &[plugin.to_str().unwrap(), "one.csv"]);
    let stderr = tried.stderr.clone();
    tried.ok();
    for said in [r#"plugin says: opened {"for":"é"}"#, "plugin says: é"] {
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
}
