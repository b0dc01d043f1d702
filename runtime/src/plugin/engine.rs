//! Loads plugins. A component file goes in, and a plugin that can be started comes out. The component is checked,
//! compiled once, and asked for its name.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tokio::runtime::{Handle, RuntimeFlavor};
use wasmtime::component::{Component, Linker, Resource};
use wasmtime::{Config, InstanceAllocationStrategy};
use wasmtime_wasi::p2::DynPollable;

use super::cache::{self, Cache};
use super::calls::{Calls, TICK};
use super::compile::Compiler;
use super::instance::Instance;
use super::interface::{self, Prepared, Version};
use super::meter::Meter;
use super::reference_data::ReferenceData;
use super::state::{StoreState, Surroundings};
use super::trap::{is_of_machine, timed_out_beside_others};
use super::{Description, pool};
use crate::config::{Limits, cores};
use crate::document::{near_file, read_named};
use crate::error::{Code, Error, Result, Stage};
use crate::format::Format;
use crate::location::redact;
use crate::record::Origin;
use crate::stop::Stop;

/// The interface of WASI for waiting, in the version that wasmtime-wasi provides. If a plugin imports an earlier 0.2
/// version, it also gets this interface.
const WASI_POLL: &str = "wasi:io/poll@0.2.12";
const CANNOT_WAIT: &str = "a plugin cannot sleep or wait";

/// The maximum number of components that an error about a folder names.
const COMPONENTS_SHOWN: usize = 4;

/// Compiles components. A process has one engine. A clone of the engine shares its state.
#[derive(Clone)]
pub struct Engine {
    wasmtime: wasmtime::Engine,
    linker: Arc<Linker<StoreState>>,
    limits: Arc<Limits>,
    calls: Arc<Calls>,
    cache: Option<Arc<Cache>>,
    /// The compiler that uses separate processes, or `None` if this process compiles.
    compiler: Option<Arc<Compiler>>,
    /// Sums up what the calls of all instances cost, if that is wanted.
    meter: Option<Arc<Meter>>,
    /// True if the compiled code counts fuel.
    counts_fuel: bool,
    _ticker: Arc<Ticker>,
}

impl Engine {
    /// Returns an engine that keeps compiled components in `cache`. Without a cache, each process compiles its
    /// components.
    ///
    /// # Errors
    /// Fails if the machine does not allow a program to compile code while it runs.
    pub fn new(limits: &Limits, cache: Option<Cache>) -> Result<Self> {
        let engine = Self::start(limits, |config| {
            config.allocation_strategy(pool::config());
            // If the process does not get enough address space, the engine runs without a pool.
            wasmtime::Engine::new(config).or_else(|_| start_without_pool(config))
        })?;
        Ok(Self {
            cache: cache.map(Arc::new),
            ..engine
        })
    }

    /// Returns an engine without a pool. It takes memory only for the instances that exist.
    pub(super) fn without_pool(limits: &Limits) -> Result<Self> {
        Self::start(limits, start_without_pool)
    }

    /// Returns an engine whose code counts fuel. Its code is slower, so it is for measuring only. The engine compiles in
    /// this process and without a cache: the code of other engines does not count fuel.
    ///
    /// # Errors
    /// Fails as [`Engine::new`] does.
    pub fn counting_fuel(limits: &Limits) -> Result<Self> {
        let engine = Self::start(limits, |config| {
            config.consume_fuel(true);
            start_without_pool(config)
        })?;
        Ok(Self {
            counts_fuel: true,
            ..engine
        })
    }

    /// Makes this engine add what the calls of its instances cost to `meter`.
    #[must_use]
    pub fn measured_by(self, meter: Arc<Meter>) -> Self {
        Self {
            meter: Some(meter),
            ..self
        }
    }

    /// Makes the engine compile in separate processes, within its limits. `program` is the path of this program.
    #[must_use]
    pub fn compiling_apart(self, program: PathBuf) -> Self {
        Self {
            compiler: Some(Arc::new(Compiler::new(program))),
            ..self
        }
    }

