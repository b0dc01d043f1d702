//! Rows that a plugin adds to one record: new rows, and copies of the record. Values come in for columns; the operands
//! and texts of the rows go out, in the order in which the rows were added.

use std::rc::Rc;

use crate::arena::Fields;
use crate::record::before;
use crate::rows::{Row, Rows};
use crate::schema::{Layout, OutputColumn};
use crate::text::{Text, offset};
use crate::value::{self, Value};

/// The operand before a new row among rows of which each says whether it is a copy.
const NEW_ROW: u32 = u32::MAX;

/// The rows that are added to the current record.
#[derive(Debug)]
pub(crate) struct Emission {
    /// The number of rows, both new rows and copies.
    count: usize,
    /// The new rows.
    rows: Rows,
    copies: Copies,
}

/// The copies of the current record.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    /// The number of new rows before each copy.
    rows_before: Vec<usize>,
    /// The index in `cells` of the first cell of each copy.
    starts: Vec<usize>,
    /// The cells that were set, in the order of the calls.
    cells: Vec<Cell>,
    /// The texts of all cells, one after the other.
    text: Text,
}

/// A cell of a copy.
#[derive(Clone, Copy, Debug)]
struct Cell {
    column: u32,
    start: usize,
    end: usize,
    state: CellState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CellState {
    Changed,
    /// The cell was set to the value that the record has.
    Same,
    /// The cell was set to a value that cannot be written.
    Unwritable,
}

/// A copy of a record that goes to the output.
#[derive(Debug)]
pub struct CopiedRow<'a> {
    fields: Fields<'a>,
    layout: &'a Layout,
    copies: &'a mut Copies,
}

impl Emission {
    pub(crate) fn new(layout: Rc<Layout>) -> Self {
        Self {
            count: 0,
            rows: Rows::new(layout),
            copies: Copies::default(),
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn has_copies(&self) -> bool {
        !self.copies.starts.is_empty()
    }

    /// Adds a new row.
    pub(crate) fn emit(&mut self) -> Row<'_> {
        self.count += 1;
        self.rows.emit()
    }

    /// Adds a copy of the record.
    pub(crate) fn emit_copy(&mut self) -> &mut Copies {
        let before = self.count - self.copies.starts.len();
        self.count += 1;
        self.copies.rows_before.push(before);
        self.copies.starts.push(self.copies.cells.len());
        &mut self.copies
    }

    pub(crate) fn clear(&mut self) {
        self.count = 0;
        self.rows.clear();
        let Copies {
            rows_before,
            starts,
            cells,
            text,
        } = &mut self.copies;
        rows_before.clear();
        starts.clear();
        cells.clear();
        text.clear();
    }

    /// Returns the column of a cell whose value cannot be written, or `None` if all cells can be written.
    pub(crate) fn unwritable(&self) -> Option<u32> {
        let in_copies = || {
            let mut copies = (0..self.copies.starts.len()).flat_map(|copy| self.copies.changed(copy));
            copies.find_map(|cell| (cell.state == CellState::Unwritable).then_some(cell.column))
        };
        self.rows.unwritable().or_else(in_copies)
    }

    pub(crate) fn layout(&self) -> &Layout {
        self.rows.layout()
    }

    /// Appends the operands and texts of the rows, and forgets the rows.
    pub(crate) fn move_to(&mut self, operands: &mut Vec<u32>, text: &mut Text) {
        operands.push(offset(self.count));
        match self.has_copies() {
            true => self.append_mixed(operands, text),
            false => {
                let (_, texts, ends) = self.rows.parts();
                append_texts(texts.as_bytes(), 0, ends, operands, text);
            }
        }
        self.clear();
    }

    fn append_mixed(&mut self, operands: &mut Vec<u32>, text: &mut Text) {
        let width = self.rows.layout().width;
        let (count, texts, ends) = self.rows.parts();
        let mut rows = 0..count;
        let mut append_rows = |until: usize, operands: &mut Vec<u32>, text: &mut Text| {
            for row in rows.start..until {
                let first = row * width;
                let start = match first {
                    0 => 0,
                    first => ends[first - 1] as usize,
                };
                operands.push(NEW_ROW);
                append_texts(
                    texts.as_bytes(),
                    start,
                    &ends[first..first + width],
                    operands,
                    text,
                );
            }
            rows.start = until;
        };
        for (copy, &before) in self.copies.rows_before.iter().enumerate() {
            append_rows(before, operands, text);
            self.copies.append(copy, operands, text);
        }
        append_rows(count, operands, text);
    }
}

/// Appends the texts of `bytes` from `start` on that end at `ends`, and their new ends.
fn append_texts(bytes: &[u8], start: usize, ends: &[u32], operands: &mut Vec<u32>, text: &mut Text) {
    let end = ends.last().map_or(start, |&end| end as usize);
    let moved = text.len();
    text.append(&bytes[start..end]);
    operands.extend(ends.iter().map(|&end| offset(moved + end as usize - start)));
}

impl Copies {
    /// Returns the last value of each cell of a copy that was set, in the order of the columns.
    fn changed(&self, copy: usize) -> Vec<Cell> {
        let end = self.starts.get(copy + 1).copied().unwrap_or(self.cells.len());
        let mut cells = self.cells[self.starts[copy]..end].to_vec();
        // The sort is stable, so the last value of a column stays the last one.
        cells.sort_by_key(|cell| cell.column);
        let mut last: Vec<Cell> = Vec::with_capacity(cells.len());
        for cell in cells {
            match last.last_mut() {
                Some(before) if before.column == cell.column => *before = cell,
                _ => last.push(cell),
            }
        }
        last.retain(|cell| cell.state != CellState::Same);
        last
    }

    fn append(&self, copy: usize, operands: &mut Vec<u32>, text: &mut Text) {
        let cells = self.changed(copy);
        operands.push(offset(cells.len()));
        for Cell {
            column, start, end, ..
        } in cells
        {
            text.append(&self.text.as_bytes()[start..end]);
            operands.extend([column, text.end()]);
        }
    }
}

impl<'a> CopiedRow<'a> {
    pub(crate) fn new(fields: Fields<'a>, layout: &'a Layout, copies: &'a mut Copies) -> Self {
        Self {
            fields,
            layout,
            copies,
        }
    }

    /// Sets the cell in `column`. If a cell is set several times, the last value counts. If the column is dropped, the
    /// call has no effect. If the value is a float that is not finite, the record is rejected, as with
    /// [`Record::set`](crate::Record::set).
    pub fn set(&mut self, column: impl Into<OutputColumn>, value: impl Value) -> &mut Self {
        let place = self.layout.place(column);
        let Some(column) = place.index else { return self };
        let Copies { cells, text, .. } = &mut *self.copies;
        let start = text.len();
        let state = match value::append(text, &value, place.is_number) {
            Err(_) => CellState::Unwritable,
            Ok(()) if before(&self.fields, place) == Some(&text.as_bytes()[start..]) => CellState::Same,
            Ok(()) => CellState::Changed,
        };
        if state != CellState::Changed {
            text.truncate(start);
        }
        let end = text.len();
        cells.push(Cell {
            column,
            start,
            end,
            state,
        });
        self
    }
}
