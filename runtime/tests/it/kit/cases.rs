//! Tests `plugin test`: a case passes only if the plugin does exactly what is expected, and a difference is shown.

use std::fs;

use serde_json::Value;

use crate::support::host::{CommandOutput, Host, component};

/// A config of `clean` for the cases.
const CONFIG: &str = r#"{"columns": {"n": {"type": "integer"}}}"#;

/// Returns a host with a folder of cases.
fn host(files: &[(&str, &str)]) -> Host {
    let host = Host::embedded();
    fs::create_dir(host.path("cases")).unwrap();
    for (name, text) in files {
        host.write(&format!("cases/{name}"), text);
    }
    host
}

fn test(host: &Host, options: &str) -> CommandOutput {
    let clean = component("clean");
    host.run_with(&format!("plugin test {options}"), &[clean.to_str().unwrap()])
}

#[test]
fn bless_writes_what_then_passes() {
    let host = host(&[
        ("a.csv", "n\n1\nx\n"),
        ("a.config.json", CONFIG),
        ("b.jsonl", "{\"n\":1}\n"),
    ]);
    let said = test(&host, "");
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(said.stdout.contains("2 cases, 2 failed"), "{}", said.stdout);
    let said = test(&host, "--bless").ok();
    for name in ["a.out.csv", "a.rejects.csv", "b.out.jsonl"] {
        assert!(said.contains(&format!("  {name}\n")), "{name}: {said}");
    }
    assert_eq!(
        fs::read_to_string(host.path("cases/a.out.csv")).unwrap(),
        "n\n1\n"
    );
    let rejects = fs::read_to_string(host.path("cases/a.rejects.csv")).unwrap();
    assert!(
        rejects.starts_with("record,line,offset,code,reason,raw\n2,3,4,"),
        "{rejects}"
    );
    assert!(!host.path("cases/b.rejects.csv").exists());
    let said = test(&host, "").ok();
    assert!(said.ends_with("2 cases, all pass\n"), "{said}");
    // Nothing is left to write.
    let said = test(&host, "--bless").ok();
    assert!(!said.contains("blessed"), "{said}");
}

#[test]
fn a_difference_is_shown_line_by_line() {
    let host = host(&[
        ("a.csv", "n\n1\n2\n3\n4\n5\n6\n"),
        ("a.out.csv", "n\n1\n2\n3\n4\nfive\n6\n"),
        ("a.rejects.csv", "what was expected\n"),
    ]);
    let said = test(&host, "");
    assert_eq!(said.code, Some(1));
    for line in [
        "fail     a  6 records, 0 rejected",
        "  a.out.csv  - expected  + made",
        "     5   4",
        "     6 - five",
        "     6 + 5",
        "     7   6",
        "  a.rejects.csv  - expected  + made",
        "     1 - what was expected",
        "1 case, 1 failed",
    ] {
        assert!(
            said.stdout.lines().any(|shown| shown == line),
            "{line:?}: {}",
            said.stdout
        );
    }
    // Equal lines far from a difference are left out.
    assert!(
        !said.stdout.lines().any(|line| line == "     2   1"),
        "{}",
        said.stdout
    );
    let said = test(&host, "--bless").ok();
    assert!(said.contains("a.rejects.csv"), "{said}");
    assert!(!host.path("cases/a.rejects.csv").exists(), "nothing is rejected");
}

#[test]
fn json_has_a_line_for_each_case() {
    let host = host(&[
        ("a.csv", "n\n1\n"),
        ("a.out.csv", "n\n2\n"),
        ("b.csv", "n\n1\n"),
        ("b.out.jsonl", "{\"n\":\"1\"}\n"),
    ]);
    let said = test(&host, "--json");
    assert_eq!(said.code, Some(1));
    let cases: Vec<Value> = said
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(cases.len(), 2);
    assert_eq!(
        (&cases[0]["name"], &cases[0]["passed"]),
        (&"a".into(), &false.into())
    );
    let lines = &cases[0]["differences"][0]["lines"];
    let shown: Vec<_> = (0..3)
        .map(|at| (lines[at]["side"].as_str(), lines[at]["text"].as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            (Some("both"), Some("n")),
            (Some("expected"), Some("2")),
            (Some("made"), Some("1"))
        ]
    );
    assert_eq!(
        cases[1]["passed"], true,
        "the expected output sets the format: {}",
        cases[1]
    );
}

