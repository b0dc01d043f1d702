//! Runs an attempt from its first byte to its receipt: bytes go in; an output with a receipt comes out, or a report
//! about an output that was refused.

use std::io::Read;

use bytes::Bytes;
use object_store::path::Path;

use super::buckets::Buckets;
use super::checkpoint::Checkpoints;
use super::client::Client;
use super::decision::{
    CarriedOut, Commit, Decision, Latest, Proposer, Rounds, Verdict, carry_out, complete, ended, exists,
    read_receipt, superseded,
};
use super::keys::{Keys, stored};
use super::upload::{SealedObject, SealedUpload, Upload, UploadTarget};
use crate::digest::Digest;
use crate::error::{Code, Error, Result, Stage};
use crate::escape;
use crate::fail_points;
use crate::format::Format;
use crate::memory::MemoryShare;
use crate::names::check_id;
use crate::receipt::Receipt;
use crate::storage::staged::Staged;
use crate::storage::{
    Artifact, Attempt, FileRole, MakeProgress, MakeReceipt, MakeReport, Owner, Published, Quarantined,
    Recorded, SealedAttempt, StagedWriter,
};

/// The maximum number of times that one attempt looks for an open round and proposes its commit. A second time is
/// necessary only if another attempt or worker changes something at the same moment.
const ROUNDS_MAX: u32 = 8;

/// The output of a running attempt: uploads whose objects are not visible yet.
#[derive(Debug)]
pub(super) struct ObjectAttempt {
    pub(super) buckets: Buckets,
    pub(super) keys: Keys,
    pub(super) owner: Owner,
    id: String,
    pub(super) output: Staged<Upload>,
    pub(super) rejects: Option<Staged<Upload>>,
    pub(super) checkpoints: Checkpoints,
    /// The memory of the uploads' buffers.
    pub(super) memory: MemoryShare,
}

impl ObjectAttempt {
    pub(super) fn new(buckets: Buckets, keys: Keys, owner: Owner, id: String, format: Format) -> Self {
        let memory = MemoryShare::default();
        let target = upload_target(&keys, &owner, &id, keys.output(&id, format));
        Self {
            output: Staged::new(Upload::new(&buckets.main, &buckets, target, &memory)),
            memory,
            rejects: None,
            checkpoints: Checkpoints::new(buckets.main.clone(), keys.checkpoint(&id)),
            buckets,
            keys,
            owner,
            id,
        }
    }

    fn rejects_upload(&mut self) -> &mut Staged<Upload> {
        let Self {
            buckets,
            keys,
            owner,
            id,
            rejects,
            memory,
            ..
        } = self;
        rejects.get_or_insert_with(|| {
            let attempt = match owner.queue {
                Some(_) => owner.fence.to_string(),
                None => uuid::Uuid::new_v4().simple().to_string(),
            };
            let target = upload_target(keys, owner, id, keys.rejects(id, &attempt));
            Staged::new(Upload::new(&buckets.rejects, buckets, target, memory))
        })
    }
}

/// Returns the target of an upload of this attempt. The upload begins at the store when its first part is sent.
fn upload_target(keys: &Keys, owner: &Owner, id: &str, key: Path) -> UploadTarget {
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let note_key = keys
        .uploads(Some(id))
        .join(format!("{}.{nonce}.json", owner.fence));
    UploadTarget { key, nonce, note_key }
}

impl Attempt for ObjectAttempt {
    fn hold_in(&mut self, memory: &MemoryShare) {
        self.memory = memory.clone();
        if let Some(stop) = memory.stop() {
            self.buckets = self.buckets.until(stop);
        }
        self.checkpoints.use_client(&self.buckets.main);
        self.output.sink.hold_in(&self.buckets.main, memory);
    }

    fn output(&mut self) -> &mut dyn StagedWriter {
        self.poll_checkpoint();
        &mut self.output
    }

    fn rejects(&mut self) -> Result<&mut dyn StagedWriter> {
        Ok(self.rejects_upload())
    }

    fn read_output(&mut self, _: u64) -> Result<Box<dyn Read + Send>> {
        let what = "the output of an attempt cannot be read back from an object store";
        Err(Error::transient(Stage::Commit, Code::OutputUnwritable, what))
    }

    fn checkpoint(&mut self, progress: MakeProgress<'_>) -> Result<()> {
        self.begin_checkpoint(progress)
    }

    fn has_checkpoint(&mut self) -> bool {
        self.checkpoints.has_own()
    }

    fn keep(mut self: Box<Self>) {
        if self.checkpoints.keep() {
            self.output.sink.keep();
            if let Some(rejects) = &mut self.rejects {
                rejects.sink.keep();
            }
        }
    }

