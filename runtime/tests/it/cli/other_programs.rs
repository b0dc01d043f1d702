//! Tests the hints for commands and options of other programs: each error names the equivalent of this program.

use crate::support::host::{Host, component};

/// Checks commands that users of RQ, Celery and other queues type.
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
        ("config show", "`ingest-host config check` checks"),
        ("validate", "`ingest-host config check` checks"),
        ("reload", "SIGHUP makes a worker"),
        // A misspelled command gets clap's own tip.
        ("sumbit", "a similar subcommand exists: 'submit'"),
        ("plugin bnid", "some similar subcommands exist: 'build', 'bind'"),
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
        ("plugin push a.wasm b.wasm", "tip: one file at a time"),
        ("plugin inspect a.wasm b.wasm", "tip: one file at a time"),
        (
            "plugin bind --queue q clean@0.1.0 @c.json",
            "a config as --config JSON",
        ),
        (
            "run data/alarms.csv",
            "`ingest-host submit --queue QUEUE --uri FILE` puts it into a queue",
        ),
        (
            "run alarms.csv --plugin alarms.wasm",
            "`ingest-host ingest FILE --plugin PLUGIN.wasm` does one file",
        ),
        (
            "plugin unbind --queue q",
            "`ingest-host plugin rollback --queue QUEUE` restores",
        ),
        ("plugin remove clean@0.1.0", "a stored plugin stays"),
        ("queue delete q", "a queue stays"),
        ("logs", "a worker writes its log to stderr"),
        ("submit --queue q --uri a --delay 5m", "its member `delay_ms`"),
        ("submit --queue q --uri a --plugin x", "a request has no plugin"),
        ("cancel --all", "`cancel` takes one ID at a time"),
        ("run --queue q --daemon", "`run` stays in the foreground"),
        ("run --queue q --json", "--log-format json prints"),
        ("--queue q run", "write --queue after `run`"),
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

