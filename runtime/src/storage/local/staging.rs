//! Stages an attempt's bytes: writes them to files whose names no other attempt uses.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, fadvise};

use super::checkpoint::Checkpoints;
use super::disk::{self, Temporary};
use super::fencing::RequestKey;
use super::folders::{Folder, Folders};
use super::passing::Passing;
use crate::digest::Digest;
use crate::error::Result;
use crate::format::Format;
use crate::storage::staged::{ByteSink, Staged};
use crate::storage::{Attempt, FileRole, MakeProgress, Owner, SealedAttempt, StagedWriter};

/// The number of written bytes after which the kernel is asked to begin writing them to the disk. Because of this, the
/// sync at the end takes little time.
const WRITE_OUT_BYTES: u64 = 4 << 20;

/// The output of a running attempt. When this value is dropped, all staged files are removed.
#[derive(Debug)]
pub(super) struct LocalAttempt {
    pub(super) owner: Owner,
    format: Format,
    pub(super) folders: Arc<Folders>,
    /// The prefix of the names of this attempt's files. No other attempt has the same prefix.
    pub(super) name: String,
    pub(super) output: Staged<LocalFile>,
    pub(super) rejects: Option<Staged<LocalFile>>,
    /// The way in which the output is passed on, or `None` if it is published.
    pub(super) passing: Option<Passing>,
    pub(super) checkpoints: Checkpoints,
}

/// A staged file that is being written.
#[derive(Debug)]
pub(super) struct LocalFile {
    place: Temporary,
    file: File,
    /// True if the file must survive a power cut.
    is_kept: bool,
    /// The position up to which the kernel was asked to write the file to the disk.
    written_out: u64,
}

/// The complete output of an attempt, which is on the disk but not visible yet. When this value is dropped, the output
/// is removed.
#[derive(Debug)]
pub(super) struct LocalSealed {
    /// The digest of the output's bytes.
    pub(super) output: Digest,
    /// The digest of the rejects' bytes, or `None` if nothing was rejected.
    pub(super) rejects: Option<Digest>,
    pub(super) owner: Owner,
    /// The output's format. The file name of the output ends with the name of the format.
    pub(super) format: Format,
    pub(super) folders: Arc<Folders>,
    pub(super) name: String,
    /// The checkpoints of the attempt. They are no longer needed when the receipt exists.
    pub(super) checkpoints: Checkpoints,
    pub(super) staged_output: Temporary,
    pub(super) staged_rejects: Option<Temporary>,
    /// The path of the staged receipt, which does not exist yet.
    pub(super) staged_receipt: PathBuf,
    /// True if this attempt has taken over from other attempts at its request.
    pub(super) is_fenced: bool,
    /// The way in which the output is passed on, or `None` if it is published.
    pub(super) passing: Option<Passing>,
}

impl LocalAttempt {
    /// Begins an attempt's output. If `passing` is set, the output is passed on and need not survive a power cut.
    pub(super) fn new(
        folders: Arc<Folders>,
        owner: Owner,
        format: Format,
        passing: Option<Passing>,
    ) -> Result<Self> {
        let random = uuid::Uuid::new_v4().simple().to_string();
        let name = match &owner.id {
            Some(id) => RequestKey::of(owner.queue.as_deref(), id).staged_name(owner.fence, &random),
            None => random,
        };
        let output = LocalFile::create(&folders.staging, &format!("{name}.output"), passing.is_none())?;
        Ok(Self {
            owner,
            format,
            folders,
            name,
            output: Staged::new(output),
            rejects: None,
            passing,
            checkpoints: Checkpoints::default(),
        })
    }

    /// Does the same as [`Attempt::rejects`].
    pub(super) fn rejects_file(&mut self) -> Result<&mut Staged<LocalFile>> {
        let rejects = match self.rejects.take() {
            Some(rejects) => rejects,
            None => {
                let name = format!("{}.rejects", self.name);
                let is_kept = self.passing.is_none_or(|passing| passing.keeps_rejects);
                let file = LocalFile::create(self.folders.rejects_staging(), &name, is_kept)?;
                Staged::new(file)
            }
        };
        Ok(self.rejects.insert(rejects))
    }

    /// Does the same as [`Attempt::seal`].
    pub(super) fn seal_files(mut self) -> Result<LocalSealed> {
        self.checkpoints.end_writing()?;
        let staged_receipt = self.folders.staging.path().join(format!("{}.receipt", self.name));
        let rejects = self.rejects.map(LocalFile::finish).transpose()?;
        let (rejects, staged_rejects) = rejects.filter(|(digest, _)| digest.bytes > 0).unzip();
        let (output, staged_output) = LocalFile::finish(self.output)?;
        Ok(LocalSealed {
            output,
            rejects,
            owner: self.owner,
            format: self.format,
            folders: self.folders,
            name: self.name,
            checkpoints: self.checkpoints,
            staged_output,
            staged_rejects,
            staged_receipt,
            is_fenced: false,
            passing: self.passing,
        })
    }
}

impl Attempt for LocalAttempt {
    fn output(&mut self) -> &mut dyn StagedWriter {
        &mut self.output
    }

    fn rejects(&mut self) -> Result<&mut dyn StagedWriter> {
        Ok(self.rejects_file()?)
    }

    fn read_output(&mut self, from: u64) -> Result<Box<dyn Read + Send>> {
        self.output.write_buffer()?;
        let path = self.output.sink.path();
        let opened = File::open(path).and_then(|mut file| file.seek(SeekFrom::Start(from)).map(|_| file));
        match opened {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(disk::failed(error, "cannot be read", path)),
        }
    }