    fn seal(self: Box<Self>) -> Result<Box<dyn SealedAttempt>> {
        let Self {
            buckets,
            keys,
            owner,
            id,
            output,
            rejects,
            mut checkpoints,
            memory: _,
        } = *self;
        checkpoints.end_writing();
        let sealed = |staged: Staged<Upload>| -> Result<(Digest, SealedObject)> {
            let (digest, upload) = staged.finish()?;
            let sealed = upload.finish(digest.sha256.clone())?;
            Ok((digest, sealed))
        };
        let rejects = rejects.filter(|rejects| rejects.bytes() > 0);
        let rejects = rejects.map(sealed).transpose()?;
        let (output_digest, output) = sealed(output)?;
        let (rejects_digest, rejects) = rejects.unzip();
        Ok(Box::new(ObjectSealed {
            buckets,
            keys,
            owner,
            id,
            output_digest,
            rejects_digest,
            output,
            rejects,
            checkpoints,
        }))
    }
}

/// The complete output of an attempt. All parts are at the store, but the objects are not visible yet.
#[derive(Debug)]
pub(super) struct ObjectSealed {
    buckets: Buckets,
    keys: Keys,
    owner: Owner,
    id: String,
    output_digest: Digest,
    rejects_digest: Option<Digest>,
    output: SealedObject,
    rejects: Option<SealedObject>,
    checkpoints: Checkpoints,
}

impl ObjectSealed {
    fn published(&self) -> Published {
        let artifact = |client: &Client, upload: &SealedUpload| Artifact {
            uri: client.uri(&stored(&upload.key)),
            bytes: upload.bytes,
            sha256: upload.sha256.clone(),
        };
        let rejects = self.rejects.as_ref();
        Published {
            output: artifact(&self.buckets.main, &self.output.sealed),
            rejects: rejects.map(|rejects| artifact(&self.buckets.rejects, &rejects.sealed)),
        }
    }

    /// Returns the result of a commit that has found an existing receipt.
    fn existing(&self, existing: Receipt, own: Receipt) -> Recorded {
        Recorded::Existing {
            existing: existing.into(),
            own: own.into(),
            place: self.buckets.main.uri(&self.keys.receipt(&self.id)),
            leaves_output: false,
        }
    }

    /// Finds the round that has no decision yet. If the latest decision is a commit, carries it out and returns the
    /// receipt.
    ///
    /// # Errors
    /// Fails permanently if the request has ended, or if an object has the output's name and no commit of this request
    /// made it.
    fn open_round(&self) -> Result<OpenRound> {
        let (client, keys, id) = (&self.buckets.main, &self.keys, &*self.id);
        if let Some(receipt) = read_receipt(client, keys, id)? {
            return Ok(OpenRound::Committed(receipt.into()));
        }
        let rounds = Rounds::list(client, keys, id)?;
        let round = match rounds.latest(client, self.owner.life_ms)? {
            Latest::Open => 0,
            Latest::Decided(decision) => match &decision.verdict {
                Verdict::Commit(commit) => match carry_out(&self.buckets, keys, id, commit, Proposer::Other)?
                {
                    CarriedOut::Receipt(receipt) => return Ok(OpenRound::Committed(receipt)),
                    CarriedOut::Impossible(_) if decision.life_ms > self.owner.life_ms => {
                        return Err(superseded(id));
                    }
                    CarriedOut::Impossible(why) => {
                        tracing::warn!(%why, "a commit of another attempt cannot be carried out");
                        decision.next_round(self.owner.life_ms)
                    }
                },
                Verdict::Ended { state, worker, at } => return Err(ended(id, state, worker, at)),
            },
        };
        // An object must not be replaced if no attempt at this request made it.
        let key = stored(&self.output.sealed.key);
        match client.facts(&key)? {
            None => Ok(OpenRound::At(round)),
            // Another attempt has committed since this function listed the decisions.
            Some(facts) if Rounds::list(client, keys, id)?.has_made(client, &facts)? => Ok(OpenRound::Stale),
            Some(_) if read_receipt(client, keys, id)?.is_some() => Ok(OpenRound::Stale),
            Some(_) => Err(exists(client, &key)),
        }
    }

    /// Keeps the uploads when this value is dropped, because a decision may name them.
    fn keep_uploads(&mut self) {
        for object in [Some(&mut self.output), self.rejects.as_mut()]
            .into_iter()
            .flatten()
        {
            object.upload.keep();
        }
    }

    /// Aborts the uploads, which nobody needs.
    fn discard_uploads(&mut self) {
        for object in [Some(&mut self.output), self.rejects.as_mut()]
            .into_iter()
            .flatten()
        {
            object.upload.discard();
        }
    }

