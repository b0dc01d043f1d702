//! Signs requests for objects: an object's URI and the headers of a request go in; the URL and all headers to send come
//! out. Each request is signed when it is sent, so no signature expires while a transfer lasts.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::azure::{AzureAuthorizer, AzureCredential, AzureCredentialProvider};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::gcp::GcpCredentialProvider;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use url::{Host, Url};

use super::aws_profile::Profile;
use super::connect::CredentialsConnector;
use super::credentials::{self, AZURE_HINT, GCS_HINT, S3_HINT, not_obtained, obtain, unusable};
use super::named::SettingsPlace;
use super::settings::{AzureSettings, GcsSettings, S3Settings};
use crate::error::{Code, Error, Result, Stage};
use crate::location::{ObjectUri, Provider, redact};

/// The characters of a key that are escaped in the path of a request. S3 requires this set.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// The region if no setting names one.
const DEFAULT_REGION: &str = "us-east-1";

const GCS_ENDPOINT: &str = "https://storage.googleapis.com/";

/// Asks S3 for the checksums of an object.
const CHECKSUM_MODE: HeaderName = HeaderName::from_static("x-amz-checksum-mode");

/// A store: where it is, and the credentials for it; none for requests without credentials.
pub(super) enum Store {
    /// S3.
    S3 {
        /// The server; none for AWS.
        endpoint: Option<Url>,
        region: String,
        credentials: Option<AwsCredentialProvider>,
        /// Set if the bucket is a part of the path of URLs; none for the usual form of the server.
        is_path_style: Option<bool>,
        /// The key of KMS that encrypts outputs.
        kms_key: Option<String>,
    },
    /// Google Cloud Storage.
    Gcs {
        endpoint: Url,
        credentials: Option<GcpCredentialProvider>,
    },
    /// Azure.
    Azure {
        endpoint: Url,
        account: String,
        credentials: Option<AzureCredentialProvider>,
        /// True if the credentials are the account's key, which signs requests. False if they are a token, which is
        /// sent.
        has_key: bool,
    },
}

impl Store {
    pub(super) fn of_s3(settings: &S3Settings, connector: &CredentialsConnector) -> Result<Self> {
        let profile = match settings.is_anonymous {
            true => Profile::default(),
            false => Profile::read(settings)?,
        };
        let region = settings.region.clone().or_else(|| profile.region.clone());
        let region = region.unwrap_or_else(|| DEFAULT_REGION.to_owned());
        if !region
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        {
            return Err(unusable(format!("AWS_REGION: {region:?} is no region")));
        }
        let endpoint = settings.endpoint.as_ref().or(profile.endpoint.as_ref());
        let endpoint = endpoint
            .map(|url| endpoint_url("AWS_ENDPOINT_URL", url))
            .transpose()?;
        let credentials = match settings.is_anonymous {
            true => None,
            false => Some(credentials::of_s3(settings, profile, &region, connector)?),
        };
        Ok(Self::S3 {
            endpoint,
            region,
            credentials,
            is_path_style: settings.is_path_style,
            kms_key: settings.kms_key.clone(),
        })
    }

    pub(super) fn of_gcs(settings: &GcsSettings, connector: &CredentialsConnector) -> Result<Self> {
        let endpoint = settings.endpoint.as_deref();
        // As in Google's own libraries, an emulator needs no credentials.
        let is_emulator = endpoint.is_some() && settings.application_credentials.is_none();
        let credentials = match settings.is_anonymous || is_emulator {
            true => None,
            false => Some(credentials::of_gcs(settings, connector)?),
        };
        let endpoint = endpoint_url("STORAGE_EMULATOR_HOST", endpoint.unwrap_or(GCS_ENDPOINT))?;
        Ok(Self::Gcs {
            endpoint,
            credentials,
        })
    }

    pub(super) fn of_azure(settings: &AzureSettings, connector: &CredentialsConnector) -> Result<Self> {
        let settings = settings.with_connection_string()?;
        let Some(account) = settings.account.clone() else {
            return Err(unusable(
                "no account of Azure: set AZURE_STORAGE_ACCOUNT_NAME or AZURE_STORAGE_CONNECTION_STRING",
            ));
        };
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if account.is_empty() || !account.bytes().all(is_name) {
            return Err(unusable(format!(
                "AZURE_STORAGE_ACCOUNT_NAME: {account:?} is no name of an account"
            )));
        }
        let endpoint = match &settings.endpoint {
            Some(endpoint) => endpoint_url("AZURE_STORAGE_ENDPOINT", endpoint)?,
            None => endpoint_url(
                "AZURE_STORAGE_ENDPOINT",
                &format!("https://{account}.blob.core.windows.net"),
            )?,
        };
        let credentials = match settings.is_anonymous {
            true => None,
            false => Some(credentials::of_azure(&settings, &account, connector)?),
        };
        Ok(Self::Azure {
            endpoint,
            account,
            credentials,
            has_key: settings.access_key.is_some(),
        })
    }

