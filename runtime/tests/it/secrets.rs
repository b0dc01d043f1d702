//! Tests that no output reveals a secret from a URI, a server's URL or a file of credentials. This covers logs of all
//! levels, errors, statuses, receipts and written files.

use std::path::Path;

use crate::support::host::{Host, component};
use crate::support::inputs::scripted_server::{ScriptedServer, answer, serve};
use crate::support::redis::RedisServer;

const SECRET: &str = "s3cr3t";
const SIGNED: &str = "X-Amz-Signature=s3cr3t&part=1&X-Amz-Credential=s3cr3t&sig=s3cr3t&api_key=s3cr3t&authkey=s3cr3t&\
    sign=s3cr3t&bearer=s3cr3t&ticket=s3cr3t&PHPSESSID=s3cr3t&url=http://h/?token=s3cr3t&\
    next=http%3A%2F%2Fi%2F%3Ftoken%3Ds3cr3t#s3cr3t";

/// The name of a server with a transient fault. A request to it would be retried many times.
const BROKEN: &str = "broken";

/// Runs commands with the most verbose log. Checks that their output does not contain the secret, and collects the
/// output.
struct CheckedCommands {
    host: Host,
    text: String,
    said: usize,
}

impl CheckedCommands {
    fn say(&mut self, words: &str) -> String {
        self.said += 1;
        let format = if self.said.is_multiple_of(2) {
            "json"
        } else {
            "human"
        };
        let mut command = self.host.command();
        command
            .env("RUST_LOG", "trace")
            .args(["--log-format", format])
            .args(words.split_whitespace());
        let output = command.output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        self.text.push_str(&said);
        assert!(!said.contains(SECRET), "{words}: {}", excerpt(&said));
        said
    }
}

fn excerpt(text: &str) -> String {
    text.lines()
        .filter(|line| line.contains(SECRET))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Checks that no file below a folder contains the secret. The queue's own files and the file of credentials are left
/// out. Returns the number of checked files.
fn assert_clean(folder: &Path) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += assert_clean(&path);
        } else if !path.to_str().unwrap().contains("queue.db") && !path.ends_with("credentials.json") {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes
                .windows(SECRET.len())
                .any(|window| window == SECRET.as_bytes());
            assert!(!found, "{}", path.display());
            files += 1;
        }
    }
    files
}

fn redirect_to(target: &str) -> Vec<u8> {
    answer("302 Found", &format!("Location: {target}\r\n"), b"")
}

