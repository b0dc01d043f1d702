//! Calls an object store from blocking threads: keys and bytes go in; bytes and facts about objects come out. Errors
//! name the object and say whether a retry can help.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{
    Attribute, AttributeValue, GetOptions, GetRange, ObjectMeta, ObjectStoreExt, PutMode, PutOptions,
    PutPayload,
};
use percent_encoding::percent_decode_str;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::connect::NoAnswer;
use super::keys::stored;
use super::named::SettingsPlace;
use super::parts::PartStore;
use super::refusal::{CallKind, CallRefusal, cause_of};
use super::upload::{SealedUpload, UploadTarget};
use crate::digest::{Digest, Digesting};
use crate::error::{Class, Code, Error, Result, Stage};
use crate::format::redacted_start;
use crate::location::escaped_key;
use crate::stop::Stop;
use crate::units::HumanDuration;

/// The most tries of a call that the store refuses because of another call that has not ended.
const CONFLICTS_MAX: u32 = 6;

/// The pause after the first of these tries. It grows with each one.
const CONFLICT_PAUSE: Duration = Duration::from_millis(50);

/// The most characters of the library's error that are shown.
const ERROR_CHARS_MAX: usize = 1_000;

/// A connection to an object store.
#[derive(Clone)]
pub(super) struct Client {
    store: Arc<dyn PartStore>,
    runtime: Handle,
    /// The URI of the bucket, such as `s3://lake`.
    bucket: String,
    /// The place of the store's settings, for messages.
    place: SettingsPlace,
    /// The end of the calls; none if they last as long as the library repeats them.
    end: Option<CallsEnd>,
    /// The length in bytes of each part of an upload. Only the last part can be shorter.
    part_bytes: usize,
}

/// The time after a stop within which the calls of an attempt may still succeed.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The end of the calls of a client.
#[derive(Clone)]
struct CallsEnd {
    /// The time at which all calls fail, and the time from the client's creation until then.
    deadline: Option<(Instant, Duration)>,
    stop: Stop,
    /// The time from the stop until all calls fail.
    grace: Duration,
    /// The time at which a call has found the stop first.
    stopped_at: Arc<OnceLock<Instant>>,
}

impl CallsEnd {
    /// Waits for the end. Returns the reason why calls fail from then on.
    async fn reached(&self) -> String {
        let stopped = async {
            self.stop.requested().await;
            let stopped_at = *self.stopped_at.get_or_init(Instant::now);
            tokio::time::sleep_until(stopped_at + self.grace).await;
            self.stop.error().report()
        };
        let Some((deadline, patience)) = self.deadline else {
            return stopped.await;
        };
        tokio::select! {
            why = stopped => why,
            () = tokio::time::sleep_until(deadline) => format!("no answer within {}", HumanDuration(patience)),
        }
    }
}

/// The result of [`Client::create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Created {
    /// The object was created.
    New,
    /// An object of that name existed already. Perhaps the same call created it: if the store's answer is lost, the
    /// library `object_store` repeats the call, and the second try finds the object.
    Exists,
}

/// Facts about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ObjectFacts {
    pub(super) bytes: u64,
    /// The object's entity tag, if the store names one.
    pub(super) etag: Option<String>,
    /// The nonce of the upload that made the object, or `None` if the object has no nonce.
    pub(super) upload: Option<String>,
}

impl Client {
    pub(super) fn new(store: Arc<dyn PartStore>, runtime: Handle, bucket: String, part_bytes: usize) -> Self {
        Self {
            store,
            runtime,
            bucket,
            place: SettingsPlace::Environment,
            end: None,
            part_bytes,
        }
    }

    /// Returns the same client, whose errors name this place of its settings.
    pub(super) fn with_place(self, place: SettingsPlace) -> Self {
        Self { place, ..self }
    }

    /// Returns the same client, whose calls fail after this time, and when the stop is requested. A thread that waits for
    /// a call when the runtime ends would panic, so whoever ends the runtime requests the stop first.
    pub(super) fn bounded(&self, patience: Duration, stop: &Stop) -> Self {
        self.ending(Some((Instant::now() + patience, patience)), stop, Duration::ZERO)
    }

