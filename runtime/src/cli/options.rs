//! Defines the arguments that several commands share.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::input_options::InputOptionArgs;
use crate::admin::plugin_config::PluginConfig;
use crate::commit::Destination;
use crate::config::{LimitValue, Limits};
use crate::digest::parse_sha256;
use crate::document::{near_hint, read_named_text, without_mark};
use crate::error::{Code, Error, Result, Stage};
use crate::fetch::Credentials;
use crate::format::Format;
use crate::gate::{Gate, Rule};
use crate::location::{Location, ObjectPrefix, redact};
use crate::request::InputOptions;
use crate::storage::object::ObjectStores;
use crate::units::HumanDuration;

/// The maximum size of a plugin's config file, in bytes. The config is copied into each instance.
const CONFIG_BYTES_MAX: u64 = 16 << 20;

/// The headings of groups of options in the help.
pub(super) mod heading {
    pub(crate) const PLUGIN: &str = "Plugin";
    pub(crate) const INPUT: &str = "Input";
    pub(crate) const OUTPUT: &str = "Output";
    pub(crate) const REJECTS: &str = "Rejects";
    pub(crate) const LIMITS: &str = "Limits";
    pub(crate) const WORKER: &str = "Worker";
    pub(crate) const ACCESS: &str = "Access to inputs";
}

/// The options for one input.
#[derive(clap::Args)]
#[command(next_help_heading = heading::INPUT)]
pub(super) struct InputArgs {
    #[command(flatten)]
    options: InputOptionArgs,
    /// The SHA-256 of the file before decompression; if it differs, nothing is published.
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    pub(super) sha256: Option<String>,
}

impl InputArgs {
    pub(super) fn options(&self) -> InputOptions {
        InputOptions {
            sha256: self.sha256.clone(),
            ..self.options.clone().into()
        }
    }
}

fn sha256(text: &str) -> Result<String, String> {
    parse_sha256(text).ok_or_else(|| "expected 64 hex digits".into())
}

/// The options for the output.
#[derive(clap::Args)]
#[command(next_help_heading = heading::OUTPUT)]
pub(super) struct OutputArgs {
    /// Folder for outputs and receipts, or a place in an object store: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or
    /// az://CONTAINER/PREFIX.
    #[arg(long, value_name = "URI", default_value = "./out/")]
    pub(super) output: String,
    /// Folder for rejects, or a place in an object store if the output is in one: s3://BUCKET/PREFIX, also with gs: and
    /// az: [default: `_ingest/` below the output].
    #[arg(long, value_name = "URI")]
    pub(super) rejects: Option<String>,
    /// Format of the output [default: that of the input].
    #[arg(long, value_enum)]
    pub(super) format: Option<Format>,
    /// Add a column profile to the receipt: filled cells, distinct values, smallest and largest value, lengths and
    /// types. `report` shows it.
    #[arg(long)]
    pub(super) profile: bool,
}

impl OutputArgs {
    /// Returns whether the records go to stdout. If not, they go to a folder.
    pub(super) fn is_stdout(&self) -> bool {
        self.output == "-"
    }

    /// Returns the prefix of an object store that the output is in, or `None` if it is elsewhere or cannot be used.
    pub(super) fn prefix(&self) -> Option<ObjectPrefix> {
        object_prefix("--output", &self.output).ok().flatten()
    }

    /// Returns the prefix of an object store that the rejects are in, or `None` if they are elsewhere or cannot be there.
    pub(super) fn rejects_prefix(&self) -> Option<ObjectPrefix> {
        object_prefix("--rejects", self.rejects.as_deref()?)
            .ok()
            .flatten()
    }

    /// Returns the destination of output and rejects.
    pub(super) fn destination(&self, stores: &ObjectStores) -> Result<Destination> {
        check_folder("--output", &self.output)?;
        let output = object_prefix("--output", &self.output)?;
        let rejects = self.check_rejects(output.is_some())?;
        let Some(output) = output else {
            return Destination::new(&self.output, self.rejects.as_deref());
        };
        let storage = stores.output(&output, rejects.as_ref())?;
        Ok(Destination::in_storage(Box::new(storage)))
    }

    /// Returns a destination whose output goes to stdout after it was staged in the given folder.
    pub(super) fn staged_in(&self, folder: &Path) -> Result<Destination> {
        self.check_rejects(false)?;
        Destination::for_passing_on(folder, self.rejects.as_deref())
    }

