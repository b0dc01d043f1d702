//! Connects to a queue's server. Takes a URL, and returns a connected Redis server or SQLite file.

use std::net::IpAddr;
use std::sync::Arc;

use url::{Host, Url};

use super::redis::RedisServer;
use super::sqlite::{OpenMode, SqliteFile};
use super::{Queue, Registry};
use crate::error::{Code, Error, Result, Stage};
use crate::location::redact;

/// Returns whether the server at `url` is a local file or listens on the loopback address. The server's workers then
/// most likely run on this machine, too.
pub fn is_on_this_machine(url: &str) -> bool {
    if url.starts_with("sqlite:") {
        return true;
    }
    match Url::parse(url).ok().as_ref().and_then(Url::host) {
        // In a redis URL, the parser does not recognize an IPv4 address, and returns it as a name.
        Some(Host::Domain(name)) => {
            let address = name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
            address || name.eq_ignore_ascii_case("localhost")
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A connected server.
#[derive(Clone)]
pub struct Backend {
    /// The requests on the server.
    pub queue: Arc<dyn Queue>,
    /// The plugins on the server.
    pub registry: Arc<dyn Registry>,
    /// The server's URL without credentials, for people.
    pub name: String,
}

impl Backend {
    /// Describes the server and its location, without credentials.
    pub fn description(&self) -> String {
        match self.name.strip_prefix("sqlite:") {
            Some(path) => {
                let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
                format!("SQLite file {}", absolute.display())
            }
            None => self.name.clone(),
        }
    }

    /// Connects to the server at `url`: `redis://...`, `rediss://...` or `sqlite:PATH`. A missing SQLite file is
    /// created, and a file of an older version is upgraded. Errors and logs never show the password in a URL.
    ///
    /// # Errors
    /// Fails with [`crate::error::Class::Permanent`] if the URL is not understood or the server refuses the
    /// credentials. Fails with [`crate::error::Class::Transient`] if the server cannot be reached.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_as(url, OpenMode::Write).await
    }

    /// Connects for operations that change nothing. A SQLite file must exist and is not upgraded, so that workers of an
    /// older version can continue to use it. An operation that would change the file fails.
    ///
    /// # Errors
    /// Fails as [`Backend::connect`] does. Also fails if the file is missing or empty.
    pub async fn connect_to_read(url: &str) -> Result<Self> {
        Self::connect_as(url, OpenMode::Read).await
    }

    async fn connect_as(url: &str, mode: OpenMode) -> Result<Self> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let file = Arc::new(SqliteFile::open(path, mode).await?);
            return Ok(Self {
                queue: file.clone(),
                registry: file,
                name: url.to_owned(),
            });
        }
        let refused = |why: String| {
            let what = format!("the URL of the queue's server (--url, REDIS_URL) {why}");
            Error::permanent(Stage::Config, Code::SettingsInvalid, what)
        };
        if is_host_and_port(url) {
            return Err(refused(format!(
                "is {url}, without a scheme: write redis://{url}"
            )));
        }
        if is_path(url) {
            return Err(refused(format!("is {url}, without a scheme: write sqlite:{url}")));
        }
        // The parser's error does not quote the URL. The URL must not be shown, because it may contain a password.
        let url = Url::parse(url).map_err(|error| {
            refused("cannot be read: expected redis://..., rediss://... or sqlite:PATH".into()).because(error)
        })?;
        if !matches!(url.scheme(), "redis" | "rediss") {
            let why = format!("has the scheme {:?}, not redis, rediss or sqlite", url.scheme());
            return Err(refused(why));
        }
        let server = Arc::new(RedisServer::connect(&url).await?);
        Ok(Self {
            queue: server.clone(),
            registry: server,
            name: redact(url.as_str()),
        })
    }
}

/// Returns whether a text has the form `HOST:PORT`, in which it cannot contain a password.
fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        port.parse::<u16>().is_ok() && !host.is_empty() && host.chars().all(is_name)
    })
}

/// Returns whether a text looks like the path of a SQLite file. Such a text has no scheme, and contains no password.
fn is_path(text: &str) -> bool {
    let is_path = ["/", "./", "../", "~/"]
        .iter()
        .any(|start| text.starts_with(start));
    let is_name = [".db", ".sqlite", ".sqlite3"]
        .iter()
        .any(|end| text.ends_with(end));
    (is_path || is_name) && !text.contains([':', '@'])
}

#[cfg(test)]
mod tests {
    use super::{is_host_and_port, is_on_this_machine, is_path};

    #[test]
    fn a_path_lacks_a_scheme() {
        for text in ["/tmp/q.db", "q2.db", "./queue", "../q", "data/q.sqlite3"] {
            assert!(is_path(text), "{text}");
        }
        for text in [
            "nonsense",
            "sqlite:q.db",
            "redis://h/1.db",
            "me:pw@h/q.db",
            "s3cret@h.db",
            "localhost",
        ] {
            assert!(!is_path(text), "{text}");
        }
    }

    #[test]
    fn a_host_and_a_port_lack_a_scheme() {
        for text in ["localhost:27391", "127.0.0.1:6379", "queue.example.com:6379"] {
            assert!(is_host_and_port(text), "{text}");
        }
        for text in [
            "localhost",
            "redis://localhost:6379",
            "me:pw@localhost:6379",
            ":6379",
            "a:70000",
            "sqlite:queue.db",
            "nonsense:",
        ] {
            assert!(!is_host_and_port(text), "{text}");
        }
    }

    #[test]
    fn a_loopback_address_is_this_machine() {
        for (url, is_here) in [
            ("sqlite:/data/queue.db", true),
            ("sqlite:queue.db", true),
            ("redis://localhost:6379/", true),
            ("redis://:pw@LOCALHOST/1", true),
            ("rediss://127.0.0.1", true),
            ("redis://127.8.9.1:6379", true),
            ("redis://[::1]:6379", true),
            ("redis://10.0.0.5", false),
            ("redis://queue.example.com:6379", false),
            ("redis://localhost.example.com", false),
            ("no url", false),
        ] {
            assert_eq!(is_on_this_machine(url), is_here, "{url}");
        }
    }
}
