//! An S3 server for tests. It checks signatures and keeps objects in a folder (crates `s3s` and `s3s-fs`). This module
//! adds `If-Match`, versions, and faults.

pub(crate) mod script;

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use ingest_host::storage::object::{ObjectStores, S3Settings, StoreSettings};
use s3s::auth::SimpleAuth;
use s3s::dto::*;
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::sync::oneshot;

use self::script::{Call, Change, PlannedFault, Script};
use super::server_thread::serve_on_thread;

pub(crate) const ACCESS_KEY: &str = "AKIATEST";
pub(crate) const SECRET_KEY: &str = "s3cr3t/of+the=test";

/// The maximum size of a written object whose bytes are in the journal.
const DOCUMENT_BYTES_MAX: usize = 64 << 10;

/// A bucket whose objects nobody may list.
pub(crate) const FORBIDDEN: &str = "forbidden";

/// A running server. Its objects are files: `FOLDER/BUCKET/KEY`.
pub(crate) struct S3Server {
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
    state: Arc<State>,
    /// The server ends when this is dropped.
    _running: oneshot::Sender<()>,
}

#[derive(Default)]
struct State {
    /// The number of requests to answer with 503 SlowDown.
    busy: AtomicUsize,
    /// The numbers of bytes after which the next answers break off.
    cuts: Mutex<Vec<usize>>,
    /// The maximum number of objects in a page of a list; 0 for the server's own number.
    page: AtomicUsize,
    /// The number of pages of lists that are given before each page is answered with an error; none for any number.
    pages_left: Mutex<Option<usize>>,
    /// Each request for a page of a list: its path with the query.
    lists: Mutex<Vec<String>>,
    /// Each header for the encryption of a new object, with its key.
    encryption: Mutex<Vec<String>>,
    /// Held by the one request that writes an object.
    writes: tokio::sync::Mutex<()>,
    /// Each request for an object: its path with the query, `Range` and `If-Match`.
    requests: Mutex<Vec<String>>,
    /// Each part that was uploaded: the upload's id and the part's number.
    parts: Mutex<Vec<(String, i32)>>,
    /// Chooses the requests that a disturbance hits. `None` while there are no disturbances.
    random: Mutex<Option<fastrand::Rng>>,
    /// The number of times that each disturbance has occurred.
    disturbances: [AtomicU64; DISTURBANCES.len()],
    script: Script,
}

/// A fault that hits a random request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    /// The request has no effect, and its answer is 503 SlowDown.
    SlowDown,
    /// The request has no effect, and its answer says that the credentials have expired.
    Expired,
    /// The request takes effect, and its answer is 500.
    AnswerLost,
    /// The body of the answer breaks off.
    BodyCut,
    /// The answer is the whole object with status 200, although the request asks for a range.
    RangeIgnored,
}

/// All disturbances, with their names in the results of the fault suite.
const DISTURBANCES: [(Disturbance, &str); 5] = [
    (Disturbance::SlowDown, "answers 503 SlowDown"),
    (Disturbance::Expired, "answers that the credentials have expired"),
    (
        Disturbance::AnswerLost,
        "answers 500 after the request took effect",
    ),
    (Disturbance::BodyCut, "bodies cut"),
    (Disturbance::RangeIgnored, "ranges answered with the whole object"),
];

/// The share of requests that a disturbance hits, in percent.
const DISTURBED_PERCENT: u8 = 6;

impl S3Server {
    pub(crate) fn start() -> Self {
        Self::with_key(ACCESS_KEY)
    }

    /// Starts a server that knows this access key only.
    pub(crate) fn with_key(access_key: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::<State>::default();
        let files = Arc::new(FileSystem::new(folder.path()).unwrap());
        let mut service = S3ServiceBuilder::new(Faulty {
            files,
            root: folder.path().to_owned(),
            state: Arc::clone(&state),
        });
        service.set_auth(SimpleAuth::from_single(access_key, SECRET_KEY));
        let service = service.build();
        let (address, running) = serve_on_thread(async move |listener| {
            loop {
                let connection = TokioIo::new(listener.accept().await.unwrap().0);
                let service = service.clone();
                tokio::spawn(async move {
                    // A client that has read enough closes the connection.
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(connection, service)
                        .await;
                });
            }
        });
        Self {
            address,
            folder,
            state,
            _running: running,
        }
    }

