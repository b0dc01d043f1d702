//! Uploads outputs to Google Cloud Storage: parts go in; an object that is visible only as a whole comes out.
//!
//! Google's multipart uploads have no conditions. A request that completes an upload replaces an existing object, and
//! Google refuses the request if it has a condition. So this module looks for an object before it completes an upload.
//! Only another program can create an object between the two calls, because each upload can be completed once.

use async_trait::async_trait;
use object_store::gcp::GoogleCloudStorage;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, Result};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::escape::escape;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};

use super::calls::{Call, CallError, Calls};
use super::connect::LOST_PARTS;
use super::parts::{EMPTY, PartStore, nonce_attribute, put_part_with_bytes, with_nonce};

/// The element that an answer has if an upload was completed.
const COMPLETED: &str = "CompleteMultipartUploadResult";

/// A bucket of Google Cloud Storage.
#[derive(Debug)]
pub(super) struct GcsBucket {
    library: GoogleCloudStorage,
    calls: Calls,
}

impl GcsBucket {
    pub(super) fn new(library: GoogleCloudStorage, calls: Calls) -> Self {
        Self { library, calls }
    }

    /// Creates an object without bytes. Its upload has no part, so no upload can make it.
    async fn create_empty(&self, key: &Path, upload: &str, nonce: &str) -> Result<()> {
        let options = PutOptions {
            mode: PutMode::Create,
            attributes: nonce_attribute(nonce),
            ..PutOptions::default()
        };
        self.library.put_opts(key, PutPayload::new(), options).await?;
        // The object exists. An upload that stays has no parts, and the lifecycle rule of the bucket removes it.
        let _ = self.library.abort_multipart(key, &upload.to_owned()).await;
        Ok(())
    }
}

#[async_trait]
impl PartStore for GcsBucket {
    fn objects(&self) -> &dyn ObjectStore {
        &self.library
    }

    async fn begin_upload(&self, key: &Path, nonce: &str) -> Result<String> {
        self.library.create_multipart_opts(key, with_nonce(nonce)).await
    }

    async fn upload_part(&self, key: &Path, upload: &str, index: usize, bytes: PutPayload) -> Result<String> {
        put_part_with_bytes(&self.library, key, upload, index, bytes).await
    }

    async fn complete_upload(&self, key: &Path, upload: &str, nonce: &str, parts: &[String]) -> Result<()> {
        if parts == [EMPTY] {
            return self.create_empty(key, upload, nonce).await;
        }
        match self.library.head(key).await {
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
            Ok(_) => {
                return Err(Error::AlreadyExists {
                    path: key.to_string(),
                    source: "there is an object of this name".into(),
                });
            }
        }
        let id = utf8_percent_encode(upload, NON_ALPHANUMERIC);
        let call = Call {
            method: Method::POST,
            key,
            query: format!("uploadId={id}"),
            headers: HeaderMap::new(),
            body: part_list(parts).into(),
        };
        let answer = self
            .calls
            .send(&call)
            .await
            .map_err(|error| refused(error, key))?;
        match String::from_utf8_lossy(&answer).contains(COMPLETED) {
            true => Ok(()),
            false => Err(Error::Generic {
                store: "object store",
                source: "the answer does not say that the upload is complete".into(),
            }),
        }
    }

    async fn abort_upload(&self, key: &Path, upload: &str) -> Result<()> {
        self.library.abort_multipart(key, &upload.to_owned()).await
    }
}

/// Returns the body of a request that completes an upload of these parts.
fn part_list(parts: &[String]) -> String {
    let mut text = "<CompleteMultipartUpload>".to_owned();
    for (part, number) in parts.iter().zip(1..) {
        let tag = escape(part.as_str());
        text += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>");
    }
    text + "</CompleteMultipartUpload>"
}

/// Returns the error for an upload that Google did not complete.
fn refused(error: CallError, key: &Path) -> Error {
    match error.status() {
        Some(StatusCode::BAD_REQUEST) if LOST_PARTS.contains(&error.code()) => Error::NotFound {
            path: key.to_string(),
            source: Box::new(error),
        },
        _ => error.into_library(key),
    }
}
