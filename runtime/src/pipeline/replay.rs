//! Replays rejects. The file of rejects of an earlier request goes in. Its selected records come out as an input, and the
//! other rows go on unchanged to the rejects of the replay, between the records that are rejected again.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::sync::Arc;

use crate::config::{Limits, REJECTS_RATIO};
use crate::decode::{self, Decoding, RejectRow, RejectRows, RejectedRecords};
use crate::encode::shown_code;
use crate::error::{Code, Error, Result, Stage};
use crate::fetch::Source;
use crate::format::Format;
use crate::format::csv::Dialect;
use crate::receipt::{Receipt, RejectsPart, RequestPart};
use crate::record::{Origin, Position};
use crate::request::{InputOptions, Replay};
use crate::stop::Stop;

/// A function that opens the rejects. It can be called several times.
pub type OpenRejects = Arc<dyn Fn() -> Result<Box<dyn Read + Send>> + Send + Sync>;

/// The rejects that an attempt processes again in place of an input.
#[derive(Clone)]
pub struct ReplayedInput {
    replay: Replay,
    /// The origin of the input in which the records were found.
    origin: Origin,
    uri: String,
    rejects: RejectsPart,
    /// The reading of the input in which the records were found.
    reading: (Format, Vec<String>, Dialect),
    /// The codes of all rejects, each under the text that the file of rejects shows.
    codes: BTreeMap<String, String>,
    /// The selected codes as the file of rejects shows them, or `None` for all rejects.
    selected: Option<HashSet<String>>,
    open: OpenRejects,
}

impl ReplayedInput {
    /// Returns the rejects that `receipt` names. `first` is the first request, from whose input the records
    /// come. Also returns the options with which that input was read.
    ///
    /// # Errors
    /// Fails permanently with [`Code::ReplayRefused`] if the receipt names no rejects, or does not say how to read them.
    pub fn of(
        receipt: &Receipt,
        first: &RequestPart,
        replay: Replay,
        open: OpenRejects,
    ) -> Result<(Self, InputOptions)> {
        let refused = |why: &str| {
            let what = format!("{}: its rejects cannot be replayed: {why}", receipt.request.id);
            Error::permanent(Stage::Commit, Code::ReplayRefused, what)
        };
        let Some(uri) = receipt.rejects.uri.clone() else {
            return Err(refused("it has none"));
        };
        let [input] = receipt.inputs.as_slice() else {
            return Err(refused("it has more than one input"));
        };
        let format = Format::ALL
            .iter()
            .copied()
            .find(|format| format.name() == input.format);
        let byte = |character: char| u8::try_from(character).ok();
        let dialect = match (format, &input.syntax) {
            (Some(Format::Csv), Some(syntax)) => {
                let bytes = byte(syntax.delimiter).zip(byte(syntax.quote));
                bytes.map(|(delimiter, quote)| Dialect { delimiter, quote })
            }
            (Some(Format::Jsonl), _) => Some(Dialect::default()),
            _ => None,
        };
        let (Some(format), Some(dialect), Some(options)) = (format, dialect, &input.options) else {
            return Err(refused(
                "its receipt does not say how its input was divided into fields, because another version wrote it: submit \
                 the input again under another id",
            ));
        };
        let shown = |code: &String| shown_code(code).into_owned();
        let by_code = receipt.rejects.by_code.keys();
        let selected: HashSet<_> = replay.codes.iter().map(shown).collect();
        let replayed = Self {
            uri,
            rejects: receipt.rejects.clone(),
            reading: (format, input.columns.clone(), dialect),
            codes: by_code.map(|code| (shown(code), code.clone())).collect(),
            selected: (!selected.is_empty()).then_some(selected),
            replay,
            origin: Origin::of(Some(&first.id), &first.uri),
            open,
        };
        Ok((replayed, options.clone()))
    }

    /// Returns the replay that reads these rejects.
    pub(super) fn replay(&self) -> &Replay {
        &self.replay
    }

    /// Returns the origin of the records.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the SHA-256 that the file of rejects must have.
    pub(super) fn sha256(&self) -> Option<&str> {
        self.rejects.sha256.as_deref()
    }

