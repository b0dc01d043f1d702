//! Implements `dead`, which works on dead letters and on invalid documents.

use std::process::ExitCode;

use super::environment::Environment;
use super::options::{InputArgs, number};
use super::print;
use super::requests;
use crate::admin::dead::{self, AllAnswer, InvalidDocument, PurgedDocuments, Verb};
use crate::admin::queues;
use crate::error::{Code, Error, Result, Stage};
use crate::queue::{Backend, Status, StatusDocument};

/// The maximum number of ids in a note.
const IDS_SHOWN: usize = 20;

/// The maximum number of characters of a document in the list.
const DOCUMENT_CHARS: usize = 60;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List dead letters and invalid documents, with the reasons.
    List {
        #[command(flatten)]
        queues: QueueFilter,
        /// List at most N of each queue.
        #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = number::<usize>(0..=i64::MAX))]
        limit: usize,
        /// Print JSON, one object per line.
        #[arg(long)]
        json: bool,
    },
    /// Show one dead letter or invalid document.
    Show {
        #[command(flatten)]
        letter: LetterArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put one dead request, or all, back into the queue. With --all, each request is retried once, even if it dies
    /// again meanwhile. With one ID, options for the input change how it is read.
    Retry(RetryArgs),
    /// Remove one dead request, all dead requests or all invalid documents for good.
    Purge(PurgeArgs),
}

#[derive(clap::Args)]
pub(super) struct QueueFilter {
    /// Only this queue.
    #[arg(long, alias = "queuename")]
    queue: Option<String>,
}

#[derive(clap::Args)]
pub(super) struct LetterArgs {
    /// The id of the request, or the name of an invalid document from `dead list`.
    id: String,
    #[command(flatten)]
    queues: QueueFilter,
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
pub(super) struct RetryArgs {
    #[command(flatten)]
    selection: Selection,
    // A group's heading also applies to the arguments after the group, so groups come last.
    #[command(flatten)]
    input: InputArgs,
}

#[derive(clap::Args)]
pub(super) struct PurgeArgs {
    /// The id of the request, or the name of an invalid document from `dead list`.
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
        Command::Show { letter, json } => {
            let (id, queue) = (&letter.id, letter.queues.queue.as_deref());
            if let Some(key) = dead::document_key(id) {
                let document = dead::document(&backend, key, queue).await?;
                match json {
                    true => print::json(&document),
                    false => show_document(&document),
                }
                return Ok(ExitCode::SUCCESS);
            }
            let status = dead::find(&backend, id, queue).await?;
            if json {
                print::json(&StatusDocument::from(&status));
            } else {
                requests::show(&status);
            }
        }
        Command::Retry(args) => return retry(&backend, args).await,
        Command::Purge(args) => return purge(&backend, args).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(backend: &Backend, filter: &QueueFilter, limit: usize, as_json: bool) -> Result<()> {
    let mut rows = Vec::new();
    for queue in queues::selected(backend, filter.queue.as_deref()).await? {
        let requests = dead::list(backend, &queue, limit).await?;
        if as_json {
            requests
                .iter()
                .for_each(|status| print::json(&StatusDocument::from(status)));
        } else {
            rows.extend(requests.into_iter().map(request_row));
        }
        let documents = dead::documents(backend, &queue, limit).await?;
        if as_json {
            documents.iter().for_each(print::json);
        } else {
            rows.extend(documents.into_iter().map(document_row));
        }
    }
    if !as_json {
        print::table(&["ID", "QUEUE", "INPUT", "CODE", "ERROR"], &rows);
    }
    Ok(())
}

fn show_document(invalid: &InvalidDocument) {
    let InvalidDocument {
        code,
        document,
        error,
        name,
        queue,
        ..
    } = invalid;
    let code = code.as_ref().map_or(String::new(), |code| format!(" [{code}]"));
    print::line(format!("{name}  invalid"));
    print::line(format!("queue    {queue}"));
    print::line(format!("error    {error}{code}"));
    print::line(format!("document {document}"));
}

fn request_row(status: Status) -> Vec<String> {
    vec![
        status.id,
        status.queue,
        status.uri,
        status.code.unwrap_or_default(),
        status.error.unwrap_or_default(),
    ]
}

fn document_row(invalid: InvalidDocument) -> Vec<String> {
    vec![
        invalid.name,
        invalid.queue,
        print::beginning(&invalid.document, DOCUMENT_CHARS),
        invalid.code.unwrap_or_default(),
        invalid.error,
    ]
}

async fn retry(backend: &Backend, args: RetryArgs) -> Result<ExitCode> {
    let RetryArgs { selection, input } = args;
    let given = input.options();
    if given.is_default() {
        return retry_or_purge(backend, selection, Verb::Retry).await;
    }
    let Some(id) = selection.id else {
        let what = "--all retries the requests as they are: give one ID with options for its input";
        return Err(Error::permanent(Stage::Config, Code::Usage, what));
    };
    let queue = selection.queues.queue.as_deref();
    let (id, differences) = dead::retry_with(backend, &id, queue, given).await?;
    print::line(format!("{id}  {}", state_after(Verb::Retry)));
    for difference in differences {
        print::note(format!("{id}: {difference}"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn purge(backend: &Backend, args: PurgeArgs) -> Result<ExitCode> {
    let PurgeArgs {
        id,
        all,
        documents,
        queues,
    } = args;
    if let Some(key) = id.as_deref().and_then(dead::document_key) {
        dead::purge_document(backend, key, queues.queue.as_deref()).await?;
        print_removed(key);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(queue) = queues.queue.as_deref().filter(|_| documents) {
        purge_documents(backend, queue).await?;
    }
    if id.is_none() && !all {
        return Ok(ExitCode::SUCCESS);
    }
    retry_or_purge(backend, Selection { id, all, queues }, Verb::Purge).await
}

fn print_removed(key: &str) {
    print::line(format!("{}  removed", dead::document_name(key)));
}

async fn purge_documents(backend: &Backend, queue: &str) -> Result<()> {
    let PurgedDocuments { removed, left } = dead::purge_documents(backend, queue, print_removed).await?;
    if left > 0 {
        print::note(format!(
            "{queue}: {removed} documents removed; {left} have come since and are left"
        ));
    }
    Ok(())
}

/// Returns the state of a request after the operation.
fn state_after(verb: Verb) -> &'static str {
    match verb {
        Verb::Retry => "ready",
        Verb::Purge => "removed",
    }
}

/// Returns the past participle of the operation, for notes.
fn participle(verb: Verb) -> &'static str {
    match verb {
        Verb::Retry => "retried",
        Verb::Purge => "removed",
    }
}

async fn retry_or_purge(backend: &Backend, selection: Selection, verb: Verb) -> Result<ExitCode> {
    match (selection.id, selection.queues.queue) {
        (Some(id), queue) => {
            let found = dead::retry_or_purge(backend, verb, &id, queue.as_deref()).await?;
            print::line(format!("{}  {}", found.id, state_after(verb)));
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

async fn retry_or_purge_all(backend: &Backend, queue: &str, verb: Verb) -> Result<ExitCode> {
    let print_done = |id: &str| print::line(format!("{id}  {}", state_after(verb)));
    let answer = dead::retry_or_purge_all(backend, verb, queue, print_done).await?;
    let AllAnswer {
        found,
        done,
        gone,
        lost,
        died_since,
    } = answer;
    let mut note = format!("{queue}: {done} of {found} {}", participle(verb));
    if gone > 0 {
        note += &format!("; {gone} skipped, because somebody else has retried or removed them meanwhile");
    }
    if died_since > 0 {
        note += &format!("; {died_since} have died since and are left");
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
