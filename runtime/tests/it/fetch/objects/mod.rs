//! Tests objects as inputs: they are read whole and in one version, or end in an error that says what to do.

mod access;
mod commands;
mod other_stores;
mod ranges;
mod roles;

use std::io::Read;

use ingest_host::digest::Digesting;
use ingest_host::error::{Class, Code, Error, Stage};
use ingest_host::fetch::{Access, Fetcher, RequestedBy};
use ingest_host::format::Format;
use ingest_host::stop::Stop;
use ingest_host::storage::object::{ObjectStores, S3Settings};

use crate::support::inputs::objects::{anonymous_stores, fails, is, open, random};
use crate::support::inputs::scripted_server::{answer, serve};
use crate::support::inputs::{CSV, digest, limits, read};
use crate::support::s3::{S3Server, stores};

#[tokio::test]
async fn an_object_is_read_whole_whatever_its_key() {
    let server = S3Server::start();
    for (uri, key, shown) in [
        (
            "s3://lake/2017/10/a.csv",
            "2017/10/a.csv",
            "s3://lake/2017/10/a.csv",
        ),
        (
            "S3://lake/a b+c&d=e.csv",
            "a b+c&d=e.csv",
            "s3://lake/a%20b+c&d=e.csv",
        ),
        (
            "s3://lake/t=00%253A00/a.csv",
            "t=00%3A00/a.csv",
            "s3://lake/t=00%253A00/a.csv",
        ),
        (
            "s3://lake/100%/größe#1?.csv"
                .replace('#', "%23")
                .replace('?', "%3F")
                .as_str(),
            "100%/größe#1?.csv",
            "s3://lake/100%25/gr%C3%B6%C3%9Fe%231%3F.csv",
        ),
        (
            "s3://lake/~!*'()$,;:@/[x].csv",
            "~!*'()$,;:@/[x].csv",
            "s3://lake/~!*'()$,;:@/[x].csv",
        ),
    ] {
        server.put("lake", key, CSV);
        let source = open(server.stores(), uri).await.expect(uri);
        assert_eq!(source.uri, shown);
        assert_eq!(Some(source.name.as_str()), key.rsplit('/').next());
        assert_eq!(source.hints.format, Some(Format::Csv));
        assert!(source.etag.is_some());
        assert_eq!(read(source).await.unwrap(), (CSV.to_vec(), digest(CSV)), "{uri}");
    }
}

#[tokio::test]
async fn only_the_submitted_version_is_read() {
    let server = S3Server::start();
    server.put("lake", "a.csv", CSV);
    let open = async || open(server.stores(), "s3://lake/a.csv").await.unwrap();
    let etag = open().await.etag;
    let source = open().await.expect_version(etag.as_deref()).unwrap();
    assert_eq!(read(source).await.unwrap().0, CSV);
    server.put("lake", "a.csv", "n\n8\n");
    let error = open().await.expect_version(etag.as_deref()).err();
    assert_eq!(error.expect("another version").code(), Code::InputReplaced);
}

#[tokio::test]
async fn a_version_is_read_by_its_id() {
    let server = S3Server::start();
    server.put("lake", "a.csv", "new");
    server.put_version("lake", "a.csv", "v.1_x", CSV);
    let (bytes, _) = read(
        open(server.stores(), "s3://lake/a.csv?versionId=v.1_x")
            .await
            .unwrap(),
    )
    .await
    .unwrap();
    assert_eq!(bytes, CSV);
    let error = fails(server.stores(), "s3://lake/a.csv?versionId=v2").await;
    is(
        &error,
        Class::Permanent,
        Code::InputMissing,
        "no such version of the object",
    );
}

#[tokio::test]
async fn a_cut_transfer_resumes_with_the_same_version() {
    let server = S3Server::start();
    let bytes = random(600_000);
    server.put("lake", "a.bin", &bytes);
    server.cut_after(&[100_000, 200_000, 1]);
    let (read_bytes, fetched) = read(open(server.stores(), "s3://lake/a.bin").await.unwrap())
        .await
        .unwrap();
    assert!(read_bytes == bytes, "the content differs");
    assert_eq!(fetched, digest(&bytes));
    let requests = server.requests();
    assert_eq!(requests.len(), 4, "{requests:?}");
    assert_eq!(requests[0], "/lake/a.bin");
    let etag = requests[1].split(' ').nth(2).expect("an ETag");
    for request in &requests[1..] {
        assert!(request.starts_with("/lake/a.bin bytes="), "{requests:?}");
        assert!(etag.starts_with('"') && request.ends_with(etag), "{requests:?}");
    }
}

#[tokio::test]
async fn a_busy_store_is_retried_within_a_transfer() {
    let server = S3Server::start();
    server.put("lake", "a.csv", CSV);
    server.be_busy(1);
    let error = fails(server.stores(), "s3://lake/a.csv").await;
    is(
        &error,
        Class::Transient,
        Code::HttpStatus,
        "the store is busy; the store answered 503 Service Unavailable, SlowDown",
    );
    let stores = server.stores();
    let bytes = random(300_000);
    server.put("lake", "b.bin", &bytes);
    server.cut_after(&[50_000]);
    let source = open(stores, "s3://lake/b.bin").await.unwrap();
    server.be_busy(2);
    assert!(read(source).await.unwrap().0 == bytes);
}

