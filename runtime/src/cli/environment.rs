//! Reads the environment: the location of the queue's server, and the folders for this user's files. Two kinds of
//! variables are read elsewhere: the variables that the arguments' declarations name (`env`), and the variables of the
//! log (`RUST_LOG`, `NO_COLOR`, `TERM`).

use std::env::VarError;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::dotenv::{self, Dotenv};
use super::settings::Origin;
use crate::config::Limits;
use crate::error::{Code, Error, Result, Stage};
use crate::plugin::{Cache, Engine};
use crate::queue::Backend;
use crate::trust::{self, private_folder};

/// The path of the running program. It is valid even if the program's file was replaced after the start.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// The names of the variables with the address and the password of the queue's server.
pub(super) const SERVER_NAMES: [&str; 4] = ["REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD"];

/// The settings from the command line, the environment and `.env`: see [`server_url`] for how the last two are
/// combined.
pub(super) struct Environment {
    /// The URL from the command line.
    url: Option<String>,
    /// The URL from the config file, with its origin.
    file_url: Option<(String, Origin)>,
    dotenv: Dotenv,
}

/// The address of the queue's server.
struct QueueLocation {
    /// The server's URL. It may contain a password.
    url: String,
    /// Set if the URL is the default, because no server was named.
    is_default: bool,
    origin: Origin,
    /// This user's own folder, if it contains the default SQLite file.
    own_folder: Option<PathBuf>,
}

impl Environment {
    pub(super) fn new(url: Option<String>, file_url: Option<(String, Origin)>) -> Self {
        warn_of_authorities();
        let dotenv = Dotenv::load();
        Self {
            url,
            file_url,
            dotenv,
        }
    }

    /// Returns the URL of the queue's server. The URL may contain a password.
    ///
    /// # Errors
    /// Fails if a variable cannot be parsed.
    pub(super) fn url(&self) -> Result<String> {
        self.location().map(|location| location.url)
    }

    /// Returns the origin of the server's URL.
    ///
    /// # Errors
    /// Fails as [`Environment::url`] does.
    pub(super) fn url_origin(&self) -> Result<Origin> {
        self.location().map(|location| location.origin)
    }

    fn location(&self) -> Result<QueueLocation> {
        let named = |url, origin| QueueLocation {
            url,
            is_default: false,
            origin,
            own_folder: None,
        };
        if let Some(url) = self.url.clone() {
            return Ok(named(url, Origin::CommandLine));
        }
        let is_set = |name: &str| {
            std::env::var_os(name).is_some_and(|value| !is_of_a_service(name, &value.to_string_lossy()))
        };
        if let Some(url) = server_url(&variable, &is_set, &|name| self.dotenv.get(name))? {
            let set = SERVER_NAMES.into_iter().find(|name| is_set(name));
            let name = set.map_or_else(|| ".env".to_owned(), str::to_owned);
            return Ok(named(url, Origin::Named(name)));
        }
        if let Some((url, origin)) = self.file_url.clone() {
            return Ok(named(url, origin));
        }
        let own_folder = user_folder(&variable, "XDG_DATA_HOME", ".local/share")?;
        let file = own_folder.clone().unwrap_or_default().join("queue.db");
        let url = format!("sqlite:{}", file.display());
        Ok(QueueLocation {
            url,
            is_default: true,
            origin: Origin::Default,
            own_folder,
        })
    }

    /// Returns whether the user has named a server, by its URL or its host.
    ///
    /// # Errors
    /// Fails as [`Environment::url`] does.
    pub(super) fn names_a_server(&self) -> Result<bool> {
        Ok(!self.location()?.is_default)
    }

    /// Returns the queues that `.env` names for a worker; none if the worker was given queues otherwise.
    ///
    /// # Errors
    /// Fails if `.env` cannot be parsed.
    pub(super) fn queues_unless_given(&self, given: &[String]) -> Result<Vec<String>> {
        if given.is_empty() {
            self.dotenv.queues()
        } else {
            Ok(Vec::new())
        }
    }

    /// Connects to the server for a command that only reads. Does not upgrade a SQLite file, because workers of the
    /// older version that created the file could not use it any more.
    pub(super) async fn connect_to_read(&self) -> Result<Backend> {
        self.existing()?.connect_to_read().await
    }

