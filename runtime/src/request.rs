//! What a producer asks for: one input to ingest. Comes from the command line or, as a JSON document,
//! from a queue's intake list; goes to the queue.

use encoding_rs::Encoding;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use crate::error::{Error, Result, Stage};
use crate::format::Format;
use crate::format::csv::Dialect;

const URI_BYTES_MAX: usize = 8 * 1024;
const DELAY_MS_MAX: u64 = 366 * 24 * 3_600 * 1_000;

/// The range of [`NewRequest::priority`].
pub const PRIORITY: std::ops::RangeInclusive<i32> = -100..=100;

/// How to read the input, where its name and its first bytes do not say it well enough.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputOptions {
    /// By default from the content type or the name; CSV if neither says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// CSV: what stands between fields, one ASCII character; `,` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// CSV: what stands around fields that need it, one ASCII character; `"` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<char>,
    /// CSV: whether the first record names the columns; true by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// CSV: where to learn the delimiter and the quote that are not given; by default nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialect: Option<DialectFrom>,
    /// The encoding, by its name in the Encoding Standard and in lowercase; UTF-8 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// The SHA-256 that the file must have as it is fetched, before it is decompressed; in lowercase hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Where to learn how CSV is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DialectFrom {
    /// From the first records.
    Auto,
}

impl InputOptions {
    /// Checks each option and what they are together.
    ///
    /// # Errors
    /// The first rule that is broken, as a sentence.
    pub fn check(&self) -> Result<()> {
        if let Some(sha256) = &self.sha256
            && parse_sha256(sha256).as_ref() != Some(sha256)
        {
            return Err(refused(format!("sha256 \"{sha256}\" is not 64 hex digits")));
        }
        self.encoding()?;
        self.dialect().map(drop)
    }

    /// How to make UTF-8 of the input; none if it is UTF-8.
    ///
    /// # Errors
    /// If the encoding is not one that [`parse_encoding`] gives.
    pub fn encoding(&self) -> Result<Option<&'static Encoding>> {
        let Some(name) = &self.encoding else {
            return Ok(None);
        };
        match Encoding::for_label(name.as_bytes()) {
            Some(encoding) if parse_encoding(name).as_ref() == Some(name) => {
                Ok((encoding != encoding_rs::UTF_8).then_some(encoding))
            }
            _ => Err(refused(format!(
                "encoding \"{name}\" is not known: it may be utf-16 or latin-1"
            ))),
        }
    }

    /// How CSV is written, as far as it is given.
    ///
    /// # Errors
    /// If the delimiter or the quote is not one ASCII character, is a line end, or is the same as the other.
    pub fn dialect(&self) -> Result<Dialect> {
        let default = Dialect::default();
        let byte = |name: &str, value: Option<char>, default: u8| match value {
            None => Ok(default),
            Some(character @ ('\n' | '\r' | '\0')) => Err(refused(format!(
                "{name} \"{character}\" cannot stand between or around fields"
            ))),
            Some(character) => u8::try_from(character)
                .ok()
                .filter(u8::is_ascii)
                .ok_or_else(|| refused(format!("{name} \"{character}\" is not one ASCII character"))),
        };
        let dialect = Dialect {
            delimiter: byte("delimiter", self.delimiter, default.delimiter)?,
            quote: byte("quote", self.quote, default.quote)?,
        };
        if dialect.delimiter == dialect.quote {
            return Err(refused("delimiter and quote are the same character"));
        }
        Ok(dialect)
    }
}

/// A request as a producer submits it. The JSON form is the contract with producers in other languages:
/// `examples/request.schema.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewRequest {
    /// Names the request within its queue; submitting the same id again does nothing more.
    pub id: String,
    /// Where the input is.
    pub uri: String,
    /// Higher ones are claimed first.
    pub priority: i32,
    /// How long to wait before the first attempt.
    pub delay_ms: u64,
    /// How to read the input.
    #[serde(flatten)]
    pub input: InputOptions,
}

impl NewRequest {
    /// A request for `uri` under a random id, all else at its default.
    pub fn new(uri: impl Into<String>) -> Self {
        Self {
            id: uuid::Uuid::now_v7().to_string(),
            uri: uri.into(),
            priority: 0,
            delay_ms: 0,
            input: InputOptions::default(),
        }
    }

