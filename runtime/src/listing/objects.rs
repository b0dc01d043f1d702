//! Finds objects: a pattern such as `s3://bucket/2017/*.csv` goes in, and the objects that it matches come out, one at a
//! time.

use glob::Pattern;
use percent_encoding::percent_decode_str;
use tokio::runtime::Handle;

use super::walk::AS_A_SHELL;
use super::{ID_DIGEST_CHARS, Listed, ListedInput};
use crate::error::{Code, Error, Result, Stage};
use crate::location::{Location, ObjectPrefix, redact};
use crate::names::derived_id;
use crate::storage::object::{FoundObject, ListedPrefix, ObjectStores};

/// The folder of objects that are not outputs, below an output of this program. A wildcard does not match it.
const PRIVATE: &str = "_ingest";

/// A pattern for the keys of one bucket. `*` stands for any characters but a slash, and `**` for any number of nested
/// folders. All other characters stand for themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPattern {
    /// The pattern, without secrets.
    shown: String,
    /// The objects to list, of which some match.
    place: ListedPrefix,
    segments: Vec<Segment>,
}

/// The part of a pattern between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Pattern(Pattern),
    /// `**`: any number of nested folders.
    Folders,
}

impl ObjectPattern {
    /// Parses the URI of an object store. A slash at its end stands for all objects below. Returns `None` if the URI names
    /// one object.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if the URI is no pattern and names no object either.
    pub(super) fn parse(text: &str) -> Result<Option<Self>> {
        let is_folder = text.ends_with('/');
        if !is_folder && !text.contains('*') {
            return Ok(None);
        }
        let refused = |why: &str| {
            let what = format!("{}: {why}", redact(text));
            Error::permanent(Stage::Config, Code::AddressInvalid, what)
        };
        if text.contains('?') {
            return Err(refused(
                "a pattern takes no parameters, and a ? of a key is written %3F",
            ));
        }
        let (provider, bucket) = match ObjectPrefix::parse(text) {
            Ok(prefix) => (prefix.provider, prefix.bucket),
            Err(_) => match Location::parse(text, Stage::Config)? {
                Location::Object(object) => (object.provider, object.bucket),
                _ => return Err(refused("is no pattern of an object store")),
            },
        };
        let (_, behind) = text.split_once("://").unwrap_or_default();
        let (_, key) = behind.split_once('/').unwrap_or_default();
        let escaped = escaped(key).ok_or_else(|| refused("the key is not UTF-8 once its %XX are decoded"))?;
        let literal = key.split('*').next().unwrap_or_default();
        let prefix = percent_decode_str(literal).decode_utf8_lossy().into_owned();
        let mut segments = Vec::new();
        for segment in escaped.split('/') {
            segments.push(match segment {
                "**" => Segment::Folders,
                _ => Segment::Pattern(
                    Pattern::new(segment).map_err(|error| refused("is no pattern").because(error))?,
                ),
            });
        }
        if is_folder {
            // The part behind the last slash is empty.
            segments.pop();
            segments.push(Segment::Folders);
        }
        if let Some(Segment::Folders) = segments.last() {
            segments.push(Segment::Pattern(Pattern::new("*").expect("a pattern")));
        }
        let below_prefix = segments.len() - 1 - prefix.matches('/').count().min(segments.len() - 1);
        Ok(Some(Self {
            shown: redact(text),
            place: ListedPrefix {
                provider,
                bucket,
                prefix,
                is_flat: below_prefix == 0,
            },
            segments,
        }))
    }

    /// Passes each object that matches to `each`, in the order of the store, until `each` fails. If the list breaks off
    /// after the first match, returns its error, because there may be more matches.
    ///
    /// # Errors
    /// Fails with stage fetch: permanently if no object matches, if there is no such bucket or a right is missing;
    /// transiently if the store does not answer. Fails as `each` does.
    pub fn for_each(
        &self,
        stores: &ObjectStores,
        runtime: &Handle,
        mut each: impl FnMut(ListedInput) -> Result<()>,
    ) -> Result<Listed> {
        let mut list = stores
            .list(&self.place, runtime.clone())
            .map_err(|error| error.about(&self.shown))?;
        let (mut has_found, mut listed) = (false, Listed::default());
        loop {
            let page = match list.next_page() {
                Ok(Some(page)) => page,
                Ok(None) if has_found => return Ok(listed),
                Ok(None) => return Err(self.missing()),
                Err(error) if has_found => {
                    listed.unread = Some(error);
                    return Ok(listed);
                }
                Err(error) => return Err(error),
            };
            for object in page.iter().filter(|object| self.matches(&object.uri.key)) {
                has_found = true;
                each(input_of(object))?;
            }
        }
    }

