//! From sealed bytes to final names and a receipt. The order is what keeps the promise: data first, synced,
//! then the receipt; whoever comes second finds it and leaves.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::QUARANTINE;
use super::disk::{self, Temporary};
use super::folders::Folder;
use super::staging::Sealed;
use crate::digest::Digest;
use crate::document::read_regular;
use crate::error::{Error, Result, Stage};
use crate::escape;
use crate::faults;
use crate::format::Format;
use crate::location::file_uri;
use crate::receipt::{DOCUMENT_BYTES_MAX, Receipt, Report, RequestPart};
use crate::request::check_name;

/// What was published under final names, for the receipt to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The output.
    pub output: Artifact,
    /// The rejects; nothing if nothing was rejected.
    pub rejects: Option<Artifact>,
}

/// A published object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Where it is.
    pub uri: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes, in lowercase hex.
    pub sha256: String,
}

/// The receipt that stands for the request from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// This attempt's, just created.
    New(Receipt),
    /// One that was there, for the same request of a queue, or for the same work.
    Existing(Receipt),
}

/// A file under its final name.
struct Placed {
    path: PathBuf,
    /// Whether this attempt gave it the name.
    is_new: bool,
}

impl Sealed {
    /// Publishes output and rejects, then creates the receipt that `make_receipt` makes. Never replaces or
    /// changes a file that is there; if a receipt is there that stands for the same work, that one counts.
    ///
    /// # Errors
    /// Of stage commit. Permanent if there is a receipt for other work: the error says what differs. If no
    /// receipt could be created, what was published is taken back; output that stays nevertheless, after a
    /// crash or while another attempt publishes, is not trusted by readers and taken over by the next attempt.
    pub fn publish(
        mut self,
        id: &str,
        fence: u64,
        output_format: Format,
        make_receipt: impl FnOnce(&Published) -> Receipt,
    ) -> Result<Committed> {
        check_name("id", id, 128)?;
        let path = self.folders.receipts.path().join(format!("{id}.json"));
        let mut placed = Vec::new();
        // Without a lock, on a file system that has none, nothing is taken back either.
        let publishing = File::open(self.folders.receipts.path())
            .and_then(|folder| folder.lock_shared().map(|()| folder))
            .ok();
        let committed = self.place_and_record(id, fence, output_format, make_receipt, &path, &mut placed);
        drop(publishing);
        if committed.is_err() {
            self.take_back(&placed, &path);
        }
        committed
    }

    /// The receipt of an attempt before at the same request of a queue, if it has one.
    ///
    /// # Errors
    /// Of stage commit, if there is a receipt that cannot be read.
    pub fn existing(&self, request: &RequestPart) -> Result<Option<Receipt>> {
        check_name("id", &request.id, 128)?;
        let path = self.folders.receipts.path().join(format!("{}.json", request.id));
        let is_there = path
            .try_exists()
            .map_err(|error| disk::failed(error, "cannot be read", &path))?;
        if request.queue.is_none() || !is_there {
            return Ok(None);
        }
        let existing = read_receipt(&path)?;
        Ok((existing.request == *request).then_some(existing))
    }

    /// Puts output and rejects into quarantine, and the report that `make_report` makes, which alone names them. It takes the
    /// place of one of an attempt before. The report's URI.
    ///
    /// # Errors
    /// As [`Sealed::publish`]; then nothing stays that was not there before.
    pub fn quarantine(
        mut self,
        id: &str,
        output_format: Format,
        make_report: impl FnOnce(&Published) -> Report,
    ) -> Result<String> {
        check_name("id", id, 128)?;
        let mut placed = Vec::new();
        let kept = self.place_and_report(id, output_format, make_report, &mut placed);
        if kept.is_err() {
            remove_unnamed(&placed, None);
        }
        kept
    }

