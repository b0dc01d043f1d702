use std::cell::Cell;

use base64::Engine;
use proptest::prelude::*;

use super::*;

const PLACE: &str = "https://example.com/a.csv";

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::try_from(*name).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn version(lines: &[(&str, &str)]) -> Option<FileVersion> {
    FileVersion::of(&url(PLACE), StatusCode::OK, &headers(lines))
}

/// Checks whether an answer is the rest, from byte 10 on, of a file with 100 bytes and the ETag "a". If `lines` has no
/// ETag, the answer gets this one.
fn check(at: &str, status: u16, lines: &[(&str, &str)]) -> Result<ContentRange, String> {
    let has_tag = lines.iter().any(|(name, _)| *name == "etag");
    let tag = (!has_tag).then_some(("etag", "\"a\""));
    let lines: Vec<_> = lines.iter().copied().chain(tag).collect();
    check_exactly(&[], at, status, &lines)
}

/// Checks an answer with exactly the headers in `lines`. The first answer had the ETag "a" and the headers in `first`.
fn check_exactly(
    first: &[(&str, &str)],
    at: &str,
    status: u16,
    lines: &[(&str, &str)],
) -> Result<ContentRange, String> {
    let version = version(&[&[("etag", "\"a\"")], first].concat()).unwrap();
    let (from, total) = (10, Some(100));
    let version = &version;
    RangeRequest {
        version,
        from,
        end: None,
        total,
    }
    .check(&url(at), StatusCode::from_u16(status).unwrap(), &headers(lines))
}

#[test]
fn only_a_strong_etag_names_a_version() {
    for (etag, strong) in [
        ("\"a\"", true),
        ("\"5f-1!#~\"", true),
        ("W/\"a\"", false),
        ("w/\"a\"", false),
        ("\"\"", false),
        ("\"", false),
        ("a", false),
        ("'a'", false),
        ("\"a\" ", true),
        ("\"a b\"", false),
        ("\"a\"b\"", false),
        ("\"a\", \"b\"", false),
    ] {
        assert_eq!(version(&[("etag", etag.trim())]).is_some(), strong, "{etag}");
    }
    assert!(version(&[]).is_none());
    assert!(version(&[("etag", "\"a\""), ("etag", "\"a\"")]).is_none());
    assert!(version(&[("etag", "\"a\""), ("accept-ranges", "None")]).is_none());
    assert!(version(&[("etag", "\"a\""), ("accept-ranges", "bytes")]).is_some());
    let changed_on_its_way = StatusCode::NON_AUTHORITATIVE_INFORMATION;
    assert!(FileVersion::of(&url(PLACE), changed_on_its_way, &headers(&[("etag", "\"a\"")])).is_none());
}

#[test]
fn the_rest_of_the_same_file_is_taken() {
    let whole = ContentRange { end: 100, total: 100 };
    let range = ("content-range", "bytes 10-99/100");
    assert_eq!(check(PLACE, 206, &[range]), Ok(whole));
    assert_eq!(
        check(PLACE, 206, &[("content-range", "Bytes 10-99/100")]),
        Ok(whole)
    );
    let all = [
        range,
        ("etag", "\"a\""),
        ("content-length", "90"),
        ("content-type", "text/csv"),
    ];
    assert_eq!(check(PLACE, 206, &all), Ok(whole));
    let part = ("content-range", "bytes 10-10/100");
    assert_eq!(
        check(PLACE, 206, &[part]),
        Ok(ContentRange { end: 11, total: 100 })
    );
    let signed = "https://user:pw@example.com:443/a.csv?signature=new#x";
    assert_eq!(check(signed, 206, &[range]), Ok(whole));
}

#[test]
fn the_rest_states_the_version_of_its_file() {
    let range = ("content-range", "bytes 10-99/100");
    let why = check_exactly(&[], PLACE, 206, &[range]).expect_err("it has no ETag");
    assert!(why.contains("does not say the ETag"), "{why}");

    let digest = |byte| base64::engine::general_purpose::STANDARD.encode([byte; 32]);
    let [repr, other] = [1, 2].map(|byte| format!("sha-256=:{}:", digest(byte)));
    let [plain, other_plain] = [1, 2].map(|byte| format!("sha-256={}", digest(byte)));
    let rest = |name, value: &str| {
        check_exactly(
            &[("repr-digest", &repr)],
            PLACE,
            206,
            &[range, ("etag", "\"a\""), (name, value)],
        )
    };
    assert!(rest("repr-digest", &repr).is_ok());
    assert!(rest("digest", &plain).is_ok());
    // This digest covers only the part. It is compared when the part has arrived.
    assert!(rest("content-digest", &other).is_ok());
    for (name, value) in [("repr-digest", &other), ("digest", &other_plain)] {
        let why = rest(name, value).expect_err(name);
        assert!(why.contains("the file has changed, its sha-256 was"), "{why}");
    }
    let tagged = [range, ("etag", "\"a\""), ("repr-digest", &repr)];
    let why = check_exactly(&[], PLACE, 206, &tagged).expect_err("nobody would compare it");
    assert!(why.contains("which the first answer did not"), "{why}");
}

