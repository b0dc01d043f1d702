//! How to read an input, as producers, bindings and workers say it: members of a document, flags of a command. All of
//! them share [`InputOptions`]; [`InputOptions::or`] says whose word counts.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use encoding_rs::Encoding;
use serde::de::{IntoDeserializer, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use super::encoding::{encoding_refused, parse_encoding};
use super::{Integer, parse_sha256};
use crate::error::{Code, Error, Result, Stage};
use crate::format::Format;
use crate::format::csv::{Dialect, RowRules, Syntax};

/// The most of [`InputOptions::skip_lines`].
pub const SKIP_LINES_MAX: u32 = 1_000_000;

/// The most of [`InputOptions::skip_footer`]: the rows are held back while the input is read.
pub const SKIP_FOOTER_MAX: u32 = 1_000;

/// How to read the input, where its name and its first bytes do not say it well enough. The members of CSV are without
/// effect on another format.
///
/// A member that this program does not know is refused, wherever the options are stored: a newer program has written it, and
/// an input that is read without it is read wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct InputOptions {
    /// Format of the input; by default from its content type or name, and CSV if neither says.
    #[arg(id = "input_format", long = "input-format", value_enum)]
    #[serde(default, deserialize_with = "word", skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// CSV input: the character between fields [default: `,`]; `tab` or `\t`, `0x01` or `\x01` for a byte by its number. For
    /// several spaces: `--dialect spaces`.
    #[arg(long, value_name = "CHAR", value_parser = character, allow_hyphen_values = true)]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// CSV input: the character around fields that need it [default: `"`]; with `none`, quotes are text.
    #[arg(long, value_name = "CHAR|none")]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub quote: Option<Character>,
    /// CSV input: the character after which the next one is text, such as `\` [default: none].
    #[arg(long, value_name = "CHAR|none")]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub escape: Option<Character>,
    /// CSV input: lines that begin with this character are passed over, such as `#` [default: none].
    #[arg(long, value_name = "CHAR|none")]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub comment: Option<Character>,
    /// CSV input: spaces after a delimiter, before the first field and around quotes are no part of a field.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub trim: Option<bool>,
    /// CSV input: the first record is data; the columns are column_1, column_2, ...
    #[arg(
        long = "no-header",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = no_header
    )]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// CSV input: `auto` tells the delimiter and the quote that nobody gives from the first records; `spaces` reads fields that
    /// one or more spaces part.
    #[arg(long, value_enum)]
    #[serde(default, deserialize_with = "word", skip_serializing_if = "Option::is_none")]
    pub dialect: Option<DialectFrom>,
    /// CSV input: pass over so many lines at the beginning of the file, whatever they hold [default: 0].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=i64::from(SKIP_LINES_MAX)))]
    #[serde(default, deserialize_with = "count", skip_serializing_if = "Option::is_none")]
    pub skip_lines: Option<u32>,
    /// CSV input: pass over so many rows at the end of the file, such as a row of totals [default: 0].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=i64::from(SKIP_FOOTER_MAX)))]
    #[serde(default, deserialize_with = "count", skip_serializing_if = "Option::is_none")]
    pub skip_footer: Option<u32>,
    /// CSV input: what becomes of a row with fewer fields than the header [default: reject].
    #[arg(long, value_enum)]
    #[serde(default, deserialize_with = "word", skip_serializing_if = "Option::is_none")]
    pub short_rows: Option<ShortRows>,
    /// CSV input: what becomes of a row with more fields than the header [default: reject].
    #[arg(long, value_enum)]
    #[serde(default, deserialize_with = "word", skip_serializing_if = "Option::is_none")]
    pub long_rows: Option<LongRows>,
    /// CSV input: what becomes of a row that has nothing but delimiters [default: keep].
    #[arg(long, value_enum)]
    #[serde(default, deserialize_with = "word", skip_serializing_if = "Option::is_none")]
    pub blank_rows: Option<BlankRows>,
    /// CSV input: what becomes of a file with two columns of one name [default: fail].
    #[arg(long, value_enum)]
    #[serde(default, deserialize_with = "word", skip_serializing_if = "Option::is_none")]
    pub duplicate_columns: Option<DuplicateColumns>,
    /// Encoding of the input, such as utf-16, latin-1 or cp1252; the output is UTF-8.
    #[arg(long, value_name = "NAME", value_parser = encoding_name)]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// The SHA-256 that the file must have as it is fetched, before it is decompressed; in lowercase hex. Only a request can
    /// say it.
    #[arg(skip)]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Where to learn how CSV is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DialectFrom {
    /// The first records tell it.
    Auto,
    /// One or more spaces stand between fields.
    Spaces,
}

