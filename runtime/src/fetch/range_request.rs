//! Requests a range of one version of a file, to resume a broken transfer or to read ahead: the headers of the first
//! answer go in; the headers of the request come out. Also checks whether the answer to this request is that range.
//!
//! The range must begin with the requested byte of the same version of the file: RFC 9110, sections 13.1.5 (`If-Range`), 14.4
//! (`Content-Range`) and 15.3.7 (206). If this is in doubt, the answer is refused.

use std::fmt::Display;

use reqwest::StatusCode;
use reqwest::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue,
};
use url::Url;

use super::checksums::Checksums;
use crate::format::redacted_start;
use crate::location::redact;

/// The version of a file when its transfer began.
#[derive(Clone)]
pub(super) struct FileVersion {
    pub(super) url: Url,
    pub(super) etag: HeaderValue,
    pub(super) encoding: Option<HeaderValue>,
    /// The digests of the file that the first answer announced.
    pub(super) checksums: Checksums,
}

/// A request for the rest of a version of a file, from a position on, or for a part of this rest.
#[derive(Clone, Copy)]
pub(super) struct RangeRequest<'a> {
    pub(super) version: &'a FileVersion,
    pub(super) from: u64,
    /// The position behind the last requested byte, or `None` for the rest of the file.
    pub(super) end: Option<u64>,
    /// The length of the whole file, if it is known already.
    pub(super) total: Option<u64>,
}

/// The range of a file that an answer contains. The range ends before the byte `end`, and the file has `total` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub(super) end: u64,
    pub(super) total: u64,
}

impl FileVersion {
    /// Returns the version of a file. `headers` are the headers of an answer with the whole file. Returns `None` if the
    /// rest of the file cannot be requested later. The rest can be requested if all of this is true:
    ///
    /// - The answer has a strong entity tag.
    /// - No proxy has changed the answer (status 203).
    /// - The server does not refuse ranges (`Accept-Ranges: none`).
    pub(super) fn of(url: &Url, status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        let none = |ranges: &HeaderValue| ranges.as_bytes().eq_ignore_ascii_case(b"none");
        let is_plain = matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT);
        if !is_plain || headers.get(ACCEPT_RANGES).is_some_and(none) {
            return None;
        }
        Some(Self {
            url: url.clone(),
            etag: only(headers, &ETAG).filter(|etag| is_strong(etag))?.clone(),
            encoding: headers.get(CONTENT_ENCODING).cloned(),
            checksums: Checksums::of_file(headers),
        })
    }
}

impl RangeRequest<'_> {
    /// Returns the value of the header `Range`.
    pub(super) fn range(&self) -> HeaderValue {
        let last = self.end.map(|end| (end - 1).to_string()).unwrap_or_default();
        HeaderValue::try_from(format!("bytes={}-{last}", self.from)).expect("digits are a header's value")
    }

    /// Returns the value of the header `If-Range`. If the version has changed, the server sends the whole file instead
    /// of a range.
    pub(super) fn if_range(&self) -> HeaderValue {
        self.version.etag.clone()
    }

    /// Checks that an answer is the requested rest, or a part of it with the same start. Returns the range of the
    /// answer.
    ///
    /// # Errors
    /// Returns the reason why the answer is not the rest. Callers add the reason to an error as its cause.
    pub(super) fn check(
        &self,
        url: &Url,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<ContentRange, String> {
        self.check_version(headers)?;
        if status == StatusCode::PRECONDITION_FAILED {
            let was = shown(self.version.etag.as_bytes());
            return Err(format!("the file has changed, its ETag is no longer {was}"));
        }
        if status != StatusCode::PARTIAL_CONTENT {
            return Err(format!(
                "the server does not give ranges of it, but answered {status}"
            ));
        }
        // An entity tag distinguishes only the versions of one resource, so the resource must be the same. The query is
        // ignored, because redirects can add temporary parameters.
        if place(url) != place(&self.version.url) {
            return Err(format!(
                "it was redirected to another place, {}",
                redact(url.as_str())
            ));
        }
        if let Some(media_type) = headers.get(CONTENT_TYPE)
            && starts_with(media_type, b"multipart/byteranges")
        {
            return Err("the server answered in several ranges".into());
        }
        self.check_stated_version(headers)?;
        self.check_span(headers)
    }

    /// Checks that an answer with a part of a file states the version of the file. The answer must have an `ETag`: RFC
    /// 9110, section 15.3.7. If the answer announces a digest of the whole file, the first answer must have announced
    /// the same digest. Only the digests of the first answer are compared at the end.
    fn check_stated_version(&self, headers: &HeaderMap) -> Result<(), String> {
        if !headers.contains_key(ETAG) {
            return Err("the server does not say the ETag of the rest".into());
        }
        self.version.checksums.check_those_of_rest(headers)
    }

    fn check_version(&self, headers: &HeaderMap) -> Result<(), String> {
        for etag in headers.get_all(ETAG) {
            if etag != self.version.etag {
                let (was, is) = (shown(self.version.etag.as_bytes()), shown(etag.as_bytes()));
                return Err(format!("the file has changed, its ETag was {was} and is {is}"));
            }
        }
        match headers.get(CONTENT_ENCODING) {
            Some(encoding) if self.version.encoding.as_ref() != Some(encoding) => Err(format!(
                "the rest has another content encoding, {}",
                shown(encoding.as_bytes())
            )),
            _ => Ok(()),
        }
    }

    fn check_span(&self, headers: &HeaderMap) -> Result<ContentRange, String> {
        let from = self.from;
        let Some(range) = only(headers, &CONTENT_RANGE) else {
            return Err("the server does not say once which range it answered".into());
        };
        let refused = |why: &dyn Display| {
            format!(
                "asked from byte {from} on, the server answered {}: {why}",
                shown(range.as_bytes())
            )
        };
        let (first, last, total) =
            parse_range(range).ok_or_else(|| refused(&"not a range of a known length"))?;
        if first != from {
            return Err(refused(&"another start"));
        }
        if let Some(before) = self.total
            && before != total
        {
            return Err(refused(&format_args!("the length was {before} before")));
        }
        let end = last + 1;
        if let Some(wanted) = self.end
            && end > wanted
        {
            return Err(refused(&format_args!("{} bytes were asked for", wanted - from)));
        }
        let announced = headers.get(CONTENT_LENGTH);
        if announced.is_some_and(|length| number(length.as_bytes()) != Some(end - first)) {
            return Err(refused(&"the content has another length"));
        }
        Ok(ContentRange { end, total })
    }
}

