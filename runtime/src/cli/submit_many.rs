//! Submits the inputs of patterns, folders and lists of URIs. A thread finds the inputs while the requests are submitted,
//! so that any number of them takes little memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, Write};
use std::process::ExitCode;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::environment::Environment;
use super::print::{self, ProgressLine};
use super::requests;
use super::submit::{Args, ManyUris, PATIENCE, POLL_EVERY, fetchable, note_queue, removed, why_waiting};
use crate::admin::groups::RollUp;
use crate::admin::queues::NewQueue;
use crate::admin::submit::{self, Accepted};
use crate::error::{Class, Code, Error, Result, Stage};
use crate::listing::{ListedInput, ListedUri, LocalFiles, Several, UriList, input_at};
use crate::location::redact;
use crate::queue::{Backend, State, Status, Submitted};
use crate::request::{NewRequest, check_uri};
use crate::storage::object::ObjectStores;

/// The maximum number of requests that are submitted with one call.
const BATCH: usize = 1_000;

/// The maximum number of found inputs that wait to be submitted.
const FOUND_MAX: usize = 2 * BATCH;

/// The maximum number of errors of single inputs that are shown. More errors are counted.
const ERRORS_SHOWN: u64 = 10;

/// The maximum number of requests that are waited for at the same time.
const WAIT_STEP: usize = 250;

/// A message of the thread that looks for inputs.
enum Found {
    Request(NewRequest),
    /// An input, or a whole argument, that cannot be submitted.
    Failed(Error),
}

/// Counts of the inputs, by the answer of the queue.
#[derive(Default)]
struct Tally {
    new: u64,
    known: u64,
    /// The known requests that are dead letters. A submit does not retry them.
    dead: u64,
    failed: u64,
}

impl Tally {
    fn text(&self) -> String {
        let Self {
            new,
            known,
            dead,
            failed,
        } = self;
        let mut text = format!("{} requests: {new} new, {known} known", new + known);
        if *dead > 0 {
            text.push_str(&format!(" ({dead} of them dead)"));
        }
        if *failed > 0 {
            text.push_str(&format!(", {failed} not submitted"));
        }
        text
    }

    fn fail(&mut self, error: &Error, progress: &ProgressLine) {
        self.failed += 1;
        if self.failed <= ERRORS_SHOWN {
            progress.keep(print::error_text(error));
        }
    }
}

