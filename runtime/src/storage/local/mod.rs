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
//! <output>/[<queue>/]<id>.<format>                                    output
//! <output>/_ingest/[<queue>/]receipts/<id>.json                       receipt
//! <output>/_ingest/[<queue>/]rejects/<id>.rejects.csv                 rejects, if any
//! <output>/_ingest/[<queue>/]quarantine/<id>.<format>                 output that the gate refused; no receipt names it
//! <output>/_ingest/[<queue>/]quarantine/<id>.rejects.csv              its rejects
//! <output>/_ingest/[<queue>/]quarantine/<id>.json                     its report
//! <output>/_ingest/[<queue>/]staging/<key>.<fence>.<random>.*         files of running attempts: see `fencing.rs`
//! <output>/_ingest/[<queue>/]fences/                                  keeps attempts at one request apart: see `fencing.rs`
//! <output>/_ingest/[<queue>/]checkpoints/<id>.checkpoint              checkpoint of a running attempt, for the next one
//! <output>/_ingest/output-id                                          the id of this output
//! ```
//! If the rejects have a folder of their own, this folder has these files instead:
//!
//! ```text
//! <rejects>/[<queue>/]<id>.rejects.csv                                rejects
//! <rejects>/_ingest/[<queue>/]quarantine/                             rejects in quarantine, and the report
//! <rejects>/_ingest/[<queue>/]staging/                                rejects of running attempts
//! <rejects>/_ingest/output-id                                         its own id, if it is not within <output>
//! ```
//! A queue can have the same name as one of the folders of requests without a queue. This does no harm: those folders
//! hold only files whose names have a dot, and the names of a queue's folders have no dot.
//!
//! The final name of the output or of the rejects can already be taken. If the existing file belongs to no attempt at
//! the same request and has other bytes, the fence of the claim is added to the name: `<id>~<fence>.<format>`. No id
//! contains a `~`, so this is never the name of another request's file.

mod checkpoint;
mod disk;
mod earlier;
mod fencing;
mod folders;
mod passing;
mod paths;
mod publish;
mod reaper;
mod request_files;
mod staging;

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

pub(super) use self::checkpoint::LocalPart;
use self::folders::Folders;
use self::passing::Passing;
use self::paths::Paths;
use self::staging::LocalAttempt;
use super::checkpoint::{StagedPart, StoredCheckpoint};
use super::layout::OUTPUT_ID;
use super::{
    Attempt, CheckpointFault, Concluded, EndedRequest, FileRole, Owner, Resumed, Storage, StoredReader,
};
use crate::digest::Digest;
use crate::document::read_regular;
use crate::error::{Code, Error, Result, Stage};
use crate::format::Format;
use crate::location::file_uri;
use crate::memory::MemoryShare;
use crate::names::check_usable_queue_name;
use crate::receipt::Receipt;
use crate::stop::Stop;

const IDENTITY_BYTES_MAX: u64 = 1_024;

/// The maximum number of queues whose folders are kept open. A worker normally serves fewer queues.
const KEPT_MAX: usize = 64;

/// The folders for output, rejects and receipts.
#[derive(Debug)]
pub struct LocalStorage {
    output: PathBuf,
    /// The folder of the rejects, or `None` if they are below `output`.
    rejects: Option<PathBuf>,
    kept: Mutex<HashMap<Option<String>, Arc<Folders>>>,
    identity: Mutex<Option<String>>,
    is_replaced: AtomicBool,
    /// The way in which outputs are passed on, or `None` if they are published.
    passing: Option<Passing>,
}

impl LocalStorage {
    /// Returns a storage in these folders, which need not exist. Both paths must be absolute. By default, rejects go to
    /// the folder `_ingest` within the output's folder.
    pub fn new(output: PathBuf, rejects: Option<PathBuf>) -> Self {
        Self {
            output,
            rejects,
            kept: Mutex::default(),
            identity: Mutex::default(),
            is_replaced: AtomicBool::new(false),
            passing: None,
        }
    }

    /// Returns the paths of a queue's folders.
    fn paths(&self, queue: Option<&str>) -> Paths {
        Paths::new(&self.output, self.rejects.as_deref(), queue)
    }

    /// Returns the folder of the rejects if its real path is outside the output's folder.
    fn rejects_elsewhere(&self) -> Result<Option<&Path>> {
        let Some(rejects) = &self.rejects else {
            return Ok(None);
        };
        let output = disk::create_folders(&self.output)?;
        let is_elsewhere = !disk::create_folders(rejects)?.starts_with(output);
        Ok(is_elsewhere.then_some(rejects))
    }

