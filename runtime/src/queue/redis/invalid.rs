//! Lists and removes documents that never became requests.

use data_encoding::HEXLOWER;
use redis::Cmd;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{RedisServer, key, last_index};
use crate::error::{Code, Result};
use crate::names::check_queue_name;
use crate::queue::{Invalid, PURGE_STEP};

/// The length of a document's key. The key is the beginning of the SHA-256 of the document's entry in the list, in hex
/// digits. This length is enough to tell millions of documents apart.
const KEY_DIGITS: usize = 16;

/// The maximum number of documents that one step of a search reads. Each document has at most 64 KiB.
const PAGE_MAX: i64 = 128;

/// An element of the list. Only people read it, so unknown members from a newer version are ignored.
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

    /// Removes a document by its key. Searches from the newest document on, in pages that grow. Workers may push new
    /// documents to the new end of the list meanwhile, so positions are counted from the oldest document. So the search
    /// covers the documents that were in the list when it began.
    pub(super) async fn remove_invalid(&self, queue: &str, wanted: &str) -> Result<bool> {
        let (mut left, mut page) = (self.length_of_invalid(queue).await?, 1);
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

    /// Removes documents from the old end of the list, where nobody pushes. Skips entries with a time after `until_ms`.
    /// Such entries can be at the old end if the server's clock was set back. Looks at no more entries than the list
    /// has when the search begins, so it ends even if new documents arrive faster than it reads.
    pub(super) async fn remove_invalid_until(&self, queue: &str, until_ms: i64) -> Result<Vec<String>> {
        let length = self.length_of_invalid(queue).await?;
        let (mut keys, mut staying) = (Vec::new(), 0);
        while keys.is_empty() && staying < length {
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
            if texts.is_empty() {
                break;
            }
        }
        Ok(keys)
    }

    /// Reads an entry. An entry that no script wrote counts as an invalid document, too.
    fn entry(&self, text: &[u8]) -> Entry {
        self.decode(text).unwrap_or_else(|_| Entry {
            document: String::from_utf8_lossy(text).into_owned(),
            reason: "no worker put this entry into the list".to_owned(),
            code: Some(Code::RequestInvalid.to_string()),
            at_ms: 0,
        })
    }

    /// Removes one entry by its value, because its position in the list may have changed. If several entries have this
    /// value, removes the first one, counted from the beginning (`from` is 1) or from the end (`from` is -1).
    async fn remove_entry(&self, queue: &str, from: i64, text: &[u8]) -> Result<bool> {
        let remove = Cmd::new()
            .arg("LREM")
            .arg(key(queue, "invalid")?)
            .arg(from)
            .arg(text)
            .to_owned();
        self.connections.query(&remove).await
    }

    async fn length_of_invalid(&self, queue: &str) -> Result<i64> {
        let length = Cmd::new().arg("LLEN").arg(key(queue, "invalid")?).to_owned();
        self.connections.query(&length).await
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
    let mut digits = HEXLOWER.encode(&Sha256::digest(text));
    digits.truncate(KEY_DIGITS);
    digits
}
