//! Documents that never became requests: listed and removed.

use redis::Cmd;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{RedisServer, key, last_index};
use crate::error::Result;
use crate::queue::Invalid;
use crate::request::{check_queue_name, hex};

/// How many hex digits of its digest name a document: enough to tell millions apart.
const KEY_DIGITS: usize = 16;

/// The most documents that one step of a search reads; each has at most 64 KiB.
const PAGE_MAX: usize = 128;

/// An element of the list.
#[derive(Deserialize)]
struct Entry {
    document: String,
    reason: String,
    at_ms: i64,
}

impl RedisServer {
    pub(super) async fn list_invalid(&self, queue: &str, limit: usize) -> Result<Vec<Invalid>> {
        let mut found = Vec::new();
        if limit == 0 {
            check_queue_name(queue)?;
            return Ok(found);
        }
        for text in self.range_of_invalid(queue, 0, last_index(limit)).await? {
            let Entry {
                document,
                reason,
                at_ms,
            } = self.decode(&text)?;
            found.push(Invalid {
                key: key_of(&text),
                document,
                reason,
                at_ms,
            });
        }
        Ok(found)
    }

    /// Looks from the newest on, in pages that grow: who removes all of them finds each at once.
    pub(super) async fn remove_invalid(&self, queue: &str, wanted: &str) -> Result<bool> {
        let (mut first, mut page) = (0, 1);
        loop {
            let last = first + last_index(page);
            let texts = self.range_of_invalid(queue, first, last).await?;
            if let Some(text) = texts.iter().find(|text| key_of(text) == wanted) {
                // By its value: the list may have grown since.
                let remove = Cmd::new()
                    .arg("LREM")
                    .arg(key(queue, "invalid")?)
                    .arg(1)
                    .arg(text)
                    .to_owned();
                return self.link.query(&remove).await;
            }
            if texts.len() < page {
                return Ok(false);
            }
            first = last + 1;
            page = (2 * page).min(PAGE_MAX);
        }
    }

    async fn range_of_invalid(&self, queue: &str, first: i64, last: i64) -> Result<Vec<Vec<u8>>> {
        let list = Cmd::new()
            .arg("LRANGE")
            .arg(key(queue, "invalid")?)
            .arg(first)
            .arg(last)
            .to_owned();
        self.link.query(&list).await
    }
}

fn key_of(text: &[u8]) -> String {
    let mut digits = hex(&Sha256::digest(text));
    digits.truncate(KEY_DIGITS);
    digits
}
