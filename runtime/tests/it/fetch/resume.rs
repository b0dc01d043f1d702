//! Tests that a broken transfer is resumed at the byte where it broke, or ends with an error. A resumed transfer never
//! mixes the bytes of two files.

use std::io::Read;
use std::time::Duration;

use base64::Engine;
use fastrand::Rng;
use ingest_host::config::Limits;
use ingest_host::digest::Digesting;
use ingest_host::error::{Class, Error, Stage};
use ingest_host::fetch::{Access, Fetcher, RequestedBy};
use ingest_host::stop::Stop;

use crate::support::inputs::scripted_server::{answer, serve};
use crate::support::inputs::served_file::{Action, Framing, ServedFile, partial, untagged_partial};
use crate::support::inputs::{digest, fails, fails_with, fetch, gzip, limits, open_with, read};

const A: Option<&str> = Some("\"a\"");

fn random(random: &mut Rng, bytes: usize) -> Vec<u8> {
    std::iter::repeat_with(|| random.u8(..)).take(bytes).collect()
}

#[track_caller]
fn is_transient(error: &Error, what: &str) {
    assert_eq!(
        (error.stage(), error.class()),
        (Stage::Fetch, Class::Transient),
        "{}",
        error.report()
    );
    assert!(error.report().contains(what), "{}, not {what}", error.report());
}

#[tokio::test]
async fn a_connection_cut_anywhere_is_resumed_byte_for_byte() {
    let seed = 20_171_023;
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    for round in 0..50 {
        let length = rng.usize(1..400_000);
        let bytes = random(&mut rng, length);
        let cut = rng.usize(..length);
        let framing = [Framing::Length, Framing::Chunked][round % 2];
        let server = ServedFile::new(bytes.clone(), A)
            .framed(framing)
            .serve(vec![Action::Cut(cut)]);
        let (read, fetched) = fetch(&server.uri()).await.unwrap();
        assert!(
            read == bytes,
            "round {round}: {length} bytes cut at {cut}: the content differs"
        );
        assert_eq!(fetched, digest(&bytes), "round {round}");
        let requests = server.requests();
        assert_eq!(requests.len(), 2, "round {round}: {requests:?}");
        assert!(!requests[0].contains("range:"), "{requests:?}");
        assert!(requests[1].contains("\nif-range: \"a\""), "{requests:?}");
        // The client has received all bytes that were sent before the cut, or fewer.
        let from: usize = requests[1]
            .split("\nrange: bytes=")
            .nth(1)
            .unwrap()
            .split('-')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!(from <= cut, "round {round}: from {from}, cut at {cut}");
    }
}

#[tokio::test]
async fn without_a_strong_etag_a_cut_anywhere_is_an_error() {
    let seed = 31_337;
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let etags = [None, Some("W/\"a\""), Some("\"\""), Some("a")];
    for round in 0..50 {
        let length = rng.usize(1..400_000);
        let bytes = random(&mut rng, length);
        let cut = rng.usize(..length);
        let framing = [Framing::Length, Framing::Chunked][round % 2];
        let server = ServedFile::new(bytes, etags[round % 4])
            .framed(framing)
            .serve(vec![Action::Cut(cut)]);
        is_transient(&fails(&server.uri()).await, "the transfer broke off after ");
        assert_eq!(server.requests().len(), 1, "round {round}: it was asked again");
    }
}

#[tokio::test]
async fn several_cuts_and_stalls_in_one_transfer_are_survived() {
    let mut rng = Rng::with_seed(11);
    let bytes = random(&mut rng, 300_000);
    let actions = vec![
        Action::Cut(1),
        Action::Cut(0),
        Action::Cut(0),
        Action::Cut(70_000),
        Action::Send(answer("503 Service Unavailable", "", b"later")),
        Action::Send(vec![]),
        Action::Stall(100_000),
        Action::Stall(0),
        Action::Cut(100_000),
    ];
    let count = actions.len();
    let limits = Limits {
        http_first_byte: Duration::from_millis(500),
        http_idle: Duration::from_millis(500),
        ..limits()
    };
    let server = ServedFile::new(bytes.clone(), A).serve(actions);
    let source = open_with(&server.uri(), &limits).await.unwrap();
    let (read, fetched) = read(source).await.unwrap();
    assert!(read == bytes, "the content differs");
    assert_eq!(fetched, digest(&bytes));
    // On a busy machine, the client can see more stalls than the server makes.
    assert!(server.requests().len() > count, "{:?}", server.requests());
}