#[tokio::test]
async fn an_object_that_changes_between_two_parts_is_an_error() {
    let server = S3Server::start();
    server.put("lake", "a.bin", random(300_000));
    server.cut_after(&[100_000]);
    let source = open(server.stores(), "s3://lake/a.bin").await.unwrap();
    server.put("lake", "a.bin", random(300_001));
    let error = read(source).await.expect_err("another version");
    is(
        &error,
        Class::Transient,
        Code::TransferBroken,
        "the file has changed, its ETag is no longer \"",
    );
    assert_eq!(server.requests().len(), 2, "{:?}", server.requests());
}

#[tokio::test]
async fn another_attempt_reads_the_rest_of_the_same_version() {
    let server = S3Server::start();
    let bytes = random(300_000);
    server.put("lake", "a.bin", &bytes);
    let source = open(server.stores(), "s3://lake/a.bin").await.unwrap();
    let opening = tokio::task::spawn_blocking(move || source.into_reader(Digesting::default()).unwrap().1);
    let identity = opening
        .await
        .unwrap()
        .identity()
        .expect("it can be resumed")
        .clone();
    assert_eq!(identity.bytes(), 300_000);
    let rest = |stores: ObjectStores| {
        let identity = identity.clone();
        tokio::task::spawn_blocking(move || {
            let fetcher = Fetcher::new(Access::default(), &limits()).with_stores(stores);
            let (typed, stop) = (RequestedBy::Typed, Stop::default());
            let source = fetcher.open_rest_blocking("s3://lake/a.bin", typed, &identity, 299_000, &stop)?;
            let mut digesting = Digesting::default();
            digesting.update(&random(300_000)[..299_000]);
            let (mut reader, fetched) = source.into_reader(digesting)?;
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).unwrap();
            Ok::<_, Error>((rest, fetched.digest().cloned()))
        })
    };
    let (read_bytes, fetched) = rest(server.stores()).await.unwrap().unwrap();
    assert!(read_bytes == bytes[299_000..] && fetched == Some(digest(&bytes)));
    server.put("lake", "a.bin", random(300_001));
    let error = rest(server.stores()).await.unwrap().expect_err("another version");
    is(
        &error,
        Class::Transient,
        Code::TransferBroken,
        "the file has changed, its ETag is no longer",
    );
}

#[tokio::test]
async fn errors_of_the_store_say_what_to_do() {
    let server = S3Server::start();
    server.put("lake", "a.csv", CSV);
    let error = fails(server.stores(), "s3://lake/b.csv").await;
    is(
        &error,
        Class::Permanent,
        Code::InputMissing,
        "fetch s3://lake/b.csv: there is no such object; the store answered 404",
    );
    for (uri, advice) in [
        (
            "s3://lake/2017",
            "if it is a prefix, submit it with a slash at its end",
        ),
        ("s3://lake/2017/", "only `submit` takes patterns and prefixes"),
        ("s3://lake/*.csv", "only `submit` takes patterns and prefixes"),
    ] {
        let error = fails(server.stores(), uri).await;
        is(&error, Class::Permanent, Code::InputMissing, advice);
    }
    let error = fails(server.stores(), "s3://lake/t=00%3A00.csv").await;
    is(
        &error,
        Class::Permanent,
        Code::InputMissing,
        "its key is \"t=00:00.csv\"",
    );
    let error = fails(server.stores(), "s3://ocean/b.csv").await;
    is(
        &error,
        Class::Permanent,
        Code::InputMissing,
        "there is no bucket ocean",
    );
    let wrong_secret = S3Settings {
        secret_access_key: Some("wr0ng".to_owned().into()),
        ..server.settings()
    };
    let error = fails(stores(wrong_secret), "s3://lake/a.csv").await;
    is(
        &error,
        Class::Permanent,
        Code::StoreRefused,
        "does not accept the credentials: check AWS_ACCESS_KEY_ID",
    );
    assert!(
        error.report().contains("SignatureDoesNotMatch"),
        "{}",
        error.report()
    );
    let wrong_id = S3Settings {
        access_key_id: Some("AKIAOTHER".into()),
        ..server.settings()
    };
    let error = fails(stores(wrong_id), "s3://lake/a.csv").await;
    assert_eq!(
        (error.class(), error.code()),
        (Class::Permanent, Code::StoreRefused),
        "{}",
        error.report()
    );
    let anonymous = S3Settings {
        is_anonymous: true,
        ..server.settings()
    };
    let error = fails(stores(anonymous), "s3://lake/a.csv").await;
    is(
        &error,
        Class::Permanent,
        Code::StoreRefused,
        "the credentials may not read it: they need s3:GetObject",
    );
}

