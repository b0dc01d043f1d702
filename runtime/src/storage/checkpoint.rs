//! Reads and writes the text of a checkpoint: what a backend knows about the attempt's bytes, and the attempt's progress.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::local::LocalPart;
use super::object::ObjectPart;

/// The bytes of an attempt up to a checkpoint, as its backend finds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StagedPart {
    /// Staged files on the local disk.
    Local(LocalPart),
    /// Uploads to an object store.
    Object(Box<ObjectPart>),
}

/// A checkpoint as it is stored. Its text has two lines, which describe the staged bytes and the progress, and a third
/// line with the SHA-256 of both.
pub struct StoredCheckpoint {
    /// The staged bytes.
    pub staged: StagedPart,
    /// The progress, as the attempt that wrote the checkpoint gave it.
    pub progress: String,
}

/// The first line of a checkpoint's text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StagedLine {
    staged: StagedPart,
}

impl StoredCheckpoint {
    /// Returns the text.
    pub(super) fn into_text(self) -> String {
        let Self { staged, progress } = self;
        let staged = serde_json::to_string(&StagedLine { staged }).expect("a staged part serializes");
        let text = format!("{staged}\n{progress}");
        let digest = hex::encode(Sha256::digest(&text));
        format!("{text}\n{digest}\n")
    }

    /// Reads a text.
    ///
    /// # Errors
    /// Returns the reason why it is no valid checkpoint.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let lines = text.strip_suffix('\n').and_then(|text| text.rsplit_once('\n'));
        let text = match lines {
            Some((text, digest)) if hex::encode(Sha256::digest(text)) == digest => text,
            _ => return Err("the checkpoint is damaged".to_owned()),
        };
        let parsed = text.split_once('\n').and_then(|(first, progress)| {
            let StagedLine { staged } = strict_json::from_str(first).ok()?;
            let progress = progress.to_owned();
            let is_sound = match &staged {
                StagedPart::Local(part) => part.is_sound(),
                // The backend checks it together with the bytes behind the last parts.
                StagedPart::Object(_) => true,
            };
            is_sound.then_some(Self { staged, progress })
        });
        parsed.ok_or_else(|| "the checkpoint is not one of this version".to_owned())
    }
}
