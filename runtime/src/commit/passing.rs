//! Checks that outputs can be passed on one after the other, for example to stdout: together they must be one table.

use super::Destination;
use crate::error::{Code, Error, Result, Stage};
use crate::format::csv::Dialect;
use crate::format::{Format, clip};

/// The format of an output and the bytes before its first row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputHead {
    /// The format.
    pub format: Format,
    /// The dialect, if the format is CSV.
    pub dialect: Option<Dialect>,
    /// The bytes of the header. Empty for JSONL.
    pub bytes: Vec<u8>,
}

impl Destination {
    /// Returns whether this destination passes outputs on instead of publishing them.
    pub fn passes_on(&self) -> bool {
        self.passed_head.is_some()
    }

    /// Returns whether an output begins with its header. If several outputs are passed on, only the first output with
    /// columns begins with its header.
    ///
    /// # Errors
    /// Fails permanently, with stage encode, if the output cannot be appended to the earlier outputs because its
    /// format, dialect or header differs.
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
