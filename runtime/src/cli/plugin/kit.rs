//! Implements the commands of `plugin` for authors: `new` and `build`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::environment::Environment;
use crate::cli::options::LimitArgs;
use crate::cli::print;
use crate::error::Result;
use crate::kit::{self, Built, Language};

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