    fn place_and_report(
        &mut self,
        id: &str,
        output_format: Format,
        make_report: impl FnOnce(&Published) -> Report,
        placed: &mut Vec<Placed>,
    ) -> Result<String> {
        // Other bytes of an attempt before stay, under another name than any of these.
        let names = |suffix: &str, digest: &Digest| {
            let start = &digest.sha256[..12];
            [format!("{id}.{suffix}"), format!("{id}.{start}.{suffix}")]
        };
        let outputs = Folder::open(&self.folders.output.path().join(QUARANTINE))?;
        let named = names(output_format.name(), &self.output);
        let output = place(&mut self.staged_output, &self.output, &outputs, &named, placed)?;
        outputs.sync()?;
        let folder = Folder::open(&self.folders.rejects.path().join(QUARANTINE))?;
        let rejects = match (&self.rejects, &mut self.staged_rejects) {
            (Some(digest), Some(staged)) => {
                let named = names("rejects.csv", digest);
                Some(place(staged, digest, &folder, &named, placed)?)
            }
            _ => None,
        };
        let report = make_report(&Published { output, rejects });
        let staged = self
            .folders
            .rejects_staging
            .path()
            .join(format!("{}.report", self.name));
        let mut staged = write_document(&staged, &report)?;
        let path = folder.path().join(format!("{id}.json"));
        disk::replace(&mut staged, &path)?;
        folder.sync()?;
        Ok(file_uri(&path))
    }

    /// Removes what this attempt published if no receipt names it and none can come to name it: another
    /// attempt that made the same bytes may be about to.
    fn take_back(&self, placed: &[Placed], receipt: &Path) {
        let Ok(folder) = File::open(self.folders.receipts.path()) else {
            return;
        };
        if folder.try_lock().is_err() {
            return;
        }
        let existing = match fs::symlink_metadata(receipt) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            _ => match read_receipt(receipt) {
                Ok(existing) => Some(existing),
                Err(_) => return,
            },
        };
        remove_unnamed(placed, existing.as_ref());
    }

    /// Publishes, and tells in `placed` what; then creates the receipt at `path`.
    fn place_and_record(
        &mut self,
        id: &str,
        fence: u64,
        output_format: Format,
        make_receipt: impl FnOnce(&Published) -> Receipt,
        path: &Path,
        placed: &mut Vec<Placed>,
    ) -> Result<Committed> {
        let names = |suffix: &str| [format!("{id}.{suffix}"), format!("{id}.{fence}.{suffix}")];
        let output = place(
            &mut self.staged_output,
            &self.output,
            &self.folders.output,
            &names(output_format.name()),
            placed,
        )?;
        let rejects = match (&self.rejects, &mut self.staged_rejects) {
            (Some(digest), Some(staged)) => Some(place(
                staged,
                digest,
                &self.folders.rejects,
                &names("rejects.csv"),
                placed,
            )?),
            _ => None,
        };
        let receipt = make_receipt(&Published { output, rejects });
        faults::pass("published", id);
        if self.create_receipt(&receipt, path)? {
            faults::pass("receipt", id);
            return Ok(Committed::New(receipt));
        }
        let existing = read_receipt(path)?;
        // That receipt stands for good, so nobody will ever name what was placed here in vain.
        remove_unnamed(placed, Some(&existing));
        if existing.same_request(&receipt) || existing.same_work(&receipt) {
            return Ok(Committed::Existing(existing));
        }
        let what = format!(
            "{}: is a receipt for other work; {}",
            path.display(),
            differences(&existing, &receipt)
        );
        Err(Error::permanent(Stage::Commit, what))
    }

    /// Returns false if there is one already. Whoever sees the receipt finds what it names, even after a power cut.
    fn create_receipt(&self, receipt: &Receipt, path: &Path) -> Result<bool> {
        let mut staged = write_document(&self.staged_receipt, receipt)?;
        // On most file systems the sync above has written the new names to the journal, and these have little to do.
        self.folders.output.sync()?;
        if self.rejects.is_some() {
            self.folders.rejects.sync()?;
        }
        let is_new = disk::publish(&mut staged, path)?;
        self.folders.receipts.sync()?;
        Ok(is_new)
    }
}

