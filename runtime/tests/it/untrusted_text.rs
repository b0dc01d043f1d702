//! Tests that text from untrusted sources does no harm. If a person sees such a text, it cannot control the terminal,
//! forge a line or flood the output. Documents for programs contain the text unchanged.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::host::{Host, component};
use crate::support::inputs::scripted_server::{ScriptedServer, answer, serve};
use crate::support::redis::RedisServer;
use crate::support::wat::{ANSWER, HandWrittenPlugin, words};

/// A harmless part of each hostile text. If an output contains this part, the text has reached it.
const MARK: &str = "m4rk";

/// The beginning of a forged log line.
const FORGED: &str = "1999-12-31T23:59:59.000000Z ERROR forged";

/// The maximum length of a line that a person sees, in bytes. A log line can contain several texts.
const LINE_BYTES_MAX: usize = 64 << 10;

/// The maximum number of characters in an argument of a program or a member of a request.
const SHORT_CHARS: usize = 7_000;

/// Returns texts with all kinds of characters that a person must not see. Each text has [`MARK`] near its start.
fn hostile_texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        format!("m4rk\n{FORGED}\r\n{FORGED}\r{FORGED}\tx\u{b}\u{c}{FORGED}"),
        "m4rk\u{1b}[31m\u{1b}[2J\u{1b}]0;title\u{7}\u{1b}P1$r\u{1b}\\\u{9b}31m\u{8}\u{8}\u{8}".into(),
        "m4rk\u{1}\u{2}\u{e}\u{f}\u{7f}\u{80}\u{84}\u{85}\u{90}\u{98}\u{9c}\u{9d}\u{9e}\u{9f}".into(),
        "m4rk\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{61c}\u{200e}\u{200f}vsc.tad".into(),
        format!("m4rk\u{2028}{FORGED}\u{2029}{FORGED}\u{85}{FORGED}"),
        "m4rk\u{200b}\u{200c}\u{200d}\u{2060}\u{2061}\u{2064}\u{feff}\u{ad}\u{34f}\u{180e}\u{3164}\u{115f}\u{ffa0}".into(),
        "m4rk\u{e0001}\u{e0041}\u{e007f}\u{fe00}\u{fe0f}\u{e0100}\u{fff9}\u{fffb}\u{206a}\u{1d173}\u{f8ff}\u{10ffff}".into(),
        "=m4rk|' /C calc'!A0".into(),
        "+m4rk".into(),
        "-m4rk+1".into(),
        "@m4rk(1)".into(),
        "m4rk\\n\\u{202e}\\x1b[2J \\ud83d \\u202e \\".into(),
        format!("m4rk\" level=\"ERROR\" }} }}, \"x\": 1 {{}} {{0}} {FORGED}"),
        "m4rk %0A%0D%1B%E2%80%AE %s%n ${HOME} $(id) `id` é汉ب".into(),
    ]
    .into();
    texts.push(format!("m4rk{}", "x".repeat(1 << 20)));
    texts.push(format!("m4rk{}", "\u{202e}".repeat(400 << 10)));
    texts
}

fn short(text: &str) -> String {
    text.chars().take(SHORT_CHARS).collect()
}

/// Returns the hostile texts, shortened to the maximum length of an argument.
fn short_texts() -> Vec<String> {
    hostile_texts().iter().map(|text| short(text)).collect()
}

/// Returns the short texts without LF, CR and NUL, which cannot occur within a line of a protocol.
fn texts_of_a_line() -> Vec<String> {
    let keeps = |c: char| !matches!(c, '\n' | '\r' | '\0');
    short_texts()
        .iter()
        .map(|text| text.chars().filter(|c| keeps(*c)).collect())
        .collect()
}

/// Checks that a terminal shows each of these bytes unchanged. The text must be UTF-8. Line ends are its only control
/// characters, and it contains no other character that the standard library would escape.
fn is_safe_for_people(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    for (number, line) in text.split('\n').enumerate() {
        for c in line.chars() {
            if c.escape_debug().count() != 1 && !matches!(c, '"' | '\'' | '\\') {
                return Err(format!("line {number} has U+{:04X}", u32::from(c)));
            }
        }
        if line.starts_with(FORGED) {
            return Err(format!("line {number} is forged"));
        }
    }
    Ok(())
}

