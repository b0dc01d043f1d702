//! Makes the places on which the suite runs: a local folder, and a prefix of a bucket.

use std::any::Any;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::TryStreamExt;
use ingest_host::commit::Destination;
use ingest_host::location::ObjectPrefix;
use ingest_host::storage::object::{ObjectStores, StoreSettings};
use object_store::{ObjectStoreExt, PutPayload};
use tokio::runtime::Runtime;

use super::{Place, QUEUE};
use crate::support::object_client::Bucket;

/// A folder of this machine.
pub(crate) struct LocalPlace {
    folder: tempfile::TempDir,
}

impl LocalPlace {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn output_folder(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("out")
    }
}

/// Returns the files of a folder, and those of its folders if `is_deep` is true.
fn files(folder: &Path, is_deep: bool) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if is_deep => folders.push(path),
                true => {}
                false => found.push(format!("file://{}", path.display())),
            }
        }
    }
    found.sort();
    found
}

fn path_of(uri: &str) -> &Path {
    Path::new(uri.strip_prefix("file://").unwrap())
}

impl Place for LocalPlace {
    fn open(&self) -> Destination {
        Destination::new(self.output_folder().to_str().unwrap(), None).unwrap()
    }

    fn outputs(&self) -> Vec<String> {
        files(&self.output_folder().join(QUEUE), false)
    }

    fn everything(&self) -> Vec<String> {
        let mut found = files(&self.output_folder(), true);
        // The locks of requests are empty files, which the reaper removes later.
        found.retain(|uri| !uri.ends_with(".lock"));
        found
    }

    fn read(&self, uri: &str) -> Option<Vec<u8>> {
        fs::read(path_of(uri)).ok()
    }

    fn put_output(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.output_folder().join(QUEUE).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        format!("file://{}", path.display())
    }

    fn remove(&self, uri: &str) {
        fs::remove_file(path_of(uri)).unwrap();
    }

    fn hides_outputs_without_receipt(&self) -> bool {
        false
    }
}

/// A prefix of a bucket. The rejects can be below the same prefix of another bucket.
pub(crate) struct ObjectPlace {
    settings: StoreSettings,
    /// The bucket's URI, such as `s3://lake`.
    bucket_uri: String,
    prefix: String,
    bucket: Bucket,
    /// The URI of the bucket of the rejects, and this bucket, if they have one of their own.
    rejects: Option<(String, Bucket)>,
    runtime: Runtime,
    /// See [`Place::knows_aborted_uploads`].
    pub(crate) knows_aborted_uploads: bool,
    /// The server, which ends after everything that uses it.
    _server: Box<dyn Any + Send + Sync>,
}

impl ObjectPlace {
    /// Returns a prefix that no other test uses. The program reaches the bucket with these settings.
    pub(crate) fn new(
        settings: StoreSettings,
        bucket_uri: &str,
        bucket: Bucket,
        server: impl Any + Send + Sync,
    ) -> Self {
        static PLACES: AtomicUsize = AtomicUsize::new(0);
        Self {
            settings,
            bucket_uri: bucket_uri.to_owned(),
            prefix: format!("out/{}", PLACES.fetch_add(1, Ordering::Relaxed)),
            bucket,
            rejects: None,
            runtime: Runtime::new().unwrap(),
            knows_aborted_uploads: true,
            _server: Box::new(server),
        }
    }

    /// Returns the same place, but with the rejects in a bucket of their own.
    pub(crate) fn with_rejects(self, bucket_uri: &str, bucket: Bucket) -> Self {
        Self {
            rejects: Some((bucket_uri.to_owned(), bucket)),
            ..self
        }
    }

    /// Returns all buckets of the place with their URIs.
    fn buckets(&self) -> impl Iterator<Item = (&String, &Bucket)> {
        let rejects = self.rejects.as_ref().map(|(uri, bucket)| (uri, bucket));
        [(&self.bucket_uri, &self.bucket)].into_iter().chain(rejects)
    }

    fn list(&self, prefix: &str) -> Vec<String> {
        let prefix = object_store::path::Path::from(prefix);
        let mut uris = Vec::new();
        for (bucket_uri, bucket) in self.buckets() {
            let listed = bucket.list(Some(&prefix)).try_collect::<Vec<_>>();
            let listed = self.runtime.block_on(listed).unwrap();
            uris.extend(
                listed
                    .iter()
                    .map(|found| format!("{bucket_uri}/{}", found.location)),
            );
        }
        uris.sort();
        uris
    }

    /// Returns the bucket and the key of an object.
    fn object(&self, uri: &str) -> (&Bucket, object_store::path::Path) {
        let found = self.buckets().find_map(|(bucket_uri, bucket)| {
            let key = uri.strip_prefix(bucket_uri)?.strip_prefix('/')?;
            Some((bucket, object_store::path::Path::parse(key).unwrap()))
        });
        found.expect("a bucket of this place")
    }
}

impl Place for ObjectPlace {
    fn open(&self) -> Destination {
        let prefix = |bucket_uri| ObjectPrefix::parse(&format!("{bucket_uri}/{}/", self.prefix)).unwrap();
        let rejects = self.rejects.as_ref().map(|(bucket_uri, _)| prefix(bucket_uri));
        let stores = ObjectStores::new(self.settings.clone());
        let storage = stores.output(&prefix(&self.bucket_uri), rejects.as_ref());
        Destination::in_storage(Box::new(storage.unwrap()))
    }

    fn outputs(&self) -> Vec<String> {
        let mut uris = self.list(&format!("{}/{QUEUE}", self.prefix));
        uris.retain(|uri| uri.starts_with(&format!("{}/", self.bucket_uri)));
        uris
    }

    fn everything(&self) -> Vec<String> {
        self.list(&self.prefix)
    }

    fn read(&self, uri: &str) -> Option<Vec<u8>> {
        let (bucket, key) = self.object(uri);
        let read = async { bucket.get(&key).await?.bytes().await };
        match self.runtime.block_on(read) {
            Ok(bytes) => Some(bytes.to_vec()),
            Err(object_store::Error::NotFound { .. }) => None,
            Err(error) => panic!("{uri}: {error}"),
        }
    }

    fn put_output(&self, name: &str, bytes: &[u8]) -> String {
        let key = object_store::path::Path::from(format!("{}/{QUEUE}/{name}", self.prefix));
        let payload = PutPayload::from(bytes.to_vec());
        self.runtime.block_on(self.bucket.put(&key, payload)).unwrap();
        format!("{}/{key}", self.bucket_uri)
    }

    fn remove(&self, uri: &str) {
        let (bucket, key) = self.object(uri);
        self.runtime.block_on(bucket.delete(&key)).unwrap();
    }

    fn hides_outputs_without_receipt(&self) -> bool {
        true
    }

    fn knows_aborted_uploads(&self) -> bool {
        self.knows_aborted_uploads
    }
}
