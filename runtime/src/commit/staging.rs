//! Stages an attempt's bytes: writes them to files whose names no other attempt uses.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Advice, fadvise};

use super::checkpoint::Checkpoints;
use super::disk::{self, Temporary};
use super::fencing::{Owner, RequestKey};
use super::folders::{Folder, Folders};
use super::passing::PassedOn;
use crate::digest::{Digest, Digesting, Midstate, update_both};
use crate::error::{Error, Result};

const BUFFER_BYTES: usize = 64 << 10;

/// The number of written bytes after which the kernel is asked to begin writing them to the disk. Because of this, the
/// sync at the end takes little time.
const WRITE_OUT_BYTES: u64 = 4 << 20;

/// The output of a running attempt. When this value is dropped, all staged files are removed.
#[derive(Debug)]
pub struct Staging {
    pub(super) owner: Owner,
    pub(super) folders: Arc<Folders>,
    /// The prefix of the names of this attempt's files. No other attempt has the same prefix.
    pub(super) name: String,
    pub(super) output: Staged,
    pub(super) rejects: Option<Staged>,
    /// True if the rejects must survive a power cut.
    keeps_rejects: bool,
    pub(super) checkpoints: Checkpoints,
}

/// A staged file that is being written. It buffers, counts and digests its bytes.
#[derive(Debug)]
pub struct Staged {
    place: Temporary,
    file: File,
    buffer: Vec<u8>,
    digesting: Digesting,
    /// True if the file must survive a power cut.
    is_kept: bool,
    /// The position up to which the kernel was asked to write the file to the disk.
    written_out: u64,
}

/// The complete output of an attempt, which is on the disk but not visible yet. When this value is dropped, the output
/// is removed.
#[derive(Debug)]
pub struct Sealed {
    /// The digest of the output's bytes.
    pub output: Digest,
    /// The digest of the rejects' bytes, or `None` if nothing was rejected.
    pub rejects: Option<Digest>,
    pub(super) owner: Owner,
    pub(super) folders: Arc<Folders>,
    pub(super) name: String,
    /// The checkpoints of the attempt. They are no longer needed when the receipt exists.
    checkpoints: Checkpoints,
    pub(super) staged_output: Temporary,
    pub(super) staged_rejects: Option<Temporary>,
    /// The path of the staged receipt, which does not exist yet.
    pub(super) staged_receipt: PathBuf,
    /// True if this attempt has taken over from other attempts at its request.
    pub(super) is_fenced: bool,
}

impl Staging {
    /// Begins an attempt's output. With `passing`, the output is passed on and need not survive a power cut.
    pub(super) fn new(folders: Arc<Folders>, owner: Owner, passing: Option<&PassedOn>) -> Result<Self> {
        let random = uuid::Uuid::new_v4().simple().to_string();
        let name = match &owner.id {
            Some(id) => RequestKey::of(owner.queue.as_deref(), id).staged_name(owner.fence, &random),
            None => random,
        };
        let output = Staged::create(&folders.staging, &format!("{name}.output"), passing.is_none())?;
        Ok(Self {
            owner,
            folders,
            name,
            output,
            rejects: None,
            keeps_rejects: passing.is_none_or(PassedOn::keeps_rejects),
            checkpoints: Checkpoints::default(),
        })
    }

    /// Returns the file for the output's bytes.
    pub fn output(&mut self) -> &mut Staged {
        &mut self.output
    }

    /// Opens the staged output for reading, beginning at the position `from`. The file contains all bytes that were
    /// written so far.
    ///
    /// # Errors
    /// Fails with stage commit and the path.
    pub fn read_output(&mut self, from: u64) -> Result<File> {
        self.output.write_buffer()?;
        let path = self.output.path();
        let opened = File::open(path).and_then(|mut file| file.seek(SeekFrom::Start(from)).map(|_| file));
        opened.map_err(|error| disk::failed(error, "cannot be read", path))
    }

    /// Returns the file for the rejects' bytes. The first call creates the file.
    ///
    /// # Errors
    /// Fails as [`super::Destination::stage`] does.
    pub fn rejects(&mut self) -> Result<&mut Staged> {
        let rejects = match self.rejects.take() {
            Some(rejects) => rejects,
            None => {
                let name = format!("{}.rejects", self.name);
                Staged::create(&self.folders.rejects_staging, &name, self.keeps_rejects)?
            }
        };
        Ok(self.rejects.insert(rejects))
    }

    /// Writes all buffered bytes, and syncs the files that must survive a power cut.
    ///
    /// # Errors
    /// Fails with stage commit and the path: transiently if the disk is full.
    pub fn seal(mut self) -> Result<Sealed> {
        self.checkpoints.end_writing()?;
        let staged_receipt = self.folders.staging.path().join(format!("{}.receipt", self.name));
        let rejects = self.rejects.map(Staged::finish).transpose()?;
        let (rejects, staged_rejects) = rejects.filter(|(digest, _)| digest.bytes > 0).unzip();
        let (output, staged_output) = self.output.finish()?;
        Ok(Sealed {
            output,
            rejects,
            owner: self.owner,
            folders: self.folders,
            name: self.name,
            checkpoints: self.checkpoints,
            staged_output,
            staged_rejects,
            staged_receipt,
            is_fenced: false,
        })
    }
}

impl Sealed {
    /// Ends the attempt without publishing, but keeps the last checkpoint and its staged files for the next attempt.
    pub fn keep(mut self) {
        let staged = [Some(&mut self.staged_output), self.staged_rejects.as_mut()];
        self.checkpoints.keep(&self.name, staged);
    }
}

