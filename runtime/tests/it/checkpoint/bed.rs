//! Attempts at one request within this process. Each has its own lanes and limits; what they share is a folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ingest_host::commit::{Committed, Destination};
use ingest_host::config::Limits;
use ingest_host::error::Error;
use ingest_host::fetch::{Access, Fetcher, Identity, Origin};
use ingest_host::format::Format;
use ingest_host::gate::Gate;
use ingest_host::pipeline::{self, Gauge, Job};
use ingest_host::plugin::Plugin;
use ingest_host::receipt::Receipt;
use ingest_host::request::InputOptions;
use ingest_host::stop::Stop;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::inputs::servers::Server;
use crate::support::work::{self, plugin};

/// Of a chunk.
pub(crate) const BATCH_BYTES: usize = 2_000;

/// Alarms for many chunks, of which each has a reject before it or in it.
pub(crate) fn alarms(seed: u64) -> Vec<u8> {
    let mut csv = Vec::new();
    alarm_feed::write_alarms(&mut csv, seed, 6_000, 5).unwrap();
    let header = csv.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    csv.splice(header..header, *b"ragged\n");
    csv
}

/// What is to be done with an input, and by how many lanes.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) plugin: Plugin,
    pub(crate) config: &'static str,
    pub(crate) options: InputOptions,
    pub(crate) output_format: Option<Format>,
    pub(crate) lanes: usize,
    /// Looked at all the while.
    pub(crate) stop: Stop,
    pub(crate) gauge: Arc<Gauge>,
}

impl Work {
    pub(crate) fn of(name: &str) -> Self {
        Self {
            plugin: plugin(name),
            config: "{}",
            options: InputOptions::default(),
            output_format: None,
            lanes: 2,
            stop: Stop::default(),
            gauge: Arc::default(),
        }
    }
}

/// A request's folder, and its name.
pub(crate) struct Bed {
    pub(crate) folder: TempDir,
    runtime: Runtime,
}

/// All that a reader can see of a run, but for its attempt.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    output: work::Seen,
    input: (u64, String, Vec<String>),
}

impl Seen {
    pub(crate) fn of(receipt: &Receipt) -> Self {
        let input = &receipt.input;
        Self {
            output: work::Seen::of(receipt),
            input: (input.bytes, input.sha256.clone(), input.columns.clone()),
        }
    }
}

/// What one gets of some bytes without any disturbance.
pub(crate) fn undisturbed(bytes: &[u8], work: &Work) -> Seen {
    let bed = Bed::new();
    let path = bed.folder.path().join("a.csv");
    std::fs::write(&path, bytes).unwrap();
    let receipt = bed.attempt(path.to_str().unwrap(), work).unwrap();
    assert_eq!(receipt.attempt.resumed_from, None);
    let digest = crate::support::inputs::digest(bytes);
    assert_eq!(
        (receipt.input.bytes, &receipt.input.sha256),
        (digest.bytes, &digest.sha256)
    );
    Seen::of(&receipt)
}

pub(crate) fn uri(server: &Server) -> String {
    format!("http://{}/a.csv", server.address)
}

/// From which byte on a request asks for a file, if it does not ask for all of it.
pub(crate) fn range_of(head: &str) -> Option<u64> {
    let range = head.lines().find_map(|line| line.strip_prefix("range: bytes="))?;
    Some(range.strip_suffix('-').unwrap().parse().unwrap())
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            runtime: Runtime::new().unwrap(),
        }
    }

    /// One attempt. A transfer that breaks off ends it, and there is a checkpoint wherever there can be one.
    pub(crate) fn attempt(&self, uri: &str, work: &Work) -> Result<Receipt, Error> {
        let limits = Limits {
            batch_bytes: BATCH_BYTES,
            batch_records: 7,
            checkpoint_bytes: 1,
            http_resumes: 0,
            http_idle: Duration::from_secs(5),
            ..Limits::default()
        };
        self.attempt_within(uri, work, limits)
    }

    pub(crate) fn attempt_within(&self, uri: &str, work: &Work, limits: Limits) -> Result<Receipt, Error> {
        let fetcher = Fetcher::new(Access::default(), &limits);
        let out = self.folder.path().join("out");
        let work = work.clone();
        let job = Job {
            profile: true,
            // Tests are about other things than how many are rejected.
            gate: Gate::new(vec!["100%".parse().unwrap()], 0),
            id: Some("one".to_owned()),
            queue: Some("q".to_owned()),
            uri: uri.to_owned(),
            submitted_at: Timestamp::UNIX_EPOCH,
            attempt: 1,
            fence: 1,
            life_ms: 0,
            is_contested: false,
            worker: "test".to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
            input: work.options,
            plugin: work.plugin,
            config: work.config.into(),
            binding: None,
            output_format: work.output_format,
            destination: Arc::new(Destination::new(out.to_str().unwrap(), None).unwrap()),
            lanes: work.lanes,
            limits: Arc::new(limits),
            stop: work.stop.clone(),
            gauge: work.gauge,
        };
        let (uri, stop) = (uri.to_owned(), work.stop);
        let open = move |rest: Option<(&Identity, u64)>| match rest {
            None => fetcher.open_blocking(&uri, Origin::Typed, &stop),
            Some((identity, from)) => fetcher.open_rest_blocking(&uri, Origin::Typed, identity, from, &stop),
        };
        match self.runtime.block_on(pipeline::spawn_or_resume(job, open))? {
            Committed::New(receipt) => Ok(receipt),
            Committed::Existing(_) => panic!("was committed before"),
        }
    }

    /// The files in staging whose names end so.
    pub(crate) fn staged(&self, end: &str) -> Vec<PathBuf> {
        let folders = ["out/.staging", "out/.staging/fences", "out/rejects/.staging"]
            .map(|folder| self.folder.path().join(folder));
        let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
        let paths = entries.flatten().map(|entry| entry.unwrap().path());
        paths
            .filter(|path| path.is_file() && path.to_str().unwrap().ends_with(end))
            .collect()
    }

    /// The only one of those.
    pub(crate) fn staged_one(&self, end: &str) -> PathBuf {
        let mut found = self.staged(end);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    /// Nothing is left that only attempts use.
    pub(crate) fn is_tidy(&self) {
        assert_eq!(self.staged(""), Vec::<PathBuf>::new());
    }
}

/// How many bytes of the input were done, as people see it.
pub(crate) fn shown(work: &Work) -> u64 {
    work.gauge.bytes.load(Ordering::Relaxed)
}
