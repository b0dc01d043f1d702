//! Resumes a broken transfer: the headers of the first answer go in; the headers that request the rest, and whether an
//! answer is that rest, come out.
//!
//! The bytes passed on may only be followed by the next byte of the same file: RFC 9110, sections 13.1.5 (`If-Range`),
//! 14.4 (`Content-Range`) and 15.3.7 (206). A doubtful answer is refused.

use std::fmt::Display;

use reqwest::StatusCode;
use reqwest::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue,
};
use url::Url;

use super::checksums::Checksums;
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

/// A request for the bytes of a version from a position on.
#[derive(Clone, Copy)]
pub(super) struct RangeRequest<'a> {
    pub(super) version: &'a FileVersion,
    pub(super) from: u64,
    /// The length of the whole file, if it is known already.
    pub(super) total: Option<u64>,
}

/// The range of a file in an answer: it ends before the byte `end`, in a file of `total` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentRange {
    pub(super) end: u64,
    pub(super) total: u64,
}

impl FileVersion {
    /// Returns the version in an answer with the whole file, if the rest of it can be requested: the answer was not changed on
    /// its way (203), it has a strong entity tag, and the server does not deny ranges.
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
    /// Returns the value of `Range`.
    pub(super) fn range(&self) -> HeaderValue {
        HeaderValue::try_from(format!("bytes={}-", self.from)).expect("digits are a header's value")
    }

    /// Returns the value of `If-Range`: if the version has changed, the server sends the whole file instead of a range.
    pub(super) fn if_range(&self) -> HeaderValue {
        self.version.etag.clone()
    }

    /// Returns the range of an answer, if the answer is this rest or a part of it with the same start.
    ///
    /// # Errors
    /// Returns the reason why the answer is not. The text follows "could not be resumed".
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
        // An entity tag identifies versions of one resource only. The query is ignored, because redirects may add
        // temporary parameters.
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

    /// Checks that a part states the version of its file. The part must name the ETag: RFC 9110, section 15.3.7. It may announce
    /// only known digests of the whole file, because no others are compared at the end.
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
        let announced = headers.get(CONTENT_LENGTH);
        if announced.is_some_and(|length| number(length.as_bytes()) != Some(end - first)) {
            return Err(refused(&"the content has another length"));
        }
        Ok(ContentRange { end, total })
    }
}

/// Returns the length of the file if the server answers a request without a range with one range that is the whole file, as some
/// proxies and object stores do.
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

/// Returns whether any header of an answer says that it is a part of a file and not the whole.
pub(super) fn says_part(headers: &HeaderMap) -> bool {
    let spans = headers.get_all(CONTENT_RANGE).iter().filter_map(parse_part);
    let is_part = |(first, last, total): (u64, u64, Option<u64>)| {
        first > 0 || total.is_some_and(|total| last.checked_add(1).is_none_or(|end| end < total))
    };
    spans.into_iter().any(is_part)
}

/// Returns the place of a resource: its URL without credentials, query and fragment.
fn place(url: &Url) -> (&str, Option<&str>, Option<u16>, &str) {
    (
        url.scheme(),
        url.host_str(),
        url.port_or_known_default(),
        url.path(),
    )
}

/// Returns the value of a header that occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Returns whether a tag is strong: in quotes, without `W/` (RFC 9110, section 8.8.3). An empty tag says nothing about a version.
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

/// Parses first, last and total of `bytes 10-99/100`. A range without a total is refused, because the end of the file
/// would be unknown.
fn parse_range(value: &HeaderValue) -> Option<(u64, u64, u64)> {
    let (first, last, total) = parse_part(value)?;
    let total = total.filter(|&total| last < total)?;
    Some((first, last, total))
}

/// Parses first, last and total of `bytes 10-99/100` or `bytes 10-99/*`. The crate `headers` accepts more (`+10`, the
/// first of several ranges) and less (no `Bytes`).
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

/// Parses a number of digits and nothing else.
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

/// Returns a server's header for a message.
pub(super) fn shown(value: &[u8]) -> String {
    const CHARS_MAX: usize = 100;
    String::from_utf8_lossy(value).chars().take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
