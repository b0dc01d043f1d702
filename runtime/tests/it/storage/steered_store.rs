//! An object store in memory that a test steers. The test chooses one call of a process, and this call fails before or
//! after it takes effect, or waits until the test wakes the process. If the process is to die, all later calls fail,
//! too. After each call that takes effect, the outputs are listed and checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use ingest_host::storage::object::PartStore;
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId,
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
};

/// The folder of all objects that are not outputs.
const PRIVATE: &str = "_ingest";

/// What happens at the chosen call of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The call fails without an effect.
    FailsBefore,
    /// The call takes effect, but its answer is lost.
    FailsAfter,
    /// The process dies before the call: this call and all later ones fail.
    DiesBefore,
    /// The process dies after the call has taken effect: the call's answer is lost, and all later calls fail.
    DiesAfter,
    /// The process sleeps before the call, until the test wakes it.
    SleepsBefore,
    /// The process sleeps after the call has taken effect, until the test wakes it.
    SleepsAfter,
    /// The call has no effect, and no answer ever comes.
    HangsBefore,
    /// The call takes effect, but no answer ever comes.
    HangsAfter,
}

impl Fault {
    pub(super) const HANGS: [Self; 2] = [Self::HangsBefore, Self::HangsAfter];

    /// All faults except [`Fault::HANGS`].
    pub(super) const ALL: [Self; 6] = [
        Self::FailsBefore,
        Self::FailsAfter,
        Self::DiesBefore,
        Self::DiesAfter,
        Self::SleepsBefore,
        Self::SleepsAfter,
    ];

    pub(super) fn sleeps(self) -> bool {
        matches!(self, Self::SleepsBefore | Self::SleepsAfter)
    }
}

/// The objects of one test. All simulated processes of the test use the same objects.
#[derive(Debug, Default)]
pub(super) struct SharedObjects {
    memory: InMemory,
    /// True if the objects are rejects, so that there are no outputs among them.
    has_rejects_only: bool,
    /// The blocks of each blob, by their ids, for [`SteeredBlocks`].
    blocks: Mutex<BTreeMap<Path, BTreeMap<String, Bytes>>>,
    violations: Mutex<Vec<String>>,
}

/// The connection of one process to the shared objects.
#[derive(Debug)]
pub(super) struct SteeredStore {
    objects: Arc<SharedObjects>,
    steering: Arc<Steering>,
}

/// A connection whose uploads are like those of Azure: all uploads to a key share its blocks, an object is made of the
/// blocks that a list names, and nothing aborts an upload.
#[derive(Debug)]
pub(super) struct SteeredBlocks(Arc<SteeredStore>);

/// A connection at which each try to complete an upload is refused, because another call for the object never ends.
#[derive(Debug)]
pub(super) struct BusyStore(Arc<SteeredStore>);

/// A connection at which each try to complete an upload succeeds, although the upload does not exist any more.
#[derive(Debug)]
pub(super) struct ForgetfulStore(Arc<SteeredStore>);