    /// Removes the notes about the uploads, whose objects are visible now.
    fn forget_notes(&self) {
        for object in [Some(&self.output), self.rejects.as_ref()].into_iter().flatten() {
            // A note that stays does no harm: the reaper does not abort an upload that a decision names.
            let _ = object.upload.forget_note();
        }
    }
}

/// The result of [`ObjectSealed::open_round`].
enum OpenRound {
    /// The round with this number has no decision yet.
    At(u32),
    /// The request is committed.
    Committed(Box<Receipt>),
    /// Another attempt has committed the request meanwhile. The next call finds its receipt.
    Stale,
}

impl SealedAttempt for ObjectSealed {
    fn digest(&self, role: FileRole) -> Option<&Digest> {
        match role {
            FileRole::Output => Some(&self.output_digest),
            FileRole::Rejects => self.rejects_digest.as_ref(),
        }
    }

    fn publish(&mut self, id: &str, make_receipt: MakeReceipt<'_>) -> Result<Recorded> {
        check_id(id)?;
        let own = make_receipt(&self.published());
        let commit = Box::new(Commit {
            rejects: self.rejects.as_ref().map(|rejects| rejects.sealed.clone()),
            output: self.output.sealed.clone(),
            receipt: serde_json::to_value(&own).expect("receipts serialize"),
        });
        for _ in 0..ROUNDS_MAX {
            let round = match self.open_round()? {
                OpenRound::Committed(existing) => {
                    self.discard_uploads();
                    return Ok(self.existing(*existing, own));
                }
                OpenRound::Stale => continue,
                OpenRound::At(round) => round,
            };
            let nonce = uuid::Uuid::new_v4().simple().to_string();
            let proposal = Decision::new(
                (self.owner.queue.as_deref(), id),
                (self.owner.life_ms, round),
                &nonce,
                Verdict::Commit(commit.clone()),
            );
            fail_points::pass("sealed", id);
            let proposed = proposal.propose(&self.buckets.main, &self.keys);
            if proposed.as_ref().is_err_and(Error::leaves_output) {
                // The store may have created the decision, which names these uploads. If it has not, the reaper finds
                // their notes.
                self.keep_uploads();
            }
            let decision = proposed?;
            if decision.nonce != nonce {
                // Another decision came first. The next call of `open_round` carries it out, or fails if the request
                // has ended.
                continue;
            }
            self.keep_uploads();
            fail_points::pass("decided", id);
            match carry_out(&self.buckets, &self.keys, id, &commit, Proposer::Own)? {
                CarriedOut::Receipt(receipt) if receipt.attempt == own.attempt => {
                    self.forget_notes();
                    self.checkpoints.forget();
                    return Ok(Recorded::New(receipt));
                }
                CarriedOut::Receipt(receipt) => return Ok(self.existing(*receipt, own)),
                CarriedOut::Impossible(why) => return Err(why.into_error(id)),
            }
        }
        let what = format!("{id}: another attempt decided each of {ROUNDS_MAX} rounds");
        Err(Error::transient(Stage::Commit, Code::OutputLocked, what))
    }

    fn receipt(&self, id: &str) -> Result<Option<Receipt>> {
        check_id(id)?;
        read_receipt(&self.buckets.main, &self.keys, id)
    }

    fn has_bytes(&self, role: FileRole, uri: &str, expected: &Digest) -> Result<Option<bool>> {
        self.buckets.has_bytes(role, uri, expected)
    }

    fn quarantine(&mut self, id: &str, make_report: MakeReport<'_>) -> Result<Quarantined> {
        check_id(id)?;
        // If another attempt can continue the upload, a decision may name it already. Then the end of the request aborts
        // it, after a look at the decisions.
        self.output.upload.discard();
        if let Some(rejects) = &mut self.rejects {
            let completed = complete(&self.buckets.rejects, &rejects.sealed, Proposer::Own)?;
            completed.map_err(|why| why.into_error(id))?;
            rejects.upload.keep();
            rejects.upload.forget_note()?;
        }
        let mut report = make_report(&self.published());
        // The output is not kept.
        report.receipt.outputs.clear();
        let text = escape::json(serde_json::to_string_pretty(&report).expect("reports serialize"));
        let key = self.keys.report(id);
        let client = &self.buckets.main;
        client.put(&key, Bytes::from(format!("{text}\n")))?;
        Ok(Quarantined::Report(client.uri(&key)))
    }

    fn keep(mut self: Box<Self>) {
        if self.checkpoints.keep() {
            self.output.upload.keep();
            if let Some(rejects) = &mut self.rejects {
                rejects.upload.keep();
            }
        }
    }
}
