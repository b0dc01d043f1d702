//! Connects to the buckets of a storage: the bucket that a document or a URI names goes in; a connection comes out.
//!
//! All outputs and all documents of a storage (receipts, decisions, notes, checkpoints) are in one bucket. The rejects
//! can be in another one. A document names the bucket of an upload only if it is not the bucket of the document itself.
//! A connection is made only to buckets that the operator has named. So a document never chooses who gets credentials.

use std::time::Duration;

use object_store::path::Path;

use super::client::Client;
use super::object_reader::ObjectReader;
use super::upload::SealedUpload;
use crate::digest::Digest;
use crate::error::{Code, Error, Result, Stage};
use crate::stop::Stop;
use crate::storage::{FileRole, StoredReader};

/// The connections of a storage.
#[derive(Debug, Clone)]
pub(super) struct Buckets {
    /// The bucket of outputs and documents.
    pub(super) main: Client,
    /// The bucket of rejects. It can be the same one.
    pub(super) rejects: Client,
}

impl Buckets {
    /// Returns the same connections, with a limit for each call: see [`Client::bounded`].
    pub(super) fn bounded(&self, patience: Duration, stop: &Stop) -> Self {
        Self {
            main: self.main.bounded(patience, stop),
            rejects: self.rejects.bounded(patience, stop),
        }
    }

    /// Returns the same connections, whose calls end after the stop: see [`Client::until`].
    pub(super) fn until(&self, stop: &Stop) -> Self {
        Self {
            main: self.main.until(stop),
            rejects: self.rejects.until(stop),
        }
    }

    /// Returns the connection to the bucket that a document names, or `None` if it is not one of this storage.
    pub(super) fn named(&self, bucket: Option<&str>) -> Option<&Client> {
        match bucket {
            None => Some(&self.main),
            Some(bucket) => [&self.main, &self.rejects]
                .into_iter()
                .find(|client| client.bucket() == bucket),
        }
    }

    /// Returns the connection to the bucket of a decision's upload.
    ///
    /// # Errors
    /// Fails transiently if the upload is in a bucket that is not one of this storage: another worker can complete it.
    pub(super) fn client_for(&self, upload: &SealedUpload) -> Result<&Client> {
        self.named(upload.bucket.as_deref()).ok_or_else(|| {
            let bucket = upload.bucket.as_deref().unwrap_or_default();
            let what = format!(
                "{bucket}/{}: the request is committed with these rejects, but `--rejects` of this worker names no place in \
                 {bucket}: start a worker with the former `--rejects`, which completes the commit",
                upload.key
            );
            Error::transient(Stage::Commit, Code::RejectsElsewhere, what).leaving_output()
        })
    }

    /// Does the same as [`Storage::has_bytes`](crate::storage::Storage::has_bytes).
    pub(super) fn has_bytes(&self, role: FileRole, uri: &str, expected: &Digest) -> Result<Option<bool>> {
        match (self.with(uri), role) {
            (Some((client, _)), _) => client.has_bytes(uri, expected),
            (None, FileRole::Output) => Ok(None),
            (None, FileRole::Rejects) => {
                let what = format!(
                    "{uri}: a receipt names these rejects, but `--rejects` of this worker names no place in their bucket, so \
                     they cannot be compared: use the former `--rejects`, or choose another --id or --output"
                );
                Err(Error::permanent(Stage::Commit, Code::RejectsElsewhere, what))
            }
        }
    }

    /// Does the same as [`Storage::open_rejects`](crate::storage::Storage::open_rejects).
    pub(super) fn open_rejects(&self, uri: &str) -> Result<Option<StoredReader>> {
        let Some((client, key)) = self.with(uri) else {
            let what = format!(
                "{uri}: a receipt names these rejects, but `--rejects` of this worker names no place in their bucket, so they \
                 cannot be read: start a worker with the former `--rejects`"
            );
            return Err(Error::permanent(Stage::Commit, Code::RejectsElsewhere, what));
        };
        let reader = ObjectReader::open(client, key)?;
        Ok(reader.map(|reader| Box::new(reader) as StoredReader))
    }

    /// Returns the connection to the bucket of a URI, and the key in the URI. Returns `None` if the bucket is not one of
    /// this storage.
    fn with(&self, uri: &str) -> Option<(&Client, Path)> {
        let clients = [&self.main, &self.rejects];
        clients
            .into_iter()
            .find_map(|client| Some((client, client.key_of(uri)?)))
    }
}