/// Returns servers to which a signed URL can lead: with a file, without a file, with a redirect, or with a broken
/// transfer. The redirects lead to a file, to a missing file, to a forbidden address, to FTP, and in a loop.
fn servers() -> Vec<(&'static str, ScriptedServer)> {
    let file = || answer("200 OK", "ETag: \"a\"\r\n", b"n\n1\n2,3\n");
    let signed = |address: String| format!("http://{address}/b.csv?{SIGNED}");
    let target = serve(vec![file(); 8]);
    let missing = serve(vec![answer("404 Not Found", "", b""); 8]);
    let to_file = serve(vec![redirect_to(&signed(target.address.to_string())); 8]);
    let to_missing = serve(vec![redirect_to(&signed(missing.address.to_string())); 8]);
    let to_hidden = serve(vec![redirect_to(&signed("169.254.169.254".into())); 8]);
    let to_ftp = serve(vec![redirect_to("ftp://me:s3cr3t@a.example/b?sig=s3cr3t"); 8]);
    let around = serve(vec![redirect_to(&format!("/b.csv?{SIGNED}")); 16]);
    let broken = serve(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\nn\n1\n2\n3\n4".to_vec(); 8]);
    vec![
        ("file", serve(vec![file(); 8])),
        ("target", target),
        ("to-file", to_file),
        ("missing", missing),
        ("to-missing", to_missing),
        ("to-hidden", to_hidden),
        ("to-ftp", to_ftp),
        ("around", around),
        (BROKEN, broken),
    ]
}

fn nothing_tells(url: &str, host: Host) {
    let mut commands = CheckedCommands {
        host,
        text: String::new(),
        said: 0,
    };
    let clean = component("clean").display().to_string();
    let servers = servers();
    // A URI with a password is refused before it is stored. A document with such a URI is refused, too.
    for uri in [
        "http://me:s3cr3t@a.example/b",
        "s3://s3cr3t@bucket/b",
        "http:\\\\me:s3cr3t@a.example",
        "jdbc:http://me:s3cr3t@a.example",
        "jdbc:oracle:thin:me/s3cr3t@a.example",
        "http://me:/s3cr3t@a.example",
        "http://me:pass/s3cr3t@a.example",
        "https://a.example/?next=http%3A%2F%2Fme:s3cr3t%40b.example",
    ] {
        assert!(
            commands
                .say(&format!("submit --queue q --uri {uri}"))
                .contains("--credentials"),
            "{uri}"
        );
    }
    for uri in [
        "http://me:s3cr3t@a.example/b",
        "http://me:s3cr3t\\u0040a.example",
        "https:me:s3cr3t@a.example",
    ] {
        commands.host.push(&format!(r#"{{"uri":"{uri}"}}"#));
        commands.host.push(&format!(r#"{{"url":"{uri}"}}"#));
        commands
            .host
            .push(&format!(r#"{{"uri":"jdbc:{uri}","auth":{{"user":"s3cr3t"}}}}"#));
        commands.host.push(r#"{"uri":"a","password":"s3cr3t"}"#);
        commands.host.push(&format!("{uri}?{SIGNED}"));
    }
    // Errors about wrong usage do not show the secret, either.
    for words in [
        "submit http://me:s3cr3t@a.example --queue q",
        "redis://:s3cr3t@a.example",
        "submit --queue q --uri http://me:s3cr3t",
        "submit --queue q --uri http://me:s3cr3t%40a.example",
    ] {
        commands.say(words);
    }
    let for_good = || servers.iter().filter(|(name, _)| *name != BROKEN);
    for (name, server) in for_good() {
        let uri = format!("http://{}/a.csv?{SIGNED}", server.address);
        commands.say(&format!("submit --queue q --id {name} --uri {uri}"));
        commands.say(&format!(
            "submit --queue q --id {name} --uri {uri}&again=1 --json"
        ));
    }
    for (name, uri) in [
        ("hidden", "http://10.0.0.1/a.csv"),
        ("malformed", "http://[::1/a.csv"),
        ("foreign", "s3://bucket/a.csv"),
    ] {
        commands.say(&format!("submit --queue q --id {name} --uri {uri}?{SIGNED}"));
    }
    commands.host.write(
        "credentials.json",
        format!(r#"{{"http://{}": {{"x-key": "s3cr3t"}}}}"#, servers[0].1.address),
    );
    let ran = commands.say(&format!(
        "run --queue q --burst --plugin {clean} --allow-host 127.0.0.1 --credentials credentials.json"
    ));
    assert!(ran.contains("3 done"), "{url}: {ran}");
    for words in [
        "requests --queue q",
        "requests --queue q --json",
        "dead list",
        "dead list --json",
        "queue audit",
    ] {
        commands.say(words);
    }
    for (name, _) in for_good() {
        commands.say(&format!("status {name}"));
        commands.say(&format!("status {name} --json"));
    }
    commands.say("dead show hidden");
    commands.say(&format!(
        "ingest http://me:s3cr3t@no.such.host.invalid/a.csv?{SIGNED} --plugin {clean}"
    ));
    // A URI for `ingest` may contain a password, because the password belongs to the person who types it.
    for (name, server) in &servers {
        let typed = format!("http://me:s3cr3t@{}/a.csv?{SIGNED}", server.address);
        commands.say(&format!(
            "ingest {typed} --plugin {clean} --id typed-{name} --json"
        ));
    }
    assert!(
        assert_clean(commands.host.folder.path()) >= 8,
        "outputs and receipts"
    );
    // These texts must appear in the collected output. Without this check, the test would pass without any output.
    for text in ["***", "b.csv", "answered 404", "169.254.169.254", "a.example"] {
        assert!(commands.text.contains(text), "{text}");
    }
}

#[test]
fn nothing_tells_a_secret_on_a_file() {
    let host = Host::embedded();
    nothing_tells(&host.url.clone(), host);
}

#[test]
fn nothing_tells_a_secret_on_redis() {
    let redis = RedisServer::start_with(&["--requirepass", SECRET]);
    let url = redis.url_with_password(SECRET);
    nothing_tells(&url, Host::on(&url));
    // The secret also stays hidden if the server refuses the password or is unreachable.
    let wrong = url.replace("s3cr3t@", "s3cr3t-s3cr3t@");
    for url in [
        wrong.as_str(),
        "redis://me:s3cr3t@127.0.0.1:1",
        "rediss://:s3cr3t@127.0.0.1:1/0?protocol=resp3",
    ] {
        let mut commands = CheckedCommands {
            host: Host::on(url),
            text: String::new(),
            said: 0,
        };
        commands.say("queue list");
        assert!(commands.text.contains("127.0.0.1"), "{}", commands.text);
    }
}

/// Checks that no text from a file, a server or a plugin shows its secrets when it is quoted.
#[test]
fn a_quoted_text_shows_no_secret() {
    let mut commands = CheckedCommands {
        host: Host::embedded(),
        text: String::new(),
        said: 0,
    };
    let [clean, hostile] = ["clean", "hostile"].map(|name| component(name).display().to_string());
    let long = "s3cr3t".repeat(100);
    let signed = "https://h/x?X-Amz-Signature=s3cr3t";
    for (number, text) in [
        format!("Error: cannot read {signed}\n"),
        format!("Error: cannot read https://me:{long}@h/x\n"),
        format!("Error: cannot read it as me:{long}@h\n"),
        r#"{"error":"expired","token":"s3cr3t"}"#.to_owned(),
        format!(r#"{{"error":"expired","password":"{long}"}}"#),
        "{\n\"password: s3cr3t\":[{\"a\":1}]}\n".to_owned(),
        format!("{{'error': 'gone', 'token': '{long}'}}\n"),
        format!("From: a@x\nTo: b@x\nSubject: {signed}\n"),
        format!("token: {long}\nage: 3\ncity: Bern\n"),
        format!("2024-01-01 10:00:00 INFO {signed}\n"),
        format!("{signed},,,\nid,a,b,c\n1,2,3,4\n"),
        format!("{signed},{signed}\n1,2\n"),
        format!("{{\"{}{signed}\":1}}\n", "x".repeat(2_000)),
        "<Error>\n<Code>s3cr3t\n".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        for name in [
            format!("{number}.csv"),
            format!("{number}.json"),
            format!("{number}.jsonl"),
        ] {
            commands.host.write(&name, &text);
            commands.say(&format!("ingest {name} --plugin {clean} --id {name} --json"));
            commands.say(&format!("submit --queue q --id {name} --uri {name}"));
        }
    }
    let headers = [
        "Content-Type: text/csv; charset=http://me:s3cr3t@h/\r\n".to_owned(),
        "Content-Encoding: http://me:s3cr3t@h/\r\n".to_owned(),
        format!("Content-Encoding: http://me:{long}@h/\r\n"),
        "Transfer-Encoding: http://me:s3cr3t@h/\r\n".to_owned(),
        "Content-Range: http://me:s3cr3t@h/\r\n".to_owned(),
        "Content-MD5: http://me:s3cr3t@h/\r\n".to_owned(),
    ];
    for headers in headers {
        let server = serve(vec![answer("200 OK", &headers, b"n\n1\n"); 2]);
        commands.say(&format!(
            "ingest http://{}/a.csv --plugin {clean}",
            server.address
        ));
    }
    commands.host.write("n.csv", "n\n1\n");
    let text = format!("{signed}_http://me:{long}@h/");
    for config in [
        format!(r#"{{"mode":"keep","log":true,"text":"{text}"}}"#),
        format!(r#"{{"mode":"fail","at":1,"text":"{text}"}}"#),
        format!(r#"{{"mode":"fail-in-finish","text":"{text}"}}"#),
        format!(r#"{{"mode":"panic","at":1,"text":"{text}"}}"#),
        format!(r#"{{"mode":"panic","on":"1","text":"{text}"}}"#),
        format!(r#"{{"mode":"print","at":1,"text":"{signed}"}}"#),
        format!(r#"{{"mode":"refuse","text":"{text}"}}"#),
        format!(r#"{{"mode":"refuse-config","text":"{text}"}}"#),
    ] {
        commands.say(&format!(
            "ingest n.csv --plugin {hostile} --plugin-config {config} --json"
        ));
    }
    let config = format!(r#"{{"mode":"reject","on":"1","text":"{text}"}}"#);
    let receipt = commands.say(&format!(
        "ingest n.csv --plugin {hostile} --plugin-config {config} --json"
    ));
    assert!(receipt.contains("X-Amz-Signature=***"), "{receipt}");
    // This URI may be harmless, so it is not refused.
    for uri in ["http://h/x?u=me:s3cr3t@i", "http://h/x?u=me%3As3cr3t%40i"] {
        commands.say(&format!("submit --no-check --queue q --uri {uri}"));
    }
    commands.say(&format!(
        "run --queue q --burst --burst-wait 2s --retry-for 1s --plugin {clean} --allow-root ."
    ));
    for words in [
        "requests --queue q",
        "requests --queue q --json",
        "dead list",
        "dead list --json",
    ] {
        commands.say(words);
    }
    for text in [
        "X-Amz-Signature=***",
        "\"token\":\"***",
        "u=***@i",
        "plugin says: ",
    ] {
        assert!(commands.text.contains(text), "{text}");
    }
}

/// Checks that the error for a mistyped URL, which counts as a path, does not show its secrets.
#[test]
fn a_url_that_is_taken_for_a_path_is_not_shown_whole() {
    let host = Host::embedded();
    let clean = component("clean").display().to_string();
    let mut commands = CheckedCommands {
        host,
        text: String::new(),
        said: 0,
    };
    for uri in ["x/https://h/a?sig=s3cr3t", "/x/https://h/a.csv?token=s3cr3t"] {
        let said = commands.say(&format!("ingest {uri} --plugin {clean}"));
        assert!(said.contains("sig=***") || said.contains("token=***"), "{said}");
        commands.say(&format!("submit --no-check --queue q --uri {uri}"));
    }
    commands.say(&format!("run --queue q --burst --plugin {clean} --allow-root ."));
    commands.say("dead list");
    std::fs::create_dir(commands.host.path("b")).unwrap();
    commands.host.write("b/a?sig=s3cr3t", "a\n\"\n");
    let said = commands.say(&format!("ingest b/a?sig=s3cr3t --plugin {clean}"));
    assert!(said.contains("sig=***: "), "{said}");
}
