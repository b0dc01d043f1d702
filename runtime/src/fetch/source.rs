//! Opens an input. A local file, standard input or an HTTP answer goes in. Its metadata and a reader of its plain bytes
//! come out. The reader counts and digests the raw bytes, compares their digest with announced digests, and checks
//! limits.

use std::io::Read;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue};
use url::Url;

use super::checksums::{Algorithm, Checksums};
use super::compression::{Compression, DeclaredCompression};
use super::decompress::{self, DecompressLimits, DecompressedReader};
use super::http::Resource;
use super::ranges_ahead::ReadAheadMemory;
use super::readers::{LimitedReader, RawBody, SharedRawBody};
use super::stdin::Stdin;
use super::{Identity, file, http, transfer};
use crate::config::Limits;
use crate::digest::{Digest, Digesting, Midstate};
use crate::error::{Code, Error, Result, Stage};
use crate::format::Hints;
use crate::location::{file_uri, redact};
use crate::memory::MemoryShare;
use crate::stop::Stop;

/// The URI of standard input in receipts.
pub const STDIN_URI: &str = "stdin:";

/// An opened input.
pub struct Source {
    /// The URI after all redirects, without credentials.
    pub uri: String,
    /// The file name, for messages.
    pub name: String,
    /// The entity tag that the server gave.
    pub etag: Option<String>,
    /// The hints about the format from the content type and the name.
    pub hints: Hints,
    declared: DeclaredCompression,
    /// The announced length in bytes.
    bytes: Option<u64>,
    /// True if a truncated input could look like a complete one, and the server could have prevented it.
    may_be_truncated: bool,
    bounds: InputBounds,
    checksums: Checksums,
    sha256: Option<String>,
    /// The identity. It shows whether the input is still the same when its rest is requested.
    identity: Option<Identity>,
    /// The position of the first byte that is read. The bytes before this position have been read earlier.
    from: u64,
    raw: Box<dyn Read + Send>,
    /// The memory with which the transfer of an answer reads ahead.
    read_ahead: Option<ReadAheadMemory>,
    memory: MemoryShare,
    stop: Stop,
}

/// The limits on the size of an input.
#[derive(Debug, Clone, Copy)]
pub(super) struct InputBounds {
    pub(super) raw_bytes_max: u64,
    pub(super) plain_bytes_max: u64,
    pub(super) ratio_max: u64,
    pub(super) ratio_from_bytes: u64,
    pub(super) zstd_window_bytes_max: u64,
}

impl InputBounds {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            raw_bytes_max: limits.input_raw_bytes_max,
            plain_bytes_max: limits.input_bytes_max,
            ratio_max: limits.input_ratio_max,
            ratio_from_bytes: limits.input_ratio_from_bytes,
            zstd_window_bytes_max: limits.zstd_window_bytes_max,
        }
    }

    /// The bounds that a source has before [`Source::within`] sets others. Each bound is the largest possible number.
    pub(super) const NONE: Self = Self {
        raw_bytes_max: u64::MAX,
        plain_bytes_max: u64::MAX,
        ratio_max: u64::MAX,
        ratio_from_bytes: u64::MAX,
        zstd_window_bytes_max: u64::MAX,
    };

    pub(super) fn too_long(self, name: &str, bytes: u64) -> Error {
        let max = self.raw_bytes_max;
        let what = format!("{name}: has {bytes} bytes or more, and {max} is the limit of what is fetched");
        Error::permanent(Stage::Fetch, Code::InputTooLarge, what)
    }
}

/// The digest and the identity of the fetched bytes of an input, before decompression. The digest exists only after the
/// plain bytes were read to their end without an error. So it always covers all bytes of the input, and all checks of
/// these bytes have passed.
#[derive(Clone)]
pub struct Fetched {
    digest: Arc<OnceLock<Digest>>,
    raw: SharedRawBody,
    is_plain: bool,
    identity: Option<Identity>,
}

