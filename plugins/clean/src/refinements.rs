//! The keys of a rule that few columns have: a field comes in, and a value for the output or a fault goes out, as for
//! the other columns. The text is rewritten before it is converted, and the value can be protected afterwards.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::Deserialize;

use crate::mask::Protection;
use crate::notation::Notation;
use crate::range::Times;
use crate::text::Rewrite;
use crate::values::{Cell, Fault, Return, Values};

/// The part of a rule that [`Values`] does not know. [`read`](Self::read) applies the keys in the order of the
/// fields. `null` and `required` follow `rewrite` and `default`, and `type` follows `notation`.
#[derive(Debug)]
pub(crate) struct Refinements {
    pub(crate) rewrite: Rewrite,
    pub(crate) default: Option<String>,
    pub(crate) map: Option<Map>,
    pub(crate) notation: Option<Notation>,
    pub(crate) times: Option<Times>,
    pub(crate) length: Option<Length>,
    pub(crate) protection: Option<Protection>,
}

/// A field of the input.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
    /// True if the field is a JSON value other than a string, such as the number `1.5`.
    pub(crate) is_literal: bool,
}

/// The buffers for texts that differ from the input. They serve one value after the other.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    text: String,
    number: String,
    output: String,
}

impl Refinements {
    /// Returns the value for the output, or `None` if it is empty.
    ///
    /// # Errors
    /// Returns the first check that the value fails.
    pub(crate) fn read<'a>(
        &'a self,
        values: &'a Values,
        source: Source<'a>,
        scratch: &'a mut Scratch,
    ) -> Result<Option<Cell<'a>>, Fault<'a>> {
        let Scratch { text, number, output } = scratch;
        let (mut text, mut is_literal) = (self.rewritten(source, text)?, source.is_literal);
        if values.null.contains(text) {
            text = "";
        }
        if text.is_empty() {
            let Some(default) = &self.default else {
                return if values.required {
                    Err(Fault::Required)
                } else {
                    Ok(None)
                };
            };
            (text, is_literal) = (default, false);
        }
        if let Some(map) = &self.map {
            let mapped = map.apply(text)?;
            // A mapped value has the form of the config's texts.
            is_literal &= std::ptr::eq(mapped, text);
            text = mapped;
            if text.is_empty() {
                return Ok(None);
            }
        }
        let cell = self.check(values, Source { text, is_literal }, number)?;
        let Some(protection) = &self.protection else {
            return Ok(Some(cell));
        };
        output.clear();
        write!(output, "{cell}").expect("a string takes every text");
        protection.apply(output);
        Ok(Some(Cell::Text(output)))
    }

    /// Applies the keys from `notation` to `pattern` to a text that is not empty.
    fn check<'a>(
        &'a self,
        values: &'a Values,
        source: Source<'a>,
        buffer: &'a mut String,
    ) -> Result<Cell<'a>, Fault<'a>> {
        let Source { text, is_literal } = source;
        let number = match &self.notation {
            // JSON has one notation of numbers, whatever the notation of texts is.
            Some(notation) if !is_literal => notation
                .rewrite(text, buffer)
                .ok_or(Fault::Notation(values.kind.number_code(), notation))?,
            _ => text,
        };
        let cell = values.convert(number, Return)?;
        if let Some(times) = &self.times {
            times.check(&cell)?;
        }
        if let Some(length) = &self.length
            && !length.contains(text)
        {
            return Err(Fault::Length(length));
        }
        values.restrict(text)?;
        Ok(cell)
    }

    /// Returns the text after the keys that rewrite it. They change only strings, because the text of a JSON object would
    /// no longer be that object.
    fn rewritten<'a>(&self, source: Source<'a>, buffer: &'a mut String) -> Result<&'a str, Fault<'a>> {
        if source.is_literal {
            return Ok(source.text);
        }
        Ok(match self.rewrite.apply(source.text)? {
            Cow::Borrowed(text) => text,
            Cow::Owned(text) => {
                *buffer = text;
                buffer.as_str()
            }
        })
    }
}

