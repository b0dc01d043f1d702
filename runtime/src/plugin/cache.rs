//! Keeps compiled components in a private folder of the user. The files are executed. Each file is therefore signed
//! with a secret that only this user can read. If a file has no valid signature, the component is compiled again.

use std::fs::{self, DirEntry, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use rustix::fs::{CWD, RenameFlags};
use rustix::rand::GetRandomFlags;
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::config::Limits;
use crate::document::open_regular;
use crate::error::{Code, Error, Result, Stage};
use crate::trust::{self, private_folder};

/// The maximum number of files, and of bytes, that are kept. A file usually has several hundred kilobytes; only a
/// hostile component needs much more.
const KEPT_MAX: usize = 256;
const BYTES_MAX: u64 = 512 << 20;

/// The length of the signature at the end of a file. The signature is the HMAC-SHA-256 of the file's name and of the
/// bytes before the signature. A check of the signature also reveals bytes that the disk has corrupted.
const SIGNATURE_BYTES: usize = 32;

const SECRET_FILE: &str = "cache.key";
const SECRET_BYTES: usize = 32;

/// The settings of compiled code that wasmtime does not check when it loads code: see [`super::Engine`].
const CODE_SETTINGS: &str = "canonical NaNs, deterministic relaxed SIMD";

/// A folder of compiled components, which several processes share. When the folder has too many files or bytes, the
/// oldest files are removed, even files that are not compiled components.
pub struct Cache {
    folder: PathBuf,
    secret: [u8; SECRET_BYTES],
    /// Set when an untrusted file has been logged.
    told: AtomicBool,
}

impl Cache {
    /// Opens a cache in a folder. The secret for signatures is in `secret_folder`. Creates both folders if they do not
    /// exist.
    ///
    /// # Errors
    /// Fails if other users can change one of the folders, or may have read the secret.
    pub fn open(folder: &Path, secret_folder: &Path) -> Result<Self> {
        private_folder(folder)?;
        let folder = folder.join("code");
        private_folder(&folder)?;
        Ok(Self {
            folder,
            secret: secret(secret_folder)?,
            told: AtomicBool::new(false),
        })
    }

    /// Returns the compiled component, or `None` if the cache has no usable component. A usable component has a valid
    /// signature and was compiled by this version within these limits. `sha256` identifies the component.
    pub(super) fn get(&self, engine: &Engine, sha256: &str, limits: &Limits) -> Option<Component> {
        let name = name(sha256, limits);
        let code = match self.read(&name) {
            Ok(code) => code,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                if !self.told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        file = self.folder.join(&name).display().to_string(),
                        %error,
                        "a compiled component in the cache cannot be trusted: it is not run, but compiled again"
                    );
                }
                return None;
            }
        };
        let compiled = load(engine, &code).ok()?;
        // When the cache is full, the files with the oldest times are removed first. The new time therefore keeps this
        // file longer. If the time cannot be set, the component may have to be compiled again sooner.
        let path = self.folder.join(name);
        let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(compiled)
    }

    /// Reads the code in a file and checks its signature.
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = open_regular(&self.folder.join(name))?;
        let found = file.metadata()?;
        if let Some(why) = trust::changed_by_others(&found) {
            return Err(io::Error::other(why));
        }
        if found.len() > BYTES_MAX {
            return Err(io::Error::other("it is too long"));
        }
        let mut code = Vec::with_capacity(found.len() as usize);
        file.take(BYTES_MAX).read_to_end(&mut code)?;
        let unsigned = || io::Error::other("its signature is wrong");
        let length = code.len().checked_sub(SIGNATURE_BYTES).ok_or_else(unsigned)?;
        let signature = code.split_off(length);
        let signed = self.signed(name, &code).verify_slice(&signature);
        signed.map_err(|_| unsigned())?;
        Ok(code)
    }

    /// Stores compiled code, except if it would need more than half of the cache.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub(super) fn put(&self, sha256: &str, limits: &Limits, code: &[u8]) -> io::Result<()> {
        if code.len() as u64 > BYTES_MAX / 2 {
            return Ok(());
        }
        private_folder(&self.folder).map_err(Error::into_io)?;
        let name = name(sha256, limits);
        let path = self.folder.join(&name);
        let temporary = path.with_extension(uuid::Uuid::new_v4().simple().to_string());
        let signature = self.signed(&name, code).finalize().into_bytes();
        let written = write(&temporary, &[code, &signature[..]]).and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written.and_then(|()| self.prune())
    }

    /// Returns the unfinished signature of a name and its code. The caller finalizes the signature, or compares it with
    /// another. The signature includes the name, so that the code of one component is not accepted for another
    /// component.
    fn signed(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("any length will do");
        mac.update(name.as_bytes());
        mac.update(code);
        mac
    }

    fn prune(&self) -> io::Result<()> {
        let entries: Vec<DirEntry> = fs::read_dir(&self.folder)?.collect::<io::Result<_>>()?;
        let mut files: Vec<_> = entries
            .iter()
            // Another process may have removed the file.
            .filter_map(|entry| entry.metadata().ok().map(|metadata| (metadata, entry.path())))
            .filter_map(|(metadata, path)| Some((metadata.modified().ok()?, path, metadata.len())))
            .collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        let mut bytes = 0;
        for (number, (_, path, len)) in files.iter().enumerate() {
            bytes += len;
            if number >= KEPT_MAX || bytes > BYTES_MAX {
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }
}

/// Returns a file's name. The name is derived from everything that the compiled code depends on. All names have the
/// same length.
fn name(sha256: &str, limits: &Limits) -> String {
    let mut digest = Sha256::new_with_prefix(env!("CARGO_PKG_VERSION"));
    digest.update(CODE_SETTINGS);
    digest.update(limits.to_string());
    digest.update(sha256);
    HEXLOWER.encode(&digest.finalize())
}

/// Loads a component from code that this program has compiled, in this process or in another process.
///
/// # Errors
/// Fails if the code was compiled by another version or for another processor.
pub(super) fn load(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    #[expect(unsafe_code, reason = "it is run as it is")]
    // SAFETY: this program has compiled the code. The code comes from one of its own processes, or it has a signature
    // that only programs of this user can make.
    unsafe {
        Component::deserialize(engine, code)
    }
}

/// Reads the secret in a folder. Creates the secret if it does not exist.
///
/// # Errors
/// Fails if other users can change the folder or read the file.
fn secret(folder: &Path) -> Result<[u8; SECRET_BYTES]> {
    private_folder(folder)?;
    let path = folder.join(SECRET_FILE);
    let failed = |error: io::Error| {
        let what = format!(
            "{}: cannot be used; remove it, and a new one is made",
            path.display()
        );
        Error::permanent(Stage::Config, Code::SettingsInvalid, what).because(error)
    };
    match read_secret(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read.map_err(failed),
    }
    let mut secret = [0; SECRET_BYTES];
    let random = rustix::rand::getrandom(&mut secret, GetRandomFlags::empty());
    if random != Ok(SECRET_BYTES) {
        return Err(failed(io::Error::other("there are no random numbers")));
    }
    let temporary = path.with_extension(uuid::Uuid::new_v4().simple().to_string());
    let made = write(&temporary, &[&secret])
        // Another process may have created the secret first. If so, the secret of the other process is used.
        .and_then(|()| {
            Ok(rustix::fs::renameat_with(
                CWD,
                &temporary,
                CWD,
                &path,
                RenameFlags::NOREPLACE,
            )?)
        });
    if made.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
        _ => read_secret(&path).map_err(failed),
    }
}

