//! Looks up, pauses and audits whole queues.

use serde::Serialize;

use crate::error::{Code, Error, Result, Stage};
use crate::names::{check_queue_name, check_usable_queue_name};
use crate::queue::{Backend, Counts, Step};

/// The maximum number of queues that an error names.
const QUEUES_SHOWN: usize = 8;

/// The lowest similarity, on a scale from 0 to 1, at which two names count as similar.
const NEAR: f64 = 0.6;
/// The maximum number of similar names that are returned.
const NEAR_SHOWN: usize = 3;

/// A queue that the server did not know before, perhaps because its name is mistyped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewQueue {
    /// The queue's name.
    pub queue: String,
    /// The known queues whose names the user may have meant, the likeliest first.
    pub near: Vec<String>,
}

impl NewQueue {
    /// Returns a description of the queue if the server does not know it yet, otherwise `None`.
    pub fn unless_known(queue: &str, known: &[String]) -> Option<Self> {
        let is_known = known.iter().any(|name| name == queue);
        (!is_known).then(|| Self {
            queue: queue.to_owned(),
            near: near(queue, known),
        })
    }
}

/// A queue in the list of queues.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListedQueue {
    /// The counts of the queue, with the number of its binding.
    #[serde(flatten)]
    pub counts: Counts,
    /// The steps of the binding in force. `None` if there is no binding, or if only a newer program can read it.
    pub steps: Option<Vec<Step>>,
}

/// A fault that an audit has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The fault, as a sentence.
    pub finding: String,
    /// The queue.
    pub queue: String,
}

/// Checks that the server has the queue, because a mistyped name must not look like an empty queue.
///
/// # Errors
/// Fails with [`Code::QueueUnknown`] if the server does not have the queue.
pub async fn check_known(backend: &Backend, queue: &str) -> Result<()> {
    check_queue_name(queue)?;
    let queues = backend.queue.queues().await?;
    if queues.iter().any(|name| name == queue) {
        return Ok(());
    }
    let has = match (queues.len(), near(queue, &queues)) {
        (0, _) => String::new(),
        (1..=QUEUES_SHOWN, _) => format!(" (it has: {})", queues.join(", ")),
        (_, near) if near.is_empty() => " (`queue list` shows those that it has)".into(),
        (_, near) => format!(" (near it: {}; `queue list` shows all)", near.join(", ")),
    };
    let why = format!("{queue}: there is no such queue on {}{has}", backend.name);
    Err(Error::permanent(Stage::Queue, Code::QueueUnknown, why))
}

/// Returns the name of the given queue, which must exist, or the names of all queues.
///
/// # Errors
/// Fails as [`check_known`] does.
pub async fn selected(backend: &Backend, queue: Option<&str>) -> Result<Vec<String>> {
    match queue {
        Some(queue) => check_known(backend, queue).await.map(|()| vec![queue.to_owned()]),
        None => backend.queue.queues().await,
    }
}

/// Returns the known queues whose names the user may have meant, the likeliest first.
fn near(queue: &str, known: &[String]) -> Vec<String> {
    let queue = queue.to_ascii_lowercase();
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(&queue, &name.to_ascii_lowercase());
    let mut near: Vec<_> = known
        .iter()
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .collect();
    near.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    near.into_iter()
        .take(NEAR_SHOWN)
        .map(|(_, name)| name.clone())
        .collect()
}

/// Lists all queues.
///
/// # Errors
/// Fails if the server fails.
pub async fn list(backend: &Backend) -> Result<Vec<ListedQueue>> {
    let mut list = Vec::new();
    for queue in backend.queue.queues().await? {
        let counts = backend.queue.counts(&queue).await?;
        let steps = steps(backend, &counts).await?;
        list.push(ListedQueue { counts, steps });
    }
    Ok(list)
}

async fn steps(backend: &Backend, counts: &Counts) -> Result<Option<Vec<Step>>> {
    let Some(number) = counts.binding else {
        return Ok(None);
    };
    match backend.registry.binding(&counts.queue, number).await {
        Ok(binding) => Ok(binding.map(|binding| binding.steps)),
        Err(error) if error.code() == Code::HostOutdated => Ok(None),
        Err(error) => Err(error),
    }
}

/// Pauses a queue: workers then claim only requests that have to be ended. The queue need not exist. Returns the
/// queue's description if it is new.
///
/// # Errors
/// Fails if the name is not allowed for a queue, or if the server fails.
pub async fn pause(backend: &Backend, queue: &str) -> Result<Option<NewQueue>> {
    check_usable_queue_name(queue)?;
    let known = backend.queue.queues().await?;
    backend.queue.set_paused(queue, true).await?;
    Ok(NewQueue::unless_known(queue, &known))
}

/// Resumes a paused queue.
///
/// # Errors
/// Fails as [`check_known`] does.
pub async fn resume(backend: &Backend, queue: &str) -> Result<()> {
    check_known(backend, queue).await?;
    backend.queue.set_paused(queue, false).await
}

/// Looks for faults, such as requests in no state or in two states, and leases without a holder.
///
/// # Errors
/// Fails if the server fails.
pub async fn audit(backend: &Backend, queue: &str) -> Result<Vec<Finding>> {
    let findings = backend.queue.audit(queue).await?;
    let of_queue = |finding| Finding {
        finding,
        queue: queue.to_owned(),
    };
    Ok(findings.into_iter().map(of_queue).collect())
}

/// Returns a sentence for each setting with which the server may lose requests. If the settings cannot be checked,
/// returns a sentence that says why.
pub async fn dangers(backend: &Backend) -> Vec<String> {
    match backend.queue.settings().await {
        Ok(dangers) => dangers,
        Err(error) => vec![format!("its settings could not be checked: {}", error.report())],
    }
}
