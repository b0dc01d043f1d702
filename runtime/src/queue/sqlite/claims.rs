//! Implements the operations on claims in SQLite. Only one operation can end a claim.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

use super::connection::now_ms;
use super::intake::import;
use super::queues::{changes_and_due, register, wake};
use super::{FORGET_MARKS, SqliteFile, rows};
use crate::error::{Code, Result};
use crate::names::{check_queue_name, check_usable_queue_name};
use crate::queue::intake::IMPORT_STEPS_MAX;
use crate::queue::{
    CLAIM_STEP, COMEBACK_MAX, Claim, ClaimOptions, Claims, Failure, LOOK_MAX, LOOK_STEPS_MAX, Next,
    OtherOutput, OutputId, Progress, REACHED_MAX, Renewed, State, Ticket, WAIT_MAX, code_of, ending_of,
    input_or_ending, is_suspect, millis, progress_text,
};
use crate::request::Request;

/// The interval at which an idle worker checks whether there may be something new to claim.
const POLL: Duration = Duration::from_millis(20);

#[async_trait]
impl Claims for SqliteFile {
    async fn claim_some(&self, queue: &str, options: &ClaimOptions, count: usize) -> Result<Vec<Claim>> {
        check_usable_queue_name(queue)?;
        let count = count.clamp(1, CLAIM_STEP);
        for _ in 0..IMPORT_STEPS_MAX {
            let (name, how) = (queue.to_owned(), options.clone());
            let step = self.database.write_seen(move |db, seen| {
                let step = claim(db, &name, &how, count)?;
                if step.claims.is_empty() {
                    seen.insert(name, step.changes);
                }
                Ok(step)
            });
            let step = step.await?;
            if !step.claims.is_empty() || !step.again {
                let accept = |row: ClaimRow| accept(row.ticket(queue), row);
                return Ok(step.claims.into_iter().map(accept).collect());
            }
        }
        Ok(Vec::new())
    }

    async fn renew(&self, ticket: &Ticket, lease: Duration, progress: Progress) -> Result<Renewed> {
        check_queue_name(&ticket.queue)?;
        let (renewed, is_known) = {
            let ticket = ticket.clone();
            let renew = self.database.write(move |db| {
                let renewed = renew(db, &ticket, millis(lease), progress)?;
                let is_known = renewed.is_some() || is_known(db, &ticket)?;
                Ok((renewed, is_known))
            });
            renew.await?
        };
        renewed
            .map(|cancel| Renewed { cancel })
            .ok_or_else(|| if is_known { ticket.lost() } else { ticket.gone() })
    }

    async fn settle(&self, ticket: &Ticket, receipt: &str) -> Result<()> {
        let receipt = receipt.to_owned();
        self.end(ticket, move |db, ticket| settle(db, ticket, &receipt))
            .await
    }

    async fn fail_with(&self, ticket: &Ticket, failure: Failure<'_>, next: Next) -> Result<()> {
        let (error, coded) = (failure.error.to_owned(), failure.coded());
        let report = failure.report.map(str::to_owned);
        self.end(ticket, move |db, ticket| {
            fail(db, ticket, &error, coded.as_deref(), next, report.as_deref())
        })
        .await
    }

    async fn release(&self, ticket: &Ticket) -> Result<()> {
        self.end(ticket, release).await
    }

    async fn wait(&self, queue: &str, timeout: Duration) -> Result<()> {
        check_queue_name(queue)?;
        let deadline = Instant::now() + timeout.min(WAIT_MAX);
        loop {
            let name = queue.to_owned();
            let news = self.database.read(move |db, seen| {
                let (changes, due) = changes_and_due(db, &name)?;
                Ok(due || *seen.entry(name).or_insert(changes) != changes)
            });
            let left = deadline.saturating_duration_since(Instant::now());
            if news.await? || left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(POLL.min(left)).await;
        }
    }