/// Checks options that users of pandas, Polars, `sort` and other tools type.
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
        (
            "run --config ingest-host.toml",
            "--config-file FILE has settings of this program",
        ),
        ("ingest --uri a.csv", "tip: an input is given without an option"),
        ("ingest --input=a.csv", "tip: an input is given without an option"),
        ("ingest a.csv --queue q", "tip: `ingest` uses no queue"),
        (
            "submit --queue q --file a.csv",
            "tip: an input is given as --uri FILE",
        ),
        ("run --queue q --retries 3", "tip: --retry-for DURATION"),
        ("run --queue q --timeout 3", "tip: --limit request-time=DURATION"),
        ("run --queue q --redis redis://h", "tip: --url redis://HOST:PORT"),
        ("queue list --broker redis://h", "tip: --url redis://HOST:PORT"),
        ("status a b", "and one ID at a time"),
        ("cancel a b", "and one ID at a time"),
        (
            "submit --queue q --uri a --id x --trim true",
            "tip: write --trim=true",
        ),
        ("run --queue q --no-header false", "tip: write --no-header=false"),
        // If other commands have the option, the hint names these commands.
        (
            "queue list --sep ;",
            "tip: --delimiter is an option of `ingest-host run`, `ingest-host submit`, `ingest-host dead retry`, \
             `ingest-host ingest`, `ingest-host plugin try`, `ingest-host plugin bench`, `ingest-host plugin bind`, \
             `ingest-host plugin inspect`",
        ),
        (
            "submit --queue q --uri a --profile",
            "tip: --profile is an option of `ingest-host run`, `ingest-host ingest`",
        ),
        (
            "dead retry x --max-rejects 100%",
            "tip: --max-rejects is an option of `ingest-host run`, `ingest-host ingest`, `ingest-host plugin bind`",
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
    let said = host.run("ingest --uri a.csv").refused(2);
    assert!(
        said.contains("Usage: ingest-host ingest") && !said.contains("--url <URL>"),
        "{said}"
    );
    // The error does not contain clap's tip to pass an unknown option as a value (`-- --frobnicate`).
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

/// Checks that after a small mistake, such as a misspelled file name, the error says what to write instead.
#[test]
fn a_slip_of_the_pen_is_answered_with_the_right_spelling() {
    let host = Host::embedded();
    for words in ["dead retry", "dead purge"] {
        let said = host.run(words).refused(2);
        assert!(
            said.contains("tip: give one ID, or all of a queue with --all --queue NAME"),
            "{said}"
        );
    }
    host.write("alarms.clean.json", "{}");
    for words in [
        "plugin bind --queue q clean@0.1.0 --config @alarms.clean.jsn",
        "submit --queue q --uri @alarms.clean.jsn",
        "run --queue q --credentials alarms.clean.jsn",
    ] {
        let said = host.run(words).refused(2);
        assert!(
            said.contains("; alarms.clean.json is here: did you mean it? ["),
            "{said}"
        );
    }
    std::fs::remove_file(host.path("alarms.clean.json")).unwrap();
    host.write("alarms.csv", "a\n1\n");
    let clean = component("clean").display().to_string();
    for (words, hint) in [
        ("ingest alarms.csv --trim true", "; write --trim=true ["),
        ("ingest alarm.csv", "; alarms.csv is here: did you mean it? ["),
        (
            "ingest ./Alarms.CSV",
            "; ./alarms.csv is here: did you mean it? [",
        ),
    ] {
        let said = host.run(&format!("{words} --plugin {clean}")).refused(1);
        assert!(said.contains(hint), "`{words}`: {said}");
    }
    let said = host.run("submit --queue q --uri alarm.csv").refused(1);
    assert!(
        said.contains("alarms.csv is here: did you mean it? --no-check submits"),
        "{said}"
    );
    std::fs::copy(component("clean"), host.path("clean.wasm")).unwrap();
    for name in ["claen.wasm", "Clean.wasm", "cleaner.wasm"] {
        let said = host.run(&format!("ingest alarms.csv --plugin {name}")).refused(2);
        assert!(
            said.contains("; clean.wasm is here: did you mean it? ["),
            "{said}"
        );
    }
    let said = host
        .run(&format!("ingest nothing-like-it.csv --plugin {clean}"))
        .refused(1);
    assert!(!said.contains("did you mean"), "{said}");
    host.write("two.csv", "a,b\n1,2\n");
    for (delimiter, is_told) in [(";", true), (",", false)] {
        let said = host.run(&format!(
            "ingest two.csv --delimiter {delimiter} --plugin {clean}"
        ));
        assert_eq!(
            said.stderr.contains("has one column by the delimiter"),
            is_told,
            "{}",
            said.stderr
        );
        said.ok();
    }
    let said = host.run("ingest clean.wasm --plugin alarms.csv").refused(2);
    assert!(said.contains("write --plugin clean.wasm"), "{said}");
    let script = format!("ingest-host ingest <(cat alarms.csv) --plugin {clean}");
    let said = host.bash(&script).refused(1);
    assert!(said.contains("`COMMAND | ingest-host ingest -` reads"), "{said}");
    for (url, hint) in [
        ("localhost:1", "write redis://localhost:1 ["),
        ("127.0.0.1:1", "write redis://127.0.0.1:1 ["),
    ] {
        let said = host.run(&format!("--url {url} queue list")).refused(2);
        assert!(said.contains(hint), "{said}");
    }
    let said = host.run("run --queue q --burst --burst-wait 5").refused(2);
    assert!(said.contains("(5 seconds are 5s)"), "{said}");
    let alarms = component("alarms").display().to_string();
    let said = host
        .run(&format!(
            "ingest alarms.csv --plugin {alarms} --plugin-config {{\"x\":1}}"
        ))
        .refused(1);
    assert!(said.contains("takes no config"), "{said}");
}

/// Checks the hint for a plugin in the wrong form: `run` and `ingest` take a file, `plugin bind` takes a name and a
/// version.
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
        let said = host.run(words).refused(2);
        assert!(
            said.ends_with("; clean.wasm is here: did you mean it? [plugin-missing]\n"),
            "`{words}`: {said}"
        );
    }
    let said = host.run("ingest a.csv --plugin .").refused(2);
    assert!(said.contains(".: is a folder; it has clean.wasm ["), "{said}");
    let said = host.run("ingest a.csv --plugin alarms").refused(2);
    assert!(!said.contains("did you mean"), "{said}");
    let said = host.run("run --queue q --burst --plugin clean@0.1.0").refused(2);
    let hint = "; NAME@VERSION is what `ingest-host plugin bind` takes [plugin-missing]\n";
    assert!(said.ends_with(hint), "{said}");
    let said = host.run("plugin bind --queue q clean.wasm").refused(2);
    let why = "clean.wasm: that is a file: push it first (`ingest-host plugin push clean.wasm`), then bind NAME@VERSION";
    assert!(said.contains(why), "{said}");
    host.run("plugin push clean.wasm").ok();
    let hostile = component("hostile");
    host.run_with("plugin push", &[hostile.to_str().unwrap()]).ok();
    let said = host.run("plugin bind --queue q clean").refused(2);
    let why = "\"clean\" has no version: write clean@0.1.0 [";
    assert!(said.contains(why), "{said}");
    let said = host.run("plugin bind --queue q claen@0.1.0").refused(1);
    assert!(said.contains("; did you mean clean@0.1.0? ["), "{said}");
    let said = host.run("plugin bind --queue q no").refused(2);
    assert!(said.contains("(the server has clean@0.1.0, hostile@"), "{said}");
}
