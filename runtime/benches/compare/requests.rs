//! Many small requests through one worker process: how many a second, against RQ with jobs that do nothing.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;

use ingest_host::queue::{Server, State, Submitted};
use ingest_host::request::NewRequest;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::contenders::{Program, Storage, script};
use crate::jobs::Job;
use crate::measure::{self, Sample, median};
use crate::support::host::component;
use crate::support::redis::RedisServer;
use crate::tools::Tools;
use crate::{Result, Scale, data};

/// The records of one request.
const RECORDS: u64 = 100;

/// Requests that the host's worker has in hand at once.
const CONCURRENCY: u16 = 32;

/// RQ forks for each job, which takes so long that fewer will do.
const FORKING_SHARE: u64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worker {
    Redis,
    Sqlite,
    RqSimple,
    RqForking,
}

impl Worker {
    /// For people.
    pub(crate) fn label(self) -> String {
        match self {
            Self::Redis => format!("ingest-host on Redis, --concurrency {CONCURRENCY}"),
            Self::Sqlite => format!("ingest-host on SQLite, --concurrency {CONCURRENCY}"),
            Self::RqSimple => "RQ, SimpleWorker, a job that does nothing".into(),
            Self::RqForking => "RQ, forking Worker, a job that does nothing".into(),
        }
    }
}

/// What a worker took for its requests, the median of all rounds.
pub(crate) struct Row {
    pub(crate) worker: Worker,
    /// None where nothing is put out.
    pub(crate) storage: Option<Storage>,
    pub(crate) requests: u64,
    pub(crate) sample: Sample,
}

/// Lets each worker have its requests done in turns, `scale.request_rounds` times.
///
/// # Errors
/// If a worker fails, or not all of its requests are done.
pub(crate) fn compare(tools: &Tools, scale: &Scale) -> Result<Vec<Row>> {
    let mut contenders = Vec::new();
    for storage in [Storage::Disk, Storage::Memory] {
        if tools.folder(storage).is_some() {
            contenders.push((Worker::Redis, Some(storage), scale.requests));
            contenders.push((Worker::Sqlite, Some(storage), scale.requests));
        }
    }
    if scale.full && tools.has(Program::Python) {
        contenders.push((Worker::RqSimple, None, scale.requests));
        contenders.push((Worker::RqForking, None, scale.requests / FORKING_SHARE));
    }
    let bench = RequestBench::new(tools, scale)?;
    let mut samples = vec![Vec::new(); contenders.len()];
    for round in 0..scale.request_rounds {
        for (&(worker, storage, requests), samples) in contenders.iter().zip(&mut samples) {
            let sample = bench
                .run(worker, storage, requests)
                .map_err(|e| format!("{}: {e}", worker.label()))?;
            let rate = requests as f64 / sample.wall.as_secs_f64();
            scale.progress(format_args!(
                "requests round {round}: {} {rate:.0}/s",
                worker.label()
            ));
            samples.push(sample);
        }
    }
    let row = |((worker, storage, requests), samples): ((Worker, _, _), Vec<Sample>)| Row {
        worker,
        storage,
        requests,
        sample: median(&samples),
    };
    Ok(contenders.into_iter().zip(samples).map(row).collect())
}

/// What all workers share.
struct RequestBench<'a> {
    tools: &'a Tools,
    full: bool,
    redis: RedisServer,
    input: PathBuf,
    runtime: Runtime,
    /// What was written stays to the end: for half a minute after thousands of files were removed, ext4 makes new ones
    /// several times slower, since it passes over the inodes that have just become free.
    kept: RefCell<Vec<TempDir>>,
}

impl<'a> RequestBench<'a> {
    fn new(tools: &'a Tools, scale: &Scale) -> Result<Self> {
        Ok(Self {
            tools,
            full: scale.full,
            redis: RedisServer::start(),
            input: data::write(Job::Alarms, tools.disk(), RECORDS, 0)?.path,
            runtime: Runtime::new()?,
            kept: RefCell::default(),
        })
    }

