//! Shows what a plugin makes of the first records of an input. A run goes in, and each record before and after the
//! plugin comes out. Nothing is written anywhere.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::run::Run;
use crate::config::Limits;
use crate::error::{Class, Result};
use crate::format::csv::{Dialect, Scanner, unquote};
use crate::format::{Format, OutputColumn, Span, jsonl};
use crate::pipeline::{Fate, OpenedInput, RecordWatcher, WatchedRecord};
use crate::receipt::RecordCounts;
use crate::storage::MemoryStorage;

/// The maximum number of records of a preview.
pub const HEAD_MAX: usize = 10_000;

/// The maximum number of rows of one record, and of rows at the end, that a preview keeps.
const ROWS_MAX: usize = 100;

/// What a plugin makes of the first records of an input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preview {
    /// The records, in order.
    pub records: Vec<PreviewRecord>,
    /// The rows that the plugin added at the end of the input. Empty if `is_cut` is set.
    pub last_rows: PreviewRows,
    /// The counts of these records.
    pub counts: RecordCounts,
    /// True if the input has more records.
    pub is_cut: bool,
}

/// A record before and after the plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreviewRecord {
    /// The number of the record in the input, counted from 1.
    pub record: u64,
    /// What became of it: `kept`, `edited`, `replaced`, `dropped` or `rejected`.
    pub verdict: &'static str,
    /// The code of the reject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The reason of the reject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The cells of the record. If the record could not be read, its text is in `raw` instead.
    pub before: Option<Cells>,
    /// The text of a record that could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// The rows of the output that came from the record.
    #[serde(flatten)]
    pub after: PreviewRows,
    /// The name of each column of the output, with the index of the cell in `before` that is its source.
    #[serde(skip)]
    pub sources: Vec<(String, Option<usize>)>,
}

/// Rows of the output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PreviewRows {
    /// The first rows.
    #[serde(rename = "after")]
    pub rows: Vec<Cells>,
    /// The number of further rows.
    #[serde(rename = "more_rows", skip_serializing_if = "is_zero")]
    pub more: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The cells of a record or a row, each with the name of its column. As JSON, it is an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cells(pub Vec<(String, String)>);

impl Serialize for Cells {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Runs the plugin on the first `head` records of the input, at most [`HEAD_MAX`].
///
/// # Errors
/// Fails as an attempt of a worker does.
pub fn preview(run: &Run<'_>, head: usize) -> Result<Preview> {
    let head = head.min(HEAD_MAX);
    let collector = Arc::new(Collector {
        head,
        collected: Mutex::default(),
    });
    // With such batches, the plugin gets no record that is not shown: else it would log about records that nobody sees.
    let limits = Limits {
        batch_records: run.limits.batch_records.min(head.max(1)),
        ..Limits::clone(run.limits)
    };
    let run = Run {
        limits: &Arc::new(limits),
        input: run.input.clone(),
        ..*run
    };
    let watcher: Arc<dyn RecordWatcher> = Arc::<Collector>::clone(&collector);
    let result = run.to(MemoryStorage::dropping(), Some(watcher));
    let Collected { preview, .. } = std::mem::take(&mut *collector.collected.lock());
    match result {
        Err(error) if !(preview.is_cut && error.class() == Class::Cancelled) => Err(error),
        _ => Ok(preview),
    }
}

/// Collects the records of a preview.
struct Collector {
    head: usize,
    collected: Mutex<Collected>,
}

#[derive(Default)]
struct Collected {
    input: Option<OpenedInput>,
    preview: Preview,
}

impl RecordWatcher for Collector {
    fn opened(&self, input: OpenedInput) {
        self.collected.lock().input = Some(input);
    }

    fn wants_more(&self) -> bool {
        let mut collected = self.collected.lock();
        let is_full = collected.preview.records.len() >= self.head;
        collected.preview.is_cut |= is_full;
        !is_full
    }

    fn record(&self, watched: WatchedRecord<'_>) {
        let mut collected = self.collected.lock();
        let Collected {
            input: Some(input),
            preview,
        } = &mut *collected
        else {
            return;
        };
        if preview.records.len() >= self.head {
            // Malformed records do not count towards the size of a batch.
            preview.is_cut = true;
            return;
        }
        let after = input.rows(watched.rows);
        count(&mut preview.counts, watched.fate, after.rows.len() + after.more);
        preview
            .records
            .push(input.record(preview.counts.read, watched, after));
    }

