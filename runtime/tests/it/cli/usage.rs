//! Tests that wrong usage exits with code 2, and a failure with code 1. In both cases, the error names the cause.

use std::collections::BTreeMap;

use crate::support::host::{Host, component};

#[test]
fn wrong_usage_exits_with_2_and_says_what_to_do() {
    let host = Host::embedded();
    for (words, why) in [
        ("", "Usage:"),
        ("fly", "unrecognized subcommand 'fly'"),
        ("run", "--queue"),
        ("run --queue a/b --burst", "queue \"a/b\" must have"),
        ("run --queue q --watch", "--plugin"),
        ("run --queue q --burst-wait 5s", "--burst"),
        ("run --queue q --burst --burst-wait 5", "is no time: write 500ms"),
        ("run --queue Receipts --burst", "is reserved"),
        ("submit --queue receipts --uri a", "is reserved"),
        ("submit --queue .staging --uri a", "not starting with '.'"),
        ("queue pause --queue rejects", "is reserved"),
        ("plugin bind --queue REJECTS clean@0.1.0", "is reserved"),
        (
            "run --queue q --concurrency 0",
            "'0' for '--concurrency <N>': expected a whole number from 1 to 256",
        ),
        ("run --queue q --allow-host 1.2.3.4/99", "1.2.3.4/99"),
        ("run --queue q --output gs://", "names no bucket"),
        ("submit --queue _x --uri a", "is reserved"),
        ("submit --queue q", "--uri"),
        (
            "submit --queue q --uri a --uri b --id x",
            "--id names one request",
        ),
        (
            "submit --queue q --uri a --priority 101",
            "expected a whole number from -100 to 100",
        ),
        (
            "submit --queue q --uri a --priority high",
            "expected a whole number from -100 to 100",
        ),
        (
            "run --queue q --lease 2d",
            "expected a whole number of seconds from 5 to 86400, or a time",
        ),
        ("run --queue q --retention 36h", "expected a whole number of days"),
        ("run --queue q --retention x", "\"x\" is no time: write 500ms"),
        (
            "run --queue q --min-records x",
            "'--min-records <N>': expected a whole number\n",
        ),
        (
            "submit --queue q --uri a --skip-lines x",
            "expected a whole number from 0",
        ),
        ("requests --queue q --limit x", "expected a whole number\n"),
        (
            "submit --queue q --uri @none",
            "--uri @none: this list cannot be read",
        ),
        (
            "submit --queue q --uri @",
            "--uri @: the name of a file is missing after the @",
        ),
        (
            "plugin bind --queue q a@1 --config @",
            "--config @: the name of a file is missing after the @",
        ),
        (
            "run --queue q --plugin a.wasm --plugin-config @",
            "a.wasm: a component is named by its path: No such file",
        ),
        (
            "plugin bind --queue q a@1 --config @none",
            "--config @none: cannot be read",
        ),
        (
            "run --queue q --credentials none",
            "--credentials none: cannot be read",
        ),
        (
            "plugin push none.wasm",
            "none.wasm: a component is named by its path",
        ),
        (
            "plugin inspect none.wasm",
            "none.wasm: a component is named by its path",
        ),
        (
            "run --queue q --burst --plugin none.wasm",
            "none.wasm: a component is named by its path",
        ),
        (
            "config check --queue q --plugin none.wasm",
            "none.wasm: a component is named by its path",
        ),
        (
            "ingest x.csv --plugin clean",
            "clean: a component is named by its path: No such file",
        ),
        ("ingest x.csv --plugin .", ".: is a folder; name a file"),
        (
            "submit --queue q --uri a --delimiter ab",
            "expected one character",
        ),
        (
            "submit --queue q --uri a --uri b --sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "--sha256 is of one file",
        ),
        ("submit --queue q --uri a --sha256 e3b0", "expected 64 hex digits"),
        ("submit --queue q --uri a --id ../x", "id \"../x\" must have"),
        ("--url mysql://x queue list", "mysql"),
        ("dead retry --all", "--queue"),
    ] {
        let said = host.run(words).refused(2);
        assert!(said.contains(why), "`{words}`: {said}");
        // The error names the option only, without a prefix such as `error: config --id`.
        let is_plain = |line: &str| !line.starts_with("error: config ");
        assert!(said.lines().all(is_plain), "`{words}`: {said}");
    }
}

