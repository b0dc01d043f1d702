//! What can be written into a cell: a value comes in, its text goes out.

use std::borrow::Cow;
use std::fmt;

use crate::text::Text;

/// A value that can be written into a cell. Nothing here allocates.
///
/// Implement it for a type of your own, or pass `format_args!("{value}")` for whatever has a `Display`.
/// `None` is an empty cell.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be written into a cell",
    note = "whatever has a `Display` can be passed as `format_args!(\"{{value}}\")`"
)]
pub trait Value {
    /// Writes the value's text.
    ///
    /// # Errors
    /// Only what `out` returns.
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
                write!(out, "{self}")
            }
        }
    )*};
}

floats! { f32 f64 }

/// Appends the text of `value`.
#[inline]
pub(crate) fn append(text: &mut Text, value: &impl Value) {
    value
        .write(text)
        .expect("a value writes its text without an error of its own");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_text() {
        fn text(value: impl Value) -> String {
            let mut text = Text::default();
            append(&mut text, &value);
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
    }
}