    /// Returns the same client, whose calls fail some seconds after the stop is requested. So a store that does not
    /// answer does not keep an attempt that has to end.
    pub(super) fn until(&self, stop: &Stop) -> Self {
        self.ending(None, stop, STOP_GRACE)
    }

    fn ending(&self, deadline: Option<(Instant, Duration)>, stop: &Stop, grace: Duration) -> Self {
        let end = CallsEnd {
            deadline,
            stop: stop.clone(),
            grace,
            stopped_at: Arc::default(),
        };
        Self {
            end: Some(end),
            ..self.clone()
        }
    }

    /// Waits for a task.
    ///
    /// # Errors
    /// Returns the reason if the calls of this client end before the task does.
    pub(super) fn wait_for<T>(&self, task: impl Future<Output = T>) -> Result<T, String> {
        let Some(end) = &self.end else {
            return Ok(self.runtime.block_on(task));
        };
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                result = task => Ok(result),
                why = end.reached() => Err(why),
            }
        })
    }

    fn block_on<T>(&self, call: impl Future<Output = object_store::Result<T>>) -> object_store::Result<T> {
        self.wait_for(call).unwrap_or_else(|why| {
            Err(object_store::Error::Generic {
                store: "object store",
                source: why.into(),
            })
        })
    }

    /// Returns the URI of the bucket, such as `s3://lake`.
    pub(super) fn bucket(&self) -> &str {
        &self.bucket
    }

    pub(super) fn part_bytes(&self) -> usize {
        self.part_bytes
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Returns the URI of an object or of a prefix.
    pub(super) fn uri(&self, key: &Path) -> String {
        format!("{}/{}", self.bucket, escaped_key(key.as_ref()))
    }

    /// Returns the bytes of an object, or `None` if there is no such object. Fails if the object has more than
    /// `bytes_max` bytes.
    pub(super) fn read(&self, key: &Path, bytes_max: u64) -> Result<Option<Bytes>> {
        let read = self.block_on(async {
            let found = match self.store.objects().get(key).await {
                Ok(found) => found,
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            if found.meta.size > bytes_max {
                return Ok(Some(Err(found.meta.size)));
            }
            found.bytes().await.map(|bytes| Some(Ok(bytes)))
        });
        match read.map_err(|error| self.failed(&error, CallKind::Read, key))? {
            None => Ok(None),
            Some(Ok(bytes)) => Ok(Some(bytes)),
            Some(Err(bytes)) => Err(self.too_long(key, bytes, bytes_max)),
        }
    }

    fn too_long(&self, key: &Path, bytes: u64, bytes_max: u64) -> Error {
        let what = format!(
            "{}: has {bytes} bytes, more than the {bytes_max} that it can have",
            self.uri(key)
        );
        Error::permanent(Stage::Commit, Code::OutputDamaged, what)
    }

    /// Returns the beginning of an object: the bytes up to the first chunk after which `is_enough` returns true, or all
    /// bytes. Returns `None` if there is no such object. Fails if more than `bytes_max` bytes would be needed.
    pub(super) fn read_beginning(
        &self,
        key: &Path,
        bytes_max: u64,
        is_enough: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>> {
        let read = self.block_on(async {
            let found = match self.store.objects().get(key).await {
                Ok(found) => found,
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            let (mut chunks, mut beginning) = (found.into_stream(), Vec::new());
            while let Some(chunk) = chunks.try_next().await? {
                beginning.extend_from_slice(&chunk);
                if is_enough(&beginning) || beginning.len() as u64 > bytes_max {
                    break;
                }
            }
            Ok(Some(beginning))
        });
        let beginning = read.map_err(|error| self.failed(&error, CallKind::Read, key))?;
        match beginning {
            Some(beginning) if beginning.len() as u64 > bytes_max && !is_enough(&beginning) => {
                Err(self.too_long(key, beginning.len() as u64, bytes_max))
            }
            beginning => Ok(beginning),
        }
    }

    /// Returns a range of an object's bytes. Fails if the object's entity tag is not `etag`, if one is given.
    pub(super) fn read_range(&self, key: &Path, range: Range<u64>, etag: Option<&str>) -> Result<Bytes> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            if_match: etag.map(str::to_owned),
            ..GetOptions::default()
        };
        let read = self.block_on(async { self.store.objects().get_opts(key, options).await?.bytes().await });
        read.map_err(|error| self.failed(&error, CallKind::Read, key))
    }

    /// Returns the key in a URI that [`Client::uri`] has made, or `None` if the URI is in another bucket.
    pub(super) fn key_of(&self, uri: &str) -> Option<Path> {
        let key = uri.strip_prefix(&*self.bucket)?.strip_prefix('/')?;
        Some(stored(&percent_decode_str(key).decode_utf8().ok()?))
    }

    /// Returns the digest of an object's bytes, or `None` if there is no such object.
    pub(super) fn digest(&self, key: &Path) -> Result<Option<Digest>> {
        let digest = self.block_on(async {
            let found = match self.store.objects().get(key).await {
                Ok(found) => found,
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            let (mut bytes, mut digesting) = (found.into_stream(), Digesting::default());
            while let Some(bytes) = bytes.try_next().await? {
                digesting.update(&bytes);
            }
            Ok(Some(digesting.finish()))
        });
        digest.map_err(|error| self.failed(&error, CallKind::Compare, key))
    }

    /// Returns whether the object at `uri` has the expected digest. Returns `None` if there is no such object, or if it
    /// is in another bucket.
    pub(super) fn has_bytes(&self, uri: &str, expected: &Digest) -> Result<Option<bool>> {
        let Some(key) = self.key_of(uri) else {
            return Ok(None);
        };
        match self.facts(&key)? {
            None => Ok(None),
            Some(facts) if facts.bytes != expected.bytes => Ok(Some(false)),
            Some(_) => Ok(self.digest(&key)?.map(|digest| digest == *expected)),
        }
    }

    /// Creates an object if there is no object of that name.
    pub(super) fn create(&self, key: &Path, bytes: &Bytes) -> Result<Created> {
        let mut tries = 0;
        loop {
            let options = PutOptions::from(PutMode::Create);
            let payload = PutPayload::from(bytes.clone());
            let put = self.store.objects().put_opts(key, payload, options);
            let refusal = match self.block_on(put) {
                Ok(_) => return Ok(Created::New),
                Err(
                    error @ (object_store::Error::AlreadyExists { .. }
                    | object_store::Error::Precondition { .. }),
                ) => error,
                Err(error) => return Err(self.failed(&error, CallKind::Create, key)),
            };
            if self.facts(key)?.is_some() {
                return Ok(Created::Exists);
            }
            // The store also refuses a create beside another one that has not ended, and that one may fail.
            tries += 1;
            if tries == CONFLICTS_MAX {
                return Err(self.failed(&refusal, CallKind::Create, key));
            }
            std::thread::sleep(CONFLICT_PAUSE * tries);
        }
    }

    /// Writes an object, and replaces any object of that name.
    pub(super) fn put(&self, key: &Path, bytes: impl Into<PutPayload>) -> Result<()> {
        let put = self.block_on(self.store.objects().put(key, bytes.into()));
        put.map(drop)
            .map_err(|error| self.failed(&error, CallKind::Write, key))
    }

    /// Removes an object, if it exists.
    pub(super) fn delete(&self, key: &Path) -> Result<()> {
        match self.block_on(self.store.delete_object(key)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(&error, CallKind::Remove, key)),
        }
    }

    /// Returns the objects below a prefix, in the order of their names.
    pub(super) fn list(&self, prefix: &Path) -> Result<Vec<ObjectMeta>> {
        let listed = self.block_on(self.store.objects().list(Some(prefix)).try_collect::<Vec<_>>());
        let mut listed = listed.map_err(|error| self.failed(&error, CallKind::List, prefix))?;
        listed.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok(listed)
    }

    /// Checks that the objects below a prefix can be listed. Reads the first page only.
    pub(super) fn check_list(&self, prefix: &Path) -> Result<()> {
        let mut listed = self.store.objects().list(Some(prefix));
        let first = self.block_on(listed.try_next());
        first
            .map(drop)
            .map_err(|error| self.failed(&error, CallKind::List, prefix))
    }

    /// Calls a function for each object below a prefix. Does not hold the whole list in memory.
    pub(super) fn for_each(
        &self,
        prefix: &Path,
        mut each: impl FnMut(ObjectMeta) -> Result<()>,
    ) -> Result<()> {
        let mut listed = self.store.objects().list(Some(prefix));
        let failed = |error| self.failed(&error, CallKind::List, prefix);
        while let Some(object) = self.block_on(listed.try_next()).map_err(failed)? {
            each(object)?;
        }
        Ok(())
    }

    /// Returns the names of the folders directly below a prefix.
    pub(super) fn folders(&self, prefix: &Path) -> Result<Vec<String>> {
        let listed = self.block_on(self.store.objects().list_with_delimiter(Some(prefix)));
        let listed = listed.map_err(|error| self.failed(&error, CallKind::List, prefix))?;
        let names = listed.common_prefixes.iter().filter_map(Path::filename);
        Ok(names.map(str::to_owned).collect())
    }

    /// Returns facts about an object, or `None` if there is no such object.
    pub(super) fn facts(&self, key: &Path) -> Result<Option<ObjectFacts>> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        match self.block_on(self.store.objects().get_opts(key, options)) {
            Ok(found) => Ok(Some(ObjectFacts {
                bytes: found.meta.size,
                etag: found.meta.e_tag.clone(),
                upload: found
                    .attributes
                    .get(&Attribute::Metadata(self.store.nonce_entry().into()))
                    .map(|nonce: &AttributeValue| nonce.as_ref().to_owned()),
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(&error, CallKind::Examine, key)),
        }
    }

    /// Begins an upload, and returns its id. The object that the upload makes will have `nonce` in its metadata.
    pub(super) fn create_upload(&self, key: &Path, nonce: &str) -> Result<String> {
        self.block_on(self.store.begin_upload(key, nonce))
            .map_err(|error| self.failed(&error, CallKind::BeginUpload, key))
    }

    /// Returns a future that uploads one part of an object. The future returns the part's id. A task can run it.
    pub(super) fn put_part(
        &self,
        key: Path,
        upload: String,
        index: usize,
        bytes: PutPayload,
    ) -> impl Future<Output = Result<String>> + Send + 'static {
        let client = self.clone();
        async move {
            let put = client.store.upload_part(&key, &upload, index, bytes).await;
            put.map_err(|error| client.failed(&error, CallKind::UploadPart(index), &key))
        }
    }

    /// Completes an upload: makes the object, which consists of the upload's parts, visible.
    pub(super) fn complete(&self, key: &Path, upload: &SealedUpload) -> Result<(), object_store::Error> {
        let SealedUpload {
            upload, nonce, parts, ..
        } = upload;
        let mut tries = 0;
        loop {
            let completing = self.store.complete_upload(key, upload, nonce, parts);
            match self.block_on(completing) {
                // Another call for the object has not ended.
                Err(error @ object_store::Error::AlreadyExists { .. }) => {
                    tries += 1;
                    if tries == CONFLICTS_MAX || !matches!(self.facts(key), Ok(None)) {
                        return Err(error);
                    }
                    std::thread::sleep(CONFLICT_PAUSE * tries);
                }
                completed => return completed,
            }
        }
    }

    /// Returns whether [`Client::abort`] prevents that an upload is completed later: see
    /// [`PartStore::can_abort_uploads`].
    pub(super) fn can_abort(&self) -> bool {
        self.store.can_abort_uploads()
    }

    /// Aborts an upload. Does nothing if the upload does not exist any more.
    pub(super) fn abort(&self, key: &Path, upload: &str) -> Result<()> {
        match self.block_on(self.store.abort_upload(key, upload)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed(&error, CallKind::AbortUpload, key)),
        }
    }

    /// Aborts an upload, and removes the note about it, which is in the bucket `notes`. A task can run this future. If
    /// the runtime ends, the future is dropped, while a blocking call would panic.
    pub(super) async fn discard_upload(self, notes: Self, target: UploadTarget, upload: String) {
        match self.store.abort_upload(&target.key, &upload).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => notes.discard(target.note_key).await,
            Err(_) => {}
        }
    }

    /// Removes an object that does no harm if it stays. A task can run this future.
    pub(super) async fn discard(self, key: Path) {
        let _ = self.store.delete_object(&key).await;
    }

    /// Returns the error for a failed call. The error is permanent if no retry can help, for example because a
    /// permission is missing. All other errors are transient.
    pub(super) fn failed(&self, error: &object_store::Error, call: CallKind, key: &Path) -> Error {
        use object_store::Error as Store;
        let what = format!("{}: {call}", self.uri(key));
        if let Some(error) = cause_of::<Error>(error) {
            let (class, code) = (error.class(), error.code());
            return Error::new(Stage::Commit, class, code, what).because(error.report_without_stage());
        }
        let refusal = CallRefusal::cause_of(error).filter(|refusal| refusal.is_of_settings());
        let class = match (refusal, &error) {
            (Some(refusal), _) => refusal.class(),
            (
                None,
                Store::PermissionDenied { .. }
                | Store::Unauthenticated { .. }
                | Store::NotSupported { .. }
                | Store::NotImplemented { .. }
                | Store::InvalidPath { .. }
                | Store::UnknownConfigurationKey { .. },
            ) => Class::Permanent,
            (None, _) => Class::Transient,
        };
        let mut why = shown(error);
        if let Some(advice) =
            CallRefusal::cause_of(error).and_then(|refusal| refusal.advice(call, &self.bucket, &self.place))
        {
            why = format!("{advice}; {why}");
        }
        Error::new(Stage::Commit, class, Code::OutputUnwritable, what).because(why)
    }
}