    /// Reads and checks a JSON document from an intake list; one without an `id` gets a random one.
    ///
    /// # Errors
    /// If it is not JSON, has an unknown member, or breaks a rule of [`NewRequest::check`].
    pub fn parse(document: &str) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Document {
            id: Option<String>,
            uri: String,
            #[serde(default)]
            priority: i32,
            #[serde(default)]
            delay_ms: u64,
            format: Option<Format>,
            delimiter: Option<char>,
            quote: Option<char>,
            header: Option<bool>,
            dialect: Option<DialectFrom>,
            encoding: Option<String>,
            sha256: Option<String>,
        }
        let document: Document =
            serde_json::from_str(document).map_err(|e| refused("is not a request document").because(e))?;
        let mut request = Self::new(document.uri);
        if let Some(id) = document.id {
            request.id = id;
        }
        request.priority = document.priority;
        request.delay_ms = document.delay_ms;
        request.input = InputOptions {
            format: document.format,
            delimiter: document.delimiter,
            quote: document.quote,
            header: document.header,
            dialect: document.dialect,
            encoding: document
                .encoding
                .map(|label| parse_encoding(&label).unwrap_or(label)),
            sha256: document.sha256.map(|text| parse_sha256(&text).unwrap_or(text)),
        };
        request.check()?;
        Ok(request)
    }

    /// Checks every member against its bounds.
    ///
    /// # Errors
    /// The first rule that is broken, as a sentence.
    pub fn check(&self) -> Result<()> {
        check_name("id", &self.id, 128)?;
        if self.uri.is_empty() || self.uri.len() > URI_BYTES_MAX || self.uri.contains(char::is_control) {
            return Err(refused(format!(
                "uri must have 1 to {URI_BYTES_MAX} bytes and no control characters"
            )));
        }
        if has_credentials(&self.uri) {
            return Err(refused(
                "uri has a user name or password, which would be in the queue for all to see: give them to the worker, with \
                 --credentials",
            ));
        }
        if !PRIORITY.contains(&self.priority) {
            return Err(refused(format!(
                "priority {} is not between {} and {}",
                self.priority,
                PRIORITY.start(),
                PRIORITY.end()
            )));
        }
        if self.delay_ms > DELAY_MS_MAX {
            return Err(refused(format!("delay_ms {} is more than a year", self.delay_ms)));
        }
        self.input.check()
    }

    /// SHA-256, in hex, of what the request asks for: its URI and input options, not its priority or delay.
    /// Two requests with one id must agree in it.
    pub fn content_digest(&self) -> String {
        let content = serde_json::to_vec(&(&self.uri, &self.input)).expect("strings serialize");
        hex(&Sha256::digest(content))
    }
}

/// A request as a queue holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Unique within the queue.
    pub id: String,
    /// The queue it was submitted to.
    pub queue: String,
    /// Where the input is.
    pub uri: String,
    /// Higher ones are claimed first.
    pub priority: i32,
    /// When the queue took it, in milliseconds since 1970 by the queue's clock.
    pub submitted_ms: i64,
    /// How to read the input.
    pub input: InputOptions,
}

/// Checks a name that becomes part of keys and file names.
///
/// # Errors
/// If it is empty, too long, has characters other than ASCII letters, digits, `.`, `_` and `-`, or starts
/// with a dot.
pub fn check_name(what: &str, name: &str, bytes_max: usize) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > bytes_max || name.starts_with('.') || !name.chars().all(allowed) {
        return Err(Error::permanent(
            Stage::Config,
            format!(
                "{what} \"{name}\" must have 1 to {bytes_max} ASCII letters, digits, '.', '_' or '-', not starting with '.'"
            ),
        ));
    }
    Ok(())
}

fn has_credentials(uri: &str) -> bool {
    Url::parse(uri).is_ok_and(|url| !url.username().is_empty() || url.password().is_some())
}

/// Checks the name of a queue.
///
/// # Errors
/// As [`check_name`], with at most 64 characters.
pub fn check_queue_name(name: &str) -> Result<()> {
    check_name("queue", name, 64)
}

/// A SHA-256 in hex, as this crate writes it: in lowercase. None if it is something else.
pub fn parse_sha256(text: &str) -> Option<String> {
    let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| text.to_ascii_lowercase())
}

/// An encoding's name as this crate writes it, by a label of the Encoding Standard such as `utf-16` or `latin1`, or by
/// `latin-1`. As there, Latin-1 is what Windows makes of it: a text has no control characters where that has letters.
pub fn parse_encoding(label: &str) -> Option<String> {
    let label = if label.eq_ignore_ascii_case("latin-1") {
        "latin1"
    } else {
        label
    };
    let encoding = Encoding::for_label_no_replacement(label.as_bytes())?;
    Some(encoding.name().to_ascii_lowercase())
}

