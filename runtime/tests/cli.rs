//! The command line as people meet it: usage, errors, environment.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use support::host::{Host, Said, component};
use support::redis::{RedisServer, free_port};

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
        ("run --queue q --concurrency 0", "0 is not in 1..=256"),
        ("run --queue q --allow-host 1.2.3.4/99", "1.2.3.4/99"),
        ("run --queue q --output s3://bucket/x", "s3"),
        ("submit --queue q", "--uri"),
        (
            "submit --queue q --uri a --uri b --id x",
            "--id names one request",
        ),
        ("submit --queue q --uri a --priority 101", "priority 101"),
        ("submit --queue q --uri -", "`ingest-host ingest -` does"),
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
        // Not `error: config --id ...`: the option says it.
        let is_plain = |line: &str| !line.starts_with("error: config ");
        assert!(said.lines().all(is_plain), "`{words}`: {said}");
    }
}

/// No part of an error is there twice, one after the other.
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
        &format!("ingest in.csv --plugin {clean} --output s3://b"),
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

/// A config that the plugin can refuse by itself never meets a record.
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
        assert!(!host.path("out").join("receipts").exists());
    }
    assert_eq!(host.status("one")["state"], "ready");
    assert_eq!(host.run("plugin history --queue q --json").ok(), "");
}

/// People come from RQ, Celery and others.
#[test]
fn a_command_of_another_program_is_answered_with_ours() {
    let host = Host::embedded();
    for (words, hint) in [
        (
            "worker",
            "`ingest-host run --queue QUEUE [--plugin F.wasm]` is the worker",
        ),
        (
            "worker high low --burst",
            "`ingest-host run --queue QUEUE [--plugin F.wasm]` is the worker",
        ),
        (
            "Worker",
            "`ingest-host run --queue QUEUE [--plugin F.wasm]` is the worker",
        ),
        (
            "--url redis://127.0.0.1:1 worker",
            "`ingest-host run --queue QUEUE [--plugin F.wasm]` is the worker",
        ),
        (
            "worker-pool",
            "`ingest-host run --queue QUEUE [--plugin F.wasm]` is the worker",
        ),
        (
            "enqueue q",
            "`ingest-host submit --queue QUEUE --uri FILE` puts a request into a queue",
        ),
        (
            "apply_async",
            "`ingest-host submit --queue QUEUE --uri FILE` puts a request into a queue",
        ),
        ("info", "`ingest-host queue list` shows the queues"),
        ("requeue --all", "`ingest-host dead retry --all --queue QUEUE`"),
        ("empty q", "`ingest-host dead purge ID`"),
        ("suspend", "`ingest-host queue pause"),
        ("failed", "`ingest-host dead list --queue QUEUE`"),
        ("revoke x", "`ingest-host cancel ID`"),
        ("jobs", "`ingest-host requests --queue QUEUE`"),
        ("push x.wasm", "`ingest-host plugin push FILE`"),
        ("convert a.csv", "`ingest-host ingest FILE"),
        ("version", "`ingest-host --version`"),
        ("queue info", "`ingest-host queue list`"),
        ("queue empty", "`ingest-host dead purge --all --queue QUEUE`"),
        ("dead requeue x", "`ingest-host dead retry ID` one"),
        ("plugin add x", "`ingest-host plugin push FILE`"),
        // What is only mistyped gets clap's own tip.
        ("sumbit", "a similar subcommand exists: 'submit'"),
        ("plugin bnid", "a similar subcommand exists: 'bind'"),
        ("run high low", "a queue is given as --queue NAME"),
        ("run -Q high", "a queue is given as --queue NAME"),
        ("run --queue q -c 4", "--concurrency N"),
        ("run --queue q --workers=4", "--concurrency N"),
        ("run --queue q --loglevel info", "RUST_LOG=debug"),
        ("ingest a.csv --plugin x --verbose", "RUST_LOG=debug"),
        (
            "submit high a.csv",
            "an input is given as --uri FILE, its queue as --queue NAME",
        ),
        ("requests q", "a queue is given as --queue NAME"),
        ("queue pause q", "a queue is given as --queue NAME"),
        ("plugin bind q clean@0.1.0", "a queue is given as --queue NAME"),
        ("run --queu q", "a similar argument exists: '--queue'"),
    ] {
        let said = host.run(words).refused(2);
        let is_told = ["unrecognized subcommand", "unexpected argument"];
        assert!(
            is_told.iter().any(|told| said.contains(told)),
            "`{words}`: {said}"
        );
        assert!(said.contains("tip: ") && said.contains(hint), "`{words}`: {said}");
    }
}

