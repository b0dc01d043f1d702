//! Commits an attempt: a sealed output goes in; one published output with a receipt comes out, or nothing.
//!
//! The [`storage`](crate::storage) keeps attempts at one request apart, and decides which of them creates the receipt.
//! This module opens the storage that a URI names, and compares a receipt that is there already with the attempt's own.
//! If both are for the same request or the same work, the request is done. Other work under the same id is an error.
//!
//! All functions block, so they must not be called within an async task.

mod differences;
mod passing;

use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use self::differences::differences;
pub use self::passing::OutputHead;
use crate::digest::Digest;
use crate::error::{Code, Error, Result, Stage};
use crate::format::Format;
use crate::location::{Location, redact};
use crate::names::check_id;
use crate::receipt::{Receipt, RejectsPart, RequestPart};
use crate::storage::{FileRole, LocalStorage, Owner, Published, Recorded, SealedAttempt, Storage};

/// The folder of the receipts, beside the outputs.
const RECEIPTS: &str = "receipts";

/// The place for output, rejects and receipts.
#[derive(Debug)]
pub struct Destination {
    storage: Box<dyn Storage>,
    /// Set if outputs are passed on: the head of the first one that had a head.
    passed_head: Option<Mutex<Option<OutputHead>>>,
}

impl Destination {
    /// Returns a destination in the local file system. The arguments are paths or `file:` URIs of folders, which need
    /// not exist. Rejects go to a folder `rejects` in the output by default.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if a URI is malformed or of another scheme.
    pub fn new(output: &str, rejects: Option<&str>) -> Result<Self> {
        let output = local_folder("--output", output)?;
        let rejects = rejects_folder(rejects)?;
        Ok(Self {
            storage: Box::new(LocalStorage::new(output, rejects)),
            passed_head: None,
        })
    }

    /// Returns a destination that leaves outputs in `folder`, for the caller to pass on one after the other. Rejects
    /// are kept if they have a folder.
    ///
    /// # Errors
    /// Fails as [`Destination::new`] does.
    pub fn for_passing_on(folder: &Path, rejects: Option<&str>) -> Result<Self> {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let storage = LocalStorage::for_passing_on(folder, rejects_folder(rejects)?);
        Ok(Self {
            storage: Box::new(storage),
            passed_head: Some(Mutex::default()),
        })
    }

    /// Returns the storage of this destination.
    pub fn storage(&self) -> &dyn Storage {
        &*self.storage
    }
}

/// The receipt of a request that is now committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// The receipt that this attempt has created.
    New(Receipt),
    /// An earlier receipt, for the same request of a queue or for the same work.
    Existing(Receipt),
}

/// Publishes a sealed attempt, then creates the receipt that `make_receipt` returns. Never replaces or changes an
/// existing file. If there is a receipt for the same request or the same work already, that one counts.
///
/// # Errors
/// Fails with stage commit: permanently if there is a receipt for other work or the request was ended (the error says
/// which); with class lease lost if another attempt has taken over. If no receipt could be created, the published files
/// are removed.
pub fn publish<'a>(
    mut sealed: Box<dyn SealedAttempt>,
    id: &str,
    format: Format,
    make_receipt: impl FnOnce(&Published) -> Receipt + 'a,
) -> Result<Committed> {
    check_id(id)?;
    match sealed.publish(id, format, Box::new(make_receipt))? {
        Recorded::New(receipt) => Ok(Committed::New(*receipt)),
        Recorded::Existing {
            existing,
            own,
            place,
            leaves_output,
        } => match existing_or_conflict(&*sealed, *existing, &own, &place) {
            Err(error) if leaves_output => Err(error.leaving_output()),
            committed => committed,
        },
    }
}

/// Returns the receipt of an earlier attempt at the same request of a queue, if there is one.
///
/// # Errors
/// Fails with stage commit if a receipt cannot be read.
pub fn existing(sealed: &dyn SealedAttempt, request: &RequestPart) -> Result<Option<Receipt>> {
    check_id(&request.id)?;
    let Some(queue) = &request.queue else {
        return Ok(None);
    };
    let existing = sealed.receipt(&request.id)?;
    Ok(existing.filter(|receipt| receipt.is_for(queue, &request.id, &request.submitted_at)))
}

