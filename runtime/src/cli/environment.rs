//! What the environment says: where the queue's server is and where this user's files go. The only place that
//! reads it, beside the defaults that arguments declare.

use std::env::VarError;
use std::num::ParseIntError;
use std::path::PathBuf;

use crate::config::Limits;
use crate::error::{Error, Result, Stage};
use crate::plugin::Engine;
use crate::queue::Server;

/// Adds the variables of a `.env` file in the current folder, or one above, to those that are not set.
pub(super) fn load_dotenv() -> Result<()> {
    match dotenvy::dotenv() {
        Ok(_) => Ok(()),
        Err(error) if error.not_found() => Ok(()),
        // The error quotes the line, which may hold a password.
        Err(dotenvy::Error::LineParse(..)) => Err(Error::permanent(
            Stage::Config,
            ".env: a line is not NAME=VALUE; a value with blanks needs quotes",
        )),
        Err(error) => Err(Error::permanent(Stage::Config, ".env").because(error)),
    }
}

pub(super) struct Environment {
    /// The URL of the queue's server; may hold a password.
    pub(super) url: String,
}

impl Environment {
    pub(super) fn new(url: Option<String>) -> Result<Self> {
        let url = match url {
            Some(url) => url,
            None => match redis_url(variable)? {
                Some(url) => url,
                None => sqlite_url(variable)?,
            },
        };
        Ok(Self { url })
    }

    pub(super) async fn connect(&self) -> Result<Server> {
        Server::connect(&self.url).await
    }

    /// An engine with a compilation cache in this user's cache folder, if there is one.
    pub(super) fn engine(&self, limits: &Limits) -> Result<Engine> {
        let folder =
            user_folder(variable, "XDG_CACHE_HOME", ".cache")?.map(|folder| folder.join("components"));
        match Engine::new(limits, folder.as_deref()) {
            // A folder that cannot be written costs a second at the start, nothing else.
            Err(error) if folder.is_some() => {
                tracing::warn!(error = error.report(), "compiling without a cache");
                Engine::new(limits, None)
            }
            engine => engine,
        }
    }
}

type Variable = fn(&str) -> Result<Option<String>>;

fn variable(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(error) => Err(Error::permanent(Stage::Config, name).because(error)),
    }
}

/// `REDIS_URL`, or one made of `REDIS_HOST`, `REDIS_PORT` and `REDIS_PASSWORD`.
fn redis_url(variable: Variable) -> Result<Option<String>> {
    if let Some(url) = variable("REDIS_URL")? {
        return Ok(Some(url));
    }
    let Some(host) = variable("REDIS_HOST")? else {
        return Ok(None);
    };
    let refused = |message: String| Error::permanent(Stage::Config, message);
    let mut url = url::Url::parse("redis://localhost:6379/").expect("a constant URL");
    url.set_host(Some(&host))
        .map_err(|e| refused(format!("REDIS_HOST {host:?}")).because(e))?;
    if let Some(port) = variable("REDIS_PORT")? {
        let port: u16 = port
            .parse()
            .map_err(|e: ParseIntError| refused(format!("REDIS_PORT {port:?}")).because(e))?;
        url.set_port(Some(port))
            .map_err(|()| refused("REDIS_PORT cannot be set".into()))?;
    }
    if let Some(password) = variable("REDIS_PASSWORD")? {
        url.set_password(Some(&password))
            .map_err(|()| refused("REDIS_PASSWORD cannot be set".into()))?;
    }
    Ok(Some(url.into()))
}

fn sqlite_url(variable: Variable) -> Result<String> {
    let folder = user_folder(variable, "XDG_DATA_HOME", ".local/share")?.unwrap_or_default();
    Ok(format!("sqlite:{}", folder.join("queue.db").display()))
}

/// This program's folder below `$xdg` or, without that, below `$HOME/fallback`.
fn user_folder(variable: Variable, xdg: &str, fallback: &str) -> Result<Option<PathBuf>> {
    let base = match variable(xdg)? {
        Some(folder) => Some(PathBuf::from(folder)),
        None => variable("HOME")?.map(|home| PathBuf::from(home).join(fallback)),
    };
    Ok(base.map(|base| base.join("ingest-host")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_variables_make_a_url() {
        let url = redis_url(|name| {
            Ok(match name {
                "REDIS_HOST" => Some("queue.example.com".into()),
                "REDIS_PORT" => Some("6380".into()),
                "REDIS_PASSWORD" => Some("p@ss/word".into()),
                _ => None,
            })
        });
        assert_eq!(
            url.unwrap().unwrap(),
            "redis://:p%40ss%2Fword@queue.example.com:6380/"
        );
        assert_eq!(redis_url(|_| Ok(None)).unwrap(), None);
        let wrong = redis_url(|name| Ok((name != "REDIS_URL").then(|| "no port".into())));
        assert!(wrong.is_err());
    }

    #[test]
    fn without_redis_the_queue_is_a_file_of_the_user() {
        let url = sqlite_url(|name| Ok((name == "HOME").then(|| "/home/ada".into())));
        assert_eq!(url.unwrap(), "sqlite:/home/ada/.local/share/ingest-host/queue.db");
    }
}
