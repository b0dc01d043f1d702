//! Writes and reads checkpoints. An attempt syncs its staged files, and then writes and syncs a file with its progress.
//! If the attempt is lost, the next attempt reads that progress and resumes from a copy of the staged files.
//!
//! All attempts at a request use the same file for their checkpoints. [`StoredCheckpoint`] defines its format. An
//! attempt never writes to the staged files of another attempt, because an attempt that is considered lost can still be
//! running. The bytes that a checkpoint covers never change. The attempt that resumes copies them, and compares the
//! digests of the copies with the digests in the checkpoint.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::disk::{self, Temporary};
use super::folders::{Folder, Folders};
use super::paths::Paths;
use super::{LocalAttempt, LocalStorage};
use crate::digest::Midstate;
use crate::document::{open_regular, read_regular};
use crate::error::Result;
use crate::fail_points;
use crate::format::Format;
use crate::stop::Stop;
use crate::storage::staged::{ByteSink, Staged};
use crate::storage::{MakeProgress, Owner, Resumed, StagedPart, StagedWriter, StoredCheckpoint};

/// The maximum size of a checkpoint's file, in bytes. The file is long if the input has many long column names, or if
/// the rejects have many codes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The maximum length of [`LocalPart::name`], in characters. A name consists of 32 hexadecimal digits, a number and 32
/// more hexadecimal digits, separated by dots.
const STAGED_NAME_CHARS_MAX: usize = 96;

const BLOCK_BYTES: usize = 256 << 10;

/// The part of an attempt's staged files that a checkpoint covers: the first bytes of each file, which are synced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalPart {
    /// The prefix of the names of the attempt's staged files.
    name: String,
    output: Midstate,
    rejects: Option<Midstate>,
}

impl LocalPart {
    /// Returns whether the values are valid. The name becomes part of a path, so it must not lead to another folder.
    pub(in crate::storage) fn is_sound(&self) -> bool {
        let rejects = self.rejects.as_ref();
        self.name.len() <= STAGED_NAME_CHARS_MAX
            && self
                .name
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b'.')
            && !self.name.starts_with('.')
            && self.output.is_sound()
            && rejects.is_none_or(Midstate::is_sound)
    }
}

/// The checkpoints of an attempt. When this value is dropped, the last checkpoint and the remaining files of the
/// previous attempt are removed.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    last: LastCheckpoint,
    writing: Option<JoinHandle<WrittenCheckpoint>>,
}

/// The last complete checkpoint.
#[derive(Debug, Default)]
enum LastCheckpoint {
    #[default]
    None,
    /// A checkpoint of the previous attempt. While a thread writes the first checkpoint of this attempt, that thread
    /// holds the staged files, and `staged` is empty.
    Inherited { file: Temporary, staged: Vec<Temporary> },
    /// A checkpoint of this attempt. The value is the checkpoint's file.
    Own(Temporary),
}

/// The result of writing a checkpoint.
struct WrittenCheckpoint {
    /// The result of syncing the staged files. After an error, the attempt must fail: the kernel reports a failed write
    /// only once, so another sync could succeed although bytes are missing.
    synced: Result<()>,
    /// The checkpoint's file, or `None` if this file could not be written and synced.
    file: Option<Temporary>,
    inherited: Vec<Temporary>,
}

impl LocalAttempt {
    /// Does the same as [`Attempt::checkpoint`](crate::storage::Attempt::checkpoint): starts a thread that syncs all
    /// staged bytes and then writes the checkpoint.
    pub(super) fn begin_checkpoint(&mut self, progress: MakeProgress<'_>) -> Result<()> {
        let (Some(_), Some(id)) = (&self.owner.queue, &self.owner.id) else {
            return Ok(());
        };
        let Some(path) = self.folders.paths.checkpoint(id) else {
            return Ok(());
        };
        let checkpoints = &mut self.checkpoints;
        if checkpoints.writing.as_ref().is_some_and(|it| !it.is_finished()) {
            return Ok(());
        }
        checkpoints.end_writing()?;
        let output = self.output.flush_to_sink()?;
        let rejects = self.rejects.as_mut().map(Staged::flush_to_sink).transpose()?;
        let staged = [Some(&self.output), self.rejects.as_ref()].into_iter().flatten();
        let handles = staged.map(|staged| Ok((staged.sink.handle()?, staged.sink.path().to_owned())));
        // If a file handle cannot be cloned, or if the thread cannot be started, no checkpoint is written.
        let Ok(files) = handles.collect::<std::io::Result<Vec<_>>>() else {
            return Ok(());
        };
        let name = self.name.clone();
        let stored = StoredCheckpoint {
            staged: StagedPart::Local(LocalPart {
                name,
                output,
                rejects,
            }),
            progress: progress(),
        };
        let inherited = match &mut checkpoints.last {
            LastCheckpoint::Inherited { staged, .. } => std::mem::take(staged),
            LastCheckpoint::None | LastCheckpoint::Own(_) => Vec::new(),
        };
        let new_name = format!("{}.checkpoint", self.name);
        let writer = CheckpointWriter {
            folders: Arc::clone(&self.folders),
            files,
            text: stored.into_text(),
            new_path: self.folders.staging.path().join(new_name),
            path,
            id: id.clone(),
            inherited,
        };
        let span = tracing::Span::current();
        let thread = std::thread::Builder::new().name("checkpoint".into());
        checkpoints.writing = thread.spawn(move || span.in_scope(|| writer.write())).ok();
        Ok(())
    }
}

