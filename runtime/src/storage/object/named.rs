//! Keeps the stores that the operator has named: a bucket goes in; the one store that lists it comes out.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::connect::CredentialsConnector;
use super::credentials::unusable;
use super::settings::StoreSettings;
use super::sign::{self, Store};
use crate::error::Result;
use crate::location::Provider;

/// The settings of a store with a name, `[stores.NAME]` in the config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSettings {
    /// The store's name.
    pub name: String,
    /// The kind of store.
    pub provider: Provider,
    /// The buckets that the store is used for.
    pub buckets: Vec<String>,
    /// The settings, of which only those of `provider` are used, or the reason why they cannot be used.
    pub settings: Result<StoreSettings, String>,
}

impl NamedSettings {
    /// Returns whether the store is used for a bucket.
    pub fn lists(&self, provider: Provider, bucket: &str) -> bool {
        self.provider == provider && self.buckets.iter().any(|listed| listed == bucket)
    }
}

/// A store with a name.
pub(super) struct NamedStore {
    pub(super) settings: NamedSettings,
    opened: Mutex<Option<Arc<Store>>>,
}

impl NamedStore {
    pub(super) fn new(settings: NamedSettings) -> Self {
        Self {
            settings,
            opened: Mutex::default(),
        }
    }

    /// Returns the store. Opens it if this is the first use.
    ///
    /// # Errors
    /// Fails permanently, with stage config and the store's name, if its settings cannot be used.
    pub(super) fn open(&self, connector: &CredentialsConnector) -> Result<Arc<Store>> {
        let mut opened = self.opened.lock();
        if let Some(store) = &*opened {
            return Ok(Arc::clone(store));
        }
        let settings = self.settings.settings.as_ref().map_err(unusable)?;
        let store = sign::open(self.settings.provider, settings, connector)
            .map_err(|error| error.about(self.place()))?;
        let store = Arc::new(store);
        *opened = Some(Arc::clone(&store));
        Ok(store)
    }

    pub(super) fn place(&self) -> SettingsPlace {
        SettingsPlace::Table(self.settings.name.as_str().into())
    }
}

/// The place of a store's settings, for messages.
#[derive(Debug, Clone)]
pub(super) enum SettingsPlace {
    Environment,
    /// The table of the config file for the store with this name.
    Table(Arc<str>),
}

impl SettingsPlace {
    /// Returns what to do if no credentials can be obtained.
    pub(super) fn hint(&self, in_environment: &str) -> String {
        match self {
            Self::Environment => in_environment.to_owned(),
            Self::Table(_) => format!("check the credentials of {self}"),
        }
    }

    /// Returns what to do if the region is wrong.
    pub(super) fn region_hint(&self, region: Option<&str>) -> String {
        match (self, region) {
            (Self::Environment, Some(region)) => format!("set AWS_REGION={region}"),
            (Self::Environment, None) => "set AWS_REGION to it".to_owned(),
            (Self::Table(_), Some(region)) => format!("set region = \"{region}\" in {self}"),
            (Self::Table(_), None) => format!("set `region` in {self} to it"),
        }
    }

    /// Returns what to check if the store does not accept the credentials.
    pub(super) fn to_check(&self, provider: Provider) -> String {
        let in_environment = match provider {
            Provider::S3 => "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile",
            Provider::Gcs => "GOOGLE_APPLICATION_CREDENTIALS",
            Provider::Azure => "AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_CLIENT_SECRET",
        };
        match self {
            Self::Environment => in_environment.to_owned(),
            Self::Table(_) => format!("those of {self}"),
        }
    }
}

impl fmt::Display for SettingsPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("the environment"),
            Self::Table(name) => write!(f, "[stores.{name}]"),
        }
    }
}
