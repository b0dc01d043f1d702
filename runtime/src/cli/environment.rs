//! What the environment says: where the queue's server is and where this user's files go. The only place that
//! reads it, beside the defaults that arguments declare.

use std::env::VarError;
use std::fs::DirBuilder;
use std::num::ParseIntError;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

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

/// The one that runs, even if its file was replaced meanwhile.
const THIS_PROGRAM: &str = "/proc/self/exe";

pub(super) struct Environment {
    /// The URL of the queue's server; may hold a password.
    pub(super) url: String,
    /// The folder of this user that a SQLite file is in which nobody named.
    own_folder: Option<PathBuf>,
}

impl Environment {
    pub(super) fn new(url: Option<String>) -> Result<Self> {
        let named = match url {
            Some(url) => Some(url),
            None => redis_url(&variable)?,
        };
        if let Some(url) = named {
            let own_folder = None;
            return Ok(Self { url, own_folder });
        }
        let own_folder = user_folder(&variable, "XDG_DATA_HOME", ".local/share")?;
        let file = own_folder.clone().unwrap_or_default().join("queue.db");
        let url = format!("sqlite:{}", file.display());
        Ok(Self { url, own_folder })
    }

    /// The server, for what makes no sense on an empty one: a mistyped path must not look like a queue without requests.
    pub(super) async fn connect(&self) -> Result<Server> {
        if let Some(path) = self.url.strip_prefix("sqlite:")
            && !path.is_empty()
            && matches!(Path::new(path).try_exists(), Ok(false))
        {
            let why = "there is no such file; `submit`, `run` and `plugin push` make one";
            return Err(Error::permanent(Stage::Queue, format!("{}: {why}", self.url)));
        }
        self.connect_or_create().await
    }

    /// The server; a SQLite file is made if it is not there.
    pub(super) async fn connect_or_create(&self) -> Result<Server> {
        // Requests may have credentials in their URIs.
        self.own_folder.as_deref().map_or(Ok(()), private_folder)?;
        Server::connect(&self.url).await
    }

    /// An engine with a compilation cache in this user's cache folder, if there is one.
    pub(super) fn engine(&self, limits: &Limits) -> Result<Engine> {
        let folder =
            user_folder(&variable, "XDG_CACHE_HOME", ".cache")?.map(|folder| folder.join("components"));
        // Without a cache a start costs a second more, nothing else.
        let folder = folder.and_then(|folder| {
            let absolute = std::path::absolute(&folder).unwrap_or(folder);
            let private = private_folder(&absolute);
            let warned = private
                .inspect_err(|error| tracing::warn!(error = error.report(), "compiling without a cache"));
            warned.is_ok().then_some(absolute)
        });
        Ok(Engine::new(limits, folder.as_deref())?.compiling_apart(THIS_PROGRAM.into()))
    }
}

/// Makes a folder that only this user can use, and checks that it is one.
fn private_folder(folder: &Path) -> Result<()> {
    let failed = |why: &str| Error::permanent(Stage::Config, format!("{}: {why}", folder.display()));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| failed("cannot be created").because(e))?;
    let found = std::fs::metadata(folder).map_err(|e| failed("cannot be looked at").because(e))?;
    if found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(failed("belongs to somebody else, or others can write to it"));
    }
    Ok(())
}

type Variable<'a> = &'a dyn Fn(&str) -> Result<Option<String>>;

fn variable(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(error) => Err(Error::permanent(Stage::Config, name).because(error)),
    }
}

/// `REDIS_URL`, or one made of `REDIS_HOST`, `REDIS_PORT` and `REDIS_PASSWORD`.
fn redis_url(variable: Variable<'_>) -> Result<Option<String>> {
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

/// This program's folder below `$xdg` or, without that, below `$HOME/fallback`.
fn user_folder(variable: Variable<'_>, xdg: &str, fallback: &str) -> Result<Option<PathBuf>> {
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
        let url = redis_url(&|name| {
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
        assert_eq!(redis_url(&|_| Ok(None)).unwrap(), None);
        let wrong = redis_url(&|name| Ok((name != "REDIS_URL").then(|| "no port".into())));
        assert!(wrong.is_err());
    }

    #[test]
    fn folders_are_those_of_the_user() {
        let folder = |xdg: Option<&str>, home: Option<&str>| {
            let values = [("XDG_DATA_HOME", xdg), ("HOME", home)]
                .map(|(name, value)| (name, value.map(str::to_owned)));
            user_folder(
                &|name| {
                    Ok(values
                        .iter()
                        .find(|(n, _)| *n == name)
                        .and_then(|(_, v)| v.clone()))
                },
                "XDG_DATA_HOME",
                ".local/share",
            )
            .unwrap()
        };
        assert_eq!(
            folder(None, Some("/home/ada")),
            Some("/home/ada/.local/share/ingest-host".into())
        );
        assert_eq!(
            folder(Some("/data"), Some("/home/ada")),
            Some("/data/ingest-host".into())
        );
        assert_eq!(folder(None, None), None);
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_not_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        private_folder(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(
            private_folder(&path)
                .unwrap_err()
                .to_string()
                .contains("others can write")
        );
    }
}
