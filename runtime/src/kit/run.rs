//! Runs a plugin on one input, without a queue and without files: the bytes of the output and of the rejects stay in
//! memory, or are dropped.

use std::sync::Arc;

use crate::admin::plugin_config::PluginConfig;
use crate::commit::{Committed, Destination};
use crate::config::Limits;
use crate::error::Result;
use crate::fetch::{Access, Fetcher, RequestedBy};
use crate::format::Format;
use crate::gate::Gate;
use crate::location::redact;
use crate::pipeline::{self, Execution, Job, Placement, RecordWatcher, Work};
use crate::plugin::Plugin;
use crate::receipt::{self, Receipt};
use crate::request::InputOptions;
use crate::stop::Stop;
use crate::storage::{MemoryStorage, Owner};

/// A run of a plugin on one input.
pub struct Run<'a> {
    /// The plugin.
    pub plugin: &'a Plugin,
    /// The plugin's config.
    pub config: &'a PluginConfig,
    /// The path or URI of the input.
    pub uri: &'a str,
    /// The URI that the plugin gets as the origin of the input.
    pub origin_uri: &'a str,
    /// The options for reading the input.
    pub input: InputOptions,
    /// The format of the output, or `None` for the format of the input.
    pub output_format: Option<Format>,
    /// The limits of the run.
    pub limits: &'a Arc<Limits>,
    /// Ends the run early.
    pub stop: &'a Stop,
}

impl Run<'_> {
    /// Returns the same run with another plugin.
    pub(super) fn with_plugin<'a>(&'a self, plugin: &'a Plugin) -> Run<'a> {
        Run {
            plugin,
            input: self.input.clone(),
            ..*self
        }
    }

    /// Runs the plugin. The output goes to `storage`. Any number of rejects is allowed. Must be called on a thread of a
    /// Tokio runtime that is allowed to block.
    ///
    /// # Errors
    /// Fails if the plugin refuses the config or the input, or as an attempt of a worker does.
    pub(super) fn to(
        &self,
        storage: MemoryStorage,
        watcher: Option<Arc<dyn RecordWatcher>>,
    ) -> Result<Receipt> {
        self.plugin.check(&self.config.as_written)?;
        let fetcher = Fetcher::new(Access::default(), self.limits);
        let source = fetcher.open_blocking(self.uri, RequestedBy::Typed, self.stop)?;
        let now = receipt::now();
        let job = Job {
            work: Work {
                input: self.input.clone(),
                plugin: self.plugin.clone(),
                binding: None,
                config: self.config.canonical.as_str().into(),
                output_format: self.output_format,
                profile: false,
                gate: open_gate(),
                limits: Arc::clone(self.limits),
                replay: None,
            },
            placement: Placement {
                owner: Owner::default(),
                uri: redact(self.origin_uri),
                submitted_at: now,
                group: None,
                submitted_input: None,
                destination: Arc::new(Destination::in_storage(Box::new(storage))),
            },
            execution: Execution {
                attempt: 1,
                worker: "kit".to_owned(),
                started_at: now,
                // With one lane, the log lines of the plugin come in the order of the records.
                lanes: 1,
                stop: self.stop.clone(),
                progress: Arc::default(),
                watcher,
            },
        };
        let (Committed::New(receipt) | Committed::Existing(receipt)) = pipeline::run(&job, source)?;
        Ok(receipt)
    }
}

/// Returns a gate that lets any number of rejects pass.
fn open_gate() -> Gate {
    Gate::new(vec!["100%".parse().expect("a constant rule")], 0)
}
