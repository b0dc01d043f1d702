//! Sends GET requests: a URL or an object goes in; the answer after all redirects comes out. Its body arrives at the
//! reader's pace.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, HeaderMap, HeaderValue, IF_MATCH, IF_RANGE,
    LOCATION, RANGE, RETRY_AFTER, SET_COOKIE, TRANSFER_ENCODING,
};
use reqwest::{Client, Response, StatusCode, Version};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use url::{Host, Url};

use super::access::{AddressPolicy, NotPublic};
use super::answered_hosts::AnsweredHosts;
use super::credentials::Credentials;
use super::dns::Resolver;
use super::range_request::{FileVersion, RangeRequest, says_part, shown, whole_range};
use super::transfer::{self, Body, Requested};
use super::{Access, RequestedBy};
use crate::config::Limits;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::location::redact;
use crate::net::{self, causes, closed_before_answer, has_kind};
use crate::stop::Stop;
use crate::storage::object::{ERROR_BYTES_MAX, StoredObject};
use crate::trust;

/// The longest wait, in seconds, that an error states as a number: a year.
const SHOWN_WAIT_MAX: u64 = 366 * 86_400;

/// A fetcher of files from HTTP servers and object stores. It has two clients, which share no connections. So a connection to a host that
/// the operator allows can never be used for a URI that may reach only public addresses.
pub(super) struct Http {
    access: Arc<Access>,
    credentials: Credentials,
    pub(super) limits: Limits,
    // Each client is created when it is first used, because loading the system's certificates takes a while, and local
    // files need no client.
    any: OnceCell<Client>,
    guarded: OnceCell<Client>,
    reached: Arc<AnsweredHosts>,
}

/// The target of requests.
#[derive(Clone)]
pub(super) enum Resource {
    /// A URL, and the origin of its URI.
    Url(Url, RequestedBy),
    /// An object that its URI may read. Each request is signed, and goes to the object's store only.
    Object(Arc<StoredObject>),
}

impl Resource {
    /// Returns its URI without secrets.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Url(url, _) => redact(url.as_str()),
            Self::Object(object) => object.shown().to_owned(),
        }
    }

    /// Refuses credentials in a queued URL.
    fn check_credentials(&self) -> Result<()> {
        match self {
            Self::Url(url, requested_by) => check_credentials(url, *requested_by),
            Self::Object(_) => Ok(()),
        }
    }
}

/// An answer whose body is being fetched.
pub(super) struct HttpAnswer {
    pub(super) resource: Resource,
    /// The last URL, after all redirects. An object's own URI, whatever the URL of its store.
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// The version of the file, or `None` if the rest of the file cannot be requested after a broken transfer.
    pub(super) version: Option<FileVersion>,
    /// True if a truncated body can be distinguished from a complete body.
    pub(super) tells_its_end: bool,
    pub(super) body: Body,
}

impl Http {
    pub(super) fn new(
        access: Arc<Access>,
        credentials: Credentials,
        limits: Limits,
        reached: Arc<AnsweredHosts>,
    ) -> Self {
        Self {
            access,
            credentials,
            limits,
            any: OnceCell::new(),
            guarded: OnceCell::new(),
            reached,
        }
    }

    /// Returns the hosts that have answered.
    pub(super) fn reached(&self) -> &Arc<AnsweredHosts> {
        &self.reached
    }

    fn note_reached(&self, url: &Url) {
        self.reached.note(host_of(url));
    }

    /// Requests a URL, follows redirects and starts to fetch the body.
    pub(super) async fn open(self: &Arc<Self>, resource: Resource, stop: &Stop) -> Result<HttpAnswer> {
        resource.check_credentials()?;
        let (at, response) = self.follow(&resource, None).await?;
        let headers = response.headers().clone();
        // A range states its length, so a truncated range is detected, however the connection ends.
        let range = whole_range(&headers).filter(|_| response.status() == StatusCode::PARTIAL_CONTENT);
        let tells_its_end = range.is_some() || tells_its_end(response.version(), &headers);
        let version = FileVersion::of(&at, response.status(), response.headers());
        let http = Arc::clone(self);
        let requested = Requested {
            http,
            resource: resource.clone(),
        };
        let total = range.or_else(|| transfer::content_length(&headers));
        let body = transfer::start(requested, &at, (version.clone(), total), response, stop);
        Ok(HttpAnswer {
            resource,
            url: at,
            headers,
            version,
            tells_its_end,
            body,
        })
    }

