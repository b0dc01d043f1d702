//! Chooses the plugin of a claim: the file with which the worker was started, or the plugin in the queue's binding. A
//! new plugin takes effect between two claims.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::policy::Policy;
use crate::config::{LimitOverrides, Limits};
use crate::error::{Code, Error, Result, Stage};
use crate::gate::Gate;
use crate::plugin::{DATA_BYTES_MAX, Engine, Plugin, ReferenceData, component_metadata, data_missing};
use crate::queue::{Binding, Claim, Registry, Step, StepData};
use crate::request::InputOptions;

/// The maximum number of compiled bindings that are kept. A worker normally serves fewer queues than that.
const KEPT_MAX: usize = 64;

/// The maximum number of bytes of reference data that are kept with compiled bindings.
const DATA_KEPT_BYTES_MAX: usize = 4 * DATA_BYTES_MAX;

/// The time for which a compiled binding is used before the server is asked again. A binding's number keeps its meaning
/// until the server loses data: then the numbers begin again with 1.
const BINDING_TRUSTED: Duration = Duration::from_secs(5);

/// If a changed file cannot be used, the worker tries the file again after this pause. The cause may have been a
/// temporary shortage on the machine, for example of memory.
const RETRY_REFUSED_FILE: Duration = Duration::from_secs(5);

/// The source of the plugin for requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginSource {
    /// A file, whatever the queue is bound to.
    File {
        /// The path of the component.
        path: PathBuf,
        /// The JSON config with which the plugin is opened.
        config: Arc<str>,
        /// The reference data that the plugin can read.
        data: ReferenceData,
        /// Set if the worker loads the file again when it has changed.
        watch: bool,
    },
    /// The plugin that each queue is bound to.
    Bindings,
}

/// A plugin with its config, ready to start.
#[derive(Debug, Clone)]
pub(super) struct BoundPlugin {
    pub(super) plugin: Plugin,
    pub(super) config: Arc<str>,
    /// The limits of the binding. They lower those of the queue's policy.
    pub(super) overrides: LimitOverrides,
    pub(super) gate: Gate,
    pub(super) input: InputOptions,
    /// The number of the binding, or `None` for a file.
    pub(super) number: Option<u64>,
}

impl BoundPlugin {
    fn matches(&self, binding: &Binding) -> bool {
        let step = binding.step();
        self.plugin.description().sha256 == step.sha256
            && *self.config == *step.config
            && self.plugin.data().digests() == digests(step)
            && self.overrides == binding.limits
            && self.gate == binding.gate
            && self.input == binding.input
    }
}

/// The plugin of a file, ready to start.
pub(super) struct PluginFile {
    engine: Engine,
    path: PathBuf,
    config: Arc<str>,
    data: ReferenceData,
    loaded: Mutex<(FileStamp, BoundPlugin)>,
    /// The stamp of a changed file that could not be used, and the time when it was tried.
    refused: Mutex<Option<(FileStamp, Instant)>>,
}

/// The plugins to which queues are bound.
pub(super) struct Plugins {
    engine: Engine,
    registry: Arc<dyn Registry>,
    bindings: Mutex<HashMap<(String, u64), CompiledPlugin>>,
    /// A lock for each queue. It is held while the queue's binding is fetched and compiled, so that concurrent claims
    /// do this only once, and claims of other queues do not wait.
    loading: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A compiled binding. `seen_at` and `losses` are from the last comparison with the server's binding.
struct CompiledPlugin {
    bound: BoundPlugin,
    seen_at: Instant,
    losses: u64,
}

/// The modification time and the length of a file. If one of them changes, the file has changed.
type FileStamp = (SystemTime, u64);

impl PluginFile {
    /// Loads the file, so that a worker does not start with a plugin that cannot run. `engine` has the limits for that.
    pub(super) fn load(engine: Engine, path: &Path, config: &Arc<str>, data: &ReferenceData) -> Result<Self> {
        let loaded = (stamp(path)?, load_file(&engine, path, config, data)?);
        Ok(Self {
            engine,
            path: path.to_owned(),
            config: Arc::clone(config),
            data: data.clone(),
            loaded: Mutex::new(loaded),
            refused: Mutex::new(None),
        })
    }

