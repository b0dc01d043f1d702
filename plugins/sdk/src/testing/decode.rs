//! Decodes the changes of a batch: the interface's flat lists come in, one outcome for each row goes out. The functions
//! panic if a list breaks a rule of the interface, because that is a fault of this crate.

use crate::bindings::exports::ingest::plugin::transform::{Changes, Emitted, Plan};
use crate::changes::code;
use crate::reject::is_code;

const REPLACE_MIXED: u8 = code::REPLACE | code::MIXED;

/// The plugin's verdict on a record, with the edits, the new rows or the reason.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Keep {
        cells: Vec<(usize, String)>,
        emitted: Vec<AddedRow>,
    },
    Replace(Vec<AddedRow>),
    Drop,
    Reject {
        code: String,
        reason: String,
    },
}

/// A row that the plugin added.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AddedRow {
    New(Vec<String>),
    /// A copy of the record with these changed cells.
    Copy(Vec<(usize, String)>),
}

impl AddedRow {
    /// Returns the cells. `record` is the output row of the record without changes.
    pub(crate) fn cells(self, record: &[String]) -> Vec<String> {
        match self {
            Self::New(cells) => cells,
            Self::Copy(changed) => {
                let mut cells = record.to_vec();
                for (column, text) in changed {
                    cells[column] = text;
                }
                cells
            }
        }
    }
}

/// The sources of the output columns of a plan.
pub(crate) struct Output {
    sources: Vec<Option<u32>>,
}

impl Output {
    pub(crate) fn new(plan: &Plan) -> Self {
        let sources = plan.output.iter().map(|column| column.source).collect();
        Self { sources }
    }

    /// Returns the output row of a record that the plugin does not change.
    pub(crate) fn row(&self, record: &[String]) -> Vec<String> {
        let cell =
            |source: &Option<u32>| source.map_or_else(String::new, |source| record[source as usize].clone());
        self.sources.iter().map(cell).collect()
    }

    /// Returns the outcome of each record of a batch of `rows` records.
    pub(crate) fn decode(&self, changes: &Changes, rows: usize) -> Vec<Outcome> {
        let mut cursor = Cursor::new(&changes.operands, &changes.bytes, self.sources.len());
        let keep_all = vec![code::KEEP; rows];
        let verdicts = match changes.verdicts.as_slice() {
            [] => &keep_all,
            verdicts => verdicts,
        };
        assert_eq!(verdicts.len(), rows, "one verdict a row");
        let outcomes = verdicts.iter().map(|&verdict| cursor.outcome(verdict));
        let outcomes = outcomes.collect();
        cursor.assert_used_up();
        outcomes
    }

    /// Returns the rows that the plugin added at the end of the output.
    pub(crate) fn emitted(&self, emitted: &Emitted) -> Vec<Vec<String>> {
        let mut cursor = Cursor::new(&emitted.ends, &emitted.bytes, self.sources.len());
        let rows = (0..emitted.rows).map(|_| cursor.row()).collect();
        cursor.assert_used_up();
        rows
    }
}

/// A reader that takes operands and their texts together, from front to back.
struct Cursor<'a> {
    operands: &'a [u32],
    text: &'a str,
    /// The end of the last text that was read.
    end: usize,
    width: usize,
}

impl<'a> Cursor<'a> {
    fn new(operands: &'a [u32], bytes: &'a [u8], width: usize) -> Self {
        Self {
            operands,
            text: std::str::from_utf8(bytes).expect("texts are UTF-8"),
            end: 0,
            width,
        }
    }

    fn outcome(&mut self, verdict: u8) -> Outcome {
        match verdict {
            code::REPLACE => Outcome::Replace(self.rows()),
            REPLACE_MIXED => Outcome::Replace(self.mixed()),
            code::DROP => Outcome::Drop,
            code::REJECT => {
                let code = self.text();
                assert!(is_code(&code), "{code:?} is a valid code");
                let reason = self.text();
                Outcome::Reject { code, reason }
            }
            keep => {
                let form = keep & !code::EDIT;
                assert!([code::KEEP, code::EMIT, code::MIXED].contains(&form));
                let cells = if keep & code::EDIT == 0 {
                    Vec::new()
                } else {
                    let cells = self.cells();
                    assert!(!cells.is_empty(), "an edit has a cell");
                    cells
                };
                let emitted = match form {
                    code::EMIT => self.rows(),
                    code::MIXED => self.mixed(),
                    _ => Vec::new(),
                };
                Outcome::Keep { cells, emitted }
            }
        }
    }

    fn cells(&mut self) -> Vec<(usize, String)> {
        let count = self.number();
        let cells: Vec<_> = (0..count).map(|_| (self.number(), self.text())).collect();
        assert!(cells.is_sorted_by(|a, b| a.0 < b.0), "columns increase");
        assert!(cells.iter().all(|cell| cell.0 < self.width));
        cells
    }

    fn rows(&mut self) -> Vec<AddedRow> {
        let count = self.number();
        assert!(count > 0, "rows follow");
        (0..count).map(|_| AddedRow::New(self.row())).collect()
    }

    /// Returns rows of which each says whether it is a copy.
    fn mixed(&mut self) -> Vec<AddedRow> {
        let count = self.number();
        assert!(count > 0, "rows follow");
        let row = |_| match self.operands.first() {
            Some(&u32::MAX) => {
                self.number();
                AddedRow::New(self.row())
            }
            _ => AddedRow::Copy(self.cells()),
        };
        (0..count).map(row).collect()
    }

    fn row(&mut self) -> Vec<String> {
        (0..self.width).map(|_| self.text()).collect()
    }

    fn text(&mut self) -> String {
        let start = self.end;
        self.end = self.number();
        self.text[start..self.end].to_owned()
    }

    fn number(&mut self) -> usize {
        let (&first, rest) = self.operands.split_first().expect("operands suffice");
        self.operands = rest;
        first as usize
    }

    fn assert_used_up(&self) {
        assert!(self.operands.is_empty(), "all operands are used");
        assert_eq!(self.end, self.text.len(), "all texts are used");
    }
}
