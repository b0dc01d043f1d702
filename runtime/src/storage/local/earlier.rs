//! Shares an output folder with version 0.1.0: finds the files at the places of that version, and lets workers of both
//! versions create receipts in one folder.
//!
//! ```text
//! <output>/[<queue>/]receipts/<id>.json       receipt
//! <rejects>/[<queue>/]<id>.rejects.csv        rejects; <rejects> is <output>/rejects by default
//! <output>/.staging/                          files of running attempts and checkpoints, also below <rejects>
//! ```
//! Only one of all attempts at a request may create its receipt, even if the attempts belong to workers of both versions.
//! Their only common step is the creation of the receipt, which fails if the name is taken. So both versions must create
//! receipts in one folder. This version moves the folder of 0.1.0 to the new place, and leaves a symbolic link at the
//! earlier place. Workers of 0.1.0 follow the link. People can remove it when no such worker runs any more.

use std::ffi::{CStr, OsStr};
use std::fs::{self, File, FileType};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::disk::{self, LOCK_WAIT};
use super::folders::Folder;
use super::paths::{FENCES, of_queue};
use crate::error::{Code, Error, Result, Stage};
use crate::storage::layout::{RECEIPTS, REJECTS};

/// The staging folder of all queues.
const STAGING: &str = ".staging";

/// The file with the id of an output. Workers that were built from the sources after 0.1.0 use this place.
const OUTPUT_ID: &str = ".output-id";

/// The maximum number of passes in which receipts are moved. In a pass, a worker of 0.1.0 can create the earlier folder
/// again.
const PASSES_MAX: usize = 16;

/// The paths of version 0.1.0 for a queue, or for requests without a queue.
#[derive(Debug, Clone)]
pub(super) struct EarlierPaths {
    receipts: PathBuf,
    /// The folder of the rejects. `None` if this version uses the same folder.
    rejects: Option<PathBuf>,
}

impl EarlierPaths {
    pub(super) fn new(outputs: &Path, rejects: Option<&Path>, queue: Option<&str>) -> Self {
        Self {
            receipts: of_queue(outputs, queue).join(RECEIPTS),
            rejects: rejects.is_none().then(|| of_queue(&outputs.join(REJECTS), queue)),
        }
    }

    pub(super) fn rejects(&self) -> Option<&Path> {
        self.rejects.as_deref()
    }

    /// Returns whether workers of 0.1.0 can create receipts only in the folder `receipts`, or not at all.
    pub(super) fn shares(&self, receipts: &Folder) -> bool {
        match fs::metadata(&self.receipts) {
            Ok(found) => !found.is_dir() || receipts.is_at(&found),
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }

    /// Returns the error for an attempt that finds that a worker of 0.1.0 has created a folder for receipts meanwhile.
    pub(super) fn not_shared(&self) -> Error {
        let what = format!(
            "{}: a worker of version 0.1.0 creates receipts here: the next attempt moves them",
            self.receipts.display()
        );
        Error::transient(Stage::Commit, Code::OutputUnwritable, what)
    }

    /// Moves all receipts of 0.1.0 to the folder `new`, and leaves a symbolic link to it. Several processes can call
    /// this function at the same time.
    ///
    /// # Errors
    /// Fails with stage commit if a file or a folder cannot be moved, or if no link can be created. Fails transiently if
    /// another process holds the lock for longer than [`LOCK_WAIT`].
    pub(super) fn move_receipts(&self, new: &Path) -> Result<()> {
        let old = &*self.receipts;
        let (Some(parent), Some(new_parent)) = (old.parent(), new.parent()) else {
            return Ok(());
        };
        if kind(old)?.is_none() {
            return Ok(());
        }
        let target = disk::create_folders(new_parent)?.join(RECEIPTS);
        let _lock = locked(new_parent)?;
        for _ in 0..PASSES_MAX {
            match kind(old)? {
                Some(kind) if kind.is_symlink() => return follow(old, new),
                Some(kind) if kind.is_dir() => {}
                _ => return Ok(()),
            }
            // The link is relative, because the output folder can have another path on another machine.
            let link = relative(&disk::create_folders(parent)?, &target);
            if is_exchanged(old, new, &link)? || is_emptied(old, new)? && is_linked(old, &link)? {
                disk::sync_folder(new_parent)?;
                disk::sync_folder(parent)?;
                tracing::info!(
                    earlier = %old.display(),
                    place = %new.display(),
                    "receipts of version 0.1.0 moved; a symbolic link to them stays at the earlier place"
                );
                return Ok(());
            }
        }
        Err(self.not_shared())
    }
}

/// Returns the kind of file at a path, or `None` if there is none.
fn kind(path: &Path) -> Result<Option<FileType>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found.file_type())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(disk::failed(error, "cannot be read", path)),
    }
}

/// Locks a folder until the result is dropped.
fn locked(folder: &Path) -> Result<File> {
    let file = File::open(folder).map_err(|error| disk::failed(error, "cannot be locked", folder))?;
    disk::lock(&file, folder, Instant::now() + LOCK_WAIT)?;
    Ok(file)
}

/// Returns the folders in which version 0.1.0 staged files below the folder for outputs or rejects.
pub(super) fn staging_folders(root: &Path) -> [PathBuf; 2] {
    let staging = root.join(STAGING);
    [staging.join(FENCES), staging]
}

/// Returns the folder in which version 0.1.0 kept rejects by default.
pub(super) fn default_rejects(outputs: &Path) -> PathBuf {
    outputs.join(REJECTS)
}

