//! Wraps the file system operations of a commit. Their errors name the operation and the path, and say whether a retry
//! can help.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{
    Access, AtFlags, CWD, RenameFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, accessat, renameat_with,
    utimensat,
};
use rustix::io::Errno;

use crate::digest::{Digest, Digesting};
use crate::document::open_regular;
use crate::error::{Class, Code, Error, Result, Stage};

/// Returns the error for a failed operation on a path. The error is permanent if a retry cannot help, for example if a
/// permission is missing. All other errors are transient, for example if the disk is full.
pub(super) fn failed(error: io::Error, what: &str, path: &Path) -> Error {
    let class = match error.kind() {
        ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::AlreadyExists
        | ErrorKind::InvalidFilename
        | ErrorKind::InvalidInput
        | ErrorKind::FileTooLarge
        | ErrorKind::CrossesDevices
        | ErrorKind::Unsupported => Class::Permanent,
        _ => Class::Transient,
    };
    let remedy = match error.kind() {
        ErrorKind::PermissionDenied => ": give the user of this process the right to read and write there",
        ErrorKind::CrossesDevices => {
            ": files are staged in the folder _ingest of the output, and published by links: put both in one file system"
        }
        _ => "",
    };
    Error::from_io(
        error,
        Stage::Commit,
        class,
        Code::OutputUnwritable,
        format!("{}: {what}{remedy}", path.display()),
    )
}

/// Creates a folder and its parents durably, and returns its real path.
pub(super) fn create_folders(path: &Path) -> Result<PathBuf> {
    let failed = |error| failed(error, "the folder cannot be created", path);
    if !path.is_dir() {
        if let Some(parent) = path.parent() {
            create_folders(parent)?;
        }
        match fs::create_dir(path) {
            Ok(()) => path.parent().map_or(Ok(()), sync_folder)?,
            // Another attempt may have created the folder meanwhile.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(failed(error)),
        }
    }
    path.canonicalize().map_err(failed)
}

/// Checks that this process can list the folder and create files in it.
pub(super) fn check_writable(folder: &Path) -> Result<()> {
    let access = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    match accessat(CWD, folder, access, AtFlags::EACCESS) {
        Err(error @ (Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::NOENT | Errno::NOTDIR)) => {
            Err(failed(error.into(), "the folder cannot be used", folder))
        }
        // Other errors say only that the system cannot tell.
        _ => Ok(()),
    }
}

/// Checks that files of the first folder can be linked into the second one. Creates no file: the check renames a file that
/// does not exist, and the system first compares the file systems.
pub(super) fn check_publishing(staging: &Path, folder: &Path) -> Result<()> {
    let absent = uuid::Uuid::new_v4().simple().to_string();
    match fs::rename(staging.join(&absent), folder.join(&absent)) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::CrossesDevices | ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            Err(failed(error, "no file can be published in this folder", folder))
        }
        _ => Ok(()),
    }
}

/// Returns the device number and the inode number of a file. They are the same for all names of the file.
pub(super) fn inode(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Syncs a folder. Afterwards, a power cut does not remove the names that are in the folder now.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| failed(error, "the folder cannot be synced", folder))
}

/// The longest wait for a lock. A process holds a lock only for a few operations on files.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(5);

const LOCK_POLL: Duration = Duration::from_millis(5);

/// Locks an open file or folder, which has this path. Waits until `deadline` if another process holds the lock. The lock
/// is released when the file is closed. Does nothing if the file system has no locks: then two processes that need the
/// lock at the same moment could disturb each other.
///
/// # Errors
/// Fails transiently if another process holds the lock at the deadline.
pub(super) fn lock(file: &File, path: &Path, deadline: Instant) -> Result<()> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(failed(error, "cannot be locked", path)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(LOCK_POLL),
            Err(TryLockError::WouldBlock) => {
                let what = format!(
                    "{}: another process holds this lock for too long: look for a worker that is stopped or hangs",
                    path.display()
                );
                return Err(Error::transient(Stage::Commit, Code::OutputLocked, what));
            }
        }
    }
}

/// Gives a staged file its final name. Returns false if the name is taken. Never replaces an existing file.
pub(super) fn publish(staged: &mut Temporary, path: &Path) -> Result<bool> {
    let published = match renameat_with(CWD, &staged.path, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => {
            staged.is_there = false;
            staged.was_renamed = true;
            Ok(())
        }
        // The file system cannot rename a file without replacing an existing file. NFS is an example.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::hard_link(&staged.path, path),
        Err(error) => Err(error.into()),
    };
    match published {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(error, "cannot be published", path)),
    }
}

