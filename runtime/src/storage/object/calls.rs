//! Makes those calls to a store that the library cannot make: a request goes in; the body of the answer comes out. Each
//! try of a call is signed when it is sent. A call is repeated if the store is busy or the network fails, so it must
//! be idempotent.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::client::{
    HttpClient, HttpConnector, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
};
use object_store::path::Path;
use object_store::{ClientOptions, RetryConfig};
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};

use super::connect::data_retries;
use super::credentials::unusable;
use super::named::SettingsPlace;
use super::refusal::{CallRefusal, SentCredentials};
use super::sign::Store;
use crate::error::Result;

/// Makes calls to one bucket.
pub(super) struct Calls {
    store: Arc<Store>,
    /// The place of the store's settings.
    place: SettingsPlace,
    bucket: String,
    http: HttpClient,
    retries: RetryConfig,
}

/// A call about an object.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) key: &'a Path,
    /// The query of the URL, percent-encoded, or an empty text.
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The error of a call, after the last try.
#[derive(Debug)]
pub(super) enum CallError {
    /// The store refused the call.
    Refused(CallRefusal),
    /// There was no answer. The text is the explanation, for people.
    Unanswered(String),
}

impl Calls {
    pub(super) fn new(
        store: Arc<Store>,
        place: SettingsPlace,
        bucket: String,
        connector: &dyn HttpConnector,
    ) -> Result<Self> {
        let http = connector
            .connect(&ClientOptions::default())
            .map_err(|error| unusable("the settings of the store").because(error))?;
        Ok(Self {
            store,
            place,
            bucket,
            http,
            retries: data_retries(),
        })
    }

    /// Makes a call, and returns the body of the answer.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Bytes, CallError> {
        let began = Instant::now();
        let mut tries = 0;
        loop {
            let (error, is_transient) = match self.try_once(call).await {
                Ok(body) => return Ok(body),
                Err(failed) => failed,
            };
            tries += 1;
            if !is_transient
                || tries > self.retries.max_retries
                || began.elapsed() > self.retries.retry_timeout
            {
                return Err(error);
            }
            tracing::debug!(%error, "repeating a call to the store");
            tokio::time::sleep(self.pause(tries)).await;
        }
    }

    /// Returns the pause after a failed try. The pause doubles with each try, and half of it is random, so that workers
    /// do not repeat their calls at the same time.
    fn pause(&self, tries: usize) -> Duration {
        let backoff = &self.retries.backoff;
        let exponent = u32::try_from(tries).unwrap_or(u32::MAX).min(16);
        let whole = (backoff.init_backoff * 2_u32.pow(exponent)).min(backoff.max_backoff);
        whole.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Makes one try. The error says whether another try can help.
    async fn try_once(&self, call: &Call<'_>) -> Result<Bytes, (CallError, bool)> {
        let request = self
            .request(call)
            .await
            .map_err(|error| (CallError::Unanswered(error.report()), false))?;
        let sent = SentCredentials::of(request.headers(), request.uri().query().unwrap_or_default());
        let answer = self.http.execute(request).await.map_err(|error| {
            if let Some(refusal) = CallRefusal::cause_of(&error) {
                return (CallError::Refused(refusal.clone()), false);
            }
            // The call may have taken effect. It can be made twice.
            let is_transient = !matches!(error.kind(), HttpErrorKind::Decode);
            (CallError::Unanswered(error.to_string()), is_transient)
        })?;
        let (head, body) = HttpResponse::into_parts(answer);
        let body = body
            .bytes()
            .await
            .map_err(|error| (CallError::Unanswered(error.to_string()), true))?;
        if head.status.is_success() {
            return Ok(body);
        }
        let is_transient = head.status.is_server_error()
            || matches!(
                head.status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
            );
        let refusal = CallRefusal::of(head.status, &head.headers, &body, &sent);
        Err((CallError::Refused(refusal), is_transient))
    }

    async fn request(&self, call: &Call<'_>) -> Result<HttpRequest> {
        let mut url = self.store.key_url(&self.bucket, call.key.as_ref())?;
        if !call.query.is_empty() {
            url = format!("{url}?{}", call.query);
        }
        let mut request = HttpRequest::new(HttpRequestBody::from(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = url
            .parse()
            .map_err(|error| unusable("the URL of an object").because(error))?;
        *request.headers_mut() = call.headers.clone();
        request
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(call.body.len()));
        let authorized = self.store.authorize(&mut request, &self.place).await;
        authorized.map_err(|error| error.about(call.key))?;
        Ok(request)
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls")
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

impl CallError {
    /// Returns the status of the answer, or `None` if there was no answer.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            Self::Unanswered(_) => None,
        }
    }

    /// Returns the store's own code of the error. It can be empty.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Refused(refusal) => &refusal.code,
            Self::Unanswered(_) => "",
        }
    }

    /// Returns the library's error for this one.
    pub(super) fn into_library(self, key: &Path) -> object_store::Error {
        use object_store::Error as Library;
        let (path, status) = (key.to_string(), self.status());
        let source = Box::new(self);
        match status {
            Some(StatusCode::NOT_FOUND) => Library::NotFound { path, source },
            Some(StatusCode::PRECONDITION_FAILED) => Library::Precondition { path, source },
            _ => Library::Generic {
                store: "object store",
                source,
            },
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Unanswered(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Unanswered(_) => None,
        }
    }
}
