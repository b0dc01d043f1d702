//! An S3 server for tests. It checks signatures and keeps objects in a folder (crates `s3s` and `s3s-fs`). This module adds
//! `If-Match`, versions, and faults.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
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
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub(crate) const ACCESS_KEY: &str = "AKIATEST";
pub(crate) const SECRET_KEY: &str = "s3cr3t/of+the=test";

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
    /// Held by the one request that writes an object.
    writes: tokio::sync::Mutex<()>,
    /// Each request for an object: its path with the query, `Range` and `If-Match`.
    requests: Mutex<Vec<String>>,
}

impl S3Server {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::<State>::default();
        let files = FileSystem::new(folder.path()).unwrap();
        let mut service = S3ServiceBuilder::new(Faulty {
            files,
            root: folder.path().to_owned(),
            state: Arc::clone(&state),
        });
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = service.build();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (running, mut stopped) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    let connection = tokio::select! {
                        _ = &mut stopped => return,
                        connection = listener.accept() => TokioIo::new(connection.unwrap().0),
                    };
                    let service = service.clone();
                    tokio::spawn(async move {
                        // A client that has read enough closes the connection.
                        let _ = auto::Builder::new(TokioExecutor::new())
                            .serve_connection(connection, service)
                            .await;
                    });
                }
            });
        });
        Self {
            address,
            folder,
            state,
            _running: running,
        }
    }

    /// Stores an object.
    pub(crate) fn put(&self, bucket: &str, key: &str, bytes: impl AsRef<[u8]>) {
        let path = self.folder.path().join(bucket).join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
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

    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }
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
    files: FileSystem,
    root: std::path::PathBuf,
    state: Arc<State>,
}

impl Faulty {
    fn is_busy(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.state
            .busy
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
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
                self.files.$name(request).await.map_err(unknown_upload)
            })
        }
    )+};
}

#[async_trait]
impl S3 for Faulty {
    passed_on! {
        head_object(HeadObjectInput) -> HeadObjectOutput;
        list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
        delete_object(DeleteObjectInput) -> DeleteObjectOutput;
        delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput;
        create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
        upload_part(UploadPartInput) -> UploadPartOutput;
        abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        // The server checks whether the object exists and then writes it. S3 does both in one step.
        let _alone = self.state.writes.lock().await;
        self.files.put_object(request).await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let _alone = self.state.writes.lock().await;
        let completed = self.files.complete_multipart_upload(request).await;
        completed.map_err(unknown_upload)
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
        if !Path::new(&self.root).join(&request.input.bucket).is_dir() {
            return Err(s3_error!(NoSuchBucket));
        }
        let version = request.input.version_id.take();
        if let Some(version) = &version {
            request.input.key = version_key(&request.input.key, version);
        }
        if let Some(ETagCondition::ETag(wanted)) = &request.input.if_match {
            let head = HeadObjectInput {
                bucket: request.input.bucket.clone(),
                key: request.input.key.clone(),
                ..HeadObjectInput::default()
            };
            let head = S3Request {
                input: head,
                method: request.method.clone(),
                uri: request.uri.clone(),
                headers: request.headers.clone(),
                extensions: request.extensions.clone(),
                credentials: request.credentials.clone(),
                region: request.region.clone(),
                service: request.service.clone(),
                trailing_headers: None,
            };
            if self.files.head_object(head).await?.output.e_tag.as_ref() != Some(wanted) {
                return Err(s3_error!(PreconditionFailed));
            }
        }
        let answer = self.files.get_object(request).await;
        let mut answer = answer.map_err(|error| match version {
            Some(_) => s3_error!(NoSuchVersion),
            None => error,
        })?;
        let cut = self.state.cuts.lock().unwrap().pop();
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
