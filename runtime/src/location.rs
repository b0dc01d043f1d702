//! Parses locations. A text from the command line or a queue goes in. A local path, an HTTP URL, or the name of another
//! scheme comes out.

mod object;
mod redact;

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use crate::error::{Code, Error, Result, Stage};
pub(crate) use object::escaped_key;
pub use object::{ObjectPrefix, ObjectUri, Provider};
pub use redact::{bare, has_userinfo, last_part, redact, redact_within};

/// The place that a URI or a plain path names.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    /// A local path. It is absolute if it comes from a `file:` URI.
    File(PathBuf),
    /// A URL with the scheme `http` or `https`.
    Http(Url),
    /// An `s3:`, `gs:` or `az:` URI.
    Object(ObjectUri),
    /// A URI with another scheme. The value is the scheme in lowercase, such as `ftp` or `sftp`.
    Other(String),
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Http(url) => f.debug_tuple("Http").field(&redact(url.as_str())).finish(),
            Self::Object(object) => f
                .debug_tuple("Object")
                .field(&redact(&object.to_string()))
                .finish(),
            Self::Other(scheme) => f.debug_tuple("Other").field(scheme).finish(),
        }
    }
}

impl Location {
    /// Parses a URI or a plain path. A text is a URI if it starts with a scheme: a letter, then at least one more
    /// letter, digit, `+`, `-` or `.`, and then a `:`. To name a file whose name starts in this way, write `./` before
    /// the name, as in `./name:with.colon`.
    ///
    /// # Errors
    /// Fails permanently, with the given stage, if a URI of a known scheme is malformed, or if a `file:` URI names
    /// another machine.
    pub fn parse(text: &str, stage: Stage) -> Result<Self> {
        let malformed =
            |why: &str| Error::permanent(stage, Code::AddressInvalid, format!("{}: {why}", redact(text)));
        let Some(scheme) = scheme(text) else {
            return Ok(Self::File(PathBuf::from(text)));
        };
        match scheme.as_str() {
            "http" | "https" => {
                // The parser would read `http:/x/a.csv` as the file `a.csv` of a host `x`.
                let host = text[scheme.len() + 1..].strip_prefix("//");
                if host.is_none_or(|host| host.starts_with(['/', '\\'])) {
                    return Err(malformed(&format!("a URL is written {scheme}://HOST/PATH")));
                }
                match Url::parse(text) {
                    Ok(url) => Ok(Self::Http(url)),
                    Err(error) => Err(malformed("is not a valid URL").because(error)),
                }
            }
            "file" => {
                // The parser would read `file:a.csv` as `/a.csv`, and a user hardly means that file.
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
            _ => match Provider::of_scheme(&scheme) {
                Some(provider) => ObjectUri::parse(provider, &text[scheme.len() + 1..])
                    .map(Self::Object)
                    .map_err(|why| malformed(&why)),
                None => Ok(Self::Other(scheme)),
            },
        }
    }
}

/// Returns whether a text is a URI and not a path: see [`Location::parse`]. The URI can be malformed.
pub fn is_uri(text: &str) -> bool {
    scheme(text).is_some()
}

/// Returns the scheme of a URI in lowercase, or `None` for a path.
pub(crate) fn scheme(text: &str) -> Option<String> {
    let (scheme, _) = text.split_once(':')?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    (scheme.len() > 1 && scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(allowed))
        .then(|| scheme.to_ascii_lowercase())
}

/// Returns a path in a spelling that is not parsed as a URI of another scheme.
pub fn path_uri(path: &Path) -> String {
    match path.to_str() {
        Some(text) if is_uri(text) => format!("./{text}"),
        Some(text) => text.to_owned(),
        None => file_uri(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned())),
    }
}

/// Returns the `file:` URI of an absolute path.
pub fn file_uri(path: &Path) -> String {
    Url::from_file_path(path).map_or_else(|()| path.display().to_string(), String::from)
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
        assert!(matches!(parse("S3://bucket/key"), Location::Object(_)));
        assert_eq!(parse("SFTP://host/key"), Location::Other("sftp".into()));
    }

    #[test]
    fn malformed_uris_are_refused_with_the_reason() {
        for (text, reason) in [
            ("http://", "not a valid URL"),
            ("http:/host/a.csv", "written http://HOST/PATH"),
            ("HTTPS:host/a.csv", "written https://HOST/PATH"),
            ("http:///host/a.csv", "written http://HOST/PATH"),
            ("http:\\\\host\\a.csv", "written http://HOST/PATH"),
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
