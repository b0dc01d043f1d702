//! Speaks every version of the plugin interface that this host supports. The names that a component imports and exports
//! go in; the version comes out, with the adapter that calls the component. Each version has one file with its adapter.
//! The rest of the host knows only the types of this file, so a version ends when its file and its line in [`VERSIONS`]
//! are removed.

mod v0_1;
mod v0_2;

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, InstancePre, Linker};

use super::Emitted;
use super::state::StoreState;
use crate::format::{ColumnType, Format};
use crate::record::Changes;

/// The beginning of the name of every interface that this project defines.
const PACKAGE: &str = "ingest:plugin/";

/// The interface that a plugin exports, without its version.
const TRANSFORM: &str = "ingest:plugin/transform@";

/// The versions that this host speaks, the oldest first.
const VERSIONS: [&Version; 2] = [&v0_1::VERSION, &v0_2::VERSION];

/// A version of the interface, with the functions of its adapter.
pub(super) struct Version {
    /// The version number, such as `0.2.0`.
    number: &'static str,
    /// Adds the host's functions of this version to a linker.
    add_to_linker: fn(&mut Linker<StoreState>) -> wasmtime::Result<()>,
    /// Finds the functions of this version in a linked component.
    prepare: fn(InstancePre<StoreState>) -> wasmtime::Result<Arc<dyn Prepared>>,
}

impl Version {
    /// Returns the version that a component speaks. `names` are the names of its imports and exports. Before version
    /// 1.0, components of the same minor version speak the same version.
    ///
    /// # Errors
    /// Returns the reason why this host cannot run the component.
    pub(super) fn of(exports: &[String], imports: &[String]) -> Result<(&'static Self, String), String> {
        let exported = exports.iter().find_map(|name| name.strip_prefix(TRANSFORM));
        let exported = exported.ok_or_else(|| no_plugin(exports))?;
        let names = [TRANSFORM.to_owned() + exported];
        for name in names
            .iter()
            .chain(imports)
            .filter(|name| name.starts_with(PACKAGE))
        {
            let number = name.rsplit('@').next().unwrap_or_default();
            if Self::speaking(number).is_none() {
                return Err(format!(
                    "the plugin speaks {} and this host speaks {}: rebuild it with a matching `ingest-plugin` crate, \
                     or update the host",
                    named(number),
                    supported()
                ));
            }
        }
        let version = Self::speaking(exported).ok_or_else(|| no_plugin(exports))?;
        Ok((version, named(exported)))
    }

    fn speaking(number: &str) -> Option<&'static Self> {
        let minor = |number: &str| number.rsplit_once('.').map(|(minor, _)| minor.to_owned());
        let mut versions = VERSIONS.into_iter();
        versions.find(|version| minor(version.number) == minor(number))
    }

    /// Finds the functions of this version in a linked component.
    pub(super) fn prepare(&self, linked: InstancePre<StoreState>) -> wasmtime::Result<Arc<dyn Prepared>> {
        (self.prepare)(linked)
    }
}

/// Adds the host's functions of every version to a linker.
pub(super) fn add_to_linker(linker: &mut Linker<StoreState>) -> wasmtime::Result<()> {
    VERSIONS
        .iter()
        .try_for_each(|version| (version.add_to_linker)(linker))
}

/// Returns the interfaces that this host speaks, for people, the oldest first.
fn supported() -> String {
    VERSIONS.map(|version| named(version.number)).join(" and ")
}

fn named(number: &str) -> String {
    format!("ingest:plugin@{number}")
}

fn no_plugin(exports: &[String]) -> String {
    let exports = match exports {
        [] => "none".to_owned(),
        exports => exports.join(", "),
    };
    format!("the component does not export `{TRANSFORM}...`, so it is no ingest plugin (exports: {exports})")
}

/// A linked component of one version, from which instances start.
pub(super) trait Prepared: Send + Sync {
    /// Starts an instance in a store.
    fn instantiate(&self, store: &mut Store<StoreState>) -> wasmtime::Result<Box<dyn Exports>>;

    /// Returns the component.
    fn component(&self) -> &Component;
}

/// The functions of an instance. An outer error means that the call did not return; the inner error is the plugin's own.
pub(super) trait Exports: Send {
    /// Returns the name and the version that the plugin gives itself.
    fn describe(&self, store: &mut Store<StoreState>) -> wasmtime::Result<(String, String)>;

    /// Returns the JSON Schema of the plugin's config, or `None` if the plugin or its version has none.
    fn config_schema(&self, store: &mut Store<StoreState>) -> wasmtime::Result<Option<String>>;

    /// Checks a config.
    fn check(&self, store: &mut Store<StoreState>, config: &str) -> wasmtime::Result<Result<(), String>>;

    /// Opens the plugin on an input.
    fn open(
        &self,
        store: &mut Store<StoreState>,
        input: &InputColumns<'_>,
        config: &str,
    ) -> wasmtime::Result<Result<UncheckedPlan, String>>;

    /// Processes a batch, and leaves the batch as it was.
    fn process(
        &self,
        store: &mut Store<StoreState>,
        batch: &mut FlatBatch,
    ) -> wasmtime::Result<Result<Changes, String>>;

    /// Ends the input.
    fn finish(&self, store: &mut Store<StoreState>) -> wasmtime::Result<Result<Emitted, String>>;
}

/// The description of an input for `open`.
pub(super) struct InputColumns<'a> {
    pub(super) names: &'a [String],
    pub(super) format: Format,
}

/// The lists of a batch. They are moved into the type of a version and back, so no version copies them.
#[derive(Default)]
pub(super) struct FlatBatch {
    pub(super) bytes: Vec<u8>,
    pub(super) starts: Vec<u32>,
    pub(super) ends: Vec<u32>,
}

/// A plan before the check: see `plan` in `wit/0.2/plugin.wit`.
pub(super) struct UncheckedPlan {
    pub(super) reads: Vec<u32>,
    pub(super) more_columns: Vec<String>,
    pub(super) output: Vec<UncheckedColumn>,
    pub(super) stateful: bool,
}

/// A column of the output before the check.
pub(super) struct UncheckedColumn {
    pub(super) name: String,
    pub(super) column_type: ColumnType,
    pub(super) source: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(exports: &[&str], imports: &[&str]) -> Result<&'static str, String> {
        let [exports, imports] =
            [exports, imports].map(|names| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        Version::of(&exports, &imports).map(|(version, _)| version.number)
    }

    #[test]
    fn the_names_of_a_component_tell_its_version() {
        let host = "ingest:plugin/host@0.1.0";
        assert_eq!(
            of(&["ingest:plugin/transform@0.1.0"], &[host, "wasi:io/poll@0.9.0"]),
            Ok("0.1.0")
        );
        assert_eq!(of(&["other", "ingest:plugin/transform@0.2.7"], &[]), Ok("0.2.0"));
        for (exports, imports) in [
            (["ingest:plugin/transform@0.3.0"], vec![]),
            (
                ["ingest:plugin/transform@0.2.0"],
                vec!["ingest:plugin/host@0.3.0"],
            ),
        ] {
            let why = of(&exports, &imports).unwrap_err();
            assert!(
                why.contains("speaks ingest:plugin@0.3.0 and this host speaks"),
                "{why}"
            );
            assert!(
                why.contains("ingest:plugin@0.1.0 and ingest:plugin@0.2.0"),
                "{why}"
            );
        }
        let why = of(&["a", "b"], &[host]).unwrap_err();
        assert!(why.contains("no ingest plugin (exports: a, b)"), "{why}");
    }
}
