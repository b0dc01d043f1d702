//! Reaches object stores: settings and a URI such as `s3://bucket/key` go in. For an input, signed requests come out; for
//! an output, a storage.
//!
//! This folder alone names `object_store`, the library that signs requests, obtains credentials and uploads parts.
//! Inputs are fetched by the code that fetches from any HTTP server.

mod attempt;
mod aws_profile;
mod checkpoint;
mod client;
mod connect;
mod credentials;
mod decision;
mod keys;
mod output;
mod reaper;
mod refusal;
mod settings;
mod sign;
mod upload;

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;

pub(super) use self::checkpoint::ObjectPart;
pub use self::client::PartStore;
use self::connect::{Connector, CredentialsConnector};
pub use self::output::ObjectStorage;
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
    /// Fails permanently, with stage config, if the settings of the store cannot be used, or if the store is not S3.
    pub fn output(&self, prefix: &ObjectPrefix, runtime: Handle) -> Result<ObjectStorage> {
        let store = match prefix.provider {
            Provider::S3 => self
                .store(Provider::S3)?
                .s3_bucket(&prefix.bucket, &self.0.data)?,
            Provider::Gcs | Provider::Azure => {
                let what = format!(
                    "--output {}://{}: outputs go to folders and to s3: only",
                    prefix.provider.scheme(),
                    prefix.bucket
                );
                return Err(Error::permanent(Stage::Config, Code::OutputFolder, what));
            }
        };
        let bucket = format!("{}://{}", prefix.provider.scheme(), prefix.bucket);
        ObjectStorage::new(store, bucket, &prefix.prefix, PART_BYTES, runtime)
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

impl fmt::Debug for ObjectStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectStores").field(&self.0.settings).finish()
    }
}
