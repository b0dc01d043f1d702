//! An attempt's bytes on their way to the disk, under names that nobody else uses or looks at.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Folders, STAGING, disk};
use crate::digest::{Digest, Digesting};
use crate::error::{Error, Result};

const BUFFER_BYTES: usize = 256 << 10;

/// The output of an attempt that is under way. Dropping it removes all that was staged.
#[derive(Debug)]
pub struct Staging {
    output: Staged,
    rejects: Option<Staged>,
    folders: StagingFolders,
}

/// A staged file that is being written: buffers, counts and digests what passes.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    digesting: Digesting,
}

/// The output of an attempt, complete, on the disk and not yet visible. Dropping it removes it.
#[derive(Debug)]
pub struct Sealed {
    /// Of the output's bytes.
    pub output: Digest,
    /// Of the rejects' bytes; nothing if nothing was rejected.
    pub rejects: Option<Digest>,
    pub(super) output_path: PathBuf,
    pub(super) rejects_path: PathBuf,
    pub(super) staging: StagingFolders,
}

/// An attempt's own folders, and where their contents are to go.
#[derive(Debug)]
pub(super) struct StagingFolders {
    pub(super) destination: Folders,
    /// In the same file system as the output and the receipts.
    pub(super) output: TemporaryFolder,
    /// In the same file system as the rejects, made when the first one comes.
    rejects: Option<TemporaryFolder>,
    rejects_root: PathBuf,
}

/// A folder that goes when its owner does.
#[derive(Debug)]
pub(super) struct TemporaryFolder(PathBuf);

impl Staging {
    pub(super) fn new(destination: Folders, output_root: &Path, rejects_root: &Path) -> Result<Self> {
        let folder = TemporaryFolder::new(output_root)?;
        Ok(Self {
            output: Staged::create(folder.path().join("output"))?,
            rejects: None,
            folders: StagingFolders {
                destination,
                output: folder,
                rejects: None,
                rejects_root: rejects_root.to_owned(),
            },
        })
    }

    /// Takes the output's bytes.
    pub fn output(&mut self) -> &mut Staged {
        &mut self.output
    }

    /// Takes the rejects' bytes; the first call creates the file.
    ///
    /// # Errors
    /// As [`super::Destination::stage`].
    pub fn rejects(&mut self) -> Result<&mut Staged> {
        let rejects = match self.rejects.take() {
            Some(rejects) => rejects,
            None => {
                let folder = TemporaryFolder::new(&self.folders.rejects_root)?;
                let path = folder.path().join("rejects");
                self.folders.rejects = Some(folder);
                Staged::create(path)?
            }
        };
        Ok(self.rejects.insert(rejects))
    }

    /// Brings everything to the disk, for good.
    ///
    /// # Errors
    /// Of stage commit, with the path: transient if there is no space.
    pub fn seal(self) -> Result<Sealed> {
        let output_path = self.output.path.clone();
        let rejects_path = self
            .rejects
            .as_ref()
            .map(|rejects| rejects.path.clone())
            .unwrap_or_default();
        let rejects = self.rejects.map(Staged::finish).transpose()?;
        Ok(Sealed {
            output: self.output.finish()?,
            rejects: rejects.filter(|rejects| rejects.bytes > 0),
            output_path,
            rejects_path,
            staging: self.folders,
        })
    }
}

impl Staged {
    fn create(path: PathBuf) -> Result<Self> {
        match File::create_new(&path) {
            Ok(file) => Ok(Self::new(file, path)),
            Err(error) => Err(disk::failed(error, "cannot be created", &path)),
        }
    }

    fn new(file: File, path: PathBuf) -> Self {
        Self {
            path,
            file,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            digesting: Digesting::default(),
        }
    }

    /// How many bytes were taken.
    pub fn bytes(&self) -> u64 {
        self.digesting.bytes() + self.buffer.len() as u64
    }

    fn write_through(&mut self, bytes: &[u8]) -> Result<()> {
        self.digesting.update(bytes);
        self.file
            .write_all(bytes)
            .map_err(|error| disk::failed(error, "cannot be written", &self.path))
    }

    fn write_buffer(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.write_through(&buffer);
        buffer.clear();
        self.buffer = buffer;
        written
    }

    fn finish(mut self) -> Result<Digest> {
        self.write_buffer()?;
        self.file
            .sync_all()
            .map_err(|error| disk::failed(error, "cannot be synced", &self.path))?;
        Ok(self.digesting.finish())
    }
}

/// Errors carry one of this crate, which [`Error::from_io`] takes out. After an error the file is of no use.
impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.write_buffer().map_err(Error::into_io)?;
        }
        if bytes.len() >= BUFFER_BYTES {
            self.write_through(bytes).map_err(Error::into_io)?;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_buffer().map_err(Error::into_io)
    }
}

impl TemporaryFolder {
    fn new(root: &Path) -> Result<Self> {
        let folder =
            disk::create_folders(&root.join(STAGING))?.join(uuid::Uuid::new_v4().simple().to_string());
        match fs::create_dir(&folder) {
            Ok(()) => Ok(Self(folder)),
            Err(error) => Err(disk::failed(error, "the folder cannot be created", &folder)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What remains is removed by `Destination::reap`.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Class, Stage};

    #[test]
    fn a_full_disk_is_a_transient_error_that_names_the_file() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut staged = Staged::new(full, "/out/.staging/1/output".into());
        staged.write_all(b"a").unwrap();
        let error = staged.finish().expect_err("no space");
        assert_eq!(
            error.to_string(),
            "commit /out/.staging/1/output: cannot be written"
        );
        assert!(error.report().contains("No space left"), "{}", error.report());
        assert_eq!(error.class(), Class::Transient);

        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut staged = Staged::new(full, "/out/.staging/1/output".into());
        let error = staged.write_all(&vec![0; BUFFER_BYTES]).expect_err("no space");
        let error = Error::from_io(error, Stage::Encode, Class::Permanent, "");
        assert_eq!((error.stage(), error.class()), (Stage::Commit, Class::Transient));
    }
}
