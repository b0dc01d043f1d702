//! Implements the operations for people, and for workers that remove old requests, on Redis: lists, counts, dead
//! letters, pauses and removals.

use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, Script, ScriptInvocation};

use super::{RedisServer, last_index, on};
use super::{audit, settings};
use crate::error::Result;
use crate::names::{check_group_name, check_queue_name};
use crate::queue::{
    Admin, Cancelled, Counts, DEAD_STEP, DeadLetterOutcome, GroupPage, Invalid, ListPosition, ListedRequest,
    REAP_STEP, Reaped, STATUS_STEP, State, Status, millis,
};
use crate::request::StoredInput;

/// The argument of the scripts that change dead requests, if the time of the request's death does not matter.
const ANY_DEATH: &str = "";

#[async_trait]
impl Admin for RedisServer {
    async fn requests(&self, queue: &str, state: State, limit: usize) -> Result<Vec<Status>> {
        check_queue_name(queue)?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut call = on(&self.scripts.requests, queue)?;
        let texts: Vec<Vec<u8>> = self
            .connections
            .invoke(call.arg(state.name()).arg(last_index(limit)))
            .await?;
        texts.iter().map(|text| self.status_of(queue, text)).collect()
    }

    async fn cancel(&self, queue: &str, id: &str) -> Result<Cancelled> {
        let word: String = self
            .connections
            .invoke(on(&self.scripts.cancel, queue)?.arg(id))
            .await?;
        match word.as_str() {
            "unknown" => return Ok(Cancelled::Unknown),
            "ending" => return Ok(Cancelled::Asked),
            _ => {}
        }
        Ok(match self.state(&word)? {
            State::Ready | State::Delayed => Cancelled::Now,
            State::Leased => Cancelled::Asked,
            ended => Cancelled::TooLate(ended),
        })
    }

    async fn after(
        &self,
        queue: &str,
        state: State,
        place: &ListPosition,
        limit: usize,
    ) -> Result<Vec<ListedRequest>> {
        check_queue_name(queue)?;
        // Requests with the same time are ordered by id, and the server cannot start a list at an id. So the list
        // starts with all requests of the position's time. If it has no request after the position, a list of twice the
        // length is requested.
        let mut wanted = limit;
        loop {
            let mut call = on(&self.scripts.after, queue)?;
            call.arg(state.name()).arg(place.at_ms).arg(wanted);
            let found: Vec<(String, i64, u32, bool)> = self.connections.invoke(&call).await?;
            let are_all = found.len() < wanted;
            let listed = found
                .into_iter()
                .map(|(id, at_ms, attempts, is_ending)| ListedRequest {
                    place: ListPosition { at_ms, id },
                    attempts,
                    is_ending,
                });
            let behind: Vec<_> = listed
                .filter(|listed| listed.place > *place)
                .take(limit)
                .collect();
            if are_all || !behind.is_empty() || limit == 0 {
                return Ok(behind);
            }
            wanted *= 2;
        }
    }

    async fn group(&self, queue: &str, group: &str, after: u64, limit: usize) -> Result<GroupPage> {
        check_group_name(group)?;
        let mut call = on(&self.scripts.group, queue)?;
        call.arg(group).arg(after).arg(limit.clamp(1, STATUS_STEP));
        let (next, texts): (Option<u64>, Vec<Vec<u8>>) = self.connections.invoke(&call).await?;
        let requests = texts.iter().map(|text| self.status_of(queue, text));
        Ok(GroupPage {
            requests: requests.collect::<Result<_>>()?,
            next,
        })
    }

    async fn now_ms(&self) -> Result<i64> {
        let (seconds, micros): (i64, i64) =
            self.connections.query(&Cmd::new().arg("TIME").to_owned()).await?;
        Ok(seconds * 1_000 + micros / 1_000)
    }

    async fn retry_dead_with(&self, queue: &str, id: &str, input: Option<&StoredInput>) -> Result<bool> {
        let input = input.map(StoredInput::text).unwrap_or_default();
        let mut call = on(&self.scripts.retry_dead, queue)?;
        self.is_changed(call.arg(id).arg(ANY_DEATH).arg(input)).await
    }

