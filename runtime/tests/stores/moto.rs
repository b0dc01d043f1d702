//! Tests S3 with moto, a second opinion beside s3s: it keeps versions of objects, and answers errors as AWS does. It does
//! not check signatures. If a client completes an aborted upload, moto answers 500, so one test ends before that call.

use std::sync::LazyLock;

use ingest_host::storage::object::{S3Settings, StoreSettings};
use object_store::client::{HttpRequest, HttpRequestBody};

use crate::conformance::inputs::InputStore;
use crate::conformance::places::ObjectPlace;
use crate::conformance::workers::{
    WorkerStore, a_replay_that_dies_at_any_step_commits_once,
    a_worker_that_dies_at_any_step_leaves_one_output,
};
use crate::installed_server::{InstalledServer, create_bucket};
use crate::support::object_client::{self, Bucket};
use crate::support::s3::{ACCESS_KEY, SECRET_KEY, environment};

static SERVER: LazyLock<InstalledServer> = LazyLock::new(|| {
    InstalledServer::start("venv/bin/moto_server", |port, _| {
        let arguments = ["-H", "127.0.0.1", "-p", &port.to_string()];
        arguments.map(str::to_owned).to_vec()
    })
});

mod inputs {
    on_each_store! {
        moto: crate::moto::store().await;
    }
}

on_each! {
    outputs: crate::moto::place();
}

#[tokio::test]
async fn moto_lets_one_client_create_an_object() {
    object_client::check_creates(bucket("creates").await).await;
}

fn settings(secret: &str) -> StoreSettings {
    StoreSettings {
        s3: S3Settings {
            endpoint: Some(SERVER.url()),
            access_key_id: Some(ACCESS_KEY.to_owned()),
            secret_access_key: Some(secret.to_owned().into()),
            ..S3Settings::default()
        },
        ..StoreSettings::default()
    }
}

/// Returns a bucket with versions. Creates it if there is none.
async fn bucket(name: &str) -> Bucket {
    let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    for (query, body) in [("", ""), ("?versioning", enabled)] {
        let mut request = HttpRequest::new(HttpRequestBody::from(body.to_owned()));
        *request.method_mut() = http::Method::PUT;
        *request.uri_mut() = format!("{}/{name}{query}", SERVER.url()).parse().unwrap();
        request.headers_mut().insert("content-length", body.len().into());
        create_bucket(request).await;
    }
    object_client::s3(&SERVER.url(), name, (ACCESS_KEY, SECRET_KEY))
}

async fn store() -> InputStore {
    InputStore {
        bucket: bucket("lake").await,
        settings: settings(SECRET_KEY),
        wrong_settings: settings("wr0ng"),
        checks_credentials: false,
        address: SERVER.address,
        bucket_uri: "s3://lake",
        version_parameter: Some("versionId"),
        _server: Box::new(()),
    }
}

fn place() -> ObjectPlace {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bucket = runtime.block_on(bucket("out"));
    let mut place = ObjectPlace::new(settings(SECRET_KEY), "s3://out", bucket, runtime);
    place.knows_aborted_uploads = false;
    place
}

#[test]
fn a_worker_that_dies_leaves_one_output_in_moto() {
    a_worker_that_dies_at_any_step_leaves_one_output(&worker_store("s3://workers", "workers"));
}

#[test]
fn a_replay_that_dies_commits_once_in_moto() {
    a_replay_that_dies_at_any_step_commits_once(&worker_store("s3://replays", "replays"));
}

fn worker_store(bucket_uri: &'static str, name: &str) -> WorkerStore {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    WorkerStore {
        environment: environment(&SERVER.url()).into(),
        bucket_uri,
        bucket: runtime.block_on(bucket(name)),
        runtime,
        _server: Box::new(()),
    }
}
