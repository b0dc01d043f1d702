//! One record, in the form that the author of a plugin uses: fields come in from the arena, edits go out to the
//! changes.

use std::any::Any;
use std::fmt::Display;
use std::num::{IntErrorKind, ParseFloatError, ParseIntError};
use std::str::{FromStr, ParseBoolError};

use crate::arena::Fields;
use crate::changes::ChangesWriter;
use crate::copies::CopiedRow;
use crate::plugin::Verdict;
use crate::refusal::Refusal;
use crate::reject::{Quoted, Reject};
use crate::rows::Row;
use crate::schema::{Column, Layout, OutputColumn, Place, Strings};
use crate::value::Value;

/// A record of the input, with the edits and new rows that the plugin makes for the record.
///
/// A field borrows from the batch, not from the record, so a plugin can hold several fields while it sets cells. Fields
/// are values of the input: after a cell was set, its field still has the old value.
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

    /// Returns the field in `column`. A CSV field comes without its quotes. A JSONL string is unescaped. For null and
    /// for a missing member, the field is empty. For any other JSON value, the field is its JSON text.
    #[inline]
    #[must_use]
    pub fn get(&self, column: Column) -> &'a str {
        self.fields.get(column.field)
    }

    /// Returns true if the field in `column` is a JSON string, so that the field `1.5` of the string `"1.5"` can be told from
    /// that of the number `1.5`. The result has a meaning only for JSONL: see [`Schema::format`](crate::Schema::format).
    #[inline]
    #[must_use]
    pub fn is_string(&self, column: Column) -> bool {
        self.fields.is_string(column.field)
    }

    /// Parses the field in `column` as a `T`, such as an integer or a float.
    ///
    /// A returned float is always finite. NaN is rejected because a comparison such as `value > max` is false for NaN,
    /// so NaN would pass most checks. `1e999` is rejected because its value is infinite. To accept such values, parse
    /// the text from [`get`](Self::get).
    ///
    /// A float keeps only 15 to 17 digits, and an integer beyond 2^53 can change when it is parsed as a float. So set a
    /// cell to a float only if the plugin has computed the float.
    ///
    /// # Errors
    /// Returns a reject with the code `bad-value` if the field is not a `T`. If `T` is a float, `NaN`, an infinite
    /// value and a value beyond the range of `T` are rejected, too.
    #[inline]
    pub fn parse<T: FromStr<Err: Display> + 'static>(&self, column: Column) -> Result<T, Reject> {
        match self.get(column).parse() {
            Ok(value) if is_finite(&value) => Ok(value),
            Ok(_) => Err(self.reject(column, BAD_VALUE, "is not a finite number")),
            Err(error) => Err(self.bad_value(column, &error)),
        }
    }

    /// Parses the field in `column` like [`parse`](Self::parse), but returns `None` if the field is empty.
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

    /// Sets the output cell in `column`. If the plugin sets a cell several times, the last value counts. If this value
    /// equals the field of the input, the cell stays as it is. If the column is dropped, a call has no effect.
    ///
    /// For JSONL, an equal value changes the cell in two cases:
    ///
    /// - If the column was converted to integers, numbers or booleans, a string becomes the literal of the same text.
    /// - If the type of the column is neither `Inherit` nor `Text`, an empty string becomes null.
    ///
    /// A float that is not finite cannot be written, nor can the text `NaN` or `inf` in a column of numbers. If the
    /// plugin keeps a record with such a value, the record is rejected as `bad-value`. To empty a cell, set it to
    /// `None`.
    #[inline]
    pub fn set(&mut self, column: impl Into<OutputColumn>, value: impl Value) {
        let place = self.layout.place(column);
        if let Some(index) = place.index {
            let before = before(&self.fields, place);
            self.changes.set(index, before, &value, place.is_number);
        }
    }

    /// Adds a row to the output. With [`Verdict::Keep`], the row follows this record. With [`Verdict::Drop`], the row
    /// replaces this record. The cells of the row are empty until they are set. If the record is rejected, its rows are
    /// discarded.
    pub fn emit(&mut self) -> Row<'_> {
        self.changes.emit()
    }

    /// Adds a copy of this record to the output, and returns it so that its cells can be changed. Until then, each cell
    /// has the value of the input: also in columns that the plugin does not read, and in JSONL with its type. Cells that
    /// [`set`](Self::set) has changed in this record are not changed in the copy.
    ///
    /// Copies and the rows of [`emit`](Self::emit) go to the output in the order in which they were added. With
    /// [`Verdict::Keep`], they follow this record. With [`Verdict::Drop`], they replace it.
    ///
    /// ```
    /// # use ingest_plugin::*;
    /// /// Makes a record of each tag in a list such as `red;green`.
    /// struct Split { tags: Column }
    ///
    /// impl Plugin for Split {
    ///     type Config = NoConfig;
    ///     const STATEFUL: bool = false;
    ///
    ///     fn open(schema: &mut Schema, _: NoConfig) -> Result<Self, Refusal> {
    ///         Ok(Self { tags: schema.read("tags")? })
    ///     }
    ///
    ///     fn record(&mut self, record: &mut Record<'_>) -> Result<Verdict, Reject> {
    ///         for tag in record.get(self.tags).split(';') {
    ///             record.emit_copy().set(self.tags, tag);
    ///         }
    ///         Ok(Verdict::Drop)
    ///     }
    /// }
    ///
    /// let report = testing::run::<Split>("{}", "id,tags\n1,red;green\n2,blue\n")?;
    /// assert_eq!(report.csv(), "id,tags\n1,red\n1,green\n2,blue\n");
    /// # Ok::<(), Refusal>(())
    /// ```
    pub fn emit_copy(&mut self) -> CopiedRow<'_> {
        CopiedRow::new(self.fields, self.layout, self.changes.emit_copy())
    }

    /// Returns the name of `column` in the input.
    #[must_use]
    pub fn name(&self, column: Column) -> &str {
        &self.layout.fields[column.field as usize]
    }

    /// Makes a reject whose reason names the column and the value. For the `fault` "is not a number", the reason is
    /// `id: "x" is not a number`. [`Reject::new`] describes the form of the code.
    #[cold]
    #[must_use]
    pub fn reject(&self, column: Column, code: &'static str, fault: impl Display) -> Reject {
        let value = Quoted(self.get(column));
        Reject::new(code, format!("{}: {value} {fault}", self.name(column)))
    }

    /// Returns a reject for a field that does not parse. An error of the standard library becomes a sentence for the
    /// owner of the data, who need not know Rust.
    #[cold]
    fn bad_value<E: Display + 'static>(&self, column: Column, error: &E) -> Reject {
        match plain_fault(self.get(column), error) {
            Some(fault) => self.reject(column, BAD_VALUE, fault),
            None => self.reject(column, BAD_VALUE, format_args!("is not readable: {error}")),
        }
    }

    /// Ends the record with a verdict.
    #[inline]
    pub(crate) fn settle(self, verdict: Result<Verdict, Reject>) -> Result<(), Refusal> {
        self.changes.settle(verdict)
    }
}