    fn missing(&self) -> Error {
        let why = match self.shown.ends_with('/') {
            true => "no object is below this prefix: check the bucket and the prefix",
            false => "no object matches this pattern: check the bucket and the pattern",
        };
        let what = format!("{}: {why}", self.shown);
        Error::permanent(Stage::Fetch, Code::InputMissing, what)
    }

    /// Returns whether a key matches. As in a shell, a wildcard does not match a dot at the beginning of a name. Nor does it
    /// match the folder of this program.
    fn matches(&self, key: &str) -> bool {
        let segments = &self.segments;
        let mut parts = key.split('/').peekable();
        // The positions in the pattern that the key has reached.
        let mut reached = vec![false; segments.len() + 1];
        reached[0] = true;
        while let Some(part) = parts.next() {
            let is_folder = parts.peek().is_some();
            let mut next = vec![false; reached.len()];
            for at in 0..segments.len() {
                if !reached[at] {
                    continue;
                }
                match &segments[at] {
                    Segment::Folders => {
                        // It may stand for no folder.
                        reached[at + 1] = true;
                        next[at] |= is_folder && !part.starts_with('.') && part != PRIVATE;
                    }
                    Segment::Pattern(pattern) => {
                        let is_private = part == PRIVATE && pattern.as_str() != PRIVATE;
                        next[at + 1] |= !is_private && pattern.matches_with(part, AS_A_SHELL);
                    }
                }
            }
            reached = next;
        }
        reached[segments.len()]
    }
}

/// Returns a key with the wildcard `*` as a pattern of the crate `glob`, or `None` if it is not UTF-8. Brackets, `%2A` and
/// all other characters stand for themselves.
fn escaped(key: &str) -> Option<String> {
    let literals = key.split('*').map(|literal| {
        let decoded = percent_decode_str(literal).decode_utf8().ok()?;
        Some(Pattern::escape(&decoded))
    });
    Some(literals.collect::<Option<Vec<_>>>()?.join("*"))
}

