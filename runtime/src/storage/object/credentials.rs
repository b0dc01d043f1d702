//! Finds the credentials of stores: settings go in; a provider, which obtains credentials once and keeps them until
//! they expire, comes out.

use std::fmt::{Debug, Display};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use object_store::CredentialProvider;
use object_store::aws::{
    AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredential, AwsCredentialProvider,
};
use object_store::azure::{AzureConfigKey, AzureCredentialProvider, MicrosoftAzureBuilder};
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody, StaticCredentialProvider};
use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorageBuilder};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use super::aws_profile::{Profile, ProfileSource, Role};
use super::connect::{CredentialsConnector, retries};
use super::settings::{AzureSettings, GcsSettings, S3Settings, Secret};
use crate::document::read_named_text;
use crate::error::{Code, Error, Result, Stage};
use crate::location::redact_within;

/// A name that the library needs and never uses: its builders make credentials together with a bucket.
const NO_BUCKET: &str = "none";

/// Credentials are renewed when they expire within this time.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// The name of a role's session, which AWS shows in its logs.
const SESSION_NAME: &str = "ingest-host";

/// The maximum size of Google's credentials file, in bytes.
const GOOGLE_FILE_BYTES_MAX: u64 = 1 << 20;

/// The maximum size of an answer of AWS's token service, in bytes.
const STS_BYTES_MAX: usize = 1 << 20;

/// Returns an error of settings.
pub(super) fn unusable(what: impl Into<String>) -> Error {
    Error::permanent(Stage::Config, Code::SettingsInvalid, what)
}

/// Returns the error for credentials that could not be obtained. The reason may quote a URL or an answer, so it is
/// redacted.
pub(super) fn not_obtained(store: &str, error: impl Display, hint: &str) -> Error {
    let what = format!("no credentials for {store} could be obtained; {hint}");
    // Redaction hides the text after `code:`.
    let text = error.to_string().replace("status code: ", "status ");
    Error::transient(Stage::Fetch, Code::CredentialsFailed, what).because(redact_within(&text))
}

pub(super) const S3_HINT: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_SKIP_SIGNATURE=true reads \
                                  public buckets without credentials";
pub(super) const GCS_HINT: &str = "set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`; \
                                   GOOGLE_SKIP_SIGNATURE=true reads public buckets without credentials";
pub(super) const AZURE_HINT: &str = "set AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, or AZURE_TENANT_ID, AZURE_CLIENT_ID and \
                                     AZURE_CLIENT_SECRET; AZURE_SKIP_SIGNATURE=true reads public containers without credentials";

/// Obtains credentials.
///
/// # Errors
/// Fails as [`not_obtained`] says.
pub(super) async fn obtain<C>(
    provider: &dyn CredentialProvider<Credential = C>,
    store: &str,
    hint: &str,
) -> Result<Arc<C>> {
    provider.get_credential().await.map_err(|error| match error {
        // The library's own words before the source say nothing more.
        object_store::Error::Generic { source, .. } => not_obtained(store, source, hint),
        error => not_obtained(store, error, hint),
    })
}

/// A provider for the library, whose errors are those of [`obtain`].
#[derive(Debug)]
pub(super) struct ExplainedProvider<C> {
    pub(super) provider: Arc<dyn CredentialProvider<Credential = C>>,
    pub(super) store: &'static str,
    /// Says what to do if no credentials can be obtained.
    pub(super) hint: String,
}

#[async_trait]
impl<C: Debug + Send + Sync> CredentialProvider for ExplainedProvider<C> {
    type Credential = C;

    async fn get_credential(&self) -> object_store::Result<Arc<C>> {
        let obtained = obtain(&*self.provider, self.store, &self.hint).await;
        obtained.map_err(|error| object_store::Error::Generic {
            store: self.store,
            source: error.into(),
        })
    }
}

