//! Reads README.md and the documents in `docs/`, and returns their fenced blocks.

use std::path::{Path, PathBuf};

/// Returns the root folder of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
}

/// Returns the paths of a folder's documents, sorted.
pub(crate) fn in_folder(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    paths.sort();
    paths
}

/// Returns the text of a document. The path is relative to the root folder.
pub(crate) fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Returns the fenced blocks of a language, in order.
pub(crate) fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence)
        .skip(1)
        .map(|rest| rest.split("```").next().expect("a block").to_owned())
        .collect()
}

/// Searches README.md and the documents in `docs/`. Returns the first fenced block of this language that contains
/// `part`.
pub(crate) fn block(language: &str, part: &str) -> String {
    let mut paths = vec![root().join("README.md")];
    paths.extend(in_folder(&root().join("docs")));
    let mut all = paths.iter().flat_map(|path| blocks(&text(path), language));
    all.find(|block| block.contains(part))
        .unwrap_or_else(|| panic!("no document has a {language} block with {part:?}"))
}