    async fn elsewhere(&self, queue: &str, own: &OutputId) -> Result<Vec<OtherOutput>> {
        check_queue_name(queue)?;
        let (queue, own) = (queue.to_owned(), own.id.clone());
        let found = self.database.read(move |db, _| {
            db.prepare_cached(
                "SELECT output_uri, count(*) FROM (
                     SELECT output_id, output_uri FROM request
                     WHERE queue = ?1 AND state = 'ready' AND output_id <> ?2)
                 GROUP BY output_id ORDER BY 2 DESC",
            )?
            .query_map(params![queue, own], |row| {
                Ok(OtherOutput {
                    uri: row.get::<_, Option<String>>(0)?.unwrap_or_default(),
                    requests: row.get(1)?,
                })
            })?
            .collect()
        });
        found.await
    }

    async fn note_reached(&self, hosts: &[String]) -> Result<()> {
        let hosts: Vec<String> = hosts.iter().take(REACHED_MAX).cloned().collect();
        let noted = self.database.write(move |db| {
            let mut note =
                db.prepare_cached("INSERT OR REPLACE INTO reached (host, noted_ms) VALUES (?1, ?2)")?;
            for host in hosts {
                note.execute(params![host, now_ms()])?;
            }
            // The statement counts the hosts first. There are usually few hosts, and then nothing has to be sorted.
            db.prepare_cached(
                "DELETE FROM reached WHERE (SELECT count(*) FROM reached) > ?1 AND host IN \
                 (SELECT host FROM reached ORDER BY noted_ms DESC, host LIMIT -1 OFFSET ?1)",
            )?
            .execute([rows(REACHED_MAX)])
        });
        noted.await.map(drop)
    }

    async fn was_reached(&self, host: &str) -> Result<bool> {
        let host = host.to_owned();
        let found = self.database.read(move |db, _| {
            db.prepare_cached("SELECT 1 FROM reached WHERE host = ?1")?
                .exists([host])
        });
        found.await
    }
}

impl SqliteFile {
    /// Runs an operation that ends a claim.
    async fn end(
        &self,
        ticket: &Ticket,
        verb: impl FnOnce(&Connection, &Ticket) -> rusqlite::Result<bool> + Send + 'static,
    ) -> Result<()> {
        check_queue_name(&ticket.queue)?;
        let stands = {
            let ticket = ticket.clone();
            self.database.write(move |db| verb(db, &ticket)).await?
        };
        if stands { Ok(()) } else { Err(ticket.lost()) }
    }
}

fn accept(ticket: Ticket, row: ClaimRow) -> Claim {
    let code = code_of(row.coded.as_deref(), row.ending.as_deref());
    let ending = ending_of(row.cancel, row.ending);
    let (input, ending, ending_code) = input_or_ending(&ticket, &row.input, ending, code);
    Claim {
        life_ms: row.life_ms.unwrap_or(row.submitted_ms),
        is_contested: row.stray,
        ending,
        ending_code,
        moved_from: row.moved_from,
        request: Request {
            id: ticket.id.clone(),
            queue: ticket.queue.clone(),
            uri: row.uri,
            priority: row.priority,
            submitted_ms: row.submitted_ms,
            group: row.group,
            input: input.options,
            submitted_input: input.submitted,
            replay: input.replay,
        },
        ticket,
        attempt: row.attempt,
        lost: row.lost,
        waited: Duration::from_millis(row.waited_ms),
        binding: row.binding,
    }
}

/// The result of one step of a claim.
struct ClaimRound {
    claims: Vec<ClaimRow>,
    /// Set if another step may find more requests: documents are left to import, and the queue is open (it is not
    /// paused, and has the binding that the worker needs).
    again: bool,
    /// The value of the queue's `changes` at this step.
    changes: i64,
}