/// Writes and syncs a document.
fn write_document(path: &Path, document: &impl Serialize) -> Result<Temporary> {
    let staged = Temporary::new(path.to_owned());
    // Somebody will look at it on a terminal.
    let text = escape::json(serde_json::to_string_pretty(document).expect("documents serialize"));
    let written = File::create(staged.path()).and_then(|mut file| {
        file.write_all(format!("{text}\n").as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| disk::failed(error, "cannot be written", staged.path()))?;
    Ok(staged)
}

/// Gives a staged file the first of the names that is free or has the same bytes already.
fn place(
    staged: &mut Temporary,
    digest: &Digest,
    folder: &Folder,
    names: &[String; 2],
    placed: &mut Vec<Placed>,
) -> Result<Artifact> {
    let found = fs::symlink_metadata(staged.path())
        .map_err(|error| disk::failed(error, "is gone", staged.path()))?
        .len();
    if found != digest.bytes {
        let what = format!(
            "{}: has {found} bytes, but {} were written",
            staged.path().display(),
            digest.bytes
        );
        return Err(Error::transient(Stage::Commit, what));
    }
    // A name can become free again while it is looked at, when another attempt takes its own file back.
    for name in names.iter().flat_map(|name| [name, name]) {
        let path = folder.path().join(name);
        let is_new = disk::publish(staged, &path)?;
        if is_new || disk::has_bytes(&path, digest)? == Some(true) {
            let artifact = artifact(&path, digest);
            placed.push(Placed { path, is_new });
            return Ok(artifact);
        }
    }
    // A later attempt has another fence, hence another name.
    let what = format!(
        "{}: is there already, with other bytes",
        folder.path().join(&names[1]).display()
    );
    Err(Error::transient(Stage::Commit, what))
}

/// Removes what was published in vain: no receipt names it.
fn remove_unnamed(placed: &[Placed], receipt: Option<&Receipt>) {
    for Placed { path, is_new } in placed {
        if *is_new && !receipt.is_some_and(|receipt| names_file(receipt, path)) {
            let _ = fs::remove_file(path);
        }
    }
}

fn artifact(path: &Path, digest: &Digest) -> Artifact {
    Artifact {
        uri: file_uri(path),
        bytes: digest.bytes,
        sha256: digest.sha256.clone(),
    }
}

fn read_receipt(path: &Path) -> Result<Receipt> {
    let document = read_regular(path, DOCUMENT_BYTES_MAX)
        .map_err(|error| disk::failed(error, "the receipt cannot be read", path))?;
    serde_json::from_slice(&document).map_err(|error| {
        Error::permanent(Stage::Commit, format!("{}: is not a receipt", path.display())).because(error)
    })
}

fn names_file(receipt: &Receipt, path: &Path) -> bool {
    let uri = file_uri(path);
    receipt.rejects.uri.as_ref() == Some(&uri) || receipt.outputs.iter().any(|output| output.uri == uri)
}

/// What two receipts disagree in, of what makes work the same: see [`Receipt::same_work`]. Without a queue
/// the time of submission is that of the attempt, so it says nothing.
fn differences(existing: &Receipt, own: &Receipt) -> String {
    let members = |receipt: &Receipt| {
        let digests = receipt
            .outputs
            .iter()
            .map(|output| output.sha256.as_str())
            .collect::<Vec<_>>();
        let queued = receipt.request.queue.is_some();
        let submitted_at = queued.then(|| receipt.request.submitted_at.clone());
        [
            ("id", receipt.request.id.clone()),
            (
                "queue",
                receipt.request.queue.clone().unwrap_or_else(|| "none".into()),
            ),
            ("time of submission", submitted_at.unwrap_or_default()),
            ("input", receipt.input.sha256.clone()),
            ("plugin", receipt.plugin.sha256.clone()),
            ("config", receipt.config_sha256.clone()),
            ("output", digests.join("+")),
            (
                "rejects",
                receipt.rejects.sha256.clone().unwrap_or_else(|| "none".into()),
            ),
        ]
    };
    let mut text = Vec::new();
    for ((name, existing), (_, own)) in members(existing).into_iter().zip(members(own)) {
        if existing != own {
            text.push(format!("its {name} is {existing}, here it is {own}"));
        }
    }
    text.join(", ")
}