    async fn purge_dead(&self, queue: &str, id: &str) -> Result<bool> {
        let mut call = on(&self.scripts.purge_dead, queue)?;
        self.is_changed(call.arg(id).arg(ANY_DEATH)).await
    }

    async fn retry_deaths(&self, queue: &str, deaths: &[ListPosition]) -> Result<Vec<DeadLetterOutcome>> {
        let same_input = Some("");
        self.change_dead_letters(&self.scripts.retry_dead, queue, deaths, same_input)
            .await
    }

    async fn purge_deaths(&self, queue: &str, deaths: &[ListPosition]) -> Result<Vec<DeadLetterOutcome>> {
        self.change_dead_letters(&self.scripts.purge_dead, queue, deaths, None)
            .await
    }

    async fn reap(&self, queue: &str, keep: Duration) -> Result<Reaped> {
        let mut call = on(&self.scripts.reap, queue)?;
        let removed = self
            .connections
            .invoke(call.arg(millis(keep)).arg(REAP_STEP))
            .await?;
        Ok(Reaped::of(removed))
    }

    async fn invalid(&self, queue: &str, limit: usize) -> Result<Vec<Invalid>> {
        self.list_invalid(queue, limit).await
    }

    async fn purge_invalid(&self, queue: &str, key: &str) -> Result<bool> {
        self.remove_invalid(queue, key).await
    }

    async fn purge_invalid_until(&self, queue: &str, until_ms: i64) -> Result<Vec<String>> {
        self.remove_invalid_until(queue, until_ms).await
    }

    async fn set_paused(&self, queue: &str, paused: bool) -> Result<()> {
        self.register(queue).await?;
        self.flag(&self.scripts.pause, queue, if paused { "1" } else { "0" })
            .await?;
        Ok(())
    }

    async fn counts(&self, queue: &str) -> Result<Counts> {
        let text: Vec<u8> = self.connections.invoke(&on(&self.scripts.counts, queue)?).await?;
        let counts: Counts = self.decode(&text)?;
        Ok(Counts {
            queue: queue.into(),
            ..counts
        })
    }

    async fn queues(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self
            .connections
            .query(Cmd::new().arg("SMEMBERS").arg("ingest:queues"))
            .await?;
        names.sort_unstable();
        Ok(names)
    }

    async fn audit(&self, queue: &str) -> Result<Vec<String>> {
        audit::audit(&self.connections, &self.scripts, queue).await
    }

    async fn settings(&self) -> Result<Vec<String>> {
        settings::settings(&self.connections).await
    }
}

impl RedisServer {
    /// Calls a script that changes dead requests, for one request. Returns whether the script has changed it.
    async fn is_changed(&self, call: &ScriptInvocation<'_>) -> Result<bool> {
        let words: Vec<String> = self.connections.invoke(call).await?;
        Ok(words == ["done"])
    }

    /// Runs a script that changes dead requests on several requests. Each request is changed only if it died at the
    /// given time. The script gets `argument`, if there is one, as the last argument of each request.
    async fn change_dead_letters(
        &self,
        script: &Script,
        queue: &str,
        deaths: &[ListPosition],
        argument: Option<&str>,
    ) -> Result<Vec<DeadLetterOutcome>> {
        check_queue_name(queue)?;
        let mut answers = Vec::with_capacity(deaths.len());
        for step in deaths.chunks(DEAD_STEP) {
            let mut call = on(script, queue)?;
            for ListPosition { at_ms, id } in step {
                call.arg(id).arg(*at_ms).arg(argument);
            }
            let words: Vec<String> = self.connections.invoke(&call).await?;
            answers.extend(words.iter().map(|word| match word.as_str() {
                "done" => DeadLetterOutcome::Done,
                "lost" => DeadLetterOutcome::Lost,
                _ => DeadLetterOutcome::Gone,
            }));
        }
        Ok(answers)
    }

    async fn flag(&self, script: &Script, queue: &str, argument: &str) -> Result<bool> {
        self.connections.invoke(on(script, queue)?.arg(argument)).await
    }
}
