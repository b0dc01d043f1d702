//! Implements `plugin`: the commands for authors, which need no server, and the commands that manage the components in
//! the server's store and the bindings of queues.

mod bench;
mod inspect;
mod kit;
mod preview;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::Value;
use tokio::task::block_in_place;

use super::config_file::ConfigFile;
use super::data::{DataArgs, NamedData};
use super::environment::Environment;
use super::input_options::InputOptionArgs;
use super::options::{CredentialArgs, GateArgs, LimitArgs, plugin_config};
use super::{print, requests, stores};
use crate::admin::plugin::{self, BindData, BindRequest, Bound};
use crate::config::{LimitValue, Limits};
use crate::error::{Code, Error, Result, Stage};
use crate::fetch::{Access, Fetcher};
use crate::names::check_usable_queue_name;
use crate::plugin::read_component;
use crate::queue::{Binding, Component, ListedBinding, UnreadableBinding};
use crate::request::InputOptions;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make the folder of a new plugin, which builds and passes its tests.
    New(kit::NewArgs),
    /// Build the plugin in a folder, and check that it loads here.
    Build(kit::BuildArgs),
    /// Run a plugin on its cases, and compare its output and its rejects with what is expected.
    Test(test::Args),
    /// Show what a plugin makes of the first records of an input, cell by cell, without writing anything.
    Try(preview::Args),
    /// Measure what a plugin costs: records per second, time and fuel for a record.
    Bench(bench::Args),
    /// Store a plugin on the queue's server.
    Push {
        /// The component file.
        file: PathBuf,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Bind a queue to a stored plugin, from the queue's next claim on.
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
        /// (repeatable). If a worker has a lower limit, the worker's limit applies. docs/security.md lists all limits.
        #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = binding_limit)]
        limits: Vec<LimitValue>,
        #[command(flatten)]
        data: DataArgs,
        #[command(flatten)]
        credentials: CredentialArgs,
        #[command(flatten)]
        gate: GateArgs,
        /// The input options for requests that do not set them.
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
        /// Print JSON, one plugin per line.
        #[arg(long)]
        json: bool,
    },
    /// List the bindings of a queue, the newest first.
    History {
        /// The queue.
        #[arg(long, alias = "queuename")]
        queue: String,
        /// Print JSON, one binding per line.
        #[arg(long)]
        json: bool,
    },
    /// Describe a component file, without a server.
    Inspect(inspect::Args),
}

fn binding_limit(text: &str) -> Result<LimitValue, String> {
    text.parse::<LimitValue>()?.in_binding()
}

