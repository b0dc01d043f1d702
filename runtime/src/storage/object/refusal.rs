//! Explains the errors of stores: an answer with an error goes in; a sentence that says what to do, with a class and a
//! code, comes out.

use std::error::Error as StdError;
use std::fmt;

use percent_encoding::percent_decode_str;
use quick_xml::escape::escape;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;

use super::named::SettingsPlace;
use super::sign::StoredObject;
use crate::error::{Class, Code, Error, Stage};
use crate::format::redacted_start;
use crate::location::{Provider, redact_within};

/// The most bytes of an answer with an error that are read.
pub(crate) const ERROR_BYTES_MAX: usize = 64 << 10;

/// The most characters of a store's message that are shown.
const MESSAGE_CHARS_MAX: usize = 300;

/// The codes of answers to expired credentials.
const EXPIRED: [&str; 3] = ["ExpiredToken", "TokenRefreshRequired", "ExpiredTokenException"];

const RENEW: &str = "the credentials have expired: renew them, and restart the program if they are keys in its environment or profile";

/// The codes of answers to requests whose time is wrong.
const SKEWED: [&str; 2] = ["RequestTimeTooSkewed", "RequestExpired"];

const SET_CLOCK: &str = "the clock of this machine differs from the store's: set it right";

/// The codes of answers about a bucket that does not exist.
const NO_BUCKET: [&str; 2] = ["NoSuchBucket", "ContainerNotFound"];

/// The codes of answers to requests in the wrong region.
const WRONG_REGION: [&str; 4] = [
    "PermanentRedirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
];

/// The codes of answers to credentials that the store does not know.
const UNKNOWN_CREDENTIALS: [&str; 8] = [
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
    "InvalidToken",
    "InvalidClientTokenId",
    "AuthenticationFailed",
    "InvalidAuthenticationInfo",
    "NoAuthenticationInformation",
    "InvalidSecurity",
];

const CHECK_ENDPOINT: &str =
    "the store redirects, and credentials are sent to its endpoint only: check the endpoint and the region";

/// The codes of answers of a store that is busy.
const BUSY: [&str; 11] = [
    "SlowDown",
    "SlowDownRead",
    "ServiceUnavailable",
    "InternalError",
    "RequestTimeout",
    "ServerBusy",
    "OperationTimedOut",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequests",
];

/// The fewest characters of a credential that is hidden. Shorter words are part of ordinary text.
const CREDENTIAL_CHARS_MIN: usize = 16;

/// A kind of call to the store of outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallKind {
    Read,
    Examine,
    Compare,
    Create,
    Write,
    Remove,
    List,
    BeginUpload,
    /// Uploads the part with this number.
    UploadPart(usize),
    CompleteUpload,
    AbortUpload,
}

impl CallKind {
    /// Returns the right that credentials need for the call.
    fn right(self, provider: Provider) -> &'static str {
        use CallKind::{
            AbortUpload, BeginUpload, Compare, CompleteUpload, Create, Examine, List, Read, Remove,
            UploadPart, Write,
        };
        match (provider, self) {
            (Provider::S3, Read | Examine | Compare) => "s3:GetObject, and s3:ListBucket on the bucket",
            (Provider::S3, Create | Write | BeginUpload | UploadPart(_) | CompleteUpload) => "s3:PutObject",
            (Provider::S3, Remove) => "s3:DeleteObject",
            (Provider::S3, List) => "s3:ListBucket on the bucket",
            (Provider::S3, AbortUpload) => "s3:AbortMultipartUpload",
            (Provider::Gcs, Read | Examine | Compare) => "storage.objects.get",
            (Provider::Gcs, Create | Write) => {
                "storage.objects.create (and storage.objects.delete to replace an object)"
            }
            (Provider::Gcs, Remove) => "storage.objects.delete",
            (Provider::Gcs, List) => "storage.objects.list on the bucket",
            (Provider::Gcs, BeginUpload | UploadPart(_) | CompleteUpload) => {
                "storage.objects.create and storage.multipartUploads.create"
            }
            (Provider::Gcs, AbortUpload) => "storage.multipartUploads.abort",
            (Provider::Azure, _) => "Storage Blob Data Contributor",
        }
    }
}