/// Returns the provider for S3.
///
/// # Errors
/// Fails permanently if the settings contradict each other.
pub(super) fn of_s3(
    settings: &S3Settings,
    profile: Profile,
    region: &str,
    connector: &CredentialsConnector,
) -> Result<AwsCredentialProvider> {
    let finder = AwsFinder {
        settings,
        region,
        connector,
    };
    if let Some(keys) = finder.environment()? {
        return Ok(keys);
    }
    if let Some(source) = profile.source? {
        return finder.of_profile(source);
    }
    if let Some(file) = &settings.web_identity_token_file {
        let Some(arn) = &settings.role_arn else {
            return Err(unusable(
                "AWS_WEB_IDENTITY_TOKEN_FILE is set, and no AWS_ROLE_ARN: set both",
            ));
        };
        return finder.web_identity(
            &file.to_string_lossy(),
            arn,
            settings.role_session_name.as_deref(),
        );
    }
    if let Some(container) = finder.container()? {
        return Ok(container);
    }
    finder.instance()
}

/// Makes providers for AWS.
struct AwsFinder<'a> {
    settings: &'a S3Settings,
    region: &'a str,
    connector: &'a CredentialsConnector,
}

impl AwsFinder<'_> {
    fn builder(&self) -> AmazonS3Builder {
        AmazonS3Builder::new()
            .with_bucket_name(NO_BUCKET)
            .with_region(self.region)
            .with_retry(retries())
            .with_http_connector(self.connector.clone())
    }

    fn built(&self, builder: AmazonS3Builder) -> Result<AwsCredentialProvider> {
        let store = builder
            .build()
            .map_err(|error| unusable("the settings of S3").because(error))?;
        Ok(Arc::clone(store.credentials()))
    }

    fn environment(&self) -> Result<Option<AwsCredentialProvider>> {
        let settings = self.settings;
        match (&settings.access_key_id, &settings.secret_access_key) {
            (Some(id), Some(secret)) => keys(id, secret, settings.session_token.as_ref()).map(Some),
            (None, None) => Ok(None),
            _ => Err(unusable(
                "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set: set both or none",
            )),
        }
    }

    fn of_profile(&self, source: ProfileSource) -> Result<AwsCredentialProvider> {
        match source {
            ProfileSource::Keys { id, secret, token } => keys(&id, &secret, token.as_ref()),
            ProfileSource::WebIdentity {
                arn,
                session_name,
                token_file,
            } => self.web_identity(&token_file, &arn, session_name.as_deref()),
            ProfileSource::Environment => self.environment()?.ok_or_else(|| {
                unusable(
                    "the AWS profile has credential_source = Environment, and AWS_ACCESS_KEY_ID is not set",
                )
            }),
            ProfileSource::Container => self.container()?.ok_or_else(|| {
                unusable(
                    "the AWS profile has credential_source = EcsContainer, and this is no container of AWS",
                )
            }),
            ProfileSource::Instance => self.instance(),
            ProfileSource::Role { role, source } => Ok(Arc::new(AssumedRole {
                source: self.of_profile(*source)?,
                role,
                region: self.region.to_owned(),
                endpoint: self.sts_endpoint()?,
                http: self.connector.http(),
                obtained: Mutex::default(),
            })),
        }
    }

    fn web_identity(&self, token_file: &str, arn: &str, name: Option<&str>) -> Result<AwsCredentialProvider> {
        use AmazonS3ConfigKey::{RoleArn, RoleSessionName, StsEndpoint, WebIdentityTokenFile};
        let builder = self
            .builder()
            .with_config(WebIdentityTokenFile, token_file)
            .with_config(RoleArn, arn)
            .with_config(RoleSessionName, name.unwrap_or(SESSION_NAME))
            .with_config(StsEndpoint, self.sts_endpoint()?.as_str().trim_end_matches('/'));
        self.built(builder)
    }

    fn sts_endpoint(&self) -> Result<Url> {
        let endpoint = match &self.settings.sts_endpoint {
            Some(endpoint) => endpoint.clone(),
            None => format!(
                "https://sts.{}.{}",
                self.region,
                super::sign::aws_domain(self.region)
            ),
        };
        super::sign::endpoint_url("AWS_ENDPOINT_URL_STS", &endpoint)
    }

    fn container(&self) -> Result<Option<AwsCredentialProvider>> {
        use AmazonS3ConfigKey::{
            ContainerAuthorizationTokenFile, ContainerCredentialsFullUri, ContainerCredentialsRelativeUri,
        };
        let settings = self.settings;
        let builder = self.builder();
        let builder = match (&settings.container_relative_uri, &settings.container_full_uri) {
            (Some(uri), _) => builder.with_config(ContainerCredentialsRelativeUri, uri),
            (None, Some(uri)) => {
                let Some(file) = &settings.container_token_file else {
                    return Err(unusable(
                        "AWS_CONTAINER_CREDENTIALS_FULL_URI is supported with AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE only",
                    ));
                };
                builder
                    .with_config(ContainerCredentialsFullUri, uri)
                    .with_config(ContainerAuthorizationTokenFile, file.to_string_lossy())
            }
            (None, None) => return Ok(None),
        };
        self.built(builder).map(Some)
    }

    fn instance(&self) -> Result<AwsCredentialProvider> {
        if self.settings.is_metadata_disabled {
            return Err(unusable(
                "no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or unset \
                 AWS_EC2_METADATA_DISABLED; AWS_SKIP_SIGNATURE=true reads public buckets without credentials",
            ));
        }
        let builder = match &self.settings.metadata_endpoint {
            Some(endpoint) => self
                .builder()
                .with_metadata_endpoint(endpoint.trim_end_matches('/')),
            None => self.builder(),
        };
        self.built(builder)
    }
}

