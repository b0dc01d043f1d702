//! Values that can be written into a cell: a value comes in, its text goes out.

use std::borrow::Cow;
use std::fmt;

use crate::text::Text;

/// A value that can be written into a cell. Writing a value does not allocate. `None` makes the cell empty.
///
/// Implement this trait for your own type. For a type with `Display`, you can pass `format_args!("{value}")` instead.
///
/// ```
/// use std::fmt;
/// use ingest_plugin::Value;
///
/// struct Cents(i64);
///
/// impl Value for Cents {
///     fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
///         write!(out, "{}.{:02}", self.0 / 100, self.0 % 100)
///     }
/// }
///
/// let mut text = String::new();
/// Cents(1234).write(&mut text)?;
/// assert_eq!(text, "12.34");
/// # Ok::<(), fmt::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be written into a cell",
    note = "pass a type that has `Display` as `format_args!(\"{{value}}\")`"
)]
pub trait Value {
    /// Writes the value's text.
    ///
    /// # Errors
    /// Returns the error of `out`, or `fmt::Error` if the value has no text, such as a float that is not finite.
    /// [`Record::set`](crate::Record::set) says what then happens to the record.
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result;
}

impl Value for str {
    #[inline]
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        out.write_str(self)
    }
}

impl Value for String {
    #[inline]
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        out.write_str(self)
    }
}

impl Value for Cow<'_, str> {
    #[inline]
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        out.write_str(self)
    }
}

impl Value for char {
    #[inline]
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        out.write_char(*self)
    }
}

impl Value for bool {
    #[inline]
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        out.write_str(if *self { "true" } else { "false" })
    }
}

impl Value for fmt::Arguments<'_> {
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        out.write_fmt(*self)
    }
}

impl<T: Value> Value for Option<T> {
    #[inline]
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        self.as_ref().map_or(Ok(()), |value| value.write(out))
    }
}

impl<T: Value + ?Sized> Value for &T {
    #[inline]
    fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
        (**self).write(out)
    }
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl Value for $integer {
            #[inline]
            fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
                out.write_str(itoa::Buffer::new().format(*self))
            }
        }
    )*};
}

integers! { i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize }

macro_rules! floats {
    ($($float:ty)*) => {$(
        impl Value for $float {
            fn write(&self, out: &mut impl fmt::Write) -> fmt::Result {
                if !self.is_finite() {
                    return Err(fmt::Error);
                }
                write!(out, "{self}")
            }
        }
    )*};
}

floats! { f32 f64 }

/// The error for a value that cannot be written into a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unwritable;

/// Appends the text of `value` to `text`. `is_number` is true for a column of numbers.
///
/// # Errors
/// Fails if the value has no text, or if `is_number` is true and the text is a float that is not finite. A part of the
/// text may then have been appended.
#[inline]
pub(crate) fn append(text: &mut Text, value: &impl Value, is_number: bool) -> Result<(), Unwritable> {
    let start = text.len();
    value.write(text).map_err(|fmt::Error| Unwritable)?;
    // Nearly every number ends with a digit; `NaN`, `inf` and `infinity` do not. So `is_not_finite` is called for few
    // numbers.
    let is_not_digit = |last: &u8| !last.is_ascii_digit();
    let text = &text.as_bytes()[start..];
    if is_number && text.last().is_some_and(is_not_digit) && is_not_finite(text) {
        return Err(Unwritable);
    }
    Ok(())
}

/// Returns true if `text` is a float that is not finite. Such a text occurs if a plugin formats a float itself.
#[cold]
fn is_not_finite(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let word = text
        .strip_prefix(b"-")
        .or(text.strip_prefix(b"+"))
        .unwrap_or(text);
    let is_word = |other: &&[u8]| word.eq_ignore_ascii_case(other);
    [&b"nan"[..], b"inf", b"infinity"].iter().any(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_text() {
        fn text(value: impl Value) -> String {
            let mut text = Text::default();
            append(&mut text, &value, true).unwrap();
            String::from_utf8(text.into_bytes()).unwrap()
        }
        assert_eq!(text("é"), "é");
        assert_eq!(text(String::from("a")), "a");
        assert_eq!(text(Cow::from("a")), "a");
        assert_eq!(text('é'), "é");
        assert_eq!(text(true), "true");
        assert_eq!(text(-7_i64), "-7");
        assert_eq!(text(u64::MAX), "18446744073709551615");
        assert_eq!(text(2.50), "2.5");
        assert_eq!(text(Some(1)), "1");
        assert_eq!(text(None::<&str>), "");
        assert_eq!(text(format_args!("{:03}", 7)), "007");
        assert_eq!(text(f64::MAX).len(), 309);
    }

    #[test]
    fn a_float_that_is_not_finite_has_no_text() {
        fn is_written(value: impl Value, is_number: bool) -> bool {
            append(&mut Text::default(), &value, is_number).is_ok()
        }
        for float in [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(!is_written(float, false));
            assert!(!is_written(Some(float), false));
            assert!(!is_written(float as f32, true));
            assert!(!is_written(format_args!("{float:+9.1}"), true));
            // A column of texts may contain any text.
            assert!(is_written(format_args!("{float}"), false));
        }
        for text in ["inf\t", " NaN\n", "-infinity\r\n", "inf\x0c"] {
            assert!(!is_written(text, true), "{text:?}");
        }
        for text in ["", "-", "info", "nano", "-1", "1e5", "n/a", "infinit"] {
            assert!(is_written(text, true), "{text}");
        }
    }
}