    /// Returns this engine with other limits for loading plugins.
    #[must_use]
    pub fn with_limits(&self, limits: Arc<Limits>) -> Self {
        Self {
            limits,
            ..self.clone()
        }
    }

    fn start(
        limits: &Limits,
        start: impl FnOnce(&mut Config) -> wasmtime::Result<wasmtime::Engine>,
    ) -> Result<Self> {
        let mut config = Config::new();
        config
            .concurrency_support(false)
            .epoch_interruption(true)
            // Without these settings, NaN bits and the results of relaxed instructions would depend on the processor.
            // In the cache's file names, `CODE_SETTINGS` stands for these settings.
            .cranelift_nan_canonicalization(true)
            .relaxed_simd_deterministic(true);
        // The errors are transient, because the machine may lack a resource now and have it later.
        let failed =
            |what, e: wasmtime::Error| Error::transient(Stage::Plugin, Code::MachineBusy, what).because(e);
        let wasmtime = start(&mut config).map_err(|e| failed("cannot start WebAssembly", e))?;
        let linker = link(&wasmtime)
            .map_err(|e| refused(Code::HostFailure, "cannot link the interface").because(e))?;
        let calls = Arc::new(Calls::new(cores()));
        let ticker = Ticker::start(wasmtime.clone(), Arc::clone(&calls))
            .map_err(|e| failed("cannot start the clock of plugins", e.into()))?;
        Ok(Self {
            _ticker: Arc::new(ticker),
            wasmtime,
            linker: Arc::new(linker),
            limits: Arc::new(limits.clone()),
            calls,
            cache: None,
            compiler: None,
            meter: None,
            counts_fuel: false,
        })
    }

    /// Loads a plugin from a file.
    ///
    /// # Errors
    /// Fails as [`Engine::load`] does, and if the file cannot be read.
    pub fn load_file(&self, path: &Path) -> Result<Plugin> {
        self.load(&read_component(path, &self.limits)?)
            .map_err(|e| e.about(path.display()))
    }

    /// Loads a plugin: checks that the bytes are a component for this interface, compiles the component, and asks it
    /// for its name and version.
    ///
    /// # Errors
    /// Fails permanently if the bytes are unfit. Each possible defect has its own message. Fails transiently if no
    /// process can be started to compile the component, or if that process was killed.
    pub fn load(&self, bytes: &[u8]) -> Result<Plugin> {
        blocking(|| self.load_now(bytes))
    }

    fn load_now(&self, bytes: &[u8]) -> Result<Plugin> {
        check_kind(bytes, &self.limits)?;
        let sha256 = HEXLOWER.encode(&Sha256::digest(bytes));
        let component = self.component(bytes, &sha256)?;
        let ty = component.component_type();
        let exports: Vec<String> = ty
            .exports(&self.wasmtime)
            .map(|(name, _)| name.to_owned())
            .collect();
        let imports: Vec<String> = ty
            .imports(&self.wasmtime)
            .map(|(name, _)| name.to_owned())
            .collect();
        let version = Version::of(&exports, &imports);
        let (version, interface) = version.map_err(|why| refused(Code::PluginUnfit, why))?;
        let prepared = self
            .linker
            .instantiate_pre(&component)
            .and_then(|linked| version.prepare(linked))
            .map_err(|e| {
                refused(
                    Code::PluginUnfit,
                    "the component needs something that plugins are not granted",
                )
                .because(e)
            })?;
        let mut plugin = Plugin {
            engine: self.clone(),
            prepared,
            surroundings: Arc::default(),
            limits: Arc::clone(&self.limits),
            is_alone: false,
            description: Arc::new(Description {
                name: String::new(),
                version: String::new(),
                sha256,
                interface,
                bytes: bytes.len() as u64,
                imports,
            }),
        };
        let (name, version) = plugin.rather_alone(|plugin| plugin.start(Stop::default())?.describe())?;
        let description = Arc::make_mut(&mut plugin.description);
        (description.name, description.version) = (name, version);
        Ok(plugin)
    }

