//! Connects the library's requests to this program's HTTP client: its requests go in, answers come out. So there is one
//! TLS stack, and one rule for proxies and redirects.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Limited};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use reqwest::header::{CONTENT_LENGTH, HeaderValue, IF_NONE_MATCH};
use reqwest::{Body, Client, Method, Request, StatusCode};
use tokio::sync::OnceCell;
use url::{Position, Url};

use super::list::PAGE_BYTES_MAX;
use super::refusal::{CallRefusal, ERROR_BYTES_MAX, SentCredentials, error_code};
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

/// The longest wait for a connection to a store of outputs.
const DATA_CONNECT: Duration = Duration::from_secs(10);

/// The longest time in which a request is sent and its answer begins, and the longest wait for more bytes of the answer.
/// A part of 8 MiB may take a while on a slow line. A whole answer has no limit, because outputs can be long.
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
        let build = async || data_client(fail_points::limit(DATA_ANSWER));
        let client = self
            .client
            .get_or_try_init(build)
            .await
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let sent = SentCredentials::of(request.headers(), request.uri().query().unwrap_or_default());
        let is_list = lists(&request);
        let gives_object = request.method() == Method::GET && !is_list;
        let answer = send(client, request).await?;
        match answer.status() {
            StatusCode::NOT_FOUND if is_list => refusal(answer, &sent, true).await,
            status if status.is_redirection() && status != StatusCode::NOT_MODIFIED => {
                refusal(answer, &sent, true).await
            }
            status if status.is_client_error() || status.is_server_error() => {
                refusal(answer, &sent, false).await
            }
            _ if gives_object => Ok(answer),
            _ => Ok(answer.map(|body| bounded(body, PAGE_BYTES_MAX))),
        }
    }
}

/// Returns an answer with an error, without secrets. The library keeps the body of such an answer as a whole, and quotes
/// it.
///
/// # Errors
/// Fails with a [`CallRefusal`] if the refusal concerns the credentials, their rights or the bucket, or if `is_of_settings`
/// says so. The library does not say this about each call, so [`CallRefusal::cause_of`] finds it.
async fn refusal(
    answer: HttpResponse,
    sent: &SentCredentials,
    is_of_settings: bool,
) -> Result<HttpResponse, HttpError> {
    let (mut head, body) = answer.into_parts();
    let body = beginning(body, ERROR_BYTES_MAX).await;
    let refusal = CallRefusal::of(head.status, &head.headers, &body, sent);
    if is_of_settings || refusal.is_of_settings() {
        return Err(HttpError::new(HttpErrorKind::Unknown, refusal));
    }
    let body = refusal.body();
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    Ok(HttpResponse::from_parts(head, body.into()))
}

/// Returns the first bytes of a body. If the body breaks off, returns the bytes before.
async fn beginning(mut body: HttpResponseBody, bytes_max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(data) = frame.data_ref() {
            let free = bytes_max - bytes.len();
            bytes.extend_from_slice(&data[..free.min(data.len())]);
        }
        if bytes.len() == bytes_max {
            break;
        }
    }
    bytes
}

/// Returns a body that fails after this number of bytes.
fn bounded(body: HttpResponseBody, bytes_max: usize) -> HttpResponseBody {
    let body = Limited::new(body, bytes_max);
    HttpResponseBody::new(body.map_err(|error| match error.downcast::<HttpError>() {
        Ok(error) => *error,
        Err(error) => HttpError::new(HttpErrorKind::Decode, io::Error::other(error)),
    }))
}

/// Returns whether a request asks for a list of objects.
fn lists(request: &HttpRequest) -> bool {
    let asks = |query: &str| {
        let mut members = query.split('&');
        members.any(|member| member.starts_with("list-type=") || member == "comp=list")
    };
    request.uri().query().is_some_and(asks)
}

/// Returns a client for stores of outputs, which waits for an answer, or for more bytes of it, for as long as `answer`.
fn data_client(answer: Duration) -> Result<Client> {
    net::build(net::client_builder(DATA_CONNECT).read_timeout(answer))
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
        let sent = SentCredentials::of(request.headers(), request.uri().query().unwrap_or_default());
        let answer = self.0.call(request).await?;
        match completes {
            true => completion(answer, &sent).await,
            false => Ok(answer),
        }
    }
}

/// Returns the answer to a request that completes an upload. If the store does not have the parts any more, the status
/// becomes that of an upload that does not exist: no retry can help. An answer with status 200 can have an error, too,
/// which is shown without secrets.
async fn completion(answer: HttpResponse, sent: &SentCredentials) -> Result<HttpResponse, HttpError> {
    let (mut head, body) = answer.into_parts();
    let mut body = body.bytes().await?;
    let code = error_code(&head.headers, &body);
    if head.status == StatusCode::BAD_REQUEST && LOST_PARTS.contains(&&*code) {
        head.status = StatusCode::NOT_FOUND;
    }
    if head.status.is_success() && !code.is_empty() {
        body = CallRefusal::of(head.status, &head.headers, &body, sent)
            .body()
            .into();
    }
    Ok(HttpResponse::from_parts(head, body.into()))
}

