//! Removes objects that nobody needs any more: uploads of dead attempts, old checkpoints, and decisions that were
//! carried out. The notes about uploads show which uploads there are. An upload is aborted if no decision names it, or
//! if the request has a receipt.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use object_store::ObjectMeta;
use object_store::path::Path;

use super::decision::{self, Rounds, Verdict, read_receipt};
use super::keys::{self, Keys, stored};
use super::output::ObjectStorage;
use super::upload::UploadNote;
use crate::error::{Code, Result};
use crate::storage::Storage;
use crate::storage::layout::id_of_checkpoint;

/// The maximum size of a note about an upload, in bytes.
const NOTE_BYTES_MAX: u64 = 64 << 10;

/// The factor by which a decision is kept longer than the notes about uploads: a late attempt must find it.
const DECISION_KEPT_TIMES: u32 = 24;

impl ObjectStorage {
    /// Aborts the uploads of a request that no worker needs to complete, and removes the notes about them.
    /// Returns the number of uploads that no decision names.
    pub(super) fn abort_uploads(&self, keys: &Keys, id: &str) -> Result<usize> {
        self.abort_noted(keys, id, self.client().list(&keys.uploads(Some(id)))?)
    }

    /// Does the same as [`Storage::reap`](crate::storage::Storage::reap).
    pub(super) fn remove_old(&self, older_than: Duration, at_work: &[(&str, &str)]) -> Result<usize> {
        let at_work: HashSet<(&str, &str)> = at_work.iter().copied().collect();
        let mut removed = 0;
        for queue in self.client().folders(&keys::private(&self.prefix))? {
            // Requests outside a queue have folders here, too.
            if self.check_queue(&queue).is_err() {
                continue;
            }
            let keys = self.keys(Some(&queue));
            let is_at_work = |id: &str| at_work.contains(&(&*queue, id));
            let mut old = BTreeMap::<String, Vec<ObjectMeta>>::new();
            self.client().for_each(&keys.uploads(None), |note| {
                let Some(id) = id_of(&note.location) else {
                    return Ok(());
                };
                if is_at_work(&id) {
                    self.mark_written(&note.location)?;
                } else if is_older(&note, older_than) {
                    old.entry(id).or_default().push(note);
                }
                Ok(())
            })?;
            for (id, notes) in old {
                removed += self.abort_noted(&keys, &id, notes)?;
            }
            self.client().for_each(&keys.checkpoints(), |checkpoint| {
                let name = checkpoint.location.filename().unwrap_or_default();
                let id = id_of_checkpoint(name).unwrap_or(name);
                if is_older(&checkpoint, older_than) && !is_at_work(id) {
                    self.client().delete(&checkpoint.location)?;
                    removed += 1;
                }
                Ok(())
            })?;
            removed += self.remove_old_decisions(&keys, older_than * DECISION_KEPT_TIMES)?;
        }
        Ok(removed)
    }

    /// Writes a note again, so that other workers see that its upload is still running.
    fn mark_written(&self, key: &Path) -> Result<()> {
        match self.client().read(key, NOTE_BYTES_MAX)? {
            Some(note) => self.client().put(key, note),
            None => Ok(()),
        }
    }

    /// Removes decisions that nobody has to carry out any more. After a commit, a late attempt finds the receipt. After an
    /// end, no attempt can still run when its decision is removed: [`DECISION_KEPT_TIMES`].
    fn remove_old_decisions(&self, keys: &Keys, older_than: Duration) -> Result<usize> {
        let mut removed = 0;
        self.client().for_each(&keys.decisions(None), |object| {
            if is_older(&object, older_than) && self.is_carried_out(keys, &object.location)? {
                self.client().delete(&object.location)?;
                removed += 1;
            }
            Ok(())
        })?;
        Ok(removed)
    }

    fn is_carried_out(&self, keys: &Keys, key: &Path) -> Result<bool> {
        let Some(Some(decision)) = readable(decision::read(self.client(), key))? else {
            return Ok(false);
        };
        match decision.verdict {
            Verdict::Ended { .. } => Ok(true),
            Verdict::Commit(_) => self.has_receipt(keys, &decision.id),
        }
    }

    fn has_receipt(&self, keys: &Keys, id: &str) -> Result<bool> {
        Ok(matches!(
            readable(read_receipt(self.client(), keys, id))?,
            Some(Some(_))
        ))
    }

    fn abort_noted(&self, keys: &Keys, id: &str, notes: Vec<ObjectMeta>) -> Result<usize> {
        if notes.is_empty() {
            return Ok(0);
        }
        let mut decisions = Vec::new();
        for key in Rounds::list(self.client(), keys, id)?.keys() {
            match readable(decision::read(self.client(), key))? {
                Some(decision) => decisions.extend(decision),
                // This decision can name any of the uploads.
                None => return Ok(0),
            }
        }
        let mut aborted = 0;
        for note in notes {
            let Some(bytes) = self.client().read(&note.location, NOTE_BYTES_MAX)? else {
                continue;
            };
            if let Ok(noted) = serde_json::from_slice::<UploadNote>(&bytes) {
                let is_named = decisions.iter().any(|decision| decision.names(&noted));
                // Without a receipt, a worker may still have to carry out the decision that names the upload. With a
                // receipt, the upload is complete, or its decision could not be carried out.
                if is_named && !self.has_receipt(keys, id)? {
                    continue;
                }
                match self.buckets.named(noted.bucket.as_deref()) {
                    Some(client) => {
                        client.abort(&stored(&noted.key), &noted.upload)?;
                        aborted += usize::from(!is_named);
                    }
                    // The operator has moved the rejects. The lifecycle rule of the former bucket removes the upload.
                    None => tracing::warn!(
                        bucket = noted.bucket,
                        key = noted.key,
                        "an upload of rejects to a former bucket cannot be aborted: let a lifecycle rule of that bucket remove it"
                    ),
                }
            }
            self.client().delete(&note.location)?;
        }
        Ok(aborted)
    }
}

/// Returns `None` for a document that this worker cannot understand, because it is damaged or of a newer version. Such
/// a document must not keep the worker from removing other objects.
fn readable<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(document) => Ok(Some(document)),
        Err(error) if matches!(error.code(), Code::OutputDamaged | Code::HostOutdated) => {
            tracing::warn!(error = error.report(), code = %error.code(), "kept what belongs to this document");
            Ok(None)
        }
        Err(error) => Err(error),
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
