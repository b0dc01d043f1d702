//! Stores outputs in an object store: the bytes of output and rejects go in; objects under their final names and a
//! receipt come out, or no visible output.
//!
//! An object store has no rename and no locks. But it has multipart uploads, whose object appears only when the upload
//! is completed. It can also create a small object only if there is no object of that name. So an attempt uploads its
//! output, and then proposes a *decision* to commit: see `decision.rs`. When the decision exists, the request is
//! committed. To carry out the decision, a worker completes the uploads and creates the receipt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::attempt::ObjectAttempt;
use super::buckets::Buckets;
use super::checkpoint;
use super::client::{Client, Created};
use super::decision::{CarriedOut, Decision, Latest, Proposer, Rounds, Verdict, carry_out, read_receipt};
use super::keys::{DECISIONS, Keys, UPLOADS, of_output};
use super::named::SettingsPlace;
use super::parts::PartStore;
use crate::digest::Digest;
use crate::error::{Class, Code, Error, Result, Stage};
use crate::format::Format;
use crate::memory::MemoryShare;
use crate::names::{check_id, check_usable_queue_name};
use crate::receipt::{Receipt, now};
use crate::stop::Stop;
use crate::storage::layout::OUTPUT_ID;
use crate::storage::{
    Attempt, CheckpointFault, Concluded, EndedRequest, FileRole, Owner, Resumed, StagedPart, Storage,
    StoredCheckpoint, StoredReader,
};

/// The maximum length of the id of an output, in bytes.
const IDENTITY_BYTES_MAX: u64 = 1_024;

/// The maximum number of retries of each call to the store when a worker starts.
const PREPARE_RETRIES: u32 = 6;

/// The pause before the first of these retries. It grows with each one.
const PREPARE_PAUSE: Duration = Duration::from_millis(200);

/// The maximum time for all calls to the store while a running worker reloads its settings. When a worker starts, only
/// the number of retries is bounded: by the library and by [`PREPARE_RETRIES`].
const PREPARE_TIME: Duration = Duration::from_secs(10);

/// A prefix of a bucket, below which outputs, rejects, receipts and checkpoints are stored.
#[derive(Debug)]
pub struct ObjectStorage {
    pub(super) buckets: Buckets,
    pub(super) prefix: Path,
    /// The prefix of the rejects in their bucket, or `None` if they are below `prefix`.
    rejects: Option<Path>,
    identity: Mutex<Option<String>>,
    /// Set when the stored output id differs from the first one that was read.
    is_replaced: AtomicBool,
    /// True after the store has refused to create an object that existed already.
    is_checked: Mutex<bool>,
}

impl ObjectStorage {
    /// Returns a storage for the objects below `prefix` in a bucket, such as `s3://lake`. Its functions block their
    /// thread until the store has answered. The async calls run on `runtime`. Each part of an upload has `part_bytes`
    /// bytes; only the last part can have fewer.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if no key can begin with the prefix.
    pub fn new(
        store: Arc<dyn PartStore>,
        bucket: String,
        prefix: &str,
        part_bytes: usize,
        runtime: Handle,
    ) -> Result<Self> {
        let path = parse_prefix(&bucket, prefix)?;
        let client = Client::new(store, runtime, bucket, part_bytes);
        Ok(Self {
            buckets: Buckets {
                rejects: client.clone(),
                main: client,
            },
            prefix: path,
            rejects: None,
            identity: Mutex::default(),
            is_replaced: AtomicBool::new(false),
            is_checked: Mutex::default(),
        })
    }

    /// Returns the same storage, but with the rejects below `prefix` in a bucket such as `s3://other`, which can be one
    /// of another store. Nothing else may be there.
    ///
    /// # Errors
    /// Fails as [`ObjectStorage::new`] does.
    pub fn with_rejects(self, store: Arc<dyn PartStore>, bucket: String, prefix: &str) -> Result<Self> {
        let prefix = parse_prefix(&bucket, prefix)?;
        let main = self.buckets.main;
        let rejects = Client::new(store, main.runtime().clone(), bucket, main.part_bytes());
        Ok(Self {
            buckets: Buckets { main, rejects },
            rejects: Some(prefix),
            ..self
        })
    }

    /// Returns the same storage, whose errors name this place of its settings.
    pub(super) fn with_place(mut self, place: &SettingsPlace) -> Self {
        let Buckets { main, rejects } = self.buckets;
        self.buckets = Buckets {
            main: main.with_place(place.clone()),
            rejects: rejects.with_place(place.clone()),
        };
        self
    }