/// Returns the value of an output cell until the plugin sets it, or `None` if any value must be written.
#[inline(always)]
pub(crate) fn before<'a>(fields: &Fields<'a>, place: Place) -> Option<&'a [u8]> {
    match place.field {
        Some(field) if place.strings != Strings::Stay && is_retyped(fields, field, place.strings) => None,
        Some(field) => Some(fields.get(field).as_bytes()),
        None => place.is_new.then_some(&[][..]),
    }
}

/// Returns true if a JSON value must be written even if its text stays the same.
fn is_retyped(fields: &Fields<'_>, field: u32, strings: Strings) -> bool {
    let is_empty = || fields.get(field).is_empty();
    fields.is_string(field) && (strings == Strings::Go || is_empty())
}

/// The code of rejects for fields that do not parse.
const BAD_VALUE: &str = "bad-value";

/// Returns the fault of a field that does not parse as a number or a boolean, or `None` for another error.
fn plain_fault(field: &str, error: &dyn Any) -> Option<&'static str> {
    if error.is::<ParseFloatError>() {
        return Some("is not a number");
    }
    if error.is::<ParseBoolError>() {
        return Some("is not true or false");
    }
    let is_negative = || {
        let digits = field.strip_prefix('-').unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    Some(match error.downcast_ref::<ParseIntError>()?.kind() {
        IntErrorKind::PosOverflow => "is too large",
        IntErrorKind::NegOverflow => "is too small",
        // For an unsigned type, the parser reports the minus sign as an invalid digit, not as an overflow.
        IntErrorKind::InvalidDigit if is_negative() => "is negative",
        _ => "is not a whole number",
    })
}

/// Returns true if the value is a finite float or not a float at all.
#[inline]
fn is_finite(value: &dyn Any) -> bool {
    match (value.downcast_ref::<f64>(), value.downcast_ref::<f32>()) {
        (Some(float), _) => float.is_finite(),
        (_, Some(float)) => float.is_finite(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::plain_fault;

    fn fault<T: std::str::FromStr<Err: 'static>>(field: &str) -> Option<&'static str> {
        plain_fault(field, &field.parse::<T>().err()?)
    }

    #[test]
    fn a_field_that_does_not_parse_is_told_without_words_of_rust() {
        for field in ["many", "", "1.5.5", "1,5"] {
            assert_eq!(fault::<f64>(field), Some("is not a number"), "{field}");
            assert_eq!(fault::<i64>(field), Some("is not a whole number"), "{field}");
            assert_eq!(fault::<u8>(field), Some("is not a whole number"), "{field}");
            assert_eq!(fault::<bool>(field), Some("is not true or false"), "{field}");
        }
        assert_eq!(fault::<u8>("-1"), Some("is negative"));
        assert_eq!(fault::<u8>("-"), Some("is not a whole number"));
        assert_eq!(fault::<u8>("256"), Some("is too large"));
        assert_eq!(fault::<i8>("-129"), Some("is too small"));
        assert_eq!(fault::<i64>("1.0"), Some("is not a whole number"));
        assert_eq!(fault::<char>("ab"), None);
    }
}