    /// Connects to the server for a command that changes existing data. Fails if the server is a SQLite file that does
    /// not exist: a mistyped path must not look like a queue without requests. Upgrades a SQLite file of an older
    /// version.
    pub(super) async fn connect(&self) -> Result<Backend> {
        self.existing()?.connect().await
    }

    /// Connects to the server. Creates a SQLite file if it does not exist. Fails if its folder does not exist, unless it
    /// is this user's own folder: a mistyped path must not make a new queue.
    pub(super) async fn connect_or_create(&self) -> Result<Backend> {
        let location = self.location()?;
        location.check_folder()?;
        location.connect().await
    }

    fn existing(&self) -> Result<QueueLocation> {
        let location = self.location()?;
        if location.lacks_its_file() {
            let why = "there is no such file; `submit`, `run`, `queue pause` and `plugin push` make one";
            return Err(Error::permanent(
                Stage::Queue,
                Code::QueueUnknown,
                format!("{}: {why}", location.url),
            ));
        }
        Ok(location)
    }

    /// Returns whether the server is a SQLite file that does not exist yet.
    pub(super) fn lacks_its_file(&self) -> bool {
        self.location().is_ok_and(|location| location.lacks_its_file())
    }

    /// Returns an engine. If this user has a cache folder, the engine keeps compiled components there. Another folder
    /// of this user has the secret with which the files in the cache are signed.
    pub(super) fn engine(&self, limits: &Limits) -> Result<Engine> {
        let folders = user_folder(&variable, "XDG_CACHE_HOME", ".cache")?.zip(user_folder(
            &variable,
            "XDG_STATE_HOME",
            ".local/state",
        )?);
        // An unusable cache is no error, because without a cache, a start only takes about 1 s longer.
        let cache = folders.and_then(|(folder, secret)| {
            let absolute = |folder: PathBuf| std::path::absolute(&folder).unwrap_or(folder);
            let (folder, secret) = (absolute(folder), absolute(secret));
            let cache =
                private_folder(&folder).and_then(|()| Cache::open(&folder.join("components"), &secret));
            cache
                .inspect_err(|error| tracing::warn!(error = error.report(), "compiling without a cache"))
                .ok()
        });
        Ok(Engine::new(limits, cache)?.compiling_apart(THIS_PROGRAM.into()))
    }
}

/// Returns the path of the config file: the one from the command line, or else the one in `INGEST_HOST_CONFIG`.
pub(super) fn config_file(given: Option<PathBuf>) -> Option<PathBuf> {
    let named = || std::env::var_os("INGEST_HOST_CONFIG").filter(|path| !path.is_empty());
    given.or_else(|| named().map(PathBuf::from))
}

impl QueueLocation {
    fn lacks_its_file(&self) -> bool {
        let path = self.url.strip_prefix("sqlite:").filter(|path| !path.is_empty());
        path.is_some_and(|path| matches!(Path::new(path).try_exists(), Ok(false)))
    }

    fn check_folder(&self) -> Result<()> {
        let folder = self
            .url
            .strip_prefix("sqlite:")
            .and_then(|path| Path::new(path).parent());
        let named = folder.filter(|folder| !self.is_default && !folder.as_os_str().is_empty());
        match named {
            Some(folder) if matches!(folder.try_exists(), Ok(false)) => {
                let what = format!(
                    "{}: there is no folder {}: make it, or correct the path",
                    self.url,
                    folder.display()
                );
                Err(Error::permanent(Stage::Queue, Code::QueueFile, what))
            }
            _ => Ok(()),
        }
    }

    async fn connect(&self) -> Result<Backend> {
        self.guard()?;
        Backend::connect(&self.url).await
    }

    async fn connect_to_read(&self) -> Result<Backend> {
        self.guard()?;
        Backend::connect_to_read(&self.url).await
    }

    /// Closes this user's own folder to other users, because the URIs of requests may contain secrets.
    fn guard(&self) -> Result<()> {
        self.own_folder.as_deref().map_or(Ok(()), private_folder)
    }
}

/// Warns if other users can change the certificate authorities that TLS trusts.
fn warn_of_authorities() {
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        let Some(value) = std::env::var_os(name) else {
            continue;
        };
        for path in std::env::split_paths(&value) {
            let changed = std::fs::metadata(&path)
                .ok()
                .and_then(|found| trust::changed_by_others(&found));
            if let Some(why) = changed {
                let path = path.display().to_string();
                tracing::warn!(
                    name,
                    path,
                    why,
                    "whoever can change this decides which servers TLS trusts: make it yours, and `chmod go-w` it"
                );
            }
        }
    }
}

