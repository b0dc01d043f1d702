//! Helpers for tests of inputs: bytes to fetch, functions that fetch them, and HTTP servers that serve them.

pub(crate) mod objects;
pub(crate) mod scripted_server;
pub(crate) mod served_file;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use ingest_host::config::Limits;
use ingest_host::digest::{Digest, Digesting};
use ingest_host::error::{Class, Code, Error, Result, Stage};
use ingest_host::fetch::{Access, Fetcher, RequestedBy, Source};
use ingest_host::stop::Stop;
use sha2::{Digest as _, Sha256};

pub(crate) const CSV: &[u8] = b"id,name\n1,Ada\n2,Grace\n";

pub(crate) fn limits() -> Limits {
    Limits {
        http_connect: Duration::from_secs(5),
        http_first_byte: Duration::from_secs(5),
        http_idle: Duration::from_secs(5),
        http_resume_pause: Duration::from_millis(1),
        ..Limits::default()
    }
}

pub(crate) async fn open(uri: &str) -> Result<Source> {
    open_with(uri, &limits()).await
}

pub(crate) async fn open_with(uri: &str, limits: &Limits) -> Result<Source> {
    Fetcher::new(Access::default(), limits)
        .open(uri, RequestedBy::Typed, &Stop::default())
        .await
}

/// Reads all bytes of a source on a separate thread, like a stage of the pipeline.
pub(crate) async fn read(source: Source) -> Result<(Vec<u8>, Digest)> {
    let reading = tokio::task::spawn_blocking(move || {
        let (mut reader, fetched) = source.into_reader(Digesting::default())?;
        let mut bytes = Vec::new();
        let end = reader.read_to_end(&mut bytes);
        if let Err(error) = end {
            assert_eq!(fetched.digest(), None, "a digest of what is not whole");
            return Err(Error::from_io(
                error,
                Stage::Decode,
                Class::Permanent,
                Code::InputUnreadable,
                "not typed",
            ));
        }
        Ok((bytes, fetched.digest().cloned().expect("the end was reached")))
    });
    reading.await.expect("no panic")
}

pub(crate) async fn fetch(uri: &str) -> Result<(Vec<u8>, Digest)> {
    read(open(uri).await?).await
}

pub(crate) async fn fails_with(uri: &str, limits: &Limits) -> Error {
    let fetched = async { read(open_with(uri, limits).await?).await };
    fetched.await.expect_err(uri)
}

pub(crate) async fn fails(uri: &str) -> Error {
    fetch(uri).await.expect_err(uri)
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    let mut digesting = Digesting::default();
    digesting.update(bytes);
    digesting.finish()
}

/// Returns the SHA-256 digest of these bytes in hex, computed without the program's own code.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// Writes a file and returns its path as a text.
pub(crate) fn file(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}
