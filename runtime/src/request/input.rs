//! Defines the options for reading an input. Producers, bindings and workers give these options as members of a
//! document or as flags of a command. All of them use [`InputOptions`], and [`InputOptions::or`] merges the options.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use encoding_rs::Encoding;
use serde::de::{IntoDeserializer, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use super::Integer;
use super::encoding::{encoding_refused, parse_encoding};
use crate::digest::parse_sha256;
use crate::error::{Code, Error, Result, Stage};
use crate::format::Format;
use crate::format::csv::{Dialect, RowRules, Syntax};

/// The highest value of [`InputOptions::skip_lines`].
pub const SKIP_LINES_MAX: u32 = 1_000_000;

/// The highest value of [`InputOptions::skip_footer`]. It is low because this number of rows is held back in memory
/// while the input is read.
pub const SKIP_FOOTER_MAX: u32 = 1_000;

/// The maximum number of characters of [`InputOptions::version`].
const VERSION_CHARS_MAX: usize = 1_024;

/// The options for reading an input. They are needed if the name and the first bytes of the input do not show how to
/// read it. The options for CSV have no effect on other formats.
///
/// Stored options with an unknown member are refused. A newer program has written the member, and without it the input
/// could be read wrongly.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputOptions {
    /// The format of the input. By default, the content type or the name of the input determines the format. If they
    /// show no format, the format is CSV.
    #[serde(default, deserialize_with = "word", skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// CSV input: the character between fields. The default is `,`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// CSV input: the character around fields that need it. The default is `"`. With `none`, quotes are plain text.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub quote: Option<Character>,
    /// CSV input: the escape character, such as `\`, which makes the next character plain text. The default is `none`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub escape: Option<Character>,
    /// CSV input: the character, such as `#`, at the beginning of lines that are skipped. The default is `none`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub comment: Option<Character>,
    /// CSV input: whether spaces after a delimiter, before the first field and around quotes are removed. The default
    /// is false.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub trim: Option<bool>,
    /// CSV input: whether the first record is a header. By default, the parameter `header` of the content type decides
    /// this. If there is no such parameter, the default is true. Without a header, the columns are named `column_1`,
    /// `column_2`, ...
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// CSV input: how delimiter and quote are determined if they are not given.
    #[serde(default, deserialize_with = "word", skip_serializing_if = "Option::is_none")]
    pub dialect: Option<DialectFrom>,
    /// CSV input: the number of lines that are skipped at the beginning of the file, whatever they contain. The default
    /// is 0.
    #[serde(default, deserialize_with = "count", skip_serializing_if = "Option::is_none")]
    pub skip_lines: Option<u32>,
    /// CSV input: the number of rows that are skipped at the end of the file, such as a row of totals. The default is
    /// 0.
    #[serde(default, deserialize_with = "count", skip_serializing_if = "Option::is_none")]
    pub skip_footer: Option<u32>,
    /// CSV input: the treatment of a row with fewer fields than the header. By default, the row is rejected.
    #[serde(default, deserialize_with = "word", skip_serializing_if = "Option::is_none")]
    pub short_rows: Option<ShortRows>,
    /// CSV input: the treatment of a row with more fields than the header. By default, the row is rejected.
    #[serde(default, deserialize_with = "word", skip_serializing_if = "Option::is_none")]
    pub long_rows: Option<LongRows>,
    /// CSV input: the treatment of a row that consists only of delimiters. By default, the row is kept.
    #[serde(default, deserialize_with = "word", skip_serializing_if = "Option::is_none")]
    pub blank_rows: Option<BlankRows>,
    /// CSV input: the treatment of a file with two columns of the same name. By default, the file is refused.
    #[serde(default, deserialize_with = "word", skip_serializing_if = "Option::is_none")]
    pub duplicate_columns: Option<DuplicateColumns>,
    /// The encoding of the input, by a name that [`parse_encoding`] returns. The output is always UTF-8. The default is
    /// UTF-8.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// The SHA-256 that the file must have before decompression, in lowercase hex. If the digest differs, nothing is
    /// published. Only a request can give this option.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The version of the file to read. For an HTTP resource or an object, it is the entity tag, quotes included. For a
    /// local file, it is `BYTES-SECONDS.NANOSECONDS`: the length and the time of the last modification. Another version
    /// is refused with the code `input-replaced`. Only a request can give this option.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The way to determine the dialect of CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DialectFrom {
    /// If the delimiter or the quote is not given, it is detected from the first records.
    Auto,
    /// One or more spaces separate the fields.
    Spaces,
}

