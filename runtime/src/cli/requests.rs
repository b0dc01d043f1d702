//! Implements `status`, `requests` and `cancel`, which work on single requests.

use std::process::ExitCode;

use super::environment::Environment;
use super::options::number;
use super::print;
use crate::admin::groups::{self, DeadError, RollUp};
use crate::admin::queues::NewQueue;
use crate::admin::requests;
use crate::error::{Code, Result};
use crate::queue::{Backend, State, Status, StatusDocument, StoredReceipt};
use crate::receipt::RecordCounts;
use crate::request::{InputOptions, Replay, input_differences};

#[derive(clap::Args)]
pub(super) struct StatusArgs {
    /// The id of the request.
    #[arg(required_unless_present = "group")]
    id: Option<String>,
    /// Sum up the requests of this group instead of showing one request.
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    group: Option<String>,
    /// The queue of the request or group; needed only if several queues have it.
    #[arg(long, alias = "queuename")]
    queue: Option<String>,
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
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = number::<usize>(0..=i64::MAX))]
    limit: usize,
    /// Print JSON, one request per line.
    #[arg(long)]
    json: bool,
}

/// If a queue is new, prints a note that says so, with the names of similar queues.
pub(super) fn note_new_queue(backend: &Backend, new: Option<NewQueue>) {
    let Some(NewQueue { queue, near }) = new else {
        return;
    };
    let near = match near.as_slice() {
        [] => String::new(),
        near => format!("; near it: {}", near.join(", ")),
    };
    print::note(format!("{queue} is new on {}{near}", backend.name));
}

impl RequestArgs {
    /// Returns the request's id, and the name of its queue if the user gave one.
    pub(super) fn parts(&self) -> (&str, Option<&str>) {
        (&self.id, self.queue.as_deref())
    }
}

pub(super) async fn status(args: StatusArgs, environment: &Environment) -> Result<ExitCode> {
    let backend = environment.connect_to_read().await?;
    let queue = args.queue.as_deref();
    if let Some(group) = &args.group {
        let sum = groups::roll_up(&backend, group, queue).await?;
        show_sum(&sum, args.json);
        return Ok(ExitCode::SUCCESS);
    }
    let status = requests::find(&backend, args.id.as_deref().unwrap_or_default(), queue).await?;
    if args.json {
        print::json(&StatusDocument::from(&status));
    } else {
        show(&status);
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the error of a request, with the error's code if there is one.
pub(super) fn with_code(error: &str, status: &Status) -> String {
    match &status.code {
        Some(code) => format!("{error} [{code}]"),
        None => error.to_owned(),
    }
}

/// Prints the sum of several requests.
pub(super) fn show_sum(sum: &RollUp, json: bool) {
    if json {
        return print::json(sum);
    }
    let RollUp {
        queue,
        group,
        submitted,
        waiting,
        running,
        done,
        dead,
        cancelled,
        records,
        bytes,
        errors,
    } = sum;
    if let Some(group) = group {
        print::line(format!("group    {group}"));
    }
    print::line(format!("queue    {queue}"));
    print::line(format!(
        "requests {submitted}: {waiting} waiting, {running} running, {done} done, {dead} dead, {cancelled} cancelled"
    ));
    print::line(format!(
        "records  {} read, {} written, {} rejected",
        records.read, records.written, records.rejected
    ));
    print::line(format!(
        "bytes    {} read, {} written",
        print::bytes(bytes.read),
        print::bytes(bytes.written)
    ));
    for DeadError { id, code, error, .. } in errors {
        let code = code.as_ref().map_or(String::new(), |code| format!(" [{code}]"));
        print::line(format!("error    {id}: {error}{code}"));
    }
    if *dead > errors.len() as u64 {
        let more = dead - errors.len() as u64;
        print::line(format!(
            "         and {more} more: `ingest-host dead list --queue {queue}`"
        ));
    }
}

/// The codes of failures that other options for reading the input can prevent.
const OF_READING: [Code; 5] = [
    Code::NotATable,
    Code::EncodingMismatch,
    Code::CsvSyntax,
    Code::HeaderInvalid,
    Code::QuoteUnclosed,
];

/// Returns the command that can bring a dead request to its end, or `None` if the failure does not name one.
pub(super) fn way_on(status: &Status) -> Option<String> {
    let code = status.code.as_deref()?;
    let is_of_reading = OF_READING.iter().any(|of_reading| of_reading.as_str() == code);
    (status.state == State::Dead && is_of_reading).then(|| {
        let id = &status.id;
        format!("if the file is right: `ingest-host dead retry {id}` with options such as --delimiter or --encoding")
    })
}

/// Prints the status of a request for people.
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
    print::line(format!("input    {}", status.uri));
    if let Some(Replay {
        parent,
        number,
        codes,
    }) = &status.replay
    {
        let which = match codes.is_empty() {
            true => String::new(),
            false => format!(" with the code {}", codes.join(", ")),
        };
        print::line(format!(
            "parent   {parent}: replay {number} of its rejects{which}"
        ));
    }
    if let Some(submitted) = &status.submitted_input {
        let now = InputOptions::known_of(status.input.clone());
        let changes = input_differences(submitted, &now).join("; ");
        print::line(format!("changed  {changes}, since a `dead retry`"));
    }
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
    if let Some(way_on) = way_on(status) {
        print::line(format!("way on   {way_on}"));
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
    let requests = requests::list(&backend, &args.queue, args.state, args.limit).await?;
    if args.json {
        requests
            .iter()
            .for_each(|status| print::json(&StatusDocument::from(status)));
    } else {
        let head = [
            "ID", "STATE", "ATTEMPTS", "LOST", "READ", "REJECTED", "INPUT", "CODE", "ERROR",
        ];
        let rows: Vec<_> = requests.iter().map(row).collect();
        print::table(&head, &rows);
    }
    Ok(ExitCode::SUCCESS)
}

fn row(status: &Status) -> Vec<String> {
    // The counts distinguish a file with many rejects from a file without rejects.
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
        status.uri.clone(),
        status.code.clone().unwrap_or_default(),
        status.error.clone().unwrap_or_default(),
    ]
}

pub(super) async fn cancel(args: CancelArgs, environment: &Environment) -> Result<ExitCode> {
    let backend = environment.connect().await?;
    let (id, queue) = args.request.parts();
    let answer = requests::cancel(&backend, id, queue).await?;
    let state = answer.state.map_or("is not known any more", State::name);
    let says = answer.waits_for.as_deref().unwrap_or(state);
    print::line(format!("{}  {says}", answer.id));
    Ok(ExitCode::SUCCESS)
}
