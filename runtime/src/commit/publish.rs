//! From sealed bytes to final names and a receipt. The order is what keeps the promise: data first, synced,
//! then the receipt; whoever comes second finds it and leaves.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::disk;
use super::staging::Sealed;
use crate::digest::Digest;
use crate::error::{Error, Result, Stage};
use crate::format::Format;
use crate::location::file_uri;
use crate::receipt::Receipt;
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
    /// receipt could be created, output may stand under its name without one, which readers do not trust and
    /// the next attempt takes over.
    pub fn publish(
        self,
        id: &str,
        fence: u64,
        output_format: Format,
        make_receipt: impl FnOnce(&Published) -> Receipt,
    ) -> Result<Committed> {
        check_name("id", id, 128)?;
        let folders = &self.staging.destination;
        let names = |suffix: &str| [format!("{id}.{suffix}"), format!("{id}.{fence}.{suffix}")];
        let output = place(
            &self.output_path,
            &self.output,
            &folders.output,
            &names(output_format.name()),
        )?;
        let rejects = match &self.rejects {
            Some(digest) => Some(place(
                &self.rejects_path,
                digest,
                &folders.rejects,
                &names("rejects.csv"),
            )?),
            None => None,
        };
        let receipt = make_receipt(&Published {
            output: artifact(&output, &self.output),
            rejects: rejects
                .as_ref()
                .zip(self.rejects.as_ref())
                .map(|(placed, digest)| artifact(placed, digest)),
        });
        let path = folders.receipts.join(format!("{id}.json"));
        if self.create_receipt(&receipt, &path)? {
            return Ok(Committed::New(receipt));
        }
        let existing = read_receipt(&path)?;
        // That receipt stands for good, so nobody will ever name what was placed here in vain.
        for placed in [Some(&output), rejects.as_ref()].into_iter().flatten() {
            if placed.is_new && !names_file(&existing, &placed.path) {
                let _ = fs::remove_file(&placed.path);
            }
        }
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

    /// Returns false if there is one already.
    fn create_receipt(&self, receipt: &Receipt, path: &Path) -> Result<bool> {
        let staged = self.staging.output.path().join("receipt");
        let mut document = serde_json::to_vec_pretty(receipt).expect("a receipt serializes");
        document.push(b'\n');
        let written = File::create(&staged).and_then(|mut file| {
            file.write_all(&document)?;
            file.sync_all()
        });
        written.map_err(|error| disk::failed(error, "cannot be written", &staged))?;
        let is_new = disk::publish(&staged, path)?;
        disk::sync_folder(&self.staging.destination.receipts)?;
        Ok(is_new)
    }
}

/// Gives a staged file the first of the names that is free or has the same bytes already.
fn place(staged: &Path, digest: &Digest, folder: &Path, names: &[String; 2]) -> Result<Placed> {
    let found = fs::symlink_metadata(staged)
        .map_err(|error| disk::failed(error, "is gone", staged))?
        .len();
    if found != digest.bytes {
        let what = format!(
            "{}: has {found} bytes, but {} were written",
            staged.display(),
            digest.bytes
        );
        return Err(Error::transient(Stage::Commit, what));
    }
    // A name can become free again while it is looked at, when another attempt takes its own file back.
    for name in names.iter().flat_map(|name| [name, name]) {
        let path = folder.join(name);
        let is_new = disk::publish(staged, &path)?;
        if is_new || disk::has_bytes(&path, digest)? == Some(true) {
            disk::sync_folder(folder)?;
            return Ok(Placed { path, is_new });
        }
    }
    // A later attempt has another fence, hence another name.
    let what = format!(
        "{}: is there already, with other bytes",
        folder.join(&names[1]).display()
    );
    Err(Error::transient(Stage::Commit, what))
}

fn artifact(placed: &Placed, digest: &Digest) -> Artifact {
    Artifact {
        uri: file_uri(&placed.path),
        bytes: digest.bytes,
        sha256: digest.sha256.clone(),
    }
}

fn read_receipt(path: &Path) -> Result<Receipt> {
    let document = fs::read(path).map_err(|error| disk::failed(error, "the receipt cannot be read", path))?;
    serde_json::from_slice(&document).map_err(|error| {
        Error::permanent(Stage::Commit, format!("{}: is not a receipt", path.display())).because(error)
    })
}

fn names_file(receipt: &Receipt, path: &Path) -> bool {
    let uri = file_uri(path);
    receipt.rejects.uri.as_ref() == Some(&uri) || receipt.outputs.iter().any(|output| output.uri == uri)
}

/// What two receipts disagree in, of what makes work the same: see [`Receipt::same_work`].
fn differences(existing: &Receipt, own: &Receipt) -> String {
    let members = |receipt: &Receipt| {
        let digests = receipt
            .outputs
            .iter()
            .map(|output| output.sha256.as_str())
            .collect::<Vec<_>>();
        [
            ("id", receipt.request.id.clone()),
            (
                "queue",
                receipt.request.queue.clone().unwrap_or_else(|| "none".into()),
            ),
            ("time of submission", receipt.request.submitted_at.clone()),
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
