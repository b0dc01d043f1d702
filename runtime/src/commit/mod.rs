//! Commits an attempt: the bytes of output and rejects go in; files under their final names and a receipt come out.
//! Without the receipt, the files do not count.
//!
//! A commit has these steps:
//!
//! - The attempt stages its bytes: it writes them to files whose names only this attempt uses.
//! - It seals the files: the bytes are flushed, digested and synced.
//! - It publishes the files under their final names by hard links, which never replace an existing file, and syncs
//!   those names.
//! - It creates the receipt last. Of all attempts at a request, only one can create the receipt. The files that the
//!   receipt names are never changed again.
//!
//! Attempts that commit at the same time share the syncs of their folders.
//!
//! ```text
//! <output>/[<queue>/]<id>.<format>            output
//! <output>/[<queue>/]receipts/<id>.json       receipt
//! <rejects>/[<queue>/]<id>.rejects.csv        rejects, if any; <rejects> is <output>/rejects by default
//! <output>/[<queue>/].quarantine/<id>.<format>        output with too many rejects; no receipt names it
//! <rejects>/[<queue>/].quarantine/<id>.rejects.csv    its rejects
//! <rejects>/[<queue>/].quarantine/<id>.json           its report
//! <output>/.staging/<key>.<fence>.<random>.*    files of running attempts, also below <rejects>: see `fencing.rs`
//! <output>/.staging/<digest>.checkpoint       the checkpoint of a running attempt, for the next attempt
//! <output>/.staging/fences/                   keeps attempts at one request apart: see `fencing.rs`
//! <output>/.output-id                         identifies this output; also in <rejects> if that is elsewhere
//! ```
//! The final name of the output or of the rejects can already be taken. If the existing file belongs to no attempt at
//! the same request and has other bytes, the fence of the claim is added to the name: `<id>~<fence>.<format>`. No id
//! contains a `~`, so this is never the name of another request's file.
//!
//! All functions of this module block, so they must not be called within an async task.

mod checkpoint;
mod differences;
mod disk;
mod fencing;
mod folders;
mod passing;
mod publish;
mod request_files;
mod staging;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

pub use self::checkpoint::{ResumedStaging, StagedPart, StoredCheckpoint};
use self::fencing::RequestKey;
pub use self::fencing::{Concluded, Owner};
use self::folders::{Folder, Folders};
pub use self::passing::OutputHead;
use self::passing::PassedOn;
pub use self::publish::{Artifact, Committed, Published};
pub use self::staging::{Sealed, Staged, Staging};
use crate::document::read_regular;
use crate::error::{Code, Error, Result, Stage};
use crate::location::{Location, file_uri, redact};
use crate::names::check_usable_queue_name;
use crate::receipt::Receipt;

const RECEIPTS: &str = "receipts";
const REJECTS: &str = "rejects";
/// The name of the quarantine folder. The dot hides the folder from programs that read a folder of outputs.
const QUARANTINE: &str = ".quarantine";
const STAGING: &str = ".staging";
/// The folder within the staging folder for the lock files and markers of requests: see `fencing.rs`.
const FENCES: &str = "fences";
/// The file in the output's folder that contains the id of the output. The id is the same on every machine and under
/// every path to the folder.
const OUTPUT_ID: &str = ".output-id";
const IDENTITY_BYTES_MAX: u64 = 1_024;

/// [`Destination::reap`] keeps a staged file this many times longer if the file is also published. Until the request
/// has ended, only the staged file shows which attempt the published file belongs to.
const PUBLISHED_KEPT_TIMES: u32 = 24;

/// The maximum number of queues whose folders are kept open. A worker normally serves fewer queues.
const KEPT_MAX: usize = 64;

/// The folders for output, rejects and receipts.
#[derive(Debug)]
pub struct Destination {
    output: PathBuf,
    rejects: PathBuf,
    kept: Mutex<HashMap<Option<String>, Arc<Folders>>>,
    identity: Mutex<Option<String>>,
    is_replaced: AtomicBool,
    /// The state for passing outputs on, or `None` if outputs are published.
    passing: Option<PassedOn>,
}

impl Destination {
    /// Returns a destination in the local file system. The arguments are paths or `file:` URIs of folders, which need
    /// not exist. By default, rejects go to the folder `rejects` within the output's folder.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if a URI is malformed or has another scheme.
    pub fn new(output: &str, rejects: Option<&str>) -> Result<Self> {
        let output = local_folder("--output", output)?;
        let rejects = match rejects {
            Some(rejects) => local_folder("--rejects", rejects)?,
            None => output.join(REJECTS),
        };
        Ok(Self {
            output,
            rejects,
            kept: Mutex::default(),
            identity: Mutex::default(),
            is_replaced: AtomicBool::new(false),
            passing: None,
        })
    }

