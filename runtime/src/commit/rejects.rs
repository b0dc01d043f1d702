//! Rejected records go in, one at a time; rows of a CSV file come out.

use std::io::{self, Write};

use memchr::memchr;

use crate::batch::Position;

/// Writes the rejects file: CSV (RFC 4180, lines end with `\n`) with the columns
/// `record,line,offset,code,reason,raw`. The first three say where the record stands in the decompressed
/// input (see [`Position`]); `raw` is the record as it came, without its line end. Bytes in it that are not
/// UTF-8 become `\xNN` with two lowercase hex digits; all else stands as it is, backslashes too, so a record
/// with such bytes is told from one that spells them out only by its place in the input.
#[derive(Debug, Default)]
pub struct RejectWriter {
    has_header: bool,
}

impl RejectWriter {
    /// Goes on behind so many rows.
    pub fn behind(rows: u64) -> Self {
        Self { has_header: rows > 0 }
    }

    /// Writes one row to `out`, and the header before the first one. Allocates nothing.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn append(
        &mut self,
        out: &mut impl Write,
        position: Position,
        code: &str,
        reason: &str,
        raw: &[u8],
    ) -> io::Result<()> {
        if !self.has_header {
            out.write_all(b"record,line,offset,code,reason,raw\n")?;
            self.has_header = true;
        }
        let Position { record, line, offset } = position;
        write!(out, "{record},{line},{offset},")?;
        append_quoted(out, code.as_bytes())?;
        out.write_all(b",")?;
        append_quoted(out, reason.as_bytes())?;
        out.write_all(b",")?;
        append_quoted(out, raw)?;
        out.write_all(b"\n")
    }
}

fn append_quoted(out: &mut impl Write, text: &[u8]) -> io::Result<()> {
    out.write_all(b"\"")?;
    for chunk in text.utf8_chunks() {
        append_doubling_quotes(out, chunk.valid().as_bytes())?;
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}")?;
        }
    }
    out.write_all(b"\"")
}

fn append_doubling_quotes(out: &mut impl Write, mut text: &[u8]) -> io::Result<()> {
    while let Some(quote) = memchr(b'"', text) {
        out.write_all(&text[..=quote])?;
        out.write_all(b"\"")?;
        text = &text[quote + 1..];
    }
    out.write_all(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITION: Position = Position {
        record: 812,
        line: 815,
        offset: 40_961,
    };

    #[test]
    fn a_row_has_the_place_the_reason_and_the_record() {
        let (mut out, mut writer) = (Vec::new(), RejectWriter::default());
        writer
            .append(
                &mut out,
                POSITION,
                "bad-id",
                "id is empty",
                b"1,\"a \"\"b\"\"\",c",
            )
            .unwrap();
        writer
            .append(
                &mut out,
                POSITION,
                "bad-utf8",
                "not UTF-8, \"really\"",
                b"a\nb\xff\xc3(\\x",
            )
            .unwrap();
        let text = concat!(
            "record,line,offset,code,reason,raw\n",
            "812,815,40961,\"bad-id\",\"id is empty\",\"1,\"\"a \"\"\"\"b\"\"\"\"\"\",c\"\n",
            "812,815,40961,\"bad-utf8\",\"not UTF-8, \"\"really\"\"\",\"a\nb\\xff\\xc3(\\x\"\n",
        );
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }

    proptest::proptest! {
        #[test]
        fn a_csv_reader_gets_back_what_was_written(raw in "(?s).*", reason in "(?s).*") {
            let mut out = Vec::new();
            RejectWriter::default().append(&mut out, POSITION, "code", &reason, raw.as_bytes()).unwrap();
            let mut reader = csv::Reader::from_reader(out.as_slice());
            let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
            let row = csv::StringRecord::from(vec!["812", "815", "40961", "code", &reason, &raw]);
            proptest::prop_assert_eq!(rows, [row]);
        }
    }
}