/// Returns the input for an object. The id is made of values that a store's notification of a new object has, too.
fn input_of(object: &FoundObject) -> ListedInput {
    let uri = object.uri.to_string();
    let etag = object.etag.as_deref().map(|etag| etag.trim_matches('"'));
    let state = object.generation.as_deref().or(etag).unwrap_or_default();
    let content = format!("{uri}\n{}\n{state}", object.bytes);
    ListedInput {
        id: derived_id(object.uri.name(), &content, ID_DIGEST_CHARS),
        uri,
        version: object.etag.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::{ObjectUri, Provider};
    use crate::request::NewRequest;

    fn pattern(text: &str) -> ObjectPattern {
        ObjectPattern::parse(text).unwrap().expect(text)
    }

    #[test]
    fn a_pattern_matches_whole_keys() {
        for (text, matches, others) in [
            (
                "s3://b/2017/*.csv.gz",
                &[
                    "2017/a.csv.gz",
                    "2017/*.csv.gz",
                    "2017/[x]?.csv.gz",
                    "2017/%2A.csv.gz",
                ][..],
                &[
                    "2017/a.csv",
                    "2017/x/a.csv.gz",
                    "2017/.a.csv.gz",
                    "x/2017/a.csv.gz",
                    "2017/a.csv.gz/",
                ][..],
            ),
            (
                "gs://b/**/*.csv",
                &["a.csv", "x/a.csv", "x/y/z/a.csv", "//a.csv"],
                &[
                    ".x/a.csv",
                    "x/.y/a.csv",
                    "_ingest/q/a.csv",
                    "x/_ingest/a.csv",
                    "a.csv/b",
                ],
            ),
            (
                "az://b/",
                &["a", "x/y", "x//y", "größe/a b", "x/"],
                &[".a", "_ingest/create-check", "out/_ingest/q/receipts/a.json"],
            ),
            (
                "s3://b/out/_ingest/*/receipts/*",
                &["out/_ingest/q/receipts/a.json"],
                &["out/_ingest/_ingest/receipts/a"],
            ),
            (
                "s3://b/[x]%2A*%3F/",
                &["[x]*y?/z", "[x]*?/a/b"],
                &["xy?/z", "[x]y?/z", "[x]*y/z"],
            ),
            ("s3://b/a%2Fb/*", &["a/b/c"], &["a/b/c/d"]),
            ("s3://b/%25*", &["%a", "%25"], &["a"]),
            ("s3://b/gr%C3%B6*", &["größe"], &["gr%C3%B6x"]),
            ("s3://b/x*/", &["x1/a", "x/b/c"], &["x1", "y/x1/a"]),
            ("s3://b/**", &["a", "x/a"], &[]),
            ("s3://b/*", &["a"], &["x/a"]),
            ("s3://b//*", &["/a"], &["a", "//a"]),
        ] {
            let pattern = pattern(text);
            for key in matches {
                assert!(pattern.matches(key), "{text} {key}");
                assert!(key.starts_with(&pattern.place.prefix), "{text} {key}");
            }
            for key in others {
                assert!(!pattern.matches(key), "{text} {key}");
            }
        }
    }

    #[test]
    fn the_store_lists_no_more_than_it_must() {
        for (text, prefix, is_flat) in [
            ("s3://b/2017/a*.csv", "2017/a", true),
            ("s3://b/2017/*/a.csv", "2017/", false),
            ("s3://b/2017/", "2017/", false),
            ("s3://b/2017/**", "2017/", false),
            ("s3://b/*", "", true),
            ("s3://b/", "", false),
            ("s3://b/%5B%25%3F/x*", "[%?/x", true),
            ("s3://b/x*/", "x", false),
        ] {
            let place = pattern(text).place;
            assert_eq!((&*place.prefix, place.is_flat), (prefix, is_flat), "{text}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_an_object_or_an_error() {
        for text in ["s3://b/a", "s3://b/[a]?versionId=1", "gs://b/a%2A", "s3://b"] {
            assert_eq!(ObjectPattern::parse(text).unwrap(), None, "{text}");
        }
        for (text, why) in [
            ("s3://b/*?versionId=1", "takes no parameters"),
            ("s3://b/**x", "is no pattern"),
            ("s3://b/a/../*", ". or .."),
            ("s3://b/%ff*", "not UTF-8"),
            ("s3://b/*#", "written %23"),
            ("s3:///*", "names no bucket"),
            ("s3://b*/a", "no valid name"),
            ("s3://k:s3cr3t@b/*", "never from a URI"),
        ] {
            let error = ObjectPattern::parse(text).expect_err(text).report();
            assert!(
                error.contains(why) && !error.contains("s3cr3t"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn the_uri_of_an_object_reads_exactly_its_key() {
        for key in [
            "a*b.csv",
            "a?b.csv",
            "[a].csv",
            "100%.csv",
            "t=00%3A00/%2A.csv",
            "größe/日本.csv",
            "a b+c&d.csv",
            " a ",
            "x//y/",
            "a#b",
            "token=abc/x.csv",
            "a@b:c/d.csv",
            "\u{1}\r\n\t",
            "a\\b",
        ] {
            let object = FoundObject {
                uri: ObjectUri {
                    provider: Provider::S3,
                    bucket: "b".into(),
                    key: key.into(),
                    version: None,
                },
                bytes: 3,
                etag: Some("\"e\"".into()),
                generation: None,
            };
            let input = input_of(&object);
            match Location::parse(&input.uri, Stage::Fetch) {
                Ok(Location::Object(parsed)) => assert_eq!(parsed, object.uri),
                other => panic!("{key}: {other:?}"),
            }
            let mut request = NewRequest::new(&*input.uri);
            (request.id, request.input.version) = (input.id, input.version);
            request.check().expect(key);
        }
    }

    #[test]
    fn an_id_is_that_of_a_version_of_an_object() {
        let of = |bytes, etag: &str, generation: Option<&str>| {
            input_of(&FoundObject {
                uri: ObjectUri {
                    provider: Provider::Gcs,
                    bucket: "b".into(),
                    key: "x/alarms-2017.csv.gz".into(),
                    version: None,
                },
                bytes,
                etag: Some(etag.into()),
                generation: generation.map(str::to_owned),
            })
        };
        let one = of(1, "\"e\"", None);
        assert!(one.id.starts_with("alarms-2017-"), "{}", one.id);
        assert_eq!(
            (one.uri.as_str(), one.version.as_deref()),
            ("gs://b/x/alarms-2017.csv.gz", Some("\"e\""))
        );
        assert_eq!(one.id, of(1, "e", None).id, "notifications leave the quotes out");
        assert_ne!(one.id, of(2, "\"e\"", None).id);
        assert_ne!(one.id, of(1, "\"f\"", None).id);
        assert_eq!(of(1, "\"e\"", Some("7")).id, of(1, "\"f\"", Some("7")).id);
        assert_ne!(of(1, "\"e\"", Some("7")).id, of(1, "\"e\"", Some("8")).id);
    }
}
