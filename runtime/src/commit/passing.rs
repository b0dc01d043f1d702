//! Passes outputs on instead of publishing them, such as to stdout: each is complete before any byte is passed on, and
//! has no receipt.

use super::Destination;
use crate::error::{Code, Error, Result, Stage};
use crate::format::csv::Dialect;
use crate::format::{Format, clip};

/// The form of an output and the bytes before its first row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputHead {
    /// The format.
    pub format: Format,
    /// The dialect of CSV.
    pub dialect: Option<Dialect>,
    /// The header; empty for JSONL.
    pub bytes: Vec<u8>,
}

impl Destination {
    /// Returns whether outputs are passed on.
    pub fn passes_on(&self) -> bool {
        self.passed_head.is_some()
    }

    /// Returns whether an output begins with its head. Of several outputs that are passed on, only the first one with
    /// columns does.
    ///
    /// # Errors
    /// Fails permanently, with stage encode, if the output does not fit behind the ones before: its format, dialect or
    /// header differs.
    pub fn takes_head(&self, head: &OutputHead, has_columns: bool) -> Result<bool> {
        let Some(first) = &self.passed_head else {
            return Ok(true);
        };
        if !has_columns {
            return Ok(false);
        }
        let mut first = first.lock();
        let first = match &mut *first {
            Some(first) if first == head => return Ok(false),
            Some(first) => first,
            none => {
                *none = Some(head.clone());
                return Ok(true);
            }
        };
        let what = format!(
            "its output is {}, and that of the inputs before is {}: one stdout takes one table, so run it by itself or write to a \
             folder",
            head.described(),
            first.described()
        );
        Err(Error::permanent(Stage::Encode, Code::OutputColumns, what))
    }
}

impl OutputHead {
    fn described(&self) -> String {
        let Self {
            format,
            dialect,
            bytes,
        } = self;
        let format = format.name();
        match dialect {
            None => format.to_owned(),
            Some(Dialect { delimiter, quote, .. }) => format!(
                "{format} with the header \"{}\", the delimiter {:?} and the quote {:?}",
                clip(bytes.trim_ascii_end()),
                char::from(*delimiter),
                char::from(*quote),
            ),
        }
    }
}