/// People come from pandas, Polars, `sort` and others, too, and guess.
#[test]
fn an_option_of_another_program_is_answered_with_ours() {
    let host = Host::embedded();
    for (words, hint) in [
        ("ingest a.csv --sep ;", "tip: --delimiter CHAR"),
        ("run --queue q --separator=;", "tip: --delimiter CHAR"),
        ("submit --queue q --uri a --delim ;", "tip: --delimiter CHAR"),
        ("plugin bind --queue q x@1 --sep ;", "tip: --delimiter CHAR"),
        ("ingest a.csv --skiprows 1", "tip: --skip-lines N"),
        ("run --skip-rows 1", "tip: --skip-lines N"),
        ("ingest a.csv --skipfooter 1", "tip: --skip-footer N"),
        ("ingest a.csv --quotechar x", "tip: --quote CHAR"),
        ("ingest a.csv --escapechar x", "tip: --escape CHAR"),
        ("ingest a.csv -e latin1", "tip: --encoding NAME"),
        ("ingest a.csv --na-values -", "tip: `null` in the config of clean"),
        ("run --null-values=-", "tip: `null` in the config of clean"),
        ("ingest a.csv -o x", "tip: --output FOLDER"),
        ("ingest a.csv --out x", "tip: --output FOLDER"),
        ("run --queue q --output-dir x", "tip: --output FOLDER"),
        ("run -q high", "tip: a queue is given as --queue NAME"),
        ("dead list -q high", "tip: a queue is given as --queue NAME"),
        ("queue pause -q high", "tip: a queue is given as --queue NAME"),
        ("plugin history -q high", "tip: a queue is given as --queue NAME"),
        ("report x -q high", "tip: a queue is given as --queue NAME"),
        ("dead list high", "tip: a queue is given as --queue NAME"),
        ("ingest a.csv -q", "tip: RUST_LOG=debug"),
        ("ingest a.csv --header", "unless --no-header"),
        ("run --queue q --config {}", "tip: --plugin-config JSON"),
        // What another command has is named with it.
        (
            "queue list --sep ;",
            "tip: --delimiter is an option of `ingest-host run`, `ingest-host submit`, `ingest-host ingest`, \
             `ingest-host plugin bind`",
        ),
        (
            "dead list -o x",
            "tip: --output is an option of `ingest-host run`, `ingest-host ingest`",
        ),
    ] {
        let said = host.run(words).refused(2);
        assert!(said.contains("unexpected argument"), "`{words}`: {said}");
        assert!(said.contains(hint), "`{words}`: {said}");
        assert_eq!(said.matches("tip: ").count(), 1, "`{words}`: {said}");
    }
    // Nobody means an option as a value.
    for words in [
        "ingest a.csv --frobnicate",
        "run --frobnicate",
        "submit --queue q --uri a -x",
        "dead retry --frobnicate",
        "queue list -x",
        "plugin inspect --frobnicate",
        "report -x",
        "status --frobnicate",
    ] {
        let said = host.run(words).refused(2);
        assert!(said.contains("unexpected argument"), "`{words}`: {said}");
        assert!(!said.contains("'-- "), "`{words}`: {said}");
    }
    let said = host.run("report x --jso").refused(2);
    assert!(said.contains("a similar argument exists: '--json'"), "{said}");
}

/// A plugin is a file for `run` and `ingest`, and has a name and a version on a server.
#[test]
fn a_plugin_named_in_the_other_way_is_told() {
    let host = Host::embedded();
    host.write("a.csv", "a\n1\n");
    std::fs::copy(component("clean"), host.path("clean.wasm")).unwrap();
    for words in [
        "ingest a.csv --plugin clean",
        "run --queue q --burst --plugin clean",
        "plugin push clean",
        "plugin inspect clean",
    ] {
        let said = host.run(words).refused(1);
        assert!(
            said.ends_with("; clean.wasm is here: did you mean it? [plugin-missing]\n"),
            "`{words}`: {said}"
        );
    }
    let said = host.run("ingest a.csv --plugin alarms").refused(1);
    assert!(!said.contains("did you mean"), "{said}");
    let said = host.run("run --queue q --burst --plugin clean@0.1.0").refused(1);
    let hint = "; NAME@VERSION is what `ingest-host plugin bind` takes [plugin-missing]\n";
    assert!(said.ends_with(hint), "{said}");
    let said = host.run("plugin bind --queue q clean.wasm").refused(2);
    let why = "clean.wasm: that is a file: push it first (`ingest-host plugin push clean.wasm`), then bind NAME@VERSION";
    assert!(said.contains(why), "{said}");
    host.run("plugin push clean.wasm").ok();
    let hostile = component("hostile");
    host.run_with("plugin push", &[hostile.to_str().unwrap()]).ok();
    let said = host.run("plugin bind --queue q clean").refused(2);
    let why = "write NAME@VERSION or sha256:HEX (the server has clean@0.1.0)";
    assert!(said.contains(why), "{said}");
    let said = host.run("plugin bind --queue q no").refused(2);
    assert!(said.contains("(the server has clean@0.1.0, hostile@"), "{said}");
}

