//! Makes the policies of queues from their settings.

use std::path::PathBuf;
use std::sync::Arc;

use super::data;
use super::options::plugin_config;
use super::run::Args;
use super::settings::{Resolved, Settings};
use crate::commit::Destination;
use crate::error::Result;
use crate::fetch::{Access, AnsweredHosts, Fetcher};
use crate::location::ObjectPrefix;
use crate::plugin::component_metadata;
use crate::request::InputOptions;
use crate::storage::object::ObjectStores;
use crate::worker::{PluginSource, PolicyOptions};

/// The maximum number of edits between the names of a queue and of a table that are similar.
const NEAR: usize = 1;

/// The settings that decide what a fetcher may reach. Queues share a fetcher, with its connections, only if all of them
/// are the same.
#[derive(PartialEq, Eq)]
struct Reach {
    hosts: Vec<String>,
    roots: Vec<PathBuf>,
    buckets: Vec<String>,
    stores: Option<Vec<String>>,
    credentials: Option<PathBuf>,
    limits: String,
}

/// The places of a destination.
#[derive(PartialEq, Eq)]
enum Places {
    /// Output and rejects, as given.
    Given { output: String, rejects: Option<String> },
    /// Prefixes in object stores: of the output, and of the rejects if they have one of their own.
    Objects {
        output: PlaceInStore,
        rejects: Option<PlaceInStore>,
    },
}

/// A prefix in an object store.
#[derive(PartialEq, Eq)]
struct PlaceInStore {
    prefix: ObjectPrefix,
    /// The name of the store; none for that of the environment.
    store: Option<String>,
}

impl PlaceInStore {
    fn new(prefix: ObjectPrefix, stores: &ObjectStores) -> Self {
        let store = stores.name_of(prefix.provider, &prefix.bucket).map(str::to_owned);
        Self { prefix, store }
    }
}

/// Makes policies. Queues with the same settings share what they open.
struct PolicyMaker<'a> {
    answered: &'a Arc<AnsweredHosts>,
    stores: &'a ObjectStores,
    fetchers: Vec<(Reach, Fetcher)>,
    destinations: Vec<(Places, Arc<Destination>)>,
}

/// Returns the settings for the requests of queues, each with the queues that share them. Opens nothing but the files
/// that the settings name. All fetchers and outputs use `stores`. Needs a Tokio runtime.
///
/// # Errors
/// Fails permanently, with stage config, if a setting is wrong. The error names the queue.
pub(super) fn of_queues(
    settings: &Settings,
    worker: &Resolved,
    queues: &[String],
    answered: &Arc<AnsweredHosts>,
    stores: &ObjectStores,
) -> Result<Vec<(Vec<String>, PolicyOptions)>> {
    let mut maker = PolicyMaker {
        answered,
        stores,
        fetchers: Vec::new(),
        destinations: Vec::new(),
    };
    let (with_table, others): (Vec<_>, Vec<_>) = queues
        .iter()
        .cloned()
        .partition(|queue| settings.has_table(queue));
    let mut policies = Vec::new();
    warn_of_near_tables(settings, worker, &others);
    if !others.is_empty() || with_table.is_empty() {
        policies.push((others, maker.policy(worker)?));
    }
    for queue in with_table {
        let policy = settings.resolve(Some(&queue)).and_then(|resolved| {
            warn_of_overridden(&queue, &resolved);
            maker.policy(&resolved)
        });
        let policy = policy.map_err(|error| error.about(format_args!("queue {queue}")))?;
        policies.push((vec![queue], policy));
    }
    Ok(policies)
}

/// Warns if settings of a queue's table do not hold. An operator could rely on them, for example on the table's
/// credentials.
fn warn_of_overridden(queue: &str, resolved: &Resolved) {
    if !resolved.overridden.is_empty() {
        tracing::warn!(
            queue,
            settings = resolved.overridden.join(", "),
            "these settings of the queue's table do not hold: the command line or the environment overrides them for all queues"
        );
    }
}

/// Warns if a queue without a table probably has one under a mistyped name, because it has the worker's settings then.
fn warn_of_near_tables(settings: &Settings, worker: &Resolved, queues: &[String]) {
    let served = settings.queues(worker);
    for queue in queues {
        let is_near =
            |table: &&String| !served.contains(table) && strsim::damerau_levenshtein(table, queue) <= NEAR;
        if let Some(table) = settings.tables_of_queues().find(is_near) {
            tracing::warn!(
                queue,
                table,
                "the queue has no table of its own in the config file, but there is one with a similar name"
            );
        }
    }
}

impl PolicyMaker<'_> {
    fn policy(&mut self, resolved: &Resolved) -> Result<PolicyOptions> {
        let Resolved { args, limits, .. } = resolved;
        let input = InputOptions::from(args.input.clone());
        input.check()?;
        let fetcher = self.fetcher(resolved)?;
        let plugin = match &args.plugin {
            Some(path) => PluginSource::File {
                // A missing file is a wrong argument, which is reported before the server is contacted.
                path: component_metadata(path).map(|_| path.clone())?,
                config: plugin_config("--plugin-config", args.plugin_config.as_deref())?
                    .canonical
                    .into(),
                data: data::for_plugin(tokio::task::block_in_place(|| args.data.read_blocking(&fetcher))?)?,
                watch: args.watch,
            },
            None => PluginSource::Bindings,
        };
        Ok(PolicyOptions {
            plugin,
            output_format: args.output.format,
            profile: args.output.profile,
            input,
            gate: args.gate.gate(),
            fetcher,
            destination: self.destination(args, resolved.stores.as_deref())?,
            limits: Arc::new(limits.clone()),
        })
    }

    fn fetcher(&mut self, resolved: &Resolved) -> Result<Fetcher> {
        let Resolved {
            args, limits, stores, ..
        } = resolved;
        let reach = Reach {
            hosts: args.allow_host.clone(),
            roots: args.allow_root.clone(),
            buckets: args.allow_bucket.clone(),
            stores: stores.clone(),
            credentials: args.credentials.file.clone(),
            limits: limits.to_string(),
        };
        if let Some((_, fetcher)) = self.fetchers.iter().find(|(of, _)| *of == reach) {
            return Ok(fetcher.clone());
        }
        let access = Access::new(&reach.hosts, &reach.roots)?.allowing_buckets(&reach.buckets)?;
        let stores = self.stores.allowing_only(stores.as_deref())?;
        for bucket in access.buckets() {
            stores.check(bucket.provider, &bucket.bucket)?;
        }
        let fetcher =
            Fetcher::noting_in(self.answered, access, args.credentials.read()?, limits).with_stores(stores);
        self.fetchers.push((reach, fetcher.clone()));
        Ok(fetcher)
    }

    fn destination(&mut self, args: &Args, stores: Option<&[String]>) -> Result<Arc<Destination>> {
        let stores = self.stores.allowing_only(stores)?;
        // This also checks that output and rejects can be where they are.
        let opened = args.output.destination(&stores)?;
        let places = match args.output.prefix() {
            Some(prefix) => Places::Objects {
                output: PlaceInStore::new(prefix, &stores),
                rejects: args
                    .output
                    .rejects_prefix()
                    .map(|prefix| PlaceInStore::new(prefix, &stores)),
            },
            None => Places::Given {
                output: args.output.output.clone(),
                rejects: args.output.rejects.clone(),
            },
        };
        if let Some((_, destination)) = self.destinations.iter().find(|(of, _)| *of == places) {
            return Ok(Arc::clone(destination));
        }
        let destination = Arc::new(opened);
        self.destinations.push((places, Arc::clone(&destination)));
        Ok(destination)
    }
}
