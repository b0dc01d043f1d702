//! The config of the plugin: the operator's JSON comes in, the checks of the columns go out. If the config contradicts
//! itself, it is refused with a sentence that says why.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use ingest_plugin::ColumnType;
use regex::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::locale::Locale;
use crate::mask::{Hash, Mask, Protection};
use crate::notation::Notation;
use crate::range::RangeKey;
use crate::refinements::{Length, Map, Refinements, Unmapped};
use crate::text::{Case, Form, Invisible, Rewrite};
use crate::time_format::{Target, TimeFormat};
use crate::values::{Kind, Return, Values};

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
    invisible: Option<Invisible>,
    unicode: Option<Form>,
    trim: bool,
    case: Option<Case>,
    #[serde(deserialize_with = "null")]
    null: BTreeSet<String>,
    default: Option<String>,
    required: bool,
    map: Option<BTreeMap<String, String>>,
    unmapped: Option<Unmapped>,
    #[serde(rename = "type")]
    kind: Option<Kind>,
    #[serde(deserialize_with = "formats")]
    formats: Vec<String>,
    locale: Option<Locale>,
    notation: Option<Notation>,
    range: Option<RangeKey>,
    length: Option<Length>,
    #[serde(deserialize_with = "allowed")]
    allowed: Option<BTreeSet<String>>,
    pattern: Option<String>,
    hash: Option<Hash>,
    mask: Option<Mask>,
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
pub(crate) fn list<'de, D: Deserializer<'de>, L: Default + Extend<String>>(
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
            || self.is_refined()
    }

    /// Returns true if the rule has keys of [`Refinements`].
    fn is_refined(&self) -> bool {
        let has_times = self.range.is_some() && self.kind.and_then(Kind::target).is_some();
        self.is_rewritten()
            || self.notation.is_some()
            || has_times
            || self.length.is_some()
            || self.is_protected()
    }

    /// Returns true if the rule can put another text in the place of a text.
    fn is_rewritten(&self) -> bool {
        self.invisible.is_some()
            || self.unicode.is_some()
            || self.case.is_some()
            || self.default.is_some()
            || self.map.is_some()
    }

    /// Returns true if `map` or `unmapped` can make a value empty.
    fn maps_to_empty(&self) -> bool {
        let is_value = self.map.iter().flat_map(BTreeMap::values).any(String::is_empty);
        is_value || self.unmapped == Some(Unmapped::Empty)
    }

    /// Returns true if the output has no values of the column.
    fn is_protected(&self) -> bool {
        self.hash.is_some() || self.mask.is_some()
    }

    /// Returns the type of the column in the output, or `None` if the column keeps the type of the input.
    pub(crate) fn column_type(&self) -> Option<ColumnType> {
        // A hash and a masked value are texts.
        let kind = self.kind.filter(|_| !self.is_protected());
        match kind {
            // In JSONL output, a value that the list `null` contains, or that `map` makes empty, must become null, but a
            // `Text` column would make it an empty text. Without `null`, a text that `trim` empties becomes an empty text.
            None | Some(Kind::Text) if !self.null.is_empty() || self.maps_to_empty() => None,
            None if self.constant.is_some() || self.trim || self.is_rewritten() || self.is_protected() => {
                Some(ColumnType::Text)
            }
            kind => kind.map(Kind::column_type),
        }
    }

    /// Returns the checks that the rule makes on each value.
    pub(crate) fn values(&self) -> Result<Values, String> {
        let (kind, formats) = (self.kind.unwrap_or(Kind::Text), self.formats()?);
        let (mut range, mut times) = (None, None);
        match &self.range {
            Some(key) if kind.target().is_some() => times = Some(key.times(kind, &formats)?),
            Some(key) => range = Some(key.numbers()?),
            None => {}
        }
        let refinements = self.is_refined().then(|| Refinements {
            rewrite: Rewrite {
                invisible: self.invisible,
                unicode: self.unicode,
                trim: self.trim,
                case: self.case,
            },
            default: self.default.clone(),
            map: self.map.clone().map(|values| Map {
                values,
                unmapped: self.unmapped.clone().unwrap_or_default(),
            }),
            notation: self.notation.clone(),
            times,
            length: self.length.clone(),
            protection: self.protection(),
        });
        Ok(Values {
            trim: self.trim,
            null: self.null.clone(),
            required: self.required,
            kind,
            formats,
            range,
            allowed: self.allowed.clone(),
            pattern: self.pattern()?,
            refinements: refinements.map(Box::new),
        })
    }

    fn protection(&self) -> Option<Protection> {
        let hash = self.hash.clone().map(Protection::Hash);
        hash.or_else(|| self.mask.clone().map(Protection::Mask))
    }

    /// Returns the constant in the output form of the rule's type, or `None` if the rule has no constant.
    pub(crate) fn constant(&self) -> Result<Option<String>, String> {
        let (Some(constant), Some(kind)) = (&self.constant, self.kind) else {
            return Ok(self.constant.clone());
        };
        match kind.convert(constant, &self.formats()?, Return) {
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
        if let Some(refinements) = &values.refinements {
            refinements.check_config(&values)?;
            for allowed in self.allowed.iter().flatten() {
                refinements.check_allowed(&values, allowed)?;
            }
            return Ok(());
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
        let has_target = self.kind.and_then(Kind::target).is_some();
        let is_numeric = matches!(self.kind, Some(Kind::Integer | Kind::Number | Kind::Decimal(_)));
        if self.drop && (self.rename.is_some() || self.constant.is_some()) {
            return Some("\"drop\" leaves nothing to \"rename\" or to give a \"constant\"");
        }
        if self.rename.as_deref() == Some("") {
            return Some("\"rename\" gives no name");
        }
        if self.constant.is_some() && (self.is_check() || self.range.is_some()) {
            return Some("\"constant\" replaces every value, remove the checks on them");
        }
        if self.range.is_some() && !is_numeric && !has_target {
            return Some(
                "\"range\" needs the type \"integer\", \"number\", \"decimal(p,s)\", \"timestamp\", \"date\" or \
                 \"time\"",
            );
        }
        if !self.formats.is_empty() && !has_target {
            return Some("\"formats\" needs the type \"timestamp\", \"date\" or \"time\"");
        }
        if self.notation.is_some() && !is_numeric {
            return Some("\"notation\" needs the type \"integer\", \"number\" or \"decimal(p,s)\"");
        }
        if self.unmapped.is_some() && self.map.is_none() {
            return Some("\"unmapped\" needs a \"map\"");
        }
        if self.hash.is_some() && self.mask.is_some() {
            return Some("\"hash\" and \"mask\" both replace the value: remove one of them");
        }
        if self.allowed.as_ref().is_some_and(BTreeSet::is_empty) {
            return Some("\"allowed\" lists no value");
        }
        None
    }

    fn formats(&self) -> Result<Vec<TimeFormat>, String> {
        let target = self.kind.and_then(Kind::target).unwrap_or(Target::Timestamp);
        let locale = self.locale.unwrap_or_default();
        let format = |text: &String| {
            TimeFormat::parse(text, target, locale).map_err(|fault| format!("\"formats\": {text:?} {fault}"))
        };
        let formats: Vec<_> = self.formats.iter().map(format).collect::<Result<_, _>>()?;
        if self.locale.is_some() && !formats.iter().any(TimeFormat::has_names) {
            return Err(
                "\"locale\" has no use: no entry of \"formats\" reads a name (%b, %B, %a or %A)".to_owned(),
            );
        }
        Ok(formats)
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
