//! Implements the commands of `plugin` for authors: `new` and `build`. Also loads the plugin that the other commands for
//! authors run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::data::{self, DataArgs};
use crate::cli::environment::Environment;
use crate::cli::options::LimitArgs;
use crate::cli::print;
use crate::config::Limits;
use crate::error::Result;
use crate::fetch::{Access, Fetcher};
use crate::kit::{self, Built, Language};
use crate::plugin::{Plugin, ReferenceData};

#[derive(clap::Args)]
pub(in crate::cli) struct NewArgs {
    /// The plugin's name. It is also the name of the new folder.
    name: String,
    /// The language.
    #[arg(long = "lang", value_enum, default_value = "rust")]
    language: Language,
}

#[derive(clap::Args)]
pub(in crate::cli) struct BuildArgs {
    /// The folder of the plugin's project.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Reads the reference data of a plugin. Must be called on a thread of a Tokio runtime that is allowed to block.
pub(super) fn reference_data(args: &DataArgs, limits: &Limits) -> Result<ReferenceData> {
    data::for_plugin(args.read_blocking(&Fetcher::new(Access::default(), limits))?)
}

/// Loads the component at a path, with its reference data. If the path is the folder of a project, builds it first. Must
/// be called on a thread of a Tokio runtime that is allowed to block.
pub(super) fn load(
    path: &Path,
    data: &DataArgs,
    limits: &Limits,
    environment: &Environment,
) -> Result<Plugin> {
    // Data that cannot be read is found out before a long build.
    let data = reference_data(data, limits)?;
    let plugin = environment.engine(limits)?.load_file(&kit::component(path)?)?;
    Ok(plugin.with_data(data))
}

pub(super) fn create(args: &NewArgs) -> Result<ExitCode> {
    let created = kit::create(Path::new(""), &args.name, args.language)?;
    for file in &created.files {
        print::line(created.folder.join(file).display());
    }
    print::note(format!(
        "{} is ready: {} says how to test and build it",
        args.name,
        created.folder.join("README.md").display()
    ));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn build(args: &BuildArgs, environment: &Environment) -> Result<ExitCode> {
    let engine = environment.engine(&args.limits.limits())?;
    let built = kit::build(&args.folder, &engine)?;
    if args.json {
        print::json(&built);
        return Ok(ExitCode::SUCCESS);
    }
    let Built {
        component,
        description,
    } = &built;
    print::line(format!(
        "{}@{}  {}  {}",
        description.name,
        description.version,
        print::bytes(description.bytes),
        component.display()
    ));
    Ok(ExitCode::SUCCESS)
}
