//! Resolves the settings of a worker and of its queues. Command line, environment and config file go in; the arguments
//! of `run` come out, as if all of them were on the command line, with the origin of each.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};
use serde_json::Value;

pub(super) use super::config_file::Unusable;
use super::config_file::{self, ConfigFile, Kind, Position, Table, excluded, is_list, is_of_queue};
use super::{Cli, run};
use crate::config::Limits;
use crate::error::{Code, Error, Result, Stage};
use crate::location::redact;
use crate::names::check_usable_queue_name;

/// The options of the plugin in `plugin`. One of them does not hold for a plugin of a higher level.
const OF_PLUGIN: [&str; 3] = ["plugin-config", "data", "watch"];

/// Options that have no effect without another one. On the command line, that is an error. In a file, it is an error
/// only for the options of a plugin: a file can be for bursts and for other workers.
const NEEDED: [(&str, &str); 4] = [
    ("plugin-config", "plugin"),
    ("data", "plugin"),
    ("watch", "plugin"),
    ("burst-wait", "burst"),
];

/// Reads a config file.
///
/// # Errors
/// Fails as [`ConfigFile::read`] does.
pub(super) fn load(path: &Path) -> Result<ConfigFile, Unusable> {
    ConfigFile::read(path, &Cli::command())
}

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    CommandLine,
    /// A variable of the environment, `.env`, or another source with a name.
    Named(String),
    File(String, Position),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::Named(name) => f.write_str(name),
            Self::File(name, at) => write!(f, "{name}:{}", at.line),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The sources of settings.
pub(super) struct Settings {
    /// The arguments of the program.
    arguments: Vec<OsString>,
    /// The words of the command, which has the options of `run`.
    command: &'static [&'static str],
    /// The same command with its options.
    leaf: Arc<Command>,
    pub(super) path: Option<PathBuf>,
    pub(super) file: Option<ConfigFile>,
    /// The queues that `.env` names.
    dotenv_queues: Vec<String>,
}

/// The settings that hold for a worker or for one queue.
pub(super) struct Resolved {
    pub(super) args: run::Args,
    pub(super) limits: Limits,
    /// The names of the object stores that the requests may use; none for all.
    pub(super) stores: Option<Vec<String>>,
    /// The settings of the queue's table that do not hold, because of the command line or the environment, which hold
    /// for all queues.
    pub(super) overridden: Vec<String>,
    /// All settings, in the order of the help.
    pub(super) settings: Vec<Resolution>,
}

/// A setting that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolution {
    pub(super) name: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
    /// Is true if each queue can have a value of its own.
    pub(super) is_of_queue: bool,
}

/// A value from a file or from `.env`, which holds if neither command line nor environment set the option.
struct Chosen {
    values: Vec<String>,
    origin: Origin,
}

