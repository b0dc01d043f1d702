//! Uploads outputs to Azure Blob Storage: parts go in; a blob that is visible only as a whole comes out.
//!
//! The parts of a blob are *blocks*. A block list makes the blob of them. Until then, nobody sees the blocks. All uploads
//! to one blob share its blocks, so each block has a random id. A block list removes those blocks of the blob that it
//! does not name. Azure also removes blocks a week after the last one was uploaded. No call removes them earlier.
//!
//! So an upload cannot be aborted. It cannot be completed any more only if a block is missing: no later upload has a
//! block of this id.

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use object_store::azure::MicrosoftAzure;
use object_store::path::Path;
use object_store::{Error, ObjectStore, PutPayload, Result};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};

use super::calls::{Call, CallError, Calls};
use super::parts::{EMPTY, PartStore, put_part_with_bytes};

/// The name of the metadata entry with the nonce of the upload. The names of Azure's entries have no hyphens.
const NONCE_ENTRY: &str = "ingest_upload";

/// The header that sets this entry.
const NONCE_HEADER: HeaderName = HeaderName::from_static("x-ms-meta-ingest_upload");

/// A container of Azure Blob Storage.
#[derive(Debug)]
pub(super) struct AzureBucket {
    library: MicrosoftAzure,
    calls: Calls,
}

impl AzureBucket {
    pub(super) fn new(library: MicrosoftAzure, calls: Calls) -> Self {
        Self { library, calls }
    }
}

#[async_trait]
impl PartStore for AzureBucket {
    fn objects(&self) -> &dyn ObjectStore {
        &self.library
    }

    fn nonce_entry(&self) -> &'static str {
        NONCE_ENTRY
    }

    async fn begin_upload(&self, _: &Path, nonce: &str) -> Result<String> {
        Ok(nonce.to_owned())
    }

    async fn upload_part(&self, key: &Path, upload: &str, index: usize, bytes: PutPayload) -> Result<String> {
        // The library makes a random id of 32 characters.
        put_part_with_bytes(&self.library, key, upload, index, bytes).await
    }

    async fn complete_upload(&self, key: &Path, _: &str, nonce: &str, parts: &[String]) -> Result<()> {
        let nonce = HeaderValue::from_str(nonce).map_err(|error| Error::Generic {
            store: "object store",
            source: Box::new(error),
        })?;
        let headers = [
            (IF_NONE_MATCH, HeaderValue::from_static("*")),
            (NONCE_HEADER, nonce),
        ];
        let call = Call {
            method: Method::PUT,
            key,
            query: "comp=blocklist".to_owned(),
            headers: HeaderMap::from_iter(headers),
            body: block_list(parts).into(),
        };
        let sent = self.calls.send(&call).await;
        sent.map(drop).map_err(|error| refused(error, key))
    }

    fn can_abort_uploads(&self) -> bool {
        false
    }

    async fn abort_upload(&self, _: &Path, _: &str) -> Result<()> {
        Ok(())
    }

    /// The library would remove the blob with a call for many blobs, which needs more rights.
    async fn delete_object(&self, key: &Path) -> Result<()> {
        let call = Call {
            method: Method::DELETE,
            key,
            query: String::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let sent = self.calls.send(&call).await;
        sent.map(drop).map_err(|error| error.into_library(key))
    }
}

/// Returns the list of the blocks with these ids. The list of an empty blob is empty.
fn block_list(ids: &[String]) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>".to_owned();
    for id in ids.iter().filter(|id| *id != EMPTY) {
        text += &format!("<Uncommitted>{}</Uncommitted>", BASE64_STANDARD.encode(id));
    }
    text + "</BlockList>"
}

/// Returns the error for a block list that Azure did not accept.
fn refused(error: CallError, key: &Path) -> Error {
    let path = key.to_string();
    match (error.code(), error.status()) {
        ("InvalidBlockList", _) => Error::NotFound {
            path,
            source: Box::new(error),
        },
        ("BlobAlreadyExists", _) => Error::AlreadyExists {
            path,
            source: Box::new(error),
        },
        // The container is missing, not a block.
        (_, Some(StatusCode::NOT_FOUND)) => Error::Generic {
            store: "object store",
            source: Box::new(error),
        },
        _ => error.into_library(key),
    }
}
