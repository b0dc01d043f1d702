//! Tests fetching and decompression. Complete data is returned, and incomplete data is an error.

mod access;
mod compression;
mod credentials;
mod digests;
mod http;
mod limits;
mod objects;
mod resume;
mod roots;
mod servers;
mod ssrf;

use std::fs;
use std::io::Write;
use std::path::Path;

use ingest_host::config::Limits;
use ingest_host::error::{Class, Stage};
use ingest_host::fetch::{Access, Fetcher, RequestedBy};
use ingest_host::format::Format;
use ingest_host::stop::Stop;

use crate::support::inputs::{CSV, digest, fails, fetch, file, gzip, limits, open, read, zstd};

#[tokio::test]
async fn a_file_is_read_by_path_and_by_uri() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "or ders.csv", CSV);
    let uri = format!("file://{}", path.replace(' ', "%20"));
    for spelling in [&path, &uri] {
        let source = open(spelling).await.unwrap();
        assert_eq!(
            (source.uri.as_str(), source.name.as_str()),
            (uri.as_str(), "or ders.csv")
        );
        assert_eq!(source.hints.format, Some(Format::Csv));
        assert_eq!(read(source).await.unwrap(), (CSV.to_vec(), digest(CSV)));
    }
}

#[tokio::test]
async fn what_is_not_a_regular_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    let paths = [
        (fifo.as_path(), "not a regular file"),
        (folder.path(), "a folder"),
        (Path::new("/dev/zero"), "not"),
    ];
    for (path, what) in paths {
        let error = fails(path.to_str().unwrap()).await;
        assert_eq!(error.class(), Class::Permanent);
        assert!(error.to_string().contains(what), "{error}");
    }
    let missing = folder.path().join("missing.csv");
    let error = fails(missing.to_str().unwrap()).await;
    assert_eq!(
        error.to_string(),
        format!("fetch {}: no such file", missing.display())
    );
    assert_eq!(error.class(), Class::Permanent);
    let error = fails(&format!("file://{}/a%00b.csv", folder.path().display())).await;
    assert!(error.to_string().ends_with("b.csv: cannot be opened"), "{error}");
    assert_eq!(error.class(), Class::Permanent);
}

#[tokio::test]
async fn a_file_that_is_still_written_to_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "growing.csv", CSV);
    let source = open(&path).await.unwrap();
    fs::File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"3,Mary\n")
        .unwrap();
    let error = read(source).await.expect_err("changed");
    assert_eq!(error.class(), Class::Transient);
    assert_eq!(
        error.to_string(),
        format!("fetch {path}: changed while it was read")
    );
}

#[tokio::test]
async fn compression_is_undone_whatever_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = CSV.split_at(10);
    let skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc";
    for (name, bytes) in [
        ("plain.csv", CSV.to_vec()),
        ("unpacked-but-not-renamed.csv.gz", CSV.to_vec()),
        ("a.csv.gz", gzip(CSV)),
        ("no-hint", gzip(CSV)),
        ("members.gz", [gzip(first), gzip(b""), gzip(second)].concat()),
        ("a.csv.zst", zstd(CSV)),
        ("misnamed.gz", zstd(CSV)),
        (
            "frames.zst",
            [&skippable[..], &zstd(first), &zstd(second)].concat(),
        ),
    ] {
        let (read, fetched) = fetch(&file(folder.path(), name, &bytes)).await.expect(name);
        assert_eq!(read, CSV, "{name}");
        assert_eq!(fetched, digest(&bytes), "{name}");
    }
    assert_eq!(
        fetch(&file(folder.path(), "empty.csv", b"")).await.unwrap(),
        (vec![], digest(b""))
    );
}

#[tokio::test]
async fn damaged_compression_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let long: Vec<u8> = (0..200_000u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let cut = |bytes: Vec<u8>, by: usize| bytes[..bytes.len() - by].to_vec();
    let mut flipped = gzip(&long);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x10;
    for (name, bytes, what) in [
        (
            "trailer.gz",
            cut(gzip(&long), 3),
            "the gzip stream ends too early",
        ),
        (
            "half.gz",
            cut(gzip(&long), 400_000),
            "the gzip stream ends too early",
        ),
        (
            "header.gz",
            gzip(&long)[..7].to_vec(),
            "the gzip stream ends too early",
        ),
        (
            "second-member.gz",
            [gzip(CSV), gzip(CSV)[..12].to_vec()].concat(),
            "the gzip stream ends too early",
        ),
        (
            "garbage.gz",
            [gzip(CSV), b"garbage of some length".to_vec()].concat(),
            "bytes that are not gzip follow its gzip data",
        ),
        ("flipped.gz", flipped, "the gzip stream is corrupt"),
        (
            "half.zst",
            cut(zstd(&long), 400_000),
            "the zstd stream ends too early",
        ),
        (
            "second-frame.zst",
            [zstd(CSV), zstd(CSV)[..9].to_vec()].concat(),
            "the zstd stream ends too early",
        ),
        (
            "garbage.zst",
            [zstd(CSV), b"garbage of some length".to_vec()].concat(),
            "bytes that are not zstd follow its zstd data",
        ),
        ("empty.gz", vec![], "too short to be gzip"),
        ("one.csv.zst", vec![0x28], "too short to be zstd"),
    ] {
        let error = fails(&file(folder.path(), name, &bytes)).await;
        assert_eq!(
            (error.stage(), error.class()),
            (Stage::Decompress, Class::Permanent),
            "{}",
            error.report()
        );
        assert!(
            error
                .to_string()
                .starts_with(&format!("decompress {name}: {what}")),
            "{}",
            error.report()
        );
    }
}

#[tokio::test]
async fn an_input_may_be_as_long_as_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "a.csv.gz", &gzip(&[b'a'; 100_000]));
    for (input_bytes_max, fits) in [(100_000, true), (99_999, false)] {
        let limits = Limits {
            input_bytes_max,
            ..limits()
        };
        let fetcher = Fetcher::new(Access::default(), &limits);
        let result = read(
            fetcher
                .open(&path, RequestedBy::Typed, &Stop::default())
                .await
                .unwrap(),
        )
        .await;
        assert_eq!(result.is_ok(), fits);
        if let Err(error) = result {
            let text = "decompress a.csv.gz: has more than 99999 bytes, the limit of an input";
            assert_eq!(
                (error.class(), error.to_string().as_str()),
                (Class::Permanent, text)
            );
        }
    }
}

#[tokio::test]
async fn other_schemes_are_refused_with_what_is_supported() {
    for uri in [
        "s3a://bucket/a.csv",
        "gcs://bucket/a.csv",
        "ftp://h/a.csv",
        "orders:1.csv",
    ] {
        let error = fails(uri).await;
        assert_eq!(error.class(), Class::Permanent);
        assert!(
            error
                .to_string()
                .contains("only http:, https:, file:, s3:, gs: and az:"),
            "{error}"
        );
    }
}