    /// Returns the prefix of the rejects, if they go to an object store. Output and rejects must both be in object
    /// stores or both be in folders: otherwise, no worker could commit both of them if another worker dies.
    fn check_rejects(&self, is_object_output: bool) -> Result<Option<ObjectPrefix>> {
        let Some(rejects) = self.rejects.as_deref() else {
            return Ok(None);
        };
        check_folder("--rejects", rejects)?;
        let prefix = object_prefix("--rejects", rejects)?;
        let why = match (is_object_output, &prefix) {
            (true, Some(_)) | (false, None) => return Ok(prefix),
            (true, None) => {
                "the output is in an object store, so that any worker can commit it with its rejects, and other machines do \
                 not have this folder: name a place in an object store (s3:, gs: or az:), or leave --rejects out"
            }
            (false, Some(_)) if self.is_stdout() => {
                "the records go to stdout, and nothing commits them together with an object: name a folder, or leave \
                 --rejects out"
            }
            (false, Some(_)) => {
                "the output is in a folder, whose commit cannot include an object: name a folder, write the output to an \
                 object store, too, or leave --rejects out"
            }
        };
        let what = format!("--rejects {}: {why}", redact(rejects));
        Err(Error::permanent(Stage::Config, Code::OutputFolder, what))
    }
}

/// Returns the prefix of an object store that the value of an option names, or `None` if it names something else.
fn object_prefix(option: &str, uri: &str) -> Result<Option<ObjectPrefix>> {
    match Location::parse(uri, Stage::Config) {
        Ok(Location::File(_) | Location::Http(_) | Location::Other(_)) => return Ok(None),
        Ok(Location::Object(_)) => {}
        // A bucket alone names no object.
        Err(_) if ["s3:", "gs:", "az:"].iter().any(|scheme| uri.starts_with(scheme)) => {}
        Err(error) => return Err(error.about(option)),
    }
    let folder = match uri.ends_with('/') {
        true => uri.to_owned(),
        false => format!("{uri}/"),
    };
    let prefix = ObjectPrefix::parse(&folder).map_err(|why| {
        let what = format!("{option} {}: {why}", redact(uri));
        Error::permanent(Stage::Config, Code::OutputFolder, what)
    })?;
    Ok(Some(prefix))
}

/// The file extensions that the name of a folder hardly ever has.
pub(super) const FILE_EXTENSIONS: &[&str] = &[
    "7z", "arrow", "avro", "bz2", "csv", "csvz", "dat", "db", "feather", "gz", "gzip", "htm", "html", "json",
    "jsonl", "log", "lz4", "ndjson", "ods", "orc", "parquet", "pdf", "pq", "psv", "sql", "sqlite", "ssv",
    "tab", "tar", "text", "tgz", "tsv", "txt", "xls", "xlsx", "xml", "xz", "yaml", "yml", "zip", "zst",
    "zstd",
];

/// Returns a hint for the option that names the output folder. It says how to get all records into one file.
fn one_file(option: &str) -> &'static str {
    match option {
        "--output" => "; `ingest --output - > FILE` writes the records into one file",
        _ => "",
    }
}

/// Refuses the name of a file, or a name that looks like one, where a folder is expected.
fn check_folder(option: &str, folder: &str) -> Result<()> {
    let refused = |what: String| {
        Err(Error::permanent(
            Stage::Config,
            Code::OutputFolder,
            format!("{option} {}: {what}", redact(folder)),
        ))
    };
    if folder == "-" {
        return refused("takes a folder; only `ingest --output -` writes to stdout".into());
    }
    let Ok(Location::File(path)) = Location::parse(folder, Stage::Config) else {
        return Ok(());
    };
    // A trailing slash always means a folder.
    if path.is_dir() || folder.ends_with('/') {
        return Ok(());
    }
    let is_device = path.starts_with("/dev") || !path.is_file();
    if path.exists() && is_device {
        return refused(format!("is no folder{}", one_file(option)));
    }
    let is_of_file = |path: &Path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| FILE_EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()))
    };
    if !is_of_file(&path) {
        return Ok(());
    }
    let named = match path.exists() {
        true => String::new(),
        false => format!(", or `{option} {}/` if that is the folder's name", redact(folder)),
    };
    let mut other = path;
    while is_of_file(&other) {
        other.set_extension("");
    }
    refused(format!(
        "looks like a file, and {option} takes a folder, in which each input gets a file of its own: write `{option} \
         {}/`{named}{}",
        other.display(),
        one_file(option)
    ))
}

