//! Defines the settings of object stores: which server to use, and where its credentials come from.

use std::fmt;
use std::path::PathBuf;

use super::credentials::unusable;
use crate::error::Result;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Returns the text.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The settings of all stores. An absent setting has the default of the store's own tools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreSettings {
    /// Amazon S3, or a server with its interface.
    pub s3: S3Settings,
    /// Google Cloud Storage.
    pub gcs: GcsSettings,
    /// Azure Blob Storage.
    pub azure: AzureSettings,
}

/// The settings of S3. The comments have the names of the AWS SDKs' variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Settings {
    /// `AWS_REGION`, `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    /// `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`: the URL of a server other than AWS.
    pub endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_STS`, `AWS_ENDPOINT_URL`: the server that gives the credentials of a role.
    pub sts_endpoint: Option<String>,
    /// Set if requests are not signed, for public buckets.
    pub is_anonymous: bool,
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: Option<String>,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Option<Secret>,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<Secret>,
    /// `AWS_PROFILE`; none for the profile `default`, if there is one.
    pub profile: Option<String>,
    /// `AWS_SHARED_CREDENTIALS_FILE`: `~/.aws/credentials`.
    pub credentials_file: Option<PathBuf>,
    /// `AWS_CONFIG_FILE`: `~/.aws/config`.
    pub config_file: Option<PathBuf>,
    /// `AWS_WEB_IDENTITY_TOKEN_FILE`.
    pub web_identity_token_file: Option<PathBuf>,
    /// `AWS_ROLE_ARN`, the role for the web identity.
    pub role_arn: Option<String>,
    /// `AWS_ROLE_SESSION_NAME`.
    pub role_session_name: Option<String>,
    /// `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`.
    pub container_relative_uri: Option<String>,
    /// `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    pub container_full_uri: Option<String>,
    /// `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`.
    pub container_token_file: Option<PathBuf>,
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub metadata_endpoint: Option<String>,
    /// `AWS_EC2_METADATA_DISABLED`.
    pub is_metadata_disabled: bool,
    /// True if URLs have the bucket in their path, false if in their host name. `None`: in the path if the endpoint is
    /// set, otherwise in the host name. A bucket whose name cannot be part of a host name is always in the path, and so
    /// is every bucket if the host of the endpoint is an IP address.
    pub is_path_style: Option<bool>,
    /// The key of KMS that encrypts outputs (SSE-KMS); none for the bucket's default.
    pub kms_key: Option<String>,
}

/// The settings of Google Cloud Storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcsSettings {
    /// `STORAGE_EMULATOR_HOST`: the URL of a server other than Google's.
    pub endpoint: Option<String>,
    /// Set if requests carry no credentials, for public buckets.
    pub is_anonymous: bool,
    /// `GOOGLE_APPLICATION_CREDENTIALS`, or the file of `gcloud auth application-default login`, if it exists.
    pub application_credentials: Option<PathBuf>,
}

/// The settings of Azure Blob Storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AzureSettings {
    /// `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT`.
    pub account: Option<String>,
    /// `AZURE_STORAGE_ENDPOINT`: the URL of the account's blobs, if it is not `https://ACCOUNT.blob.core.windows.net`.
    pub endpoint: Option<String>,
    /// Set if requests carry no credentials, for public containers.
    pub is_anonymous: bool,
    /// `AZURE_STORAGE_ACCOUNT_KEY`, `AZURE_STORAGE_KEY`.
    pub access_key: Option<Secret>,
    /// `AZURE_STORAGE_SAS_TOKEN`.
    pub sas_token: Option<Secret>,
    /// `AZURE_STORAGE_CONNECTION_STRING`, which has some of the settings above.
    pub connection_string: Option<Secret>,
    /// `AZURE_CLIENT_ID`.
    pub client_id: Option<String>,
    /// `AZURE_CLIENT_SECRET`.
    pub client_secret: Option<Secret>,
    /// `AZURE_TENANT_ID`.
    pub tenant_id: Option<String>,
    /// `AZURE_FEDERATED_TOKEN_FILE`.
    pub federated_token_file: Option<PathBuf>,
    /// `AZURE_AUTHORITY_HOST`.
    pub authority_host: Option<String>,
    /// `IDENTITY_ENDPOINT`: the server that gives the credentials of a managed identity.
    pub identity_endpoint: Option<String>,
}

impl AzureSettings {
    /// Returns these settings, completed from the connection string. Other settings take precedence.
    ///
    /// # Errors
    /// Fails permanently if the connection string is malformed. The error does not quote it.
    pub(super) fn with_connection_string(&self) -> Result<Self> {
        let mut settings = self.clone();
        let Some(text) = &self.connection_string else {
            return Ok(settings);
        };
        let (mut protocol, mut suffix) = ("https".to_owned(), "core.windows.net".to_owned());
        let mut endpoint = None;
        for member in text
            .reveal()
            .split(';')
            .map(str::trim)
            .filter(|member| !member.is_empty())
        {
            let malformed = || unusable("AZURE_STORAGE_CONNECTION_STRING: expected NAME=VALUE;NAME=VALUE");
            let (name, value) = member.split_once('=').ok_or_else(malformed)?;
            let value = value.trim().to_owned();
            match name.trim().to_ascii_lowercase().as_str() {
                "accountname" => settings.account = settings.account.or(Some(value)),
                "accountkey" => settings.access_key = settings.access_key.or(Some(value.into())),
                "sharedaccesssignature" => settings.sas_token = settings.sas_token.or(Some(value.into())),
                "blobendpoint" => endpoint = Some(value),
                "defaultendpointsprotocol" => protocol = value,
                "endpointsuffix" => suffix = value,
                "usedevelopmentstorage" => {
                    return Err(unusable(
                        "AZURE_STORAGE_CONNECTION_STRING: UseDevelopmentStorage is not supported: write AccountName, AccountKey \
                         and BlobEndpoint of the emulator",
                    ));
                }
                _ => {}
            }
        }
        let of_account = settings
            .account
            .as_ref()
            .map(|account| format!("{protocol}://{account}.blob.{suffix}"));
        settings.endpoint = settings.endpoint.or(endpoint).or(of_account);
        Ok(settings)
    }
}