/// What becomes of a row with fewer fields than the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ShortRows {
    /// It is rejected, `ragged-row`.
    Reject,
    /// The fields that it lacks are empty.
    Fill,
}

/// What becomes of a row with more fields than the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LongRows {
    /// It is rejected, `ragged-row`.
    Reject,
    /// It is taken without the further fields if all of these are empty, and else rejected.
    TrailingEmpty,
}

/// What becomes of a row that has nothing but delimiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum BlankRows {
    /// It is a row of empty fields.
    Keep,
    /// It is passed over like an empty line.
    Drop,
}

/// What becomes of a file with two columns of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DuplicateColumns {
    /// It is an error.
    Fail,
    /// The second column named `a` is `a_2`, the third `a_3`; names that the header has are passed over.
    Number,
}

/// A character that a file may do without; written as the character, or as `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Character {
    /// The file has none.
    None,
    /// This one.
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
        match character(text) {
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
    /// Says for people in which options `now` differs from these.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        input_differences(&self.members(), now)
    }

    /// Returns what is said, as the members of a document.
    pub fn members(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(members)) => members,
            _ => unreachable!("a struct with text keys"),
        }
    }

    /// Reads options from a document of which only people want to know. A member or a word that this program does not know is
    /// passed over.
    pub fn known_of(members: Map<String, Value>) -> Self {
        let is_known = |(name, value): &(String, Value)| {
            let alone = Map::from_iter([(name.clone(), value.clone())]);
            serde_json::from_value::<Self>(Value::Object(alone)).is_ok()
        };
        let known = members.into_iter().filter(is_known).collect();
        serde_json::from_value(Value::Object(known)).unwrap_or_default()
    }

    /// The members of a document that are options of the input.
    pub const MEMBERS: [&str; 16] = [
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
    ];

    /// These options and, where they say nothing, those of `defaults`. A request's options come first, then its binding's,
    /// then the worker's; what nobody says is told by the file or has its default.
    ///
    /// Delimiter and dialect are one question, what stands between fields: who answers it with one of them takes neither from
    /// `defaults`. Nor is a character taken that these options leave no room for, as a comment that is their delimiter. So two
    /// sides that are each right by themselves make one that is.
    #[must_use]
    pub fn or(self, defaults: &Self) -> Self {
        if !(self.says_syntax() && defaults.says_syntax()) {
            return self.take(defaults, &Questions::ALL);
        }
        let whole = self.clone().take(defaults, &Questions::ALL);
        if whole.syntax().is_ok() || self.syntax().is_err() {
            return whole;
        }
        // Few options clash, and few sets of them are there to try: the first that leaves out least.
        let mut fitting: Vec<Self> = Questions::without_some()
            .map(|questions| self.clone().take(defaults, &questions))
            .collect();
        let fits = fitting.iter().position(|options| options.syntax().is_ok());
        fits.map_or(whole, |index| fitting.swap_remove(index))
    }

    /// Whether anything is said that a contradiction may come of.
    fn says_syntax(&self) -> bool {
        self.delimiter.is_some()
            || self.dialect.is_some()
            || self.quote.is_some()
            || self.escape.is_some()
            || self.comment.is_some()
            || self.trim.is_some()
    }

    /// These options and, where they say nothing, those of `defaults`; of what describes the syntax only these questions.
    fn take(self, defaults: &Self, questions: &Questions) -> Self {
        let says_what_is_between = self.delimiter.is_some() || self.dialect.is_some();
        let between = questions.between && !says_what_is_between;
        Self {
            format: self.format.or(defaults.format),
            delimiter: self.delimiter.or(defaults.delimiter.filter(|_| between)),
            quote: self.quote.or(defaults.quote.filter(|_| questions.quote)),
            escape: self.escape.or(defaults.escape.filter(|_| questions.escape)),
            comment: self.comment.or(defaults.comment.filter(|_| questions.comment)),
            trim: self.trim.or(defaults.trim.filter(|_| questions.trim)),
            header: self.header.or(defaults.header),
            dialect: self.dialect.or(defaults.dialect.filter(|_| between)),
            skip_lines: self.skip_lines.or(defaults.skip_lines),
            skip_footer: self.skip_footer.or(defaults.skip_footer),
            short_rows: self.short_rows.or(defaults.short_rows),
            long_rows: self.long_rows.or(defaults.long_rows),
            blank_rows: self.blank_rows.or(defaults.blank_rows),
            duplicate_columns: self.duplicate_columns.or(defaults.duplicate_columns),
            encoding: self.encoding.or_else(|| defaults.encoding.clone()),
            sha256: self.sha256.or_else(|| defaults.sha256.clone()),
        }
    }

    /// Whether nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

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
            _ => Err(refused(format!("encoding \"{name}\" {}", encoding_refused(name)))),
        }
    }

    /// How the output is written, as far as it is given: in the input's delimiter and, if it has one, its quote.
    ///
    /// # Errors
    /// As [`InputOptions::syntax`].
    pub fn dialect(&self) -> Result<Dialect> {
        self.syntax().map(Syntax::dialect)
    }

    /// How CSV is written, as far as it is given. Of the dialect `spaces`, the delimiter is the tab that each run becomes.
    ///
    /// # Errors
    /// If a character is not one of ASCII, is a line end, or is the same as another; if spaces are trimmed and one of them
    /// is a space.
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

    /// What becomes of rows of CSV that are not as wide as the header.
    pub fn row_rules(&self) -> RowRules {
        RowRules {
            fills_short: self.short_rows == Some(ShortRows::Fill),
            cuts_long: self.long_rows == Some(LongRows::TrailingEmpty),
            drops_blank: self.blank_rows == Some(BlankRows::Drop),
        }
    }
}

