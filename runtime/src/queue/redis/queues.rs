//! Registers the names of queues on Redis.

use std::time::{Duration, Instant};

use redis::Cmd;

use super::RedisServer;
use crate::error::Result;
use crate::names::check_usable_queue_name;

/// The time after which the name of a queue is registered again. If somebody empties the server, it forgets all names.
const REGISTER_EVERY: Duration = Duration::from_secs(5);

impl RedisServer {
    /// Adds the queue's name to the set of names. The set is in another cluster slot than the queue, so the scripts
    /// cannot add the name.
    pub(super) async fn register(&self, queue: &str) -> Result<()> {
        let is_known = self
            .registered
            .lock()
            .get(queue)
            .is_some_and(|seen| seen.elapsed() < REGISTER_EVERY);
        if is_known {
            return Ok(());
        }
        check_usable_queue_name(queue)?;
        // A server whose memory is full still answers SISMEMBER, but refuses SADD.
        let on_names = |command: &str| Cmd::new().arg(command).arg("ingest:queues").arg(queue).to_owned();
        if !self.connections.query::<bool>(&on_names("SISMEMBER")).await? {
            self.connections.query::<()>(&on_names("SADD")).await?;
        }
        self.registered.lock().insert(queue.into(), Instant::now());
        Ok(())
    }
}
