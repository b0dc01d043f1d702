//! HTTP: a URL goes in, the head of an answer comes out, after all redirects, and its body at the pace at which it is
//! read.

use std::sync::{Arc, Once};

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, ETAG, HeaderMap, IF_RANGE, LOCATION, RANGE, TRANSFER_ENCODING,
};
use reqwest::{Client, Response, StatusCode, Version};
use tokio::sync::OnceCell;
use url::Url;

use super::access::{NotPublic, Passage};
use super::credentials::Credentials;
use super::names::Resolver;
use super::resume::{Rest, Version as FileVersion};
use super::transfer::{self, Asked, Body};
use super::{Access, Origin};
use crate::config::Limits;
use crate::error::{Class, Error, Result, Stage};
use crate::location::redact;
use crate::stop::Stop;
use crate::trust;

/// Fetches from HTTP servers. The two clients share nothing: a connection that was made to an allowed host
/// can never serve a URI that may reach public addresses only.
pub(super) struct Http {
    access: Arc<Access>,
    credentials: Credentials,
    pub(super) limits: Limits,
    // Made when first needed: loading the system's certificates takes a while, and local files need none.
    any: OnceCell<Client>,
    guarded: OnceCell<Client>,
}

/// An answer whose body is on its way.
pub(super) struct Answer {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// Of which file it is, if the rest of that can be asked for.
    pub(super) version: Option<FileVersion>,
    /// Whether a body that was cut off can be told from a whole one.
    pub(super) tells_its_end: bool,
    pub(super) body: Body,
}

impl Http {
    pub(super) fn new(access: Arc<Access>, credentials: Credentials, limits: Limits) -> Self {
        Self {
            access,
            credentials,
            limits,
            any: OnceCell::new(),
            guarded: OnceCell::new(),
        }
    }

    /// Asks for a URL, follows redirects and starts to fetch the body.
    pub(super) async fn open(self: &Arc<Self>, url: Url, origin: Origin, stop: &Stop) -> Result<Answer> {
        check_credentials(&url, origin)?;
        let (at, response) = self.follow(&url, origin, None).await?;
        let headers = response.headers().clone();
        let tells_its_end = tells_its_end(response.version(), &headers);
        let version = FileVersion::of(&at, response.status(), response.headers());
        let http = Arc::clone(self);
        let asked = Asked { http, url, origin };
        let body = transfer::start(asked, &at, version.clone(), response, stop);
        Ok(Answer {
            url: at,
            headers,
            version,
            tells_its_end,
            body,
        })
    }

    /// Asks for the rest of a file of which somebody had the first bytes.
    ///
    /// # Errors
    /// As [`Http::open`]; transient, if what is answered may be of another version.
    pub(super) async fn open_rest(
        self: &Arc<Self>,
        url: Url,
        origin: Origin,
        rest: Rest<'_>,
        stop: &Stop,
    ) -> Result<Answer> {
        check_credentials(&url, origin)?;
        let (at, response) = self.follow(&url, origin, Some(rest)).await?;
        let headers = response.headers().clone();
        // Longer ago than within one transfer, the tag has to be said again: RFC 9110, section 15.3.7.
        let span = match rest.check(&at, response.status(), &headers) {
            Ok(_) if !headers.contains_key(ETAG) => {
                Err("the server does not say the ETag of the rest".into())
            }
            checked => checked,
        };
        let refused = |why: String| {
            let what = format!("{}: the rest from byte {} on", redact(at.as_str()), rest.from);
            Error::transient(Stage::Fetch, what).because(why)
        };
        let span = span.map_err(refused)?;
        let http = Arc::clone(self);
        let asked = Asked { http, url, origin };
        let body = transfer::start_rest(asked, &at, rest, span, response, stop);
        Ok(Answer {
            url: at,
            headers,
            version: Some(rest.version.clone()),
            tells_its_end: true,
            body,
        })
    }

    /// Asks for a URL, or the rest of what it gave before, and follows redirects; gives the last URL, too.
    ///
    /// # Errors
    /// As [`Fetcher::open`](super::Fetcher::open).
    pub(super) async fn follow(
        &self,
        first: &Url,
        origin: Origin,
        rest: Option<Rest<'_>>,
    ) -> Result<(Url, Response)> {
        let mut url = first.clone();
        for hop in 0..=self.limits.http_redirects {
            let answered = self.ask(&url, origin, rest).await;
            let redirected = |error: Error| match hop {
                0 => error,
                _ => error.about(format_args!("{} redirected", redact(first.as_str()))),
            };
            let response = answered.map_err(redirected)?;
            match next_hop(&url, &response).map_err(redirected)? {
                Some(next) => url = next,
                None => return Ok((url, response)),
            }
        }
        let what = format!("more than {} redirects", self.limits.http_redirects);
        Err(Error::permanent(Stage::Fetch, what).about(redact(first.as_str())))
    }

