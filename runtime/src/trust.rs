//! Checks files and folders that the program trusts. A path or metadata goes in. If other users can change or read the
//! file or folder, the reason comes out.

use std::fs::{DirBuilder, Metadata, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Code, Error, Result, Stage};

/// Returns the reason why other users can change a file or folder, or `None` if they cannot. Other users can change it
/// if it belongs to neither this user nor root, or if its mode lets others write to it.
pub(crate) fn changed_by_others(found: &Metadata) -> Option<&'static str> {
    if found.uid() != rustix::process::geteuid().as_raw() && found.uid() != 0 {
        Some("it belongs to another user")
    } else if found.mode() & 0o022 != 0 {
        Some("others can write to it")
    } else {
        None
    }
}

/// Returns whether users other than the owner can read a file.
pub(crate) fn read_by_others(found: &Metadata) -> bool {
    found.mode() & 0o044 != 0
}

/// Creates a private folder, which only this user can use, and its parents. If the folder exists and other users can
/// only read it, makes it private. Fails if other users can write to it, if it belongs to another user, or if the path
/// is a symbolic link.
///
/// # Errors
/// Fails permanently, with stage config. The message says what to do.
pub(crate) fn private_folder(folder: &Path) -> Result<()> {
    let failed = |why: &str| {
        Error::permanent(
            Stage::Config,
            Code::FolderUnsafe,
            format!("{}: {why}", folder.display()),
        )
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| failed("cannot be created").because(e))?;
    let found = std::fs::symlink_metadata(folder).map_err(|e| failed("cannot be looked at").because(e))?;
    if !found.is_dir() {
        return Err(failed("is not a folder but a symbolic link or a file: remove it"));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(failed(
            "belongs to another user: remove it, or choose another place",
        ));
    }
    if found.mode() & 0o022 != 0 {
        return Err(failed(
            "others can write to it: check its content, then `chmod go-rwx` it",
        ));
    }
    if found.mode() & 0o055 != 0 {
        let private = std::fs::set_permissions(folder, Permissions::from_mode(0o700));
        private.map_err(|e| failed("cannot be made private").because(e))?;
    }
    Ok(())
}

/// Checks that the machine's clock does not show a time before 1970. With such a time, the TLS library panics when it
/// checks a certificate.
///
/// # Errors
/// Fails if the clock shows a time before 1970. The message says what to do.
pub(crate) fn clock_for_tls() -> Result<(), &'static str> {
    let is_sane = SystemTime::now() >= UNIX_EPOCH;
    is_sane.then_some(()).ok_or(
        "the machine's clock shows a time before 1970, at which no certificate is valid: set the clock",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_not_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        private_folder(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        for shared in [0o777, 0o770, 0o702] {
            set_mode(&path, shared);
            let error = private_folder(&path).unwrap_err().to_string();
            assert!(error.contains("others can write"), "{error}");
        }
        set_mode(&path, 0o755);
        private_folder(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
    }

    #[test]
    fn a_link_is_no_private_folder() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        let error = private_folder(&link).unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{error}");
    }

    #[test]
    fn who_else_can_change_a_file_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, changed, read) in [
            (0o600, false, false),
            (0o640, false, true),
            (0o644, false, true),
            (0o620, true, false),
            (0o602, true, false),
        ] {
            set_mode(file.path(), mode);
            let found = std::fs::metadata(file.path()).unwrap();
            assert_eq!(changed_by_others(&found).is_some(), changed, "{mode:o}");
            assert_eq!(read_by_others(&found), read, "{mode:o}");
        }
    }
}
