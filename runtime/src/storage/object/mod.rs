//! Reaches object stores: settings and a URI such as `s3://bucket/key` go in. For an input, signed requests come out; for
//! an output, a storage.
//!
//! This folder alone names `object_store`, the library that signs requests, obtains credentials and uploads parts.
//! Inputs are fetched by the code that fetches from any HTTP server.

mod attempt;
mod aws_profile;
mod azure;
mod bucket;
mod calls;
mod checkpoint;
mod client;
mod connect;
mod credentials;
mod decision;
mod gcs;
mod keys;
mod output;
mod parts;
mod reaper;
mod refusal;
mod settings;
mod sign;
mod upload;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;

pub(super) use self::checkpoint::ObjectPart;
use self::client::Client;
use self::connect::{Connector, CredentialsConnector};
pub(crate) use self::keys::receipt_uri;
pub use self::output::ObjectStorage;
pub use self::parts::PartStore;
pub(crate) use self::refusal::ERROR_BYTES_MAX;
pub use self::settings::{AzureSettings, GcsSettings, S3Settings, Secret, StoreSettings};
use self::sign::Store;
pub(crate) use self::sign::StoredObject;
pub use self::upload::PART_BYTES;
use crate::error::{Code, Error, Result, Stage};
use crate::location::{ObjectPrefix, ObjectUri, Provider, redact};

/// The stores that this process can reach. Clones share credentials.
#[derive(Clone, Default)]
pub struct ObjectStores(Arc<Stores>);

#[derive(Default)]
struct Stores {
    settings: StoreSettings,
    connector: CredentialsConnector,
    /// Connects to the stores of outputs.
    data: Connector,
    /// The stores that were used, in the order of [`Provider::ALL`].
    opened: [Mutex<Option<Arc<Store>>>; Provider::ALL.len()],
}

impl ObjectStores {
    /// Returns stores with these settings. No setting is checked before a store is used.
    pub fn new(settings: StoreSettings) -> Self {
        Self(Arc::new(Stores {
            settings,
            ..Stores::default()
        }))
    }

    /// Checks the settings of a store. Does not obtain credentials.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if the settings cannot be used.
    pub fn check(&self, provider: Provider) -> Result<()> {
        self.store(provider).map(drop)
    }

    /// Returns an object of its store; `written` is its URI as somebody wrote it.
    ///
    /// # Errors
    /// Fails permanently if the settings of the store cannot be used.
    pub(crate) fn object(&self, uri: ObjectUri, written: &str) -> Result<StoredObject> {
        let store = self
            .store(uri.provider)
            .map_err(|error| error.about(redact(&uri.to_string())))?;
        StoredObject::new(uri, written, store)
    }

    /// Opens the objects below a prefix for outputs. The calls of the storage run on `runtime`.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if the settings of the store cannot be used.
    pub fn output(&self, prefix: &ObjectPrefix, runtime: Handle) -> Result<ObjectStorage> {
        let store = bucket::open(&self.store(prefix.provider)?, &prefix.bucket, &self.0.data)?;
        let bucket = bucket_uri(prefix.provider, &prefix.bucket);
        ObjectStorage::new(store, bucket, &prefix.prefix, PART_BYTES, runtime)
    }

    /// Returns the bytes of a small object, or `None` if there is no such object. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// Fails permanently if the settings of the store cannot be used, or if the object has more than `bytes_max` bytes.
    /// Fails with stage commit if the object cannot be read.
    pub async fn read(&self, uri: &ObjectUri, bytes_max: u64) -> Result<Option<Bytes>> {
        let store = bucket::open(&self.store(uri.provider)?, &uri.bucket, &self.0.data)?;
        let bucket = bucket_uri(uri.provider, &uri.bucket);
        let client = Client::new(store, Handle::current(), bucket, PART_BYTES);
        let key = keys::stored(&uri.key);
        let reading = tokio::task::spawn_blocking(move || client.read(&key, bytes_max));
        reading.await.unwrap_or_else(|error| {
            let what = "the call to the store was interrupted";
            Err(Error::transient(Stage::Commit, Code::HostFailure, what).because(error))
        })
    }

    fn store(&self, provider: Provider) -> Result<Arc<Store>> {
        let mut opened = self.0.opened[provider as usize].lock();
        if let Some(store) = &*opened {
            return Ok(Arc::clone(store));
        }
        let store = Arc::new(sign::open(provider, &self.0.settings, &self.0.connector)?);
        *opened = Some(Arc::clone(&store));
        Ok(store)
    }
}

/// Returns the URI of a bucket, such as `s3://lake`.
fn bucket_uri(provider: Provider, bucket: &str) -> String {
    format!("{}://{bucket}", provider.scheme())
}

impl fmt::Debug for ObjectStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectStores").field(&self.0.settings).finish()
    }
}
