//! Arguments that several commands take.

use std::path::{Path, PathBuf};

use crate::config::{Limits, Setting};
use crate::document::read_named_text;
use crate::error::{Error, Result, Stage};
use crate::fetch::Credentials;
use crate::format::Format;
use crate::gate::{Gate, Rule};
use crate::location::is_uri;
use crate::request::{DialectFrom, InputOptions, parse_encoding, parse_sha256};

/// The longest config file of a plugin, which is copied into each instance.
const CONFIG_BYTES_MAX: u64 = 16 << 20;

/// How to read an input, where its name does not say it.
#[derive(clap::Args)]
pub(super) struct InputArgs {
    /// Format of the input; by default from its content type or name, and CSV if neither says.
    #[arg(long, value_enum)]
    input_format: Option<Format>,
    /// CSV input: the character between fields; `tab` or `\t`, `0x01` or `\x01` for a byte by its number. For several spaces:
    /// `--dialect spaces`.
    #[arg(long, value_name = "CHAR", value_parser = character)]
    delimiter: Option<char>,
    /// CSV input: the character around fields that need it.
    #[arg(long, value_name = "CHAR", value_parser = character)]
    quote: Option<char>,
    /// CSV input: `auto` tells the delimiter and the quote that are not given from the first records; `spaces` reads fields that
    /// one or more spaces part.
    #[arg(long, value_enum)]
    dialect: Option<DialectFrom>,
    /// Encoding of the input, such as utf-16 or latin-1; the output is UTF-8.
    #[arg(long, value_name = "NAME", value_parser = encoding)]
    encoding: Option<String>,
    /// CSV input: the first record is data; the columns are column_1, column_2, ...
    #[arg(long)]
    no_header: bool,
    /// The SHA-256 that the file must have as it is fetched, before it is decompressed; nothing is written if it has another.
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    pub(super) sha256: Option<String>,
}

impl InputArgs {
    pub(super) fn options(&self) -> InputOptions {
        InputOptions {
            format: self.input_format,
            delimiter: self.delimiter,
            quote: self.quote,
            header: self.no_header.then_some(false),
            dialect: self.dialect,
            encoding: self.encoding.clone(),
            sha256: self.sha256.clone(),
        }
    }
}

fn character(text: &str) -> Result<char, String> {
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

fn encoding(label: &str) -> Result<String, String> {
    parse_encoding(label).ok_or_else(|| "expected an encoding such as utf-16, latin-1 or shift_jis".into())
}

fn sha256(text: &str) -> Result<String, String> {
    parse_sha256(text).ok_or_else(|| "expected 64 hex digits".into())
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
    /// Tell in the receipt what the columns of the output hold: how many cells are filled, how many values there are, the
    /// smallest and the largest, their lengths and their type. `report` shows it.
    #[arg(long)]
    pub(super) profile: bool,
}

/// How many records may be rejected.
#[derive(clap::Args)]
pub(super) struct GateArgs {
    /// May be given again: publish nothing if more records than this are rejected, in all or with one code. All goes into
    /// quarantine then; a request of a queue is dead.
    #[arg(long, value_name = "N|P%|CODE=N|CODE=P%", value_delimiter = ',')]
    max_rejects: Vec<Rule>,
    /// What a reject means for its file: `fail` is `--max-rejects 0`.
    #[arg(long, value_enum, default_value = "set-aside", conflicts_with = "max_rejects")]
    on_reject: OnReject,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OnReject {
    /// The others are published.
    SetAside,
    /// Nothing is published.
    Fail,
}

impl GateArgs {
    pub(super) fn gate(&self) -> Gate {
        match self.on_reject {
            OnReject::SetAside => Gate::new(self.max_rejects.clone()),
            OnReject::Fail => Gate::closed(),
        }
    }
}

/// What this host is known by to servers.
#[derive(clap::Args)]
pub(super) struct CredentialArgs {
    /// JSON file with the headers that servers want, by origin: {"https://HOST": {"authorization": "Bearer ..."}}.
    #[arg(
        long = "credentials",
        env = "INGEST_HOST_CREDENTIALS",
        hide_env_values = true,
        value_name = "FILE"
    )]
    file: Option<PathBuf>,
}

