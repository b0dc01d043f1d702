//! Parses URIs of objects: a text such as `s3://bucket/key` goes in; the store, the bucket and the object's key come
//! out.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The characters of a key that a URI escapes, as URLs of other schemes do.
const ESCAPED_IN_KEYS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'#')
    .add(b'?')
    .add(b'%')
    .add(b'{')
    .add(b'}');

/// The maximum number of characters of a bucket's name: the length of the longest domain name.
const BUCKET_CHARS_MAX: usize = 255;

/// A kind of object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// Amazon S3, or a server with its interface.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

impl Provider {
    /// All kinds of stores.
    pub const ALL: [Self; 3] = [Self::S3, Self::Gcs, Self::Azure];

    /// Returns the scheme of its URIs.
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azure => "az",
        }
    }

    /// Returns the store's parameter for the version of an object, in its API and in URIs.
    pub const fn version_parameter(self) -> &'static str {
        match self {
            Self::S3 => "versionId",
            Self::Gcs => "generation",
            Self::Azure => "versionid",
        }
    }

    /// Returns the kind of store that URIs of a scheme (in lowercase) name.
    pub(crate) fn of_scheme(scheme: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.scheme() == scheme)
    }

    /// Returns the kind of store that other programs name by this scheme (in lowercase).
    pub(crate) fn of_other_scheme(scheme: &str) -> Option<Self> {
        match scheme {
            "s3a" | "s3n" => Some(Self::S3),
            "gcs" => Some(Self::Gcs),
            "abfs" | "abfss" | "adl" | "azure" | "wasb" | "wasbs" => Some(Self::Azure),
            _ => None,
        }
    }
}

/// The address of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectUri {
    /// The kind of store.
    pub provider: Provider,
    /// The bucket; on Azure, the container.
    pub bucket: String,
    /// The object's key, percent-decoded. It is not empty, and none of its parts between slashes is `.` or `..`.
    pub key: String,
    /// The version of the object; none for the current one.
    pub version: Option<String>,
}

impl ObjectUri {
    /// Parses the part of a URI after its scheme. The key is taken as it is written, except that `%` with two hex
    /// digits stands for a byte, as in other URIs.
    ///
    /// # Errors
    /// Returns the reason why the URI names no object.
    pub(super) fn parse(provider: Provider, rest: &str) -> Result<Self, String> {
        let Place { bucket, key, query } = Place::parse(provider, rest)?;
        if key.is_empty() {
            let scheme = provider.scheme();
            return Err(format!(
                "names no object: write {scheme}://{bucket}/KEY; `submit` takes {scheme}://{bucket}/ for all objects"
            ));
        }
        let parameter = provider.version_parameter();
        let version = match query {
            None => None,
            Some(query) => {
                let value = query
                    .strip_prefix(parameter)
                    .and_then(|rest| rest.strip_prefix('='));
                let value = value.filter(|value| !value.is_empty() && !value.contains(['&', '=']));
                let version = value
                    .map(percent_decode_str)
                    .and_then(|value| value.decode_utf8().ok());
                let known = format!(
                    "only ?{parameter}=VERSION may follow the key, and a ? of the key is written %3F"
                );
                Some(version.ok_or(known)?.into_owned())
            }
        };
        let bucket = bucket.to_owned();
        Ok(Self {
            provider,
            bucket,
            key,
            version,
        })
    }

    /// Returns the last part of the key, which other systems show as the name of a file.
    pub fn name(&self) -> &str {
        let key = self.key.trim_end_matches('/');
        key.rsplit('/')
            .next()
            .filter(|name| !name.is_empty())
            .unwrap_or(&self.key)
    }
}

/// Returns a key, or the beginning of keys, as it is written in a URI.
pub(crate) fn escaped_key(key: &str) -> impl fmt::Display {
    utf8_percent_encode(key, ESCAPED_IN_KEYS)
}