#[test]
fn what_may_be_something_else_is_refused() {
    let range = ("content-range", "bytes 10-99/100");
    let refused = |at: &str, status, lines: &[(&str, &str)], what: &str| {
        let why = check(at, status, lines).expect_err(what);
        assert!(why.contains(what), "{why}, not {what}");
    };
    refused(PLACE, 200, &[], "does not give ranges of it, but answered 200 OK");
    refused(PLACE, 200, &[range], "does not give ranges");
    refused(PLACE, 203, &[range], "does not give ranges");
    refused(
        PLACE,
        200,
        &[("etag", "\"b\"")],
        "its ETag was \"a\" and is \"b\"",
    );
    for etag in ["\"b\"", "W/\"a\"", "a", "\"A\""] {
        refused(PLACE, 206, &[range, ("etag", etag)], "the file has changed");
    }
    refused(
        PLACE,
        206,
        &[range, ("etag", "\"a\""), ("etag", "\"b\"")],
        "the file has changed",
    );
    for place in [
        "http://example.com/a.csv",
        "https://example.com/b.csv",
        "https://example.com:444/a.csv",
        "https://example.org/a.csv",
    ] {
        refused(place, 206, &[range], "was redirected to another place");
    }
    refused(
        PLACE,
        206,
        &[range, ("content-type", "Multipart/ByteRanges; boundary=x")],
        "several ranges",
    );
    refused(
        PLACE,
        206,
        &[range, ("content-encoding", "gzip")],
        "another content encoding",
    );
    refused(PLACE, 206, &[], "does not say once which range");
    refused(PLACE, 206, &[range, range], "does not say once which range");
    for start in ["bytes 9-99/100", "bytes 11-99/100", "bytes 0-99/100"] {
        refused(PLACE, 206, &[("content-range", start)], "another start");
    }
    for total in ["bytes 10-99/101", "bytes 10-98/99"] {
        refused(
            PLACE,
            206,
            &[("content-range", total)],
            "the length was 100 before",
        );
    }
    for length in ["89", "91", "100", "+90", "x"] {
        refused(PLACE, 206, &[range, ("content-length", length)], "another length");
    }
}

#[test]
fn a_range_that_says_too_little_is_refused() {
    for range in [
        "bytes 10-99/*",
        "bytes */100",
        "bytes 10-100/100",
        "bytes 10-9/100",
        "bytes=10-99/100",
        "bytes +10-99/100",
        "bytes 10-99/+100",
        "bytes 10 - 99/100",
        "bytes  10-99/100",
        "bytes -99/100",
        "bytes 10-/100",
        "rows 10-99/100",
        "10-99/100",
        "bytes 10-99",
        "bytes 10-18446744073709551615/18446744073709551616",
        "",
    ] {
        let why = check(PLACE, 206, &[("content-range", range)]).expect_err(range);
        assert!(why.contains("not a range of a known length"), "{range}: {why}");
    }
}

#[test]
fn the_rest_is_asked_for_with_its_version() {
    let version = version(&[("etag", "\"a\"")]).unwrap();
    let (from, total) = (u64::MAX, None);
    let version = &version;
    let rest = RangeRequest {
        version,
        from,
        end: None,
        total,
    };
    assert_eq!(rest.range(), "bytes=18446744073709551615-");
    assert_eq!(rest.if_range(), "\"a\"");
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "[ -~]{0,40}") {
        let _ = parse_range(&HeaderValue::from_str(&text).unwrap());
    }
}

/// Checks that each accepted answer starts at the requested position and has the length that it states, whatever
/// headers a server sends.
#[test]
fn no_other_start_and_no_other_length() {
    let taken = Cell::new(0);
    proptest!(ProptestConfig::with_cases(256), |(
        from in 0u64..50, first in 0u64..50, bytes in 1u64..50, more in 0u64..3, known in proptest::option::of(1u64..100),
        right: (bool, bool),
    )| {
        let version = version(&[("etag", "\"a\"")]).unwrap();
        let first = if right.0 { from } else { first };
        let (end, total) = (first + bytes, first + bytes + more);
        let known = if right.1 { known.map(|_| total) } else { known };
        let range = format!("bytes {first}-{}/{total}", end - 1);
        let rest = RangeRequest { version: &version, from, end: None, total: known };
        let result = rest.check(&url(PLACE), StatusCode::PARTIAL_CONTENT, &headers(&[("content-range", &range), ("etag", "\"a\"")]));
        prop_assert_eq!(result.is_ok(), first == from && known.is_none_or(|known| known == total));
        if let Ok(span) = result {
            prop_assert_eq!(span, ContentRange { end, total });
            taken.set(taken.get() + 1);
        }
    });
    assert!(taken.get() >= 40, "taken in {} of 256 cases", taken.get());
}
