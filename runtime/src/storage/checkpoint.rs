//! Reads and writes the text of a checkpoint. The text describes the bytes of an attempt, in the form that the
//! backend uses, and the progress of the attempt.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::local::LocalPart;
use super::object::ObjectPart;

/// The part of an attempt's bytes that a checkpoint covers, in the form that the attempt's backend uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StagedPart {
    /// Staged files on the local disk.
    Local(LocalPart),
    /// Uploads to an object store.
    Object(Box<ObjectPart>),
}

/// The content of a checkpoint. Its text consists of a line with the staged part as JSON, the progress, and a line with
/// the SHA-256 of both.
pub struct StoredCheckpoint {
    /// The part of the attempt's bytes that the checkpoint covers.
    pub staged: StagedPart,
    /// The progress, in the form that the attempt passed to [`Attempt::checkpoint`](super::Attempt::checkpoint).
    pub progress: String,
}

/// The first line of a checkpoint's text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StagedLine {
    staged: StagedPart,
}

impl StoredCheckpoint {
    /// Returns the text of a checkpoint.
    pub(super) fn into_text(self) -> String {
        let Self { staged, progress } = self;
        let staged = serde_json::to_string(&StagedLine { staged }).expect("a staged part serializes");
        let text = format!("{staged}\n{progress}");
        let digest = HEXLOWER.encode(&Sha256::digest(&text));
        format!("{text}\n{digest}\n")
    }

    /// Parses the text of a checkpoint.
    ///
    /// # Errors
    /// Returns the reason why the text is not a valid checkpoint.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let lines = text.strip_suffix('\n').and_then(|text| text.rsplit_once('\n'));
        let text = match lines {
            Some((text, digest)) if HEXLOWER.encode(&Sha256::digest(text)) == digest => text,
            _ => return Err("the checkpoint is damaged".to_owned()),
        };
        let parsed = text.split_once('\n').and_then(|(first, progress)| {
            let StagedLine { staged } = strict_json::from_str(first).ok()?;
            let progress = progress.to_owned();
            let is_sound = match &staged {
                StagedPart::Local(part) => part.is_sound(),
                // `ObjectStorage::resume` checks this part together with the bytes after the last whole parts.
                StagedPart::Object(_) => true,
            };
            is_sound.then_some(Self { staged, progress })
        });
        parsed.ok_or_else(|| "the checkpoint is not one of this version".to_owned())
    }
}
