//! The config of the plugin: the operator's JSON comes in, the checks of the columns go out. If the config contradicts
//! itself, it is refused with a sentence that says why.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use ingest_plugin::ColumnType;
use regex::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::time_format::TimeFormat;
use crate::values::{Kind, Range, Values};

/// The operator's config: a rule for each column that it names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    #[serde(deserialize_with = "columns")]
    pub(crate) columns: BTreeMap<String, Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rule {
    trim: bool,
    #[serde(deserialize_with = "null")]
    null: BTreeSet<String>,
    required: bool,
    #[serde(rename = "type")]
    kind: Option<Kind>,
    #[serde(deserialize_with = "formats")]
    formats: Vec<String>,
    range: Option<Range>,
    #[serde(deserialize_with = "allowed")]
    allowed: Option<BTreeSet<String>>,
    pattern: Option<String>,
    pub(crate) rename: Option<String>,
    pub(crate) drop: bool,
    pub(crate) constant: Option<String>,
    /// The compiled pattern. It is kept, because compiling a pattern can take many times as long as the rest of `open`.
    #[serde(skip)]
    compiled: OnceCell<Regex>,
}

/// Parses the rules. An error names the column whose rule is wrong.
fn columns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Rule>, D::Error> {
    struct Rules;

    impl<'de> Visitor<'de> for Rules {
        type Value = BTreeMap<String, Rule>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object with a rule for each column")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let mut rules = BTreeMap::new();
            while let Some(name) = members.next_key::<String>()? {
                let rule = members.next_value();
                let rule = rule.map_err(|error| A::Error::custom(format!("column {name:?}: {error}")))?;
                rules.insert(name, rule);
            }
            Ok(rules)
        }
    }

    deserializer.deserialize_map(Rules)
}

fn null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    list(deserializer, "null").map(Option::unwrap_or_default)
}

fn formats<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    list(deserializer, "formats").map(Option::unwrap_or_default)
}

fn allowed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeSet<String>>, D::Error> {
    list(deserializer, "allowed")
}

/// Parses a list of texts. Returns `None` for null. If the JSON is a single text, the error says that a list is needed.
fn list<'de, D: Deserializer<'de>, L: Default + Extend<String>>(
    deserializer: D,
    key: &'static str,
) -> Result<Option<L>, D::Error> {
    struct Texts<L>(&'static str, PhantomData<L>);

    impl<'de, L: Default + Extend<String>> Visitor<'de> for Texts<L> {
        type Value = Option<L>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of texts for {:?}", self.0)
        }

        fn visit_unit<E: Error>(self) -> Result<Option<L>, E> {
            Ok(None)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Option<L>, E> {
            Err(E::custom(format!("{:?} takes a list: [{text:?}]", self.0)))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Option<L>, A::Error> {
            let mut list = L::default();
            while let Some(text) = texts.next_element::<String>()? {
                list.extend([text]);
            }
            Ok(Some(list))
        }
    }

    deserializer.deserialize_any(Texts(key, PhantomData))
}

impl Config {
    /// Checks everything in the config that can be checked without an input.
    ///
    /// # Errors
    /// Returns a sentence that names the column and the fault.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (name, rule) in &self.columns {
            rule.check()
                .map_err(|fault| format!("column {name:?}: {fault}"))?;
        }
        let mut sources = BTreeMap::new();
        for (source, rule) in self.columns.iter().filter(|(_, rule)| !rule.drop) {
            let name = rule.rename.as_ref().unwrap_or(source);
            if let Some(first) = sources.insert(name, source) {
                return Err(format!(
                    "columns {first:?} and {source:?}: both are {name:?} in the output, rename or drop one of them"
                ));
            }
        }
        Ok(())
    }
}

impl Rule {
    /// Returns true if the rule needs the column's values.
    pub(crate) fn is_check(&self) -> bool {
        let is_converted = self.kind.is_some_and(|kind| kind != Kind::Text);
        self.trim
            || !self.null.is_empty()
            || self.required
            || (is_converted && self.constant.is_none())
            || self.allowed.is_some()
            || self.pattern.is_some()
    }

