//! Decides how a round of a request ends: proposals of attempts and workers go in; one decision comes out. Each
//! attempt or worker that finds the decision carries it out.
//!
//! A *round* begins when a life of a request begins (with a submit, or with a `dead retry`), and when the decision of
//! the previous round cannot be carried out. The decision of a round is an object. An object is created only if there
//! is no object of that name, so only one proposal becomes the decision. There are two kinds of decisions. *Commit*
//! names the uploads to complete, and contains the receipt to create. *Ended* says that the request has ended without
//! an output.
//!
//! An attempt or worker that creates or finds a decision carries it out. Each step can be repeated:
//!
//! | decision | steps |
//! |---|---|
//! | commit | look for the receipt; complete the uploads, the output last; create the receipt |
//! | ended | none; attempts of the same life of the request, or of an earlier life, fail |
//!
//! If an upload of a commit is gone, there are two cases: the upload was completed, or it was aborted. The nonce of the
//! upload shows which: a completed object has the nonce in its metadata. If the upload was aborted, the next round
//! begins, and an attempt proposes to commit its own output.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::buckets::Buckets;
use super::client::{Client, Created, ObjectFacts, shown};
use super::keys::{Keys, stored};
use super::refusal::CallKind;
use super::upload::{SealedUpload, UploadNote};
use crate::error::{Class, Code, Error, Result, Stage};
use crate::escape;
use crate::fail_points;
use crate::receipt::{DOCUMENT_BYTES_MAX, Receipt, Unreadable};

/// The version of the format of decisions.
const VERSION: u32 = 1;

/// The maximum size of a decision, in bytes. A decision contains a receipt and the parts of two uploads, which can be
/// 10,000 for each.
const DECISION_BYTES_MAX: u64 = DOCUMENT_BYTES_MAX + (8 << 20);

/// A decision about one round of a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Decision {
    decision: u32,
    pub(super) queue: Option<String>,
    pub(super) id: String,
    /// The start of the request's life: see [`crate::storage::Owner::life_ms`].
    pub(super) life_ms: i64,
    pub(super) round: u32,
    /// A random word by which a proposer recognizes its own decision.
    pub(super) nonce: String,
    #[serde(flatten)]
    pub(super) verdict: Verdict,
}

/// The version of a decision. It is read first, because the other members can differ between versions.
#[derive(Deserialize)]
struct DecisionVersion {
    decision: u32,
}

/// The end of a round.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub(super) enum Verdict {
    /// The request is committed: the uploads must be completed, and the receipt must be created.
    Commit(Box<Commit>),
    /// The request has ended without an output.
    Ended {
        state: String,
        worker: String,
        at: String,
    },
}

/// The uploads to complete, and the receipt to create.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Commit {
    pub(super) rejects: Option<SealedUpload>,
    pub(super) output: SealedUpload,
    pub(super) receipt: serde_json::Value,
}

/// The rounds of one request so far.
#[derive(Debug, Default)]
pub(super) struct Rounds(BTreeMap<(i64, u32), Path>);

/// The meaning of the latest decision for an attempt or worker.
#[derive(Debug)]
pub(super) enum Latest {
    /// No decision concerns this life of the request. Its first round is open.
    Open,
    /// The latest decision is a commit of any life, or the end of this life or of a later life.
    Decided(Box<Decision>),
}

/// The result of carrying out a commit.
#[derive(Debug)]
pub(super) enum CarriedOut {
    /// The receipt exists.
    Receipt(Box<Receipt>),
    /// The commit cannot be carried out.
    Impossible(LostUpload),
}

/// The proposer of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proposer {
    /// The attempt that carries out the commit.
    Own,
    /// Another attempt, which can be one of an earlier life of the request.
    Other,
}

/// The reason why an upload cannot be completed any more. It names the object, and has no secrets.
#[derive(Debug)]
pub(super) enum LostUpload {
    /// The upload was aborted, or its object was removed.
    Removed(String),
    /// Another object has the name.
    NameTaken(String),
}

