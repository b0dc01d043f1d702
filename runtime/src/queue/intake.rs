//! Checks the documents of producers in other languages. Takes a document, and returns a request or the reason why the
//! document is invalid. Both backends use this module, so that they apply the same rules.

use crate::error::Code;
use crate::request::NewRequest;

/// The maximum number of documents that one step imports, so that a long intake list does not delay claims.
pub(super) const IMPORT_MAX: usize = 100;

/// The maximum length of a document in bytes. Valid documents are much shorter.
pub(super) const DOCUMENT_BYTES_MAX: usize = 64 * 1_024;

/// The number of bytes of a document that are kept if the document is too long. This beginning is enough to recognize
/// the document's producer.
pub(super) const CLIP_BYTES: usize = 1_024;

/// The number of bytes after which a step reads no more documents.
pub(super) const STEP_BYTES: usize = 1_024 * 1_024;

/// The maximum number of import steps that one claim takes while it finds nothing to claim.
pub(super) const IMPORT_STEPS_MAX: usize = 50;

/// The reason why a document is not a valid request.
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

    /// Returns the refusal for a document whose id belongs to another request.
    pub(super) fn conflict() -> Self {
        Self {
            code: Code::RequestConflict,
            reason: "the id belongs to a request with another content".to_owned(),
        }
    }
}

/// A document that a step has read from an intake list.
pub(super) struct IntakeDocument {
    /// The document's whole length in bytes.
    pub(super) length: u64,
    /// The bytes of the document. If the document is longer than [`DOCUMENT_BYTES_MAX`], only its first [`CLIP_BYTES`]
    /// bytes.
    pub(super) bytes: Vec<u8>,
}

/// Checks a document of an intake list. Returns the request in the document, or the reason why the document is invalid.
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
