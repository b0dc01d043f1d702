//! Reads the settings of object stores from the variables that the stores' own tools use.

use std::path::PathBuf;

use super::environment::{Variable, variable};
use crate::error::{Code, Error, Result, Stage};
use crate::storage::object::{AzureSettings, GcsSettings, ObjectStores, S3Settings, Secret, StoreSettings};

/// Returns the stores that the environment describes. `.env` has no settings of stores.
///
/// # Errors
/// Fails permanently if a variable is not text, or is neither true nor false.
pub(super) fn object_stores() -> Result<ObjectStores> {
    Ok(ObjectStores::new(settings(&variable)?))
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

    #[test]
    fn a_switch_is_true_or_false() {
        let error = of(&[("AZURE_SKIP_SIGNATURE", "s3cret")]).expect_err("neither");
        assert_eq!(error.report(), "AZURE_SKIP_SIGNATURE is neither true nor false");
    }
}
