//! Tests that a file must match the digests that its server announces and the digest that its submitter gives. A file
//! that does not match is not published.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ingest_host::error::{Class, Stage};
use md5::{Digest as _, Md5};
use serde_json::Value;
use sha2::Sha256;

use crate::support::host::{Host, component, path_of};
use crate::support::inputs::scripted_server::serve;
use crate::support::inputs::served_file::{Action, Framing, ServedFile, partial};
use crate::support::inputs::{CSV, digest, fails, fetch, gzip};

const A: Option<&str> = Some("\"a\"");

fn sha256(bytes: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(bytes))
}

fn md5(bytes: &[u8]) -> String {
    STANDARD.encode(Md5::digest(bytes))
}

/// Returns headers. Each header announces a digest of these bytes.
fn announcements(bytes: &[u8]) -> Vec<String> {
    vec![
        format!("Content-MD5: {}", md5(bytes)),
        format!("Digest: sha-256={}", sha256(bytes)),
        format!("Digest: MD5={}", md5(bytes)),
        format!("Repr-Digest: sha-256=:{}:", sha256(bytes)),
        format!("Content-Digest: sha-512=:YQ==:, sha-256=:{}:", sha256(bytes)),
    ]
}

#[tokio::test]
async fn a_digest_of_the_servers_holds_or_the_transfer_did_damage() {
    let packed = gzip(CSV);
    for (path, bytes) in [("a.csv", CSV), ("a.csv.gz", &packed)] {
        for framing in [Framing::Length, Framing::Chunked, Framing::Close] {
            for (right, wrong) in announcements(bytes).into_iter().zip(announcements(b"other")) {
                let server = ServedFile::new(bytes, None)
                    .framed(framing)
                    .with(&right)
                    .serve(vec![]);
                let uri = format!("http://{}/{path}", server.address);
                assert_eq!(
                    fetch(&uri).await.expect(&right),
                    (CSV.to_vec(), digest(bytes)),
                    "{right}"
                );

                let server = ServedFile::new(bytes, None)
                    .framed(framing)
                    .with(&right)
                    .with(&wrong)
                    .serve(vec![]);
                let error = fails(&format!("http://{}/{path}", server.address)).await;
                assert_eq!(
                    (error.stage(), error.class()),
                    (Stage::Fetch, Class::Transient),
                    "{wrong}: {error}"
                );
                let header = wrong.split(':').next().unwrap();
                let start = format!("fetch {path}: damaged on its way: {header} says ");
                assert!(error.to_string().starts_with(&start), "{wrong}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn damage_that_a_decoder_finds_first_is_the_transfers_if_the_digest_says_so() {
    let random: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(400_000)
        .collect();
    let packed = gzip(&random);
    let mut damaged = packed.clone();
    damaged[100_000..100_100].fill(0);
    let announced = format!("Repr-Digest: sha-256=:{}:", sha256(&packed));
    for (header, class, what) in [
        (announced.as_str(), Class::Transient, "damaged on its way"),
        ("X-Other: 1", Class::Permanent, "the gzip stream is corrupt"),
    ] {
        let server = ServedFile::new(damaged.clone(), None).with(header).serve(vec![]);
        let error = fails(&format!("http://{}/a.csv.gz", server.address)).await;
        assert_eq!(error.class(), class, "{}", error.report());
        assert!(error.to_string().contains(what), "{error}");
    }
    // If the file is corrupt on its server, a retry does not help.
    let announced = format!("Repr-Digest: sha-256=:{}:", sha256(&damaged));
    let server = ServedFile::new(damaged, None).with(&announced).serve(vec![]);
    let error = fails(&format!("http://{}/a.csv.gz", server.address)).await;
    assert_eq!(
        (error.stage(), error.class()),
        (Stage::Decompress, Class::Permanent),
        "{}",
        error.report()
    );
}

#[tokio::test]
async fn a_resumed_file_has_the_digest_that_its_first_answer_announced() {
    let bytes: Vec<u8> = (0..100).collect();
    for (right, wrong) in announcements(&bytes).into_iter().zip(announcements(b"other")) {
        let server = ServedFile::new(bytes.clone(), A).with(&right).serve(vec![
            Action::Cut(10),
            partial("Content-Range: bytes 10-99/100\r\n", &bytes[10..]),
        ]);
        let uri = server.uri();
        assert_eq!(
            fetch(&uri).await.expect(&right),
            (bytes.clone(), digest(&bytes)),
            "{right}"
        );
        let server = ServedFile::new(bytes.clone(), A)
            .with(&wrong)
            .serve(vec![Action::Cut(10)]);
        let error = fails(&server.uri()).await;
        assert_eq!(error.class(), Class::Transient, "{wrong}");
        assert!(
            error.to_string().contains("damaged on its way"),
            "{wrong}: {error}"
        );
    }
}

#[tokio::test]
async fn a_content_digest_is_of_its_own_answer() {
    let bytes: Vec<u8> = (0..100).collect();
    let range = "Content-Range: bytes 10-99/100\r\n";
    for (of, holds) in [(&bytes[10..], true), (&bytes[..], false)] {
        let lines = format!("{range}Content-Digest: sha-256=:{}:\r\n", sha256(of));
        let server =
            ServedFile::new(bytes.clone(), A).serve(vec![Action::Cut(10), partial(&lines, &bytes[10..])]);
        let result = fetch(&server.uri()).await;
        match result {
            Ok((read, _)) => assert!(holds && read == bytes),
            Err(error) => {
                assert!(!holds, "{}", error.report());
                assert_eq!((error.stage(), error.class()), (Stage::Fetch, Class::Transient));
                assert!(
                    error.to_string().contains("Content-Digest says sha-256"),
                    "{error}"
                );
            }
        }
    }
}

fn ingest(host: &Host, uri: &str, more: &[&str]) -> crate::support::host::CommandOutput {
    let clean = component("clean");
    let mut args = vec![uri, "--plugin", clean.to_str().unwrap()];
    args.extend(more);
    host.run_with("ingest --json", &args)
}

#[test]
fn a_file_with_another_sha256_than_asked_for_leaves_nothing() {
    let host = Host::embedded();
    let packed = gzip(CSV);
    host.write("a.csv.gz", &packed);
    let (is, plain) = (digest(&packed).sha256, digest(CSV).sha256);

    let said = ingest(&host, "a.csv.gz", &["--sha256", &plain]).refused(1);
    let what = format!("a.csv.gz: has the SHA-256 {is}, and the request asks for {plain}");
    assert!(said.contains(&what), "{said}");
    let left: Vec<_> = files(&host.path("out"));
    assert_eq!(left, [] as [std::path::PathBuf; 0], "something was written");

    let receipt = ingest(&host, "a.csv.gz", &["--sha256", &is.to_uppercase()])
        .json()
        .remove(0);
    assert_eq!(receipt["input"]["sha256"], is);
    let without = ingest(&host, "a.csv.gz", &[]).json().remove(0);
    assert_eq!(receipt, without, "the same work has the same name");
}

#[test]
fn a_file_of_which_a_cut_would_go_unnoticed_is_warned_of() {
    let host = Host::embedded();
    let sha256 = digest(CSV).sha256;
    for (framing, more, warned) in [
        (Framing::Length, vec![], false),
        (Framing::Chunked, vec![], false),
        (Framing::Close, vec![], true),
        (Framing::Close, vec!["--sha256", &sha256], false),
    ] {
        let server = ServedFile::new(CSV, A).framed(framing).serve(vec![]);
        let said = ingest(&host, &server.uri(), &more);
        let is_warned = said.stderr.contains("so a truncated file cannot be detected");
        assert_eq!(is_warned, warned, "{framing:?}: {}", said.stderr);
        said.ok();
    }
}

/// Checks response heads with every kind of framing. The framing shows a client where the body ends. If only the end of
/// the connection ends the body, a warning is logged. If the body is known to be incomplete, that is an error.
#[test]
fn a_body_without_an_end_of_its_own_is_warned_of_in_every_framing() {
    let host = Host::embedded();
    let chunked = "4\r\nn\n1\n\r\n4\r\n2\n3\n\r\n0\r\n\r\n";
    // Each case has the first lines of the head, the body, and whether the body could be incomplete.
    let published = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 4", "n\n1\n", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", chunked, false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED", chunked, false),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity,, chunked",
            chunked,
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            chunked,
            false,
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 4", "n\n1\n", false),
        ("HTTP/1.0 200 OK", "n\n1\n", true),
        ("HTTP/1.1 200 OK", "n\n1\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity", "n\n1\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding:", "n\n1\n", true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 4",
            "n\n1\n",
            true,
        ),
    ];
    for (head, body, is_warned) in published {
        let answer = format!("{head}\r\nConnection: close\r\n\r\n{body}");
        let server = serve(vec![answer.into_bytes()]);
        let said = ingest(&host, &server.uri(), &["--id", "one"]);
        let warned = said.stderr.contains("so a truncated file cannot be detected");
        assert_eq!(warned, is_warned, "{head:?}: {}", said.stderr);
        said.ok();
        std::fs::remove_dir_all(host.path("out")).unwrap();
    }
    let cut = [
        // In HTTP/1.0, a transfer coding is an error, because HTTP/1.0 does not define where a body with such a coding
        // ends.
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: identity\r\n\r\nn\n1\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nn\n1\n\r\n",
        // The chunks determine the end of the body. The `Content-Length`, which is too small, is ignored.
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n4\r\nn\n1\n\r\n4\r\n2",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nn\n1\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 8\r\n\r\nn\n1\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nn\n1\n",
    ];
    for answer in cut {
        let server = serve(vec![answer.as_bytes().to_vec()]);
        let said = ingest(&host, &server.uri(), &["--id", "one"]);
        let error = said.refused(1);
        assert!(error.contains("error: fetch http://"), "{answer:?}: {error}");
        assert_eq!(
            files(&host.path("out")),
            [] as [std::path::PathBuf; 0],
            "{answer:?}"
        );
    }
}

#[test]
fn a_queued_file_with_another_sha256_is_a_dead_letter() {
    let host = Host::embedded();
    host.write("a.csv", CSV);
    let right = digest(CSV).sha256;
    let wrong = "00".repeat(32);
    for (id, sha256) in [("right", &right), ("wrong", &wrong)] {
        host.run_with("submit --queue q --uri a.csv", &["--id", id, "--sha256", sha256])
            .ok();
    }
    // A submit with another digest is another request, so it cannot have the id of the first request.
    host.run_with("submit --queue q --uri a.csv --id right", &["--sha256", &wrong])
        .refused(1);
    let clean = component("clean");
    host.run_with(
        "run --queue q --burst --allow-root . --plugin",
        &[clean.to_str().unwrap()],
    )
    .refused(1);
    assert_eq!(host.status("right")["state"], "done");
    let dead = host.status("wrong");
    assert_eq!(
        (&dead["state"], &dead["attempts"]),
        (&Value::from("dead"), &Value::from(1))
    );
    assert_eq!(dead["code"], "digest-mismatch", "{dead}");
    let reason = dead["error"].as_str().unwrap();
    assert!(reason.contains(&right) && reason.contains(&wrong), "{reason}");
}

#[test]
fn an_output_does_not_tell_how_often_its_input_was_cut() {
    let host = Host::embedded();
    let mut csv = Vec::new();
    alarm_feed::write_alarms(&mut csv, 7, 20_000, 5).unwrap();
    let sha256 = digest(&csv).sha256;
    let mut receipts = Vec::new();
    for (output, actions) in [
        ("calm", vec![]),
        ("storm", (0..8).map(|n| Action::Cut(n * 10_000 + 1)).collect()),
    ] {
        let server = ServedFile::new(csv.clone(), A).serve(actions);
        let uri = format!("http://{}/alarms.csv", server.address);
        let said = ingest(
            &host,
            &uri,
            &["--output", output, "--id", "x", "--sha256", &sha256],
        );
        receipts.push(said.json().remove(0));
        assert!(server.requests().len() == 1 || output == "storm");
    }
    let [calm, storm] = &receipts[..] else {
        unreachable!("two were made")
    };
    let output = |receipt: &Value| std::fs::read(path_of(&receipt["outputs"][0]["uri"])).unwrap();
    assert!(output(calm) == output(storm), "the outputs differ");
    for part in ["records", "config_sha256"] {
        assert_eq!(calm[part], storm[part]);
    }
    assert_eq!(
        (&storm["input"]["sha256"], &storm["input"]["etag"]),
        (&sha256.into(), &Value::from("\"a\""))
    );
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| {
            if entry.path().is_dir() {
                files(&entry.path())
            } else {
                vec![entry.path()]
            }
        })
        .collect()
}
