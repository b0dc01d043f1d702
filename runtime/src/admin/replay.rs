//! Submits replays: requests that process the rejects of earlier requests again.
//!
//! The queue has at most one replay of a request that has not ended, because the next number is taken only when the last
//! replay is done or cancelled. Two commands at the same time choose the same number, and the queue creates one request.

use serde::Serialize;

use super::{queues, requests};
use crate::error::{Code, Error, Result, Stage};
use crate::queue::{Backend, ListPosition, State, Status, StoredReceipt, Submitted};
use crate::receipt::Receipt;
use crate::request::{NewRequest, REPLAYS_MAX, Replay};

/// The number of requests in one page of the list of done requests.
const PAGE: usize = 1_000;

/// The number of replays that are looked up at once.
const REPLAYS_STEP: u32 = 50;

/// The answer to the replay of one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplayAnswer {
    /// The id of the replay, or `None` if there is nothing to replay.
    pub id: Option<String>,
    /// The id of the request whose rejects are replayed.
    pub parent: String,
    /// The queue.
    pub queue: String,
    /// The number of rejects that are left of the request and have one of the given codes, before the replay.
    pub rejects: u64,
    /// The state of the replay.
    pub state: Option<State>,
    /// The reason why no new replay was submitted, or `None` if one was.
    pub note: Option<String>,
}

/// Replays the rejects of a request of a queue, or of the only queue that has it. With codes, only rejects with one of
/// these codes. If `id` is that of a replay, replays the rejects of its parent.
///
/// # Errors
/// Fails as [`requests::find`] does. Fails with [`Code::RequestState`] if the request is not done, or if an earlier replay
/// of it has not ended.
pub async fn replay(
    backend: &Backend,
    id: &str,
    queue: Option<&str>,
    codes: &[String],
) -> Result<ReplayAnswer> {
    let found = requests::find(backend, id, queue).await?;
    let parent = match &found.replay {
        None => found,
        Some(replay) => requests::find(backend, &replay.parent, Some(&found.queue)).await?,
    };
    replay_of(backend, &parent, codes).await
}

/// Replays the rejects of each request of a queue that was done at `since_ms` or later, by the server's clock, and that has
/// rejects, with codes as in [`replay`]. Calls `on_each` with each answer. An error of one request does not end the others.
///
/// # Errors
/// Fails as [`queues::check_known`] does, and if the server fails.
pub async fn replay_all(
    backend: &Backend,
    queue: &str,
    codes: &[String],
    since_ms: i64,
    mut on_each: impl FnMut(Result<ReplayAnswer>),
) -> Result<()> {
    queues::check_known(backend, queue).await?;
    let (until_ms, mut last) = (backend.queue.now_ms().await?, ListPosition::default());
    last.at_ms = since_ms;
    loop {
        let page = backend.queue.after(queue, State::Done, &last, PAGE).await?;
        let Some(end) = page.last() else { return Ok(()) };
        last = end.place.clone();
        let ids: Vec<_> = page
            .into_iter()
            .filter(|listed| listed.place.at_ms <= until_ms)
            .map(|listed| listed.place.id)
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        for status in backend.queue.statuses(queue, &ids).await?.into_iter().flatten() {
            if status.replay.is_none() && has_rejects(&status, codes) {
                match replay_of(backend, &status, codes).await {
                    Err(error) if error.stage() != Stage::Request => return Err(error),
                    // An earlier replay has rescued all of them.
                    Ok(ReplayAnswer {
                        id: None, rejects: 0, ..
                    }) => {}
                    answer => on_each(answer),
                }
            }
        }
    }
}

/// Returns whether a request has rejects with one of these codes, or any rejects if there are no codes.
fn has_rejects(status: &Status, codes: &[String]) -> bool {
    match &status.receipt {
        Some(StoredReceipt::Readable(receipt)) => selected(receipt, codes) > 0,
        Some(StoredReceipt::Unreadable { .. }) | None => false,
    }
}

/// Returns the number of rejects with one of these codes, or of all rejects if there are no codes.
fn selected(receipt: &Receipt, codes: &[String]) -> u64 {
    let by_code = &receipt.rejects.by_code;
    match codes {
        [] => receipt.records.rejected,
        codes => codes.iter().filter_map(|code| by_code.get(code)).sum(),
    }
}

