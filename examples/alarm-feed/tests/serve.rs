//! Tests that `alarm-feed serve` answers over HTTP with the same bytes that `alarm-feed generate` writes.

#![expect(clippy::unwrap_used, reason = "functions that tests share")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

const ARGUMENTS: [&str; 4] = ["--records", "300", "--seed", "9"];

struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_alarm-feed"))
            .arg("serve")
            .args(ARGUMENTS)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        let address = url
            .trim()
            .strip_prefix("http://")
            .and_then(|rest| rest.strip_suffix("/alarms.csv"));
        Self {
            process,
            address: address.expect("a URL on the first line").to_owned(),
        }
    }

    /// Returns the head and the body of the answer.
    fn get(&self, path: &str, header: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: feed\r\nConnection: close\r\n{header}\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap();
        (
            String::from_utf8(answer[..end].to_vec()).unwrap(),
            answer[end + 4..].to_vec(),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_else(|| panic!("no {name} in {head}"))
        .trim()
}

#[test]
fn serves_what_generate_writes_with_its_length_and_a_tag() {
    let file = Command::new(env!("CARGO_BIN_EXE_alarm-feed"))
        .arg("generate")
        .args(ARGUMENTS)
        .output()
        .unwrap()
        .stdout;
    let server = Server::start();
    let (head, body) = server.get("/alarms.csv", "");

    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(header(&head, "content-type:"), "text/csv; charset=utf-8");
    assert_eq!(header(&head, "content-length:"), file.len().to_string());
    assert_eq!(body, file);

    let known = format!("If-None-Match: {}\r\n", header(&head, "etag:"));
    let (head, body) = server.get("/alarms.csv", &known);
    assert!(head.starts_with("HTTP/1.1 304"), "{head}");
    assert!(body.is_empty());
}

#[test]
fn has_nothing_else() {
    let (head, _) = Server::start().get("/", "");
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
}
