//! Implements `queue`: whole queues.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use super::environment::Environment;
use super::{print, requests};
use crate::error::{Code, Result};
use crate::names::check_usable_queue_name;
use crate::queue::{Backend, Counts, Step};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List the queues with their counts.
    List {
        /// Print JSON, one queue a line.
        #[arg(long)]
        json: bool,
    },
    /// Pause a queue: workers claim no more of its requests; running attempts go on.
    Pause(QueueArgs),
    /// Resume a queue: workers claim again.
    Resume(QueueArgs),
    /// Audit queues: check that every request is in exactly one state and every lease has a holder, and warn of unsafe
    /// settings of the server.
    Audit {
        /// Only this queue.
        #[arg(long, alias = "queuename")]
        queue: Option<String>,
        /// Print JSON, one finding a line.
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
pub(super) struct QueueArgs {
    /// The queue.
    #[arg(long, alias = "queuename")]
    queue: String,
}

pub(super) async fn queue(command: Command, environment: &Environment) -> Result<ExitCode> {
    let backend = match command {
        Command::Pause(_) => environment.connect_or_create().await?,
        Command::Resume(_) => environment.connect().await?,
        Command::List { .. } | Command::Audit { .. } => environment.connect_to_read().await?,
    };
    let queue = &backend.queue;
    match command {
        Command::List { json } => {
            let mut rows = Vec::new();
            for name in queue.queues().await? {
                let counts = queue.counts(&name).await?;
                if json {
                    let steps = steps(&backend, &counts).await?;
                    let counts = &counts;
                    print::json(&QueueDocument { counts, steps });
                }
                let number = |count: u64| count.to_string();
                rows.push(vec![
                    counts.queue,
                    number(counts.ready + counts.intake),
                    number(counts.delayed),
                    number(counts.leased),
                    number(counts.done),
                    number(counts.dead + counts.invalid),
                    number(counts.cancelled),
                    counts.binding.map_or("-".into(), number),
                    if counts.paused { "paused" } else { "" }.into(),
                ]);
            }
            if !json {
                let head = [
                    "QUEUE",
                    "READY",
                    "DELAYED",
                    "LEASED",
                    "DONE",
                    "DEAD",
                    "CANCELLED",
                    "BINDING",
                    "",
                ];
                print::table(&head, &rows);
            }
        }
        Command::Pause(QueueArgs { queue: name }) => {
            check_usable_queue_name(&name)?;
            let known = queue.queues().await?;
            queue.set_paused(&name, true).await?;
            print::line(format!("{name}  paused"));
            requests::note_new_queue(&backend, &name, &known);
        }
        Command::Resume(QueueArgs { queue: name }) => {
            requests::known(&backend, &name).await?;
            queue.set_paused(&name, false).await?;
            print::line(format!("{name}  resumed"));
        }
        Command::Audit {
            queue: name,
            json: as_json,
        } => {
            settings(&backend).await;
            let mut clean = true;
            for name in requests::queues(&backend, name.as_deref()).await? {
                let findings = queue.audit(&name).await?;
                for finding in &findings {
                    if as_json {
                        print::json(&json!({ "queue": name, "finding": finding }));
                    } else {
                        print::line(format!("{name}  {finding}"));
                    }
                }
                if findings.is_empty() && !as_json {
                    print::line(format!("{name}  clean"));
                }
                clean &= findings.is_empty();
            }
            return Ok(if clean {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A queue as `queue list --json` shows it.
#[derive(Serialize)]
struct QueueDocument<'a> {
    #[serde(flatten)]
    counts: &'a Counts,
    /// The steps of the binding in force; null without one, or if only a newer program can read it.
    steps: Option<Vec<Step>>,
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

/// Warns of each danger in the settings of the server, and returns them.
pub(super) async fn settings(backend: &Backend) -> Vec<String> {
    let dangers = match backend.queue.settings().await {
        Ok(dangers) => dangers,
        Err(error) => vec![format!("its settings could not be checked: {}", error.report())],
    };
    for danger in &dangers {
        tracing::warn!(
            server = backend.name,
            danger,
            "the queue's server may lose requests"
        );
    }
    dangers
}
