//! Reads the settings of object stores: those of the environment from the variables that the stores' own tools use, and
//! those of stores with names from the config file.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config_file::{ConfigFile, FILE, StoreTable, VARIABLE};
use super::environment::{Variable, variable};
use super::settings::{Origin, Resolution};
use crate::document::read_named_text;
use crate::error::{Code, Error, Result, Stage};
use crate::location::Provider;
use crate::storage::object::{
    AzureSettings, GcsSettings, NamedSettings, ObjectStores, S3Settings, Secret, StoreSettings,
};

/// The maximum size of a file with a secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Returns the stores that the environment describes. `.env` has no settings of stores.
///
/// # Errors
/// Fails permanently if a variable is not text, or is neither true nor false.
pub(super) fn object_stores() -> Result<ObjectStores> {
    Ok(ObjectStores::new(settings(&variable)?))
}

/// Returns `stores` with those of a config file. A store that cannot be used, for example because a variable is not
/// set, fails when it is used.
///
/// # Errors
/// Fails as [`object_stores`] does.
pub(super) fn with_file(stores: &ObjectStores, file: Option<&ConfigFile>) -> Result<ObjectStores> {
    let environment = settings(&variable)?;
    let named = file.iter().flat_map(|file| {
        let stores = file.stores.iter();
        stores.map(|(name, table)| named_store(file, name, table, &environment, &variable))
    });
    Ok(stores.with_named(named.collect()))
}

/// Returns the settings of a store for people, with their origins. No secret is among them.
///
/// # Errors
/// Fails as [`object_stores`] does.
pub(super) fn resolutions(file: &ConfigFile, table: &StoreTable) -> Result<Vec<Resolution>> {
    let resolution = |name: &str, value: Value, origin| Resolution {
        name: name.to_owned(),
        value,
        origin,
        is_of_queue: false,
    };
    let mut shown = Vec::new();
    for (key, setting) in table.in_order() {
        let value = match (key, table.text(key)) {
            ("buckets", _) => setting.values.clone().into(),
            (_, Some("true")) => true.into(),
            (_, Some("false")) => false.into(),
            (_, text) => text.into(),
        };
        shown.push(resolution(key, value, file.origin(setting)));
    }
    if table.provider == Provider::S3 && table.text("region").is_none() {
        let names = ["AWS_REGION", "AWS_DEFAULT_REGION"];
        let mut found = None;
        for name in names {
            found = found.or(variable(name)?.map(|value| (value, Origin::Named(name.to_owned()))));
        }
        shown.push(match found {
            Some((value, origin)) => resolution("region", value.into(), origin),
            None => resolution("region", Value::Null, Origin::Default),
        });
    }
    if !table.has_credentials() {
        let origin = Origin::Named("environment".to_owned());
        shown.push(resolution(
            "credentials",
            "those of the environment".into(),
            origin,
        ));
    }
    Ok(shown)
}

/// Returns the stores that requests of a queue may use.
///
/// # Errors
/// Fails as [`object_stores`] does, and if two of the stores list one bucket.
pub(super) fn of_queue(queue: &str, file: Option<&ConfigFile>) -> Result<ObjectStores> {
    let table = file.and_then(|file| file.queues.get(queue));
    let names = table.and_then(|table| table.stores.as_ref());
    with_file(&object_stores()?, file)?.allowing_only(names.map(|names| &*names.values))
}

