//! Connects to the Redis server. Takes commands, and returns values or classified errors. Most commands share one
//! connection. A command that blocks or moves much data uses a connection of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, ScriptInvocation,
    ServerErrorKind,
};
use tokio::sync::Mutex;
use url::Url;

use crate::error::{Class, Code, Error, Result, Stage};

/// The longest time to connect, including TLS and authentication.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest wait for an answer on the shared connection. The client's default is 500 ms, and on a busy server an
/// fsync can take longer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The time that a blocking command may take beyond its own timeout.
const BLOCK_GRACE: Duration = Duration::from_secs(5);
/// The maximum number of idle connections that are kept for later commands that need a connection of their own.
const IDLE_MAX: usize = 8;

/// The connections to one server. A broken connection is replaced when the next command needs it. Commands are not
/// repeated here, because only the caller knows whether it still needs the answer.
pub(super) struct Connections {
    client: Client,
    /// The server's URL without user and password.
    name: String,
    shared: Mutex<Option<SharedConnection>>,
    idle: parking_lot::Mutex<Vec<MultiplexedConnection>>,
    connects: AtomicU64,
}

#[derive(Clone)]
struct SharedConnection {
    number: u64,
    connection: MultiplexedConnection,
}

impl Connections {
    /// Connects, and checks that the server answers.
    pub(super) async fn connect(url: &Url) -> Result<Self> {
        if url.scheme() == "rediss" {
            crate::tls::install_provider();
        }
        check_url(url)?;
        let name = public_name(url);
        let client = Client::open(url.clone()).map_err(|e| {
            Error::permanent(
                Stage::Queue,
                Code::SettingsInvalid,
                format!("{name}: is not the URL of a Redis server"),
            )
            .because(e)
        })?;
        let connections = Self {
            client,
            name,
            shared: Mutex::new(None),
            idle: parking_lot::Mutex::default(),
            connects: AtomicU64::new(0),
        };
        connections.query::<()>(&redis::cmd("PING")).await?;
        connections.refuse_cluster().await?;
        Ok(connections)
    }

    /// Refuses a node of a cluster. Such a node has only some of the queues, and would refuse each command on another
    /// queue.
    async fn refuse_cluster(&self) -> Result<()> {
        let info = redis::cmd("INFO").arg("cluster").to_owned();
        // If the user may not run INFO, the first command on another node's queue fails instead.
        let told = self.query_if_granted::<String>(&info).await?.unwrap_or_default();
        if told.lines().any(|line| line.trim() == "cluster_enabled:1") {
            return Err(Error::permanent(
                Stage::Queue,
                Code::QueueUnsupported,
                format!("{}: {CLUSTER}", self.name),
            ));
        }
        Ok(())
    }