impl fmt::Display for ObjectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = escaped_key(&self.key);
        write!(f, "{}://{}/{key}", self.provider.scheme(), self.bucket)?;
        match &self.version {
            Some(version) => {
                let version = utf8_percent_encode(version, ESCAPED_IN_VERSIONS);
                write!(f, "?{}={version}", self.provider.version_parameter())
            }
            None => Ok(()),
        }
    }
}

/// The characters of a version that a URI escapes.
const ESCAPED_IN_VERSIONS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// All objects of a bucket whose keys begin with a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectPrefix {
    /// The kind of store.
    pub provider: Provider,
    /// The bucket; on Azure, the container.
    pub bucket: String,
    /// The beginning of the keys, percent-decoded. It is empty or ends with a slash.
    pub prefix: String,
}

impl ObjectPrefix {
    /// Parses `s3://bucket` or `s3://bucket/prefix/`.
    ///
    /// # Errors
    /// Returns the reason why the text names no prefix.
    pub fn parse(text: &str) -> Result<Self, String> {
        let example = "write s3://BUCKET or s3://BUCKET/PREFIX/, with the scheme s3, gs or az";
        let provider = super::scheme(text).and_then(|scheme| Provider::of_scheme(&scheme));
        let provider = provider.ok_or(example)?;
        let rest = &text[provider.scheme().len() + 1..];
        let Place { bucket, key, query } = Place::parse(provider, rest)?;
        if query.is_some() {
            return Err("takes no parameters, and a ? of a key is written %3F".into());
        }
        if !key.is_empty() && !key.ends_with('/') {
            return Err(format!("a prefix ends with a slash: {example}"));
        }
        let bucket = bucket.to_owned();
        Ok(Self {
            provider,
            bucket,
            prefix: key,
        })
    }

    /// Returns whether one of the two prefixes is within the other, or both are the same.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.provider == other.provider
            && self.bucket == other.bucket
            && (self.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&self.prefix))
    }

    /// Returns whether an object is below this prefix.
    pub fn contains(&self, object: &ObjectUri) -> bool {
        object.provider == self.provider
            && object.bucket == self.bucket
            && object.key.starts_with(&self.prefix)
            && object.key != self.prefix
    }
}

impl fmt::Display for ObjectPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = utf8_percent_encode(&self.prefix, ESCAPED_IN_KEYS);
        write!(f, "{}://{}/{prefix}", self.provider.scheme(), self.bucket)
    }
}

/// A place in a store: a bucket, and a key that may be empty.
struct Place<'a> {
    bucket: &'a str,
    key: String,
    query: Option<&'a str>,
}

impl<'a> Place<'a> {
    fn parse(provider: Provider, rest: &'a str) -> Result<Self, String> {
        let scheme = provider.scheme();
        let Some(rest) = rest.strip_prefix("//") else {
            return Err(format!("an object is written {scheme}://BUCKET/KEY"));
        };
        if rest.contains('#') {
            return Err("a # of a key is written %23".into());
        }
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        check_bucket(provider, bucket)?;
        let key = percent_decode_str(key).decode_utf8();
        let key = key.map_err(|_| "the key is not UTF-8 once its %XX are decoded")?;
        // Some servers take a backslash for a slash.
        if key.split(['/', '\\']).any(|part| matches!(part, "." | "..")) {
            let why =
                "a part of the key between slashes is . or .., which URLs cannot name: rename the object";
            return Err(why.into());
        }
        let key = key.into_owned();
        Ok(Self { bucket, key, query })
    }
}