    /// Returns the id of the output. The id is a random text in a file of the output's folder. So every machine and
    /// every path to this folder gives the same id. If the rejects are outside the output's folder, the id of their
    /// folder is added. Creates the folders.
    ///
    /// # Errors
    /// Fails as [`Destination::stage`] does.
    pub fn identity(&self) -> Result<String> {
        let mut identity = self.identity.lock();
        if let Some(identity) = &*identity {
            return Ok(identity.clone());
        }
        let mut found = folder_identity(&self.output, None)?;
        if self.has_rejects_elsewhere()? {
            found = format!("{found}+{}", folder_identity(&self.rejects, None)?);
        }
        *identity = Some(found.clone());
        Ok(found)
    }

    /// Returns whether the real path of the rejects' folder is outside the output's folder.
    fn has_rejects_elsewhere(&self) -> Result<bool> {
        let (output, rejects) = (
            disk::create_folders(&self.output)?,
            disk::create_folders(&self.rejects)?,
        );
        Ok(!rejects.starts_with(output))
    }

    /// Returns the output's folder as a URI, for people.
    pub fn uri(&self) -> String {
        file_uri(&self.output)
    }

    /// Writes the id into each folder again if the file with the id was removed meanwhile.
    ///
    /// # Errors
    /// Fails transiently if a folder has another id now, for example because another volume was mounted there: see
    /// [`Destination::check_identity`].
    fn keep_identity(&self) -> Result<()> {
        let identity = self.identity.lock();
        if let Some(identity) = &*identity {
            for (folder, identity) in [&self.output, &self.rejects].into_iter().zip(identity.split('+')) {
                if folder_identity(folder, Some(identity))? != identity {
                    self.is_replaced.store(true, Ordering::Relaxed);
                    return Err(Error::transient(
                        Stage::Commit,
                        Code::OutputReplaced,
                        replaced(folder),
                    ));
                }
            }
        }
        Ok(())
    }

    /// Checks that no attempt has found another id in a folder of this destination than [`Destination::identity`]
    /// returned. If an attempt has found another id, this worker must not claim any more requests, because its claims
    /// name the earlier id.
    ///
    /// # Errors
    /// Fails permanently, with stage commit, if an attempt has found another id: only a new worker can use the other
    /// output.
    pub fn check_identity(&self) -> Result<()> {
        if self.is_replaced.load(Ordering::Relaxed) {
            return Err(Error::permanent(
                Stage::Commit,
                Code::OutputReplaced,
                replaced(&self.output),
            ));
        }
        Ok(())
    }

    /// Checks that a queue can have its own folder in this destination. [`Destination::stage`] checks this, too, but
    /// only after a claim. A worker that calls this function when it starts claims no requests that are certain to
    /// fail.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if the queue's name is invalid. Also fails if the queue's folder would be
    /// the folder of outputs, receipts or rejects.
    pub fn check_queue(&self, queue: &str) -> Result<()> {
        check_usable_queue_name(queue)?;
        let (output, rejects) = (self.output.join(queue), self.rejects.join(queue));
        let receipts = self.output.join(RECEIPTS);
        if output == receipts || rejects == receipts || output == self.rejects || rejects == self.output {
            let what = format!("queue {queue:?}: the folder of that name is for output, receipts or rejects");
            return Err(Error::permanent(Stage::Config, Code::NameInvalid, what));
        }
        Ok(())
    }

    /// Begins an attempt's output. Creates the folders, so that an attempt fails before any work is done if the
    /// destination cannot be written.
    ///
    /// # Errors
    /// Fails in these cases:
    ///
    /// - permanently, with stage commit and the path, if a folder cannot be created or written
    /// - transiently, with stage commit and the path, if the disk is full, or if a folder has another id than before
    /// - permanently, with stage config, if [`Destination::check_queue`] fails, or if rejects and outputs have the same
    ///   folder
    pub fn stage(&self, owner: Owner) -> Result<Staging> {
        let folders = self.folders(owner.queue.as_deref())?;
        Staging::new(folders, owner, self.passing.as_ref())
    }

