//! The receipt: the one document that says that a request is done, of what its output was made and how to
//! check it. Readers of the output trust receipts and nothing else.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::format::Format;
use crate::record::Position;
use crate::request::InputOptions;

/// The version of the document; members may be added within it, none changes its meaning. So a reader passes over members that
/// it does not know.
pub const RECEIPT_VERSION: u32 = 1;

/// The longest receipt or report that is read: it may have a profile of many columns with long names and values.
pub const DOCUMENT_BYTES_MAX: u64 = 64 << 20;

/// The time, to the millisecond as queues have it.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// A receipt, version 1. Times are RFC 3339 in UTC; digests are SHA-256 in lowercase hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`RECEIPT_VERSION`].
    pub receipt: u32,
    /// The version of the host that wrote it.
    pub host: String,
    /// What was asked for.
    pub request: RequestPart,
    /// Who did it, and when.
    pub attempt: AttemptPart,
    /// What was read.
    pub input: InputPart,
    /// What transformed it.
    pub plugin: PluginPart,
    /// The number of the queue's binding, if the plugin came from one.
    pub binding: Option<u64>,
    /// Of the config document that the plugin was opened with.
    pub config_sha256: String,
    /// What became of the records.
    pub records: RecordCounts,
    /// The output objects.
    pub outputs: Vec<OutputPart>,
    /// The rejects object.
    pub rejects: RejectsPart,
    /// What the plugin counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
    /// What the output's columns hold, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityPart>,
}

/// The request that the receipt is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestPart {
    /// The request's id.
    pub id: String,
    /// Its queue; null where there was none.
    pub queue: Option<String>,
    /// The URI as asked for, without any credentials in it.
    pub uri: String,
    /// When it was submitted.
    pub submitted_at: String,
}

/// The attempt that committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptPart {
    /// Counted from 1.
    pub number: u32,
    /// The fence of its claim; 0 where there was no queue.
    pub fence: u64,
    /// The worker's name.
    pub worker: String,
    /// When the attempt began.
    pub started_at: String,
    /// When the output was complete.
    pub finished_at: String,
    /// Where it took over from an attempt that was lost; nothing if it began at the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_from: Option<ResumedFrom>,
}

/// A place in an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumedFrom {
    /// The number of the next record, counted from 1.
    pub record: u64,
    /// The byte it starts at, counted from 0.
    pub offset: u64,
}

/// The input as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputPart {
    /// Where it came from in the end, without any credentials.
    pub uri: String,
    /// Its length as fetched, before any decompression.
    pub bytes: u64,
    /// Of those bytes.
    pub sha256: String,
    /// The entity tag that the server gave.
    pub etag: Option<String>,
    /// Its format.
    pub format: Format,
    /// Its columns, in order.
    pub columns: Vec<String>,
    /// How it was read, as far as that was asked for. Receipts of version 0.1.0 do not say.
    #[serde(
        default,
        deserialize_with = "known_options",
        skip_serializing_if = "Option::is_none"
    )]
    pub options: Option<InputOptions>,
}

/// Reads options that a newer version may have written. What they did is done: a request that it has committed can be settled by
/// this version, too, and shown.
fn known_options<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<InputOptions>, D::Error> {
    let members = Option::<Map<String, Value>>::deserialize(deserializer)?;
    Ok(members.map(InputOptions::known_of))
}

/// The plugin that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginPart {
    /// The name that it gives itself.
    pub name: String,
    /// The version that it gives itself.
    pub version: String,
    /// Of the component file.
    pub sha256: String,
    /// The interface that it speaks, such as `ingest:plugin@0.1.0`.
    pub interface: String,
}

/// `read = kept + edited + replaced + dropped + rejected`; `written` counts rows of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordCounts {
    /// Records in the input.
    pub read: u64,
    /// Written as they came.
    pub kept: u64,
    /// Written with cells changed.
    pub edited: u64,
    /// Replaced by other rows.
    pub replaced: u64,
    /// Left out without being faulty.
    pub dropped: u64,
    /// Set aside with a reason.
    pub rejected: u64,
    /// Rows in the output.
    pub written: u64,
}

