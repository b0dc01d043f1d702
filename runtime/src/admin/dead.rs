//! Lists, retries and purges dead letters: requests that failed for good, and documents that never became requests.

use std::collections::HashSet;

use serde::Serialize;

use super::{queues, requests};
use crate::error::{Code, Error, Result, Stage};
use crate::location::redact_within;
use crate::queue::{Backend, DEAD_STEP, DeadLetterOutcome, ListPosition, Queue, State, Status};
use crate::request::{InputOptions, ShownInput};

/// The number of requests in one page of the list of dead requests.
const PAGE: usize = 1_000;

/// The prefix of the name of an invalid document. No id of a request has a colon.
const DOCUMENT: &str = "document:";

/// A document from an intake list that is not a valid request, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InvalidDocument {
    /// The time at which the document was found to be invalid, in milliseconds since 1970.
    pub at_ms: i64,
    /// The code of the error, or `None` if a program without codes wrote the error.
    pub code: Option<String>,
    /// The document, or its beginning, without credentials.
    pub document: String,
    /// The reason why the document is invalid.
    pub error: String,
    /// The name with which the document can be purged: see [`document_key`].
    pub name: String,
    /// The queue.
    pub queue: String,
    /// The URI of a report in quarantine. Always `None`, because only a request can have a report.
    pub report: Option<String>,
}

/// An action on dead requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Puts the requests back into their queue.
    Retry,
    /// Removes the requests permanently.
    Purge,
}

/// The result of a [`Verb`] on all dead requests of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AllAnswer {
    /// The number of requests that were dead at the start.
    pub found: usize,
    /// The number of these requests that were retried or removed.
    pub done: usize,
    /// The number of these requests that somebody else has retried or removed meanwhile.
    pub gone: usize,
    /// The ids of the requests whose content the server has lost.
    pub lost: Vec<String>,
    /// The number of requests that have died since the start.
    pub died_since: u64,
}

/// The result of a purge of a queue's invalid documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PurgedDocuments {
    /// The number of documents that were removed.
    pub removed: usize,
    /// The number of documents that have arrived since the start.
    pub left: u64,
}

/// Returns the key of a document from its name, or `None` if the name is the id of a request.
pub fn document_key(name: &str) -> Option<&str> {
    name.strip_prefix(DOCUMENT)
}

/// Returns the name of a document from its key.
pub fn document_name(key: &str) -> String {
    format!("{DOCUMENT}{key}")
}

/// Lists the dead requests of a queue, at most `limit`. The request that died last comes first.
///
/// # Errors
/// Fails if the server fails.
pub async fn list(backend: &Backend, queue: &str, limit: usize) -> Result<Vec<Status>> {
    requests::in_state(backend, queue, State::Dead, limit).await
}

/// Lists the invalid documents of a queue, at most `limit`, the newest first.
///
/// # Errors
/// Fails if the server fails.
pub async fn documents(backend: &Backend, queue: &str, limit: usize) -> Result<Vec<InvalidDocument>> {
    let documents = backend.queue.invalid(queue, limit).await?;
    let for_people = documents.into_iter().map(|invalid| InvalidDocument {
        at_ms: invalid.at_ms,
        code: invalid.code,
        // The URI in a document may contain a password, because invalid documents were never checked.
        document: redact_within(&invalid.document),
        error: redact_within(&invalid.reason),
        name: document_name(&invalid.key),
        queue: queue.to_owned(),
        report: None,
    });
    Ok(for_people.collect())
}

/// Finds a dead request in the given queue, or in the only queue that has it.
///
/// # Errors
/// Fails as [`requests::find`] does. Fails with [`Code::RequestState`] if the request is not dead.
pub async fn find(backend: &Backend, id: &str, queue: Option<&str>) -> Result<Status> {
    let status = requests::find(backend, id, queue).await?;
    match status.state {
        State::Dead => Ok(status),
        state @ (State::Done | State::Cancelled) => {
            let what = format!(
                "{id}: is {}, not dead: `ingest-host status {id}` shows it",
                state.name()
            );
            Err(Error::permanent(Stage::Request, Code::RequestState, what))
        }
        _ => Err(not_dead(&status)),
    }
}