    fn checkpoint(&mut self, progress: MakeProgress<'_>) -> Result<()> {
        self.begin_checkpoint(progress)
    }

    fn has_checkpoint(&mut self) -> bool {
        self.checkpoints.has_own()
    }

    fn keep(mut self: Box<Self>) {
        let rejects = self.rejects.as_mut().map(|rejects| &mut rejects.sink.place);
        let staged = [Some(&mut self.output.sink.place), rejects];
        self.checkpoints.keep(&self.name, staged);
    }

    fn seal(self: Box<Self>) -> Result<Box<dyn SealedAttempt>> {
        Ok(Box::new(self.seal_files()?))
    }
}

impl LocalSealed {
    pub(super) fn digest_of(&self, role: FileRole) -> Option<&Digest> {
        match role {
            FileRole::Output => Some(&self.output),
            FileRole::Rejects => self.rejects.as_ref(),
        }
    }
}

impl LocalFile {
    fn create(folder: &Folder, name: &str, is_kept: bool) -> Result<Self> {
        let path = folder.path().join(name);
        match File::create_new(&path) {
            Ok(file) => Ok(Self::new(file, path, is_kept)),
            Err(error) => Err(disk::failed(error, "cannot be created", &path)),
        }
    }

    fn new(file: File, path: PathBuf, is_kept: bool) -> Self {
        Self {
            place: Temporary::new(path),
            file,
            is_kept,
            written_out: 0,
        }
    }

    /// Returns another handle to the file.
    pub(super) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    pub(super) fn path(&self) -> &Path {
        self.place.path()
    }

    /// Asks the kernel to begin writing the file's cached bytes to the disk, so that the sync at the end takes little
    /// time. If the kernel cannot write the bytes, that sync fails. On Linux, this advice starts writing all dirty
    /// pages without waiting for them, and drops only clean pages (`mm/fadvise.c`).
    fn begin_write_out(&mut self, to: u64) {
        let from = self.written_out;
        // If the file system does not support this advice, all bytes are written at the end.
        let _ = fadvise(&self.file, from, NonZeroU64::new(to - from), Advice::DontNeed);
        self.written_out = to;
    }

    /// Writes the rest of a staged file, and syncs it if it must survive a power cut.
    fn finish(staged: Staged<Self>) -> Result<(Digest, Temporary)> {
        let (
            digest,
            Self {
                place, file, is_kept, ..
            },
        ) = staged.finish()?;
        if is_kept {
            file.sync_all()
                .map_err(|error| disk::failed(error, "cannot be synced", place.path()))?;
        }
        Ok((digest, place))
    }
}

impl ByteSink for LocalFile {
    fn write(&mut self, bytes: &[u8], end: u64) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|error| disk::failed(error, "cannot be written", self.place.path()))?;
        if self.is_kept && end - self.written_out >= WRITE_OUT_BYTES {
            self.begin_write_out(end);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Class, Code, Error, Stage};
    use crate::storage::local::LocalStorage;
    use crate::storage::staged::BUFFER_BYTES;

    #[test]
    fn a_full_disk_is_a_transient_error_that_names_the_file() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut staged = Staged::new(LocalFile::new(full, "/out/_ingest/staging/1.output".into(), true));
        staged.write_all(b"a").unwrap();
        let error = LocalFile::finish(staged).expect_err("no space");
        assert_eq!(
            error.to_string(),
            "commit /out/_ingest/staging/1.output: cannot be written"
        );
        assert!(error.report().contains("No space left"), "{}", error.report());
        assert_eq!(error.class(), Class::Transient);

        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut staged = Staged::new(LocalFile::new(full, "/out/_ingest/staging/1.output".into(), true));
        let error = staged.write_all(&vec![0; BUFFER_BYTES]).expect_err("no space");
        let error = Error::from_io(error, Stage::Encode, Class::Permanent, Code::OutputUnwritable, "");
        assert_eq!((error.stage(), error.class()), (Stage::Commit, Class::Transient));
    }

    /// Replaces the file by `/dev/null`, which accepts all bytes and cannot be synced.
    fn break_sync(staged: &mut Staged<LocalFile>) {
        staged.sink.file = File::options().write(true).open("/dev/null").unwrap();
    }

    #[test]
    fn only_what_is_to_outlast_a_power_cut_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let rejects = path("rejects");
        let sealed = |storage: &LocalStorage, is_output_broken: bool| {
            let mut attempt = storage.begin_attempt(Owner::default(), Format::Csv).unwrap();
            attempt.rejects_file().unwrap().write_all(b"r\n").unwrap();
            attempt.output.write_all(b"n\n").unwrap();
            break_sync(if is_output_broken {
                &mut attempt.output
            } else {
                attempt.rejects_file().unwrap()
            });
            attempt.seal_files().map(|sealed| sealed.output.bytes)
        };
        let published = LocalStorage::new(path("out"), Some(rejects.clone()));
        let passed_on = LocalStorage::for_passing_on(path("a"), None);
        let with_rejects = LocalStorage::for_passing_on(path("b"), Some(rejects));
        for (storage, syncs_output, syncs_rejects) in [
            (published, true, true),
            (passed_on, false, false),
            (with_rejects, false, true),
        ] {
            assert_eq!(sealed(&storage, true).is_err(), syncs_output, "{storage:?}");
            assert_eq!(sealed(&storage, false).is_err(), syncs_rejects, "{storage:?}");
        }
    }
}