/// Returns the text of the library's error, without secrets. If the store refused the call or did not answer, returns
/// only this cause: the library repeats details of the request.
pub(super) fn shown(error: &object_store::Error) -> String {
    if let Some(refusal) = CallRefusal::cause_of(error) {
        return refusal.to_string();
    }
    if let Some(no_answer) = cause_of::<NoAnswer>(error) {
        return redacted_start(&no_answer.to_string(), ERROR_CHARS_MAX);
    }
    redacted_start(&error.to_string(), ERROR_CHARS_MAX)
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_uri_of_an_object_names_this_object() {
        use object_store::memory::InMemory;

        use crate::location::{Location, ObjectPrefix};

        let client = Client::new(
            Arc::new(InMemory::new()),
            Handle::current(),
            "s3://lake".to_owned(),
            1,
        );
        let pieces = [
            "a",
            "B",
            "7",
            "%",
            "%2",
            "%41",
            "%2F",
            "?",
            "#",
            "&",
            "=",
            "+",
            " ",
            "/",
            "é",
            "~",
            ":",
            "@",
            "\"",
            "'",
            "{",
            "}",
            "<",
            ">",
            "|",
            "^",
            "`",
            "[",
            "]",
            "*",
            "!",
            "$",
            ",",
            ";",
            "versionId=1",
        ];
        let mut random = fastrand::Rng::with_seed(7);
        let mut escaped = 0;
        for _ in 0..5_000 {
            let count = random.usize(1..12);
            let key: String = (0..count)
                .map(|_| pieces[random.usize(0..pieces.len())])
                .collect();
            let Ok(path) = Path::parse(&key) else { continue };
            if path.as_ref().is_empty() {
                continue;
            }
            let uri = client.uri(&path);
            let Ok(Location::Object(object)) = Location::parse(&uri, Stage::Fetch) else {
                panic!("{key}: {uri}");
            };
            assert_eq!(
                (object.bucket.as_str(), object.key.as_str()),
                ("lake", path.as_ref()),
                "{uri}"
            );
            assert_eq!(object.version, None, "{uri}");
            assert_eq!(client.key_of(&uri), Some(path.clone()), "{uri}");
            let prefix = ObjectPrefix::parse(&format!("{uri}/")).unwrap();
            assert_eq!(prefix.prefix, format!("{path}/"), "{uri}");
            escaped += usize::from(uri.contains('%'));
        }
        assert!(escaped > 1_000, "{escaped}");
    }

    #[test]
    fn an_answer_of_the_store_is_shown_without_secrets_and_not_in_full() {
        let source = format!(
            "403 <Error>of /lake/a?sig=s3cr3t&amp;x=1</Error>{}",
            "x".repeat(1 << 20)
        );
        let error = object_store::Error::Generic {
            store: "object store",
            source: source.into(),
        };
        let shown = shown(&error);
        assert!(shown.contains("sig=***") && !shown.contains("s3cr3t"), "{shown}");
        assert_eq!(shown.chars().count(), ERROR_CHARS_MAX);
    }
}
