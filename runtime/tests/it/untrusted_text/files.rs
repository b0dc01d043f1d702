//! Tests the names and the contents of input files.

use serde_json::{Value, json};

use super::{CheckedCommands, documents, excerpt, hostile_texts, on_each_queue, percent_encoded};
use crate::support::host::{Host, component};

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
