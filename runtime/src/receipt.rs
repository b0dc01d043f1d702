//! Defines the receipt: the document that proves an output. It names the input, the plugin and the config from which
//! the output was made, with the digests to check them. Readers of an output trust only its receipt.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use crate::record::{Origin, Position};
use crate::request::{InputOptions, Replay};

/// The version of the receipts that this program writes. The program also reads version 1. Within a version, new
/// members can be added, but no member changes its meaning. So readers must ignore members that they do not know.
pub const RECEIPT_VERSION: u32 = 2;

/// The maximum size, in bytes, of a receipt or report that this program reads. Such a document can contain a profile of
/// many columns with long names and values.
pub const DOCUMENT_BYTES_MAX: u64 = 64 << 20;

/// Returns the current time, cut to whole milliseconds, because queues store times in milliseconds.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// A receipt. Its times are in UTC in the form of RFC 3339. Its digests are SHA-256 in lowercase hex.
///
/// A receipt is written as version 2. If it has exactly one input and one step, it also contains the short forms of
/// version 1. A worker of version 0.1.0 that takes over a committed request reads these short forms. [`Receipt::read`]
/// reads both versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The version of the program that wrote the receipt.
    pub host: String,
    /// The request.
    pub request: RequestPart,
    /// The attempt that did the work.
    pub attempt: AttemptPart,
    /// The inputs that were read. Today there is always exactly one input.
    pub inputs: Vec<InputPart>,
    /// The plugins that transformed the inputs, with their configs, in order. Today there is always exactly one plugin.
    pub steps: Vec<StepPart>,
    /// The number of the queue's binding, if the plugins came from a binding.
    pub binding: Option<u64>,
    /// The counts of the records by their verdicts.
    pub records: RecordCounts,
    /// The output files.
    pub outputs: Vec<OutputPart>,
    /// The file of rejects.
    pub rejects: RejectsPart,
    /// The plugins' counters.
    pub counters: BTreeMap<String, u64>,
    /// The profile of the output's columns, if it was requested.
    pub quality: Option<QualityPart>,
}

/// The form in which a receipt is written.
#[derive(Serialize)]
struct WrittenReceipt<'a> {
    receipt: u32,
    host: &'a str,
    request: &'a RequestPart,
    attempt: &'a AttemptPart,
    inputs: &'a [InputPart],
    steps: &'a [StepPart],
    binding: Option<u64>,
    records: &'a RecordCounts,
    outputs: &'a [OutputPart],
    rejects: &'a RejectsPart,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    counters: &'a BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<&'a QualityPart>,
    // The members that only version 1 needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a InputPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'a PluginPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config_sha256: Option<&'a str>,
}

impl Serialize for Receipt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (input, step) = match (self.inputs.as_slice(), self.steps.as_slice()) {
            ([input], [step]) => (Some(input), Some(step)),
            _ => (None, None),
        };
        let written = WrittenReceipt {
            receipt: RECEIPT_VERSION,
            host: &self.host,
            request: &self.request,
            attempt: &self.attempt,
            inputs: &self.inputs,
            steps: &self.steps,
            binding: self.binding,
            records: &self.records,
            outputs: &self.outputs,
            rejects: &self.rejects,
            counters: &self.counters,
            quality: self.quality.as_ref(),
            input,
            plugin: step.map(|step| &step.plugin),
            config_sha256: step.map(|step| &*step.config_sha256),
        };
        written.serialize(serializer)
    }
}

/// The form in which a receipt of version 1 or 2 is read.
#[derive(Deserialize)]
struct ReadReceipt {
    receipt: u32,
    host: String,
    request: RequestPart,
    attempt: AttemptPart,
    // Version 2 has these two members.
    inputs: Option<Vec<InputPart>>,
    steps: Option<Vec<StepPart>>,
    // Version 1 has the next three members instead of the two lists. In version 2, they repeat the only elements of the
    // lists. If a worker of version 0.1.0 settles a request that a newer worker has committed, it stores the receipt
    // with these members and without the lists, but with the version number 2.
    input: Option<InputPart>,
    plugin: Option<PluginPart>,
    config_sha256: Option<String>,
    binding: Option<u64>,
    records: RecordCounts,
    outputs: Vec<OutputPart>,
    rejects: RejectsPart,
    #[serde(default)]
    counters: BTreeMap<String, u64>,
    quality: Option<QualityPart>,
}

impl TryFrom<ReadReceipt> for Receipt {
    type Error = serde_json::Error;