/// Counts the calls of one process, and says which fault hits which call.
#[derive(Debug)]
pub(super) struct Steering {
    /// The fault, and the number of the call that it hits. The first call has the number 0.
    fault: Option<(usize, Fault)>,
    state: Mutex<CallState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct CallState {
    calls: usize,
    is_dead: bool,
    is_asleep: bool,
    is_woken: bool,
}

impl Steering {
    pub(super) fn new(fault: Option<(usize, Fault)>) -> Arc<Self> {
        Arc::new(Self {
            fault,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Returns the number of calls so far.
    pub(super) fn calls(&self) -> usize {
        self.state.lock().unwrap().calls
    }

    /// Waits until the process sleeps, or until `is_over` returns true. Returns whether the process sleeps.
    pub(super) fn wait_for_sleep(&self, is_over: impl Fn() -> bool) -> bool {
        let mut state = self.state.lock().unwrap();
        while !state.is_asleep {
            if is_over() {
                return false;
            }
            let pause = std::time::Duration::from_millis(1);
            state = self.changed.wait_timeout(state, pause).unwrap().0;
        }
        true
    }

    /// Wakes the process. If the process does not sleep yet, it will not sleep at all.
    pub(super) fn wake(&self) {
        self.state.lock().unwrap().is_woken = true;
        self.changed.notify_all();
    }

    /// Counts a call. Returns the fault that hits the call, if there is one.
    fn count(&self) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        if state.is_dead {
            return Some(Fault::DiesBefore);
        }
        let number = state.calls;
        state.calls += 1;
        self.fault.filter(|(at, _)| *at == number).map(|(_, fault)| fault)
    }

    fn die(&self) {
        self.state.lock().unwrap().is_dead = true;
    }

    fn sleep(&self) {
        let mut state = self.state.lock().unwrap();
        state.is_asleep = true;
        self.changed.notify_all();
        while !state.is_woken {
            state = self.changed.wait(state).unwrap();
        }
    }
}

impl SharedObjects {
    /// Returns the objects of a store that has rejects only.
    pub(super) fn of_rejects() -> Self {
        Self {
            has_rejects_only: true,
            ..Self::default()
        }
    }

    pub(super) fn connect(self: &Arc<Self>, steering: &Arc<Steering>) -> Arc<SteeredStore> {
        Arc::new(SteeredStore {
            objects: Arc::clone(self),
            steering: Arc::clone(steering),
        })
    }

    pub(super) fn connect_to_blocks(self: &Arc<Self>, steering: &Arc<Steering>) -> Arc<SteeredBlocks> {
        Arc::new(SteeredBlocks(self.connect(steering)))
    }

    pub(super) fn connect_to_busy_store(self: &Arc<Self>) -> Arc<BusyStore> {
        Arc::new(BusyStore(self.connect(&Steering::new(None))))
    }

    pub(super) fn connect_to_forgetful_store(self: &Arc<Self>) -> Arc<ForgetfulStore> {
        Arc::new(ForgetfulStore(self.connect(&Steering::new(None))))
    }

    /// Aborts an upload, as a rule of the bucket could do. Returns whether there was such an upload.
    pub(super) async fn abort(&self, key: &str, upload: &str) -> bool {
        let (key, upload) = (Path::from(key), upload.to_owned());
        self.memory.abort_multipart(&key, &upload).await.is_ok()
    }

    /// Removes the blocks of all uploads, as Azure does after a week.
    pub(super) fn remove_blocks(&self) {
        self.blocks.lock().unwrap().clear();
    }

    /// Returns the keys of all objects.
    pub(super) async fn keys(&self) -> Vec<String> {
        let listed = self.memory.list(None).try_collect::<Vec<_>>().await.unwrap();
        listed
            .into_iter()
            .map(|object| object.location.to_string())
            .collect()
    }

    pub(super) async fn read(&self, key: &str) -> Option<Bytes> {
        let found = self.memory.get(&Path::from(key)).await.ok()?;
        Some(found.bytes().await.unwrap())
    }

    /// Writes an object, as another program could do.
    pub(super) async fn put(&self, key: &str, bytes: &'static str) {
        let key = Path::from(key);
        self.memory.put(&key, PutPayload::from(bytes)).await.unwrap();
    }

    /// Removes an object, as a person could do.
    pub(super) async fn remove(&self, key: &str) {
        self.memory.delete(&Path::from(key)).await.unwrap();
    }

    /// Returns the violations that were found when the outputs were listed after each call.
    pub(super) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }

    /// Lists the outputs, as a reader would do. Records a violation for each output that no decision to commit names.
    async fn look(&self) {
        if self.has_rejects_only {
            return;
        }
        let keys = self.keys().await;
        let (private, outputs): (Vec<_>, Vec<_>) = keys.iter().partition(|key| key.contains(PRIVATE));
        let mut named = BTreeSet::new();
        for key in private.into_iter().filter(|key| key.contains("/decisions/")) {
            let Some(bytes) = self.read(key).await else {
                continue;
            };
            let decision: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            if let Some(nonce) = decision["output"]["nonce"].as_str() {
                named.insert(nonce.to_owned());
            }
        }
        for key in outputs {
            let options = GetOptions {
                head: true,
                ..GetOptions::default()
            };
            let Ok(found) = self.memory.get_opts(&Path::from(&**key), options).await else {
                continue;
            };
            let nonce = found.attributes.get(&Attribute::Metadata("ingest-upload".into()));
            if !nonce.is_some_and(|nonce| named.contains(nonce.as_ref())) {
                let what = format!("{key} is visible, and no decision names it");
                self.violations.lock().unwrap().push(what);
            }
        }
    }
}

impl SteeredStore {
    /// Makes a call. If the fault hits this call, lets the fault happen.
    async fn call<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let fault = self.steering.count();
        let lost = || {
            Err(Error::Generic {
                store: "steered",
                source: "the connection was lost".into(),
            })
        };
        match fault {
            Some(Fault::FailsBefore) => return lost(),
            Some(Fault::DiesBefore) => {
                self.steering.die();
                return lost();
            }
            Some(Fault::SleepsBefore) => self.steering.sleep(),
            Some(Fault::HangsBefore) => std::future::pending().await,
            _ => {}
        }
        let result = call.await;
        self.objects.look().await;
        match fault {
            Some(Fault::FailsAfter) => lost(),
            Some(Fault::DiesAfter) => {
                self.steering.die();
                lost()
            }
            Some(Fault::SleepsAfter) => {
                self.steering.sleep();
                result
            }
            Some(Fault::HangsAfter) => std::future::pending().await,
            _ => result,
        }
    }
}

impl fmt::Display for SteeredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("steered")
    }
}