fn keys(id: &str, secret: &Secret, token: Option<&Secret>) -> Result<AwsCredentialProvider> {
    let token = token.map(Secret::reveal).filter(|token| !token.is_empty());
    // The library panics if one of these cannot be a part of a header.
    if ![id, token.unwrap_or_default()]
        .iter()
        .all(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        return Err(unusable(
            "an access key of AWS, or its session token, has a blank or another character that none has",
        ));
    }
    Ok(Arc::new(StaticCredentialProvider::new(AwsCredential {
        key_id: id.to_owned(),
        secret_key: secret.reveal().to_owned(),
        token: token.map(str::to_owned),
    })))
}

/// Obtains the credentials of a role by `AssumeRole`, and keeps them until they are about to expire.
struct AssumedRole {
    source: AwsCredentialProvider,
    role: Role,
    region: String,
    endpoint: Url,
    http: HttpClient,
    obtained: Mutex<Option<(Timestamp, Arc<AwsCredential>)>>,
}

impl std::fmt::Debug for AssumedRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AssumedRole")
            .field("arn", &self.role.arn)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumeRoleResponse {
    assume_role_result: AssumeRoleResult,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumeRoleResult {
    credentials: RoleCredentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleCredentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StsErrorResponse {
    error: StsError,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StsError {
    code: String,
    message: String,
}

impl AssumedRole {
    async fn obtain(&self) -> Result<(Timestamp, Arc<AwsCredential>), String> {
        let source = self
            .source
            .get_credential()
            .await
            .map_err(|error| error.to_string())?;
        let mut url = self.endpoint.clone();
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("Action", "AssumeRole")
                .append_pair("Version", "2011-06-15");
            query.append_pair("RoleArn", &self.role.arn);
            query.append_pair(
                "RoleSessionName",
                self.role.session_name.as_deref().unwrap_or(SESSION_NAME),
            );
            if let Some(id) = &self.role.external_id {
                query.append_pair("ExternalId", id.reveal());
            }
            if let Some(seconds) = self.role.duration_s {
                query.append_pair("DurationSeconds", &seconds.to_string());
            }
        }
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = url
            .as_str()
            .parse()
            .map_err(|_| "the URL of the token service is invalid")?;
        AwsAuthorizer::new(&source, "sts", &self.region)
            .try_authorize(&mut request, None)
            .map_err(|error| error.to_string())?;
        let unanswered =
            |error: object_store::client::HttpError| format!("{} does not answer: {error}", self.endpoint);
        let answer = self.http.execute(request).await.map_err(unanswered)?;
        let (head, body) = answer.into_parts();
        let body = http_body_util::Limited::new(body, STS_BYTES_MAX);
        let body = http_body_util::BodyExt::collect(body)
            .await
            .map_err(|error| error.to_string())?
            .to_bytes();
        let text = String::from_utf8_lossy(&body);
        if !head.status.is_success() {
            return Err(match quick_xml::de::from_str::<StsErrorResponse>(&text) {
                Ok(StsErrorResponse { error }) => {
                    format!("{}: {}: {}", self.role.arn, error.code, error.message)
                }
                Err(_) => format!("{}: {} answered {}", self.role.arn, self.endpoint, head.status),
            });
        }
        // The parser's error is left out, because it may quote a key.
        let unread = || format!("{} answered without credentials", self.endpoint);
        let response: AssumeRoleResponse = quick_xml::de::from_str(&text).map_err(|_| unread())?;
        let credentials = response.assume_role_result.credentials;
        let expiry = credentials.expiration.parse().map_err(|_| unread())?;
        let credential = AwsCredential {
            key_id: credentials.access_key_id,
            secret_key: credentials.secret_access_key,
            token: Some(credentials.session_token),
        };
        Ok((expiry, Arc::new(credential)))
    }
}

#[async_trait]
impl CredentialProvider for AssumedRole {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut obtained = self.obtained.lock().await;
        if let Some((expiry, credential)) = &*obtained
            && Timestamp::now() + RENEW_BEFORE < *expiry
        {
            return Ok(Arc::clone(credential));
        }
        let generic = |error: String| object_store::Error::Generic {
            store: "S3",
            source: error.into(),
        };
        let (expiry, credential) = self.obtain().await.map_err(generic)?;
        *obtained = Some((expiry, Arc::clone(&credential)));
        Ok(credential)
    }
}

/// Returns the provider for Google Cloud Storage.
///
/// # Errors
/// Fails permanently if the file with the credentials cannot be used. No error quotes a value.
pub(super) fn of_gcs(
    settings: &GcsSettings,
    connector: &CredentialsConnector,
) -> Result<GcpCredentialProvider> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(NO_BUCKET)
        .with_retry(retries())
        .with_http_connector(connector.clone());
    let mut place = "the credentials of Google".to_owned();
    if let Some(path) = &settings.application_credentials {
        check_google_file(path)?;
        place = path.display().to_string();
        builder = builder.with_application_credentials(path.to_string_lossy());
    }
    let store = builder
        .build()
        .map_err(|_| unusable(format!("{place}: not a service account or a user's login")))?;
    Ok(Arc::clone(store.credentials()))
}

