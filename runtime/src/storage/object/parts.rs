//! Defines what an object store must do for outputs: an object and its parts go in; an object that is visible only as a
//! whole comes out.
//!
//! The library `object_store` reads, writes, lists and removes objects at all stores alike. Multipart uploads differ, so
//! each store has its own [`PartStore`]:
//!
//! | | S3 | Google | Azure |
//! |---|---|---|---|
//! | begins an upload | call, returns an id | call, returns an id | no call; the nonce is the id |
//! | names a part | by its number | by its number | by a random block id |
//! | completes | `If-None-Match: *` | looks for an object first, then replaces | block list with `If-None-Match: *` |
//! | aborts | call | call | cannot; Azure removes blocks after a week |

use async_trait::async_trait;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutPayload, Result,
};

/// The name of the metadata entry with the nonce of the upload that made the object.
const NONCE_ENTRY: &str = "ingest-upload";

/// The id of a part without bytes, at stores that refuse such parts.
pub(super) const EMPTY: &str = "";

/// An object store that supports multipart uploads. The object of an upload appears when the upload is completed.
#[async_trait]
pub trait PartStore: Send + Sync {
    /// Returns the store of whole objects. It must create an object only if there is none of that name, if it is asked
    /// to do so.
    fn objects(&self) -> &dyn ObjectStore;

    /// Returns the name of the metadata entry in which an object has the nonce of its upload.
    fn nonce_entry(&self) -> &'static str {
        NONCE_ENTRY
    }

    /// Begins an upload, and returns its id. The completed object has `nonce` in its metadata.
    async fn begin_upload(&self, key: &Path, nonce: &str) -> Result<String>;

    /// Uploads the part with this number, which begins with 0. Returns the part's id.
    async fn upload_part(&self, key: &Path, upload: &str, index: usize, bytes: PutPayload) -> Result<String>;

    /// Completes an upload that was begun with `nonce`. `parts` is the ids of all parts, in their order. The object must
    /// not exist.
    ///
    /// # Errors
    /// Returns `NotFound` if the upload or a part of it does not exist any more, and will never exist again. Returns
    /// `AlreadyExists` or `Precondition` if the object exists, or if another call for it has not ended. After other
    /// errors, the upload may be complete or not.
    async fn complete_upload(&self, key: &Path, upload: &str, nonce: &str, parts: &[String]) -> Result<()>;

    /// Returns whether no worker can complete an upload any more after it was aborted.
    fn can_abort_uploads(&self) -> bool {
        true
    }

    /// Aborts an upload. If [`PartStore::can_abort_uploads`] returns false, does nothing.
    ///
    /// # Errors
    /// Returns `NotFound` if the upload does not exist.
    async fn abort_upload(&self, key: &Path, upload: &str) -> Result<()>;

    /// Removes an object.
    async fn delete_object(&self, key: &Path) -> Result<()> {
        self.objects().delete(key).await
    }
}

/// S3, and stores in memory. The connector of S3 sets the condition of [`PartStore::complete_upload`]: see
/// `connect.rs`.
#[async_trait]
impl<S: ObjectStore + MultipartStore> PartStore for S {
    fn objects(&self) -> &dyn ObjectStore {
        self
    }

    async fn begin_upload(&self, key: &Path, nonce: &str) -> Result<String> {
        self.create_multipart_opts(key, with_nonce(nonce)).await
    }

    async fn upload_part(&self, key: &Path, upload: &str, index: usize, bytes: PutPayload) -> Result<String> {
        put_part(self, key, upload, index, bytes).await
    }

    async fn complete_upload(&self, key: &Path, upload: &str, _: &str, parts: &[String]) -> Result<()> {
        let parts = parts.iter().map(|part| PartId {
            content_id: part.clone(),
        });
        self.complete_multipart(key, &upload.to_owned(), parts.collect())
            .await
            .map(drop)
    }

    async fn abort_upload(&self, key: &Path, upload: &str) -> Result<()> {
        self.abort_multipart(key, &upload.to_owned()).await
    }
}

/// Uploads a part by the library, and returns its id.
async fn put_part(
    library: &impl MultipartStore,
    key: &Path,
    upload: &str,
    index: usize,
    bytes: PutPayload,
) -> Result<String> {
    let put = library.put_part(key, &upload.to_owned(), index, bytes).await;
    put.map(|part| part.content_id)
}

/// Uploads a part to a store that refuses parts without bytes. Such a part is not uploaded: its id is [`EMPTY`].
pub(super) async fn put_part_with_bytes(
    library: &impl MultipartStore,
    key: &Path,
    upload: &str,
    index: usize,
    bytes: PutPayload,
) -> Result<String> {
    match bytes.content_length() == 0 {
        true => Ok(EMPTY.to_owned()),
        false => put_part(library, key, upload, index, bytes).await,
    }
}

/// Returns the options of an upload whose object has `nonce` in its metadata.
pub(super) fn with_nonce(nonce: &str) -> PutMultipartOptions {
    PutMultipartOptions::from(nonce_attribute(nonce))
}

/// Returns the metadata of an object with this nonce.
pub(super) fn nonce_attribute(nonce: &str) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::Metadata(NONCE_ENTRY.into()), nonce.to_owned().into());
    attributes
}
