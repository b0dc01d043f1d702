//! Describes keys and values of a TOML text, and finds their positions.

use toml::de::{DeInteger, DeValue};

use super::Position;

/// Returns an integer as the command line takes it, however the file writes it.
pub(super) fn decimal(number: &DeInteger<'_>) -> String {
    let value = i128::from_str_radix(number.as_str(), number.radix());
    value.map_or_else(|_| number.to_string(), |value| value.to_string())
}

/// Returns the kind of a value, for people.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Returns the position of a byte of the text.
pub(super) fn position(text: &str, byte: usize) -> Position {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    Position {
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
    }
}

/// Returns a mistyped key as it could be meant: underscores and capitals are common mistakes.
pub(super) fn as_key(unknown: &str) -> String {
    unknown.replace('_', "-").to_lowercase()
}

/// Returns the name nearest to one that is unknown, if one is near.
pub(super) fn nearest<'a>(names: impl Iterator<Item = &'a str>, unknown: &str) -> Option<&'a str> {
    let distance = |name: &str| strsim::damerau_levenshtein(name, unknown);
    let near = names.map(|name| (distance(name), name)).min()?;
    (near.0 <= 1 + near.1.len() / 4).then_some(near.1)
}
