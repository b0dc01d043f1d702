//! Sums up the requests of a group, or other requests that were submitted together.

use serde::Serialize;

use super::queues;
use crate::error::{Code, Error, Result, Stage};
use crate::location::redact;
use crate::queue::{Backend, GroupPage, State, Status, StoredReceipt};

/// The maximum number of requests that are read in one step.
const PAGE: usize = 250;

/// The maximum number of errors in a [`RollUp`].
pub const ERRORS_MAX: usize = 10;

/// The sum of several requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RollUp {
    /// The requests' queue.
    pub queue: String,
    /// The requests' group. `None` if the requests were not selected by a group.
    pub group: Option<String>,
    /// The number of requests that are in the queue.
    pub submitted: u64,
    /// The number of requests that wait to be claimed, or for their time.
    pub waiting: u64,
    /// The number of requests that workers are working on.
    pub running: u64,
    /// The number of requests that are done.
    pub done: u64,
    /// The number of dead letters.
    pub dead: u64,
    /// The number of cancelled requests.
    pub cancelled: u64,
    /// The sums of the records, from the receipts.
    pub records: RecordSums,
    /// The sums of the bytes, from the receipts.
    pub bytes: ByteSums,
    /// The errors of at most [`ERRORS_MAX`] dead letters. Of a group, those that were submitted first.
    pub errors: Vec<DeadError>,
}

/// Sums of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RecordSums {
    /// The records in the inputs.
    pub read: u64,
    /// The records in the outputs.
    pub written: u64,
    /// The records that were rejected.
    pub rejected: u64,
}

/// Sums of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ByteSums {
    /// The bytes of the inputs, before any decompression.
    pub read: u64,
    /// The bytes of the outputs.
    pub written: u64,
}

/// The error of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadError {
    /// The request's id.
    pub id: String,
    /// The URI of the request's input, without credentials.
    pub uri: String,
    /// The code of the error.
    pub code: Option<String>,
    /// The error, for people.
    pub error: String,
}

impl RollUp {
    /// Returns the sum of no requests.
    pub fn of(queue: &str, group: Option<&str>) -> Self {
        Self {
            queue: queue.to_owned(),
            group: group.map(str::to_owned),
            ..Self::default()
        }
    }

    /// Adds a request.
    pub fn add(&mut self, status: &Status) {
        self.submitted += 1;
        *match status.state {
            State::Ready | State::Delayed => &mut self.waiting,
            State::Leased => &mut self.running,
            State::Done => &mut self.done,
            State::Dead => &mut self.dead,
            State::Cancelled => &mut self.cancelled,
        } += 1;
        if let (State::Done, Some(StoredReceipt::Readable(receipt))) = (status.state, &status.receipt) {
            let add = |sum: &mut u64, number: u64| *sum = sum.saturating_add(number);
            add(&mut self.records.read, receipt.records.read);
            add(&mut self.records.written, receipt.records.written);
            add(&mut self.records.rejected, receipt.records.rejected);
            for input in &receipt.inputs {
                add(&mut self.bytes.read, input.bytes);
            }
            for output in &receipt.outputs {
                add(&mut self.bytes.written, output.bytes);
            }
        }
        if status.state == State::Dead && self.errors.len() < ERRORS_MAX {
            self.errors.push(DeadError {
                id: status.id.clone(),
                uri: redact(&status.uri),
                code: status.code.clone(),
                error: status.error.clone().unwrap_or_default(),
            });
        }
    }

    /// Returns whether each request is done.
    pub fn is_all_done(&self) -> bool {
        self.done == self.submitted
    }
}

/// Sums up a group in the given queue, or in the only queue that has it. Reads the requests of the group only, page by
/// page. So the sum of a group in work can contain states of different moments, but each request once.
///
/// # Errors
/// Fails with [`Code::NameInvalid`] if the name breaks a rule, with [`Code::RequestUnknown`] if no request is of this
/// group, and with [`Code::Usage`] if several queues have requests of it.
pub async fn roll_up(backend: &Backend, group: &str, queue: Option<&str>) -> Result<RollUp> {
    let mut found = Vec::new();
    for name in queues::selected(backend, queue).await? {
        let page = backend.queue.group(&name, group, 0, PAGE).await?;
        if !page.requests.is_empty() || page.next.is_some() {
            found.push((name, page));
        }
    }
    let names: Vec<_> = found.iter().map(|(name, _)| name.clone()).collect();
    let Some((queue, mut page)) = found.pop() else {
        let within = queue.unwrap_or("any queue");
        let what = format!(
            "{group}: no request in {within} on {} is of this group",
            backend.name
        );
        return Err(Error::permanent(Stage::Request, Code::RequestUnknown, what));
    };
    if names.len() > 1 {
        let names = names.join(", ");
        let what = format!("group {group}: is in the queues {names}: say which with --queue");
        return Err(Error::permanent(Stage::Config, Code::Usage, what));
    }
    let mut sum = RollUp::of(&queue, Some(group));
    loop {
        let GroupPage { requests, next } = page;
        requests.iter().for_each(|status| sum.add(status));
        match next {
            Some(next) => page = backend.queue.group(&queue, group, next, PAGE).await?,
            None => return Ok(sum),
        }
    }
}
