//! Reads a plugin's config: takes a JSON document, and returns its text and its canonical form.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A plugin's config document, a JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginConfig {
    /// The text as the user wrote it. The plugin checks this text, so that the positions in its errors are right.
    pub as_written: String,
    /// The document with its members in a canonical order, so that equal configs have equal digests.
    pub canonical: String,
}

impl PluginConfig {
    /// Reads a config document.
    ///
    /// # Errors
    /// Fails if the text is no JSON object, or if an object in it has the same member twice.
    pub fn parse(as_written: impl Into<String>) -> serde_json::Result<Self> {
        let as_written = as_written.into();
        strict_json::from_str::<serde_json::Map<String, serde_json::Value>>(&as_written)?;
        let canonical = canonical(&as_written)?;
        Ok(Self {
            as_written,
            canonical,
        })
    }
}

impl Default for PluginConfig {
    /// Returns the config without members.
    fn default() -> Self {
        Self {
            as_written: "{}".into(),
            canonical: "{}".into(),
        }
    }
}

/// Returns a JSON document with its members sorted and without white space. Numbers keep their text, because a float
/// cannot hold all digits of some numbers.
fn canonical(document: &str) -> serde_json::Result<String> {
    let list = |open, items: serde_json::Result<Vec<String>>, close| {
        items.map(|items| format!("{open}{}{close}", items.join(",")))
    };
    let document = document.trim_ascii();
    match document.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(document)?;
            let members = members.iter().map(|(name, value)| {
                let (name, value) = (serde_json::to_string(name)?, canonical(value.get())?);
                Ok(format!("{name}:{value}"))
            });
            list('{', members.collect(), '}')
        }
        Some(b'[') => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(document)?;
            list('[', items.iter().map(|item| canonical(item.get())).collect(), ']')
        }
        Some(b'"') => serde_json::to_string(&serde_json::from_str::<String>(document)?),
        _ => Ok(document.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_configs_are_written_alike() {
        assert_eq!(PluginConfig::parse("{}").unwrap(), PluginConfig::default());
        let config = PluginConfig::parse(r#"{"b": 1, "a": {"d": [1, 2], "c": null}}"#).unwrap();
        assert_eq!(config.canonical, r#"{"a":{"c":null,"d":[1,2]},"b":1}"#);
        // Neither a float nor a 64-bit integer can hold all digits of these numbers.
        let numbers = r#"{"a":[12345678901234567890.5,0.10,1E2,-0,123456789012345678901],"b":"\u00e9\/"}"#;
        let config = PluginConfig::parse(numbers).unwrap();
        assert_eq!(config.canonical, numbers.replace(r"\u00e9\/", "é/"));
        assert_eq!(config.as_written, numbers);
        for refused in ["[1]", r#"{"a": {"b": 1, "b": 2}}"#, ""] {
            PluginConfig::parse(refused).expect_err(refused);
        }
    }
}
