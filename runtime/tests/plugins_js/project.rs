//! Makes the projects that the tests build, and runs plugins on files.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::documents;
use crate::support::host::{CommandOutput, Host};

/// Returns the folder of what scripts/node.sh installs.
#[track_caller]
pub(crate) fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("js");
    assert!(
        folder.join("installed").is_file(),
        "{} is missing: `make test-all` installs it, with scripts/node.sh, which needs Node 18 or newer with npm",
        folder.display()
    );
    folder
}

/// Returns the settings with which npm needs no network, as the beginning of a script. The settings of the person who
/// runs the tests hold, too, because npm's cache has what came from the registry of these settings.
pub(crate) fn npm_offline() -> String {
    let own = std::env::vars().filter(|(name, _)| name.to_lowercase().starts_with("npm_config_"));
    let user =
        std::env::var("HOME").map(|home| ("npm_config_userconfig".to_owned(), format!("{home}/.npmrc")));
    let cache = installed().join("cache").display().to_string();
    let offline = [
        ("npm_config_cache", cache),
        ("npm_config_offline", "true".to_owned()),
    ];
    own.chain(user)
        .chain(offline.map(|(name, value)| (name.to_owned(), value)))
        .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', r"'\''")))
        .collect()
}

/// Returns the npm package `ingest-plugin`.
pub(crate) fn package() -> PathBuf {
    documents::root().join("plugins/js")
}

/// Makes the project of a plugin with these files. Its packages are links to those that are installed already.
pub(crate) fn project(folder: &Path, name: &str, more: &Value, files: &[(&str, &str)]) {
    fs::create_dir_all(folder.join("node_modules")).unwrap();
    let mut manifest = json!({"name": name, "version": "0.1.0", "type": "module", "main": "plugin.js"});
    let members = more.as_object().unwrap().clone();
    manifest.as_object_mut().unwrap().extend(members);
    fs::write(folder.join("package.json"), manifest.to_string()).unwrap();
    for (path, text) in files {
        fs::write(folder.join(path), text).unwrap();
    }
    let link = |from: PathBuf, to: &str| {
        std::os::unix::fs::symlink(from, folder.join("node_modules").join(to)).unwrap();
    };
    for entry in fs::read_dir(installed().join("node_modules")).unwrap() {
        let entry = entry.unwrap();
        link(entry.path(), entry.file_name().to_str().unwrap());
    }
    link(package(), "ingest-plugin");
}

/// Runs `plugin build` in a folder.
pub(crate) fn build_in(host: &Host, folder: &Path) -> CommandOutput {
    host.bash(&format!(
        "cd {} && ingest-host plugin build --json",
        folder.display()
    ))
}

/// Builds a plugin with this source, and returns the path of its component.
#[track_caller]
pub(crate) fn built(host: &Host, name: &str, source: &str) -> PathBuf {
    let folder = host.path(name);
    project(&folder, name, &json!({}), &[("plugin.js", source)]);
    let built = build_in(host, &folder).json().remove(0);
    folder.join(built["component"].as_str().unwrap())
}

/// Ingests a file with a plugin, and returns the receipt.
#[track_caller]
pub(crate) fn ingest(host: &Host, input: &str, plugin: &Path, more: &[&str]) -> Value {
    let mut arguments = vec![input, "--plugin", plugin.to_str().unwrap()];
    arguments.extend(more);
    host.run_with("ingest --json", &arguments).json().remove(0)
}
