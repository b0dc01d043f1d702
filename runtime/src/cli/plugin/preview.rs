//! Implements `plugin try`, which shows what a plugin makes of the first records of an input.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::kit::load;
use crate::cli::data::DataArgs;
use crate::cli::environment::Environment;
use crate::cli::options::{InputArgs, LimitArgs, heading, number, plugin_config};
use crate::cli::print::{self, Look};
use crate::error::Result;
use crate::format::Format;
use crate::kit::{self, HEAD_MAX, Preview, PreviewRecord, Run};
use crate::location::path_uri;
use crate::stop::Stop;

/// The maximum number of unchanged cells of a record that are shown.
const UNCHANGED_MAX: usize = 12;

/// The maximum number of characters of a value that are shown.
const VALUE_CHARS_MAX: usize = 200;

#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// A component file, or the folder of the plugin's project, which is built first.
    #[arg(value_name = "FILE|DIR")]
    plugin: PathBuf,
    /// The input: a path, or a URI of scheme file, http or https.
    input_file: PathBuf,
    /// The number of records to show.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = number::<usize>(1..=HEAD_MAX as i64))]
    head: usize,
    /// Print JSON, one line for each record.
    #[arg(long)]
    json: bool,
    /// Config of the plugin.
    #[arg(long, alias = "config", value_name = "JSON|@FILE", help_heading = heading::PLUGIN)]
    plugin_config: Option<String>,
    #[command(flatten)]
    data: DataArgs,
    /// Format of the output [default: that of the input].
    #[arg(long, value_enum, help_heading = heading::OUTPUT)]
    format: Option<Format>,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