impl LostUpload {
    /// Returns the error of the attempt that has made the upload of request `id`. The next attempt makes another one.
    pub(super) fn into_error(self, id: &str) -> Error {
        let (code, why) = match self {
            Self::Removed(why) => (Code::OutputMissing, why),
            Self::NameTaken(why) => (Code::OutputExists, why),
        };
        Error::transient(Stage::Commit, code, format!("{id}: {why}"))
    }
}

impl fmt::Display for LostUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Removed(why) | Self::NameTaken(why)) = self;
        f.write_str(why)
    }
}

impl Decision {
    pub(super) fn new(
        (queue, id): (Option<&str>, &str),
        (life_ms, round): (i64, u32),
        nonce: &str,
        verdict: Verdict,
    ) -> Self {
        Self {
            decision: VERSION,
            queue: queue.map(str::to_owned),
            id: id.to_owned(),
            life_ms,
            round,
            nonce: nonce.to_owned(),
            verdict,
        }
    }

    /// Returns the number of the round that follows this commit, in the life `life_ms` of the request. The commit can
    /// belong to an earlier life of the request, or to an earlier request with this id.
    pub(super) fn next_round(&self, life_ms: i64) -> u32 {
        if self.life_ms < life_ms { 0 } else { self.round + 1 }
    }

    fn key(&self, keys: &Keys) -> Path {
        let Self {
            id, life_ms, round, ..
        } = self;
        keys.decisions(Some(id))
            .join(format!("{life_ms:016}.{round:06}.json"))
    }

    /// Returns whether the decision names the upload of this note. The ids of uploads to two stores can be the same.
    pub(super) fn names(&self, note: &UploadNote) -> bool {
        let is_of_note = |upload: &SealedUpload| {
            (&upload.bucket, &upload.key, &upload.upload) == (&note.bucket, &note.key, &note.upload)
        };
        match &self.verdict {
            Verdict::Commit(commit) => {
                let Commit { rejects, output, .. } = &**commit;
                is_of_note(output) || rejects.as_ref().is_some_and(is_of_note)
            }
            Verdict::Ended { .. } => false,
        }
    }

    /// Proposes this decision. Returns the decision of its round, which can be the decision of another attempt or
    /// worker.
    ///
    /// # Errors
    /// Fails if the store does not answer, or refuses the call. The store may have created the decision, so
    /// [`Error::leaves_output`] returns true.
    pub(super) fn propose(self, client: &Client, keys: &Keys) -> Result<Self> {
        let key = self.key(keys);
        let bytes = serde_json::to_vec(&self).expect("a decision serializes");
        match client
            .create(&key, &bytes.into())
            .map_err(Error::leaving_output)?
        {
            Created::New => Ok(self),
            // The decision can be this proposal, if an earlier try of the same call has created it.
            Created::Exists => {
                let found = read(client, &key).map_err(Error::leaving_output)?;
                found.ok_or_else(|| {
                    let what = format!("{}: disappears", client.uri(&key));
                    Error::transient(Stage::Commit, Code::OutputDamaged, what).leaving_output()
                })
            }
        }
    }
}

impl Rounds {
    /// Lists the decisions about a request.
    pub(super) fn list(client: &Client, keys: &Keys, id: &str) -> Result<Self> {
        let mut rounds = Self::default();
        for object in client.list(&keys.decisions(Some(id)))? {
            if let Some(round) = parse_name(&object.location) {
                rounds.0.insert(round, object.location);
            }
        }
        Ok(rounds)
    }

    /// Returns what the latest decision means for an attempt or worker in the life `life_ms` of the request.
    pub(super) fn latest(&self, client: &Client, life_ms: i64) -> Result<Latest> {
        let Some((&(life, _), key)) = self.0.last_key_value() else {
            return Ok(Latest::Open);
        };
        let Some(decision) = read(client, key)? else {
            let what = format!("{}: disappears", client.uri(key));
            return Err(Error::transient(Stage::Commit, Code::OutputDamaged, what));
        };
        match decision.verdict {
            Verdict::Ended { .. } if life < life_ms => Ok(Latest::Open),
            Verdict::Ended { .. } | Verdict::Commit(_) => Ok(Latest::Decided(decision.into())),
        }
    }

