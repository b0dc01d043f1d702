//! Detects that the server lost data: takes the answers of claims, and logs an error if the fences become lower, or if
//! the hashes of requests are gone.

use std::sync::atomic::Ordering;

use tracing::error;

use super::RedisServer;
use super::claims::{ClaimAnswer, ticket_of};
use crate::error::Code;

impl RedisServer {
    /// Compares the last fence that the server gave before this claim with the fence that was known before the server
    /// was asked. Fences never become lower: a server that returns a lower fence has lost data.
    pub(super) fn observe_fence(&self, queue: &str, known: u64, (_, _, claims, before, ..): &ClaimAnswer) {
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

    /// Logs and counts the requests that became dead letters because the server had lost their hashes.
    pub(super) fn note_lost_requests(&self, queue: &str, ids: &[String]) {
        for id in ids {
            error!(
                queue,
                request = id,
                server = self.connections.name(),
                code = Code::RequestLost.as_str(),
                "the queue's server has lost the content of this request: a dead letter; submit it again"
            );
        }
        self.requests_lost.fetch_add(ids.len() as u64, Ordering::Relaxed);
    }
}