    /// Returns the component from the cache, or compiles it.
    fn component(&self, bytes: &[u8], sha256: &str) -> Result<Component> {
        let cache = self.cache.as_ref();
        if let Some(component) = cache.and_then(|cache| cache.get(&self.wasmtime, sha256, &self.limits)) {
            return Ok(component);
        }
        let (component, code) = match &self.compiler {
            Some(compiler) => {
                let code = compiler.compile(bytes, &self.limits)?;
                let component = cache::load(&self.wasmtime, &code).map_err(|e| {
                    // The component is fit, so the machine caused the failure, and another try may succeed.
                    Error::transient(
                        Stage::Plugin,
                        Code::MachineBusy,
                        "cannot take up the compiled component",
                    )
                    .because(e)
                })?;
                (component, code)
            }
            None => {
                let component = Component::new(&self.wasmtime, bytes).map_err(|e| {
                    if is_of_machine(&e) {
                        return Error::transient(
                            Stage::Plugin,
                            Code::MachineBusy,
                            "cannot compile the component now",
                        )
                        .because(e);
                    }
                    refused(Code::PluginUnfit, "the component is not valid").because(e)
                })?;
                let code = code_of(&component)?;
                (component, code)
            }
        };
        // If the code cannot be cached, the next process compiles the component again.
        if let Some(Err(error)) = cache.map(|cache| cache.put(sha256, &self.limits, &code)) {
            tracing::warn!(%error, "cannot keep a compiled component");
        }
        Ok(component)
    }

    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.wasmtime
    }

    pub(super) fn meter(&self) -> Option<&Arc<Meter>> {
        self.meter.as_ref()
    }

    pub(super) fn counts_fuel(&self) -> bool {
        self.counts_fuel
    }

    pub(super) fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }
}

/// A compiled plugin. A clone is cheap.
#[derive(Clone)]
pub struct Plugin {
    engine: Engine,
    prepared: Arc<dyn Prepared>,
    surroundings: Arc<Surroundings>,
    limits: Arc<Limits>,
    is_alone: bool,
    description: Arc<Description>,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Plugin").field(&self.description).finish()
    }
}

impl Plugin {
    /// Returns the plugin's name, version and digest.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Returns the compiled code. [`cache::load`] can load it.
    pub(super) fn code(&self) -> Result<Vec<u8>> {
        code_of(self.prepared.component())
    }

    /// Starts a new instance for one input. The instance ends early when `stop` is requested.
    ///
    /// # Errors
    /// Fails if the instance would need more than the limits allow, or if it traps at its start.
    pub fn start(&self, stop: Stop) -> Result<Instance> {
        let state = StoreState::new(&self.description.name, &self.limits, &self.surroundings, stop);
        Instance::start(&self.engine, &*self.prepared, state, &self.limits, self.is_alone)
    }

    /// Returns the limits of the plugin's instances.
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// Returns this plugin with other limits for its instances.
    #[must_use]
    pub fn with_limits(&self, limits: Arc<Limits>) -> Self {
        Self {
            limits,
            ..self.clone()
        }
    }

    /// Returns this plugin with reference data, which its instances can read in `check` and `open`.
    #[must_use]
    pub fn with_data(&self, data: ReferenceData) -> Self {
        let origin = self.surroundings.origin.clone();
        Self {
            surroundings: Arc::new(Surroundings { data, origin }),
            ..self.clone()
        }
    }

    /// Returns the reference data.
    pub fn data(&self) -> &ReferenceData {
        &self.surroundings.data
    }

    /// Returns this plugin with the origin of an input, for which its instances can ask in `open`.
    #[must_use]
    pub fn with_origin(&self, origin: Origin) -> Self {
        let data = self.surroundings.data.clone();
        Self {
            surroundings: Arc::new(Surroundings { data, origin }),
            ..self.clone()
        }
    }

    /// Returns the origin of the input.
    pub fn origin(&self) -> &Origin {
        &self.surroundings.origin
    }