    /// Runs a command on the shared connection. The command must not block.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let mut shared = self.shared().await?;
        let answer = command.query_async(&mut shared.connection).await;
        self.checked(answer, shared.number).await
    }

    /// Runs a script on the shared connection. Sends the script's text if the server does not have it.
    pub(super) async fn invoke<T: FromRedisValue>(&self, invocation: &ScriptInvocation<'_>) -> Result<T> {
        let mut shared = self.shared().await?;
        let answer = invocation.invoke_async(&mut shared.connection).await;
        self.checked(answer, shared.number).await
    }

    /// Does what [`Connections::query`] does, for a command that the server may refuse to this user. Returns `None` if
    /// the server refuses it.
    pub(super) async fn query_if_granted<T: FromRedisValue>(&self, command: &Cmd) -> Result<Option<T>> {
        let mut shared = self.shared().await?;
        match command.query_async(&mut shared.connection).await {
            Err(error) if is_withheld(&error) => Ok(None),
            answer => self.checked(answer, shared.number).await.map(Some),
        }
    }

    /// Runs a command that blocks for up to `block`, or that moves much data, on a connection of its own. If the caller
    /// drops the future, the connection closes and the command ends.
    pub(super) async fn query_apart<T: FromRedisValue>(&self, command: &Cmd, block: Duration) -> Result<T> {
        let kept = self.idle.lock().pop();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.open(None).await?,
        };
        let answer = tokio::time::timeout(block + BLOCK_GRACE, command.query_async(&mut connection)).await;
        let answer = answer.map_err(|_| {
            Error::transient(
                Stage::Queue,
                Code::QueueUnreachable,
                format!("{}: no answer", self.name),
            )
        })?;
        match answer {
            Ok(value) => {
                let mut idle = self.idle.lock();
                if idle.len() < IDLE_MAX {
                    idle.push(connection);
                }
                Ok(value)
            }
            Err(error) => {
                // The server may have closed the other idle connections, too.
                self.idle.lock().clear();
                Err(self.error(error))
            }
        }
    }

    /// Returns the server's URL without user and password.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    async fn open(&self, response: Option<Duration>) -> Result<MultiplexedConnection> {
        if self.name.starts_with("rediss:") {
            let untimely =
                |why| Error::transient(Stage::Queue, Code::TlsFailed, format!("{}: {why}", self.name));
            crate::trust::clock_for_tls().map_err(untimely)?;
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(response);
        let connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await;
        connection.map_err(|e| self.error(e))
    }

    async fn shared(&self) -> Result<SharedConnection> {
        let mut slot = self.shared.lock().await;
        if let Some(shared) = &*slot {
            return Ok(shared.clone());
        }
        let shared = SharedConnection {
            number: self.connects.fetch_add(1, Ordering::Relaxed),
            connection: self.open(Some(RESPONSE_TIMEOUT)).await?,
        };
        Ok(slot.insert(shared).clone())
    }

    /// Classifies the error of an answer. Drops the connection if it may be broken or leads to a replica, for example
    /// after a failover. After a timeout, the connection counts as broken, because a server that has vanished gives no
    /// other sign.
    async fn checked<T>(&self, answer: Result<T, RedisError>, number: u64) -> Result<T> {
        let error = match answer {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let is_replica = refusal(&error).is_some_and(|(code, _)| matches!(code, "READONLY" | "MASTERDOWN"));
        if error.is_io_error() || error.is_unrecoverable_error() || is_replica {
            let mut slot = self.shared.lock().await;
            if slot.as_ref().is_some_and(|shared| shared.number == number) {
                *slot = None;
            }
        }
        Err(self.error(error))
    }

    fn error(&self, error: RedisError) -> Error {
        let (code, message) = match error.kind() {
            ErrorKind::AuthenticationFailed => (
                Code::QueueRefused,
                "the server refuses the user or the password: check them in the queue's URL, or REDIS_PASSWORD",
            ),
            ErrorKind::Io if is_tls_refusal(&error) => (Code::TlsFailed, "the server cannot be reached"),
            ErrorKind::Io => (Code::QueueUnreachable, "the server cannot be reached"),
            ErrorKind::Parse => (
                Code::QueueRefused,
                "the server's answer is not that of a Redis server: check the address",
            ),
            _ if error.code() == Some("NOAUTH") => (Code::QueueRefused, NO_PASSWORD),
            _ if is_of_cluster(&error) => (Code::QueueUnsupported, CLUSTER),
            _ => (
                Code::QueueRefused,
                refusal(&error).map_or("the server refuses the command", |(_, message)| message),
            ),
        };
        Error::new(
            Stage::Queue,
            class(&error),
            code,
            format!("{}: {message}", self.name),
        )
        .because(error)
    }
}

const NO_PASSWORD: &str = "the server requires a password: write it into the queue's URL, as in redis://:PASSWORD@HOST, or \
                           set REDIS_HOST and REDIS_PASSWORD instead of REDIS_URL";

/// The message for a Redis Cluster.
const CLUSTER: &str = "the server is a node of a Redis Cluster, which is not supported: name a server without \
                       `cluster-enabled yes`, alone or the primary of replicas";

/// The codes with which a cluster node refuses commands. Waiting does not help.
const CLUSTER_REFUSALS: [&str; 5] = ["MOVED", "ASK", "CROSSSLOT", "CLUSTERDOWN", "TRYAGAIN"];

