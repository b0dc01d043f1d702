//! Tests objects of each kind of store as inputs: they are read whole and in one version, or end in an error that says
//! what to do.

use std::any::Any;
use std::net::SocketAddr;

use ingest_host::error::{Class, Code, Result};
use ingest_host::fetch::Source;
use ingest_host::storage::object::{ObjectStores, StoreSettings};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use crate::support::cutting_proxy::CuttingProxy;
use crate::support::inputs::objects::{fails, is, open, random};
use crate::support::inputs::{CSV, digest, read};
use crate::support::object_client::Bucket;

/// Runs each test of this file on each of these stores. The expression after a store's name makes an [`InputStore`].
macro_rules! on_each_store {
    ($($kind:ident: $store:expr;)+) => {$(
        mod $kind {
            on_each_store! { @tests $store; an_object_is_read_whole_whatever_its_key,
                a_version_is_read_by_its_id, only_the_submitted_version_is_read, a_cut_transfer_resumes,
                an_object_that_changes_in_between_is_an_error, what_is_missing_is_named,
                wrong_credentials_are_refused }
        }
    )+};
    (@tests $store:expr; $($test:ident),+) => {$(
        #[tokio::test]
        async fn $test() {
            $crate::conformance::inputs::$test(&$store).await;
        }
    )+};
}

/// A bucket with inputs.
pub(crate) struct InputStore {
    /// The settings with which the program reaches the bucket.
    pub(crate) settings: StoreSettings,
    /// The settings with credentials that are wrong.
    pub(crate) wrong_settings: StoreSettings,
    /// False if the server accepts wrong credentials.
    pub(crate) checks_credentials: bool,
    pub(crate) address: SocketAddr,
    /// The bucket's URI, such as `s3://lake`.
    pub(crate) bucket_uri: &'static str,
    pub(crate) bucket: Bucket,
    /// The parameter of URIs with the version, or `None` if the server has no versions.
    pub(crate) version_parameter: Option<&'static str>,
    /// The server, which ends after everything that uses it.
    pub(crate) _server: Box<dyn Any + Send + Sync>,
}

impl InputStore {
    /// Stores an object. Returns its version, if the server has versions.
    async fn put(&self, key: &str, bytes: impl AsRef<[u8]>) -> Option<String> {
        let payload = PutPayload::from(bytes.as_ref().to_vec());
        let put = self.bucket.put(&Path::parse(key).unwrap(), payload).await;
        put.unwrap().version
    }

    async fn open(&self, key: &str) -> Result<Source> {
        open(self.stores(), &self.uri(key)).await
    }

    fn stores(&self) -> ObjectStores {
        ObjectStores::new(self.settings.clone())
    }

    fn uri(&self, key: &str) -> String {
        format!("{}/{key}", self.bucket_uri)
    }

    /// Starts a proxy in front of the server. Returns it, and the stores with which the program uses it.
    fn behind_proxy(&self, cuts: &[usize]) -> (CuttingProxy, ObjectStores) {
        let proxy = CuttingProxy::start(self.address, cuts);
        let mut settings = self.settings.clone();
        let StoreSettings { s3, gcs, azure } = &mut settings;
        for endpoint in [&mut s3.endpoint, &mut gcs.endpoint, &mut azure.endpoint]
            .into_iter()
            .flatten()
        {
            *endpoint = endpoint.replace(&self.address.to_string(), &proxy.address.to_string());
        }
        (proxy, ObjectStores::new(settings))
    }
}

pub(crate) async fn an_object_is_read_whole_whatever_its_key(store: &InputStore) {
    for (written, key) in [
        ("2017/10/a.csv", "2017/10/a.csv"),
        ("a b+c&d=e.csv", "a b+c&d=e.csv"),
        ("t=00%253A00/a.csv", "t=00%3A00/a.csv"),
        ("100%/größe%231%3F.csv", "100%/größe#1?.csv"),
        ("~!*'()$,;:@/[x].csv", "~!*'()$,;:@/[x].csv"),
    ] {
        store.put(key, CSV).await;
        let source = store.open(written).await.expect(written);
        assert_eq!(Some(source.name.as_str()), key.rsplit('/').next());
        assert!(source.etag.is_some());
        assert_eq!(
            read(source).await.unwrap(),
            (CSV.to_vec(), digest(CSV)),
            "{written}"
        );
    }
}