pub(super) fn preview(args: &Args, environment: &Environment) -> Result<ExitCode> {
    let config = plugin_config("--plugin-config", args.plugin_config.as_deref())?;
    let input = args.input.options();
    input.check()?;
    let limits = Arc::new(args.limits.limits());
    let plugin = load(&args.plugin, &args.data, &limits, environment)?;
    let uri = uri(&args.input_file);
    let run = Run {
        plugin: &plugin,
        config: &config,
        uri: &uri,
        origin_uri: &uri,
        input,
        output_format: args.format,
        limits: &limits,
        stop: &Stop::default(),
    };
    let preview = kit::preview(&run, args.head)?;
    match args.json {
        true => preview.records.iter().for_each(print::json),
        false => show(&preview),
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the URI that an argument names. An argument that exists as a path is a path.
pub(super) fn uri(argument: &Path) -> String {
    match argument.to_str() {
        Some(text) if argument.symlink_metadata().is_err() => text.to_owned(),
        _ => path_uri(argument),
    }
}

fn show(preview: &Preview) {
    for record in &preview.records {
        show_record(record);
    }
    if !preview.last_rows.rows.is_empty() {
        print::parts(&[(Look::Strong, "rows at the end")]);
        show_rows(&preview.last_rows);
    }
    print::records(&preview.counts);
    if preview.is_cut {
        print::note(format!(
            "the input has more records: --head N shows more than the first {}",
            preview.records.len()
        ));
    }
}

fn show_record(record: &PreviewRecord) {
    let look = match record.verdict {
        "rejected" | "dropped" => Look::Gone,
        "kept" => Look::Faint,
        _ => Look::New,
    };
    let code = record.code.as_ref().map(|code| format!(" as {code}"));
    print::parts(&[
        (Look::Strong, &format!("record {}", record.record)),
        (Look::Plain, "  "),
        (look, record.verdict),
        (look, code.as_deref().unwrap_or_default()),
    ]);
    if let Some(reason) = &record.reason {
        print::parts(&[(Look::Plain, "  "), (Look::Gone, reason)]);
    }
    if let Some(raw) = &record.raw {
        print::parts(&[(Look::Faint, "  "), (Look::Faint, raw)]);
    }
    let is_one_row = matches!(record.verdict, "kept" | "edited");
    let changes = match (is_one_row, record.after.rows.split_first()) {
        (true, Some((row, _))) => compared(record, Some(row)),
        _ => compared(record, None),
    };
    show_cells(&changes);
    let further = kit::PreviewRows {
        rows: record
            .after
            .rows
            .iter()
            .skip(usize::from(is_one_row))
            .cloned()
            .collect(),
        more: record.after.more,
    };
    show_rows(&further);
}

/// A cell before and after the plugin. `None` stands for a cell that is not there.
struct CellChange {
    name: String,
    before: Option<String>,
    after: Option<String>,
}

impl CellChange {
    fn is_changed(&self) -> bool {
        self.before != self.after
    }
}

/// Returns the cells of a record, beside the cells of its row in the output. Without a row, nothing is said about it.
fn compared(record: &PreviewRecord, row: Option<&kit::Cells>) -> Vec<CellChange> {
    let before = record.before.as_ref().map_or(&[][..], |cells| &cells.0);
    let Some(row) = row else {
        let unchanged = |(name, value): &(String, String)| CellChange {
            name: name.clone(),
            before: Some(value.clone()),
            after: Some(value.clone()),
        };
        return before.iter().map(unchanged).collect();
    };
    let mut is_used = vec![false; before.len()];
    let mut changes: Vec<_> = row
        .0
        .iter()
        .map(|(name, after)| {
            let planned = record.sources.iter().find(|(of, _)| of == name);
            let source = match planned {
                Some((_, source)) => *source,
                None => before.iter().position(|(of, _)| of == name),
            };
            let source = source.and_then(|place| {
                is_used[place] = true;
                before.get(place)
            });
            let name = match source {
                Some((was, _)) if was != name => format!("{was} as {name}"),
                _ => name.clone(),
            };
            CellChange {
                name,
                before: source.map(|(_, value)| value.clone()),
                after: Some(after.clone()),
            }
        })
        .collect();
    let left_out = before.iter().zip(is_used).filter(|(_, is_used)| !is_used);
    changes.extend(left_out.map(|((name, value), _)| CellChange {
        name: name.clone(),
        before: Some(value.clone()),
        after: None,
    }));
    changes
}

fn show_cells(changes: &[CellChange]) {
    let width = changes.iter().map(|change| change.name.chars().count()).max();
    let width = width.unwrap_or_default().min(40);
    let mut unchanged = 0;
    for change in changes {
        let name = format!("{:width$}", change.name);
        if change.is_changed() {
            let [before, after] = [&change.before, &change.after].map(|side| value(side.as_deref()));
            print::parts(&[
                (Look::Strong, "  * "),
                (Look::Plain, &format!("{name}  ")),
                (Look::Gone, &before),
                (Look::Plain, " -> "),
                (Look::New, &after),
            ]);
            continue;
        }
        unchanged += 1;
        if unchanged <= UNCHANGED_MAX {
            print::parts(&[(
                Look::Faint,
                &format!("    {name}  {}", value(change.before.as_deref())),
            )]);
        }
    }
    if unchanged > UNCHANGED_MAX {
        print::parts(&[(
            Look::Faint,
            &format!("    ... {} more cells, unchanged", unchanged - UNCHANGED_MAX),
        )]);
    }
}

fn show_rows(rows: &kit::PreviewRows) {
    for row in &rows.rows {
        let cells = row
            .0
            .iter()
            .map(|(name, cell)| format!("{name} {}", value(Some(cell))));
        print::parts(&[
            (Look::Strong, "  + "),
            (Look::New, &cells.collect::<Vec<_>>().join(", ")),
        ]);
    }
    if rows.more > 0 {
        print::parts(&[(Look::Faint, &format!("    ... {} more rows", rows.more))]);
    }
}

/// Returns a value for people. Quotes show where a value is empty, or begins or ends with a blank.
fn value(value: Option<&str>) -> String {
    let Some(value) = value else {
        return "(none)".to_owned();
    };
    let is_clear = !value.is_empty() && value.trim() == value;
    match is_clear {
        true => print::beginning(value, VALUE_CHARS_MAX),
        false => format!("\"{}\"", print::beginning(value, VALUE_CHARS_MAX)),
    }
}