/// The row of a claimed request.
struct ClaimRow {
    id: String,
    uri: String,
    priority: i32,
    submitted_ms: i64,
    input: String,
    fence: u64,
    nonce: String,
    attempt: u32,
    lost: u32,
    waited_ms: u64,
    coded: Option<String>,
    group: Option<String>,
    binding: Option<u64>,
    life_ms: Option<i64>,
    stray: bool,
    cancel: bool,
    ending: Option<String>,
    /// The output that the previous claim recorded, if that is not the worker's own output.
    moved_from: Option<String>,
}

const CLAIM_COLUMNS: &str = "id, uri, priority, submitted_ms, input, coalesce(fence, 0), coalesce(nonce, ''), attempts, lost, binding,
    life_ms, stray, cancel, ending, max(waited_ms, 0), coded, group_name";

impl ClaimRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            uri: row.get(1)?,
            priority: row.get(2)?,
            submitted_ms: row.get(3)?,
            input: row.get(4)?,
            fence: row.get(5)?,
            nonce: row.get(6)?,
            attempt: row.get(7)?,
            lost: row.get(8)?,
            binding: row.get(9)?,
            life_ms: row.get(10)?,
            stray: row.get(11)?,
            cancel: row.get(12)?,
            ending: row.get(13)?,
            waited_ms: row.get(14)?,
            coded: row.get(15)?,
            group: row.get(16)?,
            moved_from: None,
        })
    }

    fn ticket(&self, queue: &str) -> Ticket {
        Ticket {
            queue: queue.into(),
            id: self.id.clone(),
            fence: self.fence,
            nonce: self.nonce.clone(),
        }
    }
}

/// Takes the next requests, at most `count`. First makes due and lost requests ready, and imports documents.
fn claim(db: &Connection, queue: &str, options: &ClaimOptions, count: usize) -> rusqlite::Result<ClaimRound> {
    let now = now_ms();
    let until = now.saturating_add_unsigned(millis(options.lease));
    let mut state = QueueState::read(db, queue, &options.nonce, now)?;
    let mut claims = Vec::new();
    if state.has_claims {
        claims = claim_again(db, queue, &options.nonce, until)?;
    } else {
        if state.has_lost {
            recover_lost(db, queue, options.lost_max, now)?;
        }
        if state.has_due {
            forward_due(db, queue, now)?;
        }
    }
    let more = state.has_intake && import(db, queue, now)?;
    if state.has_lost || state.has_due || state.has_intake {
        state.changes = changes_and_due(db, queue)?.0;
    }
    let open = !state.paused && (state.binding.is_some() || !options.needs_binding);
    let candidates = if state.has_claims {
        Vec::new()
    } else {
        candidates(db, queue, open, options, count)?
    };
    let fence = state.fence;
    for next in candidates {
        let is_suspect = !next.is_ending && is_suspect(next.lost, options.lost_max);
        if is_suspect && !claims.is_empty() {
            break;
        }
        state.fence += 1;
        let nonce = options.nonce_of(claims.len());
        claims.push(claim_ready(db, options, nonce, &state, until, next)?);
        if is_suspect {
            break;
        }
    }
    if state.fence > fence {
        db.prepare_cached("UPDATE queue SET fence = ?2 WHERE name = ?1")?
            .execute(params![queue, state.fence])?;
    }
    Ok(ClaimRound {
        claims,
        again: open && more,
        changes: state.changes,
    })
}

/// A queue as a claim finds it. One statement reads all of this, so that most claims can leave out the statements that
/// would change nothing.
struct QueueState {
    paused: bool,
    binding: Option<u64>,
    changes: i64,
    /// The last fence that was given.
    fence: u64,
    /// Set if valid claims with this nonce exist already, because the worker repeats its question.
    has_claims: bool,
    has_lost: bool,
    has_due: bool,
    has_intake: bool,
}

