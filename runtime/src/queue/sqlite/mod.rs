//! Queues and plugins in a SQLite file, for one machine without a server. Requests move between their states in
//! transactions, each one atomic step on the file and by the machine's clock; `schema.sql` says what is where.
//! Producers in other languages insert their documents into the table `intake`.

mod audit;
mod claims;
mod files;
mod registry;
mod settings;
mod store;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

pub(super) use self::store::Mode;
use self::store::{Store, now_ms};
use super::intake::IMPORT_STEPS_MAX;
use super::{
    CLAIM_STEP, Cancelled, Claim, ClaimOptions, Counts, DEAD_STEP, Elsewhere, Failure, Invalid, Listed, Next,
    OutputId, PURGE_STEP, Place, Progress, Queue, REACHED_MAX, REAP_STEP, Reaped, Renewed, Revived,
    SUBMIT_STEP, State, Status, Submitted, Ticket, WAIT_MAX, bury_unreadable, millis, progress_text,
    progress_value,
};
use crate::error::Result;
use crate::request::{NewRequest, Request, check_queue_name, check_usable_queue_name};

/// How often an idle worker looks whether another process has changed something.
const POLL: Duration = Duration::from_millis(20);

/// A SQLite file.
pub(super) struct SqliteFile {
    store: Store,
}

impl SqliteFile {
    pub(super) async fn open(path: &str, mode: Mode) -> Result<Self> {
        Ok(Self {
            store: Store::open(path, mode).await?,
        })
    }

    /// Runs a verb that ends a claim.
    async fn end(
        &self,
        ticket: &Ticket,
        verb: impl FnOnce(&Connection, &Ticket) -> rusqlite::Result<bool> + Send + 'static,
    ) -> Result<()> {
        check_queue_name(&ticket.queue)?;
        let stands = {
            let ticket = ticket.clone();
            self.store.write(move |db| verb(db, &ticket)).await?
        };
        if stands { Ok(()) } else { Err(ticket.lost()) }
    }

    /// Does something to dead requests, each as it died at that time.
    async fn revive(
        &self,
        queue: &str,
        deaths: &[Place],
        verb: impl Fn(&Connection, &str, &str, Option<i64>) -> rusqlite::Result<bool> + Copy + Send + 'static,
    ) -> Result<Vec<Revived>> {
        check_queue_name(queue)?;
        let mut answers = Vec::with_capacity(deaths.len());
        for step in deaths.chunks(DEAD_STEP) {
            let (queue, step) = (queue.to_owned(), step.to_vec());
            let revived = self.store.write(move |db| {
                step.iter()
                    .map(|Place { at_ms, id }| match verb(db, &queue, id, Some(*at_ms))? {
                        true => Ok(Revived::Done),
                        false => Ok(Revived::Gone),
                    })
                    .collect::<rusqlite::Result<Vec<_>>>()
            });
            answers.extend(revived.await?);
        }
        Ok(answers)
    }

    /// Runs a step that may change one request.
    async fn step<T: Send + 'static>(
        &self,
        queue: &str,
        id: &str,
        work: impl FnOnce(&Connection, &str, &str) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        check_queue_name(queue)?;
        let (queue, id) = (queue.to_owned(), id.to_owned());
        self.store.write(move |db| work(db, &queue, &id)).await
    }
}