#[async_trait]
impl ObjectStore for SteeredStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.call(self.objects.memory.put_opts(location, payload, options))
            .await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("parts are uploaded by their numbers")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.call(self.objects.memory.get_opts(location, options)).await
    }

    async fn get_ranges(&self, _: &Path, _: &[Range<u64>]) -> Result<Vec<Bytes>> {
        unreachable!("no ranges are read")
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (objects, steering) = (Arc::clone(&self.objects), Arc::clone(&self.steering));
        locations
            .then(move |location| {
                let store = objects.connect(&steering);
                async move {
                    let location = location?;
                    store.call(store.objects.memory.delete(&location)).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = self.objects.connect(&self.steering);
        let prefix = prefix.cloned();
        let listing = async move {
            let listing = store.objects.memory.list(prefix.as_ref()).try_collect::<Vec<_>>();
            store.call(listing).await
        };
        futures_util::stream::once(listing)
            .map_ok(|found| futures_util::stream::iter(found.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.call(self.objects.memory.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("no object is copied")
    }
}

#[async_trait]
impl MultipartStore for SteeredStore {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.create_multipart_opts(path, PutMultipartOptions::default())
            .await
    }

    async fn create_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<MultipartId> {
        self.call(self.objects.memory.create_multipart_opts(path, options))
            .await
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        index: usize,
        payload: PutPayload,
    ) -> Result<PartId> {
        let put = self.objects.memory.put_part(path, id, index, payload);
        self.call(async { put.await.map_err(|error| unknown_upload(error, path)) })
            .await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let complete = self.objects.memory.complete_multipart(path, id, parts);
        self.call(async { complete.await.map_err(|error| unknown_upload(error, path)) })
            .await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        let abort = self.objects.memory.abort_multipart(path, id);
        self.call(async { abort.await.map_err(|error| unknown_upload(error, path)) })
            .await
    }
}

#[async_trait]
impl PartStore for SteeredBlocks {
    fn objects(&self) -> &dyn ObjectStore {
        &*self.0
    }

    async fn begin_upload(&self, _: &Path, nonce: &str) -> Result<String> {
        Ok(nonce.to_owned())
    }

    async fn upload_part(&self, key: &Path, _: &str, _: usize, bytes: PutPayload) -> Result<String> {
        let put = async {
            let id = uuid::Uuid::new_v4().simple().to_string();
            let mut blocks = self.0.objects.blocks.lock().unwrap();
            blocks
                .entry(key.clone())
                .or_default()
                .insert(id.clone(), bytes.into());
            Ok(id)
        };
        self.0.call(put).await
    }

    async fn complete_upload(&self, key: &Path, _: &str, nonce: &str, parts: &[String]) -> Result<()> {
        let complete = async {
            let path = key.to_string();
            let blocks = self
                .0
                .objects
                .blocks
                .lock()
                .unwrap()
                .get(key)
                .cloned()
                .unwrap_or_default();
            let found: Option<Vec<_>> = parts.iter().map(|part| blocks.get(part).cloned()).collect();
            if self.0.objects.memory.head(key).await.is_ok() {
                let source = "BlobAlreadyExists".into();
                return Err(Error::AlreadyExists { path, source });
            }
            let Some(found) = found else {
                let source = "InvalidBlockList".into();
                return Err(Error::NotFound { path, source });
            };
            let mut attributes = Attributes::new();
            attributes.insert(
                Attribute::Metadata(self.nonce_entry().into()),
                nonce.to_owned().into(),
            );
            let options = PutOptions {
                mode: PutMode::Create,
                attributes,
                ..PutOptions::default()
            };
            let memory = &self.0.objects.memory;
            memory
                .put_opts(key, PutPayload::from_iter(found), options)
                .await?;
            self.0.objects.blocks.lock().unwrap().remove(key);
            Ok(())
        };
        self.0.call(complete).await
    }

    fn can_abort_uploads(&self) -> bool {
        false
    }

    async fn abort_upload(&self, _: &Path, _: &str) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl PartStore for BusyStore {
    fn objects(&self) -> &dyn ObjectStore {
        &*self.0
    }

    async fn begin_upload(&self, key: &Path, nonce: &str) -> Result<String> {
        self.0.begin_upload(key, nonce).await
    }

    async fn upload_part(&self, key: &Path, upload: &str, index: usize, bytes: PutPayload) -> Result<String> {
        self.0.upload_part(key, upload, index, bytes).await
    }

    async fn complete_upload(&self, key: &Path, _: &str, _: &str, _: &[String]) -> Result<()> {
        Err(Error::AlreadyExists {
            path: key.to_string(),
            source: "ConditionalRequestConflict".into(),
        })
    }

    async fn abort_upload(&self, key: &Path, upload: &str) -> Result<()> {
        self.0.abort_upload(key, upload).await
    }
}

#[async_trait]
impl PartStore for ForgetfulStore {
    fn objects(&self) -> &dyn ObjectStore {
        &*self.0
    }

    async fn begin_upload(&self, key: &Path, nonce: &str) -> Result<String> {
        self.0.begin_upload(key, nonce).await
    }

    async fn upload_part(&self, key: &Path, upload: &str, index: usize, bytes: PutPayload) -> Result<String> {
        self.0.upload_part(key, upload, index, bytes).await
    }

    async fn complete_upload(&self, key: &Path, upload: &str, nonce: &str, parts: &[String]) -> Result<()> {
        match self.0.complete_upload(key, upload, nonce, parts).await {
            Err(Error::NotFound { .. }) => Ok(()),
            completed => completed,
        }
    }

    async fn abort_upload(&self, key: &Path, upload: &str) -> Result<()> {
        self.0.abort_upload(key, upload).await
    }
}

/// Returns the error that S3 returns for an upload that does not exist. The store in memory returns a generic error for
/// this case.
fn unknown_upload(error: Error, path: &Path) -> Error {
    match error {
        Error::Generic { source, .. } => Error::NotFound {
            path: path.to_string(),
            source,
        },
        error => error,
    }
}
