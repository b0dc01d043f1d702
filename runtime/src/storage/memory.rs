//! Stores outputs for a run whose files nobody is to find later: the bytes of output and rejects go in, and they are
//! either dropped or kept in memory for the caller. Nothing is written to a disk, and no receipt is stored.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::staged::{ByteSink, Staged};
use super::{
    Artifact, Attempt, CheckpointFault, Concluded, EndedRequest, FileRole, MakeProgress, MakeReceipt,
    MakeReport, Owner, Published, Quarantined, Recorded, Resumed, SealedAttempt, StagedPart, StagedWriter,
    Storage, StoredCheckpoint, StoredReader,
};
use crate::digest::Digest;
use crate::error::{Code, Error, Result, Stage};
use crate::format::Format;
use crate::memory::MemoryShare;
use crate::receipt::Receipt;
use crate::stop::Stop;

/// The URI of this storage, and of its files.
const URI: &str = "memory:";

/// A storage without files.
#[derive(Debug, Clone)]
pub struct MemoryStorage {
    kept: Option<Arc<Mutex<KeptFiles>>>,
}

/// The files of the last attempt that was published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptFiles {
    /// The bytes of the output.
    pub output: Vec<u8>,
    /// The bytes of the rejects. Empty if nothing was rejected.
    pub rejects: Vec<u8>,
}

impl MemoryStorage {
    /// Returns a storage that counts and digests bytes, and drops them.
    pub fn dropping() -> Self {
        Self { kept: None }
    }

    /// Returns a storage that puts the bytes of a published attempt into `kept`. The limit on the size of an output
    /// (`--limit output-bytes`) bounds the memory.
    pub fn keeping(kept: Arc<Mutex<KeptFiles>>) -> Self {
        Self { kept: Some(kept) }
    }
}

impl Storage for MemoryStorage {
    fn identity(&self) -> Result<String> {
        Ok(URI.to_owned())
    }

    fn check_identity(&self) -> Result<()> {
        Ok(())
    }

    fn uri(&self) -> String {
        URI.to_owned()
    }

    fn check_queue(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn prepare(&self, _: &str, _: Option<&Stop>) -> Result<()> {
        Ok(())
    }

    fn begin(&self, _: Owner, _: Format) -> Result<Box<dyn Attempt>> {
        Ok(Box::new(MemoryAttempt {
            output: self.file(),
            rejects: None,
            storage: self.clone(),
        }))
    }

    fn resume(&self, _: Owner, _: Format, _: &StagedPart, _: &Stop, _: &MemoryShare) -> Result<Resumed> {
        Ok(Resumed::Refused("nothing is stored here".to_owned()))
    }

    fn find_checkpoint(&self, _: &str, _: &str) -> Result<Option<StoredCheckpoint>, CheckpointFault> {
        Ok(None)
    }

    fn forget_checkpoint(&self, _: &str, _: &str) {}

    fn committed(&self, _: &str, _: &str, _: &str) -> Result<Option<Receipt>> {
        Ok(None)
    }

    fn receipt(&self, _: &str, _: &str) -> Result<Option<Receipt>> {
        Ok(None)
    }

    fn has_bytes(&self, _: &str, _: FileRole, _: &str, _: &Digest) -> Result<Option<bool>> {
        Ok(None)
    }

    fn open_rejects(&self, _: &str, _: &str, _: &Stop) -> Result<Option<StoredReader>> {
        Ok(None)
    }

    fn conclude(&self, _: EndedRequest<'_>) -> Result<Concluded> {
        Ok(Concluded::Ended)
    }

    fn reap(&self, _: Duration, _: &[(&str, &str)]) -> Result<usize> {
        Ok(0)
    }
}

impl MemoryStorage {
    fn file(&self) -> Staged<MemoryFile> {
        Staged::new(MemoryFile {
            bytes: Vec::new(),
            is_kept: self.kept.is_some(),
        })
    }
}

/// The bytes of a file, if they are kept.
#[derive(Debug)]
struct MemoryFile {
    bytes: Vec<u8>,
    is_kept: bool,
}

impl ByteSink for MemoryFile {
    fn write(&mut self, bytes: &[u8], _: u64) -> Result<()> {
        if self.is_kept {
            self.bytes.extend_from_slice(bytes);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryAttempt {
    output: Staged<MemoryFile>,
    rejects: Option<Staged<MemoryFile>>,
    storage: MemoryStorage,
}

impl Attempt for MemoryAttempt {
    fn output(&mut self) -> &mut dyn StagedWriter {
        &mut self.output
    }

    fn rejects(&mut self) -> Result<&mut dyn StagedWriter> {
        let storage = &self.storage;
        Ok(self.rejects.get_or_insert_with(|| storage.file()))
    }

    fn read_output(&mut self, _: u64) -> Result<Box<dyn Read + Send>> {
        // Only an attempt that resumes reads its output, and no attempt here resumes.
        let error = io::Error::from(io::ErrorKind::Unsupported);
        Err(Error::permanent(Stage::Commit, Code::HostFailure, "the output is not stored").because(error))
    }

    fn checkpoint(&mut self, _: MakeProgress<'_>) -> Result<()> {
        Ok(())
    }

    fn has_checkpoint(&mut self) -> bool {
        false
    }

    fn keep(self: Box<Self>) {}

    fn seal(self: Box<Self>) -> Result<Box<dyn SealedAttempt>> {
        let (output, output_file) = self.output.finish()?;
        let rejects = self.rejects.map(Staged::finish).transpose()?;
        let (rejects, rejects_file) = rejects.filter(|(digest, _)| digest.bytes > 0).unzip();
        Ok(Box::new(MemorySealed {
            output,
            rejects,
            files: KeptFiles {
                output: output_file.bytes,
                rejects: rejects_file.map(|file| file.bytes).unwrap_or_default(),
            },
            storage: self.storage,
        }))
    }
}

#[derive(Debug)]
struct MemorySealed {
    output: Digest,
    rejects: Option<Digest>,
    files: KeptFiles,
    storage: MemoryStorage,
}

impl SealedAttempt for MemorySealed {
    fn digest(&self, role: FileRole) -> Option<&Digest> {
        match role {
            FileRole::Output => Some(&self.output),
            FileRole::Rejects => self.rejects.as_ref(),
        }
    }

    fn publish(&mut self, _: &str, make_receipt: MakeReceipt<'_>) -> Result<Recorded> {
        if let Some(kept) = &self.storage.kept {
            *kept.lock() = std::mem::take(&mut self.files);
        }
        let published = Published {
            output: artifact(&self.output),
            rejects: self.rejects.as_ref().map(artifact),
        };
        Ok(Recorded::New(Box::new(make_receipt(&published))))
    }

    fn receipt(&self, _: &str) -> Result<Option<Receipt>> {
        Ok(None)
    }

    fn has_bytes(&self, _: FileRole, _: &str, _: &Digest) -> Result<Option<bool>> {
        Ok(None)
    }

    fn quarantine(&mut self, _: &str, _: MakeReport<'_>) -> Result<Quarantined> {
        Ok(Quarantined::Rejects(None))
    }

    fn keep(self: Box<Self>) {}
}

fn artifact(digest: &Digest) -> Artifact {
    Artifact {
        uri: URI.to_owned(),
        bytes: digest.bytes,
        sha256: digest.sha256.clone(),
    }
}
