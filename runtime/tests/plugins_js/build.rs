//! Tests that a build that fails says what to do.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::project::{build_in, project};
use crate::support::host::{CommandOutput, Host};

#[test]
fn a_build_that_cannot_work_says_what_to_do() {
    let host = Host::embedded();
    let folder = host.path("broken");
    project(
        &folder,
        "broken",
        &json!({}),
        &[("plugin.js", "export default class { record( }")],
    );
    let stderr = build_in(&host, &folder).refused(1);
    assert!(
        stderr.contains("plugin.js:1") && stderr.contains("node failed"),
        "{stderr}"
    );

    fs::write(
        folder.join("plugin.js"),
        "export default class { open() {} record() {} }",
    )
    .unwrap();
    let stderr = build_in(&host, &folder).refused(1);
    assert!(stderr.contains("static stateful = false"), "{stderr}");

    fs::write(
        folder.join("package.json"),
        r#"{"name": "Broken", "version": "1"}"#,
    )
    .unwrap();
    let stderr = build_in(&host, &folder).refused(1);
    assert!(stderr.contains(r#"the name "Broken" must have"#), "{stderr}");

    fs::remove_file(folder.join("node_modules/ingest-plugin")).unwrap();
    let stderr = build_in(&host, &folder).refused(1);
    assert!(stderr.contains("`npm install` in this folder"), "{stderr}");

    // Without Node in PATH.
    let mut command = Command::new(env!("CARGO_BIN_EXE_ingest-host"));
    command
        .args(["plugin", "build"])
        .current_dir(&folder)
        .env("PATH", host.path(""));
    let stderr = CommandOutput::new(&command.output().unwrap()).refused(1);
    assert!(
        stderr.contains("the program node is not in PATH") && stderr.contains("nodejs.org"),
        "{stderr}"
    );
}
