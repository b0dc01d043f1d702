//! Opens and reads objects of stores, and checks the errors.

use ingest_host::error::{Class, Code, Error, Result};
use ingest_host::fetch::{Access, Fetcher, RequestedBy, Source};
use ingest_host::stop::Stop;
use ingest_host::storage::object::{ObjectStores, S3Settings};

use super::scripted_server::ScriptedServer;
use super::{limits, read};
use crate::support::s3::stores;

/// The key of Azure's emulator, which Microsoft has published.
pub(crate) const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

pub(crate) async fn open(stores: ObjectStores, uri: &str) -> Result<Source> {
    let fetcher = Fetcher::new(Access::default(), &limits()).with_stores(stores);
    fetcher.open(uri, RequestedBy::Typed, &Stop::default()).await
}

/// Opens and reads an object, which must fail. Returns the error, which shows no secret.
pub(crate) async fn fails(stores: ObjectStores, uri: &str) -> Error {
    let fetched = async { read(open(stores, uri).await?).await };
    let error = fetched.await.expect_err(uri);
    assert!(!error.report().contains("s3cr3t"), "{}", error.report());
    error
}

/// Returns the stores with this server as S3, without credentials.
pub(crate) fn anonymous_stores(server: &ScriptedServer) -> ObjectStores {
    stores(S3Settings {
        endpoint: Some(format!("http://{}", server.address)),
        is_anonymous: true,
        ..S3Settings::default()
    })
}

/// Checks the class and the code of an error, and that its report contains this text.
#[track_caller]
pub(crate) fn is(error: &Error, class: Class, code: Code, what: &str) {
    assert_eq!((error.class(), error.code()), (class, code), "{}", error.report());
    assert!(error.report().contains(what), "{}, not {what}", error.report());
}

/// Returns random bytes. They are the same for each call, and bytes of a longer call begin with those of a shorter one.
pub(crate) fn random(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(20_171_023);
    std::iter::repeat_with(|| random.u8(..)).take(bytes).collect()
}