    /// Returns the same storage. Its errors about rejects name this place of their store's settings.
    pub(super) fn with_rejects_place(mut self, place: SettingsPlace) -> Self {
        self.buckets.rejects = self.buckets.rejects.with_place(place);
        self
    }

    /// Returns the connection to the bucket of outputs and documents.
    pub(super) fn client(&self) -> &Client {
        &self.buckets.main
    }

    pub(super) fn keys(&self, queue: Option<&str>) -> Keys {
        Keys::of(&self.prefix, self.rejects.as_ref(), queue)
    }

    /// Returns the places that the storage writes to: each bucket with its prefix.
    fn places<'a>(&'a self, buckets: &'a Buckets) -> impl Iterator<Item = (&'a Client, &'a Path)> {
        let rejects = self.rejects.as_ref().map(|prefix| (&buckets.rejects, prefix));
        [(&buckets.main, &self.prefix)].into_iter().chain(rejects)
    }

    /// Checks that each store can create an object only if there is no object of that name: if this function tries to
    /// create an object twice, the store must refuse at least the second time. The object is not removed, so the check
    /// needs no right to remove objects. Also checks that the bucket of the outputs can be listed.
    fn check_store(&self, buckets: &Buckets) -> Result<()> {
        let mut is_checked = self.is_checked.lock();
        if *is_checked {
            return Ok(());
        }
        for (client, prefix) in self.places(buckets) {
            let key = of_output(prefix, "create-check");
            let create = || {
                let text = "This object shows that the store creates an object only if it is absent.\n";
                client.create(&key, &Bytes::from_static(text.as_bytes()))
            };
            if create()? == Created::New && create()? == Created::New {
                let what = format!(
                    "{}: this store replaces an object that it was asked to create only if absent, so two workers could \
                     commit one request: use a store with conditional writes (If-None-Match)",
                    client.uri(&key)
                );
                return Err(Error::permanent(Stage::Config, Code::StoreUnsuitable, what));
            }
        }
        // A commit lists decisions. With a wrong endpoint, objects can be created, but not listed.
        buckets.main.check_list(&of_output(&self.prefix, DECISIONS))?;
        *is_checked = true;
        Ok(())
    }

    /// Ends a request that has no receipt: finds or creates the decision that ends it, or carries out a commit that
    /// was decided before.
    fn end(&self, keys: &Keys, request: EndedRequest<'_>) -> Result<Concluded> {
        let client = self.client();
        let EndedRequest { queue, id, .. } = request;
        loop {
            let rounds = Rounds::list(client, keys, id)?;
            let round = match rounds.latest(client, request.life_ms)? {
                Latest::Open => 0,
                Latest::Decided(decision) => match &decision.verdict {
                    Verdict::Ended { .. } => return Ok(Concluded::Ended),
                    Verdict::Commit(commit) => {
                        match carry_out(&self.buckets, keys, id, commit, Proposer::Other)? {
                            CarriedOut::Receipt(receipt)
                                if receipt.is_for(queue, id, request.submitted_at) =>
                            {
                                return Ok(Concluded::Committed(receipt));
                            }
                            // The request is in a later life already. Its end must not touch that life.
                            CarriedOut::Receipt(_) | CarriedOut::Impossible(_)
                                if decision.life_ms > request.life_ms =>
                            {
                                return Ok(Concluded::Ended);
                            }
                            CarriedOut::Receipt(_) | CarriedOut::Impossible(_) => {
                                decision.next_round(request.life_ms)
                            }
                        }
                    }
                },
            };
            let verdict = Verdict::Ended {
                state: request.state.to_owned(),
                worker: request.worker.to_owned(),
                at: now().to_string(),
            };
            let nonce = uuid::Uuid::new_v4().simple().to_string();
            let life = (request.life_ms, round);
            let proposal = Decision::new((Some(queue), id), life, &nonce, verdict);
            let decision = proposal.propose(client, keys)?;
            if matches!(decision.verdict, Verdict::Ended { .. }) {
                return Ok(Concluded::Ended);
            }
            // An attempt has proposed a commit first. The next pass of this loop carries it out.
        }
    }
}

/// Makes a call, and repeats it for a few seconds while it fails transiently: a single lost answer must not end a
/// worker that starts.
fn with_retries<T>(call: impl Fn() -> Result<T>) -> Result<T> {
    let mut tries = 0;
    loop {
        match call() {
            Err(error) if error.class() == Class::Transient && tries < PREPARE_RETRIES => {
                tries += 1;
                tracing::warn!(error = error.report(), code = %error.code(), "waiting for the store of the outputs");
                std::thread::sleep(PREPARE_PAUSE * tries);
            }
            result => return result,
        }
    }
}

