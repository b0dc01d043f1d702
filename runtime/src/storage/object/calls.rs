//! Makes those calls to a store that the library cannot make: a request goes in; the body of the answer comes out. Each
//! try of a call is signed when it is sent. A call is repeated if the store is busy or the network fails, so it must
//! have the same effect if it is made twice.

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
use super::refusal::{error_code, error_message};
use super::sign::Store;
use crate::error::Result;
use crate::location::redact_within;

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
pub(super) struct CallError {
    /// The status of the answer, or `None` if there was no answer.
    pub(super) status: Option<StatusCode>,
    /// The store's own code of the error. It can be empty.
    pub(super) code: String,
    /// The explanation, for people.
    message: String,
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
            let (error, may_pass) = match self.try_once(call).await {
                Ok(body) => return Ok(body),
                Err(failed) => failed,
            };
            tries += 1;
            if !may_pass || tries > self.retries.max_retries || began.elapsed() > self.retries.retry_timeout {
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
            .map_err(|error| (CallError::without_answer(error.report()), false))?;
        let answer = self.http.execute(request).await.map_err(|error| {
            // The call may have taken effect. It can be made twice.
            let may_pass = !matches!(error.kind(), HttpErrorKind::Decode);
            (CallError::without_answer(error.to_string()), may_pass)
        })?;
        let (head, body) = HttpResponse::into_parts(answer);
        let body = body
            .bytes()
            .await
            .map_err(|error| (CallError::without_answer(error.to_string()), true))?;
        if head.status.is_success() {
            return Ok(body);
        }
        let may_pass = head.status.is_server_error()
            || matches!(
                head.status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
            );
        Err((CallError::refused(head.status, &head.headers, &body), may_pass))
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
    fn without_answer(message: impl Into<String>) -> Self {
        Self {
            status: None,
            code: String::new(),
            message: message.into(),
        }
    }

    fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let code = error_code(headers, body);
        let mut message = format!("the store answered {status}");
        for text in [redact_within(&code), error_message(headers, body)] {
            if !text.is_empty() {
                message += &format!(", {text}");
            }
        }
        Self {
            status: Some(status),
            code,
            message,
        }
    }

    /// Returns the library's error for this one.
    pub(super) fn into_library(self, key: &Path) -> object_store::Error {
        use object_store::Error as Library;
        let (path, status) = (key.to_string(), self.status);
        let source = Box::new(self);
        match status {
            Some(StatusCode::NOT_FOUND) => Library::NotFound { path, source },
            Some(StatusCode::PRECONDITION_FAILED) => Library::Precondition { path, source },
            Some(StatusCode::UNAUTHORIZED) => Library::Unauthenticated { path, source },
            Some(StatusCode::FORBIDDEN) => Library::PermissionDenied { path, source },
            _ => Library::Generic {
                store: "object store",
                source,
            },
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CallError {}
