//! Queues and plugins on a Redis server (6.2 or later). Requests move between their states by scripts, each one
//! atomic step on the server and by its clock.
//!
//! # Keys
//! All keys of a queue have the queue's name in braces, so that a cluster keeps them in one slot. Programs in other
//! languages may read all of them, and write to the first two; only the scripts write the rest.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `ingest:{Q}:in` | list | documents of foreign producers: `RPUSH` one JSON document for each request, of at most 64 KiB |
//! | `ingest:{Q}:wake` | list | tokens that idle workers block on: `RPUSH` one after an urgent document |
//! | `ingest:{Q}:ready` | sorted set | ids by rank: priority, then age; 0 for requests that the next claim is to end |
//! | `ingest:{Q}:delayed` | sorted set | ids by the time they become ready |
//! | `ingest:{Q}:leased` | sorted set | ids by the end of their lease; these requests are running |
//! | `ingest:{Q}:done`, `:dead`, `:cancelled` | sorted set | ids by the time they ended |
//! | `ingest:{Q}:request:ID` | hash | `uri`, `input` (JSON), `digest` (of both), `priority`, `rank`, `submitted_ms`, `attempts`, `lost`, `waited_ms` (the total of its waits for retries), `life_ms` (the start of this life); from the last claim: `fence`, `nonce`, `worker`, `binding`, `output` (id and URI), `concluding` if it is only to end the request and, once over, `ended`; `stray` once a claim was lost; `cancel` while a cancel is asked for; `ending`, the reason why the next claim is to end it; `note`, a remark for people about its end; `progress` (JSON); `error`; `report`, the URI of the report that the worker of a dead request has kept; `receipt` (JSON) |
//! | `ingest:{Q}:nonces` | hash | nonce to id, for each valid claim |
//! | `ingest:{Q}:sequence`, `:fence` | number | the last ones given |
//! | `ingest:{Q}:paused` | text | present while claims are withheld |
//! | `ingest:{Q}:invalid` | list | JSON `{document, reason, at_ms}`, the newest first; only the beginning of a document over 64 KiB |
//! | `ingest:{Q}:bindings` | hash | number to binding (JSON) |
//! | `ingest:{Q}:binding` | number | the one in force |
//! | `ingest:queues` | set | the names of all queues |
//! | `ingest:reached` | sorted set | hosts (`HOST:PORT`) that have answered a worker, by when that was noted |
//! | `ingest:components` | hash | SHA-256 to component (JSON) |
//! | `ingest:component:SHA256` | text | the bytes of a component |
//!
//! A request's state is the sorted set that has its id (`ZSCORE`); it is in exactly one. Times are milliseconds since
//! 1970 by the server's clock. Nothing expires; workers remove what ended long ago.

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
    /// The time at which this handle last saw each queue in `ingest:queues`.
    registered: Mutex<HashMap<String, Instant>>,
    /// The last fence that this handle has seen of each queue.
    fences: Mutex<HashMap<String, u64>>,
    losses: AtomicU64,
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
            repeated_errors: RepeatedErrors::default(),
        })
    }

    fn decode<T: for<'de> Deserialize<'de>>(&self, text: &[u8]) -> Result<T> {
        // The text may hold a document as it was pushed, which need not be UTF-8.
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

/// Returns the name of one of a queue's keys.
fn key(queue: &str, part: &str) -> Result<String> {
    check_queue_name(queue)?;
    Ok(format!("ingest:{{{queue}}}:{part}"))
}

/// Prepares a script on a queue, still without arguments.
fn on<'a>(script: &'a Script, queue: &str) -> Result<ScriptInvocation<'a>> {
    check_queue_name(queue)?;
    Ok(script.key(format!("ingest:{{{queue}}}")))
}

/// Returns the last index of a list of at most `limit` elements, which is not 0, in the server's integer type.
fn last_index(limit: usize) -> i64 {
    i64::try_from(limit - 1).unwrap_or(i64::MAX)
}
