//! Tests that text from untrusted sources does no harm. If a person sees such a text, it cannot control the terminal,
//! forge a line or flood the output. Documents for programs contain the text unchanged. Each source has its own module,
//! and this one checks what the program writes.

mod files;
mod plugins;
mod requests;
mod servers;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::host::Host;
use crate::support::redis::RedisServer;

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