    fn plugin(&self) -> BoundPlugin {
        self.loaded.lock().1.clone()
    }

    /// Loads the file if it has changed. If the changed file cannot be used, keeps the plugin that was loaded before.
    /// This is called between claims, on a thread that may block.
    pub(super) fn refresh(&self) {
        let path = &self.path;
        let Ok(now) = stamp(path) else { return };
        if self.loaded.lock().0 == now {
            return;
        }
        if self
            .refused
            .lock()
            .is_some_and(|(stamp, tried_at)| stamp == now && tried_at.elapsed() < RETRY_REFUSED_FILE)
        {
            return;
        }
        match check_regular(path).and_then(|()| load_file(&self.engine, path, &self.config, &self.data)) {
            Ok(bound) => {
                let sha256 = &bound.plugin.description().sha256;
                tracing::info!(path = %path.display(), sha256, "plugin file changed, taken up");
                *self.loaded.lock() = (now, bound);
                *self.refused.lock() = None;
            }
            Err(error) => {
                tracing::warn!(
                    path = %path.display(),
                    error = error.report(),
                    code = %error.code(),
                    "plugin file changed but cannot be used, keeping the one before"
                );
                *self.refused.lock() = Some((now, Instant::now()));
            }
        }
    }
}

impl Plugins {
    pub(super) fn new(engine: Engine, registry: Arc<dyn Registry>) -> Self {
        Self {
            engine,
            registry,
            bindings: Mutex::new(HashMap::new()),
            loading: Mutex::default(),
        }
    }

    /// Returns the plugin for a claim. An attempt keeps this plugin to its end.
    pub(super) async fn for_claim(&self, claim: &Claim, policy: &Policy) -> Result<BoundPlugin> {
        if let Some(file) = &policy.plugin_file {
            return Ok(file.plugin());
        }
        let queue = &claim.ticket.queue;
        let number = claim.binding.ok_or_else(|| {
            Error::transient(
                Stage::Plugin,
                Code::PluginMissing,
                format!("queue {queue} has no plugin bound to it"),
            )
        })?;
        let key = (queue.clone(), number);
        if let Some(bound) = self.recently_compiled(&key) {
            return Ok(bound);
        }
        let loading = Arc::clone(self.loading.lock().entry(queue.clone()).or_default());
        let _loading = loading.lock().await;
        if let Some(bound) = self.recently_compiled(&key) {
            return Ok(bound);
        }
        let (seen_at, losses) = (Instant::now(), self.registry.losses_seen());
        let binding = self
            .registry
            .binding(queue, number)
            .await?
            .ok_or_else(|| missing_on_server(&key, "binding"))?;
        if let Some(compiled) = self.bindings.lock().get_mut(&key)
            && compiled.bound.matches(&binding)
        {
            (compiled.seen_at, compiled.losses) = (seen_at, losses);
            return Ok(compiled.bound.clone());
        }
        let bytes = self
            .registry
            .component(&binding.step().sha256, policy.options.limits.component_bytes_max)
            .await?
            .ok_or_else(|| missing_on_server(&key, "component"))?;
        let data = self.data(binding.step()).await?;
        let mut bound = self.compile(bytes, binding, &policy.options.limits).await?;
        bound.plugin = bound.plugin.with_data(data);
        let mut bindings = self.bindings.lock();
        let kept = bindings
            .values()
            .map(|compiled| compiled.bound.plugin.data().len());
        if bindings.len() >= KEPT_MAX || kept.sum::<usize>() + bound.plugin.data().len() > DATA_KEPT_BYTES_MAX
        {
            bindings.clear();
        }
        let compiled = CompiledPlugin {
            bound: bound.clone(),
            seen_at,
            losses,
        };
        bindings.insert(key, compiled);
        Ok(bound)
    }