/// The refusals that can pass with time or that an operator can fix: their codes, and the messages for people.
const REFUSALS: [(&str, &str); 12] = [
    ("WRONGTYPE", "a key of the queue holds something else"),
    (
        "NOPERM",
        "the server does not let this user run what the queue needs: extend its ACL",
    ),
    (
        "OOM",
        "the server's memory is full: raise its `maxmemory`, or remove what is not needed",
    ),
    ("MISCONF", "the server cannot write to its disk: see its log"),
    (
        "READONLY",
        "the server is a replica, which takes no writes: connect to its primary",
    ),
    ("LOADING", "the server is still loading its data"),
    ("MASTERDOWN", "the server is a replica that has lost its primary"),
    (
        "NOREPLICAS",
        "the server has fewer replicas than it needs to write",
    ),
    ("BUSY", "the server is busy with a script"),
    ("UNKILLABLE", "the server is busy with a script"),
    ("NOSCRIPT", "the server has forgotten a script"),
    ("max number of clients", "the server has too many clients"),
];

fn is_of_cluster(error: &RedisError) -> bool {
    error.code().is_some_and(|code| CLUSTER_REFUSALS.contains(&code))
}

/// Returns the entry of [`REFUSALS`] for an error, or `None` if the error is no such refusal. If a server before
/// version 7 stops a script, the reason is only in the text of the error.
fn refusal(error: &RedisError) -> Option<(&'static str, &'static str)> {
    let code = error.code()?;
    let detail = if code == "ERR" {
        error.detail().unwrap_or_default()
    } else {
        ""
    };
    if detail.contains("can't run this command") || detail.contains("can't access at least one of the keys") {
        return REFUSALS.into_iter().find(|(known, _)| *known == "NOPERM");
    }
    REFUSALS
        .into_iter()
        .find(|(known, _)| code == *known || detail.contains(known))
}

/// Returns the class of an error. An error is transient if it can pass with time, or if an operator can fix it without
/// a change of the request or of this program.
fn class(error: &RedisError) -> Class {
    let transient = match error.kind() {
        ErrorKind::Io => !is_tls_refusal(error),
        ErrorKind::Server(_) | ErrorKind::Extension => refusal(error).is_some(),
        // The bytes of an answer made no sense. The connection is dropped, and a new one may work.
        ErrorKind::Parse => true,
        _ => false,
    };
    if transient {
        Class::Transient
    } else {
        Class::Permanent
    }
}

/// Returns whether the server does not let this user run the command, or says that it does not know the command.
fn is_withheld(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::ResponseError)
    )
}

/// Returns whether TLS failed because the certificate is not trusted or the server has no TLS.
fn is_tls_refusal(error: &RedisError) -> bool {
    // The client keeps the causes of its errors in an `Arc`, which hides their type.
    let source = std::error::Error::source(error);
    let cause = source.and_then(|source| source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>());
    let io = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>());
    io.and_then(std::io::Error::get_ref)
        .is_some_and(|inner| inner.is::<rustls::Error>())
}

/// Refuses a URL whose host or path may contain a piece of a password. If a password contains an unescaped `/`, `?` or
/// `#`, the parser takes this character for the end of the host.
fn check_url(url: &Url) -> Result<()> {
    let number = match url.path() {
        "" => Some(""),
        path => path.strip_prefix('/'),
    };
    let is_number = number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let is_known = |query: &str| matches!(query, "protocol=resp2" | "protocol=resp3");
    if is_number && url.query().is_none_or(is_known) && url.fragment().is_none() {
        return Ok(());
    }
    // Neither the host nor the path is shown, because both may be a piece of the password.
    Err(Error::permanent(
        Stage::Config,
        Code::SettingsInvalid,
        "URL of the queue's server: only the number of a database may follow the host, as in redis://HOST/1; percent-encode '/', '?', '#' and \
         '@' in the password",
    ))
}

