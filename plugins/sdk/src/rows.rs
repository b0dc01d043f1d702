//! Rows that a plugin adds: values come in for columns, flat lists of texts go out.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::bindings::exports::ingest::plugin::transform::Emitted;
use crate::refusal::Refusal;
use crate::schema::{Layout, OutputColumn};
use crate::text::{Text, offset};
use crate::value::{self, Value};

/// New rows for the output.
#[derive(Debug)]
pub struct Rows {
    layout: Rc<Layout>,
    /// The number of rows. The last row may be incomplete.
    count: usize,
    text: Text,
    ends: Vec<u32>,
    /// The numbers of the cells whose last value cannot be written. Cells are numbered from the first cell of the first
    /// row.
    unwritable: BTreeSet<usize>,
}

/// One new row of the output. Its cells are empty until they are set.
#[derive(Debug)]
pub struct Row<'a>(&'a mut Rows);

impl Rows {
    pub(crate) fn new(layout: Rc<Layout>) -> Self {
        Self {
            layout,
            count: 0,
            text: Text::default(),
            ends: Vec::new(),
            unwritable: BTreeSet::new(),
        }
    }

    /// Adds a row to the output, and returns it so that its cells can be set.
    pub fn emit(&mut self) -> Row<'_> {
        self.complete();
        self.count += 1;
        Row(self)
    }

    pub(crate) fn clear(&mut self) {
        self.count = 0;
        self.text.clear();
        self.ends.clear();
        self.unwritable.clear();
    }

    /// Returns the column of the first cell whose last value cannot be written, or `None` if all cells can be written.
    pub(crate) fn unwritable(&self) -> Option<u32> {
        let cell = self.unwritable.first()?;
        Some(offset(cell % self.layout.width))
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the number of rows, their texts and the end of each text.
    pub(crate) fn parts(&mut self) -> (usize, &Text, &[u32]) {
        self.complete();
        (self.count, &self.text, &self.ends)
    }

    /// Returns the rows in the type of the interface.
    ///
    /// # Errors
    /// Returns a refusal if a cell cannot be written.
    pub(crate) fn into_emitted(mut self) -> Result<Emitted, Refusal> {
        if let Some(column) = self.unwritable() {
            return Err(Refusal::new(self.layout.unwritable(column)));
        }
        self.complete();
        Ok(Emitted {
            rows: u32::try_from(self.count).expect("there are fewer than 2^32 rows"),
            bytes: self.text.into_bytes(),
            ends: self.ends,
        })
    }

    /// Adds empty cells until the last row is complete.
    fn complete(&mut self) {
        self.fill(self.count * self.layout.width);
    }

    fn fill(&mut self, cells: usize) {
        self.ends.resize(cells, self.text.end());
    }
}

impl Row<'_> {
    /// Sets the cell in `column`. If a cell is set several times, the last value counts. If the column is dropped, the
    /// call has no effect.
    ///
    /// If the value is a float that is not finite, the record is rejected, as with [`Record::set`](crate::Record::set).
    /// In [`finish`](crate::Plugin::finish), such a value fails the request.
    ///
    /// It is fastest to set cells in the order of the output's columns.
    pub fn set(&mut self, column: impl Into<OutputColumn>, value: impl Value) -> &mut Self {
        let rows = &mut *self.0;
        let place = rows.layout.place(column);
        if let Some(index) = place.index {
            let cell = (rows.count - 1) * rows.layout.width + index as usize;
            let start = rows.text.len();
            if value::append(&mut rows.text, &value, place.is_number).is_err() {
                rows.text.truncate(start);
                rows.refuse(cell);
                return self;
            }
            if rows.ends.len() <= cell {
                rows.ends.resize(cell, offset(start));
                rows.ends.push(rows.text.end());
            } else {
                rows.replace(cell, start);
            }
        }
        self
    }
}

impl Rows {
    /// Records that the last value of a cell cannot be written.
    #[cold]
    fn refuse(&mut self, cell: usize) {
        self.unwritable.insert(cell);
        // Gives the cell an end, so that `set` passes the next value of this cell to `replace`.
        if self.ends.len() <= cell {
            self.fill(cell + 1);
        }
    }

    /// Moves the text from `start` on into a cell that already has an end.
    #[cold]
    fn replace(&mut self, cell: usize, start: usize) {
        self.unwritable.remove(&cell);
        let begin = if cell == 0 { 0 } else { self.ends[cell - 1] };
        let old = begin as usize..self.ends[cell] as usize;
        let removed = old.len();
        let added = self.text.move_to(old, start);
        for end in &mut self.ends[cell..] {
            *end = offset(*end as usize + added - removed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::exports::ingest::plugin::transform::{ColumnType, Format};
    use crate::schema::{Schema, input};

    #[test]
    fn the_first_cell_that_cannot_be_written_is_named() {
        let mut schema = Schema::new(input([], Format::Csv));
        let [a, b, c] = ["a", "b", "c"].map(|name| schema.add(name, ColumnType::Number));
        let (_, layout) = schema.plan(false).unwrap();
        let layout = Rc::new(layout);
        let refusal = |cells: &[(OutputColumn, f64)], count: usize| {
            let mut rows = Rows::new(Rc::clone(&layout));
            for _ in 0..count {
                let mut row = rows.emit();
                for &(column, value) in cells {
                    row.set(column, value);
                }
            }
            rows.into_emitted().err().map(|refusal| refusal.to_string())
        };
        let names = |name: &str| Some(format!("{name}: the plugin's value is not a finite number"));
        let nan = f64::NAN;
        assert_eq!(refusal(&[(c, nan), (b, nan)], 1), names("b"));
        assert_eq!(refusal(&[(c, nan), (b, nan), (b, 1.0)], 1), names("c"));
        assert_eq!(refusal(&[(a, nan), (a, 1.0)], 1), None);
        // If each cell needed a search through all cells, this would take an hour.
        let began = std::time::Instant::now();
        let many = refusal(&[(a, 1.0), (b, nan)], 300_000);
        assert_eq!(many, names("b"));
        assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    }

    #[test]
    fn cells_may_be_set_in_any_order_and_again() {
        let mut schema = Schema::new(input([], Format::Csv));
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| schema.add(name, ColumnType::Text));
        schema.drop(c);
        let (_, layout) = schema.plan(false).unwrap();

        let mut rows = Rows::new(Rc::new(layout));
        rows.emit();
        rows.emit().set(b, "bb").set(a, "é").set(c, "?").set(b, "b");
        rows.emit().set(d, 1).set(a, "").set(a, "aaa");
        let emitted = rows.into_emitted().unwrap();
        assert_eq!(emitted.rows, 3);
        assert_eq!(emitted.bytes, "ébaaa1".as_bytes());
        assert_eq!(emitted.ends, [0, 0, 0, 2, 3, 3, 6, 6, 7]);
    }
}
