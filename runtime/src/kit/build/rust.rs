//! Builds a plugin in Rust with cargo.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::{failed, missing, run};
use crate::error::Result;

const TARGET: &str = "wasm32-wasip2";

const INSTALL_RUST: &str = "https://rustup.rs installs Rust";

/// The names that cargo refuses for a library, and the keywords of Rust.
const RESERVED: &str = "\
    abstract alloc as async await become box break build const continue core crate deps do dyn else enum \
    examples extern false final fn for gen if impl in incremental ingest-plugin ingest_plugin let loop \
    macro match mod move mut override priv proc-macro proc_macro pub ref return self static std struct \
    super test trait true try type typeof unsafe unsized use virtual where while yield";

pub(in crate::kit) fn reserves(name: &str) -> bool {
    RESERVED.split_whitespace().any(|reserved| reserved == name)
}

/// A line of cargo's messages. Other lines than those about built files have no `filenames`.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    #[serde(default)]
    manifest_path: PathBuf,
}

/// Builds the project in a folder, and returns the path of the component.
pub(in crate::kit) fn build(folder: &Path) -> Result<PathBuf> {
    check_tools(folder)?;
    let mut cargo = Command::new("cargo");
    cargo.current_dir(folder).args([
        "build",
        "--release",
        "--target",
        TARGET,
        "--message-format=json-render-diagnostics",
    ]);
    let output = run(&mut cargo, INSTALL_RUST)?;
    let manifest = folder.join("Cargo.toml").canonicalize().ok();
    let messages = output.stdout.split(|&byte| byte == b'\n');
    messages
        .filter_map(|line| serde_json::from_slice::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter(|message| Some(&message.manifest_path) == manifest.as_ref())
        .flat_map(|message| message.filenames)
        .find(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .ok_or_else(|| {
            failed(format!("{}: cargo built no component", folder.display()))
                .with_hint("Cargo.toml needs a section [lib] with crate-type = [\"cdylib\"]")
        })
}

/// Checks that cargo is here, and that Rust's standard library for components is.
fn check_tools(folder: &Path) -> Result<()> {
    run(
        Command::new("cargo").current_dir(folder).arg("--version"),
        INSTALL_RUST,
    )?;
    let mut rustc = Command::new("rustc");
    rustc
        .current_dir(folder)
        .args(["--print", "target-libdir", "--target", TARGET]);
    let output = run(&mut rustc, INSTALL_RUST)?;
    let library = String::from_utf8_lossy(&output.stdout);
    match Path::new(library.trim()).is_dir() {
        true => Ok(()),
        false => Err(missing(
            &format!("Rust is here, but not its target {TARGET}"),
            &format!("`rustup target add {TARGET}` installs it"),
        )),
    }
}