/// The treatment of a row with fewer fields than the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShortRows {
    /// The row is rejected as `ragged-row`.
    Reject,
    /// The missing fields are empty.
    Fill,
}

/// The treatment of a row with more fields than the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LongRows {
    /// The row is rejected as `ragged-row`.
    Reject,
    /// If all extra fields are empty, they are removed. Otherwise the row is rejected as `ragged-row`.
    TrailingEmpty,
}

/// The treatment of a row that consists only of delimiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlankRows {
    /// The row is a record of empty fields.
    Keep,
    /// The row is skipped like an empty line.
    Drop,
}

/// The treatment of a file with two columns of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DuplicateColumns {
    /// The file is refused.
    Fail,
    /// The second column named `a` is renamed to `a_2`, and the third to `a_3`. A new name that the header already
    /// contains is skipped.
    Number,
}

/// An optional character. Documents contain the character itself, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Character {
    /// The file has no such character.
    None,
    /// The file has this character.
    Is(char),
}

impl Character {
    const NONE: &str = "none";
}

impl FromStr for Character {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == Self::NONE {
            return Ok(Self::None);
        }
        match parse_character(text) {
            Ok(character) => Ok(Self::Is(character)),
            Err(why) => Err(format!("{why}, or none")),
        }
    }
}

impl Serialize for Character {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str(Self::NONE),
            Self::Is(character) => serializer.serialize_char(*character),
        }
    }
}

impl<'de> Deserialize<'de> for Character {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct OneOrNone;
        impl Visitor<'_> for OneOrNone {
            type Value = Character;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a character or \"none\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Character, E> {
                let mut characters = text.chars();
                match (text, characters.next(), characters.next()) {
                    (Character::NONE, ..) => Ok(Character::None),
                    (_, Some(character), None) => Ok(Character::Is(character)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_str(OneOrNone)
    }
}

impl InputOptions {
    /// Describes for people how `now` differs from these options.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        input_differences(&self.members(), now)
    }

