//! Arguments that several commands take.

use std::path::PathBuf;

use crate::error::{Error, Result, Stage};
use crate::format::Format;
use crate::request::InputOptions;

/// How to read an input, where its name does not say it.
#[derive(clap::Args)]
pub(super) struct InputArgs {
    /// Format of the input; by default from its content type or name.
    #[arg(long, value_enum)]
    input_format: Option<Format>,
    /// CSV input: the character between fields; `\t` for a tab.
    #[arg(long, value_name = "CHAR", value_parser = character)]
    delimiter: Option<char>,
    /// CSV input: the character around fields that need it.
    #[arg(long, value_name = "CHAR", value_parser = character)]
    quote: Option<char>,
    /// CSV input: the first record is data; the columns are column_1, column_2, ...
    #[arg(long)]
    no_header: bool,
}

impl InputArgs {
    pub(super) fn options(&self) -> InputOptions {
        InputOptions {
            format: self.input_format,
            delimiter: self.delimiter,
            quote: self.quote,
            header: self.no_header.then_some(false),
        }
    }
}

fn character(text: &str) -> Result<char, String> {
    let mut characters = text.chars();
    match (text, characters.next(), characters.next()) {
        ("\\t", ..) => Ok('\t'),
        (_, Some(character), None) => Ok(character),
        _ => Err("expected one character".into()),
    }
}

/// Where output goes.
#[derive(clap::Args)]
pub(super) struct OutputArgs {
    /// Folder for outputs and receipts.
    #[arg(long, value_name = "URI", default_value = "./out/")]
    pub(super) output: String,
    /// Folder for rejects [default: `rejects` below the output].
    #[arg(long, value_name = "URI")]
    pub(super) rejects: Option<String>,
    /// Format of the output; by default that of the input.
    #[arg(long, value_enum)]
    pub(super) format: Option<Format>,
}

/// The config document of a plugin: `JSON` or `@FILE`; `{}` if there is none. Given back with its members in a
/// canonical order, so that equal configs have equal digests.
pub(super) fn plugin_config(argument: Option<&str>) -> Result<String> {
    let refused = |message: String| Error::permanent(Stage::Config, message);
    let (text, name) = match argument {
        None => return Ok("{}".into()),
        Some(argument) => match argument.strip_prefix('@') {
            None => (argument.to_owned(), "the plugin config".to_owned()),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| refused(path.to_owned()).because(e))?;
                (text, path.to_owned())
            }
        },
    };
    let config: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text)
        .map_err(|e| refused(format!("{name} is not a JSON object")).because(e))?;
    Ok(serde_json::Value::Object(config).to_string())
}

/// What a person types for a local file becomes what a worker elsewhere on this machine can find.
pub(super) fn absolute(uri: &str) -> String {
    if uri.contains("://") || uri.starts_with("file:") {
        return uri.to_owned();
    }
    std::path::absolute(PathBuf::from(uri)).map_or_else(|_| uri.to_owned(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_configs_are_written_alike() {
        assert_eq!(plugin_config(None).unwrap(), "{}");
        let config = plugin_config(Some(r#"{"b": 1, "a": {"d": [1, 2], "c": null}}"#)).unwrap();
        assert_eq!(config, r#"{"a":{"c":null,"d":[1,2]},"b":1}"#);
        assert!(
            plugin_config(Some("[1]"))
                .unwrap_err()
                .report()
                .contains("not a JSON object")
        );
        assert!(
            plugin_config(Some("@/no/such/file"))
                .unwrap_err()
                .report()
                .contains("/no/such/file")
        );
    }

    #[test]
    fn only_plain_paths_are_made_absolute() {
        assert_eq!(absolute("https://example.com/a.csv"), "https://example.com/a.csv");
        assert_eq!(absolute("file:/data/a.csv"), "file:/data/a.csv");
        assert!(absolute("a.csv").starts_with('/'));
    }

    #[test]
    fn a_character_is_one_character() {
        assert_eq!(character("\\t"), Ok('\t'));
        assert_eq!(character(";"), Ok(';'));
        assert!(character("").is_err());
        assert!(character("ab").is_err());
    }
}
