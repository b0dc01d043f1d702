//! Stores outputs on the local disk, or on another disk that is mounted: the bytes of output and rejects go in; files
//! under their final names and a receipt come out. Without the receipt, the files do not count.
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
//! <output>/[<queue>/].quarantine/<id>.<format>        output that the gate refused; no receipt names it
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

mod checkpoint;
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

pub(super) use self::checkpoint::LocalPart;
use self::fencing::RequestKey;
use self::folders::{Folder, Folders};
use self::passing::Passing;
use self::staging::LocalAttempt;
use super::checkpoint::{StagedPart, StoredCheckpoint};
use super::{Attempt, Concluded, EndedRequest, FileRole, Owner, Resumed, Storage};
use crate::digest::Digest;
use crate::document::read_regular;
use crate::error::{Code, Error, Result, Stage};
use crate::format::Format;
use crate::location::file_uri;
use crate::names::check_usable_queue_name;
use crate::receipt::Receipt;
use crate::stop::Stop;

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

/// [`Storage::reap`] keeps a staged file this many times longer if the file is also published. Until the request
/// has ended, only the staged file shows which attempt the published file belongs to.
const PUBLISHED_KEPT_TIMES: u32 = 24;

/// The maximum number of queues whose folders are kept open. A worker normally serves fewer queues.
const KEPT_MAX: usize = 64;

/// The folders for output, rejects and receipts.
#[derive(Debug)]
pub struct LocalStorage {
    output: PathBuf,
    rejects: PathBuf,
    kept: Mutex<HashMap<Option<String>, Arc<Folders>>>,
    identity: Mutex<Option<String>>,
    is_replaced: AtomicBool,
    /// The way in which outputs are passed on, or `None` if they are published.
    passing: Option<Passing>,
}

impl LocalStorage {
    /// Returns a storage in these folders, which need not exist. Both paths must be absolute. By default, rejects go to
    /// the folder `rejects` within the output's folder.
    pub fn new(output: PathBuf, rejects: Option<PathBuf>) -> Self {
        Self {
            rejects: rejects.unwrap_or_else(|| output.join(REJECTS)),
            output,
            kept: Mutex::default(),
            identity: Mutex::default(),
            is_replaced: AtomicBool::new(false),
            passing: None,
        }
    }

    /// Returns whether the real path of the rejects' folder is outside the output's folder.
    fn has_rejects_elsewhere(&self) -> Result<bool> {
        let (output, rejects) = (
            disk::create_folders(&self.output)?,
            disk::create_folders(&self.rejects)?,
        );
        Ok(!rejects.starts_with(output))
    }

    /// Writes the id into each folder again if somebody has removed the file with the id.
    ///
    /// # Errors
    /// Fails transiently if a folder has another id now, for example because another volume was mounted there: see
    /// [`Storage::check_identity`].
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

    /// Does the same as [`Storage::begin`]. Creates the folders, so that an attempt fails before it does any work if a
    /// folder cannot be written.
    ///
    /// # Errors
    /// Fails in the same cases as [`Storage::begin`]. Also fails with stage config if rejects and outputs have the same
    /// folder.
    fn begin_attempt(&self, owner: Owner, format: Format) -> Result<LocalAttempt> {
        let folders = self.folders(owner.queue.as_deref())?;
        LocalAttempt::new(folders, owner, format, self.passing)
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
        if let Some(passing) = self.passing {
            Self::create_passing_folders(&output, passing)?;
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
}

impl Storage for LocalStorage {
    fn identity(&self) -> Result<String> {
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

    fn uri(&self) -> String {
        file_uri(&self.output)
    }

    fn check_identity(&self) -> Result<()> {
        if self.is_replaced.load(Ordering::Relaxed) {
            return Err(Error::permanent(
                Stage::Commit,
                Code::OutputReplaced,
                replaced(&self.output),
            ));
        }
        Ok(())
    }
    fn check_queue(&self, queue: &str) -> Result<()> {
        check_usable_queue_name(queue)?;
        let (output, rejects) = (self.output.join(queue), self.rejects.join(queue));
        let receipts = self.output.join(RECEIPTS);
        if output == receipts || rejects == receipts || output == self.rejects || rejects == self.output {
            let what = format!("queue {queue:?}: the folder of that name is for output, receipts or rejects");
            return Err(Error::permanent(Stage::Config, Code::NameInvalid, what));
        }
        Ok(())
    }

    fn prepare(&self, queue: &str) -> Result<()> {
        let owner = Owner {
            queue: Some(queue.to_owned()),
            ..Owner::default()
        };
        self.begin_attempt(owner, Format::Csv).map(drop)
    }

    fn begin(&self, owner: Owner, format: Format) -> Result<Box<dyn Attempt>> {
        Ok(Box::new(self.begin_attempt(owner, format)?))
    }

    fn resume(&self, owner: Owner, format: Format, part: &StagedPart, stop: &Stop) -> Result<Resumed> {
        match part {
            StagedPart::Local(part) => self.resume_from(owner, format, part, stop),
            StagedPart::Object(_) => Ok(Resumed::Refused(
                "the checkpoint is one of another storage".to_owned(),
            )),
        }
    }

    fn find_checkpoint(&self, queue: &str, id: &str) -> Result<Option<StoredCheckpoint>, String> {
        checkpoint::find(&self.checkpoint_path(queue, id))
    }

    fn forget_checkpoint(&self, queue: &str, id: &str) {
        self.remove_checkpoint(queue, id);
    }

    fn committed(&self, queue: &str, id: &str, submitted_at: &str) -> Result<Option<Receipt>> {
        self.receipt_of(queue, id, submitted_at)
    }

    fn receipt(&self, queue: &str, id: &str) -> Result<Option<Receipt>> {
        self.receipt_under(queue, id)
    }

    fn has_bytes(&self, queue: &str, role: FileRole, uri: &str, expected: &Digest) -> Result<Option<bool>> {
        self.folders(Some(queue))?.has_bytes(role, uri, expected)
    }

    fn conclude(&self, request: EndedRequest<'_>) -> Result<Concluded> {
        self.end_request(request)
    }

    fn reap(&self, older_than: Duration, at_work: &[(&str, &str)]) -> Result<usize> {
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