impl Checkpoints {
    /// Creates the state of an attempt that takes over the files of an earlier attempt.
    fn inherit(file: PathBuf, staged: Vec<PathBuf>) -> Self {
        Self {
            last: LastCheckpoint::Inherited {
                file: Temporary::new(file),
                staged: staged.into_iter().map(Temporary::new).collect(),
            },
            writing: None,
        }
    }

    /// Waits until no checkpoint is being written any more. Fails if the staged files could not be synced.
    pub(super) fn end_writing(&mut self) -> Result<()> {
        let Some(writing) = self.writing.take() else {
            return Ok(());
        };
        let written = writing.join().unwrap_or_else(|panic| resume_unwind(panic));
        match (&mut self.last, written.file) {
            (LastCheckpoint::Inherited { staged, .. }, None) => *staged = written.inherited,
            (_, None) => {}
            (last, Some(file)) => match std::mem::replace(last, LastCheckpoint::Own(file)) {
                LastCheckpoint::None => {}
                // The file of the new checkpoint has the same path and has replaced this file.
                LastCheckpoint::Inherited { mut file, .. } | LastCheckpoint::Own(mut file) => file.keep(),
            },
        }
        written.synced
    }

    /// Returns whether this attempt has written a checkpoint of its own.
    pub(super) fn has_own(&mut self) -> bool {
        self.end_writing().is_ok() && matches!(self.last, LastCheckpoint::Own(_))
    }

    /// Keeps the last checkpoint and its staged files on the disk. They come from this attempt, whose files have the
    /// prefix `name`, or from the previous attempt.
    pub(super) fn keep(&mut self, name: &str, staged: [Option<&mut Temporary>; 2]) {
        if self.end_writing().is_err() {
            return;
        }
        match &mut self.last {
            LastCheckpoint::None => {}
            LastCheckpoint::Inherited { file, staged } => {
                staged.iter_mut().for_each(Temporary::keep);
                file.keep();
            }
            LastCheckpoint::Own(file) => {
                // If a later attempt has replaced the checkpoint meanwhile, nobody needs these files any more.
                let names_these = matches!(
                    find(file.path()),
                    Ok(Some(StoredCheckpoint { staged: StagedPart::Local(part), .. })) if part.name == name
                );
                if names_these {
                    staged.into_iter().flatten().for_each(Temporary::keep);
                }
                file.keep();
            }
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        // The files that the thread creates must be removed, too.
        if let Some(Ok(written)) = self.writing.take().map(JoinHandle::join) {
            drop(written);
        }
    }
}

/// A checkpoint that is being written.
struct CheckpointWriter {
    folders: Arc<Folders>,
    files: Vec<(File, PathBuf)>,
    text: String,
    new_path: PathBuf,
    path: PathBuf,
    id: String,
    inherited: Vec<Temporary>,
}

impl CheckpointWriter {
    fn write(self) -> WrittenCheckpoint {
        let mut written = WrittenCheckpoint {
            synced: Ok(()),
            file: None,
            inherited: Vec::new(),
        };
        for (file, path) in &self.files {
            // The modification time is set to now, because `Storage::reap` removes files with an old modification time,
            // and this checkpoint is recent.
            let touched = file.set_modified(SystemTime::now());
            if let Err(error) = touched.and_then(|()| file.sync_data()) {
                written.synced = Err(disk::failed(error, "cannot be synced", path));
                return written;
            }
        }
        match self.write_checkpoint() {
            Ok(()) => {
                written.file = Some(Temporary::new(self.path));
                drop(self.inherited);
                fail_points::pass("checkpoint", &self.id);
            }
            Err(error) => {
                tracing::warn!(error = error.report(), code = %error.code(), "a checkpoint was not written");
                written.inherited = self.inherited;
            }
        }
        written
    }