/// The ids of `ingest` are in no queue.
#[test]
fn a_report_that_no_queue_has_is_looked_for_in_a_receipt() {
    let host = Host::embedded();
    let hint =
        |id: &str| format!("; of an `ingest`, name the receipt: `ingest-host report out/receipts/{id}.json`");
    // Before there is a queue, and when there is one.
    for code in ["queue-unknown", "request-unknown"] {
        for words in ["report a-1", "report a-1.json"] {
            let said = host.run(words).refused(1);
            let end = format!("{} [{code}]\n", hint("a-1"));
            assert!(said.ends_with(&end), "`{words}`: {said}");
        }
        host.write("a.csv", "a\n1\n");
        host.run("submit --queue q --uri a.csv --id one").ok();
    }
    let clean = component("clean").display().to_string();
    host.run(&format!("ingest a.csv --plugin {clean} --id a-1")).ok();
    let said = host.run("report out/receipts/a-1.json").ok();
    assert!(said.contains("1 record: 1 kept"), "{said}");
}

/// No id is wrong where no server answers.
#[test]
fn a_report_without_a_server_says_nothing_of_receipts() {
    let host = Host::on(&format!("redis://127.0.0.1:{}/", free_port()));
    let said = host.run("report a-1").refused(1);
    assert!(
        said.contains("cannot be reached") && !said.contains("receipt"),
        "{said}"
    );
    let host = Host::embedded();
    host.write("queue.db", "no database ".repeat(400));
    let said = host.run("report a-1").refused(1);
    assert!(
        said.contains("cannot be used") && !said.contains("receipt"),
        "{said}"
    );
}

/// Whoever collects the log must find why the program ended, whichever other lines are wanted.
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
            let said = Said::new(&command.output().unwrap()).refused(1);
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

/// Of several inputs each note says which one it is about, also where names are not among the results.
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
    // So do the others.
    host.write("one.csv", "n\nx\n");
    let config = r#"{"columns":{"n":{"type":"integer"}}}"#;
    let said = ingest(&format!(
        "a.csv one.csv --max-rejects 100% --plugin-config {config}"
    ));
    assert!(
        said.stderr.contains("one.csv: every record was rejected"),
        "{}",
        said.stderr
    );
}

/// What the program starts itself with is no command for people.
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

/// On a terminal, which `script` makes.
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
    // A dumb terminal cannot move the cursor for a progress line.
    let said = on_a_terminal("ingest in.csv", &[("TERM", "dumb")]);
    assert!(
        said.contains("1 record: 1 kept") && !said.contains('\u{1b}'),
        "{said:?}"
    );
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
            "ingest x.csv --plugin clean",
            vec![],
            "clean: a component is named by its path: No such file",
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
        ("ingest s3://b/x.csv --plugin", vec![clean], "s3"),
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

#[test]
fn a_mistyped_file_is_no_empty_queue() {
    let host = Host::embedded();
    for words in [
        "queue list",
        "queue resume --queue q",
        "queue audit",
        "status one",
        "requests --queue q",
        "report one",
        "cancel one",
        "dead list",
        "plugin list",
        "plugin history --queue q",
        "plugin rollback --queue q",
        "plugin bind --queue q clean@0.1.0",
    ] {
        let said = host.run(words).refused(1);
        let why = "queue.db: there is no such file; `submit`, `run` and `plugin push` make one";
        assert!(said.contains(why), "`{words}`: {said}");
        assert!(!host.path("queue.db").exists(), "`{words}`");
        // Nor is the one that nobody named.
        let mut command = host.command();
        command.env_remove("REDIS_URL").args(words.split(' '));
        assert_eq!(command.output().unwrap().status.code(), Some(1));
        assert!(!host.path(".local").exists(), "`{words}`");
    }
}

