//! Puts requests into a queue, and explains the answers.

use serde::Serialize;

use super::queues::NewQueue;
use crate::error::{Code, Error, Result, Stage};
use crate::location::redact;
use crate::queue::{Backend, State, Status, Submitted};
use crate::request::{NewRequest, input_differences};

/// The result of a submit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The answers, in the order of the requests. [`accepted`] explains an answer.
    pub answers: Vec<Submitted>,
    /// Set if the queue is new. `None` if the queue existed before, or if the user may not list queues.
    pub new_queue: Option<NewQueue>,
}

/// A request that is in its queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// `cancelling` or `ending` if a worker still has to end the request, otherwise `None`.
    pub ending: Option<String>,
    /// The request's id.
    pub id: String,
    /// The request's queue.
    pub queue: String,
    /// The request's state.
    pub state: State,
    /// The URI of the request's input, without credentials.
    pub uri: String,
    /// Set if the queue already had the request.
    #[serde(skip)]
    pub was_there: bool,
}

impl Accepted {
    /// Returns a request that is in its queue, as its answer shows it.
    pub fn at_once(queue: &str, request: &NewRequest, answer: Submitted) -> Self {
        Self {
            ending: None,
            id: request.id.clone(),
            queue: queue.to_owned(),
            state: match answer {
                Submitted::Existing(state) => state,
                Submitted::Created | Submitted::Conflict => state_of_new(request),
            },
            uri: redact(&request.uri),
            was_there: answer != Submitted::Created,
        }
    }
}

/// Puts requests into a queue. If one of them is in conflict with a stored request, the others are submitted all the
/// same. The queue need not exist.
///
/// # Errors
/// Fails if one of the requests or the queue's name breaks a rule: then no request is submitted. Also fails if the
/// server fails.
pub async fn submit(backend: &Backend, queue: &str, requests: &[NewRequest]) -> Result<Submission> {
    let known = backend.queue.queues().await;
    let answers = backend.queue.submit(queue, requests).await?;
    // If this user may not list queues, the requests are submitted all the same.
    let new_queue = known.ok().and_then(|known| NewQueue::unless_known(queue, &known));
    Ok(Submission { answers, new_queue })
}

/// Explains the answer for a request that was submitted.
///
/// # Errors
/// Fails with [`Code::RequestConflict`] if another request has the id. The message names the differences between the
/// two requests, and ends with `advice`.
pub async fn accepted(
    backend: &Backend,
    queue: &str,
    request: &NewRequest,
    answer: Submitted,
    advice: &str,
) -> Result<Accepted> {
    let there = || backend.queue.status(queue, &request.id);
    let (state, ending) = match answer {
        Submitted::Created => (state_of_new(request), None),
        Submitted::Existing(state @ (State::Ready | State::Delayed | State::Leased)) => {
            (state, there().await?.and_then(|there| there.ending))
        }
        Submitted::Existing(state) => (state, None),
        Submitted::Conflict => return Err(conflict(queue, request, there().await?.as_ref(), advice)),
    };
    Ok(Accepted {
        ending,
        id: request.id.clone(),
        queue: queue.to_owned(),
        state,
        uri: redact(&request.uri),
        was_there: answer != Submitted::Created,
    })
}

/// Returns the state of a request directly after its submit.
fn state_of_new(request: &NewRequest) -> State {
    match request.delay_ms {
        0 => State::Ready,
        _ => State::Delayed,
    }
}

/// Returns the error for an id that another request has, with the differences between the two requests.
fn conflict(queue: &str, request: &NewRequest, there: Option<&Status>, advice: &str) -> Error {
    let mut differences = Vec::new();
    let (mut state, mut way_on) = ("", String::new());
    if let Some(there) = there {
        state = there.state.name();
        if there.state == State::Dead {
            let id = &request.id;
            if there.uri == request.uri {
                way_on = format!(", give these options to `ingest-host dead retry {id}`");
            }
            way_on += &format!(", or remove the dead one first: `ingest-host dead purge {id}`");
        }
        if there.uri != request.uri {
            let (was, is) = (redact(&there.uri), redact(&request.uri));
            differences.push(format!("the URI was {was} and is {is}"));
        }
        let submitted = there.submitted_input.as_ref().unwrap_or(&there.input);
        differences.extend(input_differences(submitted, &request.input));
    }
    let what = match differences.is_empty() {
        true => "another request".to_owned(),
        false => format!("another request ({state}): {}", differences.join("; ")),
    };
    let why = format!(
        "{}: queue {queue} has this id for {what}: {advice}{way_on}",
        request.id
    );
    Error::permanent(Stage::Request, Code::RequestConflict, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_request_with_a_delay_is_delayed() {
        let mut request = NewRequest::new("a.csv");
        let state = |request: &NewRequest, answer| Accepted::at_once("q", request, answer).state;
        assert_eq!(state(&request, Submitted::Created), State::Ready);
        request.delay_ms = 1;
        assert_eq!(state(&request, Submitted::Created), State::Delayed);
        let done = Submitted::Existing(State::Done);
        assert_eq!(state(&request, done), State::Done);
    }
}