impl Settings {
    pub(super) fn new(
        arguments: Vec<OsString>,
        command: &'static [&'static str],
        path: Option<PathBuf>,
        file: Option<ConfigFile>,
        dotenv_queues: Vec<String>,
    ) -> Self {
        Self {
            arguments,
            command,
            leaf: leaf_command(command).into(),
            path,
            file,
            dotenv_queues,
        }
    }

    /// Returns the same sources with another content of the config file.
    pub(super) fn with_file(&self, file: ConfigFile) -> Self {
        Self {
            arguments: self.arguments.clone(),
            command: self.command,
            leaf: Arc::clone(&self.leaf),
            path: self.path.clone(),
            file: Some(file),
            dotenv_queues: self.dotenv_queues.clone(),
        }
    }

    /// Returns the name of the config file.
    pub(super) fn file_name(&self) -> Option<&str> {
        self.file.as_ref().map(|file| &*file.name)
    }

    /// Returns the value of an option of the whole program in the config file.
    pub(super) fn in_file(&self, name: &str) -> Option<&[String]> {
        let setting = self.file.as_ref()?.worker.settings.get(name)?;
        Some(&setting.values)
    }

    /// Returns the origin of the form of the log.
    pub(super) fn log_format_origin(&self) -> Origin {
        let matches = Cli::command().try_get_matches_from(&self.arguments);
        let source = matches
            .ok()
            .and_then(|matches| matches.value_source("log_format"));
        let of_file = self
            .file
            .as_ref()
            .and_then(|file| Some(file.origin(file.worker.settings.get(config_file::LOG_FORMAT)?)));
        match source {
            Some(ValueSource::CommandLine) => Origin::CommandLine,
            _ => of_file.unwrap_or(Origin::Default),
        }
    }

    /// Returns the queues that the worker serves: those that an option, a variable or `queue` in the file names, or else
    /// those that have a table. Names each queue once.
    pub(super) fn queues(&self, worker: &Resolved) -> Vec<String> {
        let mut queues: Vec<String> = Vec::new();
        let given: Vec<&String> = match worker.args.queue.is_empty() {
            true => self.tables_of_queues().collect(),
            false => worker.args.queue.iter().collect(),
        };
        for queue in given {
            if !queues.contains(queue) {
                queues.push(queue.clone());
            }
        }
        queues
    }

    /// Checks the names of queues.
    ///
    /// # Errors
    /// Fails permanently, with stage config. If a variable or the config file names the queue, the error names them.
    pub(super) fn check_names(worker: &Resolved, queues: &[String]) -> Result<()> {
        let origin = worker.settings.iter().find(|setting| setting.name == "queue");
        let origin = origin.map(|setting| &setting.origin);
        queues.iter().try_for_each(|queue| {
            check_usable_queue_name(queue).map_err(|error| match origin {
                Some(origin @ (Origin::Named(_) | Origin::File(..))) if worker.args.queue.contains(queue) => {
                    error.about(origin)
                }
                _ => error,
            })
        })
    }

    /// Returns the queues that have settings of their own.
    pub(super) fn tables_of_queues(&self) -> impl Iterator<Item = &String> {
        self.file.iter().flat_map(|file| file.queues.keys())
    }

    /// Returns whether a queue has settings of its own.
    pub(super) fn has_table(&self, queue: &str) -> bool {
        self.file
            .as_ref()
            .is_some_and(|file| file.queues.contains_key(queue))
    }

    /// Resolves the settings of the worker, or those of a queue.
    ///
    /// # Errors
    /// Fails permanently, with stage config, if an option lacks another one that it needs.
    pub(super) fn resolve(&self, queue: Option<&str>) -> Result<Resolved> {
        let given = self.parse(&BTreeMap::new())?;
        let command = &*self.leaf;
        let is_given = |name: &str| origin_in(&given, command, name).is_some();
        let chosen = self.choose(queue, command, is_given);
        let matches = match chosen.is_empty() {
            true => given.clone(),
            false => self.parse(&chosen)?,
        };
        let origin = |name: &str| {
            origin_in(&given, command, name)
                .or_else(|| Some(chosen.get(name)?.origin.clone()))
                .unwrap_or(Origin::Default)
        };
        for (name, needed) in NEEDED {
            let at = match origin(name) {
                Origin::Default => continue,
                Origin::File(..) if !OF_PLUGIN.contains(&name) || !is_set(&matches, command, name) => {
                    continue;
                }
                origin => origin,
            };
            if !is_set(&matches, command, needed) {
                return Err(lacks(&at, name, needed));
            }
        }
        let args = run::Args::from_arg_matches(&matches).map_err(host_failure)?;
        let (limits, named_limits) = self.limits(queue, &args);
        let mut settings = Vec::new();
        for arg in command.get_arguments() {
            let Some(name) = arg.get_long().filter(|name| is_setting(name)) else {
                continue;
            };
            if name == "limit" {
                settings.extend(named_limits.iter().cloned());
                continue;
            }
            settings.push(Resolution {
                name: name.to_owned(),
                value: shown_value(arg, &matches),
                origin: origin(name),
                is_of_queue: is_of_queue(arg),
            });
        }
        let table = self.file.as_ref().and_then(|file| file.queues.get(queue?));
        let stores = table.and_then(|table| table.stores.as_ref());
        if queue.is_some() {
            let of_file = self.file.as_ref().zip(stores);
            settings.push(Resolution {
                name: "stores".to_owned(),
                value: stores.map_or(Value::Null, |stores| stores.values.clone().into()),
                origin: of_file.map_or(Origin::Default, |(file, stores)| file.origin(stores)),
                is_of_queue: true,
            });
        }
        Ok(Resolved {
            overridden: queue.map_or_else(Vec::new, |queue| self.overridden(queue, &settings)),
            args,
            limits,
            stores: stores.map(|stores| stores.values.clone()),
            settings,
        })
    }

    /// Returns the names of the settings in a queue's table that do not hold.
    fn overridden(&self, queue: &str, settings: &[Resolution]) -> Vec<String> {
        let Some((file, table)) = self
            .file
            .as_ref()
            .and_then(|file| Some((file, file.queues.get(queue)?)))
        else {
            return Vec::new();
        };
        let in_table = table
            .settings
            .iter()
            .map(|(name, setting)| (name.clone(), setting.at));
        let limits = table
            .limits
            .iter()
            .map(|(limit, at)| (of_limit(limit.name()), *at));
        let holds = |(name, at): &(String, Position)| {
            let origin = Origin::File(file.name.clone(), *at);
            settings
                .iter()
                .any(|setting| setting.name == *name && setting.origin == origin)
        };
        let overridden = in_table.chain(limits).filter(|setting| !holds(setting));
        overridden.map(|(name, _)| name).collect()
    }

    /// Parses the arguments of the program, with `chosen` as the defaults of options.
    fn parse(&self, chosen: &BTreeMap<String, Chosen>) -> Result<ArgMatches> {
        let program = with_defaults(Cli::command(), self.command, chosen);
        let mut matches = program
            .try_get_matches_from(&self.arguments)
            .map_err(host_failure)?;
        for name in self.command {
            let (found, of_command) = matches.remove_subcommand().expect("the arguments have a command");
            debug_assert_eq!(&found, name);
            matches = of_command;
        }
        Ok(matches)
    }

    /// Chooses the values of options that neither command line nor environment set. The table of a queue precedes the
    /// worker's settings.
    fn choose(
        &self,
        queue: Option<&str>,
        command: &Command,
        is_given: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, Chosen> {
        let mut chosen: BTreeMap<String, Chosen> = BTreeMap::new();
        if !self.dotenv_queues.is_empty() && !is_given("queue") {
            let values = self.dotenv_queues.clone();
            let origin = Origin::Named("QUEUE_NAME in .env".into());
            chosen.insert("queue".into(), Chosen { values, origin });
        }
        for (file, table) in self.tables(queue) {
            let is_higher = |name: &str| is_given(name) || chosen.contains_key(name);
            let mut of_table = Vec::new();
            for (name, setting) in &table.settings {
                let of_other_plugin = OF_PLUGIN.contains(&&**name) && is_higher("plugin");
                let is_excluded = exclusive(command, name).any(is_higher);
                if is_higher(name) || of_other_plugin || is_excluded {
                    continue;
                }
                let values = setting.values.clone();
                let origin = file.origin(setting);
                of_table.push((name.clone(), Chosen { values, origin }));
            }
            chosen.extend(of_table);
        }
        chosen
    }

    /// Returns the tables of the file that hold, the most specific one first.
    fn tables(&self, queue: Option<&str>) -> impl DoubleEndedIterator<Item = (&ConfigFile, &Table)> {
        let file = self.file.as_ref();
        let of_queue = file.and_then(|file| Some((file, file.queues.get(queue?)?)));
        [of_queue, file.map(|file| (file, &file.worker))]
            .into_iter()
            .flatten()
    }

    /// Merges the limits by their names, the most specific ones last. Also returns them as settings.
    fn limits(&self, queue: Option<&str>, args: &run::Args) -> (Limits, Vec<Resolution>) {
        let mut limits = Limits::default();
        let mut origins: BTreeMap<&str, Origin> = BTreeMap::new();
        for (file, table) in self.tables(queue).rev() {
            for (limit, at) in &table.limits {
                limits = limits.with(&[*limit]);
                origins.insert(limit.name(), Origin::File(file.name.clone(), *at));
            }
        }
        for limit in args.limits.given() {
            limits = limits.with(&[*limit]);
            origins.insert(limit.name(), Origin::CommandLine);
        }
        limits.checkpoint_bytes = args.checkpoint.0;
        let settings = limits.named().map(|limit| {
            let (name, value) = limit.parts();
            Resolution {
                origin: origins.remove(&*name).unwrap_or(Origin::Default),
                name: of_limit(&name),
                value: value.into(),
                is_of_queue: limit.in_queue().is_ok(),
            }
        });
        let settings = settings.collect();
        (limits, settings)
    }
}

