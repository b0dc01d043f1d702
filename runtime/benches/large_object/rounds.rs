//! Moves the input in four ways, in rounds. In each round, the four run in turn, each as a process of its own. Their
//! outputs are compared byte for byte.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::measure::{self, Sample};
use crate::server::{BUCKET, ServerProcess};
use crate::support::host::{Host, component};
use crate::support::s3::{ACCESS_KEY, SECRET_KEY};
use crate::{Result, Scale, size, this_program};

pub(crate) const QUEUE: &str = "q";

/// The key of the input.
const INPUT: &str = "in/alarms.csv";

/// The number of bytes of two files that are compared at once.
const COMPARED_BYTES: usize = 1 << 20;

/// The server, the input and the queue that all runs share.
pub(crate) struct Bench<'a> {
    pub(crate) scale: &'a Scale,
    pub(crate) server: RefCell<ServerProcess>,
    pub(crate) host: Host,
    folder: TempDir,
}

/// One run, with the processor time that the server used meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) sample: Sample,
    pub(crate) server_cpu: Duration,
}

/// The runs of one round.
#[derive(Debug)]
pub(crate) struct Round {
    /// A copy that requests one range at a time.
    pub(crate) copy: Run,
    /// A copy that requests two ranges at a time.
    pub(crate) copy_by_two: Run,
    pub(crate) store: Run,
    pub(crate) local: Run,
}

/// The results of all rounds.
pub(crate) struct Rounds {
    pub(crate) input_bytes: u64,
    pub(crate) output_bytes: u64,
    pub(crate) rounds: Vec<Round>,
    /// The output of the last run from file to file.
    pub(crate) expected: PathBuf,
}

