//! A URL in, a connected server out: Redis or a SQLite file.

use std::sync::Arc;

use url::Url;

use super::redis::RedisServer;
use super::sqlite::SqliteFile;
use super::{Queue, Registry};
use crate::error::{Error, Result, Stage};
use crate::location::redact;

/// A connected server.
#[derive(Clone)]
pub struct Server {
    /// Its requests.
    pub queue: Arc<dyn Queue>,
    /// Its plugins.
    pub registry: Arc<dyn Registry>,
    /// Its URL without credentials, for people.
    pub name: String,
}

impl Server {
    /// Connects to the server at `url`: `redis://...`, `rediss://...` or `sqlite:PATH` (the file is created if it is not
    /// there). Errors and logs never show a password in it.
    ///
    /// # Errors
    /// [`crate::error::Class::Permanent`] if the URL is not understood or the server refuses the credentials;
    /// [`crate::error::Class::Transient`] if the server cannot be reached.
    pub async fn connect(url: &str) -> Result<Self> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let file = Arc::new(SqliteFile::open(path).await?);
            return Ok(Self {
                queue: file.clone(),
                registry: file,
                name: url.to_owned(),
            });
        }
        let refused = |why: String| {
            let what = format!("the URL of the queue's server (--url, REDIS_URL) {why}");
            Error::permanent(Stage::Config, what)
        };
        // The parser's error names the fault only, never the text; the text may have a password in it.
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
