//! Implements `plugin bench`, which measures what a plugin costs.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use super::kit::reference_data;
use super::preview::uri;
use crate::cli::data::DataArgs;
use crate::cli::environment::Environment;
use crate::cli::options::{InputArgs, LimitArgs, heading, number, plugin_config};
use crate::cli::print;
use crate::error::Result;
use crate::kit::{self, Cost, Run};
use crate::plugin::read_component;
use crate::stop::Stop;

const FUEL: &str = "\
Fuel counts the instructions that the plugin executes. It is the same in each run and on each machine, so a bound on it \
holds on a noisy machine, too. It includes the start of each batch, so measure with at least a few thousand records.";

#[derive(clap::Args)]
#[command(after_help = FUEL)]
pub(in crate::cli) struct Args {
    /// A component file, or the folder of the plugin's project, which is built first.
    #[arg(value_name = "FILE|DIR")]
    plugin: PathBuf,
    /// The input: a path, or a URI of scheme file, http or https.
    #[arg(long = "input", value_name = "INPUT")]
    input_file: PathBuf,
    /// Fail if the plugin needs more fuel than this for a record, on average.
    #[arg(long, value_name = "N", value_parser = number::<u64>(0..=i64::MAX))]
    max_fuel_per_record: Option<u64>,
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

/// The cost of a plugin, with the plugin's name.
#[derive(Serialize)]
struct Measured<'a> {
    plugin: &'a str,
    version: &'a str,
    #[serde(flatten)]
    cost: Cost,
}

pub(super) fn bench(args: &Args, environment: &Environment) -> Result<ExitCode> {
    let config = plugin_config("--plugin-config", args.plugin_config.as_deref())?;
    let input = args.input.options();
    input.check()?;
    let limits = Arc::new(args.limits.limits());
    let data = reference_data(&args.data, &limits)?;
    let path = kit::component(&args.plugin)?;
    let component = read_component(&path, &limits)?;
    let engine = environment.engine(&limits)?;
    let plugin = engine.load(&component).map_err(|e| e.about(path.display()))?;
    let plugin = plugin.with_data(data);
    let uri = uri(&args.input_file);
    let run = Run {
        plugin: &plugin,
        config: &config,
        uri: &uri,
        origin_uri: &uri,
        input,
        output_format: None,
        limits: &limits,
        stop: &Stop::default(),
    };
    let cost = kit::measure(&run, &component, engine)?;
    let (name, version) = (&plugin.description().name, &plugin.description().version);
    if args.json {
        print::json(&Measured {
            plugin: name,
            version,
            cost,
        });
    } else {
        print::line(format!("{name}@{version}  {} records", cost.records));
        print::line(format!(
            "records/s      {:.0}  (in one lane, with reading and writing)",
            cost.records_per_second
        ));
        print::line(format!(
            "ns a record    {:.0}, of which {:.0} in the plugin",
            cost.ns_per_record, cost.plugin_ns_per_record
        ));
        print::line(format!("fuel a record  {:.1}", cost.fuel_per_record));
    }
    if let Some(max) = args.max_fuel_per_record {
        cost.check(max).map_err(|error| error.about(name))?;
    }
    Ok(ExitCode::SUCCESS)
}