    /// One request and the head of its answer, which is a success or a redirect.
    async fn ask(&self, url: &Url, origin: Origin, rest: Option<Rest<'_>>) -> Result<Response> {
        let shown = redact(url.as_str());
        let client = self.client(url, origin).await?;
        let mut request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        if let Some(headers) = self.credentials.headers_for(url) {
            request = request.headers(headers.clone());
        }
        if let Some(rest) = rest {
            request = request
                .header(RANGE, rest.range())
                .header(IF_RANGE, rest.if_range());
        }
        let patience = self.limits.http_connect + self.limits.http_idle;
        let response = match tokio::time::timeout(patience, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(not_answered(error).about(shown)),
            Err(_) => {
                let what = format!("{shown}: no answer within {} s", patience.as_secs());
                return Err(Error::transient(Stage::Fetch, what));
            }
        };
        match response.status() {
            // 203: a proxy changed the answer on its way, which is still the answer.
            StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION => Ok(response),
            StatusCode::PARTIAL_CONTENT if rest.is_some() => Ok(response),
            status if is_redirect(status) => Ok(response),
            status => Err(Error::new(
                Stage::Fetch,
                class_of(status),
                format!("{shown}: answered {status}"),
            )),
        }
    }

    async fn client(&self, url: &Url, origin: Origin) -> Result<&Client> {
        let passage = match origin {
            Origin::Typed => Passage::Any,
            Origin::Queued => self.access.admit(url).map_err(|refusal| {
                Error::permanent(Stage::Fetch, format!("{}: {refusal}", redact(url.as_str())))
            })?,
        };
        if url.scheme() == "https" {
            trust::clock_for_tls().map_err(|why| Error::transient(Stage::Fetch, why))?;
        }
        let cell = if passage == Passage::Any {
            &self.any
        } else {
            &self.guarded
        };
        cell.get_or_try_init(async || self.build(passage)).await
    }

    fn build(&self, passage: Passage) -> Result<Client> {
        static PROVIDER: Once = Once::new();
        // Fails if the program has chosen a provider already, which is as good.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let access = Arc::clone(&self.access);
        let client = Client::builder()
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.limits.http_connect)
            .redirect(reqwest::redirect::Policy::none())
            // A proxy of the environment's would look names up itself, and connect to whatever they are.
            .no_proxy()
            .dns_resolver(Resolver { access, passage });
        client.build().map_err(|error| {
            let what = "cannot set up TLS; are the system's CA certificates installed?";
            Error::permanent(Stage::Fetch, what).because(error)
        })
    }
}

fn check_credentials(url: &Url, origin: Origin) -> Result<()> {
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    if origin == Origin::Queued && has_credentials {
        let what = "has a user name or password, which a queued URI must not carry";
        return Err(Error::permanent(
            Stage::Fetch,
            format!("{}: {what}", redact(url.as_str())),
        ));
    }
    Ok(())
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Whether a body has an end of its own, so that one that was cut off shows: RFC 9112, section 6.3. A transfer coding counts
/// before a length; without `chunked` as the last one the body is as long as its connection, whatever else is said.
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

/// What an answer without the file means for a retry.
fn class_of(status: StatusCode) -> Class {
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Class::Transient
        }
        status if status.is_server_error() => Class::Transient,
        _ => Class::Permanent,
    }
}

/// Where a redirect leads. Credentials go along only to the server that they were given for.
fn next_hop(url: &Url, response: &Response) -> Result<Option<Url>> {
    if !is_redirect(response.status()) {
        return Ok(None);
    }
    let refused = |why: &str| {
        let what = format!("{}: answered {} {why}", redact(url.as_str()), response.status());
        Error::permanent(Stage::Fetch, what)
    };
    let location = response
        .headers()
        .get(LOCATION)
        .ok_or_else(|| refused("without a location"))?;
    let mut next = str::from_utf8(location.as_bytes())
        .ok()
        .and_then(|location| url.join(location).ok())
        .ok_or_else(|| refused("with an invalid location"))?;
    if !matches!(next.scheme(), "http" | "https") {
        return Err(refused(&format!(
            "with a location that is not HTTP but {}:",
            next.scheme()
        )));
    }
    if url.scheme() == "https" && next.scheme() == "http" {
        return Err(refused(&format!(
            "with a location without encryption, {}; if that is as good, ask for it",
            redact(next.as_str())
        )));
    }
    let (user, password) = match next.origin() == url.origin() {
        true => (url.username(), url.password()),
        false => ("", None),
    };
    // Both fail only on a URL without a host, which HTTP does not have.
    let _ = next.set_username(user);
    let _ = next.set_password(password);
    Ok(Some(next))
}

/// Why there is no answer. The URL is left out of reqwest's message: it may have credentials.
fn not_answered(error: reqwest::Error) -> Error {
    if let Some(refusal) = find_refusal(&error) {
        return Error::permanent(Stage::Fetch, refusal.to_string());
    }
    let (class, what) = match &error {
        error if error.is_builder() => (Class::Permanent, "cannot be asked for"),
        error if error.is_dns() => (Class::Transient, "cannot find the host"),
        error if error.is_connect() => (Class::Transient, "cannot connect"),
        _ => (Class::Transient, "no answer"),
    };
    Error::new(Stage::Fetch, class, what).because(error.without_url())
}

fn find_refusal(error: &reqwest::Error) -> Option<&NotPublic> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(refusal) = error.downcast_ref() {
            return Some(refusal);
        }
        next = error.source();
    }
    None
}
