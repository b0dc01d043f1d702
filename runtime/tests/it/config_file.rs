//! Tests the config file. Each mistake in it is reported with its position. Command line, environment, file and default
//! have this precedence, and `config check` shows which of them each setting comes from.

use serde_json::{Value, json};

use crate::support::host::Host;

fn host(file: &str) -> Host {
    let host = Host::embedded();
    host.write("ingest-host.toml", file);
    host
}

/// Returns the faults that `config check` finds, without the name of the file.
fn faults(file: &str) -> Vec<String> {
    let said = host(file)
        .run("config check --config-file ingest-host.toml")
        .refused(2);
    let lines = said.lines();
    lines
        .map(|line| {
            line.strip_prefix("error: ingest-host.toml:")
                .expect(line)
                .to_owned()
        })
        .collect()
}

/// Returns the settings that `config check` shows with these additional arguments.
fn check(host: &Host, more: &str) -> Value {
    let words = format!("config check --config-file ingest-host.toml --json {more}");
    host.run(&words).json().remove(0)
}

#[test]
fn each_mistake_is_reported_with_its_position() {
    for (file, expected) in [
        (
            "concurency = 4",
            "1:1: unknown key \"concurency\", did you mean `concurrency`?",
        ),
        (
            "\n  allow_host = []",
            "2:3: unknown key \"allow_host\", did you mean `allow-host`?",
        ),
        (
            "[stores.lake]",
            "1:9: `kind` is missing: write kind = \"s3\", \"gs\" or \"az\"",
        ),
        (
            "concurrency = \"4\"",
            "1:15: `concurrency`: expected a whole number, found a string",
        ),
        (
            "concurrency = 1.5",
            "1:15: `concurrency`: expected a whole number, found a number with a fraction",
        ),
        (
            "concurrency = 0",
            "1:15: invalid value '0' for '--concurrency <N>': expected a whole number from 1 to 256",
        ),
        (
            "concurrency = \"4s\"",
            "1:15: invalid value '4s' for '--concurrency <N>': expected a whole number from 1 to 256",
        ),
        (
            "retention = \"36h\"",
            "1:13: invalid value '36h' for '--retention <DAYS>': expected a whole number of days from 0 to 65535, or a time such \
             as 2d or 90s",
        ),
        (
            "retry-for = 5",
            "1:13: `retry-for`: expected a string (\"DURATION\"), found a whole number",
        ),
        (
            "profile = \"yes\"",
            "1:11: `profile`: expected true or false, found a string",
        ),
        (
            "allow-host = \"a\"",
            "1:14: `allow-host`: expected a list, as in allow-host = [\"HOST|CIDR\"], found a string",
        ),
        (
            "allow-host = [\"a\", 3]",
            "1:20: `allow-host`: expected a string (\"HOST|CIDR\"), found a whole number",
        ),
        ("a = 1\nconcurrency = 1\nconcurrency = 2", "3:1: duplicate key"),
        ("[queues.a]\n[queues.a]", "2:9: duplicate key"),
        ("limit = []", "1:1: unknown key \"limit\", did you mean `limits`?"),
        (
            "limits = [\"memory=1MiB\"]",
            "1:10: `limits`: expected a table, as in limits = { memory = \"64MiB\" }, found a list",
        ),
        (
            "limits.memory = \"64MB\"",
            "1:8: \"64MB\" is no size: write 1000, 64KiB, 64MiB, 1GiB",
        ),
        (
            "[queues.a]\nlimits.compile-time = \"5m\"",
            "2:8: compile-time is a limit of the whole worker, not of a queue",
        ),
        (
            "[queues.a]\nconcurrency = 3",
            "2:1: `concurrency` is a setting of the whole worker, not of a queue: write it before the first [table]",
        ),
        (
            "[queues]\na = 3",
            "2:5: expected a table with the settings of a queue, found a whole number",
        ),
        (
            "max-rejects = [\"5%\"]\non-reject = \"fail\"",
            "2:1: `on-reject` cannot be used with `max-rejects`",
        ),
        (
            "url = \"redis://:s3cret@h/\"",
            "1:7: `url`: has a password, which must not be in this file: set REDIS_URL in the environment instead",
        ),
        (
            "watch = true",
            "1:1: `watch` has no effect without `plugin` [settings-invalid]",
        ),
    ] {
        let found = faults(file);
        assert!(found.contains(&expected.to_owned()), "{file}: {found:?}");
    }
    // This mistake shows only in the settings of a queue, which have no single position.
    let said = host("[queues.a]\noutput = \"x.csv\"")
        .run("config check --config-file ingest-host.toml")
        .refused(2);
    assert!(
        said.contains("queue a") && said.contains("--output x.csv"),
        "{said}"
    );
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let file = "b = 1\n[queues.a]\nc = 2\nconcurrency = 3\n[queues.'x/y']\n";
    let found = faults(file);
    assert_eq!(found.len(), 4, "{found:?}");
    let host = host(file);
    let document = host.run("config check --config-file ingest-host.toml --json");
    assert_eq!(document.code, Some(2));
    let document: Value = serde_json::from_str(&document.stdout).unwrap();
    assert_eq!(document["valid"], false);
    let places = document["errors"].as_array().unwrap();
    let places = places
        .iter()
        .map(|error| (error["line"].as_u64(), error["column"].as_u64()));
    assert_eq!(
        Vec::from_iter(places),
        [(1, 1), (3, 1), (4, 1), (5, 9)].map(|(line, column)| (Some(line), Some(column)))
    );
    // Every command that is given the file refuses it, because it may name the queue's server.
    for words in ["run --queue q", "queue list", "submit --queue q --uri a"] {
        let said = host
            .run(&format!("{words} --config-file ingest-host.toml"))
            .refused(2);
        assert!(said.contains("ingest-host.toml:1:1: unknown key \"b\""), "{said}");
    }
    // A fault of `.env` is in the document, too.
    host.write(".env", "REDIS_HOST=a b\n");
    host.write("empty.toml", "");
    let document = host.run("config check --config-file empty.toml --json");
    assert_eq!(document.code, Some(2));
    let document: Value = serde_json::from_str(&document.stdout).unwrap();
    let message = document["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains(".env: line 1 is not NAME=VALUE"), "{message}");
    std::fs::remove_file(host.path(".env")).unwrap();
    let said = host.run("run --config-file missing.toml").refused(2);
    assert!(said.contains("missing.toml: cannot be read"), "{said}");
}

#[test]
fn the_command_line_beats_the_environment_and_the_environment_the_file() {
    let host = host(
        "queue = ['a', 'b']\ncredentials = 'file.json'\nlease = 30\nprofile = true\nlimits = { memory = '32MiB', traps = 1 }\n\
         [queues.a]\nprofile = false\nlimits.memory = '16MiB'\nmax-rejects = ['5%']\n[queues.b]\non-reject = 'fail'\n",
    );
    for name in ["file.json", "env.json", "line.json"] {
        host.write(name, "{}");
    }
    let of = |more: &str, variables: &[(&str, &str)], part: &str, name: &str| {
        let words = format!("config check --config-file ingest-host.toml --json {more}");
        let mut command = host.command();
        command
            .args(words.split_whitespace())
            .envs(variables.iter().copied());
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let setting = document.pointer(part).unwrap()[name].clone();
        (
            setting["value"].clone(),
            setting["from"].as_str().unwrap().to_owned(),
        )
    };
    let is = |value: Value, from: &str| (value, from.to_owned());
    let variables = [("INGEST_HOST_CREDENTIALS", "env.json"), ("QUEUE_NAME", "c,d")];
    let (worker, a, b) = ("/worker", "/queues/a", "/queues/b");

    assert_eq!(
        of("", &[], worker, "credentials"),
        is(json!("file.json"), "ingest-host.toml:2")
    );
    assert_eq!(
        of("", &variables, worker, "credentials"),
        is(json!("env.json"), "INGEST_HOST_CREDENTIALS")
    );
    assert_eq!(
        of("--credentials line.json", &variables, a, "credentials"),
        is(json!("line.json"), "command line")
    );
    assert_eq!(
        of("", &[], worker, "queue"),
        is(json!(["a", "b"]), "ingest-host.toml:1")
    );
    assert_eq!(
        of("", &variables, worker, "queue"),
        is(json!(["c", "d"]), "QUEUE_NAME")
    );
    assert_eq!(
        of("--queue e", &variables, worker, "queue"),
        is(json!(["e"]), "command line")
    );
    assert_eq!(of("", &[], worker, "lease"), is(json!(30), "ingest-host.toml:3"));
    assert_eq!(
        of("--lease 40", &[], worker, "lease"),
        is(json!(40), "command line")
    );
    assert_eq!(
        of("--lease 40s", &[], worker, "lease"),
        is(json!("40s"), "command line")
    );
    assert_eq!(of("", &[], worker, "retention"), is(json!(7), "default"));
    host.write("times.toml", "lease = '2m'\nretention = '48h'\n");
    let times = host
        .run("config check --config-file times.toml --json")
        .json()
        .remove(0);
    let times = ["lease", "retention"].map(|name| times["worker"][name]["value"].clone());
    assert_eq!(times, ["2m", "48h"]);

    // The table of a queue comes before the worker's settings, and after the command line.
    assert_eq!(of("", &[], a, "profile"), is(json!(false), "ingest-host.toml:7"));
    assert_eq!(of("", &[], b, "profile"), is(json!(true), "ingest-host.toml:4"));
    assert_eq!(
        of("--profile", &[], a, "profile"),
        is(json!(true), "command line")
    );
    // Limits are merged by name.
    assert_eq!(
        of("", &[], a, "limits.memory"),
        is(json!("16MiB"), "ingest-host.toml:8")
    );
    assert_eq!(
        of("", &[], a, "limits.traps"),
        is(json!("1"), "ingest-host.toml:5")
    );
    assert_eq!(
        of("--limit memory=8MiB", &[], a, "limits.memory"),
        is(json!("8MiB"), "command line")
    );
    // Of two options that contradict each other, the one of the higher level holds.
    assert_eq!(
        of("--on-reject fail", &[], a, "max-rejects"),
        is(json!([]), "default")
    );
    assert_eq!(
        of("--max-rejects 3", &[], b, "on-reject"),
        is(json!("set-aside"), "default")
    );

    host.write(".env", "QUEUE_NAME=f\n");
    assert_eq!(
        of("", &[], worker, "queue"),
        is(json!(["f"]), "QUEUE_NAME in .env")
    );
    assert_eq!(
        of("--queue e", &[], worker, "queue"),
        is(json!(["e"]), "command line")
    );
}

#[test]
fn a_plugin_keeps_its_own_config() {
    let host = host(
        "plugin = 'a.wasm'\nplugin-config = '@a.json'\n[queues.q]\nplugin = 'b.wasm'\n[queues.r]\nplugin-config = '{}'\n",
    );
    host.write("a.json", "{}");
    for plugin in ["a.wasm", "b.wasm", "c.wasm"] {
        host.write(plugin, "");
    }
    let config =
        |more: &str, part: &str| check(&host, more).pointer(part).unwrap()["plugin-config"]["value"].clone();
    assert_eq!(config("", "/worker"), "@a.json");
    assert_eq!(config("", "/queues/q"), Value::Null);
    assert_eq!(config("", "/queues/r"), "(JSON that is not shown)");
    assert_eq!(config("--plugin c.wasm", "/worker"), Value::Null);
    assert_eq!(
        config("--plugin c.wasm --plugin-config {}", "/queues/r"),
        "(JSON that is not shown)"
    );
}

#[test]
fn the_file_names_the_queues_and_their_server() {
    let host = Host::embedded();
    let url = format!("sqlite:{}", host.path("other.db").display());
    host.write(
        "f.toml",
        format!("url = '{url}'\nlog-format = 'json'\n[queues.a]\n[queues.b]\n"),
    );
    host.write("in.csv", "a\n1\n");
    let run = |words: &str, redis_url: &str| {
        let mut command = host.command();
        command
            .env("INGEST_HOST_CONFIG", "f.toml")
            .env_remove("REDIS_URL");
        if !redis_url.is_empty() {
            command.env("REDIS_URL", redis_url);
        }
        let output = command.args(words.split_whitespace()).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let said = run("submit --queue a --uri in.csv", "");
    assert!(
        said.contains("submitted") && host.path("other.db").exists(),
        "{said}"
    );
    let said = run("run --burst --allow-root .", "");
    assert!(
        said.contains("\"queues\":\"a,b\"") && said.contains(&url),
        "{said}"
    );
    assert!(run("run --burst --log-format human", "").contains("INFO"));
    let said = run("config check", &host.url);
    assert!(said.contains(&host.url) && said.contains("REDIS_URL"), "{said}");
    assert!(said.contains("[queues.NAME] in f.toml"), "{said}");
    // An empty variable names no file.
    let mut command = host.command();
    command.env("INGEST_HOST_CONFIG", "").args(["config", "check"]);
    assert!(command.output().unwrap().status.success());
}

#[test]
fn no_secret_is_shown() {
    let host = host("plugin = 'a.wasm'\nplugin-config = '{\"key\": \"s3cret\"}'\n");
    host.write("a.wasm", "");
    host.write("secrets.json", r#"{"https://h": {"authorization": "s3cret"}}"#);
    host.write("signed.toml", "output = 'file:///data/?sig=s3cret'\n");
    let check = |words: &str, code: i32, shown: &[&str]| {
        for more in ["", " --json"] {
            let said = host.run(&format!("config check {words}{more}"));
            assert_eq!(said.code, Some(code), "{}", said.stderr);
            let text = said.stdout + &said.stderr;
            assert!(!text.contains("s3cret"), "{text}");
            for part in shown {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    };
    let settings = "--config-file ingest-host.toml --credentials secrets.json --url redis://:s3cret@h/";
    check(
        settings,
        0,
        &["secrets.json", "(JSON that is not shown)", "redis://h/"],
    );
    check("--config-file signed.toml", 2, &["file:///data/?sig=***"]);
}

#[test]
fn no_secret_of_a_wrong_setting_is_shown() {
    for setting in [
        "allow-host = ['https://me:s3cret@h/']",
        "allow-host = ['me:s3cret@h']",
        "allow-bucket = ['s3://me:s3cret@b']",
        "allow-root = ['https://me:s3cret@h/']",
        "output = 'https://me:s3cret@h/'",
        "rejects = 'https://me:s3cret@h/'",
        "plugin = 'https://me:s3cret@h/x.wasm'",
        "plugin = 'a.wasm'\nplugin-config = 's3cret'",
        "credentials = 'https://me:s3cret@h/'",
    ] {
        let host = host(setting);
        host.write("a.wasm", "");
        for more in ["", "--json"] {
            let said = host.run(&format!("config check --config-file ingest-host.toml {more}"));
            assert!(
                !said.stdout.contains("s3cret") && !said.stderr.contains("s3cret"),
                "{setting}: {}{}",
                said.stdout,
                said.stderr
            );
            assert_eq!(said.code, Some(2), "{setting}: {}", said.stdout);
        }
    }
}

#[test]
fn an_output_that_no_worker_can_use_is_a_mistake() {
    for (setting, why) in [
        (
            "output = 'o'\nrejects = 'o'\n[queues.q]",
            "is the folder of the outputs",
        ),
        ("output = 's3://b/x'\n[queues.decisions]", "queue \"decisions\""),
    ] {
        let said = host(setting).run("config check --config-file ingest-host.toml");
        let said = said.refused(2);
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_file_that_others_can_change_is_read_with_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let host = host("lease = 30\n");
    let mode = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(host.path("ingest-host.toml"), mode).unwrap();
    let said = host.run("config check --config-file ingest-host.toml");
    assert!(
        said.stderr.contains("decides what requests may reach"),
        "{}",
        said.stderr
    );
    assert_eq!(said.code, Some(0));
}

#[test]
fn a_table_that_does_not_hold_is_told() {
    let host = host("[queues.alarms]\ncredentials = 'a.json'\nprofile = true\n[queues.b1]\n");
    host.write("a.json", "{}");
    host.write("b.json", "{}");
    let told = |more: &str| {
        let said = host.run(&format!("config check --config-file ingest-host.toml {more}"));
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        said.stderr
    };
    assert!(!told("").contains("table"));
    // Also if another option, or a limit of the same name, replaces the setting.
    host.write(
        "ingest-host.toml",
        "plugin = 'a.wasm'\n[queues.alarms]\nplugin-config = '{}'\nmax-rejects = ['5%']\nlimits = { memory = '16MiB', traps = 1 }\n",
    );
    for plugin in ["a.wasm", "b.wasm"] {
        host.write(plugin, "");
    }
    assert!(!told("--limit call-time=5s").contains("table"));
    for (more, names) in [
        ("--on-reject fail", "max-rejects"),
        ("--limit memory=1GiB", "limits.memory"),
        ("--plugin b.wasm", "plugin-config"),
        (
            "--max-rejects 3 --limit traps=2 --limit memory=1GiB",
            "max-rejects, limits.memory, limits.traps",
        ),
    ] {
        let said = told(more);
        assert!(said.contains(&format!("settings=\"{names}\"")), "{more}: {said}");
    }
    host.write(
        "ingest-host.toml",
        "[queues.alarms]\ncredentials = 'a.json'\nprofile = true\n[queues.b1]\n",
    );
    let said = told("--credentials b.json");
    assert!(
        said.contains("settings=\"credentials\"") && said.contains("queue=\"alarms\""),
        "{said}"
    );
    let said = told("--queue alarm");
    assert!(
        said.contains("queue=\"alarm\"") && said.contains("table=\"alarms\""),
        "{said}"
    );
    // Queues with similar names are no mistake.
    assert!(!told("--queue b1,b2").contains("table"));
}
