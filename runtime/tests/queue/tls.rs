//! Tests a queue over TLS. The client accepts a server only if a known authority has signed its certificate, and if the
//! certificate contains the server's name.

use std::process::Command;

use crate::support::host::{Host, component};
use crate::support::redis::{RedisServer, free_port};
use crate::support::tls::Authority;

/// Starts a server that accepts TLS on a port of its own. Returns the server and this port.
fn start_with_tls(authority: &Authority) -> (RedisServer, u16) {
    let port = free_port();
    let [ca, certificate, key] =
        ["ca.pem", "cert.pem", "key.pem"].map(|name| authority.path(name).display().to_string());
    let redis = RedisServer::start_with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-auth-clients",
        "no",
        "--tls-ca-cert-file",
        &ca,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--requirepass",
        "s3cret",
    ]);
    (redis, port)
}

fn run(host: &Host, ca: Option<&Authority>, words: &str) -> (Option<i32>, String) {
    let mut command: Command = host.command();
    if let Some(authority) = ca {
        command.env("SSL_CERT_FILE", authority.path("ca.pem"));
    }
    let output = command.args(words.split_whitespace()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_queue_works_over_tls() {
    let authority = Authority::new();
    let (_redis, port) = start_with_tls(&authority);
    let host = Host::on(&format!("rediss://:s3cret@localhost:{port}"));
    host.write("in.csv", "n\n1\n");
    let clean = component("clean").display().to_string();
    for (words, said) in [
        ("submit --queue q --uri in.csv --id one".to_owned(), "submitted"),
        (
            format!("run --queue q --burst --allow-root . --plugin {clean}"),
            "1 done, 0 dead",
        ),
        ("status one".to_owned(), "one  done"),
    ] {
        let (code, text) = run(&host, Some(&authority), &words);
        assert_eq!(code, Some(0), "{words}: {text}");
        assert!(text.contains(said) && !text.contains("s3cret"), "{words}: {text}");
    }
}

#[test]
fn a_server_that_nobody_vouches_for_gets_no_password() {
    let authority = Authority::new();
    let (_redis, port) = start_with_tls(&authority);
    let stranger = Authority::new();
    for (name, ca) in [
        // No authority that the system trusts has signed the certificate.
        ("localhost", None),
        // The client trusts an authority that has not signed the certificate.
        ("localhost", Some(&stranger)),
        // The certificate does not contain this name.
        ("127.0.0.1", Some(&authority)),
    ] {
        let host = Host::on(&format!("rediss://:s3cret@{name}:{port}"));
        let (code, text) = run(&host, ca, "queue list");
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("certificate") && !text.contains("s3cret"), "{text}");
    }
    // The client library would interpret `#insecure` as "do not verify the certificate".
    let host = Host::on(&format!("rediss://:s3cret@localhost:{port}/#insecure"));
    let (code, text) = run(&host, None, "queue list");
    assert_eq!(code, Some(2), "{text}");
}
