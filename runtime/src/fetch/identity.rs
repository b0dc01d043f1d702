//! Identifies an input: the state of the input when it is opened goes in; an identity comes out. Later, another process
//! compares this identity with the input. If they match, that process fetches only the rest of the input.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};
use url::Url;

use super::checksums::Checksums;
use super::range_request::FileVersion;
use crate::location::redact;

/// The identity of an uncompressed input at the time when it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Identity {
    /// A local file.
    File {
        /// The device number of the file system.
        device: u64,
        /// The inode number.
        inode: u64,
        /// The file's length.
        bytes: u64,
        /// `mtime`: the last modification, in seconds and nanoseconds.
        modified: [i64; 2],
        /// `ctime`: the last change of content or metadata, which users cannot set.
        changed: [i64; 2],
    },
    /// A file that an HTTP server sends with a strong entity tag.
    Http {
        /// The URI after all redirects, without credentials.
        uri: String,
        /// The entity tag with its quotes.
        etag: String,
        /// The `Content-Encoding`, if there is one. It names no compression, because compressed inputs have no
        /// identity. An example is `identity`.
        encoding: Option<String>,
        /// The content's length.
        bytes: u64,
        /// The SHA-256 that the server announced, in lowercase hex. There are several if several headers have one.
        sha256: Vec<String>,
    },
}

/// Returns the version of a file with this metadata: its length and its last modification, as `BYTES-SECONDS.NANOSECONDS`.
/// A file that replaces another file under the same path has another version. A copy that keeps the time of modification
/// has the same version.
pub fn version_of_file(metadata: &Metadata) -> String {
    file_version(metadata.len(), [metadata.mtime(), metadata.mtime_nsec()])
}

fn file_version(bytes: u64, [seconds, nanoseconds]: [i64; 2]) -> String {
    format!("{bytes}-{seconds}.{nanoseconds:09}")
}

impl Identity {
    pub(super) fn of_file(metadata: &Metadata) -> Self {
        Self::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: [metadata.mtime(), metadata.mtime_nsec()],
            changed: [metadata.ctime(), metadata.ctime_nsec()],
        }
    }

    /// Returns the identity of this version of a file, or `None` if its headers are not text. `bytes` is the length of
    /// the file.
    pub(super) fn of_version(version: &FileVersion, bytes: u64, sha256: Vec<String>) -> Option<Self> {
        let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
        let encoding = version.encoding.as_ref().map(text);
        Some(Self::Http {
            uri: redact(version.url.as_str()),
            etag: text(&version.etag)?,
            encoding: match encoding {
                Some(encoding) => Some(encoding?),
                None => None,
            },
            bytes,
            sha256,
        })
    }

    /// Returns the version of an input that came over HTTP, or `None` if the identity is of a local file or is invalid.
    pub(super) fn version(&self) -> Option<FileVersion> {
        let Self::Http {
            uri, etag, encoding, ..
        } = self
        else {
            return None;
        };
        let encoding = encoding.as_deref().map(HeaderValue::try_from);
        Some(FileVersion {
            url: Url::parse(uri).ok()?,
            etag: HeaderValue::try_from(etag).ok()?,
            encoding: encoding.transpose().ok()?,
            checksums: Checksums::announced_before(self.sha256()),
        })
    }

    /// Returns the version of the input: the text that [`version_of_file`] returns, or the entity tag.
    pub(super) fn version_text(&self) -> String {
        match self {
            Self::File { bytes, modified, .. } => file_version(*bytes, *modified),
            Self::Http { etag, .. } => etag.clone(),
        }
    }

    /// Returns the input's length in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::File { bytes, .. } | Self::Http { bytes, .. } => *bytes,
        }
    }

    /// Returns the digests that the server announced.
    pub(super) fn sha256(&self) -> &[String] {
        match self {
            Self::File { .. } => &[],
            Self::Http { sha256, .. } => sha256,
        }
    }
}