    fn try_from(read: ReadReceipt) -> Result<Self, serde_json::Error> {
        let short = read.input.zip(read.plugin).zip(read.config_sha256);
        let short = short.map(|((input, plugin), config_sha256)| {
            let step = StepPart {
                plugin,
                config_sha256,
                data: BTreeMap::new(),
                origin: None,
            };
            (vec![input], vec![step])
        });
        let (inputs, steps) = match (read.inputs.zip(read.steps), short) {
            (Some(lists), _) if read.receipt > 1 => lists,
            (_, Some(short)) => short,
            _ => {
                return Err(de::Error::custom(
                    "it has neither inputs and steps, nor their short forms",
                ));
            }
        };
        Ok(Self {
            host: read.host,
            request: read.request,
            attempt: read.attempt,
            inputs,
            steps,
            binding: read.binding,
            records: read.records,
            outputs: read.outputs,
            rejects: read.rejects,
            counters: read.counters,
            quality: read.quality,
        })
    }
}

/// The reason why a document cannot be read as a receipt.
#[derive(Debug)]
pub enum Unreadable {
    /// The document has this version, which only a newer program can read. The document is not damaged.
    Newer(u32),
    /// The document is not a receipt.
    Damaged(serde_json::Error),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer(version) => write!(
                f,
                "it is of version {version}, and this program reads versions up to {RECEIPT_VERSION}: update this program \
                 (version {})",
                env!("CARGO_PKG_VERSION")
            ),
            Self::Damaged(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Unreadable {}

impl From<serde_json::Error> for Unreadable {
    fn from(error: serde_json::Error) -> Self {
        Self::Damaged(error)
    }
}

impl Receipt {
    /// Reads a receipt of version 1 or 2 from JSON. Ignores the members that only a [`Report`] has.
    ///
    /// # Errors
    /// Returns the reason why the document cannot be read.
    pub fn read(document: &[u8]) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Version {
            receipt: u32,
        }
        // The version is read first, because a newer version can have other members.
        let Version { receipt: version } = strict_json::from_slice(document)?;
        match version {
            1..=RECEIPT_VERSION => Ok(strict_json::from_slice::<ReadReceipt>(document)?.try_into()?),
            0 => Err(Unreadable::Damaged(de::Error::custom("there is no version 0"))),
            newer => Err(Unreadable::Newer(newer)),
        }
    }
}

/// The request that the receipt is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestPart {
    /// The request's id.
    pub id: String,
    /// The request's queue, or null outside a queue.
    pub queue: Option<String>,
    /// The requested URI, without any credentials.
    pub uri: String,
    /// The time at which the request was submitted.
    pub submitted_at: String,
    /// The id of the request whose rejects this request has processed again; null if it is no replay.
    #[serde(default)]
    pub parent: Option<String>,
    /// The name of the group that this request belongs to; null if it belongs to none.
    #[serde(default)]
    pub group: Option<String>,
    /// The input options with which the request was submitted, if a `dead retry` has changed them.
    #[serde(
        default,
        deserialize_with = "known_options",
        skip_serializing_if = "Option::is_none"
    )]
    pub submitted_input: Option<InputOptions>,
    /// The replay that this request is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
}

/// The attempt that committed the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptPart {
    /// The number of the attempt, counted from 1.
    pub number: u32,
    /// The fence of the attempt's claim, or 0 outside a queue.
    pub fence: u64,
    /// The worker's name.
    pub worker: String,
    /// The time at which the attempt began.
    pub started_at: String,
    /// The time at which the output was complete.
    pub finished_at: String,
    /// The position at which the attempt resumed the work of an earlier attempt. Absent if the attempt started at the
    /// beginning of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_from: Option<ResumedFrom>,
}

/// A position in an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumedFrom {
    /// The number of the next record, counted from 1.
    pub record: u64,
    /// The byte at which that record starts, counted from 0.
    pub offset: u64,
}

/// The input that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputPart {
    /// The URI after all redirects, without any credentials.
    pub uri: String,
    /// The length of the fetched input in bytes, before decompression.
    pub bytes: u64,
    /// The SHA-256 of the fetched input, before decompression.
    pub sha256: String,
    /// The entity tag that the server sent, or null if there was none.
    pub etag: Option<String>,
    /// The name of the input's format. If a newer version of this program wrote the receipt, it can be a format that
    /// this version does not know.
    pub format: String,
    /// The input's columns, in order.
    pub columns: Vec<String>,
    /// The options that were given for reading the input. Receipts that version 0.1.0 of this program wrote do not have
    /// them.
    #[serde(
        default,
        deserialize_with = "known_options",
        skip_serializing_if = "Option::is_none"
    )]
    pub options: Option<InputOptions>,
    /// The syntax with which a CSV input was read. Absent for other formats, and in receipts of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syntax: Option<SyntaxPart>,
}