/// The beginning of the value that Kubernetes gives `REDIS_PORT` if there is a Service named `redis`. The value is an
/// address, not a port.
const OF_A_SERVICE: &str = "tcp://";

pub(super) type Variable<'a> = &'a dyn Fn(&str) -> Result<Option<String>>;

pub(super) fn variable(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) if is_of_a_service(name, &value) => {
            tracing::debug!(name, "set by Kubernetes for a Service, and not used");
            Ok(None)
        }
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(error) => Err(Error::permanent(Stage::Config, Code::SettingsInvalid, name).because(error)),
    }
}

/// Returns whether Kubernetes has set this variable for a Service. Such a value is not meant for this program.
fn is_of_a_service(name: &str, value: &str) -> bool {
    name == "REDIS_PORT" && value.starts_with(OF_A_SERVICE)
}

/// Returns the server's URL. If the process's environment sets any of [`SERVER_NAMES`], the URL comes from this
/// environment. If it sets none of them, the URL comes from `.env`. The URL is never made of parts from both. So a
/// password in the environment is not sent to a host that an attacker's `.env` names.
fn server_url(
    real: Variable<'_>,
    is_set: &dyn Fn(&str) -> bool,
    dotenv: Variable<'_>,
) -> Result<Option<String>> {
    let Some(set) = SERVER_NAMES.into_iter().find(|name| is_set(name)) else {
        let url = redis_url(dotenv).and_then(|url| match url {
            Some(url) => Ok(Some(url)),
            None => check_alone(dotenv),
        });
        return url.map_err(dotenv::in_file);
    };
    if let Some(url) = redis_url(real)? {
        return Ok(Some(url));
    }
    for name in ["REDIS_URL", "REDIS_HOST"] {
        if !is_set(name) && dotenv(name).map_err(dotenv::in_file)?.is_some() {
            let why = format!(
                "{set} is set in the environment and {name} in .env: name the server and its password in one of them"
            );
            return Err(Error::permanent(Stage::Config, Code::SettingsInvalid, why));
        }
    }
    check_alone(real)
}

/// Refuses a port or a password without a host. Without this check, the user could work on another server than they
/// think.
fn check_alone(variable: Variable<'_>) -> Result<Option<String>> {
    for name in ["REDIS_PORT", "REDIS_PASSWORD"] {
        if variable(name)?.is_some() {
            let why = format!(
                "{name} is set, and no REDIS_HOST: set that or REDIS_URL, unset {name}, or name the queue's server with --url"
            );
            return Err(Error::permanent(Stage::Config, Code::SettingsInvalid, why));
        }
    }
    Ok(None)
}

/// Returns `REDIS_URL`, or a URL composed of `REDIS_HOST`, `REDIS_PORT` and `REDIS_PASSWORD`.
fn redis_url(variable: Variable<'_>) -> Result<Option<String>> {
    if let Some(url) = variable("REDIS_URL")? {
        return Ok(Some(url));
    }
    let refused = |message: String| Error::permanent(Stage::Config, Code::SettingsInvalid, message);
    let Some(host) = variable("REDIS_HOST")? else {
        return Ok(None);
    };
    let mut url = url::Url::parse("redis://localhost:6379/").expect("a constant URL");
    // In a URL, an IPv6 address is in brackets.
    let in_url = match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host,
    };
    let why = "REDIS_HOST is not the name or address of a host, as in queue.example.com or ::1; a port goes into REDIS_PORT, \
               a whole URL into REDIS_URL";
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !in_url.starts_with('[') && !in_url.chars().all(is_of_name) {
        return Err(refused(why.into()));
    }
    url.set_host(Some(&in_url))
        .map_err(|e| refused(why.into()).because(e))?;
    if let Some(port) = variable("REDIS_PORT")? {
        let port = port.parse::<u16>();
        let port =
            port.map_err(|_| refused("REDIS_PORT is not a port: write a number such as 6379".into()))?;
        url.set_port(Some(port))
            .map_err(|()| refused("REDIS_PORT cannot be set".into()))?;
    }
    if let Some(password) = variable("REDIS_PASSWORD")? {
        // The password is literal: a `%` in it does not begin an escape.
        let password = utf8_percent_encode(&password, NON_ALPHANUMERIC).to_string();
        url.set_password(Some(&password))
            .map_err(|()| refused("REDIS_PASSWORD cannot be set".into()))?;
    }
    Ok(Some(url.into()))
}