/// Checks the name of a bucket. A name that passes can be a part of a URL's host or path without a change.
fn check_bucket(provider: Provider, bucket: &str) -> Result<(), String> {
    let scheme = provider.scheme();
    if bucket.is_empty() {
        return Err(format!("names no bucket: write {scheme}://BUCKET/KEY"));
    }
    if bucket.contains('@') {
        let why = match provider {
            Provider::Azure => "the account comes from the settings of the store, and not from the URI",
            _ => "credentials come from the settings of the store, and never from a URI",
        };
        return Err(format!(
            "has an @ before its key: {why}; write {scheme}://BUCKET/KEY"
        ));
    }
    if bucket.starts_with("arn:") {
        return Err("an ARN is not supported: use the bucket's name, or the alias of an access point".into());
    }
    if bucket.ends_with("--x-s3") {
        return Err("directory buckets (S3 Express One Zone) are not supported".into());
    }
    // Azure has the containers $root, $web and $logs.
    let name = match provider {
        Provider::Azure => bucket.strip_prefix('$').unwrap_or(bucket),
        _ => bucket,
    };
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_name = bucket.len() <= BUCKET_CHARS_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(is_allowed);
    match is_name {
        true => Ok(()),
        false => Err(format!(
            "has no valid name of a bucket after {scheme}://, which has ASCII letters, digits, -, _ and . only"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Stage;
    use crate::location::Location;

    fn object(text: &str) -> ObjectUri {
        match Location::parse(text, Stage::Fetch) {
            Ok(Location::Object(object)) => object,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_key_is_taken_as_it_is_written_except_for_percent_escapes() {
        for (uri, key) in [
            ("s3://bucket/2017/10/a.csv", "2017/10/a.csv"),
            ("S3://bucket/a.csv", "a.csv"),
            ("s3://bucket/a b+c.csv", "a b+c.csv"),
            ("s3://bucket/a%20b%2Bc.csv", "a b+c.csv"),
            ("s3://bucket/100%.csv", "100%.csv"),
            ("s3://bucket/100%25.csv", "100%.csv"),
            ("s3://bucket/a%3Fb%23c.csv", "a?b#c.csv"),
            ("s3://bucket/t=00%253A00/a.csv", "t=00%3A00/a.csv"),
            ("s3://bucket//a//b/", "/a//b/"),
            ("s3://bucket/a%2Fb", "a/b"),
            ("s3://bucket/...", "..."),
            ("s3://bucket/a..b/.c", "a..b/.c"),
            ("s3://bucket/%252e%252e/b", "%2e%2e/b"),
            ("s3://bucket/a@b:c\\d.csv", "a@b:c\\d.csv"),
            ("s3://bucket/größe.csv", "größe.csv"),
            ("s3://bucket/gr%C3%B6%C3%9Fe.csv", "größe.csv"),
        ] {
            let found = object(uri);
            assert_eq!(
                (found.bucket.as_str(), found.key.as_str()),
                ("bucket", key),
                "{uri}"
            );
            assert_eq!(object(&found.to_string()), found, "{uri}: {found}");
            let url = url::Url::parse(&found.to_string()).unwrap();
            assert_eq!(url.as_str(), found.to_string(), "no URL parser changes it");
        }
    }

    #[test]
    fn each_store_has_its_scheme_and_its_name_of_a_version() {
        for (uri, provider, bucket, version) in [
            (
                "s3://Old_Bucket.x/k?versionId=a%2Fb+c",
                Provider::S3,
                "Old_Bucket.x",
                Some("a/b+c"),
            ),
            ("gs://b/k?generation=17", Provider::Gcs, "b", Some("17")),
            ("az://$root/k", Provider::Azure, "$root", None),
            (
                "az://c/k?versionid=2026-01-01T00:00:00Z",
                Provider::Azure,
                "c",
                Some("2026-01-01T00:00:00Z"),
            ),
        ] {
            let found = object(uri);
            assert_eq!(
                (found.provider, found.bucket.as_str(), found.version.as_deref()),
                (provider, bucket, version)
            );
            assert_eq!(object(&found.to_string()), found, "{found}");
        }
        assert_eq!(
            object("s3://b/k?versionId=a%2Fb+c").to_string(),
            "s3://b/k?versionId=a%2Fb%2Bc"
        );
    }

    #[test]
    fn the_name_is_the_last_part_of_the_key() {
        for (uri, name) in [
            ("s3://b/x/a.csv.gz", "a.csv.gz"),
            ("s3://b/x/y/", "y"),
            ("s3://b///", "//"),
        ] {
            assert_eq!(object(uri).name(), name);
        }
    }

    #[test]
    fn what_names_no_object_is_refused_with_the_reason() {
        let parse = |text: &str| Location::parse(text, Stage::Fetch).expect_err(text).report();
        for (uri, reason) in [
            ("s3:bucket/a.csv", "written s3://BUCKET/KEY"),
            ("s3:/bucket/a.csv", "written s3://BUCKET/KEY"),
            ("s3:///a.csv", "names no bucket"),
            ("s3://bucket", "write s3://bucket/KEY"),
            ("s3://bucket/", "write s3://bucket/KEY"),
            ("s3://bucket?versionId=1", "write s3://bucket/KEY"),
            ("s3://bucket/a.csv#1", "written %23"),
            ("s3://bucket/a.csv?", "only ?versionId=VERSION"),
            ("s3://bucket/a.csv?versionId=", "only ?versionId=VERSION"),
            ("s3://bucket/a.csv?versionid=1", "only ?versionId=VERSION"),
            ("s3://bucket/a.csv?versionId=1&x=2", "only ?versionId=VERSION"),
            ("s3://bucket/a.csv?region=eu-west-1", "only ?versionId=VERSION"),
            ("gs://bucket/a.csv?versionId=1", "only ?generation=VERSION"),
            ("s3://id:S3cr3t@bucket/a.csv", "never from a URI"),
            ("s3://id:S3c/r3t@bucket/a.csv", "no valid name"),
            ("s3://bucket:9000/a.csv", "no valid name"),
            ("s3://buck%65t/a.csv", "no valid name"),
            ("s3://buck et/a.csv", "no valid name"),
            ("s3://../a.csv", "no valid name"),
            ("s3://$root/a.csv", "no valid name"),
            ("s3://arn:aws:s3:::bucket/a.csv", "an ARN"),
            ("s3://b--use1-az4--x-s3/a.csv", "S3 Express"),
            (
                "az://container@account.dfs.core.windows.net/a.csv",
                "the account comes from",
            ),
            ("s3://bucket/../other/a.csv", ". or .."),
            ("s3://bucket/a/%2e%2E/b", ". or .."),
            ("s3://bucket/a%2F..%2Fb", ". or .."),
            ("s3://bucket/./b", ". or .."),
            ("s3://bucket/a\\..\\b", ". or .."),
            ("s3://bucket/%ff", "not UTF-8"),
        ] {
            let report = parse(uri);
            assert!(report.contains(reason), "{uri}: {report}");
            assert!(!report.contains("S3c") && !report.contains("r3t"), "{report}");
        }
    }

    #[test]
    fn a_prefix_covers_what_is_below_it() {
        let prefix = |text| ObjectPrefix::parse(text).unwrap();
        for (text, uri, covered) in [
            ("s3://lake", "s3://lake/a.csv", true),
            ("s3://lake/", "s3://lake//a.csv", true),
            ("S3://lake/in/", "s3://lake/in/a.csv", true),
            ("s3://lake/in/", "s3://lake/i%6E/a.csv?versionId=1", true),
            ("s3://lake/in/", "s3://lake/in/", false),
            ("s3://lake/in/", "s3://lake/inner/a.csv", false),
            ("s3://lake/in/", "s3://lake/IN/a.csv", false),
            ("s3://lake/in/", "s3://lake//in/a.csv", false),
            ("s3://lake", "s3://LAKE/a.csv", false),
            ("s3://lake", "s3://lake2/a.csv", false),
            ("s3://lake", "gs://lake/a.csv", false),
        ] {
            assert_eq!(prefix(text).contains(&object(uri)), covered, "{text} {uri}");
        }
        for (text, reason) in [
            ("lake", "write s3://BUCKET"),
            ("https://lake", "write s3://BUCKET"),
            ("s3://lake/in", "ends with a slash"),
            ("s3://*", "no valid name"),
            ("s3://lake/?versionId=1", "no parameters"),
            ("s3://lake/../", ". or .."),
        ] {
            let why = ObjectPrefix::parse(text).expect_err(text);
            assert!(why.contains(reason), "{text}: {why}");
        }
    }
}