    /// Submits the requests, and lets one worker process do them all.
    fn run(&self, worker: Worker, storage: Option<Storage>, requests: u64) -> Result<Sample> {
        let folder = tempfile::tempdir_in(self.tools.disk())?;
        // A queue of its own for each run.
        let queue = uuid::Uuid::now_v7().to_string();
        let (sample, done) = match worker {
            Worker::Redis => self.run_host(&self.redis.url(), &queue, storage, requests, folder.path())?,
            Worker::Sqlite => {
                let url = format!("sqlite:{}", folder.path().join("queue.db").display());
                self.run_host(&url, &queue, storage, requests, folder.path())?
            }
            Worker::RqSimple => self.run_rq("rq.SimpleWorker", &queue, requests, folder.path())?,
            Worker::RqForking => self.run_rq("rq.Worker", &queue, requests, folder.path())?,
        };
        self.kept.borrow_mut().push(folder);
        if done != requests {
            return Err(format!("{done} requests are done of {requests}").into());
        }
        Ok(sample)
    }

    fn run_host(
        &self,
        url: &str,
        queue: &str,
        storage: Option<Storage>,
        requests: u64,
        folder: &Path,
    ) -> Result<(Sample, u64)> {
        let storage = storage.and_then(|storage| self.tools.folder(storage));
        let output = tempfile::tempdir_in(storage.ok_or("there is no such storage")?)?;
        self.runtime.block_on(submit(url, queue, &self.input, requests))?;
        self.settle();
        let (sample, _) = measure::run(self.host(url, queue, output.path()), folder)?;
        let done = self.runtime.block_on(done(url, queue, output.path()))?;
        self.kept.borrow_mut().push(output);
        Ok((sample, done))
    }

    fn run_rq(&self, class: &str, queue: &str, requests: u64, folder: &Path) -> Result<(Sample, u64)> {
        self.rq_jobs("enqueue", queue, &[&requests.to_string()])?;
        self.settle();
        let (sample, _) = measure::run(self.rq(class, queue), folder)?;
        Ok((sample, self.rq_jobs("finished", queue, &[])?.trim().parse()?))
    }

    fn settle(&self) {
        if self.full {
            rustix::fs::sync();
        }
    }

    fn host(&self, url: &str, queue: &str, output: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ingest-host"));
        command.args(["run", "--burst", "--queue", queue]);
        command.args(["--concurrency", &CONCURRENCY.to_string()]);
        command.arg("--plugin").arg(component(Job::Alarms.plugin()));
        command.arg("--allow-root").arg(self.tools.disk());
        command.arg("--output").arg(output).current_dir(output);
        command.env_clear().env("HOME", output).env("REDIS_URL", url);
        command.env("XDG_CACHE_HOME", &self.tools.cache);
        command.env("XDG_STATE_HOME", &self.tools.cache);
        command
    }

    fn rq(&self, class: &str, queue: &str) -> Command {
        let mut command = Command::new(self.tools.python().with_file_name("rq"));
        command.args(["worker", "--burst", "--quiet", "--worker-class", class, "--path"]);
        command
            .arg(script("rq_jobs.py").with_file_name(""))
            .args(["--url", &self.redis.url(), queue]);
        command
    }

    fn rq_jobs(&self, verb: &str, queue: &str, more: &[&str]) -> Result<String> {
        let mut command = Command::new(self.tools.python());
        command
            .arg(script("rq_jobs.py"))
            .args([verb, &self.redis.url(), queue])
            .args(more);
        Ok(measure::run(command, self.tools.disk())?.1)
    }
}

/// Puts requests for the same file into a queue.
pub(crate) async fn submit(url: &str, queue: &str, input: &Path, requests: u64) -> Result {
    const STEP: u64 = 1_000;
    let server = Server::connect(url).await?;
    let uri = input.display().to_string();
    let mut left = requests;
    while left > 0 {
        let step = left.min(STEP);
        let new: Vec<_> = (0..step).map(|_| NewRequest::new(&uri)).collect();
        let submitted = server.queue.submit(queue, &new).await?;
        if submitted.iter().any(|answer| *answer != Submitted::Created) {
            return Err("a request was not new".into());
        }
        left -= step;
    }
    Ok(())
}

/// How many requests are done; each has its receipt in the output.
async fn done(url: &str, queue: &str, output: &Path) -> Result<u64> {
    let server = Server::connect(url).await?;
    let counts = server.queue.counts(queue).await?;
    let receipts = std::fs::read_dir(output.join(queue).join("receipts"))?.count() as u64;
    if receipts != counts.done {
        return Err(format!(
            "{receipts} receipts for {} requests in state {}",
            counts.done,
            State::Done.name()
        )
        .into());
    }
    Ok(counts.done)
}

impl Row {
    /// Requests a second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.sample.wall.as_secs_f64()
    }
}
