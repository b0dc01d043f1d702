//! What a URI names: a text from the command line or a queue goes in, a file's path or a URL comes out.
//! Credentials are taken out of URIs here too, for messages and receipts.

use std::path::{Path, PathBuf};

use url::{Url, form_urlencoded};

use crate::error::{Error, Result, Stage};

/// What a URI names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A local path, absolute if it came from a `file:` URI.
    File(PathBuf),
    /// `http:` or `https:`.
    Http(Url),
    /// Anything else, by its scheme in lowercase: `s3`, `gs`.
    Other(String),
}

impl Location {
    /// Reads a URI or a plain path. Whatever starts with a scheme (two characters or more before a `:`) is
    /// a URI; a file of such a name is written `./name:with.colon`.
    ///
    /// # Errors
    /// Permanent, of the given stage, if an `http:` or `file:` URI is malformed or a `file:` URI names
    /// another machine.
    pub fn parse(text: &str, stage: Stage) -> Result<Self> {
        let malformed = |why: &str| Error::permanent(stage, format!("{}: {why}", redact(text)));
        let Some(scheme) = scheme(text) else {
            return Ok(Self::File(PathBuf::from(text)));
        };
        match scheme.as_str() {
            "http" | "https" => match Url::parse(text) {
                Ok(url) => Ok(Self::Http(url)),
                Err(error) => Err(malformed("is not a valid URL").because(error)),
            },
            "file" => {
                // `file:a.csv` would be read as `/a.csv`, which is hardly meant.
                if !text["file:".len()..].starts_with('/') {
                    return Err(malformed(
                        "a file: URI takes an absolute path, as in file:///data/a.csv",
                    ));
                }
                let url = Url::parse(text).map_err(|error| malformed("is not a valid URL").because(error))?;
                if url.query().is_some() || url.fragment().is_some() {
                    return Err(malformed("in a file: URI, ? is written %3F and # is written %23"));
                }
                url.to_file_path()
                    .map(Self::File)
                    .map_err(|()| malformed("names a file on another machine"))
            }
            _ => Ok(Self::Other(scheme)),
        }
    }
}

/// Whether a text is a URI, well-formed or not, and no path: see [`Location::parse`].
pub fn is_uri(text: &str) -> bool {
    scheme(text).is_some()
}

fn scheme(text: &str) -> Option<String> {
    let (scheme, _) = text.split_once(':')?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    (scheme.len() > 1 && scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(allowed))
        .then(|| scheme.to_ascii_lowercase())
}

/// The `file:` URI of an absolute path.
pub fn file_uri(path: &Path) -> String {
    Url::from_file_path(path).map_or_else(|()| path.display().to_string(), String::from)
}

/// The URI without what must not be seen: user name, password and fragment are left out, and the values of
/// query parameters that look like credentials (presigned URLs have them) become `***`. A plain path comes
/// back as it is.
pub fn redact(uri: &str) -> String {
    if scheme(uri).is_none() {
        return uri.to_owned();
    }
    let Ok(mut url) = Url::parse(uri) else {
        return without_userinfo(uri);
    };
    if url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
    {
        return uri.to_owned();
    }
    // Both fail only on a URI that cannot have them.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    if let Some(query) = url.query() {
        let shown: Vec<_> = query.split('&').map(shown_parameter).collect();
        let shown = shown.join("&");
        url.set_query(Some(&shown));
    }
    url.into()
}

/// A text for people, with each URI in it as [`redact`] shows it. For what others wrote: a document that is no request, a
/// library's error.
pub fn redact_within(text: &str) -> String {
    // What ends a URI within JSON, Markdown or a sentence.
    let ends = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '`' | '<' | '>');
    let is_scheme = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    let mut from = 0;
    while let Some(colon) = rest[from..].find(':').map(|at| from + at) {
        let scheme_bytes = rest[..colon].chars().rev().take_while(is_scheme).count();
        let start = colon - scheme_bytes;
        let is_http = ["http", "https"]
            .iter()
            .any(|scheme| rest[start..colon].eq_ignore_ascii_case(scheme));
        from = colon + 1;
        if !is_http && !rest[from..].starts_with("//") {
            continue;
        }
        let end = rest[colon..]
            .find(ends)
            .map_or(rest.len(), |length| colon + length);
        shown.push_str(&rest[..start]);
        match Url::parse(&rest[start..end]) {
            Ok(_) => shown.push_str(&redact(&rest[start..end])),
            // Where the host begins nobody knows.
            Err(_) => shown.push_str(&format!("{}:***", &rest[start..colon])),
        }
        (rest, from) = (&rest[end..], 0);
    }
    shown + rest
}

