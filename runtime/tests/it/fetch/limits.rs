//! Tests inputs that exceed a limit: the server sends too slowly, the input is too long, or it decompresses to too many
//! bytes.

use std::io::{Read, Write};
use std::time::Duration;

use ingest_host::config::Limits;
use ingest_host::digest::Digesting;
use ingest_host::error::{Class, Code, Error, Stage};

use crate::support::inputs::served_file::{Action, Framing, ServedFile};
use crate::support::inputs::{digest, fails_with, file, gzip, limits, open_with, read, zstd};
use crate::support::process;

const A: Option<&str> = Some("\"a\"");

#[track_caller]
fn is(error: &Error, stage: Stage, class: Class, what: &str) {
    assert_eq!(
        (error.stage(), error.class()),
        (stage, class),
        "{}",
        error.report()
    );
    assert!(error.to_string().contains(what), "{error}, not {what}");
}

#[tokio::test]
async fn a_server_that_drips_is_given_up() {
    let limits = Limits {
        http_rate_min: 1_000,
        http_rate_window: Duration::from_millis(300),
        ..limits()
    };
    for framing in [Framing::Length, Framing::Close] {
        for at_once in [0, 5_000] {
            let drip = Action::Trickle(at_once, Duration::from_millis(10));
            let server = ServedFile::new(vec![b'x'; at_once + 300], A)
                .framed(framing)
                .serve(vec![drip]);
            let error = fails_with(&server.uri(), &limits).await;
            is(
                &error,
                Stage::Fetch,
                Class::Transient,
                "the minimum is 1000 bytes/s",
            );
            assert!(error.to_string().contains(": too slow: "), "{error}");
            assert_eq!(server.requests().len(), 1, "a slow server is not asked on");
        }
    }
}

#[tokio::test]
async fn a_reader_that_takes_its_time_is_not_the_servers_fault() {
    let limits = Limits {
        http_rate_min: 1 << 20,
        http_rate_window: Duration::from_millis(500),
        ..limits()
    };
    let bytes: Vec<u8> = (0..60).collect();
    let drip = Action::Trickle(30, Duration::from_millis(40));
    let server = ServedFile::new(bytes.clone(), A).serve(vec![drip]);
    let source = open_with(&server.uri(), &limits).await.unwrap();
    let (runtime, sent) = (tokio::runtime::Handle::current(), server.sent.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let (mut reader, _) = source.into_reader(Digesting::default()).unwrap();
        // The server sends 30 bytes at once, and the others slowly. This read waits for two of the slow bytes.
        let mut read = vec![0; 32];
        reader.read_exact(&mut read).unwrap();
        // For more than two windows, the server sends less than the minimum rate. This is no error, because no read
        // waits for the bytes.
        runtime.block_on(sent.notified());
        reader.read_to_end(&mut read).map(|_| read)
    });
    assert_eq!(reading.await.unwrap().expect("not too slow"), bytes);
}

#[tokio::test]
async fn a_stall_that_was_resumed_is_not_held_against_the_rate() {
    let limits = Limits {
        http_idle: Duration::from_millis(1_200),
        http_rate_min: 1 << 20,
        http_rate_window: Duration::from_secs(1),
        ..limits()
    };
    let bytes = vec![b'x'; 10_000];
    let server = ServedFile::new(bytes.clone(), A).serve(vec![Action::Stall(100)]);
    let source = open_with(&server.uri(), &limits).await.unwrap();
    assert_eq!(
        read(source).await.expect("resumed"),
        (bytes.clone(), digest(&bytes))
    );
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn what_is_fetched_may_be_as_long_as_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = vec![b'x'; 100_000];
    let path = file(folder.path(), "a.csv", &bytes);
    for (input_raw_bytes_max, fits) in [(100_000, true), (99_999, false)] {
        let limits = Limits {
            input_raw_bytes_max,
            ..limits()
        };
        let mut uris = vec![(path.clone(), true)];
        let mut servers = Vec::new();
        for framing in [Framing::Length, Framing::Chunked, Framing::Close] {
            let server = ServedFile::new(bytes.clone(), A).framed(framing).serve(vec![
                Action::Cut(50_000);
                usize::from(
                    framing != Framing::Close
                )
            ]);
            uris.push((server.uri(), framing == Framing::Length));
            servers.push(server);
        }
        for (uri, announced) in uris {
            if fits {
                let source = open_with(&uri, &limits).await.unwrap();
                assert_eq!(read(source).await.unwrap().1, digest(&bytes), "{uri}");
            } else {
                let error = fails_with(&uri, &limits).await;
                is(
                    &error,
                    Stage::Fetch,
                    Class::Permanent,
                    "and 99999 is the limit of what is fetched",
                );
                // If the announced length is too large, the input is refused before any byte is read.
                assert_eq!(open_with(&uri, &limits).await.is_err(), announced, "{uri}");
            }
        }
    }
}

