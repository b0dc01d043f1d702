//! Tests the package's own tests and its types.

use std::fs;

use serde_json::json;

use crate::project::{build_in, ingest, package, project};
use crate::support::documents::blocks;
use crate::support::host::{Host, path_of};

#[test]
fn the_package_passes_its_own_tests() {
    let host = Host::embedded();
    let output = host
        .bash(&format!("cd {} && npm test 2>&1", package().display()))
        .ok();
    assert!(
        output.contains("fail 0") && !output.contains("pass 0"),
        "{output}"
    );

    // The example's tests.
    let example = package().join("examples/alarms");
    let read = |name: &str| fs::read_to_string(example.join(name)).unwrap();
    let folder = host.path("alarms");
    let files = [
        ("plugin.js", read("plugin.js")),
        ("plugin.test.js", read("plugin.test.js")),
    ];
    project(
        &folder,
        "alarms",
        &json!({}),
        &files.each_ref().map(|(path, text)| (*path, text.as_str())),
    );
    let output = host.bash("cd alarms && node --test plugin.test.js").ok();
    assert!(output.contains("pass 4") && output.contains("fail 0"), "{output}");
}

#[test]
fn typescript_is_built_and_its_types_hold() {
    let host = Host::embedded();
    let example = blocks(&fs::read_to_string(package().join("README.md")).unwrap(), "ts").remove(0);
    let folder = host.path("trim");
    let main = json!({"main": "src/plugin.ts"});
    fs::create_dir_all(folder.join("src")).unwrap();
    project(&folder, "trim", &main, &[("src/plugin.ts", &example)]);
    let built = build_in(&host, &folder).json().remove(0);
    host.write("names.csv", "name\n ada \n");
    let receipt = ingest(
        &host,
        "names.csv",
        &folder.join(built["component"].as_str().unwrap()),
        &[],
    );
    assert_eq!(
        fs::read_to_string(path_of(&receipt["outputs"][0]["uri"])).unwrap(),
        "name\nada\n"
    );

    let check = |source: &str| {
        fs::write(folder.join("src/plugin.ts"), source).unwrap();
        host.bash("cd trim && node node_modules/typescript/bin/tsc --noEmit --strict --module nodenext --target es2022 src/plugin.ts")
    };
    let tested = r#"
import { run } from "ingest-plugin/testing";
const report = run(Trim, "name\n ada \n", { config: {} });
const reasons: string[] = report.rejects.map((reject) => reject.reason);
export { reasons };
"#;
    check(&format!("{example}{tested}")).ok();
    for (from, to) in [
        ("record.get(\"name\").trim()", "{ a: 1 }"),
        ("schema.read(\"name\")", "schema.add(\"name\", \"float\")"),
        ("record: InputRecord", "record: Schema"),
    ] {
        assert!(example.contains(from));
        let output = check(&example.replace(from, to));
        assert!(output.stdout.contains("error TS"), "{to}: {}", output.stdout);
    }
}
