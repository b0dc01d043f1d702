//! Finds out what a plugin plans for an input: the columns that it reads, and the columns of its output. A header or an
//! input goes in, and the plan comes out in words.

use serde::Serialize;

use crate::admin::plugin_config::PluginConfig;
use crate::config::Limits;
use crate::decode;
use crate::digest::Digesting;
use crate::error::Result;
use crate::fetch::{Access, Fetcher, RequestedBy};
use crate::format::{ColumnType, Format};
use crate::plugin::Plugin;
use crate::request::InputOptions;
use crate::stop::Stop;

/// The columns of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputColumns {
    /// The names of the columns.
    pub names: Vec<String>,
    /// The format of the input.
    pub format: Format,
}

/// The plan of a plugin for an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanInWords {
    /// The columns that the plugin reads.
    pub reads: Vec<String>,
    /// The columns of the input that are in no column of the output.
    pub drops: Vec<String>,
    /// The columns of the output.
    pub output: Vec<PlannedColumn>,
    /// True if one instance must process all records, in order.
    pub stateful: bool,
    /// True if the plugin asks for the origin of the input.
    pub uses_origin: bool,
}

/// A column of the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedColumn {
    /// The name.
    pub name: String,
    /// The column of the input from which the values come, or `None` for a new column.
    pub source: Option<String>,
    /// The type of the values, or `None` for the type that they have in the input.
    #[serde(rename = "type")]
    pub column_type: Option<&'static str>,
}

/// Reads the columns of an input.
///
/// # Errors
/// Fails as an attempt of a worker does if the input cannot be opened or has no usable header.
pub fn columns_of(uri: &str, options: &InputOptions, limits: &Limits) -> Result<InputColumns> {
    let fetcher = Fetcher::new(Access::default(), limits);
    let source = fetcher.open_blocking(uri, RequestedBy::Typed, &Stop::default())?;
    let (name, hints) = (source.name.clone(), source.hints.clone());
    let (reader, _) = source.into_reader(Digesting::default())?;
    let decoding = decode::open(reader, &name, Some(&hints), options, limits)?;
    Ok(InputColumns {
        names: decoding.columns,
        format: decoding.format,
    })
}

/// Asks a plugin for its plan.
///
/// # Errors
/// Fails with the plugin's reason if it refuses the config or the columns, and if its plan breaks the interface.
pub fn plan(plugin: &Plugin, config: &PluginConfig, input: &InputColumns) -> Result<PlanInWords> {
    plugin.check(&config.as_written)?;
    let (_, plan) = plugin.open(&input.names, input.format, &config.canonical, Stop::default())?;
    let names = [&input.names[..], &plan.more_columns].concat();
    let sources: Vec<_> = plan.output.iter().filter_map(|column| column.source).collect();
    let dropped = (0..input.names.len()).filter(|index| !sources.contains(index));
    Ok(PlanInWords {
        reads: plan.reads.iter().map(|&index| names[index].clone()).collect(),
        drops: dropped.map(|index| names[index].clone()).collect(),
        output: plan
            .output
            .into_iter()
            .map(|column| PlannedColumn {
                source: column.source.map(|index| names[index].clone()),
                column_type: type_name(column.column_type),
                name: column.name,
            })
            .collect(),
        stateful: plan.stateful,
        uses_origin: plan.uses_origin,
    })
}

/// Returns the name of a type in `wit/0.2/plugin.wit`.
fn type_name(column_type: ColumnType) -> Option<&'static str> {
    match column_type {
        ColumnType::Inherit => None,
        ColumnType::Text => Some("text"),
        ColumnType::Integer => Some("integer"),
        ColumnType::Number => Some("number"),
        ColumnType::Boolean => Some("boolean"),
        ColumnType::Timestamp => Some("timestamp"),
    }
}