impl Storage for ObjectStorage {
    fn identity(&self) -> Result<String> {
        self.identity_with(&self.buckets)
    }

    fn check_identity(&self) -> Result<()> {
        if self.is_replaced.load(Ordering::Relaxed) {
            let what = format!(
                "{}: is another output than when this worker started: start the worker again, to work with this one",
                self.uri()
            );
            return Err(Error::permanent(Stage::Commit, Code::OutputReplaced, what));
        }
        Ok(())
    }

    fn uri(&self) -> String {
        self.client().uri(&self.prefix)
    }

    fn check_queue(&self, queue: &str) -> Result<()> {
        check_usable_queue_name(queue)?;
        if [DECISIONS, UPLOADS].contains(&queue) {
            let what = format!(
                "queue {queue:?}: an object store has other objects under this name, so no worker can serve it there: choose \
                 another one"
            );
            return Err(Error::permanent(Stage::Config, Code::NameInvalid, what));
        }
        Ok(())
    }

    fn prepare(&self, queue: &str, stop: Option<&Stop>) -> Result<()> {
        self.check_queue(queue)?;
        let Some(stop) = stop else {
            with_retries(|| self.check_store(&self.buckets))?;
            return with_retries(|| self.identity()).map(drop);
        };
        let buckets = self.buckets.bounded(PREPARE_TIME, stop);
        self.check_store(&buckets)?;
        self.identity_with(&buckets).map(drop)
    }

    fn begin(&self, owner: Owner, format: Format) -> Result<Box<dyn Attempt>> {
        Ok(Box::new(self.begin_attempt(owner, format)?))
    }

    fn resume(
        &self,
        owner: Owner,
        format: Format,
        part: &StagedPart,
        stop: &Stop,
        memory: &MemoryShare,
    ) -> Result<Resumed> {
        stop.check()?;
        let refused = |why: &str| Ok(Resumed::Refused(why.to_owned()));
        let (StagedPart::Object(part), Some(queue), Some(id)) = (part, &owner.queue, &owner.id) else {
            return refused("the checkpoint is one of another storage");
        };
        let key = self.keys(Some(queue)).checkpoint(id);
        // The uploads hold a copy of these bytes.
        let mut held = memory.hold();
        held.raise(part.tail_bytes().min(checkpoint::TAILS_BYTES_MAX))?;
        let tails = match checkpoint::find_with_tails(self.client(), &key) {
            Ok(Some((stored, tails))) if stored.staged == StagedPart::Object(part.clone()) => tails,
            Ok(_) => return refused("another attempt has replaced the checkpoint"),
            Err(CheckpointFault::Invalid(why)) => return Ok(Resumed::Refused(why)),
            Err(CheckpointFault::NoAnswer(error)) => return Err(error),
        };
        if !part.is_sound(&tails, self.client().part_bytes()) {
            return refused("the checkpoint is damaged");
        }
        if !part.has_rejects_at(&self.buckets, &self.keys(Some(queue))) {
            return refused("its rejects are at another place than those of this worker");
        }
        let mut attempt = self.begin_attempt(owner, format)?;
        attempt.hold_in(memory);
        attempt.resume_uploads(part, &tails)?;
        Ok(Resumed::Ready(Box::new(attempt)))
    }

    fn find_checkpoint(&self, queue: &str, id: &str) -> Result<Option<StoredCheckpoint>, CheckpointFault> {
        checkpoint::find(self.client(), &self.keys(Some(queue)).checkpoint(id))
    }

    fn forget_checkpoint(&self, queue: &str, id: &str) {
        let keys = self.keys(Some(queue));
        // Uploads that cannot be aborted now are aborted by the reaper later.
        if self.client().delete(&keys.checkpoint(id)).is_ok() {
            let _ = self.abort_uploads(&keys, id);
        }
    }

    fn committed(&self, queue: &str, id: &str, submitted_at: &str) -> Result<Option<Receipt>> {
        let receipt = self.receipt(queue, id)?;
        Ok(receipt.filter(|receipt| receipt.is_for(queue, id, submitted_at)))
    }

