//! Checks which records of a chunk are UTF-8. One check covers the bytes of many records, but each answer is about one
//! record.

use crate::record::Row;

/// The advice for a text that is not UTF-8.
pub(crate) const LATIN_1_HINT: &str = "if it is Latin-1 or Windows-1252, say --encoding latin-1";

/// The code of a record that is not UTF-8.
pub(crate) const NOT_UTF8: &str = "not-utf8";

/// The number of bytes that are checked at once. Most records are much shorter. If the batch ends within these bytes,
/// the check of the remaining bytes was in vain, but they are few.
const UTF8_BYTES: usize = 16 << 10;

/// The position up to which the bytes of a chunk have been checked.
#[derive(Default)]
pub(super) struct Utf8 {
    valid_to: usize,
}

impl Utf8 {
    /// Checks the record at `row`. Records must be checked in their order.
    ///
    /// # Errors
    /// Returns the reason of the reject if the record is not UTF-8.
    pub(super) fn check(&mut self, raw: &[u8], row: Row) -> std::result::Result<(), String> {
        let (start, end) = (row.start as usize, row.end as usize);
        if end <= self.valid_to {
            return Ok(());
        }
        let from = self.valid_to.max(start);
        let to = raw.len().min(end.max(from + UTF8_BYTES));
        self.valid_to = from + valid_to(&raw[from..to]);
        if end <= self.valid_to {
            return Ok(());
        }
        let bad = self.valid_to;
        self.valid_to = end;
        Err(format!(
            "byte {} of the record, 0x{:02x}, is not UTF-8",
            bad - start + 1,
            raw[bad]
        ))
    }
}

fn valid_to(raw: &[u8]) -> usize {
    match std::str::from_utf8(raw) {
        Ok(_) => raw.len(),
        Err(error) => error.valid_up_to(),
    }
}