    /// Requests the rest of a file whose first bytes were fetched before.
    ///
    /// # Errors
    /// Fails as [`Http::open`] does, and transiently if the answer could be from another version of the file.
    pub(super) async fn open_rest(
        self: &Arc<Self>,
        resource: Resource,
        rest: RangeRequest<'_>,
        stop: &Stop,
    ) -> Result<HttpAnswer> {
        resource.check_credentials()?;
        let (at, response) = self.follow(&resource, Some(rest)).await?;
        let headers = response.headers().clone();
        let span = rest.check(&at, response.status(), &headers);
        let refused = |why: String| {
            let what = format!("{}: the rest from byte {} on", resource.shown(), rest.from);
            Error::transient(Stage::Fetch, Code::TransferBroken, what).because(why)
        };
        let span = span.map_err(refused)?;
        let http = Arc::clone(self);
        let requested = Requested {
            http,
            resource: resource.clone(),
        };
        let body = transfer::start_rest(requested, &at, rest, span, response, stop);
        Ok(HttpAnswer {
            resource,
            url: at,
            headers,
            version: Some(rest.version.clone()),
            tells_its_end: true,
            body,
        })
    }

    /// Requests a URL, or with `rest` only the rest of its file, and follows redirects. Returns the URL after all
    /// redirects and its answer.
    ///
    /// # Errors
    /// Fails as [`Fetcher::open`](super::Fetcher::open) does.
    pub(super) async fn follow(
        &self,
        resource: &Resource,
        rest: Option<RangeRequest<'_>>,
    ) -> Result<(Url, Response)> {
        let (first, requested_by) = match resource {
            Resource::Url(url, requested_by) => (url, *requested_by),
            Resource::Object(object) => return self.ask_store(object, rest).await,
        };
        let (mut url, mut sets_cookies) = (first.clone(), false);
        for hop in 0..=self.limits.http_redirects {
            let answered = self.ask(&url, requested_by, rest).await;
            let redirected = |error: Error| match hop {
                0 => error,
                _ => error.about(format_args!("{} redirected", redact(first.as_str()))),
            };
            let response = answered.map_err(redirected)?;
            match next_hop(&url, &response).map_err(redirected)? {
                Some(next) => {
                    sets_cookies |= response.headers().contains_key(SET_COOKIE);
                    url = next;
                }
                None => return Ok((url, response)),
            }
        }
        let mut what = format!("more than {} redirects", self.limits.http_redirects);
        what.push_str(if sets_cookies {
            ", and they set cookies, which are not kept: the server wants a browser or a login; ask it for a direct link, or \
             name a header that it takes with --credentials"
        } else {
            "; request the final URL, or raise --limit redirects"
        });
        Err(Error::permanent(Stage::Fetch, Code::HttpRedirect, what).about(redact(first.as_str())))
    }

