//! Implements `dead`: requests that failed for good, and documents that never became requests.

use std::collections::HashSet;
use std::process::ExitCode;

use serde_json::json;

use super::environment::Environment;
use super::print;
use super::requests::{self, RequestArgs};
use crate::error::{Code, Error, Result, Stage};
use crate::location::{redact, redact_within};
use crate::queue::{Backend, DEAD_STEP, DeadLetterOutcome, ListPosition, Queue, State, Status};

/// The number of requests in one page of the list.
const PAGE: usize = 1_000;

/// The most ids in a note.
const IDS_SHOWN: usize = 20;

/// The most characters of a document in the list.
const DOCUMENT_CHARS: usize = 60;

/// The prefix of the name of a document that is no request; no id of a request has a colon.
const DOCUMENT: &str = "document:";

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List dead letters and invalid documents, with the reasons.
    List {
        #[command(flatten)]
        queues: QueueFilter,
        /// List at most N of each queue.
        #[arg(long, value_name = "N", default_value_t = 1_000)]
        limit: usize,
        /// Print JSON, one object a line.
        #[arg(long)]
        json: bool,
    },
    /// Show one dead letter.
    Show {
        #[command(flatten)]
        request: RequestArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put one dead request back into its queue, or all (each once, even if it dies again meanwhile).
    Retry(Selection),
    /// Remove one dead request for good, or all, or invalid documents.
    Purge(PurgeArgs),
}

#[derive(clap::Args)]
pub(super) struct QueueFilter {
    /// Only this queue.
    #[arg(long, alias = "queuename")]
    queue: Option<String>,
}

#[derive(clap::Args)]
pub(super) struct Selection {
    /// The id of the request.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<String>,
    /// All dead requests of the queue given with --queue.
    #[arg(long, requires = "queue")]
    all: bool,
    #[command(flatten)]
    queues: QueueFilter,
}

#[derive(clap::Args)]
pub(super) struct PurgeArgs {
    /// The id of the request, or the name of a document as the list shows it.
    #[arg(required_unless_present_any = ["all", "documents"], conflicts_with_all = ["all", "documents"])]
    id: Option<String>,
    /// All dead requests of the queue given with --queue.
    #[arg(long, requires = "queue")]
    all: bool,
    /// All invalid documents of the queue given with --queue.
    #[arg(long, requires = "queue")]
    documents: bool,
    #[command(flatten)]
    queues: QueueFilter,
}

pub(super) async fn dead(command: Command, environment: &Environment) -> Result<ExitCode> {
    let backend = match command {
        Command::List { .. } | Command::Show { .. } => environment.connect_to_read().await?,
        Command::Retry(_) | Command::Purge(_) => environment.connect().await?,
    };
    match command {
        Command::List { queues, limit, json } => list(&backend, &queues, limit, json).await?,
        Command::Show { request, json } => {
            let status = request.find(&backend).await?;
            if status.state != State::Dead {
                return Err(not_dead(&status));
            }
            if json {
                requests::json(&status);
            } else {
                requests::show(&status);
            }
        }
        Command::Retry(selection) => return retry_or_purge(&backend, selection, Verb::Retry).await,
        Command::Purge(args) => return purge(&backend, args).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(backend: &Backend, queues: &QueueFilter, limit: usize, as_json: bool) -> Result<()> {
    let mut rows = Vec::new();
    for queue in requests::queues(backend, queues.queue.as_deref()).await? {
        for status in backend.queue.requests(&queue, State::Dead, limit).await? {
            if as_json {
                requests::json(&status);
            }
            let uri = redact(&status.uri);
            rows.push(vec![
                status.id,
                queue.clone(),
                uri,
                status.code.unwrap_or_default(),
                status.error.unwrap_or_default(),
            ]);
        }
        for invalid in backend.queue.invalid(&queue, limit).await? {
            let name = format!("{DOCUMENT}{}", invalid.key);
            // The URI may hold a password, because invalid documents were never checked.
            let (document, reason) = (redact_within(&invalid.document), redact_within(&invalid.reason));
            if as_json {
                print::json(&json!({
                    "queue": queue, "name": name, "document": document, "error": reason,
                    "code": invalid.code, "report": null, "at_ms": invalid.at_ms,
                }));
            }
            let document = print::beginning(&document, DOCUMENT_CHARS);
            let code = invalid.code.unwrap_or_default();
            rows.push(vec![name, queue.clone(), document, code, reason]);
        }
    }
    if !as_json {
        print::table(&["ID", "QUEUE", "INPUT", "CODE", "ERROR"], &rows);
    }
    Ok(())
}

async fn purge(backend: &Backend, args: PurgeArgs) -> Result<ExitCode> {
    let PurgeArgs {
        id,
        all,
        documents,
        queues,
    } = args;
    let key = id.as_deref().and_then(|id| id.strip_prefix(DOCUMENT));
    if let Some(key) = key {
        return purge_document(backend, key, queues.queue.as_deref()).await;
    }
    if let Some(queue) = queues.queue.as_deref().filter(|_| documents) {
        purge_documents(backend, queue).await?;
    }
    if id.is_none() && !all {
        return Ok(ExitCode::SUCCESS);
    }
    retry_or_purge(backend, Selection { id, all, queues }, Verb::Purge).await
}

async fn purge_document(backend: &Backend, key: &str, queue: Option<&str>) -> Result<ExitCode> {
    for name in requests::queues(backend, queue).await? {
        if backend.queue.purge_invalid(&name, key).await? {
            print::line(format!("{DOCUMENT}{key}  removed"));
            return Ok(ExitCode::SUCCESS);
        }
    }
    let within = queue.unwrap_or("any queue");
    let why = format!("{DOCUMENT}{key}: is not in {within} on {}", backend.name);
    Err(Error::permanent(Stage::Request, Code::RequestUnknown, why))
}

/// Purges the documents that are there now. Documents that arrive meanwhile stay, since nobody has looked at them.
async fn purge_documents(backend: &Backend, queue: &str) -> Result<()> {
    requests::known(backend, queue).await?;
    let (until_ms, mut count) = (backend.queue.now_ms().await?, 0);
    loop {
        let keys = backend.queue.purge_invalid_until(queue, until_ms).await?;
        if keys.is_empty() {
            break;
        }
        count += keys.len();
        for key in keys {
            print::line(format!("{DOCUMENT}{key}  removed"));
        }
    }
    let left = backend.queue.counts(queue).await?.invalid;
    if left > 0 {
        print::note(format!(
            "{queue}: {count} documents removed; {left} have come since and are left"
        ));
    }
    Ok(())
}

/// The command for dead requests.
#[derive(Clone, Copy)]
enum Verb {
    Retry,
    Purge,
}

impl Verb {
    async fn one(self, queue: &dyn Queue, name: &str, id: &str) -> Result<bool> {
        match self {
            Self::Retry => queue.retry_dead(name, id).await,
            Self::Purge => queue.purge_dead(name, id).await,
        }
    }

    async fn several(
        self,
        queue: &dyn Queue,
        name: &str,
        deaths: &[ListPosition],
    ) -> Result<Vec<DeadLetterOutcome>> {
        match self {
            Self::Retry => queue.retry_deaths(name, deaths).await,
            Self::Purge => queue.purge_deaths(name, deaths).await,
        }
    }

    /// Returns the state of the request after the command.
    fn state(self) -> &'static str {
        match self {
            Self::Retry => "ready",
            Self::Purge => "removed",
        }
    }

    /// Returns the past participle of the command, for notes.
    fn participle(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::Purge => "removed",
        }
    }
}

