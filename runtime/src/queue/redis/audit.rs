//! Audits a queue on Redis: collects the ids while other programs use the queue, and then checks each request in one
//! atomic step.

use std::collections::HashSet;

use redis::{Cmd, FromRedisValue};

use super::connection::Connections;
use super::scripts::Scripts;
use super::{key, on};
use crate::error::Result;
use crate::queue::State;

/// The number of ids that one script call checks.
const STEP: usize = 200;
/// The number of elements that the server is asked to examine in one call.
const SCAN_COUNT: usize = 1_000;

pub(super) async fn audit(connections: &Connections, scripts: &Scripts, queue: &str) -> Result<Vec<String>> {
    let nonces = key(queue, "nonces")?;
    let claims: Vec<(String, String)> = scan(connections, "HSCAN", Some(&nonces), None).await?;
    let mut ids: HashSet<String> = claims.iter().map(|(_, id)| id.clone()).collect();
    for state in State::ALL {
        let members: Vec<(String, f64)> =
            scan(connections, "ZSCAN", Some(&key(queue, state.name())?), None).await?;
        ids.extend(members.into_iter().map(|(id, _)| id));
    }
    let prefix = key(queue, "request:")?;
    let hashes: Vec<String> = scan(connections, "SCAN", None, Some(&format!("{prefix}*"))).await?;
    ids.extend(
        hashes
            .iter()
            .filter_map(|hash| hash.strip_prefix(&prefix))
            .map(String::from),
    );

    let mut ids: Vec<String> = ids.into_iter().collect();
    ids.sort_unstable();
    let mut faults = Vec::new();
    for step in ids.chunks(STEP) {
        faults.extend(
            connections
                .invoke::<Vec<String>>(on(&scripts.audit, queue)?.arg(step))
                .await?,
        );
    }
    let mut nonces: Vec<String> = claims.into_iter().map(|(nonce, _)| nonce).collect();
    nonces.sort_unstable();
    for step in nonces.chunks(STEP) {
        faults.extend(
            connections
                .invoke::<Vec<String>>(on(&scripts.audit_nonces, queue)?.arg(step))
                .await?,
        );
    }
    Ok(faults)
}

/// Returns all elements that a cursor command gives. Elements that are added or removed meanwhile may be missing.
async fn scan<T: FromRedisValue>(
    connections: &Connections,
    command: &str,
    key: Option<&str>,
    pattern: Option<&str>,
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    let mut cursor = 0_u64;
    loop {
        let mut step = Cmd::new();
        step.arg(command).arg(key).arg(cursor);
        if let Some(pattern) = pattern {
            step.arg("MATCH").arg(pattern);
        }
        let (next, page): (u64, Vec<T>) = connections.query(step.arg("COUNT").arg(SCAN_COUNT)).await?;
        found.extend(page);
        if next == 0 {
            return Ok(found);
        }
        cursor = next;
    }
}
