//! Makes the folder of a new plugin. A name and a language go in. A project that builds and passes its tests comes out.

use std::fs;
use std::path::{Path, PathBuf};

use super::language::Language;
use crate::error::{Code, Error, Result, Stage};

/// The maximum length of a plugin's name.
const NAME_BYTES_MAX: usize = 64;

/// A new project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The folder of the project.
    pub folder: PathBuf,
    /// The files in the folder, relative to it, sorted.
    pub files: Vec<PathBuf>,
}

/// Makes the folder `name` in the folder `parent`, and fills it with a project of the language.
///
/// # Errors
/// Fails permanently, and writes nothing, if the name is not a plugin's name in this language or if something of this
/// name exists. Fails if a file cannot be written.
pub fn create(parent: &Path, name: &str, language: Language) -> Result<Created> {
    check_name(name, language)?;
    let folder = parent.join(name);
    let failed = |path: &Path, error: std::io::Error| {
        let what = format!("{}: cannot be written", path.display());
        Error::permanent(Stage::Config, Code::SettingsInvalid, what).because(error)
    };
    // The call fails if the folder exists, so two commands at the same time do not write into one folder.
    fs::create_dir(&folder).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            let what = format!("{}: exists already: choose another name", folder.display());
            Error::permanent(Stage::Config, Code::Usage, what)
        }
        _ => failed(&folder, error),
    })?;
    let mut files = Vec::new();
    for file in language.template() {
        let relative = PathBuf::from(filled(file.path, name));
        let path = folder.join(&relative);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        }
        fs::write(&path, filled(file.text, name)).map_err(|error| failed(&path, error))?;
        files.push(relative);
    }
    files.sort_unstable();
    Ok(Created { folder, files })
}

/// Returns a text of a template with values in place of its placeholders:
///
/// - `{{name}}`: the plugin's name, as in `clean-orders`
/// - `{{identifier}}`: the name as an identifier, as in `clean_orders`
/// - `{{type}}`: the name as a type, as in `CleanOrders`
/// - `{{host_version}}`: the version of this program, which is the version of the libraries for plugins, too
fn filled(text: &str, name: &str) -> String {
    text.replace("{{name}}", name)
        .replace("{{identifier}}", &name.replace('-', "_"))
        .replace("{{type}}", &type_name(name))
        .replace("{{host_version}}", env!("CARGO_PKG_VERSION"))
}

/// Returns a plugin's name in the form of a type's name: `clean-orders` becomes `CleanOrders`.
fn type_name(name: &str) -> String {
    let words = name.split(['-', '_']).filter(|word| !word.is_empty());
    words
        .map(|word| word[..1].to_ascii_uppercase() + &word[1..])
        .collect()
}

/// Checks a plugin's name. The interface allows more names: here, a name is an identifier in every language, too.
fn check_name(name: &str, language: Language) -> Result<()> {
    let refused = |why: String| Err(Error::permanent(Stage::Config, Code::NameInvalid, why));
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if name.contains('/') {
        return refused(format!(
            "plugin \"{name}\" is a path: change to the folder that is to hold the plugin, and give the name alone"
        ));
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase())
        || name.len() > NAME_BYTES_MAX
        || !name.chars().all(is_allowed)
    {
        return refused(format!(
            "plugin \"{name}\" must have 1 to {NAME_BYTES_MAX} lowercase ASCII letters, digits, '-' or '_', starting with a letter"
        ));
    }
    if language.reserves(name) {
        return refused(format!(
            "plugin \"{name}\": {} reserves this name: choose another one",
            language.name()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_filled_in_in_each_form() {
        let text = "{{name}} {{identifier}} {{type}}";
        assert_eq!(
            filled(text, "clean-orders_2"),
            "clean-orders_2 clean_orders_2 CleanOrders2"
        );
    }

    #[test]
    fn no_placeholder_is_left() {
        for language in Language::ALL {
            let paths: Vec<_> = language.template().iter().map(|file| file.path).collect();
            assert!(paths.contains(&language.manifest()), "{paths:?}");
            assert!(paths.contains(&"README.md"), "{paths:?}");
            for file in language.template() {
                // GitHub's own expressions have a dollar sign in front.
                let text = filled(file.text, "celsius").replace("${{", "");
                assert!(!text.contains("{{"), "{}", file.path);
            }
        }
    }

    #[test]
    fn a_name_is_a_plugins_name() {
        for name in ["a", "celsius", "clean-orders_2"] {
            check_name(name, Language::Rust).expect(name);
        }
        let long = "x".repeat(65);
        for name in [
            "", "A", "2fast", "-a", "a b", "é", "a/b", "../a", ".", "fn", "test", &long,
        ] {
            let error = check_name(name, Language::Rust).expect_err(name);
            assert_eq!(error.code(), Code::NameInvalid, "{error}");
        }
    }
}
