//! The README keeps its word: the plugin that it shows builds outside the repository, passes its own test and does what is
//! printed there.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::path::Path;
use std::process::Command;

use support::host::Host;

/// The text of the README's first fenced block of this language that has this text in it.
fn block(readme: &str, language: &str, text: &str) -> String {
    let fence = format!("```{language}\n");
    let blocks = readme
        .split(&fence)
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let found = blocks.into_iter().find(|block| block.contains(text));
    found
        .unwrap_or_else(|| panic!("the README has no {language} block with {text:?}"))
        .to_owned()
}

#[test]
fn the_plugin_of_the_readme_builds_and_does_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let host = Host::embedded();
    std::fs::create_dir(host.path("src")).unwrap();
    let sdk = root.join("plugins/sdk");
    let manifest = block(&readme, "toml", "celsius");
    assert!(manifest.contains("../ingest-host/plugins/sdk"));
    host.write(
        "Cargo.toml",
        manifest.replace("../ingest-host/plugins/sdk", sdk.to_str().unwrap()),
    );
    host.write("src/lib.rs", block(&readme, "rust", "Celsius"));
    host.write("readings.csv", block(&readme, "csv", "fahrenheit"));
    // The same versions as the repository's, so that nothing is fetched that is not there.
    std::fs::copy(root.join("Cargo.lock"), host.path("Cargo.lock")).unwrap();

    // Kept between runs, because the dependencies are compiled anew otherwise.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    let cargo = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command
            .current_dir(host.folder.path())
            .env("CARGO_TARGET_DIR", &target);
        let output = command.args(args).arg("--offline").output().unwrap();
        assert!(
            output.status.success(),
            "cargo {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    cargo(&["test"]);
    cargo(&["build", "--release", "--target", "wasm32-wasip2"]);

    let component = target.join("wasm32-wasip2/release/celsius.wasm");
    let said = host
        .run_with("ingest readings.csv --plugin", &[component.to_str().unwrap()])
        .ok();
    let promised = block(&readme, "text", "4 records");
    assert!(
        said.starts_with(&promised),
        "the README promises\n{promised}\nand the program says\n{said}"
    );
    let output = said
        .lines()
        .find_map(|line| line.strip_prefix("output   file://"))
        .expect("an output");
    let output = std::fs::read_to_string(output).unwrap();
    assert_eq!(
        output,
        "station,fahrenheit,celsius\nOulu,14,-10\nVienna,68.5,20.3\n"
    );

    // What is no finite number is none, nor is what the plugin computes of it: the last one in the list is finite.
    let not_finite = ["NaN", "-nan", "inf", "Infinity", "1e999", "1e308"];
    host.write(
        "not_finite.csv",
        format!("station,fahrenheit\nX,{}\n", not_finite.join("\nX,")),
    );
    let said = host
        .run_with("ingest not_finite.csv --plugin", &[component.to_str().unwrap()])
        .ok();
    assert!(
        said.contains("6 rejected; 0 written\n         6  bad-value\n"),
        "{said}"
    );
}
