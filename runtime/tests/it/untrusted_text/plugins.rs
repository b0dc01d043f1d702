//! Tests what plugins say, and what their components are made of.

use std::fmt::Write as _;

use serde_json::json;

use super::{CheckedCommands, MARK, documents, excerpt, hostile_texts, on_each_queue};
use crate::support::host::{Host, component};
use crate::support::wat::{ANSWER, HandWrittenPlugin, words};

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
                "plugin inspect --columns a,b",
                "plugin push",
                "plugin try",
                "ingest in.csv --plugin",
            ] {
                let arguments = match command {
                    "plugin try" => vec![path, "in.csv"],
                    _ => vec![path],
                };
                let said = commands.say(command, &arguments);
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
