//! Implements `plugin`: components in the server's store, and the bindings of queues.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::environment::Environment;
use super::input_options::InputOptionArgs;
use super::options::{GateArgs, LimitArgs, plugin_config};
use super::{print, requests};
use crate::config::{LimitValue, Limits};
use crate::error::{Code, Error, Result, Stage};
use crate::gate::Gate;
use crate::names::check_usable_queue_name;
use crate::plugin::{Description, read_component};
use crate::queue::{Binding, BindingDocument, Component, Registry, Step};
use crate::request::InputOptions;

/// The most bytes of a stored component that is to be bound: the highest limit that a worker may have.
const COMPONENT_BYTES_MAX: usize = 1 << 30;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Store a plugin on the queue's server.
    Push {
        /// The component file.
        file: PathBuf,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Bind a queue to a stored plugin, from its next claim on.
    Bind {
        /// The queue.
        #[arg(long, alias = "queuename")]
        queue: String,
        /// The plugin: NAME@VERSION or sha256:HEX.
        plugin: String,
        /// Config of the plugin.
        #[arg(long, alias = "plugin-config", value_name = "JSON|@FILE")]
        config: Option<String>,
        /// Set a limit for the queue's requests, such as memory=64MiB, call-time=500ms, request-time=1h or traps=0
        /// (repeatable). A lower limit of a worker wins. docs/security.md lists all limits.
        #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = binding_limit)]
        limits: Vec<LimitValue>,
        #[command(flatten)]
        gate: GateArgs,
        /// The options for inputs whose requests do not give them.
        #[command(flatten)]
        input: Box<InputOptionArgs>,
    },
    /// Bind a queue to its previous plugin and config again.
    Rollback {
        /// The queue.
        #[arg(long, alias = "queuename")]
        queue: String,
    },
    /// List the stored plugins.
    List {
        /// Print JSON, one plugin a line.
        #[arg(long)]
        json: bool,
    },
    /// List the bindings of a queue, the newest first.
    History {
        /// The queue.
        #[arg(long, alias = "queuename")]
        queue: String,
        /// Print JSON, one binding a line.
        #[arg(long)]
        json: bool,
    },
    /// Describe a component file, without a server.
    Inspect {
        /// The component file.
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        limits: LimitArgs,
    },
}

fn binding_limit(text: &str) -> Result<LimitValue, String> {
    text.parse::<LimitValue>()?.in_binding()
}