    /// Stores an object. A reader sees the whole object or none.
    pub(crate) fn put(&self, bucket: &str, key: &str, bytes: impl AsRef<[u8]>) {
        let path = self.folder.path().join(bucket).join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut object = tempfile::NamedTempFile::new_in(self.folder.path()).unwrap();
        object.write_all(bytes.as_ref()).unwrap();
        object.persist(path).unwrap();
    }

    /// Creates a bucket.
    pub(crate) fn create_bucket(&self, bucket: &str) {
        fs::create_dir_all(self.folder.path().join(bucket)).unwrap();
    }

    /// Returns the keys of all objects of a bucket, in order.
    pub(crate) fn keys(&self, bucket: &str) -> Vec<String> {
        fn walk(folder: &Path, root: &Path, keys: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => walk(&path, root, keys),
                    false => keys.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()),
                }
            }
        }
        let (root, mut keys) = (self.folder.path().join(bucket), Vec::new());
        walk(&root, &root, &mut keys);
        keys.sort();
        keys
    }

    /// Returns the bytes of an object.
    pub(crate) fn read(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        fs::read(self.folder.path().join(bucket).join(key)).ok()
    }

    /// Stores an earlier version of an object.
    pub(crate) fn put_version(&self, bucket: &str, key: &str, version: &str, bytes: impl AsRef<[u8]>) {
        self.put(bucket, &version_key(key, version), bytes);
    }

    /// Returns the folder with the objects.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn settings(&self) -> S3Settings {
        S3Settings {
            endpoint: Some(self.endpoint()),
            access_key_id: Some(ACCESS_KEY.to_owned()),
            secret_access_key: Some(SECRET_KEY.to_owned().into()),
            ..S3Settings::default()
        }
    }

    pub(crate) fn stores(&self) -> ObjectStores {
        stores(self.settings())
    }

    /// Answers the next requests with 503 SlowDown.
    pub(crate) fn be_busy(&self, requests: usize) {
        self.state.busy.store(requests, Ordering::SeqCst);
    }

    /// Breaks off the next answers after these numbers of bytes.
    pub(crate) fn cut_after(&self, bytes: &[usize]) {
        *self.state.cuts.lock().unwrap() = bytes.iter().rev().copied().collect();
    }

    /// Disturbs random requests from now on, or none if `random` is `None`.
    pub(crate) fn disturb(&self, random: Option<fastrand::Rng>) {
        *self.state.random.lock().unwrap() = random;
    }

    /// Returns a text that says how often each disturbance has occurred.
    pub(crate) fn disturbances(&self) -> String {
        let count = |at: usize| self.state.disturbances[at].load(Ordering::Relaxed);
        let counts = DISTURBANCES.iter().enumerate();
        let texts = counts.map(|(at, (_, name))| format!("{} {name}", count(at)));
        texts.collect::<Vec<_>>().join(", ")
    }

    /// Lets these faults hit the next requests of one kind for objects whose keys begin with `prefix`.
    pub(crate) fn plan(&self, call: Call, prefix: &str, faults: &[PlannedFault]) {
        self.state.script.plan(call, prefix, faults);
    }

    /// Returns the number of planned faults that have hit no request yet.
    pub(crate) fn planned_faults_left(&self) -> usize {
        self.state.script.left()
    }

    /// Lets the requests with the fault [`PlannedFault::LateUntilReleased`] take effect.
    pub(crate) fn release_late_requests(&self) {
        self.state.script.release();
    }

    /// Returns the number of requests for a change that have not taken effect yet.
    pub(crate) fn pending_changes(&self) -> usize {
        self.state.script.pending()
    }

    /// Returns the requests that took effect, in this order.
    pub(crate) fn journal(&self) -> Vec<Change> {
        self.state.script.journal()
    }

    /// Removes an object, as another program does.
    pub(crate) fn remove(&self, bucket: &str, key: &str) {
        fs::remove_file(self.folder.path().join(bucket).join(key)).unwrap();
        let key = key.to_owned();
        self.state.script.note(Change::Removed { key });
    }

    /// Returns each part that was uploaded: the upload's id and the part's number. A part that was uploaded twice is
    /// listed twice.
    pub(crate) fn parts(&self) -> Vec<(String, i32)> {
        self.state.parts.lock().unwrap().clone()
    }

    /// Returns the keys of the objects directly below a prefix. The server may write objects meanwhile.
    pub(crate) fn keys_below(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join(bucket).join(prefix));
        let names = entries.into_iter().flatten().filter_map(|entry| {
            let entry = entry.ok().filter(|entry| entry.path().is_file())?;
            Some(format!("{prefix}{}", entry.file_name().to_str()?))
        });
        names.collect()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Gives at most `objects` in a page of a list. After `pages` pages, all others are answered with 500.
    pub(crate) fn list_in_pages(&self, objects: usize, pages: Option<usize>) {
        self.state.page.store(objects, Ordering::SeqCst);
        *self.state.pages_left.lock().unwrap() = pages;
    }

    pub(crate) fn lists(&self) -> Vec<String> {
        self.state.lists.lock().unwrap().clone()
    }

    /// Returns the keys of KMS that new objects and uploads have asked for.
    pub(crate) fn encryption(&self) -> Vec<String> {
        self.state.encryption.lock().unwrap().clone()
    }
}

