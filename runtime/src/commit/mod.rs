//! Commits an attempt: a sealed attempt goes in; the receipt of the request comes out, or an error.
//!
//! The [`storage`](crate::storage) decides which of the attempts at one request creates the receipt. This module opens
//! local folders. The caller opens every other storage. If a receipt with the same id exists already, this module
//! compares that receipt with the receipt of the attempt. If both are for the same request or the same work, the
//! request is done. If not, the commit fails.
//!
//! All functions of this module block, so they must not be called within an async task.

mod differences;
mod passing;

use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use self::differences::differences;
pub use self::passing::OutputHead;
use crate::digest::Digest;
use crate::error::{Code, Error, Result, Stage};
use crate::location::{Location, redact};
use crate::names::check_id;
use crate::receipt::{Receipt, RejectsPart, RequestPart};
use crate::storage::{self, FileRole, LocalStorage, Owner, Published, Recorded, SealedAttempt, Storage};

/// The place for output, rejects and receipts, which `--output` and `--rejects` name.
#[derive(Debug)]
pub struct Destination {
    storage: Box<dyn Storage>,
    /// If outputs are passed on: the head of the first output with columns, once there is one. `None` if outputs are
    /// published.
    passed_head: Option<Mutex<Option<OutputHead>>>,
}

impl Destination {
    /// Returns a destination in the local file system. The arguments are paths or `file:` URIs of folders, which need
    /// not exist. By default, rejects go to the folder `_ingest` within the output's folder.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if a URI is malformed or has another scheme.
    pub fn new(output: &str, rejects: Option<&str>) -> Result<Self> {
        let output = local_folder("--output", output)?;
        let rejects = rejects_folder(rejects)?;
        Ok(Self {
            storage: Box::new(LocalStorage::new(output, rejects)),
            passed_head: None,
        })
    }

    /// Returns a destination that leaves outputs in `folder`. The caller passes them on one after the other. Rejects
    /// are published if `rejects` names a folder for them.
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

    /// Returns a destination in this storage.
    pub fn in_storage(storage: Box<dyn Storage>) -> Self {
        Self {
            storage,
            passed_head: None,
        }
    }

    /// Returns the storage of this destination.
    pub fn storage(&self) -> &dyn Storage {
        &*self.storage
    }
}

/// The receipt of a request that is now committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// This attempt has created the receipt.
    New(Receipt),
    /// The receipt existed already, for the same request of a queue or for the same work.
    Existing(Receipt),
}

/// Publishes output and rejects, then creates the receipt that `make_receipt` returns. Never replaces or changes an
/// existing file. If there is already a receipt for the same request or the same work, returns that receipt. If outputs
/// are passed on, the receipt is returned but not stored.
///
/// # Errors
/// Fails with stage commit:
///
/// - permanently if there is a receipt for other work, if the output of a receipt for the same work is missing, or if
///   the request has ended without a receipt
/// - with class lease lost if another attempt has taken over
///
/// If no receipt could be created, the published files are removed if possible.
pub fn publish<'a>(
    mut sealed: Box<dyn SealedAttempt>,
    id: &str,
    make_receipt: impl FnOnce(&Published) -> Receipt + 'a,
) -> Result<Committed> {
    check_id(id)?;
    match sealed.publish(id, Box::new(make_receipt))? {
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

/// Returns the receipt of an earlier attempt at the same request of a queue, or `None` if there is no such receipt.
///
/// # Errors
/// Fails with stage commit if the receipt cannot be read.
pub fn existing(sealed: &dyn SealedAttempt, request: &RequestPart) -> Result<Option<Receipt>> {
    check_id(&request.id)?;
    let Some(queue) = &request.queue else {
        return Ok(None);
    };
    let existing = sealed.receipt(&request.id)?;
    Ok(existing.filter(|receipt| receipt.is_for(queue, &request.id, &request.submitted_at)))
}

/// Returns the receipt under the id of a request that names the version of its input, if the same work was done before.
/// The receipt can be for an earlier request with this id. So an input that was processed need not be fetched again.
/// `is_same` returns whether a receipt with this id is for the same work.
///
/// # Errors
/// Fails permanently, with stage commit, if the work was done before but its files are missing or were changed. Fails as
/// [`Storage::receipt`] and [`Storage::has_bytes`] do.
pub fn done_before(
    storage: &dyn Storage,
    owner: &Owner,
    is_same: impl FnOnce(&Receipt) -> bool,
) -> Result<Option<Receipt>> {
    let (Some(queue), Some(id)) = (&owner.queue, &owner.id) else {
        return Ok(None);
    };
    check_id(id)?;
    let Some(receipt) = storage.receipt(queue, id)?.filter(is_same) else {
        return Ok(None);
    };
    let place = receipt_uri(&receipt).unwrap_or_default();
    check_outputs(&receipt, &place, |role, uri, expected| {
        storage.has_bytes(queue, role, uri, expected)
    })?;
    Ok(Some(receipt))
}

/// Returns the existing receipt if it is for the same request or the same work, and otherwise an error.
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
        check_outputs(&existing, place, |role, uri, expected| {
            sealed.has_bytes(role, uri, expected)
        })?;
        return Ok(Committed::Existing(existing));
    }
    let what = format!(
        "{place}: is a receipt for other work: {}: choose another --id, or another --output",
        differences(&existing, own)
    );
    Err(Error::permanent(Stage::Commit, Code::OutputConflict, what))
}

/// Checks that the files that a receipt names exist, and that their bytes match its digests. If not, the receipt cannot
/// count as the result. `has_bytes` does what [`Storage::has_bytes`] does.
fn check_outputs(
    receipt: &Receipt,
    place: &str,
    has_bytes: impl Fn(FileRole, &str, &Digest) -> Result<Option<bool>>,
) -> Result<()> {
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
        let (what, removed) = match has_bytes(role, uri, &digest)? {
            Some(true) => continue,
            Some(false) => ("has other bytes than the receipt says", "both"),
            None => ("is not there any more", "this receipt"),
        };
        let what = format!(
            "{place}: this work was done before, but {uri} {what}: restore it, or remove {removed} to have it made again"
        );
        return Err(Error::permanent(Stage::Commit, Code::OutputMissing, what));
    }
    Ok(())
}

/// Returns the URI of a published receipt. If a file of this machine at the place of version 0.1.0 is the receipt,
/// returns its URI. Returns `None` if the receipt names no output, or if the output is not in the folder of the queue.
pub fn receipt_uri(receipt: &Receipt) -> Option<String> {
    let output = &receipt.outputs.first()?.uri;
    let request = &receipt.request;
    let is_file = |uri: &String| match Location::parse(uri, Stage::Commit) {
        Ok(Location::File(path)) => path.exists(),
        _ => false,
    };
    let uri = storage::receipt_uri(output, request.queue.as_deref(), &request.id);
    if uri.as_ref().is_some_and(is_file) {
        return uri;
    }
    storage::earlier_receipt_uri(output, &request.id)
        .filter(is_file)
        .or(uri)
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
        // The command line opens the object store that `--output` names: see `cli/options.rs`.
        Location::Http(_) | Location::Object(_) | Location::Other(_) => Err(refused(match option {
            "--output" => {
                "is not supported: name a folder as a path or a file: URI, or an object store (s3:, gs: or az:)"
            }
            _ => "is not supported: name a folder as a path or a file: URI",
        })),
    }
}
