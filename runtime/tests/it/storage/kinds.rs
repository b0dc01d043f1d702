//! Runs the suite in `conformance/` on the kinds of storage that need no program besides this one.

use ingest_host::storage::object::StoreSettings;

use crate::conformance::inputs::InputStore;
use crate::conformance::places::ObjectPlace;
use crate::conformance::workers::{
    WorkerStore, a_replay_that_dies_at_any_step_commits_once,
    a_worker_that_dies_at_any_step_leaves_one_output,
};
use crate::support::gcs::GcsServer;
use crate::support::object_client;
use crate::support::s3::{ACCESS_KEY, S3Server, SECRET_KEY};

on_each! {
    local: crate::conformance::places::LocalPlace::new();
    s3: crate::storage::kinds::s3_place();
    s3_with_rejects_in_another_bucket: crate::storage::kinds::two_buckets_place();
    s3_with_rejects_in_another_store: crate::storage::kinds::two_stores_place();
    gcs: crate::storage::kinds::gcs_place();
}

mod inputs {
    on_each_store! {
        gcs: crate::storage::kinds::gcs_store();
    }
}

fn s3_place() -> ObjectPlace {
    let server = S3Server::start();
    server.create_bucket("lake");
    let bucket = object_client::s3(&server.endpoint(), "lake", (ACCESS_KEY, SECRET_KEY));
    let settings = StoreSettings {
        s3: server.settings(),
        ..StoreSettings::default()
    };
    ObjectPlace::new(settings, "s3://lake", bucket, server)
}

fn two_buckets_place() -> ObjectPlace {
    let server = S3Server::start();
    for bucket in ["lake", "refused"] {
        server.create_bucket(bucket);
    }
    let bucket = |name| object_client::s3(&server.endpoint(), name, (ACCESS_KEY, SECRET_KEY));
    let (lake, refused) = (bucket("lake"), bucket("refused"));
    let settings = StoreSettings {
        s3: server.settings(),
        ..StoreSettings::default()
    };
    ObjectPlace::new(settings, "s3://lake", lake, server).with_rejects("s3://refused", refused)
}

/// Returns a place with outputs on an S3 server, and with rejects on a server with Google's interface.
fn two_stores_place() -> ObjectPlace {
    let (server, other) = (S3Server::start(), GcsServer::start(&["lake"]));
    server.create_bucket("lake");
    let lake = object_client::s3(&server.endpoint(), "lake", (ACCESS_KEY, SECRET_KEY));
    let refused = object_client::gcs(&other.endpoint(), "lake", "");
    let settings = StoreSettings {
        s3: server.settings(),
        ..other.settings()
    };
    ObjectPlace::new(settings, "s3://lake", lake, (server, other)).with_rejects("gs://lake", refused)
}

fn gcs_place() -> ObjectPlace {
    let server = GcsServer::start(&["lake"]);
    let bucket = object_client::gcs(&server.endpoint(), "lake", "");
    ObjectPlace::new(server.settings(), "gs://lake", bucket, server)
}

fn gcs_store() -> InputStore {
    let server = GcsServer::start(&["lake"]);
    let closed = GcsServer::start_with_token(&["lake"], "t0ken");
    InputStore {
        settings: server.settings(),
        wrong_settings: closed.settings(),
        checks_credentials: true,
        address: server.address,
        bucket_uri: "gs://lake",
        bucket: object_client::gcs(&server.endpoint(), "lake", ""),
        version_parameter: Some("generation"),
        _server: Box::new((server, closed)),
    }
}

#[tokio::test]
async fn the_test_servers_let_only_one_of_many_clients_create_an_object() {
    let server = S3Server::start();
    server.create_bucket("lake");
    let bucket = object_client::s3(&server.endpoint(), "lake", (ACCESS_KEY, SECRET_KEY));
    object_client::check_creates(bucket).await;
    let server = GcsServer::start(&["lake"]);
    object_client::check_creates(object_client::gcs(&server.endpoint(), "lake", "")).await;
}

#[test]
fn a_worker_that_dies_leaves_one_output_at_google() {
    a_worker_that_dies_at_any_step_leaves_one_output(&google());
}

#[test]
fn a_replay_that_dies_commits_once_at_google() {
    a_replay_that_dies_at_any_step_commits_once(&google());
}

fn google() -> WorkerStore {
    let server = GcsServer::start(&["lake"]);
    WorkerStore {
        environment: vec![("STORAGE_EMULATOR_HOST", server.endpoint())],
        bucket_uri: "gs://lake",
        bucket: object_client::gcs(&server.endpoint(), "lake", ""),
        runtime: tokio::runtime::Runtime::new().unwrap(),
        _server: Box::new(server),
    }
}