/// Returns the path at which earlier builds kept the id of an output.
pub(super) fn output_id(root: &Path) -> PathBuf {
    root.join(OUTPUT_ID)
}

/// Follows a symbolic link at the earlier place. If somebody else has created the link, the new place becomes a link to
/// the same folder.
fn follow(old: &Path, new: &Path) -> Result<()> {
    let folder = match old.canonicalize() {
        Ok(folder) => folder,
        // Version 0.1.0 cannot use such a link either.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(disk::failed(error, "cannot be read", old)),
    };
    match symlink(&folder, new) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if new.canonicalize().is_ok_and(|new| new == folder) {
                return Ok(());
            }
            let what = format!(
                "{}: is a link to receipts of version 0.1.0 in another folder than {}: move them there, and remove the link",
                old.display(),
                new.display()
            );
            Err(Error::permanent(Stage::Commit, Code::OutputFolder, what))
        }
        Err(error) => Err(disk::failed(error, "the link cannot be created", new)),
    }
}

/// Moves the earlier folder to the new place and a link to the earlier place, in one step. So there is no moment at which
/// workers of both versions create receipts in different folders. Returns false if the new folder exists already, or if
/// the file system cannot do this.
fn is_exchanged(old: &Path, new: &Path, link: &Path) -> Result<bool> {
    match symlink(link, new) {
        Ok(()) => {}
        // A process has died before the next step.
        Err(error)
            if error.kind() == ErrorKind::AlreadyExists
                && fs::read_link(new).is_ok_and(|found| found == link) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(disk::failed(error, "the link cannot be created", new)),
    }
    match renameat_with(CWD, old, CWD, new, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(error) => {
            fs::remove_file(new).map_err(|error| disk::failed(error, "cannot be removed", new))?;
            match error {
                Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::XDEV | Errno::BUSY | Errno::NOENT => {
                    Ok(false)
                }
                error => Err(disk::failed(error.into(), "cannot be moved", old)),
            }
        }
    }
}

/// Moves each file of the earlier folder, and removes the folder. Returns false if another process has changed the folder
/// meanwhile.
fn is_emptied(old: &Path, new: &Path) -> Result<bool> {
    move_files(old, new)?;
    match fs::remove_dir(old) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory => Ok(false),
            _ => Err(disk::failed(error, "cannot be removed", old)),
        },
    }
}

/// Creates a link at the earlier place. Returns false if the place is taken.
fn is_linked(old: &Path, link: &Path) -> Result<bool> {
    match symlink(link, old) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(disk::failed(error, "the link cannot be created", old)),
    }
}

/// Moves each file of the earlier folder to the new folder.
fn move_files(old: &Path, new: &Path) -> Result<()> {
    let unreadable = |error: io::Error| disk::failed(error, "cannot be read", old);
    let new = Folder::open(new)?;
    // The names are looked up in the open folder. At its path there can be a link to the new folder by now.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match rustix::fs::open(old, flags, Mode::empty()) {
        Ok(folder) => File::from(folder),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        Err(error) => return Err(unreadable(error.into())),
    };
    if new.is_at(&folder.metadata().map_err(unreadable)?) {
        return Ok(());
    }
    for entry in Dir::read_from(&folder).map_err(|error| unreadable(error.into()))? {
        let entry = entry.map_err(|error| unreadable(error.into()))?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            move_file(&folder, name, new.path())
                .map_err(|error| disk::failed(error, "cannot be moved", &old.join(text(name))))?;
        }
    }
    new.sync()
}

/// Moves a file to the folder `new`. If there is another file of this name, the moved file gets a name that no receipt
/// has.
fn move_file(folder: &File, name: &CStr, new: &Path) -> io::Result<()> {
    let to = new.join(text(name));
    match renamed_or_linked(folder, name, &to) {
        Err(Errno::EXIST) => {}
        moved => return Ok(moved?),
    }
    let is_same = |found: rustix::fs::Stat| {
        use std::os::unix::fs::MetadataExt;
        fs::symlink_metadata(&to).is_ok_and(|to| (to.dev(), to.ino()) == (found.st_dev, found.st_ino))
    };
    if rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(is_same) {
        // A process has created the second name, and died before it removed the first one.
        return Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?);
    }
    let mut aside = to.clone().into_os_string();
    aside.push(format!("~{}", uuid::Uuid::new_v4().simple()));
    renamed_or_linked(folder, name, Path::new(&aside))?;
    tracing::warn!(
        receipt = %to.display(),
        aside = %Path::new(&aside).display(),
        "there were two receipts of one id: the one of version 0.1.0 does not count"
    );
    Ok(())
}

fn renamed_or_linked(folder: &File, name: &CStr, to: &Path) -> rustix::io::Result<()> {
    match renameat_with(folder, name, CWD, to, RenameFlags::NOREPLACE) {
        // The file system cannot rename a file without replacing an existing file. NFS is an example.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            rustix::fs::linkat(folder, name, CWD, to, AtFlags::empty())?;
            rustix::fs::unlinkat(folder, name, AtFlags::empty())
        }
        // Another process has moved the file.
        Err(Errno::NOENT) => Ok(()),
        renamed => renamed,
    }
}

/// Returns the relative path from the folder `from` to `to`. Both paths are real paths.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let common = from
        .components()
        .zip(to.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = from.components().skip(common).map(|_| OsStr::new(".."));
    let down = to.components().skip(common).map(|part| part.as_os_str());
    up.chain(down).collect()
}

fn text(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}