fn settings(variable: Variable<'_>) -> Result<StoreSettings> {
    let first = |names: &[&str]| -> Result<Option<String>> {
        names
            .iter()
            .map(|name| variable(name))
            .find(|value| !matches!(value, Ok(None)))
            .unwrap_or(Ok(None))
    };
    let secret = |names: &[&str]| Ok::<_, Error>(first(names)?.map(Secret::from));
    let path = |name: &str| Ok::<_, Error>(variable(name)?.map(PathBuf::from));
    let is_set = |name: &str| -> Result<bool> {
        match variable(name)?.map(|value| value.to_ascii_lowercase()).as_deref() {
            None | Some("false" | "0" | "no" | "off") => Ok(false),
            Some("true" | "1" | "yes" | "on") => Ok(true),
            Some(_) => {
                let what = format!("{name} is neither true nor false");
                Err(Error::permanent(Stage::Config, Code::SettingsInvalid, what))
            }
        }
    };
    let home = path("HOME")?;
    let below_home = |file: &str| home.as_ref().map(|home| home.join(file));
    let s3 = S3Settings {
        region: first(&["AWS_REGION", "AWS_DEFAULT_REGION"])?,
        endpoint: first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])?,
        sts_endpoint: first(&["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"])?,
        is_anonymous: is_set("AWS_SKIP_SIGNATURE")?,
        access_key_id: variable("AWS_ACCESS_KEY_ID")?,
        secret_access_key: secret(&["AWS_SECRET_ACCESS_KEY"])?,
        session_token: secret(&["AWS_SESSION_TOKEN"])?,
        profile: first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])?,
        credentials_file: path("AWS_SHARED_CREDENTIALS_FILE")?.or(below_home(".aws/credentials")),
        config_file: path("AWS_CONFIG_FILE")?.or(below_home(".aws/config")),
        web_identity_token_file: path("AWS_WEB_IDENTITY_TOKEN_FILE")?,
        role_arn: variable("AWS_ROLE_ARN")?,
        role_session_name: variable("AWS_ROLE_SESSION_NAME")?,
        container_relative_uri: variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")?,
        container_full_uri: variable("AWS_CONTAINER_CREDENTIALS_FULL_URI")?,
        container_token_file: path("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")?,
        metadata_endpoint: variable("AWS_EC2_METADATA_SERVICE_ENDPOINT")?,
        is_metadata_disabled: is_set("AWS_EC2_METADATA_DISABLED")?,
        is_path_style: None,
        kms_key: None,
    };
    let gcloud = path("CLOUDSDK_CONFIG")?.or(below_home(".config/gcloud"));
    let login = gcloud.map(|folder| folder.join("application_default_credentials.json"));
    let gcs = GcsSettings {
        endpoint: variable("STORAGE_EMULATOR_HOST")?.map(with_scheme),
        is_anonymous: is_set("GOOGLE_SKIP_SIGNATURE")?,
        application_credentials: match path("GOOGLE_APPLICATION_CREDENTIALS")? {
            Some(path) => Some(path),
            // An emulator must not get a real login.
            None if variable("STORAGE_EMULATOR_HOST")?.is_some() => None,
            None => login.filter(|path| path.exists()),
        },
    };
    let azure = AzureSettings {
        account: first(&["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"])?,
        endpoint: first(&["AZURE_STORAGE_ENDPOINT", "AZURE_STORAGE_BLOB_ENDPOINT"])?,
        is_anonymous: is_set("AZURE_SKIP_SIGNATURE")?,
        access_key: secret(&[
            "AZURE_STORAGE_ACCOUNT_KEY",
            "AZURE_STORAGE_ACCESS_KEY",
            "AZURE_STORAGE_KEY",
        ])?,
        sas_token: secret(&["AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"])?,
        connection_string: secret(&["AZURE_STORAGE_CONNECTION_STRING"])?,
        client_id: first(&["AZURE_CLIENT_ID", "AZURE_STORAGE_CLIENT_ID"])?,
        client_secret: secret(&["AZURE_CLIENT_SECRET", "AZURE_STORAGE_CLIENT_SECRET"])?,
        tenant_id: first(&["AZURE_TENANT_ID", "AZURE_STORAGE_TENANT_ID"])?,
        federated_token_file: path("AZURE_FEDERATED_TOKEN_FILE")?,
        authority_host: variable("AZURE_AUTHORITY_HOST")?,
        identity_endpoint: first(&["IDENTITY_ENDPOINT", "MSI_ENDPOINT"])?,
    };
    Ok(StoreSettings { s3, gcs, azure })
}

fn named_store(
    file: &ConfigFile,
    name: &str,
    table: &StoreTable,
    environment: &StoreSettings,
    variable: Variable<'_>,
) -> NamedSettings {
    let resolver = Resolver {
        file,
        table,
        variable,
    };
    let settings = match table.provider {
        Provider::S3 => resolver.s3(&environment.s3).map(|s3| StoreSettings {
            s3,
            ..StoreSettings::default()
        }),
        Provider::Gcs => Ok(StoreSettings {
            gcs: resolver.gcs(&environment.gcs),
            ..StoreSettings::default()
        }),
        Provider::Azure => resolver.azure(&environment.azure).map(|azure| StoreSettings {
            azure,
            ..StoreSettings::default()
        }),
    };
    NamedSettings {
        name: name.to_owned(),
        provider: table.provider,
        buckets: table.buckets().to_vec(),
        settings,
    }
}

/// Makes the settings of a store from its table. If the table has no credentials, the store uses those of the
/// environment. The servers that give credentials are always those of the environment.
struct Resolver<'a> {
    file: &'a ConfigFile,
    table: &'a StoreTable,
    variable: Variable<'a>,
}

