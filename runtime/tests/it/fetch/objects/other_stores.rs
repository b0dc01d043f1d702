//! Tests requests to Google Cloud Storage and Azure, and to AWS itself. The stores are servers that record requests.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use ingest_host::error::{Class, Code};
use ingest_host::storage::object::{AzureSettings, GcsSettings, ObjectStores, StoreSettings};
use sha2::Sha256;

use crate::support::inputs::objects::{AZURE_KEY, fails, is, open};
use crate::support::inputs::scripted_server::{ScriptedServer, answer, serve};
use crate::support::inputs::{CSV, gzip, read};

fn gcs(server: &ScriptedServer, credentials: Option<&Path>) -> ObjectStores {
    ObjectStores::new(StoreSettings {
        gcs: GcsSettings {
            endpoint: Some(format!("http://{}", server.address)),
            application_credentials: credentials.map(Path::to_owned),
            is_anonymous: false,
        },
        ..StoreSettings::default()
    })
}

fn azure(server: &ScriptedServer, settings: AzureSettings) -> ObjectStores {
    ObjectStores::new(StoreSettings {
        azure: AzureSettings {
            account: Some("acc".into()),
            endpoint: Some(format!("http://{}/acc", server.address)),
            ..settings
        },
        ..StoreSettings::default()
    })
}

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn google_gets_no_credentials_at_an_emulator() {
    let server = serve(vec![
        answer(
            "200 OK",
            "ETag: \"e\"\r\nx-goog-hash: crc32c=4waSgw==,md5=JfnnlDI7RTiF9RgfGwdTnw==\r\n",
            b"123456789",
        ),
        answer("200 OK", "x-goog-hash: crc32c=AAAAAA==\r\n", b"123456789"),
    ]);
    let stores = gcs(&server, None);
    let source = open(stores.clone(), "gs://lake/a b/c.csv?generation=17")
        .await
        .unwrap();
    assert_eq!(source.uri, "gs://lake/a%20b/c.csv?generation=17");
    assert_eq!(read(source).await.unwrap().0, b"123456789");
    let error = fails(stores, "gs://lake/a.csv").await;
    is(
        &error,
        Class::Transient,
        Code::ChecksumMismatch,
        "x-goog-hash says crc32c",
    );
    let request = &server.requests()[0];
    assert!(
        request.starts_with("GET /lake/a%20b/c.csv?generation=17 HTTP/1.1"),
        "{request}"
    );
    assert_eq!(header(request, "accept-encoding"), Some("gzip"));
    assert_eq!(header(request, "authorization"), None);
}

#[tokio::test]
async fn an_object_that_is_stored_packed_is_unpacked_here() {
    let packed = gzip(CSV);
    let headers = "ETag: \"e\"\r\nContent-Encoding: gzip\r\nx-goog-stored-content-encoding: gzip\r\n";
    let server = serve(vec![answer("200 OK", headers, &packed)]);
    let source = open(gcs(&server, None), "gs://lake/a.csv").await.unwrap();
    assert_eq!(read(source).await.unwrap().0, CSV);
}