    /// Returns this plugin in a form whose calls run only while no other call of this engine runs.
    #[must_use]
    pub fn alone(&self) -> Self {
        Self {
            is_alone: true,
            ..self.clone()
        }
    }

    pub(crate) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Makes a call with `ask`. If the plugin timed out while other calls ran, repeats the call alone.
    fn rather_alone<T>(&self, ask: impl Fn(&Self) -> Result<T>) -> Result<T> {
        match ask(self) {
            Err(error) if timed_out_beside_others(&error) => ask(&self.alone()),
            answer => answer,
        }
    }

    /// Starts a separate instance and checks that the plugin accepts a config.
    ///
    /// # Errors
    /// Returns the plugin's reason for refusing the config, or the error of the call.
    pub fn check(&self, config: &str) -> Result<()> {
        blocking(|| self.rather_alone(|plugin| plugin.start(Stop::default())?.check(config)))
    }

    /// Asks a separate instance for the JSON Schema of the plugin's config. Returns `None` if the plugin has none.
    ///
    /// # Errors
    /// Fails as [`Plugin::start`] does, or if the answer is no JSON object or too long.
    pub fn config_schema(&self) -> Result<Option<serde_json::Value>> {
        blocking(|| self.rather_alone(|plugin| plugin.start(Stop::default())?.config_schema()))
    }

    /// Starts an instance and opens it on an input.
    ///
    /// # Errors
    /// Fails as [`Plugin::start`] and [`Instance::open`] do.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "as with `start`, the instance has it from now on"
    )]
    pub fn open(
        &self,
        columns: &[String],
        format: Format,
        config: &str,
        stop: Stop,
    ) -> Result<(Instance, super::Plan)> {
        let (mut instance, plan) = self.rather_alone(|plugin| {
            let mut instance = plugin.start(stop.clone())?;
            let plan = instance.open(columns, format, config)?;
            Ok((instance, plan))
        })?;
        instance.set_alone(self.is_alone);
        Ok((instance, plan))
    }
}

/// Reads a component file, up to the size limit.
///
/// # Errors
/// Fails if the file cannot be read, or is too large.
pub fn read_component(path: &Path, limits: &Limits) -> Result<Vec<u8>> {
    let size = component_metadata(path)?.len();
    if size > limits.component_bytes_max as u64 {
        return Err(too_large(size, limits).about(path.display()));
    }
    // The limit is applied again, because a pipe or a device has no size.
    read_named(path, limits.component_bytes_max as u64)
        .map_err(|e| missing(path.display().to_string()).because(e))
}

/// Returns an error about a component's file. The operator has named the file, so it is an error of the settings.
fn missing(what: String) -> Error {
    Error::permanent(Stage::Config, Code::PluginMissing, what)
}

/// Returns the error for a folder in place of a component's file, with the first components in the folder.
fn is_folder(path: &Path) -> Error {
    let files = path.read_dir().into_iter().flatten().filter_map(Result::ok);
    let names = files.filter_map(|file| file.file_name().into_string().ok());
    let mut components: Vec<_> = names.filter(|name| name.ends_with(".wasm")).collect();
    components.sort_unstable();
    components.truncate(COMPONENTS_SHOWN);
    let has = match components.is_empty() {
        true => "name a file".to_owned(),
        false => format!("it has {}", components.join(", ")),
    };
    missing(format!("{}: is a folder; {has}", path.display()))
}

/// Returns the metadata of a component's file.
///
/// # Errors
/// Fails permanently, with stage config, if the file system returns an error or the path leads to a folder.
pub fn component_metadata(path: &Path) -> Result<Metadata> {
    let metadata = std::fs::metadata(path).map_err(|error| {
        let error_kind = error.kind();
        let hint = match error_kind {
            std::io::ErrorKind::NotFound => ": a component is named by its path",
            _ => "",
        };
        let refused = missing(format!("{}{hint}", redact(&path.to_string_lossy()))).because(error);
        let component = path.with_added_extension("wasm");
        if component.is_file() {
            refused.with_hint(format!("{} is here: did you mean it?", component.display()))
        } else if path.to_str().is_some_and(|path| path.contains('@')) {
            refused.with_hint("NAME@VERSION is what `ingest-host plugin bind` takes")
        } else if error_kind == std::io::ErrorKind::NotFound
            && let Some(near) = near_file(path, |near| near.extension().is_some_and(|it| it == "wasm"))
        {
            refused.with_hint(format!("{} is here: did you mean it?", near.display()))
        } else {
            refused
        }
    })?;
    match metadata.is_dir() {
        true => Err(is_folder(path)),
        false => Ok(metadata),
    }
}