/// Gives a staged file its final name in addition to its staged name. Returns false if the final name is taken. On a
/// file system without hard links, the file is renamed instead.
pub(super) fn link(staged: &mut Temporary, path: &Path) -> Result<bool> {
    #[cfg(test)]
    if staged.denies_links {
        return publish(staged, path);
    }
    match fs::hard_link(&staged.path, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
            publish(staged, path)
        }
        Err(error) => Err(failed(error, "cannot be published", path)),
    }
}

/// Gives a staged file a name, and replaces an existing file of that name.
pub(super) fn replace(staged: &mut Temporary, path: &Path) -> Result<()> {
    fs::rename(&staged.path, path).map_err(|error| failed(error, "cannot be replaced", path))?;
    staged.is_there = false;
    Ok(())
}

/// A file that is removed when this value is dropped, unless the file was renamed or [`Temporary::keep`] was called.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    is_there: bool,
    was_renamed: bool,
    #[cfg(test)]
    denies_links: bool,
}

impl Temporary {
    /// Takes responsibility for removing a file, which exists now or is created soon.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            is_there: true,
            was_renamed: false,
            #[cfg(test)]
            denies_links: false,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the file was renamed from its staged name to its final name, as on a file system without hard
    /// links. After such a rename, no other attempt can revoke the file.
    pub(super) fn was_renamed(&self) -> bool {
        self.was_renamed
    }

    /// Makes [`link`] treat this file as if its file system had no hard links.
    #[cfg(test)]
    pub(super) fn deny_links(&mut self) {
        self.denies_links = true;
    }

    /// Keeps the file when this value is dropped.
    pub(super) fn keep(&mut self) {
        self.is_there = false;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.is_there {
            // If this fails, `Storage::reap` removes the file later.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The number of bytes that one read takes when a file is compared.
const COMPARE_BYTES: usize = 256 << 10;

/// Returns whether a path is a regular file with the expected digest, or `None` if nothing exists at the path.
pub(super) fn has_bytes(path: &Path, expected: &Digest) -> Result<Option<bool>> {
    let compared = || -> io::Result<bool> {
        let metadata = fs::symlink_metadata(path)?;
        if !metadata.is_file() || metadata.len() != expected.bytes {
            return Ok(false);
        }
        let mut file = open_regular(path)?;
        let mut digesting = Digesting::default();
        let mut buffer = vec![0; COMPARE_BYTES];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(digesting.finish() == *expected),
                Ok(read) => digesting.update(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    };
    match compared() {
        Ok(same) => Ok(Some(same)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error, "cannot be compared", path)),
    }
}

/// Sets the modification time of a file to now, if possible.
pub(super) fn mark_written(path: &Path) {
    let [last_access, last_modification] = [UTIME_OMIT, UTIME_NOW].map(|nanos| Timespec {
        tv_sec: 0,
        tv_nsec: nanos,
    });
    let times = Timestamps {
        last_access,
        last_modification,
    };
    // A failure is ignored: if the file is gone, or if this worker cannot write it, the worker must go on.
    let _ = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_worth_a_retry() {
        for (errno, class) in [
            (Errno::NOSPC, Class::Transient),
            (Errno::DQUOT, Class::Transient),
            (Errno::IO, Class::Transient),
            (Errno::ACCESS, Class::Permanent),
            (Errno::PERM, Class::Permanent),
            (Errno::ROFS, Class::Permanent),
            (Errno::NOTDIR, Class::Permanent),
            (Errno::NAMETOOLONG, Class::Permanent),
            (Errno::FBIG, Class::Permanent),
            (Errno::XDEV, Class::Permanent),
        ] {
            let error = failed(errno.into(), "cannot be written", Path::new("/out/a.csv"));
            assert_eq!(error.class(), class, "{errno}");
            let shown = error.to_string();
            assert!(
                shown.starts_with("commit /out/a.csv: cannot be written"),
                "{shown}"
            );
            let says_what_to_do = shown != "commit /out/a.csv: cannot be written";
            let is_of_the_place = [Errno::ACCESS, Errno::PERM, Errno::XDEV].contains(&errno);
            assert_eq!(says_what_to_do, is_of_the_place, "{shown}");
        }
    }
}