/// Checks that in no error a word follows itself, and that no part between colons occurs twice.
#[test]
fn no_error_repeats_itself() {
    let host = Host::embedded();
    host.write("in.csv", "a\n1\n");
    host.write("bad.wasm", "no component");
    host.write("config.json", "[]");
    host.run("submit --queue q --uri in.csv --id one").ok();
    let clean = component("clean").display().to_string();
    host.run(&format!("plugin push {clean}")).ok();
    for words in [
        "submit --queue q --uri in.csv --priority 101",
        "submit --queue q --uri in.csv --id .x",
        "submit --queue q --uri http://u:p@h/x",
        "submit --queue q --uri no.csv",
        "submit --queue q --uri in.csv --id one --no-header",
        "ingest in.csv --plugin bad.wasm",
        "ingest in.csv --plugin no.wasm",
        &format!("ingest in.csv --plugin {clean} --plugin-config @config.json"),
        &format!("ingest in.csv --plugin {clean} --plugin-config @no.json"),
        &format!("ingest in.csv --plugin {clean} --plugin-config []"),
        &format!("ingest in.csv --plugin {clean} --plugin-config {{\"x\":1}}"),
        &format!("ingest no.csv --plugin {clean}"),
        &format!("ingest ftp://h/x --plugin {clean}"),
        &format!("ingest in.csv --plugin {clean} --output gs://b"),
        &format!("ingest in.csv --plugin {clean} --credentials no.json"),
        &format!("run --queue q --burst --plugin {clean} --plugin-config {{\"x\":1}}"),
        &format!("run --queue q --burst --plugin {clean} --allow-root no"),
        "run --queue q --burst --plugin bad.wasm",
        "plugin bind --queue q clean@9",
        "plugin bind --queue q clean",
        "plugin bind --queue q sha256:0",
        "plugin bind --queue q clean@0.1.0 --config {\"x\":1}",
        "plugin rollback --queue q",
        "plugin inspect bad.wasm",
        "plugin push bad.wasm",
        "requests --queue w",
        "dead show one",
        "dead purge document:x",
        "status two",
        "report two",
        "report one",
        "--url redis://127.0.0.1:1 queue list",
        "--url redis://h/x queue list",
        "--url nonsense queue list",
    ] {
        let said = host.run(words);
        let line = said.stderr.lines().find(|line| line.starts_with("error: "));
        let line = line.unwrap_or_else(|| panic!("`{words}` is no error: {}", said.stderr));
        assert!(!line.starts_with("error: config "), "`{words}`: {line}");
        let parts: Vec<_> = line.split([':', ' ']).filter(|part| !part.is_empty()).collect();
        for pair in parts.windows(2) {
            assert!(pair[0] != pair[1], "`{words}`: {line}");
        }
        let parts: Vec<_> = line.split(": ").collect();
        for (index, part) in parts.iter().enumerate() {
            assert!(
                !parts[..index].contains(part),
                "`{words}` says {part:?} twice: {line}"
            );
        }
    }
}

/// Checks that if a plugin refuses its config, the program stops before it reads any record.
#[test]
fn a_config_is_refused_before_any_record() {
    let host = Host::embedded();
    host.write("in.csv", "a\n1\n");
    let clean = component("clean").display().to_string();
    host.run(&format!("plugin push {clean}")).ok();
    host.run("submit --queue q --uri in.csv --id one").ok();
    let config = r#"{"columns":{"a":{"pattern":"("}}}"#;
    for words in [
        "plugin bind --queue q clean@0.1.0 --config".to_owned(),
        format!("ingest in.csv --plugin {clean} --plugin-config"),
        format!("run --queue q --burst --allow-root . --plugin {clean} --plugin-config"),
    ] {
        let said = host.run_with(&words, &[config]).refused(1);
        let line = said.lines().last().unwrap();
        assert!(
            line.starts_with("error: plugin ") && line.contains(": refuses the config: "),
            "`{words}`: {said}"
        );
        assert!(!host.path("out/_ingest/receipts").exists());
    }
    assert_eq!(host.status("one")["state"], "ready");
    assert_eq!(host.run("plugin history --queue q --json").ok(), "");
}

/// Checks that help and suggestions omit the internal commands, which only the program itself runs.
#[test]
fn internal_commands_are_not_suggested() {
    let host = Host::embedded();
    for words in [
        "compile",
        "compile-componen",
        "compile-components",
        "component",
        "--help",
        "help",
    ] {
        let said = host.run(words);
        let text = said.stdout + &said.stderr;
        let shown = text.lines().filter(|line| !line.contains("unrecognized"));
        for line in shown {
            assert!(!line.contains("compile"), "`{words}`: {line}");
        }
        assert!(text.contains("Usage:"), "`{words}`: {text}");
    }
    let help = host.run("--help").ok();
    for name in ["RUST_LOG", "NO_COLOR", "TERM=dumb", "plugin=info"] {
        assert!(help.contains(name), "{name}: {help}");
    }
}