    /// Returns the URL of a bucket, without a slash at its end.
    pub(super) fn bucket_url(&self, bucket: &str) -> Result<String> {
        let text = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
        Ok(match self {
            Self::S3 {
                endpoint: Some(endpoint),
                is_path_style,
                ..
            } => match host_of_bucket(Some(endpoint), *is_path_style, bucket) {
                Some(host) => text(&with_host(endpoint, &host)?),
                None => format!("{}/{bucket}", text(endpoint)),
            },
            Self::S3 {
                endpoint: None,
                region,
                is_path_style,
                ..
            } => {
                let domain = aws_domain(region);
                match host_of_bucket(None, *is_path_style, bucket) {
                    Some(_) => format!("https://{bucket}.s3.{region}.{domain}"),
                    None => format!("https://s3.{region}.{domain}/{bucket}"),
                }
            }
            Self::Gcs { endpoint, .. } | Self::Azure { endpoint, .. } => {
                format!("{}/{bucket}", text(endpoint))
            }
        })
    }

    /// Returns the URL of an object in its current version. The key is not escaped yet.
    pub(super) fn key_url(&self, bucket: &str, key: &str) -> Result<String> {
        let base = self.bucket_url(bucket)?;
        Ok(format!("{base}/{}", utf8_percent_encode(key, ESCAPED)))
    }

    /// Adds to a request what the store needs to accept it: a signature or a token, if there are credentials.
    ///
    /// # Errors
    /// Fails with stage fetch: transiently if no credentials can be obtained; permanently if they must not be sent.
    pub(super) async fn authorize(&self, request: &mut HttpRequest, place: &SettingsPlace) -> Result<()> {
        let url = Url::parse(&request.uri().to_string()).map_err(|_| invalid_request_url())?;
        match self {
            Self::S3 {
                credentials, region, ..
            } => {
                if let Some(provider) = credentials {
                    let hint = place.hint(S3_HINT);
                    let credential = obtain(provider.as_ref(), "S3", &hint).await?;
                    let signed = AwsAuthorizer::new(&credential, "s3", region).try_authorize(request, None);
                    signed.map_err(|error| not_obtained("S3", error, &hint))?;
                }
            }
            Self::Gcs { credentials, .. } => {
                if let Some(provider) = credentials {
                    let (store, hint) = ("Google Cloud Storage", place.hint(GCS_HINT));
                    let credential = obtain(provider.as_ref(), store, &hint).await?;
                    check_encryption(&url)?;
                    let bearer = format!("Bearer {}", credential.bearer);
                    let refused = |_| not_obtained(store, "the token is not one", &hint);
                    let bearer = HeaderValue::try_from(bearer).map_err(refused)?;
                    request.headers_mut().insert(AUTHORIZATION, bearer);
                }
            }
            Self::Azure {
                credentials, account, ..
            } => match credentials {
                None => {
                    let version = HeaderValue::from_static(AZURE_VERSION);
                    request.headers_mut().insert("x-ms-version", version);
                }
                Some(provider) => {
                    let hint = place.hint(AZURE_HINT);
                    let credential = obtain(provider.as_ref(), "Azure", &hint).await?;
                    if !matches!(*credential, AzureCredential::AccessKey(_)) {
                        check_encryption(&url)?;
                    }
                    let signed = AzureAuthorizer::new(&credential, account).try_authorize(request);
                    signed.map_err(|error| not_obtained("Azure", error, &hint))?;
                }
            },
        }
        if let Some(authorization) = request.headers_mut().get_mut(AUTHORIZATION) {
            authorization.set_sensitive(true);
        }
        Ok(())
    }