fn shown_parameter(parameter: &str) -> String {
    const WITHIN: [&str; 12] = [
        "signature",
        "token",
        "secret",
        "passw",
        "passphrase",
        "credential",
        "apikey",
        "accesskey",
        "session",
        "authorization",
        "hmac",
        "jwt",
    ];
    const WHOLE: [&str; 12] = [
        "sig", "auth", "code", "pass", "pwd", "pw", "sas", "sid", "hdnea", "hdnts", "policy", "otp",
    ];
    let (name, _) = form_urlencoded::parse(parameter.as_bytes())
        .next()
        .unwrap_or_default();
    let name = name.to_lowercase();
    // `key`, `api_key` and `Subscription-Key`, but not `monkey`.
    let is_key = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|word| word == "key");
    if is_key || WHOLE.contains(&name.as_str()) || WITHIN.iter().any(|word| name.contains(word)) {
        format!("{}=***", parameter.split('=').next().unwrap_or_default())
    } else {
        parameter.to_owned()
    }
}

/// For a URI that cannot be parsed: drops everything that could be a user name and a password or a query.
fn without_userinfo(uri: &str) -> String {
    let uri = uri.split(['?', '#']).next().unwrap_or_default();
    match (uri.split_once(':'), uri.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => uri.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_uris_are_told_apart() {
        let parse = |text| Location::parse(text, Stage::Fetch).unwrap();
        for (text, path) in [
            ("a.csv", "a.csv"),
            ("./a:b.csv", "./a:b.csv"),
            ("2026-01-01T10:00.csv", "2026-01-01T10:00.csv"),
            ("/data/a b#1.csv", "/data/a b#1.csv"),
            ("file:///data/a%20b%231.csv", "/data/a b#1.csv"),
            ("FILE:/data/a.csv", "/data/a.csv"),
            ("file://localhost/data/a.csv", "/data/a.csv"),
        ] {
            assert_eq!(parse(text), Location::File(path.into()), "{text}");
        }
        assert!(matches!(parse("HTTP://example.com"), Location::Http(_)));
        assert_eq!(parse("S3://bucket/key"), Location::Other("s3".into()));
    }

    #[test]
    fn malformed_uris_are_refused_with_the_reason() {
        for (text, reason) in [
            ("http://", "not a valid URL"),
            ("http://u:secret@/x", "not a valid URL"),
            ("file:a.csv", "absolute path"),
            ("file:///a.csv?x", "%3F"),
            ("file://server/a.csv", "another machine"),
        ] {
            let report = Location::parse(text, Stage::Fetch).expect_err(text).report();
            assert!(report.contains(reason) && !report.contains("secret"), "{report}");
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        for (uri, shown) in [
            ("http://me:pw@example.com/a.csv#part", "http://example.com/a.csv"),
            (
                "https://b.example/k?X-Amz-Signature=ab12&part=1&X%2DAmz-Credential=c",
                "https://b.example/k?X-Amz-Signature=***&part=1&X%2DAmz-Credential=***",
            ),
            (
                "https://b.example/k?sv=1&sig=ab%2F",
                "https://b.example/k?sv=1&sig=***",
            ),
            (
                "https://b.example/k?Subscription-Key=a&monkey=b&api_key=c&x-functions-key=d&page=2",
                "https://b.example/k?Subscription-Key=***&monkey=b&api_key=***&x-functions-key=***&page=2",
            ),
            (
                "https://b.example/k?code=a&zipcode=b&SESSIONID=c&jwt=d&AccessKeyId=e",
                "https://b.example/k?code=***&zipcode=b&SESSIONID=***&jwt=***&AccessKeyId=***",
            ),
            ("http://me:p@w@[::zz]/x?token=1", "http://[::zz]/x"),
            ("s3://id:key@bucket/a.csv", "s3://bucket/a.csv"),
            ("a@b.csv", "a@b.csv"),
            ("http://example.com", "http://example.com"),
        ] {
            assert_eq!(redact(uri), shown);
        }
    }

    #[test]
    fn uris_within_a_text_are_found() {
        for (text, shown) in [
            (
                r#"{"uri":"http://me:s3cret@h/a","url":"https://b?sig=s3cret&page=1","id":"a:b"}"#,
                r#"{"uri":"http://h/a","url":"https://b/?sig=***&page=1","id":"a:b"}"#,
            ),
            (r#"{"uri":"http:me:s3cret@h/a"}"#, r#"{"uri":"http://h/a"}"#),
            (
                r#"{"uri":"HTTPS:\\\\me:s3cret@h\\a"}"#,
                r#"{"uri":"https://h//a"}"#,
            ),
            (r#"{"uri":"http://me:s3cret\u0040h/a"}"#, r#"{"uri":"http:***"}"#),
            (
                "é→http://me:s3cret@h then ftp://u:s3cret@i/x",
                "é→http://h/ then ftp://i/x",
            ),
            ("no scheme: ://me:s3cret@h", "no scheme: :***"),
            (
                "fetch a.csv: record 3: no http://",
                "fetch a.csv: record 3: no http:***",
            ),
            ("nothing", "nothing"),
        ] {
            assert_eq!(redact_within(text), shown);
        }
    }

    #[test]
    fn a_path_as_a_uri_is_escaped() {
        let path = Path::new("/data/50% of#é ?.csv");
        let uri = file_uri(path);
        assert_eq!(uri, "file:///data/50%25%20of%23%C3%A9%20%3F.csv");
        assert_eq!(
            Location::parse(&uri, Stage::Fetch).unwrap(),
            Location::File(path.into())
        );
    }
}
