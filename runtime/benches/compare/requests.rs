//! Measures how many small requests per second one worker process handles. RQ with jobs that do nothing is measured for
//! comparison.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;

use ingest_host::queue::{Backend, State, Submitted};
use ingest_host::request::NewRequest;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::contenders::{Program, Storage, script};
use crate::jobs::Job;
use crate::measure::{self, Sample, median};
use crate::support::redis::RedisServer;
use crate::tools::{Build, Tools};
use crate::{Result, Scale, data};

/// The number of records in one request.
const RECORDS: u64 = 100;

/// The number of requests that the host's worker handles at once.
const CONCURRENCY: u16 = 32;

/// The number of requests in one call of `submit`.
const SUBMITTED_AT_ONCE: usize = 1_000;

/// The divisor for the number of requests of RQ's forking worker. This worker forks for each job, and takes so long
/// that fewer requests are enough.
const FORKING_SHARE: u64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worker {
    Redis,
    Sqlite,
    /// Another build of the host (see [`Tools::build`]) on Redis. The next variant is the same build on SQLite.
    RedisBefore,
    SqliteBefore,
    RqSimple,
    RqForking,
}

impl Worker {
    /// Returns the name that the report shows.
    pub(crate) fn label(self) -> String {
        match self {
            Self::Redis => format!("ingest-host on Redis, --concurrency {CONCURRENCY}"),
            Self::Sqlite => format!("ingest-host on SQLite, --concurrency {CONCURRENCY}"),
            Self::RedisBefore => "the build before, on Redis".into(),
            Self::SqliteBefore => "the build before, on SQLite".into(),
            Self::RqSimple => "RQ, SimpleWorker, a job that does nothing".into(),
            Self::RqForking => "RQ, forking Worker, a job that does nothing".into(),
        }
    }
}

/// The measurements of a worker, as medians of all rounds.
pub(crate) struct Row {
    pub(crate) worker: Worker,
    /// The storage of the output, or `None` if the worker writes no output.
    pub(crate) storage: Option<Storage>,
    pub(crate) requests: u64,
    pub(crate) sample: Sample,
}

/// Runs `scale.request_rounds` rounds. In each round, every worker runs its requests once.
///
/// # Errors
/// Fails if a worker fails, or if some of its requests are not done.
pub(crate) fn compare(tools: &Tools, scale: &Scale) -> Result<Vec<Row>> {
    let mut contenders = Vec::new();
    for storage in [Storage::Disk, Storage::Memory] {
        if tools.folder(storage).is_some() {
            contenders.push((Worker::Redis, Some(storage), scale.requests));
            contenders.push((Worker::Sqlite, Some(storage), scale.requests));
            if tools.has(Program::Before) {
                contenders.push((Worker::RedisBefore, Some(storage), scale.requests));
                contenders.push((Worker::SqliteBefore, Some(storage), scale.requests));
            }
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

/// The resources that all runs share.
struct RequestBench<'a> {
    tools: &'a Tools,
    full: bool,
    redis: RedisServer,
    input: PathBuf,
    runtime: Runtime,
    /// The outputs of all rounds. They are removed only at the end. After thousands of files are removed, ext4 creates
    /// files several times slower for half a minute, because it avoids the inodes that were just freed.
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

    /// Submits the requests, and runs one worker process that does all of them.
    fn run(&self, worker: Worker, storage: Option<Storage>, requests: u64) -> Result<Sample> {
        let folder = tempfile::tempdir_in(self.tools.disk())?;
        // Each run has a queue of its own.
        let queue = uuid::Uuid::now_v7().to_string();
        let (sample, done) = match worker {
            Worker::Redis | Worker::RedisBefore => {
                let build = self.tools.build(worker == Worker::RedisBefore);
                self.run_host(
                    &build,
                    &self.redis.url(),
                    &queue,
                    storage,
                    requests,
                    folder.path(),
                )?
            }
            Worker::Sqlite | Worker::SqliteBefore => {
                let build = self.tools.build(worker == Worker::SqliteBefore);
                let url = format!("sqlite:{}", folder.path().join("queue.db").display());
                self.run_host(&build, &url, &queue, storage, requests, folder.path())?
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
        build: &Build,
        url: &str,
        queue: &str,
        storage: Option<Storage>,
        requests: u64,
        folder: &Path,
    ) -> Result<(Sample, u64)> {
        let storage = storage.and_then(|storage| self.tools.folder(storage));
        let output = tempfile::tempdir_in(storage.ok_or("there is no such storage")?)?;
        self.submit(build, url, queue, requests, folder)?;
        self.settle();
        let (sample, _) = measure::run(self.worker(build, url, queue, output.path()), folder)?;
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

    /// Submits requests for the input with the build's own `submit`, because another build can store requests
    /// differently.
    fn submit(&self, build: &Build, url: &str, queue: &str, requests: u64, folder: &Path) -> Result {
        let mut left = usize::try_from(requests)?;
        while left > 0 {
            let step = left.min(SUBMITTED_AT_ONCE);
            let mut command = host(build, url, folder);
            command.args(["submit", "--queue", queue]);
            for _ in 0..step {
                command.arg("--uri").arg(&self.input);
            }
            measure::run(command, folder)?;
            left -= step;
        }
        Ok(())
    }

    fn worker(&self, build: &Build, url: &str, queue: &str, output: &Path) -> Command {
        let mut command = host(build, url, output);
        command.args(["run", "--burst", "--queue", queue]);
        command.args(["--concurrency", &CONCURRENCY.to_string()]);
        command.arg("--plugin").arg(build.component(Job::Alarms.plugin()));
        command.arg("--allow-root").arg(self.tools.disk());
        command.arg("--output").arg(output);
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

/// Returns a command that runs this build in a folder. Its environment contains only the variables that are set here.
fn host(build: &Build, url: &str, folder: &Path) -> Command {
    let mut command = Command::new(&build.host);
    command.current_dir(folder);
    command.env_clear().env("HOME", folder).env("REDIS_URL", url);
    command.env("XDG_CACHE_HOME", &build.cache);
    command.env("XDG_STATE_HOME", &build.cache);
    command
}

/// Submits requests for the same file to a queue.
pub(crate) async fn submit(url: &str, queue: &str, input: &Path, requests: u64) -> Result {
    const STEP: u64 = 1_000;
    let server = Backend::connect(url).await?;
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

/// Returns the number of requests that are done. Checks that each of them has a receipt in the output folder.
async fn done(url: &str, queue: &str, output: &Path) -> Result<u64> {
    let server = Backend::connect(url).await?;
    let counts = server.queue.counts(queue).await?;
    // An earlier build has another place for receipts.
    let places = [output.join("_ingest").join(queue), output.join(queue)].map(|place| place.join("receipts"));
    let place = places.iter().find(|place| place.is_dir()).unwrap_or(&places[0]);
    let receipts = std::fs::read_dir(place)?.count() as u64;
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
    /// Returns the number of requests per second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.sample.wall.as_secs_f64()
    }
}