async fn retry_or_purge(backend: &Backend, selection: Selection, verb: Verb) -> Result<ExitCode> {
    match (selection.id, selection.queues.queue) {
        (Some(id), queue) => {
            let found = RequestArgs::new(id, queue).find(backend).await?;
            if !verb.one(&*backend.queue, &found.queue, &found.id).await? {
                return Err(not_dead(&found));
            }
            print::line(format!("{}  {}", found.id, verb.state()));
            Ok(ExitCode::SUCCESS)
        }
        (None, Some(queue)) => retry_or_purge_all(backend, &queue, verb).await,
        (None, None) => Err(Error::permanent(
            Stage::Config,
            Code::Usage,
            "--all needs --queue",
        )),
    }
}

/// Retries or purges the requests that are dead now, each once. Skips a request that somebody else retries or purges
/// meanwhile, leaves a request that dies later, and counts both.
async fn retry_or_purge_all(backend: &Backend, queue: &str, verb: Verb) -> Result<ExitCode> {
    requests::known(backend, queue).await?;
    let deaths = dead_positions(&*backend.queue, queue).await?;
    let (mut done, mut gone, mut lost) = (0, 0, Vec::new());
    for step in deaths.chunks(DEAD_STEP) {
        let answers = verb.several(&*backend.queue, queue, step).await?;
        for (ListPosition { id, .. }, answer) in step.iter().zip(answers) {
            match answer {
                DeadLetterOutcome::Done => {
                    done += 1;
                    print::line(format!("{id}  {}", verb.state()));
                }
                DeadLetterOutcome::Gone => gone += 1,
                DeadLetterOutcome::Lost => lost.push(id.as_str()),
            }
        }
    }
    let dead = backend.queue.counts(queue).await?.dead;
    let since = dead.saturating_sub(lost.len() as u64);
    let mut note = format!("{queue}: {done} of {} {}", deaths.len(), verb.participle());
    if gone > 0 {
        note += &format!("; {gone} skipped, because somebody else has retried or removed them meanwhile");
    }
    if since > 0 {
        note += &format!("; {since} have died since and are left");
    }
    if !lost.is_empty() {
        let shown = lost[..lost.len().min(IDS_SHOWN)].join(", ");
        let more = if lost.len() > IDS_SHOWN { ", ..." } else { "" };
        note += &format!(
            "; {} not possible: the server has lost what they were ({shown}{more}): purge them, and submit them again",
            lost.len()
        );
    }
    print::note(note);
    Ok(if lost.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Returns the requests that are dead now, in the order of their deaths. The list is complete before a command changes
/// the first request, so a request that dies again meanwhile is not in it twice. It is bounded by the number of dead
/// requests at the start.
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

fn not_dead(status: &Status) -> Error {
    let id = &status.id;
    let what = match status.state {
        // The request died again, or somebody retried it after the lookup.
        State::Dead => format!("{id}: is not dead any more: `ingest-host status {id}` shows what it is"),
        State::Done => format!("{id}: is done, not dead: submit it under another --id to have it done again"),
        State::Cancelled => format!("{id}: is cancelled, not dead: submit it under another --id"),
        state => format!(
            "{id}: is {}, not dead: `ingest-host cancel {id}` withdraws it",
            state.name()
        ),
    };
    Error::permanent(Stage::Request, Code::RequestState, what)
}