impl QueueState {
    /// Reads the state of a queue. Registers the queue if it is not registered yet.
    fn read(db: &Connection, queue: &str, nonce: &str, now: i64) -> rusqlite::Result<Self> {
        let mut read = db.prepare_cached(&format!(
            "SELECT paused, binding, changes, fence,
                 EXISTS (SELECT 1 FROM request WHERE {OF_NONCE}),
                 EXISTS (SELECT 1 FROM request WHERE queue = ?1 AND state = 'leased' AND at_ms <= ?3),
                 EXISTS (SELECT 1 FROM request WHERE queue = ?1 AND state = 'delayed' AND at_ms <= ?3),
                 EXISTS (SELECT 1 FROM intake WHERE queue = ?1)
             FROM queue WHERE name = ?1"
        ))?;
        let mut read = || {
            read.query_row(params![queue, nonce, now], |row| {
                Ok(Self {
                    paused: row.get(0)?,
                    binding: row.get(1)?,
                    changes: row.get(2)?,
                    fence: row.get(3)?,
                    has_claims: row.get(4)?,
                    has_lost: row.get(5)?,
                    has_due: row.get(6)?,
                    has_intake: row.get(7)?,
                })
            })
            .optional()
        };
        if let Some(state) = read()? {
            return Ok(state);
        }
        register(db, queue)?;
        read()?.ok_or(rusqlite::Error::QueryReturnedNoRows)
    }
}

/// Selects the valid claims of the nonce `?2` in the queue `?1`. The claims of one call have the nonce `?2` itself,
/// `?2-1`, `?2-2` and so on. The range ends before `?2.`, because `.` directly follows `-` in ASCII.
const OF_NONCE: &str = "queue = ?1 AND nonce >= ?2 AND nonce < ?2 || '.' AND state = 'leased'";

/// Extends and returns the valid claims that were made with this nonce. A worker repeats a nonce if it did not get the
/// answer.
fn claim_again(db: &Connection, queue: &str, nonce: &str, until: i64) -> rusqlite::Result<Vec<ClaimRow>> {
    let mut held = db
        .prepare_cached(&format!(
            "UPDATE request SET at_ms = ?3 WHERE {OF_NONCE} RETURNING {CLAIM_COLUMNS}"
        ))?
        .query_map(params![queue, nonce, until], ClaimRow::read)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    held.sort_unstable_by_key(|claim| claim.fence);
    Ok(held)
}

/// A request that a claim may take next.
struct NextReady {
    sequence: i64,
    lost: u32,
    is_ending: bool,
    output: Option<(String, String)>,
}

/// Returns the requests that this worker may claim, at most `count`. Requests that only have to be ended come first. If
/// the queue is open, the other ready requests follow.
fn candidates(
    db: &Connection,
    queue: &str,
    open: bool,
    options: &ClaimOptions,
    count: usize,
) -> rusqlite::Result<Vec<NextReady>> {
    let find = |is_ending: bool, limit: usize| -> rusqlite::Result<Vec<NextReady>> {
        let (which, order) = if is_ending {
            ("(cancel OR ending IS NOT NULL)", "sequence")
        } else {
            ("NOT cancel AND ending IS NULL", "priority DESC, sequence")
        };
        let mut statement = db.prepare_cached(&format!(
            "SELECT sequence, lost, output_id, output_uri FROM request
             WHERE queue = ?1 AND state = 'ready' AND {which} ORDER BY {order} LIMIT ?2"
        ))?;
        // Each step of this query reads one row. The number of rows is bounded, because nobody else can write while the
        // query runs.
        let ready = statement.query_map(params![queue, rows(LOOK_MAX * LOOK_STEPS_MAX)], |row| {
            let output_id: Option<String> = row.get(2)?;
            Ok(NextReady {
                sequence: row.get(0)?,
                lost: row.get(1)?,
                is_ending,
                output: output_id.zip(row.get(3)?),
            })
        })?;
        let own = &options.output.id;
        let is_for_this = |next: &NextReady| {
            options.move_output || next.output.as_ref().is_none_or(|(output_id, _)| output_id == own)
        };
        ready
            .filter(|next| next.as_ref().map_or(true, is_for_this))
            .take(limit)
            .collect()
    };
    let mut found = find(true, count)?;
    if open && found.len() < count {
        found.extend(find(false, count - found.len())?);
    }
    Ok(found)
}