pub(crate) async fn a_version_is_read_by_its_id(store: &InputStore) {
    let Some(parameter) = store.version_parameter else {
        assert_eq!(
            store.put("v.csv", CSV).await,
            None,
            "the server has versions: test them"
        );
        return;
    };
    let version = store.put("v.csv", CSV).await.expect("a version");
    store.put("v.csv", "new").await.expect("a version");
    let source = store.open(&format!("v.csv?{parameter}={version}")).await.unwrap();
    assert_eq!(read(source).await.unwrap().0, CSV);
    let source = store.open("v.csv").await.unwrap();
    assert_eq!(read(source).await.unwrap().0, b"new");
    let error = fails(store.stores(), &store.uri(&format!("v.csv?{parameter}=17"))).await;
    is(
        &error,
        Class::Permanent,
        Code::InputMissing,
        "no such version of the object",
    );
}

pub(crate) async fn only_the_submitted_version_is_read(store: &InputStore) {
    store.put("e.csv", CSV).await;
    let etag = store.open("e.csv").await.unwrap().etag;
    let source = store.open("e.csv").await.unwrap();
    let source = source.expect_version(etag.as_deref()).unwrap();
    assert_eq!(read(source).await.unwrap().0, CSV);
    store.put("e.csv", "n\n8\n").await;
    let source = store.open("e.csv").await.unwrap();
    let error = source.expect_version(etag.as_deref()).err();
    assert_eq!(error.expect("another version").code(), Code::InputReplaced);
}

pub(crate) async fn a_cut_transfer_resumes(store: &InputStore) {
    let bytes = random(600_000);
    store.put("cut.bin", &bytes).await;
    let (proxy, stores) = store.behind_proxy(&[100_000, 200_000, 100]);
    let source = open(stores, &store.uri("cut.bin")).await.unwrap();
    let (found, fetched) = read(source).await.unwrap();
    assert!(found == bytes, "the content differs");
    assert_eq!(fetched, digest(&bytes));
    assert_eq!(proxy.cuts_left(), 0);
}

pub(crate) async fn an_object_that_changes_in_between_is_an_error(store: &InputStore) {
    store.put("changes.bin", random(600_000)).await;
    let (proxy, stores) = store.behind_proxy(&[100_000]);
    // The program may ask for the rest before the object has changed.
    proxy.close();
    let source = open(stores, &store.uri("changes.bin")).await.unwrap();
    store.put("changes.bin", random(600_001)).await;
    proxy.open();
    let error = read(source).await.expect_err("another version");
    is(
        &error,
        Class::Transient,
        Code::TransferBroken,
        "the file has changed",
    );
}

pub(crate) async fn what_is_missing_is_named(store: &InputStore) {
    let error = fails(store.stores(), &store.uri("missing.csv")).await;
    is(
        &error,
        Class::Permanent,
        Code::InputMissing,
        "there is no such object",
    );
    let elsewhere = store.bucket_uri.replace("lake", "ocean") + "/a.csv";
    let error = fails(store.stores(), &elsewhere).await;
    is(
        &error,
        Class::Permanent,
        Code::InputMissing,
        "there is no bucket ocean",
    );
}

pub(crate) async fn wrong_credentials_are_refused(store: &InputStore) {
    store.put("secret.csv", CSV).await;
    let (stores, uri) = (
        ObjectStores::new(store.wrong_settings.clone()),
        store.uri("secret.csv"),
    );
    if !store.checks_credentials {
        let accepted = open(stores, &uri).await;
        accepted.expect("the server checks credentials: test them");
        return;
    }
    let error = fails(stores, &uri).await;
    // Some servers say that the credentials are wrong, and some that they are not enough.
    is(&error, Class::Permanent, Code::StoreRefused, "the credentials");
    assert!(!error.report().contains("wr0ng"), "{}", error.report());
}
