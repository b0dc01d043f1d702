//! Tests that imports follow ARCHITECTURE.md. Each module of `runtime/src` may import only the modules that the table
//! "Who may import whom" lists for it. Each library in [`ADAPTERS`] may be named only in the folder that adapts it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const HEADING: &str = "## Who may import whom";

/// The libraries that only some modules may name. Each pair is a library and these modules.
const ADAPTERS: [(&str, &[&str]); 9] = [
    ("clap", &["cli/"]),
    ("indicatif", &["cli/"]),
    ("object_store", &["storage/object/"]),
    ("redis", &["queue/redis/"]),
    ("reqwest", &["net.rs", "fetch/", "storage/object/"]),
    ("rusqlite", &["queue/sqlite/"]),
    ("toml", &["cli/"]),
    ("wasmtime", &["plugin/"]),
    ("wasmtime_wasi", &["plugin/"]),
];

/// The modules that a module imports, each with the position of its first import, as `FILE:LINE`.
type Imports = BTreeMap<String, String>;

#[test]
fn modules_import_what_the_table_lists() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let table = table();
    let found = imports_of_all(&source);
    let mut broken = Vec::new();
    let mut above = BTreeSet::new();
    for (module, allowed) in &table {
        let Some(imports) = found.get(module) else {
            broken.push(format!("`{module}` is in the table, but not in runtime/src"));
            continue;
        };
        for (import, place) in imports {
            if !allowed.contains(import) {
                broken.push(format!("{place}: `{module}` may not import `{import}`"));
            }
        }
        for import in allowed {
            if !imports.contains_key(import) {
                broken.push(format!(
                    "`{module}` does not import `{import}`: take it out of the table"
                ));
            }
            if !above.contains(import) {
                broken.push(format!(
                    "`{module}` lists `{import}`, which does not stand above it in the table"
                ));
            }
        }
        above.insert(module.clone());
    }
    let missing = found.keys().filter(|module| !above.contains(*module));
    broken.extend(missing.map(|module| format!("`{module}` is in runtime/src, but not in the table")));
    assert!(
        broken.is_empty(),
        "the code and \"{HEADING}\" in ARCHITECTURE.md differ:\n{}\nMove the code to the module that may use it. If the new import \
         is right, add it to the table: a module imports only modules above it.",
        broken.join("\n")
    );
    assert!(table.len() > 20 && found.values().map(BTreeMap::len).sum::<usize>() > 100);
}

#[test]
fn libraries_are_named_by_their_adapters() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    add_files(&source, &mut files);
    let mut broken = Vec::new();
    for file in &files {
        let path = file.strip_prefix(&source).expect("below").display().to_string();
        for (number, line) in code(file).lines().enumerate() {
            for (library, places) in ADAPTERS {
                let is_name = |at: usize| {
                    let before = line[..at].chars().next_back();
                    before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | ':'))
                };
                let name = format!("{library}::");
                let mut names = line.match_indices(&name).map(|(at, _)| at);
                if names.any(is_name) && !places.iter().any(|place| path.starts_with(place)) {
                    broken.push(format!(
                        "src/{path}:{}: `{library}` is named outside of {}",
                        number + 1,
                        places.join(", ")
                    ));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(files.len() > 100, "{}", files.len());
}

/// Returns the rows of the table in order. Each row is a module and the set of modules that it may import.
fn table() -> Vec<(String, BTreeSet<String>)> {
    let document = include_str!("../../../ARCHITECTURE.md");
    let (_, section) = document.split_once(HEADING).expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let section_rows = rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').collect();
        let [module, imports] = cells[..] else {
            panic!("a row of two cells: {row}");
        };
        let words = |cell: &str| -> BTreeSet<String> {
            let words = cell.split('`').skip(1).step_by(2);
            words.map(str::to_owned).collect()
        };
        (words(module).pop_first().expect("a module"), words(imports))
    });
    section_rows.collect()
}

fn imports_of_all(source: &Path) -> BTreeMap<String, Imports> {
    let mut all = BTreeMap::new();
    for path in entries(source) {
        let module = path
            .file_stem()
            .expect("a name")
            .to_str()
            .expect("UTF-8")
            .to_owned();
        if ["lib", "main"].contains(&&*module) {
            continue;
        }
        let imports: &mut Imports = all.entry(module.clone()).or_default();
        let mut files = Vec::new();
        add_files(&path, &mut files);
        for file in files {
            add_imports(source, &file, &module, imports);
        }
    }
    all
}

/// Adds a source file to `files`. For a folder, adds all source files below it. Files of unit tests are skipped.
fn add_files(path: &Path, files: &mut Vec<PathBuf>) {
    if path.file_stem().is_some_and(|stem| stem == "tests") {
        return;
    }
    if path.is_dir() {
        for entry in entries(path) {
            add_files(&entry, files);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        files.push(path.to_owned());
    }
}

/// Returns the code of a source file. Lines with only a comment become empty lines, and the unit tests at the end are
/// cut off.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a source file");
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().map(|line| {
        if line.trim_start().starts_with("//") {
            ""
        } else {
            line
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Adds to `imports` the modules that a source file imports.
fn add_imports(source: &Path, path: &Path, module: &str, imports: &mut Imports) {
    for (number, line) in code(path).lines().enumerate() {
        let place = || {
            format!(
                "src/{}:{}",
                path.strip_prefix(source).expect("below").display(),
                number + 1
            )
        };
        for (_, rest) in line
            .match_indices("crate::")
            .map(|(at, name)| line.split_at(at + name.len()))
        {
            assert!(
                !rest.starts_with('{'),
                "{}: one `use crate::` for each module",
                place()
            );
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            if &rest[..end] != module {
                imports.entry(rest[..end].to_owned()).or_insert_with(place);
            }
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of sources");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}