    /// Requests an object, or the rest of it, and follows no redirects. Also returns the object's URI as a URL.
    async fn ask_store(
        &self,
        object: &StoredObject,
        rest: Option<RangeRequest<'_>>,
    ) -> Result<(Url, Response)> {
        let shown = object.shown();
        let refused = |error: url::ParseError| {
            Error::permanent(
                Stage::Fetch,
                Code::AddressInvalid,
                format!("{shown}: is not a URL"),
            )
            .because(error)
        };
        let at = Url::parse(shown).map_err(refused)?;
        let mut headers = range_headers(rest);
        // A header that is not text cannot be signed.
        if let Some(etag) = rest
            .map(|rest| rest.if_range())
            .filter(|etag| etag.to_str().is_ok())
        {
            headers.insert(IF_MATCH, etag);
        }
        let (url, headers) = object.sign(headers).await?;
        // The operator chose the store's endpoint. It may be in the private network, whoever submitted the URI.
        let at_store = format!("{shown}: {}", host_of(&url));
        let response = self.send(&url, RequestedBy::Typed, headers, &at_store).await?;
        match response.status() {
            StatusCode::OK if rest.is_some() || !says_part(response.headers()) => Ok((at, response)),
            StatusCode::PARTIAL_CONTENT if rest.is_some() || whole_range(response.headers()).is_some() => {
                Ok((at, response))
            }
            StatusCode::PRECONDITION_FAILED if rest.is_some() => Ok((at, response)),
            status => {
                let headers = response.headers().clone();
                let body = self.error_body(response).await;
                let error = object.refused(status, &headers, &body);
                Err(error.retrying_after(retry_after(&headers)))
            }
        }
    }

    /// Returns the beginning of an answer with an error.
    async fn error_body(&self, mut response: Response) -> Vec<u8> {
        let mut body = Vec::new();
        let reading = async {
            while let Ok(Some(chunk)) = response.chunk().await {
                let room = ERROR_BYTES_MAX - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if body.len() == ERROR_BYTES_MAX {
                    break;
                }
            }
        };
        // The status says enough if no text comes.
        let _ = tokio::time::timeout(self.limits.http_idle, reading).await;
        body
    }

    /// Sends one request and waits for the head of its answer. Returns the answer, which is a success or a redirect.
    async fn ask(
        &self,
        url: &Url,
        requested_by: RequestedBy,
        rest: Option<RangeRequest<'_>>,
    ) -> Result<Response> {
        let shown = redact(url.as_str());
        let mut headers = range_headers(rest);
        if let Some(credentials) = self.credentials.headers_for(url) {
            headers.extend(credentials.clone());
        }
        let response = self.send(url, requested_by, headers, &shown).await?;
        match response.status() {
            // With 203, a proxy has changed the answer on its way, but it is still the answer.
            StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION
                if rest.is_some() || !says_part(response.headers()) =>
            {
                Ok(response)
            }
            StatusCode::PARTIAL_CONTENT if rest.is_some() || whole_range(response.headers()).is_some() => {
                Ok(response)
            }
            status if is_redirect(status) => Ok(response),
            status => Err(refused(&shown, status, response.headers())),
        }
    }