    /// Returns the options that are given, as the members of a document.
    pub fn members(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(members)) => members,
            _ => unreachable!("a struct with text keys"),
        }
    }

    /// Reads options from the members of a document, to show them to people. Ignores members and values that this
    /// program does not know.
    pub fn known_of(members: Map<String, Value>) -> Self {
        let is_known = |(name, value): &(String, Value)| {
            let alone = Map::from_iter([(name.clone(), value.clone())]);
            serde_json::from_value::<Self>(Value::Object(alone)).is_ok()
        };
        let known = members.into_iter().filter(is_known).collect();
        serde_json::from_value(Value::Object(known)).unwrap_or_default()
    }

    /// The names of the members of a document that are input options.
    pub const MEMBERS: [&str; 17] = [
        "format",
        "delimiter",
        "quote",
        "escape",
        "comment",
        "trim",
        "header",
        "dialect",
        "skip_lines",
        "skip_footer",
        "short_rows",
        "long_rows",
        "blank_rows",
        "duplicate_columns",
        "encoding",
        "sha256",
        "version",
    ];

    /// Returns whether no option is given.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks each option by itself, and that the options do not contradict each other.
    ///
    /// # Errors
    /// Returns an error that names the first broken rule in a sentence.
    pub fn check(&self) -> Result<()> {
        if let Some(sha256) = &self.sha256
            && parse_sha256(sha256).as_ref() != Some(sha256)
        {
            return Err(refused(format!("sha256 \"{sha256}\" is not 64 hex digits")));
        }
        if let Some(version) = &self.version
            && (version.is_empty()
                || version.chars().count() > VERSION_CHARS_MAX
                || version.contains(char::is_control))
        {
            return Err(refused(format!(
                "version must have 1 to {VERSION_CHARS_MAX} characters and no control characters"
            )));
        }
        for (name, value, most) in [
            ("skip_lines", self.skip_lines, SKIP_LINES_MAX),
            ("skip_footer", self.skip_footer, SKIP_FOOTER_MAX),
        ] {
            if let Some(value) = value.filter(|&value| value > most) {
                return Err(refused(format!("{name} {value} is not between 0 and {most}")));
            }
        }
        if self.dialect == Some(DialectFrom::Spaces) && self.delimiter.is_some() {
            return Err(refused(
                "the dialect \"spaces\" has no other delimiter: give one of the two",
            ));
        }
        self.encoding()?;
        self.syntax().map(drop)
    }

    /// Returns the encoding from which the input must be converted to UTF-8, or `None` if the input is UTF-8.
    ///
    /// # Errors
    /// Fails if the encoding is not one that [`parse_encoding`] returns.
    pub fn encoding(&self) -> Result<Option<&'static Encoding>> {
        let Some(name) = &self.encoding else {
            return Ok(None);
        };
        match Encoding::for_label(name.as_bytes()) {
            Some(encoding) if parse_encoding(name).as_ref() == Some(name) => {
                Ok((encoding != encoding_rs::UTF_8).then_some(encoding))
            }
            _ => Err(refused(format!("encoding \"{name}\" {}", encoding_refused(name)))),
        }
    }

    /// Returns the dialect of the output. This dialect has the delimiter and the quote of the input. If the input has
    /// no quote, the output has the default quote. Options that are not given have their defaults.
    ///
    /// # Errors
    /// Fails as [`InputOptions::syntax`] does.
    pub fn dialect(&self) -> Result<Dialect> {
        self.syntax().map(Syntax::dialect)
    }

    /// Returns the syntax of the CSV. Options that are not given have their defaults. In the dialect `spaces`, the
    /// delimiter is a tab, because each run of spaces is replaced by a tab.
    ///
    /// # Errors
    /// Fails if a character is not ASCII, if it is a line end or NUL, or if two characters are the same. Also fails if
    /// a character contradicts another option: `trim`, the dialect `spaces` or the quote `none`.
    pub fn syntax(&self) -> Result<Syntax> {
        let default = Dialect::default();
        let byte = |name: &str, character: char| match character {
            '\n' | '\r' | '\0' => Err(refused(format!(
                "{name} \"{character}\" cannot stand between or around fields"
            ))),
            _ => u8::try_from(character)
                .ok()
                .filter(u8::is_ascii)
                .ok_or_else(|| refused(format!("{name} \"{character}\" is not one ASCII character"))),
        };
        let optional = |name: &str, value: Option<Character>| match value {
            None | Some(Character::None) => Ok(None),
            Some(Character::Is(character)) => byte(name, character).map(Some),
        };
        let is_spaced = self.dialect == Some(DialectFrom::Spaces);
        let delimiter = self.delimiter.map(|character| byte("delimiter", character));
        let usual = if is_spaced { b'\t' } else { default.delimiter };
        let syntax = Syntax {
            delimiter: delimiter.transpose()?.unwrap_or(usual),
            quote: match self.quote {
                None => Some(default.quote),
                quote => optional("quote", quote)?,
            },
            escape: optional("escape", self.escape)?,
            comment: optional("comment", self.comment)?,
            trim: self.trim.unwrap_or(false),
        };
        if is_spaced {
            check_spaced(syntax)?;
        }
        check_characters(syntax)?;
        Ok(syntax)
    }

    /// Returns the rules for rows of CSV that have fewer or more fields than the header, and for rows that consist only
    /// of delimiters.
    pub fn row_rules(&self) -> RowRules {
        RowRules {
            fills_short: self.short_rows == Some(ShortRows::Fill),
            cuts_long: self.long_rows == Some(LongRows::TrailingEmpty),
            drops_blank: self.blank_rows == Some(BlankRows::Drop),
        }
    }
}

/// Describes for people how `now` differs from stored options. The stored options can have members that this program
/// does not know.
pub fn input_differences(was: &Map<String, Value>, now: &InputOptions) -> Vec<String> {
    let is = now.members();
    let names: BTreeSet<_> = was.keys().chain(is.keys()).collect();
    let differing = names.into_iter().filter(|name| was.get(*name) != is.get(*name));
    let shown = |value: Option<&Value>| value.map_or("not given".into(), ToString::to_string);
    differing
        .map(|name| {
            format!(
                "the {name} was {} and is {}",
                shown(was.get(name)),
                shown(is.get(name))
            )
        })
        .collect()
}

fn refused(message: impl Into<String>) -> Error {
    Error::permanent(
        Stage::Config,
        Code::OptionsInvalid,
        format!("input: {}", message.into()),
    )
}

