//! Builds HTTP clients: a time limit goes in; a client with this program's settings for TLS, proxies, redirects and
//! headers comes out.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use reqwest::{Client, ClientBuilder};

use crate::error::{Code, Error, Result, Stage};

/// The maximum number of headers of an answer, the same as that of curl.
const HEADERS_MAX: usize = 5_000;

/// Returns a builder of a client. The client follows no redirects, because each one must be checked. It uses no proxy
/// from the environment, because a proxy would resolve names itself, and connect to any address.
pub(crate) fn client_builder(connect: Duration) -> ClientBuilder {
    crate::tls::install_provider();
    Client::builder()
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect)
        // These settings match curl. Malformed header lines remain an error. If the client skipped them, it could also
        // skip a garbled length or coding, and read bytes of another body as the file.
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_max_headers(HEADERS_MAX)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
}

/// Returns the client of a builder.
///
/// # Errors
/// Fails permanently, with stage fetch, if the system has no usable certificates.
pub(crate) fn build(builder: ClientBuilder) -> Result<Client> {
    builder.build().map_err(|error| {
        let what = "cannot set up TLS; are the system's CA certificates installed?";
        Error::permanent(Stage::Fetch, Code::TlsFailed, what).because(error)
    })
}

/// Returns whether a server closed a connection instead of answering a request on it. If the server had not read the
/// request, the connection is reset.
pub(crate) fn closed_before_answer(error: &reqwest::Error) -> bool {
    let is_incomplete = |cause: &hyper::Error| cause.is_incomplete_message();
    !error.is_connect()
        && (causes(error).any(|cause| cause.downcast_ref().is_some_and(is_incomplete))
            || has_kind(error, |kind| {
                use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
                matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset)
            }))
}

/// Returns whether an I/O error of a matching kind has caused an error.
pub(crate) fn has_kind(error: &reqwest::Error, is_it: impl Fn(io::ErrorKind) -> bool) -> bool {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| is_it(error.kind()))
}

/// Returns an error and all its causes.
pub(crate) fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let first: &(dyn StdError + 'static) = error;
    std::iter::successors(Some(first), |&error| {
        // `source` of an I/O error skips the error that it wraps, and returns the source of that error.
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}
