//! Opens URIs: a URI goes in; its bytes come out, decompressed, while they arrive. No input is ever held whole, in
//! memory or on disk.

mod access;
mod answered_hosts;
mod checksums;
mod compression;
mod credentials;
mod decompress;
mod dns;
mod file;
mod http;
mod identity;
mod min_rate;
mod range_request;
mod readers;
mod source;
mod stdin;
mod transfer;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use tokio::runtime::Handle;

pub use self::access::Access;
pub use self::answered_hosts::AnsweredHosts;
pub use self::credentials::Credentials;
pub use self::identity::Identity;
use self::range_request::RangeRequest;
use self::source::InputBounds;
pub use self::source::{Fetched, STDIN_URI, Source};
use crate::config::Limits;
use crate::error::{Code, Error, Result, Stage};
use crate::location::{Location, redact};
use crate::stop::Stop;

/// The origin of a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestedBy {
    /// A person at the command line, who may read whatever the process may.
    Typed,
    /// A queue, and so anybody who can write to it: see [`Access`].
    Queued,
}

/// Opens URIs. Clones share their connections.
#[derive(Clone)]
pub struct Fetcher {
    access: Arc<Access>,
    http: Arc<http::Http>,
    bounds: InputBounds,
}

impl Fetcher {
    /// Returns a fetcher whose queued URIs may reach public addresses and everything in `access`.
    pub fn new(access: Access, limits: &Limits) -> Self {
        Self::with_credentials(access, Credentials::default(), limits)
    }

    /// Returns a fetcher like [`Fetcher::new`], with credentials for servers. They are used for all URIs.
    pub fn with_credentials(access: Access, credentials: Credentials, limits: &Limits) -> Self {
        Self::noting_in(&Arc::default(), access, credentials, limits)
    }

    /// Returns a fetcher like [`Fetcher::with_credentials`], which notes in `answered` the hosts that answer. It shares
    /// nothing else with other fetchers: no connection, no credentials and no right to reach an address.
    pub fn noting_in(
        answered: &Arc<AnsweredHosts>,
        access: Access,
        credentials: Credentials,
        limits: &Limits,
    ) -> Self {
        let (access, answered) = (Arc::new(access), Arc::clone(answered));
        let http = http::Http::new(Arc::clone(&access), credentials, limits.clone(), answered);
        Self {
            http: Arc::new(http),
            access,
            bounds: InputBounds::new(limits),
        }
    }

    /// Opens a local file (a `file:` URI or a path relative to the current folder), or sends a request to an HTTP
    /// server and waits for the head of its answer. Needs a tokio runtime, where a task then fetches ahead.
    ///
    /// # Errors
    /// Fails with stage fetch and the redacted URI: permanently if there is no such file, it must not be reached, or
    /// its scheme is not supported; transiently if a server cannot be reached or is in trouble. Returns the error of
    /// `stop` as soon as a stop is requested.
    pub async fn open(&self, uri: &str, requested_by: RequestedBy, stop: &Stop) -> Result<Source> {
        tokio::select! {
            biased;
            () = stop.requested() => Err(stop.check().expect_err("a stop was requested")),
            source = self.open_unstopped(uri, requested_by, stop) => source,
        }
    }

    /// Does the same as [`Fetcher::open`] on a thread of a runtime that may block, and opens a file directly.
    ///
    /// # Errors
    /// Fails as [`Fetcher::open`] does.
    pub fn open_blocking(&self, uri: &str, requested_by: RequestedBy, stop: &Stop) -> Result<Source> {
        match Location::parse(uri, Stage::Fetch)? {
            Location::File(path) => {
                stop.check()?;
                open_file(&path, requested_by, &self.access, stop.clone())?.within(self.bounds)
            }
            _ => Handle::current().block_on(self.open(uri, requested_by, stop)),
        }
    }