/// Checks for the dialect `spaces` that quote, escape and comment character are neither a space nor a tab.
fn check_spaced(syntax: Syntax) -> Result<()> {
    for (name, byte) in [
        ("quote", syntax.quote),
        ("escape", syntax.escape),
        ("comment", syntax.comment),
    ] {
        let between = match byte {
            Some(b' ') => "a space",
            Some(b'\t') => "a tab",
            _ => continue,
        };
        return Err(refused(format!(
            "{name} is {between}, which stands between fields in the dialect \"spaces\": give another character"
        )));
    }
    Ok(())
}

/// Checks that no two characters are the same, and that no character contradicts another option.
fn check_characters(syntax: Syntax) -> Result<()> {
    let characters = [
        ("delimiter", Some(syntax.delimiter)),
        ("quote", syntax.quote),
        ("escape", syntax.escape),
        ("comment", syntax.comment),
    ];
    let given = || {
        characters
            .into_iter()
            .filter_map(|(name, byte)| Some((name, byte?)))
    };
    for (index, (name, byte)) in given().enumerate() {
        if let Some((other, _)) = given().skip(index + 1).find(|(_, other)| *other == byte) {
            let hint = match (name, other) {
                ("quote", "escape") => {
                    ": leave escape out, because two quotes in a quoted field already mean one quote"
                }
                _ => "",
            };
            return Err(refused(format!(
                "{name} and {other} are the same character{hint}"
            )));
        }
        if syntax.trim && byte == b' ' {
            return Err(refused(format!(
                "{name} is a space, which trim would take off: leave one of them out"
            )));
        }
    }
    let output_quote = syntax.dialect().quote;
    if syntax.delimiter == output_quote {
        return Err(refused(format!(
            "delimiter {0} cannot be read with quote none: the output has {0} around fields that need it",
            char::from(output_quote)
        )));
    }
    Ok(())
}

/// Parses a character that a person has typed: the character itself, `tab`, `\t`, or a byte such as `0x01` or `\x01`.
///
/// # Errors
/// Fails if the text has another form. The error names the expected forms.
pub fn parse_character(text: &str) -> std::result::Result<char, String> {
    let mut characters = text.chars();
    if let Some(digits) = text.strip_prefix("\\x").or_else(|| text.strip_prefix("0x"))
        && digits.len() == 2
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        && let Ok(byte) = u8::from_str_radix(digits, 16)
    {
        return Ok(char::from(byte));
    }
    match (text, characters.next(), characters.next()) {
        ("\\t" | "tab", ..) => Ok('\t'),
        (_, Some(character), None) => Ok(character),
        _ if text.len() > 1 && text.trim().is_empty() => {
            Err("expected one character; for several spaces say --dialect spaces".into())
        }
        _ => Err("expected one character, tab, or a byte such as 0x01".into()),
    }
}

/// Reads the value of a member that is present. The value must not be `null`.
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads one of several fixed values, which must be a string.
fn word<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    let word = String::deserialize(deserializer)?;
    T::deserialize(word.into_deserializer()).map(Some)
}

