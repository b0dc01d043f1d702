//! Imports documents from the intake table: documents of producers go in; requests come out, and documents that are not
//! valid requests are set aside.

use rusqlite::{Connection, named_params, params};

use super::producer::create;
use crate::queue::Submitted;
use crate::queue::intake::{
    self, CLIP_BYTES, DOCUMENT_BYTES_MAX, IMPORT_MAX, IntakeDocument, Refusal, STEP_BYTES,
};

/// Turns the first documents of the intake table into requests, or sets them aside as invalid. Returns whether there
/// may be more documents.
pub(super) fn import(db: &Connection, queue: &str, now: i64) -> rusqlite::Result<bool> {
    let (documents, more) = read_intake(db, queue)?;
    for (number, document) in &documents {
        let refusal = match intake::examine(document) {
            Ok(request) if create(db, queue, &request, now)? == Submitted::Conflict => {
                Some(Refusal::conflict())
            }
            Ok(_) => None,
            Err(refusal) => Some(refusal),
        };
        if let Some(Refusal { code, reason }) = refusal {
            db.prepare_cached(
                "INSERT INTO invalid (queue, document, reason, code, at_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                queue,
                String::from_utf8_lossy(&document.bytes),
                reason,
                code.as_str(),
                now
            ])?;
        }
        db.prepare_cached("DELETE FROM intake WHERE number = ?1")?
            .execute([number])?;
    }
    Ok(more)
}

/// Returns the first documents of the intake table with their numbers, and whether there may be more documents.
fn read_intake(db: &Connection, queue: &str) -> rusqlite::Result<(Vec<(i64, IntakeDocument)>, bool)> {
    let mut select = db.prepare_cached(
        "SELECT number, octet_length(document), CASE WHEN octet_length(document) > :longest
             THEN substr(CAST(document AS BLOB), 1, :clip) ELSE CAST(document AS BLOB) END
         FROM intake WHERE queue = :queue ORDER BY number",
    )?;
    let mut rows = select.query(named_params! {
        ":queue": queue, ":longest": DOCUMENT_BYTES_MAX, ":clip": CLIP_BYTES,
    })?;
    let (mut documents, mut bytes) = (Vec::new(), 0_u64);
    while documents.len() < IMPORT_MAX && bytes < STEP_BYTES as u64 {
        let Some(row) = rows.next()? else {
            return Ok((documents, false));
        };
        let (length, read) = (row.get(1)?, row.get(2)?);
        bytes += length;
        documents.push((row.get(0)?, IntakeDocument { length, bytes: read }));
    }
    Ok((documents, true))
}
