//! Defines the receipt: the document that proves that a request is done, says what its output was made of, and how to
//! check it. Readers of the output trust receipts and nothing else.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::format::Format;
use crate::record::Position;
use crate::request::InputOptions;

/// The version of the document. Members may be added within a version, and none changes its meaning, so readers ignore
/// members that they do not know.
pub const RECEIPT_VERSION: u32 = 1;

/// The most bytes of a receipt or report that is read: it may have a profile of many columns with long names and
/// values.
pub const DOCUMENT_BYTES_MAX: u64 = 64 << 20;

/// Returns the time, to the millisecond as queues store it.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// A receipt, version 1. Times are RFC 3339 in UTC; digests are SHA-256 in lowercase hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The version of this document: [`RECEIPT_VERSION`].
    pub receipt: u32,
    /// The version of the host that wrote it.
    pub host: String,
    /// The request.
    pub request: RequestPart,
    /// The attempt that did the work.
    pub attempt: AttemptPart,
    /// The input that was read.
    pub input: InputPart,
    /// The plugin that transformed it.
    pub plugin: PluginPart,
    /// The number of the queue's binding, if the plugin came from one.
    pub binding: Option<u64>,
    /// The SHA-256 of the config document that the plugin was opened with.
    pub config_sha256: String,
    /// The counts of the records by their verdicts.
    pub records: RecordCounts,
    /// The output files.
    pub outputs: Vec<OutputPart>,
    /// The file of rejects.
    pub rejects: RejectsPart,
    /// The plugin's counters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
    /// The profile of the output's columns, if it was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityPart>,
}

/// The request that the receipt is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestPart {
    /// The request's id.
    pub id: String,
    /// The request's queue; null outside a queue.
    pub queue: Option<String>,
    /// The requested URI, without any credentials.
    pub uri: String,
    /// The time of the submit.
    pub submitted_at: String,
}

/// The attempt that committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptPart {
    /// The number of the attempt, counted from 1.
    pub number: u32,
    /// The fence of its claim; 0 outside a queue.
    pub fence: u64,
    /// The worker's name.
    pub worker: String,
    /// The time at which the attempt began.
    pub started_at: String,
    /// The time at which the output was complete.
    pub finished_at: String,
    /// The position from which it resumed the work of a lost attempt; absent if it started from zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_from: Option<ResumedFrom>,
}

/// A position in an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumedFrom {
    /// The number of the next record, counted from 1.
    pub record: u64,
    /// The byte at which it starts, counted from 0.
    pub offset: u64,
}

/// The input as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputPart {
    /// The URI after all redirects, without any credentials.
    pub uri: String,
    /// The length as fetched, before any decompression.
    pub bytes: u64,
    /// The SHA-256 of those bytes.
    pub sha256: String,
    /// The entity tag that the server gave.
    pub etag: Option<String>,
    /// The input's format.
    pub format: Format,
    /// The input's columns, in order.
    pub columns: Vec<String>,
    /// The options for reading it, as far as they were given. Receipts of version 0.1.0 lack them.
    #[serde(
        default,
        deserialize_with = "known_options",
        skip_serializing_if = "Option::is_none"
    )]
    pub options: Option<InputOptions>,
}

/// Reads options that a newer version may have written. Unknown ones are ignored: the work is done, so this version can
/// settle and show a request that the newer one has committed.
fn known_options<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<InputOptions>, D::Error> {
    let members = Option::<Map<String, Value>>::deserialize(deserializer)?;
    Ok(members.map(InputOptions::known_of))
}

/// The plugin that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginPart {
    /// The name that the plugin gives itself.
    pub name: String,
    /// The version that the plugin gives itself.
    pub version: String,
    /// The SHA-256 of the component file.
    pub sha256: String,
    /// The interface that it uses, such as `ingest:plugin@0.1.0`.
    pub interface: String,
}

/// The counts of records: `read = kept + edited + replaced + dropped + rejected`; `written` counts rows of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordCounts {
    /// The records in the input.
    pub read: u64,
    /// The records written unchanged.
    pub kept: u64,
    /// The records written with changed cells.
    pub edited: u64,
    /// The records replaced by other rows.
    pub replaced: u64,
    /// The records left out on purpose.
    pub dropped: u64,
    /// The records set aside with a reason.
    pub rejected: u64,
    /// The rows in the output.
    pub written: u64,
}

impl RecordCounts {
    /// Returns whether every record that was read is accounted for.
    pub fn add_up(&self) -> bool {
        self.read == self.kept + self.edited + self.replaced + self.dropped + self.rejected
    }
}

impl std::ops::AddAssign for RecordCounts {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.kept += other.kept;
        self.edited += other.edited;
        self.replaced += other.replaced;
        self.dropped += other.dropped;
        self.rejected += other.rejected;
        self.written += other.written;
    }
}

