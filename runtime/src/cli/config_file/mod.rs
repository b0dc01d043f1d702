//! Reads the config file: a path goes in; its settings come out, each with its position in the file.

mod parse;
mod stores;
mod toml_text;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use clap::{Command, ValueEnum};

pub(super) use self::parse::{Kind, excluded, is_list, is_of_queue};
pub(super) use self::stores::{FILE, StoreTable, VARIABLE};
use super::settings::Origin;
use crate::config::LimitValue;
use crate::document::{open_named, read_text};
use crate::error::{Code, Error, Result, Stage};
use crate::telemetry::log::LogFormat;
use crate::trust;

/// The maximum size of the file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The maximum number of faults that an error lists.
const FAULTS_SHOWN: usize = 5;

/// The options of the whole program that the file can set.
pub(super) const OF_PROGRAM: [&str; 2] = [URL, LOG_FORMAT];
pub(super) const URL: &str = "url";
pub(super) const LOG_FORMAT: &str = "log-format";

/// The settings of a config file.
#[derive(Debug, Clone)]
pub(super) struct ConfigFile {
    /// The path, as it was given.
    pub(super) name: String,
    /// The settings for the worker and for all queues.
    pub(super) worker: Table,
    /// The settings of single queues.
    pub(super) queues: BTreeMap<String, Table>,
    /// The object stores with names.
    pub(super) stores: BTreeMap<String, StoreTable>,
    /// The reason why others can change the file.
    changed_by_others: Option<&'static str>,
}

impl ConfigFile {
    /// Reads a file. The settings are the options of `program` and of its command `run`.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or if something in it is wrong.
    pub(super) fn read(path: &Path, program: &Command) -> Result<Self, Unusable> {
        let unread = |error| {
            let what = format!("--config-file {}: cannot be read", path.display());
            Unusable::Unread(Error::permanent(Stage::Config, Code::SettingsInvalid, what).because(error))
        };
        let file = open_named(path).map_err(unread)?;
        let found = file.metadata().map_err(unread)?;
        let text = read_text(file, FILE_BYTES_MAX).map_err(unread)?;
        let mut parsed =
            parse::parse(&path.display().to_string(), &text, program).map_err(Unusable::Wrong)?;
        parsed.changed_by_others = trust::changed_by_others(&found);
        Ok(parsed)
    }

    /// Returns whether the file sets nothing.
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            worker,
            queues,
            stores,
            ..
        } = self;
        worker.settings.is_empty() && worker.limits.is_empty() && queues.is_empty() && stores.is_empty()
    }

    /// Warns if others can change the file, because it decides what requests may reach.
    pub(super) fn warn_of_others(&self) {
        if let Some(why) = self.changed_by_others {
            tracing::warn!(
                path = self.name,
                why,
                "whoever can change the config file decides what requests may reach: make it yours, and `chmod go-w` it"
            );
        }
    }

    /// Returns the URL of the queue's server, with its origin.
    pub(super) fn url(&self) -> Option<(String, Origin)> {
        let setting = self.worker.settings.get(URL)?;
        Some((setting.values.first()?.clone(), self.origin(setting)))
    }

    /// Returns the form of the log.
    pub(super) fn log_format(&self) -> Option<LogFormat> {
        let setting = self.worker.settings.get(LOG_FORMAT)?;
        LogFormat::from_str(setting.values.first()?, false).ok()
    }

    /// Returns the origin of a setting of this file.
    pub(super) fn origin(&self, setting: &Setting) -> Origin {
        Origin::File(self.name.clone(), setting.at)
    }
}

/// A config file that cannot be used.
#[derive(Debug)]
pub(super) enum Unusable {
    Unread(Error),
    Wrong(Faults),
}

impl From<Unusable> for Error {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Unread(error) => error,
            Unusable::Wrong(faults) => faults.into(),
        }
    }
}

/// The settings of one table, by the names of their options.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub(super) settings: BTreeMap<String, Setting>,
    pub(super) limits: Vec<(LimitValue, Position)>,
    /// The names of the object stores that requests of a queue may use; none for all.
    pub(super) stores: Option<Setting>,
}

/// The value of a setting, as the option would have it on the command line. Only lists have several values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) values: Vec<String>,
    pub(super) at: Position,
}

/// A place in the file. Lines and columns (in characters) count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Something in the file that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub(super) struct Fault {
    #[serde(flatten)]
    pub(super) at: Position,
    pub(super) message: String,
}

/// All faults of a file, in the order of the text.
#[derive(Debug)]
pub(super) struct Faults {
    pub(super) name: String,
    pub(super) faults: Vec<Fault>,
}

impl Faults {
    /// Returns each fault with its place.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        let Self { name, faults } = self;
        faults
            .iter()
            .map(move |Fault { at, message }| format!("{name}:{at}: {message}"))
    }
}

impl From<Faults> for Error {
    fn from(faults: Faults) -> Self {
        let mut what: Vec<_> = faults.lines().take(FAULTS_SHOWN).collect();
        if let Some(more @ 1..) = faults.faults.len().checked_sub(FAULTS_SHOWN) {
            what.push(format!("and {more} more, which `ingest-host config check` lists"));
        }
        Self::permanent(Stage::Config, Code::SettingsInvalid, what.join("; "))
    }
}