impl fmt::Display for CallKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "cannot be read",
            Self::Examine => "cannot be examined",
            Self::Compare => "cannot be compared",
            Self::Create => "cannot be created",
            Self::Write => "cannot be written",
            Self::Remove => "cannot be removed",
            Self::List => "cannot be listed",
            Self::BeginUpload => "an upload cannot be begun",
            Self::UploadPart(number) => return write!(f, "part {number} cannot be uploaded"),
            Self::CompleteUpload => "the upload cannot be completed",
            Self::AbortUpload => "an upload cannot be aborted",
        })
    }
}

/// The answer of a store that refuses a call about outputs. It has no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CallRefusal {
    pub(super) status: StatusCode,
    /// The store's own code of the error. It can be empty.
    pub(super) code: String,
    message: String,
    /// The region of the bucket, if the store says it.
    region: Option<String>,
}

impl CallRefusal {
    /// Returns the refusal in an answer. Hides the credentials of the request, which the store may quote.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap, body: &[u8], sent: &SentCredentials) -> Self {
        let mut error = StoreError::of(headers, body);
        error.message = sent.hide(&error.message);
        Self {
            status,
            code: redacted_start(&sent.hide(&error.code), MESSAGE_CHARS_MAX),
            message: error.first_line(),
            region: error
                .region
                .map(|region| redacted_start(&region, MESSAGE_CHARS_MAX)),
        }
    }

    /// Returns the refusal that caused an error of the library, or `None` if there is none.
    pub(super) fn cause_of<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        cause_of(error)
    }

    /// Returns whether the refusal concerns the credentials, their rights or the bucket, and not one object. Such a
    /// refusal has the same class at each call.
    pub(super) fn is_of_settings(&self) -> bool {
        let code = &&*self.code;
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            || self.status.is_redirection()
            || [&NO_BUCKET[..], &WRONG_REGION, &UNKNOWN_CREDENTIALS]
                .iter()
                .any(|codes| codes.contains(code))
    }

    /// Returns what to do about a refusal that concerns the credentials, their rights or the bucket. `call` is the call
    /// that was refused. Returns `None` if the store's answer says enough.
    pub(super) fn advice(&self, call: CallKind, bucket: &str, place: &SettingsPlace) -> Option<String> {
        let (scheme, bucket) = bucket.split_once("://").unwrap_or_default();
        let provider = Provider::of_scheme(scheme)?;
        match &*self.code {
            code if EXPIRED.contains(&code) => Some(RENEW.to_owned()),
            code if SKEWED.contains(&code) => Some(SET_CLOCK.to_owned()),
            code if NO_BUCKET.contains(&code) => {
                Some("create the bucket, or correct its name, the endpoint or the region".to_owned())
            }
            code if WRONG_REGION.contains(&code) => Some(wrong_region(bucket, self.region.as_deref(), place)),
            code if UNKNOWN_CREDENTIALS.contains(&code) => Some(unknown_credentials(provider, place)),
            _ => match self.status {
                StatusCode::UNAUTHORIZED => Some(unknown_credentials(provider, place)),
                StatusCode::FORBIDDEN => Some(format!(
                    "the credentials may not do this: they need {}",
                    call.right(provider)
                )),
                status if status.is_redirection() => Some(CHECK_ENDPOINT.to_owned()),
                StatusCode::NOT_FOUND if call == CallKind::List => Some(
                    "there is no such bucket: check its name and the endpoint, which is written without it"
                        .to_owned(),
                ),
                _ => None,
            },
        }
    }

    /// Returns the class of a refusal that concerns the credentials, their rights or the bucket.
    pub(super) fn class(&self) -> Class {
        let code = &*self.code;
        match [&EXPIRED[..], &SKEWED, &BUSY, &NO_BUCKET]
            .iter()
            .any(|codes| codes.contains(&code))
        {
            true => Class::Transient,
            false => Class::Permanent,
        }
    }

    /// Returns the body of an answer with this refusal.
    pub(super) fn body(&self) -> String {
        let Self { code, message, .. } = self;
        if code.is_empty() && message.is_empty() {
            return String::new();
        }
        let (code, message) = (escape(code.as_str()), escape(message.as_str()));
        format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>")
    }
}

