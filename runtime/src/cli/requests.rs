//! Implements `status`, `requests` and `cancel`: single requests.

use std::process::ExitCode;

use super::environment::Environment;
use super::print;
use crate::error::{Code, Error, Result, Stage};
use crate::location::redact;
use crate::names::check_queue_name;
use crate::queue::{Backend, Cancelled, State, Status, StatusDocument, StoredReceipt};
use crate::receipt::RecordCounts;

/// The most queues that an error names.
const QUEUES_SHOWN: usize = 8;

/// The least similarity, from 0 to 1, of names that may be confused, and the most such names that are shown.
const NEAR: f64 = 0.6;
const NEAR_SHOWN: usize = 3;

#[derive(clap::Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    request: RequestArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub(super) struct CancelArgs {
    #[command(flatten)]
    request: RequestArgs,
}

/// The arguments that name a request.
#[derive(clap::Args)]
pub(super) struct RequestArgs {
    /// The id of the request.
    id: String,
    /// The queue of the request; needed only if several queues have a request with this id.
    #[arg(long, alias = "queuename")]
    queue: Option<String>,
}

#[derive(clap::Args)]
pub(super) struct Args {
    /// The queue.
    #[arg(long, alias = "queuename")]
    queue: String,
    /// List only requests in this state.
    #[arg(long, value_enum)]
    state: Option<State>,
    /// List at most N of each state.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Print JSON, one request a line.
    #[arg(long)]
    json: bool,
}

/// Checks that the server has the queue: a mistyped name must not look like an empty queue.
pub(super) async fn known(backend: &Backend, queue: &str) -> Result<()> {
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

/// Notes that a queue is new, and names those of `known` that may have been meant.
pub(super) fn note_new_queue(backend: &Backend, queue: &str, known: &[String]) {
    if known.iter().any(|name| name == queue) {
        return;
    }
    let near = near(queue, known);
    let near = match near.as_slice() {
        [] => String::new(),
        near => format!("; near it: {}", near.join(", ")),
    };
    print::note(format!("{queue} is new on {}{near}", backend.name));
}

/// Returns the queues whose names may have been meant, the likeliest first.
pub(super) fn near<'a>(queue: &str, known: &'a [String]) -> Vec<&'a str> {
    let queue = queue.to_ascii_lowercase();
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(&queue, &name.to_ascii_lowercase());
    let mut near: Vec<_> = known
        .iter()
        .map(|name| (likeness(name), name.as_str()))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .collect();
    near.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    near.into_iter().take(NEAR_SHOWN).map(|(_, name)| name).collect()
}

/// Returns the given queue, which must exist, or all queues.
pub(super) async fn queues(backend: &Backend, queue: Option<&str>) -> Result<Vec<String>> {
    match queue {
        Some(queue) => known(backend, queue).await.map(|()| vec![queue.to_owned()]),
        None => backend.queue.queues().await,
    }
}

/// Prints a request for machines, without any credentials of its URI.
pub(super) fn json(status: &Status) {
    let uri = redact(&status.uri);
    print::json(&StatusDocument::from(&Status {
        uri,
        ..status.clone()
    }));
}

impl RequestArgs {
    pub(super) fn new(id: String, queue: Option<String>) -> Self {
        Self { id, queue }
    }

    /// Finds the request in the given queue, or in the only one that has it.
    pub(super) async fn find(&self, backend: &Backend) -> Result<Status> {
        let queues = queues(backend, self.queue.as_deref()).await?;
        let mut found = Vec::new();
        for queue in &queues {
            found.extend(backend.queue.status(queue, &self.id).await?);
        }
        match (found.pop(), found.as_slice()) {
            (Some(status), []) => Ok(status),
            (None, _) => {
                let (within, named) = match &self.queue {
                    Some(queue) => (queue.as_str(), queue.as_str()),
                    None => ("any queue", "QUEUE"),
                };
                Err(Error::permanent(
                    Stage::Request,
                    Code::RequestUnknown,
                    format!(
                        "{}: is not in {within} on {}: `ingest-host requests --queue {named}` lists those that are",
                        self.id, backend.name
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
                        "request {}: is in the queues {}: say which with --queue",
                        self.id,
                        queues.join(", ")
                    ),
                ))
            }
        }
    }
}

pub(super) async fn status(args: StatusArgs, environment: &Environment) -> Result<ExitCode> {
    let backend = environment.connect_to_read().await?;
    let status = args.request.find(&backend).await?;
    if args.json {
        json(&status);
        return Ok(ExitCode::SUCCESS);
    }
    show(&status);
    Ok(ExitCode::SUCCESS)
}