/// The characters that divided a CSV input into fields. The options for reading can leave them open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyntaxPart {
    /// The character between fields.
    pub delimiter: char,
    /// The character around fields that need it. If the input has no such character, it is the quote of the output.
    pub quote: char,
}

/// Reads options that a newer version of this program may have written. Unknown options are ignored, because the work
/// is done. So this version can settle and show a request that a newer version has committed.
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
    /// The interface that the plugin uses, such as `ingest:plugin@0.1.0`.
    pub interface: String,
}

/// A plugin that ran, with its config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPart {
    /// The plugin.
    #[serde(flatten)]
    pub plugin: PluginPart,
    /// The SHA-256 of the config document with which the plugin was opened.
    pub config_sha256: String,
    /// The SHA-256 of the reference data that the plugin could read, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// The origin of the input, if the plugin has asked for it. The output can then depend on the origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// The counts of records, where `read = kept + edited + replaced + dropped + rejected`. Only `written` counts rows of
/// the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordCounts {
    /// The number of records in the input.
    pub read: u64,
    /// The number of records that were written unchanged.
    pub kept: u64,
    /// The number of records that were written with changed cells.
    pub edited: u64,
    /// The number of records that were replaced by other rows.
    pub replaced: u64,
    /// The number of records that were left out on purpose.
    pub dropped: u64,
    /// The number of records that were set aside with a reason.
    pub rejected: u64,
    /// The number of rows in the output.
    pub written: u64,
}

impl RecordCounts {
    /// Returns whether the counts of all verdicts add up to the number of records that were read.
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
    /// The name of the file's format. If a newer version of this program wrote the receipt, it can be a format that
    /// this version does not know.
    pub format: String,
    /// The number of rows in the file.
    pub records: u64,
    /// The file's length in bytes.
    pub bytes: u64,
    /// The SHA-256 of the file's bytes.
    pub sha256: String,
}

/// The file of rejects. `uri` is null if nothing was rejected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectsPart {
    /// The file's URI.
    pub uri: Option<String>,
    /// The number of rejects in the file.
    pub records: u64,
    /// The file's length in bytes.
    pub bytes: u64,
    /// The SHA-256 of the file's bytes.
    pub sha256: Option<String>,
    /// The number of rejects by code.
    pub by_code: BTreeMap<String, u64>,
    /// For each code, the first rejects with this code, at most [`EXAMPLES_MAX`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub examples: BTreeMap<String, Vec<Example>>,
}

/// The maximum number of rejects that are shown as examples for each code.
pub const EXAMPLES_MAX: usize = 3;

/// A reject that is shown as an example of its code. The rejected record itself is in the file of rejects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The position of the record.
    #[serde(flatten)]
    pub position: Position,
    /// The reason why the record was rejected, or the beginning of a long reason.
    pub reason: String,
}

/// The profile of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QualityPart {
    /// The number of rows that the profile covers: all rows that were written and can be read back.
    pub records: u64,
    /// The columns, in order.
    pub columns: Vec<ColumnQuality>,
}

/// The maximum number of different values that is counted exactly. A higher number is estimated.
pub const EXACT_MAX: u64 = 24;

/// The profile of a column. A cell is filled unless it is empty or null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnQuality {
    /// The column's name.
    pub name: String,
    /// The narrowest type that all filled cells have, or null if no cell is filled.
    #[serde(rename = "type")]
    pub inferred: Option<Inferred>,
    /// The number of filled cells.
    pub filled: u64,
    /// The number of different texts. Above [`EXACT_MAX`], the number is an estimate. Its standard error is 1.6 %, or
    /// up to 6.5 % if there are more than 256 columns.
    pub distinct: u64,
    /// The smallest number if all filled cells are numbers, otherwise the first text in the order of bytes. A long text
    /// is cut to its first 64 characters and ends with `…`.
    pub min: Option<String>,
    /// The largest number if all filled cells are numbers, otherwise the last text in the order of bytes.
    pub max: Option<String>,
    /// The length of the shortest text, in characters.
    pub min_length: Option<u64>,
    /// The length of the longest text, in characters.
    pub max_length: Option<u64>,
}