impl<'a> Bench<'a> {
    /// Starts the server and creates the input. `work` is the folder for all files.
    pub(crate) fn new(scale: &'a Scale, work: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("ingest-host-bench-")
            .tempdir_in(work)?;
        let server = ServerProcess::start(folder.path())?;
        let bench = Self {
            scale,
            server: RefCell::new(server),
            host: Host::embedded(),
            folder,
        };
        let mut fill = this_program()?;
        fill.args(["fill", &bench.endpoint(), INPUT, &scale.records.to_string()]);
        let filled = measure::run(fill, bench.folder())?.0;
        scale.progress(format_args!(
            "filled the bucket in {:.1} s",
            filled.wall.as_secs_f64()
        ));
        // The first run of a plugin compiles it.
        bench.host.write("few.csv", alarm_feed::HEADER);
        let plugin = component("alarms");
        let arguments = ["few.csv", "--output", "few", "--plugin"].map(str::to_owned);
        let mut first = bench.host.command();
        first.arg("ingest").args(arguments).arg(plugin);
        measure::run(first, bench.folder())?;
        Ok(bench)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn endpoint(&self) -> String {
        self.server.borrow().endpoint.clone()
    }

    /// Returns the path of the file with an object's bytes.
    pub(crate) fn object(&self, key: &str) -> PathBuf {
        self.server.borrow().path(key)
    }

    /// Runs all rounds.
    ///
    /// # Errors
    /// Fails if a run fails, or if two outputs differ.
    pub(crate) fn rounds(&self) -> Result<Rounds> {
        let (mut rounds, mut expected) = (Vec::new(), None);
        for number in 0..self.scale.rounds {
            let copy = self.copy(1)?;
            let copy_by_two = self.copy(2)?;
            let store = self.store_to_store(&format!("store-{number}"))?;
            let (local, output) = self.file_to_file(&format!("local-{number}"))?;
            let stored = self.object(&format!("out/{QUEUE}/store-{number}.csv"));
            same_bytes(&output, &stored)?;
            std::fs::remove_file(stored)?;
            if let Some(before) = expected.replace(output) {
                std::fs::remove_file(before)?;
            }
            rounds.push(Round {
                copy,
                copy_by_two,
                store,
                local,
            });
            self.scale
                .progress(format_args!("round {number}: {:#?}", rounds.last()));
        }
        let expected = expected.ok_or("there was no round")?;
        Ok(Rounds {
            input_bytes: size(&self.object(INPUT))?,
            output_bytes: size(&expected)?,
            rounds,
            expected,
        })
    }

    /// Runs a copy of the input that requests `at_once` ranges at a time.
    fn copy(&self, at_once: usize) -> Result<Run> {
        let mut command = this_program()?;
        command.args([
            "copy",
            &self.endpoint(),
            INPUT,
            "copied.csv",
            &at_once.to_string(),
        ]);
        let run = self.measure(command)?;
        let copied = self.object("copied.csv");
        same_bytes(&self.object(INPUT), &copied)?;
        std::fs::remove_file(copied)?;
        Ok(run)
    }

    /// Runs a worker that reads from the bucket and writes to the bucket.
    fn store_to_store(&self, id: &str) -> Result<Run> {
        self.submit(id, &format!("s3://{BUCKET}/{INPUT}"))?;
        let run = self.measure(self.store_worker())?;
        check_receipt(&self.receipt(id), self.scale.records)?;
        Ok(run)
    }

    /// Runs a worker that reads a local file and writes to a local folder. Returns the run and the path of the output.
    fn file_to_file(&self, id: &str) -> Result<(Run, PathBuf)> {
        let input = self.object(INPUT);
        self.submit(id, input.to_str().ok_or("a path that is not UTF-8")?)?;
        let output = self.folder().join("out");
        let mut worker = self.worker();
        worker.arg("--output").arg(&output);
        worker.arg("--allow-root").arg(self.folder());
        let run = self.measure(worker)?;
        check_receipt(
            &output.join(format!("_ingest/{QUEUE}/receipts/{id}.json")),
            self.scale.records,
        )?;
        Ok((run, output.join(format!("{QUEUE}/{id}.csv"))))
    }

    /// Submits a request for the input.
    pub(crate) fn submit(&self, id: &str, uri: &str) -> Result {
        let mut submit = self.host.command();
        submit.args(["submit", "--queue", QUEUE, "--id", id, "--uri", uri]);
        measure::run(submit, self.folder()).map(drop)
    }

    /// Submits a request for the input in the bucket.
    pub(crate) fn submit_object(&self, id: &str) -> Result {
        self.submit(id, &format!("s3://{BUCKET}/{INPUT}"))
    }

    /// Returns the path of the receipt of a request whose output went to the bucket.
    pub(crate) fn receipt(&self, id: &str) -> PathBuf {
        self.object(&format!("out/_ingest/{QUEUE}/receipts/{id}.json"))
    }

    /// Returns a command that runs a worker until the queue is empty. The caller adds the output.
    fn worker(&self) -> Command {
        let mut worker = self.host.command();
        worker.args(["--log-format", "json", "run", "--queue", QUEUE, "--burst"]);
        worker.args(["--burst-wait", "0s", "--concurrency", "1"]);
        worker.args(["--checkpoint", self.scale.checkpoint]);
        worker.arg("--plugin").arg(component("alarms"));
        worker
    }

    /// Returns a command that runs a worker with inputs and outputs in the bucket.
    pub(crate) fn store_worker(&self) -> Command {
        let mut worker = self.worker();
        worker.args(["--output", &format!("s3://{BUCKET}/out")]);
        worker.args(["--allow-bucket", &format!("s3://{BUCKET}/in/")]);
        worker
            .env("AWS_ENDPOINT_URL_S3", self.endpoint())
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        worker
    }

    fn measure(&self, command: Command) -> Result<Run> {
        if self.scale.full {
            // A run must not wait for data that an earlier run has not yet written to disk.
            rustix::fs::sync();
        }
        let before = self.server.borrow().cpu()?;
        let sample = measure::run(command, self.folder())?.0;
        let server_cpu = self.server.borrow().cpu()? - before;
        Ok(Run { sample, server_cpu })
    }
}

/// Checks that a receipt counts all records of the input.
pub(crate) fn check_receipt(path: &Path, records: u64) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let receipt: Value = serde_json::from_str(&text)?;
    match receipt["records"]["read"] == records {
        true => Ok(receipt),
        false => Err(format!("{records} records were expected: {text}").into()),
    }
}

/// Checks that two files have the same bytes.
pub(crate) fn same_bytes(expected: &Path, found: &Path) -> Result {
    let differ = || format!("{} and {} differ", expected.display(), found.display());
    if size(expected)? != size(found)? {
        return Err(differ().into());
    }
    let (mut expected_file, mut found_file) = (File::open(expected)?, File::open(found)?);
    let mut buffers = [vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]];
    let mut left = usize::try_from(size(expected)?)?;
    while left > 0 {
        let now = left.min(COMPARED_BYTES);
        let [one, other] = &mut buffers;
        expected_file.read_exact(&mut one[..now])?;
        found_file.read_exact(&mut other[..now])?;
        if one[..now] != other[..now] {
            return Err(differ().into());
        }
        left -= now;
    }
    Ok(())
}
