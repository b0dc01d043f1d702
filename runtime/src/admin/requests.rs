//! Finds, lists and cancels single requests.

use serde::Serialize;

use super::{dead, queues};
use crate::error::{Code, Error, Result, Stage};
use crate::location::redact;
use crate::queue::{Backend, Cancelled, State, Status};

/// The answer to a cancel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CancelAnswer {
    /// The request's id.
    pub id: String,
    /// The request's queue.
    pub queue: String,
    /// The request's state after the cancel. If a worker had to end the request, the worker may already have done so.
    /// `None` if the queue no longer has the request.
    pub state: Option<State>,
    /// A text for people about what the cancel waits for, or `None` if it waits for nothing.
    pub waits_for: Option<String>,
}

/// Finds a request in the given queue, or in the only queue that has it.
///
/// # Errors
/// Fails with [`Code::RequestUnknown`] if no queue has the request, and with [`Code::Usage`] if several queues have a
/// request with this id.
pub async fn find(backend: &Backend, id: &str, queue: Option<&str>) -> Result<Status> {
    let mut found = Vec::new();
    for name in queues::selected(backend, queue).await? {
        found.extend(status(backend, &name, id).await?);
    }
    match (found.pop(), found.as_slice()) {
        (Some(status), []) => Ok(status),
        (None, _) if dead::document_key(id).is_some() => Err(Error::permanent(
            Stage::Request,
            Code::RequestUnknown,
            format!(
                "{id}: is the name of a document that is no valid request: `ingest-host dead show {id}` shows it; submit a corrected one"
            ),
        )),
        (None, _) => {
            let (within, named) = match queue {
                Some(queue) => (queue, queue),
                None => ("any queue", "QUEUE"),
            };
            Err(Error::permanent(
                Stage::Request,
                Code::RequestUnknown,
                format!(
                    "{id}: is not in {within} on {}: `ingest-host requests --queue {named}` lists those that are",
                    backend.name
                ),
            ))
        }
        (Some(last), rest) => {
            let mut queues: Vec<_> = rest.iter().map(|status| status.queue.as_str()).collect();
            queues.push(&last.queue);
            Err(Error::permanent(
                Stage::Config,
                Code::Usage,
                format!(
                    "request {id}: is in the queues {}: say which with --queue",
                    queues.join(", ")
                ),
            ))
        }
    }
}

/// Returns a request of a queue, or `None` if the queue does not have it.
///
/// # Errors
/// Fails if the server fails.
pub async fn status(backend: &Backend, queue: &str, id: &str) -> Result<Option<Status>> {
    let status = backend.queue.status(queue, id).await?;
    Ok(status.map(without_credentials))
}

/// Lists a queue's requests in the given state, or in every state, with at most `limit` for each state. The lists are
/// in the order of [`crate::queue::Admin::requests`].
///
/// # Errors
/// Fails as [`queues::check_known`] does.
pub async fn list(backend: &Backend, queue: &str, state: Option<State>, limit: usize) -> Result<Vec<Status>> {
    queues::check_known(backend, queue).await?;
    let mut list = Vec::new();
    for state in state.map_or(State::ALL.to_vec(), |state| vec![state]) {
        list.extend(in_state(backend, queue, state, limit).await?);
    }
    Ok(list)
}

/// Lists a queue's requests in one state.
pub(super) async fn in_state(
    backend: &Backend,
    queue: &str,
    state: State,
    limit: usize,
) -> Result<Vec<Status>> {
    let requests = backend.queue.requests(queue, state, limit).await?;
    Ok(requests.into_iter().map(without_credentials).collect())
}

/// Withdraws a request. If a worker has the request, the worker stops its attempt when it learns of the cancel. The
/// request then becomes cancelled, unless its output was committed before.
///
/// # Errors
/// Fails as [`find`] does. Fails with [`Code::RequestState`] if the request has ended.
pub async fn cancel(backend: &Backend, id: &str, queue: Option<&str>) -> Result<CancelAnswer> {
    let Status { id, queue, .. } = find(backend, id, queue).await?;
    let refused = |why: String| Err(Error::permanent(Stage::Request, Code::RequestState, why));
    let (state, waits_for) = match backend.queue.cancel(&queue, &id).await? {
        Cancelled::Now => (Some(State::Cancelled), None),
        Cancelled::Asked => {
            // The request may have ended meanwhile.
            let status = backend.queue.status(&queue, &id).await?;
            let waits_for = status.as_ref().and_then(Status::waits_for);
            (status.map(|status| status.state), waits_for)
        }
        Cancelled::TooLate(state) => {
            let way_on = match state {
                State::Dead => format!(": `ingest-host dead purge {id}` removes it"),
                State::Done => format!(": its output stays; `ingest-host status {id}` shows it"),
                _ => String::new(),
            };
            return refused(format!("{id}: is {} already{way_on}", state.name()));
        }
        Cancelled::Unknown => return refused(format!("{id}: is not known any more")),
    };
    Ok(CancelAnswer {
        id,
        queue,
        state,
        waits_for,
    })
}

fn without_credentials(status: Status) -> Status {
    Status {
        uri: redact(&status.uri),
        ..status
    }
}