/// Runs commands, and checks that all of their output is safe.
struct CheckedCommands {
    host: Host,
    log_format: &'static str,
    commands: usize,
    /// The number of JSON lines in the output so far.
    json_lines: usize,
}

impl CheckedCommands {
    fn new(host: Host, log_format: &'static str) -> Self {
        Self {
            host,
            log_format,
            commands: 0,
            json_lines: 0,
        }
    }

    /// Runs a command, checks that all of its output is safe, and returns it.
    #[track_caller]
    fn say(&mut self, words: &str, more: &[&str]) -> String {
        let more: Vec<_> = more.iter().map(|argument| argument.as_bytes()).collect();
        self.say_raw(words, &more)
    }

    #[track_caller]
    fn say_raw(&mut self, words: &str, more: &[&[u8]]) -> String {
        let mut command = self.host.command();
        let output = command
            .env("RUST_LOG", "debug")
            .args(["--log-format", self.log_format])
            .args(words.split_whitespace())
            .args(more.iter().map(|argument| OsStr::from_bytes(argument)))
            .output()
            .unwrap();
        self.commands += 1;
        self.check(words, &output)
    }

    #[track_caller]
    fn check(&mut self, words: &str, output: &Output) -> String {
        assert!(
            matches!(output.status.code(), Some(0..=2)),
            "`{words}`: {:?}",
            output.status
        );
        for bytes in [&output.stdout, &output.stderr] {
            let shown = || excerpt(bytes);
            is_safe_for_people(bytes).unwrap_or_else(|why| panic!("`{words}`: {why}: {}", shown()));
            for line in bytes.split(|byte| *byte == b'\n') {
                let is_json = line.starts_with(b"{") && serde_json::from_slice::<Value>(line).is_ok();
                let is_short = line.len() < LINE_BYTES_MAX;
                assert!(
                    is_json || is_short,
                    "`{words}`: {} bytes: {}",
                    line.len(),
                    shown()
                );
            }
        }
        let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        if words.contains("--json") {
            for line in stdout.lines() {
                serde_json::from_str::<Value>(line)
                    .unwrap_or_else(|error| panic!("`{words}`: {error}: {line}"));
                self.json_lines += 1;
            }
        }
        // In addition to the log, stderr contains notes and usage.
        let logged = stderr.lines().filter(|line| line.contains("timestamp"));
        for line in logged.filter(|_| self.log_format == "json") {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("`{words}`: {error}: {line}"));
            self.json_lines += 1;
        }
        format!("{stdout}{stderr}")
    }

    /// Does the same as [`CheckedCommands::say`], and also checks that the output contains the hostile text.
    #[track_caller]
    fn shows(&mut self, words: &str, more: &[&str]) -> String {
        let said = self.say(words, more);
        assert!(
            said.contains(MARK),
            "`{words}` does not show it: {}",
            excerpt(said.as_bytes())
        );
        said
    }
}

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .escape_debug()
        .take(2_000)
        .collect()
}

/// Returns the text with all bytes percent-encoded, except letters, digits and slashes.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut uri, byte| {
        match byte {
            b'/' => uri.push('/'),
            byte if byte.is_ascii_alphanumeric() => uri.push(byte.into()),
            byte => write!(uri, "%{byte:02X}").unwrap(),
        }
        uri
    })
}

/// Checks that all documents below a folder are safe. Returns the number of documents that contain the mark.
fn documents(folder: &Path) -> usize {
    let mut marked = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            marked += documents(&path);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let name = path.to_string_lossy();
        if name.ends_with(".json") {
            is_safe_for_people(&bytes).unwrap_or_else(|why| panic!("{name}: {why}"));
            serde_json::from_slice::<Value>(&bytes).unwrap();
        } else if name.ends_with(".rejects.csv") {
            rejects(&bytes);
        } else {
            continue;
        }
        marked += usize::from(String::from_utf8_lossy(&bytes).contains(MARK));
    }
    marked
}

