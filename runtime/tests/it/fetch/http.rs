//! Tests that a body fetched over HTTP arrives complete and in bounded memory. If it does not arrive complete, the
//! error says whether to retry.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use ingest_host::config::Limits;
use ingest_host::digest::Digesting;
use ingest_host::error::{Class, Stage};
use ingest_host::fetch::{Access, Fetcher, RequestedBy};
use ingest_host::format::Format;
use ingest_host::stop::Stop;

use crate::support::inputs::scripted_server::{self, answer, serve, serve_forever};
use crate::support::inputs::{CSV, digest, fails, fetch, file, gzip, limits, open, read, zstd};
use crate::support::process;

#[tokio::test]
async fn an_answer_tells_its_name_format_and_etag() {
    let seen = |headers: HeaderMap| async move {
        assert_eq!(headers[header::ACCEPT_ENCODING], "identity");
        assert_eq!(headers[header::AUTHORIZATION], "Basic bWU6c2VjcmV0");
        assert!(
            headers[header::USER_AGENT]
                .to_str()
                .unwrap()
                .starts_with("ingest-host/")
        );
        (
            [
                (header::ETAG, "\"v1\""),
                (header::CONTENT_TYPE, "application/x-ndjson"),
            ],
            "{}\n",
        )
    };
    let address = serve_forever(axum::Router::new().route("/export/day", get(seen))).await;
    let source = open(&format!("http://me:secret@{address}/export/day?token=abc#x"))
        .await
        .unwrap();
    assert_eq!(source.uri, format!("http://{address}/export/day?token=***"));
    assert_eq!(
        (source.name.as_str(), source.etag.as_deref()),
        ("day", Some("\"v1\""))
    );
    assert_eq!(source.hints.format, Some(Format::Jsonl));
    assert_eq!(read(source).await.unwrap().0, b"{}\n");
}

