//! Encodes the result for a batch: edits, new rows and a verdict for each record come in, the interface's three flat
//! lists go out. The table for the record `changes` in `wit/0.2/plugin.wit` describes the format.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::bindings::exports::ingest::plugin::transform::Changes;
use crate::copies::{Copies, Emission};
use crate::plugin::Verdict;
use crate::refusal::Refusal;
use crate::reject::{Cause, Reject};
use crate::rows::Row;
use crate::schema::Layout;
use crate::text::{Text, offset};
use crate::value::{self, Value};
use crate::words;

/// The numbers of the verdicts in the interface.
pub(crate) mod code {
    pub(crate) const KEEP: u8 = 0;
    pub(crate) const EDIT: u8 = 1;
    pub(crate) const REPLACE: u8 = 2;
    pub(crate) const DROP: u8 = 3;
    pub(crate) const REJECT: u8 = 4;
    /// The flag that is added to `KEEP` or `EDIT` if new rows follow the record.
    pub(crate) const EMIT: u8 = 8;
    /// The flag that is added to `KEEP`, `EDIT` or `REPLACE` if copies of the record are among the rows.
    pub(crate) const MIXED: u8 = 16;
}

/// Collects the changes of one batch at a time.
#[derive(Debug)]
pub(crate) struct ChangesWriter {
    /// The verdicts. The list stays empty while every row so far is kept.
    verdicts: Vec<u8>,
    operands: Vec<u32>,
    text: Text,
    /// The number of rows in the batch. `settled` is the number of rows that have a verdict.
    rows: usize,
    settled: usize,
    /// The start of the current row's operands. `text_start` is the start of the row's text, and `cells` is the number
    /// of cells that are set in the row.
    operands_start: usize,
    text_start: usize,
    cells: u32,
    /// No column with this index or a higher index has been set in the current row.
    next: u32,
    /// The columns of the current row whose last value cannot be written.
    unwritable: BTreeSet<u32>,
    /// The rows that the current row emits.
    emitted: Emission,
}

impl ChangesWriter {
    pub(crate) fn new(layout: Rc<Layout>) -> Self {
        Self {
            verdicts: Vec::new(),
            operands: Vec::new(),
            text: Text::default(),
            rows: 0,
            settled: 0,
            operands_start: 0,
            text_start: 0,
            cells: 0,
            next: 0,
            unwritable: BTreeSet::new(),
            emitted: Emission::new(layout),
        }
    }

    /// Begins a batch of `rows` rows.
    pub(crate) fn begin(&mut self, rows: usize) {
        self.rows = rows;
        self.settled = 0;
        self.verdicts.clear();
        self.operands.clear();
        self.text.clear();
        self.unwritable.clear();
        self.start_row();
    }

    /// Returns the result for the batch, and reserves memory of about the same size for the next result.
    pub(crate) fn finish(&mut self) -> Changes {
        let operands = Vec::with_capacity(with_slack(self.operands.len()));
        let text = Text::with_capacity(with_slack(self.text.len()));
        Changes {
            verdicts: std::mem::take(&mut self.verdicts),
            operands: std::mem::replace(&mut self.operands, operands),
            bytes: std::mem::replace(&mut self.text, text).into_bytes(),
        }
    }

    /// Sets a cell of the current row. `before` is the value that the cell has if it is not set. An equal value is not
    /// written. If `before` is `None`, any value is written. `is_number` is true for a column of numbers.
    #[inline]
    pub(crate) fn set(&mut self, column: u32, before: Option<&[u8]>, value: &impl Value, is_number: bool) {
        let start = self.text.len();
        if value::append(&mut self.text, value, is_number).is_err() {
            self.text.truncate(start);
            self.refuse(column);
        } else if column < self.next {
            self.insert(column, before, start);
        } else if self.is_last_text(start, before) {
            self.text.truncate(start);
        } else {
            if self.cells == 0 {
                self.operands.push(0); // Reserved for the number of cells.
            }
            self.operands.extend_from_slice(&[column, self.text.end()]);
            self.cells += 1;
            self.next = column + 1;
        }
    }

    /// Records that the last value of a column cannot be written.
    #[cold]
    fn refuse(&mut self, column: u32) {
        self.unwritable.insert(column);
        // With this value of `next`, the next call of `set` for this column goes to `insert`.
        self.next = self.next.max(column + 1);
    }

    /// Returns true if the text from `start` on equals `text`.
    #[inline]
    fn is_last_text(&self, start: usize, text: Option<&[u8]>) -> bool {
        text.is_some_and(|text| words::is_same(text, &self.text.as_bytes()[start..]))
    }