/// Refuses the kinds of Google's credentials that are not supported, by name.
fn check_google_file(path: &Path) -> Result<()> {
    #[derive(Deserialize)]
    struct Kind {
        r#type: String,
    }

    let refused = |why: &str| unusable(format!("{}: {why}", path.display()));
    let text = read_named_text(path, GOOGLE_FILE_BYTES_MAX)
        .map_err(|error| refused("cannot be read").because(error))?;
    // The parser's error is left out, because it may quote a key.
    let kind: Kind = serde_json::from_str(&text).map_err(|_| refused("is not JSON with a member `type`"))?;
    match kind.r#type.as_str() {
        "service_account" | "authorized_user" => Ok(()),
        other => Err(refused(&format!(
            "has credentials of the type {other}, which is not supported: use service_account or authorized_user, or the \
             metadata of the machine"
        ))),
    }
}

/// Returns the provider for Azure.
///
/// # Errors
/// Fails permanently if the settings cannot be used. No error quotes a value.
pub(super) fn of_azure(
    settings: &AzureSettings,
    account: &str,
    connector: &CredentialsConnector,
) -> Result<AzureCredentialProvider> {
    let secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.reveal().to_owned());
    let path = settings
        .federated_token_file
        .as_ref()
        .map(|path| path.to_string_lossy().into_owned());
    let sas = secret(&settings.sas_token).map(|token| token.trim_start_matches('?').to_owned());
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(NO_BUCKET)
        .with_retry(retries())
        .with_http_connector(connector.clone());
    for (key, value) in [
        (AzureConfigKey::AccessKey, secret(&settings.access_key)),
        (AzureConfigKey::SasKey, sas),
        (AzureConfigKey::ClientId, settings.client_id.clone()),
        (AzureConfigKey::ClientSecret, secret(&settings.client_secret)),
        (AzureConfigKey::AuthorityId, settings.tenant_id.clone()),
        (AzureConfigKey::FederatedTokenFile, path),
        (AzureConfigKey::AuthorityHost, settings.authority_host.clone()),
        (AzureConfigKey::MsiEndpoint, settings.identity_endpoint.clone()),
    ] {
        if let Some(value) = value {
            builder = builder.with_config(key, value);
        }
    }
    let why = "the settings of Azure: the key of the account or the SAS token is malformed";
    let store = builder.build().map_err(|_| unusable(why))?;
    Ok(Arc::clone(store.credentials()))
}
