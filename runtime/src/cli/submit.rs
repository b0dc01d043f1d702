//! Implements `submit`, which puts requests into a queue.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::config_file::ConfigFile;
use super::environment::Environment;
use super::inputs;
use super::options::{InputArgs, NO_FILE_NAME, number, unread_file};
use super::print::{self, ProgressLine};
use super::{requests, stores, submit_many};
use crate::admin;
use crate::admin::groups::RollUp;
use crate::admin::submit::{self, Accepted};
use crate::error::{Class, Code, Error, Result, Stage};
use crate::fetch::check_fetchable;
use crate::listing::{Several, UriList, absolute};
use crate::location::Location;
use crate::names::{check_group_name, check_usable_queue_name};
use crate::queue::{Backend, Counts, Progress, State, Status, StatusDocument, is_on_this_machine};
use crate::request::{NewRequest, check_uri};

/// The interval at which `--wait` checks a request.
pub(super) const POLL_EVERY: Duration = Duration::from_millis(100);

/// The advice if another request has the id.
const OTHER_ID: &str = "choose another --id";

/// The advice for a folder whose name is given without a slash at its end.
const ALL_IN_FOLDER: &str = "with a slash at its end, it stands for all files in it";

/// The time after which `--wait` explains why a request has not begun.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(super) struct Args {
    /// The queue.
    #[arg(long, alias = "queuename")]
    pub(super) queue: String,
    /// The input: a path, or a URI of scheme file, http, https, s3, gs or az. For many inputs: a pattern in quotes, such
    /// as 'data/**/*.csv' or 's3://bucket/2017/*.csv'; a folder or a prefix with a slash at its end; @FILE or - (standard
    /// input) for a list with a URI on each line. Each input becomes a request.
    #[arg(long, required = true, num_args = 1..)]
    uri: Vec<String>,
    /// The id of the request; submitting it again has no effect [default: random; for an input of a pattern, a folder or a
    /// list, made of its URI and version].
    #[arg(long)]
    id: Option<String>,
    /// The group of the requests; `status --group` sums them up.
    #[arg(long, value_name = "NAME")]
    pub(super) group: Option<String>,
    /// The priority, from -100 to 100. Requests with a higher priority run first.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number::<i32>(-100..=100), allow_hyphen_values = true)]
    pub(super) priority: i32,
    /// Also submit requests that no worker could fetch now: for a missing local file (if the queue is on this machine),
    /// or for a scheme that this version does not support.
    #[arg(long)]
    pub(super) no_check: bool,
    /// Wait until the requests have ended, and show the results.
    #[arg(long)]
    pub(super) wait: bool,
    /// Print JSON: without --wait, the status of each request; with --wait, a receipt for each request, or the sum of all
    /// requests if there is a pattern, a folder or a list.
    #[arg(long)]
    pub(super) json: bool,
    // A group's heading also applies to the arguments after the group, so groups come last.
    #[command(flatten)]
    pub(super) input: InputArgs,
}