impl Fetched {
    /// Returns the digest after the reader has returned 0 bytes, which marks the end. Returns `None` before that, and
    /// if [`Fetched::detach_digest`] has moved the digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.get()
    }

    /// Returns the identity with which the rest of the input can be requested later, or `None` if the rest cannot be
    /// requested.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Returns the state of the digest, which covers the bytes that were read so far. Returns `None` at the end of the
    /// input, and after [`Fetched::detach_digest`].
    pub fn midstate(&self) -> Option<Midstate> {
        self.raw.midstate()
    }

    /// Returns whether the input was read to its end.
    pub fn has_ended(&self) -> bool {
        self.raw.has_ended()
    }

    /// Moves the digest of the bytes that were read so far to the caller. From then on, the reader computes no digest.
    /// The caller digests the bytes itself, at a lower cost, and calls [`Fetched::is_all`] at the end. Returns `None`
    /// if the input is compressed, because the reader's bytes are then not the fetched bytes. Also returns `None` if
    /// the digest must be compared with an expected digest, because the reader does this comparison.
    pub fn detach_digest(&self) -> Option<Digesting> {
        self.is_plain.then(|| self.raw.detach_digest()).flatten()
    }

    /// Returns true if the input was read to its end and `digest` covers all of its bytes.
    pub fn is_all(&self, digest: &Digest) -> bool {
        self.raw.has_ended_after(digest.bytes)
    }
}