/// Returns the length of the file if the answer consists of one range that is the whole file, and otherwise `None`.
/// Some proxies and object stores answer in this way although the request names no range.
pub(super) fn whole_range(headers: &HeaderMap) -> Option<u64> {
    let span = only(headers, &CONTENT_RANGE).and_then(parse_range);
    let is_multipart = |media_type: &HeaderValue| starts_with(media_type, b"multipart/byteranges");
    let length = headers
        .get(CONTENT_LENGTH)
        .map(|length| number(length.as_bytes()));
    let (first, last, total) = span?;
    let is_whole = first == 0
        && last + 1 == total
        && length.is_none_or(|length| length == Some(total))
        && !headers.get(CONTENT_TYPE).is_some_and(is_multipart);
    is_whole.then_some(total)
}

/// Returns whether a header of an answer says that the answer contains only a part of a file.
pub(super) fn says_part(headers: &HeaderMap) -> bool {
    let spans = headers.get_all(CONTENT_RANGE).iter().filter_map(parse_part);
    let is_part = |(first, last, total): (u64, u64, Option<u64>)| {
        first > 0 || total.is_some_and(|total| last.checked_add(1).is_none_or(|end| end < total))
    };
    spans.into_iter().any(is_part)
}

/// Returns the parts of a URL that identify a resource: the URL without credentials, query and fragment.
fn place(url: &Url) -> (&str, Option<&str>, Option<u16>, &str) {
    (
        url.scheme(),
        url.host_str(),
        url.port_or_known_default(),
        url.path(),
    )
}

/// Returns the value of a header that occurs exactly once, and otherwise `None`.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Returns whether an entity tag is strong: it is in quotes, without `W/` before them (RFC 9110, section 8.8.3). An
/// empty tag does not count, because it says nothing about the version.
fn is_strong(etag: &HeaderValue) -> bool {
    match etag.as_bytes() {
        [b'"', tag @ .., b'"'] => {
            !tag.is_empty()
                && tag
                    .iter()
                    .all(|&byte| byte == 0x21 || (byte > 0x22 && byte != 0x7f))
        }
        _ => false,
    }
}

/// Parses a range such as `bytes 10-99/100`. Returns its first byte, its last byte and the total length of the file. A
/// range without a total is refused, because the end of the file would be unknown.
fn parse_range(value: &HeaderValue) -> Option<(u64, u64, u64)> {
    let (first, last, total) = parse_part(value)?;
    let total = total.filter(|&total| last < total)?;
    Some((first, last, total))
}

/// Parses a range such as `bytes 10-99/100` or `bytes 10-99/*`. Returns its first byte, its last byte and, if it is
/// given, the total length of the file. The crate `headers` is not used: it accepts too much (`+10`, the first of
/// several ranges), and it refuses `Bytes`.
fn parse_part(value: &HeaderValue) -> Option<(u64, u64, Option<u64>)> {
    let (unit, range) = value.to_str().ok()?.split_once(' ')?;
    let (range, total) = range.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let [first, last] = [first, last].map(|text| number(text.as_bytes()));
    let (first, last) = (first?, last?);
    let total = match total {
        "*" => None,
        total => Some(number(total.as_bytes())?),
    };
    (unit.eq_ignore_ascii_case("bytes") && first <= last).then_some((first, last, total))
}

/// Parses a number that consists only of digits.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

fn starts_with(value: &HeaderValue, prefix: &[u8]) -> bool {
    let start = value.as_bytes().get(..prefix.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Returns the beginning of a header's value, for a message, without secrets.
pub(super) fn shown(value: &[u8]) -> String {
    const CHARS_MAX: usize = 100;
    redacted_start(&String::from_utf8_lossy(value), CHARS_MAX)
}

#[cfg(test)]
mod tests;