    fn receipt(&self, queue: &str, id: &str) -> Result<Option<Receipt>> {
        let keys = self.keys(Some(queue));
        let mut receipt = read_receipt(self.client(), &keys, id)?;
        if receipt.is_none()
            && let Latest::Decided(decision) =
                Rounds::list(self.client(), &keys, id)?.latest(self.client(), i64::MIN)?
            && let Verdict::Commit(commit) = &decision.verdict
            && let CarriedOut::Receipt(of_commit) =
                carry_out(&self.buckets, &keys, id, commit, Proposer::Other)?
        {
            // The worker that decided to commit has been lost.
            receipt = Some(*of_commit);
        }
        Ok(receipt)
    }

    fn has_bytes(&self, _: &str, role: FileRole, uri: &str, expected: &Digest) -> Result<Option<bool>> {
        self.buckets.has_bytes(role, uri, expected)
    }

    fn open_rejects(&self, _: &str, uri: &str, stop: &Stop) -> Result<Option<StoredReader>> {
        self.buckets.until(stop).open_rejects(uri)
    }

    fn conclude(&self, request: EndedRequest<'_>) -> Result<Concluded> {
        let EndedRequest {
            queue,
            id,
            submitted_at,
            ..
        } = request;
        let keys = self.keys(Some(queue));
        let receipt = read_receipt(self.client(), &keys, id)?;
        let concluded = match receipt.filter(|receipt| receipt.is_for(queue, id, submitted_at)) {
            Some(receipt) => Concluded::Committed(receipt.into()),
            None => self.end(&keys, request)?,
        };
        self.forget_checkpoint(queue, id);
        Ok(concluded)
    }

    fn reap(&self, older_than: Duration, at_work: &[(&str, &str)]) -> Result<usize> {
        if let Some(identity) = &*self.identity.lock()
            && self.read_or_create_identity(&self.buckets)? != *identity
        {
            self.is_replaced.store(true, Ordering::Relaxed);
        }
        self.remove_old(older_than, at_work)
    }
}

impl ObjectStorage {
    fn begin_attempt(&self, owner: Owner, format: Format) -> Result<ObjectAttempt> {
        if let Some(queue) = &owner.queue {
            self.check_queue(queue)?;
        }
        let Some(id) = owner.id.clone() else {
            let what = "an object store needs the name of the output before its first byte: choose it with --id, or give the digest of the \
                        input with --sha256";
            return Err(Error::permanent(Stage::Config, Code::OutputFolder, what));
        };
        check_id(&id)?;
        self.check_store(&self.buckets)?;
        let keys = self.keys(owner.queue.as_deref());
        Ok(ObjectAttempt::new(self.buckets.clone(), keys, owner, id, format))
    }

    fn identity_with(&self, buckets: &Buckets) -> Result<String> {
        let mut identity = self.identity.lock();
        if let Some(identity) = &*identity {
            return Ok(identity.clone());
        }
        let found = self.read_or_create_identity(buckets)?;
        *identity = Some(found.clone());
        Ok(found)
    }

    /// Returns the ids of all places. Only a worker with the same ids can carry out each decision about a request.
    fn read_or_create_identity(&self, buckets: &Buckets) -> Result<String> {
        let ids = self
            .places(buckets)
            .map(|(client, prefix)| id_of_place(client, prefix));
        let ids: Vec<String> = ids.collect::<Result<_>>()?;
        Ok(ids.join("+"))
    }
}

fn parse_prefix(bucket: &str, prefix: &str) -> Result<Path> {
    let refused = |why: &str| {
        let what = format!("{bucket}/{prefix}: cannot be the prefix of objects: {why}");
        Error::permanent(Stage::Config, Code::OutputFolder, what)
    };
    // The library leaves out the first slash, so two spellings would be one place.
    if prefix.starts_with('/') || prefix.contains("//") {
        return Err(refused("it has nothing between two slashes"));
    }
    Path::parse(prefix).map_err(|error| refused("the library refuses it").because(error))
}

/// Returns the id of a place, and creates it if there is none.
fn id_of_place(client: &Client, prefix: &Path) -> Result<String> {
    let key = of_output(prefix, OUTPUT_ID);
    let random = uuid::Uuid::new_v4().simple().to_string();
    // If another worker has created the object first, the id of that worker counts.
    let found = match client.create(&key, &Bytes::from(format!("{random}\n")))? {
        Created::New => return Ok(random),
        Created::Exists => client.read(&key, IDENTITY_BYTES_MAX)?,
    };
    let text = String::from_utf8_lossy(&found.unwrap_or_default())
        .trim()
        .to_owned();
    if text.is_empty() || text.contains(char::is_whitespace) {
        let what = format!("{}: is damaged: remove it if no worker runs", client.uri(&key));
        return Err(Error::permanent(Stage::Commit, Code::OutputDamaged, what));
    }
    Ok(text)
}
