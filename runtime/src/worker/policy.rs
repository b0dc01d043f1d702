//! Keeps what the requests of each queue may reach and use. The settings of queues go in; one immutable policy for each
//! claim comes out, and its attempt keeps it to its end.

use std::collections::HashMap;
use std::sync::Arc;

use super::plugins::{PluginFile, PluginSource};
use crate::commit::Destination;
use crate::config::Limits;
use crate::error::{Code, Error, Result, Stage};
use crate::fetch::Fetcher;
use crate::format::Format;
use crate::gate::Gate;
use crate::plugin::Engine;
use crate::queue::OutputId;
use crate::request::InputOptions;
use crate::stop::Stop;

/// The settings for the requests of one or more queues.
pub struct PolicyOptions {
    /// The source of the plugin.
    pub plugin: PluginSource,
    /// The format of the output, or `None` for the format of each input.
    pub output_format: Option<Format>,
    /// Set if receipts get a profile of the output's columns.
    pub profile: bool,
    /// The options for reading inputs. The options of the binding and of the request override them.
    pub input: InputOptions,
    /// The bounds on rejects and on the number of records. An output is published only if it meets them.
    pub gate: Gate,
    /// The bounds of an attempt.
    pub limits: Arc<Limits>,
    /// Opens the inputs. It decides which of them a request may reach, with which credentials.
    pub fetcher: Fetcher,
    /// The place for outputs, rejects and receipts.
    pub destination: Arc<Destination>,
}

/// Holds everything that the requests of a queue may reach and use.
pub(super) struct Policy {
    pub(super) options: PolicyOptions,
    /// The identity of the output. Claims record it.
    pub(super) output: OutputId,
    /// The plugin's file, or `None` if the queue's binding names the plugin.
    pub(super) plugin_file: Option<Arc<PluginFile>>,
}

/// The policies of all queues of a worker.
pub struct Policies {
    of_queue: HashMap<String, Arc<Policy>>,
    /// Each policy once.
    all: Vec<Arc<Policy>>,
    /// The plugin files that are watched, each once.
    watched: Vec<Arc<PluginFile>>,
}

impl Policies {
    /// Returns the policies of queues. Each element of `settings` has the queues that share a policy. Loads the plugins'
    /// files, and checks that each queue can have its output: a worker that cannot write its output must not take
    /// requests, because it would turn them into dead letters. Does this on a thread that may block.
    ///
    /// # Errors
    /// Fails if a plugin cannot be used or an output cannot be written.
    pub async fn new(engine: &Engine, settings: Vec<(Vec<String>, PolicyOptions)>) -> Result<Self> {
        Self::prepared(engine, settings, None).await
    }

    /// Returns the policies as [`Policies::new`] does, but for a worker that runs already: an object store has 10 s to
    /// answer. The thread that waits for it ends when the stop is requested, even if this future was dropped.
    ///
    /// # Errors
    /// Fails as [`Policies::new`] does, and if a store does not answer in time.
    pub async fn anew(
        engine: &Engine,
        settings: Vec<(Vec<String>, PolicyOptions)>,
        stop: &Stop,
    ) -> Result<Self> {
        Self::prepared(engine, settings, Some(stop.clone())).await
    }

    async fn prepared(
        engine: &Engine,
        settings: Vec<(Vec<String>, PolicyOptions)>,
        stop: Option<Stop>,
    ) -> Result<Self> {
        let engine = engine.clone();
        let preparing = tokio::task::spawn_blocking(move || Self::prepare(&engine, settings, stop.as_ref()));
        preparing.await.unwrap_or_else(|error| {
            let what = "outputs and plugins could not be prepared";
            Err(Error::permanent(Stage::Worker, Code::HostFailure, what).because(error))
        })
    }