/// Submits `requests`, and then the inputs that the arguments in `many` name. An input that cannot be submitted does not
/// prevent the others.
pub(super) async fn submit(
    args: &Args,
    requests: Vec<NewRequest>,
    many: Vec<ManyUris>,
    is_here: bool,
    stores: ObjectStores,
    environment: &Environment,
) -> Result<ExitCode> {
    let backend = environment.connect_or_create().await?;
    // If this user may not list queues, the requests are submitted all the same.
    let known = backend.queue.queues().await.ok();
    note_queue(args, &backend, environment)?;
    let new_queue = known.and_then(|known| NewQueue::unless_known(&args.queue, &known));

    let (sender, found) = mpsc::channel(FOUND_MAX);
    let finder = Finder {
        template: NewRequest {
            priority: args.priority,
            group: args.group.clone(),
            input: args.input.options(),
            ..NewRequest::new("")
        },
        checked_for: (!args.no_check).then_some(is_here),
        files: LocalFiles::default(),
        stores,
        runtime: Handle::current(),
        sender,
    };
    // The program does not wait for this thread at its end, because the thread may be waiting for standard input.
    let finding = std::thread::spawn(move || finder.find_all(requests, many));
    let mut ids = match args.wait {
        true => Some(BufWriter::new(
            tempfile::tempfile().map_err(|error| no_space(&error))?,
        )),
        false => None,
    };
    let mut tally = Tally::default();
    let submitted = submit_all(args, &backend, found, &mut tally, &mut ids).await;
    if tally.new > 0 {
        requests::note_new_queue(&backend, new_queue);
    }
    match args.json {
        true => print::note(tally.text()),
        false => print::line(tally.text()),
    }
    submitted?;
    // All inputs were received, so the thread ends now. If it has panicked, inputs are missing.
    if let Err(panic) = finding.join() {
        std::panic::resume_unwind(panic);
    }
    let mut failed = tally.failed > 0;
    if let Some(ids) = ids {
        let mut ids = ids.into_inner().map_err(|error| no_space(error.error()))?;
        ids.rewind().map_err(|error| no_space(&error))?;
        let (sum, are_all_there) = wait_for_all(args, &backend, BufReader::new(ids)).await?;
        failed |= !are_all_there || !sum.is_all_done();
        requests::show_sum(&sum, args.json);
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn no_space(error: &std::io::Error) -> Error {
    let what = "the ids of the requests cannot be kept in a temporary file";
    Error::permanent(Stage::Config, Code::HostFailure, what).because(error.to_string())
}

/// The thread that looks for inputs and makes a request of each.
struct Finder {
    /// A request without its id, URI and version.
    template: NewRequest,
    /// Set if inputs without a version are checked. True if the workers run on this machine.
    checked_for: Option<bool>,
    files: LocalFiles,
    stores: ObjectStores,
    runtime: Handle,
    sender: Sender<Found>,
}

impl Finder {
    fn find_all(mut self, requests: Vec<NewRequest>, many: Vec<ManyUris>) {
        for request in requests {
            if self.send(Found::Request(request)).is_err() {
                return;
            }
        }
        for argument in many {
            let done = match argument {
                ManyUris::Listing(several) => self.find(&several),
                ManyUris::ListFile(list) => self.read_list(list),
                ManyUris::Stdin => self.read_list(UriList::new("stdin", std::io::stdin().lock())),
            };
            if let Err(error) = done
                && self.send(Found::Failed(error)).is_err()
            {
                return;
            }
        }
    }

    fn find(&mut self, several: &Several) -> Result<()> {
        let listed = several.for_each(&self.stores, &self.runtime, |input| {
            let request = self.request(input);
            self.send(request.map_or_else(Found::Failed, Found::Request))
        })?;
        if listed.left_out > 0 {
            let count = listed.left_out;
            print::note(format!(
                "{count} matches were left out: they are no regular files"
            ));
        }
        match (listed.unread, several) {
            (Some(error), Several::Objects(_)) => Err(error.with_hint(
                "the list broke off, and what it had before was submitted: submit it again to add the rest",
            )),
            (Some(error), _) => Err(error),
            (None, _) => Ok(()),
        }
    }

    fn read_list<R: BufRead>(&mut self, mut list: UriList<R>) -> Result<()> {
        let mut is_empty = true;
        while let Some(next) = list.next() {
            let ListedUri { uri, line } = next?;
            is_empty = false;
            let request = self.listed(&uri).map_err(|error| error.about(list.place(line)));
            self.send(request.map_or_else(Found::Failed, Found::Request))?;
        }
        match is_empty {
            true => Err(list.has_none()),
            false => Ok(()),
        }
    }

    /// Returns the request for a URI in a list.
    fn listed(&mut self, uri: &str) -> Result<NewRequest> {
        check_uri(uri)?;
        let input = input_at(uri, &mut self.files);
        let request = self.request(input)?;
        match self.checked_for {
            Some(is_here) if request.input.version.is_none() => fetchable(&request, is_here)?,
            _ => {}
        }
        Ok(request)
    }

    fn request(&self, input: ListedInput) -> Result<NewRequest> {
        let mut request = self.template.clone();
        (request.id, request.uri, request.input.version) = (input.id, input.uri, input.version);
        request
            .check()
            .map_err(|error| error.about(redact(&request.uri)))?;
        Ok(request)
    }

    /// Hands a message over. Fails if the submit has ended.
    fn send(&self, found: Found) -> Result<()> {
        let sent = self.sender.blocking_send(found);
        sent.map_err(|_| Error::permanent(Stage::Config, Code::Stopped, "the submit has ended"))
    }
}

/// Submits the inputs until the thread has found all of them. Writes the ids of the requests that are in the queue to `ids`.
async fn submit_all(
    args: &Args,
    backend: &Backend,
    mut found: Receiver<Found>,
    tally: &mut Tally,
    ids: &mut Option<BufWriter<File>>,
) -> Result<()> {
    let progress = ProgressLine::spinner();
    let mut next = Vec::with_capacity(BATCH);
    while found.recv_many(&mut next, BATCH).await > 0 {
        let mut requests = Vec::with_capacity(next.len());
        for found in next.drain(..) {
            match found {
                Found::Request(request) => requests.push(request),
                Found::Failed(error) => tally.fail(&error, &progress),
            }
        }
        if requests.is_empty() {
            continue;
        }
        let answers = backend.queue.submit(&args.queue, &requests).await?;
        for (request, answer) in requests.iter().zip(answers) {
            match answer {
                Submitted::Created => tally.new += 1,
                Submitted::Existing(state) => {
                    tally.known += 1;
                    tally.dead += u64::from(state == State::Dead);
                }
                Submitted::Conflict => {
                    // The details of an error cost a call, and only the first errors are shown.
                    if tally.failed < ERRORS_SHOWN {
                        let conflict = submit::accepted(backend, &args.queue, request, answer).await;
                        conflict.map_or_else(|error| tally.fail(&error, &progress), drop);
                    } else {
                        tally.failed += 1;
                    }
                    continue;
                }
            }
            if args.json && !args.wait {
                print::json(&Accepted::at_once(&args.queue, request, answer));
            }
            if let Some(ids) = ids {
                writeln!(ids, "{}", request.id).map_err(|error| no_space(&error))?;
            }
        }
        progress.say(tally.text());
    }
    Ok(())
}

/// Waits until each of these requests has ended. Returns their sum, and whether all of them were still in the queue.
async fn wait_for_all(args: &Args, backend: &Backend, ids: impl BufRead) -> Result<(RollUp, bool)> {
    let progress = ProgressLine::spinner();
    let mut sum = RollUp::of(&args.queue, args.group.as_deref());
    let (mut are_all_there, mut is_told, started) = (true, false, Instant::now());
    let mut ids = ids.lines();
    loop {
        let step = ids.by_ref().take(WAIT_STEP).collect::<std::io::Result<Vec<_>>>();
        let mut waiting = VecDeque::from(step.map_err(|error| no_space(&error))?);
        if waiting.is_empty() {
            return Ok((sum, are_all_there));
        }
        while !waiting.is_empty() {
            let statuses = match backend
                .queue
                .statuses(&args.queue, waiting.make_contiguous())
                .await
            {
                Ok(statuses) => statuses,
                // The requests continue without this process, so a failing server only delays the answer.
                Err(error) if error.class() == Class::Transient => {
                    progress.say(error.report());
                    tokio::time::sleep(POLL_EVERY).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            for status in statuses {
                let id = waiting.pop_front().unwrap_or_default();
                match status {
                    Some(status) if has_ended(&status) => sum.add(&status),
                    Some(_) => waiting.push_back(id),
                    None => {
                        are_all_there = false;
                        progress.keep(print::error_text(&removed(&id, &args.queue)));
                    }
                }
            }
            if waiting.is_empty() {
                break;
            }
            progress.say(format!("{} done, {} dead, waiting for more", sum.done, sum.dead));
            if !is_told && sum.submitted == 0 && started.elapsed() > PATIENCE {
                is_told = true;
                let counts = backend.queue.counts(&args.queue).await;
                if let Ok(counts) = counts.as_ref()
                    && counts.leased == 0
                {
                    progress.keep(format!("{}  waits: {}", waiting[0], why_waiting(counts)));
                }
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}

fn has_ended(status: &Status) -> bool {
    matches!(status.state, State::Done | State::Dead | State::Cancelled)
}