#[tokio::test]
async fn a_content_encoding_is_undone_and_binding() {
    let twice = gzip(&gzip(CSV));
    for (encoding, path, body, outcome) in [
        ("gzip", "a.csv", gzip(CSV), Ok(CSV)),
        ("zstd", "a.csv", zstd(CSV), Ok(CSV)),
        ("identity", "a.csv.gz", gzip(CSV), Ok(CSV)),
        ("gzip", "a.csv.gz", twice, Ok(CSV)),
        ("gzip", "a.csv.gz", gzip(CSV), Ok(CSV)),
        ("gzip", "empty.csv.gz", gzip(b""), Ok(&b""[..])),
        (
            "gzip",
            "a.csv",
            CSV.to_vec(),
            Err("calls it gzip-encoded, but it is not"),
        ),
        (
            "gzip",
            "a.csv",
            vec![],
            Err("calls it gzip-encoded, but it is not"),
        ),
    ] {
        let headers = format!("Content-Encoding: {encoding}\r\n");
        let server = serve(vec![answer("200 OK", &headers, &body)]);
        let result = fetch(&format!("http://{}/{path}", server.address)).await;
        match (result, outcome) {
            (Ok((read, fetched)), Ok(expected)) => {
                assert_eq!((read.as_slice(), fetched), (expected, digest(&body)));
            }
            (Err(error), Err(what)) => {
                assert_eq!(
                    (error.stage(), error.class()),
                    (Stage::Decompress, Class::Permanent)
                );
                assert!(error.to_string().contains(what), "{error}");
            }
            (result, outcome) => panic!("{encoding} {path}: {result:?}, not {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_transient_error() {
    let short = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nid,name\n1,A".to_vec();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let packed = gzip(&[7; 100]);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", packed.len());
    for (name, bytes) in [
        ("length.csv", short),
        ("chunk.csv", [&chunked[..], b"5\r\nid,na\r\n"].concat()),
        ("within-chunk.csv", [&chunked[..], b"5\r\nid"].concat()),
        ("bad-chunk.csv", [&chunked[..], b"5\r\nid,na\r\nzz\r\n"].concat()),
        // The transfer breaks off within the compressed data. The error must name the transfer as the cause, and not
        // the compressed data.
        (
            "packed.csv.gz",
            [head.as_bytes(), &packed[..packed.len() - 4]].concat(),
        ),
    ] {
        let server = serve(vec![bytes]);
        let uri = format!("http://{}/{name}", server.address);
        let error = fails(&uri).await;
        assert_eq!(
            (error.stage(), error.class()),
            (Stage::Fetch, Class::Transient),
            "{}",
            error.report()
        );
        assert!(
            error
                .to_string()
                .starts_with(&format!("fetch {uri}: the transfer broke off")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn two_lengths_that_disagree_are_a_transient_error() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n";
    let server = serve(vec![[&head[..], b"3\r\na\n1\r\n0\r\n\r\n"].concat()]);
    let uri = server.uri();
    let error = fails(&uri).await;
    assert_eq!(error.class(), Class::Transient);
    assert_eq!(
        error.to_string(),
        format!("fetch {uri}: announced 100 bytes and sent 3")
    );
}

#[tokio::test]
async fn what_follows_the_announced_length_is_not_the_body() {
    let server = serve(vec![
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na\n1\nHTTP/1.1 200 OK".to_vec(),
    ]);
    let (read, fetched) = fetch(&server.uri()).await.unwrap();
    assert_eq!((read.as_slice(), fetched), (&b"a\n1\n"[..], digest(b"a\n1\n")));
}

#[tokio::test]
async fn the_status_decides_whether_to_retry() {
    for (status, class) in [
        ("401 Unauthorized", Class::Permanent),
        ("403 Forbidden", Class::Permanent),
        ("404 Not Found", Class::Permanent),
        ("410 Gone", Class::Permanent),
        ("408 Request Timeout", Class::Transient),
        ("425 Too Early", Class::Transient),
        ("429 Too Many Requests", Class::Transient),
        ("500 Internal Server Error", Class::Transient),
        ("503 Service Unavailable", Class::Transient),
        ("202 Accepted", Class::Transient),
        ("204 No Content", Class::Permanent),
        ("304 Not Modified", Class::Permanent),
    ] {
        let server = serve(vec![answer(status, "", b"")]);
        let uri = format!("http://{}/a.csv?sig=x", server.address);
        let error = fails(&uri).await;
        assert_eq!(error.class(), class, "{status}");
        let shown = uri.replace("=x", "=***");
        assert_eq!(error.to_string(), format!("fetch {shown}: answered {status}"));
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_worth_a_retry() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = fails(&format!("http://me:secret@{address}/a.csv")).await;
    assert_eq!(error.class(), Class::Transient);
    assert_eq!(
        error.to_string(),
        format!("fetch http://{address}/a.csv: cannot connect")
    );
    assert!(!error.report().contains("secret"), "{}", error.report());
}

#[tokio::test]
async fn redirects_are_followed_up_to_a_limit() {
    let target = serve(vec![answer("200 OK", "", CSV)]);
    let location = format!("Location: http://{}/b.csv\r\n", target.address);
    let first = serve(vec![
        answer("302 Found", "Location: /moved/a.csv?x=1\r\n", b""),
        answer("308 Permanent Redirect", &location, b""),
    ]);
    let source = open(&format!("http://me:secret@{}/a.csv", first.address))
        .await
        .unwrap();
    assert_eq!(source.uri, format!("http://{}/b.csv", target.address));
    assert_eq!(read(source).await.unwrap().0, CSV);
    // Credentials are sent only to the server that they belong to.
    let requests = first.requests();
    assert!(requests[1].starts_with("GET /moved/a.csv?x=1 "), "{requests:?}");
    assert!(
        requests
            .iter()
            .all(|request| request.contains("authorization: Basic")),
        "{requests:?}"
    );
    assert!(
        !target.requests()[0].contains("authorization"),
        "{:?}",
        target.requests()
    );

    let around = serve(vec![answer("302 Found", "Location: /a.csv\r\n", b""); 11]);
    let uri = around.uri();
    let error = fails(&uri).await;
    assert_eq!(
        error.to_string(),
        format!("fetch {uri}: more than 10 redirects; request the final URL, or raise --limit redirects")
    );
    assert_eq!((error.class(), around.requests().len()), (Class::Permanent, 11));

    for (headers, what) in [
        ("", "answered 302 Found without a location"),
        ("Location: \r\n", "answered 302 Found without a location"),
        ("Location: http://[\r\n", "with an invalid location"),
        (
            "Location: file:///etc/passwd\r\n",
            "with a location that is not HTTP but file:",
        ),
    ] {
        let server = serve(vec![answer("302 Found", headers, b"")]);
        let error = fails(&format!("http://{}/", server.address)).await;
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(error.class(), Class::Permanent);
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_a_transient_error() {
    // Only the tested limits are short, so no other limit is reached first, even on a slow machine.
    let (long, short) = (Duration::from_secs(300), Duration::from_millis(100));
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
    for (sent, what, http_connect, http_first_byte, http_idle) in [
        (
            String::new(),
            "no answer within 2.1 s; for a slow server raise --limit first-byte-time",
            Duration::from_secs(2),
            short,
            long,
        ),
        (
            head.to_owned(),
            "nothing came for 0.1 s after 0 bytes; for a slow server raise --limit first-byte-time",
            long,
            short,
            short,
        ),
        (
            format!("{head}abc"),
            "nothing came for 0.1 s after 3 bytes",
            long,
            long,
            short,
        ),
    ] {
        let limits = Limits {
            http_connect,
            http_first_byte,
            http_idle,
            ..Limits::default()
        };
        let fetcher = Fetcher::new(Access::default(), &limits);
        let server = scripted_server::silent_after(sent.as_bytes().to_vec());
        let uri = server.uri();
        let result = match fetcher.open(&uri, RequestedBy::Typed, &Stop::default()).await {
            Ok(source) => read(source).await.map(|_| ()),
            Err(error) => Err(error),
        };
        let error = result.expect_err("silence");
        assert_eq!((error.stage(), error.class()), (Stage::Fetch, Class::Transient));
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[tokio::test]
async fn a_stop_ends_a_blocked_read_and_a_blocked_open() {
    for sent in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"] {
        let server = scripted_server::silent_after(sent.as_bytes().to_vec());
        let (stop, uri) = (Stop::default(), server.uri());
        let fetcher = Fetcher::new(Access::default(), &Limits::default());
        let attempt = async {
            let source = fetcher.open(&uri, RequestedBy::Typed, &stop).await?;
            read(source).await
        };
        let requesting = async {
            server.sent.notified().await;
            stop.request(Class::LeaseLost, "the lease is lost");
        };
        let (result, ()) = tokio::join!(attempt, requesting);
        let error = result.expect_err("stopped");
        assert_eq!(
            (error.class(), error.to_string().as_str()),
            (Class::LeaseLost, "worker stopped: the lease is lost")
        );
    }
    // A read of a local file does not block, but the attempt can be stopped between two reads.
    let folder = tempfile::tempdir().unwrap();
    let stop = Stop::default();
    let fetcher = Fetcher::new(Access::default(), &limits());
    let path = file(folder.path(), "a.csv", CSV);
    let source = fetcher.open(&path, RequestedBy::Typed, &stop).await.unwrap();
    stop.request(Class::Cancelled, "cancelled");
    assert_eq!(read(source).await.expect_err("stopped").class(), Class::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_body_is_streamed_in_bounded_memory() {
    if !process::is_own() {
        return;
    }
    const BYTES: usize = 256 << 20;
    let server = scripted_server::long_body(BYTES);
    let source = open(&format!("http://{}/long.csv", server.address))
        .await
        .unwrap();
    let before = process::peak_bytes(std::process::id());
    let reading = tokio::task::spawn_blocking(move || {
        let (mut reader, fetched) = source.into_reader(Digesting::default()).unwrap();
        let read = std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
        assert_eq!(
            (read, fetched.digest().unwrap().bytes),
            (BYTES as u64, BYTES as u64)
        );
    });
    reading.await.unwrap();
    let grown = process::peak_bytes(std::process::id()) - before;
    assert!(grown < 32 << 20, "{grown} bytes");
}

#[tokio::test]
async fn a_router_answers_as_a_router_does() {
    let router = axum::Router::new().route("/busy.csv", get(|| async { StatusCode::SERVICE_UNAVAILABLE }));
    let address = serve_forever(router).await;
    assert_eq!(
        fails(&format!("http://{address}/busy.csv")).await.class(),
        Class::Transient
    );
    assert_eq!(
        fails(&format!("http://{address}/missing.csv")).await.class(),
        Class::Permanent
    );
}
