//! Opens local files: a path goes in; the bytes of a regular file come out.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cap_primitives::ambient_authority;
use cap_primitives::fs::{OpenOptions, OpenOptionsExt as _, open_ambient_dir};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Access, Identity, RequestedBy};
use crate::error::{Class, Code, Error, Result, Stage};
use crate::location::redact;

/// The flags for opening a file. With them, opening something that is not a regular file does not block and has no side
/// effect.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Opens a regular file. For a queued URI, the file must be below a root of `access` after all symbolic links and `..`
/// in the path are resolved.
///
/// # Errors
/// Fails with stage fetch, and names the path. The error is permanent if there is no such file, if the path does not
/// name a regular file, or if the file must not be read. Most other errors are transient.
pub(super) fn open(path: &Path, requested_by: RequestedBy, access: &Access) -> Result<Unchanged> {
    let file = match requested_by {
        RequestedBy::Typed => File::options()
            .read(true)
            .custom_flags(READ.bits() as i32)
            .open(path)
            .map_err(|error| failed(error, path))?,
        RequestedBy::Queued => open_allowed(path, access)?,
    };
    let metadata = file.metadata().map_err(|error| failed(error, path))?;
    if !metadata.is_file() {
        let what = match metadata.is_dir() {
            true => "a folder",
            false => "not a regular file",
        };
        // A person who names a folder probably means the files in it.
        let way_on = match requested_by {
            RequestedBy::Typed if metadata.is_dir() => {
                format!(
                    ": name the files in it, such as '{}'",
                    path.join("*.csv").display()
                )
            }
            // A shell creates such a path for `<(COMMAND)`.
            RequestedBy::Typed if path.starts_with("/dev/fd") || path.starts_with("/proc") => {
                ": `COMMAND | ingest-host ingest -` reads what a command prints".into()
            }
            RequestedBy::Typed => format!(": `ingest-host ingest - < {}` reads a pipe", path.display()),
            RequestedBy::Queued => String::new(),
        };
        return Err(Error::permanent(
            Stage::Fetch,
            Code::NotAFile,
            format!("{}: is {what}{way_on}", shown(path)),
        ));
    }
    Unchanged::new(file, &metadata, path).map_err(|error| failed(error, path))
}

/// Opens a file below an allowed root.
fn open_allowed(path: &Path, access: &Access) -> Result<File> {
    let not_allowed = || {
        let folder = Path::new(".").join(shown(path.parent().unwrap_or(path)));
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let from = match path.is_absolute() {
            true => "",
            false => " (a relative path counts from the worker's folder)",
        };
        let what = format!(
            "{}: is not below an allowed folder{from}; a queued URI reaches it only with --allow-root {}",
            shown(path),
            folder.display()
        );
        Error::permanent(Stage::Fetch, Code::PathRefused, what)
    };
    let absolute = std::path::absolute(path).map_err(|error| not_allowed().because(error))?;
    // Usually, no symbolic link in the path leads out of the root, so the path need not be resolved first.
    if access.spells_root(&absolute)
        && let Some((root, rest)) = access.root_of(&absolute)
        && let Ok(file) = open_beneath(root, rest)
    {
        return Ok(file);
    }
    let real = match absolute.canonicalize() {
        Ok(real) => real,
        // A missing file is reported only for a path below an allowed root, because a producer must not learn which
        // other files exist.
        Err(error) if access.spells_root(&absolute) => return Err(failed(error, path)),
        Err(_) => return Err(not_allowed()),
    };
    let (root, rest) = access
        .root_of(&real)
        .ok_or_else(|| match access.spells_root(&absolute) {
            true => leads_out(path),
            false => not_allowed(),
        })?;
    open_beneath(root, rest).map_err(|error| failed(error, path))
}

/// Returns a path for messages, without secrets. The path could be a mistyped URL that contains secrets.
fn shown(path: &Path) -> String {
    redact(&path.to_string_lossy())
}

fn leads_out(path: &Path) -> Error {
    let why = "a link on the way leads out of the allowed folders; a queued URI follows it only with --allow-root of where it leads";
    Error::permanent(Stage::Fetch, Code::PathRefused, format!("{}: {why}", shown(path)))
}

/// Opens a file below a root. The kernel resolves the path (`openat2`). If the kernel does not support this,
/// `cap-primitives` resolves the path part by part. Neither of them follows a symbolic link out of the root, even if
/// somebody changes links or folders meanwhile.
fn open_beneath(root: &Path, rest: &Path) -> io::Result<File> {
    let root = open_ambient_dir(root, ambient_authority())?;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(READ.bits() as i32);
    // `rest` is empty if the path is the root itself.
    cap_primitives::fs::open(&root, &Path::new(".").join(rest), &options)
}

fn failed(error: io::Error, path: &Path) -> Error {
    let (class, code, what) = match error.kind() {
        io::ErrorKind::NotFound => (Class::Permanent, Code::InputMissing, "no such file"),
        io::ErrorKind::PermissionDenied => (
            Class::Permanent,
            Code::InputUnreadable,
            "no permission to read it",
        ),
        // `InvalidInput` means a NUL in the path.
        io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput => {
            (Class::Permanent, Code::InputUnreadable, "cannot be opened")
        }
        _ if Errno::from_io_error(&error) == Some(Errno::LOOP) => {
            (Class::Permanent, Code::InputUnreadable, "cannot be opened")
        }
        _ => (Class::Transient, Code::InputUnreadable, "cannot be read"),
    };
    let failed = Error::new(Stage::Fetch, class, code, format!("{}: {what}", shown(path)));
    match code {
        // The cause would only repeat this message.
        Code::InputMissing => failed,
        _ => failed.because(error),
    }
}

/// Reads a file, and fails if the file changes meanwhile. Without this check, a file that a producer is still writing
/// could be ingested without its end.
pub(super) struct Unchanged {
    file: File,
    path: PathBuf,
    opened: (u64, SystemTime),
    identity: Identity,
}

impl Unchanged {
    fn new(file: File, metadata: &Metadata, path: &Path) -> io::Result<Self> {
        Ok(Self {
            file,
            path: path.to_owned(),
            opened: state(metadata)?,
            identity: Identity::of_file(metadata),
        })
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Skips the first `bytes` bytes of the file.
    pub(super) fn skip(&mut self, bytes: u64) -> Result<()> {
        let sought = self.file.seek(SeekFrom::Start(bytes));
        sought.map(drop).map_err(|error| failed(error, &self.path))
    }
}

fn state(metadata: &Metadata) -> io::Result<(u64, SystemTime)> {
    Ok((metadata.len(), metadata.modified()?))
}

impl Read for Unchanged {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.file.read(out) {
            Ok(0) if !out.is_empty() && state(&self.file.metadata()?)? != self.opened => {
                let what = format!("{}: changed while it was read", self.path.display());
                Err(Error::transient(Stage::Fetch, Code::InputChanged, what).into_io())
            }
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                Err(failed(error, &self.path).into_io())
            }
            result => result,
        }
    }
}
