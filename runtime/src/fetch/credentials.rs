//! Reads credentials for servers: the operator's document goes in; the headers for one URL come out.
//!
//! Requests in a queue never contain credentials, so no queue, log or receipt contains any. The operator gives the
//! credentials to the worker, each for one origin (scheme, host and port). The worker sends them only to that origin,
//! even if a redirect leads to another origin.

use std::collections::HashMap;
use std::fmt;
use std::fs::Metadata;
use std::path::Path;

use reqwest::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, IF_RANGE, RANGE,
    TRANSFER_ENCODING, USER_AGENT,
};
use url::{Origin, ParseError, Url};

use crate::document::{near_hint, open_named, read_text};
use crate::error::{Code, Error, Result, Stage};
use crate::location::redact;
use crate::trust;

/// The maximum size of the file in bytes: enough for thousands of origins, each with a long token.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The headers that are sent to each origin.
#[derive(Default)]
pub struct Credentials(HashMap<Origin, HeaderMap>);

/// The headers that only this program may set.
const OWN: [HeaderName; 8] = [
    ACCEPT_ENCODING,
    CONNECTION,
    CONTENT_LENGTH,
    HOST,
    IF_RANGE,
    RANGE,
    TRANSFER_ENCODING,
    USER_AGENT,
];

impl Credentials {
    /// Reads a file with a JSON document. The document maps each origin to an object of headers, as in
    /// `{"https://files.example.com": {"authorization": "Bearer ..."}}`.
    ///
    /// # Errors
    /// Fails permanently, with stage config. No error quotes the value of a header.
    pub fn read(path: &Path) -> Result<Self> {
        let refused = |why: String| {
            Error::permanent(
                Stage::Config,
                Code::SettingsInvalid,
                format!("--credentials {}: {why}", redact(&path.to_string_lossy())),
            )
        };
        let unread = |error| refused("cannot be read".into()).because(error);
        let file = open_named(path).map_err(|error| {
            let hint = near_hint(path, &error);
            let refused = unread(error);
            match hint {
                Some(hint) => refused.with_hint(hint),
                None => refused,
            }
        })?;
        let found = file.metadata().map_err(unread)?;
        warn_of_others(path, &found);
        // This reads the file that was checked above, even if another file has its name by now.
        let text = read_text(file, FILE_BYTES_MAX).map_err(unread)?;
        Self::parse(&text).map_err(refused)
    }

    fn parse(text: &str) -> Result<Self, String> {
        // The parser's message is left out, because it could quote a value.
        let document: HashMap<String, HashMap<String, String>> =
            strict_json::from_str(text).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                format!(
                    "line {line}, column {column}: expected {{\"https://HOST\": {{\"HEADER\": \"VALUE\"}}}}"
                )
            })?;
        let mut credentials = HashMap::new();
        for (origin, headers) in document {
            let url = origin_url(&origin)?;
            if credentials
                .insert(url.origin(), header_map(&url, headers)?)
                .is_some()
            {
                return Err(format!("{url} is there twice"));
            }
        }
        Ok(Self(credentials))
    }

    /// Returns the headers for a URL, or `None` if there are none for its origin. Also returns `None` if the URL
    /// contains a user name or a password, which a person may type on the command line.
    pub(super) fn headers_for(&self, url: &Url) -> Option<&HeaderMap> {
        let is_bare = url.username().is_empty() && url.password().is_none();
        self.0.get(&url.origin()).filter(|_| is_bare)
    }
}

/// Warns if other users can read or change the file.
fn warn_of_others(path: &Path, found: &Metadata) {
    let why = match trust::changed_by_others(found) {
        Some(why) => why,
        None if trust::read_by_others(found) => "others can read it",
        None => return,
    };
    let path = path.display().to_string();
    tracing::warn!(
        path,
        why,
        "the file of credentials is not this user's alone: make it yours, and `chmod go-rwx` it"
    );
}