    fn finished(&self, rows: &[u8]) {
        let mut collected = self.collected.lock();
        if let Some(input) = &collected.input {
            let rows = input.rows(rows);
            collected.preview.counts.written += (rows.rows.len() + rows.more) as u64;
            collected.preview.last_rows = rows;
        }
    }
}

fn count(counts: &mut RecordCounts, fate: Fate<'_>, rows: usize) {
    counts.read += 1;
    counts.written += rows as u64;
    *match fate {
        Fate::Kept => &mut counts.kept,
        Fate::Edited => &mut counts.edited,
        Fate::Replaced => &mut counts.replaced,
        Fate::Dropped => &mut counts.dropped,
        Fate::Rejected { .. } => &mut counts.rejected,
    } += 1;
}

impl OpenedInput {
    fn record(&self, record: u64, watched: WatchedRecord<'_>, after: PreviewRows) -> PreviewRecord {
        let (verdict, code, reason) = match watched.fate {
            Fate::Kept => ("kept", None, None),
            Fate::Edited => ("edited", None, None),
            Fate::Replaced => ("replaced", None, None),
            Fate::Dropped => ("dropped", None, None),
            Fate::Rejected { code, reason } => ("rejected", Some(code.to_owned()), Some(reason.to_owned())),
        };
        let before = self.cells_of_input(watched.text);
        let raw = before
            .is_none()
            .then(|| String::from_utf8_lossy(watched.text).into_owned());
        let place = |name: &String| before.as_ref()?.0.iter().position(|(of, _)| of == name);
        let source = |column: &OutputColumn| place(self.columns.get(column.source?)?);
        let sources = self.output_columns.iter();
        let sources = sources
            .map(|column| (column.name.clone(), source(column)))
            .collect();
        PreviewRecord {
            record,
            verdict,
            code,
            reason,
            before,
            raw,
            after,
            sources,
        }
    }

    /// Returns whether values of JSONL are shown as texts. This is so if only one side is JSONL: else `5` and `"5"`
    /// would look different although they are the same text.
    fn shows_texts(&self) -> bool {
        self.format != self.output_format
    }

    /// Returns the cells of a record of the input, or `None` if it is malformed.
    fn cells_of_input(&self, text: &[u8]) -> Option<Cells> {
        match self.format {
            Format::Csv => csv_row(text, 0, self.dialect, &self.columns.iter().collect::<Vec<_>>())
                .and_then(|(cells, next)| (next == text.len()).then_some(cells)),
            Format::Jsonl => {
                serde_json::from_slice::<serde::de::IgnoredAny>(text).ok()?;
                Some(jsonl_row(text, self.shows_texts()))
            }
        }
    }

    /// Returns the rows in an encoded part of the output.
    fn rows(&self, text: &[u8]) -> PreviewRows {
        let names: Vec<_> = self.output_columns.iter().map(|column| &column.name).collect();
        let (mut rows, mut at) = (PreviewRows::default(), 0);
        while at < text.len() {
            let (cells, next) = match self.output_format {
                Format::Csv => {
                    let row = csv_row(text, at, self.dialect, &names);
                    row.unwrap_or_else(|| (Cells::default(), text.len()))
                }
                Format::Jsonl => {
                    let end = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |end| at + end);
                    (jsonl_row(&text[at..end], self.shows_texts()), end + 1)
                }
            };
            at = next;
            match rows.rows.len() < ROWS_MAX {
                true => rows.rows.push(cells),
                false => rows.more += 1,
            }
        }
        rows
    }
}

/// Returns the cells of the CSV record at `start` and the start of the next record. Returns `None` if the record has
/// more or fewer cells than there are names.
fn csv_row(text: &[u8], start: usize, dialect: Dialect, names: &[&String]) -> Option<(Cells, usize)> {
    let wanted: Vec<_> = (0..names.len()).collect();
    let mut spans = Vec::new();
    let found = |span: Span| spans.push(span);
    let record = Scanner::new(dialect)
        .record(text, start, true, &wanted, found)
        .ok()?;
    if record.fields != names.len() || record.stray.is_some() {
        return None;
    }
    let cells = names.iter().zip(&spans).map(|(name, span)| {
        let mut value = Vec::new();
        unquote(span.of(text), dialect.quote, &mut value);
        ((*name).clone(), String::from_utf8_lossy(&value).into_owned())
    });
    Some((Cells(cells.collect()), record.next))
}

/// Returns the members of a JSON object. With `as_texts`, strings are unescaped and null is empty.
fn jsonl_row(text: &[u8], as_texts: bool) -> Cells {
    let plain = |value: &[u8]| {
        let mut text = Vec::new();
        match jsonl::text(value, &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(_) => String::from_utf8_lossy(value).into_owned(),
        }
    };
    let members = jsonl::members(text).map(|member| {
        let value = member.value.of(text);
        let shown = match as_texts {
            true => plain(value),
            false => String::from_utf8_lossy(value).into_owned(),
        };
        (plain(member.key.of(text)), shown)
    });
    Cells(members.collect())
}
