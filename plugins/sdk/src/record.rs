//! One record as the author sees it: fields come in from the arena, edits go out to the changes.

use std::any::Any;
use std::fmt::Display;
use std::str::FromStr;

use crate::arena::Fields;
use crate::changes::ChangesWriter;
use crate::plugin::Verdict;
use crate::refusal::Refusal;
use crate::reject::{Quoted, Reject};
use crate::rows::Row;
use crate::schema::{Column, Layout, OutputColumn, Strings};
use crate::value::Value;

/// A record of the input, with what the plugin makes of it.
///
/// Fields borrow from the batch and not from the record, so several can be held while others are set.
/// They are the input's: a cell that was set reads as before.
#[derive(Debug)]
pub struct Record<'a> {
    fields: Fields<'a>,
    layout: &'a Layout,
    changes: &'a mut ChangesWriter,
}

impl<'a> Record<'a> {
    pub(crate) fn new(fields: Fields<'a>, layout: &'a Layout, changes: &'a mut ChangesWriter) -> Self {
        Self {
            fields,
            layout,
            changes,
        }
    }

    /// The field in `column`. A CSV field is without its quotes; of JSONL a string is unescaped, anything
    /// else is its JSON text, null and a missing member are empty.
    #[inline]
    #[must_use]
    pub fn get(&self, column: Column) -> &'a str {
        self.fields.get(column.field)
    }

    /// The field in `column` as a `T`, such as an integer or a float. A float is finite: comparisons with NaN are all
    /// false, so that it would pass most checks, and `1e999` is infinite. A plugin that wants these too parses what
    /// [`get`](Self::get) gives.
    ///
    /// A float has 15 to 17 digits, and an integer beyond 2^53 may become its neighbour: set a cell to a float only if
    /// the plugin has computed it.
    ///
    /// # Errors
    /// A reject with the code `bad-value`, if the field is no `T`, or is `NaN`, infinite or beyond the range of the
    /// float.
    #[inline]
    pub fn parse<T: FromStr<Err: Display> + 'static>(&self, column: Column) -> Result<T, Reject> {
        match self.get(column).parse() {
            Ok(value) if is_finite(&value) => Ok(value),
            Ok(_) => Err(self.bad_value(column, &"not a finite number")),
            Err(error) => Err(self.bad_value(column, &error)),
        }
    }

    /// Like [`parse`](Self::parse), with `None` for an empty field.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    #[inline]
    pub fn parse_optional<T: FromStr<Err: Display> + 'static>(
        &self,
        column: Column,
    ) -> Result<Option<T>, Reject> {
        if self.get(column).is_empty() {
            return Ok(None);
        }
        self.parse(column).map(Some)
    }

    /// Gives the output cell in `column` another value; of several the last one holds. A value equal to
    /// what the cell has from the input changes nothing, and neither does setting a dropped column. But a string of JSONL
    /// gives way to the literal of the same text, if the column was converted to integers, numbers or booleans; and an
    /// empty string gives way to null, unless the column is one of texts.
    ///
    /// A float that is not finite cannot be written: the record is rejected as `bad-value` instead of kept. So is one
    /// whose text in a column of numbers is `NaN` or `inf`. Write `None` where a cell is to be empty.
    #[inline]
    pub fn set(&mut self, column: impl Into<OutputColumn>, value: impl Value) {
        let place = self.layout.place(column);
        if let Some(index) = place.index {
            let before = match place.field {
                Some(field) if place.strings != Strings::Stay && self.is_retyped(field, place.strings) => {
                    None
                }
                Some(field) => Some(self.fields.get(field).as_bytes()),
                None => place.is_new.then_some(&[][..]),
            };
            self.changes.set(index, before, &value, place.is_number);
        }
    }

    /// Returns true if a value of JSON is to be written anew even if its text stays.
    fn is_retyped(&self, field: u32, strings: Strings) -> bool {
        let is_empty = || self.fields.get(field).is_empty();
        self.fields.is_string(field) && (strings == Strings::Go || is_empty())
    }

    /// Adds a row to the output, after this record, or instead of it with [`Verdict::Drop`]. Its cells
    /// are empty until they are set. A rejected record's rows are forgotten.
    pub fn emit(&mut self) -> Row<'_> {
        self.changes.emit()
    }

    /// The name of `column` in the input.
    #[must_use]
    pub fn name(&self, column: Column) -> &str {
        &self.layout.fields[column.field as usize]
    }

    /// A reject whose reason names the column and the value: `id: "x" is not a number` for the `fault`
    /// "is not a number". About the code see [`Reject::new`].
    #[cold]
    #[must_use]
    pub fn reject(&self, column: Column, code: &'static str, fault: impl Display) -> Reject {
        let value = Quoted(self.get(column));
        Reject::new(code, format!("{}: {value} {fault}", self.name(column)))
    }

    #[cold]
    fn bad_value(&self, column: Column, error: &dyn Display) -> Reject {
        let fault = format_args!("is not readable: {error}");
        self.reject(column, "bad-value", fault)
    }

    /// Notes what becomes of this record.
    #[inline]
    pub(crate) fn settle(self, verdict: Result<Verdict, Reject>) -> Result<(), Refusal> {
        self.changes.settle(verdict)
    }
}

/// Returns true for a finite float, and for any value that is no float.
#[inline]
fn is_finite(value: &dyn Any) -> bool {
    match (value.downcast_ref::<f64>(), value.downcast_ref::<f32>()) {
        (Some(float), _) => float.is_finite(),
        (_, Some(float)) => float.is_finite(),
        _ => true,
    }
}
