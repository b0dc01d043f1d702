//! Intake: documents of foreign producers go in; a request, or the reason why there is none, comes out. Both
//! backends check documents here, so that they agree on what is valid.

use crate::request::NewRequest;

/// How many documents become requests in one step, so that a long intake list does not hold up claims.
pub(super) const IMPORT_MAX: usize = 100;

/// How many steps one claim takes at most while nothing else is claimable.
pub(super) const IMPORT_STEPS_MAX: usize = 50;

/// Why a document is invalid whose id belongs to another request.
pub(super) const CONFLICT: &str = "the id belongs to a request with another content";

/// Reads a document from an intake list.
pub(super) fn examine(document: &[u8]) -> Result<NewRequest, String> {
    let text = std::str::from_utf8(document).map_err(|e| format!("the document is not UTF-8: {e}"))?;
    NewRequest::parse(text).map_err(|e| e.report())
}