/// Returns the name of the setting for a limit.
fn of_limit(name: &str) -> String {
    format!("limits.{name}")
}

/// Returns a command of the program.
fn leaf_command(words: &[&str]) -> Command {
    let mut program = Cli::command();
    program.build();
    let found = words.iter().fold(&program, |command, word| {
        command.find_subcommand(word).expect("a command of the program")
    });
    found.clone()
}

fn with_defaults(command: Command, words: &[&str], chosen: &BTreeMap<String, Chosen>) -> Command {
    if chosen.is_empty() {
        return command;
    }
    match words.split_first() {
        Some((first, rest)) => command.mut_subcommand(first, |command| with_defaults(command, rest, chosen)),
        None => command.mut_args(|arg| match arg.get_long().and_then(|name| chosen.get(name)) {
            Some(Chosen { values, .. }) => arg.default_values(values.clone()),
            None => arg,
        }),
    }
}

/// Returns whether an option is a setting of a worker.
fn is_setting(name: &str) -> bool {
    let is_program = config_file::OF_PROGRAM.contains(&name);
    !is_program && !["config-file", "help", "version", "json"].contains(&name)
}

fn option<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(name))
}

/// Returns the names of the options that cannot be used with one of `run`.
fn exclusive<'a>(command: &'a Command, name: &'a str) -> impl Iterator<Item = &'a str> {
    let arg = option(command, name);
    let by_it = arg.map(|arg| excluded(command, arg)).unwrap_or_default();
    let of_others = command
        .get_arguments()
        .filter(move |other| excluded(command, other).contains(&name))
        .filter_map(Arg::get_long);
    by_it.into_iter().chain(of_others)
}