    /// Returns the URL of an object.
    fn url(&self, object: &ObjectUri) -> Result<Url> {
        let mut text = self.key_url(&object.bucket, &object.key)?;
        if let Some(version) = &object.version {
            let version = utf8_percent_encode(version, NON_ALPHANUMERIC);
            text += &format!("?{}={version}", object.provider.version_parameter());
        }
        let refused = |error: url::ParseError| {
            let what = format!("{}: is not a valid request URL", redact(&object.to_string()));
            Error::permanent(Stage::Fetch, Code::AddressInvalid, what).because(error)
        };
        Url::parse(&text).map_err(refused)
    }
}

/// Returns whether a bucket's name can be a part of a host that TLS certificates cover.
fn is_host_name(bucket: &str) -> bool {
    (3..=63).contains(&bucket.len())
        && bucket
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !bucket.starts_with('-')
        && !bucket.ends_with('-')
}

/// Returns the host of a bucket at an endpoint of S3; at AWS, an empty text. None if the bucket is a part of the path: at
/// another server than AWS by default, and if TLS needs a name that the bucket does not have.
fn host_of_bucket(endpoint: Option<&Url>, is_path_style: Option<bool>, bucket: &str) -> Option<String> {
    let is_in_path = is_path_style.unwrap_or(endpoint.is_some()) || !is_host_name(bucket);
    let domain = match endpoint {
        Some(endpoint) => endpoint.domain().map(|domain| format!("{bucket}.{domain}")),
        None => Some(String::new()),
    };
    domain.filter(|_| !is_in_path)
}

fn with_host(endpoint: &Url, host: &str) -> Result<Url> {
    let mut url = endpoint.clone();
    url.set_host(Some(host))
        .map_err(|error| unusable("the endpoint of S3 with the bucket in its host").because(error))?;
    Ok(url)
}

/// Returns the domain of AWS's servers in a region.
pub(super) fn aws_domain(region: &str) -> &'static str {
    match region.split_once('-') {
        Some(("cn", _)) => "amazonaws.com.cn",
        _ => "amazonaws.com",
    }
}

/// Parses the URL of a server that a setting names.
pub(super) fn endpoint_url(setting: &str, text: &str) -> Result<Url> {
    let refused = |why: &str| {
        unusable(format!(
            "{setting}: {why}: write https://HOST or http://HOST:PORT"
        ))
    };
    let url = Url::parse(text).map_err(|_| refused("is not a URL"))?;
    let is_plain = url.query().is_none() && url.fragment().is_none();
    let is_bare = url.username().is_empty() && url.password().is_none();
    match matches!(url.scheme(), "http" | "https") && is_plain && is_bare {
        true => Ok(url),
        false => Err(refused("is not the URL of a server")),
    }
}

/// An object of a store.
pub(crate) struct StoredObject {
    uri: ObjectUri,
    shown: String,
    /// Set if the URI has percent-escapes that are not in the key.
    is_escaped: bool,
    url: Url,
    store: Arc<Store>,
    place: SettingsPlace,
}

impl fmt::Debug for StoredObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredObject")
            .field("uri", &self.shown)
            .finish_non_exhaustive()
    }
}

impl StoredObject {
    /// Returns the object with this URI, which was written as `written`.
    pub(super) fn new(
        uri: ObjectUri,
        written: &str,
        store: Arc<Store>,
        place: SettingsPlace,
    ) -> Result<Self> {
        let url = store.url(&uri)?;
        let shown = redact(&uri.to_string());
        let is_escaped = written.contains('%') && !written.contains(&uri.key);
        Ok(Self {
            uri,
            shown,
            is_escaped,
            url,
            store,
            place,
        })
    }

    /// Returns the object's URI.
    pub(crate) fn uri(&self) -> &ObjectUri {
        &self.uri
    }

    /// Returns the object's URI, for people.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Returns whether the URI has percent-escapes that are not in the key.
    pub(super) fn is_escaped(&self) -> bool {
        self.is_escaped
    }

    /// Returns the place of the store's settings.
    pub(super) fn place(&self) -> &SettingsPlace {
        &self.place
    }

    /// Returns the URL and the headers of a GET request with these headers, signed now.
    ///
    /// # Errors
    /// Fails with stage fetch: transiently if no credentials can be obtained; permanently if they must not be sent.
    pub(crate) async fn sign(&self, mut headers: HeaderMap) -> Result<(Url, HeaderMap)> {
        match &*self.store {
            Store::S3 { .. } => {
                headers.insert(CHECKSUM_MODE, HeaderValue::from_static("ENABLED"));
            }
            // Google would unpack an object that is stored with `Content-Encoding: gzip`, and its length, ranges and
            // digests would be those of other bytes.
            Store::Gcs { .. } => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            }
            Store::Azure { .. } => {}
        }
        let signing = self.store.sign(&self.url, headers, &self.place);
        signing.await.map_err(|error| error.about(&self.shown))
    }
}