/// Checks a file of rejects. Cells that the host writes must also be safe in a spreadsheet.
fn rejects(bytes: &[u8]) {
    let mut reader = csv::Reader::from_reader(bytes);
    assert_eq!(
        reader.headers().unwrap(),
        vec!["record", "line", "offset", "code", "reason", "raw"]
    );
    for row in reader.records().map(Result::unwrap) {
        for cell in row.iter().take(5) {
            is_safe_for_people(cell.as_bytes()).unwrap_or_else(|why| panic!("{cell:?}: {why}"));
            assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']), "{cell:?}");
        }
    }
}

fn on_each_queue(scenario: impl Fn(&mut CheckedCommands)) {
    let redis = RedisServer::start();
    for (host, log_format) in [(Host::embedded(), "human"), (Host::on(&redis.url()), "json")] {
        let mut commands = CheckedCommands::new(host, log_format);
        scenario(&mut commands);
        assert!(commands.commands > 0);
        assert!(commands.json_lines > 0 || log_format == "human");
    }
}

#[test]
fn the_judge_is_strict() {
    for (bytes, is_safe) in [
        ("a é汉ب 1\\n\n".as_bytes(), true),
        (b"\x1b", false),
        (b"\r", false),
        (b"\t", false),
        (b"\xff", false),
        ("\u{202e}".as_bytes(), false),
        ("\u{200b}".as_bytes(), false),
        ("\u{e0041}".as_bytes(), false),
        ("\u{9b}".as_bytes(), false),
        (FORGED.as_bytes(), false),
    ] {
        assert_eq!(is_safe_for_people(bytes).is_ok(), is_safe, "{bytes:?}");
    }
    for text in hostile_texts() {
        assert!(text.contains(MARK), "{text:?}");
    }
    let caught = hostile_texts();
    let caught = caught
        .iter()
        .filter(|text| is_safe_for_people(text.as_bytes()).is_err());
    assert!(caught.count() >= 8);
}

/// Checks documents that producers push: a hostile text is the whole document, or a member of it. Also checks URIs that
/// are percent-encoded in the document and decoded in error messages.
#[test]
fn what_producers_write() {
    on_each_queue(|commands| {
        let clean = component("clean").display().to_string();
        let mut ids = Vec::new();
        for (number, text) in short_texts().iter().enumerate() {
            for document in [
                json!({"uri": "a.csv", "id": text}),
                json!({"uri": "a.csv", "format": text}),
                json!({"uri": "a.csv", "delimiter": text}),
                json!({"uri": "a.csv", "quote": text}),
                json!({"uri": "a.csv", "header": text}),
                json!({"uri": "a.csv", "dialect": text}),
                json!({"uri": "a.csv", "encoding": text}),
                json!({"uri": "a.csv", "sha256": text}),
                json!({"uri": "a.csv", "priority": text}),
                json!({"uri": "a.csv", "delay_ms": text}),
                json!({"uri": text.repeat(4_000).chars().take(9_000).collect::<String>()}),
                json!({"uri": "a.csv", text: 1}),
                json!([text]),
                json!(text),
            ] {
                commands.host.push(&document.to_string());
                commands
                    .host
                    .push(&document.to_string().replace("m4rk", "m4rk\u{202e}\u{7f}"));
            }
            commands.host.push(&text.replace('\0', ""));
            let encoded = percent_encoded(&text.chars().take(250).collect::<String>());
            // The part before an `@` would count as a user name.
            let in_path = text.chars().filter(|c| !c.is_control() && *c != '@');
            let in_path: String = in_path.take(500).collect();
            for (kind, uri) in [
                ("file", format!("file:///nowhere/{encoded}")),
                ("path", format!("/nowhere/{in_path}")),
                ("http", format!("http://127.0.0.1:9/{encoded}?q={encoded}")),
                ("bad", format!("http://[{in_path}")),
                ("other", format!("file://{encoded}/a")),
                ("scheme", format!("s3://{in_path}")),
            ] {
                let id = format!("{kind}-{number}");
                commands.host.push(&json!({"uri": uri, "id": id}).to_string());
                // An invalid URI does not become a request. Its document is set aside instead.
                if matches!(kind, "file" | "path" | "http") {
                    ids.push(id);
                }
            }
        }
        let ran = commands.say(&format!("run --queue q --burst --plugin {clean}"), &[]);
        assert!(
            ran.contains(MARK) && ran.contains("given up: a dead letter"),
            "{}",
            excerpt(ran.as_bytes())
        );
        for words in [
            "requests --queue q",
            "requests --queue q --json",
            "dead list",
            "dead list --json",
        ] {
            let said = commands.shows(words, &[]);
            let marks = said.matches(MARK).count();
            assert!(marks > ids.len(), "`{words}`: {marks}");
        }
        for id in &ids {
            for words in ["status", "dead show", "status --json", "dead show --json"] {
                commands.shows(words, &[id]);
            }
            let said = commands.shows("report", &[id]);
            assert!(said.contains("so it has no receipt"), "{said}");
            let error = commands.host.status(id)["error"].as_str().unwrap().to_owned();
            assert!(error.contains(MARK), "{error:?}");
        }
        for words in [
            "queue list",
            "queue audit",
            "queue list --json",
            "queue audit --json",
        ] {
            commands.say(words, &[]);
        }
        // `submit` reports the earlier request, and why it became a dead letter.
        let uri = format!("file:///nowhere/{}", percent_encoded(&hostile_texts()[0]));
        commands.shows("submit --queue q --id file-0 --wait --uri", &[&uri]);
        commands.say("submit --queue q --id file-0 --wait --json --uri", &[&uri]);
        commands.shows("submit --queue q --id file-0 --json --uri", &[&uri]);
        commands.say("dead purge --queue q --all --documents", &[]);
    });
}