impl Resolver<'_> {
    fn s3(&self, environment: &S3Settings) -> Result<S3Settings, String> {
        let credentials = match self.table.has_credentials() {
            false => environment.clone(),
            true => S3Settings {
                is_anonymous: self.is_true("unsigned"),
                access_key_id: self.secret("access-key-id")?,
                secret_access_key: self.secret("secret-access-key")?.map(Secret::from),
                session_token: self.secret("session-token")?.map(Secret::from),
                web_identity_token_file: self.path("web-identity-token-file"),
                role_arn: self.text("role-arn"),
                sts_endpoint: environment.sts_endpoint.clone(),
                metadata_endpoint: environment.metadata_endpoint.clone(),
                // Credentials that are missing must not be replaced by those of the machine.
                is_metadata_disabled: self.text("profile").is_none() || environment.is_metadata_disabled,
                ..self.profile(environment)
            },
        };
        Ok(S3Settings {
            region: self.text("region").or_else(|| environment.region.clone()),
            endpoint: self.text("endpoint"),
            is_path_style: self.text("path-style").map(|value| value == "true"),
            kms_key: self.text("kms-key"),
            ..credentials
        })
    }

    fn profile(&self, environment: &S3Settings) -> S3Settings {
        let (profile, file) = (self.text("profile"), self.path("credentials-file"));
        match (&profile, file) {
            (None, None) => S3Settings::default(),
            (_, Some(file)) => S3Settings {
                profile,
                credentials_file: Some(file),
                ..S3Settings::default()
            },
            (Some(_), None) => S3Settings {
                profile,
                credentials_file: environment.credentials_file.clone(),
                config_file: environment.config_file.clone(),
                ..S3Settings::default()
            },
        }
    }

    fn gcs(&self, environment: &GcsSettings) -> GcsSettings {
        let endpoint = self.text("endpoint");
        let own = self.path("credentials-file");
        let is_anonymous = match self.table.has_credentials() {
            true => self.is_true("unsigned"),
            false => environment.is_anonymous,
        };
        GcsSettings {
            // Another server than Google's must not get the login of the environment.
            application_credentials: match (&own, &endpoint) {
                (None, None) if !is_anonymous => environment.application_credentials.clone(),
                _ => own,
            },
            is_anonymous,
            endpoint,
        }
    }

    fn azure(&self, environment: &AzureSettings) -> Result<AzureSettings, String> {
        let identity = match self.table.has_credentials() {
            false => environment.clone(),
            true => AzureSettings {
                is_anonymous: self.is_true("unsigned"),
                client_id: self.text("client-id"),
                client_secret: self.secret("client-secret")?.map(Secret::from),
                tenant_id: self.text("tenant-id"),
                federated_token_file: self.path("federated-token-file"),
                authority_host: environment.authority_host.clone(),
                identity_endpoint: environment.identity_endpoint.clone(),
                ..AzureSettings::default()
            },
        };
        Ok(AzureSettings {
            account: self.text("account"),
            endpoint: self.text("endpoint"),
            // A key or a SAS token of the environment is for another account.
            access_key: self.secret("account-key")?.map(Secret::from),
            sas_token: self.secret("sas-token")?.map(Secret::from),
            connection_string: None,
            ..identity
        })
    }

    fn text(&self, key: &str) -> Option<String> {
        self.table.text(key).map(str::to_owned)
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    fn is_true(&self, key: &str) -> bool {
        self.table.text(key) == Some("true")
    }

    /// Returns a secret from the variable or the file that the table names. The error quotes neither, because either
    /// could be the secret itself.
    fn secret(&self, name: &str) -> Result<Option<String>, String> {
        let key = |end| format!("{name}{end}");
        let refused = |key: &str, why: &str| {
            let at = self.table.settings[key].at;
            format!("{}:{at}: `{key}`: {why}", self.file.name)
        };
        let (of_variable, of_file) = (key(VARIABLE), key(FILE));
        if let Some(variable) = self.table.text(&of_variable) {
            return match (self.variable)(variable) {
                Ok(Some(secret)) => Ok(Some(secret)),
                Ok(None) => Err(refused(&of_variable, "this variable is not set, or is empty")),
                Err(_) => Err(refused(&of_variable, "this variable is not text")),
            };
        }
        let Some(path) = self.table.text(&of_file) else {
            return Ok(None);
        };
        let text = read_named_text(Path::new(path), SECRET_BYTES_MAX)
            .map_err(|error| refused(&of_file, &format!("this file cannot be read: {}", error.kind())))?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(refused(&of_file, "this file is empty")),
            secret => Ok(Some(secret.to_owned())),
        }
    }
}