/// Returns whether a request to S3 completes an upload.
fn completes_upload(request: &HttpRequest) -> bool {
    let names_upload = |query: &str| query.split('&').any(|member| member.starts_with("uploadId="));
    request.method() == Method::POST && request.uri().query().is_some_and(names_upload)
}

/// Connects to the servers that give credentials, wherever they are: token services, and the metadata of a machine or
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
        let answer = send(client, request).await?;
        Ok(answer.map(|body| bounded(body, PAGE_BYTES_MAX)))
    }
}

/// Sends a request and returns its answer, whose body arrives while it is read.
async fn send(client: &Client, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let (head, body) = request.into_parts();
    let url =
        Url::parse(&head.uri.to_string()).map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
    let server = url[Position::BeforeHost..Position::AfterPort].to_owned();
    let mut request = Request::new(head.method, url);
    *request.headers_mut() = head.headers;
    *request.body_mut() = Some(Body::wrap(body));
    let answer = client
        .execute(request)
        .await
        .map_err(|error| http_error(&server, error))?;
    let (head, body) = http::Response::<Body>::from(answer).into_parts();
    let body = HttpResponseBody::new(body.map_err(move |error| http_error(&server, error)));
    Ok(HttpResponse::from_parts(head, body))
}

/// The error of a call that a server did not answer, or not as a whole.
#[derive(Debug)]
pub(super) struct NoAnswer {
    /// The host and the port. The rest of the URL is left out, because it may have a token.
    server: String,
    error: reqwest::Error,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{}: no answer", self.server);
        for cause in net::causes(&self.error).map(ToString::to_string) {
            // Many libraries repeat an error's cause in the error's own message.
            if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
        }
        f.write_str(&text)
    }
}

impl StdError for NoAnswer {}