#[tokio::test]
async fn a_server_may_give_the_rest_in_parts() {
    let bytes: Vec<u8> = (0..100).collect();
    let actions = vec![
        Action::Cut(10),
        partial(
            "ETag: \"a\"\r\nContent-Range: bytes 10-29/100\r\n",
            &bytes[10..30],
        ),
        partial("Content-Range: bytes 30-30/100\r\n", &bytes[30..31]),
    ];
    let server = ServedFile::new(bytes.clone(), A)
        .framed(Framing::Chunked)
        .serve(actions);
    assert_eq!(
        fetch(&server.uri()).await.unwrap(),
        (bytes.clone(), digest(&bytes))
    );
    assert!(
        server.requests()[3].contains("range: bytes=31-"),
        "{:?}",
        server.requests()
    );
}

#[tokio::test]
async fn resumes_in_vain_have_an_end() {
    let limits = Limits {
        http_resumes_in_vain: 3,
        ..limits()
    };
    let bytes = vec![b'x'; 1_000];
    let mut actions = vec![Action::Cut(10)];
    actions.extend((0..10).map(|_| Action::Cut(0)));
    let server = ServedFile::new(bytes.clone(), A).serve(actions);
    let error = fails_with(&server.uri(), &limits).await;
    is_transient(&error, "broke off after 10 bytes, resumed 3 times");
    assert_eq!(server.requests().len(), 4);

    let limits = Limits {
        http_resumes: 7,
        ..limits
    };
    let server = ServedFile::new(bytes, A).serve((0..100).map(|_| Action::Cut(1)).collect());
    let error = fails_with(&server.uri(), &limits).await;
    is_transient(&error, "broke off after 8 bytes, resumed 7 times");
    assert_eq!(server.requests().len(), 8);
}

/// Returns wrong responses to a request for a file of 100 bytes from offset 10 on. Each response has the error text
/// that it must cause.
fn lies(bytes: &[u8]) -> Vec<(Action, &'static str)> {
    let rest = &bytes[10..];
    let other: Vec<u8> = bytes.iter().map(|byte| byte ^ 0xff).collect();
    let range = "Content-Range: bytes 10-99/100\r\n";
    let digest = base64::engine::general_purpose::STANDARD.encode([1; 32]);
    vec![
        (
            untagged_partial(range, &other[10..]),
            "does not say the ETag of the rest",
        ),
        (
            partial(
                &format!("Repr-Digest: sha-256=:{digest}:\r\n{range}"),
                &other[10..],
            ),
            "its Repr-Digest announces the sha-256 of the file",
        ),
        (
            Action::ServeOther(ServedFile::new(other.clone(), Some("\"b\""))),
            "its ETag was \"a\" and is \"b\"",
        ),
        (
            Action::Send(answer("200 OK", "ETag: \"a\"\r\n", bytes)),
            "does not give ranges of it",
        ),
        (
            Action::Send(answer("200 OK", "", bytes)),
            "does not give ranges of it",
        ),
        (
            partial("Content-Range: bytes 9-99/100\r\n", &bytes[9..]),
            "another start",
        ),
        (
            partial("Content-Range: bytes 11-99/100\r\n", &bytes[11..]),
            "another start",
        ),
        (
            partial("Content-Range: bytes 0-99/100\r\n", bytes),
            "another start",
        ),
        (
            partial("Content-Range: bytes 10-99/101\r\n", rest),
            "the length was 100 before",
        ),
        (
            partial("Content-Range: bytes 10-98/99\r\n", &bytes[10..99]),
            "the length was 100 before",
        ),
        (
            partial("Content-Range: bytes 10-99/*\r\n", rest),
            "not a range of a known length",
        ),
        (partial("", rest), "does not say once which range"),
        (
            partial(&format!("{range}{range}"), rest),
            "does not say once which range",
        ),
        (
            partial(&format!("ETag: \"b\"\r\n{range}"), &other[10..]),
            "its ETag was \"a\" and is \"b\"",
        ),
        (
            partial(&format!("ETag: W/\"a\"\r\n{range}"), rest),
            "its ETag was \"a\" and is W/\"a\"",
        ),
        (partial(range, &bytes[11..]), "the content has another length"),
        (
            partial(
                &format!("Content-Type: multipart/byteranges; boundary=x\r\n{range}"),
                rest,
            ),
            "several ranges",
        ),
        (
            partial(&format!("Content-Encoding: gzip\r\n{range}"), rest),
            "another content encoding",
        ),
        (
            Action::Send(answer(
                "416 Range Not Satisfiable",
                "Content-Range: bytes */10\r\n",
                b"",
            )),
            "answered 416",
        ),
        (Action::Send(answer("404 Not Found", "", b"")), "answered 404"),
        (
            Action::Send(answer("302 Found", "Location: /b.csv\r\n", b"")),
            "redirected to another place",
        ),
    ]
}

