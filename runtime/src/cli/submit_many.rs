//! Submits the inputs of patterns, folders and lists of URIs. A thread finds the inputs while the requests are submitted,
//! so that any number of them takes little memory.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
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

/// The advice for a folder in a list.
const NO_FOLDER: &str = "a line of a list is one file: give the folder to --uri, with a slash at its end";

/// The advice if an input is there with other options: the ids of many inputs are made of their URIs and versions.
const OTHER_WAY: &str = "submit it with the same options, or by itself, with an --id";

/// The maximum number of requests that are waited for at the same time.
const WAIT_STEP: usize = 250;

/// The maximum number of requests that are waited for in one pass over their ids. They take up to 16 bytes each.
const PASS_MAX: u64 = 1 << 20;

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
    let mut ids = args.wait.then(IdFile::new).transpose()?;
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
        let (sum, are_all_there) = wait_for_all(args, &backend, ids).await?;
        failed |= !are_all_there || !sum.is_all_done();
        requests::show_sum(&sum, args.json);
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// A temporary file with the ids of requests, one on each line.
struct IdFile {
    file: BufWriter<File>,
    count: u64,
}

impl IdFile {
    fn new() -> Result<Self> {
        let file = tempfile::tempfile().map_err(|error| no_space(&error))?;
        Ok(Self {
            file: BufWriter::new(file),
            count: 0,
        })
    }

    fn add(&mut self, id: &str) -> Result<()> {
        self.count += 1;
        writeln!(self.file, "{id}").map_err(|error| no_space(&error))
    }

    /// Returns a file to read the ids, from the first one on.
    fn reopened(&mut self) -> io::Result<File> {
        self.file.rewind()?;
        self.file.get_ref().try_clone()
    }
}

/// Returns the ids that belong to one of several passes, each id once: two arguments can name the same input. Keeps a hash
/// of each of these ids. Two of a million ids have the same hash with a probability below 1 in 10 million.
fn distinct(
    ids: impl BufRead,
    pass: u64,
    passes: u64,
    hasher: &RandomState,
) -> impl Iterator<Item = io::Result<String>> {
    let mut seen = HashSet::new();
    ids.lines().filter(move |id| {
        id.as_ref().map_or(true, |id| {
            let hash = hasher.hash_one(id);
            hash % passes == pass && seen.insert(hash)
        })
    })
}

fn no_space(error: &io::Error) -> Error {
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
            is_empty = false;
            let request = next.and_then(|ListedUri { uri, line }| {
                self.listed(&uri).map_err(|error| error.about(list.place(line)))
            });
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
            Some(is_here) if request.input.version.is_none() => fetchable(&request, is_here, NO_FOLDER)?,
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

/// Submits the inputs until the thread has found all of them. Adds the ids of the requests that are in the queue to `ids`.
async fn submit_all(
    args: &Args,
    backend: &Backend,
    mut found: Receiver<Found>,
    tally: &mut Tally,
    ids: &mut Option<IdFile>,
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
                        let conflict =
                            submit::accepted(backend, &args.queue, request, answer, OTHER_WAY).await;
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
                ids.add(&request.id)?;
            }
        }
        progress.say(tally.text());
    }
    Ok(())
}

/// Waits until each of these requests has ended. Returns their sum, and whether all of them were still in the queue.
async fn wait_for_all(args: &Args, backend: &Backend, mut ids: IdFile) -> Result<(RollUp, bool)> {
    let mut wait = Wait {
        args,
        backend,
        progress: ProgressLine::spinner(),
        started: Instant::now(),
        is_told: false,
        sum: RollUp::of(&args.queue, args.group.as_deref()),
        are_all_there: true,
    };
    let (passes, hasher) = (ids.count.div_ceil(PASS_MAX), RandomState::new());
    for pass in 0..passes {
        let file = ids.reopened().map_err(|error| no_space(&error))?;
        let mut ids = distinct(BufReader::new(file), pass, passes, &hasher);
        loop {
            let step = ids.by_ref().take(WAIT_STEP).collect::<io::Result<Vec<_>>>();
            let step = step.map_err(|error| no_space(&error))?;
            if step.is_empty() {
                break;
            }
            wait.for_step(step.into()).await?;
        }
    }
    Ok((wait.sum, wait.are_all_there))
}

/// A wait for the end of requests.
struct Wait<'a> {
    args: &'a Args,
    backend: &'a Backend,
    progress: ProgressLine,
    started: Instant,
    /// Set if the user was told why no request has begun.
    is_told: bool,
    /// The sum of the requests that have ended.
    sum: RollUp,
    are_all_there: bool,
}

impl Wait<'_> {
    async fn for_step(&mut self, mut waiting: VecDeque<String>) -> Result<()> {
        let queue = &self.args.queue;
        while !waiting.is_empty() {
            let statuses = self
                .backend
                .queue
                .statuses(queue, waiting.make_contiguous())
                .await;
            let statuses = match statuses {
                Ok(statuses) => statuses,
                // The requests continue without this process, so a failing server only delays the answer.
                Err(error) if error.class() == Class::Transient => {
                    self.progress.say(error.report());
                    tokio::time::sleep(POLL_EVERY).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            for status in statuses {
                let id = waiting.pop_front().unwrap_or_default();
                match status {
                    Some(status) if has_ended(&status) => self.sum.add(&status),
                    Some(_) => waiting.push_back(id),
                    None => {
                        self.are_all_there = false;
                        self.progress.keep(print::error_text(&removed(&id, queue)));
                    }
                }
            }
            if let Some(first) = waiting.front() {
                self.say(first).await;
                tokio::time::sleep(POLL_EVERY).await;
            }
        }
        Ok(())
    }

    /// Shows the progress. If no request has begun for a while, also says why `first` waits.
    async fn say(&mut self, first: &str) {
        let RollUp {
            done,
            dead,
            submitted,
            ..
        } = &self.sum;
        self.progress
            .say(format!("{done} done, {dead} dead, waiting for more"));
        if self.is_told || *submitted > 0 || self.started.elapsed() <= PATIENCE {
            return;
        }
        self.is_told = true;
        let counts = self.backend.queue.counts(&self.args.queue).await;
        if let Ok(counts) = counts.as_ref()
            && counts.leased == 0
        {
            self.progress
                .keep(format!("{first}  waits: {}", why_waiting(counts)));
        }
    }
}

fn has_ended(status: &Status) -> bool {
    matches!(status.state, State::Done | State::Dead | State::Cancelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_belongs_to_one_pass_and_comes_once() {
        let (mut file, hasher) = (IdFile::new().unwrap(), RandomState::new());
        let ids: Vec<_> = (0..1_000).map(|n| format!("id-{}", n % 700)).collect();
        ids.iter().for_each(|id| file.add(id).unwrap());
        assert_eq!(file.count, 1_000);
        for passes in [1, 3] {
            let mut found = Vec::new();
            for pass in 0..passes {
                let reader = BufReader::new(file.reopened().unwrap());
                let ids = distinct(reader, pass, passes, &hasher);
                let before = found.len();
                found.extend(ids.map(Result::unwrap));
                assert!(found.len() > before);
            }
            if passes > 1 {
                found.sort_by_key(|id| id[3..].parse::<u32>().unwrap());
            }
            assert_eq!(found, ids[..700]);
        }
    }
}
