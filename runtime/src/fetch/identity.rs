//! Identifies an input: its state when it is opened goes in, an identity comes out. Later, another process compares
//! this identity with the input. If they match, it fetches only the rest.

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
        /// The device of its file system.
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
    /// An answer of a server with a strong entity tag.
    Http {
        /// The URI after all redirects, without credentials.
        uri: String,
        /// The entity tag, quotes included.
        etag: String,
        /// The `Content-Encoding`, which can only be one that does not change the bytes.
        encoding: Option<String>,
        /// The content's length.
        bytes: u64,
        /// The SHA-256 that its server announced, in lowercase hex; several if several headers had one.
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

    /// Returns the identity of a version with this length, or none if the headers are not text.
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

    /// Returns the version of an input that came over HTTP.
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

    /// Returns the version of the input: that of [`version_of_file`], or the entity tag.
    pub(super) fn version_text(&self) -> String {
        match self {
            Self::File { bytes, modified, .. } => file_version(*bytes, *modified),
            Self::Http { etag, .. } => etag.clone(),
        }
    }

    /// Returns the input's length.
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