/// Checks that the first byte of a resumed transfer may take as long as the first byte of a whole file. This wait does
/// not count as a slow transfer.
#[tokio::test]
async fn a_rest_may_begin_late() {
    let bytes: Vec<u8> = (0..100).collect();
    let limits = Limits {
        http_first_byte: Duration::from_secs(60),
        http_idle: Duration::from_millis(300),
        http_rate_min: 1 << 20,
        http_rate_window: Duration::from_millis(300),
        http_resumes_in_vain: 1,
        ..limits()
    };
    let late = Action::Late(Duration::from_millis(900));
    let server = ServedFile::new(bytes.clone(), A).serve(vec![Action::Cut(10), late.clone()]);
    let source = open_with(&server.uri(), &limits).await.unwrap();
    assert_eq!(read(source).await.unwrap(), (bytes.clone(), digest(&bytes)));
    assert_eq!(server.requests().len(), 2, "{:?}", server.requests());

    // The same holds for a transfer that resumes from a checkpoint.
    let server = ServedFile::new(bytes.clone(), A).serve(vec![Action::Serve, late]);
    let fetcher = Fetcher::new(Access::default(), &limits);
    let source = fetcher
        .open(&server.uri(), RequestedBy::Typed, &Stop::default())
        .await
        .unwrap();
    let reading = tokio::task::spawn_blocking(move || {
        let (mut reader, fetched) = source.into_reader(Digesting::default()).unwrap();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        let identity = fetched.identity().expect("a strong ETag");
        let source = fetcher
            .open_rest_blocking(&server.uri(), RequestedBy::Typed, identity, 40, &Stop::default())
            .unwrap();
        let mut before = Digesting::default();
        before.update(&read[..40]);
        let (mut reader, _) = source.into_reader(before).unwrap();
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, &read[40..]);
        assert_eq!(server.requests().len(), 2, "{:?}", server.requests());
    });
    reading.await.unwrap();
}