/// The type of a column. All filled cells of the column have this type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Inferred {
    /// Whole numbers in the syntax of JSON, so `007` is a text.
    Integer,
    /// Numbers in the syntax of JSON.
    Number,
    /// `true` and `false`.
    Boolean,
    /// Dates in ISO 8601, `YYYY-MM-DD`.
    Date,
    /// Times in ISO 8601, `YYYY-MM-DDThh:mm:ss` with or without a fraction and a zone (`Z`, `+hh`, `+hhmm`, `+hh:mm`).
    /// A space can replace the T.
    Timestamp,
    /// Any text.
    Text,
}

impl Inferred {
    /// Returns the narrowest type that covers both types.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            (Self::Integer, Self::Number) | (Self::Number, Self::Integer) => Self::Number,
            _ => Self::Text,
        }
    }

    /// Returns the name of the type.
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

/// The result of an input: its receipt or, if nothing was published, a document of the same form in the quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The reason why nothing was published, or `None` for a receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The code of the refusal: see [`crate::error::Code`]. `None` for a receipt. Also `None` if an old version of this
    /// program, which had no codes, wrote the report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The description of the published or quarantined files.
    #[serde(flatten)]
    pub receipt: Receipt,
}

impl Report {
    /// Reads a report, or a receipt, from JSON.
    ///
    /// # Errors
    /// Returns the reason why the document cannot be read, as [`Receipt::read`] does.
    pub fn read(document: &[u8]) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Refusal {
            #[serde(default)]
            refused: Option<String>,
            #[serde(default)]
            code: Option<String>,
        }
        let receipt = Receipt::read(document)?;
        let Refusal { refused, code } = strict_json::from_slice(document)?;
        Ok(Self {
            refused,
            code,
            receipt,
        })
    }
}

impl Receipt {
    /// Returns whether the receipt is for the request with this queue, id and time of submission. The worker that wrote
    /// the receipt may have been lost before it settled the request. The request is done nevertheless, even if its
    /// plugin or its input has changed since the receipt was written.
    pub fn is_for(&self, queue: &str, id: &str, submitted_at: &str) -> bool {
        let RequestPart {
            id: own_id,
            queue: own_queue,
            submitted_at: own_submitted_at,
            ..
        } = &self.request;
        own_queue.as_deref() == Some(queue) && own_id == id && own_submitted_at == submitted_at
    }

    /// Returns whether the other receipt is for the same work. The id, the queue, the inputs, the plugins, their
    /// configs, the outputs and the rejects must be the same. The worker and the time can differ.
    pub fn same_work(&self, other: &Self) -> bool {
        let inputs = |r: &Self| r.inputs.iter().map(|i| i.sha256.clone()).collect::<Vec<_>>();
        let outputs = |r: &Self| r.outputs.iter().map(|o| o.sha256.clone()).collect::<Vec<_>>();
        self.request.id == other.request.id
            && self.request.queue == other.request.queue
            && inputs(self) == inputs(other)
            && self.steps.len() == other.steps.len()
            && self.steps.iter().zip(&other.steps).all(|(a, b)| a.is_same(b))
            && outputs(self) == outputs(other)
            && self.rejects.sha256 == other.rejects.sha256
    }

    /// Returns the names and versions of the plugins, in order, for people.
    pub fn plugins(&self) -> String {
        let names: Vec<_> = self.steps.iter().map(|step| step.plugin.to_string()).collect();
        names.join(", ")
    }
}

impl StepPart {
    /// Returns whether the other step runs the same component with the same config, reference data and origin.
    pub fn is_same(&self, other: &Self) -> bool {
        self.plugin.sha256 == other.plugin.sha256
            && self.config_sha256 == other.config_sha256
            && self.data == other.data
            && self.origin == other.origin
    }
}

