//! Tests the answers of HTTP servers.

use super::{CheckedCommands, MARK, documents, excerpt, percent_encoded, texts_of_a_line};
use crate::support::host::{Host, component};
use crate::support::inputs::scripted_server::{ScriptedServer, answer, serve};

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