/// Gives a ready request to the worker, with the fence of `queue`.
fn claim_ready(
    db: &Connection,
    options: &ClaimOptions,
    nonce: String,
    queue: &QueueState,
    until: i64,
    next: NextReady,
) -> rusqlite::Result<ClaimRow> {
    let mut claim = db
        .prepare_cached(&format!(
            "SELECT {CLAIM_COLUMNS} FROM request WHERE sequence = ?1"
        ))?
        .query_row([next.sequence], ClaimRow::read)?;
    claim.attempt += u32::from(!next.is_ending);
    claim.fence = queue.fence;
    claim.nonce = nonce;
    claim.binding = queue.binding;
    claim.moved_from = next
        .output
        .filter(|(id, _)| *id != options.output.id)
        .map(|(_, uri)| uri);
    db.prepare_cached(
        "UPDATE request SET state = 'leased', at_ms = :until, attempts = :attempt, fence = :fence,
             nonce = :nonce, worker = :worker, binding = :binding, ended = NULL, progress = NULL,
             report = CASE WHEN :ending THEN report END, output_id = :output_id, output_uri = :output_uri, concluding = :ending
         WHERE sequence = :sequence",
    )?
    .execute(named_params! {
        ":until": until, ":attempt": claim.attempt, ":fence": claim.fence, ":nonce": claim.nonce,
        ":worker": options.worker, ":binding": claim.binding, ":output_id": options.output.id,
        ":output_uri": options.output.uri, ":ending": next.is_ending, ":sequence": next.sequence,
    })?;
    Ok(claim)
}

fn forward_due(db: &Connection, queue: &str, now: i64) -> rusqlite::Result<()> {
    let moved = db
        .prepare_cached(
            "UPDATE request SET state = 'ready' WHERE sequence IN (
                 SELECT sequence FROM request WHERE queue = ?1 AND state = 'delayed' AND at_ms <= ?2
                 ORDER BY at_ms LIMIT ?3)",
        )?
        .execute(params![queue, now, COMEBACK_MAX])?;
    if moved > 0 { wake(db, queue) } else { Ok(()) }
}

fn recover_lost(db: &Connection, queue: &str, lost_max: u32, now: i64) -> rusqlite::Result<()> {
    let moved = db
        .prepare_cached(
            "UPDATE request SET
                 state = 'ready', at_ms = :now, ended = 'lost', stray = 1,
                 ending = CASE WHEN NOT concluding AND NOT cancel AND lost + 1 >= :lost_max
                     THEN format('poison: %d leases were lost, the last by worker %s', lost + 1, worker)
                     ELSE ending END,
                 coded = CASE WHEN NOT concluding AND NOT cancel AND lost + 1 >= :lost_max
                     THEN format('%s poison: %d leases were lost, the last by worker %s', :code, lost + 1, worker)
                     ELSE coded END,
                 attempts = max(attempts - NOT concluding, 0), lost = lost + NOT concluding
             WHERE sequence IN (
                 SELECT sequence FROM request WHERE queue = :queue AND state = 'leased' AND at_ms <= :now
                 ORDER BY at_ms LIMIT :most)",
        )?
        .execute(named_params! {
            ":queue": queue, ":now": now, ":lost_max": lost_max, ":most": COMEBACK_MAX,
            ":code": Code::Poison.as_str(),
        })?;
    if moved > 0 { wake(db, queue) } else { Ok(()) }
}