/// The options of the gate: bounds on rejects, and the minimum number of records.
#[derive(clap::Args)]
#[command(next_help_heading = heading::REJECTS)]
pub(super) struct GateArgs {
    /// Publish nothing if more records than this are rejected, in total or with one code (repeatable). Output and
    /// rejects then go into quarantine, and a request becomes a dead letter. Without a bound on the total, at most half
    /// of the records may be rejected if the input has at least 20 records; 100% allows any number.
    #[arg(long, value_name = "N|P%|CODE=N|CODE=P%", value_delimiter = ',')]
    max_rejects: Vec<Rule>,
    /// The effect of a reject on its file: `fail` is `--max-rejects 0`.
    #[arg(long, value_enum, default_value = "set-aside", conflicts_with = "max_rejects")]
    on_reject: OnReject,
    /// Publish nothing if the input has fewer records than this; use 1 for inputs that are never empty.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number::<u64>(0..=i64::MAX), hide_default_value = true)]
    min_records: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OnReject {
    /// The other records are published.
    SetAside,
    /// Nothing is published.
    Fail,
}

impl GateArgs {
    pub(super) fn gate(&self) -> Gate {
        match self.on_reject {
            OnReject::SetAside => Gate::new(self.max_rejects.clone(), self.min_records),
            OnReject::Fail => Gate::closed(self.min_records),
        }
    }
}

/// The option for credentials.
#[derive(clap::Args)]
#[command(next_help_heading = heading::ACCESS)]
pub(super) struct CredentialArgs {
    /// JSON file with request headers (credentials) by server: {"https://HOST": {"authorization": "Bearer ..."}}.
    #[arg(
        long = "credentials",
        env = "INGEST_HOST_CREDENTIALS",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(super) file: Option<PathBuf>,
}

impl CredentialArgs {
    pub(super) fn read(&self) -> Result<Credentials> {
        self.file
            .as_deref()
            .map_or_else(|| Ok(Credentials::default()), Credentials::read)
    }
}

/// The option for limits.
#[derive(clap::Args)]
#[command(next_help_heading = heading::LIMITS)]
pub(super) struct LimitArgs {
    /// Set a limit, such as memory=64MiB, call-time=500ms, request-time=1h or traps=0 (repeatable). Limits for
    /// fetching: first-byte-time=2m (until a server begins its answer), redirects=10 (followed), zstd-window=128MiB
    /// (the window of a zstd frame). docs/security.md lists all limits with their defaults.
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    limits: Vec<LimitValue>,
}

impl LimitArgs {
    pub(super) fn limits(&self) -> Limits {
        Limits::default().with(&self.limits)
    }

    /// Returns the limits that the command line sets.
    pub(super) fn given(&self) -> &[LimitValue] {
        &self.limits
    }
}

/// Reads the config from `JSON` or `@FILE`, the value of `option`. Without an argument, the config is `{}`.
///
/// # Errors
/// Fails permanently, with stage config. The error names the option and the file, but never quotes the config.
pub(super) fn plugin_config(option: &str, argument: Option<&str>) -> Result<PluginConfig> {
    let Some(argument) = argument else {
        return Ok(PluginConfig::default());
    };
    let named = match argument.starts_with('@') {
        true => format!("{option} {argument}"),
        false => option.to_owned(),
    };
    let refused =
        |what: String| Error::permanent(Stage::Config, Code::SettingsInvalid, format!("{named}: {what}"));
    let as_written = match argument.strip_prefix('@') {
        None => without_mark(argument).to_owned(),
        Some("") => return Err(refused(NO_FILE_NAME.into())),
        Some(path) => read_named_text(Path::new(path), CONFIG_BYTES_MAX)
            .map_err(|error| unread_file(Path::new(path), refused("cannot be read".into()), error))?,
    };
    PluginConfig::parse(as_written).map_err(|e| {
        let is_file = !argument.starts_with('@') && Path::new(argument).exists();
        let hint = if is_file {
            format!("; write @{argument} for the file")
        } else {
            String::new()
        };
        refused(format!("is not a JSON object{hint}")).because(e)
    })
}

/// The message for `@` without a file name.
pub(super) const NO_FILE_NAME: &str = "the name of a file is missing after the @";

/// Adds the cause to an error about a file that an option names and that cannot be read. If the file is missing, also
/// adds the name of a similar file.
pub(super) fn unread_file(path: &Path, refused: Error, cause: std::io::Error) -> Error {
    let hint = near_hint(path, &cause);
    let refused = refused.because(cause);
    match hint {
        Some(hint) => refused.with_hint(hint),
        None => refused,
    }
}

/// Returns a parser of whole numbers in a range. Its error says what to write.
pub(super) fn number<T: TryFrom<i64>>(
    range: RangeInclusive<i64>,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("expected a whole number{}", named(&range)))
    }
}