/// One file of the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputPart {
    /// The file's URI.
    pub uri: String,
    /// The file's format.
    pub format: Format,
    /// The number of its rows.
    pub records: u64,
    /// The file's length.
    pub bytes: u64,
    /// The SHA-256 of its bytes.
    pub sha256: String,
}

/// The file of rejects; `uri` is null if nothing was rejected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectsPart {
    /// The file's URI.
    pub uri: Option<String>,
    /// The number of rejects in it.
    pub records: u64,
    /// The file's length.
    pub bytes: u64,
    /// The SHA-256 of its bytes.
    pub sha256: Option<String>,
    /// The number of rejects by code.
    pub by_code: BTreeMap<String, u64>,
    /// The first rejects of each code, at most [`EXAMPLES_MAX`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub examples: BTreeMap<String, Vec<Example>>,
}

/// The most rejects of a code that are shown.
pub const EXAMPLES_MAX: usize = 3;

/// A reject, as an example of its code. Its record is in the file of rejects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The position of the record.
    #[serde(flatten)]
    pub position: Position,
    /// The reason why it was rejected, or the beginning of that.
    pub reason: String,
}

/// The profile of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QualityPart {
    /// The rows that were read for it: all that were written and can be read back.
    pub records: u64,
    /// The columns, in order.
    pub columns: Vec<ColumnQuality>,
}

/// The most different values that are counted exactly; more are estimated.
pub const EXACT_MAX: u64 = 24;

/// The profile of a column. A cell is filled unless it is empty or null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnQuality {
    /// The column's name.
    pub name: String,
    /// The narrowest type that all filled cells have; null if there is none.
    #[serde(rename = "type")]
    pub inferred: Option<Inferred>,
    /// The number of filled cells.
    pub filled: u64,
    /// The number of different texts. Above [`EXACT_MAX`] it is an estimate with a standard error of 1.6 %, or of up to
    /// 6.5 % if there are more than 256 columns.
    pub distinct: u64,
    /// The smallest number if all are numbers, else the first text by its bytes. A long text is cut to its first 64
    /// characters, and `…`.
    pub min: Option<String>,
    /// The largest number or last text.
    pub max: Option<String>,
    /// The length of the shortest text, in characters.
    pub min_length: Option<u64>,
    /// The length of the longest text, in characters.
    pub max_length: Option<u64>,
}

/// The type that all texts of a column have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Inferred {
    /// Whole numbers as JSON writes them: `007` is a text.
    Integer,
    /// Numbers as JSON writes them.
    Number,
    /// `true` and `false`.
    Boolean,
    /// Dates in ISO 8601, `YYYY-MM-DD`.
    Date,
    /// Times in ISO 8601, `YYYY-MM-DDThh:mm:ss` with or without a fraction and a zone (`Z`, `+hh`, `+hhmm`, `+hh:mm`);
    /// a space may replace the T.
    Timestamp,
    /// Any text.
    Text,
}

impl Inferred {
    /// Returns the narrowest type that covers both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            (Self::Integer, Self::Number) | (Self::Number, Self::Integer) => Self::Number,
            _ => Self::Text,
        }
    }

    /// Returns the word for the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Timestamp => "timestamp",
            Self::Text => "text",
        }
    }
}

/// The result of an input: its receipt or, if nothing was published, a quarantined document in the same form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The reason why nothing was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The code of the refusal: see [`crate::error::Code`]. None in a report of a program without codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The description of the published or quarantined files.
    #[serde(flatten)]
    pub receipt: Receipt,
}

impl Receipt {
    /// Returns whether the receipt is for this request of a queue. The attempt that wrote it may have died before it
    /// could settle; the request is done all the same, even if its plugin or its input has changed since.
    pub fn is_for(&self, queue: &str, id: &str, submitted_at: &str) -> bool {
        let RequestPart {
            id: own_id,
            queue: own_queue,
            submitted_at: own_submitted_at,
            ..
        } = &self.request;
        own_queue.as_deref() == Some(queue) && own_id == id && own_submitted_at == submitted_at
    }

    /// Returns whether the other receipt is for the same work: the same input made into the same output by the same
    /// plugin with the same config, by any worker at any time.
    pub fn same_work(&self, other: &Self) -> bool {
        let digests = |r: &Self| r.outputs.iter().map(|o| o.sha256.clone()).collect::<Vec<_>>();
        self.request.id == other.request.id
            && self.request.queue == other.request.queue
            && self.input.sha256 == other.input.sha256
            && self.plugin.sha256 == other.plugin.sha256
            && self.config_sha256 == other.config_sha256
            && digests(self) == digests(other)
            && self.rejects.sha256 == other.rejects.sha256
    }
}
