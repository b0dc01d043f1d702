//! Submits requests in SQLite, and returns their status.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteFile;
use super::connection::now_ms;
use super::queues::{register, wake};
use crate::error::Result;
use crate::names::{check_queue_name, check_usable_queue_name};
use crate::queue::{
    Producer, STATUS_STEP, SUBMIT_STEP, State, Status, StoredReceipt, Submitted, code_of, ending_word,
    progress_value,
};
use crate::request::{NewRequest, ShownInput};

#[async_trait]
impl Producer for SqliteFile {
    async fn submit(&self, queue: &str, requests: &[NewRequest]) -> Result<Vec<Submitted>> {
        check_usable_queue_name(queue)?;
        requests.iter().try_for_each(NewRequest::check)?;
        let mut answers = Vec::with_capacity(requests.len());
        for step in requests.chunks(SUBMIT_STEP) {
            let (queue, step) = (queue.to_owned(), step.to_vec());
            let submitted = self.database.write(move |db| {
                register(db, &queue)?;
                let now = now_ms();
                step.iter()
                    .map(|request| create(db, &queue, request, now))
                    .collect::<rusqlite::Result<Vec<_>>>()
            });
            answers.extend(submitted.await?);
        }
        Ok(answers)
    }

    async fn statuses(&self, queue: &str, ids: &[String]) -> Result<Vec<Option<Status>>> {
        check_queue_name(queue)?;
        let mut answers = Vec::with_capacity(ids.len());
        for step in ids.chunks(STATUS_STEP) {
            let (queue, step) = (queue.to_owned(), step.to_vec());
            let found = self.database.read(move |db, _| {
                let mut select = db.prepare_cached(&format!(
                    "SELECT {STATUS_COLUMNS} FROM request WHERE queue = ?1 AND id = ?2"
                ))?;
                step.iter()
                    .map(|id| select.query_row([&queue, id], status).optional())
                    .collect::<rusqlite::Result<Vec<_>>>()
            });
            answers.extend(found.await?);
        }
        Ok(answers)
    }
}

/// Creates a request, for a submit and for an imported document.
pub(super) fn create(
    db: &Connection,
    queue: &str,
    request: &NewRequest,
    now: i64,
) -> rusqlite::Result<Submitted> {
    let digest = request.content_digest();
    let there: Option<(State, String)> = db
        .prepare_cached("SELECT state, digest FROM request WHERE queue = ?1 AND id = ?2")?
        .query_row([queue, &request.id], |row| Ok((state(row, 0)?, row.get(1)?)))
        .optional()?;
    match there {
        Some((state, content)) if content == digest => return Ok(Submitted::Existing(state)),
        Some((state, content)) if request.content_digest_before().as_ref() == Some(&content) => {
            return Ok(Submitted::Existing(state));
        }
        Some(_) => return Ok(Submitted::Conflict),
        None => {}
    }
    let state = if request.delay_ms > 0 {
        State::Delayed
    } else {
        State::Ready
    };
    db.prepare_cached(
        "INSERT INTO request (queue, id, uri, input, digest, priority, submitted_ms, state, at_ms, group_name)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        queue,
        request.id,
        request.uri,
        request.stored_input(),
        digest,
        request.priority,
        now,
        state.name(),
        now.saturating_add_unsigned(request.delay_ms),
        request.group,
    ])?;
    wake(db, queue)?;
    Ok(Submitted::Created)
}

/// The columns of a status. Negative counts are shown as zero, so that one broken row does not hide the others.
pub(super) const STATUS_COLUMNS: &str = "id, queue, uri, state, max(attempts, 0), max(lost, 0), error, receipt,
    CASE state WHEN 'leased' THEN progress END, cancel, ending IS NOT NULL, CASE WHEN stray THEN output_uri END, note,
    CASE state WHEN 'dead' THEN report END, CASE state WHEN 'delayed' THEN at_ms END AS due_ms,
    input, CASE state WHEN 'leased' THEN at_ms END AS lease_ends_ms, coded, group_name, sequence";

pub(super) fn status(row: &Row<'_>) -> rusqlite::Result<Status> {
    let state = state(row, 3)?;
    let input = ShownInput::of(&row.get::<_, String>("input")?);
    Ok(Status {
        id: row.get(0)?,
        queue: row.get(1)?,
        uri: row.get(2)?,
        input: input.options,
        submitted_input: input.submitted,
        replay: input.replay,
        state,
        ending: ending_word(state, row.get(9)?, row.get(10)?),
        output: row.get(11)?,
        note: row.get(12)?,
        attempts: row.get(4)?,
        lost: row.get(5)?,
        code: code_of(
            row.get::<_, Option<String>>("coded")?.as_deref(),
            row.get::<_, Option<String>>(6)?.as_deref(),
        ),
        error: row.get(6)?,
        report: row.get(13)?,
        due_ms: row.get("due_ms")?,
        lease_ends_ms: row.get("lease_ends_ms")?,
        progress: row
            .get::<_, Option<String>>(8)?
            .as_deref()
            .and_then(progress_value),
        receipt: row.get::<_, Option<String>>(7)?.map(StoredReceipt::of),
        group: row.get("group_name")?,
    })
}

pub(super) fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<State> {
    State::from_name(row.get_ref(column)?.as_str()?).ok_or(rusqlite::Error::InvalidQuery)
}
