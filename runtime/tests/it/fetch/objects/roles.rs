//! Tests credentials that AWS's services give. The services are servers that record requests.

use std::path::PathBuf;

use ingest_host::error::{Class, Code};
use ingest_host::storage::object::S3Settings;

use crate::support::inputs::objects::{fails, is, open};
use crate::support::inputs::scripted_server::{ScriptedServer, answer, serve};
use crate::support::inputs::{CSV, read};
use crate::support::s3::{ACCESS_KEY, S3Server, SECRET_KEY, stores};

const LATER: &str = "2099-01-01T00:00:00Z";

fn assumed(action: &str) -> Vec<u8> {
    let body = format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>{ACCESS_KEY}</AccessKeyId><SecretAccessKey>{SECRET_KEY}</SecretAccessKey>\
         <SessionToken>t0ken</SessionToken><Expiration>{LATER}</Expiration>\
         </Credentials></{action}Result></{action}Response>"
    );
    answer("200 OK", "", body.as_bytes())
}

fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> Option<PathBuf> {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    Some(path)
}

fn url(server: &ScriptedServer) -> Option<String> {
    Some(format!("http://{}", server.address))
}

/// Returns settings without keys. The store's server accepts the keys that a service gives.
fn without_keys(s3: &S3Server) -> S3Settings {
    S3Settings {
        access_key_id: None,
        secret_access_key: None,
        ..s3.settings()
    }
}

#[tokio::test]
async fn a_role_is_assumed_once_and_its_credentials_are_kept() {
    let (s3, sts, folder) = (
        S3Server::start(),
        serve(vec![assumed("AssumeRole")]),
        tempfile::tempdir().unwrap(),
    );
    s3.put("lake", "a.csv", CSV);
    let config = "[profile etl]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\nexternal_id = e x\nregion = eu-west-1\n";
    let keys = "[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = b4se\n";
    let stores = stores(S3Settings {
        profile: Some("etl".into()),
        config_file: file(&folder, "config", config),
        credentials_file: file(&folder, "credentials", keys),
        sts_endpoint: url(&sts),
        ..without_keys(&s3)
    });
    for _ in 0..2 {
        let (bytes, _) = read(open(stores.clone(), "s3://lake/a.csv").await.unwrap())
            .await
            .unwrap();
        assert_eq!(bytes, CSV);
    }
    let requests = sts.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    let query = "GET /?Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&\
                 RoleSessionName=ingest-host&ExternalId=e+x HTTP/1.1";
    assert!(requests[0].starts_with(query), "{requests:?}");
    assert!(
        requests[0].contains("Credential=AKIABASE/") && requests[0].contains("/eu-west-1/sts/"),
        "{requests:?}"
    );
}

#[tokio::test]
async fn a_role_that_is_refused_says_why() {
    let (s3, folder) = (S3Server::start(), tempfile::tempdir().unwrap());
    let body = b"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>";
    let sts = serve(vec![answer("403 Forbidden", "", body)]);
    let config = "[default]\nrole_arn = arn:r\nsource_profile = default\naws_access_key_id = A\naws_secret_access_key = s3cr3t\n";
    let settings = S3Settings {
        config_file: file(&folder, "config", config),
        sts_endpoint: url(&sts),
        ..without_keys(&s3)
    };
    let error = fails(stores(settings), "s3://lake/a.csv").await;
    is(
        &error,
        Class::Transient,
        Code::CredentialsFailed,
        "arn:r: AccessDenied: not you",
    );
}