/// Parses an origin, which is a URL without path, query, fragment, user name and password. Errors do not quote these
/// parts, because they could be secrets.
fn origin_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| match error {
        ParseError::RelativeUrlWithoutBase => "an origin: has no scheme: write https://HOST".to_owned(),
        _ => format!("an origin: {error}"),
    })?;
    let is_bare = url.username().is_empty() && url.password().is_none();
    let ends = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if matches!(url.scheme(), "http" | "https") && is_bare && ends {
        return Ok(url);
    }
    Err("an origin is a scheme, a host and maybe a port: write https://HOST or https://HOST:8443".into())
}

fn header_map(origin: &Url, headers: HashMap<String, String>) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let header: HeaderName = name
            .parse()
            .map_err(|_| format!("{origin}: {name:?} is not the name of a header"))?;
        if OWN.contains(&header) {
            return Err(format!("{origin}: {header} cannot be set"));
        }
        let mut value =
            HeaderValue::try_from(value).map_err(|_| format!("{origin}: not a value for {header}"))?;
        value.set_sensitive(true);
        let known = header.clone();
        if map.insert(header, value).is_some() {
            return Err(format!("{origin}: {known} is there twice"));
        }
    }
    Ok(map)
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials for {} origins", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let text = r#"{"https://Files.example": {"Authorization": "Bearer t", "x-key": "k"},
                       "http://10.0.0.5:8080": {"authorization": "Basic YTpi"}}"#;
        let credentials = Credentials::parse(text).unwrap();
        let known = |url: &str| {
            credentials
                .headers_for(&Url::parse(url).unwrap())
                .map(HeaderMap::len)
        };
        for (url, headers) in [
            ("https://files.example/a.csv", Some(2)),
            ("https://files.example:443/", Some(2)),
            ("https://FILES.example/b?c", Some(2)),
            ("http://10.0.0.5:8080/", Some(1)),
            ("http://files.example/", None),
            ("https://files.example:8443/", None),
            ("https://sub.files.example/", None),
            ("https://files.example.org/", None),
            ("http://10.0.0.5/", None),
            ("https://me:pw@files.example/a.csv", None),
        ] {
            assert_eq!(known(url), headers, "{url}");
        }
        assert_eq!(format!("{credentials:?}"), "Credentials for 2 origins");
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_never_quoted() {
        for (text, reason) in [
            ("", "line 1"),
            (
                r#"{"https://a.example": {"x": "s3cret"}, "https://a.example": {}}"#,
                "line 1, column",
            ),
            (
                r#"{"https://a.example": {"x": "s3cret", "X": "1"}}"#,
                "x is there twice",
            ),
            (r#"[["https://a.example", {"x": "s3cret"}]]"#, "line 1, column"),
            (r#"{"https://a.example": "s3cret"}"#, "line 1, column"),
            (
                r#"{"https://a.example": {"authorization": ["s3cret"]}}"#,
                "line 1, column",
            ),
            (r#"{"https://me:s3cret@a.example": {}}"#, "an origin is"),
            (r#"{"https://a.example/x?s3cret": {}}"#, "an origin is"),
            (r#"{"ftp://a.example": {}}"#, "an origin is"),
            (
                r#"{"s3cret": {}}"#,
                "an origin: has no scheme: write https://HOST",
            ),
            (
                r#"{"s3cret:8443": {}}"#,
                "write https://HOST or https://HOST:8443",
            ),
            (
                r#"{"https://a.example": {"a b": "s3cret"}}"#,
                "not the name of a header",
            ),
            (
                r#"{"https://a.example": {"Host": "s3cret"}}"#,
                "host cannot be set",
            ),
            (
                r#"{"https://a.example": {"range": "s3cret"}}"#,
                "range cannot be set",
            ),
            (r#"{"https://a.example": {"x": "s3cret\n"}}"#, "not a value for x"),
            (
                r#"{"https://a.example": {}, "https://A.example:443/": {}}"#,
                "is there twice",
            ),
        ] {
            let error = Credentials::parse(text).expect_err(text);
            assert!(error.contains(reason) && !error.contains("s3cret"), "{error}");
        }
    }
}
