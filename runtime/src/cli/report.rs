//! `report`: what became of an input, for people.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::HumanCount;

use super::environment::Environment;
use super::out;
use super::requests::RequestArgs;
use crate::error::{Error, Result, Stage};
use crate::receipt::{ColumnQuality, Inferred, QualityPart, RejectsPart, Report};

#[derive(clap::Args)]
pub(super) struct Args {
    /// A request that is done; or, as a path, a receipt or a report in quarantine.
    #[arg(value_name = "ID|FILE")]
    what: String,
    /// The queue of the request; needed only if several queues have one of that id.
    #[arg(long, alias = "queuename")]
    queue: Option<String>,
}

pub(super) async fn report(args: Args, environment: &Environment) -> Result<ExitCode> {
    let report = match file(&args.what) {
        Some(path) => read(&path)?,
        None => find(RequestArgs::new(args.what, args.queue), environment).await?,
    };
    page(&report);
    Ok(ExitCode::SUCCESS)
}

/// No id has a slash; a document in this folder may have none either.
fn file(what: &str) -> Option<PathBuf> {
    let path = PathBuf::from(what);
    let is_document = path.extension().is_some_and(|extension| extension == "json") && path.is_file();
    (what.contains('/') || is_document).then_some(path)
}

fn read(path: &Path) -> Result<Report> {
    let refused = |what| Error::permanent(Stage::Config, format!("{}: {what}", path.display()));
    let document = std::fs::read(path).map_err(|error| refused("cannot be read").because(error))?;
    serde_json::from_slice(&document)
        .map_err(|error| refused("is neither a receipt nor a report").because(error))
}

async fn find(request: RequestArgs, environment: &Environment) -> Result<Report> {
    let server = environment.connect().await?;
    let status = request.find(&server).await?;
    let refused = |why| Error::permanent(Stage::Request, format!("{}: {why}", status.id));
    let Some(receipt) = status.receipt else {
        let state = status.state.name();
        // It names the file if there is one.
        let error = status.error.map_or(String::new(), |error| format!(": {error}"));
        return Err(refused(format!("is {state}, so it has no receipt{error}")));
    };
    serde_json::from_value(receipt)
        .map_err(|error| refused("its receipt cannot be read".into()).because(error))
}

fn page(report: &Report) {
    out::line(format!("{}  {}", report.request.id, report.request.uri));
    out::records(&report.records);
    if let Some(why) = &report.refused {
        out::line(format!("nothing was published: {why}"));
    }
    for output in &report.outputs {
        let place = if report.refused.is_some() {
            "in quarantine"
        } else {
            "output"
        };
        out::line(format!("{place}: {}", output.uri));
    }
    if report.rejects.records > 0 {
        rejects(&report.rejects);
    }
    match &report.quality {
        Some(quality) => columns(quality),
        None => out::line(
            "\n(for what the columns of an output hold, --profile must be given to whoever makes it)",
        ),
    }
}

fn rejects(rejects: &RejectsPart) {
    out::line("");
    let mut codes: Vec<_> = rejects.by_code.iter().collect();
    codes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let mut rows = Vec::new();
    for (code, count) in codes {
        let mut named = [code.clone(), HumanCount(*count).to_string()];
        for example in rejects.examples.get(code).into_iter().flatten() {
            let [code, count] = std::mem::take(&mut named);
            let at = format!(
                "record {}, line {}",
                example.position.record, example.position.line
            );
            rows.push(vec![code, count, at, example.reason.clone()]);
        }
    }
    out::table(&["REJECTS", "COUNT", "FIRST", "REASON"], &rows);
    if let Some(uri) = &rejects.uri {
        out::line(format!("all of them: {uri}"));
    }
}

/// What the columns hold, as a table.
pub(super) fn columns(quality: &QualityPart) {
    out::line("");
    let row = |column: &ColumnQuality| {
        let text = |value: &Option<String>| value.as_deref().map_or(String::new(), short);
        let lengths = match (column.min_length, column.max_length) {
            (Some(min), Some(max)) if min == max => min.to_string(),
            (Some(min), Some(max)) => format!("{min}-{max}"),
            _ => String::new(),
        };
        vec![
            short(&column.name),
            column.inferred.map_or("(empty)", Inferred::name).into(),
            share(column.filled, quality.records),
            HumanCount(column.distinct).to_string(),
            text(&column.min),
            text(&column.max),
            lengths,
        ]
    };
    let rows: Vec<_> = quality.columns.iter().map(row).collect();
    let head = ["COLUMN", "TYPE", "FILLED", "DISTINCT", "MIN", "MAX", "LENGTH"];
    out::table(&head, &rows);
    let records = HumanCount(quality.records);
    out::line(format!(
        "of {records} rows of the output; DISTINCT is an estimate above 64, LENGTH in characters"
    ));
}

/// What fits into a table.
fn short(text: &str) -> String {
    const CHARACTERS: usize = 24;
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A share in percent. What is not all or nothing does not look like it.
fn share(part: u64, whole: u64) -> String {
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
        assert_eq!(share(0, 0), "100%");
        assert_eq!(share(3, 3), "100%");
        assert_eq!(share(999_999, 1_000_000), "99.99%");
        assert_eq!(share(1, 1_000_000), "0.01%");
        assert_eq!(share(0, 3), "0.00%");
        assert_eq!(share(1, 3), "33.33%");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(short(&"é".repeat(24)), "é".repeat(24));
        assert_eq!(short(&"é".repeat(25)), format!("{}…", "é".repeat(24)));
    }
}
