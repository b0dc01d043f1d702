//! Names the places of a request's files. All backends use these names.
//!
//! ```text
//! <prefix>/[<queue>/]<id>.<format>                                output
//! <prefix>/_ingest/[<queue>/]receipts/<id>.json                   receipt
//! <prefix>/_ingest/[<queue>/]rejects/                             rejects, if any
//! <prefix>/_ingest/[<queue>/]quarantine/<id>.json                 report about an output that was refused
//! <prefix>/_ingest/[<queue>/]checkpoints/<id>.checkpoint          checkpoint for the next attempt
//! <prefix>/_ingest/output-id                                      the id of this place
//! ```
//! Many programs read everything below a prefix, for example below `<prefix>/<queue>/`. So all files that are not
//! outputs are below `_ingest`. The name of a queue never begins with `_`. `local/mod.rs` and `object/keys.rs` list the
//! files that only one backend has.

/// The folder of all files that are not outputs.
pub(super) const PRIVATE: &str = "_ingest";
pub(super) const RECEIPTS: &str = "receipts";
pub(super) const REJECTS: &str = "rejects";
pub(super) const QUARANTINE: &str = "quarantine";
pub(super) const CHECKPOINTS: &str = "checkpoints";
/// The file with the id of a place. The id is the same on every machine and under every path or URI of the place.
pub(super) const OUTPUT_ID: &str = "output-id";

const CHECKPOINT_SUFFIX: &str = ".checkpoint";

/// Returns the file name of the document about a request: of its receipt, or of the report about its output.
pub(super) fn document_name(id: &str) -> String {
    format!("{id}.json")
}

/// Returns the file name of a request's checkpoint.
pub(super) fn checkpoint_name(id: &str) -> String {
    format!("{id}{CHECKPOINT_SUFFIX}")
}

/// Returns the id of the request whose checkpoint has this file name, or `None` if this is not the name of a checkpoint.
pub(super) fn id_of_checkpoint(name: &str) -> Option<&str> {
    name.strip_suffix(CHECKPOINT_SUFFIX)
}

/// Returns the URI of the receipt that names an output with this URI. Returns `None` if the output is not in the folder
/// of this queue.
pub(crate) fn receipt_uri(output: &str, queue: Option<&str>, id: &str) -> Option<String> {
    let (mut folder, _) = output.rsplit_once('/')?;
    let mut private = PRIVATE.to_owned();
    if let Some(queue) = queue {
        folder = folder.strip_suffix(queue)?.strip_suffix('/')?;
        private = format!("{private}/{queue}");
    }
    Some(format!("{folder}/{private}/{RECEIPTS}/{}", document_name(id)))
}

/// Returns the URI of the receipt at the place of version 0.1.0, which is in the folder of the output.
pub(crate) fn earlier_receipt_uri(output: &str, id: &str) -> Option<String> {
    let (folder, _) = output.rsplit_once('/')?;
    Some(format!("{folder}/{RECEIPTS}/{}", document_name(id)))
}
