//! Reads the report on an input: from a receipt, from a report in quarantine, or from the status of a request.

use std::path::Path;

use crate::document::read_regular;
use crate::error::{Code, Error, Result, Stage};
use crate::location::{Location, redact};
use crate::queue::Status;
use crate::receipt::{DOCUMENT_BYTES_MAX, Report, Unreadable};

/// Returns the report on a request that is done, or whose output the gate refused. If the gate refused the output, the
/// report is in quarantine, and is found only on the machine of the request's worker.
///
/// # Errors
/// Fails with [`Code::ReportMissing`] if there is no report, if the report in quarantine cannot be read, or if the
/// report is about another request or attempt. Also fails if this program cannot read the receipt that the queue has.
pub fn of_request(status: &Status) -> Result<Report> {
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
        Some(uri) => quarantined_report(status, uri).map_err(|error| why().because(error)),
        None => Err(why()),
    }
}

/// Returns the report on a request whose output the gate refused, if the report is on this machine. The URI comes from
/// a worker, and others may have changed the file since then. So the report must be about this request and its last
/// attempt.
fn quarantined_report(status: &Status, uri: &str) -> Result<Report> {
    let refused = |why: &str| Error::permanent(Stage::Request, Code::ReportMissing, format!("{uri}: {why}"));
    let path = match Location::parse(uri, Stage::Request)? {
        Location::File(path) if path.is_absolute() => path,
        _ => {
            return Err(refused(
                "is not a file of this machine: look for it on the worker's machine",
            ));
        }
    };
    let report = read(&path)?;
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
    let refused = |code, what| Error::permanent(Stage::Config, code, format!("{}: {what}", path.display()));
    let document = read_regular(path, DOCUMENT_BYTES_MAX)
        .map_err(|error| refused(Code::ReportMissing, "cannot be read").because(error))?;
    Report::read(&document).map_err(|error| {
        let refused = match error {
            Unreadable::Newer(_) => refused(Code::HostOutdated, "cannot be read"),
            Unreadable::Damaged(_) => refused(Code::ReportMissing, "is neither a receipt nor a report"),
        };
        refused.because(error)
    })
}