impl Refinements {
    /// Checks that the texts of the config can occur, and that the rule accepts the values that it gives itself.
    ///
    /// # Errors
    /// Returns a sentence that names the key and the text.
    pub(crate) fn check_config(&self, values: &Values) -> Result<(), String> {
        for null in &values.null {
            self.check_unchanged("\"null\" lists", null)?;
        }
        if let Some(map) = &self.map {
            self.check_map(values, map)?;
        }
        if let Some(notation) = &self.notation {
            notation.check(values.kind)?;
            for currency in notation.currency() {
                self.check_unchanged("\"currency\" lists", currency)?;
            }
        }
        if let Some(length) = &self.length {
            length.check()?;
        }
        if let Some(Protection::Mask(mask)) = &self.protection {
            mask.check()?;
        }
        self.check_default(values)
    }

    /// Checks that an entry of `allowed` can occur and passes the other checks.
    pub(crate) fn check_allowed(&self, values: &Values, allowed: &str) -> Result<(), String> {
        match &self.map {
            Some(map) if !map.gives(allowed) => {
                return Err(format!(
                    "\"allowed\" lists {allowed:?}, which no value is after \"map\""
                ));
            }
            Some(_) => {}
            None => self.check_unchanged("\"allowed\" lists", allowed)?,
        }
        if self.map.is_none() && values.null.contains(allowed) && !allowed.is_empty() {
            return Err(format!(
                "\"allowed\" lists {allowed:?}, which is made empty before"
            ));
        }
        if allowed.is_empty() {
            return if values.required || self.default.is_some() {
                Err("\"allowed\" lists \"\", which no value is after \"required\" or \"default\"".to_owned())
            } else {
                Ok(())
            };
        }
        self.check_text(values, "\"allowed\" lists", allowed)
    }

    fn check_map(&self, values: &Values, map: &Map) -> Result<(), String> {
        if map.values.is_empty() {
            return Err("\"map\" has no value".to_owned());
        }
        for key in map.values.keys() {
            if key.is_empty() {
                return Err("\"map\" has an empty value: write \"default\" for it".to_owned());
            }
            if values.null.contains(key) {
                return Err(format!("\"map\" has {key:?}, which is made empty before"));
            }
            self.check_unchanged("\"map\" has", key)?;
        }
        for target in map.targets() {
            match (target.is_empty(), values.required) {
                (true, true) => {
                    return Err(
                        "\"map\" or \"unmapped\" gives an empty value, but the value is \"required\""
                            .to_owned(),
                    );
                }
                (true, false) => {}
                (false, _) => self.check_text(values, "\"map\" or \"unmapped\" gives", target)?,
            }
        }
        Ok(())
    }

    fn check_default(&self, values: &Values) -> Result<(), String> {
        let Some(default) = &self.default else {
            return Ok(());
        };
        if default.is_empty() {
            return Err("\"default\" is empty: leave it out".to_owned());
        }
        if values.required {
            return Err("\"default\" leaves no value empty: remove \"required\"".to_owned());
        }
        let source = Source::of_config("");
        match self.read(values, source, &mut Scratch::default()) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(format!("\"default\" is {default:?}, which \"map\" makes empty")),
            Err(fault) => Err(format!("\"default\" is {default:?}, which {fault}")),
        }
    }

    /// Checks that no key before `null` changes the text.
    fn check_unchanged(&self, place: &str, text: &str) -> Result<(), String> {
        match self.rewrite.changed_by(text) {
            Some(key) => Err(format!("{place} {text:?}, which no value is after \"{key}\"")),
            None => Ok(()),
        }
    }

    /// Checks that a text passes the checks after `map`.
    fn check_text(&self, values: &Values, place: &str, text: &str) -> Result<(), String> {
        let mut buffer = String::new();
        let checked = self.check(values, Source::of_config(text), &mut buffer);
        checked
            .map(|_| ())
            .map_err(|fault| format!("{place} {text:?}, which {fault}"))
    }
}