/// The questions on the syntax whose answers may contradict each other.
struct Questions {
    /// Delimiter and dialect.
    between: bool,
    quote: bool,
    escape: bool,
    comment: bool,
    trim: bool,
}

impl Questions {
    const ALL: Self = Self::of(0);
    const COUNT: u32 = 5;

    /// All but those whose bits are set.
    const fn of(without: u32) -> Self {
        Self {
            trim: without & 1 == 0,
            comment: without & 2 == 0,
            escape: without & 4 == 0,
            quote: without & 8 == 0,
            between: without & 16 == 0,
        }
    }

    /// Those without some, beginning with those that lack the fewest.
    fn without_some() -> impl Iterator<Item = Self> {
        let mut sets: Vec<u32> = (1..1 << Self::COUNT).collect();
        sets.sort_by_key(|set| set.count_ones());
        sets.into_iter().map(Self::of)
    }
}

/// Says for people in which options `now` differs from those that were stored, whatever members these have.
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

/// Checks that no character is one of those that stand between fields in the dialect of spaces.
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

/// Checks that no two characters are the same.
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
                ("quote", "escape") => ": leave escape out, two quotes within quotes are one without it",
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

/// One character as it is typed.
fn character(text: &str) -> std::result::Result<char, String> {
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

/// Whether there is a header, by the word of `--no-header`.
fn no_header(text: &str) -> std::result::Result<bool, String> {
    match text {
        "true" => Ok(false),
        "false" => Ok(true),
        _ => Err("expected true or false".into()),
    }
}

fn encoding_name(label: &str) -> std::result::Result<String, String> {
    parse_encoding(label).ok_or_else(|| encoding_refused(label))
}

/// The value of a member that is there, and so not `null`.
pub(super) fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// One of some words, as a string.
fn word<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    let word = String::deserialize(deserializer)?;
    T::deserialize(word.into_deserializer()).map(Some)
}