    /// Writes the text from `start` on into `column`. [`set`](Self::set) calls this if `column` or a column with a
    /// higher index may already be set in the row.
    #[cold]
    fn insert(&mut self, column: u32, before: Option<&[u8]>, start: usize) {
        self.unwritable.remove(&column);
        let mut at = self.operands_start + 1;
        let mut begin = self.text_start;
        while self.operands.get(at).is_some_and(|&other| other < column) {
            begin = self.operands[at + 1] as usize;
            at += 2;
        }
        if self.operands.get(at) != Some(&column) {
            if self.is_last_text(start, before) {
                self.text.truncate(start);
                return;
            }
            if self.cells == 0 {
                self.operands.push(0); // Reserved for the number of cells.
            }
            self.operands.splice(at..at, [column, offset(begin)]);
            self.cells += 1;
        }

        let old = begin..self.operands[at + 1] as usize;
        let removed = old.len();
        let added = self.text.move_to(old, start);
        for end in self.operands[at + 1..].iter_mut().step_by(2) {
            *end = offset(*end as usize + added - removed);
        }
    }

    /// Adds a new row that follows or replaces the current row.
    pub(crate) fn emit(&mut self) -> Row<'_> {
        self.emitted.emit()
    }

    /// Adds a copy of the current row.
    pub(crate) fn emit_copy(&mut self) -> &mut Copies {
        self.emitted.emit_copy()
    }

    /// Ends the current row with a verdict.
    #[inline]
    pub(crate) fn settle(&mut self, verdict: Result<Verdict, Reject>) -> Result<(), Refusal> {
        let verdict = if self.unwritable.is_empty() && self.emitted.is_empty() {
            verdict
        } else {
            self.checked(verdict)
        };
        match verdict {
            Ok(Verdict::Keep) => self.keep(),
            Ok(Verdict::Drop) => self.drop(),
            Err(reject) => self.reject(reject)?,
        }
        self.settled += 1;
        self.start_row();
        Ok(())
    }

    /// Returns the verdict, or a reject if the verdict needs a value that cannot be written. Forgets the cells that
    /// cannot be written.
    #[cold]
    fn checked(&mut self, verdict: Result<Verdict, Reject>) -> Result<Verdict, Reject> {
        let unwritable = std::mem::take(&mut self.unwritable);
        let verdict = verdict?;
        let cell = match verdict {
            Verdict::Keep => unwritable.first().copied(),
            Verdict::Drop => None,
        };
        match cell.or(self.emitted.unwritable()) {
            Some(column) => Err(Reject::new("bad-value", self.emitted.layout().unwritable(column))),
            None => Ok(verdict),
        }
    }

    #[inline]
    fn keep(&mut self) {
        let verdict = if self.cells == 0 {
            code::KEEP
        } else {
            self.operands[self.operands_start] = self.cells;
            code::EDIT
        };
        if self.emitted.is_empty() {
            self.push(verdict);
        } else {
            self.push_with_rows(verdict);
        }
    }

    /// Ends a row whose verdict keeps it and that is followed by emitted rows.
    #[cold]
    fn push_with_rows(&mut self, verdict: u8) {
        let form = if self.emitted.has_copies() {
            code::MIXED
        } else {
            code::EMIT
        };
        self.push(verdict | form);
        self.push_emitted();
    }

    fn drop(&mut self) {
        self.forget_cells();
        if self.emitted.is_empty() {
            self.push(code::DROP);
        } else {
            let form = if self.emitted.has_copies() { code::MIXED } else { 0 };
            self.push(code::REPLACE | form);
            self.push_emitted();
        }
    }

    #[cold]
    fn reject(&mut self, reject: Reject) -> Result<(), Refusal> {
        match *reject.0 {
            Cause::Request(refusal) => Err(refusal),
            Cause::Record { code, reason } => {
                self.forget_cells();
                self.emitted.clear();
                self.push(code::REJECT);
                for text in [&*code, &*reason] {
                    value::append(&mut self.text, &text, false).expect("a text is one");
                    self.operands.push(self.text.end());
                }
                Ok(())
            }
        }
    }

    #[inline]
    fn push(&mut self, verdict: u8) {
        if self.verdicts.is_empty() {
            if verdict == code::KEEP {
                return;
            }
            self.verdicts.resize(self.rows, code::KEEP);
        }
        self.verdicts[self.settled] = verdict;
    }

    fn push_emitted(&mut self) {
        self.emitted.move_to(&mut self.operands, &mut self.text);
    }

    fn forget_cells(&mut self) {
        self.operands.truncate(self.operands_start);
        self.text.truncate(self.text_start);
    }

    #[inline]
    fn start_row(&mut self) {
        self.operands_start = self.operands.len();
        self.text_start = self.text.len();
        self.cells = 0;
        self.next = 0;
    }
}

fn with_slack(room: usize) -> usize {
    room + room / 8
}