    fn write_checkpoint(&self) -> Result<()> {
        let path = &self.new_path;
        let mut new = Temporary::new(path.clone());
        let written = File::create(path).and_then(|mut file| {
            file.write_all(self.text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|error| disk::failed(error, "cannot be written", path))?;
        // The names of the staged files must be durable before the checkpoint gets its final name.
        self.folders.all_staging().try_for_each(Folder::sync)?;
        fs::rename(path, &self.path).map_err(|error| disk::failed(error, "cannot be renamed", path))?;
        new.keep();
        self.path.parent().map_or(Ok(()), disk::sync_folder)
    }
}

impl LocalStorage {
    /// Does the same as [`Storage::resume`](crate::storage::Storage::resume): begins an attempt with a copy of the
    /// files that an earlier attempt at the same request has staged. When this attempt has written a checkpoint of its
    /// own, the files of the earlier attempt are removed. They are also removed when this attempt ends, unless
    /// [`Checkpoints::keep`] keeps them. If the owner is not a request of a queue, the result is [`Resumed::Refused`].
    ///
    /// # Errors
    /// Fails in the same cases as [`LocalStorage::begin_attempt`]. Also fails if the copy cannot be written, or if a
    /// stop is requested.
    pub(super) fn resume_from(
        &self,
        owner: Owner,
        format: Format,
        part: &LocalPart,
        stop: &Stop,
    ) -> Result<Resumed> {
        let refused = |why: &str| Ok(Resumed::Refused(why.to_owned()));
        let (Some(queue), Some(id)) = (&owner.queue, &owner.id) else {
            return refused("the attempt is at no request of a queue");
        };
        let paths = self.paths(Some(queue));
        let Some(file) = paths.checkpoint(id) else {
            return refused("the id of the request is not valid");
        };
        let mut attempt = self.begin_attempt(owner, format)?;
        let [output, rejects] = staged_paths(&paths, part);
        if let Copied::Refused(why) = copy(&output, &mut attempt.output, &part.output, stop)? {
            return Ok(Resumed::Refused(why));
        }
        if let Some(of_rejects) = &part.rejects
            && let Copied::Refused(why) = copy(&rejects, attempt.rejects_file()?, of_rejects, stop)?
        {
            return Ok(Resumed::Refused(why));
        }
        attempt.checkpoints = Checkpoints::inherit(file, vec![output, rejects]);
        Ok(Resumed::Ready(Box::new(attempt)))
    }

    /// Does the same as [`Storage::find_checkpoint`](crate::storage::Storage::find_checkpoint).
    pub(super) fn last_checkpoint(&self, queue: &str, id: &str) -> Result<Option<StoredCheckpoint>, String> {
        self.paths(Some(queue))
            .checkpoint(id)
            .map_or(Ok(None), |path| find(&path))
    }

    /// Does the same as [`Storage::forget_checkpoint`](crate::storage::Storage::forget_checkpoint).
    pub(super) fn remove_checkpoint(&self, queue: &str, id: &str) {
        let paths = self.paths(Some(queue));
        let Some(path) = paths.checkpoint(id) else { return };
        let found = find(&path);
        if let Ok(Some(stored)) = &found
            && let StagedPart::Local(part) = &stored.staged
        {
            drop(staged_paths(&paths, part).map(Temporary::new));
        }
        if !matches!(found, Ok(None)) {
            drop(Temporary::new(path));
        }
    }
}

/// Returns the paths of the staged output and of the staged rejects.
fn staged_paths(paths: &Paths, part: &LocalPart) -> [PathBuf; 2] {
    let staging = paths.staging();
    let of_rejects = paths.rejects_staging().unwrap_or_else(|| staging.clone());
    [(staging, "output"), (of_rejects, "rejects")]
        .map(|(folder, what)| folder.join(format!("{}.{what}", part.name)))
}

/// The result of copying a staged file.
enum Copied {
    Whole,
    /// The file cannot be read, or its bytes do not match the checkpoint. The text is the reason.
    Refused(String),
}

/// Copies the first bytes of a staged file. The copied bytes must have the expected length and digest.
fn copy<S: ByteSink>(from: &Path, to: &mut Staged<S>, expected: &Midstate, stop: &Stop) -> Result<Copied> {
    let unusable = |why: &dyn std::fmt::Display| Ok(Copied::Refused(format!("{}: {why}", from.display())));
    let mut file = match open_regular(from) {
        Ok(file) => file.take(expected.bytes),
        Err(error) => return unusable(&error),
    };
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        stop.check()?;
        match file.read(&mut block) {
            Ok(0) => break,
            Ok(read) => to.take(&block[..read])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return unusable(&error),
        }
    }
    if to.flush_to_sink()? != *expected {
        return unusable(&"is not what the checkpoint tells of");
    }
    Ok(Copied::Whole)
}

/// Reads the checkpoint in a file. Returns `None` if the file does not exist.
pub(super) fn find(path: &Path) -> Result<Option<StoredCheckpoint>, String> {
    match read_regular(path, FILE_BYTES_MAX) {
        Ok(bytes) => StoredCheckpoint::parse(&String::from_utf8_lossy(&bytes)).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("the checkpoint cannot be read: {error}")),
    }
}
