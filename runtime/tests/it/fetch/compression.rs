//! Tests compressed inputs as servers and other programs make them: content encodings in all spellings, bytes after the
//! compressed data, and windows of zstd.

use std::io::Write;

use ingest_host::config::Limits;
use ingest_host::error::{Class, Stage};

use crate::support::inputs::scripted_server::{answer, serve};
use crate::support::inputs::{
    CSV, digest, fails, fails_with, fetch, file, gzip, limits, open_with, read, zstd,
};

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bare_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn words_in_content_encoding_that_say_nothing_are_passed_over() {
    let plain = || Ok(CSV.to_vec());
    for (headers, body, outcome) in [
        ("identity", CSV.to_vec(), plain()),
        ("IDENTITY", CSV.to_vec(), plain()),
        ("utf-8", CSV.to_vec(), plain()),
        ("UTF-8", CSV.to_vec(), plain()),
        ("utf8", CSV.to_vec(), plain()),
        ("charset=utf-8", CSV.to_vec(), plain()),
        ("iso-8859-1", CSV.to_vec(), plain()),
        ("binary", CSV.to_vec(), plain()),
        ("8bit", CSV.to_vec(), plain()),
        ("none", CSV.to_vec(), plain()),
        ("aws-chunked", CSV.to_vec(), plain()),
        ("", CSV.to_vec(), plain()),
        (" , identity,, aws-chunked ,", CSV.to_vec(), plain()),
        ("gzip, aws-chunked", gzip(CSV), plain()),
        ("aws-chunked,gzip", gzip(CSV), plain()),
        ("identity\r\nContent-Encoding: utf-8, gzip", gzip(CSV), plain()),
        ("gzip, gzip", gzip(&gzip(CSV)), plain()),
        ("zstd, gzip", gzip(&zstd(CSV)), plain()),
        ("gzip\r\nContent-Encoding: zstd", zstd(&gzip(CSV)), plain()),
        ("deflate", zlib(CSV), plain()),
        ("deflate", bare_deflate(CSV), plain()),
        ("deflate, gzip", gzip(&zlib(CSV)), plain()),
        (
            "gzip, zstd",
            gzip(CSV),
            Err("calls it zstd-encoded, but it is not"),
        ),
        ("deflate", vec![], Err("calls it deflate-encoded, but it is not")),
        ("deflate", CSV.to_vec(), Err("the deflate stream is corrupt")),
        (
            "deflate",
            zlib(CSV)[..20].to_vec(),
            Err("the deflate stream ends too early"),
        ),
        (
            "deflate",
            bare_deflate(CSV)[..15].to_vec(),
            Err("the deflate stream ends too early"),
        ),
        (
            "deflate",
            [zlib(CSV), b"1,2\n".to_vec()].concat(),
            Err("bytes that are not deflate follow"),
        ),
        (
            "br",
            CSV.to_vec(),
            Err("content encoding \"br\" is not supported, only gzip, zstd and deflate"),
        ),
        ("gzip, br", CSV.to_vec(), Err("\"br\" is not supported")),
        ("compress", CSV.to_vec(), Err("\"compress\" is not supported")),
        ("xz", CSV.to_vec(), Err("\"xz\" is not supported")),
        ("base64", CSV.to_vec(), Err("\"base64\" is not supported")),
        (
            "gzip,gzip,gzip,gzip,gzip",
            CSV.to_vec(),
            Err("5 content encodings, and 4 is the limit"),
        ),
    ] {
        let server = serve(vec![answer(
            "200 OK",
            &format!("Content-Encoding: {headers}\r\n"),
            &body,
        )]);
        match (fetch(&server.uri()).await, outcome) {
            (Ok(read), Ok(expected)) => assert_eq!(read, (expected, digest(&body)), "{headers}"),
            (Err(error), Err(what)) => {
                let kind = (error.stage(), error.class());
                assert_eq!(kind, (Stage::Decompress, Class::Permanent), "{headers}: {error}");
                assert!(error.to_string().contains(what), "{headers}: {error}");
            }
            (result, outcome) => panic!("{headers}: {result:?}, not {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn nuls_behind_a_gzip_member_are_passed_over_and_other_bytes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (one, nuls) = (gzip(CSV), vec![0; 300_000]);
    let twice = CSV.repeat(2);
    for (name, bytes, outcome) in [
        ("one.gz", [&one[..], &nuls].concat(), Ok(CSV)),
        ("short.gz", [&one[..], b"\0"].concat(), Ok(CSV)),
        ("two.gz", [&one[..], &one].concat(), Ok(&twice[..])),
        (
            "between.gz",
            [&one[..], &nuls, &one, b"\0\0"].concat(),
            Ok(&twice),
        ),
        (
            "line.gz",
            [&one[..], b"\n"].concat(),
            Err("bytes that are not gzip follow its gzip data: cut them off"),
        ),
        (
            "text.gz",
            [&one[..], b"id,name\n"].concat(),
            Err("bytes that are not gzip follow"),
        ),
        (
            "late.gz",
            [&one[..], &nuls, b"x"].concat(),
            Err("bytes that are not gzip follow"),
        ),
        (
            "cut.gz",
            [&one[..], &one[..10]].concat(),
            Err("the gzip stream ends too early"),
        ),
        ("one.zst", [zstd(CSV), zstd(CSV)].concat(), Ok(&twice)),
        (
            "line.zst",
            [zstd(CSV), b"\n".to_vec()].concat(),
            Err("bytes that are not zstd follow its zstd data"),
        ),
        (
            "nul.zst",
            [zstd(CSV), vec![0; 9]].concat(),
            Err("bytes that are not zstd follow its zstd data"),
        ),
        (
            "cut.zst",
            [zstd(CSV), zstd(CSV)[..3].to_vec()].concat(),
            Err("the zstd stream ends too early"),
        ),
    ] {
        let path = file(folder.path(), name, &bytes);
        match (fetch(&path).await, outcome) {
            (Ok((read, fetched)), Ok(expected)) => {
                assert!(read == expected, "{name}");
                assert_eq!(fetched, digest(&bytes), "{name}");
            }
            (Err(error), Err(what)) => {
                assert_eq!(
                    (error.stage(), error.class()),
                    (Stage::Decompress, Class::Permanent)
                );
                assert!(error.to_string().contains(&format!("{name}: {what}")), "{error}");
            }
            (result, outcome) => panic!("{name}: {result:?}, not {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_zstd_window_beyond_its_limit_is_named_with_the_setting() {
    let folder = tempfile::tempdir().unwrap();
    let frame = |window_log| {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(CSV).unwrap();
        encoder.finish().unwrap()
    };
    let path = file(folder.path(), "a.csv.zst", &frame(28));
    let error = fails(&path).await;
    assert_eq!(
        (error.stage(), error.class()),
        (Stage::Decompress, Class::Permanent)
    );
    let told = "a.csv.zst: its zstd window is 256MiB, and 128MiB is the limit: raise --limit zstd-window";
    assert!(error.to_string().contains(told), "{error}");
    for (zstd_window_bytes_max, window_log, is_read) in [
        (256 << 20, 28, true),
        ((256 << 20) - 1, 28, false),
        (1 << 20, 20, true),
        (1 << 20, 21, false),
    ] {
        let path = file(folder.path(), "b.csv.zst", &frame(window_log));
        let limits = Limits {
            zstd_window_bytes_max,
            ..limits()
        };
        match is_read {
            true => assert_eq!(
                read(open_with(&path, &limits).await.unwrap()).await.unwrap().0,
                CSV
            ),
            false => {
                let error = fails_with(&path, &limits).await;
                assert!(error.to_string().contains("--limit zstd-window"), "{error}");
            }
        }
    }
}
