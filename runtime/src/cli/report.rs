//! Implements `report`, which shows the result of an input to people.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::config_file::ConfigFile;
use super::environment::Environment;
use super::{print, stores};
use crate::admin::{report, requests};
use crate::error::{Code, Error, Result, Stage};
use crate::location::{Location, ObjectUri, redact};
use crate::receipt::{
    ColumnQuality, DOCUMENT_BYTES_MAX, EXACT_MAX, Inferred, QualityPart, RejectsPart, Report,
};
use crate::storage::object::ObjectStores;

/// The maximum number of characters shown of a name or a value. A time with its zone is shorter, so it is shown whole.
const CELL_CHARS: usize = 32;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The id of a request that is done or was refused by the gate, or the path or URI (file, s3, gs or az) of a receipt
    /// or of a report in quarantine.
    #[arg(value_name = "ID|FILE")]
    what: String,
    /// The queue of the request; needed only if several queues have a request with this id.
    #[arg(long, alias = "queuename")]
    queue: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn report(
    args: Args,
    file: Option<&ConfigFile>,
    environment: &Environment,
) -> Result<ExitCode> {
    let report = match document(&args.what)? {
        Some(Document::File(path)) => report::read(&path)?,
        Some(Document::Object(uri)) => {
            let stores = stores::with_file(&stores::object_stores()?, file)?;
            read_object(&stores, &uri).await?
        }
        None => find(args.what, args.queue, file, environment).await?,
    };
    if args.json {
        print::json(&report);
    } else {
        page(&report);
    }
    Ok(ExitCode::SUCCESS)
}

/// A receipt or a report, as the argument names it.
enum Document {
    File(PathBuf),
    Object(ObjectUri),
}

/// Returns the document that the argument names, or `None` if the argument is an id. An argument without a slash is a
/// file only if it names a document in the current folder. An argument with a slash is never an id.
fn document(what: &str) -> Result<Option<Document>> {
    if !what.contains('/') {
        let is_there = |path: &PathBuf| path.symlink_metadata().is_ok_and(|found| !found.is_dir());
        let path = Some(PathBuf::from(what)).filter(|path| is_document(path) && is_there(path));
        return Ok(path.map(Document::File));
    }
    match Location::parse(what, Stage::Config)? {
        Location::File(path) => Ok(Some(Document::File(path))),
        Location::Object(uri) => Ok(Some(Document::Object(uri))),
        _ => Err(Error::permanent(
            Stage::Config,
            Code::Usage,
            format!("{what}: is neither a request nor a local file nor an object of a store"),
        )),
    }
}

fn is_document(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

async fn find(
    id: String,
    queue: Option<String>,
    file: Option<&ConfigFile>,
    environment: &Environment,
) -> Result<Report> {
    // What `ingest` has processed is in no queue, so the hint names the path of the receipt.
    let name = id.strip_suffix(".json").unwrap_or(&id);
    let hint =
        format!("of an `ingest`, name the receipt: `ingest-host report out/_ingest/receipts/{name}.json`");
    let as_request = is_document(Path::new(&id)).then(|| format!("{id}: no such file here; as a request"));
    let status = async {
        // The hint about `ingest` is given only if no queue has a request with this id.
        let backend = match environment.connect_to_read().await {
            Err(error) if environment.lacks_its_file() => return Err(error.with_hint(hint)),
            connected => connected?,
        };
        let found = requests::find(&backend, &id, queue.as_deref()).await;
        found.map_err(|error| match error.stage() {
            Stage::Request => error.with_hint(hint),
            _ => error,
        })
    };
    let status = status.await.map_err(|error| match as_request {
        Some(words) => error.about(words),
        None => error,
    })?;
    report::of_request(&status, async |uri: &ObjectUri| {
        read_object(&stores::of_queue(&status.queue, file)?, uri).await
    })
    .await
}

/// Reads a receipt, or a report in quarantine, from an object store.
async fn read_object(stores: &ObjectStores, uri: &ObjectUri) -> Result<Report> {
    let shown = redact(&uri.to_string());
    let missing = |why| Error::permanent(Stage::Config, Code::ReportMissing, format!("{shown}: {why}"));
    let document = stores.read(uri, DOCUMENT_BYTES_MAX).await;
    let document = document.map_err(|error| missing("cannot be read").because(error))?;
    let document = document.ok_or_else(|| missing("there is no such object"))?;
    report::parse(&document, &shown)
}

fn page(Report { refused, receipt, .. }: &Report) {
    print::line(format!("{}  {}", receipt.request.id, receipt.request.uri));
    if let Some(why) = refused {
        print::line(format!("nothing was published: {why}"));
    }
    print::records(&receipt.records);
    print::made_by(&receipt.steps, receipt.binding);
    let attempt = &receipt.attempt;
    print::line(format!(
        "attempt  {}, by {}, {}",
        attempt.number, attempt.worker, attempt.finished_at
    ));
    print::objects(&receipt.outputs, &receipt.rejects);
    if receipt.rejects.records > 0 {
        rejects(&receipt.rejects);
    }
    print::line("");
    match &receipt.quality {
        Some(quality) => columns(quality, receipt.records.written),
        None => print::line("no profile: run with --profile to see what the columns of the output hold"),
    }
}

fn rejects(rejects: &RejectsPart) {
    print::line("");
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
    print::table(&["REJECTS", "COUNT", "FIRST", "REASON"], &rows);
}

/// Prints the column profile as a table. `written` is the number of rows in the output.
pub(super) fn columns(quality: &QualityPart, written: u64) {
    let row = |column: &ColumnQuality| {
        let text = |value: &Option<String>| {
            value
                .as_deref()
                .map_or(String::new(), |text| print::beginning(text, CELL_CHARS))
        };
        let lengths = match (column.min_length, column.max_length) {
            (Some(min), Some(max)) if min == max => min.to_string(),
            (Some(min), Some(max)) => format!("{min}-{max}"),
            _ => String::new(),
        };
        let about = if column.distinct > EXACT_MAX { "~" } else { "" };
        vec![
            print::beginning(&column.name, CELL_CHARS),
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
    print::table(&head, &rows);
    if quality.records < written {
        print::line(format!(
            "of {} of the {written} rows of the output; the others cannot be read back, as objects with a member twice",
            quality.records
        ));
    }
}

/// Returns a share in percent. The result is 100% only if `part` equals `whole`, and 0% only if `part` is zero.
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
