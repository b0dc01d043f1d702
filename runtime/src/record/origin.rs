//! Says where the records of an input come from. The id and the URI of a request go in; the values that a plugin may ask
//! for come out.

use serde::{Deserialize, Serialize};

use crate::location::{bare, last_part};

/// The place from which the records of an input come. It depends on the request only, not on the attempt or the worker.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The id of the request, or `None` if the request has no id before its input is read.
    pub request_id: Option<String>,
    /// The requested URI or path, without user, password, query and fragment.
    pub uri: String,
    /// The last part of the URI's path, percent-decoded.
    pub name: String,
}

impl Origin {
    /// Returns the origin of the input of a request.
    pub fn of(request_id: Option<&str>, uri: &str) -> Self {
        Self {
            request_id: request_id.map(str::to_owned),
            uri: bare(uri),
            name: last_part(uri),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_a_name_and_no_secrets() {
        for (uri, shown, name) in [
            ("in/a b.csv", "in/a b.csv", "a b.csv"),
            ("what?.csv", "what?.csv", "what?.csv"),
            ("file:///data/a%20b.csv", "file:///data/a%20b.csv", "a b.csv"),
            (
                "https://me:secret@host/x/%C3%A9.csv.gz?token=1&day=2#top",
                "https://host/x/%C3%A9.csv.gz",
                "é.csv.gz",
            ),
            ("https://host/x/?page=2", "https://host/x/", "x"),
            ("https://host", "https://host", ""),
            (
                "s3://bucket/2026/a.csv?versionId=7",
                "s3://bucket/2026/a.csv",
                "a.csv",
            ),
            ("stdin:", "stdin:", ""),
        ] {
            let origin = Origin::of(Some("one"), uri);
            assert_eq!(
                (origin.uri.as_str(), origin.name.as_str()),
                (shown, name),
                "{uri}"
            );
            assert_eq!(origin.request_id.as_deref(), Some("one"));
        }
    }
}