#[test]
fn a_case_can_expect_a_failure() {
    let host = host(&[("a.csv", "n\n1\n"), ("a.config.json", r#"{"colums": {}}"#)]);
    let said = test(&host, "--bless").ok();
    assert!(said.contains("a.error.txt"), "{said}");
    let error = fs::read_to_string(host.path("cases/a.error.txt")).unwrap();
    assert!(
        error.starts_with("plugin-config: ") && error.contains("colums"),
        "{error}"
    );
    test(&host, "").ok();
    // The plugin accepts the config now, so that what is expected does not happen.
    host.write("cases/a.config.json", "{}");
    let said = test(&host, "");
    assert_eq!(said.code, Some(1));
    assert!(said.stdout.contains("a.error.txt  - expected"), "{}", said.stdout);
}

#[test]
fn without_cases_nothing_is_tested_and_that_is_an_error() {
    let empty = host(&[("README.md", "no case")]);
    let said = test(&empty, "").refused(2);
    assert!(
        said.contains("cases: has no case; write an input NAME.csv or NAME.jsonl there"),
        "{said}"
    );
    let said = test(&empty, "--cases none").refused(2);
    assert!(
        said.contains("none: the folder of the cases cannot be read"),
        "{said}"
    );
    let orphan = host(&[("a.csv", "n\n"), ("b.out.csv", "n\n")]);
    let said = test(&orphan, "").refused(2);
    assert!(said.contains("b.out.csv belongs to no input"), "{said}");
    let twice = host(&[("a.csv", "n\n"), ("a.jsonl", "")]);
    let said = test(&twice, "").refused(2);
    assert!(said.contains("the case a has two inputs"), "{said}");
    let config = host(&[("a.csv", "n\n"), ("a.config.json", "[]")]);
    let said = test(&config, "").refused(2);
    assert!(said.contains("a.config.json: is not a JSON object"), "{said}");
    let said = empty.run("plugin test none.wasm --cases cases");
    assert_eq!(said.code, Some(2));
}

#[test]
fn cases_can_be_elsewhere() {
    let host = Host::embedded();
    fs::create_dir(host.path("more")).unwrap();
    host.write("more/a.csv", "n\n1\n");
    host.write("more/a.out.csv", "n\n1\n");
    test(&host, "--cases more").ok();
}

#[test]
fn what_a_file_says_cannot_control_the_terminal() {
    let host = host(&[("a.csv", "n\n\u{1b}[31mred\n"), ("a.out.csv", "n\n\u{202e}\n")]);
    let said = test(&host, "");
    assert_eq!(said.code, Some(1));
    assert!(said.stdout.contains(r"+ \u{1b}[31mred"), "{}", said.stdout);
    assert!(!said.stdout.contains(['\u{1b}', '\u{202e}']), "{}", said.stdout);
}

/// Runs the command on a terminal that `script` creates.
#[test]
fn colours_are_shown_on_a_terminal_that_wants_them() {
    let host = host(&[("a.csv", "n\n1\n"), ("a.out.csv", "n\n2\n")]);
    let command = format!(
        "{} plugin test {}",
        env!("CARGO_BIN_EXE_ingest-host"),
        component("clean").display()
    );
    for (no_color, has_colours) in [(None, true), (Some("1"), false)] {
        let mut script = std::process::Command::new("script");
        script
            .current_dir(host.folder.path())
            .env_clear()
            .envs(
                host.command()
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("TERM", "xterm-256color")
            .envs(no_color.map(|value| ("NO_COLOR", value)))
            .stdin(std::process::Stdio::null());
        let output = script.args(["-qec", &command, "/dev/null"]).output();
        let said = String::from_utf8(output.expect("`script` runs: it is in bsdutils").stdout).unwrap();
        assert_eq!(said.contains("\u{1b}[31m- 2\u{1b}[0m"), has_colours, "{said:?}");
        assert_eq!(said.contains("\u{1b}[32m+ 1\u{1b}[0m"), has_colours, "{said:?}");
        assert_eq!(said.contains('\u{1b}'), has_colours, "{said:?}");
    }
}

/// Checks that the text that a plugin prints and logs is seen without a variable.
#[test]
fn what_a_plugin_prints_is_seen() {
    let host = host(&[
        ("a.csv", "n\n1\n"),
        ("a.out.csv", "n\n1\n"),
        (
            "a.config.json",
            r#"{"mode": "print", "log": true, "text": "hello from the plugin"}"#,
        ),
    ]);
    let hostile = component("hostile").display().to_string();
    let said = host.run(&format!("plugin test {hostile}"));
    assert!(
        said.stderr.contains("plugin says: hello from the plugin"),
        "{}",
        said.stderr
    );
    for words in [
        format!("plugin try {hostile} cases/a.csv --plugin-config @cases/a.config.json"),
        format!("ingest cases/a.csv --plugin {hostile} --plugin-config @cases/a.config.json"),
    ] {
        let said = host.run(&words);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        assert!(
            said.stderr.contains("plugin says: hello from the plugin"),
            "{}",
            said.stderr
        );
        assert!(!said.stdout.contains("hello"), "{}", said.stdout);
    }
}
