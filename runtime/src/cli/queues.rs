//! Implements `queue`, which works on whole queues.

use std::process::ExitCode;

use super::environment::Environment;
use super::{print, requests};
use crate::admin::queues::{self, Finding};
use crate::error::Result;
use crate::queue::{Backend, Counts};

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List the queues with their counts.
    List {
        /// Print JSON, one queue per line.
        #[arg(long)]
        json: bool,
    },
    /// Pause a queue: workers claim no more of its requests, but running attempts continue.
    Pause(QueueArgs),
    /// Resume a queue: workers claim its requests again.
    Resume(QueueArgs),
    /// Audit queues: check that every request is in exactly one state and every lease has a holder, and warn of unsafe
    /// settings of the server.
    Audit {
        /// Only this queue.
        #[arg(long, alias = "queuename")]
        queue: Option<String>,
        /// Print JSON, one finding per line.
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
    match command {
        Command::List { json } => {
            let list = queues::list(&backend).await?;
            if json {
                list.iter().for_each(print::json);
            } else {
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
                let rows: Vec<_> = list.iter().map(|queue| row(&queue.counts)).collect();
                print::table(&head, &rows);
            }
        }
        Command::Pause(QueueArgs { queue }) => {
            let new = queues::pause(&backend, &queue).await?;
            print::line(format!("{queue}  paused"));
            requests::note_new_queue(&backend, new);
        }
        Command::Resume(QueueArgs { queue }) => {
            queues::resume(&backend, &queue).await?;
            print::line(format!("{queue}  resumed"));
        }
        Command::Audit { queue, json } => {
            warn_of_dangers(&backend).await;
            let mut clean = true;
            for queue in queues::selected(&backend, queue.as_deref()).await? {
                let findings = queues::audit(&backend, &queue).await?;
                clean &= findings.is_empty();
                if json {
                    findings.iter().for_each(print::json);
                } else if findings.is_empty() {
                    print::line(format!("{queue}  no findings"));
                } else {
                    let line = |found: &Finding| print::line(format!("{queue}  {}", found.finding));
                    findings.iter().for_each(line);
                }
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

fn row(counts: &Counts) -> Vec<String> {
    let number = |count: u64| count.to_string();
    vec![
        counts.queue.clone(),
        number(counts.ready + counts.intake),
        number(counts.delayed),
        number(counts.leased),
        number(counts.done),
        number(counts.dead + counts.invalid),
        number(counts.cancelled),
        counts.binding.map_or("-".into(), number),
        if counts.paused { "paused" } else { "" }.into(),
    ]
}

/// Logs a warning for each dangerous setting of the server. Returns these settings.
pub(super) async fn warn_of_dangers(backend: &Backend) -> Vec<String> {
    let dangers = queues::dangers(backend).await;
    for danger in &dangers {
        tracing::warn!(
            server = backend.name,
            danger,
            "the queue's server may lose requests"
        );
    }
    dangers
}