#[tokio::test]
async fn a_web_identity_a_container_and_an_instance_give_credentials() {
    let (s3, folder) = (S3Server::start(), tempfile::tempdir().unwrap());
    s3.put("lake", "a.csv", CSV);
    let json = format!(
        r#"{{"AccessKeyId": "{ACCESS_KEY}", "SecretAccessKey": "{SECRET_KEY}", "Token": "t", "Expiration": "{LATER}"}}"#
    );
    let json = || answer("200 OK", "", json.as_bytes());
    let web = serve(vec![assumed("AssumeRoleWithWebIdentity")]);
    let container = serve(vec![json()]);
    let instance = serve(vec![
        answer("200 OK", "", b"a-token"),
        answer("200 OK", "", b"a-role"),
        json(),
    ]);
    for (name, settings, server, requests) in [
        (
            "web identity",
            S3Settings {
                web_identity_token_file: file(&folder, "token", "w3b"),
                role_arn: Some("arn:r".into()),
                sts_endpoint: url(&web),
                ..without_keys(&s3)
            },
            &web,
            &["POST /?Action=AssumeRoleWithWebIdentity&DurationSeconds=3600&RoleArn=arn%3Ar&"][..],
        ),
        (
            "container",
            S3Settings {
                container_full_uri: url(&container).map(|url| url + "/credentials"),
                container_token_file: file(&folder, "container", "c0ntainer"),
                ..without_keys(&s3)
            },
            &container,
            &["GET /credentials HTTP/1.1"],
        ),
        (
            "instance",
            S3Settings {
                metadata_endpoint: url(&instance),
                ..without_keys(&s3)
            },
            &instance,
            &[
                "PUT /latest/api/token ",
                "GET /latest/meta-data/iam/security-credentials/ ",
                "GET /latest/meta-data/iam/security-credentials/a-role ",
            ],
        ),
    ] {
        let stores = stores(settings);
        for _ in 0..2 {
            read(open(stores.clone(), "s3://lake/a.csv").await.expect(name))
                .await
                .unwrap();
        }
        let found = server.requests();
        assert_eq!(found.len(), requests.len(), "{name}: {found:?}");
        for (found, start) in found.iter().zip(requests) {
            assert!(found.starts_with(start), "{name}: {found}");
        }
    }
}

#[tokio::test]
async fn keys_in_the_environment_come_before_a_profile() {
    let (s3, folder) = (S3Server::start(), tempfile::tempdir().unwrap());
    s3.put("lake", "a.csv", CSV);
    let config = file(
        &folder,
        "config",
        "[default]\nsso_session = s\nregion = eu-west-1\n",
    );
    let settings = S3Settings {
        config_file: config.clone(),
        ..s3.settings()
    };
    read(open(stores(settings), "s3://lake/a.csv").await.unwrap())
        .await
        .unwrap();
    let settings = S3Settings {
        config_file: config,
        ..without_keys(&s3)
    };
    let error = fails(stores(settings), "s3://lake/a.csv").await;
    is(
        &error,
        Class::Permanent,
        Code::SettingsInvalid,
        "the AWS profile default logs in by SSO",
    );
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_named() {
    let s3 = S3Server::start();
    for (settings, what) in [
        (
            S3Settings {
                secret_access_key: None,
                ..s3.settings()
            },
            "only one of AWS_ACCESS_KEY_ID and",
        ),
        (
            S3Settings {
                is_metadata_disabled: true,
                ..without_keys(&s3)
            },
            "no credentials for S3: set",
        ),
        (
            S3Settings {
                endpoint: Some("minio:9000".into()),
                ..s3.settings()
            },
            "AWS_ENDPOINT_URL: is not the URL of a server",
        ),
        (
            S3Settings {
                endpoint: Some("http://me:s3cr3t@h".into()),
                ..s3.settings()
            },
            "AWS_ENDPOINT_URL: is not",
        ),
        (
            S3Settings {
                region: Some("eu/../x".into()),
                ..s3.settings()
            },
            "AWS_REGION",
        ),
        (
            S3Settings {
                profile: Some("gone".into()),
                ..without_keys(&s3)
            },
            "names the profile gone",
        ),
        (
            S3Settings {
                session_token: Some("s3cr3t\n".to_owned().into()),
                ..s3.settings()
            },
            "has a blank",
        ),
        (
            S3Settings {
                container_full_uri: Some("http://h".into()),
                ..without_keys(&s3)
            },
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        ),
    ] {
        let error = fails(stores(settings), "s3://lake/a.csv").await;
        is(&error, Class::Permanent, Code::SettingsInvalid, what);
    }
}
