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

/// A record of the input, and the edits and new rows that the plugin makes for it.
///
/// A field borrows from the batch and not from the record, so a plugin can hold several while it sets others. Fields
/// are those of the input: a cell that was set reads as before.
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

    /// Returns the field in `column`. A CSV field comes without its quotes. A JSONL string is unescaped, any other
    /// value is its JSON text, and null and a missing member are empty.
    #[inline]
    #[must_use]
    pub fn get(&self, column: Column) -> &'a str {
        self.fields.get(column.field)
    }

    /// Parses the field in `column` as a `T`, such as an integer or a float. A float is finite: NaN would pass most
    /// checks, because all comparisons with it are false, and `1e999` is infinite. To accept these, parse the text
    /// from [`get`](Self::get).
    ///
    /// A float keeps 15 to 17 digits, and an integer beyond 2^53 may become its neighbour. Set a cell to a float only
    /// if the plugin has computed it.
    ///
    /// # Errors
    /// Returns a reject with the code `bad-value` if the field is not a `T`, or is `NaN`, infinite or beyond the range
    /// of the float.
    #[inline]
    pub fn parse<T: FromStr<Err: Display> + 'static>(&self, column: Column) -> Result<T, Reject> {
        match self.get(column).parse() {
            Ok(value) if is_finite(&value) => Ok(value),
            Ok(_) => Err(self.bad_value(column, &"not a finite number")),
            Err(error) => Err(self.bad_value(column, &error)),
        }
    }

    /// Parses the field in `column` like [`parse`](Self::parse), and returns `None` for an empty field.
    ///
    /// # Errors
    /// Returns the same rejects as [`parse`](Self::parse).
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

    /// Sets the output cell in `column`. The last of several calls wins. It has no effect if the value equals that of
    /// the input, or if the column is dropped. There are two exceptions for JSONL: if the column was converted to
    /// integers, numbers or booleans, a string becomes the literal of the same text; and unless the column is
    /// `Inherit` or `Text`, an empty string becomes null.
    ///
    /// A float that is not finite cannot be written, and neither can the text `NaN` or `inf` in a column of numbers:
    /// the record is rejected as `bad-value` instead of kept. Set `None` to empty a cell.
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

    /// Returns true if a JSON value must be written even if its text stays the same.
    fn is_retyped(&self, field: u32, strings: Strings) -> bool {
        let is_empty = || self.fields.get(field).is_empty();
        self.fields.is_string(field) && (strings == Strings::Go || is_empty())
    }

    /// Adds a row to the output: after this record, or instead of it with [`Verdict::Drop`]. Its cells are empty until
    /// they are set. If the record is rejected, its rows are discarded.
    pub fn emit(&mut self) -> Row<'_> {
        self.changes.emit()
    }

    /// Returns the name of `column` in the input.
    #[must_use]
    pub fn name(&self, column: Column) -> &str {
        &self.layout.fields[column.field as usize]
    }

    /// Makes a reject whose reason names the column and the value: `id: "x" is not a number` for the `fault`
    /// "is not a number". [`Reject::new`] describes the code.
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

    /// Ends the record with a verdict.
    #[inline]
    pub(crate) fn settle(self, verdict: Result<Verdict, Reject>) -> Result<(), Refusal> {
        self.changes.settle(verdict)
    }
}

/// Returns true for a finite float, and for any value that is not a float.
#[inline]
fn is_finite(value: &dyn Any) -> bool {
    match (value.downcast_ref::<f64>(), value.downcast_ref::<f32>()) {
        (Some(float), _) => float.is_finite(),
        (_, Some(float)) => float.is_finite(),
        _ => true,
    }
}