#[tokio::test]
async fn kinds_of_googles_credentials_that_are_not_supported_are_named() {
    let server = serve(vec![]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.json");
    for (text, what) in [
        (
            r#"{"type": "external_account", "secret": "s3cr3t"}"#,
            "type external_account, which is not supported",
        ),
        (
            r#"{"type": "service_account", "private_key": "s3cr3t"}"#,
            "not a service account",
        ),
        ("s3cr3t", "is not JSON"),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = fails(gcs(&server, Some(&file)), "gs://lake/a.csv").await;
        is(&error, Class::Permanent, Code::SettingsInvalid, what);
    }
}

#[tokio::test]
async fn azure_gets_a_signature_with_the_accounts_key() {
    let server = serve(vec![answer("200 OK", "ETag: \"0x8D\"\r\n", CSV)]);
    let settings = AzureSettings {
        access_key: Some(AZURE_KEY.to_owned().into()),
        ..AzureSettings::default()
    };
    let source = open(
        azure(&server, settings),
        "az://lake/a b/c.csv?versionid=2026-01-01T00:00:00Z",
    )
    .await
    .unwrap();
    assert_eq!(
        source.uri,
        "az://lake/a%20b/c.csv?versionid=2026-01-01T00%3A00%3A00Z"
    );
    assert_eq!(read(source).await.unwrap().0, CSV);
    let request = &server.requests()[0];
    let path = "/acc/lake/a%20b/c.csv?versionid=2026%2D01%2D01T00%3A00%3A00Z";
    assert!(request.starts_with(&format!("GET {path} HTTP/1.1")), "{request}");
    // See "Authorize with Shared Key" in Azure's documentation.
    let (date, version) = (
        header(request, "date").unwrap(),
        header(request, "x-ms-version").unwrap(),
    );
    let text = format!(
        "GET\n\n\n\n\n\n{date}\n\n\n\n\n\nx-ms-version:{version}\n/acc/acc/lake/a%20b/c.csv\nversionid:2026-01-01T00:00:00Z"
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(AZURE_KEY).unwrap()).unwrap();
    mac.update(text.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(
        header(request, "authorization"),
        Some(format!("SharedKey acc:{signature}").as_str())
    );
}

#[tokio::test]
async fn azure_gets_a_sas_token_that_no_text_shows() {
    let body = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>BlobNotFound</Code><Message>No.\nRequestId:1</Message></Error>";
    let server = serve(vec![answer(
        "404 Not Found",
        "x-ms-error-code: BlobNotFound\r\n",
        body.as_bytes(),
    )]);
    let connection = format!(
        "BlobEndpoint=http://{}/acc;SharedAccessSignature=sv=2022-11-02&sig=s3cr3t%2F;AccountName=acc",
        server.address
    );
    let stores = ObjectStores::new(StoreSettings {
        azure: AzureSettings {
            connection_string: Some(connection.into()),
            ..AzureSettings::default()
        },
        ..StoreSettings::default()
    });
    assert!(!format!("{stores:?}").contains("s3cr3t"));
    let error = fails(stores, "az://lake/a.csv").await;
    is(
        &error,
        Class::Permanent,
        Code::InputMissing,
        "there is no such object; the store answered 404 Not Found, BlobNotFound: No.",
    );
    let request = &server.requests()[0];
    assert!(
        request.starts_with("GET /acc/lake/a.csv?sv=2022-11-02&sig=s3cr3t%2F HTTP/1.1"),
        "{request}"
    );
    assert_eq!(header(request, "authorization"), None);
}

#[tokio::test]
async fn azure_gets_the_token_of_an_application() {
    let authority = serve(vec![answer(
        "200 OK",
        "Content-Type: application/json\r\n",
        br#"{"access_token": "t0ken", "expires_in": 3600}"#,
    )]);
    let server = serve(vec![
        answer("200 OK", "ETag: \"0x8D\"\r\n", CSV),
        answer("200 OK", "", CSV),
    ]);
    let settings = AzureSettings {
        client_id: Some("app".into()),
        client_secret: Some("s3cr3t".to_owned().into()),
        tenant_id: Some("tenant".into()),
        authority_host: Some(format!("http://{}", authority.address)),
        ..AzureSettings::default()
    };
    let stores = azure(&server, settings);
    for _ in 0..2 {
        read(open(stores.clone(), "az://lake/a.csv").await.unwrap())
            .await
            .unwrap();
    }
    assert_eq!(
        header(&server.requests()[1], "authorization"),
        Some("Bearer t0ken")
    );
    let asked = authority.requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(
        asked[0].starts_with("POST /tenant/oauth2/v2.0/token "),
        "{asked:?}"
    );
}

#[tokio::test]
async fn settings_of_azure_that_cannot_be_used_are_named() {
    let of = |azure: AzureSettings| {
        ObjectStores::new(StoreSettings {
            azure,
            ..StoreSettings::default()
        })
    };
    for (settings, what) in [
        (
            AzureSettings::default(),
            "no account of Azure: set AZURE_STORAGE_ACCOUNT_NAME",
        ),
        (
            AzureSettings {
                account: Some("evil.example/".into()),
                ..AzureSettings::default()
            },
            "is no name of an account",
        ),
        (
            AzureSettings {
                account: Some("acc".into()),
                access_key: Some("s3cr3t!".to_owned().into()),
                ..AzureSettings::default()
            },
            "is malformed",
        ),
        (
            AzureSettings {
                connection_string: Some("s3cr3t".to_owned().into()),
                ..AzureSettings::default()
            },
            "expected NAME=VALUE",
        ),
        (
            AzureSettings {
                account: Some("acc".into()),
                endpoint: Some("http://store.example".into()),
                sas_token: Some("sig=s3cr3t".to_owned().into()),
                ..AzureSettings::default()
            },
            "must not be sent without encryption",
        ),
    ] {
        let error = fails(of(settings), "az://lake/a.csv").await;
        assert_eq!(error.class(), Class::Permanent);
        assert!(error.report().contains(what), "{}", error.report());
    }
}