impl Staged {
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
            // The buffer grows on demand, because most small requests have far less output than a full buffer.
            buffer: Vec::new(),
            digesting: Digesting::default(),
            is_kept,
            written_out: 0,
        }
    }

    /// Returns the number of bytes that were added, including bytes in the buffer.
    pub fn bytes(&self) -> u64 {
        self.digesting.bytes() + self.buffer.len() as u64
    }

    /// Writes the buffer to the file. Returns the digest of the file's bytes.
    pub(super) fn flush_to_file(&mut self) -> Result<Midstate> {
        self.write_buffer()?;
        Ok(self.digesting.midstate())
    }

    /// Returns another handle to the file.
    pub(super) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    pub(super) fn path(&self) -> &Path {
        self.place.path()
    }

    pub(super) fn place(&mut self) -> &mut Temporary {
        &mut self.place
    }

    /// Appends `bytes` to the file, and adds `others` to the digest `digesting`. If `bytes` fills at least a buffer,
    /// both digests are computed together, which takes less time.
    ///
    /// # Errors
    /// Fails with stage commit and the path: transiently if the disk is full.
    pub fn write_beside(&mut self, bytes: &[u8], (digesting, others): (&mut Digesting, &[u8])) -> Result<()> {
        if bytes.len() < BUFFER_BYTES {
            digesting.update(others);
            return self.take(bytes);
        }
        self.write_buffer()?;
        update_both((&mut self.digesting, bytes), (digesting, others));
        self.write_digested(bytes)
    }

    /// Appends bytes to the file.
    ///
    /// # Errors
    /// Fails as [`Staged::write_beside`] does.
    pub fn take(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.write_buffer()?;
        }
        if bytes.len() < BUFFER_BYTES {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.digesting.update(bytes);
        self.write_digested(bytes)
    }

    fn write_digested(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|error| disk::failed(error, "cannot be written", self.place.path()))?;
        if self.is_kept && self.digesting.bytes() - self.written_out >= WRITE_OUT_BYTES {
            self.begin_write_out();
        }
        Ok(())
    }

    /// Asks the kernel to begin writing the file's cached bytes to the disk, so that the sync at the end takes little
    /// time. That sync also reports the errors. On Linux, this advice starts writing all dirty pages without waiting
    /// for them, and drops only clean pages (`mm/fadvise.c`).
    fn begin_write_out(&mut self) {
        let (from, to) = (self.written_out, self.digesting.bytes());
        // If the file system does not support this advice, all bytes are written at the end.
        let _ = fadvise(&self.file, from, NonZeroU64::new(to - from), Advice::DontNeed);
        self.written_out = to;
    }

    fn write_buffer(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.digesting.update(&buffer);
        let written = self.write_digested(&buffer);
        buffer.clear();
        self.buffer = buffer;
        written
    }

    fn finish(mut self) -> Result<(Digest, Temporary)> {
        self.write_buffer()?;
        if self.is_kept {
            self.file
                .sync_all()
                .map_err(|error| disk::failed(error, "cannot be synced", self.place.path()))?;
        }
        Ok((self.digesting.finish(), self.place))
    }
}

/// Appends bytes to the file. Each I/O error wraps an error of this crate, which [`Error::from_io`] extracts. After an
/// error, the file must not be used any more.
impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes).map_err(Error::into_io)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_buffer().map_err(Error::into_io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::Destination;
    use crate::error::{Class, Code, Stage};

    #[test]
    fn a_full_disk_is_a_transient_error_that_names_the_file() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut staged = Staged::new(full, "/out/.staging/1/output".into(), true);
        staged.write_all(b"a").unwrap();
        let error = staged.finish().expect_err("no space");
        assert_eq!(
            error.to_string(),
            "commit /out/.staging/1/output: cannot be written"
        );
        assert!(error.report().contains("No space left"), "{}", error.report());
        assert_eq!(error.class(), Class::Transient);

        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut staged = Staged::new(full, "/out/.staging/1/output".into(), true);
        let error = staged.write_all(&vec![0; BUFFER_BYTES]).expect_err("no space");
        let error = Error::from_io(error, Stage::Encode, Class::Permanent, Code::OutputUnwritable, "");
        assert_eq!((error.stage(), error.class()), (Stage::Commit, Class::Transient));
    }

    /// Replaces the file by `/dev/null`, which accepts all bytes and cannot be synced.
    fn break_sync(staged: &mut Staged) {
        staged.file = File::options().write(true).open("/dev/null").unwrap();
    }

    #[test]
    fn only_what_is_to_outlast_a_power_cut_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let rejects = path("rejects");
        let sealed = |destination: &Destination, is_output_broken: bool| {
            let mut staging = destination.stage(Owner::default()).unwrap();
            staging.rejects().unwrap().write_all(b"r\n").unwrap();
            staging.output().write_all(b"n\n").unwrap();
            break_sync(if is_output_broken {
                staging.output()
            } else {
                staging.rejects().unwrap()
            });
            staging.seal().map(|sealed| sealed.output.bytes)
        };
        let published = Destination::new(&path("out"), Some(&rejects)).unwrap();
        let passed_on = Destination::for_passing_on(&folder.path().join("a"), None).unwrap();
        let with_rejects = Destination::for_passing_on(&folder.path().join("b"), Some(&rejects)).unwrap();
        for (destination, syncs_output, syncs_rejects) in [
            (published, true, true),
            (passed_on, false, false),
            (with_rejects, false, true),
        ] {
            assert_eq!(
                sealed(&destination, true).is_err(),
                syncs_output,
                "{destination:?}"
            );
            assert_eq!(
                sealed(&destination, false).is_err(),
                syncs_rejects,
                "{destination:?}"
            );
        }
    }
}
