//! Reaches object stores: settings and a URI such as `s3://bucket/key` go in. For an input, signed requests come out; for
//! an output, a storage; for a prefix, its objects.
//!
//! This folder alone names `object_store`, the library that signs requests, obtains credentials and uploads parts.
//! Inputs are fetched by the code that fetches from any HTTP server.

mod attempt;
mod aws_profile;
mod azure;
mod bucket;
mod buckets;
mod calls;
mod checkpoint;
mod client;
mod connect;
mod credentials;
mod decision;
mod gcs;
mod keys;
mod list;
mod list_page;
mod named;
mod object_reader;
mod output;
mod part_buffer;
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
use tokio::runtime::{Builder, Handle, Runtime};

pub(super) use self::checkpoint::ObjectPart;
use self::client::Client;
use self::connect::{Connector, CredentialsConnector};
pub use self::list::{FoundObject, ListedPrefix, ObjectList};
pub use self::named::NamedSettings;
use self::named::{NamedStore, SettingsPlace};
pub use self::output::ObjectStorage;
pub use self::parts::PartStore;
pub(crate) use self::refusal::ERROR_BYTES_MAX;
pub use self::settings::{AzureSettings, GcsSettings, S3Settings, Secret, StoreSettings};
use self::sign::Store;
pub(crate) use self::sign::StoredObject;
pub use self::upload::PART_BYTES;
use crate::error::{Code, Error, Result, Stage};
use crate::location::{ObjectPrefix, ObjectUri, Provider, redact};

/// The stores that may be used: those with names, each for the buckets that it lists, and one store of each kind with
/// the settings of the environment, for the other buckets. Clones share credentials.
#[derive(Clone, Default)]
pub struct ObjectStores {
    environment: Arc<Stores>,
    named: Arc<[NamedStore]>,
    /// The names of the stores that may be used; none for all of them and for those of the environment.
    allowed: Option<Arc<[String]>>,
}

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
        Self {
            environment: Arc::new(Stores {
                settings,
                ..Stores::default()
            }),
            ..Self::default()
        }
    }

    /// Returns the same stores of the environment, with these named ones. They share nothing with earlier named stores,
    /// because a file that their settings name can have changed.
    #[must_use]
    pub fn with_named(&self, named: Vec<NamedSettings>) -> Self {
        Self {
            environment: Arc::clone(&self.environment),
            named: named.into_iter().map(NamedStore::new).collect(),
            allowed: None,
        }
    }

    /// Returns only the named stores with these names, and not those of the environment. Without names, returns all
    /// stores.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if two of the stores list one bucket.
    pub fn allowing_only(&self, names: Option<&[String]>) -> Result<Self> {
        let stores = Self {
            allowed: names.map(Arc::from),
            ..self.clone()
        };
        for (at, store) in stores.usable().enumerate() {
            let NamedSettings {
                provider, buckets, ..
            } = &store.settings;
            for bucket in buckets {
                let lists = |other: &&NamedStore| other.settings.lists(*provider, bucket);
                if let Some(other) = stores.usable().skip(at + 1).find(lists) {
                    return Err(listed_twice(store, other, *provider, bucket));
                }
            }
        }
        Ok(stores)
    }

    /// Checks the settings of all named stores. Does not obtain credentials.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if the settings of one cannot be used.
    pub fn check_named(&self) -> Result<()> {
        let connector = &self.environment.connector;
        self.named
            .iter()
            .try_for_each(|store| store.open(connector).map(drop))
    }

    /// Checks the settings of a bucket's store. Does not obtain credentials.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if no store may be used for the bucket, or its settings cannot be used.
    pub fn check(&self, provider: Provider, bucket: &str) -> Result<()> {
        self.store(provider, bucket).map(drop)
    }

    /// Returns the name of the store for a bucket, or `None` if it is that of the environment.
    pub fn name_of(&self, provider: Provider, bucket: &str) -> Option<&str> {
        let mut usable = self.usable();
        let store = usable.find(|store| store.settings.lists(provider, bucket))?;
        Some(&store.settings.name)
    }

    /// Returns an object of its store; `written` is its URI as somebody wrote it.
    ///
    /// # Errors
    /// Fails permanently if the settings of the store cannot be used.
    pub(crate) fn object(&self, uri: ObjectUri, written: &str) -> Result<StoredObject> {
        let (store, place) = self
            .store(uri.provider, &uri.bucket)
            .map_err(|error| error.about(redact(&uri.to_string())))?;
        StoredObject::new(uri, written, store, place)
    }

    /// Opens the objects below a prefix for outputs, and those below `rejects` for their rejects. By default, the
    /// rejects are below the prefix, too. Each bucket is reached through its own store.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if the settings of a store cannot be used, or if one of the prefixes is
    /// within the other.
    pub fn output(&self, prefix: &ObjectPrefix, rejects: Option<&ObjectPrefix>) -> Result<ObjectStorage> {
        let open = |prefix: &ObjectPrefix| {
            let (store, place) = self.store(prefix.provider, &prefix.bucket)?;
            let store = bucket::open(&store, &place, &prefix.bucket, &self.environment.data)?;
            Ok::<_, Error>((store, bucket_uri(prefix.provider, &prefix.bucket), place))
        };
        let (store, bucket, place) = open(prefix)?;
        let storage = ObjectStorage::new(store, bucket, &prefix.prefix, PART_BYTES, calls_runtime()?)?;
        let storage = storage.with_place(&place);
        let Some(rejects) = rejects else {
            return Ok(storage);
        };
        if prefix.overlaps(rejects) {
            let what = format!(
                "--rejects {}: is not beside the output {}, and programs read everything that is below an output: name a prefix \
                 that is not within the output and does not contain it, or leave --rejects out",
                redact(&rejects.to_string()),
                redact(&prefix.to_string())
            );
            return Err(Error::permanent(Stage::Config, Code::OutputFolder, what));
        }
        let about_rejects = |error: Error| error.about("--rejects");
        let (store, bucket, place) = open(rejects).map_err(about_rejects)?;
        let storage = storage.with_rejects(store, bucket, &rejects.prefix);
        Ok(storage.map_err(about_rejects)?.with_rejects_place(place))
    }

    /// Returns the bytes of a small object, or `None` if there is no such object. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// Fails permanently if the settings of the store cannot be used, or if the object has more than `bytes_max` bytes.
    /// Fails with stage commit if the object cannot be read.
    pub async fn read(&self, uri: &ObjectUri, bytes_max: u64) -> Result<Option<Bytes>> {
        let (store, place) = self.store(uri.provider, &uri.bucket)?;
        let store = bucket::open(&store, &place, &uri.bucket, &self.environment.data)?;
        let bucket = bucket_uri(uri.provider, &uri.bucket);
        let client = Client::new(store, calls_runtime()?, bucket, PART_BYTES).with_place(place);
        let key = keys::stored(&uri.key);
        let reading = tokio::task::spawn_blocking(move || client.read(&key, bytes_max));
        reading.await.unwrap_or_else(|error| {
            let what = "the call to the store was interrupted";
            Err(Error::transient(Stage::Commit, Code::HostFailure, what).because(error))
        })
    }

    /// Returns the store for a bucket: the named one that lists it, or else that of the environment.
    fn store(&self, provider: Provider, bucket: &str) -> Result<(Arc<Store>, SettingsPlace)> {
        let lists = |store: &&NamedStore| store.settings.lists(provider, bucket);
        let mut usable = self.usable().filter(lists);
        let refused = |why: String| {
            let what = format!("{}://{bucket}: {why}", provider.scheme());
            Err(Error::permanent(Stage::Config, Code::BucketRefused, what))
        };
        match (usable.next(), usable.next()) {
            (Some(store), None) => {
                let opened = store.open(&self.environment.connector)?;
                return Ok((opened, store.place()));
            }
            (Some(store), Some(other)) => return Err(listed_twice(store, other, provider, bucket)),
            (None, _) => {}
        }
        match (self.named.iter().find(lists), &self.allowed) {
            (Some(store), _) => refused(format!(
                "the store {} lists this bucket, and `stores` of the queue does not name it",
                store.settings.name
            )),
            (None, Some(_)) => refused(
                "no store in `stores` of the queue lists this bucket: add it to the `buckets` of one of them"
                    .into(),
            ),
            (None, None) => Ok((self.environment.store(provider)?, SettingsPlace::Environment)),
        }
    }

    /// Returns the named stores that may be used.
    fn usable(&self) -> impl Iterator<Item = &NamedStore> {
        self.named.iter().filter(|store| {
            let names = self.allowed.as_deref();
            names.is_none_or(|names| names.contains(&store.settings.name))
        })
    }
}

