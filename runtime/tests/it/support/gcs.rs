//! A stub of Google Cloud Storage: the calls of its XML interface that the program uses, with all versions of each
//! object in memory. It follows Google's documentation, and shows only that the program does, too. Emulators of other
//! people cannot be used: fake-gcs-server refuses to write objects by these calls, and gcp-storage-emulator ignores
//! conditions and has no multipart uploads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ingest_host::storage::object::{GcsSettings, StoreSettings};
use md5::{Digest, Md5};
use quick_xml::escape::escape;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::server_thread::serve_on_thread;

/// The maximum number of objects and prefixes in a page of a listing. It is small, so that tests have listings of
/// several pages.
const PAGE: usize = 20;

/// The minimum length of each part of an upload except the last one, in bytes.
const PART_BYTES_MIN: usize = 5 << 20;

/// A running server. It ends when this is dropped.
pub(crate) struct GcsServer {
    pub(crate) address: SocketAddr,
    _running: oneshot::Sender<()>,
}

#[derive(Default)]
struct Store {
    /// The token that each request must have, or `None` if requests need no token.
    token: Option<String>,
    buckets: Mutex<BTreeMap<String, Bucket>>,
}

#[derive(Default)]
struct Bucket {
    /// All versions of each object, the oldest first.
    objects: BTreeMap<String, Vec<Version>>,
    uploads: BTreeMap<String, Upload>,
    /// The number of versions and uploads so far.
    made: u64,
}

#[derive(Clone)]
struct Version {
    generation: u64,
    bytes: Bytes,
    /// The headers `x-goog-meta-*`, `content-type` and `content-encoding`.
    headers: HeaderMap,
    changed: SystemTime,
    /// False if the object was removed, and only this version can be read.
    is_live: bool,
    etag: String,
    /// The value of the header `x-goog-hash`.
    hash: String,
}

struct Upload {
    key: String,
    headers: HeaderMap,
    parts: BTreeMap<u32, Bytes>,
}