/// Checks hostile texts in arguments. Such texts become arguments, for example, if a shell expands a pattern to the
/// names of untrusted files.
#[test]
fn what_stands_in_arguments() {
    on_each_queue(|commands| {
        commands.host.write("a.csv", "a\n1\n");
        commands.host.run("submit --queue q --id a --uri a.csv").ok();
        let clean = component("clean").display().to_string();
        for text in short_texts() {
            for words in [
                "",
                "status",
                "status a --queue",
                "cancel",
                "dead show",
                "dead retry",
                "dead purge",
                "report",
                "requests --queue",
                "requests --queue q --state",
                "queue pause --queue",
                "queue resume --queue",
                "queue audit --queue",
                "plugin inspect",
                "plugin push",
                "plugin bind --queue q",
                "plugin rollback --queue",
                "plugin history --queue",
                "run --burst --queue",
                "run --burst --queue q --plugin",
                "run --burst --queue q --limit",
                "run --burst --queue q --max-rejects",
                "run --burst --queue q --concurrency",
                "run --burst --queue q --credentials",
                "submit --queue q --uri a.csv --id",
                "submit --queue q --uri a.csv --delimiter",
                "submit --queue q --uri a.csv --encoding",
                "submit --queue q --uri a.csv --sha256",
                "submit --queue q --uri a.csv --priority",
                "submit --uri a.csv --queue",
                "ingest a.csv --plugin",
            ] {
                let said = commands.say(words, &[&text]);
                // If the argument looks like an option, the error shows only the option's letter.
                let is_told = said.contains(MARK) || text.starts_with('-');
                assert!(
                    is_told,
                    "`{words}` does not show it: {}",
                    excerpt(said.as_bytes())
                );
            }
            commands.say("queue list --url", &[&text]);
            commands.say("run --burst --queue q --allow-host", &[&text]);
            commands.say("run --burst --queue q --output s3://bucket --rejects", &[&text]);
            commands.say("status", &[&format!("--{text}")]);
            commands.say("status a", &[&format!("-{text}")]);
            commands.shows("queue list", &[&format!("--log-format={text}")]);
            for config in [text.clone(), format!("@{text}"), format!("{{\"{text}\": 1}}")] {
                commands.say(
                    &format!("ingest a.csv --plugin {clean} --plugin-config"),
                    &[&config],
                );
            }
        }
        // The argument in these commands is not UTF-8.
        for words in ["status", "plugin inspect", "plugin push"] {
            let said = commands.say_raw(words, &[b"m4rk\xff\x9b2J\x1b"]);
            let error = "invalid UTF-8 was detected in one or more arguments";
            let is_told = said.contains(MARK)
                || said.contains(&format!(r#""error":"{error}","code":"usage""#))
                || said == format!("error: {error} [usage]\n");
            assert!(is_told, "{said}");
        }
    });
}

/// Checks hostile names of files in folders that the program may read.
#[test]
fn names_of_files() {
    on_each_queue(|commands| {
        let clean = component("clean").display().to_string();
        let mut ids = Vec::new();
        for (number, text) in hostile_texts().iter().enumerate() {
            let name: String = text.chars().filter(|c| *c != '/').collect();
            let end = name.floor_char_boundary(200);
            let name = format!("{}.csv", &name[..end]);
            commands.host.write(&name, "a,b\n1\n2,3\n");
            let path = commands.host.path(&name).display().to_string();
            let ingested = commands.say(&format!("ingest --plugin {clean} --id n{number}"), &[&path]);
            assert!(ingested.contains("1 rejected"), "{ingested}");
            commands.shows(&format!("report out/_ingest/receipts/n{number}.json"), &[]);
            commands.say(
                &format!("ingest --json --plugin {clean} --encoding latin-1"),
                &[&path],
            );
            // In a URI, control characters are percent-encoded.
            let uri = format!("file://{}", percent_encoded(&path));
            let id = format!("n{number}");
            commands.shows(&format!("submit --queue q --json --id {id} --uri"), &[&uri]);
            ids.push(id);
            commands.host.write(&format!("m4rk{number}.json"), text);
            commands.shows("report", &[&format!("m4rk{number}.json")]);
            let twice = commands.host.write(&format!("2{name}"), "a,a\n");
            commands.shows(&format!("ingest --plugin {clean}"), &[twice.to_str().unwrap()]);
        }
        commands.say(
            &format!("run --queue q --burst --allow-root . --max-rejects 0 --plugin {clean}"),
            &[],
        );
        for id in &ids {
            for words in ["status", "report", "report --json"] {
                commands.shows(words, &[id]);
            }
        }
        commands.shows("requests --queue q", &[]);
        assert!(documents(&commands.host.path("out")) >= 2 * ids.len());
    });
}

/// Checks hostile names of columns, values of cells and names of JSON members.
#[test]
fn what_stands_in_files() {
    let mut commands = CheckedCommands::new(Host::embedded(), "human");
    let clean = component("clean").display().to_string();
    for (number, text) in hostile_texts().iter().enumerate() {
        // A quoted CSV field can contain all characters.
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let name = &text[..text.floor_char_boundary(1_000)];
        let (cell, column) = (quoted(text), quoted(name));
        commands
            .host
            .write("in.csv", format!("n,{column}\n1,{cell}\n{cell},{cell}\n2\n"));
        let config = r#"{"columns": {"n": {"type": "integer"}}}"#;
        commands.host.write("config.json", config);
        let ran = commands.shows(
            &format!("ingest in.csv --profile --plugin {clean} --id c{number} --plugin-config @config.json"),
            &[],
        );
        assert!(ran.contains("2 rejected"), "{}", excerpt(ran.as_bytes()));
        commands.shows(&format!("report out/_ingest/receipts/c{number}.json"), &[]);
        commands.say(&format!("report --json out/_ingest/receipts/c{number}.json"), &[]);
        let receipt: Value = serde_json::from_slice(
            &std::fs::read(
                commands
                    .host
                    .path(&format!("out/_ingest/receipts/c{number}.json")),
            )
            .unwrap(),
        )
        .unwrap();
        assert_eq!(receipt["input"]["columns"][1], *name);
        // The reject contains the original record.
        let rejects = std::fs::read(
            commands
                .host
                .path(&format!("out/_ingest/rejects/c{number}.rejects.csv")),
        )
        .unwrap();
        let mut reader = csv::Reader::from_reader(rejects.as_slice());
        let raw: Vec<_> = reader.records().map(|row| record_of(&row.unwrap()[5])).collect();
        assert_eq!(raw, [format!("{cell},{cell}").into_bytes(), b"2".to_vec()]);

        commands.host.write("twice.csv", format!("{cell},{cell}\n"));
        commands.shows(&format!("ingest twice.csv --plugin {clean}"), &[]);
        commands.host.write("short.csv", format!("n,{cell}\n"));
        let config = json!({"columns": {format!("{text}?"): {"type": "integer"}}});
        commands.host.write("config.json", config.to_string());
        commands.shows(
            &format!("ingest short.csv --plugin {clean} --plugin-config @config.json"),
            &[],
        );
        let (key, string) = (Value::from(text.as_str()), Value::from(text.as_str()));
        commands.host.write(
            "in.jsonl",
            format!(
                "{{\"a\":1}}\n{{{key}:{string}}}\n{{\"a\":1,\"a\":{string}}}\n{{\"a\":{string}}}x\n{text}\n"
            ),
        );
        commands.say(
            &format!("ingest in.jsonl --profile --plugin {clean} --id j{number}"),
            &[],
        );
        commands.say(&format!("report out/_ingest/receipts/j{number}.json"), &[]);
    }
    assert!(documents(&commands.host.path("out")) >= hostile_texts().len());
}

/// Checks all texts that come from a plugin: in the log, in errors and in documents.
#[test]
fn what_plugins_say() {
    on_each_queue(|commands| {
        let hostile = component("hostile").display().to_string();
        commands.host.write("in.csv", "a,b\n1,2\n3,4\n");
        commands.host.run_with("plugin push", &[&hostile]).ok();
        let plugin = format!("hostile@{}", env!("CARGO_PKG_VERSION"));
        let mut numbers = 0..;
        for text in hostile_texts() {
            // The plugin takes the text from its config, which the operator writes. The length of a config is limited.
            let text: String = text.chars().take(100_000).collect();
            for (mode, more, must_show) in [
                ("keep", json!({"log": true}), text.len() < 50_000),
                ("keep", json!({"count": true}), false),
                ("reject", json!({}), true),
                ("reject", json!({"on": "1"}), true),
                ("fail", json!({}), true),
                ("fail-in-finish", json!({}), true),
                ("refuse", json!({}), true),
                ("refuse-config", json!({}), true),
                ("panic", json!({}), true),
                ("panic", json!({"on": "1"}), true),
                ("print", json!({}), text.len() < 50_000),
            ] {
                let mut config = json!({"mode": mode, "text": text});
                config
                    .as_object_mut()
                    .unwrap()
                    .extend(more.as_object().unwrap().clone());
                commands.host.write("config.json", config.to_string());
                let number: u32 = numbers.next().unwrap();
                let gate = if number.is_multiple_of(2) {
                    "--max-rejects 0"
                } else {
                    ""
                };
                let words = format!(
                    "ingest in.csv --plugin {hostile} --plugin-config @config.json --profile --id p{number} {gate}"
                );
                let before = documents(&commands.host.path("out"));
                let said = commands.say(&words, &[]);
                let is_there = said.contains(MARK) || documents(&commands.host.path("out")) > before;
                assert!(!must_show || is_there, "{mode}: {}", excerpt(said.as_bytes()));
                let receipt = format!("out/_ingest/receipts/p{number}.json");
                if commands.host.path(&receipt).exists() {
                    commands.say("report", &[&receipt]);
                }
            }
            // Here, the queue stores the error.
            let config = json!({"mode": "fail", "text": text});
            commands.host.write("config.json", config.to_string());
            commands.say(
                &format!("plugin bind --queue q {plugin} --config @config.json"),
                &[],
            );
            commands.shows("plugin history --queue q", &[]);
            commands.shows("plugin history --queue q --json", &[]);
            let id = format!("q{}", numbers.next().unwrap());
            commands.say(&format!("submit --queue q --uri in.csv --id {id}"), &[]);
            commands.shows("run --queue q --burst --allow-root .", &[]);
            commands.shows("status", &[&id]);
            commands.shows("status --json", &[&id]);
            commands.shows("submit --queue q --uri in.csv --wait --id", &[&id]);
        }
        commands.shows("dead list", &[]);
        assert!(documents(&commands.host.path("out")) >= hostile_texts().len());
    });
}

/// The address of the hostile text in the memory of a hand-written component.
const TEXT_AT: u32 = 0x0028_0000;

fn in_memory(text: &str) -> (u32, Vec<u8>) {
    (TEXT_AT, text.as_bytes().to_vec())
}

fn escaped_for_wat(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        write!(escaped, "\\{byte:02x}").unwrap();
        escaped
    })
}

