//! Defines requests. A request names one input to ingest. A producer submits it on the command line, or pushes it as a
//! JSON document to the intake list of a queue. The queue then stores the request.

mod defaults;
mod encoding;
mod input;
mod replay;
mod stored;

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use serde::de::{DeserializeOwned, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::error::Category;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use url::Url;

pub use self::encoding::{ASCII, encoding_refused, parse_encoding};
use self::input::given;
pub use self::input::{
    BlankRows, Character, DialectFrom, DuplicateColumns, InputOptions, LongRows, SKIP_FOOTER_MAX,
    SKIP_LINES_MAX, ShortRows, input_differences, parse_character,
};
pub use self::replay::{REPLAY_CODES_MAX, REPLAYS_MAX, Replay};
pub use self::stored::{ShownInput, StoredInput};
use crate::digest::parse_sha256;
use crate::document::without_mark;
use crate::error::{Code, Error, Result, Stage};
use crate::location::{has_userinfo, is_uri, redact};
use crate::names::{check_group_name, check_id};

const URI_CHARS_MAX: usize = 8 * 1024;
const DELAY_MS_MAX: u64 = 366 * 24 * 3_600 * 1_000;

/// The allowed range of [`NewRequest::priority`].
pub const PRIORITY: std::ops::RangeInclusive<i32> = -100..=100;

/// A request in the form in which a producer submits it. `schemas/request.schema.json` defines its JSON form for
/// producers in other languages.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct NewRequest {
    /// The request's id, which is unique within its queue. If the same request is submitted again under this id,
    /// nothing changes.
    pub id: String,
    /// The URI of the input.
    pub uri: String,
    /// The priority. Requests with a higher priority are claimed first.
    pub priority: i32,
    /// The wait before the first attempt, in milliseconds.
    pub delay_ms: u64,
    /// The name of the group of requests that it belongs to; it does not change how the request runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The options for reading the input.
    #[serde(flatten)]
    pub input: InputOptions,
    /// The rejects that the request processes again in place of an input. No document of a producer has this member.
    #[serde(skip)]
    pub replay: Option<Replay>,
}

impl fmt::Debug for NewRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewRequest")
            .field("id", &self.id)
            .field("uri", &redact(&self.uri))
            .field("priority", &self.priority)
            .field("delay_ms", &self.delay_ms)
            .field("group", &self.group)
            .field("input", &self.input)
            .field("replay", &self.replay)
            .finish()
    }
}

impl NewRequest {
    /// Returns a request for `uri` with a random id, and with defaults for the other members.
    pub fn new(uri: impl Into<String>) -> Self {
        Self {
            id: random_id(),
            uri: uri.into(),
            priority: 0,
            delay_ms: 0,
            group: None,
            input: InputOptions::default(),
            replay: None,
        }
    }

    /// Returns a replay. Its id is the id of its parent with the number of the replay.
    pub fn replaying(replay: Replay) -> Self {
        let uri = replay.uri();
        Self {
            id: Replay::id_of(&replay.parent, replay.number),
            replay: Some(replay),
            ..Self::new(uri)
        }
    }

