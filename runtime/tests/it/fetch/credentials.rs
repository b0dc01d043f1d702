//! Tests that the operator's credentials go only to their origin. They are not sent to another origin after a redirect.
//! No redirect leads from HTTPS to HTTP, and no proxy from the environment is used.

use std::io::ErrorKind;
use std::net::TcpListener;

use ingest_host::fetch::{Access, Credentials, Fetcher, RequestedBy};
use ingest_host::stop::Stop;

use crate::support::host::{Host, component};
use crate::support::inputs::limits;
use crate::support::inputs::scripted_server::{ScriptedServer, answer, serve};
use crate::support::tls::Authority;

const CSV: &[u8] = b"n\n1\n";

fn redirect_to(target: &str) -> Vec<u8> {
    answer("302 Found", &format!("Location: {target}\r\n"), b"")
}

async fn fetch(credentials: &str, uri: &str, origin: RequestedBy) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials.json");
    std::fs::write(&file, credentials).unwrap();
    let access = Access::new(&["127.0.0.1".into(), "localhost".into()], &[]).unwrap();
    let credentials = Credentials::read(&file).unwrap();
    Fetcher::with_credentials(access, credentials, &limits())
        .open(uri, origin, &Stop::default())
        .await
        .unwrap();
}

fn has_key(server: &ScriptedServer) -> Vec<bool> {
    let heads = server.requests();
    heads
        .iter()
        .map(|head| head.contains("authorization: Bearer s3cret") && head.contains("x-key: k"))
        .collect()
}

#[tokio::test]
async fn credentials_go_to_their_origin_and_nowhere_else() {
    for origin in [RequestedBy::Queued, RequestedBy::Typed] {
        let elsewhere = serve(vec![answer("200 OK", "", CSV)]);
        let away = format!("http://{}/b", elsewhere.address);
        // The first redirect stays within the origin. The second one leads to another port of the same host.
        let server = serve(vec![redirect_to("/there"), redirect_to(&away)]);
        let address = server.address;
        let credentials =
            format!(r#"{{"http://{address}": {{"authorization": "Bearer s3cret", "x-key": "k"}}}}"#);
        fetch(&credentials, &format!("http://{address}/a.csv"), origin).await;
        assert_eq!(has_key(&server), [true, true]);
        let head = elsewhere.requests().remove(0);
        assert!(
            !head.contains("authorization") && !head.contains("x-key"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn the_same_server_under_another_name_is_another_origin() {
    let server = serve(vec![answer("200 OK", "", CSV); 2]);
    let port = server.address.port();
    let credentials =
        format!(r#"{{"http://localhost:{port}": {{"authorization": "Bearer s3cret", "x-key": "k"}}}}"#);
    fetch(
        &credentials,
        &format!("http://127.0.0.1:{port}/a.csv"),
        RequestedBy::Queued,
    )
    .await;
    fetch(
        &credentials,
        &format!("http://LOCALHOST:{port}/a.csv"),
        RequestedBy::Queued,
    )
    .await;
    assert_eq!(has_key(&server), [false, true]);
}

/// Runs `ingest` on this URI. The program trusts only this certificate authority. Returns the exit code, and the text
/// of stdout and stderr.
fn ingest(host: &Host, authority: &Authority, uri: &str) -> (Option<i32>, String) {
    let plugin = component("clean");
    let mut command = host.command();
    command.env("SSL_CERT_FILE", authority.path("ca.pem"));
    command
        .args(["ingest", uri, "--credentials", "credentials.json", "--plugin"])
        .arg(plugin);
    let output = command.output().unwrap();
    (
        output.status.code(),
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap(),
    )
}

/// Returns a host with credentials for the server at this port.
fn host_with_key_for(port: u16) -> Host {
    let host = Host::embedded();
    host.write(
        "credentials.json",
        format!(r#"{{"https://localhost:{port}": {{"x-key": "k"}}}}"#),
    );
    host
}

#[test]
fn no_redirect_leads_from_https_to_http() {
    let authority = Authority::new();
    let plain = serve(vec![answer("200 OK", "", CSV)]);
    let (port, heads) = authority.serve(redirect_to(&format!("http://{}/a.csv?sig=s3cret", plain.address)));
    let host = host_with_key_for(port);
    let (code, said) = ingest(&host, &authority, &format!("https://localhost:{port}/a.csv"));
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("without encryption, http://127.0.0.1:") && said.contains("sig=***"),
        "{said}"
    );
    assert!(!said.contains("s3cret"), "{said}");
    assert_eq!(heads.lock().unwrap().len(), 1);
    assert!(heads.lock().unwrap()[0].contains("x-key: k"));
    assert_eq!(plain.requests(), [""; 0], "connections were made");
}

#[test]
fn a_server_that_nobody_vouches_for_gets_no_credentials() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (port, heads) = stranger.serve(answer("200 OK", "", CSV));
    let host = host_with_key_for(port);
    let (code, said) = ingest(&host, &authority, &format!("https://localhost:{port}/a.csv"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("certificate"), "{said}");
    assert_eq!(heads.lock().unwrap().len(), 0);
    // If the program trusts the right authority, it fetches the file.
    let (code, said) = ingest(&host, &stranger, &format!("https://localhost:{port}/a.csv"));
    assert_eq!(code, Some(0), "{said}");
    assert!(heads.lock().unwrap()[0].contains("x-key: k"));
}

/// Checks that the program ignores a proxy from the environment. A proxy resolves names itself, so it would bypass the
/// check of addresses.
#[test]
fn a_proxy_of_the_environment_is_not_used() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let proxy_url = format!("http://{}", proxy.local_addr().unwrap());
    let server = serve(vec![answer("200 OK", "", CSV)]);
    let host = Host::embedded();
    let clean = component("clean").display().to_string();
    host.run(&format!(
        "submit --queue q --id good --uri http://{}/a.csv",
        server.address
    ))
    .ok();
    host.run("submit --queue q --id bad --uri http://169.254.169.254/latest/meta-data/")
        .ok();
    host.run("submit --queue q --id worse --uri https://localhost:1/a.csv")
        .ok();
    let mut command = host.command();
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(name, &proxy_url).env(name.to_lowercase(), &proxy_url);
    }
    let allowed = server.address.to_string();
    let words = [
        "run",
        "--queue",
        "q",
        "--burst",
        "--allow-host",
        &allowed,
        "--plugin",
        &clean,
    ];
    let output = command.args(words).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(said.contains("1 done, 2 dead, 0 retried"), "{said}");
    assert_eq!(server.requests().len(), 1);
    let reached = proxy.accept().expect_err("nobody connects to the proxy");
    assert_eq!(reached.kind(), ErrorKind::WouldBlock);
}
