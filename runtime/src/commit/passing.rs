//! Passes outputs on instead of publishing them, for example to stdout. An output is staged in a folder that the caller
//! removes later. No byte is passed on before the output is complete, and no receipt is stored.

use std::fs;
use std::path::Path;

use parking_lot::Mutex;

use super::publish::{Artifact, Committed, Published, artifact, place};
use super::request_files::names;
use super::staging::Sealed;
use super::{Destination, FENCES, RECEIPTS, REJECTS, STAGING, disk};
use crate::digest::SHORT_DIGEST_CHARS;
use crate::error::{Code, Error, Result, Stage};
use crate::format::csv::Dialect;
use crate::format::{Format, clip};
use crate::location::file_uri;
use crate::names::check_id;
use crate::receipt::Receipt;

/// The format of an output and the bytes before its first row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputHead {
    /// The format.
    pub format: Format,
    /// The dialect, if the format is CSV.
    pub dialect: Option<Dialect>,
    /// The bytes of the header. Empty for JSONL.
    pub bytes: Vec<u8>,
}

/// The state that is shared by all outputs that one destination passes on.
#[derive(Debug)]
pub(super) struct PassedOn {
    head: Mutex<Option<OutputHead>>,
    keeps_rejects: bool,
}

impl PassedOn {
    /// Returns whether rejects are published, although the output is not.
    pub(super) fn keeps_rejects(&self) -> bool {
        self.keeps_rejects
    }

    /// Creates the folders within the output's folder. The folders are not synced, because they need not survive a
    /// power cut.
    pub(super) fn create_folders(&self, output: &Path) -> Result<()> {
        let fences = Path::new(STAGING).join(FENCES);
        let rejects = (!self.keeps_rejects).then(|| Path::new(REJECTS).join(STAGING));
        for folder in [Some(fences), Some(RECEIPTS.into()), rejects]
            .into_iter()
            .flatten()
        {
            let path = output.join(folder);
            fs::create_dir_all(&path)
                .map_err(|error| disk::failed(error, "the folder cannot be created", &path))?;
        }
        Ok(())
    }
}

impl Destination {
    /// Returns a destination that leaves outputs in `folder`. The caller passes them on one after the other. Rejects
    /// are published if `rejects` names a folder for them.
    ///
    /// # Errors
    /// Fails as [`Destination::new`] does.
    pub fn for_passing_on(folder: &Path, rejects: Option<&str>) -> Result<Self> {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let mut destination = Self::new(&file_uri(&folder), rejects)?;
        destination.passing = Some(PassedOn {
            head: Mutex::default(),
            keeps_rejects: rejects.is_some(),
        });
        Ok(destination)
    }

    /// Returns whether this destination passes outputs on instead of publishing them.
    pub fn passes_on(&self) -> bool {
        self.passing.is_some()
    }

    /// Returns whether an output begins with its header. If several outputs are passed on, only the first output with
    /// columns begins with its header.
    ///
    /// # Errors
    /// Fails permanently, with stage encode, if the output cannot be appended to the earlier outputs because its
    /// format, dialect or header differs.
    pub fn takes_head(&self, head: &OutputHead, has_columns: bool) -> Result<bool> {
        let Some(passing) = &self.passing else {
            return Ok(true);
        };
        if !has_columns {
            return Ok(false);
        }
        let mut first = passing.head.lock();
        let first = match &mut *first {
            Some(first) if first == head => return Ok(false),
            Some(first) => first,
            none => {
                *none = Some(head.clone());
                return Ok(true);
            }
        };
        let what = format!(
            "its output is {}, and that of the inputs before is {}: one stdout takes one table, so run it by itself or write to a \
             folder",
            head.described(),
            first.described()
        );
        Err(Error::permanent(Stage::Encode, Code::OutputColumns, what))
    }
}

impl OutputHead {
    fn described(&self) -> String {
        let Self {
            format,
            dialect,
            bytes,
        } = self;
        let format = format.name();
        match dialect {
            None => format.to_owned(),
            Some(Dialect { delimiter, quote, .. }) => format!(
                "{format} with the header \"{}\", the delimiter {:?} and the quote {:?}",
                clip(bytes.trim_ascii_end()),
                char::from(*delimiter),
                char::from(*quote),
            ),
        }
    }
}

impl Sealed {
    /// Leaves the output in the staging folder, and returns a receipt that names the output there. Publishes the
    /// rejects if the destination has a folder for them. The receipt is not stored.
    ///
    /// # Errors
    /// Fails with stage commit if the rejects cannot be published.
    pub fn pass_on(
        mut self,
        id: &str,
        destination: &Destination,
        make_receipt: impl FnOnce(&Published) -> Receipt,
    ) -> Result<Committed> {
        let rejects = self.publish_rejects(id, destination)?;
        let output = artifact(self.staged_output.path(), &self.output);
        self.staged_output.keep();
        Ok(Committed::New(make_receipt(&Published { output, rejects })))
    }

    /// Publishes the rejects of an output that is passed on or was refused, if the destination has a folder for
    /// rejects.
    ///
    /// # Errors
    /// Fails with stage commit if the rejects cannot be published.
    pub fn publish_rejects(&mut self, id: &str, destination: &Destination) -> Result<Option<Artifact>> {
        check_id(id)?;
        let stay = destination.passing.as_ref().is_some_and(PassedOn::keeps_rejects);
        let (Some(digest), Some(staged), true) = (&self.rejects, &mut self.staged_rejects, stay) else {
            return Ok(None);
        };
        let named = names(id, &digest.sha256[..SHORT_DIGEST_CHARS], "rejects.csv");
        let rejects = place(staged, digest, &self.folders.rejects, &named, &mut Vec::new())?;
        self.folders.rejects.sync()?;
        Ok(Some(rejects))
    }
}
