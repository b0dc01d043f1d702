//! Checks the documents of foreign producers: a document goes in; a request, or the reason why it is invalid, comes
//! out. Both backends check documents here, so that they agree on the rules.

use crate::error::Code;
use crate::request::NewRequest;

/// The most documents that one step imports, so that a long intake list does not hold up claims.
pub(super) const IMPORT_MAX: usize = 100;

/// The longest document; no valid one comes near it.
pub(super) const DOCUMENT_BYTES_MAX: usize = 64 * 1_024;

/// The number of bytes kept of a longer document, enough to recognize its producer.
pub(super) const CLIP_BYTES: usize = 1_024;

/// The number of bytes after which a step reads no further documents.
pub(super) const STEP_BYTES: usize = 1_024 * 1_024;

/// The most import steps of one claim while nothing else is claimable.
pub(super) const IMPORT_STEPS_MAX: usize = 50;

/// Why a document is no request.
pub(super) struct Refusal {
    /// The code of the reason: see [`Code`].
    pub(super) code: Code,
    /// The reason, for people.
    pub(super) reason: String,
}

impl Refusal {
    fn invalid(reason: String) -> Self {
        Self {
            code: Code::RequestInvalid,
            reason,
        }
    }

    /// Returns the refusal of a document whose id belongs to another request.
    pub(super) fn conflict() -> Self {
        Self {
            code: Code::RequestConflict,
            reason: "the id belongs to a request with another content".to_owned(),
        }
    }
}

/// A document as a step has read it.
pub(super) struct IntakeDocument {
    /// The document's whole length in bytes.
    pub(super) length: u64,
    /// All bytes; only the first [`CLIP_BYTES`] if it is longer than [`DOCUMENT_BYTES_MAX`].
    pub(super) bytes: Vec<u8>,
}

/// Checks a document of an intake list. Returns its request, or the reason why it is invalid.
pub(super) fn examine(document: &IntakeDocument) -> Result<NewRequest, Refusal> {
    if document.length > DOCUMENT_BYTES_MAX as u64 {
        return Err(Refusal::invalid(format!(
            "the document has {} bytes, more than {DOCUMENT_BYTES_MAX}; only its beginning is kept",
            document.length
        )));
    }
    let text = crate::document::text(&document.bytes)
        .map_err(|why| Refusal::invalid(format!("the document {why}")))?;
    NewRequest::parse(text).map_err(|error| Refusal {
        code: error.code(),
        reason: error.report(),
    })
}