/// Returns a parser of whole numbers in a range, as [`number`] does, that also accepts a time, such as `60s`. `unit` is
/// the unit of a number without a unit, and `name` its name.
pub(super) fn number_or_time<T: TryFrom<i64>>(
    range: RangeInclusive<i64>,
    unit: Duration,
    name: &'static str,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    let number = number(range.clone());
    move |text| {
        let refused = || {
            format!(
                "expected a whole number of {name}{}, or a time such as 2d or 90s",
                named(&range)
            )
        };
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return number(text).map_err(|_| refused());
        }
        let millis = text.parse::<HumanDuration>()?.0.as_millis();
        let is_whole = millis.is_multiple_of(unit.as_millis());
        let count = is_whole.then(|| (millis / unit.as_millis()).to_string());
        count.and_then(|count| number(&count).ok()).ok_or_else(refused)
    }
}

fn named(range: &RangeInclusive<i64>) -> String {
    match *range.end() {
        i64::MAX => String::new(),
        end => format!(" from {} to {end}", range.start()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_that_is_no_object_is_refused_by_name() {
        let plugin_config = |argument: Option<&str>| super::plugin_config("--config", argument);
        assert_eq!(plugin_config(None).unwrap(), PluginConfig::default());
        let refused = |argument: &str| plugin_config(Some(argument)).expect_err(argument).report();
        assert!(refused("[1]").starts_with("--config: is not"));
        assert_eq!(
            refused("@"),
            "--config @: the name of a file is missing after the @"
        );
        assert!(refused("[1]").contains("not a JSON object"));
        assert!(refused(r#"{"a": {"b": 1, "b": 2}}"#).contains("the member \"b\" is there twice"));
        assert!(refused("@/no/such/file").starts_with("--config @/no/such/file: cannot be read"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("alarms.clean.json"), "[]").unwrap();
        let argument = |name: &str| format!("@{}/{name}", folder.path().display());
        assert!(
            refused(&argument("alarms.clean.jsn")).contains("alarms.clean.json is here: did you mean it?")
        );
        let named = format!("--config {}: is not a JSON object", argument("alarms.clean.json"));
        assert!(refused(&argument("alarms.clean.json")).starts_with(&named));
        assert!(refused("/proc/version").contains("write @/proc/version for the file"));
    }

    #[test]
    fn a_config_with_a_byte_order_mark_is_read_and_one_in_utf_16_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let argument = format!("@{}", path.display());
        std::fs::write(&path, "\u{feff}{\"a\": 1}").unwrap();
        let plugin_config = |argument: Option<&str>| super::plugin_config("--config", argument);
        let config = plugin_config(Some(&argument)).unwrap();
        assert_eq!(
            (&*config.as_written, &*config.canonical),
            (r#"{"a": 1}"#, r#"{"a":1}"#)
        );
        assert_eq!(plugin_config(Some("\u{feff}{}")).unwrap().as_written, "{}");
        let wide: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        std::fs::write(&path, wide).unwrap();
        let refused = plugin_config(Some(&argument)).expect_err("refused").report();
        assert!(
            refused.contains("config.json: cannot be read: is UTF-16: save it as UTF-8"),
            "{refused}"
        );
    }

    #[test]
    fn a_number_may_have_the_unit_of_a_time() {
        let day = Duration::from_secs(86_400);
        let days = number_or_time::<u16>(0..=65_535, day, "days");
        for (text, expected) in [
            ("7", Some(7)),
            ("0", Some(0)),
            ("7d", Some(7)),
            ("48h", Some(2)),
            ("0s", Some(0)),
        ] {
            assert_eq!(days(text).ok(), expected, "{text}");
        }
        for text in [
            "",
            "x",
            "-1",
            "7 d",
            "65536",
            "65536d",
            "36h",
            "1.5d",
            "d",
            "99999999999999999999d",
        ] {
            let error = days(text).expect_err(text);
            assert!(
                error.contains("expected a whole number of days") || error.contains("is no time"),
                "{error}"
            );
        }
        let seconds = number_or_time::<u32>(5..=86_400, Duration::from_secs(1), "seconds");
        assert_eq!(
            (seconds("60s"), seconds("60"), seconds("5m")),
            (Ok(60), Ok(60), Ok(300))
        );
        for text in ["4", "4s", "500ms", "2d"] {
            let error = seconds(text).expect_err(text);
            assert!(error.contains("seconds from 5 to 86400"), "{error}");
        }
        let priority = number::<i32>(-100..=100);
        assert_eq!(priority("-7"), Ok(-7));
        for text in ["high", "101", ""] {
            assert_eq!(
                priority(text),
                Err("expected a whole number from -100 to 100".into())
            );
        }
        assert_eq!(
            number::<u64>(0..=i64::MAX)("x"),
            Err("expected a whole number".into())
        );
    }
}
