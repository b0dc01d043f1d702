//! Lists the languages in which authors write plugins. Everything that depends on a language starts here: the files of
//! a new project, the marks of a project's folder, and the build.

use std::path::{Path, PathBuf};

use super::build::rust;
use crate::error::Result;

/// A language for plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Rust, with the crate `ingest-plugin`.
    Rust,
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

impl Language {
    /// All languages. If a folder could belong to several, the first one counts.
    pub const ALL: &[Self] = &[Self::Rust];

    /// Returns the name of the language for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
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
        }
    }

    /// Returns whether the tools of this language refuse a project of this name, though it is a name for plugins.
    pub(super) fn reserves(self, name: &str) -> bool {
        match self {
            Self::Rust => rust::reserves(name),
        }
    }

    /// Builds the project in a folder, and returns the path of the component.
    pub(super) fn build(self, folder: &Path) -> Result<PathBuf> {
        match self {
            Self::Rust => rust::build(folder),
        }
    }
}