    /// Sends one request with these headers, and returns the head of its answer, whatever its status.
    async fn send(
        &self,
        url: &Url,
        requested_by: RequestedBy,
        headers: HeaderMap,
        shown: &str,
    ) -> Result<Response> {
        let client = self.client(url, requested_by).await?;
        let request = client.get(url.clone()).headers(headers);
        let patience = self.limits.http_connect + self.limits.http_first_byte;
        let again = request.try_clone();
        let mut answered = tokio::time::timeout(patience, request.send()).await;
        // The client can reuse the connection of an earlier request, and the server can close such a connection at any
        // time. So if the connection was closed before an answer came, the request is sent a second time.
        if let (Ok(Err(error)), Some(again)) = (&answered, again)
            && closed_before_answer(error)
            && self.reached.has(&host_of(url))
        {
            answered = tokio::time::timeout(patience, again.send()).await;
        }
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let took_it = took_connection(&error)
                    || (is_unsure(&error, url)
                        && !self.reached.has(&host_of(url))
                        && self.takes_connections(url, requested_by).await);
                if took_it {
                    self.note_reached(url);
                }
                return Err(not_answered(error, url, took_it).about(shown));
            }
            Err(_) => {
                // There was a connection. Without a connection, the time limit for connecting would have ended the
                // request earlier.
                self.note_reached(url);
                let what = format!(
                    "{shown}: no answer within {} s; for a slow server raise --limit first-byte-time",
                    patience.as_secs_f32()
                );
                return Err(Error::transient(Stage::Fetch, Code::HttpNoAnswer, what));
            }
        };
        self.note_reached(url);
        check_transfer_codings(shown, response.headers())?;
        Ok(response)
    }

    /// Returns the policy for the addresses of a URL's host.
    ///
    /// # Errors
    /// Fails permanently if the URL must not be requested.
    fn policy(&self, url: &Url, requested_by: RequestedBy) -> Result<AddressPolicy> {
        match requested_by {
            RequestedBy::Typed => Ok(AddressPolicy::Any),
            RequestedBy::Queued => self.access.admit(url).map_err(|refusal| {
                Error::permanent(
                    Stage::Fetch,
                    Code::AddressRefused,
                    format!("{}: {refusal}", redact(url.as_str())),
                )
            }),
        }
    }

    async fn client(&self, url: &Url, requested_by: RequestedBy) -> Result<&Client> {
        let policy = self.policy(url, requested_by)?;
        if url.scheme() == "https" {
            trust::clock_for_tls().map_err(|why| Error::transient(Stage::Fetch, Code::TlsFailed, why))?;
        }
        let cell = if policy == AddressPolicy::Any {
            &self.any
        } else {
            &self.guarded
        };
        cell.get_or_try_init(async || self.build(policy)).await
    }

    /// Returns whether the host of a URL accepts connections.
    async fn takes_connections(&self, url: &Url, requested_by: RequestedBy) -> bool {
        let (Ok(policy), Some(host)) = (self.policy(url, requested_by), url.host()) else {
            return false;
        };
        let port = url.port_or_known_default().unwrap_or_default();
        let connecting = async {
            let addresses = match host {
                Host::Ipv4(address) => vec![SocketAddr::from((address, port))],
                Host::Ipv6(address) => vec![SocketAddr::from((address, port))],
                Host::Domain(name) => {
                    let access = Arc::clone(&self.access);
                    let found = Resolver { access, policy }.addresses(name.to_owned()).await;
                    let found = found.unwrap_or_default().into_iter();
                    found.map(|address| SocketAddr::new(address.ip(), port)).collect()
                }
            };
            TcpStream::connect(&*addresses).await.is_ok()
        };
        tokio::time::timeout(self.limits.http_connect, connecting)
            .await
            .unwrap_or(false)
    }

    fn build(&self, policy: AddressPolicy) -> Result<Client> {
        let access = Arc::clone(&self.access);
        net::build(net::client_builder(self.limits.http_connect).dns_resolver(Resolver { access, policy }))
    }
}

/// Returns the headers of a request for a file, or for the rest of it.
fn range_headers(rest: Option<RangeRequest<'_>>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(rest) = rest {
        headers.insert(RANGE, rest.range());
        headers.insert(IF_RANGE, rest.if_range());
    }
    headers
}