/// Retries one dead request with other options for reading its input. The options in `given` override those of the
/// request; the others stay. Returns the request's id, and a sentence for people about each difference.
///
/// # Errors
/// Fails as [`find`] does. Also fails if the options contradict each other, or if a newer version has stored options that
/// this program does not know. Then the request stays dead.
pub async fn retry_with(
    backend: &Backend,
    id: &str,
    queue: Option<&str>,
    given: InputOptions,
) -> Result<(String, Vec<String>)> {
    let found = find(backend, id, queue).await?;
    if found.replay.is_some() {
        let what = format!(
            "{id}: is a replay, whose records are divided as in the first input: retry it without options, or bind a plugin with \
             other rules for short and long rows"
        );
        return Err(Error::permanent(Stage::Request, Code::RequestState, what));
    }
    let shown = ShownInput {
        options: found.input.clone(),
        submitted: found.submitted_input.clone(),
        replay: None,
    };
    let before = shown.read().map_err(|error| {
        let what = format!("{id}: its input options cannot be changed by this version: update this program");
        Error::permanent(Stage::Request, Code::HostOutdated, what).because(error)
    })?;
    let now = before.clone().read_with(given);
    now.options.check().map_err(|error| error.about(id))?;
    match backend
        .queue
        .retry_dead_with(&found.queue, &found.id, Some(&now))
        .await?
    {
        true => Ok((found.id, before.options.differences(&now.options))),
        false => Err(not_dead(&found)),
    }
}

/// Retries or purges one dead request, and returns the request as it was before.
///
/// # Errors
/// Fails as [`find`] does.
pub async fn retry_or_purge(backend: &Backend, verb: Verb, id: &str, queue: Option<&str>) -> Result<Status> {
    let found = requests::find(backend, id, queue).await?;
    let is_done = match verb {
        Verb::Retry => backend.queue.retry_dead(&found.queue, &found.id).await?,
        Verb::Purge => backend.queue.purge_dead(&found.queue, &found.id).await?,
    };
    match is_done {
        true => Ok(found),
        false => Err(match (verb, found.state) {
            (Verb::Purge, State::Done | State::Cancelled) => not_purged(&found),
            _ => not_dead(&found),
        }),
    }
}

/// Returns the error for a purge of a request that is done or cancelled.
fn not_purged(status: &Status) -> Error {
    let (id, state) = (&status.id, status.state.name());
    let what = format!("{id}: is {state}, not dead: workers remove it after their `run --retention`");
    Error::permanent(Stage::Request, Code::RequestState, what)
}

/// Retries or purges the requests that are dead now, each once, and calls `on_done` with each id. Skips a request that
/// somebody else retries or purges meanwhile. Leaves requests that die later. The answer counts the skipped requests
/// and the later ones.
///
/// # Errors
/// Fails as [`queues::check_known`] does. If the server fails halfway, `on_done` was already called for the requests
/// that were retried or purged before.
pub async fn retry_or_purge_all(
    backend: &Backend,
    verb: Verb,
    queue: &str,
    mut on_done: impl FnMut(&str),
) -> Result<AllAnswer> {
    queues::check_known(backend, queue).await?;
    let deaths = dead_positions(&*backend.queue, queue).await?;
    let (mut done, mut gone, mut lost) = (0, 0, Vec::new());
    for step in deaths.chunks(DEAD_STEP) {
        let answers = match verb {
            Verb::Retry => backend.queue.retry_deaths(queue, step).await?,
            Verb::Purge => backend.queue.purge_deaths(queue, step).await?,
        };
        for (ListPosition { id, .. }, answer) in step.iter().zip(answers) {
            match answer {
                DeadLetterOutcome::Done => {
                    done += 1;
                    on_done(id);
                }
                DeadLetterOutcome::Gone => gone += 1,
                DeadLetterOutcome::Lost => lost.push(id.clone()),
            }
        }
    }
    let dead = backend.queue.counts(queue).await?.dead;
    Ok(AllAnswer {
        found: deaths.len(),
        done,
        gone,
        died_since: dead.saturating_sub(lost.len() as u64),
        lost,
    })
}