impl<'a> Source<'a> {
    /// Makes a source from a text of the config, which is read like a string of the input.
    pub(crate) fn of_config(text: &'a str) -> Self {
        Self {
            text,
            is_literal: false,
        }
    }
}

/// The keys `map` and `unmapped` of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    pub(crate) values: BTreeMap<String, String>,
    pub(crate) unmapped: Unmapped,
}

/// The treatment of a value that is not in `map`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "UnmappedKey")]
pub(crate) enum Unmapped {
    #[default]
    Reject,
    Keep,
    Empty,
    Value(String),
}

/// The key `unmapped` as the config writes it: a word, or an object with a value.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "\"unmapped\" takes \"reject\", \"keep\", \"empty\" or {\"value\": \"...\"}"
)]
enum UnmappedKey {
    Word(String),
    Value(UnmappedValue),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnmappedValue {
    value: String,
}

impl TryFrom<UnmappedKey> for Unmapped {
    type Error = String;

    fn try_from(key: UnmappedKey) -> Result<Self, String> {
        match key {
            UnmappedKey::Value(UnmappedValue { value }) => Ok(Self::Value(value)),
            UnmappedKey::Word(word) => match word.as_str() {
                "reject" => Ok(Self::Reject),
                "keep" => Ok(Self::Keep),
                "empty" => Ok(Self::Empty),
                _ => Err(format!(
                    "\"unmapped\" is {word:?}: write \"reject\", \"keep\", \"empty\", or {{\"value\": {word:?}}} for this \
                     text"
                )),
            },
        }
    }
}

impl Map {
    fn apply<'a>(&'a self, text: &'a str) -> Result<&'a str, Fault<'a>> {
        match (self.values.get(text), &self.unmapped) {
            (Some(value), _) | (None, Unmapped::Value(value)) => Ok(value),
            (None, Unmapped::Keep) => Ok(text),
            (None, Unmapped::Empty) => Ok(""),
            (None, Unmapped::Reject) => Err(Fault::NotMapped),
        }
    }

    /// Returns true if a value can be `text` after the map.
    fn gives(&self, text: &str) -> bool {
        let is_kept = self.unmapped == Unmapped::Keep && !self.values.contains_key(text);
        is_kept || self.targets().any(|target| target == text)
    }

    /// Returns the values that the map can give, besides those that it keeps.
    fn targets(&self) -> impl Iterator<Item = &str> {
        let unmapped = match &self.unmapped {
            Unmapped::Value(value) => Some(value.as_str()),
            Unmapped::Empty => Some(""),
            Unmapped::Reject | Unmapped::Keep => None,
        };
        self.values.values().map(String::as_str).chain(unmapped)
    }
}

/// The key `length` of a rule: bounds for the number of characters.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Length {
    min: Option<usize>,
    max: Option<usize>,
}

impl Length {
    fn contains(&self, text: &str) -> bool {
        let count = text.chars().count();
        self.min.is_none_or(|min| count >= min) && self.max.is_none_or(|max| count <= max)
    }

    /// Checks that some text can have this length.
    ///
    /// # Errors
    /// Returns a sentence about bounds that no text can keep.
    pub(crate) fn check(&self) -> Result<(), String> {
        match (self.min, self.max) {
            (None, None) => Err("\"length\" needs a \"min\", a \"max\", or both".to_owned()),
            (_, Some(0)) => Err("\"length\" has the \"max\" 0, which only an empty value has".to_owned()),
            (Some(min), Some(max)) if min > max => Err(format!(
                "\"length\" has the \"min\" {min} above the \"max\" {max}"
            )),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) if min == max => write!(f, "{min} characters"),
            (Some(min), Some(max)) => write!(f, "{min} to {max} characters"),
            (Some(min), None) => write!(f, "{min} or more characters"),
            (None, Some(max)) => write!(f, "{max} or fewer characters"),
            (None, None) => f.write_str("any number of characters"),
        }
    }
}
