#![doc = include_str!("../README.md")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ingest_plugin::{
    Column, ColumnType, Format, OutputColumn, Plugin, Record, Refusal, Reject, Schema, Value, Verdict, export,
};
use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use regex_lite::Regex;
use serde::Deserialize;

/// The plugin.
pub struct Clean {
    checks: Vec<Check>,
    constants: Vec<(OutputColumn, String)>,
}

/// What the operator asks for, by the name of the input's columns.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    columns: BTreeMap<String, Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rule {
    trim: bool,
    null: BTreeSet<String>,
    required: bool,
    #[serde(rename = "type")]
    kind: Option<Kind>,
    formats: Vec<String>,
    range: Option<Range>,
    allowed: Option<BTreeSet<String>>,
    pattern: Option<String>,
    rename: Option<String>,
    drop: bool,
    constant: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
    Timestamp,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    min: Option<f64>,
    max: Option<f64>,
}

impl Plugin for Clean {
    type Config = Config;
    const STATEFUL: bool = false;

    fn check(config: &Config) -> Result<(), Refusal> {
        for (name, rule) in &config.columns {
            rule.check()
                .map_err(|fault| Refusal::new(format!("config: column {name:?}: {fault}")))?;
        }
        Ok(())
    }

    fn open(schema: &mut Schema, config: Config) -> Result<Self, Refusal> {
        let mut clean = Self {
            checks: Vec::new(),
            constants: Vec::new(),
        };
        for (name, rule) in config.columns {
            clean.add(schema, &name, rule)?;
        }
        Ok(clean)
    }

    fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject> {
        for check in &self.checks {
            check.apply(record)?;
        }
        for (column, constant) in &self.constants {
            record.set(*column, constant);
        }
        Ok(Verdict::Keep)
    }
}

export!(Clean);

impl Clean {
    fn add(&mut self, schema: &mut Schema, name: &str, rule: Rule) -> Result<(), Refusal> {
        // Of JSONL any name is one to look for: the first records may not have it, and later ones must not keep theirs.
        let is_new = rule.constant.is_some()
            && schema.format() == Format::Csv
            && !schema.columns().iter().any(|c| c == name);
        let column = if is_new {
            schema.add(name, ColumnType::Text)
        } else {
            schema.output(name)?
        };
        if let Some(kind) = rule.kind {
            schema.convert(column, kind.column_type());
        } else if rule.constant.is_some() {
            schema.convert(column, ColumnType::Text);
        }
        if let Some(name) = &rule.rename {
            schema.rename(column, name);
        }
        if rule.drop {
            schema.drop(column);
        }
        if let Some(constant) = rule.constant().map_err(Refusal::new)? {
            self.constants.push((column, constant));
        }
        if rule.is_check() {
            let pattern = rule.pattern().map_err(Refusal::new)?;
            self.checks.push(Check {
                column: schema.read(name)?,
                trim: rule.trim,
                null: rule.null,
                required: rule.required,
                kind: rule.kind.unwrap_or(Kind::Text),
                formats: rule.formats,
                range: rule.range,
                allowed: rule.allowed,
                pattern,
            });
        }
        Ok(())
    }
}

impl Rule {
    /// Whether the column's values matter, and not only where they go.
    fn is_check(&self) -> bool {
        let is_converted = self.kind.is_some_and(|kind| kind != Kind::Text);
        self.trim
            || !self.null.is_empty()
            || self.required
            || (is_converted && self.constant.is_none())
            || self.allowed.is_some()
            || self.pattern.is_some()
    }

    fn check(&self) -> Result<(), String> {
        if let Some(sentence) = self.contradiction() {
            return Err(sentence.to_owned());
        }
        self.pattern()?;
        self.constant()?;
        Ok(())
    }

    /// What in this rule can't be meant.
    fn contradiction(&self) -> Option<&'static str> {
        let is_numeric = matches!(self.kind, Some(Kind::Integer | Kind::Number));
        if self.drop && (self.rename.is_some() || self.constant.is_some()) {
            return Some("\"drop\" leaves nothing to \"rename\" or to give a \"constant\"");
        }
        if self.constant.is_some() && (self.is_check() || self.range.is_some()) {
            return Some("\"constant\" replaces every value, remove the checks on them");
        }
        if self.range.is_some() && !is_numeric {
            return Some("\"range\" needs the type \"integer\" or \"number\"");
        }
        if self.range.is_some_and(Range::is_senseless) {
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

    fn pattern(&self) -> Result<Option<Regex>, String> {
        let pattern = self.pattern.as_deref().map(Regex::new).transpose();
        pattern.map_err(|error| format!("\"pattern\": {error}"))
    }

    /// The constant, as the output writes values of its type.
    fn constant(&self) -> Result<Option<String>, String> {
        let (Some(constant), Some(kind)) = (&self.constant, self.kind) else {
            return Ok(self.constant.clone());
        };
        match kind.convert(constant, &self.formats) {
            Ok(cell) => Ok(Some(cell.to_string())),
            Err((_, fault)) => Err(format!("\"constant\": {constant:?} {fault}")),
        }
    }
}

impl Range {
    fn is_senseless(self) -> bool {
        match (self.min, self.max) {
            (Some(min), Some(max)) => min > max,
            (None, None) => true,
            _ => false,
        }
    }