pub(super) async fn plugin(
    command: Command,
    file: Option<&ConfigFile>,
    environment: &Environment,
) -> Result<ExitCode> {
    match command {
        Command::New(args) => return kit::create(&args),
        Command::Build(args) => return kit::build(&args, environment),
        Command::Test(args) => return block_in_place(|| test::test(&args, environment)),
        Command::Try(args) => return block_in_place(|| preview::preview(&args, environment)),
        Command::Bench(args) => return block_in_place(|| bench::bench(&args, environment)),
        Command::Inspect(args) => return block_in_place(|| inspect::inspect(&args, environment)),
        Command::Push { file, limits } => push(&file, &limits.limits(), environment).await?,
        Command::Bind {
            queue,
            plugin,
            config,
            data,
            credentials,
            limits,
            gate,
            input,
        } => {
            let input = InputOptions::from(*input);
            // Wrong arguments are reported before the server is contacted.
            check_usable_queue_name(&queue)?;
            input.check()?;
            let config = plugin_config("--config", config.as_deref())?;
            let request = BindRequest {
                queue,
                plugin,
                config,
                data: bind_data(&data, &credentials, file).await?,
                limits,
                gate: gate.gate(),
                input,
            };
            bind(request, environment).await?;
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
            let bindings = plugin::history(&backend, &queue).await?;
            if json {
                bindings.iter().for_each(print::json);
            } else {
                let rows: Vec<_> = bindings.iter().map(binding_row).collect();
                print::table(
                    &["BINDING", "PLUGIN", "BOUND", "CONFIG", "GATE", "SHA256", "NOTES"],
                    &rows,
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn push(file: &Path, limits: &Limits, environment: &Environment) -> Result<()> {
    let bytes = read_component(file, limits)?;
    let loaded = environment
        .engine(limits)?
        .load(&bytes)
        .map_err(|e| e.about(file.display()))?;
    let backend = environment.connect_or_create().await?;
    let pushed = plugin::push(&backend, loaded.description(), &bytes).await?;
    let Component {
        name,
        version,
        sha256,
        ..
    } = pushed.component;
    print::line(format!("{name}@{version}  sha256:{sha256}"));
    if let Some(before) = pushed.replaced {
        print::note(format!(
            "{name}@{version} was sha256:{before} before; queues bound to that keep it"
        ));
    }
    Ok(())
}

/// Reads the reference data of a binding, with the rights of the person who binds.
async fn bind_data(
    data: &DataArgs,
    credentials: &CredentialArgs,
    file: Option<&ConfigFile>,
) -> Result<Vec<BindData>> {
    if data.is_empty() {
        return Ok(Vec::new());
    }
    let stores = stores::with_file(&stores::object_stores()?, file)?;
    let fetcher = Fetcher::with_credentials(Access::default(), credentials.read()?, &Limits::default());
    let read = data.read(fetcher.with_stores(stores)).await?;
    let read = read.into_iter();
    Ok(read
        .map(|NamedData { name, uri, bytes }| BindData { name, uri, bytes })
        .collect())
}

async fn bind(request: BindRequest, environment: &Environment) -> Result<()> {
    if let Some(why) = named_file(&request.plugin) {
        return Err(Error::permanent(Stage::Config, Code::Usage, why));
    }
    let backend = environment.connect().await?;
    let bound = plugin::bind(&backend, request, |limits| environment.engine(limits)).await?;
    print_bound(&bound);
    if let Some(before) = &bound.replaced {
        note_left_out(&bound, before);
    }
    requests::note_new_queue(&backend, bound.new_queue);
    Ok(())
}

/// Prints a note if a bind has left out settings of the binding before. A config of another plugin does not count.
fn note_left_out(bound: &Bound, before: &Binding) {
    let now = &bound.binding;
    let is_same_plugin = now.step().name == before.step().name;
    let has_config = |binding: &Binding| binding.step().config != "{}";
    let left_out: Vec<_> = [
        ("config", is_same_plugin && has_config(before) && !has_config(now)),
        (
            "reference data",
            is_same_plugin && !before.step().data.is_empty() && now.step().data.is_empty(),
        ),
        ("limits", !before.limits.is_empty() && now.limits.is_empty()),
        (
            "bounds on rejects",
            !before.gate.is_default() && now.gate.is_default(),
        ),
        (
            "input options",
            before.input != InputOptions::default() && now.input == InputOptions::default(),
        ),
    ]
    .into_iter()
    .filter_map(|(what, is_left_out)| is_left_out.then_some(what))
    .collect();
    if !left_out.is_empty() {
        print::note(format!(
            "without the {} of binding {}: `ingest-host plugin rollback --queue {}` restores that binding",
            left_out.join(", "),
            before.number,
            bound.queue
        ));
    }
}

/// If the argument is a component file and not a plugin's name, returns advice on how to bind the file.
fn named_file(plugin: &str) -> Option<String> {
    let path = Path::new(plugin);
    let is_component = path.extension().is_some_and(|extension| extension == "wasm");
    let is_reference = plugin.contains('@') || plugin.starts_with("sha256:");
    (!is_reference && (is_component || path.is_file())).then(|| {
        format!(
            "{plugin}: that is a file: push it first (`ingest-host plugin push {plugin}`), then bind NAME@VERSION"
        )
    })
}

async fn rollback(queue: &str, environment: &Environment) -> Result<()> {
    let backend = environment.connect().await?;
    let bound = plugin::rollback(&backend, queue, |limits| environment.engine(limits)).await?;
    print_bound(&bound);
    for UnreadableBinding { number, error, .. } in &bound.passed_over {
        print::note(format!("passed over binding {number}: {error}"));
    }
    Ok(())
}

fn print_bound(bound: &Bound) {
    let Bound { queue, binding, .. } = bound;
    let (number, plugin) = (binding.number, binding.step().plugin());
    let note = binding
        .rollback_of
        .map_or(String::new(), |number| format!(", as binding {number}"));
    print::line(format!("{queue}  binding {number}: {plugin}{note}"));
}

fn component_row(component: &Component) -> Vec<String> {
    vec![
        format!("{}@{}", component.name, component.version),
        time(component.pushed_ms),
        component.bytes.to_string(),
        component.sha256.clone(),
    ]
}

fn binding_row(listed: &ListedBinding) -> Vec<String> {
    let binding = match listed {
        ListedBinding::Readable(binding) => binding,
        ListedBinding::Unreadable(UnreadableBinding { number, error, .. }) => {
            let mut row = vec![number.to_string(), "(unreadable)".into()];
            row.resize(6, String::new());
            row.push(error.clone());
            return row;
        }
    };
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
    let data = binding.step().data.iter();
    let data = data.map(|(name, data)| format!("data:{name}={}", print::beginning(&data.sha256, 12)));
    rollback
        .into_iter()
        .chain(data)
        .chain(limits)
        .chain(input_remarks(&binding.input))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns the input options of a binding as `NAME=VALUE`. The names are those of a request's members.
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