#[tokio::test]
async fn errors_that_only_aws_returns_say_what_to_do() {
    let xml = |code: &str, more: &str| {
        format!(
            "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>Some text.</Message>{more}</Error>"
        )
    };
    for (status, headers, body, class, code, what) in [
        (
            "301 Moved Permanently",
            "x-amz-bucket-region: eu-west-1\r\n",
            xml("PermanentRedirect", ""),
            Class::Permanent,
            Code::StoreRefused,
            "in the region eu-west-1: set AWS_REGION=eu-west-1",
        ),
        (
            "307 Temporary Redirect",
            "Location: http://evil.example/\r\n",
            xml("TemporaryRedirect", ""),
            Class::Permanent,
            Code::StoreRefused,
            "in another region",
        ),
        (
            "302 Found",
            "Location: http://evil.example/\r\n",
            String::new(),
            Class::Permanent,
            Code::StoreRefused,
            "credentials are sent to its endpoint only",
        ),
        (
            "400 Bad Request",
            "",
            xml("AuthorizationHeaderMalformed", "<Region>us-west-2</Region>"),
            Class::Permanent,
            Code::StoreRefused,
            "AWS_REGION=us-west-2",
        ),
        (
            "400 Bad Request",
            "",
            xml("ExpiredToken", ""),
            Class::Transient,
            Code::CredentialsFailed,
            "have expired",
        ),
        (
            "400 Bad Request",
            "",
            xml("RequestTimeout", ""),
            Class::Transient,
            Code::HttpStatus,
            "busy",
        ),
        (
            "403 Forbidden",
            "",
            xml("RequestTimeTooSkewed", ""),
            Class::Transient,
            Code::StoreRefused,
            "the clock of this machine",
        ),
        (
            "403 Forbidden",
            "",
            xml("AccessDenied", ""),
            Class::Permanent,
            Code::StoreRefused,
            "s3:GetObject",
        ),
        (
            "403 Forbidden",
            "",
            xml("InvalidObjectState", ""),
            Class::Permanent,
            Code::InputUnreadable,
            "archived: restore it",
        ),
        (
            "404 Not Found",
            "x-amz-delete-marker: true\r\n",
            xml("NoSuchKey", ""),
            Class::Permanent,
            Code::InputMissing,
            "was deleted",
        ),
        (
            "405 Method Not Allowed",
            "x-amz-delete-marker: true\r\n",
            xml("MethodNotAllowed", ""),
            Class::Permanent,
            Code::InputMissing,
            "marks that the object was deleted",
        ),
        (
            "503 Slow Down",
            "",
            xml("SlowDown", ""),
            Class::Transient,
            Code::HttpStatus,
            "busy",
        ),
        (
            "500 Internal Server Error",
            "",
            "not XML".into(),
            Class::Transient,
            Code::HttpStatus,
            "in trouble; the store answered 500",
        ),
        (
            "418 I'm a teapot",
            "",
            xml("Teapot", ""),
            Class::Permanent,
            Code::HttpStatus,
            "I'm a teapot, Teapot: Some text.",
        ),
    ] {
        let server = serve(vec![answer(status, headers, body.as_bytes())]);
        let error = fails(anonymous_stores(&server), "s3://lake/a.csv").await;
        assert_eq!(error.stage(), Stage::Fetch);
        is(&error, class, code, what);
        assert_eq!(server.requests().len(), 1, "no redirect is followed");
    }
}

#[tokio::test]
async fn the_wait_that_a_store_asks_for_is_kept() {
    let server = serve(vec![answer(
        "503 Slow Down",
        "Retry-After: 77\r\n",
        b"<Error><Code>SlowDown</Code></Error>",
    )]);
    let error = fails(anonymous_stores(&server), "s3://lake/a.csv").await;
    assert_eq!(error.retry_after(), Some(std::time::Duration::from_secs(77)));
}

#[tokio::test]
async fn a_checksum_of_the_store_is_compared() {
    // The CRC-32C of "123456789", and the checksum of a multipart upload.
    for (headers, is_whole) in [
        (
            "x-amz-checksum-crc32c: 4waSgw==\r\nx-amz-checksum-type: FULL_OBJECT\r\n",
            true,
        ),
        ("x-amz-checksum-crc32c: AAAAAA==\r\n", false),
        ("x-amz-checksum-crc32c: AAAAAA==-2\r\n", true),
        ("x-amz-checksum-crc64nvme: rosUhgp5mIg=\r\n", true),
        ("x-amz-checksum-crc64nvme: AAAAAAAAAAA=\r\n", false),
    ] {
        let server = serve(vec![answer("200 OK", headers, b"123456789")]);
        let source = open(anonymous_stores(&server), "s3://lake/a.csv").await.unwrap();
        match read(source).await {
            Ok((bytes, _)) => assert!(is_whole && bytes == b"123456789", "{headers}"),
            Err(error) => {
                assert!(!is_whole, "{headers}");
                is(
                    &error,
                    Class::Transient,
                    Code::ChecksumMismatch,
                    "damaged on its way: x-amz-checksum-crc",
                );
            }
        }
        assert!(
            server.requests()[0].contains("\nx-amz-checksum-mode: ENABLED"),
            "{:?}",
            server.requests()
        );
    }
}