impl RecordCounts {
    /// Whether every record that was read is accounted for.
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

/// One object of the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputPart {
    /// Where it is.
    pub uri: String,
    /// Its format.
    pub format: Format,
    /// Rows in it.
    pub records: u64,
    /// Its length.
    pub bytes: u64,
    /// Of its bytes.
    pub sha256: String,
}

/// The rejects object; `uri` is null if there was nothing to reject.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectsPart {
    /// Where it is.
    pub uri: Option<String>,
    /// Rejects in it.
    pub records: u64,
    /// Its length.
    pub bytes: u64,
    /// Of its bytes.
    pub sha256: Option<String>,
    /// How many rejects there are of each code.
    pub by_code: BTreeMap<String, u64>,
    /// The first of each code, at most [`EXAMPLES_MAX`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub examples: BTreeMap<String, Vec<Example>>,
}

/// So many rejects of a code are shown.
pub const EXAMPLES_MAX: usize = 3;

/// A reject, as an example of its code. Its record is among the rejects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Where the record stands.
    #[serde(flatten)]
    pub position: Position,
    /// Why it was rejected, or the beginning of it.
    pub reason: String,
}

/// What an output holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QualityPart {
    /// The rows that were looked at: all that were written and can be read back.
    pub records: u64,
    /// The columns, in order.
    pub columns: Vec<ColumnQuality>,
}

/// Up to so many different values are counted, above that they are estimated.
pub const EXACT_MAX: u64 = 24;

/// What a column holds. A cell is filled unless it is empty or null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnQuality {
    /// Its name.
    pub name: String,
    /// The narrowest type that all filled cells have; null if there is none.
    #[serde(rename = "type")]
    pub inferred: Option<Inferred>,
    /// How many cells are filled.
    pub filled: u64,
    /// How many different texts they are; above [`EXACT_MAX`] an estimate with a standard error of 1.6 %, of more than 256 columns of up
    /// to 6.5 %.
    pub distinct: u64,
    /// The smallest number if all are numbers, else the first text by its bytes. Of a long one the first 64 characters, and `…`.
    pub min: Option<String>,
    /// The largest or last one.
    pub max: Option<String>,
    /// The length of the shortest, in characters.
    pub min_length: Option<u64>,
    /// The length of the longest.
    pub max_length: Option<u64>,
}

/// What the texts of a column could be read as.
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
    /// Times in ISO 8601, `YYYY-MM-DDThh:mm:ss` with a fraction and a zone (`Z`, `+hh`, `+hhmm`, `+hh:mm`) or without; a space may
    /// stand for the T.
    Timestamp,
    /// Anything.
    Text,
}

impl Inferred {
    /// What texts of the one and of the other have in common.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            (Self::Integer, Self::Number) | (Self::Number, Self::Integer) => Self::Number,
            _ => Self::Text,
        }
    }

    /// The word for it.
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

/// What became of an input: its receipt or, if nothing was published, a document in quarantine of what would have been one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Why nothing was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The code of the refusal: see [`crate::error::Code`]. None in a report of a program without codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What is there, or in quarantine.
    #[serde(flatten)]
    pub receipt: Receipt,
}

impl Receipt {
    /// Whether it is for this request of a queue. The attempt that wrote it may have died before it could settle; the request
    /// is done all the same, even if its plugin or its input is another by now.
    pub fn is_for(&self, queue: &str, id: &str, submitted_at: &str) -> bool {
        let RequestPart {
            id: own_id,
            queue: own_queue,
            submitted_at: own_submitted_at,
            ..
        } = &self.request;
        own_queue.as_deref() == Some(queue) && own_id == id && own_submitted_at == submitted_at
    }

    /// Whether the other receipt stands for the same work: the same input made into the same output by the
    /// same plugin with the same config, whoever did it and when.
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
