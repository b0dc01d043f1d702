//! Implements the operations for people, and for workers that remove old requests, in SQLite: lists, counts, dead
//! letters, pauses and removals.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::connection::now_ms;
use super::producer::{STATUS_COLUMNS, state, status};
use super::queues::{register, wake};
use super::{FORGET_MARKS, SqliteFile, audit, rows, settings};
use crate::error::Result;
use crate::names::{check_group_name, check_queue_name, check_usable_queue_name};
use crate::queue::{
    Admin, Cancelled, Counts, DEAD_STEP, DeadLetterOutcome, GroupPage, Invalid, ListPosition, ListedRequest,
    PURGE_STEP, REAP_STEP, Reaped, STATUS_STEP, State, Status, millis,
};
use crate::request::StoredInput;

#[async_trait]
impl Admin for SqliteFile {
    async fn requests(&self, queue: &str, state: State, limit: usize) -> Result<Vec<Status>> {
        check_queue_name(queue)?;
        let order = match state {
            State::Ready => "priority DESC, sequence",
            State::Delayed | State::Leased => "at_ms, id",
            State::Done | State::Dead | State::Cancelled => "at_ms DESC, id DESC",
        };
        let queue = queue.to_owned();
        let list = self.database.read(move |db, _| {
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

    async fn after(
        &self,
        queue: &str,
        state: State,
        place: &ListPosition,
        limit: usize,
    ) -> Result<Vec<ListedRequest>> {
        check_queue_name(queue)?;
        let (queue, place) = (queue.to_owned(), place.clone());
        let list = self.database.read(move |db, _| {
            db.prepare_cached(
                "SELECT at_ms, id, max(attempts, 0), cancel OR ending IS NOT NULL FROM request
                 WHERE queue = ?1 AND state = ?2 AND at_ms >= ?3 AND (at_ms > ?3 OR id > ?4)
                 ORDER BY at_ms, id LIMIT ?5",
            )?
            .query_map(
                params![queue, state.name(), place.at_ms, place.id, rows(limit)],
                |row| {
                    Ok(ListedRequest {
                        place: ListPosition {
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

    async fn group(&self, queue: &str, group: &str, after: u64, limit: usize) -> Result<GroupPage> {
        check_queue_name(queue)?;
        check_group_name(group)?;
        let (queue, group, limit) = (queue.to_owned(), group.to_owned(), limit.clamp(1, STATUS_STEP));
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let page = self.database.read(move |db, _| {
            let found = db
                .prepare_cached(&format!(
                    "SELECT {STATUS_COLUMNS} FROM request
                     WHERE queue = ?1 AND group_name = ?2 AND sequence > ?3 ORDER BY sequence LIMIT ?4"
                ))?
                .query_map(params![queue, group, after, rows(limit)], |row| {
                    Ok((row.get::<_, u64>("sequence")?, status(row)?))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            let last = found.last().map(|(sequence, _)| *sequence);
            Ok(GroupPage {
                next: last.filter(|_| found.len() == limit),
                requests: found.into_iter().map(|(_, status)| status).collect(),
            })
        });
        page.await
    }

    async fn now_ms(&self) -> Result<i64> {
        Ok(now_ms())
    }

    async fn retry_dead_with(&self, queue: &str, id: &str, input: Option<&StoredInput>) -> Result<bool> {
        let input = input.map(StoredInput::text);
        self.step(queue, id, move |db, queue, id| {
            retry_dead(db, queue, id, None, input.as_deref())
        })
        .await
    }

    async fn purge_dead(&self, queue: &str, id: &str) -> Result<bool> {
        self.step(queue, id, |db, queue, id| purge_dead(db, queue, id, None))
            .await
    }

    async fn retry_deaths(&self, queue: &str, deaths: &[ListPosition]) -> Result<Vec<DeadLetterOutcome>> {
        let retry =
            |db: &Connection, queue: &str, id: &str, died_ms| retry_dead(db, queue, id, died_ms, None);
        self.change_dead_letters(queue, deaths, retry).await
    }

    async fn purge_deaths(&self, queue: &str, deaths: &[ListPosition]) -> Result<Vec<DeadLetterOutcome>> {
        self.change_dead_letters(queue, deaths, purge_dead).await
    }

    async fn reap(&self, queue: &str, keep: Duration) -> Result<Reaped> {
        check_queue_name(queue)?;
        let queue = queue.to_owned();
        let removed = self.database.write(move |db| reap(db, &queue, keep));
        removed.await.map(Reaped::of)
    }

    async fn invalid(&self, queue: &str, limit: usize) -> Result<Vec<Invalid>> {
        check_queue_name(queue)?;
        let queue = queue.to_owned();
        let list = self.database.read(move |db, _| {
            db.prepare_cached(
                "SELECT number, document, reason, code, at_ms FROM invalid WHERE queue = ?1 ORDER BY number DESC LIMIT ?2",
            )?
            .query_map(params![queue, rows(limit)], |row| {
                Ok(Invalid {
                    key: row.get::<_, i64>(0)?.to_string(),
                    document: row.get(1)?,
                    reason: row.get(2)?,
                    code: row.get(3)?,
                    at_ms: row.get(4)?,
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
        let purged = self.database.write(move |db| {
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
        let set = self.database.write(move |db| {
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
        self.database.read(move |db, _| counts(db, &queue)).await
    }

    async fn queues(&self) -> Result<Vec<String>> {
        let names = self.database.read(|db, _| {
            db.prepare_cached("SELECT name FROM queue ORDER BY name")?
                .query_map([], |row| row.get(0))?
                .collect()
        });
        names.await
    }

    async fn audit(&self, queue: &str) -> Result<Vec<String>> {
        check_queue_name(queue)?;
        let queue = queue.to_owned();
        self.database.read(move |db, _| audit::audit(db, &queue)).await
    }

    async fn settings(&self) -> Result<Vec<String>> {
        self.database.read(|db, _| settings::settings(db)).await
    }
}

impl SqliteFile {
    /// Changes several dead requests, each only if it died at the given time.
    async fn change_dead_letters(
        &self,
        queue: &str,
        deaths: &[ListPosition],
        verb: impl Fn(&Connection, &str, &str, Option<i64>) -> rusqlite::Result<bool> + Copy + Send + 'static,
    ) -> Result<Vec<DeadLetterOutcome>> {
        check_queue_name(queue)?;
        let mut answers = Vec::with_capacity(deaths.len());
        for step in deaths.chunks(DEAD_STEP) {
            let (queue, step) = (queue.to_owned(), step.to_vec());
            let outcome = self.database.write(move |db| {
                step.iter()
                    .map(
                        |ListPosition { at_ms, id }| match verb(db, &queue, id, Some(*at_ms))? {
                            true => Ok(DeadLetterOutcome::Done),
                            false => Ok(DeadLetterOutcome::Gone),
                        },
                    )
                    .collect::<rusqlite::Result<Vec<_>>>()
            });
            answers.extend(outcome.await?);
        }
        Ok(answers)
    }

    /// Runs a call that can change one request.
    async fn step<T: Send + 'static>(
        &self,
        queue: &str,
        id: &str,
        work: impl FnOnce(&Connection, &str, &str) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        check_queue_name(queue)?;
        let (queue, id) = (queue.to_owned(), id.to_owned());
        self.database.write(move |db| work(db, &queue, &id)).await
    }
}

/// Makes a request ready again if it is dead and, if a time is given, died at that time. Returns whether the request
/// was made ready. If `input` is given, it replaces the stored input options.
fn retry_dead(
    db: &Connection,
    queue: &str,
    id: &str,
    died_ms: Option<i64>,
    input: Option<&str>,
) -> rusqlite::Result<bool> {
    let moved = db
        // This begins a new life of the request, so that earlier attempts that still run cannot commit it.
        .prepare_cached(&format!(
            "UPDATE request SET state = 'ready', attempts = 0, lost = 0, checkpoint = 0, waited_ms = 0, error = NULL, coded = NULL, {FORGET_MARKS},
                 life_ms = max(?4, coalesce(life_ms, submitted_ms) + 1), input = coalesce(?5, input)
             WHERE queue = ?1 AND id = ?2 AND state = 'dead' AND at_ms = coalesce(?3, at_ms)"
        ))?
        .execute(params![queue, id, died_ms, now_ms(), input])?;
    wake(db, queue)?;
    Ok(moved == 1)
}

/// Permanently removes a request if it is dead and, if a time is given, died at that time. Returns whether the request
/// was removed.
fn purge_dead(db: &Connection, queue: &str, id: &str, died_ms: Option<i64>) -> rusqlite::Result<bool> {
    let removed = db
        .prepare_cached(
            "DELETE FROM request WHERE queue = ?1 AND id = ?2 AND state = 'dead' AND at_ms = coalesce(?3, at_ms)",
        )?
        .execute(params![queue, id, died_ms])?;
    Ok(removed == 1)
}

/// Removes the requests that ended `keep` ago or earlier, at most [`REAP_STEP`]. Returns their number.
fn reap(db: &Connection, queue: &str, keep: Duration) -> rusqlite::Result<usize> {
    let until = now_ms().saturating_sub_unsigned(millis(keep));
    let mut removed = 0;
    // Because one state is handled at a time, the index gives the first requests without a scan of the rest.
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
        // Only a worker can see whether a lost attempt has left any output.
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