/// Returns `bytes` equal bytes, compressed with gzip's highest compression.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let block = vec![b'0'; 1 << 20];
    for _ in 0..bytes >> 20 {
        encoder.write_all(&block).unwrap();
    }
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_bomb_is_found_out_and_takes_no_memory() {
    if !process::is_own() {
        return;
    }
    const BYTES: usize = 512 << 20;
    let gzip_bomb = bomb(BYTES);
    assert!(BYTES / gzip_bomb.len() > 1_000, "{} bytes", gzip_bomb.len());
    let zstd_bomb = zstd::encode_all(std::io::repeat(b'0').take(BYTES as u64), 3).unwrap();
    // Each layer alone is within the limit of 2,000 to 1, but both together are not.
    let layered = gzip(&gzip_bomb);
    let before = process::peak_bytes(std::process::id());
    for (name, packed, header, input_ratio_max) in [
        ("a.csv.gz", &gzip_bomb, "", 1_000),
        ("a.csv.zst", &zstd_bomb, "", 1_000),
        ("a.csv.gz", &layered, "Content-Encoding: gzip", 2_000),
    ] {
        let mut file = ServedFile::new(packed.clone(), A);
        if !header.is_empty() {
            file = file.with(header);
        }
        let server = file.serve(vec![Action::Cut(packed.len() / 2)]);
        let limits = Limits {
            input_ratio_max,
            ..limits()
        };
        let source = open_with(&format!("http://{}/{name}", server.address), &limits)
            .await
            .unwrap();
        let (bytes, error) = drain(source).await.expect_err(name);
        is(
            &error,
            Stage::Decompress,
            Class::Permanent,
            &format!(", more than {input_ratio_max} to 1, the limit of an input of more than"),
        );
        let from = limits.input_ratio_from_bytes;
        assert!(
            bytes.abs_diff(from) <= 1 << 20,
            "{name}: found out after {bytes} bytes"
        );
    }
    // If the operator lifts the limit, all bytes are read, and the memory stays small.
    let limits = Limits {
        input_ratio_max: u64::MAX,
        ..limits()
    };
    let server = ServedFile::new(gzip_bomb, A).serve(vec![]);
    let source = open_with(&server.uri(), &limits).await.unwrap();
    assert_eq!(drain(source).await.expect("allowed"), BYTES as u64);
    let grown = process::peak_bytes(std::process::id()) - before;
    assert!(grown < 32 << 20, "{grown} bytes");
}

#[tokio::test]
async fn the_ratio_counts_from_its_size_on_and_for_packed_bytes_only() {
    let folder = tempfile::tempdir().unwrap();
    let alike = vec![b'0'; 200_000];
    let packed = bomb(1 << 20);
    for (name, bytes, from, ratio, what) in [
        ("small.csv.gz", &packed, 1 << 20, 10, None),
        (
            "large.csv.gz",
            &packed,
            (1 << 20) - 1,
            10,
            Some(" bytes to 1048576, more than 10 to 1"),
        ),
        ("fits.csv.gz", &packed, 0, 2_000, None),
        ("plain.csv", &alike, 0, 0, None),
        ("once.csv.zst", &zstd(&alike), 0, 10, Some(", more than 10 to 1")),
    ] {
        let limits = Limits {
            input_ratio_from_bytes: from,
            input_ratio_max: ratio,
            ..limits()
        };
        let path = file(folder.path(), name, bytes);
        match (drain(open_with(&path, &limits).await.unwrap()).await, what) {
            (Ok(_), None) => {}
            (Err((_, error)), Some(what)) => is(&error, Stage::Decompress, Class::Permanent, what),
            (result, _) => panic!("{name}: {result:?}"),
        }
    }
}

#[tokio::test]
async fn a_frame_may_ask_for_as_much_memory_as_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    for (window_log, fits) in [(27u8, true), (28, false)] {
        // The frame follows RFC 8878: the magic number, a window of 2^window_log bytes, and a last block with three raw
        // bytes.
        let frame = [
            &[0x28, 0xb5, 0x2f, 0xfd, 0, (window_log - 10) << 3, 0x19, 0, 0],
            &b"a\n1"[..],
        ]
        .concat();
        let path = file(folder.path(), "a.csv.zst", &frame);
        if fits {
            let source = open_with(&path, &limits()).await.unwrap();
            assert_eq!(read(source).await.unwrap().0, b"a\n1");
        } else {
            let error = fails_with(&path, &limits()).await;
            is(
                &error,
                Stage::Decompress,
                Class::Permanent,
                "a.csv.zst: its zstd window is 256MiB, and 128MiB is the limit",
            );
        }
    }
}

/// Returns the number of decompressed bytes of a source. Fails with the number of bytes before the error, and the
/// error. The bytes are not kept in memory.
async fn drain(source: ingest_host::fetch::Source) -> Result<u64, (u64, Error)> {
    let reading = tokio::task::spawn_blocking(move || {
        let (mut reader, fetched) = source
            .into_reader(Digesting::default())
            .map_err(|error| (0, error))?;
        let (mut bytes, mut buffer) = (0, vec![0; 64 << 10]);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => bytes += read as u64,
                Err(error) => {
                    return Err((
                        bytes,
                        Error::from_io(
                            error,
                            Stage::Decode,
                            Class::Permanent,
                            Code::InputUnreadable,
                            "not typed",
                        ),
                    ));
                }
            }
        }
        assert!(fetched.digest().is_some());
        Ok(bytes)
    });
    reading.await.unwrap()
}