/// Bytes as lowercase hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn refused(message: impl Into<String>) -> Error {
    Error::permanent(Stage::Config, format!("request: {}", message.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_needs_only_a_uri() {
        let request = NewRequest::parse(r#"{"uri":"http://example.com/a.csv"}"#).unwrap();
        assert_eq!(request.uri, "http://example.com/a.csv");
        assert_eq!(request.priority, 0);
        assert!(!request.id.is_empty());
    }

    #[test]
    fn a_document_that_breaks_a_rule_is_refused_with_the_reason() {
        for (document, reason) in [
            ("", "EOF"),
            ("[]", "invalid length"),
            (r#"{"uri":""}"#, "uri must have"),
            (r#"{"uri":"a\nb"}"#, "control characters"),
            (
                r#"{"uri":"https://me:pw@a.example/b"}"#,
                "a user name or password",
            ),
            (r#"{"uri":"HTTP:\\\\me@a.example/b"}"#, "a user name or password"),
            (r#"{"uri":"s3://:pw@bucket/b"}"#, "a user name or password"),
            (r#"{"uri":"a","prioritty":1}"#, "unknown field `prioritty`"),
            (r#"{"uri":"a","priority":101}"#, "priority 101 is not between"),
            (r#"{"uri":"a","id":"../x"}"#, "id \"../x\" must have"),
            (r#"{"uri":"a","delimiter":"\""}"#, "same character"),
            (r#"{"uri":"a","delimiter":"é"}"#, "not one ASCII character"),
            (r#"{"uri":"a","format":"xml"}"#, "unknown variant `xml`"),
            (
                r#"{"uri":"a","sha256":"abc"}"#,
                "sha256 \"abc\" is not 64 hex digits",
            ),
            (
                r#"{"uri":"a","encoding":"utf-17"}"#,
                "encoding \"utf-17\" is not known",
            ),
            (r#"{"uri":"a","encoding":"iso-2022-kr"}"#, "is not known"),
            (r#"{"uri":"a","dialect":"excel"}"#, "unknown variant `excel`"),
            (r#"{"uri":"a","sha256":1}"#, "invalid type: integer `1`"),
        ] {
            let report = NewRequest::parse(document).expect_err(document).report();
            assert!(report.contains(reason), "{document}: {report}");
        }
    }

    #[test]
    fn an_encoding_has_one_name() {
        for (label, name) in [
            ("UTF-16", "utf-16le"),
            ("utf-16be", "utf-16be"),
            ("Latin-1", "windows-1252"),
            ("latin1", "windows-1252"),
            ("iso-8859-1", "windows-1252"),
            ("cp1252", "windows-1252"),
            ("ISO-8859-15", "iso-8859-15"),
            ("utf8", "utf-8"),
            ("sjis", "shift_jis"),
        ] {
            let request = NewRequest::parse(&format!(r#"{{"uri":"a","encoding":"{label}"}}"#)).unwrap();
            assert_eq!(request.input.encoding.as_deref(), Some(name));
        }
        let utf8 = NewRequest::parse(r#"{"uri":"a","encoding":"utf-8"}"#).unwrap();
        assert_eq!(utf8.input.encoding().unwrap(), None);
        let wrong = InputOptions {
            encoding: Some("latin1".into()),
            ..InputOptions::default()
        };
        assert!(wrong.check().is_err(), "a queue holds names, not labels");
    }

    #[test]
    fn the_content_digest_leaves_priority_and_delay_out() {
        let request = NewRequest::new("a.csv");
        let mut other = NewRequest::new("a.csv");
        (other.priority, other.delay_ms) = (5, 1_000);
        assert_eq!(request.content_digest(), other.content_digest());
        other.input.header = Some(false);
        assert_ne!(request.content_digest(), other.content_digest());
    }

    #[test]
    fn the_content_digest_has_the_sha256_however_it_is_spelled() {
        let parse =
            |sha256: &str| NewRequest::parse(&format!(r#"{{"uri":"a.csv","sha256":"{sha256}"}}"#)).unwrap();
        let (lower, upper) = (parse(&"ab".repeat(32)), parse(&"AB".repeat(32)));
        assert_eq!(lower.input.sha256, Some("ab".repeat(32)));
        assert_eq!(lower.content_digest(), upper.content_digest());
        assert_ne!(lower.content_digest(), parse(&"cd".repeat(32)).content_digest());
        assert_ne!(lower.content_digest(), NewRequest::new("a.csv").content_digest());
    }
}