impl Source {
    pub(super) fn from_file(file: file::Unchanged, path: &Path, stop: Stop) -> Self {
        let name = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned();
        let (hints, compression) = hints(&name, None);
        // The path could be a mistyped URL that contains secrets.
        let name = redact(&name);
        Self {
            uri: file_uri(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned())),
            name,
            etag: None,
            hints,
            declared: DeclaredCompression {
                encodings: Vec::new(),
                file: compression,
            },
            bytes: Some(file.identity().bytes()),
            may_be_truncated: false,
            bounds: InputBounds::NONE,
            checksums: Checksums::default(),
            sha256: None,
            identity: Some(file.identity().clone()),
            from: 0,
            raw: Box::new(file),
            read_ahead: None,
            memory: MemoryShare::default(),
            stop,
        }
    }

    /// Returns a source of bytes that this program has stored, such as rejects. The caller compares their digest. They
    /// have no identity, so no later attempt can continue within them.
    pub fn from_stored(uri: String, raw: Box<dyn Read + Send>, stop: Stop) -> Self {
        Self {
            name: redact(uri.rsplit('/').next().unwrap_or_default()),
            uri,
            etag: None,
            hints: Hints::default(),
            declared: DeclaredCompression::default(),
            bytes: None,
            may_be_truncated: false,
            bounds: InputBounds::NONE,
            checksums: Checksums::default(),
            sha256: None,
            identity: None,
            from: 0,
            raw,
            read_ahead: None,
            memory: MemoryShare::default(),
            stop,
        }
    }

    pub(super) fn from_stdin(stop: Stop) -> Self {
        let stdin = Stdin::new(stop.clone());
        // A pipe does not show truncation, but the shell can detect it: see `pipefail` in docs/operations.md.
        Self {
            name: "stdin".to_owned(),
            ..Self::from_stored(STDIN_URI.to_owned(), Box::new(stdin), stop)
        }
    }

    pub(super) fn from_answer(answer: http::HttpAnswer, stop: Stop) -> Result<Self> {
        let uri = redact(answer.url.as_str());
        let name = match &answer.resource {
            Resource::Url(..) => file_name(&answer.url),
            Resource::Object(object) => redact(object.uri().name()),
        };
        let header = |name| answer.headers.get(name).and_then(|value| value.to_str().ok());
        let (hints, compression) = hints(&name, header(CONTENT_TYPE));
        let encodings = answer.headers.get_all(CONTENT_ENCODING).iter();
        let encodings = Compression::of_content_encoding(encodings.map(HeaderValue::as_bytes))
            .map_err(|error| error.about(&uri))?;
        let bytes = transfer::content_length(&answer.headers);
        let checksums = Checksums::of_file(&answer.headers);
        let sha256 = checksums.announced(Algorithm::Sha256);
        let identity = answer.version.as_ref().zip(bytes);
        let identity = identity.and_then(|(version, bytes)| Identity::of_version(version, bytes, sha256));
        Ok(Self {
            uri,
            name,
            etag: header(ETAG).map(str::to_owned),
            hints,
            declared: DeclaredCompression {
                encodings,
                file: compression,
            },
            bytes,
            may_be_truncated: !answer.tells_its_end,
            bounds: InputBounds::NONE,
            checksums,
            sha256: None,
            identity,
            from: 0,
            read_ahead: Some(answer.body.read_ahead_memory().clone()),
            raw: Box::new(answer.body),
            memory: MemoryShare::default(),
            stop,
        })
    }

    /// Turns the source into the rest of an input, from the byte `from` on. The metadata are taken from `identity`,
    /// because the headers of a part describe only the part.
    pub(super) fn behind(mut self, from: u64, identity: &Identity) -> Self {
        self.from = from;
        self.bytes = Some(identity.bytes());
        self.checksums = Checksums::announced_before(identity.sha256());
        self.declared = DeclaredCompression::default();
        self.identity = Some(identity.clone());
        self
    }

    /// Sets the bounds. Fails if the input announces more bytes than the bounds allow.
    pub(super) fn within(mut self, bounds: InputBounds) -> Result<Self> {
        self.bounds = bounds;
        match self.bytes.filter(|&bytes| bytes > bounds.raw_bytes_max) {
            Some(bytes) => Err(bounds.too_long(&self.name, bytes)),
            None => Ok(self),
        }
    }

    /// Requires that the fetched bytes, before decompression, have this SHA-256, in lowercase hex.
    #[must_use]
    pub fn expect_sha256(mut self, sha256: Option<&str>) -> Self {
        self.sha256 = sha256.map(str::to_owned);
        self
    }

    /// Checks that the input is the version that was submitted, if the request names one.
    ///
    /// # Errors
    /// Fails permanently, with stage fetch, if it is another version, or if its server does not name versions.
    pub fn expect_version(self, version: Option<&str>) -> Result<Self> {
        let found = match &self.identity {
            Some(identity) => Some(identity.version_text()),
            None => self.etag.clone(),
        };
        if version.is_none() || found.as_deref() == version {
            return Ok(self);
        }
        // An entity tag has quotes of its own.
        let quoted = |version: &str| format!("{:?}", version.trim_matches('"'));
        let found = found.map_or("an unknown one".to_owned(), |found| quoted(&found));
        let what = format!(
            "{}: is not the version that was submitted: expected {}, found {found}: submit it again",
            self.uri,
            quoted(version.unwrap_or_default()),
        );
        Err(Error::permanent(Stage::Fetch, Code::InputReplaced, what))
    }

    /// Sets the memory share. A decompressor uses it if it needs more memory than usual. If the share has room now, a
    /// large object is fetched in several ranges at a time.
    #[must_use]
    pub fn hold_in(mut self, memory: &MemoryShare) -> Self {
        if let Some(read_ahead) = &self.read_ahead {
            read_ahead.reserve(memory);
        }
        self.memory = memory.clone();
        self
    }

    /// Returns a reader of the input's decompressed bytes, and the digest of the fetched bytes. `digesting` must cover
    /// the bytes before the source's first byte, if the source is the rest of an input. This function and the reader
    /// block, so they must not be used within an async task.
    ///
    /// # Errors
    /// Returns the errors of the first read. Each error of the reader wraps an error of this crate, which
    /// [`Error::from_io`] extracts:
    ///
    /// - a transient error of stage fetch if the transfer breaks off for good or is too slow
    /// - a transient error of stage fetch if the length or the digest differs from the announced value, or if the file
    ///   changes while it is read
    /// - a permanent error of stage fetch if the input is longer than its limit or does not have the required SHA-256
    /// - a permanent error of stage decompress if the data is corrupt, truncated or longer than its limits
    /// - the error of the stop as soon as a stop is requested
    pub fn into_reader(self, digesting: Digesting) -> Result<(Box<dyn Read + Send>, Fetched)> {
        if self.may_be_truncated && self.checksums.is_empty() && self.sha256.is_none() {
            let what = "the answer has neither a length nor a digest, so a truncated file cannot be detected";
            tracing::warn!(uri = self.uri, "{what}");
        }
        assert_eq!(digesting.bytes(), self.from, "a digest of what comes before");
        // An MD5 cannot be continued in another process. If there is a SHA-256 to check, the MD5 is not necessary.
        let is_checkable = !self.checksums.has(Algorithm::Md5)
            || self.checksums.has(Algorithm::Sha256)
            || self.sha256.is_some();
        let raw = RawBody::new(self.raw, &self.name, self.bounds, digesting, self.stop)
            .expecting(self.checksums, self.sha256);
        let raw = SharedRawBody::new(raw);
        let bytes: Box<dyn Read + Send> = Box::new(raw.clone());
        let unpacked = match self.from {
            0 => {
                let room = DecompressLimits {
                    memory: &self.memory,
                    zstd_window_bytes_max: self.bounds.zstd_window_bytes_max,
                };
                decompress::decompress(bytes, &self.name, &self.declared, room)
                    .map_err(|error| raw.explain(error))?
            }
            // Only a plain input can be resumed. So the rest is plain, even if its first bytes look like compressed
            // data.
            _ => DecompressedReader::plain(bytes),
        };
        let is_plain = unpacked.taken.is_none();
        let fetched = Fetched {
            digest: Arc::default(),
            raw: raw.clone(),
            is_plain,
            identity: self.identity.filter(|_| is_plain && is_checkable),
        };
        let digest = Arc::clone(&fetched.digest);
        let plain = LimitedReader::new(unpacked, self.name, self.from, self.bounds, raw, digest);
        Ok((Box::new(plain), fetched))
    }
}