    /// Reads and checks a JSON document from an intake list. If the document has no `id`, the request gets a random id.
    ///
    /// The input is given in one of two forms. Both give the same request:
    ///
    /// - `inputs` is a list with one element.
    /// - In the short form, the element's members are members of the document itself.
    ///
    /// A document is valid if all of this is true:
    ///
    /// - `schemas/request.schema.json` accepts it.
    /// - Its URI contains no credentials.
    /// - Its options for CSV do not contradict each other. For example, the delimiter and the quote must differ, and
    ///   the dialect `spaces` must not be given together with a delimiter.
    /// - Its encoding is known.
    ///
    /// # Errors
    /// Returns an error whose message is a sentence about the first broken rule.
    pub fn parse(document: &str) -> Result<Self> {
        let unfit = |error: serde_json::Error| refused("is not a request document").because(error);
        let mut members: Map<String, Value> =
            strict_json::from_str(without_mark(document)).map_err(|error| {
                match no_json(document, &error) {
                    Some(why) => refused(format!("is not a request document: {why}")),
                    None => unfit(error),
                }
            })?;
        let mut input = take_input(&mut members)?;
        if let Some(name) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
            return Err(refused("is not a request document").because(unknown_member(name)));
        }
        let document: RequestDocument = from_members(members).map_err(unfit)?;
        let uri = input
            .remove(URI)
            .ok_or_else(|| unfit(de::Error::missing_field(URI)))?;
        let uri = serde_json::from_value::<String>(uri).map_err(|error| unfit(in_member(URI, &error)))?;
        let mut request = Self::new(uri);
        if let Some(id) = document.id {
            request.id = id;
        }
        request.group = document.group;
        let (priority, delay_ms) = (document.priority.0, document.delay_ms.0);
        request.priority = i32::try_from(priority).map_err(|_| priority_refused(priority))?;
        request.delay_ms = u64::try_from(delay_ms).map_err(|_| delay_refused(delay_ms))?;
        let options: InputOptions = from_members(input).map_err(unfit)?;
        request.input = InputOptions {
            encoding: options
                .encoding
                .map(|label| parse_encoding(&label).unwrap_or(label)),
            sha256: options.sha256.map(|text| parse_sha256(&text).unwrap_or(text)),
            ..options
        };
        request.check()?;
        Ok(request)
    }

    /// Checks every member against its bounds.
    ///
    /// # Errors
    /// Returns an error whose message is a sentence about the first broken rule.
    pub fn check(&self) -> Result<()> {
        check_id(&self.id)?;
        self.group.as_deref().map_or(Ok(()), check_group_name)?;
        let is_long = self.uri.len() > URI_CHARS_MAX && self.uri.chars().count() > URI_CHARS_MAX;
        if self.uri.is_empty() || is_long || self.uri.contains(char::is_control) {
            return Err(refused(format!(
                "uri must have 1 to {URI_CHARS_MAX} characters and no control characters"
            )));
        }
        check_uri(&self.uri)?;
        if !PRIORITY.contains(&self.priority) {
            return Err(priority_refused(self.priority.into()));
        }
        if self.delay_ms > DELAY_MS_MAX {
            return Err(delay_refused(i64::try_from(self.delay_ms).unwrap_or(i64::MAX)));
        }
        if let Some(replay) = &self.replay {
            replay.check(refused)?;
        }
        self.input.check()
    }

    /// Returns the text in which a queue stores the options for reading the input.
    pub fn stored_input(&self) -> String {
        let stored = StoredInput {
            options: self.input.clone(),
            submitted: None,
            replay: self.replay.clone(),
        };
        stored.text()
    }

    /// Returns the SHA-256, in hex, of the request's content: its URI, its input options and its replay, but not its priority, its
    /// delay and its group. If a request is submitted under an id that the queue already has, the digests of both
    /// requests must be the same.
    pub fn content_digest(&self) -> String {
        match &self.replay {
            None => digest_of(&(&self.uri, &self.input)),
            Some(replay) => digest_of(&(&self.uri, &self.input, replay)),
        }
    }

    /// Returns the digest that the first versions of this program computed for this request, or `None` if this digest
    /// is the same as [`content_digest`](Self::content_digest). Those versions treated ASCII as Windows-1252. The queue
    /// accepts this digest, too. So a producer can submit again a request that such a version has stored.
    pub fn content_digest_before(&self) -> Option<String> {
        let is_ascii = self.input.encoding.as_deref() == Some(ASCII);
        let before = || InputOptions {
            encoding: Some(ASCII_BEFORE.to_owned()),
            ..self.input.clone()
        };
        is_ascii.then(|| digest_of(&(&self.uri, &before())))
    }
}

/// The encoding that the first versions of this program used for [`ASCII`].
const ASCII_BEFORE: &str = "windows-1252";

fn digest_of(content: &impl Serialize) -> String {
    let content = serde_json::to_vec(content).expect("strings serialize");
    HEXLOWER.encode(&Sha256::digest(content))
}

/// The members of a producer's document that do not belong to its input. A member without a value must be left out, and
/// must not be `null`.
#[derive(Deserialize)]
struct RequestDocument {
    #[serde(default, deserialize_with = "given")]
    id: Option<String>,
    #[serde(default)]
    priority: Integer,
    #[serde(default)]
    delay_ms: Integer,
    #[serde(default, deserialize_with = "given")]
    group: Option<String>,
}

/// The names of the members of a document that do not belong to its input.
const MEMBERS: [&str; 4] = ["id", "priority", "delay_ms", "group"];

const URI: &str = "uri";
const INPUTS: &str = "inputs";