    /// Returns whether the object is the output of a commit of this request.
    pub(super) fn has_made(&self, client: &Client, object: &ObjectFacts) -> Result<bool> {
        for key in self.keys() {
            if let Some(Decision {
                verdict: Verdict::Commit(commit),
                ..
            }) = read(client, key)?
                && object.upload.as_ref() == Some(&commit.output.nonce)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the keys of all decisions.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Path> {
        self.0.values()
    }
}

/// Reads a decision. Returns `None` if there is no such decision.
pub(super) fn read(client: &Client, key: &Path) -> Result<Option<Decision>> {
    let Some(bytes) = client.read(key, DECISION_BYTES_MAX)? else {
        return Ok(None);
    };
    let damaged = |error: serde_json::Error| {
        let what = format!("{}: is not a decision", client.uri(key));
        Error::permanent(Stage::Commit, Code::OutputDamaged, what).because(error)
    };
    let DecisionVersion { decision } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if decision != VERSION {
        // A worker of a newer version can carry it out.
        let what = format!("{}: is a decision of a newer version", client.uri(key));
        return Err(Error::transient(Stage::Commit, Code::HostOutdated, what));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

/// Returns the life and the round in the key of a decision.
fn parse_name(key: &Path) -> Option<(i64, u32)> {
    let name = key.filename()?.strip_suffix(".json")?;
    let (life, round) = name.split_once('.')?;
    Some((life.parse().ok()?, round.parse().ok()?))
}

/// Carries out a commit: makes its objects visible, and creates its receipt. Skips steps that are done already.
pub(super) fn carry_out(
    buckets: &Buckets,
    keys: &Keys,
    id: &str,
    commit: &Commit,
    proposer: Proposer,
) -> Result<CarriedOut> {
    let Commit {
        rejects,
        output,
        receipt,
    } = commit;
    let client = &buckets.main;
    // Another attempt or worker may have carried out the commit already.
    if let Some(receipt) = read_receipt(client, keys, id)? {
        return Ok(CarriedOut::Receipt(receipt.into()));
    }
    // The output comes last, so that only the receipt is missing when the output becomes visible.
    for upload in rejects.iter().chain([output]) {
        if let Err(why) = complete(buckets.client_for(upload)?, upload, proposer)? {
            return Ok(CarriedOut::Impossible(why));
        }
        fail_points::pass("completed", id);
    }
    // The text is escaped, because people show receipts on a terminal.
    let text = escape::json(serde_json::to_string_pretty(receipt).expect("a receipt serializes"));
    let key = keys.receipt(id);
    client
        .create(&key, &Bytes::from(format!("{text}\n")))
        .map_err(Error::leaving_output)?;
    let created = read_receipt(client, keys, id).map_err(Error::leaving_output)?;
    match created {
        Some(receipt) => {
            fail_points::pass("receipt", id);
            Ok(CarriedOut::Receipt(receipt.into()))
        }
        None => {
            let what = format!("{}: disappears", client.uri(&key));
            Err(Error::transient(Stage::Commit, Code::OutputMissing, what).leaving_output())
        }
    }
}

/// Completes an upload to the bucket `client`, if it is not completed yet. The inner error is the reason why the upload
/// cannot be completed any more.
///
/// Some stores repeat the answer to a call that has completed an upload before, even if the object is gone. So the
/// object must exist if the upload was not made by this attempt.
pub(super) fn complete(
    client: &Client,
    upload: &SealedUpload,
    proposer: Proposer,
) -> Result<Result<(), LostUpload>> {
    let key = stored(&upload.key);
    let found = || client.facts(&key).map_err(Error::leaving_output);
    let is_of_upload =
        |facts: &ObjectFacts| facts.upload.as_ref() == Some(&upload.nonce) && facts.bytes == upload.bytes;
    let failed = match (client.complete(&key, upload), proposer) {
        (Ok(()), Proposer::Own) => return Ok(Ok(())),
        (Ok(()), Proposer::Other) => object_store::Error::NotFound {
            path: key.to_string(),
            source: "the store has completed the upload, and the object is gone".into(),
        },
        (Err(failed), _) => failed,
    };
    let object = found()?;
    if object.as_ref().is_some_and(is_of_upload) {
        return Ok(Ok(()));
    }
    let is_gone = matches!(failed, object_store::Error::NotFound { .. });
    let is_refused = matches!(
        failed,
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }
    );
    // If the store refused the call although there is no object, another call for the object has not ended. It can be
    // the call of another worker that completes this upload. So the upload must not be aborted.
    let is_taken = is_refused && object.is_some();
    if !is_gone && !is_taken {
        let error = client.failed(&failed, CallKind::CompleteUpload, &key);
        return Err(error.leaving_output());
    }
    // The upload is gone, or somebody else has created an object of this name since the attempt looked for one. After
    // this, a call of another worker that is still in flight can no longer complete the upload.
    client
        .abort(&key, &upload.upload)
        .map_err(Error::leaving_output)?;
    if found()?.as_ref().is_some_and(is_of_upload) {
        return Ok(Ok(()));
    }
    let uri = client.uri(&key);
    if is_gone {
        let why = shown(&failed);
        let what = format!("{uri}: the upload was removed before it was complete: {why}");
        return Ok(Err(LostUpload::Removed(what)));
    }
    if client.can_abort() {
        let what = format!("{uri}: exists, and no attempt at this request made it");
        return Ok(Err(LostUpload::NameTaken(what)));
    }
    // The upload stays. Another worker could complete it as soon as the other object is removed. So the decision must
    // be carried out, and no new round may begin.
    Err(exists(client, &key).leaving_output())
}

/// Returns the error for an object that has the output's name, although no attempt at this request made it.
pub(super) fn exists(client: &Client, key: &Path) -> Error {
    let what = format!(
        "{}: exists, and no attempt at this request made it: remove it, or choose another --id or --output",
        client.uri(key)
    );
    Error::permanent(Stage::Commit, Code::OutputExists, what)
}

/// Reads the receipt with this id. Returns `None` if there is no such receipt.
pub(super) fn read_receipt(client: &Client, keys: &Keys, id: &str) -> Result<Option<Receipt>> {
    let key = keys.receipt(id);
    let Some(document) = client.read(&key, DOCUMENT_BYTES_MAX)? else {
        return Ok(None);
    };
    Receipt::read(&document).map(Some).map_err(|error| {
        let what = client.uri(&key);
        match error {
            // The error is transient, because a worker of a newer version can settle the request.
            Unreadable::Newer(_) => Error::transient(
                Stage::Commit,
                Code::HostOutdated,
                format!("{what}: cannot be read"),
            ),
            Unreadable::Damaged(_) => Error::permanent(
                Stage::Commit,
                Code::OutputDamaged,
                format!("{what}: is not a receipt"),
            ),
        }
        .because(error)
    })
}

/// Returns the error for an attempt at a request that has ended without an output.
pub(super) fn ended(id: &str, state: &str, worker: &str, at: &str) -> Error {
    let what = format!(
        "{id}: worker {worker} ended it as {state} at {at}, so no earlier attempt may commit it; `dead retry` starts it anew"
    );
    Error::permanent(Stage::Commit, Code::RequestEnded, what)
}

/// Returns the error of an attempt whose request is in a later life already.
pub(super) fn superseded(id: &str) -> Error {
    let what = format!("{id}: another attempt at the request has taken over");
    Error::new(Stage::Commit, Class::LeaseLost, Code::LeaseLost, what)
}