/// Checks texts in a component that no compiler would emit: the plugin's name and version, names of its functions and
/// imports, and codes of rejects.
#[test]
fn what_components_are_made_of() {
    let mut commands = CheckedCommands::new(Host::embedded(), "human");
    commands.host.write("in.csv", "n\n1\n");
    for text in hostile_texts() {
        let length = u32::try_from(text.len()).unwrap();
        let reject = {
            let mut plugin = HandWrittenPlugin::answering(&[4], &[length, length], b"");
            plugin.data[0].1 = crate::support::wat::answer((0x2000, 1), (0x3000, 2), (TEXT_AT, length));
            plugin.data.push(in_memory(&text));
            plugin
        };
        let hand_written = |data: Vec<(u32, Vec<u8>)>| HandWrittenPlugin {
            data: [data, vec![in_memory(&text)]].concat(),
            ..HandWrittenPlugin::default()
        };
        let column = [
            words(&[TEXT_AT, length, 0, 1, 0]),
            words(&[TEXT_AT, length, 0, 1, 0]),
        ]
        .concat();
        let name = escaped_for_wat(&text.chars().take(90_000).collect::<String>());
        for (what, plugin, must_show) in [
            (
                "name",
                hand_written(vec![(16, words(&[TEXT_AT, length, 48, 5]))]),
                true,
            ),
            (
                "version",
                hand_written(vec![(16, words(&[32, 12, TEXT_AT, length]))]),
                true,
            ),
            (
                "refusal",
                hand_written(vec![(256, words(&[1, TEXT_AT, length]))]),
                true,
            ),
            (
                "columns",
                hand_written(vec![
                    (256, words(&[0, 300, 1, 0, 0, 0x8000, 2, 0])),
                    (0x8000, column),
                ]),
                false,
            ),
            ("code", reject, true),
            (
                "function",
                HandWrittenPlugin {
                    core: format!("(func $bad (@name \"{name}\") (unreachable))"),
                    process: format!("(call $bad) (i32.const {ANSWER})"),
                    stateful: true,
                    ..HandWrittenPlugin::default()
                },
                true,
            ),
        ] {
            let path = commands.host.write("hand-written.wasm", plugin.component());
            let path = path.to_str().unwrap();
            for command in [
                "plugin inspect",
                "plugin inspect --json",
                "plugin push",
                "ingest in.csv --plugin",
            ] {
                let said = commands.say(command, &[path]);
                let is_told = said.contains(MARK);
                let is_where = command.starts_with("ingest");
                assert!(
                    is_told || !must_show || !is_where,
                    "{what}: {}",
                    excerpt(said.as_bytes())
                );
            }
        }
    }
    let garbage: Vec<u8> = hostile_texts().concat().into_bytes();
    commands.host.write("garbage.wasm", &garbage);
    commands.say("plugin inspect garbage.wasm", &[]);
    commands.say("plugin list", &[]);
}