/// Returns this program's folder below the folder that the variable `xdg` names. If the variable is not set, returns
/// this program's folder below the folder `fallback` in `$HOME`.
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
        let of = |name: &'static str, value: &'static str| {
            redis_url(&move |asked| {
                Ok(match asked {
                    _ if asked == name => Some(value.to_owned()),
                    "REDIS_HOST" => Some("queue.example.com".to_owned()),
                    _ => None,
                })
            })
        };
        for password in [
            "%41",
            "a%",
            "%zz",
            "a:b@c/d?e#f[g]",
            "$HOME\\n",
            "päss wörd",
            "+",
            "'\"`",
        ] {
            let url = of("REDIS_PASSWORD", password).unwrap().unwrap();
            let client = redis_client_password(&url);
            assert_eq!(client, password, "{url}");
        }
        for (host, in_url) in [
            ("::1", "[::1]"),
            ("[::1]", "[::1]"),
            ("2001:db8::7", "[2001:db8::7]"),
            ("::ffff:10.0.0.1", "[::ffff:a00:1]"),
            ("10.0.0.1", "10.0.0.1"),
            ("redis", "redis"),
            ("Queue_1.example", "Queue_1.example"),
        ] {
            let url = of("REDIS_HOST", host).unwrap().unwrap();
            assert_eq!(url, format!("redis://{in_url}:6379/"));
        }
        for host in [
            "a:6380",
            "redis://a",
            "a/b",
            "a@b",
            "a b",
            "fe80::1%eth0",
            "[::1]:6380",
            "a?b",
            "a#b",
            "$HOME.example",
            "%41.example",
        ] {
            let error = of("REDIS_HOST", host).expect_err(host).report();
            assert!(error.contains("REDIS_PORT"), "{host}: {error}");
        }
        let wrong = redis_url(&|name| Ok((name != "REDIS_URL").then(|| "no port".into())));
        assert!(wrong.is_err());
    }

    /// Returns the password that a Redis client sends for a URL.
    fn redis_client_password(url: &str) -> String {
        let url = url::Url::parse(url).unwrap();
        let password = url.password().unwrap();
        percent_encoding::percent_decode_str(password)
            .decode_utf8()
            .unwrap()
            .into_owned()
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
    fn a_server_is_named_in_one_place() {
        fn value(values: &[(&str, &str)], name: &str) -> Option<String> {
            let found = values.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        }
        let url = |real: &[(&str, &str)], dotenv: &[(&str, &str)]| {
            server_url(
                &|name| Ok(value(real, name).filter(|value| !value.is_empty())),
                &|name| value(real, name).is_some(),
                &|name| Ok(value(dotenv, name)),
            )
        };
        let (mine, theirs) = (("REDIS_HOST", "mine"), ("REDIS_HOST", "theirs"));
        let their_url = ("REDIS_URL", "redis://theirs/");
        let password = ("REDIS_PASSWORD", "s3cret");
        assert_eq!(url(&[], &[]).unwrap(), None);
        assert_eq!(url(&[], &[theirs]).unwrap().unwrap(), "redis://theirs:6379/");
        assert_eq!(
            url(&[mine], &[their_url, password]).unwrap().unwrap(),
            "redis://mine:6379/"
        );
        assert_eq!(url(&[("REDIS_URL", "")], &[their_url]).unwrap(), None);
        for part in [password, ("REDIS_PORT", "7000")] {
            for alone in [url(&[part], &[]), url(&[], &[part])] {
                let error = alone.expect_err("no host").report();
                assert!(
                    error.contains(&format!("{} is set, and no REDIS_HOST", part.0)),
                    "{error}"
                );
            }
        }
        for there in [theirs, their_url] {
            let error = url(&[password], &[there]).unwrap_err().report();
            assert!(
                error.contains("REDIS_PASSWORD is set in the environment") && !error.contains("s3cret"),
                "{error}"
            );
        }
    }
}
