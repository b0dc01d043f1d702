//! What an input is when it is opened goes in; out comes what tells later, in another process, whether it is still the same
//! one, so that its rest alone can be asked for.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};
use url::Url;

use super::range_request::FileVersion;
use crate::location::redact;

/// An input that is not compressed, as it was when it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Identity {
    /// A local file.
    File {
        /// Of its file system.
        device: u64,
        /// Its number there.
        inode: u64,
        /// Its length.
        bytes: u64,
        /// In seconds and nanoseconds.
        modified: [i64; 2],
        /// Of its content or of what is said about it, which nobody can set back.
        changed: [i64; 2],
    },
    /// What a server gave under a strong entity tag.
    Http {
        /// Where it was in the end, without credentials.
        uri: String,
        /// That tag, quotes included.
        etag: String,
        /// Its `Content-Encoding`, which can only be one that does nothing.
        encoding: Option<String>,
        /// Its length.
        bytes: u64,
        /// The SHA-256 that its server announced, in lowercase hex; several if several headers had one.
        sha256: Vec<String>,
    },
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

    /// Of a version of so many bytes. Nothing if its headers are no texts.
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

    /// The version of an input that came over HTTP.
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
        })
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::File { bytes, .. } | Self::Http { bytes, .. } => *bytes,
        }
    }

    /// What its server announced of its content.
    pub(super) fn sha256(&self) -> &[String] {
        match self {
            Self::File { .. } => &[],
            Self::Http { sha256, .. } => sha256,
        }
    }
}