/// Checks hostile texts from HTTP servers: status lines, headers and targets of redirects.
#[test]
fn what_servers_send() {
    let mut commands = CheckedCommands::new(Host::embedded(), "json");
    let clean = component("clean").display().to_string();
    let mut ids: Vec<(String, bool)> = Vec::new();
    let mut servers: Vec<ScriptedServer> = Vec::new();
    let texts = texts_of_a_line();
    for (number, text) in texts.iter().enumerate() {
        let body = b"n\n1\n2,3\n";
        // A header cannot contain control characters, and clients limit its length.
        let value: String = text.chars().filter(|c| !c.is_control()).take(2_000).collect();
        let is_header = value.is_ascii();
        let all = [
            ("status", answer(&format!("404 {value}"), "", b""), false),
            ("raw", answer(&format!("404 {text}"), "", b""), false),
            (
                "encoding",
                answer("200 OK", &format!("Content-Encoding: {value}\r\n"), body),
                is_header,
            ),
            (
                "type",
                answer("200 OK", &format!("Content-Type: {value}\r\n"), body),
                false,
            ),
            (
                "etag",
                answer("200 OK", &format!("ETag: \"{value}\"\r\n"), body),
                false,
            ),
            (
                "digest",
                answer(
                    "200 OK",
                    &format!("Digest: sha-256={value}\r\nContent-MD5: {value}\r\n"),
                    body,
                ),
                false,
            ),
            (
                "location",
                answer("302 Found", &format!("Location: ftp://{value}\r\n"), b""),
                false,
            ),
            (
                "to-path",
                answer(
                    "302 Found",
                    &format!("Location: /{}\r\n", percent_encoded(&value)),
                    b"",
                ),
                false,
            ),
            (
                "to-host",
                answer("302 Found", &format!("Location: http://[{value}\r\n"), b""),
                false,
            ),
            (
                "range",
                answer(
                    "206 Partial Content",
                    &format!("Content-Range: {value}\r\n"),
                    body,
                ),
                false,
            ),
            (
                "retry",
                answer("503 Busy", &format!("Retry-After: {value}\r\n"), b""),
                false,
            ),
            (
                "length",
                format!("HTTP/1.1 200 OK\r\nContent-Length: {value}\r\n\r\nn\n").into_bytes(),
                false,
            ),
            ("version", format!("{value}\r\n\r\n").into_bytes(), false),
        ];
        for (kind, answer, must_show) in all {
            // These cases use only a quarter of the texts, because a broken transfer is retried for a while.
            if number % 4 > 0 && matches!(kind, "retry" | "length" | "version" | "range") {
                continue;
            }
            let server = serve(vec![answer; 16]);
            let uri = format!("http://{}/{kind}.csv", server.address);
            let said = commands.say(&format!("ingest --plugin {clean} --id {kind}{number}"), &[&uri]);
            assert!(
                !must_show || said.contains(MARK),
                "{kind}: {}",
                excerpt(said.as_bytes())
            );
            if matches!(kind, "status" | "encoding") {
                let id = format!("{kind}-{number}");
                commands.say(&format!("submit --queue q --id {id} --uri"), &[&uri]);
                ids.push((id, must_show));
            }
            servers.push(server);
        }
    }
    commands.say(
        &format!("run --queue q --burst --allow-host 127.0.0.1 --plugin {clean}"),
        &[],
    );
    for (id, must_show) in &ids {
        for words in ["status", "status --json", "dead show"] {
            let said = commands.say(words, &[id]);
            assert!(!must_show || said.contains(MARK), "{id}: {said}");
        }
    }
    let shown = commands.shows("dead list", &[]);
    let expected = ids.iter().filter(|(_, must_show)| *must_show).count();
    assert!(expected > 4 && shown.matches(MARK).count() >= expected, "{shown}");
    documents(&commands.host.path("out"));
}