    /// Returns the folders of a queue. Reuses the open folders of the previous attempt if they have not changed.
    /// Opening them again would check each part of each path, which takes longer than writing a small output.
    fn folders(&self, queue: Option<&str>) -> Result<Arc<Folders>> {
        let kept = || self.kept.lock();
        let key = queue.map(str::to_owned);
        let before = kept().get(&key).cloned();
        if let Some(folders) = before.filter(|folders| folders.are_current()) {
            return Ok(folders);
        }
        let (mut output, mut rejects) = (self.output.clone(), self.rejects.clone());
        if let Some(queue) = queue {
            self.check_queue(queue)?;
            output.push(queue);
            rejects.push(queue);
        }
        if let Some(passing) = &self.passing {
            passing.create_folders(&output)?;
        }
        let folders = Folders {
            output: Folder::open(&output)?,
            receipts: Folder::open(&output.join(RECEIPTS))?,
            rejects: Folder::open(&rejects)?,
            staging: Folder::open(&self.output.join(STAGING))?,
            rejects_staging: Folder::open(&self.rejects.join(STAGING))?,
        };
        if folders.output.path() == folders.rejects.path() {
            let what = format!(
                "--rejects: {} is the folder of the outputs, where the rejects of a request `x` and the output of a request \
                 `x.rejects` would have one name: give it a folder of its own",
                folders.rejects.path().display()
            );
            return Err(Error::permanent(Stage::Config, Code::OutputFolder, what));
        }
        self.keep_identity()?;
        // Each attempt looks for a lock file in this folder. If the folder did not exist, the kernel would have to lock
        // the staging folder for each lookup.
        disk::create_folders(&folders.staging.path().join(FENCES))?;
        let folders = Arc::new(folders);
        let mut kept = kept();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, Arc::clone(&folders));
        Ok(folders)
    }

    /// Removes the files of attempts that never ended: staged files that were last written longer ago than
    /// `older_than`. Skips files that cannot be removed. Returns the number of files that were removed.
    ///
    /// While an attempt waits for memory, it writes nothing, and this wait has no time limit. So a worker that calls
    /// this function passes the queue and the id of each request that it is working on (`at_work`). The files of these
    /// requests are kept, and their modification time is set to now, so that other workers keep them, too. The interval
    /// between two calls must be far shorter than `older_than`.
    ///
    /// # Errors
    /// Fails if the staging folder exists and cannot be read.
    pub fn reap(&self, older_than: Duration, at_work: &[(&str, &str)]) -> Result<usize> {
        let mut removed = 0;
        let keys = at_work.iter().map(|(queue, id)| RequestKey::of(Some(queue), id));
        let keys = HashSet::<RequestKey>::from_iter(keys);
        let fences = self.output.join(STAGING).join(FENCES);
        for folder in [self.output.join(STAGING), self.rejects.join(STAGING), fences] {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(disk::failed(error, "cannot be read", &folder)),
            };
            for file in entries.flatten() {
                if RequestKey::in_name(&file.file_name()).is_some_and(|key| keys.contains(&key)) {
                    disk::mark_written(&file.path());
                    continue;
                }
                let Ok(metadata) = file.metadata() else { continue };
                let is_published = metadata.nlink() > 1;
                let kept = older_than * if is_published { PUBLISHED_KEPT_TIMES } else { 1 };
                let idle = metadata
                    .modified()
                    .ok()
                    .and_then(|written| written.elapsed().ok());
                if idle.is_some_and(|idle| idle > kept) && fs::remove_file(file.path()).is_ok() {
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

/// Returns the URI of a published receipt. The receipt is in the folder `receipts`, which is in the same folder as the
/// output. Returns `None` if the receipt names no output.
pub fn receipt_uri(receipt: &Receipt) -> Option<String> {
    let output = receipt.outputs.first()?;
    let (folder, _) = output.uri.rsplit_once('/')?;
    Some(format!("{folder}/{RECEIPTS}/{}.json", receipt.request.id))
}

/// Returns the id of a folder. If the folder has no id yet, gives it the id in `given`, or a new id.
fn folder_identity(folder: &Path, given: Option<&str>) -> Result<String> {
    let path = disk::create_folders(folder)?.join(OUTPUT_ID);
    for _ in 0..2 {
        match read_identity(&path) {
            Ok(text) if !text.trim().is_empty() && !text.trim().contains(char::is_whitespace) => {
                return Ok(text.trim().to_owned());
            }
            Ok(_) => {
                let what = format!("{}: is damaged: remove it if no worker runs", path.display());
                return Err(Error::permanent(Stage::Commit, Code::OutputDamaged, what));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(disk::failed(error, "cannot be read", &path)),
        }
        let random = uuid::Uuid::new_v4().simple().to_string();
        let new = path.with_extension(&random);
        let mut staged = disk::Temporary::new(new.clone());
        // Queues store this id durably, so the file with the id must be durable, too.
        let written = File::create_new(&new).and_then(|mut file| {
            writeln!(file, "{}", given.unwrap_or(&random))?;
            file.sync_all()
        });
        written.map_err(|error| disk::failed(error, "cannot be written", &new))?;
        // If another worker has created the file first, the id of that worker counts.
        disk::publish(&mut staged, &path)?;
        path.parent().map_or(Ok(()), disk::sync_folder)?;
    }
    Err(Error::transient(
        Stage::Commit,
        Code::OutputUnwritable,
        format!("{}: disappears", path.display()),
    ))
}

fn replaced(folder: &Path) -> String {
    format!(
        "{}: is another output than when this worker started: start the worker again, to work with this one",
        folder.display()
    )
}

/// Reads the id of an output, which is a short text.
fn read_identity(path: &Path) -> std::io::Result<String> {
    let bytes = read_regular(path, IDENTITY_BYTES_MAX)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
        // A destination for object stores would be added here.
        Location::Http(_) | Location::Other(_) => Err(refused(
            "is not supported, only folders of the local file system, as a path or a file: URI",
        )),
    }
}
