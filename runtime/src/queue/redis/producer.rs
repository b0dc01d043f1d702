//! Submits requests on Redis, and returns their status.

use async_trait::async_trait;
use redis::ScriptInvocation;
use serde::Deserialize;

use super::{RedisServer, on};
use crate::error::{Code, Error, Result, Stage};
use crate::names::check_queue_name;
use crate::queue::{
    Producer, STATUS_STEP, SUBMIT_STEP, State, Status, StoredReceipt, Submitted, code_of, ending_word,
    progress_value,
};
use crate::request::{NewRequest, ShownInput};

/// A request as this version's own scripts return it.
#[derive(Deserialize)]
struct StatusPart {
    id: String,
    state: State,
    uri: String,
    input: String,
    attempts: u32,
    lost: u32,
    due_ms: Option<f64>,
    error: Option<String>,
    coded: Option<String>,
    report: Option<String>,
    lease_ends_ms: Option<f64>,
    receipt: Option<String>,
    progress: Option<String>,
    #[serde(default)]
    cancel: bool,
    ending: Option<String>,
    output: Option<String>,
    note: Option<String>,
    group: Option<String>,
}

#[async_trait]
impl Producer for RedisServer {
    async fn submit(&self, queue: &str, requests: &[NewRequest]) -> Result<Vec<Submitted>> {
        check_queue_name(queue)?;
        requests.iter().try_for_each(NewRequest::check)?;
        self.register(queue).await?;
        let mut answers = Vec::with_capacity(requests.len());
        for step in requests.chunks(SUBMIT_STEP) {
            let mut call = on(&self.scripts.submit, queue)?;
            for request in step {
                add_request(&mut call, request);
            }
            for word in self.connections.invoke::<Vec<String>>(&call).await? {
                answers.push(match word.as_str() {
                    "created" => Submitted::Created,
                    "conflict" => Submitted::Conflict,
                    state => Submitted::Existing(self.state(state)?),
                });
            }
        }
        Ok(answers)
    }

    async fn statuses(&self, queue: &str, ids: &[String]) -> Result<Vec<Option<Status>>> {
        let mut answers = Vec::with_capacity(ids.len());
        for step in ids.chunks(STATUS_STEP) {
            let texts: Vec<Option<Vec<u8>>> = self
                .connections
                .invoke(on(&self.scripts.status, queue)?.arg(step))
                .await?;
            for text in texts {
                answers.push(text.map(|text| self.status_of(queue, &text)).transpose()?);
            }
        }
        Ok(answers)
    }
}

impl RedisServer {
    pub(super) fn status_of(&self, queue: &str, text: &[u8]) -> Result<Status> {
        let part: StatusPart = self.decode(text)?;
        let input = ShownInput::of(&part.input);
        Ok(Status {
            id: part.id,
            queue: queue.into(),
            uri: part.uri,
            input: input.options,
            submitted_input: input.submitted,
            replay: input.replay,
            state: part.state,
            attempts: part.attempts,
            lost: part.lost,
            due_ms: part.due_ms.map(|due_ms| due_ms as i64),
            code: code_of(part.coded.as_deref(), part.error.as_deref()),
            error: part.error,
            report: part.report,
            lease_ends_ms: part.lease_ends_ms.map(|ends_ms| ends_ms as i64),
            progress: part.progress.as_deref().and_then(progress_value),
            ending: ending_word(part.state, part.cancel, part.ending.is_some()),
            output: part
                .output
                .as_deref()
                .and_then(|output| output.split_once(' '))
                .map(|(_, uri)| uri.to_owned()),
            note: part.note,
            receipt: part.receipt.map(StoredReceipt::of),
            group: part.group,
        })
    }

    pub(super) fn state(&self, word: &str) -> Result<State> {
        State::from_name(word).ok_or_else(|| {
            Error::permanent(
                Stage::Queue,
                Code::QueueDamaged,
                format!("{}: unknown state \"{word}\"", self.connections.name()),
            )
        })
    }
}

/// Adds the eight arguments from which the scripts read a new request.
pub(super) fn add_request(call: &mut ScriptInvocation<'_>, request: &NewRequest) {
    call.arg(&request.id).arg(&request.uri).arg(request.priority);
    call.arg(request.delay_ms)
        .arg(request.stored_input())
        .arg(request.content_digest())
        .arg(request.content_digest_before().unwrap_or_default())
        .arg(request.group.as_deref().unwrap_or_default());
}
