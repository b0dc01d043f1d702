//! Compiled components, kept in a folder that nobody else can write to: what is in there is run.

use std::fs::{self, DirBuilder, DirEntry, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::config::Limits;
use crate::request::hex;

/// How many are kept, and how many bytes. One has some hundred kilobytes, if its author did not mean harm.
const KEPT_MAX: usize = 256;
const BYTES_MAX: u64 = 512 << 20;

/// What a file ends with: the SHA-256 of what is before it. A processor would run a byte that a disk has turned.
const CHECKSUM_BYTES: usize = 32;

/// How code is compiled, as far as wasmtime would also run code that was compiled otherwise: see [`super::Engine`].
const CODE_SETTINGS: &str = "canonical NaNs, deterministic relaxed SIMD";

/// One folder, which processes share. What else is in there is removed when it gets old.
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// In a folder of its own below this one.
    pub(super) fn new(folder: &Path) -> Self {
        let folder = folder.join("code");
        Self { folder }
    }

    /// What this version compiled of a component within these limits, if it is there and can be used. `sha256` names the
    /// component.
    pub(super) fn get(&self, engine: &Engine, sha256: &str, limits: &Limits) -> Option<Component> {
        let path = self.path(sha256, limits);
        let file = fs::read(&path).ok()?;
        let (code, checksum) = file.split_last_chunk::<CHECKSUM_BYTES>()?;
        if Sha256::digest(code)[..] != *checksum {
            return None;
        }
        let compiled = take_up(engine, code).ok()?;
        // The longest unused goes first. If that cannot be noted, it is compiled once more one day.
        let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(compiled)
    }

    /// Keeps what was compiled, unless there is no room for anything else then.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub(super) fn put(&self, sha256: &str, limits: &Limits, code: &[u8]) -> io::Result<()> {
        if code.len() as u64 > BYTES_MAX / 2 {
            return Ok(());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)?;
        let path = self.path(sha256, limits);
        let temporary = path.with_extension(uuid::Uuid::new_v4().simple().to_string());
        let written = write(&temporary, code).and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written.and_then(|()| self.prune())
    }

    fn path(&self, sha256: &str, limits: &Limits) -> PathBuf {
        let mut digest = Sha256::new_with_prefix(env!("CARGO_PKG_VERSION"));
        digest.update(CODE_SETTINGS);
        digest.update(limits.to_string());
        digest.update(sha256);
        self.folder.join(hex(&digest.finalize()))
    }

    fn prune(&self) -> io::Result<()> {
        let entries: Vec<DirEntry> = fs::read_dir(&self.folder)?.collect::<io::Result<_>>()?;
        let mut files: Vec<_> = entries
            .iter()
            // Another process may have removed it.
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

/// Makes a component of what a process of this program has compiled.
///
/// # Errors
/// If it was compiled by another version, or for another processor.
pub(super) fn take_up(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    #[allow(unsafe_code, reason = "it is run as it is")]
    // SAFETY: this program has written it, where nobody else can.
    unsafe {
        Component::deserialize(engine, code)
    }
}

/// After a power cut the file must not be there by half.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.write_all(&Sha256::digest(bytes))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The smallest one.
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    /// Stands for its digest.
    const NAME: &str = "component";

    /// An empty cache, and what can be put into it.
    fn cache() -> (Cache, Engine, Limits, Vec<u8>, tempfile::TempDir) {
        let (folder, engine) = (tempfile::tempdir().unwrap(), Engine::default());
        let code = Component::new(&engine, COMPONENT).unwrap().serialize().unwrap();
        (Cache::new(folder.path()), engine, Limits::default(), code, folder)
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
        let path = cache.path(NAME, &limits);
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
            let file = File::open(cache.path(name, &limits)).unwrap();
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
}