fn start_without_pool(config: &mut Config) -> wasmtime::Result<wasmtime::Engine> {
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    wasmtime::Engine::new(config)
}

/// Links everything that a plugin can import: the host's own interface, and WASI without access to any resource.
fn link(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<StoreState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    // A plugin has nothing to wait for. If it slept in the host, no epoch deadline could end the call.
    linker.allow_shadowing(true);
    let mut poll = linker.instance(WASI_POLL)?;
    poll.func_wrap(
        "poll",
        |_, (_,): (Vec<Resource<DynPollable>>,)| -> wasmtime::Result<(Vec<u32>,)> {
            Err(wasmtime::Error::msg(CANNOT_WAIT))
        },
    )?;
    poll.func_wrap(
        "[method]pollable.block",
        |_, (_,): (Resource<DynPollable>,)| -> wasmtime::Result<()> {
            Err(wasmtime::Error::msg(CANNOT_WAIT))
        },
    )?;
    linker.allow_shadowing(false);
    interface::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// Runs work that may block: the compiler, or WASI. WASI starts an async runtime of its own, and must not start it
/// within another runtime.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(work)
        }
        _ => work(),
    }
}

fn check_kind(bytes: &[u8], limits: &Limits) -> Result<()> {
    if bytes.len() > limits.component_bytes_max {
        return Err(too_large(bytes.len() as u64, limits));
    }
    let (magic, kind) = (bytes.get(..4), bytes.get(4..8));
    match (magic, kind) {
        (Some(b"\0asm"), Some([_, _, 1, 0])) => Ok(()),
        (Some(b"\0asm"), Some([1, 0, 0, 0])) => Err(refused(
            Code::PluginUnfit,
            "this is a core WebAssembly module, not a component: build it with `--target wasm32-wasip2`",
        )),
        (Some(b"\0asm"), _) => Err(refused(
            Code::PluginUnfit,
            "this is WebAssembly of a version that the host does not know",
        )),
        _ => Err(refused(
            Code::PluginUnfit,
            "this is not a WebAssembly file: it does not begin with the bytes `\\0asm`",
        )),
    }
}

fn code_of(component: &Component) -> Result<Vec<u8>> {
    let code = component.serialize();
    code.map_err(|e| {
        Error::transient(
            Stage::Plugin,
            Code::MachineBusy,
            "cannot write down what was compiled",
        )
        .because(e)
    })
}

fn too_large(bytes: u64, limits: &Limits) -> Error {
    refused(
        Code::PluginUnfit,
        format!(
            "the component has {bytes} bytes, more than the limit of {} (--limit component-bytes)",
            limits.component_bytes_max
        ),
    )
}

fn refused(code: Code, message: impl Into<String>) -> Error {
    Error::permanent(Stage::Plugin, code, message)
}

/// The thread that advances the engine's epoch. At each new epoch, a running plugin checks its deadline.
struct Ticker(Arc<AtomicBool>);

impl Ticker {
    fn start(engine: wasmtime::Engine, calls: Arc<Calls>) -> std::io::Result<Self> {
        let running = Arc::new(AtomicBool::new(true));
        let flag = Arc::clone(&running);
        // This is not a tokio task, because the plugin must be stopped even if the async runtime is busy.
        std::thread::Builder::new().name("ticker".into()).spawn(move || {
            while flag.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                calls.tick();
                engine.increment_epoch();
            }
        })?;
        Ok(Self(running))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
