//! Implements `plugin inspect`, which describes a component file without a server.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::{Map, Value};

use super::kit::load;
use super::preview::uri;
use crate::cli::data::DataArgs;
use crate::cli::environment::Environment;
use crate::cli::options::{InputArgs, LimitArgs, heading, plugin_config};
use crate::cli::print;
use crate::config::Limits;
use crate::error::Result;
use crate::format::Format;
use crate::kit::{self, InputColumns, PlanInWords, PlannedColumn};
use crate::plugin::Description;

#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// The component file, or the folder of the plugin's project, which is built first.
    #[arg(value_name = "FILE|DIR")]
    file: PathBuf,
    /// Also show the columns that the plugin reads and writes for this input.
    #[arg(long = "input", value_name = "INPUT", conflicts_with = "columns")]
    input_file: Option<PathBuf>,
    /// Also show the columns that the plugin reads and writes for an input with these columns.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    columns: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Config of the plugin.
    #[arg(long, alias = "config", value_name = "JSON|@FILE", help_heading = heading::PLUGIN)]
    plugin_config: Option<String>,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

/// The description of a component, with what the host grants it.
#[derive(Serialize)]
struct Inspected<'a> {
    #[serde(flatten)]
    description: &'a Description,
    /// The JSON Schema of the plugin's config, or `None` if the plugin has none.
    config_schema: Option<Value>,
    grants: Grants,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<PlanInWords>,
}

/// The resources that an instance may use. Files, network, clock and randomness are never granted.
#[derive(Serialize)]
struct Grants {
    memory_bytes: u64,
    call_time_ms: u64,
    log_bytes: u64,
    counters: u64,
}

impl Grants {
    fn of(limits: &Limits) -> Self {
        Self {
            memory_bytes: limits.plugin_memory_bytes as u64,
            call_time_ms: u64::try_from(limits.plugin_call.as_millis()).unwrap_or(u64::MAX),
            log_bytes: limits.plugin_log_bytes as u64,
            counters: limits.plugin_counters as u64,
        }
    }
}

pub(super) fn inspect(args: &Args, environment: &Environment) -> Result<ExitCode> {
    let limits = args.limits.limits();
    let config = plugin_config("--plugin-config", args.plugin_config.as_deref())?;
    let options = args.input.options();
    options.check()?;
    let plugin = load(&args.file, &args.data, &limits, environment)?;
    let columns = match &args.input_file {
        Some(path) => Some(kit::columns_of(&uri(path), &options, &limits)?),
        None => (!args.columns.is_empty()).then(|| InputColumns {
            names: args.columns.clone(),
            format: options.format.unwrap_or(Format::Csv),
        }),
    };
    let plan = columns
        .map(|columns| kit::plan(&plugin, &config, &columns))
        .transpose()
        .map_err(|error| error.about(&plugin.description().name))?;
    let inspected = Inspected {
        description: plugin.description(),
        config_schema: plugin.config_schema()?,
        grants: Grants::of(&limits),
        plan,
    };
    match args.json {
        true => print::json(&inspected),
        false => show(&inspected),
    }
    Ok(ExitCode::SUCCESS)
}

fn show(inspected: &Inspected<'_>) {
    let description = inspected.description;
    print::line(format!("{} {}", description.name, description.version));
    print::line(format!("interface  {}", description.interface));
    print::line(format!("sha256     {}", description.sha256));
    print::line(format!("bytes      {}", description.bytes));
    listed("imports", &description.imports);
    if description
        .imports
        .iter()
        .any(|import| import.starts_with("wasi:"))
    {
        print::line(
            "           (wasi: is inert here: no files, network or clock; a standard library does not start without it)",
        );
    }
    if let Some(schema) = &inspected.config_schema {
        let members = schema["properties"].as_object().into_iter().flat_map(Map::keys);
        let members: Vec<_> = members.map(String::as_str).collect();
        print::line(format!(
            "config     {}  (--json prints its JSON Schema)",
            members.join(", ")
        ));
    }
    let grants = &inspected.grants;
    print::line(format!(
        "granted    {} of memory, {} ms for a call, {} of log lines, {} counters",
        print::bytes(grants.memory_bytes),
        grants.call_time_ms,
        print::bytes(grants.log_bytes),
        grants.counters
    ));
    if let Some(plan) = &inspected.plan {
        show_plan(plan);
    }
}

fn show_plan(plan: &PlanInWords) {
    listed("reads", &plan.reads);
    let output: Vec<_> = plan.output.iter().map(in_words).collect();
    listed("writes", &output);
    listed("drops", &plan.drops);
    print::line(match plan.stateful {
        true => "state      yes: one instance processes all records, in order",
        false => "state      no: several instances may process one input",
    });
    if plan.uses_origin {
        print::line("origin     used: the output can depend on the request's id and its input's URI or name");
    }
}

fn in_words(column: &PlannedColumn) -> String {
    let PlannedColumn {
        name,
        source,
        column_type,
    } = column;
    let of = match source {
        Some(source) if source == name => String::new(),
        Some(source) => format!("  from {source}"),
        None => "  new".to_owned(),
    };
    let column_type = column_type.map_or(String::new(), |name| format!("  {name}"));
    format!("{name}{of}{column_type}")
}

/// Prints a list of texts, one on each line, with its name beside the first one.
fn listed(name: &str, texts: &[String]) {
    for (index, text) in texts.iter().enumerate() {
        let name = if index == 0 { name } else { "" };
        print::line(format!("{name:9}  {text}"));
    }
}