/// Returns the requests that are dead now, in the order of their deaths. The list is complete before a command changes
/// the first request. So a request that dies again meanwhile is not in the list twice. The number of dead requests at
/// the start bounds the length of the list.
async fn dead_positions(queue: &dyn Queue, name: &str) -> Result<Vec<ListPosition>> {
    let mut left = usize::try_from(queue.counts(name).await?.dead).unwrap_or(usize::MAX);
    let (mut deaths, mut known, mut last) = (Vec::new(), HashSet::new(), ListPosition::default());
    while left > 0 {
        let page = queue.after(name, State::Dead, &last, left.min(PAGE)).await?;
        let Some(end) = page.last() else { break };
        last = end.place.clone();
        left -= page.len();
        for listed in page {
            if known.insert(listed.place.id.clone()) {
                deaths.push(listed.place);
            }
        }
    }
    Ok(deaths)
}

/// Returns one invalid document by its key, from the given queue or from the first queue that has the document.
///
/// # Errors
/// Fails with [`Code::RequestUnknown`] if no queue has the document.
pub async fn document(backend: &Backend, key: &str, queue: Option<&str>) -> Result<InvalidDocument> {
    let name = document_name(key);
    for queue in queues::selected(backend, queue).await? {
        let documents = documents(backend, &queue, usize::MAX).await?;
        if let Some(document) = documents.into_iter().find(|document| document.name == name) {
            return Ok(document);
        }
    }
    Err(no_document(backend, key, queue))
}

/// Removes one invalid document by its key, from the given queue or from the first queue that has the document.
///
/// # Errors
/// Fails with [`Code::RequestUnknown`] if no queue has the document.
pub async fn purge_document(backend: &Backend, key: &str, queue: Option<&str>) -> Result<()> {
    for name in queues::selected(backend, queue).await? {
        if backend.queue.purge_invalid(&name, key).await? {
            return Ok(());
        }
    }
    Err(no_document(backend, key, queue))
}

fn no_document(backend: &Backend, key: &str, queue: Option<&str>) -> Error {
    let within = queue.unwrap_or("any queue");
    let why = format!(
        "{DOCUMENT}{key}: is not in {within} on {}: `ingest-host dead list` shows those that are",
        backend.name
    );
    Error::permanent(Stage::Request, Code::RequestUnknown, why)
}

/// Removes the invalid documents that are in the queue now, and calls `on_removed` with the key of each document.
/// Documents that arrive meanwhile stay, because nobody has looked at them.
///
/// # Errors
/// Fails as [`queues::check_known`] does. If the server fails halfway, `on_removed` was already called for the
/// documents that are removed.
pub async fn purge_documents(
    backend: &Backend,
    queue: &str,
    mut on_removed: impl FnMut(&str),
) -> Result<PurgedDocuments> {
    queues::check_known(backend, queue).await?;
    let (until_ms, mut removed) = (backend.queue.now_ms().await?, 0);
    loop {
        let keys = backend.queue.purge_invalid_until(queue, until_ms).await?;
        if keys.is_empty() {
            break;
        }
        removed += keys.len();
        keys.iter().for_each(|key| on_removed(key));
    }
    let left = backend.queue.counts(queue).await?.invalid;
    Ok(PurgedDocuments { removed, left })
}

fn not_dead(status: &Status) -> Error {
    let id = &status.id;
    let what = match status.state {
        State::Dead if status.code.as_deref() == Some(Code::RequestLost.as_str()) => {
            format!(
                "{id}: the queue's server has lost what this request was: submit it again, under the same --id"
            )
        }
        // The request has died again, or somebody has retried it after the lookup.
        State::Dead => format!("{id}: is not dead any more: `ingest-host status {id}` shows what it is"),
        State::Done => format!(
            "{id}: is done, not dead: `ingest-host replay {id}` processes its rejects again; to have all of it done again, submit it \
             under another --id"
        ),
        State::Cancelled => format!("{id}: is cancelled, not dead: submit it under another --id"),
        state => format!(
            "{id}: is {}, not dead: `ingest-host cancel {id}` withdraws it",
            state.name()
        ),
    };
    Error::permanent(Stage::Request, Code::RequestState, what)
}
