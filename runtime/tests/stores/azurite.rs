//! Tests Azure Blob Storage with Azurite, the emulator that Microsoft publishes. It checks signatures, and takes blocks,
//! lists of blocks and conditions. It has no versions of blobs.

use std::sync::{Arc, LazyLock};

use ingest_host::storage::object::{AzureSettings, StoreSettings};
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential, MicrosoftAzureBuilder};
use object_store::client::{HttpRequest, HttpRequestBody};

use crate::conformance::inputs::InputStore;
use crate::conformance::places::ObjectPlace;
use crate::conformance::workers::{
    WorkerStore, a_replay_that_dies_at_any_step_commits_once,
    a_worker_that_dies_at_any_step_leaves_one_output,
};
use crate::installed_server::{InstalledServer, create_bucket};
use crate::support::inputs::objects::AZURE_KEY;
use crate::support::object_client::{self, Bucket, PlainHttp};

/// The account of the emulator.
const ACCOUNT: &str = "devstoreaccount1";

static SERVER: LazyLock<InstalledServer> = LazyLock::new(|| {
    InstalledServer::start("node_modules/.bin/azurite-blob", |port, folder| {
        let folder = folder.to_str().unwrap();
        let mut arguments = vec!["--blobHost", "127.0.0.1", "--location", folder, "--silent"];
        // The server refuses interfaces that are newer than itself. The blocks, conditions and errors are those of all
        // versions.
        arguments.extend(["--skipApiVersionCheck", "--disableTelemetry", "--blobPort"]);
        let mut arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();
        arguments.push(port.to_string());
        arguments
    })
});

mod inputs {
    on_each_store! {
        azurite: crate::azurite::store().await;
    }
}

on_each! {
    outputs: crate::azurite::place();
}

#[tokio::test]
async fn azurite_lets_one_client_create_a_blob() {
    object_client::check_creates(container("creates").await).await;
}

fn endpoint() -> String {
    format!("{}/{ACCOUNT}", SERVER.url())
}

fn settings(key: &str) -> StoreSettings {
    StoreSettings {
        azure: AzureSettings {
            account: Some(ACCOUNT.into()),
            endpoint: Some(endpoint()),
            access_key: Some(key.to_owned().into()),
            ..AzureSettings::default()
        },
        ..StoreSettings::default()
    }
}

/// Returns a container. Creates it if there is none.
async fn container(name: &str) -> Bucket {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.method_mut() = http::Method::PUT;
    let url = format!("{}/{name}?restype=container", endpoint());
    *request.uri_mut() = url.parse().unwrap();
    request.headers_mut().insert("content-length", 0.into());
    let credential = AzureCredential::AccessKey(AzureAccessKey::try_new(AZURE_KEY).unwrap());
    let authorizer = AzureAuthorizer::new(&credential, ACCOUNT);
    authorizer.try_authorize(&mut request).unwrap();
    create_bucket(request).await;
    let builder = MicrosoftAzureBuilder::new()
        .with_account(ACCOUNT)
        .with_access_key(AZURE_KEY)
        .with_container_name(name)
        .with_endpoint(endpoint())
        .with_allow_http(true)
        .with_http_connector(PlainHttp::new());
    Arc::new(builder.build().unwrap())
}

async fn store() -> InputStore {
    // A key of the right form, which is not the account's.
    let wrong = format!("{}{}", "wr0ng", &AZURE_KEY["wr0ng".len()..]);
    InputStore {
        bucket: container("lake").await,
        settings: settings(AZURE_KEY),
        wrong_settings: settings(&wrong),
        checks_credentials: true,
        address: SERVER.address,
        bucket_uri: "az://lake",
        version_parameter: None,
        _server: Box::new(()),
    }
}

fn place() -> ObjectPlace {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bucket = runtime.block_on(container("out"));
    ObjectPlace::new(settings(AZURE_KEY), "az://out", bucket, runtime)
}

#[test]
fn a_worker_that_dies_leaves_one_output_in_azurite() {
    a_worker_that_dies_at_any_step_leaves_one_output(&worker_store("az://workers", "workers"));
}

#[test]
fn a_replay_that_dies_commits_once_in_azurite() {
    a_replay_that_dies_at_any_step_commits_once(&worker_store("az://replays", "replays"));
}

fn worker_store(bucket_uri: &'static str, name: &str) -> WorkerStore {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    WorkerStore {
        environment: vec![
            ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY.to_owned()),
            ("AZURE_STORAGE_ENDPOINT", endpoint()),
        ],
        bucket_uri,
        bucket: runtime.block_on(container(name)),
        runtime,
        _server: Box::new(()),
    }
}