    /// Opens the file of rejects as the input of an attempt.
    ///
    /// # Errors
    /// Fails if the rejects cannot be opened.
    pub fn source(&self, stop: &Stop) -> Result<Source> {
        Ok(Source::from_stored(
            self.uri.clone(),
            (self.open)()?,
            stop.clone(),
        ))
    }

    /// Opens the selected records in the file of rejects that `reader` reads.
    pub(super) fn decode(
        &self,
        reader: Box<dyn Read + Send>,
        name: &str,
        options: &InputOptions,
        limits: &Limits,
    ) -> Result<Decoding> {
        let rows = RejectRows::new(reader, name, limits);
        let selected = self.selected.clone();
        let records = RejectedRecords::new(rows, move |code: &str| is_selected(selected.as_ref(), code));
        decode::open_rejected(Box::new(records), name, self.reading.clone(), options, limits)
    }

    /// Opens the file of rejects a second time, for the positions of the records and for the rows that are not selected.
    pub(super) fn rows(&self, name: &str, limits: &Limits) -> Result<ReplayedRows> {
        let rows = RejectRows::new((self.open)()?, name, limits);
        Ok(ReplayedRows {
            rows,
            selected: self.selected.clone(),
            codes: self.codes.clone(),
            passed: 0,
        })
    }

    /// Returns the maximum number of bytes of the rejects of the replay. Those that stay rejects keep their records, but
    /// can get longer reasons.
    pub(super) fn rejects_bytes_max(&self) -> u64 {
        self.rejects.bytes.saturating_mul(REJECTS_RATIO)
    }
}

fn is_selected(selected: Option<&HashSet<String>>, code: &str) -> bool {
    selected.is_none_or(|selected| selected.contains(code))
}

/// The rows of the replayed file of rejects, in step with the records of the attempt.
pub(super) struct ReplayedRows {
    rows: RejectRows,
    selected: Option<HashSet<String>>,
    codes: BTreeMap<String, String>,
    /// The number of selected rows so far.
    passed: u64,
}

/// A row of rejects that a replay does not process.
pub(super) struct CarriedRow<'a> {
    /// The row's code.
    pub(super) code: &'a str,
    /// The row without its text.
    pub(super) row: RejectRow,
    /// The bytes of the row in the file, with the line end.
    pub(super) text: &'a [u8],
}

/// The next row of a replayed file of rejects.
pub(super) enum NextRow<'a> {
    /// The row is not selected.
    Carried(CarriedRow<'a>),
    /// The row is selected. Its record had this position in the first input.
    Selected(Position),
}

impl ReplayedRows {
    /// Returns the next row, or `None` at the end of the file.
    ///
    /// # Errors
    /// Fails as [`RejectRows::next_row`] does.
    pub(super) fn next_row(&mut self) -> Result<Option<NextRow<'_>>> {
        let Some(row) = self.rows.next_row()? else {
            return Ok(None);
        };
        if is_selected(self.selected.as_ref(), &row.code) {
            self.passed += 1;
            return Ok(Some(NextRow::Selected(row.position)));
        }
        // The receipt has all codes of the file, unless somebody has changed one of them.
        let code = self.codes.get(&row.code).map_or("unknown", String::as_str);
        Ok(Some(NextRow::Carried(CarriedRow {
            code,
            row,
            text: self.rows.text(),
        })))
    }

    /// Returns the number of selected rows so far.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }
}

/// Returns the error for a plugin whose verdict on a record depends on other records.
pub(super) fn stateful(plugin: &str, parent: &str) -> Error {
    let what = format!(
        "{plugin}: keeps state over the records of an input, so it cannot process rejects of {parent} without the other records: \
         submit the whole input again under another id"
    );
    Error::permanent(Stage::Plugin, Code::ReplayRefused, what)
}

/// Returns the error for rejects that have other bytes than their receipt says.
pub(super) fn changed(name: &str) -> Error {
    let what = format!("{name}: the rejects are not those that their receipt names: restore the file");
    Error::permanent(Stage::Commit, Code::OutputDamaged, what)
}
