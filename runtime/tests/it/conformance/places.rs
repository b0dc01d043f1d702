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

/// A prefix of a bucket.
pub(crate) struct ObjectPlace {
    settings: StoreSettings,
    /// The bucket's URI, such as `s3://lake`.
    bucket_uri: String,
    prefix: String,
    bucket: Bucket,
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
            runtime: Runtime::new().unwrap(),
            knows_aborted_uploads: true,
            _server: Box::new(server),
        }
    }

    fn list(&self, prefix: &str) -> Vec<String> {
        let prefix = object_store::path::Path::from(prefix);
        let listed = self.bucket.list(Some(&prefix)).try_collect::<Vec<_>>();
        let listed = self.runtime.block_on(listed).unwrap();
        let mut uris: Vec<_> = listed.iter().map(|found| self.uri(&found.location)).collect();
        uris.sort();
        uris
    }

    fn uri(&self, key: &object_store::path::Path) -> String {
        format!("{}/{key}", self.bucket_uri)
    }

    fn key(&self, uri: &str) -> object_store::path::Path {
        let key = uri
            .strip_prefix(&self.bucket_uri)
            .and_then(|rest| rest.strip_prefix('/'));
        object_store::path::Path::parse(key.unwrap()).unwrap()
    }
}

impl Place for ObjectPlace {
    fn open(&self) -> Destination {
        let prefix = ObjectPrefix::parse(&format!("{}/{}/", self.bucket_uri, self.prefix)).unwrap();
        let stores = ObjectStores::new(self.settings.clone());
        let storage = stores.output(&prefix).unwrap();
        Destination::in_storage(Box::new(storage))
    }

    fn outputs(&self) -> Vec<String> {
        self.list(&format!("{}/{QUEUE}", self.prefix))
    }

    fn everything(&self) -> Vec<String> {
        self.list(&self.prefix)
    }

    fn read(&self, uri: &str) -> Option<Vec<u8>> {
        let key = self.key(uri);
        let read = async { self.bucket.get(&key).await?.bytes().await };
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
        self.uri(&key)
    }

    fn remove(&self, uri: &str) {
        self.runtime.block_on(self.bucket.delete(&self.key(uri))).unwrap();
    }

    fn hides_outputs_without_receipt(&self) -> bool {
        true
    }

    fn knows_aborted_uploads(&self) -> bool {
        self.knows_aborted_uploads
    }
}