impl fmt::Display for CallRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            status,
            code,
            message,
            ..
        } = self;
        write!(f, "the store answered {status}")?;
        for text in [code, message].into_iter().filter(|text| !text.is_empty()) {
            write!(f, ", {text}")?;
        }
        Ok(())
    }
}

impl StdError for CallRefusal {}

/// Returns the first error of type `T` among an error and its causes, or `None` if there is none.
pub(super) fn cause_of<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut error = Some(error);
    while let Some(found) = error {
        if let Some(cause) = found.downcast_ref() {
            return Some(cause);
        }
        error = found.source();
    }
    None
}

/// The credentials of one request.
#[derive(Default)]
pub(super) struct SentCredentials(Vec<String>);

impl SentCredentials {
    /// Returns the credentials in the headers and the query of a request.
    pub(super) fn of(headers: &HeaderMap, query: &str) -> Self {
        let texts = |name| {
            let values = headers.get_all(name).into_iter();
            values.filter_map(|value: &HeaderValue| value.to_str().ok())
        };
        let mut found = Vec::from_iter(texts("x-amz-security-token").map(str::to_owned));
        for value in texts(AUTHORIZATION.as_str()) {
            // Such as `Bearer TOKEN`, `SharedKey ACCOUNT:SIGNATURE` and `AWS4-HMAC-SHA256 Credential=ID/..., Signature=...`.
            let words = value.split([' ', ',', ':', '/', '=']).map(str::to_owned);
            found.extend(value.split_once(' ').map(|(_, rest)| rest.to_owned()));
            found.extend(words);
        }
        for (_, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            found.push(value.to_owned());
            found.push(percent_decode_str(value).decode_utf8_lossy().into_owned());
        }
        found.retain(|text| text.len() >= CREDENTIAL_CHARS_MIN);
        // A text comes before its parts.
        found.sort_unstable_by_key(|text| std::cmp::Reverse(text.len()));
        Self(found)
    }

    fn hide(&self, text: &str) -> String {
        let hide = |text: String, credential: &String| text.replace(credential, "***");
        self.0.iter().fold(text.to_owned(), hide)
    }
}

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

    /// Returns the beginning of the message, without secrets.
    fn first_line(&self) -> String {
        let line = self.message.lines().next().unwrap_or_default();
        redacted_start(line.trim(), MESSAGE_CHARS_MAX)
    }
}

/// Returns the code of the error in a store's answer, or an empty text if there is none.
pub(super) fn error_code(headers: &HeaderMap, body: &[u8]) -> String {
    StoreError::of(headers, body).code
}

impl StoredObject {
    /// Returns the error for an answer without the object.
    pub(crate) fn refused(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        let asked = Asked {
            shown: self.shown(),
            provider: self.uri().provider,
            bucket: &self.uri().bucket,
            place: self.place(),
            object: Some(self),
        };
        asked.refused(status, headers, body)
    }
}

/// Describes the request that the store refused: an object, or a list of objects.
pub(super) struct Asked<'a> {
    /// The URI, for people.
    pub(super) shown: &'a str,
    pub(super) provider: Provider,
    pub(super) bucket: &'a str,
    pub(super) place: &'a SettingsPlace,
    /// The object; none for a list of objects.
    pub(super) object: Option<&'a StoredObject>,
}