    /// Returns the reference data of a step. Bindings that are kept share data with the same digest.
    async fn data(&self, step: &Step) -> Result<ReferenceData> {
        let mut named = Vec::with_capacity(step.data.len());
        for (name, StepData { sha256, .. }) in &step.data {
            let bytes = match self.kept_data(sha256) {
                Some(bytes) => bytes,
                None => {
                    let bytes = self.registry.data(sha256, DATA_BYTES_MAX).await?;
                    bytes.ok_or_else(|| data_missing(name, sha256))?.into()
                }
            };
            named.push((name.clone(), bytes));
        }
        // The digests of much data take a while.
        let digesting = tokio::task::spawn_blocking(move || ReferenceData::new(named));
        let data = digesting.await.map_err(|e| {
            Error::permanent(
                Stage::Plugin,
                Code::HostFailure,
                "reference data could not be digested",
            )
            .because(e)
        })??;
        let expected = step.data.iter();
        data.expect(expected.map(|(name, data)| (name.as_str(), data.sha256.as_str())))?;
        Ok(data)
    }

    fn kept_data(&self, sha256: &str) -> Option<Arc<[u8]>> {
        let bindings = self.bindings.lock();
        bindings
            .values()
            .find_map(|compiled| compiled.bound.plugin.data().with_digest(sha256))
    }

    /// Returns the compiled binding of this queue and number, if it was compared with the server's binding a moment
    /// ago.
    fn recently_compiled(&self, key: &(String, u64)) -> Option<BoundPlugin> {
        let losses = self.registry.losses_seen();
        let bindings = self.bindings.lock();
        let compiled = bindings.get(key)?;
        (compiled.losses == losses && compiled.seen_at.elapsed() < BINDING_TRUSTED)
            .then(|| compiled.bound.clone())
    }

    async fn compile(&self, bytes: Vec<u8>, binding: Binding, limits: &Arc<Limits>) -> Result<BoundPlugin> {
        limits.with_overrides(&binding.limits)?;
        let engine = self.engine.with_limits(Arc::clone(limits));
        let plugin = tokio::task::spawn_blocking(move || engine.load(&bytes))
            .await
            .map_err(|e| {
                Error::permanent(Stage::Plugin, Code::HostFailure, "compilation failed").because(e)
            })?;
        let step = binding.step();
        let plugin = plugin.map_err(|e| e.about(step.plugin()))?;
        if plugin.description().sha256 != step.sha256 {
            return Err(Error::permanent(
                Stage::Plugin,
                Code::PluginMissing,
                format!("the server's component {} has another digest", step.sha256),
            ));
        }
        Ok(BoundPlugin {
            plugin,
            config: step.config.as_str().into(),
            overrides: binding.limits,
            gate: binding.gate,
            input: binding.input,
            number: Some(binding.number),
        })
    }
}

fn load_file(engine: &Engine, path: &Path, config: &Arc<str>, data: &ReferenceData) -> Result<BoundPlugin> {
    let plugin = engine.load_file(path)?.with_data(data.clone());
    plugin.check(config).map_err(|e| e.about(path.display()))?;
    Ok(BoundPlugin {
        plugin,
        config: Arc::clone(config),
        overrides: LimitOverrides::new(),
        gate: Gate::default(),
        input: InputOptions::default(),
        number: None,
    })
}

/// Returns the digests of a step's reference data, by name.
fn digests(step: &Step) -> BTreeMap<String, String> {
    let data = step.data.iter();
    data.map(|(name, data)| (name.clone(), data.sha256.clone()))
        .collect()
}

fn stamp(path: &Path) -> Result<FileStamp> {
    let metadata = component_metadata(path)?;
    let modified = metadata.modified().map_err(|e| {
        Error::permanent(Stage::Plugin, Code::PluginMissing, path.display().to_string()).because(e)
    })?;
    Ok((modified, metadata.len()))
}

/// Checks that a watched file is still a regular file, because opening a pipe would wait for a writer.
fn check_regular(path: &Path) -> Result<()> {
    if component_metadata(path)?.is_file() {
        return Ok(());
    }
    Err(Error::permanent(
        Stage::Plugin,
        Code::PluginMissing,
        format!("{}: is not a regular file", path.display()),
    ))
}

fn missing_on_server((queue, number): &(String, u64), what: &str) -> Error {
    Error::permanent(
        Stage::Plugin,
        Code::PluginMissing,
        format!("queue {queue}: the server does not have the {what} of binding {number}"),
    )
}