    fn prepare(
        engine: &Engine,
        settings: Vec<(Vec<String>, PolicyOptions)>,
        stop: Option<&Stop>,
    ) -> Result<Self> {
        let mut policies = Self {
            of_queue: HashMap::new(),
            all: Vec::new(),
            watched: Vec::new(),
        };
        for (queues, options) in settings {
            let output = prepared_output(&options.destination, &queues, stop)?;
            let plugin_file = policies.plugin_file(engine, &options)?;
            let policy = Arc::new(Policy {
                options,
                output,
                plugin_file,
            });
            let queues = queues.into_iter().map(|queue| (queue, Arc::clone(&policy)));
            policies.of_queue.extend(queues);
            policies.all.push(policy);
        }
        Ok(policies)
    }

    /// Returns these policies and, for each of `queues`, its policy in `former`.
    #[must_use]
    pub fn keeping(mut self, former: &Self, queues: &[String]) -> Self {
        for queue in queues {
            let policy = former.of(queue);
            self.of_queue.insert(queue.clone(), Arc::clone(policy));
            if self.all.iter().any(|known| Arc::ptr_eq(known, policy)) {
                continue;
            }
            self.all.push(Arc::clone(policy));
            if let Some(file) = &policy.plugin_file
                && former.watches(file)
                && !self.watches(file)
            {
                self.watched.push(Arc::clone(file));
            }
        }
        self
    }

    /// Returns the policy of a queue that the worker serves.
    pub(super) fn of(&self, queue: &str) -> &Arc<Policy> {
        self.of_queue
            .get(queue)
            .expect("each queue that the worker serves has a policy")
    }

    /// Returns each policy once.
    pub(super) fn all(&self) -> &[Arc<Policy>] {
        &self.all
    }

    /// Returns each destination of outputs once, although several policies can have it.
    pub(super) fn destinations(&self) -> Vec<Arc<Destination>> {
        let mut destinations: Vec<Arc<Destination>> = Vec::new();
        for policy in &self.all {
            let destination = &policy.options.destination;
            if !destinations.iter().any(|known| Arc::ptr_eq(known, destination)) {
                destinations.push(Arc::clone(destination));
            }
        }
        destinations
    }

    /// Loads plugin files that are watched and have changed. Blocks if there are any.
    pub(super) fn refresh_plugins(&self) {
        for file in &self.watched {
            tokio::task::block_in_place(|| file.refresh());
        }
    }

    fn watches(&self, file: &Arc<PluginFile>) -> bool {
        self.watched.iter().any(|watched| Arc::ptr_eq(watched, file))
    }

    /// Returns the plugin file of a policy. Policies share a file that they load in the same way.
    fn plugin_file(&mut self, engine: &Engine, options: &PolicyOptions) -> Result<Option<Arc<PluginFile>>> {
        let PluginSource::File {
            path,
            config,
            data,
            watch,
        } = &options.plugin
        else {
            return Ok(None);
        };
        let is_same = |of: &PolicyOptions| {
            of.plugin == options.plugin && of.limits.to_string() == options.limits.to_string()
        };
        if let Some(policy) = self.all.iter().find(|policy| is_same(&policy.options)) {
            return Ok(policy.plugin_file.clone());
        }
        let engine = engine.with_limits(Arc::clone(&options.limits));
        let file = Arc::new(PluginFile::load(engine, path, config, data)?);
        if *watch {
            self.watched.push(Arc::clone(&file));
        }
        Ok(Some(file))
    }
}

/// Checks that queues can have their outputs in a destination, and returns the identity of its output.
fn prepared_output(destination: &Destination, queues: &[String], stop: Option<&Stop>) -> Result<OutputId> {
    let storage = destination.storage();
    for queue in queues {
        storage.prepare(queue, stop)?;
    }
    Ok(OutputId {
        id: storage.identity()?,
        uri: storage.uri(),
    })
}

impl Policy {
    /// Returns whether the queue's binding names the plugin.
    pub(super) fn needs_binding(&self) -> bool {
        self.plugin_file.is_none()
    }
}
