//! Lists the languages in which authors write plugins. Everything that depends on a language starts here: the files of
//! a new project, the marks of a project's folder, and the build.

use std::path::{Path, PathBuf};

use super::build::{js, rust};
use crate::error::Result;

/// A language for plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Rust, with the crate `ingest-plugin`.
    Rust,
    /// JavaScript or TypeScript, with the npm package `ingest-plugin`.
    JavaScript,
}

/// A file of a new project.
#[derive(Debug, Clone, Copy)]
pub(super) struct TemplateFile {
    /// The path of the file, relative to the project's folder. `new.rs` replaces the same placeholders as in the text.
    pub path: &'static str,
    /// The text of the file, with placeholders: see `new.rs`.
    pub text: &'static str,
}

/// Returns a [`TemplateFile`] at `$path`. Its text is in `templates/$from`.
macro_rules! template {
    ($path:literal, $from:literal) => {
        TemplateFile {
            path: $path,
            text: include_str!(concat!("templates/", $from)),
        }
    };
}

/// Returns the [`TemplateFile`] of a file of the npm package `ingest-plugin`. The package goes into the project, because
/// no registry has it yet.
macro_rules! package_file {
    ($path:literal) => {
        TemplateFile {
            path: concat!("vendor/ingest-plugin/", $path),
            text: include_str!(concat!("../../../plugins/js/", $path)),
        }
    };
}

impl Language {
    /// All languages. If a folder could belong to several, the first one counts.
    pub const ALL: &[Self] = &[Self::Rust, Self::JavaScript];

    /// Returns the name of the language for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::JavaScript => "JavaScript",
        }
    }

    /// Returns the language of the project in a folder, or `None` if the folder has no project.
    pub fn of_project(folder: &Path) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|language| folder.join(language.manifest()).is_file())
    }

    /// Returns the name of the file by which a project of this language is recognised.
    pub(super) fn manifest(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::JavaScript => "package.json",
        }
    }

    /// Returns the files of a new project. The files have the ending `.template` in this repository: so no tool takes
    /// them for files of the repository itself.
    pub(super) fn template(self) -> &'static [TemplateFile] {
        match self {
            Self::Rust => &[
                template!("Cargo.toml", "rust/Cargo.toml.template"),
                template!("src/lib.rs", "rust/lib.rs.template"),
                template!("cases/example.csv", "cases/example.csv.template"),
                template!("cases/example.out.csv", "cases/example.out.csv.template"),
                template!("cases/example.rejects.csv", "cases/example.rejects.csv.template"),
                template!(".github/workflows/plugin.yml", "rust/plugin.yml.template"),
                template!(".gitignore", "rust/gitignore.template"),
                template!("README.md", "rust/README.md.template"),
            ],
            Self::JavaScript => &[
                template!("package.json", "js/package.json.template"),
                template!("package-lock.json", "js/package-lock.json.template"),
                template!("plugin.js", "js/plugin.js.template"),
                template!("plugin.test.js", "js/plugin.test.js.template"),
                template!("cases/example.csv", "cases/example.csv.template"),
                template!("cases/example.out.csv", "cases/example.out.csv.template"),
                template!("cases/example.rejects.csv", "cases/example.rejects.csv.template"),
                template!(".github/workflows/plugin.yml", "js/plugin.yml.template"),
                template!(".gitignore", "js/gitignore.template"),
                template!("README.md", "js/README.md.template"),
                package_file!("README.md"),
                package_file!("build.js"),
                package_file!("index.d.ts"),
                package_file!("index.js"),
                package_file!("package.json"),
                package_file!("src/changes.js"),
                package_file!("src/component.js"),
                package_file!("src/driver.js"),
                package_file!("src/encoding.js"),
                package_file!("src/globals.js"),
                package_file!("src/host.js"),
                package_file!("src/numbers.js"),
                package_file!("src/record.js"),
                package_file!("src/reject.js"),
                package_file!("src/rows.js"),
                package_file!("src/schema.js"),
                package_file!("src/stack.js"),
                package_file!("src/testing/csv.js"),
                package_file!("src/testing/decode.js"),
                package_file!("src/text.js"),
                package_file!("src/time.js"),
                package_file!("src/value.js"),
                package_file!("testing.d.ts"),
                package_file!("testing.js"),
                package_file!("wit/plugin.wit"),
            ],
        }
    }

    /// Returns whether the tools of this language refuse a project of this name, though it is a name for plugins.
    pub(super) fn reserves(self, name: &str) -> bool {
        match self {
            Self::Rust => rust::reserves(name),
            Self::JavaScript => js::reserves(name),
        }
    }

    /// Builds the project in a folder, and returns the path of the component.
    pub(super) fn build(self, folder: &Path) -> Result<PathBuf> {
        match self {
            Self::Rust => rust::build(folder),
            Self::JavaScript => js::build(folder),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    /// Returns the paths of all files in a folder, relative to `root`.
    fn files(root: &Path, folder: &Path, into: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => files(root, &path, into),
                false => drop(into.insert(path.strip_prefix(root).expect("below").to_owned())),
            }
        }
    }

    #[test]
    fn a_project_in_javascript_has_the_whole_package() {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/js");
        let manifest = json("plugins/js/package.json");
        let mut expected: BTreeSet<_> = ["README.md", "package.json"].map(PathBuf::from).into();
        for name in manifest["files"].as_array().expect("a list") {
            let path = package.join(name.as_str().expect("a path"));
            match path.is_dir() {
                true => files(&package, &path, &mut expected),
                false => drop(expected.insert(name.as_str().expect("a path").into())),
            }
        }
        let template = Language::JavaScript.template().iter();
        let found: BTreeSet<_> = template
            .filter_map(|file| file.path.strip_prefix("vendor/ingest-plugin/"))
            .map(PathBuf::from)
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_package_for_javascript_has_the_interface_and_the_version_of_this_host() {
        assert_eq!(text("plugins/js/wit/plugin.wit"), text("wit/0.1/plugin.wit"));
        let manifest = json("plugins/js/package.json");
        assert_eq!(manifest["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn a_new_project_in_javascript_has_the_packages_that_the_tests_use() {
        let template = "runtime/src/kit/templates/js";
        let manifest = json(&format!("{template}/package.json.template"));
        let locked = json(&format!("{template}/package-lock.json.template"));
        let tested = json("scripts/node/package-lock.json");
        assert_eq!(
            locked["packages"][""]["devDependencies"],
            manifest["devDependencies"]
        );
        let packages = manifest["devDependencies"].as_object().expect("an object");
        assert!(!packages.is_empty());
        for name in packages.keys() {
            let path = format!("node_modules/{name}");
            let (locked, tested) = (&locked["packages"][&path], &tested["packages"][&path]);
            assert!(locked["integrity"].is_string(), "{name}");
            for member in ["version", "integrity"] {
                assert_eq!(locked[member], tested[member], "{name}");
            }
        }
    }

    #[test]
    fn lock_files_of_npm_name_no_registry() {
        for path in [
            "runtime/src/kit/templates/js/package-lock.json.template",
            "scripts/node/package-lock.json",
        ] {
            let lock = json(path);
            for (name, package) in lock["packages"].as_object().expect("an object") {
                let resolved = package["resolved"].as_str().unwrap_or_default();
                assert!(!resolved.contains("://"), "{path}: {name}");
            }
        }
    }

    /// Returns the text of a file of the repository.
    fn text(path: &str) -> String {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        fs::read_to_string(repository.join(path)).expect(path)
    }

    fn json(path: &str) -> serde_json::Value {
        serde_json::from_str(&text(path)).expect(path)
    }
}