/// Returns the URL without user, password and query. The URL has passed [`check_url`].
fn public_name(url: &Url) -> String {
    let mut name = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        name.push_str(&format!(":{port}"));
    }
    if url.path() != "/" {
        name.push_str(url.path());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_name_has_no_credentials() {
        let url = Url::parse("rediss://ann:s3cret@queue.example:6380/2?protocol=resp3").expect("a URL");
        assert_eq!(public_name(&url), "rediss://queue.example:6380/2");
    }

    #[test]
    fn only_a_database_may_follow_the_host() {
        let check = |url: &str| check_url(&Url::parse(url).expect("a URL"));
        for url in [
            "redis://host",
            "redis://host:77/",
            "redis://:p%2Fw@host/12?protocol=resp3",
        ] {
            check(url).expect("a good URL");
        }
        for url in [
            "redis://default:77/secret@host",
            "redis://default:77/12/secret@host",
            "redis://default:77?secret@host",
            "redis://default:77#secret@host",
            "redis:secret@host",
            "redis://host/?db=3",
            "redis://host?password=secret",
        ] {
            let error = check(url).expect_err("a bad URL");
            assert_eq!((error.stage(), error.class()), (Stage::Config, Class::Permanent));
            let report = error.report();
            assert!(
                !["secret", "77", "default"]
                    .iter()
                    .any(|part| report.contains(part)),
                "{report}"
            );
        }
    }

    #[test]
    fn errors_are_classified_by_kind() {
        let of = |kind| class(&RedisError::from((kind, "test")));
        assert_eq!(of(ErrorKind::Io), Class::Transient);
        assert_eq!(
            of(ErrorKind::Server(ServerErrorKind::BusyLoading)),
            Class::Transient
        );
        assert_eq!(of(ErrorKind::AuthenticationFailed), Class::Permanent);
        assert_eq!(of(ErrorKind::Server(ServerErrorKind::NoPerm)), Class::Transient);
        assert_eq!(
            of(ErrorKind::Server(ServerErrorKind::CrossSlot)),
            Class::Permanent
        );
        assert_eq!(of(ErrorKind::InvalidClientConfig), Class::Permanent);
    }

    #[test]
    fn what_stopped_a_script_is_found_on_old_servers_too() {
        let script = |detail: &str| {
            let kind = ErrorKind::Server(ServerErrorKind::ResponseError);
            RedisError::from((kind, "test", detail.to_owned()))
        };
        for (detail, code) in [
            (
                "Error running script (call to f_1): @user_script:9: WRONGTYPE Operation against a key",
                "WRONGTYPE",
            ),
            (
                "Error running script (call to f_1): @user_script: 9: -OOM command not allowed",
                "OOM",
            ),
            (
                "The user executing the script can't run this command or subcommand",
                "NOPERM",
            ),
            (
                "The user executing the script can't access at least one of the keys mentioned in the command arguments",
                "NOPERM",
            ),
            ("max number of clients reached", "max number of clients"),
        ] {
            let error = script(detail);
            assert_eq!(refusal(&error).map(|(code, _)| code), Some(code), "{detail}");
            assert_eq!(class(&error), Class::Transient, "{detail}");
        }
        let bug = script("Error running script (call to f_1): @user_script:9: attempt to index a nil value");
        assert_eq!((refusal(&bug), class(&bug)), (None, Class::Permanent));
    }

    #[test]
    fn a_cluster_is_no_trouble_that_passes() {
        for code in CLUSTER_REFUSALS {
            let server = redis::parse_redis_value(format!("-{code} 1 127.0.0.1:7000\r\n").as_bytes());
            let error = server.and_then(redis::Value::extract_error).expect_err(code);
            assert!(is_of_cluster(&error), "{error}");
            assert_eq!(class(&error), Class::Permanent, "{error}");
        }
    }

    #[test]
    fn a_certificate_that_is_not_trusted_stays_so() {
        let refusal = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = std::io::Error::new(std::io::ErrorKind::InvalidData, refusal);
        assert_eq!(class(&RedisError::from(error)), Class::Permanent);
        assert_eq!(
            class(&RedisError::from(std::io::Error::other("reset"))),
            Class::Transient
        );
    }
}