/// Returns the origin of a value that the command line or the environment sets.
fn origin_in(matches: &ArgMatches, command: &Command, name: &str) -> Option<Origin> {
    let arg = option(command, name)?;
    match matches.value_source(arg.get_id().as_str())? {
        ValueSource::CommandLine => Some(Origin::CommandLine),
        ValueSource::EnvVariable => {
            let variable = arg.get_env().unwrap_or_default().to_string_lossy();
            Some(Origin::Named(variable.into_owned()))
        }
        _ => None,
    }
}

/// Returns whether an option has a value other than `false`.
fn is_set(matches: &ArgMatches, command: &Command, name: &str) -> bool {
    let values = option(command, name).and_then(|arg| matches.get_raw(arg.get_id().as_str()));
    values.is_some_and(|mut values| values.any(|value| value != "false"))
}

fn lacks(origin: &Origin, name: &str, needed: &str) -> Error {
    match origin {
        Origin::File(file, at) => {
            let what = format!("{file}:{at}: `{name}` has no effect without `{needed}`");
            Error::permanent(Stage::Config, Code::SettingsInvalid, what)
        }
        _ => {
            let what = format!("--{name} has no effect without --{needed}");
            Error::permanent(Stage::Config, Code::Usage, what)
        }
    }
}

/// Returns the error for arguments that were parsed before, and checked values that do not parse now.
fn host_failure(error: clap::Error) -> Error {
    let what = "the settings cannot be merged: this is a bug of the host";
    Error::permanent(Stage::Worker, Code::HostFailure, what).because(error)
}

/// Returns a value for people and programs, without secrets.
fn shown_value(arg: &Arg, matches: &ArgMatches) -> Value {
    let values = matches.get_raw(arg.get_id().as_str()).into_iter().flatten();
    let mut values = values.map(|value| {
        let text = value.to_string_lossy();
        let shown = match arg.get_long() {
            Some("output" | "rejects") => redact(&text),
            Some("data") if let Some((name, uri)) = text.split_once('=') => format!("{name}={}", redact(uri)),
            // A config can have any secret of the plugin.
            Some("plugin-config") if !text.starts_with('@') => "(JSON that is not shown)".to_owned(),
            _ => text.into_owned(),
        };
        match Kind::of(arg) {
            Kind::Boolean => shown.parse().map_or(Value::Null, Value::Bool),
            // A time with a unit, such as `7d`, is no number.
            Kind::Integer => shown.parse::<u64>().map_or_else(|_| shown.into(), Value::from),
            Kind::Text => shown.into(),
        }
    });
    match is_list(arg) {
        true => Value::Array(values.collect()),
        false => values.next_back().unwrap_or(Value::Null),
    }
}
