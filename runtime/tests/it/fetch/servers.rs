//! Tests how the host handles the answers that real servers give. Harmless deviations from HTTP are accepted, and
//! harmful ones are errors.

use std::io::Write;
use std::time::Duration;

use ingest_host::config::Limits;
use ingest_host::error::{Class, Code, Stage};

use crate::support::host::{Host, component};
use crate::support::inputs::scripted_server::{
    Hangup, ScriptedServer, answer, gone_after, hang_up, serve, silent_after,
};
use crate::support::inputs::{CSV, digest, fails, fails_with, fetch, limits, open_with, read};

/// Starts a server that answers one request.
fn once(status: &str, headers: &str, body: &[u8]) -> ScriptedServer {
    serve(vec![answer(status, headers, body)])
}

#[tokio::test]
async fn a_server_says_when_to_come_back() {
    let date = "Date: Wed, 21 Oct 2015 07:28:00 GMT\r\n";
    for (status, headers, seconds) in [
        ("429 Too Many Requests", "Retry-After: 7\r\n".to_owned(), Some(7)),
        (
            "503 Service Unavailable",
            "Retry-After:  120 \r\n".to_owned(),
            Some(120),
        ),
        (
            "503 Service Unavailable",
            "Retry-After: 0\r\n".to_owned(),
            Some(0),
        ),
        ("500 Internal Server Error", String::new(), None),
        (
            "503 Service Unavailable",
            "Retry-After: soon\r\n".to_owned(),
            None,
        ),
        ("503 Service Unavailable", "Retry-After: -1\r\n".to_owned(), None),
        ("503 Service Unavailable", "Retry-After: 1.5\r\n".to_owned(), None),
        (
            "503 Service Unavailable",
            "Retry-After: 18446744073709551615\r\n".to_owned(),
            Some(u64::MAX),
        ),
        // A number of seconds that does not fit into 64 bits also means forever.
        (
            "503 Service Unavailable",
            "Retry-After: 18446744073709551616\r\n".to_owned(),
            Some(u64::MAX),
        ),
        (
            "429 Too Many Requests",
            format!("Retry-After: {}\r\n", "9".repeat(1_000)),
            Some(u64::MAX),
        ),
        (
            "503 Service Unavailable",
            "Retry-After: soon\r\nRetry-After: 2\r\n".to_owned(),
            Some(2),
        ),
        ("503 Service Unavailable", "Retry-After:\r\n".to_owned(), None),
        ("202 Accepted", "Retry-After: 5\r\n".to_owned(), Some(5)),
        ("202 Accepted", String::new(), None),
        ("425 Too Early", String::new(), None),
        // A date is compared with the header `Date`, which shows the server's own clock. All three formats of dates in
        // HTTP are accepted.
        (
            "503 Service Unavailable",
            format!("{date}Retry-After: Wed, 21 Oct 2015 07:29:30 GMT\r\n"),
            Some(90),
        ),
        (
            "503 Service Unavailable",
            format!("{date}Retry-After: Wednesday, 21-Oct-15 07:28:10 GMT\r\n"),
            Some(10),
        ),
        (
            "503 Service Unavailable",
            format!("{date}Retry-After: Wed Oct 21 07:28:10 2015\r\n"),
            Some(10),
        ),
        (
            "503 Service Unavailable",
            format!("{date}Retry-After: Wed, 21 Oct 2015 07:00:00 GMT\r\n"),
            Some(0),
        ),
        // If the server sends no `Date` header, the date is compared with the clock of this machine.
        (
            "503 Service Unavailable",
            "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n".to_owned(),
            Some(0),
        ),
        // These statuses are usually final. If the response has `Retry-After`, the request is retried.
        ("403 Forbidden", "Retry-After: 60\r\n".to_owned(), Some(60)),
        (
            "413 Payload Too Large",
            "Retry-After: 60\r\n".to_owned(),
            Some(60),
        ),
    ] {
        let server = once(status, &headers, b"later");
        let error = fails(&server.uri()).await;
        let found = (error.class(), error.retry_after(), error.unreached());
        let wanted = (Class::Transient, seconds.map(Duration::from_secs), None);
        assert_eq!(found, wanted, "{status} {headers}: {error}");
        let told = match seconds {
            None => String::new(),
            Some(seconds @ ..100_000_000) => format!(", retry after {seconds} s"),
            Some(_) => ", retry after more than a year".into(),
        };
        assert!(
            error.to_string().ends_with(&format!("answered {status}{told}")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_that_asks_to_be_left_alone_in_mid_transfer_is_left_alone() {
    let cut = b"HTTP/1.1 200 OK\r\nETag: \"a\"\r\nContent-Length: 100\r\n\r\nid,name\n".to_vec();
    let busy = answer("503 Service Unavailable", "Retry-After: 30\r\n", b"");
    let server = serve(vec![cut, busy]);
    let error = fails(&server.uri()).await;
    assert_eq!(
        (error.class(), error.retry_after(), server.requests().len()),
        (Class::Transient, Some(Duration::from_secs(30)), 2),
        "{}",
        error.report()
    );
}

#[tokio::test]
async fn a_host_that_is_not_reached_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for (uri, host) in [
        (format!("http://{address}/a.csv"), address.to_string()),
        (
            "http://no-such-host.invalid/".to_owned(),
            "no-such-host.invalid:80".to_owned(),
        ),
    ] {
        let error = fails(&uri).await;
        assert_eq!(
            (error.class(), error.unreached()),
            (Class::Transient, Some(host.as_str())),
            "{error}"
        );
    }
    // A server that accepts the connection counts as reached, even if its answer is invalid.
    let server = once("200 OK", "", b"no TLS");
    let error = fails(&format!("https://{}/a.csv", server.address)).await;
    assert_eq!(
        (error.class(), error.unreached()),
        (Class::Transient, None),
        "{}",
        error.report()
    );
    assert!(error.to_string().contains("cannot connect by TLS"), "{error}");
    let limits = Limits {
        http_connect: Duration::from_millis(300),
        ..limits()
    };
    for how in [Hangup::Close, Hangup::Reset, Hangup::Silence] {
        let error = fails_with(&format!("https://{}/a.csv", hang_up(how)), &limits).await;
        assert_eq!(
            (error.class(), error.unreached()),
            (Class::Transient, None),
            "{how:?}: {}",
            error.report()
        );
        assert!(
            error.to_string().contains("cannot connect by TLS"),
            "{how:?}: {}",
            error.report()
        );
    }
    // The error names the target of the redirect, not the redirecting URL.
    let location = format!("Location: http://{address}/b.csv\r\n");
    let server = once("302 Found", &location, b"");
    assert_eq!(
        fails(&server.uri()).await.unreached(),
        Some(address.to_string().as_str())
    );
}

#[tokio::test]
async fn one_range_that_is_the_whole_is_the_file() {
    let length = CSV.len();
    let last = length - 1;
    for range in [
        format!("bytes 0-{last}/{length}"),
        format!("Bytes 0-{last}/{length}"),
    ] {
        let headers = format!("ETag: \"a\"\r\nContent-Range: {range}\r\n");
        let server = once("206 Partial Content", &headers, CSV);
        assert_eq!(fetch(&server.uri()).await.unwrap(), (CSV.to_vec(), digest(CSV)));
    }
    // The `Content-Range` announces the length of the file, so a chunked body with another length is an error.
    for (length, told) in [
        (length + 1, "announced 52 bytes and sent 51"),
        (length - 1, "announced 50 bytes and sent more"),
    ] {
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-{}/{length}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
            length - 1,
            CSV.len()
        );
        let server = serve(vec![[head.as_bytes(), CSV, b"\r\n0\r\n\r\n"].concat()]);
        let error = fails(&server.uri()).await;
        assert_eq!(error.class(), Class::Transient);
        let told = told
            .replace("52", &length.to_string())
            .replace("50", &length.to_string());
        assert!(
            error
                .to_string()
                .contains(&told.replace("51", &CSV.len().to_string())),
            "{error}"
        );
    }
    for (headers, told) in [
        (String::new(), "with no range"),
        (
            format!("Content-Range: bytes 0-{last}/{}\r\n", length + 1),
            "with bytes 0-",
        ),
        (
            format!("Content-Range: bytes 1-{length}/{}\r\n", length + 1),
            "with bytes 1-",
        ),
        (
            format!("Content-Range: bytes 0-{last}/*\r\n"),
            "/*, which is not known to be the whole file",
        ),
        (
            format!("Content-Range: bytes 0-{length}/{}\r\n", length + 1),
            "with bytes 0-",
        ),
        (
            format!(
                "Content-Type: multipart/byteranges; boundary=x\r\nContent-Range: bytes 0-{last}/{length}\r\n"
            ),
            "which is not known",
        ),
    ] {
        let server = once("206 Partial Content", &headers, CSV);
        let error = fails(&server.uri()).await;
        assert_eq!(error.class(), Class::Permanent);
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[tokio::test]
async fn a_200_that_says_it_is_a_part_is_no_file() {
    let length = CSV.len();
    let range = |last: usize, total: usize| format!("Content-Range: bytes 0-{last}/{total}\r\n");
    for status in ["200 OK", "203 Non-Authoritative Information"] {
        let whole = range(length - 1, length);
        let parts = [
            range(length - 1, length + 1),
            format!("Content-Range: bytes 8-{}/*\r\n", length + 7),
            format!("Content-Range: bytes 8-{}/{}\r\n", length + 7, length + 8),
            format!("{whole}Content-Range: bytes 8-{}/{}\r\n", length + 7, length + 8),
            format!("Content-Range: bytes 8-{}/*\r\n{whole}", length + 7),
        ];
        for part in parts {
            let server = once(status, &part, CSV);
            let error = fails(&server.uri()).await;
            assert_eq!(error.class(), Class::Permanent, "{part}");
            assert!(
                error.to_string().contains("not known to be the whole file"),
                "{part}: {error}"
            );
        }
        // The range has a unit other than bytes, or it does not show that more bytes exist.
        for range in [
            &whole[..],
            "Content-Range: rows 8-9/20\r\n",
            "Content-Range: x\r\n",
        ] {
            let server = once(status, range, CSV);
            assert_eq!(fetch(&server.uri()).await.unwrap().0, CSV, "{range}");
        }
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_is_made_anew() {
    let redirect = b"HTTP/1.1 302 Found\r\nLocation: /b.csv\r\nContent-Length: 0\r\n\r\n";
    for how in [Hangup::Close, Hangup::Reset] {
        let server = gone_after(redirect.to_vec(), answer("200 OK", "", CSV), how);
        let fetched = fetch(&server.uri()).await;
        let (bytes, _) = fetched.unwrap_or_else(|error| panic!("{how:?}: {}", error.report()));
        assert_eq!(bytes, CSV, "{how:?}");
    }
}

#[tokio::test]
async fn ten_redirects_are_followed_and_no_more() {
    let next = |cookie: &str, number: usize| {
        let headers = format!("{cookie}Location: /{number}.csv\r\n");
        answer("302 Found", &headers, b"")
    };
    for (count, cookie, told) in [
        (6, "", None),
        (10, "", None),
        (10, "Set-Cookie: a=b\r\n", None),
        (
            11,
            "",
            Some("more than 10 redirects; request the final URL, or raise --limit redirects"),
        ),
        (
            11,
            "Set-Cookie: session=s3cret\r\n",
            Some(
                "more than 10 redirects, and they set cookies, which are not kept: the server wants a browser or a login",
            ),
        ),
    ] {
        let mut answers: Vec<_> = (0..count).map(|number| next(cookie, number)).collect();
        answers.push(answer("200 OK", "", CSV));
        let server = serve(answers);
        match told {
            None => assert_eq!(fetch(&server.uri()).await.unwrap().0, CSV),
            Some(told) => {
                let error = fails(&server.uri()).await;
                assert_eq!(error.class(), Class::Permanent);
                let text = error.report();
                assert!(text.contains(told) && !text.contains("s3cret"), "{text}");
            }
        }
    }
    let server = serve(vec![next("", 1), next("", 2), answer("200 OK", "", CSV)]);
    let limits = Limits {
        http_redirects: 1,
        ..limits()
    };
    let error = fails_with(&server.uri(), &limits).await;
    assert!(error.to_string().contains("more than 1 redirects"), "{error}");
}

#[tokio::test]
async fn a_path_goes_out_as_it_came() {
    for (path, sent) in [
        ("/it's/o'clock.csv", "/it's/o'clock.csv"),
        ("/a%27b.csv", "/a%27b.csv"),
        ("/(a)*!~;,=+$&@:.csv", "/(a)*!~;,=+$&@:.csv"),
        ("/%e9t%C3%A9.csv", "/%e9t%C3%A9.csv"),
        ("/é.csv", "/%C3%A9.csv"),
        ("/a//b/.csv", "/a//b/.csv"),
        ("/a.csv?x=%27&y=a+b%20c", "/a.csv?x=%27&y=a+b%20c"),
    ] {
        let moved = format!("Location: {path}\r\n");
        let server = serve(vec![answer("302 Found", &moved, b""), answer("200 OK", "", CSV)]);
        fetch(&format!("http://{}{path}", server.address)).await.unwrap();
        for request in server.requests() {
            assert!(request.starts_with(&format!("GET {sent} HTTP/1.1")), "{request}");
        }
    }
}

#[tokio::test]
async fn a_location_in_latin_1_is_read() {
    for (location, sent) in [
        (&b"/donn\xe9es/\xfc.csv"[..], "/donn%E9es/%FC.csv"),
        (b"/donn\xc3\xa9es.csv", "/donn%C3%A9es.csv"),
        (b"/\xe9\xc3\xa9.csv?q=\xe9", "/%E9%C3%A9.csv?q=%E9"),
        (b"/a b.csv", "/a%20b.csv"),
        (b"b.csv#part", "/b.csv"),
    ] {
        let head = [
            b"HTTP/1.1 302 Found\r\nLocation: ",
            location,
            b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ]
        .concat();
        let server = serve(vec![head, answer("200 OK", "", CSV)]);
        assert_eq!(fetch(&server.uri()).await.unwrap().0, CSV);
        let request = &server.requests()[1];
        assert!(request.starts_with(&format!("GET {sent} HTTP/1.1")), "{request}");
    }
}

#[tokio::test]
async fn a_first_byte_may_take_longer_than_the_next_ones() {
    // If the wait for the first byte counted, the transfer rate would be below the minimum.
    let limits = Limits {
        http_first_byte: Duration::from_secs(60),
        http_idle: Duration::from_millis(300),
        http_rate_min: 1 << 20,
        http_rate_window: Duration::from_millis(300),
        ..limits()
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", CSV.len()).into_bytes();
    for (at_once, later) in [(vec![], [&head[..], CSV].concat()), (head.clone(), CSV.to_vec())] {
        let server = ScriptedServer::pausing(at_once, Duration::from_millis(900), later);
        let source = open_with(&server.uri(), &limits).await.unwrap();
        assert_eq!(read(source).await.unwrap().0, CSV);
    }
}

#[tokio::test]
async fn heads_that_curl_takes_are_taken() {
    let length = CSV.len();
    let many = "X-Tag: 1\r\n".repeat(2_000);
    for head in [
        format!("HTTP/1.1 200\r\nContent-Length: {length}\r\n\r\n"),
        format!("HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\nContent-Length: {length}\n\n"),
        format!("HTTP/1.1 200 OK\r\nContent-Length : {length}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nX-Long: a\r\n  b\r\n\tc\r\nContent-Length: {length}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nX-Latin-1: \u{e9}\r\nContent-Length:\r\n  {length}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Length: {length}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n{many}Content-Length: {length}\r\n\r\n"),
        format!(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        ),
    ] {
        let server = serve(vec![[head.as_bytes(), CSV].concat()]);
        let (bytes, _) = fetch(&server.uri())
            .await
            .unwrap_or_else(|error| panic!("{head}: {}", error.report()));
        assert_eq!(bytes, CSV, "{head}");
    }
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding :\r\n\tchunked\r\n\r\n";
    let chunk = format!("{length:x}\r\n");
    let body = [head.as_bytes(), chunk.as_bytes(), CSV, b"\r\n0\r\n\r\n"].concat();
    assert_eq!(fetch(&serve(vec![body]).uri()).await.unwrap().0, CSV);
}

/// Checks that an ambiguous head is an error, whatever the body is. A head is ambiguous if the end or the compression
/// of the body is in doubt.
#[tokio::test]
async fn heads_with_a_garbled_length_or_coding_are_refused() {
    let headers: [&[u8]; 44] = [
        b"Content-Length: 9\r\nContent-Length: 22",
        b"Content-Length: 100\x01",
        b"Content-Length: \x0122",
        b"Content-Length: 22\x00",
        b"Content-Length: 22\x7f",
        b"Content-Length: 22\x80",
        b"Content-Length: 2\r\n 2",
        b"Content-Length: 2 2",
        b"Content-Length: +22",
        b"Content-Length: -1",
        b"Content-Length: 0x16",
        b"Content-Length: 22.0",
        b"Content-Length: 99999999999999999999",
        b"Content-Length:",
        b"Content-Length 22",
        b"Content-Length\x01: 22",
        b"Content\xffLength: 22",
        b"Transfer-Encoding: chunked\x7f",
        b"Transfer-Encoding: chunked\x01",
        b"Transfer-Encoding: \x01chunked",
        b"Transfer-Encoding: chunked\xff",
        b"Transfer-Encoding: \xc3\xa9, chunked\xa0",
        b"Transfer-Encoding: \"chunked\"",
        b"Transfer-Encoding: chunked;",
        b"Transfer-Encoding: chunked;x=1",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: \xff",
        b"Transfer-Encoding chunked",
        // The host decodes none of these transfer codings. Each coding could be a damaged `chunked`, or could leave the
        // body compressed.
        b"Transfer-Encoding: chunkd",
        b"Transfer-Encoding: chunkedx",
        b"Transfer-Encoding: sharded",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: chunked,",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked gzip",
        b"Content-Length: 22\r\nTransfer-Encoding: gzip",
        b"Transfer\x02Encoding: chunked",
        b"Content-Encoding: gzip\x01\r\nContent-Length: 22",
        b"Content-Encoding: br\x7f\r\nContent-Length: 22",
        b"Content-Encoding: br\xff\r\nContent-Length: 22",
    ];
    let chunked = [b"16\r\n", CSV, b"\r\n0\r\n\r\n"].concat();
    for header in headers {
        for body in [CSV, &chunked] {
            let answer = [b"HTTP/1.1 200 OK\r\n", header, b"\r\n\r\n", body].concat();
            let shown = String::from_utf8_lossy(header);
            let error = fetch(&serve(vec![answer]).uri()).await.expect_err(&shown);
            assert!(
                error.stage() == Stage::Decompress || error.code() == Code::HttpInvalid,
                "{shown}: {error}"
            );
        }
    }
    // A line that is no valid header could be a damaged header that determines the length of the body.
    for line in [
        "no header at all",
        "X Name: with a blank",
        "X-(Odd): name",
        "X-Bell: \x07",
    ] {
        let head = format!(
            "HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: {}\r\n\r\n",
            CSV.len()
        );
        let error = fails(&serve(vec![[head.as_bytes(), CSV].concat()]).uri()).await;
        assert_eq!(
            (error.class(), error.code(), error.unreached()),
            (Class::Transient, Code::HttpInvalid, None),
            "{line}: {error}"
        );
    }
    let many = "X-Name: value\r\n".repeat(9_000);
    let endless = format!("HTTP/1.1 200 OK\r\n{many}\r\n");
    for answer in [
        &b"<html>an answer as in HTTP/0.9</html>\r\n\r\n"[..],
        endless.as_bytes(),
    ] {
        let error = fails(&serve(vec![answer.to_vec()]).uri()).await;
        assert_eq!(error.code(), Code::HttpInvalid, "{error}");
    }
}

#[test]
fn what_bounds_an_input_is_set_on_the_command_line() {
    let host = Host::embedded();
    let clean = component("clean").display().to_string();
    let ingest = |uri: &str, limit: &str| host.run(&format!("ingest {uri} --plugin {clean} --limit {limit}"));
    let silent = silent_after(vec![]);
    let said = ingest(&silent.uri(), "first-byte-time=100ms").refused(1);
    assert!(
        said.contains("no answer within 10.1 s; for a slow server raise --limit first-byte-time"),
        "{said}"
    );

    let moved = answer("302 Found", "Location: /b.csv\r\n", b"");
    let server = serve(vec![moved.clone(), answer("200 OK", "", CSV)]);
    let said = ingest(&server.uri(), "redirects=0").refused(1);
    assert!(said.contains("more than 0 redirects"), "{said}");
    let server = serve(vec![moved, answer("200 OK", "", CSV)]);
    ingest(&server.uri(), "redirects=1").ok();

    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(CSV).unwrap();
    let path = host
        .write("long.csv.zst", encoder.finish().unwrap())
        .display()
        .to_string();
    let said = ingest(&path, "zstd-window=128MiB").refused(1);
    assert!(said.contains("raise --limit zstd-window"), "{said}");
    ingest(&path, "zstd-window=256MiB").ok();

    let help = host.run("ingest --help").ok();
    for name in ["first-byte-time=2m", "redirects=10", "zstd-window=128MiB"] {
        assert!(help.contains(name), "{help}");
    }
    let said = ingest(&path, "redirects=101").refused(2);
    assert!(said.contains("redirects is from 0 to 100"), "{said}");
}