pub(super) async fn submit(
    args: Args,
    file: Option<&ConfigFile>,
    environment: &Environment,
) -> Result<ExitCode> {
    check_usable_queue_name(&args.queue)?;
    args.group.as_deref().map_or(Ok(()), check_group_name)?;
    let arguments: Vec<_> = args
        .uri
        .iter()
        .map(|uri| UriArgument::of(uri))
        .collect::<Result<_>>()?;
    let is_one = matches!(&arguments[..], [UriArgument::One(_)]);
    for (option, what) in [
        (args.id.is_some(), "--id names one request"),
        (args.input.sha256.is_some(), "--sha256 is of one file"),
    ] {
        if option && !is_one {
            let what = format!("{what}: give one --uri with it");
            return Err(Error::permanent(Stage::Config, Code::Usage, what));
        }
    }
    // A mistake in one of these arguments prevents the whole submit.
    let (mut requests, mut many) = (Vec::new(), Vec::new());
    for argument in arguments {
        match argument {
            UriArgument::One(uri) => requests.push(new_request(&args, &uri)?),
            UriArgument::Many(argument) => many.push(argument),
        }
    }
    let is_here = is_on_this_machine(&environment.url()?);
    if !args.no_check {
        requests
            .iter()
            .try_for_each(|request| fetchable(request, is_here, ALL_IN_FOLDER))?;
    }
    if !many.is_empty() {
        let stores = stores::of_queue(&args.queue, file)?;
        return submit_many::submit(&args, requests, many, is_here, stores, environment).await;
    }
    let backend = environment.connect_or_create().await?;
    let submission = submit::submit(&backend, &args.queue, &requests).await?;
    note_queue(&args, &backend, environment)?;
    requests::note_new_queue(&backend, submission.new_queue);
    let mut accepted = Vec::new();
    for (request, answer) in requests.iter().zip(submission.answers) {
        match submit::accepted(&backend, &args.queue, request, answer, OTHER_ID).await {
            Ok(answer) => {
                print_accepted(&args, &answer);
                accepted.push(request);
            }
            // A conflict of one request must not hide the answers to the other requests.
            Err(error) if error.code() == Code::RequestConflict => print::error(&error),
            Err(error) => return Err(error),
        }
    }
    let mut failed = accepted.len() < requests.len();
    if args.wait {
        let mut sum = RollUp::of(&args.queue, args.group.as_deref());
        for request in accepted {
            match wait(&args.queue, args.json, &backend, &request.id, &mut sum).await {
                Ok(ended_well) => failed |= !ended_well,
                // If somebody else has changed one request, the results of the other requests must still be shown.
                Err(error) if error.stage() == Stage::Request => {
                    print::error(&error);
                    failed = true;
                }
                Err(error) => return Err(error),
            }
        }
        if requests.len() > 1 && !args.json {
            requests::show_sum(&sum, false);
        }
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// A value of `--uri`.
enum UriArgument {
    One(String),
    Many(ManyUris),
}

/// A value of `--uri` that names any number of inputs.
pub(super) enum ManyUris {
    /// A pattern or a folder.
    Listing(Several),
    /// A file with a URI on each line.
    ListFile(UriList<BufReader<File>>),
    /// Standard input, with a URI on each line.
    Stdin,
}

impl UriArgument {
    fn of(uri: &str) -> Result<Self> {
        Ok(match (uri, uri.strip_prefix('@')) {
            ("-", _) => Self::Many(ManyUris::Stdin),
            (_, Some(path)) => {
                let refused = |what: &str| {
                    let what = format!("--uri @{path}: {what}");
                    Error::permanent(Stage::Config, Code::SettingsInvalid, what)
                };
                if path.is_empty() {
                    return Err(refused(NO_FILE_NAME));
                }
                let file = File::open(path).map_err(|error| {
                    unread_file(Path::new(path), refused("this list cannot be read"), error)
                })?;
                Self::Many(ManyUris::ListFile(UriList::new(path, BufReader::new(file))))
            }
            _ => match Several::of(uri)? {
                Some(several) => Self::Many(ManyUris::Listing(several)),
                None => Self::One(uri.to_owned()),
            },
        })
    }
}

/// Prints which queue the requests go to.
pub(super) fn note_queue(args: &Args, backend: &Backend, environment: &Environment) -> Result<()> {
    let hint = match environment.names_a_server()? {
        true => "",
        false => "; set REDIS_URL for Redis",
    };
    print::note(format!(
        "queue: {} on {}{hint}",
        args.queue,
        backend.description()
    ));
    Ok(())
}

fn new_request(args: &Args, uri: &str) -> Result<NewRequest> {
    // The check gets the URI as the user typed it. The absolute path that is made of the URI later may look different.
    check_uri(uri)?;
    let mut request = NewRequest::new(absolute(uri));
    if let Some(id) = &args.id {
        request.id.clone_from(id);
    }
    request.priority = args.priority;
    request.group.clone_from(&args.group);
    request.input = args.input.options();
    request.check()?;
    Ok(request)
}

/// Refuses a request that could only become a dead letter. `for_folder` is the advice if its input is a folder.
pub(super) fn fetchable(request: &NewRequest, is_here: bool, for_folder: &str) -> Result<()> {
    let checked = check_fetchable(&request.uri, is_here);
    checked.map_err(|error| {
        if error.code() == Code::NotAFile && is_folder(&request.uri) {
            return error.with_hint(format!("{for_folder}; --no-check submits it all the same"));
        }
        let near = match error.code() {
            Code::InputMissing => inputs::near(&request.uri),
            _ => None,
        };
        let near = near.map_or(String::new(), |near| format!("{near} is here: did you mean it? "));
        error.with_hint(format!("{near}--no-check submits it all the same"))
    })
}

fn is_folder(uri: &str) -> bool {
    matches!(Location::parse(uri, Stage::Fetch), Ok(Location::File(path)) if path.is_dir())
}

/// Prints the answer to a submit, except with `--wait --json`, which prints receipts later.
fn print_accepted(args: &Args, accepted: &Accepted) {
    if args.json {
        if !args.wait {
            print::json(accepted);
        }
        return;
    }
    let Accepted {
        ending,
        id,
        state,
        was_there,
        ..
    } = accepted;
    let hint = match state {
        State::Dead if *was_there => format!(": `ingest-host dead retry {id}` tries it again"),
        State::Cancelled if *was_there => ": choose another --id to have it done".to_owned(),
        State::Done if *was_there => {
            format!(
                ": `ingest-host status {id}` shows its output, `ingest-host replay {id}` processes its rejects again; choose another \
                 --id to have it done again"
            )
        }
        _ if ending.is_some() => ": choose another --id to have it done".to_owned(),
        _ => String::new(),
    };
    let word = if *was_there {
        "was there before"
    } else {
        "submitted"
    };
    let state = ending.as_deref().unwrap_or(state.name());
    print::line(format!("{id}  {word} ({state}){hint}"));
}

/// Waits for the end of a request, shows its result, and adds the request to `sum`. Returns false if the request has
/// ended, but is not done.
pub(super) async fn wait(
    queue: &str,
    json: bool,
    backend: &Backend,
    id: &str,
    sum: &mut RollUp,
) -> Result<bool> {
    let progress = ProgressLine::spinner();
    let (mut failures, started, mut is_told) = (0, Instant::now(), false);
    let status = loop {
        match admin::requests::status(backend, queue, id).await {
            Ok(Some(status)) if matches!(status.state, State::Done | State::Dead | State::Cancelled) => {
                break status;
            }
            Ok(Some(status)) => {
                progress.say(progress_text(&status));
                if !is_told && status.state == State::Ready && started.elapsed() > PATIENCE {
                    is_told = true;
                    if let Ok(counts) = backend.queue.counts(queue).await {
                        progress.keep(format!("{id}  waits: {}", why_waiting(&counts)));
                    }
                }
                if status.attempts > failures
                    && let Some(failure) = last_failure(&status)
                {
                    failures = status.attempts;
                    progress.keep(format!("{id}  {failure}"));
                }
            }
            Ok(None) => {
                return Err(removed(id, queue));
            }
            // The request continues without this process, so a failing server only delays the answer.
            Err(error) if error.class() == Class::Transient => progress.say(error.report()),
            Err(error) => return Err(error),
        }
        tokio::time::sleep(POLL_EVERY).await;
    };
    drop(progress);
    sum.add(&status);
    show(json, &status)
}

/// Returns the error for a request that is not in its queue any more.
pub(super) fn removed(id: &str, queue: &str) -> Error {
    let why = format!("{id}: is not in {queue} any more: somebody has removed it");
    Error::permanent(Stage::Request, Code::RequestUnknown, why)
}

/// Returns the reason why no worker has claimed a ready request.
pub(super) fn why_waiting(counts: &Counts) -> String {
    let Counts {
        queue, ready, leased, ..
    } = counts;
    if counts.paused {
        format!("{queue} is paused: `ingest-host queue resume --queue {queue}` lets workers claim")
    } else if *leased > 0 {
        format!("workers have {leased} other requests of {queue}, and {ready} are ready")
    } else if counts.binding.is_none() {
        format!(
            "no worker has claimed it, and {queue} has no plugin: start `ingest-host run --queue {queue} --plugin F.wasm`, or \
             bind one (`ingest-host plugin bind`)"
        )
    } else {
        format!("no worker has claimed it: start one with `ingest-host run --queue {queue}`")
    }
}

fn progress_text(status: &Status) -> String {
    let (id, state) = (&status.id, status.state.name());
    match status.progress {
        Some(Progress {
            bytes,
            records,
            rejects,
            ..
        }) => {
            format!("{id}  {state}  {}", print::measures(bytes, records, rejects))
        }
        None => match status.due() {
            Some(due) => format!("{id}  {state}, {} {due}", status.due_for()),
            None => format!("{id}  {state}"),
        },
    }
}

/// Returns the reason of the last failure and the time of the next attempt. Returns `None` if the request does not wait
/// for a retry.
fn last_failure(status: &Status) -> Option<String> {
    let (due, error) = (status.due()?, status.error.as_deref()?);
    Some(format!(
        "attempt {} failed: {}; {} {due}",
        status.attempts,
        requests::with_code(error, status),
        status.due_for()
    ))
}

fn show(json: bool, status: &Status) -> Result<bool> {
    let document = status.receipt.as_ref().filter(|_| status.state == State::Done);
    match document {
        Some(document) if json => print::json(document),
        Some(receipt) => print::receipt(receipt.read(&status.id)?),
        None if json => print::json(&StatusDocument::from(status)),
        None => {
            let reason = status.error.as_deref();
            let reason = reason.map_or(String::new(), |error| {
                format!(": {}", requests::with_code(error, status))
            });
            print::line(format!("{}  {}{reason}", status.id, status.state.name()));
            if let Some(way_on) = requests::way_on(status) {
                print::note(format!("{}: {way_on}", status.id));
            }
        }
    }
    Ok(status.state == State::Done)
}