    fn contains(self, value: f64) -> bool {
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) => write!(f, "between {min} and {max}"),
            (Some(min), None) => write!(f, "{min} or more"),
            (None, Some(max)) => write!(f, "{max} or less"),
            (None, None) => f.write_str("anything"),
        }
    }
}

/// The rule for the values of one column, in the order in which it is applied.
struct Check {
    column: Column,
    trim: bool,
    null: BTreeSet<String>,
    required: bool,
    kind: Kind,
    formats: Vec<String>,
    range: Option<Range>,
    allowed: Option<BTreeSet<String>>,
    pattern: Option<Regex>,
}

impl Check {
    fn apply(&self, record: &mut Record<'_>) -> Result<(), Reject> {
        let reject = |code, fault: &dyn fmt::Display| Err(record.reject(self.column, code, fault));

        let mut text = record.get(self.column);
        if self.trim {
            text = text.trim();
        }
        if self.null.contains(text) {
            text = "";
        }
        if text.is_empty() {
            if self.required {
                return reject("required", &"is empty but required");
            }
            record.set(self.column, "");
            return Ok(());
        }

        let cell = match self.kind.convert(text, &self.formats) {
            Ok(cell) => cell,
            Err((code, fault)) => return reject(code, &fault),
        };
        if let Some(range) = self.range
            && !cell.number().is_some_and(|value| range.contains(value))
        {
            return reject("out-of-range", &format_args!("is not {range}"));
        }
        if let Some(allowed) = &self.allowed
            && !allowed.contains(text)
        {
            return reject("not-allowed", &format_args!("is none of {allowed:?}"));
        }
        if let Some(pattern) = &self.pattern
            && !pattern.is_match(text)
        {
            return reject("pattern", &format_args!("does not match {pattern}"));
        }
        record.set(self.column, cell);
        Ok(())
    }
}

/// A value as it goes to the output.
enum Cell<'a> {
    Text(&'a str),
    Integer(i64),
    /// A number, and its text where that can stay.
    Number(f64, Option<&'a str>),
    Boolean(bool),
    Local(DateTime),
    Instant(jiff::Timestamp),
}

impl Cell<'_> {
    #[expect(clippy::cast_precision_loss, reason = "the bounds are floats too")]
    fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(value) => Some(*value as f64),
            Self::Number(value, _) => Some(*value),
            _ => None,
        }
    }
}

impl Value for Cell<'_> {
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Number(_, Some(text)) => out.write_str(text),
            Self::Integer(value) => value.write(out),
            Self::Number(value, None) => value.write(out),
            Self::Boolean(value) => value.write(out),
            Self::Local(time) => write!(out, "{time}"),
            Self::Instant(time) => write!(out, "{time}"),
        }
    }
}

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

impl Kind {
    fn column_type(self) -> ColumnType {
        match self {
            Self::Text => ColumnType::Text,
            Self::Integer => ColumnType::Integer,
            Self::Number => ColumnType::Number,
            Self::Boolean => ColumnType::Boolean,
            Self::Timestamp => ColumnType::Timestamp,
        }
    }

    /// The value in `text`, or the code and the fault of a reject.
    fn convert<'a>(
        self,
        text: &'a str,
        formats: &[String],
    ) -> Result<Cell<'a>, (&'static str, &'static str)> {
        match self {
            Self::Text => Ok(Cell::Text(text)),
            Self::Integer => match text.parse() {
                Ok(value) => Ok(Cell::Integer(value)),
                Err(_) => Err(("not-integer", "is not an integer of 64 bits")),
            },
            Self::Number => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => {
                    Ok(Cell::Number(value, is_json_number(text).then_some(text)))
                }
                _ => Err(("not-number", "is not a number")),
            },
            Self::Boolean => match boolean(text) {
                Some(value) => Ok(Cell::Boolean(value)),
                None => Err(("not-boolean", "is none of true, false, yes, no, 1, 0")),
            },
            Self::Timestamp => match timestamp(text, formats) {
                Some(cell) => Ok(cell),
                None => Err(("bad-timestamp", "is not a time of the expected format")),
            },
        }
    }
}

fn boolean(text: &str) -> Option<bool> {
    let is_any = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_any(["true", "yes", "1"]) {
        return Some(true);
    }
    is_any(["false", "no", "0"]).then_some(false)
}

/// Whether JSON allows to write a number, which `text` is known to be, this way.
fn is_json_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let whole = text.bytes().take_while(u8::is_ascii_digit).count();
    let has_fraction = match text[whole..].strip_prefix('.') {
        Some(fraction) => fraction.starts_with(|digit: char| digit.is_ascii_digit()),
        None => true,
    };
    has_fraction && (whole == 1 || (whole > 1 && !text.starts_with('0')))
}

/// A time in one of the formats, or in ISO 8601 without any. One with an offset from UTC becomes an
/// instant, one without stays local.
fn timestamp<'a>(text: &str, formats: &[String]) -> Option<Cell<'a>> {
    if formats.is_empty() {
        let instant = text.parse().map(Cell::Instant);
        return instant.or_else(|_| text.parse().map(Cell::Local)).ok();
    }
    for format in formats {
        if let Ok(time) = BrokenDownTime::parse(format, text) {
            let instant = time.to_timestamp().map(Cell::Instant);
            return instant.or_else(|_| time.to_datetime().map(Cell::Local)).ok();
        }
    }
    None
}