fn check_credentials(url: &Url, requested_by: RequestedBy) -> Result<()> {
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    if requested_by == RequestedBy::Queued && has_credentials {
        let what = "has a user name or password, which a queued URI must not carry";
        return Err(Error::permanent(
            Stage::Fetch,
            Code::AddressRefused,
            format!("{}: {what}", redact(url.as_str())),
        ));
    }
    Ok(())
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Returns whether the headers say where the body ends, so that truncation is detected: RFC 9112, section 6.3. A
/// transfer coding takes precedence over a length. If the last transfer coding is not `chunked`, the body ends when the
/// connection ends, whatever length the headers state.
fn tells_its_end(version: Version, headers: &HeaderMap) -> bool {
    if version >= Version::HTTP_2 {
        return true;
    }
    let codings = headers.get_all(TRANSFER_ENCODING).iter().next_back();
    match codings {
        Some(codings) => codings
            .as_bytes()
            .rsplit(|&byte| byte == b',')
            .next()
            .is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked")),
        None => headers.contains_key(CONTENT_LENGTH),
    }
}

/// Refuses transfer codings that the client does not decode: RFC 9112, section 6.1. The client decodes only `chunked`
/// at the end of the list. `identity` and empty elements have no meaning. Any other coding could be a damaged
/// `chunked`. If it were accepted, the sizes of the chunks would be read as bytes of the file.
fn check_transfer_codings(shown_url: &str, headers: &HeaderMap) -> Result<()> {
    let lines = headers.get_all(TRANSFER_ENCODING).iter();
    let mut codings: Vec<&[u8]> = lines
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    if codings
        .last()
        .is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"))
    {
        codings.pop();
    }
    let says_something = |coding: &&[u8]| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity");
    let Some(coding) = codings.into_iter().find(says_something) else {
        return Ok(());
    };
    let what = format!(
        "{shown_url}: answered with the transfer coding \"{}\", which cannot be decoded: the server, or a proxy on the way to \
         it, must say `chunked` once and last, or nothing",
        shown(coding)
    );
    Err(Error::transient(Stage::Fetch, Code::HttpInvalid, what))
}

/// Returns the error for an answer that does not contain the file. If the answer says when to ask again
/// (`Retry-After`), the error is transient, whatever the status is.
fn refused(shown_url: &str, status: StatusCode, headers: &HeaderMap) -> Error {
    let retry_after = retry_after(headers);
    let class = match status {
        // This status means that the file is still being created.
        StatusCode::ACCEPTED => Class::Transient,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Class::Transient
        }
        status if status.is_server_error() => Class::Transient,
        _ if retry_after.is_some() => Class::Transient,
        _ => Class::Permanent,
    };
    let mut what = format!("{shown_url}: answered {status}");
    if status == StatusCode::PARTIAL_CONTENT || (status.is_success() && says_part(headers)) {
        let range = headers.get(CONTENT_RANGE).map(|range| shown(range.as_bytes()));
        let range = range.unwrap_or_else(|| "no range".into());
        what.push_str(&format!(
            " with {range}, which is not known to be the whole file, and no part was asked for"
        ));
    }
    if let Some(wait) = retry_after {
        what.push_str(&match wait.as_secs() {
            seconds @ ..=SHOWN_WAIT_MAX => format!(", retry after {seconds} s"),
            _ => ", retry after more than a year".into(),
        });
    }
    Error::new(Stage::Fetch, class, Code::HttpStatus, what).retrying_after(retry_after)
}

/// Returns the wait that a server asks for in `Retry-After` (RFC 9110, section 10.2.3), or `None` if there is no
/// readable value. A date is compared with the server's own `Date`, so the server's clock need not be right.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get_all(RETRY_AFTER).iter();
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    said.filter_map(|text| text.to_str().ok())
        .find_map(|text| wait_of(text.trim(), date))
}

/// Parses a value of `Retry-After`. If the value is a date, the wait begins at `date`, the time of the answer.
fn wait_of(text: &str, date: Option<&str>) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that is too large counts as the largest number: RFC 9111, section 1.2.2.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    let now = date.and_then(|date| httpdate::parse_http_date(date.trim()).ok());
    let now = now.unwrap_or_else(SystemTime::now);
    Some(at.duration_since(now).unwrap_or_default())
}

/// Returns the host and the port of a URL as `HOST:PORT`.
fn host_of(url: &Url) -> String {
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default());
    format!("{host}:{}", port.unwrap_or_default())
}

/// Returns the target of a redirect, or `None` if the answer is not a redirect. The user name and the password of the
/// URL are kept only if the target has the same origin.
fn next_hop(url: &Url, response: &Response) -> Result<Option<Url>> {
    if !is_redirect(response.status()) {
        return Ok(None);
    }
    let refused = |why: &str| {
        let what = format!("{}: answered {} {why}", redact(url.as_str()), response.status());
        Error::permanent(Stage::Fetch, Code::HttpRedirect, what)
    };
    let location = response
        .headers()
        .get(LOCATION)
        .filter(|location| !location.as_bytes().trim_ascii().is_empty())
        .ok_or_else(|| refused("without a location"))?;
    let mut next = url
        .join(&location_text(location))
        .map_err(|_| refused("with an invalid location"))?;
    if !matches!(next.scheme(), "http" | "https") {
        return Err(refused(&format!(
            "with a location that is not HTTP but {}:",
            next.scheme()
        )));
    }
    if url.scheme() == "https" && next.scheme() == "http" {
        return Err(refused(&format!(
            "with a location without encryption, {}; if http is acceptable, submit that URL",
            redact(next.as_str())
        )));
    }
    let (user, password) = match next.origin() == url.origin() {
        true => (url.username(), url.password()),
        false => ("", None),
    };
    // These calls fail only on a URL without a host, but each HTTP URL has a host.
    let _ = next.set_username(user);
    let _ = next.set_password(password);
    Ok(Some(next))
}