impl Store {
    /// Returns the URL and the headers of a GET request, signed now.
    ///
    /// # Errors
    /// Fails as [`Store::authorize`] does.
    pub(super) async fn sign(
        &self,
        url: &Url,
        mut headers: HeaderMap,
        place: &SettingsPlace,
    ) -> Result<(Url, HeaderMap)> {
        let mut request = request(url)?;
        match self {
            // The other headers are not signed: the header of a server may have bytes that cannot be signed.
            Self::S3 { .. } => {
                if let Some(mode) = headers.remove(CHECKSUM_MODE) {
                    request.headers_mut().insert(CHECKSUM_MODE, mode);
                }
            }
            Self::Gcs { .. } => {}
            Self::Azure { .. } => *request.headers_mut() = std::mem::take(&mut headers),
        }
        self.authorize(&mut request, place).await?;
        let (head, _) = request.into_parts();
        headers.extend(head.headers);
        let url = match self {
            // A SAS token is a part of the URL.
            Self::Azure { .. } => Url::parse(&head.uri.to_string())
                .map_err(|_| not_obtained("Azure", "the SAS token is malformed", &place.hint(AZURE_HINT)))?,
            Self::S3 { .. } | Self::Gcs { .. } => url.clone(),
        };
        Ok((url, headers))
    }
}

/// The version of Azure's interface for requests without credentials. The library sets it in the others.
const AZURE_VERSION: &str = "2023-11-03";

fn request(url: &Url) -> Result<HttpRequest> {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.uri_mut() = url.as_str().parse().map_err(|_| invalid_request_url())?;
    Ok(request)
}

fn invalid_request_url() -> Error {
    Error::permanent(Stage::Fetch, Code::AddressInvalid, "is not a valid request URL")
}

/// Refuses to send a token without encryption, because anybody who reads it on the way can use it. A signature is of no use
/// to others.
pub(super) fn check_encryption(url: &Url) -> Result<()> {
    let is_here = match url.host() {
        Some(Host::Domain(host)) => host == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        None => false,
    };
    if url.scheme() == "https" || is_here {
        return Ok(());
    }
    let what = "the store's endpoint is http:, and a token must not be sent without encryption";
    Err(Error::permanent(Stage::Fetch, Code::CredentialsFailed, what))
}

/// Returns the store that a kind of URI names.
pub(super) fn open(
    provider: Provider,
    settings: &super::StoreSettings,
    connector: &CredentialsConnector,
) -> Result<Store> {
    match provider {
        Provider::S3 => Store::of_s3(&settings.s3, connector),
        Provider::Gcs => Store::of_gcs(&settings.gcs, connector),
        Provider::Azure => Store::of_azure(&settings.azure, connector),
    }
}

#[cfg(test)]
mod tests {
    use object_store::aws::AwsCredential;
    use object_store::client::StaticCredentialProvider;
    use object_store::gcp::GcpCredential;

    use super::*;
    use crate::location::Location;

    fn object(store: Store, uri: &str) -> StoredObject {
        match Location::parse(uri, Stage::Fetch) {
            Ok(Location::Object(object)) => {
                StoredObject::new(object, uri, Arc::new(store), SettingsPlace::Environment).unwrap()
            }
            other => panic!("{uri}: {other:?}"),
        }
    }

    fn s3(endpoint: Option<&str>, region: &str) -> Store {
        let credential = AwsCredential {
            key_id: "id".into(),
            secret_key: "s3cret".into(),
            token: Some("t0ken".into()),
        };
        Store::S3 {
            endpoint: endpoint.map(|url| endpoint_url("", url).unwrap()),
            region: region.to_owned(),
            credentials: Some(Arc::new(StaticCredentialProvider::new(credential))),
            is_path_style: None,
            kms_key: None,
        }
    }

    fn gcs(endpoint: &str) -> Store {
        let credential = GcpCredential {
            bearer: "t0ken".into(),
        };
        Store::Gcs {
            endpoint: endpoint_url("", endpoint).unwrap(),
            credentials: Some(Arc::new(StaticCredentialProvider::new(credential))),
        }
    }

