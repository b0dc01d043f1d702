//! Tests that a queued URI reads only objects of the buckets that the operator allows.

use ingest_host::error::{Class, Code, Result};
use ingest_host::fetch::{Access, Fetcher, RequestedBy, Source};
use ingest_host::stop::Stop;

use crate::support::inputs::{CSV, limits, read};
use crate::support::s3::S3Server;

async fn open(server: &S3Server, buckets: &[&str], uri: &str) -> Result<Source> {
    let buckets: Vec<_> = buckets.iter().map(ToString::to_string).collect();
    let access = Access::default().allowing_buckets(&buckets).unwrap();
    let fetcher = Fetcher::new(access, &limits()).with_stores(server.stores());
    fetcher.open(uri, RequestedBy::Queued, &Stop::default()).await
}

#[tokio::test]
async fn the_error_says_what_to_allow() {
    let server = S3Server::start();
    let refused = async |buckets, uri| match open(&server, buckets, uri).await {
        Ok(_) => panic!("{uri} was opened"),
        Err(error) => error.to_string(),
    };
    assert_eq!(
        refused(&[], "s3://lake/a.csv").await,
        "fetch s3://lake/a.csv: is in a bucket that is not allowed; a queued URI reads it only with --allow-bucket s3://lake/"
    );
    assert_eq!(
        refused(&["s3://lake/in/"], "s3://lake/a.csv").await,
        "fetch s3://lake/a.csv: is not below an allowed prefix; a queued URI reads it only with --allow-bucket s3://lake/"
    );
}

#[tokio::test]
async fn no_spelling_leads_out_of_an_allowed_prefix() {
    let server = S3Server::start();
    server.put("lake", "in/a.csv", CSV);
    server.put("lake", "secret.csv", "s");
    server.put("other", "in/a.csv", "s");
    server.put_version("lake", "in/a.csv", "1", CSV);
    server.put_version("other", "in/a.csv", "1", "s");
    for uri in [
        "s3://lake/in/a.csv",
        "S3://lake/in/a.csv",
        "s3://lake/i%6e/a.csv",
        "s3://lake/in%2Fa.csv",
        "s3://lake/in/a.csv?versionId=1",
    ] {
        let (bytes, _) = read(open(&server, &["s3://lake/in/"], uri).await.expect(uri))
            .await
            .unwrap();
        assert_eq!(bytes, CSV, "{uri}");
    }
    let reached = server.requests().len();
    let endpoint = server.endpoint();
    for uri in [
        "s3://other/in/a.csv",
        "s3://other/in/a.csv?versionId=1",
        "s3://LAKE/in/a.csv",
        "s3://lake/IN/a.csv",
        "s3://lake//in/a.csv",
        "s3://lake/in",
        "s3://lake/in/",
        "s3://lake/inner.csv",
        "s3://lake/secret.csv",
        "s3://lake/in/../secret.csv",
        "s3://lake/in/%2e%2e/secret.csv",
        "s3://lake/in/%2E./secret.csv",
        "s3://lake/in/..%2fsecret.csv",
        "s3://lake/in/../../other/in/a.csv",
        "s3://lake/in/..%2f..%2fother/in/a.csv",
        "s3://lake/in/\\..\\..\\secret.csv",
        "s3://lake/../other/in/a.csv",
        "s3://lake%2fin/../other/in/a.csv",
        "s3://other%2f/lake/in/a.csv",
        "s3://lake@other/in/a.csv",
        "s3://other:80/in/a.csv",
        "s3:lake/in/a.csv",
        "s3:///lake/in/a.csv",
        "s3://lake/in/a.csv?versionId=1&bucket=other",
        "s3://lake/in/a.csv?prefix=other",
        "s3://lake/in/a.csv#/../../other",
        "gs://lake/in/a.csv",
        "az://lake/in/a.csv",
        "s3a://lake/in/a.csv",
        &format!("{endpoint}/lake/in/a.csv"),
        &format!("{endpoint}/other/in/a.csv"),
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    ] {
        match open(&server, &["s3://lake/in/"], uri).await {
            Ok(_) => panic!("{uri} was opened"),
            Err(error) => {
                assert_eq!(error.class(), Class::Permanent, "{}", error.report());
                let codes = [Code::BucketRefused, Code::AddressInvalid, Code::AddressRefused];
                assert!(codes.contains(&error.code()), "{}", error.report());
            }
        }
    }
    assert_eq!(server.requests().len(), reached, "a refused URI sends no request");
    // A key that has %2e%2e itself is an object of its own, below the prefix.
    let error = open(&server, &["s3://lake/in/"], "s3://lake/in/%252e%252e/secret.csv")
        .await
        .err()
        .expect("no such object");
    assert_eq!(error.code(), Code::InputMissing, "{}", error.report());
    assert_eq!(
        server.requests().last().unwrap(),
        "/lake/in/%252e%252e/secret.csv"
    );
}
