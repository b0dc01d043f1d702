//! Determines how an input is compressed, from its name, its content type, its `Content-Encoding` or its first bytes.

use encoding_rs::Encoding;

use super::range_request::shown;
use crate::error::{Code, Error, Result, Stage};

/// The maximum number of encodings that are decoded one after the other.
const ENCODINGS_MAX: usize = 4;

/// The first bytes of each member of a gzip file: RFC 1952, section 2.3.1.
pub(super) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A supported compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
    /// Deflate, which is supported only as a `Content-Encoding`, because a file cannot be recognized as deflate.
    Deflate,
}

impl Compression {
    /// Returns the compression that the extension of a file name indicates.
    pub(super) fn of_extension(extension: &str) -> Option<Self> {
        match extension {
            "gz" | "gzip" => Some(Self::Gzip),
            "zst" | "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Returns the compression that a media type indicates. `media_type` must have no parameters.
    pub(super) fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "application/gzip" | "application/x-gzip" => Some(Self::Gzip),
            "application/zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Returns the compressions that the lines of `Content-Encoding` name, in the order in which they were applied.
    /// Ignores words that say nothing about compression, which some servers send in this header.
    ///
    /// # Errors
    /// Fails if a compression is not supported, or if there are more than [`ENCODINGS_MAX`].
    pub(super) fn of_content_encoding<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        for word in lines.flat_map(|line| line.split(|&byte| byte == b',')) {
            let word = String::from_utf8_lossy(word).trim().to_ascii_lowercase();
            found.extend(match word.as_str() {
                "gzip" | "x-gzip" => Some(Self::Gzip),
                "zstd" => Some(Self::Zstd),
                "deflate" => Some(Self::Deflate),
                word if says_nothing(word) => None,
                word => {
                    let word = shown(word.as_bytes());
                    let what = format!(
                        "content encoding \"{word}\" is not supported, only gzip, zstd and deflate, and the server was asked \
                         for none: let it send the file as it is"
                    );
                    return Err(Error::permanent(Stage::Decompress, Code::ContentEncoding, what));
                }
            });
        }
        if found.len() > ENCODINGS_MAX {
            let what = format!(
                "the server names {} content encodings, and {ENCODINGS_MAX} is the limit",
                found.len()
            );
            return Err(Error::permanent(Stage::Decompress, Code::ContentEncoding, what));
        }
        Ok(found)
    }

    pub(super) fn of_magic(start: &[u8]) -> Option<Self> {
        match start {
            [first, second, ..] if [*first, *second] == GZIP_MAGIC => Some(Self::Gzip),
            // These are the first bytes of a frame or of a skippable frame: RFC 8878, section 3.1.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Returns whether a stream with this compression can begin with these bytes. Deflate can begin with any byte.
    pub(super) fn may_begin(self, start: &[u8]) -> bool {
        match self {
            Self::Deflate => !start.is_empty(),
            other => Self::of_magic(start) == Some(other),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Deflate => "deflate",
        }
    }

    /// Returns how many bytes at the beginning of a stream identify this compression.
    pub(super) fn magic_bytes(self) -> usize {
        match self {
            Self::Gzip => 2,
            Self::Zstd => 4,
            Self::Deflate => 0,
        }
    }

    /// Returns the error for bytes after the last member or frame.
    pub(super) fn trailing(self, name: &str) -> Error {
        let kind = self.name();
        let what = format!(
            "{name}: bytes that are not {kind} follow its {kind} data: cut them off, or compress the file anew"
        );
        Error::permanent(Stage::Decompress, Code::CompressionCorrupt, what)
    }
}

/// Returns whether a word in `Content-Encoding` says nothing about compression. Such a word means "no encoding"
/// (`identity`), belongs to another header (`7bit`), names a character set, or describes how the file was uploaded
/// (`aws-chunked`).
fn says_nothing(word: &str) -> bool {
    let words = ["", "identity", "none", "binary", "7bit", "8bit", "aws-chunked"];
    let charset = word.strip_prefix("charset=").unwrap_or(word);
    words.contains(&word) || Encoding::for_label(charset.as_bytes()).is_some()
}

/// The compression that the server and the name of an input indicate.
#[derive(Debug, Clone, Default)]
pub(super) struct DeclaredCompression {
    /// The encodings in the server's `Content-Encoding`, in the order in which they were applied.
    pub(super) encodings: Vec<Compression>,
    /// The compression that the name or the content type of the file indicates.
    pub(super) file: Option<Compression>,
}