/// Removes the members of the only input, which are its URI and its options, from a document. Returns these members.
fn take_input(members: &mut Map<String, Value>) -> Result<Map<String, Value>> {
    let names = || [URI].into_iter().chain(InputOptions::MEMBERS);
    let Some(inputs) = members.remove(INPUTS) else {
        return Ok(names().filter_map(|name| members.remove_entry(name)).collect());
    };
    if let Some(name) = names().find(|name| members.contains_key(*name)) {
        let what = format!("has {INPUTS} and {name}: give each member of an input in {INPUTS} only");
        return Err(refused(what));
    }
    let inputs: Vec<Map<String, Value>> = serde_json::from_value(inputs)
        .map_err(|error| refused("inputs is not a list of inputs").because(error))?;
    let count = inputs.len();
    let Ok([input]) = <[_; 1]>::try_from(inputs) else {
        let what = format!("has {count} {INPUTS}: this version reads one input a request");
        return Err(refused(what));
    };
    if let Some(name) = input.keys().find(|name| !names().any(|known| known == *name)) {
        return Err(refused("inputs has an unfit input").because(unknown_member(name)));
    }
    Ok(input)
}

fn unknown_member(name: &str) -> serde_json::Error {
    let known = [&MEMBERS[..], &[URI, INPUTS], &InputOptions::MEMBERS]
        .concat()
        .join(", ");
    de::Error::custom(format_args!(
        "unknown field `{name}`, expected one of {known}; if a newer version has it, update the worker"
    ))
}

/// Reads a struct of optional members. An error names the member that is invalid.
fn from_members<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, serde_json::Error> {
    let members = Value::Object(members);
    T::deserialize(&members).map_err(|error| {
        let alone = |(name, value): (&String, &Value)| {
            let member = Map::from_iter([(name.clone(), value.clone())]);
            T::deserialize(&Value::Object(member))
                .err()
                .map(|error| in_member(name, &error))
        };
        let named = members
            .as_object()
            .and_then(|members| members.iter().find_map(alone));
        named.unwrap_or(error)
    })
}

fn in_member(name: &str, error: &serde_json::Error) -> serde_json::Error {
    de::Error::custom(format_args!("{name}: {error}"))
}

/// An integer in any notation: `1`, `1.0` and `10e-1` are the same integer.
#[derive(Default)]
struct Integer(i64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Integral;
        impl Visitor<'_> for Integral {
            type Value = Integer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> std::result::Result<Integer, E> {
                Ok(Integer(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> std::result::Result<Integer, E> {
                Ok(Integer(i64::try_from(value).unwrap_or(i64::MAX)))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> std::result::Result<Integer, E> {
                if value.fract() != 0.0 {
                    return Err(E::invalid_type(Unexpected::Float(value), &self));
                }
                // A number that is out of range becomes the smallest or largest `i64`, which no member allows.
                Ok(Integer(value as i64))
            }
        }
        deserializer.deserialize_any(Integral)
    }
}

/// A request in the form in which a queue stores it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The request's id, which is unique within the queue.
    pub id: String,
    /// The queue that the request was submitted to.
    pub queue: String,
    /// The URI of the input.
    pub uri: String,
    /// The priority. Requests with a higher priority are claimed first.
    pub priority: i32,
    /// The time at which the queue accepted the request, in milliseconds since 1970 by the queue's clock.
    pub submitted_ms: i64,
    /// The name of the group of requests that it belongs to.
    pub group: Option<String>,
    /// The options for reading the input.
    pub input: InputOptions,
    /// The options with which the request was submitted, if a retry has changed them.
    pub submitted_input: Option<InputOptions>,
    /// The rejects that the request processes again in place of an input.
    pub replay: Option<Replay>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("id", &self.id)
            .field("queue", &self.queue)
            .field("uri", &redact(&self.uri))
            .field("priority", &self.priority)
            .field("submitted_ms", &self.submitted_ms)
            .field("group", &self.group)
            .field("input", &self.input)
            .field("submitted_input", &self.submitted_input)
            .field("replay", &self.replay)
            .finish()
    }
}

/// Returns a unique id. An id from a later millisecond is greater. If the clock shows a time before 1970, all ids
/// contain the time 0.
fn random_id() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = uuid::Timestamp::from_unix(uuid::NoContext, since.as_secs(), since.subsec_nanos());
    uuid::Uuid::new_v7(time).to_string()
}