    #[test]
    fn a_bucket_is_a_part_of_awss_host_if_its_name_can_be() {
        for (region, uri, url) in [
            (
                "eu-west-1",
                "s3://my-lake/a b/c.csv",
                "https://my-lake.s3.eu-west-1.amazonaws.com/a%20b/c.csv",
            ),
            (
                "eu-west-1",
                "s3://my-lake//c",
                "https://my-lake.s3.eu-west-1.amazonaws.com//c",
            ),
            (
                "eu-west-1",
                "s3://my.lake/c",
                "https://s3.eu-west-1.amazonaws.com/my.lake/c",
            ),
            (
                "eu-west-1",
                "s3://My_Lake/c",
                "https://s3.eu-west-1.amazonaws.com/My_Lake/c",
            ),
            ("eu-west-1", "s3://a/c", "https://s3.eu-west-1.amazonaws.com/a/c"),
            (
                "cn-north-1",
                "s3://lake/c",
                "https://lake.s3.cn-north-1.amazonaws.com.cn/c",
            ),
            (
                "us-east-1",
                "s3://lake/c?versionId=a+/",
                "https://lake.s3.us-east-1.amazonaws.com/c?versionId=a%2B%2F",
            ),
        ] {
            assert_eq!(object(s3(None, region), uri).url.as_str(), url);
        }
        for (endpoint, url) in [
            (
                "http://127.0.0.1:9000",
                "http://127.0.0.1:9000/lake/%25/~-._%27.csv",
            ),
            (
                "https://store.example/s3/",
                "https://store.example/s3/lake/%25/~-._%27.csv",
            ),
        ] {
            assert_eq!(
                object(s3(Some(endpoint), "r"), "s3://lake/%/~-._'.csv")
                    .url
                    .as_str(),
                url
            );
        }
        for (endpoint, is_path_style, url) in [
            (None, true, "https://s3.r.amazonaws.com/lake/c"),
            (
                Some("https://store.example:9000"),
                false,
                "https://lake.store.example:9000/c",
            ),
            (
                Some("https://store.example/"),
                true,
                "https://store.example/lake/c",
            ),
            (
                Some("http://127.0.0.1:9000"),
                false,
                "http://127.0.0.1:9000/lake/c",
            ),
        ] {
            let mut store = s3(endpoint, "r");
            let Store::S3 {
                is_path_style: set, ..
            } = &mut store
            else {
                unreachable!()
            };
            *set = Some(is_path_style);
            assert_eq!(object(store, "s3://lake/c").url.as_str(), url);
        }
        assert_eq!(
            object(gcs(GCS_ENDPOINT), "gs://lake/c").url.as_str(),
            "https://storage.googleapis.com/lake/c"
        );
    }

    #[tokio::test]
    async fn each_request_is_signed_and_no_text_shows_how() {
        let object = object(s3(None, "eu-west-1"), "s3://lake/c");
        let mut headers = HeaderMap::new();
        // The header of a server may have bytes that cannot be signed.
        headers.insert("if-range", HeaderValue::from_bytes(b"\"\xff\"").unwrap());
        let (_, headers) = object.sign(headers).await.unwrap();
        let authorization = headers[AUTHORIZATION].to_str().unwrap();
        assert!(
            authorization.contains("Credential=id/") && authorization.contains("/eu-west-1/s3/aws4_request")
        );
        let signed =
            "SignedHeaders=host;x-amz-checksum-mode;x-amz-content-sha256;x-amz-date;x-amz-security-token,";
        assert!(authorization.contains(signed), "{authorization}");
        assert!(headers.contains_key("if-range") && headers[AUTHORIZATION].is_sensitive());
        assert!(!format!("{object:?} {:?}", headers[AUTHORIZATION]).contains("Signature"));
    }

    #[tokio::test]
    async fn a_token_is_sent_with_encryption_only() {
        let (_, headers) = object(gcs(GCS_ENDPOINT), "gs://lake/c")
            .sign(HeaderMap::new())
            .await
            .unwrap();
        assert_eq!(headers[AUTHORIZATION], "Bearer t0ken");
        assert!(headers[AUTHORIZATION].is_sensitive());
        for (endpoint, is_sent) in [
            ("http://localhost:4443", true),
            ("http://127.1.2.3:4443", true),
            ("http://[::1]:4443", true),
            ("http://localhost.example:4443", false),
            ("http://10.0.0.5", false),
        ] {
            let signed = object(gcs(endpoint), "gs://lake/c").sign(HeaderMap::new()).await;
            assert_eq!(signed.is_ok(), is_sent, "{endpoint}");
        }
    }
}