    /// Returns the type of the column in the output, or `None` if the column keeps the type of the input.
    pub(crate) fn column_type(&self) -> Option<ColumnType> {
        match self.kind {
            // In JSONL output, a value that the list `null` contains must become null, but a `Text` column would make
            // it an empty text. Without `null`, a text that `trim` empties becomes an empty text.
            None | Some(Kind::Text) if !self.null.is_empty() => None,
            None if self.constant.is_some() || self.trim => Some(ColumnType::Text),
            kind => kind.map(Kind::column_type),
        }
    }

    /// Returns the checks that the rule makes on each value.
    pub(crate) fn values(&self) -> Result<Values, String> {
        Ok(Values {
            trim: self.trim,
            null: self.null.clone(),
            required: self.required,
            kind: self.kind.unwrap_or(Kind::Text),
            formats: self.formats()?,
            range: self.range.clone(),
            allowed: self.allowed.clone(),
            pattern: self.pattern()?,
        })
    }

    /// Returns the constant in the output form of the rule's type, or `None` if the rule has no constant.
    pub(crate) fn constant(&self) -> Result<Option<String>, String> {
        let (Some(constant), Some(kind)) = (&self.constant, self.kind) else {
            return Ok(self.constant.clone());
        };
        match kind.convert(constant, &self.formats()?) {
            Ok(cell) => Ok(Some(cell.to_string())),
            Err(fault) => Err(format!("\"constant\": {constant:?} {fault}")),
        }
    }

    fn check(&self) -> Result<(), String> {
        if let Some(sentence) = self.contradiction() {
            return Err(sentence.to_owned());
        }
        self.constant()?;
        let values = self.values()?;
        if let Some(null) = self.null.iter().find(|null| self.trim && null.trim() != *null) {
            return Err(format!(
                "\"null\" lists {null:?}, which no value is after \"trim\""
            ));
        }
        for allowed in self.allowed.iter().flatten() {
            match values.read(allowed) {
                Ok(None) if !allowed.is_empty() => {
                    return Err(format!(
                        "\"allowed\" lists {allowed:?}, which is made empty before"
                    ));
                }
                Ok(_) => {}
                Err(fault) => return Err(format!("\"allowed\" lists {allowed:?}, which {fault}")),
            }
        }
        Ok(())
    }

    /// Returns a sentence about the contradiction in a rule, or `None` if the rule has no contradiction.
    fn contradiction(&self) -> Option<&'static str> {
        let is_numeric = matches!(self.kind, Some(Kind::Integer | Kind::Number));
        if self.drop && (self.rename.is_some() || self.constant.is_some()) {
            return Some("\"drop\" leaves nothing to \"rename\" or to give a \"constant\"");
        }
        if self.rename.as_deref() == Some("") {
            return Some("\"rename\" gives no name");
        }
        if self.constant.is_some() && (self.is_check() || self.range.is_some()) {
            return Some("\"constant\" replaces every value, remove the checks on them");
        }
        if self.range.is_some() && !is_numeric {
            return Some("\"range\" needs the type \"integer\" or \"number\"");
        }
        if self.range.as_ref().is_some_and(Range::is_senseless) {
            return Some("\"range\" needs a \"min\", a \"max\", or one not above the other");
        }
        if !self.formats.is_empty() && self.kind != Some(Kind::Timestamp) {
            return Some("\"formats\" needs the type \"timestamp\"");
        }
        if self.allowed.as_ref().is_some_and(BTreeSet::is_empty) {
            return Some("\"allowed\" lists no value");
        }
        None
    }

    fn formats(&self) -> Result<Vec<TimeFormat>, String> {
        let format =
            |text: &String| TimeFormat::parse(text).map_err(|fault| format!("\"formats\": {text:?} {fault}"));
        self.formats.iter().map(format).collect()
    }

    fn pattern(&self) -> Result<Option<Regex>, String> {
        let Some(pattern) = &self.pattern else {
            return Ok(None);
        };
        if self.compiled.get().is_none() {
            let compiled = Regex::new(pattern).map_err(|error| format!("\"pattern\": {error}"))?;
            return Ok(Some(self.compiled.get_or_init(|| compiled).clone()));
        }
        Ok(self.compiled.get().cloned())
    }
}

impl Range {
    fn is_senseless(&self) -> bool {
        match (&self.min, &self.max) {
            (Some(min), Some(max)) => max.order_bound(min) == Ordering::Greater,
            (None, None) => true,
            _ => false,
        }
    }
}
