//! Connects the library's requests to this program's HTTP client: its requests go in, answers come out. So there is one
//! TLS stack, and one rule for proxies and redirects.

use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use reqwest::header::{HeaderValue, IF_NONE_MATCH};
use reqwest::{Body, Client, Method, Request, StatusCode};
use tokio::sync::OnceCell;
use url::Url;

use super::refusal::error_code;
use crate::error::Result;
use crate::fail_points;
use crate::net::{self, closed_before_answer, has_kind};

/// The longest wait for a connection to a server that gives credentials. A machine that is not in a cloud has no such
/// server, and the address of its metadata may lead nowhere.
const CONNECT: Duration = Duration::from_secs(2);

/// The longest wait for an answer of a server that gives credentials.
const ANSWER: Duration = Duration::from_secs(10);

/// Returns how requests for credentials are repeated.
pub(super) fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 3,
        retry_timeout: Duration::from_secs(20),
    }
}

/// The longest wait for a connection to a store of outputs, and for a call to it. A part of 8 MiB may take a while on a
/// slow line.
const DATA_CONNECT: Duration = Duration::from_secs(10);
const DATA_ANSWER: Duration = Duration::from_secs(300);

/// The codes of the errors of S3 and Google for parts that do not exist or cannot be joined.
pub(super) const LOST_PARTS: [&str; 4] = [
    "InvalidPart",
    "InvalidPartOrder",
    "EntityTooSmall",
    "NoSuchUpload",
];

/// Returns how calls to a store of outputs are repeated.
pub(super) fn data_retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 8,
        retry_timeout: fail_points::limit(Duration::from_secs(120)),
    }
}

/// Connects to the stores of outputs, which the operator chooses.
#[derive(Clone, Default)]
pub(super) struct Connector {
    client: Arc<OnceCell<Client>>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let build =
            async || net::build(net::client_builder(DATA_CONNECT).timeout(fail_points::limit(DATA_ANSWER)));
        let client = self
            .client
            .get_or_try_init(build)
            .await
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        send(client, request).await
    }
}

/// Connects to S3. Does not replace an object when an upload is completed.
#[derive(Debug, Clone)]
pub(super) struct S3Connector(pub(super) Connector);

impl HttpConnector for S3Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for S3Connector {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let completes = completes_upload(&request);
        if completes {
            // The library always replaces an object when it completes an upload. The signature does not cover this
            // header, so the store takes it as it is.
            request
                .headers_mut()
                .insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        let answer = self.0.call(request).await?;
        match completes && answer.status() == StatusCode::BAD_REQUEST {
            true => refusal_of_parts(answer).await,
            false => Ok(answer),
        }
    }
}

/// Returns the answer to a request that completes an upload, which the store has refused. If the store does not have the
/// parts any more, the status becomes that of an upload that does not exist: no retry can help.
async fn refusal_of_parts(answer: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (mut head, body) = answer.into_parts();
    let body = body.bytes().await?;
    if LOST_PARTS.contains(&&*error_code(&head.headers, &body)) {
        head.status = StatusCode::NOT_FOUND;
    }
    Ok(HttpResponse::from_parts(head, body.into()))
}

/// Returns whether a request to S3 completes an upload.
fn completes_upload(request: &HttpRequest) -> bool {
    let names_upload = |query: &str| query.split('&').any(|member| member.starts_with("uploadId="));
    request.method() == Method::POST && request.uri().query().is_some_and(names_upload)
}

/// Connects to the servers that give credentials, wherever they are: tokens services, and the metadata of a machine or
/// container. No URI can name these servers.
#[derive(Clone, Default)]
pub(super) struct CredentialsConnector {
    // The client is created on first use: loading the system's certificates takes a while.
    client: Arc<OnceCell<Client>>,
}

impl CredentialsConnector {
    /// Returns a client of this connector.
    pub(super) fn http(&self) -> HttpClient {
        HttpClient::new(self.clone())
    }

    async fn client(&self) -> Result<&Client> {
        let build = async || net::build(net::client_builder(CONNECT).timeout(ANSWER));
        self.client.get_or_try_init(build).await
    }
}

impl fmt::Debug for CredentialsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialsConnector")
    }
}

impl HttpConnector for CredentialsConnector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.http())
    }
}

#[async_trait]
impl HttpService for CredentialsConnector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let client = self
            .client()
            .await
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        send(client, request).await
    }
}

/// Sends a request and returns its answer, whose body arrives while it is read.
async fn send(client: &Client, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let (head, body) = request.into_parts();
    let url =
        Url::parse(&head.uri.to_string()).map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
    let mut request = Request::new(head.method, url);
    *request.headers_mut() = head.headers;
    *request.body_mut() = Some(Body::wrap(body));
    let answer = client.execute(request).await.map_err(http_error)?;
    let (head, body) = http::Response::<Body>::from(answer).into_parts();
    let body = HttpResponseBody::new(body.map_err(http_error));
    Ok(HttpResponse::from_parts(head, body))
}

/// Returns an error in the library's terms, which decide whether it sends a request again. The URL is left out, because
/// it may have a token.
fn http_error(error: reqwest::Error) -> HttpError {
    let is_interrupted = |kind| {
        use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        matches!(
            kind,
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
        )
    };
    let kind = match &error {
        error if error.is_connect() => HttpErrorKind::Connect,
        error if error.is_timeout() => HttpErrorKind::Timeout,
        error if has_kind(error, is_interrupted) => HttpErrorKind::Interrupted,
        error if closed_before_answer(error) => HttpErrorKind::Request,
        error if error.is_decode() => HttpErrorKind::Decode,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error.without_url())
}