impl Asked<'_> {
    /// Returns the error for an answer without what was asked for.
    pub(super) fn refused(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        let store_error = StoreError::of(headers, body);
        let (class, code, why) = self.explain(status, headers, &store_error);
        let mut what = format!("{}: {why}", self.shown);
        let (word, message) = (&store_error.code, store_error.first_line());
        what += &match word.is_empty() {
            true => format!("; the store answered {status}"),
            false => format!("; the store answered {status}, {}", redact_within(word)),
        };
        if !message.is_empty() {
            what += &format!(": {message}");
        }
        Error::new(Stage::Fetch, class, code, what)
    }

    fn explain(&self, status: StatusCode, headers: &HeaderMap, error: &StoreError) -> (Class, Code, String) {
        use Class::{Permanent, Transient};

        let bucket = self.bucket;
        match error.code.as_str() {
            code if NO_BUCKET.contains(&code) => {
                let why = format!("there is no bucket {bucket} at this store");
                return (Permanent, Code::InputMissing, why);
            }
            "NoSuchVersion" | "NoSuchKey" | "BlobNotFound" | "ResourceNotFound" => {
                return (Permanent, Code::InputMissing, self.no_such_object(headers));
            }
            code if WRONG_REGION.contains(&code) => {
                let why = wrong_region(bucket, error.region.as_deref(), self.place);
                return (Permanent, Code::StoreRefused, why);
            }
            "InvalidObjectState" | "BlobArchived" | "BlobBeingRehydrated" => {
                let why = "the object is archived: restore it, and submit it again".to_owned();
                return (Permanent, Code::InputUnreadable, why);
            }
            code if EXPIRED.contains(&code) => {
                return (Transient, Code::CredentialsFailed, RENEW.to_owned());
            }
            code if SKEWED.contains(&code) => {
                return (Transient, Code::StoreRefused, SET_CLOCK.to_owned());
            }
            code if UNKNOWN_CREDENTIALS.contains(&code) => {
                return (Permanent, Code::StoreRefused, self.bad_credentials());
            }
            code if BUSY.contains(&code) => {
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
            status if status.is_redirection() => (Permanent, Code::StoreRefused, CHECK_ENDPOINT.to_owned()),
            _ => (
                Permanent,
                Code::HttpStatus,
                match self.object {
                    Some(_) => "the store does not give the object".to_owned(),
                    None => "the store does not list its objects".to_owned(),
                },
            ),
        }
    }

    fn no_such_object(&self, headers: &HeaderMap) -> String {
        let Some(object) = self.object else {
            return format!("there is no bucket {} at this store", self.bucket);
        };
        let uri = object.uri();
        let mut why = match &uri.version {
            Some(_) => "there is no such version of the object".to_owned(),
            None if headers.contains_key("x-amz-delete-marker") => "the object was deleted".to_owned(),
            None => "there is no such object".to_owned(),
        };
        if object.is_escaped() {
            why += &format!(
                "; its key is {:?}: %XX in its URI are decoded, and a % of the key itself is written %25",
                uri.key
            );
        }
        let name = uri.key.rsplit('/').next().unwrap_or_default();
        if uri.key.contains('*') || name.is_empty() {
            why += "; only `submit` takes patterns and prefixes";
        } else if !name.contains('.') {
            why += "; if it is a prefix, submit it with a slash at its end";
        }
        why
    }

    fn no_permission(&self) -> String {
        let right = match (self.provider, self.object) {
            (Provider::S3, Some(_)) => "s3:GetObject; without s3:ListBucket, a missing object looks the same",
            (Provider::Gcs, Some(_)) => {
                "storage.objects.get; without storage.objects.list, a missing object looks the same"
            }
            (Provider::S3, None) => "s3:ListBucket on the bucket",
            (Provider::Gcs, None) => "storage.objects.list on the bucket",
            (Provider::Azure, Some(_)) => "Storage Blob Data Reader",
            (Provider::Azure, None) => {
                "Storage Blob Data Reader, or a SAS token with the permission l (list)"
            }
        };
        let what = match self.object {
            Some(_) => "read it",
            None => "list the objects",
        };
        format!("the credentials may not {what}: they need {right}")
    }

    fn bad_credentials(&self) -> String {
        unknown_credentials(self.provider, self.place)
    }
}

fn wrong_region(bucket: &str, region: Option<&str>, place: &SettingsPlace) -> String {
    let hint = place.region_hint(region);
    match region {
        Some(region) => format!("the bucket {bucket} is in the region {region}: {hint}"),
        None => format!("the bucket {bucket} is in another region: {hint}"),
    }
}

fn unknown_credentials(provider: Provider, place: &SettingsPlace) -> String {
    let settings = place.to_check(provider);
    format!("the store does not accept the credentials: check {settings}")
}