/// Returns the variables with which the program reaches a server at this endpoint, which knows the key [`ACCESS_KEY`].
pub(crate) fn environment(endpoint: &str) -> [(&'static str, String); 3] {
    [
        ("AWS_ENDPOINT_URL_S3", endpoint.to_owned()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
    ]
}

pub(crate) fn stores(s3: S3Settings) -> ObjectStores {
    ObjectStores::new(StoreSettings {
        s3,
        ..StoreSettings::default()
    })
}

fn version_key(key: &str, version: &str) -> String {
    format!("{key}.versions/{version}")
}

struct Faulty {
    files: Arc<FileSystem>,
    root: std::path::PathBuf,
    state: Arc<State>,
}

impl Faulty {
    /// Returns the entity tag of an object, as asked for with the credentials of a request.
    async fn etag<T>(&self, request: &S3Request<T>, bucket: &str, key: &str) -> S3Result<Option<ETag>> {
        let input = HeadObjectInput {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            ..HeadObjectInput::default()
        };
        let head = S3Request {
            input,
            method: request.method.clone(),
            uri: request.uri.clone(),
            headers: request.headers.clone(),
            extensions: request.extensions.clone(),
            credentials: request.credentials.clone(),
            region: request.region.clone(),
            service: request.service.clone(),
            trailing_headers: None,
        };
        Ok(self.files.head_object(head).await?.output.e_tag)
    }

    fn note_encryption(&self, headers: &hyper::HeaderMap) {
        let key = headers.get("x-amz-server-side-encryption-aws-kms-key-id");
        let kind = headers.get("x-amz-server-side-encryption");
        if let (Some(key), Some(kind)) = (key, kind) {
            let text = format!("{} {}", kind.to_str().unwrap(), key.to_str().unwrap());
            self.state.encryption.lock().unwrap().push(text);
        }
    }

    fn is_busy(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.state
            .busy
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
    }

    /// Returns the disturbance that hits the next request, if there is one. `own` are the disturbances that only this
    /// kind of request can have.
    fn disturbance(&self, own: &[Disturbance]) -> Option<Disturbance> {
        let mut random = self.state.random.lock().unwrap();
        let random = random.as_mut()?;
        if random.u8(..100) >= DISTURBED_PERCENT {
            return None;
        }
        let always = [
            Disturbance::SlowDown,
            Disturbance::SlowDown,
            Disturbance::SlowDown,
            Disturbance::Expired,
        ];
        let all = [&always[..], own, own].concat();
        Some(all[random.usize(..all.len())])
    }

    fn count(&self, disturbance: Disturbance) {
        let at = DISTURBANCES.iter().position(|(one, _)| *one == disturbance);
        self.state.disturbances[at.unwrap()].fetch_add(1, Ordering::Relaxed);
    }

    /// Refuses a request if a disturbance says so.
    fn refuse(&self, disturbance: Option<Disturbance>) -> S3Result<()> {
        let error = match disturbance {
            Some(Disturbance::SlowDown) => s3_error!(SlowDown),
            Some(Disturbance::Expired) => s3_error!(ExpiredToken),
            _ => return Ok(()),
        };
        disturbance.into_iter().for_each(|one| self.count(one));
        Err(error)
    }

    /// Makes a request that changes something, or that reads no object. A disturbance may hit the request.
    async fn disturbed<T>(&self, request: impl Future<Output = S3Result<T>>) -> S3Result<T> {
        let disturbance = self.disturbance(&[Disturbance::AnswerLost]);
        self.refuse(disturbance)?;
        let answer = request.await.map_err(unknown_upload)?;
        if disturbance == Some(Disturbance::AnswerLost) {
            self.count(Disturbance::AnswerLost);
            return Err(s3_error!(InternalError));
        }
        Ok(answer)
    }
}

impl Faulty {
    /// Makes a request that changes something at this key. A planned fault or a disturbance may hit the request.
    /// `change` returns the entry for the journal.
    async fn changing<T: Send + 'static>(
        &self,
        call: Call,
        key: &str,
        request: impl Future<Output = S3Result<T>> + Send + 'static,
        change: impl FnOnce() -> Change + Send + 'static,
    ) -> S3Result<T> {
        let fault = self.state.script.next_fault(call, key);
        match fault {
            Some(PlannedFault::Conflict) => return Err(s3_error!(ConditionalRequestConflict)),
            Some(PlannedFault::Refused) => return Err(s3_error!(ExpiredToken)),
            _ => {}
        }
        let answer = self.disturbed(self.alone(fault, request, change)).await?;
        match fault {
            Some(PlannedFault::AnswerLost) => Err(s3_error!(InternalError)),
            Some(PlannedFault::Silent) => std::future::pending().await,
            _ => Ok(answer),
        }
    }

    /// Makes a request that changes something, while no other such request is made. The request takes effect even if
    /// its client closes the connection.
    async fn alone<T: Send + 'static>(
        &self,
        fault: Option<PlannedFault>,
        request: impl Future<Output = S3Result<T>> + Send + 'static,
        change: impl FnOnce() -> Change + Send + 'static,
    ) -> S3Result<T> {
        let state = Arc::clone(&self.state);
        let made = tokio::spawn(async move {
            let _pending = state.script.wait_if_late(fault).await;
            // The server checks whether the object exists and then writes it. S3 does both in one step.
            let _alone = state.writes.lock().await;
            let answer = request.await?;
            state.script.note(change());
            Ok(answer)
        });
        made.await.unwrap()
    }
}

