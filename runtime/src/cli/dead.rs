//! `dead`: requests that were given up, and documents that never became requests.

use std::process::ExitCode;

use serde_json::json;

use super::environment::Environment;
use super::out;
use super::requests::{self, RequestArgs};
use crate::error::{Error, Result, Stage};
use crate::location::redact;
use crate::queue::{Server, State};

/// How many are listed or retried at once.
const LIMIT: usize = 10_000;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List them, with the reasons.
    List {
        #[command(flatten)]
        queues: QueueArgs,
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
    Purge(Selection),
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

pub(super) async fn dead(command: Command, environment: &Environment) -> Result<ExitCode> {
    let server = environment.connect().await?;
    match command {
        Command::List { queues, json } => list(&server, &queues, json).await?,
        Command::Show { request, json } => {
            let status = request.find(&server).await?;
            if status.state != State::Dead {
                return Err(not_dead(&status.id));
            }
            if json {
                out::json(&status);
            } else {
                requests::show(&status);
            }
        }
        Command::Retry(selection) => {
            for (queue, id) in select(&server, selection).await? {
                if !server.queue.retry_dead(&queue, &id).await? {
                    return Err(not_dead(&id));
                }
                out::line(format!("{id}  ready"));
            }
        }
        Command::Purge(selection) => {
            for (queue, id) in select(&server, selection).await? {
                if !server.queue.purge_dead(&queue, &id).await? {
                    return Err(not_dead(&id));
                }
                out::line(format!("{id}  removed"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(server: &Server, queues: &QueueArgs, as_json: bool) -> Result<()> {
    let names = match &queues.queue {
        Some(name) => vec![name.clone()],
        None => server.queue.queues().await?,
    };
    let mut rows = Vec::new();
    for queue in names {
        for status in server.queue.requests(&queue, State::Dead, LIMIT).await? {
            if as_json {
                out::json(&status);
            }
            let uri = redact(&status.uri);
            rows.push(vec![
                status.id,
                queue.clone(),
                uri,
                status.error.unwrap_or_default(),
            ]);
        }
        for invalid in server.queue.invalid(&queue, LIMIT).await? {
            if as_json {
                let (document, reason) = (&invalid.document, &invalid.reason);
                out::json(
                    &json!({ "queue": queue, "document": document, "error": reason, "at_ms": invalid.at_ms }),
                );
            }
            let document: String = invalid.document.chars().take(60).collect();
            rows.push(vec![
                "(no request)".into(),
                queue.clone(),
                document,
                invalid.reason,
            ]);
        }
    }
    if !as_json {
        out::table(&["ID", "QUEUE", "INPUT", "ERROR"], &rows);
    }
    Ok(())
}

async fn select(server: &Server, selection: Selection) -> Result<Vec<(String, String)>> {
    match (selection.id, selection.queues.queue) {
        (Some(id), queue) => {
            let found = RequestArgs::new(id, queue).find(server).await?;
            Ok(vec![(found.queue, found.id)])
        }
        (None, Some(queue)) => {
            let dead = server.queue.requests(&queue, State::Dead, LIMIT).await?;
            Ok(dead
                .into_iter()
                .map(|status| (queue.clone(), status.id))
                .collect())
        }
        (None, None) => Err(Error::permanent(Stage::Config, "--all needs --queue")),
    }
}

fn not_dead(id: &str) -> Error {
    Error::permanent(Stage::Queue, format!("request {id} is not dead"))
}
