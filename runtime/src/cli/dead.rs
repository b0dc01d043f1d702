//! `dead`: requests that were given up, and documents that never became requests.

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;

use super::environment::Environment;
use super::out;
use super::requests::{self, RequestArgs};
use crate::error::{Error, Result, Stage};
use crate::location::{redact, redact_within};
use crate::queue::{Server, State};

/// How many are taken up at once.
const PAGE: usize = 1_000;

/// How many documents are, each of at most 64 KiB.
const DOCUMENTS_PAGE: usize = 100;

/// So much of a document is in the list.
const DOCUMENT_CHARS: usize = 60;

/// What the name of a document that is no request begins with; no id of a request has a colon.
const DOCUMENT: &str = "document:";

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List them, with the reasons.
    List {
        #[command(flatten)]
        queues: QueueArgs,
        /// At most so many of each queue.
        #[arg(long, value_name = "N", default_value_t = 1_000)]
        limit: usize,
        /// Print JSON, one a line.
        #[arg(long)]
        json: bool,
    },
    /// Show one.
    Show {
        #[command(flatten)]
        request: RequestArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put one back into its queue, or all of them.
    Retry(Selection),
    /// Remove one for good, or all of them.
    Purge(PurgeArgs),
}

#[derive(clap::Args)]
pub(super) struct QueueArgs {
    /// Only this queue.
    #[arg(long, alias = "queuename")]
    queue: Option<String>,
}

#[derive(clap::Args)]
pub(super) struct Selection {
    /// The request.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<String>,
    /// All dead requests of the queue given with --queue.
    #[arg(long, requires = "queue")]
    all: bool,
    #[command(flatten)]
    queues: QueueArgs,
}

#[derive(clap::Args)]
pub(super) struct PurgeArgs {
    /// The request, or the document under its name in the list.
    #[arg(required_unless_present_any = ["all", "documents"], conflicts_with_all = ["all", "documents"])]
    id: Option<String>,
    /// All dead requests of the queue given with --queue.
    #[arg(long, requires = "queue")]
    all: bool,
    /// All documents of the queue given with --queue that are no valid requests.
    #[arg(long, requires = "queue")]
    documents: bool,
    #[command(flatten)]
    queues: QueueArgs,
}

pub(super) async fn dead(command: Command, environment: &Environment) -> Result<ExitCode> {
    let server = environment.connect().await?;
    match command {
        Command::List { queues, limit, json } => list(&server, &queues, limit, json).await?,
        Command::Show { request, json } => {
            let status = request.find(&server).await?;
            if status.state != State::Dead {
                return Err(not_dead(&status.id));
            }
            if json {
                requests::json(&status);
            } else {
                requests::show(&status);
            }
        }
        Command::Retry(selection) => {
            let queue = Arc::clone(&server.queue);
            return each(&server, selection, "ready", async |name, id| {
                queue.retry_dead(name, id).await
            })
            .await;
        }
        Command::Purge(args) => return purge(&server, args).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(server: &Server, queues: &QueueArgs, limit: usize, as_json: bool) -> Result<()> {
    let mut rows = Vec::new();
    for queue in requests::queues(server, queues.queue.as_deref()).await? {
        for status in server.queue.requests(&queue, State::Dead, limit).await? {
            if as_json {
                requests::json(&status);
            }
            let uri = redact(&status.uri);
            rows.push(vec![
                status.id,
                queue.clone(),
                uri,
                status.error.unwrap_or_default(),
            ]);
        }
        for invalid in server.queue.invalid(&queue, limit).await? {
            let name = format!("{DOCUMENT}{}", invalid.key);
            // Nobody has looked at it: its URI may well have a password.
            let (document, reason) = (redact_within(&invalid.document), redact_within(&invalid.reason));
            if as_json {
                out::json(&json!({
                    "queue": queue, "name": name, "document": document, "error": reason, "at_ms": invalid.at_ms,
                }));
            }
            let document = out::beginning(&document, DOCUMENT_CHARS);
            rows.push(vec![name, queue.clone(), document, reason]);
        }
    }
    if !as_json {
        out::table(&["ID", "QUEUE", "INPUT", "ERROR"], &rows);
    }
    Ok(())
}

async fn purge(server: &Server, args: PurgeArgs) -> Result<ExitCode> {
    let PurgeArgs {
        id,
        all,
        documents,
        queues,
    } = args;
    let key = id.as_deref().and_then(|id| id.strip_prefix(DOCUMENT));
    if let Some(key) = key {
        return purge_document(server, key, queues.queue.as_deref()).await;
    }
    if let Some(queue) = queues.queue.as_deref().filter(|_| documents) {
        purge_documents(server, queue).await?;
    }
    if id.is_none() && !all {
        return Ok(ExitCode::SUCCESS);
    }
    let queue = Arc::clone(&server.queue);
    let selection = Selection { id, all, queues };
    each(server, selection, "removed", async |name, id| {
        queue.purge_dead(name, id).await
    })
    .await
}

async fn purge_document(server: &Server, key: &str, queue: Option<&str>) -> Result<ExitCode> {
    for name in requests::queues(server, queue).await? {
        if server.queue.purge_invalid(&name, key).await? {
            out::line(format!("{DOCUMENT}{key}  removed"));
            return Ok(ExitCode::SUCCESS);
        }
    }
    let within = queue.unwrap_or("any queue");
    let why = format!("{DOCUMENT}{key}: is not in {within} on {}", server.name);
    Err(Error::permanent(Stage::Request, why))
}

async fn purge_documents(server: &Server, queue: &str) -> Result<()> {
    requests::known(server, queue).await?;
    loop {
        let found = server.queue.invalid(queue, DOCUMENTS_PAGE).await?;
        if found.is_empty() {
            return Ok(());
        }
        for invalid in found {
            // One that is gone by now somebody else has removed.
            if server.queue.purge_invalid(queue, &invalid.key).await? {
                out::line(format!("{DOCUMENT}{}  removed", invalid.key));
            }
        }
    }
}

/// Does `verb` to the request selected, or to all dead ones of a queue; those that it cannot be done to are named at
/// the end.
async fn each(
    server: &Server,
    selection: Selection,
    done: &str,
    verb: impl AsyncFn(&str, &str) -> Result<bool>,
) -> Result<ExitCode> {
    let queue = match (selection.id, selection.queues.queue) {
        (Some(id), queue) => {
            let found = RequestArgs::new(id, queue).find(server).await?;
            if !verb(&found.queue, &found.id).await? {
                return Err(not_dead(&found.id));
            }
            out::line(format!("{}  {done}", found.id));
            return Ok(ExitCode::SUCCESS);
        }
        (None, Some(queue)) => queue,
        (None, None) => return Err(Error::permanent(Stage::Config, "--all needs --queue")),
    };
    requests::known(server, &queue).await?;
    let mut refused = Vec::new();
    loop {
        // Those that were refused stay where they are, at the head of the list.
        let dead = server
            .queue
            .requests(&queue, State::Dead, refused.len() + PAGE)
            .await?;
        let next: Vec<_> = dead
            .into_iter()
            .filter(|status| !refused.contains(&status.id))
            .collect();
        if next.is_empty() {
            break;
        }
        for status in next {
            if verb(&queue, &status.id).await? {
                out::line(format!("{}  {done}", status.id));
            } else {
                refused.push(status.id);
            }
        }
    }
    if refused.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    out::note(format!(
        "not possible for {}: the server has lost what they were",
        refused.join(", ")
    ));
    Ok(ExitCode::FAILURE)
}

fn not_dead(id: &str) -> Error {
    Error::permanent(Stage::Request, format!("{id}: is not dead"))
}