impl fmt::Display for PluginPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Returns a receipt in the form in which version 0.1.0 writes it.
    fn first_version() -> Value {
        let digest = "0".repeat(64);
        json!({
            "receipt": 1, "host": "0.1.0",
            "request": {"id": "a", "queue": "q", "uri": "/a.csv", "submitted_at": "2026-01-01T00:00:00Z"},
            "attempt": {"number": 1, "fence": 1, "worker": "w", "started_at": "2026-01-01T00:00:00Z",
                        "finished_at": "2026-01-01T00:00:00Z"},
            "input": {"uri": "/a.csv", "bytes": 4, "sha256": digest, "etag": null, "format": "csv", "columns": ["n"]},
            "plugin": {"name": "p", "version": "1", "sha256": digest, "interface": "ingest:plugin@0.1.0"},
            "binding": null, "config_sha256": digest,
            "records": {"read": 1, "kept": 1, "edited": 0, "replaced": 0, "dropped": 0, "rejected": 0, "written": 1},
            "outputs": [{"uri": "/out/a.csv", "format": "csv", "records": 1, "bytes": 4, "sha256": digest}],
            "rejects": {"uri": null, "records": 0, "bytes": 0, "sha256": null, "by_code": {}},
        })
    }

    fn read(document: &Value) -> Result<Receipt, Unreadable> {
        Receipt::read(document.to_string().as_bytes())
    }

    #[test]
    fn a_receipt_of_version_1_is_read_with_lists_and_written_as_version_2() {
        let receipt = read(&first_version()).unwrap();
        assert_eq!((receipt.inputs.len(), receipt.plugins().as_str()), (1, "p@1"));
        assert_eq!((&receipt.request.parent, &receipt.request.group), (&None, &None));
        let written = serde_json::to_value(&receipt).unwrap();
        assert_eq!(written["receipt"], 2);
        assert_eq!(written["inputs"], json!([written["input"]]));
        assert_eq!(written["request"]["parent"], Value::Null);
        assert_eq!(read(&written).unwrap(), receipt);
    }

    /// A worker of version 0.1.0 that takes over a committed request reads the receipt. The worker ignores unknown
    /// members and the version.
    #[test]
    fn a_written_receipt_has_all_members_of_version_1() {
        fn assert_has(written: &Value, first: &Value) {
            match (written, first) {
                (Value::Object(written), Value::Object(first)) => {
                    first
                        .iter()
                        .for_each(|(name, value)| assert_has(&written[name], value));
                }
                _ => assert_eq!(written, first),
            }
        }
        let mut first = first_version();
        let written = serde_json::to_value(read(&first).unwrap()).unwrap();
        first["receipt"] = 2.into();
        assert_has(&written, &first);
    }

    #[test]
    fn more_than_one_input_or_step_has_no_short_form() {
        let receipt = read(&first_version()).unwrap();
        for (inputs, steps) in [(2, 1), (1, 2)] {
            let longer = Receipt {
                inputs: vec![receipt.inputs[0].clone(); inputs],
                steps: vec![receipt.steps[0].clone(); steps],
                ..receipt.clone()
            };
            let written = serde_json::to_value(&longer).unwrap();
            for short in ["input", "plugin", "config_sha256"] {
                assert_eq!(written.get(short), None, "{short}");
            }
            assert_eq!(read(&written).unwrap(), longer);
            assert!(!longer.same_work(&receipt) && longer.same_work(&longer));
        }
    }

    #[test]
    fn the_short_forms_of_version_2_are_not_read() {
        let receipt = read(&first_version()).unwrap();
        let mut document = serde_json::to_value(&receipt).unwrap();
        document["input"]["bytes"] = 9.into();
        document.as_object_mut().unwrap().remove("config_sha256");
        assert_eq!(read(&document).unwrap(), receipt);
    }

    /// If a worker of version 0.1.0 reads a receipt, the worker keeps the receipt's version number, and drops the
    /// members that it does not know.
    #[test]
    fn a_receipt_stored_by_an_older_worker_is_read() {
        let receipt = read(&first_version()).unwrap();
        let mut document = first_version();
        document["receipt"] = 2.into();
        assert_eq!(read(&document).unwrap(), receipt);
        document.as_object_mut().unwrap().remove("plugin");
        assert!(matches!(read(&document), Err(Unreadable::Damaged(_))));
    }

    #[test]
    fn a_newer_version_is_not_taken_as_damaged() {
        let is_newer = |document: &Value| matches!(read(document), Err(Unreadable::Newer(3)));
        assert!(is_newer(&json!({ "receipt": 3, "all": "else" })));
        let mut known = serde_json::to_value(read(&first_version()).unwrap()).unwrap();
        known["later"] = 1.into();
        known["inputs"][0]["format"] = "parquet".into();
        assert!(read(&known).is_ok(), "unknown members and formats are no reason");
        known["receipt"] = 3.into();
        assert!(is_newer(&known));
        for damaged in [
            json!({}),
            json!({ "receipt": 0 }),
            json!({ "receipt": "3" }),
            json!([3]),
        ] {
            assert!(matches!(read(&damaged), Err(Unreadable::Damaged(_))), "{damaged}");
        }
    }
}
