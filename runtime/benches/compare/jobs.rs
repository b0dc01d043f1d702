//! Defines the jobs that all contenders do. A job has a name, a plugin and the plugin's config.

use std::path::PathBuf;

/// A job: the work on one kind of input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// Alarms with eight columns. All columns are read, up to four are changed, and one is added.
    Alarms,
    /// Orders with sixty columns. Four of the columns are read.
    Wide,
    /// Reviews, whose texts contain quotes, doubled quotes and line ends.
    Quoted,
    /// The alarms as JSON objects.
    AlarmsJsonl,
}

impl Job {
    pub(crate) const ALL: [Self; 4] = [Self::Alarms, Self::Wide, Self::Quoted, Self::AlarmsJsonl];

    /// Returns the job's name, as contenders expect it on their command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Alarms => "alarms",
            Self::Wide => "wide",
            Self::Quoted => "quoted",
            Self::AlarmsJsonl => "alarms-jsonl",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|job| job.name() == name)
    }

    /// Returns the name that the report shows.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Alarms => "Alarms, CSV",
            Self::Wide => "Wide, CSV, 4 of 60 columns read",
            Self::Quoted => "Quoted, CSV",
            Self::AlarmsJsonl => "Alarms, JSONL",
        }
    }

    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::AlarmsJsonl => "jsonl",
            Self::Alarms | Self::Wide | Self::Quoted => "csv",
        }
    }

    /// Returns the name of the plugin.
    pub(crate) fn plugin(self) -> &'static str {
        match self {
            Self::Alarms | Self::AlarmsJsonl => "alarms",
            Self::Wide | Self::Quoted => "clean",
        }
    }

    /// Returns the config of the plugin. The other contenders implement the same rules in their own code.
    pub(crate) fn config(self) -> &'static str {
        match self {
            Self::Alarms | Self::AlarmsJsonl => "{}",
            Self::Wide => {
                r#"{"columns": {
                    "order_id": {"required": true, "type": "integer", "range": {"min": 1}},
                    "status":   {"required": true, "allowed": ["open", "paid", "shipped", "returned"]},
                    "quantity": {"required": true, "type": "integer", "range": {"min": 1, "max": 1000}},
                    "discount": {"null": ["N/A"], "type": "number", "range": {"min": 0, "max": 100}}
                }}"#
            }
            Self::Quoted => {
                r#"{"columns": {
                    "id":     {"required": true, "type": "integer", "range": {"min": 1}},
                    "author": {"required": true, "trim": true},
                    "title":  {"required": true},
                    "score":  {"null": ["n/a"], "type": "integer", "range": {"min": -1000, "max": 1000}}
                }}"#
            }
        }
    }
}

/// The input file of a job.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) job: Job,
    pub(crate) path: PathBuf,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}
