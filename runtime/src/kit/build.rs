//! Builds the project of a plugin. A folder goes in. The path of a component that this host can run comes out, with the
//! component's description.

pub(super) mod js;
pub(super) mod rust;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::language::Language;
use crate::error::{Code, Error, Result, Stage};
use crate::plugin::{Description, Engine};

/// A component that was built.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Built {
    /// The path of the component file.
    pub component: PathBuf,
    /// The description of the component, which the host has loaded.
    #[serde(flatten)]
    pub description: Description,
}

/// Builds the project in a folder, and checks that this host can load the component. The tools of the language write
/// their messages to stderr.
///
/// # Errors
/// Fails as [`component`] and [`Engine::load_file`] do.
pub fn build(folder: &Path, engine: &Engine) -> Result<Built> {
    let component = built(folder)?;
    let plugin = engine.load_file(&component)?;
    Ok(Built {
        description: plugin.description().clone(),
        component,
    })
}

/// Returns the path of a component: `path` itself or, if it is the folder of a project, the component that is built
/// from the project.
///
/// # Errors
/// Fails permanently if a folder has no project, if a tool of the language is missing ([`Code::ToolchainMissing`]), or
/// if the build fails ([`Code::BuildFailed`]).
pub fn component(path: &Path) -> Result<PathBuf> {
    match path.is_dir() {
        true => built(path),
        false => Ok(path.to_owned()),
    }
}

fn built(folder: &Path) -> Result<PathBuf> {
    let language = Language::of_project(folder).ok_or_else(|| no_project(folder))?;
    language.build(folder)
}

fn no_project(folder: &Path) -> Error {
    let manifests: Vec<_> = Language::ALL.iter().map(|language| language.manifest()).collect();
    let what = match folder.is_dir() {
        true => format!("{}: has no project of a plugin", folder.display()),
        false => format!("{}: is no folder", folder.display()),
    };
    Error::permanent(Stage::Config, Code::Usage, what).with_hint(format!(
        "a project has the file {}; `ingest-host plugin new NAME` makes one",
        manifests.join(" or ")
    ))
}

/// Runs a tool of a language to its end. Its stderr is the stderr of this process.
///
/// # Errors
/// Fails with [`Code::ToolchainMissing`] and `install` as a hint if there is no such program. Fails with
/// [`Code::BuildFailed`] if the program fails.
fn run(command: &mut Command, install: &str) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .output();
    let output = output.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => missing(&format!("the program {program} is not in PATH"), install),
        _ => {
            let what = format!("cannot start the program {program}");
            Error::permanent(Stage::Plugin, Code::ToolchainMissing, what).because(error)
        }
    })?;
    match output.status.success() {
        true => Ok(output),
        false => Err(failed(format!("{program} failed ({})", output.status))),
    }
}

/// Returns the error for a missing part of the tools. `install` says how to get it.
fn missing(what: &str, install: &str) -> Error {
    Error::permanent(Stage::Plugin, Code::ToolchainMissing, what).with_hint(install)
}

/// Returns the error for a build that failed.
fn failed(what: String) -> Error {
    Error::permanent(Stage::Plugin, Code::BuildFailed, what)
}