/// Returns the URL of an emulator, which Google's libraries also take without a scheme.
fn with_scheme(host: String) -> String {
    match host.contains("://") {
        true => host,
        false => format!("http://{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<StoreSettings> {
        settings(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            Ok(found.map(|(_, value)| (*value).to_owned()))
        })
    }

    #[test]
    fn the_more_specific_variable_counts() {
        let settings = of(&[
            ("AWS_ENDPOINT_URL", "http://all"),
            ("AWS_ENDPOINT_URL_S3", "http://s3"),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
            ("HOME", "/home/me"),
            ("AWS_CONFIG_FILE", "/c"),
            ("AWS_SKIP_SIGNATURE", "TRUE"),
            ("STORAGE_EMULATOR_HOST", "localhost:4443"),
            ("AZURE_STORAGE_KEY", "s3cret"),
        ])
        .unwrap();
        assert_eq!(settings.s3.endpoint.as_deref(), Some("http://s3"));
        assert_eq!(settings.s3.sts_endpoint.as_deref(), Some("http://all"));
        assert_eq!(settings.s3.region.as_deref(), Some("eu-west-1"));
        assert_eq!(
            settings.s3.credentials_file,
            Some("/home/me/.aws/credentials".into())
        );
        assert_eq!(settings.s3.config_file, Some("/c".into()));
        assert!(settings.s3.is_anonymous && !settings.azure.is_anonymous);
        assert_eq!(settings.gcs.endpoint.as_deref(), Some("http://localhost:4443"));
        assert!(settings.azure.access_key.is_some() && !format!("{settings:?}").contains("s3cret"));
    }

    /// Returns the settings of a store from its table, with these variables.
    fn of_table(table: &str, variables: &[(&str, &str)]) -> Result<StoreSettings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.toml");
        std::fs::write(&path, format!("[stores.s]\nbuckets = ['b']\n{table}\n")).unwrap();
        let file = crate::cli::settings::load(&path).expect("a valid file");
        let environment = of(variables).unwrap();
        let lookup = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            Ok(found.map(|(_, value)| (*value).to_owned()))
        };
        named_store(&file, "s", &file.stores["s"], &environment, &lookup).settings
    }

    #[test]
    fn a_store_has_its_own_credentials_or_those_of_the_environment() {
        let variables = [
            ("AWS_ENDPOINT_URL", "http://all"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "of-environment"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("AWS_SESSION_TOKEN", "x"),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x"),
            ("HOME", "/home/me"),
            ("ID", "of-store"),
            ("SECRET", "y"),
        ];
        let without = of_table("kind = 's3'", &variables).unwrap().s3;
        assert_eq!(without.access_key_id.as_deref(), Some("of-environment"));
        assert_eq!(
            (without.endpoint, without.region.as_deref()),
            (None, Some("eu-west-1"))
        );
        let keys = "kind = 's3'\naccess-key-id-variable = 'ID'\nsecret-access-key-variable = 'SECRET'";
        let own = of_table(keys, &variables).unwrap().s3;
        assert_eq!(own.access_key_id.as_deref(), Some("of-store"));
        assert!(own.session_token.is_none() && own.container_relative_uri.is_none());
        assert!(own.credentials_file.is_none() && own.is_metadata_disabled);
        let unsigned = of_table("kind = 's3'\nunsigned = true", &variables).unwrap().s3;
        assert!(unsigned.is_anonymous && unsigned.access_key_id.is_none());
        let profile = of_table("kind = 's3'\nprofile = 'p'", &variables).unwrap().s3;
        assert_eq!(profile.credentials_file, Some("/home/me/.aws/credentials".into()));
        assert!(profile.access_key_id.is_none());
    }

    #[test]
    fn no_other_server_or_account_gets_credentials_of_the_environment() {
        let variables = [
            ("GOOGLE_APPLICATION_CREDENTIALS", "/login.json"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "other"),
            ("AZURE_STORAGE_ENDPOINT", "https://other.example"),
            ("AZURE_STORAGE_KEY", "x"),
            ("AZURE_STORAGE_SAS_TOKEN", "x"),
            ("AZURE_STORAGE_CONNECTION_STRING", "AccountKey=x"),
            ("AZURE_CLIENT_ID", "identity"),
        ];
        let gcs = of_table("kind = 'gs'", &variables).unwrap().gcs;
        assert_eq!(gcs.application_credentials, Some("/login.json".into()));
        let gcs = of_table("kind = 'gs'\nendpoint = 'http://h'", &variables)
            .unwrap()
            .gcs;
        assert_eq!(gcs.application_credentials, None);
        let azure = of_table("kind = 'az'\naccount = 'acc'", &variables)
            .unwrap()
            .azure;
        assert_eq!((azure.account.as_deref(), azure.endpoint), (Some("acc"), None));
        assert_eq!(azure.client_id.as_deref(), Some("identity"));
        assert!(azure.access_key.is_none() && azure.sas_token.is_none() && azure.connection_string.is_none());
    }

    #[test]
    fn a_switch_is_true_or_false() {
        let error = of(&[("AZURE_SKIP_SIGNATURE", "s3cret")]).expect_err("neither");
        assert_eq!(error.report(), "AZURE_SKIP_SIGNATURE is neither true nor false");
    }
}