/// Returns the error that S3 returns for an upload that does not exist. The files return the error of a missing right.
/// They cannot miss a right otherwise, because [`SimpleAuth`] has checked the signature.
fn unknown_upload(error: S3Error) -> S3Error {
    match error.code() {
        S3ErrorCode::AccessDenied => s3_error!(NoSuchUpload),
        _ => error,
    }
}

/// Passes operations on to the files.
macro_rules! passed_on {
    ($($name:ident($input:ty) -> $output:ty;)+) => {$(
        fn $name<'life, 'future>(
            &'life self,
            request: S3Request<$input>,
        ) -> Pin<Box<dyn Future<Output = S3Result<S3Response<$output>>> + Send + 'future>>
        where
            'life: 'future,
        {
            Box::pin(async move {
                if self.is_busy() {
                    return Err(s3_error!(SlowDown));
                }
                self.disturbed(self.files.$name(request)).await
            })
        }
    )+};
}

#[async_trait]
impl S3 for Faulty {
    passed_on! {
        head_object(HeadObjectInput) -> HeadObjectOutput;
        delete_object(DeleteObjectInput) -> DeleteObjectOutput;
        delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput;
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        if self.is_busy() {
            return Err(s3_error!(SlowDown));
        }
        let (files, key) = (Arc::clone(&self.files), request.input.key.clone());
        let upload = request.input.upload_id.clone();
        let abort = async move { files.abort_multipart_upload(request).await };
        let change = move || Change::Aborted { upload };
        self.changing(Call::Abort, &key, abort, change).await
    }

