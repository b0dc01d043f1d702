//! Explains the errors of stores: an answer with an error goes in; a sentence that says what to do, with a class and a
//! code, comes out.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::sign::StoredObject;
use crate::error::{Class, Code, Error, Stage};
use crate::location::{Provider, redact_within};

/// The most bytes of an answer with an error that are read.
pub(crate) const ERROR_BYTES_MAX: usize = 64 << 10;

/// The most characters of a store's message that are shown.
const MESSAGE_CHARS_MAX: usize = 300;

/// The error that a store answers, in XML.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct StoreError {
    code: String,
    message: String,
    region: Option<String>,
}

/// The error that Google answers, in JSON.
#[derive(Debug, Deserialize)]
struct JsonError {
    error: JsonErrorDetails,
}

#[derive(Debug, Deserialize)]
struct JsonErrorDetails {
    #[serde(default)]
    message: String,
}

impl StoreError {
    fn of(headers: &HeaderMap, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let text = text.trim_start_matches('\u{feff}');
        let mut error = quick_xml::de::from_str::<Self>(text).unwrap_or_else(|_| {
            let message = serde_json::from_str::<JsonError>(text).map(|json| json.error.message);
            Self {
                message: message.unwrap_or_default(),
                ..Self::default()
            }
        });
        let header = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        if let Some(code) = header("x-ms-error-code") {
            error.code = code;
        }
        error.region = header("x-amz-bucket-region").or(error.region);
        error
    }

    /// Returns the beginning of the message.
    fn first_line(&self) -> String {
        let line = self.message.lines().next().unwrap_or_default();
        line.chars()
            .take(MESSAGE_CHARS_MAX)
            .collect::<String>()
            .trim()
            .to_owned()
    }
}

/// Returns the code of the error in a store's answer, or an empty text if there is none.
pub(super) fn error_code(headers: &HeaderMap, body: &[u8]) -> String {
    StoreError::of(headers, body).code
}

/// Returns the beginning of the store's message about an error, or an empty text if there is none.
pub(super) fn error_message(headers: &HeaderMap, body: &[u8]) -> String {
    StoreError::of(headers, body).first_line()
}

impl StoredObject {
    /// Returns the error for an answer without the object.
    pub(crate) fn refused(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        let store_error = StoreError::of(headers, body);
        let (class, code, why) = self.explain(status, headers, &store_error);
        let mut what = format!("{}: {why}", self.shown());
        let (word, message) = (&store_error.code, store_error.first_line());
        what += &match word.is_empty() {
            true => format!("; the store answered {status}"),
            false => format!("; the store answered {status}, {word}"),
        };
        if !message.is_empty() {
            what += &format!(": {}", redact_within(&message));
        }
        Error::new(Stage::Fetch, class, code, what)
    }

    fn explain(&self, status: StatusCode, headers: &HeaderMap, error: &StoreError) -> (Class, Code, String) {
        use Class::{Permanent, Transient};

        let bucket = &self.uri().bucket;
        match error.code.as_str() {
            "NoSuchBucket" | "ContainerNotFound" => {
                let why = format!("there is no bucket {bucket} at this store");
                return (Permanent, Code::InputMissing, why);
            }
            "NoSuchVersion" | "NoSuchKey" | "BlobNotFound" | "ResourceNotFound" => {
                return (Permanent, Code::InputMissing, self.no_such_object(headers));
            }
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException" => {
                let why = match &error.region {
                    Some(region) => {
                        format!("the bucket {bucket} is in the region {region}: set AWS_REGION={region}")
                    }
                    None => format!("the bucket {bucket} is in another region: set AWS_REGION to it"),
                };
                return (Permanent, Code::StoreRefused, why);
            }
            "InvalidObjectState" | "BlobArchived" | "BlobBeingRehydrated" => {
                let why = "the object is archived: restore it, and submit it again".to_owned();
                return (Permanent, Code::InputUnreadable, why);
            }
            "ExpiredToken" | "TokenRefreshRequired" | "ExpiredTokenException" => {
                let why = "the credentials have expired: renew them, and restart the program if they are keys in its environment or profile";
                return (Transient, Code::CredentialsFailed, why.to_owned());
            }
            "RequestTimeTooSkewed" | "RequestExpired" => {
                let why = "the clock of this machine differs from the store's: set it right".to_owned();
                return (Transient, Code::StoreRefused, why);
            }
            "SignatureDoesNotMatch"
            | "InvalidAccessKeyId"
            | "InvalidToken"
            | "InvalidClientTokenId"
            | "AuthenticationFailed"
            | "InvalidAuthenticationInfo"
            | "NoAuthenticationInformation"
            | "InvalidSecurity" => {
                return (Permanent, Code::StoreRefused, self.bad_credentials());
            }
            "SlowDown"
            | "SlowDownRead"
            | "ServiceUnavailable"
            | "InternalError"
            | "RequestTimeout"
            | "ServerBusy"
            | "OperationTimedOut"
            | "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "TooManyRequests" => {
                return (Transient, Code::HttpStatus, "the store is busy".to_owned());
            }
            _ => {}
        }
        match status {
            StatusCode::UNAUTHORIZED => (Permanent, Code::StoreRefused, self.bad_credentials()),
            StatusCode::FORBIDDEN | StatusCode::CONFLICT => {
                (Permanent, Code::StoreRefused, self.no_permission())
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                (Permanent, Code::InputMissing, self.no_such_object(headers))
            }
            StatusCode::METHOD_NOT_ALLOWED if headers.contains_key("x-amz-delete-marker") => {
                let why = "this version marks that the object was deleted".to_owned();
                (Permanent, Code::InputMissing, why)
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                (Transient, Code::HttpStatus, "the store is busy".to_owned())
            }
            status if status.is_server_error() => {
                (Transient, Code::HttpStatus, "the store is in trouble".to_owned())
            }
            status if status.is_redirection() => {
                let why = "the store redirects, and credentials are sent to its endpoint only: check the endpoint and the region";
                (Permanent, Code::StoreRefused, why.to_owned())
            }
            _ => (
                Permanent,
                Code::HttpStatus,
                "the store does not give the object".to_owned(),
            ),
        }
    }

    fn no_such_object(&self, headers: &HeaderMap) -> String {
        let uri = self.uri();
        let mut why = match &uri.version {
            Some(_) => "there is no such version of the object".to_owned(),
            None if headers.contains_key("x-amz-delete-marker") => "the object was deleted".to_owned(),
            None => "there is no such object".to_owned(),
        };
        if self.is_escaped() {
            why += &format!(
                "; its key is {:?}: %XX in its URI are decoded, and a % of the key itself is written %25",
                uri.key
            );
        }
        why
    }

    fn no_permission(&self) -> String {
        let right = match self.uri().provider {
            Provider::S3 => "s3:GetObject; without s3:ListBucket, a missing object looks the same",
            Provider::Gcs => {
                "storage.objects.get; without storage.objects.list, a missing object looks the same"
            }
            Provider::Azure => "Storage Blob Data Reader",
        };
        format!("the credentials may not read it: they need {right}")
    }

    fn bad_credentials(&self) -> String {
        let settings = match self.uri().provider {
            Provider::S3 => "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile",
            Provider::Gcs => "GOOGLE_APPLICATION_CREDENTIALS",
            Provider::Azure => "AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_CLIENT_SECRET",
        };
        format!("the store does not accept the credentials: check {settings}")
    }
}