/// Checks that a URI is a path or a valid URL, and contains no user name and no password.
///
/// # Errors
/// Fails if the URI is an invalid URL, or if it contains or could contain a user name or a password. The error never
/// quotes the URI.
pub fn check_uri(uri: &str) -> Result<()> {
    if has_userinfo(uri) {
        return Err(refused(
            "uri has a user name or password, which would be in the queue for all to see: give them to the worker, in the \
             environment for a store, and with --credentials for other servers",
        ));
    }
    match Url::parse(uri) {
        Err(error) if is_uri(uri) => {
            let what = "request: uri is not a valid URL";
            Err(Error::permanent(Stage::Config, Code::AddressInvalid, what).because(error))
        }
        _ => Ok(()),
    }
}

/// Returns the reason why a document is not JSON at all, in the words of a person who need not know the parser. Returns
/// `None` for other errors.
fn no_json(document: &str, error: &serde_json::Error) -> Option<&'static str> {
    let text = without_mark(document).trim_start();
    match error.classify() {
        _ if text.is_empty() => Some("it is empty"),
        Category::Eof => Some("its end is missing"),
        Category::Syntax if !text.starts_with(['{', '[', '"']) => Some("it is not JSON"),
        _ => None,
    }
}

fn priority_refused(priority: i64) -> Error {
    let (least, most) = (PRIORITY.start(), PRIORITY.end());
    refused(format!("priority {priority} is not between {least} and {most}"))
}

fn delay_refused(delay_ms: i64) -> Error {
    refused(format!(
        "delay_ms {delay_ms} is not between 0 and {DELAY_MS_MAX}, a year"
    ))
}