    async fn list_objects_v2(
        &self,
        mut request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.state.lists.lock().unwrap().push(request.uri.to_string());
        if self.is_busy() {
            return Err(s3_error!(SlowDown));
        }
        if let Some(left) = &mut *self.state.pages_left.lock().unwrap() {
            let less = left.checked_sub(1);
            *left = less.ok_or_else(|| s3_error!(InternalError))?;
        }
        if request.input.bucket == FORBIDDEN {
            return Err(s3_error!(AccessDenied));
        }
        let page = self.state.page.load(Ordering::SeqCst);
        if page > 0 {
            request.input.max_keys = Some(page.try_into().unwrap());
        }
        let head = request.clone();
        let mut answer = self.disturbed(self.files.list_objects_v2(request)).await?;
        for object in answer.output.contents.iter_mut().flatten() {
            let key = object.key.clone().unwrap_or_default();
            object.e_tag = self.etag(&head, &head.input.bucket, &key).await?;
        }
        Ok(answer)
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.note_encryption(&request.headers);
        if self.is_busy() {
            return Err(s3_error!(SlowDown));
        }
        self.disturbed(self.files.create_multipart_upload(request)).await
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.note_encryption(&request.headers);
        let (files, key) = (Arc::clone(&self.files), request.input.key.clone());
        let path = self.root.join(&request.input.bucket).join(&key);
        let written = key.clone();
        let change = move || {
            let mut document = fs::read(path).unwrap_or_default();
            if document.len() > DOCUMENT_BYTES_MAX {
                document.clear();
            }
            let key = written;
            Change::Written { key, document }
        };
        let put = async move { files.put_object(request).await };
        self.changing(Call::Put, &key, put, change).await
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        if self.is_busy() {
            return Err(s3_error!(SlowDown));
        }
        let (upload, number) = (request.input.upload_id.clone(), request.input.part_number);
        let bytes = request.input.content_length.unwrap_or_default() as u64;
        let answer = self.disturbed(self.files.upload_part(request)).await?;
        self.state.parts.lock().unwrap().push((upload.clone(), number));
        self.state.script.note(Change::Part {
            upload,
            number,
            bytes,
        });
        Ok(answer)
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let (files, key) = (Arc::clone(&self.files), request.input.key.clone());
        let upload = request.input.upload_id.clone();
        let completed = key.clone();
        let change = move || {
            let key = completed;
            Change::Completed { key, upload }
        };
        let complete = async move { files.complete_multipart_upload(request).await };
        self.changing(Call::Complete, &key, complete, change).await
    }

    async fn get_object(
        &self,
        mut request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let header = |name| {
            request
                .headers
                .get(name)
                .map_or("", |value| value.to_str().unwrap())
        };
        let line = format!("{} {} {}", request.uri, header("range"), header("if-match"));
        self.state
            .requests
            .lock()
            .unwrap()
            .push(line.trim_end().to_owned());
        if self.is_busy() {
            return Err(s3_error!(SlowDown));
        }
        let disturbance = self.disturbance(&[Disturbance::BodyCut, Disturbance::RangeIgnored]);
        self.refuse(disturbance)?;
        if disturbance == Some(Disturbance::RangeIgnored) && request.input.range.take().is_some() {
            self.count(Disturbance::RangeIgnored);
        }
        if !Path::new(&self.root).join(&request.input.bucket).is_dir() {
            return Err(s3_error!(NoSuchBucket));
        }
        let version = request.input.version_id.take();
        if let Some(version) = &version {
            request.input.key = version_key(&request.input.key, version);
        }
        if let Some(ETagCondition::ETag(wanted)) = &request.input.if_match {
            let (bucket, key) = (&request.input.bucket, &request.input.key);
            if self.etag(&request, bucket, key).await?.as_ref() != Some(wanted) {
                return Err(s3_error!(PreconditionFailed));
            }
        }
        let answer = self.files.get_object(request).await;
        let mut answer = answer.map_err(|error| match version {
            Some(_) => s3_error!(NoSuchVersion),
            None => error,
        })?;
        let mut cut = self.state.cuts.lock().unwrap().pop();
        if disturbance == Some(Disturbance::BodyCut) {
            self.count(Disturbance::BodyCut);
            let length = answer.output.content_length.unwrap_or_default();
            let mut random = self.state.random.lock().unwrap();
            cut = random.as_mut().map(|random| random.usize(..=length as usize));
        }
        if let Some(cut) = cut
            && let Some(body) = answer.output.body.take()
        {
            let chunks: Vec<Bytes> = body.map(Result::unwrap).collect().await;
            let mut bytes = chunks.concat();
            bytes.truncate(cut);
            // The bytes are sent before the server breaks off.
            let broken = async {
                tokio::task::yield_now().await;
                Err(io::Error::other("a fault of the test"))
            };
            let body = stream::iter([Ok(Bytes::from(bytes))]).chain(stream::once(broken));
            answer.output.body = Some(StreamingBlob::wrap(body));
        }
        Ok(answer)
    }
}
