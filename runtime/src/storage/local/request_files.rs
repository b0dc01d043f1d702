//! Names the files of a request, and writes and reads its documents: receipts, reports and markers.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::disk::{self, Temporary};
use super::folders::Folders;
use crate::document::read_regular;
use crate::error::{Code, Error, Result, Stage};
use crate::escape;
use crate::location::file_uri;
use crate::receipt::{DOCUMENT_BYTES_MAX, Receipt, Unreadable};
use crate::storage::layout::document_name;

/// Returns the two names that a file of a request can get. The first is the usual name. The second contains `mark`, and
/// is used if the usual name is taken. No id contains a `~`, so files of two requests with the same suffix never have
/// the same name.
pub(super) fn names(id: &str, mark: &str, suffix: &str) -> [String; 2] {
    [format!("{id}.{suffix}"), format!("{id}~{mark}.{suffix}")]
}

/// Returns the path of a request's receipt. The receipt need not exist.
pub(super) fn receipt_path(folders: &Folders, id: &str) -> PathBuf {
    folders.receipts.path().join(document_name(id))
}

/// Reads a receipt. Returns `None` if there is no receipt.
pub(super) fn read_receipt(path: &Path) -> Result<Option<Receipt>> {
    let document = match read_regular(path, DOCUMENT_BYTES_MAX) {
        Ok(document) => document,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk::failed(error, "the receipt cannot be read", path)),
    };
    let receipt = Receipt::read(&document).map_err(|error| {
        let what = path.display();
        match error {
            // The error is transient, because a worker of a newer version can settle the request.
            Unreadable::Newer(_) => {
                let what = format!("{what}: cannot be read");
                Error::transient(Stage::Commit, Code::HostOutdated, what)
            }
            Unreadable::Damaged(_) => {
                let what = format!("{what}: is not a receipt");
                Error::permanent(Stage::Commit, Code::OutputDamaged, what)
            }
        }
        .because(error)
    })?;
    Ok(Some(receipt))
}

/// Returns whether the receipt names this file as output or rejects. Only the file's name is compared, because the
/// folder may have had another path when the receipt was written. For example, the folder was moved later, or another
/// machine wrote the receipt.
pub(super) fn names_file(receipt: &Receipt, path: &Path) -> bool {
    let uri = file_uri(path);
    let is_named = |named: &str| last_segment(named) == last_segment(&uri);
    receipt.rejects.uri.as_deref().is_some_and(is_named)
        || receipt.outputs.iter().any(|output| is_named(&output.uri))
}

fn last_segment(uri: &str) -> &str {
    uri.rsplit('/').next().unwrap_or(uri)
}

/// The staged file of a document. The file is still empty.
pub(super) struct DocumentFile {
    staged: Temporary,
    file: File,
}

impl DocumentFile {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|error| disk::failed(error, "cannot be created", path))?;
        Ok(Self {
            staged: Temporary::new(path.to_owned()),
            file,
        })
    }

    /// Writes and syncs the document.
    pub(super) fn write(mut self, document: &impl Serialize) -> Result<Temporary> {
        // The text is escaped, because people show such documents on a terminal.
        let text = escape::json(serde_json::to_string_pretty(document).expect("documents serialize"));
        let written = self
            .file
            .write_all(format!("{text}\n").as_bytes())
            .and_then(|()| self.file.sync_all());
        written.map_err(|error| disk::failed(error, "cannot be written", self.staged.path()))?;
        Ok(self.staged)
    }
}

/// Writes and syncs a document in a new file at `path`.
pub(super) fn write_document(path: &Path, document: &impl Serialize) -> Result<Temporary> {
    DocumentFile::create(path)?.write(document)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::names;
    use crate::names::check_id;

    /// Returns ids with all combinations of parts that file names use: marks, formats, dots, and upper and lower case.
    fn ids() -> Vec<String> {
        let parts = [
            "a",
            "A",
            "5",
            "1",
            "csv",
            "jsonl",
            "rejects",
            "0123456789ab",
            "-",
            "_",
        ];
        let mut ids: Vec<String> = parts.map(str::to_owned).to_vec();
        for _ in 0..2 {
            let longer: Vec<_> = ids
                .iter()
                .flat_map(|id| parts.map(|part| format!("{id}.{part}")))
                .collect();
            ids.extend(longer);
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    #[test]
    fn files_of_two_requests_never_have_one_name() {
        let ids = ids();
        assert!(ids.len() > 1_000);
        // Each folder holds only outputs or only rejects. Outputs can have either format.
        for suffixes in [&["csv", "jsonl"][..], &["rejects.csv"]] {
            let mut owners = HashMap::new();
            for id in &ids {
                check_id(id).unwrap();
                for suffix in suffixes {
                    for mark in ["1", "5", "51", "0123456789ab"] {
                        for name in names(id, mark, suffix) {
                            let owner = owners.entry(name.clone()).or_insert(id);
                            assert_eq!(*owner, id, "{name}");
                        }
                    }
                }
            }
        }
    }
}
