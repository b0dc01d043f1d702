//! Checks the documents of foreign producers: a document goes in; a request, or the reason why it is invalid, comes
//! out. Both backends check documents here, so that they agree on the rules.

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

/// The reason against a document whose id belongs to another request.
pub(super) const CONFLICT: &str = "the id belongs to a request with another content";

/// A document as a step has read it.
pub(super) struct IntakeDocument {
    /// The document's whole length in bytes.
    pub(super) length: u64,
    /// All bytes; only the first [`CLIP_BYTES`] if it is longer than [`DOCUMENT_BYTES_MAX`].
    pub(super) bytes: Vec<u8>,
}

/// Checks a document of an intake list. Returns its request, or the reason why it is invalid.
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