#[test]
fn a_queue_that_is_new_is_told() {
    let host = Host::embedded();
    let said = host.run("queue pause --queue q");
    assert!(said.stderr.starts_with("q is new on sqlite:"), "{}", said.stderr);
    assert_eq!(host.run("queue pause --queue q").stderr, "");
    let burst = |queue: &str| {
        let words = format!("run --queue {queue} --burst --plugin");
        host.run_with(&words, &[component("clean").to_str().unwrap()])
    };
    let new = "the server does not know this queue yet";
    host.write("in.csv", "a\n1\n");
    host.run("submit --queue orders --uri in.csv").ok();
    for (queue, is_new) in [("q", false), ("Q", true), ("ordesr", true)] {
        let said = burst(queue);
        let warned = said
            .stderr
            .lines()
            .any(|line| line.contains(" WARN ") && line.contains(new));
        assert_eq!(warned, is_new, "{}", said.stderr);
        let last = said.stderr.lines().last().unwrap_or_default();
        let near = match queue {
            "Q" => "Q: sqlite:|did not know this queue; near it: q",
            "ordesr" => "ordesr: sqlite:|did not know this queue; near it: orders",
            _ => "",
        };
        let [begin, end] = [near.split('|').next(), near.split('|').next_back()].map(Option::unwrap);
        assert!(last.starts_with(begin) && last.ends_with(end), "{}", said.stderr);
        assert_eq!(
            last.contains("did not know this queue;"),
            is_new,
            "{}",
            said.stderr
        );
        said.ok();
    }
}

#[test]
fn a_worker_that_cannot_write_takes_no_request() {
    let host = Host::embedded();
    host.write("in.csv", "a\n1\n");
    host.write("not-a-folder", "");
    host.run("submit --queue q --uri in.csv --id one").ok();
    let clean = component("clean");
    let words = "run --queue q --burst --allow-root . --output not-a-folder --plugin";
    let said = host.run_with(words, &[clean.to_str().unwrap()]).refused(1);
    assert!(said.contains("not-a-folder"), "{said}");
    assert_eq!(host.status("one")["state"], "ready");
    let said = host.run("run --queue q --burst --plugin clean").refused(1);
    assert!(
        said.contains("clean: a component is named by its path: No such file")
            && !said.contains("did you mean"),
        "{said}"
    );
    let said = host
        .run_with(
            "run --queue receipts --burst --plugin",
            &[clean.to_str().unwrap()],
        )
        .refused(2);
    assert!(said.contains("receipts"), "{said}");
}