#[test]
fn failures_exit_with_1_and_name_the_thing() {
    let host = Host::embedded();
    host.run("submit --queue q --no-check --uri a.csv --id one").ok();
    let clean = component("clean");
    let clean = clean.to_str().unwrap();
    for (words, args, why) in [
        (
            "status nobody",
            vec![],
            "request nobody: is not in any queue on sqlite:",
        ),
        ("ingest no.csv --plugin", vec![clean], "no.csv"),
        (
            "--url sqlite:no/queue.db submit --no-check --queue q --uri a",
            vec![],
            "there is no folder no: make it, or correct the path",
        ),
        ("plugin rollback --queue Q", vec![], "Q: there is no such queue"),
        (
            "report no.json",
            vec![],
            "no.json: no such file here; as a request: no.json: is not in any queue",
        ),
        (
            "requests --queue Q",
            vec![],
            "Q: there is no such queue on sqlite:",
        ),
        ("queue resume --queue Q", vec![], "(it has: q)"),
        ("plugin history --queue Q", vec![], "Q: there is no such queue"),
        ("ingest ftp://b/x.csv --plugin", vec![clean], "ftp"),
        ("ingest . --plugin", vec![clean], "is a folder"),
        ("dead show nobody", vec![], "request nobody: is not in any queue"),
        ("plugin bind --queue q clean@0.1.0", vec![], "push it first"),
        ("--url sqlite:/proc/no/queue.db queue list", vec![], "/proc/no"),
        ("--url redis://127.0.0.1:1 queue list", vec![], "127.0.0.1:1"),
    ] {
        let said = host.run_with(words, &args).refused(1);
        assert!(
            said.starts_with("error: ") && said.contains(why),
            "`{words}`: {said}"
        );
        assert_eq!(said.lines().count(), 1, "`{words}`: {said}");
    }
}

/// Returns the names of the options under each heading of a command's help.
fn groups(help: &str) -> BTreeMap<String, Vec<String>> {
    let (mut groups, mut heading) = (BTreeMap::<_, Vec<_>>::new(), String::new());
    for line in help.lines() {
        match line.strip_suffix(':') {
            Some(name) if !line.starts_with(' ') => heading = name.to_owned(),
            _ => {
                let words = line.split_whitespace();
                let option = words.take(2).find(|word| word.starts_with("--"));
                if let Some(option) =
                    option.filter(|_| line.starts_with("      --") || line.starts_with("  -"))
                {
                    let name = option.trim_end_matches("[=<BOOL>]").to_owned();
                    groups.entry(heading.clone()).or_default().push(name);
                }
            }
        }
    }
    groups
}

#[test]
fn long_helps_are_in_groups() {
    let host = Host::embedded();
    for (command, plain, others) in [
        (
            "run",
            vec!["--queue", "--url", "--log-format", "--help", "--version"],
            vec![
                "Access to inputs",
                "Input",
                "Limits",
                "Output",
                "Plugin",
                "Rejects",
                "Worker",
            ],
        ),
        (
            "submit",
            vec![
                "--queue",
                "--url",
                "--log-format",
                "--uri",
                "--id",
                "--group",
                "--priority",
                "--no-check",
                "--wait",
                "--json",
                "--help",
                "--version",
            ],
            vec!["Input"],
        ),
        (
            "ingest",
            vec![
                "--url",
                "--log-format",
                "--id",
                "--json",
                "--dry-run",
                "--help",
                "--version",
            ],
            vec![
                "Access to inputs",
                "Input",
                "Limits",
                "Output",
                "Plugin",
                "Rejects",
            ],
        ),
    ] {
        let mut groups = groups(&host.run(&format!("{command} --help")).ok());
        let mut found = groups.remove("Options").unwrap_or_default();
        let mut plain = [plain, vec!["--config-file"]].concat();
        found.sort();
        plain.sort_unstable();
        assert_eq!(found, plain, "{command}");
        assert_eq!(groups.keys().collect::<Vec<_>>(), others, "{command}");
        assert!(
            groups["Input"].iter().any(|name| name == "--encoding"),
            "{groups:?}"
        );
    }
}
