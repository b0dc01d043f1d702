//! Keeps queues and plugins on a Redis server (6.2 or later). Scripts change the states of requests. Each script is one
//! atomic step on the server, and uses the server's clock.
//!
//! # Keys
//! All keys of a queue contain the queue's name in braces, so that a cluster keeps them in one slot. Programs in other
//! languages may read all of these keys, and may write to the first two. Only this program writes to the others.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `ingest:{Q}:in` | list | documents of producers in other languages: `RPUSH` one JSON document of at most 64 KiB for each request |
//! | `ingest:{Q}:wake` | list | tokens for which idle workers wait: `RPUSH` one token after an urgent document |
//! | `ingest:{Q}:ready` | sorted set | ids by rank: by priority, then by age. The rank is 0 for requests that the next claim has to end |
//! | `ingest:{Q}:delayed` | sorted set | ids by the time at which they become ready |
//! | `ingest:{Q}:leased` | sorted set | ids by the end of their lease: workers are working on these requests |
//! | `ingest:{Q}:done`, `:dead`, `:cancelled` | sorted set | ids by the time at which they ended |
//! | `ingest:{Q}:request:ID` | hash | the fields of a request, which are listed below this table |
//! | `ingest:{Q}:group:NAME` | sorted set | the ids of the requests of a group, in the order in which they were submitted |
//! | `ingest:{Q}:nonces` | hash | the id of the request for the nonce of each valid claim |
//! | `ingest:{Q}:sequence`, `:fence` | number | the last number that was given |
//! | `ingest:{Q}:paused` | text | exists while the queue is paused |
//! | `ingest:{Q}:invalid` | list | JSON `{document, reason, code, at_ms}`, the newest first. If a document is longer than 64 KiB, `document` is only its beginning |
//! | `ingest:{Q}:bindings` | hash | the binding (JSON) for each number |
//! | `ingest:{Q}:binding` | number | the number of the binding in force |
//! | `ingest:queues` | set | the names of all queues |
//! | `ingest:reached` | sorted set | hosts (`HOST:PORT`) that have answered a worker, by the time at which this was noted |
//! | `ingest:components` | hash | the description of the component (JSON) for each SHA-256 |
//! | `ingest:component:SHA256` | text | the bytes of a component |
//! | `ingest:data:SHA256` | text | the bytes of reference data |
//!
//! The hash of a request has these fields:
//!
//! - `uri`, `input` (JSON), `digest` (of both), `priority`, `rank`, `submitted_ms`, `attempts`, `lost`, `error` and
//!   `receipt` (JSON)
//! - `group`: the name of the group of requests that it belongs to
//! - `waited_ms`: the total time that the request has waited for retries
//! - `life_ms`: the start of this life
//! - from the last claim: `fence`, `nonce`, `worker`, `binding`, `output` (an id and a URI) and `progress` (JSON);
//!   `concluding` exists if the claim only has to end the request; `ended` exists after the end of the claim, and says
//!   how it ended
//! - `stray`: exists if an attempt may have left output, for example because its claim was lost
//! - `cancel`: exists if somebody has asked for a cancel
//! - `ending`: the reason why the next claim has to end the request
//! - `note`: a remark for people about how the request ended
//! - `coded`: the code of `error` or of `ending`, a space, and the text to which the code belongs
//! - `report`: the URI of the report that the worker of a dead request has kept
//!
//! A request is in exactly one state, whose sorted set contains its id (`ZSCORE`). Times are milliseconds since 1970 by
//! the server's clock. Keys never expire. Workers remove requests that ended long ago.

mod admin;
mod audit;
mod claims;
mod connection;
mod data_loss;
mod invalid;
mod producer;
mod queues;
mod registry;
mod scripts;
mod settings;
mod wait;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use parking_lot::Mutex;
use redis::{Script, ScriptInvocation};
use serde::Deserialize;
use url::Url;

use self::connection::Connections;
use self::scripts::Scripts;
use self::wait::Waits;
use crate::error::{Code, Error, Result, Stage};
use crate::names::check_queue_name;
use crate::telemetry::repeated_errors::RepeatedErrors;

/// A Redis server.
pub(super) struct RedisServer {
    connections: Arc<Connections>,
    waits: Waits,
    scripts: Scripts,
    /// The time at which each queue was last seen in `ingest:queues` or added to it.
    registered: Mutex<HashMap<String, Instant>>,
    /// The last known fence of each queue.
    fences: Mutex<HashMap<String, u64>>,
    losses: AtomicU64,
    /// The number of requests whose content the server had lost when this program wanted to claim them.
    requests_lost: AtomicU64,
    repeated_errors: RepeatedErrors,
}

impl RedisServer {
    pub(super) async fn connect(url: &Url) -> Result<Self> {
        let connections = Arc::new(Connections::connect(url).await?);
        Ok(Self {
            waits: Waits::new(Arc::clone(&connections)),
            connections,
            scripts: Scripts::default(),
            registered: Mutex::default(),
            fences: Mutex::default(),
            losses: AtomicU64::new(0),
            requests_lost: AtomicU64::new(0),
            repeated_errors: RepeatedErrors::default(),
        })
    }

    fn decode<T: for<'de> Deserialize<'de>>(&self, text: &[u8]) -> Result<T> {
        // The text may contain a document as a producer pushed it, which need not be UTF-8.
        strict_json::from_str(&String::from_utf8_lossy(text)).map_err(|e| {
            Error::permanent(
                Stage::Queue,
                Code::QueueDamaged,
                format!("{}: holds what no script wrote", self.connections.name()),
            )
            .because(e)
        })
    }
}

/// Returns the name of a key of a queue.
fn key(queue: &str, part: &str) -> Result<String> {
    check_queue_name(queue)?;
    Ok(format!("ingest:{{{queue}}}:{part}"))
}

/// Prepares a call of a script on a queue. The call has no arguments yet.
fn on<'a>(script: &'a Script, queue: &str) -> Result<ScriptInvocation<'a>> {
    check_queue_name(queue)?;
    Ok(script.key(format!("ingest:{{{queue}}}")))
}

/// Returns the index of the last element in a list of `limit` elements, in the server's integer type. `limit` is not 0.
fn last_index(limit: usize) -> i64 {
    i64::try_from(limit - 1).unwrap_or(i64::MAX)
}