/// Returns the receipt under the id of a request that names the version of its input, if the same work was done before,
/// perhaps for an earlier request with this id. So an input that was processed need not be fetched again. `is_same` says
/// whether a receipt of this id is for the same work.
///
/// # Errors
/// Fails permanently, with stage commit, if the work was done before but its files are not there any more. Fails as
/// [`Storage::committed`] and [`Storage::begin`] do.
pub fn done_before(
    storage: &dyn Storage,
    owner: &Owner,
    is_same: impl FnOnce(&Receipt) -> bool,
) -> Result<Option<Receipt>> {
    let (Some(queue), Some(id)) = (&owner.queue, &owner.id) else {
        return Ok(None);
    };
    let Some(receipt) = storage.receipt(queue, id)?.filter(is_same) else {
        return Ok(None);
    };
    let sealed = storage.begin(owner.clone())?.seal()?;
    let place = receipt_uri(&receipt).unwrap_or_default();
    check_outputs(&receipt, &*sealed, &place)?;
    Ok(Some(receipt))
}

/// Returns the existing receipt, if it is for the same request or the same work.
fn existing_or_conflict(
    sealed: &dyn SealedAttempt,
    existing: Receipt,
    own: &Receipt,
    place: &str,
) -> Result<Committed> {
    let is_same_request = own
        .request
        .queue
        .as_deref()
        .is_some_and(|queue| existing.is_for(queue, &own.request.id, &own.request.submitted_at));
    if is_same_request {
        return Ok(Committed::Existing(existing));
    }
    if existing.same_work(own) {
        check_outputs(&existing, sealed, place)?;
        return Ok(Committed::Existing(existing));
    }
    let what = format!(
        "{place}: is a receipt for other work: {}: choose another --id, or another --output",
        differences(&existing, own)
    );
    Err(Error::permanent(Stage::Commit, Code::OutputConflict, what))
}

/// Checks that the files that a receipt names exist and have the recorded bytes; otherwise the work was not done
/// before.
fn check_outputs(receipt: &Receipt, sealed: &dyn SealedAttempt, place: &str) -> Result<()> {
    let outputs = receipt
        .outputs
        .iter()
        .map(|output| (FileRole::Output, &output.uri, output.bytes, &output.sha256));
    let RejectsPart {
        uri, bytes, sha256, ..
    } = &receipt.rejects;
    let rejects = uri
        .as_ref()
        .zip(sha256.as_ref())
        .map(|(uri, sha256)| (FileRole::Rejects, uri, *bytes, sha256));
    for (role, uri, bytes, sha256) in outputs.chain(rejects) {
        let digest = Digest {
            bytes,
            sha256: sha256.clone(),
        };
        let what = match sealed.has_bytes(role, uri, &digest)? {
            Some(true) => continue,
            Some(false) => "has other bytes than the receipt says",
            None => "is not there any more",
        };
        let what = format!(
            "{place}: this work was done before, but {uri} {what}: restore it, or remove both to have it made again"
        );
        return Err(Error::permanent(Stage::Commit, Code::OutputMissing, what));
    }
    Ok(())
}

/// Returns the URI of a published receipt, which lies beside the output that it names; none if it names none.
pub fn receipt_uri(receipt: &Receipt) -> Option<String> {
    let output = receipt.outputs.first()?;
    let (folder, _) = output.uri.rsplit_once('/')?;
    Some(format!("{folder}/{RECEIPTS}/{}.json", receipt.request.id))
}

fn rejects_folder(rejects: Option<&str>) -> Result<Option<PathBuf>> {
    rejects
        .map(|rejects| local_folder("--rejects", rejects))
        .transpose()
}

fn local_folder(option: &str, uri: &str) -> Result<PathBuf> {
    let refused = |why: &str| {
        Error::permanent(
            Stage::Config,
            Code::OutputFolder,
            format!("{option} {}: {why}", redact(uri)),
        )
    };
    match Location::parse(uri, Stage::Config).map_err(|error| error.about(option))? {
        Location::File(path) => {
            std::path::absolute(path).map_err(|error| refused("not a path").because(error))
        }
        // Object stores belong here.
        Location::Http(_) | Location::Other(_) => Err(refused(
            "is not supported, only folders of the local file system, as a path or a file: URI",
        )),
    }
}