/// Returns the text of a `Location`. If the value is not UTF-8, for example Latin-1, its bytes beyond ASCII are
/// percent-encoded. So the server gets back the bytes that it sent.
fn location_text(location: &HeaderValue) -> String {
    let bytes = location.as_bytes();
    if let Ok(text) = str::from_utf8(bytes) {
        return text.to_owned();
    }
    let escape = |&byte: &u8| match byte {
        0x80.. => format!("%{byte:02X}"),
        byte => char::from(byte).to_string(),
    };
    bytes.iter().map(escape).collect()
}

/// Returns the error for a request without an answer. `took_it` is true if the host accepted the connection. The URL is
/// left out of the message of `reqwest`, because the URL can contain credentials.
fn not_answered(error: reqwest::Error, url: &Url, took_it: bool) -> Error {
    if let Some(refusal) = find_refusal(&error) {
        return Error::permanent(Stage::Fetch, Code::AddressRefused, refusal.to_string());
    }
    let failed = |code, what| Error::transient(Stage::Fetch, code, what);
    let failed = match &error {
        error if error.is_builder() => {
            Error::permanent(Stage::Fetch, Code::AddressInvalid, "is not a valid request URL")
        }
        error if error.is_dns() => {
            failed(Code::HostUnreachable, "cannot find the host").not_reaching(host_of(url))
        }
        error if is_not_http(error) => failed(Code::HttpInvalid, "the answer violates the rules of HTTP"),
        error if !error.is_connect() => failed(Code::HttpNoAnswer, "no answer"),
        _ if took_it && url.scheme() == "https" => failed(Code::TlsFailed, "cannot connect by TLS"),
        error if !took_it && found_no_way(error) => {
            failed(Code::HostUnreachable, "cannot connect").not_reaching(host_of(url))
        }
        _ => failed(Code::HostUnreachable, "cannot connect"),
    };
    failed.because(error.without_url())
}

/// Returns true if the head of the answer cannot be read, for example because two lengths contradict each other.
fn is_not_http(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| {
        cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse)
    })
}

fn find_refusal(error: &reqwest::Error) -> Option<&NotPublic> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// Returns true if an error certainly occurred after a connection was made. If so, the host exists, and its name is
/// right.
fn took_connection(error: &reqwest::Error) -> bool {
    if error.is_builder() || error.is_dns() {
        return false;
    }
    !error.is_connect()
        || causes(error).any(|cause| cause.is::<rustls::Error>())
        || has_kind(error, |kind| {
            use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
            matches!(
                kind,
                UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe
            )
        })
}

/// Returns true if it is unknown whether an error occurred before or after a connection was made. A timeout with
/// `https` is such an error, because one limit bounds both connecting and the TLS handshake.
fn is_unsure(error: &reqwest::Error, url: &Url) -> bool {
    url.scheme() == "https" && error.is_connect() && !error.is_dns() && error.is_timeout()
}

/// Returns whether a connection may have failed because of a mistyped host. Errors with another reason, such as too
/// many open files, do not count.
fn found_no_way(error: &reqwest::Error) -> bool {
    error.is_timeout()
        || has_kind(error, |kind| {
            use io::ErrorKind::{
                AddrNotAvailable, ConnectionRefused, HostUnreachable, InvalidInput, NetworkDown,
                NetworkUnreachable, PermissionDenied, TimedOut,
            };
            matches!(
                kind,
                AddrNotAvailable
                    | ConnectionRefused
                    | HostUnreachable
                    | InvalidInput
                    | NetworkDown
                    | NetworkUnreachable
                    | PermissionDenied
                    | TimedOut
            )
        })
}