/// Returns the error of a request with its code, if it has one.
pub(super) fn with_code(error: &str, status: &Status) -> String {
    match &status.code {
        Some(code) => format!("{error} [{code}]"),
        None => error.to_owned(),
    }
}

/// Prints a request for people.
pub(super) fn show(status: &Status) {
    let state = status.ending.as_deref().unwrap_or(status.state.name());
    print::line(format!("{}  {state}", status.id));
    if let Some(waits_for) = status.waits_for() {
        print::line(format!("waits    {waits_for}"));
    }
    if let Some(note) = &status.note {
        print::line(format!("note     {note}"));
    }
    print::line(format!("queue    {}", status.queue));
    print::line(format!("input    {}", redact(&status.uri)));
    print::line(format!(
        "attempts {}, leases lost {}",
        status.attempts, status.lost
    ));
    if let Some(end) = status.lease_end() {
        print::line(format!("lease    {end}"));
    }
    if let Some(progress) = &status.progress {
        let so_far = print::measures(progress.bytes, progress.records, progress.rejects);
        print::line(format!("so far   {so_far}"));
    }
    if let Some(error) = &status.error {
        print::line(format!("error    {}", with_code(error, status)));
    }
    if let Some(due) = status.due() {
        print::line(format!("{:8} {due}", status.due_for()));
    }
    if let Some(uri) = &status.report {
        print::line(format!("report   {uri}"));
    }
    match &status.receipt {
        Some(StoredReceipt::Readable(receipt)) => print::receipt(receipt),
        Some(StoredReceipt::Unreadable { text, why, .. }) => {
            print::line(format!("receipt  cannot be read: {why}"));
            print::line(format!("         {text}"));
        }
        None => {}
    }
}

pub(super) async fn list(args: Args, environment: &Environment) -> Result<ExitCode> {
    let backend = environment.connect_to_read().await?;
    known(&backend, &args.queue).await?;
    let states = args.state.map_or(State::ALL.to_vec(), |state| vec![state]);
    let mut rows = Vec::new();
    for state in states {
        for status in backend.queue.requests(&args.queue, state, args.limit).await? {
            if args.json {
                json(&status);
            }
            rows.push(row(&status));
        }
    }
    if !args.json {
        let head = [
            "ID", "STATE", "ATTEMPTS", "LOST", "READ", "REJECTED", "INPUT", "CODE", "ERROR",
        ];
        print::table(&head, &rows);
    }
    Ok(ExitCode::SUCCESS)
}

fn row(status: &Status) -> Vec<String> {
    // A file with many rejects must not look like a clean one.
    let counts = match &status.receipt {
        Some(StoredReceipt::Readable(receipt)) => Some(receipt.records),
        _ => None,
    };
    let count = |count: fn(&RecordCounts) -> u64| {
        let count = counts.as_ref().map(count);
        count.map_or(String::new(), |count| count.to_string())
    };
    vec![
        status.id.clone(),
        status
            .ending
            .clone()
            .unwrap_or_else(|| status.state.name().into()),
        status.attempts.to_string(),
        status.lost.to_string(),
        count(|records| records.read),
        count(|records| records.rejected),
        redact(&status.uri),
        status.code.clone().unwrap_or_default(),
        status.error.clone().unwrap_or_default(),
    ]
}

pub(super) async fn cancel(args: CancelArgs, environment: &Environment) -> Result<ExitCode> {
    let backend = environment.connect().await?;
    let found = args.request.find(&backend).await?;
    let (id, refused) = (&found.id, |why: String| {
        Error::permanent(Stage::Request, Code::RequestState, why)
    });
    match backend.queue.cancel(&found.queue, id).await? {
        Cancelled::Now => print::line(format!("{id}  cancelled")),
        Cancelled::Asked => {
            // The request may have ended meanwhile.
            let status = backend.queue.status(&found.queue, id).await?;
            let waits_for = status.as_ref().and_then(Status::waits_for);
            let ended = || {
                status
                    .as_ref()
                    .map_or("is not known any more", |status| status.state.name())
                    .to_owned()
            };
            print::line(format!("{id}  {}", waits_for.unwrap_or_else(ended)));
        }
        Cancelled::TooLate(state) => {
            let way_on = match state {
                State::Dead => format!(": `ingest-host dead purge {id}` removes it"),
                State::Done => format!(": its output stays; `ingest-host status {id}` shows it"),
                _ => String::new(),
            };
            return Err(refused(format!("{id}: is {} already{way_on}", state.name())));
        }
        Cancelled::Unknown => return Err(refused(format!("{id}: is not known any more"))),
    }
    Ok(ExitCode::SUCCESS)
}