/// Returns an error in the library's terms, which decide whether it sends a request again.
fn http_error(server: &str, error: reqwest::Error) -> HttpError {
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
    let no_answer = NoAnswer {
        server: server.to_owned(),
        error: error.without_url(),
    };
    HttpError::new(kind, no_answer)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::thread;

    use object_store::client::HttpRequestBody;

    use super::super::refusal::cause_of;
    use super::*;

    const ANSWER: Duration = Duration::from_millis(800);

    /// Serves one answer of `bytes` bytes, with a pause before each byte.
    fn serve(bytes: usize, pause: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            assert_ne!(connection.read(&mut [0; 1_024]).unwrap(), 0);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
            connection.write_all(head.as_bytes()).unwrap();
            for _ in 0..bytes {
                thread::sleep(pause);
                if connection.write_all(b"x").is_err() {
                    break;
                }
            }
        });
        address
    }

    /// Returns the length of the answer.
    async fn ask(server: SocketAddr) -> Result<usize, HttpErrorKind> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = format!("http://{server}/").parse().unwrap();
        let answer = send(&data_client(ANSWER).unwrap(), request).await.unwrap();
        let body = answer.into_body().bytes().await;
        body.map(|body| body.len()).map_err(|error| error.kind())
    }

    /// Serves one answer with this status and body.
    fn answer(status: &str, body: Vec<u8>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            assert_ne!(connection.read(&mut [0; 4_096]).unwrap(), 0);
            // The client may close the connection before it has read the whole answer.
            let _ = connection.write_all(&[head.into_bytes(), body].concat());
        });
        address
    }

    /// Makes a call to a store of outputs, with credentials.
    async fn call(method: Method, server: SocketAddr, query: &str) -> Result<HttpResponse, HttpError> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method;
        *request.uri_mut() = format!("http://{server}/lake/a{query}").parse().unwrap();
        let headers = request.headers_mut();
        headers.insert("x-amz-security-token", HeaderValue::from_static(TOKEN));
        headers.insert("authorization", HeaderValue::from_static(AUTHORIZATION));
        S3Connector::call(&S3Connector(Connector::default()), request).await
    }

    const TOKEN: &str = "FwoGZXIvYXdzEBYaD/s3cr3t+token==";
    const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261129/us-east-1/s3/aws4_request, \
                                 SignedHeaders=host, Signature=0123456789abcdef0123456789abcdef";
    const SECRETS: [&str; 3] = [TOKEN, "AKIAIOSFODNN7EXAMPLE", "0123456789abcdef0123456789abcdef"];

    #[tokio::test]
    async fn no_answer_with_an_error_has_the_credentials_or_is_read_in_full() {
        let quoted = format!("{TOKEN} {AUTHORIZATION}");
        let filler = "x".repeat(PAGE_BYTES_MAX);
        let body = format!(
            "<Error><Code>Odd</Code><Message>it is {quoted}</Message><Token>{quoted}</Token></Error>{filler}"
        );
        for (method, query) in [
            (Method::GET, ""),
            (Method::HEAD, ""),
            (Method::PUT, "?partNumber=1&uploadId=u"),
            (Method::POST, "?uploads"),
            (Method::POST, "?uploadId=u"),
            (Method::DELETE, ""),
            (Method::GET, "?list-type=2"),
        ] {
            for status in [
                "400 Bad Request",
                "403 Forbidden",
                "404 Not Found",
                "409 Conflict",
                "503 Slow Down",
            ] {
                let called = call(method.clone(), answer(status, body.clone().into()), query).await;
                let text = match called {
                    Ok(answer) => {
                        String::from_utf8(answer.into_body().bytes().await.unwrap().into()).unwrap()
                    }
                    Err(error) => error.to_string(),
                };
                assert!(
                    text.len() < ERROR_BYTES_MAX,
                    "{method} {query} {status}: {}",
                    text.len()
                );
                let found = SECRETS.iter().any(|secret| text.contains(secret));
                assert!(!found, "{method} {query} {status}: {text}");
            }
        }
        let completed = format!("<Error><Code>InternalError</Code><Message>{quoted}</Message></Error>");
        let answer = call(Method::POST, answer("200 OK", completed.into()), "?uploadId=u").await;
        let body = answer.unwrap().into_body().bytes().await.unwrap();
        let text = String::from_utf8(body.into()).unwrap();
        assert!(text.contains("<Code>InternalError</Code>"), "{text}");
        assert!(!SECRETS.iter().any(|secret| text.contains(secret)), "{text}");
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_named_without_the_rest_of_the_url() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        drop(listener);
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = format!("http://{server}/a?sig=S3cr3t").parse().unwrap();
        let error = send(&data_client(ANSWER).unwrap(), request).await.unwrap_err();
        let no_answer = cause_of::<NoAnswer>(&error).expect("nobody listens").to_string();
        let beginning = format!("{server}: no answer: ");
        assert!(
            no_answer.starts_with(&beginning) && no_answer.contains("Connection refused"),
            "{no_answer}"
        );
        assert!(
            !no_answer.contains("S3cr3t") && no_answer.matches("refused").count() == 1,
            "{no_answer}"
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_no_object_is_bounded() {
        let long = || answer("200 OK", vec![b'x'; PAGE_BYTES_MAX + 1]);
        for (method, query) in [
            (Method::GET, "?list-type=2&prefix=a"),
            (Method::GET, "?restype=container&comp=list"),
            (Method::PUT, ""),
            (Method::POST, "?uploads"),
        ] {
            let body = call(method.clone(), long(), query).await.unwrap().into_body();
            assert!(body.bytes().await.is_err(), "{method} {query}");
        }
        let object = call(Method::GET, long(), "").await.unwrap().into_body();
        assert_eq!(object.bytes().await.unwrap().len(), PAGE_BYTES_MAX + 1);
    }

    #[tokio::test]
    async fn one_refusal_has_one_class_at_each_call() {
        use object_store::path::Path;
        use object_store::{ObjectStore, ObjectStoreExt};

        use crate::error::Class;

        for (code, class) in [
            ("AccessDenied", Class::Permanent),
            ("NoSuchBucket", Class::Transient),
            ("InvalidAccessKeyId", Class::Permanent),
            ("ExpiredToken", Class::Transient),
            ("RequestTimeTooSkewed", Class::Transient),
            ("SlowDown", Class::Transient),
        ] {
            let status = match code {
                "NoSuchBucket" => "404 Not Found",
                _ => "403 Forbidden",
            };
            let body = format!("<Error><Code>{code}</Code></Error>");
            let store = || {
                let server = answer(status, body.clone().into());
                let builder = object_store::aws::AmazonS3Builder::new()
                    .with_bucket_name("lake")
                    .with_endpoint(format!("http://{server}"))
                    .with_allow_http(true)
                    .with_skip_signature(true)
                    .with_http_connector(S3Connector(Connector::default()));
                builder.build().unwrap()
            };
            let key = Path::from("a");
            let parts = || {
                vec![object_store::multipart::PartId {
                    content_id: "e".into(),
                }]
            };
            use object_store::multipart::MultipartStore;
            let upload = "u".to_owned();
            for error in [
                store().get(&key).await.map(drop),
                store().put(&key, "x".into()).await.map(drop),
                store().delete(&key).await,
                store().list_with_delimiter(None).await.map(drop),
                futures_util::TryStreamExt::try_collect::<Vec<_>>(store().list(None))
                    .await
                    .map(drop),
                store().create_multipart(&key).await.map(drop),
                store().put_part(&key, &upload, 0, "x".into()).await.map(drop),
                store().complete_multipart(&key, &upload, parts()).await.map(drop),
                store().abort_multipart(&key, &upload).await,
            ] {
                let error = error.unwrap_err();
                let refusal = CallRefusal::cause_of(&error).expect("the refusal is found");
                assert_eq!((&*refusal.code, refusal.class()), (code, class), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn a_long_answer_takes_its_time_but_one_that_stalls_fails() {
        assert_eq!(ask(serve(20, ANSWER / 10)).await, Ok(20));
        assert_eq!(ask(serve(1, ANSWER * 4)).await, Err(HttpErrorKind::Timeout));
    }
}
