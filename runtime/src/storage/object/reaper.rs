//! Aborts the uploads of dead attempts. The notes about uploads show which uploads there are. An upload is aborted if
//! no decision names it.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use object_store::ObjectMeta;
use object_store::path::Path;

use super::ObjectStorage;
use super::decision::{self, Rounds};
use super::keys::{Keys, stored};
use super::upload::UploadNote;
use crate::error::Result;

/// The maximum size of a note about an upload, in bytes.
const NOTE_BYTES_MAX: u64 = 64 << 10;

impl ObjectStorage {
    /// Aborts those uploads of a request that no decision names, and removes the notes about them. Returns the number
    /// of uploads that were aborted.
    pub(super) fn abort_uploads(&self, keys: &Keys, id: &str) -> Result<usize> {
        self.abort_noted(keys, id, self.client.list(&keys.uploads(Some(id)))?)
    }

    /// Does the same as [`Storage::reap`](crate::storage::Storage::reap), but only in the queues of the requests in
    /// `at_work`.
    pub(super) fn remove_old(&self, older_than: Duration, at_work: &[(&str, &str)]) -> Result<usize> {
        let queues: HashSet<&str> = at_work.iter().map(|(queue, _)| *queue).collect();
        let at_work: HashSet<(&str, &str)> = at_work.iter().copied().collect();
        let mut removed = 0;
        for queue in queues {
            let keys = self.keys(Some(queue));
            let mut old: std::collections::BTreeMap<String, Vec<ObjectMeta>> =
                std::collections::BTreeMap::new();
            for note in self.client.list(&keys.uploads(None))? {
                let Some(id) = id_of(&note.location) else { continue };
                if is_older(&note, older_than) && !at_work.contains(&(queue, &*id)) {
                    old.entry(id).or_default().push(note);
                }
            }
            for (id, notes) in old {
                removed += self.abort_noted(&keys, &id, notes)?;
            }
        }
        Ok(removed)
    }

    fn abort_noted(&self, keys: &Keys, id: &str, notes: Vec<ObjectMeta>) -> Result<usize> {
        if notes.is_empty() {
            return Ok(0);
        }
        let mut decisions = Vec::new();
        for key in Rounds::list(&self.client, keys, id)?.keys() {
            decisions.extend(decision::read(&self.client, key)?);
        }
        let mut aborted = 0;
        for note in notes {
            let Some(bytes) = self.client.read(&note.location, NOTE_BYTES_MAX)? else {
                continue;
            };
            if let Ok(UploadNote { key, upload }) = serde_json::from_slice(&bytes) {
                // If a decision names the upload, a worker may still have to carry out this decision.
                if decisions.iter().any(|decision| decision.names(&upload)) {
                    continue;
                }
                self.client.abort(&stored(&key), &upload)?;
                aborted += 1;
            }
            self.client.delete(&note.location)?;
        }
        Ok(aborted)
    }
}

/// Returns the id in the key of a note: `.../uploads/<id>/<fence>.<nonce>.json`.
fn id_of(key: &Path) -> Option<String> {
    let mut parts: Vec<_> = key.parts().collect();
    parts.pop()?;
    parts.pop().map(|id| id.as_ref().to_owned())
}

fn is_older(object: &ObjectMeta, than: Duration) -> bool {
    let written = object.last_modified.timestamp_millis();
    let age = Timestamp::now().as_millisecond().saturating_sub(written);
    u128::try_from(age).is_ok_and(|age| age > than.as_millis())
}