pub(super) async fn plugin(command: Command, environment: &Environment) -> Result<ExitCode> {
    match command {
        Command::Push { file, limits } => push(&file, &limits.limits(), environment).await?,
        Command::Bind {
            queue,
            plugin,
            config,
            limits,
            gate,
            input,
        } => {
            let rules = (gate.gate(), InputOptions::from(*input));
            bind(&queue, &plugin, config.as_deref(), &limits, rules, environment).await?;
        }
        Command::Rollback { queue } => rollback(&queue, environment).await?,
        Command::List { json } => {
            let components = environment.connect_to_read().await?.registry.components().await?;
            if json {
                components.iter().for_each(print::json);
            } else {
                let rows: Vec<_> = components.iter().map(component_row).collect();
                print::table(&["PLUGIN", "PUSHED", "BYTES", "SHA256"], &rows);
            }
        }
        Command::History { queue, json } => {
            let backend = environment.connect_to_read().await?;
            requests::known(&backend, &queue).await?;
            let bindings = backend.registry.bindings(&queue).await?;
            if json {
                bindings
                    .iter()
                    .map(BindingDocument::from)
                    .for_each(|binding| print::json(&binding));
            } else {
                let rows: Vec<_> = bindings.iter().map(binding_row).collect();
                print::table(
                    &["BINDING", "PLUGIN", "BOUND", "CONFIG", "GATE", "SHA256", ""],
                    &rows,
                );
            }
        }
        Command::Inspect { file, json, limits } => {
            let plugin = environment.engine(&limits.limits())?.load_file(&file)?;
            inspect(plugin.description(), json);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn push(file: &Path, limits: &Limits, environment: &Environment) -> Result<()> {
    let bytes = read_component(file, limits)?;
    let plugin = environment
        .engine(limits)?
        .load(&bytes)
        .map_err(|e| e.about(file.display()))?;
    let Description {
        name,
        version,
        sha256,
        ..
    } = plugin.description().clone();
    let registry = environment.connect_or_create().await?.registry;
    let before = find(&*registry, &format!("{name}@{version}")).await.ok();
    let component = Component {
        sha256: sha256.clone(),
        name: name.clone(),
        version: version.clone(),
        bytes: bytes.len() as u64,
        pushed_ms: Timestamp::now().as_millisecond(),
    };
    registry.push_component(&component, &bytes).await?;
    print::line(format!("{name}@{version}  sha256:{sha256}"));
    if let Some(before) = before.filter(|before| before.sha256 != sha256) {
        print::note(format!(
            "{name}@{version} was sha256:{} before; queues bound to that keep it",
            before.sha256
        ));
    }
    Ok(())
}

async fn bind(
    queue: &str,
    plugin: &str,
    config: Option<&str>,
    limits: &[LimitValue],
    (gate, input): (Gate, InputOptions),
    environment: &Environment,
) -> Result<()> {
    check_usable_queue_name(queue)?;
    input.check()?;
    let config = plugin_config(config)?;
    let backend = environment.connect().await?;
    let known = backend.queue.queues().await?;
    let registry = Arc::clone(&backend.registry);
    let component = find(&*registry, plugin).await?;
    let binding = Binding {
        number: 0,
        steps: vec![Step {
            sha256: component.sha256,
            name: component.name,
            version: component.version,
            config: config.canonical,
        }],
        limits: limits.iter().map(|setting| setting.parts()).collect(),
        gate,
        input,
        bound_ms: Timestamp::now().as_millisecond(),
        rollback_of: None,
    };
    put_in_force(queue, binding, &config.as_written, None, &*registry, environment).await?;
    requests::note_new_queue(&backend, queue, &known);
    Ok(())
}

/// Restores the binding before the one in force; after a rollback, goes one step further back.
async fn rollback(queue: &str, environment: &Environment) -> Result<()> {
    let backend = environment.connect().await?;
    requests::known(&backend, queue).await?;
    let registry = backend.registry;
    let bindings = registry.bindings(queue).await?;
    let refused =
        |why: &str| Error::permanent(Stage::Queue, Code::BindingConflict, format!("{queue}: {why}"));
    let current = bindings
        .first()
        .ok_or_else(|| refused("has no plugin bound to it"))?;
    let target = current.rollback_of.unwrap_or(current.number) - 1;
    let target = bindings.iter().find(|binding| binding.number == target);
    let target =
        target.ok_or_else(|| refused(
            "has no binding before it: `plugin history` shows what it had, `plugin bind` binds any of it again",
        ))?;
    let binding = Binding {
        bound_ms: Timestamp::now().as_millisecond(),
        rollback_of: Some(target.rollback_of.unwrap_or(target.number)),
        ..target.clone()
    };
    let config = binding.step().config.clone();
    put_in_force(
        queue,
        binding,
        &config,
        Some(current.number),
        &*registry,
        environment,
    )
    .await
}

/// Checks that the plugin runs here and takes its config, then binds it in one step.
async fn put_in_force(
    queue: &str,
    binding: Binding,
    config_as_written: &str,
    expected: Option<u64>,
    registry: &dyn Registry,
    environment: &Environment,
) -> Result<()> {
    let step = binding.step();
    let bytes = registry
        .component(&step.sha256, COMPONENT_BYTES_MAX)
        .await?
        .ok_or_else(|| {
            Error::permanent(
                Stage::Plugin,
                Code::PluginMissing,
                format!("the server does not have component {}", step.sha256),
            )
        })?;
    let candidate = step.plugin();
    // The size was accepted when the component was pushed.
    let limits = Limits {
        component_bytes_max: bytes.len().max(Limits::default().component_bytes_max),
        ..Limits::default().with_overrides(&binding.limits)?
    };
    let plugin = environment
        .engine(&limits)?
        .load(&bytes)
        .map_err(|e| e.about(&candidate))?;
    plugin.check(config_as_written).map_err(|e| e.about(&candidate))?;
    let number = registry.bind(queue, &binding, expected).await?;
    let note = binding
        .rollback_of
        .map_or(String::new(), |number| format!(", as binding {number}"));
    print::line(format!("{queue}  binding {number}: {candidate}{note}"));
    Ok(())
}

async fn find(registry: &dyn Registry, reference: &str) -> Result<Component> {
    let refused = |why: String| Error::permanent(Stage::Plugin, Code::PluginMissing, why);
    let components = registry.components().await?;
    if let Some(sha256) = reference.strip_prefix("sha256:") {
        let mut found = components
            .into_iter()
            .filter(|component| component.sha256.starts_with(sha256));
        return match (sha256.len() >= 8, found.next(), found.next()) {
            (true, Some(component), None) => Ok(component),
            (true, Some(_), Some(_)) => Err(refused(format!(
                "{reference}: is the beginning of several components"
            ))),
            (true, None, _) => Err(refused(format!(
                "{reference}: is not on the server: push it first"
            ))),
            (false, ..) => Err(Error::permanent(
                Stage::Config,
                Code::Usage,
                format!("{reference}: give at least 8 digits"),
            )),
        };
    }
    let Some((name, version)) = reference.split_once('@') else {
        return Err(Error::permanent(
            Stage::Config,
            Code::Usage,
            not_a_name(reference, &components),
        ));
    };
    let known = names(&components, |_| true);
    components
        .into_iter()
        .find(|component| component.name == name && component.version == version)
        .ok_or_else(|| {
            let known = if known.is_empty() {
                "none".into()
            } else {
                known.join(", ")
            };
            refused(format!(
                "{reference}: is not on the server: push it first (it has: {known})"
            ))
        })
}

/// Returns the names with versions of the wanted components, sorted.
fn names(components: &[Component], is_wanted: impl Fn(&Component) -> bool) -> Vec<String> {
    let wanted = components.iter().filter(|component| is_wanted(component));
    let mut names: Vec<_> = wanted.map(|c| format!("{}@{}", c.name, c.version)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Returns the correct form for a name without a version.
fn not_a_name(reference: &str, components: &[Component]) -> String {
    let path = Path::new(reference);
    let is_component = path.extension().is_some_and(|extension| extension == "wasm");
    if is_component || path.is_file() {
        return format!(
            "{reference}: that is a file: push it first (`ingest-host plugin push {reference}`), then bind NAME@VERSION"
        );
    }
    let versions = names(components, |component| component.name == reference);
    let known = match versions.is_empty() {
        true => names(components, |_| true),
        false => versions,
    };
    let has = match known.is_empty() {
        true => String::new(),
        false => format!(" (the server has {})", known.join(", ")),
    };
    format!("\"{reference}\" names no plugin: write NAME@VERSION or sha256:HEX{has}")
}

fn inspect(description: &Description, json: bool) {
    if json {
        return print::json(description);
    }
    print::line(format!("{} {}", description.name, description.version));
    print::line(format!("interface  {}", description.interface));
    print::line(format!("sha256     {}", description.sha256));
    print::line(format!("bytes      {}", description.bytes));
    for (index, import) in description.imports.iter().enumerate() {
        print::line(format!(
            "{}  {import}",
            if index == 0 { "imports  " } else { "         " }
        ));
    }
}

fn component_row(component: &Component) -> Vec<String> {
    vec![
        format!("{}@{}", component.name, component.version),
        time(component.pushed_ms),
        component.bytes.to_string(),
        component.sha256.clone(),
    ]
}

fn binding_row(binding: &Binding) -> Vec<String> {
    let step = binding.step();
    vec![
        binding.number.to_string(),
        step.plugin(),
        time(binding.bound_ms),
        print::beginning(&step.config, 40),
        binding.gate.to_string(),
        print::beginning(&step.sha256, 12),
        remarks(binding),
    ]
}

fn remarks(binding: &Binding) -> String {
    let rollback = binding.rollback_of.map(|number| format!("rollback to {number}"));
    let limits = binding
        .limits
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    rollback
        .into_iter()
        .chain(limits)
        .chain(input_remarks(&binding.input))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns the input options of a binding, in the form of a request's members.
fn input_remarks(input: &InputOptions) -> Vec<String> {
    match serde_json::to_value(input) {
        Ok(Value::Object(members)) => {
            let word = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            members
                .into_iter()
                .map(|(name, value)| format!("{name}={}", word(value)))
                .collect()
        }
        _ => unreachable!("a struct with text keys"),
    }
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| format!("{time:.0}"))
}
