//! Names the objects of a request.
//!
//! ```text
//! <prefix>/[<queue>/]<id>.<format>                                    output
//! <prefix>/_ingest/[<queue>/]receipts/<id>.json                       receipt
//! <prefix>/_ingest/[<queue>/]rejects/<id>.<fence>.rejects.csv         rejects, if any
//! <prefix>/_ingest/[<queue>/]quarantine/<id>.json                     report about an output that was refused
//! <prefix>/_ingest/[<queue>/]decisions/<id>/<life>.<round>.json       decisions: see `decision.rs`
//! <prefix>/_ingest/[<queue>/]uploads/<id>/<fence>.<nonce>.json        notes about uploads: see `reaper.rs`
//! <prefix>/_ingest/[<queue>/]checkpoints/<id>.checkpoint              checkpoint for the next attempt
//! <prefix>/_ingest/output-id                                          the id of this place
//! <prefix>/_ingest/create-check                                       object for the check of the store
//! ```
//! If the rejects have a place of their own, the bucket of this place has these objects instead of the third line:
//!
//! ```text
//! <rejects>/[<queue>/]<id>.<fence>.rejects.csv                        rejects, if any
//! <rejects>/_ingest/output-id                                         the id of the place of the rejects
//! <rejects>/_ingest/create-check                                      object for the check of its store
//! ```
//! `storage/layout.rs` has the names that all backends use.

use object_store::path::Path;

use crate::format::Format;
use crate::storage::layout::{
    CHECKPOINTS, PRIVATE, QUARANTINE, RECEIPTS, REJECTS, checkpoint_name, document_name,
};

/// The folder of the decisions. Each request has its own subfolder. So no queue can have this name: a request outside a
/// queue could have the same subfolder.
pub(super) const DECISIONS: &str = "decisions";

/// The folder of the notes about uploads. No queue can have this name, for the same reason.
pub(super) const UPLOADS: &str = "uploads";

/// The keys of the objects of one queue, or of requests without a queue.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    outputs: Path,
    private: Path,
    rejects: Path,
}

impl Keys {
    /// Returns the keys below `prefix`. If `rejects` is given, the rejects are below that prefix.
    pub(super) fn of(prefix: &Path, rejects: Option<&Path>, queue: Option<&str>) -> Self {
        let of_queue = |folder: Path| match queue {
            Some(queue) => folder.join(queue),
            None => folder,
        };
        let private = of_queue(prefix.clone().join(PRIVATE));
        Self {
            outputs: of_queue(prefix.clone()),
            rejects: match rejects {
                Some(rejects) => of_queue(rejects.clone()),
                None => private.clone().join(REJECTS),
            },
            private,
        }
    }

    pub(super) fn output(&self, id: &str, format: Format) -> Path {
        self.outputs.clone().join(format!("{id}.{}", format.name()))
    }

    /// Returns the key of an attempt's rejects. The rejects of each attempt have a key of their own. An upload cannot
    /// get another key, so the rejects keep this key in quarantine, too.
    /// `attempt` is the fence or, outside a queue, where attempts have no fences, a random word.
    pub(super) fn rejects(&self, id: &str, attempt: &str) -> Path {
        self.rejects.clone().join(format!("{id}.{attempt}.rejects.csv"))
    }

    /// Returns whether a key is one of rejects.
    pub(super) fn is_of_rejects(&self, key: &str) -> bool {
        let (folder, _) = key.rsplit_once('/').unwrap_or_default();
        folder == self.rejects.as_ref()
    }

    pub(super) fn receipt(&self, id: &str) -> Path {
        self.private(RECEIPTS, document_name(id))
    }

    pub(super) fn report(&self, id: &str) -> Path {
        self.private(QUARANTINE, document_name(id))
    }

    /// Returns the prefix of the decisions: about one request, or of the whole queue if `id` is `None`.
    pub(super) fn decisions(&self, id: Option<&str>) -> Path {
        self.folder(DECISIONS, id)
    }

    /// Returns the prefix of the notes about uploads: of one request, or of the whole queue if `id` is `None`.
    pub(super) fn uploads(&self, id: Option<&str>) -> Path {
        self.folder(UPLOADS, id)
    }

    pub(super) fn checkpoint(&self, id: &str) -> Path {
        self.private(CHECKPOINTS, checkpoint_name(id))
    }

    /// Returns the prefix of all checkpoints of the queue.
    pub(super) fn checkpoints(&self) -> Path {
        self.folder(CHECKPOINTS, None)
    }

    fn folder(&self, name: &str, id: Option<&str>) -> Path {
        let folder = self.private.clone().join(name);
        match id {
            Some(id) => folder.join(id),
            None => folder,
        }
    }

    fn private(&self, folder: &str, name: String) -> Path {
        self.private.clone().join(folder).join(name)
    }
}

/// Returns the folder of all objects that are no outputs.
pub(super) fn private(prefix: &Path) -> Path {
    prefix.clone().join(PRIVATE)
}

/// Returns the key of an object that does not belong to a queue or a request.
pub(super) fn of_output(prefix: &Path, name: &str) -> Path {
    prefix.clone().join(PRIVATE).join(name)
}

/// Returns the key that a document in the store names.
pub(super) fn stored(key: &str) -> Path {
    Path::parse(key).unwrap_or_else(|_| Path::from(key))
}