/// A status, and the code of the error.
type Refusal = (StatusCode, &'static str);

impl GcsServer {
    /// Starts a server that needs no credentials.
    pub(crate) fn start(buckets: &[&str]) -> Self {
        Self::serve(buckets, None)
    }

    /// Starts a server that refuses requests without this token.
    pub(crate) fn start_with_token(buckets: &[&str], token: &str) -> Self {
        Self::serve(buckets, Some(token))
    }

    fn serve(buckets: &[&str], token: Option<&str>) -> Self {
        let buckets = buckets.iter().map(|name| ((*name).to_owned(), Bucket::default()));
        let store = Arc::new(Store {
            token: token.map(str::to_owned),
            buckets: Mutex::new(buckets.collect()),
        });
        let app = axum::Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::disable())
            .with_state(store);
        let (address, running) = serve_on_thread(async move |listener| {
            axum::serve(listener, app).await.unwrap();
        });
        Self {
            address,
            _running: running,
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the settings with which the program reaches the server, without credentials.
    pub(crate) fn settings(&self) -> StoreSettings {
        StoreSettings {
            gcs: GcsSettings {
                endpoint: Some(self.endpoint()),
                ..GcsSettings::default()
            },
            ..StoreSettings::default()
        }
    }
}

/// Answers a request. Its body has arrived, so each request takes effect at once.
async fn answer(
    State(store): State<Arc<Store>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let answered = store.answer(&method, &uri, &headers, body);
    answered.unwrap_or_else(|(status, code)| {
        let text = format!(
            "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{code}.</Message></Error>"
        );
        response(status, Body::from(text))
    })
}

fn response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

impl Store {
    fn answer(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Body>, Refusal> {
        let token = headers
            .get("authorization")
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if self.token.as_deref().is_some_and(|wanted| token != Some(wanted)) {
            return Err((StatusCode::UNAUTHORIZED, "AuthenticationRequired"));
        }
        let path = percent_encoding::percent_decode_str(uri.path()).decode_utf8_lossy();
        let path = path.strip_prefix('/').unwrap();
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let query = uri.query().unwrap_or_default();
        let query: BTreeMap<String, String> = url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let mut buckets = self.buckets.lock().unwrap();
        let bucket = buckets
            .get_mut(bucket)
            .ok_or((StatusCode::NOT_FOUND, "NoSuchBucket"))?;
        let upload = query.get("uploadId").map(String::as_str);
        match (method, upload) {
            (&Method::GET, _) if key.is_empty() => Ok(bucket.list(&query)),
            (&Method::GET | &Method::HEAD, _) => bucket.get(key, query.get("generation"), headers),
            (&Method::PUT, Some(upload)) => bucket.put_part(upload, &query["partNumber"], body),
            (&Method::PUT, None) => bucket.put(key, headers, body),
            (&Method::POST, Some(upload)) => bucket.complete(key, upload, headers, &body),
            (&Method::POST, None) if query.contains_key("uploads") => Ok(bucket.begin_upload(key, headers)),
            (&Method::DELETE, Some(upload)) => match bucket.uploads.remove(upload) {
                Some(_) => Ok(response(StatusCode::NO_CONTENT, Body::empty())),
                None => Err((StatusCode::NOT_FOUND, "NoSuchUpload")),
            },
            (&Method::DELETE, None) => bucket.delete(key),
            _ => Err((StatusCode::BAD_REQUEST, "InvalidArgument")),
        }
    }
}

impl Bucket {
    fn live(&self, key: &str) -> Option<&Version> {
        let version = self.objects.get(key)?.last()?;
        version.is_live.then_some(version)
    }

    fn get(
        &self,
        key: &str,
        generation: Option<&String>,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Refusal> {
        let version = match generation {
            None => self.live(key),
            Some(wanted) => self
                .objects
                .get(key)
                .and_then(|versions| versions.iter().find(|one| one.generation.to_string() == *wanted)),
        };
        let version = version.ok_or((StatusCode::NOT_FOUND, "NoSuchKey"))?;
        version.read(headers)
    }

    /// Makes a version, and returns the answer with its facts. Google has no MD5 of an object that was uploaded in
    /// parts.
    fn make(&mut self, key: &str, headers: HeaderMap, bytes: Bytes, has_md5: bool) -> Response<Body> {
        self.made += 1;
        let generation = 1_700_000_000_000_000 + self.made;
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes);
        let crc = u32::try_from(crc).expect("32 bits").to_be_bytes();
        let (mut etag, mut hash) = (
            format!("\"-{generation:x}\""),
            format!("crc32c={}", STANDARD.encode(crc)),
        );
        if has_md5 {
            etag = self::etag(&bytes);
            hash += &format!(",md5={}", STANDARD.encode(Md5::digest(&bytes)));
        }
        let version = Version {
            generation,
            bytes,
            headers,
            changed: SystemTime::now(),
            is_live: true,
            etag,
            hash,
        };
        let mut answer = response(StatusCode::OK, Body::empty());
        version.describe(answer.headers_mut());
        self.objects.entry(key.to_owned()).or_default().push(version);
        answer
    }

    fn put(&mut self, key: &str, headers: &HeaderMap, bytes: Bytes) -> Result<Response<Body>, Refusal> {
        if let Some(wanted) = headers.get("x-goog-if-generation-match") {
            // The generation of an object that does not exist is 0.
            let generation = self.live(key).map_or(0, |version| version.generation);
            if wanted.to_str().unwrap() != generation.to_string() {
                return Err((StatusCode::PRECONDITION_FAILED, "PreconditionFailed"));
            }
        }
        Ok(self.make(key, kept(headers), bytes, true))
    }

    fn delete(&mut self, key: &str) -> Result<Response<Body>, Refusal> {
        let versions = self.objects.get_mut(key);
        let live = versions
            .and_then(|versions| versions.last_mut())
            .filter(|version| version.is_live);
        live.ok_or((StatusCode::NOT_FOUND, "NoSuchKey"))?.is_live = false;
        Ok(response(StatusCode::NO_CONTENT, Body::empty()))
    }

    fn begin_upload(&mut self, key: &str, headers: &HeaderMap) -> Response<Body> {
        self.made += 1;
        let id = format!("upload-{}", self.made);
        let upload = Upload {
            key: key.to_owned(),
            headers: kept(headers),
            parts: BTreeMap::new(),
        };
        self.uploads.insert(id.clone(), upload);
        let text = format!(
            "<InitiateMultipartUploadResult><Key>{}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>",
            escape(key)
        );
        response(StatusCode::OK, Body::from(text))
    }

    fn put_part(&mut self, upload: &str, number: &str, bytes: Bytes) -> Result<Response<Body>, Refusal> {
        let upload = self.uploads.get_mut(upload);
        let upload = upload.ok_or((StatusCode::NOT_FOUND, "NoSuchUpload"))?;
        let number = number.parse().ok().filter(|number| (1..=10_000).contains(number));
        let number = number.ok_or((StatusCode::BAD_REQUEST, "InvalidPartNumber"))?;
        let mut answer = response(StatusCode::OK, Body::empty());
        answer
            .headers_mut()
            .insert("etag", etag(&bytes).try_into().unwrap());
        upload.parts.insert(number, bytes);
        Ok(answer)
    }

    /// Completes an upload. Google takes no condition here: the object replaces another of its name.
    fn complete(
        &mut self,
        key: &str,
        id: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response<Body>, Refusal> {
        #[derive(Deserialize)]
        struct Named {
            #[serde(rename = "Part", default)]
            parts: Vec<NamedPart>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct NamedPart {
            part_number: u32,
            #[serde(rename = "ETag")]
            etag: String,
        }

        let upload = self.uploads.get(id).filter(|upload| upload.key == key);
        let upload = upload.ok_or((StatusCode::NOT_FOUND, "NoSuchUpload"))?;
        let bad = |code| (StatusCode::BAD_REQUEST, code);
        if headers.contains_key("x-goog-if-generation-match") {
            return Err(bad("InvalidArgument"));
        }
        let named: Named =
            quick_xml::de::from_str(&String::from_utf8_lossy(body)).map_err(|_| bad("MalformedXML"))?;
        let (mut bytes, mut last) = (Vec::new(), 0);
        for (index, part) in named.parts.iter().enumerate() {
            let found = upload
                .parts
                .get(&part.part_number)
                .filter(|bytes| etag(bytes) == part.etag);
            let found = found.ok_or(bad("InvalidPart"))?;
            if part.part_number <= last {
                return Err(bad("InvalidPartOrder"));
            }
            if found.len() < PART_BYTES_MIN && index + 1 < named.parts.len() {
                return Err(bad("EntityTooSmall"));
            }
            last = part.part_number;
            bytes.extend_from_slice(found);
        }
        if last == 0 {
            return Err(bad("MalformedXML"));
        }
        let upload = self.uploads.remove(id).expect("it was found");
        let mut answer = self.make(key, upload.headers, bytes.into(), false);
        let etag = answer.headers()["etag"].to_str().unwrap();
        let text = format!(
            "<CompleteMultipartUploadResult><Key>{}</Key><ETag>{}</ETag></CompleteMultipartUploadResult>",
            escape(key),
            escape(etag)
        );
        *answer.body_mut() = Body::from(text);
        Ok(answer)
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Response<Body> {
        let of = |name: &str| query.get(name).map_or("", String::as_str);
        let (prefix, delimiter) = (of("prefix"), of("delimiter"));
        let after = of("continuation-token").max(of("start-after"));
        let most = of("max-keys").parse().unwrap_or(PAGE).min(PAGE);
        let (mut contents, mut prefixes) = (String::new(), BTreeSet::new());
        let (mut count, mut next) = (0, None);
        let mut last = after.to_owned();
        for key in self.objects.keys() {
            let (Some(rest), Some(version)) = (key.strip_prefix(prefix), self.live(key)) else {
                continue;
            };
            let folder = rest.split_once(delimiter).filter(|_| !delimiter.is_empty());
            let folder = folder.map(|(name, _)| format!("{prefix}{name}{delimiter}"));
            let name = folder.as_ref().unwrap_or(key);
            if name.as_str() <= after || prefixes.contains(name) {
                continue;
            }
            if count == most {
                next = Some(last);
                break;
            }
            count += 1;
            last.clone_from(name);
            match folder {
                Some(folder) => {
                    prefixes.insert(folder);
                }
                None => contents += &version.listed(key),
            }
        }
        for prefix in &prefixes {
            contents += &format!(
                "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>",
                escape(prefix)
            );
        }
        if let Some(next) = next {
            contents += &format!("<NextContinuationToken>{}</NextContinuationToken>", escape(&next));
        }
        let text = format!("<ListBucketResult>{contents}</ListBucketResult>");
        response(StatusCode::OK, Body::from(text))
    }
}

impl Version {
    /// Adds the headers that describe the version.
    fn describe(&self, headers: &mut HeaderMap) {
        headers.extend(self.headers.clone());
        for (name, value) in [
            ("etag", self.etag.clone()),
            ("last-modified", httpdate::fmt_http_date(self.changed)),
            ("x-goog-generation", self.generation.to_string()),
            ("x-goog-metageneration", "1".to_owned()),
            ("x-goog-hash", self.hash.clone()),
            ("accept-ranges", "bytes".to_owned()),
        ] {
            headers.insert(name, HeaderValue::try_from(value).unwrap());
        }
    }

    fn read(&self, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
        let header = |name| headers.get(name).map(|value| value.to_str().unwrap());
        let etag = &self.etag;
        if header("if-match").is_some_and(|wanted| wanted != etag) {
            return Err((StatusCode::PRECONDITION_FAILED, "PreconditionFailed"));
        }
        let range = header("range").filter(|_| header("if-range").is_none_or(|wanted| wanted == etag));
        let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let mut answer = response(StatusCode::OK, Body::empty());
        self.describe(answer.headers_mut());
        let length = self.bytes.len();
        let mut bytes = self.bytes.clone();
        if let Some((first, last)) = range {
            let first: usize = first.parse().unwrap();
            let end = last.parse().map_or(length, |last: usize| length.min(last + 1));
            if first >= end {
                return Err((StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"));
            }
            bytes = bytes.slice(first..end);
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {first}-{}/{length}", end - 1);
            answer
                .headers_mut()
                .insert("content-range", range.try_into().unwrap());
        }
        *answer.body_mut() = Body::from(bytes);
        Ok(answer)
    }

    fn listed(&self, key: &str) -> String {
        let changed = jiff::Timestamp::try_from(self.changed).unwrap();
        format!(
            "<Contents><Key>{}</Key><Generation>{}</Generation><LastModified>{changed:.3}</LastModified><ETag>{}</ETag>\
             <Size>{}</Size></Contents>",
            escape(key),
            self.generation,
            escape(&self.etag),
            self.bytes.len()
        )
    }
}

fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", data_encoding::HEXLOWER.encode(&Md5::digest(bytes)))
}

/// Returns the headers of a request that the object keeps.
fn kept(headers: &HeaderMap) -> HeaderMap {
    let is_kept =
        |name: &str| name.starts_with("x-goog-meta-") || matches!(name, "content-type" | "content-encoding");
    headers
        .iter()
        .filter(|(name, _)| is_kept(name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