/// Returns whether the request exists, no matter which worker has it.
fn is_known(db: &Connection, ticket: &Ticket) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM request WHERE queue = ?1 AND id = ?2")?
        .exists([&ticket.queue, &ticket.id])
}

/// Extends a lease. Returns whether somebody has asked to cancel the request, or `None` if the claim is no longer
/// valid.
fn renew(
    db: &Connection,
    ticket: &Ticket,
    lease_ms: u64,
    progress: Progress,
) -> rusqlite::Result<Option<bool>> {
    // A request whose checkpoints get further does not kill its workers, so its lost leases count no longer.
    db.prepare_cached(
        "UPDATE request SET at_ms = :until, progress = :progress,
             lost = CASE WHEN :checkpoint > checkpoint THEN 0 ELSE lost END, checkpoint = max(checkpoint, :checkpoint)
         WHERE queue = :queue AND id = :id AND state = 'leased' AND fence = :fence AND nonce = :nonce
         RETURNING cancel",
    )?
    .query_row(
        named_params! {
            ":until": now_ms().saturating_add_unsigned(lease_ms), ":queue": ticket.queue, ":id": ticket.id,
            ":fence": ticket.fence, ":nonce": ticket.nonce, ":progress": progress_text(progress), ":checkpoint": progress.checkpoint,
        },
        |row| row.get(0),
    )
    .optional()
}

/// Ends a claim as done. Returns false if the claim is no longer valid.
fn settle(db: &Connection, ticket: &Ticket, receipt: &str) -> rusqlite::Result<bool> {
    let settled = db
        .prepare_cached(&format!(
            "UPDATE request SET ended = 'settle', state = 'done', at_ms = ?5, receipt = ?6, error = NULL, coded = NULL,
                 note = CASE WHEN cancel THEN 'the cancel came too late: its output was committed'
                     WHEN ending IS NOT NULL THEN 'it was to be given up (' || ending || '), but its output was committed'
                     ELSE note END,
                 {FORGET_MARKS}
             WHERE {OF_TICKET} AND state = 'leased'"
        ))?
        .execute(params![
            ticket.queue,
            ticket.id,
            ticket.fence,
            ticket.nonce,
            now_ms(),
            receipt
        ])?;
    if settled == 1 {
        Ok(true)
    } else {
        ended(db, ticket, "settle")
    }
}

/// Ends a claim as failed. With [`Next::Retry`], a request that somebody has asked to cancel is not retried, but
/// cancelled as in [`release`]. Returns false if the claim is no longer valid.
fn fail(
    db: &Connection,
    ticket: &Ticket,
    error: &str,
    coded: Option<&str>,
    next: Next,
    report: Option<&str>,
) -> rusqlite::Result<bool> {
    if !end(db, ticket, "fail")? {
        return ended(db, ticket, "fail");
    }
    let now = now_ms();
    let due = |delay: Duration| now.saturating_add_unsigned(millis(delay));
    if let Next::Retry(delay) | Next::RetryContested(delay) = next {
        db.prepare_cached("UPDATE request SET waited_ms = waited_ms + ?3 WHERE queue = ?1 AND id = ?2")?
            .execute(params![ticket.queue, ticket.id, millis(delay)])?;
    }
    db.prepare_cached("UPDATE request SET coded = coalesce(?3, coded) WHERE queue = ?1 AND id = ?2")?
        .execute(params![ticket.queue, ticket.id, coded])?;
    match next {
        Next::Retry(delay) => put_back_or_cancel(db, ticket, Some(error), now, due(delay))?,
        Next::RetryContested(delay) => {
            db.prepare_cached("UPDATE request SET stray = 1 WHERE queue = ?1 AND id = ?2")?
                .execute([&ticket.queue, &ticket.id])?;
            put_back_or_cancel(db, ticket, Some(error), now, due(delay))?;
        }
        Next::Conclude(delay) => {
            db.prepare_cached(
                "UPDATE request SET error = ?3, ending = coalesce(ending, ?3), stray = 1, state = 'delayed', at_ms = ?4,
                     report = coalesce(?5, report)
                 WHERE queue = ?1 AND id = ?2",
            )?
            .execute(params![ticket.queue, ticket.id, error, due(delay), report])?;
        }
        Next::Dead | Next::Cancelled => {
            let state = if next == Next::Dead {
                State::Dead
            } else {
                State::Cancelled
            };
            db.prepare_cached(&format!(
                "UPDATE request SET error = ?3, state = ?4, at_ms = ?5, report = coalesce(?6, report), {FORGET_MARKS}
                 WHERE queue = ?1 AND id = ?2"
            ))?
            .execute(params![ticket.queue, ticket.id, error, state.name(), now, report])?;
        }
    }
    wake(db, &ticket.queue)?;
    Ok(true)
}