/// Returns the last part of a URL's path without secrets, or the URL's host if this part is empty.
fn file_name(url: &Url) -> String {
    let shown = Url::parse(&redact(url.as_str()));
    let url = shown.as_ref().unwrap_or(url);
    let last = url
        .path_segments()
        .and_then(|mut parts| parts.next_back())
        .unwrap_or_default();
    if last.is_empty() {
        url.host_str().unwrap_or_default()
    } else {
        last
    }
    .to_owned()
}

/// Returns the format and the compression that a name and a content type indicate.
fn hints(name: &str, content_type: Option<&str>) -> (Hints, Option<Compression>) {
    let media_type = content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    let lowercase = name.to_ascii_lowercase();
    let (stem, extension) = lowercase.rsplit_once('.').unwrap_or((&lowercase, ""));
    let packed = Compression::of_extension(extension);
    let extension = match packed {
        Some(_) => stem.rsplit_once('.').map_or("", |(_, extension)| extension),
        None => extension,
    };
    let hints = Hints::new(extension, content_type);
    (hints, Compression::of_media_type(&media_type).or(packed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    #[test]
    fn name_and_content_type_hint_at_format_and_compression() {
        use Compression::{Gzip, Zstd};
        for (name, content_type, format, compression) in [
            ("a.csv", None, Some(Format::Csv), None),
            (
                "A.CSV.GZ",
                Some("application/octet-stream"),
                Some(Format::Csv),
                Some(Gzip),
            ),
            (
                "a.ndjson.zst",
                Some("text/plain"),
                Some(Format::Jsonl),
                Some(Zstd),
            ),
            ("a.csv", Some("application/x-ndjson"), Some(Format::Jsonl), None),
            ("export", Some("text/csv; charset=utf-8"), Some(Format::Csv), None),
            (
                "export.jsonl",
                Some("application/gzip"),
                Some(Format::Jsonl),
                Some(Gzip),
            ),
            ("gz", None, None, None),
            ("a.txt", None, None, None),
        ] {
            let (hints, packed) = hints(name, content_type);
            assert_eq!(
                (hints.format, packed),
                (format, compression),
                "{name} {content_type:?}"
            );
        }
    }
}
