//! Runs one input through the whole pipeline in the test's process, with any number of lanes.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use ingest_host::commit::{Committed, Destination};
use ingest_host::config::Limits;
use ingest_host::error::Error;
use ingest_host::fetch::{Access, Fetcher, RequestedBy};
use ingest_host::format::Format;
use ingest_host::gate::Gate;
use ingest_host::pipeline::{self, Execution, Job, Placement, ProgressCounters, Work};
use ingest_host::plugin::{Engine, Plugin};
use ingest_host::receipt::{Example, QualityPart, Receipt, RecordCounts};
use ingest_host::request::InputOptions;
use ingest_host::stop::Stop;
use ingest_host::storage::Owner;
use jiff::Timestamp;

use super::host::{cache, component, path_of};

/// Returns the engine that all tests in this process share.
pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(&Limits::default(), Some(cache())).unwrap())
}

/// Returns an example plugin, loaded into the shared engine.
pub(crate) fn plugin(name: &str) -> Plugin {
    engine().load_file(&component(name)).unwrap()
}

/// A run of the pipeline. The number of lanes is chosen when the run is started.
pub(crate) struct PipelineRun<'a> {
    pub(crate) input: &'a [u8],
    pub(crate) options: InputOptions,
    pub(crate) plugin: &'a Plugin,
    pub(crate) config: &'a str,
    pub(crate) output_format: Option<Format>,
    pub(crate) limits: Limits,
}

/// Returns the placement of an attempt. Its request was submitted in 1970.
pub(crate) fn placement(owner: Owner, uri: &str, output: &Path) -> Placement {
    Placement {
        owner,
        uri: uri.to_owned(),
        submitted_at: Timestamp::UNIX_EPOCH,
        group: None,
        submitted_input: None,
        destination: Arc::new(Destination::new(output.to_str().unwrap(), None).unwrap()),
    }
}

/// Returns the execution of a first attempt in 1970, by a worker with the name `test`.
pub(crate) fn execution(lanes: usize, stop: Stop, progress: Arc<ProgressCounters>) -> Execution {
    Execution {
        attempt: 1,
        worker: "test".to_owned(),
        started_at: Timestamp::UNIX_EPOCH,
        lanes,
        stop,
        progress,
        watcher: None,
    }
}

/// All results of a run that a reader can see. They must not depend on the number of lanes.
#[derive(Debug, PartialEq)]
pub(crate) struct RunOutcome {
    pub(crate) output: String,
    pub(crate) rejects: String,
    pub(crate) records: RecordCounts,
    pub(crate) by_code: Vec<(String, u64)>,
    pub(crate) examples: Vec<(String, Vec<Example>)>,
    pub(crate) counters: Vec<(String, u64)>,
    pub(crate) quality: QualityPart,
}

impl<'a> PipelineRun<'a> {
    /// Creates a run with CSV as input.
    pub(crate) fn of(plugin: &'a Plugin, config: &'a str, input: &'a str, limits: Limits) -> Self {
        Self {
            input: input.as_bytes(),
            options: InputOptions::default(),
            plugin,
            config,
            output_format: None,
            limits,
        }
    }

    pub(crate) fn run(&self, lanes: usize) -> Result<RunOutcome, Error> {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("in");
        std::fs::write(&input, self.input).unwrap();
        let limits = self.limits.clone();
        let uri = input.to_str().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let fetcher = Fetcher::new(Access::default(), &limits);
        let source = runtime.block_on(fetcher.open(uri, RequestedBy::Typed, &Stop::default()))?;
        let work = Work {
            input: self.options.clone(),
            plugin: self.plugin.clone(),
            binding: None,
            config: self.config.into(),
            output_format: self.output_format,
            profile: true,
            // The gate accepts any number of rejects, because these tests do not check the gate.
            gate: Gate::new(vec!["100%".parse().unwrap()], 0),
            limits: Arc::new(limits),
            replay: None,
        };
        let out = folder.path().join("out");
        let job = Job {
            work,
            placement: placement(Owner::default(), "in", &out),
            execution: execution(lanes, Stop::default(), Arc::default()),
        };
        let Committed::New(receipt) = pipeline::run(&job, source)? else {
            panic!("the folder was empty");
        };
        Ok(RunOutcome::of(&receipt))
    }

    /// Runs the pipeline with one lane and with several lanes, and checks that the results are the same.
    pub(crate) fn runs_alike(&self) -> Result<RunOutcome, String> {
        let one = self.run(1).map_err(|error| error.report());
        for lanes in [2, 3] {
            assert_eq!(
                self.run(lanes).map_err(|error| error.report()),
                one,
                "{lanes} lanes"
            );
        }
        one
    }
}

impl RunOutcome {
    pub(crate) fn of(receipt: &Receipt) -> Self {
        let text = |uri: &str| std::fs::read_to_string(path_of(&uri.into())).unwrap();
        Self {
            output: text(&receipt.outputs[0].uri),
            rejects: receipt.rejects.uri.as_deref().map(text).unwrap_or_default(),
            records: receipt.records,
            by_code: receipt.rejects.by_code.clone().into_iter().collect(),
            examples: receipt.rejects.examples.clone().into_iter().collect(),
            counters: receipt.counters.clone().into_iter().collect(),
            quality: receipt.quality.clone().unwrap(),
        }
    }
}