/// Gives a request its next state after its claim has ended without a result. If nobody has asked to cancel the
/// request, it becomes ready or delayed. If somebody has, it becomes cancelled. But if an attempt may have left output
/// (`stray`), a request with a cancel becomes ready, and the next claim ends it: only a worker can see that output.
fn put_back_or_cancel(
    db: &Connection,
    ticket: &Ticket,
    error: Option<&str>,
    now: i64,
    due: i64,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE request SET error = coalesce(:error, error),
             state = CASE WHEN cancel AND NOT stray THEN 'cancelled' WHEN cancel OR :due <= :now THEN 'ready' ELSE 'delayed' END,
             at_ms = CASE WHEN cancel THEN :now ELSE :due END,
             cancel = cancel AND stray,
             output_id = CASE WHEN stray THEN output_id END, output_uri = CASE WHEN stray THEN output_uri END
         WHERE queue = :queue AND id = :id",
    )?
    .execute(named_params! {
        ":error": error, ":now": now, ":due": due, ":queue": ticket.queue, ":id": ticket.id,
    })?;
    Ok(())
}

/// Hands a claim back as if it had not been made. If somebody has asked to cancel the request, it becomes cancelled
/// instead; if an earlier claim of the request was lost, the next claim ends it as cancelled. Returns false if the
/// claim is no longer valid.
fn release(db: &Connection, ticket: &Ticket) -> rusqlite::Result<bool> {
    if !end(db, ticket, "release")? {
        return ended(db, ticket, "release");
    }
    db.prepare_cached(
        "UPDATE request SET attempts = max(attempts - NOT concluding, 0) WHERE queue = ?1 AND id = ?2",
    )?
    .execute([&ticket.queue, &ticket.id])?;
    let now = now_ms();
    put_back_or_cancel(db, ticket, None, now, now)?;
    wake(db, &ticket.queue)?;
    Ok(true)
}

/// Selects the request of a ticket by its queue, id, fence and nonce, which are `?1` to `?4`.
const OF_TICKET: &str = "queue = ?1 AND id = ?2 AND fence = ?3 AND nonce = ?4";

/// Marks a valid claim as ended by this operation. The caller gives the request its next state in the same transaction.
/// Returns false if the claim is no longer valid.
fn end(db: &Connection, ticket: &Ticket, verb: &str) -> rusqlite::Result<bool> {
    let marked = db
        .prepare_cached(&format!(
            "UPDATE request SET ended = ?5 WHERE {OF_TICKET} AND state = 'leased'"
        ))?
        .execute(params![ticket.queue, ticket.id, ticket.fence, ticket.nonce, verb])?;
    Ok(marked == 1)
}

/// Returns whether the same operation has already ended this claim, and no later claim was made.
fn ended(db: &Connection, ticket: &Ticket, verb: &str) -> rusqlite::Result<bool> {
    db.prepare_cached(&format!("SELECT 1 FROM request WHERE {OF_TICKET} AND ended = ?5"))?
        .exists(params![ticket.queue, ticket.id, ticket.fence, ticket.nonce, verb])
}
