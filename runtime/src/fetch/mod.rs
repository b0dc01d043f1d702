//! Opens URIs: a URI goes in; the decompressed bytes of its input come out while they arrive. An input is never
//! collected as a whole, in memory or on disk.

mod access;
mod answer_part;
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
mod ranges_ahead;
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
use self::http::Resource;
pub use self::identity::{Identity, version_of_file};
use self::range_request::RangeRequest;
use self::source::InputBounds;
pub use self::source::{Fetched, STDIN_URI, Source};
use crate::config::Limits;
use crate::error::{Code, Error, Result, Stage};
use crate::location::{Location, Provider, redact};
use crate::stop::Stop;
use crate::storage::object::ObjectStores;

/// The requester of a URI, who determines what the URI may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestedBy {
    /// A person has typed the URI at the command line. The person may read everything that the process can read.
    Typed,
    /// The URI comes from a queue, so anybody who can write to the queue may have chosen it: see [`Access`].
    Queued,
}

/// A fetcher, which opens URIs. Clones share their connections.
#[derive(Clone)]
pub struct Fetcher {
    access: Arc<Access>,
    http: Arc<http::Http>,
    stores: ObjectStores,
    bounds: InputBounds,
}

impl Fetcher {
    /// Returns a fetcher whose queued URIs may reach public addresses and everything in `access`.
    pub fn new(access: Access, limits: &Limits) -> Self {
        Self::with_credentials(access, Credentials::default(), limits)
    }

    /// Returns a fetcher as [`Fetcher::new`] does, but with credentials for servers. The credentials are used for typed
    /// and queued URIs.
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
            stores: ObjectStores::default(),
            bounds: InputBounds::new(limits),
        }
    }

    /// Sets the object stores.
    #[must_use]
    pub fn with_stores(mut self, stores: ObjectStores) -> Self {
        self.stores = stores;
        self
    }

    /// Opens an input. A local file is given as a `file:` URI or as a path, which can be relative to the current
    /// folder. For any other URI, sends a request to the HTTP server or object store, and waits for the head of the
    /// answer. Needs a Tokio runtime, in which a task then fetches the body of the answer.
    ///
    /// # Errors
    /// Fails with stage fetch and the redacted URI:
    ///
    /// - permanently if the file does not exist, if the URI must not be reached, or if its scheme is not supported
    /// - transiently if a server cannot be reached or reports a temporary problem
    ///
    /// As soon as a stop is requested, returns the error of `stop`.
    pub async fn open(&self, uri: &str, requested_by: RequestedBy, stop: &Stop) -> Result<Source> {
        tokio::select! {
            biased;
            () = stop.requested() => Err(stop.check().expect_err("a stop was requested")),
            source = self.open_unstopped(uri, requested_by, stop) => source,
        }
    }

    /// Does the same as [`Fetcher::open`], but blocks until the input is open. Must be called on a thread of a Tokio
    /// runtime that is allowed to block. A local file is opened on this thread.
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

    /// Opens the rest of an input, from the byte `from` on. This byte must be before the end of the input. Apart from
    /// this, works as [`Fetcher::open_blocking`].
    ///
    /// # Errors
    /// Fails as [`Fetcher::open`] does, and transiently if the input has another identity, or if the server sends
    /// something other than the rest.
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
                    let what = format!("{}: has changed", path.display());
                    return Err(Error::transient(Stage::Fetch, Code::InputChanged, what));
                }
                file.skip(from)?;
                Source::from_file(file, &path, stop.clone()).behind(from, identity)
            }
            (location @ (Location::Http(_) | Location::Object(_)), Some(version)) => {
                let resource = self.resource(location, requested_by, uri)?;
                let rest = RangeRequest {
                    version: &version,
                    from,
                    end: None,
                    total: Some(identity.bytes()),
                };
                let answer = Handle::current().block_on(async {
                    tokio::select! {
                        biased;
                        () = stop.requested() => Err(stop.error()),
                        answer = self.http.open_rest(resource, rest, stop) => answer,
                    }
                })?;
                Source::from_answer(answer, stop.clone())?.behind(from, identity)
            }
            _ => {
                let what = format!("{}: cannot be read from the middle any more", redact(uri));
                return Err(Error::transient(Stage::Fetch, Code::InputChanged, what));
            }
        };
        source.within(self.bounds)
    }

    /// Opens standard input. It can be read only once.
    ///
    /// # Errors
    /// Never fails. If standard input cannot be read, the source's reader fails.
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
            location => {
                let resource = self.resource(location, requested_by, uri)?;
                Source::from_answer(self.http.open(resource, stop).await?, stop.clone())?
            }
        };
        source.within(self.bounds)
    }

    /// Returns the resource of a location that is not a file.
    ///
    /// # Errors
    /// Fails permanently if the scheme is not supported, a queued URI may not read the object, or the settings of its
    /// store cannot be used.
    fn resource(&self, location: Location, requested_by: RequestedBy, uri: &str) -> Result<Resource> {
        match location {
            Location::Http(url) => Ok(Resource::Url(url, requested_by)),
            Location::Object(object) => {
                if requested_by == RequestedBy::Queued {
                    self.access.admit_object(&object)?;
                }
                Ok(Resource::Object(Arc::new(self.stores.object(object, uri)?)))
            }
            Location::File(_) => Err(unsupported(uri, "file")),
            Location::Other(scheme) => Err(unsupported(uri, &scheme)),
        }
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

/// Checks a URI for faults that would make every worker fail: an unsupported scheme or an invalid URL. If the workers
/// run on this machine (`by_this_machine`), also checks that a local path is a file.
///
/// # Errors
/// Fails permanently, with stage fetch and the redacted URI, as a fetch of the URI would.
pub fn check_fetchable(uri: &str, by_this_machine: bool) -> Result<()> {
    let path = match Location::parse(uri, Stage::Fetch)? {
        Location::File(path) if by_this_machine => path,
        Location::File(_) | Location::Http(_) | Location::Object(_) => return Ok(()),
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
        // A worker can have more permissions than this user.
        Err(_) => Ok(()),
    }
}

fn open_file(path: &Path, requested_by: RequestedBy, access: &Access, stop: Stop) -> Result<Source> {
    let file = file::open(path, requested_by, access)?;
    Ok(Source::from_file(file, path, stop))
}

fn unsupported(uri: &str, scheme: &str) -> Error {
    let mut what = format!(
        "{}: {scheme}: is not supported, only http:, https:, file:, s3:, gs: and az:",
        redact(uri)
    );
    if let Some(provider) = Provider::of_other_scheme(scheme) {
        what.push_str(&format!("; write {}://BUCKET/KEY", provider.scheme()));
    }
    if !uri.contains("://") {
        what.push_str("; a file of that name is written ./NAME");
    }
    Error::permanent(Stage::Fetch, Code::AddressInvalid, what)
}