async fn replay_of(backend: &Backend, parent: &Status, codes: &[String]) -> Result<ReplayAnswer> {
    let first = receipt_of(parent)?;
    let answer = |receipt: &Receipt| ReplayAnswer {
        id: None,
        parent: parent.id.clone(),
        queue: parent.queue.clone(),
        rejects: selected(receipt, codes),
        state: None,
        note: None,
    };
    let Replays { last, number } = replays_of(backend, parent).await?;
    if let Some((status, replay)) = &last
        && !matches!(status.state, State::Done)
    {
        return match (status.state, replay.codes == codes) {
            (State::Ready | State::Delayed | State::Leased, true) => Ok(ReplayAnswer {
                id: Some(status.id.clone()),
                state: Some(status.state),
                note: Some("was submitted before".to_owned()),
                ..answer(first)
            }),
            _ => Err(not_ended(status)),
        };
    }
    let receipt = match &last {
        Some((status, _)) => receipt_of(status)?,
        None => first,
    };
    let covered = match &last {
        Some((_, replay)) => replay.covers(codes),
        None => true,
    };
    let is_done = covered && is_same_work(backend, &parent.queue, receipt).await?;
    let note = match selected(receipt, codes) {
        0 if receipt.records.rejected == 0 => Some("no rejects are left".to_owned()),
        0 => {
            let there: Vec<_> = receipt.rejects.by_code.keys().map(String::as_str).collect();
            Some(format!(
                "no reject that is left has the code {}; there are {}",
                codes.join(", "),
                there.join(", ")
            ))
        }
        _ if is_done => Some(format!(
            "{} has already processed these rejects with the binding in force: bind another plugin first",
            receipt.request.id
        )),
        _ => None,
    };
    if note.is_some() {
        return Ok(ReplayAnswer {
            note,
            ..answer(receipt)
        });
    }
    let request = NewRequest::replaying(Replay {
        parent: parent.id.clone(),
        number,
        codes: codes.to_vec(),
    });
    let submitted = backend
        .queue
        .submit(&parent.queue, std::slice::from_ref(&request))
        .await?;
    let (state, note) = match submitted.first() {
        Some(Submitted::Existing(state)) => (*state, Some("was submitted before".to_owned())),
        Some(Submitted::Conflict) => {
            let what = format!("{}: somebody else has submitted it, with other codes", request.id);
            return Err(Error::permanent(Stage::Request, Code::RequestConflict, what));
        }
        Some(Submitted::Created) | None => (State::Ready, None),
    };
    Ok(ReplayAnswer {
        id: Some(request.id),
        state: Some(state),
        note,
        ..answer(receipt)
    })
}

/// The replays of a request.
struct Replays {
    /// The last replay that was not cancelled, if there is one.
    last: Option<(Status, Replay)>,
    /// The number of the next replay.
    number: u32,
}

async fn replays_of(backend: &Backend, parent: &Status) -> Result<Replays> {
    let mut last = None;
    let numbers: Vec<u32> = (1..=REPLAYS_MAX).collect();
    for step in numbers.chunks(REPLAYS_STEP as usize) {
        let ids: Vec<_> = step
            .iter()
            .map(|&number| Replay::id_of(&parent.id, number))
            .collect();
        let found = backend.queue.statuses(&parent.queue, &ids).await?;
        for (&number, status) in step.iter().zip(found) {
            let Some(status) = status else {
                return Ok(Replays { last, number });
            };
            // A request of a producer can have the id of a replay. Its number is left out.
            if let Some(replay) = status.replay.clone().filter(|replay| replay.parent == parent.id)
                && status.state != State::Cancelled
            {
                last = Some((status, replay));
            }
        }
    }
    let what = format!("{}: has {REPLAYS_MAX} replays, which is the maximum", parent.id);
    Err(Error::permanent(Stage::Request, Code::RequestState, what))
}

/// Returns the receipt of a request that is done.
fn receipt_of(status: &Status) -> Result<&Receipt> {
    if let (State::Done, Some(receipt)) = (status.state, &status.receipt) {
        return receipt.read(&status.id);
    }
    let (id, state) = (&status.id, status.state.name());
    let way_on = match status.state {
        State::Dead => format!("`ingest-host dead retry {id}` tries it again"),
        State::Cancelled => "submit its input under another id".to_owned(),
        _ => "wait until it is done".to_owned(),
    };
    let what = format!("{id}: is {state}, so it has no rejects to replay: {way_on}");
    Err(Error::permanent(Stage::Request, Code::RequestState, what))
}

/// Returns the error for a request whose last replay has not ended.
fn not_ended(status: &Status) -> Error {
    let (id, state) = (&status.id, status.state.name());
    let way_on = match status.state {
        State::Dead => {
            format!("`ingest-host dead retry {id}` tries it again, `ingest-host dead purge {id}` gives it up")
        }
        _ => format!("wait until it is done, or withdraw it with `ingest-host cancel {id}`"),
    };
    let what = format!("{id}: is {state}, and a request has one replay at a time: {way_on}");
    Error::permanent(Stage::Request, Code::RequestState, what)
}

/// Returns whether a receipt was made with the binding in force. Without a binding, returns false: then only the worker
/// knows the plugin.
async fn is_same_work(backend: &Backend, queue: &str, receipt: &Receipt) -> Result<bool> {
    let current = backend.queue.counts(queue).await?.binding;
    Ok(current.is_some() && receipt.binding == current)
}