#[test]
fn the_queue_is_found_as_the_environment_says() {
    let server = RedisServer::start();
    let host = Host::on(&server.url());
    host.run("submit --queue q --no-check --uri a.csv --id one").ok();
    let url = url::Url::parse(&server.url()).unwrap();

    let mut by_parts = host.command();
    by_parts
        .env_remove("REDIS_URL")
        .env("REDIS_HOST", "127.0.0.1")
        .env("REDIS_PORT", url.port().unwrap().to_string());
    let output = by_parts.args(["status", "one"]).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    host.write(".env", format!("REDIS_URL={}\n", server.url()));
    let output = host
        .command()
        .env_remove("REDIS_URL")
        .args(["status", "one"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    std::fs::remove_file(host.path(".env")).unwrap();
    let output = host
        .command()
        .env_remove("REDIS_URL")
        .args(["submit", "--queue", "q", "--no-check", "--uri", "a.csv"])
        .output();
    assert!(output.unwrap().status.success());
    assert!(
        host.path(".local/share/ingest-host/queue.db").exists(),
        "the embedded queue is the default"
    );
}

/// Kubernetes sets REDIS_PORT in each pod beside a Service named `redis`.
#[test]
fn a_service_of_kubernetes_is_no_server() {
    let server = RedisServer::start();
    let host = Host::on(&server.url());
    host.run("submit --queue q --no-check --uri a.csv --id one").ok();
    let in_a_pod = |words: &str| {
        let mut command = host.command();
        command
            .env_remove("REDIS_URL")
            .env("REDIS_PORT", "tcp://10.0.0.1:6379")
            .args(words.split(' '));
        Said::new(&command.output().unwrap())
    };
    // Nobody has named a server, so it is this user's file.
    in_a_pod("submit --queue q --no-check --uri a.csv --id two").ok();
    assert!(in_a_pod("status two").ok().starts_with("two  ready"));
    assert!(host.path(".local/share/ingest-host/queue.db").exists());
    // And .env names one without a contradiction.
    host.write(".env", format!("REDIS_URL={}\n", server.url()));
    assert!(in_a_pod("status one").ok().starts_with("one  ready"));
}

#[test]
fn a_password_and_an_address_are_taken_as_they_are_written() {
    let server = RedisServer::start_with(&["--bind", "127.0.0.1", "::1"]);
    let port = url::Url::parse(&server.url()).unwrap().port().unwrap();
    let host = Host::on(&server.url());
    host.run("submit --queue q --no-check --uri a.csv --id one").ok();
    let mut admin = redis::Client::open(server.url())
        .unwrap()
        .get_connection()
        .unwrap();
    for (password, in_file) in [
        ("%41", "%41"),
        ("a$b", "a$b"),
        ("a$HOME", "\"a$HOME\""),
        ("${HOME}", "'${HOME}'"),
        (r"a\b\n\\", r"a\b\n\\"),
        (r"a\b\n\\", r#""a\b\n\\" # quoted"#),
        ("a@b/c?d#e:f%", "a@b/c?d#e:f%"),
        ("pä ss", "'pä ss'"),
        ("#some", "#some"),
        ("", " # none"),
        ("", "\t#none"),
    ] {
        let set = redis::cmd("CONFIG")
            .arg("SET")
            .arg("requirepass")
            .arg(password)
            .to_owned();
        set.exec(&mut admin).unwrap();
        let mut by_parts = host.command();
        by_parts
            .env_remove("REDIS_URL")
            .env("REDIS_HOST", "::1")
            .env("REDIS_PORT", port.to_string())
            .env("REDIS_PASSWORD", password);
        let said = Said::new(&by_parts.args(["status", "one"]).output().unwrap()).ok();
        assert!(said.starts_with("one  ready"), "{said}");
        host.write(
            ".env",
            format!("REDIS_HOST=127.0.0.1\nREDIS_PORT={port}\nREDIS_PASSWORD={in_file}\n"),
        );
        let mut by_file = host.command();
        by_file.env_remove("REDIS_URL");
        let said = Said::new(&by_file.args(["status", "one"]).output().unwrap()).ok();
        assert!(said.starts_with("one  ready"), "{said}");
    }
}

#[test]
fn a_redis_cluster_is_named_at_the_start() {
    let bus = free_port().to_string();
    let server = RedisServer::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
    let host = Host::on(&server.url());
    let clean = component("clean").display().to_string();
    let told = "the server is a node of a Redis Cluster, which is not supported: name a server without `cluster-enabled yes`";
    for words in [
        "queue list".to_owned(),
        "submit --queue q --no-check --uri a.csv".to_owned(),
        format!("run --queue q --plugin {clean}"),
        format!("run --queue q --burst --plugin {clean}"),
    ] {
        let said = host.run(&words).refused(1);
        assert!(
            said.contains(&format!("{}: {told}", server.url())),
            "{words}: {said}"
        );
        assert!(!said.contains("trying again"), "{words}: {said}");
    }
    // One who may not ask hears of it all the same.
    let mut admin = redis::Client::open(server.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let words = "SETUSER ann on >pw ~* +@all -info";
    let set = redis::cmd("ACL")
        .arg(words.split(' ').collect::<Vec<_>>())
        .to_owned();
    set.exec(&mut admin).unwrap();
    let host = Host::on(&server.url().replace("redis://", "redis://ann:pw@"));
    let said = host.run("submit --queue q --no-check --uri a.csv").refused(1);
    assert!(said.contains(told), "{said}");
}

#[test]
fn a_password_is_never_shown() {
    let server = RedisServer::start();
    let url = server.url().replace("redis://", "redis://:s3cret@");
    let host = Host::on(&url);
    let said = host.run("queue list");
    assert!(
        !said.stderr.contains("s3cret") && !said.stdout.contains("s3cret"),
        "{}",
        said.stderr
    );
    let host = Host::on("redis://:s3cret@127.0.0.1:1");
    let said = host.run("queue list").refused(1);
    assert!(!said.contains("s3cret"), "{said}");
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

#[test]
fn inspect_shows_what_a_component_is() {
    let host = Host::embedded();
    let said = host
        .run_with("plugin inspect", &[component("hostile").to_str().unwrap()])
        .ok();
    assert!(said.starts_with("hostile "), "{said}");
    assert!(
        said.contains("ingest:plugin@0.1.0") && said.contains("ingest:plugin/host@0.1.0"),
        "{said}"
    );
}