#[tokio::test]
async fn nothing_is_ever_spliced() {
    let bytes: Vec<u8> = (0..100).collect();
    for (lie, what) in lies(&bytes) {
        let server = ServedFile::new(bytes.clone(), A).serve(vec![Action::Cut(10), lie]);
        let error = fails(&server.uri()).await;
        is_transient(&error, what);
        assert!(
            error
                .to_string()
                .contains("broke off after 10 bytes and could not be resumed"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn more_than_was_announced_is_an_error() {
    let bytes: Vec<u8> = (0..100).collect();
    let head = "HTTP/1.1 206 Partial Content\r\nETag: \"a\"\r\nContent-Range: bytes 10-98/100\r\nTransfer-Encoding: chunked\r\n\r\n5a\r\n";
    let longer = [head.as_bytes(), &bytes[10..], b"\r\n0\r\n\r\n"].concat();
    let server = ServedFile::new(bytes, A).serve(vec![Action::Cut(10), Action::Send(longer)]);
    is_transient(&fails(&server.uri()).await, "announced 89 bytes and sent more");
}

#[tokio::test]
async fn a_resumed_request_is_redirected_and_guarded_as_the_first_was() {
    let bytes = vec![b'x'; 1_000];
    let target = ServedFile::new(bytes.clone(), A).serve(vec![Action::Cut(10)]);
    let moved = |query: &str| format!("Location: http://{}/a.csv?{query}\r\n", target.address);
    let first = serve(vec![
        answer("302 Found", &moved("signature=1"), b""),
        answer("302 Found", &moved("signature=2"), b""),
    ]);
    let uri = format!("http://me:secret@{}/a.csv", first.address);
    assert_eq!(fetch(&uri).await.unwrap().0, bytes);
    let asked = target.requests();
    assert!(asked[1].starts_with("GET /a.csv?signature=2 "), "{asked:?}");
    assert!(asked[1].contains("range: bytes=10-"), "{asked:?}");
    assert!(
        asked.iter().all(|head| !head.contains("authorization")),
        "{asked:?}"
    );
    assert!(
        first
            .requests()
            .iter()
            .all(|head| head.contains("authorization: Basic"))
    );

    // A redirect of the resumed transfer cannot reach an address that a queued URI must not reach.
    let elsewhere = serve(vec![]);
    let lured = format!(
        "Location: http://127.0.0.2:{}/a.csv\r\n",
        elsewhere.address.port()
    );
    let server = ServedFile::new(bytes, A).serve(vec![
        Action::Cut(10),
        Action::Send(answer("302 Found", &lured, b"")),
    ]);
    let access = Access::new(&["127.0.0.1".to_owned()], &[]).unwrap();
    let source = Fetcher::new(access, &limits())
        .open(&server.uri(), RequestedBy::Queued, &Stop::default())
        .await
        .unwrap();
    is_transient(
        &read(source).await.expect_err("lured"),
        "127.0.0.2 is not a public address",
    );
    assert_eq!(elsewhere.requests(), [""; 0]);
}

#[tokio::test]
async fn a_stop_ends_a_transfer_that_waits_to_be_resumed() {
    let limits = Limits {
        http_resume_pause: Duration::from_secs(3_600),
        ..limits()
    };
    let server = ServedFile::new(vec![b'x'; 1_000], A).serve(vec![Action::Cut(10)]);
    let stop = Stop::default();
    let fetcher = Fetcher::new(Access::default(), &limits);
    let source = fetcher
        .open(&server.uri(), RequestedBy::Typed, &stop)
        .await
        .unwrap();
    let requesting = async {
        server.sent.notified().await;
        stop.request(Class::Cancelled, "cancelled");
    };
    let (result, ()) = tokio::join!(read(source), requesting);
    assert_eq!(result.expect_err("stopped").class(), Class::Cancelled);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_truncated_body_is_never_taken_for_a_whole_one() {
    let mut rng = Rng::with_seed(13);
    let packed = gzip(&random(&mut rng, 200_000));
    let members = [gzip(b"id,name\n"), packed.clone(), gzip(b"1,Ada\n")].concat();
    for bytes in [packed, members] {
        for framing in [Framing::Length, Framing::Chunked] {
            let cut = rng.usize(1..bytes.len());
            let file = ServedFile::new(bytes.clone(), None).framed(framing);
            let server = file.serve(vec![Action::Cut(cut)]);
            is_transient(&fails(&server.uri()).await, "the transfer broke off");
        }
        // If the body ends with its connection, only the content can show that the body was cut.
        let cut = rng.usize(50..bytes.len() - 50);
        let server = ServedFile::new(bytes, A)
            .framed(Framing::Close)
            .serve(vec![Action::Cut(cut)]);
        let error = fails(&server.uri()).await;
        assert_eq!(error.stage(), Stage::Decompress, "{}", error.report());
        assert!(error.to_string().contains("ends too early"), "{error}");
    }
}

#[tokio::test]
async fn several_members_cut_in_the_middle_are_resumed_and_unpacked() {
    let mut rng = Rng::with_seed(17);
    let parts: Vec<_> = (0..5).map(|_| random(&mut rng, 60_000)).collect();
    let packed: Vec<u8> = parts.iter().flat_map(|part| gzip(part)).collect();
    let end = gzip(&parts[0]).len();
    let mut cuts = vec![end - 1, end, end + 1, packed.len() - 1];
    cuts.extend((0..20).map(|_| rng.usize(..packed.len())));
    for cut in cuts {
        let server = ServedFile::new(packed.clone(), A).serve(vec![Action::Cut(cut)]);
        let (read, fetched) = fetch(&format!("http://{}/a.csv.gz", server.address))
            .await
            .unwrap();
        assert!(read == parts.concat(), "cut at {cut}: the content differs");
        assert_eq!(fetched, digest(&packed), "cut at {cut}");
        assert_eq!(server.requests().len(), 2);
    }
}
