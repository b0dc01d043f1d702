//! Implements `config check`, which shows the settings of a worker.

use std::process::ExitCode;
use std::sync::Arc;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::config_file::{LOG_FORMAT, URL};
use super::environment::Environment;
use super::settings::{Origin, Resolution, Settings, Unusable};
use super::{WRONG_USAGE, policies, print, run, stores};
use crate::error::{Error, Result};
use crate::fetch::AnsweredHosts;
use crate::location::redact;
use crate::telemetry::log::LogFormat;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Check the settings of a worker, and show each with its origin: the command line, a variable, a line of the config
    /// file, or the default. It takes the options of `run`, and starts nothing. The exit code is 2 if a setting is wrong.
    Check(CheckArgs),
}

#[derive(clap::Args)]
pub(super) struct CheckArgs {
    /// Print one JSON document.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) run: run::Args,
}

/// Shows the settings that hold.
pub(super) fn check(
    args: &CheckArgs,
    settings: &Settings,
    environment: &Environment,
    log_format: LogFormat,
) -> Result<ExitCode> {
    match resolve(settings, environment, log_format) {
        Ok(resolved) if args.json => print_json(settings, &resolved),
        Ok(resolved) => print_tables(&resolved),
        Err(error) => return Ok(report_faults_in(args.json, settings.file_name(), &error)),
    }
    Ok(ExitCode::SUCCESS)
}

/// The settings that hold.
struct Checked {
    worker: Vec<Resolution>,
    /// The settings of each queue.
    queues: Vec<(String, Vec<Resolution>)>,
    /// The settings of each object store with a name.
    stores: Vec<(String, Vec<Resolution>)>,
}

/// Resolves the settings of the worker, of each queue and of each store. Checks them as `run` does, and also stores that
/// are not in use.
fn resolve(settings: &Settings, environment: &Environment, log_format: LogFormat) -> Result<Checked> {
    let worker = settings.resolve(None)?;
    let mut queues = settings.queues(&worker);
    let served = queues.clone();
    let tables = settings.tables_of_queues();
    let unserved: Vec<_> = tables.filter(|name| !queues.contains(name)).cloned().collect();
    queues.extend(unserved);
    Settings::check_names(&worker, &queues)?;
    let answered = Arc::new(AnsweredHosts::default());
    let stores = stores::with_file(&stores::object_stores()?, settings.file.as_ref())?;
    stores.check_named()?;
    for (queues, policy) in policies::of_queues(settings, &worker, &queues, &answered, &stores)? {
        let storage = policy.destination.storage();
        queues.iter().try_for_each(|queue| storage.check_queue(queue))?;
    }
    let of_program = |name: &str, value: String, origin| Resolution {
        name: name.to_owned(),
        value: value.into(),
        origin,
        is_of_queue: false,
    };
    let log_format = log_format.to_possible_value().expect("each form has a word");
    let mut of_worker = vec![
        of_program(URL, redact(&environment.url()?), environment.url_origin()?),
        of_program(
            LOG_FORMAT,
            log_format.get_name().to_owned(),
            settings.log_format_origin(),
        ),
    ];
    of_worker.extend(worker.settings);
    if let Some(file) = &settings.file
        && worker.args.queue.is_empty()
        && !served.is_empty()
        && let Some(queue) = of_worker.iter_mut().find(|setting| setting.name == "queue")
    {
        queue.value = served.into();
        queue.origin = Origin::Named(format!("[queues.NAME] in {}", file.name));
    }
    let mut of_queues = Vec::new();
    for queue in queues {
        let mut resolved = settings.resolve(Some(&queue))?.settings;
        resolved.retain(|setting| setting.is_of_queue);
        of_queues.push((queue, resolved));
    }
    let mut of_stores = Vec::new();
    if let Some(file) = &settings.file {
        for (name, table) in &file.stores {
            of_stores.push((name.clone(), stores::resolutions(file, table)?));
        }
    }
    Ok(Checked {
        worker: of_worker,
        queues: of_queues,
        stores: of_stores,
    })
}

fn print_tables(checked: &Checked) {
    print::line("worker");
    print_table(&checked.worker);
    for (kind, tables) in [("store", &checked.stores), ("queue", &checked.queues)] {
        for (name, settings) in tables {
            print::line("");
            print::line(format_args!("{kind} {name}"));
            print_table(settings);
        }
    }
}

fn print_table(settings: &[Resolution]) {
    let rows: Vec<_> = settings
        .iter()
        .map(
            |Resolution {
                 name, value, origin, ..
             }| vec![name.clone(), shown(value), origin.to_string()],
        )
        .collect();
    print::table(&["SETTING", "VALUE", "FROM"], &rows);
}

/// Returns a value for people; `-` if there is none.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "-".into(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn print_json(settings: &Settings, checked: &Checked) {
    let documents = |tables: &[(String, Vec<Resolution>)]| {
        let documents = tables
            .iter()
            .map(|(name, settings)| (name.clone(), document(settings)));
        Value::Object(documents.collect())
    };
    print::json(&json!({
        "valid": true,
        "file": settings.file_name(),
        "worker": document(&checked.worker),
        "queues": documents(&checked.queues),
        "stores": documents(&checked.stores),
    }));
}

fn document(settings: &[Resolution]) -> Value {
    let members = settings.iter().map(
        |Resolution {
             name, value, origin, ..
         }| {
            let member = json!({ "value": value, "from": origin.to_string() });
            (name.clone(), member)
        },
    );
    Value::Object(members.collect())
}

/// Reports a config file that cannot be used. Returns the exit code for wrong usage.
pub(super) fn report_faults(command: &Command, unusable: Unusable) -> ExitCode {
    let Command::Check(CheckArgs { json, .. }) = command;
    let faults = match unusable {
        Unusable::Unread(error) => return report_faults_in(*json, None, &error),
        Unusable::Wrong(faults) => faults,
    };
    match json {
        true => print::json(&json!({ "valid": false, "file": faults.name, "errors": faults.faults })),
        false => faults
            .lines()
            .for_each(|line| print::note(format_args!("error: {line}"))),
    }
    ExitCode::from(WRONG_USAGE)
}

/// Reports a setting that is wrong. Returns the exit code for wrong usage.
pub(super) fn report_faults_in(json: bool, file: Option<&str>, error: &Error) -> ExitCode {
    match json {
        true => {
            let errors = [json!({ "message": error.report_without_stage() })];
            print::json(&json!({ "valid": false, "file": file, "errors": errors }));
        }
        false => print::error(error),
    }
    ExitCode::from(WRONG_USAGE)
}
