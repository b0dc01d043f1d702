//! `report`: what became of an input, for people.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Deserialize;

use super::environment::Environment;
use super::out;
use super::requests::RequestArgs;
use crate::error::{Error, Result, Stage};
use crate::location::Location;
use crate::queue::{State, Status};
use crate::receipt::{ColumnQuality, EXACT_MAX, Inferred, QualityPart, RejectsPart, Report};

/// Of names and values so much is shown: more than a time with its zone.
const CELL_CHARS: usize = 32;

#[derive(clap::Args)]
pub(super) struct Args {
    /// A request that is done, or that the publish gate refused; or a receipt or a report in quarantine, as a path or a
    /// file: URI.
    #[arg(value_name = "ID|FILE")]
    what: String,
    /// The queue of the request; needed only if several queues have one of that id.
    #[arg(long, alias = "queuename")]
    queue: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn report(args: Args, environment: &Environment) -> Result<ExitCode> {
    let report = match file(&args.what)? {
        Some(path) => read(&path)?,
        None => find(args.what, args.queue, environment).await?,
    };
    if args.json {
        out::json(&report);
    } else {
        page(&report);
    }
    Ok(ExitCode::SUCCESS)
}

/// No id has a slash; a document in this folder may have none either.
fn file(what: &str) -> Result<Option<PathBuf>> {
    if !what.contains('/') {
        return Ok(Some(PathBuf::from(what)).filter(|path| is_document(path) && path.is_file()));
    }
    match Location::parse(what, Stage::Config)? {
        Location::File(path) => Ok(Some(path)),
        _ => Err(Error::permanent(
            Stage::Config,
            format!("{what}: is neither a request nor a local file"),
        )),
    }
}

fn is_document(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

fn read(path: &Path) -> Result<Report> {
    let refused = |what| Error::permanent(Stage::Config, format!("{}: {what}", path.display()));
    let document = std::fs::read(path).map_err(|error| refused("cannot be read").because(error))?;
    strict_json::from_slice(&document)
        .map_err(|error| refused("is neither a receipt nor a report").because(error))
}

async fn find(id: String, queue: Option<String>, environment: &Environment) -> Result<Report> {
    let as_request = is_document(Path::new(&id)).then(|| format!("{id}: no such file here; as a request"));
    let status = async {
        RequestArgs::new(id, queue)
            .find(&environment.connect().await?)
            .await
    };
    let status = status.await.map_err(|error| match as_request {
        Some(words) => error.about(words),
        None => error,
    })?;
    let refused = |why| Error::permanent(Stage::Request, format!("{}: {why}", status.id));
    if let Some(receipt) = &status.receipt {
        return Report::deserialize(receipt)
            .map_err(|error| refused("its receipt cannot be read".into()).because(error));
    }
    let error = status.error.as_deref();
    let said = error.map_or(String::new(), |error| format!(": {error}"));
    let why = refused(format!("is {}, so it has no receipt{said}", status.state.name()));
    match error.and_then(Report::uri_in) {
        Some(uri) if status.state == State::Dead => of_dead(&status, uri).map_err(|error| why.because(error)),
        _ => Err(why),
    }
}

/// The report on a request that the gate refused, if it is on this machine.
fn of_dead(status: &Status, uri: &str) -> Result<Report> {
    let refused = |why: &str| Error::permanent(Stage::Request, format!("{uri}: {why}"));
    let report = read(&file(uri)?.ok_or_else(|| refused("is no file"))?)?;
    let about = &report.receipt.request;
    if about.id == status.id && about.queue.as_ref() == Some(&status.queue) {
        return Ok(report);
    }
    Err(refused("is about another request"))
}

fn page(Report { refused, receipt }: &Report) {
    out::line(format!("{}  {}", receipt.request.id, receipt.request.uri));
    if let Some(why) = refused {
        out::line(format!("nothing was published: {why}"));
    }
    out::records(&receipt.records);
    out::made_by(&receipt.plugin, receipt.binding);
    let attempt = &receipt.attempt;
    out::line(format!(
        "attempt  {}, by {}, {}",
        attempt.number, attempt.worker, attempt.finished_at
    ));
    out::objects(&receipt.outputs, &receipt.rejects);
    if receipt.rejects.records > 0 {
        rejects(&receipt.rejects);
    }
    out::line("");
    match &receipt.quality {
        Some(quality) => columns(quality, receipt.records.written),
        None => out::line("no profile: run with --profile to see what the columns of the output hold"),
    }
}

fn rejects(rejects: &RejectsPart) {
    out::line("");
    let mut codes: Vec<_> = rejects.by_code.iter().collect();
    codes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let mut rows = Vec::new();
    for (code, count) in codes {
        let examples = rejects.examples.get(code).into_iter().flatten();
        let mut examples: Vec<_> = examples
            .map(|example| {
                let at = format!(
                    "record {}, line {}",
                    example.position.record, example.position.line
                );
                vec![String::new(), String::new(), at, example.reason.clone()]
            })
            .collect();
        if examples.is_empty() {
            examples.push(vec![String::new(); 4]);
        }
        examples[0][0].clone_from(code);
        examples[0][1] = count.to_string();
        rows.append(&mut examples);
    }
    out::table(&["REJECTS", "COUNT", "FIRST", "REASON"], &rows);
}

/// What the columns hold, as a table. `written` is how many rows the output has.
pub(super) fn columns(quality: &QualityPart, written: u64) {
    let row = |column: &ColumnQuality| {
        let text = |value: &Option<String>| {
            value
                .as_deref()
                .map_or(String::new(), |text| out::beginning(text, CELL_CHARS))
        };
        let lengths = match (column.min_length, column.max_length) {
            (Some(min), Some(max)) if min == max => min.to_string(),
            (Some(min), Some(max)) => format!("{min}-{max}"),
            _ => String::new(),
        };
        let about = if column.distinct > EXACT_MAX { "~" } else { "" };
        vec![
            out::beginning(&column.name, CELL_CHARS),
            column.inferred.map_or("-", Inferred::name).into(),
            share(column.filled, quality.records),
            format!("{about}{}", column.distinct),
            text(&column.min),
            text(&column.max),
            lengths,
        ]
    };
    let rows: Vec<_> = quality.columns.iter().map(row).collect();
    let head = ["COLUMN", "TYPE", "FILLED", "DISTINCT", "MIN", "MAX", "LENGTH"];
    out::table(&head, &rows);
    if quality.records < written {
        out::line(format!(
            "of {} of the {written} rows of the output; the others cannot be read back, as objects with a member twice",
            quality.records
        ));
    }
}

/// A share in percent. What is not all or nothing does not look like it.
fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".into();
    }
    if part == whole {
        return "100%".into();
    }
    let percent = part as f64 / whole as f64 * 100.0;
    let percent = if part == 0 {
        0.0
    } else {
        percent.clamp(0.01, 99.99)
    };
    format!("{percent:.2}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_whole_only_if_nothing_is_missing() {
        assert_eq!(share(0, 0), "-");
        assert_eq!(share(3, 3), "100%");
        assert_eq!(share(999_999, 1_000_000), "99.99%");
        assert_eq!(share(1, 1_000_000), "0.01%");
        assert_eq!(share(0, 3), "0.00%");
        assert_eq!(share(1, 3), "33.33%");
    }
}
