//! Tests rows of the fault table in docs/reliability.md: inputs over a bad connection, or from a server that sends
//! wrong data.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::Scale;
use crate::fixture::FaultsFixture;
use crate::support::inputs::scripted_server::answer;
use crate::support::inputs::served_file::{Action, Framing, ServedFile, partial};

/// The number of records in an input of about 75 KB.
const SOME: usize = 1_000;
const OPTIONS: &str = "--allow-host 127.0.0.1";
const ETAG: Option<&str> = Some("\"a\"");

/// The maximum peak memory of a worker, in MiB.
const MEMORY_MAX: u64 = 256;

/// Cuts connections. Also serves a truncated gzip file, a compression bomb and, in the whole suite, a slow body.
pub(crate) fn bad_transfers(scale: &Scale) -> String {
    let cuts = scale.of(50, 8);
    let mut random = scale.random(8);
    let mut fixture = FaultsFixture::on_redis(&[], SOME);
    for cut in 0..cuts {
        let (bytes, sha256) = fixture.next_content();
        let sent = if cut % 4 == 3 {
            gzip_in_members(&bytes)
        } else {
            bytes
        };
        let framing = [Framing::Length, Framing::Chunked][cut % 2];
        let at = random.usize(..sent.len());
        fixture.serve(
            ServedFile::new(sent, ETAG).framed(framing),
            vec![Action::Cut(at)],
            &sha256,
        );
    }
    let (bytes, sha256) = fixture.next_content();
    let half = bytes.len() / 2;
    // Without a strong ETag, a transfer cannot be resumed, so the next attempt starts over.
    fixture.serve(
        ServedFile::new(bytes.clone(), None),
        vec![Action::Cut(half)],
        &sha256,
    );
    let mut slow = "";
    if scale.is_full {
        let drip = Action::Trickle(half, Duration::from_secs(1));
        fixture.serve(ServedFile::new(bytes.clone(), ETAG), vec![drip], &sha256);
        slow = "a transfer of one byte a second was given up and retried; ";
    }
    let zipped = gzip_in_members(&bytes);
    let truncated = fixture.serve_bad(&zipped[..zipped.len() - 10]);
    // Empty lines are not records, so only the limit on the compression ratio stops this input.
    let header = bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap();
    let bomb = fixture.serve_bad(&gzip_in_members(&[header, &vec![b'\n'; 256 << 20]].concat()));

    let worker = fixture.worker(None, OPTIONS, None);
    fixture.wait_for_all();
    let memory = worker.peak_mib();
    let log = worker.log();
    worker.stop();
    fixture.check();
    assert!(memory < MEMORY_MAX, "{memory} MiB");
    assert_eq!(log.contains("too slow"), scale.is_full, "{log}");
    for (id, what) in [(truncated, "ends too early"), (bomb, "1000 to 1")] {
        let status = fixture.host.status(&id);
        let error = status["error"].as_str().unwrap_or_default();
        assert!(status["state"] == "dead" && error.contains(what), "{status}");
    }
    format!(
        "{cuts} transfers cut at random offsets were resumed byte for byte; {slow}a truncated gzip and a bomb of 256 MiB \
         became dead letters; the worker's memory was {memory} MiB at most"
    )
}

/// Cuts a transfer, and answers the request for the rest with wrong data.
pub(crate) fn lies(_: &Scale) -> String {
    let mut fixture = FaultsFixture::on_redis(&[], SOME);
    let (bytes, sha256) = fixture.next_content();
    let other: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
    let (at, end, total) = (1_000, bytes.len() - 1, bytes.len());
    let rest = &bytes[at..];
    let range = |from: usize, total: usize| format!("Content-Range: bytes {from}-{end}/{total}\r\n");
    let lies = [
        Action::ServeOther(ServedFile::new(other.clone(), Some("\"b\""))),
        Action::Send(answer("200 OK", "ETag: \"a\"\r\n", &other)),
        Action::Send(answer("200 OK", "", &other)),
        partial(&range(at - 1, total), &other[at - 1..]),
        partial(&range(at + 1, total), &bytes[at + 1..]),
        partial(&range(at, total + 1), rest),
        partial(&format!("ETag: \"b\"\r\n{}", range(at, total)), &other[at..]),
        partial("", rest),
        Action::Send(answer("416 Range Not Satisfiable", "", b"")),
    ];
    let count = lies.len();
    for lie in lies {
        fixture.serve(
            ServedFile::new(bytes.clone(), ETAG),
            vec![Action::Cut(at), lie],
            &sha256,
        );
    }
    let worker = fixture.worker(None, OPTIONS, None);
    fixture.wait_for_all();
    let refused = worker.log().matches("could not be resumed").count();
    worker.stop();
    fixture.check();
    assert!(refused >= count, "{refused} of {count} were refused");
    format!(
        "{count} false answers, all refused; no input was put together from two versions; the requests were done when the \
         server answered correctly"
    )
}

fn gzip_in_members(bytes: &[u8]) -> Vec<u8> {
    let mut zipped = Vec::new();
    for part in bytes.chunks(bytes.len().div_ceil(3)) {
        let mut encoder = GzEncoder::new(&mut zipped, Compression::default());
        encoder.write_all(part).unwrap();
        encoder.finish().unwrap();
    }
    zipped
}
