//! Runs attempts at one request within the test's own process. Each attempt has its own number of lanes and its own
//! limits. All attempts share one folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ingest_host::commit::Committed;
use ingest_host::config::Limits;
use ingest_host::error::Error;
use ingest_host::fetch::{Access, Fetcher, Identity, RequestedBy};
use ingest_host::format::Format;
use ingest_host::gate::Gate;
use ingest_host::pipeline::{self, Job, ProgressCounters, Work};
use ingest_host::plugin::Plugin;
use ingest_host::receipt::Receipt;
use ingest_host::request::InputOptions;
use ingest_host::stop::Stop;
use ingest_host::storage::Owner;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::pipeline::{self as run, execution, placement, plugin};

/// The target size of a chunk, in bytes.
pub(crate) const BATCH_BYTES: usize = 2_000;

/// Returns limits that make each attempt write a checkpoint after each chunk. With these limits, a broken transfer is
/// not resumed: it ends the attempt.
pub(crate) fn limits() -> Limits {
    Limits {
        batch_bytes: BATCH_BYTES,
        batch_records: 7,
        checkpoint_bytes: 1,
        http_resumes: 0,
        http_idle: Duration::from_secs(5),
        ..Limits::default()
    }
}

/// Returns alarms as CSV, enough for many chunks. The first record is a reject, so at every checkpoint there is at
/// least one reject.
pub(crate) fn alarms(seed: u64) -> Vec<u8> {
    let mut csv = Vec::new();
    alarm_feed::write_alarms(&mut csv, seed, 6_000, 5).unwrap();
    let header = csv.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    csv.splice(header..header, *b"ragged\n");
    csv
}

/// The settings of an attempt: how it reads and transforms its input, and how many lanes it uses.
#[derive(Clone)]
pub(crate) struct AttemptSettings {
    pub(crate) plugin: Plugin,
    pub(crate) config: &'static str,
    pub(crate) options: InputOptions,
    pub(crate) output_format: Option<Format>,
    pub(crate) lanes: usize,
    /// The signal that stops the attempt.
    pub(crate) stop: Stop,
    pub(crate) progress: Arc<ProgressCounters>,
}

impl AttemptSettings {
    pub(crate) fn of(name: &str) -> Self {
        Self {
            plugin: plugin(name),
            config: "{}",
            options: InputOptions::default(),
            output_format: None,
            lanes: 2,
            stop: Stop::default(),
            progress: Arc::default(),
        }
    }
}

/// The folder that all attempts at one request share.
pub(crate) struct CheckpointFixture {
    pub(crate) folder: TempDir,
    runtime: Runtime,
}

/// The parts of a receipt that must not depend on the number of attempts.
#[derive(Debug, PartialEq)]
pub(crate) struct AttemptOutcome {
    output: run::RunOutcome,
    input: (u64, String, Vec<String>),
}

impl AttemptOutcome {
    pub(crate) fn of(receipt: &Receipt) -> Self {
        let input = &receipt.inputs[0];
        Self {
            output: run::RunOutcome::of(receipt),
            input: (input.bytes, input.sha256.clone(), input.columns.clone()),
        }
    }
}

/// Returns the outcome of an attempt that is not interrupted.
pub(crate) fn undisturbed(bytes: &[u8], settings: &AttemptSettings) -> AttemptOutcome {
    let fixture = CheckpointFixture::new();
    let path = fixture.folder.path().join("a.csv");
    std::fs::write(&path, bytes).unwrap();
    let receipt = fixture.attempt(path.to_str().unwrap(), settings).unwrap();
    assert_eq!(receipt.attempt.resumed_from, None);
    let digest = crate::support::inputs::digest(bytes);
    assert_eq!(
        (receipt.inputs[0].bytes, &receipt.inputs[0].sha256),
        (digest.bytes, &digest.sha256)
    );
    AttemptOutcome::of(&receipt)
}

/// Returns the first offset that an HTTP request asks for, or `None` if it asks for the whole file.
pub(crate) fn range_of(head: &str) -> Option<u64> {
    let range = head.lines().find_map(|line| line.strip_prefix("range: bytes="))?;
    Some(range.strip_suffix('-').unwrap().parse().unwrap())
}

impl CheckpointFixture {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            runtime: Runtime::new().unwrap(),
        }
    }

    /// Runs one attempt within the usual limits.
    pub(crate) fn attempt(&self, uri: &str, settings: &AttemptSettings) -> Result<Receipt, Error> {
        self.attempt_within(uri, settings, limits())
    }

    pub(crate) fn attempt_within(
        &self,
        uri: &str,
        settings: &AttemptSettings,
        limits: Limits,
    ) -> Result<Receipt, Error> {
        self.attempt_changed(uri, settings, limits, |_| ())
    }

    /// Runs one attempt within these limits, after `change` has edited its job.
    pub(crate) fn attempt_changed(
        &self,
        uri: &str,
        settings: &AttemptSettings,
        limits: Limits,
        change: impl FnOnce(&mut Job),
    ) -> Result<Receipt, Error> {
        let out = self.folder.path().join("out");
        let settings = settings.clone();
        let owner = Owner {
            queue: Some("q".to_owned()),
            id: Some("one".to_owned()),
            fence: 1,
            ..Owner::default()
        };
        let work = Work {
            input: settings.options,
            plugin: settings.plugin,
            binding: None,
            config: settings.config.into(),
            output_format: settings.output_format,
            profile: true,
            // The gate accepts any number of rejects.
            gate: Gate::new(vec!["100%".parse().unwrap()], 0),
            limits: Arc::new(limits),
            replay: None,
        };
        let mut job = Job {
            work,
            placement: placement(owner, uri, &out),
            execution: execution(settings.lanes, settings.stop.clone(), settings.progress),
        };
        change(&mut job);
        let fetcher = Fetcher::new(Access::default(), &job.work.limits);
        let (uri, stop) = (uri.to_owned(), settings.stop);
        let open = move |rest: Option<(&Identity, u64)>| match rest {
            None => fetcher.open_blocking(&uri, RequestedBy::Typed, &stop),
            Some((identity, from)) => {
                fetcher.open_rest_blocking(&uri, RequestedBy::Typed, identity, from, &stop)
            }
        };
        match self.runtime.block_on(pipeline::spawn_or_resume(job, open))? {
            Committed::New(receipt) => Ok(receipt),
            Committed::Existing(_) => panic!("was committed before"),
        }
    }

    /// Returns the files in staging whose names end with `end`.
    pub(crate) fn staged(&self, end: &str) -> Vec<PathBuf> {
        let folders = ["staging", "fences", "checkpoints"]
            .map(|folder| self.folder.path().join("out/_ingest/q").join(folder));
        let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
        let paths = entries.flatten().map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.is_file() && path.to_str().unwrap().ends_with(end))
            .collect()
    }

    /// Returns the only file in staging whose name ends with `end`.
    pub(crate) fn staged_one(&self, end: &str) -> PathBuf {
        let mut found = self.staged(end);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    /// Checks that no staged file is left.
    pub(crate) fn is_tidy(&self) {
        assert_eq!(self.staged(""), Vec::<PathBuf>::new());
    }
}

/// Returns the number of input bytes that the progress counter shows as read.
pub(crate) fn shown(settings: &AttemptSettings) -> u64 {
    settings.progress.bytes.load(Ordering::Relaxed)
}
