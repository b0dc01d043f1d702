//! Tests texts of producers, and arguments of commands.

use serde_json::json;

use super::{MARK, excerpt, hostile_texts, on_each_queue, percent_encoded, short_texts};
use crate::support::host::component;

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
                "replay",
                "replay --queue",
                "replay --queue q --since",
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
            commands.say("replay a --code", &[&text]);
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
