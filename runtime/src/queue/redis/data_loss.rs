//! What a handle remembers of its server, so that it finds out when that has forgotten: names of queues, and fences.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use redis::Cmd;
use tracing::error;

use super::{ClaimAnswer, RedisServer, ticket_of};
use crate::error::Result;
use crate::names::check_usable_queue_name;

/// A server that was emptied has forgotten the names of its queues, so handles look from time to time.
const REGISTER_EVERY: Duration = Duration::from_secs(5);

impl RedisServer {
    /// Makes the queue's name known. The set of names lies in another slot than the queue, so the scripts cannot do it.
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
        // A server whose memory is full lets nobody add, but look.
        let on_names = |command: &str| Cmd::new().arg(command).arg("ingest:queues").arg(queue).to_owned();
        if !self.connections.query::<bool>(&on_names("SISMEMBER")).await? {
            self.connections.query::<()>(&on_names("SADD")).await?;
        }
        self.registered.lock().insert(queue.into(), Instant::now());
        Ok(())
    }

    /// Compares the last fence that the server gave with one that was known before it was asked. Fences never fall: a
    /// server that has given a lower one has lost what it knew.
    pub(super) fn observe_fence(&self, queue: &str, known: u64, (_, _, claims, before, _): &ClaimAnswer) {
        let fences = claims.iter().map(|stored| ticket_of(queue, stored).fence);
        let last = fences.fold(*before, u64::max);
        let mut fences = self.fences.lock();
        let seen = fences.entry(queue.into()).or_default();
        if *before >= known {
            *seen = last.max(*seen);
        } else if *seen >= known {
            *seen = last;
            self.losses.fetch_add(1, Ordering::Relaxed);
            error!(
                queue,
                server = self.connections.name(),
                known,
                before,
                "the queue's server has lost data: it was emptied, or started without what it had acknowledged; submit what is \
                 missing again, bind plugins again, and see `ingest-host queue audit` for its settings"
            );
        }
    }
}
