//! Lists and removes documents that never became requests.

use redis::Cmd;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{RedisServer, key, last_index};
use crate::error::{Code, Result};
use crate::names::check_queue_name;
use crate::queue::{Invalid, PURGE_STEP};

/// The number of hex digits of its digest that name a document: enough to tell millions apart.
const KEY_DIGITS: usize = 16;

/// The most documents that one step of a search reads; each has at most 64 KiB.
const PAGE_MAX: i64 = 128;

/// An element of the list. It is only shown to people, so unknown members written by a newer version are ignored.
#[derive(Deserialize)]
struct Entry {
    document: String,
    reason: String,
    code: Option<String>,
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
                code,
                at_ms,
            } = self.entry(&text);
            found.push(Invalid {
                key: key_of(&text),
                document,
                reason,
                code,
                at_ms,
            });
        }
        Ok(found)
    }

    /// Removes a document by its key. It searches from the newest on, in pages that grow. Others push to that end
    /// meanwhile, so positions are counted from the other end: the search covers the documents that were there when it
    /// began.
    pub(super) async fn remove_invalid(&self, queue: &str, wanted: &str) -> Result<bool> {
        let length = Cmd::new().arg("LLEN").arg(key(queue, "invalid")?).to_owned();
        let (mut left, mut page) = (self.connections.query::<i64>(&length).await?, 1);
        while left > 0 {
            let last = (left - page).max(0) + 1;
            let texts = self.range_of_invalid(queue, -left, -last).await?;
            if let Some(text) = texts.iter().find(|text| key_of(text) == wanted) {
                return self.remove_entry(queue, 1, text).await;
            }
            left = last - 1;
            page = (2 * page).min(PAGE_MAX);
        }
        Ok(false)
    }

    /// Removes documents from the old end, where nobody pushes. It skips entries that are to stay, which may lie there
    /// because the clock was set back.
    pub(super) async fn remove_invalid_until(&self, queue: &str, until_ms: i64) -> Result<Vec<String>> {
        let (mut keys, mut staying) = (Vec::new(), 0);
        loop {
            let last = -staying - 1;
            let texts = self
                .range_of_invalid(queue, last - last_index(PURGE_STEP), last)
                .await?;
            for text in texts.iter().rev() {
                if self.entry(text).at_ms > until_ms {
                    staying += 1;
                // If the entry is gone, somebody else has removed it.
                } else if self.remove_entry(queue, -1, text).await? {
                    keys.push(key_of(text));
                }
            }
            if !keys.is_empty() || texts.is_empty() {
                return Ok(keys);
            }
        }
    }

    /// Reads an entry. One that no script wrote counts as an invalid document, too.
    fn entry(&self, text: &[u8]) -> Entry {
        self.decode(text).unwrap_or_else(|_| Entry {
            document: String::from_utf8_lossy(text).into_owned(),
            reason: "no worker put this entry into the list".to_owned(),
            code: Some(Code::RequestInvalid.to_string()),
            at_ms: 0,
        })
    }

    /// Removes one entry by its value, since the list may have changed: the first from the beginning (1) or from the
    /// end (-1).
    async fn remove_entry(&self, queue: &str, from: i64, text: &[u8]) -> Result<bool> {
        let remove = Cmd::new()
            .arg("LREM")
            .arg(key(queue, "invalid")?)
            .arg(from)
            .arg(text)
            .to_owned();
        self.connections.query(&remove).await
    }

    async fn range_of_invalid(&self, queue: &str, first: i64, last: i64) -> Result<Vec<Vec<u8>>> {
        let list = Cmd::new()
            .arg("LRANGE")
            .arg(key(queue, "invalid")?)
            .arg(first)
            .arg(last)
            .to_owned();
        self.connections.query(&list).await
    }
}

fn key_of(text: &[u8]) -> String {
    let mut digits = hex::encode(Sha256::digest(text));
    digits.truncate(KEY_DIGITS);
    digits
}