fn refused(message: impl Into<String>) -> Error {
    Error::permanent(
        Stage::Config,
        Code::RequestInvalid,
        format!("request: {}", message.into()),
    )
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
        // Some editors put a byte order mark before a document.
        let marked = NewRequest::parse("\u{feff}{\"uri\":\"a.csv\"}").unwrap();
        assert_eq!(marked.uri, "a.csv");
    }

    #[test]
    fn rules_that_the_schema_cannot_express_have_codes() {
        for (members, code) in [
            (r#""uri":"http://""#, Code::AddressInvalid),
            (r#""uri":"http://h:99999/""#, Code::AddressInvalid),
            (r#""uri":"http://me:x@h/""#, Code::RequestInvalid),
            (r#""uri":"a","delimiter":"\"""#, Code::OptionsInvalid),
            (
                r#""uri":"a","dialect":"spaces","delimiter":",""#,
                Code::OptionsInvalid,
            ),
            (
                r#""uri":"a","dialect":"spaces","quote":" ""#,
                Code::OptionsInvalid,
            ),
            (
                r#""uri":"a","dialect":"spaces","comment":"\t""#,
                Code::OptionsInvalid,
            ),
            (
                r#""uri":"a","dialect":"spaces","escape":"\t""#,
                Code::OptionsInvalid,
            ),
            (r#""uri":"a","trim":true,"quote":" ""#, Code::OptionsInvalid),
            (r#""uri":"a","encoding":"x""#, Code::OptionsInvalid),
        ] {
            let error = NewRequest::parse(&format!("{{{members}}}")).unwrap_err();
            assert_eq!(error.code(), code, "{members}: {error}");
        }
    }

    #[test]
    fn a_list_with_one_input_is_the_same_request_as_its_short_form() {
        let parse = |document: &str| NewRequest::parse(document).unwrap();
        for (list, short) in [
            (
                r#"{"id":"x","inputs":[{"uri":"a.csv"}]}"#,
                r#"{"id":"x","uri":"a.csv"}"#,
            ),
            (
                r#"{"id":"x","priority":3,"delay_ms":5,"inputs":[{"uri":"a.csv","trim":true,"encoding":"latin_1"}]}"#,
                r#"{"id":"x","priority":3,"delay_ms":5,"uri":"a.csv","trim":true,"encoding":"latin1"}"#,
            ),
        ] {
            assert_eq!(parse(list), parse(short));
            assert_eq!(parse(list).content_digest(), parse(short).content_digest());
        }
    }

    #[test]
    fn a_document_that_breaks_a_rule_is_refused_with_the_reason() {
        for (document, reason) in [
            ("", "it is empty"),
            (" \n", "it is empty"),
            ("not json", "is not a request document: it is not JSON"),
            ("a.csv", "it is not JSON"),
            (r#"{"uri":"a""#, "its end is missing"),
            (r#"{"uri":"a",}"#, "trailing comma at line 1 column 12"),
            ("[]", "invalid type: sequence"),
            (r#"["id","a.csv",0,0]"#, "invalid type: sequence"),
            ("\u{feff}\u{feff}{\"uri\":\"a\"}", "it is not JSON"),
            (r#"{"uri":"a"} {}"#, "trailing characters"),
            (r#"{"uri":"a","uri":"a"}"#, "the member \"uri\" is there twice"),
            (
                r#"{"uri":"a","priority":null}"#,
                "invalid type: null, expected an integer",
            ),
            (
                r#"{"uri":"a","id":null}"#,
                "invalid type: null, expected a string",
            ),
            (
                r#"{"uri":"a","format":null}"#,
                "invalid type: null, expected a string",
            ),
            (
                r#"{"uri":"a","format":{"csv":null}}"#,
                "invalid type: map, expected a string",
            ),
            (
                r#"{"uri":"a","priority":1.5}"#,
                "priority: invalid type: floating point `1.5`, expected an integer",
            ),
            (r#"{"uri":"a","priority":"1"}"#, "expected an integer"),
            (r#"{"uri":"a","delay_ms":-1}"#, "delay_ms -1 is not between"),
            (r#"{"uri":"a","delay_ms":1e300}"#, "is not between"),
            (r#"{"uri":"a","priority":1e999}"#, "number out of range"),
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
            (
                r#"{"uri":"a","dialect":"spaces","delimiter":";"}"#,
                "give one of the two",
            ),
            (r#"{"uri":"a","sha256":1}"#, "sha256: invalid type: integer `1`"),
            (r#"{"uri":1}"#, "uri: invalid type: integer `1`"),
            (r#"{"uri":"a","id":1}"#, "id: invalid type: integer `1`"),
            (
                r#"{"uri":"a","format":"csv","trim":"yes"}"#,
                "trim: invalid type: string",
            ),
            (
                r#"{"uri":"a","delimiter":";;"}"#,
                "delimiter: invalid value: string",
            ),
            (
                r#"{"inputs":[{"uri":"a","header":1}]}"#,
                "header: invalid type: integer `1`",
            ),
            (r#"{"id":"a"}"#, "missing field `uri`"),
            (r#"{"inputs":[{"format":"csv"}]}"#, "missing field `uri`"),
            (r#"{"inputs":[{"uri":"a"}],"uri":"a"}"#, "has inputs and uri"),
            (r#"{"inputs":[{"uri":"a"}],"trim":true}"#, "has inputs and trim"),
            (
                r#"{"inputs":[]}"#,
                "has 0 inputs: this version reads one input a request",
            ),
            (
                r#"{"inputs":[{"uri":"a"},{"uri":"b"}]}"#,
                "has 2 inputs: this version reads one input a request",
            ),
            (r#"{"inputs":null}"#, "invalid type: null, expected a sequence"),
            (
                r#"{"inputs":["a"]}"#,
                "invalid type: string \"a\", expected a map",
            ),
            (r#"{"inputs":[{"uri":"a","id":"b"}]}"#, "unknown field `id`"),
            (r#"{"inputs":[{"uri":"a","uri":"a"}]}"#, "is there twice"),
            (r#"{"inputs":[{"uri":"a","format":null}]}"#, "invalid type: null"),
            (
                r#"{"inputs":[{"uri":"https://me:pw@a.example/b"}]}"#,
                "a user name or password",
            ),
        ] {
            let report = NewRequest::parse(document).expect_err(document).report();
            assert!(report.contains(reason), "{document}: {report}");
        }
    }

    #[test]
    fn an_integer_is_one_however_it_is_written() {
        for (text, priority) in [
            ("1", 1),
            ("1.0", 1),
            ("1e1", 10),
            ("-0", 0),
            ("-0.0", 0),
            ("-1000e-2", -10),
        ] {
            let request = NewRequest::parse(&format!(r#"{{"uri":"a","priority":{text}}}"#)).unwrap();
            assert_eq!(request.priority, priority, "{text}");
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
    fn options_that_differ_are_named() {
        let options = |document: &str| NewRequest::parse(document).unwrap().input;
        let (plain, other) = (
            options(r#"{"uri":"a","format":"csv","delimiter":";"}"#),
            options(r#"{"uri":"a","format":"csv","delimiter":"\t","header":false}"#),
        );
        assert_eq!(
            plain.differences(&other),
            [
                r#"the delimiter was ";" and is "\t""#,
                "the header was not given and is false"
            ]
        );
        assert!(plain.differences(&plain).is_empty());
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
