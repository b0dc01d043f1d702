//! Intake: documents of foreign producers go in; a request, or the reason why there is none, comes out. Both
//! backends check documents here, so that they agree on what is valid.

use crate::request::NewRequest;

/// How many documents become requests in one step, so that a long intake list does not hold up claims.
pub(super) const IMPORT_MAX: usize = 100;

/// The longest document; no valid one comes near it.
pub(super) const DOCUMENT_BYTES_MAX: usize = 64 * 1_024;

/// How much of a longer one is kept, to tell whose it is.
pub(super) const CLIP_BYTES: usize = 1_024;

/// Once a step has met as many bytes of documents, it reads no further.
pub(super) const STEP_BYTES: usize = 1_024 * 1_024;

/// How many steps one claim takes at most while nothing else is claimable.
pub(super) const IMPORT_STEPS_MAX: usize = 50;

/// Why a document is invalid whose id belongs to another request.
pub(super) const CONFLICT: &str = "the id belongs to a request with another content";

/// A document as a step reads it.
pub(super) struct IntakeDocument {
    /// Its length, whatever was read of it.
    pub(super) length: u64,
    /// All of it; the first [`CLIP_BYTES`] if it is longer than [`DOCUMENT_BYTES_MAX`].
    pub(super) bytes: Vec<u8>,
}

/// Reads a document from an intake list.
pub(super) fn examine(document: &IntakeDocument) -> Result<NewRequest, String> {
    if document.length > DOCUMENT_BYTES_MAX as u64 {
        return Err(format!(
            "the document has {} bytes, more than {DOCUMENT_BYTES_MAX}; only its beginning is kept",
            document.length
        ));
    }
    let text = crate::document::text(&document.bytes).map_err(|why| format!("the document {why}"))?;
    NewRequest::parse(text).map_err(|e| e.report())
}