#[async_trait]
impl Queue for SqliteFile {
    async fn submit(&self, queue: &str, requests: &[NewRequest]) -> Result<Vec<Submitted>> {
        check_usable_queue_name(queue)?;
        requests.iter().try_for_each(NewRequest::check)?;
        let mut answers = Vec::with_capacity(requests.len());
        for step in requests.chunks(SUBMIT_STEP) {
            let (queue, step) = (queue.to_owned(), step.to_vec());
            let submitted = self.store.write(move |db| {
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

    async fn claim_some(&self, queue: &str, options: &ClaimOptions, count: usize) -> Result<Vec<Claim>> {
        check_usable_queue_name(queue)?;
        let count = count.clamp(1, CLAIM_STEP);
        for _ in 0..IMPORT_STEPS_MAX {
            let (name, how) = (queue.to_owned(), options.clone());
            let step = self.store.write_seen(move |db, seen| {
                register(db, &name)?;
                let step = claims::claim(db, &name, &how, count)?;
                if step.claims.is_empty() {
                    seen.insert(name, step.changes);
                }
                Ok(step)
            });
            let step = step.await?;
            let mut claims = Vec::with_capacity(step.claims.len());
            let has_claims = !step.claims.is_empty();
            for row in step.claims {
                let ticket = row.ticket(queue);
                match accept(ticket.clone(), row) {
                    Ok(claim) => claims.push(claim),
                    Err(error) => bury_unreadable(self, &ticket, &error.to_string()).await?,
                }
            }
            if !claims.is_empty() || !(has_claims || step.again) {
                return Ok(claims);
            }
        }
        Ok(Vec::new())
    }

    async fn renew(&self, ticket: &Ticket, lease: Duration, progress: Progress) -> Result<Renewed> {
        check_queue_name(&ticket.queue)?;
        let (renewed, is_known) = {
            let ticket = ticket.clone();
            let renew = self.store.write(move |db| {
                let renewed = claims::renew(db, &ticket, millis(lease), &progress_text(progress))?;
                let is_known = renewed.is_some() || claims::is_known(db, &ticket)?;
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
        self.end(ticket, move |db, ticket| claims::settle(db, ticket, &receipt))
            .await
    }

    async fn fail_with(&self, ticket: &Ticket, failure: Failure<'_>, next: Next) -> Result<()> {
        let (error, coded) = (failure.error.to_owned(), failure.coded());
        let report = failure.report.map(str::to_owned);
        self.end(ticket, move |db, ticket| {
            claims::fail(db, ticket, &error, coded.as_deref(), next, report.as_deref())
        })
        .await
    }

    async fn release(&self, ticket: &Ticket) -> Result<()> {
        self.end(ticket, claims::release).await
    }

    async fn wait(&self, queue: &str, timeout: Duration) -> Result<()> {
        check_queue_name(queue)?;
        let deadline = Instant::now() + timeout.min(WAIT_MAX);
        loop {
            let name = queue.to_owned();
            let news = self.store.read(move |db, seen| {
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

    async fn elsewhere(&self, queue: &str, own: &OutputId) -> Result<Vec<Elsewhere>> {
        check_queue_name(queue)?;
        let (queue, own) = (queue.to_owned(), own.id.clone());
        let found = self.store.read(move |db, _| {
            db.prepare_cached(
                "SELECT output_uri, count(*) FROM (
                     SELECT output_id, output_uri FROM request
                     WHERE queue = ?1 AND state = 'ready' AND output_id <> ?2)
                 GROUP BY output_id ORDER BY 2 DESC",
            )?
            .query_map(params![queue, own], |row| {
                Ok(Elsewhere {
                    uri: row.get::<_, Option<String>>(0)?.unwrap_or_default(),
                    requests: row.get(1)?,
                })
            })?
            .collect()
        });
        found.await
    }

    async fn status(&self, queue: &str, id: &str) -> Result<Option<Status>> {
        check_queue_name(queue)?;
        let (queue, id) = (queue.to_owned(), id.to_owned());
        let found = self.store.read(move |db, _| {
            db.prepare_cached(&format!(
                "SELECT {STATUS_COLUMNS} FROM request WHERE queue = ?1 AND id = ?2"
            ))?
            .query_row([queue, id], status)
            .optional()
        });
        found.await
    }

    async fn requests(&self, queue: &str, state: State, limit: usize) -> Result<Vec<Status>> {
        check_queue_name(queue)?;
        let order = match state {
            State::Ready => "priority DESC, sequence",
            State::Delayed | State::Leased => "at_ms, id",
            State::Done | State::Dead | State::Cancelled => "at_ms DESC, id DESC",
        };
        let queue = queue.to_owned();
        let list = self.store.read(move |db, _| {
            db.prepare_cached(&format!(
                "SELECT {STATUS_COLUMNS} FROM request WHERE queue = ?1 AND state = '{}' ORDER BY {order} LIMIT ?2",
                state.name()
            ))?
            .query_map(params![queue, rows(limit)], status)?
            .collect()
        });
        list.await
    }

    async fn cancel(&self, queue: &str, id: &str) -> Result<Cancelled> {
        self.step(queue, id, cancel).await
    }

    async fn after(&self, queue: &str, state: State, place: &Place, limit: usize) -> Result<Vec<Listed>> {
        check_queue_name(queue)?;
        let (queue, place) = (queue.to_owned(), place.clone());
        let list = self.store.read(move |db, _| {
            db.prepare_cached(
                "SELECT at_ms, id, max(attempts, 0), cancel OR ending IS NOT NULL FROM request
                 WHERE queue = ?1 AND state = ?2 AND at_ms >= ?3 AND (at_ms > ?3 OR id > ?4)
                 ORDER BY at_ms, id LIMIT ?5",
            )?
            .query_map(
                params![queue, state.name(), place.at_ms, place.id, rows(limit)],
                |row| {
                    Ok(Listed {
                        place: Place {
                            at_ms: row.get(0)?,
                            id: row.get(1)?,
                        },
                        attempts: row.get(2)?,
                        is_ending: row.get(3)?,
                    })
                },
            )?
            .collect()
        });
        list.await
    }

    async fn now_ms(&self) -> Result<i64> {
        Ok(now_ms())
    }

    async fn retry_dead(&self, queue: &str, id: &str) -> Result<bool> {
        self.step(queue, id, |db, queue, id| retry_dead(db, queue, id, None))
            .await
    }

    async fn purge_dead(&self, queue: &str, id: &str) -> Result<bool> {
        self.step(queue, id, |db, queue, id| purge_dead(db, queue, id, None))
            .await
    }

    async fn retry_deaths(&self, queue: &str, deaths: &[Place]) -> Result<Vec<Revived>> {
        self.revive(queue, deaths, retry_dead).await
    }

    async fn purge_deaths(&self, queue: &str, deaths: &[Place]) -> Result<Vec<Revived>> {
        self.revive(queue, deaths, purge_dead).await
    }

    async fn reap(&self, queue: &str, keep: Duration) -> Result<Reaped> {
        check_queue_name(queue)?;
        let queue = queue.to_owned();
        let removed = self.store.write(move |db| reap(db, &queue, keep));
        removed.await.map(Reaped::of)
    }

    async fn invalid(&self, queue: &str, limit: usize) -> Result<Vec<Invalid>> {
        check_queue_name(queue)?;
        let queue = queue.to_owned();
        let list = self.store.read(move |db, _| {
            db.prepare_cached(
                "SELECT number, document, reason, at_ms FROM invalid WHERE queue = ?1 ORDER BY number DESC LIMIT ?2",
            )?
            .query_map(params![queue, rows(limit)], |row| {
                Ok(Invalid {
                    key: row.get::<_, i64>(0)?.to_string(),
                    document: row.get(1)?,
                    reason: row.get(2)?,
                    at_ms: row.get(3)?,
                })
            })?
            .collect()
        });
        list.await
    }

    async fn purge_invalid(&self, queue: &str, key: &str) -> Result<bool> {
        let purged = self.step(queue, key, |db, queue, key| {
            db.execute(
                "DELETE FROM invalid WHERE queue = ?1 AND number = ?2",
                [queue, key],
            )
        });
        Ok(purged.await? == 1)
    }

    async fn purge_invalid_until(&self, queue: &str, until_ms: i64) -> Result<Vec<String>> {
        check_queue_name(queue)?;
        let queue = queue.to_owned();
        let purged = self.store.write(move |db| {
            db.prepare_cached(
                "DELETE FROM invalid WHERE number IN (
                     SELECT number FROM invalid WHERE queue = ?1 AND at_ms <= ?2 ORDER BY number LIMIT ?3)
                 RETURNING number",
            )?
            .query_map(params![queue, until_ms, rows(PURGE_STEP)], |row| {
                Ok(row.get::<_, i64>(0)?.to_string())
            })?
            .collect()
        });
        purged.await
    }

    async fn set_paused(&self, queue: &str, paused: bool) -> Result<()> {
        check_usable_queue_name(queue)?;
        let queue = queue.to_owned();
        let set = self.store.write(move |db| {
            register(db, &queue)?;
            db.execute(
                "UPDATE queue SET paused = ?2 WHERE name = ?1",
                params![queue, paused],
            )?;
            wake(db, &queue)
        });
        set.await
    }

    async fn counts(&self, queue: &str) -> Result<Counts> {
        check_queue_name(queue)?;
        let queue = queue.to_owned();
        self.store.read(move |db, _| counts(db, &queue)).await
    }

    async fn queues(&self) -> Result<Vec<String>> {
        let names = self.store.read(|db, _| {
            db.prepare_cached("SELECT name FROM queue ORDER BY name")?
                .query_map([], |row| row.get(0))?
                .collect()
        });
        names.await
    }

    async fn audit(&self, queue: &str) -> Result<Vec<String>> {
        check_queue_name(queue)?;
        let queue = queue.to_owned();
        self.store.read(move |db, _| audit::audit(db, &queue)).await
    }

    async fn note_reached(&self, hosts: &[String]) -> Result<()> {
        let hosts: Vec<String> = hosts.iter().take(REACHED_MAX).cloned().collect();
        let noted = self.store.write(move |db| {
            let mut note =
                db.prepare_cached("INSERT OR REPLACE INTO reached (host, noted_ms) VALUES (?1, ?2)")?;
            for host in hosts {
                note.execute(params![host, now_ms()])?;
            }
            // Mostly there are few, and none is to be sorted out.
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
        let found = self.store.read(move |db, _| {
            db.prepare_cached("SELECT 1 FROM reached WHERE host = ?1")?
                .exists([host])
        });
        found.await
    }

    async fn settings(&self) -> Result<Vec<String>> {
        self.store.read(|db, _| settings::settings(db)).await
    }
}

fn accept(ticket: Ticket, row: claims::ClaimRow) -> serde_json::Result<Claim> {
    Ok(Claim {
        life_ms: row.life_ms.unwrap_or(row.submitted_ms),
        is_contested: row.stray,
        ending_code: super::code_of(row.coded.as_deref(), row.ending.as_deref()),
        ending: super::ending_of(row.cancel, row.ending),
        moved_from: row.moved_from,
        request: Request {
            id: ticket.id.clone(),
            queue: ticket.queue.clone(),
            uri: row.uri,
            priority: row.priority,
            submitted_ms: row.submitted_ms,
            input: strict_json::from_str(&row.input)?,
        },
        ticket,
        attempt: row.attempt,
        lost: row.lost,
        waited: Duration::from_millis(row.waited_ms),
        binding: row.binding,
    })
}

/// One odd row must not hide the others, so what is less than nothing is shown as nothing.
const STATUS_COLUMNS: &str = "id, queue, uri, state, max(attempts, 0), max(lost, 0), error, receipt,
    CASE state WHEN 'leased' THEN progress END, cancel, ending IS NOT NULL, CASE WHEN stray THEN output_uri END, note,
    CASE state WHEN 'dead' THEN report END, CASE state WHEN 'delayed' THEN at_ms END AS due_ms,
    input, CASE state WHEN 'leased' THEN at_ms END AS lease_ends_ms, coded";

/// Forgets what matters only as long as a request has not ended.
const FORGET_MARKS: &str =
    "cancel = 0, ending = NULL, concluding = 0, stray = 0, output_id = NULL, output_uri = NULL";

fn status(row: &Row<'_>) -> rusqlite::Result<Status> {
    let state = state(row, 3)?;
    Ok(Status {
        id: row.get(0)?,
        queue: row.get(1)?,
        uri: row.get(2)?,
        input: super::input_value(&row.get::<_, String>("input")?),
        state,
        ending: super::ending_word(state, row.get(9)?, row.get(10)?),
        output: row.get(11)?,
        note: row.get(12)?,
        attempts: row.get(4)?,
        lost: row.get(5)?,
        code: super::code_of(
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
        receipt: row.get::<_, Option<String>>(7)?.map(super::receipt_value),
    })
}

fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<State> {
    State::from_name(row.get_ref(column)?.as_str()?).ok_or(rusqlite::Error::InvalidQuery)
}

/// A limit as SQLite counts: signed, where less than nothing would mean no limit.
fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Makes the queue's name known.
fn register(db: &Connection, queue: &str) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO queue (name) VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute([queue])?;
    Ok(())
}

/// Lets waiting workers look again, in this process and in others.
fn wake(db: &Connection, queue: &str) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE queue SET changes = changes + 1 WHERE name = ?1")?
        .execute([queue])?;
    Ok(())
}

/// Creates a request; the way of both submit and intake.
fn create(db: &Connection, queue: &str, request: &NewRequest, now: i64) -> rusqlite::Result<Submitted> {
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
    let input = serde_json::to_string(&request.input)
        .map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
    let state = if request.delay_ms > 0 {
        State::Delayed
    } else {
        State::Ready
    };
    db.prepare_cached(
        "INSERT INTO request (queue, id, uri, input, digest, priority, submitted_ms, state, at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        queue,
        request.id,
        request.uri,
        input,
        digest,
        request.priority,
        now,
        state.name(),
        now.saturating_add_unsigned(request.delay_ms),
    ])?;
    wake(db, queue)?;
    Ok(Submitted::Created)
}

/// The queue's count of changes, and whether something is there that the next claim brings into the queue.
fn changes_and_due(db: &Connection, queue: &str) -> rusqlite::Result<(i64, bool)> {
    db.prepare_cached(
        "SELECT coalesce((SELECT changes FROM queue WHERE name = ?1), 0),
             EXISTS (SELECT 1 FROM intake WHERE queue = ?1)
             OR EXISTS (SELECT 1 FROM request WHERE queue = ?1 AND state = 'delayed' AND at_ms <= ?2)
             OR EXISTS (SELECT 1 FROM request WHERE queue = ?1 AND state = 'leased' AND at_ms <= ?2)",
    )?
    .query_row(params![queue, now_ms()], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Puts a request back to ready if it is dead and, if a time is given, since that time.
fn retry_dead(db: &Connection, queue: &str, id: &str, died_ms: Option<i64>) -> rusqlite::Result<bool> {
    let moved = db
        // A new life: what is left of attempts from before cannot commit it any more.
        .prepare_cached(&format!(
            "UPDATE request SET state = 'ready', attempts = 0, lost = 0, waited_ms = 0, error = NULL, coded = NULL, {FORGET_MARKS},
                 life_ms = max(?4, coalesce(life_ms, submitted_ms) + 1)
             WHERE queue = ?1 AND id = ?2 AND state = 'dead' AND at_ms = coalesce(?3, at_ms)"
        ))?
        .execute(params![queue, id, died_ms, now_ms()])?;
    wake(db, queue)?;
    Ok(moved == 1)
}

/// Removes such a request for good.
fn purge_dead(db: &Connection, queue: &str, id: &str, died_ms: Option<i64>) -> rusqlite::Result<bool> {
    let removed = db
        .prepare_cached(
            "DELETE FROM request WHERE queue = ?1 AND id = ?2 AND state = 'dead' AND at_ms = coalesce(?3, at_ms)",
        )?
        .execute(params![queue, id, died_ms])?;
    Ok(removed == 1)
}

/// Removes the first of the requests that ended long ago; how many.
fn reap(db: &Connection, queue: &str, keep: Duration) -> rusqlite::Result<usize> {
    let until = now_ms().saturating_sub_unsigned(millis(keep));
    let mut removed = 0;
    // One state after the other, so that the index gives the first ones without a look at the rest.
    for state in [State::Done, State::Cancelled] {
        removed += db
            .prepare_cached(
                "DELETE FROM request WHERE sequence IN (
                     SELECT sequence FROM request WHERE queue = ?1 AND state = ?2 AND at_ms <= ?3
                     ORDER BY at_ms LIMIT ?4)",
            )?
            .execute(params![queue, state.name(), until, REAP_STEP - removed])?;
    }
    Ok(removed)
}

fn cancel(db: &Connection, queue: &str, id: &str) -> rusqlite::Result<Cancelled> {
    let found = db
        .prepare_cached("SELECT state, stray FROM request WHERE queue = ?1 AND id = ?2")?
        .query_row([queue, id], |row| Ok((state(row, 0)?, row.get(1)?)))
        .optional()?;
    Ok(match found {
        None => Cancelled::Unknown,
        // What a lost attempt may have left behind only a worker can look at.
        Some((State::Ready | State::Delayed, true)) => {
            db.execute(
                "UPDATE request SET state = 'ready', cancel = 1, at_ms = ?3 WHERE queue = ?1 AND id = ?2",
                params![queue, id, now_ms()],
            )?;
            wake(db, queue)?;
            Cancelled::Asked
        }
        Some((State::Ready | State::Delayed, false)) => {
            db.execute(
                &format!(
                    "UPDATE request SET state = 'cancelled', at_ms = ?3, {FORGET_MARKS} WHERE queue = ?1 AND id = ?2"
                ),
                params![queue, id, now_ms()],
            )?;
            Cancelled::Now
        }
        Some((State::Leased, _)) => {
            db.execute(
                "UPDATE request SET cancel = 1 WHERE queue = ?1 AND id = ?2",
                [queue, id],
            )?;
            Cancelled::Asked
        }
        Some((ended, _)) => Cancelled::TooLate(ended),
    })
}

fn counts(db: &Connection, queue: &str) -> rusqlite::Result<Counts> {
    let mut counts = Counts {
        queue: queue.into(),
        ..Counts::default()
    };
    let mut by_state =
        db.prepare_cached("SELECT state, count(*) FROM request WHERE queue = ?1 GROUP BY state")?;
    let mut found = by_state.query([queue])?;
    while let Some(row) = found.next()? {
        *match state(row, 0)? {
            State::Ready => &mut counts.ready,
            State::Delayed => &mut counts.delayed,
            State::Leased => &mut counts.leased,
            State::Done => &mut counts.done,
            State::Dead => &mut counts.dead,
            State::Cancelled => &mut counts.cancelled,
        } = row.get(1)?;
    }
    let count = |table: &str| -> rusqlite::Result<u64> {
        db.query_row(
            &format!("SELECT count(*) FROM {table} WHERE queue = ?1"),
            [queue],
            |row| row.get(0),
        )
    };
    counts.intake = count("intake")?;
    counts.invalid = count("invalid")?;
    let settings = db
        .query_row(
            "SELECT paused, binding FROM queue WHERE name = ?1",
            [queue],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    (counts.paused, counts.binding) = settings.unwrap_or_default();
    Ok(counts)
}
