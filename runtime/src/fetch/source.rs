//! An opened input: what is known of it, and the chain of readers from its raw bytes to plain ones. On the
//! way the raw bytes are counted and hashed, and the plain ones held against their limit.

use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG};
use url::Url;

use super::decompress::{self, Compression, Promise};
use super::{file, http};
use crate::digest::{Digest, Digesting};
use crate::error::{Class, Error, Result, Stage};
use crate::format::Format;
use crate::location::{file_uri, redact};
use crate::stop::Stop;

/// An opened input.
pub struct Source {
    /// Where it is, after all redirects and without credentials.
    pub uri: String,
    /// Its file name, for messages.
    pub name: String,
    /// The entity tag that the server gave.
    pub etag: Option<String>,
    /// Its format as far as the content type or, failing that, the name tells.
    pub format: Option<Format>,
    promise: Promise,
    bytes_max: u64,
    raw: Box<dyn Read + Send>,
    stop: Stop,
}

/// The digest of an input as it was fetched, before decompression. There is none before the reader of the
/// plain bytes has come to their end without an error, so a digest always covers a whole and sound input.
#[derive(Debug, Clone, Default)]
pub struct Fetched(Arc<OnceLock<Digest>>);

impl Fetched {
    /// The digest, once the reader has returned 0 bytes.
    pub fn digest(&self) -> Option<&Digest> {
        self.0.get()
    }
}

impl Source {
    pub(super) fn from_file(file: file::Unchanged, path: &Path, stop: Stop) -> Self {
        let name = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned();
        let (format, compression) = hints(&name, None);
        Self {
            uri: file_uri(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned())),
            name,
            etag: None,
            format,
            promise: Promise {
                encoding: None,
                file: compression,
            },
            bytes_max: u64::MAX,
            raw: Box::new(file),
            stop,
        }
    }

    pub(super) fn from_answer(answer: http::Answer, stop: Stop) -> Result<Self> {
        let uri = redact(answer.url.as_str());
        let name = file_name(&answer.url);
        let header = |name| answer.headers.get(name).and_then(|value| value.to_str().ok());
        let (format, compression) = hints(&name, header(CONTENT_TYPE));
        let encoding = Compression::of_content_encoding(header(CONTENT_ENCODING).unwrap_or_default())
            .map_err(|error| error.about(&uri))?;
        Ok(Self {
            uri,
            name,
            etag: header(ETAG).map(str::to_owned),
            format,
            promise: Promise {
                encoding,
                file: compression,
            },
            bytes_max: u64::MAX,
            raw: Box::new(answer.body),
            stop,
        })
    }

    pub(super) fn at_most(mut self, bytes_max: u64) -> Self {
        self.bytes_max = bytes_max;
        self
    }

    /// The input's bytes, decompressed, and the digest of what is fetched for them. This and the reader
    /// block, so they must not be used within an async task.
    ///
    /// # Errors
    /// Those of the first read. The reader's errors carry one of this crate, which [`Error::from_io`] takes
    /// out: transient ones of stage fetch if the transfer breaks off, ends at another length than was
    /// announced, or the file changes meanwhile; permanent ones of stage decompress if the data is corrupt,
    /// truncated or longer than its limit; the stop's own as soon as one is requested.
    pub fn into_reader(self, digesting: Digesting) -> Result<(Box<dyn Read + Send>, Fetched)> {
        let (raw_end, fetched) = (Fetched::default(), Fetched::default());
        let raw = Raw {
            inner: self.raw,
            name: self.name.clone(),
            digesting,
            end: raw_end.clone(),
            stop: self.stop,
        };
        let plain = Plain {
            inner: decompress::undo(Box::new(raw), &self.name, self.promise)?,
            name: self.name,
            bytes: 0,
            bytes_max: self.bytes_max,
            raw_end,
            fetched: fetched.clone(),
        };
        Ok((Box::new(plain), fetched))
    }
}

/// The last part of a URL's path, or its host if there is none.
fn file_name(url: &Url) -> String {
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

/// What name and content type tell. A content type that says nothing about the format (`text/plain`) leaves
/// it to the name.
fn hints(name: &str, content_type: Option<&str>) -> (Option<Format>, Option<Compression>) {
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
    let format = match media_type.as_str() {
        "text/csv" | "application/csv" => Some(Format::Csv),
        "application/jsonl"
        | "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonlines"
        | "application/x-jsonlines" => Some(Format::Jsonl),
        _ => match extension {
            "csv" => Some(Format::Csv),
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            _ => None,
        },
    };
    (format, Compression::of_media_type(&media_type).or(packed))
}

/// The bytes as they were fetched: looks for a stop before each read, and digests.
struct Raw {
    inner: Box<dyn Read + Send>,
    name: String,
    digesting: Digesting,
    end: Fetched,
    stop: Stop,
}

impl Read for Raw {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        self.stop.check().map_err(Error::into_io)?;
        loop {
            match self.inner.read(out) {
                Ok(0) => {
                    let digesting = &mut self.digesting;
                    self.end.0.get_or_init(|| std::mem::take(digesting).finish());
                    return Ok(0);
                }
                Ok(read) => {
                    self.digesting.update(&out[..read]);
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let what = format!("{}: cannot be read", self.name);
                    return Err(Error::from_io(error, Stage::Fetch, Class::Transient, what).into_io());
                }
            }
        }
    }
}

/// The plain bytes, up to a limit. At their end the digest of the raw ones is made known.
struct Plain {
    inner: Box<dyn Read + Send>,
    name: String,
    bytes: u64,
    bytes_max: u64,
    raw_end: Fetched,
    fetched: Fetched,
}

impl Read for Plain {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.bytes += read as u64;
        if self.bytes > self.bytes_max {
            let what = format!(
                "{}: has more than {} bytes, the limit of an input",
                self.name, self.bytes_max
            );
            return Err(Error::permanent(Stage::Decompress, what).into_io());
        }
        if read == 0
            && !out.is_empty()
            && let Some(digest) = self.raw_end.digest()
        {
            self.fetched.0.get_or_init(|| digest.clone());
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(
                hints(name, content_type),
                (format, compression),
                "{name} {content_type:?}"
            );
        }
    }
}