/// Returns the original record for a value in the column `raw` of a file of rejects. Each `\xNN` stands for one byte
/// (docs/formats.md).
fn record_of(raw: &str) -> Vec<u8> {
    let (mut record, mut rest) = (Vec::new(), raw.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.strip_prefix(b"x").and_then(|after| after.get(..2));
        let is_digit = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        match digits {
            Some(digits) if byte == b'\\' && digits.iter().all(is_digit) => {
                let digits = std::str::from_utf8(digits).unwrap();
                record.push(u8::from_str_radix(digits, 16).unwrap());
                rest = &after[3..];
            }
            _ => {
                record.push(byte);
                rest = after;
            }
        }
    }
    record
}

/// Checks that the errors of a plugin show which control characters they have.
#[test]
fn control_characters_in_errors_of_plugins_are_spelled_out() {
    let host = Host::embedded();
    host.write("a.csv", "n\n1\n");
    let text = "\u{1b}[31mA\r\nB\tC";
    for (name, config) in [
        ("hostile", json!({ "mode": "fail", "at": 1, "text": text })),
        ("hostile", json!({ "mode": "fail-in-finish", "text": text })),
        ("hostile", json!({ "mode": "refuse", "text": text })),
        ("hostile", json!({ "mode": "refuse-config", "text": text })),
        ("clean", json!({ "columns": { "n": { text: 1 } } })),
    ] {
        let command = format!(
            "ingest a.csv --plugin {} --plugin-config",
            component(name).display()
        );
        let said = host.run_with(&command, &[&config.to_string()]).refused(1);
        assert!(said.contains(r"\u{1b}[31mA\r\nB\tC"), "{config}: {said}");
    }
    let panics = json!({ "mode": "panic", "at": 1, "text": text });
    let command = format!(
        "ingest a.csv --plugin {} --plugin-config",
        component("hostile").display()
    );
    let said = host.run_with(&command, &[&panics.to_string()]).refused(1);
    assert!(said.contains(r"\u{1b}[31mA\r B\tC"), "{said}");
}
