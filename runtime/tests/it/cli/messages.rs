//! Tests how the program prints errors, notes and colors.

use crate::support::host::{CommandOutput, Host, component};

/// Checks that every log filter lets the final error of the program through.
#[test]
fn an_error_is_logged_whatever_the_filter() {
    let host = Host::embedded();
    let clean = component("clean").display().to_string();
    for filter in ["plugin=debug", "off", "error", "failure=off,plugin=info"] {
        let failed = |inputs: &[&str]| -> Vec<serde_json::Value> {
            let mut command = host.command();
            command
                .env("RUST_LOG", filter)
                .args(["--log-format", "json", "ingest", "--plugin", &clean])
                .args(inputs);
            let said = CommandOutput::new(&command.output().unwrap()).refused(1);
            let lines = said.lines().filter(|line| line.starts_with('{'));
            let lines = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            lines.filter(|line| line["message"] == "failed").collect()
        };
        for inputs in [&["no-1.csv"][..], &["no-1.csv", "no-2.csv"]] {
            let lines = failed(inputs);
            assert_eq!(lines.len(), inputs.len(), "{filter}: {lines:?}");
            for (line, input) in lines.iter().zip(inputs) {
                assert_eq!(line["level"], "ERROR");
                assert!(
                    line["error"].as_str().unwrap().contains(input),
                    "{filter}: {line}"
                );
            }
        }
    }
}

/// Checks that a worker's line about a request names the request, even if the filter leaves out the usual lines.
#[test]
fn a_failed_request_is_named_whatever_the_filter() {
    let host = Host::embedded();
    let clean = component("clean").display().to_string();
    host.write("a.csv", "");
    for filter in ["info", "warn", "error"] {
        let id = format!("r-{filter}");
        host.run(&format!("submit --queue q --uri a.csv --id {id}")).ok();
        let mut command = host.command();
        command.env("RUST_LOG", filter).args([
            "run",
            "--queue",
            "q",
            "--burst",
            "--allow-root",
            ".",
            "--plugin",
            &clean,
        ]);
        let log = CommandOutput::new(&command.output().unwrap()).refused(1);
        let line = log.lines().find(|line| line.contains("given up: a dead letter"));
        assert!(line.is_some_and(|line| line.contains(&id)), "{filter}: {log}");
    }
}

/// Checks that with several inputs each note names its input, even if all inputs share one output.
#[test]
fn a_note_begins_with_its_input() {
    let host = Host::embedded();
    let clean = component("clean").display().to_string();
    for file in ["a.csv", "sub/a.csv"] {
        std::fs::create_dir_all(host.path("sub")).unwrap();
        host.write(file, "id\n1\n");
    }
    let ingest = |words: &str| host.run(&format!("ingest {words} --plugin {clean}"));
    ingest("a.csv").ok();
    let alone = ingest("a.csv");
    let note = "done before: the same input, options, plugin and config gave this output";
    assert!(alone.stderr.lines().any(|line| line == note), "{}", alone.stderr);
    for more in ["", "--json"] {
        let both = ingest(&format!("a.csv sub/a.csv {more}"));
        for name in ["a.csv", "sub/a.csv"] {
            let note = format!("{name}: {note}");
            assert!(
                both.stderr.lines().any(|line| line == note),
                "{note}: {}",
                both.stderr
            );
        }
        both.ok();
    }
    // The other notes name their input, too.
    host.write("one.csv", "n\nx\n");
    let config = r#"{"columns":{"n":{"type":"integer"}}}"#;
    let said = ingest(&format!(
        "a.csv one.csv --max-rejects 100% --plugin-config {config}"
    ));
    assert!(
        said.stderr
            .contains("one.csv: the only record was rejected, by the plugin"),
        "{}",
        said.stderr
    );
    host.write("quotes.csv", "n\n5\"\n6\"\n");
    let said = ingest("quotes.csv --max-rejects 100%");
    assert!(
        said.stderr
            .contains("(--input-format, --delimiter, --no-header); --trim")
            && said.stderr.contains("--quote none"),
        "{}",
        said.stderr
    );
    // If the gate refuses the output, the error names the command that shows the report.
    let said = ingest("quotes.csv --id refused --max-rejects 0").refused(1);
    let (_, report) = said.trim_end().rsplit_once("`ingest-host ").unwrap();
    let (report, _) = report.split_once('`').unwrap();
    let page = host.run(report).ok();
    assert!(page.contains("stray-quote"), "{page}");
}

/// Runs commands on a terminal that `script` creates.
#[test]
fn colours_are_left_out_where_they_are_not_wanted() {
    let host = Host::embedded();
    host.write("in.csv", "a\n1\n");
    let (program, clean) = (env!("CARGO_BIN_EXE_ingest-host"), component("clean"));
    let on_a_terminal = |words: &str, variables: &[(&str, &str)]| {
        let command = format!("{program} {words} --plugin {}", clean.display());
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
            .envs(variables.iter().copied())
            .stdin(std::process::Stdio::null());
        let output = script.args(["-qec", &command, "/dev/null"]).output();
        let output = output.expect("`script` runs: it is in bsdutils");
        String::from_utf8(output.stdout).unwrap()
    };
    let xterm = ("TERM", "xterm-256color");
    for (variables, has_colours) in [
        (&[xterm][..], true),
        (&[xterm, ("NO_COLOR", "")], true),
        (&[xterm, ("NO_COLOR", "1")], false),
        (&[("TERM", "dumb")], false),
    ] {
        let said = on_a_terminal("run --queue q --burst", variables);
        assert!(said.contains("worker stopped"), "{said}");
        assert_eq!(said.contains('\u{1b}'), has_colours, "{variables:?}: {said:?}");
    }
    // A dumb terminal cannot move the cursor, so there is no progress line.
    let said = on_a_terminal("ingest in.csv", &[("TERM", "dumb")]);
    assert!(
        said.contains("1 record: 1 kept") && !said.contains('\u{1b}'),
        "{said:?}"
    );
}

#[test]
fn a_closed_pipe_ends_the_program_quietly() {
    let host = Host::embedded();
    let program = env!("CARGO_BIN_EXE_ingest-host");
    for id in 0..20 {
        host.run(&format!("submit --queue q --no-check --uri a.csv --id r{id}"))
            .ok();
    }
    let mut shell = std::process::Command::new("sh");
    let output = shell
        .env("REDIS_URL", &host.url)
        .args(["-c", &format!("{program} requests --queue q --json | true")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