fn read_secret(path: &Path) -> io::Result<[u8; SECRET_BYTES]> {
    let file = open_regular(path)?;
    let found = file.metadata()?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    if found.mode() & 0o077 != 0 {
        return Err(io::Error::other("others can use it"));
    }
    let mut secret = Vec::new();
    file.take(SECRET_BYTES as u64 + 1).read_to_end(&mut secret)?;
    secret
        .try_into()
        .map_err(|_| io::Error::other(format!("it does not have {SECRET_BYTES} bytes")))
}

/// Writes a file and syncs it, so that a power cut cannot leave an incomplete file under its final name.
fn write(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    /// The smallest component.
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    /// A name that stands for the component's digest.
    const NAME: &str = "component";

    /// Returns an empty cache, and everything needed to put code into it.
    fn cache() -> (Cache, Engine, Limits, Vec<u8>, tempfile::TempDir) {
        let (folder, engine) = (tempfile::tempdir().unwrap(), Engine::default());
        let code = Component::new(&engine, COMPONENT).unwrap().serialize().unwrap();
        (opened(&folder), engine, Limits::default(), code, folder)
    }

    fn opened(folder: &tempfile::TempDir) -> Cache {
        Cache::open(&folder.path().join("cache"), &folder.path().join("state")).unwrap()
    }

    fn files(cache: &Cache) -> usize {
        fs::read_dir(&cache.folder).unwrap().count()
    }

    #[test]
    fn what_was_put_in_is_found_under_its_component_and_limits() {
        let (cache, engine, limits, code, _folder) = cache();
        assert!(cache.get(&engine, NAME, &limits).is_none());
        cache.put(NAME, &limits, &code).unwrap();
        assert!(cache.get(&engine, NAME, &limits).is_some());
        let others = Limits {
            compile_memory_bytes: 1,
            ..Limits::default()
        };
        assert!(cache.get(&engine, NAME, &others).is_none());
        assert!(cache.get(&engine, "another", &limits).is_none());
    }

    #[test]
    fn what_cannot_be_used_is_replaced() {
        let (cache, engine, limits, code, _folder) = cache();
        let path = cache.folder.join(name(NAME, &limits));
        cache.put(NAME, &limits, b"of another version").unwrap();
        assert!(cache.get(&engine, NAME, &limits).is_none());
        for damage in [
            |file: &mut Vec<u8>| file.truncate(20),
            |file: &mut Vec<u8>| file.truncate(file.len() / 2),
            |file: &mut Vec<u8>| *file.last_mut().unwrap() ^= 1,
            |file: &mut Vec<u8>| {
                let middle = file.len() / 2;
                file[middle] ^= 1;
            },
        ] {
            cache.put(NAME, &limits, &code).unwrap();
            assert!(cache.get(&engine, NAME, &limits).is_some());
            let mut file = fs::read(&path).unwrap();
            damage(&mut file);
            fs::write(&path, file).unwrap();
            assert!(cache.get(&engine, NAME, &limits).is_none());
        }
        assert_eq!(files(&cache), 1);
    }

    #[test]
    fn the_longest_unused_goes_first() {
        let (cache, engine, limits, code, _folder) = cache();
        cache.put(NAME, &limits, &code).unwrap();
        cache.put("unused", &limits, &code).unwrap();
        let set_age = |name: &str, hours: u64| {
            let file = File::open(cache.folder.join(super::name(name, &limits))).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_hours(hours))
                .unwrap();
        };
        set_age(NAME, 9);
        set_age("unused", 8);
        assert!(cache.get(&engine, NAME, &limits).is_some());
        for number in 0..KEPT_MAX - 2 {
            fs::write(cache.folder.join(number.to_string()), []).unwrap();
        }
        cache.put("one more", &limits, &code).unwrap();
        assert_eq!(files(&cache), KEPT_MAX);
        assert!(cache.get(&engine, NAME, &limits).is_some());
        assert!(cache.get(&engine, "unused", &limits).is_none());
    }

    #[test]
    fn many_bytes_are_not_kept_either() {
        let (cache, engine, limits, code, _folder) = cache();
        cache.put(NAME, &limits, &code).unwrap();
        let large = File::create(cache.folder.join("large")).unwrap();
        large.set_len(BYTES_MAX).unwrap();
        let long_ago = SystemTime::now() - Duration::from_hours(9);
        large.set_modified(long_ago).unwrap();
        cache.put("one more", &limits, &code).unwrap();
        assert_eq!(files(&cache), 2);
        assert!(cache.get(&engine, NAME, &limits).is_some());
    }

    #[test]
    fn what_is_not_signed_for_its_name_is_not_run() {
        let (cache, engine, limits, code, folder) = cache();
        let (path, other) = (
            cache.folder.join(name(NAME, &limits)),
            cache.folder.join(name("another", &limits)),
        );
        let is_found = |cache: &Cache| cache.get(&engine, NAME, &limits).is_some();
        cache.put(NAME, &limits, &code).unwrap();
        assert!(is_found(&cache) && is_found(&opened(&folder)), "by each process");
        let signed = fs::read(&path).unwrap();

        // An earlier version signed with a plain digest, which anybody can compute.
        let unsigned = [&code[..], &Sha256::digest(&code)[..]].concat();
        // A program of another user has signed this code.
        let elsewhere = tempfile::tempdir().unwrap();
        let foreign = opened(&elsewhere);
        foreign.put(NAME, &limits, &code).unwrap();
        let foreign = fs::read(foreign.folder.join(name(NAME, &limits))).unwrap();
        for planted in [unsigned, foreign, code.clone(), Vec::new(), vec![0; 31]] {
            fs::write(&path, planted).unwrap();
            assert!(!is_found(&cache));
        }
        assert!(cache.told.load(Ordering::Relaxed));
        // This code has a valid signature, but for another component.
        fs::write(&other, &signed).unwrap();
        assert!(cache.get(&engine, "another", &limits).is_none());
        fs::write(&path, &signed).unwrap();
        assert!(is_found(&cache));

        // Other users could change these files after the check, directly or through a link.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(!is_found(&cache));
        let target = folder.path().join("target");
        fs::rename(&path, &target).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(!is_found(&cache));
        cache.put(NAME, &limits, &code).unwrap();
        assert!(is_found(&cache), "it is replaced");
    }

    #[test]
    fn only_folders_and_secrets_of_this_user_alone_are_used() {
        let (cache, _, _, _, folder) = cache();
        let open = || Cache::open(&folder.path().join("cache"), &folder.path().join("state"));
        let refused = |why: &str| {
            let error = open().err().expect(why).report();
            assert!(error.contains(why), "{error}");
        };
        let set_mode =
            |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(fs::metadata(&cache.folder).unwrap().mode() & 0o777, 0o700);
        for shared in [
            folder.path().join("cache"),
            cache.folder,
            folder.path().join("state"),
        ] {
            set_mode(&shared, 0o770);
            refused("others can write");
            set_mode(&shared, 0o700);
        }
        let secret = folder.path().join("state").join(SECRET_FILE);
        assert_eq!(fs::metadata(&secret).unwrap().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o620, 0o602] {
            set_mode(&secret, mode);
            refused("others can use it");
        }
        set_mode(&secret, 0o600);
        open().unwrap();
        let bytes = fs::read(&secret).unwrap();
        fs::write(&secret, &bytes[..31]).unwrap();
        refused("32 bytes");
        let moved = folder.path().join("moved");
        fs::write(&secret, bytes).unwrap();
        fs::rename(&secret, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, &secret).unwrap();
        refused("symbolic link");
        fs::remove_file(&secret).unwrap();
        let (state, real) = (folder.path().join("state"), folder.path().join("real"));
        fs::rename(&state, &real).unwrap();
        std::os::unix::fs::symlink(&real, &state).unwrap();
        refused("symbolic link");
    }

    #[test]
    fn processes_that_start_at_once_have_one_secret() {
        let folder = tempfile::tempdir().unwrap();
        let secrets: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| secret(folder.path()).unwrap()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left over"
        );
    }
}