/// Reads a number of lines or rows. A number that is out of range becomes the largest `u32`, which no member allows.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<u32>, D::Error> {
    let Integer(count) = Integer::deserialize(deserializer)?;
    Ok(Some(u32::try_from(count).unwrap_or(u32::MAX)))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in crate::request) fn options(document: Value) -> InputOptions {
        serde_json::from_value(document).unwrap()
    }

    /// Returns two sets of options with a value for each member. The values in the two sets differ, except for the
    /// dialect.
    pub(in crate::request) fn all() -> [InputOptions; 2] {
        let one = json!({
            "format": "csv", "delimiter": ";", "quote": "none", "escape": "\\", "comment": "#", "trim": true,
            "header": false, "dialect": "auto", "skip_lines": 3, "skip_footer": 1, "short_rows": "fill",
            "long_rows": "trailing-empty", "blank_rows": "drop", "duplicate_columns": "number",
            "encoding": "utf-16le", "sha256": "00".repeat(32), "version": "1-2.000000003",
        });
        let other = json!({
            "format": "jsonl", "delimiter": "|", "quote": "'", "escape": "none", "comment": "none", "trim": false,
            "header": true, "dialect": "auto", "skip_lines": 0, "skip_footer": 0, "short_rows": "reject",
            "long_rows": "reject", "blank_rows": "keep", "duplicate_columns": "fail",
            "encoding": "utf-8", "sha256": "11".repeat(32), "version": "\"x\"",
        });
        [one, other].map(options)
    }

    pub(in crate::request) fn members(options: &InputOptions) -> Map<String, Value> {
        match serde_json::to_value(options) {
            Ok(Value::Object(members)) => members,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_members_are_those_of_a_document() {
        for options in all() {
            options.check().unwrap();
            let mut names = InputOptions::MEMBERS.to_vec();
            names.sort_unstable();
            let mut found: Vec<_> = members(&options).keys().cloned().collect();
            found.sort_unstable();
            assert_eq!(found, names);
        }
        assert!(members(&InputOptions::default()).is_empty());
        assert!(InputOptions::default().is_default());
    }

    #[test]
    fn unknown_members_are_refused_but_can_be_shown() {
        let newer = json!({ "delimiter": ";", "skip_rowz": 2, "short_rows": "pad", "trim": true });
        let error = serde_json::from_value::<InputOptions>(newer.clone()).expect_err("a newer one");
        assert!(
            error.to_string().contains("`pad`") || error.to_string().contains("`skip_rowz`"),
            "{error}"
        );
        let Value::Object(members) = newer else {
            panic!("an object");
        };
        let known = InputOptions::known_of(members);
        assert_eq!(known, options(json!({ "delimiter": ";", "trim": true })));
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        for (document, message) in [
            (
                json!({ "delimiter": "\"" }),
                "delimiter and quote are the same character",
            ),
            (
                json!({ "escape": "\"" }),
                "quote and escape are the same character: leave escape out",
            ),
            (
                json!({ "escape": "," }),
                "delimiter and escape are the same character",
            ),
            (
                json!({ "comment": ",", "escape": "none" }),
                "delimiter and comment are the same character",
            ),
            (
                json!({ "comment": "\"" }),
                "quote and comment are the same character",
            ),
            (
                json!({ "comment": "#", "escape": "#" }),
                "escape and comment are the same character",
            ),
            (
                json!({ "comment": "é" }),
                "comment \"é\" is not one ASCII character",
            ),
            (
                json!({ "escape": "\n" }),
                "escape \"\n\" cannot stand between or around fields",
            ),
            (
                json!({ "quote": " ", "trim": true }),
                "quote is a space, which trim would take off",
            ),
            (
                json!({ "quote": "none", "delimiter": "\"" }),
                "delimiter \" cannot be read with quote none",
            ),
            (
                json!({ "dialect": "spaces", "quote": " " }),
                "quote is a space, which stands between fields in the dialect \"spaces\": give another character",
            ),
            (
                json!({ "dialect": "spaces", "quote": "\t" }),
                "quote is a tab, which stands between",
            ),
            (
                json!({ "dialect": "spaces", "escape": " " }),
                "escape is a space, which stands between",
            ),
            (
                json!({ "dialect": "spaces", "escape": "\t" }),
                "escape is a tab, which stands between",
            ),
            (
                json!({ "dialect": "spaces", "comment": " " }),
                "comment is a space, which stands between",
            ),
            (
                json!({ "dialect": "spaces", "comment": "\t", "trim": true }),
                "comment is a tab, which stands between",
            ),
            (
                json!({ "skip_footer": 1_001 }),
                "skip_footer 1001 is not between 0 and 1000",
            ),
            (json!({ "skip_lines": -1 }), "is not between 0 and 1000000"),
            (json!({ "skip_lines": 1e300 }), "is not between 0 and 1000000"),
            (
                json!({ "encoding": "utf-32" }),
                "encoding \"utf-32\" is not supported: make UTF-8",
            ),
        ] {
            let error = options(document).check().expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
        for document in [
            json!({ "quote": "none", "comment": "\"" }),
            json!({ "quote": "none", "escape": "\"", "trim": true }),
            json!({ "delimiter": " " }),
            json!({ "dialect": "spaces", "comment": ",", "escape": "\\", "encoding": "us-ascii" }),
            json!({ "delimiter": " ", "trim": false }),
        ] {
            options(document).check().unwrap();
        }
    }

    #[test]
    fn parse_character_accepts_one_character() {
        assert_eq!(parse_character("\\t"), Ok('\t'));
        assert_eq!(parse_character(";"), Ok(';'));
        assert_eq!(parse_character("\\"), Ok('\\'));
        assert!(parse_character("").is_err());
        assert!(parse_character("ab").is_err());
        assert_eq!("none".parse(), Ok(Character::None));
        assert_eq!("n".parse(), Ok(Character::Is('n')));
        assert!("None".parse::<Character>().is_err());
    }
}