    /// Opens an input from the byte `from` on, which must be before the end. Apart from that, does the same as
    /// [`Fetcher::open_blocking`].
    ///
    /// # Errors
    /// Fails as [`Fetcher::open`] does; transiently if the identity differs or the rest cannot be fetched by itself.
    pub fn open_rest_blocking(
        &self,
        uri: &str,
        requested_by: RequestedBy,
        identity: &Identity,
        from: u64,
        stop: &Stop,
    ) -> Result<Source> {
        stop.check()?;
        let source = match (Location::parse(uri, Stage::Fetch)?, identity.version()) {
            (Location::File(path), _) => {
                let mut file = file::open(&path, requested_by, &self.access)?;
                if file.identity() != identity {
                    let what = format!("{}: is not the file that it was", path.display());
                    return Err(Error::transient(Stage::Fetch, Code::InputChanged, what));
                }
                file.skip(from)?;
                Source::from_file(file, &path, stop.clone()).behind(from, identity)
            }
            (Location::Http(url), Some(version)) => {
                let rest = RangeRequest {
                    version: &version,
                    from,
                    total: Some(identity.bytes()),
                };
                let answer = Handle::current().block_on(async {
                    tokio::select! {
                        biased;
                        () = stop.requested() => Err(stop.error()),
                        answer = self.http.open_rest(url, requested_by, rest, stop) => answer,
                    }
                })?;
                Source::from_answer(answer, stop.clone())?.behind(from, identity)
            }
            _ => {
                let what = format!("{}: is not where it was", redact(uri));
                return Err(Error::transient(Stage::Fetch, Code::InputChanged, what));
            }
        };
        source.within(self.bounds)
    }

    /// Opens standard input, which is read once and to its end.
    ///
    /// # Errors
    /// Never fails. The reader has the same errors as for a file.
    pub fn open_stdin(&self, stop: &Stop) -> Result<Source> {
        Source::from_stdin(stop.clone()).within(self.bounds)
    }

    /// Returns the hosts that have answered this fetcher, and others that note them in the same list.
    pub fn answered_hosts(&self) -> &Arc<AnsweredHosts> {
        self.http.reached()
    }

    async fn open_unstopped(&self, uri: &str, requested_by: RequestedBy, stop: &Stop) -> Result<Source> {
        let source = match Location::parse(uri, Stage::Fetch)? {
            Location::File(path) => self.open_file(path, requested_by, stop.clone()).await?,
            Location::Http(url) => {
                Source::from_answer(self.http.open(url, requested_by, stop).await?, stop.clone())?
            }
            // A later source for object stores belongs here.
            Location::Other(scheme) => return Err(unsupported(uri, &scheme)),
        };
        source.within(self.bounds)
    }

    async fn open_file(&self, path: PathBuf, requested_by: RequestedBy, stop: Stop) -> Result<Source> {
        let access = Arc::clone(&self.access);
        // Opening a file can block, too, for example on a network file system.
        let opening = tokio::task::spawn_blocking(move || open_file(&path, requested_by, &access, stop));
        opening.await.unwrap_or_else(|error| {
            Err(
                Error::transient(Stage::Fetch, Code::HostFailure, "a file could not be opened")
                    .because(error),
            )
        })
    }
}

/// Checks a URI for faults that no worker could get around: an unsupported scheme or an invalid URL. If the workers run
/// on this machine, also checks that a local path is a file.
///
/// # Errors
/// Fails permanently, with stage fetch and the redacted URI, as a fetch would.
pub fn check_fetchable(uri: &str, by_this_machine: bool) -> Result<()> {
    let path = match Location::parse(uri, Stage::Fetch)? {
        Location::File(path) if by_this_machine => path,
        Location::File(_) | Location::Http(_) => return Ok(()),
        Location::Other(scheme) => return Err(unsupported(uri, &scheme)),
    };
    let refused = |code, why: &str| Error::permanent(Stage::Fetch, code, format!("{}: {why}", redact(uri)));
    match std::fs::metadata(&path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(found) if found.is_dir() => Err(refused(Code::NotAFile, "is a folder, not a file")),
        Ok(_) => Err(refused(Code::NotAFile, "is not a regular file")),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(refused(Code::InputMissing, "there is no such file"))
        }
        Err(error)
            if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidFilename)
                || Errno::from_io_error(&error) == Some(Errno::LOOP) =>
        {
            Err(refused(Code::AddressInvalid, "cannot be the path of a file").because(error))
        }
        // A worker may have more rights than this user.
        Err(_) => Ok(()),
    }
}

fn open_file(path: &Path, requested_by: RequestedBy, access: &Access, stop: Stop) -> Result<Source> {
    let file = file::open(path, requested_by, access)?;
    Ok(Source::from_file(file, path, stop))
}

fn unsupported(uri: &str, scheme: &str) -> Error {
    let mut what = format!(
        "{}: {scheme}: is not supported, only http:, https: and file:",
        redact(uri)
    );
    if !uri.contains("://") {
        what.push_str("; a file of that name is written ./NAME");
    }
    Error::permanent(Stage::Fetch, Code::AddressInvalid, what)
}