fn listed_twice(store: &NamedStore, other: &NamedStore, provider: Provider, bucket: &str) -> Error {
    let what = format!(
        "the stores {} and {} both list the bucket {}://{bucket}: let one of them list it, or name the stores that a queue may use \
         in its table, as in stores = [\"{}\"]",
        store.settings.name,
        other.settings.name,
        provider.scheme(),
        store.settings.name
    );
    Error::permanent(Stage::Config, Code::SettingsInvalid, what)
}

impl Stores {
    fn store(&self, provider: Provider) -> Result<Arc<Store>> {
        let mut opened = self.opened[provider as usize].lock();
        if let Some(store) = &*opened {
            return Ok(Arc::clone(store));
        }
        let store = Arc::new(sign::open(provider, &self.settings, &self.connector)?);
        *opened = Some(Arc::clone(&store));
        Ok(store)
    }
}

/// Returns the runtime on which the calls about outputs run. It never ends: a thread can still wait for a call while the
/// program's own runtime ends, and a call on a runtime that has ended panics.
fn calls_runtime() -> Result<Handle> {
    static CALLS: Mutex<Option<Runtime>> = Mutex::new(None);

    let mut calls = CALLS.lock();
    if let Some(runtime) = &*calls {
        return Ok(runtime.handle().clone());
    }
    let mut builder = Builder::new_multi_thread();
    let built = builder
        .worker_threads(1)
        .thread_name("store-calls")
        .enable_all()
        .build();
    let runtime = built.map_err(|error| {
        let what = "cannot start the async runtime for the calls to the store";
        Error::transient(Stage::Commit, Code::HostFailure, what).because(error)
    })?;
    Ok(calls.insert(runtime).handle().clone())
}

/// Returns the URI of a bucket, such as `s3://lake`.
fn bucket_uri(provider: Provider, bucket: &str) -> String {
    format!("{}://{bucket}", provider.scheme())
}

impl fmt::Debug for ObjectStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectStores")
            .field("environment", &self.environment.settings)
            .field(
                "named",
                &Vec::from_iter(self.named.iter().map(|store| &store.settings)),
            )
            .field("allowed", &self.allowed)
            .finish()
    }
}
