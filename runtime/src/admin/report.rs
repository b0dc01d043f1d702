//! Reads the report on an input: from a receipt, from a report in quarantine, or from the status of a request.

use std::fmt::Display;
use std::path::Path;

use crate::document::read_regular;
use crate::error::{Code, Error, Result, Stage};
use crate::location::{Location, ObjectUri, redact};
use crate::queue::Status;
use crate::receipt::{DOCUMENT_BYTES_MAX, Report, Unreadable};

/// Returns the report on a request that is done, or whose output the gate refused. If the gate refused the output, the
/// report is in quarantine: in an object store, or on the machine of the request's worker. `read_object`
/// reads a report in an object store.
///
/// # Errors
/// Fails with [`Code::ReportMissing`] if there is no report, if the report in quarantine cannot be read, or if the
/// report is about another request or attempt. Also fails if this program cannot read the receipt that the queue has.
pub async fn of_request(
    status: &Status,
    read_object: impl AsyncFnOnce(&ObjectUri) -> Result<Report>,
) -> Result<Report> {
    let refused = |why: &str| {
        Error::permanent(
            Stage::Request,
            Code::ReportMissing,
            format!("{}: {why}", status.id),
        )
    };
    if let Some(receipt) = &status.receipt {
        let report = Report {
            refused: None,
            code: None,
            receipt: receipt.read(&status.id)?.clone(),
        };
        return match is_about(&report, status) {
            true => Ok(report),
            false => Err(refused("the queue has the receipt of another request for it")),
        };
    }
    let why = || {
        let said = status.error.as_ref();
        let said = said.map_or(String::new(), |error| format!(": {error}"));
        refused(&format!("is {}, so it has no receipt{said}", status.state.name()))
    };
    match &status.report {
        Some(uri) => {
            let report = quarantined_report(status, uri, read_object).await;
            report.map_err(|error| why().because(error))
        }
        None => Err(why()),
    }
}

/// Returns the report on a request whose output the gate refused, if the report is on this machine or in an object
/// store. The URI comes from a worker, and others may have changed the file since then. So the report must be about this
/// request and its last attempt.
async fn quarantined_report(
    status: &Status,
    uri: &str,
    read_object: impl AsyncFnOnce(&ObjectUri) -> Result<Report>,
) -> Result<Report> {
    let refused = |why: &str| Error::permanent(Stage::Request, Code::ReportMissing, format!("{uri}: {why}"));
    let report = match Location::parse(uri, Stage::Request)? {
        Location::File(path) if path.is_absolute() => read(&path)?,
        Location::Object(object) => read_object(&object).await?,
        _ => {
            return Err(refused(
                "is not a file of this machine: look for it on the worker's machine",
            ));
        }
    };
    let is_this_attempt = report.receipt.attempt.number == status.attempts;
    match is_about(&report, status) {
        true if is_this_attempt && report.refused.is_some() => Ok(report),
        true => Err(refused(
            "is about another attempt at this request: show it by its path, or `dead retry` the request to get a new report",
        )),
        false => Err(refused(
            "is about another request: show it by its path, or `dead retry` this request to get a new report",
        )),
    }
}

/// Returns whether a report is about the queue's request.
fn is_about(report: &Report, status: &Status) -> bool {
    let about = &report.receipt.request;
    about.id == status.id
        && about.queue.as_ref() == Some(&status.queue)
        && redact(&about.uri) == redact(&status.uri)
}

/// Reads a receipt, or a report in quarantine.
///
/// # Errors
/// Fails with [`Code::ReportMissing`] if the file cannot be read, or is neither a receipt nor a report, and with
/// [`Code::HostOutdated`] if a newer version wrote it.
pub fn read(path: &Path) -> Result<Report> {
    let document = read_regular(path, DOCUMENT_BYTES_MAX).map_err(|error| {
        let what = format!("{}: cannot be read", path.display());
        Error::permanent(Stage::Config, Code::ReportMissing, what).because(error)
    })?;
    parse(&document, path.display())
}

/// Parses a receipt, or a report in quarantine. `name` is the name of the document, for people.
///
/// # Errors
/// Fails with [`Code::ReportMissing`] if the document is neither a receipt nor a report, and with
/// [`Code::HostOutdated`] if a newer version wrote it.
pub fn parse(document: &[u8], name: impl Display) -> Result<Report> {
    let refused = |code, what| Error::permanent(Stage::Config, code, format!("{name}: {what}"));
    Report::read(document).map_err(|error| {
        let refused = match error {
            Unreadable::Newer(_) => refused(Code::HostOutdated, "cannot be read"),
            Unreadable::Damaged(_) => refused(Code::ReportMissing, "is neither a receipt nor a report"),
        };
        refused.because(error)
    })
}