/// A number of lines or rows. What is out of range becomes the greatest, which is beyond that of every member.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<u32>, D::Error> {
    let Integer(count) = Integer::deserialize(deserializer)?;
    Ok(Some(u32::try_from(count).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options(document: Value) -> InputOptions {
        serde_json::from_value(document).unwrap()
    }

    /// One with a value for each member, and one with another value for each that has two.
    fn all() -> [InputOptions; 2] {
        let one = json!({
            "format": "csv", "delimiter": ";", "quote": "none", "escape": "\\", "comment": "#", "trim": true,
            "header": false, "dialect": "auto", "skip_lines": 3, "skip_footer": 1, "short_rows": "fill",
            "long_rows": "trailing-empty", "blank_rows": "drop", "duplicate_columns": "number",
            "encoding": "utf-16le", "sha256": "00".repeat(32),
        });
        let other = json!({
            "format": "jsonl", "delimiter": "|", "quote": "'", "escape": "none", "comment": "none", "trim": false,
            "header": true, "dialect": "auto", "skip_lines": 0, "skip_footer": 0, "short_rows": "reject",
            "long_rows": "reject", "blank_rows": "keep", "duplicate_columns": "fail",
            "encoding": "utf-8", "sha256": "11".repeat(32),
        });
        [one, other].map(options)
    }

    fn members(options: &InputOptions) -> Map<String, Value> {
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

    /// The request's word counts before the binding's, and that before the worker's, for each option by itself.
    #[test]
    fn what_is_said_first_counts() {
        let [first, second] = all();
        let nothing = InputOptions::default();
        assert_eq!(first.clone().or(&second), first);
        assert_eq!(second.clone().or(&first), second);
        assert_eq!(nothing.clone().or(&first), first);
        assert_eq!(first.clone().or(&nothing), first);
        for name in InputOptions::MEMBERS {
            let value = members(&second).remove(name).unwrap();
            let alone = options(json!({ name: value.clone() }));
            let mut expected = members(&first);
            if ["delimiter", "dialect"].contains(&name) {
                expected.retain(|name, _| !["delimiter", "dialect"].contains(&name.as_str()));
            }
            expected.insert(name.to_owned(), value);
            assert_eq!(members(&alone.clone().or(&first)), expected, "{name}");
            // Three in a row, as in a worker.
            let merged = nothing.clone().or(&alone).or(&first);
            assert_eq!(members(&merged), expected, "{name}");
        }
    }

    /// What stands between fields is one question, and a character stands for one thing.
    #[test]
    fn what_is_said_first_leaves_no_room_for_what_contradicts_it() {
        for (first, second, merged) in [
            (
                json!({ "dialect": "spaces" }),
                json!({ "delimiter": ";", "comment": "#" }),
                json!({ "dialect": "spaces", "comment": "#" }),
            ),
            (
                json!({ "delimiter": ";" }),
                json!({ "dialect": "spaces", "quote": "'" }),
                json!({ "delimiter": ";", "quote": "'" }),
            ),
            (
                json!({ "dialect": "auto" }),
                json!({ "delimiter": ";" }),
                json!({ "dialect": "auto" }),
            ),
            (
                json!({ "delimiter": ";" }),
                json!({ "dialect": "auto", "delimiter": "|" }),
                json!({ "delimiter": ";" }),
            ),
            (
                json!({ "delimiter": ";" }),
                json!({ "comment": ";", "escape": "\\" }),
                json!({ "delimiter": ";", "escape": "\\" }),
            ),
            (
                json!({ "comment": ";" }),
                json!({ "delimiter": ";", "quote": "'" }),
                json!({ "comment": ";", "quote": "'" }),
            ),
            (
                json!({ "quote": "'" }),
                json!({ "escape": "'", "comment": "#" }),
                json!({ "quote": "'", "comment": "#" }),
            ),
            (
                json!({ "escape": "'" }),
                json!({ "quote": "'" }),
                json!({ "escape": "'" }),
            ),
            (
                json!({ "dialect": "spaces" }),
                json!({ "escape": "\t" }),
                json!({ "dialect": "spaces" }),
            ),
            (
                json!({ "trim": true }),
                json!({ "delimiter": " " }),
                json!({ "trim": true }),
            ),
            (
                json!({ "delimiter": " " }),
                json!({ "trim": true }),
                json!({ "delimiter": " " }),
            ),
            // Nothing of it is said twice, but the one leaves the other no quote.
            (
                json!({ "quote": "none" }),
                json!({ "delimiter": "\"", "quote": "'" }),
                json!({ "quote": "none" }),
            ),
            // What takes the place of an option that is left out has room, too.
            (
                json!({ "quote": ";" }),
                json!({ "delimiter": ";", "comment": ",", "skip_lines": 1 }),
                json!({ "quote": ";", "skip_lines": 1 }),
            ),
        ] {
            for side in [&first, &second] {
                options(side.clone()).check().unwrap();
            }
            let found = options(first.clone()).or(&options(second.clone()));
            assert_eq!(members(&found), members(&options(merged)), "{first} {second}");
            found.check().unwrap();
        }
    }

    proptest::proptest! {
        /// Two sides that are each right by themselves make one that is, in which the first one's word stands.
        #[test]
        fn merged_options_are_right(first in syntax_options(), second in syntax_options()) {
            let merged = first.clone().or(&second);
            merged.check().unwrap();
            let found = members(&merged);
            for (name, value) in members(&first) {
                proptest::prop_assert_eq!(&found[&name], &value);
            }
            for (name, value) in &found {
                let said = [&first, &second].map(|side| members(side).get(name).cloned());
                proptest::prop_assert!(said.contains(&Some(value.clone())));
            }
        }
    }

    /// Options that may be given together, of few characters, so that those of two sides often clash.
    fn syntax_options() -> impl proptest::strategy::Strategy<Value = InputOptions> {
        use proptest::prelude::*;
        let character =
            || proptest::option::of(proptest::sample::select(vec![',', ';', ' ', '\t', '"', '\'']));
        let optional = move || {
            let none = proptest::option::of(Just(Character::None));
            prop_oneof![none, character().prop_map(|found| found.map(Character::Is))]
        };
        let dialect =
            proptest::sample::select(vec![None, Some(DialectFrom::Auto), Some(DialectFrom::Spaces)]);
        let trim = proptest::option::of(any::<bool>());
        let all = (character(), optional(), optional(), optional(), trim, dialect);
        let made = all.prop_map(
            |(delimiter, quote, escape, comment, trim, dialect)| InputOptions {
                delimiter,
                quote,
                escape,
                comment,
                trim,
                dialect,
                ..InputOptions::default()
            },
        );
        made.prop_filter("a side that is right by itself", |options| {
            options.check().is_ok()
        })
    }

    #[test]
    fn a_member_that_is_not_known_is_refused_but_where_only_people_want_to_know() {
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
    fn a_character_is_one_character() {
        assert_eq!(character("\\t"), Ok('\t'));
        assert_eq!(character(";"), Ok(';'));
        assert_eq!(character("\\"), Ok('\\'));
        assert!(character("").is_err());
        assert!(character("ab").is_err());
        assert_eq!("none".parse(), Ok(Character::None));
        assert_eq!("n".parse(), Ok(Character::Is('n')));
        assert!("None".parse::<Character>().is_err());
    }
}