impl CredentialArgs {
    pub(super) fn read(&self) -> Result<Credentials> {
        self.file
            .as_deref()
            .map_or_else(|| Ok(Credentials::default()), Credentials::read)
    }
}

/// What plugins and components may take.
#[derive(clap::Args)]
pub(super) struct LimitArgs {
    /// May be given again: a limit, such as memory=64MiB, call-time=500ms, request-time=1h, traps=0. SECURITY.md lists them all,
    /// with their defaults.
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    settings: Vec<Setting>,
}

impl LimitArgs {
    pub(super) fn limits(&self) -> Limits {
        Limits::default().with(&self.settings)
    }
}

/// The config document of a plugin.
pub(super) struct PluginConfig {
    /// As it was written, for a plugin to check: the positions in its errors are then those that a person sees.
    pub(super) as_written: String,
    /// With its members in a canonical order, so that equal configs have equal digests.
    pub(super) canonical: String,
}

/// Reads `JSON` or `@FILE`; without either the config is `{}`.
pub(super) fn plugin_config(argument: Option<&str>) -> Result<PluginConfig> {
    let refused = |message: String| Error::permanent(Stage::Config, message);
    let Some(argument) = argument else {
        return Ok(PluginConfig {
            as_written: "{}".into(),
            canonical: "{}".into(),
        });
    };
    let (as_written, name) = match argument.strip_prefix('@') {
        None => (argument.to_owned(), "of the plugin"),
        Some(path) => {
            let text = read_named_text(Path::new(path), CONFIG_BYTES_MAX)
                .map_err(|e| refused(format!("{path}: cannot be read")).because(e))?;
            (text, path)
        }
    };
    let config: serde_json::Map<String, serde_json::Value> =
        strict_json::from_str(&as_written).map_err(|e| {
            let is_file = !argument.starts_with('@') && std::path::Path::new(argument).exists();
            let hint = if is_file {
                format!("; write @{argument} for the file")
            } else {
                String::new()
            };
            refused(format!("{name}: is not a JSON object{hint}")).because(e)
        })?;
    Ok(PluginConfig {
        as_written,
        canonical: serde_json::Value::Object(config).to_string(),
    })
}

/// What a person types for a local file becomes what a worker elsewhere on this machine can find.
pub(super) fn absolute(uri: &str) -> String {
    if is_uri(uri) {
        return uri.to_owned();
    }
    std::path::absolute(PathBuf::from(uri)).map_or_else(|_| uri.to_owned(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_configs_are_written_alike() {
        assert_eq!(plugin_config(None).unwrap().canonical, "{}");
        let config = plugin_config(Some(r#"{"b": 1, "a": {"d": [1, 2], "c": null}}"#)).unwrap();
        assert_eq!(config.canonical, r#"{"a":{"c":null,"d":[1,2]},"b":1}"#);
        let refused = |argument| plugin_config(Some(argument)).err().expect("refused").report();
        assert!(refused("[1]").contains("not a JSON object"));
        assert!(refused(r#"{"a": {"b": 1, "b": 2}}"#).contains("the member \"b\" is there twice"));
        assert!(refused("@/no/such/file").contains("/no/such/file"));
        assert!(refused("/proc/version").contains("write @/proc/version for the file"));
    }

    #[test]
    fn only_plain_paths_are_made_absolute() {
        assert_eq!(absolute("https://example.com/a.csv"), "https://example.com/a.csv");
        assert_eq!(absolute("file:/data/a.csv"), "file:/data/a.csv");
        assert_eq!(absolute("http:\\\\example.com"), "http:\\\\example.com");
        assert!(absolute("a.csv").starts_with('/'));
        assert!(absolute("./a:b.csv").starts_with('/'));
    }

    #[test]
    fn a_character_is_one_character() {
        assert_eq!(character("\\t"), Ok('\t'));
        assert_eq!(character(";"), Ok(';'));
        assert_eq!(character("\\x01"), Ok('\u{1}'));
        assert_eq!(character("0x7E"), Ok('~'));
        assert_eq!(character("tab"), Ok('\t'));
        assert!(character("\\x1").is_err());
        assert!(character("\\x+1").is_err());
        assert!(character("  ").unwrap_err().contains("--dialect spaces"));
        assert!(character("").is_err());
        assert!(character("ab").is_err());
    }
}
