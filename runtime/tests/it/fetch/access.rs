//! Tests that a queued URI can reach only public addresses and the addresses, hosts and folders that the operator
//! allows. The tests in `ssrf/` try to reach other addresses.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use ingest_host::config::Limits;
use ingest_host::error::{Class, Error, Result};
use ingest_host::fetch::{Access, Fetcher, RequestedBy, Source};
use ingest_host::stop::Stop;

use crate::support::inputs::scripted_server::{answer, serve};

async fn open(access: Access, uri: &str) -> Result<Source> {
    Fetcher::new(access, &Limits::default())
        .open(uri, RequestedBy::Queued, &Stop::default())
        .await
}

async fn refused(access: Access, uri: &str) -> Error {
    match open(access, uri).await {
        Ok(_) => panic!("{uri} was opened"),
        Err(error) => error,
    }
}

fn hosts(hosts: &[&str]) -> Access {
    let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
    Access::new(&hosts, &[]).unwrap()
}

fn root(folder: impl Into<PathBuf>) -> Access {
    Access::new(&[], &[folder.into()]).unwrap()
}

#[tokio::test]
async fn the_error_says_what_to_allow() {
    let error = refused(Access::default(), "http://10.0.0.1/a.csv").await;
    let text = "fetch http://10.0.0.1/a.csv: 10.0.0.1 is not a public address; \
                a queued URI reaches it only with --allow-host 10.0.0.1";
    assert_eq!(error.to_string(), text);
    let text = refused(Access::default(), "http://localhost/a.csv")
        .await
        .to_string();
    assert!(
        text.starts_with("fetch http://localhost/a.csv: localhost has the address "),
        "{text}"
    );
    assert!(
        text.ends_with("a queued URI reaches it only with --allow-host localhost"),
        "{text}"
    );
}

#[tokio::test]
async fn an_allowed_host_is_reached() {
    let server = serve(vec![answer("200 OK", "", b"a\n"); 4]);
    let port = server.address.port();
    let with_port = format!("localhost:{port}");
    for (rules, host) in [
        (vec!["localhost"], "localhost"),
        (vec![with_port.as_str()], "LOCALHOST"),
        (vec!["127.0.0.1"], "127.0.0.1"),
        // The host name resolves to an address in an allowed network.
        (vec!["127.0.0.0/8"], "localhost"),
    ] {
        open(hosts(&rules), &format!("http://{host}:{port}/a.csv"))
            .await
            .expect(host);
    }
    assert_eq!(server.requests().len(), 4);
    let error = refused(hosts(&["localhost:1"]), &format!("http://localhost:{port}/")).await;
    assert!(error.to_string().contains("--allow-host"), "{error}");
}

#[tokio::test]
async fn a_queued_uri_carries_no_credentials() {
    let server = serve(vec![]);
    let allowed = server.address.to_string();
    let error = refused(hosts(&[&allowed]), &format!("http://me:secret@{allowed}/a.csv")).await;
    assert!(
        error.to_string().contains("must not carry") && !error.report().contains("secret"),
        "{error}"
    );
    assert_eq!(server.requests(), [""; 0]);
}

#[tokio::test]
async fn a_queued_path_stays_below_its_root() {
    let folder = tempfile::tempdir().unwrap();
    let (inside, outside) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir_all(inside.join("sub")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(inside.join("sub/a.csv"), "a\n").unwrap();
    fs::write(outside.join("secret.csv"), "s\n").unwrap();
    symlink(outside.join("secret.csv"), inside.join("absolute.csv")).unwrap();
    symlink("../out/secret.csv", inside.join("relative.csv")).unwrap();
    symlink(&outside, inside.join("folder")).unwrap();
    symlink("/proc/self/root", inside.join("magic")).unwrap();
    symlink(inside.join("sub/a.csv"), inside.join("latest.csv")).unwrap();
    symlink(&inside, folder.path().join("alias")).unwrap();
    let at = |path: &str| folder.path().join(path).to_str().unwrap().to_owned();

    for path in [
        "in/sub/a.csv",
        "in/latest.csv",
        "in/sub/../sub/a.csv",
        "alias/sub/a.csv",
        "out/../in/sub/a.csv",
    ] {
        open(root(&inside), &at(path)).await.expect(path);
        open(root(folder.path().join("alias")), &at(path))
            .await
            .expect(path);
    }
    open(root(&inside), &format!("file://{}", at("in/sub/a.csv")))
        .await
        .expect("a file: URI");
    let leads_out =
        "a link on the way leads out of the allowed folders; a queued URI follows it only with --allow-root";
    let not_below = "is not below an allowed folder; a queued URI reaches it only with --allow-root /";
    for (path, why) in [
        ("in/absolute.csv", leads_out),
        ("in/relative.csv", leads_out),
        ("in/folder/secret.csv", leads_out),
        ("in/magic/etc/passwd", leads_out),
        ("in/../out/secret.csv", not_below),
        ("out/secret.csv", not_below),
        ("out/missing.csv", not_below),
        ("in/../out/missing.csv", not_below),
        ("inside-in-name-only.csv", not_below),
        ("../../../../../../etc/passwd", not_below),
    ] {
        let error = refused(root(&inside), &at(path)).await;
        assert_eq!(error.class(), Class::Permanent);
        assert!(error.to_string().contains(why), "{error}");
    }
    let error = refused(
        root(&inside),
        &format!("file://{}", at("in/%2e%2e/out/secret.csv")),
    )
    .await;
    assert!(
        error.to_string().contains("is not below an allowed folder"),
        "{error}"
    );
    let error = refused(root(&inside), &at("in/missing.csv")).await;
    assert!(
        error.to_string().ends_with("in/missing.csv: no such file"),
        "{error}"
    );
    let error = refused(root(&inside), &at("in")).await;
    assert!(error.to_string().ends_with("in: is a folder"), "{error}");
    for path in ["/etc/passwd", "file:///etc/passwd", "Cargo.toml"] {
        let error = refused(Access::default(), path).await;
        assert!(error.to_string().contains("only with --allow-root /"), "{error}");
    }
    // For a relative path, too, the error suggests `--allow-root` with an absolute path.
    let here = std::env::current_dir().unwrap();
    for path in ["no.csv", "sub/../no.csv", "./no.csv"] {
        let error = refused(Access::default(), path).await.to_string();
        assert!(
            error.contains("(a relative path counts from the worker's folder)"),
            "{error}"
        );
        let (_, folder) = error.split_once("--allow-root ").unwrap();
        assert!(folder.starts_with(here.to_str().unwrap()), "{error}");
    }
}
