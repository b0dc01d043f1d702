//! Builds a plugin in JavaScript or TypeScript with Node: runs the build script of the package `ingest-plugin`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::{failed, missing, run};
use crate::error::Result;

/// The oldest version of Node that the package `ingest-plugin` supports.
const NODE_MIN: u32 = 18;

const INSTALL_NODE: &str =
    "nodejs.org has Node with npm; on Debian and Ubuntu, `apt-get install nodejs npm` installs it";

/// The build script, relative to the project's folder.
const SCRIPT: &str = "node_modules/ingest-plugin/build.js";

/// The names of packages that a project in JavaScript needs, and a name that npm refuses. Sorted.
const RESERVED: &[&str] = &["componentize-qjs", "esbuild", "ingest-plugin", "node_modules"];

/// The last line that the build script prints.
#[derive(Deserialize)]
struct Answer {
    /// The path of the component, relative to the project's folder.
    component: PathBuf,
}

pub(in crate::kit) fn reserves(name: &str) -> bool {
    RESERVED.binary_search(&name).is_ok()
}

/// Builds the project in a folder, and returns the path of the component.
pub(in crate::kit) fn build(folder: &Path) -> Result<PathBuf> {
    check_node()?;
    if !folder.join(SCRIPT).is_file() {
        let what = format!("{}: the package ingest-plugin is not installed", folder.display());
        let install = "`npm install` in this folder installs the packages that package.json names";
        return Err(missing(&what, install));
    }
    let mut node = Command::new("node");
    // The script then finds packages in the folder's node_modules, also if a link there leads to the script.
    let flags = ["--preserve-symlinks", "--preserve-symlinks-main"];
    node.current_dir(folder).args(flags).arg(SCRIPT);
    let output = run(&mut node, INSTALL_NODE)?;
    let last = output
        .stdout
        .trim_ascii_end()
        .rsplit(|&byte| byte == b'\n')
        .next();
    let answer = last.and_then(|line| serde_json::from_slice::<Answer>(line).ok());
    answer
        .map(|answer| folder.join(answer.component))
        .ok_or_else(|| failed(format!("{}: {SCRIPT} names no component", folder.display())))
}

fn check_node() -> Result<()> {
    let output = run(Command::new("node").arg("--version"), INSTALL_NODE)?;
    let version = String::from_utf8_lossy(&output.stdout);
    let version = version.trim();
    match major(version) {
        Some(major) if major >= NODE_MIN => Ok(()),
        _ => Err(missing(
            &format!("Node {NODE_MIN} or newer is needed, and this is {version}"),
            INSTALL_NODE,
        )),
    }
}

/// Returns the first number of a version such as `v20.1.0`.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_sorted() {
        assert!(RESERVED.is_sorted());
        assert!(reserves("esbuild") && !reserves("celsius"));
    }

    #[test]
    fn a_version_begins_with_its_major_number() {
        assert_eq!(major("v20.1.0"), Some(20));
        assert_eq!(major("20.1.0"), None);
        assert_eq!(major(""), None);
    }
}
