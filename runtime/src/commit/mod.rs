//! Output and rejects go in as bytes; files under final names and a receipt come out, whole or not at all.
//!
//! Bytes are staged under a name that only this attempt uses, sealed (flushed, digested, synced) and
//! published by linking them to their final names, which never replaces a file that is there. The receipt
//! comes last and decides: of all attempts at a request one creates it, and what it names is never touched
//! again.
//!
//! ```text
//! <output>/[<queue>/]<id>.<format>            output
//! <output>/[<queue>/]receipts/<id>.json       receipt
//! <rejects>/[<queue>/]<id>.rejects.csv        rejects, if any; <rejects> is <output>/rejects by default
//! <output>/.staging/<random>/                 of one attempt, also below <rejects>
//! ```
//! If a file of the output's or the rejects' name is there with other bytes (of an attempt that died before
//! its receipt), the name gets the fence of the claim: `<id>.<fence>.<format>`.
//!
//! All of it blocks, so it must not be called within an async task.

mod disk;
mod publish;
mod rejects;
mod staging;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

pub use self::publish::{Artifact, Committed, Published};
pub use self::rejects::RejectWriter;
pub use self::staging::{Sealed, Staged, Staging};
use crate::error::{Error, Result, Stage};
use crate::location::{Location, redact};
use crate::request::check_queue_name;

const RECEIPTS: &str = "receipts";
const REJECTS: &str = "rejects";
const STAGING: &str = ".staging";

/// Where output, rejects and receipts go.
#[derive(Debug, Clone)]
pub struct Destination {
    output: PathBuf,
    rejects: PathBuf,
}

/// The folders of one queue, or of requests without one. They exist and their paths are absolute.
#[derive(Debug)]
struct Folders {
    output: PathBuf,
    receipts: PathBuf,
    rejects: PathBuf,
}

impl Destination {
    /// A destination in the local file system: paths or `file:` URIs of folders, which need not exist.
    /// Rejects go to a folder `rejects` within the output by default.
    ///
    /// # Errors
    /// Permanent, of stage config, if a URI is malformed or of another scheme.
    pub fn new(output: &str, rejects: Option<&str>) -> Result<Self> {
        let output = local_folder("--output", output)?;
        let rejects = match rejects {
            Some(rejects) => local_folder("--rejects", rejects)?,
            None => output.join(REJECTS),
        };
        Ok(Self { output, rejects })
    }

    /// Checks that a queue can have a folder of its own here. [`Destination::stage`] does so too; a worker
    /// that asks at its start need not claim requests that must fail.
    ///
    /// # Errors
    /// Permanent, of stage config, if the queue's name is invalid or taken by a folder of this module's.
    pub fn check_queue(&self, queue: &str) -> Result<()> {
        check_queue_name(queue)?;
        let (output, rejects) = (self.output.join(queue), self.rejects.join(queue));
        let receipts = self.output.join(RECEIPTS);
        if output == receipts || rejects == receipts || output == self.rejects || rejects == self.output {
            let what = format!("queue {queue:?}: the folder of that name is for output, receipts or rejects");
            return Err(Error::permanent(Stage::Config, what));
        }
        Ok(())
    }

    /// Begins an attempt's output. Creates the folders, so that a destination that cannot be written to shows
    /// before any work is done.
    ///
    /// # Errors
    /// Of stage commit, with the path: permanent if a folder cannot be created or written to, transient if
    /// there is no space. Of stage config if the queue's name is invalid or taken by a folder of this
    /// module's.
    pub fn stage(&self, queue: Option<&str>) -> Result<Staging> {
        let mut folders = Folders {
            output: self.output.clone(),
            receipts: PathBuf::new(),
            rejects: self.rejects.clone(),
        };
        if let Some(queue) = queue {
            self.check_queue(queue)?;
            folders.output.push(queue);
            folders.rejects.push(queue);
        }
        folders.receipts = folders.output.join(RECEIPTS);
        // Receipts name files by their real paths: a link that somebody turns later does not matter to them.
        for folder in [&mut folders.output, &mut folders.receipts, &mut folders.rejects] {
            *folder = disk::create_folders(folder)?;
        }
        Staging::new(folders, &self.output, &self.rejects)
    }

    /// Removes what attempts left behind that did not end: staging folders in which nothing was written for
    /// so long. That must be longer than an attempt may take. Returns how many were removed; skips what
    /// cannot be.
    ///
    /// # Errors
    /// If the staging folder is there and cannot be read.
    pub fn reap(&self, older_than: Duration) -> Result<usize> {
        let mut removed = 0;
        for folder in [self.output.join(STAGING), self.rejects.join(STAGING)] {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(disk::failed(error, "cannot be read", &folder)),
            };
            for attempt in entries.flatten() {
                let idle = last_write(&attempt.path()).and_then(|written| written.elapsed().ok());
                if idle.is_some_and(|idle| idle > older_than) && fs::remove_dir_all(attempt.path()).is_ok() {
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

fn local_folder(option: &str, uri: &str) -> Result<PathBuf> {
    let refused = |why: &str| Error::permanent(Stage::Config, format!("{option} {}: {why}", redact(uri)));
    match Location::parse(uri, Stage::Config)? {
        Location::File(path) => {
            std::path::absolute(path).map_err(|error| refused("not a path").because(error))
        }
        // Object stores belong here.
        Location::Http(_) | Location::Other(_) => Err(refused(
            "is not supported, only folders of the local file system, as a path or a file: URI",
        )),
    }
}

/// When something was last written to a folder or to a file in it.
fn last_write(folder: &Path) -> Option<SystemTime> {
    let mut last = fs::symlink_metadata(folder).ok()?.modified().ok()?;
    for entry in fs::read_dir(folder).ok()?.flatten() {
        last = last.max(entry.metadata().ok()?.modified().ok()?);
    }
    Some(last)
}