    /// Writes the id into each folder again if somebody has removed the file with the id.
    ///
    /// # Errors
    /// Fails transiently if a folder has another id now, for example because another volume was mounted there: see
    /// [`Storage::check_identity`].
    fn keep_identity(&self) -> Result<()> {
        let identity = self.identity.lock();
        if let Some(identity) = &*identity {
            let folders = [Some(&self.output), self.rejects.as_ref()];
            for (folder, identity) in folders.into_iter().flatten().zip(identity.split('+')) {
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
        if let Some(queue) = queue {
            self.check_queue(queue)?;
        }
        let paths = self.paths(queue);
        match self.passing {
            Some(passing) => Self::create_passing_folders(&paths, passing)?,
            None => paths.earlier.move_receipts(&paths.receipts())?,
        }
        let folders = Folders::open(paths)?;
        if folders.output.path() == folders.rejects.path() {
            return Err(is_output_folder(folders.rejects.path()));
        }
        self.keep_identity()?;
        let folders = Arc::new(folders);
        let mut kept = kept();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, Arc::clone(&folders));
        Ok(folders)
    }
}

/// Returns the error for a folder of rejects that is also the folder of outputs.
fn is_output_folder(rejects: &Path) -> Error {
    let what = format!(
        "--rejects: {} is the folder of the outputs, where the rejects of a request `x` and the output of a request `x.rejects` \
         would have one name: give it a folder of its own",
        rejects.display()
    );
    Error::permanent(Stage::Config, Code::OutputFolder, what)
}

impl Storage for LocalStorage {
    fn identity(&self) -> Result<String> {
        let mut identity = self.identity.lock();
        if let Some(identity) = &*identity {
            return Ok(identity.clone());
        }
        let mut found = folder_identity(&self.output, None)?;
        if let Some(rejects) = self.rejects_elsewhere()? {
            found = format!("{found}+{}", folder_identity(rejects, None)?);
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
        if self.rejects.as_ref() == Some(&self.output) {
            return Err(is_output_folder(&self.output));
        }
        if let Some(rejects) = &self.rejects
            && (self.output.join(queue) == *rejects || rejects.join(queue) == self.output)
        {
            let what = format!("queue {queue:?}: the folder of that name is for output or rejects");
            return Err(Error::permanent(Stage::Config, Code::NameInvalid, what));
        }
        Ok(())
    }

    fn prepare(&self, queue: &str, _: Option<&Stop>) -> Result<()> {
        let owner = Owner {
            queue: Some(queue.to_owned()),
            ..Owner::default()
        };
        let attempt = self.begin_attempt(owner, Format::Csv)?;
        attempt.folders.check()
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
        _: &MemoryShare,
    ) -> Result<Resumed> {
        match part {
            StagedPart::Local(part) => match self.resume_from(owner, format, part, stop) {
                // The disk may have room for one copy of the staged files, but not for two. So the checkpoint is given up.
                Err(error) if error.stage() == Stage::Commit => Ok(Resumed::Refused(error.report())),
                resumed => resumed,
            },
            StagedPart::Object(_) => Ok(Resumed::Refused(
                "the checkpoint is one of another storage".to_owned(),
            )),
        }
    }

    fn find_checkpoint(&self, queue: &str, id: &str) -> Result<Option<StoredCheckpoint>, CheckpointFault> {
        self.last_checkpoint(queue, id).map_err(CheckpointFault::Invalid)
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

    fn open_rejects(&self, queue: &str, uri: &str, _: &Stop) -> Result<Option<StoredReader>> {
        self.folders(Some(queue))?.open_rejects(uri)
    }

    fn conclude(&self, request: EndedRequest<'_>) -> Result<Concluded> {
        self.end_request(request)
    }

    fn reap(&self, older_than: Duration, at_work: &[(&str, &str)]) -> Result<usize> {
        self.remove_old(older_than, at_work)
    }
}

/// Returns the id of a folder. If the folder has no id yet, gives it the id at the earlier place, the id in `given`, or a
/// new id.
fn folder_identity(folder: &Path, given: Option<&str>) -> Result<String> {
    let path = disk::create_folders(&paths::private(folder))?.join(OUTPUT_ID);
    let earlier = earlier::output_id(folder);
    for _ in 0..2 {
        if let Some(identity) = read_identity(&path)? {
            return Ok(identity);
        }
        let random = uuid::Uuid::new_v4().simple().to_string();
        let identity = read_identity(&earlier)?.unwrap_or_else(|| given.unwrap_or(&random).to_owned());
        let new = path.with_extension(&random);
        let mut staged = disk::Temporary::new(new.clone());
        // Queues store this id durably, so the file with the id must be durable, too.
        let written = File::create_new(&new).and_then(|mut file| {
            writeln!(file, "{identity}")?;
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

/// Reads the id of an output, which is a short text. Returns `None` if there is no such file.
fn read_identity(path: &Path) -> Result<Option<String>> {
    let bytes = match read_regular(path, IDENTITY_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk::failed(error, "cannot be read", path)),
    };
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim();
    if text.is_empty() || text.contains(char::is_whitespace) {
        let what = format!("{}: is damaged: remove it if no worker runs", path.display());
        return Err(Error::permanent(Stage::Commit, Code::OutputDamaged, what));
    }
    Ok(Some(text.to_owned()))
}
